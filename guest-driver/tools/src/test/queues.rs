// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `queues`: rings that processes write by themselves. What one does, or what becomes of it, is no other's matter.

use std::io::Write;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::packet::{atomic, poll_func, POLL_FOREVER};
use uvm_spec::uapi;

use super::case::{eventually, refused, same, same_bytes, settled, stamps, Case, Ctx, Run, GLANCE, PATIENCE};
use super::kmsg::ExpectErrors;
use crate::drm::{Bo, Device, Domain, FenceState, Queue, Space, RW};
use crate::ib::{Atomic, Ib, Place, Poll};

/// First argument of a worker process.
pub const WORKER: &str = "--queue-worker";

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

const fn ring(name: &'static str, run: fn(&Ctx, u32) -> Result<()>) -> Case {
    Case { name, run: Run::PerRing(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    ring("packets_run_and_the_pointer_is_written_back", packets_run_and_the_pointer_is_written_back),
    ring("ring_wraps_many_times", ring_wraps_many_times),
    ring("indirect_buffer_runs_in_the_queues_space", indirect_buffer_runs_in_the_queues_space),
    ring("bind_takes_effect_under_a_queue", bind_takes_effect_under_a_queue),
    once("four_queues_keep_apart", four_queues_keep_apart),
    once("third_queue_of_an_instance_is_refused", third_queue_of_an_instance_is_refused),
    once("wrong_arguments_are_refused", wrong_arguments_are_refused),
    once("queue_of_another_is_out_of_reach", queue_of_another_is_out_of_reach),
    ring("refused_packet_stops_its_queue_alone", refused_packet_stops_its_queue_alone),
    ring("fault_stops_its_queue_alone", fault_stops_its_queue_alone),
    ring("senseless_pointer_stops_its_queue_alone", senseless_pointer_stops_its_queue_alone),
    ring("hung_queue_is_reset_alone", hung_queue_is_reset_alone),
    once("registers_are_out_of_reach", registers_are_out_of_reach),
    once("ended_queue_touches_nothing_more", ended_queue_touches_nothing_more),
    once("buffer_moves_under_a_queue", buffer_moves_under_a_queue),
    once("reserved_vmids_leave_two_for_all_others", reserved_vmids_leave_two_for_all_others),
    once("queue_is_had_among_busy_processes", queue_is_had_among_busy_processes),
    once("killed_process_leaves_no_queue_behind", killed_process_leaves_no_queue_behind),
];

pub const PAGE: u64 = 4096;
/// Where the rings of the tests lie; one a queue.
pub const RINGS: u64 = 0x4_0000_0000;
/// Where the tests map what their packets use.
pub const DATA: u64 = 0x5_0000_0000;
const RING_BYTES: u64 = 4 * PAGE;

/// A queue of the `n`th ring of a client.
pub fn queue(device: &Device, engine: u32, n: u64) -> Result<Queue> {
    Ok(Queue::new(device, engine, RINGS + n * (1 << 30), RING_BYTES)?)
}

/// A page of memory that both sides see, mapped at `va`.
pub fn page(device: &Device, va: u64) -> Result<Bo> {
    let bo = Bo::new(device, PAGE, Domain::Gtt)?;
    device.bind(va, &bo, 0, PAGE, RW)?;
    Ok(bo)
}

pub fn fence(va: u64, value: u32) -> Ib {
    let mut ib = Ib::new();
    ib.fence(Place::Raw(va), value);
    ib
}

/// Waits until the queue has executed all that it was given.
pub fn drained(queue: &Queue) -> Result<()> {
    let mut info = queue.info()?;
    let done = eventually(PATIENCE, || {
        info = queue.info()?;
        Ok(info.rptr == queue.wptr() || info.state == uapi::QUEUE_STOPPED)
    })?;
    ensure!(done && info.state == uapi::QUEUE_RUNNING, "the queue does not end its work: {info:?}");
    Ok(())
}

/// Waits until the queue stands as said.
pub fn stands(queue: &Queue, state: u32, cause: u32) -> Result<()> {
    let mut info = queue.info()?;
    let seen = eventually(PATIENCE, || {
        info = queue.info()?;
        Ok(info.state == state)
    })?;
    ensure!(seen && info.cause == cause, "expected state {state} with cause {cause}, seen {info:?}");
    Ok(())
}

/// A queue and a page of its client at `DATA`, and that both work.
struct Witness {
    queue: Queue,
    map: crate::drm::Mapping,
    value: u32,
}

impl Witness {
    fn new(ctx: &Ctx, engine: u32) -> Result<Self> {
        let device = ctx.device()?;
        let map = page(&device, DATA)?.map()?;
        let mut witness = Self { queue: queue(&device, engine, 0)?, map, value: 0 };
        witness.works()?;
        Ok(witness)
    }

    fn works(&mut self) -> Result<()> {
        self.value += 1;
        self.queue.run(&fence(DATA, self.value))?;
        drained(&self.queue)?;
        same("what a queue beside wrote", self.map.load(0), self.value.into())
    }
}

/// Kernel rings go on too.
fn kernel_rings_work(ctx: &Ctx) -> Result<()> {
    let space = Space::new(&ctx.device()?, 0x10_0000, PAGE)?;
    for ring in 0..2 {
        same("fence of a submission beside", space.run(ring, Ib::new().nop(3), PATIENCE)?, FenceState::Done)?;
    }
    Ok(())
}

fn packets_run_and_the_pointer_is_written_back(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let data = stamps(11, 3 * 4096);
    let from = super::case::filled(&device, Domain::Vram, &data)?;
    let to = Bo::new(&device, from.size(), Domain::Gtt)?;
    device.bind(DATA, &from, 0, from.size(), uapi::VM_READ)?;
    device.bind(DATA + (1 << 20), &to, 0, to.size(), RW)?;
    let mut queue = queue(&device, engine, 0)?;
    let mut ib = Ib::new();
    ib.copy(Place::Raw(DATA), Place::Raw(DATA + (1 << 20)), from.size() - 8);
    ib.fence(Place::Raw(DATA + (1 << 20) + from.size() - 4), 77).trap(5);
    queue.run(&ib)?;
    let map = to.map()?;
    // Memory alone tells.
    let end = data.len() - 8;
    ensure!(eventually(PATIENCE, || Ok(map.load(end) >> 32 == 77))?, "the fence is not written");
    let mut seen = vec![0; end];
    map.read(0, &mut seen);
    same_bytes("the copy", &seen, &data[..end])?;
    ensure!(eventually(PATIENCE, || Ok(queue.written_back() == queue.wptr()))?, "the pointer is not written back");
    let info = queue.info()?;
    same("state", (info.state, info.cause, info.rptr, info.wptr), (0, 0, queue.wptr(), queue.wptr()))
}

fn ring_wraps_many_times(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    let mut queue = Queue::new(&device, engine, RINGS, PAGE)?;
    let mut rng = ctx.rng();
    let mut sum = 0;
    while queue.wptr() < 30 * PAGE {
        let mut ib = Ib::new();
        // Lengths that have nothing to do with the ring's, so that packets lie across its end.
        for _ in 0..rng.size(12) {
            let n = rng.below(1000);
            sum += n;
            let add = Atomic { op: atomic::ADD | atomic::BITS64 | atomic::NO_RETURN, source: n, compare: 0 };
            ib.atomic(Place::Raw(DATA), add).nop(u32::try_from(rng.below(9))?);
        }
        queue.run(&ib)?;
        drained(&queue)?;
        same(format_args!("sum at {:#x}", queue.wptr()), map.load(0), sum)?;
    }
    same("the pointer in memory", queue.written_back(), queue.wptr())
}

fn indirect_buffer_runs_in_the_queues_space(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    let packets = page(&device, DATA + PAGE)?.map()?;
    for (i, dword) in fence(DATA + 8, 9).dwords().iter().enumerate() {
        packets.write(4 * i, &dword.to_le_bytes());
    }
    let mut queue = queue(&device, engine, 0)?;
    // The packet names VMID 0, where these addresses are nothing.
    let mut ib = Ib::new();
    ib.nop(1).indirect(Place::Raw(DATA + PAGE), 8).fence(Place::Raw(DATA), 1);
    queue.run(&ib)?;
    drained(&queue)?;
    same("what ring and buffer wrote", (map.load(0), map.load(8)), (1, 9))
}

fn bind_takes_effect_under_a_queue(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let old = page(&device, DATA)?;
    let new = Bo::new(&device, PAGE, Domain::Vram)?;
    let mut queue = queue(&device, engine, 0)?;
    for round in 1..=20 {
        queue.run(&fence(DATA, 2 * round))?;
        drained(&queue)?;
        // The device has the translation cached.
        let (at, other) = if round % 2 == 1 { (&new, &old) } else { (&old, &new) };
        device.bind(DATA, at, 0, PAGE, RW | uapi::VM_REPLACE)?;
        queue.run(&fence(DATA, 2 * round + 1))?;
        drained(&queue)?;
        let seen = (other.map()?.load(0), at.map()?.load(0));
        same("before and after", seen, (u64::from(2 * round), u64::from(2 * round + 1)))?;
    }
    Ok(())
}

fn four_queues_keep_apart(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let mut clients = Vec::new();
    for n in 0..4 {
        let device = ctx.device()?;
        let data = rng.bytes(5 * 4096);
        let from = super::case::filled(&device, rng.pick(&Domain::ALL), &data)?;
        let to = Bo::new(&device, from.size(), Domain::Gtt)?;
        // The same addresses for all.
        device.bind(DATA, &from, 0, from.size(), RW)?;
        device.bind(DATA + (1 << 21), &to, 0, to.size(), RW)?;
        let space = Space::new(&device, 0x10_0000, PAGE)?;
        clients.push((queue(&device, n % 2, 0)?, space, from, to, data));
    }
    same(
        "VMIDs in use",
        {
            let mut vmids = clients.iter().map(|c| Ok(c.0.info()?.vmid)).collect::<Result<Vec<_>>>()?;
            vmids.sort_unstable();
            vmids.dedup();
            vmids.len()
        },
        4,
    )?;
    for round in 0..30_u32 {
        for (queue, _, from, _, data) in &mut clients {
            let at = 8 * rng.index(data.len() / 8);
            from.map()?.store(at, round.into());
            data[at..at + 8].copy_from_slice(&u64::from(round).to_le_bytes());
            let mut ib = Ib::new();
            ib.copy(Place::Raw(DATA), Place::Raw(DATA + (1 << 21)), from.size());
            queue.run(&ib)?;
        }
        // Its VMID is its submissions' too.
        let (_, space, ..) = &clients[rng.index(4)];
        same("a submission beside", space.run(round % 2, Ib::new().nop(9), PATIENCE)?, FenceState::Done)?;
        for (n, (queue, _, _, to, data)) in clients.iter().enumerate() {
            drained(queue)?;
            same_bytes(format_args!("round {round} client {n}"), &super::case::content(to, data.len())?, data)?;
        }
    }
    Ok(())
}

fn third_queue_of_an_instance_is_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let free = || Ok(device.param(uapi::PARAM_FREE_QUEUES)?);
    same("free queues", settled(free)?, 4)?;
    for engine in 0..2 {
        let first = queue(&device, engine, engine.into())?;
        let other = ctx.device()?;
        let second = queue(&other, engine, 1)?;
        same("free queues", free()?, 2)?;
        let arg = uapi::QueueCreate { ring: engine, ring_va: RINGS, ring_size: PAGE, ..Default::default() };
        refused("a third queue", device.queue_raw(&mut arg.clone()), &[Errno::BUSY])?;
        refused("another's third queue", ctx.device()?.queue_raw(&mut arg.clone()), &[Errno::BUSY])?;
        drop(second);
        let mut again = queue(&other, engine, 2)?;
        again.run(Ib::new().nop(4))?;
        drained(&again)?;
        drop(first);
    }
    same("free queues afterwards", free()?, 4)
}

fn wrong_arguments_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let end = device.param(uapi::PARAM_VM_SIZE)?;
    let good = uapi::QueueCreate { ring_va: RINGS, ring_size: PAGE, ..Default::default() };
    let wrong = [
        ("instance", uapi::QueueCreate { ring: 2, ..good }),
        ("instance far off", uapi::QueueCreate { ring: u32::MAX, ..good }),
        ("flags", uapi::QueueCreate { flags: 1, ..good }),
        ("pad", uapi::QueueCreate { pad: 1, ..good }),
        ("address not aligned", uapi::QueueCreate { ring_va: RINGS + 128, ..good }),
        ("address beyond the space", uapi::QueueCreate { ring_va: end, ..good }),
        ("ring over the space's end", uapi::QueueCreate { ring_va: end - PAGE, ring_size: 2 * PAGE, ..good }),
        ("ring that wraps", uapi::QueueCreate { ring_va: u64::MAX - 255, ..good }),
        ("no size", uapi::QueueCreate { ring_size: 0, ..good }),
        ("size too small", uapi::QueueCreate { ring_size: 2048, ..good }),
        ("size no power of two", uapi::QueueCreate { ring_size: 3 * PAGE, ..good }),
        ("size too large", uapi::QueueCreate { ring_size: 32 << 20, ..good }),
        ("pointer not aligned", uapi::QueueCreate { rptr_va: DATA + 4, ..good }),
        ("pointer beyond the space", uapi::QueueCreate { rptr_va: end, ..good }),
    ];
    for (what, mut arg) in wrong {
        refused(what, device.queue_raw(&mut arg), &[Errno::INVAL])?;
    }
    for flags in [4, u32::MAX] {
        refused("configuration flags", device.configure(flags), &[Errno::INVAL])?;
    }
    refused("faults without retries", device.next_fault(Duration::ZERO), &[Errno::INVAL])?;
    for id in [0, 1, 5, u32::MAX] {
        refused(
            "kick of no queue",
            device.kick_raw(&mut uapi::QueueKick { id, ..Default::default() }),
            &[Errno::NOENT],
        )?;
        refused("end of no queue", device.end_queue(id), &[Errno::NOENT])?;
        refused("info of no queue", device.queue_info(id), &[Errno::NOENT])?;
    }
    let queue = queue(&device, 0, 0)?;
    let kick = uapi::QueueKick { id: queue.id(), ..Default::default() };
    refused("kick flags", device.kick_raw(&mut uapi::QueueKick { flags: 2, ..kick }), &[Errno::INVAL])?;
    refused("odd write pointer", device.kick_raw(&mut uapi::QueueKick { wptr: 2, ..kick }), &[Errno::INVAL])?;
    same("queues left", device.param(uapi::PARAM_FREE_QUEUES)?, 3)
}

