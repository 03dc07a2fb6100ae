// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The structures and numbers of the C border of the memory manager. Docs are kernel-doc: they become the header's.

use uvm_policy::event::{Action, Failure, Issued, Reply};
use uvm_policy::{ActionId, EvictKind, Location, ManagerStats, Residence, SegmentKind, Usage};

/// Segment: the device's own memory, through the BAR the CPU's as well.
pub const UVM_MM_SEG_LOCAL: u32 = 0;
/// Segment: the device's own memory beyond the end of the BAR.
pub const UVM_MM_SEG_LOCAL_INVISIBLE: u32 = 1;
/// Segment: system pages through the GART, snooped.
pub const UVM_MM_SEG_SNOOPED: u32 = 2;
/// Segment: system pages through the GART, not snooped.
pub const UVM_MM_SEG_UNSNOOPED: u32 = 3;
/// Segment: the GART addresses that copies between local memory and system pages go through.
pub const UVM_MM_SEG_PAGING: u32 = 4;
/// Segment: VRAM of the driver's own, where uvm_policy_alloc() and page tables go.
pub const UVM_MM_SEG_OWN_LOCAL: u32 = 5;
/// Segment: GART addresses of the driver's own, where uvm_policy_alloc() goes.
pub const UVM_MM_SEG_OWN_PCIE: u32 = 6;

/// Placement, no segment: system pages without GPU addresses, for jobs that go by page tables.
pub const UVM_MM_SEG_SYSTEM: u32 = 7;

/// Eviction: least recently used.
pub const UVM_MM_EVICT_LRU: u32 = 0;
/// Eviction: clock.
pub const UVM_MM_EVICT_CLOCK: u32 = 1;
/// Eviction: two queues.
pub const UVM_MM_EVICT_2Q: u32 = 2;

/// Event: a process begins; @size: most bytes in all, @offset: in local memory, @value: of
/// system pages. Reply: @id.
pub const UVM_MM_EV_OPEN: u32 = 0;
/// Event: @process ends; -EBUSY while it has allocations or uses.
pub const UVM_MM_EV_CLOSE: u32 = 1;
/// Event: an allocation of @process: @size, @align, @kinds, @priority, @flags. Reply: @id.
pub const UVM_MM_EV_CREATE: u32 = 2;
/// Event: @id is given up. UVM_MM_DO_GONE follows.
pub const UVM_MM_EV_DESTROY: u32 = 3;
/// Event: @id got one more place in an address space.
pub const UVM_MM_EV_MAP: u32 = 4;
/// Event: @id lost one.
pub const UVM_MM_EV_UNMAP: u32 = 5;
/// Event: a job of @process needs @bos; flag UVM_MM_FLAG_ADDRESSED. Reply: @id; then follows
/// UVM_MM_DO_READY or UVM_MM_DO_REFUSED.
pub const UVM_MM_EV_SUBMIT: u32 = 6;
/// Event: the device missed a page of @id, for @process. As UVM_MM_EV_SUBMIT.
pub const UVM_MM_EV_FAULT: u32 = 7;
/// Event: the CPU wants @id; flag UVM_MM_FLAG_MAPPING. Reply: where it can, or a ticket.
pub const UVM_MM_EV_CPU_ACCESS: u32 = 8;
/// Event: @id should be in kind @value, whatever its @kinds. Reply: @id, a ticket.
pub const UVM_MM_EV_MOVE: u32 = 9;
/// Event: nobody waits for ticket @id; -EBUSY if it was told to be ready.
pub const UVM_MM_EV_CANCEL: u32 = 10;
/// Event: what ticket @id stands for has ended.
pub const UVM_MM_EV_FENCE: u32 = 11;
/// Event: @id stays where it is.
pub const UVM_MM_EV_PIN: u32 = 12;
/// Event: one pin less.
pub const UVM_MM_EV_UNPIN: u32 = 13;
/// Event: the content of @id is needed (@value 1) or not (0). Reply: @value 1: kept until now.
pub const UVM_MM_EV_ADVISE: u32 = 14;
/// Event: give up @size bytes of system pages. Reply: @value, the bytes that will be.
pub const UVM_MM_EV_PRESSURE: u32 = 15;
/// Event: time has passed.
pub const UVM_MM_EV_TICK: u32 = 16;
/// Event: action @id has ended; @value: 0, or UVM_MM_FAIL_*.
pub const UVM_MM_EV_DONE: u32 = 17;
/// Event: from the next use on, @id is placed in @kinds.
pub const UVM_MM_EV_PLACE: u32 = 18;
/// Event: a chunk of @size bytes is wanted for processes' own memory, which has @value bytes. Reply:
/// @value: @size if one is free or will be, or 0.
pub const UVM_MM_EV_MAKE_WAY: u32 = 19;

