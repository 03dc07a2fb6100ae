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
#include <linux/log2.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#define UVM_SVM_BLOCK_BYTES	SZ_2M
#define UVM_SVM_BLOCK_PAGES	512u

#include "uvm_policy.h"
#include "uvm_queue.h"

/* Regions of a plan: one a fault at most, and some guesses. */
#define UVM_SVM_REGIONS		(UVM_FAULT_BATCH + 64)

/* log2 of the faults of a batch is less. */
#define UVM_SVM_SIZES		(const_ilog2(UVM_FAULT_BATCH) + 1)

struct drm_device;
struct drm_file;
struct drm_printer;
struct file;
struct poll_table_struct;
struct seq_file;
struct mm_struct;
struct uvm_device;
struct uvm_chunk;
struct uvm_devmem;
struct uvm_job;
struct uvm_migrate_stats;
struct uvm_retry_fault;
struct uvm_svm;
struct uvm_vm;

/**
 * struct uvm_svm_dev - all mirrors of a device
 * @wq: serves their faults
 * @policy_lock: one caller at a time for @policy; taken after mmap_lock, a leaf
 *	but for allocation
 * @policy: decides where their pages are
 * @events: for records of what happened
 * @mirrors_lock: who is in @mirrors; taken before the lock of a mirror's @blocks
 * @mirrors: all of them
 * @leave_lock: who takes the locks of several blocks; taken after mmap_lock and
 *	before these
 * @count_lock: the registers of access counters, and @counting; taken before
 *	uvm_mmio.lock
 * @counting: mirrors for which accesses are counted
 * @cpu_waits: accesses of CPUs that waited for the device's slice
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
 * @exclusive: pages given to the device for itself, for an atomic
 * @taken_back: of these, those that a CPU had back
 * @lent: of these, those that it had for a while only
 * @largest: faults of the largest batch
 * @sizes: batches by the log2 of their faults
 * @doubled: pages that got a second copy
 * @joined: blocks that came to be translated as one
 * @served_ns: time that the workers spent with faults, copies included
 */
