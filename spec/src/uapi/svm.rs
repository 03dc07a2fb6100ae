// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Processes' own memory: attributes, prefetch, residency, and the stream of events.

uapi_consts! {
    /// Advice: where the range is best, UVM_SVM_IN_SYSTEM, UVM_SVM_IN_VRAM or UVM_SVM_ANYWHERE.
    SVM_PREFERRED = 0;
    /// Advice: with 1, it is mapped for the device wherever it is, and its faults move nothing.
    SVM_ACCESSED = 1;
    /// Advice: 1 if the device may have a second copy in VRAM of what the process may only read (mprotect): CPU and device both read what is near. A copy ends when the process may write.
    SVM_DUPLICATE = 2;
    /// Advice: with 1, the device may not touch it.
    SVM_NO_ACCESS = 3;
    /// Advice: with 1, the device may not write it.
    SVM_READ_ONLY = 4;
    /// Advice: with 1, its faults are answered as soon as their pages are there.
    SVM_EAGER = 5;
    /// Advice: log2 of the pages that a fault brings, or UVM_SVM_ANYWHERE for what is usual.
    SVM_GRANULE = 6;
    /// Advice: it belongs to this group of ranges; zero: to none.
    SVM_GROUP = 7;
    /// Advice: as if nothing had been said.
    SVM_RESET = 8;
    /// Advice: a new group of ranges, which may move.
    SVM_NEW_GROUP = 32;
    /// Advice: the end of a group; its ranges are in none.
    SVM_END_GROUP = 33;
    /// Advice: the ranges of a group stay where they are.
    SVM_HOLD_GROUP = 34;
    /// Advice: the ranges of a group may move.
    SVM_FREE_GROUP = 35;
    /// Place: system memory.
    SVM_IN_SYSTEM = 0;
    /// Place: VRAM.
    SVM_IN_VRAM = 1;
    /// Place: nothing was said.
    SVM_ANYWHERE = 4294967295;
    /// Prefetch: all ranges of a group, of the caller's own mirror.
    SVM_PREFETCH_GROUP = 1;
    /// The number of records that may wait is set.
    SVM_EVENTS_KEEP = 1;
    /// Record: a fault; the detail is 1 for a write, 2 for an atomic.
    SVM_REC_FAULT = 1;
    /// Record: pages moved; the detail: 0 a fault, 1 a prefetch, 2 to make room, 3 a CPU's access, 4 accesses that were counted.
    SVM_REC_MIGRATION = 2;
    /// Record: pages were evicted.
    SVM_REC_EVICTION = 3;
    /// Record: pages go to and fro.
    SVM_REC_THRASH = 4;
    /// Record: pages that nobody has touched yet are brought.
    SVM_REC_PREFETCH = 5;
    /// Record: a fault waits until the time that the value tells.
    SVM_REC_THROTTLE = 6;
    /// Record: a page stays until the time that the value tells.
    SVM_REC_PIN = 7;
    /// A granule was reached over the bus often; its size in bytes is the record's value.
    SVM_REC_COUNTER = 8;
    /// Record: an access that was forbidden.
    SVM_REC_DENIED = 9;
    /// Record: pages that could not move.
    SVM_REC_FAILURE = 10;
}

