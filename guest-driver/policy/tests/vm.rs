// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What an update of an address space costs in entries and tables, and what it refuses.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up, and tables are small

#[path = "common/space.rs"]
mod space;

use space::Memory;
use uvm_policy::*;
use uvm_spec::pte;

const PAGE: u64 = 4096;
const VRAM_BASE: u64 = 0x80_0000_0000;
const MM: u32 = 2;
const RW: u64 = pte::READABLE | pte::WRITEABLE;

struct World {
    policy: Policy,
    vm: VmId,
    memory: Memory,
}

impl World {
    /// Four levels in VRAM, with fragments up to 2 MiB and leaves of 2 MiB.
    fn new() -> Self {
        let mut policy = Policy::new(PAGE).unwrap();
        policy.add_segment(&SegmentConfig { domain: Domain::Vram, base: 0, size: 8 << 20 }).unwrap();
        let (tables, root) = (Domain::Vram, 0);
        let config = VmConfig { levels: 4, va_bits: 0, tables, root, vram_base: VRAM_BASE, fragment: 9, leaf_level: 1 };
        let vm = policy.vm_create(&config).unwrap();
        let info = policy.vm_info(vm).unwrap();
        Self { memory: Memory::new(4, info.root, 512, false, VRAM_BASE), policy, vm }
    }

    fn grab(&mut self, ring: u32) -> Grant {
        let request = GrabRequest { ring, hubs: MM, fence: 1 };
        let Grab::Granted(grant) = self.policy.vmid_grab(self.vm, &request).unwrap() else { panic!("all are free") };
        self.policy.vmid_submitted(grant.job, true).unwrap();
        grant
    }

    fn begin(&mut self, page: u64, pages: u64, change: Change) -> Result<UpdateId, Error> {
        let request = UpdateRequest { va: page * PAGE, size: pages * PAGE, change, replace: false };
        self.policy.update_begin(self.vm, &request)
    }

    /// Prepares and commits an update; gives its writes.
    fn commit(&mut self, update: UpdateId) -> Vec<TableWrite> {
        assert_eq!(self.policy.update_prepare(update), Ok(Prepared::Ready));
        let mut writes = vec![];
        loop {
            let before = writes.len();
            self.policy.update_next(update, 4, |write| writes.push(write)).unwrap();
            if writes.len() == before {
                self.policy.update_commit(update).unwrap();
                return writes;
            }
        }
    }

    /// Performs the writes of a committed update.
    fn land(&mut self, update: UpdateId, writes: &[TableWrite]) {
        writes.iter().for_each(|write| self.memory.write(write));
        self.policy.update_landed(update).unwrap();
    }

    /// Flushes what has landed; gives what was invalidated.
    fn flush(&mut self) -> Option<Invalidate> {
        let invalidate = self.policy.vm_flush(self.vm).unwrap();
        if invalidate.is_some() {
            self.policy.vm_flushed(self.vm).unwrap();
        }
        invalidate
    }

    /// Performs all of a begun update; gives its writes as entries: first, count, value.
    fn finish(&mut self, update: UpdateId) -> Vec<(u64, u64, u64)> {
        let writes = self.commit(update);
        self.land(update, &writes);
        self.flush();
        self.policy.update_retire(update).unwrap();
        self.memory.forget_unreachable();
        writes.iter().map(|write| (write.first, write.count, write.value)).collect()
    }

    fn map(&mut self, page: u64, pages: u64, bo: u64, vram: u64) -> Vec<(u64, u64, u64)> {
        let update = self.begin(page, pages, Change::Map { attributes: RW, bo, bo_offset: 0 }).unwrap();
        self.policy.update_pages(update, Domain::Vram, vram * PAGE, pages).unwrap();
        self.finish(update)
    }

    fn unmap(&mut self, page: u64, pages: u64) -> Vec<(u64, u64, u64)> {
        let update = self.begin(page, pages, Change::Unmap).unwrap();
        self.finish(update)
    }

    fn tables(&self) -> u64 {
        self.policy.vm_info(self.vm).unwrap().tables
    }
}

