// SPDX-License-Identifier: GPL-2.0
/*
 * The interrupt handler: a ring of vectors in guest memory. The device writes
 * its write pointer behind the vectors, and an event says that it moved.
 */

#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/sizes.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"
#include "uvm_trace.h"

#define UVM_IH_BYTES		SZ_64K
/* Ring and write-back dword, one allocation. */
#define UVM_IH_ALLOC		(UVM_IH_BYTES + PAGE_SIZE)

/* Those of the three rings, and of the retry CAM. */
#define UVM_IH_DOORBELLS	4

/* Vectors that are read at a time; events come in between. */
#define UVM_IH_BATCH		512

/* Data of a page fault's vector. */
#define UVM_FAULT_ADDR_HI	GENMASK(3, 0)
#define UVM_FAULT_WRITE		BIT(5)
#define UVM_FAULT_RETRY		BIT(7)
#define UVM_FAULT_ATOMIC	BIT(17)
#define UVM_FAULT_ADDR_TOP	GENMASK(16, 8)
#define UVM_FAULT_CAM		GENMASK(9, 0)

struct uvm_ih_vector {
	u8 client;
	u8 source;
	u8 ring;
	u8 vmid;
	u16 pasid;
	/* When, in ticks of the device's clock: what its traces call it by. */
	u64 stamp;
	u32 data[4];
};

static struct uvm_ih_vector uvm_ih_decode(const __le32 *dw)
{
	u32 dw0 = le32_to_cpu(dw[0]);
	struct uvm_ih_vector vector = {
		.client = FIELD_GET(GENMASK(7, 0), dw0),
		.source = FIELD_GET(GENMASK(15, 8), dw0),
		.ring = FIELD_GET(GENMASK(23, 16), dw0),
		.vmid = FIELD_GET(GENMASK(27, 24), dw0),
		.pasid = le32_to_cpu(dw[3]),
		.stamp = le32_to_cpu(dw[1]) |
			 (u64)(le32_to_cpu(dw[2]) & GENMASK(15, 0)) << 32,
	};
	int i;

	for (i = 0; i < 4; i++)
		vector.data[i] = le32_to_cpu(dw[4 + i]);
	return vector;
}

static u64 uvm_ih_address(const struct uvm_ih_vector *vector)
{
	return (u64)vector->data[0] << 12 |
	       FIELD_GET(UVM_FAULT_ADDR_HI, (u64)vector->data[1]) << 44 |
	       FIELD_GET(UVM_FAULT_ADDR_TOP, (u64)vector->data[1]) << 48;
}

/* The third dword is the count; the fourth log2 of the bytes it is about. */
static void uvm_ih_counted(struct uvm_device *uvm,
			   const struct uvm_ih_vector *vector)
{
	struct uvm_svm_counted granule = {
		.va = uvm_ih_address(vector),
		.bytes = BIT_ULL(vector->data[3] & 63),
		.vmid = vector->vmid,
	};

	uvm_access_counted(uvm);
	uvm_svm_counted(uvm, vector->pasid, &granule);
}

static void uvm_ih_fault(struct uvm_device *uvm,
			 const struct uvm_ih_vector *vector)
{
	u64 addr = uvm_ih_address(vector);
	u32 write = !!(vector->data[1] & UVM_FAULT_WRITE);
	bool retry = vector->data[1] & UVM_FAULT_RETRY;
	u32 cam = FIELD_GET(UVM_FAULT_CAM, vector->data[2]);
	u32 status;
	u64 page;

	trace_uvm_page_fault(vector->stamp, vector->vmid, vector->pasid, addr,
			     write, retry, cam);
	if (retry) {
		uvm_retry_note(uvm, &(struct uvm_retry_fault) {
			.va = addr,
			.pasid = vector->pasid,
			.vmid = vector->vmid,
			.cam = cam,
			.write = write,
			.atomic = vector->data[1] & UVM_FAULT_ATOMIC,
		});
		return;
	}
	atomic64_inc(&uvm->ih.faults);
	/* Of the newest fault; reading and clearing it allows the next. */
	status = uvm_rreg(uvm, mmMM_VM_L2_PROTECTION_FAULT_STATUS);
	page = uvm_rreg(uvm, mmMM_VM_L2_PROTECTION_FAULT_ADDR(0)) |
	       (u64)uvm_rreg(uvm, mmMM_VM_L2_PROTECTION_FAULT_ADDR(1)) << 32;
	if (FIELD_GET(VM_L2_PROTECTION_FAULT_STATUS__VMID, status) !=
	    vector->vmid || page != addr >> PAGE_SHIFT)
		status = 0;
	uvm_wreg(uvm, mmMM_VM_L2_PROTECTION_FAULT_CNTL,
		 uvm_rreg(uvm, mmMM_VM_L2_PROTECTION_FAULT_CNTL) |
		 VM_L2_PROTECTION_FAULT_CNTL__CLEAR_PROTECTION_FAULT_STATUS_ADDR);
	drm_err_ratelimited(&uvm->drm,
			    "page fault: VMID %u PASID %u %s %#llx, status %#x (walker error %lu, permissions %#lx, client %lu)\n",
			    vector->vmid, vector->pasid,
			    write ? "writes" : "reads", addr, status,
			    FIELD_GET(VM_L2_PROTECTION_FAULT_STATUS__WALKER_ERROR, status),
			    FIELD_GET(VM_L2_PROTECTION_FAULT_STATUS__PERMISSION_FAULTS, status),
			    FIELD_GET(VM_L2_PROTECTION_FAULT_STATUS__CID, status));
	if (vector->vmid) {
		uvm_svm_failed(uvm, vector->pasid, addr);
		uvm_vm_report(uvm, vector->pasid, addr, write, status);
	}
}

