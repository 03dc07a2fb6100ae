// SPDX-License-Identifier: GPL-2.0
/*
 * Chunks are emptied by place: whoever has the pages, and without their
 * mmap_lock.
 */

#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"
#include "uvm_migrate.h"

/* How soon, and how often, pages that somebody held are tried again. */
#define UVM_EVICT_DELAY_MS	10
#define UVM_EVICT_WARN		500

/* Nobody gets a page of a chunk from here on. False: somebody has it in hand. */
static bool uvm_evict_hold(struct uvm_chunk *chunk)
{
	lockdep_assert_held(&chunk->dm->uvm->devmem.lock);
	if (chunk->leaving)
		return false;
	chunk->leaving = true;
	return true;
}

/* Any chunk of an instance, those with free pages first. */
static struct uvm_chunk *uvm_evict_pick(struct uvm_devmem *dm)
{
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;
	struct list_head *lists[] = { &dm->chunks, &dm->full };
	struct uvm_chunk *chunk;
	u32 i;

	spin_lock(&dev->lock);
	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		list_for_each_entry(chunk, lists[i], node) {
			if (uvm_evict_hold(chunk)) {
				spin_unlock(&dev->lock);
				return chunk;
			}
		}
	}
	spin_unlock(&dev->lock);
	return NULL;
}

/* The chunk that the policy wants to go, of whatever instance. */
static struct uvm_chunk *uvm_evict_victim(struct uvm_device *uvm, u32 *number)
{
	struct uvm_devmem_dev *dev = &uvm->devmem;
	struct uvm_chunk *chunk;
	bool gone;
	int ret;

	ret = uvm_svm_victim(uvm, number);
	if (ret)
		return ERR_PTR(ret);
	spin_lock(&dev->lock);
	chunk = *number < dev->nr_chunks ? dev->table[*number] : NULL;
	gone = !chunk;
	if (chunk && !uvm_evict_hold(chunk))
		chunk = NULL;
	spin_unlock(&dev->lock);
	/* Its last use was told after its end. */
	if (gone)
		uvm_svm_chunk_event(uvm, *number, UVM_POLICY_SVM_EV_CHUNK_FREE);
	return chunk;
}

/* The pages in use now; from here on there are fewer, not others. */
static u32 uvm_evict_pages(struct uvm_devmem *dm, struct uvm_chunk *chunk,
			   unsigned long *src)
{
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;
	unsigned long first = dm->first + chunk->index * UVM_CHUNK_PAGES;
	u32 at, nr = 0;

	spin_lock(&dev->lock);
	for_each_set_bit(at, chunk->map, UVM_CHUNK_PAGES)
		src[nr++] = first + at;
	spin_unlock(&dev->lock);
	return nr;
}

static int uvm_evict_chunk(struct uvm_migration *m, struct uvm_chunk *chunk)
{
	struct uvm_devmem_counters *count = &m->dm->uvm->devmem.count;
	u32 nr = uvm_evict_pages(m->dm, chunk, m->src);
	u64 done;
	int ret;

	if (!nr)
		return 0;
	m->nr_copies = 0;
	m->wanted = 0;
	memset(m->dst, 0, nr * sizeof(*m->dst));
	migrate_device_pfns(m->src, nr);
	uvm_migration_fill_system(m, nr, NULL, 0);
	ret = uvm_migration_copy(m, nr, false);
	migrate_device_pages(m->src, m->dst, nr);
	done = uvm_migration_count(m, nr, NULL);
	atomic64_add(done, &count->to_system);
	atomic64_add(done, &count->evicted);
	migrate_device_finalize(m->src, m->dst, nr);
	return ret;
}

/* It has pages, or it has none and goes to who takes it next. */
static void uvm_evict_done(struct uvm_chunk *chunk)
{
	struct uvm_devmem *dm = chunk->dm;
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;

	spin_lock(&dev->lock);
	chunk->leaving = false;
	if (!chunk->used) {
		list_move_tail(&chunk->node, &dev->empty);
		schedule_work(&dev->give_back);
	}
	spin_unlock(&dev->lock);
}

/* A chunk that is held. Return: 0, or why it still has pages. */
static int uvm_evict_one(struct uvm_migration *m, struct uvm_chunk *chunk)
{
	u32 left;
	int ret;

	m->dm = chunk->dm;
	uvm_svm_leave_chunk(chunk);
	ret = uvm_evict_chunk(m, chunk);
	left = READ_ONCE(chunk->used);
	uvm_evict_done(chunk);
	return left ? ret ?: -EBUSY : 0;
}

