// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of pages between system memory and VRAM, for migrations.
 *
 * System pages have no address for the engine: they are bound in a window of
 * the GART for the time of a copy. Each ring has two, so that one is filled
 * while the other one's copy runs. What no ring copies, the CPU does, through
 * the BAR.
 */

#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/slab.h>

#include "uvm_drv.h"

/* A GART of this size and more has windows of a whole chunk. */
#define UVM_COPY_BIG_GART	SZ_64M
#define UVM_COPY_SMALL_PAGES	64

/* A free window of a ring that works; whose turn it is first. */
static struct uvm_copy_window *uvm_copy_try(struct uvm_device *uvm)
{
	struct uvm_devmem_dev *dev = &uvm->devmem;
	struct uvm_copy_window *window, *found = NULL;
	struct uvm_page_ring *ring;
	u32 n;

	spin_lock(&dev->copy_lock);
	for (n = 0; n < uvm->nr_rings * UVM_COPY_WINDOWS && !found; n++) {
		ring = &dev->rings[(dev->next_ring + n) % uvm->nr_rings];
		window = &ring->windows[n / uvm->nr_rings];
		if (window->busy || READ_ONCE(ring->dead))
			continue;
		window->busy = true;
		found = window;
		dev->next_ring = (ring->index + 1) % uvm->nr_rings;
	}
	spin_unlock(&dev->copy_lock);
	return found;
}

/* Nobody will ever have a window again. */
static bool uvm_copy_no_ring(struct uvm_device *uvm)
{
	u32 i;

	for (i = 0; i < uvm->nr_rings; i++)
		if (!READ_ONCE(uvm->devmem.rings[i].dead))
			return false;
	return true;
}

static struct uvm_copy_window *uvm_copy_get(struct uvm_device *uvm)
{
	struct uvm_copy_window *window;

	wait_event(uvm->devmem.copy_wait, (window = uvm_copy_try(uvm)) ||
		   uvm_copy_no_ring(uvm));
	return window;
}

static void uvm_copy_put(struct uvm_copy_window *window)
{
	struct uvm_devmem_dev *dev = &window->ring->uvm->devmem;

	spin_lock(&dev->copy_lock);
	window->busy = false;
	spin_unlock(&dev->copy_lock);
	/* All: a waiter may be one that waits for the last ring to die. */
	wake_up_all(&dev->copy_wait);
}

/* Those that are contiguous in VRAM, and are copied alike, from @pages on. */
static u32 uvm_copy_run_length(const struct uvm_copy_page *pages, u32 nr)
{
	u32 n;

	for (n = 1; n < nr; n++)
		if (pages[n].vram != pages[0].vram + n * PAGE_SIZE ||
		    !pages[n].system != !pages[0].system)
			break;
	return n;
}

/* The packets of a window's pages; the ring is locked. */
static void uvm_copy_emit(struct uvm_copy_window *window,
			  const struct uvm_copy_page *pages, u32 nr,
			  bool to_vram)
{
	u64 gart = uvm_gpu_addr(UVM_DOMAIN_GTT, window->offset), vram;
	__le32 packet[8];
	u32 at, n, size;

	for (at = 0; at < nr; at += n) {
		n = uvm_copy_run_length(pages + at, nr - at);
		vram = uvm_gpu_addr(UVM_DOMAIN_VRAM, pages[at].vram);
		if (!pages[at].system)
			size = uvm_emit_fill(packet, vram, 0, n << PAGE_SHIFT);
		else if (to_vram)
			size = uvm_emit_copy(packet, vram,
					     gart + (at << PAGE_SHIFT),
					     n << PAGE_SHIFT);
		else
			size = uvm_emit_copy(packet, gart + (at << PAGE_SHIFT),
					     vram, n << PAGE_SHIFT);
		uvm_page_ring_put(window->ring, packet, size);
	}
}

/* The ring itself lets go of the pages behind it. */
static void uvm_copy_unbind(struct uvm_copy_window *window)
{
	struct uvm_page_ring *ring = window->ring;
	__le32 packet[16];
	u32 n;

	n = uvm_gart_emit_dummies(ring->uvm, packet, window->offset,
				  window->bound);
	uvm_page_ring_put(ring, packet, n);
	uvm_page_ring_put_flush(ring);
}

/* Binds the pages and has the ring copy them. */
static int uvm_copy_begin(struct uvm_copy_run *run, bool to_vram)
{
	struct uvm_copy_window *window = run->window;
	struct uvm_device *uvm = window->ring->uvm;
	u32 i, bound = 0;
	int ret;

	for (i = 0; i < run->nr; i++) {
		window->pages[i] = run->pages[i].system ?: uvm->gart.dummy;
		if (run->pages[i].system)
			bound = i + 1;
	}
	window->bound = bound;
	if (bound)
		uvm_gart_write(uvm, window->offset, window->pages, bound,
			       false);
	ret = uvm_page_ring_begin(window->ring);
	if (ret)
		return ret;
	if (bound)
		uvm_page_ring_put_flush(window->ring);
	uvm_copy_emit(window, run->pages, run->nr, to_vram);
	if (bound)
		uvm_copy_unbind(window);
	uvm_page_ring_end(window->ring, &window->fence);
	return 0;
}

