// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The directory caches: a stale directory entry stays in use until an invalidation names its level, and never after.
//!
//! The random test keeps, for every directory entry that a walk can pass, all values that may be cached: those that could
//! be read since the last invalidation of that level, through whatever could be cached above it.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{bit, Numbers, MIB, VRAM};
use proptest::prelude::*;
use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use uvm_spec::hub::Cid;
use vhost_device_uvm::gmc::{Access, Client, Hub, HubId, Memory, TlbSizes};
use vhost_device_uvm::vram::Vram;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

const VMIDS: usize = 2;
/// Tables of each level that entries may point at.
const TABLES: u64 = 3;
/// Pages of a page table that are used: one line of it, and the next.
const PAGES: [u64; 3] = [0, 1, 17];
/// The levels of page tables in which entries are kept, by bit of VM_INVALIDATE_ENG0_REQ from L2_PTES on.
const FLAG_L2: u32 = 1 << 18;
const FLAG_PDE: u32 = 1 << 19;
const FLAG_L1: u32 = 1 << 22;

/// VRAM offset of table `n` of level `level`: 0 is a page table, 1 the directory above it.
fn table(level: usize, n: u64) -> u64 {
    2 * MIB + (level as u64 * 16 + n) * 4096
}
/// The page that the path `path` ends at, a bit a directory level, and slot `page` of the page table.
fn va(path: u64, page: u64) -> u64 {
    (0..4).fold(page, |sum, level| sum | (path >> level & 1) << (9 * (level + 1))) << 12
}

/// Where a page starts, and whether it may be written.
type Mapping = (u64, bool);
/// What an access gets: a mapping or a fault.
type Outcome = Option<Mapping>;

struct Bench {
    hub: Hub,
    vram: Vram,
}

impl Bench {
    fn new(depth: usize, sizes: TlbSizes) -> Self {
        let mut hub = Hub::new(HubId::Mm, 5, sizes);
        for vmid in 0..VMIDS as u32 {
            let v = vmid + 1;
            let root = table(depth, vmid.into()) as u32 | 1;
            // PAGE_TABLE_DEPTH 3 is as deep as the device goes.
            let field = if depth == 4 { 3 } else { depth as u32 };
            for (offset, value) in [(0x72b + 2 * v, root), (0x76b + 2 * v, !0), (0x76c + 2 * v, !0)] {
                hub.write(offset, value);
            }
            hub.write(0x6c0 + v, 1 | field << 1);
        }
        // Three levels of directories need a device of four levels for the field's highest value.
        if depth < 4 {
            let mut shallow = Hub::new(HubId::Mm, depth as u32 + 1, sizes);
            for offset in (0x72b..0x78b).chain(0x6c0..0x6d0) {
                if let Some(value) = hub.read(offset) {
                    shallow.write(offset, value);
                }
            }
            hub = shallow;
        }
        Self { hub, vram: Vram::new(VRAM).unwrap() }
    }
    fn put(&self, level: usize, n: u64, slot: u64, entry: u64) {
        self.vram.file().unwrap().write_all_at(&entry.to_le_bytes(), table(level, n) + 8 * slot).unwrap();
    }
    fn get(&mut self, l1: usize, vmid: usize, va: u64, write: bool) -> Option<u64> {
        let system = GuestMemoryAtomic::new(GuestMemoryMmap::<()>::new());
        let memory = Memory::new(&self.vram, &system);
        let kind = if write { Access::Write } else { Access::Read };
        let got =
            self.hub.translate(&memory, Client { l1, cid: Cid::default(), counted: true }, vmid as u8 + 1, va, kind);
        got.ok().and_then(|t| t.at).map(|at| at.addr)
    }
    /// Invalidates with the given flags of the request; no range is everything.
    fn invalidate(&mut self, engine: u32, vmids: u32, flags: u32, range: Option<(u64, u32)>) {
        let range = match range {
            None => u64::MAX >> 27,
            Some((first, log2)) => (first | ((1 << log2 >> 1) - u64::from(log2 > 0))) << 1 | u64::from(log2 > 0),
        };
        self.hub.write(0x707 + 2 * engine, range as u32);
        self.hub.write(0x708 + 2 * engine, (range >> 32) as u32);
        self.hub.write(0x6e3 + engine, vmids << 1 | flags);
        assert_eq!(self.hub.read(0x6f5 + engine).unwrap() & 0xffff, vmids << 1);
    }
}

