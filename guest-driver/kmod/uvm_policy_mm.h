/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The border between the driver and its policy, which is written in Rust.
 *
 * Generated from guest-driver/kmod/ffi: do not edit. To regenerate:
 * UVM_UPDATE_HEADER=1 cargo test -p uvm-kmod-ffi --test header
 *
 * The memory manager, a part of struct uvm_policy: what uvm_policy.h says holds here as well.
 */

#ifndef UVM_POLICY_MM_H
#define UVM_POLICY_MM_H

#include <linux/types.h>

struct uvm_policy;
struct uvm_policy_stats;

/* Segment: the device's own memory, through the BAR the CPU's as well. */
#define UVM_MM_SEG_LOCAL 0
/* Segment: the device's own memory beyond the end of the BAR. */
#define UVM_MM_SEG_LOCAL_INVISIBLE 1
/* Segment: system pages through the GART, snooped. */
#define UVM_MM_SEG_SNOOPED 2
/* Segment: system pages through the GART, not snooped. */
#define UVM_MM_SEG_UNSNOOPED 3
/* Segment: the GART addresses that copies between local memory and system pages go through. */
#define UVM_MM_SEG_PAGING 4
/* Segment: VRAM of the driver's own, where uvm_policy_alloc() and page tables go. */
#define UVM_MM_SEG_OWN_LOCAL 5
/* Segment: GART addresses of the driver's own, where uvm_policy_alloc() goes. */
#define UVM_MM_SEG_OWN_PCIE 6

/* Placement, no segment: system pages without GPU addresses, for jobs that go by page tables. */
#define UVM_MM_SEG_SYSTEM 7

/* Eviction: least recently used. */
#define UVM_MM_EVICT_LRU 0
/* Eviction: clock. */
#define UVM_MM_EVICT_CLOCK 1
/* Eviction: two queues. */
#define UVM_MM_EVICT_2Q 2

/**
 * Event: a process begins; @size: most bytes in all, @offset: in local memory, @value: of
 * system pages. Reply: @id.
 */
#define UVM_MM_EV_OPEN 0

/* Event: @process ends; -EBUSY while it has allocations or uses. */
#define UVM_MM_EV_CLOSE 1
/* Event: an allocation of @process: @size, @align, @kinds, @priority, @flags. Reply: @id. */
#define UVM_MM_EV_CREATE 2
/* Event: @id is given up. UVM_MM_DO_GONE follows. */
#define UVM_MM_EV_DESTROY 3
/* Event: @id got one more place in an address space. */
#define UVM_MM_EV_MAP 4
/* Event: @id lost one. */
#define UVM_MM_EV_UNMAP 5

/**
 * Event: a job of @process needs @bos; flag UVM_MM_FLAG_ADDRESSED. Reply: @id; then follows
 * UVM_MM_DO_READY or UVM_MM_DO_REFUSED.
 */
#define UVM_MM_EV_SUBMIT 6

/* Event: the device missed a page of @id, for @process. As UVM_MM_EV_SUBMIT. */
#define UVM_MM_EV_FAULT 7
/* Event: the CPU wants @id; flag UVM_MM_FLAG_MAPPING. Reply: where it can, or a ticket. */
#define UVM_MM_EV_CPU_ACCESS 8
/* Event: @id should be in kind @value, whatever its @kinds. Reply: @id, a ticket. */
#define UVM_MM_EV_MOVE 9
/* Event: nobody waits for ticket @id; -EBUSY if it was told to be ready. */
#define UVM_MM_EV_CANCEL 10
/* Event: what ticket @id stands for has ended. */
#define UVM_MM_EV_FENCE 11
/* Event: @id stays where it is. */
#define UVM_MM_EV_PIN 12
/* Event: one pin less. */
#define UVM_MM_EV_UNPIN 13
/* Event: the content of @id is needed (@value 1) or not (0). Reply: @value 1: kept until now. */
#define UVM_MM_EV_ADVISE 14
/* Event: give up @size bytes of system pages. Reply: @value, the bytes that will be. */
#define UVM_MM_EV_PRESSURE 15
/* Event: time has passed. */
#define UVM_MM_EV_TICK 16
/* Event: action @id has ended; @value: 0, or UVM_MM_FAIL_*. */
#define UVM_MM_EV_DONE 17
/* Event: from the next use on, @id is placed in @kinds. */
#define UVM_MM_EV_PLACE 18

