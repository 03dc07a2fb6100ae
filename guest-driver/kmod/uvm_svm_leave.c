// SPDX-License-Identifier: GPL-2.0
/*
 * Many blocks whose pages leave VRAM because somebody wants it so. Their
 * notifiers would have the device forget one block after the other, which takes
 * about as long as the copies. So the entries of many go beforehand, and are
 * forgotten at once; the notifiers find nothing to do then, unless the device
 * has asked for a page again meanwhile.
 */

#include <linux/mm.h>
#include <linux/workqueue.h>

#include "uvm_drv.h"

/* Blocks that are locked at once. */
#define UVM_SVM_TOGETHER	32

/* The part of a block that is in a range. */
static u64 uvm_svm_part_start(const struct uvm_svm_block *block, u64 start)
{
	return max(start, block->va);
}

static u64 uvm_svm_part_end(const struct uvm_svm_block *block, u64 end)
{
	return min(end, block->va + UVM_SVM_BLOCK_BYTES);
}

/* Entries of a mirror; their blocks stay locked until the device forgot them. */
static u32 uvm_svm_leave_blocks(struct uvm_svm *svm, u64 start, u64 end)
{
	struct uvm_svm_block *blocks[UVM_SVM_TOGETHER];
	struct uvm_device *uvm = svm->vm->uvm;
	u64 va, from, to, first = U64_MAX, behind = 0;
	u32 i, taken, nr = 0, n = 0;

	mutex_lock(&uvm->svm.leave_lock);
	for (va = ALIGN_DOWN(start, UVM_SVM_BLOCK_BYTES); va < end;
	     va += UVM_SVM_BLOCK_BYTES) {
		blocks[nr] = uvm_svm_block_find(svm, va);
		if (!blocks[nr])
			continue;
		mutex_lock_nest_lock(&blocks[nr]->lock, &uvm->svm.leave_lock);
		from = uvm_svm_part_start(blocks[nr], start);
		to = uvm_svm_part_end(blocks[nr], end);
		uvm_svm_mark_left(blocks[nr], from, to);
		taken = uvm_svm_unmap(blocks[nr], from, to);
		if (!taken) {
			mutex_unlock(&blocks[nr]->lock);
			uvm_svm_block_put(blocks[nr]);
			continue;
		}
		first = min(first, from);
		behind = to;
		n += taken;
		nr++;
	}
	if (n)
		uvm_svm_forget(svm, first, behind);
	for (i = 0; i < nr; i++) {
		uvm_svm_unmapped(blocks[i],
				 uvm_svm_part_start(blocks[i], start),
				 uvm_svm_part_end(blocks[i], end));
		mutex_unlock(&blocks[i]->lock);
		uvm_svm_block_put(blocks[i]);
	}
	mutex_unlock(&uvm->svm.leave_lock);
	return n;
}

/* Mirrors of a process's memory, each with a reference to its address space. */
static u32 uvm_svm_mirrors(struct uvm_devmem *dm, const struct mm_struct *mm,
			   struct uvm_svm **mirrors)
{
	struct uvm_svm_dev *dev = &dm->uvm->svm;
	struct uvm_svm *svm;
	u32 n = 0;

	spin_lock(&dev->mirrors_lock);
	list_for_each_entry(svm, &dev->mirrors, node)
		if (svm->mm == mm && svm->dm == dm && n < UVM_SVM_MIRRORS &&
		    kref_get_unless_zero(&svm->vm->ref))
			mirrors[n++] = svm;
	spin_unlock(&dev->mirrors_lock);
	return n;
}

/**
 * uvm_svm_leave() - unmap memory that is about to be migrated from VRAM
 * @dm: the instance
 * @mm: whose
 * @start: first address
 * @end: behind the last one
 *
 * What is still mapped later is unmapped as for any migration.
 * Context: mmap_lock held for reading.
 *
 * Return: behind what was done; the rest is for the next call.
 */
u64 uvm_svm_leave(struct uvm_devmem *dm, const struct mm_struct *mm,
		  u64 start, u64 end)
{
	struct uvm_svm *mirrors[UVM_SVM_MIRRORS];
	u32 i, taken, n;
	int idx;

	end = min(end, ALIGN_DOWN(start, UVM_SVM_BLOCK_BYTES) +
		       UVM_SVM_TOGETHER * UVM_SVM_BLOCK_BYTES);
	/* Of a device that goes, notifiers know. */
	if (!drm_dev_enter(&dm->uvm->drm, &idx))
		return end;
	n = uvm_svm_mirrors(dm, mm, mirrors);
	for (i = 0; i < n; i++) {
		taken = uvm_svm_leave_blocks(mirrors[i], start, end);
		uvm_svm_count_taken(mirrors[i], taken);
		uvm_vm_put(mirrors[i]->vm);
	}
	drm_dev_exit(idx);
	return end;
}
