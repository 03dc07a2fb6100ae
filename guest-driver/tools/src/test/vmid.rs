// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `vmid`: more processes than the device has VMIDs. Each has other bytes at the same addresses.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;

use super::case::{refused, same, same_bytes, settled, Case, Ctx, Run, PATIENCE};
use super::kmsg::ExpectErrors;
use super::workers::{self, finish, go, ready};
use crate::drm::{Bo, Device, Domain, FenceState, Space, RW};
use crate::ib::{Ib, Place};
use crate::rng::Rng;

mod fair;

pub use fair::{worker as busy_worker, WORKER as BUSY_WORKER};

/// First argument of a worker process.
pub const WORKER: &str = "--space-worker";

const HONEST: &str = "honest";
const GUILTY: &str = "guilty";
const PLAIN: &str = "plain";

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "twelve_processes_keep_apart", run: Run::Once(twelve_processes_keep_apart) },
    Case { name: "sixty_four_processes_keep_apart", run: Run::Once(sixty_four_processes_keep_apart) },
    Case { name: "busy_processes_share_one_ring", run: Run::Once(fair::busy_processes_share_one_ring) },
    Case { name: "busy_processes_share_both_rings", run: Run::Once(fair::busy_processes_share_both_rings) },
    Case { name: "killed_processes_make_room", run: Run::Once(killed_processes_make_room) },
    Case { name: "only_the_privileged_run_in_vmid_0", run: Run::Once(only_the_privileged_run_in_vmid_0) },
];

/// The same for all.
const PACKETS: u64 = 0x10_0000;
const BYTES: usize = 3 * 4096;

/// Where all map their two buffers, and where nobody maps anything: addresses that the space has.
fn places(device: &Device) -> Result<[u64; 3]> {
    let size = device.param(uvm_spec::uapi::PARAM_VM_SIZE)?;
    Ok([(size / 4).min(0x2_0000_0000), (size / 2).min(0x7_0000_0000), (size / 8 * 7).min(0x6_0000_0000)])
}

/// Entry point of a worker: the task, how many rounds, a seed. Says when it is ready, and begins when told.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    let [task, rounds, seed] = args else { bail!("a worker takes a task, rounds and a seed") };
    let (rounds, mut rng) = (rounds.parse()?, Rng::new(seed.parse()?));
    let space = Space::new(&Device::open()?, PACKETS, 1 << 16)?;
    let bos = [rng.pick(&Domain::ALL), rng.pick(&Domain::GPU)]
        .map(|domain| Bo::new(space.device(), BYTES as u64, domain))
        .into_iter()
        .collect::<crate::drm::Result<Vec<_>>>()?;
    for (va, bo) in places(space.device())?.into_iter().zip(&bos) {
        space.device().bind(va, bo, 0, bo.size(), RW)?;
    }
    workers::get_ready()?;
    for round in 0..rounds {
        match task.as_str() {
            HONEST => honest(&space, &bos, &mut rng).with_context(|| format!("round {round}"))?,
            GUILTY => guilty(&space, &mut rng)?,
            PLAIN => plain(&space, &bos, &mut rng)?,
            other => bail!("no task is called {other}"),
        }
    }
    ensure!(space.device().fault()?.is_none(), "a fault is told that is another's");
    Ok(ExitCode::SUCCESS)
}

/// Writes its own bytes by the CPU, copies them by the GPU within its space, and checks them.
fn honest(space: &Space, bos: &[Bo], rng: &mut Rng) -> Result<()> {
    let [from, to] = bos else { bail!("two buffers") };
    let data = rng.bytes(BYTES);
    from.map()?.write(0, &data);
    let mut ib = Ib::new();
    let [first, second, _] = places(space.device())?;
    ib.copy(Place::Raw(first), Place::Raw(second), BYTES as u64);
    let state = space.run(u32::try_from(rng.below(2))?, &ib, PATIENCE)?;
    same("fence of an honest submission", state, FenceState::Done)?;
    let mut seen = vec![0; BYTES];
    to.map()?.read(0, &mut seen);
    same_bytes("its own bytes", &seen, &data)
}

