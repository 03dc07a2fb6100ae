// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What is mapped is what is reached.

use anyhow::{ensure, Result};
use uvm_spec::uapi;

use super::{complete, copy, far, space, stride, vm_size, BASE, PACKETS, PAGE};
use crate::drm::{Bo, Domain, Space, RW};
use crate::ib::{Ib, Place};
use crate::rng::Rng;
use crate::test::case::{content, eventually, filled, same, same_bytes, settled, stamp, stamps, Ctx, PATIENCE};

pub fn mapped_memory_is_copied(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = space(ctx)?;
    for (n, from) in (0..).zip(Domain::ALL) {
        for to in Domain::ALL {
            let data = stamps(ctx.rng().next() ^ n, 5 * 4096);
            let length = data.len() as u64;
            let (source, target) = (filled(space.device(), from, &data)?, Bo::new(space.device(), length, to)?);
            space.device().bind(BASE, &source, 0, source.size(), uapi::VM_READ | uapi::VM_REPLACE)?;
            let to_va = far(space.device(), 1)?;
            space.device().bind(to_va, &target, 0, target.size(), RW | uapi::VM_REPLACE)?;
            copy(&space, ring, BASE + 4, to_va + 8, length - 8)?;
            let seen = content(&target, data.len())?;
            same_bytes(format_args!("a copy from {from} to {to}"), &seen[8..], &data[4..data.len() - 4])?;
        }
    }
    Ok(())
}

pub fn one_address_is_anothers_elsewhere(ctx: &Ctx) -> Result<()> {
    let both = [space(ctx)?, space(ctx)?];
    let bos = both
        .iter()
        .map(|space| {
            let bo = Bo::new(space.device(), PAGE, Domain::Vram)?;
            space.device().bind(BASE, &bo, 0, PAGE, RW)?;
            Ok(bo)
        })
        .collect::<Result<Vec<_>>>()?;
    // One after the other several times: each comes back to what it had.
    for round in 0..4_u32 {
        for (space, n) in both.iter().zip(0..) {
            let mut ib = Ib::new();
            ib.fence(Place::Raw(BASE + 8 * u64::from(round)), 100 * n + round + 1);
            complete(space, n, &ib)?;
        }
    }
    for (bo, n) in bos.iter().zip(0..) {
        let map = bo.map()?;
        let seen: Vec<u64> = (0..4).map(|round| map.load(8 * round)).collect();
        same(format_args!("what client {n} wrote"), seen, (1..=4).map(|round| 100 * n + round).collect())?;
    }
    Ok(())
}

pub fn one_buffer_lies_at_many_addresses(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let bo = Bo::new(space.device(), 8 * PAGE, Domain::Gtt)?;
    // Page n at the n-th of a row of distant addresses, the last first.
    let apart = stride(space.device())? + 7 * PAGE;
    let places: Vec<u64> = (0..8).map(|n| BASE + n * apart).collect();
    let mut ib = Ib::new();
    for ((n, va), value) in (0..).zip(&places).zip(1..) {
        space.device().bind(*va, &bo, n * PAGE, PAGE, RW)?;
        ib.fence(Place::Raw(va + 16), value);
    }
    complete(&space, 0, &ib)?;
    let map = bo.map()?;
    let seen: Vec<u64> = (0..8).map(|n| map.load(n * 4096 + 16)).collect();
    same("a word of each page", seen, (1..=8).collect())
}

pub fn large_buffer_is_mapped_by_large_blocks(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let size: u64 = 8 << 20;
    let data = stamps(ctx.rng().next(), usize::try_from(size)?);
    let (source, target) = (filled(space.device(), Domain::Vram, &data)?, Bo::new(space.device(), size, Domain::Vram)?);
    space.device().bind(BASE, &source, 0, size, RW)?;
    let to = far(space.device(), 1)?;
    space.device().bind(to, &target, 0, size, RW)?;
    let walks = space.device().param(uapi::PARAM_DEVICE_WALKS)?;
    copy(&space, 0, BASE, to, size)?;
    let walks = space.device().param(uapi::PARAM_DEVICE_WALKS)? - walks;
    same_bytes("8 MiB", &content(&target, data.len())?, &data)?;
    // 4096 pages in all; a buffer that is not aligned well in VRAM takes smaller blocks at its ends.
    ensure!(walks < 256, "expected few walks for 16 MiB in large blocks, seen {walks}");
    Ok(())
}

