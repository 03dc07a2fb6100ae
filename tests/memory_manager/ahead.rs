// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Room that is made before it is asked for, and when it is not.

use uvm_policy::event::{Action, Failure, Issued};
use uvm_policy::*;

use crate::machine::{Machine, Sizes, Tables, PAGE};
use crate::places::{create, run};
use crate::world::{policy, World};

/// Pages of a buffer, and how many such buffers VRAM holds.
const PAGES: u64 = 4;
const FIT: usize = 16;

/// More buffers than fit into VRAM for `fit` of them, used often enough that each comes into full VRAM.
fn pressed(fit: usize, buffers: usize) -> (World<Tables>, Vec<BoId>) {
    let vram = PAGES * fit as u64;
    let sizes = Sizes { vram, visible: vram, gart: 40, paging: 8, frames: 600, swap: 600 };
    let machine = Machine::new(&sizes, Tables::new(&sizes));
    let mut world = World::new(policy(&sizes, 4, EvictKind::Lru), machine, 1, Limits::NONE, 1);
    let bos: Vec<BoId> = (0..buffers).map(|_| create(&mut world, 0, PAGES, SegmentKind::Local)).collect();
    for _ in 0..2 {
        bos.iter().for_each(|bo| assert!(run(&mut world, 0, &[*bo], false)));
    }
    (world, bos)
}

fn evicted(world: &World<Tables>) -> u64 {
    world.policy.manager_stats().evicted / (PAGES * PAGE)
}

#[test]
fn who_comes_in_finds_room_while_others_keep_coming() {
    let (mut world, bos) = pressed(FIT, 2 * FIT);
    for bo in bos {
        let before = evicted(&world);
        let ticket = world.submit(world.processes[0], &[bo]).unwrap();
        while world.poll().is_some() {}
        let comes = |issued: &Issued| matches!(issued.action, Action::PageIn { bo: who, .. } if who == bo);
        assert!(world.pending.iter().any(comes), "the job waits for somebody to leave");
        assert!(!world.pending.iter().all(comes), "nobody leaves meanwhile");
        while !world.running().contains(&ticket) {
            world.end(0, None);
            while world.poll().is_some() {}
        }
        world.fence(ticket);
        while world.poll().is_some() || !world.pending.is_empty() {
            if !world.pending.is_empty() {
                world.end(0, None);
            }
        }
        assert_eq!(evicted(&world), before + 1, "one leaves for each that comes");
    }
    world.finish();
}

/// Twice as much VRAM, since no more than a sixteenth of it is kept free.
#[test]
fn who_waits_behind_another_finds_room_too() {
    let (mut world, bos) = pressed(2 * FIT, 4 * FIT);
    let before = evicted(&world);
    let tickets = [bos[0], bos[1], bos[2]].map(|bo| world.submit(world.processes[0], &[bo]).unwrap());
    while !world.running().contains(&tickets[1]) {
        while world.poll().is_some() {}
        // Its own bytes last, so that whoever leaves has left.
        let leaves = |issued: &Issued| !matches!(issued.action, Action::PageIn { .. });
        world.end(world.pending.iter().position(leaves).unwrap_or(0), None);
        while world.poll().is_some() {}
    }
    // One as the first came in, behind which nobody waited yet, and two as the second did.
    assert_eq!(evicted(&world), before + 3, "room for the third is made while the second comes in");
    for ticket in tickets {
        while !world.running().contains(&ticket) {
            world.end(0, None);
            while world.poll().is_some() {}
        }
        world.fence(ticket);
    }
    world.finish();
}

#[test]
fn working_set_that_just_fits_stays_whatever_was_before() {
    let (mut world, bos) = pressed(FIT, 2 * FIT);
    let round = |world: &mut World<Tables>| {
        bos[..FIT].iter().for_each(|bo| assert!(run(world, 0, &[*bo], false)));
        evicted(world)
    };
    // The first brings it in; in the second somebody may come back who left in vain.
    round(&mut world);
    let settled = round(&mut world);
    for _ in 0..8 {
        assert_eq!(round(&mut world), settled);
    }
    world.finish();
}

#[test]
fn cycle_just_larger_than_vram_costs_no_more_than_it_must() {
    let (mut world, bos) = pressed(FIT, FIT + 1);
    let before = evicted(&world);
    for _ in 0..8 {
        bos.iter().for_each(|bo| assert!(run(&mut world, 0, &[*bo], false)));
    }
    // The oldest leaves for each; one in sixteen may go in vain.
    let uses = 8 * (FIT as u64 + 1);
    assert!(evicted(&world) - before <= uses + uses / 16 + 1, "{}", evicted(&world) - before);
    world.finish();
}

#[test]
fn after_a_move_ahead_of_need_failed_none_is_tried_for_a_while() {
    let (mut world, bos) = pressed(FIT, 2 * FIT);
    let ticket = world.submit(world.processes[0], &[bos[0]]).unwrap();
    while world.poll().is_some() {}
    let mut failed = 0;
    // No system page for who is to leave.
    while let Some(first) = world.pending.first() {
        let fail = matches!(first.action, Action::AllocPages { .. }).then_some(Failure::NoMemory);
        failed += u32::from(fail.is_some());
        world.end(0, fail);
        while world.poll().is_some() {}
    }
    assert_eq!((failed, world.running()), (1, vec![ticket]), "somebody was to leave while it came");
    world.fence(ticket);
    while world.poll().is_some() {}
    for bo in &bos[1..FIT] {
        let before = evicted(&world);
        assert!(run(&mut world, 0, &[*bo], false));
        assert_eq!(evicted(&world), before + 1, "one leaves for who comes, and nobody else");
        assert!(world.pending.is_empty());
    }
    assert_eq!(world.policy.manager_stats().refused, 0);
    world.finish();
}
