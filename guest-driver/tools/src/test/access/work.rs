// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Workloads, and the memory that both sides name alike.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{ensure, Context, Result};
use uvm_spec::access::{func, update};
use uvm_spec::packet::atomic;
use uvm_spec::uapi;

use super::client;
use crate::drm::{Device, Domain};
use crate::rng::Rng;
use crate::test::case::{same, settled, Ctx, Skip, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::uvm::program::{Operand, Program};
use crate::uvm::workload::{Workload, WORKLOADS};
use crate::uvm::{Advice, Backing, Memory, Uvm, LANES};

const BYTES: u64 = 512 << 10;

fn workload(name: &str) -> Result<&'static Workload> {
    WORKLOADS.iter().find(|w| w.name == name).context("no such workload")
}

/// A workload on buffers in system memory, then in VRAM.
pub fn both(ctx: &Ctx, name: &str) -> Result<()> {
    let workload = workload(name)?;
    let mut rng = ctx.rng();
    for domain in Domain::GPU {
        let uvm = Uvm::open(&client(ctx)?, Backing::Buffers(domain), PATIENCE)?;
        for bytes in [4 << 10, BYTES] {
            let outcome = (workload.run)(&uvm, bytes, rng.next()).with_context(|| format!("{domain} {bytes}"))?;
            ensure!(outcome.checked > 0 && outcome.bytes > 0, "{domain} {bytes}: {outcome:?}");
            ctx.note(format_args!("{domain}: {} results of {} bytes", outcome.checked, outcome.bytes));
        }
        same("faults", uvm.device().fault()?.is_none(), true)?;
    }
    Ok(())
}

/// A process whose memory the device mirrors; skipped where that needs more levels than there are.
fn mirrored(ctx: &Ctx) -> Result<Uvm> {
    let device = client(ctx)?;
    if device.param(uapi::PARAM_LEVELS)? < 4 {
        return Err(Skip("memory is mirrored by spaces of 48 bits only".into()).into());
    }
    Uvm::open(&device, Backing::Mirrored, PATIENCE)
}

/// Plain pointers: no buffer, no bind.
pub fn every_workload_in_memory_of_the_process(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let uvm = mirrored(ctx)?;
    for workload in &WORKLOADS {
        let faults = uvm.device().param(uapi::PARAM_SVM_FAULTS)?;
        let outcome = (workload.run)(&uvm, BYTES / 2, rng.next()).with_context(|| workload.name)?;
        let served = uvm.device().param(uapi::PARAM_SVM_FAULTS)? - faults;
        ctx.note(format_args!("{}: {} results, {served} faults", workload.name, outcome.checked));
        ensure!(outcome.checked > 0 && served > 0, "{}: {outcome:?}, {served} faults", workload.name);
    }
    Ok(())
}

/// What is freed is gone for the device, and new memory at its address is new.
pub fn memory_of_the_process_comes_and_goes(ctx: &Ctx) -> Result<()> {
    let uvm = mirrored(ctx)?;
    let mut seen = BTreeSet::new();
    for round in 0..40_u32 {
        let memory = uvm.alloc(16 << 10)?;
        seen.insert(memory.address());
        same("fresh memory", memory.read(4)?, vec![0; 4])?;
        memory.write(0, &[round; 4096])?;
        let d = Operand::linear(memory.address());
        let add = Program::Nest {
            element: 2,
            func: func::NUMBER,
            update: atomic::ADD,
            reduce: false,
            trips: [4096, 1, 1],
            immediate: 1,
            a: Operand::none(),
            b: Operand::none(),
            d,
        };
        uvm.launch(&[add], LANES)?.wait()?;
        let expected: Vec<u32> = (0..4096).map(|n| n + 1 + round).collect();
        ensure!(memory.read(4096)? == expected, "round {round}: wrong sums");
    }
    ctx.note(format_args!("{} addresses in 40 rounds", seen.len()));
    Ok(())
}

/// What was brought to VRAM is found there, and comes back with what was added.
pub fn prefetched_memory_is_worked_on_in_vram(ctx: &Ctx) -> Result<()> {
    let uvm = mirrored(ctx)?;
    let device = uvm.device();
    let count: u32 = 1 << 18;
    let memory = uvm.alloc(4 * u64::from(count))?;
    let own: Vec<u32> = (0..count).map(|n| n.wrapping_mul(77)).collect();
    let there = || Ok(device.param(uapi::PARAM_DEVMEM_USED)?);
    let before = settled(there)?;
    // What else the process has there, such as its fence, are pages.
    let in_vram = |when: &str, wanted: bool| {
        let bytes = there()?.saturating_sub(before);
        ensure!(
            (bytes >= 4 * u64::from(count)) == wanted && bytes < 6 * u64::from(count),
            "{bytes:#x} bytes in VRAM {when}"
        );
        anyhow::Ok(())
    };
    for round in 1..=3_u32 {
        memory.write(0, &own)?;
        uvm.prefetch(&memory, true)?;
        in_vram("before the program", true)?;
        let (a, none) = (Operand::linear(memory.address()), Operand::none());
        let add = Program::Nest {
            element: 2,
            func: func::MULTIPLY_ADD,
            update: update::STORE,
            reduce: false,
            trips: [count, 1, 1],
            immediate: round.into(),
            a,
            b: none,
            d: a,
        };
        uvm.launch(&[add], LANES)?.wait()?;
        in_vram("after the program", true)?;
        let expected: Vec<u32> = own.iter().map(|n| n.wrapping_mul(round)).collect();
        ensure!(memory.read(own.len())? == expected, "round {round}: wrong products");
        uvm.prefetch(&memory, false)?;
        in_vram("afterwards", false)?;
    }
    Ok(())
}

