// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers make way for processes' own memory: who wants a chunk of VRAM asks,
 * and may wait.
 */

#include <linux/jiffies.h>
#include <linux/wait.h>

#include "uvm_drv.h"

/* Who waits for room looks again after so long, if nothing tells it to. */
#define UVM_MM_LOOK_MS	20

/**
 * uvm_mm_make_way() - ask buffers to make way for processes' own memory
 * @uvm: the device
 * @size: of the chunk that is wanted, in bytes
 * @held: bytes of VRAM that such memory has
 *
 * Those that nobody uses begin to leave, if the policy finds that fair. Nobody
 * waits for them here.
 *
 * Return: whether there is room, or will be.
 */
bool uvm_mm_make_way(struct uvm_device *uvm, u64 size, u64 held)
{
	const struct uvm_mm_event event = {
		.op = UVM_MM_EV_MAKE_WAY,
		.size = size,
		.value = held,
	};
	struct uvm_mm_reply reply;

	return !uvm_mm_tell(uvm, &event, &reply, NULL) && reply.value;
}

/**
 * uvm_mm_way_wait() - wait until there may be room
 * @uvm: the device
 * @until: when it is given up, in jiffies
 *
 * Context: no reservation lock, no mmap_lock.
 * Return: 0: it is worth a look; -ENOSPC: the time is over; -EINTR.
 */
int uvm_mm_way_wait(struct uvm_device *uvm, unsigned long until)
{
	struct uvm_mm_dev *mm = &uvm->mm;
	int seen = atomic_read(&mm->nr_done);
	long ret;

	if (time_after_eq(jiffies, until))
		return -ENOSPC;
	ret = wait_event_interruptible_timeout(mm->ended,
					       atomic_read(&mm->nr_done) != seen,
					       msecs_to_jiffies(UVM_MM_LOOK_MS));
	return ret < 0 ? -EINTR : 0;
}
