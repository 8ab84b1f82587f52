//! From the text of a condition on nodes to what it means. Whether things go together is said here, so that what comes out can be decided for
//! every node, or lacks only what the node does not say.

use std::fmt::Display;

use super::tokens::{Token, flaw, tokens};
use super::{
    ConditionFlaw, List, Number, Position, Sign, Text, Truth, WHERE_BYTES_MAX, WHERE_DEPTH_MAX, WHERE_PARTS_MAX,
};

/// What there is of a node.
const FIELDS: &str = "name, region, cluster, pool, labels, taints, cpu_milli, memory (bytes), gpus, gpu_models and price (hundred-thousandths)";

/// Words that CEL keeps for itself: a key of a label that is one of them stands in quotes.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// What a condition means.
pub(super) fn read(text: &str) -> Result<Truth, ConditionFlaw> {
    if text.len() > WHERE_BYTES_MAX {
        let message = format!("has {} bytes, WHERE_BYTES_MAX is {WHERE_BYTES_MAX}", text.len());
        return Err(ConditionFlaw(message));
    }
    let mut reader = Reader { text, tokens: tokens(text)?, next: 0, parts: 0, depth: 0 };
    if reader.tokens.is_empty() {
        return Err(ConditionFlaw("is empty: leave it out, or write what must hold of a node".into()));
    }
    let (at, value) = (reader.at(), reader.any()?);
    if reader.peek().is_some() {
        return Err(reader.unexpected("&& or ||, or the end"));
    }
    reader.truth(at, value)
}