/* False: the CPU does not reach it. What is read is reached in any case. */
static bool uvm_copy_by_cpu(struct uvm_device *uvm, struct uvm_copy_page *page,
			    bool to_vram)
{
	void __iomem *vram = uvm->vram.cpu + page->vram;
	void *system;

	if (uvm_is_lost(uvm) || (to_vram && page->vram >= uvm->vram.visible))
		return false;
	atomic64_inc(&uvm->devmem.count.by_cpu);
	if (!page->system) {
		memset_io(vram, 0, PAGE_SIZE);
		return true;
	}
	system = kmap_local_page(page->system);
	if (to_vram)
		memcpy_toio(vram, system, PAGE_SIZE);
	else
		uvm_peek_read(uvm, page->vram, system, PAGE_SIZE);
	kunmap_local(system);
	return true;
}

/* Where no device is any more, the CPU reads ones: they are nobody's bytes. */
static void uvm_copy_look(struct uvm_device *uvm)
{
	u32 size = uvm_rreg(uvm, mmRCC_CONFIG_MEMSIZE);

	if (size != uvm->vram.size >> 20)
		uvm_lost(uvm, "VRAM is not there");
}

/* No ring copied these. Return: how many nobody did. */
static u32 uvm_copy_fallback(struct uvm_device *uvm, struct uvm_copy_run *run,
			     bool to_vram)
{
	u32 i, failed = 0;

	uvm_copy_look(uvm);
	for (i = 0; i < run->nr; i++) {
		if (uvm_copy_by_cpu(uvm, &run->pages[i], to_vram))
			continue;
		run->pages[i].failed = true;
		failed++;
	}
	/* Out of the write-combining buffers. */
	wmb();
	return failed;
}

/*
 * Waits; the engine has forgotten the pages then. Return: how many pages were not
 * copied.
 */
static u32 uvm_copy_end(struct uvm_device *uvm, struct uvm_copy_run *run,
			int ret, bool to_vram)
{
	struct uvm_copy_window *window = run->window;

	if (!window)
		return 0;
	if (!ret)
		ret = uvm_page_ring_wait(&window->fence);
	/* Nobody knows how far it got; a device that does not answer is lost. */
	if (ret && window->bound)
		uvm_gart_unbind(uvm, window->offset, window->bound);
	uvm_copy_put(window);
	run->window = NULL;
	return ret ? uvm_copy_fallback(uvm, run, to_vram) : 0;
}

/* Ends what is under way, the oldest first. */
static void uvm_copy_drain(struct uvm_copy *copy)
{
	struct uvm_copy_run *run;
	u32 i;

	for (i = 0; i < UVM_COPY_DEPTH; i++) {
		run = &copy->runs[(copy->turn + i) % UVM_COPY_DEPTH];
		copy->failed += uvm_copy_end(copy->uvm, run, 0, copy->to_vram);
	}
}

static void uvm_copy_feed(struct uvm_copy *copy, struct uvm_copy_page *pages,
			  u32 nr, struct uvm_copy *before)
{
	struct uvm_device *uvm = copy->uvm;
	struct uvm_copy_run *run;
	u32 at = 0;
	int ret;

	while (at < nr) {
		/* The oldest, if all are under way. */
		run = &copy->runs[copy->turn % UVM_COPY_DEPTH];
		copy->failed += uvm_copy_end(uvm, run, 0, copy->to_vram);
		/*
		 * Who has a window does not wait for another: so all who wait
		 * wait for somebody who gets on.
		 */
		run->window = uvm_copy_try(uvm);
		if (!run->window) {
			if (before)
				uvm_copy_drain(before);
			uvm_copy_drain(copy);
			run->window = uvm_copy_get(uvm);
		}
		run->pages = pages + at;
		run->nr = min(nr - at, uvm->devmem.window_pages);
		at += run->nr;
		if (!run->window) {
			copy->failed += uvm_copy_fallback(uvm, run,
							  copy->to_vram);
			continue;
		}
		ret = uvm_copy_begin(run, copy->to_vram);
		if (ret)
			copy->failed += uvm_copy_end(uvm, run, ret,
						     copy->to_vram);
		else
			copy->turn++;
	}
}

