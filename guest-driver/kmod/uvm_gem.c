// SPDX-License-Identifier: GPL-2.0
/*
 * Buffer objects: their life, and the CPU's view of them.
 */

#include <linux/mm.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include <drm/drm_print.h>
#include <drm/drm_utils.h>

#include "uvm_drv.h"

/* Pages mapped by one CPU fault. */
#define UVM_FAULT_AROUND	64

#define UVM_GEM_FLAGS		(UVM_GEM_PAGEABLE | UVM_GEM_CPU_ACCESS | \
				 UVM_GEM_UNSNOOPED)

static void uvm_bo_free(struct drm_gem_object *obj)
{
	struct uvm_bo *bo = to_uvm_bo(obj);

	if (bo->mm.client) {
		uvm_mm_bo_fini(bo);
		return;
	}
	/* It never came to be one. */
	drm_gem_object_release(obj);
	kfree(bo);
}

/**
 * uvm_bo_map() - map pages from a fault's on, as many as mapping and buffer have
 * @bo: the buffer, locked
 * @vmf: the fault
 * @domain: UVM_DOMAIN_* where the bytes are
 * @offset: where in VRAM
 *
 * Return: VM_FAULT_*.
 */
vm_fault_t uvm_bo_map(struct uvm_bo *bo, struct vm_fault *vmf, u32 domain,
		      u64 offset)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	struct vm_area_struct *vma = vmf->vma;
	pgoff_t at = vmf->pgoff - drm_vma_node_start(&bo->base.vma_node);
	pgoff_t i, nr = min_t(pgoff_t, bo->base.size >> PAGE_SHIFT,
			      at + UVM_FAULT_AROUND);
	unsigned long addr = vmf->address;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	unsigned long pfn;
	pgprot_t prot;

	prot = vm_get_page_prot(vma->vm_flags);
	if (domain == UVM_DOMAIN_VRAM || bo->unsnooped)
		prot = pgprot_writecombine(prot);

	for (i = at; i < nr && addr < vma->vm_end; i++, addr += PAGE_SIZE) {
		if (domain == UVM_DOMAIN_VRAM)
			pfn = PHYS_PFN(uvm->vram.base + offset) + i;
		else
			pfn = page_to_pfn(bo->pages[i]);
		ret = vmf_insert_pfn_prot(vma, addr, pfn, prot);
		if (ret & VM_FAULT_ERROR)
			/* Only the first page was asked for. */
			return i == at ? ret : VM_FAULT_NOPAGE;
	}
	return ret;
}

static vm_fault_t uvm_bo_fault(struct vm_fault *vmf)
{
	struct drm_gem_object *obj = vmf->vma->vm_private_data;
	vm_fault_t ret;
	int idx;

	if (!drm_dev_enter(obj->dev, &idx))
		return VM_FAULT_SIGBUS;
	ret = uvm_mm_fault(to_uvm_bo(obj), vmf);
	drm_dev_exit(idx);
	return ret;
}

static const struct vm_operations_struct uvm_bo_vm_ops = {
	.fault = uvm_bo_fault,
	.access = uvm_bo_vm_access,
	.open = drm_gem_vm_open,
	.close = drm_gem_vm_close,
};

static int uvm_bo_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	/* A private copy would come apart from the buffer at a move. */
	if ((vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE)
		return -EINVAL;
	vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = vm_get_page_prot(vma->vm_flags);
	return 0;
}

static const struct drm_gem_object_funcs uvm_bo_funcs = {
	.free = uvm_bo_free,
	.export = uvm_prime_export,
	.get_sg_table = uvm_prime_sg_table,
	.mmap = uvm_bo_mmap,
	.vm_ops = &uvm_bo_vm_ops,
};

static struct uvm_bo *uvm_bo_create(struct uvm_device *uvm, u64 size,
				    struct uvm_mm_client *client, u32 domain,
				    u32 flags)
{
	struct uvm_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), GFP_KERNEL);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo->base.funcs = &uvm_bo_funcs;
	bo->domain = UVM_DOMAIN_SYSTEM;
	bo->unsnooped = flags & UVM_GEM_UNSNOOPED;
	INIT_LIST_HEAD(&bo->mappings);
	ret = drm_gem_object_init(&uvm->drm, &bo->base, size);
	if (ret) {
		kfree(bo);
		return ERR_PTR(ret);
	}
	/* Any page will do, but none that the kernel could not free again. */
	mapping_set_gfp_mask(bo->base.filp->f_mapping,
			     GFP_HIGHUSER | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	ret = uvm_mm_bo_init(bo, client, domain, flags);
	if (!ret && domain != UVM_DOMAIN_SYSTEM && !bo->mm.deferred)
		ret = uvm_mm_bo_move(bo, domain, false);
	if (ret) {
		drm_gem_object_put(&bo->base);
		return ERR_PTR(ret);
	}
	return bo;
}

