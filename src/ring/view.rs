// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Where rings stand, for who looks.

use super::{regs, Load, Ring, Rings};
use crate::gmc::Fault;

/// A ring as it stands.
#[derive(Clone, Debug)]
pub struct RingState {
    /// Number in its instance.
    pub ring: usize,
    /// disabled, halted, hung, idle, running, waiting, parked or exception.
    pub state: &'static str,
    /// What it waits for, or why it stopped.
    pub why: Option<String>,
    /// First byte, in `vmid`.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// Read pointer, bytes, not wrapped.
    pub rptr: u64,
    /// Write pointer, bytes, not wrapped.
    pub wptr: u64,
    /// Address space.
    pub vmid: u8,
    /// Whether it has something to do.
    pub busy: bool,
    /// The indirect buffer in execution: VMID, base, dwords, position in dwords.
    pub ib: Option<(u8, u64, u32, u32)>,
    /// The faults that it waits for.
    pub parked: Vec<Fault>,
}

impl<L: Load> Rings<L> {
    /// The rings, in their order. `of_load` says how one stands that its registers let run, if there is more to say than
    /// whether it is busy.
    pub fn view(&self, of_load: impl Fn(&L) -> Option<(&'static str, String)>) -> Vec<RingState> {
        let state = |(n, ring): (u32, &Ring<L>)| {
            let (state, why) = self.state(n, ring, &of_load);
            RingState {
                ring: n as usize,
                state,
                why,
                base: regs::base(&self.regs, n),
                size: regs::size(&self.regs, n),
                rptr: self.rptr(n),
                wptr: ring.wptr,
                vmid: self.vmid(n),
                busy: self.busy(n),
                ib: None,
                parked: ring.load.waits().copied().collect(),
            }
        };
        self.all().map(state).collect()
    }
    fn state(
        &self,
        n: u32,
        ring: &Ring<L>,
        of_load: impl Fn(&L) -> Option<(&'static str, String)>,
    ) -> (&'static str, Option<String>) {
        if !regs::enabled(&self.regs, n) {
            return ("disabled", None);
        }
        if let Some(why) = regs::exception_name(ring.exception) {
            return ("exception", Some(why.into()));
        }
        match of_load(&ring.load) {
            _ if self.halted() => ("halted", None),
            _ if ring.hung => ("hung", Some("injected".into())),
            Some((state, why)) => (state, Some(why)),
            None if self.busy(n) => ("running", None),
            None => ("idle", None),
        }
    }
}

/// A fault that a ring waits for, in words.
pub fn in_words(fault: &Fault) -> String {
    format!("{} of {:#x} in VMID {}: {}", fault.access.name(), fault.va, fault.vmid, fault.cause)
}
