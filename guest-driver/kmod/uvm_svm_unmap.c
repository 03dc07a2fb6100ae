// SPDX-License-Identifier: GPL-2.0
/*
 * Entries of mirrored pages are taken away, by notifiers above all: then the
 * device has forgotten them before the lock of their block is let go. Nothing
 * here allocates, as notifiers come from reclaim too. What was taken is marked,
 * and told to the policy later.
 */

#include <linux/bitmap.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/workqueue.h>

#include "uvm_drv.h"

/* Of those pages, the ones that go from the device's hands. */
static void uvm_svm_take_back(struct uvm_svm_block *block, u32 first,
			      u32 behind)
{
	struct uvm_svm *svm = block->svm;
	u32 page, n = 0;

	for (page = find_next_bit(block->exclusive, behind, first);
	     page < behind;
	     page = find_next_bit(block->exclusive, behind, page + 1)) {
		clear_bit(page, block->exclusive);
		set_bit(page, block->contested);
		n++;
	}
	if (!n)
		return;
	atomic64_add(n, &svm->taken_back);
	atomic64_add(n, &svm->vm->uvm->svm.taken_back);
}

/**
 * uvm_svm_unmap() - take entries away
 * @block: the block, locked
 * @start: first address
 * @end: behind the last one
 *
 * If there were any: then comes uvm_svm_forget(), and then uvm_svm_unmapped(),
 * all before the block is unlocked. Context: within drm_dev_enter(); allocates
 * nothing.
 *
 * Return: how many there were.
 */
u32 uvm_svm_unmap(struct uvm_svm_block *block, u64 start, u64 end)
{
	u32 page, first = uvm_svm_page(block, start), n = 0;
	u32 behind = uvm_svm_page(block, end);

	lockdep_assert_held(&block->lock);
	if (behind - first < UVM_SVM_BLOCK_PAGES)
		uvm_svm_part(block);
	for (page = find_next_bit(block->mapped, behind, first); page < behind;
	     page = find_next_bit(block->mapped, behind, page + 1)) {
		uvm_svm_write(block, page, 0);
		set_bit(page, block->lost);
		clear_bit(page, block->denied);
		n++;
	}
	if (!n)
		return 0;
	bitmap_clear(block->mapped, first, behind - first);
	bitmap_clear(block->writable, first, behind - first);
	uvm_svm_take_back(block, first, behind);
	bitmap_clear(block->whole, first, behind - first);
	bitmap_clear(block->vram, first, behind - first);
	bitmap_clear(block->fits, first, behind - first);
	block->joined &= behind - first < UVM_SVM_BLOCK_PAGES;
	WRITE_ONCE(block->svm->lost, true);
	return n;
}

/**
 * uvm_svm_unmapped() - entries are gone from the device's caches as well
 * @block: the block, locked
 * @start: first address
 * @end: behind the last one
 *
 * Copies in VRAM that they led to are given back.
 */
void uvm_svm_unmapped(struct uvm_svm_block *block, u64 start, u64 end)
{
	uvm_svm_single(block, uvm_svm_page(block, start),
		       uvm_svm_page(block, end));
}

/**
 * uvm_svm_clear() - map pages no more
 * @block: the block, locked
 * @start: first address
 * @end: behind the last one
 *
 * When this returns, the device does not reach them. Context: within
 * drm_dev_enter(); allocates nothing.
 *
 * Return: how many there were.
 */
u32 uvm_svm_clear(struct uvm_svm_block *block, u64 start, u64 end)
{
	u32 first = uvm_svm_page(block, start);
	u32 behind = uvm_svm_page(block, end);
	u32 low = find_next_bit(block->mapped, behind, first);
	u32 high, n;

	if (low >= behind)
		return 0;
	high = find_last_bit(block->mapped, behind);
	n = uvm_svm_unmap(block, start, end);
	uvm_svm_forget(block->svm, block->va + (u64)low * PAGE_SIZE,
		       block->va + (u64)(high + 1) * PAGE_SIZE);
	uvm_svm_unmapped(block, start, end);
	return n;
}

/**
 * uvm_svm_count_taken() - entries were taken away at once
 * @svm: the mirror
 * @n: how many, or 0
 */
