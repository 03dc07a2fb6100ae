// SPDX-License-Identifier: GPL-2.0
/*
 * The registers of user queues: the RLC rings of the SDMA instances, and the
 * queues of the access engine, which has the registers of one more instance.
 */

#include <linux/iopoll.h>
#include <linux/log2.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

#define UVM_QUEUE_TIMEOUT_US	1000000

static u32 uvm_queue_reg(struct uvm_queue *queue, u32 index)
{
	return index + queue->engine * SDMA_INSTANCE_STRIDE;
}

static u32 uvm_queue_rreg(struct uvm_device *uvm, struct uvm_queue *queue,
			  u32 index)
{
	return uvm_rreg(uvm, uvm_queue_reg(queue, index));
}

static void uvm_queue_wreg(struct uvm_device *uvm, struct uvm_queue *queue,
			   u32 index, u32 value)
{
	uvm_wreg(uvm, uvm_queue_reg(queue, index), value);
}

/**
 * uvm_queue_start() - start a queue, empty, at its write pointer
 * @uvm: the device
 * @queue: the queue, off
 */
void uvm_queue_start(struct uvm_device *uvm, struct uvm_queue *queue)
{
	u32 n = queue->ring, cntl;
	u64 at = queue->wptr;

	uvm_queue_wreg(uvm, queue, mmSDMA_RB_BASE(n), queue->base >> 8);
	uvm_queue_wreg(uvm, queue, mmSDMA_RB_BASE_HI(n), queue->base >> 40);
	uvm_queue_wreg(uvm, queue, mmSDMA_RB_RPTR(n), lower_32_bits(at));
	uvm_queue_wreg(uvm, queue, mmSDMA_RB_RPTR_HI(n), upper_32_bits(at));
	uvm_queue_wreg(uvm, queue, mmSDMA_MINOR_PTR_UPDATE(n), 1);
	uvm_queue_wreg(uvm, queue, mmSDMA_RB_WPTR_HI(n), upper_32_bits(at));
	uvm_queue_wreg(uvm, queue, mmSDMA_RB_WPTR(n), lower_32_bits(at));
	uvm_queue_wreg(uvm, queue, mmSDMA_MINOR_PTR_UPDATE(n), 0);
	uvm_queue_wreg(uvm, queue, mmSDMA_RB_RPTR_ADDR_HI(n),
		       upper_32_bits(queue->rptr_va));
	uvm_queue_wreg(uvm, queue, mmSDMA_RB_RPTR_ADDR_LO(n),
		       lower_32_bits(queue->rptr_va) &
		       SDMA_RB_RPTR_ADDR_LO__ADDR);
	/* The access engine has no indirect buffers. */
	if (queue->engine != UVM_ACCESS_ENGINE)
		uvm_queue_wreg(uvm, queue, mmSDMA_IB_CNTL(n),
			       SDMA_IB_CNTL__IB_ENABLE);
	uvm_queue_wreg(uvm, queue, mmSDMA_DOORBELL_OFFSET(n),
		       FIELD_PREP(SDMA_DOORBELL_OFFSET__OFFSET,
				  queue->doorbell * 2));
	uvm_queue_wreg(uvm, queue, mmSDMA_DOORBELL(n), SDMA_DOORBELL__ENABLE);

	cntl = FIELD_PREP(SDMA_RB_CNTL__RB_SIZE,
			  ilog2(queue->size / sizeof(u32))) |
	       FIELD_PREP(SDMA_RB_CNTL__RB_VMID, queue->vmid) |
	       SDMA_RB_CNTL__RB_ENABLE;
	if (queue->rptr_va)
		cntl |= SDMA_RB_CNTL__RPTR_WRITEBACK_ENABLE;
	uvm_queue_wreg(uvm, queue, mmSDMA_RB_CNTL(n), cntl);
}

/**
 * uvm_queue_stop() - stop a queue; what it was doing is dropped
 * @uvm: the device
 * @queue: the queue
 *
 * A doorbell on its way would find the ring off, or set up for somebody else:
 * the last one is waited for. When this returns, the queue reaches no memory.
 */
void uvm_queue_stop(struct uvm_device *uvm, struct uvm_queue *queue)
{
	u32 n = queue->ring, last = lower_32_bits(queue->wptr), value;
	int ret;

	ret = read_poll_timeout(uvm_queue_rreg, value, value == last, 100,
				UVM_QUEUE_TIMEOUT_US, false, uvm, queue,
				mmSDMA_RB_WPTR(n));
	uvm_queue_wreg(uvm, queue, mmSDMA_DOORBELL(n), 0);
	uvm_queue_wreg(uvm, queue, mmSDMA_RB_CNTL(n), 0);
	if (!ret)
		ret = read_poll_timeout(uvm_queue_rreg, value,
					value & SDMA_CONTEXT_STATUS__IDLE, 100,
					UVM_QUEUE_TIMEOUT_US, false, uvm, queue,
					mmSDMA_CONTEXT_STATUS(n));
	if (ret)
		drm_err(&uvm->drm, "%s %u ring %u does not stop\n",
			queue->engine == UVM_ACCESS_ENGINE ? "access engine" :
							     "SDMA",
			queue->engine, n);
}

/**
 * uvm_queue_ring() - ring the doorbell
 * @uvm: the device
 * @queue: the queue, with its new write pointer
 *
 * Return: false if doorbells do not move.
 */
bool uvm_queue_ring(struct uvm_device *uvm, struct uvm_queue *queue)
{
	/* Packets that the process wrote, through whichever mapping. */
	wmb();
	return uvm_doorbell(uvm, queue->doorbell, queue->wptr);
}

/* The two halves of one value, though it moves. */
static u64 uvm_queue_rptr(struct uvm_device *uvm, struct uvm_queue *queue)
{
	u32 n = queue->ring, tries = 3;
	u32 low, high, again;

	high = uvm_queue_rreg(uvm, queue, mmSDMA_RB_RPTR_HI(n));
	do {
		again = high;
		low = uvm_queue_rreg(uvm, queue, mmSDMA_RB_RPTR(n));
		high = uvm_queue_rreg(uvm, queue, mmSDMA_RB_RPTR_HI(n));
	} while (high != again && --tries);
	return (u64)high << 32 | low;
}

/**
 * uvm_queue_look() - how a queue stands
 * @uvm: the device
 * @queue: the queue
 * @info: out: all but the number
 */
void uvm_queue_look(struct uvm_device *uvm, struct uvm_queue *queue,
		    struct drm_uvm_queue_info *info)
{
	u32 status = uvm_queue_rreg(uvm, queue,
				    mmSDMA_CONTEXT_STATUS(queue->ring));

	info->cause = FIELD_GET(SDMA_CONTEXT_STATUS__EXCEPTION, status);
	info->state = UVM_QUEUE_RUNNING;
	if (info->cause)
		info->state = UVM_QUEUE_STOPPED;
	else if (status & SDMA_CONTEXT_STATUS__CTXSW_READY)
		info->state = UVM_QUEUE_PARKED;
	info->rptr = uvm_queue_rptr(uvm, queue);
	info->wptr = queue->wptr;
	info->vmid = queue->vmid;
}
