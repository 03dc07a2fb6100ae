// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Creating, mapping, closing, sharing; what the statistics say of it.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use crate::drm::{Bo, Device, Domain};
use crate::test::case::{content, eventually, filled, refused, same, same_bytes, settled, stamps, Ctx, PATIENCE};

pub fn created_where_asked_and_zeroed(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for domain in Domain::ALL {
        for size in [1_u64, 4095, 4096, 4097, 65_536, (2 << 20) + 1] {
            let bo = Bo::new(&device, size, domain)?;
            let info = bo.info()?;
            same(format_args!("size of {size} bytes in {domain}"), info.size, size.next_multiple_of(4096))?;
            same("size in the answer to create", bo.size(), info.size)?;
            same("domain", bo.domain()?, domain)?;
            same(format_args!("whether {domain} has an address"), info.gpu_addr != 0, domain != Domain::System)?;
            let length = usize::try_from(bo.size())?;
            same_bytes(format_args!("a new object in {domain}"), &content(&bo, length)?, &vec![0; length])?;
        }
    }
    Ok(())
}

pub fn freed_memory_does_not_leak_into_new_objects(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let length = 4 << 20;
    for domain in Domain::ALL {
        // Twice, so that the second object most likely gets what the first gave back.
        for round in 0..2 {
            let bo = Bo::new(&device, length as u64, domain)?;
            same_bytes(format_args!("new object {round} in {domain}"), &content(&bo, length)?, &vec![0; length])?;
            bo.map()?.write(0, &vec![0xa5; length]);
        }
        // A move needs fresh memory in its target, too: what it does not overwrite must not show.
        let bo = filled(&device, Domain::System, &[1])?;
        if domain != Domain::System {
            bo.move_to(domain, 0)?;
        }
        let mut expected = vec![0; 4096];
        expected[0] = 1;
        same_bytes(format_args!("a small object moved to {domain}"), &content(&bo, 4096)?, &expected)?;
    }
    Ok(())
}

pub fn mappings_read_and_write(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    for domain in Domain::ALL {
        let length = 100_000;
        let bo = Bo::new(&device, length as u64, domain)?;
        let (one, two) = (bo.map()?, bo.map()?);
        let mut expected = vec![0; length];
        for _ in 0..50 {
            let data = rng.bytes(1 + rng.clone().index(5000));
            let at = rng.index(length - data.len());
            one.write(at, &data);
            expected[at..at + data.len()].copy_from_slice(&data);
        }
        let mut seen = vec![0; length];
        two.read(0, &mut seen);
        same_bytes(format_args!("a second mapping in {domain}"), &seen, &expected)?;
    }
    Ok(())
}

pub fn closed_handle_is_gone_but_its_mapping_stays(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let data = stamps(7, 20_000);
    for domain in Domain::ALL {
        let bo = filled(&device, domain, &data)?;
        let (map, handle) = (bo.map()?, bo.handle());
        drop(bo);
        refused("info on a closed handle", device.info_raw(handle), &[Errno::NOENT])?;
        let mut seen = vec![0; data.len()];
        map.read(0, &mut seen);
        same_bytes(format_args!("the mapping of a closed object in {domain}"), &seen, &data)?;
    }
    Ok(())
}

pub fn exported_object_is_shared(ctx: &Ctx) -> Result<()> {
    let (device, other) = (ctx.device()?, ctx.device()?);
    let data = stamps(9, 50_000);
    for domain in Domain::ALL {
        let bo = filled(&device, domain, &data)?;
        let imported = Bo::import(&other, &bo.export()?)?;
        same("size of the import", imported.size(), bo.size())?;
        same_bytes("the import", &content(&imported, data.len())?, &data)?;
        imported.map()?.write(100, b"written through the import");
        let seen = content(&bo, data.len())?;
        same_bytes("the original after a write through the import", &seen[100..126], b"written through the import")?;
        let handle = imported.handle();
        drop(bo);
        same_bytes("the import after the original was closed", &content(&imported, 100)?, &data[..100])?;
        drop(imported);
        refused("the closed import", other.info_raw(handle), &[Errno::NOENT])?;
    }
    Ok(())
}

/// The `drm-` keys of a client's fdinfo; sizes in bytes.
fn fdinfo(device: &Device) -> Result<BTreeMap<String, String>> {
    let path = format!("/proc/self/fdinfo/{}", device.fd().as_raw_fd());
    let text = std::fs::read_to_string(&path).context(path)?;
    let pairs = text.lines().filter_map(|line| line.split_once(':')).filter(|(key, _)| key.starts_with("drm-"));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
}

/// A memory value of fdinfo, in bytes; zero when it is not there.
fn memory(info: &BTreeMap<String, String>, key: &str) -> Result<u64> {
    let Some(value) = info.get(key) else { return Ok(0) };
    let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
    let scale = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        other => anyhow::bail!("{key} has the unit {other}"),
    };
    Ok(number.parse::<u64>().with_context(|| format!("{key}: {value}"))? * scale)
}

pub fn fdinfo_follows_allocations(ctx: &Ctx) -> Result<()> {
    let (device, other) = (ctx.device()?, ctx.device()?);
    let size = 3 << 20;
    let start = fdinfo(&device)?;
    same("drm-driver", start.get("drm-driver").map(String::as_str), Some("uvm"))?;
    ensure!(start.get("drm-client-id") != fdinfo(&other)?.get("drm-client-id"), "two clients have the same id");
    for (domain, region) in [(Domain::System, "system"), (Domain::Gtt, "gtt"), (Domain::Vram, "vram")] {
        let keys = ["total", "resident"].map(|kind| format!("drm-{kind}-{region}"));
        let before = fdinfo(&device)?;
        let bo = Bo::new(&device, size, domain)?;
        // SYSTEM pages come with their first use, the others are there at once.
        bo.map()?.write(0, &[1]);
        let with = fdinfo(&device)?;
        drop(bo);
        let after = fdinfo(&device)?;
        for key in keys {
            ensure!(with.contains_key(&key), "fdinfo has no {key}: {with:?}");
            let [before, with, after] = [memory(&before, &key)?, memory(&with, &key)?, memory(&after, &key)?];
            same(format_args!("{key} with {size} bytes more"), with, before + size)?;
            same(format_args!("{key} after the object was closed"), after, before)?;
        }
    }
    same("another client's memory", memory(&fdinfo(&other)?, "drm-total-vram")?, 0)
}

pub fn parameters_follow_allocations(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let size = 3 << 20;
    for (domain, param) in [(Domain::Vram, uapi::PARAM_VRAM_USED), (Domain::Gtt, uapi::PARAM_GTT_USED)] {
        let before = settled(|| Ok(device.param(param)?))?;
        let bo = Bo::new(&device, size, domain)?;
        same(format_args!("{domain} used"), device.param(param)?, before + size)?;
        bo.move_to(Domain::System, 0)?;
        let back = eventually(PATIENCE, || Ok(device.param(param)? == before))?;
        ensure!(back, "{domain} used after a move to SYSTEM: expected {before:#x}, seen {:#x}", device.param(param)?);
        bo.move_to(domain, 1)?;
        same(format_args!("{domain} used after the way back"), device.param(param)?, before + size)?;
        drop(bo);
        let back = eventually(PATIENCE, || Ok(device.param(param)? == before))?;
        ensure!(back, "{domain} used after the close: expected {before:#x}, seen {:#x}", device.param(param)?);
    }
    Ok(())
}
