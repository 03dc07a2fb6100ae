// SPDX-License-Identifier: GPL-2.0
/*
 * Who had the engines for how long.
 *
 * A ring works on one job at a time, in order: what it reaches was worked on
 * since it was emitted, or since the one before it was reached. Jobs that are
 * found to have ended together are charged to the first of them. User queues,
 * of whose work the driver learns nothing, are not counted.
 */

#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/**
 * uvm_busy_alloc() - the account of a file
 *
 * Return: the account, with one reference, or NULL.
 */
struct uvm_busy *uvm_busy_alloc(void)
{
	struct uvm_busy *busy = kzalloc(sizeof(*busy), GFP_KERNEL);

	if (busy)
		refcount_set(&busy->ref, 1);
	return busy;
}

/**
 * uvm_busy_get() - take a reference
 * @busy: the account
 *
 * Return: @busy.
 */
struct uvm_busy *uvm_busy_get(struct uvm_busy *busy)
{
	refcount_inc(&busy->ref);
	return busy;
}

/**
 * uvm_busy_put() - drop a reference
 * @busy: the account, or NULL
 */
void uvm_busy_put(struct uvm_busy *busy)
{
	if (busy && refcount_dec_and_test(&busy->ref))
		kfree(busy);
}

/**
 * uvm_busy_charge() - a ring has reached a fence
 * @ring: the ring, with its fence_lock
 * @fence: the oldest, which has not signalled: its job is there
 * @now: the time
 */
void uvm_busy_charge(struct uvm_ring *ring, struct uvm_fence *fence,
		     ktime_t now)
{
	ktime_t since = max(fence->since, ring->charged);

	lockdep_assert_held(&ring->fence_lock);
	if (fence->busy && now > since)
		atomic64_add(ktime_sub(now, since),
			     &fence->busy->ns[ring->index]);
	ring->charged = now;
}

/**
 * uvm_busy_show() - print the keys of fdinfo
 * @p: where to
 * @uvm: the device
 * @busy: the account
 */
void uvm_busy_show(struct drm_printer *p, struct uvm_device *uvm,
		   struct uvm_busy *busy)
{
	u32 i;

	for (i = 0; i < uvm->nr_rings; i++)
		drm_printf(p, "drm-engine-%s:\t%lld ns\n", uvm->rings[i].name,
			   atomic64_read(&busy->ns[i]));
}
