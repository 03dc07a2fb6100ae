// SPDX-License-Identifier: GPL-2.0
/*
 * What processes bind where in their address spaces, and how it follows a
 * buffer that moves.
 *
 * A bind is planned when it is asked for, on top of all that were planned
 * before: arguments are checked, memory for tables is taken, and the entries
 * are known, as is the place of the buffer, which is locked. What can fail has
 * failed or not by then. The mappings here are as they are once everything is
 * performed; the page tables follow when the in-fences have signalled (see
 * uvm_bind_queue.c), with no lock that a waiter for a fence could hold.
 *
 * A mapping has a reference to its buffer, and stays in the buffer's list until
 * the page tables have lost it. So whoever moves a buffer, and has it locked,
 * finds each address space that reaches it or is about to: it queues the change
 * that hides the buffer there, and the buffer moves once that one and all before
 * it are performed. Nobody sits and waits for that: they may be behind a fence of
 * a process. While a buffer moves, its mappings are absent from the page tables:
 * what was mapped is never reached after its memory is given back.
 */

#include <linux/slab.h>

#include <drm/drm_exec.h>
#include <drm/drm_print.h>

#include "uvm_drv.h"

static struct uvm_mapping *uvm_bind_first(struct uvm_vm *vm, u64 first,
					  u64 last)
{
	struct interval_tree_node *node;

	node = interval_tree_iter_first(&vm->mappings, first, last);
	return node ? container_of(node, struct uvm_mapping, node) : NULL;
}

static struct uvm_mapping *uvm_bind_next(struct uvm_mapping *mapping, u64 first,
					 u64 last)
{
	struct interval_tree_node *node;

	node = interval_tree_iter_next(&mapping->node, first, last);
	return node ? container_of(node, struct uvm_mapping, node) : NULL;
}

static void uvm_bind_insert(struct uvm_mapping *mapping)
{
	struct uvm_vm *vm = mapping->vm;

	interval_tree_insert(&mapping->node, &vm->mappings);
	vm->nr_mappings++;
	vm->nr_absent += mapping->absent;
}

static void uvm_bind_remove(struct uvm_mapping *mapping)
{
	struct uvm_vm *vm = mapping->vm;

	interval_tree_remove(&mapping->node, &vm->mappings);
	vm->nr_mappings--;
	vm->nr_absent -= mapping->absent;
}

static void uvm_bind_link(struct uvm_mapping *mapping)
{
	struct uvm_vms *vms = &mapping->vm->uvm->vms;

	if (!mapping->bo)
		return;
	spin_lock(&vms->list_lock);
	list_add_tail(&mapping->bo_node, &mapping->bo->mappings);
	spin_unlock(&vms->list_lock);
}

static void uvm_bind_set_absent(struct uvm_mapping *mapping, bool absent)
{
	mapping->vm->nr_absent += absent - mapping->absent;
	WRITE_ONCE(mapping->absent, absent);
}

static void uvm_bind_free(struct uvm_mapping *mapping)
{
	struct uvm_vms *vms;

	if (mapping && mapping->bo) {
		vms = &mapping->vm->uvm->vms;
		spin_lock(&vms->list_lock);
		list_del(&mapping->bo_node);
		spin_unlock(&vms->list_lock);
		drm_gem_object_put(&mapping->bo->base);
	}
	kfree(mapping);
}

/**
 * uvm_bind_free_list() - free mappings that the page tables have lost
 * @gone: the mappings
 */
void uvm_bind_free_list(struct list_head *gone)
{
	struct uvm_mapping *mapping, *next;

	list_for_each_entry_safe(mapping, next, gone, gone_node)
		uvm_bind_free(mapping);
}

/**
 * uvm_bind_release_all() - free all mappings of an address space that ends
 * @vm: the address space; nothing runs in it
 */
void uvm_bind_release_all(struct uvm_vm *vm)
{
	struct uvm_mapping *mapping;

	while ((mapping = uvm_bind_first(vm, 0, U64_MAX))) {
		uvm_bind_remove(mapping);
		uvm_bind_free(mapping);
	}
}

