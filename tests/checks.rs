// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Wrong driver sequences, each caught by name; and right ones, in which nothing is found.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::model::SDMA;
use common::spaces::{faults, CAM_SLOT, FREE, ON, RETRY};
use common::{bit, packets as p, reg, Rig, DATA, DUMMY, GART, MIB, RING_BYTES, WRITE_BACK};

const SNOOPED: u64 = 4;
const TMZ: u64 = 8;
/// Reference clocks of a second.
const SECOND: u64 = 100_000_000;
/// First GART page of DATA.
const DATA_PAGE: u64 = (DATA - GART) >> 12;

fn ram(n: u64) -> u64 {
    (1 << 32) + 64 * 4096 + n * 4096
}
fn va(page: u64) -> u64 {
    page << 12
}
/// A device that a driver brought up, checked from then on.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.gpu.set_checks(true);
    rig
}
/// A device after power-on, checked.
fn bare() -> Rig {
    let mut rig = Rig::bare();
    rig.gpu.set_checks(true);
    rig
}
fn names(rig: &Rig) -> Vec<&'static str> {
    rig.gpu.findings().iter().map(|f| f.rule.name()).collect()
}
/// `rule` was found and nothing else; what it says names `where_`.
fn only(rig: &Rig, rule: &str, where_: &str) {
    let found = rig.gpu.findings();
    assert!(!found.is_empty() && found.iter().all(|f| f.rule.name() == rule), "{rule} expected, found {found:?}");
    assert!(found.iter().any(|f| f.what.contains(where_)), "{where_} expected in {found:?}");
}
fn none(rig: &Rig) {
    assert_eq!(names(rig), [""; 0], "{:?}", rig.gpu.findings());
}
/// Turns VMID 3 on as a driver does, high dwords included.
fn space(rig: &mut Rig, cntl: u32) {
    for register in [reg::PT_BASE, reg::PT_START, reg::PT_END] {
        rig.write(register + 7, 0);
    }
    rig.space(3, cntl);
}
/// Invalidates VMID 0 as a driver does.
fn flush(rig: &mut Rig) {
    rig.invalidate(17, 1);
}

#[test]
fn a_right_driver_is_left_in_peace() {
    let mut rig = rig();
    rig.map(DATA_PAGE, ram(0) | bit::RAM);
    rig.map(DATA_PAGE + 1, ram(1) | bit::RAM);
    flush(&mut rig);
    for value in 1..20 {
        rig.execute(0, &[p::copy(DATA + 4096, DATA, 4096), p::fence(WRITE_BACK + 64, value), p::trap(0)].concat());
        rig.take_vectors();
    }
    // The page goes, the VMID passes to another space: each with its invalidation.
    rig.map(DATA_PAGE, ram(2) | bit::RAM);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA, 1));
    space(&mut rig, ON);
    rig.set_pte(3, FREE, ram(3) | bit::RAM);
    rig.invalidate(16, 1 << 3);
    rig.queue(0, 2, 3);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
    rig.settle();
    rig.write(reg::PT_BASE + 6, common::spaces::table(4) as u32 | 1);
    rig.invalidate(16, 1 << 3);
    none(&rig);
}

#[test]
fn pages_of_one_fragment_are_left_in_peace() {
    let mut rig = rig();
    // Two pages that translate alike and say so.
    let fragment = 1 << 7;
    for page in 0..2 {
        rig.map(DATA_PAGE + page, ram(page) | bit::RAM | fragment);
    }
    flush(&mut rig);
    rig.submit(0, &p::poll_mem(DATA + 4096, 3, 1, u32::MAX, 10, 0xfff));
    rig.settle();
    rig.submit(1, &[p::fence(DATA, 1), p::fence(DATA + 4096, 1)].concat());
    rig.run_to_idle();
    rig.execute(0, &p::fence(DATA + 4096, 2));
    none(&rig);
}

