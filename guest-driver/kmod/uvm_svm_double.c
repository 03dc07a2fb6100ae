// SPDX-License-Identifier: GPL-2.0
/*
 * Second copies, in VRAM, of pages that stay in system memory: CPU and device
 * both read what is near.
 *
 * A copy is true for as long as nobody writes the page, and that has to be told.
 * The kernel tells of no write to a page that is merely write-protected: it may
 * make it writable again by itself. What it does tell is that a mapping which
 * cannot be written becomes one that can. So private memory is copied while its
 * process has no right to write it, and all copies go with the first change of
 * the CPU's page tables. (A debugger that writes where its process may not is
 * seen by neither.) To the device such memory is as read-only as to the CPU.
 */

#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "uvm_drv.h"

/**
 * struct uvm_doubling - pages of a block that are copied
 * @system: the pages, each with a reference
 * @vram: their copies
 * @copies: what is to be copied
 * @at: which pages of the block they are
 * @n: how many
 */
struct uvm_doubling {
	struct page *system[UVM_SVM_BLOCK_PAGES];
	struct page *vram[UVM_SVM_BLOCK_PAGES];
	struct uvm_copy_page copies[UVM_SVM_BLOCK_PAGES];
	u16 at[UVM_SVM_BLOCK_PAGES];
	u32 n;
};

/* Where a page's copy is used, for who wants its place. */
static void uvm_double_owner(struct page *page, struct uvm_svm_block *block)
{
	struct uvm_devmem_dev *dev = &uvm_devmem_of(page)->uvm->devmem;
	u64 at = uvm_devmem_offset(page) >> PAGE_SHIFT;

	spin_lock(&dev->lock);
	page->zone_device_data = block;
	assign_bit(at % UVM_CHUNK_PAGES,
		   dev->table[at / UVM_CHUNK_PAGES]->twice, block);
	spin_unlock(&dev->lock);
}

/**
 * uvm_svm_single() - give copies back
 * @block: the block, locked, or not in use any more
 * @first: first page
 * @behind: behind the last one
 *
 * The device has no entry for them, and has forgotten that it had. Context: as
 * an mmu notifier; allocates nothing.
 */
void uvm_svm_single(struct uvm_svm_block *block, u32 first, u32 behind)
{
	u32 page;

	for (page = find_next_bit(block->twice, behind, first); page < behind;
	     page = find_next_bit(block->twice, behind, page + 1)) {
		clear_bit(page, block->twice);
		set_bit(page, block->once);
		uvm_double_owner(block->copies[page], NULL);
		put_page(block->copies[page]);
		block->copies[page] = NULL;
	}
}

/* Those of which a copy stays true until it is told. */
static struct page *uvm_double_page(struct mm_struct *mm, u64 va)
{
	struct vm_area_struct *vma = vma_lookup(mm, va);
	struct folio *folio;
	struct page *page;

	if (!vma || !vma_is_anonymous(vma) || vma->vm_flags & VM_WRITE)
		return NULL;
	if (get_user_pages_remote(mm, va, 1, 0, &page, NULL) != 1)
		return NULL;
	folio = page_folio(page);
	/* A device may write what was given to it before. */
	if (folio_test_anon(folio) && !folio_maybe_dma_pinned(folio))
		return page;
	put_page(page);
	return NULL;
}

/* System pages and places for their copies. */
static void uvm_double_collect(struct uvm_svm_block *block,
			       const unsigned long *pages,
			       struct uvm_doubling *d)
{
	struct uvm_svm *svm = block->svm;
	u32 at, n;

	for_each_set_bit(at, pages, UVM_SVM_BLOCK_PAGES) {
		n = d->n;
		mmap_read_lock(svm->mm);
		d->system[n] = uvm_double_page(svm->mm, block->va +
					       (u64)at * PAGE_SIZE);
		mmap_read_unlock(svm->mm);
		if (!d->system[n])
			continue;
		d->vram[n] = uvm_devmem_alloc(svm->dm, 0, NULL);
		if (!d->vram[n]) {
			put_page(d->system[n]);
			return;
		}
		unlock_page(d->vram[n]);
		d->copies[n] = (struct uvm_copy_page) {
			.system = d->system[n],
			.vram = uvm_devmem_offset(d->vram[n]),
		};
		d->at[n] = at;
		d->n++;
	}
}

