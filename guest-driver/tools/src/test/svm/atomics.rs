// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! One counter, and both sides add to it: no addition is lost, whoever has the page.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use rustix::io::Errno;
use rustix::mm::Advice;
use uvm_spec::packet::atomic;
use uvm_spec::uapi;

use super::heuristics::Parameter;
use super::{mirror, run, PAGE, WORKER};
use crate::drm::{forked, Device, FenceState, Mapping, May, Mirror, Syncobj, Words};
use crate::ib::{Atomic, Ib, Place};
use crate::test::case::{same, settled, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::workers;

/// Additions of a submission.
const MANY: u64 = 40;

/// Packets that add 1 to the word at `va` so often.
pub fn add(va: u64, times: u64) -> Ib {
    let mut ib = Ib::new();
    for _ in 0..times {
        ib.atomic(Place::Raw(va), Atomic { op: atomic::ADD | atomic::BITS64, source: 1, compare: 0 });
    }
    ib
}

/// The CPU adds for as long as the device makes `rounds` submissions: additions that are missing then.
fn missing(mirror: &Mirror, counter: &Words, rounds: u64) -> Result<u64> {
    let stop = AtomicBool::new(false);
    let before = counter.load(0);
    let (cpu, ended) = thread::scope(|scope| {
        let cpu = scope.spawn(|| {
            let mut made = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                counter.add(0, 1);
                made += 1;
            }
            made
        });
        let ended = (0..rounds).try_for_each(|round| run(mirror, u32::from(round % 2 == 1), &add(counter.va(), MANY)));
        stop.store(true, Ordering::Relaxed);
        (cpu.join(), ended)
    });
    ended?;
    let cpu = cpu.ok().context("the CPU's thread panicked")?;
    (before + cpu + rounds * MANY).checked_sub(counter.load(0)).context("more than was added")
}

fn prefer_system(mirror: &Mirror, counter: &Words) -> Result<()> {
    mirror.device().advise(counter.va(), PAGE as u64, uapi::SVM_PREFERRED, uapi::SVM_IN_SYSTEM)?;
    Ok(())
}

fn memfd() -> Result<OwnedFd> {
    let file = memfd_create("counter", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, PAGE as u64)?;
    Ok(file)
}

pub fn atomics_of_cpu_and_device_lose_nothing(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let counts = || -> Result<[u64; 3]> {
        Ok([
            device.param(uapi::PARAM_SVM_EXCLUSIVE)?,
            device.param(uapi::PARAM_SVM_TAKEN_BACK)?,
            device.param(uapi::PARAM_SVM_LENT)?,
        ])
    };
    let file = memfd()?;
    for (what, rounds, map, stays) in [
        ("private memory that stays", 30, Mapping::private(PAGE)?, true),
        ("private memory", 6, Mapping::private(PAGE)?, false),
        ("shared memory", 20, Mapping::shared(PAGE)?, false),
        ("a file that is shared", 10, Mapping::file(file.as_fd(), PAGE, false)?, false),
        ("a private copy of a file", 10, Mapping::file(file.as_fd(), PAGE, true)?, true),
    ] {
        let counter = Words::of(map);
        if stays {
            prefer_system(&mirror, &counter)?;
        }
        let before = counts()?;
        same(what, missing(&mirror, &counter, rounds)?, 0)?;
        let [exclusive, taken, lent] = std::array::from_fn(|n| counts().map_or(0, |now| now[n] - before[n]));
        ctx.note(format_args!("{what}: {exclusive} times the device's, {taken} taken back, {lent} lent"));
        let shared = what.contains("shared");
        ensure!(!stays || (exclusive > 0 && taken > 0 && lent == 0), "{what}: not had and taken back");
        ensure!(!shared || (lent > 0 && exclusive >= lent), "{what}: not lent");
    }
    // The same by the client: it alone did that.
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", device.fd().as_raw_fd()))?;
    for (key, whole) in [("uvm-svm-exclusive", counts()?[0]), ("uvm-svm-taken-back", counts()?[1])] {
        let told = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse::<u64>().ok());
        ensure!(told.is_some_and(|told| told > 0 && told <= whole), "{key} is {told:?} in fdinfo, {whole} in all");
    }
    Ok(())
}

/// What the others find is the driver's doing: mapped plainly, additions of the CPU are lost.
pub fn atomics_on_plain_pages_would_lose(ctx: &Ctx) -> Result<()> {
    let _plain = Parameter::set("svm_plain_atomics", 1)?;
    let mirror = mirror(ctx)?;
    let counter = Words::of(Mapping::private(PAGE)?);
    prefer_system(&mirror, &counter)?;
    counter.store(0, 5);
    let mut ib = Ib::new();
    run(&mirror, 0, ib.fence(Place::Raw(counter.va() + 8), 1))?;
    let start = Instant::now();
    // They have to meet for that.
    while missing(&mirror, &counter, 10)? == 0 {
        ensure!(start.elapsed() < Duration::from_secs(60), "no addition was ever lost");
    }
    Ok(())
}

/// Both sides of this process so often each, to the counter in the file.
const SHARE: u64 = 8 * MANY;

fn count_along(mirror: &Mirror, counter: &Words) -> Result<()> {
    thread::scope(|scope| {
        let cpu = scope.spawn(|| (0..SHARE).for_each(|_| counter.add(0, 1)));
        let ended = (0..SHARE / MANY).try_for_each(|_| run(mirror, 0, &add(counter.va(), MANY)));
        cpu.join().ok().context("the CPU's thread panicked")?;
        ended
    })
}

/// A worker: counts in the file that is its input.
pub fn counting() -> Result<()> {
    let file = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mirror = Mirror::new(&Device::open()?)?;
    count_along(&mirror, &Words::of(Mapping::file(file.as_fd(), PAGE, false)?))
}