static void uvm_ih_sdma(struct uvm_device *uvm,
			const struct uvm_ih_vector *vector)
{
	u32 index = vector->client == IH_CLIENT_SDMA1;
	struct uvm_ring *ring = &uvm->rings[index];

	if (index >= uvm->nr_rings || !READ_ONCE(ring->started)) {
		atomic64_inc(&uvm->ih.unknown);
		return;
	}
	if (vector->ring == UVM_PAGE_RING) {
		uvm_page_ring_interrupt(&uvm->devmem.rings[index],
					vector->source);
		return;
	}
	if (vector->ring >= UVM_RLC_FIRST &&
	    vector->source != IH_SRC_SDMA_POLL_TIMEOUT) {
		uvm_queue_interrupt(uvm, vector->source);
		return;
	}
	switch (vector->source) {
	case IH_SRC_SDMA_TRAP:
		atomic64_inc(&ring->traps);
		uvm_fence_process(ring);
		break;
	case IH_SRC_SDMA_ILLEGAL_INST:
		/* If it was a fault, then that is told first. */
		uvm_retry_read_all(uvm);
		if (ring->sched.ready)
			queue_work(uvm->vms.wq, &ring->stopped);
		break;
	case IH_SRC_SDMA_POLL_TIMEOUT:
		dev_warn_ratelimited(uvm->drm.dev, "%s: a poll gave up\n",
				     ring->name);
		break;
	case IH_SRC_SDMA_DOORBELL_INVALID:
		drm_err_ratelimited(&uvm->drm, "%s: doorbell refused\n",
				    ring->name);
		break;
	default:
		atomic64_inc(&uvm->ih.unknown);
	}
}

/**
 * uvm_ih_dispatch() - deal with a vector
 * @uvm: the device
 * @dw: the vector
 *
 * Context: the interrupt worker alone.
 */
void uvm_ih_dispatch(struct uvm_device *uvm, const __le32 *dw)
{
	const struct uvm_ih_vector vector = uvm_ih_decode(dw);

	atomic64_inc(&uvm->ih.vectors);
	trace_uvm_vector(vector.stamp, vector.client, vector.source,
			 vector.ring, vector.vmid, vector.pasid);
	switch (vector.client) {
	case IH_CLIENT_SDMA0:
	case IH_CLIENT_SDMA1:
		uvm_ih_sdma(uvm, &vector);
		break;
	case IH_CLIENT_ACCESS:
		uvm_queue_interrupt(uvm, vector.source);
		break;
	case IH_CLIENT_UTCL2LOG:
		if (vector.source == IH_SRC_ACCESS_COUNTER)
			uvm_ih_counted(uvm, &vector);
		break;
	case IH_CLIENT_VMC:
	case IH_CLIENT_UTCL2:
		if (vector.source == IH_SRC_PAGE_FAULT)
			uvm_ih_fault(uvm, &vector);
		break;
	case IH_CLIENT_DF:
		if (vector.source == IH_SRC_ECC_ERROR)
			uvm_ecc_error(uvm, vector.data[0] |
				      (u64)vector.data[1] << 32);
		break;
	default:
		atomic64_inc(&uvm->ih.unknown);
	}
}

/*
 * Vectors were overwritten: go on behind the oldest that is still there, and
 * let the device say so again should it happen again. The pointer in memory
 * keeps saying so until the next vector, so that the register decides.
 */
