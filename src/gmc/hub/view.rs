// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a hub remembers and shows, and what is injected into it.

use super::*;

impl Hub {
    /// Counts and remembers a fault.
    pub fn note(&mut self, fault: &Fault) {
        self.faults += 1;
        self.recent.note(fault, self.faults);
    }
    /// The last faults.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }
    /// Lets the walk after `after` more, of `vmid` and `page` if they are given, find its entry with the bits `xor` flipped.
    pub fn corrupt(&mut self, vmid: Option<u8>, page: Option<u64>, after: u64, xor: u64, struck: Struck) {
        self.corruptions.add(vmid, page, after, xor, struck);
    }
    /// No corruption is to come any more.
    pub fn clear_corruptions(&mut self) {
        self.corruptions.clear();
    }
    /// Its fault status: the register, and the first byte of the page that it is about.
    pub fn fault_status(&self) -> (u32, u64) {
        let page = self.regs.pair(self.role.fault_addr, 0);
        (self.regs.get(self.role.fault_status, 0), page << PAGE_SHIFT)
    }
    /// Pages that the clients' streams hold: the client, VMID, address and page.
    pub fn stream_pages(&self) -> impl Iterator<Item = (usize, u8, u64, Page)> + '_ {
        let streams = self.streams.iter().enumerate().flat_map(|(client, both)| both.iter().map(move |s| (client, s)));
        streams.flat_map(|(client, stream)| stream.pages().map(move |(vmid, va, page)| (client, vmid, va, page)))
    }
    /// The address space that `va` of `vmid` is walked in, as its registers describe it now.
    pub fn space_of(&self, vmid: u8, va: u64) -> Option<Context> {
        Self::space(&self.contexts, self.vidmm.as_ref(), vmid, va)
    }
    /// What the tables say now, each look at one shown. None: the address is not walked.
    pub fn watch(
        &self,
        memory: &Memory<'_>,
        vmid: u8,
        va: u64,
        access: Access,
        see: &mut Vec<Look>,
    ) -> Option<Result<Translation, Fault>> {
        if self.bypasses(vmid, va).0 {
            return None;
        }
        let context = Self::space(&self.contexts, self.vidmm.as_ref(), vmid, va)?;
        Some(walk_from(memory, &context, context.root(), va, access, |look| see.push(look)))
    }
}
