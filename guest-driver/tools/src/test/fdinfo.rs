// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `fdinfo`: what monitors read of a client, in the kernel's standard keys, and of the driver in debugfs, against
//! what the client did.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use uvm_spec::packet::{poll_func, POLL_FOREVER};
use uvm_spec::uapi;

use super::case::{complete, eventually, same, settled, Case, Ctx, Run, PATIENCE};
use super::reload::{bound_device, debugfs};
use crate::drm::{Bo, Device, Domain, Mapping, Syncobj};
use crate::ib::{Ib, Place, Poll};

/// The kinds of memory, and the keys of each.
const REGIONS: [&str; 3] = ["system", "gtt", "vram"];
const KINDS: [&str; 5] = ["total", "shared", "resident", "purgeable", "active"];
const SIZE: u64 = 3 << 20;

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("keys_name_driver_device_and_client", keys_name_driver_device_and_client),
    once("sizes_follow_what_is_allocated", sizes_follow_what_is_allocated),
    once("buffer_with_two_handles_is_shared", buffer_with_two_handles_is_shared),
    once("pageable_buffer_is_resident_where_it_is", pageable_buffer_is_resident_where_it_is),
    once("unneeded_buffer_is_purgeable", unneeded_buffer_is_purgeable),
    once("buffer_of_a_job_is_active", buffer_of_a_job_is_active),
    Case { name: "time_of_a_job_is_its_clients", run: Run::PerRing(time_of_a_job_is_its_clients) },
    once("clients_together_have_no_more_than_the_time", clients_together_have_no_more_than_the_time),
    once("debugfs_agrees_with_the_parameters", debugfs_agrees_with_the_parameters),
];

/// The `drm-` keys of a client; each once.
pub struct Info(BTreeMap<String, String>);

impl Info {
    /// As they are now.
    pub fn of(device: &Device) -> Result<Self> {
        let path = format!("/proc/self/fdinfo/{}", device.fd().as_raw_fd());
        let text = std::fs::read_to_string(&path).context(path)?;
        let mut keys = BTreeMap::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            if key.starts_with("drm-") {
                ensure!(keys.insert(key.to_owned(), value.trim().to_owned()).is_none(), "{key} is there twice");
            }
        }
        Ok(Self(keys))
    }

    fn text(&self, key: &str) -> Result<&str> {
        self.0.get(key).map(String::as_str).with_context(|| format!("fdinfo has no {key}: {:?}", self.0))
    }

    /// Bytes of a key with a size.
    fn bytes(&self, kind: &str, region: &str) -> Result<u64> {
        let value = self.text(&format!("drm-{kind}-{region}"))?;
        let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
        let scale = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            other => anyhow::bail!("drm-{kind}-{region} has the unit {other}"),
        };
        Ok(number.parse::<u64>().with_context(|| value.to_owned())? * scale)
    }

    /// What each key with a size has more than before, by kind, for those that changed.
    fn grown(&self, before: &Self) -> Result<BTreeMap<String, i64>> {
        let mut grown = BTreeMap::new();
        for (kind, region) in KINDS.into_iter().flat_map(|kind| REGIONS.map(|region| (kind, region))) {
            let change = i64::try_from(self.bytes(kind, region)?)? - i64::try_from(before.bytes(kind, region)?)?;
            if change != 0 {
                grown.insert(format!("{kind}-{region}"), change);
            }
        }
        Ok(grown)
    }

    /// Time on an SDMA instance.
    fn engine(&self, ring: u32) -> Result<Duration> {
        let value = self.text(&format!("drm-engine-sdma{ring}"))?;
        let number = value.strip_suffix(" ns").with_context(|| value.to_owned())?;
        Ok(Duration::from_nanos(number.parse()?))
    }
}

/// Fails unless these keys, and no others, have grown.
fn grew(device: &Device, before: &Info, what: &str, expected: &[(&str, u64)]) -> Result<()> {
    let expected = expected.iter().map(|(key, bytes)| Ok(((*key).to_owned(), i64::try_from(*bytes)?)));
    same(what, Info::of(device)?.grown(before)?, expected.collect::<Result<_>>()?)
}

