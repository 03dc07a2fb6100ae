// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers and their owners, as the memory manager has them.
 */

#include <linux/mm.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

static ulong uvm_limit_mb;
module_param_named(limit_mb, uvm_limit_mb, ulong, 0444);
MODULE_PARM_DESC(limit_mb, "Most MiB of a client's buffers (default 0: no limit)");

static ulong uvm_limit_vram_mb;
module_param_named(limit_vram_mb, uvm_limit_vram_mb, ulong, 0444);
MODULE_PARM_DESC(limit_vram_mb, "Most MiB of a client's buffers in VRAM at a time (default 0: no limit)");

static ulong uvm_limit_pages_mb;
module_param_named(limit_pages_mb, uvm_limit_pages_mb, ulong, 0444);
MODULE_PARM_DESC(limit_pages_mb, "Most MiB of system pages of a client's buffers at a time (default 0: no limit)");

static u64 uvm_mm_limit(ulong mb)
{
	return mb ? (u64)mb << 20 : U64_MAX;
}

/**
 * uvm_mm_client_new() - an owner of buffers
 * @uvm: the device
 * @limited: it may have as much as the module's parameters say
 *
 * Return: the client, for uvm_mm_client_put(), or an ERR_PTR.
 */
struct uvm_mm_client *uvm_mm_client_new(struct uvm_device *uvm, bool limited)
{
	const struct uvm_mm_event event = {
		.op = UVM_MM_EV_OPEN,
		.size = uvm_mm_limit(limited ? uvm_limit_mb : 0),
		.offset = uvm_mm_limit(limited ? uvm_limit_vram_mb : 0),
		.value = uvm_mm_limit(limited ? uvm_limit_pages_mb : 0),
	};
	struct uvm_mm_client *client;
	struct uvm_mm_reply reply;
	int ret;

	client = kzalloc(sizeof(*client), GFP_KERNEL);
	if (!client)
		return ERR_PTR(-ENOMEM);
	ret = uvm_mm_tell(uvm, &event, &reply, NULL);
	if (ret) {
		kfree(client);
		return ERR_PTR(ret);
	}
	kref_init(&client->ref);
	client->uvm = uvm;
	client->id = reply.id;
	return client;
}

static void uvm_mm_client_free(struct kref *ref)
{
	struct uvm_mm_client *client = container_of(ref, struct uvm_mm_client,
						    ref);
	const struct uvm_mm_event event = {
		.op = UVM_MM_EV_CLOSE,
		.process = client->id,
	};
	struct uvm_mm_reply reply;
	int ret;

	ret = uvm_mm_tell(client->uvm, &event, &reply, NULL);
	if (ret)
		drm_err(&client->uvm->drm, "an owner does not end: %d\n", ret);
	kfree(client);
}

/**
 * uvm_mm_client_put() - drop a reference
 * @client: the client, or NULL; without buffers and uses if this is the last
 */
void uvm_mm_client_put(struct uvm_mm_client *client)
{
	if (client)
		kref_put(&client->ref, uvm_mm_client_free);
}

/* Where a buffer whose domain this is may be used, best first. */
static int uvm_mm_kinds(const struct uvm_bo *bo, u32 domain,
			u32 (*kinds)[UVM_MM_MAX_KINDS], u32 *nr)
{
	const struct uvm_mm_wish wish = {
		.domains = BIT(domain) | BIT(UVM_DOMAIN_GTT),
		.preferred = domain,
		.cpu_access = bo->mm.cpu_access,
		.unsnooped = bo->unsnooped,
	};

	if (bo->mm.deferred && domain != UVM_DOMAIN_SYSTEM)
		return uvm_mm_placements(&wish, kinds, nr);
	*nr = 1;
	if (domain == UVM_DOMAIN_VRAM)
		(*kinds)[0] = UVM_MM_SEG_LOCAL;
	else if (domain == UVM_DOMAIN_GTT)
		(*kinds)[0] = UVM_MM_SEG_SNOOPED;
	else
		(*kinds)[0] = UVM_MM_SEG_SYSTEM;
	return 0;
}

/**
 * uvm_mm_bo_init() - have a new buffer managed
 * @bo: the buffer
 * @client: its owner
 * @domain: UVM_DOMAIN_*
 * @flags: UVM_GEM_*
 *
 * It has no memory yet.
 *
 * Return: 0, -ENOSPC over a limit, -ENOMEM.
 */
