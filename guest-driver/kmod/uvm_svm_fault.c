// SPDX-License-Identifier: GPL-2.0
/*
 * Service of faults in mirrored memory. Each mirror has a worker of its own:
 * one process's page that comes from a slow disk holds up nobody else's. A
 * batch is what the device tells of the process at a time: sorted, each page
 * once, block by block.
 *
 * A page is asked for where the CPU would have to ask. If it is not to be had,
 * because no memory is there or not for that access, the access is made to
 * fail, and with it what made it: a job, or a queue.
 */

#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sort.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

static uint uvm_svm_region = 1;
module_param_named(svm_region, uvm_svm_region, uint, 0644);
MODULE_PARM_DESC(svm_region, "Pages that a fault in a process's memory brings, aligned: a power of two up to 512 (default 1)");

/* Page tables that change all the time: let the access be made again. */
#define UVM_SVM_PATIENCE	(HZ / 2)
/* Time limits that a job may see pass while its pages come. */
#define UVM_SVM_EXTENSIONS	40
/* What is denied and not told by then is allowed again. */
#define UVM_SVM_CALM		(HZ / 5)

/* What the faults of a batch want of a page. */
struct uvm_svm_want {
	u64 va;
	bool write;
};

static int uvm_svm_order(const void *a, const void *b)
{
	const struct uvm_svm_want *left = a, *right = b;

	return left->va < right->va ? -1 : left->va > right->va;
}

/* Each page once; for writing if any fault wants to write. */
static u32 uvm_svm_merge(struct uvm_svm_want *wants, u32 n)
{
	u32 i, kept = 0;

	sort(wants, n, sizeof(*wants), uvm_svm_order, NULL);
	for (i = 1; i < n; i++) {
		if (wants[i].va == wants[kept].va)
			wants[kept].write |= wants[i].write;
		else
			wants[++kept] = wants[i];
	}
	return n ? kept + 1 : 0;
}

/* Within its block, the pages around an address that belong to it. */
static void uvm_svm_around(u64 va, u64 *start, u64 *end)
{
	u64 pages = clamp(READ_ONCE(uvm_svm_region), 1u, UVM_SVM_BLOCK_PAGES);
	u64 bytes = rounddown_pow_of_two(pages) * PAGE_SIZE;

	*start = ALIGN_DOWN(va, bytes);
	*end = *start + bytes;
}

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

/* Asks for pages, and maps them if they are still there then. */
static int uvm_svm_bring(struct uvm_svm_block *block, u64 va, u64 start,
			 u64 end, bool write)
{
	struct uvm_svm *svm = block->svm;
	struct uvm_device *uvm = svm->vm->uvm;
	unsigned long until = jiffies + UVM_SVM_PATIENCE;
	struct hmm_range range = {
		.notifier = &block->notifier,
		.hmm_pfns = svm->pfns,
		.default_flags = HMM_PFN_REQ_FAULT |
				 (write ? HMM_PFN_REQ_WRITE : 0),
		.dev_private_owner = svm->owner,
	};
	bool done = false;
	int idx, ret;

	while (!done) {
		if (time_after(jiffies, until))
			return -EBUSY;
		range.notifier_seq = mmu_interval_read_begin(&block->notifier);
		range.start = start;
		range.end = end;
		mmap_read_lock(svm->mm);
		ret = uvm_svm_clip(svm->mm, va, write, &range) ?
		      hmm_range_fault(&range) : -EFAULT;
		mmap_read_unlock(svm->mm);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		if (!drm_dev_enter(&uvm->drm, &idx))
			return -ENODEV;
		mutex_lock(&block->lock);
		done = !mmu_interval_read_retry(&block->notifier,
						range.notifier_seq);
		if (done)
			uvm_svm_set(block, range.start, range.end,
				    svm->pfns, write);
		mutex_unlock(&block->lock);
		drm_dev_exit(idx);
	}
	return 0;
}

/* The page, and those around it if they can be had together. */
static int uvm_svm_serve(struct uvm_svm_block *block,
			 const struct uvm_svm_want *want)
{
	struct uvm_device *uvm = block->svm->vm->uvm;
	u64 start, end;
	bool there;
	int ret;

	mutex_lock(&block->lock);
	there = uvm_svm_has(block, want->va, want->write);
	mutex_unlock(&block->lock);
	if (there) {
		atomic64_inc(&uvm->svm.stale);
		return 0;
	}
	uvm_svm_around(want->va, &start, &end);
	ret = uvm_svm_bring(block, want->va, start, end, want->write);
	if (ret && ret != -EBUSY && end - start > PAGE_SIZE)
		ret = uvm_svm_bring(block, want->va, want->va,
				    want->va + PAGE_SIZE, want->write);
	return ret;
}

/*
 * What was not brought fails, unless it is only not the time for it; where
 * there is no block, the page is the process's own to bring.
 */
static void uvm_svm_refuse(struct uvm_svm *svm, struct uvm_svm_block *block,
			   const struct uvm_svm_want *want)
{
	struct uvm_device *uvm = svm->vm->uvm;

	atomic64_inc(&uvm->svm.refused);
	if (IS_ERR(block)) {
		uvm_fault_tell(uvm, svm->vm->pasid, want->va);
		return;
	}
	uvm_svm_deny(block, want->va);
	uvm_fault_mapped(svm->vm, want->va, PAGE_SIZE);
	schedule_delayed_work(&svm->calm, UVM_SVM_CALM);
}

