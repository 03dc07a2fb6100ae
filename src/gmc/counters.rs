// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Access counters: how often an engine reached system pages over the bus, by granule of virtual addresses. A granule that
//! reaches the threshold is told once, until the driver clears its count.

use super::{Client, Phys, Space};
use crate::regs::{RegFile, Written};
use std::collections::BTreeMap;
use uvm_spec::counters::*;
use uvm_spec::{ih, PAGE_SHIFT};

/// A hub's counters.
#[derive(Debug)]
pub struct Counters {
    regs: RegFile,
    /// Accesses by VMID and number of the granule: at most [`GRANULES`].
    granules: BTreeMap<(u8, u64), u32>,
    /// Clients that are counted, a bit each; none while it is off.
    clients: u32,
    /// log2 of a granule's bytes.
    shift: u32,
    threshold: u32,
    notified: u32,
    missed: u32,
}

impl Default for Counters {
    fn default() -> Self {
        let regs = RegFile::new(&COUNTERS);
        let (granules, clients, shift) = (BTreeMap::new(), 0, PAGE_SHIFT + LEAST_SHIFT);
        let mut counters = Self { regs, granules, clients, shift, threshold: 0, notified: 0, missed: 0 };
        counters.decode();
        counters
    }
}

impl Counters {
    /// The register file, for dispatch.
    pub fn regs(&self) -> &RegFile {
        &self.regs
    }
    /// A guest's read.
    pub fn read(&self, offset: u32) -> Option<u32> {
        let (value, reg, _) = self.regs.read(offset)?;
        Some(match reg.offset {
            o if o == COUNT.offset => self.granules.get(&self.chosen()).copied().unwrap_or(0),
            o if o == TRACKED.offset => u32::try_from(self.granules.len()).unwrap_or(u32::MAX),
            o if o == NOTIFIED.offset => self.notified,
            o if o == MISSED.offset => self.missed,
            _ => value,
        })
    }
    /// A guest's write.
    pub fn write(&mut self, offset: u32, value: u32) -> Option<Written> {
        let written = self.regs.write(offset, value)?;
        if written.is(&CNTL) || written.is(&CLEAR) && CLEAR::ALL.is_set(value) {
            self.granules.clear();
        } else if written.is(&CLEAR) {
            self.granules.remove(&self.chosen());
        }
        self.decode();
        Some(written)
    }
    fn decode(&mut self) {
        let cntl = self.regs.get(&CNTL, 0);
        self.clients = if CNTL::ENABLE.is_set(cntl) { CNTL::CLIENTS.get(cntl) } else { 0 };
        self.shift = PAGE_SHIFT + LEAST_SHIFT + CNTL::GRANULARITY.get(cntl).min(MOST_GRANULARITY);
        self.threshold = self.regs.field(&THRESHOLD, 0, THRESHOLD::ACCESSES).max(1);
    }
    /// The granule that ADDR and VMID name.
    fn chosen(&self) -> (u8, u64) {
        let vmid = u8::try_from(self.regs.field(&VMID, 0, VMID::VMID)).unwrap_or(0);
        (vmid, self.regs.pair(&ADDR, 0) >> (self.shift - PAGE_SHIFT))
    }
    /// Whether `client`'s accesses are counted.
    #[inline(always)]
    pub fn counts(&self, client: Client) -> bool {
        self.clients != 0 && client.counted && self.clients >> client.l1 & 1 != 0
    }
    /// An access of `va` went to `at`. The vector that tells of it, if it is the one that reaches the threshold.
    #[cold]
    pub fn note(&mut self, vmid: u8, va: u64, at: Phys) -> Option<ih::Vector> {
        if at.space != Space::System {
            return None;
        }
        let granule = (vmid, va >> self.shift);
        let full = self.granules.len() >= GRANULES;
        if full && !self.granules.contains_key(&granule) {
            self.missed = self.missed.saturating_add(1);
            return None;
        }
        let count = self.granules.entry(granule).or_default();
        *count = count.saturating_add(1);
        if *count != self.threshold {
            return None;
        }
        let count = *count;
        self.notified = self.notified.wrapping_add(1);
        let [low, high, ..] = ih::PageFault { va: va >> self.shift << self.shift, ..ih::PageFault::default() }.pack();
        Some(ih::Vector {
            client: ih::client::UTCL2LOG,
            source: ih::source::ACCESS_COUNTER,
            vmid,
            mm: true,
            data: [low, high, count, self.shift],
            ..ih::Vector::default()
        })
    }
}
