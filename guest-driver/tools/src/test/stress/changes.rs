// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a process does with its memory that takes it away from the device, changes it, or moves it.

use std::thread;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use rustix::mm::Advice;
use uvm_spec::uapi;

use super::area::{Area, Kind};
use super::quiet::Quiet;
use super::work::Work;
use super::PAGE;
use crate::drm::{forked, Domain, FenceState, Mapping, Words};
use crate::ib::{Ib, Place};
use crate::test::case::{eventually, same, Ctx, GLANCE, PATIENCE};

impl Work {
    pub(super) fn holes(&mut self) -> Result<bool> {
        let n = self.any_private();
        let (at, length) = self.areas[n].pages(&mut self.rng);
        self.areas[n].hole(at, length, || Ok(()))?;
        Ok(true)
    }

    /// The whole mapping goes, and with it what the GPU has of it.
    pub(super) fn maps_anew(&mut self) -> Result<bool> {
        let n = self.any();
        self.data += 1;
        let kind = self.areas[n].kind;
        self.areas[n] = Area::new(kind, self.data)?;
        Ok(true)
    }

    pub(super) fn moves(&mut self) -> Result<bool> {
        let (from, to) = (self.any_private(), self.any_private());
        if from == to {
            return Ok(false);
        }
        let (at, length) = self.areas[from].pages(&mut self.rng);
        let (there, room) = self.areas[to].pages(&mut self.rng);
        let (low, high) = self.areas.split_at_mut(from.max(to));
        let (low, high) = (&mut low[from.min(to)], &mut high[0]);
        let (one, two) = if from < to { (low, high) } else { (high, low) };
        one.move_to(at, length.min(room), two, there)?;
        Ok(true)
    }

    pub(super) fn protects(&mut self) -> Result<bool> {
        let n = self.any();
        let (at, length) = self.areas[n].pages(&mut self.rng);
        let mut ib = Ib::new();
        ib.copy(Place::Raw(self.areas[n].va(at)), Place::Raw(self.scratch.va()), length as u64);
        let (mirror, ring) = (&self.mirror, u32::from(self.rng.below(2) == 1));
        self.areas[n].read_only(at, length, || same("it", mirror.run(ring, &ib, PATIENCE)?, FenceState::Done))?;
        self.compare("what the GPU reads of read-only", n, at, length)?;
        Ok(true)
    }

    pub(super) fn throws_away(&mut self) -> Result<bool> {
        let n = self.any();
        let (at, length) = self.areas[n].pages(&mut self.rng);
        self.areas[n].throw_away(at, length)?;
        Ok(true)
    }

    fn any_area(&mut self, can: impl Fn(&Area) -> bool) -> usize {
        let able: Vec<usize> = (0..self.areas.len()).filter(|n| can(&self.areas[*n])).collect();
        self.rng.pick(&able)
    }

    pub(super) fn punches(&mut self) -> Result<bool> {
        let n = self.any_area(|area| matches!(area.kind, Kind::Shared | Kind::File));
        let (at, length) = self.areas[n].pages(&mut self.rng);
        self.areas[n].punch(at, length)
    }

    pub(super) fn truncates(&mut self) -> Result<bool> {
        let n = self.any_area(|area| matches!(area.kind, Kind::File | Kind::Copied));
        let (at, _) = self.areas[n].pages(&mut self.rng);
        self.areas[n].truncate(at)
    }

    /// A child sees what was there when it began, and nobody sees what it writes; all areas are copied on write from then
    /// on, on both sides.
    pub(super) fn forks(&mut self) -> Result<bool> {
        const WORDS: usize = 8;
        const TOLD: usize = 8;
        let (own, between) = (Words::of(Mapping::private(WORDS * PAGE)?), Words::of(Mapping::shared(PAGE)?));
        let number = self.rng.next32();
        let everywhere = |number| {
            let mut ib = Ib::new();
            for n in 0..WORDS {
                ib.fence(Place::Raw(own.va() + (n * PAGE) as u64), number);
            }
            ib
        };
        self.run(&everywhere(number))?;
        let (theirs, tell) = (own.clone(), between.clone());
        let child = thread::spawn(move || {
            forked(move || {
                tell.store(0, 1);
                // Until the parent has written, or is in trouble.
                let mut turns = 0_u64;
                while tell.load(0) == 1 && turns < 1 << 32 {
                    std::hint::spin_loop();
                    turns += 1;
                }
                let right = (0..WORDS).filter(|n| theirs.load(n * PAGE) == u64::from(number)).count();
                (0..WORDS).for_each(|n| theirs.store(n * PAGE, !0));
                tell.store(TOLD, right as u64);
            });
        });
        let began = eventually(PATIENCE, || Ok(between.load(0) == 1))?;
        let written = self.run(&everywhere(!number));
        between.store(0, 2);
        ensure!(child.join().is_ok(), "the child's thread panicked");
        ensure!(began, "the child does not begin");
        written?;
        same("pages that the child saw as they were", between.load(TOLD), WORDS as u64)?;
        for n in 0..WORDS {
            same("what the parent has", own.load(n * PAGE), u64::from(!number))?;
        }
        Ok(true)
    }

