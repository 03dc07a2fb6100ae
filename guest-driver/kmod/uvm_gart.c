// SPDX-License-Identifier: GPL-2.0
/*
 * The GART: the window of VMID 0 through which the SDMA engines reach system
 * pages for the driver itself, and the driver's own memory in it.
 *
 * Its entries, one for each page of the window in a row, lie at the end of the
 * driver's own part of VRAM.
 * How the device finds them is the profile's business: either they are one
 * flat table, which a register points at, or they are the third level of the
 * profile vidmm (see uvm_vidmm.c). In both, entries that map nothing point at
 * a dummy page, so that a stray access in the window harms nobody.
 */

#include <linux/sizes.h>
#include <linux/vmalloc.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

static u64 uvm_gart_pte(struct page *page)
{
	return (page_to_phys(page) & UVM_PTE_ADDR) |
	       UVM_PTE_VALID | UVM_PTE_SYSTEM | UVM_PTE_SNOOPED |
	       UVM_PTE_READABLE | UVM_PTE_WRITEABLE |
	       (u64)UVM_MTYPE_UC << UVM_PTE_MTYPE_SHIFT;
}

static void uvm_gart_set(struct uvm_gart *gart, u64 index, u64 pte)
{
	writeq(pte, (void __iomem *)(gart->table + index));
}

static int uvm_gart_invalidate(struct uvm_device *uvm)
{
	int ret = uvm_gmc_invalidate_gart(uvm);

	if (!ret)
		uvm->gart.stale = uvm->gart.retired = false;
	return ret;
}

/**
 * uvm_gart_flush() - make bindings visible to the engines
 * @uvm: the device
 *
 * Bindings are invalidated in one go, before the next packet that may use
 * them runs. Context: within drm_dev_enter(); allocates nothing.
 *
 * Return: 0 or -ETIMEDOUT.
 */
int uvm_gart_flush(struct uvm_device *uvm)
{
	int ret = 0;

	mutex_lock(&uvm->gart.lock);
	if (uvm->gart.stale)
		ret = uvm_gart_invalidate(uvm);
	mutex_unlock(&uvm->gart.lock);
	return ret;
}

/**
 * uvm_gart_forget() - have the engines forget what was retired
 * @uvm: the device
 *
 * Context: within drm_dev_enter(); allocates nothing.
 *
 * Return: 0 or -ETIMEDOUT.
 */
int uvm_gart_forget(struct uvm_device *uvm)
{
	int ret = 0;

	mutex_lock(&uvm->gart.lock);
	if (uvm->gart.retired)
		ret = uvm_gart_invalidate(uvm);
	mutex_unlock(&uvm->gart.lock);
	return ret;
}

/* @without: bits that entries do not have. */
static void uvm_gart_write_as(struct uvm_device *uvm, u64 offset,
			      struct page **pages, u64 nr_pages, u64 without)
{
	u64 i, first = offset >> PAGE_SHIFT;

	for (i = 0; i < nr_pages; i++)
		uvm_gart_set(&uvm->gart, first + i,
			     uvm_gart_pte(pages[i]) & ~without);
}

/**
 * uvm_gart_write() - write entries for one ring
 * @uvm: the device
 * @offset: bytes from the window's start; nobody but the ring uses the range
 * @pages: the pages
 * @nr_pages: how many
 * @unsnooped: the CPU does not cache them
 *
 * Takes effect with uvm_page_ring_put_flush(). Context: within drm_dev_enter().
 */
void uvm_gart_write(struct uvm_device *uvm, u64 offset, struct page **pages,
		    u64 nr_pages, bool unsnooped)
{
	uvm_gart_write_as(uvm, offset, pages, nr_pages,
			  unsnooped ? UVM_PTE_SNOOPED : 0);
}

/**
 * uvm_gart_emit_dummies() - packet that points entries at the dummy page
 * @uvm: the device
 * @p: where the packet goes
 * @offset: bytes from the window's start; nobody but the ring uses the range
 * @nr_pages: how many, 1 to SDMA_PKT_MAX_PTES
 *
 * Return: dwords of the packet.
 */
