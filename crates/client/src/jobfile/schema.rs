//! The one schema of job files: what the parser accepts, what it refuses for now, and what the documentation lists.

use std::fmt;

use super::quantity::{CPU_MILLI_MAX, DURATION_MS_MAX, GPU_MILLI_MAX, MEMORY_BYTES_MAX};
use super::quantity::{cpu_text, duration_text, memory_text};

/// One key of a job file.
#[derive(Clone, Copy, Debug)]
pub struct KeyDoc {
    /// Where it stands; `NAME` is a name of the user's choice.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds when it is left out, as it would be written; `required` when it must be given;
    /// empty when leaving it out means that there is none.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// False for keys that are part of the language but do not run yet.
    pub supported: bool,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name: letters, digits, `.`, `_`, `-`.
    Name,
    /// Any text.
    Text,
    /// True or false.
    Bool,
    /// Any value.
    Any,
    /// A whole number, which may be negative.
    Signed,
    /// A whole number within bounds.
    Whole {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A number with at most three decimals that count.
    Decimal {
        /// The least, in thousandths.
        min_milli: u32,
        /// The greatest, in thousandths.
        max_milli: u32,
    },
    /// CPU cores.
    Cpu,
    /// Bytes of memory.
    Memory,
    /// GPUs.
    Gpu,
    /// A length of time.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of names.
    Names,
    /// A list of texts.
    Texts,
    /// A list of exit codes and error types.
    Ends,
    /// A list of tables with known keys.
    Tables,
    /// Texts under keys of the user's choice.
    TextMap,
    /// A table with known keys.
    Table,
    /// Tables of one shape under names of the user's choice.
    NamedTables,
    /// The name of a `[retry.NAME]` table, or such a table itself.
    RetryPolicy,
    /// What becomes of tasks when their region is lost.
    RegionLoss,
    /// The type of a parameter, or a table that describes one.
    Param,
    /// What the elements of a task are for.
    Each,
    /// Whether its elements are a gang, or what is asked of that.
    Gang,
    /// Program and arguments, or a job.
    Run,
    /// Values by name.
    Values,
    /// Not settled before it is supported.
    Open,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("a name (letters, digits, '.', '_', '-')"),
            Self::Text => f.write_str("a text"),
            Self::Bool => f.write_str("true or false"),
            Self::Any => f.write_str("any value"),
            Self::Signed => f.write_str("a whole number"),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Decimal { min_milli, max_milli } => {
                write!(f, "a number from {} to {}", min_milli / 1_000, max_milli / 1_000)
            }
            Self::Cpu => write!(f, "CPU cores such as 2, 0.5 or \"500m\", at most {}", cpu_text(CPU_MILLI_MAX)),
            Self::Memory => {
                write!(f, "bytes such as \"256Mi\", \"1.5Gi\" or 1048576, at most {}", memory_text(MEMORY_BYTES_MAX))
            }
            Self::Gpu => write!(f, "GPUs such as 1, 0.5 or \"500m\", at most {}", cpu_text(GPU_MILLI_MAX)),
            Self::Duration => {
                write!(
                    f,
                    "a duration such as \"500ms\", \"15m\" or \"1h30m\", at most {}",
                    duration_text(DURATION_MS_MAX)
                )
            }
            Self::Choice(words) => {
                f.write_str("one of ")?;
                words
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, word)| write!(f, "{}\"{word}\"", if index == 0 { "" } else { ", " }))
            }
            Self::Names => f.write_str("a list of names"),
            Self::Texts => f.write_str("a list of texts"),
            Self::Ends => f.write_str("a list of exit codes (whole numbers) and error types (names)"),
            Self::TextMap => f.write_str("a table of texts"),
            Self::Table => f.write_str("a table"),
            Self::Tables => f.write_str("a list of tables"),
            Self::NamedTables => f.write_str("tables by name"),
            Self::RegionLoss => {
                f.write_str("\"move\", \"stay\", or a table such as { move_after = \"10m\", spill = [\"us\"] }")
            }
            Self::RetryPolicy => f.write_str("the name of a [retry.NAME] table, or such a table in place"),
            Self::Param => f.write_str("a type such as \"date\", or a table with type, default and description"),
            Self::Each => f.write_str(
                "a list, a number, { from = 0, to = 100 }, or a reference such as \"${split.result.parts}\"",
            ),
            Self::Gang => f.write_str("true, or a table such as { within = \"cluster\", start = \"5m\" }"),
            Self::Run => f.write_str("a list of texts, or a job such as \"job://train\" or \"job://train@3\""),
            Self::Values => f.write_str("a table of values"),
            Self::Open => f.write_str("not settled yet"),
        }
    }
}