/**
 * uvm_devmem_evict() - empty chunks of an instance
 * @dm: the instance
 * @bytes: how much VRAM is to be free
 *
 * Processes go on meanwhile, and may be back before the VRAM is had.
 *
 * Context: no page is locked; no mmap_lock is needed, and one may be held.
 * Return: 0 if so much, in whole chunks, was emptied, or all there was; -EBUSY
 * for pages that somebody holds, -ENOMEM, -EIO.
 */
int uvm_devmem_evict(struct uvm_devmem *dm, u64 bytes)
{
	u32 tries = dm->uvm->devmem.nr_chunks;
	struct uvm_migration m;
	struct uvm_chunk *chunk;
	u64 freed = 0;
	int ret, error = 0;

	ret = uvm_migration_init(&m, dm, UVM_CHUNK_PAGES);
	if (ret)
		return ret;
	while (freed < bytes && tries-- && (chunk = uvm_evict_pick(dm))) {
		ret = uvm_evict_one(&m, chunk);
		if (ret)
			error = ret;
		else
			freed += UVM_CHUNK_SIZE;
	}
	uvm_migration_fini(&m);
	/* So that whoever wants it finds it with the policy. */
	flush_work(&dm->uvm->devmem.give_back);
	return freed >= bytes ? 0 : error;
}

/**
 * uvm_devmem_make_room() - give VRAM to others
 * @uvm: the device
 * @bytes: how much
 *
 * The policy names the chunks. Context: as uvm_devmem_evict().
 *
 * Return: how much was given, in whole chunks; 0: there is none to be had.
 */
u64 uvm_devmem_make_room(struct uvm_device *uvm, u64 bytes)
{
	u32 number, tries = uvm->devmem.nr_chunks;
	struct uvm_migration m;
	struct uvm_chunk *chunk;
	u64 freed = 0;

	if (uvm_migration_init(&m, NULL, UVM_CHUNK_PAGES))
		return 0;
	while (freed < bytes && tries--) {
		chunk = uvm_evict_victim(uvm, &number);
		if (IS_ERR(chunk))
			break;
		if (chunk && !uvm_evict_one(&m, chunk))
			freed += UVM_CHUNK_SIZE;
		else
			uvm_svm_chunk_event(uvm, number,
					    UVM_POLICY_SVM_EV_CHUNK_STAYS);
	}
	uvm_migration_fini(&m);
	/* So that whoever wants it finds it with the policy. */
	flush_work(&uvm->devmem.give_back);
	return freed;
}

static u64 uvm_evict_used(struct uvm_devmem *dm, bool close)
{
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;
	struct uvm_chunk *chunk, *next;
	u64 used;

	spin_lock(&dev->lock);
	if (close)
		dm->closed = true;
	used = dm->used;
	/* Those that were taken and never used. */
	list_for_each_entry_safe(chunk, next, &dm->chunks, node)
		if (!chunk->used && !chunk->leaving)
			list_move_tail(&chunk->node, &dev->empty);
	spin_unlock(&dev->lock);
	return used;
}

/**
 * uvm_devmem_evict_all() - have an instance's pages back in system memory
 * @dm: the instance; it gets no pages from now on
 *
 * Pages that somebody holds for the moment are waited for.
 *
 * Return: 0; -ENODEV if pages are left behind that are lost with the device.
 */
int uvm_devmem_evict_all(struct uvm_devmem *dm)
{
	struct uvm_device *uvm = dm->uvm;
	struct uvm_migration m;
	struct uvm_chunk *chunk;
	u32 tries = 0;
	int error;

	if (uvm_evict_used(dm, true)) {
		while (uvm_migration_init(&m, dm, UVM_CHUNK_PAGES))
			msleep(UVM_EVICT_DELAY_MS);
		while (uvm_evict_used(dm, false) && !uvm_is_lost(uvm)) {
			chunk = uvm_evict_pick(dm);
			error = chunk ? uvm_evict_one(&m, chunk) : -EBUSY;
			if (error)
				msleep(UVM_EVICT_DELAY_MS);
			if (++tries % UVM_EVICT_WARN == 0)
				drm_warn(&uvm->drm, "%s: %llu pages do not leave VRAM: %d\n",
					 dm->name, dm->used, error);
		}
		uvm_migration_fini(&m);
	}
	schedule_work(&uvm->devmem.give_back);
	flush_work(&uvm->devmem.give_back);
	return uvm_evict_used(dm, false) ? -ENODEV : 0;
}
