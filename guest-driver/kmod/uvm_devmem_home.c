// SPDX-License-Identifier: GPL-2.0
/*
 * Whose memory pages of VRAM are. The kernel's way from a page to its mappings
 * is its own alone, so what takes a page notes for which process it does.
 */

#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "uvm_drv.h"

static struct uvm_home *uvm_home_find(struct uvm_devmem_dev *dev,
				      const struct mm_struct *mm)
{
	struct uvm_home *home;

	lockdep_assert_held(&dev->lock);
	list_for_each_entry(home, &dev->homes, node)
		if (home->mm == mm)
			return home;
	return NULL;
}

/**
 * uvm_home_get() - a process's memory, to take pages for
 * @uvm: the device
 * @mm: the memory; it has users
 *
 * Return: it, until uvm_home_put() and as long as it has pages; NULL without
 * memory.
 */
struct uvm_home *uvm_home_get(struct uvm_device *uvm, struct mm_struct *mm)
{
	struct uvm_devmem_dev *dev = &uvm->devmem;
	struct uvm_home *home, *new = NULL;

	for (;;) {
		spin_lock(&dev->lock);
		home = uvm_home_find(dev, mm);
		if (!home && new) {
			home = new;
			new = NULL;
			mmgrab(mm);
			list_add(&home->node, &dev->homes);
		}
		if (home)
			home->uses++;
		spin_unlock(&dev->lock);
		if (home)
			break;
		new = kzalloc(sizeof(*new), GFP_KERNEL);
		if (!new)
			return NULL;
		new->mm = mm;
	}
	kfree(new);
	return home;
}

/**
 * uvm_home_unuse() - pages are not its any more
 * @dev: the device's part, locked
 * @home: whose they were
 * @uses: how many
 */
void uvm_home_unuse(struct uvm_devmem_dev *dev, struct uvm_home *home,
		    u32 uses)
{
	lockdep_assert_held(&dev->lock);
	home->uses -= uses;
	/* Not here, maybe under a page table's lock. */
	if (!home->uses)
		schedule_work(&dev->give_back);
}

/**
 * uvm_home_put() - no more pages are taken for it
 * @uvm: the device
 * @home: of uvm_home_get()
 */
void uvm_home_put(struct uvm_device *uvm, struct uvm_home *home)
{
	spin_lock(&uvm->devmem.lock);
	uvm_home_unuse(&uvm->devmem, home, 1);
	spin_unlock(&uvm->devmem.lock);
}

/**
 * uvm_homes_reap() - forget those that have no page
 * @dev: the device's part
 */
void uvm_homes_reap(struct uvm_devmem_dev *dev)
{
	struct uvm_home *home, *next;
	LIST_HEAD(gone);

	spin_lock(&dev->lock);
	list_for_each_entry_safe(home, next, &dev->homes, node)
		if (!home->uses)
			list_move(&home->node, &gone);
	spin_unlock(&dev->lock);
	list_for_each_entry_safe(home, next, &gone, node) {
		mmdrop(home->mm);
		kfree(home);
	}
}
