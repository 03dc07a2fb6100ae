// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The part of suite `faults` about faults that wait: the client is asked for the page, and its bind answers.

use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::packet::atomic;
use uvm_spec::uapi;

use super::case::{eventually, filled, same, same_bytes, settled, stamps, Ctx, GLANCE, PATIENCE};
use super::kmsg::ExpectErrors;
use super::queues::{doomed, drained, fence, page, queue, stands, DATA, FAR, PAGE, RINGS};
use super::reload::with_parameters;
use super::vm::{patiently, Gate};
use crate::drm::{address, Bo, Device, Domain, FenceState, Queue, Space, Syncobj, RW};
use crate::ib::{Atomic, Ib, Place};
use crate::test::purpose::OnPurpose;

const PACKETS: u64 = 0x10_0000;
/// Where a page is missing at first.
const HOLE: u64 = 12 * FAR;

/// A client whose accesses wait, with room for packets.
fn patient(ctx: &Ctx) -> Result<Space> {
    let device = ctx.device()?;
    device.configure(uapi::VM_CONFIG_RETRY)?;
    Ok(Space::new(&device, PACKETS, 1 << 16)?)
}

/// The next fault of the client; it must be this one.
fn asked_for(device: &Device, va: u64, write: bool) -> Result<()> {
    let fault = device.next_fault(PATIENCE)?.context("no fault is told")?;
    same("the fault told", (fault.va, fault.write), (va, write.into()))
}

fn told_no_more(device: &Device) -> Result<()> {
    let fault = device.next_fault(Duration::ZERO)?;
    ensure!(fault.is_none(), "one fault too many: {fault:?}");
    Ok(())
}

fn other_ring_works(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = Space::new(&ctx.device()?, PACKETS, PAGE)?;
    same("a submission beside", space.run(1 - ring, Ib::new().nop(3), PATIENCE)?, FenceState::Done)
}

/// A submission waits for a page; the other ring goes on; the page comes, and it ends well.
fn waits_for(
    ctx: &Ctx,
    ring: u32,
    space: &Space,
    (va, write): (u64, bool),
    ib: &Ib,
    bring: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let done = Syncobj::new(space.device())?;
    space.submit(ring, ib, &done)?;
    asked_for(space.device(), va, write)?;
    other_ring_works(ctx, ring)?;
    same("the submission meanwhile", done.state()?, FenceState::Active)?;
    bring()?;
    done.wait(PATIENCE)?;
    same("the submission with its page", done.state()?, FenceState::Done)?;
    told_no_more(space.device())?;
    ensure!(space.device().fault()?.is_none(), "a fault is told as fatal");
    Ok(())
}

pub fn missing_page_of_a_write_comes_later(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = patient(ctx)?;
    let bo = Bo::new(space.device(), PAGE, Domain::Vram)?;
    let mut ib = Ib::new();
    ib.write(Place::Raw(HOLE + 8), &[1, 2]).fence(Place::Raw(HOLE + 16), 3);
    waits_for(ctx, ring, &space, (HOLE, true), &ib, || Ok(space.device().bind(HOLE, &bo, 0, PAGE, RW)?))?;
    let map = bo.map()?;
    same("what was written", (map.load(8), map.load(16)), (0x2_0000_0001, 3))
}

pub fn missing_page_of_a_read_comes_later(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = patient(ctx)?;
    let data = stamps(31, 4096);
    let (from, to) = (filled(space.device(), Domain::System, &data)?, page(space.device(), DATA)?);
    let mut ib = Ib::new();
    ib.copy(Place::Raw(HOLE), Place::Raw(DATA), PAGE);
    let bring = || Ok(space.device().bind(HOLE, &from, 0, PAGE, uapi::VM_READ)?);
    waits_for(ctx, ring, &space, (HOLE, false), &ib, bring)?;
    same_bytes("the copy", &super::case::content(&to, 4096)?, &data)
}

