// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Buffers, files, processes, the device and the driver come and go while an engine hangs.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::packet::header;
use uvm_spec::uapi;

use super::dump::Dump;
use super::{all_is_well, until, Client, PACKETS};
use crate::drm::{Bo, Device, Domain, FenceState, Syncobj};
use crate::ib::{Ib, Place};
use crate::test::case::{content, eventually, filled, same, same_bytes, settled, stamps, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::reload;

/// First argument of a process that hangs a ring.
pub const WORKER: &str = "--hang-worker";

/// Entry point of such a process: hangs the ring, says so, and waits for its end.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    let [ring] = args else { bail!("a hang worker takes a ring") };
    let client = Client::new(&Ctx::new("worker", 0))?;
    let end = Syncobj::new(client.space.device())?;
    client.space.submit(ring.parse()?, &Client::endless().0, &end)?;
    ensure!(eventually(PATIENCE, || Ok(client.marks()? == (1, 0)))?, "the engine does not begin");
    println!("hangs");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(ExitCode::SUCCESS)
}

/// A submission that waits for ever on `ring`, once the engine has begun it; of `bo` it copies some bytes first.
fn hung(device: &Device, gate: &Bo, ring: u32, mark: u32, bo: Option<&Bo>) -> Result<Syncobj> {
    let place = |offset| Place::Bo(gate.handle(), offset);
    let slot = 8 * (u64::from(ring) + 1);
    let mut ib = Ib::new();
    ib.fence(place(slot), mark);
    if let Some(bo) = bo {
        ib.copy(Place::Bo(bo.handle(), 0), place(64), 64);
    }
    ib.poll_memory(place(0), until(7));
    let end = Syncobj::new(device)?;
    device.submit(ring, &ib, &[], &[&end])?;
    let map = gate.map()?;
    // A move is more urgent: it would overtake one that is not on the ring yet.
    let begun = || Ok(map.load(usize::try_from(slot)?) & 0xffff_ffff == u64::from(mark));
    ensure!(eventually(PATIENCE, begun)?, "SDMA {ring} does not begin");
    Ok(end)
}

/// A move waits for what uses its buffer, and for nothing else that hangs: its copies have rings of their own. Each time
/// it comes out right.
pub fn move_behind_a_hang_keeps_the_bytes(ctx: &Ctx, ring: u32) -> Result<()> {
    const HUNG: FenceState = FenceState::Failed(Errno::TIME);
    let device = ctx.device()?;
    let data = stamps(ctx.rng().next(), 1 << 20);
    let bo = filled(&device, Domain::Gtt, &data)?;
    let gate = Bo::new(&device, 4096, Domain::Gtt)?;
    let _expected = ExpectErrors::begin(ctx);
    let moved = |domain| -> Result<()> {
        bo.move_to(domain, ring)?;
        same("where the buffer is", bo.domain()?, domain)
    };
    let kept = || -> Result<()> { same_bytes("the buffer that was moved", &content(&bo, data.len())?, &data) };

    // Used by what hangs.
    let end = hung(&device, &gate, ring, 1, Some(&bo))?;
    moved(Domain::Vram)?;
    same("fence of the buffer's user after the move", end.state()?, HUNG)?;
    kept()?;

    // Beside what hangs, on both instances; what writes to one buffer would run one after the other.
    let other = Bo::new(&device, 4096, Domain::Gtt)?;
    let ends = [hung(&device, &gate, ring, 2, None)?, hung(&device, &other, 1 - ring, 2, None)?];
    moved(Domain::System)?;
    for end in &ends {
        same("fence of who does not use the buffer after the move", end.state()?, FenceState::Active)?;
    }
    kept()?;
    for end in &ends {
        end.wait(PATIENCE)?;
        same("fence of a submission that hangs", end.state()?, HUNG)?;
    }
    all_is_well(ctx)
}

