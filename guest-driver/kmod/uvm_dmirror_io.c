// SPDX-License-Identifier: GPL-2.0
/*
 * Reads and writes of a process's memory by the device: SDMA copies in the
 * process's address space, between its own addresses and a window above them
 * that is the kernel's. Pages that are missing fault as any engine's do.
 */

#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <drm/drm_print.h>

#include "uvm_compat.h"
#include "uvm_drv.h"
#include "uvm_dmirror.h"

/* How long a page that is there may be missed. */
#define UVM_DMIRROR_PATIENCE	HZ

/*
 * The upper half of an address space, where no process maps anything, as the
 * device counts; where binds are planned it is written with all bits above set.
 */
static u64 uvm_dmirror_window(const struct uvm_dmirror *mirror)
{
	return mirror->vm->size;
}

/* Runs a copy in the address space, and waits. */
static int uvm_dmirror_copy(struct uvm_dmirror *mirror, u64 va, u32 bytes,
			    bool write)
{
	__le32 *ib = mirror->bounce + UVM_DMIRROR_BYTES;
	u64 window = uvm_dmirror_window(mirror);
	struct uvm_vm *vm = mirror->vm;
	struct dma_fence *done;
	struct uvm_job *job;
	u32 n;
	int ret;

	n = write ? uvm_emit_copy(ib, va, window, bytes) :
		    uvm_emit_copy(ib, window, va, bytes);
	while (n & 7)
		ib[n++] = cpu_to_le32(SDMA_PKT_NOP);
	job = uvm_job_alloc(container_of(mirror->entity.rq->sched,
					 struct uvm_ring, sched),
			    &mirror->entity, mirror, 0);
	if (IS_ERR(job))
		return PTR_ERR(job);
	kref_get(&vm->ref);
	job->vm = vm;
	uvm_late_begin(job, 0, true);
	job->ib_gpu = window + UVM_DMIRROR_BYTES;
	job->ib_dwords = n;
	drm_sched_job_arm(&job->base);
	done = dma_fence_get(&job->base.s_fence->finished);
	drm_sched_entity_push_job(&job->base);
	/* It ends: its pages come, or it fails. Until then it uses the window. */
	dma_fence_wait(done, false);
	ret = dma_fence_get_status(done);
	dma_fence_put(done);
	return ret < 0 ? ret : 0;
}

/*
 * Why the device did not get a page: what the process itself would be told.
 * Return: 0 when the page can be had, after all.
 */
static int uvm_dmirror_why(struct uvm_dmirror *mirror, u64 start, u64 end,
			   bool write)
{
	struct mm_struct *mm = mirror->vm->svm->mm;
	struct mmu_interval_notifier *notifier;
	unsigned long pfn;
	struct uvm_svm_block *block;
	struct hmm_range range = {
		.hmm_pfns = &pfn,
		.default_flags = HMM_PFN_REQ_FAULT |
				 (write ? HMM_PFN_REQ_WRITE : 0),
		.dev_private_owner = uvm_dmirror_devmem(mirror),
	};
	int ret = 0;

	for (; start < end && !ret; start += PAGE_SIZE) {
		block = uvm_svm_block_get(mirror->vm->svm, start);
		if (IS_ERR(block))
			return PTR_ERR(block);
		notifier = &block->notifier;
		range.notifier = notifier;
		range.start = start;
		range.end = start + PAGE_SIZE;
		do {
			if (mirror->unlocked) {
				ret = uvm_hmm_fault_unlocked(&range);
				continue;
			}
			range.notifier_seq = mmu_interval_read_begin(notifier);
			mmap_read_lock(mm);
			ret = hmm_range_fault(&range);
			mmap_read_unlock(mm);
		} while (ret == -EBUSY && !fatal_signal_pending(current));
		uvm_svm_block_put(block);
	}
	return ret;
}

/* At most UVM_DMIRROR_PAGES. */
static int uvm_dmirror_piece(struct uvm_dmirror *mirror, u64 va, u32 bytes,
			     bool write)
{
	unsigned long until = jiffies + UVM_DMIRROR_PATIENCE;
	int ret;

	do {
		ret = uvm_dmirror_copy(mirror, va, bytes, write);
		if (ret != -EFAULT)
			return ret;
		ret = uvm_dmirror_why(mirror, va, va + bytes, write);
		if (ret)
			return ret;
	} while (time_before(jiffies, until));
	return -EBUSY;
}

