// SPDX-License-Identifier: GPL-2.0
/*
 * Service of faults in mirrored memory. Each mirror has a worker of its own:
 * one process's page that comes from a slow disk holds up nobody else's. A
 * batch is what the device tells of the process at a time: sorted, each page
 * once, block by block.
 *
 * A page is asked for where the CPU would have to ask. If it is not to be had,
 * because no memory is there or not for that access, the access is made to
 * fail, and with it what made it: a job, or a queue.
 */

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sort.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

static uint uvm_svm_region_pages = 1;
module_param_named(svm_region, uvm_svm_region_pages, uint, 0644);
MODULE_PARM_DESC(svm_region, "Pages that a fault brings where the policy does not decide, aligned: a power of two up to 512 (default 1)");

/* When accesses are made again; as the policy knows it. */
#define UVM_SVM_REPLAY_BLOCK		0u
#define UVM_SVM_REPLAY_BATCH		1u
#define UVM_SVM_REPLAY_BATCH_FLUSH	2u
#define UVM_SVM_REPLAY_ONCE		3u

static uint uvm_svm_replay_policy = UVM_SVM_REPLAY_BATCH;
module_param_named(svm_replay, uvm_svm_replay_policy, uint, 0644);
MODULE_PARM_DESC(svm_replay, "When accesses are made again whose pages have come: 0 block by block, 1 after a batch (default), 2 after a batch, with those that came meanwhile, 3 once no fault is left");

/**
 * uvm_svm_replay_now() - when accesses are made again
 *
 * Return: UVM_POLICY_SVM_REPLAY_*.
 */
u32 uvm_svm_replay_now(void)
{
	return min(READ_ONCE(uvm_svm_replay_policy), UVM_SVM_REPLAY_ONCE);
}

/* What the worker sleeps itself. */
#define UVM_SVM_NAP_NS		(2 * NSEC_PER_MSEC)
/* Time limits that a job may see pass while its pages come. */
#define UVM_SVM_EXTENSIONS	40

static int uvm_svm_order(const void *a, const void *b)
{
	const struct uvm_svm_want *left = a, *right = b;

	return left->va < right->va ? -1 : left->va > right->va;
}

/* Each page once; for the most that any fault wants. */
static u32 uvm_svm_merge(struct uvm_svm_want *wants, u32 n)
{
	u32 i, kept = 0;

	sort(wants, n, sizeof(*wants), uvm_svm_order, NULL);
	for (i = 1; i < n; i++) {
		if (wants[i].va == wants[kept].va)
			wants[kept].access = max(wants[kept].access,
						 wants[i].access);
		else
			wants[++kept] = wants[i];
	}
	return n ? kept + 1 : 0;
}

static bool uvm_svm_is_there(struct uvm_svm_block *block, u64 va, u32 access)
{
	bool there;

	mutex_lock(&block->lock);
	there = uvm_svm_has(block, va, access);
	mutex_unlock(&block->lock);
	return there;
}

static u32 uvm_svm_access(const struct uvm_retry_fault *fault)
{
	if (fault->atomic)
		return UVM_POLICY_SVM_ATOMIC;
	return fault->write ? UVM_POLICY_SVM_WRITE : UVM_POLICY_SVM_READ;
}

/* Within its block, the pages around an address that belong to it. */
static void uvm_svm_around(u64 va, u64 *start, u64 *end)
{
	u64 pages = clamp(READ_ONCE(uvm_svm_region_pages), 1u, UVM_SVM_BLOCK_PAGES);
	u64 bytes = rounddown_pow_of_two(pages) * PAGE_SIZE;

	*start = ALIGN_DOWN(va, bytes);
	*end = *start + bytes;
}

/* The next address behind the mapping of one, or behind a block; @va: neither is there. */
static u64 uvm_svm_next(struct uvm_svm *svm, u64 va, u64 end)
{
	struct vm_area_struct *vma;
	u64 next = va;

	mmap_read_lock(svm->mm);
	vma = vma_lookup(svm->mm, va);
	if (vma)
		next = min_t(u64, end, vma->vm_end);
	mmap_read_unlock(svm->mm);
	return next;
}

/*
 * All that the access at hand is known to need, so that it faults but once;
 * what cannot be had is found out when it gets there.
 */
