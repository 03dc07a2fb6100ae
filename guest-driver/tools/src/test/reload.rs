// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `reload`: the module comes and goes.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};

use super::case::{complete, content, eventually, filled, refused, same, same_bytes, stamps, Case, Ctx, Run, PATIENCE};
use super::kmsg::Watch;
use crate::drm::{Bo, Device, Domain};
use crate::ib::{Ib, Place};

/// Where `init` finds the modules; the last is the driver.
const MODULES: &str = "/uvm/modules";
const MODULE: &str = "uvm";
const ROUNDS: u32 = 100;
/// Rounds before the first look at the memory in use: caches fill at first.
const WARM_UP: u32 = 20;
/// What the guest's memory may change by over the rounds for reasons of its own.
const NOISE: u64 = 256 << 10;
/// Our key for the free pages in the CPUs' own lists.
const AT_HAND: &str = "FreeAtHand";
/// Looks at the memory in use, of which the best counts.
const LOOKS: u32 = 5;

/// Where DRM keeps each device's debugfs files.
const DEBUGFS: &str = "/sys/kernel/debug/dri";

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "open_file_keeps_the_module", run: Run::Once(open_file_keeps_the_module) },
    Case { name: "mapping_keeps_the_module", run: Run::Once(mapping_keeps_the_module) },
    Case { name: "unloaded_module_leaves_no_trace", run: Run::Once(unloaded_module_leaves_no_trace) },
    Case { name: "unbound_device_answers_with_an_error", run: Run::Once(unbound_device_answers_with_an_error) },
    Case { name: "hundred_times_leaks_nothing", run: Run::Once(hundred_times_leaks_nothing) },
];

/// A value of /proc/meminfo, in bytes.
pub fn meminfo(key: &str) -> Result<u64> {
    memory()?.get(key).copied().with_context(|| format!("/proc/meminfo has no {key}"))
}

/// All of /proc/meminfo, in bytes, and under [`AT_HAND`] what it leaves out.
fn memory() -> Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        Some((key.to_owned(), value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10))
    });
    let mut memory: BTreeMap<String, u64> = pairs.collect();
    // Free pages that a CPU keeps at hand, megabytes of them, are not free to /proc/meminfo.
    let zones = std::fs::read_to_string("/proc/zoneinfo").context("/proc/zoneinfo")?;
    let pages = zones.lines().filter_map(|line| line.trim().strip_prefix("count:")?.trim().parse::<u64>().ok());
    memory.insert(AT_HAND.to_owned(), pages.sum::<u64>() << 12);
    Ok(memory)
}

fn load() -> Result<()> {
    load_with(c"")
}

fn load_with(parameters: &CStr) -> Result<()> {
    let list = std::fs::read_to_string(MODULES).context(MODULES)?;
    let path = list.lines().rfind(|line| !line.is_empty()).with_context(|| format!("{MODULES} names no module"))?;
    let file = File::open(path).with_context(|| path.to_owned())?;
    finit_module(file.as_fd(), parameters, 0).with_context(|| format!("loading {path}"))?;
    ensure!(is_loaded(), "{path} is no module called {MODULE}");
    Ok(())
}

fn unload() -> std::result::Result<(), Errno> {
    let name = CString::new(MODULE).unwrap_or_default();
    delete_module(&name, i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0))
}

fn is_loaded() -> bool {
    Path::new("/sys/module").join(MODULE).exists()
}

/// Unloads, which may have to wait for what a dying process still holds.
fn unload_soon() -> Result<()> {
    let gone = eventually(PATIENCE, || match unload() {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::BUSY) => Ok(false),
        Err(error) => bail!("unloading {MODULE}: {error}"),
    })?;
    ensure!(gone, "{MODULE} is still in use");
    ensure!(!is_loaded(), "/sys/module/{MODULE} is still there");
    Ok(())
}

/// Loads the module again when a case ends between unload and load, so that the next one finds it.
struct Reload;

impl Drop for Reload {
    fn drop(&mut self) {
        if !is_loaded() {
            if let Err(error) = load() {
                eprintln!("# {error:#}");
            }
        }
    }
}

/// Runs something with the module loaded with `parameters`, then loads it as it was.
pub fn with_parameters(parameters: &CStr, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let _reload = Reload;
    unload_soon()?;
    load_with(parameters)?;
    let result = run();
    unload_soon()?;
    result
}

