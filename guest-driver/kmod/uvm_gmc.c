// SPDX-License-Identifier: GPL-2.0
/*
 * The MM hub. Its VMID 0, through which the SDMA engines reach memory for the
 * driver itself:
 *
 *   UVM_FB_START ..    the FB aperture: VRAM, untranslated
 *   UVM_GART_START ..  the GART window: system pages, see uvm_gart.c
 *
 * An access elsewhere raises a fault and gets the GART's dummy page. VMIDs 1
 * to 15 are lent to processes: see uvm_vmid.c.
 *
 * The device is on a virtio bus without an IOMMU of its own (no
 * VIRTIO_F_ACCESS_PLATFORM): its bus addresses are guest-physical addresses.
 */

#include <linux/delay.h>
#include <linux/iopoll.h>
#include <linux/sizes.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/* The engine that the kernel's own invalidations use, by convention. */
#define UVM_INV_ENGINE		17
/* And the one for the address spaces of processes, page by page. */
#define UVM_INV_ENGINE_VM	16
/* And those of the PAGE rings, one each, for packets of theirs. */
#define UVM_INV_ENGINE_PAGE	8
#define UVM_INV_PAGE_BITS	36
/* The range register for all pages. */
#define UVM_INV_ALL		GENMASK_ULL(UVM_INV_PAGE_BITS, 0)
#define UVM_INV_TIMEOUT_US	1000000

/* SYSTEM_ACCESS_MODE: untranslated inside the system aperture, else VMID 0. */
#define UVM_ACCESS_BY_APERTURE	3

#define UVM_CONTEXT0_FAULTS \
	(VM_CONTEXT_CNTL__RANGE_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__RANGE_PROTECTION_FAULT_ENABLE_DEFAULT | \
	 VM_CONTEXT_CNTL__DUMMY_PAGE_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__DUMMY_PAGE_PROTECTION_FAULT_ENABLE_DEFAULT | \
	 VM_CONTEXT_CNTL__PDE0_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__PDE0_PROTECTION_FAULT_ENABLE_DEFAULT | \
	 VM_CONTEXT_CNTL__VALID_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__VALID_PROTECTION_FAULT_ENABLE_DEFAULT | \
	 VM_CONTEXT_CNTL__READ_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__READ_PROTECTION_FAULT_ENABLE_DEFAULT | \
	 VM_CONTEXT_CNTL__WRITE_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__WRITE_PROTECTION_FAULT_ENABLE_DEFAULT | \
	 VM_CONTEXT_CNTL__EXECUTE_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__EXECUTE_PROTECTION_FAULT_ENABLE_DEFAULT)

/* Those of a process: no page stands in, so the engine stops. */
#define UVM_PROCESS_FAULTS \
	(VM_CONTEXT_CNTL__RANGE_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__DUMMY_PAGE_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__PDE0_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__VALID_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__READ_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__WRITE_PROTECTION_FAULT_ENABLE_INTERRUPT | \
	 VM_CONTEXT_CNTL__EXECUTE_PROTECTION_FAULT_ENABLE_INTERRUPT)

/* Default pages for every context, whatever its own register says. */
#define UVM_HUB_DEFAULTS	GENMASK(12, 2)

/**
 * uvm_wreg64() - write a pair of registers
 * @uvm: the device
 * @low: dword index of the low half, which is written first
 * @high: dword index of the high half
 * @value: what
 */
void uvm_wreg64(struct uvm_device *uvm, u32 low, u32 high, u64 value)
{
	uvm_wreg(uvm, low, lower_32_bits(value));
	uvm_wreg(uvm, high, upper_32_bits(value));
}

/**
 * uvm_gpu_addr() - VMID-0 address of a place
 * @domain: UVM_DOMAIN_VRAM or UVM_DOMAIN_GTT
 * @offset: bytes from its start
 *
 * Return: the address; 0 for UVM_DOMAIN_SYSTEM, which has none.
 */
u64 uvm_gpu_addr(u32 domain, u64 offset)
{
	switch (domain) {
	case UVM_DOMAIN_VRAM:
		return UVM_FB_START + offset;
	case UVM_DOMAIN_GTT:
		return UVM_GART_START + offset;
	default:
		return 0;
	}
}

