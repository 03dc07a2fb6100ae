// SPDX-License-Identifier: GPL-2.0
/*
 * Entries of mirrored pages. They are written by the CPU, under the lock of
 * their block, and the device has forgotten what they were before that lock is
 * let go. Nothing here allocates: the notifier comes from reclaim too.
 *
 * A page that cannot come is denied: a mark in its entry makes accesses fail
 * instead of wait. The mark goes as soon as the fault was told, as the page may
 * be mapped any time; then the next access waits again and is looked at anew.
 */

#include <linux/hmm.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>

#include "uvm_drv.h"

static bool uvm_svm_plain_atomics;
module_param_named(svm_plain_atomics, uvm_svm_plain_atomics, bool, 0644);
MODULE_PARM_DESC(svm_plain_atomics, "Let the device's atomics reach pages that CPUs reach too, and lose what these write meanwhile: for tests that must find that out (default N)");

/* An access that this entry does not allow fails, whatever the VMID's mode. */
#define UVM_SVM_NO_RETRY \
	(UVM_PTE_EXECUTABLE | UVM_PTE_PDE_PTE | UVM_PTE_TF)

/**
 * uvm_svm_write() - write an entry
 * @block: the block, locked
 * @page: which page of it
 * @entry: the entry
 *
 * Context: within drm_dev_enter(): the BAR is there.
 */
void uvm_svm_write(struct uvm_svm_block *block, u32 page, u64 entry)
{
	struct uvm_device *uvm = block->svm->vm->uvm;
	u64 at = block->table + page * sizeof(entry);

	lockdep_assert_held(&block->lock);
	if (block->domain == UVM_POLICY_DOMAIN_VRAM)
		writeq(entry, uvm->vram.cpu + at);
	else
		WRITE_ONCE(*(__le64 *)phys_to_virt(at), cpu_to_le64(entry));
}

/**
 * uvm_svm_read() - read an entry
 * @block: the block, locked
 * @page: which page of it
 *
 * Context: within drm_dev_enter().
 *
 * Return: the entry.
 */
u64 uvm_svm_read(struct uvm_svm_block *block, u32 page)
{
	struct uvm_device *uvm = block->svm->vm->uvm;
	u64 at = block->table + page * sizeof(u64);

	if (block->domain == UVM_POLICY_DOMAIN_VRAM)
		return readq(uvm->vram.cpu + at);
	return le64_to_cpu(READ_ONCE(*(__le64 *)phys_to_virt(at)));
}

/**
 * uvm_svm_forget() - have the device forget what entries were
 * @svm: the mirror
 * @start: first address
 * @end: behind the last one
 *
 * If it fails the device is lost, and its engines are being halted. Context: the
 * blocks locked, within drm_dev_enter(); allocates nothing.
 */
void uvm_svm_forget(struct uvm_svm *svm, u64 start, u64 end)
{
	struct uvm_vm *vm = svm->vm;

	atomic64_inc(&vm->uvm->svm.flushes);
	uvm_gmc_forget(vm->uvm, vm->pasid, start >> PAGE_SHIFT,
		       (end - start) >> PAGE_SHIFT);
}

static void uvm_svm_flush(struct uvm_svm_block *block, u32 first, u32 last)
{
	uvm_svm_forget(block->svm, block->va + (u64)first * PAGE_SIZE,
		       block->va + (u64)(last + 1) * PAGE_SIZE);
}

/**
 * uvm_svm_has() - whether a page is mapped
 * @block: the block, locked
 * @va: any address of the page
 * @access: for UVM_POLICY_SVM_READ, _WRITE or _ATOMIC
 *
 * Return: whether.
 */
bool uvm_svm_has(struct uvm_svm_block *block, u64 va, u32 access)
{
	u32 page = uvm_svm_page(block, va);

	lockdep_assert_held(&block->lock);
	if (access == UVM_POLICY_SVM_READ)
		return test_bit(page, block->mapped);
	return test_bit(page, block->writable) &&
	       (access != UVM_POLICY_SVM_ATOMIC ||
		test_bit(page, block->whole));
}

/*
 * What the device writes, no CPU entry knows of. The folio is marked before:
 * whoever writes it out takes it from the page tables first, ours included. A
 * file system that wants to know beforehand has been told by the CPU's fault.
 */
static void uvm_svm_will_write(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio_is_device_private(folio))
		return;
	if (folio_test_anon(folio) || folio_test_swapbacked(folio))
		folio_mark_dirty(folio);
}

/* Of a page that CPUs reach as well. */
static u64 uvm_svm_entry(struct page *page, bool write)
{
	u64 entry = UVM_PTE_VALID | UVM_PTE_READABLE;

	if (is_device_private_page(page))
		entry |= uvm_devmem_offset(page);
	else if (READ_ONCE(uvm_svm_plain_atomics))
		entry |= UVM_PTE_SYSTEM | UVM_PTE_SNOOPED | page_to_phys(page);
	else
		entry |= UVM_PTE_SYSTEM | UVM_PTE_SNOOPED |
			 UVM_PTE_ATOMIC_DISABLE | page_to_phys(page);
	return write ? entry | UVM_PTE_WRITEABLE : entry;
}

/**
 * uvm_svm_set() - map pages
 * @block: the block, locked
 * @start: first address
 * @end: behind the last one
 * @pfns: of hmm_range_fault(), which is still valid; what is not there is left out
 * @write: for writing too, where the CPU may
 *
 * A page that may be written already stays so, and one in VRAM is mapped for what
 * the CPU might do with it. Context: within drm_dev_enter();
 * allocates nothing.
 */
