// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Queues whose buffers others push out: no fence holds these, and each access finds them.

use anyhow::{ensure, Result};
use uvm_spec::packet::atomic;
use uvm_spec::uapi;

use super::{drained, fence, page, queue, stands, DATA, FAR, PAGE};
use crate::drm::{Bo, Device, Domain, FenceState, Queue, Space, RW};
use crate::ib::{Atomic, Ib, Place};
use crate::test::case::{content, same, same_bytes, stamps, Ctx, Skip, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::reload::meminfo;
use crate::test::segments::number;

/// Bytes of a buffer of which so many take `parts` quarters of the VRAM for buffers.
fn share(parts: u64, count: u64) -> Result<u64> {
    Ok((number("local", "size")? / 4 * parts / count).min(FAR) & !(PAGE - 1))
}

fn memory_for(bytes: u64) -> Result<()> {
    let free = meminfo("MemAvailable")?;
    if free < bytes + (64 << 20) {
        return Err(Skip(format!("{} MiB of memory do not hold {} MiB more", free >> 20, bytes >> 20)).into());
    }
    Ok(())
}

/// A client with a queue and three buffers in VRAM.
struct Client {
    device: Device,
    queue: Queue,
    bos: Vec<Bo>,
    sum: u64,
}

impl Client {
    fn new(ctx: &Ctx, engine: u32, size: u64) -> Result<Self> {
        let device = ctx.device()?;
        let mut bos = Vec::new();
        for n in 0..3 {
            let bo = Bo::new(&device, size, Domain::Vram)?;
            bo.map()?.write(0, &stamps(n, 4096));
            device.bind(DATA + n * FAR, &bo, 0, size, RW)?;
            bos.push(bo);
        }
        let queue = queue(&device, engine, 0)?;
        Ok(Self { device, queue, bos, sum: 0 })
    }

    /// Adds to a word of each buffer, and copies a page from the end of one to that of another.
    fn work(&mut self) -> Result<()> {
        let size = self.bos[0].size();
        let add = Atomic { op: atomic::ADD | atomic::BITS64 | atomic::NO_RETURN, source: 1, compare: 0 };
        let mut ib = Ib::new();
        for n in 0..3 {
            ib.atomic(Place::Raw(DATA + n * FAR + 8192), add);
        }
        ib.copy(Place::Raw(DATA), Place::Raw(DATA + FAR + size - PAGE), PAGE);
        self.sum += 1;
        self.queue.run(&ib)?;
        Ok(())
    }

    fn check(&self) -> Result<()> {
        drained(&self.queue)?;
        for (n, bo) in self.bos.iter().enumerate() {
            let map = bo.map()?;
            same(format_args!("additions to buffer {n}"), map.load(8192), self.sum)?;
            same_bytes(format_args!("start of buffer {n}"), &content(bo, 4096)?, &stamps(n as u64, 4096))?;
        }
        let (map, mut seen) = (self.bos[1].map()?, vec![0; 4096]);
        map.read(map.len() - 4096, &mut seen);
        same_bytes("what was copied", &seen, &stamps(0, 4096))
    }
}

pub fn queues_that_need_more_than_half_take_turns(ctx: &Ctx) -> Result<()> {
    let size = share(3, 3)?;
    memory_for(6 * size)?;
    let mut clients = [Client::new(ctx, 0, size)?, Client::new(ctx, 1, size)?];
    let device = ctx.device()?;
    let counts =
        || -> Result<[u64; 2]> { Ok([device.param(uapi::PARAM_MM_EVICTED)?, device.param(uapi::PARAM_RETRY_FAULTS)?]) };
    let before = counts()?;
    for round in 0..8 {
        clients.iter_mut().try_for_each(Client::work)?;
        if round % 3 == 2 {
            clients.iter().try_for_each(|client| drained(&client.queue))?;
        }
    }
    clients.iter().try_for_each(Client::check)?;
    let after = counts()?;
    ctx.note(format_args!("{} MiB evicted, {} faults", (after[0] - before[0]) >> 20, after[1] - before[1]));
    // Where they fit together, nobody has to leave.
    ensure!(6 * size <= number("local", "size")? || after[0] > before[0], "nothing was evicted");
    Ok(())
}

pub fn idle_queues_buffers_leave_and_come_back(ctx: &Ctx) -> Result<()> {
    let size = share(2, 3)?;
    memory_for(8 * size)?;
    let mut idle = Client::new(ctx, 0, size)?;
    idle.work()?;
    idle.check()?;
    // Jobs of another need nearly all of it.
    let other = ctx.device()?;
    let space = Space::new(&other, 0x10_0000, PAGE)?;
    let mut pressing = Vec::new();
    for n in 0..4 {
        let bo = Bo::new(&other, share(4, 5)?, Domain::Vram)?;
        other.bind(DATA + n * FAR, &bo, 0, bo.size(), RW)?;
        pressing.push(bo);
    }
    for _ in 0..3 {
        same("a submission that needs them all", space.run(0, Ib::new().nop(1), PATIENCE)?, FenceState::Done)?;
        idle.work()?;
        idle.check()?;
    }
    // Both kinds in one space.
    let space = Space::new(&idle.device, 0x10_0000, PAGE)?;
    same("a submission beside the queue", space.run(1, Ib::new().nop(1), PATIENCE)?, FenceState::Done)?;
    idle.work()?;
    idle.check()
}

pub fn queue_uses_pageable_buffers(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut queue = queue(&device, 0, 0)?;
    let bo = Bo::pageable(&device, 1 << 20, Domain::Vram)?;
    device.bind(DATA, &bo, 0, 1 << 20, RW)?;
    queue.run(&fence(DATA + PAGE, 77))?;
    drained(&queue)?;
    same("where it is", bo.domain()?, Domain::Vram)?;
    same("what the queue wrote", bo.map()?.load(4096), 77)
}

pub fn queue_whose_buffers_do_not_fit_stops(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let size = share(5, 5)?;
    memory_for(5 * size)?;
    let flag = page(&device, DATA + 6 * FAR)?;
    let mut queue = queue(&device, 1, 0)?;
    let mut bos = Vec::new();
    for n in 0..5 {
        // In VRAM and nowhere else.
        let bo = Bo::new(&device, size, Domain::Vram)?;
        device.bind(DATA + n * FAR, &bo, 0, size, RW)?;
        bos.push(bo);
    }
    if 5 * size <= number("local", "size")? {
        return Err(Skip("VRAM holds more than the address space lets a test map".into()).into());
    }
    let expected = ExpectErrors::begin(ctx);
    // One of the five has left.
    for n in 0..5 {
        queue.push(&fence(DATA + n * FAR, 1));
    }
    queue.kick()?;
    stands(&queue, uapi::QUEUE_STOPPED, uapi::QUEUE_CAUSE_FAULT)?;
    drop(expected);
    // With two less they fit.
    for n in 3..5 {
        device.unbind(DATA + n * FAR, size)?;
    }
    queue.reset()?;
    for n in 0..2 {
        queue.push(&fence(DATA + n * FAR + 8, 9));
    }
    queue.run(&fence(DATA + 6 * FAR, 5))?;
    drained(&queue)?;
    same("what the queue wrote at last", flag.map()?.load(0), 5)?;
    same("and before that", [bos[0].map()?.load(8), bos[1].map()?.load(8)], [9, 9])
}
