// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers that are shared with other drivers as dma-bufs.
 *
 * One of ours lies in system pages, and stays there, as long as another device
 * is attached to it: nobody else's device reaches VRAM, and none is told that a
 * buffer moves. Whether a buffer that was exported is attached to is not known
 * before; until then it moves as ever, mappings of the dma-buf included.
 *
 * One of theirs is system pages whose addresses we were told. It is mapped in
 * the GART and in address spaces like any other, but never goes to VRAM, and its
 * pages are the exporter's to look after. Fences of either side are in the
 * reservation object, which the two share.
 */

#include <linux/dma-buf.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include <drm/drm_prime.h>
#include <drm/drm_print.h>

#include "uvm_drv.h"

/* Pages are made, and brought back from VRAM, before anybody asks for them. */
static int uvm_prime_attach(struct dma_buf *dma_buf,
			    struct dma_buf_attachment *attach)
{
	struct drm_gem_object *obj = dma_buf->priv;
	int idx, ret;

	if (!drm_dev_enter(obj->dev, &idx))
		return -ENODEV;
	/* Others would reach an unsnooped one through the caches. */
	ret = -EOPNOTSUPP;
	if (!to_uvm_bo(obj)->unsnooped)
		ret = uvm_mm_bo_move(to_uvm_bo(obj), UVM_DOMAIN_GTT, true);
	drm_dev_exit(idx);
	return ret;
}

static void uvm_prime_detach(struct dma_buf *dma_buf,
			     struct dma_buf_attachment *attach)
{
	struct drm_gem_object *obj = dma_buf->priv;
	struct uvm_device *uvm = to_uvm(obj->dev);
	int ret;

	ret = uvm_mm_tell_of(uvm, UVM_MM_EV_UNPIN, to_uvm_bo(obj)->policy_id);
	if (ret)
		drm_err(&uvm->drm, "a shared buffer is not let go: %d\n", ret);
}

static const struct dma_buf_ops uvm_prime_ops = {
	.attach = uvm_prime_attach,
	.detach = uvm_prime_detach,
	.map_dma_buf = drm_gem_map_dma_buf,
	.unmap_dma_buf = drm_gem_unmap_dma_buf,
	.release = drm_gem_dmabuf_release,
	.mmap = drm_gem_dmabuf_mmap,
};

/**
 * uvm_prime_sg_table() - the pages of a buffer that another device is attached to
 * @obj: the buffer, locked
 *
 * Return: a table for the caller to map and free, or an ERR_PTR.
 */
struct sg_table *uvm_prime_sg_table(struct drm_gem_object *obj)
{
	return drm_prime_pages_to_sg(obj->dev, to_uvm_bo(obj)->pages,
				     obj->size >> PAGE_SHIFT);
}

/**
 * uvm_prime_export() - make a dma-buf of a buffer
 * @obj: the buffer
 * @flags: of the file
 *
 * Return: the dma-buf or an ERR_PTR.
 */
struct dma_buf *uvm_prime_export(struct drm_gem_object *obj, int flags)
{
	struct dma_buf_export_info info = {
		.exp_name = KBUILD_MODNAME,
		.owner = obj->dev->driver->fops->owner,
		.ops = &uvm_prime_ops,
		.size = obj->size,
		.flags = flags,
		.priv = obj,
		.resv = obj->resv,
	};

	return drm_gem_dmabuf_export(obj->dev, &info);
}

static void uvm_prime_free(struct drm_gem_object *obj)
{
	struct uvm_bo *bo = to_uvm_bo(obj);

	if (bo->mm.client) {
		uvm_mm_bo_fini(bo);
		return;
	}
	/* It never came to be one. */
	kvfree(bo->pages);
	drm_gem_object_release(obj);
	kfree(bo);
}

/* The mapping is the exporter's, which has a reference to its own buffer. */
static int uvm_prime_mmap(struct drm_gem_object *obj,
			  struct vm_area_struct *vma)
{
	int ret;

	vma->vm_ops = NULL;
	vma->vm_private_data = NULL;
	ret = dma_buf_mmap(obj->import_attach->dmabuf, vma, 0);
	if (!ret)
		drm_gem_object_put(obj);
	return ret;
}

static const struct drm_gem_object_funcs uvm_prime_funcs = {
	.free = uvm_prime_free,
	.mmap = uvm_prime_mmap,
};

/*
 * What we were told are the addresses of memory as the device has them, which
 * are the machine's: the device is behind no IOMMU. The pages that they belong to
 * stand for them, and are not looked at.
 */
static int uvm_prime_pages(struct uvm_bo *bo, struct sg_table *sgt)
{
	u64 i = 0, n = bo->base.size >> PAGE_SHIFT;
	struct sg_dma_page_iter iter;
	unsigned long pfn;

	bo->pages = kvcalloc(n, sizeof(*bo->pages), GFP_KERNEL);
	if (!bo->pages)
		return -ENOMEM;
	for_each_sgtable_dma_page(sgt, &iter, 0) {
		pfn = PHYS_PFN(sg_page_iter_dma_address(&iter));
		if (i == n || !pfn_valid(pfn))
			return -EOPNOTSUPP;
		bo->pages[i++] = pfn_to_page(pfn);
	}
	return i == n ? 0 : -EINVAL;
}

/**
 * uvm_prime_import_table() - a buffer of another driver's pages
 * @drm: the device
 * @attach: how it is attached to the dma-buf
 * @sgt: where the pages are
 *
 * Return: the buffer, or ERR_PTR of -EOPNOTSUPP for what is not system memory,
 * -EINVAL, -ENOMEM.
 */
struct drm_gem_object *
uvm_prime_import_table(struct drm_device *drm,
		       struct dma_buf_attachment *attach, struct sg_table *sgt)
{
	struct uvm_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), GFP_KERNEL);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo->base.funcs = &uvm_prime_funcs;
	bo->domain = UVM_DOMAIN_SYSTEM;
	INIT_LIST_HEAD(&bo->mappings);
	drm_gem_private_object_init(drm, &bo->base,
				    PAGE_ALIGN(attach->dmabuf->size));
	ret = uvm_prime_pages(bo, sgt);
	if (!ret)
		ret = uvm_mm_bo_init(bo, to_uvm(drm)->mm.imports,
				     UVM_DOMAIN_SYSTEM, 0);
	if (ret) {
		drm_gem_object_put(&bo->base);
		return ERR_PTR(ret);
	}
	bo->sgt = sgt;
	return &bo->base;
}

/**
 * uvm_prime_import() - a buffer for a dma-buf
 * @drm: the device
 * @dma_buf: one of ours, or of another driver's
 *
 * Return: the buffer that it was made of, or a new one; or an ERR_PTR.
 */
struct drm_gem_object *uvm_prime_import(struct drm_device *drm,
					struct dma_buf *dma_buf)
{
	struct device *dev = drm_dev_dma_dev(drm);
	struct drm_gem_object *obj = dma_buf->priv;

	if (dma_buf->ops == &uvm_prime_ops && obj->dev == drm) {
		drm_gem_object_get(obj);
		return obj;
	}
	/* Its addresses would not be the device's. */
	if (device_iommu_mapped(dev))
		return ERR_PTR(-EOPNOTSUPP);
	return drm_gem_prime_import_dev(drm, dma_buf, dev);
}

MODULE_IMPORT_NS("DMA_BUF");
