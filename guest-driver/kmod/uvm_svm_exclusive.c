// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that the device has for itself: no CPU maps them, so that what the
 * device does to them is atomic to everybody. They stay where they are; a CPU's
 * access takes them back by way of the notifier, which clears the entry. Pages
 * that CPUs reach as well have entries that allow no atomics.
 */

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/seq_file.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/* Page tables that change all the time. */
#define UVM_EXCLUDE_PATIENCE	HZ

static uint uvm_svm_hold_us = 500;
module_param_named(svm_hold_us, uvm_svm_hold_us, uint, 0644);
MODULE_PARM_DESC(svm_hold_us, "Microseconds that the device may keep a page for an atomic which CPUs want as well, up to 100000 (default 500)");

#define UVM_SVM_MAX_HOLD_US	100000u

/* Maps a page that is locked, if it still belongs where it was found. */
static bool uvm_svm_map_alone(struct uvm_svm_block *block, u64 va,
			      struct page *page, unsigned long seq)
{
	bool still;

	mutex_lock(&block->lock);
	still = !block->gone &&
		!mmu_interval_read_retry(&block->notifier, seq);
	if (still)
		uvm_svm_set_exclusive(block, va, page);
	mutex_unlock(&block->lock);
	return still;
}

/*
 * The page is mapped then, and locked: no CPU takes it back meanwhile. mmap_lock
 * is held as well, to be let go after that: a fork fails that meets such a page
 * locked.
 */
static int uvm_svm_exclude_page(struct uvm_svm_block *block, u64 va,
				struct folio **folio)
{
	unsigned long until = jiffies + UVM_EXCLUDE_PATIENCE;
	struct mm_struct *mm = block->svm->mm;
	struct page *page;
	unsigned long seq;
	bool done = false;
	int ret = 0;

	while (!done) {
		if (time_after(jiffies, until) || READ_ONCE(block->gone))
			return -EBUSY;
		/*
		 * There and writable before the sequence is read, since to get
		 * it so changes it; also what is exclusive from the last try.
		 */
		mmap_read_lock(mm);
		ret = fixup_user_fault(mm, va, FAULT_FLAG_WRITE, NULL);
		mmap_read_unlock(mm);
		if (ret)
			return ret;
		seq = mmu_interval_read_begin(&block->notifier);
		mmap_read_lock(mm);
		page = make_device_exclusive(mm, va, block->svm, folio);
		ret = PTR_ERR_OR_ZERO(page);
		if (!ret) {
			done = uvm_svm_map_alone(block, va, page, seq);
			if (!done) {
				folio_unlock(*folio);
				folio_put(*folio);
			}
		}
		if (!done)
			mmap_read_unlock(mm);
		if (ret && ret != -EBUSY)
			return ret;
	}
	return 0;
}

static void uvm_svm_excluded(struct uvm_svm_block *block, struct folio *folio)
{
	folio_unlock(folio);
	folio_put(folio);
	mmap_read_unlock(block->svm->mm);
}

/* The access that waits for a page is made while no CPU can have it. */
static void uvm_svm_let_through(struct uvm_svm_block *block, u64 va)
{
	u32 us = min(READ_ONCE(uvm_svm_hold_us), UVM_SVM_MAX_HOLD_US);

	uvm_fault_mapped(block->svm->vm, va, PAGE_SIZE);
	usleep_range(us, us + us / 4 + 1);
}

/*
 * A file's page: the kernel keeps no CPU out of it for us, but while it is locked
 * none can map it. So it is taken out of everybody's page tables, and is the
 * device's until it is unlocked. It stays at its place in the file as long, and
 * that at its address until mmap_lock is let go; then a notifier tells.
 */
static int uvm_svm_map_lent(struct uvm_svm_block *block, u64 va,
			    struct folio *folio, struct page *page)
{
	struct address_space *mapping = folio_mapping(folio);
	int ret;

	/* Gone from its file, or private by now: that is looked at anew. */
	if (!mapping || folio_test_anon(folio) ||
	    folio_test_swapcache(folio))
		return -EBUSY;
	folio_wait_stable(folio);
	unmap_mapping_pages(mapping, folio->index + folio_page_idx(folio, page),
			    1, false);
	mutex_lock(&block->lock);
	ret = block->gone ? -EBUSY : 0;
	if (!ret)
		uvm_svm_set_exclusive(block, va, page);
	mutex_unlock(&block->lock);
	return ret;
}

static int uvm_svm_lend(struct uvm_svm_block *block, u64 va)
{
	u32 at = (va - block->va) >> PAGE_SHIFT;
	struct mm_struct *mm = block->svm->mm;
	struct folio *folio;
	struct page *page;
	long got;
	int ret;

	mmap_read_lock(mm);
	got = get_user_pages_remote(mm, va, 1, FOLL_WRITE, &page, NULL);
	if (got != 1) {
		mmap_read_unlock(mm);
		return got < 0 ? got : -EFAULT;
	}
	folio = page_folio(page);
	/* Faults on these take another lock. */
	if (folio_test_hugetlb(folio) || folio_is_zone_device(folio)) {
		mmap_read_unlock(mm);
		folio_put(folio);
		return -EINVAL;
	}
	folio_lock(folio);
	ret = uvm_svm_map_lent(block, va, folio, page);
	mmap_read_unlock(mm);
	if (!ret) {
		uvm_svm_let_through(block, va);
		mutex_lock(&block->lock);
		if (test_and_clear_bit(at, block->exclusive))
			uvm_svm_clear(block, va, va + PAGE_SIZE);
		mutex_unlock(&block->lock);
		folio_mark_dirty(folio);
		atomic64_inc(&block->svm->vm->uvm->svm.lent);
	}
	folio_unlock(folio);
	folio_put(folio);
	return ret;
}

