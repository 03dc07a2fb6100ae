/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's side of the memory manager: who owns buffers, who
 * waits for them, and who carries out what the policy decides.
 */
#ifndef UVM_MM_H
#define UVM_MM_H

#include <linux/completion.h>
#include <linux/hashtable.h>
#include <linux/kref.h>
#include <linux/mm_types.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

struct drm_device;
struct drm_file;
struct shrinker;
struct uvm_bo;
struct uvm_device;
struct uvm_mm_action;
struct uvm_mm_config;
struct uvm_mm_event;
struct uvm_mm_reply;
struct uvm_vm;
struct vm_fault;

/* What uvm_mm_do() answers of an action that goes on by itself. */
#define UVM_MM_PENDING		U64_MAX
/*
 * Actions carried out at once: who leaves and who comes have two chunks each on
 * their way, and something is left for whatever else there is to do.
 */
#define UVM_MM_WORKERS		6
/* Bytes of a copy through the paging segment, at most. */
#define UVM_MM_CHUNK		SZ_4M
/* Packets of a copy that a ring is given at a time: a chunk's too. */
#define UVM_MM_COPY_PARTS	32
#define UVM_MM_HASH_BITS	8
/* How long who asked for VRAM waits for buffers that leave, at most. */
#define UVM_MM_WAY_MS		2000

/**
 * struct uvm_mm_worker - carries out one action after the other
 * @uvm: the device
 * @index: number; with as many rings, that of the ring that copies
 * @work: runs while there is something to do
 */
struct uvm_mm_worker {
	struct uvm_device *uvm;
	u32 index;
	struct work_struct work;
};

/**
 * struct uvm_mm_dev - the memory manager of a device
 * @started: there is one
 * @config: the segments, and how it works
 * @wq: runs the workers
 * @workers: the workers
 * @tick: has failed actions given out again
 * @shrinker: gives up system pages
 * @lock: @bos; a leaf
 * @bos: all struct uvm_bo, by the policy's name
 * @uses: struct uvm_mm_use that wait; under the policy's lock
 * @nr_zaps: buffers that page tables are about to lose
 * @nr_pages: system pages of all buffers
 * @imports: owner of buffers of other drivers
 * @nr_done: actions that have ended; wraps
 * @ended: woken at each
 */
struct uvm_mm_dev {
	bool started;
	struct uvm_mm_config config;
	struct workqueue_struct *wq;
	struct uvm_mm_worker workers[UVM_MM_WORKERS];
	struct delayed_work tick;
	struct shrinker *shrinker;
	spinlock_t lock;
	DECLARE_HASHTABLE(bos, UVM_MM_HASH_BITS);
	struct list_head uses;
	atomic_t nr_zaps;
	struct uvm_mm_client *imports;
	atomic_long_t nr_pages;
	atomic_t nr_done;
	wait_queue_head_t ended;
};

/**
 * struct uvm_mm_client - an owner of buffers
 * @ref: the file's and one of each buffer's
 * @uvm: the device
 * @id: the policy's name of it
 */
struct uvm_mm_client {
	struct kref ref;
	struct uvm_device *uvm;
	u64 id;
};

/**
 * struct uvm_mm_use - buffers that are to stay where the GPU or CPU reaches them
 * @uvm: the device
 * @client: for whom, with a reference; NULL: a user of the one buffer
 * @ticket: the policy's name of it
 * @node: place among those that wait; or in uvm_vm.late
 * @until: then the last job that it is kept for
 * @done: it waits no more
 * @error: why it is refused, negative; 0: ready
 */
struct uvm_mm_use {
	struct uvm_device *uvm;
	struct uvm_mm_client *client;
	u64 ticket;
	struct list_head node;
	u64 until;
	struct completion done;
	int error;
};

/**
 * struct uvm_mm_bo - a buffer as the memory manager has it
 * @client: its owner, with a reference
 * @node: place in the device's table
 * @shown: page tables that map the buffer have it, where the buffer says that
 *	it is; under its reservation lock
 * @home: UVM_DOMAIN_* where it belongs
 * @cpu_access: the CPU is a frequent user
 * @deferred: it has memory once it is used, and may be used elsewhere than in its
 *	domain if that is full
 * @unneeded: its content may be thrown away; for people
 * @zap: goes on when page tables have lost the buffer
 * @zap_entry: tells @zap that an address space has
 * @zap_vm: that address space, with a reference
 * @zap_seqno: its bind that does it
 * @zap_armed: @zap was not told yet
 * @zap_action: the action that waits
 * @zap_domain: where the buffer is, if that fails
 * @zap_shown: page tables had it
 * @zap_error: why it fails, negative
 * @resident: pages of the array that are there; the workers'
 */
