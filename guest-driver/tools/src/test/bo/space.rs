// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What happens when memory runs out: a clean refusal, nothing lost, and all of it back afterwards.

use anyhow::{ensure, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use crate::drm::{Bo, Device, Domain};
use crate::test::case::{content, eventually, filled, refused, same, same_bytes, stamp, stamps, Ctx, Skip, PATIENCE};
use crate::test::segments::number;

/// Sizes that fill a space to its last page, largest first.
const SIZES: [u64; 4] = [8 << 20, 1 << 20, 64 << 10, 4 << 10];

/// Creates objects until none of the smallest size fits. Their ends carry stamps.
fn fill(device: &Device, domain: Domain) -> Result<Vec<Bo>> {
    let mut all = Vec::new();
    for size in SIZES {
        loop {
            let bo = match Bo::new(device, size, domain) {
                Err(error) if error.errno == Errno::NOSPC => break,
                other => other?,
            };
            let map = bo.map()?;
            let salt = all.len() as u64;
            map.store(0, stamp(salt, 0));
            map.store(map.len() - 8, stamp(salt, 1));
            all.push(bo);
            ensure!(all.len() < 100_000, "{} objects fit in {domain}", all.len());
        }
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

fn full_refuses_and_recovers(ctx: &Ctx, domain: Domain, segment: &str, used_param: u32) -> Result<()> {
    let device = ctx.device()?;
    let before = device.param(used_param)?;
    let mut all = fill(&device, domain)?;
    // The driver's own segments have room for what cannot wait.
    let size = before + all.iter().map(Bo::size).sum::<u64>();
    same(format_args!("{domain} used when full"), device.param(used_param)?, size)?;
    same(format_args!("{segment} used when full"), number(segment, "used")?, number(segment, "size")?)?;
    ctx.note(format_args!("{} objects filled {} MiB of {domain}", all.len(), (size - before) >> 20));
    for more in SIZES {
        refused(format_args!("{more} bytes more"), Bo::new(&device, more, domain), &[Errno::NOSPC])?;
    }
    check(&all)?;
    // One object's room is enough for one of its size, no more.
    let largest = all.remove(0).size();
    ensure!(
        eventually(PATIENCE, || Ok(device.param(used_param)? == size - largest))?,
        "{domain} used after one close: expected {:#x}, seen {:#x}",
        size - largest,
        device.param(used_param)?
    );
    let again = Bo::new(&device, largest, domain)?;
    refused("a second in the room of one", Bo::new(&device, 4096, domain), &[Errno::NOSPC])?;
    drop((again, all));
    let back = eventually(PATIENCE, || Ok(device.param(used_param)? == before))?;
    ensure!(back, "{domain} used after all were closed: expected {before:#x}, seen {:#x}", device.param(used_param)?);
    Ok(())
}

pub fn full_vram_refuses_and_recovers(ctx: &Ctx) -> Result<()> {
    full_refuses_and_recovers(ctx, Domain::Vram, "local", uapi::PARAM_VRAM_USED)
}

pub fn full_gart_refuses_and_recovers(ctx: &Ctx) -> Result<()> {
    let size = ctx.device()?.param(uapi::PARAM_GTT_SIZE)?;
    let free = crate::test::reload::meminfo("MemAvailable")?;
    // The window's pages are the guest's own memory.
    if free < size + (64 << 20) {
        return Err(Skip(format!("{} MiB of memory do not fill a window of {} MiB", free >> 20, size >> 20)).into());
    }
    full_refuses_and_recovers(ctx, Domain::Gtt, "pcie-snooped", uapi::PARAM_GTT_USED)
}

pub fn move_into_full_vram_leaves_the_object_alone(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let data = stamps(41, 100_000);
    let waiting = [Domain::System, Domain::Gtt].map(|domain| (domain, filled(&device, domain, &data)));
    let all = fill(&device, Domain::Vram)?;
    for (domain, bo) in waiting {
        let bo = bo?;
        refused(format_args!("a move from {domain}"), bo.move_to(Domain::Vram, 0), &[Errno::NOSPC])?;
        same("domain after the refusal", bo.domain()?, domain)?;
        same_bytes("content after the refusal", &content(&bo, data.len())?, &data)?;
    }
    check(&all)?;
    // The full side can still be moved out of.
    let Some(first) = all.first() else { anyhow::bail!("nothing fitted in VRAM") };
    first.move_to(Domain::System, 1)?;
    same("domain of what moved out", first.domain()?, Domain::System)?;
    check(&all)
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
