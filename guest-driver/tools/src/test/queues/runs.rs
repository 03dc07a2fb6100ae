// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Packets of queues do what they should, beside others and while their memory moves.

use anyhow::{ensure, Result};
use uvm_spec::packet::atomic;
use uvm_spec::uapi;

use super::{drained, fence, page, queue, stands, DATA, FAR, PAGE, RINGS};
use crate::drm::{Bo, Domain, FenceState, Queue, Space, RW};
use crate::ib::{Atomic, Ib, Place};
use crate::test::case::{content, eventually, filled, same, same_bytes, stamps, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;

pub fn packets_run_and_the_pointer_is_written_back(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let data = stamps(11, 3 * 4096);
    let from = filled(&device, Domain::Vram, &data)?;
    let to = Bo::new(&device, from.size(), Domain::Gtt)?;
    device.bind(DATA, &from, 0, from.size(), uapi::VM_READ)?;
    device.bind(DATA + (1 << 20), &to, 0, to.size(), RW)?;
    let mut queue = queue(&device, engine, 0)?;
    let mut ib = Ib::new();
    ib.copy(Place::Raw(DATA), Place::Raw(DATA + (1 << 20)), from.size() - 8);
    ib.fence(Place::Raw(DATA + (1 << 20) + from.size() - 4), 77).trap(5);
    queue.run(&ib)?;
    let map = to.map()?;
    // Memory alone tells.
    let end = data.len() - 8;
    ensure!(eventually(PATIENCE, || Ok(map.load(end) >> 32 == 77))?, "the fence is not written");
    let mut seen = vec![0; end];
    map.read(0, &mut seen);
    same_bytes("the copy", &seen, &data[..end])?;
    ensure!(eventually(PATIENCE, || Ok(queue.written_back() == queue.wptr()))?, "the pointer is not written back");
    let info = queue.info()?;
    same("state", (info.state, info.cause, info.rptr, info.wptr), (0, 0, queue.wptr(), queue.wptr()))
}

pub fn ring_wraps_many_times(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    let mut queue = Queue::new(&device, engine, RINGS, PAGE)?;
    let mut rng = ctx.rng();
    let mut sum = 0;
    while queue.wptr() < 30 * PAGE {
        let mut ib = Ib::new();
        // Lengths that have nothing to do with the ring's, so that packets lie across its end.
        for _ in 0..rng.size(12) {
            let n = rng.below(1000);
            sum += n;
            let add = Atomic { op: atomic::ADD | atomic::BITS64 | atomic::NO_RETURN, source: n, compare: 0 };
            ib.atomic(Place::Raw(DATA), add).nop(u32::try_from(rng.below(9))?);
        }
        queue.run(&ib)?;
        drained(&queue)?;
        same(format_args!("sum at {:#x}", queue.wptr()), map.load(0), sum)?;
    }
    same("the pointer in memory", queue.written_back(), queue.wptr())
}

pub fn indirect_buffer_runs_in_the_queues_space(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    let packets = page(&device, DATA + PAGE)?.map()?;
    for (i, dword) in fence(DATA + 8, 9).dwords().iter().enumerate() {
        packets.write(4 * i, &dword.to_le_bytes());
    }
    let mut queue = queue(&device, engine, 0)?;
    // The packet names VMID 0, where these addresses are nothing.
    let mut ib = Ib::new();
    ib.nop(1).indirect(Place::Raw(DATA + PAGE), 8).fence(Place::Raw(DATA), 1);
    queue.run(&ib)?;
    drained(&queue)?;
    same("what ring and buffer wrote", (map.load(0), map.load(8)), (1, 9))
}

pub fn bind_takes_effect_under_a_queue(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let old = page(&device, DATA)?;
    let new = Bo::new(&device, PAGE, Domain::Vram)?;
    let mut queue = queue(&device, engine, 0)?;
    for round in 1..=20 {
        queue.run(&fence(DATA, 2 * round))?;
        drained(&queue)?;
        // The device has the translation cached.
        let (at, other) = if round % 2 == 1 { (&new, &old) } else { (&old, &new) };
        device.bind(DATA, at, 0, PAGE, RW | uapi::VM_REPLACE)?;
        queue.run(&fence(DATA, 2 * round + 1))?;
        drained(&queue)?;
        let seen = (other.map()?.load(0), at.map()?.load(0));
        same("before and after", seen, (u64::from(2 * round), u64::from(2 * round + 1)))?;
    }
    Ok(())
}

pub fn four_queues_keep_apart(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let mut clients = Vec::new();
    for n in 0..4 {
        let device = ctx.device()?;
        let data = rng.bytes(5 * 4096);
        let from = filled(&device, rng.pick(&Domain::ALL), &data)?;
        let to = Bo::new(&device, from.size(), Domain::Gtt)?;
        // The same addresses for all.
        device.bind(DATA, &from, 0, from.size(), RW)?;
        device.bind(DATA + (1 << 21), &to, 0, to.size(), RW)?;
        let space = Space::new(&device, 0x10_0000, PAGE)?;
        clients.push((queue(&device, n % 2, 0)?, space, from, to, data));
    }
    same(
        "VMIDs in use",
        {
            let mut vmids = clients.iter().map(|c| Ok(c.0.info()?.vmid)).collect::<Result<Vec<_>>>()?;
            vmids.sort_unstable();
            vmids.dedup();
            vmids.len()
        },
        4,
    )?;
    for round in 0..30_u32 {
        for (queue, _, from, _, data) in &mut clients {
            let at = 8 * rng.index(data.len() / 8);
            from.map()?.store(at, round.into());
            data[at..at + 8].copy_from_slice(&u64::from(round).to_le_bytes());
            let mut ib = Ib::new();
            ib.copy(Place::Raw(DATA), Place::Raw(DATA + (1 << 21)), from.size());
            queue.run(&ib)?;
        }
        // Its VMID is its submissions' too.
        let (_, space, ..) = &clients[rng.index(4)];
        same("a submission beside", space.run(round % 2, Ib::new().nop(9), PATIENCE)?, FenceState::Done)?;
        for (n, (queue, _, _, to, data)) in clients.iter().enumerate() {
            drained(queue)?;
            same_bytes(format_args!("round {round} client {n}"), &content(to, data.len())?, data)?;
        }
    }
    Ok(())
}

/// No fence holds a buffer for a queue: its accesses wait while the buffer is on its way, and none is lost.
pub fn buffer_moves_under_a_queue(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let bo = page(&device, DATA)?;
    let mut queue = Queue::new(&device, 0, RINGS, 1 << 20)?;
    let add = Atomic { op: atomic::ADD | atomic::BITS64 | atomic::NO_RETURN, source: 1, compare: 0 };
    let mut ib = Ib::new();
    for _ in 0..1000 {
        ib.atomic(Place::Raw(DATA + 24), add);
    }
    let waited = || device.param(uapi::PARAM_RETRY_FAULTS);
    let (mut sum, mut round, before) = (0, 0, waited()?);
    // Long enough that the queue was at work while the buffer was away.
    while round < 40 || (waited()? == before && round < 1000) {
        if queue.wptr() - queue.info()?.rptr < 1 << 19 {
            (0..8).for_each(|_| queue.push(&ib));
            queue.kick()?;
            sum += 8000;
        }
        bo.move_to(rng.pick(&Domain::ALL), 1)?;
        ensure!(queue.info()?.state != uapi::QUEUE_STOPPED, "round {round}: the queue stopped");
        round += 1;
    }
    ctx.note(format_args!("{} accesses waited in {round} moves", waited()? - before));
    ensure!(waited()? > before, "no access ever waited");
    drained(&queue)?;
    same("additions", bo.map()?.load(24), sum)?;
    // The ring and its pointer move like anything else.
    for domain in [Domain::Vram, Domain::Gtt, Domain::Vram] {
        queue.run(&fence(DATA, 5))?;
        queue.bo().move_to(domain, 1)?;
        drained(&queue)?;
        same("the pointer in memory", eventually(PATIENCE, || Ok(queue.written_back() == queue.wptr()))?, true)?;
    }
    // And afterwards a wrong access fails as ever.
    let expected = ExpectErrors::begin(ctx);
    queue.run(&fence(DATA + FAR, 1))?;
    stands(&queue, uapi::QUEUE_STOPPED, uapi::QUEUE_CAUSE_FAULT)?;
    drop(expected);
    Ok(())
}
