// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A queue that stops or hangs does so alone, and comes back.

use anyhow::{Context, Result};
use uvm_spec::uapi;

use super::{drained, endless, fence, kernel_rings_work, page, queue, stands, Witness, DATA, FAR};
use crate::drm::Queue;
use crate::ib::{Ib, Place};
use crate::test::case::{same, Ctx, GLANCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::purpose::OnPurpose;

/// A queue stops; others of the same instance and the kernel's rings go on; a reset brings it back behind what was there.
fn stops_alone(ctx: &Ctx, engine: u32, cause: u32, wrong: impl FnOnce(&mut Queue) -> Result<()>) -> Result<Queue> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    let mut queue = queue(&device, engine, 0)?;
    let mut beside = [Witness::new(ctx, engine)?, Witness::new(ctx, 1 - engine)?];
    queue.run(&fence(DATA, 1))?;
    drained(&queue)?;
    let before = queue.wptr();
    let expected = ExpectErrors::begin(ctx);
    wrong(&mut queue)?;
    stands(&queue, uapi::QUEUE_STOPPED, cause)?;
    drop(expected);
    same("where it stopped", queue.info()?.rptr, before)?;
    for witness in &mut beside {
        witness.works()?;
    }
    kernel_rings_work(ctx)?;
    // More of the same does not start it.
    queue.run(&fence(DATA, 2))?;
    stands(&queue, uapi::QUEUE_STOPPED, cause)?;
    queue.reset()?;
    queue.run(&fence(DATA + 8, 3))?;
    drained(&queue)?;
    same("what it wrote before, while and after it stood", (map.load(0), map.load(8)), (1, 3))?;
    for witness in &mut beside {
        witness.works()?;
    }
    Ok(queue)
}

pub fn refused_packet_stops_its_queue_alone(ctx: &Ctx, engine: u32) -> Result<()> {
    stops_alone(ctx, engine, uapi::QUEUE_CAUSE_PACKET, |queue| {
        let mut ib = Ib::new();
        ib.raw(0xff);
        Ok(queue.run(&ib)?)
    })?;
    Ok(())
}

pub fn fault_stops_its_queue_alone(ctx: &Ctx, engine: u32) -> Result<()> {
    let va = DATA + 3 * FAR;
    let mut teller = None;
    stops_alone(ctx, engine, uapi::QUEUE_CAUSE_FAULT, |queue| {
        queue.run(&fence(va + 16, 1))?;
        teller = Some(queue.device().clone());
        Ok(())
    })?;
    let fault = teller.context("no client")?.fault()?.context("no fault is told")?;
    same("the fault told", (fault.va, fault.count, fault.write), (va, 1, 1))
}

pub fn senseless_pointer_stops_its_queue_alone(ctx: &Ctx, engine: u32) -> Result<()> {
    let _wrong = OnPurpose::begin();
    stops_alone(ctx, engine, uapi::QUEUE_CAUSE_PACKET, |queue| {
        let wptr = queue.wptr() + (1 << 40);
        Ok(queue.device().kick_raw(&mut uapi::QueueKick { id: queue.id(), flags: 0, wptr })?)
    })?;
    Ok(())
}

pub fn hung_queue_is_reset_alone(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    let (mut hung, mut sibling) = (queue(&device, engine, 0)?, queue(&device, engine, 1)?);
    let mut ib = endless(DATA + 64);
    ib.fence(Place::Raw(DATA), 1);
    hung.run(&ib)?;
    for round in 0..3 {
        // In the same space, beside it, and in the kernel's rings.
        sibling.run(&fence(DATA + 16, round))?;
        drained(&sibling)?;
        same("what the sibling wrote", map.load(16), round.into())?;
        kernel_rings_work(ctx)?;
    }
    let info = hung.info()?;
    same("the hung one", (info.state, info.rptr), (uapi::QUEUE_RUNNING, 0))?;
    hung.reset()?;
    map.store(64, 1);
    hung.run(&fence(DATA + 8, 2))?;
    drained(&hung)?;
    same("what was dropped, and what came after", (map.load(0), map.load(8)), (0, 2))?;
    sibling.run(&fence(DATA + 16, 9))?;
    drained(&sibling)?;
    same("what the sibling wrote", map.load(16), 9)
}

pub fn registers_are_out_of_reach(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let scratch = uvm_spec::nbio::BIOS_SCRATCH.offset;
    let before = device.reg(scratch)?;
    let mut queue = queue(&device, 0, 0)?;
    let mut ib = Ib::new();
    ib.register(scratch, !before, 0xf);
    queue.run(&ib)?;
    stands(&queue, uapi::QUEUE_STOPPED, uapi::QUEUE_CAUSE_PACKET)?;
    same("the register", device.reg(scratch)?, before)
}

pub fn ended_queue_touches_nothing_more(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    for engine in 0..2 {
        let mut queue = queue(&device, engine, u64::from(engine))?;
        let mut ib = endless(DATA + 64);
        ib.fence(Place::Raw(DATA), 1);
        queue.run(&ib)?;
        same("what it waits for", queue.info()?.rptr, 0)?;
        drop(queue);
        map.store(64, 1);
        std::thread::sleep(GLANCE);
        same("what it would have written", map.load(0), 0)?;
        map.store(64, 0);
    }
    Ok(())
}
