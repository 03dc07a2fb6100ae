// SPDX-License-Identifier: GPL-2.0
/*
 * Device-private pages: struct pages of VRAM for memory of processes.
 *
 * An instance has a struct page for each page of VRAM, one to one, so that a
 * page tells its place. VRAM itself is taken from the policy in chunks, each
 * for one instance at a time, and given back when no page of it is in use. What
 * the kernel counts are the references of folios; a chunk counts pages, so that
 * a folio may be split at will.
 */

#include <linux/ioport.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/* Others may be faster to take what was made room for. */
#define UVM_RESERVE_TRIES	4

/* What a CPU's access brings back: its own page alone costs as much. */
static uint uvm_fault_pages = 16;
module_param_named(fault_pages, uvm_fault_pages, uint, 0444);
MODULE_PARM_DESC(fault_pages, "Pages that a CPU's access brings back from VRAM (1 to 512, a power of two, default 16)");

static uint uvm_svm_vram;
module_param_named(svm_vram, uvm_svm_vram, uint, 0644);
MODULE_PARM_DESC(svm_vram, "MiB of VRAM that processes' own memory takes at most, whole chunks of 2 MiB (default 0: all)");

/**
 * uvm_devmem_of() - whose a device-private page is
 * @page: a page of any instance
 *
 * Return: the instance.
 */
struct uvm_devmem *uvm_devmem_of(const struct page *page)
{
	return container_of(page_pgmap(page), struct uvm_devmem, pagemap);
}

/**
 * uvm_devmem_offset() - where a device-private page is
 * @page: a page of any instance
 *
 * Return: bytes from VRAM's start.
 */
u64 uvm_devmem_offset(const struct page *page)
{
	return (u64)(page_to_pfn(page) - uvm_devmem_of(page)->first) <<
	       PAGE_SHIFT;
}

/**
 * uvm_devmem_fails() - whether memory is not to be had for once
 * @dm: an instance
 *
 * Return: whether a test asked for that.
 */
bool uvm_devmem_fails(struct uvm_devmem *dm)
{
	return READ_ONCE(dm->fail_next) && xchg(&dm->fail_next, false);
}

/*
 * The place of a chunk that has pages: with or without a free one. Where pages
 * were taken last, the next ones are taken: what comes together lies together.
 */
static void uvm_chunk_place(struct uvm_chunk *chunk, bool taken)
{
	struct uvm_devmem *dm = chunk->dm;

	/* Who empties it has it in hand. */
	if (chunk->leaving)
		return;
	if (!chunk->used)
		list_move_tail(&chunk->node, &dm->uvm->devmem.empty);
	else if (chunk->used == UVM_CHUNK_PAGES)
		list_move_tail(&chunk->node, &dm->full);
	else if (taken)
		list_move(&chunk->node, &dm->chunks);
	else
		list_move_tail(&chunk->node, &dm->chunks);
}

/* The last reference to a folio is gone; maybe under a page table's lock. */
static void uvm_devmem_folio_free(struct folio *folio)
{
	struct uvm_devmem *dm = uvm_devmem_of(&folio->page);
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;
	u32 nr = folio_nr_pages(folio);
	u64 page = uvm_devmem_offset(&folio->page) >> PAGE_SHIFT;
	struct uvm_chunk *chunk;
	struct uvm_home **home;

	spin_lock(&dev->lock);
	chunk = dev->table[page / UVM_CHUNK_PAGES];
	if (!WARN_ON_ONCE(!chunk || chunk->dm != dm || chunk->used < nr)) {
		bitmap_clear(chunk->map, page % UVM_CHUNK_PAGES, nr);
		home = chunk->homes + page % UVM_CHUNK_PAGES;
		/* Whoever took the folio took all of it. */
		if (*home)
			uvm_home_unuse(dev, *home, nr);
		memset(home, 0, nr * sizeof(*home));
		chunk->used -= nr;
		dm->used -= nr;
		uvm_chunk_place(chunk, false);
		if (!chunk->used)
			schedule_work(&dev->give_back);
	}
	spin_unlock(&dev->lock);
}

