// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Rings: start and stop, doorbells, pointers that lie, packets that cannot run, buffers in buffers, fairness.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::data::illegal;
use common::model::SDMA;
use common::{packets as p, *};
use proptest::prelude::*;
use vhost_device_uvm::Progress;

const MARK: u64 = 8 * MIB;

/// A fence into VRAM mark `n`.
fn mark(n: u64, value: u32) -> Vec<u32> {
    p::fence(FB + MARK + 4 * n, value)
}
fn marked(rig: &Rig, n: u64) -> u32 {
    u32::from_le_bytes(rig.peek_vram(MARK + 4 * n, 4).try_into().unwrap())
}
/// (client and source, data) of each vector that came.
fn told(rig: &mut Rig) -> Vec<(u32, u32)> {
    rig.take_vectors().iter().map(|v| (v[0] & 0xffff, v[4])).collect()
}
const ILLEGAL_0: u32 = 0x08 | 247 << 8;

/// Doorbells as a driver sets them up: SDMA0 at slot 0xf0, SDMA1 at 0xf2.
fn doorbells(rig: &mut Rig) {
    rig.write(0x0de0, 1);
    for (e, sdma) in (0u32..).zip(SDMA) {
        let dw = 0x1e0 + 4 * e;
        rig.write(0x0ef0 + e, dw << 2 | 4 << 16);
        rig.write(sdma + 0xab, dw << 2);
        rig.write(sdma + 0x92, 1 << 28);
    }
}

#[test]
fn a_doorbell_starts_its_ring_with_a_write_pointer_of_64_bits() {
    let mut rig = Rig::new();
    let start = 0x7_ffff_fff0;
    rig.start_ring(1, start);
    doorbells(&mut rig);
    rig.push(1, &[mark(0, 5), p::nop(30)].concat());
    let wptr = rig.model.engines[1].wptr;
    rig.gpu.doorbell(0xf2, wptr);
    rig.run_to_idle();
    assert_eq!(marked(&rig, 0), 5);
    assert_eq!(rig.read(SDMA[1] + 0x85), wptr as u32);
    assert_eq!(rig.read(SDMA[1] + 0x86), (wptr >> 32) as u32);
    assert_eq!(rig.read(SDMA[1] + 0x92) >> 30 & 1, 1, "CAPTURED");
    assert_eq!(rig.read(SDMA[0] + 0x92) >> 30 & 1, 0, "CAPTURED of the other");
    // The write-back carries all 64 bits.
    assert_eq!(rig.peek(0x3000 + 8, 8), wptr.to_le_bytes());
}

#[test]
fn a_doorbell_that_is_routed_to_an_engine_without_such_a_ring_is_reported() {
    let mut rig = Rig::new();
    doorbells(&mut rig);
    rig.gpu.doorbell(0xf1, 64);
    rig.gpu.doorbell(0xf3, 64);
    assert_eq!(told(&mut rig), [(0x08 | 244 << 8, 0xf1), (0x09 | 244 << 8, 0xf3)]);
    // A ring whose switch is off is no such ring.
    rig.write(SDMA[0] + 0x92, 0);
    rig.gpu.doorbell(0xf0, 64);
    assert_eq!(told(&mut rig), [(0x08 | 244 << 8, 0xf0)]);
    assert_eq!(rig.gpu.run(), Progress::Idle);
}

#[test]
fn a_doorbell_outside_all_ranges_or_with_the_aperture_off_reaches_nobody() {
    let mut rig = Rig::new();
    doorbells(&mut rig);
    rig.push(0, &mark(0, 1));
    let wptr = rig.model.engines[0].wptr;
    for slot in [0, 0xef, 0xf4, 0x1ff, 0x200, u32::MAX / 2, u32::MAX] {
        rig.gpu.doorbell(slot, wptr);
    }
    rig.write(0x0de0, 0);
    rig.gpu.doorbell(0xf0, wptr);
    rig.run_to_idle();
    assert_eq!(marked(&rig, 0), 0);
    assert_eq!(told(&mut rig), []);
    // A range of size 0 routes none.
    rig.write(0x0de0, 1);
    rig.write(0x0ef0, 0x1e0 << 2);
    rig.gpu.doorbell(0xf0, wptr);
    rig.run_to_idle();
    assert_eq!((marked(&rig, 0), told(&mut rig)), (0, vec![]));
    assert_eq!(rig.gpu.counters().doorbells, 9);
}

