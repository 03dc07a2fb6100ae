// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of buffers, on the PAGE rings: no job of a process is ahead of them
 * there, or keeps the ring from getting on.
 */

#include "uvm_drv.h"

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

/* The next of a copy's packets, or of a clear's if @src is 0. */
static u64 uvm_mm_emit(struct uvm_page_ring *ring, u64 dst, u64 src, u64 bytes)
{
	u32 part = min_t(u64, bytes, SDMA_PKT_MAX_BYTES), size;
	__le32 packet[8];

	if (src)
		size = uvm_emit_copy(packet, dst, src, part);
	else
		size = uvm_emit_fill(packet, dst, 0, part);
	uvm_page_ring_put(ring, packet, size);
	return part;
}

static int uvm_mm_run(struct uvm_mm_worker *worker, u64 dst, u64 src, u64 bytes)
{
	struct uvm_page_ring *ring = uvm_mm_page_ring(worker);
	struct uvm_page_fence fence;
	u64 at = 0;
	u32 parts;
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
		for (parts = 0; parts < UVM_MM_COPY_PARTS && at < bytes; parts++)
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