void uvm_svm_count_taken(struct uvm_svm *svm, u32 n)
{
	if (!n)
		return;
	atomic64_inc(&svm->vm->uvm->svm.invalidations);
	atomic64_add(n, &svm->vm->uvm->svm.zapped);
	/* What is to be mapped always is, before long. */
	if (READ_ONCE(svm->keeps))
		schedule_delayed_work(&svm->later, 1);
}

/**
 * uvm_svm_mark_left() - pages in VRAM are about to leave it
 * @block: the block, locked, before uvm_svm_unmap()
 * @start: first address
 * @end: behind the last one
 *
 * They are evicted if they are of a chunk that is being emptied, as all of an
 * eviction's range is; a block may have pages in several. Context: within
 * drm_dev_enter().
 */
void uvm_svm_mark_left(struct uvm_svm_block *block, u64 start, u64 end)
{
	u32 behind = uvm_svm_page(block, end);
	u32 page = find_next_bit(block->vram, behind,
				 uvm_svm_page(block, start));
	bool evicted;
	u64 entry;

	if (page >= behind)
		return;
	entry = uvm_svm_read(block, page) & UVM_PTE_ADDR;
	evicted = uvm_devmem_leaves(block->svm->vm->uvm,
				    entry >> UVM_CHUNK_SHIFT);
	for (; page < behind;
	     page = find_next_bit(block->vram, behind, page + 1)) {
		set_bit(page, block->left);
		__assign_bit(page, block->evicted, evicted);
	}
	block->left_at = ktime_get_ns();
}

/*
 * The CPU's page tables change. Whatever is mapped of the range goes, also for
 * a change that would take nothing from the device: what it may still do is
 * found out when it asks.
 */
static bool uvm_svm_invalidate(struct mmu_interval_notifier *notifier,
			       const struct mmu_notifier_range *range,
			       unsigned long seq)
{
	struct uvm_svm_block *block = container_of(notifier,
						   struct uvm_svm_block,
						   notifier);
	struct uvm_device *uvm = block->svm->vm->uvm;
	u64 start = max_t(u64, range->start, block->va);
	u64 end = min_t(u64, range->end, block->va + UVM_SVM_BLOCK_BYTES);
	u32 behind = uvm_svm_page(block, end), n = 0;
	int idx;

	/* Of uvm_svm_exclude(): the page stays, and may be written now. */
	if (range->event == MMU_NOTIFY_EXCLUSIVE && range->owner == block->svm)
		return true;
	if (mmu_notifier_range_blockable(range))
		mutex_lock(&block->lock);
	else if (!mutex_trylock(&block->lock))
		return false;
	/* To be told of it takes the device a while. */
	if (!mmu_notifier_range_blockable(range) &&
	    find_next_bit(block->mapped, behind,
			  uvm_svm_page(block, start)) < behind) {
		mutex_unlock(&block->lock);
		return false;
	}
	mmu_interval_set_seq(notifier, seq);
	if (find_next_bit(block->mapped, behind,
			  uvm_svm_page(block, start)) < behind) {
		if (drm_dev_enter(&uvm->drm, &idx)) {
			if (range->event == MMU_NOTIFY_MIGRATE &&
			    block->svm->dm && range->owner == block->svm->dm)
				uvm_svm_mark_left(block, start, end);
			n = uvm_svm_clear(block, start, end);
			drm_dev_exit(idx);
		} else {
			/* It goes: soon it reaches nothing any more. */
			wait_for_completion(&uvm->svm.halted);
		}
	}
	mutex_unlock(&block->lock);
	/* Then it is not unmapped yet; later it may be of no use any more. */
	if (range->event == MMU_NOTIFY_UNMAP) {
		WRITE_ONCE(block->shrunk, true);
		WRITE_ONCE(block->svm->shrunk, true);
		schedule_delayed_work(&block->svm->calm, UVM_SVM_CALM);
	}
	uvm_svm_count_taken(block->svm, n);
	return true;
}

const struct mmu_interval_notifier_ops uvm_svm_notifier_ops = {
	.invalidate = uvm_svm_invalidate,
};