static int uvm_svm_bring_reach(struct uvm_svm_block *first, u64 va, bool write)
{
	struct uvm_svm *svm = first->svm;
	u64 next, reach = READ_ONCE(svm->reach);
	struct uvm_svm_block *block;
	int ret;

	next = min(reach, first->va + UVM_SVM_BLOCK_BYTES);
	ret = uvm_svm_bring(first, va, va, next, write);
	if (ret)
		return ret;
	for (;;) {
		next = uvm_svm_next(svm, va, min(reach, ALIGN(va + 1,
						 UVM_SVM_BLOCK_BYTES)));
		if (next == va || next >= reach)
			return 0;
		va = next;
		block = uvm_svm_block_get(svm, va);
		if (IS_ERR(block))
			return 0;
		next = min(reach, block->va + UVM_SVM_BLOCK_BYTES);
		ret = uvm_svm_bring(block, va, va, next, write);
		uvm_svm_block_put(block);
		if (ret)
			return 0;
	}
}

/* The page, and those around it if they can be had together. */
static int uvm_svm_serve(struct uvm_svm_block *block,
			 const struct uvm_svm_want *want)
{
	bool write = want->access != UVM_POLICY_SVM_READ;
	struct uvm_device *uvm = block->svm->vm->uvm;
	u64 start, end;
	int ret;

	if (uvm_svm_is_there(block, want->va, want->access)) {
		atomic64_inc(&uvm->svm.stale);
		return 0;
	}
	uvm_svm_around(want->va, &start, &end);
	if (want->va < READ_ONCE(block->svm->reach))
		ret = uvm_svm_bring_reach(block, want->va, write);
	else
		ret = uvm_svm_bring(block, want->va, start, end, write);
	if (ret && ret != -EBUSY)
		ret = uvm_svm_bring(block, want->va, want->va,
				    want->va + PAGE_SIZE, write);
	if (!ret && want->access == UVM_POLICY_SVM_ATOMIC &&
	    !uvm_svm_is_there(block, want->va, want->access))
		ret = uvm_svm_have_alone(block, want->va);
	return ret;
}

/*
 * A page was brought, or cannot be: then its access fails when it is made
 * again. Or it is not the time for it, and the access may ask again. Where
 * there is no block, the page is the process's own to bring, and no answer due.
 */
static void uvm_svm_settle(struct uvm_svm *svm, struct uvm_svm_block *block,
			   struct uvm_svm_want *want, int ret)
{
	struct uvm_device *uvm = svm->vm->uvm;
	int idx;

	want->due = true;
	if (!ret)
		atomic64_inc(&svm->served);
	if (!ret || ret == -EBUSY || ret == -ENODEV)
		return;
	atomic64_inc(&uvm->svm.refused);
	if (IS_ERR(block)) {
		want->due = false;
		uvm_fault_tell(uvm, svm->vm->pasid, want->va);
	} else if (drm_dev_enter(&uvm->drm, &idx)) {
		uvm_svm_deny(block, want->va);
		drm_dev_exit(idx);
		schedule_delayed_work(&svm->calm, UVM_SVM_CALM);
	}
}

/* Lets accesses be made again whose pages were looked after. */
static void uvm_svm_replay(struct uvm_svm *svm, struct uvm_svm_want *wants,
			   u32 n)
{
	struct uvm_device *uvm = svm->vm->uvm;
	int idx;

	if (!drm_dev_enter(&uvm->drm, &idx))
		return;
	for (; n; n--, wants++) {
		if (wants->due)
			uvm_fault_mapped(svm->vm, wants->va, PAGE_SIZE);
		wants->due = false;
	}
	drm_dev_exit(idx);
}

/* With references to address space and users of its memory. */
static void uvm_svm_batch(struct uvm_svm *svm, struct uvm_svm_want *wants,
			  u32 n, u32 replay)
{
	struct uvm_svm_block *block = NULL;
	u64 va;
	int ret;
	u32 i;

	for (i = 0; i < n; i++) {
		va = ALIGN_DOWN(wants[i].va, UVM_SVM_BLOCK_BYTES);
		if (!block || IS_ERR(block) || block->va != va) {
			if (!IS_ERR_OR_NULL(block))
				uvm_svm_block_put(block);
			if (replay == UVM_SVM_REPLAY_BLOCK)
				uvm_svm_replay(svm, wants, i);
			block = uvm_svm_block_get(svm, va);
		}
		ret = PTR_ERR_OR_ZERO(block) ?: uvm_svm_serve(block, &wants[i]);
		uvm_svm_settle(svm, block, &wants[i], ret);
	}
	if (!IS_ERR_OR_NULL(block))
		uvm_svm_block_put(block);
}

