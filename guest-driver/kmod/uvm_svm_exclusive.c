// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that the device has for itself: no CPU maps them, so that what the
 * device does to them is atomic to everybody. They stay where they are; a CPU's
 * access takes them back by way of the notifier, which clears the entry.
 */

#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>

#include "uvm_drv.h"

/* Page tables that change all the time. */
#define UVM_EXCLUDE_PATIENCE	HZ

/* Maps a page that is locked, if it still belongs where it was found. */
static bool uvm_svm_set_exclusive(struct uvm_svm_block *block, u64 va,
				  struct page *page, unsigned long seq)
{
	unsigned long pfn = page_to_pfn(page) | HMM_PFN_VALID | HMM_PFN_WRITE;
	bool still;

	mutex_lock(&block->lock);
	still = !block->gone &&
		!mmu_interval_read_retry(&block->notifier, seq);
	if (still) {
		uvm_svm_set(block, va, va + PAGE_SIZE, &pfn, true);
		set_bit((va - block->va) >> PAGE_SHIFT, block->exclusive);
	}
	mutex_unlock(&block->lock);
	return still;
}

static int uvm_svm_exclude_page(struct uvm_svm_block *block, u64 va)
{
	unsigned long until = jiffies + UVM_EXCLUDE_PATIENCE;
	struct mm_struct *mm = block->svm->mm;
	struct folio *folio;
	struct page *page;
	unsigned long seq;
	bool done = false;
	int ret = 0;

	while (!done && !ret) {
		if (time_after(jiffies, until) || READ_ONCE(block->gone))
			return -EBUSY;
		/*
		 * There and writable before the sequence is read, since to get
		 * it so changes it; also what is exclusive from the last try.
		 */
		mmap_read_lock(mm);
		ret = fixup_user_fault(mm, va, FAULT_FLAG_WRITE, NULL);
		mmap_read_unlock(mm);
		if (ret)
			return ret;
		seq = mmu_interval_read_begin(&block->notifier);
		mmap_read_lock(mm);
		page = make_device_exclusive(mm, va, block->svm, &folio);
		ret = PTR_ERR_OR_ZERO(page);
		if (!ret) {
			/* While it is locked, no CPU takes it back. */
			done = uvm_svm_set_exclusive(block, va, page, seq);
			folio_unlock(folio);
			folio_put(folio);
		}
		mmap_read_unlock(mm);
		if (ret == -EBUSY)
			ret = 0;
	}
	return ret;
}

/**
 * uvm_svm_exclude() - give the device pages for itself
 * @block: the block
 * @start: first address
 * @end: behind the last one, within the block
 *
 * Anonymous memory alone can be had so. A page is the device's until a CPU wants
 * it, which may be at once.
 *
 * Context: within drm_dev_enter(); the caller has a reference to the users of
 * the process's memory, and not its mmap_lock.
 *
 * Return: 0, -EFAULT for memory that is not there or not to be written, -EBUSY,
 * -EINVAL for what cannot be had so, -ENOMEM; pages before it are had then.
 */
int uvm_svm_exclude(struct uvm_svm_block *block, u64 start, u64 end)
{
	int ret = 0;
	u64 va;

	for (va = start; va < end && !ret; va += PAGE_SIZE)
		ret = uvm_svm_exclude_page(block, va);
	return ret;
}

/**
 * uvm_svm_is_exclusive() - whether the device has a page for itself
 * @block: the block
 * @start: first address
 * @end: behind the last one, within the block
 *
 * Return: whether any of them is.
 */
bool uvm_svm_is_exclusive(struct uvm_svm_block *block, u64 start, u64 end)
{
	u32 first = (start - block->va) >> PAGE_SHIFT;
	u32 behind = (end - block->va) >> PAGE_SHIFT;
	bool found;

	mutex_lock(&block->lock);
	found = find_next_bit(block->exclusive, behind, first) < behind;
	mutex_unlock(&block->lock);
	return found;
}