/* Everything that is cached of these address spaces, a bit each. */
static u32 uvm_gmc_all_of(u32 vmids)
{
	return FIELD_PREP(VM_INVALIDATE_ENG_REQ__PER_VMID_INVALIDATE_REQ,
			  vmids) |
	       VM_INVALIDATE_ENG_REQ__INVALIDATE_L2_PTES |
	       VM_INVALIDATE_ENG_REQ__INVALIDATE_L2_PDE0 |
	       VM_INVALIDATE_ENG_REQ__INVALIDATE_L2_PDE1 |
	       VM_INVALIDATE_ENG_REQ__INVALIDATE_L2_PDE2 |
	       VM_INVALIDATE_ENG_REQ__INVALIDATE_L1_PTES;
}

static int uvm_gmc_request(struct uvm_device *uvm, u32 engine, u32 vmids)
{
	u32 ack;
	int ret;

	lockdep_assert_held(&uvm->gart.lock);
	/* It reaches no memory any more, and answers nothing. */
	if (uvm_is_lost(uvm))
		return -ENODEV;
	/* The entries first; they went through a write-combining mapping. */
	wmb();
	uvm_wreg(uvm, mmMM_VM_INVALIDATE_ENG_REQ(engine),
		 uvm_gmc_all_of(vmids));
	ret = read_poll_timeout(uvm_rreg, ack, (ack & vmids) == vmids, 20,
				UVM_INV_TIMEOUT_US, false, uvm,
				mmMM_VM_INVALIDATE_ENG_ACK(engine));
	if (ret) {
		drm_err(&uvm->drm, "invalidation of VMIDs %#x: no acknowledge\n",
			vmids);
		/* Nothing can be taken from it any more: a reset is all. */
		uvm_lost(uvm, "an invalidation is stuck");
	}
	uvm->gart.invalidations++;
	return ret;
}

/**
 * uvm_gmc_invalidate_gart() - drop what the hub has cached of VMID 0
 * @uvm: the device
 *
 * Context: under uvm_gart.lock, within drm_dev_enter(); allocates nothing.
 *
 * Return: 0 or -ETIMEDOUT.
 */
int uvm_gmc_invalidate_gart(struct uvm_device *uvm)
{
	return uvm_gmc_request(uvm, UVM_INV_ENGINE, BIT(0));
}

/**
 * uvm_gmc_emit_flush() - packets that have the hub forget VMID 0, and wait
 * @p: where they go: 16 dwords are enough
 * @ring: SDMA instance, each of which has an engine of its own for that
 *
 * Return: dwords of the packets.
 */
u32 uvm_gmc_emit_flush(__le32 *p, u32 ring)
{
	u32 engine = UVM_INV_ENGINE_PAGE + ring, n;

	n = uvm_emit_reg_write(p, mmMM_VM_INVALIDATE_ENG_REQ(engine),
			       uvm_gmc_all_of(BIT(0)));
	return n + uvm_emit_reg_wait(p + n, mmMM_VM_INVALIDATE_ENG_ACK(engine),
				     BIT(0));
}

/*
 * The smallest range that the register can name around pages @first and @last:
 * a power of two of them, told by the ones that the page number ends in.
 */
static u64 uvm_gmc_inv_range(u64 first, u64 last)
{
	u32 order = first == last ? 0 : fls64(first ^ last);

	if (last >> UVM_INV_PAGE_BITS || order >= UVM_INV_PAGE_BITS)
		return UVM_INV_ALL;
	if (!order)
		return first << 1;
	first &= ~(BIT_ULL(order) - 1);
	return (first | (BIT_ULL(order - 1) - 1)) << 1 | 1;
}

static int uvm_gmc_request_range(struct uvm_device *uvm, u32 vmids, u64 first,
				 u64 count)
{
	u64 last = count > U64_MAX - first ? U64_MAX : first + count - 1;
	u64 range = uvm_gmc_inv_range(first, last);

	lockdep_assert_held(&uvm->gart.lock);
	/* The other engine's range is everything, and never has to be set. */
	if (range == UVM_INV_ALL)
		return uvm_gmc_request(uvm, UVM_INV_ENGINE, vmids);
	if (uvm->gart.vm_range != range) {
		uvm_wreg64(uvm,
			   mmMM_VM_INVALIDATE_ENG_ADDR_RANGE(2 * UVM_INV_ENGINE_VM),
			   mmMM_VM_INVALIDATE_ENG_ADDR_RANGE(2 * UVM_INV_ENGINE_VM + 1),
			   range);
		uvm->gart.vm_range = range;
	}
	return uvm_gmc_request(uvm, UVM_INV_ENGINE_VM, vmids);
}