/**
 * uvm_svm_have_alone() - give the device a page for an atomic
 * @block: the block
 * @va: address of the page
 *
 * Private memory is the device's until a CPU wants it. Where CPUs wanted it
 * before, it stays for so long that the access that waits can be made. Of a
 * file's page that is all. Then the access was answered.
 *
 * Context: as uvm_svm_exclude().
 *
 * Return: 0, -EFAULT for memory that is not there or not to be written, -EBUSY,
 * -EINVAL for what cannot be had so, -ENOMEM, -ENODEV.
 */
int uvm_svm_have_alone(struct uvm_svm_block *block, u64 va)
{
	u32 at = (va - block->va) >> PAGE_SHIFT;
	struct uvm_device *uvm = block->svm->vm->uvm;
	struct folio *folio;
	int idx, ret;

	if (!drm_dev_enter(&uvm->drm, &idx))
		return -ENODEV;
	ret = uvm_svm_exclude_page(block, va, &folio);
	if (!ret) {
		if (test_and_clear_bit(at, block->contested))
			uvm_svm_let_through(block, va);
		uvm_svm_excluded(block, folio);
	} else if (ret == -EOPNOTSUPP || ret == -EINVAL) {
		ret = uvm_svm_lend(block, va);
	}
	drm_dev_exit(idx);
	return ret;
}

/**
 * uvm_svm_exclude() - give the device pages for itself
 * @block: the block
 * @start: first address
 * @end: behind the last one, within the block
 *
 * Anonymous memory alone can be had so. A page is the device's until a CPU wants
 * it, which may be at once.
 *
 * Context: within drm_dev_enter(); the caller has a reference to the users of
 * the process's memory, and not its mmap_lock.
 *
 * Return: 0, -EFAULT for memory that is not there or not to be written, -EBUSY,
 * -EINVAL for what cannot be had so, -ENOMEM; pages before it are had then.
 */
int uvm_svm_exclude(struct uvm_svm_block *block, u64 start, u64 end)
{
	struct folio *folio;
	int ret = 0;
	u64 va;

	for (va = start; va < end && !ret; va += PAGE_SIZE) {
		ret = uvm_svm_exclude_page(block, va, &folio);
		if (!ret)
			uvm_svm_excluded(block, folio);
	}
	return ret;
}

/**
 * uvm_svm_is_exclusive() - whether the device has a page for itself
 * @block: the block
 * @start: first address
 * @end: behind the last one, within the block
 *
 * Return: whether any of them is.
 */
bool uvm_svm_is_exclusive(struct uvm_svm_block *block, u64 start, u64 end)
{
	u32 first = (start - block->va) >> PAGE_SHIFT;
	u32 behind = (end - block->va) >> PAGE_SHIFT;
	bool found;

	mutex_lock(&block->lock);
	found = find_next_bit(block->exclusive, behind, first) < behind;
	mutex_unlock(&block->lock);
	return found;
}

/**
 * uvm_svm_exclusive_param() - a counter
 * @uvm: the device
 * @param: UVM_PARAM_SVM_EXCLUSIVE to UVM_PARAM_SVM_LARGEST_BATCH
 *
 * Return: its value.
 */
u64 uvm_svm_exclusive_param(struct uvm_device *uvm, u32 param)
{
	struct uvm_svm_dev *svm = &uvm->svm;

	switch (param) {
	case UVM_PARAM_SVM_EXCLUSIVE:
		return atomic64_read(&svm->exclusive);
	case UVM_PARAM_SVM_TAKEN_BACK:
		return atomic64_read(&svm->taken_back);
	case UVM_PARAM_SVM_LENT:
		return atomic64_read(&svm->lent);
	default:
		return READ_ONCE(svm->largest);
	}
}

/**
 * uvm_svm_show_exclusive() - counters, for people
 * @uvm: the device
 * @m: where to
 */
void uvm_svm_show_exclusive(struct uvm_device *uvm, struct seq_file *m)
{
	struct uvm_svm_dev *svm = &uvm->svm;
	u32 i;

	seq_printf(m, "for atomics: pages %lld, of these taken back %lld, lent %lld\n",
		   atomic64_read(&svm->exclusive),
		   atomic64_read(&svm->taken_back), atomic64_read(&svm->lent));
	seq_puts(m, "batches of so many faults and up to twice as many:");
	for (i = 0; i < UVM_SVM_SIZES; i++)
		seq_printf(m, " %u: %lld", 1u << i,
			   atomic64_read(&svm->sizes[i]));
	seq_printf(m, ", largest %u\n", READ_ONCE(svm->largest));
}

/**
 * uvm_svm_show_file() - print the keys of fdinfo
 * @p: where to
 * @vm: the file's address space, or NULL
 */
void uvm_svm_show_file(struct drm_printer *p, struct uvm_vm *vm)
{
	struct uvm_svm *svm = vm ? smp_load_acquire(&vm->svm) : NULL;

	if (!svm)
		return;
	drm_printf(p, "uvm-svm-faults-served:\t%lld\n",
		   atomic64_read(&svm->served));
	drm_printf(p, "uvm-svm-exclusive:\t%lld\n",
		   atomic64_read(&svm->exclusive));
	drm_printf(p, "uvm-svm-taken-back:\t%lld\n",
		   atomic64_read(&svm->taken_back));
}
