// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Blocks whose page table entries are the caller's: a process's own memory, which comes and goes page by page at
//! moments that allow neither a plan nor an allocation. The planner makes the leaf table, keeps others away, and leaves
//! its entries alone.

use super::geometry::{Geometry, ENTRIES};
use super::ranges::{self, Piece};
use super::tables::{NONE, ROOT};
use crate::domain::Domain;
use crate::error::Error;
use crate::ids::VmId;
use crate::policy::Policy;

/// Whether a range of pages is what one leaf table translates, and that table not the root.
pub(super) fn is_block(geometry: &Geometry, start: u64, pages: u64) -> bool {
    geometry.depth() != 0 && start & (ENTRIES - 1) == 0 && pages == ENTRIES
}

/// Whether the block that begins at a page is the caller's.
pub(super) fn is_handed_over(pieces: &[Piece], start: u64) -> bool {
    ranges::at(pieces, start).is_some_and(Piece::is_handed_over)
}

impl Policy {
    /// Where the leaf table lies that was handed over for the block around an address: 512 entries of 8 bytes. It holds
    /// from the commit of [`super::Change::HandOver`] to that of [`super::Change::TakeBack`].
    /// [`Error::Unknown`] where none was handed over, [`Error::Invalid`].
    pub fn vm_leaf(&self, id: VmId, va: u64) -> Result<(Domain, u64), Error> {
        let vm = self.vms.get(id.unpack().ok_or(Error::Unknown)?)?;
        let (page, _) = vm.geometry.range(va & !(uvm_spec::PAGE_SIZE - 1), uvm_spec::PAGE_SIZE)?;
        if !is_handed_over(vm.ranges.as_slice(), page) {
            return Err(Error::Unknown);
        }
        let mut slot = ROOT;
        loop {
            let table = vm.tables.get(slot)?;
            if table.level == 0 {
                let home = table.home.ok_or(Error::Unknown)?;
                let domain = if vm.geometry.in_system() { Domain::System } else { Domain::Vram };
                return Ok((domain, home.addr));
            }
            slot = Some(table.child(table.entry_of(page))).filter(|child| *child != NONE).ok_or(Error::Unknown)?;
        }
    }
}
