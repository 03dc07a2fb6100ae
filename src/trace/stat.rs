// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a trace holds, in numbers.

use super::event::{Event, Found, Stage, Who};
use super::text::{describe_packet, name, seconds};
use super::TraceError;
use crate::gmc::Space;
use std::collections::BTreeMap;
use std::fmt;

/// Accesses of a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accesses {
    /// Reads and writes by the driver.
    pub driver: [u64; 2],
    /// Reads and writes by packets.
    pub packets: [u64; 2],
}

/// What an address space did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what they say")]
pub struct Vmid {
    pub packets: u64,
    pub walks: u64,
    pub failed_walks: u64,
    pub faults: u64,
    pub copies: u64,
    pub copied_bytes: u64,
    pub invalidations: u64,
}

/// A fault's times, reference clocks.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    raised: u64,
    delivered: Option<u64>,
}

/// Counts and latencies.
#[derive(Clone, Debug, Default)]
pub struct Stat {
    /// Events.
    pub events: u64,
    /// Events that were lost.
    pub lost: u64,
    /// Events by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Packets by name.
    pub packets: BTreeMap<String, u64>,
    /// By dword index.
    pub registers: BTreeMap<u32, Accesses>,
    /// By number.
    pub vmids: BTreeMap<u8, Vmid>,
    /// Bytes copied, by source and destination.
    pub copied: BTreeMap<&'static str, u64>,
    /// Interrupt vectors dropped.
    pub dropped: u64,
    /// From an access that fails to its vector, reference clocks.
    pub delivery: Vec<u64>,
    /// From the vector to the acknowledgement.
    pub answer: Vec<u64>,
    /// From an access that fails to its retry.
    pub retry: Vec<u64>,
    /// Time of the first and of the last event.
    span: Option<(u64, u64)>,
    lives: BTreeMap<u64, Life>,
    tlb: (u64, u64),
    tlb_before: (u64, u64),
}

impl Stat {
    /// Counts the events of `trace`, as far as it goes.
    pub fn take(&mut self, trace: impl Iterator<Item = Result<(u64, Event), TraceError>>) -> Result<(), TraceError> {
        for item in trace {
            let (time, event) = item?;
            self.event(time, &event);
        }
        Ok(())
    }
    /// Counts an event.
    pub fn event(&mut self, time: u64, event: &Event) {
        self.events += 1;
        self.span = Some((self.span.map_or(time, |(first, _)| first), time));
        *self.kinds.entry(kind(event)).or_default() += 1;
        match event {
            Event::Register { who, write, index, .. } => {
                let accesses = self.registers.entry(*index).or_default();
                let [reads, writes] = if *who == Who::Driver { &mut accesses.driver } else { &mut accesses.packets };
                *(if *write { writes } else { reads }) += 1;
            }
            Event::Packet { vmid, dwords, .. } => {
                self.vmids.entry(*vmid).or_default().packets += 1;
                let text = describe_packet(dwords);
                let name = text.split(' ').next().unwrap_or_default();
                *self.packets.entry(name.into()).or_default() += 1;
            }
            Event::Walk { vmid, found, .. } => {
                let space = self.vmids.entry(*vmid).or_default();
                space.walks += 1;
                space.failed_walks += u64::from(matches!(found, Found::Fault { .. }));
            }
            Event::Copy { vmid, from, to, bytes } => {
                let space = self.vmids.entry(*vmid).or_default();
                space.copies += 1;
                space.copied_bytes = space.copied_bytes.saturating_add(*bytes);
                let way = match (from.map(|at| at.space), to.space) {
                    (Some(Space::System), Space::Vram) => "RAM to VRAM",
                    (Some(Space::Vram), Space::System) => "VRAM to RAM",
                    (Some(Space::Vram), Space::Vram) => "VRAM to VRAM",
                    (Some(Space::System), Space::System) => "RAM to RAM",
                    (None, Space::Vram) => "zeroes to VRAM",
                    (None, Space::System) => "zeroes to RAM",
                };
                let sum = self.copied.entry(way).or_default();
                *sum = sum.saturating_add(*bytes);
            }
            Event::Invalidate { vmids, .. } => {
                for vmid in (0u8..32).filter(|v| vmids & 1 << v != 0) {
                    self.vmids.entry(vmid).or_default().invalidations += 1;
                }
            }
            Event::Interrupt { delivered, .. } => self.dropped += u64::from(!delivered),
            Event::Lost { events } => self.lost = self.lost.saturating_add(*events),
            Event::Fault { id, stage } => self.fault(time, *id, stage),
            Event::Tlb { hits, walks } => self.tlb = (*hits, *walks),
            Event::Reset => {
                // The device counts from its reset on.
                let (hits, walks) = std::mem::take(&mut self.tlb);
                self.tlb_before = (self.tlb_before.0.saturating_add(hits), self.tlb_before.1.saturating_add(walks));
            }
            _ => {}
        }
    }
    fn fault(&mut self, time: u64, id: u64, stage: &Stage) {
        if let Stage::Raised { vmid, .. } = stage {
            self.vmids.entry(*vmid).or_default().faults += 1;
            self.lives.entry(id).or_insert(Life { raised: time, delivered: None });
            return;
        }
        let Some(life) = self.lives.get_mut(&id) else { return };
        match stage {
            Stage::Delivered { .. } => {
                self.delivery.push(time.saturating_sub(life.raised));
                life.delivered = Some(time);
            }
            Stage::Acknowledged { .. } => self.answer.extend(life.delivered.map(|at| time.saturating_sub(at))),
            Stage::Retried { .. } => self.retry.push(time.saturating_sub(life.raised)),
            _ => {}
        }
    }
    /// Translations that a cache held, and walks, over all resets.
    pub fn tlb(&self) -> (u64, u64) {
        (self.tlb_before.0.saturating_add(self.tlb.0), self.tlb_before.1.saturating_add(self.tlb.1))
    }
}

