/* SPDX-License-Identifier: GPL-2.0 */
/*
 * GFX rings: what is emitted to them, its fences, jobs, and how a hang is told.
 * Part of uvm_drv.h, which has the lock order.
 */
#ifndef UVM_RING_H
#define UVM_RING_H

#include <linux/dma-fence.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/ratelimit.h>
#include <linux/seq_buf.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include <drm/drm_suballoc.h>
#include <drm/gpu_scheduler.h>

#include "uvm_kbuf.h"
#include "uvm_policy.h"

struct drm_gem_object;
struct uvm_busy;
struct uvm_device;
struct uvm_mm_use;
struct uvm_ring;
struct uvm_vm;

/**
 * struct uvm_fence - what a ring has still to reach
 * @base: the fence; first, so that freeing it frees all
 * @lock: of @base: a ring's could be gone before the fence is
 * @ring: the ring; valid until the fence has signalled
 * @node: place in the ring's list, oldest first
 * @vmid: where the packets run
 * @pasid: of the process whose packets they are; 0: the driver's VMID
 * @ib: address of the packets
 * @ib_dwords: how many
 * @seq: what the ring writes to memory when it gets there
 * @end: write pointer behind the packets, dwords
 * @since: when it was emitted
 * @busy: who is charged with the time; its job's, NULL: nobody
 */
struct uvm_fence {
	struct dma_fence base;
	spinlock_t lock;
	struct uvm_ring *ring;
	struct list_head node;
	u32 vmid;
	u32 pasid;
	u64 ib;
	u32 ib_dwords;
	u32 seq;
	u64 end;
	ktime_t since;
	struct uvm_busy *busy;
};

/**
 * struct uvm_ring_state - where a ring stands
 * @rb_cntl: RB_CNTL
 * @status: STATUS_REG of its instance
 * @context: CONTEXT_STATUS
 * @rptr: read pointer, bytes
 * @wptr: write pointer, bytes
 * @ib: the indirect buffer in execution
 * @ib_rptr: where in it, bytes
 * @ib_left: dwords from there; 0: none is in execution
 */
struct uvm_ring_state {
	u32 rb_cntl;
	u32 status;
	u32 context;
	u64 rptr;
	u64 wptr;
	u64 ib;
	u32 ib_rptr;
	u32 ib_left;
};

/**
 * struct uvm_dump - how a ring hung, on its way to user space
 * @buf: memory of @text
 * @text: what is known
 * @full: @work has not taken it yet; nobody else touches the rest
 * @dropped: hangs that found it full
 * @work: hands it over
 */
struct uvm_dump {
	char *buf;
	struct seq_buf text;
	bool full;
	u64 dropped;
	struct work_struct work;
};

/**
 * struct uvm_ring - an SDMA instance and its GFX ring
 * @uvm: the device
 * @index: number of the instance
 * @doorbell: slot
 * @name: for people
 * @lock: emission and recovery
 * @buf: the ring
 * @mask: dwords - 1
 * @wptr: dwords emitted, never wrapping
 * @wb: page the device writes to: read pointer, fence, and a place for tests
 * @started: its memory is there, and vectors may name it
 * @dead: the device is gone; nothing may be emitted
 * @stopped: recovers it, once the device reports that it stopped on a packet
 * @dumps: how often its state may be shown
 * @dump: the last hang
 * @fence_lock: @fences
 * @fences: emitted and not yet signalled, oldest first
 * @charged: up to when time was charged; under @fence_lock
 * @fence_context: of the hardware fences
 * @emitted: sequence number of the last fence emitted
 * @sched: feeds the ring
 * @kernel_entity: for the driver's own jobs
 * @move_lock: @move_ib
 * @move_ib: packets of the driver's own copies
 * @traps: interrupts of TRAP packets
 * @signalled: fences signalled
 * @timeouts: jobs given up
 */
struct uvm_ring {
	struct uvm_device *uvm;
	u32 index;
	u32 doorbell;
	char name[8];
	struct mutex lock;
	struct uvm_kbuf buf;
	u32 mask;
	u64 wptr;
	struct uvm_kbuf wb;
	bool started;
	bool dead;
	struct work_struct stopped;
	struct ratelimit_state dumps;
	struct uvm_dump dump;
	spinlock_t fence_lock;
	struct list_head fences;
	ktime_t charged;
	u64 fence_context;
	u32 emitted;
	struct drm_gpu_scheduler sched;
	struct drm_sched_entity kernel_entity;
	struct mutex move_lock;
	struct uvm_kbuf move_ib;
	atomic64_t traps;
	atomic64_t signalled;
	atomic64_t timeouts;
};

