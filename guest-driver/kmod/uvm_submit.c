// SPDX-License-Identifier: GPL-2.0
/*
 * Submission of packets from user space.
 *
 * Everything is copied from user memory once, before the first lock, and
 * checked there. What a job reaches is brought to where it belongs before it is
 * queued, all at once, and stays there until the job has ended (its use). Then
 * buffers are locked together to put the job's fence into each.
 *
 * There are two kinds. With UVM_SUBMIT_VM, packets lie in the process's own
 * address space and run there. The job holds every buffer that is bound there
 * when it is queued, named or not; those that are named order it among other
 * users of the buffer as well. Without, packets run in VMID 0: they are copied,
 * named buffers in SYSTEM are bound in the GART for them, and the addresses of all
 * are written into the packets. Such packets reach every buffer in GTT and VRAM
 * and every register, so only those may send them who may do that anyway.
 */

#include <linux/capability.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <drm/drm_exec.h>
#include <drm/drm_print.h>
#include <drm/drm_syncobj.h>

#include "uvm_drv.h"

/* What an engine fetches of an indirect buffer at a time, dwords. */
#define UVM_IB_ALIGN_DWORDS	8
#define UVM_IB_ALIGN_BYTES	32

/* How often what is bound is listed anew for a job, as it changes all the time. */
#define UVM_SUBMIT_TRIES	16

/**
 * struct uvm_submit - a submission on its way to a job
 * @uvm: the device
 * @file: the caller
 * @args: what was asked for
 * @bos: copy of the buffer list
 * @bound: buffers of the address space, with references
 * @nr_bound: how many
 * @relocs: copy of the relocations
 * @in_syncs: copy of the handles to wait for
 * @out_syncs: copy of the handles to signal
 * @out: the syncobjs of @out_syncs
 * @nr_out: how many of @out are valid
 * @ib: packets, in the pool
 * @job: what becomes of it
 */
struct uvm_submit {
	struct uvm_device *uvm;
	struct drm_file *file;
	const struct drm_uvm_submit *args;
	struct drm_uvm_bo_ref *bos;
	struct drm_gem_object **bound;
	u32 nr_bound;
	struct drm_uvm_reloc *relocs;
	u32 *in_syncs;
	u32 *out_syncs;
	struct drm_syncobj **out;
	u32 nr_out;
	__le32 *ib;
	struct uvm_job *job;
};

static int uvm_submit_check(struct uvm_device *uvm,
			    const struct drm_uvm_submit *args)
{
	if (args->flags & ~UVM_SUBMIT_VM || args->pad ||
	    args->ring >= uvm->nr_rings)
		return -EINVAL;
	if (!args->ib_dwords || args->ib_dwords > UVM_MAX_IB_DWORDS)
		return -EINVAL;
	if (args->flags & UVM_SUBMIT_VM) {
		if (args->reloc_count ||
		    !IS_ALIGNED(args->ib, UVM_IB_ALIGN_BYTES) ||
		    !IS_ALIGNED(args->ib_dwords, UVM_IB_ALIGN_DWORDS))
			return -EINVAL;
	} else if (!capable(CAP_SYS_RAWIO)) {
		return -EPERM;
	}
	if (args->bo_count > UVM_MAX_BOS ||
	    args->reloc_count > UVM_MAX_RELOCS ||
	    args->in_sync_count > UVM_MAX_SYNCS ||
	    args->out_sync_count > UVM_MAX_SYNCS)
		return -EINVAL;
	return 0;
}

/* An array from user memory; NULL for an empty one. */
static void *uvm_submit_array(u64 user, u32 count, size_t size)
{
	if (!count)
		return NULL;
	return vmemdup_array_user(u64_to_user_ptr(user), count, size);
}

