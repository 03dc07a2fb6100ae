// SPDX-License-Identifier: GPL-2.0
/*
 * What processes bind where in their address spaces, and how it follows a
 * buffer that moves.
 *
 * A mapping has a reference to its buffer. While a buffer goes to VRAM or
 * from there, its mappings are absent from the page tables: what was mapped
 * is never reached after its memory is given back. Between SYSTEM and GTT the
 * pages stay, and so do the entries.
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
	if (mapping->bo)
		list_add_tail(&mapping->bo_node, &mapping->bo->mappings);
}

static void uvm_bind_remove(struct uvm_mapping *mapping)
{
	struct uvm_vm *vm = mapping->vm;

	interval_tree_remove(&mapping->node, &vm->mappings);
	vm->nr_mappings--;
	vm->nr_absent -= mapping->absent;
	if (mapping->bo)
		list_del_init(&mapping->bo_node);
}

static void uvm_bind_set_absent(struct uvm_mapping *mapping, bool absent)
{
	mapping->vm->nr_absent += absent - mapping->absent;
	mapping->absent = absent;
}

static void uvm_bind_free(struct uvm_mapping *mapping)
{
	if (mapping && mapping->bo)
		drm_gem_object_put(&mapping->bo->base);
	kfree(mapping);
}

/**
 * uvm_bind_free_list() - free mappings that were taken out
 * @gone: the mappings; not under uvm_vms.lock
 */
void uvm_bind_free_list(struct list_head *gone)
{
	struct uvm_mapping *mapping, *next;

	list_for_each_entry_safe(mapping, next, gone, bo_node)
		uvm_bind_free(mapping);
}

/**
 * uvm_bind_take_all() - take all mappings out of an address space that ends
 * @vm: the address space
 * @gone: where to, for uvm_bind_free_list()
 */
void uvm_bind_take_all(struct uvm_vm *vm, struct list_head *gone)
{
	struct uvm_mapping *mapping;

	lockdep_assert_held(&vm->uvm->vms.lock);
	while ((mapping = uvm_bind_first(vm, 0, U64_MAX))) {
		uvm_bind_remove(mapping);
		list_add(&mapping->bo_node, gone);
	}
}

/*
 * Takes a range out of the mappings; the tables do not have it any more.
 * @spare becomes what is left behind the range of one that reaches over it.
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
			}
			rest->node.start = last + 1;
			rest->bo_offset += last + 1 - start;
			uvm_bind_insert(rest);
		}
		if (start < first) {
			mapping->node.last = first - 1;
			uvm_bind_insert(mapping);
		} else if (end <= last) {
			list_add(&mapping->bo_node, gone);
		}
	}
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

/**
 * uvm_bo_hide() - take a buffer out of all page tables
 * @bo: the buffer, locked
 *
 * Context: within drm_dev_enter().
 * Return: 0 or why an address space could not be changed; then uvm_bo_show().
 */
int uvm_bo_hide(struct uvm_bo *bo)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	struct uvm_mapping *mapping;
	int ret = 0;

	dma_resv_assert_held(bo->base.resv);
	mutex_lock(&uvm->vms.lock);
	list_for_each_entry(mapping, &bo->mappings, bo_node) {
		if (mapping->absent)
			continue;
		uvm_mode_hold(mapping->vm);
		ret = uvm_vm_unmap(mapping->vm, mapping->node.start,
				   mapping->node.last - mapping->node.start + 1);
		if (ret)
			break;
		uvm_bind_set_absent(mapping, true);
	}
	mutex_unlock(&uvm->vms.lock);
	return ret;
}

/**
 * uvm_bo_show() - put a buffer back into all page tables
 * @bo: the buffer, locked
 *
 * Where there is no memory for tables it stays absent until its process submits
 * the next time, which then fails or succeeds. Context: within drm_dev_enter().
 */
void uvm_bo_show(struct uvm_bo *bo)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	struct uvm_mapping *mapping;

	dma_resv_assert_held(bo->base.resv);
	mutex_lock(&uvm->vms.lock);
	list_for_each_entry(mapping, &bo->mappings, bo_node) {
		if (mapping->absent && !uvm_vm_map(mapping))
			uvm_bind_set_absent(mapping, false);
		uvm_mode_unhold(mapping->vm);
	}
	mutex_unlock(&uvm->vms.lock);
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
	struct uvm_device *uvm = vm->uvm;
	struct drm_gem_object *obj = NULL;
	struct uvm_mapping *mapping;
	int ret = 0;

	mutex_lock(&uvm->vms.lock);
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
	mutex_unlock(&uvm->vms.lock);
	return ret;
}

