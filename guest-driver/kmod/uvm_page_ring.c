// SPDX-License-Identifier: GPL-2.0
/*
 * The PAGE rings of the SDMA instances: copies of the memory manager, and those
 * that somebody's page fault waits for. A job on a GFX ring may wait for a page
 * itself; these rings run packets of the driver alone, in its own VMID, and so
 * never do.
 *
 * No scheduler and no indirect buffers: packets lie in the ring itself, and who
 * emits them waits for them. There is room for the packets of all who may be at
 * it at once: a copy of pages has a window (uvm_migrate_copy.c), and one of a
 * buffer a worker (uvm_mm_copy.c).
 */

#include <linux/iopoll.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/sizes.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

#define UVM_PAGE_RING_BYTES	SZ_64K
#define UVM_PAGE_RING_DWORDS	(UVM_PAGE_RING_BYTES / sizeof(u32))
/* How often a waiter looks itself, should an interrupt be lost. */
#define UVM_PAGE_RING_LOOK_MS	50
#define UVM_PAGE_RING_MIN_MS	2000u
#define UVM_PAGE_RING_STOP_US	1000000
/* Resets in a row after which it is left alone. */
#define UVM_PAGE_RING_TRIES	3

/*
 * One packet a page of each window or a part of a buffer; what binds before and
 * unbinds after, and the fence.
 */
static_assert(UVM_COPY_WINDOWS *
	      (UVM_COPY_MAX_PAGES * SDMA_PKT_COPY_LINEAR_DWORDS + 64) +
	      UVM_MM_WORKERS *
	      (UVM_MM_COPY_PARTS * SDMA_PKT_COPY_LINEAR_DWORDS + 64) <
	      UVM_PAGE_RING_DWORDS);
static_assert(SDMA_PKT_CONST_FILL_DWORDS <= SDMA_PKT_COPY_LINEAR_DWORDS);

static u32 uvm_page_ring_rreg(struct uvm_page_ring *ring, u32 index)
{
	return uvm_rreg(ring->uvm, index + ring->index * SDMA_INSTANCE_STRIDE);
}

static void uvm_page_ring_wreg(struct uvm_page_ring *ring, u32 index, u32 value)
{
	uvm_wreg(ring->uvm, index + ring->index * SDMA_INSTANCE_STRIDE, value);
}

static __le32 *uvm_page_ring_fence(struct uvm_page_ring *ring)
{
	return ring->wb.cpu + UVM_WB_FENCE;
}

static bool uvm_page_ring_reached(struct uvm_page_ring *ring, u32 seq)
{
	u32 reached = le32_to_cpu(READ_ONCE(*uvm_page_ring_fence(ring)));

	/* What was copied before it. */
	dma_rmb();
	return (s32)(reached - seq) >= 0;
}

/* Switches the ring on, empty, at its write pointer. */
static void uvm_page_ring_run(struct uvm_page_ring *ring)
{
	const u32 n = UVM_PAGE_RING;
	u64 at = ring->wptr << 2, wb = ring->wb.gpu + UVM_WB_RPTR;

	uvm_page_ring_wreg(ring, mmSDMA_RB_BASE(n), ring->buf.gpu >> 8);
	uvm_page_ring_wreg(ring, mmSDMA_RB_BASE_HI(n), ring->buf.gpu >> 40);
	uvm_page_ring_wreg(ring, mmSDMA_RB_RPTR(n), lower_32_bits(at));
	uvm_page_ring_wreg(ring, mmSDMA_RB_RPTR_HI(n), upper_32_bits(at));
	uvm_page_ring_wreg(ring, mmSDMA_MINOR_PTR_UPDATE(n), 1);
	uvm_page_ring_wreg(ring, mmSDMA_RB_WPTR_HI(n), upper_32_bits(at));
	uvm_page_ring_wreg(ring, mmSDMA_RB_WPTR(n), lower_32_bits(at));
	uvm_page_ring_wreg(ring, mmSDMA_MINOR_PTR_UPDATE(n), 0);
	uvm_page_ring_wreg(ring, mmSDMA_RB_RPTR_ADDR_HI(n), upper_32_bits(wb));
	uvm_page_ring_wreg(ring, mmSDMA_RB_RPTR_ADDR_LO(n),
			   lower_32_bits(wb) & SDMA_RB_RPTR_ADDR_LO__ADDR);
	uvm_page_ring_wreg(ring, mmSDMA_DOORBELL_OFFSET(n),
			   FIELD_PREP(SDMA_DOORBELL_OFFSET__OFFSET,
				      ring->doorbell * 2));
	uvm_page_ring_wreg(ring, mmSDMA_DOORBELL(n), SDMA_DOORBELL__ENABLE);
	uvm_page_ring_wreg(ring, mmSDMA_RB_CNTL(n),
			   FIELD_PREP(SDMA_RB_CNTL__RB_SIZE,
				      ilog2(UVM_PAGE_RING_DWORDS)) |
			   SDMA_RB_CNTL__RPTR_WRITEBACK_ENABLE |
			   SDMA_RB_CNTL__RB_PRIV | SDMA_RB_CNTL__RB_ENABLE);
}