fn queue_of_another_is_out_of_reach(ctx: &Ctx) -> Result<()> {
    let mut witness = Witness::new(ctx, 0)?;
    let other = ctx.device()?;
    let own = queue(&other, 1, 0)?;
    let id = witness.queue.id();
    for flags in [0, uapi::QUEUE_RESET] {
        refused("kick", other.kick_raw(&mut uapi::QueueKick { id, flags, wptr: 64 }), &[Errno::NOENT])?;
    }
    refused("end", other.end_queue(id), &[Errno::NOENT])?;
    refused("info", other.queue_info(id), &[Errno::NOENT])?;
    drop(own);
    witness.works()
}

/// A queue stops; others of the same instance and the kernel's rings go on; a reset brings it back behind what was there.
fn stops_alone(ctx: &Ctx, engine: u32, cause: u32, wrong: impl FnOnce(&mut Queue) -> Result<()>) -> Result<Queue> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    let mut queue = queue(&device, engine, 0)?;
    let mut beside = [Witness::new(ctx, engine)?, Witness::new(ctx, 1 - engine)?];
    queue.run(&fence(DATA, 1))?;
    drained(&queue)?;
    let before = queue.wptr();
    let expected = ExpectErrors::begin(ctx);
    wrong(&mut queue)?;
    stands(&queue, uapi::QUEUE_STOPPED, cause)?;
    drop(expected);
    same("where it stopped", queue.info()?.rptr, before)?;
    for witness in &mut beside {
        witness.works()?;
    }
    kernel_rings_work(ctx)?;
    // More of the same does not start it.
    queue.run(&fence(DATA, 2))?;
    stands(&queue, uapi::QUEUE_STOPPED, cause)?;
    queue.reset()?;
    queue.run(&fence(DATA + 8, 3))?;
    drained(&queue)?;
    same("what it wrote before, while and after it stood", (map.load(0), map.load(8)), (1, 3))?;
    for witness in &mut beside {
        witness.works()?;
    }
    Ok(queue)
}

