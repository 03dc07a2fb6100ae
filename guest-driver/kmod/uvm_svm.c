// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrors of processes' memory: their life, and that of their blocks.
 *
 * A mirror is a part of its address space and ends with it, when nothing runs
 * there any more. The process's memory may end before: then the notifiers have
 * cleared all entries, and faults find nobody to ask.
 *
 * A block is made for the first fault in its 2 MiB. Its leaf table comes with a
 * bind like any other, and none of these waits in a mirroring address space:
 * what it would wait for may itself wait for a page.
 */

#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/* Addresses of processes have so many bits. */
#define UVM_SVM_VA_BITS		47

/**
 * uvm_svm_dev_init() - before there is a mirror
 * @uvm: the device
 *
 * Return: 0 or -ENOMEM.
 */
int uvm_svm_dev_init(struct uvm_device *uvm)
{
	uvm->svm.wq = alloc_workqueue("uvm-svm", WQ_UNBOUND | WQ_HIGHPRI, 0);
	return uvm->svm.wq ? uvm_svm_policy_init(uvm) : -ENOMEM;
}

/**
 * uvm_svm_dev_fini() - no file is open any more
 * @uvm: the device
 */
void uvm_svm_dev_fini(struct uvm_device *uvm)
{
	if (uvm->svm.wq)
		destroy_workqueue(uvm->svm.wq);
	uvm->svm.wq = NULL;
}

/* The time has come for what is throttled. */
static void uvm_svm_later(struct work_struct *work)
{
	struct uvm_svm *svm = container_of(to_delayed_work(work),
					   struct uvm_svm, later);

	uvm_svm_kick(svm->vm->uvm, svm->vm->pasid);
}

/**
 * uvm_svm_param() - a counter
 * @uvm: the device
 * @param: UVM_PARAM_SVM_*
 *
 * Return: its value.
 */
u64 uvm_svm_param(struct uvm_device *uvm, u32 param)
{
	struct uvm_svm_dev *svm = &uvm->svm;

	switch (param) {
	case UVM_PARAM_SVM_FAULTS:
		return atomic64_read(&svm->faults);
	case UVM_PARAM_SVM_STALE:
		return atomic64_read(&svm->stale);
	case UVM_PARAM_SVM_REFUSED:
		return atomic64_read(&svm->refused);
	case UVM_PARAM_SVM_BATCHES:
		return atomic64_read(&svm->batches);
	case UVM_PARAM_SVM_MAPPED:
		return atomic64_read(&svm->mapped);
	case UVM_PARAM_SVM_ZAPPED:
		return atomic64_read(&svm->zapped);
	case UVM_PARAM_SVM_INVALIDATIONS:
		return atomic64_read(&svm->invalidations);
	case UVM_PARAM_SVM_FLUSHES:
		return atomic64_read(&svm->flushes);
	case UVM_PARAM_SVM_BLOCKS:
		return atomic64_read(&svm->blocks);
	default:
		return 0;
	}
}

static void uvm_svm_block_free(struct kref *ref)
{
	struct uvm_svm_block *block = container_of(ref, struct uvm_svm_block,
						   ref);

	mutex_destroy(&block->lock);
	kvfree(block->copies);
	kfree(block);
}

/**
 * uvm_svm_block_put() - drop a reference
 * @block: the block
 */
void uvm_svm_block_put(struct uvm_svm_block *block)
{
	kref_put(&block->ref, uvm_svm_block_free);
}

/**
 * uvm_svm_block_find() - the block of an address, if there is one
 * @svm: the mirror
 * @va: any address
 *
 * Return: the block, with a reference, or NULL.
 */
struct uvm_svm_block *uvm_svm_block_find(struct uvm_svm *svm, u64 va)
{
	struct uvm_svm_block *block;

	xa_lock(&svm->blocks);
	block = xa_load(&svm->blocks, va / UVM_SVM_BLOCK_BYTES);
	if (block)
		kref_get(&block->ref);
	xa_unlock(&svm->blocks);
	return block;
}

