//! The kinds of faults that a seed can have.

use serde::{Deserialize, Serialize};

/// A fault class. Each seed has a random subset of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Class {
    /// One link or all lose messages.
    Loss,
    /// A link becomes slow for a while.
    SlowLink,
    /// Some cannot reach some others, one way or both.
    Partition,
    /// Messages between some are held back, and come all at once.
    Hold,
    /// Replicas lose power, and come back soon.
    Crash,
    /// A replica is away for so long that the log it lacks is cut off.
    Absence,
    /// More replicas than a quorum can spare lose power at once.
    QuorumLoss,
    /// A replica stands still and goes on.
    Pause,
    /// A replica is asked to stop, and hands leadership over.
    Handover,
    /// A replica joins late.
    Join,
    /// An operator changes who takes part.
    Membership,
    /// A replica's disk goes back to an image of itself.
    OldImage,
    /// A replica's history differs from that of the others.
    Divergence,
    /// The data is lost, and goes on from a backup or from one survivor.
    Restore,
    /// Every replica begins as an older version, and is replaced by this one in turn.
    Upgrade,
    /// An operator takes nodes out of service and gives them back, forgets some, and changes their labels.
    Upkeep,
    /// An agent's process is killed.
    AgentKill,
    /// A machine with agents loses power.
    RackCrash,
    /// A machine with agents stands still and goes on.
    RackPause,
    /// Wall clocks jump, and all clocks run at different rates.
    Clock,
    /// A disk is slow, or stands still.
    SlowDisk,
    /// A write or a sync fails.
    DiskError,
    /// A disk is full for a while.
    DiskFull,
    /// A disk has less free than the reserve for a while.
    DiskLow,
    /// Requests are sent again, also late and by others.
    Duplicates,
    /// Many runs are cancelled at once.
    CancelStorm,
    /// A job that takes its agent down wherever it starts.
    Poison,
}

impl Class {
    /// True for one that is in the workload, the labels or the clocks too: taking its faults away does not take it away.
    pub(super) fn is_elsewhere(self) -> bool {
        matches!(self, Self::Join | Self::Upkeep | Self::Clock | Self::Duplicates | Self::CancelStorm | Self::Poison)
    }
}
