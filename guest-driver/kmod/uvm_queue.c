// SPDX-License-Identifier: GPL-2.0
/*
 * User queues: the RLC rings of the SDMA instances and the queues of the access
 * engine, each lent to a process.
 * A queue runs in the process's own VMID, which is reserved for as long as
 * there is one, and its packets lie in the process's own memory: the driver
 * sees none of them. So there is no fence either, and a buffer that moves
 * waits for no queue: while one is out of the page tables, accesses of queues
 * wait for it, and the first that does has it brought back.
 *
 * A doorbell is a call, because the transport carries doorbells in a queue of
 * the driver's and has no page of them that a process could map.
 */

#include <linux/log2.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/* What a queue holds its VMID by; above the numbers of the kernel's rings. */
#define UVM_QUEUE_RING(i)	(16 + (i))
#define UVM_QUEUE_BASE_ALIGN	256

/* A queue that nobody has, of an instance; the caller has it then. */
static struct uvm_queue *uvm_queue_claim(struct uvm_vm *vm, u32 engine)
{
	struct uvm_queues *queues = &vm->uvm->queues;
	struct uvm_queue *queue = NULL;
	u32 i;

	mutex_lock(&queues->lock);
	for (i = 0; i < UVM_NR_QUEUES; i++) {
		if (queues->queue[i].engine != engine || queues->queue[i].vm)
			continue;
		queue = &queues->queue[i];
		kref_get(&vm->ref);
		queue->vm = vm;
		queue->ready = false;
		break;
	}
	mutex_unlock(&queues->lock);
	return queue;
}

static void uvm_queue_unclaim(struct uvm_queue *queue)
{
	struct uvm_vm *vm = queue->vm;
	struct uvm_queues *queues = &vm->uvm->queues;

	mutex_lock(&queues->lock);
	queue->vm = NULL;
	mutex_unlock(&queues->lock);
	uvm_vm_put(vm);
}

static u32 uvm_queue_index(struct uvm_queue *queue)
{
	return queue - queue->vm->uvm->queues.queue;
}

/* With a ring claimed: a VMID with the tables in it, and the registers. */
static int uvm_queue_set_up(struct uvm_queue *queue)
{
	struct uvm_vm *vm = queue->vm;
	struct uvm_device *uvm = vm->uvm;
	struct uvm_policy_vmid_grant grant;
	int ret;

	ret = uvm_mode_reserve(vm);
	if (ret)
		return ret;
	ret = uvm_vmid_take(vm, UVM_QUEUE_RING(uvm_queue_index(queue)), &grant);
	if (ret)
		goto unreserve;
	queue->vmid = grant.vmid;
	queue->job = grant.job;
	uvm_mode_add_queue(vm, grant.vmid);
	uvm_queue_start(uvm, queue);
	queue->ready = true;
	return 0;

unreserve:
	uvm_mode_unreserve(vm);
	return ret;
}

/* Ends a queue, also of a device that went away. Config locked. */
static void uvm_queue_tear_down(struct uvm_queue *queue)
{
	struct uvm_vm *vm = queue->vm;
	struct uvm_device *uvm = vm->uvm;
	bool last;
	int idx;

	queue->ready = false;
	last = uvm_mode_remove_queue(vm);
	if (drm_dev_enter(&uvm->drm, &idx)) {
		uvm_queue_stop(uvm, queue);
		/* Of what only this one waited for. */
		uvm_fault_drop(uvm, vm->pasid);
		if (last)
			uvm_gmc_invalidate(uvm, BIT(queue->vmid), 0, U64_MAX);
		drm_dev_exit(idx);
	}
	uvm_vmid_give_back(uvm, queue->job);
	uvm_mode_unreserve(vm);
}

/**
 * uvm_queues_close() - end all queues of an address space
 * @uvm: the device
 * @vm: the address space, or NULL; no call of its process is under way
 */
void uvm_queues_close(struct uvm_device *uvm, struct uvm_vm *vm)
{
	struct uvm_queue *queue;
	bool mine;
	u32 i;

	if (!vm)
		return;
	mutex_lock(&vm->config_lock);
	for (i = 0; i < UVM_NR_QUEUES; i++) {
		queue = &uvm->queues.queue[i];
		mutex_lock(&uvm->queues.lock);
		mine = queue->vm == vm;
		mutex_unlock(&uvm->queues.lock);
		if (!mine)
			continue;
		uvm_queue_tear_down(queue);
		uvm_queue_unclaim(queue);
	}
	if (vm->keeps_vmid) {
		vm->keeps_vmid = false;
		uvm_mode_unreserve(vm);
	}
	mutex_unlock(&vm->config_lock);
}

/**
 * uvm_queues_init() - before anybody asks for one
 * @uvm: the device
 */
