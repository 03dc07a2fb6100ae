// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Wrong addresses and wrong packets: the device reports them, the driver fails what was wrong, and all else goes on.

use anyhow::{bail, ensure, Result};
use uvm_spec::packet::{header, op, poll_func, POLL_FOREVER};
use uvm_spec::uapi;

use crate::drm::{Bo, Device, Domain, FenceState};
use crate::ib::{Ib, Place, Poll};
use crate::test::case::{complete, content, eventually, filled, same, same_bytes, stamps, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;

/// Far from every aperture.
const NOWHERE: u64 = 0x4000_0000_0000;

/// Both rings still copy.
fn all_is_well(ctx: &Ctx, device: &Device) -> Result<()> {
    let data = stamps(ctx.rng().next(), 10_000);
    for ring in 0..2 {
        let (from, to) = (filled(device, Domain::Gtt, &data)?, Bo::new(device, data.len() as u64, Domain::Vram)?);
        let mut ib = Ib::new();
        ib.copy(Place::Bo(from.handle(), 0), Place::Bo(to.handle(), 0), data.len() as u64);
        complete(device, ring, &ib).map_err(|error| error.context("the next submission"))?;
        same_bytes("a copy afterwards", &content(&to, data.len())?, &data)?;
    }
    Ok(())
}

/// The copy raises a fault, which the driver counts; the submission ends one way or the other.
fn is_reported(ctx: &Ctx, ring: u32, copy: impl FnOnce(&mut Ib, Place)) -> Result<()> {
    let device = ctx.device()?;
    let faults = device.param(uapi::PARAM_FAULTS)?;
    let bo = filled(&device, Domain::Gtt, &stamps(1, 4096))?;
    let mut ib = Ib::new();
    copy(&mut ib, Place::Bo(bo.handle(), 0));
    let _expected = ExpectErrors::begin(ctx);
    match device.run(ring, &ib, PATIENCE)? {
        FenceState::Active => bail!("the submission has signalled, but its fence says it runs"),
        FenceState::Done | FenceState::Failed(_) => {}
    }
    let counted = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_FAULTS)? > faults))?;
    ensure!(counted, "no page fault was counted");
    all_is_well(ctx, &device)
}

pub fn unmapped_read_is_reported(ctx: &Ctx, ring: u32) -> Result<()> {
    is_reported(ctx, ring, |ib, bo| {
        ib.copy(Place::Raw(NOWHERE), bo, 64);
    })
}

pub fn unmapped_write_is_reported(ctx: &Ctx, ring: u32) -> Result<()> {
    is_reported(ctx, ring, |ib, bo| {
        ib.copy(bo, Place::Raw(NOWHERE + 0x1000), 64);
    })
}

/// The submission fails, does nothing after the point where it went wrong, and hurts no other.
fn fails_alone(ctx: &Ctx, ring: u32, wrong: impl FnOnce(&Device, &mut Ib) -> Result<()>) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let mut ib = Ib::new();
    ib.fence(Place::Bo(bo.handle(), 0), 1);
    wrong(&device, &mut ib)?;
    let _expected = ExpectErrors::begin(ctx);
    let state = device.run(ring, &ib, PATIENCE)?;
    ensure!(matches!(state, FenceState::Failed(_)), "fence of the wrong submission: expected an error, seen {state:?}");
    same("what stood before the wrong packet", bo.map()?.load(0), 1)?;
    all_is_well(ctx, &device)
}

pub fn reserved_opcode_fails_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    fails_alone(ctx, ring, |_, ib| {
        ib.raw(header(0x7f, 0)).nop(8);
        Ok(())
    })
}

pub fn reserved_sub_opcode_fails_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    fails_alone(ctx, ring, |_, ib| {
        ib.raw(header(op::COPY, 0x7f)).nop(8);
        Ok(())
    })
}

pub fn packet_past_the_end_fails_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    fails_alone(ctx, ring, |device, ib| {
        // It claims more data than any submission can hold, wherever the driver pads it.
        let address = device.param(uapi::PARAM_FB_START)?;
        ib.raw(header(op::WRITE, 0))
            .raw(u32::try_from(address & 0xffff_ffff)?)
            .raw(u32::try_from(address >> 32)?)
            .raw(0xf_ffff);
        Ok(())
    })
}

pub fn indirect_buffer_in_itself_fails_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    fails_alone(ctx, ring, |device, ib| {
        let looping = Bo::new(device, 4096, Domain::Vram)?;
        let address = looping.info()?.gpu_addr;
        let mut inner = Ib::new();
        inner.indirect(Place::Raw(address), 8).nop(1);
        let bytes: Vec<u8> = inner.dwords().iter().flat_map(|dword| dword.to_le_bytes()).collect();
        looping.map()?.write(0, &bytes);
        // By its raw address, in VRAM that stays as it was when the object goes.
        ib.indirect(Place::Raw(address), 8);
        Ok(())
    })
}

pub fn endless_poll_is_ended(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let timeouts = device.param(uapi::PARAM_TIMEOUTS)?;
    fails_alone(ctx, ring, |device, ib| {
        let bo = Bo::new(device, 4096, Domain::Vram)?;
        let poll = Poll { func: poll_func::NOT_EQUAL, reference: 0, mask: 0, retry: POLL_FOREVER };
        ib.poll_memory(Place::Raw(bo.info()?.gpu_addr), poll);
        Ok(())
    })?;
    ensure!(device.param(uapi::PARAM_TIMEOUTS)? > timeouts, "no timeout was counted");
    Ok(())
}