/// Something that a part of a condition stands for.
enum Value {
    Truth(Truth),
    Text(Text),
    Number(Number),
    List(List),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Truth(_) => "true or false",
            Self::Text(_) => "a text",
            Self::Number(_) => "a whole number",
            Self::List(_) => "a list of texts",
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    tokens: Vec<(usize, Token<'t>)>,
    /// The token to be read next.
    next: usize,
    parts: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    /// Conditions with `||` between them, or something else.
    fn any(&mut self) -> Result<Value, ConditionFlaw> {
        self.joined("||", Self::all, Truth::Any)
    }

    /// Conditions with `&&` between them, or something else.
    fn all(&mut self) -> Result<Value, ConditionFlaw> {
        self.joined("&&", Self::comparison, Truth::All)
    }

    /// One thing, or several conditions with `sign` between them.
    fn joined(
        &mut self,
        sign: &'static str,
        read: fn(&mut Self) -> Result<Value, ConditionFlaw>,
        join: fn(Vec<Truth>) -> Truth,
    ) -> Result<Value, ConditionFlaw> {
        let at = self.at();
        let first = read(self)?;
        if self.peek() != Some(&Token::Sign(sign)) {
            return Ok(first);
        }
        let mut truths = vec![self.truth(at, first)?];
        while self.take(sign) {
            self.part()?;
            let at = self.at();
            let next = read(self)?;
            truths.push(self.truth(at, next)?);
        }
        Ok(Value::Truth(join(truths)))
    }

    /// Two things that are compared, or one.
    fn comparison(&mut self) -> Result<Value, ConditionFlaw> {
        let left = self.negation()?;
        let at = self.at();
        let value = if self.take_word("in") {
            self.part()?;
            self.among(at, left)?
        } else {
            let Some(sign) = self.comparing() else { return Ok(left) };
            self.next += 1;
            self.part()?;
            let right = self.negation()?;
            match (left, right) {
                (Value::Text(left), Value::Text(right)) => Truth::Texts(left, sign, right),
                (Value::Number(left), Value::Number(right)) => Truth::Numbers(left, sign, right),
                (left, right) => {
                    let (left, right) = (left.kind(), right.kind());
                    let advice = "two texts are compared, or two whole numbers; int(TEXT) makes a whole number of a text, and \
                                  what is true or false stands by itself";
                    return Err(self.flaw(at, format_args!("{left} is compared with {right}: {advice}")));
                }
            }
        };
        if self.comparing().is_some() || self.peek() == Some(&Token::Word("in")) {
            return Err(self.flaw(self.at(), "two things are compared at a time: put && between comparisons"));
        }
        Ok(Value::Truth(value))
    }

    /// What stands behind `in`.
    fn among(&mut self, at: usize, left: Value) -> Result<Truth, ConditionFlaw> {
        if !self.take("[") {
            let right = self.negation()?;
            return match (left, right) {
                (Value::Text(left), Value::List(right)) => Ok(Truth::Listed(left, right)),
                (left, right) => {
                    let (left, right) = (left.kind(), right.kind());
                    let advice = "a text may be in node.taints, node.gpu_models, node.labels or in a list such as [\"a\", \"b\"]; \
                                  TEXT.contains(TEXT) looks into a text";
                    Err(self.flaw(at, format_args!("{left} in {right}: {advice}")))
                }
            };
        }
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        let begin = self.at();
        while !self.take("]") {
            if self.at() != begin {
                self.expect(",")?;
            }
            self.part()?;
            match self.tokens.get(self.next) {
                Some((_, Token::Text(text))) => texts.push(text.clone()),
                Some((_, Token::Number(number))) => numbers.push(*number),
                _ => return Err(self.unexpected("a text in quotes or a number")),
            }
            self.next += 1;
        }
        match left {
            Value::Text(left) if numbers.is_empty() => Ok(Truth::TextAmong(left, texts)),
            Value::Number(left) if texts.is_empty() => Ok(Truth::NumberAmong(left, numbers)),
            left @ (Value::Truth(_) | Value::Text(_) | Value::Number(_) | Value::List(_)) => {
                let message =
                    "the list behind in has texts where a text may be in it, and numbers where a whole number may";
                Err(self.flaw(at, format_args!("{message}; on the left is {}", left.kind())))
            }
        }
    }

    fn negation(&mut self) -> Result<Value, ConditionFlaw> {
        let mut is_negated = false;
        let mut count = 0;
        while self.take("!") {
            self.part()?;
            (is_negated, count) = (!is_negated, count + 1);
        }
        let at = self.at();
        let value = self.member()?;
        if count == 0 {
            return Ok(value);
        }
        let Value::Truth(truth) = value else {
            let message =
                format_args!("{} has no opposite: put brackets around what is compared, as in !(a == b)", value.kind());
            return Err(self.flaw(at, message));
        };
        Ok(Value::Truth(if is_negated { Truth::Not(Box::new(truth)) } else { truth }))
    }

    /// One thing, or what a text is asked.
    fn member(&mut self) -> Result<Value, ConditionFlaw> {
        let value = self.primary()?;
        let at = self.at();
        if !self.take(".") {
            return Ok(value);
        }
        let asked = match self.word()? {
            "startsWith" => Some(Position::Start),
            "endsWith" => Some(Position::End),
            "contains" => Some(Position::Anywhere),
            _ => None,
        };
        let (Value::Text(text), Some(position), true) = (value, asked, self.peek() == Some(&Token::Sign("("))) else {
            let message = "behind a text may stand .startsWith(TEXT), .endsWith(TEXT) or .contains(TEXT), and a dot nowhere else; a label \
                           with a dot in its key is node.labels[\"KEY\"]";
            return Err(self.flaw(at, message));
        };
        self.part()?;
        let (at, argument) = self.bracketed()?;
        let Value::Text(part) = argument else {
            return Err(self.flaw(at, format_args!("a text is looked for in a text, and this is {}", argument.kind())));
        };
        if self.peek() == Some(&Token::Sign(".")) {
            return Err(self.unexpected("&& or ||, or the end"));
        }
        Ok(Value::Truth(Truth::Part(text, position, part)))
    }

    fn primary(&mut self) -> Result<Value, ConditionFlaw> {
        self.part()?;
        let at = self.at();
        if self.peek() == Some(&Token::Sign("(")) {
            return Ok(self.bracketed()?.1);
        }
        let value = match self.tokens.get(self.next) {
            Some((_, Token::Text(text))) => Value::Text(Text::Written(text.clone())),
            Some((_, Token::Number(number))) => Value::Number(Number::Written(*number)),
            Some((_, Token::Word("true"))) => Value::Truth(Truth::Always(true)),
            Some((_, Token::Word("false"))) => Value::Truth(Truth::Always(false)),
            Some((_, Token::Word("node"))) => {
                self.next += 1;
                return self.field();
            }
            Some((_, Token::Word("has"))) => {
                self.next += 1;
                return self.has().map(Value::Truth);
            }
            Some((_, Token::Word("int"))) => {
                self.next += 1;
                let (at, argument) = self.bracketed()?;
                let Value::Text(text) = argument else {
                    return Err(self.flaw(at, format_args!("int(...) reads a text, and this is {}", argument.kind())));
                };
                return Ok(Value::Number(Number::Spelled(text)));
            }
            Some((_, Token::Word(word))) => {
                let advice = "there are node, has(...), int(...), true and false, and texts stand in quotes";
                return Err(self.flaw(at, format_args!("{} is not known: {advice}", short(word))));
            }
            _ => return Err(self.unexpected("node, a text in quotes, a number, or brackets")),
        };
        self.next += 1;
        Ok(value)
    }

    /// What stands behind `node`.
    fn field(&mut self) -> Result<Value, ConditionFlaw> {
        self.expect(".")?;
        let at = self.at();
        Ok(match self.word()? {
            "name" => Value::Text(Text::Name),
            "region" => Value::Text(Text::Region),
            "cluster" => Value::Text(Text::Cluster),
            "pool" => Value::Text(Text::Pool),
            "cpu_milli" => Value::Number(Number::CpuMilli),
            "memory" => Value::Number(Number::Memory),
            "gpus" => Value::Number(Number::Gpus),
            "price" => Value::Number(Number::Price),
            "taints" => Value::List(List::Taints),
            "gpu_models" => Value::List(List::GpuModels),
            "labels" => return self.labels(),
            other => {
                return Err(self.flaw(at, format_args!("a node has no field {}: there are {FIELDS}", short(other))));
            }
        })
    }

    /// What stands behind `node.labels`.
    fn labels(&mut self) -> Result<Value, ConditionFlaw> {
        if self.take("[") {
            let Some((_, Token::Text(key))) = self.tokens.get(self.next) else {
                return Err(self.unexpected("the key of a label in quotes"));
            };
            let key = key.clone();
            self.next += 1;
            self.expect("]")?;
            return Ok(Value::Text(Text::Label(key)));
        }
        if self.take(".") { self.key().map(|key| Value::Text(Text::Label(key))) } else { Ok(Value::List(List::Labels)) }
    }

    /// The key of a label behind a dot.
    fn key(&mut self) -> Result<Box<str>, ConditionFlaw> {
        let at = self.at();
        let key = self.word()?;
        if RESERVED.contains(&key) {
            return Err(self.flaw(at, format_args!("{key} is a word of the language: write node.labels[\"{key}\"]")));
        }
        Ok(key.into())
    }

    /// What stands behind `has`: what a node may not say.
    fn has(&mut self) -> Result<Truth, ConditionFlaw> {
        self.expect("(")?;
        let at = self.at();
        let is_of_node = self.take_word("node") && self.take(".");
        let truth = if is_of_node && self.take_word("price") {
            Truth::HasPrice
        } else if is_of_node && self.take_word("labels") && self.take(".") {
            Truth::HasLabel(self.key()?)
        } else {
            let message = "has(...) asks for what a node may not say: node.price or node.labels.KEY; \"KEY\" in node.labels asks for labels with \
                           other keys";
            return Err(self.flaw(at, message));
        };
        self.expect(")")?;
        Ok(truth)
    }

    /// What stands in brackets, and where.
    fn bracketed(&mut self) -> Result<(usize, Value), ConditionFlaw> {
        let at = self.at();
        self.expect("(")?;
        self.depth += 1;
        if self.depth > WHERE_DEPTH_MAX {
            let message = format_args!("brackets lie deeper in each other than WHERE_DEPTH_MAX ({WHERE_DEPTH_MAX})");
            return Err(self.flaw(at, message));
        }
        let (at, value) = (self.at(), self.any()?);
        self.expect(")")?;
        self.depth -= 1;
        Ok((at, value))
    }

    /// What stands at `at` is true or false.
    fn truth(&self, at: usize, value: Value) -> Result<Truth, ConditionFlaw> {
        match value {
            Value::Truth(truth) => Ok(truth),
            other @ (Value::Text(_) | Value::Number(_) | Value::List(_)) => {
                let advice = "compare it with something, or look whether something is in it";
                Err(self.flaw(
                    at,
                    format_args!("what is true or false is asked for, and this is {}: {advice}", other.kind()),
                ))
            }
        }
    }

    /// How the next two things compare, if that is said next.
    fn comparing(&self) -> Option<Sign> {
        let Some(Token::Sign(sign)) = self.peek() else { return None };
        match *sign {
            "==" => Some(Sign::Equal),
            "!=" => Some(Sign::Unequal),
            "<" => Some(Sign::Below),
            "<=" => Some(Sign::AtMost),
            ">" => Some(Sign::Above),
            ">=" => Some(Sign::AtLeast),
            _ => None,
        }
    }

    /// Counts one more part.
    fn part(&mut self) -> Result<(), ConditionFlaw> {
        self.parts += 1;
        if self.parts <= WHERE_PARTS_MAX {
            return Ok(());
        }
        let message = format_args!("has more fields, values and operators than WHERE_PARTS_MAX ({WHERE_PARTS_MAX})");
        Err(self.flaw(self.at(), message))
    }

    fn peek(&self) -> Option<&Token<'t>> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// Where the next token begins.
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at)
    }

    fn take(&mut self, sign: &'static str) -> bool {
        let is_next = self.peek() == Some(&Token::Sign(sign));
        self.next += usize::from(is_next);
        is_next
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(&Token::Word(word));
        self.next += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), ConditionFlaw> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(sign)) }
    }

    fn word(&mut self) -> Result<&'t str, ConditionFlaw> {
        let Some((_, Token::Word(word))) = self.tokens.get(self.next) else { return Err(self.unexpected("a word")) };
        let word = *word;
        self.next += 1;
        Ok(word)
    }

    fn unexpected(&self, expected: impl Display) -> ConditionFlaw {
        let found = match self.peek() {
            Some(Token::Word(word)) => short(word),
            Some(Token::Text(_)) => "a text".to_owned(),
            Some(Token::Number(number)) => number.to_string(),
            Some(Token::Sign(sign)) => (*sign).to_owned(),
            None => "the end".to_owned(),
        };
        self.flaw(self.at(), format_args!("expected {expected}, found {found}"))
    }

    fn flaw(&self, at: usize, what: impl Display) -> ConditionFlaw {
        flaw(self.text, at, what)
    }
}

/// A word in quotes, as much of it as says which.
fn short(word: &str) -> String {
    const CHARS_MAX: usize = 40;
    let more = if word.chars().count() > CHARS_MAX { "…" } else { "" };
    format!("\"{}{more}\"", word.chars().take(CHARS_MAX).collect::<String>())
}
