// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Binds with syncobjs: queued when asked for, made when the fences before them have signalled.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::packet::{poll_func, POLL_FOREVER};
use uvm_spec::uapi::{self, VmBind};

use super::maps::Model;
use super::{complete, copy, far, space, BASE, PACKETS, PAGE};
use crate::drm::{Bo, Device, Domain, FenceState, Mapping, Space, Syncobj, RW};
use crate::ib::{Ib, Place, Poll};
use crate::test::case::{content, eventually, filled, same, same_bytes, settled, stamps, Ctx, GLANCE, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::reload::{debugfs, while_unbound, with_parameters};

/// Where gates lie: each a page and its packets.
const GATES: u64 = PACKETS + (1 << 20);

/// A submission that waits until it is told to end: with it, what waits for its fence.
pub struct Gate {
    // None: somebody else opens it.
    map: Option<Mapping>,
    ended: Syncobj,
    flag: Bo,
    _space: Space,
}

impl Gate {
    /// On a ring, in the client's own space; one a ring, and none on ring 0 where buffers are cleared or moved meanwhile.
    pub fn new(device: &Device, ring: u32) -> Result<Self> {
        let va = GATES + u64::from(ring) * (1 << 18);
        let space = Space::new(device, va, 1 << 12)?;
        let flag = Bo::new(device, PAGE, Domain::Gtt)?;
        device.bind(va + (1 << 17), &flag, 0, PAGE, RW)?;
        let (map, ended) = (flag.map()?, Syncobj::new(device)?);
        let poll = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
        space.submit(ring, Ib::new().poll_memory(Place::Raw(va + (1 << 17)), poll), &ended)?;
        Ok(Self { map: Some(map), ended, flag, _space: space })
    }

    /// Signals when the submission ends.
    pub fn ended(&self) -> &Syncobj {
        &self.ended
    }

    pub fn open(&self) -> Result<()> {
        self.unlock();
        self.ended.wait(PATIENCE)?;
        same("fence of the gate", self.ended.state()?, FenceState::Done)
    }

    /// Lets go of it while it is shut. What this gives, which is another client's, opens it when 1 is stored there.
    fn leave(mut self, other: &Device) -> Result<Mapping> {
        let map = Bo::import(other, &self.flag.export()?)?.map()?;
        self.map = None;
        Ok(map)
    }

    fn unlock(&self) {
        if let Some(map) = &self.map {
            map.store(0, 1);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// Gates stay shut for as long as a busy machine takes: no job times out meanwhile.
pub fn patiently(run: impl FnOnce() -> Result<()>) -> Result<()> {
    with_parameters(c"timeout_ms=60000", run)
}

fn map(va: u64, bo: &Bo, offset: u64, size: u64) -> VmBind {
    let flags = RW | uapi::VM_REPLACE;
    VmBind { op: uapi::VM_OP_MAP, flags, handle: bo.handle(), bo_offset: offset, va, size, ..Default::default() }
}

fn unmap(va: u64, size: u64) -> VmBind {
    VmBind { op: uapi::VM_OP_UNMAP, va, size, ..Default::default() }
}

fn done(what: &str, sync: &Syncobj) -> Result<()> {
    sync.wait(PATIENCE).context(what.to_owned())?;
    same(what, sync.state()?, FenceState::Done)
}

/// A bind after the end of a submission that it would otherwise pull the memory from under.
pub fn bind_waits_for_its_syncobjs(ctx: &Ctx) -> Result<()> {
    patiently(|| {
        let space = space(ctx)?;
        let device = space.device();
        let (flag, bo) = (Bo::new(device, PAGE, Domain::Gtt)?, Bo::new(device, PAGE, Domain::Vram)?);
        device.bind(BASE, &flag, 0, PAGE, RW)?;
        device.bind(BASE + PAGE, &bo, 0, PAGE, RW)?;
        let poll = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
        let mut ib = Ib::new();
        ib.poll_memory(Place::Raw(BASE), poll).fence(Place::Raw(BASE + PAGE), 5);
        let (ended, bound) = (Syncobj::new(device)?, Syncobj::new(device)?);
        space.submit(0, &ib, &ended)?;
        device.bind_queued(unmap(BASE + PAGE, PAGE), &[&ended], &[&bound])?;
        thread::sleep(GLANCE);
        same("the bind before the submission has ended", bound.state()?, FenceState::Active)?;
        flag.map()?.store(0, 1);
        done("the bind", &bound)?;
        same("how the submission stands after the bind", ended.state()?, FenceState::Done)?;
        same("what the submission wrote", bo.map()?.load(0) & 0xffff_ffff, 5)
    })
}

pub fn submission_waits_for_the_bind(ctx: &Ctx) -> Result<()> {
    patiently(|| {
        let space = space(ctx)?;
        let device = space.device();
        let data = stamps(ctx.rng().next(), 4096);
        let (source, target) = (filled(device, Domain::Vram, &data)?, Bo::new(device, PAGE, Domain::Gtt)?);
        device.bind(BASE, &target, 0, PAGE, RW)?;
        let gate = Gate::new(device, 0)?;
        let (bound, copied) = (Syncobj::new(device)?, Syncobj::new(device)?);
        // Nothing is mapped there before: without the bind the copy faults.
        let va = far(device, 3)?;
        device.bind_queued(map(va, &source, 0, PAGE), &[&gate.ended], &[&bound])?;
        let mut ib = Ib::new();
        ib.copy(Place::Raw(va), Place::Raw(BASE), PAGE);
        space.submit_after(1, &ib, &[&bound], &copied)?;
        thread::sleep(GLANCE);
        same("the submission before the bind", copied.state()?, FenceState::Active)?;
        gate.open()?;
        done("the submission behind the bind", &copied)?;
        same("the bind", bound.state()?, FenceState::Done)?;
        same_bytes("the copy", &content(&target, data.len())?, &data)
    })
}

pub fn binds_are_made_in_their_order(ctx: &Ctx) -> Result<()> {
    patiently(|| {
        let space = space(ctx)?;
        let device = space.device();
        let bos = (1..=3).map(|n| filled(device, Domain::Vram, &[n; 4096])).collect::<Result<Vec<_>>>()?;
        let target = Bo::new(device, PAGE, Domain::Gtt)?;
        device.bind(BASE, &target, 0, PAGE, RW)?;
        let va = far(device, 2)?;
        device.bind(va, &bos[0], 0, PAGE, RW)?;
        let gate = Gate::new(device, 0)?;
        let syncs = [Syncobj::new(device)?, Syncobj::new(device)?];
        device.bind_queued(map(va, &bos[1], 0, PAGE), &[&gate.ended], &[&syncs[0]])?;
        // It waits for nothing but the one before.
        device.bind_queued(map(va, &bos[2], 0, PAGE), &[], &[&syncs[1]])?;
        thread::sleep(GLANCE);
        same("the second bind before the first", syncs[1].state()?, FenceState::Active)?;
        copy(&space, 1, va, BASE, PAGE)?;
        same_bytes("what is mapped meanwhile", &content(&target, 4096)?, &[1; 4096])?;
        gate.open()?;
        // One without syncobjs is made behind both, and returns when it is.
        device.bind(va + PAGE, &bos[0], 0, PAGE, RW)?;
        for sync in &syncs {
            same("a bind before one that was waited for", sync.state()?, FenceState::Done)?;
        }
        copy(&space, 1, va, BASE, PAGE)?;
        same_bytes("what is mapped at last", &content(&target, 4096)?, &[3; 4096])
    })
}

/// Many that overlap, planned on top of each other.
pub fn queued_binds_match_the_model(ctx: &Ctx) -> Result<()> {
    patiently(|| overlapping_binds(ctx))
}

/// The same with a driver that has patience already.
pub fn overlapping_binds(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let space = space(ctx)?;
    let device = space.device();
    let mut model = Model::new(&space, &mut rng)?;
    for round in 0..6 {
        let gate = Gate::new(device, 1)?;
        let last = Syncobj::new(device)?;
        for _ in 0..40 {
            device.bind_queued(model.change(&mut rng)?, &[&gate.ended], &[&last])?;
        }
        same("the last bind before the gate is open", last.state()?, FenceState::Active)?;
        gate.open()?;
        done("the last bind", &last)?;
        drop(gate);
        device.unbind(GATES, 1 << 20)?;
        model.check(&space, &mut rng, round)?;
        model.move_one(&mut rng)?;
        model.check(&space, &mut rng, round)?;
    }
    Ok(())
}

pub fn queued_sparse_range_reads_zero(ctx: &Ctx) -> Result<()> {
    patiently(|| {
        let space = space(ctx)?;
        let device = space.device();
        let data = [7; 2 * 4096];
        let (source, target) = (filled(device, Domain::Vram, &data)?, Bo::new(device, 2 * PAGE, Domain::Gtt)?);
        device.bind(BASE, &target, 0, 2 * PAGE, RW)?;
        let va = far(device, 1)?;
        device.bind(va, &source, 0, 2 * PAGE, RW)?;
        let gate = Gate::new(device, 1)?;
        let (bound, copied) = (Syncobj::new(device)?, Syncobj::new(device)?);
        let sparse = VmBind { op: uapi::VM_OP_PRT, flags: uapi::VM_REPLACE, va, size: PAGE, ..Default::default() };
        device.bind_queued(sparse, &[&gate.ended], &[&bound])?;
        let mut ib = Ib::new();
        ib.copy(Place::Raw(va), Place::Raw(BASE), 2 * PAGE);
        space.submit_after(0, &ib, &[&bound], &copied)?;
        gate.open()?;
        done("the copy", &copied)?;
        let seen = content(&target, data.len())?;
        same_bytes("the sparse page", &seen[..4096], &[0; 4096])?;
        same_bytes("the page behind it", &seen[4096..], &data[4096..])
    })
}

pub fn queued_unmap_keeps_the_buffer_until_then(ctx: &Ctx) -> Result<()> {
    patiently(|| {
        let space = space(ctx)?;
        let device = space.device();
        let data = stamps(ctx.rng().next(), 1 << 20);
        let target = Bo::new(device, 1 << 20, Domain::Gtt)?;
        device.bind(BASE, &target, 0, target.size(), RW)?;
        let gate = Gate::new(device, 1)?;
        let used = || Ok(device.param(uapi::PARAM_VRAM_USED)?);
        let before = settled(used)?;
        let source = filled(device, Domain::Vram, &data)?;
        let va = far(device, 1)?;
        device.bind(va, &source, 0, source.size(), RW)?;
        let bound = Syncobj::new(device)?;
        device.bind_queued(unmap(va, source.size()), &[&gate.ended], &[&bound])?;
        drop(source);
        // Who does not wait for the unmap finds it mapped still, and whole.
        copy(&space, 0, va, BASE, target.size())?;
        same_bytes("what is to be unmapped", &content(&target, data.len())?, &data)?;
        ensure!(used()? >= before + (1 << 20), "the buffer is gone while it is mapped");
        gate.open()?;
        done("the unmap", &bound)?;
        let freed = eventually(PATIENCE, || Ok(used()? <= before))?;
        ensure!(freed, "the unmapped buffer is still there: {:#x} in use, {before:#x} before", used()?);
        Ok(())
    })
}

/// A buffer whose binds and unbinds are on their way is moved by another client.
pub fn move_waits_for_queued_binds(ctx: &Ctx) -> Result<()> {
    patiently(|| {
        let space = space(ctx)?;
        let device = space.device();
        let data = stamps(ctx.rng().next(), 16 * 4096);
        let (bo, target) = (filled(device, Domain::Vram, &data)?, Bo::new(device, 16 * PAGE, Domain::Gtt)?);
        device.bind(BASE, &target, 0, target.size(), RW)?;
        let (first, second) = (far(device, 1)?, far(device, 2)?);
        device.bind(first, &bo, 0, bo.size(), RW)?;
        let gate = Gate::new(device, 0)?;
        let bound = Syncobj::new(device)?;
        device.bind_queued(unmap(first + PAGE, 15 * PAGE), &[&gate.ended], &[])?;
        device.bind_queued(map(second, &bo, 0, bo.size()), &[], &[&bound])?;
        let shared = bo.export()?;
        let mover = thread::spawn(move || -> Result<()> {
            let device = Device::open()?;
            Ok(Bo::import(&device, &shared)?.move_to(Domain::Gtt, 1)?)
        });
        thread::sleep(GLANCE);
        ensure!(!mover.is_finished(), "the buffer moves while binds of it are queued");
        gate.open()?;
        mover.join().map_err(|_| anyhow::anyhow!("the thread that moves panicked"))??;
        same("the bind after the move", bound.state()?, FenceState::Done)?;
        same("where the buffer is", bo.domain()?, Domain::Gtt)?;
        copy(&space, 1, second, BASE, bo.size())?;
        same_bytes("the buffer after the move", &content(&target, data.len())?, &data)?;
        copy(&space, 1, first, BASE + PAGE, PAGE)?;
        same_bytes("the page that stayed mapped", &content(&target, 8192)?[4096..], &data[..4096])
    })
}

/// Binds that the driver was asked for, times it performed some, invalidations for them.
fn counters() -> Result<[u64; 3]> {
    let text = debugfs("uvm_binds")?;
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    let numbers = numbers.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    <[u64; 3]>::try_from(numbers).map_err(|_| anyhow::anyhow!("uvm_binds says {text:?}"))
}

pub fn thousand_queued_binds_share_invalidations(ctx: &Ctx) -> Result<()> {
    const QUEUED: u64 = 1000;
    const WAITED_FOR: u64 = 10;
    patiently(|| {
        let space = space(ctx)?;
        let device = space.device();
        let bos = (0..8).map(|n| filled(device, Domain::Vram, &[n; 4096])).collect::<Result<Vec<_>>>()?;
        let target = Bo::new(device, PAGE, Domain::Gtt)?;
        device.bind(BASE, &target, 0, PAGE, RW)?;
        let va = far(device, 1)?;
        for n in 0..16 {
            device.bind(va + n * PAGE, &bos[0], 0, PAGE, RW)?;
        }
        // While the second one is shut the space has a VMID, which may have cached what is replaced.
        let (gate, beside) = (Gate::new(device, 0)?, Gate::new(device, 1)?);
        thread::sleep(GLANCE);
        let before = counters()?;
        for n in 0..WAITED_FOR {
            device.bind_raw(&mut map(va, &bos[usize::try_from(n % 8)?], 0, PAGE))?;
        }
        let waited = counters()?;
        let cost = |from: [u64; 3], to: [u64; 3]| [to[0] - from[0], to[1] - from[1], to[2] - from[2]];
        same("binds, batches, invalidations one by one", cost(before, waited), [WAITED_FOR; 3])?;
        let last = Syncobj::new(device)?;
        for n in 0..QUEUED {
            let bo = &bos[usize::try_from(n / 16 % 8)?];
            device.bind_queued(map(va + n % 16 * PAGE, bo, 0, PAGE), &[&gate.ended], &[&last])?;
        }
        same("binds made before the gate is open", counters()?[1], waited[1])?;
        gate.open()?;
        done("the last bind", &last)?;
        let all = cost(waited, counters()?);
        ctx.note(format_args!("binds, batches, invalidations: {all:?}"));
        same("binds", all[0], QUEUED)?;
        ensure!((1..=QUEUED / 10).contains(&all[2]), "expected few invalidations for {QUEUED} binds, seen {}", all[2]);
        beside.open()?;
        for page in [0, 7, 8, 15] {
            // The last bind of a page is one of the last 16.
            let n = (QUEUED - 16..QUEUED).find(|n| n % 16 == page).unwrap_or(0);
            copy(&space, 1, va + page * PAGE, BASE, PAGE)?;
            let byte = u8::try_from(n / 16 % 8)?;
            same_bytes(format_args!("page {page}"), &content(&target, 4096)?, &[byte; 4096])?;
        }
        Ok(())
    })
}

/// One client's queue is stuck, and one of its threads waits in a bind; others bind, move and run meanwhile.
pub fn blocked_space_blocks_no_other(ctx: &Ctx) -> Result<()> {
    const THREADS: u64 = 2;
    const ROUNDS: u64 = 60;
    patiently(|| {
        let device = ctx.device()?;
        let gate = Gate::new(&device, 0)?;
        device.bind_queued(unmap(far(&device, 1)?, PAGE), &[&gate.ended], &[])?;
        let fd = device.fd().try_clone_to_owned()?;
        let stuck = thread::spawn(move || Device::from_fd(fd).unbind(BASE, PAGE));
        let seed = ctx.rng().next();
        let binders: Vec<_> = (0..THREADS)
            .map(|n| {
                thread::spawn(move || -> Result<()> {
                    let space = Space::new(&Device::open()?, PACKETS, 1 << 16)?;
                    let device = space.device();
                    let (source, target) = (
                        filled(device, Domain::Vram, &stamps(seed ^ n, 8 * 4096))?,
                        Bo::new(device, PAGE, Domain::Gtt)?,
                    );
                    device.bind(BASE, &target, 0, PAGE, RW)?;
                    let va = far(device, 1)?;
                    for round in 0..ROUNDS {
                        device.bind_raw(&mut map(va, &source, round % 8 * PAGE, PAGE))?;
                        if round % 10 == 0 {
                            source.move_to(Domain::GPU[usize::try_from(round / 10 % 2)?], 1)?;
                        }
                        copy(&space, 1, va, BASE, PAGE)?;
                        let at = usize::try_from(round % 8)? * 4096;
                        let expected = &stamps(seed ^ n, 8 * 4096)[at..at + 4096];
                        same_bytes(format_args!("client {n}, round {round}"), &content(&target, 4096)?, expected)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for binder in binders {
            binder.join().map_err(|_| anyhow::anyhow!("a thread that binds panicked"))??;
        }
        ensure!(!stuck.is_finished(), "a bind behind a queued one has returned before it");
        gate.open()?;
        stuck.join().map_err(|_| anyhow::anyhow!("the thread that waits panicked"))??;
        Ok(())
    })
}

/// Binds in the queue, and the file is closed: they are made all the same, and then nothing is left.
pub fn closed_file_ends_its_queued_binds(ctx: &Ctx) -> Result<()> {
    patiently(|| {
        let watcher = ctx.device()?;
        let used = || Ok(watcher.param(uapi::PARAM_VRAM_USED)?);
        let before = settled(used)?;
        for round in 0..3 {
            let space = space(ctx)?;
            let device = space.device();
            let gate = Gate::new(device, 1)?;
            let bos =
                (0..8).map(|_| Bo::new(device, 16 * PAGE, Domain::Vram)).collect::<crate::drm::Result<Vec<_>>>()?;
            let bound = Syncobj::new(device)?;
            for n in 0..100 {
                let va = far(device, n % 8)?;
                let arg =
                    if n % 3 == 2 { unmap(va, 8 * PAGE) } else { map(va, &bos[usize::try_from(n % 8)?], 0, 9 * PAGE) };
                device.bind_queued(arg, &[&gate.ended], &[&bound])?;
            }
            let fence = bound.export()?;
            drop((bos, bound));
            // The last of what keeps the file open.
            let map = gate.leave(&watcher)?;
            drop(space);
            same("binds of a closed file before the gate is open", fence.state()?, FenceState::Active)?;
            ensure!(used()? > before, "round {round}: buffers that are to be mapped are gone");
            map.store(0, 1);
            let over = eventually(PATIENCE, || Ok(fence.state()? != FenceState::Active))?;
            ensure!(over, "round {round}: the binds never end");
            same("binds of a closed file", fence.state()?, FenceState::Done)?;
            drop(map);
            let freed = eventually(PATIENCE, || Ok(used()? <= before))?;
            ensure!(freed, "round {round}: {:#x} of VRAM in use, {before:#x} before", used()?);
        }
        Ok(())
    })
}

/// First argument of a worker process.
pub const WORKER: &str = "--bind-worker";

/// Entry point of a worker: queues binds behind a submission that never ends, says so, and waits for one more.
pub fn worker() -> Result<ExitCode> {
    let space = Space::new(&Device::open()?, PACKETS, 1 << 16)?;
    let device = space.device();
    let bo = Bo::new(device, 16 * PAGE, Domain::Vram)?;
    device.bind(BASE, &bo, 0, bo.size(), RW)?;
    let gate = Gate::new(device, 1)?;
    for n in 0..50 {
        device.bind_queued(map(BASE + n % 7 * PAGE, &bo, 0, 8 * PAGE), &[&gate.ended], &[])?;
    }
    println!("ready");
    std::io::stdout().flush()?;
    device.unbind(BASE, PAGE)?;
    Ok(ExitCode::SUCCESS)
}

pub fn killed_process_leaves_no_queued_binds(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = || Ok(device.param(uapi::PARAM_VRAM_USED)?);
    let before = settled(used)?;
    let mut doomed = Command::new("/proc/self/exe")
        .args(["uvm-test", WORKER])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a worker")?;
    // Its submission times out.
    let _expected = ExpectErrors::begin(ctx);
    let mut line = String::new();
    BufReader::new(doomed.stdout.take().context("a worker without output")?).read_line(&mut line)?;
    same("what the worker says", line.as_str(), "ready\n")?;
    thread::sleep(GLANCE);
    doomed.kill()?;
    let status = doomed.wait()?;
    ensure!(status.signal() == Some(9), "the worker was not waiting: {status}");
    let freed = eventually(PATIENCE, || Ok(used()? <= before))?;
    ensure!(freed, "VRAM in use: {:#x}, {before:#x} before", used()?);
    let space = super::space(ctx)?;
    complete(&space, 1, Ib::new().nop(3))
}

pub fn queued_bind_fails_with_its_device(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let device = space.device();
    let bo = Bo::new(device, PAGE, Domain::Vram)?;
    let mut gate = Gate::new(device, 0)?;
    let syncs = [Syncobj::new(device)?, Syncobj::new(device)?];
    device.bind_queued(map(BASE, &bo, 0, PAGE), &[&gate.ended], &[&syncs[0]])?;
    device.bind_queued(unmap(BASE, PAGE), &[], &[&syncs[1]])?;
    let files = [syncs[0].export()?, syncs[1].export()?];
    let _expected = ExpectErrors::begin(ctx);
    let fd = device.fd().try_clone_to_owned()?;
    // Who waits in a bind is told as well.
    let waiter = thread::spawn(move || Device::from_fd(fd).unbind(BASE, PAGE));
    thread::sleep(Duration::from_millis(20));
    // The device's end ends the gate, and takes its page away.
    gate.map = None;
    while_unbound(|| {
        for (n, file) in files.iter().enumerate() {
            let over = eventually(PATIENCE, || Ok(file.state()? != FenceState::Active))?;
            ensure!(over, "bind {n} never ends");
            let state = file.state()?;
            ensure!(
                matches!(state, FenceState::Failed(Errno::NODEV | Errno::IO)),
                "bind {n} on a device that is gone: {state:?}"
            );
        }
        let waited = waiter.join().map_err(|_| anyhow::anyhow!("the thread that waits panicked"))?;
        let errno = waited.err().context("a bind on a device that is gone succeeded")?.errno;
        ensure!([Errno::NODEV, Errno::IO].contains(&errno), "a bind on a device that is gone: {errno}");
        Ok(())
    })?;
    drop((gate, bo, syncs, space));
    // The device is as good as new.
    let space = super::space(ctx)?;
    let bo = Bo::new(space.device(), PAGE, Domain::Vram)?;
    space.device().bind(BASE, &bo, 0, PAGE, RW)?;
    complete(&space, 0, Ib::new().fence(Place::Raw(BASE), 3))?;
    same("what a submission wrote afterwards", bo.map()?.load(0), 3)
}
