// SPDX-License-Identifier: GPL-2.0
/*
 * Address spaces: their life, and their page tables. The policy plans each
 * change of the tables; this file performs it. Tables lie in VRAM, written by
 * the CPU through the BAR or by an SDMA engine, or in system memory, written
 * by the CPU.
 *
 * A page fault of a process has no page that stands in: the engine stops on
 * it, so that no process ever reads what another one wrote astray, and the
 * submission that is to blame is the one the ring stands on.
 */

#include <linux/gfp.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

static bool uvm_vm_system_tables;
module_param_named(vm_system_tables, uvm_vm_system_tables, bool, 0444);
MODULE_PARM_DESC(vm_system_tables, "Page tables of processes in system memory, not in VRAM (default N)");

static bool uvm_vm_sdma_updates;
module_param_named(vm_sdma_updates, uvm_vm_sdma_updates, bool, 0444);
MODULE_PARM_DESC(vm_sdma_updates, "Page tables in VRAM written by SDMA, not by the CPU (default N)");

/* The engine that writes tables. */
#define UVM_VM_RING		0
/* Largest block that entries are marked or made for: 2 MiB. */
#define UVM_VM_FRAGMENT		9
#define UVM_VM_LEAF_LEVEL	1u
/* Bits of an address where one level has to do: the root takes 2 MiB. */
#define UVM_VM_FLAT_BITS	30

static u32 uvm_vm_bits(struct uvm_device *uvm)
{
	if (uvm->levels <= 1)
		return UVM_VM_FLAT_BITS;
	return min(PAGE_SHIFT + 9 * uvm->levels, 57u);
}

/**
 * uvm_vm_size() - how large an address space is
 * @uvm: the device
 *
 * Of spaces whose addresses have a sign, the lower half.
 *
 * Return: bytes.
 */
u64 uvm_vm_size(struct uvm_device *uvm)
{
	u32 bits = uvm_vm_bits(uvm);

	return BIT_ULL(bits < 48 ? bits : bits - 1);
}

/**
 * uvm_vms_init() - prepare for address spaces
 * @uvm: the device, with VMID 0
 *
 * Return: 0 or -ENOMEM.
 */
int uvm_vms_init(struct uvm_device *uvm)
{
	u64 last = (BIT_ULL(uvm_vm_bits(uvm)) >> PAGE_SHIFT) - 1;
	u32 vmid;

	uvm->vms.wq = alloc_workqueue("uvm-vm", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!uvm->vms.wq)
		return -ENOMEM;
	for (vmid = 1; vmid < UVM_NR_VMIDS; vmid++)
		uvm_gmc_limits(uvm, vmid, 0, last);
	return 0;
}

/**
 * uvm_vms_fini() - wait until all address spaces are gone
 * @uvm: the device; no file is open, no job is left
 */
void uvm_vms_fini(struct uvm_device *uvm)
{
	u32 vms = 0, jobs = 0;
	u64 page;

	if (uvm->vms.wq)
		destroy_workqueue(uvm->vms.wq);
	uvm->vms.wq = NULL;
	if (uvm->policy)
		uvm_policy_vms_in_use(uvm->policy, &vms, &jobs);
	if (vms || jobs)
		drm_warn(&uvm->drm,
			 "%u address spaces and %u jobs left behind\n", vms,
			 jobs);
	WARN_ON(uvm->vms.poke);
	while (uvm->policy && !uvm_policy_table_page_take(uvm->policy, &page))
		free_page((unsigned long)phys_to_virt(page));
}

static void uvm_vm_free(struct work_struct *work)
{
	struct uvm_vm *vm = container_of(work, struct uvm_vm, free);
	struct uvm_device *uvm = vm->uvm;
	unsigned int flags;
	LIST_HEAD(gone);
	int ret;

	xa_erase(&uvm->vms.by_pasid, vm->pasid);
	uvm_mode_set_retry(vm, false);
	/* Those of jobs that were killed. */
	uvm_fault_drop(uvm, vm->pasid);
	/* No job of it is left; and for moves it ends at one blow. */
	mutex_lock(&uvm->vms.lock);
	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_vm_destroy(uvm->policy, vm->id);
	uvm_policy_end(uvm, flags);
	if (ret)
		drm_err(&uvm->drm, "PASID %u does not end: %d\n", vm->pasid,
			ret);
	uvm_bind_take_all(vm, &gone);
	mutex_unlock(&uvm->vms.lock);
	uvm_bind_free_list(&gone);
	if (vm->root)
		free_pages_exact(vm->root, vm->root_size);
	mutex_destroy(&vm->mode_lock);
	mutex_destroy(&vm->config_lock);
	kfree(vm);
}

