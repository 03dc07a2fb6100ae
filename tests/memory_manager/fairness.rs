// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Who gets what is counted, not timed: working sets that fit come in, whoever asks for more than half takes turns,
//! and nobody waits longer than the documented number of others.

use uvm_policy::event::{Action, Event, Issued};
use uvm_policy::*;

use crate::machine::{Machine, Sizes, Tables, PAGE};
use crate::world::{policy, table, World};

const NO_LIMITS: Limits = Limits::NONE;
const SIZES: Sizes = Sizes { vram: 64, visible: 64, gart: 40, paging: 8, frames: 600, swap: 600 };

fn world(processes: u64, evict: EvictKind, seed: u64) -> World<Tables> {
    World::new(policy(&SIZES, 4, evict), Machine::new(&SIZES, Tables::new(&SIZES)), processes, NO_LIMITS, seed)
}

fn local(pages: u64) -> Spec {
    let placements = Placements::new(&[SegmentKind::Local]).unwrap();
    Spec { size: pages * PAGE, align: 0, placements, priority: 1, pageable: true, fallback: false }
}

/// Buffers of a process.
fn buffers(world: &mut World<Tables>, process: usize, pages: &[u64]) -> Vec<BoId> {
    let owner = world.processes[process];
    pages.iter().map(|pages| world.create(owner, local(*pages)).unwrap()).collect()
}

/// All actions that are due end well, oldest first; uses that became ready stay so.
fn carry_out(world: &mut World<Tables>) {
    loop {
        while world.poll().is_some() {}
        if world.pending.is_empty() {
            return;
        }
        world.end(0, None);
    }
}

#[test]
fn two_processes_that_both_need_more_than_half_take_turns() {
    for evict in [EvictKind::Lru, EvictKind::Clock, EvictKind::TwoQueues] {
        let mut world = world(2, evict, 1);
        let sets = [buffers(&mut world, 0, &[20, 20]), buffers(&mut world, 1, &[13, 14, 13])];
        let mut tickets = [0, 1].map(|p| world.submit(world.processes[p], &sets[p]).unwrap());
        let mut served = [0u32; 2];
        for _ in 0..400 {
            carry_out(&mut world);
            let running = world.running();
            assert_eq!(running.len(), 1, "both cannot run, and one always can");
            let who = usize::from(running[0] == tickets[1]);
            served[who] += 1;
            world.fence(running[0]);
            tickets[who] = world.submit(world.processes[who], &sets[who]).unwrap();
        }
        assert_eq!(served, [200, 200]);
        assert_eq!(world.policy.manager_stats().refused, 0);
        world.finish();
    }
}

#[test]
fn a_large_job_is_not_starved_by_small_ones_that_are_always_in_place() {
    let mut world = world(5, EvictKind::Lru, 2);
    let small: Vec<_> = (0..4).map(|p| buffers(&mut world, p, &[8])).collect();
    let large = buffers(&mut world, 4, &[48]);
    let mut running = vec![];
    for (p, set) in small.iter().enumerate() {
        running.push((p, world.submit(world.processes[p], set).unwrap()));
    }
    carry_out(&mut world);
    let ticket = world.submit(world.processes[4], &large).unwrap();
    let mut ended = 0;
    // Each small process submits its next job before the last one ends, so its buffer is never idle.
    while !world.running().contains(&ticket) {
        let p = ended % 4;
        let next = world.submit(world.processes[p], &small[p]).unwrap();
        carry_out(&mut world);
        let slot = running.iter().position(|(who, _)| *who == p).unwrap();
        let (_, old) = running.remove(slot);
        if world.uses.get(&old).is_some_and(|u| u.running.is_some()) {
            world.fence(old);
        }
        running.push((p, next));
        carry_out(&mut world);
        ended += 1;
        assert!(ended as u64 <= 4 + PASSES, "the large job waits for ever");
    }
    assert!(world.policy.manager_stats().overtaken <= PASSES);
    world.finish();
}

