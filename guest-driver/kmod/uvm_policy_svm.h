/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The border between the driver and its policy, which is written in Rust.
 *
 * Generated from guest-driver/kmod/ffi: do not edit. To regenerate:
 * UVM_UPDATE_HEADER=1 cargo test -p uvm-kmod-ffi --test header
 *
 * Memory that the device shares with processes: apart from struct uvm_policy, under a mutex of its
 * own. What uvm_policy.h says of sizes and results holds here as well.
 */

#ifndef UVM_POLICY_SVM_H
#define UVM_POLICY_SVM_H

#include <linux/types.h>

/* Words of a block's 512 pages: on a 64-bit machine a bitmap as the kernel knows them. */
#define UVM_POLICY_SVM_WORDS 8
/* Most faults of a batch. */
#define UVM_POLICY_SVM_MAX_FAULTS 256
/* Most regions of a plan that are of use: one a fault, and some guesses. */
#define UVM_POLICY_SVM_MAX_REGIONS 320

/* Switch: faults move pages to VRAM at all. */
#define UVM_POLICY_SVM_MIGRATE 1
/* Switch: prefetch by density. */
#define UVM_POLICY_SVM_DENSITY 2
/* Switch: prefetch by correlation. */
#define UVM_POLICY_SVM_CORRELATION 4
/* Switch: throttle and pin what thrashes. */
#define UVM_POLICY_SVM_THRASH 8
/* Switch: counters of accesses move pages. */
#define UVM_POLICY_SVM_COUNTERS 16
/* Switch: a first fault maps remotely, only counters move. */
#define UVM_POLICY_SVM_COUNTERS_FIRST 32
/* Switch: read duplication where a process allows it. */
#define UVM_POLICY_SVM_DUPLICATION 64
/* Switch: spare chunks that are preferred in VRAM or were only just filled. */
#define UVM_POLICY_SVM_SPARE 128

/* All switches. */
#define UVM_POLICY_SVM_SWITCHES 255

/* Place: system memory. */
#define UVM_POLICY_SVM_SYSTEM 0
/* Place: VRAM. */
#define UVM_POLICY_SVM_VRAM 1
/* Place: a copy in each, read-only. */
#define UVM_POLICY_SVM_BOTH 2
/* Place: nothing was said. */
#define UVM_POLICY_SVM_NOWHERE 0xffffffff

/* Access: read. */
#define UVM_POLICY_SVM_READ 0
/* Access: write. */
#define UVM_POLICY_SVM_WRITE 1
/* Access: atomic. */
#define UVM_POLICY_SVM_ATOMIC 2

/* Replay: each block's faults when it is done. */
#define UVM_POLICY_SVM_REPLAY_BLOCK 0
/* Replay: all faults of a batch at its end. */
#define UVM_POLICY_SVM_REPLAY_BATCH 1
/* Replay: the same, after those that came meanwhile were taken in. */
#define UVM_POLICY_SVM_REPLAY_FLUSH 2
/* Replay: when no fault is left in the buffer. */
#define UVM_POLICY_SVM_REPLAY_ONCE 3

/* Advice: @value is the preferred place, or UVM_POLICY_SVM_NOWHERE. */
#define UVM_POLICY_SVM_ADVISE_PREFERRED 0
/* Advice: @value 1: always mapped for the device, its faults move nothing. */
#define UVM_POLICY_SVM_ADVISE_ACCESSED 1
/* Advice: @value 1: may be duplicated while nobody writes. */
#define UVM_POLICY_SVM_ADVISE_DUPLICATE 2
/* Advice: @value 1: not for the device. */
#define UVM_POLICY_SVM_ADVISE_NO_ACCESS 3
/* Advice: @value 1: the device may not write. */
#define UVM_POLICY_SVM_ADVISE_READ_ONLY 4
/* Advice: @value 1: replay its faults as soon as their pages are there. */
#define UVM_POLICY_SVM_ADVISE_EAGER 5
/* Advice: @value is log2 of the pages that a fault brings, or UVM_POLICY_SVM_NOWHERE. */
#define UVM_POLICY_SVM_ADVISE_GRANULE 6
/* Advice: @value is the range group, 0 for none. */
#define UVM_POLICY_SVM_ADVISE_GROUP 7
/* Advice: back to the default, all of it. */
#define UVM_POLICY_SVM_ADVISE_RESET 8