fn keys_name_driver_device_and_client(ctx: &Ctx) -> Result<()> {
    let (one, other) = (ctx.device()?, ctx.device()?);
    let (of_one, of_other) = (Info::of(&one)?, Info::of(&other)?);
    same("drm-driver", of_one.text("drm-driver")?, "uvm")?;
    let link = Path::new("/sys/bus/virtio/devices").join(bound_device()?);
    let device = std::fs::canonicalize(&link).with_context(|| link.display().to_string())?;
    let slot = device.parent().and_then(Path::file_name).context("the virtio device is on no bus")?;
    same("drm-pdev", of_one.text("drm-pdev")?, &*slot.to_string_lossy())?;
    let ids = [of_one.text("drm-client-id")?, of_other.text("drm-client-id")?];
    ensure!(ids[0] != ids[1], "two clients have the id {}", ids[0]);
    for id in ids {
        id.parse::<u64>().with_context(|| format!("drm-client-id: {id}"))?;
    }
    for (kind, region) in KINDS.into_iter().flat_map(|kind| REGIONS.map(|region| (kind, region))) {
        same(format_args!("drm-{kind}-{region} of a client without buffers"), of_one.bytes(kind, region)?, 0)?;
    }
    for ring in 0..u32::try_from(one.param(uapi::PARAM_RINGS)?)? {
        same("time of a client that did nothing", of_one.engine(ring)?, Duration::ZERO)?;
    }
    Ok(())
}

fn sizes_follow_what_is_allocated(ctx: &Ctx) -> Result<()> {
    let (device, other) = (ctx.device()?, ctx.device()?);
    let (before, others) = (Info::of(&device)?, Info::of(&other)?);
    let gtt = Bo::new(&device, SIZE, Domain::Gtt)?;
    grew(&device, &before, "with a buffer in GTT", &[("total-gtt", SIZE), ("resident-gtt", SIZE)])?;
    let vram = [Bo::new(&device, SIZE, Domain::Vram)?, Bo::new(&device, 4096, Domain::Vram)?];
    let system = Bo::new(&device, 2 * SIZE, Domain::System)?;
    let mut expected = vec![
        ("total-gtt", SIZE),
        ("resident-gtt", SIZE),
        ("total-vram", SIZE + 4096),
        ("resident-vram", SIZE + 4096),
        ("total-system", 2 * SIZE),
    ];
    grew(&device, &before, "with a buffer in SYSTEM that was not used", &expected)?;
    system.map()?.write(0, &[1]);
    expected.push(("resident-system", 2 * SIZE));
    grew(&device, &before, "with one in each domain", &expected)?;
    gtt.move_to(Domain::Vram, 0)?;
    drop((vram, system));
    grew(&device, &before, "after a move to VRAM", &[("total-vram", SIZE), ("resident-vram", SIZE)])?;
    drop(gtt);
    grew(&device, &before, "after all are closed", &[])?;
    grew(&other, &others, "what another client has", &[])
}

fn buffer_with_two_handles_is_shared(ctx: &Ctx) -> Result<()> {
    let (device, other) = (ctx.device()?, ctx.device()?);
    let (before, others) = (Info::of(&device)?, Info::of(&other)?);
    let bo = Bo::new(&device, SIZE, Domain::Vram)?;
    let import = Bo::import(&other, &bo.export()?)?;
    let expected = [("total-vram", SIZE), ("shared-vram", SIZE), ("resident-vram", SIZE)];
    grew(&device, &before, "who made it", &expected)?;
    grew(&other, &others, "who imported it", &expected)?;
    drop(bo);
    grew(&device, &before, "who made it, after closing it", &[])?;
    drop(import);
    grew(&other, &others, "who imported it, after closing it", &[])
}

/// Has pages given up until the condition holds.
fn press_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let is_done = eventually(PATIENCE, || {
        std::fs::write("/proc/sys/vm/drop_caches", "2")?;
        done()
    })?;
    ensure!(is_done, "{what}: not after pressure");
    Ok(())
}

