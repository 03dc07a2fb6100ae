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

#define UVM_VM_ACCESS	(UVM_VM_READ | UVM_VM_WRITE | UVM_VM_EXECUTE)
#define UVM_VM_FLAGS	(UVM_VM_ACCESS | UVM_VM_SNOOPED | UVM_VM_TMZ | \
			 UVM_VM_REPLACE)
#define UVM_MTYPE_MAX	3u

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
	list_for_each_entry(mapping, &bo->mappings, bo_node)
		if (mapping->absent && !uvm_vm_map(mapping))
			uvm_bind_set_absent(mapping, false);
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
	return 0;
}

/* With the buffer locked, if there is one. */
static int uvm_bind_do(struct uvm_vm *vm, const struct drm_uvm_vm_bind *args,
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

static int uvm_bind_check(struct uvm_device *uvm,
			  const struct drm_uvm_vm_bind *args)
{
	u64 size = uvm_vm_size(uvm);

	if (!args->size || !PAGE_ALIGNED(args->va | args->size) ||
	    args->va >= size || args->size > size - args->va)
		return -EINVAL;
	switch (args->op) {
	case UVM_VM_OP_MAP:
		if (args->flags & ~UVM_VM_FLAGS || args->mtype > UVM_MTYPE_MAX ||
		    !PAGE_ALIGNED(args->bo_offset))
			return -EINVAL;
		return 0;
	case UVM_VM_OP_UNMAP:
	case UVM_VM_OP_PRT:
		if (args->flags & ~UVM_VM_REPLACE || args->mtype ||
		    args->handle || args->bo_offset)
			return -EINVAL;
		return 0;
	default:
		return -EINVAL;
	}
}

/**
 * uvm_file_vm() - the address space of a file, made at the first use
 * @uvm: the device
 * @ufile: the file
 *
 * Context: within drm_dev_enter().
 * Return: the address space; the file has the reference; or an ERR_PTR.
 */
struct uvm_vm *uvm_file_vm(struct uvm_device *uvm, struct uvm_file *ufile)
{
	struct uvm_vm *vm;

	mutex_lock(&ufile->submit_lock);
	vm = ufile->vm;
	if (!vm) {
		vm = uvm_vm_create(uvm);
		if (!IS_ERR(vm))
			ufile->vm = vm;
	}
	mutex_unlock(&ufile->submit_lock);
	return vm;
}

static int uvm_bind_bo(struct uvm_vm *vm, const struct drm_uvm_vm_bind *args,
		       struct drm_file *file)
{
	struct drm_gem_object *obj;
	struct uvm_bo *bo;
	int ret;

	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	bo = to_uvm_bo(obj);
	ret = -EINVAL;
	if (args->bo_offset >= obj->size ||
	    args->size > obj->size - args->bo_offset)
		goto put;
	ret = dma_resv_lock_interruptible(obj->resv, NULL);
	if (ret)
		goto put;
	if (bo->domain != UVM_DOMAIN_VRAM)
		ret = uvm_bo_populate(bo);
	if (!ret)
		ret = uvm_bind_do(vm, args, bo);
	dma_resv_unlock(obj->resv);
put:
	drm_gem_object_put(obj);
	return ret;
}

/**
 * uvm_ioctl_vm_bind() - DRM_UVM_VM_BIND
 * @drm: the device
 * @data: struct drm_uvm_vm_bind
 * @file: the caller
 *
 * Return: 0, -EINVAL, -ENOENT, -EEXIST when something is mapped there and was
 * not to be replaced, -ENOSPC without VRAM for tables or with too many
 * mappings, -ENOMEM, -EIO when the address space is lost, -ERESTARTSYS.
 */
int uvm_ioctl_vm_bind(struct drm_device *drm, void *data,
		      struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_uvm_vm_bind *args = data;
	struct uvm_vm *vm;
	int idx, ret;

	ret = uvm_bind_check(uvm, args);
	if (ret)
		return ret;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	vm = uvm_file_vm(uvm, file->driver_priv);
	if (IS_ERR(vm))
		ret = PTR_ERR(vm);
	else if (args->op == UVM_VM_OP_MAP)
		ret = uvm_bind_bo(vm, args, file);
	else
		ret = uvm_bind_do(vm, args, NULL);
	drm_dev_exit(idx);
	return ret;
}

/**
 * uvm_ioctl_fault_query() - DRM_UVM_FAULT_QUERY
 * @drm: the device
 * @data: struct drm_uvm_fault_query
 * @file: the caller
 *
 * Return: 0, -EINVAL.
 */
int uvm_ioctl_fault_query(struct drm_device *drm, void *data,
			  struct drm_file *file)
{
	struct uvm_file *ufile = file->driver_priv;
	struct drm_uvm_fault_query *args = data;
	struct uvm_vm_fault fault = {};
	struct uvm_vm *vm;

	mutex_lock(&ufile->submit_lock);
	vm = ufile->vm;
	mutex_unlock(&ufile->submit_lock);
	if (vm) {
		spin_lock(&vm->fault_lock);
		swap(fault, vm->fault);
		spin_unlock(&vm->fault_lock);
	}
	args->va = fault.va;
	args->count = fault.count;
	args->write = fault.write;
	args->status = fault.status;
	return 0;
}