/**
 * uvm_bind_restore() - map what a move had to leave absent
 * @vm: the address space
 * @exec: its buffers, locked; one that is not was bound only just now
 *
 * Context: within drm_dev_enter().
 * Return: 0, -ENOSPC, -ENOMEM, -EIO.
 */
int uvm_bind_restore(struct uvm_vm *vm, struct drm_exec *exec)
{
	struct uvm_device *uvm = vm->uvm;
	struct uvm_mapping *mapping = NULL;
	int ret = 0;

	mutex_lock(&uvm->vms.lock);
	if (vm->lost)
		ret = -EIO;
	else if (vm->nr_absent)
		mapping = uvm_bind_first(vm, 0, U64_MAX);
	for (; mapping && !ret; mapping = uvm_bind_next(mapping, 0, U64_MAX)) {
		if (!mapping->absent ||
		    dma_resv_locking_ctx(mapping->bo->base.resv) !=
		    &exec->ticket)
			continue;
		ret = uvm_vm_map(mapping);
		if (!ret)
			uvm_bind_set_absent(mapping, false);
	}
	uvm_mode_unhold(vm);
	mutex_unlock(&uvm->vms.lock);
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

/* The tables first: when they do not change, nothing does. */
static int uvm_bind_tables(struct uvm_vm *vm, u32 op, u64 va, u64 size,
			   struct uvm_mapping *mapping)
{
	switch (op) {
	case UVM_VM_OP_MAP:
		return uvm_vm_map(mapping);
	case UVM_VM_OP_PRT:
		return uvm_vm_prt(vm, va, size);
	default:
		return uvm_vm_unmap(vm, va, size);
	}
}

static int uvm_bind_locked(struct uvm_vm *vm,
			   const struct drm_uvm_vm_bind *args,
			   struct uvm_mapping **mapping,
			   struct uvm_mapping **spare, struct list_head *gone)
{
	u64 last = args->va + args->size - 1;
	struct uvm_mapping *there;
	u32 more = 0;
	int ret;

	lockdep_assert_held(&vm->uvm->vms.lock);
	there = uvm_bind_first(vm, args->va, last);
	if (*mapping) {
		if (there && !(args->flags & UVM_VM_REPLACE))
			return -EEXIST;
		more++;
	}
	/* One that reaches over both ends becomes two. */
	if (there && there->node.start < args->va && there->node.last > last)
		more++;
	if (more && vm->nr_mappings + more > UVM_VM_MAX_MAPPINGS)
		return -ENOSPC;
	ret = uvm_bind_tables(vm, args->op, args->va, args->size, *mapping);
	if (ret)
		return ret;
	uvm_bind_carve(vm, args->va, last, spare, gone);
	if (*mapping)
		uvm_bind_insert(*mapping);
	*mapping = NULL;
	uvm_mode_unhold(vm);
	return 0;
}

/**
 * uvm_bind_do() - change what a range is mapped onto
 * @vm: the address space
 * @args: the change, checked
 * @bo: the buffer of a map, locked and with its pages; else NULL
 *
 * Context: within drm_dev_enter().
 * Return: as uvm_ioctl_vm_bind().
 */
int uvm_bind_do(struct uvm_vm *vm, const struct drm_uvm_vm_bind *args,
		struct uvm_bo *bo)
{
	struct uvm_mapping *mapping = NULL, *spare;
	LIST_HEAD(gone);
	int ret = -ENOMEM;

	spare = kzalloc(sizeof(*spare), GFP_KERNEL);
	if (!spare)
		return ret;
	if (args->op != UVM_VM_OP_UNMAP) {
		mapping = kzalloc(sizeof(*mapping), GFP_KERNEL);
		if (!mapping)
			goto free;
		INIT_LIST_HEAD(&mapping->bo_node);
		mapping->node.start = args->va;
		mapping->node.last = args->va + args->size - 1;
		mapping->vm = vm;
		if (bo) {
			drm_gem_object_get(&bo->base);
			mapping->bo = bo;
			mapping->bo_offset = args->bo_offset;
			mapping->attributes = uvm_bind_attributes(args);
		}
	}
	mutex_lock(&vm->uvm->vms.lock);
	ret = uvm_bind_locked(vm, args, &mapping, &spare, &gone);
	mutex_unlock(&vm->uvm->vms.lock);
	uvm_bind_free_list(&gone);
	uvm_bind_free(mapping);
free:
	kfree(spare);
	return ret;
}
