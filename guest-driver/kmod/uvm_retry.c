// SPDX-License-Identifier: GPL-2.0
/*
 * Intake of page faults: interrupt ring 1, to which the hubs' vectors are
 * routed, and the retry CAM. A fault that is retried has an entry of the CAM,
 * and its access waits until the entry is answered. What becomes of it is
 * decided elsewhere: batches of bounded size go to uvm_fault_intake().
 *
 * No fault is lost for good. The CAM tells of a page once and holds back what
 * finds no entry free; a vector that is overwritten frees its entry, and the
 * access raises its fault again.
 */

#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/module.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

static uint uvm_retry_vectors = 2048;
module_param_named(retry_vectors, uvm_retry_vectors, uint, 0444);
MODULE_PARM_DESC(retry_vectors, "Entries of the interrupt ring of page faults, a power of two (4 to 8192, default 2048)");

/* Interrupt ring that takes page faults. */
#define UVM_RETRY_RING		1
/* Vectors that are read at a time; others' turn comes in between. */
#define UVM_RETRY_VECTORS	UVM_FAULT_BATCH

/**
 * uvm_retry_answer() - let an access be made again
 * @uvm: the device
 * @cam: entry of the retry CAM
 *
 * What was written to page tables is seen first. Context: may sleep.
 */
void uvm_retry_answer(struct uvm_device *uvm, u32 cam)
{
	/* Out of the write-combining buffers. */
	wmb();
	atomic64_inc(&uvm->retry.answers);
	if (!uvm_doorbell(uvm, UVM_DOORBELL_RETRY_CAM, cam))
		uvm_wreg(uvm, mmIH_RETRY_CAM_ACK,
			 FIELD_PREP(IH_RETRY_CAM_ACK__INDEX, cam));
}

/**
 * uvm_retry_flush() - hand on what was taken in
 * @uvm: the device
 *
 * Context: the interrupt worker alone.
 */
void uvm_retry_flush(struct uvm_device *uvm)
{
	struct uvm_retry *retry = &uvm->retry;
	u32 n = retry->nr_batch;

	retry->nr_batch = 0;
	if (n)
		uvm_fault_intake(uvm, retry->batch, n);
}

/**
 * uvm_retry_note() - take in a fault
 * @uvm: the device
 * @fault: the fault
 *
 * Context: the interrupt worker alone.
 */
void uvm_retry_note(struct uvm_device *uvm,
		    const struct uvm_retry_fault *fault)
{
	struct uvm_retry *retry = &uvm->retry;

	atomic64_inc(&retry->faults);
	retry->batch[retry->nr_batch++] = *fault;
	if (retry->nr_batch == ARRAY_SIZE(retry->batch))
		uvm_retry_flush(uvm);
}

/*
 * After an overflow reading goes on behind the oldest vector that is still
 * there. The mark is cleared before the pointer is read: what is overwritten
 * from then on sets it again, until the device knows the new read pointer.
 */
static u32 uvm_retry_wptr(struct uvm_device *uvm)
{
	struct uvm_retry *retry = &uvm->retry;
	u32 reg = uvm_rreg(uvm, mmIH_RB_WPTR_RING1);
	u32 cntl;

	if (reg & IH_RB_WPTR_RING1__RB_OVERFLOW) {
		atomic64_inc(&retry->overflows);
		cntl = uvm_rreg(uvm, mmIH_RB_CNTL_RING1);
		uvm_wreg(uvm, mmIH_RB_CNTL_RING1,
			 cntl | IH_RB_CNTL_RING1__WPTR_OVERFLOW_CLEAR);
		uvm_wreg(uvm, mmIH_RB_CNTL_RING1,
			 cntl & ~IH_RB_CNTL_RING1__WPTR_OVERFLOW_CLEAR);
		reg = uvm_rreg(uvm, mmIH_RB_WPTR_RING1);
		retry->rptr = ((reg & IH_RB_WPTR_RING1__OFFSET) +
			       IH_VECTOR_BYTES) & (retry->bytes - 1);
	}
	/* The vectors before the pointer. */
	dma_rmb();
	return reg & IH_RB_WPTR_RING1__OFFSET;
}

/**
 * uvm_retry_read() - read some vectors of ring 1
 * @uvm: the device
 *
 * Context: the interrupt worker alone.
 * Return: whether there are more.
 */
bool uvm_retry_read(struct uvm_device *uvm)
{
	struct uvm_retry *retry = &uvm->retry;
	u32 wptr, n;

	if (!retry->enabled)
		return false;
	wptr = uvm_retry_wptr(uvm);
	if (wptr == retry->rptr)
		return false;
	for (n = 0; n < UVM_RETRY_VECTORS && retry->rptr != wptr; n++) {
		uvm_ih_dispatch(uvm, retry->ring +
				retry->rptr / sizeof(*retry->ring));
		retry->rptr = (retry->rptr + IH_VECTOR_BYTES) &
			      (retry->bytes - 1);
	}
	/*
	 * Room first: what waits for it is raised meanwhile. Not by doorbell: a
	 * read pointer that arrives late would hide what is overwritten.
	 */
	uvm_wreg(uvm, mmIH_RB_RPTR_RING1, retry->rptr);
	uvm_retry_flush(uvm);
	return retry->rptr != wptr;
}

