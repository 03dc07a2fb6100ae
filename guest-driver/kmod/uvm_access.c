// SPDX-License-Identifier: GPL-2.0
/*
 * The access engine, whose queues are all lent to processes, and the access
 * counters. Both are the device's own: a device without them works without.
 */

#include <linux/bitfield.h>
#include <linux/build_bug.h>

#include "uvm_drv.h"

/* What drives an SDMA instance's user rings drives the engine's queues. */
static_assert(mmACCESS_RB_CNTL(0) ==
	      mmSDMA_RB_CNTL(0) + UVM_ACCESS_ENGINE * SDMA_INSTANCE_STRIDE);
static_assert(mmACCESS_RB_WPTR(1) == mmACCESS_RB_WPTR(0) + SDMA_RING_STRIDE);

/**
 * uvm_access_start() - let the access engine execute what queues are given
 * @uvm: the device, its address spaces and interrupts set up
 */
void uvm_access_start(struct uvm_device *uvm)
{
	u32 n;

	if (!uvm_has_access(uvm))
		return;
	for (n = 0; n < UVM_ACCESS_QUEUES; n++)
		uvm_wreg(uvm, mmACCESS_RB_CNTL(n), 0);
	uvm_wreg(uvm, mmBIF_ACCESS_DOORBELL_RANGE,
		 FIELD_PREP(BIF_ACCESS_DOORBELL_RANGE__OFFSET,
			    UVM_DOORBELL_ACCESS_Q0 * 2) |
		 FIELD_PREP(BIF_ACCESS_DOORBELL_RANGE__SIZE,
			    UVM_ACCESS_QUEUES * 2));
	uvm_wreg(uvm, mmACCESS_CNTL, ACCESS_CNTL__TRAP_ENABLE |
				     ACCESS_CNTL__UTC_L1_ENABLE);
	uvm_wreg(uvm, mmACCESS_F32_CNTL, 0);
	WRITE_ONCE(uvm->access.started, true);
}

/**
 * uvm_access_stop() - stop the engine for good
 * @uvm: the device, which still answers
 *
 * When this returns, its queues reach no memory.
 */
void uvm_access_stop(struct uvm_device *uvm)
{
	if (!xchg(&uvm->access.started, false))
		return;
	uvm_wreg(uvm, mmACCESS_F32_CNTL, ACCESS_F32_CNTL__HALT);
	uvm_wreg(uvm, mmBIF_ACCESS_DOORBELL_RANGE, 0);
	uvm_wreg(uvm, mmACCESS_COUNTER_CNTL, 0);
}

/**
 * uvm_access_counted() - an access counter reached its threshold
 * @uvm: the device
 *
 * What is to follow from it is decided by who switched the counters on.
 */
void uvm_access_counted(struct uvm_device *uvm)
{
	atomic64_inc(&uvm->access.notified);
}
