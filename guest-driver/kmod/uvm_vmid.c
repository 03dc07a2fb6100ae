// SPDX-License-Identifier: GPL-2.0
/*
 * VMIDs 1 to 15: a job borrows one of its address space before it runs and
 * gives it back when it has ended. The policy decides who gets which, and
 * what has to be loaded and flushed.
 *
 * A job that gets none waits for a fence that signals with the next event
 * about VMIDs, and asks again; the policy keeps the queue.
 */

#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/* The SDMA engines are clients of the MM hub. */
#define UVM_HUBS_MM		BIT(1)

/**
 * struct uvm_poke - signals that VMIDs have changed hands
 * @base: the fence
 * @lock: of @base
 */
struct uvm_poke {
	struct dma_fence base;
	spinlock_t lock;
};

static const char *uvm_poke_driver_name(struct dma_fence *base)
{
	return "uvm";
}

static const char *uvm_poke_timeline_name(struct dma_fence *base)
{
	return "vmid";
}

/* No release and no wait, as uvm_fence_ops. */
static const struct dma_fence_ops uvm_poke_ops = {
	.get_driver_name = uvm_poke_driver_name,
	.get_timeline_name = uvm_poke_timeline_name,
};

/* A reference to the fence that the next event signals. Policy locked. */
static struct dma_fence *uvm_poke_get(struct uvm_vms *vms)
{
	struct uvm_poke *poke;

	if (!vms->poke) {
		poke = kzalloc(sizeof(*poke), GFP_KERNEL);
		if (!poke)
			return NULL;
		spin_lock_init(&poke->lock);
		dma_fence_init(&poke->base, &uvm_poke_ops, &poke->lock,
			       vms->poke_context, ++vms->poke_seqno);
		vms->poke = &poke->base;
	}
	return dma_fence_get(vms->poke);
}

/* Takes the fence that waiters have, for uvm_poke(). Policy locked. */
static struct dma_fence *uvm_poke_take(struct uvm_vms *vms)
{
	struct dma_fence *poke = vms->poke;

	vms->poke = NULL;
	return poke;
}

static void uvm_poke(struct dma_fence *poke)
{
	if (!poke)
		return;
	dma_fence_signal(poke);
	dma_fence_put(poke);
}

/* Gives back what the job has, or its place in the queue. Once is enough. */
static void uvm_vmid_release(struct uvm_job *job)
{
	struct uvm_device *uvm = job->ring->uvm;
	struct dma_fence *poke = NULL;
	unsigned int flags;

	flags = uvm_policy_begin(uvm);
	if (job->grant.job) {
		uvm_policy_vmid_signalled(uvm->policy, job->grant.job);
		job->grant.job = 0;
		poke = uvm_poke_take(&uvm->vms);
	} else if (job->waiting) {
		uvm_policy_vmid_give_up(uvm->policy, job->vm->id);
		poke = uvm_poke_take(&uvm->vms);
	}
	job->waiting = false;
	uvm_policy_end(uvm, flags);
	uvm_poke(poke);
}

static void uvm_vmid_work(struct work_struct *work)
{
	uvm_vmid_release(container_of(work, struct uvm_job, release));
}

/* The policy's lock sleeps; this may be called from an interrupt. */
static void uvm_vmid_done(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct uvm_job *job = container_of(cb, struct uvm_job, done);

	queue_work(job->ring->uvm->vms.wq, &job->release);
}

/**
 * uvm_vmid_init_job() - before anything else is done about its VMID
 * @job: the job
 */
void uvm_vmid_init_job(struct uvm_job *job)
{
	INIT_WORK(&job->release, uvm_vmid_work);
}

/**
 * uvm_vmid_fini_job() - after the job has ended, or will never run
 * @job: the job
 *
 * Context: may sleep.
 */
void uvm_vmid_fini_job(struct uvm_job *job)
{
	if (!job->vm)
		return;
	if (job->done_added)
		dma_fence_remove_callback(&job->base.s_fence->finished,
					  &job->done);
	cancel_work_sync(&job->release);
	uvm_vmid_release(job);
}

/* How many others were served while the job waited. Policy locked. */
static void uvm_vmid_count(struct uvm_vms *vms, const struct uvm_job *job)
{
	if (job->waiting) {
		vms->waits++;
		vms->longest_wait = max(vms->longest_wait,
					vms->grants - job->waiting_since);
	}
	vms->grants++;
}

/**
 * uvm_vmid_prepare() - get a VMID for a job
 * @job: the job, about to run
 *
 * Return: what to wait for before asking again, or NULL: there is one, or
 * @job->error says why there will be none.
 */
struct dma_fence *uvm_vmid_prepare(struct uvm_job *job)
{
	struct uvm_device *uvm = job->ring->uvm;
	struct dma_fence *wait = NULL, *poke = NULL;
	struct uvm_policy_vmid_request request = {
		.fence = (uintptr_t)job,
		.ring = job->ring->index,
		.hubs = UVM_HUBS_MM,
	};
	unsigned int flags;
	int ret;

	if (!job->vm || job->grant.job || job->error)
		return NULL;
	request.vm = job->vm->id;
	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_vmid_grab(uvm->policy, &request, &job->grant);
	switch (ret) {
	case 0:
		uvm_vmid_count(&uvm->vms, job);
		job->waiting = false;
		poke = uvm_poke_take(&uvm->vms);
		break;
	case -EBUSY:
		job->grant.job = 0;
		if (!job->waiting)
			job->waiting_since = uvm->vms.grants;
		job->waiting = true;
		wait = uvm_poke_get(&uvm->vms);
		job->error = wait ? 0 : -ENOMEM;
		break;
	default:
		job->grant.job = 0;
		job->error = ret;
	}
	uvm_policy_end(uvm, flags);
	uvm_poke(poke);
	if (ret)
		return wait;