/**
 * uvm_retry_read_all() - read all that came before now
 * @uvm: the device
 *
 * For a vector of ring 0 that follows from one of ring 1.
 * Context: the interrupt worker alone.
 */
void uvm_retry_read_all(struct uvm_device *uvm)
{
	u32 rounds = uvm->retry.bytes / IH_VECTOR_BYTES / UVM_RETRY_VECTORS + 1;

	while (rounds-- && uvm_retry_read(uvm))
		;
}

/* Which ring takes the vectors of a client. */
static void uvm_retry_route(struct uvm_device *uvm, u32 client)
{
	u32 data;

	uvm_wreg(uvm, mmIH_CLIENT_CFG_INDEX, client);
	data = uvm_rreg(uvm, mmIH_CLIENT_CFG_DATA) &
	       ~IH_CLIENT_CFG_DATA__RING_ID;
	uvm_wreg(uvm, mmIH_CLIENT_CFG_DATA,
		 data | FIELD_PREP(IH_CLIENT_CFG_DATA__RING_ID,
				   UVM_RETRY_RING));
}

/**
 * uvm_retry_init() - bring up interrupt ring 1 and the retry CAM
 * @uvm: the device, with the doorbells of the interrupt handler
 *
 * Return: 0 or -ENOMEM.
 */
int uvm_retry_init(struct uvm_device *uvm)
{
	struct uvm_retry *retry = &uvm->retry;
	phys_addr_t ring;

	retry->bytes = IH_VECTOR_BYTES *
		       roundup_pow_of_two(clamp(uvm_retry_vectors, 4u, 8192u));
	retry->ring = alloc_pages_exact(PAGE_ALIGN(retry->bytes),
					GFP_KERNEL | __GFP_ZERO);
	if (!retry->ring)
		return -ENOMEM;
	retry->rptr = 0;
	ring = virt_to_phys(retry->ring);

	uvm_wreg(uvm, mmIH_RB_CNTL_RING1, 0);
	uvm_wreg(uvm, mmIH_RB_BASE_RING1, ring >> 8);
	uvm_wreg(uvm, mmIH_RB_BASE_HI_RING1, ring >> 40);
	uvm_wreg(uvm, mmIH_RB_RPTR_RING1, 0);
	uvm_wreg(uvm, mmIH_RB_WPTR_RING1, 0);
	uvm_wreg(uvm, mmIH_DOORBELL_RETRY_CAM,
		 FIELD_PREP(IH_DOORBELL_RETRY_CAM__OFFSET,
			    UVM_DOORBELL_RETRY_CAM * 2) |
		 IH_DOORBELL_RETRY_CAM__ENABLE);
	uvm_wreg(uvm, mmIH_RETRY_INT_CAM_CNTL,
		 (uvm_rreg(uvm, mmIH_RETRY_INT_CAM_CNTL) &
		  ~(IH_RETRY_INT_CAM_CNTL__CAM_SIZE |
		    IH_RETRY_INT_CAM_CNTL__CAM_SIZE_HI)) |
		 FIELD_PREP(IH_RETRY_INT_CAM_CNTL__CAM_SIZE,
			    UVM_CAM_ENTRIES % 32) |
		 FIELD_PREP(IH_RETRY_INT_CAM_CNTL__CAM_SIZE_HI,
			    UVM_CAM_ENTRIES / 32) |
		 IH_RETRY_INT_CAM_CNTL__ENABLE);
	uvm_wreg(uvm, mmIH_RB_CNTL_RING1,
		 FIELD_PREP(IH_RB_CNTL_RING1__RB_SIZE,
			    ilog2(retry->bytes / sizeof(u32))) |
		 FIELD_PREP(IH_RB_CNTL_RING1__MC_SPACE, IH_MC_SPACE_BUS) |
		 IH_RB_CNTL_RING1__WPTR_OVERFLOW_ENABLE |
		 IH_RB_CNTL_RING1__RB_FULL_DRAIN_ENABLE |
		 IH_RB_CNTL_RING1__MC_SNOOP | IH_RB_CNTL_RING1__RPTR_REARM |
		 IH_RB_CNTL_RING1__ENABLE_INTR | IH_RB_CNTL_RING1__RB_ENABLE);
	WRITE_ONCE(retry->enabled, true);
	uvm_retry_route(uvm, IH_CLIENT_VMC);
	uvm_retry_route(uvm, IH_CLIENT_UTCL2);
	return 0;
}

/**
 * uvm_retry_stop() - no more faults
 * @uvm: the device; it still answers
 */
void uvm_retry_stop(struct uvm_device *uvm)
{
	WRITE_ONCE(uvm->retry.gone, true);
	wake_up_all(&uvm->retry.wait);
	if (!uvm->retry.enabled)
		return;
	uvm_wreg(uvm, mmIH_RETRY_INT_CAM_CNTL, 0);
	uvm_wreg(uvm, mmIH_RB_CNTL_RING1, 0);
	uvm_wreg(uvm, mmIH_DOORBELL_RETRY_CAM, 0);
}

/**
 * uvm_retry_fini() - give the ring's memory back
 * @uvm: the device, reset, its worker ended
 */
void uvm_retry_fini(struct uvm_device *uvm)
{
	struct uvm_retry *retry = &uvm->retry;

	if (retry->ring)
		free_pages_exact(retry->ring, PAGE_ALIGN(retry->bytes));
	retry->ring = NULL;
	retry->enabled = false;
}
