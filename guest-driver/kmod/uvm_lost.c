// SPDX-License-Identifier: GPL-2.0
/*
 * A device that is lost: pulled out, or stuck so that only a reset helps. What
 * runs fails with -ENODEV, and so does all that comes after. To bind the driver
 * anew resets the device and brings it back, if it is still there.
 */

#include <drm/drm_device.h>
#include <drm/drm_print.h>

#include "uvm_drv.h"

static void uvm_lost_work(struct work_struct *work)
{
	struct uvm_device *uvm = container_of(work, struct uvm_device,
					      lost.work);
	u32 i;

	/*
	 * First who waits inside drm_dev_enter() for a fence, then the door.
	 * Halted engines reach no memory, whatever is freed from here on.
	 */
	for (i = 0; i < uvm->nr_rings; i++)
		if (READ_ONCE(uvm->rings[i].started))
			uvm_ring_stop(&uvm->rings[i]);
	uvm_access_stop(uvm);
	uvm_devmem_dev_stop(uvm);
	complete_all(&uvm->svm.halted);
	/* Who waits for a page fault waits for nothing any more. */
	uvm_retry_stop(uvm);
	drm_dev_wedged_event(&uvm->drm, DRM_WEDGE_RECOVERY_REBIND, NULL);
	drm_dev_unplug(&uvm->drm);
	/* Binds that wait for others' fences. */
	uvm_vms_kick(uvm);
}

/**
 * uvm_is_lost() - whether the device is lost
 * @uvm: the device
 *
 * Return: true once uvm_lost() was called.
 */
bool uvm_is_lost(struct uvm_device *uvm)
{
	return READ_ONCE(uvm->lost.lost);
}

/**
 * uvm_lost() - the device does not work any more
 * @uvm: the device
 * @why: for the log
 *
 * Context: any; the consequences are drawn by a worker.
 */
void uvm_lost(struct uvm_device *uvm, const char *why)
{
	if (xchg(&uvm->lost.lost, true))
		return;
	drm_err(&uvm->drm, "%s: the device is lost, unbind and bind it to try a reset\n",
		why);
	/* During the bring-up, that fails. */
	if (READ_ONCE(uvm->drm.registered))
		schedule_work(&uvm->lost.work);
}

/**
 * uvm_lost_init() - the device works
 * @uvm: the device
 */
void uvm_lost_init(struct uvm_device *uvm)
{
	INIT_WORK(&uvm->lost.work, uvm_lost_work);
}

/**
 * uvm_lost_fini() - the device goes, by whatever way
 * @uvm: the device
 *
 * Nobody is inside drm_dev_enter() when this returns.
 */
void uvm_lost_fini(struct uvm_device *uvm)
{
	/* Not if it comes later: that the device goes is what it is about. */
	xchg(&uvm->lost.lost, true);
	cancel_work_sync(&uvm->lost.work);
	if (!drm_dev_is_unplugged(&uvm->drm))
		drm_dev_unplug(&uvm->drm);
}
