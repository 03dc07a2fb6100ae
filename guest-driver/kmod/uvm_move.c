// SPDX-License-Identifier: GPL-2.0
/*
 * Moves of buffers between domains: the policy plans, this file performs.
 */

#include <linux/sizes.h>
#include <linux/slab.h>

#include <drm/drm_print.h>
#include <drm/drm_vma_manager.h>

#include "uvm_drv.h"
#include "uvm_trace.h"

/* Bytes of VRAM that the CPU clears itself. */
#define UVM_CLEAR_BY_CPU	SZ_64K

/*
 * A copy with one end in system pages that have no GPU address: they are
 * bound piece by piece at the window that the policy lent.
 */
static int uvm_move_windowed(struct uvm_bo *bo, struct uvm_ring *ring,
			     const struct uvm_policy_action *action)
{
	struct uvm_device *uvm = ring->uvm;
	bool to_vram = action->to_domain == UVM_DOMAIN_VRAM;
	u64 window = uvm_gpu_addr(UVM_DOMAIN_GTT, action->window);
	u64 vram = to_vram ? uvm_gpu_addr(UVM_DOMAIN_VRAM, action->to) :
			     uvm_gpu_addr(UVM_DOMAIN_VRAM, action->from);
	u64 at, part;
	int ret = 0, err;

	for (at = 0; at < action->size && !ret; at += part) {
		part = min(action->size - at, action->window_size);
		uvm_gart_bind(uvm, action->window, bo->pages +
			      (at >> PAGE_SHIFT), part >> PAGE_SHIFT);
		if (to_vram)
			ret = uvm_sdma_copy(ring, vram + at, window, part);
		else
			ret = uvm_sdma_copy(ring, window, vram + at, part);
	}
	/* Each piece was bound over the last; now the engine has to forget. */
	err = uvm_gart_unbind(uvm, action->window,
			      action->window_size >> PAGE_SHIFT);
	return ret ?: err;
}

static int uvm_move_copy(struct uvm_bo *bo, struct uvm_ring *ring,
			 const struct uvm_policy_action *action)
{
	if (action->window_size)
		return uvm_move_windowed(bo, ring, action);
	return uvm_sdma_copy(ring, uvm_gpu_addr(action->to_domain, action->to),
			     uvm_gpu_addr(action->from_domain, action->from),
			     action->size);
}

/* What is soon done by the CPU is not worth a job and its interrupt. */
static int uvm_move_clear(struct uvm_ring *ring,
			  const struct uvm_policy_action *action)
{
	if (action->to_domain == UVM_DOMAIN_VRAM &&
	    action->size <= UVM_CLEAR_BY_CPU) {
		memset_io(ring->uvm->vram.cpu + action->to, 0, action->size);
		/* Out of the write-combining buffers. */
		wmb();
		return 0;
	}
	return uvm_sdma_clear(ring, uvm_gpu_addr(action->to_domain, action->to),
			      action->size);
}

static int uvm_move_act(struct uvm_bo *bo, struct uvm_ring *ring,
			const struct uvm_policy_action *action)
{
	struct uvm_device *uvm = ring->uvm;

	switch (action->op) {
	case UVM_POLICY_OP_POPULATE:
		return uvm_bo_populate(bo);
	case UVM_POLICY_OP_BIND:
		uvm_gart_bind(uvm, action->to, bo->pages,
			      action->size >> PAGE_SHIFT);
		return 0;
	case UVM_POLICY_OP_UNBIND:
		return uvm_gart_unbind(uvm, action->from,
				       action->size >> PAGE_SHIFT);
	case UVM_POLICY_OP_COPY:
		return uvm_move_copy(bo, ring, action);
	case UVM_POLICY_OP_CLEAR:
		return uvm_move_clear(ring, action);
	case UVM_POLICY_OP_RELEASE_PAGES:
		uvm_bo_release_pages(bo);
		return 0;
	default:
		return -EINVAL;
	}
}

/* RELEASE_PAGES cannot be undone, nor can it fail: it comes last. */
static void uvm_move_undo(struct uvm_bo *bo, struct uvm_device *uvm,
			  const struct uvm_policy_action *action)
{
	switch (action->op) {
	case UVM_POLICY_OP_POPULATE:
		if (bo->domain == UVM_DOMAIN_VRAM)
			uvm_bo_release_pages(bo);
		break;
	case UVM_POLICY_OP_BIND:
		uvm_gart_unbind(uvm, action->to, action->size >> PAGE_SHIFT);
		break;
	case UVM_POLICY_OP_UNBIND:
		uvm_gart_bind(uvm, action->from, bo->pages,
			      action->size >> PAGE_SHIFT);
		break;
	}
}

