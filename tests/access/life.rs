// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Packets around programs, and what stops, refuses or hangs a queue.

use crate::common::access::{Operand, Program, ACCESS};
use crate::common::{packets as p, spaces::*, *};
use crate::*;

#[test]
fn fence_and_trap_come_after_every_lane() {
    let mut rig = rig(ON, &flat(11), |_| true);
    let fill = nest([4096, 1, 1], 10, 1, Operand::default(), Operand::default(), Operand::linear(D));
    rig.access(0, &[fill.packet(64), p::fence(FENCE, 0xfeed), p::nop(3), p::trap(0x123)].concat());
    while rig.take_vectors().is_empty() {
        let done = held(&rig)[(FENCE - BASE) as usize..][..4] == 0xfeedu32.to_le_bytes();
        let last = held(&rig)[(D - BASE + 4 * 4095) as usize..][..4] == (4095u32 + 7).to_le_bytes();
        assert!(last || !done, "the fence is there before the last element");
        rig.gpu.run();
    }
    assert_eq!(held(&rig)[(FENCE - BASE) as usize..][..4], 0xfeedu32.to_le_bytes());
    assert!(rig.access_drained(0));
}

#[test]
fn the_trap_s_vector_names_the_queue_and_its_process() {
    let mut rig = rig(ON, &flat(12), |_| true);
    rig.access_queue(2, VMID);
    rig.access(2, &p::trap(0x0abc_def0));
    rig.run_to_idle();
    let vectors = rig.take_vectors();
    // Client 0x0a, source 224, ring 2, VMID 4 of the MM hub, its PASID, the context.
    assert_eq!(vectors, [[0x8402_e00a, 0, 0, 1004, 0x0abc_def0, 0, 0, 0]]);
}

#[test]
fn a_fault_that_is_not_retried_ends_the_program_and_stops_its_queue_alone() {
    let mut rig = rig(1 | 0x1555 << 9, &flat(16), |page| page != 5);
    // No default page stands in.
    rig.write(reg::FAULT_CNTL, 0);
    rig.access_queue(1, VMID);
    rig.access(0, &[page_a_lane(16, 1).packet(16), p::fence(FENCE, 1)].concat());
    rig.access(1, &p::fence(FENCE + 64, 2));
    rig.run_to_idle();
    assert_eq!((rig.access_exception(0), rig.access_exception(1)), (2, 0));
    assert_eq!(rig.read(ACCESS + 0x83), 0, "the read pointer stays on the program");
    let vectors = rig.take_vectors();
    let told = faults(&vectors);
    assert_eq!((told.len(), told[0].page, told[0].retry), (1, BASE / 4096 + 5, false));
    assert!(vectors.iter().any(|v| v[0] == 0x8400_f70a && v[4] == 2), "{vectors:x?}");
    // Client 49 wrote.
    assert_eq!(rig.read(reg::FAULT_STATUS) >> 9 & 0x1ff, 49);
    assert_eq!(held(&rig)[(FENCE + 64 - BASE) as usize], 2);
    assert_ne!(held(&rig)[(FENCE - BASE) as usize..][..4], 1u32.to_le_bytes());
    // Off and on again it works.
    rig.access_queue(0, VMID);
    rig.access(0, &p::fence(FENCE, 1));
    rig.run_to_idle();
    assert_eq!(rig.access_exception(0), 0);
    assert_eq!(held(&rig)[(FENCE - BASE) as usize..][..4], 1u32.to_le_bytes());
}

#[test]
fn a_program_without_end_gives_way() {
    let mut rig = rig(ON, &flat(18), |_| true);
    rig.access_queue(1, VMID);
    let endless =
        nest([0x1_0000, 0x1_0000, 1], 0, 0, Operand::affine(A, 0, [0; 3]), Operand::default(), Operand::default());
    rig.access(0, &endless.packet(64));
    rig.access(1, &p::fence(FENCE, 1));
    rig.submit(0, &p::fence(FB + 9 * MIB, 3));
    for _ in 0..4 {
        assert_eq!(rig.gpu.run(), vhost_device_uvm::Progress::More);
    }
    assert!(rig.access_drained(1));
    assert_eq!(rig.peek_vram(9 * MIB, 4), 3u32.to_le_bytes());
    assert!(!rig.access_drained(0));
    let accesses = rig.gpu.counters().accesses;
    assert!(accesses < 4 * 6000, "{accesses} accesses in four turns");
}

