//! What a job file says of other tasks.

use quorate_state::{Apart, AtMost, Balance, Company, Topology};

use super::schema::Kind;
use super::trail::Trail;
use super::tree::{Node, Value};
use super::walk::{Field, Fields, Walk};

/// The part of `place` that is about other tasks.
pub(super) fn company(walk: &mut Walk, fields: &Fields<'_>, trail: &Trail<'_>) -> Company {
    Company {
        group: walk.name(fields.get("group"), trail),
        at_most: walk.list(fields.get("at_most"), trail, at_most),
        apart: walk.list(fields.get("apart"), trail, apart),
        balance: walk.list(fields.get("balance"), trail, balance),
    }
}

fn at_most(walk: &mut Walk, node: &Node, trail: &Trail<'_>) -> Option<AtMost> {
    let fields = walk.fields(node, "task.NAME.place.at_most", trail)?;
    let (per, tasks) = (per(walk, &fields, node, trail), walk.whole(fields.get("tasks"), trail));
    let tasks = tasks.map_or(1, |tasks| u32::try_from(tasks).unwrap_or(u32::MAX));
    Some(AtMost { per: per?, tasks })
}

fn apart(walk: &mut Walk, node: &Node, trail: &Trail<'_>) -> Option<Apart> {
    let fields = walk.fields(node, "task.NAME.place.apart", trail)?;
    if fields.get("from").is_none() {
        walk.complain(node.at, &trail.key("from"), "required: the name of a group (place.group of other tasks)");
    }
    let (from, per) = (walk.name(fields.get("from"), trail), per(walk, &fields, node, trail));
    Some(Apart { from: from?, per: per? })
}

fn balance(walk: &mut Walk, node: &Node, trail: &Trail<'_>) -> Option<Balance> {
    let fields = walk.fields(node, "task.NAME.place.balance", trail)?;
    let per = per(walk, &fields, node, trail);
    let targets = walk.list(fields.get("targets"), trail, |walk, node, trail| {
        let fields = walk.fields(node, "task.NAME.place.balance.targets", trail)?;
        if fields.get("in").is_none() {
            walk.complain(
                node.at,
                &trail.key("in"),
                "required: the name of a cluster or region, or the value of the label",
            );
        }
        let (domain, share) = (walk.words(fields.get("in"), trail), walk.whole(fields.get("share"), trail));
        Some((domain?, share.map_or(1, |share| u32::try_from(share).unwrap_or(u32::MAX))))
    });
    Some(Balance { per: per?, targets: targets.into_iter().collect() })
}

/// What the domains of a rule are.
fn per(walk: &mut Walk, fields: &Fields<'_>, rule: &Node, trail: &Trail<'_>) -> Option<Topology> {
    let trail = trail.key("per");
    let Some(Field { member, .. }) = fields.get("per") else {
        walk.complain(rule.at, &trail, "required: \"node\", \"cluster\", \"region\", or \"label:KEY\"");
        return None;
    };
    let Value::Text(text) = &member.node.value else {
        walk.expected(&member.node, &trail, Kind::Text);
        return None;
    };
    text.parse().map_err(|why: String| walk.complain(member.node.at, &trail, why)).ok()
}
