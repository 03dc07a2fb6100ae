// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Driver checks: what a driver does wrong although the device puts up with it.
//!
//! The checker is told what happens and keeps just enough to judge it; it changes nothing in the device. A finding names
//! the rule, what happened, and the register, table entry or ring where; each place is told once.
//!
//! A driver may say what the device cannot see through the ANNOTATE registers ([`uvm_spec::annotate`]): VRAM that it has
//! freed, and stretches in which a test does wrong on purpose.

mod interrupts;
mod registers;
mod rings;
mod rules;
mod spaces;

pub use rings::Pointers;
pub use rules::Rule;
pub use spaces::{Seen, Used};

use crate::bus::CLOCK_HZ;
use crate::gmc::{Access, Mmu};
use crate::trace::RingId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A driver that has not looked for so long never will: reference clocks. Guests under emulation are slow.
const PATIENCE: u64 = 10 * CLOCK_HZ;
/// Places of a rule that are told, each once; more are only counted.
const PLACES: usize = 100;

/// A thing that a driver did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// When, reference clock.
    pub time: u64,
    /// What it breaks.
    pub rule: Rule,
    /// What happened and where.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (guide, {})", self.rule.name(), self.what, self.rule.chapter())
    }
}

/// What findings have in common with one another: the rules' own state is in the modules.
#[derive(Debug, Default)]
pub struct Report {
    now: u64,
    findings: Vec<Finding>,
    counts: BTreeMap<Rule, u64>,
    told: BTreeMap<Rule, BTreeSet<u64>>,
    /// Stretches in which wrong things are done on purpose.
    expected: u32,
    /// Findings are not logged: whoever judges shows them.
    quiet: bool,
}

impl Report {
    /// Adds a finding, unless this `place` (whatever number tells places of the rule apart) has been told.
    fn add(&mut self, rule: Rule, place: u64, what: impl FnOnce() -> String) {
        if self.expected > 0 {
            return;
        }
        *self.counts.entry(rule).or_default() += 1;
        let told = self.told.entry(rule).or_default();
        if told.len() >= PLACES || !told.insert(place) {
            return;
        }
        let finding = Finding { time: self.now, rule, what: what() };
        if !self.quiet {
            log::warn!("check: {finding}");
        }
        self.findings.push(finding);
    }
}

/// A handle of a device's checker, or of none; clones tell the same one.
#[derive(Clone, Debug, Default)]
pub struct Checks(Option<Arc<Mutex<Checker>>>);

impl Checks {
    /// A new checker of a device whose VMID 0 translates like `mmu`.
    pub fn on(mmu: Mmu) -> Self {
        let checker = Checker { registers: registers::Registers::new(mmu), ..Checker::default() };
        Self(Some(Arc::new(Mutex::new(checker))))
    }
    /// The same without a line in the log for each finding.
    pub fn quiet(mmu: Mmu) -> Self {
        let checks = Self::on(mmu);
        checks.tell(|checker| checker.report.quiet = true);
        checks
    }
    /// Whether anybody judges.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }
    /// Tells the checker something, if there is one.
    #[inline(always)]
    pub fn tell<R>(&self, what: impl FnOnce(&mut Checker) -> R) -> Option<R> {
        self.0.as_ref().map(|checker| what(&mut checker.lock()))
    }
}

/// The checker of a device.
#[derive(Debug, Default)]
pub struct Checker {
    report: Report,
    registers: registers::Registers,
    rings: rings::Rings,
    spaces: spaces::Spaces,
    interrupts: interrupts::Interrupts,
}

