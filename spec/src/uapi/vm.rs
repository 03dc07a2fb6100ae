// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Address spaces of processes: bindings, faults and hangs in them.

uapi_consts! {
    /// Map a range onto a buffer.
    VM_OP_MAP = 1;
    /// Unmap a range; what is not mapped stays so.
    VM_OP_UNMAP = 2;
    /// Make a range partially resident: reads give zero, writes go nowhere.
    VM_OP_PRT = 3;
    /// The GPU may read.
    VM_READ = 1;
    /// The GPU may write.
    VM_WRITE = 2;
    /// The GPU may execute.
    VM_EXECUTE = 4;
    /// Accesses snoop the CPU's caches; for system pages always so, but for those of a buffer with UVM_GEM_UNSNOOPED, which are never.
    VM_SNOOPED = 8;
    /// In VRAM the bytes are encrypted; only such mappings see them clear.
    VM_TMZ = 16;
    /// What is mapped there makes way; without, EEXIST.
    VM_REPLACE = 32;
    /// Accesses to pages that are not mapped, or not for that access, wait instead of failing. It holds for what is submitted from now on, and for the caller's queues at once.
    VM_CONFIG_RETRY = 1;
    /// The address space keeps a VMID of its own. ENOSPC when only two are left for all others.
    VM_CONFIG_RESERVE_VMID = 2;
    /// Most mappings of an address space.
    VM_MAX_MAPPINGS = 16384;
}

uapi! {
    /// Changes what a range of the caller's own GPU address space is mapped onto. Without syncobjs it has taken effect when the call returns, for running submissions too. With any, the call checks, plans and queues it and returns: it takes effect when the in-syncobjs have signalled and all that was queued before in the same space is done, and tells by its out-syncobjs. What arguments or lack of memory forbid, the call itself refuses; what fails later shows in the out-syncobjs. A mapping keeps its buffer until it is unmapped or the file is closed, and follows it from domain to domain.
    drm_uvm_vm_bind VmBind {
        /// UVM_VM_OP_*.
        op: u32,
        /// UVM_VM_* flags; for anything but a map only UVM_VM_REPLACE.
        flags: u32,
        /// GEM handle; for a map only. A buffer in SYSTEM is mapped by its pages, without a place in the GTT.
        handle: u32,
        /// Memory type of the page table entries, 0 to 3; for a map only.
        mtype: u32,
        /// First byte of the buffer, whole pages; for a map only.
        bo_offset: u64,
        /// First address, whole pages.
        va: u64,
        /// Bytes, whole pages, not zero.
        size: u64,
        /// Pointer to __u32 syncobj handles that have to signal before the change is made.
        in_syncs: u64,
        /// Pointer to __u32 syncobj handles that signal when the change is made: what waits for them sees it.
        out_syncs: u64,
        /// Entries at in_syncs; at most UVM_MAX_SYNCS.
        in_sync_count: u32,
        /// Entries at out_syncs; at most UVM_MAX_SYNCS.
        out_sync_count: u32,
    }
    /// Tells the last page fault in the caller's own GPU address space, and forgets it. The submission that faulted has ended with EFAULT.
    drm_uvm_fault_query FaultQuery {
        /// Out: first address of the page.
        va: u64,
        /// Out: faults since the last query; zero: none, and nothing else is valid.
        count: u64,
        /// Out: 1 if the access was a write.
        write: u32,
        /// Out: the hub's fault status register, or zero when a later fault of others had overwritten it.
        status: u32,
    }
    /// Says how the caller's address space is to be run.
    drm_uvm_vm_config VmConfig {
        /// UVM_VM_CONFIG_* flags; what is not named is off.
        flags: u32,
        /// Must be zero.
        pad: u32,
    }
    /// Takes the next page fault that waits for its page, with UVM_VM_CONFIG_RETRY. A bind that maps the page answers it, and the access is made again. A page that is bound by now has been answered, and one that a queued bind maps is told only if it still lacks what the access needs then. A fault is told once, and again if its access fails again after an answer.
    drm_uvm_fault_next FaultNext {
        /// Nanoseconds to wait at most; zero asks only, negative waits for ever.
        timeout_ns: i64,
        /// Out: first address of the page.
        va: u64,
        /// Out: 1 if the access was a write.
        write: u32,
        /// Out: the VMID, for people and traces.
        vmid: u32,
    }
    /// Tells the last hang of the caller's own submissions with UVM_SUBMIT_VM, and forgets it: the engine did not get on with one, which has ended with this error.
    drm_uvm_hang_query HangQuery {
        /// Out: hangs since the last query; zero: none, and nothing else is valid.
        count: u64,
        /// Out: address of the packet that the engine stood on.
        va: u64,
        /// Out: SDMA instance.
        ring: u32,
        /// Out: the error number: ETIME after the time limit, ECANCELED where the engine refused a packet.
        error: u32,
    }
}
