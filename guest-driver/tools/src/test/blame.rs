// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `blame`: wrong on purpose, and not told to be. The device's checks are to find it; nothing here sees whether.

use anyhow::Result;
use uvm_spec::uapi;
use uvm_spec::window::cap;

use super::case::{complete, eventually, same, settled, Case, Ctx, Run, PATIENCE};
use crate::drm::{Bo, Domain};
use crate::ib::{FillSize, Ib, Place};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "vram_is_used_while_it_is_somebodys", run: Run::Once(vram_is_used_while_it_is_somebodys) },
    Case { name: "vram_is_used_after_it_was_freed", run: Run::Once(vram_is_used_after_it_was_freed) },
];

const SIZE: u64 = 64 << 10;

fn fill(ctx: &Ctx, at: u64) -> Result<()> {
    let device = ctx.device_with(cap::CHECKS, "one that judges the driver")?;
    let mut ib = Ib::new();
    ib.fill(Place::Raw(at), 0x5a5a_5a5a, FillSize::Dword, 4096);
    complete(&device, 0, &ib)
}

/// No finding: a range that is given out again is its new owner's.
fn vram_is_used_while_it_is_somebodys(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = settled(|| Ok(device.param(uapi::PARAM_VRAM_USED)?))?;
    let first = Bo::new(&device, SIZE, Domain::Vram)?;
    let at = first.info()?.gpu_addr;
    fill(ctx, at)?;
    drop(first);
    eventually(PATIENCE, || Ok(device.param(uapi::PARAM_VRAM_USED)? <= used))?;
    let again = Bo::new(&device, SIZE, Domain::Vram)?;
    same("address of the next buffer", again.info()?.gpu_addr, at)?;
    fill(ctx, at)
}

/// One finding.
fn vram_is_used_after_it_was_freed(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = settled(|| Ok(device.param(uapi::PARAM_VRAM_USED)?))?;
    let bo = Bo::new(&device, SIZE, Domain::Vram)?;
    let at = bo.info()?.gpu_addr;
    drop(bo);
    eventually(PATIENCE, || Ok(device.param(uapi::PARAM_VRAM_USED)? <= used))?;
    fill(ctx, at)
}