fn pageable_buffer_is_resident_where_it_is(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let before = Info::of(&device)?;
    let bo = Bo::pageable(&device, SIZE, Domain::Vram)?;
    // Counted where it belongs, wherever it is.
    grew(&device, &before, "before its first use", &[("total-vram", SIZE)])?;
    bo.move_to(Domain::Vram, 0)?;
    grew(&device, &before, "in VRAM", &[("total-vram", SIZE), ("resident-vram", SIZE)])?;
    // Who moves it says where it belongs.
    bo.move_to(Domain::Gtt, 0)?;
    grew(&device, &before, "in GTT", &[("total-gtt", SIZE), ("resident-gtt", SIZE)])?;
    press_until("a buffer in the backing store", || {
        Ok(Info::of(&device)?.grown(&before)? == BTreeMap::from([("total-gtt".to_owned(), i64::try_from(SIZE)?)]))
    })?;
    bo.map()?.load(0);
    grew(&device, &before, "for the CPU", &[("total-gtt", SIZE), ("resident-system", SIZE)])?;
    bo.move_to(Domain::Vram, 0)?;
    grew(&device, &before, "back in VRAM", &[("total-vram", SIZE), ("resident-vram", SIZE)])
}

fn unneeded_buffer_is_purgeable(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let before = Info::of(&device)?;
    let bo = Bo::pageable(&device, SIZE, Domain::Vram)?;
    bo.advise(uapi::GEM_DONT_NEED)?;
    grew(&device, &before, "what has no memory", &[("total-vram", SIZE)])?;
    bo.advise(uapi::GEM_WILL_NEED)?;
    bo.move_to(Domain::Vram, 0)?;
    bo.advise(uapi::GEM_DONT_NEED)?;
    let mut expected = vec![("total-vram", SIZE), ("resident-vram", SIZE), ("purgeable-vram", SIZE)];
    grew(&device, &before, "what is not needed", &expected)?;
    bo.advise(uapi::GEM_WILL_NEED)?;
    expected.pop();
    grew(&device, &before, "what is needed again", &expected)
}

/// A submission that stands still until it is opened.
struct Gate {
    map: Mapping,
    done: Syncobj,
    _bo: Bo,
}

impl Gate {
    fn new(device: &Device, ring: u32, reads: Option<&Bo>) -> Result<Self> {
        let (bo, done) = (Bo::new(device, 4096, Domain::Gtt)?, Syncobj::new(device)?);
        let map = bo.map()?;
        let mut ib = Ib::new();
        let open = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
        ib.poll_memory(Place::Bo(bo.handle(), 0), open);
        if let Some(read) = reads {
            ib.copy(Place::Bo(read.handle(), 0), Place::Bo(bo.handle(), 1024), 64);
        }
        device.submit(ring, &ib, &[], &[&done])?;
        Ok(Self { map, done, _bo: bo })
    }

    fn open(&self) -> Result<()> {
        self.map.store(0, 1);
        Ok(self.done.wait(PATIENCE)?)
    }
}

fn buffer_of_a_job_is_active(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let before = Info::of(&device)?;
    let bo = Bo::new(&device, SIZE, Domain::Vram)?;
    let gate = Gate::new(&device, 0, Some(&bo))?;
    let mut expected = vec![("total-vram", SIZE), ("resident-vram", SIZE), ("total-gtt", 4096), ("resident-gtt", 4096)];
    let meanwhile = [expected.as_slice(), &[("active-vram", SIZE), ("active-gtt", 4096)]].concat();
    let seen = grew(&device, &before, "while a job uses it", &meanwhile);
    gate.open()?;
    seen?;
    grew(&device, &before, "after the job", &expected)?;
    drop(gate);
    expected.truncate(2);
    grew(&device, &before, "after the gate is closed", &expected)
}

fn time_of_a_job_is_its_clients(ctx: &Ctx, ring: u32) -> Result<()> {
    let (device, other) = (ctx.device()?, ctx.device()?);
    let rings = u32::try_from(device.param(uapi::PARAM_RINGS)?)?;
    let before = (0..rings).map(|ring| Info::of(&device)?.engine(ring)).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let gate = Gate::new(&device, ring, None)?;
    let held = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    let least = held.elapsed();
    gate.open()?;
    let most = start.elapsed();
    for (n, before) in (0..rings).zip(before) {
        let time = Info::of(&device)?.engine(n)?.saturating_sub(before);
        if n == ring {
            // The ring may have got to the packets a little after the call, on a busy machine.
            let least = least / 2;
            ensure!(time >= least && time <= most, "SDMA {n}: expected {least:?} to {most:?}, seen {time:?}");
        } else {
            same(format_args!("time on SDMA {n}"), time, Duration::ZERO)?;
        }
        same("another client's time", Info::of(&other)?.engine(n)?, Duration::ZERO)?;
    }
    Ok(())
}