pub fn missing_packets_come_later(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = patient(ctx)?;
    let device = space.device();
    let target = page(device, DATA)?.map()?;
    let packets = Bo::new(device, PAGE, Domain::Gtt)?;
    let (done, map) = (Syncobj::new(device)?, packets.map()?);
    for (i, dword) in fence(DATA, 4).dwords().iter().enumerate() {
        map.write(4 * i, &dword.to_le_bytes());
    }
    let handles = [done.handle()];
    device.submit_raw(&mut uapi::Submit {
        ring,
        flags: uapi::SUBMIT_VM,
        ib: HOLE + 64,
        ib_dwords: 8,
        out_syncs: address(&handles),
        out_sync_count: 1,
        ..Default::default()
    })?;
    asked_for(device, HOLE, false)?;
    // The packets lie elsewhere in the buffer: 64 bytes from its start.
    for (i, dword) in fence(DATA, 4).dwords().iter().enumerate() {
        map.write(64 + 4 * i, &dword.to_le_bytes());
    }
    device.bind(HOLE, &packets, 0, PAGE, uapi::VM_READ)?;
    done.wait(PATIENCE)?;
    same("the submission with its packets", done.state()?, FenceState::Done)?;
    same("what it wrote", target.load(0), 4)?;
    told_no_more(device)
}

/// The bind is queued already, behind what ends later: nobody is asked, and the fault is not raised over and over.
pub fn missing_page_comes_by_a_queued_bind(ctx: &Ctx) -> Result<()> {
    patiently(|| {
        for ring in 0..2 {
            let space = patient(ctx)?;
            let device = space.device();
            let bo = Bo::new(device, PAGE, Domain::Vram)?;
            let gate = Gate::new(device, 1 - ring)?;
            let (bound, done) = (Syncobj::new(device)?, Syncobj::new(device)?);
            let (op, handle) = (uapi::VM_OP_MAP, bo.handle());
            let bind = uapi::VmBind { op, flags: RW, handle, va: HOLE, size: PAGE, ..Default::default() };
            device.bind_queued(bind, &[gate.ended()], &[&bound])?;
            let before = settled(|| Ok(device.param(uapi::PARAM_RETRY_FAULTS)?))?;
            space.submit(ring, &fence(HOLE, 9), &done)?;
            let raised = || Ok::<u64, anyhow::Error>(device.param(uapi::PARAM_RETRY_FAULTS)? - before);
            ensure!(eventually(PATIENCE, || Ok(raised()? > 0))?, "no fault is raised");
            thread::sleep(GLANCE);
            same("the submission before the bind", done.state()?, FenceState::Active)?;
            same("faults before the bind", raised()?, 1)?;
            told_no_more(device)?;
            gate.open()?;
            done.wait(PATIENCE)?;
            same("the submission with its page", done.state()?, FenceState::Done)?;
            // The access is let go on first.
            bound.wait(PATIENCE)?;
            same("the bind", bound.state()?, FenceState::Done)?;
            same("what was written", bo.map()?.load(0), 9)?;
            same("faults in all", raised()?, 1)?;
            told_no_more(device)?;
        }
        Ok(())
    })
}

pub fn missing_permission_comes_later(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = patient(ctx)?;
    let data = stamps(5, 4096);
    let bo = filled(space.device(), Domain::Gtt, &data)?;
    space.device().bind(HOLE, &bo, 0, PAGE, uapi::VM_READ)?;
    let to = page(space.device(), DATA)?;
    let mut ib = Ib::new();
    // Reading is allowed, and caches the translation.
    ib.copy(Place::Raw(HOLE), Place::Raw(DATA), PAGE).fence(Place::Raw(HOLE), 6);
    waits_for(ctx, ring, &space, (HOLE, true), &ib, || {
        same_bytes("what stays", &super::case::content(&bo, 4096)?, &data)?;
        Ok(space.device().bind(HOLE, &bo, 0, PAGE, RW | uapi::VM_REPLACE)?)
    })?;
    same_bytes("the copy before", &super::case::content(&to, 4096)?, &data)?;
    same("the write after", bo.map()?.load(0) & 0xffff_ffff, 6)
}

pub fn missing_ring_of_a_queue_comes_later(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    device.configure(uapi::VM_CONFIG_RETRY)?;
    let map = page(&device, DATA)?.map()?;
    let mut queue = Queue::unmapped(&device, engine, RINGS, PAGE)?;
    queue.run(&fence(DATA, 7))?;
    asked_for(&device, RINGS, false)?;
    stands(&queue, uapi::QUEUE_PARKED, 0)?;
    device.bind(RINGS, queue.bo(), 0, PAGE, RW)?;
    // Then the page that the pointer goes to.
    asked_for(&device, RINGS + PAGE, true)?;
    same("what it wrote", map.load(0), 7)?;
    stands(&queue, uapi::QUEUE_PARKED, 0)?;
    device.bind(RINGS + PAGE, queue.bo(), PAGE, PAGE, RW)?;
    drained(&queue)?;
    ensure!(eventually(PATIENCE, || Ok(queue.written_back() == queue.wptr()))?, "the pointer is not written back");
    told_no_more(&device)
}