void uvm_queues_init(struct uvm_device *uvm)
{
	struct uvm_queue *queue;
	u32 i;

	mutex_init(&uvm->queues.lock);
	for (i = 0; i < UVM_NR_QUEUES; i++) {
		queue = &uvm->queues.queue[i];
		if (i >= UVM_SDMA_QUEUES) {
			queue->engine = UVM_ACCESS_ENGINE;
			queue->ring = i - UVM_SDMA_QUEUES;
			queue->doorbell = UVM_DOORBELL_ACCESS_Q0 + queue->ring;
			continue;
		}
		queue->engine = i / UVM_RLC_RINGS;
		queue->ring = UVM_RLC_FIRST + i % UVM_RLC_RINGS;
		queue->doorbell = UVM_DOORBELL_SDMA0_GFX +
				  queue->engine * UVM_DOORBELL_SDMA_SLOTS +
				  queue->ring;
	}
}

static bool uvm_engine_exists(struct uvm_device *uvm, u32 engine)
{
	if (engine == UVM_ACCESS_ENGINE)
		return uvm_has_access(uvm);
	return engine < uvm->nr_rings;
}

/**
 * uvm_queues_free() - how many queues nobody has
 * @uvm: the device
 * @access: of the access engine, else of SDMA
 *
 * Return: how many.
 */
u32 uvm_queues_free(struct uvm_device *uvm, bool access)
{
	u32 i, n = 0;

	mutex_lock(&uvm->queues.lock);
	for (i = 0; i < UVM_NR_QUEUES; i++)
		n += !uvm->queues.queue[i].vm &&
		     access == (i >= UVM_SDMA_QUEUES) &&
		     uvm_engine_exists(uvm, uvm->queues.queue[i].engine);
	mutex_unlock(&uvm->queues.lock);
	return n;
}

/**
 * uvm_queue_interrupt() - a vector of a user queue
 * @uvm: the device
 * @source: what happened
 *
 * Nobody waits for it: DRM_UVM_QUEUE_INFO looks at the ring itself.
 */
void uvm_queue_interrupt(struct uvm_device *uvm, u8 source)
{
	if (source == IH_SRC_SDMA_TRAP)
		atomic64_inc(&uvm->queues.traps);
	else if (source == IH_SRC_SDMA_ILLEGAL_INST)
		atomic64_inc(&uvm->queues.stops);
}

static bool uvm_queue_range_ok(struct uvm_device *uvm, u64 va, u64 size)
{
	u64 end = uvm_vm_size(uvm);

	return va < end && size <= end - va;
}

static int uvm_queue_check(struct uvm_device *uvm,
			   const struct drm_uvm_queue_create *args)
{
	if (args->flags || args->kind > UVM_QUEUE_ACCESS)
		return -EINVAL;
	/* There is one access engine. */
	if (args->ring >= (args->kind ? 1 : uvm->nr_rings))
		return -EINVAL;
	if (args->kind && !uvm_has_access(uvm))
		return -EOPNOTSUPP;
	if (!is_power_of_2(args->ring_size) ||
	    args->ring_size < UVM_QUEUE_MIN_BYTES ||
	    args->ring_size > UVM_QUEUE_MAX_BYTES ||
	    !IS_ALIGNED(args->ring_va, UVM_QUEUE_BASE_ALIGN) ||
	    !uvm_queue_range_ok(uvm, args->ring_va, args->ring_size))
		return -EINVAL;
	if (!IS_ALIGNED(args->rptr_va, sizeof(u64)) ||
	    !uvm_queue_range_ok(uvm, args->rptr_va, sizeof(u64)))
		return -EINVAL;
	return 0;
}

/**
 * uvm_ioctl_queue_create() - DRM_UVM_QUEUE_CREATE
 * @drm: the device
 * @data: struct drm_uvm_queue_create
 * @file: the caller
 *
 * Waits its turn for a VMID when all are in use.
 *
 * Return: 0, -EINVAL, -EOPNOTSUPP where the device has no such engine, -EBUSY
 * when the engine has no queue left, -ENOSPC when no further VMID may be
 * reserved, -EPERM when it would reach the memory of another process, -ENOMEM,
 * -ETIMEDOUT, -ENODEV, -ERESTARTSYS.
 */
int uvm_ioctl_queue_create(struct drm_device *drm, void *data,
			   struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_uvm_queue_create *args = data;
	struct uvm_queue *queue;
	struct uvm_vm *vm;
	u32 engine;
	int idx, ret;

	ret = uvm_queue_check(uvm, args);
	if (ret)
		return ret;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	vm = uvm_file_vm(uvm, file->driver_priv);
	if (IS_ERR(vm)) {
		ret = PTR_ERR(vm);
		goto exit;
	}
	ret = uvm_svm_may_use(vm) ?:
	      mutex_lock_interruptible(&vm->config_lock);
	if (ret)
		goto exit;
	engine = args->kind ? UVM_ACCESS_ENGINE : args->ring;
	queue = uvm_queue_claim(vm, engine);
	if (!queue) {
		ret = -EBUSY;
		goto unlock;
	}
	queue->base = args->ring_va;
	queue->size = args->ring_size;
	queue->rptr_va = args->rptr_va;
	queue->wptr = 0;
	ret = uvm_queue_set_up(queue);
	if (ret)
		uvm_queue_unclaim(queue);
	else
		args->id = uvm_queue_index(queue) + 1;
unlock:
	mutex_unlock(&vm->config_lock);
exit:
	drm_dev_exit(idx);
	return ret;
}

