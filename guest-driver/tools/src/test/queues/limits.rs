// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a process may not have, or not now.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use super::{drained, queue, Witness, DATA, PAGE, RINGS};
use crate::ib::Ib;
use crate::test::case::{refused, same, settled, Ctx};
use crate::test::vmid;

pub fn third_queue_of_an_instance_is_refused(ctx: &Ctx) -> Result<()> {
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

pub fn wrong_arguments_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let end = device.param(uapi::PARAM_VM_SIZE)?;
    let good = uapi::QueueCreate { ring_va: RINGS, ring_size: PAGE, ..Default::default() };
    let wrong = [
        ("instance", uapi::QueueCreate { ring: 2, ..good }),
        ("instance far off", uapi::QueueCreate { ring: u32::MAX, ..good }),
        ("flags", uapi::QueueCreate { flags: 1, ..good }),
        ("kind", uapi::QueueCreate { kind: 2, ..good }),
        ("a second access engine", uapi::QueueCreate { kind: uapi::QUEUE_ACCESS, ring: 1, ..good }),
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
    for id in [0, 1, 5, 9, u32::MAX] {
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

pub fn queue_of_another_is_out_of_reach(ctx: &Ctx) -> Result<()> {
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

pub fn reserved_vmids_leave_two_for_all_others(ctx: &Ctx) -> Result<()> {
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
    vmid::twelve_processes_keep_apart(ctx)?;
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

pub fn queue_is_had_among_busy_processes(ctx: &Ctx) -> Result<()> {
    vmid::while_busy(ctx, 24, || {
        for engine in [0, 1, 0] {
            Witness::new(ctx, engine)?.works()?;
        }
        Ok(())
    })
}