/*
 * When this returns 0, the engine reaches nothing for this ring any more. A
 * doorbell on its way would find the ring set up anew: the last is waited for.
 */
static int uvm_page_ring_off(struct uvm_page_ring *ring)
{
	u32 last = lower_32_bits(ring->wptr << 2), value;
	int ret;

	ret = read_poll_timeout(uvm_page_ring_rreg, value, value == last, 100,
				UVM_PAGE_RING_STOP_US, false, ring,
				mmSDMA_RB_WPTR(UVM_PAGE_RING));
	uvm_page_ring_wreg(ring, mmSDMA_DOORBELL(UVM_PAGE_RING), 0);
	uvm_page_ring_wreg(ring, mmSDMA_RB_CNTL(UVM_PAGE_RING), 0);
	return read_poll_timeout(uvm_page_ring_rreg, value,
				 value & SDMA_CONTEXT_STATUS__IDLE, 100,
				 UVM_PAGE_RING_STOP_US, false, ring,
				 mmSDMA_CONTEXT_STATUS(UVM_PAGE_RING)) ?: ret;
}

/* Ends every copy that is under way with an error. */
static void uvm_page_ring_fail(struct uvm_page_ring *ring, int error)
{
	struct uvm_page_fence *fence;

	lockdep_assert_held(&ring->lock);
	list_for_each_entry(fence, &ring->running, node)
		if (!uvm_page_ring_reached(ring, fence->seq))
			WRITE_ONCE(fence->error, error);
	/* As if it had got there: later fences count on from here. */
	WRITE_ONCE(*uvm_page_ring_fence(ring), cpu_to_le32(ring->emitted));
	wake_up_all(&ring->wait);
}

/**
 * uvm_page_ring_init() - memory of a ring
 * @uvm: the device, with VMID 0
 * @index: SDMA instance
 *
 * Return: 0 or an errno.
 */
int uvm_page_ring_init(struct uvm_device *uvm, u32 index)
{
	struct uvm_page_ring *ring = &uvm->devmem.rings[index];
	int ret;

	ring->doorbell = UVM_DOORBELL_SDMA0_GFX +
			 index * UVM_DOORBELL_SDMA_SLOTS + UVM_PAGE_RING;
	ret = uvm_kbuf_alloc(uvm, &ring->buf, UVM_PAGE_RING_BYTES);
	if (ret)
		return ret;
	ret = uvm_kbuf_alloc(uvm, &ring->wb, PAGE_SIZE);
	if (ret)
		uvm_kbuf_free(uvm, &ring->buf);
	return ret;
}

/**
 * uvm_page_ring_start() - bring a ring up
 * @ring: of uvm_page_ring_init(); its instance runs already
 *
 * Return: 0 or an errno.
 */
int uvm_page_ring_start(struct uvm_page_ring *ring)
{
	/* The engine fetches the ring itself through the GART. */
	int ret = uvm_gart_flush(ring->uvm);

	if (ret)
		return ret;
	mutex_lock(&ring->lock);
	WRITE_ONCE(ring->started, true);
	uvm_page_ring_run(ring);
	mutex_unlock(&ring->lock);
	return 0;
}

