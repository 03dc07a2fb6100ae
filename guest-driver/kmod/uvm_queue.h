/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User queues, and page faults that wait for their pages. Part of uvm_drv.h,
 * which has the lock order.
 */
#ifndef UVM_QUEUE_H
#define UVM_QUEUE_H

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

/* An instance's rings: GFX, PAGE, and these for processes. */
#define UVM_RLC_FIRST		2
#define UVM_RLC_RINGS		2
#define UVM_SDMA_QUEUES		4
/* The access engine's queues, all for processes; its number follows SDMA's. */
#define UVM_ACCESS_ENGINE	2
#define UVM_ACCESS_QUEUES	4
#define UVM_NR_QUEUES		(UVM_SDMA_QUEUES + UVM_ACCESS_QUEUES)

/* Faults that the device tells of before it waits for answers. */
#define UVM_CAM_ENTRIES		512
/* Faults that are handed on, and served, at a time: others come meanwhile. */
#define UVM_FAULT_BATCH		256

struct drm_device;
struct drm_file;
struct drm_uvm_queue_info;
struct uvm_device;
struct uvm_vm;

/**
 * struct uvm_queue - a ring that a process writes: of an SDMA instance, or of
 *	the access engine, whose registers lie alike
 * @vm: whose, with a reference; NULL: it is free. Under uvm_queues.lock
 * @ready: it was set up. Under the address space's config_lock
 * @engine: number of the SDMA instance, or UVM_ACCESS_ENGINE
 * @ring: number of the ring in it
 * @doorbell: slot
 * @vmid: where its packets run
 * @job: what holds the VMID, as the policy calls it
 * @base: address of the ring
 * @size: bytes of it
 * @rptr_va: where the read pointer is written; 0: nowhere
 * @wptr: write pointer that was last rung, bytes
 */
struct uvm_queue {
	struct uvm_vm *vm;
	bool ready;
	u32 engine;
	u32 ring;
	u32 doorbell;
	u32 vmid;
	u64 job;
	u64 base;
	u64 size;
	u64 rptr_va;
	u64 wptr;
};

/**
 * struct uvm_queues - the device's user queues
 * @lock: who has which; a leaf
 * @queue: the queues
 * @traps: interrupts of their TRAP packets
 * @stops: times that one stopped
 */
struct uvm_queues {
	struct mutex lock;
	struct uvm_queue queue[UVM_NR_QUEUES];
	atomic64_t traps;
	atomic64_t stops;
};

/**
 * struct uvm_access - the access engine, and the access counters
 * @started: it executes what its queues are given
 * @notified: counters that reached their threshold
 */
struct uvm_access {
	bool started;
	atomic64_t notified;
};

/**
 * struct uvm_retry_fault - a page fault whose access waits
 * @va: page
 * @pasid: whose
 * @vmid: where
 * @cam: entry of the retry CAM, which wants an answer
 * @write: the access was a write
 * @atomic: and a read, both in one
 */
struct uvm_retry_fault {
	u64 va;
	u32 pasid;
	u32 vmid;
	u32 cam;
	bool write;
	bool atomic;
};

/**
 * struct uvm_open_fault - a fault that was not answered yet
 * @fault: the fault
 * @order: the lower came first; 0: there is none
 * @told: the process was told, or need not be
 * @mirrored: the page is the process's own memory, and nobody looks after it yet
 * @svm: it is the process's own memory, whoever looks after it, until the process
 *	is told
 */
struct uvm_open_fault {
	struct uvm_retry_fault fault;
	u64 order;
	bool told;
	bool mirrored;
	bool svm;
};

/**
 * struct uvm_retry - page faults that wait
 * @ring: interrupt ring 1
 * @bytes: of it
 * @rptr: where it was read up to, bytes
 * @enabled: it is set up
 * @batch: taken from the ring and not handed on yet; the worker's alone
 * @nr_batch: how many
 * @lock: @open, @top and @order
 * @open: unanswered faults by CAM entry
 * @top: behind the last of them
 * @order: of the last
 * @wait: processes that wait for faults of theirs
 * @patient: address spaces whose faults wait
 * @gone: no fault comes any more
 * @faults: faults taken in
 * @answers: answers given
 * @overflows: times that vectors were lost; their faults are raised again
 */
