// SPDX-License-Identifier: GPL-2.0
/*
 * The CPU's way to bytes of buffers wherever they are: debuggers read and write
 * what a process has mapped, and programs a few bytes that are not worth a
 * mapping.
 *
 * VRAM beyond the end of the BAR is reached by an engine, through a buffer in
 * the GART. Where no engine can be asked, because one hangs and is looked at,
 * there are the index registers, a dword at a time.
 */

#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_vma_manager.h>

#include "uvm_drv.h"

/* Bytes of a copy. */
#define UVM_PEEK_BYTES		SZ_64K
/* The engine that copies. */
#define UVM_PEEK_RING		0

static int uvm_peek_by_sdma(struct uvm_device *uvm, u64 offset, void *buf,
			    u64 len, bool write)
{
	struct uvm_ring *ring = &uvm->rings[UVM_PEEK_RING];
	u64 vram = uvm_gpu_addr(UVM_DOMAIN_VRAM, offset);
	struct uvm_peek *peek = &uvm->peek;
	u64 at, part;
	int ret = 0;

	mutex_lock(&peek->lock);
	if (!peek->buf.cpu)
		ret = uvm_kbuf_alloc(uvm, &peek->buf, UVM_PEEK_BYTES);
	for (at = 0; at < len && !ret; at += part) {
		part = min_t(u64, len - at, UVM_PEEK_BYTES);
		if (write) {
			memcpy(peek->buf.cpu, buf + at, part);
			ret = uvm_sdma_copy(ring, vram + at, peek->buf.gpu,
					    part);
		} else {
			ret = uvm_sdma_copy(ring, peek->buf.gpu, vram + at,
					    part);
			memcpy(buf + at, peek->buf.cpu, part);
		}
	}
	mutex_unlock(&peek->lock);
	return ret;
}

static int uvm_peek_vram(struct uvm_device *uvm, u64 offset, void *buf,
			 u64 len, bool write)
{
	if (offset > uvm->vram.size || len > uvm->vram.size - offset)
		return -EFAULT;
	if (offset >= uvm->vram.visible || len > uvm->vram.visible - offset)
		return uvm_peek_by_sdma(uvm, offset, buf, len, write);
	if (write) {
		memcpy_toio(uvm->vram.cpu + offset, buf, len);
		/* Out of the write-combining buffers. */
		wmb();
	} else {
		memcpy_fromio(buf, uvm->vram.cpu + offset, len);
	}
	return 0;
}

static int uvm_peek_pages(struct page **pages, u64 offset, void *buf, u64 len,
			  bool write)
{
	u64 at, part;

	for (at = 0; at < len; at += part) {
		struct page *page = pages[(offset + at) >> PAGE_SHIFT];
		u32 in = offset_in_page(offset + at);

		if (!page)
			return -EIO;
		part = min_t(u64, len - at, PAGE_SIZE - in);
		if (write)
			memcpy_to_page(page, in, buf + at, part);
		else
			memcpy_from_page(buf + at, page, in, part);
	}
	/* Pages that are mapped unsnooped write through such buffers as well. */
	if (write)
		wmb();
	return 0;
}

static int uvm_peek_at(struct uvm_bo *bo, u32 domain, u64 place, u64 offset,
		       void *buf, u64 len, bool write)
{
	if (domain == UVM_DOMAIN_VRAM)
		return uvm_peek_vram(to_uvm(bo->base.dev), place + offset, buf,
				     len, write);
	return uvm_peek_pages(bo->pages, offset, buf, len, write);
}

/* A use has the buffer stay in a segment meanwhile; it need not be visible. */
static int uvm_peek_held(struct uvm_bo *bo, u64 offset, void *buf, u64 len,
			     bool write)
{
	struct uvm_mm_use *use;
	u32 domain;
	u64 place;
	int ret;

	use = uvm_mm_use_set(bo->mm.client, &bo->policy_id, 1, 0);
	if (IS_ERR(use))
		return PTR_ERR(use);
	ret = uvm_mm_bo_place(bo, &domain, &place);
	if (!ret)
		ret = uvm_peek_at(bo, domain, place, offset, buf, len, write);
	uvm_mm_use_end(use);
	return ret;
}

/**
 * uvm_bo_access() - read or write bytes of a buffer
 * @bo: the buffer
 * @offset: first byte
 * @buf: where to or from; kernel memory
 * @len: bytes, within the buffer
 * @write: which
 *
 * Context: within drm_dev_enter(); no reservation lock is held. Waits for
 * workers and jobs, but for no page of a process.
 * Return: 0, -EOPNOTSUPP for a buffer of another driver, -ERESTARTSYS, -ENOSPC,
 * -ENOMEM, or why the engine failed.
 */
int uvm_bo_access(struct uvm_bo *bo, u64 offset, void *buf, u64 len,
		  bool write)
{
	/* Another driver's, whose own functions are to be asked. */
	if (bo->base.import_attach)
		return -EOPNOTSUPP;
	return uvm_peek_held(bo, offset, buf, len, write);
}

