// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Order: syncobjs between submissions, and the implicit order of those that use one object.

use std::time::Duration;

use anyhow::{ensure, Result};
use rustix::io::Errno;
use uvm_spec::packet::{poll_func, POLL_FOREVER};

use crate::drm::{Bo, Device, Domain, FenceState, Mapping, Syncobj};
use crate::ib::{Ib, Place, Poll};
use crate::test::case::{refused, same, Ctx, GLANCE, PATIENCE};

/// A submission that waits until the CPU opens it. The ring stands still meanwhile, so that it must not take long.
struct Gate {
    bo: Bo,
    map: Mapping,
    passed: Syncobj,
}

impl Gate {
    /// Puts one on `ring`; `then` adds what it does once open.
    fn new(device: &Device, ring: u32, then: impl FnOnce(&mut Ib)) -> Result<Self> {
        let bo = Bo::new(device, 4096, Domain::Gtt)?;
        let map = bo.map()?;
        let mut ib = Ib::new();
        let open = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
        ib.poll_memory(Place::Bo(bo.handle(), 0), open);
        then(&mut ib);
        let passed = Syncobj::new(device)?;
        device.submit(ring, &ib, &[], &[&passed])?;
        Ok(Self { bo, map, passed })
    }

    fn open(&self) {
        self.map.store(0, 1);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // A case that fails must not leave the ring standing.
        self.open();
    }
}

pub fn out_fence_signals_when_the_work_is_done(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for ring in 0..2 {
        let unused = Syncobj::new(&device)?;
        refused("a wait without a fence", unused.wait(GLANCE), &[Errno::INVAL])?;
        let gate = Gate::new(&device, ring, |_| ())?;
        same("state while it waits", gate.passed.state()?, FenceState::Active)?;
        refused("a wait for it", gate.passed.wait(GLANCE), &[Errno::TIME])?;
        gate.open();
        gate.passed.wait(PATIENCE)?;
        same("state once it is through", gate.passed.state()?, FenceState::Done)?;
    }
    Ok(())
}

pub fn in_fence_delays_a_submission(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for (first, second) in [(0, 1), (1, 0)] {
        let bo = Bo::new(&device, 4096, Domain::Gtt)?;
        let map = bo.map()?;
        let gate = Gate::new(&device, first, |_| ())?;
        let mut ib = Ib::new();
        ib.fence(Place::Bo(bo.handle(), 0), 1);
        let done = Syncobj::new(&device)?;
        device.submit(second, &ib, &[&gate.passed], &[&done])?;
        std::thread::sleep(GLANCE);
        same("what the second has written before the first is through", map.load(0), 0)?;
        same("its state", done.state()?, FenceState::Active)?;
        gate.open();
        done.wait(PATIENCE)?;
        same("what it has written then", map.load(0), 1)?;
        same("the gate's own state", gate.passed.state()?, FenceState::Done)?;
    }
    Ok(())
}

pub fn signalled_in_fence_does_not_delay(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let (empty, ready) = (Syncobj::new(&device)?, Syncobj::new(&device)?);
    let mut ib = Ib::new();
    ib.nop(0);
    refused("an in-sync without a fence", device.submit(0, &ib, &[&empty], &[]), &[Errno::INVAL])?;
    ready.signal()?;
    let done = Syncobj::new(&device)?;
    device.submit(0, &ib, &[&ready, &ready], &[&done])?;
    done.wait(PATIENCE)?;
    Ok(())
}

pub fn chain_across_rings_keeps_its_order(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let links = 40_u32;
    let bo = Bo::new(&device, 4096, Domain::Vram)?;
    let at = |n: u32| Place::Bo(bo.handle(), u64::from(n) * 4);
    let map = bo.map()?;
    map.store(0, 1);
    // Link n copies word n to word n + 1, which holds what it should only if link n - 1 was done.
    let gate = Gate::new(&device, 0, |_| ())?;
    let mut syncs: Vec<Syncobj> = Vec::new();
    for n in 0..links {
        let mut ib = Ib::unordered();
        ib.copy(at(n), at(n + 1), 4);
        let done = Syncobj::new(&device)?;
        device.submit(1 - n % 2, &ib, &[syncs.last().unwrap_or(&gate.passed)], &[&done])?;
        syncs.push(done);
    }
    std::thread::sleep(GLANCE);
    same("the second word before the chain was let go", map.load(0) >> 32, 0)?;
    gate.open();
    for (n, done) in syncs.iter().enumerate() {
        done.wait(PATIENCE)?;
        same(format_args!("state of link {n}"), done.state()?, FenceState::Done)?;
    }
    same("the last word", map.load(usize::try_from(links)? / 2 * 8) & 0xffff_ffff, 1)
}

pub fn writers_of_one_object_are_ordered(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let map = bo.map()?;
    let gate = Gate::new(&device, 0, |ib| {
        ib.fence(Place::Bo(bo.handle(), 0), 1);
    })?;
    // No syncobj tells this one to wait: that both write the object does.
    let mut ib = Ib::new();
    ib.fence(Place::Bo(bo.handle(), 0), 2);
    let done = Syncobj::new(&device)?;
    device.submit(1, &ib, &[], &[&done])?;
    std::thread::sleep(GLANCE);
    same("the object while the first writer waits", map.load(0), 0)?;
    gate.open();
    done.wait(PATIENCE)?;
    gate.passed.wait(PATIENCE)?;
    same("the object after both", map.load(0), 2)
}

pub fn wait_tells_busy_from_idle(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let gate = Gate::new(&device, 1, |_| ())?;
    let busy = [Errno::BUSY, Errno::TIME, Errno::TIMEDOUT];
    refused("asking whether a busy object is idle", gate.bo.wait(0), &busy)?;
    refused("waiting 50 ms for a busy object", gate.bo.wait(50_000_000), &busy)?;
    gate.open();
    gate.bo.wait(-1)?;
    gate.bo.wait(0)?;
    same("state of the submission", gate.passed.state()?, FenceState::Done)
}

pub fn move_waits_for_the_submission_that_writes(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for ring in 0..2 {
        let bo = Bo::new(&device, 4096, Domain::Vram)?;
        let map = bo.map()?;
        let gate = Gate::new(&device, 0, |ib| {
            ib.fence(Place::Bo(bo.handle(), 8), 0x77);
        })?;
        let gate_map = gate.bo.map()?;
        let opener = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            gate_map.store(0, 1);
        });
        bo.move_to(Domain::System, ring)?;
        ensure!(opener.join().is_ok(), "the opener panicked");
        same("state of the writer once the move is done", gate.passed.state()?, FenceState::Done)?;
        same("what it wrote, after the move", map.load(8), 0x77)?;
    }
    Ok(())
}
