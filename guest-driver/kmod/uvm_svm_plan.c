// SPDX-License-Identifier: GPL-2.0
/*
 * What the policy decides about faults in mirrored memory, carried out: pages
 * are moved, mapped where they are found then, and what happened is told.
 *
 * The policy knows what it was told, and that is old news. So a plan is a
 * proposal: pages that do not move are mapped where they are, a guess that
 * fails is passed over, and an access that waits gets its page in any case or
 * is made to fail. What a notifier takes away is told before the next batch.
 */

#include <linux/hmm.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/* Knowledge of so many blocks is 600 bytes each at most. */
#define UVM_SVM_BLOCKS		4096
/* How often, and how soon, what is to be mapped is looked for again. */
#define UVM_SVM_KEEP_TRIES	8
#define UVM_SVM_KEEP_DELAY	(HZ / 50)

/**
 * uvm_svm_policy_begin() - enter the policy of mirrored memory
 * @uvm: the device
 *
 * Return: what uvm_svm_policy_end() wants.
 */
unsigned int uvm_svm_policy_begin(struct uvm_device *uvm)
{
	mutex_lock(&uvm->svm.policy_lock);
	return memalloc_nofs_save();
}

/**
 * uvm_svm_policy_end() - leave it
 * @uvm: the device
 * @flags: of uvm_svm_policy_begin()
 */
void uvm_svm_policy_end(struct uvm_device *uvm, unsigned int flags)
{
	memalloc_nofs_restore(flags);
	mutex_unlock(&uvm->svm.policy_lock);
}

/**
 * uvm_svm_policy_init() - begin to decide
 * @uvm: the device
 *
 * Return: 0 or an errno.
 */
int uvm_svm_policy_init(struct uvm_device *uvm)
{
	struct uvm_policy_svm_config config;
	struct uvm_policy_svm *policy;
	int ret;

	ret = uvm_policy_svm_defaults(&config);
	if (ret)
		return ret;
	uvm_svm_tuned(&config);
	config.blocks = UVM_SVM_BLOCKS;
	config.chunks = DIV_ROUND_UP(uvm->vram.size, UVM_CHUNK_SIZE);
	policy = uvm_policy_svm_new(&config);
	if (IS_ERR(policy))
		return PTR_ERR(policy);
	uvm->svm.policy = policy;
	return 0;
}

/**
 * uvm_svm_policy_fini() - end it
 * @uvm: the device; there is no mirror any more
 */
void uvm_svm_policy_fini(struct uvm_device *uvm)
{
	u32 spaces = 0, blocks = 0;

	if (!uvm->svm.policy)
		return;
	uvm_policy_svm_in_use(uvm->svm.policy, &spaces, &blocks);
	if (spaces)
		drm_warn(&uvm->drm, "%u mirrors left behind\n", spaces);
	uvm_policy_svm_destroy(uvm->svm.policy);
	uvm->svm.policy = NULL;
}

/**
 * uvm_svm_space_create() - decide about a mirror
 * @svm: the mirror
 *
 * Return: 0 or -ENOMEM.
 */
int uvm_svm_space_create(struct uvm_svm *svm)
{
	struct uvm_device *uvm = svm->vm->uvm;
	unsigned int flags;
	int ret;

	flags = uvm_svm_policy_begin(uvm);
	ret = uvm_policy_svm_create(uvm->svm.policy, &svm->space);
	uvm_svm_policy_end(uvm, flags);
	return ret;
}

/**
 * uvm_svm_space_end() - a mirror ends
 * @svm: the mirror
 */
void uvm_svm_space_end(struct uvm_svm *svm)
{
	struct uvm_device *uvm = svm->vm->uvm;
	unsigned int flags;

	if (!svm->space)
		return;
	flags = uvm_svm_policy_begin(uvm);
	WARN_ON_ONCE(uvm_policy_svm_end(uvm->svm.policy, svm->space));
	uvm_svm_policy_end(uvm, flags);
}

/* Moves what can be moved of a run of pages. */
static int uvm_svm_move_run(struct uvm_svm *svm, u64 start, u64 end,
			    bool to_vram)
{
	struct vm_area_struct *vma;
	u64 next;
	int ret = 0;

	mmap_read_lock(svm->mm);
	for (; start < end && !ret; start = next) {
		vma = find_vma_intersection(svm->mm, start, end);
		if (!vma)
			break;
		start = max_t(u64, start, vma->vm_start);
		next = min_t(u64, end, vma->vm_end);
		ret = to_vram ?
		      uvm_migrate_to_vram(svm->dm, vma, start, next, NULL) :
		      uvm_migrate_to_system(svm->dm, vma, start, next, NULL);
		/* A mapping whose pages do not move. */
		if (ret == -EINVAL)
			ret = 0;
	}
	mmap_read_unlock(svm->mm);
	return ret;
}

