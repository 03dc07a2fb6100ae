/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The border between the driver and its policy, which is written in Rust.
 *
 * Generated from guest-driver/kmod/ffi: do not edit. To regenerate:
 * UVM_UPDATE_HEADER=1 cargo test -p uvm-kmod-ffi --test header
 *
 * All calls on one policy are made under one sleeping mutex of the driver. Sizes and offsets are
 * bytes. Functions that return int return 0 or a negative errno, and write their results only with
 * 0, except where it says otherwise.
 */

#ifndef UVM_POLICY_H
#define UVM_POLICY_H

#include <linux/compiler.h>
#include <linux/types.h>

/* System pages that the GPU has no address for but in page tables of processes. */
#define UVM_POLICY_DOMAIN_SYSTEM 0
/* System pages bound in the GART. */
#define UVM_POLICY_DOMAIN_GTT 1
/* The device's own memory. */
#define UVM_POLICY_DOMAIN_VRAM 2

/* Request: search from the highest address down. */
#define UVM_POLICY_TOP_DOWN 1

/**
 * struct uvm_policy - the memory manager's decisions for one device
 *
 * Owned by the driver behind one sleeping mutex. Calls are short, sleep only to allocate tables,
 * and must not be made from atomic context or a non-blockable notifier.
 */
struct uvm_policy;

/**
 * struct uvm_policy_config - what the device has
 * @page_size: granule of all segments in bytes, a power of two
 * @vram_base: offset that VRAM ranges count from, a multiple of the page size
 * @vram_size: bytes of VRAM, a multiple of the page size; 0: no VRAM
 * @gart_base: offset that GTT ranges count from, a multiple of the page size
 * @gart_size: bytes that the GART maps, a multiple of the page size; 0: no GART
 */
struct uvm_policy_config {
	u64 page_size;
	u64 vram_base;
	u64 vram_size;
	u64 gart_base;
	u64 gart_size;
};

/**
 * struct uvm_policy_request - what range is wanted
 * @size: bytes, not 0; rounded up to pages
 * @align: a power of two; less than a page means a page
 * @min: lowest offset the range may have
 * @max: offset that the range must end at or before; 0: no limit
 * @flags: UVM_POLICY_TOP_DOWN
 * @pad: must be 0
 */
struct uvm_policy_request {
	u64 size;
	u64 align;
	u64 min;
	u64 max;
	u32 flags;
	u32 pad;
};

/**
 * struct uvm_policy_range - a range that was given
 * @id: names it from now on; never 0
 * @offset: first byte, counted from the segment's base
 * @size: bytes, a multiple of the page size
 */
struct uvm_policy_range {
	u64 id;
	u64 offset;
	u64 size;
};

/**
 * struct uvm_policy_stats - how full a segment is
 * @size: bytes of the segment
 * @used: bytes given out, reserved ones included
 * @reserved: bytes reserved
 * @longest_free: bytes of the longest free range
 * @blocks: number of ranges given out, reserved ones included
 * @holes: number of free ranges
 */
struct uvm_policy_stats {
	u64 size;
	u64 used;
	u64 reserved;
	u64 longest_free;
	u64 blocks;
	u64 holes;
};

/**
 * uvm_policy_new() - make a policy
 * @config: what the device has
 *
 * Return: the policy, or ERR_PTR(-EINVAL) for sizes that make no sense, ERR_PTR(-ENOMEM).
 */
struct uvm_policy *uvm_policy_new(const struct uvm_policy_config *config);

/**
 * uvm_policy_destroy() - end a policy
 * @policy: from uvm_policy_new(), or NULL
 *
 * All ranges, buffers and moves end with it; uvm_policy_in_use() before tells what was leaked.
 */
void uvm_policy_destroy(struct uvm_policy *policy);

/**
 * uvm_policy_in_use() - count what is still there
 * @policy: the policy
 * @bos: number of buffers
 * @moves: number of moves in flight
 *
 * Return: 0 or -EINVAL.
 */
int uvm_policy_in_use(const struct uvm_policy *policy, u32 *bos, u32 *moves);

/**
 * uvm_policy_alloc() - take a range of a segment
 * @policy: the policy
 * @domain: VRAM or GTT
 * @request: what is wanted
 * @range: what was given
 *
 * Return: 0, -ENOSPC when no free range fits, -ENOMEM, -EINVAL, -ENOENT for a domain without a
 * segment.
 */
