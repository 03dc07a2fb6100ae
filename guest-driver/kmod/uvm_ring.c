// SPDX-License-Identifier: GPL-2.0
/*
 * An SDMA instance and its GFX ring: bring-up, emission, recovery.
 *
 * The ring's pointers are byte offsets that never wrap; its size masks them.
 */

#include <linux/iopoll.h>
#include <linux/log2.h>
#include <linux/sizes.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/* Room for UVM_RING_JOBS jobs of at most 32 dwords each, several times. */
#define UVM_RING_BYTES		SZ_64K
/* Packets that the driver's own moves are made of. */
#define UVM_MOVE_IB_BYTES	SZ_16K
/* Packets shown of a ring that hangs, dwords. */
#define UVM_DUMP_DWORDS		16u
/* A user can hang a ring as often as they like; the log stays readable. */
#define UVM_DUMP_INTERVAL	(10 * HZ)
#define UVM_DUMP_BURST		20
#define UVM_SETTLE_TIMEOUT_US	1000000
/* CONTEXT_STATUS.EXCEPTION: an access failed and no page stood in. */
#define UVM_EXCEPTION_FAULT	2
/* What it read has an uncorrectable error. */
#define UVM_EXCEPTION_POISON	4

/**
 * uvm_ring_reg() - a register of the ring's instance
 * @ring: the ring
 * @index: the register in instance 0
 *
 * Return: dword index.
 */
u32 uvm_ring_reg(struct uvm_ring *ring, u32 index)
{
	return index + ring->index * SDMA_INSTANCE_STRIDE;
}

/**
 * uvm_ring_wb() - a place in the ring's write-back page
 * @ring: the ring
 * @offset: UVM_WB_*
 *
 * Return: the dword.
 */
__le32 *uvm_ring_wb(struct uvm_ring *ring, u32 offset)
{
	return ring->wb.cpu + offset;
}

static u32 uvm_ring_rreg(struct uvm_ring *ring, u32 index)
{
	return uvm_rreg(ring->uvm, uvm_ring_reg(ring, index));
}

static void uvm_ring_wreg(struct uvm_ring *ring, u32 index, u32 value)
{
	uvm_wreg(ring->uvm, uvm_ring_reg(ring, index), value);
}

/* Where the next packet goes; packets do not straddle the ring's end. */
static __le32 *uvm_ring_at(struct uvm_ring *ring, u64 dword)
{
	return (__le32 *)ring->buf.cpu + (dword & ring->mask);
}

static void uvm_ring_write(struct uvm_ring *ring, const __le32 *packet, u32 n)
{
	u32 i;

	for (i = 0; i < n; i++)
		*uvm_ring_at(ring, ring->wptr++) = packet[i];
}

/* Advances to the next dword that is @rest modulo 8. */
static void uvm_ring_pad(struct uvm_ring *ring, u32 rest)
{
	const __le32 nop = cpu_to_le32(SDMA_PKT_NOP);

	while ((ring->wptr & 7) != rest)
		uvm_ring_write(ring, &nop, 1);
}

static u32 uvm_ring_room(struct uvm_ring *ring)
{
	u32 rptr = le32_to_cpu(READ_ONCE(*uvm_ring_wb(ring, UVM_WB_RPTR)));
	u32 used = (u32)(ring->wptr << 2) - rptr;

	return (ring->mask + 1) - (used >> 2);
}

/* Hands everything up to the write pointer to the engine. */
static void uvm_ring_commit(struct uvm_ring *ring)
{
	u64 wptr = ring->wptr << 2;

	/* Write-combined VRAM too. */
	wmb();
	if (uvm_doorbell(ring->uvm, ring->doorbell, wptr))
		return;
	/* The queue is dead, or else this would be overtaken by it later. */
	uvm_ring_wreg(ring, mmSDMA_MINOR_PTR_UPDATE(0), 1);
	uvm_ring_wreg(ring, mmSDMA_RB_WPTR_HI(0), upper_32_bits(wptr));
	uvm_ring_wreg(ring, mmSDMA_RB_WPTR(0), lower_32_bits(wptr));
	uvm_ring_wreg(ring, mmSDMA_MINOR_PTR_UPDATE(0), 0);
}