/* Has the leaf table of a block handed over, or gives it back. */
static int uvm_svm_change(struct uvm_svm *svm, struct uvm_svm_block *block,
			  u32 change)
{
	const struct uvm_policy_update update = {
		.vm = svm->vm->id,
		.va = block->va,
		.size = UVM_SVM_BLOCK_BYTES,
		.change = change,
	};
	struct uvm_device *uvm = svm->vm->uvm;
	struct uvm_bind *bind = uvm_bind_alloc();
	struct uvm_policy_write leaf = {};
	struct uvm_vm *vm = svm->vm;
	unsigned int flags;
	int ret;

	if (!bind)
		return -ENOMEM;
	mutex_lock(&vm->lock);
	/* Also what a move hides for a while. */
	ret = change == UVM_POLICY_CHANGE_HAND_OVER &&
	      uvm_bind_is_taken(vm, block->va, block->va +
				UVM_SVM_BLOCK_BYTES - 1) ? -EEXIST : 0;
	if (!ret)
		ret = uvm_update_plan(vm, bind, &update, NULL);
	if (ret) {
		mutex_unlock(&vm->lock);
		uvm_bind_discard(bind);
		return ret;
	}
	if (change == UVM_POLICY_CHANGE_HAND_OVER) {
		flags = uvm_policy_begin(uvm);
		WARN_ON(uvm_policy_vm_leaf(uvm->policy, vm->id, block->va,
					   &leaf));
		uvm_policy_end(uvm, flags);
		block->table = leaf.table;
		block->domain = leaf.domain;
	}
	dma_fence_put(uvm_bind_push(vm, bind));
	mutex_unlock(&vm->lock);
	return uvm_bind_drain(vm);
}

static struct uvm_svm_block *uvm_svm_block_new(struct uvm_svm *svm, u64 va)
{
	struct uvm_svm_block *block;

	block = kzalloc(sizeof(*block), GFP_KERNEL_ACCOUNT);
	if (!block)
		return NULL;
	kref_init(&block->ref);
	mutex_init(&block->lock);
	block->svm = svm;
	block->va = ALIGN_DOWN(va, UVM_SVM_BLOCK_BYTES);
	return block;
}

/* The caller has a reference to the users of the process's memory. */
static struct uvm_svm_block *uvm_svm_block_make(struct uvm_svm *svm, u64 va)
{
	struct uvm_svm_block *block;
	int ret;

	lockdep_assert_held(&svm->lock);
	block = uvm_svm_block_new(svm, va);
	if (!block)
		return ERR_PTR(-ENOMEM);
	ret = xa_reserve(&svm->blocks, va / UVM_SVM_BLOCK_BYTES, GFP_KERNEL);
	if (ret)
		goto put;
	ret = mmu_interval_notifier_insert(&block->notifier, svm->mm, block->va,
					   UVM_SVM_BLOCK_BYTES,
					   &uvm_svm_notifier_ops);
	if (ret)
		goto release;
	ret = uvm_svm_change(svm, block, UVM_POLICY_CHANGE_HAND_OVER);
	if (ret)
		goto remove;
	kref_get(&block->ref);
	xa_store(&svm->blocks, va / UVM_SVM_BLOCK_BYTES, block, GFP_KERNEL);
	atomic64_inc(&svm->vm->uvm->svm.blocks);
	return block;

remove:
	mmu_interval_notifier_remove(&block->notifier);
release:
	xa_release(&svm->blocks, va / UVM_SVM_BLOCK_BYTES);
put:
	uvm_svm_block_put(block);
	return ERR_PTR(ret);
}

/**
 * uvm_svm_block_get() - the block of an address, made if there is none
 * @svm: the mirror
 * @va: any address
 *
 * Context: the caller has a reference to the users of the process's memory, and
 * not its mmap_lock.
 *
 * Return: the block, with a reference; or an ERR_PTR: -EEXIST when something is
 * bound there, -ENOSPC without VRAM for tables, -ENOMEM, -EINVAL, -EIO, -ENODEV.
 */
struct uvm_svm_block *uvm_svm_block_get(struct uvm_svm *svm, u64 va)
{
	struct uvm_svm_block *block = uvm_svm_block_find(svm, va);

	if (block)
		return block;
	if (va >> UVM_SVM_VA_BITS)
		return ERR_PTR(-EINVAL);
	mutex_lock(&svm->lock);
	block = uvm_svm_block_find(svm, va) ?: uvm_svm_block_make(svm, va);
	mutex_unlock(&svm->lock);
	return block;
}

/**
 * uvm_svm_window() - a block for the kernel's own pages, beside the mirror
 * @svm: the mirror
 * @va: first address; no process maps anything there
 *
 * For uvm_svm_set_window(). It is no part of the mirror: faults there fail, and
 * its leaf table goes with the address space.
 * Context: within drm_dev_enter().
 *
 * Return: the block, with a reference; or an ERR_PTR as uvm_svm_block_get().
 */
struct uvm_svm_block *uvm_svm_window(struct uvm_svm *svm, u64 va)
{
	struct uvm_svm_block *block;
	int ret;