/**
 * uvm_bo_vm_access() - a debugger reads or writes what a process has mapped
 * @vma: the mapping
 * @addr: first address
 * @buf: where to or from
 * @len: bytes
 * @write: which
 *
 * Nothing is faulted in for it, and nothing moved to where the CPU reaches it.
 *
 * Return: bytes, or a negative errno.
 */
int uvm_bo_vm_access(struct vm_area_struct *vma, unsigned long addr, void *buf,
		     int len, int write)
{
	struct drm_gem_object *obj = vma->vm_private_data;
	u64 offset = addr - vma->vm_start +
		((u64)(vma->vm_pgoff - drm_vma_node_start(&obj->vma_node))
		 << PAGE_SHIFT);
	int idx, ret;

	if (len <= 0 || offset >= obj->size)
		return -EFAULT;
	len = min_t(u64, len, obj->size - offset);
	if (!drm_dev_enter(obj->dev, &idx))
		return -EIO;
	ret = uvm_bo_access(to_uvm_bo(obj), offset, buf, len, write);
	drm_dev_exit(idx);
	return ret ?: len;
}

static u32 uvm_peek_dword(struct uvm_device *uvm, u64 offset)
{
	u32 value;

	mutex_lock(&uvm->peek.index_lock);
	uvm_wreg(uvm, mmMM_INDEX,
		 MM_INDEX__MM_APER | (lower_32_bits(offset) & ~MM_INDEX__MM_APER));
	uvm_wreg(uvm, mmMM_INDEX_HI, offset >> 31);
	value = uvm_rreg(uvm, mmMM_DATA);
	mutex_unlock(&uvm->peek.index_lock);
	return value;
}

/**
 * uvm_peek_read() - read VRAM without an engine
 * @uvm: the device
 * @offset: byte in VRAM, a multiple of 4
 * @buf: where to
 * @len: bytes, a multiple of 4, within VRAM
 *
 * Slow where the CPU does not reach: for when something hangs. Context: within
 * drm_dev_enter(); allocates nothing.
 */
void uvm_peek_read(struct uvm_device *uvm, u64 offset, void *buf, u64 len)
{
	__le32 *to = buf;
	u64 at;

	if (offset < uvm->vram.visible && len <= uvm->vram.visible - offset) {
		memcpy_fromio(buf, uvm->vram.cpu + offset, len);
		return;
	}
	for (at = 0; at + sizeof(*to) <= len; at += sizeof(*to))
		*to++ = cpu_to_le32(uvm_peek_dword(uvm, offset + at));
}

/**
 * uvm_ioctl_gem_access() - DRM_UVM_GEM_ACCESS
 * @drm: the device
 * @data: struct drm_uvm_gem_access
 * @file: the caller
 *
 * The caller's memory may be a mapping of the same buffer: it is touched only
 * while nothing is held.
 *
 * Return: 0, -EINVAL, -ENOENT, -EFAULT, and what uvm_bo_access() returns; part
 * may have been read or written then.
 */
int uvm_ioctl_gem_access(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct drm_uvm_gem_access *args = data;
	bool write = args->flags & UVM_ACCESS_WRITE;
	void __user *user = u64_to_user_ptr(args->data);
	struct drm_gem_object *obj;
	u64 at, part, room;
	int idx, ret = 0;
	void *buf;

	if (args->flags & ~UVM_ACCESS_WRITE || !args->size)
		return -EINVAL;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj) {
		ret = -ENOENT;
		goto exit;
	}
	if (args->offset > obj->size || args->size > obj->size - args->offset) {
		ret = -EINVAL;
		goto put;
	}
	room = min_t(u64, args->size, UVM_PEEK_BYTES);
	buf = kvmalloc(room, GFP_KERNEL);
	if (!buf) {
		ret = -ENOMEM;
		goto put;
	}
	for (at = 0; at < args->size && !ret; at += part) {
		part = min(args->size - at, room);
		if (write && copy_from_user(buf, user + at, part))
			ret = -EFAULT;
		if (!ret)
			ret = uvm_bo_access(to_uvm_bo(obj), args->offset + at,
					    buf, part, write);
		if (!ret && !write && copy_to_user(user + at, buf, part))
			ret = -EFAULT;
	}
	kvfree(buf);
put:
	drm_gem_object_put(obj);
exit:
	drm_dev_exit(idx);
	return ret;
}

/**
 * uvm_peek_init() - get ready
 * @uvm: the device
 */
void uvm_peek_init(struct uvm_device *uvm)
{
	mutex_init(&uvm->peek.lock);
	mutex_init(&uvm->peek.index_lock);
}

/**
 * uvm_peek_fini() - give back what was needed
 * @uvm: the device; nobody accesses anything
 */
void uvm_peek_fini(struct uvm_device *uvm)
{
	uvm_kbuf_free(uvm, &uvm->peek.buf);
	mutex_destroy(&uvm->peek.index_lock);
	mutex_destroy(&uvm->peek.lock);
}