int uvm_mm_bo_init(struct uvm_bo *bo, struct uvm_mm_client *client, u32 domain,
		   u32 flags)
{
	struct uvm_mm_event event = {
		.op = UVM_MM_EV_CREATE,
		.flags = UVM_MM_FLAG_PAGEABLE,
		.process = client->id,
		.size = bo->base.size,
		.priority = 1,
	};
	struct uvm_device *uvm = client->uvm;
	struct uvm_mm_reply reply;
	int ret;

	uvm_mm_zap_init(bo);
	bo->mm.deferred = flags & UVM_GEM_PAGEABLE;
	bo->mm.cpu_access = flags & UVM_GEM_CPU_ACCESS;
	bo->mm.home = domain;
	ret = uvm_mm_kinds(bo, domain, &event.kinds, &event.nr_kinds);
	if (ret)
		return ret;
	/* Another driver's pages are there, and are not ours to swap. */
	if (bo->pages)
		event.flags = 0;
	else
		bo->pages = kvcalloc(bo->base.size >> PAGE_SHIFT,
				     sizeof(*bo->pages), GFP_KERNEL);
	if (!bo->pages)
		return -ENOMEM;
	ret = uvm_mm_tell(uvm, &event, &reply, NULL);
	if (ret)
		return ret;
	kref_get(&client->ref);
	bo->policy_id = reply.id;
	spin_lock(&uvm->mm.lock);
	hash_add(uvm->mm.bos, &bo->mm.node, bo->policy_id);
	spin_unlock(&uvm->mm.lock);
	bo->mm.client = client;
	/* For good: mappings that come are shown by each move. */
	return uvm_mm_tell_of(uvm, UVM_MM_EV_MAP, bo->policy_id);
}

/**
 * uvm_mm_bo_fini() - give a buffer up, which has no user any more
 * @bo: the buffer; freed when the device has let go of it
 */
void uvm_mm_bo_fini(struct uvm_bo *bo)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	int ret = uvm_mm_tell_of(uvm, UVM_MM_EV_DESTROY, bo->policy_id);

	if (ret)
		drm_err(&uvm->drm, "a buffer does not end: %d\n", ret);
}

/**
 * uvm_mm_bo_get() - the buffer of a name
 * @uvm: the device
 * @id: the policy's name
 *
 * Return: the buffer, which is there until UVM_MM_DO_GONE; or NULL.
 */
struct uvm_bo *uvm_mm_bo_get(struct uvm_device *uvm, u64 id)
{
	struct uvm_bo *bo, *found = NULL;

	spin_lock(&uvm->mm.lock);
	hash_for_each_possible(uvm->mm.bos, bo, mm.node, id) {
		if (bo->policy_id == id) {
			found = bo;
			break;
		}
	}
	spin_unlock(&uvm->mm.lock);
	return found;
}

/* UVM_DOMAIN_* of a kind of segment; SYSTEM for what is none. */
static u32 uvm_mm_domain(u32 kind)
{
	switch (kind) {
	case UVM_MM_SEG_LOCAL:
	case UVM_MM_SEG_LOCAL_INVISIBLE:
		return UVM_DOMAIN_VRAM;
	case UVM_MM_SEG_SNOOPED:
	case UVM_MM_SEG_UNSNOOPED:
		return UVM_DOMAIN_GTT;
	default:
		return UVM_DOMAIN_SYSTEM;
	}
}

/**
 * uvm_mm_bo_place() - where the bytes of a buffer are at this moment
 * @bo: the buffer
 * @domain: out: UVM_DOMAIN_*; SYSTEM also for the backing store
 * @offset: out: where in it
 *
 * Return: 0, or -EAGAIN when they are in no memory: swapped out, or never used.
 */
int uvm_mm_bo_place(struct uvm_bo *bo, u32 *domain, u64 *offset)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	struct uvm_mm_place place = { .kind = UVM_MM_AT_NOTHING };
	unsigned int flags;

	flags = uvm_policy_begin(uvm);
	uvm_mm_residence(uvm->policy, bo->policy_id, &place);
	uvm_policy_end(uvm, flags);
	*offset = place.offset;
	*domain = uvm_mm_domain(place.kind);
	return *domain != UVM_DOMAIN_SYSTEM || place.kind == UVM_MM_AT_PAGES ?
		0 : -EAGAIN;
}

/* From its next use on, a buffer belongs in a domain. */
static int uvm_mm_bo_set_domain(struct uvm_bo *bo, u32 domain)
{
	struct uvm_mm_event event = {
		.op = UVM_MM_EV_PLACE,
		.id = bo->policy_id,
	};
	struct uvm_mm_reply reply;
	int ret;

	ret = uvm_mm_kinds(bo, domain, &event.kinds, &event.nr_kinds);
	if (ret)
		return ret;
	WRITE_ONCE(bo->mm.home, domain);
	return uvm_mm_tell(to_uvm(bo->base.dev), &event, &reply, NULL);
}

