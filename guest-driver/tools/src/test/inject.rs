// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suites `inject` and `removal`: hardware that fails. Each fault ends in an error to whom it hits, and all else goes on;
//! or in a device that is lost, cleanly.
//!
//! The faults are the backend's `--inject`: the launcher gives it one a case, which strikes once the case writes its
//! number to a scratch register. A guest of a launcher that gave none skips them.

use std::os::unix::process::ExitStatusExt;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Context, Result};
use rustix::io::Errno;
use rustix::process::Signal;
use uvm_spec::nbio::BIOS_SCRATCH;
use uvm_spec::packet::{poll_func, POLL_FOREVER};
use uvm_spec::uapi;

use super::case::{complete, content, eventually, filled, refused, same, same_bytes, stamps};
use super::case::{Case, Ctx, Run, Skip, PATIENCE};
use super::kmsg::ExpectErrors;
use super::reload;
use super::segments::number;
use super::svm_migrate;
use super::workers;
use crate::drm::{Bo, Device, Domain, Fence, FenceState, Queue, Space, Syncobj, RW};
use crate::ib::{Ib, Place, Poll};

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases of `inject`.
pub const CASES: &[Case] = &[
    once("hung_ring_costs_one_job", hung_ring_costs_one_job),
    once("lost_interrupt_is_noticed", lost_interrupt_is_noticed),
    once("late_interrupts_only_delay", late_interrupts_only_delay),
    once("corrupted_entry_hits_its_process_alone", corrupted_entry_hits_its_process_alone),
    once("broken_page_is_never_given_out_again", broken_page_is_never_given_out_again),
    once("interrupt_storm_passes", interrupt_storm_passes),
    once("slow_engine_ends_its_work", slow_engine_ends_its_work),
    once("stuck_invalidation_loses_the_device_until_a_reset", stuck_invalidation_loses_the_device_until_a_reset),
];

/// The cases of `removal`: nothing comes after it.
pub const REMOVAL: &[Case] = &[once("removed_device_is_gone_cleanly", removed_device_is_gone_cleanly)];

/// The word on the kernel's command line by which the launcher tells that it injects.
const ARMED: &str = "uvm_inject";
/// What the launcher's triggers wait for: `at=BIOS_SCRATCH_15=`, this plus the fault's number.
const FIRST: u32 = 0x1_0000;

/// The faults, by the number that triggers them: as the launcher gives them.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Fault {
    /// `hang:ring=sdma0.gfx`
    Hang = 1,
    /// `lose-irq`
    LoseInterrupt = 2,
    /// `delay-irq:by=200ms`
    DelayInterrupt = 3,
    /// `corrupt-pte:va=0x100001000,xor=1`
    CorruptEntry = 4,
    /// `ecc:page=0x4000000`
    BrokenPage = 5,
    /// `ih-storm:count=20000`
    Storm = 6,
    /// `slow-dma:factor=4`
    SlowDma = 7,
    /// `stuck-invalidate`
    StuckInvalidation = 8,
    /// `remove`
    Remove = 9,
}

/// Lets it happen.
fn strike(device: &Device, fault: Fault) -> Result<()> {
    let line = std::fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    if !line.split_whitespace().any(|word| word == ARMED) {
        return Err(Skip("the launcher injects nothing".into()).into());
    }
    let scratch = BIOS_SCRATCH.at(15);
    device.set_reg(scratch, FIRST + fault as u32)?;
    Ok(())
}

/// Both rings copy, for a client of its own.
fn all_is_well(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let data = stamps(ctx.rng().next(), 10_000);
    for ring in 0..2 {
        let (from, to) = (filled(&device, Domain::Gtt, &data)?, Bo::new(&device, data.len() as u64, Domain::Vram)?);
        let mut ib = Ib::new();
        ib.copy(Place::Bo(from.handle(), 0), Place::Bo(to.handle(), 0), data.len() as u64);
        complete(&device, ring, &ib)?;
        same_bytes("a copy afterwards", &content(&to, data.len())?, &data)?;
    }
    Ok(())
}