/// Failure: no page, no page table.
pub const UVM_MM_FAIL_MEMORY: u64 = 1;
/// Failure: the backing store is full.
pub const UVM_MM_FAIL_SWAP: u64 = 2;
/// Failure: the engine, the bus or the backing store.
pub const UVM_MM_FAIL_IO: u64 = 3;

/// Flag of UVM_MM_EV_CREATE: it may be moved out of a segment again.
pub const UVM_MM_FLAG_PAGEABLE: u32 = 1;
/// Flag of UVM_MM_EV_CREATE: rather a lesser kind with room than to move others out.
pub const UVM_MM_FLAG_FALLBACK: u32 = 2;
/// Flag of UVM_MM_EV_CPU_ACCESS: not a few bytes but a mapping.
pub const UVM_MM_FLAG_MAPPING: u32 = 4;
/// Flag of UVM_MM_EV_SUBMIT: the job knows no page tables, all needs an address.
pub const UVM_MM_FLAG_ADDRESSED: u32 = 8;

/// Reply: nothing to say.
pub const UVM_MM_REPLY_NONE: u32 = 0;
/// Reply: @id names what was made or asked for.
pub const UVM_MM_REPLY_ID: u32 = 1;
/// Reply: the CPU reaches it at @domain, @offset.
pub const UVM_MM_REPLY_DIRECT: u32 = 2;
/// Reply: only the device does, at @domain, @offset.
pub const UVM_MM_REPLY_PEEK: u32 = 3;
/// Reply: @value.
pub const UVM_MM_REPLY_VALUE: u32 = 4;

/// Action: make zeroed system pages for [@offset, @offset + @size) of @bo.
pub const UVM_MM_DO_ALLOC_PAGES: u32 = 1;
/// Action: give back those that are there. Must not fail.
pub const UVM_MM_DO_FREE_PAGES: u32 = 2;
/// Action: point the GART from @gart on at these pages, invalidate.
pub const UVM_MM_DO_BIND: u32 = 3;
/// Action: point the GART from @gart on at the dummy page, invalidate, await ACK. Must not fail.
pub const UVM_MM_DO_UNBIND: u32 = 4;
/// Action: copy @size bytes and await the end.
pub const UVM_MM_DO_COPY: u32 = 5;
/// Action: fill @size bytes at @to with zeros and await the end.
pub const UVM_MM_DO_CLEAR: u32 = 6;
/// Action: write the range to the backing store; the pages stay.
pub const UVM_MM_DO_SWAP_OUT: u32 = 7;
/// Action: read it from there; the copy stays.
pub const UVM_MM_DO_SWAP_IN: u32 = 8;
/// Action: drop all copies of @bo there. Must not fail.
pub const UVM_MM_DO_SWAP_DROP: u32 = 9;
/// Action: take @bo out of all page tables, GPUs' and CPUs', invalidate, await the ACKs.
pub const UVM_MM_DO_ZAP: u32 = 10;
/// Action: write its entries in each address space that maps it: it is at @to.
pub const UVM_MM_DO_WRITE_PTES: u32 = 11;
/// Notice: ticket @bo has all it needs, until UVM_MM_EV_FENCE.
pub const UVM_MM_DO_READY: u32 = 12;
/// Notice: ticket @bo cannot have it, because of @error; it is gone.
pub const UVM_MM_DO_REFUSED: u32 = 13;
/// Notice: @bo is gone.
pub const UVM_MM_DO_GONE: u32 = 14;
/// Action: as UVM_MM_DO_ALLOC_PAGES, of any content: all is overwritten before anybody sees it.
pub const UVM_MM_DO_ALLOC_STALE: u32 = 15;
/// Action: copy from @from to the range's pages, bound at @gart until the end, and await it.
pub const UVM_MM_DO_PAGE_OUT: u32 = 16;
/// Action: the same from these pages to @to.
pub const UVM_MM_DO_PAGE_IN: u32 = 17;

