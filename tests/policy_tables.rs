// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The policy's page tables as the device's walker reads them: what the driver's plan writes into VRAM is what the
//! hardware finds there, at every depth.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up

use std::collections::HashMap;

use uvm_policy::{Change, Domain, Error, Policy, Prepared, SegmentConfig, TableWrite, UpdateRequest, VmConfig, VmId};
use uvm_spec::pte;
use vhost_device_uvm::gmc::{walk, Access, Context, Memory, Phys, Space};
use vhost_device_uvm::vram::Vram;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

const PAGE: u64 = 4096;
const VRAM: u64 = 32 << 20;
const BASE: u64 = 0x80_0000_0000;
const WINDOW: u64 = 2048;
const BLOCK: u64 = 512;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}

struct Rig {
    policy: Policy,
    vm: VmId,
    vram: Vram,
    context: Context,
    /// What each page should be: its memory and attributes, or partially resident.
    model: HashMap<u64, Option<(Phys, u64)>>,
}

impl Rig {
    fn new(levels: u32, leaf_level: u32, fragment: u32) -> Self {
        let mut policy = Policy::new(PAGE).unwrap();
        policy.add_segment(&SegmentConfig { domain: Domain::Vram, base: 0, size: VRAM }).unwrap();
        let va_bits = if levels == 1 { 30 } else { 0 };
        let tables = Domain::Vram;
        let config = VmConfig { levels, va_bits, tables, root: 0, vram_base: BASE, fragment, leaf_level };
        let vm = policy.vm_create(&config).unwrap();
        let info = policy.vm_info(vm).unwrap();
        let context = Context {
            vmid: 1,
            enabled: true,
            depth: levels as u8 - 1,
            block_bits: 9,
            start: 0,
            end: (info.size / PAGE) - 1,
            base: info.root,
            fb_offset: BASE,
            ..Context::default()
        };
        Self { policy, vm, vram: Vram::new(VRAM).unwrap(), context, model: HashMap::new() }
    }

    fn update(&mut self, page: u64, pages: u64, change: Change, runs: &[(Domain, u64, u64)]) {
        self.try_update(page, pages, change, runs).unwrap();
    }

    fn try_update(&mut self, page: u64, pages: u64, change: Change, runs: &[(Domain, u64, u64)]) -> Result<(), Error> {
        let request = UpdateRequest { va: page * PAGE, size: pages * PAGE, change, replace: true };
        let update = self.policy.update_begin(self.vm, &request)?;
        self.policy.update_page_list(update, runs.iter().copied()).unwrap();
        assert_eq!(self.policy.update_prepare(update), Ok(Prepared::Ready));
        let memory = Memory::new(&self.vram, &GuestMemoryAtomic::new(GuestMemoryMmap::new()));
        loop {
            let mut steps = vec![];
            self.policy.update_next(update, 8, |step| steps.push(step)).unwrap();
            if steps.is_empty() {
                break;
            }
            for step in steps {
                let TableWrite { table, first, count, value, increment, .. } = step;
                for i in 0..count {
                    let at = Phys { space: Space::Vram, addr: table + 8 * (first + i) };
                    memory.store(at, value.wrapping_add(increment.wrapping_mul(i))).unwrap();
                }
            }
        }
        self.policy.update_commit(update).unwrap();
        self.policy.update_landed(update).unwrap();
        assert_eq!(self.policy.vm_flush(self.vm), Ok(None), "nothing runs in it");
        self.policy.update_retire(update).unwrap();
        Ok(())
    }

    /// Writes entry `n` of a leaf table that was handed over.
    fn write_leaf(&self, block: u64, n: u64, entry: u64) {
        let memory = Memory::new(&self.vram, &GuestMemoryAtomic::new(GuestMemoryMmap::new()));
        let (domain, table) = self.policy.vm_leaf(self.vm, (block * BLOCK + n) * PAGE).unwrap();
        assert_eq!(domain, Domain::Vram);
        memory.store(Phys { space: Space::Vram, addr: table + 8 * n }, entry).unwrap();
    }