/* Action: map the pages where they are. */
#define UVM_POLICY_SVM_DO_MAP 0
/* Action: map them in system memory, leave them there. */
#define UVM_POLICY_SVM_DO_MAP_REMOTE 1
/* Action: the same with the CPU kept out, for atomics. */
#define UVM_POLICY_SVM_DO_MAP_EXCLUSIVE 2
/* Action: copy to VRAM, map read-only at both sides. */
#define UVM_POLICY_SVM_DO_DUPLICATE 3
/* Action: move to VRAM and map; what cannot move, map where it is. */
#define UVM_POLICY_SVM_DO_TO_VRAM 4
/* Action: move to system memory; map there what faulted. */
#define UVM_POLICY_SVM_DO_TO_SYSTEM 5
/* Action: give these faults to uvm_policy_svm_serve() again at @until. */
#define UVM_POLICY_SVM_DO_THROTTLE 6
/* Action: the process forbade it: its job fails. */
#define UVM_POLICY_SVM_DO_DENY 7

/* Region: answer its faults as soon as it is done. */
#define UVM_POLICY_SVM_REGION_REPLAY 1
/* Region: nobody waits for it. */
#define UVM_POLICY_SVM_REGION_GUESS 2

/* Plan: before faults are answered, take in those that came meanwhile. */
#define UVM_POLICY_SVM_PLAN_FLUSH 1
/* Plan: answer its faults with those of the next plan without this flag. */
#define UVM_POLICY_SVM_PLAN_HOLD 2

/* Cause: a fault of the device. */
#define UVM_POLICY_SVM_BY_FAULT 0
/* Cause: prefetch. */
#define UVM_POLICY_SVM_BY_PREFETCH 1
/* Cause: eviction. */
#define UVM_POLICY_SVM_BY_EVICTION 2
/* Cause: a fault of the CPU. */
#define UVM_POLICY_SVM_BY_CPU 3
/* Cause: a counter of accesses. */
#define UVM_POLICY_SVM_BY_COUNTER 4
/* Cause: none; @pages were unmapped, and may be anywhere. */
#define UVM_POLICY_SVM_LOST 5

/* Event: @pages of the block of @va moved to @place because of @cause; @chunk as there. */
#define UVM_POLICY_SVM_EV_MIGRATED 0
/* Event: @pages of the block of @va are in the device's table, @writable of them to be written. */
#define UVM_POLICY_SVM_EV_MAPPED 1
/* Event: [@va, @end) is out of the device's table. */
#define UVM_POLICY_SVM_EV_UNMAPPED 2
/* Event: [@va, @end) is not mapped by the CPU any more. */
#define UVM_POLICY_SVM_EV_GONE 3
/* Event: @pages of the block of @va could not go to VRAM; with @place SYSTEM: not be mapped now. */
#define UVM_POLICY_SVM_EV_FAILED 4
/* Event: @chunk has no page any more. @space is not looked at. */
#define UVM_POLICY_SVM_EV_CHUNK_FREE 5
/* Event: @chunk was picked and could not leave. @space is not looked at. */
#define UVM_POLICY_SVM_EV_CHUNK_STAYS 6
/* Event: pages of @chunk are used, whoever has them. @space is not looked at. */
#define UVM_POLICY_SVM_EV_CHUNK_USED 7

/* Chunk: none. */
#define UVM_POLICY_SVM_NO_CHUNK 0xffffffff

