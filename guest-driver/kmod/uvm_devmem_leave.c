// SPDX-License-Identifier: GPL-2.0
/*
 * The pages of a chunk go back to system memory, each at an address where it is
 * mapped.
 *
 * The kernel also migrates by page frame number, with no mmap_lock held. That is
 * not done here. While a page is on its way, migration entries stand for it and
 * nothing counts as mapping it, so a process that ends or unmaps then frees the
 * anon_vma through which the entries would be found again; the references that
 * keep it are not for modules. By address nothing of the kind can happen: the
 * page is found in a mapping (struct vm_area_struct) that is in the tree of its
 * memory, such a mapping is unlinked from its anon_vmas only after it was taken
 * out of the tree under mmap_lock for writing, and the page's own anon_vma is
 * one of them, also in a forked child and after mremap(). Merely to hold
 * mmap_lock would not do: munmap() unlinks what it took out while it holds the
 * lock for reading.
 *
 * So each page is looked for with the process that it was taken to VRAM for, at
 * the place that its folio names. Where it is not found there, that process has
 * ended or unmapped it, and a child has it; then all processes are looked at. A
 * page that none has is about to be freed by the end of its last one.
 *
 * An mmap_lock is tried, not waited for: the caller may have another one.
 */

#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "uvm_compat.h"
#include "uvm_drv.h"
#include "uvm_migrate.h"

/* Processes whose memory is held at once. */
#define UVM_LEAVE_MMS	16

/**
 * struct uvm_run - pages that follow each other in their mapping
 * @at: the first, by its place in uvm_leave.order
 * @nr: how many
 * @index: of the first, in its mapping
 */
struct uvm_run {
	u32 at;
	u32 nr;
	u64 index;
};

/* A guess, as nothing holds the folio: pages are known when they are found. */
static u64 uvm_leave_index(const struct uvm_chunk *chunk, u32 at)
{
	struct page *page = pfn_to_page(chunk->dm->first +
					chunk->index * UVM_CHUNK_PAGES + at);

	return page_pgoff(page_folio(page), page);
}

static int uvm_leave_compare(const void *a, const void *b)
{
	const struct uvm_leaver *left = a, *right = b;

	return left->index < right->index ? -1 : left->index > right->index;
}

/*
 * To move a run costs about as much as to move a page, and what was brought by
 * turns lies by turns. So pages go in the order of their mapping.
 */
static void uvm_leave_sort(struct uvm_leave *leave)
{
	u32 at;

	leave->nr_order = 0;
	for_each_set_bit(at, leave->pages, UVM_CHUNK_PAGES)
		leave->order[leave->nr_order++] = (struct uvm_leaver) {
			.at = at,
			.index = uvm_leave_index(leave->chunk, at),
		};
	sort(leave->order, leave->nr_order, sizeof(*leave->order),
	     uvm_leave_compare, NULL);
}

/* Of pages that are to go. @run: out, and in: the one before, or zeroed. */
static bool uvm_leave_next(const struct uvm_leave *leave, struct uvm_run *run)
{
	const struct uvm_leaver *order = leave->order;
	u32 i = run->at + run->nr;

	while (i < leave->nr_order && !test_bit(order[i].at, leave->pages))
		i++;
	if (i == leave->nr_order)
		return false;
	*run = (struct uvm_run) { .at = i, .index = order[i].index };
	do {
		run->nr++;
		i++;
	} while (i < leave->nr_order && test_bit(order[i].at, leave->pages) &&
		 order[i].index == run->index + run->nr);
	return true;
}

/* Whether pages that were to go are still there: fewer each time, not others. */
static bool uvm_leave_rest(struct uvm_leave *leave)
{
	struct uvm_devmem_dev *dev = &leave->chunk->dm->uvm->devmem;
	bool rest;

	spin_lock(&dev->lock);
	rest = bitmap_and(leave->pages, leave->pages, leave->chunk->map,
			  UVM_CHUNK_PAGES);
	spin_unlock(&dev->lock);
	return rest;
}