/**
 * Event: a chunk of @size bytes is wanted for processes' own memory, which has @value bytes. Reply:
 * @value: @size if one is free or will be, or 0.
 */
#define UVM_MM_EV_MAKE_WAY 19

/* Failure: no page, no page table. */
#define UVM_MM_FAIL_MEMORY 1
/* Failure: the backing store is full. */
#define UVM_MM_FAIL_SWAP 2
/* Failure: the engine, the bus or the backing store. */
#define UVM_MM_FAIL_IO 3

/* Flag of UVM_MM_EV_CREATE: it may be moved out of a segment again. */
#define UVM_MM_FLAG_PAGEABLE 1
/* Flag of UVM_MM_EV_CREATE: rather a lesser kind with room than to move others out. */
#define UVM_MM_FLAG_FALLBACK 2
/* Flag of UVM_MM_EV_CPU_ACCESS: not a few bytes but a mapping. */
#define UVM_MM_FLAG_MAPPING 4
/* Flag of UVM_MM_EV_SUBMIT: the job knows no page tables, all needs an address. */
#define UVM_MM_FLAG_ADDRESSED 8

/* Reply: nothing to say. */
#define UVM_MM_REPLY_NONE 0
/* Reply: @id names what was made or asked for. */
#define UVM_MM_REPLY_ID 1
/* Reply: the CPU reaches it at @domain, @offset. */
#define UVM_MM_REPLY_DIRECT 2
/* Reply: only the device does, at @domain, @offset. */
#define UVM_MM_REPLY_PEEK 3
/* Reply: @value. */
#define UVM_MM_REPLY_VALUE 4

/* Action: make zeroed system pages for [@offset, @offset + @size) of @bo. */
#define UVM_MM_DO_ALLOC_PAGES 1
/* Action: give back those that are there. Must not fail. */
#define UVM_MM_DO_FREE_PAGES 2
/* Action: point the GART from @gart on at these pages, invalidate. */
#define UVM_MM_DO_BIND 3
/* Action: point the GART from @gart on at the dummy page, invalidate, await ACK. Must not fail. */
#define UVM_MM_DO_UNBIND 4
/* Action: copy @size bytes and await the end. */
#define UVM_MM_DO_COPY 5
/* Action: fill @size bytes at @to with zeros and await the end. */
#define UVM_MM_DO_CLEAR 6
/* Action: write the range to the backing store; the pages stay. */
#define UVM_MM_DO_SWAP_OUT 7
/* Action: read it from there; the copy stays. */
#define UVM_MM_DO_SWAP_IN 8
/* Action: drop all copies of @bo there. Must not fail. */
#define UVM_MM_DO_SWAP_DROP 9
/* Action: take @bo out of all page tables, GPUs' and CPUs', invalidate, await the ACKs. */
#define UVM_MM_DO_ZAP 10
/* Action: write its entries in each address space that maps it: it is at @to. */
#define UVM_MM_DO_WRITE_PTES 11

/* Notice: ticket @bo has all it needs, until UVM_MM_EV_FENCE. */
#define UVM_MM_DO_READY 12
/* Notice: ticket @bo cannot have it, because of @error; it is gone. */
#define UVM_MM_DO_REFUSED 13
/* Notice: @bo is gone. */
#define UVM_MM_DO_GONE 14

/* Action: as UVM_MM_DO_ALLOC_PAGES, of any content: all is overwritten before anybody sees it. */
#define UVM_MM_DO_ALLOC_STALE 15
/* Action: copy from @from to the range's pages, bound at @gart until the end, and await it. */
#define UVM_MM_DO_PAGE_OUT 16
/* Action: the same from these pages to @to. */
#define UVM_MM_DO_PAGE_IN 17

/* Most segments of a device. */
#define UVM_MM_MAX_SEGMENTS 7
/* Most kinds of segment that an allocation may be in. */
#define UVM_MM_MAX_KINDS 4

