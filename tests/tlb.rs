// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The translation caches against walking each time: whatever a cache answers was true at some time since the page was
//! last invalidated, and after an invalidation only what is true now.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{bit, Numbers, MIB, VRAM};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::FileExt;
use uvm_spec::hub::Cid;
use vhost_device_uvm::gmc::{Access, Client, Hub, HubId, Memory, Phys, TlbSizes};
use vhost_device_uvm::vram::Vram;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

const PAGES: u64 = 1024;
const VMIDS: u64 = 4;
/// log2 of the pages of the largest fragment.
const MOST: u64 = 6;

/// A page of VRAM and whether it may be written.
type Mapping = (u64, bool);
/// What a page was mapped to over a time; None is a fault.
type History = HashSet<Option<Mapping>>;

struct Bench {
    hub: Hub,
    vram: Vram,
    /// What each page (VMID, number) is mapped to now.
    now: HashMap<(u64, u64), Mapping>,
    /// What each page was mapped to at some time since its last invalidation; None is a fault.
    was: HashMap<(u64, u64), History>,
}

impl Bench {
    fn new(sizes: TlbSizes) -> Self {
        let mut hub = Hub::new(HubId::Mm, 4, sizes);
        for vmid in 0..VMIDS as u32 {
            let v = vmid + 1;
            for (offset, value) in
                [(0x72b + 2 * v, table(v.into()) as u32 | 1), (0x76b + 2 * v, PAGES as u32 - 1), (0x6c0 + v, 1)]
            {
                hub.write(offset, value);
            }
        }
        Self { hub, vram: Vram::new(VRAM).unwrap(), now: HashMap::new(), was: HashMap::new() }
    }
    /// Maps an aligned block of pages as one fragment, or single pages, or nothing.
    fn map(&mut self, vmid: u64, first: u64, log2: u64, target: Option<Mapping>, fragment: bool) {
        for page in first..first + (1 << log2) {
            let now = target.map(|(at, write)| (at + (page - first), write));
            let entry = match now {
                None => 0,
                Some((at, write)) => {
                    at << 12
                        | bit::VALID
                        | bit::READ
                        | if write { bit::WRITE } else { 0 }
                        | if fragment { log2 << 7 } else { 0 }
                }
            };
            self.vram.file().unwrap().write_all_at(&entry.to_le_bytes(), table(vmid) + 8 * page).unwrap();
            match now {
                Some(now) => self.now.insert((vmid, page), now),
                None => self.now.remove(&(vmid, page)),
            };
            self.was.entry((vmid, page)).or_insert_with(|| [None].into()).insert(now);
        }
    }
    fn invalidate(&mut self, engine: u32, vmids: u64, pages: Option<(u64, u64)>) {
        let range = match pages {
            None => u64::MAX >> 27,
            // As many ones at the end as the size has bits, less one, and S.
            Some((first, log2)) => (first | ((1 << log2 >> 1) - u64::from(log2 > 0))) << 1 | u64::from(log2 > 0),
        };
        self.hub.write(0x707 + 2 * engine, range as u32);
        self.hub.write(0x708 + 2 * engine, (range >> 32) as u32);
        self.hub.write(0x6e3 + engine, vmids as u32 | 0x1f << 18);
        assert_eq!(u64::from(self.hub.read(0x6f5 + engine).unwrap() & 0xffff), vmids);
        for vmid in (0..16).filter(|v| vmids >> v & 1 == 1) {
            let (first, last) = pages.map_or((0, PAGES - 1), |(first, log2)| (first, first + (1 << log2) - 1));
            for page in first..=last.min(PAGES - 1) {
                let now = self.now.get(&(vmid, page)).copied();
                self.was.insert((vmid, page), [now].into());
            }
        }
    }
    fn access(&mut self, l1: usize, vmid: u64, page: u64, write: bool) -> Result<(), String> {
        let system = GuestMemoryAtomic::new(GuestMemoryMmap::<()>::new());
        let memory = Memory::new(&self.vram, &system);
        let kind = if write { Access::Write } else { Access::Read };
        let got = self.hub.translate(
            &memory,
            Client { l1, cid: Cid::default(), counted: true },
            vmid as u8,
            page << 12 | 5,
            kind,
        );
        let got = got.ok().and_then(|t| t.at).map(|Phys { addr, .. }| addr);
        let allowed = |m: &Option<Mapping>| m.filter(|m| m.1 || !write).map(|m| m.0 << 12 | 5);
        let now = self.now.get(&(vmid, page)).copied();
        let was = self.was.get(&(vmid, page));
        // A denied or missing page is never cached: it is what the tables say now.
        let ok = match (got, was) {
            (None, _) => allowed(&now).is_none(),
            (Some(_), None) => false,
            (Some(_), Some(was)) => was.iter().any(|m| allowed(m) == got),
        };
        let told = format!("vmid {vmid} page {page:#x} write {write}: {got:x?}, now {now:x?}, since {was:x?}");
        if ok {
            Ok(())
        } else {
            Err(told)
        }
    }
}

fn table(vmid: u64) -> u64 {
    MIB + vmid * 8 * PAGES
}

fn run(seed: u64, sizes: TlbSizes, steps: usize) -> Result<(), TestCaseError> {
    let mut numbers = Numbers(seed);
    let mut bench = Bench::new(sizes);
    for step in 0..steps {
        let vmid = 1 + numbers.below(VMIDS);
        match numbers.below(32) {
            0..=3 => {
                let log2 = numbers.below(MOST + 1);
                let first = numbers.below(PAGES) >> log2 << log2;
                // A part of a fragment is only rewritten with the whole: the rest of it must not claim to be one.
                let (whole, log2) = (first >> MOST << MOST, if numbers.below(2) == 0 { MOST } else { log2 });
                let first = if log2 == MOST { whole } else { first };
                if log2 < MOST {
                    for page in whole..whole + (1 << MOST) {
                        let now = bench.now.get(&(vmid, page)).copied();
                        bench.map(vmid, page, 0, now, false);
                    }
                }
                let at = (numbers.below(VRAM >> 12) >> MOST << MOST) + (first - whole);
                let target = (numbers.below(4) != 0).then_some((at, numbers.below(2) == 0));
                bench.map(vmid, first, log2, target, log2 == MOST);
            }
            4 => {
                let engine = numbers.below(18) as u32;
                let vmids = numbers.below(1 << VMIDS) << 1;
                let log2 = numbers.below(11);
                let pages = (numbers.below(3) != 0).then(|| (numbers.below(PAGES) >> log2 << log2, log2));
                bench.invalidate(engine, vmids, pages);
            }
            _ => {
                let (l1, page, write) = (numbers.below(2) as usize, numbers.below(PAGES), numbers.below(2) == 0);
                // A few hot pages, or a small cache holds nothing twice.
                let page = if numbers.below(2) == 0 { page % 24 } else { page };
                bench.access(l1, vmid, page, write).map_err(|e| TestCaseError::fail(format!("step {step}: {e}")))?;
            }
        }
    }
    let (l1, l2) = bench.hub.caches();
    let hits = l1.iter().map(|t| t.hits).sum::<u64>();
    prop_assert!(hits > 0 && l2.misses > 0, "the run never used the caches");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cache_never_answers_what_an_invalidation_has_ended(seed in any::<u64>(), small in any::<bool>()) {
        run(seed, if small { TlbSizes { l1: 4, l2: 16 } } else { TlbSizes::default() }, 3000)?;
    }
}