int uvm_policy_alloc(struct uvm_policy *policy, u32 domain,
		     const struct uvm_policy_request *request, struct uvm_policy_range *range);

/**
 * uvm_policy_reserve() - take a fixed range of a segment
 * @policy: the policy
 * @domain: VRAM or GTT
 * @offset: first byte; rounded down to a page
 * @size: bytes, not 0; the end is rounded up to a page
 * @range: what was given
 *
 * Return: 0, -ENOSPC when part of it is taken, -ENOMEM, -EINVAL when it is not inside the segment,
 * -ENOENT for a domain without a segment.
 */
int uvm_policy_reserve(struct uvm_policy *policy, u32 domain, u64 offset, u64 size,
		       struct uvm_policy_range *range);

/**
 * uvm_policy_free() - give back a range
 * @policy: the policy
 * @id: of uvm_policy_alloc() or uvm_policy_reserve()
 *
 * The caller has seen to it that nothing reaches the range any more. Never allocates.
 *
 * Return: 0, -ENOENT for an unknown id, -EBUSY for a range that belongs to a buffer, -EINVAL.
 */
int uvm_policy_free(struct uvm_policy *policy, u64 id);

/**
 * uvm_policy_find() - the range that holds an offset
 * @policy: the policy
 * @domain: VRAM or GTT
 * @offset: any byte of it
 * @range: the range
 *
 * Return: 0, -ENOENT when the offset is free or outside, -EINVAL.
 */
int uvm_policy_find(const struct uvm_policy *policy, u32 domain, u64 offset,
		    struct uvm_policy_range *range);

/**
 * uvm_policy_stats() - how full the segments of a domain's buffers are, together
 * @policy: the policy
 * @domain: VRAM or GTT
 * @stats: the counts
 *
 * Return: 0, -EINVAL, -ENOENT for a domain without a segment.
 */
int uvm_policy_stats(const struct uvm_policy *policy, u32 domain, struct uvm_policy_stats *stats);

/**
 * uvm_policy_retire() - never give out a page again
 * @policy: the policy
 * @domain: VRAM or GTT
 * @offset: any byte of the page
 *
 * Return: 0 when it is out of use, 1 when somebody has it: it is out of use once they free it;
 * -EINVAL when it is in no segment, -ENOMEM, -ENOSPC for too many.
 */
int uvm_policy_retire(struct uvm_policy *policy, u32 domain, u64 offset);

/**
 * uvm_policy_chunk_take() - take a chunk of VRAM for pages of processes' own memory
 * @policy: the policy
 * @size: bytes, a power of two; its alignment as well
 * @range: what was given
 *
 * Which one is emptied when there is none is known to uvm_policy_svm_victim().
 *
 * Return: 0, -ENOSPC when there is none, -ENOMEM, -EINVAL, -ENOENT without VRAM.
 */
int uvm_policy_chunk_take(struct uvm_policy *policy, u64 size, struct uvm_policy_range *range);

/**
 * uvm_policy_chunk_free() - give a chunk back
 * @policy: the policy
 * @id: of uvm_policy_chunk_take()
 *
 * Nobody has a page of it. Never allocates.
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_chunk_free(struct uvm_policy *policy, u64 id);

/**
 * uvm_rust_alloc() - memory for the policy's tables
 * @size: bytes, not 0
 * @align: alignment, at most that of u64
 *
 * Implemented by the driver: kvmalloc() that may sleep and may fail.
 *
 * Return: the memory or NULL.
 */
void *uvm_rust_alloc(size_t size, size_t align);

/**
 * uvm_rust_free() - give back memory
 * @ptr: of uvm_rust_alloc()
 *
 * Implemented by the driver: kvfree().
 */
void uvm_rust_free(void *ptr);

/**
 * uvm_rust_panic() - the policy found itself broken
 * @msg: file, line and reason; not terminated
 * @len: bytes of @msg
 *
 * Implemented by the driver: pr_emerg("%.*s") and BUG().
 */
void __noreturn uvm_rust_panic(const char *msg, size_t len);

#include "uvm_policy_vm.h"
#include "uvm_policy_mm.h"
#include "uvm_policy_svm.h"

#endif /* UVM_POLICY_H */