/* Place: nowhere, it reads as zeros. */
#define UVM_MM_AT_NOTHING 16
/* Place: system pages that the GPU has no address for. */
#define UVM_MM_AT_PAGES 17
/* Place: the backing store. */
#define UVM_MM_AT_SWAP 18

/**
 * struct uvm_mm_segment - a segment of a device
 * @base: its first byte, in VRAM or in the GART
 * @size: bytes
 * @kind: UVM_MM_SEG_*
 * @pad: must be 0
 */
struct uvm_mm_segment {
	u64 base;
	u64 size;
	u32 kind;
	u32 pad;
};

/**
 * struct uvm_mm_config - how the memory manager is to work
 * @chunk: most bytes of one copy through the paging segment
 * @evict: UVM_MM_EVICT_LRU, UVM_MM_EVICT_CLOCK or UVM_MM_EVICT_2Q
 * @count: number of @segments
 * @segments: the device's, one of them of UVM_MM_SEG_PAGING
 */
struct uvm_mm_config {
	u64 chunk;
	u32 evict;
	u32 count;
	struct uvm_mm_segment segments[UVM_MM_MAX_SEGMENTS];
};

/**
 * struct uvm_mm_log - a buffer for the records of calls
 * @bytes: where they go
 * @size: bytes there
 * @len: bytes written; the caller takes them away and sets it to 0
 * @lost: records that did not fit
 */
struct uvm_mm_log {
	u8 *bytes;
	u32 size;
	u32 len;
	u64 lost;
};

/**
 * struct uvm_mm_event - something that happened
 * @op: UVM_MM_EV_OPEN to UVM_MM_EV_MAKE_WAY, which say what else is used; the rest must be 0
 * @flags: flags of that event
 * @process: of UVM_MM_EV_OPEN
 * @id: an allocation, a ticket or an action
 * @size: bytes
 * @align: bytes: a power of two, or 0
 * @offset: of UVM_MM_EV_OPEN alone
 * @value: a number
 * @kinds: kinds of segment, best first
 * @nr_kinds: how many of them
 * @priority: 0 leaves first, 2 last
 * @nr_bos: how many @bos, at most 65536
 * @pad: must be 0
 * @bos: the working set
 */
struct uvm_mm_event {
	u32 op;
	u32 flags;
	u64 process;
	u64 id;
	u64 size;
	u64 align;
	u64 offset;
	u64 value;
	u32 kinds[UVM_MM_MAX_KINDS];
	u32 nr_kinds;
	u32 priority;
	u32 nr_bos;
	u32 pad;
	const u64 *bos;
};

/**
 * struct uvm_mm_reply - the answer to an event
 * @kind: UVM_MM_REPLY_*
 * @domain: UVM_POLICY_DOMAIN_*
 * @id: what was made, or a ticket; for -EBUSY the move to wait for, if there is one
 * @offset: in @domain
 * @value: a number
 */
struct uvm_mm_reply {
	u32 kind;
	u32 domain;
	u64 id;
	u64 offset;
	u64 value;
};

/**
 * struct uvm_mm_action - something to do
 * @id: for UVM_MM_EV_DONE; 0 for notices
 * @bo: the allocation, or a ticket
 * @offset: first byte of it
 * @size: bytes
 * @gart: offset in the GART
 * @from: offset in @from_domain
 * @to: offset in @to_domain
 * @op: UVM_MM_DO_*, which say what else is used
 * @from_domain: UVM_POLICY_DOMAIN_*
 * @to_domain: UVM_POLICY_DOMAIN_*
 * @error: a negative errno
 */
struct uvm_mm_action {
	u64 id;
	u64 bo;
	u64 offset;
	u64 size;
	u64 gart;
	u64 from;
	u64 to;
	u32 op;
	u32 from_domain;
	u32 to_domain;
	s32 error;
};

/**
 * struct uvm_mm_place - where the bytes of an allocation are valid
 * @offset: in the domain of @kind
 * @kind: UVM_MM_SEG_*, or UVM_MM_AT_*
 * @pad: 0
 */
