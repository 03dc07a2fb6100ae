// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Workloads, and the memory that both sides name alike.

use std::thread;

use anyhow::{ensure, Context, Result};
use uvm_spec::uapi;

use super::client;
use crate::drm::{Device, Domain};
use crate::rng::Rng;
use crate::test::case::{same, settled, Ctx, PATIENCE};
use crate::uvm::workload::{Workload, WORKLOADS};
use crate::uvm::{Advice, Backing, Memory, Uvm};

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
