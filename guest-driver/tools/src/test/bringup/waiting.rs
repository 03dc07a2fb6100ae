// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Packets that wait, time stamps, and interrupts.

use std::time::Duration;

use anyhow::{ensure, Result};
use uvm_spec::packet::{atomic, poll_func, POLL_FOREVER};
use uvm_spec::{nbio, uapi};

use crate::drm::{Bo, Device, Domain, FenceState, Syncobj};
use crate::ib::{Atomic, FillSize, Ib, Place, Poll};
use crate::test::case::{complete, eventually, same, Ctx, GLANCE, PATIENCE};
use crate::test::purpose::OnPurpose;

/// Waits for ever for `value`.
fn until(value: u32) -> Poll {
    Poll { func: poll_func::EQUAL, reference: value, mask: u32::MAX, retry: POLL_FOREVER }
}

pub fn timestamps_grow(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let at = |offset| Place::Bo(bo.handle(), offset);
    let mut ib = Ib::new();
    ib.timestamp(at(0)).global_timestamp(at(8)).timestamp(at(16)).global_timestamp(at(24));
    complete(&device, ring, &ib)?;
    std::thread::sleep(Duration::from_millis(20));
    let mut later = Ib::new();
    later.timestamp(at(32)).global_timestamp(at(40));
    complete(&device, ring, &later)?;
    let map = bo.map()?;
    for (what, [first, second, third]) in [("engine", [0, 16, 32]), ("reference", [8, 24, 40])] {
        let [a, b, c] = [first, second, third].map(|offset| map.load(offset));
        ensure!(a != 0 && a <= b && b < c, "{what} clock: {a}, {b}, {c}");
        // 100 MHz: the pause took 20 ms at least, and hardly a minute.
        ensure!((1_500_000..6_000_000_000).contains(&(c - b)), "{what} clock: {} ticks over a pause of 20 ms", c - b);
    }
    Ok(())
}

pub fn timestamp_can_be_set(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let value = 0x0123_4567_8000_0000;
    let mut ib = Ib::new();
    ib.global_timestamp(Place::Bo(bo.handle(), 8)).set_timestamp(value).timestamp(Place::Bo(bo.handle(), 0));
    ib.global_timestamp(Place::Bo(bo.handle(), 16));
    complete(&device, ring, &ib)?;
    let map = bo.map()?;
    let seen = map.load(0);
    // It was read at once after it was set, so less than a second later by its own clock.
    ensure!((value..value + 100_000_000).contains(&seen), "expected a little over {value:#x}, seen {seen:#x}");
    ensure!(map.load(8) <= map.load(16) && map.load(16) < value, "the reference clock was set, too");
    Ok(())
}

/// A submission that waits, then writes 1 at 8; and `release`, which lets it go.
fn waits_for(
    device: &Device,
    ring: u32,
    bo: &Bo,
    wait: impl FnOnce(&mut Ib),
    release: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let map = bo.map()?;
    let mut ib = Ib::unordered();
    wait(&mut ib);
    ib.fence(Place::Bo(bo.handle(), 8), 1);
    let done = Syncobj::new(device)?;
    device.submit(ring, &ib, &[], &[&done])?;
    std::thread::sleep(GLANCE);
    let early = (map.load(8), done.state()?);
    release()?;
    done.wait(PATIENCE)?;
    same("what it had done before the release", early, (0, FenceState::Active))?;
    same("its fence", done.state()?, FenceState::Done)?;
    same("what it did after the release", map.load(8), 1)
}

pub fn poll_memory_waits(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    for domain in Domain::GPU {
        let bo = Bo::new(&device, 4096, domain)?;
        let map = bo.map()?;
        let wait = |ib: &mut Ib| {
            ib.poll_memory(Place::Bo(bo.handle(), 0), until(0xcafe));
        };
        waits_for(&device, ring, &bo, wait, || {
            map.store(0, 0xcafe);
            Ok(())
        })?;
    }
    Ok(())
}