fn hung_ring_costs_one_job(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let marks = Bo::new(&device, 4096, Domain::Gtt)?;
    let map = marks.map()?;
    let job = |n: u64| {
        let mut ib = Ib::unordered();
        ib.fence(Place::Bo(marks.handle(), 8 * n), 1);
        ib
    };
    let ends = [Syncobj::new(&device)?, Syncobj::new(&device)?, Syncobj::new(&device)?];
    strike(&device, Fault::Hang)?;
    let _expected = ExpectErrors::begin(ctx);
    for (n, (end, ring)) in (0..).zip(ends.iter().zip([0, 0, 1])) {
        device.submit(ring, &job(n), &[], &[end])?;
    }
    for end in &ends {
        end.wait(PATIENCE)?;
    }
    same("fence of the job on which the ring hung", ends[0].state()?, FenceState::Failed(Errno::TIME))?;
    same("fence of the job behind it", ends[1].state()?, FenceState::Done)?;
    same("fence of the other ring's job", ends[2].state()?, FenceState::Done)?;
    same("what they wrote", [map.load(0), map.load(8), map.load(16)], [0, 1, 1])?;
    all_is_well(ctx)
}

fn lost_interrupt_is_noticed(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let timeouts = device.param(uapi::PARAM_TIMEOUTS)?;
    strike(&device, Fault::LoseInterrupt)?;
    complete(&device, 0, Ib::new().nop(0)).context("the job whose interrupt is lost")?;
    same("jobs that were given up", device.param(uapi::PARAM_TIMEOUTS)?, timeouts)?;
    // The line works again: nobody waits for a timeout any more.
    let before = device.param(uapi::PARAM_INTERRUPTS)?;
    for ring in 0..2 {
        complete(&device, ring, Ib::new().nop(0))?;
    }
    let told = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_INTERRUPTS)? >= before + 2))?;
    ensure!(told, "no interrupt is told after the one that was lost");
    all_is_well(ctx)
}

fn late_interrupts_only_delay(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let timeouts = device.param(uapi::PARAM_TIMEOUTS)?;
    strike(&device, Fault::DelayInterrupt)?;
    complete(&device, 1, Ib::new().nop(0))?;
    same("jobs that were given up", device.param(uapi::PARAM_TIMEOUTS)?, timeouts)?;
    all_is_well(ctx)
}

/// Where the launcher's `corrupt-pte` strikes, and the page before it.
const CORRUPTED: u64 = 0x1_0000_1000;
const PAGE: u64 = 4096;

fn corrupted_entry_hits_its_process_alone(ctx: &Ctx) -> Result<()> {
    let spaces = [Space::new(&ctx.device()?, 0x10_0000, 1 << 16)?, Space::new(&ctx.device()?, 0x10_0000, 1 << 16)?];
    let bos =
        [Bo::new(spaces[0].device(), 2 * PAGE, Domain::Gtt)?, Bo::new(spaces[1].device(), 2 * PAGE, Domain::Gtt)?];
    for (space, bo) in spaces.iter().zip(&bos) {
        space.device().bind(CORRUPTED - PAGE, bo, 0, 2 * PAGE, RW)?;
    }
    let [victim, innocent] = &spaces;
    let fence = |value: u32| {
        let mut ib = Ib::new();
        ib.fence(Place::Raw(CORRUPTED), value);
        ib
    };
    strike(victim.device(), Fault::CorruptEntry)?;
    let expected = ExpectErrors::begin(ctx);
    same(
        "fence of a job in the space that is hit",
        victim.run(0, &fence(1), PATIENCE)?,
        FenceState::Failed(Errno::FAULT),
    )?;
    drop(expected);
    let fault = victim.device().fault()?.context("no fault is told")?;
    same("address told", fault.va, CORRUPTED)?;
    same("fence of another process's job", innocent.run(0, &fence(2), PATIENCE)?, FenceState::Done)?;
    ensure!(innocent.device().fault()?.is_none(), "another process is told of it");
    // To map it again writes the entry again.
    victim.device().bind(CORRUPTED - PAGE, &bos[0], 0, 2 * PAGE, RW | uapi::VM_REPLACE)?;
    same("fence of a job once it is mapped again", victim.run(1, &fence(3), PATIENCE)?, FenceState::Done)?;
    same("what they wrote", [bos[0].map()?.load(4096), bos[1].map()?.load(4096)], [3, 2])?;
    all_is_well(ctx)
}