/* Shows the device copies instead of pages; the CPU has the same there. */
static void uvm_double_map(struct uvm_svm_block *block, struct uvm_doubling *d,
			   unsigned long *done)
{
	u32 i, at;
	u64 entry;

	uvm_svm_part(block);
	for (i = 0; i < d->n; i++) {
		at = d->at[i];
		if (d->copies[i].failed || test_bit(at, block->mapped))
			continue;
		entry = UVM_PTE_VALID | UVM_PTE_READABLE | d->copies[i].vram;
		block->copies[at] = d->vram[i];
		block->chunk = d->copies[i].vram >> UVM_CHUNK_SHIFT;
		uvm_double_owner(d->vram[i], block);
		d->vram[i] = NULL;
		set_bit(at, block->mapped);
		set_bit(at, block->twice);
		clear_bit(at, block->once);
		set_bit(at, done);
		uvm_svm_write(block, at, entry);
		uvm_svm_note(block, at, entry);
	}
	uvm_svm_join(block);
}

static void uvm_double_block(struct uvm_svm_block *block,
			     const unsigned long *pages, struct uvm_doubling *d,
			     unsigned long *done)
{
	struct uvm_device *uvm = block->svm->vm->uvm;
	unsigned long seq;
	int idx;
	u32 i;

	seq = mmu_interval_read_begin(&block->notifier);
	uvm_double_collect(block, pages, d);
	if (d->n)
		uvm_copy_pages(uvm, d->copies, d->n, true);
	if (d->n && drm_dev_enter(&uvm->drm, &idx)) {
		mutex_lock(&block->lock);
		/* With an entry already, it is the device that has to forget. */
		if (!block->gone &&
		    !mmu_interval_read_retry(&block->notifier, seq))
			uvm_double_map(block, d, done);
		mutex_unlock(&block->lock);
		drm_dev_exit(idx);
	}
	for (i = 0; i < d->n; i++) {
		put_page(d->system[i]);
		if (d->vram[i])
			put_page(d->vram[i]);
	}
}

/**
 * uvm_svm_double() - give the device copies of pages
 * @block: their block
 * @pages: which are wanted
 * @done: out: of these, that have a copy now
 *
 * Context: the worker alone, with the users of the process's memory.
 */
void uvm_svm_double(struct uvm_svm_block *block, const unsigned long *pages,
		    unsigned long *done)
{
	struct uvm_svm *svm = block->svm;
	struct uvm_device *uvm = svm->vm->uvm;
	struct uvm_doubling *d;
	struct page **copies;
	u32 n;

	bitmap_zero(done, UVM_SVM_BLOCK_PAGES);
	if (!block->copies) {
		copies = kvcalloc(UVM_SVM_BLOCK_PAGES, sizeof(*copies),
				  GFP_KERNEL_ACCOUNT);
		if (!copies)
			return;
		mutex_lock(&block->lock);
		block->copies = copies;
		mutex_unlock(&block->lock);
	}
	n = bitmap_weight(pages, UVM_SVM_BLOCK_PAGES);
	/* Not all of them in one piece. */
	if (uvm_devmem_reserve(svm->dm, min(n, UVM_SVM_BLOCK_PAGES - 1), true,
			       NULL))
		return;
	d = kvzalloc(sizeof(*d), GFP_KERNEL);
	if (!d)
		return;
	uvm_double_block(block, pages, d, done);
	if (d->n)
		uvm_devmem_touch(uvm, d->copies[0].vram);
	kvfree(d);
	atomic64_add(bitmap_weight(done, UVM_SVM_BLOCK_PAGES),
		     &uvm->svm.doubled);
}

/* The block, if any, whose copy a page in use is; with a reference. */
static struct uvm_svm_block *uvm_double_find(struct uvm_chunk *chunk, u32 at)
{
	struct uvm_devmem *dm = chunk->dm;
	struct uvm_devmem_dev *dev = &dm->uvm->devmem;
	struct uvm_svm_block *block = NULL;
	struct page *page;

	page = pfn_to_page(dm->first + chunk->index * UVM_CHUNK_PAGES + at);
	spin_lock(&dev->lock);
	/* Who has a copy takes it from here before its block goes. */
	if (test_bit(at, chunk->twice))
		block = page->zone_device_data;
	if (block)
		kref_get(&block->ref);
	spin_unlock(&dev->lock);
	return block;
}

/**
 * uvm_svm_leave_chunk() - give the copies in a chunk back
 * @chunk: the chunk, which is held
 *
 * Context: as uvm_devmem_evict().
 */
void uvm_svm_leave_chunk(struct uvm_chunk *chunk)
{
	struct uvm_svm_block *block;
	int idx;
	u32 at;

	if (!drm_dev_enter(&chunk->dm->uvm->drm, &idx))
		return;
	for (at = 0; at < UVM_CHUNK_PAGES; at++) {
		block = uvm_double_find(chunk, at);
		if (!block)
			continue;
		/* What else is mapped there is soon found again. */
		mutex_lock(&block->lock);
		uvm_svm_clear(block, block->va, block->va + UVM_SVM_BLOCK_BYTES);
		mutex_unlock(&block->lock);
		uvm_svm_block_put(block);
	}
	drm_dev_exit(idx);
}