/// Most segments of a device.
pub const UVM_MM_MAX_SEGMENTS: usize = 7;
/// Most kinds of segment that an allocation may be in.
pub const UVM_MM_MAX_KINDS: usize = 4;

/// struct uvm_mm_segment - a segment of a device
/// @base: its first byte, in VRAM or in the GART
/// @size: bytes
/// @kind: UVM_MM_SEG_*
/// @pad: must be 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // said in kernel-doc above, here and below
pub struct UvmMmSegment {
    pub base: u64,
    pub size: u64,
    pub kind: u32,
    pub pad: u32,
}

/// struct uvm_mm_config - how the memory manager is to work
/// @chunk: most bytes of one copy through the paging segment
/// @evict: UVM_MM_EVICT_LRU, UVM_MM_EVICT_CLOCK or UVM_MM_EVICT_2Q
/// @count: number of @segments
/// @segments: the device's, one of them of UVM_MM_SEG_PAGING
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct UvmMmConfig {
    pub chunk: u64,
    pub evict: u32,
    pub count: u32,
    pub segments: [UvmMmSegment; UVM_MM_MAX_SEGMENTS],
}

/// struct uvm_mm_event - something that happened
/// @op: UVM_MM_EV_OPEN to UVM_MM_EV_MAKE_WAY, which say what else is used; the rest must be 0
/// @flags: flags of that event
/// @process: of UVM_MM_EV_OPEN
/// @id: an allocation, a ticket or an action
/// @size: bytes
/// @align: bytes: a power of two, or 0
/// @offset: of UVM_MM_EV_OPEN alone
/// @value: a number
/// @kinds: kinds of segment, best first
/// @nr_kinds: how many of them
/// @priority: 0 leaves first, 2 last
/// @nr_bos: how many @bos, at most 65536
/// @pad: must be 0
/// @bos: the working set
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct UvmMmEvent {
    pub op: u32,
    pub flags: u32,
    pub process: u64,
    pub id: u64,
    pub size: u64,
    pub align: u64,
    pub offset: u64,
    pub value: u64,
    pub kinds: [u32; UVM_MM_MAX_KINDS],
    pub nr_kinds: u32,
    pub priority: u32,
    pub nr_bos: u32,
    pub pad: u32,
    pub bos: *const u64,
}

impl Default for UvmMmEvent {
    fn default() -> Self {
        Self {
            op: 0,
            flags: 0,
            process: 0,
            id: 0,
            size: 0,
            align: 0,
            offset: 0,
            value: 0,
            kinds: [0; UVM_MM_MAX_KINDS],
            nr_kinds: 0,
            priority: 0,
            nr_bos: 0,
            pad: 0,
            bos: core::ptr::null(),
        }
    }
}

/// struct uvm_mm_reply - the answer to an event
/// @kind: UVM_MM_REPLY_*
/// @domain: UVM_POLICY_DOMAIN_*
/// @id: what was made, or a ticket; for -EBUSY the move to wait for, if there is one
/// @offset: in @domain
/// @value: a number
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmMmReply {
    pub kind: u32,
    pub domain: u32,
    pub id: u64,
    pub offset: u64,
    pub value: u64,
}

/// struct uvm_mm_action - something to do
/// @id: for UVM_MM_EV_DONE; 0 for notices
/// @bo: the allocation, or a ticket
/// @offset: first byte of it
/// @size: bytes
/// @gart: offset in the GART
/// @from: offset in @from_domain
/// @to: offset in @to_domain
/// @op: UVM_MM_DO_*, which say what else is used
/// @from_domain: UVM_POLICY_DOMAIN_*
/// @to_domain: UVM_POLICY_DOMAIN_*
/// @error: a negative errno
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmMmAction {
    pub id: u64,
    pub bo: u64,
    pub offset: u64,
    pub size: u64,
    pub gart: u64,
    pub from: u64,
    pub to: u64,
    pub op: u32,
    pub from_domain: u32,
    pub to_domain: u32,
    pub error: i32,
}

