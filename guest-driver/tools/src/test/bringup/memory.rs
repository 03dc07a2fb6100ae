// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! VRAM's aperture and the GART, by raw addresses: what the engines see is what the CPU sees.

use anyhow::{ensure, Context, Result};
use uvm_spec::{nbio, uapi, PAGE_SIZE};

use crate::drm::{Bo, Device, Domain};
use crate::ib::{FillSize, Ib, Place};
use crate::model::u64_at;
use crate::test::case::{complete, content, filled, same, same_bytes, stamps, Ctx};
use crate::test::purpose::OnPurpose;

/// What the tests write into the dummy page.
const MARK: u32 = 0x600d_da7a;

pub fn mm_index_reaches_vram(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, PAGE_SIZE, Domain::Vram)?;
    let offset = bo.info()?.gpu_addr - device.param(uapi::PARAM_FB_START)?;
    let map = bo.map()?;
    let reg = |reg| nbio::NBIO.index(reg, 0);
    let point_at = |address: u64| -> Result<()> {
        device.set_reg(reg(&nbio::MM_INDEX_HI), u32::try_from(address >> 31)?)?;
        let low = u32::try_from(address & 0x7fff_ffff)?;
        Ok(device.set_reg(reg(&nbio::MM_INDEX), low | nbio::MM_INDEX::MM_APER.mask())?)
    };
    map.store(8, 0x8877_6655_4433_2211);
    point_at(offset + 8)?;
    same("low dword read through MM_DATA", device.reg(reg(&nbio::MM_DATA))?, 0x4433_2211)?;
    point_at(offset + 12)?;
    same("high dword read through MM_DATA", device.reg(reg(&nbio::MM_DATA))?, 0x8877_6655)?;
    point_at(offset + 4)?;
    device.set_reg(reg(&nbio::MM_DATA), 0xaabb_ccdd)?;
    same("what the CPU sees of a write through MM_DATA", map.load(0), 0xaabb_ccdd_0000_0000)?;
    device.set_reg(reg(&nbio::MM_INDEX_HI), 0)?;
    Ok(device.set_reg(reg(&nbio::MM_INDEX), 0)?)
}

/// Copies between a buffer object's raw address and another object, both ways, and checks with the CPU.
fn raw_address_reaches(ctx: &Ctx, domain: Domain, window: (u64, u64)) -> Result<()> {
    let device = ctx.device()?;
    let data = stamps(ctx.rng().next(), 3 * 4096 + 40);
    let target = filled(&device, domain, &data)?;
    let address = target.info()?.gpu_addr;
    let (start, size) = window;
    ensure!(
        address >= start && address + target.size() <= start + size,
        "{domain} object at {address:#x}, outside of {start:#x}..{:#x}",
        start + size
    );
    for ring in 0..2 {
        let other = Bo::new(&device, target.size(), Domain::Vram)?;
        let mut ib = Ib::new();
        ib.copy(Place::Raw(address), Place::Bo(other.handle(), 0), data.len() as u64);
        complete(&device, ring, &ib)?;
        same_bytes("what was read at the raw address", &content(&other, data.len())?, &data)?;
        let back: Vec<u8> = data.iter().map(|byte| !byte).collect();
        other.map()?.write(0, &back);
        let mut ib = Ib::new();
        ib.copy(Place::Bo(other.handle(), 0), Place::Raw(address), back.len() as u64);
        complete(&device, ring, &ib)?;
        same_bytes("what was written at the raw address", &content(&target, back.len())?, &back)?;
        target.map()?.write(0, &data);
    }
    Ok(())
}

pub fn fb_aperture_reaches_vram(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let window = (device.param(uapi::PARAM_FB_START)?, device.param(uapi::PARAM_VRAM_SIZE)?);
    raw_address_reaches(ctx, Domain::Vram, window)
}

pub fn gart_address_reaches_system_pages(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let window = (device.param(uapi::PARAM_GART_START)?, device.param(uapi::PARAM_GTT_SIZE)?);
    raw_address_reaches(ctx, Domain::Gtt, window)
}

