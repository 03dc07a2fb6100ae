// SPDX-License-Identifier: GPL-2.0
/*
 * The CPU's side of memory that both want. Where a page thrashes, the policy
 * gives each side a slice of time with it, so the CPU may have to wait; and it
 * is told which pages left VRAM because the CPU asked for them.
 */

#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "uvm_drv.h"

/**
 * uvm_svm_list() - let a mirror be found by the memory that it mirrors
 * @svm: the mirror
 */
void uvm_svm_list(struct uvm_svm *svm)
{
	struct uvm_svm_dev *dev = &svm->vm->uvm->svm;

	spin_lock(&dev->mirrors_lock);
	list_add(&svm->node, &dev->mirrors);
	spin_unlock(&dev->mirrors_lock);
}

/**
 * uvm_svm_unlist() - a mirror ends
 * @svm: the mirror
 */
void uvm_svm_unlist(struct uvm_svm *svm)
{
	struct uvm_svm_dev *dev = &svm->vm->uvm->svm;

	spin_lock(&dev->mirrors_lock);
	list_del_init(&svm->node);
	spin_unlock(&dev->mirrors_lock);
}

static u32 uvm_svm_spaces(struct uvm_svm_dev *dev, const struct mm_struct *mm,
			  u64 *spaces)
{
	struct uvm_svm *svm;
	u32 n = 0;

	spin_lock(&dev->mirrors_lock);
	list_for_each_entry(svm, &dev->mirrors, node)
		if (svm->mm == mm && svm->space && n < UVM_SVM_MIRRORS)
			spaces[n++] = svm->space;
	spin_unlock(&dev->mirrors_lock);
	return n;
}

/* Pages that are the CPU's wish, should they leave VRAM now. */
static void uvm_svm_mark(struct uvm_svm_dev *dev, const struct mm_struct *mm,
			 u64 start, u64 end)
{
	struct uvm_svm_block *block;
	struct uvm_svm *svm;
	u64 va;

	spin_lock(&dev->mirrors_lock);
	list_for_each_entry(svm, &dev->mirrors, node) {
		if (svm->mm != mm)
			continue;
		xa_lock(&svm->blocks);
		block = xa_load(&svm->blocks, start / UVM_SVM_BLOCK_BYTES);
		for (va = start; block && va < end; va += PAGE_SIZE)
			set_bit((va - block->va) >> PAGE_SHIFT, block->cpu);
		xa_unlock(&svm->blocks);
	}
	spin_unlock(&dev->mirrors_lock);
}

/**
 * uvm_svm_cpu_asks() - the CPU is about to take pages from VRAM
 * @uvm: the device
 * @mm: whose
 * @va: the page that it accesses
 * @start: the first that is its wish
 * @end: behind the last one, in the same block
 *
 * Waits until the device's slice ends, if it has one.
 * Context: mmap_lock held for reading, @va's page locked.
 */
void uvm_svm_cpu_asks(struct uvm_device *uvm, struct mm_struct *mm, u64 va,
		      u64 start, u64 end)
{
	u64 spaces[UVM_SVM_MIRRORS], until, last = 0, now = ktime_get_ns();
	u32 i, n = uvm_svm_spaces(&uvm->svm, mm, spaces);
	unsigned int flags;
	ktime_t expires;

	if (!n)
		return;
	flags = uvm_svm_policy_begin(uvm);
	for (i = 0; i < n; i++)
		if (uvm_policy_svm_cpu_fault(uvm->svm.policy, spaces[i], va,
					     now, &until) == 1)
			last = max(last, until);
	uvm_svm_policy_end(uvm, flags);
	if (last > now) {
		atomic64_inc(&uvm->svm.cpu_waits);
		/* A slice has an upper limit, and so has this. */
		expires = ns_to_ktime(min(last, now + UVM_SVM_SLICE_NS));
		set_current_state(TASK_KILLABLE);
		schedule_hrtimeout_range(&expires, 50 * NSEC_PER_USEC,
					 HRTIMER_MODE_ABS);
	}
	uvm_svm_mark(&uvm->svm, mm, start, end);
}
