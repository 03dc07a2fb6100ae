// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `uma`: VRAM is a part of system memory. It is where the device says, the kernel keeps off it, the CPU and the
//! engines share it, and nothing reaches what lies around it.

use anyhow::{bail, ensure, Context, Result};
use uvm_spec::hub::{mm, MM_HUB};
use uvm_spec::window::cap;
use uvm_spec::{uapi, Reg, PAGE_SIZE};

use super::borrowed::Borrowed;
use super::case::{complete, content, eventually, filled, same, same_bytes, settled, stamps, Case, Ctx, Run, PATIENCE};
use super::kmsg::ExpectErrors;
use super::reload::bound_device;
use crate::drm::{Bo, Device, Domain};
use crate::ib::{FillSize, Ib, Place};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "carve_out_is_io_memory_and_no_bar", run: Run::Once(carve_out_is_io_memory_and_no_bar) },
    Case { name: "cpu_and_engine_share_it", run: Run::PerRing(cpu_and_engine_share_it) },
    Case { name: "vram_takes_nothing_of_the_window", run: Run::Once(vram_takes_nothing_of_the_window) },
    Case { name: "stray_accesses_miss_what_is_around", run: Run::PerRing(stray_accesses_miss_what_is_around) },
];

/// Bytes on each side of the carve-out that a test looks at.
const AROUND: u64 = 64 << 10;
/// Bytes of a unit of the FB and AGP registers, log2; and of the system aperture's.
const UNIT_SHIFT: u32 = 24;
const SYSTEM_SHIFT: u32 = 18;

fn device(ctx: &Ctx) -> Result<Device> {
    let device = ctx.device_with(cap::UMA, "UMA");
    // Where the launcher asked for it, it is no excuse that it is not there.
    if std::env::var_os("UVM_UMA").is_some() {
        return device.context("the launcher asked for UMA");
    }
    device
}

