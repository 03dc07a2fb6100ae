// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `access`: queues of the access engine, whose lanes reach memory as shaders would, and workloads on them.

use anyhow::{ensure, Result};
use uvm_spec::access::{func, update};
use uvm_spec::{packet, uapi, window};

use super::case::{Case, Ctx, Run};
use super::queues::{DATA, FAR, RINGS};
use crate::drm::{Device, Queue};
use crate::uvm::program::{Operand, Program};

mod lanes;
mod life;
mod work;

pub use life::worker;

/// First argument of a worker process.
pub const WORKER: &str = "--access-worker";

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("program_runs_and_fence_and_pointer_follow", lanes::program_runs_and_fence_and_pointer_follow),
    once("each_lane_waits_for_a_page_of_its_own", lanes::each_lane_waits_for_a_page_of_its_own),
    once("more_lanes_than_the_device_can_tell_of_at_once", lanes::more_lanes_than_the_device_can_tell_of_at_once),
    once("buffer_moves_under_a_program", lanes::buffer_moves_under_a_program),
    once("fault_ends_the_program_alone", life::fault_ends_the_program_alone),
    once("refused_program_stops_its_queue_alone", life::refused_program_stops_its_queue_alone),
    once("endless_program_is_reset_alone", life::endless_program_is_reset_alone),
    once("fifth_queue_is_refused", life::fifth_queue_is_refused),
    once("killed_process_leaves_no_queue_behind", life::killed_process_leaves_no_queue_behind),
    once("counters_tell_of_pages_that_are_reached_often", life::counters_tell_of_pages_that_are_reached_often),
    once("vector_add_in_system_memory_and_vram", |ctx| work::both(ctx, "vector_add")),
    once("stencil_in_system_memory_and_vram", |ctx| work::both(ctx, "stencil")),
    once("bfs_in_system_memory_and_vram", |ctx| work::both(ctx, "bfs")),
    once("gemm_in_system_memory_and_vram", |ctx| work::both(ctx, "gemm")),
    once("hash_join_in_system_memory_and_vram", |ctx| work::both(ctx, "hash_join")),
    once("patterns_in_system_memory_and_vram", |ctx| work::both(ctx, "patterns")),
    once("every_workload_in_memory_of_the_process", work::every_workload_in_memory_of_the_process),
    once("memory_of_the_process_comes_and_goes", work::memory_of_the_process_comes_and_goes),
    once("prefetched_memory_is_worked_on_in_vram", work::prefetched_memory_is_worked_on_in_vram),
    once("pointer_to_nothing_ends_the_program", work::pointer_to_nothing_ends_the_program),
    once("four_processes_work_at_once", work::four_processes_work_at_once),
    once("shared_memory_comes_and_goes", work::shared_memory_comes_and_goes),
];

/// A client of a device that has the engine.
fn client(ctx: &Ctx) -> Result<Device> {
    ctx.device_with(window::cap::ACCESS, "one with an access engine")
}

/// A queue of the `n`th ring of a client.
fn queue(device: &Device, n: u64) -> Result<Queue> {
    Ok(Queue::of_access_engine(device, RINGS + n * FAR, 4 * super::queues::PAGE)?)
}

/// Puts dwords into the ring and rings the doorbell.
fn run(queue: &mut Queue, dwords: &[u32]) -> Result<()> {
    queue.push_dwords(dwords);
    Ok(queue.kick()?)
}

fn fence(va: u64, value: u32) -> Result<Vec<u32>> {
    Ok(vec![packet::op::FENCE.into(), u32::try_from(va & 0xffff_ffff)?, u32::try_from(va >> 32)?, value])
}

/// Each of `items` lanes adds `value` to the first dword of a page of its own, from `DATA` on.
fn page_a_lane(items: u32, value: u64) -> Program {
    Program::Nest {
        element: 2,
        func: func::IMMEDIATE,
        update: packet::atomic::ADD,
        reduce: false,
        trips: [items, 1, 1],
        immediate: value,
        a: Operand::none(),
        b: Operand::none(),
        d: Operand::affine(DATA, 0, [1024, 0, 0]),
    }
}

/// Reads the dword at `DATA` 2^32 times.
fn endless() -> Program {
    let a = Operand::affine(DATA, 0, [0; 3]);
    let (b, d, trips) = (Operand::none(), Operand::none(), [1 << 16, 1 << 16, 1]);
    let (func, update) = (func::A, update::NONE);
    Program::Nest { element: 2, func, update, reduce: false, trips, immediate: 0, a, b, d }
}

/// Numbers `first`, `first` + 1, .. in `count` dwords from `va` on.
fn numbers(va: u64, count: u32, first: u64) -> Program {
    Program::Nest {
        element: 2,
        func: func::NUMBER,
        update: update::STORE,
        reduce: false,
        trips: [count, 1, 1],
        immediate: first,
        a: Operand::none(),
        b: Operand::none(),
        d: Operand::linear(va),
    }
}

/// Fails unless dword n is `first` + n.
fn counted(what: &str, bytes: &[u8], first: u32) -> Result<()> {
    for (n, dword) in (first..).zip(bytes.chunks_exact(4)) {
        ensure!(dword == n.to_le_bytes(), "{what}: dword {} is {dword:x?}, expected {n:#x}", n - first);
    }
    Ok(())
}

/// Queues of the engine that are free.
fn free(device: &Device) -> Result<u64> {
    Ok(device.param(uapi::PARAM_FREE_ACCESS_QUEUES)?)
}
