// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of processes' memory to VRAM and back, by address.
 *
 * The kernel takes the pages out of all page tables (and has the GPUs' entries
 * cleared by the notifiers), they are copied, and then it shows the copies
 * instead. What could not be copied, or found no memory, is shown again where it
 * was: so each page is valid in one place, whatever fails. A range is dealt with
 * by blocks of 2 MiB, of which each is one folio where it was one before; while
 * one is copied, the next is taken out.
 */

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "uvm_drv.h"
#include "uvm_migrate.h"

/* A folio of a block is had without much effort, or else pages are. */
#define UVM_HUGE_GFP	(GFP_TRANSHUGE | __GFP_NORETRY | __GFP_NOWARN)
#define UVM_PAGE_GFP	(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN)

/**
 * uvm_migration_init() - memory for migrations of a block
 * @m: out
 * @dm: the instance
 * @pages: pages of a block at most
 *
 * Return: 0 or -ENOMEM.
 */
int uvm_migration_init(struct uvm_migration *m, struct uvm_devmem *dm,
		       u32 pages)
{
	memset(m, 0, sizeof(*m));
	m->dm = dm;
	m->src = kvcalloc(pages, 2 * sizeof(*m->src) + sizeof(*m->copies),
			  GFP_KERNEL);
	if (!m->src)
		return -ENOMEM;
	m->dst = m->src + pages;
	m->copies = (void *)(m->dst + pages);
	return 0;
}

/**
 * uvm_migration_fini() - give it back
 * @m: of uvm_migration_init()
 */
void uvm_migration_fini(struct uvm_migration *m)
{
	kvfree(m->src);
}

/* Has the kernel take out what it can of a range of a block. */
static int uvm_migration_setup(struct uvm_migration *m,
			       struct vm_area_struct *vma, u64 start, u64 end,
			       unsigned long flags, struct page *fault_page)
{
	m->nr_copies = 0;
	m->wanted = 0;
	memset(m->dst, 0, ((end - start) >> PAGE_SHIFT) * sizeof(*m->dst));
	m->args = (struct migrate_vma) {
		.vma = vma,
		.src = m->src,
		.dst = m->dst,
		.start = start,
		.end = end,
		.pgmap_owner = m->dm,
		.flags = flags,
		.fault_page = fault_page,
	};
	return migrate_vma_setup(&m->args);
}

/* One page of a folio, or all of it: what goes where. */
static void uvm_migration_add(struct uvm_migration *m, u32 at, u32 nr,
			      struct page *new, struct page *system,
			      struct page *vram)
{
	u64 offset = uvm_devmem_offset(vram);
	u32 i;

	m->dst[at] = migrate_pfn(page_to_pfn(new));
	if (nr > 1)
		m->dst[at] |= MIGRATE_PFN_COMPOUND;
	for (i = 0; i < nr; i++)
		m->copies[m->nr_copies++] = (struct uvm_copy_page) {
			.system = system ? pfn_to_page(page_to_pfn(system) + i) :
					   NULL,
			.vram = offset + i * PAGE_SIZE,
		};
}

/* New pages that nobody has seen yet: as if they had never been taken. */
static void uvm_migration_drop(struct uvm_migration *m, u32 nr)
{
	struct page *page;
	u32 i;

	for (i = 0; i < nr; i++) {
		page = migrate_pfn_to_page(m->dst[i]);
		m->dst[i] = 0;
		if (!page)
			continue;
		unlock_page(page);
		put_page(page);
	}
}

/* How many pages an entry of @src stands for; 0: it is to be left alone. */
static u32 uvm_migration_pages(struct uvm_migration *m, u32 at, u32 nr)
{
	struct page *page = migrate_pfn_to_page(m->src[at]);
	u32 pages = 1;

	if (!(m->src[at] & MIGRATE_PFN_MIGRATE))
		return 0;
	if (m->src[at] & MIGRATE_PFN_COMPOUND)
		pages = page ? folio_nr_pages(page_folio(page)) : HPAGE_PMD_NR;
	return pages <= nr - at ? pages : 0;
}

/*
 * Of a folio that is split for want of a free chunk, any pages may go. But the
 * kernel inserts all pages or none where there was nothing before.
 */
static void uvm_migration_fill_pages(struct uvm_migration *m, u32 at, u32 nr,
				     struct page *system)
{
	u32 i, before = m->nr_copies;
	struct page *vram;

	for (i = 0; i < nr; i++) {
		vram = uvm_devmem_alloc(m->dm, 0, m->home);
		if (!vram)
			break;
		uvm_migration_add(m, at + i, 1, vram, system ?
				  pfn_to_page(page_to_pfn(system) + i) : NULL,
				  vram);
	}
	if (i == nr || system)
		return;
	m->nr_copies = before;
	while (i--) {
		vram = migrate_pfn_to_page(m->dst[at + i]);
		m->dst[at + i] = 0;
		unlock_page(vram);
		put_page(vram);
	}
}