#[test]
fn aligned_two_mebibytes_are_one_directory_entry() {
    let mut world = World::new();

    let writes = world.map(512, 1024, 1, 1024);

    let entry = (VRAM_BASE + (1024 * PAGE)) | pte::VALID | RW | pte::PDE_PTE | 9 << pte::FRAGMENT_SHIFT;
    assert!(writes.contains(&(1, 2, entry)), "{writes:x?}");
    assert_eq!(world.tables(), 3, "no page table");
    assert_eq!(world.memory.walk(512 + 700), (Some((VRAM_BASE + 1724 * PAGE) | pte::VALID | RW), 9));
}

#[test]
fn hole_in_a_large_page_is_cut_and_healed() {
    let mut world = World::new();
    world.map(0, 512, 1, 0);

    world.unmap(100, 1);

    assert_eq!(world.memory.walk(100).0, None);
    assert_eq!(world.memory.walk(101), (Some((VRAM_BASE + 101 * PAGE) | pte::VALID | RW), 0));
    assert_eq!(world.memory.walk(300).1, 8, "the upper half is one fragment");
    assert_eq!(world.tables(), 4);
    let whole = Change::Map { attributes: RW, bo: 1, bo_offset: 100 * PAGE };
    let update = world.begin(100, 1, whole).unwrap();
    world.policy.update_pages(update, Domain::Vram, 100 * PAGE, 1).unwrap();
    world.finish(update);
    assert_eq!(world.memory.walk(100).1, 9, "one large page again");
    assert_eq!(world.tables(), 3);
    let mapping = world.policy.vm_find(world.vm, 0).unwrap();
    assert_eq!((mapping.size, mapping.bo), (512 * PAGE, 1));
}

#[test]
fn ranges_of_different_owners_stay_apart() {
    let mut world = World::new();
    world.map(0, 8, 1, 0);
    world.map(8, 8, 2, 8);

    let first = world.policy.vm_find(world.vm, 7 * PAGE).unwrap();
    let second = world.policy.vm_find(world.vm, 8 * PAGE).unwrap();

    assert_eq!((first.bo, first.va, first.size, first.bo_offset), (1, 0, 8 * PAGE, 0));
    assert_eq!((second.bo, second.va, second.size, second.bo_offset), (2, 8 * PAGE, 8 * PAGE, 0));
    assert_eq!(world.policy.vm_find(world.vm, 16 * PAGE), Err(Error::Unknown));
}

#[test]
fn partially_resident_terabytes_cost_a_few_entries() {
    let mut world = World::new();
    let update = world.begin(3, (1 << 35) - 6, Change::Prt).unwrap();

    let writes = world.finish(update);

    assert!(writes.len() < 30, "{} writes", writes.len());
    for page in [3, 1 << 20, 1 << 34, (1 << 35) - 4] {
        assert_eq!(world.memory.walk(page).0, Some(pte::PRT));
    }
    for page in [0, 2, (1 << 35) - 3, 1 << 35] {
        assert_eq!(world.memory.walk(page).0, None);
    }
    let writes = world.unmap(1 << 30, 1);
    assert!(writes.len() < 30, "{} writes", writes.len());
    assert_eq!(world.memory.walk(1 << 30).0, None);
    assert_eq!(world.memory.walk((1 << 30) + 1).0, Some(pte::PRT));
    world.unmap(0, 1 << 35);
    assert_eq!(world.tables(), 1);
}

#[test]
fn neighbouring_tables_are_linked_by_one_run() {
    let mut world = World::new();
    let update = world.begin(0, 2048, Change::Map { attributes: RW, bo: 1, bo_offset: 0 }).unwrap();
    for page in 0..2048 {
        world.policy.update_pages(update, Domain::System, (4096 + page * 2) * PAGE, 1).unwrap();
    }

    let writes = world.finish(update);

    assert_eq!(world.tables(), 3 + 4);
    let links = writes.iter().filter(|(_, _, value)| value & pte::SYSTEM == 0 && *value != 0);
    let mut counts: Vec<u64> = links.map(|(_, count, _)| *count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 4]);
    assert_eq!(world.memory.walk(2047).0, Some(((4096 + 2047 * 2) * PAGE) | pte::VALID | pte::SYSTEM | RW));
}

