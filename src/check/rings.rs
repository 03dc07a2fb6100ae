// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Rules about SDMA rings: pointers, doorbells, packets, fences.

use super::{Report, Rule, PATIENCE};
use crate::bus::CLOCK_HZ;
use crate::trace::RingId;
use std::collections::BTreeMap;
use uvm_spec::{access, packet, sdma};

/// Fences whose last value is remembered.
const FENCES: usize = 4096;

/// Rings of the device.
pub const RINGS: usize = access::INSTANCE * sdma::RINGS as usize + access::QUEUES as usize;

/// Its number among the device's rings.
pub fn number(ring: RingId) -> usize {
    usize::from(ring.instance) * sdma::RINGS as usize + usize::from(ring.ring)
}

/// A ring's pointers, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    /// RB_ENABLE.
    pub enabled: bool,
    /// Write pointer as the engine took it over.
    pub wptr: u64,
    /// Read pointer.
    pub rptr: u64,
    /// Bytes of the ring.
    pub size: u64,
    /// Its instance is halted.
    pub halted: bool,
}

#[derive(Debug, Default)]
pub struct Rings {
    /// Last value of each fence: by VMID and address.
    fences: BTreeMap<(u8, u64), u32>,
    /// Rings that got work while their instance was halted, and since when: by number.
    halted: BTreeMap<usize, (RingId, u64)>,
}

impl Rings {
    /// A driver may halt an instance for one ring's sake while others, processes' own too, get work: it is done later.
    pub fn tick(&mut self, report: &mut Report) {
        let now = report.now;
        self.halted.retain(|&number, (ring, since)| {
            let late = now.saturating_sub(*since) >= PATIENCE;
            if late {
                report.add(Rule::Halted, number as u64, || {
                    format!("{ring}: work, and F32_CNTL.HALT stays set for {} s", PATIENCE / CLOCK_HZ)
                });
            }
            !late
        });
    }
    pub fn doorbell(&mut self, report: &mut Report, slot: u32, taken: bool, target: Option<(RingId, bool)>) {
        match target {
            Some((ring, false)) => report.add(Rule::DoorbellDisabled, slot.into(), || {
                format!("doorbell {slot:#x} of {} rang while RB_ENABLE is clear", ring)
            }),
            None if !taken => report.add(Rule::DoorbellNobody, slot.into(), || {
                format!("doorbell {slot:#x}: no doorbell range and no enabled doorbell covers it")
            }),
            _ => {}
        }
    }
    /// True if work was submitted.
    pub fn pointers(&mut self, report: &mut Report, ring: RingId, old: Pointers, new: Pointers) -> bool {
        if !new.enabled || !new.halted {
            self.halted.remove(&number(ring));
        }
        if !new.enabled || old.wptr == new.wptr {
            return false;
        }
        let place = number(ring) as u64;
        let ahead = new.wptr.wrapping_sub(new.rptr);
        // Signed: a pointer that is less than half the space behind went backwards.
        if old.enabled && new.wptr.wrapping_sub(old.wptr) > u64::MAX / 2 {
            report
                .add(Rule::Backwards, place, || format!("{}: WPTR went from {:#x} to {:#x}", ring, old.wptr, new.wptr));
        } else if ahead > new.size {
            report.add(Rule::Overrun, place, || {
                let Pointers { wptr, rptr, size, .. } = new;
                format!("{}: WPTR {wptr:#x} is {ahead:#x} ahead of RPTR {rptr:#x}, the ring has {size:#x} bytes", ring)
            });
        }
        if new.halted {
            self.halted.entry(number(ring)).or_insert((ring, report.now));
        }
        true
    }
    pub fn packet(&mut self, report: &mut Report, ring: RingId, vmid: u8, dwords: &[u32]) {
        let &[header, low, high, value, ..] = dwords else { return };
        if packet::OP.get(header) != u32::from(packet::op::FENCE) {
            return;
        }
        let addr = (u64::from(low) | u64::from(high) << 32) & !3;
        if self.fences.len() >= FENCES {
            self.fences.clear();
        }
        let last = self.fences.insert((vmid, addr), value);
        // Sequence numbers wrap: what is more than half the space ahead is behind.
        if let Some(last) = last.filter(|&last| value.wrapping_sub(last) > u32::MAX / 2) {
            report.add(Rule::FenceBackwards, addr, || {
                format!("{}: fence at {addr:#x} of VMID {vmid} went from {last:#x} to {value:#x}", ring)
            });
        }
    }
    pub fn stopped(&mut self, report: &mut Report, ring: RingId, rptr: u64, why: &str) {
        report.add(Rule::IllegalPacket, number(ring) as u64, || format!("{} at RPTR {rptr:#x}: {why}", ring));
    }
}
