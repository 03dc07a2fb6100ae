// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How queues of the engine stop, are reset and end; and what the counters tell.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::counters::{self, COUNTERS};
use uvm_spec::uapi;

use super::{client, endless, fence, free, page_a_lane, queue, run, WORKER};
use crate::drm::{Device, Queue};
use crate::test::case::{eventually, refused, same, settled, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::queues::{self, drained, page, stands, DATA, PAGE, RINGS};

/// Another process's queue of the engine works, and SDMA's too.
fn others_work(ctx: &Ctx) -> Result<()> {
    let device = client(ctx)?;
    let map = page(&device, DATA)?.map()?;
    let (mut own, mut sdma) = (queue(&device, 0)?, queues::queue(&device, 0, 1)?);
    run(&mut own, &page_a_lane(1, 5).packet(1, 0))?;
    drained(&own)?;
    sdma.run(&queues::fence(DATA + 8, 6))?;
    drained(&sdma)?;
    same("what others wrote", (map.load(0), map.load(8)), (5, 6))
}

/// A queue stops at what `wrong` puts in; all others go on, and a reset brings it back.
fn stops_alone(ctx: &Ctx, cause: u32, wrong: &[u32]) -> Result<Queue> {
    let device = client(ctx)?;
    let map = page(&device, DATA)?.map()?;
    let (mut own, mut sibling) = (queue(&device, 0)?, queue(&device, 1)?);
    run(&mut own, &fence(DATA, 1)?)?;
    drained(&own)?;
    let before = own.wptr();
    let expected = ExpectErrors::begin(ctx);
    run(&mut own, wrong)?;
    stands(&own, uapi::QUEUE_STOPPED, cause)?;
    drop(expected);
    same("where it stopped", own.info()?.rptr, before)?;
    others_work(ctx)?;
    run(&mut sibling, &fence(DATA + 16, 4)?)?;
    drained(&sibling)?;
    // More of the same does not start it.
    run(&mut own, &fence(DATA, 2)?)?;
    stands(&own, uapi::QUEUE_STOPPED, cause)?;
    own.reset()?;
    run(&mut own, &fence(DATA + 8, 3)?)?;
    drained(&own)?;
    same("what it wrote before, while and after it stood", (map.load(0), map.load(8), map.load(16)), (1, 3, 4))?;
    Ok(own)
}

pub fn fault_ends_the_program_alone(ctx: &Ctx) -> Result<()> {
    // The first page is there, the others are not.
    let own = stops_alone(ctx, uapi::QUEUE_CAUSE_FAULT, &page_a_lane(8, 0).packet(4, 0))?;
    let fault = own.device().fault()?.context("no fault is told")?;
    ensure!((DATA + PAGE..DATA + 8 * PAGE).contains(&fault.va) && fault.write == 1, "the fault told: {fault:x?}");
    Ok(())
}

pub fn refused_program_stops_its_queue_alone(ctx: &Ctx) -> Result<()> {
    let mut packet = page_a_lane(1, 0).packet(1, 0);
    // No such function.
    packet[1] |= 0xf0;
    stops_alone(ctx, uapi::QUEUE_CAUSE_PACKET, &packet)?;
    // What SDMA executes, this engine does not.
    stops_alone(ctx, uapi::QUEUE_CAUSE_PACKET, &[1, 3, 0, 0, 0, 0, 0])?;
    Ok(())
}

pub fn endless_program_is_reset_alone(ctx: &Ctx) -> Result<()> {
    let device = client(ctx)?;
    let map = page(&device, DATA)?.map()?;
    let (mut hung, mut sibling) = (queue(&device, 0)?, queue(&device, 1)?);
    run(&mut hung, &endless().packet(64, 0))?;
    run(&mut hung, &fence(DATA + 8, 1)?)?;
    for round in 0..3 {
        run(&mut sibling, &fence(DATA + 16, round)?)?;
        drained(&sibling)?;
        same("what the sibling wrote", map.load(16), round.into())?;
        others_work(ctx)?;
    }
    let info = hung.info()?;
    same("the endless one", (info.state, info.rptr), (uapi::QUEUE_RUNNING, 0))?;
    hung.reset()?;
    run(&mut hung, &fence(DATA + 24, 2)?)?;
    drained(&hung)?;
    same("what was dropped, and what came after", (map.load(8), map.load(24)), (0, 2))
}

pub fn fifth_queue_is_refused(ctx: &Ctx) -> Result<()> {
    let device = client(ctx)?;
    same("free queues", settled(|| free(&device))?, 4)?;
    let sdma = device.param(uapi::PARAM_FREE_QUEUES)?;
    let mut held = (0..4).map(|n| queue(&device, n)).collect::<Result<Vec<_>>>()?;
    same("free queues", (free(&device)?, device.param(uapi::PARAM_FREE_QUEUES)?), (0, sdma))?;
    let arg = uapi::QueueCreate { kind: uapi::QUEUE_ACCESS, ring_va: RINGS, ring_size: PAGE, ..Default::default() };
    refused("a fifth queue", device.queue_raw(&mut arg.clone()), &[Errno::BUSY])?;
    refused("another's fifth queue", ctx.device()?.queue_raw(&mut arg.clone()), &[Errno::BUSY])?;
    held.truncate(2);
    same("free queues", free(&device)?, 2)?;
    let again = queue(&ctx.device()?, 0)?;
    drop((held, again));
    same("free queues afterwards", settled(|| free(&device))?, 4)
}

/// Entry point of a worker: makes two queues, one that never ends and one that waits for a page, says so, and waits for
/// its end.
pub fn worker() -> Result<ExitCode> {
    let device = Device::open()?;
    device.configure(uapi::VM_CONFIG_RETRY)?;
    let _data = page(&device, DATA)?;
    let mut held = [queue(&device, 0)?, queue(&device, 1)?];
    run(&mut held[0], &endless().packet(64, 0))?;
    run(&mut held[1], &page_a_lane(64, 1).packet(64, 0))?;
    stands(&held[1], uapi::QUEUE_PARKED, 0)?;
    println!("ready");
    std::io::stdout().flush()?;
    std::thread::sleep(2 * PATIENCE);
    bail!("nobody killed it")
}

pub fn killed_process_leaves_no_queue_behind(ctx: &Ctx) -> Result<()> {
    let device = client(ctx)?;
    let used = || Ok((device.param(uapi::PARAM_VRAM_USED)?, free(&device)?));
    let before = settled(used)?;
    for _ in 0..3 {
        let mut child = Command::new("/proc/self/exe")
            .args(["uvm-test", WORKER])
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a worker")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a worker without output")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "a worker did not get ready: {line:?}");
        same("free queues meanwhile", free(&device)?, before.1 - 2)?;
        child.kill()?;
        child.wait()?;
        others_work(ctx)?;
    }
    let back = eventually(PATIENCE, || Ok(used()? == before))?;
    ensure!(back, "VRAM and queues: expected {before:?}, seen {:?}", used()?);
    Ok(())
}