	if (!(va >> UVM_SVM_VA_BITS))
		return ERR_PTR(-EINVAL);
	block = uvm_svm_block_new(svm, va);
	if (!block)
		return ERR_PTR(-ENOMEM);
	ret = uvm_svm_change(svm, block, UVM_POLICY_CHANGE_HAND_OVER);
	if (ret) {
		uvm_svm_block_put(block);
		return ERR_PTR(ret);
	}
	return block;
}

/* Whatever was denied and not told by now never will be. */
static void uvm_svm_calm(struct work_struct *work)
{
	struct uvm_svm *svm = container_of(to_delayed_work(work),
					   struct uvm_svm, calm);
	struct uvm_device *uvm = svm->vm->uvm;
	struct uvm_svm_block *block;
	unsigned long index;
	int idx;

	if (READ_ONCE(svm->shrunk))
		uvm_svm_kick(uvm, svm->vm->pasid);
	if (!drm_dev_enter(&uvm->drm, &idx))
		return;
	mutex_lock(&svm->lock);
	xa_for_each(&svm->blocks, index, block)
		if (!bitmap_empty(block->denied, UVM_SVM_BLOCK_PAGES))
			uvm_svm_allow(block, block->va,
				      block->va + UVM_SVM_BLOCK_BYTES);
	mutex_unlock(&svm->lock);
	drm_dev_exit(idx);
}

/* Whether the process has any memory there. The caller holds its users. */
static bool uvm_svm_is_used(struct uvm_svm_block *block)
{
	struct mm_struct *mm = block->svm->mm;
	bool used;

	mmap_read_lock(mm);
	used = find_vma_intersection(mm, block->va,
				     block->va + UVM_SVM_BLOCK_BYTES);
	mmap_read_unlock(mm);
	return used;
}

/* Gives a block back in which nothing is mapped. */
static void uvm_svm_drop(struct uvm_svm *svm, struct uvm_svm_block *block)
{
	struct uvm_device *uvm = svm->vm->uvm;
	int idx;

	lockdep_assert_held(&svm->lock);
	if (!drm_dev_enter(&uvm->drm, &idx))
		return;
	mutex_lock(&block->lock);
	block->gone = true;
	/* New memory may have come, and gone again by way of this. */
	uvm_svm_clear(block, block->va, block->va + UVM_SVM_BLOCK_BYTES);
	bitmap_zero(block->denied, UVM_SVM_BLOCK_PAGES);
	mutex_unlock(&block->lock);
	drm_dev_exit(idx);

	xa_erase(&svm->blocks, block->va / UVM_SVM_BLOCK_BYTES);
	mmu_interval_notifier_remove(&block->notifier);
	atomic64_dec(&uvm->svm.blocks);
	uvm_svm_change(svm, block, UVM_POLICY_CHANGE_TAKE_BACK);
	uvm_svm_tell_gone(svm, block->va);
	uvm_svm_block_put(block);
}

/**
 * uvm_svm_shrink() - give blocks back whose memory the process has unmapped
 * @svm: the mirror
 *
 * Context: as uvm_svm_block_get().
 */
void uvm_svm_shrink(struct uvm_svm *svm)
{
	struct uvm_svm_block *block;
	unsigned long index;

	if (!xchg(&svm->shrunk, false))
		return;
	mutex_lock(&svm->lock);
	xa_for_each(&svm->blocks, index, block)
		if (READ_ONCE(block->shrunk) && !uvm_svm_is_used(block))
			uvm_svm_drop(svm, block);
	mutex_unlock(&svm->lock);
}

/**
 * uvm_svm_attach() - let an address space mirror a process's memory
 * @vm: the address space, its config_lock held
 * @mm: the process's memory; the caller has a reference to its users
 * @dm: whose device-private pages may be mapped as they are, or NULL: pages stay
 *	in system memory
 * @flags: UVM_SVM_*
 *
 * From here on accesses to pages that are not there wait for this driver.
 * Context: within drm_dev_enter().
 *
 * Return: 0, -EBUSY when it mirrors something already, -EOPNOTSUPP when its
 * addresses are too short, -ENOMEM, -ERESTARTSYS.
 */
int uvm_svm_attach(struct uvm_vm *vm, struct mm_struct *mm,
		   struct uvm_devmem *dm, u32 flags)
{
	struct uvm_svm *svm;
	bool done;
	int ret;