/// What `hang` leaves behind is given back, and the ring goes on.
fn leaves_nothing(ctx: &Ctx, ring: u32, hang: impl FnOnce() -> Result<()>) -> Result<()> {
    let device = ctx.device()?;
    let used =
        || -> Result<[u64; 2]> { Ok([device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_GTT_USED)?]) };
    let before = settled(used)?;
    let timeouts = device.param(uapi::PARAM_TIMEOUTS)?;
    let _expected = ExpectErrors::begin(ctx);
    hang()?;
    let mut nop = Ib::new();
    nop.nop(0);
    crate::test::case::complete(&device, ring, &nop)?;
    same("hangs counted", device.param(uapi::PARAM_TIMEOUTS)?, timeouts + 1)?;
    let freed = eventually(PATIENCE, || Ok(used()? == before))?;
    ensure!(freed, "VRAM and GTT in use: expected {before:?}, seen {:?}", used()?);
    all_is_well(ctx)
}

pub fn file_closed_while_hung_leaves_nothing(ctx: &Ctx, ring: u32) -> Result<()> {
    leaves_nothing(ctx, ring, || {
        let client = Client::new(ctx)?;
        let end = Syncobj::new(client.space.device())?;
        client.space.submit(ring, &Client::endless().0, &end)?;
        ensure!(eventually(PATIENCE, || Ok(client.marks()? == (1, 0)))?, "the engine does not begin");
        drop(end);
        drop(client);
        Ok(())
    })
}

pub fn process_killed_while_hung_leaves_nothing(ctx: &Ctx, ring: u32) -> Result<()> {
    leaves_nothing(ctx, ring, || {
        let mut command = Command::new("/proc/self/exe");
        command.args(["uvm-test", WORKER, &ring.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("starting a process that hangs")?;
        let mut line = String::new();
        let said = match process.stdout.take() {
            Some(stdout) => BufReader::new(stdout).read_line(&mut line).map(drop),
            None => Ok(()),
        };
        process.kill()?;
        process.wait()?;
        said?;
        same("what the process said", line.as_str(), "hangs\n")
    })
}

/// Hangs a ring at once, and gives the address of the packet.
fn refused(ctx: &Ctx, ring: u32) -> Result<()> {
    let client = Client::new(ctx)?;
    let packets = Client::wrong(|ib| {
        ib.raw(header(0x7f, 0)).nop(8);
    });
    client.hangs(ring, &packets, Errno::CANCELED)
}

pub fn first_dump_stays_until_it_is_dismissed(ctx: &Ctx) -> Result<()> {
    Dump::dismiss_all()?;
    let _expected = ExpectErrors::begin(ctx);
    refused(ctx, 1)?;
    let first = Dump::wait()?;
    first.names(1, "the engine refused a packet")?;
    refused(ctx, 0)?;
    std::thread::sleep(crate::test::case::GLANCE);
    let again = Dump::read(first.path().to_owned())?;
    same("the dump after another hang", again.text(), first.text())?;
    same("dumps", Dump::present()?.len(), 1)?;
    first.dismiss()?;
    same("dumps once it was dismissed", Dump::present()?.len(), 0)?;
    refused(ctx, 0)?;
    let next = Dump::wait()?;
    next.names(0, "the engine refused a packet")?;
    next.dismiss()
}

pub fn device_unbound_while_hung(ctx: &Ctx) -> Result<()> {
    Dump::dismiss_all()?;
    let client = Client::new(ctx)?;
    let end = Syncobj::new(client.space.device())?;
    client.space.submit(1, &Client::endless().0, &end)?;
    ensure!(eventually(PATIENCE, || Ok(client.marks()? == (1, 0)))?, "the engine does not begin");
    // The syncobj goes with the file, the fence it holds does not.
    let fence = end.export()?;
    reload::while_unbound(|| {
        same("fence of what hung when the device went", fence.state()?, FenceState::Failed(Errno::NODEV))
    })?;
    same("dumps", Dump::present()?.len(), 0)?;
    drop((end, client));
    all_is_well(ctx)
}

pub fn dump_outlives_the_driver(ctx: &Ctx) -> Result<()> {
    Dump::dismiss_all()?;
    {
        let _expected = ExpectErrors::begin(ctx);
        refused(ctx, 0)?;
    }
    let dump = Dump::wait()?;
    reload::while_unloaded(|| {
        let again = Dump::read(dump.path().to_owned())?;
        same("the dump without the driver", again.text(), dump.text())
    })?;
    same("the dump with the driver back", Dump::read(dump.path().to_owned())?.text(), dump.text())?;
    ensure!(dump.text().contains(&format!(", IB {PACKETS:#x}, ")), "it is another's");
    dump.dismiss()?;
    all_is_well(ctx)
}
