// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Where the queues stand, for who looks.

use super::engine::{Engine, InExecution};
use crate::ring::view::{in_words, RingState};
use crate::ring::Load;

impl Engine {
    /// Its queues, in their order.
    pub fn view(&self) -> Vec<RingState> {
        self.rings.view(of_load)
    }
}

fn of_load(load: &InExecution) -> Option<(&'static str, String)> {
    if let Some(parked) = load.parked.as_ref().filter(|parked| !parked.awake) {
        return Some(("parked", in_words(&parked.fault)));
    }
    let run = load.run.as_ref()?;
    let (busy, waiting) = (run.busy(), run.waits().count());
    let state = if busy == waiting && load.waits().next().is_some() { "parked" } else { "running" };
    Some((state, format!("{waiting} of {busy} lanes wait, {} of {} items done", run.done, run.items())))
}