#[test]
fn what_no_program_may_say_is_illegal() {
    let good = nest([4, 1, 1], 0, 1, Operand::linear(A), Operand::default(), Operand::linear(D)).packet(4);
    let with = |at: usize, value: u32| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    let hash = |bits| {
        let (from, table, values) = (A, D, 0);
        Program::Hash { insert: false, keys: 1, bits, limit: 1, from, table, values, miss: 0, sum: 0 }.packet(1)
    };
    let chase = |update| {
        let (heads, ends, sum) = (A, 0, 0);
        Program::Chase { update, chains: 1, hops: 1, heads, next: 0, value: 0, imm: 0, ends, sum }.packet(1)
    };
    for (what, packet) in [
        ("an opcode", vec![0x44]),
        ("SDMA's copy", p::copy(A, D, 4)),
        ("a sub-opcode", with(0, 0x140)),
        ("a header's bit", with(0, 0x40 | 1 << 24)),
        ("a control bit", with(1, 2 | 1 << 8 | 1 << 17)),
        ("a function", with(1, 2 | 13 << 4 | 1 << 8)),
        ("an update", with(1, 2 | 2 << 8)),
        ("compare and swap", with(1, 2 | 8 << 8)),
        ("an atomic of two bytes", with(1, 1 | 0x0f << 8)),
        ("too many iterations", with(3, 0x4000_0001)),
        ("a pattern", with(13, 5)),
        ("a pattern's bit", with(13, 1 | 1 << 5)),
        ("A by A", with(13, 4)),
        ("random of nothing", with(13, 3)),
        ("an update without D", with(37, 0)),
        ("D without an update", with(1, 2)),
        ("a table without a slot", hash(0)),
        ("a table too large", hash(33)),
        ("a chain that stores", chase(1)),
        ("a program cut short", good[..44].to_vec()),
    ] {
        let mut rig = rig(ON, &flat(19), |_| true);
        rig.access(0, &packet);
        rig.run_to_idle();
        assert_eq!(rig.access_exception(0), 1, "{what}");
        assert_eq!(rig.gpu.counters().accesses, 0, "{what}");
    }
    compare(flat(19), &[nest([4, 1, 1], 0, 1, Operand::linear(A), Operand::default(), Operand::linear(D))], 4);
}

#[test]
fn a_halted_engine_waits() {
    let mut rig = rig(ON, &flat(21), |_| true);
    rig.gpu.mmio_write(ACCESS + 0x2a, 1);
    rig.access(0, &p::fence(FENCE, 9));
    rig.run_to_idle();
    assert!(!rig.access_drained(0));
    rig.gpu.mmio_write(ACCESS + 0x2a, 0);
    rig.run_to_idle();
    assert!(rig.access_drained(0));
}

#[test]
fn an_injected_hang_stands_until_the_queue_is_reset() {
    let mut rig = rig(ON, &flat(22), |_| true);
    rig.gpu.inject("hang:ring=access.q0,after=1".parse().unwrap());
    rig.access(0, &[p::fence(FENCE, 1), p::fence(FENCE, 2)].concat());
    rig.run_to_idle();
    assert_eq!(held(&rig)[(FENCE - BASE) as usize], 1);
    assert_eq!(rig.gpu.view_rings().iter().find(|r| r.instance == 2).unwrap().state, "hung");
    rig.access_queue(0, VMID);
    rig.access(0, &p::fence(FENCE, 3));
    rig.run_to_idle();
    assert_eq!(held(&rig)[(FENCE - BASE) as usize], 3);
}

#[test]
fn a_doorbell_starts_its_queue_and_a_wrong_one_is_told() {
    let mut rig = rig(ON, &flat(23), |_| true);
    rig.write(0xde0, 1);
    rig.write(0xef3, (0x114 * 2) << 2 | 8 << 16);
    rig.gpu.mmio_write(ACCESS + 0xab, (0x114 * 2) << 2);
    rig.gpu.mmio_write(ACCESS + 0x92, 1 << 28);
    rig.access(0, &[]);
    for (at, dw) in p::fence(FENCE, 0x77).iter().enumerate() {
        rig.poke_vram(13 * MIB + 64 * 4096 + 4 * at as u64, &dw.to_le_bytes());
    }
    rig.gpu.doorbell(0x114, 16);
    rig.run_to_idle();
    assert_eq!(held(&rig)[(FENCE - BASE) as usize], 0x77);
    rig.gpu.doorbell(0x115, 16);
    assert_eq!(rig.take_vectors(), [[0x8000_f40a, 0, 0, 0, 0x115, 0, 0, 0]]);
}

#[test]
fn the_rules_find_nothing_in_ordinary_use() {
    let mut rig = rig(ON | RETRY, &flat(24), |page| page != 3);
    rig.gpu.set_checks(true);
    rig.cam_on();
    for vmid in [1, 4, 15] {
        // The checker saw nothing of the bring-up.
        rig.invalidate(1, 1 << vmid);
    }
    let before = rig.gpu.findings().len();
    rig.access(0, &page_a_lane(16, 1).packet(16));
    rig.settle();
    for fault in faults(&rig.take_vectors()) {
        rig.set_pte(VMID, fault.page, entry(fault.page - BASE / 4096));
        rig.invalidate(1, 1 << VMID);
        rig.answer(fault.cam);
    }
    rig.run_to_idle();
    assert!(rig.access_drained(0));
    assert_eq!(rig.gpu.findings()[before..], []);
    // A queue's VMID that changes its tables while it works is told.
    rig.access(0, &nest([4096, 16, 16], 0, 0, Operand::linear(A), Operand::default(), Operand::default()).packet(8));
    rig.gpu.run();
    rig.write(reg::PT_BASE + 2 * VMID as u32, 0x1001);
    assert!(rig.gpu.findings().iter().any(|f| f.rule.name() == "base_changed_while_active"));
}
