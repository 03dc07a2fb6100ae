// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Buffers that make way for processes' own memory, and when they do not.

use uvm_policy::event::{Action, Event, Failure, Reply};
use uvm_policy::record::{replay, Recorder, Replayed};
use uvm_policy::*;

use crate::machine::{Machine, Sizes, Tables, PAGE};
use crate::places::{create, run};
use crate::world::{policy, table, World};

/// Pages of a buffer, of a chunk, and of VRAM.
const PAGES: u64 = 4;
const CHUNK: u64 = 8;
const VRAM: u64 = 64;
const SIZES: Sizes = Sizes { vram: VRAM, visible: VRAM, gart: 40, paging: 8, frames: 600, swap: 600 };

/// VRAM full of buffers, each with bytes of its own. They were last used in an order in which no neighbours follow
/// each other.
fn full(limits: Limits) -> (World<Tables>, Vec<BoId>) {
    full_of(PAGES, limits)
}

/// The same of buffers of so many pages.
fn full_of(pages: u64, limits: Limits) -> (World<Tables>, Vec<BoId>) {
    let policy = policy(&SIZES, 4, EvictKind::Lru);
    let mut world = World::new(policy, Machine::new(&SIZES, Tables::new(&SIZES)), 0, limits, 1);
    let mut bytes = [0; 256];
    let mut log = Recorder::new(&mut bytes);
    log.start(PAGE, table(&SIZES).as_slice(), &ManagerConfig { chunk: 4 * PAGE, evict: EvictKind::Lru });
    world.log = Some(log.bytes().to_vec());
    world.open(1, limits);
    let count = (VRAM / pages) as usize;
    let bos: Vec<BoId> = (0..count).map(|_| create(&mut world, 0, pages, SegmentKind::Local)).collect();
    bos.iter().for_each(|bo| assert!(run(&mut world, 0, &[*bo], false)));
    for turn in 0..count {
        assert!(run(&mut world, 0, &[bos[turn * 5 % count]], false));
    }
    assert_eq!(take(&mut world), Err(Error::NoSpace));
    (world, bos)
}

/// A chunk is taken, where there is one; as the driver does, and as its log has it.
fn take(world: &mut World<Tables>) -> Result<Allocation, Error> {
    let chunk = world.policy.chunk_take(CHUNK * PAGE)?;
    note(world, |log| log.take(chunk.segment, chunk.offset, chunk.size));
    Ok(chunk)
}

fn give(world: &mut World<Tables>, chunk: &Allocation) {
    world.policy.free(chunk.id).unwrap();
    note(world, |log| log.give(chunk.segment, chunk.offset));
}

fn note(world: &mut World<Tables>, write: impl FnOnce(&mut Recorder)) {
    let mut bytes = [0; 64];
    let mut log = Recorder::new(&mut bytes);
    write(&mut log);
    world.log.as_mut().unwrap().extend(log.bytes());
}

/// Pages that will be free, when chunks have so many pages.
fn ask(world: &mut World<Tables>, held: u64) -> u64 {
    let event = Event::MakeWay { size: CHUNK * PAGE, held: held * PAGE };
    let Ok(Reply::Freeing(bytes)) = world.handle(&event) else { panic!("not so many bytes") };
    bytes / PAGE
}

/// All that is due ends; the ones that make pages fail, if they are to.
fn end(world: &mut World<Tables>, fail: Option<Failure>) {
    while world.poll().is_some() || !world.pending.is_empty() {
        if let Some(first) = world.pending.first() {
            let fail = fail.filter(|_| matches!(first.action, Action::AllocPages { .. }));
            world.end(0, fail);
        }
    }
}

fn evicted(world: &World<Tables>) -> u64 {
    world.policy.manager_stats().evicted / PAGE
}

#[test]
fn a_chunk_has_as_many_leave_as_lie_in_its_place() {
    let (mut world, _) = full(Limits::NONE);
    let mut chunks = vec![];
    // Up to half of VRAM, and no more of it is moved than that.
    for held in (0..VRAM / 2).step_by(CHUNK as usize) {
        assert_eq!(ask(&mut world, held), CHUNK);
        // Whoever asks again meanwhile is told the same, and nobody else leaves.
        assert_eq!(ask(&mut world, held), CHUNK);
        while world.poll().is_some() {}
        world.end(0, None);
        assert_eq!(ask(&mut world, held), CHUNK);
        end(&mut world, None);
        assert_eq!(ask(&mut world, held), CHUNK);
        assert!(world.poll().is_none(), "there is room now");
        chunks.push(take(&mut world).unwrap());
        assert_eq!(evicted(&world), held + CHUNK);
        world.check_all();
    }
    assert_eq!(ask(&mut world, VRAM / 2), 0);
    end(&mut world, None);
    assert_eq!((evicted(&world), world.policy.manager_stats().swapped_out), (VRAM / 2, 0));
    assert_eq!(take(&mut world), Err(Error::NoSpace));

    chunks.iter().for_each(|chunk| give(&mut world, chunk));
    world.check_all();
    world.finish();
    let (events, actions) = (world.told, world.asked);
    assert_eq!(replay(world.log.as_ref().unwrap()), Ok(Replayed { events, actions }));
}

