//! GPUs as packing sees them: models by number, what is free of a node's devices, and what tasks typically ask for.

use std::cmp::Ordering;

use quorate_state::{GpuHold, GpuModel, GpuUse, GpuWant as Given, Node, Resources, State, TaskSpec};

use super::kept::Wanted;
use super::pack::{GpuWant, Judge, MIX_SHAPES_MAX, MODELS_MAX, Mix, Models, Room, Want, Worth, digest};

/// What is free of a node that has GPUs.
#[derive(Debug)]
pub(super) struct Devices {
    room: Room,
    /// Of the room with its devices sorted.
    pub(super) digest: u64,
    /// What the judge says of it, once asked.
    idle: Option<u32>,
}

/// What packing goes by.
#[derive(Default)]
pub(super) struct Gpus {
    /// All models that nodes have, by name: a model's number is its place. Those from [`MODELS_MAX`] on have none.
    models: Vec<GpuModel>,
    mix: Mix,
    /// None without any GPUs.
    judge: Option<Judge>,
}

impl Devices {
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// Another judge is to be asked.
    pub(super) fn forget(&mut self) {
        self.idle = None;
    }
}

/// By what is free of them, wherever on the node.
impl Ord for Devices {
    fn cmp(&self, other: &Self) -> Ordering {
        self.room.sorted().cmp(&other.room.sorted())
    }
}

impl PartialOrd for Devices {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Devices {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Devices {}

impl Gpus {
    /// Of nodes with these devices.
    pub(super) fn of<'a>(devices: impl Iterator<Item = &'a GpuModel>) -> Self {
        let mut models: Vec<GpuModel> = Vec::new();
        for model in devices {
            if let Err(place) = models.binary_search(model) {
                models.insert(place, model.clone());
            }
        }
        Self { models, mix: Mix::default(), judge: None }
    }

    /// A node's, if they are of one model that has a number.
    pub(super) fn devices(&self, node: &Node, free: Resources, taken: &GpuUse) -> Option<Devices> {
        let model = node.gpus.first()?;
        if node.gpus.iter().any(|other| other != model) {
            return None;
        }
        let mut each = [0_u16; super::pack::DEVICES_MAX];
        for (at, device) in each.iter_mut().enumerate().take(node.gpus.len()) {
            *device = u16::try_from(taken.free(at)).ok()?;
        }
        let room = Room::new(free.cpu_milli, free.memory_bytes, self.number(model)?, each.get(..node.gpus.len())?)?;
        Some(Devices { digest: digest(&room.sorted()), room, idle: None })
    }

    /// What a task wants, as packing sees it. None if it cannot be said.
    pub(super) fn want(&self, task: &TaskSpec) -> Option<Want> {
        let Resources { cpu_milli, memory_bytes, gpu_milli } = task.resources;
        self.want_of(cpu_milli, memory_bytes, gpu_milli, &task.gpu_models)
    }

    fn want_of(&self, cpu_milli: u64, memory_bytes: u64, gpu_milli: u64, models: &[GpuModel]) -> Option<Want> {
        let gpu = GpuWant::from_milli(gpu_milli)?;
        let named = || models.iter().filter_map(|model| self.number(model)).fold(Models::NONE, Models::with);
        let models = if models.is_empty() || gpu == GpuWant::None { Models::ANY } else { named() };
        Some(Want { cpu_milli, memory_bytes, gpu, models })
    }

    fn number(&self, model: &GpuModel) -> Option<u8> {
        let at = self.models.binary_search(model).ok().filter(|at| *at < MODELS_MAX)?;
        u8::try_from(at).ok()
    }

    /// Goes by what is asked for now. True if that is something else than before: what was said of nodes with GPUs is void.
    pub(super) fn judge_anew<'a>(
        &mut self,
        view: &State,
        devices: impl Iterator<Item = &'a Devices> + Clone,
        are_others: bool,
    ) -> bool {
        if self.models.is_empty() {
            return false;
        }
        let shapes = view.gpu_shapes().take(MIX_SHAPES_MAX).filter_map(|(shape, count)| {
            let want = self.want_of(shape.cpu_milli, shape.memory_bytes, shape.gpu_milli, &shape.models)?;
            Some((want, count))
        });
        let mix = Mix::of(shapes);
        if self.judge.is_some() && !are_others && mix == self.mix {
            return false;
        }
        self.judge = Some(Judge::new(&mix, devices.map(Devices::room)));
        self.mix = mix;
        true
    }

    /// What a task costs on a node with these devices. None if that cannot be foretold.
    pub(super) fn worth(&mut self, devices: Option<&mut Devices>, wanted: &Wanted) -> Option<Worth> {
        self.look(devices, wanted).map(|(worth, _)| worth)
    }

    /// The devices that a task is given there. None if packing cannot say.
    pub(super) fn hold(&mut self, devices: Option<&mut Devices>, wanted: &Wanted) -> Option<GpuHold> {
        if Given::of(&wanted.task).milli == 0 {
            return Some(GpuHold::NONE);
        }
        self.look(devices, wanted).map(|(_, hold)| hold)
    }

    fn look(&mut self, devices: Option<&mut Devices>, wanted: &Wanted) -> Option<(Worth, GpuHold)> {
        let Devices { room, idle, .. } = devices?;
        self.judge.as_mut()?.look(room, idle, wanted.want.as_ref()?)
    }
}