static void uvm_vm_release(struct kref *ref)
{
	struct uvm_vm *vm = container_of(ref, struct uvm_vm, ref);

	queue_work(vm->uvm->vms.wq, &vm->free);
}

/**
 * uvm_vm_put() - drop a reference
 * @vm: the address space, or NULL
 */
void uvm_vm_put(struct uvm_vm *vm)
{
	if (vm)
		kref_put(&vm->ref, uvm_vm_release);
}

/* Entries of the root are what the levels below leave of an address. */
static u64 uvm_vm_root_size(struct uvm_device *uvm)
{
	u32 below = PAGE_SHIFT + 9 * (uvm->levels - 1);
	u64 size = (BIT_ULL(uvm_vm_bits(uvm)) >> below) * sizeof(u64);

	return max_t(u64, size, PAGE_SIZE);
}

/**
 * uvm_vm_create() - make an address space
 * @uvm: the device
 *
 * Context: within drm_dev_enter().
 * Return: the address space, with one reference, or an ERR_PTR.
 */
struct uvm_vm *uvm_vm_create(struct uvm_device *uvm)
{
	struct uvm_policy_vm_config config = {
		.levels = uvm->levels,
		.va_bits = uvm_vm_bits(uvm),
		.tables = UVM_POLICY_DOMAIN_VRAM,
		.fragment = UVM_VM_FRAGMENT,
		.leaf_level = min(uvm->levels - 1, UVM_VM_LEAF_LEVEL),
	};
	struct uvm_policy_vm_info info = {};
	struct uvm_vm *vm;
	unsigned int flags;
	int ret;

	vm = kzalloc(sizeof(*vm), GFP_KERNEL);
	if (!vm)
		return ERR_PTR(-ENOMEM);
	kref_init(&vm->ref);
	mutex_init(&vm->config_lock);
	mutex_init(&vm->mode_lock);
	spin_lock_init(&vm->fault_lock);
	INIT_WORK(&vm->free, uvm_vm_free);
	vm->uvm = uvm;
	get_task_comm(vm->comm, current);
	vm->pid = task_tgid_nr(current);
	vm->mappings = RB_ROOT_CACHED;
	vm->size = uvm_vm_size(uvm);
	if (uvm_vm_system_tables) {
		vm->root_size = uvm_vm_root_size(uvm);
		vm->root = alloc_pages_exact(vm->root_size,
					     GFP_KERNEL | __GFP_ZERO);
		ret = -ENOMEM;
		if (!vm->root)
			goto free;
		config.tables = UVM_POLICY_DOMAIN_SYSTEM;
		config.root = virt_to_phys(vm->root);
	}

	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_vm_create(uvm->policy, &config, &vm->id);
	if (!ret)
		ret = uvm_policy_vm_info(uvm->policy, vm->id, &info);
	uvm_policy_end(uvm, flags);
	if (ret)
		goto free;
	vm->pasid = info.pasid;
	if (WARN_ON(vm->root && info.root_size != vm->root_size)) {
		ret = -EINVAL;
		goto destroy;
	}
	if (!vm->root)
		memset_io(uvm->vram.cpu + info.root_addr, 0, info.root_size);
	wmb();
	ret = xa_insert(&uvm->vms.by_pasid, vm->pasid, vm, GFP_KERNEL);
	if (ret)
		goto destroy;
	return vm;

destroy:
	flags = uvm_policy_begin(uvm);
	uvm_policy_vm_destroy(uvm->policy, vm->id);
	uvm_policy_end(uvm, flags);
free:
	if (vm->root)
		free_pages_exact(vm->root, vm->root_size);
	kfree(vm);
	return ERR_PTR(ret);
}

static void uvm_vm_write(struct uvm_device *uvm,
			 const struct uvm_policy_step *step)
{
	u64 i, at = step->table + step->first * sizeof(u64);
	u64 value = step->value;

	for (i = 0; i < step->count; i++, value += step->increment, at += 8) {
		if (step->domain == UVM_POLICY_DOMAIN_VRAM)
			writeq(value, uvm->vram.cpu + at);
		else
			WRITE_ONCE(*(__le64 *)phys_to_virt(at),
				   cpu_to_le64(value));
	}
}

