//! What a command needs to talk to the control plane.

use std::time::Duration;

use quorate_state::Namespace;

use super::{Settings, SettingsError, parse};

/// How long a command tries when nothing else is said: several elections.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a command needs to talk to the control plane.
#[derive(Clone, Debug)]
pub(crate) struct ClientSettings {
    /// API addresses of replicas; any of them leads to the leader.
    pub(crate) servers: Vec<String>,
    /// Where jobs and runs are looked for when none is named.
    pub(crate) namespace: Namespace,
    /// Bound on every call, retries included.
    pub(crate) deadline: Duration,
}

impl ClientSettings {
    /// Reads them, with defaults.
    pub(crate) fn from(settings: &Settings) -> Result<Self, SettingsError> {
        let default = parse::namespace("default").map_err(|message| SettingsError::Invalid(vec![message]))?;
        Ok(Self {
            servers: settings.get("servers", parse::addresses)?.unwrap_or_else(|| vec!["127.0.0.1:7401".to_owned()]),
            namespace: settings.get("namespace", parse::namespace)?.unwrap_or(default),
            deadline: settings.get("deadline", parse::duration)?.unwrap_or(DEADLINE),
        })
    }
}