/* Record: a fault; @detail: access, @value: the tag. */
#define UVM_POLICY_SVM_REC_FAULT 1
/* Record: pages moved to @place; @detail: cause. */
#define UVM_POLICY_SVM_REC_MIGRATION 2
/* Record: pages were evicted; @value: the chunk. */
#define UVM_POLICY_SVM_REC_EVICTION 3
/* Record: pages thrash. */
#define UVM_POLICY_SVM_REC_THRASH 4
/* Record: prefetch; @detail: 0 density and granule, 1 correlation, 2 asked for. */
#define UVM_POLICY_SVM_REC_PREFETCH 5
/* Record: a fault waits until @value. */
#define UVM_POLICY_SVM_REC_THROTTLE 6
/* Record: a page is pinned at @place until @value. */
#define UVM_POLICY_SVM_REC_PIN 7
/* Record: a counter for @value bytes came to its threshold. */
#define UVM_POLICY_SVM_REC_COUNTER 8
/* Record: an access that the process forbade; @detail: access. */
#define UVM_POLICY_SVM_REC_DENIED 9
/* Record: pages could not move to @place. */
#define UVM_POLICY_SVM_REC_FAILURE 10

/**
 * struct uvm_policy_svm - the decisions about memory that a device shares with processes
 *
 * Owned by the driver behind one sleeping mutex of its own, taken after mmap_lock, under which
 * nothing of a process is waited for. Calls are short, sleep only to allocate tables, and must not
 * be made from a notifier. They need no struct uvm_policy.
 */
struct uvm_policy_svm;

/**
 * struct uvm_policy_svm_config - how to decide about shared memory
 * @switches: UVM_POLICY_SVM_MIGRATE to UVM_POLICY_SVM_SPARE
 * @replay: UVM_POLICY_SVM_REPLAY_*
 * @density: percent of a half that bring the rest of it, 1 to 100
 * @granule: log2 of the pages that a fault brings, 0 to 9
 * @degree: blocks ahead of correlation prefetch, at most 16
 * @blocks: most blocks that something is known of, about 600 bytes each; fixed from the start on
 * @chunks: 2 MiB chunks of VRAM; fixed from the start on
 * @bounces: quick returns of a page that make it one that thrashes, 1 to 255
 * @waits: waits for the other side before a page is pinned, at most 255
 * @watched: most blocks whose pages' returns are counted, 8 KiB each
 * @lapse: nanoseconds between two moves that make the second one a return
 * @slice: nanoseconds that a side keeps a thrashing page, less than @lapse
 * @pin: nanoseconds that a page stays pinned
 */
struct uvm_policy_svm_config {
	u32 switches;
	u32 replay;
	u32 density;
	u32 granule;
	u32 degree;
	u32 blocks;
	u32 chunks;
	u32 bounces;
	u32 waits;
	u32 watched;
	u64 lapse;
	u64 slice;
	u64 pin;
};

/**
 * struct uvm_policy_svm_attributes - what was said about an address
 * @start: the same was said from here on
 * @end: to here
 * @preferred: UVM_POLICY_SVM_SYSTEM, _VRAM or _NOWHERE
 * @granule: log2 of pages, or UVM_POLICY_SVM_NOWHERE
 * @group: range group, or 0
 * @flags: 1 << UVM_POLICY_SVM_ADVISE_ACCESSED to 1 << UVM_POLICY_SVM_ADVISE_EAGER
 */
struct uvm_policy_svm_attributes {
	u64 start;
	u64 end;
	u32 preferred;
	u32 granule;
	u32 group;
	u32 flags;
};

/**
 * struct uvm_policy_svm_fault - a page fault of the device
 * @space: whose; a number that names no space is allowed
 * @va: where
 * @tag: the driver's own
 * @access: UVM_POLICY_SVM_READ, _WRITE or _ATOMIC
 * @region: answer: index of the region that serves it, 0xffffffff if its space is gone
 * @pad: must be 0
 */
