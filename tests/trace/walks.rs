// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Walks, fills and invalidations in the trace: which caches, how much, and the counts of the device.

use crate::common::{packets as p, spaces, *};
use crate::scripted::*;
use vhost_device_uvm::gmc::{Cause, HubId, Phys, Space};
use vhost_device_uvm::trace::event::{cache, Found};
use vhost_device_uvm::trace::{Depth, Event, Replay};

/// VRAM offset of VMID 3's table of level `level`: 0 is the page table.
fn table(level: u64) -> u64 {
    10 * MIB + level * 4096
}

/// A rig that is traced from its start, with four levels of tables for VMID 3 on queue 2 of SDMA0.
fn rig() -> (Rig, Memory) {
    let mut rig = Rig::bare();
    let memory = Memory::default();
    memory.attach(&mut rig, Depth::Full);
    rig.bring_up();
    rig.space(3, spaces::ON | 3 << 1);
    for level in 1..=3 {
        rig.poke_vram(table(level), &(table(level - 1) | bit::VALID).to_le_bytes());
    }
    rig.write(reg::PT_BASE + 6, table(3) as u32 | 1);
    // The ring, its buffer, and what the packets write.
    for (page, frame) in [(0, 13 * MIB + 6 * 4096), (1, 13 * MIB + 7 * 4096), (9, 9 * MIB)] {
        rig.poke_vram(table(0) + 8 * page, &(frame | bit::VRAM).to_le_bytes());
    }
    rig.queue(0, 2, 3);
    (rig, memory)
}

/// What `rig` is traced to do in `work`.
fn during(rig: &mut Rig, memory: &Memory, work: impl FnOnce(&mut Rig)) -> Vec<Event> {
    let before = memory.events().len();
    work(rig);
    memory.events().into_iter().skip(before).map(|(_, event)| event).collect()
}
fn fills(events: &[Event]) -> Vec<(u64, u32, u8)> {
    let fill = |event: &Event| match event {
        Event::Fill { client: 0, vmid: 3, va, bits, caches } => Some((*va, *bits, *caches)),
        _ => None,
    };
    events.iter().filter_map(fill).collect()
}

#[test]
fn a_walk_tells_where_it_ended_and_what_it_left_in_which_cache() {
    let (mut rig, memory) = rig();
    let fence = |rig: &mut Rig| {
        rig.enqueue(0, 2, 3, &p::fence(9 * 4096 + 8, 7));
        rig.settle();
    };
    let events = during(&mut rig, &memory, fence);
    let (l1_l2, pde) = (cache::L1 | cache::L2, cache::PDE);
    // The ring's first page through three directories; then only the page table.
    assert_eq!(fills(&events), [(0, 39, pde), (0, 30, pde), (0, 21, pde), (0, 12, l1_l2), (9 * 4096 + 8, 12, l1_l2)]);
    let walks: Vec<&Event> = events.iter().filter(|e| matches!(e, Event::Walk { .. })).collect();
    let at = Some(Phys { space: Space::Vram, addr: 9 * MIB + 8 });
    assert!(
        matches!(walks[1], Event::Walk { client: 0, vmid: 3, va: 0x9008, found: Found::Page { at: found, entry }, .. }
        if *found == at && *entry == (9 * MIB) | bit::VRAM)
    );
    // What is cached is walked for no more.
    let events = during(&mut rig, &memory, fence);
    assert_eq!(fills(&events), []);
    // After an invalidation of everything it is.
    let events = during(&mut rig, &memory, |rig| rig.invalidate(5, 1 << 3));
    let all = cache::L1 | cache::L2 | cache::STREAM | cache::PDE;
    let expected = Event::Invalidate { hub: HubId::Mm, engine: 5, vmids: 1 << 3, range: None, caches: all };
    assert!(events.contains(&expected), "{events:?}");
    let events = during(&mut rig, &memory, fence);
    assert_eq!(fills(&events).len(), 5);
    // A range.
    let events = during(&mut rig, &memory, |rig| rig.invalidate_range(5, 1 << 3, 9 << 1));
    assert!(events.iter().any(|e| matches!(e, Event::Invalidate { range: Some((0x9000, 0x9fff)), .. })), "{events:?}");
}

#[test]
fn a_walk_that_fails_says_why_and_fills_nothing() {
    let (mut rig, memory) = rig();
    let events = during(&mut rig, &memory, |rig| {
        rig.enqueue(0, 2, 3, &[p::fence(77 * 4096, 7), p::fence(4 << 20, 7)].concat());
        rig.settle();
    });
    let failed: Vec<Cause> = events
        .iter()
        .filter_map(|e| match e {
            Event::Walk { vmid: 3, found: Found::Fault { cause, retry: false }, .. } => Some(*cause),
            _ => None,
        })
        .collect();
    // No entry, and no directory entry.
    assert_eq!(failed, [Cause::Valid, Cause::Pde(0)]);
    assert!(fills(&events).iter().all(|(va, ..)| *va == 0 || *va == 4 << 20), "{:?}", fills(&events));
}

#[test]
fn the_counts_in_the_trace_are_the_devices_and_all_of_it_replays() {
    let (mut rig, memory) = rig();
    for n in 0..4 {
        rig.enqueue(0, 2, 3, &p::fence(9 * 4096 + 8 * n, 7));
        rig.settle();
        rig.invalidate(5, 1 << 3);
    }
    let counters = rig.gpu.counters();
    let events = memory.events();
    let told = events.iter().rev().find_map(|(_, e)| match e {
        Event::Tlb { hits, walks } => Some((*hits, *walks)),
        _ => None,
    });
    assert_eq!(told, Some((counters.tlb_hits, counters.walks)));
    let walks = events.iter().filter(|(_, e)| matches!(e, Event::Walk { .. })).count() as u64;
    assert_eq!(walks, counters.walks);
    let count = events.len() as u64;
    let mut replay = Replay::new(events.into_iter().map(Ok)).unwrap();
    assert_eq!(replay.run(None).unwrap(), (count, false));
    assert_eq!(replay.gpu().counters(), counters);
}
