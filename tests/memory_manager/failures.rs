// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! One scenario that goes through every kind of move, and each of its actions fails once in each way.

use std::collections::BTreeSet;

use uvm_policy::event::{Action, Event, Failure};
use uvm_policy::*;

use crate::machine::{Machine, Sizes, Tables, PAGE};
use crate::world::{policy, World, FAILURES};

const SIZES: Sizes = Sizes { vram: 24, visible: 12, gart: 24, paging: 4, frames: 60, swap: 60 };
const NO_LIMITS: Limits = Limits::NONE;

/// Runs the scenario; the action of number `at` fails. Gives the kinds of actions there were, in order.
fn scenario(at: usize, failure: Failure) -> Vec<&'static str> {
    use SegmentKind::*;
    let mut world =
        World::new(policy(&SIZES, 2, EvictKind::Lru), Machine::new(&SIZES, Tables::new(&SIZES)), 2, NO_LIMITS, 7);
    let mut seen = vec![];
    let spec = |pages: u64, kinds: &[SegmentKind]| Spec {
        size: pages * PAGE,
        align: 0,
        placements: Placements::new(kinds).unwrap(),
        priority: 1,
        pageable: true,
        fallback: false,
    };
    let [a, b] = [world.processes[0], world.processes[1]];
    let first = world.create(a, spec(7, &[Local, Snooped])).unwrap();
    let second = world.create(a, spec(6, &[LocalInvisible, Local, Snooped])).unwrap();
    let third = world.create(b, spec(9, &[Local])).unwrap();
    for bo in [first, second, third] {
        world.handle(&Event::Map(bo)).unwrap();
        let index = world.buffers.iter().position(|buffer| buffer.id == bo).unwrap();
        world.buffers[index].maps = 1;
    }
    // Clear, show; evict by the paging segment; come back; GART and both ways between it and local memory.
    job(&mut world, &mut seen, at, failure, a, &[first, second]);
    job(&mut world, &mut seen, at, failure, b, &[third]);
    job(&mut world, &mut seen, at, failure, a, &[first, second]);
    for to in [Snooped, Local, Snooped] {
        let _ = world.handle(&Event::Move { bo: first, to }).map(|reply| world.note_move(reply, first, to));
        carry_out(&mut world, &mut seen, at, failure);
    }
    // To the backing store and back, by pressure, by a job and by the CPU.
    for bytes in [100 * PAGE, 100 * PAGE] {
        world.handle(&Event::Pressure(bytes)).unwrap();
        carry_out(&mut world, &mut seen, at, failure);
    }
    job(&mut world, &mut seen, at, failure, a, &[first]);
    job(&mut world, &mut seen, at, failure, b, &[third]);
    for bo in [first, second, third] {
        world.cpu_access(bo);
        carry_out(&mut world, &mut seen, at, failure);
        world.check_all();
    }
    world.finish();
    seen
}

fn job(
    world: &mut World<Tables>,
    seen: &mut Vec<&'static str>,
    at: usize,
    failure: Failure,
    process: ProcessId,
    set: &[BoId],
) {
    world.submit(process, set).unwrap();
    carry_out(world, seen, at, failure);
}

/// All that is due ends, and with it the uses that became ready.
fn carry_out(world: &mut World<Tables>, seen: &mut Vec<&'static str>, at: usize, failure: Failure) {
    loop {
        while world.poll().is_some() {}
        if !world.pending.is_empty() {
            let fails = seen.len() == at;
            seen.push(name(&world.pending[0].action));
            world.end(0, fails.then_some(failure));
            world.check_all();
        } else if let Some(ticket) = world.running().first() {
            world.fence(*ticket);
        } else {
            world.handle(&Event::Tick).unwrap();
            if world.poll().is_none() {
                return;
            }
        }
    }
}

fn name(action: &Action) -> &'static str {
    match action {
        Action::AllocPages { .. } => "alloc",
        Action::FreePages { .. } => "free",
        Action::Bind { .. } => "bind",
        Action::Unbind { .. } => "unbind",
        Action::Copy { .. } => "copy",
        Action::PageOut { .. } => "page out",
        Action::PageIn { .. } => "page in",
        Action::Clear { .. } => "clear",
        Action::SwapOut { .. } => "swap out",
        Action::SwapIn { .. } => "swap in",
        Action::SwapDrop { .. } => "swap drop",
        Action::Zap { .. } => "zap",
        Action::WritePtes { .. } => "write",
        Action::Ready(_) | Action::Refused(..) | Action::Gone(_) => unreachable!(),
    }
}

#[test]
fn each_action_may_fail_in_each_way_and_no_byte_is_lost() {
    let all = scenario(usize::MAX, Failure::Io);
    let kinds: BTreeSet<_> = all.iter().collect();
    assert_eq!(kinds.len(), 13, "the scenario has every kind of action: {kinds:?}");
    for failure in FAILURES {
        for at in 0..all.len() {
            scenario(at, failure);
        }
    }
    println!("{} actions, each failed in {} ways", all.len(), FAILURES.len());
}