/**
 * uvm_gmc_invalidate() - drop what the hub has cached of address spaces
 * @uvm: the device
 * @vmids: which, a bit each
 * @first: first page number
 * @count: how many pages from there, not 0; U64_MAX: all
 *
 * When this returns 0, nothing that was read of the tables before is used any
 * more. Context: within drm_dev_enter(); allocates nothing.
 *
 * Return: 0 or -ETIMEDOUT.
 */
int uvm_gmc_invalidate(struct uvm_device *uvm, u32 vmids, u64 first, u64 count)
{
	int ret;

	mutex_lock(&uvm->gart.lock);
	ret = uvm_gmc_request_range(uvm, vmids, first, count);
	mutex_unlock(&uvm->gart.lock);
	return ret;
}

/**
 * uvm_gmc_forget() - drop what the hub may have cached of an address space
 * @uvm: the device
 * @pasid: whose; no matter whether it runs now
 * @first: first page number
 * @count: how many pages from there, not 0
 *
 * For entries that the driver wrote itself. Who gets a VMID later flushes it
 * first, unless it was its own all the time: then it is one of these. Context:
 * within drm_dev_enter(); allocates nothing.
 *
 * Return: 0 or -ETIMEDOUT.
 */
int uvm_gmc_forget(struct uvm_device *uvm, u32 pasid, u64 first, u64 count)
{
	u32 vmid, vmids = 0;
	int ret = 0;

	mutex_lock(&uvm->gart.lock);
	for (vmid = 1; vmid < UVM_NR_VMIDS; vmid++)
		if (uvm->gart.loaded[vmid] == pasid)
			vmids |= BIT(vmid);
	/* Entries first, also for who loads the tables next. */
	wmb();
	if (vmids)
		ret = uvm_gmc_request_range(uvm, vmids, first, count);
	mutex_unlock(&uvm->gart.lock);
	return ret;
}

/**
 * uvm_gmc_limits() - what addresses a VMID has
 * @uvm: the device
 * @vmid: 1 to 15
 * @first: first page number
 * @last: last page number
 */
void uvm_gmc_limits(struct uvm_device *uvm, u32 vmid, u64 first, u64 last)
{
	uvm_wreg64(uvm, mmMM_VM_CONTEXT_PAGE_TABLE_START_ADDR(2 * vmid),
		   mmMM_VM_CONTEXT_PAGE_TABLE_START_ADDR(2 * vmid + 1), first);
	uvm_wreg64(uvm, mmMM_VM_CONTEXT_PAGE_TABLE_END_ADDR(2 * vmid),
		   mmMM_VM_CONTEXT_PAGE_TABLE_END_ADDR(2 * vmid + 1), last);
}

/* As the address space wants it at this moment; uvm_gart.lock held. */
static void uvm_gmc_set_cntl(struct uvm_device *uvm, u32 vmid,
			     const struct uvm_vm *vm)
{
	/* Two bits: 3 means as deep as the device goes. */
	u32 depth = min(uvm->levels - 1, 3u);
	u32 cntl = VM_CONTEXT_CNTL__ENABLE_CONTEXT |
		   FIELD_PREP(VM_CONTEXT_CNTL__PAGE_TABLE_DEPTH, depth) |
		   UVM_PROCESS_FAULTS;

	lockdep_assert_held(&uvm->gart.lock);
	/* Outside of its limits, or of all memory, nothing can be mapped. */
	if (uvm_mode_waits(vm))
		cntl |= VM_CONTEXT_CNTL__RETRY_PERMISSION_OR_INVALID_PAGE_FAULT;
	if (uvm->gart.cntl[vmid] == cntl)
		return;
	uvm->gart.cntl[vmid] = cntl;
	uvm_wreg(uvm, mmMM_VM_CONTEXT_CNTL(vmid), cntl);
}

/**
 * uvm_gmc_retry() - let accesses in a VMID wait for pages or fail
 * @uvm: the device
 * @vmid: 1 to 15, of @vm
 * @vm: the address space, which says
 *
 * Context: within drm_dev_enter().
 */
void uvm_gmc_retry(struct uvm_device *uvm, u32 vmid, const struct uvm_vm *vm)
{
	mutex_lock(&uvm->gart.lock);
	uvm_gmc_set_cntl(uvm, vmid, vm);
	mutex_unlock(&uvm->gart.lock);
}

/**
 * uvm_gmc_retry_loaded() - the same in all VMIDs that an address space has
 * @uvm: the device
 * @vm: the address space
 *
 * Context: within drm_dev_enter().
 */