#[test]
fn a_pointer_update_in_two_halves_starts_nothing_in_between() {
    let mut rig = Rig::new();
    rig.push(0, &mark(0, 1));
    rig.write(SDMA[0] + 0xb5, 1);
    rig.gpu.mmio_write(SDMA[0] + reg::RB_WPTR, 16);
    rig.run_to_idle();
    assert_eq!(marked(&rig, 0), 0);
    rig.gpu.mmio_write(SDMA[0] + reg::RB_WPTR + 1, 0);
    rig.write(SDMA[0] + 0xb5, 0);
    rig.run_to_idle();
    assert_eq!(marked(&rig, 0), 1);
}

#[test]
fn a_write_pointer_that_went_backwards_or_too_far_stops_the_ring_and_no_other() {
    for wptr in [32u64, 64 + RING_BYTES + 4, 1 << 40, !3] {
        let mut rig = Rig::new();
        rig.execute(0, &p::nop(15));
        rig.gpu.mmio_write(SDMA[0] + 0x86, (wptr >> 32) as u32);
        rig.gpu.mmio_write(SDMA[0] + 0x85, wptr as u32);
        rig.execute(1, &mark(1, 9));
        assert_eq!((rig.exception(0), rig.exception(1)), (1, 0), "{wptr:#x}");
        assert_eq!(told(&mut rig), [(ILLEGAL_0, 1)]);
        assert_eq!((rig.read(SDMA[0] + reg::RB_RPTR), marked(&rig, 1)), (64, 9));
    }
}

#[test]
fn a_whole_ring_of_packets_runs() {
    let mut rig = Rig::new();
    rig.start_ring(0, 4096 - 8);
    let packets: Vec<u32> = (0..RING_BYTES / 16).flat_map(|n| mark(n, n as u32 + 1)).collect();
    assert_eq!(packets.len() as u64 * 4, RING_BYTES);
    rig.execute_checked(0, &packets);
    assert_eq!(marked(&rig, 1023), 1024);
}

#[test]
fn unaligned_pointers_lose_their_low_bits() {
    let mut rig = Rig::new();
    rig.push(0, &mark(0, 1));
    rig.write(SDMA[0] + reg::RB_CNTL, 0);
    rig.gpu.mmio_write(SDMA[0] + 0x83, 3);
    rig.gpu.mmio_write(SDMA[0] + 0x85, 18);
    rig.write(SDMA[0] + reg::RB_CNTL, RB_ON);
    rig.run_to_idle();
    assert_eq!((marked(&rig, 0), rig.exception(0)), (1, 0));
    assert_eq!(rig.read(SDMA[0] + reg::CONTEXT_STATUS) & 4, 4);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_that_cannot_run_stops_its_ring_with_an_interrupt_and_the_other_goes_on(
        packet in illegal(), in_buffer in any::<bool>(),
    ) {
        let mut rig = Rig::new();
        rig.submit(1, &mark(9, 1));
        let mut stream = mark(0, 1);
        if in_buffer {
            let body = [mark(1, 1), packet].concat();
            let raw: Vec<u8> = body.iter().flat_map(|dw| dw.to_le_bytes()).collect();
            rig.poke_va(IB, &raw);
            stream.extend(p::indirect(0, IB, body.len() as u32));
        } else {
            stream.extend(mark(1, 1));
            stream.extend(packet);
        }
        rig.execute(0, &stream);
        rig.execute(1, &mark(8, 1));
        prop_assert_eq!((rig.exception(0), rig.exception(1)), (1, 0));
        prop_assert_eq!(told(&mut rig), vec![(ILLEGAL_0, 1)]);
        prop_assert_eq!([0, 1, 8, 9].map(|n| marked(&rig, n)), [1; 4]);
        let at = if in_buffer { 16 } else { 32 };
        prop_assert_eq!(rig.read(SDMA[0] + reg::RB_RPTR), at);
        // The driver resets the ring and goes on.
        rig.start_ring(0, 0);
        rig.execute(0, &mark(2, 7));
        prop_assert_eq!((rig.exception(0), marked(&rig, 2)), (0, 7));
    }
}

