// SPDX-License-Identifier: GPL-2.0
/*
 * Changes of page tables. The policy plans each as a list of writes, which this
 * file gathers when the change is asked for, and performs when its turn has
 * come: by the CPU, through the BAR where tables lie in VRAM, or by an SDMA
 * engine.
 */

#include <linux/gfp.h>
#include <linux/module.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

static bool uvm_vm_sdma_updates;
module_param_named(vm_sdma_updates, uvm_vm_sdma_updates, bool, 0444);
MODULE_PARM_DESC(vm_sdma_updates, "Page tables in VRAM written by SDMA, not by the CPU (default N)");

/* The engine that writes tables. */
#define UVM_UPDATE_RING		0
/* Room for writes that a change begins with; most need no more. */
#define UVM_UPDATE_WRITES	4u

/* All pages of a mapping, in as few runs as they come in. */
static int uvm_update_tell(struct uvm_vm *vm, u64 token,
			   const struct uvm_mapping *mapping)
{
	u64 pages = (mapping->node.last - mapping->node.start + 1) >> PAGE_SHIFT;
	u64 first = mapping->bo_offset >> PAGE_SHIFT, addr, i;
	struct uvm_policy_pages *runs = vm->runs;
	struct uvm_device *uvm = vm->uvm;
	struct uvm_bo *bo = mapping->bo;
	unsigned int flags;
	u32 n = 0;
	int ret = 0;

	if (bo->domain == UVM_DOMAIN_VRAM) {
		runs[n++] = (struct uvm_policy_pages) {
			.addr = bo->offset + mapping->bo_offset,
			.pages = pages,
			.domain = UVM_POLICY_DOMAIN_VRAM,
		};
		pages = 0;
	}
	for (i = 0; i < pages && !ret; i++) {
		addr = page_to_phys(bo->pages[first + i]);
		if (n && addr == runs[n - 1].addr +
				 (runs[n - 1].pages << PAGE_SHIFT)) {
			runs[n - 1].pages++;
			continue;
		}
		if (n == UVM_VM_RUNS) {
			flags = uvm_policy_begin(uvm);
			ret = uvm_policy_update_pages(uvm->policy, token, runs,
						      n);
			uvm_policy_end(uvm, flags);
			n = 0;
		}
		runs[n++] = (struct uvm_policy_pages) {
			.addr = addr,
			.pages = 1,
			.domain = UVM_POLICY_DOMAIN_SYSTEM,
		};
	}
	if (ret)
		return ret;
	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_update_pages(uvm->policy, token, runs, n);
	uvm_policy_end(uvm, flags);
	return ret;
}

/* Where tables lie in system memory, gives pages for those that are new. */
static int uvm_update_prepare(struct uvm_device *uvm, u64 token)
{
	unsigned int flags;
	void *page;
	u64 need;
	int ret;

	for (;;) {
		need = 0;
		flags = uvm_policy_begin(uvm);
		ret = uvm_policy_update_prepare(uvm->policy, token, &need);
		uvm_policy_end(uvm, flags);
		if (ret != -EAGAIN)
			return ret;
		for (; need; need--) {
			page = (void *)__get_free_page(GFP_KERNEL);
			if (!page)
				return -ENOMEM;
			flags = uvm_policy_begin(uvm);
			ret = uvm_policy_table_page_add(uvm->policy,
							virt_to_phys(page));
			uvm_policy_end(uvm, flags);
			if (ret) {
				free_page((unsigned long)page);
				return ret;
			}
		}
	}
}

/* All writes of a planned change. */
static int uvm_update_gather(struct uvm_device *uvm, struct uvm_bind *bind)
{
	struct uvm_policy_write *writes;
	u32 n, room = UVM_UPDATE_WRITES;
	unsigned int flags;
	int ret;

	for (;; room *= 2) {
		writes = kvrealloc(bind->writes,
				   array_size(room, sizeof(*writes)),
				   GFP_KERNEL_ACCOUNT);
		if (!writes)
			return -ENOMEM;
		bind->writes = writes;
		n = 0;
		flags = uvm_policy_begin(uvm);
		ret = uvm_policy_update_next(uvm->policy, bind->token,
					     writes + bind->nr_writes,
					     room - bind->nr_writes, &n);
		uvm_policy_end(uvm, flags);
		bind->nr_writes += n;
		if (ret || bind->nr_writes < room)
			return ret;
	}
}

/**
 * uvm_update_plan() - plan a change of an address space
 * @vm: the address space, locked
 * @bind: what will perform it
 * @update: the change
 * @mapping: what is to be mapped, its buffer locked and with its pages; or NULL
 *
 * On success whatever is planned next is planned on top, so @bind has to be
 * queued before @vm is unlocked. On failure nothing has changed.
 *
 * Return: 0, -ENOSPC without VRAM for tables, -ENOMEM, -EIO when the address
 * space is lost.
 */
