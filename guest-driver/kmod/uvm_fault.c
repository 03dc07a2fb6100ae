// SPDX-License-Identifier: GPL-2.0
/*
 * Page faults that wait for their pages, and who brings them: the process
 * itself, which is told with DRM_UVM_FAULT_NEXT and answers with a bind; or the
 * driver, if buffers of the process are out of the page tables.
 *
 * Unanswered faults stand in a table by their CAM entry, so they are never
 * more than the CAM has. An answer takes a fault out of the table and lets
 * the device make the access again; if it fails again, that is a new fault.
 * So an answer too many does no harm, and one too few is a queue that stands:
 * whatever brings a page, or ends who waits for it, answers.
 */

#include <linux/bitmap.h>
#include <linux/jiffies.h>
#include <linux/sched/signal.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/* PASIDs have 16 bits. */
#define UVM_NO_PASID	U32_MAX

/* CAM entries, a bit each. */
struct uvm_cams {
	DECLARE_BITMAP(bits, UVM_CAM_ENTRIES);
};

static void uvm_fault_answer(struct uvm_device *uvm,
			     const struct uvm_cams *cams)
{
	u32 cam;

	for_each_set_bit(cam, cams->bits, UVM_CAM_ENTRIES)
		uvm_retry_answer(uvm, cam);
}

/* Takes faults of a process out of the table. Returns whether there are any. */
static bool uvm_fault_take(struct uvm_device *uvm, u32 pasid, u64 first,
			   u64 last, struct uvm_cams *cams)
{
	struct uvm_retry *retry = &uvm->retry;
	struct uvm_open_fault *open;
	bool any = false;
	u32 i;

	bitmap_zero(cams->bits, UVM_CAM_ENTRIES);
	spin_lock(&retry->lock);
	for (i = 0; i < retry->top; i++) {
		open = &retry->open[i];
		if (!open->order || open->fault.pasid != pasid ||
		    open->fault.va < first || open->fault.va > last)
			continue;
		open->order = 0;
		__set_bit(i, cams->bits);
		any = true;
	}
	while (retry->top && !retry->open[retry->top - 1].order)
		retry->top--;
	spin_unlock(&retry->lock);
	return any;
}

/*
 * Puts a fault into the table, unless its process is gone, or waits for nothing
 * any more: then false, and it is answered. @absent: pages of the process are.
 */
static bool uvm_fault_open(struct uvm_device *uvm,
			   const struct uvm_retry_fault *fault, u64 *vm_id,
			   bool *absent, bool *mirrors)
{
	struct uvm_retry *retry = &uvm->retry;
	struct uvm_open_fault *open;
	struct uvm_vm *vm;
	bool told = false, waits = false;
	struct uvm_cams cams;
	u32 i;

	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, fault->pasid);
	if (vm) {
		*vm_id = vm->id;
		*mirrors = smp_load_acquire(&vm->svm);
		spin_lock(&retry->lock);
		/* One page in two VMIDs, or told of again: one fault to all. */
		for (i = 0; i < retry->top; i++) {
			open = &retry->open[i];
			if (open->order && open->fault.pasid == fault->pasid &&
			    open->fault.va == fault->va)
				told |= open->told;
		}
		retry->top = max(retry->top, fault->cam + 1);
		retry->open[fault->cam] = (struct uvm_open_fault) {
			.fault = *fault,
			.order = ++retry->order,
			.told = told,
		};
		spin_unlock(&retry->lock);
		/*
		 * Who ends the wait of queues looks into the table after that.
		 * A job waits as it was begun, whatever holds now.
		 */
		waits = !READ_ONCE(vm->nr_queues) || uvm_mode_waits(vm);
		*absent = READ_ONCE(vm->nr_absent);
	}
	xa_unlock(&uvm->vms.by_pasid);
	/* What is in the table may be taken and answered by somebody else. */
	if (!vm)
		uvm_retry_answer(uvm, fault->cam);
	else if (!waits && uvm_fault_take(uvm, fault->pasid, fault->va,
					  fault->va, &cams))
		uvm_fault_answer(uvm, &cams);
	return waits;
}

