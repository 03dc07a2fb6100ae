// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Where the rings of an instance stand, for who looks.

use super::*;

/// A ring as it stands.
#[derive(Clone, Debug)]
pub struct RingState {
    /// Number in its instance.
    pub ring: usize,
    /// disabled, halted, idle, running, waiting, parked or exception.
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

impl Sdma {
    /// Its rings, in their order.
    pub fn rings(&self) -> Vec<RingState> {
        (0..RINGS).zip(&self.rings).filter_map(|(n, ring)| self.ring_state(n, ring)).collect()
    }
    fn ring_state(&self, n: u32, ring: &Ring) -> Option<RingState> {
        let (state, why) = self.state(n, ring);
        Some(RingState {
            ring: usize::try_from(n).ok()?,
            state,
            why,
            base: ring::base(&self.regs, n),
            size: ring::size(&self.regs, n),
            rptr: self.rptr(n),
            wptr: ring.wptr,
            vmid: self.vmid(n),
            busy: self.busy(n),
            ib: ring.ib.map(|ib| (ib.vmid, ib.base, ib.dwords, ib.pos)),
            parked: ring.parked.iter().map(|p| p.fault).collect(),
        })
    }
    fn state(&self, n: u32, ring: &Ring) -> (&'static str, Option<String>) {
        if self.regs.field(&RB_CNTL, n, RB_CNTL::RB_ENABLE) == 0 {
            return ("disabled", None);
        }
        if let Some(why) = ring::exception_name(ring.exception) {
            return ("exception", Some(why.into()));
        }
        if let Some(Parked { fault, due }) = ring.parked {
            let until = if due.is_some() { "tries again by itself" } else { "waits for an answer" };
            let way = fault.access.name();
            return (
                "parked",
                Some(format!("{way} of {:#x} in VMID {}: {}; {until}", fault.va, fault.vmid, fault.cause)),
            );
        }
        if self.regs.field(&F32_CNTL, 0, F32_CNTL::HALT) != 0 {
            return ("halted", None);
        }
        if ring.hung {
            return ("hung", Some("injected".into()));
        }
        match ring.work {
            Some(Work::Poll { tries, .. }) => ("waiting", Some(format!("a poll, {tries} looks so far"))),
            Some(Work::Atomic { due, .. }) if due > 0 => ("waiting", Some("a looping compare-and-swap".into())),
            _ if self.busy(n) => ("running", None),
            _ => ("idle", None),
        }
    }
}