struct uvm_retry {
	__le32 *ring;
	u32 bytes;
	u32 rptr;
	bool enabled;
	struct uvm_retry_fault batch[UVM_FAULT_BATCH];
	u32 nr_batch;
	spinlock_t lock;
	struct uvm_open_fault open[UVM_CAM_ENTRIES];
	u32 top;
	u64 order;
	wait_queue_head_t wait;
	atomic_t patient;
	bool gone;
	atomic64_t faults;
	atomic64_t answers;
	atomic64_t overflows;
};

/* uvm_queue.c */
void uvm_queues_init(struct uvm_device *uvm);
void uvm_queues_close(struct uvm_device *uvm, struct uvm_vm *vm);
u32 uvm_queues_free(struct uvm_device *uvm, bool access);
void uvm_queue_interrupt(struct uvm_device *uvm, u8 source);
int uvm_ioctl_queue_create(struct drm_device *drm, void *data,
			   struct drm_file *file);
int uvm_ioctl_queue_destroy(struct drm_device *drm, void *data,
			    struct drm_file *file);
int uvm_ioctl_queue_kick(struct drm_device *drm, void *data,
			 struct drm_file *file);
int uvm_ioctl_queue_info(struct drm_device *drm, void *data,
			 struct drm_file *file);

/* uvm_queue_hw.c */
void uvm_queue_start(struct uvm_device *uvm, struct uvm_queue *queue);
void uvm_queue_stop(struct uvm_device *uvm, struct uvm_queue *queue);
bool uvm_queue_ring(struct uvm_device *uvm, struct uvm_queue *queue);
void uvm_queue_look(struct uvm_device *uvm, struct uvm_queue *queue,
		    struct drm_uvm_queue_info *info);

/* uvm_access.c */
void uvm_access_start(struct uvm_device *uvm);
void uvm_access_stop(struct uvm_device *uvm);
void uvm_access_counted(struct uvm_device *uvm);

/* uvm_mode.c */
bool uvm_mode_waits(const struct uvm_vm *vm);
void uvm_mode_set_fit(struct uvm_vm *vm);
bool uvm_mode_set_unfit(struct uvm_vm *vm, u32 fits, int error);
int uvm_mode_reserve(struct uvm_vm *vm);
void uvm_mode_unreserve(struct uvm_vm *vm);
void uvm_mode_add_queue(struct uvm_vm *vm, u32 vmid);
bool uvm_mode_remove_queue(struct uvm_vm *vm);
void uvm_mode_set_retry(struct uvm_vm *vm, bool retry);
void uvm_mode_give_up(struct uvm_vm *vm);
void uvm_mode_hold(struct uvm_vm *vm);
void uvm_mode_unhold(struct uvm_vm *vm);
int uvm_ioctl_vm_config(struct drm_device *drm, void *data,
			struct drm_file *file);

/* uvm_retry.c */
int uvm_retry_init(struct uvm_device *uvm);
void uvm_retry_stop(struct uvm_device *uvm);
void uvm_retry_fini(struct uvm_device *uvm);
bool uvm_retry_read(struct uvm_device *uvm);
void uvm_retry_read_all(struct uvm_device *uvm);
void uvm_retry_note(struct uvm_device *uvm,
		    const struct uvm_retry_fault *fault);
void uvm_retry_flush(struct uvm_device *uvm);
void uvm_retry_answer(struct uvm_device *uvm, u32 cam);

/* uvm_fault.c */
void uvm_fault_intake(struct uvm_device *uvm,
		      const struct uvm_retry_fault *faults, u32 n);
bool uvm_fault_may_park(struct uvm_device *uvm);
void uvm_fault_mapped(struct uvm_vm *vm, u64 va, u64 size);
u32 uvm_fault_collect(struct uvm_device *uvm, u32 pasid,
		      struct uvm_retry_fault *faults, u32 room);
u32 uvm_fault_peek(struct uvm_device *uvm, u32 pasid,
		   struct uvm_retry_fault *faults);
bool uvm_fault_waits(struct uvm_device *uvm, u32 pasid);
void uvm_fault_tell(struct uvm_device *uvm, u32 pasid, u64 va);
void uvm_fault_drop(struct uvm_device *uvm, u32 pasid);
void uvm_fault_tell_rest(struct uvm_vm *vm);
void uvm_fault_give_up(struct uvm_device *uvm, u32 pasid);
int uvm_ioctl_fault_next(struct drm_device *drm, void *data,
			 struct drm_file *file);

#endif /* UVM_QUEUE_H */