/// struct uvm_mm_place - where the bytes of an allocation are valid
/// @offset: in the domain of @kind
/// @kind: UVM_MM_SEG_*, or UVM_MM_AT_*
/// @pad: 0
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmMmPlace {
    pub offset: u64,
    pub kind: u32,
    pub pad: u32,
}

/// Place: nowhere, it reads as zeros.
pub const UVM_MM_AT_NOTHING: u32 = 16;
/// Place: system pages that the GPU has no address for.
pub const UVM_MM_AT_PAGES: u32 = 17;
/// Place: the backing store.
pub const UVM_MM_AT_SWAP: u32 = 18;

/// struct uvm_mm_usage - bytes of a process; what moves counts at both ends
/// @total: sizes of its allocations
/// @local: in local memory
/// @pcie: in PCIe segments
/// @pages: in system pages without GPU addresses
/// @swap: in the backing store
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmMmUsage {
    pub total: u64,
    pub local: u64,
    pub pcie: u64,
    pub pages: u64,
    pub swap: u64,
}

/// struct uvm_mm_stats - what happened since the start, in bytes where not said otherwise
/// @hits: allocations found in place, a count
/// @misses: those waited for, a count
/// @evicted: moved out of segments
/// @brought_in: brought into segments
/// @copied: between local memory and system pages
/// @swapped_out: written to the backing store
/// @swapped_in: read from it
/// @purged: thrown away
/// @failed: moves that failed, a count
/// @refused: uses that were refused, a count
/// @overtaken: most uses that passed a waiting one, a count
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UvmMmStats {
    pub hits: u64,
    pub misses: u64,
    pub evicted: u64,
    pub brought_in: u64,
    pub copied: u64,
    pub swapped_out: u64,
    pub swapped_in: u64,
    pub purged: u64,
    pub failed: u64,
    pub refused: u64,
    pub overtaken: u64,
}

/// struct uvm_mm_log - a buffer for the records of calls
/// @bytes: where they go
/// @size: bytes there
/// @len: bytes written; the caller takes them away and sets it to 0
/// @lost: records that did not fit
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct UvmMmLog {
    pub bytes: *mut u8,
    pub size: u32,
    pub len: u32,
    pub lost: u64,
}

const _: () = assert!(UVM_MM_SEG_LOCAL == SegmentKind::Local as u32);
const _: () = assert!(UVM_MM_SEG_LOCAL_INVISIBLE == SegmentKind::LocalInvisible as u32);
const _: () = assert!(UVM_MM_SEG_SNOOPED == SegmentKind::Snooped as u32);
const _: () = assert!(UVM_MM_SEG_UNSNOOPED == SegmentKind::Unsnooped as u32);
const _: () = assert!(UVM_MM_SEG_PAGING == SegmentKind::Paging as u32);
const _: () = assert!(UVM_MM_SEG_OWN_LOCAL == SegmentKind::OwnLocal as u32);
const _: () = assert!(UVM_MM_SEG_OWN_PCIE == SegmentKind::OwnPcie as u32);
const _: () = assert!(UVM_MM_SEG_SYSTEM == SegmentKind::System as u32);
const _: () = assert!(UVM_MM_EVICT_LRU == EvictKind::Lru as u32);
const _: () = assert!(UVM_MM_EVICT_CLOCK == EvictKind::Clock as u32);
const _: () = assert!(UVM_MM_EVICT_2Q == EvictKind::TwoQueues as u32);
const _: () = assert!(UVM_MM_FAIL_MEMORY == Failure::NoMemory as u64);
const _: () = assert!(UVM_MM_FAIL_SWAP == Failure::SwapFull as u64);
const _: () = assert!(UVM_MM_FAIL_IO == Failure::Io as u64);

impl From<Reply> for UvmMmReply {
    fn from(reply: Reply) -> Self {
        let none = Self::default();
        let id = |id| Self { kind: UVM_MM_REPLY_ID, id, ..none };
        let value = |value| Self { kind: UVM_MM_REPLY_VALUE, value, ..none };
        let at = |kind, at: Location| Self { kind, domain: at.domain as u32, offset: at.offset, ..none };
        match reply {
            Reply::Done => none,
            Reply::Process(process) => id(process.raw()),
            Reply::Bo(bo) => id(bo.raw()),
            Reply::Ticket(ticket) => id(ticket.raw()),
            Reply::Direct(place) => at(UVM_MM_REPLY_DIRECT, place),
            Reply::Peek(place) => at(UVM_MM_REPLY_PEEK, place),
            Reply::Retained(kept) => value(u64::from(kept)),
            Reply::Freeing(bytes) => value(bytes),
        }
    }
}