struct uvm_policy_svm_fault {
	u64 space;
	u64 va;
	u32 tag;
	u32 access;
	u32 region;
	u32 pad;
};

/**
 * struct uvm_policy_svm_region - pages of a block, and what to do about them
 * @space: whose
 * @va: first address of the block
 * @until: of UVM_POLICY_SVM_DO_THROTTLE: nanoseconds
 * @action: UVM_POLICY_SVM_DO_*
 * @flags: UVM_POLICY_SVM_REGION_*
 * @pages: which
 * @faulted: those of them that faulted; the others may fail silently
 * @written: those that are to be written
 */
struct uvm_policy_svm_region {
	u64 space;
	u64 va;
	u64 until;
	u32 action;
	u32 flags;
	u64 pages[UVM_POLICY_SVM_WORDS];
	u64 faulted[UVM_POLICY_SVM_WORDS];
	u64 written[UVM_POLICY_SVM_WORDS];
};

/**
 * struct uvm_policy_svm_plan - what was decided about a batch
 * @regions: number of regions
 * @flags: UVM_POLICY_SVM_PLAN_*
 */
struct uvm_policy_svm_plan {
	u32 regions;
	u32 flags;
};

/**
 * struct uvm_policy_svm_notification - accesses to remote pages were counted
 * @space: whose
 * @va: first address that the counter stands for
 * @bytes: how many, inside one block
 */
struct uvm_policy_svm_notification {
	u64 space;
	u64 va;
	u64 bytes;
};

/**
 * struct uvm_policy_svm_event - something that happened
 * @op: UVM_POLICY_SVM_EV_*, which say what else is used; the rest is not looked at
 * @place: UVM_POLICY_SVM_SYSTEM, _VRAM or _BOTH
 * @cause: UVM_POLICY_SVM_BY_*
 * @chunk: number of a chunk of VRAM, or UVM_POLICY_SVM_NO_CHUNK
 * @space: whose
 * @va: first byte, or any one of a block
 * @end: byte after the last
 * @pages: pages of the block of @va
 * @writable: those of them that the device may write
 */
struct uvm_policy_svm_event {
	u32 op;
	u32 place;
	u32 cause;
	u32 chunk;
	u64 space;
	u64 va;
	u64 end;
	u64 pages[UVM_POLICY_SVM_WORDS];
	u64 writable[UVM_POLICY_SVM_WORDS];
};

/**
 * struct uvm_policy_svm_stats - what happened since the start; pages where not said otherwise
 * @faults: faults that came in, a count
 * @duplicates: those on a page that another one of the same batch was on too
 * @stale: those on a page that is believed to be mapped as needed: told before it was
 * @blocks: blocks served, one a batch each, a count
 * @mapped: pages planned to be mapped where they are
 * @remote: pages planned to be mapped in system memory, because they should stay there
 * @to_vram: pages planned to come to VRAM, prefetched ones included
 * @to_system: pages planned to go to system memory
 * @duplicated: pages planned to get a second copy
 * @denied: faults that were refused, a count
 * @granule: pages that a fault brought besides its own because of the granule
 * @density: pages prefetched by density
 * @correlated: pages prefetched by correlation
 * @asked: pages prefetched because somebody asked
 * @came: pages that came to VRAM
 * @prefetched: those of them that were prefetched
 * @cpu_faults: pages that went back because the CPU wanted them
 * @evicted: pages that left VRAM for want of room
 * @failed: pages that could not be moved
 * @bounced: pages that went back within the lapse
 * @thrashing: pages that were found to thrash
 * @throttled: accesses that had to wait for the other side's slice, a count
 * @pinned: pages that were pinned
 * @unwatched: blocks that should have been watched and could not be, a count
 * @notifications: notifications of access counters, a count
 * @counted: pages that they bring to VRAM
 * @remapped: pages mapped again for those who always want them mapped
 * @forgotten: blocks forgotten to make room for others, a count
 * @records_lost: records that tools did not read in time, a count
 */
