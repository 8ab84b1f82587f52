//! What holds of packing, whatever the nodes, the mix and the order in which tasks come and go.

use proptest::prelude::*;
use quorate_scheduler::placement::pack::{GpuHold, GpuWant, Mix, Models, Packer, Room, WHOLE, Want};

#[derive(Clone, Debug)]
enum Step {
    /// A task of the shape with this number comes.
    Come(usize),
    /// The one that was placed so many places ago leaves.
    Leave(usize),
}

fn rooms() -> impl Strategy<Value = Vec<Room>> {
    let device = prop_oneof![4 => Just(WHOLE), 1 => Just(0), 2 => (1_u16..10).prop_map(|tenths| tenths * 100)];
    let room = (0_u64..12, 0_u64..8, 0_u8..3, prop::collection::vec(device, 0..10));
    let room = room.prop_filter_map("too many devices", |(cpu, memory, model, devices)| {
        Room::new(cpu * 1_000, memory << 30, model, &devices)
    });
    prop::collection::vec(room, 0..8)
}

fn wants() -> impl Strategy<Value = Vec<Want>> {
    let gpu = prop_oneof![
        1 => Just(GpuWant::None),
        3 => (1_u16..10).prop_map(|tenths| GpuWant::Share(tenths * 100)),
        2 => (1_u8..5).prop_map(GpuWant::Whole),
    ];
    let models = prop_oneof![2 => Just(Models::ANY), 1 => (0_u8..4).prop_map(|model| Models::NONE.with(model))];
    let want = (0_u64..5, 0_u64..3, gpu, models).prop_map(|(cpu, memory, gpu, models)| Want {
        cpu_milli: cpu * 1_000,
        memory_bytes: memory << 30,
        gpu,
        models,
    });
    prop::collection::vec(want, 1..6)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![3 => (0_usize..6).prop_map(Step::Come), 1 => (0_usize..20).prop_map(Step::Leave)];
    prop::collection::vec(step, 0..60)
}

fn mix(wants: &[Want]) -> Mix {
    Mix::of(wants.iter().zip(1..).map(|(want, weight)| (*want, weight)))
}

/// Plays the steps, with `look` after each; what was placed and has not left.
fn play(
    packer: &mut Packer,
    wants: &[Want],
    steps: &[Step],
    mut look: impl FnMut(&mut Packer, &Step, Option<(usize, GpuHold)>) -> Result<(), TestCaseError>,
) -> Result<Vec<(usize, Want, GpuHold)>, TestCaseError> {
    let mut there: Vec<(usize, Want, GpuHold)> = vec![];
    for step in steps {
        match *step {
            Step::Come(shape) => {
                let want = wants[shape % wants.len()];
                let placed = packer.place(&want);
                there.extend(placed.map(|(node, hold)| (node, want, hold)));
                look(packer, step, placed)?;
            }
            Step::Leave(ago) => {
                if let Some(place) = there.len().checked_sub(ago + 1) {
                    let (node, want, hold) = there.remove(place);
                    prop_assert!(packer.release(node, &want, hold));
                }
                look(packer, step, None)?;
            }
        }
    }
    Ok(there)
}

fn free(packer: &Packer, nodes: usize) -> Vec<Room> {
    (0..nodes).filter_map(|node| packer.room(node).copied()).collect()
}