static void uvm_svm_end(struct uvm_svm *svm, struct uvm_svm_block *block,
			const struct uvm_svm_want *want, int ret)
{
	struct uvm_device *uvm = svm->vm->uvm;
	int idx;

	if (!drm_dev_enter(&uvm->drm, &idx))
		return;
	if (!ret || ret == -EBUSY || ret == -ENODEV) {
		if (!ret)
			atomic64_inc(&svm->served);
		uvm_fault_mapped(svm->vm, want->va, PAGE_SIZE);
	} else {
		uvm_svm_refuse(svm, block, want);
	}
	drm_dev_exit(idx);
}

/* With references to address space and, if @alive, users of its memory. */
static void uvm_svm_batch(struct uvm_svm *svm, struct uvm_svm_want *wants,
			  u32 n, bool alive)
{
	struct uvm_svm_block *block = NULL;
	u64 va;
	int ret;
	u32 i;

	for (i = 0; i < n; i++) {
		va = ALIGN_DOWN(wants[i].va, UVM_SVM_BLOCK_BYTES);
		if (!block || IS_ERR(block) || block->va != va) {
			if (!IS_ERR_OR_NULL(block))
				uvm_svm_block_put(block);
			block = alive ? uvm_svm_block_get(svm, va) :
					uvm_svm_block_find(svm, va);
			block = block ?: ERR_PTR(-ESRCH);
		}
		ret = alive ? PTR_ERR_OR_ZERO(block) : -ESRCH;
		if (!ret)
			ret = uvm_svm_serve(block, &wants[i]);
		uvm_svm_end(svm, block, &wants[i], ret);
	}
	if (!IS_ERR_OR_NULL(block))
		uvm_svm_block_put(block);
}

/**
 * uvm_svm_work() - serve the faults of a mirror
 * @work: uvm_svm.work, with a reference to the address space
 */
void uvm_svm_work(struct work_struct *work)
{
	struct uvm_svm *svm = container_of(work, struct uvm_svm, work);
	struct uvm_device *uvm = svm->vm->uvm;
	struct uvm_retry_fault faults[UVM_CAM_ENTRIES];
	struct uvm_svm_want wants[UVM_CAM_ENTRIES];
	bool alive;
	u32 i, n;

	WRITE_ONCE(svm->busy, true);
	while ((n = uvm_fault_collect(uvm, svm->vm->pasid, faults))) {
		for (i = 0; i < n; i++)
			wants[i] = (struct uvm_svm_want) {
				.va = faults[i].va,
				.write = faults[i].write,
			};
		atomic64_inc(&uvm->svm.batches);
		atomic64_add(n, &uvm->svm.faults);
		n = uvm_svm_merge(wants, n);
		alive = mmget_not_zero(svm->mm);
		uvm_svm_batch(svm, wants, n, alive);
		if (alive)
			mmput_async(svm->mm);
		if (drm_dev_is_unplugged(&uvm->drm))
			break;
	}
	WRITE_ONCE(svm->busy, false);
	uvm_vm_put(svm->vm);
}

/**
 * uvm_svm_kick() - a process has faults to be served
 * @uvm: the device
 * @pasid: whose
 */
void uvm_svm_kick(struct uvm_device *uvm, u32 pasid)
{
	struct uvm_vm *vm;

	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, pasid);
	if (vm && (!vm->svm || !kref_get_unless_zero(&vm->ref)))
		vm = NULL;
	xa_unlock(&uvm->vms.by_pasid);
	if (vm && !queue_work(uvm->svm.wq, &vm->svm->work))
		uvm_vm_put(vm);
}

/**
 * uvm_svm_failed() - a fault was told that does not wait
 * @uvm: the device
 * @pasid: whose
 * @va: page
 *
 * If it was denied, that has served its purpose. Who is told of it sees the
 * page as it was before. Context: the interrupt worker.
 */
void uvm_svm_failed(struct uvm_device *uvm, u32 pasid, u64 va)
{
	struct uvm_svm_block *block = NULL;
	struct uvm_vm *vm;
	int idx;

	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, pasid);
	if (vm && (!vm->svm || !kref_get_unless_zero(&vm->ref)))
		vm = NULL;
	xa_unlock(&uvm->vms.by_pasid);
	if (!vm)
		return;
	block = uvm_svm_block_find(vm->svm, va);
	if (block && drm_dev_enter(&uvm->drm, &idx)) {
		uvm_svm_allow(block, va, va + PAGE_SIZE);
		drm_dev_exit(idx);
	}
	if (block)
		uvm_svm_block_put(block);
	uvm_vm_put(vm);
}

/**
 * uvm_svm_goes_on() - whether a late job has an excuse
 * @job: the job
 *
 * Its pages came one by one since the last time, or are on their way; but not
 * for ever.
 *
 * Return: whether to wait some more.
 */
bool uvm_svm_goes_on(struct uvm_job *job)
{
	struct uvm_svm *svm = job->vm ? READ_ONCE(job->vm->svm) : NULL;
	u64 served;

	if (!svm || job->extensions >= UVM_SVM_EXTENSIONS)
		return false;
	served = atomic64_read(&svm->served);
	if (served == job->served && !READ_ONCE(svm->busy))
		return false;
	job->served = served;
	job->extensions++;
	return true;
}
