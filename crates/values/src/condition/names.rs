//! What a condition names: its references are found, checked, and replaced by slots that are filled when it is evaluated.

use std::borrow::Cow;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};
use serde_json::Value;

use super::CONDITION_DEPTH_MAX;
use crate::flaw::{Flaw, excerpt, nearest};
use crate::reference::{FORMS, Reference, Root, RunField, is_part, task_root, task_word};
use crate::scope::Scope;
use crate::template::REFERENCES_MAX;

/// A place in the tree that a value is put into.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slot {
    pub(super) reference: Reference,
    /// Whether `has` asks for it: then the value is true or false.
    has: bool,
}

impl Slot {
    /// What stands here in `scope`.
    pub(super) fn value<'s>(&self, scope: &'s (impl Scope + ?Sized)) -> Result<Cow<'s, Value>, Flaw> {
        if self.has {
            return self.reference.is_there(scope).map(|has| Cow::Owned(has.into()));
        }
        self.reference.resolve(scope)
    }
}

/// The name in the tree of a slot; it cannot be written in a condition.
pub(super) fn variable(number: usize) -> String {
    format!("@{number}")
}

/// The number of the slot of this name.
pub(super) fn slot(variable: &str) -> Option<usize> {
    variable.strip_prefix('@')?.parse().ok()
}

/// Replaces every reference by a slot, and refuses what is not offered.
pub(super) fn bind(expression: &mut IdedExpr) -> Result<Vec<Slot>, Flaw> {
    let mut names = Names { slots: Vec::new(), local: Vec::new() };
    names.visit(expression, 1)?;
    Ok(names.slots)
}

/// Functions called as `size(x)`, each of one value.
const FUNCTIONS: [&str; 4] = ["size", "int", "double", "string"];
/// Functions called as `x.size()`, with the number of values in the brackets.
const METHODS: [(&str, usize); 4] = [("size", 0), ("contains", 1), ("startsWith", 1), ("endsWith", 1)];
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];
/// Words that a macro's variable must not hide.
const ROOTS: [&str; 5] = ["params", "each", "index", "run", "task"];
const OPERATORS: [&str; 18] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
];

struct Names {
    slots: Vec<Slot>,
    /// The variables of the macros around.
    local: Vec<String>,
}

impl Names {
    fn visit(&mut self, node: &mut IdedExpr, depth: usize) -> Result<(), Flaw> {
        if depth > CONDITION_DEPTH_MAX {
            return Err(Flaw::new(format!(
                "the operations of the condition lie more than {CONDITION_DEPTH_MAX} deep in each other (CONDITION_DEPTH_MAX): leave it to a task to decide"
            )));
        }
        if let Some(chain) = Chain::of(&node.expr).filter(|chain| !self.is_local(chain.root)) {
            let slot = Slot { reference: chain.reference()?, has: chain.has };
            node.expr = Expr::Ident(variable(self.number(slot)?));
            return Ok(());
        }
        let deeper = depth + 1;
        match &mut node.expr {
            Expr::Ident(_) => Ok(()),
            Expr::Literal(literal) => match literal {
                LiteralValue::Bytes(_) => Err(not_offered("bytes cannot be written")),
                LiteralValue::Boolean(_)
                | LiteralValue::Double(_)
                | LiteralValue::Int(_)
                | LiteralValue::Null
                | LiteralValue::String(_)
                | LiteralValue::UInt(_) => Ok(()),
            },
            Expr::Select(select) => self.visit(&mut select.operand, deeper),
            Expr::List(list) => list.elements.iter_mut().try_for_each(|element| self.visit(element, deeper)),
            Expr::Call(call) => {
                check_call(call)?;
                if let Some(target) = &mut call.target {
                    self.visit(target, deeper)?;
                }
                call.args.iter_mut().try_for_each(|argument| self.visit(argument, deeper))
            }
            Expr::Comprehension(repeated) => {
                check_variable(&repeated.iter_var)?;
                self.visit(&mut repeated.iter_range, deeper)?;
                self.visit(&mut repeated.accu_init, deeper)?;
                self.local.push(repeated.iter_var.clone());
                self.local.push(repeated.accu_var.clone());
                for part in [&mut repeated.loop_cond, &mut repeated.loop_step, &mut repeated.result] {
                    self.visit(part, deeper)?;
                }
                self.local.truncate(self.local.len().saturating_sub(2));
                Ok(())
            }
            Expr::Map(_) => Err(not_offered("maps cannot be written")),
            Expr::Struct(_) => Err(not_offered("messages cannot be written")),
            // The library panics when it evaluates one.
            Expr::Unspecified => Err(Flaw::new("the condition is no CEL")),
        }
    }

    fn is_local(&self, name: &str) -> bool {
        self.local.iter().any(|local| local == name)
    }

    fn number(&mut self, slot: Slot) -> Result<usize, Flaw> {
        if let Some(number) = self.slots.iter().position(|known| *known == slot) {
            return Ok(number);
        }
        if self.slots.len() >= REFERENCES_MAX {
            return Err(Flaw::new(format!("the condition has more than {REFERENCES_MAX} references (REFERENCES_MAX)")));
        }
        self.slots.push(slot);
        Ok(self.slots.len() - 1)
    }
}