pub fn replaced_mapping_takes_effect_at_once(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let device = space.device();
    let bos =
        (1..=8).map(|n| filled(device, Domain::GPU[usize::from(n % 2)], &[n; 4096])).collect::<Result<Vec<_>>>()?;
    let target = Bo::new(device, PAGE, Domain::Gtt)?;
    device.bind(BASE + PAGE, &target, 0, PAGE, RW)?;
    for (n, bo) in (1..).zip(&bos) {
        device.bind(BASE, bo, 0, PAGE, RW | uapi::VM_REPLACE)?;
        for ring in 0..2 {
            copy(&space, ring, BASE, BASE + PAGE, PAGE)?;
            same_bytes(format_args!("buffer {n}"), &content(&target, 4096)?, &[n; 4096])?;
        }
    }
    Ok(())
}

pub fn replaced_middle_leaves_the_ends(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let device = space.device();
    let (old, new) = (stamps(1, 5 * 4096), stamps(2, 4096));
    let (under, over) = (filled(device, Domain::Vram, &old)?, filled(device, Domain::Gtt, &new)?);
    let target = Bo::new(device, 5 * PAGE, Domain::Gtt)?;
    device.bind(BASE, &under, 0, 5 * PAGE, RW)?;
    device.bind(BASE + 2 * PAGE, &over, 0, PAGE, RW | uapi::VM_REPLACE)?;
    let to = far(device, 3)?;
    device.bind(to, &target, 0, 5 * PAGE, RW)?;
    copy(&space, 0, BASE, to, 5 * PAGE)?;
    let mut expected = old;
    expected[2 * 4096..3 * 4096].copy_from_slice(&new);
    same_bytes("five pages", &content(&target, expected.len())?, &expected)?;
    // The ends follow their buffer still.
    under.move_to(Domain::Gtt, 1)?;
    copy(&space, 1, BASE, to, 5 * PAGE)?;
    same_bytes("five pages after a move", &content(&target, expected.len())?, &expected)
}

pub fn closed_handle_stays_mapped(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let device = space.device();
    let data = stamps(ctx.rng().next(), 4096);
    let target = Bo::new(device, PAGE, Domain::Gtt)?;
    device.bind(BASE + PAGE, &target, 0, PAGE, RW)?;
    let before = settled(|| Ok(device.param(uapi::PARAM_VRAM_USED)?))?;
    let source = filled(device, Domain::Vram, &data)?;
    device.bind(BASE, &source, 0, PAGE, uapi::VM_READ)?;
    drop(source);
    copy(&space, 0, BASE, BASE + PAGE, PAGE)?;
    same_bytes("what was mapped", &content(&target, 4096)?, &data)?;
    device.unbind(BASE, PAGE)?;
    let freed = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_VRAM_USED)? <= before))?;
    ensure!(freed, "the unmapped buffer is still there");
    Ok(())
}

/// Pages of the model's range.
const PAGES: u64 = 96;
/// Pages of each of its buffers.
const EACH: u64 = 64;

/// What a page of the model's range is.
#[derive(Clone, Copy, Debug)]
enum Page {
    Unmapped,
    /// Partially resident.
    Nothing,
    /// Page of a buffer.
    Of(usize, u64),
}

/// A range of a client's space and what it should be, page by page.
pub struct Model {
    base: u64,
    salts: Vec<u64>,
    bos: Vec<Bo>,
    pages: Vec<Page>,
    target: Bo,
}

impl Model {
    /// Some buffers and a range that is not mapped yet, around a border of tables of several levels.
    pub fn new(space: &Space, rng: &mut Rng) -> Result<Self> {
        let device = space.device();
        let base = (vm_size(device)? / 2).min(1 << 39) - 40 * PAGE;
        let length = usize::try_from(EACH * PAGE)?;
        let salts: Vec<u64> = (0..4).map(|_| rng.next()).collect();
        let bos = salts
            .iter()
            .zip([Domain::System, Domain::Gtt, Domain::Vram, Domain::Vram])
            .map(|(salt, domain)| filled(device, domain, &stamps(*salt, length)))
            .collect::<Result<Vec<_>>>()?;
        let target = Bo::new(device, PAGES * PAGE, Domain::Gtt)?;
        device.bind(BASE, &target, 0, target.size(), RW)?;
        Ok(Self { base, salts, bos, pages: vec![Page::Unmapped; usize::try_from(PAGES)?], target })
    }

