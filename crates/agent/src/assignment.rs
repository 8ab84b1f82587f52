//! What the control plane wants to run here, read from the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_planted::Bug;
use quorate_proto::convert::agent::attempt_ref_from_wire;
use quorate_proto::convert::gpu::gpu_hold_from_wire;
use quorate_proto::convert::job::resources_from_wire;
use quorate_proto::v1;
use quorate_state::{AttemptId, Choice, Driver, GpuHold, JobName, Namespace, OnNodeLoss, Resources, TaskName, Token};

/// One attempt that should be on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Which.
    pub attempt: AttemptId,
    /// Its fencing token.
    pub token: Token,
    /// Where its job lives.
    pub namespace: Namespace,
    /// Its job.
    pub job: JobName,
    /// The task's name in the job.
    pub task: TaskName,
    /// What runs it.
    pub driver: Driver,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
    /// What it was given.
    pub resources: Resources,
    /// The GPUs that are its own.
    pub gpus: GpuHold,
    /// Which of the alternatives of its task that is, if that has several.
    pub choice: Option<Choice>,
    /// What the end of this node's lease means for it.
    pub on_node_loss: OnNodeLoss,
    /// It should end.
    pub stop: bool,
    /// How many elements its task has.
    pub count: u32,
    /// Its process may say nothing for so long; none: for as long as it likes.
    pub silent_max: Option<Duration>,
    /// Why there is no command: a reference in it points to nothing. It must not be started.
    pub flaw: Option<String>,
    /// If it is a member of a gang: the names of the nodes where its members are, by index.
    pub gang: Option<Vec<String>>,
}

/// An assignment that this version cannot read, such as one for a driver it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which, if at least that is clear: it is then reported as never started.
    pub attempt: Option<(AttemptId, Token)>,
    /// What is wrong.
    pub why: String,
}

impl Assignment {
    /// Reads one.
    pub fn from_wire(wire: v1::Assignment) -> Result<Self, Unreadable> {
        let token = Token(wire.token);
        let attempt = wire.attempt.as_ref().and_then(|attempt| attempt_ref_from_wire(attempt).ok());
        let unreadable = |why: String| Unreadable { attempt: attempt.map(|attempt| (attempt, token)), why };
        Ok(Self {
            attempt: attempt.ok_or_else(|| unreadable("it names no attempt".into()))?,
            token,
            namespace: Namespace::new(&wire.namespace).map_err(|error| unreadable(error.to_string()))?,
            job: JobName::new(&wire.job).map_err(|error| unreadable(error.to_string()))?,
            task: TaskName::new(&wire.task).map_err(|error| unreadable(error.to_string()))?,
            driver: match v1::Driver::try_from(wire.driver) {
                Ok(v1::Driver::Process) => Driver::Process,
                Ok(v1::Driver::Noop) => Driver::Noop,
                Ok(v1::Driver::Unspecified) | Err(_) => {
                    return Err(unreadable(format!("this agent has no driver number {}", wire.driver)));
                }
            },
            argv: wire.argv,
            env: wire.env.into_iter().map(|label| (label.key, label.value)).collect(),
            resources: resources_from_wire(wire.resources.unwrap_or_default()),
            gpus: gpu_hold_from_wire(wire.gpus)
                .map(|hold| if quorate_planted::is(Bug::ToldOtherDevices) { from_first(hold) } else { hold })
                .ok_or_else(|| unreadable("it holds no part of a GPU".into()))?,
            choice: match wire.want {
                None => None,
                Some(want) => {
                    let choice = Choice::of(want);
                    Some(choice.ok_or_else(|| unreadable(format!("this agent knows no alternative {want}")))?)
                }
            },
            on_node_loss: match v1::OnNodeLoss::try_from(wire.on_node_loss) {
                Ok(v1::OnNodeLoss::AtLeastOnce) => OnNodeLoss::AtLeastOnce,
                Ok(v1::OnNodeLoss::Fenced) => OnNodeLoss::Fenced,
                Ok(v1::OnNodeLoss::AtMostOnce) => OnNodeLoss::AtMostOnce,
                // A promise that this version does not know must not be broken by guessing.
                Ok(v1::OnNodeLoss::Unspecified) | Err(_) => {
                    return Err(unreadable(format!("this agent does not know promise number {}", wire.on_node_loss)));
                }
            },
            stop: wire.stop,
            count: wire.count,
            silent_max: wire.silent_timeout_ms.map(Duration::from_millis),
            flaw: wire.flaw,
            gang: wire.gang.map(|peers| peers.nodes),
        })
    }
}

/// As many devices, from the first one on: what a planted bug makes of a hold.
fn from_first(hold: GpuHold) -> GpuHold {
    let devices = 1_u64.checked_shl(hold.devices.count_ones()).map_or(u64::MAX, |next| next - 1);
    GpuHold { devices, ..hold }
}