#[test]
fn a_stale_translation_is_caught() {
    let mut rig = rig();
    rig.map(DATA_PAGE, ram(0) | bit::RAM);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA, 1));
    rig.map(DATA_PAGE, ram(1) | bit::RAM);
    none(&rig);
    rig.execute(0, &p::fence(DATA, 2));
    only(&rig, "stale_translation", &format!("{DATA:#x}"));
}
#[test]
fn a_stale_translation_with_the_wrong_page_invalidated_is_caught() {
    let mut rig = rig();
    rig.map(DATA_PAGE, ram(0) | bit::RAM);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA, 1));
    rig.map(DATA_PAGE, ram(1) | bit::RAM);
    rig.invalidate_range(17, 1, ((DATA >> 12) + 1) << 1);
    rig.execute(0, &p::fence(DATA, 2));
    only(&rig, "stale_translation", "SDMA0 GFX");
}
#[test]
fn a_stale_translation_with_a_cache_left_out_is_caught() {
    let mut rig = rig();
    rig.map(DATA_PAGE, ram(0) | bit::RAM);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA, 1));
    rig.map(DATA_PAGE, ram(1) | bit::RAM);
    // Every cache but the L1.
    rig.write(reg::MM + 0x6e3 + 17, 1 | 0xf << 18);
    assert_eq!(rig.read(reg::MM + 0x6f5 + 17) & 1, 1);
    rig.execute(0, &p::fence(DATA, 2));
    only(&rig, "stale_translation", "SDMA0 GFX");
}
#[test]
fn a_vmid_reused_without_a_flush_is_caught() {
    let mut rig = rig();
    space(&mut rig, ON);
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.invalidate(16, 1 << 3);
    rig.queue(0, 2, 3);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
    rig.settle();
    for page in 0..=FREE {
        let entry = rig.peek_vram(common::spaces::table(3) + 8 * page, 8);
        rig.poke_vram(common::spaces::table(5) + 8 * page, &entry);
    }
    rig.write(reg::PT_BASE + 6, common::spaces::table(5) as u32 | 1);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 2));
    rig.settle();
    only(&rig, "vmid_reused_without_flush", "VMID 3");
}
#[test]
fn a_page_table_base_changed_while_a_ring_works_in_it_is_caught() {
    let mut rig = rig();
    space(&mut rig, ON);
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.invalidate(16, 1 << 3);
    rig.queue(0, 2, 3);
    rig.enqueue(0, 2, 3, &p::poll_mem(va(FREE), 3, 1, u32::MAX, 10, 0xfff));
    rig.settle();
    rig.write(reg::PT_BASE + 6, common::spaces::table(5) as u32 | 1);
    only(&rig, "base_changed_while_active", "VMID 3");
}
#[test]
fn an_entry_to_nowhere_is_caught() {
    let mut rig = rig();
    rig.map(DATA_PAGE, 0x8000_0000 | bit::RAM);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA, 1));
    assert!(names(&rig).contains(&"entry_to_nowhere"));
}
#[test]
fn an_access_that_the_dummy_page_in_the_table_saved_is_caught() {
    let mut rig = rig();
    rig.execute(0, &p::fence(DATA, 1));
    only(&rig, "dummy_page_saved", &format!("{DATA:#x}"));
}
#[test]
fn an_access_that_the_default_page_saved_is_caught() {
    let mut rig = rig();
    space(&mut rig, ON);
    rig.invalidate(16, 1 << 3);
    rig.queue(0, 2, 3);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
    rig.settle();
    only(&rig, "dummy_page_saved", "default page");
}
#[test]
fn a_table_entry_changed_under_a_packet_is_caught() {
    let mut rig = rig();
    rig.map(DATA_PAGE, ram(0) | bit::RAM);
    flush(&mut rig);
    rig.submit(0, &p::poll_mem(DATA, 3, 1, u32::MAX, 10, 0xfff));
    rig.settle();
    rig.map(DATA_PAGE, ram(1) | bit::RAM);
    rig.clock.advance(SECOND / 100);
    rig.settle();
    only(&rig, "entry_changed_in_flight", &format!("{DATA:#x}"));
}
/// A packet polls a page. The page goes: the entry is cleared, and before the invalidation the old one is in use.
fn polled_page_goes(cntl: u32) -> Rig {
    let mut rig = rig();
    space(&mut rig, cntl);
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.invalidate(16, 1 << 3);
    rig.queue(0, 2, 3);
    rig.enqueue(0, 2, 3, &p::poll_mem(va(FREE), 3, 1, u32::MAX, 10, 0xfff));
    rig.settle();
    rig.set_pte(3, FREE, 0);
    rig.clock.advance(SECOND / 100);
    rig.settle();
    rig
}
#[test]
fn a_table_entry_changes_under_a_packet_whose_faults_are_retried() {
    for (cntl, found) in [(ON | RETRY, 0), (ON, 1)] {
        let rig = polled_page_goes(cntl);
        assert_eq!(names(&rig), vec!["entry_changed_in_flight"; found]);
    }
}
#[test]
fn a_stale_translation_is_caught_where_faults_are_retried() {
    for invalidated in [true, false] {
        let mut rig = polled_page_goes(ON | RETRY);
        none(&rig);
        if invalidated {
            rig.set_pte(3, FREE, ram(1) | bit::RAM);
            rig.invalidate(16, 1 << 3);
        }
        rig.clock.advance(4 * SECOND);
        rig.settle();
        match invalidated {
            true => none(&rig),
            false => only(&rig, "stale_translation", "the table denies it"),
        }
    }
}
#[test]
fn a_ring_overrun_is_caught() {
    let mut rig = rig();
    rig.model.engines[0].wptr += RING_BYTES + 4;
    rig.kick(0);
    only(&rig, "ring_overrun", "SDMA0 GFX");
}
#[test]
fn a_write_pointer_that_goes_backwards_is_caught() {
    let mut rig = rig();
    rig.execute(0, &p::nop(7));
    rig.model.engines[0].wptr -= 8;
    rig.kick(0);
    only(&rig, "wptr_backwards", "SDMA0 GFX");
}
#[test]
fn a_doorbell_on_a_disabled_ring_is_caught() {
    let mut rig = rig();
    rig.write(0xde0, 1);
    rig.write(0xef0, (0xf0 * 2) << 2 | 4 << 16);
    rig.write(SDMA[0] + 0xab, (0xf0 * 2) << 2);
    rig.write(SDMA[0] + 0x92, 1 << 28);
    rig.write(SDMA[0] + reg::RB_CNTL, 0);
    rig.gpu.doorbell(0xf0, 4);
    only(&rig, "doorbell_on_disabled_ring", "0xf0");
}
#[test]
fn a_doorbell_for_nobody_is_caught() {
    let mut rig = rig();
    rig.gpu.doorbell(0x33, 4);
    only(&rig, "doorbell_for_nobody", "0x33");
}
#[test]
fn work_for_a_halted_engine_is_caught() {
    let mut rig = rig();
    rig.write(SDMA[1] + reg::F32_CNTL, 1);
    rig.submit(1, &p::nop(0));
    rig.clock.advance(11 * SECOND);
    rig.read(reg::FAULT_STATUS);
    only(&rig, "submitted_to_halted_engine", "SDMA1 GFX");
}
#[test]
fn work_for_an_engine_that_is_halted_for_a_while_is_no_mistake() {
    let mut rig = rig();
    rig.write(SDMA[1] + reg::F32_CNTL, 1);
    rig.submit(1, &p::nop(0));
    rig.clock.advance(SECOND);
    rig.write(SDMA[1] + reg::F32_CNTL, 0);
    rig.clock.advance(11 * SECOND);
    rig.read(reg::FAULT_STATUS);
    none(&rig);
}
#[test]
fn an_illegal_packet_is_caught() {
    let mut rig = rig();
    rig.execute(1, &[0xff]);
    only(&rig, "illegal_packet", "SDMA1 GFX");
}
#[test]
fn a_fence_that_goes_backwards_is_caught() {
    let mut rig = rig();
    rig.execute(0, &[p::fence(WRITE_BACK + 64, 7), p::fence(WRITE_BACK + 64, 6)].concat());
    only(&rig, "fence_backwards", "0x7 to 0x6");
}
#[test]
fn a_fence_that_wraps_is_left_in_peace() {
    let mut rig = rig();
    rig.execute(0, &[p::fence(WRITE_BACK + 64, u32::MAX), p::fence(WRITE_BACK + 64, 0)].concat());
    none(&rig);
}
#[test]
fn reserved_bits_are_caught() {
    let mut rig = rig();
    rig.write(SDMA[0] + reg::IB_CNTL, 1 | 1 << 30);
    only(&rig, "reserved_bits_set", "SDMA0_GFX_IB_CNTL");
}
#[test]
fn a_write_to_a_read_only_register_is_caught() {
    let mut rig = rig();
    rig.write(reg::FAULT_STATUS, 0);
    only(&rig, "read_only_written", "VM_L2_PROTECTION_FAULT_STATUS");
}
#[test]
fn a_read_of_an_undefined_register_is_caught() {
    let mut rig = rig();
    rig.read(0x1_ff00);
    only(&rig, "undefined_register", "read of index 0x1ff00");
}
#[test]
fn a_write_of_an_undefined_register_is_caught() {
    let mut rig = rig();
    rig.write(0x1_ff00, 1);
    only(&rig, "undefined_register", "write of 0x1 to index 0x1ff00");
}
#[test]
fn a_ring_without_a_base_is_caught() {
    let mut rig = bare();
    for offset in [0x82, 0x83, 0x84, 0x85, 0x86] {
        rig.write(SDMA[0] + offset, 0);
    }
    rig.write(SDMA[0] + reg::RB_CNTL, common::RB_ON);
    only(&rig, "reset_value_dependence", "SDMA0_GFX_RB_BASE has");
}
#[test]
fn a_context_without_a_table_is_caught() {
    let mut rig = bare();
    for offset in 0..2 {
        rig.write(reg::PT_START + 6 + offset, 0);
        rig.write(reg::PT_END + 6 + offset, 0);
    }
    rig.write(reg::CONTEXT0 + 3, 1);
    only(&rig, "reset_value_dependence", "VM_CONTEXT_PAGE_TABLE_BASE_ADDR_6");
}
#[test]
fn an_invalidation_without_a_range_is_caught() {
    let mut rig = bare();
    rig.write(reg::MM + 0x6e3 + 4, 1 | 0x1f << 18);
    only(&rig, "reset_value_dependence", "VM_INVALIDATE_ENG_ADDR_RANGE_8");
}
#[test]
fn a_request_before_the_last_acknowledge_is_caught() {
    let mut rig = rig();
    rig.write(reg::MM + 0x707 + 8, u32::MAX);
    rig.write(reg::MM + 0x707 + 9, 0x1f);
    rig.write(reg::MM + 0x6e3 + 4, 1 | 0x1f << 18);
    none(&rig);
    rig.write(reg::MM + 0x6e3 + 4, 1 | 0x1f << 18);
    only(&rig, "ack_not_awaited", "VM_INVALIDATE_ENG4_REQ");
}
#[test]
fn a_semaphore_that_is_never_released_is_caught() {
    let mut rig = rig();
    assert_eq!(rig.read(reg::MM + 0x6d1 + 4), 1);
    rig.clock.advance(11 * SECOND);
    rig.read(reg::FAULT_STATUS);
    only(&rig, "semaphore_never_released", "VM_INVALIDATE_ENG4_SEM");
}
#[test]
fn a_copy_of_encrypted_bytes_to_a_clear_page_is_caught() {
    let mut rig = rig();
    rig.map(DATA_PAGE, (8 * MIB) | bit::VRAM | TMZ);
    rig.map(DATA_PAGE + 1, (8 * MIB + 4096) | bit::VRAM | TMZ);
    rig.map(DATA_PAGE + 2, ram(0) | bit::RAM);
    flush(&mut rig);
    rig.execute(0, &p::copy(DATA + 4096, DATA, 4096));
    none(&rig);
    rig.execute(0, &p::copy(DATA + 8192, DATA, 4096));
    only(&rig, "tmz_copied_to_clear", &format!("{DATA:#x}"));
}
#[test]
fn a_write_through_a_snooped_and_an_unsnooped_mapping_is_caught() {
    let mut rig = rig();
    rig.map(DATA_PAGE, ram(0) | bit::RAM | SNOOPED);
    rig.map(DATA_PAGE + 1, ram(0) | bit::RAM);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA, 1));
    none(&rig);
    rig.execute(0, &p::fence(DATA + 4096, 1));
    only(&rig, "snoop_alias", &format!("{:#x}", ram(0)));
}
#[test]
fn a_page_may_be_mapped_otherwise_once_its_mapping_was_invalidated() {
    let mut rig = rig();
    rig.map(DATA_PAGE, ram(0) | bit::RAM);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA, 1));
    rig.map(DATA_PAGE, ram(1) | bit::RAM | SNOOPED);
    rig.map(DATA_PAGE + 1, ram(0) | bit::RAM | SNOOPED);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA + 4096, 1));
    none(&rig);
}
#[test]
fn a_space_that_lies_idle_with_another_way_to_a_page_is_no_fault_before_it_is_used_again() {
    let mut rig = rig();
    space(&mut rig, ON);
    rig.set_pte(3, FREE, ram(0) | bit::RAM | SNOOPED);
    rig.invalidate(16, 1 << 3);
    rig.queue(0, 2, 3);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
    rig.settle();
    rig.map(DATA_PAGE, ram(0) | bit::RAM);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA, 2));
    none(&rig);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 3));
    rig.settle();
    only(&rig, "snoop_alias", &format!("{:#x}", ram(0)));
}
#[test]
fn use_of_vram_after_it_was_freed_is_caught() {
    let mut rig = rig();
    rig.map(DATA_PAGE, (8 * MIB) | bit::VRAM);
    flush(&mut rig);
    rig.execute(0, &p::fence(DATA, 1));
    annotate(&mut rig, 8 * MIB, 64 << 10, 1);
    none(&rig);
    rig.execute(0, &p::fence(DATA, 2));
    only(&rig, "vram_used_after_free", "0x800000+0x10000");
}
#[test]
fn vram_that_was_allocated_again_may_be_used() {
    let mut rig = rig();
    rig.map(DATA_PAGE, (8 * MIB) | bit::VRAM);
    flush(&mut rig);
    annotate(&mut rig, 8 * MIB, 64 << 10, 1);
    annotate(&mut rig, 8 * MIB, 4096, 2);
    rig.execute(0, &p::fence(DATA, 1));
    none(&rig);
}
fn annotate(rig: &mut Rig, first: u64, len: u64, op: u32) {
    for (n, value) in [first, first >> 32, len, len >> 32].into_iter().enumerate() {
        rig.write(0x1e004 + n as u32, value as u32);
    }
    rig.write(0x1e000, op);
}
#[test]
fn interrupts_left_unread_are_caught() {
    let mut rig = rig();
    rig.execute(0, &p::trap(1));
    rig.clock.advance(11 * SECOND);
    rig.read(reg::FAULT_STATUS);
    only(&rig, "interrupt_unacknowledged", "IH ring 0");
}
#[test]
fn an_interrupt_ring_that_overflows_is_caught() {
    let mut rig = rig();
    for _ in 0..2100 {
        rig.execute(0, &p::trap(1));
    }
    only(&rig, "ih_overflow", "IH ring 0");
}
#[test]
fn a_retry_fault_that_is_never_answered_is_caught() {
    let mut rig = parked();
    rig.clock.advance(11 * SECOND);
    rig.read(reg::FAULT_STATUS);
    only(&rig, "retry_never_answered", "VMID 3");
}
#[test]
fn a_retry_fault_that_is_answered_twice_is_caught() {
    let mut rig = parked();
    rig.set_pte(3, FREE, ram(0) | bit::RAM);
    rig.answer(0);
    rig.settle();
    none(&rig);
    rig.gpu.doorbell(CAM_SLOT, 0);
    only(&rig, "retry_answered_twice", "entry 0");
}
/// A user queue of VMID 3 waits for a page, and the driver has read so.
fn parked() -> Rig {
    let mut rig = rig();
    rig.cam_on();
    space(&mut rig, ON | RETRY);
    rig.invalidate(16, 1 << 3);
    rig.queue(0, 2, 3);
    rig.enqueue(0, 2, 3, &p::fence(va(FREE), 1));
    rig.settle();
    assert_eq!(faults(&rig.take_vectors()).len(), 1);
    none(&rig);
    rig
}

#[test]
fn what_is_wrong_on_purpose_is_not_told() {
    let mut rig = rig();
    rig.write(0x1e000, 3);
    rig.read(0x1_ff00);
    rig.write(0x1e000, 4);
    none(&rig);
    rig.read(0x1_ff00);
    only(&rig, "undefined_register", "0x1ff00");
}
#[test]
fn a_place_is_told_once_and_counted_each_time() {
    let mut rig = rig();
    for _ in 0..3 {
        rig.read(0x1_ff00);
    }
    assert_eq!(rig.gpu.findings().len(), 1);
    assert_eq!(
        rig.gpu.finding_counts().into_iter().map(|(r, n)| (r.name(), n)).collect::<Vec<_>>(),
        [("undefined_register", 3)]
    );
}
#[test]
fn without_checks_nothing_is_found() {
    let mut rig = Rig::new();
    rig.read(0x1_ff00);
    rig.execute(0, &p::fence(DATA, 1));
    none(&rig);
    let _ = DUMMY;
}