/* As much of a run as a mapping has, a block at a time: a huge folio is one. */
static void uvm_leave_vma(struct uvm_leave *leave, struct vm_area_struct *vma,
			  const struct uvm_run *run)
{
	u64 base = uvm_vma_anon_index(vma);
	u64 first = max(run->index, base);
	u64 behind = min(run->index + run->nr, base + vma_pages(vma));
	struct uvm_migrate_stats stats = {};
	u64 start, end, next;
	int ret = 0;

	if (!vma->anon_vma || first >= behind)
		return;
	start = vma->vm_start + ((first - base) << PAGE_SHIFT);
	end = start + ((behind - first) << PAGE_SHIFT);
	for (; start < end && !ret; start = next) {
		next = min(end, ALIGN(start + 1, UVM_CHUNK_SIZE));
		ret = uvm_migration_bring(&leave->m, vma, start, next, &stats);
		cond_resched();
	}
	leave->gone += stats.pages;
	if (!ret && stats.failed)
		ret = -ENOMEM;
	/* A mapping whose pages do not move has none of them. */
	if (ret && ret != -EINVAL)
		leave->error = ret;
}

static bool uvm_leave_is_moved(const struct vm_area_struct *vma)
{
	return uvm_vma_anon_index(vma) != vma->vm_start >> PAGE_SHIFT;
}

/*
 * What of the pages a process has: where they first were, as nearly always, or
 * in mappings that were moved, or are of files.
 */
static void uvm_leave_mm(struct uvm_leave *leave, struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	struct uvm_run run = {};
	u64 at, end;

	mmap_assert_locked(mm);
	while (uvm_leave_next(leave, &run)) {
		at = run.index << PAGE_SHIFT;
		end = at + ((u64)run.nr << PAGE_SHIFT);
		while (at < end && (vma = find_vma_intersection(mm, at, end))) {
			if (!uvm_leave_is_moved(vma))
				uvm_leave_vma(leave, vma, &run);
			at = vma->vm_end;
		}
	}
	if (!uvm_leave_rest(leave))
		return;
	for_each_vma(vmi, vma) {
		if (!vma->anon_vma || !uvm_leave_is_moved(vma))
			continue;
		run = (struct uvm_run) {};
		while (uvm_leave_next(leave, &run))
			uvm_leave_vma(leave, vma, &run);
	}
}

/* With users of the memory. False: its lock is not to be had now. */
static bool uvm_leave_try(struct uvm_leave *leave, struct mm_struct *mm)
{
	if (mm == leave->held) {
		uvm_leave_mm(leave, mm);
		return true;
	}
	if (!mmap_read_trylock(mm))
		return false;
	uvm_leave_mm(leave, mm);
	mmap_read_unlock(mm);
	return true;
}

/* Who may be gone while others of its threads are not. */
static struct mm_struct *uvm_leave_mm_of(struct task_struct *process)
{
	struct task_struct *thread;
	struct mm_struct *mm;

	for_each_thread(process, thread) {
		mm = get_task_mm(thread);
		if (mm)
			return mm;
	}
	return NULL;
}

/* Memory of processes behind the first @passed, which is added to. */
static u32 uvm_leave_mms(u32 *passed, struct mm_struct **mms)
{
	struct task_struct *process;
	u32 n = 0, skip = *passed;

	rcu_read_lock();
	for_each_process(process) {
		if (skip) {
			skip--;
			continue;
		}
		if (n == UVM_LEAVE_MMS)
			break;
		mms[n] = uvm_leave_mm_of(process);
		if (mms[n])
			n++;
		++*passed;
	}
	rcu_read_unlock();
	return n;
}

/* Pages that @but does not have. */
static void uvm_leave_search(struct uvm_leave *leave,
			     const struct mm_struct *but)
{
	struct mm_struct *mms[UVM_LEAVE_MMS];
	u32 i, n, passed = 0;

	do {
		n = uvm_leave_mms(&passed, mms);
		for (i = 0; i < n; i++) {
			if (mms[i] != but && uvm_leave_rest(leave))
				uvm_leave_try(leave, mms[i]);
			/* It may be the last, and its end takes locks. */
			mmput_async(mms[i]);
		}
	} while (n == UVM_LEAVE_MMS && uvm_leave_rest(leave));
}

