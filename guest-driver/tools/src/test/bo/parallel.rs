// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Several processes at once, and one that is killed.

use std::io::Write;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use uvm_spec::packet::{poll_func, POLL_FOREVER};
use uvm_spec::uapi;

use super::moves::churn;
use crate::drm::{Bo, Device, Domain};
use crate::ib::{Ib, Place, Poll};
use crate::rng::Rng;
use crate::test::case::{eventually, settled, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;

/// First argument of a worker process.
pub const WORKER: &str = "--worker";

/// What a worker does.
const CHURN: &str = "churn";
const HANG: &str = "hang";

fn start(task: &str, seed: u64) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["uvm-test", WORKER, task, &seed.to_string()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("starting a worker")
}

/// Entry point of a worker: the task and a seed.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    let [task, seed] = args else { bail!("a worker takes a task and a seed") };
    let rng = Rng::new(seed.parse()?);
    match task.as_str() {
        CHURN => churn(&Device::open()?, rng, 80, 1 << 17)?,
        HANG => hang()?,
        other => bail!("no task is called {other}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Holds memory of each kind and has work that never ends, until it is killed.
fn hang() -> Result<()> {
    let device = Device::open()?;
    let all = Domain::ALL.map(|domain| Bo::new(&device, 4 << 20, domain));
    let [_, _, vram] = &all;
    let vram = vram.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut ib = Ib::new();
    let poll = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
    ib.poll_memory(Place::Bo(vram.handle(), 0), poll);
    device.submit(0, &ib, &[], &[])?;
    println!("ready");
    std::io::stdout().flush()?;
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

pub fn processes_at_once(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let workers = (0..4).map(|_| start(CHURN, rng.next())).collect::<Result<Vec<_>>>()?;
    let mut failed = Vec::new();
    for (n, worker) in workers.into_iter().enumerate() {
        let output = worker.wait_with_output()?;
        if !output.status.success() {
            failed.push(format!("worker {n}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

pub fn killed_process_leaves_nothing_behind(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let params = [uapi::PARAM_VRAM_USED, uapi::PARAM_GTT_USED];
    let used = || -> Result<Vec<u64>> { Ok(params.iter().map(|&p| device.param(p)).collect::<Result<_, _>>()?) };
    let before = settled(used)?;
    let _expected = ExpectErrors::begin(ctx);
    let mut worker = start(HANG, 0)?;
    let held =
        eventually(PATIENCE, || Ok(used()?.iter().zip(&before).all(|(now, before)| *now >= before + (4 << 20))))?;
    worker.kill()?;
    worker.wait()?;
    ensure!(held, "the worker never held its memory");
    // Its work hangs on the ring until the driver ends it; then all it held goes.
    let freed = eventually(PATIENCE, || Ok(used()? == before))?;
    ensure!(freed, "memory in use: expected {before:x?}, seen {:x?}", used()?);
    churn(&device, ctx.rng(), 20, 1 << 14)
}