/// The queue stops, and says where; nobody else's does.
pub fn pointer_to_nothing_ends_the_program(ctx: &Ctx) -> Result<()> {
    let uvm = mirrored(ctx)?;
    let memory = uvm.alloc(4096)?;
    let beyond = memory.address() + 4096;
    let store = |at| Program::store(func::NUMBER, [64, 1, 1], Operand::none(), Operand::none(), Operand::linear(at));
    uvm.launch(&[store(memory.address())], LANES)?.wait()?;
    let expected = ExpectErrors::begin(ctx);
    let ended = uvm.launch(&[store(beyond)], LANES)?.wait();
    drop(expected);
    let error = ended.err().context("a store to the guard page went well")?;
    let text = format!("{error:#}");
    ensure!(text.contains("stopped") && text.contains(&format!("{beyond:#x}")), "{text}");
    let other = mirrored(ctx)?;
    let memory = other.alloc(4096)?;
    other.launch(&[store(memory.address())], LANES)?.wait()?;
    same("what another wrote", memory.read(3)?, vec![0, 1, 2])
}

/// As many as there are queues; each with the same addresses or not, as it happens.
pub fn four_processes_work_at_once(ctx: &Ctx) -> Result<()> {
    client(ctx)?;
    let mut rng = ctx.rng();
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let seed = rng.next();
            thread::spawn(move || -> Result<u64> {
                let domain = Domain::GPU[n % 2];
                let uvm = Uvm::open(&Device::open()?, Backing::Buffers(domain), PATIENCE)?;
                let mut checked = 0;
                for round in 0..WORKLOADS.len() {
                    let workload = &WORKLOADS[(round + n) % WORKLOADS.len()];
                    let outcome = (workload.run)(&uvm, BYTES / 8, seed ^ round as u64);
                    checked += outcome.with_context(|| format!("process {n}: {}", workload.name))?.checked;
                }
                Ok(checked)
            })
        })
        .collect();
    for thread in threads {
        let checked = thread.join().map_err(|_| anyhow::anyhow!("a process panicked"))??;
        ensure!(checked > 0, "nothing was checked");
    }
    Ok(())
}

/// One pointer for both sides, aligned when large, with a guard behind it; and all of it comes back.
pub fn shared_memory_comes_and_goes(ctx: &Ctx) -> Result<()> {
    let device = client(ctx)?;
    let used = || Ok(device.param(uapi::PARAM_VRAM_USED)?);
    let before = settled(used)?;
    let uvm = Uvm::open(&client(ctx)?, Backing::Buffers(Domain::Vram), PATIENCE)?;
    ctx.note(if uvm.shares_all_addresses() { "any address is shared" } else { "a range of addresses is shared" });
    let mut rng = Rng::new(ctx.rng().next());
    let mut held: Vec<(Memory, u64)> = Vec::new();
    for round in 0..60 {
        let bytes = rng.size(3 << 20);
        let memory = uvm.alloc(bytes)?;
        ensure!(bytes < 2 << 20 || memory.address() % (2 << 20) == 0, "{bytes:#x} bytes at {:#x}", memory.address());
        let apart = |(other, n): &(Memory, u64)| {
            let (a, b) = (memory.address(), other.address());
            a + bytes + 4096 <= b || b + n + 4096 <= a
        };
        ensure!(held.iter().all(apart), "{:#x} lies at another's", memory.address());
        same("fresh memory", memory.read(1)?, vec![0])?;
        held.push((memory, bytes.next_multiple_of(4096)));
        if round % 3 > 0 {
            held.swap_remove(rng.index(held.len()));
        }
    }
    for (n, (memory, _)) in (0u32..).zip(&held) {
        memory.write(0, &[n])?;
        uvm.advise(memory, Advice::PreferHost)?;
        uvm.prefetch(memory, true)?;
        same("what was written before it moved", memory.read(1)?, vec![n])?;
    }
    drop(held);
    drop(uvm);
    same("VRAM in use afterwards", settled(used)?, before)
}
