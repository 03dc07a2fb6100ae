/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address spaces of processes: what uvm_vm.c, uvm_update.c,
 * uvm_bind_queue.c, uvm_bind.c and uvm_vmid.c share with the rest of the
 * driver. Part of uvm_drv.h, which has the lock order.
 */
#ifndef UVM_VM_H
#define UVM_VM_H

#include <linux/dma-fence.h>
#include <linux/interval_tree.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "uvm_policy.h"

/* VMIDs for processes: 1 to 15. */
#define UVM_NR_VMIDS		16

/* Room for what passes from driver to policy at a time. */
#define UVM_VM_RUNS		64

struct drm_exec;
struct drm_gem_object;
struct uvm_bo;
struct uvm_device;
struct uvm_fence;
struct uvm_job;
struct uvm_mm_client;
struct uvm_mm_use;
struct uvm_ring_state;
struct uvm_svm;

/**
 * struct uvm_vms - the device's address spaces
 * @list_lock: the lists of mappings that buffers have
 * @by_pasid: address spaces by their PASID
 * @wq: performs binds, gives VMIDs back and ends address spaces
 * @binds: binds queued
 * @batches: times that some were performed
 * @invalidations: times that the hub was asked to forget for them
 * @poke: signals with the next call about VMIDs; NULL: nobody waits. Under
 *	the policy's lock
 * @poke_context: of those fences
 * @poke_seqno: of the last of them
 * @grants: VMIDs given to jobs. Under the policy's lock
 * @waits: how many of those jobs had to wait. Under the policy's lock
 * @longest_wait: the most grants that one of them saw pass. Under the
 *	policy's lock
 */
struct uvm_vms {
	spinlock_t list_lock;
	struct xarray by_pasid;
	struct workqueue_struct *wq;
	atomic64_t binds;
	atomic64_t batches;
	atomic64_t invalidations;
	struct dma_fence *poke;
	u64 poke_context;
	u64 poke_seqno;
	u64 grants;
	u64 waits;
	u64 longest_wait;
};

/**
 * struct uvm_vm_fault - the last page fault of an address space
 * @va: page
 * @count: faults since it was asked for
 * @status: of the hub, or 0
 * @write: the access was a write
 */
struct uvm_vm_fault {
	u64 va;
	u64 count;
	u32 status;
	u32 write;
};

/**
 * struct uvm_vm_hang - the last hang of an address space
 * @count: hangs since it was asked for
 * @va: packet that the engine stood on
 * @ring: which engine
 * @error: what the submission failed with, negative
 */
struct uvm_vm_hang {
	u64 count;
	u64 va;
	u32 ring;
	int error;
};

/**
 * struct uvm_vm - the address space of a process
 * @ref: the file's, one of each job's, one of each bind's
 * @uvm: the device
 * @id: the policy's name of it
 * @size: bytes
 * @pasid: what the device calls the process
 * @root: its root if the tables lie in system memory, else NULL
 * @root_size: bytes of @root
 * @lock: @mappings and what goes with them, @runs, and what is planned next
 * @mappings: struct uvm_mapping by address, as they are when all is performed
 * @nr_mappings: how many
 * @nr_absent: how many of them are not in the page tables
 * @shows: the last bind that put back what had moved; or NULL. Under @lock
 * @runs: pages of a change
 * @run_lock: one performs at a time; @stuck
 * @run: performs what can be performed
 * @queue_lock: @queue, @jobs, @late and the counts beside them
 * @queue: struct uvm_bind that are planned, oldest first
 * @jobs: struct uvm_job that run and hold what was bound before, oldest first
 * @nr_jobs: how many have ever begun
 * @nr_binds: times that something was bound that they may reach
 * @late: struct uvm_mm_use of what was bound while they ran, oldest first
 * @nr_late: how many
 * @stuck: those that could not be performed
 * @bind_context: of the binds' fences
 * @queued: sequence number of the last bind queued; under @lock
 * @ended: of the last that ended; under @run_lock
 * @wait: for @ended
 * @lost: its tables are in no known state: nothing is changed any more
 * @config_lock: @keeps_vmid and its queues
 * @keeps_vmid: it has a VMID of its own because it asked for one
 * @client: for whom its buffers are brought back, with a reference; NULL: it has none
 * @restore: brings them back, and lets them go
 * @restore_wanted: they are to come
 * @restored: holds those that came; @restore's alone
 * @closed: its process is gone. Under the lock of uvm_vms.by_pasid
 * @mode_lock: how accesses fail: what follows
 * @retry: they wait for their pages
 * @held: those of its queues do for the moment, as pages of it move
 * @unfit: no, as those do not come back
 * @fits: times that they did, or that a queue was reset
 * @nr_queues: user queues
 * @queue_vmid: where they run
 * @fault_lock: @fault and @hang
 * @fault: the last fault
 * @hang: the last hang
 * @comm: name of the process that made it
 * @pid: its id
 * @free: ends it
 * @svm: what it mirrors of a process's memory; NULL: nothing. Set once, under
 *	@config_lock and @lock
 */