/// One object through all domains, and a submission on each ring.
fn use_it(salt: u64) -> Result<()> {
    let device = Device::open()?;
    let data = stamps(salt, 20_000);
    let bo = filled(&device, Domain::System, &data)?;
    let copy = Bo::new(&device, data.len() as u64, Domain::Vram)?;
    for (ring, domain) in [(0, Domain::Gtt), (1, Domain::Vram), (0, Domain::Gtt), (1, Domain::System)] {
        bo.move_to(domain, ring)?;
        if domain != Domain::System {
            let mut ib = Ib::new();
            ib.copy(Place::Bo(bo.handle(), 0), Place::Bo(copy.handle(), 0), data.len() as u64);
            complete(&device, ring, &ib)?;
        }
    }
    same_bytes("the object", &content(&bo, data.len())?, &data)?;
    same_bytes("its copy", &content(&copy, data.len())?, &data)
}

fn open_file_keeps_the_module(ctx: &Ctx) -> Result<()> {
    let _reload = Reload;
    let device = ctx.device()?;
    let seen = unload();
    ensure!(matches!(seen, Err(Errno::AGAIN | Errno::BUSY)), "unloading while a file is open gave {seen:?}");
    device.param(0).context("after the refused unload")?;
    drop(device);
    unload_soon()?;
    refused_open()?;
    load()?;
    use_it(1)
}

fn mapping_keeps_the_module(ctx: &Ctx) -> Result<()> {
    let _reload = Reload;
    let device = ctx.device()?;
    let bo = filled(&device, Domain::Vram, &stamps(5, 4096))?;
    let map = bo.map()?;
    drop(bo);
    drop(device);
    let seen = unload();
    ensure!(matches!(seen, Err(Errno::AGAIN | Errno::BUSY)), "unloading while memory is mapped gave {seen:?}");
    same("first word of the mapping", map.load(0), super::case::stamp(5, 0))?;
    drop(map);
    unload_soon()?;
    load()?;
    use_it(2)
}

fn refused_open() -> Result<()> {
    ensure!(Device::open().is_err(), "a render node is still there");
    Ok(())
}

/// Paths that belong to the loaded driver.
fn traces() -> Vec<String> {
    let fixed = ["/sys/module/uvm", "/sys/bus/virtio/drivers/uvm"].map(str::to_owned);
    let listed = |folder: &str, wanted: fn(&str) -> bool| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| wanted(name)).map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    let mut found: Vec<String> = fixed.into_iter().filter(|path| Path::new(path).exists()).collect();
    found.extend(listed("/dev/dri", |name| name.starts_with("renderD")));
    found.extend(listed(DEBUGFS, |name| Path::new(DEBUGFS).join(name).join("uvm_rings").exists()));
    found.extend(listed("/sys/kernel/slab", |name| name.starts_with("uvm")));
    let vmalloc = std::fs::read_to_string("/proc/vmallocinfo").unwrap_or_default();
    // Loaded code itself stands under load_module or execmem; both name the module after unloading only if it leaked.
    found.extend(vmalloc.lines().filter(|line| line.contains("[uvm]")).map(str::to_owned));
    let interrupts = std::fs::read_to_string("/proc/interrupts").unwrap_or_default();
    found.extend(interrupts.lines().filter(|line| line.contains("uvm")).map(str::to_owned));
    found
}

fn unloaded_module_leaves_no_trace(ctx: &Ctx) -> Result<()> {
    let _reload = Reload;
    drop(ctx.device()?);
    ensure!(traces().len() >= 3, "the loaded driver shows only in {:?}", traces());
    unload_soon()?;
    same("what is left of the driver", traces(), Vec::new())?;
    load()?;
    use_it(3)
}

/// The virtio device that the driver is bound to.
fn bound_device() -> Result<String> {
    let folder = "/sys/bus/virtio/drivers/uvm";
    let names = std::fs::read_dir(folder)
        .context(folder)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().find(|name| name.starts_with("virtio")).context("the driver is bound to no device")
}

