// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The structures and numbers of the C border for address spaces. Docs are kernel-doc: they become the header's.

use uvm_policy::{Domain, GrabRequest, Grant, Invalidate, Mapping, TableWrite, VmInfo, VmidWait};

/// Number of VM hubs; a mask of hubs has bits 1 << hub: 0 is the GC hub, 1 the MM hub.
pub const UVM_POLICY_HUBS: usize = 2;

/// Change: map memory, which uvm_policy_update_pages() tells.
pub const UVM_POLICY_CHANGE_MAP: u32 = 1;
/// Change: make it partially resident: reads give zero, writes go nowhere, nothing faults.
pub const UVM_POLICY_CHANGE_PRT: u32 = 2;
/// Change: map nothing.
pub const UVM_POLICY_CHANGE_UNMAP: u32 = 3;
/// Change: give the leaf table of an aligned 2 MiB, where nothing is mapped, over to the driver.
pub const UVM_POLICY_CHANGE_HAND_OVER: u32 = 4;
/// Change: take such 2 MiB back; nothing is mapped there then.
pub const UVM_POLICY_CHANGE_TAKE_BACK: u32 = 5;

/// Update: what is mapped there already makes way; without, it is -EEXIST.
pub const UVM_POLICY_UPDATE_REPLACE: u32 = 1;

/// struct uvm_policy_vm_config - what a new address space is to be
/// @root: address of the root if the tables lie in SYSTEM, contiguous there; else 0
/// @vram_base: what is added to a VRAM offset in an entry: where the device says VRAM begins
/// @levels: levels of page tables, 1 to 5; 1 is one flat table
/// @va_bits: bits of an address, at most 57; 0: 12 and 9 a level
/// @tables: where the tables lie: UVM_POLICY_DOMAIN_VRAM or UVM_POLICY_DOMAIN_SYSTEM
/// @fragment: log2 of the most pages that may be marked to translate alike, 0 to 31
/// @leaf_level: the highest level whose entries may map memory themselves; a page table's is 0
/// @pad: must be 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // said in kernel-doc above, here and below
pub struct UvmPolicyVmConfig {
    pub root: u64,
    pub vram_base: u64,
    pub levels: u32,
    pub va_bits: u32,
    pub tables: u32,
    pub fragment: u32,
    pub leaf_level: u32,
    pub pad: u32,
}

/// struct uvm_policy_vm_info - an address space as it is now
/// @root: the root as a base register takes it
/// @root_addr: where the root lies: a VRAM offset, or the address that was given
/// @root_size: bytes of the root
/// @size: bytes of the address space
/// @tables: number of page tables, the root included
/// @seq: number of changes of the tables that a cache could have missed
/// @pasid: 1 to 65535
/// @busy: VMIDs on which jobs of it run or are about to, bits 1 << vmid
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyVmInfo {
    pub root: u64,
    pub root_addr: u64,
    pub root_size: u64,
    pub size: u64,
    pub tables: u64,
    pub seq: u64,
    pub pasid: u32,
    pub busy: u32,
}

/// struct uvm_policy_vmid_request - a job that wants to run
/// @vm: its address space
/// @fence: the driver's name for the job's end, not 0
/// @ring: the ring it goes to; jobs of one ring run in the order in which they are submitted
/// @hubs: hubs that its accesses go through, bits 1 << hub, not 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct UvmPolicyVmidRequest {
    pub vm: u64,
    pub fence: u64,
    pub ring: u32,
    pub hubs: u32,
}

/// struct uvm_policy_vmid_grant - a VMID, or what to wait for
/// @job: names the job from now on; 0: there is no VMID yet
/// @root: the root of its address space, as a base register takes it
/// @fence: with no job: @fence of the job to wait for; 0: see uvm_policy_vmid_grab()
/// @vmid: 1 to 15
/// @flush: hubs to invalidate for the VMID before the job runs, bits 1 << hub
/// @load: hubs to set the VMID's root in before that, bits 1 << hub
/// @pad: 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyVmidGrant {
    pub job: u64,
    pub root: u64,
    pub fence: u64,
    pub vmid: u32,
    pub flush: u32,
    pub load: u32,
    pub pad: u32,
}

/// struct uvm_policy_update - a change of a range of addresses
/// @vm: the address space
/// @va: first address; canonical where the space has 48 or 57 bits
/// @size: bytes, whole pages, not 0
/// @attributes: for a map: SNOOPED, TMZ, EXECUTABLE, READABLE, WRITEABLE and MTYPE as a page table
///              entry has them; else 0
/// @bo: for a map: whose memory it is, as the driver calls it; else 0
/// @bo_offset: for a map: where in it, bytes, whole pages; else 0
/// @change: UVM_POLICY_CHANGE_*
/// @flags: UVM_POLICY_UPDATE_REPLACE
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct UvmPolicyUpdate {
    pub vm: u64,
    pub va: u64,
    pub size: u64,
    pub attributes: u64,
    pub bo: u64,
    pub bo_offset: u64,
    pub change: u32,
    pub flags: u32,
}