/*
 * Takes a range out of the mappings. @spare becomes what is left behind the
 * range of one that reaches over it; what goes altogether is put into @gone.
 */
static void uvm_bind_carve(struct uvm_vm *vm, u64 first, u64 last,
			   struct uvm_mapping **spare, struct list_head *gone)
{
	struct uvm_mapping *mapping, *rest;
	u64 start, end;

	while ((mapping = uvm_bind_first(vm, first, last))) {
		start = mapping->node.start;
		end = mapping->node.last;
		uvm_bind_remove(mapping);
		if (end > last) {
			rest = mapping;
			if (start < first) {
				rest = *spare;
				*spare = NULL;
				*rest = *mapping;
				if (rest->bo)
					drm_gem_object_get(&rest->bo->base);
				uvm_bind_link(rest);
			}
			rest->node.start = last + 1;
			rest->bo_offset += last + 1 - start;
			uvm_bind_insert(rest);
		}
		if (start < first) {
			mapping->node.last = first - 1;
			uvm_bind_insert(mapping);
		} else if (end <= last) {
			spin_lock(&vm->uvm->vms.list_lock);
			mapping->leaving = true;
			/* The bind that is being planned. */
			mapping->seqno = vm->queued + 1;
			spin_unlock(&vm->uvm->vms.list_lock);
			list_add(&mapping->gone_node, gone);
		}
	}
}

/* Plans what makes the tables have a mapping, or have it no more. */
static int uvm_bind_plan(struct uvm_bind *bind, struct uvm_mapping *mapping,
			 u32 change)
{
	struct uvm_policy_update update = {
		.vm = mapping->vm->id,
		.va = mapping->node.start,
		.size = mapping->node.last - mapping->node.start + 1,
		.change = change,
		.flags = UVM_POLICY_UPDATE_REPLACE,
	};
	struct uvm_bo *bo = mapping->bo;

	if (change != UVM_POLICY_CHANGE_MAP)
		return uvm_update_plan(mapping->vm, bind, &update, NULL);
	dma_resv_assert_held(bo->base.resv);
	update.attributes = mapping->attributes;
	update.bo = bo->policy_id;
	update.bo_offset = mapping->bo_offset;
	/* The CPU's caches are part of system memory, unless it keeps off. */
	if (bo->domain != UVM_DOMAIN_VRAM) {
		update.attributes |= UVM_PTE_SNOOPED;
		if (bo->unsnooped)
			update.attributes &= ~UVM_PTE_SNOOPED;
	}
	return uvm_update_plan(mapping->vm, bind, &update, mapping);
}

/* Queues a change of one mapping; a reference to the fence if that is wanted. */
static int uvm_bind_queue(struct uvm_mapping *mapping, u32 change,
			  struct dma_fence **fence)
{
	struct uvm_bind *bind = uvm_bind_alloc();
	struct dma_fence *done;
	int ret;

	if (!bind)
		return -ENOMEM;
	ret = uvm_bind_plan(bind, mapping, change);
	if (ret) {
		uvm_bind_discard(bind);
		return ret;
	}
	uvm_bind_set_absent(mapping, change != UVM_POLICY_CHANGE_MAP);
	done = uvm_bind_push(mapping->vm, bind);
	WRITE_ONCE(mapping->seqno, done->seqno);
	if (fence)
		swap(*fence, done);
	dma_fence_put(done);
	return 0;
}

/* Whether page tables may have a buffer, which is locked, where it is now. */
static bool uvm_bo_has_place(const struct uvm_bo *bo)
{
	return bo->mm.shown;
}

/**
 * uvm_bind_is_taken() - whether anything is mapped, or soon will be again
 * @vm: the address space, locked
 * @first: first address
 * @last: last address
 *
 * Return: whether.
 */
bool uvm_bind_is_taken(struct uvm_vm *vm, u64 first, u64 last)
{
	lockdep_assert_held(&vm->lock);
	return uvm_bind_first(vm, first, last);
}

/**
 * uvm_bo_is_bound() - whether any address space maps a buffer
 * @bo: the buffer, locked: nobody binds it now
 *
 * Return: whether.
 */
bool uvm_bo_is_bound(struct uvm_bo *bo)
{
	dma_resv_assert_held(bo->base.resv);
	return !list_empty_careful(&bo->mappings);
}