struct uvm_policy_svm_stats {
	u64 faults;
	u64 duplicates;
	u64 stale;
	u64 blocks;
	u64 mapped;
	u64 remote;
	u64 to_vram;
	u64 to_system;
	u64 duplicated;
	u64 denied;
	u64 granule;
	u64 density;
	u64 correlated;
	u64 asked;
	u64 came;
	u64 prefetched;
	u64 cpu_faults;
	u64 evicted;
	u64 failed;
	u64 bounced;
	u64 thrashing;
	u64 throttled;
	u64 pinned;
	u64 unwatched;
	u64 notifications;
	u64 counted;
	u64 remapped;
	u64 forgotten;
	u64 records_lost;
};

/**
 * struct uvm_policy_svm_record - what tools are told
 * @time: nanoseconds
 * @va: first address
 * @value: by kind
 * @pages: how many, of one block
 * @kind: UVM_POLICY_SVM_REC_*
 * @detail: by kind
 * @place: UVM_POLICY_SVM_SYSTEM, _VRAM or _BOTH
 */
struct uvm_policy_svm_record {
	u64 time;
	u64 va;
	u64 value;
	u32 pages;
	u16 kind;
	u8 detail;
	u8 place;
};

/**
 * uvm_policy_svm_defaults() - how to decide when nothing is known better
 * @config: filled in; @chunks is 0
 *
 * Return: 0 or -EINVAL.
 */
int uvm_policy_svm_defaults(struct uvm_policy_svm_config *config);

/**
 * uvm_policy_svm_new() - begin to decide about shared memory
 * @config: how
 *
 * Return: the policy, ERR_PTR(-EINVAL) or ERR_PTR(-ENOMEM).
 */
struct uvm_policy_svm *uvm_policy_svm_new(const struct uvm_policy_svm_config *config);

/**
 * uvm_policy_svm_destroy() - end it
 * @svm: from uvm_policy_svm_new(), or NULL
 */
void uvm_policy_svm_destroy(struct uvm_policy_svm *svm);

/**
 * uvm_policy_svm_configure() - decide otherwise from now on
 * @svm: the policy
 * @config: how; @blocks and @chunks are not looked at
 *
 * Return: 0 or -EINVAL.
 */
int uvm_policy_svm_configure(struct uvm_policy_svm *svm,
			     const struct uvm_policy_svm_config *config);

/**
 * uvm_policy_svm_config() - how it decides now
 * @svm: the policy
 * @config: the answer
 *
 * Return: 0 or -EINVAL.
 */
int uvm_policy_svm_config(const struct uvm_policy_svm *svm, struct uvm_policy_svm_config *config);

/**
 * uvm_policy_svm_create() - a process's addresses are mirrored
 * @svm: the policy
 * @space: names them from now on; never 0
 *
 * Return: 0, -ENOMEM, -EINVAL.
 */
int uvm_policy_svm_create(struct uvm_policy_svm *svm, u64 *space);

/**
 * uvm_policy_svm_end() - they are not any more
 * @svm: the policy
 * @space: forgotten; its chunks of VRAM are in use until they are told to be free
 *
 * Never allocates.
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_svm_end(struct uvm_policy_svm *svm, u64 space);

/**
 * uvm_policy_svm_in_use() - count what is known
 * @svm: the policy
 * @spaces: number of mirrored address spaces
 * @blocks: number of blocks of which something is known
 *
 * Return: 0 or -EINVAL.
 */
int uvm_policy_svm_in_use(const struct uvm_policy_svm *svm, u32 *spaces, u32 *blocks);

/**
 * uvm_policy_svm_advise() - a process says something about its addresses
 * @svm: the policy
 * @space: whose
 * @start: first byte, of whole pages
 * @end: byte after the last
 * @advice: UVM_POLICY_SVM_ADVISE_*
 * @value: see there
 *
 * Then ask uvm_policy_svm_next_map().
 *
 * Return: 0, -ENOENT for an unknown space or group, -ENOSPC for more than 8192 ranges, -ENOMEM,
 * -EINVAL.
 */