#[test]
fn update_of_a_busy_space_waits_its_turn_and_needs_all_its_pages() {
    let mut world = World::new();
    let map = Change::Map { attributes: RW, bo: 1, bo_offset: 0 };
    let update = world.begin(0, 4, map).unwrap();

    assert_eq!(world.begin(8, 4, map), Err(Error::Busy));
    assert_eq!(world.policy.vm_destroy(world.vm), Err(Error::Busy));
    world.policy.update_pages(update, Domain::Vram, 0, 3).unwrap();
    assert_eq!(world.policy.update_prepare(update), Err(Error::Invalid));
    assert_eq!(world.policy.update_next(update, 1, |_| ()), Err(Error::Invalid));
    assert_eq!(world.policy.update_commit(update), Err(Error::Invalid));
    assert_eq!(world.policy.update_pages(update, Domain::Vram, 0, 2), Err(Error::Invalid), "one too many");
    let list = [(Domain::Vram, 8 * PAGE, 1), (Domain::Vram, 1, 1)];
    assert_eq!(world.policy.update_page_list(update, list), Err(Error::Invalid), "the second is no page");
    world.policy.update_pages(update, Domain::Vram, 4 * PAGE, 1).unwrap();
    world.finish(update);
    assert_eq!(world.memory.walk(3).0, Some((VRAM_BASE + 4 * PAGE) | pte::VALID | RW));
    assert_eq!(world.policy.update_retire(update), Err(Error::Unknown));
}

#[test]
fn changes_are_planned_on_those_that_wait() {
    let mut world = World::new();
    let map = |offset| Change::Map { attributes: RW, bo: 1, bo_offset: offset };
    let first = world.begin(0, 4, map(0)).unwrap();
    world.policy.update_pages(first, Domain::Vram, 0, 4).unwrap();
    let mapped = world.commit(first);
    assert_eq!(world.begin(2, 4, map(0)), Err(Error::Exists), "what waits counts");
    let second = world.begin(1, 2, Change::Unmap).unwrap();
    let unmapped = world.commit(second);

    assert_eq!(world.memory.walk(0).0, None, "nothing was written");
    let reached = |world: &World| [0, 1, 4].map(|page| world.policy.vm_reached(world.vm, page * PAGE).ok());
    assert_eq!(reached(&world), [None; 3]);
    assert_eq!(world.policy.vm_destroy(world.vm), Err(Error::Busy));
    assert_eq!(world.policy.update_abandon(first), Err(Error::Invalid));
    assert_eq!(world.policy.update_landed(first).and(world.policy.update_landed(first)), Err(Error::Invalid));
    mapped.iter().for_each(|write| world.memory.write(write));
    let entry = |page: u64| Some((VRAM_BASE + page * PAGE) | pte::VALID | RW);
    assert_eq!(world.memory.walk(1).0, entry(1));
    assert_eq!(reached(&world), [entry(0), entry(1), None], "the one that has landed shows, the next does not");
    world.land(second, &unmapped);
    assert_eq!(reached(&world), [entry(0), None, None]);

    assert_eq!([0, 1, 2, 3].map(|page| world.memory.walk(page).0.is_some()), [true, false, false, true]);
    assert_eq!(world.policy.update_retire(second), Err(Error::Invalid), "caches may know the pages");
    world.flush();
    world.policy.update_retire(first).unwrap();
    world.policy.update_retire(second).unwrap();
    world.policy.vm_destroy(world.vm).unwrap();
}

#[test]
fn one_flush_serves_all_that_has_landed() {
    let mut world = World::new();
    world.map(0, 64, 1, 0);
    let job = world.grab(0);
    let seq = world.policy.vm_info(world.vm).unwrap().seq;
    let updates: Vec<_> = (0..8)
        .map(|n| {
            let update = world.begin(3 + 7 * n, 1, Change::Unmap).unwrap();
            (update, world.commit(update))
        })
        .collect();
    for (update, writes) in &updates {
        world.land(*update, writes);
    }

    let flush = world.flush().unwrap();

    assert_eq!(flush.vmids, 1 << job.vmid);
    assert!(flush.start <= 3 && flush.start + flush.pages > 52, "{flush:?}");
    assert_eq!(world.flush(), None, "nothing is left to flush");
    assert_eq!(world.policy.vm_info(world.vm).unwrap().seq, seq + 1);
    for (update, _) in &updates {
        world.policy.update_retire(*update).unwrap();
    }
    assert_eq!(world.grab(1).flush, 0, "the VMID knows all of them");
}

