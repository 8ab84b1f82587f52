//! Places of tasks, as persisted messages.

use quorate_state::{Epoch, GangRoom, Placement};

use super::v1 as pb;
use crate::convert::gpu::gpu_hold_to_wire;
use crate::format::FormatError;
use crate::format::parts::{attempt_id_from, attempt_id_to, choice_from, gpus_from, parsed, task_id_from, task_id_to};

pub(super) fn placement_to(placement: &Placement) -> pb::Placement {
    pb::Placement {
        task: Some(task_id_to(placement.task)),
        generation: placement.generation,
        node: placement.node.to_string(),
        epoch: placement.epoch.0,
        gpus: gpu_hold_to_wire(placement.gpus),
        want: placement.choice.number(),
    }
}

pub(super) fn placement_from(placement: pb::Placement) -> Result<Placement, FormatError> {
    Ok(Placement {
        task: task_id_from("placement.task", placement.task)?,
        generation: placement.generation,
        node: parsed("placement.node", &placement.node)?,
        epoch: Epoch(placement.epoch),
        gpus: gpus_from("placement.gpus", placement.gpus)?,
        choice: choice_from("placement.want", placement.want)?,
    })
}

pub(super) fn gang_room_to(room: &GangRoom) -> pb::GangRoom {
    pb::GangRoom {
        node: room.node.to_string(),
        epoch: room.epoch.0,
        members: room.members,
        victims: room.victims.iter().copied().map(attempt_id_to).collect(),
    }
}

pub(super) fn gang_room_from(room: pb::GangRoom) -> Result<GangRoom, FormatError> {
    Ok(GangRoom {
        node: parsed("nodes.node", &room.node)?,
        epoch: Epoch(room.epoch),
        members: room.members,
        victims: room
            .victims
            .into_iter()
            .map(|attempt| attempt_id_from("nodes.victims", Some(attempt)))
            .collect::<Result<_, _>>()?,
    })
}