	lockdep_assert_held(&vm->config_lock);
	if (vm->svm)
		return -EBUSY;
	if (vm->uvm->levels < 2 || vm->size < BIT_ULL(UVM_SVM_VA_BITS))
		return -EOPNOTSUPP;
	svm = kvzalloc(sizeof(*svm), GFP_KERNEL_ACCOUNT);
	if (!svm)
		return -ENOMEM;
	mutex_init(&svm->lock);
	xa_init(&svm->blocks);
	INIT_WORK(&svm->work, uvm_svm_work);
	INIT_DELAYED_WORK(&svm->calm, uvm_svm_calm);
	INIT_DELAYED_WORK(&svm->later, uvm_svm_later);
	mmgrab(mm);
	svm->mm = mm;
	svm->vm = vm;
	svm->dm = dm;
	svm->flags = flags;
	spin_lock_init(&svm->counted_lock);
	INIT_LIST_HEAD(&svm->node);
	if (dm && !(flags & UVM_SVM_MANUAL)) {
		ret = uvm_svm_space_create(svm);
		if (ret)
			goto free;
	}

	/* No bind waits from here on: see uvm_bind_do(). */
	do {
		ret = uvm_bind_settle(vm);
		mutex_lock(&vm->lock);
		done = !ret && vm->queued == smp_load_acquire(&vm->ended);
		if (done)
			smp_store_release(&vm->svm, svm);
		mutex_unlock(&vm->lock);
	} while (!ret && !done);
	if (ret)
		goto end;
	uvm_svm_list(svm);
	if (svm->space)
		uvm_svm_count_begin(vm->uvm);
	uvm_mode_set_retry(vm, true);
	return 0;

end:
	uvm_svm_space_end(svm);
free:
	mmdrop(mm);
	kvfree(svm);
	return ret;
}

/**
 * uvm_svm_detach() - end the mirror of an address space that ends
 * @vm: the address space; nothing runs in it, and none of its faults is served
 *
 * The leaf tables are the policy's, and go with the rest.
 */
void uvm_svm_detach(struct uvm_vm *vm)
{
	struct uvm_svm *svm = vm->svm;
	struct uvm_svm_block *block;
	unsigned long index;

	if (!svm)
		return;
	uvm_svm_unlist(svm);
	if (svm->space)
		uvm_svm_count_end(vm->uvm);
	mutex_lock(&svm->lock);
	xa_for_each(&svm->blocks, index, block) {
		xa_erase(&svm->blocks, index);
		mmu_interval_notifier_remove(&block->notifier);
		uvm_svm_single(block, 0, UVM_SVM_BLOCK_PAGES);
		atomic64_dec(&vm->uvm->svm.blocks);
		uvm_svm_block_put(block);
	}
	mutex_unlock(&svm->lock);
	/* It is the notifiers that start it. */
	cancel_delayed_work_sync(&svm->calm);
	cancel_delayed_work_sync(&svm->later);
	uvm_svm_space_end(svm);
	xa_destroy(&svm->blocks);
	mutex_destroy(&svm->lock);
	mmdrop(svm->mm);
	kvfree(svm);
}

/**
 * uvm_svm_may_use() - whether the caller may run something in an address space
 * @vm: the address space
 *
 * Where it mirrors memory, that must be the caller's own: a child that has the
 * file would reach its parent's.
 *
 * Return: 0, -EPERM, or -EAGAIN while that memory is at rest.
 */
int uvm_svm_may_use(struct uvm_vm *vm)
{
	struct uvm_svm *svm = smp_load_acquire(&vm->svm);

	if (svm && svm->mm != current->mm)
		return -EPERM;
	return svm && uvm_is_suspended(vm->uvm) ? -EAGAIN : 0;
}

/**
 * uvm_ioctl_svm_config() - DRM_UVM_SVM_CONFIG
 * @drm: the device
 * @data: struct drm_uvm_svm_config
 * @file: the caller
 *
 * Return: 0, -EINVAL, -EBUSY when the address space mirrors memory already,
 * -EOPNOTSUPP when the device's addresses are too short, -ENOMEM, -ENODEV,
 * -ERESTARTSYS, -EAGAIN while mirrored memory is at rest.
 */
int uvm_ioctl_svm_config(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	const struct drm_uvm_svm_config *args = data;
	struct uvm_devmem *dm;
	struct uvm_vm *vm;
	int idx, ret;

	if (args->flags || args->pad)
		return -EINVAL;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	if (!uvm_suspend_enter(uvm)) {
		ret = -EAGAIN;
		goto exit;
	}
	vm = uvm_file_vm(uvm, file->driver_priv);
	ret = PTR_ERR_OR_ZERO(vm);
	if (!ret)
		ret = mutex_lock_interruptible(&vm->config_lock);
	if (!ret) {
		/* Without, memory stays where it is. */
		dm = uvm_devmem_svm(uvm);
		ret = uvm_svm_attach(vm, current->mm, IS_ERR(dm) ? NULL : dm,
				     0);
		mutex_unlock(&vm->config_lock);
	}
	uvm_suspend_exit(uvm);
exit:
	drm_dev_exit(idx);
	return ret;
}
