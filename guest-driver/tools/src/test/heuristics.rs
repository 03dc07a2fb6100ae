// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `heuristics`: what the policy does about shared memory besides serving faults, each with its switch on and off,
//! seen by where pages are and by the counters.

use anyhow::{ensure, Context, Result};
use uvm_spec::access::{func, update};
use uvm_spec::{uapi, window};

use super::case::{Case, Ctx, Run, Skip, PATIENCE};
use super::svm::heuristics::{counter, Parameter};
use crate::uvm::program::{Operand, Program};
use crate::uvm::{Backing, Memory, Uvm, LANES};

mod advice;
mod both;
mod copies;
mod counters;
mod path;
mod pieces;
mod runs;
mod victims;

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("counted_pages_come_to_vram", counters::counted_pages_come_to_vram),
    once("first_touch_is_remote_where_counters_decide", counters::first_touch_is_remote_where_counters_decide),
    once("each_side_gets_its_slice_and_then_the_page_stays", both::each_side_gets_its_slice_and_then_the_page_stays),
    once("coldest_chunk_leaves_first", victims::coldest_chunk_leaves_first),
    once("preferred_chunk_is_spared", victims::preferred_chunk_is_spared),
    once("what_came_by_turns_leaves_in_few_pieces", runs::what_came_by_turns_leaves_in_few_pieces),
    once("what_came_together_leaves_together", runs::what_came_together_leaves_together),
    once("preferred_location_is_kept", advice::preferred_location_is_kept),
    once("accessed_memory_stays_mapped", advice::accessed_memory_stays_mapped),
    once("granule_is_what_a_fault_brings", advice::granule_is_what_a_fault_brings),
    once("read_mostly_memory_is_near_to_both", copies::read_mostly_memory_is_near_to_both),
    once("group_moves_together_or_not_at_all", advice::group_moves_together_or_not_at_all),
    once("prefetched_memory_does_not_fault", advice::prefetched_memory_does_not_fault),
    once("path_of_pointers_is_learnt", path::path_of_pointers_is_learnt),
    once("memory_in_one_piece_is_translated_as_one", pieces::memory_in_one_piece_is_translated_as_one),
];

const PAGE: u64 = 4096;
const BLOCK: u64 = 2 << 20;

/// Switches as the module parameter `svm_switches` has them.
const MIGRATE: u32 = 1;
const CORRELATION: u32 = 4;
const THRASH: u32 = 8;
const COUNTERS: u32 = 16;
const COUNTERS_FIRST: u32 = 32;
const DUPLICATION: u32 = 64;
const SPARE: u32 = 128;

fn switches(value: u32) -> Result<Parameter> {
    Parameter::set("svm_switches", value)
}

/// A process with a queue of the access engine, whose memory the device mirrors.
fn shared(ctx: &Ctx) -> Result<Uvm> {
    let device = ctx.device_with(window::cap::ACCESS, "one with an access engine")?;
    if device.param(uapi::PARAM_LEVELS)? < 4 {
        return Err(Skip("memory is mirrored by spaces of 48 bits only".into()).into());
    }
    Uvm::open(&device, Backing::Mirrored, PATIENCE)
}

/// New memory with numbers in it, written by the CPU, and their sum.
fn numbers(uvm: &Uvm, bytes: u64) -> Result<(Memory, u64)> {
    let memory = uvm.alloc(bytes)?;
    let numbers = fill(&memory, bytes, 1)?;
    Ok((memory, numbers))
}

/// The dword at `n`.
fn number(n: u32, seed: u32) -> u32 {
    n.wrapping_mul(2_654_435_761).wrapping_add(seed)
}

/// The CPU writes all of it; the sum of the dwords.
fn fill(memory: &Memory, bytes: u64, seed: u32) -> Result<u64> {
    let count = u32::try_from(bytes / 4)?;
    let numbers: Vec<u32> = (0..count).map(|n| number(n, seed)).collect();
    memory.write(0, &numbers)?;
    Ok(numbers.iter().map(|n| u64::from(*n)).sum())
}

/// The device reads dwords, `stride` bytes apart; their sum.
fn sum_of(uvm: &Uvm, memory: &Memory, bytes: u64, stride: u64) -> Result<u64> {
    let none = Operand::none();
    let a = Operand::affine(memory.address(), 0, [i32::try_from(stride / 4)?, 0, 0]);
    let trips = [u32::try_from(bytes / stride)?, 1, 1];
    let (func, update) = (func::A, update::NONE);
    let program = Program::Nest { element: 2, func, update, reduce: false, trips, immediate: 0, a, b: none, d: none };
    uvm.launch(&[program], LANES)?.wait()
}

/// Bytes in system memory, in VRAM, in the device's page tables.
fn places(uvm: &Uvm, memory: &Memory, bytes: u64) -> Result<(u64, u64, u64)> {
    let seen = uvm.device().residency(memory.address(), bytes)?;
    Ok((seen.system, seen.vram, seen.mapped))
}

/// Faults that were served so far.
fn faults(uvm: &Uvm) -> Result<u64> {
    uvm.device().param(uapi::PARAM_SVM_FAULTS).context("faults")
}

/// Faults on a range in `work`: what a program tells its end by has faults of its own.
fn faults_in(uvm: &Uvm, memory: &Memory, bytes: u64, work: impl FnOnce() -> Result<()>) -> Result<usize> {
    uvm.device().keep_records(4000)?;
    work()?;
    let (records, lost) = uvm.device().records(4000)?;
    ensure!(lost == 0, "{lost} records are lost");
    uvm.device().keep_records(0)?;
    let range = memory.address()..memory.address() + bytes;
    Ok(records.iter().filter(|record| record.kind == uapi::SVM_REC_FAULT && range.contains(&record.va)).count())
}

/// By how much a counter of the policy rises in `work`.
fn rises(word: &str, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let before = counter(word)?;
    work()?;
    let after = counter(word)?;
    ensure!(after >= before, "{word} fell from {before} to {after}");
    Ok(after - before)
}