/**
 * uvm_ring_submit() - run an indirect buffer
 * @ring: the ring
 * @vmid: the address space of the packets
 * @ib: their address in it, a multiple of 32
 * @ib_dwords: how many, a multiple of 8
 * @fence: signals when they are done; emitted here
 *
 * Context: within drm_dev_enter(). Allocates nothing.
 *
 * Return: 0, -ENODEV when the ring is gone, -EBUSY when it is full; the fence
 * was not emitted then.
 */
int uvm_ring_submit(struct uvm_ring *ring, u32 vmid, u64 ib, u32 ib_dwords,
		    struct uvm_fence *fence)
{
	__le32 packet[8];
	int ret;

	ret = uvm_gart_flush(ring->uvm);
	if (ret)
		return ret;

	mutex_lock(&ring->lock);
	if (ring->dead) {
		ret = -ENODEV;
		goto unlock;
	}
	if (uvm_ring_room(ring) < 32) {
		ret = -EBUSY;
		goto unlock;
	}
	fence->vmid = vmid;
	uvm_fence_emit(ring, fence);

	/* An INDIRECT packet ends on a multiple of eight dwords. */
	uvm_ring_pad(ring, 8 - SDMA_PKT_INDIRECT_DWORDS);
	uvm_ring_write(ring, packet,
		       uvm_emit_indirect(packet, vmid, ib, ib_dwords));
	uvm_ring_write(ring, packet,
		       uvm_emit_fence(packet, ring->wb.gpu + UVM_WB_FENCE,
				      fence->seq));
	uvm_ring_write(ring, packet, uvm_emit_trap(packet, 0));
	uvm_ring_pad(ring, 0);
	fence->end = ring->wptr;
	uvm_ring_commit(ring);
unlock:
	mutex_unlock(&ring->lock);
	return ret;
}

/**
 * uvm_ring_submit_raw() - run a packet from the ring itself
 * @ring: the ring
 * @packet: the packet
 * @n: dwords; few enough for an empty ring
 *
 * For tests: no fence tells when it is done. Context: within drm_dev_enter().
 */
void uvm_ring_submit_raw(struct uvm_ring *ring, const __le32 *packet, u32 n)
{
	mutex_lock(&ring->lock);
	uvm_ring_write(ring, packet, n);
	uvm_ring_pad(ring, 0);
	uvm_ring_commit(ring);
	mutex_unlock(&ring->lock);
}

/* Starts the engine at @rptr (dwords) of a halted ring. */
static void uvm_ring_run(struct uvm_ring *ring, u64 rptr)
{
	u32 size = ilog2(ring->mask + 1);

	WRITE_ONCE(*uvm_ring_wb(ring, UVM_WB_RPTR),
		   cpu_to_le32(lower_32_bits(rptr << 2)));
	uvm_ring_wreg(ring, mmSDMA_RB_RPTR(0), lower_32_bits(rptr << 2));
	uvm_ring_wreg(ring, mmSDMA_RB_RPTR_HI(0), upper_32_bits(rptr << 2));
	uvm_ring_wreg(ring, mmSDMA_MINOR_PTR_UPDATE(0), 1);
	uvm_ring_wreg(ring, mmSDMA_RB_WPTR_HI(0),
		      upper_32_bits(ring->wptr << 2));
	uvm_ring_wreg(ring, mmSDMA_RB_WPTR(0), lower_32_bits(ring->wptr << 2));
	uvm_ring_wreg(ring, mmSDMA_MINOR_PTR_UPDATE(0), 0);
	uvm_ring_wreg(ring, mmSDMA_RB_CNTL(0),
		      FIELD_PREP(SDMA_RB_CNTL__RB_SIZE, size) |
		      SDMA_RB_CNTL__RPTR_WRITEBACK_ENABLE |
		      SDMA_RB_CNTL__RB_PRIV | SDMA_RB_CNTL__RB_ENABLE);
	uvm_ring_wreg(ring, mmSDMA_F32_CNTL, 0);
}