/// A GART address in the middle of a range that was just given back.
fn freed_address(device: &Device) -> Result<u64> {
    let bo = Bo::new(device, 1 << 20, Domain::Gtt)?;
    Ok(bo.info()?.gpu_addr + bo.size() / 2)
}

/// The first 64-bit word of every page of the GART window, as an engine reads it.
fn first_words(device: &Device) -> Result<Vec<u64>> {
    let (start, size) = (device.param(uapi::PARAM_GART_START)?, device.param(uapi::PARAM_GTT_SIZE)?);
    let pages = size / PAGE_SIZE;
    let words = Bo::new(device, pages * 8, Domain::Vram)?;
    let mut page = 0;
    while page < pages {
        let mut ib = Ib::new();
        while page < pages && ib.has_room(7) {
            ib.copy(Place::Raw(start + page * PAGE_SIZE), Place::Bo(words.handle(), page * 8), 8);
            page += 1;
        }
        complete(device, u32::try_from(page % 2)?, &ib)?;
    }
    let bytes = content(&words, usize::try_from(pages * 8)?)?;
    Ok((0..bytes.len() / 8).map(|n| u64_at(&bytes, n * 8)).collect())
}

pub fn unbound_gart_entries_are_the_dummy_page(ctx: &Ctx) -> Result<()> {
    let _wrong = OnPurpose::begin();
    let device = ctx.device()?;
    let faults = device.param(uapi::PARAM_FAULTS)?;
    let bystander_data = stamps(ctx.rng().next(), 1 << 16);
    let bystander = filled(&device, Domain::Gtt, &bystander_data)?;
    let dummy = freed_address(&device)?;
    let paint = |value: u32| {
        let mut ib = Ib::new();
        ib.fill(Place::Raw(dummy), value, FillSize::Dword, PAGE_SIZE);
        complete(&device, 0, &ib).context("writing the dummy page")
    };
    paint(MARK)?;
    let words = first_words(&device);
    paint(0)?;
    let (words, mark) = (words?, u64::from(MARK) << 32 | u64::from(MARK));
    let unbound = words.iter().filter(|&&word| word == mark).count() as u64;
    let used = device.param(uapi::PARAM_GTT_USED)?.div_ceil(PAGE_SIZE);
    let total = words.len() as u64;
    ctx.note(format_args!("{total} GART entries, {unbound} on the dummy page, {used} in use"));
    ensure!(used > 0 && used < total, "{used} of {total} entries in use");
    // The driver may keep a part of the window to itself that it binds only now and then.
    ensure!(unbound + used >= total, "expected {} entries on the dummy page at least, seen {unbound}", total - used);
    let bound = bystander.size() / PAGE_SIZE;
    ensure!(unbound + bound < total, "{unbound} of {total} entries on the dummy page, with {bound} pages bound");
    same("page faults", device.param(uapi::PARAM_FAULTS)?, faults)?;
    same_bytes("an object in the GART meanwhile", &content(&bystander, bystander_data.len())?, &bystander_data)
}

pub fn freed_gart_range_no_longer_reaches_its_pages(ctx: &Ctx) -> Result<()> {
    let _wrong = OnPurpose::begin();
    let device = ctx.device()?;
    let data = stamps(ctx.rng().next(), 1 << 16);
    let bo = filled(&device, Domain::Gtt, &data)?;
    let old = bo.info()?.gpu_addr;
    bo.move_to(Domain::System, 0)?;
    same("address of an object in SYSTEM", bo.info()?.gpu_addr, 0)?;
    let faults = device.param(uapi::PARAM_FAULTS)?;
    let mut ib = Ib::new();
    ib.fill(Place::Raw(old + 4096), 0, FillSize::Dword, 4096);
    complete(&device, 1, &ib)?;
    same_bytes("the object after a write to its old address", &content(&bo, data.len())?, &data)?;
    same("page faults", device.param(uapi::PARAM_FAULTS)?, faults)
}
