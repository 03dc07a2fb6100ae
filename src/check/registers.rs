// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Rules about register accesses, whatever the register means.

use super::{Report, Rule};
use crate::gmc::Mmu;
use std::collections::BTreeSet;
use uvm_spec::{access, annotate, hub, ih, lookup, sdma, Access, Located, Reg};

/// Registers written since reset, and what the driver said.
#[derive(Debug, Default)]
pub struct Registers {
    written: BTreeSet<u32>,
    /// ANNOTATE_ADDR and ANNOTATE_SIZE as written.
    range: [u32; 4],
    mmu: Mmu,
}

/// What a driver says through the ANNOTATE registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// What follows is wrong on purpose.
    Expect,
    /// The end of one such stretch.
    ExpectEnd,
    /// First byte and bytes of VRAM that nobody may use any more.
    Freed((u64, u64)),
    /// First byte and bytes of VRAM that are in use again.
    Allocated((u64, u64)),
}

impl Registers {
    /// Of a device whose VMID 0 translates like `mmu`.
    pub fn new(mmu: Mmu) -> Self {
        Self { mmu, ..Self::default() }
    }
    pub fn mmu(&self) -> Mmu {
        self.mmu
    }
    pub fn read(&mut self, report: &mut Report, index: u32) {
        if lookup(index).is_none() {
            report.add(Rule::Undefined, index.into(), || format!("read of index {index:#x}"));
        }
    }
    pub fn write(&mut self, report: &mut Report, index: u32, value: u32) {
        let Some(found) = lookup(index) else {
            return report.add(Rule::Undefined, index.into(), || format!("write of {value:#x} to index {index:#x}"));
        };
        if found.reg.access == Access::Ro {
            return report.add(Rule::ReadOnly, index.into(), || format!("write of {value:#x} to {}", found));
        }
        let reserved = value & !found.reg.writable();
        if reserved != 0 {
            report.add(Rule::ReservedBits, index.into(), || {
                format!("{} := {value:#x}: no field has bits {reserved:#x}", found)
            });
        }
        self.written.insert(index);
        let missing: Vec<_> =
            depends(&found, value, self.mmu).into_iter().filter(|i| !self.written.contains(i)).collect();
        if !missing.is_empty() {
            report.add(Rule::ResetValue, index.into(), || {
                let names: Vec<_> = missing.iter().filter_map(|&i| lookup(i)).map(|l| l.to_string()).collect();
                format!("{found} := {value:#x} while {} has never been written", names.join(", "))
            });
        }
    }
    /// What the write says to the checker itself.
    pub fn annotation(&mut self, index: u32, value: u32) -> Option<Annotation> {
        let offset = index.checked_sub(annotate::ANNOTATE.base)?;
        if let Some(slot) = offset.checked_sub(annotate::ANNOTATE_RANGE.offset).filter(|&i| i < 4) {
            *self.range.get_mut(slot as usize)? = value;
            return None;
        }
        if offset != annotate::ANNOTATE_OP.offset {
            return None;
        }
        let [low, high, size, size_high] = self.range.map(u64::from);
        let range = (low | high << 32, size | size_high << 32);
        match value {
            annotate::op::FREED => Some(Annotation::Freed(range)),
            annotate::op::ALLOCATED => Some(Annotation::Allocated(range)),
            annotate::op::EXPECT => Some(Annotation::Expect),
            annotate::op::EXPECT_END => Some(Annotation::ExpectEnd),
            _ => None,
        }
    }
}

/// The registers that must have been written before this write, because of what it switches on.
fn depends(found: &Located, value: u32, mmu: Mmu) -> Vec<u32> {
    let (block, reg, n) = (found.block, found.reg, found.element);
    let is = |other: &Reg, base: u32| block.base == base && reg.offset == other.offset;
    let has_rings = block.prefix.starts_with("SDMA") || block.base == access::ACCESS.base;
    if has_rings && reg.offset == sdma::RB_CNTL.offset && sdma::RB_CNTL::RB_ENABLE.is_set(value) {
        let needs =
            [&sdma::RB_BASE, &sdma::RB_BASE_HI, &sdma::RB_RPTR, &sdma::RB_RPTR_HI, &sdma::RB_WPTR, &sdma::RB_WPTR_HI];
        return needs.iter().map(|r| block.index(r, n)).collect();
    }
    if is(&ih::IH_RB_CNTL, ih::OSSSYS.base) && ih::IH_RB_CNTL::RB_ENABLE.is_set(value) {
        let needs = [&ih::IH_RB_BASE, &ih::IH_RB_BASE_HI, &ih::IH_RB_RPTR, &ih::IH_RB_WPTR];
        return needs.iter().map(|r| block.index(r, 0)).collect();
    }
    for (hub, role) in [(&hub::GC_HUB, &hub::GC_REGS), (&hub::MM_HUB, &hub::MM_REGS)] {
        if is(role.context_cntl, hub.base) && value & 1 != 0 {
            // Profile vidmm has context 0's table in registers of its own.
            if mmu == Mmu::Vidmm && n == 0 && hub.base == hub::MM_HUB.base {
                return Vec::new();
            }
            let pairs = [role.pt_base, role.pt_start, role.pt_end];
            return pairs.iter().flat_map(|r| [block.index(r, 2 * n), block.index(r, 2 * n + 1)]).collect();
        }
        if is(role.inv_req, hub.base) && value & 0xffff != 0 {
            return vec![block.index(role.inv_range, 2 * n), block.index(role.inv_range, 2 * n + 1)];
        }
    }
    Vec::new()
}
