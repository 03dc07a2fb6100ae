// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `migrate`: a process's own memory goes to VRAM and comes back.
//!
//! Where it is, is not taken from the driver's word: VRAM is read by the engine, at the addresses of the chunks that the
//! driver names, and must have the bytes.

use std::collections::HashSet;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::{uapi, PAGE_SIZE};

use super::case::{complete, content, eventually, refused, same, same_bytes, stamps, Case, Ctx, Run, PATIENCE};
use super::reload::debugfs;
use crate::drm::{Bo, Device, Domain, Mapping};
use crate::ib::{Ib, Place};

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("bytes_are_in_vram_and_come_back_by_access", bytes_are_in_vram_and_come_back_by_access),
    once("folio_of_a_block_moves_as_one", folio_of_a_block_moves_as_one),
    once("prefetch_to_system_brings_all_back", prefetch_to_system_brings_all_back),
    once("memory_never_touched_reads_as_zeros", memory_never_touched_reads_as_zeros),
    once("odd_arguments_are_refused", odd_arguments_are_refused),
    once("unmapped_memory_gives_vram_back", unmapped_memory_gives_vram_back),
];

const PAGE: usize = PAGE_SIZE as usize;
const BLOCK: u64 = 2 << 20;

/// A process's own memory, and what must be in it.
pub struct Own {
    memory: Mapping,
    model: Vec<u8>,
}

impl Own {
    /// `length` bytes of `salt`.
    pub fn new(salt: u64, length: usize, huge: bool) -> Result<Self> {
        let memory = Mapping::own(length, huge)?;
        let model = stamps(salt, length);
        memory.write(0, &model);
        Ok(Self { memory, model })
    }

    /// Where it starts.
    pub fn va(&self) -> u64 {
        self.memory.address()
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.model.len() as u64
    }

    /// Has all that can go be in a domain; bytes that were moved.
    pub fn go(&self, device: &Device, domain: Domain) -> Result<u64> {
        let told = device.prefetch(self.va(), self.size(), domain)?;
        same("bytes that could not be moved", told.failed, 0)?;
        Ok(told.moved)
    }

    /// What the CPU sees.
    pub fn check(&self) -> Result<()> {
        let mut seen = vec![0; self.model.len()];
        self.memory.read(0, &mut seen);
        same_bytes("what the CPU sees", &seen, &self.model)
    }
}

/// Offsets of the chunks of VRAM that hold processes' memory.
fn chunks() -> Result<Vec<u64>> {
    let text = debugfs("uvm_devmem")?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("chunk 0x"));
    lines
        .map(|line| {
            let (offset, _) = line.split_once(':').with_context(|| line.to_owned())?;
            Ok(u64::from_str_radix(offset, 16)?)
        })
        .collect()
}

/// The pages that VRAM's chunks have, as the engine reads them.
fn pages_in_vram(device: &Device) -> Result<HashSet<Vec<u8>>> {
    let base = device.param(uapi::PARAM_FB_START)?;
    let bo = Bo::new(device, BLOCK, Domain::Gtt)?;
    let mut pages = HashSet::new();
    for chunk in chunks()? {
        let mut ib = Ib::new();
        ib.copy(Place::Raw(base + chunk), Place::Bo(bo.handle(), 0), BLOCK);
        complete(device, 0, &ib)?;
        pages.extend(content(&bo, usize::try_from(BLOCK)?)?.chunks(PAGE).map(<[u8]>::to_vec));
    }
    Ok(pages)
}

/// Fails unless VRAM has all of it.
fn is_in_vram(device: &Device, own: &Own) -> Result<()> {
    let pages = pages_in_vram(device)?;
    let missing = own.model.chunks(PAGE).filter(|page| !pages.contains(*page)).count();
    same("pages that VRAM does not have", missing, 0)
}

fn bytes_are_in_vram_and_come_back_by_access(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut own = Own::new(ctx.rng().next(), 64 * PAGE, false)?;
    let (used, faults) = (device.param(uapi::PARAM_DEVMEM_USED)?, device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?);
    let by_engine = device.param(uapi::PARAM_DEVICE_BYTES)?;
    same("bytes moved", own.go(&device, Domain::Vram)?, own.size())?;
    same("bytes in VRAM", device.param(uapi::PARAM_DEVMEM_USED)?, used + own.size())?;
    let by_engine = device.param(uapi::PARAM_DEVICE_BYTES)? - by_engine;
    ensure!(by_engine >= own.size(), "the engine moved {by_engine} bytes");
    same("bytes moved, once they are there", own.go(&device, Domain::Vram)?, 0)?;
    is_in_vram(&device, &own)?;
    same("accesses by the CPU so far", device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?, faults)?;

    own.check()?;
    let now = device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?;
    ensure!(now > faults && now <= faults + 4, "{} accesses of the CPU brought pages back", now - faults);
    same("bytes in VRAM after that", device.param(uapi::PARAM_DEVMEM_USED)?, used)?;

    // A write finds the page, not what was there before it went.
    own.go(&device, Domain::Vram)?;
    let word = stamps(7, 8);
    own.memory.write(5 * PAGE + 16, &word);
    own.model[5 * PAGE + 16..][..8].copy_from_slice(&word);
    own.check()
}