/// Where in VRAM the launcher's `ecc` strikes.
const BROKEN: u64 = 64 << 20;
const MIB: u64 = 1 << 20;

/// Buffers of `size` bytes in VRAM, as many as there is room for, at most up to the broken page and one further.
fn cover(device: &Device, size: u64) -> Result<(Vec<Bo>, Option<u64>)> {
    let start = device.param(uapi::PARAM_FB_START)?;
    let mut bos = Vec::new();
    loop {
        // Beyond that, those that are there make room.
        if number("local", "used")? + size > number("local", "size")? {
            return Ok((bos, None));
        }
        let bo = Bo::new(device, size, Domain::Vram)?;
        let offset = bo.info()?.gpu_addr - start;
        bos.push(bo);
        if (offset..offset + size).contains(&BROKEN) {
            return Ok((bos, Some(BROKEN - offset)));
        }
    }
}

fn broken_page_is_never_given_out_again(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let (mut bos, at) = cover(&device, MIB)?;
    let (bo, at) = (bos.pop().context("no buffer")?, at.context("no buffer lies where memory is going to break")?);
    let to = Bo::new(&device, 4 * PAGE, Domain::Gtt)?;
    let read = |from: u64, bytes: u64| {
        let mut ib = Ib::new();
        ib.copy(Place::Bo(bo.handle(), from), Place::Bo(to.handle(), 0), bytes);
        ib
    };
    complete(&device, 0, &read(at, PAGE)).context("before it breaks")?;
    strike(&device, Fault::BrokenPage)?;
    let expected = ExpectErrors::begin(ctx);
    for ring in 0..2 {
        let state = device.run(ring, &read(at, PAGE), PATIENCE)?;
        same("fence of a job that reads the broken page", state, FenceState::Failed(Errno::IO))?;
    }
    let told = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_VRAM_ERRORS)? >= 2))?;
    ensure!(told, "no error of VRAM was counted");
    drop(expected);
    // Its neighbours are sound, for the same job and others.
    let mut ib = read(at + PAGE, 2 * PAGE);
    if at >= PAGE {
        ib.copy(Place::Bo(bo.handle(), at - PAGE), Place::Bo(to.handle(), 2 * PAGE), PAGE);
    }
    complete(&device, 1, &ib)?;
    drop((bo, bos));
    drop(device);

    // All of VRAM that can be had has no broken page, in pieces of whatever size.
    let device = ctx.device()?;
    for size in [MIB, 64 * 1024] {
        let (bos, at) = cover(&device, size)?;
        ensure!(at.is_none(), "the broken page was given out again, in a buffer of {size} bytes");
        let (used, all) = (number("local", "used")?, number("local", "size")?);
        ensure!(used + 2 * MIB > all, "{used} of {all} bytes were looked at: not all");
        for bo in bos.iter().rev().step_by(7) {
            let own = Bo::new(&device, 4 * PAGE, Domain::Gtt)?;
            let mut ib = Ib::new();
            ib.copy(Place::Bo(bo.handle(), 0), Place::Bo(own.handle(), 0), 4 * PAGE);
            complete(&device, 0, &ib)?;
        }
    }
    all_is_well(ctx)
}

