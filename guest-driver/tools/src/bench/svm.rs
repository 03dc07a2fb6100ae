// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What faults in shared memory cost, what batches and prefetch save of that, and what happens when VRAM is too small.
//!
//! `figure` lines as in the other suites. Besides, for tables and plots, with times in microseconds:
//! - `service KIND TOTAL DRIVER COPY`: a fault, served alone, and what of its time the driver and the copy take;
//! - `batch SIZE PAGES MEAN`: pages a second with batches of SIZE at most, and how many faults a batch had;
//! - `prefetch BY WORKLOAD ALONE FAULTS GUESSED`: faults without and with it, and pages that came unasked;
//! - `slowdown POLICY WORKLOAD PERCENT TIME BASE EVICTED CAME`: as in [`super::evict`], with pages for jobs.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use uvm_spec::access::{func, update, MAX_LANES};
use uvm_spec::uapi;

use super::{micros, middle, Better, Figure, MANY};
use crate::drm::Device;
use crate::test::reload::debugfs;
use crate::uvm::program::{Operand, Program};
use crate::uvm::{Backing, Memory, Uvm};

mod workloads;

const PAGE: u64 = 4096;
/// Switches as the parameter `svm_switches` has them.
mod switch {
    pub const MIGRATE: u32 = 1;
    pub const DENSITY: u32 = 2;
    pub const CORRELATION: u32 = 4;
}

/// Sizes of a batch.
const SIZES: [u32; 5] = [1, 4, 16, 64, 256];
/// Pages that a program touches, for pages a second; and where each is waited for.
const PAGES: u32 = 1024;
const ALONE: u32 = 256;
/// Times of each, by turns.
const TURNS: usize = 5;
/// Memory that goes to and fro takes its time.
const PATIENCE: Duration = Duration::from_secs(300);
/// Batches against one fault at a time.
const BATCH_BAR: f64 = 5.0;

/// Files of settings that get their old content back.
#[derive(Default)]
struct Settings(Vec<(String, String)>);

impl Settings {
    /// Parameters of the driver.
    fn of(parameters: &[(&str, u32)]) -> Result<Self> {
        let mut settings = Self::default();
        for (name, value) in parameters {
            settings.set(&format!("/sys/module/uvm/parameters/{name}"), &value.to_string())?;
        }
        Ok(settings)
    }

    fn set(&mut self, path: &str, value: &str) -> Result<()> {
        let old = fs::read_to_string(path).with_context(|| path.to_owned())?;
        // Of choices the one in brackets holds.
        let old = old.split_once('[').and_then(|(_, rest)| rest.split(']').next()).unwrap_or(&old).trim().to_owned();
        self.0.push((path.to_owned(), old));
        fs::write(path, value).with_context(|| path.to_owned())
    }

    /// Memory comes by pages: the first fault does not bring 2 MiB.
    fn pages_alone(mut self) -> Result<Self> {
        const FOLIOS: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
        if Path::new(FOLIOS).exists() {
            self.set(FOLIOS, "never")?;
        }
        Ok(self)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        for (path, old) in self.0.iter().rev() {
            if let Err(error) = fs::write(path, old) {
                eprintln!("# {path}: {error}");
            }
        }
    }
}

/// The number behind a word in one of the driver's files for people.
fn told(file: &str, word: &str) -> Result<u64> {
    let text = debugfs(file)?;
    let (_, rest) = text.split_once(&format!("{word} ")).with_context(|| format!("no {word} in {text}"))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("{word} in {text}"))
}

/// What the driver has counted.
#[derive(Clone, Copy)]
struct Counts {
    /// Faults, but for those whose page had come.
    faults: u64,
    all_faults: u64,
    batches: u64,
    served: Duration,
    copied: Duration,
    guessed: u64,
    came: u64,
    evicted: u64,
}