/* Answers faults whose pages have come by now; the others wait for their batch. */
static void uvm_svm_sweep(struct uvm_svm *svm)
{
	struct uvm_device *uvm = svm->vm->uvm;
	struct uvm_retry_fault *faults = svm->faults;
	struct uvm_svm_block *block;
	bool there;
	u32 i, n;

	n = uvm_fault_peek(uvm, svm->vm->pasid, faults);
	for (i = 0; i < n; i++) {
		block = uvm_svm_block_find(svm, faults[i].va);
		if (!block)
			continue;
		there = uvm_svm_is_there(block, faults[i].va,
					 uvm_svm_access(&faults[i]));
		uvm_svm_block_put(block);
		if (!there)
			continue;
		atomic64_inc(&uvm->svm.stale);
		atomic64_inc(&uvm->svm.faults);
		uvm_fault_mapped(svm->vm, faults[i].va, PAGE_SIZE);
	}
}

/* The next batch; sorted, each page once. */
static u32 uvm_svm_collect(struct uvm_svm *svm, struct uvm_svm_want *wants,
			   u32 room)
{
	struct uvm_device *uvm = svm->vm->uvm;
	struct uvm_retry_fault *faults = svm->faults;
	u32 i, n;

	n = uvm_fault_collect(uvm, svm->vm->pasid, faults,
			      min(room, uvm_svm_batch_now()));
	if (!n)
		return 0;
	for (i = 0; i < n; i++)
		wants[i] = (struct uvm_svm_want) {
			.va = faults[i].va,
			.access = uvm_svm_access(&faults[i]),
		};
	/* Mirrors serve side by side: what is lost is told by the next. */
	if (n > READ_ONCE(uvm->svm.largest))
		WRITE_ONCE(uvm->svm.largest, n);
	atomic64_inc(&uvm->svm.sizes[min(ilog2(n), UVM_SVM_SIZES - 1)]);
	atomic64_inc(&uvm->svm.batches);
	atomic64_add(n, &uvm->svm.faults);
	return uvm_svm_merge(wants, n);
}

/* Faults of a region that the CPU's slice comes before. */
static void uvm_svm_throttle(struct uvm_svm *svm, struct uvm_svm_want *want,
			     u64 until)
{
	want->due = svm->nr_throttled == ARRAY_SIZE(svm->throttled);
	if (want->due)
		return;
	svm->throttled[svm->nr_throttled++] = (struct uvm_svm_throttled) {
		.va = want->va,
		.until = until,
	};
}

/* Those whose time has come may ask again. True: others will very soon. */
static bool uvm_svm_release(struct uvm_svm *svm)
{
	u64 now = ktime_get_ns(), next = U64_MAX;
	u32 i, kept = 0;
	int idx;

	if (!svm->nr_throttled || !drm_dev_enter(&svm->vm->uvm->drm, &idx))
		return false;
	for (i = 0; i < svm->nr_throttled; i++) {
		if (svm->throttled[i].until > now) {
			next = min(next, svm->throttled[i].until);
			svm->throttled[kept++] = svm->throttled[i];
			continue;
		}
		uvm_fault_mapped(svm->vm, svm->throttled[i].va, PAGE_SIZE);
	}
	svm->nr_throttled = kept;
	drm_dev_exit(idx);
	if (!kept)
		return false;
	/* Slices are shorter than what a timer of the scheduler can tell. */
	if (next - now < UVM_SVM_NAP_NS) {
		usleep_range((next - now) / NSEC_PER_USEC + 1,
			     (next - now) / NSEC_PER_USEC + 50);
		return true;
	}
	schedule_delayed_work(&svm->later, nsecs_to_jiffies(next - now) + 1);
	return false;
}

static bool uvm_svm_is_guess(const struct uvm_policy_svm_region *region)
{
	return region->flags & UVM_POLICY_SVM_REGION_GUESS;
}

/* What the last plan has for nobody. Those who wait have had their answer. */
static void uvm_svm_do_guesses(struct uvm_svm *svm)
{
	struct uvm_policy_svm_region *region;
	struct uvm_svm_block *block;

	for (; svm->guess < svm->nr_regions; svm->guess++) {
		region = &svm->regions[svm->guess];
		block = uvm_svm_block_get(svm, region->va);
		if (IS_ERR(block))
			continue;
		bitmap_zero(svm->alone, UVM_SVM_BLOCK_PAGES);
		uvm_svm_do(svm, block, region, UVM_POLICY_SVM_BY_PREFETCH);
		uvm_svm_block_put(block);
	}
}

