// SPDX-License-Identifier: GPL-2.0
/*
 * Broken memory: a page of VRAM with an uncorrectable error is never given
 * out again. Who has it keeps it; the job that read it has failed with -EIO.
 */

#include <drm/drm_print.h>

#include "uvm_drv.h"

static void uvm_ecc_retire(struct uvm_device *uvm, u64 page)
{
	unsigned int flags = uvm_policy_begin(uvm);
	int ret;

	ret = uvm_policy_retire(uvm->policy, UVM_DOMAIN_VRAM,
				page << PAGE_SHIFT);
	uvm_policy_end(uvm, flags);
	if (ret < 0) {
		drm_err(&uvm->drm, "VRAM page %#llx is not retired: %d\n", page,
			ret);
		return;
	}
	drm_err(&uvm->drm, "uncorrectable error in VRAM page %#llx, which is %s\n",
		page, ret ? "in use; retired once it is free" : "retired");
}

/* Under the policy's lock, whose holders may wait for memory: not at once. */
static void uvm_ecc_work(struct work_struct *work)
{
	struct uvm_device *uvm = container_of(work, struct uvm_device,
					      ecc.work);
	struct uvm_ecc *ecc = &uvm->ecc;
	unsigned long flags;
	u64 page;

	spin_lock_irqsave(&ecc->lock, flags);
	while (ecc->nr_pages) {
		page = ecc->pages[--ecc->nr_pages];
		spin_unlock_irqrestore(&ecc->lock, flags);
		uvm_ecc_retire(uvm, page);
		spin_lock_irqsave(&ecc->lock, flags);
	}
	spin_unlock_irqrestore(&ecc->lock, flags);
}

/* Was this page told before? Each read of it tells again. */
static bool uvm_ecc_known(struct uvm_ecc *ecc, u64 page)
{
	u32 i, n = min(ecc->nr_told, (u32)ARRAY_SIZE(ecc->told));

	for (i = 0; i < n; i++)
		if (ecc->told[i] == page)
			return true;
	return false;
}

/**
 * uvm_ecc_error() - the device found an uncorrectable error
 * @uvm: the device
 * @page: page number in VRAM
 *
 * A page that does not fit in the list is told again by who reads it next.
 * Context: the interrupt worker.
 */
void uvm_ecc_error(struct uvm_device *uvm, u64 page)
{
	struct uvm_ecc *ecc = &uvm->ecc;
	unsigned long flags;
	bool queued = false;

	atomic64_inc(&ecc->errors);
	spin_lock_irqsave(&ecc->lock, flags);
	if (!uvm_ecc_known(ecc, page) &&
	    ecc->nr_pages < ARRAY_SIZE(ecc->pages)) {
		ecc->pages[ecc->nr_pages++] = page;
		ecc->told[ecc->nr_told++ % ARRAY_SIZE(ecc->told)] = page;
		queued = true;
	}
	spin_unlock_irqrestore(&ecc->lock, flags);
	if (queued)
		schedule_work(&ecc->work);
}

/**
 * uvm_ecc_init() - nothing is broken yet
 * @uvm: the device
 */
void uvm_ecc_init(struct uvm_device *uvm)
{
	spin_lock_init(&uvm->ecc.lock);
	INIT_WORK(&uvm->ecc.work, uvm_ecc_work);
}

/**
 * uvm_ecc_fini() - no page is retired any more
 * @uvm: the device; its interrupt worker has ended
 */
void uvm_ecc_fini(struct uvm_device *uvm)
{
	cancel_work_sync(&uvm->ecc.work);
}
