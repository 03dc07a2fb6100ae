// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Buffer objects: where they belong, what is in them, waiting for them.

uapi_consts! {
    /// System pages; the GPU reaches them by page tables of processes alone.
    DOMAIN_SYSTEM = 0;
    /// System pages that the GPU reaches through the GART.
    DOMAIN_GTT = 1;
    /// VRAM; the CPU reaches it through the BAR, or (UMA) as the part of system memory that it is.
    DOMAIN_VRAM = 2;
    /// The buffer has memory once it is used, not before, and where VRAM is full of what is in use it may be used in GTT instead.
    GEM_PAGEABLE = 1;
    /// The CPU is a frequent user of the pageable buffer: in VRAM it goes where the CPU reaches it. Without the flag it goes beyond the end of the BAR first, and is moved when the CPU touches a mapping of it.
    GEM_CPU_ACCESS = 8;
    /// The pageable buffer's system pages are mapped write-combined for the CPU, and the GPU's accesses do not snoop the CPU's caches. EINVAL where the device has no such segment.
    GEM_UNSNOOPED = 16;
    /// Write, not read.
    ACCESS_WRITE = 1;
    /// The content may be thrown away.
    GEM_DONT_NEED = 0;
    /// The content is needed, as it is at first.
    GEM_WILL_NEED = 1;
}

uapi! {
    /// Creates a buffer object. It belongs in a domain: there it is placed now, and brought for each submission that may reach it. While none does, others may push it out of VRAM or the GTT to system pages, and from there to swap; its content survives.
    drm_uvm_gem_create GemCreate {
        /// In: bytes, more than zero. Out: bytes rounded up to pages.
        size: u64,
        /// Where it belongs: UVM_DOMAIN_*; a pageable one, VRAM or GTT.
        domain: u32,
        /// UVM_GEM_* flags or zero; for anything but a pageable buffer zero.
        flags: u32,
        /// Out: GEM handle.
        handle: u32,
        /// Must be zero.
        pad: u32,
    }
    /// Gets the offset for mmap() on the render node.
    drm_uvm_gem_mmap GemMmap {
        /// GEM handle.
        handle: u32,
        /// Must be zero.
        pad: u32,
        /// Out: the offset.
        offset: u64,
    }
    /// Tells a buffer object's size and place.
    drm_uvm_gem_info GemInfo {
        /// GEM handle.
        handle: u32,
        /// Out: UVM_DOMAIN_* where it is now.
        domain: u32,
        /// Out: bytes.
        size: u64,
        /// Out: VMID-0 address while in GTT or VRAM, else zero. It holds while a submission uses the buffer; else until others push it out, or it is moved.
        gpu_addr: u64,
    }
    /// Moves a buffer object to a domain, where it belongs from then on, once the submissions that use it have ended. Returns when the data is there.
    drm_uvm_gem_move GemMove {
        /// GEM handle.
        handle: u32,
        /// UVM_DOMAIN_* to move to.
        domain: u32,
        /// UVM_MOVE_* flags; none are defined.
        flags: u32,
        /// An SDMA instance; which one copies is up to the driver.
        ring: u32,
    }
    /// Waits until a buffer object is idle.
    drm_uvm_gem_wait GemWait {
        /// GEM handle.
        handle: u32,
        /// Must be zero.
        flags: u32,
        /// Nanoseconds to wait at most; zero asks only, negative waits for ever.
        timeout_ns: i64,
    }
    /// Says whether the content of a buffer is needed. What is not needed may be thrown away at any time; until it is needed again, no submission may use it and no CPU access.
    drm_uvm_gem_advise GemAdvise {
        /// GEM handle.
        handle: u32,
        /// UVM_GEM_DONT_NEED or UVM_GEM_WILL_NEED.
        advice: u32,
        /// Must be zero.
        flags: u32,
        /// Out: 1 if the content is still there, 0 if it was thrown away and reads as zeros.
        retained: u32,
    }
    /// Reads or writes bytes of a buffer wherever it is, VRAM that the CPU does not reach included, without moving it there. Ordered with what the GPU does only by what the caller waits for.
    drm_uvm_gem_access GemAccess {
        /// GEM handle.
        handle: u32,
        /// UVM_ACCESS_WRITE or zero.
        flags: u32,
        /// First byte of the buffer.
        offset: u64,
        /// Bytes, within the buffer, not zero.
        size: u64,
        /// Pointer to the bytes.
        data: u64,
    }
}