void uvm_svm_set(struct uvm_svm_block *block, u64 start, u64 end,
		 const unsigned long *pfns, bool write)
{
	u32 page = uvm_svm_page(block, start), n = (end - start) >> PAGE_SHIFT;
	u32 first = UVM_SVM_BLOCK_PAGES, last = 0, written = 0;
	bool may_write, in_vram;
	unsigned long pfn;
	u64 entry;
	struct page *what;

	lockdep_assert_held(&block->lock);
	for (; n; n--, page++, pfns++) {
		pfn = *pfns;
		if (!(pfn & HMM_PFN_VALID) || pfn & HMM_PFN_ERROR)
			continue;
		what = hmm_pfn_to_page(pfn);
		in_vram = is_device_private_page(what);
		may_write = (write || in_vram) && pfn & HMM_PFN_WRITE;
		if (test_bit(page, may_write ? block->writable : block->mapped))
			continue;
		if (may_write && !in_vram)
			uvm_svm_will_write(what);
		if (may_write)
			set_bit(page, block->writable);
		if (in_vram) {
			set_bit(page, block->vram);
			block->chunk = uvm_devmem_offset(what) >> UVM_CHUNK_SHIFT;
		}
		uvm_svm_part(block);
		entry = uvm_svm_entry(what, may_write);
		uvm_svm_write(block, page, entry);
		uvm_svm_note(block, page, entry);
		__assign_bit(page, block->whole,
			     !(entry & UVM_PTE_ATOMIC_DISABLE));
		/* What was not allowed may be in a cache. */
		clear_bit(page, block->cpu);
		if (test_and_set_bit(page, block->mapped) ||
		    test_bit(page, block->denied)) {
			first = min(first, page);
			last = page;
		}
		clear_bit(page, block->denied);
		written++;
	}
	atomic64_add(written, &block->svm->vm->uvm->svm.mapped);
	if (written)
		uvm_svm_join(block);
	if (first <= last)
		uvm_svm_flush(block, first, last);
}

/**
 * uvm_svm_set_exclusive() - map a page that no CPU reaches
 * @block: the block, locked
 * @va: first address of it
 * @page: the page, of system memory and locked
 *
 * For reads, writes and atomics. Context: within drm_dev_enter(); allocates
 * nothing.
 */
void uvm_svm_set_exclusive(struct uvm_svm_block *block, u64 va,
			   struct page *page)
{
	struct uvm_svm *svm = block->svm;
	u32 at = uvm_svm_page(block, va);
	bool known;
	u64 entry;

	lockdep_assert_held(&block->lock);
	uvm_svm_will_write(page);
	uvm_svm_part(block);
	entry = UVM_PTE_VALID | UVM_PTE_READABLE | UVM_PTE_WRITEABLE |
		UVM_PTE_SYSTEM | UVM_PTE_SNOOPED | page_to_phys(page);
	uvm_svm_write(block, at, entry);
	uvm_svm_note(block, at, entry);
	clear_bit(at, block->cpu);
	known = test_and_set_bit(at, block->mapped);
	known |= test_and_clear_bit(at, block->denied);
	set_bit(at, block->writable);
	set_bit(at, block->whole);
	clear_bit(at, block->vram);
	if (!test_and_set_bit(at, block->exclusive)) {
		atomic64_inc(&svm->exclusive);
		atomic64_inc(&svm->vm->uvm->svm.exclusive);
	}
	atomic64_inc(&svm->vm->uvm->svm.mapped);
	if (known)
		uvm_svm_flush(block, at, at);
	uvm_svm_single(block, at, at + 1);
}

/**
 * uvm_svm_set_window() - show the device a page of the kernel's own
 * @block: of uvm_svm_window()
 * @page: which page of it
 * @shown: the page; it stays until nothing runs in the address space any more
 *
 * Context: within drm_dev_enter().
 */
void uvm_svm_set_window(struct uvm_svm_block *block, u32 page,
			struct page *shown)
{
	mutex_lock(&block->lock);
	uvm_svm_write(block, page, UVM_PTE_VALID | UVM_PTE_READABLE |
		      UVM_PTE_WRITEABLE | UVM_PTE_SYSTEM | UVM_PTE_SNOOPED |
		      page_to_phys(shown));
	mutex_unlock(&block->lock);
}

/**
 * uvm_svm_deny() - let accesses that a page does not allow fail
 * @block: the block
 * @va: any address of the page
 *
 * Those that it allows go on. Until uvm_svm_allow(). Context: within
 * drm_dev_enter().
 */
void uvm_svm_deny(struct uvm_svm_block *block, u64 va)
{
	u32 page = uvm_svm_page(block, va);

	mutex_lock(&block->lock);
	if (!block->gone) {
		uvm_svm_part(block);
		uvm_svm_write(block, page, uvm_svm_read(block, page) |
			      UVM_SVM_NO_RETRY);
		set_bit(page, block->denied);
		uvm_svm_flush(block, page, page);
	}
	mutex_unlock(&block->lock);
}

/**
 * uvm_svm_allow() - let accesses wait again that uvm_svm_deny() let fail
 * @block: the block
 * @start: first address
 * @end: behind the last one
 *
 * Context: within drm_dev_enter(); allocates nothing.
 */
void uvm_svm_allow(struct uvm_svm_block *block, u64 start, u64 end)
{
	u32 first = uvm_svm_page(block, start);
	u32 page, behind = uvm_svm_page(block, end);

	mutex_lock(&block->lock);
	for (page = find_next_bit(block->denied, behind, first); page < behind;
	     page = find_next_bit(block->denied, behind, page + 1)) {
		clear_bit(page, block->denied);
		uvm_svm_write(block, page,
			      uvm_svm_read(block, page) & ~UVM_SVM_NO_RETRY);
		uvm_svm_flush(block, page, page);
	}
	mutex_unlock(&block->lock);
}