    /// A random change, to be made in the order they are asked for.
    pub fn change(&mut self, rng: &mut Rng) -> Result<uapi::VmBind> {
        let count = rng.size(40);
        let first = rng.below(PAGES - count + 1);
        let range = uapi::VmBind { va: self.base + first * PAGE, size: count * PAGE, ..Default::default() };
        let (bo, at) = (rng.index(self.bos.len()), rng.below(EACH - count + 1));
        let kind = rng.below(8);
        for (page, n) in self.pages.iter_mut().skip(usize::try_from(first)?).take(usize::try_from(count)?).zip(at..) {
            *page = match kind {
                0 => Page::Unmapped,
                1 => Page::Nothing,
                _ => Page::Of(bo, n),
            };
        }
        Ok(match kind {
            0 => uapi::VmBind { op: uapi::VM_OP_UNMAP, ..range },
            1 => uapi::VmBind { op: uapi::VM_OP_PRT, flags: uapi::VM_REPLACE, ..range },
            _ => uapi::VmBind {
                op: uapi::VM_OP_MAP,
                flags: RW | uapi::VM_REPLACE,
                handle: self.bos[bo].handle(),
                bo_offset: at * PAGE,
                ..range
            },
        })
    }

    /// Moves one of the buffers to anywhere.
    pub fn move_one(&self, rng: &mut Rng) -> Result<()> {
        let bo = &self.bos[rng.index(self.bos.len())];
        Ok(bo.move_to(rng.pick(&Domain::ALL), u32::try_from(rng.below(2))?)?)
    }

    /// Reads a word of each mapped page, the same within each.
    pub fn check(&self, space: &Space, rng: &mut Rng, round: u32) -> Result<()> {
        let within = 8 * rng.below(512);
        let mut ib = Ib::new();
        for (n, _) in (0..).zip(&self.pages).filter(|(_, page)| !matches!(page, Page::Unmapped)) {
            ib.copy(Place::Raw(self.base + n * PAGE + within), Place::Raw(BASE + n * PAGE + within), 8);
        }
        if ib.is_empty() {
            return Ok(());
        }
        complete(space, round % 2, &ib)?;
        let map = self.target.map()?;
        for (n, page) in (0..).zip(&self.pages) {
            let expected = match *page {
                Page::Unmapped => continue,
                Page::Nothing => 0,
                Page::Of(bo, page) => stamp(self.salts[bo], (page * PAGE + within) / 8),
            };
            let seen = map.load(usize::try_from(n * PAGE + within)?);
            same(format_args!("round {round}, page {n} ({page:?}) at {within:#x}"), seen, expected)?;
        }
        Ok(())
    }
}

pub fn random_binds_match_the_model(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let space = space(ctx)?;
    let mut model = Model::new(&space, &mut rng)?;
    for round in 0..60 {
        for _ in 0..=rng.below(4) {
            space.device().bind_raw(&mut model.change(&mut rng)?)?;
        }
        if rng.below(4) == 0 {
            model.move_one(&mut rng)?;
        }
        model.check(&space, &mut rng, round)?;
    }
    Ok(())
}

pub fn highest_address_works(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let size = vm_size(space.device())?;
    let data = stamps(7, 4096);
    let bo = filled(space.device(), Domain::Gtt, &data)?;
    let target = Bo::new(space.device(), PAGE, Domain::Vram)?;
    space.device().bind(size - PAGE, &bo, 0, PAGE, RW)?;
    space.device().bind(0, &target, 0, PAGE, RW)?;
    copy(&space, 0, size - PAGE, 0, PAGE)?;
    same_bytes("the page at address 0", &content(&target, 4096)?, &data)
}

pub fn ended_space_leaves_nothing_behind(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = || -> Result<_> { Ok((device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_GTT_USED)?)) };
    let before = settled(used)?;
    for n in 0..10 {
        let space = space(ctx)?;
        let bo = Bo::new(space.device(), 1 << 20, Domain::Vram)?;
        for place in 0..8 {
            space.device().bind(far(space.device(), place)?, &bo, 0, bo.size(), RW)?;
        }
        drop(bo);
        copy(&space, n % 2, PACKETS, BASE, 4096)?;
        ensure!(used()?.0 >= before.0 + (1 << 20), "the buffer is gone while it is mapped");
    }
    let freed = eventually(PATIENCE, || Ok(used()? == before))?;
    ensure!(freed, "memory in use: expected {before:x?}, seen {:x?}", used()?);
    Ok(())
}