#[test]
fn the_longest_unused_goes_first_with_its_neighbour() {
    let (mut world, bos) = full(Limits::NONE);
    // The first of the last order; its neighbour was used late.
    assert_eq!(ask(&mut world, 0), CHUNK);
    end(&mut world, None);
    for (number, bo) in bos.iter().enumerate() {
        let gone = number < 2;
        assert_eq!(world.policy.residence(*bo) == Ok(Residence::Pages), gone, "buffer {number}");
    }
    world.finish();
}

#[test]
fn what_is_used_or_waited_for_or_pinned_stays_and_so_does_who_lies_beside_it() {
    let (mut world, bos) = full(Limits::NONE);
    let owner = world.processes[0];
    // One of each pair but the last is in use; of that one, pinned.
    let used: Vec<BoId> = bos.iter().step_by(2).copied().take(7).collect();
    let ticket = world.submit(owner, &used).unwrap();
    end(&mut world, None);
    assert!(world.running().contains(&ticket));
    world.handle(&Event::Pin(bos[15])).unwrap();
    assert_eq!(ask(&mut world, 0), 0);
    assert!(world.poll().is_none());
    world.handle(&Event::Unpin(bos[15])).unwrap();
    assert_eq!(ask(&mut world, 0), CHUNK);
    end(&mut world, None);
    assert_eq!(evicted(&world), CHUNK);
    take(&mut world).map(|chunk| give(&mut world, &chunk)).unwrap();
    world.fence(ticket);

    // Somebody waits: for more than there is as long as this job runs.
    let all = world.submit(owner, &bos[..8]).unwrap();
    end(&mut world, None);
    let other = create(&mut world, 0, VRAM / 2 + 1, SegmentKind::Local);
    let waits = world.submit(owner, &[other]).unwrap();
    end(&mut world, None);
    assert_eq!(world.running(), [all]);
    assert_eq!(ask(&mut world, 0), 0);
    assert!(world.poll().is_none());
    world.fence(all);
    end(&mut world, None);
    assert_eq!(world.running(), [waits]);
    world.fence(waits);
    world.finish();
}

#[test]
fn nobody_goes_to_the_backing_store_for_it() {
    let (mut world, _) = full(Limits { pages: (PAGES + 1) * PAGE, ..Limits::NONE });
    ask(&mut world, 0);
    end(&mut world, None);
    assert_eq!(world.policy.manager_stats().swapped_out, 0);
    world.check_all();
    world.finish();
}

#[test]
fn a_move_that_fails_leaves_all_in_place_and_the_next_is_well() {
    let (mut world, _) = full(Limits::NONE);
    assert_eq!(ask(&mut world, 0), CHUNK);
    end(&mut world, Some(Failure::NoMemory));
    assert_eq!(evicted(&world), 0);
    assert_eq!(take(&mut world), Err(Error::NoSpace));
    world.check_all();
    assert_eq!(ask(&mut world, 0), CHUNK);
    end(&mut world, None);
    take(&mut world).map(|chunk| give(&mut world, &chunk)).unwrap();
    world.finish();
}

/// However many fail, a use that came meanwhile and wants none of them is not refused for that.
#[test]
fn a_move_that_fails_is_no_failure_of_who_waits() {
    let (mut world, bos) = full_of(2, Limits::NONE);
    let used = bos[0];
    let ticket = world.submit(world.processes[0], &[used]).unwrap();
    while world.poll().is_some() {}
    assert_eq!(world.running(), [ticket]);
    let event = Event::MakeWay { size: VRAM / 2 * PAGE, held: 0 };
    assert_eq!(world.handle(&event), Ok(Reply::Freeing(VRAM / 2 * PAGE)));
    let reply = world.handle(&Event::Move { bo: used, to: SegmentKind::Snooped }).unwrap();
    world.note_move(reply, used, SegmentKind::Snooped);
    end(&mut world, Some(Failure::NoMemory));
    assert_eq!(world.policy.manager_stats().failed, VRAM / 2 / 2);
    world.fence(ticket);
    end(&mut world, None);
    assert!(world.refused.is_empty(), "{:?}", world.refused);
    assert_eq!(world.running().len(), 1);
    world.finish();
}

#[test]
fn a_size_that_is_none_is_refused() {
    let (mut world, _) = full(Limits::NONE);
    for size in [0, PAGE / 2, 3 * PAGE] {
        assert_eq!(world.handle(&Event::MakeWay { size, held: 0 }), Err(Error::Invalid));
    }
    assert_eq!(world.handle(&Event::MakeWay { size: 1 << 63, held: u64::MAX }), Ok(Reply::Freeing(0)));
    world.finish();
}
