// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Where the rings of an instance stand, for who looks.

use super::engine::{InExecution, Parked, Sdma};
use super::work::Work;
use crate::ring::view::{in_words, RingState};

impl Sdma {
    /// Its rings, in their order.
    pub fn view(&self) -> Vec<RingState> {
        let mut states = self.rings.view(of_load);
        for (state, (_, ring)) in states.iter_mut().zip(self.rings.all()) {
            state.ib = ring.load.ib.map(|ib| (ib.vmid, ib.base, ib.dwords, ib.pos));
        }
        states
    }
}

fn of_load(load: &InExecution) -> Option<(&'static str, String)> {
    if let Some(Parked { fault, due }) = &load.parked {
        let until = if due.is_some() { "tries again by itself" } else { "waits for an answer" };
        return Some(("parked", format!("{}; {until}", in_words(fault))));
    }
    match load.work {
        Some(Work::Poll { tries, .. }) => Some(("waiting", format!("a poll, {tries} looks so far"))),
        Some(Work::Atomic { due, .. }) if due > 0 => Some(("waiting", "a looping compare-and-swap".into())),
        _ => None,
    }
}