/// Lines of /proc/iomem: first and last address, and the name.
fn iomem() -> Result<Vec<(u64, u64, String)>> {
    let text = std::fs::read_to_string("/proc/iomem").context("/proc/iomem")?;
    let line = |line: &str| {
        let (range, name) = line.trim().split_once(" : ")?;
        let (first, last) = range.split_once('-')?;
        Some((u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(last, 16).ok()?, name.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Where the kernel knows VRAM: first and last address.
fn place() -> Result<(u64, u64)> {
    let found: Vec<_> = iomem()?.into_iter().filter(|(.., name)| name == "uvm VRAM").collect();
    let [(first, last, _)] = found.as_slice() else { bail!("VRAM in /proc/iomem: {found:x?}") };
    Ok((*first, *last))
}

/// `64M@0x3b000000`
fn asked_for(text: &str) -> Option<(u64, u64)> {
    let (size, base) = text.split_once('@')?;
    let size = size.strip_suffix('M')?.parse::<u64>().ok()? << 20;
    let base = u64::from_str_radix(base.strip_prefix("0x")?, 16).ok()?;
    Some((base, base + size - 1))
}

fn carve_out_is_io_memory_and_no_bar(ctx: &Ctx) -> Result<()> {
    let device = device(ctx)?;
    let (first, last) = place()?;
    ctx.note(format_args!("VRAM is system memory {first:#x}-{last:#x}"));
    same("bytes of it", last - first + 1, device.param(uapi::PARAM_VRAM_SIZE)?)?;
    if let Ok(text) = std::env::var("UVM_UMA") {
        let wanted = asked_for(&text).with_context(|| format!("UVM_UMA={text}"))?;
        same("place of VRAM against what was asked for", (first, last), wanted)?;
    }
    let ram: Vec<_> = iomem()?.into_iter().filter(|(.., name)| name == "System RAM").collect();
    ensure!(ram.len() >= 2, "the kernel's memory: {ram:x?}");
    for (start, end, _) in ram {
        ensure!(end < first || last < start, "the kernel uses {start:#x}-{end:#x}, VRAM is at {first:#x}-{last:#x}");
    }
    let path = format!("/sys/bus/virtio/devices/{}/../resource", bound_device()?);
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16);
    let mut bars = 0;
    for line in text.lines() {
        let [start, end, ..] = line.split_whitespace().map(number).collect::<Result<Vec<_>, _>>()?[..] else {
            bail!("{path}: {line}")
        };
        bars += u32::from(end > start);
        ensure!(end - start < 16 << 20, "a BAR of {:#x} bytes at {start:#x}", end - start + 1);
    }
    ensure!(bars > 0, "{path} names no BAR at all");
    Ok(())
}

fn register(reg: &Reg) -> u32 {
    MM_HUB.index(reg, 0)
}

fn units(address: u64, shift: u32) -> Result<u32> {
    Ok(u32::try_from(address >> shift)?)
}

/// The first 4 GiB of system memory at `start`, by the AGP aperture, which the driver leaves closed.
struct SystemMemory<'a> {
    start: u64,
    _old: [Borrowed<'a>; 4],
}

impl<'a> SystemMemory<'a> {
    fn open(device: &'a Device) -> Result<Self> {
        const BYTES: u64 = 1 << 32;
        // Past VRAM, whatever its size.
        let start = device.param(uapi::PARAM_FB_START)? + (1 << 40);
        let last = start + BYTES - 1;
        let set = |reg, value| Borrowed::set(device, register(reg), value);
        let old = [
            set(&mm::MC_VM_AGP_BASE, 0)?,
            set(&mm::MC_VM_AGP_TOP, units(last, UNIT_SHIFT)?)?,
            set(&mm::MC_VM_AGP_BOT, units(start, UNIT_SHIFT)?)?,
            set(&mm::MC_VM_SYSTEM_APERTURE_HIGH_ADDR, units(last, SYSTEM_SHIFT)?)?,
        ];
        Ok(Self { start, _old: old })
    }

    fn at(&self, bus: u64) -> Place {
        Place::Raw(self.start + bus)
    }

    fn read(&self, device: &Device, ring: u32, bus: u64, bytes: u64) -> Result<Vec<u8>> {
        let bo = Bo::new(device, bytes, Domain::Gtt)?;
        let mut ib = Ib::new();
        ib.copy(self.at(bus), Place::Bo(bo.handle(), 0), bytes);
        complete(device, ring, &ib).with_context(|| format!("reading system memory at {bus:#x}"))?;
        content(&bo, usize::try_from(bytes)?)
    }
}

/// Three ways to the same bytes: the CPU's mapping, the FB aperture, and system memory by its bus address.
fn cpu_and_engine_share_it(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = device(ctx)?;
    let data = stamps(ctx.rng().next(), 3 * 4096 + 24);
    let length = data.len() as u64;
    let bo = filled(&device, Domain::Vram, &data)?;
    let fb = bo.info()?.gpu_addr;
    let bus = place()?.0 + (fb - device.param(uapi::PARAM_FB_START)?);
    let memory = SystemMemory::open(&device)?;
    same_bytes("system memory where the CPU wrote VRAM", &memory.read(&device, ring, bus, length)?, &data)?;

    let by_engine: Vec<u8> = data.iter().map(|byte| byte.wrapping_mul(5)).collect();
    let source = filled(&device, Domain::Gtt, &by_engine)?;
    let mut ib = Ib::new();
    ib.copy(Place::Bo(source.handle(), 0), Place::Raw(fb), length);
    complete(&device, ring, &ib)?;
    same_bytes("system memory where the engine wrote VRAM", &memory.read(&device, ring, bus, length)?, &by_engine)?;
    same_bytes("what the CPU sees of it", &content(&bo, data.len())?, &by_engine)?;

    let by_bus: Vec<u8> = data.iter().map(|byte| !byte).collect();
    source.map()?.write(0, &by_bus);
    let mut ib = Ib::new();
    ib.copy(Place::Bo(source.handle(), 0), memory.at(bus), length);
    complete(&device, ring, &ib)?;
    same_bytes("what the CPU sees of a write to system memory", &content(&bo, data.len())?, &by_bus)
}

fn vram_takes_nothing_of_the_window(ctx: &Ctx) -> Result<()> {
    let device = device(ctx)?;
    let (start, size) = (device.param(uapi::PARAM_FB_START)?, device.param(uapi::PARAM_VRAM_SIZE)?);
    let before = settled(|| Ok(device.param(uapi::PARAM_GTT_USED)?))?;
    let data = stamps(11, 1 << 20);
    let bo = filled(&device, Domain::System, &data)?;
    bo.move_to(Domain::Gtt, 0)?;
    same("what an object in GTT takes of the window", device.param(uapi::PARAM_GTT_USED)? - before, bo.size())?;
    bo.move_to(Domain::Vram, 1)?;
    same("window used with the object in VRAM", device.param(uapi::PARAM_GTT_USED)?, before)?;
    let at = bo.info()?.gpu_addr;
    ensure!(at >= start && at + bo.size() <= start + size, "an object in VRAM is at {at:#x}");
    same_bytes("the object", &content(&bo, data.len())?, &data)
}

/// Whether a run of `value`s is in `bytes`.
fn holds(bytes: &[u8], value: u32) -> bool {
    let run: Vec<u8> = [value; 4].iter().flat_map(|value| value.to_le_bytes()).collect();
    bytes.windows(run.len()).step_by(4).any(|window| window == run)
}

/// Fills below and above VRAM as the driver has set up the apertures, then with an FB aperture that is wider than VRAM.
fn stray_accesses_miss_what_is_around(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = device(ctx)?;
    let (first, last) = place()?;
    let fb = device.param(uapi::PARAM_FB_START)?;
    let end = fb + (last - first + 1);
    let value = ctx.rng().next32();
    let faults = device.param(uapi::PARAM_FAULTS)?;
    let fill = |from: u64, bytes: u64| -> Result<()> {
        let mut ib = Ib::new();
        ib.fill(Place::Raw(from), value, FillSize::Dword, bytes);
        device.run(ring, &ib, PATIENCE)?;
        Ok(())
    };
    {
        let _expected = ExpectErrors::begin(ctx);
        fill(fb - AROUND, AROUND)?;
        fill(end, AROUND)?;
        let top = units(end + AROUND, UNIT_SHIFT)?;
        let _wide = [
            Borrowed::set(&device, register(&mm::MC_VM_FB_LOCATION_TOP), top)?,
            Borrowed::set(&device, register(&mm::MC_VM_SYSTEM_APERTURE_HIGH_ADDR), units(end + AROUND, SYSTEM_SHIFT)?)?,
        ];
        fill(end, AROUND)?;
        // VRAM's last page is there for wrong accesses.
        fill(end - PAGE_SIZE, AROUND)?;
        let counted = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_FAULTS)? >= faults + 4))?;
        ensure!(counted, "expected a fault each, seen {}", device.param(uapi::PARAM_FAULTS)? - faults);
    }
    let memory = SystemMemory::open(&device)?;
    let read = |bus: u64, bytes: u64| memory.read(&device, ring, bus, bytes);
    ensure!(holds(&read(last + 1 - PAGE_SIZE, PAGE_SIZE)?, value), "the last page of VRAM was not written");
    ensure!(!holds(&read(last + 1, AROUND)?, value), "system memory above VRAM was written");
    ensure!(!holds(&read(first - AROUND, AROUND)?, value), "system memory below VRAM was written");
    Ok(())
}
