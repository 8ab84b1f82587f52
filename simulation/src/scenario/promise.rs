//! What jobs are promised about copies of their tasks.

use serde::{Deserialize, Serialize};

/// See `quorate_state::OnNodeLoss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Promise {
    AtLeastOnce,
    Fenced,
    AtMostOnce,
}