struct uvm_vm {
	struct kref ref;
	struct uvm_device *uvm;
	u64 id;
	u64 size;
	u32 pasid;
	void *root;
	u64 root_size;
	struct mutex lock;
	struct rb_root_cached mappings;
	u32 nr_mappings;
	u32 nr_absent;
	struct dma_fence *shows;
	struct uvm_policy_pages runs[UVM_VM_RUNS];
	struct mutex run_lock;
	struct work_struct run;
	spinlock_t queue_lock;
	struct list_head queue;
	struct list_head jobs;
	u64 nr_jobs;
	u64 nr_binds;
	struct list_head late;
	u32 nr_late;
	struct list_head stuck;
	u64 bind_context;
	u64 queued;
	u64 ended;
	wait_queue_head_t wait;
	bool lost;
	struct mutex config_lock;
	bool keeps_vmid;
	struct uvm_mm_client *client;
	struct delayed_work restore;
	bool restore_wanted;
	struct uvm_mm_use *restored;
	bool closed;
	struct mutex mode_lock;
	bool retry;
	bool held;
	bool unfit;
	u32 fits;
	u32 nr_queues;
	u32 queue_vmid;
	spinlock_t fault_lock;
	struct uvm_vm_fault fault;
	struct uvm_vm_hang hang;
	char comm[TASK_COMM_LEN];
	pid_t pid;
	struct work_struct free;
	struct uvm_svm *svm;
};

/**
 * struct uvm_mapping - a range of addresses
 * @node: first and last address
 * @vm: whose
 * @bo: the buffer, with a reference; NULL: partially resident
 * @bo_node: place in the buffer's list
 * @gone_node: place in the list of the bind that takes it out
 * @seqno: of the last bind that is about it
 * @bo_offset: where in the buffer
 * @attributes: bits of the page table entries
 * @absent: the page tables do not have it: its buffer moves, or a move left
 *	no memory for tables. Under the address space's lock; not changed but by
 *	who has the buffer locked
 * @leaving: a bind that is queued takes it out. Under uvm_vms.list_lock
 */
struct uvm_mapping {
	struct interval_tree_node node;
	struct uvm_vm *vm;
	struct uvm_bo *bo;
	struct list_head bo_node;
	struct list_head gone_node;
	u64 seqno;
	u64 bo_offset;
	u64 attributes;
	bool absent;
	bool leaving;
};

/**
 * struct uvm_bind - a change of an address space on its way
 * @base: signals when it is made; first, so that freeing it frees all
 * @lock: of @base
 * @node: place in the queue
 * @vm: the address space, with a reference while it is queued
 * @wait: fences to wait for, with references
 * @nr_wait: how many
 * @nr_done: how many of them have signalled
 * @cb: on the next of them
 * @waits: @cb is there
 * @va: first address
 * @size: bytes
 * @change: UVM_POLICY_CHANGE_*
 * @nr_absent: mappings that are absent once it is made
 * @token: the policy's name of the change
 * @writes: what is to be written
 * @nr_writes: how many
 * @gone: mappings that it takes out
 */