/*
 * No folio_split: the pages of a folio tell where they are, split or not, and
 * what is in common is what the kernel copies by itself.
 */
static const struct dev_pagemap_ops uvm_devmem_ops = {
	.folio_free = uvm_devmem_folio_free,
	.migrate_to_ram = uvm_migrate_to_ram,
};

static struct uvm_chunk *uvm_devmem_first_empty(struct uvm_devmem_dev *dev)
{
	struct uvm_chunk *chunk;

	list_for_each_entry(chunk, &dev->empty, node)
		if (!chunk->leaving)
			return chunk;
	return NULL;
}

static struct uvm_chunk *uvm_chunk_new(struct uvm_devmem *dm)
{
	struct uvm_chunk *chunk = kzalloc(sizeof(*chunk), GFP_KERNEL);

	if (!chunk)
		return NULL;
	chunk->dm = dm;
	chunk->homes = kcalloc(UVM_CHUNK_PAGES, sizeof(*chunk->homes),
			       GFP_KERNEL);
	if (chunk->homes)
		return chunk;
	kfree(chunk);
	return NULL;
}

static void uvm_chunk_end(struct uvm_chunk *chunk)
{
	kfree(chunk->homes);
	kfree(chunk);
}

/* Chunks that are still empty; before the policy has them, nobody has. */
static void uvm_devmem_give_back(struct work_struct *work)
{
	struct uvm_device *uvm = container_of(work, struct uvm_device,
					      devmem.give_back);
	struct uvm_devmem_dev *dev = &uvm->devmem;
	struct uvm_chunk *chunk;
	unsigned int flags;

	uvm_homes_reap(dev);
	for (;;) {
		spin_lock(&dev->lock);
		chunk = uvm_devmem_first_empty(dev);
		if (chunk) {
			list_del(&chunk->node);
			dev->table[chunk->index] = NULL;
			dev->taken--;
		}
		spin_unlock(&dev->lock);
		if (!chunk)
			return;
		uvm_svm_chunk_event(uvm, chunk->index,
				    UVM_POLICY_SVM_EV_CHUNK_FREE);
		flags = uvm_policy_begin(uvm);
		uvm_policy_chunk_free(uvm->policy, chunk->range);
		uvm_policy_end(uvm, flags);
		uvm_chunk_end(chunk);
	}
}

/* A chunk with room for a folio. */
static struct uvm_chunk *uvm_devmem_find(struct uvm_devmem *dm, u32 order,
					 u32 *at)
{
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;
	struct uvm_chunk *chunk;

	lockdep_assert_held(&dev->lock);
	list_for_each_entry(chunk, &dm->chunks, node) {
		if (chunk->leaving)
			continue;
		*at = bitmap_find_next_zero_area(chunk->map, UVM_CHUNK_PAGES, 0,
						 1U << order,
						 (1U << order) - 1);
		if (*at < UVM_CHUNK_PAGES)
			return chunk;
	}
	/* Whosever those were, nobody has a page of them. */
	list_for_each_entry(chunk, &dev->empty, node) {
		if (chunk->leaving)
			continue;
		chunk->dm = dm;
		*at = 0;
		return chunk;
	}
	return NULL;
}

/**
 * uvm_devmem_touch() - pages of a chunk are used
 * @uvm: the device
 * @offset: of any of its pages in VRAM
 */
void uvm_devmem_touch(struct uvm_device *uvm, u64 offset)
{
	uvm_svm_chunk_event(uvm, offset >> UVM_CHUNK_SHIFT,
			    UVM_POLICY_SVM_EV_CHUNK_USED);
}

/* Whether one chunk more is allowed to be processes' own. */
static bool uvm_devmem_may_take(struct uvm_devmem_dev *dev)
{
	u32 limit = READ_ONCE(uvm_svm_vram);

	return !limit || READ_ONCE(dev->taken) < limit / (UVM_CHUNK_SIZE >> 20);
}

