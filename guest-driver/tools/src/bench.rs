// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! `uvm-bench`: figures as a guest sees them, one line each. The limit is measured in the same run; a ratio of 1 is at it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use uvm_spec::nbio;

mod dmirror;
mod evict;
mod svm;

use crate::drm::{Bo, Device, Domain, FenceState};
use crate::ib::{Ib, Place};

mod uvm;

const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of the large copies.
const LARGE: u64 = 16 << 20;
/// Repetitions of what takes milliseconds.
const FEW: u32 = 15;
/// Repetitions of what takes microseconds.
const MANY: u32 = 300;

/// Whether more is better.
#[derive(Clone, Copy)]
enum Better {
    More,
    Less,
}

/// A figure; `bar` is what the ratio should reach, where something was promised.
struct Figure {
    name: &'static str,
    unit: &'static str,
    value: f64,
    limit: f64,
    better: Better,
    bar: Option<f64>,
}

impl Figure {
    fn ratio(&self) -> f64 {
        match self.better {
            Better::More => self.value / self.limit,
            Better::Less => self.limit / self.value,
        }
    }

    fn met(&self) -> bool {
        self.bar.is_none_or(|bar| self.ratio() >= bar)
    }

    fn line(&self) -> String {
        let bar = self.bar.map_or("none".to_owned(), |bar| format!("{bar}"));
        let Self { name, unit, value, limit, .. } = self;
        format!("figure {name} value={value:.1}{unit} limit={limit:.1}{unit} ratio={:.3} bar={bar}", self.ratio())
    }
}

/// What measures some figures.
type Measure = fn(&Device) -> Result<Vec<Figure>>;

/// Groups of figures, by name.
const GROUPS: &[(&str, &[Measure])] = &[("device", &[copy_figures, round_trip, objects]), ("uvm", &[uvm::migration])];

/// Entry point: measures the groups that are named, or all; fails when a figure misses its bar.
pub fn main(args: &[String]) -> Result<ExitCode> {
    match args.split_first().map(|(suite, words)| (suite.as_str(), words)) {
        Some(("evict", [])) => return evict::main(),
        Some(("svm", words)) => return svm::main(words),
        _ => (),
    }
    if let Some(other) = args.iter().find(|arg| GROUPS.iter().all(|(name, _)| name != arg)) {
        let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
        eprintln!(
            "uvm-bench: no figures are called {other}\nusage: uvm-bench evict | svm [WORD]... | [{}]...",
            names.join("|")
        );
        return Ok(ExitCode::from(2));
    }
    let device = Device::open()?;
    let mut all_met = true;
    let wanted = |name: &str| args.is_empty() || args.iter().any(|arg| arg == name);
    for measure in GROUPS.iter().filter(|(name, _)| wanted(name)).flat_map(|(_, all)| *all) {
        for figure in measure(&device)? {
            println!("{}", figure.line());
            all_met &= figure.met();
        }
    }
    drop(device);
    if wanted("uvm") && dmirror::is_possible() {
        for figure in dmirror::migration()? {
            println!("{}", figure.line());
            all_met &= figure.met();
        }
    }
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Median time of `work` over `count` runs, after one that is not counted.
fn median(count: u32, mut work: impl FnMut() -> Result<()>) -> Result<Duration> {
    work()?;
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    middle(times)
}

/// The median.
fn middle(mut times: Vec<Duration>) -> Result<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("nothing was measured")
}

fn run(device: &Device, ring: u32, ib: &Ib) -> Result<()> {
    match device.run(ring, ib, PATIENCE)? {
        FenceState::Done => Ok(()),
        state => bail!("a submission on SDMA {ring} ended as {state:?}"),
    }
}

fn rate(time: Duration) -> f64 {
    16.0 / time.as_secs_f64().max(1e-9)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// 16 MiB copies by SDMA, from submission to fence, against the guest's own memcpy of as much.
fn copy_figures(device: &Device) -> Result<Vec<Figure>> {
    let length = usize::try_from(LARGE)?;
    let (from, mut to) = (vec![0x5a_u8; length], vec![0_u8; length]);
    let memcpy = median(FEW, || {
        to.copy_from_slice(&from);
        std::hint::black_box(&mut to);
        Ok(())
    })?;
    let pairs = [
        ("guest_sdma_copy_vram_to_vram", Domain::Vram, Domain::Vram),
        ("guest_sdma_copy_gtt_to_vram", Domain::Gtt, Domain::Vram),
        ("guest_sdma_copy_vram_to_gtt", Domain::Vram, Domain::Gtt),
    ];
    let figures = pairs.map(|(name, from, to)| {
        let (from, to) = (Bo::new(device, LARGE, from)?, Bo::new(device, LARGE, to)?);
        let mut ib = Ib::new();
        ib.copy(Place::Bo(from.handle(), 0), Place::Bo(to.handle(), 0), LARGE);
        let time = median(FEW, || run(device, 0, &ib))?;
        // The guest's memcpy is translated code, where KVM is not to be had: a ratio above one is no wonder then.
        Ok(Figure { name, unit: "MiB/s", value: rate(time), limit: rate(memcpy), better: Better::More, bar: Some(0.8) })
    });
    figures.into_iter().collect()
}

/// From a submission of nothing to its fence, against one register read: both are one trip to the device at least.
fn round_trip(device: &Device) -> Result<Vec<Figure>> {
    let index = nbio::NBIO.index(&nbio::RCC_CONFIG_MEMSIZE, 0);
    let read = median(MANY, || device.reg(index).map(|_| ()).map_err(Into::into))?;
    let param = median(MANY, || device.param(0).map(|_| ()).map_err(Into::into))?;
    let mut ib = Ib::new();
    ib.nop(0);
    let submit = median(MANY, || run(device, 0, &ib))?;
    let figure = |name, value, limit| Figure {
        name,
        unit: "us",
        value: micros(value),
        limit: micros(limit),
        better: Better::Less,
        bar: None,
    };
    Ok(vec![figure("guest_register_read", read, param), figure("guest_submit_to_fence", submit, read)])
}

/// Creating and closing an object, against clearing as much memory: a new object is cleared, too.
fn objects(device: &Device) -> Result<Vec<Figure>> {
    let size = 64 << 10;
    let mut memory = vec![1_u8; size];
    let plain = median(MANY, || {
        memory.fill(0);
        std::hint::black_box(&mut memory);
        Ok(())
    })?;
    let names = ["guest_bo_create_system", "guest_bo_create_gtt", "guest_bo_create_vram"];
    let figures = names.into_iter().zip(Domain::ALL).map(|(name, domain)| {
        let time = median(MANY, || {
            drop(Bo::new(device, size as u64, domain)?);
            Ok(())
        })?;
        Ok(Figure { name, unit: "us", value: micros(time), limit: micros(plain), better: Better::Less, bar: None })
    });
    figures.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_the_share_of_the_limit_reached() {
        let figure = |value, better| Figure { name: "x", unit: "us", value, limit: 2.0, better, bar: Some(0.8) };
        assert_eq!(figure(1.0, Better::More).line(), "figure x value=1.0us limit=2.0us ratio=0.500 bar=0.8");
        assert!(!figure(1.0, Better::More).met());
        assert!(figure(2.5, Better::Less).met());
        assert!(!figure(4.0, Better::Less).met());
    }

    #[test]
    fn median_ignores_the_first_run() {
        let mut runs = 0;
        median(5, || {
            runs += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(runs, 6);
    }
}
