// SPDX-License-Identifier: GPL-2.0
/*
 * System pages of buffers, and their copies in the backing store:
 * the buffer's shmem file, whose pages the kernel writes to swap when it needs
 * the memory. A buffer's own pages are not the file's, so that the GPU can
 * have the ones while the others are written.
 */

#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>

#include <drm/drm_print.h>

#include "uvm_compat.h"
#include "uvm_drv.h"

static ulong uvm_pages_mb;
module_param_named(pages_mb, uvm_pages_mb, ulong, 0444);
MODULE_PARM_DESC(pages_mb, "Most MiB of system pages of all buffers together (default 0: half of the memory)");

/* What part of the memory is left to others, who would be killed for it. */
#define UVM_MM_LEFT_SHARE	16
/* Pages that are asked for in one piece, and go so: as many as a PDE0 has. */
#define UVM_MM_BLOCK_ORDER	9
#define UVM_MM_BLOCK_PAGES	(1U << UVM_MM_BLOCK_ORDER)
/* How often, and how long, pages are waited for that are being written out. */
#define UVM_MM_WAITS		50
#define UVM_MM_WAIT_MS		20

/* Whether the machine has so many pages more, in memory or by swapping others. */
static bool uvm_mm_has_room(u64 nr)
{
	long have = si_mem_available() + get_nr_swap_pages();

	return have > 0 && have >= nr + totalram_pages() / UVM_MM_LEFT_SHARE;
}

/* There is no page at this moment; whether one may be had a little later. */
static bool uvm_mm_wait(u32 *waits)
{
	if (get_nr_swap_pages() <= 0 || !uvm_mm_has_room(1) ||
	    ++*waits > UVM_MM_WAITS)
		return false;
	msleep(UVM_MM_WAIT_MS);
	return true;
}

/* The kernel cannot swap pages of ours out; we do, when it is refused some. */
static bool uvm_mm_may_have(struct uvm_device *uvm, u64 nr)
{
	u64 most = uvm_pages_mb ? (u64)uvm_pages_mb << (20 - PAGE_SHIFT) :
				  totalram_pages() / 2;

	return atomic_long_read(&uvm->mm.nr_pages) + nr <= most &&
	       uvm_mm_has_room(nr);
}

/*
 * Pages of a block that the kernel has at hand in one piece: one of many, each
 * page with a reference of its own, so that any of them can go by themselves.
 */
static u64 uvm_mm_take_block(struct uvm_bo *bo, u64 first, u64 end, gfp_t gfp)
{
	struct folio *folio;
	u64 i;

	if (!IS_ALIGNED(first, UVM_MM_BLOCK_PAGES) || end - first < UVM_MM_BLOCK_PAGES)
		return 0;
	folio = folio_alloc(gfp & ~__GFP_RECLAIM, UVM_MM_BLOCK_ORDER);
	if (!folio)
		return 0;
	folio_ref_add(folio, UVM_MM_BLOCK_PAGES - 1);
	for (i = 0; i < UVM_MM_BLOCK_PAGES; i++)
		bo->pages[first + i] = folio_page(folio, i);
	return UVM_MM_BLOCK_PAGES;
}

/* Nobody reaches these pages; those of a block go at once. */
static void uvm_mm_drop_pages(struct uvm_bo *bo, u64 first, u64 nr)
{
	u64 i, n, end = first + nr;
	struct folio *folio;

	for (i = first; i < end; i += n) {
		folio = page_folio(bo->pages[i]);
		for (n = 1; i + n < end &&
		     page_folio(bo->pages[i + n]) == folio; n++)
			;
		folio_put_refs(folio, n);
		memset(bo->pages + i, 0, n * sizeof(*bo->pages));
		cond_resched();
	}
}

static void uvm_mm_put_pages(struct uvm_bo *bo, u64 first, u64 nr)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);

	/* The kernel's mapping would stay as it is with whoever is next. */
	if (bo->unsnooped && uvm_pages_cache(bo->pages + first, nr)) {
		drm_err_ratelimited(&uvm->drm, "%llu pages are lost\n", nr);
		memset(bo->pages + first, 0, nr * sizeof(*bo->pages));
		nr = 0;
	}
	uvm_mm_drop_pages(bo, first, nr);
}

/**
 * uvm_mm_free_pages() - give back the pages that are there
 * @bo: the buffer; nobody reaches the range
 * @offset: first byte
 * @size: bytes
 */
void uvm_mm_free_pages(struct uvm_bo *bo, u64 offset, u64 size)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	u64 i, nr, end = (offset + size) >> PAGE_SHIFT;

	/* Another driver's stay. */
	if (bo->sgt)
		return;
	for (i = offset >> PAGE_SHIFT; i < end; i += nr ?: 1) {
		for (nr = 0; i + nr < end && bo->pages[i + nr]; nr++)
			;
		if (!nr)
			continue;
		uvm_mm_put_pages(bo, i, nr);
		atomic_long_sub(nr, &bo->mm.resident);
		atomic_long_sub(nr, &uvm->mm.nr_pages);
	}
}