/**
 * uvm_page_ring_test() - see that packets, fences and interrupts work
 * @ring: the ring, started, with nothing on it
 *
 * Return: 0 or why not.
 */
int uvm_page_ring_test(struct uvm_page_ring *ring)
{
	struct uvm_page_fence fence;
	int ret = uvm_page_ring_begin(ring);

	if (ret)
		return ret;
	uvm_page_ring_end(ring, &fence);
	ret = uvm_page_ring_wait(&fence);
	if (ret)
		drm_err(&ring->uvm->drm, "%s: ring test failed: %d\n",
			ring->name, ret);
	return ret;
}

/**
 * uvm_page_ring_stop() - stop for good
 * @ring: the ring
 *
 * What is under way fails with -ENODEV, and so does all that comes.
 */
void uvm_page_ring_stop(struct uvm_page_ring *ring)
{
	mutex_lock(&ring->lock);
	ring->dead = true;
	if (ring->started && !uvm_is_lost(ring->uvm))
		uvm_page_ring_off(ring);
	if (ring->started)
		uvm_page_ring_fail(ring, -ENODEV);
	mutex_unlock(&ring->lock);
}

/**
 * uvm_page_ring_fini() - give the memory back
 * @ring: the ring, stopped, or never initialised
 */
void uvm_page_ring_fini(struct uvm_page_ring *ring)
{
	uvm_kbuf_free(ring->uvm, &ring->wb);
	uvm_kbuf_free(ring->uvm, &ring->buf);
}

/**
 * uvm_page_ring_kick() - let waiters look
 * @ring: the ring
 *
 * Context: any.
 */
void uvm_page_ring_kick(struct uvm_page_ring *ring)
{
	if (READ_ONCE(ring->started))
		wake_up_all(&ring->wait);
}

/**
 * uvm_page_ring_interrupt() - a vector names the ring
 * @ring: the ring
 * @source: IH_SRC_SDMA_*
 */
void uvm_page_ring_interrupt(struct uvm_page_ring *ring, u8 source)
{
	if (source == IH_SRC_SDMA_TRAP)
		atomic64_inc(&ring->traps);
	uvm_page_ring_kick(ring);
}

/**
 * uvm_page_ring_begin() - start with packets
 * @ring: the ring
 *
 * Context: within drm_dev_enter(). Allocates nothing.
 * Return: 0, the ring is locked then; -ENODEV when it is not used any more.
 */
int uvm_page_ring_begin(struct uvm_page_ring *ring)
{
	mutex_lock(&ring->lock);
	if (!ring->dead)
		return 0;
	mutex_unlock(&ring->lock);
	return -ENODEV;
}

/**
 * uvm_page_ring_put() - add a packet
 * @ring: of uvm_page_ring_begin()
 * @packet: the packet
 * @n: dwords; a copy has at most UVM_COPY_MAX_PAGES packets
 */
void uvm_page_ring_put(struct uvm_page_ring *ring, const __le32 *packet, u32 n)
{
	__le32 *buf = ring->buf.cpu;
	u32 i;

	for (i = 0; i < n; i++)
		buf[ring->wptr++ & (UVM_PAGE_RING_DWORDS - 1)] = packet[i];
}

/**
 * uvm_page_ring_put_flush() - have the hub forget what it knows of VMID 0
 * @ring: of uvm_page_ring_begin()
 *
 * The packets that follow see what entries are then.
 */
void uvm_page_ring_put_flush(struct uvm_page_ring *ring)
{
	__le32 packet[16];
	u32 n = uvm_gmc_emit_flush(packet, ring->index);

	uvm_page_ring_put(ring, packet, n);
}

/**
 * uvm_page_ring_end() - let the engine run the packets
 * @ring: of uvm_page_ring_begin(); it is unlocked
 * @fence: out: their end, for uvm_page_ring_wait()
 */
void uvm_page_ring_end(struct uvm_page_ring *ring,
		       struct uvm_page_fence *fence)
{
	const u32 n = UVM_PAGE_RING;
	__le32 packet[8];
	u64 wptr;

