// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The interrupt handler: its ring, its write-back, overflow, and the line that says something is there.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{packets as p, *};

/// A ring of 8 vectors.
const SMALL: u32 = IH_ON & !(31 << 1) | 6 << 1;
const OVERFLOW_ENABLE: u32 = 1 << 16;
const INTR: u32 = 1 << 17;
const REARM: u32 = 1 << 21;
const OVERFLOW_CLEAR: u32 = 1 << 31;

fn rig_with(cntl: u32) -> Rig {
    let mut rig = Rig::new();
    rig.write(reg::IH_CNTL, cntl);
    rig
}
/// Raises `n` interrupts with contexts from `first` on.
fn traps(rig: &mut Rig, first: u32, n: u32) {
    for context in first..first + n {
        rig.execute(0, &p::trap(context));
    }
}
/// The context that the vector in slot `slot` of the ring carries.
fn context(rig: &Rig, slot: u64) -> u32 {
    rig.peek32(IH_BASE + 32 * slot + 16)
}
/// Drains the line: write pointers, in order.
fn edges(rig: &mut Rig) -> Vec<u32> {
    std::iter::from_fn(|| rig.gpu.take_interrupt()).map(|e| e.wptr).collect()
}

#[test]
fn a_vector_lies_in_memory_as_the_format_says() {
    let mut rig = rig_with(IH_ON);
    rig.clock.advance(0xfedc_ba98_7654_3210);
    rig.write(reg::IH + 0x10, 0xbeef);
    traps(&mut rig, 0x0abc_def1, 1);
    let raw = rig.peek(IH_BASE, 32);
    let want = [
        0x08, 224, 0, 0x80, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0, 0, 0xef, 0xbe, 0, 0, 0xf1, 0xde, 0xbc, 0x0a, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(raw, want);
    assert_eq!(rig.peek32(IH_WPTR), 32);
    assert_eq!(rig.read(reg::IH_WPTR), 32);
}

#[test]
fn the_ring_wraps_and_its_pointer_with_it() {
    let mut rig = rig_with(SMALL);
    for round in 0..5 {
        traps(&mut rig, round * 6, 6);
        assert_eq!(rig.read(reg::IH_WPTR), 32 * ((round + 1) * 6 % 8));
        assert_eq!(rig.peek32(IH_WPTR), 32 * ((round + 1) * 6 % 8));
        let wptr = rig.read(reg::IH_WPTR);
        rig.write(reg::IH_RPTR, wptr);
    }
    let held: Vec<u32> = (0..8).map(|slot| context(&rig, slot)).collect();
    assert_eq!(held, [24, 25, 26, 27, 28, 29, 22, 23]);
    assert_eq!(rig.gpu.counters().dropped, 0);
    // Nothing was written past the ring's 256 bytes.
    assert_eq!(rig.peek(IH_BASE + 256, 256), [0; 256]);
}

#[test]
fn a_full_ring_without_overflow_drops_the_new_vector() {
    let mut rig = rig_with(SMALL & !OVERFLOW_ENABLE);
    traps(&mut rig, 0, 10);
    assert_eq!(rig.read(reg::IH_WPTR), 32 * 7);
    assert_eq!((0..8).map(|slot| context(&rig, slot)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 0]);
    let counters = rig.gpu.counters();
    assert_eq!((counters.interrupts, counters.dropped), (7, 3));
    // Room again: the next one is taken.
    rig.write(reg::IH_RPTR, 32);
    traps(&mut rig, 77, 1);
    assert_eq!((context(&rig, 7), rig.read(reg::IH_WPTR)), (77, 0));
}

#[test]
fn a_full_ring_with_overflow_overwrites_the_oldest_and_says_so_until_cleared() {
    let mut rig = rig_with(SMALL);
    traps(&mut rig, 0, 9);
    assert_eq!(rig.read(reg::IH_WPTR), 32 | 1);
    assert_eq!(rig.peek32(IH_WPTR), 32 | 1);
    assert_eq!((0..8).map(|slot| context(&rig, slot)).collect::<Vec<_>>(), [8, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(rig.gpu.counters().dropped, 0);
    // The bit stays with later vectors, and goes when the driver clears it.
    rig.write(reg::IH_RPTR, 32);
    traps(&mut rig, 20, 1);
    assert_eq!(rig.read(reg::IH_WPTR), 64 | 1);
    rig.write(reg::IH_CNTL, SMALL | OVERFLOW_CLEAR);
    rig.write(reg::IH_CNTL, SMALL);
    assert_eq!(rig.read(reg::IH_WPTR), 64);
    traps(&mut rig, 21, 1);
    assert_eq!((rig.read(reg::IH_WPTR), rig.peek32(IH_WPTR)), (96, 96));
}

#[test]
fn with_rearm_the_line_fires_once_until_the_driver_moves_the_read_pointer() {
    let mut rig = rig_with(IH_ON);
    traps(&mut rig, 0, 1);
    assert_eq!(edges(&mut rig), [32]);
    traps(&mut rig, 1, 5);
    assert!(edges(&mut rig).is_empty());
    // More is there than the driver saw: it fires at once.
    rig.write(reg::IH_RPTR, 32);
    assert_eq!(edges(&mut rig), [192]);
    // All seen: silent, and armed.
    rig.write(reg::IH_RPTR, 192);
    assert!(edges(&mut rig).is_empty());
    traps(&mut rig, 6, 1);
    assert_eq!(edges(&mut rig), [224]);
}

#[test]
fn a_lap_that_passed_behind_the_drivers_back_fires_when_the_read_pointer_moves() {
    let mut rig = rig_with(SMALL);
    traps(&mut rig, 0, 3);
    assert_eq!(edges(&mut rig), [32]);
    // The driver has seen 96 and reads up to there; meanwhile the ring goes round once.
    traps(&mut rig, 3, 8);
    assert!(edges(&mut rig).is_empty());
    rig.write(reg::IH_RPTR, 96);
    assert_eq!(edges(&mut rig), [96 | 1], "equal pointers, and nothing of it was read");
    rig.write(reg::IH_CNTL, SMALL | OVERFLOW_CLEAR);
    rig.write(reg::IH_CNTL, SMALL);
    rig.write(reg::IH_RPTR, 96);
    assert!(edges(&mut rig).is_empty(), "now all is seen");
}

#[test]
fn without_rearm_the_line_fires_with_each_vector() {
    let mut rig = rig_with(IH_ON & !REARM);
    for n in 1..5 {
        traps(&mut rig, n, 1);
        assert_eq!(edges(&mut rig), [32 * n]);
    }
    // An edge nobody took yet is one edge, the newest.
    traps(&mut rig, 9, 3);
    assert_eq!(edges(&mut rig), [32 * 7]);
    rig.write(reg::IH_RPTR, 32);
    assert!(edges(&mut rig).is_empty());
}

#[test]
fn without_the_interrupt_switch_vectors_come_silently() {
    let mut rig = rig_with(IH_ON & !INTR);
    traps(&mut rig, 0, 3);
    assert!(edges(&mut rig).is_empty());
    assert_eq!(rig.peek32(IH_WPTR), 96);
    // Switched on, the next vector or read pointer fires.
    rig.write(reg::IH_CNTL, IH_ON);
    rig.write(reg::IH_RPTR, 32);
    assert_eq!(edges(&mut rig), [96]);
}

#[test]
fn a_disabled_ring_drops_and_counts() {
    let mut rig = rig_with(IH_ON & !1);
    traps(&mut rig, 0, 3);
    assert_eq!((rig.read(reg::IH_WPTR), edges(&mut rig)), (0, vec![]));
    assert_eq!(rig.peek(IH_BASE, 96), [0; 96]);
    let counters = rig.gpu.counters();
    assert_eq!((counters.interrupts, counters.dropped), (0, 3));
}

#[test]
fn a_ring_that_is_nowhere_or_smaller_than_a_vector_drops_and_counts() {
    let nowhere = |rig: &mut Rig| rig.write(reg::IH + 0x82, 0xff);
    let tiny = |rig: &mut Rig| rig.write(reg::IH_CNTL, IH_ON & !(31 << 1) | 2 << 1);
    let huge = |rig: &mut Rig| rig.write(reg::IH_CNTL, IH_ON | 31 << 1);
    let reserved_space = |rig: &mut Rig| rig.write(reg::IH_CNTL, IH_ON & !(7 << 28) | 1 << 28);
    for break_it in [nowhere as fn(&mut Rig), tiny, huge, reserved_space] {
        let mut rig = rig_with(IH_ON);
        break_it(&mut rig);
        traps(&mut rig, 0, 2);
        let counters = rig.gpu.counters();
        assert_eq!((counters.interrupts, counters.dropped), (0, 2));
        assert_eq!(rig.exception(0), 0);
    }
}

#[test]
fn a_write_back_that_is_nowhere_loses_no_vector() {
    let mut rig = rig_with(IH_ON);
    rig.write(reg::IH + 0x85, 0xffff);
    traps(&mut rig, 5, 1);
    assert_eq!((context(&rig, 0), rig.read(reg::IH_WPTR)), (5, 32));
    assert_eq!(edges(&mut rig), [32]);
}

#[test]
fn without_write_back_the_register_alone_tells() {
    let mut rig = rig_with(IH_ON & !(1 << 8));
    traps(&mut rig, 0, 2);
    assert_eq!((rig.peek32(IH_WPTR), rig.read(reg::IH_WPTR)), (0, 64));
}

#[test]
fn a_ring_at_a_gpu_address_goes_through_the_page_table() {
    let mut rig = rig_with(IH_ON & !(7 << 28) | 4 << 28);
    // Two pages that lie apart: one in VRAM, one in RAM.
    rig.map(200, (9 * MIB) | bit::VRAM);
    rig.map(201, ((1 << 32) + 0x10_0000) | bit::RAM);
    let base = GART + 200 * 4096;
    rig.write(reg::IH + 0x81, (base >> 8) as u32);
    rig.write(reg::IH + 0x82, (base >> 40) as u32);
    rig.write(reg::IH + 0x86, (FB + 10 * MIB) as u32);
    rig.write(reg::IH + 0x85, ((FB + 10 * MIB) >> 32) as u32);
    traps(&mut rig, 0, 130);
    assert_eq!(rig.peek_vram(9 * MIB + 127 * 32 + 16, 1), [127]);
    assert_eq!(rig.peek32((1 << 32) + 0x10_0000 + 32 + 16), 129);
    assert_eq!(rig.peek_vram(10 * MIB, 4), (130u32 * 32).to_le_bytes());
    // A page that is not there drops the vector; the status register of the hub is the engines' own.
    rig.map(201, 0);
    traps(&mut rig, 0, 1);
    assert_eq!(rig.gpu.counters().dropped, 1);
    assert_eq!(rig.read(reg::FAULT_STATUS), 0);
}

#[test]
fn the_doorbell_moves_the_read_pointer_like_the_register() {
    let mut rig = rig_with(IH_ON);
    rig.write(0x0de0, 1);
    rig.write(0x0ef2, 0x1e8 << 2 | 8 << 16);
    rig.write(reg::IH + 0x87, 0x1e8 | 1 << 28);
    traps(&mut rig, 0, 3);
    assert_eq!(edges(&mut rig), [32]);
    rig.gpu.doorbell(0xf4, 32);
    assert_eq!(rig.read(reg::IH_RPTR), 32);
    assert_eq!(edges(&mut rig), [96]);
    rig.gpu.doorbell(0xf4, 96);
    assert!(edges(&mut rig).is_empty());
    // Off, it is nobody's.
    rig.write(reg::IH + 0x87, 0x1e8);
    rig.gpu.doorbell(0xf4, 0);
    assert_eq!(rig.read(reg::IH_RPTR), 96);
}

#[test]
fn each_vmid_has_its_own_pasid_and_each_hub_its_own_table() {
    let mut rig = rig_with(IH_ON);
    for vmid in 0..16 {
        rig.write(reg::IH + vmid, 0x1000 + vmid);
        rig.write(reg::IH + 0x10 + vmid, 0xffff_2000 + vmid);
    }
    rig.poke(DUMMY, &[0; 4096]);
    for vmid in 0..16 {
        rig.write(reg::CONTEXT0 + vmid, CONTEXT_ON);
        rig.execute(1, &p::indirect(vmid, 0x20_0000, 1));
    }
    let got: Vec<(u32, u32)> = rig.take_vectors().iter().map(|v| (v[0] >> 24 & 15, v[3])).collect();
    assert_eq!(got, (0..16).map(|vmid| (vmid, 0x2000 + vmid)).collect::<Vec<_>>());
}

#[test]
fn a_pointer_that_the_driver_corrupts_stays_inside_the_ring() {
    let mut rig = rig_with(SMALL);
    rig.write(reg::IH_WPTR, 0xffff_ffff);
    rig.write(reg::IH_RPTR, 0xffff_ffff);
    traps(&mut rig, 3, 4);
    assert_eq!(rig.peek(IH_BASE + 256, 4096), [0; 4096]);
    assert_eq!((context(&rig, 7), context(&rig, 0)), (3, 4));
}

#[test]
fn a_ring_larger_than_its_pointers_wraps_where_they_do() {
    // 1 MiB; the pointers have 18 bits.
    let mut rig = rig_with(IH_ON & !(31 << 1) | 18 << 1);
    rig.write(reg::IH_WPTR, 0x3_ffe0);
    rig.write(reg::IH_RPTR, 0x3_ffe0);
    traps(&mut rig, 3, 2);
    assert_eq!((context(&rig, 0x3_ffe0 / 32), context(&rig, 0)), (3, 4));
    assert_eq!(rig.read(reg::IH_WPTR), 32);
    assert_eq!(rig.peek(IH_BASE + 0x4_0000, 64), [0; 64]);
}

/// First register of each ring; the others follow in the same order.
const FIRST: [u32; 3] = [0x80, 0x88, 0x90];

#[test]
fn every_ring_wraps_overflows_rearms_and_has_its_own_doorbell() {
    for (ring, first) in FIRST.into_iter().enumerate() {
        let mut rig = Rig::new();
        rig.write(0x0de0, 1);
        rig.write(0x0ef2, 0x1e8 << 2 | 8 << 16);
        let (first, base) = (reg::IH + first, IH_BASE + 0x1_0000 + 0x1000 * ring as u64);
        let (rptr, wptr, doorbell) = (first + 3, first + 4, first + 7);
        rig.write(reg::IH_CNTL, 0);
        rig.write(first + 1, (base >> 8) as u32);
        rig.write(first, SMALL);
        rig.write(doorbell, (0x1e8 + 2 * ring as u32) | 1 << 28);
        // SDMA0's vectors go there.
        rig.write(reg::IH + 0x188, 8);
        rig.write(reg::IH + 0x189, (ring as u32) << 22);
        let taken = |rig: &mut Rig| -> Vec<(u32, u32)> {
            std::iter::from_fn(|| rig.gpu.take_interrupt()).map(|e| (e.ring, e.wptr)).collect()
        };
        let number = ring as u32;
        traps(&mut rig, 0, 3);
        assert_eq!(taken(&mut rig), [(number, 32)], "ring {ring}: once");
        assert_eq!(rig.peek32(IH_WPTR), if ring == 0 { 96 } else { 0 }, "ring 0 alone has a write-back");
        rig.gpu.doorbell(0xf4 + number, 64);
        assert_eq!((rig.read(rptr), rig.read(wptr)), (64, 96), "ring {ring}");
        assert_eq!(taken(&mut rig), [(number, 96)], "ring {ring}: more is there");
        rig.gpu.doorbell(0xf4 + number, 96);
        assert!(taken(&mut rig).is_empty(), "ring {ring}: all seen");
        // Round, and past the read pointer: the oldest goes.
        traps(&mut rig, 3, 8);
        assert_eq!(rig.read(wptr), 96 | 1, "ring {ring}: overflow");
        let held: Vec<u32> = (0..8).map(|slot| rig.peek32(base + 32 * slot + 16)).collect();
        assert_eq!(held, [8, 9, 10, 3, 4, 5, 6, 7], "ring {ring}");
        rig.write(first, SMALL | OVERFLOW_CLEAR);
        rig.write(first, SMALL);
        assert_eq!(rig.read(wptr), 96, "ring {ring}: cleared");
        // The other rings stay where they were.
        for other in (0..3).filter(|o| *o != ring) {
            assert_eq!((rig.gpu.ih_wptr(other), rig.read(reg::IH + FIRST[other] + 3)), (0, 0));
        }
        // An engine that is not routed there goes to ring 0, which is off here unless it is this one.
        let dropped = rig.gpu.counters().dropped;
        rig.execute(1, &p::trap(9));
        assert_eq!(rig.gpu.counters().dropped - dropped, u64::from(ring != 0));
    }
}
