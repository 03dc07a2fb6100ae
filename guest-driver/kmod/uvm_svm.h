/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address spaces that mirror a process's memory. Part of uvm_drv.h, which has
 * the lock order.
 *
 * The unit is a block: aligned 2 MiB, whose leaf table the policy has handed
 * over. Its entries are written under the block's own lock, by the CPU; an mmu
 * notifier clears them without asking anybody.
 */
#ifndef UVM_SVM_H
#define UVM_SVM_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/kref.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#define UVM_SVM_BLOCK_BYTES	SZ_2M
#define UVM_SVM_BLOCK_PAGES	512u

struct drm_device;
struct drm_file;
struct mm_struct;
struct uvm_device;
struct uvm_job;
struct uvm_retry_fault;
struct uvm_svm;
struct uvm_vm;

/**
 * struct uvm_svm_dev - all mirrors of a device
 * @wq: serves their faults
 * @halted: engines reach no memory any more
 * @blocks: blocks that there are
 * @batches: batches of faults served
 * @faults: faults served
 * @stale: of these, whose page had come meanwhile
 * @refused: of these, whose page cannot come
 * @mapped: entries written
 * @invalidations: times that a notifier took entries away
 * @zapped: entries that it took away
 * @flushes: times that the device was asked to forget some
 */
struct uvm_svm_dev {
	struct workqueue_struct *wq;
	struct completion halted;
	atomic64_t blocks;
	atomic64_t batches;
	atomic64_t faults;
	atomic64_t stale;
	atomic64_t refused;
	atomic64_t mapped;
	atomic64_t invalidations;
	atomic64_t zapped;
	atomic64_t flushes;
};

/**
 * struct uvm_svm_block - aligned 2 MiB of a process's memory
 * @notifier: tells when the CPU's page tables change
 * @ref: the mirror's, and of who works on it
 * @svm: the mirror
 * @va: first address
 * @table: where the leaf table lies
 * @domain: UVM_POLICY_DOMAIN_* of @table
 * @lock: the entries, and what follows
 * @mapped: pages that have an entry
 * @writable: of these, with WRITEABLE
 * @denied: pages whose accesses fail now instead of waiting
 */
struct uvm_svm_block {
	struct mmu_interval_notifier notifier;
	struct kref ref;
	struct uvm_svm *svm;
	u64 va;
	u64 table;
	u32 domain;
	struct mutex lock;
	DECLARE_BITMAP(mapped, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(writable, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(denied, UVM_SVM_BLOCK_PAGES);
};

/**
 * struct uvm_svm - the mirror of a process's memory in an address space
 * @vm: the address space, which owns this
 * @mm: the process's memory, not its users
 * @owner: of the device-private pages that may be mapped as they are, or NULL
 * @flags: UVM_SVM_*
 * @lock: makes blocks
 * @blocks: struct uvm_svm_block by address / 2 MiB
 * @work: serves its faults; queued with a reference to @vm
 * @calm: clears what is denied, should its access never have come again
 * @busy: @work is at a batch
 * @served: faults that got their page
 * @pfns: of the pages that are asked for; @work's alone
 */
struct uvm_svm {
	struct uvm_vm *vm;
	struct mm_struct *mm;
	void *owner;
	u32 flags;
	struct mutex lock;
	struct xarray blocks;
	struct work_struct work;
	struct delayed_work calm;
	bool busy;
	atomic64_t served;
	unsigned long pfns[UVM_SVM_BLOCK_PAGES];
};

/* Pages move only when somebody asks for it. */
#define UVM_SVM_MANUAL		BIT(0)

/* uvm_svm.c */
int uvm_svm_dev_init(struct uvm_device *uvm);
void uvm_svm_dev_fini(struct uvm_device *uvm);
u64 uvm_svm_param(struct uvm_device *uvm, u32 param);
int uvm_svm_attach(struct uvm_vm *vm, struct mm_struct *mm, void *owner,
		   u32 flags);
void uvm_svm_detach(struct uvm_vm *vm);
int uvm_svm_may_use(struct uvm_vm *vm);
struct uvm_svm_block *uvm_svm_block_get(struct uvm_svm *svm, u64 va);
struct uvm_svm_block *uvm_svm_block_find(struct uvm_svm *svm, u64 va);
void uvm_svm_block_put(struct uvm_svm_block *block);
int uvm_ioctl_svm_config(struct drm_device *drm, void *data,
			 struct drm_file *file);

/* uvm_svm_block.c */
bool uvm_svm_has(struct uvm_svm_block *block, u64 va, bool write);
void uvm_svm_set(struct uvm_svm_block *block, u64 start, u64 end,
		 const unsigned long *pfns, bool write);
u32 uvm_svm_clear(struct uvm_svm_block *block, u64 start, u64 end);
void uvm_svm_deny(struct uvm_svm_block *block, u64 va);
void uvm_svm_allow(struct uvm_svm_block *block, u64 start, u64 end);
extern const struct mmu_interval_notifier_ops uvm_svm_notifier_ops;

/* uvm_svm_fault.c */
void uvm_svm_work(struct work_struct *work);
void uvm_svm_kick(struct uvm_device *uvm, u32 pasid);
void uvm_svm_failed(struct uvm_device *uvm, u32 pasid, u64 va);
bool uvm_svm_goes_on(struct uvm_job *job);

#endif /* UVM_SVM_H */
