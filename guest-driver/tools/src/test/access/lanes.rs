// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Programs run, and their lanes wait for pages one by one.

use std::collections::BTreeSet;

use anyhow::{ensure, Context, Result};
use uvm_spec::access::ACCESS;
use uvm_spec::{access, uapi};

use super::{client, counted, fence, numbers, page_a_lane, queue, run};
use crate::drm::{Bo, Domain, RW};
use crate::test::case::{content, eventually, same, Ctx, PATIENCE};
use crate::test::queues::{drained, page, stands, DATA, FAR, PAGE};
use crate::uvm::program::{Operand, Program};

pub fn program_runs_and_fence_and_pointer_follow(ctx: &Ctx) -> Result<()> {
    let device = client(ctx)?;
    let bo = Bo::new(&device, 16 * PAGE, Domain::Vram)?;
    device.bind(DATA, &bo, 0, bo.size(), RW)?;
    let map = page(&device, DATA + FAR)?.map()?;
    let mut queue = queue(&device, 0)?;
    for round in 1..=20 {
        let dwords = 16 * 1024;
        run(&mut queue, &numbers(DATA, dwords, round).packet(64, DATA + FAR + 8))?;
        run(&mut queue, &fence(DATA + FAR, u32::try_from(round)?)?)?;
        ensure!(eventually(PATIENCE, || Ok(map.load(0) == round))?, "the fence is not written");
        counted("what the program wrote", &content(&bo, 4 * dwords as usize)?, u32::try_from(round)?)?;
        let n = u64::from(dwords);
        same("the sum", map.load(8), n * (n - 1) / 2 + n * round)?;
        drained(&queue)?;
    }
    same("the pointer in memory", eventually(PATIENCE, || Ok(queue.written_back() == queue.wptr()))?, true)
}

/// LANES of the queue: at work, and waiting. Which of the engine's queues it is, its VMID tells.
fn lanes(device: &crate::drm::Device, vmid: u32) -> Result<(u32, u32)> {
    let mut seen = (0, 0);
    for n in 0..access::QUEUES {
        let control = device.reg(ACCESS.index(&access::RB_CNTL, n))?;
        if access::RB_CNTL::RB_VMID.get(control) == vmid && access::RB_CNTL::RB_ENABLE.is_set(control) {
            let lanes = device.reg(ACCESS.index(&access::LANES, n))?;
            seen = (access::LANES::BUSY.get(lanes), access::LANES::WAITING.get(lanes));
        }
    }
    Ok(seen)
}

/// None of the pages is there: each lane's fault is told, and the page of one lets that one go on.
pub fn each_lane_waits_for_a_page_of_its_own(ctx: &Ctx) -> Result<()> {
    let device = client(ctx)?;
    device.configure(uapi::VM_CONFIG_RETRY)?;
    let map = page(&device, DATA + FAR)?.map()?;
    let mut queue = queue(&device, 0)?;
    let bo = Bo::new(&device, 12 * PAGE, Domain::Vram)?;
    run(&mut queue, &page_a_lane(12, 5).packet(12, 0))?;
    run(&mut queue, &fence(DATA + FAR, 1)?)?;
    stands(&queue, uapi::QUEUE_PARKED, 0)?;
    let vmid = queue.info()?.vmid;
    ensure!(eventually(PATIENCE, || Ok(lanes(&device, vmid)? == (12, 12)))?, "lanes: {:?}", lanes(&device, vmid)?);
    let mut told = BTreeSet::new();
    for left in (0..12).rev() {
        let fault = device.next_fault(PATIENCE)?.context("no fault is told")?;
        same("the fault is of a write", fault.write, 1)?;
        ensure!(told.insert(fault.va), "{:#x} is told twice", fault.va);
        ensure!((DATA..DATA + 12 * PAGE).contains(&fault.va), "a fault at {:#x}", fault.va);
        same("the fence meanwhile", map.load(0), 0)?;
        device.bind(fault.va, &bo, fault.va - DATA, PAGE, RW)?;
        let gone = eventually(PATIENCE, || Ok(lanes(&device, vmid)?.0 == left))?;
        ensure!(gone, "the lane of {:#x} does not go on: {:?}", fault.va, lanes(&device, vmid)?);
    }
    drained(&queue)?;
    same("the fence", map.load(0), 1)?;
    let bytes = content(&bo, 12 * 4096)?;
    for page in bytes.chunks_exact(4096) {
        same("what a lane added", page.first_chunk(), Some(&5_u64.to_le_bytes()))?;
    }
    ensure!(device.fault()?.is_none(), "a fault is told as fatal");
    Ok(())
}