fn refused_packet_stops_its_queue_alone(ctx: &Ctx, engine: u32) -> Result<()> {
    stops_alone(ctx, engine, uapi::QUEUE_CAUSE_PACKET, |queue| {
        let mut ib = Ib::new();
        ib.raw(0xff);
        Ok(queue.run(&ib)?)
    })?;
    Ok(())
}

fn fault_stops_its_queue_alone(ctx: &Ctx, engine: u32) -> Result<()> {
    let va = DATA + (1 << 33);
    let mut teller = None;
    stops_alone(ctx, engine, uapi::QUEUE_CAUSE_FAULT, |queue| {
        queue.run(&fence(va + 16, 1))?;
        teller = Some(queue.device().clone());
        Ok(())
    })?;
    let fault = teller.context("no client")?.fault()?.context("no fault is told")?;
    same("the fault told", (fault.va, fault.count, fault.write), (va, 1, 1))
}

fn senseless_pointer_stops_its_queue_alone(ctx: &Ctx, engine: u32) -> Result<()> {
    stops_alone(ctx, engine, uapi::QUEUE_CAUSE_PACKET, |queue| {
        let wptr = queue.wptr() + (1 << 40);
        Ok(queue.device().kick_raw(&mut uapi::QueueKick { id: queue.id(), flags: 0, wptr })?)
    })?;
    Ok(())
}