impl Checker {
    /// Every finding, oldest first: one a place, at most 100 a rule.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.report.findings.iter()
    }
    /// How often each rule was broken.
    pub fn counts(&self) -> &BTreeMap<Rule, u64> {
        &self.report.counts
    }
    /// The time, reference clock: what has waited too long is told. `waits` says whether a retry CAM entry still does.
    pub fn tick(&mut self, now: u64, waits: impl Fn(u32) -> bool) {
        self.report.now = now;
        self.rings.tick(&mut self.report);
        self.interrupts.tick(&mut self.report, waits);
        self.spaces.tick(&mut self.report);
    }
    /// The device was reset: nothing before counts any more, but what was found stays, and so does what is expected: a test
    /// may reset the device in the middle of it.
    pub fn reset(&mut self) {
        let report = std::mem::take(&mut self.report);
        let registers = registers::Registers::new(self.registers.mmu());
        *self = Self { report, registers, ..Self::default() };
    }

    /// A register was read from outside.
    pub fn read(&mut self, index: u32, value: u32) {
        self.registers.read(&mut self.report, index);
        self.spaces.read(&mut self.report, index, value);
    }
    /// A register is written from outside; it held `before`, and rings work in the VMIDs `active`, a bit each.
    pub fn write(&mut self, index: u32, value: u32, before: u32, active: u32) {
        self.registers.write(&mut self.report, index, value);
        if let Some(said) = self.registers.annotation(index, value) {
            match said {
                registers::Annotation::Expect => self.report.expected = self.report.expected.saturating_add(1),
                registers::Annotation::ExpectEnd => self.report.expected = self.report.expected.saturating_sub(1),
                registers::Annotation::Freed(range) => self.spaces.freed(range),
                registers::Annotation::Allocated(range) => self.spaces.allocated(range),
            }
        }
        self.spaces.write(&mut self.report, index, value, before, active);
        self.interrupts.write(index);
    }
    /// A doorbell rang; `target` is the ring that it is routed to and whether that is enabled.
    pub fn doorbell(&mut self, slot: u32, taken: bool, target: Option<(RingId, bool)>) {
        self.rings.doorbell(&mut self.report, slot, taken, target);
    }
    /// A ring before and after something from outside.
    pub fn pointers(&mut self, ring: RingId, before: Pointers, after: Pointers) {
        if self.rings.pointers(&mut self.report, ring, before, after) {
            self.spaces.submitted(ring, before.wptr);
        }
    }
    /// Whether pages are to be looked at again, as work was submitted since the last time. See [`Checker::looked`].
    pub fn pages(&mut self) -> Vec<(u8, u64, Access)> {
        self.spaces.pages()
    }
    /// What the tables say now of a page of [`Checker::pages`].
    pub fn looked(&mut self, vmid: u8, page: u64, now: Option<Used>) {
        self.spaces.looked(vmid, page, now);
    }
    /// Ring `ring`, whose read pointer is `rptr`, has the next turn.
    pub fn turn(&mut self, ring: RingId, rptr: u64) {
        self.spaces.turn(ring, rptr);
    }
    /// A ring starts on a packet.
    ///
    /// What a process puts in its own ring is its own business, as what anybody puts in an indirect buffer.
    pub fn packet(&mut self, ring: RingId, vmid: u8, indirect: bool, dwords: &[u32]) {
        if !indirect && vmid == 0 {
            self.rings.packet(&mut self.report, ring, vmid, dwords);
        }
        self.spaces.packet(ring);
    }
    /// A ring of VMID 0 stopped on a packet of its own.
    pub fn stopped(&mut self, ring: RingId, rptr: u64, why: &str) {
        self.rings.stopped(&mut self.report, ring, rptr, why);
    }
    /// An engine used a translation.
    pub fn translated(&mut self, seen: &Seen) {
        self.spaces.translated(&mut self.report, seen);
    }
    /// An engine's access failed and the default page stood in for it.
    pub fn stood_in(&mut self, vmid: u8, va: u64) {
        self.spaces.stood_in(&mut self.report, vmid, va);
    }
    /// An entry points where no memory is.
    pub fn nowhere(&mut self, vmid: u8, va: u64) {
        self.spaces.nowhere(&mut self.report, vmid, va);
    }
    /// Bytes went from an encrypted page to a clear one.
    pub fn leaked(&mut self, vmid: u8, from: u64, to: u64) {
        self.spaces.leaked(&mut self.report, vmid, from, to);
    }
    /// The MM hub dropped cached translations of `vmids`: all, or those of the bytes `range`, first and last.
    pub fn invalidated(&mut self, vmids: u32, range: Option<(u64, u64)>) {
        self.spaces.invalidated(vmids, range);
    }
    /// A vector went to IH ring `ring`, and whether it overwrote another.
    pub fn vector(&mut self, ring: usize, overflow: bool) {
        self.interrupts.vector(&mut self.report, ring, overflow);
    }
    /// The driver moved ring `ring`'s read pointer.
    pub fn acknowledged(&mut self, ring: usize) {
        self.interrupts.acknowledged(ring);
    }
    /// The driver was told of a page by retry CAM entry `index`.
    pub fn told(&mut self, index: u32, vmid: u8, page: u64) {
        self.interrupts.told(&self.report, index, vmid, page);
    }
    /// The driver answered retry CAM entry `index`.
    pub fn answered(&mut self, index: u32) {
        self.interrupts.answered(&mut self.report, index);
    }
}