/**
 * uvm_mm_bo_move() - move a buffer to a domain, where it belongs from then on
 * @bo: the buffer
 * @domain: UVM_DOMAIN_*
 * @pin: and where it stays until UVM_MM_EV_UNPIN
 *
 * If it fails, the buffer belongs where it did.
 *
 * Return: 0 and what uvm_mm_use_set() returns.
 */
int uvm_mm_bo_move(struct uvm_bo *bo, u32 domain, bool pin)
{
	struct uvm_mm_event event = {
		.op = UVM_MM_EV_MOVE,
		.id = bo->policy_id,
	};
	u32 old = READ_ONCE(bo->mm.home), i, nr, kinds[UVM_MM_MAX_KINDS];
	struct uvm_mm_use *use = ERR_PTR(-EINVAL);
	int ret;

	/* What is another driver's does not go to our memory. */
	if (bo->sgt && domain == UVM_DOMAIN_VRAM)
		return -EINVAL;
	ret = uvm_mm_kinds(bo, domain, &kinds, &nr);
	/* First: others that wait for the buffer are not to bring it back. */
	if (!ret)
		ret = uvm_mm_bo_set_domain(bo, domain);
	if (ret)
		return ret;
	/* The best segment of the domain that it fits into. */
	for (i = 0; i < nr; i++) {
		event.value = kinds[i];
		if (uvm_mm_domain(event.value) != domain)
			continue;
		use = uvm_mm_use_by(to_uvm(bo->base.dev), &event);
		if (PTR_ERR_OR_ZERO(use) != -ENOSPC)
			break;
	}
	if (IS_ERR(use)) {
		uvm_mm_bo_set_domain(bo, old);
		return PTR_ERR(use);
	}
	ret = pin ? uvm_mm_tell_of(to_uvm(bo->base.dev), UVM_MM_EV_PIN,
				   bo->policy_id) : 0;
	uvm_mm_use_end(use);
	return ret;
}

/**
 * uvm_ioctl_gem_move() - DRM_UVM_GEM_MOVE
 * @drm: the device
 * @data: struct drm_uvm_gem_move
 * @file: the caller
 *
 * Return: 0, -EINVAL, -ENOENT, and what uvm_mm_bo_move() returns.
 */
int uvm_ioctl_gem_move(struct drm_device *drm, void *data,
		       struct drm_file *file)
{
	struct drm_uvm_gem_move *args = data;
	struct drm_gem_object *obj;
	int idx, ret;

	if (args->flags || args->domain > UVM_DOMAIN_VRAM ||
	    args->ring >= to_uvm(drm)->nr_rings)
		return -EINVAL;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	obj = drm_gem_object_lookup(file, args->handle);
	ret = -ENOENT;
	if (obj) {
		ret = uvm_mm_bo_move(to_uvm_bo(obj), args->domain, false);
		drm_gem_object_put(obj);
	}
	drm_dev_exit(idx);
	return ret;
}

/**
 * uvm_mm_bo_advise() - say whether the content is needed
 * @bo: the buffer
 * @need: it is; if not, it may be thrown away at any time
 * @retained: out: 1 if it was not
 *
 * Return: 0, or -EBUSY while it is going.
 */
int uvm_mm_bo_advise(struct uvm_bo *bo, bool need, u32 *retained)
{
	const struct uvm_mm_event event = {
		.op = UVM_MM_EV_ADVISE,
		.id = bo->policy_id,
		.value = need,
	};
	struct uvm_mm_reply reply;
	int ret;

	ret = uvm_mm_tell(to_uvm(bo->base.dev), &event, &reply, NULL);
	if (!ret) {
		*retained = reply.value;
		WRITE_ONCE(bo->mm.unneeded, !need);
	}
	return ret;
}

/**
 * uvm_ioctl_gem_advise() - DRM_UVM_GEM_ADVISE
 * @drm: the device
 * @data: struct drm_uvm_gem_advise
 * @file: the caller
 *
 * Return: 0, -EINVAL, -ENOENT, -EBUSY while the content is being thrown away.
 */
int uvm_ioctl_gem_advise(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct drm_uvm_gem_advise *args = data;
	struct drm_gem_object *obj;
	int ret;

	if (args->advice > UVM_GEM_WILL_NEED || args->flags)
		return -EINVAL;
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	ret = -EINVAL;
	if (!to_uvm_bo(obj)->sgt)
		ret = uvm_mm_bo_advise(to_uvm_bo(obj),
				       args->advice == UVM_GEM_WILL_NEED,
				       &args->retained);
	drm_gem_object_put(obj);
	return ret;
}

