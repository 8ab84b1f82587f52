//! What came with feature `fair-share`: behind all that was frozen before it.

use std::sync::Arc;

use quorate_state::{
    Amounts, Change, Command, Fairness, Millis, NamespaceRow, Past, Resources, Served, Settings, Share, ShareChange,
    Task, TaskId, TaskState, Uuid,
};

use super::{RUN, resources};

const FAIRNESS: Fairness = Fairness { half_life_ms: 600_000, overdue_ms: 0 };

pub(super) fn namespace_commands() -> Vec<Command> {
    let change = ShareChange {
        parent: Some(Some("research".parse().unwrap())),
        weight: Some(1_000_000),
        guaranteed: Some(Amounts { cpu_milli: Some(4_000), memory_bytes: Some(0), gpu_milli: Some(1_500) }),
        maximum: Some(Amounts { cpu_milli: Some(u64::MAX), ..Amounts::default() }),
    };
    let back = ShareChange { parent: Some(None), maximum: Some(Amounts::default()), ..ShareChange::default() };
    let settings = Settings { fairness: Some(FAIRNESS), ..Settings::default() };
    let set = |is_new, change| Command::SetNamespace {
        namespace: "vision".parse().unwrap(),
        is_new,
        change: Box::new(change),
    };
    vec![
        set(true, change),
        set(false, back),
        set(false, ShareChange::default()),
        Command::SetFairness { fairness: FAIRNESS },
        Command::SampleUse { namespaces: vec!["vision".parse().unwrap(), "a".parse().unwrap()] },
        Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings: Box::new(settings) },
    ]
}

pub(super) fn namespace_changes() -> Vec<Change> {
    let share = Share {
        parent: Some("research".parse().unwrap()),
        weight: 3,
        guaranteed: Amounts { gpu_milli: Some(1_500), ..Amounts::default() },
        maximum: Amounts { cpu_milli: Some(0), memory_bytes: Some(1 << 40), gpu_milli: Some(2_000) },
    };
    let row = |name: &str, share: Share, past: Past| {
        let row = NamespaceRow { share, past, ..NamespaceRow::new(name.parse().unwrap(), Millis(3)) };
        Change::Namespace(Arc::new(row))
    };
    let begun = Past { held: Resources::ZERO, sampled_at: Some(Served(0)) };
    let known = Past { held: resources(), sampled_at: Some(Served(60_000)) };
    let settings = Settings { fairness: Some(FAIRNESS), ..Settings::default() };
    let id = TaskId { run: RUN, step: 0, index: 40 };
    let guaranteed = Amounts { gpu_milli: Some(1_500), ..Amounts::default() };
    vec![
        row("research", Share { guaranteed, ..Share::default() }, begun),
        row("vision", share, known),
        Change::Settings(Arc::new(settings)),
        Change::Task(Arc::new(Task { ready_since: Some(Served(7)), ..Task::new(id, TaskState::Ready) })),
    ]
}
