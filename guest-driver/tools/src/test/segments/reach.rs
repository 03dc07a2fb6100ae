// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The CPU's ways to VRAM: a mapping where the BAR shows it, and single bytes wherever they are.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use rustix::io::Errno;
use uvm_spec::uapi;
use uvm_spec::window::cap;

use super::{best_of_vram, given_back, number, INVISIBLE, VISIBLE};
use crate::drm::{Bo, Device, Domain, FenceState, Space, RW};
use crate::ib::{Ib, Place};
use crate::test::case::{content, filled, refused, same, same_bytes, settled, stamps, Ctx, PATIENCE};
use crate::test::svm_migrate::Own;

/// Where things lie in a client's space.
const PACKETS: u64 = 1 << 30;
const AT: u64 = 1 << 32;
const OTHER: u64 = 1 << 33;
const SIZE: u64 = 2 << 20;

/// A device of whose VRAM the CPU reaches a part.
fn small_bar(ctx: &Ctx) -> Result<Device> {
    let device = ctx.device_with(cap::SMALL_BAR, "one with a small BAR");
    if std::env::var_os("UVM_BAR_MIB").is_some() {
        return device.context("the launcher asked for a small BAR");
    }
    device
}

/// A buffer in VRAM with this content, which only engines have touched; and a space with it at [`AT`].
fn by_engine(device: &Device, data: &[u8], flags: u32) -> Result<(Space, Bo)> {
    let size = data.len() as u64;
    let space = Space::new(device, PACKETS, 1 << 16)?;
    let source = filled(device, Domain::Gtt, data)?;
    let bo = Bo::pageable_as(device, size, Domain::Vram, flags)?;
    device.bind(AT, &bo, 0, size, RW)?;
    device.bind(OTHER, &source, 0, size, RW)?;
    copy(&space, OTHER, AT, size)?;
    device.unbind(OTHER, size)?;
    Ok((space, bo))
}

fn copy(space: &Space, from: u64, to: u64, bytes: u64) -> Result<()> {
    let mut ib = Ib::new();
    ib.copy(Place::Raw(from), Place::Raw(to), bytes);
    same("fence of a copy", space.run(0, &ib, PATIENCE)?, FenceState::Done)
}

/// What an engine sees in the buffer at [`AT`].
fn seen_by_engine(space: &Space, bytes: usize) -> Result<Vec<u8>> {
    let device = space.device();
    let target = Bo::new(device, bytes as u64, Domain::Gtt)?;
    device.bind(OTHER, &target, 0, target.size(), RW)?;
    copy(space, AT, OTHER, bytes as u64)?;
    device.unbind(OTHER, target.size())?;
    content(&target, bytes)
}

/// Offsets and lengths across words, pages and pieces of a copy.
const PIECES: [(usize, usize); 5] = [(0, 1), (4095, 2), (12_345, 70_001), (65_535, 131_074), ((2 << 20) - 3, 3)];

pub fn bytes_are_read_and_written_wherever_they_are(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let mut data = stamps(rng.next(), usize::try_from(SIZE)?);
    let best = best_of_vram()?;
    let before = settled(|| number(best, "used"))?;
    let (space, bo) = by_engine(&device, &data, 0)?;
    same(format_args!("bytes in {best}"), number(best, "used")? - before, SIZE)?;
    for place in [Domain::Vram, Domain::Gtt, Domain::Vram] {
        bo.move_to(place, 0)?;
        for (at, len) in PIECES {
            let mut seen = vec![0; len];
            bo.peek(at as u64, &mut seen)?;
            same_bytes(format_args!("{len} bytes at {at:#x} in {place}"), &seen, &data[at..at + len])?;
            let piece = stamps(rng.next(), len);
            bo.poke(at as u64, &piece)?;
            data[at..at + len].copy_from_slice(&piece);
        }
        same(format_args!("where the buffer is after {place}"), bo.domain()?, place)?;
    }
    same(format_args!("bytes in {best} after all"), number(best, "used")? - before, SIZE)?;
    same_bytes("what an engine sees", &seen_by_engine(&space, data.len())?, &data)?;

    // One that stays where it was made.
    for domain in Domain::ALL {
        let fixed = filled(&device, domain, &data)?;
        let mut seen = vec![0; 70_001];
        fixed.peek(12_345, &mut seen)?;
        same_bytes(format_args!("bytes of one in {domain}"), &seen, &data[12_345..12_345 + 70_001])?;
        fixed.poke(5, b"poked")?;
        same_bytes(format_args!("what was written in {domain}"), &content(&fixed, 10)?[5..], b"poked")?;
    }
    Ok(())
}

pub fn accesses_that_cannot_be_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 8192, Domain::Vram)?;
    let mut byte = [0];
    refused("a byte behind the end", bo.peek(8192, &mut byte), &[Errno::INVAL])?;
    refused("a write over the end", bo.poke(8190, &[0; 3]), &[Errno::INVAL])?;
    refused("an offset that overflows", bo.peek(u64::MAX, &mut byte), &[Errno::INVAL])?;
    refused("no bytes", bo.peek(0, &mut []), &[Errno::INVAL])?;
    let unneeded = Bo::pageable(&device, 8192, Domain::Vram)?;
    unneeded.advise(uapi::GEM_DONT_NEED)?;
    refused("what was given up", unneeded.peek(0, &mut byte), &[Errno::INVAL])
}

