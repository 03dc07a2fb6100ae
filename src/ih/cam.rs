// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The retry CAM: which page faults the driver has been told of and has not answered. A page that faults again while
//! its entry is there raises nothing; an answer frees the entry.

use crate::gmc::Fault;
use uvm_spec::PAGE_SHIFT;

/// A fault that the driver knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    vmid: u8,
    page: u64,
    /// IH ring and byte offset of its vector: a vector that is overwritten there was never seen.
    ring: usize,
    slot: u32,
}

/// What to do with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The driver has been told and will answer.
    Known,
    /// It is new: raise a vector with this index, then [`Cam::told`].
    New(u16),
    /// No entry is free: nothing is raised before one is.
    Full,
}

/// The entries.
#[derive(Debug, Default)]
pub struct Cam {
    entries: Vec<Option<Entry>>,
}

impl Cam {
    /// Whether the driver has been told of the fault's page.
    pub fn knows(&self, fault: &Fault) -> bool {
        self.entries.iter().flatten().any(|e| e.vmid == fault.vmid && e.page == fault.va >> PAGE_SHIFT)
    }
    /// Looks for the fault's page among the first `size` entries.
    pub fn look_up(&mut self, fault: &Fault, size: usize) -> Lookup {
        if self.knows(fault) {
            return Lookup::Known;
        }
        let size = size.max(1);
        if self.entries.len() < size {
            self.entries.resize(size, None);
        }
        let free = self.entries.iter().take(size).position(Option::is_none);
        free.and_then(|i| u16::try_from(i).ok()).map_or(Lookup::Full, Lookup::New)
    }
    /// The vector of entry `index` went to byte `slot` of IH ring `ring`.
    pub fn told(&mut self, index: u16, fault: &Fault, ring: usize, slot: u32) {
        if let Some(entry) = self.entries.get_mut(usize::from(index)) {
            *entry = Some(Entry { vmid: fault.vmid, page: fault.va >> PAGE_SHIFT, ring, slot });
        }
    }
    /// The driver answers entry `index`. The page and VMID that it was about; None if it was about nothing.
    pub fn acknowledge(&mut self, index: u16) -> Option<(u8, u64)> {
        let entry = self.entries.get_mut(usize::from(index))?.take()?;
        Some((entry.vmid, entry.page))
    }
    /// The vector at byte `slot` of IH ring `ring` is lost: the driver will never answer it.
    pub fn lost(&mut self, ring: usize, slot: u32) {
        for entry in &mut self.entries {
            entry.take_if(|e| e.ring == ring && e.slot == slot);
        }
    }
    /// Whether entry `index` is in use.
    pub fn waits(&self, index: u16) -> bool {
        self.entries.get(usize::from(index)).is_some_and(Option::is_some)
    }
    /// The entries in use: index, VMID, page number, the IH ring that was told.
    pub fn entries(&self) -> impl Iterator<Item = (usize, u8, u64, usize)> + '_ {
        self.entries.iter().enumerate().filter_map(|(i, e)| e.map(|e| (i, e.vmid, e.page, e.ring)))
    }
    /// Entries in use.
    pub fn outstanding(&self) -> usize {
        self.entries.iter().flatten().count()
    }
}