/// A space in which page 0's path goes through table 0 of each level to a page at `frame`.
fn plain(depth: usize, frame: u64) -> Bench {
    let bench = Bench::new(depth, TlbSizes::default());
    for level in 1..=depth {
        bench.put(level, 0, 0, table(level - 1, 0) | bit::VALID);
    }
    bench.put(0, 0, 0, frame | bit::VRAM);
    bench
}

#[test]
fn a_directory_entry_stays_in_use_until_its_own_level_is_invalidated() {
    for depth in 1..=4 {
        for level in 1..=depth {
            let mut bench = plain(depth, 8 * MIB);
            // A second way from this level down, to another page.
            for below in 0..level {
                let entry = if below == 0 { (9 * MIB) | bit::VRAM } else { table(below - 1, 2) | bit::VALID };
                bench.put(below, 2, 0, entry);
            }
            assert_eq!(bench.get(0, 0, 0x123, false), Some(8 * MIB + 0x123));
            bench.put(level, 0, 0, table(level - 1, 2) | bit::VALID);
            // All but the level of the entry itself, or all but this address space: the old table is used.
            let own = FLAG_PDE << (level - 1).min(2);
            let all = FLAG_L1 | FLAG_L2 | FLAG_PDE | FLAG_PDE << 1 | FLAG_PDE << 2;
            // The levels below it are reached through it: without theirs, they answer for themselves.
            bench.invalidate(0, 1, all & !own, None);
            assert_eq!(bench.get(0, 0, 0x123, false), Some(8 * MIB + 0x123), "depth {depth} level {level}");
            bench.invalidate(3, 2, all, None);
            if depth < 4 {
                bench.invalidate(3, 1, all, Some((1 << (9 * depth), 0)));
            }
            bench.invalidate(3, 1, FLAG_L1 | FLAG_L2, None);
            assert_eq!(bench.get(0, 0, 0x123, false), Some(8 * MIB + 0x123), "depth {depth} level {level}");
            bench.invalidate(7, 1, all, Some((0, 0)));
            assert_eq!(bench.get(0, 0, 0x123, false), Some(9 * MIB + 0x123), "depth {depth} level {level}");
        }
    }
}

#[test]
fn an_invalid_directory_entry_is_never_kept_and_a_large_page_is() {
    let mut bench = plain(3, 8 * MIB);
    bench.put(1, 0, 0, 0);
    assert_eq!(bench.get(0, 0, 0, false), None);
    bench.put(1, 0, 0, table(0, 0) | bit::VALID);
    assert_eq!(bench.get(0, 0, 0, false), Some(8 * MIB), "no invalidation is due for what was invalid");
    // A directory entry that maps memory itself: the translation goes with PTES, the entry with PDE0.
    bench.put(1, 0, 1, (10 * MIB) | bit::VRAM | bit::PDE_PTE);
    let va = 2 * MIB + 0x5000;
    assert_eq!(bench.get(0, 0, va, false), Some(10 * MIB + 0x5000));
    bench.put(1, 0, 1, (12 * MIB) | bit::VRAM | bit::PDE_PTE);
    bench.invalidate(0, 1, FLAG_L1 | FLAG_L2, None);
    assert_eq!(bench.get(0, 0, va, false), Some(10 * MIB + 0x5000));
    bench.invalidate(0, 1, FLAG_L1 | FLAG_L2 | FLAG_PDE, None);
    assert_eq!(bench.get(0, 0, va, false), Some(12 * MIB + 0x5000));
}

#[test]
fn a_reset_forgets_every_directory_entry() {
    let mut bench = plain(2, 8 * MIB);
    assert_eq!(bench.get(1, 0, 0, false), Some(8 * MIB));
    bench.hub.reset();
    bench.put(2, 0, 0, 0);
    for (offset, value) in [(0x72d, table(2, 0) as u32 | 1), (0x76d, !0), (0x6c1, 1 | 2 << 1)] {
        bench.hub.write(offset, value);
    }
    assert_eq!(bench.get(1, 0, 0, false), None);
}

