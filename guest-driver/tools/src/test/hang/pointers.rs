// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a ring tells the driver in memory is overwritten, by those who may use VMID 0.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use uvm_spec::packet::{atomic, poll_func};
use uvm_spec::sdma::{self, RB_CNTL, RB_RPTR_ADDR_HI, RB_RPTR_ADDR_LO, RB_WPTR};

use super::{all_is_well, until};
use crate::drm::{Bo, Device, Domain, FenceState, Syncobj};
use crate::ib::{Atomic, Ib, Place, Poll};
use crate::test::case::{complete, same, Ctx, GLANCE, PATIENCE};
use crate::test::kmsg::ExpectErrors;

/// Where the driver keeps a ring's fence number, from its read pointer on, bytes.
const FENCE: u64 = 0x40;

const fn block(ring: u32) -> &'static uvm_spec::Block {
    if ring == 0 {
        &sdma::SDMA0
    } else {
        &sdma::SDMA1
    }
}

/// Where the engine writes the read pointer of its GFX ring back: VMID-0 address.
fn write_back(device: &Device, ring: u32) -> Result<u64> {
    let low = device.reg(block(ring).index(&RB_RPTR_ADDR_LO, 0))? & !3;
    Ok(u64::from(low) | u64::from(device.reg(block(ring).index(&RB_RPTR_ADDR_HI, 0))?) << 32)
}

pub fn overwritten_read_pointer_hurts_nobody(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let place = write_back(&device, ring)?;
    let size = 4 << RB_CNTL::RB_SIZE.get(device.reg(block(ring).index(&RB_CNTL, 0))?);
    let mut rng = ctx.rng();
    for round in 0..12 {
        let wptr = device.reg(block(ring).index(&RB_WPTR, 0))?;
        // Full but for a little, full, more than full, the future, nonsense.
        let value = match round {
            0..4 => wptr.wrapping_sub(size).wrapping_add(16 * round),
            4 => wptr.wrapping_sub(2 * size),
            5 => wptr.wrapping_add(64),
            _ => rng.next32(),
        };
        let mut scribble = Ib::new();
        scribble.write(Place::Raw(place), &[value]);
        complete(&device, 1 - ring, &scribble)?;
        let mut nop = Ib::new();
        nop.nop(0);
        complete(&device, ring, &nop).map_err(|error| error.context(format!("read pointer {value:#x}")))?;
    }
    all_is_well(ctx)
}

pub fn overwritten_fence_ends_nothing_early(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let place = write_back(&device, ring)? + FENCE;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let map = bo.map()?;
    let mut gate = Ib::unordered();
    gate.poll_memory(Place::Bo(bo.handle(), 0), until(7));
    let done = Syncobj::new(&device)?;
    device.submit(ring, &gate, &[], &[&done])?;
    // A number far ahead of all that was given out.
    let mut ahead = Ib::unordered();
    ahead.copy(Place::Raw(place), Place::Bo(bo.handle(), 8), 4);
    complete(&device, 1 - ring, &ahead)?;
    let reached = u32::try_from(map.load(8) & 0xffff_ffff)?;
    let mut scribble = Ib::unordered();
    scribble.write(Place::Raw(place), &[reached.wrapping_add(0x1000)]);
    complete(&device, 1 - ring, &scribble)?;
    std::thread::sleep(GLANCE);
    let early = done.state()?;
    map.store(0, 7);
    done.wait(PATIENCE)?;
    same("its fence before it was let go", early, FenceState::Active)?;
    same("its fence", done.state()?, FenceState::Done)?;
    all_is_well(ctx)
}

/// The number that the ring has just written is set back before the driver may have seen it.
pub fn lost_fence_runs_nothing_twice(ctx: &Ctx, ring: u32) -> Result<()> {
    const ROUNDS: u64 = 2;
    let device = ctx.device()?;
    let place = write_back(&device, ring)? + FENCE;
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let map = bo.map()?;
    let _expected = ExpectErrors::begin(ctx);
    let mut late = 0;
    for round in 1..=ROUNDS {
        let mut look = Ib::unordered();
        look.copy(Place::Raw(place), Place::Bo(bo.handle(), 8), 4);
        complete(&device, 1 - ring, &look)?;
        let before = u32::try_from(map.load(8) & 0xffff_ffff)?;
        // The other ring waits for this one's number to change, and undoes that.
        let mut thief = Ib::unordered();
        let moved = Poll { func: poll_func::NOT_EQUAL, ..until(before) };
        thief.fence(Place::Bo(bo.handle(), 16), u32::try_from(round)?);
        thief.poll_memory(Place::Raw(place), moved).write(Place::Raw(place), &[before]);
        let stolen = Syncobj::new(&device)?;
        device.submit(1 - ring, &thief, &[], &[&stolen])?;
        while map.load(16) != round {
            std::thread::yield_now();
        }
        let mut add = Ib::unordered();
        add.atomic(Place::Bo(bo.handle(), 24), Atomic { op: atomic::ADD, source: 1, compare: 0 });
        let start = Instant::now();
        let state = device.run(ring, &add, PATIENCE)?;
        same("fence of the submission whose number was lost", state, FenceState::Done)?;
        stolen.wait(PATIENCE)?;
        same("fence of the other ring", stolen.state()?, FenceState::Done)?;
        late += u32::from(start.elapsed() > Duration::from_secs(1));
        same("how often it ran", map.load(24), round)?;
    }
    ctx.note(format_args!("{late} of {ROUNDS} numbers were lost to the driver"));
    ensure!(device.param(uvm_spec::uapi::PARAM_RINGS)? == 2, "the rings are gone");
    all_is_well(ctx)
}