	fence->ring = ring;
	fence->seq = ++ring->emitted;
	fence->error = 0;
	list_add_tail(&fence->node, &ring->running);
	uvm_page_ring_put(ring, packet,
			  uvm_emit_fence(packet, ring->wb.gpu + UVM_WB_FENCE,
					 fence->seq));
	uvm_page_ring_put(ring, packet, uvm_emit_trap(packet, 0));
	wptr = ring->wptr << 2;
	/* Write-combined VRAM too. */
	wmb();
	if (!uvm_doorbell(ring->uvm, ring->doorbell, wptr)) {
		uvm_page_ring_wreg(ring, mmSDMA_MINOR_PTR_UPDATE(n), 1);
		uvm_page_ring_wreg(ring, mmSDMA_RB_WPTR_HI(n),
				   upper_32_bits(wptr));
		uvm_page_ring_wreg(ring, mmSDMA_RB_WPTR(n),
				   lower_32_bits(wptr));
		uvm_page_ring_wreg(ring, mmSDMA_MINOR_PTR_UPDATE(n), 0);
	}
	mutex_unlock(&ring->lock);
}

/* The engine refused a packet, or met broken memory. */
static bool uvm_page_ring_stopped(struct uvm_page_ring *ring)
{
	return FIELD_GET(SDMA_CONTEXT_STATUS__EXCEPTION,
			 uvm_page_ring_rreg(ring,
					    mmSDMA_CONTEXT_STATUS(UVM_PAGE_RING)));
}

/* Takes what is under way from a ring that does not get on with it. */
static void uvm_page_ring_recover(struct uvm_page_ring *ring,
				  struct uvm_page_fence *fence)
{
	int ret;

	mutex_lock(&ring->lock);
	/* It came meanwhile, or somebody else did this. */
	if (ring->dead || READ_ONCE(fence->error) ||
	    uvm_page_ring_reached(ring, fence->seq))
		goto unlock;
	atomic64_inc(&ring->resets);
	drm_err_ratelimited(&ring->uvm->drm,
			    "%s: copy %u does not end, reached %u: RPTR %#x WPTR %#llx CONTEXT_STATUS %#x, resetting the ring\n",
			    ring->name, fence->seq,
			    le32_to_cpu(READ_ONCE(*uvm_page_ring_fence(ring))),
			    uvm_page_ring_rreg(ring, mmSDMA_RB_RPTR(UVM_PAGE_RING)),
			    ring->wptr << 2,
			    uvm_page_ring_rreg(ring, mmSDMA_CONTEXT_STATUS(UVM_PAGE_RING)));
	ret = uvm_page_ring_off(ring);
	uvm_page_ring_fail(ring, -EIO);
	if (ret || ++ring->failures >= UVM_PAGE_RING_TRIES) {
		drm_err(&ring->uvm->drm, "%s: not used any more\n", ring->name);
		ring->dead = true;
	} else {
		uvm_page_ring_run(ring);
	}
unlock:
	mutex_unlock(&ring->lock);
}

/**
 * uvm_page_ring_wait() - wait until packets have run
 * @fence: of uvm_page_ring_end()
 *
 * Ends: what does not come in time is taken from the ring. When this returns,
 * the engine reaches nothing of what they copy any more.
 *
 * Context: within drm_dev_enter(). Allocates nothing.
 * Return: 0, -EIO, -ENODEV; part may have been copied then.
 */
int uvm_page_ring_wait(struct uvm_page_fence *fence)
{
	struct uvm_page_ring *ring = fence->ring;
	unsigned long end = jiffies +
		msecs_to_jiffies(max(uvm_timeout_ms, UVM_PAGE_RING_MIN_MS));
	int ret;

	while (!wait_event_timeout(ring->wait,
				   READ_ONCE(fence->error) ||
				   uvm_page_ring_reached(ring, fence->seq),
				   msecs_to_jiffies(UVM_PAGE_RING_LOOK_MS))) {
		/* The interrupt may be lost, and others with it. */
		uvm_ih_poll(ring->uvm);
		if (time_after(jiffies, end) || uvm_page_ring_stopped(ring))
			uvm_page_ring_recover(ring, fence);
	}
	mutex_lock(&ring->lock);
	ret = fence->error;
	list_del(&fence->node);
	if (!ret)
		ring->failures = 0;
	mutex_unlock(&ring->lock);
	return ret;
}
