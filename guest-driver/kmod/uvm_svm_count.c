// SPDX-License-Identifier: GPL-2.0
/*
 * Accesses of engines to system pages over the bus are counted by the device,
 * granule by granule. A granule that is reached often is told once; the policy
 * says whether its pages come to VRAM, and then the count begins anew.
 *
 * Counting begins with the first mirror about which the policy decides, and ends
 * with the last. A count is by VMID, which may change hands: then somebody's
 * granule is looked at too soon or too late, and that is all.
 */

#include <linux/bitfield.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/sched/mm.h>

#include "uvm_drv.h"

static uint uvm_svm_counter_threshold = 256;
module_param_named(svm_counter_threshold, uvm_svm_counter_threshold, uint, 0644);
MODULE_PARM_DESC(svm_counter_threshold, "Accesses of a granule over the bus that are told, 1 to 65535 (default 256); holds for who mirrors first");

static uint uvm_svm_counter_granule = 4;
module_param_named(svm_counter_granule, uvm_svm_counter_granule, uint, 0644);
MODULE_PARM_DESC(svm_counter_granule, "log2 of the pages that are counted together, 4 to 9 (default 4); holds for who mirrors first");

/* 64 KiB, the smallest granule. */
#define UVM_COUNT_LEAST		4u
#define UVM_COUNT_MOST		9u
/* Both SDMA engines and the access engine. */
#define UVM_COUNT_CLIENTS	7u

/**
 * uvm_svm_count_begin() - a mirror begins about which the policy decides
 * @uvm: the device
 *
 * Context: within drm_dev_enter().
 */
void uvm_svm_count_begin(struct uvm_device *uvm)
{
	struct uvm_svm_dev *dev = &uvm->svm;
	u32 granule = clamp(READ_ONCE(uvm_svm_counter_granule),
			    UVM_COUNT_LEAST, UVM_COUNT_MOST);
	u32 threshold = clamp(READ_ONCE(uvm_svm_counter_threshold), 1u,
			      (u32)ACCESS_COUNTER_THRESHOLD__ACCESSES);

	if (!uvm_has_access(uvm))
		return;
	mutex_lock(&dev->count_lock);
	if (!dev->counting++) {
		uvm_wreg(uvm, mmACCESS_COUNTER_THRESHOLD, threshold);
		uvm_wreg(uvm, mmACCESS_COUNTER_CNTL,
			 ACCESS_COUNTER_CNTL__ENABLE |
			 FIELD_PREP(ACCESS_COUNTER_CNTL__GRANULARITY,
				    granule - UVM_COUNT_LEAST) |
			 FIELD_PREP(ACCESS_COUNTER_CNTL__CLIENTS,
				    UVM_COUNT_CLIENTS));
	}
	mutex_unlock(&dev->count_lock);
}

/**
 * uvm_svm_count_end() - it ends
 * @uvm: the device
 */
void uvm_svm_count_end(struct uvm_device *uvm)
{
	struct uvm_svm_dev *dev = &uvm->svm;
	int idx;

	if (!uvm_has_access(uvm))
		return;
	mutex_lock(&dev->count_lock);
	if (!--dev->counting && drm_dev_enter(&uvm->drm, &idx)) {
		uvm_wreg(uvm, mmACCESS_COUNTER_CNTL, 0);
		drm_dev_exit(idx);
	}
	mutex_unlock(&dev->count_lock);
}

/* What is counted of a granule, or of all, begins anew. */
static void uvm_svm_count_clear(struct uvm_device *uvm,
				const struct uvm_svm_counted *granule)
{
	struct uvm_svm_dev *dev = &uvm->svm;
	u64 page;
	int idx;

	if (!drm_dev_enter(&uvm->drm, &idx))
		return;
	mutex_lock(&dev->count_lock);
	if (granule) {
		page = granule->va >> PAGE_SHIFT;
		uvm_wreg(uvm, mmACCESS_COUNTER_ADDR(0), lower_32_bits(page));
		uvm_wreg(uvm, mmACCESS_COUNTER_ADDR(1), upper_32_bits(page));
		uvm_wreg(uvm, mmACCESS_COUNTER_VMID, granule->vmid);
	}
	uvm_wreg(uvm, mmACCESS_COUNTER_CLEAR,
		 granule ? 0 : ACCESS_COUNTER_CLEAR__ALL);
	mutex_unlock(&dev->count_lock);
	drm_dev_exit(idx);
}

/**
 * uvm_svm_counted() - a granule was reached often
 * @uvm: the device
 * @pasid: by whom
 * @granule: which
 *
 * Context: the interrupt worker.
 */
void uvm_svm_counted(struct uvm_device *uvm, u32 pasid,
		     const struct uvm_svm_counted *granule)
{
	struct uvm_svm *svm = NULL;
	struct uvm_vm *vm;

	if (granule->bytes > UVM_SVM_BLOCK_BYTES)
		return;
	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, pasid);
	if (vm)
		svm = smp_load_acquire(&vm->svm);
	if (svm && svm->space) {
		spin_lock(&svm->counted_lock);
		/* What finds no room is told again, when all began anew. */
		if (svm->nr_counted < ARRAY_SIZE(svm->counted))
			svm->counted[svm->nr_counted++] = *granule;
		else
			svm->uncounted = true;
		spin_unlock(&svm->counted_lock);
	}
	xa_unlock(&uvm->vms.by_pasid);
	if (svm)
		uvm_svm_kick(uvm, pasid);
}

static bool uvm_svm_next_counted(struct uvm_svm *svm,
				 struct uvm_svm_counted *granule)
{
	bool found;

	spin_lock(&svm->counted_lock);
	found = svm->nr_counted;
	if (found)
		*granule = svm->counted[--svm->nr_counted];
	spin_unlock(&svm->counted_lock);
	return found;
}

/**
 * uvm_svm_serve_counted() - decide about granules that were reached often
 * @svm: the mirror
 *
 * Context: the worker alone.
 */
void uvm_svm_serve_counted(struct uvm_svm *svm)
{
	struct uvm_device *uvm = svm->vm->uvm;
	u32 rounds = ARRAY_SIZE(svm->counted);
	struct uvm_svm_counted granule;
	struct uvm_svm_block *block;

	/*
	 * As many as there may be; for others the worker was started anew. Where
	 * the address space is the worker's alone, nothing will run in it.
	 */
	while (rounds-- && kref_read(&svm->vm->ref) > 1 &&
	       uvm_svm_next_counted(svm, &granule)) {
		if (uvm_svm_plan_counted(svm, granule.va, granule.bytes)) {
			block = uvm_svm_block_find(svm, granule.va);
			if (block) {
				uvm_svm_do(svm, block, svm->regions,
					   UVM_POLICY_SVM_BY_COUNTER);
				uvm_svm_block_put(block);
			}
		}
		uvm_svm_count_clear(uvm, &granule);
	}
	if (xchg(&svm->uncounted, false))
		uvm_svm_count_clear(uvm, NULL);
}
