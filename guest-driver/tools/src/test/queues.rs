// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `queues`: rings that processes write by themselves. What one does, or what becomes of it, is no other's matter.

use anyhow::{ensure, Result};
use uvm_spec::packet::{poll_func, POLL_FOREVER};
use uvm_spec::uapi;

use super::case::{eventually, same, Case, Ctx, Run, PATIENCE};
use crate::drm::{Bo, Device, Domain, FenceState, Mapping, Queue, Space, RW};
use crate::ib::{Ib, Place, Poll};

mod life;
mod limits;
mod pressure;
mod runs;
mod stops;

pub use life::{doomed, worker};

/// First argument of a worker process.
pub const WORKER: &str = "--queue-worker";

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

const fn ring(name: &'static str, run: fn(&Ctx, u32) -> Result<()>) -> Case {
    Case { name, run: Run::PerRing(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    ring("packets_run_and_the_pointer_is_written_back", runs::packets_run_and_the_pointer_is_written_back),
    ring("ring_wraps_many_times", runs::ring_wraps_many_times),
    ring("indirect_buffer_runs_in_the_queues_space", runs::indirect_buffer_runs_in_the_queues_space),
    ring("bind_takes_effect_under_a_queue", runs::bind_takes_effect_under_a_queue),
    once("four_queues_keep_apart", runs::four_queues_keep_apart),
    once("third_queue_of_an_instance_is_refused", limits::third_queue_of_an_instance_is_refused),
    once("wrong_arguments_are_refused", limits::wrong_arguments_are_refused),
    once("queue_of_another_is_out_of_reach", limits::queue_of_another_is_out_of_reach),
    ring("refused_packet_stops_its_queue_alone", stops::refused_packet_stops_its_queue_alone),
    ring("fault_stops_its_queue_alone", stops::fault_stops_its_queue_alone),
    ring("senseless_pointer_stops_its_queue_alone", stops::senseless_pointer_stops_its_queue_alone),
    ring("hung_queue_is_reset_alone", stops::hung_queue_is_reset_alone),
    once("registers_are_out_of_reach", stops::registers_are_out_of_reach),
    once("ended_queue_touches_nothing_more", stops::ended_queue_touches_nothing_more),
    once("buffer_moves_under_a_queue", runs::buffer_moves_under_a_queue),
    once("queues_that_need_more_than_half_take_turns", pressure::queues_that_need_more_than_half_take_turns),
    once("idle_queues_buffers_leave_and_come_back", pressure::idle_queues_buffers_leave_and_come_back),
    once("queue_uses_pageable_buffers", pressure::queue_uses_pageable_buffers),
    once("queue_whose_buffers_do_not_fit_stops", pressure::queue_whose_buffers_do_not_fit_stops),
    once("reserved_vmids_leave_two_for_all_others", limits::reserved_vmids_leave_two_for_all_others),
    once("queue_is_had_among_busy_processes", limits::queue_is_had_among_busy_processes),
    once("killed_process_leaves_no_queue_behind", life::killed_process_leaves_no_queue_behind),
    once("unbound_device_ends_queues_and_waits", life::unbound_device_ends_queues_and_waits),
];

pub const PAGE: u64 = 4096;
/// How far what belongs together lies apart: all of it fits the smallest space, of 1 GiB.
pub const FAR: u64 = 1 << 26;
/// Where the rings of the tests lie; one a queue.
pub const RINGS: u64 = 2 * FAR;
/// Where the tests map what their packets use.
pub const DATA: u64 = 6 * FAR;
const RING_BYTES: u64 = 4 * PAGE;

/// A queue of the `n`th ring of a client.
pub fn queue(device: &Device, engine: u32, n: u64) -> Result<Queue> {
    Ok(Queue::new(device, engine, RINGS + n * FAR, RING_BYTES)?)
}

/// A page of memory that both sides see, mapped at `va`.
pub fn page(device: &Device, va: u64) -> Result<Bo> {
    let bo = Bo::new(device, PAGE, Domain::Gtt)?;
    device.bind(va, &bo, 0, PAGE, RW)?;
    Ok(bo)
}

pub fn fence(va: u64, value: u32) -> Ib {
    let mut ib = Ib::new();
    ib.fence(Place::Raw(va), value);
    ib
}

/// Waits until the queue has executed all that it was given.
pub fn drained(queue: &Queue) -> Result<()> {
    let mut info = queue.info()?;
    let done = eventually(PATIENCE, || {
        info = queue.info()?;
        // The state is looked at before the pointer: one that waited then may have gone on.
        let ended = info.rptr == queue.wptr() && info.state == uapi::QUEUE_RUNNING;
        Ok(ended || info.state == uapi::QUEUE_STOPPED)
    })?;
    ensure!(done && info.state == uapi::QUEUE_RUNNING, "the queue does not end its work: {info:?}");
    Ok(())
}

/// Waits until the queue stands as said.
pub fn stands(queue: &Queue, state: u32, cause: u32) -> Result<()> {
    let mut info = queue.info()?;
    let seen = eventually(PATIENCE, || {
        info = queue.info()?;
        Ok(info.state == state)
    })?;
    ensure!(seen && info.cause == cause, "expected state {state} with cause {cause}, seen {info:?}");
    Ok(())
}

/// A queue and a page of its client at `DATA`, and that both work.
struct Witness {
    queue: Queue,
    map: Mapping,
    value: u32,
}

impl Witness {
    fn new(ctx: &Ctx, engine: u32) -> Result<Self> {
        let device = ctx.device()?;
        let map = page(&device, DATA)?.map()?;
        let mut witness = Self { queue: queue(&device, engine, 0)?, map, value: 0 };
        witness.works()?;
        Ok(witness)
    }

    fn works(&mut self) -> Result<()> {
        self.value += 1;
        self.queue.run(&fence(DATA, self.value))?;
        drained(&self.queue)?;
        same("what a queue beside wrote", self.map.load(0), self.value.into())
    }
}

/// Kernel rings go on too.
fn kernel_rings_work(ctx: &Ctx) -> Result<()> {
    let space = Space::new(&ctx.device()?, 0x10_0000, PAGE)?;
    for ring in 0..2 {
        same("fence of a submission beside", space.run(ring, Ib::new().nop(3), PATIENCE)?, FenceState::Done)?;
    }
    Ok(())
}

/// A wait that never ends by itself: for one at `va`.
fn endless(va: u64) -> Ib {
    let poll = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
    let mut ib = Ib::new();
    ib.poll_memory(Place::Raw(va), poll);
    ib
}