/* Finds places in VRAM for what the kernel has taken out. */
static void uvm_migration_fill_vram(struct uvm_migration *m, u32 nr)
{
	struct page *system, *vram;
	u32 at, n;

	for (at = 0; at < nr; at += max(n, 1U)) {
		n = uvm_migration_pages(m, at, nr);
		system = migrate_pfn_to_page(m->src[at]);
		/* The kernel does not let pages of files go. */
		if (!n || (system && !folio_test_anon(page_folio(system))))
			continue;
		m->wanted += n;
		vram = n == 1 || n == UVM_CHUNK_PAGES ?
		       uvm_devmem_alloc(m->dm, ilog2(n), m->home) : NULL;
		if (vram)
			uvm_migration_add(m, at, n, vram, system, vram);
		else if (n > 1)
			uvm_migration_fill_pages(m, at, n, system);
	}
}

static struct page *uvm_migration_new(struct vm_area_struct *vma, u64 addr,
				      u32 nr)
{
	gfp_t gfp = nr > 1 ? UVM_HUGE_GFP : UVM_PAGE_GFP;
	struct folio *folio = vma_alloc_folio(gfp, ilog2(nr), vma, addr);

	if (!folio)
		return NULL;
	folio_lock(folio);
	return folio_page(folio, 0);
}

/* Whether a page that was found is one of those that are to come. */
static bool uvm_migration_wants(const struct uvm_migration *m,
				const struct page *vram)
{
	return !m->only ||
	       uvm_devmem_offset(vram) >> UVM_CHUNK_SHIFT == m->only->index;
}

/* Finds system pages for pages of VRAM, in a mapping from an address on. */
static void uvm_migration_fill_system(struct uvm_migration *m, u32 nr,
				      struct vm_area_struct *vma, u64 start)
{
	struct page *system, *vram;
	u32 at, n, i;

	for (at = 0; at < nr; at += max(n, 1U)) {
		n = uvm_migration_pages(m, at, nr);
		vram = migrate_pfn_to_page(m->src[at]);
		if (!n || !vram || !is_device_private_page(vram) ||
		    !uvm_migration_wants(m, vram))
			continue;
		m->wanted += n;
		system = uvm_devmem_fails(m->dm) ? NULL :
			 uvm_migration_new(vma, start + at * PAGE_SIZE, n);
		if (system)
			uvm_migration_add(m, at, n, system, system, vram);
		for (i = 0; !system && n > 1 && i < n; i++) {
			struct page *page = uvm_migration_new(vma, start +
							      (at + i) * PAGE_SIZE, 1);

			if (!page)
				break;
			uvm_migration_add(m, at + i, 1, page, page,
					  pfn_to_page(page_to_pfn(vram) + i));
		}
	}
}

/*
 * What came of it, after the kernel has exchanged the pages and before it shows
 * them. Return: pages that are where they were to go.
 */
static u64 uvm_migration_count(struct uvm_migration *m, u32 nr,
			       struct uvm_migrate_stats *stats)
{
	struct uvm_devmem_counters *count = &m->dm->uvm->devmem.count;
	u64 done = 0, huge = 0, failed;
	u32 at;

	for (at = 0; at < nr; at++) {
		if (!m->dst[at] || !(m->src[at] & MIGRATE_PFN_MIGRATE))
			continue;
		if (m->dst[at] & MIGRATE_PFN_COMPOUND) {
			huge++;
			done += HPAGE_PMD_NR;
		} else {
			done++;
		}
	}
	failed = m->wanted > done ? m->wanted - done : 0;
	atomic64_add(huge, &count->huge);
	atomic64_add(failed, &count->failed);
	if (stats) {
		stats->pages += done;
		stats->huge += huge;
		stats->failed += failed;
	}
	return done;
}

/* Pages without content among those that went, to be counted beforehand. */
static u32 uvm_migration_holes(struct uvm_migration *m)
{
	u32 i, holes = 0;

	for (i = 0; i < m->nr_copies; i++)
		holes += !m->copies[i].system;
	return holes;
}

/* The chunks that pages went to have just been used. */
static void uvm_migration_touch(struct uvm_migration *m)
{
	u64 chunk, last = U64_MAX;
	u32 i;

	for (i = 0; i < m->nr_copies; i++) {
		chunk = m->copies[i].vram >> UVM_CHUNK_SHIFT;
		if (chunk != last)
			uvm_devmem_touch(m->dm->uvm, m->copies[i].vram);
		last = chunk;
	}
}

