// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Submissions of packets, and registers.

uapi_consts! {
    /// The submission writes this buffer object.
    BO_WRITE = 1;
    /// The submission runs in the caller's own address space.
    SUBMIT_VM = 1;
    /// Most dwords of a submission.
    MAX_IB_DWORDS = 16384;
    /// Most buffer objects of a submission.
    MAX_BOS = 1024;
    /// Most relocations of a submission.
    MAX_RELOCS = 4096;
    /// Most syncobjs of a submission, each way.
    MAX_SYNCS = 256;
}

uapi! {
    /// A buffer object that a submission uses.
    drm_uvm_bo_ref BoRef {
        /// GEM handle.
        handle: u32,
        /// UVM_BO_WRITE if the submission writes it.
        flags: u32,
    }
    /// A place in the indirect buffer where the driver writes a 64-bit address: that of a buffer object plus an offset.
    drm_uvm_reloc Reloc {
        /// Dword of the indirect buffer (low dword; the next takes the high one).
        dword: u32,
        /// Index into the submission's buffer objects.
        bo: u32,
        /// Bytes added.
        offset: u64,
    }
    /// Runs SDMA packets as an indirect buffer: in the caller's own address space with UVM_SUBMIT_VM; else, for CAP_SYS_RAWIO only, copied from user memory and in VMID 0, with named buffers that belong in SYSTEM in GTT. All that it reaches (by the address space, or by name) is brought to where it belongs and stays there until it has ended: ENOSPC if that does not fit together.
    drm_uvm_submit Submit {
        /// SDMA instance.
        ring: u32,
        /// UVM_SUBMIT_VM or zero.
        flags: u32,
        /// Pointer to the packets; with UVM_SUBMIT_VM, where they are in the caller's address space, a multiple of 32.
        ib: u64,
        /// Dwords of packets; at most UVM_MAX_IB_DWORDS; with UVM_SUBMIT_VM a multiple of 8.
        ib_dwords: u32,
        /// Entries at bos; at most UVM_MAX_BOS.
        bo_count: u32,
        /// Pointer to drm_uvm_bo_ref.
        bos: u64,
        /// Pointer to drm_uvm_reloc.
        relocs: u64,
        /// Entries at relocs; at most UVM_MAX_RELOCS; none with UVM_SUBMIT_VM.
        reloc_count: u32,
        /// Entries at in_syncs; at most UVM_MAX_SYNCS.
        in_sync_count: u32,
        /// Pointer to __u32 syncobj handles to wait for.
        in_syncs: u64,
        /// Pointer to __u32 syncobj handles that the submission signals.
        out_syncs: u64,
        /// Entries at out_syncs; at most UVM_MAX_SYNCS.
        out_sync_count: u32,
        /// Must be zero.
        pad: u32,
    }
    /// Reads or writes a device register (CAP_SYS_RAWIO), for bring-up tests.
    drm_uvm_reg Reg {
        /// Dword index in the register space.
        index: u32,
        /// 1 writes, 0 reads.
        write: u32,
        /// Value.
        value: u32,
        /// Must be zero.
        pad: u32,
    }
}