/**
 * uvm_mm_alloc_pages() - make pages
 * @bo: the buffer
 * @offset: first byte
 * @size: bytes
 * @zeroed: they are; or all of them is overwritten before anybody sees it
 *
 * Return: 0 or -ENOMEM, also when others need what is left; the range has no
 * pages then.
 */
int uvm_mm_alloc_pages(struct uvm_bo *bo, u64 offset, u64 size, bool zeroed)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	u64 i, n, first = offset >> PAGE_SHIFT, nr = size >> PAGE_SHIFT;
	const gfp_t gfp = GFP_HIGHUSER | __GFP_RETRY_MAYFAIL | __GFP_NOWARN |
			  (zeroed ? __GFP_ZERO : 0);
	struct page *page;
	u32 waits = 0;

	if (bo->sgt)
		return 0;
	if (!uvm_mm_may_have(uvm, nr))
		return -ENOMEM;
	for (i = first; i < first + nr; i++) {
		/* Then it is not known which of them are cached, either. */
		if (WARN_ON_ONCE(bo->pages[i]))
			return -EINVAL;
	}
	for (i = first; i < first + nr; i += n) {
		cond_resched();
		n = uvm_mm_take_block(bo, i, first + nr, gfp);
		if (n)
			continue;
		do {
			page = alloc_page(gfp);
		} while (!page && uvm_mm_wait(&waits));
		if (!page)
			goto free;
		bo->pages[i] = page;
		n = 1;
	}
	if (bo->unsnooped && uvm_pages_uncache(bo->pages + first, nr))
		goto free;
	atomic_long_add(nr, &bo->mm.resident);
	atomic_long_add(nr, &uvm->mm.nr_pages);
	return 0;

free:
	uvm_mm_drop_pages(bo, first, i - first);
	return -ENOMEM;
}

/* Memory is short: do not wait until the kernel comes to write a page. */
static void uvm_mm_write_now(struct page *page)
{
	struct folio *folio = page_folio(page);

	folio_lock(folio);
	if (folio_mapped(folio) || !folio_clear_dirty_for_io(folio)) {
		folio_unlock(folio);
		return;
	}
	/* Once it is written, its page is to be free. */
	folio_set_reclaim(folio);
	if (uvm_shmem_write(folio)) {
		/* It is dirty as before. */
		folio_clear_reclaim(folio);
		folio_unlock(folio);
	}
}

static bool uvm_mm_is_short(void)
{
	return get_nr_swap_pages() > 0 &&
	       si_mem_available() <
	       (long)(2 * totalram_pages() / UVM_MM_LEFT_SHARE);
}

static int uvm_mm_swap(struct uvm_bo *bo, u64 offset, u64 size, bool out)
{
	bool now = out && uvm_mm_is_short();
	struct address_space *mapping = bo->base.filp->f_mapping;
	u64 i, end = (offset + size) >> PAGE_SHIFT;
	struct page *page;
	u32 waits = 0;

	for (i = offset >> PAGE_SHIFT; i < end; i++) {
		if (!bo->pages[i])
			return -EIO;
		do {
			page = shmem_read_mapping_page(mapping, i);
		} while (page == ERR_PTR(-ENOMEM) && uvm_mm_wait(&waits));
		if (IS_ERR(page))
			return PTR_ERR(page);
		if (out) {
			copy_highpage(page, bo->pages[i]);
			set_page_dirty(page);
			if (now)
				uvm_mm_write_now(page);
		} else {
			copy_highpage(bo->pages[i], page);
		}
		put_page(page);
		cond_resched();
	}
	/* Out of the write-combining buffers, of pages that have them. */
	wmb();
	return 0;
}

/**
 * uvm_mm_swap_out() - write a range to the backing store
 * @bo: the buffer
 * @offset: first byte
 * @size: bytes
 *
 * The pages stay.
 *
 * Return: 0 or an errno, -ENOMEM when neither memory nor swap has room for it;
 * the range of the backing store is undefined then.
 */
int uvm_mm_swap_out(struct uvm_bo *bo, u64 offset, u64 size)
{
	if (!uvm_mm_has_room(size >> PAGE_SHIFT))
		return -ENOMEM;
	return uvm_mm_swap(bo, offset, size, true);
}

/**
 * uvm_mm_swap_in() - read a range from the backing store
 * @bo: the buffer, which has pages for it
 * @offset: first byte
 * @size: bytes
 *
 * The copy stays.
 *
 * Return: 0 or an errno; the pages' content is undefined then.
 */
int uvm_mm_swap_in(struct uvm_bo *bo, u64 offset, u64 size)
{
	return uvm_mm_swap(bo, offset, size, false);
}

/**
 * uvm_mm_swap_drop() - drop what the backing store has
 * @bo: the buffer
 */
void uvm_mm_swap_drop(struct uvm_bo *bo)
{
	shmem_truncate_range(file_inode(bo->base.filp), 0, (loff_t)-1);
}
