// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The last faults of a hub, for who looks.

use super::Fault;
use std::collections::VecDeque;
use uvm_spec::PAGE_SHIFT;

/// Faults that are remembered.
pub const RECENT: usize = 64;

/// A fault that happened, once or several times in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The fault, as it was first.
    pub fault: Fault,
    /// Which fault since reset, from 1.
    pub number: u64,
    /// How often in a row.
    pub times: u64,
}

/// The last [`RECENT`] of them.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<Occurrence>);

impl Recent {
    /// `fault` happened, the `number`th since reset.
    pub fn note(&mut self, fault: &Fault, number: u64) {
        let same = |a: &Fault| {
            (a.vmid, a.va >> PAGE_SHIFT, a.access, a.cause)
                == (fault.vmid, fault.va >> PAGE_SHIFT, fault.access, fault.cause)
        };
        if let Some(last) = self.0.back_mut().filter(|last| same(&last.fault)) {
            last.times += 1;
            return;
        }
        if self.0.len() == RECENT {
            self.0.pop_front();
        }
        self.0.push_back(Occurrence { fault: *fault, number, times: 1 });
    }
    /// What is remembered, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Occurrence> {
        self.0.iter().rev()
    }
    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
