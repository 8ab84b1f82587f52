//! What the simulator's oracles say of what the replicas left behind, asked of its binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// What they said.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Opinion {
    /// Why they could not judge, if so.
    pub(crate) invalid: Option<String>,
    /// Committed entries, from the first on.
    pub(crate) entries: u64,
    /// What they were told beside these.
    pub(crate) facts: u64,
    pub(crate) properties: Vec<Property>,
    pub(crate) left_out: Vec<LeftOut>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Property {
    /// Its number; those of one number are judged apart.
    pub(crate) property: String,
    pub(crate) violation: Option<String>,
}

/// What they could not judge, and what they would need.
#[derive(Debug, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) property: String,
    pub(crate) lacks: String,
}

impl Opinion {
    /// Number and sentence of what did not hold.
    pub(crate) fn violations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().filter_map(|one| Some((one.property.as_str(), one.violation.as_deref()?)))
    }
}

/// Asks them about stores that nobody has open.
pub(crate) fn ask(simulation: &Path, stores: &[PathBuf], facts: &Path) -> Result<Opinion, String> {
    let mut command = Command::new(simulation);
    command.args(["judge", "--json", "--facts"]).arg(facts);
    for store in stores {
        command.arg("--store").arg(store);
    }
    let output = command.output().map_err(|error| format!("{}: {error}", simulation.display()))?;
    // Where something did not hold it ends with 1, and has said what.
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        format!("the oracles cannot judge ({}): {}", output.status, complaint.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_binary_says_is_read() {
        let said = r#"{"verdict":"violated","invalid":null,"entries":12,"facts":3,
            "properties":[{"property":"P1","violation":null},{"property":"P3","violation":"n1 is full"}],
            "left_out":[{"property":"C1","lacks":"votes"}]}"#;
        let opinion: Opinion = serde_json::from_str(said).unwrap();
        assert_eq!((opinion.entries, opinion.facts, opinion.left_out.len()), (12, 3, 1));
        assert_eq!(opinion.violations().collect::<Vec<_>>(), [("P3", "n1 is full")]);
    }
}