pub fn page_that_never_comes_fails_its_job_alone(ctx: &Ctx, ring: u32) -> Result<()> {
    let space = patient(ctx)?;
    let behind = Space::new(&ctx.device()?, PACKETS, PAGE)?;
    let _expected = ExpectErrors::begin(ctx);
    let (done, next) = (Syncobj::new(space.device())?, Syncobj::new(behind.device())?);
    space.submit(ring, &fence(HOLE + 2 * PAGE, 1), &done)?;
    asked_for(space.device(), HOLE + 2 * PAGE, true)?;
    behind.submit(ring, Ib::new().nop(1), &next)?;
    other_ring_works(ctx, ring)?;
    done.wait(PATIENCE)?;
    same("the submission", done.state()?, FenceState::Failed(Errno::FAULT))?;
    let fault = space.device().fault()?.context("no fault is told as fatal")?;
    same("the fault told", (fault.va, fault.count, fault.write), (HOLE + 2 * PAGE, 1, 1))?;
    next.wait(PATIENCE)?;
    same("the one behind it", next.state()?, FenceState::Done)?;
    told_no_more(space.device())?;
    // The same page, in the same VMID, is asked for again.
    let bo = Bo::new(space.device(), PAGE, Domain::Gtt)?;
    let bring = || Ok(space.device().bind(HOLE + 2 * PAGE, &bo, 0, PAGE, RW)?);
    waits_for(ctx, ring, &space, (HOLE + 2 * PAGE, true), &fence(HOLE + 2 * PAGE, 8), bring)?;
    same("what it wrote", bo.map()?.load(0), 8)
}

pub fn long_copy_asks_for_page_after_page(ctx: &Ctx) -> Result<()> {
    const PAGES: u64 = 24;
    let device = ctx.device()?;
    device.configure(uapi::VM_CONFIG_RETRY)?;
    let data = stamps(77, usize::try_from(PAGES * PAGE)?);
    let (from, to) = (filled(&device, Domain::Vram, &data)?, Bo::new(&device, PAGES * PAGE, Domain::System)?);
    let mut queue = queue(&device, 0, 0)?;
    let mut ib = Ib::new();
    ib.copy(Place::Raw(HOLE), Place::Raw(HOLE + FAR), PAGES * PAGE);
    queue.run(&ib)?;
    let mut asked = Vec::new();
    while asked.len() < usize::try_from(2 * PAGES)? {
        let fault = device.next_fault(PATIENCE)?.context("no fault is told")?;
        let (bo, base) = if fault.write == 1 { (&to, HOLE + FAR) } else { (&from, HOLE) };
        asked.push(fault.va);
        device.bind(fault.va, bo, fault.va - base, PAGE, if fault.write == 1 { RW } else { uapi::VM_READ })?;
    }
    drained(&queue)?;
    told_no_more(&device)?;
    asked.sort_unstable();
    asked.dedup();
    same("pages asked for, each once", asked.len() as u64, 2 * PAGES)?;
    same_bytes("the copy", &super::case::content(&to, data.len())?, &data)
}

pub fn retries_switched_off_fail(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    device.configure(uapi::VM_CONFIG_RETRY)?;
    let mut queue = queue(&device, 1, 0)?;
    queue.run(&fence(HOLE, 1))?;
    asked_for(&device, HOLE, true)?;
    let expected = ExpectErrors::begin(ctx);
    device.configure(0)?;
    stands(&queue, uapi::QUEUE_STOPPED, uapi::QUEUE_CAUSE_FAULT)?;
    drop(expected);
    same("the fault told as fatal", device.fault()?.map(|fault| fault.va), Some(HOLE))?;
    // And on again.
    device.configure(uapi::VM_CONFIG_RETRY)?;
    queue.reset()?;
    queue.run(&fence(HOLE, 2))?;
    asked_for(&device, HOLE, true)?;
    let bo = page(&device, HOLE)?;
    drained(&queue)?;
    same("what it wrote", bo.map()?.load(0), 2)
}

/// What waits for a page.
enum Waiter {
    Queue(Queue),
    Job(Syncobj),
}

