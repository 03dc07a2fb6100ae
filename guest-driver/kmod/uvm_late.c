// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers that are bound while jobs run: these are to find them where they are,
 * too, though what they hold was listed before. So each is held for the jobs
 * that have begun by then, and goes with the last of them.
 *
 * A job begins when it holds all that was bound then. One that still waits for
 * that is not counted: who comes before it may wait for what is held here. If
 * something was bound meanwhile, it looks anew.
 */

#include <linux/list.h>
#include <linux/spinlock.h>

#include "uvm_drv.h"

/* Buffers that are held so at a time; jobs may miss those beyond. */
#define UVM_LATE_MAX		4096u

/**
 * uvm_late_binds() - how often something was bound that jobs may reach
 * @vm: the address space
 *
 * Return: the count, for uvm_late_begin(); to be asked before what is bound is
 * listed.
 */
u64 uvm_late_binds(struct uvm_vm *vm)
{
	u64 binds;

	spin_lock(&vm->queue_lock);
	binds = vm->nr_binds;
	spin_unlock(&vm->queue_lock);
	return binds;
}

/**
 * uvm_late_begin() - a job holds what its address space maps
 * @job: the job
 * @binds: of uvm_late_binds()
 * @force: it begins whatever was bound meanwhile
 *
 * Return: whether it has begun; if not, its list is an old one.
 */
bool uvm_late_begin(struct uvm_job *job, u64 binds, bool force)
{
	struct uvm_vm *vm = job->vm;
	bool begins;

	spin_lock(&vm->queue_lock);
	begins = force || vm->nr_binds == binds;
	if (begins) {
		job->number = ++vm->nr_jobs;
		list_add_tail(&job->late, &vm->jobs);
	}
	spin_unlock(&vm->queue_lock);
	return begins;
}

/**
 * uvm_late_keep() - keep a buffer for jobs that began before it was bound
 * @vm: the address space
 * @use: holds the buffer, which is bound by now
 *
 * Return: whether there are any: then @use ends with them.
 */
bool uvm_late_keep(struct uvm_vm *vm, struct uvm_mm_use *use)
{
	bool keep;

	spin_lock(&vm->queue_lock);
	vm->nr_binds++;
	keep = !list_empty(&vm->jobs) && vm->nr_late < UVM_LATE_MAX;
	if (keep) {
		use->until = vm->nr_jobs;
		list_add_tail(&use->node, &vm->late);
		vm->nr_late++;
	}
	spin_unlock(&vm->queue_lock);
	return keep;
}

/**
 * uvm_late_end() - a job has ended
 * @job: the job, perhaps one that never began
 *
 * Context: may sleep; not on the way to signalling a fence.
 */
void uvm_late_end(struct uvm_job *job)
{
	struct uvm_mm_use *use, *next;
	struct uvm_vm *vm = job->vm;
	struct uvm_job *oldest;
	LIST_HEAD(late);

	if (list_empty(&job->late))
		return;
	spin_lock(&vm->queue_lock);
	list_del_init(&job->late);
	oldest = list_first_entry_or_null(&vm->jobs, struct uvm_job, late);
	/* Both are in the order of their numbers. */
	list_for_each_entry_safe(use, next, &vm->late, node) {
		if (oldest && use->until >= oldest->number)
			break;
		list_move_tail(&use->node, &late);
		vm->nr_late--;
	}
	spin_unlock(&vm->queue_lock);
	list_for_each_entry_safe(use, next, &late, node)
		uvm_mm_use_end(use);
}