#[test]
fn a_buffer_that_points_at_itself_or_at_another_stops_as_nested() {
    for target in [IB, IB + 4096] {
        let mut rig = Rig::new();
        let raw: Vec<u8> =
            [mark(0, 1), p::indirect(0, target, 10)].concat().iter().flat_map(|d| d.to_le_bytes()).collect();
        rig.poke_va(IB, &raw);
        rig.submit(0, &p::indirect(0, IB, 10));
        rig.execute(1, &mark(1, 1));
        assert_eq!((rig.exception(0), rig.exception(1)), (3, 0));
        assert_eq!(told(&mut rig), [(ILLEGAL_0, 3)]);
        assert_eq!([marked(&rig, 0), marked(&rig, 1)], [1, 1]);
    }
}

#[test]
fn an_empty_buffer_is_passed_over() {
    let mut rig = Rig::new();
    rig.execute_checked(0, &[p::indirect(0, IB, 0), mark(0, 3)].concat());
    assert_eq!(marked(&rig, 0), 3);
}

#[test]
fn buffers_need_their_switch() {
    let mut rig = Rig::new();
    rig.write(SDMA[0] + reg::IB_CNTL, 0);
    rig.execute_checked(0, &p::indirect(0, IB, 8));
    assert_eq!(rig.exception(0), 1);
}

#[test]
fn a_condition_skips_no_further_than_its_stream_goes() {
    let mut rig = Rig::new();
    let raw: Vec<u8> =
        [p::cond_exe(FB + MARK, 1, 100), mark(3, 1)].concat().iter().flat_map(|d| d.to_le_bytes()).collect();
    rig.poke_va(IB, &raw);
    rig.execute_checked(
        0,
        &[p::indirect(0, IB, 9), mark(0, 7), p::cond_exe(FB + MARK, 1, 0x3fff), mark(1, 1)].concat(),
    );
    assert_eq!([0, 1, 3].map(|n| marked(&rig, n)), [7, 0, 0]);
    rig.execute_checked(0, &mark(2, 5));
    assert_eq!(marked(&rig, 2), 5);
}

#[test]
fn halt_holds_both_a_new_packet_and_one_in_execution() {
    let mut rig = Rig::new();
    rig.write(SDMA[0] + reg::F32_CNTL, 1);
    rig.execute(0, &[p::copy(FB + 12 * MIB, FB + 9 * MIB, 3 << 20), mark(0, 1)].concat());
    assert_eq!(marked(&rig, 0), 0);
    rig.write(SDMA[0] + reg::F32_CNTL, 0);
    assert_eq!(rig.gpu.run(), Progress::More);
    rig.write(SDMA[0] + reg::F32_CNTL, 1);
    assert_eq!(rig.gpu.run(), Progress::Idle);
    assert_eq!(marked(&rig, 0), 0);
    rig.write(SDMA[0] + reg::F32_CNTL, 0);
    rig.run_to_idle();
    assert_eq!(marked(&rig, 0), 1);
}

