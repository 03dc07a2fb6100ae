// SPDX-License-Identifier: GPL-2.0
/*
 * How an address space is run: whether it has a VMID of its own, and whether
 * accesses to pages that are not there wait or fail.
 *
 * They wait where the process asked for it; and those of its queues also for
 * as long as one of its buffers is out of the page tables. A queue has no fence
 * that a move could wait for: to take the page away is how it is stopped, and
 * uvm_restore.c brings it back.
 */

#include <drm/drm_print.h>

#include "uvm_drv.h"

/**
 * uvm_mode_reserve() - reserve a VMID, as the first who needs it
 * @vm: the address space, its config_lock held
 *
 * Context: within drm_dev_enter().
 * Return: as uvm_vmid_reserve().
 */
int uvm_mode_reserve(struct uvm_vm *vm)
{
	if (vm->nr_queues || vm->keeps_vmid)
		return 0;
	return uvm_vmid_reserve(vm);
}

/**
 * uvm_mode_unreserve() - give it up, as the last who needed it
 * @vm: the address space, its config_lock held
 */
void uvm_mode_unreserve(struct uvm_vm *vm)
{
	if (!vm->nr_queues && !vm->keeps_vmid)
		uvm_vmid_unreserve(vm);
}

/* The mode of its VMID, which was changed. Mode locked. */
static void uvm_mode_apply(struct uvm_vm *vm)
{
	int idx;

	lockdep_assert_held(&vm->mode_lock);
	if (!vm->nr_queues || !drm_dev_enter(&vm->uvm->drm, &idx))
		return;
	uvm_gmc_retry(vm->uvm, vm->queue_vmid, vm);
	drm_dev_exit(idx);
}

/**
 * uvm_mode_add_queue() - an address space has one queue more
 * @vm: the address space
 * @vmid: where it is to run
 *
 * From here on, its pages that go for a while are waited for.
 * Context: within drm_dev_enter().
 */
void uvm_mode_add_queue(struct uvm_vm *vm, u32 vmid)
{
	mutex_lock(&vm->mode_lock);
	WRITE_ONCE(vm->nr_queues, vm->nr_queues + 1);
	vm->queue_vmid = vmid;
	uvm_mode_apply(vm);
	mutex_unlock(&vm->mode_lock);
}

/**
 * uvm_mode_remove_queue() - an address space has one queue less
 * @vm: the address space
 *
 * Return: whether it was the last.
 */
bool uvm_mode_remove_queue(struct uvm_vm *vm)
{
	bool last;

	mutex_lock(&vm->mode_lock);
	WRITE_ONCE(vm->nr_queues, vm->nr_queues - 1);
	last = !vm->nr_queues;
	mutex_unlock(&vm->mode_lock);
	return last;
}

/**
 * uvm_mode_set_retry() - let accesses of an address space wait or fail
 * @vm: the address space
 * @retry: wait
 *
 * Takes effect for its queues at once, and for each job that comes.
 */
void uvm_mode_set_retry(struct uvm_vm *vm, bool retry)
{
	struct uvm_device *uvm = vm->uvm;

	mutex_lock(&vm->mode_lock);
	if (vm->retry != retry)
		atomic_add(retry ? 1 : -1, &uvm->retry.patient);
	WRITE_ONCE(vm->retry, retry);
	uvm_mode_apply(vm);
	mutex_unlock(&vm->mode_lock);
	/* What waits fails now; if it is to wait after all, it says so again. */
	if (!retry)
		uvm_fault_drop(uvm, vm->pasid);
}

/**
 * uvm_mode_give_up() - no page comes any more
 * @vm: the address space
 *
 * What waits fails now, jobs that run already as well.
 */
void uvm_mode_give_up(struct uvm_vm *vm)
{
	struct uvm_device *uvm = vm->uvm;
	int idx;

	mutex_lock(&vm->mode_lock);
	if (vm->retry)
		atomic_dec(&uvm->retry.patient);
	WRITE_ONCE(vm->retry, false);
	if (drm_dev_enter(&uvm->drm, &idx)) {
		uvm_gmc_retry_loaded(uvm, vm);
		drm_dev_exit(idx);
	}
	mutex_unlock(&vm->mode_lock);
	uvm_fault_drop(uvm, vm->pasid);
}

/**
 * uvm_mode_hold() - a page of an address space goes for a while
 * @vm: the address space, its run_lock held; the tables still have the page
 *
 * Until uvm_mode_unhold(), accesses of its queues wait instead of failing.
 * Context: within drm_dev_enter(), on the way to signalling a fence.
 */
void uvm_mode_hold(struct uvm_vm *vm)
{
	lockdep_assert_held(&vm->run_lock);
	mutex_lock(&vm->mode_lock);
	if (!vm->held) {
		WRITE_ONCE(vm->held, true);
		uvm_mode_apply(vm);
	}
	mutex_unlock(&vm->mode_lock);
}