/// The cells that hold entries, and what may be cached of them.
struct Model {
    depth: usize,
    /// By level, table and slot.
    cells: Vec<[[u64; 32]; TABLES as usize]>,
    /// Directory entries that may be cached or read, by VMID, level less one, and the path down to them.
    seen: Vec<Vec<Vec<HashSet<u64>>>>,
    /// Whether a walk may end at an invalid directory entry now: by VMID, level less one, path.
    broken: Vec<Vec<Vec<bool>>>,
    /// What a translation cache may hold: by VMID, path, page.
    held: Vec<Vec<[HashSet<Mapping>; PAGES.len()]>>,
}

impl Model {
    fn new(depth: usize) -> Self {
        let paths = |level: usize| 1usize << (depth - level);
        let per_level = || (0..depth).map(|level| vec![HashSet::new(); paths(level)]).collect::<Vec<_>>();
        Self {
            depth,
            cells: vec![[[0; 32]; TABLES as usize]; depth + 1],
            seen: (0..VMIDS).map(|_| per_level()).collect(),
            broken: vec![(0..depth).map(|level| vec![false; paths(level)]).collect(); VMIDS],
            held: vec![vec![Default::default(); paths(0)]; VMIDS],
        }
    }
    fn leaf(entry: u64, offset: u64) -> Mapping {
        ((entry & 0xffff_ffff_f000) + offset, entry & bit::WRITE != 0)
    }
    /// Adds all that can be read now to what may be cached.
    fn settle(&mut self) {
        for vmid in 0..VMIDS {
            for level in (0..self.depth).rev() {
                for path in 0..1usize << (self.depth - level) {
                    let parents: Vec<u64> = if level + 1 == self.depth {
                        vec![vmid as u64]
                    } else {
                        let above = self.seen[vmid][level + 1][path >> 1].iter();
                        above.filter(|e| *e & bit::PDE_PTE == 0).map(|e| Self::target(level + 1, *e)).collect()
                    };
                    let mut broken = false;
                    for parent in parents {
                        let entry = self.cells[level + 1][parent as usize][path & 1];
                        if entry & bit::VALID != 0 {
                            self.seen[vmid][level][path].insert(entry);
                        } else {
                            broken = true;
                        }
                    }
                    self.broken[vmid][level][path] = broken;
                }
            }
            for path in 0..1usize << self.depth {
                for page in 0..PAGES.len() {
                    let now: Vec<Outcome> = self.now(vmid, path, page).into_iter().collect();
                    self.held[vmid][path][page].extend(now.into_iter().flatten());
                }
            }
        }
    }
    /// The number of the table that an entry in a directory of level `level` + 1 points at.
    fn target(level: usize, entry: u64) -> u64 {
        ((entry & 0xffff_ffff_f000) - table(level, 0)) / 4096
    }
    /// Every way that a walk may end now.
    fn now(&self, vmid: usize, path: usize, page: usize) -> HashSet<Outcome> {
        let mut ends = HashSet::new();
        for level in 0..self.depth {
            let up = path >> level;
            if self.broken[vmid][level][up] {
                ends.insert(None);
            }
            for entry in &self.seen[vmid][level][up] {
                if entry & bit::PDE_PTE != 0 {
                    let size = 1u64 << (12 + 9 * (level + 1));
                    ends.insert(Some(Self::leaf(*entry, va(path as u64, PAGES[page]) % size)));
                } else if level == 0 {
                    let pte = self.cells[0][Self::target(0, *entry) as usize][PAGES[page] as usize];
                    ends.insert((pte & bit::VALID != 0).then(|| Self::leaf(pte, 0)));
                }
            }
        }
        ends
    }
    fn invalidate(&mut self, vmids: u32, flags: u32, range: Option<(u64, u32)>) {
        // The register has no room for the page numbers of a fifth level: any range is everything.
        let range = range.filter(|_| self.depth < 4);
        let (first, last) = range.map_or((0, u64::MAX), |(first, log2)| (first, first + (1 << log2) - 1));
        for vmid in (0..VMIDS).filter(|v| vmids >> v & 1 == 1) {
            for path in 0..1usize << self.depth {
                for level in (0..self.depth).filter(|l| flags & FLAG_PDE << (*l).min(2) != 0) {
                    let start = va((path >> level << level) as u64, 0) >> 12;
                    if start <= last && start + (1 << (9 * (level + 1))) > first {
                        self.seen[vmid][level][path >> level].clear();
                    }
                }
                for (n, page) in PAGES.iter().enumerate() {
                    let page = va(path as u64, *page) >> 12;
                    if flags & FLAG_L1 != 0 && flags & FLAG_L2 != 0 && (first..=last).contains(&page) {
                        self.held[vmid][path][n].clear();
                    }
                }
            }
        }
        self.settle();
    }
}

