// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Where the queues stand, for who looks.

use super::engine::{Engine, Queue};
use crate::ring;
use crate::sdma::engine::view::RingState;
use uvm_spec::access::QUEUES;

impl Engine {
    /// Its queues, in their order.
    pub fn rings(&self) -> Vec<RingState> {
        (0..QUEUES).zip(&self.queues).filter_map(|(n, queue)| self.queue_state(n, queue)).collect()
    }
    fn queue_state(&self, n: u32, queue: &Queue) -> Option<RingState> {
        let (state, why) = self.state(n, queue);
        Some(RingState {
            ring: usize::try_from(n).ok()?,
            state,
            why,
            base: ring::base(self.regs(), n),
            size: ring::size(self.regs(), n),
            rptr: ring::rptr(self.regs(), n),
            wptr: queue.wptr,
            vmid: ring::vmid(self.regs(), n),
            busy: self.busy(n),
            ib: None,
            parked: queue.waits().copied().collect(),
        })
    }
    fn state(&self, n: u32, queue: &Queue) -> (&'static str, Option<String>) {
        if !ring::enabled(self.regs(), n) {
            return ("disabled", None);
        }
        if let Some(why) = ring::exception_name(queue.exception) {
            return ("exception", Some(why.into()));
        }
        let program = queue.run.as_ref().map(|run| {
            let (busy, waiting) = (run.busy(), run.waits().count());
            (busy == waiting, format!("{waiting} of {busy} lanes wait, {} of {} items done", run.done, run.items()))
        });
        match (&queue.parked, program) {
            _ if self.halted() => ("halted", None),
            _ if queue.hung => ("hung", Some("injected".into())),
            (Some(parked), _) if !parked.awake => {
                let (f, way) = (&parked.fault, parked.fault.access.name());
                ("parked", Some(format!("{way} of {:#x} in VMID {}: {}", f.va, f.vmid, f.cause)))
            }
            (_, Some((true, text))) if queue.waits().next().is_some() => ("parked", Some(text)),
            (_, Some((_, text))) => ("running", Some(text)),
            _ if self.busy(n) => ("running", None),
            _ => ("idle", None),
        }
    }
}
