// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suites `vm` and `faults`: a client's own GPU address space. Mappings, attributes, moves, limits; and what becomes of
//! an access that goes where nothing is.

use anyhow::{ensure, Result};
use uvm_spec::uapi;

use super::case::{same, Case, Ctx, Run, PATIENCE};
use super::reload::with_parameters;
use super::retry;
use crate::drm::{Bo, Device, Domain, FenceState, Space, RW};
use crate::ib::{Ib, Place};

mod arguments;
mod attributes;
mod faults;
mod maps;
mod moves;
mod queued;

pub use queued::{patiently, worker, Gate, WORKER};

const fn once(name: &'static str, run: fn(&super::Ctx) -> anyhow::Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

const fn ring(name: &'static str, run: fn(&super::Ctx, u32) -> anyhow::Result<()>) -> Case {
    Case { name, run: Run::PerRing(run) }
}

/// The cases of `vm`.
pub const CASES: &[Case] = &[
    ring("mapped_memory_is_copied", maps::mapped_memory_is_copied),
    once("one_address_is_anothers_elsewhere", maps::one_address_is_anothers_elsewhere),
    once("one_buffer_lies_at_many_addresses", maps::one_buffer_lies_at_many_addresses),
    once("large_buffer_is_mapped_by_large_blocks", maps::large_buffer_is_mapped_by_large_blocks),
    once("replaced_mapping_takes_effect_at_once", maps::replaced_mapping_takes_effect_at_once),
    once("replaced_middle_leaves_the_ends", maps::replaced_middle_leaves_the_ends),
    once("closed_handle_stays_mapped", maps::closed_handle_stays_mapped),
    once("random_binds_match_the_model", maps::random_binds_match_the_model),
    once("highest_address_works", maps::highest_address_works),
    once("ended_space_leaves_nothing_behind", maps::ended_space_leaves_nothing_behind),
    once("partially_resident_range_reads_zero", attributes::partially_resident_range_reads_zero),
    once("tmz_page_is_clear_to_its_mapping_only", attributes::tmz_page_is_clear_to_its_mapping_only),
    once("memory_types_reach_the_memory", attributes::memory_types_reach_the_memory),
    ring("bound_buffer_goes_round", moves::bound_buffer_goes_round),
    once("system_buffer_is_mapped_where_it_is", moves::system_buffer_is_mapped_where_it_is),
    once("move_waits_for_what_runs_in_the_space", moves::move_waits_for_what_runs_in_the_space),
    once(
        "what_is_bound_beside_a_job_moves_when_the_job_has_ended",
        moves::what_is_bound_beside_a_job_moves_when_the_job_has_ended,
    ),
    once("binds_and_moves_of_one_object_do_not_mix", moves::binds_and_moves_of_one_object_do_not_mix),
    once("bind_waits_for_its_syncobjs", queued::bind_waits_for_its_syncobjs),
    once("submission_waits_for_the_bind", queued::submission_waits_for_the_bind),
    once("binds_are_made_in_their_order", queued::binds_are_made_in_their_order),
    once("queued_binds_match_the_model", queued::queued_binds_match_the_model),
    once("queued_sparse_range_reads_zero", queued::queued_sparse_range_reads_zero),
    once("queued_unmap_keeps_the_buffer_until_then", queued::queued_unmap_keeps_the_buffer_until_then),
    once("move_waits_for_queued_binds", queued::move_waits_for_queued_binds),
    once("thousand_queued_binds_share_invalidations", queued::thousand_queued_binds_share_invalidations),
    once("blocked_space_blocks_no_other", queued::blocked_space_blocks_no_other),
    once("closed_file_ends_its_queued_binds", queued::closed_file_ends_its_queued_binds),
    once("killed_process_leaves_no_queued_binds", queued::killed_process_leaves_no_queued_binds),
    once("queued_bind_fails_with_its_device", queued::queued_bind_fails_with_its_device),
    once("tables_in_system_memory_serve", tables_in_system_memory_serve),
    once("tables_written_by_sdma_serve", tables_written_by_sdma_serve),
    once("wrong_binds_are_refused", arguments::wrong_binds_are_refused),
    once("wrong_submissions_are_refused", arguments::wrong_submissions_are_refused),
];

/// The cases of `faults`.
pub const FAULTS: &[Case] = &[
    ring("unmapped_read_fails_alone", faults::unmapped_read_fails_alone),
    ring("unmapped_write_fails_alone", faults::unmapped_write_fails_alone),
    ring("denied_read_fails_alone", faults::denied_read_fails_alone),
    ring("denied_write_fails_alone", faults::denied_write_fails_alone),
    ring("unmapped_packets_fail_alone", faults::unmapped_packets_fail_alone),
    ring("unmapped_again_fails_alone", faults::unmapped_again_fails_alone),
    ring("endless_poll_is_ended", faults::endless_poll_is_ended),
    once("registers_are_out_of_reach", faults::registers_are_out_of_reach),
    once("faults_are_counted_and_forgotten", faults::faults_are_counted_and_forgotten),
    once("one_guilty_among_innocents", super::vmid::one_guilty_among_innocents),
    ring("missing_page_of_a_write_comes_later", retry::missing_page_of_a_write_comes_later),
    ring("missing_page_of_a_read_comes_later", retry::missing_page_of_a_read_comes_later),
    ring("missing_packets_come_later", retry::missing_packets_come_later),
    once("missing_page_comes_by_a_queued_bind", retry::missing_page_comes_by_a_queued_bind),
    ring("missing_permission_comes_later", retry::missing_permission_comes_later),
    ring("missing_ring_of_a_queue_comes_later", retry::missing_ring_of_a_queue_comes_later),
    ring("page_that_never_comes_fails_its_job_alone", retry::page_that_never_comes_fails_its_job_alone),
    once("long_copy_asks_for_page_after_page", retry::long_copy_asks_for_page_after_page),
    once("retries_switched_off_fail", retry::retries_switched_off_fail),
    once("every_queue_parks_and_each_goes_on_by_itself", retry::every_queue_parks_and_each_goes_on_by_itself),
    once("ten_thousand_faults_are_each_answered_once", retry::ten_thousand_faults_are_each_answered_once),
    once("overflow_loses_no_fault_for_good", retry::overflow_loses_no_fault_for_good),
    once("tables_are_written_while_the_engine_waits", retry::tables_are_written_while_the_engine_waits),
    once("killed_while_parked_leaves_nothing_behind", retry::killed_while_parked_leaves_nothing_behind),
];

/// What needs page tables most.
fn tables_serve(ctx: &Ctx) -> Result<()> {
    maps::large_buffer_is_mapped_by_large_blocks(ctx)?;
    maps::random_binds_match_the_model(ctx)?;
    queued::overlapping_binds(ctx)?;
    maps::ended_space_leaves_nothing_behind(ctx)?;
    attributes::partially_resident_range_reads_zero(ctx)?;
    moves::bound_buffer_goes_round(ctx, 1)?;
    faults::unmapped_again_fails_alone(ctx, 0)?;
    super::vmid::twelve_processes_keep_apart(ctx)
}

fn tables_in_system_memory_serve(ctx: &Ctx) -> Result<()> {
    with_parameters(c"vm_system_tables=1 timeout_ms=60000", || {
        // A space whose tables are elsewhere takes nothing of VRAM.
        let device = ctx.device()?;
        let before = device.param(uapi::PARAM_VRAM_USED)?;
        let space = space(ctx)?;
        same("VRAM that a space takes", device.param(uapi::PARAM_VRAM_USED)?, before)?;
        drop((device, space));
        tables_serve(ctx)
    })
}

fn tables_written_by_sdma_serve(ctx: &Ctx) -> Result<()> {
    with_parameters(c"vm_sdma_updates=1 timeout_ms=60000", || {
        // The engine counts the packets that write the entries of a mapping.
        let space = space(ctx)?;
        let bo = Bo::new(space.device(), PAGE, Domain::Gtt)?;
        let before = space.device().param(uapi::PARAM_DEVICE_PACKETS)?;
        space.device().bind(BASE, &bo, 0, PAGE, RW)?;
        let packets = space.device().param(uapi::PARAM_DEVICE_PACKETS)? - before;
        ensure!(packets > 1, "expected packets for a change of the tables, seen {packets}");
        drop((bo, space));
        tables_serve(ctx)
    })
}

/// Where the packets lie.
const PACKETS: u64 = 0x10_0000;
/// Where the tests map: the smallest space, of 1 GiB, has it too.
const BASE: u64 = 0x1000_0000;
const PAGE: u64 = 4096;

/// How far places of the tests lie apart: 16 MiB in the smallest space, 8 GiB in a large one.
fn stride(device: &Device) -> Result<u64> {
    Ok((vm_size(device)? / 64).min(1 << 33))
}

/// The n-th place of the tests after [`BASE`], of 16.
fn far(device: &Device, n: u64) -> Result<u64> {
    Ok(BASE + n * stride(device)?)
}

/// A client with room for packets.
fn space(ctx: &Ctx) -> Result<Space> {
    Ok(Space::new(&ctx.device()?, PACKETS, 1 << 16)?)
}

/// Runs packets and fails unless they end well.
fn complete(space: &Space, ring: u32, ib: &Ib) -> Result<()> {
    let state = space.run(ring, ib, PATIENCE)?;
    same(format_args!("fence of a submission in the client's space on SDMA {ring}"), state, FenceState::Done)
}

/// Copies within the client's space.
fn copy(space: &Space, ring: u32, from: u64, to: u64, bytes: u64) -> Result<()> {
    let mut ib = Ib::new();
    ib.copy(Place::Raw(from), Place::Raw(to), bytes);
    complete(space, ring, &ib)
}

fn vm_size(device: &Device) -> Result<u64> {
    Ok(device.param(uapi::PARAM_VM_SIZE)?)
}
