// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! User queues.

uapi_consts! {
    /// Least bytes of a user queue's ring.
    QUEUE_MIN_BYTES = 4096;
    /// Most bytes of a user queue's ring.
    QUEUE_MAX_BYTES = 16777216;
    /// A queue of an SDMA instance.
    QUEUE_SDMA = 0;
    /// A queue of the access engine.
    QUEUE_ACCESS = 1;
    /// Start the queue anew, empty.
    QUEUE_RESET = 1;
    /// The queue executes what it is given.
    QUEUE_RUNNING = 0;
    /// The queue waits for a page.
    QUEUE_PARKED = 1;
    /// The queue stopped on the packet at its read pointer; UVM_QUEUE_RESET starts it again.
    QUEUE_STOPPED = 2;
    /// It stopped on a packet that cannot be executed.
    QUEUE_CAUSE_PACKET = 1;
    /// It stopped on a page fault; DRM_UVM_FAULT_QUERY tells which.
    QUEUE_CAUSE_FAULT = 2;
    /// It stopped on an indirect buffer inside an indirect buffer.
    QUEUE_CAUSE_NESTED = 3;
}

uapi! {
    /// Makes a user queue: one of the rings that an SDMA instance has beside the kernel's, or one of the access engine, in the caller's own address space and VMID, which is its own while it has a queue. The caller writes packets to the ring by itself; nothing checks them, nothing orders them, and no fence tells of them.
    drm_uvm_queue_create QueueCreate {
        /// SDMA instance; 0 for the access engine.
        ring: u32,
        /// Must be zero.
        flags: u32,
        /// Where the ring lies in the caller's address space, a multiple of 256. It may be mapped later.
        ring_va: u64,
        /// Bytes of the ring: a power of two from UVM_QUEUE_MIN_BYTES to UVM_QUEUE_MAX_BYTES.
        ring_size: u64,
        /// Where the device writes the read pointer, 64 bits, a multiple of 8; zero: nowhere.
        rptr_va: u64,
        /// Out: the queue.
        id: u32,
        /// UVM_QUEUE_SDMA or UVM_QUEUE_ACCESS.
        kind: u32,
    }
    /// Ends a user queue: what it had not executed never is. When the call returns, it touches no memory any more.
    drm_uvm_queue_destroy QueueDestroy {
        /// The queue.
        id: u32,
        /// Must be zero.
        pad: u32,
    }
    /// Rings a user queue's doorbell. A call, because the transport has no page of doorbells that a process could map.
    drm_uvm_queue_kick QueueKick {
        /// The queue.
        id: u32,
        /// UVM_QUEUE_RESET or zero.
        flags: u32,
        /// Write pointer: bytes put into the ring since it was made, never wrapping; a multiple of 4. With UVM_QUEUE_RESET the queue drops what it was doing, is empty, and goes on from here.
        wptr: u64,
    }
    /// Tells how a user queue stands.
    drm_uvm_queue_info QueueInfo {
        /// The queue.
        id: u32,
        /// Out: UVM_QUEUE_RUNNING, UVM_QUEUE_PARKED or UVM_QUEUE_STOPPED.
        state: u32,
        /// Out: read pointer, bytes, never wrapping. The packet there is being executed, or is the one that it stopped on.
        rptr: u64,
        /// Out: write pointer that was last kicked.
        wptr: u64,
        /// Out: UVM_QUEUE_CAUSE_* of one that stopped, else zero.
        cause: u32,
        /// Out: the VMID, for people and traces.
        vmid: u32,
    }
}
