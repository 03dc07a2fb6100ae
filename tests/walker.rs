// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The page-table walker against a naive one: memory full of plausible entries, spaces of every shape, every access.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::memory::Ram;
use common::walker::{walk as naive, Bytes, Kind, Loc, Space, Why};
use common::{packets as p, *};
use proptest::prelude::*;
use std::os::unix::fs::FileExt;
use vhost_device_uvm::gmc::{self, Cause, Context, Memory};
use vhost_device_uvm::vram::Vram;
use vm_memory::GuestMemoryAtomic;

const TABLES: usize = 1 << 20;
/// Two regions with a gap between them.
const SYSTEM: [(u64, u64); 2] = [(0, 1 << 20), (1 << 21, 1 << 20)];

/// An entry as a driver might write it, or a corrupted one.
fn entry(numbers: &mut Numbers, fb_offset: u64) -> u64 {
    let system = numbers.below(2);
    let page = match system {
        1 => numbers.below(4 << 20),
        _ => fb_offset + numbers.below(TABLES as u64),
    };
    let address = page & !0x3f | system << 1;
    let access = numbers.below(8) << 4;
    match numbers.below(16) {
        0 => numbers.next(),
        1 => address | access,
        2 => address | access | bit::PRT,
        3 => address & !0xfff | access | bit::VALID | bit::PDE_PTE,
        4 => address & !0xfff | access | bit::PDE_PTE,
        5 => (address & !0xfff) << 20 | system << 1 | access | bit::VALID,
        6 => 0,
        _ => address | access | bit::VALID,
    }
}

fn space(numbers: &mut Numbers, fb_offset: u64) -> Space {
    let depth = numbers.below(5) as u32;
    let block_bits = 9 + if numbers.below(2) == 0 { 0 } else { numbers.below(16) as u32 };
    let first_page = if numbers.below(2) == 0 { 0 } else { numbers.below(1 << 36) };
    // So many pages that the root table stays in memory, mostly.
    let below_root = if depth == 0 { 0 } else { block_bits + 9 * (depth - 1) };
    let pages = (1 + numbers.below(600)) << below_root;
    Space {
        enabled: numbers.below(32) != 0,
        depth,
        block_bits,
        first_page,
        last_page: (first_page + numbers.below(pages)).min((1 << 52) - 1),
        root: entry(numbers, fb_offset) & 0xffff_ffff | 1,
        fb_offset,
    }
}

fn address(numbers: &mut Numbers, space: &Space) -> u64 {
    let pages = space.last_page - space.first_page + 1;
    let page = match numbers.below(8) {
        0 => space.first_page,
        1 => space.last_page,
        2 => space.last_page + 1,
        3 => space.first_page.wrapping_sub(1) & 0xf_ffff_ffff,
        4 => numbers.below(1 << 52),
        _ => space.first_page + numbers.below(pages),
    };
    page << 12 | numbers.below(4096)
}