/// A name and what is read of it, as far as that is known without any value: `a.b['c'][0]`.
struct Chain<'e> {
    root: &'e str,
    /// What follows, from the outside in.
    parts: Vec<Part<'e>>,
    /// Whether `has` is around it.
    has: bool,
}

struct Part<'e> {
    text: Cow<'e, str>,
    /// Whether it is in brackets.
    indexed: bool,
}

impl<'e> Chain<'e> {
    fn of(expression: &'e Expr) -> Option<Self> {
        let mut parts = Vec::new();
        let mut has = false;
        let mut inner = expression;
        loop {
            inner = match inner {
                Expr::Ident(root) => {
                    parts.reverse();
                    return Some(Self { root, parts, has });
                }
                Expr::Select(select) if select.test && !parts.is_empty() => return None,
                Expr::Select(select) => {
                    has |= select.test;
                    parts.push(Part { text: Cow::Borrowed(&select.field), indexed: false });
                    &select.operand.expr
                }
                Expr::Call(call) if call.func_name == operators::INDEX && call.target.is_none() => {
                    let [whole, place] = call.args.as_slice() else { return None };
                    let text = match &place.expr {
                        Expr::Literal(LiteralValue::String(key)) => Cow::Borrowed(key.inner()),
                        Expr::Literal(LiteralValue::Int(place)) if *place.inner() >= 0 => {
                            Cow::Owned(place.inner().to_string())
                        }
                        _ => return None,
                    };
                    parts.push(Part { text, indexed: true });
                    &whole.expr
                }
                _ => return None,
            };
        }
    }

    fn reference(&self) -> Result<Reference, Flaw> {
        let spelling = self.parts.iter().fold(self.root.to_owned(), |text, part| text + "." + &part.text);
        let found = self.read(&spelling).and_then(|reference| reference.check().map(|()| reference));
        found.map_err(|why| {
            let spelling = excerpt(&spelling);
            if self.parts.is_empty() && why.ends_with(FORMS) {
                return Flaw::new(format!(
                    "`{spelling}` is no reference: write '{spelling}' if the text is meant, or one of {FORMS}, or task['MY-TASK'].result for a task with a dash in its name"
                ));
            }
            Flaw::new(format!("`{spelling}` is no reference: {why}"))
        })
    }

    fn read(&self, spelling: &str) -> Result<Reference, String> {
        let (root, used) = match (self.root, self.parts.as_slice()) {
            ("params", [name, ..]) if is_part(&name.text) => (Root::Param(name.text.as_ref().into()), 1),
            ("task", [name, rest @ ..]) if name.indexed => match rest.first().and_then(|part| task_word(&part.text)) {
                Some(word) => (task_root(&name.text, word)?, 2),
                None => {
                    return Err(
                        "only what a task leaves behind can be read: write task['NAME'].result or task['NAME'].payload"
                            .to_owned(),
                    );
                }
            },
            ("each", _) => (Root::Each, 0),
            ("run", [field]) => match RunField::ALL.into_iter().find(|known| known.name() == field.text) {
                Some(field) => (Root::Run(field), 1),
                None => return Reference::read(spelling),
            },
            (_, parts) => {
                let word = |part: &Part<'_>| task_word(&part.text).filter(|_| !part.indexed);
                let first = parts.iter().enumerate().find_map(|(at, part)| word(part).map(|word| (at, word)));
                match first {
                    Some((at, word)) if parts.iter().take(at).all(|part| !part.indexed) => {
                        let name =
                            parts.iter().take(at).fold(self.root.to_owned(), |name, part| name + "." + &part.text);
                        (task_root(&name, word)?, at + 1)
                    }
                    Some(_) | None => return Reference::read(spelling),
                }
            }
        };
        let path = self.parts.iter().skip(used).map(|part| part.text.as_ref().into()).collect();
        Ok(Reference { root, path })
    }
}

fn check_call(call: &CallExpr) -> Result<(), Flaw> {
    let name = call.func_name.as_str();
    let is_offered = match call.target {
        None => {
            let is_function = FUNCTIONS.contains(&name) && call.args.len() == 1;
            is_function || OPERATORS.contains(&name) || name == operators::NOT_STRICTLY_FALSE
        }
        Some(_) => METHODS.contains(&(name, call.args.len())),
    };
    if is_offered {
        return Ok(());
    }
    let count = call.args.len();
    let known = FUNCTIONS.into_iter().chain(METHODS.map(|(method, _)| method)).chain(MACROS);
    let hint = match nearest(name, known) {
        Some(near) if near != name => format!("did you mean `{near}`? "),
        Some(_) | None => String::new(),
    };
    Err(Flaw::new(format!(
        "there is no function `{}` of {count} values: {hint}there are has(x.y), size(x), int(x), double(x), string(x), x.contains(y), x.startsWith(y), x.endsWith(y), and x.all(y, ...), exists, exists_one, map and filter",
        excerpt(name)
    )))
}

fn check_variable(name: &str) -> Result<(), Flaw> {
    let is_identifier = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_identifier && !ROOTS.contains(&name) {
        return Ok(());
    }
    Err(Flaw::new(format!("`{}` cannot name the elements that are gone through: take another name", excerpt(name))))
}

fn not_offered(what: &str) -> Flaw {
    Flaw::new(format!("{what} in a condition: leave it to a task to decide"))
}