/*
 * The address space with the lowest PASID above @pasid whose tables have the
 * buffer or may have it still, or, of those that are @absent, do not have it;
 * with a reference. One that ends maps nothing for anybody.
 */
static struct uvm_vm *uvm_bo_next_vm(struct uvm_bo *bo, u32 pasid, bool absent)
{
	struct uvm_vms *vms = &to_uvm(bo->base.dev)->vms;
	struct uvm_mapping *mapping;
	struct uvm_vm *vm, *found = NULL;

	spin_lock(&vms->list_lock);
	list_for_each_entry(mapping, &bo->mappings, bo_node) {
		vm = mapping->vm;
		if (absent != (READ_ONCE(mapping->absent) && !mapping->leaving))
			continue;
		if (vm->pasid <= pasid || (found && vm->pasid >= found->pasid))
			continue;
		if (kref_get_unless_zero(&vm->ref)) {
			uvm_vm_put(found);
			found = vm;
		}
	}
	spin_unlock(&vms->list_lock);
	return found;
}

/* Of an address space that is locked, a mapping of the buffer that is or is not absent. */
static struct uvm_mapping *uvm_bo_find(struct uvm_bo *bo, struct uvm_vm *vm,
				       bool absent)
{
	struct uvm_mapping *mapping, *found = NULL;

	spin_lock(&vm->uvm->vms.list_lock);
	list_for_each_entry(mapping, &bo->mappings, bo_node) {
		if (mapping->vm == vm && !mapping->leaving &&
		    mapping->absent == absent) {
			found = mapping;
			break;
		}
	}
	/* Behind those that the next search is for. */
	if (found)
		list_move_tail(&found->bo_node, &bo->mappings);
	spin_unlock(&vm->uvm->vms.list_lock);
	return found;
}

/**
 * uvm_bo_hide() - have a buffer taken out of all page tables
 * @bo: the buffer, locked
 *
 * It is out when uvm_bo_pending() finds nothing more: behind what is queued.
 *
 * Return: 0 or why an address space could not be changed; then uvm_bo_show().
 */
int uvm_bo_hide(struct uvm_bo *bo)
{
	struct uvm_mapping *mapping;
	struct uvm_vm *vm;
	u32 pasid = 0;
	int ret = 0;

	dma_resv_assert_held(bo->base.resv);
	while (!ret && (vm = uvm_bo_next_vm(bo, pasid, false))) {
		pasid = vm->pasid;
		mutex_lock(&vm->lock);
		while (!ret && (mapping = uvm_bo_find(bo, vm, false)))
			ret = uvm_bind_queue(mapping, UVM_POLICY_CHANGE_UNMAP,
					     NULL);
		mutex_unlock(&vm->lock);
		uvm_bind_run(vm);
		uvm_vm_put(vm);
	}
	return ret;
}

/**
 * uvm_bo_pending() - an address space whose tables may still have a buffer
 * @bo: the buffer, hidden
 * @seqno: out: of the bind after which they do not have it
 * @lost: out: an address space is lost, and may have it until its end
 *
 * Return: the address space with a reference; NULL: there is none.
 */
struct uvm_vm *uvm_bo_pending(struct uvm_bo *bo, u64 *seqno, bool *lost)
{
	struct uvm_vms *vms = &to_uvm(bo->base.dev)->vms;
	struct uvm_mapping *mapping;
	struct uvm_vm *vm;

	*lost = false;
	spin_lock(&vms->list_lock);
	list_for_each_entry(mapping, &bo->mappings, bo_node) {
		vm = mapping->vm;
		*seqno = READ_ONCE(mapping->seqno);
		if (smp_load_acquire(&vm->ended) >= *seqno) {
			*lost |= READ_ONCE(vm->lost);
			continue;
		}
		/* One that ends maps nothing for anybody. */
		if (kref_get_unless_zero(&vm->ref)) {
			spin_unlock(&vms->list_lock);
			return vm;
		}
	}
	spin_unlock(&vms->list_lock);
	return NULL;
}

