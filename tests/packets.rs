// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! SDMA packets against the naive model: after each run all of RAM, VRAM and the registers that packets reach are equal.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::data::{scatter, sequence, Mapping, Player};
use common::{packets as p, *};
use proptest::prelude::*;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn random_packets_over_scattered_pages_leave_what_the_model_leaves(
        seed in any::<u64>(), e in 0..2usize, start in any::<u64>(), ops in sequence(Mapping::Whole),
    ) {
        let mut rig = Rig::new();
        scatter(&mut rig, seed, Mapping::Whole);
        rig.start_ring(e, start & !3);
        Player::new(&mut rig, e, Mapping::Whole).play(&ops);
        rig.check();
    }

    #[test]
    fn random_packets_that_fault_leave_what_the_model_leaves(
        seed in any::<u64>(), e in 0..2usize, default_page in any::<bool>(), ops in sequence(Mapping::Holes),
    ) {
        let mut rig = Rig::new();
        scatter(&mut rig, seed, Mapping::Holes);
        if !default_page {
            rig.write(reg::FAULT_CNTL, 0);
            // Interrupts stay, default pages go.
            rig.write(reg::CONTEXT0, 1 | 0x1555 << 9);
        }
        Player::new(&mut rig, e, Mapping::Holes).play(&ops);
        rig.check();
    }
}