static u32 uvm_ih_overflow(struct uvm_device *uvm)
{
	struct uvm_ih *ih = &uvm->ih;
	u32 reg = uvm_rreg(uvm, mmIH_RB_WPTR);
	u32 wptr, i, cntl;

	if (!(reg & IH_RB_WPTR__RB_OVERFLOW))
		return reg & IH_RB_WPTR__OFFSET;
	cntl = uvm_rreg(uvm, mmIH_RB_CNTL);
	atomic64_inc(&ih->overflows);
	/* First the mark: what is overwritten from now on sets it again. */
	uvm_wreg(uvm, mmIH_RB_CNTL, cntl | IH_RB_CNTL__WPTR_OVERFLOW_CLEAR);
	uvm_wreg(uvm, mmIH_RB_CNTL, cntl & ~IH_RB_CNTL__WPTR_OVERFLOW_CLEAR);
	wptr = uvm_rreg(uvm, mmIH_RB_WPTR) & IH_RB_WPTR__OFFSET;
	dev_warn_ratelimited(uvm->drm.dev,
			     "interrupt ring overflow: WPTR %#x RPTR %#x\n",
			     wptr, ih->rptr);
	ih->rptr = (wptr + IH_VECTOR_BYTES) & (UVM_IH_BYTES - 1);

	/* A lost trap leaves no other trace than the fence it announced. */
	for (i = 0; i < uvm->nr_rings; i++)
		if (READ_ONCE(uvm->rings[i].started))
			uvm_fence_process(&uvm->rings[i]);
	return wptr;
}

static u32 uvm_ih_wptr(struct uvm_device *uvm)
{
	u32 wptr = le32_to_cpu(READ_ONCE(*uvm->ih.wptr_cpu));

	/* The vectors before the pointer. */
	dma_rmb();
	if (wptr & IH_RB_WPTR__RB_OVERFLOW)
		return uvm_ih_overflow(uvm);
	return wptr & IH_RB_WPTR__OFFSET;
}

static void uvm_ih_set_rptr(struct uvm_device *uvm)
{
	if (!uvm_doorbell(uvm, UVM_DOORBELL_IH, uvm->ih.rptr))
		uvm_wreg(uvm, mmIH_RB_RPTR, uvm->ih.rptr);
}

/**
 * uvm_ih_work() - empty the interrupt ring
 * @work: uvm_ih.work
 */
void uvm_ih_work(struct work_struct *work)
{
	struct uvm_ih *ih = container_of(work, struct uvm_ih, work);
	struct uvm_device *uvm = container_of(ih, struct uvm_device, ih);
	u32 rings, wptr, n = 0;

	/*
	 * Not within drm_dev_enter(): while the device goes, those who are
	 * still inside wait for fences. uvm_stop() ends this work.
	 *
	 * Events first: one that comes later runs this work again.
	 */
	rings = uvm_mmio_repost_events(uvm);
	if (!READ_ONCE(ih->enabled))
		return;
	if (xchg(&ih->look, false) || rings & BIT(1) || ih->again)
		ih->again = uvm_retry_read(uvm);
	while (n < UVM_IH_BATCH && (wptr = uvm_ih_wptr(uvm)) != ih->rptr) {
		for (; ih->rptr != wptr && n < UVM_IH_BATCH; n++) {
			uvm_ih_dispatch(uvm, ih->ring +
					ih->rptr / sizeof(*ih->ring));
			ih->rptr = (ih->rptr + IH_VECTOR_BYTES) &
				   (UVM_IH_BYTES - 1);
		}
		uvm_ih_set_rptr(uvm);
	}
	uvm_retry_flush(uvm);
	if (ih->again || n == UVM_IH_BATCH)
		queue_work(ih->wq, &ih->work);
}

/**
 * uvm_ih_kick() - an event came
 * @uvm: the device
 *
 * Most events say that a fence was written. Whoever waits for it learns so
 * at once, by the fence's memory; the vectors are read when the worker runs.
 *
 * Context: interrupt.
 */
void uvm_ih_kick(struct uvm_device *uvm)
{
	u32 i;

	for (i = 0; i < uvm->nr_rings; i++)
		if (READ_ONCE(uvm->rings[i].started))
			uvm_fence_process(&uvm->rings[i]);
	for (i = 0; i < uvm->nr_rings; i++)
		uvm_page_ring_kick(&uvm->devmem.rings[i]);
	queue_work(uvm->ih.wq, &uvm->ih.work);
}