/**
 * uvm_bo_show() - have a buffer put back into all page tables
 * @bo: the buffer, locked
 *
 * Jobs that come wait for that. Where there is no memory for tables it stays
 * absent until its process submits the next time, which then fails or succeeds.
 */
void uvm_bo_show(struct uvm_bo *bo)
{
	struct uvm_mapping *mapping;
	struct uvm_vm *vm;
	u32 pasid = 0;
	int ret;

	dma_resv_assert_held(bo->base.resv);
	while ((vm = uvm_bo_next_vm(bo, pasid, true))) {
		pasid = vm->pasid;
		ret = 0;
		mutex_lock(&vm->lock);
		while (!ret && (mapping = uvm_bo_find(bo, vm, true)))
			ret = uvm_bind_queue(mapping, UVM_POLICY_CHANGE_MAP,
					     &vm->shows);
		mutex_unlock(&vm->lock);
		uvm_bind_run(vm);
		uvm_vm_put(vm);
	}
}

/**
 * uvm_bind_collect() - all buffers of an address space
 * @vm: the address space
 * @bos: out: the buffers, some several times, with references; to be kvfree()d
 * @nr: out: how many
 *
 * Return: 0 or -ENOMEM.
 */
int uvm_bind_collect(struct uvm_vm *vm, struct drm_gem_object ***bos, u32 *nr)
{
	struct drm_gem_object *obj = NULL;
	struct uvm_mapping *mapping;
	int ret = 0;

	mutex_lock(&vm->lock);
	*bos = kvcalloc(max(vm->nr_mappings, 1u), sizeof(**bos), GFP_KERNEL);
	if (!*bos)
		ret = -ENOMEM;
	for (mapping = *bos ? uvm_bind_first(vm, 0, U64_MAX) : NULL; mapping;
	     mapping = uvm_bind_next(mapping, 0, U64_MAX)) {
		/* Pieces of one buffer often lie side by side. */
		if (!mapping->bo || obj == &mapping->bo->base)
			continue;
		obj = &mapping->bo->base;
		drm_gem_object_get(obj);
		(*bos)[(*nr)++] = obj;
	}
	mutex_unlock(&vm->lock);
	return ret;
}

/**
 * uvm_bind_restore() - map what a move had to leave absent
 * @vm: the address space
 * @exec: its buffers, locked; one that is not was bound only just now
 * @fence: out: a reference to the fence that signals when the tables have that
 *	and all that came back before, or NULL
 *
 * Return: 0, -ENOSPC, -ENOMEM, -EIO.
 */
int uvm_bind_restore(struct uvm_vm *vm, struct drm_exec *exec,
		     struct dma_fence **fence)
{
	struct uvm_mapping *mapping = NULL;
	int ret = 0;

	mutex_lock(&vm->lock);
	if (vm->shows && dma_fence_is_signaled(vm->shows)) {
		dma_fence_put(vm->shows);
		vm->shows = NULL;
	}
	*fence = vm->shows ? dma_fence_get(vm->shows) : NULL;
	if (READ_ONCE(vm->lost))
		ret = -EIO;
	else if (vm->nr_absent)
		mapping = uvm_bind_first(vm, 0, U64_MAX);
	for (; mapping && !ret; mapping = uvm_bind_next(mapping, 0, U64_MAX)) {
		if (mapping->absent &&
		    dma_resv_locking_ctx(mapping->bo->base.resv) ==
		    &exec->ticket && uvm_bo_has_place(mapping->bo))
			ret = uvm_bind_queue(mapping, UVM_POLICY_CHANGE_MAP,
					     fence);
	}
	mutex_unlock(&vm->lock);
	if (*fence)
		uvm_bind_kick(vm);
	return ret;
}

static u64 uvm_bind_attributes(const struct drm_uvm_vm_bind *args)
{
	u64 bits = (u64)args->mtype << UVM_PTE_MTYPE_SHIFT;

	if (args->flags & UVM_VM_READ)
		bits |= UVM_PTE_READABLE;
	if (args->flags & UVM_VM_WRITE)
		bits |= UVM_PTE_WRITEABLE;
	if (args->flags & UVM_VM_EXECUTE)
		bits |= UVM_PTE_EXECUTABLE;
	if (args->flags & UVM_VM_SNOOPED)
		bits |= UVM_PTE_SNOOPED;
	if (args->flags & UVM_VM_TMZ)
		bits |= UVM_PTE_TMZ;
	return bits;
}

