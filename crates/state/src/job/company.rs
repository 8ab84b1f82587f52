//! Which other tasks a task stays apart from, and how it is spread among its own kind.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::{GroupName, Node};

/// Rules of one kind in one task.
pub const RULES_MAX: usize = 4;
/// Targets of one balance.
pub const TARGETS_MAX: usize = 64;
/// The greatest share of a target, and the greatest bound of [`AtMost`].
pub const SHARE_MAX: u32 = 1_000_000;

/// What a task makes of other tasks when a node is looked for. Needs [`crate::Feature::SpreadRules`].
///
/// All of it is about what is there: attempts that hold room on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Company {
    /// The group of its namespace that it belongs to.
    pub group: Option<GroupName>,
    /// Never more of its own elements in one domain; at most [`RULES_MAX`].
    pub at_most: Vec<AtMost>,
    /// Never in one domain with any task of a group, whichever of the two comes first; at most [`RULES_MAX`].
    pub apart: Vec<Apart>,
    /// Rather where fewer of its own elements are, the first before the second; at most [`RULES_MAX`].
    pub balance: Vec<Balance>,
}

/// At most so many elements of a step in one domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AtMost {
    /// What the domains are. A node that is in none is no place for the task.
    pub per: Topology,
    /// How many, 1 to [`SHARE_MAX`].
    pub tasks: u32,
}

/// Not in one domain with others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Apart {
    /// With tasks of this group of its namespace; it may be of that itself.
    pub from: GroupName,
    /// What the domains are. On a node that is in none it is apart from all.
    pub per: Topology,
}

/// Elements of a step spread over domains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Balance {
    /// What the domains are. Nodes that are in none come last.
    pub per: Topology,
    /// What each is to have in proportion to the others, 1 to [`SHARE_MAX`]; domains that are not named come after all that are.
    /// None: the same for all domains.
    pub targets: BTreeMap<String, u32>,
}

/// What divides the nodes into domains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topology {
    /// Each node is one.
    Node,
    /// Their clusters.
    Cluster,
    /// Their regions.
    Region,
    /// The values of this label.
    Label(String),
}

impl Topology {
    /// The domain of a node, if it is in any.
    pub fn domain<'a>(&self, node: &'a Node) -> Option<&'a str> {
        match self {
            Self::Node => Some(node.name.as_str()),
            Self::Cluster => Some(node.cluster.as_str()),
            Self::Region => Some(node.region.as_str()),
            Self::Label(key) => node.labels.get(key).map(String::as_str),
        }
    }
}

/// Before the key of a label, where a topology is written in one word.
const LABEL_PREFIX: &str = "label:";

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Cluster => f.write_str("cluster"),
            Self::Region => f.write_str("region"),
            Self::Label(key) => write!(f, "{LABEL_PREFIX}{key}"),
        }
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix(LABEL_PREFIX)) {
            ("node", _) => Ok(Self::Node),
            ("cluster", _) => Ok(Self::Cluster),
            ("region", _) => Ok(Self::Region),
            (_, Some(key)) if !key.is_empty() => Ok(Self::Label(key.to_owned())),
            _ => Err(format!("{text:?} is none of node, cluster, region and label:KEY")),
        }
    }
}

impl Company {
    /// It says nothing of other tasks, nor can others say anything of it but by the step.
    pub fn is_empty(&self) -> bool {
        let Self { group, at_most, apart, balance } = self;
        group.is_none() && at_most.is_empty() && apart.is_empty() && balance.is_empty()
    }

    /// It is told where others of its step are.
    pub fn counts_own(&self) -> bool {
        !self.at_most.is_empty() || !self.balance.is_empty()
    }
}