/* Takes a block's pages out, finds places for them and begins to copy. */
static int uvm_migration_begin(struct uvm_migration *m,
			       struct uvm_migration *before,
			       struct vm_area_struct *vma, u64 start, u64 end,
			       unsigned long flags, struct page *fault_page)
{
	bool to_vram = flags & MIGRATE_VMA_SELECT_SYSTEM;
	u32 nr = (end - start) >> PAGE_SHIFT;
	int ret;

	ret = uvm_migration_setup(m, vma, start, end, flags, fault_page);
	if (ret || !m->args.cpages)
		return ret;
	if (to_vram)
		uvm_migration_fill_vram(m, nr);
	else
		uvm_migration_fill_system(m, nr, vma, start);
	uvm_copy_start(&m->copy, m->dm->uvm, m->copies, m->nr_copies, to_vram,
		       before && before->under_way ? &before->copy : NULL);
	m->under_way = true;
	return 0;
}

/* Shows a block's pages where they are now. */
static int uvm_migration_end(struct uvm_migration *m,
			     struct uvm_migrate_stats *stats)
{
	struct uvm_devmem_counters *count;
	bool to_vram = m->copy.to_vram;
	int ret = 0;
	u32 nr;

	/* A short range has no second block. */
	if (!m->under_way)
		return 0;
	m->under_way = false;
	count = &m->dm->uvm->devmem.count;
	nr = (m->args.end - m->args.start) >> PAGE_SHIFT;
	if (uvm_copy_finish(&m->copy)) {
		uvm_migration_drop(m, nr);
		ret = -EIO;
	} else if (to_vram) {
		atomic64_add(uvm_migration_holes(m), &count->cleared);
	}
	migrate_vma_pages(&m->args);
	atomic64_add(uvm_migration_count(m, nr, stats),
		     to_vram ? &count->to_vram : &count->to_system);
	migrate_vma_finalize(&m->args);
	if (to_vram)
		uvm_migration_touch(m);
	return ret;
}

/**
 * uvm_migration_bring() - bring what lies between two addresses from VRAM
 * @m: of uvm_migration_init(), with the instance
 * @vma: a mapping
 * @start: first byte, a page's
 * @end: behind the last byte, a page's, in the same block
 * @stats: added to
 *
 * Context: mmap_lock held for reading.
 * Return: as uvm_migrate_to_system().
 */
int uvm_migration_bring(struct uvm_migration *m, struct vm_area_struct *vma,
			u64 start, u64 end, struct uvm_migrate_stats *stats)
{
	return uvm_migration_begin(m, NULL, vma, start, end,
				   MIGRATE_VMA_SELECT_DEVICE_PRIVATE |
				   MIGRATE_VMA_SELECT_COMPOUND, NULL) ?:
	       uvm_migration_end(m, stats);
}

/*
 * VRAM for a block. If others have to leave for it, they are copied, which
 * nobody waits for who has a copy under way.
 */
static int uvm_migration_reserve(struct uvm_migration *m,
				 struct uvm_migration *before, u32 nr,
				 struct uvm_migrate_stats *stats)
{
	struct mm_struct *held = m->home->mm;
	int ret = uvm_devmem_reserve(m->dm, nr, !before->under_way, held);

	if (ret != -ENOSPC || !before->under_way)
		return ret;
	return uvm_migration_end(before, stats) ?:
	       uvm_devmem_reserve(m->dm, nr, true, held);
}

/*
 * Block by block; the one is taken out while the other is copied. @home: whose
 * memory goes to VRAM; NULL: it comes from there.
 */