/* The caller's queue, with the config lock of its address space; or NULL. */
static struct uvm_queue *uvm_queue_get(struct drm_device *drm,
				       struct drm_file *file, u32 id)
{
	struct uvm_queues *queues = &to_uvm(drm)->queues;
	struct uvm_file *ufile = file->driver_priv;
	struct uvm_queue *queue;
	struct uvm_vm *vm;
	bool mine;

	if (!id || id > UVM_NR_QUEUES)
		return NULL;
	mutex_lock(&ufile->submit_lock);
	vm = ufile->vm;
	mutex_unlock(&ufile->submit_lock);
	if (!vm)
		return NULL;
	queue = &queues->queue[id - 1];
	mutex_lock(&vm->config_lock);
	mutex_lock(&queues->lock);
	mine = queue->vm == vm && queue->ready;
	mutex_unlock(&queues->lock);
	if (mine)
		return queue;
	mutex_unlock(&vm->config_lock);
	return NULL;
}

static void uvm_queue_put(struct uvm_queue *queue)
{
	mutex_unlock(&queue->vm->config_lock);
}

/**
 * uvm_ioctl_queue_destroy() - DRM_UVM_QUEUE_DESTROY
 * @drm: the device
 * @data: struct drm_uvm_queue_destroy
 * @file: the caller
 *
 * Return: 0, -EINVAL, -ENOENT.
 */
int uvm_ioctl_queue_destroy(struct drm_device *drm, void *data,
			    struct drm_file *file)
{
	const struct drm_uvm_queue_destroy *args = data;
	struct uvm_queue *queue;
	struct uvm_vm *vm;

	if (args->pad)
		return -EINVAL;
	queue = uvm_queue_get(drm, file, args->id);
	if (!queue)
		return -ENOENT;
	vm = queue->vm;
	uvm_queue_tear_down(queue);
	uvm_queue_unclaim(queue);
	/* The file's reference is still there. */
	mutex_unlock(&vm->config_lock);
	return 0;
}

/**
 * uvm_ioctl_queue_kick() - DRM_UVM_QUEUE_KICK
 * @drm: the device
 * @data: struct drm_uvm_queue_kick
 * @file: the caller
 *
 * A write pointer that makes no sense stops the queue, and no other.
 *
 * Return: 0, -EINVAL, -ENOENT, -EPERM as when it is made, -EIO when doorbells do
 * not move, -ENODEV.
 */
int uvm_ioctl_queue_kick(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	const struct drm_uvm_queue_kick *args = data;
	struct uvm_queue *queue;
	int idx, ret = 0;

	if (args->flags & ~UVM_QUEUE_RESET ||
	    !IS_ALIGNED(args->wptr, sizeof(u32)))
		return -EINVAL;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	queue = uvm_queue_get(drm, file, args->id);
	if (!queue) {
		ret = -ENOENT;
		goto exit;
	}
	ret = uvm_svm_may_use(queue->vm);
	if (ret)
		goto put;
	if (args->flags & UVM_QUEUE_RESET) {
		uvm_queue_stop(uvm, queue);
		queue->wptr = args->wptr;
		uvm_fault_drop(uvm, queue->vm->pasid);
		uvm_mode_set_fit(queue->vm);
		uvm_queue_start(uvm, queue);
	} else {
		queue->wptr = args->wptr;
		ret = uvm_queue_ring(uvm, queue) ? 0 : -EIO;
	}
put:
	uvm_queue_put(queue);
exit:
	drm_dev_exit(idx);
	return ret;
}

/**
 * uvm_ioctl_queue_info() - DRM_UVM_QUEUE_INFO
 * @drm: the device
 * @data: struct drm_uvm_queue_info
 * @file: the caller
 *
 * Return: 0, -ENOENT, -ENODEV.
 */
int uvm_ioctl_queue_info(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_uvm_queue_info *args = data;
	struct uvm_queue *queue;
	int idx, ret = 0;

	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	queue = uvm_queue_get(drm, file, args->id);
	if (!queue) {
		ret = -ENOENT;
		goto exit;
	}
	uvm_queue_look(uvm, queue, args);
	uvm_queue_put(queue);
	/* Who is told of a fault may ask which. */
	if (args->cause == UVM_QUEUE_CAUSE_FAULT)
		uvm_ih_flush(uvm);
exit:
	drm_dev_exit(idx);
	return ret;
}