impl Counts {
    fn now(device: &Device) -> Result<Self> {
        let all_faults = device.param(uapi::PARAM_SVM_FAULTS)?;
        let guessed = ["granule", "density", "correlated"].map(|word| told("uvm_svm", word));
        Ok(Self {
            faults: all_faults.saturating_sub(device.param(uapi::PARAM_SVM_STALE)?),
            all_faults,
            batches: device.param(uapi::PARAM_SVM_BATCHES)?,
            served: Duration::from_nanos(told("uvm_svm", "service took")?),
            copied: Duration::from_nanos(told("uvm_devmem", "copies took")?),
            guessed: guessed.into_iter().sum::<Result<u64>>()?,
            came: device.param(uapi::PARAM_DEVMEM_TO_VRAM)? / PAGE,
            evicted: device.param(uapi::PARAM_DEVMEM_EVICTED)? / PAGE,
        })
    }

    /// What came since.
    fn until(self, later: Self) -> Self {
        Self {
            faults: later.faults.saturating_sub(self.faults),
            all_faults: later.all_faults.saturating_sub(self.all_faults),
            batches: later.batches.saturating_sub(self.batches),
            served: later.served.saturating_sub(self.served),
            copied: later.copied.saturating_sub(self.copied),
            guessed: later.guessed.saturating_sub(self.guessed),
            came: later.came.saturating_sub(self.came),
            evicted: later.evicted.saturating_sub(self.evicted),
        }
    }
}

/// Waits until the driver is through with what it began, so that its counters tell all of it.
fn settle(device: &Device) -> Result<Counts> {
    let mut before = Counts::now(device)?;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(2));
        let now = Counts::now(device)?;
        if now.all_faults == before.all_faults && now.served == before.served {
            break;
        }
        before = now;
    }
    Ok(before)
}

/// Reads the first number of each page, `lanes` at a time. What they add up to is checked.
fn touch(uvm: &Uvm, memory: &Memory, pages: u32, lanes: u32) -> Result<Duration> {
    let before = uvm.busy();
    let none = Operand::none();
    let read = Program::Nest {
        element: 2,
        func: func::A,
        update: update::NONE,
        reduce: false,
        trips: [pages, 1, 1],
        immediate: 0,
        a: Operand::affine(memory.address(), 0, [i32::try_from(PAGE / 4)?, 0, 0]),
        b: none,
        d: none,
    };
    let sum = uvm.launch(&[read], lanes)?.wait()?;
    let expected = (1..=u64::from(pages)).sum::<u64>();
    ensure!(sum == expected, "the pages' numbers add up to {sum}, expected {expected}");
    Ok(uvm.busy() - before)
}

/// Pages in system memory, each with its number, from one.
fn fresh(uvm: &Uvm, pages: u32) -> Result<Memory> {
    let memory = uvm.alloc(u64::from(pages) * PAGE)?;
    for page in 0..pages {
        memory.write(page as usize * 1024, &[page + 1])?;
    }
    Ok(memory)
}

fn process() -> Result<Uvm> {
    Uvm::open(&Device::open()?, Backing::Mirrored, PATIENCE)
}

/// A fault that nothing else is done beside, and its parts. What is neither the driver's nor the copy's is the device's,
/// and that of the way there and back.
fn service() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (kind, switches, names) in [
        ("map", 0, ["uvm_map_fault", "uvm_map_fault_device", "uvm_map_fault_driver", "uvm_map_fault_copy"]),
        (
            "migrate",
            switch::MIGRATE,
            ["uvm_migrate_fault", "uvm_migrate_fault_device", "uvm_migrate_fault_driver", "uvm_migrate_fault_copy"],
        ),
    ] {
        let _settings = Settings::of(&[("svm_switches", switches), ("svm_granule", 0)])?.pages_alone()?;
        let uvm = process()?;
        let mut all: [Vec<Duration>; 3] = Default::default();
        for _ in 0..TURNS {
            let memory = fresh(&uvm, ALONE)?;
            let before = settle(uvm.device())?;
            let cold = touch(&uvm, &memory, ALONE, 1)?;
            let spent = before.until(settle(uvm.device())?);
            ensure!(spent.faults >= u64::from(ALONE), "{} faults on {ALONE} pages", spent.faults);
            let warm = touch(&uvm, &memory, ALONE, 1)?;
            let copied = spent.copied.min(spent.served);
            for (times, time) in all.iter_mut().zip([cold.saturating_sub(warm), spent.served - copied, copied]) {
                times.push(time / ALONE);
            }
        }
        let [total, driver, copy] = all;
        let [total, driver, copy] = [middle(total)?, middle(driver)?, middle(copy)?];
        let device = total.saturating_sub(driver + copy);
        println!("service {kind} {:.1} {:.1} {:.1}", micros(total), micros(driver), micros(copy));
        let read = {
            let index = uvm_spec::nbio::NBIO.index(&uvm_spec::nbio::RCC_CONFIG_MEMSIZE, 0);
            super::median(MANY, || uvm.device().reg(index).map(|_| ()).map_err(Into::into))?
        };
        // Of the whole the limit is a trip to the device; of each part, the whole.
        figures.push(Figure {
            name: names[0],
            unit: "us",
            value: micros(total),
            limit: micros(read),
            better: Better::Less,
            bar: None,
        });
        for (name, part) in names.into_iter().skip(1).zip([device, driver, copy]) {
            let (value, limit) = (micros(part), micros(total));
            figures.push(Figure { name, unit: "us", value, limit, better: Better::More, bar: None });
        }
    }
    Ok(figures)
}