impl From<Issued> for UvmMmAction {
    fn from(issued: Issued) -> Self {
        let none = Self { id: issued.id.map_or(0, ActionId::raw), ..Self::default() };
        let range = |op, bo: uvm_policy::BoId, offset, size| Self { op, bo: bo.raw(), offset, size, ..none };
        let to = |op, bo: uvm_policy::BoId, at: Location, size| Self {
            op,
            bo: bo.raw(),
            size,
            to: at.offset,
            to_domain: at.domain as u32,
            ..none
        };
        match issued.action {
            Action::AllocPages { bo, offset, size, zeroed } => {
                range(if zeroed { UVM_MM_DO_ALLOC_PAGES } else { UVM_MM_DO_ALLOC_STALE }, bo, offset, size)
            }
            Action::FreePages { bo, offset, size } => range(UVM_MM_DO_FREE_PAGES, bo, offset, size),
            Action::Bind { bo, offset, size, gart } => Self { gart, ..range(UVM_MM_DO_BIND, bo, offset, size) },
            Action::Unbind { gart, size } => Self { op: UVM_MM_DO_UNBIND, gart, size, ..none },
            Action::PageOut { bo, offset, size, gart, from } => Self {
                from: from.offset,
                from_domain: from.domain as u32,
                gart,
                ..range(UVM_MM_DO_PAGE_OUT, bo, offset, size)
            },
            Action::PageIn { bo, offset, size, gart, to } => {
                Self { to: to.offset, to_domain: to.domain as u32, gart, ..range(UVM_MM_DO_PAGE_IN, bo, offset, size) }
            }
            Action::Copy { bo, from, to: end, size } => {
                Self { from: from.offset, from_domain: from.domain as u32, ..to(UVM_MM_DO_COPY, bo, end, size) }
            }
            Action::Clear { bo, at, size } => to(UVM_MM_DO_CLEAR, bo, at, size),
            Action::SwapOut { bo, offset, size } => range(UVM_MM_DO_SWAP_OUT, bo, offset, size),
            Action::SwapIn { bo, offset, size } => range(UVM_MM_DO_SWAP_IN, bo, offset, size),
            Action::SwapDrop { bo } => range(UVM_MM_DO_SWAP_DROP, bo, 0, 0),
            Action::Zap { bo } => range(UVM_MM_DO_ZAP, bo, 0, 0),
            Action::WritePtes { bo, at, size } => to(UVM_MM_DO_WRITE_PTES, bo, at, size),
            Action::Ready(ticket) => Self { op: UVM_MM_DO_READY, bo: ticket.raw(), ..none },
            Action::Refused(ticket, error) => {
                Self { op: UVM_MM_DO_REFUSED, bo: ticket.raw(), error: crate::errno::errno(error), ..none }
            }
            Action::Gone(bo) => range(UVM_MM_DO_GONE, bo, 0, 0),
        }
    }
}

impl From<Residence> for UvmMmPlace {
    fn from(at: Residence) -> Self {
        let none = Self::default();
        match at {
            Residence::Empty => Self { kind: UVM_MM_AT_NOTHING, ..none },
            Residence::Pages => Self { kind: UVM_MM_AT_PAGES, ..none },
            Residence::Swap => Self { kind: UVM_MM_AT_SWAP, ..none },
            Residence::Segment(kind, at) => Self { kind: kind as u32, offset: at.offset, ..none },
        }
    }
}

impl From<Usage> for UvmMmUsage {
    fn from(usage: Usage) -> Self {
        let Usage { total, local, pcie, pages, swap } = usage;
        Self { total, local, pcie, pages, swap }
    }
}

impl From<ManagerStats> for UvmMmStats {
    fn from(stats: ManagerStats) -> Self {
        let ManagerStats { hits, misses, evicted, brought_in, copied, swapped_out, swapped_in, .. } = stats;
        let ManagerStats { purged, failed, refused, overtaken, .. } = stats;
        Self { hits, misses, evicted, brought_in, copied, swapped_out, swapped_in, purged, failed, refused, overtaken }
    }
}
