// SPDX-License-Identifier: GPL-2.0
/*
 * What users say about their mirrored memory, and what they are told of it.
 */

#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "uvm_drv.h"

/* Records that are copied at a time. */
#define UVM_SVM_RECORDS		64u

/**
 * uvm_svm_of() - the caller's mirror
 * @file: the caller
 *
 * Return: the mirror, with a reference to its address space; or an ERR_PTR:
 * -EINVAL when it mirrors nothing, -EPERM when that is another's memory.
 */
struct uvm_svm *uvm_svm_of(struct drm_file *file)
{
	struct uvm_file *ufile = file->driver_priv;
	struct uvm_svm *svm = NULL;
	int ret;

	mutex_lock(&ufile->submit_lock);
	if (ufile->vm)
		svm = smp_load_acquire(&ufile->vm->svm);
	if (svm)
		kref_get(&svm->vm->ref);
	mutex_unlock(&ufile->submit_lock);
	if (!svm)
		return ERR_PTR(-EINVAL);
	ret = uvm_svm_may_use(svm->vm);
	if (ret) {
		uvm_vm_put(svm->vm);
		return ERR_PTR(ret);
	}
	return svm;
}

static bool uvm_svm_range_ok(u64 va, u64 size)
{
	return size && PAGE_ALIGNED(va | size) && va < TASK_SIZE &&
	       size <= TASK_SIZE - va;
}

/* Nothing is kept that would have to go: only that it changed counts. */
static bool uvm_svm_changes(struct mmu_interval_notifier *notifier,
			    const struct mmu_notifier_range *range,
			    unsigned long seq)
{
	mmu_interval_set_seq(notifier, seq);
	return true;
}

static const struct mmu_interval_notifier_ops uvm_svm_look_ops = {
	.invalidate = uvm_svm_changes,
};

/* Where the pages of a part of a block are at this moment. */
static int uvm_svm_count(struct uvm_svm *svm, struct hmm_range *range,
			 struct drm_uvm_svm_residency *args)
{
	unsigned long i, pages = (range->end - range->start) >> PAGE_SHIFT;
	unsigned long pfn;
	int ret;

	memset(range->hmm_pfns, 0, pages * sizeof(*range->hmm_pfns));
	do {
		range->notifier_seq = mmu_interval_read_begin(range->notifier);
		ret = mmap_read_lock_killable(svm->mm);
		if (ret)
			return ret;
		ret = hmm_range_fault(range);
		mmap_read_unlock(svm->mm);
	} while (ret == -EBUSY && !fatal_signal_pending(current));
	if (ret)
		return ret;
	for (i = 0; i < pages; i++) {
		pfn = range->hmm_pfns[i];
		if (!(pfn & HMM_PFN_VALID) || pfn & HMM_PFN_ERROR)
			continue;
		if (is_device_private_page(hmm_pfn_to_page(pfn)))
			args->vram += PAGE_SIZE;
		else
			args->system += PAGE_SIZE;
	}
	return 0;
}

/* What the device has of a part of a block. */
static void uvm_svm_count_mapped(struct uvm_svm *svm, u64 start, u64 end,
				 struct drm_uvm_svm_residency *args)
{
	struct uvm_svm_block *block = uvm_svm_block_find(svm, start);
	unsigned long page, behind;

	if (!block)
		return;
	page = (start - block->va) >> PAGE_SHIFT;
	behind = (end - block->va) >> PAGE_SHIFT;
	mutex_lock(&block->lock);
	for_each_set_bit_from(page, block->mapped, behind) {
		args->mapped += PAGE_SIZE;
		if (test_bit(page, block->twice))
			args->vram += PAGE_SIZE;
	}
	mutex_unlock(&block->lock);
	uvm_svm_block_put(block);
}

/**
 * uvm_ioctl_svm_residency() - DRM_UVM_SVM_RESIDENCY
 * @drm: the device
 * @data: struct drm_uvm_svm_residency
 * @file: the caller
 *
 * Return: 0, -EINVAL, -EPERM, -EAGAIN, -ENOMEM, -EINTR.
 */