/// Every key that a job file can have, in the order in which to read about them.
pub fn reference() -> &'static [KeyDoc] {
    KEYS
}

/// The key at `prefix` + `.` + `name`.
pub(super) fn find(prefix: &str, name: &str) -> Option<&'static KeyDoc> {
    children(prefix).find(|(child, _)| *child == name).map(|(_, key)| key)
}

/// The keys right below `prefix`.
pub(super) fn children(prefix: &str) -> impl Iterator<Item = (&'static str, &'static KeyDoc)> {
    KEYS.iter().filter_map(move |key| {
        let rest = key.path.strip_prefix(prefix)?;
        let name = if prefix.is_empty() { rest } else { rest.strip_prefix('.')? };
        (!name.is_empty() && !name.contains('.')).then_some((name, key))
    })
}

pub(super) const ON_FAILURE: &[&str] = &["finish", "cancel"];
pub(super) const ON_NODE_LOSS: &[&str] = &["at_least_once", "fenced", "at_most_once"];
pub(super) const SPREAD: &[&str] = &["pack", "node", "cluster"];
pub(super) const DRIVER: &[&str] = &["process", "noop"];

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> KeyDoc {
    KeyDoc { path, kind, default, doc, supported: true }
}

const fn later(path: &'static str, doc: &'static str) -> KeyDoc {
    KeyDoc { path, kind: Kind::Open, default: "", doc, supported: false }
}

const MS_MAX: u64 = u32::MAX as u64;

