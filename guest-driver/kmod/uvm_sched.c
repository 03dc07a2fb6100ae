// SPDX-License-Identifier: GPL-2.0
/*
 * Jobs: the scheduler waits for what a job depends on, gives it to its ring,
 * and notices when it never ends.
 */

#include <linux/jiffies.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

#define CREATE_TRACE_POINTS
#include "uvm_trace.h"

/* Jobs on a ring at once: 32 dwords each fill a quarter of it. */
#define UVM_RING_JOBS		128
/* Less would punish jobs for a busy host. */
#define UVM_MIN_TIMEOUT_MS	100u

static void uvm_job_put_parts(struct uvm_job *job)
{
	u32 i;

	for (i = 0; i < job->nr_bos; i++)
		drm_gem_object_put(job->bos[i]);
	kvfree(job->bos);
	uvm_mm_use_end(job->use);
	uvm_late_end(job);
	uvm_vm_put(job->vm);
	uvm_busy_put(job->busy);
	if (job->ib)
		drm_suballoc_free(job->ib, NULL);
	/* The ring has emitted it and counts references, or never saw it. */
	if (job->fence && job->fence->ring)
		dma_fence_put(&job->fence->base);
	else
		kfree(job->fence);
	kfree(job);
}

/**
 * uvm_job_alloc() - a job
 * @ring: where it will run
 * @entity: queue of that ring
 * @owner: for dependencies within one owner
 * @client: DRM client id, or 0
 *
 * Return: the job, for uvm_job_free() until it is armed; or an ERR_PTR.
 */
struct uvm_job *uvm_job_alloc(struct uvm_ring *ring,
			      struct drm_sched_entity *entity, void *owner,
			      u64 client)
{
	struct uvm_job *job;
	int ret;

	job = kzalloc(sizeof(*job), GFP_KERNEL);
	if (!job)
		return ERR_PTR(-ENOMEM);
	job->ring = ring;
	INIT_LIST_HEAD(&job->late);
	uvm_vmid_init_job(job);
	/* Now: nothing may be allocated on the way to a fence. */
	job->fence = uvm_fence_alloc();
	if (!job->fence) {
		kfree(job);
		return ERR_PTR(-ENOMEM);
	}
	ret = drm_sched_job_init(&job->base, entity, 1, owner, client);
	if (ret) {
		uvm_job_put_parts(job);
		return ERR_PTR(ret);
	}
	return job;
}

/**
 * uvm_job_free() - free a job that was never armed, or has ended
 * @job: the job
 */
void uvm_job_free(struct uvm_job *job)
{
	uvm_vmid_fini_job(job);
	drm_sched_job_cleanup(&job->base);
	uvm_job_put_parts(job);
}

/**
 * uvm_job_run_sync() - run a job of the driver's own and wait
 * @job: the job, consumed; of the ring's kernel entity
 *
 * The wait ends: a job that hangs is thrown out by its timeout.
 * Context: under the ring's move_lock, which keeps its fences in order.
 *
 * Return: 0 or why it failed.
 */
int uvm_job_run_sync(struct uvm_job *job)
{
	struct dma_fence *done;
	int ret;

	lockdep_assert_held(&job->ring->move_lock);
	drm_sched_job_arm(&job->base);
	done = dma_fence_get(&job->base.s_fence->finished);
	drm_sched_entity_push_job(&job->base);
	dma_fence_wait(done, false);
	ret = dma_fence_get_status(done);
	dma_fence_put(done);
	return ret < 0 ? ret : 0;
}

static struct dma_fence *uvm_sched_prepare_job(struct drm_sched_job *base,
					       struct drm_sched_entity *entity)
{
	return uvm_vmid_prepare(to_uvm_job(base));
}

static struct dma_fence *uvm_sched_run_job(struct drm_sched_job *base)
{
	struct uvm_job *job = to_uvm_job(base);
	struct uvm_ring *ring = job->ring;
	int idx, ret = 0;

