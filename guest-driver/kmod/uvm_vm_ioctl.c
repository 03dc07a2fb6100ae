// SPDX-License-Identifier: GPL-2.0
/*
 * What user space asks of its address space.
 *
 * A bind with syncobjs is planned and queued; without, it is waited for as well
 * (see uvm_bind.c).
 */

#include <linux/string.h>
#include <linux/uaccess.h>

#include <drm/drm_print.h>
#include <drm/drm_syncobj.h>

#include "uvm_drv.h"

#define UVM_VM_ACCESS	(UVM_VM_READ | UVM_VM_WRITE | UVM_VM_EXECUTE)
#define UVM_VM_FLAGS	(UVM_VM_ACCESS | UVM_VM_SNOOPED | UVM_VM_TMZ | \
			 UVM_VM_REPLACE)
#define UVM_MTYPE_MAX	3u

static int uvm_bind_check(struct uvm_device *uvm,
			  const struct drm_uvm_vm_bind *args)
{
	u64 size = uvm_vm_size(uvm);

	if (args->in_sync_count > UVM_MAX_SYNCS ||
	    args->out_sync_count > UVM_MAX_SYNCS)
		return -EINVAL;
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
		vm = uvm_vm_create(uvm, ufile->client);
		if (!IS_ERR(vm))
			ufile->vm = vm;
	}
	mutex_unlock(&ufile->submit_lock);
	return vm;
}

static int uvm_bind_bo(struct uvm_vm *vm, struct uvm_bind *bind,
		       const struct drm_uvm_vm_bind *args,
		       struct drm_file *file, struct dma_fence **fence)
{
	struct uvm_file *ufile = file->driver_priv;
	struct uvm_mm_use *use = NULL;
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
	/* What runs already is to find it there. */
	if (!bo->mm.deferred)
		use = uvm_mm_use_set(ufile->client, &bo->policy_id, 1, 0);
	if (IS_ERR(use)) {
		ret = PTR_ERR(use);
		goto put;
	}
	ret = dma_resv_lock_interruptible(obj->resv, NULL);
	if (ret)
		goto end;
	ret = uvm_bind_do(vm, bind, args, bo, fence);
	dma_resv_unlock(obj->resv);
	if (!ret && use && uvm_late_keep(vm, use))
		use = NULL;
end:
	uvm_mm_use_end(use);
put:
	drm_gem_object_put(obj);
	return ret;
}

/* What has to be done before. */
static int uvm_bind_find_in(const struct drm_uvm_vm_bind *args,
			    struct drm_file *file, struct uvm_bind *bind)
{
	u32 *handles, i;
	int ret = 0;

	if (!args->in_sync_count)
		return 0;
	bind->wait = kvcalloc(args->in_sync_count, sizeof(*bind->wait),
			      GFP_KERNEL_ACCOUNT);
	if (!bind->wait)
		return -ENOMEM;
	handles = vmemdup_array_user(u64_to_user_ptr(args->in_syncs),
				     args->in_sync_count, sizeof(*handles));
	if (IS_ERR(handles))
		return PTR_ERR(handles);
	for (i = 0; i < args->in_sync_count && !ret; i++) {
		ret = drm_syncobj_find_fence(file, handles[i], 0, 0,
					     &bind->wait[i]);
		bind->nr_wait += !ret;
	}
	kvfree(handles);
	return ret;
}

/* A bind of an address space that mirrors memory does not wait: its caller does. */
static int uvm_bind_wait_in(struct uvm_bind *bind)
{
	int ret;

	for (; bind->nr_wait; bind->nr_wait--) {
		ret = dma_fence_wait(bind->wait[bind->nr_wait - 1], true);
		if (ret)
			return ret;
		dma_fence_put(bind->wait[bind->nr_wait - 1]);
	}
	return 0;
}

/* All are there before anything is changed. */
static int uvm_bind_find_out(const struct drm_uvm_vm_bind *args,
			     struct drm_file *file, struct drm_syncobj **out,
			     u32 *nr_out)
{
	u32 *handles, i;
	int ret = 0;

	handles = vmemdup_array_user(u64_to_user_ptr(args->out_syncs),
				     args->out_sync_count, sizeof(*handles));
	if (IS_ERR(handles))
		return PTR_ERR(handles);
	for (i = 0; i < args->out_sync_count; i++) {
		out[i] = drm_syncobj_find(file, handles[i]);
		if (!out[i]) {
			ret = -ENOENT;
			break;
		}
		(*nr_out)++;
	}
	kvfree(handles);
	return ret;
}