struct uvm_mm_place {
	u64 offset;
	u32 kind;
	u32 pad;
};

/**
 * struct uvm_mm_usage - bytes of a process; what moves counts at both ends
 * @total: sizes of its allocations
 * @local: in local memory
 * @pcie: in PCIe segments
 * @pages: in system pages without GPU addresses
 * @swap: in the backing store
 */
struct uvm_mm_usage {
	u64 total;
	u64 local;
	u64 pcie;
	u64 pages;
	u64 swap;
};

/**
 * struct uvm_mm_stats - what happened since the start, in bytes where not said otherwise
 * @hits: allocations found in place, a count
 * @misses: those waited for, a count
 * @evicted: moved out of segments
 * @brought_in: brought into segments
 * @copied: between local memory and system pages
 * @swapped_out: written to the backing store
 * @swapped_in: read from it
 * @purged: thrown away
 * @failed: moves that failed, a count
 * @refused: uses that were refused, a count
 * @overtaken: most uses that passed a waiting one, a count
 */
struct uvm_mm_stats {
	u64 hits;
	u64 misses;
	u64 evicted;
	u64 brought_in;
	u64 copied;
	u64 swapped_out;
	u64 swapped_in;
	u64 purged;
	u64 failed;
	u64 refused;
	u64 overtaken;
};

/**
 * struct uvm_mm_described - what a device describes and what the driver needs of it
 * @local: bytes of VRAM that the CPU reaches, the first ones
 * @invisible: bytes of VRAM behind them
 * @unsnooped: most bytes of the GART for accesses past the CPU's caches
 * @gart: bytes of the GART
 * @paging: bytes of the GART for copies of the memory manager
 * @tables: bytes of VRAM for the GART's tables
 * @own_first: 1: what the driver needs of VRAM is its start, not the end of @local
 * @pad: must be 0
 */
struct uvm_mm_described {
	u64 local;
	u64 invisible;
	u64 unsnooped;
	u64 gart;
	u64 paging;
	u64 tables;
	u32 own_first;
	u32 pad;
};

/**
 * struct uvm_mm_wish - where a user would have an allocation
 * @domains: a bit for each UVM_POLICY_DOMAIN_* where jobs may use it
 * @preferred: UVM_POLICY_DOMAIN_*
 * @cpu_access: 1: the CPU is a user as well
 * @unsnooped: 1: in system pages, accesses go past the CPU's caches
 */
struct uvm_mm_wish {
	u32 domains;
	u32 preferred;
	u32 cpu_access;
	u32 unsnooped;
};

/**
 * struct uvm_policy_range_change - a range of VRAM that was given out or given back
 * @offset: first byte
 * @size: bytes; U64_MAX: all there are
 * @freed: 1: nobody may use it; 0: it is somebody's
 * @pad: 0
 */
struct uvm_policy_range_change {
	u64 offset;
	u64 size;
	u32 freed;
	u32 pad;
};

/**
 * uvm_mm_start() - start the memory manager
 * @policy: a policy without segments of its own
 * @config: the device's segments, and how to work on them
 * @log: where to record the start, or NULL
 *
 * Once, before any other uvm_mm_*().
 *
 * Return: 0, -ENOMEM, -EINVAL.
 */
int uvm_mm_start(struct uvm_policy *policy, const struct uvm_mm_config *config,
		 struct uvm_mm_log *log);

/**
 * uvm_mm_event() - tell the memory manager what happened
 * @policy: the policy
 * @event: what
 * @reply: the answer
 * @log: where to record both, or NULL
 *
 * Then call uvm_mm_next() until there is nothing to do.
 *
 * Return: 0, -EBUSY, -ENOENT, -ENOMEM, -ENOSPC over a limit, -EINVAL. With an error nothing
 * happened.
 */
int uvm_mm_event(struct uvm_policy *policy, const struct uvm_mm_event *event,
		 struct uvm_mm_reply *reply, struct uvm_mm_log *log);