/// As a debugger reads and writes another process: nothing is faulted in, and the buffer does not come nearer.
pub fn debugger_reaches_what_is_mapped(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    let (space, bo) = by_engine(&device, &data, 0)?;
    let map = bo.map()?;
    let best = best_of_vram()?;
    let before = number(best, "used")?;
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem")?;
    let mut seen = vec![0; 10_000];
    memory.read_exact_at(&mut seen, map.va() + 4000).context("reading by /proc/self/mem")?;
    same_bytes("what a debugger reads", &seen, &data[4000..14_000])?;
    let piece = stamps(ctx.rng().next() ^ 1, 5000);
    memory.write_all_at(&piece, map.va() + 8190).context("writing by /proc/self/mem")?;
    data[8190..8190 + 5000].copy_from_slice(&piece);
    same(format_args!("bytes in {best}"), number(best, "used")?, before)?;
    same_bytes("what an engine sees", &seen_by_engine(&space, data.len())?, &data)?;
    let mut seen = vec![0; data.len()];
    map.read(0, &mut seen);
    same_bytes("what the mapping shows", &seen, &data)
}

/// The bytes go to or come from the same buffer's mapping, which has to be faulted in meanwhile.
pub fn access_to_a_mapping_of_itself_ends(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    let (_space, bo) = by_engine(&device, &data, 0)?;
    let map = bo.map()?;
    let half = SIZE / 2;
    bo.peek_into(0, &map, usize::try_from(half)?, usize::try_from(half)?)?;
    let (first, second) = data.split_at_mut(usize::try_from(half)?);
    second.copy_from_slice(first);
    let mut seen = vec![0; data.len()];
    map.read(0, &mut seen);
    same_bytes("the second half, read from the first", &seen, &data)
}

pub fn mapping_brings_a_buffer_into_reach(ctx: &Ctx) -> Result<()> {
    let device = small_bar(ctx)?;
    let mut data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    let (beyond, shown) = (settled(|| number(INVISIBLE, "used"))?, settled(|| number(VISIBLE, "used"))?);
    let (space, bo) = by_engine(&device, &data, 0)?;
    let used = |kind, before: u64| anyhow::Ok(number(kind, "used")?.wrapping_sub(before));
    same("bytes beyond the BAR", used(INVISIBLE, beyond)?, SIZE)?;
    let map = bo.map()?;
    same("bytes beyond the BAR with a mapping that nobody touched", used(INVISIBLE, beyond)?, SIZE)?;
    let mut seen = vec![0; data.len()];
    map.read(0, &mut seen);
    same_bytes("what the CPU sees", &seen, &data)?;
    same("bytes beyond the BAR when it was touched", used(INVISIBLE, beyond)?, 0)?;
    same("bytes in front of it", used(VISIBLE, shown)?, SIZE)?;
    same("where it is", bo.domain()?, Domain::Vram)?;
    map.write(100, b"by the CPU");
    data[100..110].copy_from_slice(b"by the CPU");
    same_bytes("what an engine sees", &seen_by_engine(&space, data.len())?, &data)?;
    drop((map, bo, space));
    drop(device);
    given_back(INVISIBLE, beyond)?;
    given_back(VISIBLE, shown)
}

pub fn buffer_for_the_cpu_stays_in_its_reach(ctx: &Ctx) -> Result<()> {
    let device = small_bar(ctx)?;
    let data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    let (beyond, shown) = (settled(|| number(INVISIBLE, "used"))?, settled(|| number(VISIBLE, "used"))?);
    let (_space, bo) = by_engine(&device, &data, uapi::GEM_CPU_ACCESS)?;
    same("bytes beyond the BAR", number(INVISIBLE, "used")?, beyond)?;
    same("bytes in front of it", number(VISIBLE, "used")? - shown, SIZE)?;
    let evicted = device.param(uapi::PARAM_MM_BROUGHT_IN)?;
    same_bytes("what the CPU sees", &content(&bo, data.len())?, &data)?;
    same("bytes that were moved for it", device.param(uapi::PARAM_MM_BROUGHT_IN)?, evicted)
}

/// What cannot come into the BAR goes to system pages.
pub fn mapping_is_served_when_the_reachable_part_is_full(ctx: &Ctx) -> Result<()> {
    let device = small_bar(ctx)?;
    let data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    let (space, bo) = by_engine(&device, &data, 0)?;
    // Of processes' own memory, since idle buffers would make way.
    let all = number(VISIBLE, "size")? + number(INVISIBLE, "size")?;
    let own = Own::new(ctx.rng().next(), usize::try_from(all & !(SIZE - 1))?, true)?;
    own.go(&device, Domain::Vram)?;
    same("whole 2 MiB left in front of the end of the BAR", number(VISIBLE, "whole 2MiB free")?, 0)?;
    let map = bo.map()?;
    let mut seen = vec![0; data.len()];
    map.read(0, &mut seen);
    same_bytes("what the CPU sees", &seen, &data)?;
    same("where it is", bo.domain()?, Domain::System)?;
    drop(own);
    // The next job finds it a better place.
    same_bytes("what an engine sees", &seen_by_engine(&space, data.len())?, &data)?;
    same("where it is after a job", bo.domain()?, Domain::Vram)?;
    map.read(0, &mut seen);
    same_bytes("what the mapping shows", &seen, &data)
}
