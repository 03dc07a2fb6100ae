// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The device made otherwise: VRAM in system memory, the three-level GART, five levels of page tables.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::spaces::{faults, ON};
use common::{bit, model::SDMA, packets as p, reg, Numbers, Rig, AGP, FB, GART, MIB, VRAM};
use vhost_device_uvm::device::Uma;
use vhost_device_uvm::gmc::Mmu;
use vhost_device_uvm::vram::Vram;
use vhost_device_uvm::Config;
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// More RAM, so that the VRAM of the rig fits into it.
fn uma_rig(uma: Uma) -> (Rig, u64) {
    let mut rig = Rig::on(&[(0, 64 * MIB), (1 << 32, 2 * MIB)], Config { uma, ..Config::default() });
    let base = rig.gpu.vram_base().expect("VRAM lies in system memory");
    // The rig writes VRAM through its own file: here that is RAM.
    rig.vram_at = Some(base);
    rig.bring_up();
    (rig, base)
}

#[test]
fn a_carve_out_plays_vram_where_it_lies() {
    for (uma, want) in [(Uma::Top, 32 * MIB), (Uma::At(16 * MIB), 16 * MIB)] {
        let (mut rig, base) = uma_rig(uma);
        assert_eq!(base, want);
        assert!(rig.gpu.vram().file().is_none(), "there is no BAR to map");
        let data = Numbers(3).bytes(100_000);
        rig.poke(base + 8 * MIB, &data);
        rig.execute(0, &p::copy(FB + 12 * MIB + 5, FB + 8 * MIB, 100_000));
        assert_eq!(rig.peek(base + 12 * MIB + 5, 100_000), data);
        // Page tables lie in it, too; and the last byte of VRAM is its end.
        rig.map(900, (9 * MIB) | bit::VRAM);
        rig.execute(0, &[p::fence(GART + 900 * 4096, 0x55), p::fence(FB + VRAM, 0x66)].concat());
        assert_eq!(rig.peek32(base + 9 * MIB), 0x55);
        assert_eq!(rig.gpu.counters().faults, 1);
    }
}

#[test]
fn a_carve_out_goes_where_memory_has_room_for_all_of_it() {
    let base = |ram: &[(u64, u64)], size: u64, at: Option<u64>| {
        let ranges: Vec<_> = ram.iter().map(|&(at, len)| (GuestAddress(at), len as usize)).collect();
        let memory = GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap();
        let vram = Vram::carveout(size, at).unwrap();
        assert_eq!(vram.base(&memory).is_none(), vram.why_nowhere(&memory).is_some(), "either a place or a reason");
        vram.base(&memory)
    };
    // Two pieces of low memory: the higher one holds little with the granule above.
    let pieces = [(0, 64 * MIB), (80 * MIB, 32 * MIB), (1 << 32, 64 * MIB)];
    assert_eq!(base(&pieces, 16 * MIB, None), Some(80 * MIB));
    assert_eq!(base(&pieces, 32 * MIB, None), Some(16 * MIB));
    assert_eq!(base(&[(0, 40 * MIB)], 16 * MIB, None), Some(0), "an end that is no granule is cut off");
    assert_eq!(base(&pieces, 64 * MIB, None), None);
    assert_eq!(base(&pieces, 16 * MIB, Some(1 << 32)), Some(1 << 32));
    for at in [64 * MIB, 112 * MIB, (1 << 32) + 64 * MIB, !(16 * MIB - 1)] {
        assert_eq!(base(&pieces, 16 * MIB, Some(at)), None, "{at:#x}");
    }
    assert_eq!(base(&pieces, 32 * MIB, Some(48 * MIB)), None, "half of it is outside");
}

#[test]
fn a_carve_out_that_is_half_there_is_reached_nowhere() {
    let mut rig = Rig::on(&[(0, 24 * MIB)], Config { uma: Uma::At(16 * MIB), ..Config::default() });
    assert_eq!(rig.gpu.vram_base(), None);
    // The half that is there: nothing may change it.
    let data = Numbers(7).bytes(8 << 20);
    rig.ram.write(16 * MIB, &data);
    let unit = |va: u64| (va >> 24) as u32;
    let apertures = [(0x82c, unit(FB)), (0x82d, unit(FB)), (0x82e, unit(AGP)), (0x82f, unit(AGP)), (0x830, 0)];
    let all = [(0x831, (AGP >> 18) as u32), (0x832, ((FB + VRAM - 1) >> 18) as u32), (0x833, 1 | 3 << 3)];
    for (offset, value) in apertures.into_iter().chain(all) {
        rig.gpu.mmio_write(reg::MM + offset, value);
    }
    // A ring in system memory, which needs no table: a store to each half of VRAM between two that count.
    let ring = MIB;
    let packets = [p::fence(AGP + 2 * MIB, 1), p::fence(FB + MIB, 2), p::fence(FB + 9 * MIB, 3)].concat();
    rig.ram.write(ring, &packets.iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<_>>());
    let base = (AGP + ring) >> 8;
    let start = [(0x81, base as u32), (0x82, (base >> 32) as u32), (reg::CNTL, 3), (reg::F32_CNTL, 0)];
    let go = [(reg::RB_CNTL, 1 | 10 << 1), (reg::RB_WPTR, 4 * packets.len() as u32)];
    for (offset, value) in start.into_iter().chain(go) {
        rig.gpu.mmio_write(SDMA[0] + offset, value);
    }
    rig.run_to_idle();
    assert_eq!(rig.peek32(2 * MIB), 1, "the ring runs");
    assert!(rig.gpu.counters().faults >= 1, "a store to VRAM faults");
    assert!(rig.peek(16 * MIB, 8 << 20) == data);
}