#[test]
fn what_is_condemned_takes_no_new_job() {
    let mut world = world(5, EvictKind::TwoQueues, 8);
    let small: Vec<_> = (0..4).map(|p| buffers(&mut world, p, &[16])).collect();
    let large = buffers(&mut world, 4, &[64]);
    let first: Vec<_> = (0..4).map(|p| world.submit(world.processes[p], &small[p]).unwrap()).collect();
    carry_out(&mut world);
    let ticket = world.submit(world.processes[4], &large).unwrap();
    carry_out(&mut world);

    for (p, old) in first.into_iter().enumerate() {
        let next = world.submit(world.processes[p], &small[p]).unwrap();
        carry_out(&mut world);
        assert!(!world.running().contains(&next), "a job began on what has to leave");
        world.fence(old);
        carry_out(&mut world);
    }

    assert_eq!(world.running(), [ticket], "four jobs were running when it asked, and no more than four ended");
    assert_eq!(world.policy.manager_stats().overtaken, 0);
    world.finish();
}

#[test]
fn eight_processes_on_a_quarter_of_what_they_need_advance_alike() {
    for seed in 0..8 {
        let mut world = world(8, EvictKind::TwoQueues, seed);
        // 8 times 32 pages on 64.
        let sets: Vec<_> = (0..8).map(|p| buffers(&mut world, p, &[7, 9, 11, 5])).collect();
        let mut tickets: Vec<_> = (0..8).map(|p| world.submit(world.processes[p], &sets[p]).unwrap()).collect();
        let (mut served, mut last) = ([0u64; 8], [0; 8]);
        for turn in 0..400 {
            carry_out(&mut world);
            let running = world.running();
            assert!(!running.is_empty(), "nobody runs");
            let ended = running[world.numbers.below(running.len() as u64) as usize];
            let who = tickets.iter().position(|ticket| *ticket == ended).unwrap();
            served[who] += 1;
            world.fence(ended);
            tickets[who] = world.submit(world.processes[who], &sets[who]).unwrap();
            // Each of the others is first in the queue once, and passed by while it is.
            assert!(turn - last[who] <= 7 * (1 + PASSES) + 1, "{served:?}");
            last[who] = turn;
        }
        // Whoever is in place more often than others gets more, but not at their cost: a fair share is 50.
        assert!(served.iter().all(|turns| *turns >= 40), "{served:?}");
        assert_eq!(world.policy.manager_stats().refused, 0);
        world.finish();
    }
}

#[test]
fn a_working_set_that_fits_is_never_refused_whatever_lies_around() {
    for seed in 0..60 {
        let mut world = world(3, EvictKind::Clock, seed);
        let mut all: Vec<Vec<(BoId, u64)>> = vec![vec![]; 3];
        for _ in 0..40 {
            let who = world.numbers.below(3) as usize;
            let pages = 1 + world.numbers.below(20);
            let id = buffers(&mut world, who, &[pages])[0];
            all[who].push((id, pages));
        }
        for _ in 0..60 {
            let who = world.numbers.below(3) as usize;
            let mut room = SIZES.vram;
            let mut set = vec![];
            for (id, pages) in &all[who] {
                if *pages <= room && world.numbers.below(2) == 0 {
                    room -= pages;
                    set.push(*id);
                }
            }
            let ticket = world.submit(world.processes[who], &set).unwrap();
            carry_out(&mut world);
            if world.numbers.below(3) != 0 || !world.running().contains(&ticket) {
                for running in world.running() {
                    world.fence(running);
                }
            }
        }
        world.settle();
        assert!(world.refused.is_empty(), "seed {seed}: {:?}", world.refused);
        world.finish();
    }
}