#[test]
fn tables_taken_out_are_given_back_at_the_end_only() {
    let mut world = World::new();
    let vram = world.policy.segment_of(Domain::Vram).unwrap();
    let empty = world.policy.stats(vram).unwrap().used;
    world.map(0, 4, 1, 0);
    let full = world.policy.stats(vram).unwrap().used;
    let update = world.begin(0, 4, Change::Unmap).unwrap();
    let writes = world.commit(update);

    world.land(update, &writes);
    world.flush();

    assert_eq!(world.policy.stats(vram).unwrap().used, full);
    world.policy.update_retire(update).unwrap();
    assert_eq!(world.policy.stats(vram).unwrap().used, empty);
}

#[test]
fn abandoned_update_leaves_the_space_as_it_was() {
    let mut world = World::new();
    world.map(0, 512, 1, 0);
    let used = |world: &World| (world.tables(), world.policy.vm_find(world.vm, 0));
    let before = used(&world);
    let update = world.begin(9, 1, Change::Unmap).unwrap();
    assert_eq!(world.policy.update_prepare(update), Ok(Prepared::Ready));
    world.policy.update_next(update, 2, |_| ()).unwrap();

    world.policy.update_abandon(update).unwrap();

    assert_eq!(used(&world), before);
    let writes = world.unmap(0, 512);
    assert_eq!(writes.len(), 1, "the table that was planned is forgotten: {writes:x?}");
    assert_eq!(world.tables(), 1);
}

#[test]
fn map_of_empty_pages_needs_no_invalidation() {
    let mut world = World::new();
    let job = world.grab(0).job;
    let seq = world.policy.vm_info(world.vm).unwrap().seq;

    world.map(0, 4, 1, 0);
    assert_eq!(world.policy.vm_info(world.vm).unwrap().seq, seq);
    world.unmap(0, 4);
    assert_eq!(world.policy.vm_info(world.vm).unwrap().seq, seq + 1);
    world.unmap(0, 4);

    assert_eq!(world.policy.vm_info(world.vm).unwrap().seq, seq + 1, "nothing was there");
    world.policy.vmid_signalled(job).unwrap();
}

#[test]
fn invalidated_vmid_needs_no_flush_later() {
    let mut world = World::new();
    world.map(0, 4, 1, 0);
    let job = world.grab(0).job;
    world.unmap(0, 2);

    let next = world.grab(1);

    assert_eq!(next.flush, 0);
    world.policy.vmid_signalled(job).unwrap();
    world.policy.vmid_signalled(next.job).unwrap();
    world.unmap(2, 1); // nothing runs, so nothing is invalidated
    let later = world.grab(1);
    assert_eq!((later.flush, later.load), (MM, 0));
}

#[test]
fn bad_ranges_and_attributes_are_invalid() {
    let mut world = World::new();
    let map = |attributes| Change::Map { attributes, bo: 0, bo_offset: 0 };
    let vm = world.vm;
    let mut begin = |va, size, change| {
        let request = UpdateRequest { va, size, change, replace: true };
        world.policy.update_begin(vm, &request).map(drop)
    };

    for (va, size) in [(1, PAGE), (0, 0), (0, 1), (1 << 47, PAGE), (0, 1 << 48), (!0xfff, 2 * PAGE)] {
        assert_eq!(begin(va, size, map(RW)), Err(Error::Invalid), "{va:#x} {size:#x}");
    }
    for attributes in [pte::VALID, pte::SYSTEM, pte::PRT, pte::PDE_PTE, 1 << 7, 1 << 12, pte::TF, 1 << 63] {
        assert_eq!(begin(0, PAGE, map(attributes)), Err(Error::Invalid), "{attributes:#x}");
    }
    assert_eq!(begin(0, PAGE, Change::Map { attributes: RW, bo: 0, bo_offset: 1 }), Err(Error::Invalid));
    assert_eq!(begin(0xffff_8000_0000_0000, PAGE, map(RW)), Ok(()));
}