/// First level of the vidmm profile.
const FIRST: u32 = 0x1c400;
const ENABLE: u32 = 0x1c000;

#[test]
fn the_vidmm_profile_translates_through_registers_and_two_levels() {
    let mut rig = Rig::with(Config { mmu: Mmu::Vidmm, ..Config::default() });
    rig.bring_up();
    assert_eq!(rig.read(FIRST), 0);
    // The rig's GART window again: 0x40_0000_0000 is entry 256, its tables at 8 MiB and 8 MiB + 4 KiB.
    rig.poke_vram(8 * MIB, &((8 * MIB + 4096) | bit::VALID).to_le_bytes());
    for page in 0..512u64 {
        let entry = rig.peek_vram(common::TABLE + 8 * page, 8);
        rig.poke_vram(8 * MIB + 4096 + 8 * page, &entry);
    }
    rig.gpu.mmio_write(FIRST + 512, ((8 * MIB) | bit::VALID) as u32);
    rig.gpu.mmio_write(FIRST + 513, 0);
    rig.gpu.mmio_write(ENABLE, 1);
    assert_eq!(rig.read(FIRST + 512), ((8 * MIB) | bit::VALID) as u32);
    let data = Numbers(4).bytes(4096);
    rig.poke_vram(6 * MIB, &data);
    rig.poke_vram(8 * MIB + 4096 + 8 * 100, &((5 * MIB) | bit::VRAM).to_le_bytes());
    rig.execute(0, &p::copy(GART + 100 * 4096, FB + 6 * MIB, 4096));
    assert_eq!(rig.peek_vram(5 * MIB, 4096), data);
    assert_eq!(rig.read(reg::FAULT_STATUS), 0);
    // Below: an entry of each level that is not valid.
    for (va, walker, permissions) in [(GART + (2 << 20), 2, 5), (GART + (1 << 30), 1, 0), (1 << 39, 1, 0)] {
        rig.execute(0, &p::fence(va, 1));
        let status = rig.read(reg::FAULT_STATUS);
        assert_eq!((status >> 1 & 7, status >> 4 & 15), (walker, permissions), "{va:#x}");
        rig.write(reg::FAULT_CNTL, 0x3fff_fffd);
    }
    rig.gpu.reset();
    assert_eq!((rig.read(FIRST + 512), rig.read(ENABLE)), (0, 0));
}

#[test]
fn registers_of_the_vidmm_profile_are_not_there_without_it() {
    let mut rig = Rig::new();
    rig.gpu.mmio_write(FIRST, 0xffff_ffff);
    assert_eq!(rig.read(FIRST), 0);
}

#[test]
fn five_levels_reach_57_bits() {
    for levels in [4, 5] {
        let mut rig = Rig::with(Config { levels, ..Config::default() });
        rig.bring_up();
        let va = 0x01a5_4321_8765_4000u64;
        let space = va >> 12;
        let tables: Vec<u64> = (0..5).map(|n| 10 * MIB + n * 4096).collect();
        for level in 0..5u64 {
            let slot = va >> (12 + 9 * level) & 511;
            let entry = match level {
                0 => (9 * MIB) | bit::VRAM,
                l => tables[l as usize - 1] | bit::VALID,
            };
            rig.poke_vram(tables[level as usize] + 8 * slot, &entry.to_le_bytes());
        }
        for (index, value) in [
            (reg::PT_BASE + 6, tables[4] as u32 | 1),
            (reg::PT_END + 6, u32::MAX),
            (reg::PT_END + 7, 0x1fff),
            (reg::CONTEXT0 + 3, ON | 3 << 1),
        ] {
            rig.write(index, value);
        }
        // A buffer in VMID 0 cannot be in VMID 3, so the packets come by a user queue whose ring is the page itself.
        let base = SDMA[0] + 2 * 0x60;
        rig.poke_vram(9 * MIB, &p::fence(va + 1024, 0x99).iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<_>>());
        for (offset, value) in
            [(0x81, (va >> 8) as u32), (0x82, (va >> 40) as u32), (0x80, 1 | 8 << 1 | 3 << 24), (0x85, 16)]
        {
            rig.gpu.mmio_write(base + offset, value);
        }
        rig.settle();
        let told = faults(&rig.take_vectors());
        if levels == 5 {
            assert_eq!(rig.peek_vram(9 * MIB + 1024, 4), 0x99u32.to_le_bytes());
            assert!(told.is_empty());
            // A fault names all 57 bits.
            rig.poke_vram(
                9 * MIB + 16,
                &p::fence(va + 4096, 1).iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<_>>(),
            );
            rig.gpu.mmio_write(base + 0x85, 32);
            rig.settle();
            let told = faults(&rig.take_vectors());
            assert_eq!((told.len(), told[0].page), (1, space + 1));
        } else {
            assert!(!told.is_empty(), "four levels do not reach that far");
        }
    }
}
