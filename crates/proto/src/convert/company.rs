//! What a task makes of other tasks when a node is looked for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use quorate_state::{Apart, AtMost, Balance, Company};

use super::Found;
use crate::v1;

pub(super) fn company_to_wire(company: &Company, into: &mut v1::Place) {
    let Company { group, at_most, apart, balance } = company;
    into.group = group.as_ref().map(ToString::to_string).unwrap_or_default();
    let bounds = at_most.iter().map(|AtMost { per, tasks }| v1::AtMost { per: per.to_string(), tasks: *tasks });
    into.at_most = bounds.collect();
    let apart = apart.iter().map(|Apart { from, per }| v1::Apart { from: from.to_string(), per: per.to_string() });
    into.apart = apart.collect();
    let balances = balance.iter().map(|Balance { per, targets }| {
        let targets = targets.iter().map(|(domain, share)| v1::Target { domain: domain.clone(), share: *share });
        v1::Balance { per: per.to_string(), targets: targets.collect() }
    });
    into.balance = balances.collect();
}

/// The same, read, of a place of which a key stands at `at`; whether it is within the limits is not asked.
pub(super) fn company_from_wire(
    at: &dyn Fn(&str) -> String,
    place: &mut v1::Place,
    found: &mut Found,
) -> Option<Company> {
    let group = match place.group.as_str() {
        "" => Some(None),
        name => found.parse(|| at("place.group"), name).map(Some),
    };
    // Every one is looked at before any wrong one ends it: all violations in one answer.
    let bounds = std::mem::take(&mut place.at_most).into_iter().enumerate().map(|(position, rule)| {
        let per = found.parse(|| at(&format!("place.at_most[{position}].per")), &rule.per);
        Some(AtMost { per: per?, tasks: rule.tasks })
    });
    let at_most: Vec<Option<AtMost>> = bounds.collect();
    let apart = std::mem::take(&mut place.apart).into_iter().enumerate().map(|(position, rule)| {
        let from = found.parse(|| at(&format!("place.apart[{position}].from")), &rule.from);
        let per = found.parse(|| at(&format!("place.apart[{position}].per")), &rule.per);
        Some(Apart { from: from?, per: per? })
    });
    let apart: Vec<Option<Apart>> = apart.collect();
    let balances = std::mem::take(&mut place.balance).into_iter().enumerate().map(|(position, rule)| {
        let field = at(&format!("place.balance[{position}]"));
        let per = found.parse(|| format!("{field}.per"), &rule.per);
        let mut targets = BTreeMap::new();
        for v1::Target { domain, share } in rule.targets {
            match targets.entry(domain) {
                Entry::Vacant(entry) => drop(entry.insert(share)),
                Entry::Occupied(entry) => found.add(format!("{field}.targets.{}", entry.key()), "is given twice"),
            }
        }
        Some(Balance { per: per?, targets })
    });
    let balance: Vec<Option<Balance>> = balances.collect();
    Some(Company {
        group: group?,
        at_most: at_most.into_iter().collect::<Option<_>>()?,
        apart: apart.into_iter().collect::<Option<_>>()?,
        balance: balance.into_iter().collect::<Option<_>>()?,
    })
}