fn endless(va: u64) -> Ib {
    let poll = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
    let mut ib = Ib::new();
    ib.poll_memory(Place::Raw(va), poll);
    ib
}

fn hung_queue_is_reset_alone(ctx: &Ctx, engine: u32) -> Result<()> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    let (mut hung, mut sibling) = (queue(&device, engine, 0)?, queue(&device, engine, 1)?);
    let mut ib = endless(DATA + 64);
    ib.fence(Place::Raw(DATA), 1);
    hung.run(&ib)?;
    for round in 0..3 {
        // In the same space, beside it, and in the kernel's rings.
        sibling.run(&fence(DATA + 16, round))?;
        drained(&sibling)?;
        same("what the sibling wrote", map.load(16), round.into())?;
        kernel_rings_work(ctx)?;
    }
    let info = hung.info()?;
    same("the hung one", (info.state, info.rptr), (uapi::QUEUE_RUNNING, 0))?;
    hung.reset()?;
    map.store(64, 1);
    hung.run(&fence(DATA + 8, 2))?;
    drained(&hung)?;
    same("what was dropped, and what came after", (map.load(0), map.load(8)), (0, 2))?;
    sibling.run(&fence(DATA + 16, 9))?;
    drained(&sibling)?;
    same("what the sibling wrote", map.load(16), 9)
}

