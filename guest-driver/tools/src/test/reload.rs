// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `reload`: the module comes and goes.

use std::collections::{BTreeMap, BTreeSet};
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
/// And what the driver is loaded with.
const PARAMETERS: &str = "/uvm/parameters";
const ROUNDS: u32 = 100;
/// Rounds from one look at the memory in use to the next; those before the first let caches fill.
const STRETCH: u32 = 20;
/// Our key for the free pages in the CPUs' own lists.
const AT_HAND: &str = "FreeAtHand";
/// Looks at the memory in use, of which the best counts.
const LOOKS: u32 = 5;

/// Where DRM keeps each device's debugfs files.
pub const DEBUGFS: &str = "/sys/kernel/debug/dri";

/// One of the driver's debugfs files.
pub fn debugfs(file: &str) -> Result<String> {
    let entries = std::fs::read_dir(DEBUGFS).context(DEBUGFS)?.flatten();
    let path = entries.map(|entry| entry.path().join(file)).find(|path| path.exists());
    let path = path.with_context(|| format!("{DEBUGFS} has no {file}"))?;
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

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
    // After those of this run, as the last word on a parameter counts.
    let mut all = std::fs::read(PARAMETERS).unwrap_or_default();
    all.push(b' ');
    all.extend(parameters.to_bytes());
    finit_module(file.as_fd(), &CString::new(all)?, 0).with_context(|| format!("loading {path}"))?;
    ensure!(is_loaded(), "{path} is no module called {MODULE}");
    Ok(())
}