/* Plans and queues. */
static int uvm_bind_submit(struct uvm_vm *vm,
			   const struct drm_uvm_vm_bind *args,
			   struct drm_file *file, struct dma_fence **fence)
{
	struct uvm_bind *bind;
	int ret;

	ret = uvm_bind_room(vm);
	if (ret)
		return ret;
	bind = uvm_bind_alloc();
	if (!bind)
		return -ENOMEM;
	ret = uvm_bind_find_in(args, file, bind);
	if (!ret && READ_ONCE(vm->svm))
		ret = uvm_bind_wait_in(bind);
	if (!ret && args->op == UVM_VM_OP_MAP)
		ret = uvm_bind_bo(vm, bind, args, file, fence);
	else if (!ret)
		ret = uvm_bind_do(vm, bind, args, NULL, fence);
	if (ret)
		uvm_bind_discard(bind);
	return ret;
}

/**
 * uvm_ioctl_vm_bind() - DRM_UVM_VM_BIND
 * @drm: the device
 * @data: struct drm_uvm_vm_bind
 * @file: the caller
 *
 * With syncobjs, returns once the change is queued: the out-syncobjs signal
 * when it is made, or with an error when it could not be. Without, it is made
 * when this returns, behind what is queued.
 *
 * Return: 0, -EINVAL, -EFAULT, -ENOENT, -EEXIST when something is mapped there and was
 * not to be replaced, -ENOSPC without VRAM for tables or with too many
 * mappings, -ENOMEM, -EIO when the address space is lost, -ENODEV, -ERESTARTSYS
 * when nothing has changed, -EINTR when the caller was killed.
 */
int uvm_ioctl_vm_bind(struct drm_device *drm, void *data,
		      struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_uvm_vm_bind *args = data;
	struct drm_syncobj **out = NULL;
	struct dma_fence *fence = NULL;
	struct uvm_vm *vm = NULL;
	u32 i, nr_out = 0;
	int idx, ret;

	ret = uvm_bind_check(uvm, args);
	if (ret)
		return ret;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	if (args->out_sync_count) {
		out = kvcalloc(args->out_sync_count, sizeof(*out), GFP_KERNEL);
		ret = out ? uvm_bind_find_out(args, file, out, &nr_out) :
			    -ENOMEM;
	}
	if (!ret) {
		vm = uvm_file_vm(uvm, file->driver_priv);
		ret = PTR_ERR_OR_ZERO(vm);
	}
	if (!ret)
		ret = uvm_bind_submit(vm, args, file, &fence);
	drm_dev_exit(idx);

	for (i = 0; i < nr_out; i++) {
		if (!ret)
			drm_syncobj_replace_fence(out[i], fence);
		drm_syncobj_put(out[i]);
	}
	kvfree(out);
	/* Outside, as the device may go while this waits. */
	if (!ret && (args->in_sync_count || args->out_sync_count))
		uvm_bind_kick(vm);
	else if (!ret)
		ret = uvm_bind_wait(vm, fence);
	dma_fence_put(fence);
	return ret;
}

/* The address space of a file, if it has used one yet. */
static struct uvm_vm *uvm_file_vm_peek(struct uvm_file *ufile)
{
	struct uvm_vm *vm;

	mutex_lock(&ufile->submit_lock);
	vm = ufile->vm;
	mutex_unlock(&ufile->submit_lock);
	return vm;
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
	struct uvm_vm *vm = uvm_file_vm_peek(file->driver_priv);
	struct drm_uvm_fault_query *args = data;
	struct uvm_vm_fault fault = {};

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

/**
 * uvm_ioctl_hang_query() - DRM_UVM_HANG_QUERY
 * @drm: the device
 * @data: struct drm_uvm_hang_query
 * @file: the caller
 *
 * Return: 0, -EINVAL.
 */
int uvm_ioctl_hang_query(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct uvm_vm *vm = uvm_file_vm_peek(file->driver_priv);
	struct drm_uvm_hang_query *args = data;
	struct uvm_vm_hang hang = {};

	if (vm) {
		spin_lock(&vm->fault_lock);
		swap(hang, vm->hang);
		spin_unlock(&vm->fault_lock);
	}
	args->count = hang.count;
	args->va = hang.va;
	args->ring = hang.ring;
	args->error = -hang.error;
	return 0;
}