/// The driver counts the vectors; the registers say the rest.
pub fn counters_tell_of_pages_that_are_reached_often(ctx: &Ctx) -> Result<()> {
    let device = client(ctx)?;
    let _page = page(&device, DATA)?;
    let mut queue = queue(&device, 0)?;
    let reg = |reg, n| COUNTERS.index(reg, n);
    let told = || Ok(device.param(uapi::PARAM_ACCESS_NOTIFICATIONS)?);
    // Of this client's granule nobody else knows; its other accesses go to other granules.
    let before = settled(told)?;
    device.set_reg(reg(&counters::THRESHOLD, 0), 1000)?;
    let control = counters::CNTL::ENABLE.of(1) | counters::CNTL::CLIENTS.of(4);
    device.set_reg(reg(&counters::CNTL, 0), control)?;
    let off = Off(&device);
    let vmid = queue.info()?.vmid;
    let count = || -> Result<u32> {
        device.set_reg(reg(&counters::ADDR, 0), u32::try_from(DATA >> 12)?)?;
        device.set_reg(reg(&counters::ADDR, 1), 0)?;
        device.set_reg(reg(&counters::VMID, 0), vmid)?;
        Ok(device.reg(reg(&counters::COUNT, 0))?)
    };
    for round in 1..=999 {
        run(&mut queue, &page_a_lane(1, 1).packet(1, 0))?;
        if round % 20 == 0 {
            drained(&queue)?;
        }
    }
    drained(&queue)?;
    same("accesses counted", count()?, 999)?;
    same("notifications before the threshold", told()?, before)?;
    run(&mut queue, &page_a_lane(1, 1).packet(1, 0))?;
    drained(&queue)?;
    ensure!(eventually(PATIENCE, || Ok(told()? == before + 1))?, "nothing is told at the threshold");
    device.set_reg(reg(&counters::CLEAR, 0), 0)?;
    same("accesses counted after a clear", count()?, 0)?;
    drop(off);
    same("granules counted afterwards", device.reg(reg(&counters::TRACKED, 0))?, 0)
}

/// Switches the counters off.
struct Off<'a>(&'a Device);

impl Drop for Off<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.set_reg(COUNTERS.index(&counters::CNTL, 0), 0) {
            eprintln!("# access counters: {error}");
        }
    }
}
