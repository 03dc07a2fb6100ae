// SPDX-License-Identifier: GPL-2.0
/*
 * Address spaces that run without jobs: user queues, and submissions whose
 * accesses wait for pages. No use holds what they reach, so it may be pushed out.
 * Then the next access stops on a page that is absent, which is how a queue is
 * stopped; and all buffers of its address space are brought back as one working
 * set, as for a job. They stay for a while, so that two processes which both want
 * more than half take turns and each gets on.
 */

#include <linux/jiffies.h>
#include <linux/slab.h>

#include <drm/drm_exec.h>
#include <drm/drm_print.h>

#include "uvm_drv.h"

/* How long what was brought back is left alone. */
#define UVM_RESTORE_STAY_MS	20

static int uvm_restore_lock(struct drm_exec *exec, struct drm_gem_object **bos,
			    u32 nr)
{
	int ret;
	u32 i;

	drm_exec_until_all_locked(exec) {
		for (i = 0; i < nr; i++) {
			ret = drm_exec_lock_obj(exec, bos[i]);
			drm_exec_retry_on_contention(exec);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/* What page tables lack, for want of memory for them, as moves ended. */
static int uvm_restore_map(struct uvm_vm *vm, struct drm_gem_object **bos,
			   u32 nr)
{
	struct dma_fence *fence = NULL;
	struct drm_exec exec;
	int ret;

	drm_exec_init(&exec, DRM_EXEC_IGNORE_DUPLICATES, nr);
	ret = uvm_restore_lock(&exec, bos, nr);
	if (!ret)
		ret = uvm_bind_restore(vm, &exec, &fence);
	drm_exec_fini(&exec);
	dma_fence_put(fence);
	return ret;
}

/* All of it, or none: then why. */
static int uvm_restore_all(struct uvm_vm *vm, struct uvm_mm_use **use)
{
	struct drm_gem_object **bos = NULL;
	u32 i, nr = 0;
	u64 *ids;
	int ret;

	ret = uvm_bind_collect(vm, &bos, &nr);
	if (ret)
		return ret;
	ids = kvcalloc(max(nr, 1u), sizeof(*ids), GFP_KERNEL);
	if (!ids)
		ret = -ENOMEM;
	for (i = 0; i < nr && ids; i++)
		ids[i] = to_uvm_bo(bos[i])->policy_id;
	if (!ret && nr)
		*use = uvm_mm_use_set(vm->client, ids, nr, 0);
	kvfree(ids);
	if (IS_ERR(*use)) {
		ret = PTR_ERR(*use);
		*use = NULL;
	}
	if (!ret && nr)
		ret = uvm_restore_map(vm, bos, nr);
	for (i = 0; i < nr; i++)
		drm_gem_object_put(bos[i]);
	kvfree(bos);
	return ret;
}

/* Until it comes, or its queues are told that it does not. */
static void uvm_restore_try(struct uvm_vm *vm, struct uvm_mm_use **use)
{
	u32 fits;
	int ret;

	do {
		fits = READ_ONCE(vm->fits);
		/* Asked by what was answered since: its queues wait no more. */
		if (READ_ONCE(vm->nr_queues) && !uvm_mode_waits(vm))
			return;
		ret = uvm_restore_all(vm, use);
	} while (ret && !uvm_mode_set_unfit(vm, fits, ret));
	if (!ret)
		uvm_mode_set_fit(vm);
}

/*
 * Also ends what was brought back a while ago. Has a reference of its own. Waits
 * for processes' own memory that makes way, which no reclaim depends on: so it
 * is in no queue that must always get on.
 */
static void uvm_restore_work(struct work_struct *work)
{
	struct uvm_vm *vm = container_of(to_delayed_work(work), struct uvm_vm,
					 restore);
	struct uvm_mm_use *use = NULL;

	/* Not while waiting for the next: who is served before may wait for it. */
	uvm_mm_use_end(vm->restored);
	if (xchg(&vm->restore_wanted, false)) {
		uvm_restore_try(vm, &use);
		uvm_fault_tell_rest(vm);
	}
	vm->restored = use;
	/* If not, somebody asked meanwhile, and runs this with his reference. */
	if (use && queue_delayed_work(system_dfl_wq, &vm->restore,
				      msecs_to_jiffies(UVM_RESTORE_STAY_MS)))
		return;
	uvm_vm_put(vm);
}

/**
 * uvm_restore_init() - nothing was asked for
 * @vm: the address space
 */
void uvm_restore_init(struct uvm_vm *vm)
{
	INIT_DELAYED_WORK(&vm->restore, uvm_restore_work);
}

/**
 * uvm_restore_kick() - have all buffers of an address space brought back
 * @uvm: the device
 * @pasid: whose
 *
 * Context: any.
 */
void uvm_restore_kick(struct uvm_device *uvm, u32 pasid)
{
	struct uvm_vm *vm;

	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, pasid);
	if (vm && !vm->closed && kref_get_unless_zero(&vm->ref)) {
		WRITE_ONCE(vm->restore_wanted, true);
		/* What is pending has a reference. */
		if (mod_delayed_work(system_dfl_wq, &vm->restore, 0))
			uvm_vm_put(vm);
	}
	xa_unlock(&uvm->vms.by_pasid);
}

/**
 * uvm_restore_stop() - the process is gone: leave its buffers alone
 * @vm: the address space, or NULL
 */
void uvm_restore_stop(struct uvm_vm *vm)
{
	if (!vm)
		return;
	xa_lock(&vm->uvm->vms.by_pasid);
	vm->closed = true;
	xa_unlock(&vm->uvm->vms.by_pasid);
	if (cancel_delayed_work_sync(&vm->restore))
		uvm_vm_put(vm);
	uvm_mm_use_end(vm->restored);
	vm->restored = NULL;
}