static int uvm_submit_copy(struct uvm_submit *s)
{
	const struct drm_uvm_submit *args = s->args;
	void *p;

	p = uvm_submit_array(args->bos, args->bo_count, sizeof(*s->bos));
	if (IS_ERR(p))
		return PTR_ERR(p);
	s->bos = p;
	p = uvm_submit_array(args->relocs, args->reloc_count,
			     sizeof(*s->relocs));
	if (IS_ERR(p))
		return PTR_ERR(p);
	s->relocs = p;
	p = uvm_submit_array(args->in_syncs, args->in_sync_count,
			     sizeof(*s->in_syncs));
	if (IS_ERR(p))
		return PTR_ERR(p);
	s->in_syncs = p;
	p = uvm_submit_array(args->out_syncs, args->out_sync_count,
			     sizeof(*s->out_syncs));
	if (IS_ERR(p))
		return PTR_ERR(p);
	s->out_syncs = p;
	return 0;
}

static int uvm_submit_lookup(struct uvm_submit *s)
{
	const struct drm_uvm_submit *args = s->args;
	struct uvm_job *job = s->job;
	struct drm_gem_object *obj;
	const struct drm_uvm_reloc *reloc;
	u32 i;

	if (args->bo_count) {
		job->bos = kvcalloc(args->bo_count, sizeof(*job->bos),
				    GFP_KERNEL);
		if (!job->bos)
			return -ENOMEM;
	}
	for (i = 0; i < args->bo_count; i++) {
		if (s->bos[i].flags & ~UVM_BO_WRITE)
			return -EINVAL;
		obj = drm_gem_object_lookup(s->file, s->bos[i].handle);
		if (!obj)
			return -ENOENT;
		job->bos[job->nr_bos++] = obj;
	}
	for (i = 0; i < args->reloc_count; i++) {
		reloc = &s->relocs[i];
		if (reloc->bo >= args->bo_count ||
		    reloc->dword >= args->ib_dwords - 1 ||
		    reloc->offset > job->bos[reloc->bo]->size)
			return -EINVAL;
	}
	return 0;
}

static int uvm_submit_packets(struct uvm_submit *s)
{
	struct uvm_device *uvm = s->uvm;
	struct uvm_job *job = s->job;
	u32 n = s->args->ib_dwords;
	u32 dwords = ALIGN(n, UVM_IB_ALIGN_DWORDS);
	struct drm_suballoc *ib;

	/* Waits for older submissions if need be: no lock is held here. */
	ib = drm_suballoc_new(&uvm->ib_pool, dwords * sizeof(__le32),
			      GFP_KERNEL, true, UVM_IB_ALIGN_BYTES);
	if (IS_ERR(ib))
		return PTR_ERR(ib);
	job->ib = ib;
	job->ib_dwords = dwords;
	job->ib_gpu = uvm->ib_buf.gpu + drm_suballoc_soffset(ib);
	s->ib = uvm->ib_buf.cpu + drm_suballoc_soffset(ib);
	if (copy_from_user(s->ib, u64_to_user_ptr(s->args->ib),
			   n * sizeof(__le32)))
		return -EFAULT;
	for (; n < dwords; n++)
		s->ib[n] = cpu_to_le32(SDMA_PKT_NOP);
	return 0;
}

/* Packets that are in the process's address space already. */
static int uvm_submit_space(struct uvm_submit *s)
{
	struct uvm_job *job = s->job;
	struct uvm_vm *vm;
	int ret;

	vm = uvm_file_vm(s->uvm, s->file->driver_priv);
	if (IS_ERR(vm))
		return PTR_ERR(vm);
	ret = uvm_svm_may_use(vm);
	if (ret)
		return ret;
	kref_get(&vm->ref);
	job->vm = vm;
	job->ib_gpu = s->args->ib;
	job->ib_dwords = s->args->ib_dwords;
	return 0;
}

static void uvm_submit_put_bound(struct uvm_submit *s)
{
	u32 i;

	for (i = 0; i < s->nr_bound; i++)
		drm_gem_object_put(s->bound[i]);
	kvfree(s->bound);
	s->bound = NULL;
	s->nr_bound = 0;
}