#[test]
fn neither_instance_starves_the_other() {
    let mut rig = Rig::new();
    // Instance 0 has 100 MiB to move before its mark, instance 1 three small packets.
    let long: Vec<u32> = (0..25).flat_map(|_| p::copy(FB + 12 * MIB, FB + 8 * MIB, 4 << 20)).collect();
    rig.submit(0, &[long, mark(0, 1)].concat());
    rig.submit(1, &[mark(1, 1), mark(2, 1), mark(3, 1)].concat());
    let mut turns = 0;
    while marked(&rig, 3) == 0 {
        assert_eq!(rig.gpu.run(), Progress::More);
        turns += 1;
        assert!(turns < 10, "instance 1 waits for instance 0");
    }
    assert!(rig.gpu.counters().bytes < 4 << 20);
    // The same the other way round, with packets of the same length: both advance alike.
    rig.run_to_idle();
    rig.gpu.reset();
    rig.bring_up();
    let many = |e: u64| -> Vec<u32> { (0..400).flat_map(|n| mark(e, n + 1)).collect() };
    rig.submit(0, &many(0));
    rig.submit(1, &many(1));
    while rig.gpu.run() == Progress::More {
        assert!(marked(&rig, 0).abs_diff(marked(&rig, 1)) <= 1);
    }
    assert_eq!([marked(&rig, 0), marked(&rig, 1)], [400, 400]);
}

#[test]
fn a_turn_is_bounded_in_bytes_and_packets() {
    let mut rig = Rig::new();
    rig.submit(0, &p::copy(FB + 12 * MIB, FB + 8 * MIB, 4 << 20));
    let mut before = 0;
    while rig.gpu.run() == Progress::More {
        let bytes = rig.gpu.counters().bytes;
        assert!(bytes - before <= 512 << 10, "{} bytes in a turn", bytes - before);
        before = bytes;
    }
    assert_eq!(before, 4 << 20);
    rig.submit(0, &vec![0; 4000]);
    let before = rig.gpu.counters().packets;
    assert_eq!(rig.gpu.run(), Progress::More);
    assert!(rig.gpu.counters().packets - before <= 256);
}

#[test]
fn the_page_ring_runs_beside_the_gfx_ring() {
    let mut rig = Rig::new();
    let page = SDMA[0] + 0x60;
    let base = rig.ring_base(1);
    rig.write(SDMA[1] + reg::RB_CNTL, 0);
    rig.push(1, &[mark(0, 1), p::trap(4)].concat());
    for (offset, value) in
        [(0x81, (base >> 8) as u32), (0x82, (base >> 40) as u32), (0x80, RB_ON & !(1 << 12)), (0x85, 24)]
    {
        rig.write(page + offset, value);
    }
    rig.execute(0, &mark(1, 1));
    assert_eq!([marked(&rig, 0), marked(&rig, 1)], [1, 1]);
    let vectors = rig.take_vectors();
    assert_eq!(vectors[0][0], 0x8000_0008 | 224 << 8 | 1 << 16);
}

#[test]
fn the_status_register_tells_idle_from_busy() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(SDMA[0] + 0x25) & 5, 5);
    rig.push(0, &p::poll_mem(FB + MARK, 3, 1, 1, 0, 0xfff));
    rig.kick(0);
    let _ = rig.gpu.run();
    assert_eq!((rig.read(SDMA[0] + 0x25) & 5, rig.read(SDMA[0] + reg::CONTEXT_STATUS) & 4), (0, 0));
    assert_eq!(rig.read(SDMA[1] + 0x25) & 5, 5);
    rig.poke_vram(MARK, &[1]);
    rig.run_to_idle();
    assert_eq!(rig.read(SDMA[0] + 0x25) & 5, 5);
}

#[test]
fn a_trap_is_silent_while_its_switch_is_off() {
    let mut rig = Rig::new();
    rig.write(SDMA[0] + reg::CNTL, 2);
    rig.execute_checked(0, &p::trap(1));
    assert_eq!(told(&mut rig), []);
}

#[test]
fn a_packet_that_rewinds_its_own_ring_keeps_the_device_answering() {
    let mut rig = Rig::new();
    // An endless loop of the guest's own making: bounded turns, and the other instance goes on.
    rig.submit(0, &[mark(0, 1), p::srbm_write(SDMA[0] + reg::RB_RPTR, 0, 15)].concat());
    for _ in 0..100 {
        assert_eq!(rig.gpu.run(), Progress::More);
    }
    rig.submit(1, &mark(1, 1));
    for _ in 0..4 {
        let _ = rig.gpu.run();
    }
    assert_eq!(marked(&rig, 1), 1);
    rig.write(SDMA[0] + reg::F32_CNTL, 1);
    rig.run_to_idle();
}