struct uvm_bind {
	struct dma_fence base;
	spinlock_t lock;
	struct list_head node;
	struct uvm_vm *vm;
	struct dma_fence **wait;
	u32 nr_wait;
	u32 nr_done;
	struct dma_fence_cb cb;
	bool waits;
	u64 va;
	u64 size;
	u32 change;
	u32 nr_absent;
	u64 token;
	struct uvm_policy_write *writes;
	u32 nr_writes;
	struct list_head gone;
};

/* uvm_vm.c */
int uvm_vms_init(struct uvm_device *uvm);
void uvm_vms_fini(struct uvm_device *uvm);
u64 uvm_vm_size(struct uvm_device *uvm);
struct uvm_vm *uvm_vm_create(struct uvm_device *uvm,
			     struct uvm_mm_client *client);
void uvm_vm_put(struct uvm_vm *vm);
void uvm_vms_kick(struct uvm_device *uvm);
void uvm_vm_report(struct uvm_device *uvm, u32 pasid, u64 va, u32 write,
		   u32 status);
void uvm_vm_hung(struct uvm_device *uvm, const struct uvm_fence *fence,
		 u32 ring, const struct uvm_ring_state *state, int error);

/* uvm_update.c */
int uvm_update_plan(struct uvm_vm *vm, struct uvm_bind *bind,
		    const struct uvm_policy_update *update,
		    const struct uvm_mapping *mapping);
void uvm_update_perform(struct uvm_vm *vm, struct list_head *binds);
int uvm_update_finish(struct uvm_vm *vm, struct list_head *binds);

/* uvm_bind_queue.c */
void uvm_bind_queue_init(struct uvm_vm *vm);
void uvm_bind_queue_fini(struct uvm_vm *vm);
struct uvm_bind *uvm_bind_alloc(void);
void uvm_bind_discard(struct uvm_bind *bind);
struct dma_fence *uvm_bind_push(struct uvm_vm *vm, struct uvm_bind *bind);
void uvm_bind_kick(struct uvm_vm *vm);
int uvm_bind_wait(struct uvm_vm *vm, struct dma_fence *fence);
void uvm_bind_run(struct uvm_vm *vm);
int uvm_bind_drain(struct uvm_vm *vm);
int uvm_bind_settle(struct uvm_vm *vm);
int uvm_bind_room(struct uvm_vm *vm);

/* uvm_bind.c */
void uvm_bind_release_all(struct uvm_vm *vm);
void uvm_bind_free_list(struct list_head *gone);
bool uvm_bind_is_taken(struct uvm_vm *vm, u64 first, u64 last);
bool uvm_bo_is_bound(struct uvm_bo *bo);
int uvm_bo_hide(struct uvm_bo *bo);
struct uvm_vm *uvm_bo_pending(struct uvm_bo *bo, u64 *seqno, bool *lost);
void uvm_bo_show(struct uvm_bo *bo);
int uvm_bind_collect(struct uvm_vm *vm, struct drm_gem_object ***bos, u32 *nr);
int uvm_bind_restore(struct uvm_vm *vm, struct drm_exec *exec,
		     struct dma_fence **fence);

/* uvm_restore.c */
void uvm_restore_init(struct uvm_vm *vm);
void uvm_restore_kick(struct uvm_device *uvm, u32 pasid);
void uvm_restore_stop(struct uvm_vm *vm);

/* uvm_late.c */
u64 uvm_late_binds(struct uvm_vm *vm);
bool uvm_late_begin(struct uvm_job *job, u64 binds, bool force);
bool uvm_late_keep(struct uvm_vm *vm, struct uvm_mm_use *use);
void uvm_late_end(struct uvm_job *job);

/* uvm_vmid.c */
int uvm_vmid_reserve(struct uvm_vm *vm);
void uvm_vmid_unreserve(struct uvm_vm *vm);
int uvm_vmid_take(struct uvm_vm *vm, u32 ring,
		  struct uvm_policy_vmid_grant *grant);
void uvm_vmid_give_back(struct uvm_device *uvm, u64 job);
struct dma_fence *uvm_vmid_prepare(struct uvm_job *job);
int uvm_vmid_load(struct uvm_job *job);
void uvm_vmid_init_job(struct uvm_job *job);
void uvm_vmid_fini_job(struct uvm_job *job);

#endif /* UVM_VM_H */