#[test]
fn a_working_set_that_cannot_fit_is_refused_at_once_and_harms_nobody() {
    let mut world = world(2, EvictKind::Lru, 3);
    let kept = buffers(&mut world, 0, &[30]);
    let large = buffers(&mut world, 1, &[40, 25]);
    let first = world.submit(world.processes[0], &kept).unwrap();
    carry_out(&mut world);

    world.submit(world.processes[1], &large).unwrap();
    carry_out(&mut world);
    assert_eq!(world.running(), [first], "the large set waits for the job, then for nothing");
    world.fence(first);
    carry_out(&mut world);

    assert_eq!(world.refused.get(&Error::NoSpace.to_string()), Some(&1));
    assert_eq!((world.uses.len(), world.pending.len()), (0, 0));
    world.finish();
}

#[test]
fn local_memory_is_limited_by_process_and_others_keep_theirs() {
    let sizes = SIZES;
    let limits = Limits { total: 100 * PAGE, local: 24 * PAGE, ..Limits::NONE };
    let mut world =
        World::new(policy(&sizes, 4, EvictKind::Lru), Machine::new(&sizes, Tables::new(&sizes)), 2, limits, 4);
    let other = buffers(&mut world, 0, &[20]);
    let own = buffers(&mut world, 1, &[12, 12, 12]);
    for set in [&other[..], &own[..1], &own[1..2], &own[2..]] {
        let owner = usize::from(set[0] != other[0]);
        let ticket = world.submit(world.processes[owner], set).unwrap();
        carry_out(&mut world);
        world.fence(ticket);
    }
    // The third 12 pages took the place of the process's own oldest, although 8 pages were free.
    assert_eq!(world.policy.usage(world.processes[1]).unwrap().local, 24 * PAGE);
    assert!(matches!(world.policy.residence(other[0]), Ok(Residence::Segment(SegmentKind::Local, _))));
    assert_eq!(world.policy.residence(own[0]), Ok(Residence::Pages));

    world.submit(world.processes[1], &own).unwrap();
    carry_out(&mut world);
    assert_eq!(world.refused.get(&Error::Limit.to_string()), Some(&1));
    assert_eq!(world.create(world.processes[1], local(65)), Err(Error::Limit));
    world.finish();
}

#[test]
fn what_fell_back_comes_home_when_there_is_room_and_nobody_has_to_leave() {
    let mut world = world(1, EvictKind::Lru, 9);
    let owner = world.processes[0];
    let placements = Placements::new(&[SegmentKind::Local, SegmentKind::Snooped]).unwrap();
    let spec = |pages| Spec { placements, fallback: true, ..local(pages) };
    let ids: Vec<BoId> = [40, 30].map(|pages| world.create(owner, spec(pages)).unwrap()).to_vec();
    let kind = |world: &World<Tables>, id: BoId| match world.policy.residence(id) {
        Ok(Residence::Segment(kind, _)) => Some(kind),
        _ => None,
    };
    let ticket = world.submit(owner, &ids).unwrap();
    carry_out(&mut world);
    world.fence(ticket);
    assert_eq!(
        ids.iter().map(|id| kind(&world, *id)).collect::<Vec<_>>(),
        [Some(SegmentKind::Local), Some(SegmentKind::Snooped)]
    );
    assert_eq!(world.policy.manager_stats().evicted, 0);

    world.handle(&Event::Destroy(ids[0])).unwrap();
    let index = world.buffers.iter().position(|buffer| buffer.id == ids[0]).unwrap();
    world.buffers[index].doomed = true;
    carry_out(&mut world);
    let ticket = world.submit(owner, &ids[1..]).unwrap();
    carry_out(&mut world);
    assert_eq!(kind(&world, ids[1]), Some(SegmentKind::Local));
    world.fence(ticket);
    world.finish();
}