impl Waiter {
    fn is_done(&self) -> Result<bool> {
        match self {
            Self::Queue(queue) => Ok(queue.info()?.rptr == queue.wptr()),
            Self::Job(done) => Ok(done.state()? == FenceState::Done),
        }
    }
}

/// All four user queues and both kernel rings wait at once, each in a space of its own and all for the same address.
fn all_park(ctx: &Ctx, round: u64) -> Result<()> {
    let mut rng = ctx.rng();
    let va = HOLE + round * PAGE;
    let mut waiters = Vec::new();
    for n in 0..6_u32 {
        let space = patient(ctx)?;
        let waiter = if n < 4 {
            let mut queue = queue(space.device(), n % 2, 0)?;
            queue.run(&fence(va, n + 1))?;
            Waiter::Queue(queue)
        } else {
            let done = Syncobj::new(space.device())?;
            space.submit(n % 2, &fence(va, n + 1), &done)?;
            Waiter::Job(done)
        };
        waiters.push((n, space, waiter));
    }
    for (_, space, waiter) in &waiters {
        asked_for(space.device(), va, true)?;
        if let Waiter::Queue(queue) = waiter {
            stands(queue, uapi::QUEUE_PARKED, 0)?;
        }
    }
    while !waiters.is_empty() {
        let (n, space, waiter) = waiters.swap_remove(rng.index(waiters.len()));
        let bo = Bo::new(space.device(), PAGE, rng.pick(&Domain::ALL))?;
        space.device().bind(va, &bo, 0, PAGE, RW)?;
        ensure!(eventually(PATIENCE, || waiter.is_done())?, "waiter {n} does not go on");
        same(format_args!("what waiter {n} wrote"), bo.map()?.load(0), u64::from(n + 1))?;
        for (other, _, waiter) in &waiters {
            ensure!(!waiter.is_done()?, "waiter {other} went on without its page");
        }
    }
    Ok(())
}

pub fn every_queue_parks_and_each_goes_on_by_itself(ctx: &Ctx) -> Result<()> {
    (0..4).try_for_each(|round| all_park(ctx, round))
}

/// One client's share of the storm: a queue that adds one to a counter through page after page, none of which is there.
/// Gives back how many faults it was told of and what the counter says.
fn storm(engine: u32, faults: u64) -> Result<(u64, u64)> {
    let device = Device::open()?;
    device.configure(uapi::VM_CONFIG_RETRY)?;
    // Every page is the same one.
    let counter = Bo::new(&device, PAGE, Domain::Gtt)?;
    let mut queue = Queue::new(&device, engine, RINGS, 1 << 20)?;
    let add = Atomic { op: atomic::ADD | atomic::BITS64 | atomic::NO_RETURN, source: 1, compare: 0 };
    let mut ib = Ib::new();
    for n in 0..faults {
        ib.atomic(Place::Raw(HOLE + n * PAGE), add);
    }
    queue.run(&ib)?;
    let mut told = 0;
    while told < faults {
        let fault = device.next_fault(PATIENCE)?.with_context(|| format!("fault {told} of {faults} never came"))?;
        same("the page asked for", fault.va, HOLE + told * PAGE)?;
        // Without VM_REPLACE: a page that was brought already is refused.
        device.bind(fault.va, &counter, 0, PAGE, RW)?;
        told += 1;
    }
    drained(&queue)?;
    told_no_more(&device)?;
    Ok((told, counter.map()?.load(0)))
}

pub fn ten_thousand_faults_are_each_answered_once(ctx: &Ctx) -> Result<()> {
    const EACH: u64 = 2500;
    const COUNTERS: [(&str, u32); 5] = [
        ("faults that the driver took in", uapi::PARAM_RETRY_FAULTS),
        ("answers that the driver gave", uapi::PARAM_RETRY_ANSWERS),
        ("faults that the device counted", uapi::PARAM_DEVICE_FAULTS),
        ("vectors that the driver saw", uapi::PARAM_INTERRUPTS),
        ("vectors that the device wrote", uapi::PARAM_DEVICE_INTERRUPTS),
    ];
    let device = ctx.device()?;
    let counted = || COUNTERS.iter().map(|(_, param)| Ok(device.param(*param)?)).collect::<Result<Vec<_>>>();
    let before = settled(counted)?;
    let started = std::time::Instant::now();
    let threads: Vec<_> = (0..4).map(|n| thread::spawn(move || storm(n % 2, EACH))).collect();
    let mut ended = Vec::new();
    for thread in threads {
        ended.push(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?);
    }
    for (n, client) in ended.into_iter().enumerate() {
        same(format_args!("client {n}: faults told and pages written"), client?, (EACH, EACH))?;
    }
    ctx.note(format_args!("{} faults in {:?}", 4 * EACH, started.elapsed()));
    for ((name, _), (after, before)) in COUNTERS.iter().zip(settled(counted)?.into_iter().zip(before)) {
        same(name, after - before, 4 * EACH)?;
    }
    Ok(())
}