pub fn poll_register_waits(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let index = nbio::NBIO.index(&nbio::BIOS_SCRATCH, 8 + ring);
    device.set_reg(index, 0)?;
    let masked = Poll { mask: 0x00ff_0000, ..until(0x0042_0000) };
    let wait = |ib: &mut Ib| {
        ib.poll_register(index, masked);
    };
    waits_for(&device, ring, &bo, wait, || Ok(device.set_reg(index, 0x1142_2233)?))?;
    Ok(device.set_reg(index, 0)?)
}

pub fn poll_functions_compare(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let at = Place::Bo(bo.handle(), 0);
    let mut ib = Ib::new();
    ib.fence(at, 0x50);
    // Each comparison holds for 0x50, so that none may wait; a wrong one would, until the driver ends it.
    for (func, reference) in [
        (poll_func::ALWAYS, 0),
        (poll_func::LESS, 0x51),
        (poll_func::LESS_EQUAL, 0x50),
        (poll_func::EQUAL, 0x50),
        (poll_func::NOT_EQUAL, 0x51),
        (poll_func::GREATER_EQUAL, 0x50),
        (poll_func::GREATER, 0x4f),
    ] {
        ib.poll_memory(at, Poll { func, reference, mask: 0xff, retry: POLL_FOREVER });
    }
    ib.fence(Place::Bo(bo.handle(), 8), 1);
    complete(&device, ring, &ib)?;
    same("the fence after all polls", bo.map()?.load(8), 1)
}

pub fn poll_gives_up_after_its_retries(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let interrupts = device.param(uapi::PARAM_INTERRUPTS)?;
    let mut ib = Ib::new();
    ib.poll_memory(Place::Bo(bo.handle(), 0), Poll { retry: 5, ..until(1) }).fence(Place::Bo(bo.handle(), 8), 1);
    let _expected = crate::test::kmsg::ExpectErrors::begin(ctx);
    complete(&device, ring, &ib)?;
    same("the fence after the poll", bo.map()?.load(8), 1)?;
    // One vector tells of the poll, one of the submission's end.
    let enough = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_INTERRUPTS)? >= interrupts + 2))?;
    ensure!(enough, "expected two interrupts, seen {}", device.param(uapi::PARAM_INTERRUPTS)? - interrupts);
    Ok(())
}

pub fn waiting_ring_leaves_the_other_running(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let at = Place::Bo(bo.handle(), 0);
    let wait = |ib: &mut Ib| {
        ib.poll_memory(at, until(7));
    };
    waits_for(&device, ring, &bo, wait, || {
        let mut other = Ib::unordered();
        other.fence(at, 7);
        complete(&device, 1 - ring, &other)
    })
}

pub fn traps_interrupt(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let before = device.param(uapi::PARAM_INTERRUPTS)?;
    let mut ib = Ib::new();
    for context in 0..20 {
        ib.trap(context);
    }
    complete(&device, ring, &ib)?;
    // Every vector is one more, however few wake-ups carry them.
    let enough = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_INTERRUPTS)? > before + 20))?;
    ensure!(enough, "expected 21 interrupts, seen {}", device.param(uapi::PARAM_INTERRUPTS)? - before);
    Ok(())
}

pub fn fences_are_counted(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let (fences, interrupts) = (device.param(uapi::PARAM_FENCES)?, device.param(uapi::PARAM_INTERRUPTS)?);
    let mut ib = Ib::new();
    ib.nop(0);
    for _ in 0..10 {
        complete(&device, ring, &ib)?;
    }
    let enough = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_FENCES)? >= fences + 10))?;
    ensure!(enough, "expected 10 fences, seen {}", device.param(uapi::PARAM_FENCES)? - fences);
    let interrupts = device.param(uapi::PARAM_INTERRUPTS)? - interrupts;
    ensure!(interrupts >= 1, "ten submissions ended without an interrupt");
    Ok(())
}

