// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What more buffers cost than VRAM holds: jobs that use one buffer after another, each of a client of its own, so that one
//! at a time has to be there.
//!
//! `figure` lines as in the other suites; and a line `slowdown RULE PATTERN PERCENT TIME BASE MISSES JOBS` for each share of
//! VRAM, times in microseconds a job, where BASE is that of buffers which fit.

use std::ffi::CString;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Context, Result};
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
/// Clients that use buffers at the same time.
const AT_ONCE: u64 = 4;
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
                for figure in throughput(&Device::open()?)? {
                    println!("{}", figure.line());
                    met &= figure.met();
                }
            }
            PATTERNS.iter().try_for_each(|pattern| slowdown(rule, pattern))
        })
        .context(rule)?;
    }
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Times of the two copies of a block, a block.
struct Plain {
    /// Queued one behind the other.
    queued: Duration,
    /// Each waited for.
    waited: Duration,
}

/// Of more blocks than caches hold, as evictions have them.
fn plain(device: &Device, size: u64) -> Result<Plain> {
    let blocks =
        (0..BLOCKS / 2).map(|_| Ok((Bo::new(device, size, Domain::Vram)?, Bo::new(device, size, Domain::Gtt)?)));
    let blocks = blocks.collect::<Result<Vec<_>>>()?;
    let copies = blocks.iter().flat_map(|(vram, gtt)| {
        let (mut out, mut back) = (Ib::new(), Ib::new());
        out.copy(Place::Bo(vram.handle(), 0), Place::Bo(gtt.handle(), 0), size);
        back.copy(Place::Bo(gtt.handle(), 0), Place::Bo(vram.handle(), 0), size);
        [out, back]
    });
    let copies: Vec<Ib> = copies.collect();
    let waited = super::median(FEW, || copies.iter().try_for_each(|copy| super::run(device, 0, copy)))?;
    let queued = super::median(FEW, || {
        copies.iter().try_for_each(|copy| device.submit(0, copy, &[], &[]))?;
        // Behind them all.
        super::run(device, 0, Ib::new().nop(0))
    })?;
    let blocks = u32::try_from(blocks.len())?;
    Ok(Plain { queued: queued / blocks, waited: waited / blocks })
}

/// Buffers twice as large as VRAM, used in turn: the rule that lets the oldest go finds none of them there, so each job has
/// one moved out and one moved in. Beside it, the two copies of a block that nobody can do without.
///
/// The first figure is of one client at a time, beside copies of which each is waited for, as each job is; the second of
/// [`AT_ONCE`] clients, beside copies that are queued without a pause, which is all that the engine can do.
fn throughput(device: &Device) -> Result<Vec<Figure>> {
    let size = block(device)?;
    let plain = plain(device, size)?;
    let sides = [("evict_throughput", 1, plain.waited, Some(BAR)), ("evict_four_at_once", AT_ONCE, plain.queued, None)];
    let figures = sides.map(|(name, hands, plain, bar)| {
        let (evicted, took) = in_turn(device, hands).context(name)?;
        // Each was evicted once to be there at the start, and is at least once more.
        ensure!(evicted >= size * BLOCKS * 2, "only {evicted} bytes were evicted: no measure of it");
        let mib = |bytes: u64, time: Duration| bytes as f64 / f64::from(1 << 20) / time.as_secs_f64().max(1e-9);
        Ok(Figure {
            name,
            unit: "MiB/s",
            value: mib(evicted, took),
            limit: mib(size, plain),
            better: Better::More,
            bar,
        })
    });
    figures.into_iter().collect()
}

/// Uses each of as many buffers as are twice VRAM twice; the bytes that were evicted meanwhile, and the time. `hands`
/// threads have as many of the buffers each.
fn in_turn(device: &Device, hands: u64) -> Result<(u64, Duration)> {
    thread::scope(|scope| {
        let hands = (0..hands).map(|_| {
            let (says, hears) = (mpsc::channel::<()>(), mpsc::channel::<()>());
            let work = move || -> Result<()> {
                let clients = clients(&Device::open()?, 200 / hands)?;
                says.0.send(())?;
                hears.1.recv()?;
                clients.iter().chain(&clients).try_for_each(|client| client.job(false))
            };
            (says.1, hears.0, scope.spawn(work))
        });
        let hands: Vec<_> = hands.collect();
        for (ready, _, _) in &hands {
            // Who failed hangs up, and says why below.
            let _ = ready.recv();
        }
        let (before, begun) = (device.param(uapi::PARAM_MM_EVICTED)?, Instant::now());
        for (_, go, _) in &hands {
            let _ = go.send(());
        }
        for (_, go, hand) in hands {
            hand.join().map_err(|_| anyhow!("a thread panicked"))??;
            drop(go);
        }
        let took = begun.elapsed();
        Ok((device.param(uapi::PARAM_MM_EVICTED)? - before, took))
    })
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
