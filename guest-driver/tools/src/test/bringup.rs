// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `bringup`: what a driver author tries first. Registers, apertures, GART, rings and each packet, interrupts,
//! faults.

use super::case::{Case, Run};

mod faults;
mod memory;
mod packets;
mod registers;
mod waiting;

const fn once(name: &'static str, run: fn(&super::Ctx) -> anyhow::Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

const fn ring(name: &'static str, run: fn(&super::Ctx, u32) -> anyhow::Result<()>) -> Case {
    Case { name, run: Run::PerRing(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("params_are_sane", registers::params_are_sane),
    once("memory_size_register_tells_vram", registers::memory_size_register_tells_vram),
    once("scratch_registers_hold_patterns", registers::scratch_registers_hold_patterns),
    once("scratch_registers_are_distinct", registers::scratch_registers_are_distinct),
    once("read_only_registers_ignore_writes", registers::read_only_registers_ignore_writes),
    once("undefined_registers_read_zero", registers::undefined_registers_read_zero),
    once("unused_registers_have_reset_values", registers::unused_registers_have_reset_values),
    once("fields_keep_only_their_bits", registers::fields_keep_only_their_bits),
    once("mm_index_reaches_registers", registers::mm_index_reaches_registers),
    once("pcie_index_reaches_registers", registers::pcie_index_reaches_registers),
    once("register_index_past_the_end_is_refused", registers::register_index_past_the_end_is_refused),
    once("mm_index_reaches_vram", memory::mm_index_reaches_vram),
    once("fb_aperture_reaches_vram", memory::fb_aperture_reaches_vram),
    once("gart_address_reaches_system_pages", memory::gart_address_reaches_system_pages),
    once("unbound_gart_entries_are_the_dummy_page", memory::unbound_gart_entries_are_the_dummy_page),
    once("freed_gart_range_no_longer_reaches_its_pages", memory::freed_gart_range_no_longer_reaches_its_pages),
    ring("nop", packets::nop),
    ring("copy_linear", packets::copy_linear),
    ring("write_linear", packets::write_linear),
    ring("const_fill", packets::const_fill),
    ring("fence", packets::fence),
    ring("atomics", packets::atomics),
    ring("atomic_keeps_the_old_value", packets::atomic_keeps_the_old_value),
    ring("ptepde_generates_entries", packets::ptepde_generates_entries),
    ring("cond_exe", packets::cond_exe),
    ring("srbm_write", packets::srbm_write),
    ring("random_packets_match_the_model", packets::random_packets_match_the_model),
    ring("longest_submission", packets::longest_submission),
    ring("ring_wraps_around", packets::ring_wraps_around),
    ring("timestamps_grow", waiting::timestamps_grow),
    ring("timestamp_can_be_set", waiting::timestamp_can_be_set),
    ring("poll_memory_waits", waiting::poll_memory_waits),
    ring("poll_register_waits", waiting::poll_register_waits),
    ring("poll_functions_compare", waiting::poll_functions_compare),
    ring("poll_gives_up_after_its_retries", waiting::poll_gives_up_after_its_retries),
    ring("waiting_ring_leaves_the_other_running", waiting::waiting_ring_leaves_the_other_running),
    ring("traps_interrupt", waiting::traps_interrupt),
    ring("fences_are_counted", waiting::fences_are_counted),
    ring("device_counts_what_it_does", waiting::device_counts_what_it_does),
    ring("interrupt_ring_overflows_and_goes_on", waiting::interrupt_ring_overflows_and_goes_on),
    ring("many_submissions_in_flight", waiting::many_submissions_in_flight),
    ring("unmapped_read_is_reported", faults::unmapped_read_is_reported),
    ring("unmapped_write_is_reported", faults::unmapped_write_is_reported),
    ring("reserved_opcode_fails_alone", faults::reserved_opcode_fails_alone),
    ring("reserved_sub_opcode_fails_alone", faults::reserved_sub_opcode_fails_alone),
    ring("packet_past_the_end_fails_alone", faults::packet_past_the_end_fails_alone),
    ring("indirect_buffer_in_itself_fails_alone", faults::indirect_buffer_in_itself_fails_alone),
    ring("endless_poll_is_ended", faults::endless_poll_is_ended),
];