/**
 * struct uvm_job - one use of a ring
 * @base: the scheduler's part
 * @ring: where it runs
 * @fence: what the ring signals
 * @ib: its packets if they are in the pool, else NULL
 * @ib_gpu: address of the packets in @vm, or else in VMID 0
 * @ib_dwords: how many
 * @bos: buffers it uses
 * @nr_bos: how many
 * @vm: the address space it runs in, with a reference; NULL: VMID 0
 * @grant: its VMID; without one its @grant.job is 0. Under the policy's lock
 * @waiting: it stands in the queue for one. Under the policy's lock
 * @waiting_since: VMIDs given out before that. Under the policy's lock
 * @done_added: @done is on the job's finished fence
 * @done: queues @release
 * @release: gives the VMID back
 * @error: why it cannot run
 * @use: holds the buffers that it reaches; NULL: there are none
 * @late: in uvm_vm.jobs of @vm, from when it holds them
 * @number: in the order in which they began
 * @served: faults of @vm that had their page when it was late last
 * @extensions: times that it was late and had an excuse
 * @busy: who is charged with its time; NULL: nobody
 */
struct uvm_job {
	struct drm_sched_job base;
	struct uvm_ring *ring;
	struct uvm_fence *fence;
	struct drm_suballoc *ib;
	u64 ib_gpu;
	u32 ib_dwords;
	struct drm_gem_object **bos;
	u32 nr_bos;
	struct uvm_vm *vm;
	struct uvm_policy_vmid_grant grant;
	bool waiting;
	u64 waiting_since;
	bool done_added;
	struct dma_fence_cb done;
	struct work_struct release;
	int error;
	struct uvm_mm_use *use;
	struct list_head late;
	u64 number;
	u64 served;
	u32 extensions;
	struct uvm_busy *busy;
};

static inline struct uvm_job *to_uvm_job(struct drm_sched_job *job)
{
	return container_of(job, struct uvm_job, base);
}

/* uvm_fence.c */
struct uvm_fence *uvm_fence_alloc(void);
void uvm_fence_emit(struct uvm_ring *ring, struct uvm_fence *fence);
void uvm_fence_process(struct uvm_ring *ring);
struct uvm_fence *uvm_fence_oldest(struct uvm_ring *ring);
void uvm_fence_catch_up(struct uvm_ring *ring, u64 rptr);
void uvm_fence_fail(struct uvm_ring *ring, struct uvm_fence *fence, int error);
void uvm_fence_fail_all(struct uvm_ring *ring, int error);

/* uvm_ring.c */
int uvm_ring_init(struct uvm_device *uvm, u32 index);
int uvm_ring_start(struct uvm_ring *ring);
void uvm_ring_stop(struct uvm_ring *ring);
void uvm_ring_fini(struct uvm_ring *ring);
int uvm_ring_submit(struct uvm_ring *ring, u32 vmid, u64 ib, u32 ib_dwords,
		    struct uvm_fence *fence);
void uvm_ring_recover(struct uvm_ring *ring, struct uvm_fence *late);
void uvm_ring_get_state(struct uvm_ring *ring, struct uvm_ring_state *state);
void uvm_ring_dump(struct uvm_ring *ring);
void uvm_ring_submit_raw(struct uvm_ring *ring, const __le32 *packet, u32 n);
u32 uvm_ring_reg(struct uvm_ring *ring, u32 index);
__le32 *uvm_ring_wb(struct uvm_ring *ring, u32 offset);

/* Places in a ring's write-back page, bytes. */
#define UVM_WB_RPTR		0x00
#define UVM_WB_FENCE		0x40
#define UVM_WB_TEST		0x80

/* uvm_coredump.c */
int uvm_dump_init(struct uvm_dump *dump);
void uvm_dump_take(struct uvm_ring *ring, const struct uvm_ring_state *state,
		   const struct uvm_fence *fence, const char *why);
void uvm_dump_flush(struct uvm_dump *dump);
void uvm_dump_fini(struct uvm_dump *dump);

/* uvm_selftest.c */
int uvm_ring_test(struct uvm_ring *ring);
int uvm_ib_test(struct uvm_ring *ring);

/* uvm_sdma.c */
u32 uvm_emit_write(__le32 *p, u64 dst, u32 value);
u32 uvm_emit_indirect(__le32 *p, u32 vmid, u64 ib, u32 dwords);
u32 uvm_emit_fence(__le32 *p, u64 addr, u32 value);
u32 uvm_emit_trap(__le32 *p, u32 context);
u32 uvm_emit_copy(__le32 *p, u64 dst, u64 src, u32 bytes);
u32 uvm_emit_fill(__le32 *p, u64 dst, u32 value, u32 bytes);
u32 uvm_emit_entries(__le32 *p, u64 dst, u64 value, u64 increment, u32 count);
u32 uvm_emit_reg_write(__le32 *p, u32 index, u32 value);
u32 uvm_emit_reg_wait(__le32 *p, u32 index, u32 mask);
int uvm_sdma_run_ib(struct uvm_ring *ring, u32 n);
int uvm_sdma_copy(struct uvm_ring *ring, u64 dst, u64 src, u64 bytes);
int uvm_sdma_clear(struct uvm_ring *ring, u64 dst, u64 bytes);

/* uvm_sched.c */
int uvm_sched_init(struct uvm_ring *ring);
void uvm_sched_fini(struct uvm_ring *ring);
struct uvm_job *uvm_job_alloc(struct uvm_ring *ring,
			      struct drm_sched_entity *entity, void *owner,
			      u64 client);
void uvm_job_free(struct uvm_job *job);
int uvm_job_run_sync(struct uvm_job *job);

#endif /* UVM_RING_H */