/// Pages a second by how many faults are served together; as many lanes wait in each case.
fn batches() -> Result<Vec<Figure>> {
    let _settings = Settings::of(&[("svm_switches", switch::MIGRATE), ("svm_granule", 0)])?.pages_alone()?;
    let uvm = process()?;
    let mut times: [Vec<Duration>; SIZES.len()] = Default::default();
    let mut means = [0.0; SIZES.len()];
    for _ in 0..TURNS {
        for ((size, times), mean) in SIZES.iter().zip(&mut times).zip(&mut means) {
            let _batch = Settings::of(&[("svm_batch", *size)])?;
            let memory = fresh(&uvm, PAGES)?;
            let before = settle(uvm.device())?;
            times.push(touch(&uvm, &memory, PAGES, MAX_LANES)?);
            let spent = before.until(settle(uvm.device())?);
            *mean = spent.all_faults as f64 / spent.batches.max(1) as f64;
        }
    }
    let names = ["uvm_batch_1", "uvm_batch_4", "uvm_batch_16", "uvm_batch_64", "uvm_batch_256"];
    let mut alone = None;
    let mut figures = Vec::new();
    for (((size, times), mean), name) in SIZES.iter().zip(times).zip(means).zip(names) {
        let value = f64::from(PAGES) / middle(times)?.as_secs_f64().max(1e-9);
        println!("batch {size} {value:.0} {mean:.1}");
        let limit = *alone.get_or_insert(value);
        // The largest is what is served when nothing else is said.
        let bar = (size == SIZES.last().unwrap_or(&0)).then_some(BATCH_BAR);
        figures.push(Figure { name, unit: "pages/s", value, limit, better: Better::More, bar });
    }
    Ok(figures)
}

/// What is to be measured: words of a kind leave out the others of it.
pub struct Chosen<'a>(&'a [String]);

impl Chosen<'_> {
    fn has(&self, kind: &[&str], word: &str) -> bool {
        let named = |name: &str| self.0.iter().any(|chosen| chosen == name);
        named(word) || !kind.iter().any(|other| named(other))
    }
}

/// What measures some figures.
type Measure = fn(&Chosen) -> Result<Vec<Figure>>;

/// Entry point: all, or what `words` name of measures, workloads, policies and shares of VRAM.
pub fn main(words: &[String]) -> Result<ExitCode> {
    let chosen = Chosen(words);
    let measures: [(&str, Measure); 4] = [
        ("service", |_| service()),
        ("batches", |_| batches()),
        ("prefetch", workloads::prefetch),
        ("slowdown", workloads::slowdown),
    ];
    let names = measures.map(|(name, _)| name);
    let known = |word: &String| names.contains(&word.as_str()) || workloads::knows(word);
    if let Some(other) = words.iter().find(|word| !known(word)) {
        bail!("nothing is called {other}");
    }
    let mut met = true;
    for (_, measure) in measures.iter().filter(|(name, _)| chosen.has(&names, name)) {
        for figure in measure(&chosen)? {
            println!("{}", figure.line());
            met &= figure.met();
        }
    }
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
