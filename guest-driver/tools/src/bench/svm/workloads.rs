// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Workloads: which of their faults prefetch spares them, and how much slower they are when VRAM does not hold their memory.

use std::time::Duration;

use anyhow::{ensure, Result};
use uvm_spec::access::MAX_LANES;

use super::{fresh, process, settle, switch, touch, Better, Chosen, Counts, Figure, Settings, PAGE};
use crate::uvm::workload::{Workload, WORKLOADS};
use crate::uvm::Uvm;

/// The driver's own switches, but for those of which fault brings what: thrashing, counters, sparing.
const OTHERS: u32 = 8 | 16 | 128;
/// Ways to guess: switches, and log2 of the pages that a fault brings.
const PREFETCHERS: [(&str, u32, u32); 3] = [
    ("granule", switch::MIGRATE, 4),
    ("density", switch::MIGRATE | switch::DENSITY, 0),
    ("correlation", switch::MIGRATE | switch::CORRELATION, 0),
];
/// Bytes of a workload whose faults are counted: several blocks.
const COUNTED: u64 = 6 << 20;
/// The share of the sequential workload's faults that density has to remove.
const DENSITY_BAR: f64 = 0.8;
/// Lanes of the sequential workload: few are ahead of what is guessed.
const LANES: u32 = 4;

/// Ways to decide, for workloads that do not fit.
const POLICIES: [(&str, u32); 4] = [
    ("density", switch::MIGRATE | switch::DENSITY | OTHERS),
    ("granule", switch::MIGRATE | OTHERS),
    ("correlation", switch::MIGRATE | switch::CORRELATION | OTHERS),
    ("remote", 0),
];
/// A workload's memory, in percent of VRAM; the first fits.
const SHARES: [u64; 5] = [75, 100, 125, 150, 200];
/// Bytes of a workload that is to be larger than VRAM.
const LARGE: u64 = 12 << 20;
const CHUNK: u64 = 2 << 20;
/// With it the search of a graph finds most of it.
const SEED: u64 = 3;

/// A run, with what was counted meanwhile and how long its programs took.
fn run(uvm: &Uvm, run: impl FnOnce(&Uvm) -> Result<u64>) -> Result<(u64, Counts, Duration)> {
    let (before, busy) = (settle(uvm.device())?, uvm.busy());
    let bytes = run(uvm)?;
    Ok((bytes, before.until(settle(uvm.device())?), uvm.busy() - busy))
}

/// Page after page.
fn sequential(uvm: &Uvm) -> Result<u64> {
    let pages = u32::try_from(COUNTED / PAGE)?;
    touch(uvm, &fresh(uvm, pages)?, pages, LANES.min(MAX_LANES))?;
    Ok(COUNTED)
}

/// Faults by prefetcher and workload, with VRAM for all. A page is prefetched well if it would have faulted without: with
/// the same seed a workload touches the same pages.
pub fn prefetch(words: &Chosen) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let counted = |name: &str, switches: u32, granule: u32| -> Result<Counts> {
        let _settings = Settings::of(&[("svm_switches", switches), ("svm_granule", granule)])?.pages_alone()?;
        // What a process learnt, another one does not know.
        let uvm = process()?;
        let (_, counts, _) = run(&uvm, |uvm| match WORKLOADS.iter().find(|workload| workload.name == name) {
            Some(workload) => Ok((workload.run)(uvm, COUNTED, SEED)?.bytes),
            None => sequential(uvm),
        })?;
        Ok(counts)
    };
    for name in std::iter::once("sequential").chain(chosen(words).map(|workload| workload.name)) {
        let alone = counted(name, switch::MIGRATE, 0)?.faults;
        ensure!(alone > 0, "{name} has no fault");
        for (by, switches, granule) in PREFETCHERS {
            let with = counted(name, switches, granule)?;
            println!("prefetch {by} {name} {alone} {} {}", with.faults, with.guessed);
            if (by, name) == ("density", "sequential") {
                let (value, limit) = (alone.saturating_sub(with.faults) as f64, alone as f64);
                let (name, unit, better) = ("uvm_density_removes_faults", "", Better::More);
                figures.push(Figure { name, unit, value, limit, better, bar: Some(DENSITY_BAR) });
            }
        }
    }
    Ok(figures)
}

/// The workloads that stand for something. The last one is a collection.
fn all() -> impl Iterator<Item = &'static Workload> {
    WORKLOADS.iter().filter(|workload| workload.name != "patterns")
}

fn chosen<'a>(words: &'a Chosen) -> impl Iterator<Item = &'static Workload> + 'a {
    let names: Vec<&str> = all().map(|workload| workload.name).collect();
    all().filter(move |workload| words.has(&names, workload.name))
}

/// Whether a word is one of a workload, a policy or a share of VRAM.
pub fn knows(word: &str) -> bool {
    all().any(|workload| workload.name == word)
        || POLICIES.iter().any(|(policy, _)| *policy == word)
        || SHARES.iter().any(|share| share.to_string() == word)
}

/// Time of each workload's programs by share of VRAM and policy. The workload stays the same: VRAM is what gets smaller.
pub fn slowdown(words: &Chosen) -> Result<Vec<Figure>> {
    let (policies, shares) = (POLICIES.map(|(policy, _)| policy), SHARES.map(|share| share.to_string()));
    let shares: Vec<&str> = shares.iter().map(String::as_str).collect();
    for workload in chosen(words) {
        let bytes = {
            let uvm = process()?;
            (workload.run)(&uvm, LARGE, SEED)?.bytes
        };
        // Of the first policy, where it fits: so policies can be compared, too.
        let mut base = None;
        for (policy, switches) in POLICIES.into_iter().filter(|(policy, _)| words.has(&policies, policy)) {
            for percent in SHARES.into_iter().filter(|share| words.has(&shares, &share.to_string())) {
                let chunks = (bytes * 100 / percent).div_ceil(CHUNK).max(1);
                let vram = u32::try_from((chunks * CHUNK) >> 20)?;
                let _settings = Settings::of(&[("svm_switches", switches), ("svm_vram", vram)])?;
                let uvm = process()?;
                let (_, counts, took) = run(&uvm, |uvm| Ok((workload.run)(uvm, LARGE, SEED)?.bytes))?;
                let took = super::micros(took);
                let base = *base.get_or_insert(took);
                let (name, Counts { evicted, came, .. }) = (workload.name, counts);
                println!("slowdown {policy} {name} {percent} {took:.0} {base:.0} {evicted} {came}");
            }
        }
    }
    Ok(Vec::new())
}