struct uvm_svm_dev {
	struct workqueue_struct *wq;
	struct mutex policy_lock;
	struct uvm_policy_svm *policy;
	wait_queue_head_t events;
	spinlock_t mirrors_lock;
	struct list_head mirrors;
	struct mutex leave_lock;
	struct mutex count_lock;
	u32 counting;
	atomic64_t cpu_waits;
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
	atomic64_t exclusive;
	atomic64_t taken_back;
	atomic64_t lent;
	u32 largest;
	atomic64_t sizes[UVM_SVM_SIZES];
	atomic64_t doubled;
	atomic64_t joined;
	atomic64_t served_ns;
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
 * @exclusive: of @writable, those that no CPU reaches before it has them back
 * @whole: of @mapped, those whose entries allow atomics
 * @contested: pages that were, and that a CPU has taken back
 * @vram: of @mapped, those in VRAM
 * @told: pages that the policy was told to be in VRAM
 * @lost: pages that notifiers took away and the policy does not know of yet
 * @left: of these, those that left VRAM
 * @evicted: of these, those that left it for want of room
 * @twice: of @mapped, those with a copy in VRAM that the device reads
 * @once: pages that had one, and the policy does not know of it yet
 * @copies: these copies, each with a reference; NULL as long as there was none
 * @fits: of @mapped, those that lie where one piece would have them
 * @base: where that piece would begin; UVM_PTE_SYSTEM as in entries
 * @left_at: when the last of @left did, nanoseconds
 * @chunk: the chunk of VRAM that was mapped last
 * @joined: all entries translate as one
 * @gone: the leaf table was given back
 * @cpu: pages that a CPU wants to have back; under no lock
 * @shrunk: memory was unmapped; under no lock
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
	DECLARE_BITMAP(exclusive, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(whole, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(contested, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(vram, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(told, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(lost, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(left, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(evicted, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(cpu, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(twice, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(once, UVM_SVM_BLOCK_PAGES);
	struct page **copies;
	DECLARE_BITMAP(fits, UVM_SVM_BLOCK_PAGES);
	u64 base;
	u64 left_at;
	u32 chunk;
	bool joined;
	bool gone;
	bool shrunk;
};

/* Which page of a block an address is of. */
static inline u32 uvm_svm_page(const struct uvm_svm_block *block, u64 va)
{
	return (va - block->va) >> PAGE_SHIFT;
}

/**
 * struct uvm_svm_throttled - a fault that is answered later
 * @va: page
 * @until: when, nanoseconds
 */
struct uvm_svm_throttled {
	u64 va;
	u64 until;
};

/**
 * struct uvm_svm_want - what the faults of a batch want of a page
 * @va: page
 * @access: UVM_POLICY_SVM_READ, _WRITE or _ATOMIC
 * @due: it was looked after
 */
struct uvm_svm_want {
	u64 va;
	u32 access;
	bool due;
};

/**
 * struct uvm_svm_counted - a granule of addresses that is reached often
 * @va: first address
 * @bytes: how many
 * @vmid: by which it is counted
 */
struct uvm_svm_counted {
	u64 va;
	u64 bytes;
	u32 vmid;
};

/* Granules that wait to be looked at. */
#define UVM_SVM_COUNTED		64

/**
 * struct uvm_svm - the mirror of a process's memory in an address space
 * @vm: the address space, which owns this
 * @mm: the process's memory, not its users
 * @dm: whose device-private pages may be mapped as they are, or NULL
 * @flags: UVM_SVM_*
 * @space: the policy's name of it; 0: nothing is decided, pages stay where they are
 * @lock: makes blocks
 * @blocks: struct uvm_svm_block by address / 2 MiB
 * @work: serves its faults; queued with a reference to @vm
 * @calm: clears what is denied, should its access never have come again, and
 *	has @work look for blocks without memory
 * @keeps: some memory is to be mapped always
 * @busy: @work is at a batch
 * @shrunk: some block is
 * @served: faults that got their page
 * @exclusive: pages that the device got for itself
 * @taken_back: of these, those that a CPU had back
 * @reach: up to where the access that faults is known to go on: all to there is
 *	brought with its first page; 0: nothing is known
 * @missed: records that were lost and the process not told of; under the policy's
 *	lock
 * @lost: some block has lost pages that the policy does not know of
 * @node: in uvm_svm_dev.mirrors
 * @counted_lock: what follows; a leaf
 * @counted: granules that are reached often
 * @nr_counted: how many
 * @uncounted: there were others
 * @later: ends the waiting of @throttled, and has @work map what is to be mapped
 * @throttled: faults whose pages are the CPU's for a while; @work's alone, as is
 *	what follows
 * @nr_throttled: how many
 * @wants: the batch
 * @faults: as it came
 * @asked: as the policy is asked about it
 * @keep_tries: how often in a row pages to be mapped were not there
 * @pfns: of the pages that are asked for
 * @regions: what was decided
 * @nr_regions: how many, of faults
 * @guess: the first of them that nobody waits for, and that is not done yet
 * @bad: pages of a region that cannot be had
 * @alone: those that an atomic waits for
 */
struct uvm_svm {
	struct uvm_vm *vm;
	struct mm_struct *mm;
	struct uvm_devmem *dm;
	u32 flags;
	u64 space;
	struct mutex lock;
	struct xarray blocks;
	struct work_struct work;
	struct delayed_work calm;
	bool keeps;
	bool busy;
	bool shrunk;
	atomic64_t served;
	atomic64_t exclusive;
	atomic64_t taken_back;
	u64 reach;
	u64 missed;
	bool lost;
	struct list_head node;
	spinlock_t counted_lock;
	struct uvm_svm_counted counted[UVM_SVM_COUNTED];
	u32 nr_counted;
	bool uncounted;
	struct delayed_work later;
	struct uvm_svm_throttled throttled[UVM_CAM_ENTRIES];
	u32 nr_throttled;
	struct uvm_svm_want wants[UVM_FAULT_BATCH];
	struct uvm_retry_fault faults[UVM_CAM_ENTRIES];
	struct uvm_policy_svm_fault asked[UVM_FAULT_BATCH];
	u32 keep_tries;
	unsigned long pfns[UVM_SVM_BLOCK_PAGES];
	struct uvm_policy_svm_region regions[UVM_SVM_REGIONS];
	u32 nr_regions;
	u32 guess;
	DECLARE_BITMAP(bad, UVM_SVM_BLOCK_PAGES);
	DECLARE_BITMAP(alone, UVM_SVM_BLOCK_PAGES);
};

/* The longest slice of time that a side keeps a page. */
#define UVM_SVM_SLICE_NS	(100 * NSEC_PER_MSEC)

/* Mirrors of one process's memory that are looked for. */
#define UVM_SVM_MIRRORS		4

/* What is denied and not told by then is allowed again. */
#define UVM_SVM_CALM		(HZ / 5)

/* Pages move only when somebody asks for it. */
#define UVM_SVM_MANUAL		BIT(0)

/* uvm_svm.c */
int uvm_svm_dev_init(struct uvm_device *uvm);
void uvm_svm_dev_fini(struct uvm_device *uvm);
u64 uvm_svm_param(struct uvm_device *uvm, u32 param);
int uvm_svm_attach(struct uvm_vm *vm, struct mm_struct *mm,
		   struct uvm_devmem *dm, u32 flags);
void uvm_svm_detach(struct uvm_vm *vm);
void uvm_svm_shrink(struct uvm_svm *svm);
int uvm_svm_may_use(struct uvm_vm *vm);
struct uvm_svm_block *uvm_svm_block_get(struct uvm_svm *svm, u64 va);
struct uvm_svm_block *uvm_svm_block_find(struct uvm_svm *svm, u64 va);
void uvm_svm_block_put(struct uvm_svm_block *block);
struct uvm_svm_block *uvm_svm_window(struct uvm_svm *svm, u64 va);
int uvm_ioctl_svm_config(struct drm_device *drm, void *data,
			 struct drm_file *file);

/* uvm_svm_block.c */
void uvm_svm_write(struct uvm_svm_block *block, u32 page, u64 entry);
u64 uvm_svm_read(struct uvm_svm_block *block, u32 page);
bool uvm_svm_has(struct uvm_svm_block *block, u64 va, u32 access);
void uvm_svm_set(struct uvm_svm_block *block, u64 start, u64 end,
		 const unsigned long *pfns, bool write);
void uvm_svm_set_exclusive(struct uvm_svm_block *block, u64 va,
			   struct page *page);
void uvm_svm_forget(struct uvm_svm *svm, u64 start, u64 end);
void uvm_svm_deny(struct uvm_svm_block *block, u64 va);
void uvm_svm_set_window(struct uvm_svm_block *block, u32 page,
			struct page *shown);
void uvm_svm_allow(struct uvm_svm_block *block, u64 start, u64 end);

/* uvm_svm_unmap.c */
u32 uvm_svm_unmap(struct uvm_svm_block *block, u64 start, u64 end);
void uvm_svm_unmapped(struct uvm_svm_block *block, u64 start, u64 end);
u32 uvm_svm_clear(struct uvm_svm_block *block, u64 start, u64 end);
void uvm_svm_count_taken(struct uvm_svm *svm, u32 n);
void uvm_svm_mark_left(struct uvm_svm_block *block, u64 start, u64 end);
extern const struct mmu_interval_notifier_ops uvm_svm_notifier_ops;

/* uvm_svm_join.c */
void uvm_svm_note(struct uvm_svm_block *block, u32 page, u64 entry);
void uvm_svm_join(struct uvm_svm_block *block);
void uvm_svm_part(struct uvm_svm_block *block);

/* uvm_svm_double.c */
void uvm_svm_single(struct uvm_svm_block *block, u32 first, u32 behind);
void uvm_svm_double(struct uvm_svm_block *block, const unsigned long *pages,
		    unsigned long *done);
void uvm_svm_leave_chunk(struct uvm_chunk *chunk);

/* uvm_svm_leave.c */
u64 uvm_svm_leave(struct uvm_devmem *dm, const struct mm_struct *mm,
		  u64 start, u64 end);

/* uvm_svm_exclusive.c */
void uvm_svm_show_exclusive(struct uvm_device *uvm, struct seq_file *m);
void uvm_svm_show_file(struct drm_printer *p, struct uvm_vm *vm);
u64 uvm_svm_exclusive_param(struct uvm_device *uvm, u32 param);
int uvm_svm_exclude(struct uvm_svm_block *block, u64 start, u64 end);
int uvm_svm_have_alone(struct uvm_svm_block *block, u64 va);
bool uvm_svm_is_exclusive(struct uvm_svm_block *block, u64 start, u64 end);

/* uvm_svm_fault.c */
void uvm_svm_work(struct work_struct *work);
void uvm_svm_kick(struct uvm_device *uvm, u32 pasid);
void uvm_svm_failed(struct uvm_device *uvm, u32 pasid, u64 va);
bool uvm_svm_goes_on(struct uvm_job *job);
u32 uvm_svm_replay_now(void);
u32 uvm_svm_batch_now(void);

/* uvm_svm_pages.c */
int uvm_svm_bring(struct uvm_svm_block *block, u64 va, u64 start, u64 end,
		  bool write);
int uvm_svm_look(struct uvm_svm_block *block, u64 start, u64 end,
		 unsigned long *pfns, bool write);

/* uvm_svm_count.c */
void uvm_svm_count_begin(struct uvm_device *uvm);
void uvm_svm_count_end(struct uvm_device *uvm);
void uvm_svm_counted(struct uvm_device *uvm, u32 pasid,
		     const struct uvm_svm_counted *granule);
void uvm_svm_serve_counted(struct uvm_svm *svm);

/* uvm_svm_cpu.c */
void uvm_svm_list(struct uvm_svm *svm);
void uvm_svm_unlist(struct uvm_svm *svm);
void uvm_svm_cpu_asks(struct uvm_device *uvm, struct mm_struct *mm, u64 va,
		      u64 start, u64 end);

/* uvm_svm_prefetch.c */
int uvm_svm_prefetch(struct uvm_svm *svm, u64 start, u64 end, bool to_vram,
		     struct uvm_migrate_stats *stats);
int uvm_svm_prefetch_group(struct uvm_svm *svm, u32 group, bool to_vram,
			   struct uvm_migrate_stats *stats);

/* uvm_svm_tune.c */
void uvm_svm_tuned(struct uvm_policy_svm_config *config);
void uvm_svm_retune(struct uvm_policy_svm *policy);

/* uvm_svm_tell.c */
void uvm_svm_tell_lost(struct uvm_svm *svm, struct uvm_svm_block *block);
void uvm_svm_tell_all_lost(struct uvm_svm *svm);
void uvm_svm_tell_gone(struct uvm_svm *svm, u64 va);
void uvm_svm_tell_found(struct uvm_svm *svm, struct uvm_svm_block *block,
			const unsigned long *pages, bool moved, u32 cause);
void uvm_svm_tell_doubled(struct uvm_svm *svm, struct uvm_svm_block *block,
			  const unsigned long *pages);
bool uvm_svm_tell_missing(struct uvm_svm *svm, struct uvm_svm_block *block,
			  const struct uvm_policy_svm_region *region);
void uvm_svm_chunk_event(struct uvm_device *uvm, u32 chunk, u32 op);

/* uvm_svm_plan.c */
int uvm_svm_policy_init(struct uvm_device *uvm);
void uvm_svm_policy_fini(struct uvm_device *uvm);
int uvm_svm_space_create(struct uvm_svm *svm);
void uvm_svm_space_end(struct uvm_svm *svm);
unsigned int uvm_svm_policy_begin(struct uvm_device *uvm);
void uvm_svm_policy_end(struct uvm_device *uvm, unsigned int flags);
int uvm_svm_plan_counted(struct uvm_svm *svm, u64 va, u64 bytes);
int uvm_svm_plan_prefetch(struct uvm_svm *svm, u64 start, u64 end, bool to_vram,
			  struct uvm_policy_svm_region *region, u64 *next);
int uvm_svm_victim(struct uvm_device *uvm, u32 *chunk);
void uvm_svm_keep_mapped(struct uvm_svm *svm);
void uvm_svm_do(struct uvm_svm *svm, struct uvm_svm_block *block,
		const struct uvm_policy_svm_region *region, u32 cause);
int uvm_svm_plan(struct uvm_svm *svm, struct uvm_policy_svm_fault *faults,
		 u32 n, bool more, struct uvm_policy_svm_plan *plan);

/* uvm_svm_ioctl.c */
struct uvm_svm *uvm_svm_of(struct drm_file *file);
int uvm_ioctl_svm_residency(struct drm_device *drm, void *data,
			    struct drm_file *file);
int uvm_ioctl_svm_advise(struct drm_device *drm, void *data,
			 struct drm_file *file);
int uvm_ioctl_svm_attributes(struct drm_device *drm, void *data,
			     struct drm_file *file);
int uvm_ioctl_svm_events(struct drm_device *drm, void *data,
			 struct drm_file *file);
void uvm_svm_show(struct uvm_device *uvm, struct seq_file *m);
__poll_t uvm_svm_poll(struct file *filp, struct poll_table_struct *wait);

#endif /* UVM_SVM_H */
