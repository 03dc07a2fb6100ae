// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The GART window from end to end: what is bound nowhere is the dummy page, up to the last byte.

use anyhow::{Context, Result};
use uvm_spec::{uapi, PAGE_SIZE};

use crate::drm::{Bo, Device, Domain};
use crate::ib::{FillSize, Ib, Place};
use crate::test::case::{complete, content, filled, same, same_bytes, stamps, Ctx, Skip};
use crate::test::purpose::OnPurpose;
use crate::test::reload::with_parameters;

/// What the tests write into the dummy page.
pub const MARK: u32 = 0x0dd_ba11;

/// Writes the dummy page at `at`, an unbound address.
pub fn paint(device: &Device, at: u64, value: u32) -> Result<()> {
    let mut ib = Ib::new();
    ib.fill(Place::Raw(at), value, FillSize::Dword, PAGE_SIZE);
    complete(device, 0, &ib).context("writing the dummy page")
}

/// The dwords at `places`, as an engine reads them.
pub fn read_all(device: &Device, places: &[u64]) -> Result<Vec<u32>> {
    let bo = Bo::new(device, places.len() as u64 * 4, Domain::Vram)?;
    let mut ib = Ib::new();
    for (&place, to) in places.iter().zip((0..).step_by(4)) {
        ib.copy(Place::Raw(place), Place::Bo(bo.handle(), to), 4);
    }
    complete(device, 1, &ib)?;
    let bytes = content(&bo, places.len() * 4)?;
    Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// The driver's largest window is all there, and `more` holds of it.
pub fn largest_window(ctx: &Ctx, more: fn(&Ctx) -> Result<()>) -> Result<()> {
    let vram = ctx.device()?.param(uapi::PARAM_VRAM_VISIBLE)?;
    if vram < 48 << 20 {
        return Err(Skip(format!("{} MiB of VRAM have no room for its tables", vram >> 20)).into());
    }
    with_parameters(c"gart_mb=16384", || {
        let device = ctx.device()?;
        let (start, size) = (device.param(uapi::PARAM_GART_START)?, device.param(uapi::PARAM_GTT_SIZE)?);
        same("bytes of the window", size, 16 << 30)?;
        same("its end, where VRAM starts", start + size, device.param(uapi::PARAM_FB_START)?)?;
        let data = stamps(13, 3 << 20);
        let bo = filled(&device, Domain::System, &data)?;
        bo.move_to(Domain::Gtt, 0)?;
        bo.move_to(Domain::Vram, 1)?;
        bo.move_to(Domain::Gtt, 1)?;
        let faults = device.param(uapi::PARAM_FAULTS)?;
        // The driver's own memory and the object are at the start: all these are unbound.
        let last = start + size - PAGE_SIZE;
        let mut places: Vec<u64> = (1..16).map(|n| start + (n << 30)).flat_map(|border| [border - 4, border]).collect();
        places.push(start + size - 4);
        paint(&device, last, MARK)?;
        same("dwords on both sides of each GiB", read_all(&device, &places)?, vec![MARK; places.len()])?;
        paint(&device, last, 0)?;
        same("page faults", device.param(uapi::PARAM_FAULTS)?, faults)?;
        more(ctx)?;
        same_bytes("an object in the window", &content(&bo, data.len())?, &data)
    })
}

pub fn largest_window_reaches_to_its_end(ctx: &Ctx) -> Result<()> {
    let _wrong = OnPurpose::begin();
    largest_window(ctx, |_| Ok(()))
}
