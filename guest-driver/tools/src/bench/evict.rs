// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What more buffers cost than VRAM holds: jobs that use one buffer after another, each of a client of its own, so that one
//! at a time has to be there.
//!
//! `figure` lines as in the other suites; and a line `slowdown RULE PATTERN PERCENT TIME BASE MISSES JOBS` for each share of
//! VRAM, times in microseconds a job, where BASE is that of buffers which fit.

use std::ffi::CString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use uvm_spec::uapi;

use super::{Better, Figure, FEW, PATIENCE};
use crate::drm::{Bo, Device, Domain, FenceState, Space, RW};
use crate::ib::{Ib, Place};
use crate::rng::Rng;
use crate::test::reload::with_parameters;

const RULES: [&str; 3] = ["lru", "clock", "2q"];
const PATTERNS: [&str; 2] = ["zipf", "sequential"];
/// Sizes of all buffers together, in percent of VRAM; the first fits.
const SHARES: [u64; 5] = [80, 110, 125, 150, 200];
/// VRAM in buffers.
const BLOCKS: u64 = 32;
const JOBS: u64 = 256;
const BAR: f64 = 0.7;
/// Packets and buffer side by side, so that they share page tables.
const PACKETS: u64 = 1 << 30;
const VA: u64 = PACKETS + (64 << 10);

/// A client with one buffer.
struct Client {
    space: Space,
    _bo: Bo,
    size: u64,
}

impl Client {
    fn new(size: u64) -> Result<Self> {
        let device = Device::open()?;
        let bo = Bo::pageable(&device, size, Domain::Vram)?;
        let space = Space::new(&device, PACKETS, 4096)?;
        device.bind(VA, &bo, 0, size, RW)?;
        Ok(Self { space, _bo: bo, size })
    }

    /// Copies half of the buffer to the other half, or does nothing but have it there.
    fn job(&self, work: bool) -> Result<()> {
        let mut ib = Ib::new();
        if work {
            ib.copy(Place::Raw(VA), Place::Raw(VA + self.size / 2), self.size / 2);
        } else {
            ib.nop(0);
        }
        let state = self.space.run(0, &ib, PATIENCE)?;
        ensure!(state == FenceState::Done, "a job ended as {state:?}");
        Ok(())
    }
}

/// Clients whose buffers together have `percent` of VRAM.
fn clients(device: &Device, percent: u64) -> Result<Vec<Client>> {
    let size = block(device)?;
    // All page tables before the first buffer has its place: nobody makes room for them.
    let clients = (0..BLOCKS * percent / 100).map(|_| Client::new(size)).collect::<Result<Vec<_>>>()?;
    // From now on they have content, which a move has to keep.
    clients.iter().try_for_each(|client| client.job(true))?;
    Ok(clients)
}

fn block(device: &Device) -> Result<u64> {
    Ok((device.param(uapi::PARAM_VRAM_SIZE)? / BLOCKS) & !8191)
}

/// Entry point.
pub fn main() -> Result<ExitCode> {
    let mut met = true;
    for rule in RULES {
        let parameters = CString::new(format!("evict={rule}"))?;
        with_parameters(&parameters, || {
            if rule == RULES[0] {
                let figure = throughput(&Device::open()?)?;
                println!("{}", figure.line());
                met = figure.met();
            }
            PATTERNS.iter().try_for_each(|pattern| slowdown(rule, pattern))
        })
        .context(rule)?;
    }
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Buffers twice as large as VRAM, used in turn: the rule that lets the oldest go finds none of them there, so each job has
/// one moved out and one moved in. Beside it, the two copies of a block that nobody can do without.
fn throughput(device: &Device) -> Result<Figure> {
    let size = block(device)?;
    let (vram, gtt) = (Bo::new(device, size, Domain::Vram)?, Bo::new(device, size, Domain::Gtt)?);
    let (mut out, mut back) = (Ib::new(), Ib::new());
    out.copy(Place::Bo(vram.handle(), 0), Place::Bo(gtt.handle(), 0), size);
    back.copy(Place::Bo(gtt.handle(), 0), Place::Bo(vram.handle(), 0), size);
    let plain = super::median(4 * FEW, || {
        super::run(device, 0, &out)?;
        super::run(device, 0, &back)
    })?;
    drop((vram, gtt));
    let clients = clients(device, 200)?;
    let before = device.param(uapi::PARAM_MM_EVICTED)?;
    let begun = Instant::now();
    for client in clients.iter().chain(&clients) {
        client.job(false)?;
    }
    let took = begun.elapsed().as_secs_f64();
    let evicted = device.param(uapi::PARAM_MM_EVICTED)? - before;
    ensure!(evicted >= size * clients.len() as u64, "only {evicted} bytes were evicted: no measure of it");
    let mib = |bytes: u64, seconds: f64| bytes as f64 / f64::from(1 << 20) / seconds.max(1e-9);
    let (value, limit) = (mib(evicted, took), mib(size, plain.as_secs_f64()));
    Ok(Figure { name: "evict_throughput", unit: "MiB/s", value, limit, better: Better::More, bar: Some(BAR) })
}

/// Which of `count` buffers each job uses.
fn accesses(pattern: &str, count: u64) -> Vec<u64> {
    let mut rng = Rng::new(0x5eed);
    // Each rank is used as often as one divided by it, and lies anywhere.
    let weights: Vec<u64> = (1..=count)
        .scan(0, |sum, rank| {
            *sum += 1_000_000 / rank;
            Some(*sum)
        })
        .collect();
    let all = weights.last().copied().unwrap_or(1);
    (0..JOBS)
        .map(|job| match pattern {
            "sequential" => job % count,
            _ => {
                let point = rng.below(all);
                let rank = weights.partition_point(|weight| *weight <= point) as u64;
                // No share of VRAM has a count that 13 divides: each rank is another buffer.
                rank * 13 % count
            }
        })
        .collect()
}

fn slowdown(rule: &str, pattern: &str) -> Result<()> {
    let device = Device::open()?;
    let mut base = None;
    for percent in SHARES {
        let clients = clients(&device, percent)?;
        let accesses = accesses(pattern, clients.len() as u64);
        let use_all = |times: &[u64]| -> Result<Duration> {
            let begun = Instant::now();
            for access in times {
                clients.get(usize::try_from(*access)?).context("a client")?.job(true)?;
            }
            Ok(begun.elapsed())
        };
        // Until what is where follows from the accesses, not from the order of creation.
        use_all(accesses.get(..accesses.len() / 2).unwrap_or_default())?;
        let before = device.param(uapi::PARAM_MM_BROUGHT_IN)?;
        let took = use_all(&accesses)?;
        let misses = (device.param(uapi::PARAM_MM_BROUGHT_IN)? - before) / block(&device)?;
        let time = took.as_secs_f64() * 1e6 / accesses.len() as f64;
        let base = *base.get_or_insert(time);
        println!("slowdown {rule} {pattern} {percent} {time:.1} {base:.1} {misses} {}", accesses.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_uses_each_as_often_and_zipf_does_not() {
        for share in SHARES {
            assert_ne!(BLOCKS * share / 100 % 13, 0, "{share} %");
        }
        let uses = |pattern: &str| {
            let mut uses = [0; 64];
            accesses(pattern, 64).into_iter().for_each(|at| uses[usize::try_from(at).unwrap_or(0)] += 1);
            uses
        };
        assert_eq!(uses("sequential"), [4; 64]);
        let (most, least) = (uses("zipf").into_iter().max(), uses("zipf").into_iter().min());
        assert!(most > Some(20) && least < Some(4), "{most:?} {least:?}");
    }
}