fn registers_are_out_of_reach(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let scratch = uvm_spec::nbio::BIOS_SCRATCH.offset;
    let before = device.reg(scratch)?;
    let mut queue = queue(&device, 0, 0)?;
    let mut ib = Ib::new();
    ib.register(scratch, !before, 0xf);
    queue.run(&ib)?;
    stands(&queue, uapi::QUEUE_STOPPED, uapi::QUEUE_CAUSE_PACKET)?;
    same("the register", device.reg(scratch)?, before)
}

fn ended_queue_touches_nothing_more(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let map = page(&device, DATA)?.map()?;
    for engine in 0..2 {
        let mut queue = queue(&device, engine, u64::from(engine))?;
        let mut ib = endless(DATA + 64);
        ib.fence(Place::Raw(DATA), 1);
        queue.run(&ib)?;
        same("what it waits for", queue.info()?.rptr, 0)?;
        drop(queue);
        map.store(64, 1);
        std::thread::sleep(GLANCE);
        same("what it would have written", map.load(0), 0)?;
        map.store(64, 0);
    }
    Ok(())
}

/// No fence holds a buffer for a queue: its accesses wait while the buffer is on its way, and none is lost.
fn buffer_moves_under_a_queue(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let bo = page(&device, DATA)?;
    let mut queue = Queue::new(&device, 0, RINGS, 1 << 20)?;
    let add = Atomic { op: atomic::ADD | atomic::BITS64 | atomic::NO_RETURN, source: 1, compare: 0 };
    let mut ib = Ib::new();
    for _ in 0..1000 {
        ib.atomic(Place::Raw(DATA + 24), add);
    }
    let mut sum = 0;
    for round in 0..40_u32 {
        if queue.wptr() - queue.info()?.rptr < 1 << 19 {
            queue.run(&ib)?;
            sum += 1000;
        }
        bo.move_to(rng.pick(&Domain::ALL), 1)?;
        ensure!(queue.info()?.state != uapi::QUEUE_STOPPED, "round {round}: the queue stopped");
    }
    drained(&queue)?;
    same("additions", bo.map()?.load(24), sum)?;
    // The ring and its pointer move like anything else.
    for domain in [Domain::Vram, Domain::Gtt, Domain::Vram] {
        queue.run(&fence(DATA, 5))?;
        queue.bo().move_to(domain, 1)?;
        drained(&queue)?;
        same("the pointer in memory", eventually(PATIENCE, || Ok(queue.written_back() == queue.wptr()))?, true)?;
    }
    // And afterwards a wrong access fails as ever.
    let expected = ExpectErrors::begin(ctx);
    queue.run(&fence(DATA + (1 << 30), 1))?;
    stands(&queue, uapi::QUEUE_STOPPED, uapi::QUEUE_CAUSE_FAULT)?;
    drop(expected);
    Ok(())
}