/**
 * uvm_dmirror_access() - have the device read or write a process's memory
 * @mirror: the file, its lock held
 * @cmd: the command; the range is checked
 * @write: whether
 *
 * The first fault brings all that the command is about, as far as it is there.
 * Context: within drm_dev_enter(); the caller has a reference to the users of
 * the process's memory.
 *
 * Return: 0, -EFAULT or -EPERM for a page that is not there or not for that,
 * -EBUSY, -ENOMEM, or why the engine failed.
 */
int uvm_dmirror_access(struct uvm_dmirror *mirror, struct uvm_dmirror_cmd *cmd,
		       bool write)
{
	u64 va = cmd->addr, end = va + (cmd->npages << PAGE_SHIFT);
	void __user *user = u64_to_user_ptr(cmd->ptr);
	struct uvm_svm *svm = mirror->vm->svm;
	u64 served = atomic64_read(&svm->served);
	u32 bytes;
	int ret = 0;

	lockdep_assert_held(&mirror->lock);
	WRITE_ONCE(svm->reach, end);
	for (; va < end && !ret; va += bytes, user += bytes) {
		bytes = min_t(u64, end - va, UVM_DMIRROR_BYTES);
		if (write && copy_from_user(mirror->bounce, user, bytes))
			ret = -EFAULT;
		if (!ret)
			ret = uvm_dmirror_piece(mirror, va, bytes, write);
		if (!ret && !write && copy_to_user(user, mirror->bounce, bytes))
			ret = -EFAULT;
		if (!ret)
			cmd->cpages += bytes >> PAGE_SHIFT;
	}
	WRITE_ONCE(svm->reach, 0);
	cmd->faults = atomic64_read(&svm->served) - served;
	return ret;
}

/**
 * uvm_dmirror_read_unlocked() - have the device read a process's memory
 * @mirror: the file, its lock held
 * @cmd: the command; the range is checked
 *
 * Somebody else may be asked for a page that is not there, as by userfaultfd.
 * Context: as uvm_dmirror_access().
 *
 * Return: as uvm_dmirror_access(); -EINVAL on a kernel that cannot ask.
 */
int uvm_dmirror_read_unlocked(struct uvm_dmirror *mirror,
			      struct uvm_dmirror_cmd *cmd)
{
	int ret;

	mirror->unlocked = true;
	ret = uvm_dmirror_access(mirror, cmd, false);
	mirror->unlocked = false;
	return ret;
}

/**
 * uvm_dmirror_io_init() - get ready for reads and writes
 * @mirror: the file, with its address space
 *
 * Context: within drm_dev_enter().
 *
 * Return: 0 or an errno.
 */
int uvm_dmirror_io_init(struct uvm_dmirror *mirror)
{
	u32 i, nr = UVM_DMIRROR_PAGES + 1;
	struct uvm_svm_block *window;

	BUILD_BUG_ON(UVM_DMIRROR_PAGES + 1 > UVM_SVM_BLOCK_PAGES ||
		     UVM_DMIRROR_BYTES > SDMA_PKT_MAX_BYTES);
	mirror->bounce = vzalloc(nr * PAGE_SIZE);
	if (!mirror->bounce)
		return -ENOMEM;
	window = uvm_svm_window(mirror->vm->svm,
				-uvm_dmirror_window(mirror));
	if (IS_ERR(window))
		return PTR_ERR(window);
	mirror->window = window;
	for (i = 0; i < nr; i++)
		uvm_svm_set_window(window, i,
				   vmalloc_to_page(mirror->bounce +
						   i * PAGE_SIZE));
	return 0;
}

/**
 * uvm_dmirror_io_fini() - end that
 * @mirror: the file; its address space is gone
 */
void uvm_dmirror_io_fini(struct uvm_dmirror *mirror)
{
	if (mirror->window)
		uvm_svm_block_put(mirror->window);
	vfree(mirror->bounce);
}
