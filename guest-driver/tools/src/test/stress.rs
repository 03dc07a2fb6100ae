// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `stress`: processes do all that processes can do with memory that the device mirrors, at once and for as long as
//! the command says. What is written where is known at any time, and is compared all the while.
//!
//! Two processes stay from start to end ([`work`], [`changes`]); others come and go, and some are killed. All have too little memory
//! now and then, and too little VRAM. In the end the device is taken away under them.
//!
//! What each process does follows from the seed; how far it gets, and what others do just then, does not.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use super::case::{same, Case, Ctx, Run, PATIENCE};
use super::reload::{unload, use_it, while_unbound};
use crate::drm::{Bo, Device, Domain, FenceState, Space};
use crate::ib::{Ib, Place};
use crate::rng::Rng;

mod area;
mod changes;
mod hand;
mod live;
mod quiet;
mod squeeze;
mod work;

use hand::Hand;
use quiet::Quiet;
use squeeze::Squeeze;

pub use work::worker;

/// First argument of a worker process.
pub const WORKER: &str = "--stress-worker";

/// The cases.
pub const CASES: &[Case] = &[Case { name: "everything_at_once", run: Run::Once(everything_at_once) }];

const PAGE: usize = 4096;
/// How long, unless the command says so.
const SECONDS: u64 = 60;
/// Shorter runs need not have come to everything.
const ENOUGH: u64 = 30;
/// Processes that stay.
const STAYING: u64 = 2;
/// What is left of VRAM where others want it.
const LEFT: u64 = 8 << 20;
/// Size of a buffer that takes VRAM, in bytes.
const BALLAST: u64 = 2 << 20;
/// How long a shortage lasts.
const SHORT: Duration = Duration::from_millis(300);

/// What processes are told, and say.
const GO: &str = "go";
const BEWARE: &str = "beware";
const PARKED: &str = "parked";
const CHECK: &str = "check";

type Deed = fn(&mut Stress<'_>) -> Result<bool>;

/// What is done to the processes; false where it could not be done this time.
const DEEDS: &[(&str, Deed)] = &[
    ("refused unloads", |stress| stress.unloads()),
    ("shortages of VRAM", |stress| stress.takes_vram()),
    ("processes killed", |stress| stress.passes_by(true)),
    ("processes killed", |stress| stress.passes_by(true)),
    ("processes ended", |stress| stress.passes_by(false)),
    ("pages taken", |stress| stress.reclaims()),
    ("shortages of memory", |stress| stress.halves_memory()),
];

const SWAPPED: &str = "pages swapped out";
/// What needs a disk.
const WITH_DISK: [&str; 3] = ["pages taken", "shortages of memory", SWAPPED];

type Counts = BTreeMap<String, u64>;

struct Stress<'a> {
    ctx: &'a Ctx,
    rng: Rng,
    device: Device,
    squeeze: Option<Squeeze>,
    hands: Vec<Hand>,
}

fn everything_at_once(ctx: &Ctx) -> Result<()> {
    let seconds = ctx.seconds().unwrap_or(SECONDS);
    let mut stress = Stress { ctx, rng: ctx.rng(), device: ctx.device()?, squeeze: Squeeze::new()?, hands: Vec::new() };
    let mut counts = Counts::new();
    let before = stress.params()?;
    stress.begin()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while Instant::now() < end {
        stress.round(end, &mut counts).with_context(|| format!("round {rounds}"))?;
        rounds += 1;
    }
    for ((name, _), (now, before)) in PARAMS.iter().zip(stress.params()?.into_iter().zip(before)) {
        counts.insert((*name).to_owned(), now - before);
    }
    if let Some(squeeze) = &stress.squeeze {
        counts.insert(SWAPPED.to_owned(), squeeze.swapped()?);
    }
    let result = stress.take_away(&mut counts).context("as the device is taken away");
    let told: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    ctx.note(format_args!("{seconds} s: {}", told.join(", ")));
    result?;
    let missing: Vec<_> = needed(stress.squeeze.is_some()).filter(|name| !counts.contains_key(*name)).collect();
    ensure!(seconds < ENOUGH || missing.is_empty(), "there were no {missing:?}");
    let none: Vec<_> = counts.iter().filter(|(_, n)| **n == 0).map(|(name, _)| name).collect();
    ensure!(seconds < ENOUGH || none.is_empty(), "there were no {none:?}");
    Ok(())
}

/// What a run must have come to.
fn needed(disk: bool) -> impl Iterator<Item = &'static str> {
    let deeds = DEEDS.iter().map(|(name, _)| *name).chain([SWAPPED]);
    let deeds = deeds.filter(move |name| disk || !WITH_DISK.contains(name));
    work::KINDS.iter().map(|(name, _)| *name).chain(deeds).chain(PARAMS.iter().map(|(name, _)| *name))
}

/// What the driver counts, and what it must have come to.
const PARAMS: &[(&str, u32)] = &[
    ("faults served", uapi::PARAM_SVM_FAULTS),
    ("entries taken away", uapi::PARAM_SVM_ZAPPED),
    ("bytes to VRAM", uapi::PARAM_DEVMEM_TO_VRAM),
    ("bytes to memory", uapi::PARAM_DEVMEM_TO_SYSTEM),
    ("faults of the CPU", uapi::PARAM_DEVMEM_CPU_FAULTS),
    ("bytes evicted", uapi::PARAM_DEVMEM_EVICTED),
    ("huge pages moved", uapi::PARAM_DEVMEM_HUGE),
];

