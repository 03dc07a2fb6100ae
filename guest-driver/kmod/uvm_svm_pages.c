// SPDX-License-Identifier: GPL-2.0
/*
 * How pages of a process come into the device's page tables: the CPU's are
 * asked, as an access of the CPU would, and what they say is entered if it is
 * still so then. The notifier of the block tells whether it is.
 */

#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/mm.h>

#include "uvm_drv.h"

/* Page tables that change all the time: let the access be made again. */
#define UVM_SVM_PATIENCE	(HZ / 2)

/* No further than the memory that is mapped there, and to be used so. */
static bool uvm_svm_clip(struct mm_struct *mm, u64 va, bool write,
			 struct hmm_range *range)
{
	struct vm_area_struct *vma = vma_lookup(mm, va);

	mmap_assert_locked(mm);
	if (!vma || (write && !(vma->vm_flags & VM_WRITE)))
		return false;
	range->start = max(range->start, vma->vm_start);
	range->end = min(range->end, vma->vm_end);
	return true;
}

/* A page that the device is to write and has only a part in, with a forked child. */
static int uvm_svm_unshare(struct uvm_svm *svm, struct hmm_range *range)
{
	struct vm_area_struct *vma;
	unsigned long va;
	u32 i;

	for (i = 0, va = range->start; va < range->end; va += PAGE_SIZE, i++) {
		if (svm->pfns[i] & HMM_PFN_WRITE)
			continue;
		/* Only a page of VRAM is given although it is not enough. */
		vma = svm->dm ? vma_lookup(svm->mm, va) : NULL;
		if (!vma)
			return -EFAULT;
		return uvm_migrate_to_system(svm->dm, vma, va, va + PAGE_SIZE,
					     NULL) ?: -EBUSY;
	}
	return 0;
}

/*
 * Of a block of VRAM that the CPU has in one entry, hmm_range_fault() gives the
 * block's first pages, also where the range begins further on.
 */
static void uvm_svm_right_block(struct hmm_range *range)
{
	unsigned long va, pfn, *entry = range->hmm_pfns;
	struct page *page;

	for (va = range->start; va < range->end; va += PAGE_SIZE, entry++) {
		if (!(*entry & HMM_PFN_VALID) ||
		    hmm_pfn_to_map_order(*entry) != HPAGE_PMD_ORDER)
			continue;
		page = hmm_pfn_to_page(*entry);
		if (!is_device_private_page(page))
			continue;
		pfn = folio_pfn(page_folio(page)) +
		      ((va & ~HPAGE_PMD_MASK) >> PAGE_SHIFT);
		*entry = (*entry & HMM_PFN_FLAGS) | pfn;
	}
}

/* Asks for pages of one mapping, and maps them if they are still there then. */
static int uvm_svm_ask(struct uvm_svm_block *block, u64 va, bool write,
		       struct hmm_range *range)
{
	struct uvm_svm *svm = block->svm;
	struct uvm_device *uvm = svm->vm->uvm;
	bool fault = range->default_flags & HMM_PFN_REQ_FAULT;
	bool done;
	int idx, ret = 0;

	range->notifier_seq = mmu_interval_read_begin(&block->notifier);
	mmap_read_lock(svm->mm);
	if (fault && !uvm_svm_clip(svm->mm, va, write, range))
		ret = -EFAULT;
	if (!ret)
		ret = hmm_range_fault(range);
	if (!ret)
		uvm_svm_right_block(range);
	if (!ret && fault && write)
		ret = uvm_svm_unshare(svm, range);
	mmap_read_unlock(svm->mm);
	if (ret)
		return ret;
	if (!drm_dev_enter(&uvm->drm, &idx))
		return -ENODEV;
	mutex_lock(&block->lock);
	done = !block->gone && !mmu_interval_read_retry(&block->notifier,
							range->notifier_seq);
	if (done)
		uvm_svm_set(block, range->start, range->end, range->hmm_pfns,
			    write);
	mutex_unlock(&block->lock);
	drm_dev_exit(idx);
	return done ? 0 : -EBUSY;
}

/* Given up when others do not let the page tables rest. */
static int uvm_svm_insist(struct uvm_svm_block *block, u64 va, bool write,
			  struct hmm_range *range)
{
	unsigned long until = jiffies + UVM_SVM_PATIENCE;
	const u64 start = range->start, end = range->end;
	int ret;

	do {
		range->start = start;
		range->end = end;
		ret = uvm_svm_ask(block, va, write, range);
	} while (ret == -EBUSY && !READ_ONCE(block->gone) &&
		 time_before(jiffies, until));
	return ret;
}

/**
 * uvm_svm_bring() - have pages that the device wants
 * @block: their block
 * @va: the page that there must be
 * @start: first address, of the mapping of @va too
 * @end: behind the last one
 * @write: to be written
 *
 * Where the mapping of @va ends, so do the pages that are brought.
 * Context: the worker alone.
 *
 * Return: 0, -EFAULT or -EPERM where there is no such memory, -EBUSY when it was
 * not the time, -ENODEV, others.
 */
int uvm_svm_bring(struct uvm_svm_block *block, u64 va, u64 start, u64 end,
		  bool write)
{
	struct hmm_range range = {
		.notifier = &block->notifier,
		.start = start,
		.end = end,
		.hmm_pfns = block->svm->pfns,
		.default_flags = HMM_PFN_REQ_FAULT |
				 (write ? HMM_PFN_REQ_WRITE : 0),
		.dev_private_owner = block->svm->dm,
	};

	return uvm_svm_insist(block, va, write, &range);
}

/**
 * uvm_svm_look() - map pages that are there
 * @block: their block
 * @start: first address
 * @end: behind the last one
 * @pfns: room for as many pages, zeroed or of the last time
 * @write: for writing too, where the CPU may at this moment
 *
 * Return: 0, -EBUSY, -ENODEV, others.
 */
int uvm_svm_look(struct uvm_svm_block *block, u64 start, u64 end,
		 unsigned long *pfns, bool write)
{
	struct hmm_range range = {
		.notifier = &block->notifier,
		.start = start,
		.end = end,
		.hmm_pfns = pfns,
		.dev_private_owner = block->svm->dm,
	};

	return uvm_svm_insist(block, start, write, &range);
}
