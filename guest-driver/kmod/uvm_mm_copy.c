// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of buffers, on the PAGE rings: no job of a process is ahead of them
 * there, or keeps the ring from getting on.
 */

#include <linux/sizes.h>

#include "uvm_drv.h"

static_assert(UVM_MM_CHUNK <= UVM_MM_COPY_PARTS * SDMA_PKT_MAX_BYTES);

/* A ring that works, a worker's own if that does; NULL: none does. */
static struct uvm_page_ring *uvm_mm_page_ring(struct uvm_mm_worker *worker)
{
	struct uvm_device *uvm = worker->uvm;
	struct uvm_page_ring *ring;
	u32 i;

	for (i = 0; i < uvm->nr_rings; i++) {
		ring = &uvm->devmem.rings[(worker->index + i) % uvm->nr_rings];
		if (!READ_ONCE(ring->dead))
			return ring;
	}
	return NULL;
}

/*
 * As many of a copy's packets as a ring is given at a time, or of a clear's if
 * @src is 0. Return: the bytes they are for.
 */
static u64 uvm_mm_emit(struct uvm_page_ring *ring, u64 dst, u64 src, u64 bytes)
{
	u32 part, size, parts;
	__le32 packet[8];
	u64 at = 0;

	for (parts = 0; parts < UVM_MM_COPY_PARTS && at < bytes; parts++) {
		part = min_t(u64, bytes - at, SDMA_PKT_MAX_BYTES);
		if (src)
			size = uvm_emit_copy(packet, dst + at, src + at, part);
		else
			size = uvm_emit_fill(packet, dst + at, 0, part);
		uvm_page_ring_put(ring, packet, size);
		at += part;
	}
	return at;
}

static int uvm_mm_run(struct uvm_mm_worker *worker, u64 dst, u64 src, u64 bytes)
{
	struct uvm_page_ring *ring = uvm_mm_page_ring(worker);
	struct uvm_page_fence fence;
	u64 at = 0;
	int ret = 0;

	if (!ring)
		return -ENODEV;
	while (!ret && at < bytes) {
		ret = uvm_page_ring_begin(ring);
		if (ret)
			break;
		/* What was bound for it. */
		if (!at)
			uvm_page_ring_put_flush(ring);
		at += uvm_mm_emit(ring, dst + at, src ? src + at : 0,
				  bytes - at);
		uvm_page_ring_end(ring, &fence);
		ret = uvm_page_ring_wait(&fence);
	}
	return ret;
}

/**
 * uvm_mm_copy() - copy and wait
 * @worker: for whom
 * @dst: VMID-0 address
 * @src: VMID-0 address, not 0
 * @bytes: how many
 *
 * Context: within drm_dev_enter(). Allocates nothing.
 * Return: 0, -EIO, -ENODEV without a ring, -ETIMEDOUT; part may have been copied.
 */
int uvm_mm_copy(struct uvm_mm_worker *worker, u64 dst, u64 src, u64 bytes)
{
	int ret = uvm_mm_run(worker, dst, src, bytes);

	if (!ret)
		atomic64_add(bytes, &worker->uvm->bytes_moved);
	return ret;
}

/* Through the window, which the ring itself unbinds. */
static int uvm_mm_page_by(struct uvm_page_ring *ring, u64 dst, u64 src,
			  u64 window, u64 bytes)
{
	struct uvm_page_fence fence;
	__le32 packet[16];
	int ret = uvm_page_ring_begin(ring);

	if (ret)
		return ret;
	uvm_page_ring_put_flush(ring);
	uvm_mm_emit(ring, dst, src, bytes);
	uvm_page_ring_put(ring, packet,
			  uvm_gart_emit_dummies(ring->uvm, packet, window,
						bytes >> PAGE_SHIFT));
	uvm_page_ring_put_flush(ring);
	uvm_page_ring_end(ring, &fence);
	return uvm_page_ring_wait(&fence);
}

/**
 * uvm_mm_page() - copy between VRAM and pages that have no GPU address
 * @worker: for whom
 * @bo: the buffer
 * @action: UVM_MM_DO_PAGE_OUT or UVM_MM_DO_PAGE_IN, at most UVM_MM_CHUNK bytes
 *
 * Context: within drm_dev_enter(). Allocates nothing.
 * Return: 0, -EIO, -ENODEV without a ring; part may have been copied.
 */
int uvm_mm_page(struct uvm_mm_worker *worker, struct uvm_bo *bo,
		const struct uvm_mm_action *action)
{
	struct uvm_page_ring *ring = uvm_mm_page_ring(worker);
	u64 nr = action->size >> PAGE_SHIFT, dst, src;
	struct uvm_device *uvm = worker->uvm;
	int ret;

	if (!ring)
		return -ENODEV;
	dst = uvm_gpu_addr(UVM_DOMAIN_GTT, action->gart);
	src = uvm_gpu_addr(UVM_DOMAIN_VRAM, action->from);
	if (action->op == UVM_MM_DO_PAGE_IN) {
		src = dst;
		dst = uvm_gpu_addr(UVM_DOMAIN_VRAM, action->to);
	}
	uvm_gart_write(uvm, action->gart,
		       bo->pages + (action->offset >> PAGE_SHIFT), nr,
		       bo->unsnooped);
	ret = uvm_mm_page_by(ring, dst, src, action->gart, action->size);
	if (ret)
		/* Nobody knows how far it got. */
		uvm_gart_retire(uvm, action->gart, nr);
	else
		atomic64_add(action->size, &uvm->bytes_moved);
	return ret;
}

/**
 * uvm_mm_clear() - fill with zeros and wait
 * @worker: for whom
 * @dst: VMID-0 address, a multiple of 4
 * @bytes: how many, a multiple of 4
 *
 * As uvm_mm_copy().
 */
int uvm_mm_clear(struct uvm_mm_worker *worker, u64 dst, u64 bytes)
{
	return uvm_mm_run(worker, dst, 0, bytes);
}
