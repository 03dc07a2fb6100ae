// SPDX-License-Identifier: GPL-2.0
/*
 * System pages of buffers, and their copies in the backing store:
 * the buffer's shmem file, whose pages the kernel writes to swap when it needs
 * the memory. A buffer's own pages are not the file's, so that the GPU can
 * have the ones while the others are written.
 */

#include <linux/highmem.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>

#include "uvm_drv.h"

/**
 * uvm_mm_free_pages() - give back the pages that are there
 * @bo: the buffer; nobody reaches the range
 * @offset: first byte
 * @size: bytes
 */
void uvm_mm_free_pages(struct uvm_bo *bo, u64 offset, u64 size)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	u64 i, end = (offset + size) >> PAGE_SHIFT;

	for (i = offset >> PAGE_SHIFT; i < end; i++) {
		if (!bo->pages[i])
			continue;
		__free_page(bo->pages[i]);
		bo->pages[i] = NULL;
		atomic_long_dec(&bo->mm.resident);
		atomic_long_dec(&uvm->mm.nr_pages);
	}
}

/**
 * uvm_mm_alloc_pages() - make zeroed pages
 * @bo: the buffer
 * @offset: first byte
 * @size: bytes
 *
 * Return: 0 or -ENOMEM; the range has no pages then.
 */
int uvm_mm_alloc_pages(struct uvm_bo *bo, u64 offset, u64 size)
{
	struct uvm_device *uvm = to_uvm(bo->base.dev);
	u64 i, end = (offset + size) >> PAGE_SHIFT;
	struct page *page;

	for (i = offset >> PAGE_SHIFT; i < end; i++) {
		if (WARN_ON_ONCE(bo->pages[i]))
			continue;
		page = alloc_page(GFP_HIGHUSER | __GFP_ZERO |
				  __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
		if (!page) {
			uvm_mm_free_pages(bo, offset,
					  (i << PAGE_SHIFT) - offset);
			return -ENOMEM;
		}
		bo->pages[i] = page;
		atomic_long_inc(&bo->mm.resident);
		atomic_long_inc(&uvm->mm.nr_pages);
		cond_resched();
	}
	return 0;
}

static int uvm_mm_swap(struct uvm_bo *bo, u64 offset, u64 size, bool out)
{
	struct address_space *mapping = bo->base.filp->f_mapping;
	u64 i, end = (offset + size) >> PAGE_SHIFT;
	struct page *page;

	for (i = offset >> PAGE_SHIFT; i < end; i++) {
		if (!bo->pages[i])
			return -EIO;
		page = shmem_read_mapping_page(mapping, i);
		if (IS_ERR(page))
			return PTR_ERR(page);
		if (out) {
			copy_highpage(page, bo->pages[i]);
			set_page_dirty(page);
		} else {
			copy_highpage(bo->pages[i], page);
		}
		put_page(page);
		cond_resched();
	}
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
 * Return: 0 or an errno; the range of the backing store is undefined then.
 */
int uvm_mm_swap_out(struct uvm_bo *bo, u64 offset, u64 size)
{
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