uapi! {
    /// Moves the caller's own memory: to VRAM, where the GPU wants it, or to system memory. What a CPU accesses comes back by itself. Returns when it is there.
    drm_uvm_svm_prefetch SvmPrefetch {
        /// First byte: a multiple of the page; with UVM_SVM_PREFETCH_GROUP the group.
        va: u64,
        /// Bytes: a multiple of the page, more than zero; with UVM_SVM_PREFETCH_GROUP zero.
        size: u64,
        /// UVM_DOMAIN_VRAM or UVM_DOMAIN_SYSTEM.
        domain: u32,
        /// UVM_SVM_PREFETCH_GROUP or zero.
        flags: u32,
        /// Out: bytes that were moved.
        moved: u64,
        /// Out: bytes that were to be moved and stayed where they were: pages in use, or no memory for them.
        failed: u64,
    }
    /// Tells where pages of the caller's own memory are at this moment, and how many of them the device has in its page tables. Only for who mirrors its memory; EPERM for another process that has the file.
    drm_uvm_svm_residency SvmResidency {
        /// First address, whole pages.
        va: u64,
        /// Bytes, whole pages, not zero.
        size: u64,
        /// Out: bytes in system memory.
        system: u64,
        /// Out: bytes in VRAM; what has a second copy counts in both places.
        vram: u64,
        /// Out: bytes in the device's page tables.
        mapped: u64,
    }
    /// Says something about a range of the caller's own memory, or about a group of ranges. Nothing moves at once.
    drm_uvm_svm_advise SvmAdvise {
        /// First address, whole pages; not looked at for groups.
        va: u64,
        /// Bytes, whole pages; not looked at for groups.
        size: u64,
        /// UVM_SVM_*.
        advice: u32,
        /// What the advice says is wanted; for UVM_SVM_NEW_GROUP out: the group.
        value: u32,
    }
    /// Tells what was said about an address, and the range around it of which the same was said.
    drm_uvm_svm_attributes SvmAttributes {
        /// The address.
        va: u64,
        /// Out: first address of the range.
        start: u64,
        /// Out: address behind the last.
        end: u64,
        /// Out: UVM_SVM_IN_SYSTEM, UVM_SVM_IN_VRAM or UVM_SVM_ANYWHERE.
        preferred: u32,
        /// Out: log2 of the pages that a fault brings, or UVM_SVM_ANYWHERE.
        granule: u32,
        /// Out: group of ranges, or zero.
        group: u32,
        /// Out: what is set of 1 << UVM_SVM_ACCESSED to 1 << UVM_SVM_EAGER.
        flags: u32,
    }
    /// Something that happened to mirrored memory.
    drm_uvm_svm_record SvmRecord {
        /// Nanoseconds of CLOCK_MONOTONIC.
        time: u64,
        /// First address.
        va: u64,
        /// By kind.
        value: u64,
        /// How many, of one block of 2 MiB.
        pages: u32,
        /// UVM_SVM_REC_*.
        kind: u32,
        /// By kind.
        detail: u32,
        /// UVM_SVM_IN_SYSTEM, UVM_SVM_IN_VRAM, or 2 for both.
        place: u32,
    }
    /// Reads records of what happened to the caller's own memory, oldest first. While there are any, poll() of the file tells POLLPRI.
    drm_uvm_svm_events SvmEvents {
        /// Pointer to drm_uvm_svm_record.
        records: u64,
        /// In: room there. Out: how many were read.
        count: u32,
        /// UVM_SVM_EVENTS_KEEP or zero.
        flags: u32,
        /// With UVM_SVM_EVENTS_KEEP: how many may wait to be read from now on, at most 65536; zero: none are kept.
        keep: u32,
        /// Must be zero.
        pad: u32,
        /// Out: how many were lost since the last call, as nobody read.
        lost: u64,
    }
    /// Lets the caller's address space mirror the caller's own memory: a submission with UVM_SUBMIT_VM or a queue may use any pointer of the process, packets included. What the device touches is brought when it is touched, and accesses of memory that does not exist, or not for that access, fail. It holds until the file is closed, and for the calling process only: nobody else may submit through the file, a child neither. Binds go into what is left: not into 2 MiB in which the device has used memory of the process (EEXIST), and such an address with a bind beside it is the process's own to answer (DRM_UVM_FAULT_NEXT). Binds with syncobjs wait for them in the call. EBUSY when the space mirrors memory already, EOPNOTSUPP when the device's addresses have less than 48 bits.
    drm_uvm_svm_config SvmConfig {
        /// Must be zero.
        flags: u32,
        /// Must be zero.
        pad: u32,
    }
}