int uvm_update_plan(struct uvm_vm *vm, struct uvm_bind *bind,
		    const struct uvm_policy_update *update,
		    const struct uvm_mapping *mapping)
{
	struct uvm_device *uvm = vm->uvm;
	unsigned int flags;
	int ret;

	lockdep_assert_held(&vm->lock);
	if (READ_ONCE(vm->lost))
		return -EIO;
	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_update_begin(uvm->policy, update, &bind->token);
	uvm_policy_end(uvm, flags);
	if (ret)
		return ret;
	bind->va = update->va;
	bind->size = update->size;
	bind->change = update->change;
	if (mapping)
		ret = uvm_update_tell(vm, bind->token, mapping);
	if (!ret)
		ret = uvm_update_prepare(uvm, bind->token);
	if (!ret)
		ret = uvm_update_gather(uvm, bind);
	flags = uvm_policy_begin(uvm);
	if (!ret)
		ret = uvm_policy_update_commit(uvm->policy, bind->token);
	if (ret)
		WARN_ON_ONCE(uvm_policy_update_abandon(uvm->policy, bind->token));
	uvm_policy_end(uvm, flags);
	return ret;
}

static void uvm_update_write(struct uvm_device *uvm,
			     const struct uvm_policy_write *write)
{
	u64 i, at = write->table + write->first * sizeof(u64);
	u64 value = write->value;

	for (i = 0; i < write->count; i++, value += write->increment, at += 8) {
		if (write->domain == UVM_POLICY_DOMAIN_VRAM)
			writeq(value, uvm->vram.cpu + at);
		else
			WRITE_ONCE(*(__le64 *)phys_to_virt(at),
				   cpu_to_le64(value));
	}
	/*
	 * Out of the write-combining buffers: a table is filled before anything
	 * points at it.
	 */
	wmb();
}

/* All of them, in as few jobs as the indirect buffer has room for. */
static int uvm_update_by_sdma(struct uvm_device *uvm, struct list_head *binds)
{
	struct uvm_ring *ring = &uvm->rings[UVM_UPDATE_RING];
	u32 room = ring->move_ib.size / sizeof(__le32) - 16;
	const struct uvm_policy_write *write;
	__le32 *ib = ring->move_ib.cpu;
	struct uvm_bind *bind;
	u32 i, n = 0;
	int ret = 0;

	mutex_lock(&ring->move_lock);
	list_for_each_entry(bind, binds, node) {
		for (i = 0; i < bind->nr_writes && !ret; i++) {
			write = &bind->writes[i];
			if (n + SDMA_PKT_PTEPDE_GEN_DWORDS > room) {
				ret = uvm_sdma_run_ib(ring, n);
				n = 0;
			}
			n += uvm_emit_entries(ib + n,
					      uvm_gpu_addr(UVM_DOMAIN_VRAM,
							   write->table) +
					      write->first * sizeof(u64),
					      write->value, write->increment,
					      write->count);
		}
		if (ret)
			break;
	}
	if (!ret && n)
		ret = uvm_sdma_run_ib(ring, n);
	mutex_unlock(&ring->move_lock);
	return ret;
}

/**
 * uvm_update_perform() - write what binds have planned
 * @vm: the address space
 * @binds: the binds, in the order of their plans
 *
 * What the engine did not do, because its ring hangs or there is no memory for
 * a job, the CPU does: this cannot fail. Context: within drm_dev_enter().
 */
void uvm_update_perform(struct uvm_vm *vm, struct list_head *binds)
{
	struct uvm_device *uvm = vm->uvm;
	struct uvm_bind *bind;
	u32 i;

	/* The engine may be the one that waits for what is to be mapped. */
	if (uvm_vm_sdma_updates && !vm->root && !uvm_fault_may_park(uvm) &&
	    !uvm_update_by_sdma(uvm, binds))
		return;
	list_for_each_entry(bind, binds, node)
		for (i = 0; i < bind->nr_writes; i++)
			uvm_update_write(uvm, &bind->writes[i]);
}

/**
 * uvm_update_finish() - make sure that nothing reaches what was taken out
 * @vm: the address space
 * @binds: what has been performed
 *
 * One invalidation serves all. Context: within drm_dev_enter().
 *
 * Return: 0 or -ETIMEDOUT; then nobody can tell what the device still reaches.
 */
int uvm_update_finish(struct uvm_vm *vm, struct list_head *binds)
{
	struct uvm_device *uvm = vm->uvm;
	struct uvm_policy_invalidate what = {};
	struct uvm_bind *bind;
	unsigned int flags;
	int ret = 0;

	flags = uvm_policy_begin(uvm);
	list_for_each_entry(bind, binds, node)
		WARN_ON_ONCE(uvm_policy_update_landed(uvm->policy, bind->token));
	WARN_ON_ONCE(uvm_policy_vm_flush(uvm->policy, vm->id, &what));
	uvm_policy_end(uvm, flags);
	if (what.vmids) {
		atomic64_inc(&uvm->vms.invalidations);
		ret = uvm_gmc_invalidate(uvm, what.vmids, what.first,
					 what.count);
	}
	if (ret)
		return ret;
	flags = uvm_policy_begin(uvm);
	if (what.vmids)
		WARN_ON_ONCE(uvm_policy_vm_flushed(uvm->policy, vm->id));
	list_for_each_entry(bind, binds, node)
		WARN_ON_ONCE(uvm_policy_update_retire(uvm->policy, bind->token));
	uvm_policy_end(uvm, flags);
	return 0;
}
