// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Rules about interrupt rings and retry faults.

use super::{Report, Rule, PATIENCE};
use crate::bus::CLOCK_HZ;
use std::collections::BTreeMap;
use uvm_spec::{ih, IH_RINGS};

#[derive(Debug, Default)]
pub struct Interrupts {
    /// Since when vectors lie unread, per ring.
    unread: [Option<u64>; IH_RINGS],
    /// CAM entries: when told, VMID, page.
    told: BTreeMap<u32, (u64, u8, u64)>,
}

impl Interrupts {
    pub fn tick(&mut self, report: &mut Report, waits: impl Fn(u32) -> bool) {
        let now = report.now;
        let late = |since: u64| now.saturating_sub(since) >= PATIENCE;
        for (ring, since) in (0u64..).zip(&mut self.unread) {
            if since.take_if(|s| late(*s)).is_some() {
                report.add(Rule::Unacknowledged, ring, || {
                    format!(
                        "IH ring {ring} has had vectors for {} s and its read pointer does not move",
                        PATIENCE / CLOCK_HZ
                    )
                });
            }
        }
        // An entry whose vector was overwritten is free again without an answer.
        self.told.retain(|&index, _| waits(index));
        for (index, (since, vmid, page)) in &self.told {
            if late(*since) {
                report.add(Rule::RetryUnanswered, page << 4 | u64::from(*vmid), || {
                    format!("retry CAM entry {index}: VMID {vmid} waits for page {page:#x}")
                });
            }
        }
    }
    pub fn write(&mut self, index: u32) {
        let Some(offset) = index.checked_sub(ih::OSSSYS.base) else { return };
        // A ring that is set up anew has nothing unread.
        for (ring, cntl) in [ih::IH_RB_CNTL, ih::IH_RB_CNTL_RING1, ih::IH_RB_CNTL_RING2].iter().enumerate() {
            if cntl.offset == offset {
                self.acknowledged(ring);
            }
        }
    }
    pub fn vector(&mut self, report: &mut Report, ring: usize, overflow: bool) {
        if let Some(since) = self.unread.get_mut(ring) {
            since.get_or_insert(report.now);
        }
        if overflow {
            report
                .add(Rule::IhOverflow, ring as u64, || format!("IH ring {ring}: a vector overwrote one not read yet"));
        }
    }
    pub fn acknowledged(&mut self, ring: usize) {
        if let Some(since) = self.unread.get_mut(ring) {
            *since = None;
        }
    }
    pub fn told(&mut self, report: &Report, index: u32, vmid: u8, page: u64) {
        self.told.insert(index, (report.now, vmid, page));
    }
    pub fn answered(&mut self, report: &mut Report, index: u32) {
        if self.told.remove(&index).is_none() {
            report.add(Rule::RetryAnsweredTwice, index.into(), || {
                format!("retry CAM entry {index} was answered and waits for no answer")
            });
        }
    }
}