fn interrupt_storm_passes(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let before = device.param(uapi::PARAM_DEVICE_INTERRUPTS)?;
    // The interrupt ring may overflow, and the driver says so.
    let _expected = ExpectErrors::begin(ctx);
    strike(&device, Fault::Storm)?;
    let raised = || -> Result<u64> { Ok(device.param(uapi::PARAM_DEVICE_INTERRUPTS)? - before) };
    let mut jobs = 0;
    let over = eventually(PATIENCE, || {
        complete(&device, jobs % 2, Ib::new().nop(0))?;
        jobs += 1;
        Ok(raised()? >= 20_000)
    })?;
    ensure!(over, "{} of 20000 interrupts came, {jobs} jobs ran", raised()?);
    ctx.note(format_args!("{jobs} jobs ran during the storm"));
    all_is_well(ctx)
}

fn slow_engine_ends_its_work(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let data = stamps(ctx.rng().next(), 8 << 20);
    let (from, to) = (filled(&device, Domain::Vram, &data)?, Bo::new(&device, data.len() as u64, Domain::Gtt)?);
    strike(&device, Fault::SlowDma)?;
    let start = Instant::now();
    for _ in 0..4 {
        let mut ib = Ib::new();
        for piece in 0..2 {
            let at = piece * (4 << 20);
            ib.copy(Place::Bo(from.handle(), at), Place::Bo(to.handle(), at), 4 << 20);
        }
        complete(&device, 0, &ib)?;
    }
    // 32 MiB at 400 MB/s take 84 ms, whatever the machine.
    let took = start.elapsed();
    ensure!(took >= Duration::from_millis(60), "32 MiB took {took:?}: nothing was slow");
    same_bytes("what was copied", &content(&to, data.len())?, &data)?;
    all_is_well(ctx)
}

/// Every call on a device that is lost says so.
fn answers_nodev(device: &Device, bo: &Bo) -> Result<()> {
    let gone = [Errno::NODEV];
    let lost = eventually(PATIENCE, || Ok(device.param(0).is_err()))?;
    ensure!(lost, "the device still answers");
    refused("a parameter", device.param(0), &gone)?;
    refused("a register", device.reg(0), &gone)?;
    refused("a new buffer", Bo::new(device, 4096, Domain::Vram).map(drop), &gone)?;
    refused("a move", bo.move_to(Domain::Gtt, 0), &gone)?;
    let mut ib = Ib::new();
    ib.nop(0);
    refused("a submission", device.submit(0, &ib, &[], &[]), &gone)
}

/// A job that waits for ever, and has begun to, on ring 1, of a client of its own. Its fence outlives the device.
fn waiting_job(ctx: &Ctx) -> Result<(Device, Bo, Fence)> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::Vram)?;
    let mut ib = Ib::new();
    let poll = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
    ib.fence(Place::Bo(bo.handle(), 8), 1).poll_memory(Place::Bo(bo.handle(), 0), poll);
    let end = Syncobj::new(&device)?;
    device.submit(1, &ib, &[], &[&end])?;
    let map = bo.map()?;
    ensure!(eventually(PATIENCE, || Ok(map.load(8) == 1))?, "the job does not begin");
    let fence = end.export()?;
    Ok((device, bo, fence))
}

/// The job of a fence ends in an error: the device is lost, or the job was given up before that was noticed.
fn fails(fence: &Fence) -> Result<()> {
    let over = eventually(PATIENCE, || Ok(fence.state()? != FenceState::Active))?;
    ensure!(over, "a job on a lost device never ends");
    let state = fence.state()?;
    let expected = [Errno::NODEV, Errno::TIME].map(FenceState::Failed);
    ensure!(expected.contains(&state), "fence of a job on a lost device: expected an error, seen {state:?}");
    Ok(())
}

/// A user queue, of a client of its own, that waits for a page which nobody brings; and somebody who waits for its next.
struct Parked {
    queue: Queue,
    waiter: JoinHandle<std::result::Result<(), Errno>>,
}