    pub(super) fn advises(&mut self, advice: Advice) -> Result<bool> {
        match self.rng.below(4) {
            0 => self.live.cpu.advise(advice)?,
            1 => self.live.gpu.advise(advice)?,
            _ => {
                let n = if matches!(advice, Advice::LinuxPageOut | Advice::LinuxCold) { self.any() } else { 1 };
                let (at, length) = self.areas[n].pages(&mut self.rng);
                self.areas[n].advise(at, length, advice)?;
            }
        }
        Ok(true)
    }

    /// And has them go to VRAM as one now and then.
    pub(super) fn collapses(&mut self) -> Result<bool> {
        match self.rng.below(4) {
            0 => Ok(self.live.cpu.collapse().is_ok()),
            1 => Ok(self.live.gpu.collapse().is_ok()),
            _ => {
                let n = self.any_area(|area| area.kind == Kind::Huge);
                let all = self.areas[n].len();
                self.areas[n].advise(0, all, Advice::LinuxHugepage)?;
                let made = self.areas[n].collapse()?;
                if made {
                    self.go(n, 0, all, Domain::Vram)?;
                }
                Ok(made)
            }
        }
    }

    /// VRAM may be full of what others just brought.
    fn fetch(&self, va: u64, bytes: u64, domain: Domain) -> Result<()> {
        match self.mirror.device().prefetch(va, bytes, domain) {
            Err(error) if error.errno != Errno::NOSPC => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn go(&self, n: usize, at: usize, length: usize, domain: Domain) -> Result<()> {
        self.fetch(self.areas[n].va(at), length as u64, domain)
    }

    pub(super) fn prefetches(&mut self, domain: Domain) -> Result<bool> {
        match self.rng.below(4) {
            0 => self.fetch(self.live.cpu.va(), 2 << 20, domain)?,
            1 => self.fetch(self.live.gpu.va(), 2 << 20, domain)?,
            _ => {
                let n = self.any_private();
                let all = self.areas[n].len();
                let (at, length) = if self.rng.below(2) == 0 { (0, all) } else { self.areas[n].pages(&mut self.rng) };
                self.go(n, at, length, domain)?;
            }
        }
        Ok(true)
    }

    pub(super) fn tells(&mut self) -> Result<bool> {
        let n = self.any();
        let (at, length) = self.areas[n].pages(&mut self.rng);
        let (advice, value) = self.rng.pick(&[
            (uapi::SVM_PREFERRED, uapi::SVM_IN_SYSTEM),
            (uapi::SVM_PREFERRED, uapi::SVM_IN_VRAM),
            (uapi::SVM_PREFERRED, uapi::SVM_ANYWHERE),
            (uapi::SVM_ACCESSED, 1),
            (uapi::SVM_DUPLICATE, 1),
            (uapi::SVM_GRANULE, 0),
            (uapi::SVM_GRANULE, 9),
            (uapi::SVM_RESET, 0),
        ]);
        self.mirror.device().advise(self.areas[n].va(at), length as u64, advice, value)?;
        Ok(true)
    }

    pub(super) fn looks(&mut self) -> Result<bool> {
        let n = self.any();
        let all = self.areas[n].len() as u64;
        let seen = self.mirror.device().residency(self.areas[n].va(0), all)?;
        ensure!(seen.system + seen.vram <= all && seen.mapped <= all, "{all} bytes: {seen:?}");
        Ok(true)
    }

    /// A page that is not there: its job fails, and is told where.
    pub(super) fn accesses_wrongly(&mut self) -> Result<bool> {
        if !self.may_err {
            return Ok(false);
        }
        let (n, ring, write) = (self.any_private(), self.ring(), self.rng.below(2) == 0);
        let (at, _) = self.areas[n].pages(&mut self.rng);
        let va = self.areas[n].va(at);
        let (mirror, scratch) = (&self.mirror, self.scratch.va());
        let ctx = Ctx::new("stress", self.seed);
        self.areas[n].hole(at, PAGE, || {
            let _quiet = Quiet::begin(&ctx)?;
            let mut ib = Ib::new();
            if write {
                ib.fence(Place::Raw(va + 8), 1);
            } else {
                ib.copy(Place::Raw(va), Place::Raw(scratch), 64);
            }
            let state = mirror.run(ring, &ib, PATIENCE)?;
            same("a wrong access", state, FenceState::Failed(Errno::FAULT))?;
            let fault = mirror.device().fault()?.context("no fault is told")?;
            same("the fault told", (fault.va, fault.write), (va, write.into()))?;
            thread::sleep(GLANCE / 10);
            Ok(())
        })?;
        Ok(true)
    }
}