#[test]
fn lower_priority_leaves_first_and_what_nobody_needs_before_that() {
    let mut world = world(1, EvictKind::Lru, 5);
    let owner = world.processes[0];
    let ids: Vec<BoId> =
        [2, 0, 1].map(|priority| world.create(owner, Spec { priority, ..local(20) }).unwrap()).to_vec();
    let ticket = world.submit(owner, &ids).unwrap();
    carry_out(&mut world);
    world.fence(ticket);
    let place = |world: &World<Tables>, number: usize| world.policy.residence(ids[number]).unwrap();
    let more = buffers(&mut world, 0, &[20, 40]);

    let ticket = world.submit(owner, &more[..1]).unwrap();
    carry_out(&mut world);
    world.fence(ticket);
    assert_eq!(place(&world, 1), Residence::Pages);
    assert!(matches!((place(&world, 0), place(&world, 2)), (Residence::Segment(..), Residence::Segment(..))));

    world.handle(&Event::Advise { bo: ids[0], need: false }).unwrap();
    world.handle(&Event::Destroy(more[0])).unwrap();
    let index = world.buffers.iter().position(|buffer| buffer.id == more[0]).unwrap();
    world.buffers[index].doomed = true;
    let index = world.buffers.iter().position(|buffer| buffer.id == ids[0]).unwrap();
    world.buffers[index].disposable = true;
    carry_out(&mut world);
    let ticket = world.submit(owner, &more[1..]).unwrap();
    carry_out(&mut world);
    assert_eq!(place(&world, 0), Residence::Empty, "the highest priority, but nobody needs it");
    assert!(matches!(place(&world, 2), Residence::Segment(..)));
    world.fence(ticket);
    world.finish();
}

#[test]
fn the_drivers_own_segment_has_room_however_full_the_others_are() {
    let mut policy = Policy::new(PAGE).unwrap();
    let own = SegmentDesc { kind: SegmentKind::OwnLocal, base: 64 * PAGE, size: 8 * PAGE };
    for desc in table(&SIZES).as_slice().iter().chain([&own]) {
        policy.add_segment_of(desc).unwrap();
    }
    policy.start(&ManagerConfig { chunk: 4 * PAGE, evict: EvictKind::Lru }).unwrap();
    let mut world = World::new(policy, Machine::new(&SIZES, Tables::new(&SIZES)), 1, NO_LIMITS, 10);
    let all = buffers(&mut world, 0, &[64]);
    let ticket = world.submit(world.processes[0], &all).unwrap();
    carry_out(&mut world);

    let segment = world.policy.segment_of(Domain::Vram).unwrap();
    let request = AllocRequest { size: PAGE, align: 0, from: From::Bottom, within: None };
    let range = world.policy.alloc(segment, &request).unwrap();

    assert_eq!(range.offset, 64 * PAGE);
    world.policy.free(range.id).unwrap();
    world.fence(ticket);
    world.finish();
}

#[test]
fn chunks_overlap_one_is_copied_while_the_next_has_its_pages_made_and_is_queued() {
    let mut world = world(1, EvictKind::Lru, 6);
    let owner = world.processes[0];
    let set = buffers(&mut world, 0, &[40]);
    let ticket = world.submit(owner, &set).unwrap();
    carry_out(&mut world);
    world.fence(ticket);
    let next = buffers(&mut world, 0, &[40]);
    world.submit(owner, &next).unwrap();
    let mut both = 0;
    loop {
        while world.poll().is_some() {}
        if world.pending.is_empty() {
            break;
        }
        assert!(world.pending.len() <= 2);
        let is_copy = |issued: &Issued| matches!(issued.action, Action::PageOut { .. } | Action::PageIn { .. });
        both += u32::from(world.pending.len() == 2 && world.pending.iter().any(is_copy));
        // The copy of one chunk is slower than all that the other needs.
        let quick = world.pending.iter().position(|issued| !is_copy(issued)).unwrap_or(0);
        world.end(quick, None);
    }
    // Ten chunks out, ten in.
    assert!(both >= 18, "a copy had company {both} times");
    world.finish();
}