/* A region of the plan, and the faults that it serves. */
static void uvm_svm_region(struct uvm_svm *svm, u32 index,
			   const struct uvm_policy_svm_fault *faults, u32 n,
			   struct uvm_svm_want *wants)
{
	const struct uvm_policy_svm_region *region = &svm->regions[index];
	struct uvm_svm_block *block;
	struct uvm_svm_want *want;
	u32 i;

	block = uvm_svm_block_get(svm, region->va);
	bitmap_zero(svm->alone, UVM_SVM_BLOCK_PAGES);
	for (i = 0; i < n; i++)
		if (faults[i].region == index &&
		    faults[i].access == UVM_POLICY_SVM_ATOMIC)
			__set_bit((faults[i].va - region->va) >> PAGE_SHIFT,
				  svm->alone);
	if (!IS_ERR(block) && region->action != UVM_POLICY_SVM_DO_THROTTLE)
		uvm_svm_do(svm, block, region, UVM_POLICY_SVM_BY_FAULT);
	for (i = 0; i < n; i++) {
		want = &wants[faults[i].tag];
		if (faults[i].region != index)
			continue;
		if (IS_ERR(block)) {
			uvm_svm_settle(svm, block, want, PTR_ERR(block));
			continue;
		}
		atomic64_inc(&svm->served);
		want->due = true;
		if (region->action == UVM_POLICY_SVM_DO_THROTTLE)
			uvm_svm_throttle(svm, want, region->until);
		else if (region->flags & UVM_POLICY_SVM_REGION_REPLAY)
			uvm_svm_replay(svm, want, 1);
	}
	if (!IS_ERR(block))
		uvm_svm_block_put(block);
}

/* Whether a page has come since it was asked for. */
static bool uvm_svm_is_stale(struct uvm_svm *svm,
			     const struct uvm_svm_want *want)
{
	struct uvm_svm_block *block = uvm_svm_block_find(svm, want->va);
	bool there;

	if (!block)
		return false;
	there = uvm_svm_is_there(block, want->va, want->access);
	uvm_svm_block_put(block);
	return there;
}

/* As the policy decides. Returns what of the replay it leaves to the caller. */
static u32 uvm_svm_batch_planned(struct uvm_svm *svm,
				 struct uvm_svm_want *wants, u32 n)
{
	struct uvm_device *uvm = svm->vm->uvm;
	struct uvm_policy_svm_fault *faults = svm->asked;
	struct uvm_policy_svm_plan plan = {};
	u32 i, fresh = 0;

	svm->nr_regions = 0;
	for (i = 0; i < n; i++) {
		wants[i].due = uvm_svm_is_stale(svm, &wants[i]);
		if (wants[i].due) {
			atomic64_inc(&uvm->svm.stale);
			continue;
		}
		faults[fresh++] = (struct uvm_policy_svm_fault) {
			.space = svm->space,
			.va = wants[i].va,
			.tag = i,
			.access = wants[i].access,
		};
	}
	if (!fresh)
		return 0;
	if (WARN_ON_ONCE(uvm_svm_plan(svm, faults, fresh,
				      uvm_fault_waits(uvm, svm->vm->pasid),
				      &plan))) {
		uvm_svm_batch(svm, wants, n, UVM_SVM_REPLAY_BATCH);
		return 0;
	}
	/* Guesses are the last ones. */
	for (i = 0; i < plan.regions && !uvm_svm_is_guess(&svm->regions[i]); i++)
		uvm_svm_region(svm, i, faults, fresh, wants);
	svm->guess = i;
	svm->nr_regions = plan.regions;
	return plan.flags;
}

/* Faults until there are none left; their process's memory has users. */
static void uvm_svm_serve_all(struct uvm_svm *svm)
{
	u32 replay = uvm_svm_replay_now();
	struct uvm_svm_want *wants = svm->wants;
	struct uvm_device *uvm = svm->vm->uvm;
	bool hold, flush;
	int idx;
	u32 n, flags, due = 0;

	/* What is at rest waits in the table. */
	while (!uvm_is_suspended(uvm) &&
	       (n = uvm_svm_collect(svm, wants + due,
				    ARRAY_SIZE(svm->wants) - due))) {
		if (svm->space) {
			flags = uvm_svm_batch_planned(svm, wants + due, n);
			hold = flags & UVM_POLICY_SVM_PLAN_HOLD;
			flush = flags & UVM_POLICY_SVM_PLAN_FLUSH;
		} else {
			uvm_svm_batch(svm, wants + due, n, replay);
			hold = replay == UVM_SVM_REPLAY_ONCE;
			flush = replay == UVM_SVM_REPLAY_BATCH_FLUSH;
		}
		due += n;
		/* What came meanwhile is often about the same pages. */
		if (flush && drm_dev_enter(&uvm->drm, &idx)) {
			uvm_ih_flush(uvm);
			uvm_svm_sweep(svm);
			drm_dev_exit(idx);
		}
		if (drm_dev_is_unplugged(&uvm->drm))
			break;
		if (!hold || due >= ARRAY_SIZE(svm->wants)) {
			uvm_svm_replay(svm, wants, due);
			due = 0;
		}
		uvm_svm_do_guesses(svm);
	}
	uvm_svm_replay(svm, wants, due);
}

