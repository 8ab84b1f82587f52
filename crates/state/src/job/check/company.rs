//! What makes the rules of a task about other tasks valid.

use super::{Found, LABEL_BYTES_MAX};
use crate::{Balance, RULES_MAX, SHARE_MAX, TARGETS_MAX, TaskSpec, Topology};

impl TaskSpec {
    pub(super) fn check_company(&self, found: &mut Found) {
        let company = &self.place.company;
        if company.is_empty() {
            return;
        }
        let at = |key: &str| format!("task.{}.place.{key}", self.name);
        if self.sub_run.is_some() {
            found.add(
                &at("at_most"),
                "a run of another job is on no node: leave at_most, group, apart and balance to its tasks".into(),
            );
        }
        let lists =
            [("at_most", company.at_most.len()), ("apart", company.apart.len()), ("balance", company.balance.len())];
        for (key, count) in lists.into_iter().filter(|(_, count)| *count > RULES_MAX) {
            found.add(&at(key), format!("{count} rules are over RULES_MAX ({RULES_MAX})"));
        }
        for (position, rule) in company.at_most.iter().take(RULES_MAX).enumerate() {
            let at = |key: &str| at(&format!("at_most[{position}].{key}"));
            check_topology(&at("per"), &rule.per, found);
            if !(1..=SHARE_MAX).contains(&rule.tasks) {
                found.add(&at("tasks"), format!("{} is not between 1 and {SHARE_MAX}", rule.tasks));
            }
        }
        for (position, rule) in company.apart.iter().take(RULES_MAX).enumerate() {
            check_topology(&at(&format!("apart[{position}].per")), &rule.per, found);
        }
        for (position, balance) in company.balance.iter().take(RULES_MAX).enumerate() {
            check_balance(&at(&format!("balance[{position}]")), balance, found);
        }
        let by_node = company.at_most.iter().all(|rule| rule.per == Topology::Node);
        if self.gang.is_some() && !(by_node && company.apart.is_empty() && company.balance.is_empty()) {
            let message = "of a gang only at_most with per = \"node\", and group, are known: say with gang.within what its nodes have in common";
            found.add(&at("at_most"), message.into());
        }
    }
}

fn check_balance(field: &str, balance: &Balance, found: &mut Found) {
    check_topology(&format!("{field}.per"), &balance.per, found);
    if balance.per == Topology::Node {
        let message = "to spread over single nodes is what spread = \"node\" says, or at_most with per = \"node\"";
        found.add(&format!("{field}.per"), message.into());
    }
    let targets = &balance.targets;
    if targets.len() > TARGETS_MAX {
        found.add(&format!("{field}.targets"), format!("{} are over TARGETS_MAX ({TARGETS_MAX})", targets.len()));
    }
    for (domain, share) in targets.iter().take(TARGETS_MAX) {
        if domain.is_empty() || domain.len() > LABEL_BYTES_MAX || domain.contains('\0') {
            let most = LABEL_BYTES_MAX;
            found.add(&format!("{field}.targets"), format!("a domain's name has 1 to {most} bytes, none of them NUL"));
        }
        if !(1..=SHARE_MAX).contains(share) {
            found.add(&format!("{field}.targets"), format!("{domain:?}: {share} is not between 1 and {SHARE_MAX}"));
        }
    }
}

fn check_topology(field: &str, per: &Topology, found: &mut Found) {
    if let Topology::Label(key) = per
        && (key.is_empty() || key.len() > LABEL_BYTES_MAX || key.contains('\0'))
    {
        found.add(field, format!("a label's key has 1 to {LABEL_BYTES_MAX} bytes, none of them NUL"));
    }
}