int uvm_policy_svm_advise(struct uvm_policy_svm *svm, u64 space, u64 start, u64 end, u32 advice,
			  u32 value);

/**
 * uvm_policy_svm_attributes() - what was said about an address
 * @svm: the policy
 * @space: whose
 * @va: the address
 * @attributes: the answer, and the range around @va of which the same was said
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_svm_attributes(const struct uvm_policy_svm *svm, u64 space, u64 va,
			      struct uvm_policy_svm_attributes *attributes);

/**
 * uvm_policy_svm_group_create() - a range group, whose ranges may move
 * @svm: the policy
 * @space: whose
 * @group: its number, never 0
 *
 * Return: 0, -ENOENT, -ENOSPC for more than 256, -ENOMEM, -EINVAL.
 */
int uvm_policy_svm_group_create(struct uvm_policy_svm *svm, u64 space, u32 *group);

/**
 * uvm_policy_svm_group_destroy() - end a range group; its ranges are in none
 * @svm: the policy
 * @space: whose
 * @group: its number
 *
 * Return: 0, -ENOENT, -ENOMEM, -EINVAL.
 */
int uvm_policy_svm_group_destroy(struct uvm_policy_svm *svm, u64 space, u32 group);

/**
 * uvm_policy_svm_group_set() - let the ranges of a group move, or not
 * @svm: the policy
 * @space: whose
 * @group: its number
 * @migratable: 0 or 1
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_svm_group_set(struct uvm_policy_svm *svm, u64 space, u32 group, u32 migratable);

/**
 * uvm_policy_svm_group_next() - the ranges of a range group, one after another
 * @svm: the policy
 * @space: whose
 * @group: its number
 * @from: the range is the first that ends behind that
 * @start: where it begins, not before @from
 * @end: byte after its last
 *
 * Return: 1 with a range, 0 when there is none any more, -ENOENT, -EINVAL.
 */
int uvm_policy_svm_group_next(const struct uvm_policy_svm *svm, u64 space, u32 group, u64 from,
			      u64 *start, u64 *end);

/**
 * uvm_policy_svm_serve() - what to do about a batch of faults
 * @svm: the policy
 * @faults: as they came; sorted by space and address after it, and each told its region
 * @nr_faults: at most UVM_POLICY_SVM_MAX_FAULTS
 * @more: 1 if others are in the buffer, else 0
 * @now: nanoseconds of a clock that does not go back
 * @regions: what to do, one after another
 * @nr_regions: room there, at least @nr_faults; UVM_POLICY_SVM_MAX_REGIONS is always enough
 * @plan: the rest
 *
 * A proposal, made of what uvm_policy_svm_event() told: tell all that happened first, and look at
 * the pages when it is carried out. Never fails for want of memory.
 *
 * Return: 0 or -EINVAL.
 */
int uvm_policy_svm_serve(struct uvm_policy_svm *svm, struct uvm_policy_svm_fault *faults,
			 u32 nr_faults, u32 more, u64 now, struct uvm_policy_svm_region *regions,
			 u32 nr_regions, struct uvm_policy_svm_plan *plan);

/**
 * uvm_policy_svm_counted() - what to do about accesses that were counted
 * @svm: the policy
 * @notifications: the counters that came to their thresholds
 * @count: how many, at most UVM_POLICY_SVM_MAX_FAULTS
 * @now: nanoseconds
 * @regions: what to do; room for @count
 *
 * Return: the number of regions, or -EINVAL.
 */
int uvm_policy_svm_counted(struct uvm_policy_svm *svm,
			   const struct uvm_policy_svm_notification *notifications, u32 count,
			   u64 now, struct uvm_policy_svm_region *regions);

