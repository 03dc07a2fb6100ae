// SPDX-License-Identifier: GPL-2.0
/*
 * Each address space has a queue of binds that are planned and not performed
 * yet. Its head waits for its in-fences; all that need not wait are performed
 * in one go, in order, and share one invalidation. Then accesses that waited
 * for what is mapped now are made again, and the binds' fences signal.
 *
 * Others wait for these fences: nothing here takes a reservation lock, and what
 * little memory an SDMA job takes is never reclaimed for. Whoever queues a bind
 * and waits for it performs it himself if he can, else a worker does when the
 * last in-fence has signalled. All in-fences are some hardware's, so they do.
 *
 * A bind that could not be performed, because the device is gone or does not
 * answer, keeps what it took out of the tables until the address space ends:
 * nobody can tell any more what the device reaches.
 */

#include <linux/sched/mm.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"
#include "uvm_trace.h"

/* Binds performed at one go: the first one's fence waits for the last one. */
#define UVM_BIND_BATCH		128u
/* Binds of an address space that may wait at a time. */
#define UVM_BIND_MAX_QUEUED	4096u

static const char *uvm_bind_driver_name(struct dma_fence *base)
{
	return "uvm";
}

static const char *uvm_bind_timeline_name(struct dma_fence *base)
{
	return "bind";
}

/* No release and no wait, as uvm_fence_ops. */
static const struct dma_fence_ops uvm_bind_fence_ops = {
	.get_driver_name = uvm_bind_driver_name,
	.get_timeline_name = uvm_bind_timeline_name,
};

/**
 * uvm_bind_alloc() - a bind
 *
 * Return: the bind, for uvm_bind_push() or uvm_bind_discard(); or NULL.
 */
struct uvm_bind *uvm_bind_alloc(void)
{
	struct uvm_bind *bind = kzalloc(sizeof(*bind), GFP_KERNEL_ACCOUNT);

	if (!bind)
		return NULL;
	spin_lock_init(&bind->lock);
	INIT_LIST_HEAD(&bind->gone);
	return bind;
}

static void uvm_bind_free_parts(struct uvm_bind *bind)
{
	u32 i;

	for (i = 0; i < bind->nr_wait; i++)
		dma_fence_put(bind->wait[i]);
	bind->nr_wait = 0;
	kvfree(bind->wait);
	bind->wait = NULL;
	kvfree(bind->writes);
	bind->writes = NULL;
}

/**
 * uvm_bind_discard() - free a bind that was not queued
 * @bind: the bind, or NULL
 */
void uvm_bind_discard(struct uvm_bind *bind)
{
	if (!bind)
		return;
	uvm_bind_free_parts(bind);
	kfree(bind);
}

/**
 * uvm_bind_push() - queue a bind that is planned
 * @vm: the address space, locked
 * @bind: the bind; its fence has a reference of the queue's from now on
 *
 * Return: a reference to its fence.
 */
struct dma_fence *uvm_bind_push(struct uvm_vm *vm, struct uvm_bind *bind)
{
	lockdep_assert_held(&vm->lock);
	dma_fence_init(&bind->base, &uvm_bind_fence_ops, &bind->lock,
		       vm->bind_context, vm->queued + 1);
	dma_fence_get(&bind->base);
	bind->vm = vm;
	bind->nr_absent = vm->nr_absent;
	kref_get(&vm->ref);
	spin_lock(&vm->queue_lock);
	list_add_tail(&bind->node, &vm->queue);
	WRITE_ONCE(vm->queued, vm->queued + 1);
	spin_unlock(&vm->queue_lock);
	atomic64_inc(&vm->uvm->vms.binds);
	return &bind->base;
}

static void uvm_bind_wake(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct uvm_bind *bind = container_of(cb, struct uvm_bind, cb);

	queue_work(bind->vm->uvm->vms.wq, &bind->vm->run);
}

/* If not, whatever it waits for runs the queue again. */
static bool uvm_bind_ready(struct uvm_bind *bind)
{
	bool gone = drm_dev_is_unplugged(&bind->vm->uvm->drm);
	struct dma_fence *fence;

	for (; bind->nr_done < bind->nr_wait; bind->nr_done++) {
		fence = bind->wait[bind->nr_done];
		if (!gone && !dma_fence_is_signaled(fence)) {
			if (bind->waits)
				return false;
			bind->waits = !dma_fence_add_callback(fence, &bind->cb,
							      uvm_bind_wake);
			if (bind->waits)
				return false;
		}
		/* Its callback may be running: not behind this. */
		if (bind->waits)
			dma_fence_remove_callback(fence, &bind->cb);
		bind->waits = false;
	}
	return true;
}