/// The ring of faults takes three vectors, and wrong accesses of VMID 0 flood it: what is overwritten is raised again.
pub fn overflow_loses_no_fault_for_good(ctx: &Ctx) -> Result<()> {
    let _wrong = OnPurpose::begin();
    with_parameters(c"retry_vectors=4", || {
        let device = ctx.device()?;
        let _expected = ExpectErrors::begin(ctx);
        let mut flood = Ib::new();
        for n in 0..200 {
            flood.fence(Place::Raw(0x10_0000_0000 + n * PAGE), 1);
        }
        for round in 0..15_u64 {
            let floods = [Syncobj::new(&device)?, Syncobj::new(&device)?];
            for (ring, done) in (0..).zip(&floods) {
                device.submit(ring, &flood, &[], &[done])?;
            }
            let mut clients = Vec::new();
            for n in 0..4_u32 {
                let client = ctx.device()?;
                client.configure(uapi::VM_CONFIG_RETRY)?;
                let mut queue = queue(&client, n % 2, 0)?;
                for ring in 0..2 {
                    device.submit(ring, &flood, &[], &[])?;
                }
                queue.run(&fence(HOLE + round * PAGE, n))?;
                clients.push((client, queue));
            }
            for (n, (client, queue)) in clients.iter().enumerate() {
                asked_for(client, HOLE + round * PAGE, true).with_context(|| format!("round {round} client {n}"))?;
                let bo = page(client, HOLE + round * PAGE)?;
                drained(queue)?;
                same("what it wrote", bo.map()?.load(0), n as u64)?;
            }
            for done in &floods {
                done.wait(PATIENCE)?;
            }
        }
        let overflows = device.param(uapi::PARAM_RETRY_OVERFLOWS)?;
        ctx.note(format_args!("{overflows} overflows"));
        ensure!(overflows > 0, "the ring never overflowed");
        all_park(ctx, 1000)
    })
}

/// The engine that would write the tables waits for what is to be written.
pub fn tables_are_written_while_the_engine_waits(ctx: &Ctx) -> Result<()> {
    with_parameters(c"vm_sdma_updates=1", || {
        for ring in 0..2 {
            missing_page_of_a_write_comes_later(ctx, ring)?;
            missing_permission_comes_later(ctx, ring)?;
        }
        all_park(ctx, 2000)
    })
}

pub fn killed_while_parked_leaves_nothing_behind(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = || Ok((device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_FREE_QUEUES)?));
    let before = settled(used)?;
    let _expected = ExpectErrors::begin(ctx);
    for round in 0..4 {
        let mut child = doomed(uapi::VM_CONFIG_RETRY)?;
        child.kill()?;
        child.wait()?;
        // The next owners of its VMID and of its queues wait for the same page, and are told of it.
        let mut clients = Vec::new();
        for n in 0..4 {
            let client = ctx.device()?;
            client.configure(uapi::VM_CONFIG_RETRY)?;
            let mut queue = queue(&client, n % 2, 0)?;
            queue.run(&fence(DATA + FAR, n))?;
            clients.push((client, queue));
        }
        for (n, (client, queue)) in clients.iter().enumerate() {
            asked_for(client, DATA + FAR, true).with_context(|| format!("round {round} client {n}"))?;
            let bo = page(client, DATA + FAR)?;
            drained(queue)?;
            same("what it wrote", bo.map()?.load(0), n as u64)?;
        }
    }
    ensure!(
        eventually(PATIENCE, || Ok(used()? == before))?,
        "VRAM and queues: expected {before:?}, seen {:?}",
        used()?
    );
    std::thread::sleep(GLANCE);
    let (faults, answers) = (device.param(uapi::PARAM_RETRY_FAULTS)?, device.param(uapi::PARAM_RETRY_ANSWERS)?);
    same("answers to all faults of all", answers, faults)
}
