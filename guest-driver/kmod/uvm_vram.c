// SPDX-License-Identifier: GPL-2.0
/*
 * VRAM, as the CPU reaches it: behind a BAR, or (UMA) a part of system memory
 * that the kernel was kept off. Either way it is I/O memory to the kernel.
 */

#include <linux/delay.h>
#include <linux/ioport.h>
#include <linux/jiffies.h>
#include <linux/sizes.h>
#include <linux/virtio_config.h>

#include "uvm_drv.h"

#define UVM_VRAM_TIMEOUT_MS	5000

static bool uvm_vram_is_ready(struct uvm_device *uvm)
{
	return uvm_win_get32(uvm->vdev, UVM_WIN_OFF_STATUS) &
	       UVM_WIN_STATUS_VRAM_READY;
}

/* The device maps its memory into the BAR some time after it was started. */
static int uvm_vram_find_bar(struct uvm_device *uvm)
{
	unsigned long end = jiffies + msecs_to_jiffies(UVM_VRAM_TIMEOUT_MS);
	struct virtio_device *vdev = uvm->vdev;
	struct virtio_shm_region region;

	if (!virtio_get_shm_region(vdev, &region, 0)) {
		dev_err(&vdev->dev, "no VRAM: no shared memory region 0\n");
		return -ENODEV;
	}
	uvm->vram.base = region.addr;
	if (uvm->vram.visible > region.len) {
		dev_err(&vdev->dev, "VRAM of %#llx bytes in a region of %#llx\n",
			uvm->vram.visible, region.len);
		return -ENODEV;
	}
	while (!uvm_vram_is_ready(uvm)) {
		if (time_after(jiffies, end)) {
			dev_err(&vdev->dev, "VRAM does not appear\n");
			return -ETIMEDOUT;
		}
		usleep_range(100, 500);
	}
	return 0;
}

/* Whoever gave the device a part of memory has to keep the kernel off it. */
static int uvm_vram_find_carveout(struct uvm_device *uvm)
{
	struct virtio_device *vdev = uvm->vdev;
	u64 size = uvm->vram.size;
	u64 base;

	if (!uvm_vram_is_ready(uvm)) {
		dev_err(&vdev->dev, "no VRAM: the machine's memory does not have the device's %llu MiB of it\n",
			size >> 20);
		return -ENODEV;
	}
	base = uvm_win_get64(vdev, UVM_WIN_OFF_VRAM_BASE);
	if (size > U64_MAX - base || !IS_ALIGNED(base, SZ_16M)) {
		dev_err(&vdev->dev, "VRAM of %#llx bytes at %#llx\n", size,
			base);
		return -ENODEV;
	}
	if (region_intersects(base, size, IORESOURCE_SYSTEM_RAM,
			      IORES_DESC_NONE) != REGION_DISJOINT) {
		dev_err(&vdev->dev, "VRAM lies in memory that the kernel uses: boot with memmap=%#llx$%#llx\n",
			size, base);
		return -EBUSY;
	}
	uvm->vram.base = base;
	return 0;
}

/* What the device describes: its own memory, and what it wants of the GART. */
static int uvm_vram_segments(struct uvm_device *uvm)
{
	struct uvm_vram *vram = &uvm->vram;
	u64 word, size, local = 0;
	u32 i;

	for (i = 0; i < UVM_WIN_SEGMENTS; i++) {
		word = uvm_win_get64(uvm->vdev, UVM_WIN_OFF_SEGMENTS + 8 * i);
		if (!word)
			break;
		size = word & ~(u64)UVM_WIN_SEGMENT_KIND;
		switch (word & UVM_WIN_SEGMENT_KIND) {
		case UVM_WIN_SEGMENT_LOCAL:
			/* The first of VRAM. */
			if (local)
				return -EINVAL;
			vram->visible = size;
			local += size;
			break;
		case UVM_WIN_SEGMENT_LOCAL_INVISIBLE:
			local += size;
			break;
		case UVM_WIN_SEGMENT_UNSNOOPED:
			uvm->gart.unsnooped = size;
			break;
		default:
			/* The rest of the GART; and what we do not know. */
			break;
		}
	}
	if (!vram->visible || !IS_ALIGNED(vram->visible, SZ_16M) ||
	    local != vram->size)
		return -EINVAL;
	return 0;
}

/**
 * uvm_vram_init() - find VRAM and map what the CPU reaches of it
 * @uvm: the device, started
 *
 * Return: 0 or an errno.
 */
int uvm_vram_init(struct uvm_device *uvm)
{
	struct device *dev = &uvm->vdev->dev;
	int ret;

	uvm->vram.size = uvm_win_get64(uvm->vdev, UVM_WIN_OFF_VRAM_SIZE);
	if (!uvm->vram.size || !IS_ALIGNED(uvm->vram.size, SZ_16M)) {
		dev_err(dev, "VRAM of %#llx bytes\n", uvm->vram.size);
		return -ENODEV;
	}
	ret = uvm_vram_segments(uvm);
	if (ret) {
		dev_err(dev, "the segments are not those of %#llx bytes of VRAM\n",
			uvm->vram.size);
		return ret;
	}
	ret = uvm_has_uma(uvm) ? uvm_vram_find_carveout(uvm) :
				 uvm_vram_find_bar(uvm);
	if (ret)
		return ret;
	if (!devm_request_mem_region(dev, uvm->vram.base, uvm->vram.visible,
				     "uvm VRAM")) {
		dev_err(dev, "VRAM at %pa is in use\n", &uvm->vram.base);
		return -EBUSY;
	}
	uvm->vram.cpu = devm_ioremap_wc(dev, uvm->vram.base,
					 uvm->vram.visible);
	return uvm->vram.cpu ? 0 : -ENOMEM;
}