int uvm_ioctl_svm_residency(struct drm_device *drm, void *data,
			    struct drm_file *file)
{
	struct drm_uvm_svm_residency *args = data;
	struct mmu_interval_notifier notifier = {};
	struct hmm_range range = { .notifier = &notifier };
	struct uvm_svm *svm;
	u64 start, end, next;
	int ret;

	if (!uvm_svm_range_ok(args->va, args->size))
		return -EINVAL;
	svm = uvm_svm_of(file);
	if (IS_ERR(svm))
		return PTR_ERR(svm);
	args->system = 0;
	args->vram = 0;
	args->mapped = 0;
	range.dev_private_owner = svm->dm;
	range.hmm_pfns = kvcalloc(UVM_SVM_BLOCK_PAGES, sizeof(long),
				  GFP_KERNEL);
	ret = range.hmm_pfns ? 0 : -ENOMEM;
	if (!ret)
		ret = mmu_interval_notifier_insert(&notifier, svm->mm,
						   args->va, args->size,
						   &uvm_svm_look_ops);
	if (ret)
		goto put;
	end = args->va + args->size;
	for (start = args->va; start < end && !ret; start = next) {
		next = min(end, ALIGN(start + 1, UVM_SVM_BLOCK_BYTES));
		range.start = start;
		range.end = next;
		ret = uvm_svm_count(svm, &range, args);
		uvm_svm_count_mapped(svm, start, next, args);
		cond_resched();
	}
	mmu_interval_notifier_remove(&notifier);
put:
	kvfree(range.hmm_pfns);
	uvm_vm_put(svm->vm);
	return ret;
}

/**
 * uvm_ioctl_svm_advise() - DRM_UVM_SVM_ADVISE
 * @drm: the device
 * @data: struct drm_uvm_svm_advise
 * @file: the caller
 *
 * Return: 0, -EINVAL, -EPERM, -EAGAIN, -EOPNOTSUPP, -ENOENT for an unknown group, -ENOSPC
 * for too many ranges, -ENOMEM.
 */
int uvm_ioctl_svm_advise(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct drm_uvm_svm_advise *args = data;
	struct uvm_device *uvm = to_uvm(drm);
	struct uvm_svm *svm;
	unsigned int flags;
	int ret;

	if (args->advice == UVM_SVM_NEW_GROUP ? args->va || args->size :
	    args->advice < UVM_SVM_NEW_GROUP &&
	    !uvm_svm_range_ok(args->va, args->size))
		return -EINVAL;
	svm = uvm_svm_of(file);
	if (IS_ERR(svm))
		return PTR_ERR(svm);
	if (args->advice == UVM_SVM_ACCESSED && args->value)
		WRITE_ONCE(svm->keeps, true);
	flags = uvm_svm_policy_begin(uvm);
	if (!svm->space)
		ret = -EOPNOTSUPP;
	else if (args->advice == UVM_SVM_NEW_GROUP)
		ret = uvm_policy_svm_group_create(uvm->svm.policy, svm->space,
						  &args->value);
	else if (args->advice == UVM_SVM_END_GROUP)
		ret = uvm_policy_svm_group_destroy(uvm->svm.policy, svm->space,
						   args->value);
	else if (args->advice == UVM_SVM_HOLD_GROUP ||
		 args->advice == UVM_SVM_FREE_GROUP)
		ret = uvm_policy_svm_group_set(uvm->svm.policy, svm->space,
					       args->value, args->advice ==
					       UVM_SVM_FREE_GROUP);
	else
		ret = uvm_policy_svm_advise(uvm->svm.policy, svm->space,
					    args->va, args->va + args->size,
					    args->advice, args->value);
	uvm_svm_policy_end(uvm, flags);
	/* What should always be mapped now is, before long. */
	if (!ret)
		uvm_svm_kick(uvm, svm->vm->pasid);
	uvm_vm_put(svm->vm);
	return ret;
}