static void uvm_ring_halt(struct uvm_ring *ring)
{
	uvm_ring_wreg(ring, mmSDMA_F32_CNTL, SDMA_F32_CNTL__HALT);
	uvm_ring_wreg(ring, mmSDMA_RB_CNTL(0), 0);
}

/**
 * uvm_ring_start() - bring the instance up
 * @ring: of uvm_ring_init()
 *
 * Return: 0 or an errno.
 */
int uvm_ring_start(struct uvm_ring *ring)
{
	u32 range = FIELD_PREP(BIF_SDMA_DOORBELL_RANGE__OFFSET,
			       ring->doorbell * 2) |
		    FIELD_PREP(BIF_SDMA_DOORBELL_RANGE__SIZE, 4);
	u64 wb = ring->wb.gpu + UVM_WB_RPTR;
	int ret;

	/* The engine fetches the ring itself through the GART. */
	ret = uvm_gart_flush(ring->uvm);
	if (ret)
		return ret;

	mutex_lock(&ring->lock);
	uvm_ring_halt(ring);
	uvm_ring_wreg(ring, mmSDMA_RB_BASE(0), ring->buf.gpu >> 8);
	uvm_ring_wreg(ring, mmSDMA_RB_BASE_HI(0), ring->buf.gpu >> 40);
	uvm_ring_wreg(ring, mmSDMA_RB_RPTR_ADDR_HI(0), upper_32_bits(wb));
	uvm_ring_wreg(ring, mmSDMA_RB_RPTR_ADDR_LO(0),
		      lower_32_bits(wb) & SDMA_RB_RPTR_ADDR_LO__ADDR);
	uvm_ring_wreg(ring, mmSDMA_IB_CNTL(0), SDMA_IB_CNTL__IB_ENABLE);

	uvm_wreg(ring->uvm, mmBIF_SDMA_DOORBELL_RANGE(ring->index), range);
	uvm_ring_wreg(ring, mmSDMA_DOORBELL_OFFSET(0),
		      FIELD_PREP(SDMA_DOORBELL_OFFSET__OFFSET,
				 ring->doorbell * 2));
	uvm_ring_wreg(ring, mmSDMA_DOORBELL(0), SDMA_DOORBELL__ENABLE);
	uvm_ring_wreg(ring, mmSDMA_CNTL,
		      uvm_ring_rreg(ring, mmSDMA_CNTL) |
		      SDMA_CNTL__TRAP_ENABLE);
	ring->wptr = 0;
	WRITE_ONCE(ring->started, true);
	uvm_ring_run(ring, 0);
	mutex_unlock(&ring->lock);
	return 0;
}

/**
 * uvm_ring_stop() - stop for good
 * @ring: the ring
 *
 * What was emitted and is not done fails with -ENODEV, and so does whatever
 * is submitted from now on. Context: the device still answers.
 */
void uvm_ring_stop(struct uvm_ring *ring)
{
	mutex_lock(&ring->lock);
	ring->dead = true;
	uvm_ring_halt(ring);
	uvm_ring_wreg(ring, mmSDMA_DOORBELL(0), 0);
	uvm_ring_wreg(ring, mmSDMA_CNTL, 0);
	uvm_wreg(ring->uvm, mmBIF_SDMA_DOORBELL_RANGE(ring->index), 0);
	uvm_fence_fail_all(ring, -ENODEV);
	mutex_unlock(&ring->lock);
}

/* The packets of an indirect buffer, if it is one of the driver's. */
static const __le32 *uvm_ring_find_ib(struct uvm_ring *ring, u64 gpu)
{
	const struct uvm_kbuf *bufs[] = { &ring->uvm->ib_buf, &ring->move_ib };
	struct uvm_fence *fence = uvm_fence_oldest(ring);
	u32 vmid = 0;
	int i;

	if (fence) {
		vmid = fence->vmid;
		dma_fence_put(&fence->base);
	}
	/* Another address space: the same number means something else. */
	if (vmid)
		return NULL;

	for (i = 0; i < ARRAY_SIZE(bufs); i++)
		if (gpu >= bufs[i]->gpu && gpu < bufs[i]->gpu + bufs[i]->size &&
		    IS_ALIGNED(gpu, sizeof(u32)))
			return bufs[i]->cpu + (gpu - bufs[i]->gpu);
	return NULL;
}