/* One more chunk, empty. */
static int uvm_devmem_take(struct uvm_devmem *dm)
{
	struct uvm_device *uvm = dm->uvm;
	struct uvm_devmem_dev *dev = &uvm->devmem;
	struct uvm_policy_range range;
	struct uvm_chunk *chunk;
	unsigned int flags;
	int ret;

	if (!uvm_devmem_may_take(dev))
		return -ENOSPC;
	chunk = uvm_chunk_new(dm);
	if (!chunk)
		return -ENOMEM;
	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_chunk_take(uvm->policy, UVM_CHUNK_SIZE, &range);
	uvm_policy_end(uvm, flags);
	if (ret) {
		uvm_chunk_end(chunk);
		return ret;
	}
	chunk->range = range.id;
	chunk->index = range.offset >> UVM_CHUNK_SHIFT;
	/* Not to those that are given back: it is wanted. */
	spin_lock(&dev->lock);
	dev->table[chunk->index] = chunk;
	dev->taken++;
	list_add_tail(&chunk->node, dm->closed ? &dev->empty : &dm->chunks);
	spin_unlock(&dev->lock);
	uvm_devmem_touch(uvm, range.offset);
	return 0;
}

/**
 * uvm_devmem_reserve() - see that there is room for pages
 * @dm: an instance
 * @pages: how many; a whole chunk's are in one
 * @evict: make room for them; the caller has no copy under way, as that takes
 *	copies itself
 * @held: memory whose mmap_lock the caller holds for reading, or NULL
 *
 * Others may be faster to take it: for who allocates, it makes success likely.
 * Context: may sleep; before pages are locked.
 *
 * Return: 0, -ENOSPC, -ENOMEM, -ENODEV; -EAGAIN while buffers make way: who can
 * wait for them does so by uvm_mm_way_wait().
 */
int uvm_devmem_reserve(struct uvm_devmem *dm, u32 pages, bool evict,
		       struct mm_struct *held)
{
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;
	struct uvm_chunk *chunk, *next;
	u32 room = 0, tries = UVM_RESERVE_TRIES;
	bool closed;
	int ret;

	spin_lock(&dev->lock);
	closed = dm->closed;
	list_for_each_entry(chunk, &dm->chunks, node)
		if (!chunk->leaving &&
		    (pages < UVM_CHUNK_PAGES || !chunk->used))
			room += UVM_CHUNK_PAGES - chunk->used;
	/* What is about to be given back stays, as it is wanted. */
	list_for_each_entry_safe(chunk, next, &dev->empty, node) {
		if (closed || room >= pages)
			break;
		if (chunk->leaving)
			continue;
		chunk->dm = dm;
		list_move_tail(&chunk->node, &dm->chunks);
		room += UVM_CHUNK_PAGES;
	}
	spin_unlock(&dev->lock);
	if (closed)
		return -ENODEV;
	if (room >= pages)
		return 0;
	ret = uvm_devmem_take(dm);
	/* Idle buffers go first, up to a share. */
	if (ret == -ENOSPC && evict && uvm_devmem_may_take(dev) &&
	    uvm_mm_make_way(dm->uvm, UVM_CHUNK_SIZE,
			    (u64)READ_ONCE(dev->taken) << UVM_CHUNK_SHIFT))
		return -EAGAIN;
	/* Then others of processes' memory, what was used long ago. */
	while (ret == -ENOSPC && evict && tries-- &&
	       uvm_devmem_make_room(dm->uvm, UVM_CHUNK_SIZE, held))
		ret = uvm_devmem_take(dm);
	return ret;
}

/**
 * uvm_devmem_alloc() - take device-private pages
 * @dm: an instance
 * @order: of their folio, at most UVM_CHUNK_ORDER
 * @home: whose memory they are to be, or NULL
 *
 * Return: the first page, locked, with one reference and undefined content; or
 * NULL.
 */
struct page *uvm_devmem_alloc(struct uvm_devmem *dm, u32 order,
			      struct uvm_home *home)
{
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;
	struct uvm_chunk *chunk = NULL;
	struct page *page;
	u32 at, i;