    fn check(&self, page: u64) {
        let memory = Memory::new(&self.vram, &GuestMemoryAtomic::new(GuestMemoryMmap::new()));
        let found = |access| walk(&memory, &self.context, page * PAGE + 0x123, access);
        match self.model.get(&page) {
            None => assert!(found(Access::Read).is_err(), "page {page:#x} translates"),
            Some(None) => assert_eq!(found(Access::Read).unwrap().at, None, "page {page:#x} is not resident"),
            Some(Some((phys, attributes))) => {
                for (access, bit) in
                    [(Access::Read, pte::READABLE), (Access::Write, pte::WRITEABLE), (Access::Execute, pte::EXECUTABLE)]
                {
                    let found = found(access);
                    assert_eq!(found.is_ok(), attributes & bit != 0, "page {page:#x}: {access:?} {found:?}");
                    let Ok(found) = found else { continue };
                    assert_eq!(found.at, phys.offset(0x123), "page {page:#x}");
                    assert_eq!(found.entry & attributes, *attributes);
                    // A cache may take the whole aligned block from this: it must all be so.
                    let order = found.bits - 12;
                    let first = page >> order << order;
                    for other in [first, first + (1 << order) - 1] {
                        let there = self.model.get(&other).copied().flatten().map(|(phys, _)| phys.addr);
                        let expected = phys.addr.wrapping_add(other.wrapping_sub(page).wrapping_mul(PAGE));
                        assert_eq!(there, Some(expected), "block {order} of page {page:#x}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_device_translates_as_the_policy_planned() {
    for levels in 1..=5 {
        for (leaf_level, fragment) in [(0, 0), (0, 9), (1, 9), (2, 12)] {
            let mut random = Random(0x5eed + u64::from(levels * 16 + fragment));
            let mut rig = Rig::new(levels, leaf_level.min(levels - 1), fragment);
            let window = if levels > 2 { (1 << 18) - 1024 } else { 1024 };
            for _ in 0..60 {
                let align = [1, 64, 512][random.below(3) as usize];
                let start = (window + random.below(WINDOW)) / align * align;
                let most = [8, 64, 700, 1600][random.below(4) as usize];
                let pages = (1 + random.below(most)).min(window + WINDOW - start);
                let attributes = pte::READABLE
                    | [0, pte::WRITEABLE, pte::EXECUTABLE | pte::SNOOPED, pte::TMZ | 2 << pte::MTYPE_SHIFT]
                        [random.below(4) as usize];
                let map = Change::Map { attributes, bo: 1 + random.below(3), bo_offset: 0 };
                let system = random.below(2) == 0;
                let space = if system { Space::System } else { Space::Vram };
                let domain = if system { Domain::System } else { Domain::Vram };
                let (change, runs) = match random.below(5) {
                    0 => (Change::Unmap, vec![]),
                    1 => (Change::Prt, vec![]),
                    2 => {
                        let runs = (0..pages).map(|_| (domain, random.below(1 << 20) * PAGE, 1)).collect();
                        (map, runs)
                    }
                    _ => {
                        let skew = [0, 0, 16, 1][random.below(4) as usize];
                        let first = (1 + random.below(64)) * (1 << 18) + start % (1 << 18) + skew;
                        (map, vec![(domain, first * PAGE, pages)])
                    }
                };
                rig.update(start, pages, change, &runs);
                for page in start..start + pages {
                    rig.model.remove(&page);
                    if change == Change::Prt {
                        rig.model.insert(page, None);
                    }
                }
                let mut page = start;
                for (_, addr, len) in runs {
                    for i in 0..len {
                        rig.model.insert(page, Some((Phys { space, addr: addr + i * PAGE }, attributes)));
                        page += 1;
                    }
                }
                for page in window - 8..window + WINDOW + 8 {
                    rig.check(page);
                }
            }
        }
    }
}

/// Blocks are handed over and taken back among maps and unmaps; the test fills those that it has.
#[test]
fn the_device_translates_blocks_that_were_handed_over_as_their_owner_wrote_them() {
    for levels in 2..=5 {
        let mut random = Random(0x1eaf + u64::from(levels));
        let mut rig = Rig::new(levels, 1, 9);
        let blocks = 6;
        let mut owned = vec![false; blocks as usize];
        for _ in 0..300 {
            let block = random.below(blocks);
            let mine = owned[block as usize];
            let pages = block * BLOCK..(block + 1) * BLOCK;
            match random.below(6) {
                0 => {
                    let taken = pages.clone().any(|page| rig.model.contains_key(&page)) || mine;
                    let result = rig.try_update(pages.start, BLOCK, Change::HandOver, &[]);
                    assert_eq!(result, if taken { Err(Error::Exists) } else { Ok(()) });
                    owned[block as usize] = true;
                    if taken {
                        owned[block as usize] = mine;
                    }
                }
                1 => {
                    let result = rig.try_update(pages.start, BLOCK, Change::TakeBack, &[]);
                    assert_eq!(result, if mine { Ok(()) } else { Err(Error::Unknown) });
                    if mine {
                        pages.clone().for_each(|page| {
                            rig.model.remove(&page);
                        });
                    }
                    owned[block as usize] = false;
                }
                2 | 3 if mine => {
                    for _ in 0..20 {
                        let n = random.below(BLOCK);
                        let page = pages.start + n;
                        if random.below(4) == 0 {
                            rig.write_leaf(block, n, 0);
                            rig.model.remove(&page);
                        } else {
                            let addr = (1 + random.below(1 << 20)) * PAGE;
                            let attributes = pte::READABLE | [0, pte::WRITEABLE][random.below(2) as usize];
                            rig.write_leaf(block, n, addr | attributes | pte::VALID | pte::SYSTEM);
                            rig.model.insert(page, Some((Phys { space: Space::System, addr }, attributes)));
                        }
                    }
                }
                _ => {
                    // Over one end of the block, over both, or inside.
                    let first = (block * BLOCK + random.below(BLOCK)).saturating_sub(random.below(2) * BLOCK);
                    let count = 1 + random.below(2 * BLOCK);
                    let touched = first / BLOCK..=((first + count - 1) / BLOCK).min(blocks - 1);
                    let refused = touched.into_iter().any(|block| owned.get(block as usize) == Some(&true));
                    let addr = (1 + random.below(64)) * (1 << 18) * PAGE + first % (1 << 18) * PAGE;
                    let map = Change::Map { attributes: pte::READABLE, bo: 1, bo_offset: 0 };
                    let (change, runs) = match random.below(3) {
                        0 => (Change::Unmap, vec![]),
                        1 => (Change::Prt, vec![]),
                        _ => (map, vec![(Domain::System, addr, count)]),
                    };
                    let result = rig.try_update(first, count, change, &runs);
                    assert_eq!(result, if refused { Err(Error::Exists) } else { Ok(()) });
                    for page in (first..first + count).filter(|_| !refused) {
                        rig.model.remove(&page);
                        if change == Change::Prt {
                            rig.model.insert(page, None);
                        } else if change != Change::Unmap {
                            let addr = addr + (page - first) * PAGE;
                            rig.model.insert(page, Some((Phys { space: Space::System, addr }, pte::READABLE)));
                        }
                    }
                }
            }
            for page in (0..(blocks + 3) * BLOCK).step_by(7).chain(pages.clone()) {
                rig.check(page);
            }
        }
        for block in (0..blocks).filter(|block| owned[*block as usize]) {
            rig.update(block * BLOCK, BLOCK, Change::TakeBack, &[]);
        }
        rig.update(0, (blocks + 3) * BLOCK, Change::Unmap, &[]);
        assert_eq!(rig.policy.vm_info(rig.vm).unwrap().tables, 1, "only the root is left");
    }
}

#[test]
fn only_an_aligned_block_below_the_root_is_handed_over() {
    let mut rig = Rig::new(1, 0, 9);
    assert_eq!(rig.try_update(0, BLOCK, Change::HandOver, &[]), Err(Error::Invalid));
    let mut rig = Rig::new(3, 1, 9);
    for (page, pages) in [(0, 1), (1, BLOCK), (0, 2 * BLOCK), (BLOCK, BLOCK - 1)] {
        assert_eq!(rig.try_update(page, pages, Change::HandOver, &[]), Err(Error::Invalid), "{page} {pages}");
    }
    rig.update(BLOCK, BLOCK, Change::HandOver, &[]);
    assert_eq!(rig.policy.vm_leaf(rig.vm, 0), Err(Error::Unknown));
    assert!(rig.policy.vm_leaf(rig.vm, (2 * BLOCK - 1) * PAGE).is_ok());
    assert!(rig.policy.vm_find(rig.vm, BLOCK * PAGE).is_err(), "what is there is its owner's");
    assert!(rig.policy.vm_reached(rig.vm, BLOCK * PAGE).is_err());
}