static u32 uvm_bind_change(u32 op)
{
	switch (op) {
	case UVM_VM_OP_MAP:
		return UVM_POLICY_CHANGE_MAP;
	case UVM_VM_OP_PRT:
		return UVM_POLICY_CHANGE_PRT;
	default:
		return UVM_POLICY_CHANGE_UNMAP;
	}
}

/* The plan first: when there is none, nothing changes. @mapping is the range. */
static int uvm_bind_locked(struct uvm_vm *vm, struct uvm_bind *bind,
			   const struct drm_uvm_vm_bind *args,
			   struct uvm_mapping **mapping,
			   struct uvm_mapping **spare)
{
	u64 last = args->va + args->size - 1;
	bool unmap = args->op == UVM_VM_OP_UNMAP;
	u32 change = uvm_bind_change(args->op);
	struct uvm_mapping *there;
	u32 more = !unmap;
	int ret;

	lockdep_assert_held(&vm->lock);
	there = uvm_bind_first(vm, args->va, last);
	if (there && !unmap && !(args->flags & UVM_VM_REPLACE))
		return -EEXIST;
	/* One that reaches over both ends becomes two. */
	if (there && there->node.start < args->va && there->node.last > last)
		more++;
	if (more && vm->nr_mappings + more > UVM_VM_MAX_MAPPINGS)
		return -ENOSPC;
	/* A buffer is put there when it has a place. */
	if (change == UVM_POLICY_CHANGE_MAP &&
	    !uvm_bo_has_place((*mapping)->bo)) {
		change = UVM_POLICY_CHANGE_UNMAP;
		(*mapping)->absent = true;
	}
	ret = uvm_bind_plan(bind, *mapping, change);
	if (ret)
		return ret;
	uvm_bind_carve(vm, args->va, last, spare, &bind->gone);
	if (!unmap) {
		uvm_bind_link(*mapping);
		uvm_bind_insert(*mapping);
		*mapping = NULL;
	}
	return 0;
}

/**
 * uvm_bind_do() - queue a change of what a range is mapped onto
 * @vm: the address space
 * @bind: consumed if this returns 0; it may have fences to wait for
 * @args: the change, checked
 * @bo: the buffer of a map, locked and with its pages; else NULL
 * @fence: out: a reference to the fence that signals when it is made
 *
 * Return: 0, -EEXIST, -ENOSPC, -ENOMEM, -EIO, -EAGAIN when it may not wait any
 * more.
 */
int uvm_bind_do(struct uvm_vm *vm, struct uvm_bind *bind,
		const struct drm_uvm_vm_bind *args, struct uvm_bo *bo,
		struct dma_fence **fence)
{
	struct uvm_mapping *mapping, *spare;
	int ret = -ENOMEM;

	spare = kzalloc(sizeof(*spare), GFP_KERNEL_ACCOUNT);
	mapping = kzalloc(sizeof(*mapping), GFP_KERNEL_ACCOUNT);
	if (!spare || !mapping)
		goto free;
	mapping->node.start = args->va;
	mapping->node.last = args->va + args->size - 1;
	mapping->vm = vm;
	if (bo) {
		mapping->bo = bo;
		mapping->bo_offset = args->bo_offset;
		mapping->attributes = uvm_bind_attributes(args);
	}
	mutex_lock(&vm->lock);
	/* What waits would hold up who brings pages: the caller waits first. */
	if (vm->svm && bind->nr_wait) {
		ret = -EAGAIN;
		goto unlock;
	}
	if (bo)
		drm_gem_object_get(&bo->base);
	ret = uvm_bind_locked(vm, bind, args, &mapping, &spare);
	if (!ret)
		*fence = uvm_bind_push(vm, bind);
	else if (bo)
		drm_gem_object_put(&bo->base);
unlock:
	mutex_unlock(&vm->lock);
free:
	kfree(mapping);
	kfree(spare);
	return ret;
}