void uvm_gmc_retry_loaded(struct uvm_device *uvm, const struct uvm_vm *vm)
{
	u32 vmid;

	mutex_lock(&uvm->gart.lock);
	for (vmid = 1; vmid < UVM_NR_VMIDS; vmid++)
		if (uvm->gart.loaded[vmid] == vm->pasid)
			uvm_gmc_set_cntl(uvm, vmid, vm);
	mutex_unlock(&uvm->gart.lock);
}

/**
 * uvm_gmc_load() - give a VMID to an address space
 * @uvm: the device
 * @vmid: 1 to 15
 * @root: its root, as the register takes it
 * @vm: the address space
 *
 * Nothing runs in the VMID but jobs of that address space; what was cached is
 * the caller's to invalidate. Context: within drm_dev_enter().
 */
void uvm_gmc_load(struct uvm_device *uvm, u32 vmid, u64 root,
		  const struct uvm_vm *vm)
{
	mutex_lock(&uvm->gart.lock);
	/* Before the hub can walk its tables. */
	uvm->gart.loaded[vmid] = vm->pasid;
	uvm_wreg(uvm, mmMM_VM_CONTEXT_PAGE_TABLE_BASE_ADDR(2 * vmid),
		 lower_32_bits(root));
	/* The same for most; each access is a way to the device and back. */
	if (uvm->gart.root_hi[vmid] != upper_32_bits(root))
		uvm_wreg(uvm, mmMM_VM_CONTEXT_PAGE_TABLE_BASE_ADDR(2 * vmid + 1),
			 upper_32_bits(root));
	uvm->gart.root_hi[vmid] = upper_32_bits(root);
	uvm_wreg(uvm, mmIH_VMID_LUT_MM(vmid),
		 FIELD_PREP(IH_VMID_LUT_MM__PASID, vm->pasid));
	uvm_gmc_set_cntl(uvm, vmid, vm);
	mutex_unlock(&uvm->gart.lock);
}

static void uvm_gmc_apertures(struct uvm_device *uvm)
{
	u64 last = UVM_FB_START + uvm->vram.size - 1;
	u64 scratch = uvm->gart.scratch_offset >> PAGE_SHIFT;

	uvm_wreg(uvm, mmMM_MC_VM_FB_LOCATION_BASE, UVM_FB_START >> 24);
	uvm_wreg(uvm, mmMM_MC_VM_FB_LOCATION_TOP, last >> 24);
	uvm_wreg(uvm, mmMM_MC_VM_FB_OFFSET, 0);

	/* None: bottom above top. */
	uvm_wreg(uvm, mmMM_MC_VM_AGP_BASE, 0);
	uvm_wreg(uvm, mmMM_MC_VM_AGP_TOP, 0);
	uvm_wreg(uvm, mmMM_MC_VM_AGP_BOT, MC_VM_AGP_BOT__AGP_BOT);

	uvm_wreg(uvm, mmMM_MC_VM_SYSTEM_APERTURE_LOW_ADDR, UVM_FB_START >> 18);
	uvm_wreg(uvm, mmMM_MC_VM_SYSTEM_APERTURE_HIGH_ADDR, last >> 18);
	uvm_wreg64(uvm, mmMM_MC_VM_SYSTEM_APERTURE_DEFAULT_ADDR(0),
		   mmMM_MC_VM_SYSTEM_APERTURE_DEFAULT_ADDR(1), scratch);

	uvm_wreg(uvm, mmMM_MC_VM_MX_L1_TLB_CNTL,
		 MC_VM_MX_L1_TLB_CNTL__ENABLE_L1_TLB |
		 MC_VM_MX_L1_TLB_CNTL__ENABLE_ADVANCED_DRIVER_MODEL |
		 FIELD_PREP(MC_VM_MX_L1_TLB_CNTL__SYSTEM_ACCESS_MODE,
			    UVM_ACCESS_BY_APERTURE) |
		 FIELD_PREP(MC_VM_MX_L1_TLB_CNTL__MTYPE, UVM_MTYPE_UC));
}

static void uvm_gmc_engine_all(struct uvm_device *uvm, u32 engine)
{
	uvm_wreg64(uvm, mmMM_VM_INVALIDATE_ENG_ADDR_RANGE(2 * engine),
		   mmMM_VM_INVALIDATE_ENG_ADDR_RANGE(2 * engine + 1),
		   UVM_INV_ALL);
}

