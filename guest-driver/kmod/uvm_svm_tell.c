// SPDX-License-Identifier: GPL-2.0
/*
 * What the policy of mirrored memory is told after it happened: never by a
 * notifier, which only marks what it took away. It is told before the next
 * decision that it matters to.
 */

#include <linux/bitmap.h>
#include <linux/ktime.h>
#include <linux/mm.h>

#include "uvm_drv.h"

/* Without memory decisions are worse, that is all. */
static void uvm_svm_event(struct uvm_svm *svm,
			  struct uvm_policy_svm_event *event, u64 now)
{
	struct uvm_device *uvm = svm->vm->uvm;
	unsigned int flags;

	event->space = svm->space;
	flags = uvm_svm_policy_begin(uvm);
	uvm_policy_svm_event(uvm->svm.policy, event, now);
	uvm_svm_policy_end(uvm, flags);
}

/* @chunk: where pages in VRAM are; @now: when they came there, or left. */
static void uvm_svm_tell_place(struct uvm_svm *svm, u64 va, u32 place,
			       u32 chunk, u32 cause,
			       const unsigned long *pages, u64 now)
{
	struct uvm_policy_svm_event event = {
		.op = UVM_POLICY_SVM_EV_MIGRATED,
		.place = place,
		.cause = cause,
		.chunk = chunk,
		.va = va,
	};

	if (bitmap_empty(pages, UVM_SVM_BLOCK_PAGES))
		return;
	bitmap_to_arr64(event.pages, pages, UVM_SVM_BLOCK_PAGES);
	uvm_svm_event(svm, &event, now);
}

static void uvm_svm_tell_moved(struct uvm_svm *svm, u64 va, u32 chunk,
			       u32 cause, const unsigned long *pages, u64 now)
{
	u32 place = chunk == UVM_POLICY_SVM_NO_CHUNK ? UVM_POLICY_SVM_SYSTEM :
						       UVM_POLICY_SVM_VRAM;

	uvm_svm_tell_place(svm, va, place, chunk, cause, pages, now);
}

/**
 * uvm_svm_tell_lost() - tell what notifiers took away of a block
 * @svm: the mirror
 * @block: the block
 */