	if (uvm_devmem_fails(dm))
		return NULL;
	spin_lock(&dev->lock);
	if (!dm->closed)
		chunk = uvm_devmem_find(dm, order, &at);
	if (chunk) {
		bitmap_set(chunk->map, at, 1U << order);
		for (i = 0; i < 1U << order; i++)
			chunk->homes[at + i] = home;
		if (home)
			home->uses += 1U << order;
		chunk->used += 1U << order;
		dm->used += 1U << order;
		uvm_chunk_place(chunk, true);
	}
	spin_unlock(&dev->lock);
	if (!chunk)
		return NULL;
	page = pfn_to_page(dm->first + chunk->index * UVM_CHUNK_PAGES + at);
	/* Until this, it may still look like a part of its last folio. */
	zone_device_page_init(page, &dm->pagemap, order);
	if (order)
		folio_set_large_rmappable(page_folio(page));
	return page;
}

/**
 * uvm_devmem_init() - make an instance
 * @dm: zeroed
 * @uvm: the device
 * @name: for people; not copied
 *
 * Return: 0 or an errno.
 */
int uvm_devmem_init(struct uvm_devmem *dm, struct uvm_device *uvm,
		    const char *name)
{
	struct resource *res;
	void *ret;

	dm->uvm = uvm;
	dm->name = name;
	dm->fault_pages = rounddown_pow_of_two(clamp(uvm_fault_pages, 1U,
						     (u32)UVM_CHUNK_PAGES));
	INIT_LIST_HEAD(&dm->chunks);
	INIT_LIST_HEAD(&dm->full);

	/* Addresses that nothing answers at, to number the pages by. */
	res = request_free_mem_region(&iomem_resource, uvm->vram.size, name);
	if (IS_ERR(res))
		return PTR_ERR(res);
	dm->reserved = resource_size(res);
	dm->first = PHYS_PFN(res->start);
	dm->pagemap.type = MEMORY_DEVICE_PRIVATE;
	dm->pagemap.ops = &uvm_devmem_ops;
	dm->pagemap.owner = dm;
	dm->pagemap.nr_range = 1;
	dm->pagemap.range.start = res->start;
	dm->pagemap.range.end = res->end;
	ret = memremap_pages(&dm->pagemap, NUMA_NO_NODE);
	if (IS_ERR(ret)) {
		release_mem_region(res->start, dm->reserved);
		return PTR_ERR(ret);
	}
	dm->ready = true;
	return 0;
}

/**
 * uvm_devmem_fini() - end an instance
 * @dm: of uvm_devmem_init(), or zeroed; the device works, or is lost
 *
 * Its pages go back to system memory. Those that are lost with their device have
 * nowhere to go, and their processes keep them until they end: an access gives
 * SIGBUS, for which this module has to stay.
 */
void uvm_devmem_fini(struct uvm_devmem *dm)
{
	if (!dm->ready)
		return;
	if (uvm_devmem_evict_all(dm)) {
		drm_err(&dm->uvm->drm, "%s: %llu pages are lost with the device; the driver stays loaded\n",
			dm->name, dm->used);
		__module_get(THIS_MODULE);
		drm_dev_get(&dm->uvm->drm);
		return;
	}
	memunmap_pages(&dm->pagemap);
	release_mem_region(PFN_PHYS(dm->first), dm->reserved);
	dm->ready = false;
}

/**
 * uvm_devmem_svm() - the instance of processes' own memory
 * @uvm: the device
 *
 * Made at the first call: its struct pages take 1/64 of what VRAM has.
 * Context: may sleep and allocate; within drm_dev_enter().
 *
 * Return: the instance or an ERR_PTR.
 */
struct uvm_devmem *uvm_devmem_svm(struct uvm_device *uvm)
{
	struct uvm_devmem *dm = &uvm->devmem.svm;
	int ret = 0;