struct uvm_mm_bo {
	struct uvm_mm_client *client;
	struct hlist_node node;
	bool shown;
	bool cpu_access;
	bool deferred;
	u32 home;
	bool unneeded;
	struct work_struct zap;
	wait_queue_entry_t zap_entry;
	struct uvm_vm *zap_vm;
	u64 zap_seqno;
	atomic_t zap_armed;
	u64 zap_action;
	u32 zap_domain;
	bool zap_shown;
	int zap_error;
	atomic_long_t resident;
};

/* uvm_mm.c */
int uvm_mm_dev_init(struct uvm_device *uvm);
void uvm_mm_dev_config(struct uvm_device *uvm, struct uvm_mm_config *config);
void uvm_mm_dev_fini(struct uvm_device *uvm);
int uvm_mm_tell(struct uvm_device *uvm, const struct uvm_mm_event *event,
		struct uvm_mm_reply *reply, struct uvm_mm_use *use);
int uvm_mm_tell_of(struct uvm_device *uvm, u32 op, u64 id);
void uvm_mm_done(struct uvm_device *uvm, u64 action, u64 failure);
struct uvm_mm_use *uvm_mm_use_alloc(struct uvm_device *uvm);
int uvm_mm_use_wait(struct uvm_mm_use *use);
struct uvm_mm_use *uvm_mm_use_by(struct uvm_device *uvm,
				 const struct uvm_mm_event *event);
struct uvm_mm_use *uvm_mm_use_set(struct uvm_mm_client *client, const u64 *bos,
				  u32 nr, u32 flags);
void uvm_mm_use_end(struct uvm_mm_use *use);

/* uvm_mm_way.c */
bool uvm_mm_make_way(struct uvm_device *uvm, u64 size, u64 held);
int uvm_mm_way_wait(struct uvm_device *uvm, unsigned long until);

/* uvm_mm_bo.c */
struct uvm_mm_client *uvm_mm_client_new(struct uvm_device *uvm, bool limited);
void uvm_mm_client_put(struct uvm_mm_client *client);
int uvm_mm_bo_init(struct uvm_bo *bo, struct uvm_mm_client *client, u32 domain,
		   u32 flags);
void uvm_mm_bo_fini(struct uvm_bo *bo);
struct uvm_bo *uvm_mm_bo_get(struct uvm_device *uvm, u64 id);
int uvm_mm_bo_place(struct uvm_bo *bo, u32 *domain, u64 *offset);
int uvm_mm_bo_move(struct uvm_bo *bo, u32 domain, bool pin);
int uvm_mm_bo_advise(struct uvm_bo *bo, bool need, u32 *retained);
vm_fault_t uvm_mm_fault(struct uvm_bo *bo, struct vm_fault *vmf);
u64 uvm_mm_param(struct uvm_device *uvm, u32 param);
int uvm_ioctl_gem_move(struct drm_device *drm, void *data,
		       struct drm_file *file);
int uvm_ioctl_gem_advise(struct drm_device *drm, void *data,
			 struct drm_file *file);

/* uvm_mm_copy.c */
int uvm_mm_copy(struct uvm_mm_worker *worker, u64 dst, u64 src, u64 bytes);
int uvm_mm_page(struct uvm_mm_worker *worker, struct uvm_bo *bo,
		const struct uvm_mm_action *action);
int uvm_mm_clear(struct uvm_mm_worker *worker, u64 dst, u64 bytes);

/* uvm_mm_do.c */
u64 uvm_mm_do(struct uvm_mm_worker *worker, const struct uvm_mm_action *action);

/* uvm_mm_zap.c */
void uvm_mm_zap_init(struct uvm_bo *bo);
int uvm_mm_zap(struct uvm_bo *bo, u64 action);
void uvm_mm_zaps_end(struct uvm_device *uvm);

/* uvm_mm_swap.c */
int uvm_mm_alloc_pages(struct uvm_bo *bo, u64 offset, u64 size, bool zeroed);
void uvm_mm_free_pages(struct uvm_bo *bo, u64 offset, u64 size);
int uvm_mm_swap_out(struct uvm_bo *bo, u64 offset, u64 size);
int uvm_mm_swap_in(struct uvm_bo *bo, u64 offset, u64 size);
void uvm_mm_swap_drop(struct uvm_bo *bo);

#endif /* UVM_MM_H */
