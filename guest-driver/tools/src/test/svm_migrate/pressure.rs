// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Too little VRAM, a process that dies, a device that goes, a ring that does not work.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{ensure, Result};
use uvm_spec::{sdma, uapi};

use super::owners::{leaves_a_child, LEAVES};
use super::{is_in_vram, Own, BLOCK, PAGE};
use crate::drm::{Bo, Device, Domain};
use crate::test::case::{eventually, same, settled, stamp, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::reload::while_unbound;
use crate::test::segments::{number, INVISIBLE, VISIBLE};
use crate::test::svm::heuristics::Parameter;
use crate::test::workers;

/// First argument of the process that is killed.
pub const WORKER: &str = "--migrate-worker";
/// Its argument for moving for ever.
const TO_AND_FRO: &str = "to-and-fro";
/// What it has in VRAM.
const SHARE: u64 = 16 << 20;

/// Leaves `bytes` of VRAM to others, about.
fn fill_but(device: &Device, bytes: u64) -> Result<Vec<Bo>> {
    let mut bos = Vec::new();
    loop {
        let free = device.param(uapi::PARAM_VRAM_SIZE)? - device.param(uapi::PARAM_VRAM_USED)?;
        let Some(rest) = free.checked_sub(bytes).filter(|rest| *rest >= 2 * BLOCK) else { return Ok(bos) };
        match Bo::new(device, rest.min(16 << 20) & !(BLOCK - 1), Domain::Vram) {
            Ok(bo) => bos.push(bo),
            // The rest is the driver's own.
            Err(_) => return Ok(bos),
        }
    }
}

pub fn more_than_vram_has_the_newest_there(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    // Buffers would make way for a while.
    let limit = Parameter::set("svm_vram", 48)?;
    let evicted = device.param(uapi::PARAM_DEVMEM_EVICTED)?;
    let own = (0..5).map(|n| Own::new(ctx.rng().next() + n, 16 << 20, n % 2 == 0)).collect::<Result<Vec<_>>>()?;
    for own in &own {
        own.go(&device, Domain::Vram)?;
    }
    let gone = device.param(uapi::PARAM_DEVMEM_EVICTED)? - evicted;
    ensure!(gone >= 16 << 20, "{gone} bytes were moved out of VRAM");
    // The last that came is there.
    is_in_vram(&device, &own[4])?;
    own.iter().try_for_each(Own::check)?;
    // In the other order, from wherever each is.
    for own in own.iter().rev() {
        own.go(&device, Domain::Vram)?;
        own.check()?;
    }
    drop(limit);
    Ok(())
}

pub fn buffers_get_vram_from_processes_memory(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let own = Own::new(ctx.rng().next(), 32 << 20, true)?;
    own.go(&device, Domain::Vram)?;
    let (evicted, faults) = (device.param(uapi::PARAM_DEVMEM_EVICTED)?, device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?);
    // It does not fit beside more than half of that, even if all other buffers make way.
    let most = number(VISIBLE, "size")? - (16 << 20);
    let large = Bo::new(&device, most & !(BLOCK - 1), Domain::Vram)?;
    let gone = device.param(uapi::PARAM_DEVMEM_EVICTED)? - evicted;
    ensure!(gone >= 16 << 20, "a buffer got {gone} bytes of VRAM from the process's memory");
    drop(large);
    // Those whose place is found when they are used get it as well.
    own.go(&device, Domain::Vram)?;
    let ballast = fill_but(&device, 16 << 20)?;
    own.go(&device, Domain::Vram)?;
    let evicted = device.param(uapi::PARAM_DEVMEM_EVICTED)?;
    let pageable = Bo::pageable(&device, 16 << 20, Domain::Vram)?;
    pageable.move_to(Domain::Vram, 0)?;
    same("where the buffer is", pageable.info()?.domain, uapi::DOMAIN_VRAM)?;
    let gone = device.param(uapi::PARAM_DEVMEM_EVICTED)? - evicted;
    ctx.note(format_args!("{gone} bytes made way for the last buffer"));
    same("accesses by the CPU so far", device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?, faults)?;
    drop(ballast);
    own.check()
}

/// The larger one of the numbers of VRAM's segments.
fn most_of_a_segment(name: &str) -> Result<u64> {
    // There is one of them alone where the CPU reaches all.
    Ok(number(VISIBLE, name)?.max(number(INVISIBLE, name).unwrap_or(0)))
}

/// VRAM is full of buffers that nobody uses: they make way, as many as have to and with all their bytes.
pub fn process_gets_vram_from_idle_buffers(ctx: &Ctx) -> Result<()> {
    const OWN: usize = 8 << 20;
    const SIZE: u64 = 1 << 20;
    let device = ctx.device()?;
    // Of sizes that meet no boundary of chunks.
    let mut bos = Vec::new();
    let place = |bo: &Bo| Ok::<_, anyhow::Error>(bo.info()?.domain == uapi::DOMAIN_VRAM);
    for size in [3 * SIZE, SIZE, SIZE / 16] {
        while most_of_a_segment("longest free")? >= size {
            let bo = Bo::pageable(&device, size, Domain::Vram)?;
            let (map, salt) = (bo.map()?, bos.len() as u64);
            for at in (0..size).step_by(PAGE) {
                map.store(usize::try_from(at)?, stamp(salt, at));
            }
            drop(map);
            bo.move_to(Domain::Vram, 0)?;
            bos.push(bo);
        }
    }
    same("places for chunks", most_of_a_segment("whole 2MiB free")?, 0)?;
    for bo in &bos {
        ensure!(place(bo)?, "VRAM does not hold all {} buffers", bos.len());
    }

    let own = Own::new(ctx.rng().next(), OWN, true)?;
    same("bytes that went", own.go(&device, Domain::Vram)?, own.size())?;
    is_in_vram(&device, &own)?;
    let mut gone = 0;
    for bo in &bos {
        gone += if place(bo)? { 0 } else { bo.size() };
    }
    ctx.note(format_args!("{} of {} buffers' bytes made way", gone, bos.iter().map(Bo::size).sum::<u64>()));
    // Whoever lies at an end of a chunk goes as a whole.
    let most = (OWN as u64 / BLOCK) * (BLOCK + 2 * 3 * SIZE);
    ensure!(gone > 0 && gone <= most, "{gone} bytes of buffers made way for {OWN}");
    own.check()?;
    for (salt, bo) in (0..).zip(&bos) {
        let map = bo.map()?;
        for at in (0..bo.size()).step_by(PAGE) {
            same(format_args!("buffer {salt}, byte {at}"), map.load(usize::try_from(at)?), stamp(salt, at))?;
        }
    }
    Ok(())
}

/// Entry point of the process that is killed.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    if args == [LEAVES] {
        return leaves_a_child();
    }
    let device = Device::open()?;
    if args == [TO_AND_FRO] {
        let own = [false, true].map(|huge| Own::new(5, usize::try_from(SHARE / 4)?, huge));
        let [small, huge] = own;
        let (small, huge) = (small?, huge?);
        workers::get_ready()?;
        loop {
            for own in [&small, &huge] {
                own.go(&device, Domain::Vram)?;
                own.go(&device, Domain::System)?;
                own.go(&device, Domain::Vram)?;
                own.check()?;
            }
        }
    }
    ensure!(args.is_empty(), "takes no other arguments");
    let small = Own::new(3, usize::try_from(SHARE / 2)?, false).and_then(|own| {
        own.go(&device, Domain::Vram)?;
        Ok(own)
    })?;
    let huge = Own::new(4, usize::try_from(SHARE / 2)?, true).and_then(|own| {
        own.go(&device, Domain::Vram)?;
        Ok(own)
    })?;
    workers::get_ready()?;
    small.check()?;
    huge.check()?;
    Ok(ExitCode::SUCCESS)
}

