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
#include "uvm_trace.h"

/* Room for UVM_RING_JOBS jobs, several times. */
#define UVM_RING_BYTES		SZ_64K
#define UVM_RING_JOB_BYTES	128
/* Packets that the driver's own moves are made of. */
#define UVM_MOVE_IB_BYTES	SZ_16K
/* A user can hang a ring as often as they like; the log stays readable. */
#define UVM_DUMP_INTERVAL	(10 * HZ)
#define UVM_DUMP_BURST		20
#define UVM_SETTLE_TIMEOUT_US	1000000
/* CONTEXT_STATUS.EXCEPTION: an access failed and no page stood in. */
#define UVM_EXCEPTION_FAULT	2
/* An indirect buffer in an indirect buffer. */
#define UVM_EXCEPTION_NESTED_IB	3
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

/*
 * The write-back saves a register access. The engine's users can overwrite it
 * if they may use VMID 0, so where it makes no sense or leaves no room, the
 * register decides.
 */
static u32 uvm_ring_room(struct uvm_ring *ring)
{
	u32 size = (ring->mask + 1) * sizeof(__le32);
	u32 wptr = ring->wptr << 2;
	u32 used = wptr - le32_to_cpu(READ_ONCE(*uvm_ring_wb(ring,
							     UVM_WB_RPTR)));

	if (used > size - UVM_RING_JOB_BYTES)
		used = wptr - uvm_ring_rreg(ring, mmSDMA_RB_RPTR(0));
	return used > size ? 0 : size - used;
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
	if (uvm_ring_room(ring) < UVM_RING_JOB_BYTES) {
		ret = -EBUSY;
		goto unlock;
	}
	fence->vmid = vmid;
	fence->ib = ib;
	fence->ib_dwords = ib_dwords;
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
	/* While the engine does not know of it: the cause stands first. */
	trace_uvm_job_run(ring->index, fence->seq, ib, ib_dwords);
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
		    FIELD_PREP(BIF_SDMA_DOORBELL_RANGE__SIZE,
			       UVM_DOORBELL_SDMA_SLOTS * 2);
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
	uvm_dump_flush(&ring->dump);
}

static u64 uvm_ring_rreg64(struct uvm_ring *ring, u32 low, u32 high)
{
	return uvm_ring_rreg(ring, low) | (u64)uvm_ring_rreg(ring, high) << 32;
}

/**
 * uvm_ring_get_state() - where a ring stands
 * @ring: the ring; a running one goes on meanwhile
 * @state: out
 */
void uvm_ring_get_state(struct uvm_ring *ring, struct uvm_ring_state *state)
{
	state->rb_cntl = uvm_ring_rreg(ring, mmSDMA_RB_CNTL(0));
	state->status = uvm_ring_rreg(ring, mmSDMA_STATUS_REG);
	state->context = uvm_ring_rreg(ring, mmSDMA_CONTEXT_STATUS(0));
	state->rptr = uvm_ring_rreg64(ring, mmSDMA_RB_RPTR(0),
				      mmSDMA_RB_RPTR_HI(0));
	state->wptr = uvm_ring_rreg64(ring, mmSDMA_RB_WPTR(0),
				      mmSDMA_RB_WPTR_HI(0));
	state->ib = uvm_ring_rreg64(ring, mmSDMA_IB_BASE_LO(0),
				    mmSDMA_IB_BASE_HI(0));
	state->ib_left = uvm_ring_rreg(ring, mmSDMA_IB_SIZE(0));
	state->ib_rptr = uvm_ring_rreg(ring, mmSDMA_IB_RPTR(0)) &
			 SDMA_IB_RPTR__OFFSET;
}

static void uvm_ring_log(struct uvm_ring *ring,
			 const struct uvm_ring_state *state)
{
	drm_err(&ring->uvm->drm,
		"%s: RPTR %#llx WPTR %#llx (driver %#llx) STATUS %#x CONTEXT_STATUS %#x (exception %lu), IB at %#llx + %#x, fence reached %u, emitted %u\n",
		ring->name, state->rptr, state->wptr, ring->wptr << 2,
		state->status, state->context,
		FIELD_GET(SDMA_CONTEXT_STATUS__EXCEPTION, state->context),
		state->ib, state->ib_rptr,
		le32_to_cpu(READ_ONCE(*uvm_ring_wb(ring, UVM_WB_FENCE))),
		ring->emitted);
}

/**
 * uvm_ring_dump() - say in the log where a ring stands
 * @ring: the ring
 */