/**
 * uvm_ih_poll() - read the interrupt rings although no interrupt came
 * @uvm: the device
 *
 * One that is lost is the last: the device waits for its read pointer to move
 * before it interrupts again. Context: any.
 */
void uvm_ih_poll(struct uvm_device *uvm)
{
	xchg(&uvm->ih.look, true);
	queue_work(uvm->ih.wq, &uvm->ih.work);
}

/**
 * uvm_ih_flush() - deal with every page fault that was told before now
 * @uvm: the device
 *
 * For who saw its effect elsewhere first. Context: within drm_dev_enter(),
 * with no lock that the worker takes.
 */
void uvm_ih_flush(struct uvm_device *uvm)
{
	uvm_ih_poll(uvm);
	flush_work(&uvm->ih.work);
}

/**
 * uvm_ih_init() - bring up interrupt ring 0
 * @uvm: the device, started
 *
 * Return: 0 or an errno.
 */
int uvm_ih_init(struct uvm_device *uvm)
{
	struct uvm_ih *ih = &uvm->ih;
	phys_addr_t ring, wptr;

	ih->ring = alloc_pages_exact(UVM_IH_ALLOC, GFP_KERNEL | __GFP_ZERO);
	if (!ih->ring)
		return -ENOMEM;
	ih->wptr_cpu = (void *)ih->ring + UVM_IH_BYTES;
	ih->rptr = 0;
	ring = virt_to_phys(ih->ring);
	wptr = virt_to_phys(ih->wptr_cpu);

	uvm_wreg(uvm, mmIH_RB_CNTL, 0);
	uvm_wreg(uvm, mmIH_RB_BASE, ring >> 8);
	uvm_wreg(uvm, mmIH_RB_BASE_HI, ring >> 40);
	uvm_wreg(uvm, mmIH_RB_WPTR_ADDR_HI, upper_32_bits(wptr));
	uvm_wreg(uvm, mmIH_RB_WPTR_ADDR_LO, lower_32_bits(wptr));
	uvm_wreg(uvm, mmIH_RB_RPTR, 0);
	uvm_wreg(uvm, mmIH_RB_WPTR, 0);

	uvm_wreg(uvm, mmBIF_IH_DOORBELL_RANGE,
		 FIELD_PREP(BIF_IH_DOORBELL_RANGE__OFFSET,
			    UVM_DOORBELL_IH * 2) |
		 FIELD_PREP(BIF_IH_DOORBELL_RANGE__SIZE, UVM_IH_DOORBELLS * 2));
	uvm_wreg(uvm, mmIH_DOORBELL_RPTR,
		 FIELD_PREP(IH_DOORBELL_RPTR__OFFSET, UVM_DOORBELL_IH * 2) |
		 IH_DOORBELL_RPTR__ENABLE);

	WRITE_ONCE(ih->enabled, true);
	uvm_wreg(uvm, mmIH_RB_CNTL,
		 FIELD_PREP(IH_RB_CNTL__RB_SIZE,
			    ilog2(UVM_IH_BYTES / sizeof(u32))) |
		 FIELD_PREP(IH_RB_CNTL__MC_SPACE, IH_MC_SPACE_BUS) |
		 IH_RB_CNTL__WPTR_WRITEBACK_ENABLE |
		 IH_RB_CNTL__WPTR_OVERFLOW_ENABLE |
		 IH_RB_CNTL__RB_FULL_DRAIN_ENABLE |
		 IH_RB_CNTL__MC_SNOOP | IH_RB_CNTL__RPTR_REARM |
		 IH_RB_CNTL__ENABLE_INTR | IH_RB_CNTL__RB_ENABLE);
	return 0;
}

/**
 * uvm_ih_stop() - no more interrupts
 * @uvm: the device; it still answers
 */
void uvm_ih_stop(struct uvm_device *uvm)
{
	if (!uvm->ih.enabled)
		return;
	uvm_wreg(uvm, mmIH_RB_CNTL, 0);
	uvm_wreg(uvm, mmIH_DOORBELL_RPTR, 0);
	uvm_wreg(uvm, mmBIF_IH_DOORBELL_RANGE, 0);
}

/**
 * uvm_ih_fini() - give the ring's memory back
 * @uvm: the device, reset, its worker ended
 */
void uvm_ih_fini(struct uvm_device *uvm)
{
	struct uvm_ih *ih = &uvm->ih;

	if (ih->ring)
		free_pages_exact(ih->ring, UVM_IH_ALLOC);
	ih->ring = NULL;
	ih->enabled = false;
}
