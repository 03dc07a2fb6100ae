// SPDX-License-Identifier: GPL-2.0
/*
 * What a device that judges us cannot see: which ranges of VRAM are nobody's.
 *
 * The policy keeps what it gave out and took back. It is told before anybody
 * else enters the policy, and so before a range that was freed has a new owner.
 * Without checks nothing is kept, and nothing told.
 */

#include "uvm_drv.h"

static void uvm_annotate_set(struct uvm_device *uvm, u32 i, u32 value)
{
	if (uvm->annotated[i] == value)
		return;
	uvm->annotated[i] = value;
	uvm_wreg(uvm, mmANNOTATE_RANGE(i), value);
}

/**
 * uvm_annotate() - tell the device what became of VRAM
 * @uvm: the device, which listens
 *
 * Context: under uvm_device.policy_lock.
 */
void uvm_annotate(struct uvm_device *uvm)
{
	struct uvm_policy_range_change change;
	int idx;

	if (!uvm->policy)
		return;
	/* Also if the device is gone: nobody else takes what is kept. */
	while (uvm_policy_next_change(uvm->policy, &change) > 0) {
		if (!drm_dev_enter(&uvm->drm, &idx))
			continue;
		uvm_annotate_set(uvm, 0, lower_32_bits(change.offset));
		uvm_annotate_set(uvm, 1, upper_32_bits(change.offset));
		uvm_annotate_set(uvm, 2, lower_32_bits(change.size));
		uvm_annotate_set(uvm, 3, upper_32_bits(change.size));
		uvm_wreg(uvm, mmANNOTATE_OP, change.freed ?
			 UVM_ANNOTATE_FREED : UVM_ANNOTATE_ALLOCATED);
		drm_dev_exit(idx);
	}
}

/**
 * uvm_annotate_init() - have the policy keep what is to be told
 * @uvm: the device, with its policy
 *
 * Return: 0 or an errno.
 */
int uvm_annotate_init(struct uvm_device *uvm)
{
	return uvm_is_judged(uvm) ? uvm_policy_watch(uvm->policy) : 0;
}
