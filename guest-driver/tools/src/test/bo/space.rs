// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What happens when memory runs out: a clean refusal, nothing lost, and all of it back afterwards.

use anyhow::{ensure, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use crate::drm::{Bo, Device, Domain};
use crate::test::case::{content, eventually, filled, refused, same, same_bytes, stamp, stamps, Ctx, Skip, PATIENCE};
use crate::test::segments::number;

/// Bytes of an object; the last ones that fit are smaller.
const SIZE: u64 = 4 << 20;

/// Creates objects of `bytes` bytes together. Their ends carry stamps.
fn fill(device: &Device, domain: Domain, bytes: u64) -> Result<Vec<Bo>> {
    let mut all = Vec::new();
    for salt in 0..bytes / SIZE {
        let bo = Bo::new(device, SIZE, domain)?;
        same(format_args!("domain of new object {salt}"), bo.domain()?, domain)?;
        let map = bo.map()?;
        map.store(0, stamp(salt, 0));
        map.store(map.len() - 8, stamp(salt, 1));
        all.push(bo);
    }
    Ok(all)
}

fn check(all: &[Bo]) -> Result<()> {
    for (salt, bo) in (0_u64..).zip(all) {
        let map = bo.map()?;
        same(format_args!("first word of object {salt}"), map.load(0), stamp(salt, 0))?;
        same(format_args!("last word of object {salt}"), map.load(map.len() - 8), stamp(salt, 1))?;
    }
    Ok(())
}

/// Skips where the guest has no memory for what does not fit.
fn memory_for(bytes: u64) -> Result<()> {
    let free = crate::test::reload::meminfo("MemAvailable")?;
    if free < bytes + (64 << 20) {
        return Err(Skip(format!("{} MiB of memory do not hold {} MiB more", free >> 20, bytes >> 20)).into());
    }
    Ok(())
}

fn idle_objects_make_room(ctx: &Ctx, domain: Domain, segment: &str, used_param: u32) -> Result<()> {
    let device = ctx.device()?;
    let before = device.param(used_param)?;
    let size = number(segment, "size")?;
    let all = fill(&device, domain, size / 4 * 5)?;
    // Whoever asks for the domain gets it; those that were there longest have left.
    let inside = all.iter().map(|bo| Ok(bo.domain()? == domain)).collect::<Result<Vec<_>>>()?;
    let first = inside.iter().position(|inside| *inside).unwrap_or(inside.len());
    ctx.note(format_args!("{} objects of {} MiB, the last {} in {domain}", all.len(), SIZE >> 20, all.len() - first));
    ensure!(first > 0 && inside[first..].iter().all(|inside| *inside), "in {domain}: {inside:?}");
    ensure!(number(segment, "used")? + 2 * SIZE > size, "{segment} used: {:#x}", number(segment, "used")?);
    check(&all)?;
    refused("more than there is", Bo::new(&device, size + 4096, domain), &[Errno::NOSPC])?;
    drop(all);
    let back = eventually(PATIENCE, || Ok(device.param(used_param)? == before))?;
    ensure!(back, "{domain} used after all were closed: expected {before:#x}, seen {:#x}", device.param(used_param)?);
    Ok(())
}

pub fn idle_objects_make_room_in_vram(ctx: &Ctx) -> Result<()> {
    memory_for(number("local", "size")? / 4)?;
    idle_objects_make_room(ctx, Domain::Vram, "local", uapi::PARAM_VRAM_USED)
}

pub fn idle_objects_make_room_in_the_gart(ctx: &Ctx) -> Result<()> {
    // The window's pages are the guest's own memory.
    memory_for(number("pcie-snooped", "size")? / 4 * 5)?;
    idle_objects_make_room(ctx, Domain::Gtt, "pcie-snooped", uapi::PARAM_GTT_USED)
}

pub fn move_into_full_vram_makes_others_leave(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let size = number("local", "size")?;
    memory_for(size / 4)?;
    let data = stamps(41, 100_000);
    let waiting = [Domain::System, Domain::Gtt].map(|domain| filled(&device, domain, &data));
    let all = fill(&device, Domain::Vram, size / 8 * 9)?;
    for bo in waiting {
        let bo = bo?;
        bo.move_to(Domain::Vram, 0)?;
        same("domain after the move", bo.domain()?, Domain::Vram)?;
        same_bytes("content after the move", &content(&bo, data.len())?, &data)?;
    }
    check(&all)?;
    // What can never be there stays where it is.
    let huge = filled(&device, Domain::Gtt, &data)?;
    let larger = Bo::new(&device, device.param(uapi::PARAM_VRAM_SIZE)?, Domain::System)?;
    refused("a move of more than there is", larger.move_to(Domain::Vram, 0), &[Errno::NOSPC])?;
    same("its domain after the refusal", larger.domain()?, Domain::System)?;
    same_bytes("another's content", &content(&huge, data.len())?, &data)
}

pub fn fragmented_vram_holds_a_large_object_after_frees(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    // Buffers that stay where they are lie where the CPU reaches them.
    let size = device.param(uapi::PARAM_VRAM_VISIBLE)?;
    let piece = 64 << 10;
    let mut all = Vec::new();
    for _ in 0..(size / 4 / piece).min(1024) {
        all.push(Bo::new(&device, piece, Domain::Vram)?);
    }
    // Every second piece goes: the holes are smaller than what is asked for next, so it must be put elsewhere.
    let mut n = 0;
    all.retain(|_| {
        n += 1;
        n % 2 == 0
    });
    let large = Bo::new(&device, size / 4, Domain::Vram)?;
    let odd = Bo::new(&device, piece / 2 * 3, Domain::Vram)?;
    let spans =
        all.iter().chain([&large, &odd]).map(|bo| Ok((bo.info()?.gpu_addr, bo.size()))).collect::<Result<Vec<_>>>();
    let mut spans = spans?;
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if let [(a, length), (b, _)] = pair {
            ensure!(a + length <= *b, "objects at {a:#x}+{length:#x} and {b:#x} overlap");
        }
    }
    drop((all, large, odd));
    // With all of it back, one object may take most of VRAM.
    let used = device.param(uapi::PARAM_VRAM_USED)?;
    let most = (size - used) / 2;
    same(
        "size of an object of half the free VRAM",
        Bo::new(&device, most, Domain::Vram)?.size(),
        most.next_multiple_of(4096),
    )
}
