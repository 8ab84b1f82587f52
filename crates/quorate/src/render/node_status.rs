//! One node: what it has, what is on it, and what a drain of it waits for.

use std::collections::BTreeMap;

use quorate_proto::v1;
use serde::Serialize;

use super::attempt::attempt_word;
use super::node::Node;
use super::table::{Rows, entry, faint, state, word};
use super::task::task_name;
use super::usage::{Usage, UsageSum, or_dash};
use super::{Paint, View, plain, time};

/// Characters of a bar between its brackets.
const BAR_CHARS: u64 = 24;

/// An attempt on a node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeAttempt {
    run_id: String,
    namespace: String,
    job: String,
    task: String,
    index: u32,
    number: u32,
    state: String,
    on_node_loss: String,
    cpu_milli: u64,
    memory_bytes: u64,
    gpu_milli: u64,
    since_ms: u64,
    /// A word, or none when it is about to be moved, or would be.
    hold: Option<String>,
    hold_text: String,
    /// What it uses now, if that is known.
    usage: Option<Usage>,
    #[serde(skip)]
    is_array: bool,
}

impl From<v1::NodeAttempt> for NodeAttempt {
    fn from(attempt: v1::NodeAttempt) -> Self {
        let resources = attempt.resources.unwrap_or_default();
        let promise = v1::OnNodeLoss::try_from(attempt.on_node_loss).unwrap_or_default();
        Self {
            state: attempt_word(attempt.state),
            on_node_loss: word("ON_NODE_LOSS_", promise.as_str_name()),
            run_id: attempt.run_id,
            namespace: attempt.namespace,
            job: attempt.job,
            task: attempt.task,
            index: attempt.index,
            number: attempt.number,
            cpu_milli: resources.cpu_milli,
            memory_bytes: resources.memory_bytes,
            gpu_milli: resources.gpu_milli,
            since_ms: attempt.since_ms,
            hold: (!attempt.hold.is_empty()).then(|| attempt.hold.to_lowercase()),
            hold_text: attempt.hold_text,
            usage: attempt.usage.map(Into::into),
            is_array: attempt.count > 1,
        }
    }
}

impl NodeAttempt {
    /// `job/task[index]`.
    fn name(&self) -> String {
        format!("{}/{}", self.job, task_name(&self.task, self.index, self.is_array))
    }
}

/// `node status`.
#[derive(Debug, Serialize)]
pub(crate) struct NodeStatus {
    #[serde(flatten)]
    node: Node,
    lease_ms: u64,
    /// Set when it is lost: in so many milliseconds it may be forgotten.
    forget_in_ms: Option<u64>,
    /// By run, task and index; `attempts` counts those that are left out, too.
    on_node: Vec<NodeAttempt>,
    revision: u64,
    /// What runs on it uses together, as far as it is known.
    usage: Option<UsageSum>,
}

impl From<v1::GetNodeResponse> for NodeStatus {
    fn from(response: v1::GetNodeResponse) -> Self {
        Self {
            node: response.node.unwrap_or_default().into(),
            lease_ms: response.lease_ms,
            forget_in_ms: response.forget_in_ms,
            on_node: response.attempts.into_iter().map(Into::into).collect(),
            revision: response.revision,
            usage: response.usage.map(Into::into),
        }
    }
}

impl NodeStatus {
    /// Nothing is left on it.
    pub(crate) fn is_empty(&self) -> bool {
        self.node.attempts == 0
    }

    /// Its work is moved off.
    pub(crate) fn is_draining(&self) -> bool {
        self.node.withdrawals().any(|(_, withdrawal)| withdrawal.drain_in_ms.is_some())
    }

    /// What is left, and what it waits for, in one line.
    pub(crate) fn progress(&self) -> String {
        let Self { node, .. } = self;
        if self.is_empty() {
            return format!("node {}: nothing is left on it", node.name);
        }
        let mut waits: BTreeMap<&str, u64> = BTreeMap::new();
        for attempt in &self.on_node {
            *waits.entry(if attempt.hold.is_none() { "about to be moved" } else { &attempt.hold_text }).or_default() +=
                1;
        }
        let waits: Vec<String> = waits.into_iter().map(|(why, count)| format!("{count}: {}", plain(why))).collect();
        format!("node {}: {} left ({})", node.name, time::count(node.attempts.into(), "attempt"), waits.join("; "))
    }
}

impl View for NodeStatus {
    const SCHEMA: &'static str = "quorate.v1.node_status/1";