static void uvm_svm_move(struct uvm_svm *svm, struct uvm_svm_block *block,
			 const unsigned long *pages, bool to_vram)
{
	unsigned int first, behind;
	bool room = to_vram;
	u64 start, end;
	int ret, idx;

	if (!drm_dev_enter(&svm->vm->uvm->drm, &idx))
		return;
	for_each_set_bitrange(first, behind, pages, UVM_SVM_BLOCK_PAGES) {
		start = block->va + (u64)first * PAGE_SIZE;
		end = block->va + (u64)behind * PAGE_SIZE;
		ret = uvm_svm_move_run(svm, start, end, to_vram);
		/* Others go, once. What they leave may be taken by then. */
		if (ret == -ENOSPC && room) {
			room = false;
			if (uvm_devmem_make_room(svm->vm->uvm, UVM_CHUNK_SIZE,
						 NULL))
				ret = uvm_svm_move_run(svm, start, end, true);
		}
		if (ret)
			break;
	}
	drm_dev_exit(idx);
}

/* Pages that an access waits for: run by run, or one by one where that fails. */
static void uvm_svm_map_faulted(struct uvm_svm_block *block,
				const unsigned long *pages,
				const unsigned long *written,
				unsigned long *bad)
{
	unsigned int start, end, page, stop;
	u64 va;
	bool write;

	for_each_set_bitrange(start, end, pages, UVM_SVM_BLOCK_PAGES) {
		for (page = start; page < end; page = stop) {
			write = test_bit(page, written);
			stop = write ? find_next_zero_bit(written, end, page) :
				       find_next_bit(written, end, page);
			va = block->va + (u64)page * PAGE_SIZE;
			if (!uvm_svm_bring(block, va, va, block->va +
					   (u64)stop * PAGE_SIZE, write))
				continue;
			for (; page < stop; page++, va += PAGE_SIZE)
				if (uvm_svm_bring(block, va, va, va + PAGE_SIZE,
						  write))
					set_bit(page, bad);
		}
	}
}

/* The others, as far as they are there. */
static void uvm_svm_map_guessed(struct uvm_svm_block *block,
				const unsigned long *pages, bool write)
{
	unsigned int start, end;

	for_each_set_bitrange(start, end, pages, UVM_SVM_BLOCK_PAGES)
		uvm_svm_look(block, block->va + (u64)start * PAGE_SIZE,
			     block->va + (u64)end * PAGE_SIZE, block->svm->pfns,
			     write);
}

/* Pages with a second copy are mapped; @pages: the others, as always. */
static void uvm_svm_do_double(struct uvm_svm *svm, struct uvm_svm_block *block,
			      unsigned long *pages, unsigned long *faulted)
{
	DECLARE_BITMAP(done, UVM_SVM_BLOCK_PAGES);

	/* Not what is lost from now on. */
	uvm_svm_tell_lost(svm, block);
	uvm_svm_double(block, pages, done);
	if (bitmap_empty(done, UVM_SVM_BLOCK_PAGES))
		return;
	uvm_svm_tell_doubled(svm, block, done);
	bitmap_andnot(pages, pages, done, UVM_SVM_BLOCK_PAGES);
	bitmap_andnot(faulted, faulted, done, UVM_SVM_BLOCK_PAGES);
}

/* Pages that an atomic waits for, and that CPUs still reach. */
static void uvm_svm_map_alone(struct uvm_svm *svm, struct uvm_svm_block *block,
			      const unsigned long *faulted, unsigned long *bad)
{
	unsigned int page;
	bool there;
	u64 va;
	int ret;

	for_each_set_bit(page, svm->alone, UVM_SVM_BLOCK_PAGES) {
		if (!test_bit(page, faulted) || test_bit(page, bad))
			continue;
		va = block->va + (u64)page * PAGE_SIZE;
		mutex_lock(&block->lock);
		there = uvm_svm_has(block, va, UVM_POLICY_SVM_ATOMIC);
		mutex_unlock(&block->lock);
		ret = there ? 0 : uvm_svm_have_alone(block, va);
		if (ret && ret != -EBUSY && ret != -ENODEV)
			set_bit(page, bad);
	}
}