/* The process was told, or need not be: the page comes. */
static void uvm_fault_hush(struct uvm_device *uvm,
			   const struct uvm_retry_fault *fault, bool mirrored)
{
	struct uvm_retry *retry = &uvm->retry;
	struct uvm_open_fault *open = &retry->open[fault->cam];

	spin_lock(&retry->lock);
	if (open->order && open->fault.pasid == fault->pasid &&
	    open->fault.va == fault->va) {
		open->told = true;
		open->mirrored = mirrored;
		open->svm = mirrored;
	}
	spin_unlock(&retry->lock);
}

enum uvm_fault_page {
	UVM_FAULT_MISSING,
	/* A queued bind maps it, and answers then. */
	UVM_FAULT_COMES,
	/* It came while the fault was on its way. */
	UVM_FAULT_THERE,
};

static enum uvm_fault_page uvm_fault_look(struct uvm_device *uvm,
					  const struct uvm_retry_fault *fault,
					  u64 vm_id)
{
	u64 need = fault->write ? UVM_PTE_WRITEABLE : UVM_PTE_READABLE;
	struct uvm_policy_mapping planned = {};
	bool comes, there;
	unsigned int flags;
	u64 entry = 0;

	flags = uvm_policy_begin(uvm);
	there = !uvm_policy_vm_reached(uvm->policy, vm_id, fault->va, &entry);
	comes = !uvm_policy_vm_find(uvm->policy, vm_id, fault->va, &planned);
	uvm_policy_end(uvm, flags);
	/* Partially resident pages take every access. */
	if (there && (!(entry & UVM_PTE_VALID) || entry & need))
		return UVM_FAULT_THERE;
	if (comes && (!(planned.entry & UVM_PTE_VALID) ||
		      planned.entry & need))
		return UVM_FAULT_COMES;
	return UVM_FAULT_MISSING;
}

/**
 * uvm_fault_intake() - faults came in
 * @uvm: the device
 * @faults: the faults
 * @n: how many
 *
 * A fault is in the table before its page is looked for, and a bind looks
 * into the table after its change has landed: one of them sees the other.
 *
 * Context: the interrupt worker alone.
 */
void uvm_fault_intake(struct uvm_device *uvm,
		      const struct uvm_retry_fault *faults, u32 n)
{
	const struct uvm_retry_fault *fault;
	bool wake = false, absent, mirrors;
	u32 kick = UVM_NO_PASID;
	struct uvm_cams cams;
	u64 vm_id;
	u32 i;

	for (i = 0; i < n; i++) {
		fault = &faults[i];
		if (fault->cam >= UVM_CAM_ENTRIES) {
			dev_warn_ratelimited(uvm->drm.dev,
					     "fault with CAM entry %u\n",
					     fault->cam);
			continue;
		}
		if (!uvm_fault_open(uvm, fault, &vm_id, &absent, &mirrors))
			continue;
		switch (uvm_fault_look(uvm, fault, vm_id)) {
		case UVM_FAULT_MISSING:
			if (absent)
				uvm_restore_kick(uvm, fault->pasid);
			if (mirrors) {
				uvm_fault_hush(uvm, fault, true);
				/* One process's come one after the other. */
				if (kick != UVM_NO_PASID &&
				    kick != fault->pasid)
					uvm_svm_kick(uvm, kick);
				kick = fault->pasid;
			} else if (absent) {
				/* If not one of those, the process is told then. */
				uvm_fault_hush(uvm, fault, false);
			} else {
				wake = true;
			}
			break;
		case UVM_FAULT_COMES:
			uvm_fault_hush(uvm, fault, false);
			break;
		case UVM_FAULT_THERE:
			if (uvm_fault_take(uvm, fault->pasid, fault->va,
					   fault->va, &cams))
				uvm_fault_answer(uvm, &cams);
			break;
		}
	}
	if (kick != UVM_NO_PASID)
		uvm_svm_kick(uvm, kick);
	if (wake)
		wake_up_all(&uvm->retry.wait);
}

/**
 * uvm_fault_may_park() - whether a kernel ring may be waiting for a page
 * @uvm: the device
 *
 * Then the driver's own packets, behind those that wait, would wait as well,
 * and who brings the page must do without.
 *
 * Return: whether.
 */
bool uvm_fault_may_park(struct uvm_device *uvm)
{
	return atomic_read(&uvm->retry.patient);
}

/**
 * uvm_fault_mapped() - a range was mapped: let those who wait for it try again
 * @vm: the address space
 * @va: first address
 * @size: bytes
 *
 * Context: within drm_dev_enter(); the tables are written and the device has
 * nothing cached of what was there before.
 */
