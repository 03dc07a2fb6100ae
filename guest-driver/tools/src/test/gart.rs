// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The GART's entries as the driver wrote them, in either profile.

use anyhow::Result;
use uvm_spec::hub::{mm, MM_HUB};
use uvm_spec::window::cap;
use uvm_spec::{pte, uapi, PAGE_SIZE};

use super::case::{complete, content};
use super::vidmm;
use crate::drm::{Bo, Device, Domain};
use crate::ib::{Ib, Place};
use crate::model::u64_at;

/// Where in VRAM the entries lie, all in a row.
fn table(device: &Device) -> Result<u64> {
    if device.param(uapi::PARAM_CAPABILITIES)? & cap::VIDMM != 0 {
        let entry = vidmm::directory_entry(device, device.param(uapi::PARAM_GART_START)?)?;
        return Ok(entry & pte::PDE_ADDR);
    }
    let half = |n| device.reg(MM_HUB.index(&mm::VM_CONTEXT_PAGE_TABLE_BASE_ADDR, n)).map(u64::from);
    Ok((half(0)? | half(1)? << 32) & pte::PDE_ADDR)
}

/// All of them, in order, as an engine reads them.
pub fn entries(device: &Device) -> Result<Vec<u64>> {
    let bytes = device.param(uapi::PARAM_GTT_SIZE)? / PAGE_SIZE * pte::ENTRY_BYTES;
    let bo = Bo::new(device, bytes, Domain::Vram)?;
    let mut ib = Ib::new();
    ib.copy(Place::Raw(device.param(uapi::PARAM_FB_START)? + table(device)?), Place::Bo(bo.handle(), 0), bytes);
    complete(device, 0, &ib)?;
    let entries = content(&bo, usize::try_from(bytes)?)?;
    Ok((0..entries.len()).step_by(8).map(|at| u64_at(&entries, at)).collect())
}
