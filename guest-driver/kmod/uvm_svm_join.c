// SPDX-License-Identifier: GPL-2.0
/*
 * A block that lies in one piece is translated as one: all its entries have a
 * FRAGMENT of its size, so that the device keeps one translation of it instead
 * of 512. Whatever changes one of the entries takes that from all of them
 * before; the device forgets the piece with any page of it.
 */

#include <linux/bitmap.h>
#include <linux/module.h>

#include "uvm_drv.h"

static bool uvm_svm_fragments = true;
module_param_named(svm_fragments, uvm_svm_fragments, bool, 0644);
MODULE_PARM_DESC(svm_fragments, "Translate 2 MiB of a process's memory as one where they lie in one piece (default on)");

/* log2 of a block's pages. */
#define UVM_SVM_FRAGMENT	(9ULL << UVM_PTE_FRAGMENT_SHIFT)
#define UVM_SVM_FRAGMENTS	(0x1fULL << UVM_PTE_FRAGMENT_SHIFT)
/* Where a page lies, and in which memory. */
#define UVM_SVM_PLACE		(GENMASK_ULL(47, PAGE_SHIFT) | UVM_PTE_SYSTEM)

/**
 * uvm_svm_note() - an entry of a block was written
 * @block: the block, locked
 * @page: which page of it
 * @entry: the entry, which is valid
 */
void uvm_svm_note(struct uvm_svm_block *block, u32 page, u64 entry)
{
	u64 base = (entry & UVM_SVM_PLACE) - (u64)page * PAGE_SIZE;

	/* The first one says where the others have to be. */
	if (bitmap_empty(block->fits, UVM_SVM_BLOCK_PAGES))
		block->base = base;
	assign_bit(page, block->fits, block->base == base);
}

static void uvm_svm_rewrite(struct uvm_svm_block *block, u64 fragment)
{
	u32 page;

	for_each_set_bit(page, block->mapped, UVM_SVM_BLOCK_PAGES)
		uvm_svm_write(block, page, (uvm_svm_read(block, page) &
					    ~UVM_SVM_FRAGMENTS) | fragment);
}

/**
 * uvm_svm_join() - translate a block as one, if it lies in one piece
 * @block: the block, locked, some of its entries just written
 *
 * What the device knows of its pages stays true. Context: within
 * drm_dev_enter(); allocates nothing.
 */
void uvm_svm_join(struct uvm_svm_block *block)
{
	lockdep_assert_held(&block->lock);
	if (block->joined || !bitmap_full(block->fits, UVM_SVM_BLOCK_PAGES) ||
	    !IS_ALIGNED(block->base & ~UVM_PTE_SYSTEM, UVM_SVM_BLOCK_BYTES) ||
	    !READ_ONCE(uvm_svm_fragments))
		return;
	if (!bitmap_full(block->writable, UVM_SVM_BLOCK_PAGES) &&
	    !bitmap_empty(block->writable, UVM_SVM_BLOCK_PAGES))
		return;
	if (!bitmap_full(block->whole, UVM_SVM_BLOCK_PAGES) &&
	    !bitmap_empty(block->whole, UVM_SVM_BLOCK_PAGES))
		return;
	if (!bitmap_empty(block->denied, UVM_SVM_BLOCK_PAGES) ||
	    !bitmap_empty(block->exclusive, UVM_SVM_BLOCK_PAGES))
		return;
	uvm_svm_rewrite(block, UVM_SVM_FRAGMENT);
	block->joined = true;
	atomic64_inc(&block->svm->vm->uvm->svm.joined);
}

/**
 * uvm_svm_part() - translate a block page by page
 * @block: the block, locked, some of whose entries are about to change
 *
 * The device has to forget what changes, as always: with it goes the piece.
 * Context: within drm_dev_enter(); allocates nothing.
 */
void uvm_svm_part(struct uvm_svm_block *block)
{
	lockdep_assert_held(&block->lock);
	if (!block->joined)
		return;
	block->joined = false;
	uvm_svm_rewrite(block, 0);
}
