// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The dummy page of VM_DUMMY_PAGE_FAULT_CNTL: a page that nothing should reach, and whose use is a fault.
//!
//! It has nothing to do with the default page, which stands in after a fault; a driver that points unused entries at one
//! page may name that page here and so learns of a stray access.

use super::{Phys, Translation};
use crate::regs::RegFile;
use uvm_spec::hub::{mm, HubRegs};
use uvm_spec::{PAGE_SHIFT, PAGE_SIZE};

/// Bits of a page number.
const PAGE_BITS: u32 = 36;

/// A page, or the pages whose numbers begin like its number.
#[derive(Clone, Copy, Debug)]
pub struct DummyPage {
    page: u64,
    /// Low bits of the number that do not count.
    ignored: u32,
    /// The number is a virtual page's, not a physical one's.
    logical: bool,
}

impl DummyPage {
    /// As the registers say; None if its fault is off.
    pub fn decode(regs: &RegFile, role: &HubRegs) -> Option<Self> {
        use mm::VM_DUMMY_PAGE_FAULT_CNTL as C;
        let cntl = regs.get(role.dummy_cntl, 0);
        C::DUMMY_PAGE_FAULT_ENABLE.is_set(cntl).then(|| Self {
            page: regs.pair(role.dummy_addr, 0) & ((1 << PAGE_BITS) - 1),
            ignored: PAGE_BITS.saturating_sub(C::DUMMY_PAGE_COMPARE_MSBS.get(cntl)),
            logical: C::DUMMY_PAGE_ADDRESS_LOGICAL.is_set(cntl),
        })
    }
    /// The translation of `va` cut to its page; None if that is a dummy page.
    pub fn check(&self, va: u64, found: Translation) -> Option<Translation> {
        let number = match (self.logical, found.at) {
            (true, _) => va >> PAGE_SHIFT,
            (false, Some(Phys { addr, .. })) => addr >> PAGE_SHIFT,
            (false, None) => return Some(found),
        };
        let reached = number >> self.ignored == self.page >> self.ignored;
        (!reached).then(|| found.within(PAGE_SIZE - va % PAGE_SIZE))
    }
}