/**
 * uvm_svm_work() - serve the faults of a mirror
 * @work: uvm_svm.work, with a reference to the address space
 */
void uvm_svm_work(struct work_struct *work)
{
	struct uvm_svm *svm = container_of(work, struct uvm_svm, work);
	struct uvm_vm *vm = svm->vm;
	u64 begun = ktime_get_ns();

	/* Who lets it go on starts this again. */
	if (uvm_is_suspended(vm->uvm)) {
		uvm_vm_put(vm);
		return;
	}
	WRITE_ONCE(svm->busy, true);
	if (mmget_not_zero(svm->mm)) {
		do {
			uvm_svm_serve_all(svm);
		} while (!uvm_is_suspended(vm->uvm) && uvm_svm_release(svm));
		if (svm->space) {
			uvm_svm_serve_counted(svm);
			uvm_svm_keep_mapped(svm);
		}
		uvm_svm_shrink(svm);
		wake_up_interruptible(&svm->vm->uvm->svm.events);
		mmput_async(svm->mm);
	} else {
		/* Nobody will ever bring a page. */
		uvm_mode_give_up(vm);
	}
	WRITE_ONCE(svm->busy, false);
	atomic64_add(ktime_get_ns() - begun, &vm->uvm->svm.served_ns);
	uvm_vm_put(vm);
}

/**
 * uvm_svm_kick() - a process has faults to be served
 * @uvm: the device
 * @pasid: whose
 */
void uvm_svm_kick(struct uvm_device *uvm, u32 pasid)
{
	struct uvm_vm *vm;

	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, pasid);
	if (vm && (!vm->svm || !kref_get_unless_zero(&vm->ref)))
		vm = NULL;
	xa_unlock(&uvm->vms.by_pasid);
	if (vm && !queue_work(uvm->svm.wq, &vm->svm->work))
		uvm_vm_put(vm);
}

/**
 * uvm_svm_failed() - a fault was told that does not wait
 * @uvm: the device
 * @pasid: whose
 * @va: page
 *
 * If it was denied, that has served its purpose. Who is told of it sees the
 * page as it was before. Context: the interrupt worker.
 */
void uvm_svm_failed(struct uvm_device *uvm, u32 pasid, u64 va)
{
	struct uvm_svm_block *block = NULL;
	struct uvm_vm *vm;
	int idx;

	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, pasid);
	if (vm && (!vm->svm || !kref_get_unless_zero(&vm->ref)))
		vm = NULL;
	xa_unlock(&uvm->vms.by_pasid);
	if (!vm)
		return;
	block = uvm_svm_block_find(vm->svm, va);
	if (block && drm_dev_enter(&uvm->drm, &idx)) {
		uvm_svm_allow(block, va, va + PAGE_SIZE);
		drm_dev_exit(idx);
	}
	if (block)
		uvm_svm_block_put(block);
	uvm_vm_put(vm);
}

/**
 * uvm_svm_goes_on() - whether a late job has an excuse
 * @job: the job
 *
 * Its pages came one by one since the last time, or are on their way; but not
 * for ever.
 *
 * Return: whether to wait some more.
 */
bool uvm_svm_goes_on(struct uvm_job *job)
{
	struct uvm_svm *svm = job->vm ? READ_ONCE(job->vm->svm) : NULL;
	u64 served;

	if (svm && uvm_is_suspended(job->vm->uvm))
		return true;
	if (!svm || job->extensions >= UVM_SVM_EXTENSIONS)
		return false;
	served = atomic64_read(&svm->served);
	if (served == job->served && !READ_ONCE(svm->busy))
		return false;
	job->served = served;
	job->extensions++;
	return true;
}