/**
 * uvm_ioctl_gem_create() - DRM_UVM_GEM_CREATE
 * @drm: the device
 * @data: struct drm_uvm_gem_create
 * @file: the caller
 *
 * The buffer reads as zeros, in whichever domain. A pageable one has no memory
 * until it is used, nor has one in SYSTEM.
 *
 * Return: 0, -EINVAL, -ENOMEM, -ENOSPC when the domain is full of what is in use
 * or the caller's limit is reached, -ERESTARTSYS.
 */
int uvm_ioctl_gem_create(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_uvm_gem_create *args = data;
	bool pageable = args->flags & UVM_GEM_PAGEABLE;
	struct uvm_file *ufile = file->driver_priv;
	struct uvm_bo *bo;
	int idx, ret;
	u64 size;

	if (!args->size || args->flags & ~UVM_GEM_FLAGS || args->pad ||
	    (!pageable && args->flags) ||
	    (args->flags & UVM_GEM_UNSNOOPED && !uvm->gart.unsnooped) ||
	    (pageable && args->domain == UVM_DOMAIN_SYSTEM) ||
	    args->domain > UVM_DOMAIN_VRAM || args->size > MAX_LFS_FILESIZE)
		return -EINVAL;
	size = PAGE_ALIGN(args->size);
	/* No place has more; say so before page arrays of such a size. */
	if (args->domain == UVM_DOMAIN_VRAM && size > uvm->vram.size)
		return -ENOSPC;
	if (args->domain == UVM_DOMAIN_GTT && size > uvm->gart.size)
		return -ENOSPC;
	if (size >> PAGE_SHIFT > totalram_pages() && size > uvm->vram.size)
		return -ENOMEM;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;

	bo = uvm_bo_create(uvm, size, ufile->client, args->domain, args->flags);
	if (IS_ERR(bo)) {
		ret = PTR_ERR(bo);
		goto exit;
	}
	ret = drm_gem_handle_create(file, &bo->base, &args->handle);
	if (!ret)
		args->size = size;
	/* The handle has its own reference. */
	drm_gem_object_put(&bo->base);
exit:
	drm_dev_exit(idx);
	return ret;
}

/**
 * uvm_ioctl_gem_mmap() - DRM_UVM_GEM_MMAP
 * @drm: the device
 * @data: struct drm_uvm_gem_mmap
 * @file: the caller
 *
 * Return: 0, -EINVAL, -ENOENT.
 */
int uvm_ioctl_gem_mmap(struct drm_device *drm, void *data,
		       struct drm_file *file)
{
	struct drm_uvm_gem_mmap *args = data;
	struct drm_gem_object *obj;
	int ret;

	if (args->pad)
		return -EINVAL;
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	ret = drm_gem_create_mmap_offset(obj);
	if (!ret)
		args->offset = drm_vma_node_offset_addr(&obj->vma_node);
	drm_gem_object_put(obj);
	return ret;
}

/**
 * uvm_ioctl_gem_info() - DRM_UVM_GEM_INFO
 * @drm: the device
 * @data: struct drm_uvm_gem_info
 * @file: the caller
 *
 * Return: 0, -ENOENT.
 */
int uvm_ioctl_gem_info(struct drm_device *drm, void *data,
		       struct drm_file *file)
{
	struct drm_uvm_gem_info *args = data;
	struct drm_gem_object *obj;
	u64 offset;

	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	uvm_mm_bo_place(to_uvm_bo(obj), &args->domain, &offset);
	args->size = obj->size;
	args->gpu_addr = uvm_gpu_addr(args->domain, offset);
	drm_gem_object_put(obj);
	return 0;
}

/**
 * uvm_ioctl_gem_wait() - DRM_UVM_GEM_WAIT
 * @drm: the device
 * @data: struct drm_uvm_gem_wait
 * @file: the caller
 *
 * Return: 0, -ETIME when it is still busy, -EINVAL, -ERESTARTSYS.
 */
int uvm_ioctl_gem_wait(struct drm_device *drm, void *data,
		       struct drm_file *file)
{
	struct drm_uvm_gem_wait *args = data;
	unsigned long timeout = MAX_SCHEDULE_TIMEOUT;
	struct drm_gem_object *obj;
	long ret;

	if (args->flags)
		return -EINVAL;
	if (args->timeout_ns >= 0)
		timeout = min_t(u64, nsecs_to_jiffies64(args->timeout_ns +
				(args->timeout_ns ? TICK_NSEC : 0)),
				MAX_SCHEDULE_TIMEOUT - 1);
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	ret = dma_resv_wait_timeout(obj->resv, DMA_RESV_USAGE_BOOKKEEP, true,
				    timeout);
	drm_gem_object_put(obj);
	if (ret < 0)
		return ret;
	return ret ? 0 : -ETIME;
}