pub fn killed_process_gives_vram_back(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = device.param(uapi::PARAM_DEVMEM_USED)?;
    let mut workers = vec![workers::command([WORKER]).spawn()?];
    workers::ready(&mut workers)?;
    same("bytes in VRAM while it lives", device.param(uapi::PARAM_DEVMEM_USED)?, used + SHARE)?;
    for mut worker in workers {
        worker.kill()?;
        worker.wait()?;
    }
    let back = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_DEVMEM_USED)? == used))?;
    ensure!(back, "{} bytes stay in VRAM", device.param(uapi::PARAM_DEVMEM_USED)? - used);
    Ok(())
}

/// A process that does nothing but move is killed a little later each time.
pub fn process_is_killed_at_any_point_of_a_migration(ctx: &Ctx) -> Result<()> {
    const ROUNDS: u64 = 24;
    let device = ctx.device()?;
    let left = || Ok((device.param(uapi::PARAM_DEVMEM_USED)?, device.param(uapi::PARAM_VRAM_USED)?));
    let (before, to_vram) = (settled(left)?, device.param(uapi::PARAM_DEVMEM_TO_VRAM)?);
    for round in 0..ROUNDS {
        let mut process = vec![workers::command([WORKER, TO_AND_FRO]).spawn()?];
        workers::ready(&mut process)?;
        workers::go(&mut process)?;
        // Through what takes it some ten milliseconds, in steps that meet no beat of it.
        std::thread::sleep(Duration::from_micros(round * round * 131));
        for mut process in process {
            ensure!(process.try_wait()?.is_none(), "the process ended by itself");
            process.kill()?;
            process.wait()?;
        }
    }
    let moved = device.param(uapi::PARAM_DEVMEM_TO_VRAM)? - to_vram;
    ensure!(moved > 0, "no migration was under way");
    let back = eventually(PATIENCE, || Ok(left()?.0 == before.0 && left()?.1 <= before.1))?;
    ensure!(back, "bytes in VRAM: {before:?} before, {:?} after", left()?);
    let own = Own::new(ctx.rng().next(), 4 << 20, true)?;
    own.go(&device, Domain::Vram)?;
    is_in_vram(&device, &own)?;
    own.check()
}