fn run(seed: u64, depth: usize, sizes: TlbSizes, steps: usize) -> Result<(), TestCaseError> {
    let mut numbers = Numbers(seed);
    let (mut bench, mut model) = (Bench::new(depth, sizes), Model::new(depth));
    model.settle();
    let mut stale = 0;
    for step in 0..steps {
        match numbers.below(24) {
            0..=2 => {
                let level = numbers.below(depth as u64 + 1) as usize;
                let n = numbers.below(if level == depth { VMIDS as u64 } else { TABLES });
                let slot = if level == 0 { PAGES[numbers.below(3) as usize] } else { numbers.below(2) };
                let write = if numbers.below(2) == 0 { bit::WRITE } else { 0 };
                let leaf = numbers.below(1 << 12) << 12 | bit::VALID | bit::READ | write;
                let entry = match numbers.below(8) {
                    0 => 0,
                    _ if level == 0 => leaf,
                    1 => (leaf & !((1 << (12 + 9 * level)) - 1) | leaf & 0xfff) | bit::PDE_PTE,
                    _ => table(level - 1, numbers.below(TABLES)) | bit::VALID,
                };
                bench.put(level, n, slot, entry);
                model.cells[level][n as usize][slot as usize] = entry;
                model.settle();
            }
            3 => {
                let (engine, vmids) = (numbers.below(18) as u32, numbers.below(4) as u32);
                let flags = match numbers.below(3) {
                    0 => FLAG_L1 | FLAG_L2 | (FLAG_PDE * 7),
                    _ => (numbers.below(32) as u32) << 18,
                };
                let range = (numbers.below(2) == 0).then(|| {
                    let log2 = numbers.below(30) as u32;
                    let page = va(numbers.below(1 << depth), PAGES[numbers.below(3) as usize]) >> 12;
                    (page >> log2 << log2, log2)
                });
                bench.invalidate(engine, vmids, flags, range);
                model.invalidate(vmids, flags, range);
            }
            _ => {
                let (l1, vmid) = (numbers.below(2) as usize, numbers.below(VMIDS as u64) as usize);
                let (path, page) = (numbers.below(1 << depth) as usize, numbers.below(3) as usize);
                let write = numbers.below(2) == 0;
                let got = bench.get(l1, vmid, va(path as u64, PAGES[page]), write);
                let allowed = |held: &Mapping| held.1 || !write;
                let now = model.now(vmid, path, page);
                let ok = match got {
                    None => now.iter().any(|end| !end.as_ref().is_some_and(allowed)),
                    Some(at) => model.held[vmid][path][page].iter().any(|held| held.0 == at && allowed(held)),
                };
                prop_assert!(
                    ok,
                    "step {step}: vmid {vmid} path {path:b} page {page} write {write}: {got:x?}, now {now:x?}"
                );
                // What the tables say without any cache: how often a cache said otherwise.
                let system = GuestMemoryAtomic::new(GuestMemoryMmap::<()>::new());
                let memory = Memory::new(&bench.vram, &system);
                let kind = if write { Access::Write } else { Access::Read };
                let fresh = bench.hub.peek(&memory, vmid as u8 + 1, va(path as u64, PAGES[page]), kind);
                stale += usize::from(fresh.ok().and_then(|t| t.at).map(|at| at.addr) != got);
            }
        }
    }
    prop_assert!(stale > 0, "the run never saw a stale entry");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_passes_only_entries_that_no_invalidation_has_ended(seed in any::<u64>(), depth in 1usize..=4, tiny in any::<bool>()) {
        // Tiny translation caches walk often, and so pass the directories.
        run(seed, depth, if tiny { TlbSizes { l1: 4, l2: 4 } } else { TlbSizes::default() }, 3000)?;
    }
}