	if (smp_load_acquire(&dm->ready))
		return dm;
	mutex_lock(&uvm->devmem.init_lock);
	if (!dm->ready && dm->closed)
		ret = -ENODEV;
	else if (!dm->ready)
		ret = uvm_devmem_init(dm, uvm, "uvm SVM");
	mutex_unlock(&uvm->devmem.init_lock);
	return ret ? ERR_PTR(ret) : dm;
}

/**
 * uvm_devmem_dev_init() - get ready for instances
 * @uvm: the device, its SDMA instances up
 *
 * Return: 0 or an errno.
 */
int uvm_devmem_dev_init(struct uvm_device *uvm)
{
	struct uvm_devmem_dev *dev = &uvm->devmem;
	int ret;
	u32 i;

	dev->nr_chunks = DIV_ROUND_UP(uvm->vram.size, UVM_CHUNK_SIZE);
	dev->table = kvcalloc(dev->nr_chunks, sizeof(*dev->table), GFP_KERNEL);
	if (!dev->table)
		return -ENOMEM;
	ret = uvm_copy_windows_init(uvm);
	if (ret)
		return ret;
	for (i = 0; i < uvm->nr_rings; i++) {
		ret = uvm_page_ring_init(uvm, i);
		if (!ret)
			ret = uvm_page_ring_start(&dev->rings[i]);
		if (!ret)
			ret = uvm_page_ring_test(&dev->rings[i]);
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * uvm_devmem_dev_close() - have processes' memory back, and take no more
 * @uvm: the device, that works or is lost
 */
void uvm_devmem_dev_close(struct uvm_device *uvm)
{
	struct uvm_devmem_dev *dev = &uvm->devmem;

	mutex_lock(&dev->init_lock);
	spin_lock(&dev->lock);
	dev->svm.closed = true;
	spin_unlock(&dev->lock);
	mutex_unlock(&dev->init_lock);
	uvm_devmem_fini(&dev->svm);
}

/**
 * uvm_devmem_dev_stop() - stop copying
 * @uvm: the device; it still answers, or is lost
 */
void uvm_devmem_dev_stop(struct uvm_device *uvm)
{
	u32 i;

	for (i = 0; i < uvm->nr_rings; i++)
		uvm_page_ring_stop(&uvm->devmem.rings[i]);
	/* Who waits for a window does so in vain. */
	wake_up_all(&uvm->devmem.copy_wait);
}

/**
 * uvm_devmem_dev_fini() - give back what the device's part has
 * @uvm: the device, gone; its instances have ended
 */
void uvm_devmem_dev_fini(struct uvm_device *uvm)
{
	struct uvm_devmem_dev *dev = &uvm->devmem;
	u32 i;

	if (dev->table) {
		flush_work(&dev->give_back);
		kvfree(dev->table);
	}
	for (i = 0; i < UVM_MAX_PAGE_RINGS; i++)
		uvm_page_ring_fini(&dev->rings[i]);
	uvm_copy_windows_fini(uvm);
}

/**
 * uvm_devmem_dev_prepare() - what has to be there before anything else
 * @uvm: the device
 */
void uvm_devmem_dev_prepare(struct uvm_device *uvm)
{
	struct uvm_devmem_dev *dev = &uvm->devmem;
	struct uvm_page_ring *ring;
	u32 i;

	mutex_init(&dev->init_lock);
	spin_lock_init(&dev->lock);
	spin_lock_init(&dev->copy_lock);
	init_waitqueue_head(&dev->copy_wait);
	INIT_LIST_HEAD(&dev->homes);
	INIT_LIST_HEAD(&dev->empty);
	INIT_WORK(&dev->give_back, uvm_devmem_give_back);
	for (i = 0; i < UVM_MAX_PAGE_RINGS; i++) {
		ring = &dev->rings[i];
		ring->uvm = uvm;
		ring->index = i;
		snprintf(ring->name, sizeof(ring->name), "sdma%u.page", i);
		mutex_init(&ring->lock);
		init_waitqueue_head(&ring->wait);
		INIT_LIST_HEAD(&ring->running);
	}
}