/* Takes what can be performed from the queue's head. */
static bool uvm_bind_take(struct uvm_vm *vm, struct list_head *batch)
{
	struct uvm_bind *bind;
	u32 n;

	for (n = 0; n < UVM_BIND_BATCH; n++) {
		/* Others only append. */
		spin_lock(&vm->queue_lock);
		bind = list_first_entry_or_null(&vm->queue, struct uvm_bind,
						node);
		spin_unlock(&vm->queue_lock);
		if (!bind || !uvm_bind_ready(bind))
			break;
		spin_lock(&vm->queue_lock);
		list_move_tail(&bind->node, batch);
		spin_unlock(&vm->queue_lock);
	}
	return n;
}

/* Before a page goes for a while. */
static void uvm_bind_hold(struct uvm_vm *vm, struct list_head *batch)
{
	struct uvm_bind *bind;

	list_for_each_entry(bind, batch, node) {
		if (bind->nr_absent) {
			uvm_mode_hold(vm);
			return;
		}
	}
}

/* Lets those who wait for what is mapped now try again. */
static void uvm_bind_unhold(struct uvm_vm *vm, struct list_head *batch)
{
	struct uvm_bind *bind;

	list_for_each_entry(bind, batch, node)
		if (bind->change == UVM_POLICY_CHANGE_MAP ||
		    bind->change == UVM_POLICY_CHANGE_PRT)
			uvm_fault_mapped(vm, bind->va, bind->size);
	if (!list_last_entry(batch, struct uvm_bind, node)->nr_absent)
		uvm_mode_unhold(vm);
}

static int uvm_bind_perform(struct uvm_vm *vm, struct list_head *batch)
{
	struct uvm_device *uvm = vm->uvm;
	unsigned int flags;
	int idx, ret;

	if (vm->lost)
		return -EIO;
	if (!drm_dev_enter(&uvm->drm, &idx))
		return -ENODEV;
	flags = memalloc_noreclaim_save();
	uvm_bind_hold(vm, batch);
	uvm_update_perform(vm, batch);
	ret = uvm_update_finish(vm, batch);
	if (!ret)
		uvm_bind_unhold(vm, batch);
	memalloc_noreclaim_restore(flags);
	drm_dev_exit(idx);
	if (ret)
		drm_err(&uvm->drm, "PASID %u: page tables lost: %d\n",
			vm->pasid, ret);
	return ret;
}

static void uvm_bind_signal(struct uvm_vm *vm, struct uvm_bind *bind, int error)
{
	trace_uvm_vm_bind(vm->pasid, bind->base.seqno, bind->change, bind->va,
			  bind->size, bind->nr_writes, error);
	if (error)
		dma_fence_set_error(&bind->base, error);
	dma_fence_signal(&bind->base);
}

/* Frees what the bind took out of the tables, and lets go of it. */
static void uvm_bind_end(struct uvm_vm *vm, struct uvm_bind *bind, int error)
{
	u64 seqno = bind->base.seqno;

	if (error) {
		list_add_tail(&bind->node, &vm->stuck);
	} else {
		uvm_bind_free_list(&bind->gone);
		uvm_bind_free_parts(bind);
		dma_fence_put(&bind->base);
	}
	smp_store_release(&vm->ended, seqno);
	wake_up_all(&vm->wait);
}

/**
 * uvm_bind_run() - perform what can be performed now
 * @vm: the address space; the caller has a reference, or is its worker
 *
 * Waits for no in-fence. Context: not under @vm's lock; the caller may have
 * buffers locked.
 */
void uvm_bind_run(struct uvm_vm *vm)
{
	struct uvm_bind *bind, *next;
	LIST_HEAD(batch);
	int ret;
	u32 n;

	mutex_lock(&vm->run_lock);
	while (uvm_bind_take(vm, &batch)) {
		ret = uvm_bind_perform(vm, &batch);
		if (ret)
			WRITE_ONCE(vm->lost, true);
		list_for_each_entry(bind, &batch, node)
			uvm_bind_signal(vm, bind, ret);
		n = 0;
		list_for_each_entry_safe(bind, next, &batch, node) {
			list_del(&bind->node);
			uvm_bind_end(vm, bind, ret);
			n++;
		}
		atomic64_inc(&vm->uvm->vms.batches);
		for (; n; n--)
			uvm_vm_put(vm);
	}
	mutex_unlock(&vm->run_lock);
}