	/* Killed meanwhile: uvm_vmid_fini_job() comes. */
	job->done_added = !dma_fence_add_callback(&job->base.s_fence->finished,
						  &job->done, uvm_vmid_done);
	return NULL;
}

/* Root, mode and flush, as the grant asks for. */
static int uvm_vmid_ready(struct uvm_vm *vm,
			  const struct uvm_policy_vmid_grant *grant)
{
	struct uvm_device *uvm = vm->uvm;
	unsigned int flags;
	int ret = 0;

	if (grant->load & UVM_HUBS_MM)
		uvm_gmc_load(uvm, grant->vmid, grant->root, vm);
	else
		uvm_gmc_retry(uvm, grant->vmid, vm);
	if (grant->flush & UVM_HUBS_MM)
		ret = uvm_gmc_invalidate(uvm, BIT(grant->vmid), 0, U64_MAX);
	if (ret)
		return ret;
	flags = uvm_policy_begin(uvm);
	uvm_policy_vmid_submitted(uvm->policy, grant->job, 1);
	uvm_policy_end(uvm, flags);
	return 0;
}

/**
 * uvm_vmid_load() - make the job's VMID ready for it
 * @job: the job, with a VMID; it goes to its ring next
 *
 * Context: within drm_dev_enter().
 * Return: 0 or -ETIMEDOUT.
 */
int uvm_vmid_load(struct uvm_job *job)
{
	return uvm_vmid_ready(job->vm, &job->grant);
}

/**
 * uvm_vmid_reserve() - give an address space a VMID of its own
 * @vm: the address space
 *
 * Waits its turn among those who want one. Context: within drm_dev_enter().
 *
 * Return: 0, -ENOSPC when no further one may be reserved, -ENOMEM,
 * -ERESTARTSYS.
 */
int uvm_vmid_reserve(struct uvm_vm *vm)
{
	struct uvm_device *uvm = vm->uvm;
	struct dma_fence *wait, *poke;
	unsigned int flags;
	u32 vmid;
	int ret;

	do {
		flags = uvm_policy_begin(uvm);
		ret = uvm_policy_vmid_reserve(uvm->policy, vm->id, &vmid);
		wait = ret == -EBUSY ? uvm_poke_get(&uvm->vms) : NULL;
		/* The pool is another: those who wait ask again. */
		poke = wait ? NULL : uvm_poke_take(&uvm->vms);
		uvm_policy_end(uvm, flags);
		uvm_poke(poke);
		if (ret != -EBUSY)
			return ret;
		ret = wait ? dma_fence_wait(wait, true) : -ENOMEM;
		dma_fence_put(wait);
	} while (!ret);

	flags = uvm_policy_begin(uvm);
	uvm_policy_vmid_give_up(uvm->policy, vm->id);
	poke = uvm_poke_take(&uvm->vms);
	uvm_policy_end(uvm, flags);
	uvm_poke(poke);
	return ret;
}

/**
 * uvm_vmid_unreserve() - put it back
 * @vm: the address space, with a reserved VMID
 */
void uvm_vmid_unreserve(struct uvm_vm *vm)
{
	struct uvm_device *uvm = vm->uvm;
	struct dma_fence *poke;
	unsigned int flags;

	flags = uvm_policy_begin(uvm);
	uvm_policy_vmid_unreserve(uvm->policy, vm->id);
	poke = uvm_poke_take(&uvm->vms);
	uvm_policy_end(uvm, flags);
	uvm_poke(poke);
}

/**
 * uvm_vmid_take() - use the reserved VMID for something that is no job
 * @vm: the address space, with a reserved VMID
 * @ring: a number of the caller's among rings
 * @grant: out: the VMID, ready, until uvm_vmid_give_back() of its job
 *
 * Context: within drm_dev_enter().
 * Return: 0, -ENOMEM, -ETIMEDOUT.
 */
int uvm_vmid_take(struct uvm_vm *vm, u32 ring,
		  struct uvm_policy_vmid_grant *grant)
{
	struct uvm_device *uvm = vm->uvm;
	const struct uvm_policy_vmid_request request = {
		.vm = vm->id,
		.fence = (uintptr_t)vm,
		.ring = ring,
		.hubs = UVM_HUBS_MM,
	};
	unsigned int flags;
	int ret;

	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_vmid_grab(uvm->policy, &request, grant);
	if (ret)
		uvm_policy_vmid_give_up(uvm->policy, vm->id);
	uvm_policy_end(uvm, flags);
	if (ret)
		return ret;
	ret = uvm_vmid_ready(vm, grant);
	if (ret)
		uvm_vmid_give_back(uvm, grant->job);
	return ret;
}

/**
 * uvm_vmid_give_back() - end a use of a VMID
 * @uvm: the device
 * @job: of the grant
 */
void uvm_vmid_give_back(struct uvm_device *uvm, u64 job)
{
	struct dma_fence *poke;
	unsigned int flags;

	flags = uvm_policy_begin(uvm);
	uvm_policy_vmid_signalled(uvm->policy, job);
	poke = uvm_poke_take(&uvm->vms);
	uvm_policy_end(uvm, flags);
	uvm_poke(poke);
}