impl Stress<'_> {
    fn params(&self) -> Result<Vec<u64>> {
        PARAMS.iter().map(|(_, param)| Ok(self.device.param(*param)?)).collect()
    }

    fn hand(&mut self, name: &str, rounds: Option<u64>) -> Result<Hand> {
        // Short enough for salts that are made of it.
        let seed = (self.rng.next() >> 40).to_string();
        let rounds = rounds.map(|rounds| rounds.to_string());
        let args: Vec<&str> = [WORKER, &seed].into_iter().chain(rounds.as_deref()).collect();
        let mut hand = Hand::start(format!("{name}, seed {seed}"), &args)?;
        if let Some(squeeze) = &self.squeeze {
            squeeze.add(hand.id())?;
        }
        hand.says("ready")?;
        hand.tell(GO)?;
        Ok(hand)
    }

    fn begin(&mut self) -> Result<()> {
        for n in 0..STAYING {
            let hand = self.hand(&format!("process {n}"), None)?;
            self.hands.push(hand);
        }
        Ok(())
    }

    fn round(&mut self, end: Instant, counts: &mut Counts) -> Result<()> {
        let mut deck: Vec<usize> = (0..DEEDS.len()).collect();
        while !deck.is_empty() && Instant::now() < end {
            let (name, deed) = DEEDS[deck.swap_remove(self.rng.index(deck.len()))];
            let done = deed(self).context(name);
            self.hands.iter_mut().try_for_each(Hand::is_alive)?;
            if done? {
                *counts.entry(name.to_owned()).or_default() += 1;
            }
            thread::sleep(Duration::from_millis(self.rng.below(400)));
        }
        Ok(())
    }

    fn unloads(&mut self) -> Result<bool> {
        let seen = unload();
        ensure!(matches!(seen, Err(Errno::AGAIN | Errno::BUSY)), "unloading gave {seen:?}");
        Ok(true)
    }

    /// Buffers take VRAM from the processes' memory, which makes way for them, until no more does or little is left.
    fn takes_vram(&mut self) -> Result<bool> {
        let most = (self.device.param(uapi::PARAM_VRAM_SIZE)?.saturating_sub(LEFT)) / BALLAST;
        let bos: Vec<_> = (0..most).map_while(|_| Bo::new(&self.device, BALLAST, Domain::Vram).ok()).collect();
        // All at once: one by one they would make way for one another.
        let mut ib = Ib::new();
        for bo in &bos {
            ib.fence(Place::Bo(bo.handle(), 0), 1);
        }
        match self.device.run(0, &ib, PATIENCE) {
            Ok(state) => same("a submission with all that takes VRAM", state, FenceState::Done)?,
            // Or as many as there was room for.
            Err(error) => ensure!(error.errno == Errno::NOSPC, "a submission with all that takes VRAM: {error}"),
        }
        thread::sleep(SHORT);
        Ok(!bos.is_empty())
    }

    /// One more process: at work for a while, then dead, or gone without a word.
    fn passes_by(&mut self, killed: bool) -> Result<bool> {
        let rounds = (!killed).then_some(1);
        let name = if killed { "a process to be killed" } else { "a process that ends" };
        let hand = self.hand(name, rounds.or(Some(1 << 40)))?;
        if !killed {
            hand.finish()?;
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(self.rng.below(1500)));
        let _quiet = Quiet::begin(self.ctx)?;
        hand.kill()?;
        // What it left behind on a ring is over when something behind it is.
        for ring in 0..2 {
            let space = Space::new(&Device::open()?, 0x10_0000, PAGE as u64)?;
            let state = space.run(ring, Ib::new().nop(1), PATIENCE).with_context(hand::scene)?;
            same("a submission behind", state, FenceState::Done)?;
        }
        Ok(true)
    }

    fn reclaims(&mut self) -> Result<bool> {
        let bytes = self.rng.size(16 << 20);
        let Some(squeeze) = &self.squeeze else { return Ok(false) };
        squeeze.reclaim(bytes);
        Ok(true)
    }

    fn halves_memory(&mut self) -> Result<bool> {
        let Some(squeeze) = &self.squeeze else { return Ok(false) };
        squeeze.halve(|| thread::sleep(SHORT))?;
        Ok(true)
    }

    /// The driver loses its device while all processes read by it, what they have being in VRAM.
    fn take_away(&mut self, counts: &mut Counts) -> Result<()> {
        for hand in &mut self.hands {
            hand.tell(BEWARE)?;
        }
        for hand in &mut self.hands {
            hand.says(PARKED)?;
        }
        let in_vram = self.device.param(uapi::PARAM_DEVMEM_USED)?;
        counts.insert("bytes in VRAM as the device went".to_owned(), in_vram);
        ensure!(in_vram > 0, "nothing is in VRAM");
        let quiet = Quiet::begin(self.ctx)?;
        let hands = std::mem::take(&mut self.hands);
        while_unbound(|| {
            for mut hand in hands {
                hand.tell(CHECK)?;
                for line in hand.finish()? {
                    let (n, name) = line.split_once(' ').with_context(|| line.clone())?;
                    *counts.entry(name.to_owned()).or_default() += n.parse::<u64>().with_context(|| line.clone())?;
                }
            }
            Ok(())
        })?;
        drop(quiet);
        use_it(1)
    }
}