static int uvm_move_perform(struct uvm_bo *bo, struct uvm_ring *ring,
			    const struct uvm_policy_move *plan)
{
	int ret;
	u32 i;

	for (i = 0; i < plan->count; i++) {
		ret = uvm_move_act(bo, ring, &plan->actions[i]);
		if (ret)
			goto undo;
	}
	return 0;

undo:
	/* An unbinding that was not acknowledged is taken back as well. */
	if (plan->actions[i].op != UVM_POLICY_OP_UNBIND)
		i--;
	for (; (s32)i >= 0; i--)
		uvm_move_undo(bo, ring->uvm, &plan->actions[i]);
	return ret;
}

/**
 * uvm_bo_move() - move a buffer to a domain and wait until it is there
 * @bo: the buffer, locked
 * @domain: UVM_DOMAIN_*
 * @ring: SDMA engine that copies
 * @flags: UVM_POLICY_MOVE_*
 *
 * The content survives: if anything fails, the buffer is where it was. CPU
 * mappings stay valid and show the new place at the next access. From the
 * address spaces of processes it is gone meanwhile; what runs there and was
 * queued before the buffer was bound may fault on it.
 *
 * Context: within drm_dev_enter().
 * Return: 0, -ENOSPC, -ENOMEM, -ERESTARTSYS, or why the engine failed.
 */
int uvm_bo_move(struct uvm_bo *bo, u32 domain, struct uvm_ring *ring,
		u32 flags)
{
	struct uvm_device *uvm = ring->uvm;
	struct drm_gem_object *obj = &bo->base;
	struct uvm_policy_move *plan;
	bool bound = uvm_bo_is_bound(bo);
	u32 from = bo->domain;
	unsigned int state;
	long ret;

	dma_resv_assert_held(obj->resv);
	if (from == domain)
		return 0;
	/* Whoever uses its present address has to be done, or is about to. */
	if (bound) {
		ret = uvm_bo_settle(bo);
		if (ret)
			return ret;
	}
	if (from != UVM_DOMAIN_SYSTEM || bound) {
		ret = dma_resv_wait_timeout(obj->resv, DMA_RESV_USAGE_BOOKKEEP,
					    true, MAX_SCHEDULE_TIMEOUT);
		if (ret < 0)
			return ret;
	}

	plan = kzalloc(sizeof(*plan), GFP_KERNEL);
	if (!plan)
		return -ENOMEM;
	/* Where VRAM is full, processes' own memory makes way. */
	do {
		state = uvm_policy_begin(uvm);
		ret = uvm_policy_move_begin(uvm->policy, bo->policy_id, domain,
					    flags, plan);
		uvm_policy_end(uvm, state);
	} while (ret == -ENOSPC && domain == UVM_DOMAIN_VRAM &&
		 uvm_devmem_make_room(uvm, obj->size));
	if (ret || !plan->token)
		goto free;

	/* System pages stay where they are when the GART forgets them. */
	if (from == UVM_DOMAIN_VRAM || domain == UVM_DOMAIN_VRAM)
		drm_vma_node_unmap(&obj->vma_node,
				   obj->dev->anon_inode->i_mapping);
	else
		bound = false;

	if (bound)
		ret = uvm_bo_hide(bo);
	if (!ret)
		ret = uvm_move_perform(bo, ring, plan);
	state = uvm_policy_begin(uvm);
	uvm_policy_move_complete(uvm->policy, plan->token, ret);
	uvm_policy_end(uvm, state);
	if (!ret) {
		bo->domain = plan->domain;
		bo->offset = plan->offset;
	}
	if (bound)
		uvm_bo_show(bo);
free:
	trace_uvm_bo_move(bo->policy_id, obj->size, from, domain, bo->offset,
			  ret);
	kfree(plan);
	return ret;
}

/**
 * uvm_ioctl_gem_move() - DRM_UVM_GEM_MOVE
 * @drm: the device
 * @data: struct drm_uvm_gem_move
 * @file: the caller
 *
 * Return: 0, -EINVAL, -ENOENT, and what uvm_bo_move() returns.
 */
int uvm_ioctl_gem_move(struct drm_device *drm, void *data,
		       struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_uvm_gem_move *args = data;
	struct drm_gem_object *obj;
	int idx, ret;

	if (args->flags || args->domain > UVM_DOMAIN_VRAM ||
	    args->ring >= uvm->nr_rings)
		return -EINVAL;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj) {
		ret = -ENOENT;
		goto exit;
	}
	if (to_uvm_bo(obj)->mm.client) {
		ret = uvm_mm_bo_move(to_uvm_bo(obj), args->domain);
		goto put;
	}
	ret = dma_resv_lock_interruptible(obj->resv, NULL);
	if (!ret) {
		ret = uvm_bo_move(to_uvm_bo(obj), args->domain,
				  &uvm->rings[args->ring], 0);
		dma_resv_unlock(obj->resv);
	}
put:
	drm_gem_object_put(obj);
exit:
	drm_dev_exit(idx);
	return ret;
}