/* The last reference may go in here: uvm_vm_free() waits for this to end. */
static void uvm_bind_work(struct work_struct *work)
{
	uvm_bind_run(container_of(work, struct uvm_vm, run));
}

/**
 * uvm_bind_kick() - have what was queued performed by a worker
 * @vm: the address space
 */
void uvm_bind_kick(struct uvm_vm *vm)
{
	queue_work(vm->uvm->vms.wq, &vm->run);
}

/**
 * uvm_bind_drain() - perform what is queued, and wait for it
 * @vm: the address space
 *
 * What others queue meanwhile is not waited for. Context: not under @vm's lock;
 * the caller may have buffers locked, as no in-fence waits for those.
 *
 * Return: 0 or -EIO when the address space is lost.
 */
int uvm_bind_drain(struct uvm_vm *vm)
{
	u64 seqno = READ_ONCE(vm->queued);

	uvm_bind_run(vm);
	wait_event(vm->wait, smp_load_acquire(&vm->ended) >= seqno);
	return READ_ONCE(vm->lost) ? -EIO : 0;
}

/**
 * uvm_bind_settle() - wait until what is queued now was performed
 * @vm: the address space
 *
 * Return: 0 or -ERESTARTSYS.
 */
int uvm_bind_settle(struct uvm_vm *vm)
{
	u64 seqno = READ_ONCE(vm->queued);

	return wait_event_interruptible(vm->wait,
					smp_load_acquire(&vm->ended) >= seqno);
}

/**
 * uvm_bind_wait() - perform a bind, and wait for it
 * @vm: the address space
 * @fence: the bind's
 *
 * Not even a signal ends the wait, but one that kills: the bind is made, and
 * must not be made again.
 *
 * Return: 0, -EINTR, or why it failed.
 */
int uvm_bind_wait(struct uvm_vm *vm, struct dma_fence *fence)
{
	int ret;

	uvm_bind_run(vm);
	if (wait_event_killable(vm->wait, smp_load_acquire(&vm->ended) >=
					  fence->seqno))
		return -EINTR;
	ret = dma_fence_get_status(fence);
	return ret < 0 ? ret : 0;
}

/**
 * uvm_bind_room() - wait for room in the queue
 * @vm: the address space
 *
 * Return: 0 or -ERESTARTSYS.
 */
int uvm_bind_room(struct uvm_vm *vm)
{
	return wait_event_interruptible(vm->wait, READ_ONCE(vm->queued) -
					smp_load_acquire(&vm->ended) <
					UVM_BIND_MAX_QUEUED);
}

/**
 * uvm_bind_queue_init() - an empty queue
 * @vm: the address space
 */
void uvm_bind_queue_init(struct uvm_vm *vm)
{
	mutex_init(&vm->run_lock);
	spin_lock_init(&vm->queue_lock);
	INIT_LIST_HEAD(&vm->queue);
	INIT_LIST_HEAD(&vm->jobs);
	INIT_LIST_HEAD(&vm->late);
	INIT_LIST_HEAD(&vm->stuck);
	init_waitqueue_head(&vm->wait);
	INIT_WORK(&vm->run, uvm_bind_work);
	vm->bind_context = dma_fence_context_alloc(1);
}

/**
 * uvm_bind_queue_fini() - end the queue
 * @vm: the address space: nothing is queued, and nothing runs in it
 */
void uvm_bind_queue_fini(struct uvm_vm *vm)
{
	struct uvm_device *uvm = vm->uvm;
	struct uvm_policy_invalidate nothing;
	struct uvm_bind *bind, *next;
	unsigned int flags;

	cancel_work_sync(&vm->run);
	dma_fence_put(vm->shows);
	if (list_empty(&vm->stuck))
		return;
	flags = uvm_policy_begin(uvm);
	WARN_ON_ONCE(uvm_policy_vm_flush(uvm->policy, vm->id, &nothing));
	uvm_policy_end(uvm, flags);
	list_for_each_entry_safe(bind, next, &vm->stuck, node) {
		flags = uvm_policy_begin(uvm);
		WARN_ON_ONCE(uvm_policy_update_retire(uvm->policy, bind->token));
		uvm_policy_end(uvm, flags);
		uvm_bind_free_list(&bind->gone);
		uvm_bind_free_parts(bind);
		dma_fence_put(&bind->base);
	}
}
