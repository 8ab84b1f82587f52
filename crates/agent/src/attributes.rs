//! What an agent finds out of its machine: how much of it there is for tasks, and words by which jobs can choose it.
//!
//! All of it is looked at once, when the agent starts: a node that changes is registered anew when its agent is
//! started again. What is not known is left out; nothing here keeps an agent from starting.

mod devices;
mod gpus;
mod machine;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quorate_state::ATTRIBUTE_PREFIX;

pub use gpus::gpus;
pub use machine::{cpu_milli, memory_bytes};

/// A probe for devices ends within this, or it is killed.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of an attribute's value: what a label may have.
const VALUE_BYTES_MAX: usize = 256;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Options {
    /// The agent's data directory: the disk that it stands on is the node's. It exists.
    pub data_dir: PathBuf,
    /// A line for the shell that prints which devices there are; none: nobody asks.
    pub devices_probe: Option<String>,
}

/// The attributes of this machine, as labels: each key begins with [`ATTRIBUTE_PREFIX`].
pub async fn detect(options: &Options) -> BTreeMap<String, String> {
    let mut found = machine::attributes(&options.data_dir);
    if let Some(command) = &options.devices_probe {
        match devices::probe(command, PROBE_DEADLINE).await {
            Ok(devices) => {
                tracing::info!(command, ?devices, "devices found");
                found.extend(devices.into_iter().map(|(name, count)| (format!("device.{name}"), count.to_string())));
            }
            Err(error) => tracing::error!(command, %error, "the probe for devices failed: this node has none"),
        }
    }
    let label = |(name, value): (String, String)| {
        let value = tidied(&value);
        (!value.is_empty()).then(|| (format!("{ATTRIBUTE_PREFIX}{name}"), value))
    };
    found.into_iter().filter_map(label).collect()
}

/// A value as a label can have it: files of the system may hold anything.
fn tidied(value: &str) -> String {
    let mut value: String = value.chars().filter(|c| !c.is_control()).collect();
    while value.len() > VALUE_BYTES_MAX {
        value.pop();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_described_under_the_reserved_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let probe = Some("echo gpu 2".to_owned());
        let found = detect(&Options { data_dir: dir.path().into(), devices_probe: probe }).await;
        assert!(found.iter().all(|(key, value)| key.starts_with(ATTRIBUTE_PREFIX) && !value.is_empty()), "{found:?}");
        for name in ["arch", "cpus", "memory-bytes", "disk-bytes", "kernel", "hostname"] {
            assert!(found.contains_key(&format!("{ATTRIBUTE_PREFIX}{name}")), "{name} in {found:?}");
        }
        assert_eq!(found["quorate.dev/device.gpu"], "2");
    }

    #[tokio::test]
    async fn a_probe_that_fails_leaves_the_rest_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let with = |probe: Option<&str>| Options { data_dir: dir.path().into(), devices_probe: probe.map(Into::into) };
        assert_eq!(detect(&with(Some("exit 3"))).await, detect(&with(None)).await);
    }

    #[test]
    fn values_fit_into_labels() {
        assert_eq!(tidied("6.1.0\n\0-18"), "6.1.0-18");
        let long = tidied(&"é".repeat(VALUE_BYTES_MAX));
        assert_eq!(long.len(), VALUE_BYTES_MAX);
    }
}
