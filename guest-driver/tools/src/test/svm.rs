// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `svm`: the device works on the process's own memory, with the process's own pointers.

use anyhow::{ensure, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use super::case::{refused, same, same_bytes, stamps, Case, Ctx, Run, PATIENCE};
use crate::drm::{Bo, Device, Domain, FenceState, Mapping, Mirror, RW};
use crate::ib::{Ib, Place};

mod atomics;
mod batches;
mod beside;
mod changes;
pub(super) mod heuristics;
mod kept;
mod places;
mod rest;

pub use beside::worker;
pub use rest::Rest;

/// First argument of a worker process.
pub const WORKER: &str = "--svm-worker";

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

const fn ring(name: &'static str, run: fn(&Ctx, u32) -> Result<()>) -> Case {
    Case { name, run: Run::PerRing(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    ring("pointers_of_the_process_are_all_it_takes", pointers_of_the_process_are_all_it_takes),
    once("mirror_is_made_once_and_with_right_arguments", mirror_is_made_once_and_with_right_arguments),
    once("binds_and_mirrored_memory_keep_apart", binds_and_mirrored_memory_keep_apart),
    once("unmapped_memory_is_out_of_reach", changes::unmapped_memory_is_out_of_reach),
    once(
        "nothing_is_written_that_the_process_may_only_read",
        changes::nothing_is_written_that_the_process_may_only_read,
    ),
    once("memory_is_followed_to_another_address", changes::memory_is_followed_to_another_address),
    once("thrown_away_memory_reads_as_zeros", changes::thrown_away_memory_reads_as_zeros),
    once("forked_child_has_memory_of_its_own", changes::forked_child_has_memory_of_its_own),
    once("huge_pages_come_apart", changes::huge_pages_come_apart),
    once("files_are_written_where_they_are_shared", changes::files_are_written_where_they_are_shared),
    once("huge_pages_of_a_pool_are_used", changes::huge_pages_of_a_pool_are_used),
    once("huge_pages_are_made_and_split_under_the_device", kept::huge_pages_are_made_and_split_under_the_device),
    once("file_is_cut_off_while_the_device_reads", kept::file_is_cut_off_while_the_device_reads),
    once("unbound_device_leaves_mirrored_memory_behind", kept::unbound_device_leaves_mirrored_memory_behind),
    once("driver_stays_while_it_mirrors", beside::driver_stays_while_it_mirrors),
    once("every_way_of_replay_serves", beside::every_way_of_replay_serves),
    once("mirror_serves_its_own_process_alone", beside::mirror_serves_its_own_process_alone),
    once("processes_at_the_same_addresses_keep_apart", beside::processes_at_the_same_addresses_keep_apart),
    once("process_may_be_killed_at_any_point", beside::process_may_be_killed_at_any_point),
    once("device_reads_what_the_cpu_wrote_last", beside::device_reads_what_the_cpu_wrote_last),
    once("queue_runs_on_pointers_and_stops_alone", beside::queue_runs_on_pointers_and_stops_alone),
    once("unmapped_memory_costs_nothing_for_long", beside::unmapped_memory_costs_nothing_for_long),
    once("memory_goes_to_vram_and_comes_back", places::memory_goes_to_vram_and_comes_back),
    once("memory_that_nobody_touched_begins_in_vram", places::memory_that_nobody_touched_begins_in_vram),
    once("advice_is_followed_and_told", places::advice_is_followed_and_told),
    once("what_happens_is_recorded", places::what_happens_is_recorded),
    once("density_removes_most_faults", heuristics::density_removes_most_faults),
    once("switched_off_nothing_moves", heuristics::switched_off_nothing_moves),
    once("path_is_learnt", heuristics::path_is_learnt),
    once("page_that_both_want_is_pinned", heuristics::page_that_both_want_is_pinned),
    once("more_than_vram_goes_round", heuristics::more_than_vram_goes_round),
    once("atomics_of_cpu_and_device_lose_nothing", atomics::atomics_of_cpu_and_device_lose_nothing),
    once("atomics_on_plain_pages_would_lose", atomics::atomics_on_plain_pages_would_lose),
    once("processes_count_together", atomics::processes_count_together),
    once("forked_child_counts_for_itself", atomics::forked_child_counts_for_itself),
    once("memory_goes_while_atomics_run", atomics::memory_goes_while_atomics_run),
    once("process_is_killed_amid_atomics", atomics::process_is_killed_amid_atomics),
    once("memory_at_rest_is_left_alone", rest::memory_at_rest_is_left_alone),
    once("machine_sleeps_without_the_device", rest::machine_sleeps_without_the_device),
    once("faults_are_served_256_at_a_time", batches::faults_are_served_256_at_a_time),
];

/// What needs a disk, of suite `swap`.
pub const SWAP: &[Case] =
    &[once("memory_on_the_disk_has_what_the_device_wrote", kept::memory_on_the_disk_has_what_the_device_wrote)];

const PAGE: usize = 4096;

/// A client that mirrors this process.
fn mirror(ctx: &Ctx) -> Result<Mirror> {
    Ok(Mirror::new(&ctx.device()?)?)
}

/// A copy inside the process's memory, by the device.
fn copy(from: u64, to: u64, bytes: usize) -> Ib {
    let mut ib = Ib::new();
    ib.copy(Place::Raw(from), Place::Raw(to), bytes as u64);
    ib
}

/// Runs packets; they must end well.
fn run(mirror: &Mirror, ring: u32, ib: &Ib) -> Result<()> {
    same("the submission", mirror.run(ring, ib, PATIENCE)?, FenceState::Done)?;
    ensure!(mirror.device().fault()?.is_none(), "a fault is told");
    Ok(())
}

/// All bytes of a mapping from `offset`.
fn bytes(map: &Mapping, offset: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    map.read(offset, &mut bytes);
    bytes
}

fn pointers_of_the_process_are_all_it_takes(ctx: &Ctx, ring: u32) -> Result<()> {
    const PAGES: usize = 5;
    let mirror = mirror(ctx)?;
    let before = mirror.device().param(uapi::PARAM_SVM_FAULTS)?;
    // From the allocator, wherever it takes it from, and of no alignment.
    let data = stamps(3, PAGES * PAGE - 24);
    let (from, to) = (Mapping::private((PAGES + 1) * PAGE)?, Mapping::private((PAGES + 1) * PAGE)?);
    let boxed = data.clone().into_boxed_slice();
    run(&mirror, ring, &copy(boxed.as_ptr().addr() as u64, from.va() + 8, data.len()))?;
    same_bytes("what was read of the heap", &bytes(&from, 8, data.len()), &data)?;
    run(&mirror, ring, &copy(from.va() + 8, to.va() + 16, data.len()))?;
    same_bytes("what was copied on", &bytes(&to, 16, data.len()), &data)?;
    ensure!(mirror.device().param(uapi::PARAM_SVM_FAULTS)? > before, "no fault was served");
    // The CPU writes where the device has read, and once more.
    let data = stamps(4, data.len());
    from.write(8, &data);
    run(&mirror, ring, &copy(from.va() + 8, to.va() + 16, data.len()))?;
    same_bytes("what was copied the second time", &bytes(&to, 16, data.len()), &data)
}

fn mirror_is_made_once_and_with_right_arguments(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    refused("a flag", device.mirror_raw(&mut uapi::SvmConfig { flags: 1, pad: 0 }), &[Errno::INVAL])?;
    refused("padding", device.mirror_raw(&mut uapi::SvmConfig { flags: 0, pad: 1 }), &[Errno::INVAL])?;
    device.mirror()?;
    refused("a second mirror", device.mirror(), &[Errno::BUSY])?;
    // Another client of the same process.
    let other = Device::open()?;
    other.mirror()?;
    for client in [&device, &other] {
        let (mirror, page) = (Mirror::of(client)?, Mapping::private(PAGE)?);
        run(&mirror, 0, Ib::new().fence(Place::Raw(page.va() + 8), 7))?;
        same("what a client wrote", page.load(8), 7)?;
    }
    Ok(())
}

fn binds_and_mirrored_memory_keep_apart(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let page = Mapping::private(PAGE)?;
    run(&mirror, 0, Ib::new().fence(Place::Raw(page.va()), 1))?;
    let bo = Bo::new(device, PAGE as u64, Domain::Vram)?;
    refused("a bind over memory", device.bind(page.va(), &bo, 0, PAGE as u64, RW), &[Errno::EXIST])?;
    refused("an unbind of memory", device.unbind(page.va(), PAGE as u64), &[Errno::EXIST])?;
    // Far from all memory of the process.
    let va = 1 << 34;
    device.bind(va, &bo, 0, PAGE as u64, RW)?;
    let mut ib = Ib::new();
    ib.write(Place::Raw(va), &[5, 6]).copy(Place::Raw(va), Place::Raw(page.va() + 8), 8);
    run(&mirror, 1, &ib)?;
    same("what went through a buffer", page.load(8), 6 << 32 | 5)?;
    device.unbind(va, PAGE as u64)?;
    Ok(())
}