/**
 * uvm_mode_waits() - whether accesses to pages that are not there wait
 * @vm: the address space
 *
 * Return: whether.
 */
bool uvm_mode_waits(const struct uvm_vm *vm)
{
	return READ_ONCE(vm->retry) ||
	       (READ_ONCE(vm->held) && READ_ONCE(vm->nr_queues) &&
		!READ_ONCE(vm->unfit));
}

/* Returns whether what waited is to fail now. Mode locked. */
static bool uvm_mode_change_fit(struct uvm_vm *vm, bool fit)
{
	lockdep_assert_held(&vm->mode_lock);
	if (vm->unfit == fit) {
		WRITE_ONCE(vm->unfit, !fit);
		uvm_mode_apply(vm);
	}
	return !uvm_mode_waits(vm);
}

/**
 * uvm_mode_set_fit() - absent pages of an address space come back
 * @vm: the address space
 */
void uvm_mode_set_fit(struct uvm_vm *vm)
{
	bool drop;

	mutex_lock(&vm->mode_lock);
	WRITE_ONCE(vm->fits, vm->fits + 1);
	drop = uvm_mode_change_fit(vm, true);
	mutex_unlock(&vm->mode_lock);
	if (drop)
		uvm_fault_drop(vm->uvm, vm->pasid);
}

/**
 * uvm_mode_set_unfit() - its queues do not wait for absent pages any more
 * @vm: the address space
 * @fits: its count, from before bringing them back was tried
 * @error: why they do not come, negative
 *
 * Return: false, and nothing was done, if a queue was reset meanwhile: its
 * process may have made room first.
 */
bool uvm_mode_set_unfit(struct uvm_vm *vm, u32 fits, int error)
{
	bool same, drop = false;

	mutex_lock(&vm->mode_lock);
	same = vm->fits == fits;
	if (same) {
		dev_warn_ratelimited(vm->uvm->drm.dev,
				     "PASID %u: its buffers do not come back: %d\n",
				     vm->pasid, error);
		drop = uvm_mode_change_fit(vm, false);
	}
	mutex_unlock(&vm->mode_lock);
	if (drop)
		uvm_fault_drop(vm->uvm, vm->pasid);
	return same;
}

/**
 * uvm_mode_unhold() - all pages of an address space are back
 * @vm: the address space, its run_lock held; the tables have what is mapped
 *
 * Context: within drm_dev_enter(), on the way to signalling a fence.
 */
void uvm_mode_unhold(struct uvm_vm *vm)
{
	bool drop = false;

	lockdep_assert_held(&vm->run_lock);
	mutex_lock(&vm->mode_lock);
	if (vm->held) {
		WRITE_ONCE(vm->held, false);
		uvm_mode_apply(vm);
		/* What waited for a page that is nowhere fails now. */
		drop = !vm->retry;
	}
	mutex_unlock(&vm->mode_lock);
	if (drop)
		uvm_fault_drop(vm->uvm, vm->pasid);
}

/**
 * uvm_ioctl_vm_config() - DRM_UVM_VM_CONFIG
 * @drm: the device
 * @data: struct drm_uvm_vm_config
 * @file: the caller
 *
 * Waits its turn for a VMID when all are in use.
 *
 * Return: 0, -EINVAL, -ENOSPC when no further VMID may be reserved, -ENOMEM,
 * -ENODEV, -ERESTARTSYS; it has changed nothing then.
 */
int uvm_ioctl_vm_config(struct drm_device *drm, void *data,
			struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	const struct drm_uvm_vm_config *args = data;
	bool keep = args->flags & UVM_VM_CONFIG_RESERVE_VMID;
	bool retry = args->flags & UVM_VM_CONFIG_RETRY;
	struct uvm_vm *vm;
	int idx, ret;

	if (args->pad || args->flags & ~(UVM_VM_CONFIG_RETRY |
					 UVM_VM_CONFIG_RESERVE_VMID))
		return -EINVAL;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	vm = uvm_file_vm(uvm, file->driver_priv);
	if (IS_ERR(vm)) {
		ret = PTR_ERR(vm);
		goto exit;
	}
	ret = mutex_lock_interruptible(&vm->config_lock);
	if (ret)
		goto exit;
	if (keep)
		ret = uvm_mode_reserve(vm);
	if (ret)
		goto unlock;
	if (vm->keeps_vmid && !keep) {
		vm->keeps_vmid = false;
		uvm_mode_unreserve(vm);
	}
	vm->keeps_vmid = keep;

	uvm_mode_set_retry(vm, retry || vm->svm);
unlock:
	mutex_unlock(&vm->config_lock);
exit:
	drm_dev_exit(idx);
	return ret;
}
