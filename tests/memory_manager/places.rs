// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! System pages as a place: with page tables they do, without they do not, and a process may have so many.

use uvm_policy::event::{Event, Reply};
use uvm_policy::*;

use crate::machine::{Machine, Sizes, Tables, PAGE};
use crate::world::{policy, World};

const SIZES: Sizes = Sizes { vram: 64, visible: 64, gart: 40, paging: 8, frames: 600, swap: 600 };

fn world(pages: u64) -> World<Tables> {
    let limits = Limits { pages: pages.saturating_mul(PAGE), ..Limits::NONE };
    World::new(policy(&SIZES, 4, EvictKind::Lru), Machine::new(&SIZES, Tables::new(&SIZES)), 2, limits, 1)
}

pub fn create(world: &mut World<Tables>, process: usize, pages: u64, kind: SegmentKind) -> BoId {
    let placements = Placements::new(&[kind]).unwrap();
    let owner = world.processes[process];
    let size = pages * PAGE;
    let spec = Spec { size, align: 0, placements, priority: 1, pageable: true, fallback: false };
    let bo = world.create(owner, spec).unwrap();
    world.handle(&Event::Map(bo)).unwrap();
    let index = world.index(bo);
    world.buffers[index].maps = 1;
    bo
}

/// All that is due ends well; the use is over as soon as it is ready. Tells whether it was.
pub fn run(world: &mut World<Tables>, process: usize, bos: &[BoId], addressed: bool) -> bool {
    let ticket = world.submit_as(world.processes[process], bos, addressed).unwrap();
    loop {
        while world.poll().is_some() {}
        if world.pending.is_empty() {
            break;
        }
        world.end(0, None);
    }
    let ready = world.running().contains(&ticket);
    if ready {
        world.fence(ticket);
    }
    ready
}

fn kind(world: &World<Tables>, bo: BoId) -> Option<SegmentKind> {
    match world.policy.residence(bo) {
        Ok(Residence::Segment(kind, _)) => Some(kind),
        Ok(Residence::Pages) => Some(SegmentKind::System),
        _ => None,
    }
}

#[test]
fn jobs_with_page_tables_reach_system_pages_and_others_get_an_address() {
    let mut world = world(u64::MAX);
    let bo = create(&mut world, 0, 10, SegmentKind::System);

    assert!(run(&mut world, 0, &[bo], false));
    assert_eq!(kind(&world, bo), Some(SegmentKind::System));
    assert!(run(&mut world, 0, &[bo], true));
    assert_eq!(kind(&world, bo), Some(SegmentKind::Snooped));
    // They are system pages still: nothing moves for a job with page tables.
    let moved = world.policy.manager_stats().brought_in;
    assert!(run(&mut world, 0, &[bo], false));
    assert_eq!((kind(&world, bo), world.policy.manager_stats().brought_in), (Some(SegmentKind::Snooped), moved));
    world.finish();
}

#[test]
fn another_placement_holds_from_the_next_use_on() {
    let mut world = world(u64::MAX);
    let bo = create(&mut world, 0, 10, SegmentKind::Local);
    assert!(run(&mut world, 0, &[bo], false));

    for to in [SegmentKind::System, SegmentKind::Local, SegmentKind::Snooped, SegmentKind::System] {
        let before = kind(&world, bo);
        let placements = Placements::new(&[to]).unwrap();
        assert_eq!(world.handle(&Event::Place(bo, placements)), Ok(Reply::Done));
        let index = world.index(bo);
        world.buffers[index].placements = placements;
        assert_eq!(kind(&world, bo), before);
        assert!(run(&mut world, 0, &[bo], false));
        // What is snooped is good enough for system pages.
        let expected = if before == Some(SegmentKind::Snooped) { before } else { Some(to) };
        assert_eq!(kind(&world, bo), expected);
    }
    world.finish();
}

#[test]
fn process_at_its_limit_of_pages_writes_its_own_to_the_backing_store() {
    let mut world = world(24);
    let bos: Vec<BoId> = (0..6).map(|_| create(&mut world, 0, 8, SegmentKind::System)).collect();
    let other = create(&mut world, 1, 8, SegmentKind::System);
    assert!(run(&mut world, 1, &[other], false));

    for bo in bos.iter().cycle().take(20) {
        assert!(run(&mut world, 0, &[*bo], false));
        let usage = world.policy.usage(world.processes[0]).unwrap();
        assert!(usage.pages + usage.pcie <= 24 * PAGE, "{usage:?}");
    }
    assert!(world.policy.manager_stats().swapped_out > 0);
    assert_eq!(kind(&world, other), Some(SegmentKind::System), "others keep theirs");
    // Four of them at once are more than it may have.
    assert!(!run(&mut world, 0, &bos[..4], false));
    assert_eq!(world.refused.get(&Error::Limit.to_string()), Some(&1));
    world.finish();
}

#[test]
fn what_is_pushed_out_of_local_memory_beyond_the_limit_goes_on_to_the_backing_store() {
    let mut world = world(10);
    let bos: Vec<BoId> = (0..6).map(|_| create(&mut world, 0, 8, SegmentKind::Local)).collect();
    assert!(run(&mut world, 0, &bos, false));
    let other = create(&mut world, 1, 60, SegmentKind::Local);

    assert!(run(&mut world, 1, &[other], false));

    let usage = world.policy.usage(world.processes[0]).unwrap();
    assert_eq!((usage.local, usage.pages), (0, 8 * PAGE));
    assert_eq!(usage.swap, 40 * PAGE);
    world.finish();
}

#[test]
fn full_backing_store_refuses_who_is_over_the_limit_of_pages() {
    let sizes = Sizes { swap: 4, ..SIZES };
    let limits = Limits { pages: 10 * PAGE, ..Limits::NONE };
    let mut world =
        World::new(policy(&sizes, 4, EvictKind::Lru), Machine::new(&sizes, Tables::new(&sizes)), 1, limits, 1);
    let bos = [0, 1].map(|_| create(&mut world, 0, 8, SegmentKind::System));
    assert!(run(&mut world, 0, &bos[..1], false));

    assert!(!run(&mut world, 0, &bos[1..], false));
    assert_eq!(world.refused.values().sum::<u64>(), 1);
    world.finish();
}