fn expected(outcome: Result<Loc, Why>) -> Result<Option<gmc::Phys>, Cause> {
    match outcome {
        Ok(Loc::System(addr)) => Ok(Some(gmc::Phys { space: gmc::Space::System, addr })),
        Ok(Loc::Vram(addr)) => Ok(Some(gmc::Phys { space: gmc::Space::Vram, addr })),
        Ok(Loc::Nothing) => Ok(None),
        Err(why) => Err(match why {
            Why::Range => Cause::Range,
            Why::Pde(level) => Cause::Pde(level as u8),
            Why::Valid => Cause::Valid,
            Why::Permission => Cause::Permission,
            Why::Nack => Cause::Nack,
            Why::Unmapped => Cause::Unmapped,
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// 40 memories, 100 spaces in each, 100 addresses in each, read, written and executed: 1.2 million walks.
    #[test]
    fn every_walk_ends_where_the_naive_one_does(seed in any::<u64>(), far in any::<bool>()) {
        let mut numbers = Numbers(seed);
        let fb_offset = if far { 0xf4_0000_0000 } else { 0 };
        let mut fill = |len: usize| -> Vec<u8> {
            (0..len / 8).flat_map(|_| entry(&mut numbers, fb_offset).to_le_bytes()).collect()
        };
        let ram = Ram::new(&SYSTEM);
        let vram = Vram::new(VRAM).unwrap();
        let mut bytes = Bytes { ram: Vec::new(), vram: vec![0; VRAM as usize] };
        for (at, len) in SYSTEM {
            bytes.ram.push((at, fill(len as usize)));
            ram.write(at, &bytes.ram.last().unwrap().1);
        }
        bytes.vram[..TABLES].copy_from_slice(&fill(TABLES));
        vram.file().unwrap().write_all_at(&bytes.vram[..TABLES], 0).unwrap();
        let system = GuestMemoryAtomic::new(ram.map());
        let memory = Memory::new(&vram, &system);
        for _ in 0..100 {
            let space = space(&mut numbers, fb_offset);
            let context = Context {
                vmid: 3,
                enabled: space.enabled,
                depth: space.depth as u8,
                block_bits: space.block_bits,
                start: space.first_page,
                end: space.last_page,
                base: space.root,
                fb_offset,
                ..Context::default()
            };
            for _ in 0..100 {
                let va = address(&mut numbers, &space);
                for (kind, access) in [
                    (Kind::Read, gmc::Access::Read),
                    (Kind::Write, gmc::Access::Write),
                    (Kind::Execute, gmc::Access::Execute),
                ] {
                    let want = expected(naive(&mut bytes, &space, va, kind));
                    let got = gmc::walk(&memory, &context, va, access);
                    // A walk from any directory entry on its way ends where it does.
                    let mut way = Vec::new();
                    let whole = gmc::walk::walk_from(&memory, &context, context.root(), va, access, |look| {
                        if let (gmc::walk::Step::Directory(level), Some(entry)) = (look.step, look.entry) {
                            // One that is not valid is none to start from.
                            way.extend((entry & bit::VALID != 0).then_some(gmc::walk::Start { entry, level }));
                        }
                    });
                    prop_assert_eq!(whole, got);
                    for from in way {
                        let short = gmc::walk::walk_from(&memory, &context, from, va, access, |look| {
                            let again = matches!(look.step, gmc::walk::Step::Directory(level) if level >= from.level);
                            assert!(!again, "a cached entry is not read again");
                        });
                        prop_assert_eq!(short, got, "{:x?} from {:x?} at {:#x}", space, from, va);
                    }
                    prop_assert_eq!(got.map(|t| t.at).map_err(|f| f.cause), want, "{:x?} at {:#x}", space, va);
                    // A page that a line holds is the one that its own walk finds.
                    for (n, page) in gmc::walk::line(&memory, &context, context.root(), va).into_iter().flatten().enumerate() {
                        let bits = if kind == Kind::Read { 1 << 5 } else { 1 << 6 };
                        if kind != Kind::Execute && page.entry & bits != 0 {
                            let there = (va >> 12 & !15) + n as u64;
                            let want = expected(naive(&mut bytes, &space, there << 12, kind));
                            prop_assert_eq!(Ok(Some(page.phys(0))), want, "{:x?} line of {:#x}", space, va);
                        }
                    }
                    // All that is said to translate alike does, and lies inside the space.
                    let Ok(translation) = got else { continue };
                    prop_assert!(translation.len > 0);
                    // So do the aligned bytes around it that a cache keeps as one; a fragment is the driver's own promise.
                    if u64::from(translation.bits) > 12 + (translation.entry >> 7 & 31) {
                        let size = 1 << translation.bits;
                        let there = (va & !(size - 1)) + numbers.below(size);
                        let moved = |at: gmc::Phys| gmc::Phys { addr: at.addr.wrapping_add(there.wrapping_sub(va)), ..at };
                        let found = expected(naive(&mut bytes, &space, there, kind));
                        prop_assert_eq!(found, want.map(|at| at.map(moved)), "{:x?}: {:#x} and {:#x}", space, va, there);
                    }
                    for ahead in [translation.len - 1, numbers.below(translation.len)] {
                        let there = expected(naive(&mut bytes, &space, va + ahead, kind));
                        let moved = want.map(|at| at.and_then(|at| at.offset(ahead)));
                        prop_assert_eq!(there, moved, "{:x?} at {:#x} and {:#x} on", space, va, ahead);
                    }
                }
            }
        }
    }
}

/// VMID 5 with `depth` directories above its page table, all in memory from VRAM 4 MiB on.
///
/// | VA (from the space's start) | page |
/// |---|---|
/// | 0 | the indirect buffer, read-only |
/// | 4 KiB.. | 64 data pages, alternating VRAM and RAM |
/// | 1 MiB | partially resident |
/// | 2 MiB | one 2 MiB page of VRAM |
const START: u64 = 0x12_3400_0000;

fn space_of_vmid_5(rig: &mut Rig, depth: u64) {
    use reg::*;
    for level in 1..=depth {
        put(rig, level, 0, table(level - 1) | bit::VALID);
    }
    put(rig, 0, 0, (5 * MIB) | bit::VALID | bit::READ);
    for page in 1..65 {
        let at =
            if page % 2 == 0 { (6 * MIB + page * 4096) | bit::VRAM } else { (MIB + (32 + page) * 4096) | bit::RAM };
        put(rig, 0, page, at);
    }
    put(rig, 0, 256, bit::PRT);
    if depth > 0 {
        put(rig, 1, 1, (8 * MIB) | bit::VRAM | bit::PDE_PTE);
    }
    for (index, value) in [
        (PT_BASE + 10, (table(depth) | bit::VALID) as u32),
        (PT_START + 10, (START >> 12) as u32),
        (PT_END + 10, ((START >> 12) + 1023) as u32),
        (CONTEXT0 + 5, CONTEXT_ON | (depth as u32) << 1),
    ] {
        rig.write(index, value);
    }
}

/// Where the table of a level is, with the SYSTEM bit: every other one lies in system memory.
fn table(level: u64) -> u64 {
    match level % 2 {
        1 => (MIB + level * 4096) | bit::SYSTEM,
        _ => 4 * MIB + level * 4096,
    }
}
fn put(rig: &mut Rig, level: u64, slot: u64, entry: u64) {
    let at = (table(level) & !bit::SYSTEM) + 8 * slot;
    match level % 2 {
        1 => rig.poke(at, &entry.to_le_bytes()),
        _ => rig.poke_vram(at, &entry.to_le_bytes()),
    }
}

/// Runs `packets` in VMID 5 from the buffer at the start of its space.
fn run_in_vmid_5(rig: &mut Rig, packets: &[Vec<u32>]) {
    let buffer: Vec<u32> = packets.concat();
    let raw: Vec<u8> = buffer.iter().flat_map(|dw| dw.to_le_bytes()).collect();
    rig.poke_vram(5 * MIB, &raw);
    rig.execute_checked(0, &p::indirect(5, START, buffer.len() as u32));
}

#[test]
fn a_buffer_runs_in_a_space_of_one_to_four_levels() {
    for depth in 0..4 {
        let mut rig = Rig::new();
        space_of_vmid_5(&mut rig, depth);
        rig.poke_vram(8 * MIB, &Numbers(depth).bytes(200_000));
        let mut packets = vec![
            p::fill(START + 4096 + 17, 1, 0xabcd_1234, 63 * 4096),
            p::copy(START + 4096 * 3 + 5, START + MIB, 100),
            p::atomic(0x0f, START + 8192, 5, 0),
            p::trap(9),
        ];
        if depth > 0 {
            packets.push(p::copy(START + 4096, START + 2 * MIB + 77, 60 * 4096));
            packets.push(p::copy(START + 3 * MIB + 1, START + 2 * MIB, 100_000));
        }
        run_in_vmid_5(&mut rig, &packets);
        assert_eq!(rig.read(reg::FAULT_STATUS), 0, "depth {depth}");
        let vectors = rig.take_vectors();
        assert_eq!(vectors.len(), 1);
        assert_eq!((vectors[0][0] >> 24 & 15, vectors[0][4]), (5, 9));
    }
}

#[test]
fn faults_of_a_space_name_its_vmid_the_level_and_the_access() {
    // (address, write, walker error, permission faults) with four levels.
    let cases = [
        (START, true, 0, 4),
        (START + 65 * 4096, false, 0, 3),
        (START + 65 * 4096, true, 0, 5),
        (START - 4096, false, 1, 0),
        (START + 1024 * 4096, false, 1, 0),
    ];
    for (va, write, walker, permissions) in cases {
        let mut rig = Rig::new();
        space_of_vmid_5(&mut rig, 3);
        let data = START + 4096;
        run_in_vmid_5(&mut rig, &[if write { p::fence(va, 1) } else { p::copy(data, va, 16) }]);
        let cid = if write { 15 } else { 46 };
        let want = walker << 1 | permissions << 4 | cid << 9 | u32::from(write) << 18 | 5 << 20;
        assert_eq!(rig.read(reg::FAULT_STATUS), want, "{va:#x}");
    }
}

#[test]
fn an_invalid_directory_entry_is_told_by_its_level() {
    // The directory right above the page table is block 0.
    for level in 1..=3u64 {
        let mut rig = Rig::new();
        space_of_vmid_5(&mut rig, 3);
        rig.write(reg::PT_END + 10, u32::MAX);
        let va = START + (2 << (12 + 9 * level));
        let packets = [p::fence(va, 1)];
        run_in_vmid_5(&mut rig, &packets);
        assert_eq!(rig.read(reg::FAULT_STATUS) >> 1 & 7, 1 + level as u32);
        assert_eq!(rig.read(reg::FAULT_STATUS) >> 4 & 15, 5);
    }
}

#[test]
fn a_table_that_lies_nowhere_is_a_nack() {
    let mut rig = Rig::new();
    space_of_vmid_5(&mut rig, 3);
    put(&mut rig, 1, 2, (9 << 32) | bit::SYSTEM | bit::VALID);
    rig.write(reg::PT_END + 10, u32::MAX);
    run_in_vmid_5(&mut rig, &[p::fence(START + 4 * MIB, 1)]);
    assert_eq!(rig.read(reg::FAULT_STATUS) & 0xfe, 6 << 1);
}

#[test]
fn a_large_page_ends_where_its_space_ends() {
    let mut rig = Rig::new();
    space_of_vmid_5(&mut rig, 1);
    // The space ends in the middle of the large page.
    rig.write(reg::PT_END + 10, (START >> 12) as u32 + 512 + 255);
    rig.poke_vram(8 * MIB, &[7; 2 * MIB as usize]);
    run_in_vmid_5(&mut rig, &[p::copy(START + 2 * MIB, START + 3 * MIB - 4096, 8192)]);
    assert_eq!(rig.read(reg::FAULT_STATUS) & 0xfe, 1 << 1);
    assert_eq!(rig.peek_vram(8 * MIB + 4096, 4096), [0; 4096]);
}

#[test]
fn an_access_across_a_border_of_the_system_aperture_goes_two_ways() {
    for mode in 0..4 {
        let mut rig = Rig::new();
        rig.poke_vram(8 * MIB, &Numbers(mode.into()).bytes(4 << 20));
        // The aperture covers 9 to 11 MiB of what the FB aperture shows.
        rig.write(reg::MM + 0x831, ((FB + 9 * MIB) >> 18) as u32);
        rig.write(reg::MM + 0x832, ((FB + 11 * MIB) >> 18) as u32 - 1);
        // Whatever is translated: the rings stay readable, all else reads the dummy page's noise.
        rig.poke(DUMMY, &[0x5a; 4096]);
        rig.write(reg::MM + 0x833, mode << 3);
        if mode == 0 || mode == 2 {
            // The rings lie outside the aperture: put the FB aperture over them.
            let at = (GART >> 24) as u32;
            rig.write(reg::MM + 0x82c, at);
            rig.write(reg::MM + 0x82d, at);
            rig.write(reg::MM + 0x831, ((GART + 9 * MIB) >> 18) as u32);
            rig.write(reg::MM + 0x832, ((GART + 11 * MIB) >> 18) as u32 - 1);
        }
        let fb = if mode == 0 || mode == 2 { GART } else { FB };
        let copies: Vec<u32> = [8 * MIB + 4096, 9 * MIB + 77, 10 * MIB + 512]
            .iter()
            .zip([12 * MIB, 13 * MIB + 1, 10 * MIB - 300_000])
            .flat_map(|(&src, dst)| p::copy(fb + dst, fb + src, 250_000))
            .collect();
        rig.execute_checked(0, &copies);
        let wide =
            [p::copy(fb + 9 * MIB + 4096, fb + 11 * MIB - 63 * 4096, 500_000), p::fill(fb + 9 * MIB - 99, 0, 1, 4000)]
                .concat();
        rig.execute_checked(1, &wide);
    }
}

#[test]
fn a_stream_sees_a_page_that_becomes_valid_at_once_and_one_that_moves_after_its_invalidation() {
    let mut rig = Rig::new();
    // Invalidation engine 0 is about every page.
    rig.write(reg::MM + 0x707, u32::MAX);
    rig.write(reg::MM + 0x708, u32::MAX);
    let noise = Numbers(4).bytes(2 << 20);
    rig.poke_vram(8 * MIB, &noise);
    for page in 0..64 {
        rig.map(128 + page, (8 * MIB + page * 4096) | bit::VRAM);
    }
    rig.map(128 + 20, 0);
    let copy = |rig: &mut Rig| {
        rig.execute(0, &p::copy(FB + 12 * MIB, GART + 128 * 4096, 64 * 4096));
        rig.peek_vram(12 * MIB, 64 * 4096)
    };
    let frame = |n: usize| &noise[n * 4096..(n + 1) * 4096];
    let got = copy(&mut rig);
    same("the hole", &got[20 * 4096..21 * 4096], &[0; 4096]);
    same("the rest", &got[21 * 4096..], &noise[21 * 4096..64 * 4096]);
    // Never held while invalid.
    rig.map(128 + 20, (8 * MIB + 100 * 4096) | bit::VRAM);
    let got = copy(&mut rig);
    same("the page that came", &got[20 * 4096..21 * 4096], frame(100));
    for page in [3, 20, 47, 60] {
        rig.map(128 + page, (8 * MIB + (200 + page) * 4096) | bit::VRAM);
    }
    // Invalidation engine 0: VMID 0, L2 and L1.
    rig.write(reg::MM + 0x6e3, 1 | 0x1f << 18);
    // The line that the stream ended in first.
    rig.execute(0, &p::copy(FB + 12 * MIB, GART + (128 + 60) * 4096, 4096));
    same("the last line", &rig.peek_vram(12 * MIB, 4096), frame(260));
    let got = copy(&mut rig);
    for page in 0..64 {
        let from = if [3, 20, 47, 60].contains(&page) { 200 + page } else { page };
        same(&format!("page {page}"), &got[page * 4096..(page + 1) * 4096], frame(from));
    }
}