/* Says in the log where a ring stands. */
static void uvm_ring_dump_locked(struct uvm_ring *ring)
{
	struct drm_device *drm = &ring->uvm->drm;
	u32 rptr = uvm_ring_rreg(ring, mmSDMA_RB_RPTR(0));
	u32 wptr = uvm_ring_rreg(ring, mmSDMA_RB_WPTR(0));
	u32 status = uvm_ring_rreg(ring, mmSDMA_CONTEXT_STATUS(0));
	u32 ib_size = uvm_ring_rreg(ring, mmSDMA_IB_SIZE(0));
	u32 ib_rptr = uvm_ring_rreg(ring, mmSDMA_IB_RPTR(0)) &
		      SDMA_IB_RPTR__OFFSET;
	u64 ib = uvm_ring_rreg(ring, mmSDMA_IB_BASE_LO(0)) |
		 (u64)uvm_ring_rreg(ring, mmSDMA_IB_BASE_HI(0)) << 32;
	char text[UVM_DUMP_DWORDS * 9 + 1];
	const __le32 *packets;
	u32 i, n;

	lockdep_assert_held(&ring->lock);
	drm_err(drm, "%s: RPTR %#x WPTR %#x (driver %#llx) STATUS %#x CONTEXT_STATUS %#x (exception %lu)\n",
		ring->name, rptr, wptr, ring->wptr << 2,
		uvm_ring_rreg(ring, mmSDMA_STATUS_REG), status,
		FIELD_GET(SDMA_CONTEXT_STATUS__EXCEPTION, status));
	drm_err(drm, "%s: fence reached %u, emitted %u; IB at %#llx, %u dwords, IB_RPTR %#x\n",
		ring->name, le32_to_cpu(*uvm_ring_wb(ring, UVM_WB_FENCE)),
		ring->emitted, ib, ib_size, ib_rptr);

	for (i = 0, n = 0; i < UVM_DUMP_DWORDS; i++)
		n += scnprintf(text + n, sizeof(text) - n, " %08x",
			       le32_to_cpu(*uvm_ring_at(ring, (rptr >> 2) + i)));
	drm_err(drm, "%s: ring at RPTR:%s\n", ring->name, text);

	packets = uvm_ring_find_ib(ring, ib + ib_rptr);
	if (!packets || ib_rptr / sizeof(u32) >= ib_size)
		return;
	ib_size -= ib_rptr / sizeof(u32);
	for (i = 0, n = 0; i < min(ib_size, UVM_DUMP_DWORDS); i++)
		n += scnprintf(text + n, sizeof(text) - n, " %08x",
			       le32_to_cpu(packets[i]));
	drm_err(drm, "%s: IB at IB_RPTR:%s\n", ring->name, text);
}

/**
 * uvm_ring_dump() - say in the log where a ring stands
 * @ring: the ring
 */
void uvm_ring_dump(struct uvm_ring *ring)
{
	mutex_lock(&ring->lock);
	uvm_ring_dump_locked(ring);
	mutex_unlock(&ring->lock);
}

/*
 * Doorbells are on their way for a while. One that came after the ring was
 * set up anew would set its write pointer back: wait for the last.
 */
static void uvm_ring_settle(struct uvm_ring *ring)
{
	u32 wptr, last = lower_32_bits(ring->wptr << 2);

	if (read_poll_timeout(uvm_ring_rreg, wptr, wptr == last, 100,
			      UVM_SETTLE_TIMEOUT_US, false, ring,
			      mmSDMA_RB_WPTR(0)))
		drm_err(&ring->uvm->drm, "%s: doorbell lost: WPTR %#x, not %#x\n",
			ring->name, wptr, last);
}