u32 uvm_gart_emit_dummies(struct uvm_device *uvm, __le32 *p, u64 offset,
			  u64 nr_pages)
{
	u64 at = uvm->gart.table_offset +
		 (offset >> PAGE_SHIFT) * sizeof(*uvm->gart.table);

	return uvm_emit_entries(p, uvm_gpu_addr(UVM_DOMAIN_VRAM, at),
				uvm_gart_pte(uvm->gart.dummy), 0, nr_pages);
}

static void uvm_gart_bind_as(struct uvm_device *uvm, u64 offset,
			     struct page **pages, u64 nr_pages, u64 without)
{
	uvm_gart_write_as(uvm, offset, pages, nr_pages, without);
	mutex_lock(&uvm->gart.lock);
	uvm->gart.stale = true;
	mutex_unlock(&uvm->gart.lock);
}

/**
 * uvm_gart_bind() - map system pages in the GART window
 * @uvm: the device
 * @offset: bytes from the window's start; the caller owns the range
 * @pages: the pages
 * @nr_pages: how many
 *
 * Takes effect with uvm_gart_flush(). Context: within drm_dev_enter().
 */
void uvm_gart_bind(struct uvm_device *uvm, u64 offset, struct page **pages,
		   u64 nr_pages)
{
	uvm_gart_bind_as(uvm, offset, pages, nr_pages, 0);
}

/**
 * uvm_gart_bind_unsnooped() - map pages that the CPU does not cache
 * @uvm: the device
 * @offset: bytes from the window's start; the caller owns the range
 * @pages: the pages; no mapping of them is snooped
 * @nr_pages: how many
 *
 * As uvm_gart_bind().
 */
void uvm_gart_bind_unsnooped(struct uvm_device *uvm, u64 offset,
			     struct page **pages, u64 nr_pages)
{
	uvm_gart_bind_as(uvm, offset, pages, nr_pages, UVM_PTE_SNOOPED);
}

/**
 * uvm_gart_retire() - point entries at the dummy page, soon
 * @uvm: the device
 * @offset: bytes from the window's start; the caller owns the range
 * @nr_pages: how many
 *
 * The device may reach the pages until uvm_gart_forget(), so who frees them has
 * to call it before. Who binds others there has that flushed anyway.
 * Context: within drm_dev_enter().
 */
void uvm_gart_retire(struct uvm_device *uvm, u64 offset, u64 nr_pages)
{
	u64 pte = uvm_gart_pte(uvm->gart.dummy);
	u64 i, first = offset >> PAGE_SHIFT;

	for (i = 0; i < nr_pages; i++)
		uvm_gart_set(&uvm->gart, first + i, pte);

	mutex_lock(&uvm->gart.lock);
	uvm->gart.retired = true;
	mutex_unlock(&uvm->gart.lock);
}

/**
 * uvm_gart_unbind() - point entries at the dummy page
 * @uvm: the device
 * @offset: bytes from the window's start; the caller owns the range
 * @nr_pages: how many
 *
 * When this returns 0, the device reaches the pages no more and they may be
 * freed. Context: within drm_dev_enter().
 *
 * Return: 0 or -ETIMEDOUT.
 */
int uvm_gart_unbind(struct uvm_device *uvm, u64 offset, u64 nr_pages)
{
	uvm_gart_retire(uvm, offset, nr_pages);
	return uvm_gart_forget(uvm);
}

/**
 * uvm_kbuf_alloc() - memory of the driver that the device reaches as well
 * @uvm: the device
 * @buf: out
 * @size: bytes
 *
 * Return: 0 or an errno.
 */
int uvm_kbuf_alloc(struct uvm_device *uvm, struct uvm_kbuf *buf, u64 size)
{
	const struct uvm_policy_request request = { .size = PAGE_ALIGN(size) };
	struct uvm_policy_range range;
	unsigned int flags;
	struct page *page;
	u64 at;
	int ret;

	buf->size = request.size;
	buf->cpu = vzalloc(buf->size);
	if (!buf->cpu)
		return -ENOMEM;

	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_alloc(uvm->policy, UVM_POLICY_DOMAIN_GTT, &request,
			       &range);
	uvm_policy_end(uvm, flags);
	if (ret) {
		vfree(buf->cpu);
		buf->cpu = NULL;
		return ret;
	}
	for (at = 0; at < buf->size; at += PAGE_SIZE) {
		page = vmalloc_to_page(buf->cpu + at);
		uvm_gart_bind(uvm, range.offset + at, &page, 1);
	}
	buf->range = range.id;
	buf->gpu = UVM_GART_START + range.offset;
	return 0;
}