/// struct uvm_policy_pages - pages in a row
/// @addr: address of the first: a VRAM offset, or as the device addresses system memory
/// @pages: how many, not 0
/// @domain: UVM_POLICY_DOMAIN_VRAM or UVM_POLICY_DOMAIN_SYSTEM
/// @pad: must be 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct UvmPolicyPages {
    pub addr: u64,
    pub pages: u64,
    pub domain: u32,
    pub pad: u32,
}

/// struct uvm_policy_write - entries of a table to be written: @value, @value + @increment, ...
/// @table: address of the table: a VRAM offset or the address that was given
/// @first: first entry of 8 bytes, from the table's start
/// @count: number of entries, at most what one PTEPDE packet can do
/// @value: the first entry
/// @increment: difference of each entry to the one before
/// @domain: where the table lies: UVM_POLICY_DOMAIN_VRAM or UVM_POLICY_DOMAIN_SYSTEM
/// @pad: 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyWrite {
    pub table: u64,
    pub first: u64,
    pub count: u64,
    pub value: u64,
    pub increment: u64,
    pub domain: u32,
    pub pad: u32,
}

/// struct uvm_policy_invalidate - pages to invalidate on all hubs
/// @first: first page number
/// @count: number of pages
/// @vmids: VMIDs, bits 1 << vmid; 0: there is nothing to do
/// @pad: 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyInvalidate {
    pub first: u64,
    pub count: u64,
    pub vmids: u32,
    pub pad: u32,
}

/// struct uvm_policy_mapping - what an address is mapped onto
/// @va: first address of the piece around it that is contiguous in memory
/// @size: bytes of the piece
/// @entry: page table entry of its first page; without VALID it is partially resident
/// @bo: as given to uvm_policy_update_begin()
/// @bo_offset: of its first byte
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmPolicyMapping {
    pub va: u64,
    pub size: u64,
    pub entry: u64,
    pub bo: u64,
    pub bo_offset: u64,
}

const _: () = assert!(UVM_POLICY_HUBS == uvm_policy::HUBS);

impl From<VmInfo> for UvmPolicyVmInfo {
    fn from(info: VmInfo) -> Self {
        let VmInfo { pasid, root, root_addr, root_size, size, tables, seq, busy } = info;
        Self { root, root_addr, root_size, size, tables, seq, pasid: pasid.into(), busy }
    }
}

impl From<&UvmPolicyVmidRequest> for GrabRequest {
    fn from(request: &UvmPolicyVmidRequest) -> Self {
        Self { ring: request.ring, hubs: request.hubs, fence: request.fence }
    }
}

impl From<Grant> for UvmPolicyVmidGrant {
    fn from(grant: Grant) -> Self {
        let Grant { job, vmid, flush, load, root } = grant;
        Self { job: job.raw(), root, vmid: vmid.into(), flush, load, ..Self::default() }
    }
}

impl From<VmidWait> for UvmPolicyVmidGrant {
    fn from(wait: VmidWait) -> Self {
        Self { fence: wait.fence.unwrap_or(0), vmid: wait.vmid.into(), ..Self::default() }
    }
}

impl From<TableWrite> for UvmPolicyWrite {
    fn from(write: TableWrite) -> Self {
        let TableWrite { domain, table, first, count, value, increment } = write;
        Self { table, first, count, value, increment, domain: domain as u32, pad: 0 }
    }
}

impl From<Option<Invalidate>> for UvmPolicyInvalidate {
    fn from(invalidate: Option<Invalidate>) -> Self {
        invalidate.map_or_else(Self::default, |Invalidate { vmids, start, pages }| Self {
            first: start,
            count: pages,
            vmids,
            pad: 0,
        })
    }
}

impl From<Mapping> for UvmPolicyMapping {
    fn from(mapping: Mapping) -> Self {
        let Mapping { va, size, entry, bo, bo_offset } = mapping;
        Self { va, size, entry, bo, bo_offset }
    }
}

impl UvmPolicyPages {
    /// As the policy takes them.
    pub(crate) fn run(&self) -> Result<(Domain, u64, u64), uvm_policy::Error> {
        if self.pad != 0 {
            return Err(uvm_policy::Error::Invalid);
        }
        Ok((Domain::from_raw(self.domain)?, self.addr, self.pages))
    }
}
