// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The three-level GART of the vidmm profile, caches included, against a walk as one would write it from the format's
//! description: memory full of plausible entries, random registers, every kind of access.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::memory::Ram;
use common::{bit, Numbers, VRAM};
use proptest::prelude::*;
use std::os::unix::fs::FileExt;
use uvm_spec::hub::Cid;
use vhost_device_uvm::gmc::{Access, Cause, Client, Hub, HubId, Memory, Phys, Space, TlbSizes};
use vhost_device_uvm::vram::Vram;
use vm_memory::GuestMemoryAtomic;

/// Bytes of each memory that hold entries; VRAM goes on behind them.
const TABLES: usize = 1 << 20;
/// First-level registers, from the profile's block on.
const FIRST: u32 = 0x400;
const SPACE: u64 = 1 << 39;

/// A directory entry or a page's; nothing in it is of levels that the profile does not have.
fn entry(numbers: &mut Numbers) -> u64 {
    let system = numbers.below(2) << 1;
    let access = numbers.below(8) << 4;
    let address = numbers.below(2 * TABLES as u64);
    match numbers.below(16) {
        0 => 0,
        1 => address & !0x3f | system | access,
        2 => address & !0x3f | system | access | bit::PRT,
        3 => address & !0xfff | system | access | bit::VALID | bit::PDE_PTE,
        4 => address & !0xfff | system | access | bit::VALID | bit::PRT,
        5 => (address & !0xfff) << 24 | system | access | bit::VALID,
        // Valid ones lie on pages: lower address bits of a directory entry are FRAGMENT to a page's, and by that a cache
        // may take neighbours for granted.
        _ => address & !0xfff | system | access | bit::VALID,
    }
}

/// The registers and both memories, in plain arrays.
struct Naive {
    on: bool,
    first: [u64; 512],
    vram: Vec<u8>,
    ram: Vec<u8>,
}

impl Naive {
    /// The word in slot `slot` of the table that `entry` points at.
    fn load(&self, entry: u64, slot: u64) -> Result<u64, Cause> {
        let memory = if entry & 2 == 0 { &self.vram } else { &self.ram };
        let at = ((entry & 0xffff_ffff_ffc0) + 8 * slot) as usize;
        let bytes = memory.get(at..at + 8).ok_or(Cause::Nack)?;
        Ok(u64::from_le_bytes(bytes.try_into().unwrap()))
    }

    fn walk(&self, va: u64, access: Access) -> Result<Option<Phys>, Cause> {
        let [first, second, third] = [30, 21, 12].map(|shift| va >> shift & 511);
        if !self.on || va >= SPACE || self.first[first as usize] & 1 == 0 {
            return Err(Cause::Range);
        }
        let mut entry = self.load(self.first[first as usize], second)?;
        let mut offset = va % (2 << 20);
        if entry & 1 == 0 {
            return if entry & bit::PRT == 0 { Err(Cause::Pde(0)) } else { Ok(None) };
        }
        if entry & bit::PDE_PTE == 0 {
            entry = self.load(entry, third)?;
            offset = va % 4096;
        }
        let marks = bit::VALID | bit::SYSTEM | bit::PRT;
        if entry & 1 == 0 || entry & marks == marks {
            return if entry & 1 == 0 && entry & bit::PRT != 0 { Ok(None) } else { Err(Cause::Valid) };
        }
        let right = match access {
            Access::Execute => 1 << 4,
            Access::Read => 1 << 5,
            Access::Write | Access::Atomic => 1 << 6,
        };
        if entry & right == 0 {
            return Err(Cause::Permission);
        }
        let space = if entry & 2 == 0 { Space::Vram } else { Space::System };
        Ok(Some(Phys { space, addr: (entry & 0xffff_ffff_f000) + offset }))
    }
}

/// Addresses one after another: a few pages in a row from a place that matters.
fn row(numbers: &mut Numbers) -> (u64, u64) {
    let border = match numbers.below(6) {
        0 => 0,
        1 => SPACE,
        2 => (1 + numbers.below(511)) << 30,
        3 => (1 + numbers.below((1 << 18) - 1)) << 21,
        4 => numbers.below(1 << 57),
        _ => numbers.below(SPACE),
    };
    let before = numbers.below(24) * 4096;
    (border.saturating_sub(before) & !4095, 1 + numbers.below(40))
}

fn hub(naive: &Naive) -> Hub {
    let mut hub = Hub::new(HubId::Mm, 4, TlbSizes { l1: 16, l2: 256 }).with_vidmm();
    // No address of VMID 0 bypasses the tables: the system aperture is empty.
    for (offset, value) in [(0x831, 0x3fff_ffff), (0x832, 0), (0x833, 1 | 3 << 3), (0x6c0, 1)] {
        hub.write(offset, value).unwrap();
    }
    for (n, root) in (0..).zip(naive.first) {
        hub.write_vidmm(FIRST + 2 * n, root as u32).unwrap();
        hub.write_vidmm(FIRST + 2 * n + 1, (root >> 32) as u32).unwrap();
    }
    hub.write_vidmm(0, u32::from(naive.on)).unwrap();
    hub
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// 24 memories with 800 rows of addresses each, every address three ways: 1.1 million translations.
    #[test]
    fn three_levels_translate_as_the_naive_walk_does(seed in any::<u64>(), off in 0..12u8) {
        let mut numbers = Numbers(seed);
        let mut fill = || (0..TABLES / 8).flat_map(|_| entry(&mut numbers).to_le_bytes()).collect::<Vec<u8>>();
        let mut naive = Naive { on: off != 0, first: [0; 512], vram: vec![0; VRAM as usize], ram: fill() };
        naive.vram[..TABLES].copy_from_slice(&fill());
        naive.first = std::array::from_fn(|_| entry(&mut numbers) & !bit::PDE_PTE | numbers.below(64) << 6);
        let ram = Ram::new(&[(0, TABLES as u64)]);
        ram.write(0, &naive.ram);
        let vram = Vram::new(VRAM).unwrap();
        vram.file().unwrap().write_all_at(&naive.vram, 0).unwrap();
        let system = GuestMemoryAtomic::new(ram.map());
        let memory = Memory::new(&vram, &system);
        let mut hub = hub(&naive);
        let client = Client { l1: 0, cid: Cid::default(), counted: true };
        let mut mapped = 0;
        for _ in 0..800 {
            let (start, pages) = row(&mut numbers);
            for access in [Access::Read, Access::Write, Access::Execute] {
                for page in 0..pages {
                    let va = start + 4096 * page + numbers.below(4096);
                    let want = naive.walk(va, access);
                    mapped += u32::from(matches!(want, Ok(Some(_))));
                    let fresh = hub.peek(&memory, 0, va, access).map(|t| t.at).map_err(|f| f.cause);
                    prop_assert_eq!(fresh, want, "{:?} of {:#x}, walked", access, va);
                    let cached = hub.translate(&memory, client, 0, va, access).map(|t| t.at).map_err(|f| f.cause);
                    prop_assert_eq!(cached, want, "{:?} of {:#x}, by the caches", access, va);
                }
            }
        }
        // Else nothing was compared.
        prop_assert!(mapped > 100 || off == 0, "{} of the accesses ended anywhere", mapped);
    }
}
