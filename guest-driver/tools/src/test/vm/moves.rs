// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Bound buffers that move: their addresses stay.

use std::sync::mpsc;

use anyhow::{ensure, Context, Result};
use uvm_spec::packet::poll_func;
use uvm_spec::uapi;

use super::{complete, copy, far, space, BASE, PACKETS, PAGE};
use crate::drm::{Bo, Device, Domain, FenceState, Space, Syncobj, RW};
use crate::ib::{Ib, Place, Poll};
use crate::test::beside::Beside;
use crate::test::case::{content, filled, same, same_bytes, settled, stamps, Ctx, GLANCE, PATIENCE};

pub fn bound_buffer_goes_round(ctx: &Ctx, ring: u32) -> Result<()> {
    let mut rng = ctx.rng();
    let (space, other) = (space(ctx)?, space(ctx)?);
    let size: u64 = 40 * PAGE;
    let mut model = rng.bytes(usize::try_from(size)?);
    let bo = filled(space.device(), Domain::System, &model)?;
    let shared = Bo::import(other.device(), &bo.export()?)?;
    let target = Bo::new(other.device(), size, Domain::Gtt)?;
    // In two spaces, in one of them twice and in part.
    let (part, elsewhere) = (far(space.device(), 5)?, far(space.device(), 1)?);
    space.device().bind(BASE, &bo, 0, size, RW)?;
    space.device().bind(part, &bo, 10 * PAGE, 20 * PAGE, RW)?;
    other.device().bind(elsewhere, &shared, 0, size, uapi::VM_READ)?;
    other.device().bind(BASE, &target, 0, size, RW)?;
    for round in 0..12_u32 {
        bo.move_to(rng.pick(&Domain::ALL), ring)?;
        let (at, value) = (8 * rng.below(20 * 512), rng.next32());
        let mut ib = Ib::new();
        ib.fence(Place::Raw(part + at), value);
        complete(&space, ring, &ib)?;
        let place = usize::try_from(10 * PAGE + at)?;
        model[place..place + 4].copy_from_slice(&value.to_le_bytes());
        copy(&other, ring, elsewhere, BASE, size)?;
        same_bytes(format_args!("round {round}"), &content(&target, model.len())?, &model)?;
    }
    same_bytes("through the CPU", &content(&bo, model.len())?, &model)
}

pub fn system_buffer_is_mapped_where_it_is(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let device = space.device();
    let gtt = settled(|| Ok(device.param(uapi::PARAM_GTT_USED)?))?;
    let bo = Bo::new(device, 16 * PAGE, Domain::System)?;
    device.bind(BASE, &bo, 0, 16 * PAGE, RW)?;
    let mut ib = Ib::new();
    ib.fence(Place::Raw(BASE + 9 * PAGE), 77);
    complete(&space, 0, &ib)?;
    same("what the CPU reads", bo.map()?.load(9 * 4096), 77)?;
    same("the domain afterwards", bo.domain()?, Domain::System)?;
    same("GTT in use", device.param(uapi::PARAM_GTT_USED)?, gtt)
}

pub fn move_waits_for_what_runs_in_the_space(ctx: &Ctx) -> Result<()> {
    let space = space(ctx)?;
    let device = space.device();
    let (flag, bo) = (Bo::new(device, PAGE, Domain::Gtt)?, filled(device, Domain::Vram, &stamps(1, 4096))?);
    device.bind(BASE, &flag, 0, PAGE, RW)?;
    device.bind(BASE + PAGE, &bo, 0, PAGE, RW)?;
    let poll = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: uvm_spec::packet::POLL_FOREVER };
    let mut ib = Ib::new();
    ib.poll_memory(Place::Raw(BASE), poll).fence(Place::Raw(BASE + PAGE), 5);
    let done = Syncobj::new(device)?;
    // Neither buffer is named: all that is bound is held.
    space.submit(0, &ib, &done)?;
    std::thread::sleep(GLANCE);
    ensure!(bo.wait(0).is_err(), "the buffer is idle while the submission runs");
    flag.map()?.store(0, 1);
    bo.move_to(Domain::Gtt, 1)?;
    same("how the submission stands after the move", done.state()?, FenceState::Done)?;
    done.wait(PATIENCE)?;
    same("what it wrote", bo.map()?.load(0) & 0xffff_ffff, 5)
}