const KEYS: &[KeyDoc] = &[
    key(
        "name",
        Kind::Name,
        "required",
        "The job's name, unique in its namespace; submitting it again makes a new version.",
    ),
    key("namespace", Kind::Name, "\"default\"", "Where the job lives; it must exist."),
    key(
        "priority",
        Kind::Whole { min: 0, max: 100 },
        "50",
        "Who is placed first: 100 before 0; equals in submit order.",
    ),
    key("labels", Kind::TextMap, "{}", "Free words for people and selectors."),
    key(
        "on_failure",
        Kind::Choice(ON_FAILURE),
        "\"finish\"",
        "When a task fails for good: \"finish\" completes independent branches, skips its dependents and fails the run; \"cancel\" cancels the rest.",
    ),
    key(
        "on_node_loss",
        Kind::Choice(ON_NODE_LOSS),
        "\"at_least_once\"",
        "The promise about copies of a task whose node is lost; each task may set its own.",
    ),
    key(
        "on_region_loss",
        Kind::RegionLoss,
        "\"move\"",
        "What becomes of tasks when their region is lost; each task may set its own.",
    ),
    key(
        "on_region_loss.move_after",
        Kind::Duration,
        "",
        "They go elsewhere so long after the loss, or at once if this is left out.",
    ),
    key(
        "on_region_loss.spill",
        Kind::Names,
        "",
        "Then to these regions alone, to the first of them that has room; an empty list allows all that place allows.",
    ),
    key("timeout", Kind::Duration, "", "A run that takes longer, from its submit on, is cancelled and has failed."),
    key("params", Kind::NamedTables, "", "What a run of it can be told, by name."),
    key(
        "params.NAME",
        Kind::Param,
        "",
        "Something that a run can be told. Texts name it as ${params.NAME}, conditions as params.NAME.",
    ),
    key(
        "params.NAME.type",
        Kind::Text,
        "required",
        "string, integer, number, boolean, date, list or map. A text in place of the table is the type.",
    ),
    key("params.NAME.default", Kind::Any, "", "Its value when nobody gives one; without, every submit must give it."),
    key("params.NAME.description", Kind::Text, "", "What it is for."),
    key("retry", Kind::NamedTables, "", "Retry policies, named once and used by any task."),
    key(
        "retry.NAME",
        Kind::Table,
        "",
        "When a failed attempt is tried again. A lost node never uses up one of these attempts.",
    ),
    key("retry.NAME.attempts", Kind::Whole { min: 1, max: 1_000 }, "1", "All tries, the first included."),
    key("retry.NAME.first", Kind::Duration, "\"1s\"", "Delay before the second try."),
    key(
        "retry.NAME.factor",
        Kind::Decimal { min_milli: 1_000, max_milli: 100_000 },
        "2.0",
        "How the delay grows from try to try.",
    ),
    key("retry.NAME.cap", Kind::Duration, "\"100s\"", "The longest delay."),
    key(
        "retry.NAME.jitter",
        Kind::Decimal { min_milli: 0, max_milli: 1_000 },
        "0.2",
        "Spread of the delay, as a part of itself, so that many tasks do not come back at once.",
    ),
    key(
        "retry.NAME.never",
        Kind::Ends,
        "[]",
        "Exit codes, and error types that a process reports, that are not tried again.",
    ),
    key("task", Kind::NamedTables, "required", "The tasks: the nodes of the job's graph."),
    key("task.NAME", Kind::Table, "", "One task, or `count` equal ones."),
    key(
        "task.NAME.run",
        Kind::Run,
        "required",
        "Program and arguments; or a job of the same namespace: the task is a run of its newest version then, or of the version behind @.",
    ),
    key(
        "task.NAME.driver",
        Kind::Choice(DRIVER),
        "\"process\"",
        "How it runs: a process on the node, or \"noop\": nothing at all, for drills; it needs no `run`.",
    ),
    key("task.NAME.env", Kind::TextMap, "{}", "Added to the process's environment."),
    key("task.NAME.needs", Kind::Names, "[]", "Tasks that must succeed first, all of their elements."),
    key("task.NAME.count", Kind::Whole { min: 1, max: MS_MAX }, "1", "How many elements; each gets its index from 0."),
    key("task.NAME.resources", Kind::Table, "", "What one element takes of its node."),
    key("task.NAME.resources.cpu", Kind::Cpu, "\"100m\"", "CPU cores."),
    key("task.NAME.resources.memory", Kind::Memory, "\"64Mi\"", "Memory."),
    key("task.NAME.resources.gpu", Kind::Gpu, "0", "GPUs: a share of one, or whole ones."),
    key("task.NAME.resources.gpu_models", Kind::Names, "[]", "Models of which the GPUs may be; none: of any."),
    key(
        "task.NAME.want",
        Kind::Tables,
        "",
        "In the place of `resources`: 2 to 4 things of which an element takes one, the best first.",
    ),
    key("task.NAME.want.cpu", Kind::Cpu, "", "CPU cores; 100m if it is not said."),
    key("task.NAME.want.memory", Kind::Memory, "", "Memory; 64Mi if it is not said."),
    key("task.NAME.want.gpu", Kind::Gpu, "", "GPUs: a share of one, or whole ones; none if it is not said."),
    key("task.NAME.want.gpu_models", Kind::Names, "", "Models of which the GPUs may be; none: of any."),
    key("task.NAME.retry", Kind::RetryPolicy, "{}", "When a failed attempt is tried again."),
    key("task.NAME.timeouts", Kind::Table, "", "How long its phases may take."),
    key("task.NAME.timeouts.run", Kind::Duration, "", "An attempt that runs longer is stopped and counts as failed."),
    key(
        "task.NAME.timeouts.queued",
        Kind::Duration,
        "",
        "A task that is ready for longer, each time anew, and is not placed fails for good.",
    ),
    key(
        "task.NAME.timeouts.silent",
        Kind::Duration,
        "",
        "An attempt that writes nothing to its report for longer is stopped and counts as failed; at least 1s.",
    ),
    key("task.NAME.place", Kind::Table, "", "Where it may run."),
    key("task.NAME.place.regions", Kind::Names, "[]", "Allowed regions; an empty list allows all."),
    key("task.NAME.place.clusters", Kind::Names, "[]", "Allowed clusters; an empty list allows all."),
    key(
        "task.NAME.place.labels",
        Kind::TextMap,
        "{}",
        "What the labels of its node must say, among them what agents find out (quorate.dev/...); \"*\" stands for any value.",
    ),
    key("task.NAME.place.pools", Kind::Names, "[]", "Allowed pools; an empty list allows the pool default alone."),
    key(
        "task.NAME.place.tolerate",
        Kind::TextMap,
        "{}",
        "Taints of nodes that do not keep it away; \"*\" stands for any value.",
    ),
    key(
        "task.NAME.place.where",
        Kind::Text,
        "",
        "What must hold of its node beside all that, as node.labels.zone in [\"a\", \"b\"] && node.gpus >= 4: a part of the language CEL.",
    ),
    key(
        "task.NAME.place.reservation",
        Kind::Name,
        "",
        "The reservation on whose nodes it runs, and on no other; it waits until the time of that has begun.",
    ),
    key(
        "task.NAME.place.prefer",
        Kind::Tables,
        "[]",
        "What speaks for a node, and against. Among the nodes that can take it, the sum of the weights decides before all else.",
    ),
    key("task.NAME.place.prefer.label", Kind::Text, "", "It has this label: \"key=value\", or \"key\" with any value."),
    key("task.NAME.place.prefer.pool", Kind::Name, "", "It is in this pool."),
    key("task.NAME.place.prefer.region", Kind::Name, "", "It stands in this region."),
    key("task.NAME.place.prefer.cluster", Kind::Name, "", "It is of this cluster."),
    key("task.NAME.place.prefer.weight", Kind::Signed, "required", "How much: 1 to 100 for it, -100 to -1 against it."),
    key(
        "task.NAME.place.cheap",
        Kind::Whole { min: 0, max: 100 },
        "0",
        "What half the price of a node is worth, as the weight of a preference.",
    ),
    key(
        "task.NAME.place.near",
        Kind::Tables,
        "[]",
        "The data that it reads, to be near which is worth near_weight: in part where a part of it lies, or lies not far away.",
    ),
    key("task.NAME.place.near.region", Kind::Name, "required", "Where it lies."),
    key("task.NAME.place.near.size", Kind::Memory, "required", "How much it is."),
    key(
        "task.NAME.place.near_weight",
        Kind::Whole { min: 1, max: 100 },
        "",
        "What it is worth to be where all of its data lies, as the weight of a preference; 50 if it is not said.",
    ),
    key(
        "task.NAME.place.group",
        Kind::Name,
        "",
        "The group that it belongs to, for other tasks of the namespace to stay apart from.",
    ),
    key(
        "task.NAME.place.at_most",
        Kind::Tables,
        "[]",
        "Never more of its own elements in one domain. A node that is in none is no place for it.",
    ),
    key(
        "task.NAME.place.at_most.per",
        Kind::Text,
        "required",
        "What the domains are: \"node\", \"cluster\", \"region\", or \"label:KEY\" for the values of a label.",
    ),
    key("task.NAME.place.at_most.tasks", Kind::Whole { min: 1, max: 1_000_000 }, "", "How many; 1 if it is not said."),
    key(
        "task.NAME.place.apart",
        Kind::Tables,
        "[]",
        "Never in one domain with any task of a group, whichever comes first.",
    ),
    key("task.NAME.place.apart.from", Kind::Name, "required", "The group."),
    key("task.NAME.place.apart.per", Kind::Text, "required", "What the domains are, as above."),
    key(
        "task.NAME.place.balance",
        Kind::Tables,
        "[]",
        "Rather where fewer of its own elements are, the first before the second. Before preferences and packing.",
    ),
    key("task.NAME.place.balance.per", Kind::Text, "required", "What the domains are, as above, but for \"node\"."),
    key(
        "task.NAME.place.balance.targets",
        Kind::Tables,
        "",
        "What domains are to have in proportion to each other; those not named come last. Empty: all the same.",
    ),
    key("task.NAME.place.balance.targets.in", Kind::Text, "required", "The domain: a name, or a value of the label."),
    key(
        "task.NAME.place.balance.targets.share",
        Kind::Whole { min: 1, max: 1_000_000 },
        "",
        "Its share; 1 if it is not said.",
    ),
    key(
        "task.NAME.place.spread",
        Kind::Choice(SPREAD),
        "\"pack\"",
        "Which of the nodes that can take it: the fullest (\"pack\"), the emptiest (\"node\"), or the emptiest of the emptiest cluster (\"cluster\").",
    ),
    key("task.NAME.on_node_loss", Kind::Choice(ON_NODE_LOSS), "", "Overrides the job's."),
    key("task.NAME.on_region_loss", Kind::RegionLoss, "", "Overrides the job's."),
    key(
        "task.NAME.on_region_loss.move_after",
        Kind::Duration,
        "",
        "It goes elsewhere so long after the loss, or at once if this is left out.",
    ),
    key(
        "task.NAME.on_region_loss.spill",
        Kind::Names,
        "",
        "Then to these regions alone, to the first of them that has room.",
    ),
    key(
        "task.NAME.preemptible",
        Kind::Bool,
        "true",
        "It may be stopped, and run again later, to make room for what is more urgent; what is at_most_once never is.",
    ),
    key(
        "task.NAME.when",
        Kind::Text,
        "",
        "A condition (CEL), asked once its needs are met: unless it is true, the task is passed over.",
    ),
    key(
        "task.NAME.each",
        Kind::Each,
        "",
        "One element for each value of a list, or as many as a number; ${each} is the value, ${index} its place from 0.",
    ),
    key("task.NAME.each.from", Kind::Signed, "required", "The first number."),
    key("task.NAME.each.to", Kind::Signed, "required", "The number behind the last."),
    key("task.NAME.gang", Kind::Gang, "false", "Its elements are placed all or none, and begin anew all together."),
    key(
        "task.NAME.gang.within",
        Kind::Text,
        "",
        "What the nodes of all of them have in common: \"cluster\", \"region\" or \"label:KEY\", the value of that label.",
    ),
    key(
        "task.NAME.gang.start",
        Kind::Duration,
        "",
        "All of them run so long after they were placed, or all of them begin anew.",
    ),
    key("task.NAME.accept", Kind::Table, "", "What is good enough."),
    key(
        "task.NAME.accept.failed",
        Kind::Whole { min: 0, max: MS_MAX },
        "0",
        "So many elements may fail, and the task counts as done all the same.",
    ),
    key(
        "task.NAME.on",
        Kind::Table,
        "",
        "Makes it a fallback: it runs when others have failed, and is passed over otherwise.",
    ),
    key("task.NAME.on.failed", Kind::Names, "required", "The tasks that it stands in for."),
    key(
        "task.NAME.undo",
        Kind::Texts,
        "",
        "Program and arguments that take back what an element has done, when the run fails or is cancelled later.",
    ),
    key("task.NAME.finally", Kind::Bool, "false", "It runs at the end, however the work of the run ended."),
    key(
        "task.NAME.args",
        Kind::Values,
        "",
        "What the run of another job is told, by the names of its params. A text that is one reference stands for its value.",
    ),
    key(
        "result",
        Kind::Values,
        "",
        "What comes out of a run that ends well, by name. A text that is one reference stands for its value.",
    ),
    later("trigger", "What submits the job: cron or events."),
    later("task.NAME.image", "A container image to run in."),
    later("task.NAME.kind", "Batch, service or daemon."),
    later("task.NAME.wait", "Waits for a signal, holding no slot."),
    later("task.NAME.resources.disk", "Disk space."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_there_once_and_below_a_key_that_is_there() {
        let mut seen = std::collections::BTreeSet::new();
        for key in reference() {
            assert!(seen.insert(key.path), "{} twice", key.path);
            assert!(!key.doc.is_empty());
            if let Some((parent, _)) = key.path.rsplit_once('.') {
                assert!(seen.contains(parent), "{} before its table", key.path);
            }
        }
    }

    #[test]
    fn children_are_one_level_below() {
        let names: Vec<_> = children("task.NAME.resources").map(|(name, _)| name).collect();
        assert_eq!(names, ["cpu", "memory", "gpu", "gpu_models", "disk"]);
        assert!(find("", "name").is_some_and(|key| key.supported));
        assert!(find("task.NAME", "wait").is_some_and(|key| !key.supported));
        assert!(find("", "task.NAME").is_none());
    }
}
