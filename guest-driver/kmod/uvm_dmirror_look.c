// SPDX-License-Identifier: GPL-2.0
/*
 * What a process's page tables say of its memory, as the kernel's test of
 * heterogeneous memory management wants to see it.
 */

#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/uaccess.h>

#include "uvm_drv.h"
#include "uvm_dmirror.h"

/* Pages looked at in one go. */
#define UVM_LOOK_PAGES	64u

/**
 * struct uvm_look - a look at a range
 * @notifier: tells when what was seen may have changed
 * @lock: @notifier's sequence
 * @range: the look
 * @pfns: what was seen
 */
struct uvm_look {
	struct mmu_interval_notifier notifier;
	struct mutex lock;
	struct hmm_range range;
	unsigned long pfns[UVM_LOOK_PAGES];
};

static bool uvm_look_invalidate(struct mmu_interval_notifier *notifier,
				const struct mmu_notifier_range *range,
				unsigned long seq)
{
	struct uvm_look *look = container_of(notifier, struct uvm_look,
					     notifier);

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&look->lock);
	else if (!mutex_trylock(&look->lock))
		return false;
	mmu_interval_set_seq(notifier, seq);
	mutex_unlock(&look->lock);
	return true;
}

static const struct mmu_interval_notifier_ops uvm_look_ops = {
	.invalidate = uvm_look_invalidate,
};

/* Looks until nothing changes meanwhile, but not for ever. */
static int uvm_look_settle(struct uvm_look *look, struct mm_struct *mm)
{
	unsigned long until = jiffies +
			      msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	bool still;
	int ret;

	do {
		if (time_after(jiffies, until))
			return -EBUSY;
		look->range.notifier_seq =
			mmu_interval_read_begin(&look->notifier);
		mmap_read_lock(mm);
		ret = hmm_range_fault(&look->range);
		mmap_read_unlock(mm);
		if (ret && ret != -EBUSY)
			return ret;
		mutex_lock(&look->lock);
		still = !ret && !mmu_interval_read_retry(&look->notifier,
							 look->range.notifier_seq);
		mutex_unlock(&look->lock);
	} while (!still);
	return 0;
}

/* At most UVM_LOOK_PAGES, faulting in none. */
static int uvm_look_at(struct uvm_dmirror *mirror, struct uvm_look *look,
		       u64 start, u64 end)
{
	struct mm_struct *mm = mirror->vm->svm->mm;
	int ret;

	look->range = (struct hmm_range) {
		.notifier = &look->notifier,
		.start = start,
		.end = end,
		.hmm_pfns = look->pfns,
		.dev_private_owner = uvm_dmirror_devmem(mirror),
	};
	ret = mmu_interval_notifier_insert(&look->notifier, mm, start,
					   end - start, &uvm_look_ops);
	if (ret)
		return ret;
	ret = uvm_look_settle(look, mm);
	mmu_interval_notifier_remove(&look->notifier);
	return ret;
}

static bool uvm_look_is_local(struct uvm_dmirror *mirror, unsigned long pfn)
{
	struct page *page;

	if (!(pfn & HMM_PFN_VALID) || pfn & HMM_PFN_ERROR)
		return false;
	page = hmm_pfn_to_page(pfn);
	return is_device_private_page(page) &&
	       uvm_devmem_of(page) == uvm_dmirror_devmem(mirror);
}

static u8 uvm_look_place(struct uvm_dmirror *mirror, unsigned long pfn, u64 va)
{
	struct page *page = hmm_pfn_to_page(pfn);

#if IS_ENABLED(CONFIG_UVM_NEVER_MIGRATES)
	if (xa_load(&mirror->claimed, va >> PAGE_SHIFT))
		return UVM_DMIRROR_LOCAL;
#endif
	if (is_device_private_page(page))
		return uvm_look_is_local(mirror, pfn) ? UVM_DMIRROR_LOCAL :
							UVM_DMIRROR_REMOTE;
	return is_zero_pfn(page_to_pfn(page)) ? UVM_DMIRROR_ZERO :
						UVM_DMIRROR_NONE;
}

static u8 uvm_look_tell(struct uvm_dmirror *mirror, unsigned long pfn, u64 va)
{
	unsigned int shift = hmm_pfn_to_map_order(pfn) + PAGE_SHIFT;
	u8 told;

	if (pfn & HMM_PFN_ERROR)
		return UVM_DMIRROR_ERROR;
	if (!(pfn & HMM_PFN_VALID))
		return UVM_DMIRROR_NONE;
	told = uvm_look_place(mirror, pfn, va);
	told |= pfn & HMM_PFN_WRITE ? UVM_DMIRROR_MAY_WRITE :
				      UVM_DMIRROR_MAY_READ;
	if (shift == PMD_SHIFT)
		told |= UVM_DMIRROR_PMD;
	else if (shift == PUD_SHIFT)
		told |= UVM_DMIRROR_PUD;
	return told;
}

static struct uvm_look *uvm_look_new(void)
{
	struct uvm_look *look = kzalloc(sizeof(*look), GFP_KERNEL);

	if (look)
		mutex_init(&look->lock);
	return look;
}

/**
 * uvm_dmirror_snapshot() - UVM_DMIRROR_SNAPSHOT: a byte for each page
 * @mirror: the file
 * @cmd: the command; the range is checked
 *
 * Return: 0, -EFAULT, -EBUSY, -ENOMEM.
 */
int uvm_dmirror_snapshot(struct uvm_dmirror *mirror,
			 struct uvm_dmirror_cmd *cmd)
{
	u64 va = cmd->addr, end = va + (cmd->npages << PAGE_SHIFT), next;
	u8 __user *user = u64_to_user_ptr(cmd->ptr);
	struct uvm_look *look = uvm_look_new();
	u8 told[UVM_LOOK_PAGES];
	int ret = look ? 0 : -ENOMEM;
	u32 i, n;

	for (; va < end && !ret; va = next) {
		next = min(end, va + UVM_LOOK_PAGES * PAGE_SIZE);
		n = (next - va) >> PAGE_SHIFT;
		ret = uvm_look_at(mirror, look, va, next);
		if (ret)
			break;
		for (i = 0; i < n; i++)
			told[i] = uvm_look_tell(mirror, look->pfns[i],
						va + i * PAGE_SIZE);
		if (copy_to_user(user, told, n))
			ret = -EFAULT;
		user += n;
		cmd->cpages += n;
	}
	kfree(look);
	return ret;
}

/**
 * uvm_dmirror_all_local() - whether all pages of a range are in VRAM, and this
 * device's
 * @mirror: the file
 * @start: first address
 * @end: behind the last one
 *
 * Return: 0, -ENOENT when one is not, -EBUSY, -ENOMEM.
 */
int uvm_dmirror_all_local(struct uvm_dmirror *mirror, u64 start, u64 end)
{
	struct uvm_look *look = uvm_look_new();
	int ret = look ? 0 : -ENOMEM;
	u64 next;
	u32 i;

	for (; start < end && !ret; start = next) {
		next = min(end, start + UVM_LOOK_PAGES * PAGE_SIZE);
		ret = uvm_look_at(mirror, look, start, next);
		for (i = 0; !ret && i < (next - start) >> PAGE_SHIFT; i++)
			if (!uvm_look_is_local(mirror, look->pfns[i]))
				ret = -ENOENT;
	}
	kfree(look);
	return ret;
}
