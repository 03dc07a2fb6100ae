// SPDX-License-Identifier: GPL-2.0
/*
 * Hardware fences: a ring writes a sequence number to its write-back page and
 * interrupts; what waited for that number or a lower one is then done.
 */

#include <linux/jiffies.h>
#include <linux/slab.h>

#include "uvm_drv.h"

static const char *uvm_fence_driver_name(struct dma_fence *base)
{
	return "uvm";
}

static const char *uvm_fence_timeline_name(struct dma_fence *base)
{
	return container_of(base, struct uvm_fence, base)->ring->name;
}

static u32 uvm_fence_reached(struct uvm_ring *ring)
{
	return le32_to_cpu(READ_ONCE(*uvm_ring_wb(ring, UVM_WB_FENCE)));
}

/*
 * Those who may use VMID 0 can overwrite what the ring writes: a number that it
 * was never given has been reached by nobody.
 */
static bool uvm_fence_passed(struct uvm_ring *ring, u32 reached, u32 seq)
{
	/* The number went to the ring before the ring wrote it. */
	dma_rmb();
	return (s32)(reached - seq) >= 0 &&
	       (s32)(READ_ONCE(ring->emitted) - reached) >= 0;
}

/* Lets a waiter see it before the interrupt was handled, or without one. */
static bool uvm_fence_signaled(struct dma_fence *base)
{
	struct uvm_fence *fence = container_of(base, struct uvm_fence, base);

	return uvm_fence_passed(fence->ring, uvm_fence_reached(fence->ring),
				fence->seq);
}

/*
 * No release and no wait: so a signalled fence does not need this module any
 * more, and may outlive it.
 */
static const struct dma_fence_ops uvm_fence_ops = {
	.get_driver_name = uvm_fence_driver_name,
	.get_timeline_name = uvm_fence_timeline_name,
	.signaled = uvm_fence_signaled,
};

/**
 * uvm_fence_alloc() - memory for a fence, to be emitted later
 *
 * Return: the memory or NULL; kfree() it if it is never emitted.
 */
struct uvm_fence *uvm_fence_alloc(void)
{
	return kzalloc(sizeof(struct uvm_fence), GFP_KERNEL);
}

/**
 * uvm_fence_emit() - make a fence the ring's newest
 * @ring: the ring, locked
 * @fence: of uvm_fence_alloc()
 *
 * The ring's list has a reference of its own until the fence has signalled.
 */
void uvm_fence_emit(struct uvm_ring *ring, struct uvm_fence *fence)
{
	unsigned long flags;

	lockdep_assert_held(&ring->lock);
	fence->ring = ring;
	fence->seq = ring->emitted + 1;
	fence->since = ktime_get();
	WRITE_ONCE(ring->emitted, fence->seq);
	spin_lock_init(&fence->lock);
	dma_fence_init(&fence->base, &uvm_fence_ops, &fence->lock,
		       ring->fence_context, fence->seq);
	dma_fence_get(&fence->base);
	spin_lock_irqsave(&ring->fence_lock, flags);
	list_add_tail(&fence->node, &ring->fences);
	spin_unlock_irqrestore(&ring->fence_lock, flags);
}

/**
 * uvm_fence_process() - signal what the ring has reached
 * @ring: the ring
 *
 * Context: any.
 */
void uvm_fence_process(struct uvm_ring *ring)
{
	struct uvm_fence *fence, *next;
	ktime_t now = ktime_get();
	unsigned long flags;
	LIST_HEAD(done);
	u32 reached;

	spin_lock_irqsave(&ring->fence_lock, flags);
	reached = uvm_fence_reached(ring);
	/* What the ring wrote before, for those who are woken. */
	dma_rmb();
	list_for_each_entry_safe(fence, next, &ring->fences, node) {
		if (!uvm_fence_passed(ring, reached, fence->seq))
			break;
		uvm_busy_charge(ring, fence, now);
		list_move_tail(&fence->node, &done);
	}
	spin_unlock_irqrestore(&ring->fence_lock, flags);

	list_for_each_entry_safe(fence, next, &done, node) {
		list_del_init(&fence->node);
		atomic64_inc(&ring->signalled);
		dma_fence_signal(&fence->base);
		dma_fence_put(&fence->base);
	}
}

/**
 * uvm_fence_catch_up() - signal what the ring has left behind
 * @ring: the ring, locked and disabled
 * @rptr: its read pointer, dwords
 *
 * In case that a number it wrote was overwritten: its packets would run twice.
 */
void uvm_fence_catch_up(struct uvm_ring *ring, u64 rptr)
{
	struct uvm_fence *fence;
	unsigned long flags;
	u32 seq = 0;
	bool found = false;

	lockdep_assert_held(&ring->lock);
	/* The pointer itself makes no sense. */
	if (rptr > ring->wptr)
		return;
	spin_lock_irqsave(&ring->fence_lock, flags);
	list_for_each_entry(fence, &ring->fences, node) {
		if (fence->end > rptr)
			break;
		seq = fence->seq;
		found = true;
	}
	spin_unlock_irqrestore(&ring->fence_lock, flags);
	if (!found)
		return;
	WRITE_ONCE(*uvm_ring_wb(ring, UVM_WB_FENCE), cpu_to_le32(seq));
	uvm_fence_process(ring);
}

/**
 * uvm_fence_oldest() - what the ring works on
 * @ring: the ring
 *
 * Return: the oldest fence that has not signalled, with a reference, or NULL.
 */
struct uvm_fence *uvm_fence_oldest(struct uvm_ring *ring)
{
	struct uvm_fence *fence;
	unsigned long flags;

	spin_lock_irqsave(&ring->fence_lock, flags);
	fence = list_first_entry_or_null(&ring->fences, struct uvm_fence, node);
	if (fence)
		dma_fence_get(&fence->base);
	spin_unlock_irqrestore(&ring->fence_lock, flags);
	return fence;
}

/**
 * uvm_fence_fail() - signal the oldest fence with an error
 * @ring: the ring, locked and halted: it writes no fence meanwhile
 * @fence: of uvm_fence_oldest()
 * @error: negative errno
 */
void uvm_fence_fail(struct uvm_ring *ring, struct uvm_fence *fence, int error)
{
	lockdep_assert_held(&ring->lock);
	dma_fence_set_error(&fence->base, error);
	/* As if the ring had got there: later fences count on from here. */
	WRITE_ONCE(*uvm_ring_wb(ring, UVM_WB_FENCE), cpu_to_le32(fence->seq));
	uvm_fence_process(ring);
}

/**
 * uvm_fence_fail_all() - signal everything with an error
 * @ring: the ring, locked, halted for good
 * @error: negative errno
 */
void uvm_fence_fail_all(struct uvm_ring *ring, int error)
{
	struct uvm_fence *fence;

	uvm_fence_process(ring);
	while ((fence = uvm_fence_oldest(ring))) {
		uvm_fence_fail(ring, fence, error);
		dma_fence_put(&fence->base);
	}
}