void uvm_fault_mapped(struct uvm_vm *vm, u64 va, u64 size)
{
	struct uvm_cams cams;

	if (uvm_fault_take(vm->uvm, vm->pasid, va, va + size - 1, &cams))
		uvm_fault_answer(vm->uvm, &cams);
}

static u32 uvm_fault_list(struct uvm_device *uvm, u32 pasid,
			  struct uvm_retry_fault *faults, u32 room, bool take)
{
	struct uvm_retry *retry = &uvm->retry;
	struct uvm_open_fault *open;
	u32 i, n = 0;

	spin_lock(&retry->lock);
	for (i = 0; i < retry->top && n < room; i++) {
		open = &retry->open[i];
		if (!open->order || !open->mirrored ||
		    open->fault.pasid != pasid)
			continue;
		faults[n++] = open->fault;
		open->mirrored = !take;
	}
	spin_unlock(&retry->lock);
	return n;
}

/**
 * uvm_fault_collect() - the next faults of a process in its own memory
 * @uvm: the device
 * @pasid: whose
 * @faults: out: the faults
 * @room: how many at most
 *
 * Each is given once. They stay in the table until they are answered, or told
 * to the process.
 *
 * Return: how many.
 */
u32 uvm_fault_collect(struct uvm_device *uvm, u32 pasid,
		      struct uvm_retry_fault *faults, u32 room)
{
	return uvm_fault_list(uvm, pasid, faults, room, true);
}

/**
 * uvm_fault_peek() - the faults that uvm_fault_collect() would give next
 * @uvm: the device
 * @pasid: whose
 * @faults: out: the faults, at most UVM_CAM_ENTRIES
 *
 * Return: how many.
 */
u32 uvm_fault_peek(struct uvm_device *uvm, u32 pasid,
		   struct uvm_retry_fault *faults)
{
	return uvm_fault_list(uvm, pasid, faults, UVM_CAM_ENTRIES, false);
}

/**
 * uvm_fault_waits() - whether uvm_fault_collect() would give any
 * @uvm: the device
 * @pasid: whose
 *
 * Return: whether.
 */
bool uvm_fault_waits(struct uvm_device *uvm, u32 pasid)
{
	struct uvm_retry_fault fault;

	return uvm_fault_list(uvm, pasid, &fault, 1, false);
}

/**
 * uvm_fault_tell() - a page is not one that the driver can bring by itself
 * @uvm: the device
 * @pasid: whose
 * @va: page
 *
 * Its process may bind something there.
 */
void uvm_fault_tell(struct uvm_device *uvm, u32 pasid, u64 va)
{
	struct uvm_retry *retry = &uvm->retry;
	struct uvm_open_fault *open;
	u32 i;

	spin_lock(&retry->lock);
	for (i = 0; i < retry->top; i++) {
		open = &retry->open[i];
		if (open->order && open->fault.pasid == pasid &&
		    open->fault.va == va) {
			open->told = false;
			open->mirrored = false;
			open->svm = false;
		}
	}
	spin_unlock(&retry->lock);
	wake_up_all(&retry->wait);
}

/**
 * uvm_fault_drop() - answer all faults of a process without a page
 * @uvm: the device
 * @pasid: whose
 *
 * For one of whom something that waited is gone; what still waits raises its
 * fault again. No entry of the CAM is left that nobody would ever answer, and
 * that would swallow the faults of the VMID's next owner.
 */
void uvm_fault_drop(struct uvm_device *uvm, u32 pasid)
{
	struct uvm_cams cams;
	int idx;

	if (!uvm_fault_take(uvm, pasid, 0, U64_MAX, &cams) ||
	    !drm_dev_enter(&uvm->drm, &idx))
		return;
	uvm_fault_answer(uvm, &cams);
	drm_dev_exit(idx);
}

/**
 * uvm_fault_tell_rest() - tell a process of faults that nothing was found for
 * @vm: the address space; what was absent of it is back, or does not come
 */
