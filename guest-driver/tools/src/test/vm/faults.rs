// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Accesses that the mappings do not allow: the submission fails alone, and its client can ask why.

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::hub::{mm::VM_L2_PROTECTION_FAULT_STATUS as STATUS, permission};
use uvm_spec::packet::{poll_func, POLL_FOREVER};
use uvm_spec::uapi;

use super::{complete, copy, far, space, vm_size, BASE, PAGE};
use crate::drm::{Bo, Domain, FenceState, Space, Syncobj, RW};
use crate::ib::{Ib, Place, Poll};
use crate::test::case::{content, filled, same, same_bytes, stamps, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;

/// Where nothing is ever mapped: beyond all places of the tests.
fn nowhere(space: &Space) -> Result<u64> {
    Ok((vm_size(space.device())? / 8 * 7).min(0x3000_0000_0000))
}

/// Packets of the client fail with a fault at `va`; what stood before them was done, what stood behind was not; another
/// client's still run, and its own next ones too. `permissions` is what the status says of a known fault.
fn fails_alone(
    ctx: &Ctx,
    ring: u32,
    space: &Space,
    (va, write, permissions): (u64, bool, u32),
    wrong: impl FnOnce(&mut Ib),
) -> Result<()> {
    let innocent = super::space(ctx)?;
    let seen = Bo::new(space.device(), PAGE, Domain::Gtt)?;
    let marks = far(space.device(), 4)?;
    space.device().bind(marks, &seen, 0, PAGE, RW)?;
    let mut ib = Ib::new();
    ib.fence(Place::Raw(marks), 1);
    wrong(&mut ib);
    ib.fence(Place::Raw(marks + 8), 2);
    let _expected = ExpectErrors::begin(ctx);
    let state = space.run(ring, &ib, PATIENCE)?;
    same("fence of the submission that faults", state, FenceState::Failed(Errno::FAULT))?;
    let map = seen.map()?;
    same("what was written before and after the fault", (map.load(0), map.load(8)), (1, 0))?;
    let fault = space.device().fault()?.context("no fault is told")?;
    same("faults told", fault.count, 1)?;
    same("address told", fault.va, va)?;
    same("direction told", fault.write, u32::from(write))?;
    same("permissions in the status", STATUS::PERMISSION_FAULTS.get(fault.status), permissions)?;
    ensure!(space.device().fault()?.is_none(), "the fault is told twice");
    ensure!(innocent.device().fault()?.is_none(), "another client is told of it");

    for space in [&innocent, space] {
        let data = stamps(ctx.rng().next(), 4096);
        let (from, to) = (filled(space.device(), Domain::Vram, &data)?, Bo::new(space.device(), PAGE, Domain::Gtt)?);
        let (from_va, to_va) = (far(space.device(), 5)?, far(space.device(), 6)?);
        space.device().bind(from_va, &from, 0, PAGE, RW | uapi::VM_REPLACE)?;
        space.device().bind(to_va, &to, 0, PAGE, RW | uapi::VM_REPLACE)?;
        copy(space, ring, from_va, to_va, PAGE)?;
        same_bytes("a copy afterwards", &content(&to, 4096)?, &data)?;
    }
    Ok(())
}

pub fn unmapped_read_fails_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = space(ctx)?;
    let bo = Bo::new(space.device(), PAGE, Domain::Gtt)?;
    space.device().bind(BASE, &bo, 0, PAGE, RW)?;
    let permissions = permission::VALID | permission::READ;
    let nowhere = nowhere(&space)?;
    fails_alone(ctx, ring, &space, (nowhere, false, permissions), |ib| {
        ib.copy(Place::Raw(nowhere + 12), Place::Raw(BASE), 64);
    })
}

pub fn unmapped_write_fails_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = space(ctx)?;
    let permissions = permission::VALID | permission::WRITE;
    let nowhere = nowhere(&space)?;
    fails_alone(ctx, ring, &space, (nowhere + PAGE, true, permissions), |ib| {
        ib.write(Place::Raw(nowhere + PAGE + 8), &[1, 2, 3]);
    })
}

pub fn denied_read_fails_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = space(ctx)?;
    let (hidden, bo) = (Bo::new(space.device(), PAGE, Domain::Vram)?, Bo::new(space.device(), PAGE, Domain::Gtt)?);
    space.device().bind(BASE, &bo, 0, PAGE, RW)?;
    space.device().bind(BASE + PAGE, &hidden, 0, PAGE, uapi::VM_WRITE)?;
    fails_alone(ctx, ring, &space, (BASE + PAGE, false, permission::READ), |ib| {
        // Writing it is allowed.
        ib.fence(Place::Raw(BASE + PAGE), 9).copy(Place::Raw(BASE + PAGE), Place::Raw(BASE), 8);
    })?;
    same("what was written where it was allowed", hidden.map()?.load(0), 9)
}

