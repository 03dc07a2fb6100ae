// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Processes side by side, the CPU beside the device, and processes that die on the way.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use rustix::mm::Advice;
use uvm_spec::uapi;

use super::{bytes, copy, mirror, run, PAGE, WORKER};
use crate::drm::{Device, FenceState, Mapping, May, Mirror, Queue, Space, Words};
use crate::ib::{Ib, Place};
use crate::rng::Rng;
use crate::test::case::{eventually, refused, same, same_bytes, settled, stamps, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::queues::{drained, stands};
use crate::test::reload::unload;
use crate::test::workers;

/// Entry point of a worker process.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    match args {
        [what] if what == "foreign" => foreign()?,
        [what] if what == "counting" => super::atomics::counting()?,
        [what] if what == "killed" => super::atomics::killed()?,
        [what, seed] if what == "busy" => busy(seed.parse()?, None)?,
        [what, seed, rounds] if what == "busy" => busy(seed.parse()?, Some(rounds.parse()?))?,
        _ => bail!("unknown work: {args:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Uses the file that is its input as if it were its own.
fn foreign() -> Result<()> {
    let device = Device::from_fd(std::io::stdin().as_fd().try_clone_to_owned()?);
    let (mirror, page) = (Mirror::of(&device)?, Mapping::private(PAGE)?);
    let ib = copy(page.va(), page.va() + 64, 64);
    refused("a submission", mirror.run(0, &ib, PATIENCE), &[Errno::PERM])?;
    refused("a queue", Queue::new(&device, 0, 1 << 34, 4096), &[Errno::PERM])?;
    refused("a mirror", device.mirror(), &[Errno::BUSY])
}

/// Copies inside its memory, which it changes all the while, for so many rounds or until it is killed.
fn busy(seed: u64, rounds: Option<u64>) -> Result<()> {
    const PAGES: usize = 24;
    let device = Device::open()?;
    let mirror = Mirror::new(&device)?;
    let mut rng = Rng::new(seed);
    let (from, to) = (Mapping::private(PAGES * PAGE)?, Mapping::private(PAGES * PAGE)?);
    workers::get_ready()?;
    for round in 0.. {
        if rounds == Some(round) {
            break;
        }
        let data = stamps(seed ^ round << 8, PAGES * PAGE);
        from.write(0, &data);
        let at = rng.index(PAGES) * PAGE;
        let part = (1 + rng.index(PAGES - at / PAGE)) * PAGE;
        let ib = copy(from.va() + at as u64, to.va() + at as u64, part);
        match mirror.run(u32::from(rng.index(2) == 1), &ib, PATIENCE)? {
            FenceState::Done => same_bytes("a copy", &bytes(&to, at, part), &data[at..at + part])?,
            state => bail!("round {round}: {state:?}"),
        }
        match rng.index(4) {
            0 => to.advise(at, part, Advice::LinuxDontNeed)?,
            1 => from.unmap(at, part).and_then(|()| from.map_again(at, part))?,
            2 => to.protect(at, part, May::Read).and_then(|()| to.protect(at, part, May::ReadWrite))?,
            _ => {}
        }
    }
    Ok(())
}

pub fn mirror_serves_its_own_process_alone(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let file: OwnedFd = mirror.device().fd().try_clone_to_owned()?;
    let child = Command::new("/proc/self/exe")
        .args(["uvm-test", WORKER, "foreign"])
        .stdin(Stdio::from(File::from(file)))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the other process: {}", String::from_utf8_lossy(&output.stderr).trim());
    let page = Mapping::private(PAGE)?;
    run(&mirror, 0, Ib::new().fence(Place::Raw(page.va()), 1))
}

pub fn processes_at_the_same_addresses_keep_apart(_: &Ctx) -> Result<()> {
    let start = |seed: u64| Ok(workers::command([WORKER, "busy", &seed.to_string(), "40"]).spawn()?);
    let mut processes = (1..=4).map(start).collect::<Result<Vec<_>>>()?;
    workers::ready(&mut processes)?;
    workers::go(&mut processes)?;
    workers::finish(processes)
}

pub fn process_may_be_killed_at_any_point(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let left = || Ok((device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_SVM_BLOCKS)?));
    let before = settled(left)?;
    let mut rng = ctx.rng();
    // What a dying process had submitted finds no memory any more.
    let expected = ExpectErrors::begin(ctx);
    for round in 0..12_u64 {
        let mut process = vec![workers::command([WORKER, "busy", &round.to_string()]).spawn()?];
        workers::ready(&mut process)?;
        workers::go(&mut process)?;
        thread::sleep(Duration::from_millis(rng.below(60)));
        let mut process = process.pop().context("one process")?;
        ensure!(process.try_wait()?.is_none(), "the process ended by itself");
        process.kill()?;
        process.wait()?;
    }
    let after = settled(left)?;
    // What a process left behind on a ring has failed by now.
    for ring in 0..2 {
        let space = Space::new(&ctx.device()?, 0x10_0000, PAGE as u64)?;
        same("a submission behind", space.run(ring, Ib::new().nop(1), PATIENCE)?, FenceState::Done)?;
    }
    drop(expected);
    same("VRAM and blocks afterwards", after, before)?;
    let (mirror, page) = (mirror(ctx)?, Mapping::private(PAGE)?);
    for ring in 0..2 {
        run(&mirror, ring, Ib::new().fence(Place::Raw(page.va()), 1 + ring))?;
        same("what was written afterwards", page.load(0), (1 + ring).into())?;
    }
    Ok(())
}

/// A thread writes rising numbers and changes the page meanwhile; the device's copies never fall behind what was written
/// before they were asked for, and the two words of a page never come apart by more than the copy took.
pub fn device_reads_what_the_cpu_wrote_last(ctx: &Ctx) -> Result<()> {
    const PAGES: usize = 4;
    let mirror = mirror(ctx)?;
    let from: Vec<Words> = (0..PAGES).map(|_| Ok(Words::of(Mapping::private(PAGE)?))).collect::<Result<_>>()?;
    let to = Mapping::private(PAGE)?;
    let (written, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let theirs = (from.clone(), written.clone(), stop.clone());
    let writer = thread::spawn(move || -> Result<(), Errno> {
        let (from, written, stop) = theirs;
        for n in 1.. {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            for page in &from {
                page.store(0, n);
                page.store(PAGE - 8, n);
            }
            written.store(n, Ordering::Release);
            if n % 64 == 0 {
                let page = &from[usize::try_from(n / 64).unwrap_or(0) % PAGES];
                page.protect(May::Read)?;
                page.protect(May::ReadWrite)?;
                // Away from the CPU's tables, and back by a fault: it keeps its content.
                page.advise(Advice::LinuxCold)?;
            }
        }
        Ok(())
    });
    let start = Instant::now();
    let mut copies = 0_u32;
    let result = loop {
        if start.elapsed() > Duration::from_secs(2) && copies > 40 {
            break Ok(());
        }
        let page = &from[copies as usize % PAGES];
        let least = written.load(Ordering::Acquire);
        if let Err(error) = run(&mirror, copies % 2, &copy(page.va(), to.va(), PAGE)) {
            break Err(error);
        }
        let most = written.load(Ordering::Acquire) + 1;
        let seen = [to.load(0), to.load(PAGE - 8)];
        if seen.iter().any(|seen| !(least..=most).contains(seen)) {
            break Err(anyhow::anyhow!("between {least} and {most} were written, {seen:?} read"));
        }
        copies += 1;
    };
    stop.store(true, Ordering::Relaxed);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    ctx.note(format_args!("{copies} copies"));
    result
}

pub fn queue_runs_on_pointers_and_stops_alone(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let (map, gone) = (Mapping::private(4 * PAGE)?, Mapping::private(PAGE)?);
    let mut queue = Queue::new(device, 0, 1 << 34, 4096)?;
    let mut other = Queue::new(device, 1, 1 << 35, 4096)?;
    for n in 0..8 {
        queue.run(Ib::new().fence(Place::Raw(map.va() + 8 * n), 3))?;
        drained(&queue)?;
        same("what a queue wrote", map.load(8 * usize::try_from(n)?), 3)?;
    }
    gone.protect(0, PAGE, May::Nothing)?;
    let expected = ExpectErrors::begin(ctx);
    queue.run(Ib::new().fence(Place::Raw(gone.va() + 24), 3))?;
    stands(&queue, uapi::QUEUE_STOPPED, uapi::QUEUE_CAUSE_FAULT)?;
    drop(expected);
    same("the fault told", device.fault()?.map(|fault| (fault.va, fault.write)), Some((gone.va(), 1)))?;
    other.run(Ib::new().fence(Place::Raw(map.va() + PAGE as u64), 4))?;
    drained(&other)?;
    same("what the other queue wrote", map.load(PAGE), 4)?;
    queue.reset()?;
    queue.run(Ib::new().fence(Place::Raw(map.va() + 2 * PAGE as u64), 5))?;
    drained(&queue)?;
    std::io::stdout().flush()?;
    same("what the queue wrote after its reset", map.load(2 * PAGE), 5)
}

/// Blocks of memory that is gone are given back, and their tables.
pub fn unmapped_memory_costs_nothing_for_long(ctx: &Ctx) -> Result<()> {
    const BLOCKS: usize = 40;
    const APART: usize = 2 << 20;
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let left = || Ok((device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_SVM_BLOCKS)?));
    run(&mirror, 0, &Ib::new().nop(1).clone())?;
    let before = settled(left)?;
    for round in 0..3 {
        let map = Mapping::private(BLOCKS * APART)?;
        for n in 0..BLOCKS {
            run(&mirror, round % 2, Ib::new().fence(Place::Raw(map.va() + (n * APART) as u64), 1))?;
        }
        ensure!(left()?.1 >= before.1 + BLOCKS as u64, "no block a page");
        drop(map);
        ensure!(
            eventually(PATIENCE, || Ok(left()?.1 <= before.1 + 1))?,
            "blocks before and afterwards: {} {}",
            before.1,
            left()?.1
        );
    }
    Ok(())
}

pub fn driver_stays_while_it_mirrors(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let page = Mapping::private(PAGE)?;
    for round in 1..4 {
        run(&mirror, 0, Ib::new().fence(Place::Raw(page.va()), round))?;
        let seen = unload();
        ensure!(matches!(seen, Err(Errno::AGAIN | Errno::BUSY)), "unloading gave {seen:?}");
        run(&mirror, 1, Ib::new().fence(Place::Raw(page.va() + 8), round))?;
        same("what was written", (page.load(0), page.load(8)), (round.into(), round.into()))?;
    }
    Ok(())
}

/// Several engines of one process fault at once, on the same pages and on others.
pub fn every_way_of_replay_serves(ctx: &Ctx) -> Result<()> {
    const PARAMETER: &str = "/sys/module/uvm/parameters/svm_replay";
    let before = std::fs::read_to_string(PARAMETER)?;
    let result = (0..4).try_for_each(|way: u64| {
        std::fs::write(PARAMETER, way.to_string())?;
        replays(ctx, way).with_context(|| format!("replay {way}"))
    });
    std::fs::write(PARAMETER, before.trim())?;
    result
}

fn replays(ctx: &Ctx, way: u64) -> Result<()> {
    const PAGES: usize = 12;
    const RING: u64 = 1 << 34;
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let mut queues = Vec::new();
    for n in 0..4 {
        queues.push(Queue::new(device, n % 2, RING + (u64::from(n) << 24), 4096)?);
    }
    let data = stamps(60 + way, PAGES * PAGE);
    let from = Mapping::private(PAGES * PAGE)?;
    from.write(0, &data);
    let to = (0..4).map(|_| Mapping::private(PAGES * PAGE)).collect::<Result<Vec<_>, _>>()?;
    for (queue, to) in queues.iter_mut().zip(&to) {
        let mut ib = Ib::new();
        ib.copy(Place::Raw(from.va()), Place::Raw(to.va()), (PAGES * PAGE) as u64);
        queue.run(&ib)?;
    }
    for (queue, to) in queues.iter().zip(&to) {
        drained(queue)?;
        same_bytes("a copy", &bytes(to, 0, PAGES * PAGE), &data)?;
    }
    ensure!(device.fault()?.is_none(), "a fault is told");
    Ok(())
}