fn clients_together_have_no_more_than_the_time(ctx: &Ctx) -> Result<()> {
    let clients = [ctx.device()?, ctx.device()?, ctx.device()?];
    let start = Instant::now();
    let mut waits = Vec::new();
    for round in 0..12 {
        for device in &clients {
            let (from, to) = (Bo::new(device, SIZE, Domain::Gtt)?, Bo::new(device, SIZE, Domain::Vram)?);
            let mut ib = Ib::new();
            ib.copy(Place::Bo(from.handle(), 0), Place::Bo(to.handle(), 0), SIZE);
            let done = Syncobj::new(device)?;
            device.submit(0, &ib, &[], &[&done])?;
            waits.push((done, from, to));
        }
        if round % 4 == 3 {
            waits.drain(..).try_for_each(|(done, ..)| done.wait(PATIENCE))?;
        }
    }
    let all = start.elapsed();
    let times = clients.iter().map(|device| Info::of(device)?.engine(0)).collect::<Result<Vec<_>>>()?;
    ensure!(times.iter().all(|time| !time.is_zero()), "time of each client: {times:?}");
    let sum: Duration = times.iter().sum();
    ensure!(sum <= all, "{times:?} together are {sum:?}, in a time of {all:?}");
    // A queue that is emptied again counts only what it takes.
    let idle = Info::of(&clients[0])?.engine(0)?;
    std::thread::sleep(Duration::from_millis(200));
    let mut ib = Ib::new();
    ib.nop(0);
    let begun = Instant::now();
    complete(&clients[0], 0, &ib)?;
    let nop = Info::of(&clients[0])?.engine(0)?.saturating_sub(idle);
    ensure!(nop <= begun.elapsed(), "a NOP took {nop:?}");
    Ok(())
}

/// The number behind a word of a line of debugfs.
fn number(line: &str, word: &str) -> Result<u64> {
    let mut words = line.split_whitespace().skip_while(|w| *w != word);
    let value = words.nth(1).with_context(|| format!("no {word} in {line:?}"))?;
    value.trim_end_matches(',').parse().with_context(|| format!("{word} in {line:?}"))
}

/// What a file says of the segments of VRAM, or of the GART, in use.
fn used(file: &str, kinds: &[&str]) -> Result<u64> {
    let of = |line: &&str| line.split_once(':').is_some_and(|(kind, _)| kinds.contains(&kind));
    file.lines().filter(of).map(|line| number(line, "used")).sum()
}

fn debugfs_agrees_with_the_parameters(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    settled(|| Ok([device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_GTT_USED)?]))?;
    let (local, pcie): (&[_], &[_]) =
        (&["local", "local-invisible", "own-local"], &["pcie-snooped", "pcie-unsnooped", "paging", "own-pcie"]);
    let (vram, gtt) = (Bo::new(&device, SIZE, Domain::Vram)?, Bo::new(&device, SIZE, Domain::Gtt)?);
    let pageable = Bo::pageable(&device, SIZE, Domain::Gtt)?;
    pageable.move_to(Domain::Gtt, 0)?;
    for held in [true, false] {
        let file = debugfs("uvm_mm")?;
        same("VRAM in use", used(&file, local)?, device.param(uapi::PARAM_VRAM_USED)?)?;
        same("GTT in use", used(&file, pcie)?, device.param(uapi::PARAM_GTT_USED)?)?;
        let pages = file.lines().find(|line| line.starts_with("clients ")).context("no line of clients")?;
        same("pages", number(pages, "pages")? * 4096, device.param(uapi::PARAM_MM_PAGES)?)?;
        for (word, param) in [("purged", uapi::PARAM_MM_PURGED), ("failed", uapi::PARAM_MM_FAILED)] {
            let line = file.lines().find(|line| line.contains(word)).context(word)?;
            same(word, number(line, word)?, device.param(param)?)?;
        }
        if held {
            // What the next look must not see any more.
            vram.move_to(Domain::System, 0)?;
            gtt.move_to(Domain::System, 0)?;
        }
    }
    Ok(())
}