static int uvm_migrate_range(struct uvm_devmem *dm, struct vm_area_struct *vma,
			     u64 start, u64 end, struct uvm_home *home,
			     struct uvm_migrate_stats *stats)
{
	unsigned long flags = MIGRATE_VMA_SELECT_COMPOUND |
			      (home ? MIGRATE_VMA_SELECT_SYSTEM :
				      MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
	struct uvm_migration blocks[2] = {};
	struct uvm_migration *m, *before;
	bool several = end > ALIGN(start + 1, UVM_CHUNK_SIZE);
	u64 addr, next, left = start;
	u32 turn = 0;
	int ret, err;

	ret = uvm_migration_init(&blocks[0], dm, UVM_CHUNK_PAGES);
	if (!ret && several)
		ret = uvm_migration_init(&blocks[1], dm, UVM_CHUNK_PAGES);
	blocks[0].home = home;
	blocks[1].home = home;
	for (addr = start; addr < end && !ret; addr = next) {
		next = min(end, ALIGN(addr + 1, UVM_CHUNK_SIZE));
		m = &blocks[turn++ % 2];
		before = &blocks[turn % 2];
		if (!home && several && addr >= left)
			left = uvm_svm_leave(dm, vma->vm_mm, addr, end);
		if (home)
			ret = uvm_migration_reserve(m, before, (next - addr) >>
						    PAGE_SHIFT, stats);
		if (!ret)
			ret = uvm_migration_begin(m, before, vma, addr, next,
						  flags, NULL);
		err = uvm_migration_end(before, stats);
		ret = ret ?: err;
		cond_resched();
	}
	/* The last one; the other has ended. */
	err = uvm_migration_end(&blocks[(turn + 1) % 2], stats);
	uvm_migration_fini(&blocks[0]);
	uvm_migration_fini(&blocks[1]);
	return ret ?: err;
}

/**
 * uvm_migrate_to_vram() - move memory to VRAM
 * @dm: the instance
 * @vma: a mapping
 * @start: first byte, a page's
 * @end: behind the last byte, a page's; both within @vma
 * @stats: added to
 *
 * Pages that are there stay; so do those that cannot go: of files, pinned, busy.
 * Addresses without a page get one of zeros.
 *
 * Context: mmap_lock held for reading; the instance is ready.
 * Return: 0 even if pages stayed, see @stats; -EINVAL for a mapping whose pages
 * do not move; -ENOSPC when VRAM is full, -EAGAIN while buffers make way there,
 * -ENOMEM, -EIO and -ENODEV for a device that is lost or gone: then what is not
 * moved yet is left.
 */
int uvm_migrate_to_vram(struct uvm_devmem *dm, struct vm_area_struct *vma,
			u64 start, u64 end, struct uvm_migrate_stats *stats)
{
	struct uvm_home *home = uvm_home_get(dm->uvm, vma->vm_mm);
	int ret;

	if (!home)
		return -ENOMEM;
	ret = uvm_migrate_range(dm, vma, start, end, home, stats);
	uvm_home_put(dm->uvm, home);
	return ret;
}

/**
 * uvm_migrate_to_system() - move memory from VRAM
 * @dm: the instance; pages of others stay
 * @vma: a mapping
 * @start: first byte, a page's
 * @end: behind the last byte, a page's; both within @vma
 * @stats: added to
 *
 * Context: mmap_lock held for reading; the instance is ready.
 * Return: 0 even if pages stayed, see @stats; -EINVAL, -ENOMEM, -EIO.
 */
int uvm_migrate_to_system(struct uvm_devmem *dm, struct vm_area_struct *vma,
			  u64 start, u64 end, struct uvm_migrate_stats *stats)
{
	return uvm_migrate_range(dm, vma, start, end, NULL, stats);
}

/* Whether the page that the CPU waits for found memory. */
static bool uvm_migrate_has_place(struct uvm_migration *m, u32 at, bool huge)
{
	return m->dst[huge ? 0 : at] || !(m->src[huge ? 0 : at] &
					  MIGRATE_PFN_MIGRATE);
}

/**
 * uvm_migrate_to_ram() - bring back what a CPU accesses
 * @vmf: the fault; the page's folio is locked, and has a reference for it
 *
 * With the page come its neighbours; a folio of a block that is mapped as one
 * comes as one.
 *
 * Return: 0, also where the access is to be tried again; VM_FAULT_OOM;
 * VM_FAULT_SIGBUS when the content is gone with its device.
 */
vm_fault_t uvm_migrate_to_ram(struct vm_fault *vmf)
{
	struct uvm_devmem *dm = uvm_devmem_of(vmf->page);
	struct uvm_devmem_counters *count = &dm->uvm->devmem.count;
	u64 size = vmf->pte ? (u64)dm->fault_pages << PAGE_SHIFT :
			      HPAGE_PMD_SIZE;
	u64 start = max(ALIGN_DOWN(vmf->address, size), vmf->vma->vm_start);
	u64 end = min(ALIGN_DOWN(vmf->address, size) + size,
		      vmf->vma->vm_end);
	struct uvm_migration m;
	bool found;
	int ret;

	atomic64_inc(&count->cpu_faults);
	if (dm == &dm->uvm->devmem.svm)
		uvm_svm_cpu_asks(dm->uvm, vmf->vma->vm_mm, vmf->address,
				 vmf->pte ? vmf->address & PAGE_MASK : start,
				 vmf->pte ? (vmf->address & PAGE_MASK) +
				 PAGE_SIZE : end);
	if (uvm_migration_init(&m, dm, (end - start) >> PAGE_SHIFT))
		return VM_FAULT_OOM;
	ret = uvm_migration_begin(&m, NULL, vmf->vma, start, end,
				  MIGRATE_VMA_SELECT_DEVICE_PRIVATE |
				  (vmf->pte ? 0 : MIGRATE_VMA_SELECT_COMPOUND),
				  vmf->page) ?: uvm_migration_end(&m, NULL);
	found = uvm_migrate_has_place(&m, (vmf->address - start) >> PAGE_SHIFT,
				      !vmf->pte);
	uvm_migration_fini(&m);
	if (ret) {
		atomic64_inc(&count->lost);
		return VM_FAULT_SIGBUS;
	}
	return found ? 0 : VM_FAULT_OOM;
}
