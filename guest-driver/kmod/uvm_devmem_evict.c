// SPDX-License-Identifier: GPL-2.0
/*
 * Which chunks of VRAM are emptied, and when: for others who want it, for a
 * device that rests or goes.
 */

#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"
#include "uvm_migrate.h"

/*
 * How soon, and how often, chunks are tried again that somebody held: a page, a
 * process's mmap_lock, or all of its memory, as it ends.
 */
#define UVM_EVICT_DELAY_MS	10
#define UVM_EVICT_ROUNDS	50
#define UVM_EVICT_WARN		500
/* There, others may wait for a lock of who makes room. */
#define UVM_EVICT_WAITS		5

/* Nobody gets a page of a chunk from here on. False: somebody has it in hand. */
static bool uvm_evict_hold(struct uvm_chunk *chunk)
{
	lockdep_assert_held(&chunk->dm->uvm->devmem.lock);
	if (chunk->leaving)
		return false;
	chunk->leaving = true;
	return true;
}

/* One round comes to each chunk of an instance once. */
static u64 uvm_evict_begin(struct uvm_devmem_dev *dev)
{
	u64 round;

	spin_lock(&dev->lock);
	round = ++dev->rounds;
	spin_unlock(&dev->lock);
	return round;
}

/* The next chunk, those with free pages first. */
static struct uvm_chunk *uvm_evict_pick(struct uvm_devmem *dm, u64 round)
{
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;
	struct list_head *lists[] = { &dm->chunks, &dm->full };
	struct uvm_chunk *chunk;
	u32 i;

	spin_lock(&dev->lock);
	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		list_for_each_entry(chunk, lists[i], node) {
			if (chunk->round < round && uvm_evict_hold(chunk)) {
				chunk->round = round;
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
static int uvm_evict_one(struct uvm_leave *leave, struct uvm_chunk *chunk)
{
	u32 left;
	int ret;

	uvm_svm_leave_chunk(chunk);
	ret = uvm_leave_chunk(leave, chunk);
	left = READ_ONCE(chunk->used);
	uvm_evict_done(chunk);
	return left ? ret ?: -EBUSY : 0;
}

/* Return: 0, or why a chunk still has pages. */
static int uvm_evict_round(struct uvm_leave *leave, struct uvm_devmem *dm,
			   u64 bytes, u64 *freed)
{
	u64 round = uvm_evict_begin(&dm->uvm->devmem);
	struct uvm_chunk *chunk;
	int ret, error = 0;

	while (*freed < bytes && (chunk = uvm_evict_pick(dm, round))) {
		ret = uvm_evict_one(leave, chunk);
		if (ret)
			error = ret;
		else
			*freed += UVM_CHUNK_SIZE;
	}
	return error;
}

/**
 * uvm_devmem_evict() - empty chunks of an instance
 * @dm: the instance
 * @bytes: how much VRAM is to be free
 *
 * Processes go on meanwhile, and may be back before the VRAM is had. What
 * somebody holds is waited for, but not for long.
 *
 * Context: no page is locked, no mmap_lock is held.
 * Return: 0 if so much, in whole chunks, was emptied, or all there was; -EBUSY
 * for pages that somebody holds, -ENOMEM, -EIO.
 */
int uvm_devmem_evict(struct uvm_devmem *dm, u64 bytes)
{
	struct uvm_leave leave;
	u32 round = 0;
	u64 freed = 0;
	int ret;

	ret = uvm_leave_init(&leave, NULL);
	if (ret)
		return ret;
	for (;;) {
		ret = uvm_evict_round(&leave, dm, bytes, &freed);
		if (ret != -EBUSY || ++round == UVM_EVICT_ROUNDS)
			break;
		msleep(UVM_EVICT_DELAY_MS);
	}
	uvm_leave_fini(&leave);
	/* So that whoever wants it finds it with the policy. */
	flush_work(&dm->uvm->devmem.give_back);
	return freed >= bytes ? 0 : ret;
}

/**
 * uvm_devmem_leaves() - whether pages that leave a chunk are evicted
 * @uvm: the device
 * @chunk: its number
 *
 * Return: whether it is being emptied.
 */
bool uvm_devmem_leaves(struct uvm_device *uvm, u32 chunk)
{
	struct uvm_devmem_dev *dev = &uvm->devmem;
	bool leaves;

	spin_lock(&dev->lock);
	leaves = chunk < dev->nr_chunks && dev->table[chunk] &&
		 dev->table[chunk]->leaving;
	spin_unlock(&dev->lock);
	return leaves;
}

/**
 * uvm_devmem_make_room() - give VRAM to others
 * @uvm: the device
 * @bytes: how much
 * @held: memory whose mmap_lock the caller holds for reading, or NULL
 *
 * The policy names the chunks. One that cannot go stays, and another is named.
 * Context: no page is locked; an mmap_lock may be held.
 *
 * Return: how much was given, in whole chunks; 0: there is none to be had.
 */
u64 uvm_devmem_make_room(struct uvm_device *uvm, u64 bytes,
			 struct mm_struct *held)
{
	u32 number, tries = uvm->devmem.nr_chunks;
	u32 stays = U32_MAX, waits = 0;
	struct uvm_leave leave;
	struct uvm_chunk *chunk;
	u64 freed = 0;
	int ret;

	if (uvm_leave_init(&leave, held))
		return 0;
	while (freed < bytes && tries--) {
		chunk = uvm_evict_victim(uvm, &number);
		if (IS_ERR(chunk))
			break;
		ret = chunk ? uvm_evict_one(&leave, chunk) : -EBUSY;
		if (!ret) {
			freed += UVM_CHUNK_SIZE;
			continue;
		}
		uvm_svm_chunk_event(uvm, number, UVM_POLICY_SVM_EV_CHUNK_STAYS);
		/* All were named, and none can go at this moment. */
		if (number == stays && ret == -EBUSY) {
			if (++waits > UVM_EVICT_WAITS)
				break;
			msleep(UVM_EVICT_DELAY_MS);
		}
		if (stays == U32_MAX)
			stays = number;
	}
	uvm_leave_fini(&leave);
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
	struct uvm_leave leave;
	u64 freed = 0;
	u32 round = 0;
	int error;

	if (uvm_evict_used(dm, true)) {
		while (uvm_leave_init(&leave, NULL))
			msleep(UVM_EVICT_DELAY_MS);
		while (uvm_evict_used(dm, false) && !uvm_is_lost(uvm)) {
			error = uvm_evict_round(&leave, dm, U64_MAX, &freed);
			if (!uvm_evict_used(dm, false))
				break;
			msleep(UVM_EVICT_DELAY_MS);
			if (++round % UVM_EVICT_WARN == 0)
				drm_warn(&uvm->drm, "%s: %llu pages do not leave VRAM: %d\n",
					 dm->name, dm->used, error);
		}
		uvm_leave_fini(&leave);
	}
	schedule_work(&uvm->devmem.give_back);
	flush_work(&uvm->devmem.give_back);
	return uvm_evict_used(dm, false) ? -ENODEV : 0;
}