/**
 * uvm_mm_next() - ask the memory manager what to do
 * @policy: the policy
 * @action: what to do
 * @log: where to record it, or NULL
 *
 * Actions given out one after another may be carried out in any order and at the same time, without
 * the policy's lock. Each but a notice is answered by UVM_MM_EV_DONE.
 *
 * Return: 1 with an action, 0 when there is nothing to do now, -EINVAL.
 */
int uvm_mm_next(struct uvm_policy *policy, struct uvm_mm_action *action, struct uvm_mm_log *log);

/**
 * uvm_mm_log_room() - how much the next record may take
 * @policy: the policy
 * @bos: allocations of the event
 *
 * What others did to segments is recorded before it and counts too.
 *
 * Return: bytes, at most; U32_MAX also for more.
 */
u32 uvm_mm_log_room(const struct uvm_policy *policy, u32 bos);

/**
 * uvm_mm_residence() - where the bytes of an allocation are valid now
 * @policy: the policy
 * @bo: the allocation
 * @place: the answer
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_mm_residence(const struct uvm_policy *policy, u64 bo, struct uvm_mm_place *place);

/**
 * uvm_mm_usage() - what a process has
 * @policy: the policy
 * @process: the process
 * @usage: the answer
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_mm_usage(const struct uvm_policy *policy, u64 process, struct uvm_mm_usage *usage);

/**
 * uvm_mm_stats() - what happened since the start
 * @policy: the policy
 * @stats: the answer
 *
 * Return: 0 or -EINVAL.
 */
int uvm_mm_stats(const struct uvm_policy *policy, struct uvm_mm_stats *stats);

/**
 * uvm_mm_segment_stats() - how full a segment is
 * @policy: the policy
 * @segment: its number in struct uvm_mm_config
 * @stats: the counts
 *
 * Return: 0, -ENOENT for a number that is none, -EINVAL.
 */
int uvm_mm_segment_stats(const struct uvm_policy *policy, u32 segment,
			 struct uvm_policy_stats *stats);

/**
 * uvm_mm_uses() - count what is still there
 * @policy: the policy
 * @processes: number of processes
 * @tickets: number of uses that wait or run
 *
 * Return: 0 or -EINVAL.
 */
int uvm_mm_uses(const struct uvm_policy *policy, u32 *processes, u32 *tickets);

/**
 * uvm_mm_divide() - make segments of what a device describes
 * @described: the description
 * @config: its @count and @segments are the answer; the rest stays
 *
 * Return: 0, -EINVAL, -ENOSPC when nothing is left for buffers.
 */
int uvm_mm_divide(const struct uvm_mm_described *described, struct uvm_mm_config *config);

/**
 * uvm_mm_placements() - the kinds of segment that a wish means
 * @wish: the wish
 * @kinds: out: UVM_MM_SEG_*, best first, room for UVM_MM_MAX_KINDS
 * @count: out: how many
 *
 * Return: 0 or -EINVAL.
 */
int uvm_mm_placements(const struct uvm_mm_wish *wish, u32 (*kinds)[UVM_MM_MAX_KINDS], u32 *count);

/**
 * uvm_mm_segment_free_blocks() - how fragmented a segment is
 * @policy: the policy
 * @segment: its number in struct uvm_mm_config
 * @size: bytes, a power of two
 * @count: how many blocks of @size, at multiples of it, are wholly free
 *
 * Looks at each range of the segment.
 *
 * Return: 0, -ENOENT for a number that is none, -EINVAL.
 */
int uvm_mm_segment_free_blocks(const struct uvm_policy *policy, u32 segment, u64 size, u64 *count);

/**
 * uvm_policy_watch() - keep from now on what happens to VRAM
 * @policy: the policy
 *
 * From then on uvm_policy_next_change() is to be called until it gives nothing, before the policy's
 * lock is let go.
 *
 * Return: 0 or -EINVAL.
 */
int uvm_policy_watch(struct uvm_policy *policy);

/**
 * uvm_policy_next_change() - ask what happened to VRAM
 * @policy: the policy, which keeps it
 * @change: the answer
 *
 * Return: 1 with a change, 0 when there is none, -EINVAL.
 */
int uvm_policy_next_change(struct uvm_policy *policy, struct uvm_policy_range_change *change);

#endif /* UVM_POLICY_MM_H */