impl Parked {
    fn new(ctx: &Ctx) -> Result<Self> {
        const HOLE: u64 = 1 << 31;
        let device = ctx.device()?;
        device.configure(uapi::VM_CONFIG_RETRY)?;
        let mut queue = Queue::new(&device, 0, 1 << 30, 4096)?;
        let mut ib = Ib::new();
        ib.fence(Place::Raw(HOLE), 1);
        queue.run(&ib)?;
        let fault = device.next_fault(PATIENCE)?.context("no fault is told")?;
        same("the page that a queue waits for", fault.va, HOLE)?;
        let fd = device.fd().try_clone_to_owned()?;
        let waiter = thread::spawn(move || {
            let told = Device::from_fd(fd).next_fault(2 * PATIENCE).map_err(|error| error.errno)?;
            told.map(drop).ok_or(Errno::TIME)
        });
        Ok(Self { queue, waiter })
    }

    /// All that its client asks for is refused, and who waited is told.
    fn hears_of_it(self) -> Result<()> {
        let gone = [Errno::NODEV];
        refused("a doorbell", self.queue.kick(), &gone)?;
        refused("how a queue stands", self.queue.info(), &gone)?;
        refused("the next fault", self.queue.device().next_fault(PATIENCE), &gone)?;
        let waited = self.waiter.join().map_err(|_| anyhow!("a thread panicked"))?;
        same("what a waiter for faults is told", waited, Err(Errno::NODEV))
    }
}

fn stuck_invalidation_loses_the_device_until_a_reset(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = filled(&device, Domain::Vram, &stamps(8, 4096))?;
    let (other, other_bo, waiting) = waiting_job(ctx)?;
    let parked = Parked::new(ctx)?;
    strike(&device, Fault::StuckInvalidation)?;
    let _expected = ExpectErrors::begin(ctx);
    // A page that comes into the GART needs one before it is used.
    let result = Bo::new(&device, 4096, Domain::Gtt).and_then(|page| {
        let mut ib = Ib::new();
        ib.fence(Place::Bo(page.handle(), 0), 1);
        device.run(0, &ib, PATIENCE)
    });
    let failed = matches!(result, Ok(FenceState::Failed(_)) | Err(_));
    ensure!(failed, "a job that needs an invalidation: expected an error, seen {result:?}");
    fails(&waiting)?;
    answers_nodev(&device, &bo)?;
    answers_nodev(&other, &other_bo)?;
    parked.hears_of_it()?;
    drop((waiting, other_bo, other, bo, device));
    reload::rebind().context("binding the driver again")?;
    all_is_well(ctx)
}

fn removed_device_is_gone_cleanly(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = filled(&device, Domain::Vram, &stamps(9, 4096))?;
    let mut owner = vec![workers::command([svm_migrate::WORKER]).spawn()?];
    workers::ready(&mut owner)?;
    ensure!(device.param(uapi::PARAM_DEVMEM_USED)? > 0, "nothing of a process's memory is in VRAM");
    let (other, other_bo, waiting) = waiting_job(ctx)?;
    let parked = Parked::new(ctx)?;
    let _expected = ExpectErrors::begin(ctx);
    strike(&device, Fault::Remove)?;
    let end = Syncobj::new(&device)?;
    let mut ib = Ib::new();
    ib.nop(0);
    // It may be refused at once, or end in an error.
    if device.submit(0, &ib, &[], &[&end]).is_ok() {
        if let Ok(fence) = end.export() {
            fails(&fence)?;
        }
    }
    fails(&waiting)?;
    answers_nodev(&device, &bo)?;
    parked.hears_of_it()?;
    // What was in VRAM is lost, and who accesses it is told so.
    workers::go(&mut owner)?;
    for mut owner in owner {
        let sigbus = Signal::BUS.as_raw();
        same("the signal that ends an access of lost memory", owner.wait()?.signal(), Some(sigbus))?;
    }
    drop((end, waiting, other_bo, other, bo, device));
    reload::goes_for_good()
}