pub fn denied_write_fails_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = space(ctx)?;
    let data = stamps(4, 4096);
    let (fixed, bo) = (filled(space.device(), Domain::Gtt, &data)?, Bo::new(space.device(), PAGE, Domain::Gtt)?);
    space.device().bind(BASE, &bo, 0, PAGE, RW)?;
    space.device().bind(BASE + PAGE, &fixed, 0, PAGE, uapi::VM_READ)?;
    fails_alone(ctx, ring, &space, (BASE + PAGE, true, permission::WRITE), |ib| {
        ib.copy(Place::Raw(BASE + PAGE), Place::Raw(BASE), 8).copy(Place::Raw(BASE), Place::Raw(BASE + PAGE), 4096);
    })?;
    same_bytes("what must not be written", &content(&fixed, 4096)?, &data)
}

pub fn unmapped_packets_fail_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = space(ctx)?;
    let _expected = ExpectErrors::begin(ctx);
    let nowhere = nowhere(&space)?;
    let done = Syncobj::new(space.device())?;
    let handles = [done.handle()];
    space.device().submit_raw(&mut uapi::Submit {
        ring,
        flags: uapi::SUBMIT_VM,
        ib: nowhere,
        ib_dwords: 16,
        out_syncs: crate::drm::address(&handles),
        out_sync_count: 1,
        ..Default::default()
    })?;
    done.wait(PATIENCE)?;
    same("fence of packets that are nowhere", done.state()?, FenceState::Failed(Errno::FAULT))?;
    same("address told", space.device().fault()?.map(|fault| fault.va), Some(nowhere))?;
    complete(&space, ring, Ib::new().nop(3))
}

pub fn unmapped_again_fails_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = space(ctx)?;
    let bo = Bo::new(space.device(), 2 * PAGE, Domain::Vram)?;
    space.device().bind(BASE, &bo, 0, 2 * PAGE, RW)?;
    // The device has the translation cached when it goes.
    let mut ib = Ib::new();
    ib.fence(Place::Raw(BASE + PAGE), 1).fence(Place::Raw(BASE), 1);
    complete(&space, ring, &ib)?;
    space.device().unbind(BASE + PAGE, PAGE)?;
    let permissions = permission::VALID | permission::WRITE;
    fails_alone(ctx, ring, &space, (BASE + PAGE, true, permissions), |ib| {
        ib.fence(Place::Raw(BASE), 2).fence(Place::Raw(BASE + PAGE), 2);
    })?;
    let map = bo.map()?;
    same("the page that stayed and the one that went", (map.load(0), map.load(4096)), (2, 1))
}

/// What never ends is ended, in whatever space it runs, and what stood behind it runs.
pub fn endless_poll_is_ended(ctx: &Ctx, ring: u32) -> Result<()> {
    let (space, innocent) = (space(ctx)?, super::space(ctx)?);
    let bo = Bo::new(space.device(), PAGE, Domain::Vram)?;
    space.device().bind(BASE, &bo, 0, PAGE, RW)?;
    let poll = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
    let mut ib = Ib::new();
    ib.poll_memory(Place::Raw(BASE), poll);
    let _expected = ExpectErrors::begin(ctx);
    let done = Syncobj::new(space.device())?;
    space.submit(ring, &ib, &done)?;
    complete(&innocent, ring, Ib::new().nop(3))?;
    same("fence of the endless poll", done.state()?, FenceState::Failed(Errno::TIME))?;
    complete(&space, ring, Ib::new().nop(3))
}

/// Registers could change the tables: packets of a process do not reach them.
pub fn registers_are_out_of_reach(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let scratch = uvm_spec::nbio::BIOS_SCRATCH.offset;
    let before = space.device().reg(scratch)?;
    let mut ib = Ib::new();
    ib.register(scratch, !before, 0xf);
    let _expected = ExpectErrors::begin(ctx);
    let state = space.run(0, &ib, PATIENCE)?;
    ensure!(matches!(state, FenceState::Failed(_)), "a register write: expected an error, seen {state:?}");
    same("the register", space.device().reg(scratch)?, before)?;
    complete(&space, 0, Ib::new().nop(3))
}

pub fn faults_are_counted_and_forgotten(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let nowhere = nowhere(&space)?;
    ensure!(space.device().fault()?.is_none(), "a fault is told before there was one");
    let _expected = ExpectErrors::begin(ctx);
    for n in 1..=5 {
        let mut ib = Ib::new();
        ib.fence(Place::Raw(nowhere + n * PAGE), 1);
        let state = space.run(u32::from(n % 2 == 0), &ib, PATIENCE)?;
        same("fence of the submission that faults", state, FenceState::Failed(Errno::FAULT))?;
    }
    let fault = space.device().fault()?.context("no fault is told")?;
    same("count and last address", (fault.count, fault.va), (5, nowhere + 5 * PAGE))?;
    ensure!(space.device().fault()?.is_none(), "the faults are told twice");
    Ok(())
}