void uvm_svm_tell_lost(struct uvm_svm *svm, struct uvm_svm_block *block)
{
	DECLARE_BITMAP(lost, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(left, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(evicted, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(asked, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(unsure, UVM_SVM_BLOCK_PAGES);
	unsigned int start, end;
	u64 left_at;

	mutex_lock(&block->lock);
	bitmap_copy(lost, block->lost, UVM_SVM_BLOCK_PAGES);
	bitmap_zero(block->lost, UVM_SVM_BLOCK_PAGES);
	bitmap_and(left, block->left, block->told, UVM_SVM_BLOCK_PAGES);
	bitmap_zero(block->left, UVM_SVM_BLOCK_PAGES);
	bitmap_andnot(block->told, block->told, left, UVM_SVM_BLOCK_PAGES);
	left_at = block->left_at;
	bitmap_and(evicted, left, block->evicted, UVM_SVM_BLOCK_PAGES);
	bitmap_andnot(left, left, evicted, UVM_SVM_BLOCK_PAGES);
	/* What a CPU asked for, and what came along or was to go anyway. */
	bitmap_andnot(asked, left, block->cpu, UVM_SVM_BLOCK_PAGES);
	bitmap_and(left, left, block->cpu, UVM_SVM_BLOCK_PAGES);
	/* Copies in VRAM are no more. */
	bitmap_or(asked, asked, block->once, UVM_SVM_BLOCK_PAGES);
	bitmap_zero(block->once, UVM_SVM_BLOCK_PAGES);
	/*
	 * Of the others nobody said where they are now. What is in VRAM still
	 * is found there with the next fault, and told anew.
	 */
	bitmap_and(unsure, lost, block->told, UVM_SVM_BLOCK_PAGES);
	bitmap_andnot(block->told, block->told, unsure, UVM_SVM_BLOCK_PAGES);
	mutex_unlock(&block->lock);

	for_each_set_bitrange(start, end, lost, UVM_SVM_BLOCK_PAGES) {
		struct uvm_policy_svm_event event = {
			.op = UVM_POLICY_SVM_EV_UNMAPPED,
			.va = block->va + (u64)start * PAGE_SIZE,
			.end = block->va + (u64)end * PAGE_SIZE,
		};

		uvm_svm_event(svm, &event, ktime_get_ns());
	}
	uvm_svm_tell_moved(svm, block->va, UVM_POLICY_SVM_NO_CHUNK,
			   UVM_POLICY_SVM_BY_CPU, left, left_at);
	uvm_svm_tell_moved(svm, block->va, UVM_POLICY_SVM_NO_CHUNK,
			   UVM_POLICY_SVM_BY_PREFETCH, asked, left_at);
	uvm_svm_tell_moved(svm, block->va, UVM_POLICY_SVM_NO_CHUNK,
			   UVM_POLICY_SVM_BY_EVICTION, evicted, left_at);
	uvm_svm_tell_moved(svm, block->va, UVM_POLICY_SVM_NO_CHUNK,
			   UVM_POLICY_SVM_LOST, unsure, ktime_get_ns());
}

/**
 * uvm_svm_tell_all_lost() - tell what notifiers took away since the last time
 * @svm: the mirror
 */
void uvm_svm_tell_all_lost(struct uvm_svm *svm)
{
	struct uvm_svm_block *block;
	unsigned long index;

	if (!xchg(&svm->lost, false))
		return;
	mutex_lock(&svm->lock);
	xa_for_each(&svm->blocks, index, block)
		uvm_svm_tell_lost(svm, block);
	mutex_unlock(&svm->lock);
}

/**
 * uvm_svm_tell_gone() - a block has no memory any more
 * @svm: the mirror
 * @va: its first address
 */
void uvm_svm_tell_gone(struct uvm_svm *svm, u64 va)
{
	struct uvm_policy_svm_event event = {
		.op = UVM_POLICY_SVM_EV_GONE,
		.va = va,
		.end = va + UVM_SVM_BLOCK_BYTES,
	};

	if (svm->space)
		uvm_svm_event(svm, &event, ktime_get_ns());
}

/**
 * uvm_svm_tell_found() - tell where pages turned out to be
 * @svm: the mirror
 * @block: their block
 * @pages: the pages; those that are mapped are told of
 * @moved: they were to come to VRAM
 * @cause: UVM_POLICY_SVM_BY_*
 *
 * What they lost on their way is told first: it is not what they found that they
 * lost.
 */
void uvm_svm_tell_found(struct uvm_svm *svm, struct uvm_svm_block *block,
			const unsigned long *pages, bool moved, u32 cause)
{
	struct uvm_policy_svm_event event = { .va = block->va };
	u64 now = ktime_get_ns();
	DECLARE_BITMAP(mapped, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(set, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(came, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(left, UVM_SVM_BLOCK_PAGES);
	u32 chunk;

	uvm_svm_tell_lost(svm, block);
	mutex_lock(&block->lock);
	bitmap_and(mapped, block->mapped, pages, UVM_SVM_BLOCK_PAGES);
	bitmap_and(set, mapped, block->writable, UVM_SVM_BLOCK_PAGES);
	bitmap_to_arr64(event.pages, mapped, UVM_SVM_BLOCK_PAGES);
	bitmap_to_arr64(event.writable, set, UVM_SVM_BLOCK_PAGES);
	bitmap_and(set, mapped, block->vram, UVM_SVM_BLOCK_PAGES);
	bitmap_andnot(came, set, block->told, UVM_SVM_BLOCK_PAGES);
	bitmap_andnot(set, mapped, block->vram, UVM_SVM_BLOCK_PAGES);
	bitmap_and(left, set, block->told, UVM_SVM_BLOCK_PAGES);
	bitmap_or(block->told, block->told, came, UVM_SVM_BLOCK_PAGES);
	bitmap_andnot(block->told, block->told, left, UVM_SVM_BLOCK_PAGES);
	chunk = block->chunk;
	mutex_unlock(&block->lock);

	uvm_svm_tell_moved(svm, block->va, UVM_POLICY_SVM_NO_CHUNK,
			   UVM_POLICY_SVM_BY_CPU, left, now);
	uvm_svm_tell_moved(svm, block->va, chunk, cause, came, now);
	event.op = UVM_POLICY_SVM_EV_MAPPED;
	uvm_svm_event(svm, &event, ktime_get_ns());
	/* What is mapped in system memory, and was to be in VRAM. */
	if (!moved || bitmap_empty(set, UVM_SVM_BLOCK_PAGES))
		return;
	event.op = UVM_POLICY_SVM_EV_FAILED;
	event.place = UVM_POLICY_SVM_VRAM;
	bitmap_to_arr64(event.pages, set, UVM_SVM_BLOCK_PAGES);
	uvm_svm_event(svm, &event, ktime_get_ns());
}

/**
 * uvm_svm_tell_doubled() - tell that pages have a second copy, which is mapped
 * @svm: the mirror
 * @block: their block
 * @pages: which
 */
void uvm_svm_tell_doubled(struct uvm_svm *svm, struct uvm_svm_block *block,
			  const unsigned long *pages)
{
	struct uvm_policy_svm_event event = {
		.op = UVM_POLICY_SVM_EV_MAPPED,
		.va = block->va,
	};
	u64 now = ktime_get_ns();

	uvm_svm_tell_place(svm, block->va, UVM_POLICY_SVM_BOTH, block->chunk,
			   UVM_POLICY_SVM_BY_FAULT, pages, now);
	bitmap_to_arr64(event.pages, pages, UVM_SVM_BLOCK_PAGES);
	uvm_svm_event(svm, &event, now);
}

/**
 * uvm_svm_tell_missing() - tell of pages that should be mapped and are not
 * @svm: the mirror
 * @block: their block
 * @region: the pages; those on their way have no entry for a moment
 *
 * Return: whether there are any.
 */
bool uvm_svm_tell_missing(struct uvm_svm *svm, struct uvm_svm_block *block,
			  const struct uvm_policy_svm_region *region)
{
	struct uvm_policy_svm_event event = {
		.op = UVM_POLICY_SVM_EV_FAILED,
		.place = UVM_POLICY_SVM_SYSTEM,
		.va = block->va,
	};
	DECLARE_BITMAP(pages, UVM_SVM_BLOCK_PAGES);

	bitmap_from_arr64(pages, region->pages, UVM_SVM_BLOCK_PAGES);
	mutex_lock(&block->lock);
	bitmap_andnot(pages, pages, block->mapped, UVM_SVM_BLOCK_PAGES);
	mutex_unlock(&block->lock);
	if (bitmap_empty(pages, UVM_SVM_BLOCK_PAGES))
		return false;
	bitmap_to_arr64(event.pages, pages, UVM_SVM_BLOCK_PAGES);
	uvm_svm_event(svm, &event, ktime_get_ns());
	return true;
}

/**
 * uvm_svm_chunk_event() - something happened to a chunk of VRAM
 * @uvm: the device
 * @chunk: its number
 * @op: UVM_POLICY_SVM_EV_CHUNK_*
 */
void uvm_svm_chunk_event(struct uvm_device *uvm, u32 chunk, u32 op)
{
	const struct uvm_policy_svm_event event = { .op = op, .chunk = chunk };
	unsigned int flags = uvm_svm_policy_begin(uvm);

	/* The device's last chunks go after its policy. */
	if (uvm->svm.policy)
		uvm_policy_svm_event(uvm->svm.policy, &event, ktime_get_ns());
	uvm_svm_policy_end(uvm, flags);
}