/**
 * uvm_kbuf_free() - give it back
 * @uvm: the device; if it is not gone, nothing runs that uses the memory
 * @buf: of uvm_kbuf_alloc(), or zeroed
 */
void uvm_kbuf_free(struct uvm_device *uvm, struct uvm_kbuf *buf)
{
	unsigned int flags;
	int idx;

	if (!buf->cpu)
		return;
	/* Without a dummy page the device was stopped before it was ready. */
	if (uvm->gart.dummy && drm_dev_enter(&uvm->drm, &idx)) {
		uvm_gart_unbind(uvm, buf->gpu - UVM_GART_START,
				buf->size >> PAGE_SHIFT);
		drm_dev_exit(idx);
	}
	flags = uvm_policy_begin(uvm);
	uvm_policy_free(uvm->policy, buf->range);
	uvm_policy_end(uvm, flags);
	vfree(buf->cpu);
	memset(buf, 0, sizeof(*buf));
}

/**
 * uvm_gart_table_bytes() - VRAM that the window's tables and the like take
 * @uvm: the device, with the size of its GART
 *
 * Return: bytes.
 */
u64 uvm_gart_table_bytes(struct uvm_device *uvm)
{
	return PAGE_ALIGN(uvm->gart.size / PAGE_SIZE * sizeof(u64)) +
	       uvm_vidmm_directory_bytes(uvm) + PAGE_SIZE;
}

/* Where the driver's own part of VRAM ends. */
static u64 uvm_gart_own_end(struct uvm_device *uvm)
{
	const struct uvm_mm_config *config = &uvm->mm.config;
	u32 i;

	for (i = 0; i < config->count; i++)
		if (config->segments[i].kind == UVM_MM_SEG_OWN_LOCAL)
			return config->segments[i].base +
			       config->segments[i].size;
	return 0;
}

/* Entries, directories and the scratch page are out of the way of tables. */
static int uvm_gart_reserve(struct uvm_device *uvm)
{
	struct uvm_gart *gart = &uvm->gart;
	u64 size = uvm_gart_table_bytes(uvm), end = uvm_gart_own_end(uvm);
	struct uvm_policy_range range;
	unsigned int flags;
	int ret;

	gart->table_bytes = PAGE_ALIGN(gart->size / PAGE_SIZE * sizeof(u64));
	if (size >= end)
		return -ENOSPC;
	gart->table_offset = end - size;
	gart->directory_offset = gart->table_offset + gart->table_bytes;
	gart->scratch_offset = end - PAGE_SIZE;
	gart->table = uvm->vram.cpu + gart->table_offset;

	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_reserve(uvm->policy, UVM_POLICY_DOMAIN_VRAM,
				 gart->table_offset, size, &range);
	uvm_policy_end(uvm, flags);
	return ret;
}

/**
 * uvm_gart_init() - make the tables
 * @uvm: the device, with its VRAM and its policy
 *
 * The dummy page is uvm_gmc_fini()'s to free.
 *
 * Return: 0 or an errno.
 */
int uvm_gart_init(struct uvm_device *uvm)
{
	struct uvm_gart *gart = &uvm->gart;
	u64 i, pte;
	int ret;

	ret = uvm_gart_reserve(uvm);
	if (ret) {
		drm_err(&uvm->drm, "no VRAM for the table of a %llu MiB GART\n",
			gart->size >> 20);
		return ret;
	}
	gart->dummy = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!gart->dummy)
		return -ENOMEM;

	pte = uvm_gart_pte(gart->dummy);
	for (i = 0; i < gart->table_bytes / sizeof(u64); i++)
		uvm_gart_set(gart, i, pte);
	if (uvm_has_vidmm(uvm))
		uvm_vidmm_fill(uvm);
	memset_io(uvm->vram.cpu + gart->scratch_offset, 0, PAGE_SIZE);
	return 0;
}
