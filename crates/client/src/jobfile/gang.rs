//! What a job file says of gangs.

use quorate_state::{GangSpec, Within};

use super::schema::Kind;
use super::trail::Trail;
use super::tree::Value;
use super::walk::{Field, Walk, nearest};

/// Written before the key of a label.
const LABEL: &str = "label:";

/// Whether the elements of a task are a gang, and what is asked of it as a whole.
pub(super) fn gang(walk: &mut Walk, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<GangSpec> {
    let node = &field?.member.node;
    let trail = trail.key("gang");
    match &node.value {
        Value::Bool(is_gang) => is_gang.then(GangSpec::default),
        Value::Table(_) => {
            let fields = walk.fields(node, "task.NAME.gang", &trail)?;
            let within = within(walk, fields.get("within"), &trail);
            Some(GangSpec { within, start_ms: walk.amount(fields.get("start"), &trail) })
        }
        Value::Null | Value::Whole(_) | Value::Decimal(_) | Value::Date | Value::Text(_) | Value::List(_) => {
            walk.expected(node, &trail, Kind::Gang);
            None
        }
    }
}

fn within(walk: &mut Walk, field: Option<Field<'_>>, trail: &Trail<'_>) -> Option<Within> {
    let (node, trail) = (&field?.member.node, trail.key("within"));
    let Value::Text(text) = &node.value else {
        walk.expected(node, &trail, Kind::Text);
        return None;
    };
    match text.as_str() {
        "cluster" => Some(Within::Cluster),
        "region" => Some(Within::Region),
        other => match other.strip_prefix(LABEL) {
            Some(key) => Some(Within::Label(key.to_owned())),
            None => {
                let hint = nearest(other, ["cluster", "region"].into_iter())
                    .map_or_else(String::new, |word| format!("; did you mean \"{word}\"?"));
                walk.complain(
                    node.at,
                    &trail,
                    format_args!("expected \"cluster\", \"region\", or \"{LABEL}KEY\" for the value of a label{hint}"),
                );
                None
            }
        },
    }
}

/// As it is written.
pub(super) fn written(within: &Within) -> String {
    match within {
        Within::Cluster => "cluster".to_owned(),
        Within::Region => "region".to_owned(),
        Within::Label(key) => format!("{LABEL}{key}"),
    }
}