    fn human(&self, paint: Paint) -> String {
        let node = &self.node;
        let mut text = format!("Node {} of {}/{}\n", node.name, node.region, node.cluster);
        let mut line = |head: &str, rest: String| text += &format!("{head:<11}{}\n", plain(&rest));
        line("State", node.standing());
        for (of, withdrawal) in node.withdrawals() {
            let reason = if withdrawal.reason.is_empty() { "" } else { ": " };
            let verb = if withdrawal.drain_in_ms.is_some() { "Drained" } else { "Cordoned" };
            let at = time::instant(withdrawal.at_ms);
            line(verb, format!("{of}{at} by {}{reason}{}", withdrawal.by, withdrawal.reason));
            if let Some(rest) = withdrawal.drain_in_ms.filter(|rest| *rest > 0) {
                line("Moves", format!("in {}: until then attempts may end by themselves", time::span(rest)));
            }
            if let Some(rest) = withdrawal.ends_in_ms {
                line(
                    "Until",
                    format!(
                        "in {} {}takes work again by itself",
                        time::span(rest),
                        if of.is_empty() { "it " } else { of }
                    ),
                );
            }
        }
        let heard =
            node.heard_ms_ago.map_or("not heard by this leader".into(), |ago| format!("heard {} ago", time::span(ago)));
        line("Lease", format!("epoch {}, of {}, {heard}", node.epoch, time::span(self.lease_ms)));
        match self.forget_in_ms {
            Some(0) => line("Forget", "if it will not be back: 'quorate node forget' gives up what was on it".into()),
            Some(rest) => {
                line("Forget", format!("not before {} have passed: what it ran may not have ended", time::span(rest)))
            }
            None => {}
        }
        line("Registered", time::instant(node.registered_at_ms));
        if let Some(token) = &node.join_token {
            line("Admitted", format!("by join token {token}"));
        }
        line("Pool", node.pool.clone());
        if let Some(price) = &node.price {
            line("Price", format!("{price} for an hour"));
        }
        let taints = node.taint_words();
        if !taints.is_empty() {
            line("Taints", format!("{}: it takes what tolerates them", taints.join(", ")));
        }
        let labels = node.own_labels();
        if !labels.is_empty() {
            line("Labels", labels.join(", "));
        }
        let attributes: Vec<String> = node.attributes().map(|(name, value)| format!("{name}={value}")).collect();
        if !attributes.is_empty() {
            line("Attributes", attributes.join(", "));
        }
        line("CPU", bar(time::cores, node.used_cpu_milli, node.cpu_milli));
        line("Memory", bar(time::bytes, node.used_memory_bytes, node.memory_bytes));
        if node.gpu_milli > 0 {
            line("GPU", bar(time::cores, node.used_gpu_milli, node.gpu_milli));
            let gpus = (0..).zip(&node.gpus).map(|(at, gpu): (u32, _)| match gpu.used_milli {
                0 => format!("{at} {}", gpu.model),
                taken => format!("{at} {} ({} taken)", gpu.model, time::cores(taken.into())),
            });
            line("GPUs", gpus.collect::<Vec<_>>().join(", "));
        }
        line("Attempts", node.attempts.to_string());
        if let Some(usage) = &self.usage {
            line("Usage", usage.words(node.attempts.into()));
        }
        if self.on_node.is_empty() {
            return text;
        }
        let last = if self.is_draining() { "WAITS FOR" } else { "IF DRAINED" };
        let heads = [
            "RUN", "TASK", "ATTEMPT", "STATE", "SINCE", "PROMISE", "CPU", "CPU USED", "MEMORY", "MEM USED", "HEARD",
            last,
        ];
        let mut rows = Rows::new(paint, &heads);
        for attempt in &self.on_node {
            rows.row(vec![
                entry(&attempt.run_id),
                entry(attempt.name()),
                entry(attempt.number.to_string()),
                state(&attempt.state),
                faint(time::instant(attempt.since_ms)),
                entry(&attempt.on_node_loss),
                entry(time::cores(attempt.cpu_milli)),
                entry(or_dash(attempt.usage.as_ref().and_then(|usage| usage.cpu_milli), time::cores)),
                entry(time::bytes(attempt.memory_bytes)),
                entry(or_dash(attempt.usage.as_ref(), |usage| time::bytes(usage.memory_bytes))),
                faint(or_dash(attempt.usage.as_ref(), |usage| format!("{} ago", time::span(usage.age_ms)))),
                entry(if attempt.hold.is_none() { "moved" } else { &attempt.hold_text }),
            ]);
        }
        text = text + "\n" + rows.text().trim_end();
        let left_out = (node.attempts as usize).saturating_sub(self.on_node.len());
        if left_out > 0 {
            text += &format!("\n... and {left_out} more");
        }
        text
    }
}

/// `[######..................] 2/8 (25%)`. What is used is never shown as nothing, nor more than the bar holds.
fn bar(show: fn(u64) -> String, used: u64, all: u64) -> String {
    let part = |of: u64| {
        if all == 0 { 0 } else { u64::try_from(u128::from(used) * u128::from(of) / u128::from(all)).unwrap_or(of) }
    };
    let full = part(BAR_CHARS).max(u64::from(used > 0)).min(BAR_CHARS);
    let chars: String = (0..BAR_CHARS).map(|at| if at < full { '#' } else { '.' }).collect();
    format!("[{chars}] {}/{} ({}%)", show(used), show(all), part(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_stays_within_its_brackets() {
        for (used, all, bar_of) in [
            (0, 8_000, "[........................] 0/8 (0%)"),
            (1, 8_000, "[#.......................] 1m/8 (0%)"),
            (2_000, 8_000, "[######..................] 2/8 (25%)"),
            (8_000, 8_000, "[########################] 8/8 (100%)"),
            // A node that came back smaller.
            (16_000, 8_000, "[########################] 16/8 (200%)"),
            (0, 0, "[........................] 0/0 (0%)"),
        ] {
            assert_eq!(bar(time::cores, used, all), bar_of);
        }
    }
}
