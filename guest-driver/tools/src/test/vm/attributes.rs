// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What mappings say beside where.

use anyhow::{ensure, Result};
use uvm_spec::uapi::{self, VmBind};

use super::{complete, copy, far, space, stride, BASE, PAGE};
use crate::drm::{Bo, Domain, RW};
use crate::ib::{FillSize, Ib, Place};
use crate::test::case::{content, filled, same_bytes, stamps, Ctx};
use crate::test::purpose::OnPurpose;

pub fn partially_resident_range_reads_zero(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let device = space.device();
    let target = filled(device, Domain::Gtt, &[0xff; 3 * 4096])?;
    device.bind(BASE, &target, 0, 3 * PAGE, RW)?;
    // More than a table's worth, so that directories say it too.
    let (sparse, length) = (far(device, 2)?, stride(device)?.min(1 << 30));
    device.bind_nothing(sparse, length)?;
    let mut ib = Ib::new();
    ib.fill(Place::Raw(sparse + (5 << 20)), 0x1234_5678, FillSize::Dword, 2 * PAGE);
    ib.copy(Place::Raw(sparse + (5 << 20)), Place::Raw(BASE), PAGE);
    ib.copy(Place::Raw(sparse + length - PAGE), Place::Raw(BASE + PAGE), PAGE);
    complete(&space, 0, &ib)?;
    let seen = content(&target, 3 * 4096)?;
    same_bytes("what was read of nothing", &seen[..2 * 4096], &[0; 2 * 4096])?;
    same_bytes("what was not written", &seen[2 * 4096..], &[0xff; 4096])?;
    // Part of it becomes resident.
    let data = stamps(3, 4096);
    let bo = filled(device, Domain::Vram, &data)?;
    device.bind(sparse + (5 << 20), &bo, 0, PAGE, RW | uapi::VM_REPLACE)?;
    let mut ib = Ib::new();
    ib.copy(Place::Raw(sparse + (5 << 20)), Place::Raw(BASE), 2 * PAGE);
    complete(&space, 1, &ib)?;
    let seen = content(&target, 2 * 4096)?;
    same_bytes("the resident page", &seen[..4096], &data)?;
    same_bytes("the page behind it", &seen[4096..], &[0; 4096])
}

pub fn tmz_page_is_clear_to_its_mapping_only(ctx: &Ctx) -> Result<()> {
    let _wrong = OnPurpose::begin();
    let space = space(ctx)?;
    let device = space.device();
    let data = stamps(ctx.rng().next(), 2 * 4096);
    let source = filled(device, Domain::Gtt, &data)?;
    let secret = Bo::new(device, 2 * PAGE, Domain::Vram)?;
    let target = Bo::new(device, 2 * PAGE, Domain::Gtt)?;
    let at = |n: u64| BASE + n * 16 * PAGE;
    device.bind(at(0), &source, 0, 2 * PAGE, RW)?;
    device.bind(at(1), &secret, 0, 2 * PAGE, RW | uapi::VM_TMZ)?;
    device.bind(at(2), &secret, 0, 2 * PAGE, RW)?;
    device.bind(at(3), &target, 0, 2 * PAGE, RW)?;
    copy(&space, 0, at(0), at(1), 2 * PAGE)?;

    let cipher = content(&secret, data.len())?;
    let alike = cipher.iter().zip(&data).filter(|(a, b)| a == b).count();
    // By chance one byte of 256 is alike.
    ensure!(alike < data.len() / 16, "through the BAR, {alike} of {} bytes are as they were written", data.len());
    copy(&space, 1, at(2), at(3), 2 * PAGE)?;
    same_bytes("through a mapping without TMZ", &content(&target, data.len())?, &cipher)?;
    copy(&space, 1, at(1), at(3), 2 * PAGE)?;
    same_bytes("through the TMZ mapping", &content(&target, data.len())?, &data)
}

/// The device keeps no caches of data: of a memory type, what can be seen is that the access still ends at its place.
pub fn memory_types_reach_the_memory(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let device = space.device();
    let bo = Bo::new(device, 8 * PAGE, Domain::Vram)?;
    let mut ib = Ib::new();
    for n in 0..8 {
        let mtype = n % 4;
        let flags = RW | if n < 4 { uapi::VM_SNOOPED } else { uapi::VM_EXECUTE };
        let va = BASE + u64::from(n) * PAGE;
        device.bind_raw(&mut VmBind {
            op: uapi::VM_OP_MAP,
            flags,
            handle: bo.handle(),
            mtype,
            bo_offset: u64::from(n) * PAGE,
            va,
            size: PAGE,
            ..Default::default()
        })?;
        ib.fence(Place::Raw(va), n + 1);
    }
    complete(&space, 0, &ib)?;
    let map = bo.map()?;
    for n in 0..8 {
        let seen = map.load(n * 4096);
        ensure!(seen == n as u64 + 1, "page {n}: expected {}, seen {seen}", n + 1);
    }
    Ok(())
}
