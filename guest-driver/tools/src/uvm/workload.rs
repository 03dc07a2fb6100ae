// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Workloads whose accesses are those of real ones. Each runs on the access engine and checks its result on the CPU.

mod bfs;
mod gemm;
mod join;
mod patterns;
mod stencil;
mod vector;

use anyhow::{ensure, Result};

use super::Uvm;

/// What a workload tells of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes of memory that it used.
    pub bytes: u64,
    /// Results that were checked.
    pub checked: u64,
}

/// A workload.
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// Runs it on about so many bytes; the seed decides what is in them.
    pub run: fn(&Uvm, u64, u64) -> Result<Outcome>,
}

/// All of them.
pub const WORKLOADS: [Workload; 6] = [
    Workload { name: "vector_add", run: vector::run },
    Workload { name: "stencil", run: stencil::run },
    Workload { name: "bfs", run: bfs::run },
    Workload { name: "gemm", run: gemm::run },
    Workload { name: "hash_join", run: join::run },
    Workload { name: "patterns", run: patterns::run },
];

/// Fails at the first number that is not what the CPU came to; says how many were compared.
fn compare(what: &str, seen: &[u32], expected: &[u32]) -> Result<u64> {
    ensure!(seen.len() == expected.len(), "{what}: {} numbers, expected {}", seen.len(), expected.len());
    for (at, (seen, expected)) in seen.iter().zip(expected).enumerate() {
        ensure!(seen == expected, "{what}: number {at} is {seen:#x}, expected {expected:#x}");
    }
    Ok(expected.len() as u64)
}

/// Dwords that a share of `bytes` holds, at least `least`.
fn share(bytes: u64, parts: u64, least: u64) -> Result<u32> {
    Ok(u32::try_from((bytes / parts / 4).max(least))?)
}