/// `part` of `part` and `rest`; None where both are nothing.
pub(super) fn share(part: u64, rest: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)] // for reading
    let (part, rest) = (part as f64, rest as f64);
    (part + rest > 0.0).then(|| part / (part + rest))
}

/// The event's kind, as the exports name it.
pub(super) fn kind(event: &Event) -> &'static str {
    match event {
        Event::Device { .. } => "device",
        Event::Call(_) => "call",
        Event::Clock => "clock",
        Event::Map { .. } => "map",
        Event::Load { .. } => "load",
        Event::Store { .. } => "store",
        Event::Register { .. } => "register",
        Event::Doorbell { .. } => "doorbell",
        Event::Reset => "reset",
        Event::Packet { .. } => "packet",
        Event::Ring { .. } => "ring",
        Event::Walk { .. } => "walk",
        Event::Fill { .. } => "fill",
        Event::Invalidate { .. } => "invalidate",
        Event::Tlb { .. } => "tlb",
        Event::Fault { .. } => "fault",
        Event::Copy { .. } => "copy",
        Event::Interrupt { .. } => "interrupt",
        Event::Line { .. } => "line",
        Event::Lost { .. } => "lost",
        Event::End => "end",
    }
}

/// `n`, middle, 99th of a hundred and most of `times`, in microseconds. Empty where there are none.
fn latency(f: &mut fmt::Formatter<'_>, what: &str, times: &[u64]) -> fmt::Result {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |part: usize| times.get((times.len().saturating_sub(1)) * part / 100).copied();
    let (Some(p50), Some(p99), Some(most)) = (at(50), at(99), at(100)) else { return Ok(()) };
    let micros = |ticks: u64| seconds(ticks) * 1e6;
    let (p50, p99, most) = (micros(p50), micros(p99), micros(most));
    writeln!(f, "  {what:<24} n {:<8} p50 {p50:.2} us  p99 {p99:.2} us  max {most:.2} us", times.len())
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.span.unwrap_or_default();
        writeln!(f, "{} events in {:.6} s, {} lost", self.events, seconds(last.saturating_sub(first)), self.lost)?;
        for (kind, count) in &self.kinds {
            writeln!(f, "  {kind:<24} {count:>10}")?;
        }
        if !self.registers.is_empty() {
            writeln!(f, "registers: reads and writes by the driver, by packets")?;
        }
        for (index, Accesses { driver: [dr, dw], packets: [pr, pw] }) in &self.registers {
            writeln!(f, "  {:<44} {dr:>8} {dw:>8} {pr:>8} {pw:>8}", name(*index))?;
        }
        if !self.packets.is_empty() {
            writeln!(f, "packets")?;
        }
        for (name, count) in &self.packets {
            writeln!(f, "  {name:<24} {count:>10}")?;
        }
        if !self.copied.is_empty() {
            writeln!(f, "bytes copied")?;
        }
        for (way, bytes) in &self.copied {
            writeln!(f, "  {way:<24} {bytes:>14}")?;
        }
        let (hits, walks) = self.tlb();
        if let Some(rate) = share(hits, walks) {
            let rate = 100.0 * rate;
            writeln!(f, "TLB: {hits} hits, {walks} walks, {rate:.2} % hits")?;
        }
        if !self.vmids.is_empty() {
            writeln!(f, "VMIDs: packets, walks (failed), faults, copies, bytes, invalidations")?;
        }
        for (vmid, v) in &self.vmids {
            let (walks, failed) = (v.walks, v.failed_walks);
            write!(f, "  {vmid:>2} {:>10} {walks:>10} ({failed}) {:>8}", v.packets, v.faults)?;
            writeln!(f, " {:>8} {:>14} {:>8}", v.copies, v.copied_bytes, v.invalidations)?;
        }
        if self.dropped > 0 {
            writeln!(f, "interrupt vectors dropped: {}", self.dropped)?;
        }
        if !self.delivery.is_empty() || !self.retry.is_empty() {
            writeln!(f, "faults")?;
        }
        latency(f, "miss to vector", &self.delivery)?;
        latency(f, "vector to acknowledge", &self.answer)?;
        latency(f, "miss to retry", &self.retry)
    }
}