proptest! {
    /// On an account of its own: devices of a share or whole, exclusively, and never more than there is; and what fits is placed.
    #[test]
    fn what_fits_is_placed_and_only_what_is_free_is_given(rooms in rooms(), wants in wants(), steps in steps()) {
        let mut packer = Packer::new(&rooms, &mix(&wants));
        let mut before = rooms.clone();
        let there = play(&mut packer, &wants, &steps, |packer, step, placed| {
            if let Step::Come(shape) = step {
                let want = &wants[shape % wants.len()];
                match placed {
                    None => prop_assert!(before.iter().all(|room| !room.fits(want))),
                    Some((node, hold)) => {
                        prop_assert!(before[node].fits(want) && want.gpu.is_held_by(hold));
                        prop_assert_eq!(hold.total_milli(), want.gpu.milli());
                        for (device, free) in before[node].devices().iter().enumerate() {
                            prop_assert!(hold.devices & 1 << device == 0 || *free >= hold.milli);
                        }
                    }
                }
            }
            before = free(packer, rooms.len());
            Ok(())
        })?;
        // What was free in the beginning is what is free now and what is held.
        for (node, room) in rooms.iter().enumerate() {
            let mut all = before[node];
            for (_, want, hold) in there.iter().filter(|(at, _, _)| *at == node) {
                all = all.with(want, *hold).unwrap();
            }
            prop_assert_eq!(&all, room);
        }
    }

    /// Scores that are kept never decide.
    #[test]
    fn a_packer_that_has_worked_answers_as_a_new_one(rooms in rooms(), wants in wants(), steps in steps()) {
        let mix = mix(&wants);
        let mut packer = Packer::new(&rooms, &mix);
        play(&mut packer, &wants, &steps, |packer, _, _| {
            let mut fresh = Packer::new(&free(packer, rooms.len()), &mix);
            for want in &wants {
                prop_assert_eq!(packer.best(want), fresh.best(want));
            }
            Ok(())
        })?;
    }

    /// Each task goes to a node with as much room, and leaves as much there, in whatever order the nodes were given.
    #[test]
    fn the_order_of_nodes_does_not_matter(
        (rooms, shuffled) in rooms().prop_flat_map(|rooms| (Just(rooms.clone()), Just(rooms).prop_shuffle())),
        wants in wants(),
    ) {
        let mix = mix(&wants);
        let sorted = |packer: &Packer| {
            let mut all: Vec<(u64, u64, u8, Vec<u16>)> = free(packer, rooms.len()).iter().map(|room| {
                let mut devices = room.devices().to_vec();
                devices.sort_unstable();
                (room.cpu_milli, room.memory_bytes, room.model, devices)
            }).collect();
            all.sort_unstable();
            all
        };
        let (mut one, mut other) = (Packer::new(&rooms, &mix), Packer::new(&shuffled, &mix));
        for want in wants.iter().cycle().take(30) {
            prop_assert_eq!(one.place(want).is_some(), other.place(want).is_some());
            prop_assert_eq!(sorted(&one), sorted(&other));
        }
    }

    /// What numbers the models have does not matter, nor in which order the mix was given.
    #[test]
    fn the_numbers_of_models_do_not_matter(rooms in rooms(), wants in wants()) {
        // Ties between nodes of different models are broken by what their rooms look like, model included: one model here.
        let of = |model| {
            let rooms: Vec<Room> = rooms.iter().map(|room| Room::new(room.cpu_milli, room.memory_bytes, model, room.devices()).unwrap()).collect();
            let wants: Vec<Want> = wants.iter().map(|want| Want { models: Models::NONE.with(model), ..*want }).collect();
            let mut packer = Packer::new(&rooms, &mix(&wants));
            wants.iter().cycle().take(20).map(|want| packer.place(want)).map(|placed| placed.is_some()).collect::<Vec<_>>()
        };
        prop_assert_eq!(of(0), of(7));
    }

    /// More room anywhere never keeps a task from fitting somewhere.
    #[test]
    fn freeing_room_makes_nothing_infeasible(rooms in rooms(), wants in wants(), node in 0_usize..8, more in 1_u64..4) {
        let mut packer = Packer::new(&rooms, &mix(&wants));
        let Some(room) = rooms.get(node) else { return Ok(()) };
        let before: Vec<bool> = wants.iter().map(|want| packer.best(want).is_some()).collect();
        let freed: Vec<u16> = room.devices().iter().map(|free| (free + 300).min(WHOLE)).collect();
        let freed = Room::new(room.cpu_milli + more * 1_000, room.memory_bytes + (more << 30), room.model, &freed).unwrap();
        prop_assert!(packer.replace(node, freed));
        for (want, fitted) in wants.iter().zip(before) {
            prop_assert!(!fitted || packer.best(want).is_some());
        }
    }

    /// A node that comes back as another machine, with other devices, is as if it had been that from the beginning.
    #[test]
    fn a_node_that_is_another_machine_now_is_judged_as_that(
        rooms in rooms(), others in rooms(), wants in wants(), node in 0_usize..8,
    ) {
        let mix = mix(&wants);
        let (Some(_), Some(other)) = (rooms.get(node), others.first()) else { return Ok(()) };
        let mut packer = Packer::new(&rooms, &mix);
        for want in &wants {
            packer.best(want);
        }
        prop_assert!(packer.replace(node, *other));
        let mut fresh = rooms.clone();
        fresh[node] = *other;
        let mut fresh = Packer::new(&fresh, &mix);
        for want in &wants {
            prop_assert_eq!(packer.best(want), fresh.best(want));
        }
        prop_assert!(!packer.replace(rooms.len(), *other));
    }

    /// A release leaves everything as it was before the placement.
    #[test]
    fn a_release_undoes_a_placement(rooms in rooms(), wants in wants()) {
        let mut packer = Packer::new(&rooms, &mix(&wants));
        for want in &wants {
            let before = packer.best(want);
            let Some((node, hold)) = packer.place(want) else { continue };
            prop_assert!(packer.release(node, want, hold));
            prop_assert_eq!(free(&packer, rooms.len()), rooms.clone());
            prop_assert_eq!(packer.best(want), before);
        }
    }
}

#[test]
fn without_a_mix_work_keeps_off_gpus_and_fills_up() {
    let want = |gpu| Want { cpu_milli: 1_000, memory_bytes: 0, gpu, models: Models::ANY };
    let rooms = [
        Room::new(4_000, 0, 0, &[WHOLE, WHOLE]).unwrap(),
        Room::new(4_000, 0, 0, &[500, WHOLE]).unwrap(),
        Room::new(8_000, 0, 0, &[]).unwrap(),
    ];
    let mut packer = Packer::new(&rooms, &Mix::default());
    assert_eq!(packer.place(&want(GpuWant::None)), Some((2, GpuHold::default())));
    assert_eq!(packer.place(&want(GpuWant::Share(500))), Some((1, GpuHold { devices: 0b01, milli: 500 })));
    assert_eq!(packer.place(&want(GpuWant::Whole(1))), Some((1, GpuHold { devices: 0b10, milli: WHOLE })));
    assert_eq!(packer.place(&want(GpuWant::Whole(3))), None);
}