static void uvm_gmc_context0(struct uvm_device *uvm)
{
	struct uvm_gart *gart = &uvm->gart;
	u64 first = UVM_GART_START >> PAGE_SHIFT;
	u64 last = first + (gart->size >> PAGE_SHIFT) - 1;
	u32 i;

	/* As no register is; who loads a VMID writes what differs. */
	memset(gart->cntl, 0, sizeof(gart->cntl));
	memset(gart->root_hi, 0xff, sizeof(gart->root_hi));
	/* These engines' requests are about every page: the reset value means one. */
	uvm_gmc_engine_all(uvm, UVM_INV_ENGINE);
	for (i = 0; i < uvm->nr_rings; i++)
		uvm_gmc_engine_all(uvm, UVM_INV_ENGINE_PAGE + i);
	uvm_wreg64(uvm, mmMM_VM_L2_PROTECTION_FAULT_DEFAULT_ADDR(0),
		   mmMM_VM_L2_PROTECTION_FAULT_DEFAULT_ADDR(1),
		   page_to_phys(gart->dummy) >> PAGE_SHIFT);
	uvm_wreg(uvm, mmMM_VM_L2_CNTL,
		 uvm_rreg(uvm, mmMM_VM_L2_CNTL) |
		 VM_L2_CNTL__ENABLE_L2_CACHE |
		 VM_L2_CNTL__ENABLE_L2_FRAGMENT_PROCESSING |
		 VM_L2_CNTL__ENABLE_DEFAULT_PAGE_OUT_TO_SYSTEM_MEMORY);

	if (uvm_has_vidmm(uvm)) {
		uvm_vidmm_enable(uvm);
	} else {
		uvm_wreg64(uvm, mmMM_VM_CONTEXT_PAGE_TABLE_BASE_ADDR(0),
			   mmMM_VM_CONTEXT_PAGE_TABLE_BASE_ADDR(1),
			   gart->table_offset | UVM_PTE_VALID);
		uvm_wreg64(uvm, mmMM_VM_CONTEXT_PAGE_TABLE_START_ADDR(0),
			   mmMM_VM_CONTEXT_PAGE_TABLE_START_ADDR(1), first);
		uvm_wreg64(uvm, mmMM_VM_CONTEXT_PAGE_TABLE_END_ADDR(0),
			   mmMM_VM_CONTEXT_PAGE_TABLE_END_ADDR(1), last);
	}
	uvm_wreg(uvm, mmMM_VM_CONTEXT_CNTL(0),
		 VM_CONTEXT_CNTL__ENABLE_CONTEXT | UVM_CONTEXT0_FAULTS);

	/*
	 * Each later fault shows in the status, not only the first; and whether
	 * a page stands in is each context's own business.
	 */
	uvm_wreg(uvm, mmMM_VM_L2_PROTECTION_FAULT_CNTL,
		 (uvm_rreg(uvm, mmMM_VM_L2_PROTECTION_FAULT_CNTL) &
		  ~UVM_HUB_DEFAULTS) |
		 VM_L2_PROTECTION_FAULT_CNTL__ALLOW_SUBSEQUENT_PROTECTION_FAULT_STATUS_ADDR_UPDATES |
		 VM_L2_PROTECTION_FAULT_CNTL__CLEAR_PROTECTION_FAULT_STATUS_ADDR);
}

/**
 * uvm_gmc_init() - bring up VMID 0
 * @uvm: the device, with its VRAM and its policy
 *
 * Return: 0 or an errno.
 */
int uvm_gmc_init(struct uvm_device *uvm)
{
	struct uvm_gart *gart = &uvm->gart;
	int ret;

	ret = uvm_gart_init(uvm);
	if (ret)
		return ret;
	uvm_gmc_apertures(uvm);
	uvm_gmc_context0(uvm);

	mutex_lock(&gart->lock);
	ret = uvm_gmc_invalidate_gart(uvm);
	mutex_unlock(&gart->lock);
	if (ret) {
		uvm_gmc_stop(uvm);
		uvm_gmc_fini(uvm);
	}
	return ret;
}

/**
 * uvm_gmc_stop() - let VMID 0 translate no more
 * @uvm: the device; nothing is on its rings
 */
void uvm_gmc_stop(struct uvm_device *uvm)
{
	uvm_wreg(uvm, mmMM_VM_CONTEXT_CNTL(0), 0);
	if (uvm_has_vidmm(uvm))
		uvm_wreg(uvm, mmMMIO_MMU_CNTL, 0);
}

/**
 * uvm_gmc_fini() - give up VMID 0
 * @uvm: the device, reset: nothing reaches memory through it any more
 */
void uvm_gmc_fini(struct uvm_device *uvm)
{
	if (uvm->gart.dummy)
		__free_page(uvm->gart.dummy);
	uvm->gart.dummy = NULL;
}