static void uvm_svm_deny_all(struct uvm_svm *svm, struct uvm_svm_block *block,
			     const unsigned long *pages)
{
	unsigned int page;
	int idx;

	if (bitmap_empty(pages, UVM_SVM_BLOCK_PAGES) ||
	    !drm_dev_enter(&svm->vm->uvm->drm, &idx))
		return;
	for_each_set_bit(page, pages, UVM_SVM_BLOCK_PAGES) {
		atomic64_inc(&svm->vm->uvm->svm.refused);
		uvm_svm_deny(block, block->va + (u64)page * PAGE_SIZE);
	}
	drm_dev_exit(idx);
	schedule_delayed_work(&svm->calm, UVM_SVM_CALM);
}

/**
 * uvm_svm_do() - carry out what is to become of pages of a block
 * @svm: the mirror
 * @block: the block
 * @region: the plan; not one that throttles
 * @cause: UVM_POLICY_SVM_BY_*
 *
 * Accesses of the pages that faulted can be made again, and fail then if they
 * have to. Context: as uvm_svm_block_get().
 */
void uvm_svm_do(struct uvm_svm *svm, struct uvm_svm_block *block,
		const struct uvm_policy_svm_region *region, u32 cause)
{
	DECLARE_BITMAP(pages, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(faulted, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(written, UVM_SVM_BLOCK_PAGES);
	bool to_vram = region->action == UVM_POLICY_SVM_DO_TO_VRAM;
	bool write;

	bitmap_from_arr64(pages, region->pages, UVM_SVM_BLOCK_PAGES);
	bitmap_from_arr64(faulted, region->faulted, UVM_SVM_BLOCK_PAGES);
	bitmap_from_arr64(written, region->written, UVM_SVM_BLOCK_PAGES);
	if (region->action == UVM_POLICY_SVM_DO_DENY) {
		uvm_svm_deny_all(svm, block, faulted);
		return;
	}
	if (region->action == UVM_POLICY_SVM_DO_DUPLICATE) {
		uvm_svm_do_double(svm, block, pages, faulted);
		to_vram = true;
	}
	if (to_vram || region->action == UVM_POLICY_SVM_DO_TO_SYSTEM)
		uvm_svm_move(svm, block, pages, to_vram);
	if (region->action == UVM_POLICY_SVM_DO_TO_SYSTEM)
		bitmap_copy(pages, faulted, UVM_SVM_BLOCK_PAGES);
	/* What stays and is written is likely to be written next to it. */
	write = region->action == UVM_POLICY_SVM_DO_MAP_REMOTE &&
		!bitmap_empty(written, UVM_SVM_BLOCK_PAGES);
	bitmap_zero(svm->bad, UVM_SVM_BLOCK_PAGES);
	uvm_svm_map_faulted(block, faulted, written, svm->bad);
	uvm_svm_map_alone(svm, block, faulted, svm->bad);
	bitmap_zero(svm->alone, UVM_SVM_BLOCK_PAGES);
	bitmap_andnot(faulted, pages, faulted, UVM_SVM_BLOCK_PAGES);
	uvm_svm_map_guessed(block, faulted, write);
	uvm_svm_deny_all(svm, block, svm->bad);
	uvm_svm_tell_found(svm, block, pages, to_vram, cause);
}

/**
 * uvm_svm_plan() - decide about a batch
 * @svm: the mirror
 * @faults: the batch; sorted after it
 * @n: how many, at most UVM_SVM_FAULTS
 * @more: others wait
 * @plan: out; the regions are in @svm
 *
 * Return: 0 or -EINVAL.
 */
int uvm_svm_plan(struct uvm_svm *svm, struct uvm_policy_svm_fault *faults,
		 u32 n, bool more, struct uvm_policy_svm_plan *plan)
{
	struct uvm_device *uvm = svm->vm->uvm;
	unsigned int flags;
	int ret;

	uvm_svm_tell_all_lost(svm);
	flags = uvm_svm_policy_begin(uvm);
	uvm_svm_retune(uvm->svm.policy);
	ret = uvm_policy_svm_serve(uvm->svm.policy, faults, n, more,
				   ktime_get_ns(), svm->regions,
				   ARRAY_SIZE(svm->regions), plan);
	uvm_svm_policy_end(uvm, flags);
	return ret;
}

/**
 * uvm_svm_plan_counted() - decide about a granule that is reached often
 * @svm: the mirror
 * @va: its first address
 * @bytes: how many
 *
 * Context: the worker alone.
 *
 * Return: 1 for the first region in @svm, or 0.
 */
int uvm_svm_plan_counted(struct uvm_svm *svm, u64 va, u64 bytes)
{
	const struct uvm_policy_svm_notification granule = {
		.space = svm->space,
		.va = va,
		.bytes = bytes,
	};
	struct uvm_device *uvm = svm->vm->uvm;
	unsigned int flags;
	int ret;

	uvm_svm_tell_all_lost(svm);
	flags = uvm_svm_policy_begin(uvm);
	uvm_svm_retune(uvm->svm.policy);
	ret = uvm_policy_svm_counted(uvm->svm.policy, &granule, 1,
				     ktime_get_ns(), svm->regions);
	uvm_svm_policy_end(uvm, flags);
	return ret > 0;
}

/**
 * uvm_svm_plan_prefetch() - what of a range may be where somebody wants it
 * @svm: the mirror
 * @start: first address
 * @end: behind the last one
 * @to_vram: where
 * @region: out: pages of the first block
 * @next: out: where to go on
 *
 * Return: 1 when there is more, 0, -EINVAL.
 */
int uvm_svm_plan_prefetch(struct uvm_svm *svm, u64 start, u64 end, bool to_vram,
			  struct uvm_policy_svm_region *region, u64 *next)
{
	struct uvm_device *uvm = svm->vm->uvm;
	unsigned int flags;
	int ret;

	uvm_svm_tell_all_lost(svm);
	flags = uvm_svm_policy_begin(uvm);
	uvm_svm_retune(uvm->svm.policy);
	ret = uvm_policy_svm_prefetch(uvm->svm.policy, svm->space, start, end,
				      to_vram ? UVM_POLICY_SVM_VRAM :
				      UVM_POLICY_SVM_SYSTEM, ktime_get_ns(),
				      region, next);
	uvm_svm_policy_end(uvm, flags);
	return ret;
}

/**
 * uvm_svm_victim() - which chunk of VRAM is to be emptied
 * @uvm: the device
 * @chunk: out: its number
 *
 * It is not named again before something happens to it.
 *
 * Return: 0 or -ENOSPC.
 */
int uvm_svm_victim(struct uvm_device *uvm, u32 *chunk)
{
	unsigned int flags = uvm_svm_policy_begin(uvm);
	int ret = 0;

	if (uvm->svm.policy)
		ret = uvm_policy_svm_victim(uvm->svm.policy, ktime_get_ns(),
					    chunk);
	uvm_svm_policy_end(uvm, flags);
	return ret > 0 ? 0 : -ENOSPC;
}

/**
 * uvm_svm_keep_mapped() - map what its process wants to be mapped
 * @svm: the mirror
 *
 * What is not there now may be soon; what is not for long need not be.
 * Context: the worker alone.
 */
void uvm_svm_keep_mapped(struct uvm_svm *svm)
{
	struct uvm_policy_svm_region *region = svm->regions;
	struct uvm_device *uvm = svm->vm->uvm;
	bool again = svm->keep_tries < UVM_SVM_KEEP_TRIES;
	struct uvm_svm_block *block;
	bool missing = false;
	unsigned int flags;
	u32 rounds;
	int more;

	uvm_svm_tell_all_lost(svm);
	for (rounds = 0; rounds < UVM_SVM_BLOCKS && !missing; rounds++) {
		flags = uvm_svm_policy_begin(uvm);
		more = uvm_policy_svm_next_map(uvm->svm.policy, svm->space,
					       region);
		uvm_svm_policy_end(uvm, flags);
		if (more <= 0)
			break;
		block = uvm_svm_block_get(svm, region->va);
		if (IS_ERR(block))
			continue;
		uvm_svm_do(svm, block, region, UVM_POLICY_SVM_BY_PREFETCH);
		missing = again && uvm_svm_tell_missing(svm, block, region);
		uvm_svm_block_put(block);
	}
	svm->keep_tries = missing ? svm->keep_tries + 1 : 0;
	if (missing)
		schedule_delayed_work(&svm->later, UVM_SVM_KEEP_DELAY);
}