pub fn unload() -> std::result::Result<(), Errno> {
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

/// The module's leaving, when that is what a case is about. It is there again afterwards.
pub struct Unloading(Reload);

impl Unloading {
    /// Begins with the module loaded.
    pub fn new() -> Self {
        Self(Reload)
    }

    /// Fails unless the module stays.
    pub fn is_refused(&self, when: &str) -> Result<()> {
        let seen = unload();
        ensure!(matches!(seen, Err(Errno::AGAIN | Errno::BUSY)), "unloading {when} gave {seen:?}");
        Ok(())
    }

    /// Unloads, and loads it again.
    pub fn succeeds(self) -> Result<()> {
        unload_soon()?;
        drop(self.0);
        ensure!(is_loaded(), "{MODULE} does not load again");
        Ok(())
    }
}

/// Runs something without the module.
pub fn while_unloaded(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let _reload = Reload;
    unload_soon()?;
    run()
}

/// Runs something while the driver has no device. Who has it open keeps what is theirs.
pub fn while_unbound(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let name = bound_device()?;
    std::fs::write("/sys/bus/virtio/drivers/uvm/unbind", &name).context("unbinding")?;
    let result = run();
    std::fs::write("/sys/bus/virtio/drivers/uvm/bind", &name).context("binding again")?;
    result
}

/// One object through all domains, and a submission on each ring.
pub fn use_it(salt: u64) -> Result<()> {
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
pub fn bound_device() -> Result<String> {
    let folder = "/sys/bus/virtio/drivers/uvm";
    let names = std::fs::read_dir(folder)
        .context(folder)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().find(|name| name.starts_with("virtio")).context("the driver is bound to no device")
}

/// Takes the driver off its device, which resets that, and brings it back.
pub fn rebind() -> Result<()> {
    let name = bound_device()?;
    std::fs::write("/sys/bus/virtio/drivers/uvm/unbind", &name).context("unbinding")?;
    std::fs::write("/sys/bus/virtio/drivers/uvm/bind", &name).context("binding again")
}

/// The module of a device that is gone unloads, leaves nothing behind, and finds no device when it is loaded again.
pub fn goes_for_good() -> Result<()> {
    unload_soon()?;
    same("what is left of the driver", traces(), Vec::new())?;
    load()?;
    refused_open()?;
    ensure!(bound_device().is_err(), "the driver is bound to a device that is gone");
    Ok(())
}

fn unbound_device_answers_with_an_error(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = filled(&device, Domain::Vram, &stamps(6, 4096))?;
    while_unbound(|| {
        let gone = [Errno::NODEV];
        refused("a parameter of a device that is gone", device.param(0), &gone)?;
        refused("a move on a device that is gone", bo.move_to(Domain::Gtt, 0), &gone)?;
        let mut ib = Ib::new();
        ib.nop(0);
        refused("a submission to a device that is gone", device.submit(0, &ib, &[], &[]), &gone)
    })?;
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

/// Bytes that the kernel holds and that nothing would give back; what processes hold is theirs.
fn in_use(memory: &BTreeMap<String, u64>) -> u64 {
    let of = |key: &str| memory.get(key).copied().unwrap_or(0);
    let apart = ["MemFree", AT_HAND, "Cached", "SReclaimable", "AnonPages"];
    of("MemTotal").saturating_sub(apart.into_iter().map(of).sum())
}

/// By how much a count grows from look to look: what it did in all stretches but one, at least. A leak grows in each;
/// caches take and give back dozens at a time, now and then.
fn steady_growth(values: &[u64]) -> u64 {
    let mut steps: Vec<u64> = values.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    steps.sort_unstable();
    steps.get(1).or(steps.first()).copied().unwrap_or(0)
}

/// By how much a value that swings grows from look to look: the median of the slopes between any two looks.
fn slope(values: &[u64]) -> i64 {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let numbered = || values.iter().map(|&n| signed(n)).zip(0_i64..);
    let pairs = numbered()
        .flat_map(|(from, a)| numbered().filter(move |(_, b)| *b > a).map(move |(to, b)| (to - from) / (b - a)));
    let mut slopes: Vec<i64> = pairs.collect();
    slopes.sort_unstable();
    slopes.get(slopes.len() / 2).copied().unwrap_or(0)
}

/// What each cache's objects grow by, where that is anything.
fn object_growth(looks: &[Usage]) -> BTreeMap<&str, u64> {
    let names = looks.iter().flat_map(|look| look.objects.keys()).map(String::as_str).collect::<BTreeSet<_>>();
    let of = |name: &str| looks.iter().map(|look| look.objects.get(name).copied().unwrap_or(0)).collect::<Vec<_>>();
    names.into_iter().map(|name| (name, steady_growth(&of(name)))).filter(|(_, growth)| *growth > 0).collect()
}

fn hundred_times_leaks_nothing(ctx: &Ctx) -> Result<()> {
    let _reload = Reload;
    let mut log = Watch::start()?;
    // The rest of the kernel takes and gives back memory of its own. A leak is there again; what it did is not.
    if let Err(suspicion) = no_leak(ctx, &rounds()?) {
        ctx.note(format_args!("once more, as {suspicion:#}"));
        no_leak(ctx, &rounds()?)?;
    }
    let complaints = log.complaints()?;
    ensure!(complaints.is_empty(), "the kernel log has {} complaints: {}", complaints.len(), complaints.join("\n"));
    use_it(u64::from(ROUNDS))
}

/// What is in use after each stretch of rounds of use, unloading and loading.
fn rounds() -> Result<Vec<Usage>> {
    let mut looks = Vec::new();
    for round in 1..=ROUNDS {
        use_it(u64::from(round)).with_context(|| format!("round {round}"))?;
        unload_soon().with_context(|| format!("round {round}"))?;
        if round % STRETCH == 0 {
            looks.push(Usage::settled()?);
        }
        load().with_context(|| format!("round {round}"))?;
    }
    Ok(looks)
}

/// Fails when each stretch left something behind.
fn no_leak(ctx: &Ctx, looks: &[Usage]) -> Result<()> {
    let memory: Vec<u64> = looks.iter().map(|look| in_use(&look.memory)).collect();
    ctx.note(format_args!(
        "KiB in use after each {STRETCH} rounds: {:?}",
        memory.iter().map(|n| n >> 10).collect::<Vec<_>>()
    ));
    let objects = object_growth(looks);
    ctx.note(format_args!("slab objects that grew in each {STRETCH} rounds: {objects:?}"));
    // An object lost in each round shows whatever its size; of pages, one in each round is twice the bar.
    let object_bar = u64::from(STRETCH - STRETCH / 8);
    let leaked: Vec<_> = objects.into_iter().filter(|(_, growth)| *growth >= object_bar).collect();
    ensure!(leaked.is_empty(), "slab objects that each round leaves behind: {leaked:?}");
    // What earlier suites left behind may take until the first look to go.
    let grown = slope(memory.get(1..).unwrap_or_default());
    ensure!(grown < i64::from(STRETCH) << 11, "each {STRETCH} rounds leave {grown} bytes behind");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{slope, steady_growth};

    #[test]
    fn leak_is_found_below_a_falling_start() {
        assert_eq!(steady_growth(&[900, 400, 420, 441, 460]), 19);
    }

    #[test]
    fn slope_is_the_one_under_the_noise() {
        assert_eq!(slope(&[27_172, 27_220, 27_384, 27_392, 27_484]), 86);
        assert_eq!(slope(&[26_780, 26_868, 26_756, 26_704, 26_792]), -12);
        assert_eq!(slope(&[100, 50, 50, 50]), 0);
    }

    #[test]
    fn one_jump_is_no_leak() {
        assert_eq!(steady_growth(&[400, 400, 520, 520, 500]), 0);
    }
}