#[test]
fn a_write_that_wraps_the_ring_arrives_whole() {
    let mut rig = Rig::new();
    scatter(&mut rig, 1, Mapping::Whole);
    rig.start_ring(0, RING_BYTES - 24);
    let data: Vec<u32> = (0..3000u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
    rig.execute_checked(0, &p::write(DATA + 100, &data));
}

#[test]
fn packets_as_long_as_they_can_be_are_done_whole() {
    let mut rig = Rig::new();
    let noise = Numbers(7).bytes(4 << 20);
    rig.poke_vram(4 * MIB, &noise);
    rig.execute_checked(0, &p::copy(FB + 9 * MIB + 1, FB + 4 * MIB, 4 << 20));
    rig.execute_checked(1, &p::fill(FB + 8 * MIB + 3, 1, 0x1234_5678, 4 << 20));
}

#[test]
fn a_write_of_a_whole_indirect_buffer_arrives() {
    let mut rig = Rig::new();
    scatter(&mut rig, 2, Mapping::Whole);
    let data: Vec<u32> = (0..(IB_PAGES * 1024 - 4) as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
    let ib = p::write(DATA + 4, &data);
    let raw: Vec<u8> = ib.iter().flat_map(|dw| dw.to_le_bytes()).collect();
    rig.poke_va(IB, &raw);
    rig.execute_checked(0, &p::indirect(0, IB, ib.len() as u32));
}

#[test]
fn entries_that_a_packet_writes_translate_the_next_packet() {
    let mut rig = Rig::new();
    scatter(&mut rig, 3, Mapping::Whole);
    // Data page 5 and the 99 after it come to lie at VRAM 8 MiB on, then get filled through their new mapping.
    let slot = FB + TABLE + 8 * (DATA / 4096 - GART / 4096 + 5);
    let entries = p::ptepde(slot, bit::VRAM, 8 * MIB, 4096, 100);
    let fill = p::fill(DATA + 5 * 4096, 2, 0xcafe_f00d, 100 * 4096);
    rig.execute_checked(0, &[entries, fill].concat());
    assert_eq!(rig.peek_vram(8 * MIB + 99 * 4096, 4), 0xcafe_f00du32.to_le_bytes());
}

#[test]
fn every_atomic_operation_does_what_its_name_says() {
    // (operation, memory before, operand, compare, memory after), 32 bits then 64 bits.
    let cases: [(u32, u64, u64, u64, u64); 21] = [
        (0x07, 5, 9, 0, 9),
        (0x08, 5, 9, 5, 9),
        (0x08, 5, 9, 6, 5),
        (0x0f, 0xffff_ffff, 2, 0, 1),
        (0x10, 1, 2, 0, 0xffff_ffff),
        (0x11, 0xffff_ffff, 1, 0, 0xffff_ffff),
        (0x12, 0xffff_ffff, 1, 0, 1),
        (0x13, 0xffff_ffff, 1, 0, 1),
        (0x14, 0xffff_ffff, 1, 0, 0xffff_ffff),
        (0x15, 0xf0f0, 0xff00, 0, 0xf000),
        (0x16, 0xf0f0, 0xff00, 0, 0xfff0),
        (0x17, 0xf0f0, 0xff00, 0, 0x0ff0),
        (0x18, 6, 7, 0, 7),
        (0x18, 7, 7, 0, 0),
        (0x19, 0, 7, 0, 7),
        (0x19, 8, 7, 0, 7),
        (0x19, 7, 7, 0, 6),
        (0x2f, 0xffff_ffff, 2, 0, 0x1_0000_0001),
        (0x28, 1 << 40, 3, 1 << 40, 3),
        (0x31, u64::MAX, 1, 0, u64::MAX),
        (0x38, u64::MAX, u64::MAX, 0, 0),
    ];
    let mut rig = Rig::new();
    for (op, before, operand, compare, after) in cases {
        rig.poke_vram(8 * MIB, &before.to_le_bytes());
        rig.execute_checked(0, &p::atomic(op, FB + 8 * MIB, operand, compare));
        assert_eq!(rig.peek_vram(8 * MIB, 8), after.to_le_bytes(), "operation {op:#x}");
        assert_eq!(rig.read(0x1260 + reg::PREOP), before as u32, "operation {op:#x}");
    }
}

#[test]
fn an_atomic_without_return_leaves_the_returned_value_alone() {
    let mut rig = Rig::new();
    rig.poke_vram(8 * MIB, &[7; 8]);
    rig.execute_checked(0, &p::atomic(0x2f, FB + 8 * MIB, 1, 0));
    rig.execute_checked(0, &p::atomic(0x2f | 0x40, FB + 8 * MIB, 1, 0));
    assert_eq!(rig.read(0x1260 + reg::PREOP), 0x0707_0707);
}

/// Runs until the device waits, and returns for how many clocks.
fn wait_ticks(rig: &mut Rig) -> u64 {
    for _ in 0..100 {
        match rig.gpu.run() {
            vhost_device_uvm::Progress::Waiting(time) => return (time.as_nanos() / 10) as u64,
            vhost_device_uvm::Progress::Idle => panic!("it does not wait"),
            vhost_device_uvm::Progress::More => {}
        }
    }
    panic!("it does not wait");
}

#[test]
fn a_looping_compare_and_swap_waits_for_its_value() {
    let mut rig = Rig::new();
    rig.poke_vram(8 * MIB, &1u32.to_le_bytes());
    rig.submit(0, &[p::atomic_loop(8, FB + 8 * MIB, 77, 5, 4000), p::fence(FB + 8 * MIB + 64, 1)].concat());
    for _ in 0..10 {
        assert_eq!(wait_ticks(&mut rig), 4000);
        rig.clock.advance(3999);
        assert_eq!(wait_ticks(&mut rig), 1, "a look ahead of time");
        rig.clock.advance(1);
    }
    rig.poke_vram(8 * MIB, &5u32.to_le_bytes());
    rig.run_to_idle();
    assert_eq!(rig.peek_vram(8 * MIB, 4), 77u32.to_le_bytes());
    assert_eq!(rig.peek_vram(8 * MIB + 64, 4), 1u32.to_le_bytes());
    assert_eq!(rig.read(0x1260 + reg::PREOP), 5);
}

#[test]
fn a_poll_for_ever_ends_when_the_cpu_writes_what_it_waits_for() {
    let mut rig = Rig::new();
    let poll = p::poll_mem(FB + 8 * MIB, 3, 0x30, 0xf0, 2500, 0xfff);
    rig.submit(0, &[poll, p::fence(FB + 8 * MIB + 64, 1)].concat());
    for _ in 0..5000 {
        assert_eq!(wait_ticks(&mut rig), 2500);
        rig.clock.advance(2500);
    }
    rig.poke_vram(8 * MIB, &0x0f3fu32.to_le_bytes());
    rig.run_to_idle();
    assert_eq!(rig.peek_vram(8 * MIB + 64, 4), 1u32.to_le_bytes());
    assert!(rig.take_vectors().is_empty());
}

#[test]
fn a_poll_that_waits_lets_the_other_instance_and_register_writes_through() {
    let mut rig = Rig::new();
    let scratch = reg::SCRATCH + 3;
    rig.submit(0, &[p::poll_reg(scratch, 5, 10, 0xff, 1000, 0xfff), p::fence(FB + 8 * MIB, 1)].concat());
    wait_ticks(&mut rig);
    // The other instance ends the wait.
    rig.submit(1, &[p::fence(FB + 8 * MIB + 8, 2), p::srbm_write(scratch, 10, 15)].concat());
    rig.run_to_idle();
    assert_eq!(rig.peek_vram(8 * MIB, 12), [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
}

#[test]
fn a_poll_gives_up_after_its_retries_with_an_interrupt_and_the_ring_goes_on() {
    let mut rig = Rig::new();
    let poll = p::poll_mem(FB + 8 * MIB, 4, 0, u32::MAX, 3000, 7);
    rig.execute_checked(0, &[poll, p::fence(FB + 8 * MIB + 64, 1)].concat());
    use vhost_device_uvm::bus::Clock;
    assert_eq!(rig.clock.now(), 7 * 3000);
    let vectors = rig.take_vectors();
    assert_eq!(vectors.len(), 1);
    assert_eq!(vectors[0][0] & 0xffff, 0x08 | 246 << 8);
    assert_eq!(rig.peek_vram(8 * MIB + 64, 1), [1]);
}

#[test]
fn the_time_stamp_counts_from_the_value_that_was_set() {
    let mut rig = Rig::new();
    rig.clock.advance(1000);
    let at = FB + 8 * MIB;
    rig.execute(0, &[p::timestamp_set(50), p::timestamp_get(false, at)].concat());
    rig.clock.advance(7);
    rig.execute(0, &[p::timestamp_get(false, at + 8), p::timestamp_get(true, at + 16)].concat());
    rig.execute(1, &p::timestamp_get(false, at + 24));
    let stamps: Vec<u64> =
        (0..4).map(|i| u64::from_le_bytes(rig.peek_vram(8 * MIB + 8 * i, 8).try_into().unwrap())).collect();
    assert_eq!(stamps, [50, 57, 1007, 1007]);
}

#[test]
fn counters_tell_packets_bytes_and_interrupts() {
    let mut rig = Rig::new();
    let at = FB + 8 * MIB;
    let ring = [p::copy(at, at + 4096, 1000), p::fill(at, 0, 1, 500), p::write(at, &[1, 2, 3]), p::trap(1)].concat();
    rig.execute(0, &ring);
    let got = rig.gpu.counters();
    assert_eq!((got.packets, got.bytes, got.interrupts, got.faults, got.dropped), (4, 1512, 1, 0, 0));
}
