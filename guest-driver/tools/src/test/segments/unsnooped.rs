// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Buffers whose system pages nobody snoops: the CPU does not cache them either.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::{pte, uapi};

use super::{given_back, number, segments, UNSNOOPED};
use crate::drm::{Bo, Device, Domain, FenceState, Space, RW};
use crate::ib::{FillSize, Ib, Place};
use crate::test::case::{content, refused, same, same_bytes, settled, stamps, Ctx, Skip, PATIENCE};
use crate::test::gart;

const PACKETS: u64 = 1 << 30;
const AT: u64 = 1 << 32;
const SIZE: u64 = 1 << 20;
/// Of /proc/kpageflags: what x86 marks pages with that are mapped write-combining.
const KPF_ARCH: u64 = 1 << 38;

/// A device with such a segment.
fn device(ctx: &Ctx) -> Result<Device> {
    if !segments()?.contains_key(UNSNOOPED) {
        let device = ctx.device()?;
        refused(
            "an unsnooped buffer",
            Bo::pageable_as(&device, SIZE, Domain::Gtt, uapi::GEM_UNSNOOPED),
            &[Errno::INVAL],
        )?;
        return Err(Skip("the device has no unsnooped segment".into()).into());
    }
    ctx.device()
}

fn unsnooped(device: &Device, size: u64, domain: Domain) -> Result<Bo> {
    Ok(Bo::pageable_as(device, size, domain, uapi::GEM_UNSNOOPED)?)
}

/// What the kernel says of a page by its physical address.
fn page_flags(physical: u64) -> Result<u64> {
    let mut flags = [0; 8];
    let file = File::open("/proc/kpageflags").context("/proc/kpageflags")?;
    file.read_exact_at(&mut flags, physical / 4096 * 8)?;
    Ok(u64::from_le_bytes(flags))
}

/// Entries of the GART in a segment that lead to a page of their own.
fn bound(device: &Device, kind: &str) -> Result<Vec<u64>> {
    let all = gart::entries(device)?;
    // Nobody has the end of the paging segment now: it leads to the dummy page.
    let dummy = all.last().copied().context("an empty table")?;
    let page = |bytes: u64| usize::try_from(bytes / 4096);
    let (first, count) = (page(number(kind, "base")?)?, page(number(kind, "size")?)?);
    let there = all.get(first..first + count).context("a segment behind the table")?;
    Ok(there.iter().copied().filter(|entry| entry & pte::PTE_ADDR != dummy & pte::PTE_ADDR).collect())
}

pub fn unsnooped_buffer_is_not_cached(ctx: &Ctx) -> Result<()> {
    let device = device(ctx)?;
    let before = settled(|| number(UNSNOOPED, "used"))?;
    let bo = unsnooped(&device, SIZE, Domain::Gtt)?;
    bo.move_to(Domain::Gtt, 0)?;
    bo.map()?.store(0, 1);
    same("bytes in the segment", number(UNSNOOPED, "used")? - before, SIZE)?;
    let entries = bound(&device, UNSNOOPED)?;
    same("entries of the segment that lead somewhere", entries.len() as u64, (before + SIZE) / 4096)?;
    for entry in &entries {
        same(format_args!("SYSTEM and SNOOPED of {entry:#x}"), entry & (pte::SYSTEM | pte::SNOOPED), pte::SYSTEM)?;
        let flags = page_flags(entry & pte::PTE_ADDR)?;
        ensure!(flags & KPF_ARCH != 0, "the page of {entry:#x} is not write-combining: {flags:#x}");
    }
    for entry in bound(&device, "pcie-snooped")? {
        same(format_args!("SNOOPED of {entry:#x}"), entry & pte::SNOOPED, pte::SNOOPED)?;
    }
    drop(bo);
    // The kernel has them back as they were.
    given_back(UNSNOOPED, before)?;
    for entry in &entries {
        let flags = page_flags(entry & pte::PTE_ADDR)?;
        same(format_args!("whether the page of {entry:#x} is write-combining"), flags & KPF_ARCH, 0)?;
    }
    Ok(())
}

pub fn unsnooped_buffer_keeps_its_bytes(ctx: &Ctx) -> Result<()> {
    let device = device(ctx)?;
    let data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    let bo = unsnooped(&device, SIZE, Domain::Vram)?;
    bo.map()?.write(0, &data);
    for domain in [Domain::Gtt, Domain::Vram, Domain::Gtt] {
        bo.move_to(domain, 0)?;
        same(format_args!("where it is after a move to {domain}"), bo.domain()?, domain)?;
        same_bytes(format_args!("bytes in {domain}"), &content(&bo, data.len())?, &data)?;
    }
    // Through the tables of a process: whether it asks for snooping or not.
    let space = Space::new(&device, PACKETS, 1 << 16)?;
    for (n, flags) in [(0, RW), (1, RW | uapi::VM_SNOOPED)] {
        let va = AT + n * 2 * SIZE;
        device.bind(va, &bo, 0, SIZE, flags)?;
        let mut ib = Ib::new();
        ib.copy(Place::Raw(va), Place::Raw(va + SIZE / 2), SIZE / 2 - 4096);
        ib.fill(Place::Raw(va + SIZE - 4096), 0x5a5a_0000 + u32::try_from(n)?, FillSize::Dword, 4096);
        same("fence of a copy", space.run(0, &ib, PATIENCE)?, FenceState::Done)?;
    }
    let half = data.len() / 2;
    let seen = content(&bo, data.len())?;
    same_bytes("the first half", &seen[..half], &data[..half])?;
    same_bytes("its copy", &seen[half..data.len() - 4096], &data[..half - 4096])?;
    same_bytes("the last page", &seen[data.len() - 4096..], &0x5a5a_0001_u32.to_le_bytes().repeat(1024))
}

/// More of them than the segment holds: they take turns.
pub fn unsnooped_segment_makes_room(ctx: &Ctx) -> Result<()> {
    let device = device(ctx)?;
    let room = number(UNSNOOPED, "size")?;
    let size = (room / 4) & !4095;
    let mut rng = ctx.rng();
    let mut all = Vec::new();
    for _ in 0..6 {
        let data = stamps(rng.next(), usize::try_from(size)?);
        let bo = unsnooped(&device, size, Domain::Gtt)?;
        bo.map()?.write(0, &data);
        bo.move_to(Domain::Gtt, 0)?;
        same("where it is", bo.domain()?, Domain::Gtt)?;
        all.push((bo, data));
    }
    ensure!(number(UNSNOOPED, "used")? <= room, "more is used than there is");
    for (bo, data) in &all {
        same_bytes("bytes of one", &content(bo, data.len())?, data)?;
    }
    Ok(())
}