/* As many writes as come before anything else, as one job. */
static int uvm_vm_write_sdma(struct uvm_device *uvm,
			     const struct uvm_policy_step *steps, u32 n,
			     u32 *done)
{
	struct uvm_ring *ring = &uvm->rings[UVM_VM_RING];
	__le32 *ib = ring->move_ib.cpu;
	u32 i, dwords = 0;
	int ret;

	BUILD_BUG_ON(UVM_VM_STEPS * SDMA_PKT_PTEPDE_GEN_DWORDS >
		     SZ_4K / sizeof(*ib));
	mutex_lock(&ring->move_lock);
	for (i = 0; i < n && steps[i].op == UVM_POLICY_STEP_WRITE; i++)
		dwords += uvm_emit_entries(ib + dwords,
					   uvm_gpu_addr(UVM_DOMAIN_VRAM,
							steps[i].table) +
					   steps[i].first * sizeof(u64),
					   steps[i].value, steps[i].increment,
					   steps[i].count);
	ret = uvm_sdma_run_ib(ring, dwords);
	mutex_unlock(&ring->move_lock);
	*done = i;
	return ret;
}

/* Performs one step, or several; @done says how many. */
static int uvm_vm_step(struct uvm_device *uvm,
		       const struct uvm_policy_step *steps, u32 n, bool by_cpu,
		       u32 *done)
{
	*done = 1;
	switch (steps->op) {
	case UVM_POLICY_STEP_WRITE:
		if (!by_cpu && uvm_vm_sdma_updates &&
		    steps->domain == UVM_POLICY_DOMAIN_VRAM)
			return uvm_vm_write_sdma(uvm, steps, n, done);
		uvm_vm_write(uvm, steps);
		return 0;
	case UVM_POLICY_STEP_SYNC:
		/* Out of the write-combining buffers; jobs have ended. */
		wmb();
		return 0;
	case UVM_POLICY_STEP_INVALIDATE:
		return uvm_gmc_invalidate(uvm, steps->vmids, steps->first,
					  steps->count);
	default:
		return -EINVAL;
	}
}

static int uvm_vm_perform(struct uvm_device *uvm, u64 token, bool by_cpu)
{
	struct uvm_policy_step *steps = uvm->vms.steps;
	unsigned int flags;
	u32 i, n, done;
	int ret;

	do {
		n = 0;
		flags = uvm_policy_begin(uvm);
		ret = uvm_policy_update_next(uvm->policy, token, steps,
					     UVM_VM_STEPS, &n);
		uvm_policy_end(uvm, flags);
		for (i = 0; i < n && !ret; i += done)
			ret = uvm_vm_step(uvm, &steps[i], n - i, by_cpu, &done);
	} while (n && !ret);
	return ret;
}

static int uvm_vm_complete(struct uvm_device *uvm, u64 token, int error)
{
	unsigned int flags = uvm_policy_begin(uvm);
	int ret;

	ret = uvm_policy_update_complete(uvm->policy, token, error);
	uvm_policy_end(uvm, flags);
	return ret;
}