void uvm_ring_dump(struct uvm_ring *ring)
{
	struct uvm_ring_state state;

	mutex_lock(&ring->lock);
	uvm_ring_get_state(ring, &state);
	uvm_ring_log(ring, &state);
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

static const char *uvm_ring_reason(u32 why)
{
	switch (why) {
	case 0:
		return "a job timed out";
	case UVM_EXCEPTION_NESTED_IB:
		return "the engine refused an indirect buffer in another";
	case UVM_EXCEPTION_POISON:
		return "the engine read broken memory";
	default:
		return "the engine refused a packet";
	}
}

/* Takes the job that the ring stands on from it; the ring is disabled. */
static void uvm_ring_fail(struct uvm_ring *ring, struct uvm_fence *fence,
			  const struct uvm_ring_state *state, u32 why)
{
	const char *reason = uvm_ring_reason(why);

	atomic64_inc(&ring->timeouts);
	/* Of a page fault, the hub's report has told all there is to know. */
	if (why != UVM_EXCEPTION_FAULT) {
		uvm_vm_hung(ring->uvm, fence, ring->index, state,
			    uvm_ring_error(why));
		if (__ratelimit(&ring->dumps)) {
			drm_err(&ring->uvm->drm, "%s: %s, resetting the ring\n",
				ring->name, reason);
			uvm_ring_log(ring, state);
			uvm_dump_take(ring, state, fence, reason);
		}
	}
	uvm_fence_fail(ring, fence, uvm_ring_error(why));
}

/**
 * uvm_ring_recover() - take the oldest job from a ring that hangs
 * @ring: the ring
 * @late: of a job that timed out; NULL: only if the engine has stopped
 *
 * The job's fence fails with -ETIME, with -ECANCELED if the engine itself
 * refused a packet, with -EFAULT if it stopped on a page fault or waits for a
 * page, with -EIO if on broken memory; the jobs behind it run on. If @late is
 * done by the time that the engine is halted, it goes on as if nothing had been.
 * Only the ring is reset, not the instance's others.
 */
void uvm_ring_recover(struct uvm_ring *ring, struct uvm_fence *late)
{
	struct uvm_ring_state state;
	struct uvm_fence *fence;
	u32 why, status;
	bool parked;
	u64 rptr;

	mutex_lock(&ring->lock);
	if (ring->dead)
		goto unlock;
	/* A halted engine says that it is idle. */
	status = uvm_ring_rreg(ring, mmSDMA_STATUS_REG);
	/* Whatever it said: all of the ring's jobs fail soon. */
	if (uvm_is_lost(ring->uvm))
		goto unlock;
	uvm_ring_wreg(ring, mmSDMA_F32_CNTL, SDMA_F32_CNTL__HALT);
	uvm_ring_get_state(ring, &state);
	state.status = status;
	why = FIELD_GET(SDMA_CONTEXT_STATUS__EXCEPTION, state.context);
	uvm_fence_process(ring);
	uvm_fence_catch_up(ring, state.rptr >> 2);
	/* What stopped it was dealt with, or the job was not so late. */
	if (!why && (!late || dma_fence_is_signaled(&late->base))) {
		uvm_ring_wreg(ring, mmSDMA_F32_CNTL, 0);
		goto unlock;
	}
	parked = !why && state.context & SDMA_CONTEXT_STATUS__CTXSW_READY;
	if (parked)
		why = UVM_EXCEPTION_FAULT;
	uvm_ring_settle(ring);
	uvm_ring_wreg(ring, mmSDMA_RB_CNTL(0), 0);
	rptr = ring->wptr;
	fence = uvm_fence_oldest(ring);
	if (fence) {
		rptr = fence->end;
		/* Before its process hears of its end, and asks why. */
		if (parked && fence->pasid)
			uvm_fault_give_up(ring->uvm, fence->pasid);
		uvm_ring_fail(ring, fence, &state, why);
		dma_fence_put(&fence->base);
	}
	uvm_ring_run(ring, rptr);
unlock:
	mutex_unlock(&ring->lock);
}

/*
 * The engine stopped on a packet. Not by way of the scheduler's own timeout:
 * that forgets to come at once when a job ends at the same time.
 */
static void uvm_ring_stopped(struct work_struct *work)
{
	struct uvm_ring *ring = container_of(work, struct uvm_ring, stopped);

	uvm_ring_recover(ring, NULL);
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
	INIT_WORK(&ring->stopped, uvm_ring_stopped);
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
	ret = uvm_dump_init(&ring->dump);
	if (ret)
		goto free_move_ib;
	return 0;

free_move_ib:
	uvm_kbuf_free(uvm, &ring->move_ib);
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
	uvm_dump_fini(&ring->dump);
	uvm_kbuf_free(ring->uvm, &ring->move_ib);
	uvm_kbuf_free(ring->uvm, &ring->wb);
	uvm_kbuf_free(ring->uvm, &ring->buf);
}