static int uvm_ring_error(u32 why)
{
	switch (why) {
	case 0:
		return -ETIME;
	case UVM_EXCEPTION_FAULT:
		return -EFAULT;
	case UVM_EXCEPTION_POISON:
		return -EIO;
	default:
		return -ECANCELED;
	}
}

/**
 * uvm_ring_recover() - take the oldest job from a ring that hangs
 * @ring: the ring
 * @late: its oldest job timed out; else only if the engine has stopped
 *
 * The job's fence fails with -ETIME, with -ECANCELED if the engine itself
 * refused a packet, with -EFAULT if it stopped on a page fault, with -EIO if on
 * broken memory; the jobs behind it run on. If all is done by the time that the ring is halted, nobody fails.
 */
void uvm_ring_recover(struct uvm_ring *ring, bool late)
{
	struct drm_device *drm = &ring->uvm->drm;
	struct uvm_fence *fence;
	u64 rptr;
	u32 why;

	mutex_lock(&ring->lock);
	if (ring->dead)
		goto unlock;
	why = FIELD_GET(SDMA_CONTEXT_STATUS__EXCEPTION,
			uvm_ring_rreg(ring, mmSDMA_CONTEXT_STATUS(0)));
	/* Whatever that said: all of the ring's jobs fail soon. */
	if (uvm_is_lost(ring->uvm))
		goto unlock;
	WRITE_ONCE(ring->hung, false);
	/* What stopped it was dealt with before this report was read. */
	if (!why && !late)
		goto unlock;
	/* Of a page fault, the hub's report has told all there is to know. */
	if (why != UVM_EXCEPTION_FAULT && __ratelimit(&ring->dumps)) {
		drm_err(drm, "%s: %s, resetting the ring\n", ring->name, why ?
			"the engine refused a packet" : "a job timed out");
		uvm_ring_dump_locked(ring);
	}
	uvm_ring_settle(ring);
	uvm_ring_halt(ring);
	uvm_fence_process(ring);
	rptr = ring->wptr;
	fence = uvm_fence_oldest(ring);
	if (fence) {
		rptr = fence->end;
		atomic64_inc(&ring->timeouts);
		uvm_fence_fail(ring, fence, uvm_ring_error(why));
		dma_fence_put(&fence->base);
	}
	uvm_ring_run(ring, rptr);
unlock:
	mutex_unlock(&ring->lock);
}

/**
 * uvm_ring_init() - memory of a ring
 * @uvm: the device, with VMID 0
 * @index: SDMA instance
 *
 * Return: 0 or an errno.
 */
int uvm_ring_init(struct uvm_device *uvm, u32 index)
{
	struct uvm_ring *ring = &uvm->rings[index];
	int ret;

	ring->doorbell = index ? UVM_DOORBELL_SDMA1_GFX :
				 UVM_DOORBELL_SDMA0_GFX;
	ring->mask = UVM_RING_BYTES / sizeof(u32) - 1;
	ring->fence_context = dma_fence_context_alloc(1);
	ratelimit_state_init(&ring->dumps, UVM_DUMP_INTERVAL, UVM_DUMP_BURST);

	ret = uvm_kbuf_alloc(uvm, &ring->buf, UVM_RING_BYTES);
	if (ret)
		return ret;
	ret = uvm_kbuf_alloc(uvm, &ring->wb, PAGE_SIZE);
	if (ret)
		goto free_buf;
	ret = uvm_kbuf_alloc(uvm, &ring->move_ib, UVM_MOVE_IB_BYTES);
	if (ret)
		goto free_wb;
	return 0;

free_wb:
	uvm_kbuf_free(uvm, &ring->wb);
free_buf:
	uvm_kbuf_free(uvm, &ring->buf);
	return ret;
}

/**
 * uvm_ring_fini() - give the memory back
 * @ring: the ring, stopped, or never initialised
 */
void uvm_ring_fini(struct uvm_ring *ring)
{
	uvm_kbuf_free(ring->uvm, &ring->move_ib);
	uvm_kbuf_free(ring->uvm, &ring->wb);
	uvm_kbuf_free(ring->uvm, &ring->buf);
}