/**
 * uvm_ioctl_svm_attributes() - DRM_UVM_SVM_ATTRIBUTES
 * @drm: the device
 * @data: struct drm_uvm_svm_attributes
 * @file: the caller
 *
 * Return: 0, -EINVAL, -EPERM, -EAGAIN, -EOPNOTSUPP.
 */
int uvm_ioctl_svm_attributes(struct drm_device *drm, void *data,
			     struct drm_file *file)
{
	struct drm_uvm_svm_attributes *args = data;
	struct uvm_policy_svm_attributes told = {};
	struct uvm_device *uvm = to_uvm(drm);
	struct uvm_svm *svm = uvm_svm_of(file);
	unsigned int flags;
	int ret;

	if (IS_ERR(svm))
		return PTR_ERR(svm);
	flags = uvm_svm_policy_begin(uvm);
	ret = svm->space ? uvm_policy_svm_attributes(uvm->svm.policy,
						     svm->space, args->va,
						     &told) : -EOPNOTSUPP;
	uvm_svm_policy_end(uvm, flags);
	args->start = told.start;
	args->end = told.end;
	args->preferred = told.preferred;
	args->granule = told.granule;
	args->group = told.group;
	args->flags = told.flags;
	uvm_vm_put(svm->vm);
	return ret;
}

/* Some records, to user memory; how many. */
static int uvm_svm_read_some(struct uvm_svm *svm, u64 to, u32 room,
			     struct uvm_policy_svm_record *records, u64 *lost)
{
	struct uvm_device *uvm = svm->vm->uvm;
	struct drm_uvm_svm_record record;
	unsigned int flags;
	u64 more = 0;
	int i, n;

	flags = uvm_svm_policy_begin(uvm);
	n = uvm_policy_svm_read_log(uvm->svm.policy, svm->space, records,
				    min(room, UVM_SVM_RECORDS), &more);
	*lost += more + svm->missed;
	svm->missed = 0;
	uvm_svm_policy_end(uvm, flags);
	for (i = 0; i < n; i++) {
		record = (struct drm_uvm_svm_record) {
			.time = records[i].time,
			.va = records[i].va,
			.value = records[i].value,
			.pages = records[i].pages,
			.kind = records[i].kind,
			.detail = records[i].detail,
			.place = records[i].place,
		};
		if (copy_to_user(u64_to_user_ptr(to + i * sizeof(record)),
				 &record, sizeof(record)))
			return -EFAULT;
	}
	return n;
}

/**
 * uvm_ioctl_svm_events() - DRM_UVM_SVM_EVENTS
 * @drm: the device
 * @data: struct drm_uvm_svm_events
 * @file: the caller
 *
 * Return: 0, -EINVAL, -EPERM, -EAGAIN, -EOPNOTSUPP, -ENOMEM, -EFAULT: then those records
 * are lost.
 */
int uvm_ioctl_svm_events(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct uvm_policy_svm_record *records;
	struct drm_uvm_svm_events *args = data;
	struct uvm_device *uvm = to_uvm(drm);
	struct uvm_svm *svm = uvm_svm_of(file);
	u32 room = args->count, n = 0;
	unsigned int flags;
	int ret = 0;

	if (IS_ERR(svm))
		return PTR_ERR(svm);
	args->lost = 0;
	args->count = 0;
	records = kvcalloc(UVM_SVM_RECORDS, sizeof(*records), GFP_KERNEL);
	if (!records || !svm->space) {
		ret = records ? -EOPNOTSUPP : -ENOMEM;
		goto put;
	}
	if (args->flags & ~UVM_SVM_EVENTS_KEEP)
		ret = -EINVAL;
	while (!ret && n < room) {
		ret = uvm_svm_read_some(svm, args->records +
					(u64)n * sizeof(struct drm_uvm_svm_record),
					room - n, records, &args->lost);
		if (ret <= 0)
			break;
		n += ret;
		ret = 0;
	}
	args->count = n;
	if (!ret && args->flags & UVM_SVM_EVENTS_KEEP) {
		flags = uvm_svm_policy_begin(uvm);
		ret = uvm_policy_svm_keep_log(uvm->svm.policy, svm->space,
					      args->keep);
		uvm_svm_policy_end(uvm, flags);
	}
put:
	kvfree(records);
	uvm_vm_put(svm->vm);
	return ret;
}