/// Goes where nothing is, and is told so.
fn guilty(space: &Space, rng: &mut Rng) -> Result<()> {
    // 64 MiB in each space.
    let va = places(space.device())?[2] + rng.below(1 << 14) * 4096;
    let mut ib = Ib::new();
    ib.fence(Place::Raw(va), 1);
    let state = space.run(u32::try_from(rng.below(2))?, &ib, PATIENCE)?;
    same("fence of a guilty submission", state, FenceState::Failed(Errno::FAULT))?;
    let fault = space.device().fault()?.context("no fault is told")?;
    same("the fault told", (fault.va, fault.count, fault.write), (va, 1, 1))
}

/// Runs in its own space and nowhere else.
fn plain(space: &Space, bos: &[Bo], rng: &mut Rng) -> Result<()> {
    let mut ib = Ib::new();
    ib.nop(7);
    refused("a submission in VMID 0", space.device().run(0, &ib, PATIENCE), &[Errno::PERM])?;
    refused("a register", space.device().reg(uvm_spec::nbio::BIOS_SCRATCH.offset), &[Errno::PERM])?;
    honest(space, bos, rng)
}

fn command(task: &str, rounds: u32, seed: u64) -> Command {
    workers::command([WORKER, task, &rounds.to_string(), &seed.to_string()])
}

fn start(task: &str, rounds: u32, seed: u64) -> Result<Child> {
    command(task, rounds, seed).spawn().context("starting a worker")
}

fn at_once(ctx: &Ctx, tasks: &[(&str, u32)]) -> Result<()> {
    let mut rng = ctx.rng();
    let mut workers = tasks.iter().map(|(task, n)| start(task, *n, rng.next())).collect::<Result<Vec<_>>>()?;
    let begun = ready(&mut workers).and_then(|()| go(&mut workers));
    let ended = finish(workers);
    begun.and(ended)
}

/// Does `work` while `n` processes submit without pause; they must all end well.
pub fn while_busy(ctx: &Ctx, n: usize, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut rng = ctx.rng();
    let mut workers = (0..n).map(|_| start(HONEST, 30, rng.next())).collect::<Result<Vec<_>>>()?;
    let begun = ready(&mut workers).and_then(|()| go(&mut workers));
    let done = begun.and_then(|()| work());
    let ended = finish(workers);
    done.and(ended)
}

pub fn twelve_processes_keep_apart(ctx: &Ctx) -> Result<()> {
    at_once(ctx, &[(HONEST, 20); 12])
}

pub fn sixty_four_processes_keep_apart(ctx: &Ctx) -> Result<()> {
    at_once(ctx, &[(HONEST, 10); 64])
}

pub fn killed_processes_make_room(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let device = ctx.device()?;
    let used = || Ok(device.param(uvm_spec::uapi::PARAM_VRAM_USED)?);
    let before = settled(used)?;
    let mut doomed = (0..20).map(|_| start(HONEST, 1_000_000, rng.next())).collect::<Result<Vec<_>>>()?;
    ready(&mut doomed)?;
    go(&mut doomed)?;
    // They run in the middle of whatever they do.
    at_once(ctx, &[(HONEST, 3); 2])?;
    for worker in &mut doomed {
        worker.kill()?;
    }
    for mut worker in doomed {
        worker.wait()?;
    }
    at_once(ctx, &[(HONEST, 5); 16])?;
    let freed = super::case::eventually(PATIENCE, || Ok(used()? == before))?;
    ensure!(freed, "VRAM in use: expected {before:#x}, seen {:#x}", used()?);
    Ok(())
}

pub fn one_guilty_among_innocents(ctx: &Ctx) -> Result<()> {
    let _expected = ExpectErrors::begin(ctx);
    let mut tasks = vec![(HONEST, 10); 32];
    tasks.insert(16, (GUILTY, 10));
    at_once(ctx, &tasks)
}

pub fn only_the_privileged_run_in_vmid_0(ctx: &Ctx) -> Result<()> {
    // As udev leaves it on an ordinary system: everyone may open the node.
    for node in std::fs::read_dir("/dev/dri")? {
        let path = node?.path();
        if path.is_dir() {
            continue;
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).with_context(|| path.display().to_string())?;
    }
    let mut nobody = command(PLAIN, 3, ctx.rng().next());
    let mut workers = [nobody.uid(65534).gid(65534).spawn().context("starting a worker as nobody")?];
    let begun = ready(&mut workers).and_then(|()| go(&mut workers));
    finish(workers.into()).and(begun)
}