/// Two queues of as many lanes as there may be, behind what else waits in the same address space.
pub fn more_lanes_than_the_device_can_tell_of_at_once(ctx: &Ctx) -> Result<()> {
    let device = client(ctx)?;
    device.configure(uapi::VM_CONFIG_RETRY)?;
    let count = u32::try_from(3 * u64::from(access::MAX_LANES))?;
    let bo = Bo::new(&device, u64::from(count) * PAGE, Domain::Gtt)?;
    let mut queues = (0..3).map(|n| queue(&device, n)).collect::<Result<Vec<_>>>()?;
    // Twice: the second time all pages are there.
    for (n, queue) in (0_u64..).zip(&mut queues) {
        let mut program = page_a_lane(access::MAX_LANES, 3);
        if let Program::Nest { d, .. } = &mut program {
            *d = Operand::affine(DATA + n * u64::from(access::MAX_LANES) * PAGE, 0, [1024, 0, 0]);
        }
        run(queue, &program.packet(access::MAX_LANES, 0))?;
    }
    let mut told = BTreeSet::new();
    while told.len() < count as usize {
        let fault = device.next_fault(PATIENCE)?.context("no fault is told")?;
        ensure!(told.insert(fault.va), "{:#x} is told twice", fault.va);
        device.bind(fault.va, &bo, fault.va - DATA, PAGE, RW)?;
    }
    queues.iter().try_for_each(drained)?;
    run(queues.first_mut().context("a queue")?, &page_a_lane(count, 4).packet(64, 0))?;
    queues.iter().try_for_each(drained)?;
    for page in content(&bo, count as usize * 4096)?.chunks_exact(4096) {
        same("what lanes added", page.first_chunk(), Some(&7_u64.to_le_bytes()))?;
    }
    Ok(())
}

/// No fence holds a buffer for a queue: lanes wait while it is on its way, and no addition is lost.
pub fn buffer_moves_under_a_program(ctx: &Ctx) -> Result<()> {
    const PROGRAMS: u32 = 64;
    let device = client(ctx)?;
    let mut rng = ctx.rng();
    let bo = Bo::new(&device, 16 * PAGE, Domain::Vram)?;
    device.bind(DATA, &bo, 0, bo.size(), RW)?;
    let mut queue = queue(&device, 0)?;
    let waited = || device.param(uapi::PARAM_RETRY_FAULTS);
    let (mut sum, mut round, before) = (0_u64, 0, waited()?);
    while round < 40 || (waited()? == before && round < 200) {
        // A device that is as fast as this never gets behind.
        for _ in 0..PROGRAMS {
            if queue.wptr() - queue.info()?.rptr >= 1 << 11 {
                break;
            }
            run(&mut queue, &page_a_lane(16, 1).packet(16, 0))?;
            sum += 1;
        }
        bo.move_to(rng.pick(&Domain::GPU), 1)?;
        ensure!(queue.info()?.state != uapi::QUEUE_STOPPED, "round {round}: the queue stopped");
        round += 1;
    }
    ctx.note(format_args!("{} accesses waited in {round} moves under {sum} programs", waited()? - before));
    drained(&queue)?;
    for page in content(&bo, 16 * 4096)?.chunks_exact(4096) {
        same("additions", page.first_chunk(), Some(&sum.to_le_bytes()))?;
    }
    Ok(())
}
