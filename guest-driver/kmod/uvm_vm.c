// SPDX-License-Identifier: GPL-2.0
/*
 * Address spaces: their life, and what is known of their faults. Page tables
 * lie in VRAM or in system memory.
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

	if (uvm->vms.wq) {
		/* Binds first, then who waits for them and has references. */
		flush_workqueue(uvm->vms.wq);
		uvm_mm_zaps_end(uvm);
		destroy_workqueue(uvm->vms.wq);
	}
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
	int ret;

	/* No job of it is left, and no bind: each has a reference. */
	xa_erase(&uvm->vms.by_pasid, vm->pasid);
	uvm_mode_set_retry(vm, false);
	/* Those of jobs that were killed. */
	uvm_fault_drop(uvm, vm->pasid);
	uvm_svm_detach(vm);
	uvm_bind_queue_fini(vm);
	uvm_bind_release_all(vm);
	flags = uvm_policy_begin(uvm);
	ret = uvm_policy_vm_destroy(uvm->policy, vm->id);
	uvm_policy_end(uvm, flags);
	if (ret)
		drm_err(&uvm->drm, "PASID %u does not end: %d\n", vm->pasid,
			ret);
	if (vm->root)
		free_pages_exact(vm->root, vm->root_size);
	uvm_mm_client_put(vm->client);
	mutex_destroy(&vm->mode_lock);
	mutex_destroy(&vm->config_lock);
	mutex_destroy(&vm->run_lock);
	mutex_destroy(&vm->lock);
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
 * @client: for whom its buffers are brought back; NULL: it maps none
 *
 * Context: within drm_dev_enter().
 * Return: the address space, with one reference, or an ERR_PTR.
 */
struct uvm_vm *uvm_vm_create(struct uvm_device *uvm,
			     struct uvm_mm_client *client)
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
	mutex_init(&vm->lock);
	uvm_bind_queue_init(vm);
	uvm_restore_init(vm);
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
	vm->client = client;
	ret = xa_insert(&uvm->vms.by_pasid, vm->pasid, vm, GFP_KERNEL);
	if (ret)
		goto destroy;
	if (client)
		kref_get(&client->ref);
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

/**
 * uvm_vms_kick() - end what is queued, because the device is gone
 * @uvm: the device, unplugged
 */
void uvm_vms_kick(struct uvm_device *uvm)
{
	struct uvm_vm *vm;
	unsigned long pasid;

	xa_lock(&uvm->vms.by_pasid);
	xa_for_each(&uvm->vms.by_pasid, pasid, vm)
		queue_work(uvm->vms.wq, &vm->run);
	xa_unlock(&uvm->vms.by_pasid);
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