fn unbound_device_answers_with_an_error(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let name = bound_device()?;
    let bo = filled(&device, Domain::Vram, &stamps(6, 4096))?;
    std::fs::write("/sys/bus/virtio/drivers/uvm/unbind", &name).context("unbinding")?;
    let calls = || -> Result<()> {
        let gone = [Errno::NODEV];
        refused("a parameter of a device that is gone", device.param(0), &gone)?;
        refused("a move on a device that is gone", bo.move_to(Domain::Gtt, 0), &gone)?;
        let mut ib = Ib::new();
        ib.nop(0);
        refused("a submission to a device that is gone", device.submit(0, &ib, &[], &[]), &gone)
    };
    let result = calls();
    std::fs::write("/sys/bus/virtio/drivers/uvm/bind", &name).context("binding again")?;
    result?;
    use_it(4)?;
    drop(bo);
    drop(device);
    use_it(5)
}

/// What the guest's kernel has in use: /proc/meminfo in bytes, and the objects of each slab cache.
struct Usage {
    memory: BTreeMap<String, u64>,
    objects: BTreeMap<String, u64>,
}

impl Usage {
    /// Looks after what can be given back was. Pages wait in many places on their way back: the best of some looks counts.
    fn settled() -> Result<Self> {
        let mut best = BTreeMap::new();
        for _ in 0..LOOKS {
            std::fs::write("/proc/sys/vm/drop_caches", "3")?;
            std::thread::sleep(Duration::from_millis(100));
            let now = memory()?;
            if best.is_empty() || in_use(&now) < in_use(&best) {
                best = now;
            }
        }
        Ok(Self { memory: best, objects: objects()? })
    }
}

/// Objects in use in each slab cache, once half-empty slabs were given back.
fn objects() -> Result<BTreeMap<String, u64>> {
    for cache in std::fs::read_dir("/sys/kernel/slab").context("/sys/kernel/slab")?.flatten() {
        // Some caches refuse; they are counted as they are.
        let _ = std::fs::write(cache.path().join("shrink"), "1");
    }
    let text = std::fs::read_to_string("/proc/slabinfo").context("/proc/slabinfo")?;
    let caches = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    });
    Ok(caches.collect())
}

/// Bytes that nothing would give back.
fn in_use(memory: &BTreeMap<String, u64>) -> u64 {
    let of = |key: &str| memory.get(key).copied().unwrap_or(0);
    of("MemTotal").saturating_sub(of("MemFree") + of(AT_HAND) + of("Cached") + of("SReclaimable"))
}

/// What grew between two looks, by more than `least`.
fn growth(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>, least: u64) -> BTreeMap<String, u64> {
    let grown = after.iter().map(|(key, now)| (key.clone(), now.saturating_sub(before.get(key).copied().unwrap_or(0))));
    grown.filter(|(_, more)| *more > least).collect()
}

fn hundred_times_leaks_nothing(ctx: &Ctx) -> Result<()> {
    let _reload = Reload;
    let mut log = Watch::start()?;
    let mut before = None;
    for round in 0..ROUNDS {
        use_it(u64::from(round)).with_context(|| format!("round {round}"))?;
        unload_soon().with_context(|| format!("round {round}"))?;
        if round == WARM_UP {
            before = Some(Usage::settled()?);
        }
        if round + 1 == ROUNDS {
            let before = before.as_ref().context("there were too few rounds")?;
            no_leak(ctx, before, &Usage::settled()?)?;
        }
        load().with_context(|| format!("round {round}"))?;
    }
    let complaints = log.complaints()?;
    ensure!(complaints.is_empty(), "the kernel log has {} complaints: {}", complaints.len(), complaints.join("\n"));
    use_it(u64::from(ROUNDS))
}

fn no_leak(ctx: &Ctx, before: &Usage, after: &Usage) -> Result<()> {
    let rounds = u64::from(ROUNDS - WARM_UP);
    let grown = in_use(&after.memory).saturating_sub(in_use(&before.memory));
    ctx.note(format_args!("{rounds} rounds: memory in use grew by {} KiB", grown >> 10));
    let mut parts = growth(&before.memory, &after.memory, 4096);
    parts.retain(|key, _| !key.starts_with("DirectMap") && !key.starts_with("Mem"));
    ctx.note(format_args!("memory that grew, bytes: {parts:?}"));
    ctx.note(format_args!("slab objects that grew: {:?}", growth(&before.objects, &after.objects, rounds / 8)));
    // An object lost in each round shows whatever its size, a page lost in each round as well.
    let leaked = growth(&before.objects, &after.objects, rounds - rounds / 8);
    ensure!(leaked.is_empty(), "slab objects that grew with each of {rounds} rounds: {leaked:?}");
    ensure!(grown <= NOISE, "memory in use grew by {grown} bytes over {rounds} rounds");
    Ok(())
}
