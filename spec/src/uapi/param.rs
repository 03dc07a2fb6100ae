// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What is asked of device and driver: sizes, counters.

uapi_consts! {
    /// Version of the device's window.
    PARAM_DEVICE_VERSION = 0;
    /// Bytes of VRAM.
    PARAM_VRAM_SIZE = 1;
    /// Bytes of VRAM in use.
    PARAM_VRAM_USED = 2;
    /// Bytes of the GART window.
    PARAM_GTT_SIZE = 3;
    /// Bytes of the GART window in use.
    PARAM_GTT_USED = 4;
    /// SDMA instances.
    PARAM_RINGS = 5;
    /// Levels of the device's GPUVM page tables.
    PARAM_LEVELS = 6;
    /// Interrupt vectors seen by the driver.
    PARAM_INTERRUPTS = 7;
    /// Fences signalled.
    PARAM_FENCES = 8;
    /// Page faults reported by the device.
    PARAM_FAULTS = 9;
    /// First VMID-0 address of the GART window.
    PARAM_GART_START = 10;
    /// First VMID-0 address of VRAM (the FB aperture).
    PARAM_FB_START = 11;
    /// Ring timeouts since the driver was loaded.
    PARAM_TIMEOUTS = 12;
    /// SDMA bytes that the driver's own moves copied.
    PARAM_BYTES_MOVED = 13;
    /// SDMA packets that the device counted since its reset.
    PARAM_DEVICE_PACKETS = 14;
    /// Bytes that the device's SDMA copied, filled or wrote since its reset.
    PARAM_DEVICE_BYTES = 15;
    /// Interrupt vectors that the device counted since its reset.
    PARAM_DEVICE_INTERRUPTS = 16;
    /// Page faults that the device counted since its reset.
    PARAM_DEVICE_FAULTS = 17;
    /// Page-table walks that the device counted since its reset.
    PARAM_DEVICE_WALKS = 18;
    /// Translations that the device's caches held since its reset.
    PARAM_DEVICE_TLB_HITS = 19;
    /// Bytes of a process's GPU address space.
    PARAM_VM_SIZE = 20;
    /// Feature bits of the device's window, UVM_WIN_CAP_*.
    PARAM_CAPABILITIES = 21;
    /// Page faults that wait for their pages, as the driver took them in; one that is raised again counts again.
    PARAM_RETRY_FAULTS = 40;
    /// Answers to them.
    PARAM_RETRY_ANSWERS = 41;
    /// Times that their interrupt ring overflowed.
    PARAM_RETRY_OVERFLOWS = 42;
    /// User queues that a process may still make, on all SDMA instances together.
    PARAM_FREE_QUEUES = 43;
    /// Times that the device told of an uncorrectable error in VRAM: each read of a broken page tells.
    PARAM_VRAM_ERRORS = 50;
    /// Bytes of buffers that were moved out of VRAM or the GTT to make room.
    PARAM_MM_EVICTED = 51;
    /// Bytes of buffers that were brought into VRAM or the GTT.
    PARAM_MM_BROUGHT_IN = 52;
    /// Bytes of buffers that were written to the backing store.
    PARAM_MM_SWAPPED_OUT = 53;
    /// Bytes of buffers that were read from there.
    PARAM_MM_SWAPPED_IN = 54;
    /// Bytes of buffers that nobody needed and that were thrown away.
    PARAM_MM_PURGED = 55;
    /// Moves of buffers that failed and were taken back.
    PARAM_MM_FAILED = 56;
    /// Submissions and accesses that were refused as their buffers did not fit.
    PARAM_MM_REFUSED = 57;
    /// Bytes of system pages that buffers have.
    PARAM_MM_PAGES = 58;
    /// Faults in mirrored memory that were served.
    PARAM_SVM_FAULTS = 60;
    /// Of these, those whose page had come meanwhile.
    PARAM_SVM_STALE = 61;
    /// Of these, those whose page cannot come: no memory is there, or not for that access.
    PARAM_SVM_REFUSED = 62;
    /// Batches that they came in.
    PARAM_SVM_BATCHES = 63;
    /// Page table entries written for mirrored pages.
    PARAM_SVM_MAPPED = 64;
    /// Page table entries taken away as memory changed.
    PARAM_SVM_ZAPPED = 65;
    /// Changes of memory that took any away.
    PARAM_SVM_INVALIDATIONS = 66;
    /// Times that the device was asked to forget mirrored pages.
    PARAM_SVM_FLUSHES = 67;
    /// Blocks of 2 MiB that are mirrored now.
    PARAM_SVM_BLOCKS = 68;
    /// Pages of mirrored memory that the device got for itself, for an atomic.
    PARAM_SVM_EXCLUSIVE = 100;
    /// Of these, those that a CPU had back.
    PARAM_SVM_TAKEN_BACK = 101;
    /// Of these, pages of files, which it had for a while only.
    PARAM_SVM_LENT = 102;
    /// Faults of the largest batch since the driver was loaded.
    PARAM_SVM_LARGEST_BATCH = 103;
    /// Queues of the access engine that a process may still make.
    PARAM_FREE_ACCESS_QUEUES = 80;
    /// Times that an access counter reached its threshold.
    PARAM_ACCESS_NOTIFICATIONS = 81;
    /// Bytes of VRAM that hold pages of processes' own memory now.
    PARAM_DEVMEM_USED = 70;
    /// Bytes of processes' own memory that went to VRAM.
    PARAM_DEVMEM_TO_VRAM = 71;
    /// Bytes of processes' own memory that came back to system memory, for whatever reason.
    PARAM_DEVMEM_TO_SYSTEM = 72;
    /// Folios of 2 MiB among both, each moved by one copy.
    PARAM_DEVMEM_HUGE = 73;
    /// Accesses of CPUs that brought memory back.
    PARAM_DEVMEM_CPU_FAULTS = 74;
    /// Bytes of processes' own memory that were moved out of VRAM to make room.
    PARAM_DEVMEM_EVICTED = 75;
    /// Bytes that were to be moved and stayed where they were, as there was no memory or they were in use.
    PARAM_DEVMEM_FAILED = 76;
    /// Bytes that the CPU copied as no PAGE ring did.
    PARAM_DEVMEM_BY_CPU = 77;
    /// Bytes of VRAM that the CPU reaches, the first ones.
    PARAM_VRAM_VISIBLE = 85;
}

uapi! {
    /// Asks for one of the UVM_PARAM_* values.
    drm_uvm_get_param GetParam {
        /// Which.
        param: u32,
        /// Must be zero.
        pad: u32,
        /// Out: the value.
        value: u64,
    }
}
