//! What becomes of tasks when their region is lost.

use quorate_state::OnRegionLoss;

use super::trail::Trail;
use super::tree::Value;
use super::walk::{Field, Walk};

/// What a field says, in a table below `prefix` of the schema. None: nothing, or what is wrong is noted; `Some(None)`: to move at once.
pub(super) fn on_region_loss(
    walk: &mut Walk,
    field: Option<Field<'_>>,
    prefix: &'static str,
    trail: &Trail<'_>,
) -> Option<Option<OnRegionLoss>> {
    let Field { member, doc } = field?;
    let (node, trail) = (&member.node, trail.key(&member.key));
    match &node.value {
        Value::Text(word) if word == "move" => Some(None),
        Value::Text(word) if word == "stay" => Some(Some(OnRegionLoss::Stay)),
        Value::Table(_) => {
            let fields = walk.fields(node, prefix, &trail)?;
            let after_ms = walk.amount(fields.get("move_after"), &trail).unwrap_or(0);
            let spill = walk.names(fields.get("spill"), &trail);
            Some(Some(OnRegionLoss::MoveAfter { after_ms, spill }))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Whole(_)
        | Value::Decimal(_)
        | Value::Date
        | Value::Text(_)
        | Value::List(_) => {
            walk.expected(node, &trail, doc.kind);
            None
        }
    }
}
