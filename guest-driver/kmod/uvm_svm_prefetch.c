// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is brought because its process asks: as far as the policy lets it
 * move. What comes to VRAM is mapped at once, so that its first use needs no
 * fault.
 */

#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "uvm_drv.h"

/* Moves what can be moved of a run of pages; -EAGAIN while buffers make way. */
static int uvm_svm_prefetch_try(struct uvm_svm *svm, u64 start, u64 end,
				bool to_vram, struct uvm_migrate_stats *stats)
{
	struct vm_area_struct *vma;
	u64 next;
	int ret;

	ret = mmap_read_lock_killable(svm->mm);
	if (ret)
		return ret;
	for (; start < end && !ret; start = next) {
		vma = find_vma_intersection(svm->mm, start, end);
		if (!vma)
			break;
		start = max_t(u64, start, vma->vm_start);
		next = min_t(u64, end, vma->vm_end);
		ret = to_vram ?
		      uvm_migrate_to_vram(svm->dm, vma, start, next, stats) :
		      uvm_migrate_to_system(svm->dm, vma, start, next, stats);
		/* Mappings whose pages cannot move, as others' pages, stay. */
		if (ret == -EINVAL)
			ret = 0;
	}
	mmap_read_unlock(svm->mm);
	return ret;
}

static int uvm_svm_prefetch_run(struct uvm_svm *svm, u64 start, u64 end,
				bool to_vram, struct uvm_migrate_stats *stats)
{
	unsigned long until = jiffies + msecs_to_jiffies(UVM_MM_WAY_MS);
	int ret;

	for (;;) {
		ret = uvm_svm_prefetch_try(svm, start, end, to_vram, stats);
		if (ret != -EAGAIN)
			return ret;
		ret = uvm_mm_way_wait(svm->vm->uvm, until);
		if (ret)
			return ret;
	}
}

/* Pages of a block that were to come; what is there is mapped and told. */
static void uvm_svm_prefetch_map(struct uvm_svm *svm, u64 va,
				 const unsigned long *pages,
				 unsigned long *pfns)
{
	struct uvm_svm_block *block = uvm_svm_block_get(svm, va);
	unsigned int first, behind;

	if (IS_ERR(block))
		return;
	for_each_set_bitrange(first, behind, pages, UVM_SVM_BLOCK_PAGES)
		uvm_svm_look(block, va + (u64)first * PAGE_SIZE,
			     va + (u64)behind * PAGE_SIZE, pfns, false);
	uvm_svm_tell_found(svm, block, pages, true,
			   UVM_POLICY_SVM_BY_PREFETCH);
	uvm_svm_block_put(block);
}

/**
 * uvm_svm_prefetch() - move a range of a mirror to where its process wants it
 * @svm: the mirror, of the caller's own memory
 * @start: first address
 * @end: behind the last one
 * @to_vram: where
 * @stats: added to
 *
 * What a group holds stays, and so does what the device may not reach.
 * Context: within drm_dev_enter(); no mmap_lock.
 *
 * Return: 0 even if pages stayed; -EINVAL, -ENOSPC, -ENOMEM, -EINTR, -EIO,
 * -ENODEV.
 */
int uvm_svm_prefetch(struct uvm_svm *svm, u64 start, u64 end, bool to_vram,
		     struct uvm_migrate_stats *stats)
{
	struct uvm_policy_svm_region region;
	DECLARE_BITMAP(pages, UVM_SVM_BLOCK_PAGES);
	unsigned int first, behind;
	unsigned long *pfns;
	int ret = 0, more = 1;

	pfns = kvcalloc(UVM_SVM_BLOCK_PAGES, sizeof(*pfns), GFP_KERNEL);
	if (!pfns)
		return -ENOMEM;
	while (more > 0 && !ret) {
		more = uvm_svm_plan_prefetch(svm, start, end, to_vram, &region,
					     &start);
		if (more < 0) {
			ret = more;
			break;
		}
		bitmap_from_arr64(pages, region.pages, UVM_SVM_BLOCK_PAGES);
		for_each_set_bitrange(first, behind, pages,
				      UVM_SVM_BLOCK_PAGES) {
			ret = uvm_svm_prefetch_run(svm, region.va +
						   (u64)first * PAGE_SIZE,
						   region.va +
						   (u64)behind * PAGE_SIZE,
						   to_vram, stats);
			if (ret)
				break;
		}
		if (to_vram && !bitmap_empty(pages, UVM_SVM_BLOCK_PAGES))
			uvm_svm_prefetch_map(svm, region.va, pages, pfns);
		cond_resched();
	}
	kvfree(pfns);
	return ret;
}

/**
 * uvm_svm_prefetch_group() - move all ranges of a group
 * @svm: the mirror, of the caller's own memory
 * @group: the group
 * @to_vram: where
 * @stats: added to
 *
 * Context: as uvm_svm_prefetch().
 *
 * Return: as uvm_svm_prefetch(); -ENOENT for no such group.
 */
int uvm_svm_prefetch_group(struct uvm_svm *svm, u32 group, bool to_vram,
			   struct uvm_migrate_stats *stats)
{
	struct uvm_device *uvm = svm->vm->uvm;
	u64 start, end = 0;
	unsigned int flags;
	int ret;

	do {
		flags = uvm_svm_policy_begin(uvm);
		ret = uvm_policy_svm_group_next(uvm->svm.policy, svm->space,
						group, end, &start, &end);
		uvm_svm_policy_end(uvm, flags);
		if (ret > 0)
			ret = uvm_svm_prefetch(svm, start, end, to_vram, stats) ?:
			      1;
	} while (ret > 0);
	return ret;
}