pub fn unbound_device_leaves_all_memory_behind(ctx: &Ctx) -> Result<()> {
    let salt = ctx.rng().next();
    let own = [false, true].map(|huge| Own::new(salt, 4 << 20, huge));
    let [small, huge] = own;
    let (small, huge) = (small?, huge?);
    let device = ctx.device()?;
    small.go(&device, Domain::Vram)?;
    huge.go(&device, Domain::Vram)?;
    drop(device);
    while_unbound(|| {
        small.check()?;
        huge.check()
    })?;
    let device = ctx.device()?;
    same("bytes that go again", small.go(&device, Domain::Vram)?, small.size())?;
    small.check()
}

pub fn ring_that_stands_still_costs_time_alone(ctx: &Ctx) -> Result<()> {
    let page_ring = 1;
    let device = ctx.device()?;
    let own = Own::new(ctx.rng().next(), 4 << 20, true)?;
    own.go(&device, Domain::Vram)?;
    own.go(&device, Domain::System)?;
    let by_cpu = device.param(uapi::PARAM_DEVMEM_BY_CPU)?;
    let expected = ExpectErrors::begin(ctx);
    for block in [&sdma::SDMA0, &sdma::SDMA1] {
        device.set_reg(block.index(&sdma::RB_CNTL, page_ring), 0)?;
    }
    same("bytes that went", own.go(&device, Domain::Vram)?, own.size())?;
    drop(expected);
    let by_cpu = device.param(uapi::PARAM_DEVMEM_BY_CPU)? - by_cpu;
    ensure!(by_cpu > 0 && by_cpu <= own.size(), "the CPU copied {by_cpu} bytes");
    is_in_vram(&device, &own)?;
    own.check()?;
    // The rings were set up anew.
    let by_cpu = device.param(uapi::PARAM_DEVMEM_BY_CPU)?;
    own.go(&device, Domain::Vram)?;
    own.check()?;
    same("bytes that the CPU copied afterwards", device.param(uapi::PARAM_DEVMEM_BY_CPU)?, by_cpu)
}
