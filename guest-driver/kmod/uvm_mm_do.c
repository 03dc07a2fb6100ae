// SPDX-License-Identifier: GPL-2.0
/*
 * What the memory manager decides, carried out: each action has ended, in the
 * device too, when it is answered.
 *
 * A buffer's place changes here alone. Its page tables lose it before the bytes
 * move (ZAP) and have it again when they are in a segment (WRITE_PTES); both
 * under its reservation lock, as are binds and CPU faults, which look at what
 * these two leave.
 */

#include <linux/jiffies.h>
#include <linux/sizes.h>

#include <drm/drm_print.h>
#include <drm/drm_vma_manager.h>

#include "uvm_drv.h"
#include "uvm_trace.h"

/* Bytes of VRAM that the CPU clears itself. */
#define UVM_CLEAR_BY_CPU	SZ_64K

static u64 uvm_mm_failure(int ret)
{
	switch (ret) {
	case 0:
		return 0;
	case -EINPROGRESS:
		return UVM_MM_PENDING;
	case -ENOMEM:
		return UVM_MM_FAIL_MEMORY;
	default:
		return UVM_MM_FAIL_IO;
	}
}

static int uvm_mm_write_ptes(struct uvm_bo *bo,
			     const struct uvm_mm_action *action)
{
	struct drm_gem_object *obj = &bo->base;

	/* Without users nobody has it mapped. */
	if (!kref_get_unless_zero(&obj->refcount))
		return 0;
	dma_resv_lock(obj->resv, NULL);
	WRITE_ONCE(bo->domain, action->to_domain);
	bo->offset = action->to;
	bo->mm.shown = true;
	/* What finds no memory for tables fails the submission that needs it. */
	if (uvm_bo_is_bound(bo))
		uvm_bo_show(bo);
	dma_resv_unlock(obj->resv);
	drm_gem_object_put(obj);
	return 0;
}

/* What is soon done by the CPU is not worth a packet and its interrupt. */
static int uvm_mm_do_clear(struct uvm_mm_worker *worker,
			   const struct uvm_mm_action *action)
{
	struct uvm_device *uvm = worker->uvm;

	if (action->to_domain == UVM_DOMAIN_VRAM &&
	    action->size <= UVM_CLEAR_BY_CPU &&
	    action->to + action->size <= uvm->vram.visible) {
		memset_io(uvm->vram.cpu + action->to, 0, action->size);
		/* Out of the write-combining buffers. */
		wmb();
		return 0;
	}
	return uvm_mm_clear(worker, uvm_gpu_addr(action->to_domain, action->to),
			    action->size);
}

/* The device has forgotten what was bound, and pages may go. */
static int uvm_mm_do_free(struct uvm_device *uvm, struct uvm_bo *bo,
			  const struct uvm_mm_action *action)
{
	int ret = uvm_gart_forget(uvm);

	if (!ret)
		uvm_mm_free_pages(bo, action->offset, action->size);
	return ret;
}

/* What needs the device. */
static int uvm_mm_do_device(struct uvm_mm_worker *worker, struct uvm_bo *bo,
			    const struct uvm_mm_action *action)
{
	struct uvm_device *uvm = worker->uvm;

	switch (action->op) {
	case UVM_MM_DO_BIND:
		(bo->unsnooped ? uvm_gart_bind_unsnooped : uvm_gart_bind)
			(uvm, action->gart,
			 bo->pages + (action->offset >> PAGE_SHIFT),
			 action->size >> PAGE_SHIFT);
		return 0;
	case UVM_MM_DO_UNBIND:
		uvm_gart_retire(uvm, action->gart, action->size >> PAGE_SHIFT);
		return 0;
	case UVM_MM_DO_PAGE_OUT:
	case UVM_MM_DO_PAGE_IN:
		return uvm_mm_page(worker, bo, action);
	case UVM_MM_DO_COPY:
		return uvm_mm_copy(worker,
				   uvm_gpu_addr(action->to_domain, action->to),
				   uvm_gpu_addr(action->from_domain,
						action->from),
				   action->size);
	case UVM_MM_DO_CLEAR:
		return uvm_mm_do_clear(worker, action);
	case UVM_MM_DO_FREE_PAGES:
		return uvm_mm_do_free(uvm, bo, action);
	case UVM_MM_DO_ZAP:
		return uvm_mm_zap(bo, action->id);
	case UVM_MM_DO_WRITE_PTES:
		return uvm_mm_write_ptes(bo, action);
	default:
		return -EINVAL;
	}
}

/* Without a device nobody reaches anything; and nothing can be copied. */
static int uvm_mm_do_gone(struct uvm_bo *bo, const struct uvm_mm_action *action)
{
	switch (action->op) {
	case UVM_MM_DO_FREE_PAGES:
		uvm_mm_free_pages(bo, action->offset, action->size);
		return 0;
	case UVM_MM_DO_PAGE_OUT:
	case UVM_MM_DO_PAGE_IN:
	case UVM_MM_DO_COPY:
	case UVM_MM_DO_CLEAR:
		return -ENODEV;
	default:
		return 0;
	}
}

static u64 uvm_mm_do_action(struct uvm_mm_worker *worker,
			    const struct uvm_mm_action *action)
{
	struct uvm_device *uvm = worker->uvm;
	struct uvm_bo *bo = uvm_mm_bo_get(uvm, action->bo);
	int idx, ret;

	if (!bo && action->op != UVM_MM_DO_UNBIND)
		return UVM_MM_FAIL_IO;
	switch (action->op) {
	case UVM_MM_DO_ALLOC_PAGES:
	case UVM_MM_DO_ALLOC_STALE:
		ret = uvm_mm_alloc_pages(bo, action->offset, action->size,
					 action->op == UVM_MM_DO_ALLOC_PAGES);
		return uvm_mm_failure(ret);
	case UVM_MM_DO_SWAP_OUT:
		ret = uvm_mm_swap_out(bo, action->offset, action->size);
		return ret ? UVM_MM_FAIL_SWAP : 0;
	case UVM_MM_DO_SWAP_IN:
		return uvm_mm_failure(uvm_mm_swap_in(bo, action->offset,
						     action->size));
	case UVM_MM_DO_SWAP_DROP:
		uvm_mm_swap_drop(bo);
		return 0;
	}
	if (drm_dev_enter(&uvm->drm, &idx)) {
		ret = uvm_mm_do_device(worker, bo, action);
		drm_dev_exit(idx);
	} else {
		ret = uvm_mm_do_gone(bo, action);
	}
	return uvm_mm_failure(ret);
}

/**
 * uvm_mm_do() - carry out an action
 * @worker: whoever does it
 * @action: what to do; not a notice
 *
 * Return: what UVM_MM_EV_DONE says of it: 0 or UVM_MM_FAIL_*; UVM_MM_PENDING if
 * it goes on and is answered by itself.
 */
u64 uvm_mm_do(struct uvm_mm_worker *worker, const struct uvm_mm_action *action)
{
	u64 error = uvm_mm_do_action(worker, action);

	trace_uvm_mm_action(action->op, action->bo, action->offset,
			    action->size, error);
	return error;
}