fn reserved_vmids_leave_two_for_all_others(ctx: &Ctx) -> Result<()> {
    // Of fifteen.
    let holders = (0..13).map(|_| ctx.device()).collect::<Result<Vec<_>>>()?;
    for (n, device) in holders.iter().enumerate() {
        device.configure(uapi::VM_CONFIG_RESERVE_VMID).with_context(|| format!("reservation {n}"))?;
        device.configure(uapi::VM_CONFIG_RESERVE_VMID).context("a second time")?;
    }
    let late = ctx.device()?;
    refused("one more", late.configure(uapi::VM_CONFIG_RESERVE_VMID), &[Errno::NOSPC])?;
    let mut arg = uapi::QueueCreate { ring_va: RINGS, ring_size: PAGE, ..Default::default() };
    refused("a queue", late.queue_raw(&mut arg), &[Errno::NOSPC])?;
    same("free queues", late.param(uapi::PARAM_FREE_QUEUES)?, 4)?;
    // All others share two, and those who have their own use it.
    super::vmid::twelve_processes_keep_apart(ctx)?;
    let mut own = queue(&holders[5], 0, 0)?;
    own.run(Ib::new().nop(2))?;
    drained(&own)?;
    drop(own);
    // One gives it back in words, one by going.
    holders[3].configure(0)?;
    queue(&late, 0, 0)?;
    late.configure(uapi::VM_CONFIG_RESERVE_VMID)?;
    refused("one more again", ctx.device()?.configure(uapi::VM_CONFIG_RESERVE_VMID), &[Errno::NOSPC])?;
    drop(holders);
    ctx.device()?.configure(uapi::VM_CONFIG_RESERVE_VMID)?;
    Ok(())
}

fn queue_is_had_among_busy_processes(ctx: &Ctx) -> Result<()> {
    super::vmid::while_busy(ctx, 24, || {
        for engine in [0, 1, 0] {
            Witness::new(ctx, engine)?.works()?;
        }
        Ok(())
    })
}

/// Entry point of a worker: makes two queues and a submission that never end, says so, and waits for its end.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    let [config] = args else { bail!("a worker takes a configuration") };
    let device = Device::open()?;
    device.configure(config.parse()?)?;
    let (_flag, _data) = (page(&device, DATA)?, Bo::new(&device, 64 * PAGE, Domain::Vram)?);
    let mut queues = [queue(&device, 0, 0)?, queue(&device, 1, 1)?];
    for queue in &mut queues {
        let mut ib = endless(DATA);
        if config != "0" {
            // Waits for a page of its own; all workers for the same.
            ib = fence(DATA + (1 << 30), 1);
        }
        queue.run(&ib)?;
    }
    let space = Space::new(&device, 0x10_0000, PAGE)?;
    let done = crate::drm::Syncobj::new(&device)?;
    space.submit(0, &if config == "0" { endless(DATA) } else { fence(DATA + (1 << 31), 1) }, &done)?;
    std::thread::sleep(GLANCE);
    println!("ready");
    std::io::stdout().flush()?;
    std::thread::sleep(2 * PATIENCE);
    bail!("nobody killed it")
}

/// Starts a worker and waits until it says that it is ready.
pub fn doomed(config: u32) -> Result<Child> {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new("/proc/self/exe")
        .args(["uvm-test", WORKER, &config.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a worker")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("a worker without output")?).read_line(&mut line)?;
    ensure!(line == "ready\n", "a worker did not get ready: {line:?}");
    Ok(child)
}

fn killed_process_leaves_no_queue_behind(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = || Ok((device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_FREE_QUEUES)?));
    let before = settled(used)?;
    // The submission that never ends is ended by its timeout.
    let _expected = ExpectErrors::begin(ctx);
    for _ in 0..3 {
        let mut child = doomed(0)?;
        same("free queues meanwhile", used()?.1, 2)?;
        child.kill()?;
        child.wait()?;
        let mut witnesses =
            [Witness::new(ctx, 0)?, Witness::new(ctx, 0)?, Witness::new(ctx, 1)?, Witness::new(ctx, 1)?];
        for witness in &mut witnesses {
            witness.works()?;
        }
    }
    ensure!(
        eventually(PATIENCE, || Ok(used()? == before))?,
        "VRAM and queues: expected {before:?}, seen {:?}",
        used()?
    );
    kernel_rings_work(ctx)
}
