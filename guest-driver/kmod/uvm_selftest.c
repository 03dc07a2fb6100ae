// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver tries before it lets anybody in: that each engine executes
 * packets, and that indirect buffers, fences and interrupts work.
 */

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

#define UVM_TEST_TIMEOUT_MS	2000
#define UVM_TEST_BEFORE		0xcafedead
#define UVM_TEST_AFTER		0xdeadbeef

/**
 * uvm_ring_test() - see that the engine executes packets
 * @ring: the ring, started, with nothing on it
 *
 * Return: 0 or -ETIMEDOUT.
 */
int uvm_ring_test(struct uvm_ring *ring)
{
	__le32 *place = uvm_ring_wb(ring, UVM_WB_TEST);
	unsigned long end;
	__le32 packet[8];
	u32 n;

	WRITE_ONCE(*place, cpu_to_le32(UVM_TEST_BEFORE));
	n = uvm_emit_write(packet, ring->wb.gpu + UVM_WB_TEST, UVM_TEST_AFTER);
	uvm_ring_submit_raw(ring, packet, n);

	end = jiffies + msecs_to_jiffies(UVM_TEST_TIMEOUT_MS);
	while (READ_ONCE(*place) != cpu_to_le32(UVM_TEST_AFTER)) {
		if (time_after(jiffies, end)) {
			drm_err(&ring->uvm->drm,
				"%s: ring test failed: memory holds %#x\n",
				ring->name, le32_to_cpu(READ_ONCE(*place)));
			uvm_ring_dump(ring);
			return -ETIMEDOUT;
		}
		usleep_range(20, 100);
	}
	return 0;
}

/* Waits for the trap's vector: the fence alone can be seen without one. */
static bool uvm_ring_trapped(struct uvm_ring *ring, u64 before)
{
	unsigned long end = jiffies + msecs_to_jiffies(UVM_TEST_TIMEOUT_MS);

	while (atomic64_read(&ring->traps) == before) {
		if (time_after(jiffies, end))
			return false;
		usleep_range(20, 100);
	}
	return true;
}

/**
 * uvm_ib_test() - see that indirect buffers, fences and interrupts work
 * @ring: the ring, started, with nothing on it
 *
 * Return: 0, -ENOMEM, -ETIMEDOUT, -EIO.
 */
int uvm_ib_test(struct uvm_ring *ring)
{
	__le32 *place = uvm_ring_wb(ring, UVM_WB_TEST);
	__le32 *ib = ring->move_ib.cpu;
	u64 before = atomic64_read(&ring->traps);
	struct uvm_fence *fence;
	u32 n;
	int ret;

	fence = uvm_fence_alloc();
	if (!fence)
		return -ENOMEM;

	WRITE_ONCE(*place, cpu_to_le32(UVM_TEST_BEFORE));
	n = uvm_emit_write(ib, ring->wb.gpu + UVM_WB_TEST, UVM_TEST_AFTER);
	while (n & 7)
		ib[n++] = cpu_to_le32(SDMA_PKT_NOP);
	ret = uvm_ring_submit(ring, 0, ring->move_ib.gpu, n, fence);
	if (ret) {
		kfree(fence);
		return ret;
	}
	if (!uvm_ring_trapped(ring, before)) {
		drm_err(&ring->uvm->drm, "%s: IB test failed: %s\n", ring->name,
			dma_fence_is_signaled(&fence->base) ?
			"the fence came, its interrupt did not" : "no fence");
		uvm_ring_dump(ring);
		ret = -ETIMEDOUT;
	} else if (READ_ONCE(*place) != cpu_to_le32(UVM_TEST_AFTER)) {
		drm_err(&ring->uvm->drm, "%s: IB test failed: memory holds %#x\n",
			ring->name, le32_to_cpu(READ_ONCE(*place)));
		ret = -EIO;
	}
	dma_fence_put(&fence->base);
	return ret;
}