void uvm_fault_tell_rest(struct uvm_vm *vm)
{
	struct uvm_device *uvm = vm->uvm;
	struct uvm_retry *retry = &uvm->retry;
	struct uvm_retry_fault fault;
	struct uvm_open_fault *open;
	bool found;
	u32 i;

	for (i = 0; i < UVM_CAM_ENTRIES; i++) {
		open = &retry->open[i];
		spin_lock(&retry->lock);
		fault = open->fault;
		found = open->order && fault.pasid == vm->pasid &&
			!open->svm;
		spin_unlock(&retry->lock);
		if (!found ||
		    uvm_fault_look(uvm, &fault, vm->id) != UVM_FAULT_MISSING)
			continue;
		spin_lock(&retry->lock);
		if (open->order && open->fault.pasid == vm->pasid &&
		    open->fault.va == fault.va)
			open->told = false;
		spin_unlock(&retry->lock);
	}
	wake_up_all(&retry->wait);
}

/**
 * uvm_fault_give_up() - a job ends because its page did not come
 * @uvm: the device
 * @pasid: whose job
 *
 * Its fault becomes one that DRM_UVM_FAULT_QUERY tells.
 */
void uvm_fault_give_up(struct uvm_device *uvm, u32 pasid)
{
	struct uvm_retry *retry = &uvm->retry;
	struct uvm_retry_fault fault = {};
	struct uvm_open_fault *open;
	u64 newest = 0;
	u32 i;

	spin_lock(&retry->lock);
	for (i = 0; i < retry->top; i++) {
		open = &retry->open[i];
		if (open->order <= newest || open->fault.pasid != pasid)
			continue;
		newest = open->order;
		fault = open->fault;
	}
	spin_unlock(&retry->lock);
	if (newest)
		uvm_vm_report(uvm, pasid, fault.va, fault.write, 0);
	uvm_fault_drop(uvm, pasid);
}

/* The oldest fault that the process was not told of. */
static bool uvm_fault_pick(struct uvm_vm *vm, struct drm_uvm_fault_next *args)
{
	struct uvm_retry *retry = &vm->uvm->retry;
	struct uvm_open_fault *open, *oldest = NULL;
	u32 i;

	spin_lock(&retry->lock);
	for (i = 0; i < retry->top; i++) {
		open = &retry->open[i];
		if (open->order && !open->told &&
		    open->fault.pasid == vm->pasid &&
		    (!oldest || open->order < oldest->order))
			oldest = open;
	}
	if (oldest) {
		args->va = oldest->fault.va;
		args->write = oldest->fault.write;
		args->vmid = oldest->fault.vmid;
		for (i = 0; i < retry->top; i++) {
			open = &retry->open[i];
			if (open->order && open->fault.pasid == vm->pasid &&
			    open->fault.va == args->va) {
				open->told = true;
				args->write |= open->fault.write;
			}
		}
	}
	spin_unlock(&retry->lock);
	return oldest;
}

/**
 * uvm_ioctl_fault_next() - DRM_UVM_FAULT_NEXT
 * @drm: the device
 * @data: struct drm_uvm_fault_next
 * @file: the caller
 *
 * Return: 0, -ETIME when none came in time, -EINVAL when faults do not wait in
 * the caller's address space, -ENODEV, -ERESTARTSYS.
 */
int uvm_ioctl_fault_next(struct drm_device *drm, void *data,
			 struct drm_file *file)
{
	struct uvm_retry *retry = &to_uvm(drm)->retry;
	struct uvm_file *ufile = file->driver_priv;
	struct drm_uvm_fault_next *args = data;
	long timeout = MAX_SCHEDULE_TIMEOUT, left;
	bool found = false;
	struct uvm_vm *vm;

	mutex_lock(&ufile->submit_lock);
	vm = ufile->vm;
	mutex_unlock(&ufile->submit_lock);
	if (!vm || !READ_ONCE(vm->retry))
		return -EINVAL;
	if (args->timeout_ns >= 0)
		timeout = min_t(u64, nsecs_to_jiffies64(args->timeout_ns) +
				!!args->timeout_ns, MAX_SCHEDULE_TIMEOUT - 1);
	/* Not within drm_dev_enter(): the device may go meanwhile. */
	left = wait_event_interruptible_timeout(retry->wait,
			(found = uvm_fault_pick(vm, args)) ||
			READ_ONCE(retry->gone), timeout);
	if (found)
		return 0;
	if (left < 0)
		return left;
	return READ_ONCE(retry->gone) ? -ENODEV : -ETIME;
}