/// A buffer that is bound while a job runs is held for that job, and not for another one that waits behind its move.
pub fn what_is_bound_beside_a_job_moves_when_the_job_has_ended(_: &Ctx) -> Result<()> {
    let (told, ended) = mpsc::channel();
    // In a thread of its own: who waits for ever would not fail.
    std::thread::spawn(move || told.send(bound_beside_a_job()));
    ended.recv_timeout(PATIENCE).context("they wait for each other")?
}

fn bound_beside_a_job() -> Result<()> {
    let device = &Device::open()?;
    // Room for the packets of each.
    let room = |n: u64| Space::new(device, PACKETS + (n << 16), 1 << 16);
    let (space, behind) = (room(0)?, room(1)?);
    let (flag, bo) = (Bo::new(device, PAGE, Domain::Gtt)?, filled(device, Domain::Vram, &stamps(1, 4096))?);
    device.bind(BASE, &flag, 0, PAGE, RW)?;
    let poll = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: uvm_spec::packet::POLL_FOREVER };
    let mut ib = Ib::new();
    ib.poll_memory(Place::Raw(BASE), poll).fence(Place::Raw(BASE + PAGE), 5);
    let done = Syncobj::new(device)?;
    space.submit(0, &ib, &done)?;
    device.bind(BASE + PAGE, &bo, 0, PAGE, RW)?;
    let shared = bo.export()?;
    let other = std::thread::spawn(move || {
        Ok::<_, anyhow::Error>(Bo::import(&Device::open()?, &shared)?.move_to(Domain::System, 1)?)
    });
    std::thread::sleep(GLANCE);
    ensure!(!other.is_finished(), "the buffer moved while a job may write to it");
    // Waits behind the move, which waits for the first one.
    let map = flag.map()?;
    let first = std::thread::spawn(move || {
        std::thread::sleep(GLANCE);
        map.store(0, 1);
    });
    let mut ib = Ib::new();
    ib.fence(Place::Raw(BASE + PAGE + 8), 6);
    let last = Syncobj::new(device)?;
    behind.submit(1, &ib, &last)?;
    for (thread, syncobj) in [("the first", &done), ("the last", &last)] {
        syncobj.wait(PATIENCE)?;
        same(thread, syncobj.state()?, FenceState::Done)?;
    }
    first.join().ok().context("the thread that lets the first one go")?;
    other.join().ok().context("the thread that moves the buffer")??;
    let map = bo.map()?;
    same("what both wrote", [map.load(0) & 0xffff_ffff, map.load(8) & 0xffff_ffff], [5, 6])
}

/// One client binds pieces of an object here and there and copies them, while another moves it about.
pub fn binds_and_moves_of_one_object_do_not_mix(ctx: &Ctx) -> Result<()> {
    const PAGES: u64 = 32;
    let mut rng = ctx.rng();
    let space = space(ctx)?;
    let device = space.device();
    let data = stamps(52, usize::try_from(PAGES * PAGE)?);
    let bo = filled(device, Domain::System, &data)?;
    let target = Bo::new(device, PAGES * PAGE, Domain::Gtt)?;
    device.bind(BASE, &target, 0, PAGES * PAGE, RW)?;
    let (map, shared) = (target.map()?, bo.export()?);
    let open = move || Ok(Bo::import(&Device::open()?, &shared)?);
    let move_on = |bo: &mut Bo, n: u64| {
        let domain = [Domain::Vram, Domain::Gtt, Domain::Vram, Domain::System][usize::try_from(n % 4)?];
        Ok(bo.move_to(domain, u32::from(n % 2 == 1))?)
    };
    Beside::start(open, move_on, drop).during(ctx, 150, 30, |round| {
        let count = rng.size(PAGES);
        let first = rng.below(PAGES - count + 1);
        let va = far(device, 6)? + rng.below(64) * PAGE;
        device.bind(va, &bo, first * PAGE, count * PAGE, RW | uapi::VM_REPLACE)?;
        copy(&space, u32::from(round % 2 == 1), va, BASE, count * PAGE)?;
        let mut seen = vec![0; usize::try_from(count * PAGE)?];
        map.read(0, &mut seen);
        let from = usize::try_from(first * PAGE)?;
        same_bytes(format_args!("copy {round}"), &seen, &data[from..from + seen.len()])?;
        if rng.below(4) == 0 {
            device.unbind(va, rng.below(count) * PAGE + PAGE)?;
        }
        Ok(())
    })?;
    same_bytes("the object at the end", &content(&bo, data.len())?, &data)
}