static int uvm_submit_syncs(struct uvm_submit *s)
{
	const struct drm_uvm_submit *args = s->args;
	u32 i;
	int ret;

	for (i = 0; i < args->in_sync_count; i++) {
		ret = drm_sched_job_add_syncobj_dependency(&s->job->base,
							   s->file,
							   s->in_syncs[i], 0);
		if (ret)
			return ret;
	}
	if (!args->out_sync_count)
		return 0;
	s->out = kvcalloc(args->out_sync_count, sizeof(*s->out), GFP_KERNEL);
	if (!s->out)
		return -ENOMEM;
	for (i = 0; i < args->out_sync_count; i++) {
		s->out[i] = drm_syncobj_find(s->file, s->out_syncs[i]);
		if (!s->out[i])
			return -ENOENT;
		s->nr_out++;
	}
	return 0;
}

static int uvm_submit_lock(struct uvm_submit *s, struct drm_exec *exec)
{
	struct uvm_job *job = s->job;
	u32 i;
	int ret = 0;

	drm_exec_until_all_locked(exec) {
		for (i = 0; i < job->nr_bos; i++) {
			ret = drm_exec_prepare_obj(exec, job->bos[i], 1);
			drm_exec_retry_on_contention(exec);
			if (ret)
				return ret;
		}
		for (i = 0; i < s->nr_bound; i++) {
			ret = drm_exec_prepare_obj(exec, s->bound[i], 1);
			drm_exec_retry_on_contention(exec);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/* What the job reaches is to be there until its end. */
static int uvm_submit_hold(struct uvm_submit *s)
{
	struct uvm_file *ufile = s->file->driver_priv;
	struct uvm_job *job = s->job;
	struct drm_gem_object **bos = job->vm ? s->bound : job->bos;
	u32 i, n = job->vm ? s->nr_bound : job->nr_bos;
	struct uvm_mm_use *use;
	u64 *ids;

	if (!n)
		return 0;
	ids = kvcalloc(n, sizeof(*ids), GFP_KERNEL);
	if (!ids)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		ids[i] = to_uvm_bo(bos[i])->policy_id;
	use = uvm_mm_use_set(ufile->client, ids, n,
			     job->vm ? 0 : UVM_MM_FLAG_ADDRESSED);
	kvfree(ids);
	if (IS_ERR(use))
		return PTR_ERR(use);
	job->use = use;
	return 0;
}

/* The same for all that is bound by then. */
static int uvm_submit_hold_bound(struct uvm_submit *s)
{
	struct uvm_job *job = s->job;
	u32 tries = UVM_SUBMIT_TRIES;
	u64 binds;
	int ret;

	for (;;) {
		binds = uvm_late_binds(job->vm);
		ret = uvm_bind_collect(job->vm, &s->bound, &s->nr_bound) ?:
		      uvm_submit_hold(s);
		if (ret || uvm_late_begin(job, binds, !--tries))
			return ret;
		uvm_mm_use_end(job->use);
		job->use = NULL;
		uvm_submit_put_bound(s);
	}
}

/* With all buffers locked: their places, what they wait for, the addresses. */
static int uvm_submit_place(struct uvm_submit *s)
{
	const struct drm_uvm_submit *args = s->args;
	struct uvm_job *job = s->job;
	const struct drm_uvm_reloc *reloc;
	struct uvm_bo *bo;
	u64 addr;
	u32 i;
	int ret;

	for (i = 0; i < job->nr_bos; i++) {
		/* Its use has seen to that. */
		bo = to_uvm_bo(job->bos[i]);
		if (!job->vm &&
		    WARN_ON_ONCE(bo->domain == UVM_DOMAIN_SYSTEM))
			return -EIO;
		ret = drm_sched_job_add_implicit_dependencies(&job->base,
				job->bos[i], s->bos[i].flags & UVM_BO_WRITE);
		if (ret)
			return ret;
	}
	for (i = 0; i < args->reloc_count; i++) {
		reloc = &s->relocs[i];
		bo = to_uvm_bo(job->bos[reloc->bo]);
		addr = uvm_gpu_addr(bo->domain, bo->offset) + reloc->offset;
		s->ib[reloc->dword] = cpu_to_le32(lower_32_bits(addr));
		s->ib[reloc->dword + 1] = cpu_to_le32(upper_32_bits(addr));
	}
	return 0;
}

/* The point of no return: from here on the job belongs to the scheduler. */
static void uvm_submit_push(struct uvm_submit *s)
{
	struct uvm_file *ufile = s->file->driver_priv;
	struct uvm_job *job = s->job;
	struct dma_fence *done;
	u32 i;

	mutex_lock(&ufile->submit_lock);
	drm_sched_job_arm(&job->base);
	done = &job->base.s_fence->finished;
	for (i = 0; i < s->nr_bound; i++)
		dma_resv_add_fence(s->bound[i]->resv, done,
				   DMA_RESV_USAGE_BOOKKEEP);
	for (i = 0; i < job->nr_bos; i++)
		dma_resv_add_fence(job->bos[i]->resv, done,
				   s->bos[i].flags & UVM_BO_WRITE ?
				   DMA_RESV_USAGE_WRITE : DMA_RESV_USAGE_READ);
	for (i = 0; i < s->nr_out; i++)
		drm_syncobj_replace_fence(s->out[i], done);
	drm_sched_entity_push_job(&job->base);
	mutex_unlock(&ufile->submit_lock);
	s->job = NULL;
}

static int uvm_submit_job(struct uvm_submit *s)
{
	struct uvm_file *ufile = s->file->driver_priv;
	u32 ring = s->args->ring;
	struct dma_fence *restored = NULL;
	struct drm_exec exec;
	struct uvm_job *job;
	int ret;

	job = uvm_job_alloc(&s->uvm->rings[ring], &ufile->entities[ring], ufile,
			    s->file->client_id);
	if (IS_ERR(job))
		return PTR_ERR(job);
	s->job = job;
	job->busy = uvm_busy_get(ufile->busy);

	ret = uvm_submit_lookup(s);
	if (ret)
		return ret;
	ret = uvm_submit_syncs(s);
	if (ret)
		return ret;
	if (s->args->flags & UVM_SUBMIT_VM)
		ret = uvm_submit_space(s) ?: uvm_submit_hold_bound(s);
	else
		ret = uvm_submit_packets(s) ?: uvm_submit_hold(s);
	if (ret)
		return ret;

	drm_exec_init(&exec, DRM_EXEC_INTERRUPTIBLE_WAIT |
		      DRM_EXEC_IGNORE_DUPLICATES, job->nr_bos + s->nr_bound);
	ret = uvm_submit_lock(s, &exec);
	if (!ret)
		ret = uvm_submit_place(s);
	if (!ret && job->vm)
		ret = uvm_bind_restore(job->vm, &exec, &restored);
	/* Consumes the reference; NULL is nothing to wait for. */
	if (!ret)
		ret = drm_sched_job_add_dependency(&job->base, restored);
	else
		dma_fence_put(restored);
	if (!ret)
		uvm_submit_push(s);
	drm_exec_fini(&exec);
	return ret;
}

/**
 * uvm_ioctl_submit() - DRM_UVM_SUBMIT
 * @drm: the device
 * @data: struct drm_uvm_submit
 * @file: the caller
 *
 * Returns once the job is queued. It waits for its in-syncobjs and for earlier
 * users of its buffers by itself; its out-syncobjs signal when it is done, or
 * with an error when it failed.
 *
 * Return: 0, -EINVAL, -EPERM, -ENOENT for a handle that does not exist, -EFAULT,
 * -ENOMEM, -ENOSPC when what it reaches does not fit together where it belongs,
 * -ERESTARTSYS.
 */
int uvm_ioctl_submit(struct drm_device *drm, void *data,
		     struct drm_file *file)
{
	struct uvm_submit s = {
		.uvm = to_uvm(drm),
		.file = file,
		.args = data,
	};
	int idx, ret;
	u32 i;

	ret = uvm_submit_check(s.uvm, s.args);
	if (ret)
		return ret;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	ret = uvm_submit_copy(&s);
	if (!ret)
		ret = uvm_submit_job(&s);
	if (s.job)
		uvm_job_free(s.job);
	for (i = 0; i < s.nr_out; i++)
		drm_syncobj_put(s.out[i]);
	uvm_submit_put_bound(&s);
	kvfree(s.out);
	kvfree(s.out_syncs);
	kvfree(s.in_syncs);
	kvfree(s.relocs);
	kvfree(s.bos);
	drm_dev_exit(idx);
	return ret;
}
