//! TOML into the tree.

use toml::de::{DeTable, DeValue};

use super::problem::{Finding, Findings};
use super::tree::{Member, NESTING_MAX, NODES_MAX, Node, Value};

/// The tree of a TOML text, or everything that is wrong with its syntax.
pub(super) fn parse(text: &str) -> Result<Node, Findings> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut findings = Findings::default();
        for error in errors {
            let at = error.span().map_or(text.len(), |span| span.start);
            findings.push(Finding { at, field: String::new(), message: error.message().to_owned() });
        }
        return Err(findings);
    }
    let mut nodes = 0;
    Ok(Node { at: 0, value: members(table.into_inner(), 0, &mut nodes)? })
}

/// The parser itself refuses duplicate keys and what lies more than 80 deep.
fn members(table: DeTable<'_>, depth: usize, nodes: &mut usize) -> Result<Value, Findings> {
    let mut members = Vec::with_capacity(table.len());
    for (key, value) in table {
        let (key_at, value_at) = (key.span().start, value.span().start);
        // A table written as `[a.b]` has the place of its header, which is the key's own.
        let node = Node { at: value_at, value: convert(value.into_inner(), value_at, depth + 1, nodes)? };
        members.push(Member { key: key.into_inner().into_owned(), key_at, node });
    }
    // The parser sorts by key; a job's tasks are in the order of the file.
    members.sort_by_key(|member| member.key_at);
    Ok(Value::Table(members))
}

fn convert(value: DeValue<'_>, at: usize, depth: usize, nodes: &mut usize) -> Result<Value, Findings> {
    *nodes += 1;
    if *nodes > NODES_MAX {
        return Err(Findings::one(at, format!("more than {NODES_MAX} values (NODES_MAX)")));
    }
    if depth > NESTING_MAX {
        return Err(Findings::one(at, format!("nested more than {NESTING_MAX} deep (NESTING_MAX)")));
    }
    Ok(match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Decimal(number.to_string()), Value::Whole),
        DeValue::Float(number) => Value::Decimal(number.as_str().to_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(values) => {
            let convert = |value: toml::Spanned<DeValue<'_>>| {
                let at = value.span().start;
                Ok(Node { at, value: convert(value.into_inner(), at, depth + 1, nodes)? })
            };
            Value::List(values.into_iter().map(convert).collect::<Result<_, Findings>>()?)
        }
        DeValue::Table(table) => members(table, depth, nodes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_and_the_places_of_the_file() {
        let text = "[task.zeta]\nrun = [\"a\"]\n\n[task.alpha]\ncount = 0x10\n";
        let tree = parse(text).expect("it is TOML");
        let Value::Table(tasks) = &tree.get("task").expect("there").node.value else { panic!("not a table") };
        assert_eq!(tasks.iter().map(|task| task.key.as_str()).collect::<Vec<_>>(), ["zeta", "alpha"]);
        assert_eq!(&text[tasks[1].key_at..][..5], "alpha");
        let count = tasks[1].node.get("count").expect("there");
        assert_eq!((&text[count.key_at..][..5], &count.node.value), ("count", &Value::Whole(16)));
    }

    #[test]
    fn every_error_of_syntax_is_told_with_its_place() {
        let text = "a = \nb = 1\nb = 2\nc = [1,\n";
        let errors = parse(text).expect_err("broken").into_errors("job.toml", text.as_bytes());
        assert!(errors.problems.len() >= 2, "{errors}");
        assert_eq!(errors.problems[0].line, 1);
        assert!(errors.problems.iter().any(|p| p.line == 3 && p.message.contains("duplicate")), "{errors}");
    }

    #[test]
    fn deep_nesting_is_refused_in_every_form() {
        for text in [
            format!("a = {}", "[".repeat(100_000)),
            format!("a = {}1{}", "[".repeat(30), "]".repeat(30)),
            format!("{} = 1", vec!["a"; 100_000].join(".")),
            format!("[{}]", vec!["a"; 60].join(".")),
            format!("a = {}", "{a=".repeat(100_000)),
        ] {
            assert!(parse(&text).is_err(), "{}", &text[..60.min(text.len())]);
        }
    }
}