/* All pages of a mapping, in as few runs as they come in. */
static int uvm_vm_tell(struct uvm_device *uvm, u64 token,
		       const struct uvm_mapping *mapping)
{
	u64 pages = (mapping->node.last - mapping->node.start + 1) >> PAGE_SHIFT;
	u64 first = mapping->bo_offset >> PAGE_SHIFT, addr, i;
	struct uvm_policy_pages *runs = uvm->vms.runs;
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

/* Plans the change; where tables lie in system memory, gives pages for them. */
static int uvm_vm_prepare(struct uvm_device *uvm, u64 token)
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

/*
 * Begins, performs and ends one change. On failure the tables are as before,
 * unless the device does not answer: then nobody can tell, and the address
 * space is lost.
 */
static int uvm_vm_update(struct uvm_vm *vm,
			 const struct uvm_policy_update *update,
			 const struct uvm_mapping *mapping)
{
	struct uvm_device *uvm = vm->uvm;
	unsigned int flags;
	int ret, err;
	u64 token;

	lockdep_assert_held(&uvm->vms.lock);
	if (vm->lost)
		return -EIO;
	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_update_begin(uvm->policy, update, &token);
	uvm_policy_end(uvm, flags);
	if (ret)
		return ret;
	if (mapping)
		ret = uvm_vm_tell(uvm, token, mapping);
	if (!ret)
		ret = uvm_vm_prepare(uvm, token);
	/* The engine may be the one that waits for this very page. */
	if (!ret)
		ret = uvm_vm_perform(uvm, token, uvm_fault_may_park(uvm));
	err = uvm_vm_complete(uvm, token, ret);
	if (err == -EAGAIN) {
		err = uvm_vm_perform(uvm, token, true);
		if (!err)
			err = uvm_vm_complete(uvm, token, 0);
	}
	if (err) {
		drm_err(&uvm->drm, "PASID %u: page tables lost: %d after %d\n",
			vm->pasid, err, ret);
		vm->lost = true;
	}
	if (!ret && !err && update->change != UVM_POLICY_CHANGE_UNMAP)
		uvm_fault_mapped(vm, update->va, update->size);
	return ret ?: err;
}

/**
 * uvm_vm_map() - write the entries of a mapping
 * @mapping: the mapping; its buffer is locked and has its pages
 *
 * What the tables had there makes way.
 *
 * Return: 0, -ENOSPC without VRAM for tables, -ENOMEM, -EIO.
 */
int uvm_vm_map(struct uvm_mapping *mapping)
{
	struct uvm_bo *bo = mapping->bo;
	struct uvm_policy_update update = {
		.vm = mapping->vm->id,
		.va = mapping->node.start,
		.size = mapping->node.last - mapping->node.start + 1,
		.attributes = mapping->attributes,
		.bo = bo->policy_id,
		.bo_offset = mapping->bo_offset,
		.change = UVM_POLICY_CHANGE_MAP,
		.flags = UVM_POLICY_UPDATE_REPLACE,
	};

	dma_resv_assert_held(bo->base.resv);
	/* The CPU's caches are part of system memory. */
	if (bo->domain != UVM_DOMAIN_VRAM)
		update.attributes |= UVM_PTE_SNOOPED;
	return uvm_vm_update(mapping->vm, &update, mapping);
}

static int uvm_vm_change(struct uvm_vm *vm, u32 change, u64 va, u64 size)
{
	const struct uvm_policy_update update = {
		.vm = vm->id,
		.va = va,
		.size = size,
		.change = change,
		.flags = UVM_POLICY_UPDATE_REPLACE,
	};

	return uvm_vm_update(vm, &update, NULL);
}

/**
 * uvm_vm_unmap() - clear entries
 * @vm: the address space
 * @va: first address
 * @size: bytes
 *
 * When this returns 0, the device reaches nothing there any more.
 *
 * Return: 0, -ENOSPC, -ENOMEM, -EIO.
 */
int uvm_vm_unmap(struct uvm_vm *vm, u64 va, u64 size)
{
	return uvm_vm_change(vm, UVM_POLICY_CHANGE_UNMAP, va, size);
}

/**
 * uvm_vm_prt() - make a range partially resident
 * @vm: the address space
 * @va: first address
 * @size: bytes
 *
 * Return: as uvm_vm_unmap().
 */
int uvm_vm_prt(struct uvm_vm *vm, u64 va, u64 size)
{
	return uvm_vm_change(vm, UVM_POLICY_CHANGE_PRT, va, size);
}

/**
 * uvm_vm_report() - keep a page fault for the process to ask for
 * @uvm: the device
 * @pasid: whose
 * @va: page
 * @write: the access was a write
 * @status: of the hub if it is this fault's, else 0
 */
void uvm_vm_report(struct uvm_device *uvm, u32 pasid, u64 va, u32 write,
		   u32 status)
{
	struct uvm_vm *vm;

	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, pasid);
	if (vm) {
		spin_lock(&vm->fault_lock);
		vm->fault.va = va;
		vm->fault.write = write;
		vm->fault.status = status;
		vm->fault.count++;
		spin_unlock(&vm->fault_lock);
	}
	xa_unlock(&uvm->vms.by_pasid);
}

/**
 * uvm_vm_hung() - keep a hang for the process to ask for
 * @uvm: the device
 * @fence: of the job that hung; of any address space
 * @ring: where
 * @state: where the ring stood
 * @error: what the job fails with
 *
 * Context: on the way to signalling a fence.
 */
void uvm_vm_hung(struct uvm_device *uvm, const struct uvm_fence *fence,
		 u32 ring, const struct uvm_ring_state *state, int error)
{
	struct uvm_vm *vm;

	if (!fence->pasid)
		return;
	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, fence->pasid);
	if (vm) {
		spin_lock(&vm->fault_lock);
		vm->hang.va = state->ib_left ? state->ib + state->ib_rptr :
					       fence->ib;
		vm->hang.ring = ring;
		vm->hang.error = error;
		vm->hang.count++;
		spin_unlock(&vm->fault_lock);
	}
	xa_unlock(&uvm->vms.by_pasid);
}