fn folio_of_a_block_moves_as_one(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let own = Own::new(ctx.rng().next(), 4 << 20, true)?;
    let huge = device.param(uapi::PARAM_DEVMEM_HUGE)?;
    same("bytes moved", own.go(&device, Domain::Vram)?, own.size())?;
    same("folios that went", device.param(uapi::PARAM_DEVMEM_HUGE)?, huge + 2)?;
    is_in_vram(&device, &own)?;
    let faults = device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?;
    own.check()?;
    same("accesses that brought folios back", device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?, faults + 2)?;
    same("folios that went and came", device.param(uapi::PARAM_DEVMEM_HUGE)?, huge + 4)
}

fn prefetch_to_system_brings_all_back(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for huge in [false, true] {
        let own = Own::new(ctx.rng().next(), 3 << 20, huge)?;
        let faults = device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?;
        same("bytes that went", own.go(&device, Domain::Vram)?, own.size())?;
        same("bytes that came", own.go(&device, Domain::System)?, own.size())?;
        own.check()?;
        same("accesses that brought pages back", device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?, faults)?;
    }
    Ok(())
}

fn memory_never_touched_reads_as_zeros(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    // What a chunk held before is not what the next owner sees.
    Own::new(ctx.rng().next(), 4 << 20, true)?.go(&device, Domain::Vram)?;
    for huge in [false, true] {
        let own = Own { memory: Mapping::own(2 << 20, huge)?, model: vec![0; 2 << 20] };
        same("bytes moved", own.go(&device, Domain::Vram)?, own.size())?;
        own.check()?;
    }
    Ok(())
}

fn odd_arguments_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let own = Own::new(ctx.rng().next(), 16 * PAGE, false)?;
    let right = uapi::SvmPrefetch { va: own.va(), size: own.size(), domain: uapi::DOMAIN_VRAM, ..Default::default() };
    for (what, wrong) in [
        ("an address within a page", uapi::SvmPrefetch { va: right.va + 8, ..right }),
        ("a size within a page", uapi::SvmPrefetch { size: 100, ..right }),
        ("no size", uapi::SvmPrefetch { size: 0, ..right }),
        ("an unknown domain", uapi::SvmPrefetch { domain: 3, ..right }),
        ("the GTT, where no memory of processes goes", uapi::SvmPrefetch { domain: uapi::DOMAIN_GTT, ..right }),
        ("flags", uapi::SvmPrefetch { flags: 1, ..right }),
        ("the end of all addresses", uapi::SvmPrefetch { va: !0xfff, size: 1 << 20, ..right }),
        ("the kernel's half", uapi::SvmPrefetch { va: 1 << 63, ..right }),
    ] {
        let mut arg = wrong;
        refused(what, device.prefetch_raw(&mut arg), &[Errno::INVAL])?;
    }
    // Addresses without memory are passed over.
    let nothing = Mapping::own(4 << 20, false)?.address();
    same("bytes moved where nothing is", device.prefetch(nothing, 4 << 20, Domain::Vram)?.moved, 0)?;
    own.check()
}

fn unmapped_memory_gives_vram_back(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = device.param(uapi::PARAM_DEVMEM_USED)?;
    let vram = device.param(uapi::PARAM_VRAM_USED)?;
    for huge in [false, true] {
        let own = Own::new(ctx.rng().next(), 8 << 20, huge)?;
        own.go(&device, Domain::Vram)?;
        same("bytes in VRAM", device.param(uapi::PARAM_DEVMEM_USED)?, used + own.size())?;
        drop(own);
        same("bytes in VRAM after unmapping", device.param(uapi::PARAM_DEVMEM_USED)?, used)?;
    }
    let back = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_VRAM_USED)? <= vram))?;
    ensure!(back, "VRAM in use: {vram} before, {} after", device.param(uapi::PARAM_VRAM_USED)?);
    Ok(())
}