/**
 * uvm_svm_poll() - whether there are events to be read, as EPOLLPRI
 * @filp: the file
 * @wait: who asks
 *
 * Return: EPOLL* of the file.
 */
__poll_t uvm_svm_poll(struct file *filp, struct poll_table_struct *wait)
{
	struct drm_file *file = filp->private_data;
	struct uvm_device *uvm = to_uvm(file->minor->dev);
	__poll_t mask = drm_poll(filp, wait);
	struct uvm_svm *svm;
	unsigned int flags;
	u64 lost = 0;

	poll_wait(filp, &uvm->svm.events, wait);
	svm = uvm_svm_of(file);
	if (IS_ERR(svm))
		return mask;
	flags = uvm_svm_policy_begin(uvm);
	if (svm->space && uvm_policy_svm_read_log(uvm->svm.policy, svm->space,
						  NULL, 0, &lost) > 0)
		mask |= EPOLLPRI;
	svm->missed += lost;
	uvm_svm_policy_end(uvm, flags);
	uvm_vm_put(svm->vm);
	return mask;
}

/**
 * uvm_svm_show() - counters, for people
 * @uvm: the device
 * @m: where to
 */
void uvm_svm_show(struct uvm_device *uvm, struct seq_file *m)
{
	struct uvm_policy_svm_stats stats = {};
	unsigned int flags;

	flags = uvm_svm_policy_begin(uvm);
	if (uvm->svm.policy)
		uvm_policy_svm_stats(uvm->svm.policy, 0, &stats);
	uvm_svm_policy_end(uvm, flags);
	seq_printf(m, "blocks %lld batches %lld faults %lld stale %lld refused %lld\n",
		   atomic64_read(&uvm->svm.blocks),
		   atomic64_read(&uvm->svm.batches),
		   atomic64_read(&uvm->svm.faults),
		   atomic64_read(&uvm->svm.stale),
		   atomic64_read(&uvm->svm.refused));
	seq_printf(m, "entries written %lld taken away %lld by %lld changes, flushes %lld\n",
		   atomic64_read(&uvm->svm.mapped),
		   atomic64_read(&uvm->svm.zapped),
		   atomic64_read(&uvm->svm.invalidations),
		   atomic64_read(&uvm->svm.flushes));
	seq_printf(m, "joined %lld blocks in one piece, doubled %lld pages\n",
		   atomic64_read(&uvm->svm.joined),
		   atomic64_read(&uvm->svm.doubled));
	seq_printf(m, "service took %lld ns\n",
		   atomic64_read(&uvm->svm.served_ns));
	seq_printf(m, "decided: to VRAM %llu to system %llu map %llu remote %llu denied %llu\n",
		   stats.to_vram, stats.to_system, stats.mapped, stats.remote,
		   stats.denied);
	seq_printf(m, "guessed: granule %llu density %llu correlated %llu, of %llu prefetched pages that came\n",
		   stats.granule, stats.density, stats.correlated,
		   stats.prefetched);
	seq_printf(m, "told: came %llu CPU %llu evicted %llu failed %llu bounced %llu\n",
		   stats.came, stats.cpu_faults, stats.evicted, stats.failed,
		   stats.bounced);
	seq_printf(m, "thrashing %llu throttled %llu pinned %llu, waits of the CPU %lld\n",
		   stats.thrashing, stats.throttled, stats.pinned,
		   atomic64_read(&uvm->svm.cpu_waits));
	seq_printf(m, "counted: notifications %llu brought %llu; wanted: asked %llu remapped %llu\n",
		   stats.notifications, stats.counted, stats.asked,
		   stats.remapped);
	uvm_svm_show_exclusive(uvm, m);
}