pub fn processes_count_together(ctx: &Ctx) -> Result<()> {
    const PROCESSES: u64 = 2;
    let file = memfd()?;
    let start = || -> Result<_> {
        Ok(Command::new("/proc/self/exe")
            .args(["uvm-test", WORKER, "counting"])
            .stdin(Stdio::from(File::from(file.try_clone()?)))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?)
    };
    let others = (0..PROCESSES).map(|_| start()).collect::<Result<Vec<_>>>()?;
    let mirror = mirror(ctx)?;
    let counter = Words::of(Mapping::file(file.as_fd(), PAGE, false)?);
    let ended = count_along(&mirror, &counter);
    workers::finish(others)?;
    ended?;
    same("what all have added", counter.load(0), (1 + PROCESSES) * 2 * SHARE)
}

/// Words of the page that the forked child shares with its parent.
const GO: usize = 0;
const SAW: usize = 8;

pub fn forked_child_counts_for_itself(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let (counter, shared) = (Words::of(Mapping::private(PAGE)?), Words::of(Mapping::shared(PAGE)?));
    prefer_system(&mirror, &counter)?;
    for round in 0..4_u64 {
        counter.store(0, round);
        shared.store(GO, 0);
        // The page is the device's when the child is made.
        run(&mirror, 0, &add(counter.va(), MANY))?;
        let theirs = (counter.clone(), shared.clone());
        let child = thread::spawn(move || {
            forked(move || {
                let (counter, shared) = (&theirs.0, &theirs.1);
                (0..100).for_each(|_| counter.add(0, 1));
                shared.store(SAW, counter.load(0));
                shared.store(GO, 1);
            });
        });
        // While it counts, or before, or after: it is another page then.
        run(&mirror, 1, &add(counter.va(), MANY))?;
        ensure!(child.join().is_ok(), "the child's thread panicked");
        same("the child's end", shared.load(GO), 1)?;
        same("what parent and device have", counter.load(0), round + 2 * MANY)?;
        let saw = shared.load(SAW);
        let range = round + MANY + 100..=round + 2 * MANY + 100;
        ensure!(range.contains(&saw), "the child counted to {saw}, not to one of {range:?}");
    }
    Ok(())
}

pub fn memory_goes_while_atomics_run(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let expected = ExpectErrors::begin(ctx);
    for shared in [false, true] {
        let map = if shared { Mapping::shared(PAGE)? } else { Mapping::private(PAGE)? };
        let va = map.va();
        mirror.device().advise(va, PAGE as u64, uapi::SVM_PREFERRED, uapi::SVM_IN_SYSTEM)?;
        let (mut done, mut failed) = (0, 0);
        for round in 0..24 {
            let end = Syncobj::new(mirror.device())?;
            mirror.submit(round % 2, &add(va, 4 * MANY), &end)?;
            thread::sleep(Duration::from_millis(u64::from(round % 7)));
            match round % 4 {
                0 => map.advise(0, PAGE, Advice::LinuxDontNeed)?,
                1 => map.unmap(0, PAGE).and_then(|()| map.map_again(0, PAGE))?,
                2 => map.protect(0, PAGE, May::Read).and_then(|()| map.protect(0, PAGE, May::ReadWrite))?,
                _ => {
                    map.unmap(0, PAGE)?;
                    thread::sleep(Duration::from_millis(20));
                    map.map_again(0, PAGE)?;
                }
            }
            end.wait(PATIENCE)?;
            match end.state()? {
                FenceState::Done => done += 1,
                FenceState::Failed(Errno::FAULT) => {
                    failed += 1;
                    let fault = mirror.device().fault()?.context("no fault is told")?;
                    same("the fault told", (fault.va, fault.write), (va, 1))?;
                }
                state => anyhow::bail!("round {round}: {state:?}"),
            }
        }
        ctx.note(format_args!("shared {shared}: {done} submissions ended well, {failed} found no memory"));
        ensure!(done > 0, "none ever ended well");
        map.store(0, 0);
        same("a submission afterwards", mirror.run(0, &add(va, MANY), PATIENCE)?, FenceState::Done)?;
        same("what it has added", map.load(0), MANY)?;
    }
    drop(expected);
    Ok(())
}

/// A worker: the device and the CPU add until it is killed.
pub fn killed() -> Result<()> {
    let mirror = Mirror::new(&Device::open()?)?;
    let (private, shared) = (Words::of(Mapping::private(PAGE)?), Words::of(Mapping::shared(PAGE)?));
    prefer_system(&mirror, &private)?;
    workers::get_ready()?;
    loop {
        for counter in [&private, &shared] {
            same("what is missing", missing(&mirror, counter, 1)?, 0)?;
        }
    }
}

pub fn process_is_killed_amid_atomics(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let left = || Ok((device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_SVM_BLOCKS)?));
    let before = settled(left)?;
    let mut rng = ctx.rng();
    let expected = ExpectErrors::begin(ctx);
    for _ in 0..8 {
        let mut process = vec![workers::command([WORKER, "killed"]).spawn()?];
        workers::ready(&mut process)?;
        workers::go(&mut process)?;
        thread::sleep(Duration::from_millis(rng.below(120)));
        let mut process = process.pop().context("one process")?;
        ensure!(process.try_wait()?.is_none(), "the process ended by itself");
        process.kill()?;
        process.wait()?;
    }
    let after = settled(left)?;
    drop(expected);
    same("VRAM and blocks afterwards", after, before)?;
    let (mirror, counter) = (mirror(ctx)?, Words::of(Mapping::private(PAGE)?));
    for ring in 0..2 {
        run(&mirror, ring, &add(counter.va(), MANY))?;
    }
    same("what was added afterwards", counter.load(0), 2 * MANY)
}
