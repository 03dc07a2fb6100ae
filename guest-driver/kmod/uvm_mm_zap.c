// SPDX-License-Identifier: GPL-2.0
/*
 * Taking a buffer out of all page tables. In those of processes that stands
 * behind what they have queued, which may wait for fences of theirs; so no worker
 * sits there meanwhile: the address space tells when it has got that far, and
 * only then is the action answered.
 */

#include <linux/wait_bit.h>

#include <drm/drm_print.h>
#include <drm/drm_vma_manager.h>

#include "uvm_drv.h"

/* The address space has got further; under the lock of its wait queue. */
static int uvm_mm_zap_wake(wait_queue_entry_t *entry, unsigned int mode,
			   int flags, void *key)
{
	struct uvm_bo *bo = container_of(entry, struct uvm_bo, mm.zap_entry);

	if (smp_load_acquire(&bo->mm.zap_vm->ended) >= bo->mm.zap_seqno &&
	    atomic_xchg(&bo->mm.zap_armed, 0))
		queue_work(to_uvm(bo->base.dev)->mm.wq, &bo->mm.zap);
	return 0;
}

/* Whether there is something to wait for; then the work goes on. */
static bool uvm_mm_zap_waits(struct uvm_bo *bo)
{
	struct uvm_mm_bo *mm = &bo->mm;
	struct uvm_vm *vm;
	bool lost;

	vm = uvm_bo_pending(bo, &mm->zap_seqno, &lost);
	if (!vm) {
		if (lost && !mm->zap_error)
			mm->zap_error = -EIO;
		return false;
	}
	mm->zap_vm = vm;
	atomic_set(&mm->zap_armed, 1);
	init_waitqueue_func_entry(&mm->zap_entry, uvm_mm_zap_wake);
	add_wait_queue(&vm->wait, &mm->zap_entry);
	/* It may have got there before the entry was in its queue. */
	if (smp_load_acquire(&vm->ended) >= mm->zap_seqno &&
	    atomic_xchg(&mm->zap_armed, 0))
		queue_work(to_uvm(bo->base.dev)->mm.wq, &mm->zap);
	return true;
}

/* Nobody has it any more; or, if that failed, all have it where it is. */
static int uvm_mm_zap_end(struct uvm_bo *bo)
{
	struct drm_gem_object *obj = &bo->base;
	int ret = bo->mm.zap_error;

	if (!ret)
		return 0;
	dma_resv_lock(obj->resv, NULL);
	WRITE_ONCE(bo->domain, bo->mm.zap_domain);
	bo->mm.shown = bo->mm.zap_shown;
	if (bo->mm.shown)
		uvm_bo_show(bo);
	dma_resv_unlock(obj->resv);
	return ret;
}

static void uvm_mm_zap_work(struct work_struct *work)
{
	struct uvm_bo *bo = container_of(work, struct uvm_bo, mm.zap);
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	u64 action = bo->mm.zap_action;
	int ret;

	remove_wait_queue(&bo->mm.zap_vm->wait, &bo->mm.zap_entry);
	uvm_vm_put(bo->mm.zap_vm);
	bo->mm.zap_vm = NULL;
	if (uvm_mm_zap_waits(bo))
		return;
	ret = uvm_mm_zap_end(bo);
	/* This may be the last user: then the policy is told after this answer. */
	uvm_mm_done(uvm, action, ret ? UVM_MM_FAIL_IO : 0);
	drm_gem_object_put(&bo->base);
	if (atomic_dec_and_test(&uvm->mm.nr_zaps))
		wake_up_var(&uvm->mm.nr_zaps);
}

/**
 * uvm_mm_zaps_end() - wait until no page tables are about to lose a buffer
 * @uvm: the device; all binds are performed
 */
void uvm_mm_zaps_end(struct uvm_device *uvm)
{
	wait_var_event(&uvm->mm.nr_zaps, !atomic_read(&uvm->mm.nr_zaps));
}

/**
 * uvm_mm_zap_init() - nothing is taken out
 * @bo: a new buffer
 */
void uvm_mm_zap_init(struct uvm_bo *bo)
{
	INIT_WORK(&bo->mm.zap, uvm_mm_zap_work);
}

/**
 * uvm_mm_zap() - take a buffer out of all page tables, GPUs' and CPUs'
 * @bo: the buffer, known to the policy
 * @action: what is answered if this takes longer
 *
 * Return: 0, -EINPROGRESS, or why it failed: then it is where it was.
 */
int uvm_mm_zap(struct uvm_bo *bo, u64 action)
{
	struct drm_gem_object *obj = &bo->base;
	struct uvm_device *uvm = to_uvm(obj->dev);
	int ret;

	/* Without users nobody has it mapped. */
	if (!kref_get_unless_zero(&obj->refcount))
		return 0;
	dma_resv_lock(obj->resv, NULL);
	bo->mm.zap_action = action;
	bo->mm.zap_domain = bo->domain;
	bo->mm.zap_shown = bo->mm.shown;
	bo->mm.zap_error = 0;
	bo->mm.shown = false;
	WRITE_ONCE(bo->domain, UVM_DOMAIN_SYSTEM);
	drm_vma_node_unmap(&obj->vma_node, obj->dev->anon_inode->i_mapping);
	if (uvm_bo_is_bound(bo))
		bo->mm.zap_error = uvm_bo_hide(bo);
	dma_resv_unlock(obj->resv);
	atomic_inc(&uvm->mm.nr_zaps);
	if (uvm_mm_zap_waits(bo))
		return -EINPROGRESS;
	atomic_dec(&uvm->mm.nr_zaps);
	ret = uvm_mm_zap_end(bo);
	drm_gem_object_put(obj);
	return ret;
}