/**
 * uvm_policy_svm_prefetch() - somebody wants a range to be somewhere
 * @svm: the policy
 * @space: whose
 * @start: first byte
 * @end: byte after the last
 * @to: UVM_POLICY_SVM_SYSTEM, _VRAM or _BOTH
 * @now: nanoseconds
 * @region: what to do about the first block of it; no pages: nothing
 * @next: where to begin the next call
 *
 * Return: 1 when there is more from @next on, 0 when that was all, -ENOENT, -EINVAL.
 */
int uvm_policy_svm_prefetch(struct uvm_policy_svm *svm, u64 space, u64 start, u64 end, u32 to,
			    u64 now, struct uvm_policy_svm_region *region, u64 *next);

/**
 * uvm_policy_svm_next_map() - pages that should be mapped and are not
 * @svm: the policy
 * @space: whose
 * @region: map them where they are
 *
 * Ask until there is none after UVM_POLICY_SVM_EV_MIGRATED and _UNMAPPED, and after advice.
 *
 * Return: 1 with a region, 0, -EINVAL.
 */
int uvm_policy_svm_next_map(struct uvm_policy_svm *svm, u64 space,
			    struct uvm_policy_svm_region *region);

/**
 * uvm_policy_svm_cpu_fault() - the CPU touched a page in VRAM
 * @svm: the policy
 * @space: whose
 * @va: where
 * @now: nanoseconds
 * @until: when it should come back, with 1
 *
 * Return: 0: at once; 1: the device has its slice until then; -ENOENT, -EINVAL.
 */
int uvm_policy_svm_cpu_fault(struct uvm_policy_svm *svm, u64 space, u64 va, u64 now, u64 *until);

/**
 * uvm_policy_svm_victim() - which chunk of VRAM to empty
 * @svm: the policy
 * @now: nanoseconds
 * @chunk: its number
 *
 * It is not named again before UVM_POLICY_SVM_EV_CHUNK_FREE, _CHUNK_STAYS, or pages came to it.
 *
 * Return: 1 with a chunk, 0 when none is in use, -EINVAL.
 */
int uvm_policy_svm_victim(struct uvm_policy_svm *svm, u64 now, u32 *chunk);

/**
 * uvm_policy_svm_event() - tell what happened
 * @svm: the policy
 * @event: what
 * @now: nanoseconds
 *
 * About the same pages in the order in which it happened; never from a notifier, but before the
 * next uvm_policy_svm_serve() that it matters to.
 *
 * Return: 0, -ENOENT for an unknown space, -ENOMEM when it could not be kept (decisions are worse
 * for it, nothing else), -EINVAL.
 */
int uvm_policy_svm_event(struct uvm_policy_svm *svm, const struct uvm_policy_svm_event *event,
			 u64 now);

/**
 * uvm_policy_svm_stats() - what happened since the start
 * @svm: the policy
 * @space: where; 0: everywhere, in spaces that are gone as well
 * @stats: the answer
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_svm_stats(const struct uvm_policy_svm *svm, u64 space,
			 struct uvm_policy_svm_stats *stats);

/**
 * uvm_policy_svm_keep_log() - keep records of what happens for tools
 * @svm: the policy
 * @space: where
 * @records: how many may wait to be read, at most 65536; 0: none are kept
 *
 * Return: 0, -ENOENT, -ENOMEM, -EINVAL.
 */
int uvm_policy_svm_keep_log(struct uvm_policy_svm *svm, u64 space, u32 records);

/**
 * uvm_policy_svm_read_log() - take the oldest records
 * @svm: the policy
 * @space: where
 * @records: they go there
 * @count: room; with 0 @records may be NULL
 * @lost: how many were lost since the last call, because nobody read
 *
 * Return: how many were taken (for @count 0: how many wait), -ENOENT, -EINVAL.
 */
int uvm_policy_svm_read_log(struct uvm_policy_svm *svm, u64 space,
			    struct uvm_policy_svm_record *records, u32 count, u64 *lost);

#endif /* UVM_POLICY_SVM_H */
