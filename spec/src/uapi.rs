// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The driver's ioctls, beside the common DRM ones (GEM close, PRIME, syncobj). The C header is made from this table.
//!
//! All structures have the same layout on 32 and 64 bits: naturally aligned, pointers as 64-bit integers.

/// A member of an ioctl structure, for the C header.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// C name.
    pub name: &'static str,
    /// C type.
    pub ty: &'static str,
    /// Documentation.
    pub doc: &'static str,
}

/// An ioctl structure, for the C header.
#[derive(Clone, Copy, Debug)]
pub struct Struct {
    /// C name.
    pub name: &'static str,
    /// Documentation.
    pub doc: &'static str,
    /// Members.
    pub members: &'static [Member],
    /// Bytes.
    pub size: usize,
}

/// Declares structures once, for Rust and for C.
macro_rules! uapi {
    (@c u32) => { "__u32" };
    (@c u64) => { "__u64" };
    (@c i64) => { "__s64" };
    ($(
        $(#[doc = $doc:literal])+
        $c:ident $name:ident { $($(#[doc = $mdoc:literal])+ $member:ident : $ty:tt,)* }
    )*) => {
        $(
            $(#[doc = $doc])+
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name { $($(#[doc = $mdoc])+ pub $member: $ty,)* }
        )*
        /// Every structure, in the order of the C header.
        pub const STRUCTS: &[Struct] = &[$(Struct {
            name: stringify!($c),
            doc: concat!($($doc),+),
            members: &[$(Member { name: stringify!($member), ty: uapi!(@c $ty), doc: concat!($($mdoc),+) }),*],
            size: core::mem::size_of::<$name>(),
        }),*];
    };
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

/// An ioctl: C name, number above DRM_COMMAND_BASE, structure.
pub const IOCTLS: &[(&str, u32, &str)] = &[
    ("GET_PARAM", nr::GET_PARAM, "drm_uvm_get_param"),
    ("GEM_CREATE", nr::GEM_CREATE, "drm_uvm_gem_create"),
    ("GEM_MMAP", nr::GEM_MMAP, "drm_uvm_gem_mmap"),
    ("GEM_INFO", nr::GEM_INFO, "drm_uvm_gem_info"),
    ("GEM_MOVE", nr::GEM_MOVE, "drm_uvm_gem_move"),
    ("GEM_WAIT", nr::GEM_WAIT, "drm_uvm_gem_wait"),
    ("SUBMIT", nr::SUBMIT, "drm_uvm_submit"),
    ("REG", nr::REG, "drm_uvm_reg"),
    ("VM_BIND", nr::VM_BIND, "drm_uvm_vm_bind"),
    ("FAULT_QUERY", nr::FAULT_QUERY, "drm_uvm_fault_query"),
    ("QUEUE_CREATE", nr::QUEUE_CREATE, "drm_uvm_queue_create"),
    ("QUEUE_DESTROY", nr::QUEUE_DESTROY, "drm_uvm_queue_destroy"),
    ("QUEUE_KICK", nr::QUEUE_KICK, "drm_uvm_queue_kick"),
    ("QUEUE_INFO", nr::QUEUE_INFO, "drm_uvm_queue_info"),
    ("VM_CONFIG", nr::VM_CONFIG, "drm_uvm_vm_config"),
    ("FAULT_NEXT", nr::FAULT_NEXT, "drm_uvm_fault_next"),
    ("HANG_QUERY", nr::HANG_QUERY, "drm_uvm_hang_query"),
    ("GEM_ADVISE", nr::GEM_ADVISE, "drm_uvm_gem_advise"),
    ("SVM_CONFIG", nr::SVM_CONFIG, "drm_uvm_svm_config"),
    ("SVM_PREFETCH", nr::SVM_PREFETCH, "drm_uvm_svm_prefetch"),
    ("SVM_RESIDENCY", nr::SVM_RESIDENCY, "drm_uvm_svm_residency"),
    ("SVM_ADVISE", nr::SVM_ADVISE, "drm_uvm_svm_advise"),
    ("SVM_ATTRIBUTES", nr::SVM_ATTRIBUTES, "drm_uvm_svm_attributes"),
    ("SVM_EVENTS", nr::SVM_EVENTS, "drm_uvm_svm_events"),
    ("GEM_ACCESS", nr::GEM_ACCESS, "drm_uvm_gem_access"),
];

/// Ioctl numbers above DRM_COMMAND_BASE (0x40). All are DRM_IOWR.
#[allow(missing_docs)]
pub mod nr {
    pub const GET_PARAM: u32 = 0;
    pub const GEM_CREATE: u32 = 1;
    pub const GEM_MMAP: u32 = 2;
    pub const GEM_INFO: u32 = 3;
    pub const GEM_MOVE: u32 = 4;
    pub const GEM_WAIT: u32 = 5;
    pub const SUBMIT: u32 = 6;
    pub const REG: u32 = 7;
    pub const VM_BIND: u32 = 8;
    pub const FAULT_QUERY: u32 = 9;
    pub const QUEUE_CREATE: u32 = 10;
    pub const QUEUE_DESTROY: u32 = 11;
    pub const QUEUE_KICK: u32 = 12;
    pub const QUEUE_INFO: u32 = 13;
    pub const VM_CONFIG: u32 = 14;
    pub const FAULT_NEXT: u32 = 15;
    pub const HANG_QUERY: u32 = 16;
    pub const GEM_ADVISE: u32 = 17;
    pub const SVM_CONFIG: u32 = 18;
    pub const SVM_PREFETCH: u32 = 19;
    pub const SVM_RESIDENCY: u32 = 20;
    pub const SVM_ADVISE: u32 = 21;
    pub const SVM_ATTRIBUTES: u32 = 22;
    pub const SVM_EVENTS: u32 = 23;
    pub const GEM_ACCESS: u32 = 27;
}

/// Declares constants once, for Rust and for C (there with UVM_ before the name).
macro_rules! uapi_consts {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: u32 = $value;)*
        /// Every constant: name, value, documentation.
        pub const CONSTS: &[(&str, u32, &str)] = &[$((stringify!($name), $value, concat!($($doc),+))),*];
    };
}

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
    /// The submission writes this buffer object.
    BO_WRITE = 1;
    /// The submission runs in the caller's own address space.
    SUBMIT_VM = 1;
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
    /// Accesses to pages that are not mapped, or not for that access, wait instead of failing. It holds for what is submitted from now on, and for the caller's queues at once.
    VM_CONFIG_RETRY = 1;
    /// The address space keeps a VMID of its own. ENOSPC when only two are left for all others.
    VM_CONFIG_RESERVE_VMID = 2;
    /// Most mappings of an address space.
    VM_MAX_MAPPINGS = 16384;
    /// Most dwords of a submission.
    MAX_IB_DWORDS = 16384;
    /// Most buffer objects of a submission.
    MAX_BOS = 1024;
    /// Most relocations of a submission.
    MAX_RELOCS = 4096;
    /// Most syncobjs of a submission, each way.
    MAX_SYNCS = 256;
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