pub fn interrupt_ring_overflows_and_goes_on(ctx: &Ctx, ring: u32) -> Result<()> {
    let _wrong = OnPurpose::begin();
    let device = ctx.device()?;
    // More vectors than the interrupt ring can hold, in one go: some are overwritten before the driver reads them.
    let mut ib = Ib::new();
    while ib.has_room(2) {
        ib.trap(0);
    }
    let _expected = crate::test::kmsg::ExpectErrors::begin(ctx);
    for round in 0..3 {
        complete(&device, ring, &ib).map_err(|error| error.context(format!("storm {round}")))?;
    }
    // A fence whose interrupt was lost would show here: each of these ends by its own.
    let start = std::time::Instant::now();
    let mut nop = Ib::new();
    nop.nop(0);
    for n in 0..50 {
        complete(&device, n % 2, &nop).map_err(|error| error.context(format!("submission {n} after the storm")))?;
    }
    ensure!(start.elapsed() < PATIENCE, "50 submissions after the storm took {:?}", start.elapsed());
    Ok(())
}

pub fn many_submissions_in_flight(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let count = 600_u32;
    let bo = Bo::new(&device, 1 << 16, Domain::Vram)?;
    // All of them queue up behind one that waits; then they run in the order they came in.
    let mut gate = Ib::unordered();
    gate.poll_memory(Place::Bo(bo.handle(), 0), until(1));
    device.submit(ring, &gate, &[], &[])?;
    let mut last = None;
    for n in 1..=count {
        let mut ib = Ib::unordered();
        let slot = Place::Bo(bo.handle(), 64 + 8 * u64::from(n));
        // What the one before left, plus one.
        ib.copy(Place::Bo(bo.handle(), 8), slot, 8);
        let one = Atomic { op: atomic::ADD, source: 1, compare: 0 };
        ib.atomic(Place::Bo(bo.handle(), 8), one);
        let done = Syncobj::new(&device)?;
        device.submit(ring, &ib, &[], &[&done])?;
        last = Some(done);
    }
    let map = bo.map()?;
    same("what ran before the first was let go", map.load(8), 0)?;
    map.store(0, 1);
    if let Some(last) = last {
        last.wait(PATIENCE)?;
        same("state of the last", last.state()?, FenceState::Done)?;
    }
    for n in 1..=count {
        let slot = usize::try_from(64 + 8 * u64::from(n))?;
        same(format_args!("turn of submission {n}"), map.load(slot), u64::from(n) - 1)?;
    }
    same("how many ran", map.load(8), u64::from(count))
}

pub fn device_counts_what_it_does(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 64 << 10, Domain::Vram)?;
    let params = [uapi::PARAM_DEVICE_PACKETS, uapi::PARAM_DEVICE_BYTES, uapi::PARAM_DEVICE_INTERRUPTS];
    let count = |packets: u32| -> Result<[u64; 3]> {
        let mut ib = Ib::new();
        (0..packets).for_each(|_| {
            ib.fill(Place::Bo(bo.handle(), 0), 0, FillSize::Dword, 64 << 10).trap(1);
        });
        let read = || -> Result<Vec<u64>> { Ok(params.iter().map(|&p| device.param(p)).collect::<Result<_, _>>()?) };
        let before = read()?;
        complete(&device, ring, &ib)?;
        let after = read()?;
        let mut deltas = [0; 3];
        deltas.iter_mut().zip(after.iter().zip(&before)).for_each(|(delta, (after, before))| *delta = after - before);
        Ok(deltas)
    };
    let (few, many) = (count(4)?, count(36)?);
    // What the driver adds of its own is the same both times.
    let more = |n: usize| many[n].checked_sub(few[n]);
    same("bytes of 4 fills", few[1], 4 << 16)?;
    same("bytes of 32 fills more", more(1), Some(32 << 16))?;
    same("interrupts of 32 traps more", more(2), Some(32))?;
    // The driver pads to eight dwords: up to seven packets that do nothing.
    let packets = more(0).unwrap_or(0);
    ensure!((57..=71).contains(&packets), "expected 64 packets more, give or take the padding; seen {packets}");
    Ok(())
}