/**
 * uvm_copy_start() - begin to copy pages between system memory and VRAM
 * @copy: what is under way from now on, for uvm_copy_finish()
 * @uvm: the device
 * @pages: which; they are the copy's until it is finished
 * @nr: how many
 * @to_vram: to VRAM; else from there, then each has a system page
 * @before: another copy of the caller's that is under way, or NULL; part of it
 *	may be waited for
 *
 * Context: may be on the way out of a page fault, with pages locked; allocates
 * nothing, and waits for nobody who might wait for a page. Until it is finished,
 * the caller begins nothing else that copies but one with this as @before.
 */
void uvm_copy_start(struct uvm_copy *copy, struct uvm_device *uvm,
		    struct uvm_copy_page *pages, u32 nr, bool to_vram,
		    struct uvm_copy *before)
{
	u64 begun = ktime_get_ns();
	u32 i;

	*copy = (struct uvm_copy) { .uvm = uvm, .to_vram = to_vram };
	copy->entered = drm_dev_enter(&uvm->drm, &copy->idx);
	for (i = 0; i < nr; i++)
		pages[i].failed = !copy->entered;
	if (!copy->entered) {
		copy->failed = nr;
		return;
	}
	uvm_copy_feed(copy, pages, nr, before);
	atomic64_add(ktime_get_ns() - begun, &uvm->devmem.count.copy_ns);
}

/**
 * uvm_copy_finish() - wait until a copy has ended
 * @copy: of uvm_copy_start()
 *
 * When this returns, the device reaches the system pages no more.
 *
 * Context: as there.
 * Return: how many were not copied, each marked. From VRAM, not 0 only if the
 * device is lost or gone.
 */
u32 uvm_copy_finish(struct uvm_copy *copy)
{
	u64 begun = ktime_get_ns();

	if (!copy->entered)
		return copy->failed;
	uvm_copy_drain(copy);
	copy->entered = false;
	drm_dev_exit(copy->idx);
	atomic64_add(ktime_get_ns() - begun, &copy->uvm->devmem.count.copy_ns);
	return copy->failed;
}

/**
 * uvm_copy_pages() - copy pages between system memory and VRAM
 * @uvm: the device
 * @pages: which
 * @nr: how many
 * @to_vram: to VRAM; else from there, then each has a system page
 *
 * Context: as uvm_copy_start(), with no other copy under way.
 * Return: as uvm_copy_finish().
 */
u32 uvm_copy_pages(struct uvm_device *uvm, struct uvm_copy_page *pages, u32 nr,
		   bool to_vram)
{
	struct uvm_copy copy;

	uvm_copy_start(&copy, uvm, pages, nr, to_vram, NULL);
	return uvm_copy_finish(&copy);
}

static int uvm_copy_window_init(struct uvm_page_ring *ring,
				struct uvm_copy_window *window)
{
	struct uvm_device *uvm = ring->uvm;
	const struct uvm_policy_request request = {
		.size = (u64)uvm->devmem.window_pages << PAGE_SHIFT,
	};
	struct uvm_policy_range range;
	unsigned int flags;
	int ret;

	window->ring = ring;
	window->pages = kcalloc(uvm->devmem.window_pages,
				sizeof(*window->pages), GFP_KERNEL);
	if (!window->pages)
		return -ENOMEM;
	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_alloc(uvm->policy, UVM_POLICY_DOMAIN_GTT, &request,
			       &range);
	uvm_policy_end(uvm, flags);
	if (ret)
		return ret;
	window->range = range.id;
	window->offset = range.offset;
	return 0;
}

/**
 * uvm_copy_windows_init() - take addresses for copies
 * @uvm: the device, with VMID 0
 *
 * Return: 0 or an errno; uvm_copy_windows_fini() in either case.
 */
int uvm_copy_windows_init(struct uvm_device *uvm)
{
	u32 i, n;
	int ret;

	uvm->devmem.window_pages = uvm->gart.size >= UVM_COPY_BIG_GART ?
				   UVM_COPY_MAX_PAGES : UVM_COPY_SMALL_PAGES;
	for (i = 0; i < uvm->nr_rings; i++) {
		for (n = 0; n < UVM_COPY_WINDOWS; n++) {
			ret = uvm_copy_window_init(&uvm->devmem.rings[i],
						   &uvm->devmem.rings[i].windows[n]);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/**
 * uvm_copy_windows_fini() - give them back
 * @uvm: the device, gone; nobody copies
 */
void uvm_copy_windows_fini(struct uvm_device *uvm)
{
	struct uvm_copy_window *window;
	unsigned int flags;
	u32 i;

	for (i = 0; i < UVM_MAX_PAGE_RINGS * UVM_COPY_WINDOWS; i++) {
		window = &uvm->devmem.rings[i / UVM_COPY_WINDOWS]
				     .windows[i % UVM_COPY_WINDOWS];
		kfree(window->pages);
		window->pages = NULL;
		if (!window->range)
			continue;
		flags = uvm_policy_begin(uvm);
		uvm_policy_free(uvm->policy, window->range);
		uvm_policy_end(uvm, flags);
		window->range = 0;
	}
}