	/* A job that was killed before it ran. */
	if (base->s_fence->finished.error)
		return NULL;
	if (job->error)
		return ERR_PTR(job->error);
	if (!drm_dev_enter(&ring->uvm->drm, &idx))
		return ERR_PTR(-ENODEV);
	job->fence->busy = job->busy;
	if (job->vm) {
		job->fence->pasid = job->vm->pasid;
		ret = uvm_vmid_load(job);
	}
	if (!ret)
		ret = uvm_ring_submit(ring, job->vm ? job->grant.vmid : 0,
				      job->ib_gpu, job->ib_dwords, job->fence);
	drm_dev_exit(idx);
	if (ret)
		return ERR_PTR(ret);
	/* One reference is the scheduler's. */
	return dma_fence_get(&job->fence->base);
}

static enum drm_gpu_sched_stat uvm_sched_timedout(struct drm_sched_job *base)
{
	struct uvm_job *job = to_uvm_job(base);
	struct uvm_ring *ring = job->ring;

	/* The interrupt may be lost. */
	uvm_fence_process(ring);
	uvm_ih_poll(ring->uvm);
	if (job->fence->ring && !dma_fence_is_signaled(&job->fence->base)) {
		if (uvm_svm_goes_on(job))
			return DRM_GPU_SCHED_STAT_NO_HANG;
		trace_uvm_job_timeout(ring->index, job->fence->seq);
		uvm_ring_recover(ring, job->fence);
	}
	/*
	 * Not a reset to the scheduler: the ring lost at most this one job,
	 * whose fence has signalled now, and the others go on by themselves.
	 */
	return DRM_GPU_SCHED_STAT_NO_HANG;
}

static void uvm_sched_free_job(struct drm_sched_job *base)
{
	uvm_job_free(to_uvm_job(base));
}

/* At the end: uvm_ring_stop() has signalled whatever had been emitted. */
static void uvm_sched_cancel_job(struct drm_sched_job *base)
{
	struct uvm_job *job = to_uvm_job(base);

	WARN_ON_ONCE(job->fence->ring &&
		     !dma_fence_is_signaled(&job->fence->base));
}

static const struct drm_sched_backend_ops uvm_sched_ops = {
	.prepare_job = uvm_sched_prepare_job,
	.run_job = uvm_sched_run_job,
	.timedout_job = uvm_sched_timedout,
	.free_job = uvm_sched_free_job,
	.cancel_job = uvm_sched_cancel_job,
};

/**
 * uvm_sched_init() - the scheduler of a ring
 * @ring: the ring
 *
 * Return: 0 or an errno.
 */
int uvm_sched_init(struct uvm_ring *ring)
{
	const struct drm_sched_init_args args = {
		.ops = &uvm_sched_ops,
		.num_rqs = DRM_SCHED_PRIORITY_COUNT,
		.credit_limit = UVM_RING_JOBS,
		.timeout = msecs_to_jiffies(max(uvm_timeout_ms,
						UVM_MIN_TIMEOUT_MS)),
		.name = ring->name,
		.dev = ring->uvm->drm.dev,
	};
	struct drm_gpu_scheduler *sched = &ring->sched;
	int ret;

	ret = drm_sched_init(sched, &args);
	if (ret)
		return ret;
	ret = drm_sched_entity_init(&ring->kernel_entity,
				    DRM_SCHED_PRIORITY_KERNEL, &sched, 1, NULL);
	if (ret)
		drm_sched_fini(sched);
	return ret;
}

/**
 * uvm_sched_fini() - end it
 * @ring: the ring; no file is open, no job is left
 */
void uvm_sched_fini(struct uvm_ring *ring)
{
	if (!ring->sched.ready)
		return;
	drm_sched_entity_destroy(&ring->kernel_entity);
	drm_sched_fini(&ring->sched);
}
