// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a process does: everything that a process can do with its memory, while CPU and GPU work on it.
//!
//! What is done in which order follows from the seed; every kind comes once in each round.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::thread;

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use rustix::mm::Advice;

use super::area::{Area, Kind};
use super::hand::scene;
use super::live::{Live, SPOTS};
use super::{BEWARE, CHECK, GO, PAGE, PARKED};
use crate::drm::{Device, Domain, FenceState, Mapping, Mirror, Syncobj};
use crate::ib::{FillSize, Ib, Place};
use crate::rng::Rng;
use crate::test::case::{eventually, same, same_bytes, stamps, PATIENCE};
use crate::test::workers;

/// A kind of thing to do: its name, and it; false where it could not be done this time.
type Kinds = [(&'static str, fn(&mut Work) -> Result<bool>)];

/// All kinds. Those that come more than once are what everything else is there to disturb.
pub const KINDS: &Kinds = &[
    ("writes by the CPU", Work::cpu_writes),
    ("checks by the CPU", Work::cpu_checks),
    ("fills by the GPU", Work::gpu_fills),
    ("copies by the GPU", Work::gpu_copies),
    ("copies by the GPU", Work::gpu_copies),
    ("checks by the GPU", Work::gpu_checks),
    ("checks by the GPU", Work::gpu_checks),
    ("reads behind the CPU", Work::reads_live),
    ("reads behind the CPU", Work::reads_live),
    ("writes before the CPU", Work::writes_live),
    ("writes before the CPU", Work::writes_live),
    ("copies beside changes", Work::copies_beside),
    ("copies beside changes", Work::copies_beside),
    ("holes", Work::holes),
    ("new mappings", Work::maps_anew),
    ("moves", Work::moves),
    ("protections", Work::protects),
    ("pages thrown away", Work::throws_away),
    ("holes in files", Work::punches),
    ("truncations", Work::truncates),
    ("forks", Work::forks),
    ("huge pages wanted", |work| work.advises(Advice::LinuxHugepage)),
    ("huge pages not wanted", |work| work.advises(Advice::LinuxNoHugepage)),
    ("huge pages made", Work::collapses),
    ("pages sent out", |work| work.advises(Advice::LinuxPageOut)),
    ("pages gone cold", |work| work.advises(Advice::LinuxCold)),
    ("prefetches to VRAM", |work| work.prefetches(Domain::Vram)),
    ("prefetches to VRAM", |work| work.prefetches(Domain::Vram)),
    ("prefetches to memory", |work| work.prefetches(Domain::System)),
    ("advice", Work::tells),
    ("looks", Work::looks),
    ("wrong accesses", Work::accesses_wrongly),
];

/// Memory, and what is known of it.
pub struct Work {
    pub(super) rng: Rng,
    pub(super) mirror: Mirror,
    pub(super) areas: Vec<Area>,
    pub(super) live: Live,
    pub(super) scratch: Mapping,
    /// Salt of the last data.
    pub(super) data: u64,
    pub(super) seed: u64,
    /// Nobody dies on purpose while it holds the log.
    pub(super) may_err: bool,
}

/// Entry point: `SEED` until it is told to stop, or `SEED ROUNDS` and no good-bye.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    let (seed, rounds) = match args {
        [seed] => (seed.parse()?, None),
        [seed, rounds] => (seed.parse()?, Some(rounds.parse::<u64>()?)),
        _ => bail!("a seed, and perhaps rounds"),
    };
    let phase = Arc::new(AtomicU8::new(0));
    let listens = phase.clone();
    let mut work = Work::new(seed, rounds.is_none())?;
    workers::get_ready()?;
    thread::spawn(move || listen(&listens));
    let mut counts = BTreeMap::new();
    for round in 0.. {
        if rounds == Some(round) {
            // With all that is mapped, and the threads at work.
            return Ok(ExitCode::SUCCESS);
        }
        let told = || format!("seed {seed}, round {round}\n{}", scene());
        if !work.round(&phase, &mut counts).with_context(told)? {
            break;
        }
    }
    work.park(&phase).context("the last round")?;
    for (name, count) in work.end()?.into_iter().chain(counts) {
        println!("{count} {name}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Follows what is told.
fn listen(phase: &AtomicU8) {
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let next = match line.as_str() {
            GO => 0,
            BEWARE => 1,
            CHECK => 2,
            _ => continue,
        };
        phase.store(next, Ordering::Release);
    }
}

impl Work {
    fn new(seed: u64, may_err: bool) -> Result<Self> {
        let mirror = Mirror::new(&Device::open()?)?;
        let kinds = [Kind::Private, Kind::Huge, Kind::Shared, Kind::File, Kind::Copied, Kind::Private];
        let areas = kinds.into_iter().zip(seed << 8..).map(|(kind, salt)| Area::new(kind, salt));
        let areas = areas.collect::<Result<Vec<_>>>()?;
        let (live, scratch) = (Live::start()?, Mapping::private(32 * PAGE)?);
        Ok(Self { rng: Rng::new(seed), mirror, areas, live, scratch, data: seed << 16, seed, may_err })
    }

    /// Everything once, in any order. False: it is to end.
    fn round(&mut self, phase: &AtomicU8, counts: &mut BTreeMap<&'static str, u64>) -> Result<bool> {
        let mut deck: Vec<usize> = (0..KINDS.len()).collect();
        while !deck.is_empty() {
            let (name, what) = KINDS[deck.swap_remove(self.rng.index(deck.len()))];
            if what(self).context(name)? {
                *counts.entry(name).or_default() += 1;
            }
            if self.live.has_ended() || phase.load(Ordering::Acquire) != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes on without a change, with all it can in VRAM, until the GPU is gone; what there was is there still.
    fn park(&mut self, phase: &AtomicU8) -> Result<()> {
        if self.live.has_ended() {
            return Ok(());
        }
        for n in 0..self.areas.len() {
            self.go(n, 0, self.areas[n].len(), Domain::Vram)?;
        }
        println!("{PARKED}");
        std::io::stdout().flush()?;
        while phase.load(Ordering::Acquire) != 2 {
            let read = if self.rng.below(2) == 0 { self.gpu_checks() } else { self.reads_live() };
            let Err(error) = read else { continue };
            if !is_gone(&error) {
                return Err(error);
            }
            ensure!(eventually(PATIENCE * 4, || Ok(phase.load(Ordering::Acquire) == 2))?, "nobody says what is next");
        }
        self.areas.iter().try_for_each(|area| area.check(0, area.len()))
    }

    fn end(self) -> Result<[(&'static str, u64); 2]> {
        let [written, read] = self.live.stop()?;
        Ok([("rounds of writing by the CPU", written), ("rounds of reading by the CPU", read)])
    }

    pub(super) fn any(&mut self) -> usize {
        self.rng.index(self.areas.len())
    }

    pub(super) fn any_private(&mut self) -> usize {
        let private = self.areas.iter().enumerate().filter(|(_, area)| area.is_private()).map(|(n, _)| n);
        let private: Vec<usize> = private.collect();
        self.rng.pick(&private)
    }

    pub(super) fn ring(&mut self) -> u32 {
        u32::from(self.rng.below(2) == 1)
    }

    /// New data.
    fn data(&mut self, length: usize) -> Vec<u8> {
        self.data += 1;
        stamps(self.data, length)
    }

    pub(super) fn run(&mut self, ib: &Ib) -> Result<()> {
        let ring = self.ring();
        match self.mirror.run(ring, ib, PATIENCE)? {
            FenceState::Done => Ok(()),
            state => {
                let fault = self.mirror.device().fault()?;
                bail!("packets on ring {ring}: {state:?}; fault: {fault:x?}")
            }
        }
    }

    fn cpu_writes(&mut self) -> Result<bool> {
        let n = self.any();
        let (at, length) = self.areas[n].span(&mut self.rng);
        let data = self.data(length);
        self.areas[n].write(at, &data);
        Ok(true)
    }

    fn cpu_checks(&mut self) -> Result<bool> {
        let n = self.any();
        let (at, length) = self.areas[n].pages(&mut self.rng);
        self.areas[n].check(at, length)?;
        Ok(true)
    }

    fn gpu_fills(&mut self) -> Result<bool> {
        let n = self.any();
        let (at, length) = self.areas[n].span(&mut self.rng);
        let value = self.rng.next32();
        let mut ib = Ib::new();
        ib.fill(Place::Raw(self.areas[n].va(at)), value, FillSize::Dword, length as u64);
        self.run(&ib)?;
        self.areas[n].wrote(at, &value.to_le_bytes().repeat(length / 4));
        Ok(true)
    }

    /// From one area to another one.
    fn gpu_copies(&mut self) -> Result<bool> {
        let (from, to) = (self.any(), self.any());
        if from == to {
            return Ok(false);
        }
        let (at, length) = self.areas[from].span(&mut self.rng);
        let (there, room) = self.areas[to].span(&mut self.rng);
        let length = length.min(room);
        let mut ib = Ib::new();
        ib.copy(Place::Raw(self.areas[from].va(at)), Place::Raw(self.areas[to].va(there)), length as u64);
        self.run(&ib)?;
        let data = self.areas[from].expected(at, length).to_vec();
        self.areas[to].wrote(there, &data);
        Ok(true)
    }

    pub(super) fn compare(&self, what: &str, n: usize, at: usize, length: usize) -> Result<()> {
        let mut seen = vec![0; length];
        self.scratch.read(0, &mut seen);
        let area = &self.areas[n];
        let named = format!("{what} {:?} memory, byte {at:#x}", area.kind);
        // Whether the memory is wrong, or only what the GPU made of it.
        same_bytes(named, &seen, area.expected(at, length)).with_context(|| match area.check(at, length) {
            Ok(()) => "the CPU reads what is right".to_owned(),
            Err(error) => format!("{error:#}"),
        })
    }

    fn gpu_checks(&mut self) -> Result<bool> {
        let n = self.any();
        let (at, length) = self.areas[n].span(&mut self.rng);
        let mut ib = Ib::new();
        ib.copy(Place::Raw(self.areas[n].va(at)), Place::Raw(self.scratch.va()), length as u64);
        self.run(&ib)?;
        self.compare("what the GPU reads of", n, at, length)?;
        Ok(true)
    }

    fn reads_live(&mut self) -> Result<bool> {
        let (from, to) = (self.live.cpu_spot(self.rng.index(SPOTS)), self.scratch.va());
        let mut ib = Ib::new();
        ib.copy(Place::Raw(from), Place::Raw(to), PAGE as u64);
        let (ring, mirror, scratch) = (self.ring(), &self.mirror, &self.scratch);
        self.live.judge(|| {
            same("the copy", mirror.run(ring, &ib, PATIENCE)?, FenceState::Done)?;
            Ok([scratch.load(0), scratch.load(PAGE - 8)])
        })?;
        Ok(true)
    }

    fn writes_live(&mut self) -> Result<bool> {
        let (spot, ring, mirror) = (self.rng.index(SPOTS), self.ring(), &self.mirror);
        self.live.next(spot, |va, number| {
            same("the write", mirror.run(ring, Ib::new().fence(Place::Raw(va), number), PATIENCE)?, FenceState::Done)
        })?;
        Ok(true)
    }

    /// The GPU copies while its source is written out, moved, put together, forked; none of it changes the content.
    fn copies_beside(&mut self) -> Result<bool> {
        let n = self.any();
        let (at, length) = self.areas[n].pages(&mut self.rng);
        let mut ib = Ib::new();
        for _ in 0..4 {
            ib.copy(Place::Raw(self.areas[n].va(at)), Place::Raw(self.scratch.va()), length as u64);
        }
        let end = Syncobj::new(self.mirror.device())?;
        let ring = self.ring();
        self.mirror.submit(ring, &ib, &end)?;
        for _ in 0..1 + self.rng.below(3) {
            match self.rng.below(6) {
                0 => self.areas[n].advise(at, length, Advice::LinuxPageOut)?,
                1 => self.areas[n].read_only(at, length, || Ok(()))?,
                2 => drop(self.areas[n].collapse()?),
                3 => self.go(n, at, length, Domain::Vram)?,
                4 => self.go(n, at, length, Domain::System)?,
                _ => self.areas[n].check(at, length)?,
            }
        }
        end.wait(PATIENCE)?;
        same("the copy", end.state()?, FenceState::Done)?;
        self.compare("what the GPU read meanwhile of", n, at, length)?;
        Ok(true)
    }
}

/// Whether the GPU was taken away.
fn is_gone(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    [Errno::NODEV, Errno::CANCELED, Errno::TIME, Errno::IO].iter().any(|errno| text.contains(&errno.to_string()))
        || error.downcast_ref::<crate::drm::Error>().is_some_and(|error| error.errno == Errno::NODEV)
}
