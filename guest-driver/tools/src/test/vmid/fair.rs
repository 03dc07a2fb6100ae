// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! More busy processes than VMIDs: how they share, and how long one waits. Waiting is counted in VMIDs that others got
//! meanwhile, not in time, which tells of the machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use uvm_spec::packet::poll_func;

use crate::drm::{Bo, Device, Domain, FenceState, Space, RW};
use crate::ib::{Ib, Place, Poll};
use crate::test::case::{same, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::reload::with_parameters;

/// First argument of a busy process.
pub const WORKER: &str = "--busy-worker";

const PROCESSES: u32 = 64;
/// How long they are busy.
const BUSY: Duration = Duration::from_secs(4);
const PACKETS: u64 = 0x10_0000;
const MARK: u64 = 0x100_0000;
const DEBUGFS: &str = "/sys/kernel/debug/dri";

/// Entry point of a busy process: submits on a ring, or on both in turn, one at a time without pause, until its input
/// ends; then says how often.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    let [rings] = args else { bail!("a busy worker takes the number of rings") };
    let rings: u32 = rings.parse()?;
    let space = Space::new(&Device::open()?, PACKETS, 4096)?;
    let bo = Bo::new(space.device(), 4096, Domain::Gtt)?;
    space.device().bind(MARK, &bo, 0, bo.size(), RW)?;
    let map = bo.map()?;
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    std::thread::spawn(move || {
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        seen.store(true, Ordering::Relaxed);
        ended
    });
    let mut count = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        // Polls that give up take the engine's time and nobody else's, so that VMIDs are what is scarce.
        let mut ib = Ib::new();
        let waits = Poll { func: poll_func::EQUAL, reference: u32::MAX, mask: u32::MAX, retry: 200 };
        ib.poll_memory(Place::Raw(MARK), waits).fence(Place::Raw(MARK), count + 1);
        let state = space.run(count % rings, &ib, PATIENCE)?;
        same("fence of a busy process", state, FenceState::Done)?;
        count += 1;
        same("its mark", map.load(0), u64::from(count))?;
    }
    println!("{count}");
    Ok(ExitCode::SUCCESS)
}

/// What the driver counted of VMIDs: given out, waited for, and the most that one saw pass while it waited.
fn counted() -> Result<[u64; 3]> {
    let folders = std::fs::read_dir(DEBUGFS).context(DEBUGFS)?;
    let files: Vec<PathBuf> = folders.flatten().map(|entry| entry.path().join("uvm_vmids")).collect();
    let file = files.iter().find(|path| path.exists()).with_context(|| format!("no uvm_vmids in {DEBUGFS}"))?;
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let numbers: Vec<u64> = text.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().map_err(|_| anyhow::anyhow!("three numbers expected in: {text}"))
}

fn start(rings: u32) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["uvm-test", WORKER, &rings.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("starting a busy process")
}

/// Runs all of them at once and gives how often each submitted.
fn shares(rings: u32) -> Result<Vec<u64>> {
    let mut workers = (0..PROCESSES).map(|_| start(rings)).collect::<Result<Vec<_>>>()?;
    let mut outputs = Vec::new();
    for worker in &mut workers {
        let mut output = BufReader::new(worker.stdout.take().context("a process without output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line == "ready\n", "a process did not get ready: {line:?}");
        outputs.push(output);
    }
    let mut inputs = Vec::new();
    for worker in &mut workers {
        let mut input = worker.stdin.take().context("a process without input")?;
        input.write_all(b"go\n")?;
        inputs.push(input);
    }
    std::thread::sleep(BUSY);
    drop(inputs);
    let mut counts = Vec::new();
    for (worker, mut output) in workers.into_iter().zip(outputs) {
        let mut text = String::new();
        output.read_to_string(&mut text)?;
        let ended = worker.wait_with_output()?;
        ensure!(ended.status.success(), "{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr).trim());
        counts.push(text.trim().parse().with_context(|| format!("a count: {text:?}"))?);
    }
    Ok(counts)
}

fn busy(ctx: &Ctx, rings: u32) -> Result<[u64; 3]> {
    let _expected = ExpectErrors::begin(ctx);
    let mut result = [0; 3];
    // The driver counts from the time that it was loaded.
    with_parameters(c"", || {
        let counts = shares(rings)?;
        result = counted()?;
        let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
        let sum: u64 = counts.iter().sum();
        let [grants, waits, longest] = result;
        ctx.note(format_args!("{sum} submissions of {PROCESSES} processes: each {least} to {most}"));
        ctx.note(format_args!("{grants} VMIDs given, {waits} waited for, longest wait {longest} others"));
        ensure!(least > 0, "a process submitted nothing; all: {counts:?}");
        same("VMIDs given", grants, sum)?;
        // Else they were not scarce, and nothing was shown.
        ensure!(waits >= sum / 2, "only {waits} of {sum} submissions waited for a VMID");
        Ok(())
    })?;
    Ok(result)
}

pub fn busy_processes_share_one_ring(ctx: &Ctx) -> Result<()> {
    let [_, _, longest] = busy(ctx, 1)?;
    ensure!(longest < u64::from(PROCESSES), "a submission saw {longest} others pass");
    Ok(())
}

pub fn busy_processes_share_both_rings(ctx: &Ctx) -> Result<()> {
    let [_, _, longest] = busy(ctx, 2)?;
    ensure!(longest < 2 * u64::from(PROCESSES), "a submission saw {longest} others pass");
    Ok(())
}