static vm_fault_t uvm_mm_fault_at(struct uvm_bo *bo, struct vm_fault *vmf,
				  struct uvm_mm_use **use)
{
	const struct uvm_mm_event event = {
		.op = UVM_MM_EV_CPU_ACCESS,
		.id = bo->policy_id,
		.flags = UVM_MM_FLAG_MAPPING,
	};
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	struct uvm_mm_use *wait;
	struct uvm_mm_reply reply;
	vm_fault_t ret = VM_FAULT_NOPAGE;
	u64 offset;
	u32 domain;

	/* Without a use, the answer holds until a ZAP, which waits for the lock. */
	dma_resv_lock(bo->base.resv, NULL);
	if (*use) {
		if (!uvm_mm_bo_place(bo, &domain, &offset))
			ret = uvm_bo_map(bo, vmf, domain, offset);
		dma_resv_unlock(bo->base.resv);
		return ret;
	}
	wait = uvm_mm_use_alloc(uvm);
	if (!wait) {
		dma_resv_unlock(bo->base.resv);
		return VM_FAULT_OOM;
	}
	if (uvm_mm_tell(uvm, &event, &reply, wait))
		ret = VM_FAULT_SIGBUS;
	else if (reply.kind == UVM_MM_REPLY_DIRECT)
		ret = uvm_bo_map(bo, vmf, reply.domain, reply.offset);
	else if (reply.kind == UVM_MM_REPLY_ID)
		*use = wait;
	dma_resv_unlock(bo->base.resv);
	if (!*use)
		kfree(wait);
	return ret;
}

/**
 * uvm_mm_fault() - the CPU misses a page of a buffer
 * @bo: the buffer
 * @vmf: the fault
 *
 * Waits without mmap_lock if it may; with it, for what the workers do, who never
 * take it.
 *
 * Context: within drm_dev_enter().
 * Return: VM_FAULT_*.
 */
vm_fault_t uvm_mm_fault(struct uvm_bo *bo, struct vm_fault *vmf)
{
	struct uvm_mm_use *use = NULL;
	bool unlock = fault_flag_allow_retry_first(vmf->flags) &&
		      !(vmf->flags & FAULT_FLAG_RETRY_NOWAIT);
	vm_fault_t ret;
	int err;

	ret = uvm_mm_fault_at(bo, vmf, &use);
	if (!use)
		return ret;
	if (unlock) {
		drm_gem_object_get(&bo->base);
		mmap_read_unlock(vmf->vma->vm_mm);
		/* What stands in its way then is told by the next try. */
		if (!uvm_mm_use_wait(use))
			uvm_mm_use_end(use);
		drm_gem_object_put(&bo->base);
		return VM_FAULT_RETRY;
	}
	err = uvm_mm_use_wait(use);
	if (err == -ERESTARTSYS)
		return VM_FAULT_NOPAGE;
	/* Out of memory too: the kernel would have the access tried again for ever. */
	if (err)
		return VM_FAULT_SIGBUS;
	ret = uvm_mm_fault_at(bo, vmf, &use);
	uvm_mm_use_end(use);
	return ret;
}

/**
 * uvm_mm_param() - one of the counts that user space asks for
 * @uvm: the device
 * @param: UVM_PARAM_MM_*
 *
 * Return: the count; 0 for one that is unknown.
 */
u64 uvm_mm_param(struct uvm_device *uvm, u32 param)
{
	struct uvm_mm_stats stats = {};
	unsigned int flags;

	flags = uvm_policy_begin(uvm);
	uvm_mm_stats(uvm->policy, &stats);
	uvm_policy_end(uvm, flags);
	switch (param) {
	case UVM_PARAM_MM_EVICTED:
		return stats.evicted;
	case UVM_PARAM_MM_BROUGHT_IN:
		return stats.brought_in;
	case UVM_PARAM_MM_SWAPPED_OUT:
		return stats.swapped_out;
	case UVM_PARAM_MM_SWAPPED_IN:
		return stats.swapped_in;
	case UVM_PARAM_MM_PURGED:
		return stats.purged;
	case UVM_PARAM_MM_FAILED:
		return stats.failed;
	case UVM_PARAM_MM_REFUSED:
		return stats.refused;
	case UVM_PARAM_MM_PAGES:
		return (u64)atomic_long_read(&uvm->mm.nr_pages) << PAGE_SHIFT;
	default:
		return 0;
	}
}