/* Pages that somebody has locked are where they were looked for. */
static bool uvm_leave_is_lost(struct uvm_leave *leave)
{
	const struct uvm_chunk *chunk = leave->chunk;
	unsigned long first = chunk->dm->first +
			      chunk->index * UVM_CHUNK_PAGES;
	u32 at;

	if (leave->error || !uvm_leave_rest(leave))
		return false;
	for_each_set_bit(at, leave->pages, UVM_CHUNK_PAGES)
		if (!folio_test_locked(page_folio(pfn_to_page(first + at))))
			return true;
	return false;
}

static int uvm_leave_home(struct uvm_leave *leave, struct mm_struct *mm)
{
	bool tried = true;

	if (mmget_not_zero(mm)) {
		tried = uvm_leave_try(leave, mm);
		mmput_async(mm);
	}
	if (!tried)
		return -EBUSY;
	if (uvm_leave_is_lost(leave))
		uvm_leave_search(leave, mm);
	return leave->error ?: uvm_leave_rest(leave) ? -EBUSY : 0;
}

/* Pages of one home, out of @todo. It has a use for the caller. */
static struct uvm_home *uvm_leave_pick(struct uvm_leave *leave,
				       unsigned long *todo)
{
	struct uvm_chunk *chunk = leave->chunk;
	struct uvm_devmem_dev *dev = &chunk->dm->uvm->devmem;
	struct uvm_home *home = NULL;
	u32 at;

	bitmap_zero(leave->pages, UVM_CHUNK_PAGES);
	spin_lock(&dev->lock);
	for_each_set_bit(at, todo, UVM_CHUNK_PAGES) {
		/* Freed meanwhile, or taken for what is not a process's. */
		if (!chunk->homes[at]) {
			__clear_bit(at, todo);
			continue;
		}
		if (!home)
			home = chunk->homes[at];
		if (home == chunk->homes[at]) {
			__clear_bit(at, todo);
			__set_bit(at, leave->pages);
		}
	}
	if (home)
		home->uses++;
	spin_unlock(&dev->lock);
	return home;
}

/**
 * uvm_leave_chunk() - have a chunk's pages back in system memory
 * @leave: of uvm_leave_init()
 * @chunk: the chunk, which is held: no page of it is given out
 *
 * Context: no page is locked. mmap_lock is held of the memory that
 * uvm_leave_init() was told, and may be of other.
 * Return: 0, or why pages may be left: -EBUSY for what somebody holds, -ENOMEM,
 * -EIO.
 */
int uvm_leave_chunk(struct uvm_leave *leave, struct uvm_chunk *chunk)
{
	struct uvm_device *uvm = chunk->dm->uvm;
	DECLARE_BITMAP(todo, UVM_CHUNK_PAGES);
	struct uvm_home *home;
	int ret = 0, err;

	leave->chunk = chunk;
	leave->m.dm = chunk->dm;
	leave->m.only = chunk;
	leave->gone = 0;
	spin_lock(&uvm->devmem.lock);
	bitmap_copy(todo, chunk->map, UVM_CHUNK_PAGES);
	spin_unlock(&uvm->devmem.lock);
	while ((home = uvm_leave_pick(leave, todo))) {
		leave->error = 0;
		uvm_leave_sort(leave);
		err = uvm_leave_home(leave, home->mm);
		uvm_home_put(uvm, home);
		ret = ret ?: err;
	}
	atomic64_add(leave->gone, &uvm->devmem.count.evicted);
	return ret;
}

/**
 * uvm_leave_init() - get ready to empty chunks
 * @leave: out
 * @held: memory whose mmap_lock the caller holds for reading, or NULL
 *
 * Return: 0 or -ENOMEM.
 */
int uvm_leave_init(struct uvm_leave *leave, struct mm_struct *held)
{
	int ret;

	memset(leave, 0, sizeof(*leave));
	leave->held = held;
	leave->order = kvcalloc(UVM_CHUNK_PAGES, sizeof(*leave->order),
				GFP_KERNEL);
	if (!leave->order)
		return -ENOMEM;
	ret = uvm_migration_init(&leave->m, NULL, UVM_CHUNK_PAGES);
	if (ret)
		kvfree(leave->order);
	return ret;
}

/**
 * uvm_leave_fini() - that was all
 * @leave: of uvm_leave_init()
 */
void uvm_leave_fini(struct uvm_leave *leave)
{
	uvm_migration_fini(&leave->m);
	kvfree(leave->order);
}
