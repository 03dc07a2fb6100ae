/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the driver share: one structure for each block of the
 * device, and the functions by which they reach one another.
 *
 * Locks, outermost first:
 *
 *   uvm_suspend.lock       whether mirrored memory is at rest
 *   dma_resv of a buffer   its place, pages and GART range
 *   uvm_file.submit_lock   the order of a file's jobs
 *   uvm_vm.config_lock     how an address space is run, and its queues
 *   uvm_svm.lock           makes blocks of mirrored memory
 *   uvm_vm.lock            mappings of a process, and what is planned for its
 *                          page tables
 *   uvm_vm.run_lock        its page tables
 *   uvm_peek.lock          the buffer through which the CPU sees VRAM
 *   uvm_ring.move_lock     the ring's own indirect buffer
 *   uvm_device.policy_lock the Rust policy
 *   uvm_page_ring.lock     what is emitted to a PAGE ring, and its recovery
 *   uvm_ring.lock          what is emitted to a ring, and its recovery
 *   uvm_vm.mode_lock       how accesses of an address space fail
 *   uvm_svm_block.lock     entries of mirrored memory
 *   uvm_gart.lock          invalidation engine
 *   uvm_peek.index_lock    the index registers of VRAM
 *   uvm_mmio.lock          the indirect register pair
 *   uvm_queues.lock        who has which user queue; a leaf
 *   uvm_ring.fence_lock, uvm_mmio.doorbell_lock, uvm_vms.list_lock,
 *   uvm_vms.by_pasid with uvm_vm.fault_lock, uvm_vm.queue_lock,
 *   uvm_retry.lock or uvm_devmem_dev.lock
 *                          spinlocks, leaves
 *
 * Who waits for a buffer's place (a use, uvm_mm.c) holds none of these but
 * mmap_lock: the workers that bring it take them from dma_resv on, and wait for
 * no fence of a process but their own copies'.
 *
 * From uvm_ring.lock on, nobody allocates memory under them: they are taken
 * on the way to signalling a fence. So is uvm_device.policy_lock, under which
 * the policy does allocate: no shrinker waits for a fence of this driver. Who
 * ends a job takes no lock above that one, as those above wait for jobs. Who
 * ends a bind takes none above uvm_vm.run_lock, for the same reason, and what
 * it allocates for a job of its own it does not reclaim for. The end of a use is
 * told from where a job is freed, not from where its fence signals.
 *
 * Memory is reclaimed, and address spaces of processes change, by way of mmu
 * notifiers, which come with mmap_lock or locks of pages held and take
 * uvm_svm_block.lock and those below it: none of these is held by who
 * allocates. mmap_lock itself is taken under uvm_svm.lock, and under no other of
 * the above. Who empties chunks of VRAM merely tries it, whatever is held.
 */
#ifndef UVM_DRV_H
#define UVM_DRV_H

#include <linux/bitfield.h>
#include <linux/dma-fence.h>
#include <linux/io.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/workqueue.h>

#include <drm/drm_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_suballoc.h>
#include <drm/gpu_scheduler.h>

#include "uvm_drm.h"
#include "uvm_policy.h"
#include "uvm_regs.h"
#include "uvm_devmem.h"
#include "uvm_mm.h"
#include "uvm_queue.h"
#include "uvm_ring.h"
#include "uvm_suspend.h"
#include "uvm_svm.h"
#include "uvm_vm.h"

#define UVM_MAX_RINGS		2

/* Where the apertures lie in the MM hub's address space. */
#define UVM_FB_START		0x8000000000ULL
#define UVM_GART_START		0x7c00000000ULL
/* Up to the FB aperture. */
#define UVM_GART_MAX		(UVM_FB_START - UVM_GART_START)

/* MTYPE of what both sides write: uncached. */
#define UVM_MTYPE_UC		3

struct uvm_device;

/**
 * struct uvm_doorbell_msg - a doorbell as the device takes it
 * @slot: doorbell slot
 * @zero: must be 0
 * @value: what is written to it
 */
struct uvm_doorbell_msg {
	__le32 slot;
	__le32 zero;
	__le64 value;
};

/**
 * struct uvm_event_msg - an interrupt as the device gives it
 * @ring: interrupt ring that moved
 * @wptr: its write pointer
 * @zero: 0
 */
struct uvm_event_msg {
	__le32 ring;
	__le32 wptr;
	__le64 zero;
};

/**
 * struct uvm_mmio - the register window and the two queues
 * @lock: makes the DATA and CMD accesses of the indirect pair one step. A
 *	mutex, because config accessors may sleep, an access takes tens of
 *	microseconds, and nobody needs a register in atomic context.
 * @seq: sequence number of the last CMD
 * @doorbell_vq: driver to device
 * @event_vq: device to driver
 * @doorbell_lock: the doorbell queue, its messages and the free list
 * @msgs: messages, one for each place in the queue
 * @free: numbers of the messages the device is done with
 * @nr_free: how many of @free are valid
 * @nr_msgs: how many messages there are
 * @events: buffers of the event queue
 * @nr_events: how many there are
 * @doorbells: doorbells sent
 * @doorbells_full: doorbells that had to wait for a free message
 */
struct uvm_mmio {
	struct mutex lock;
	u8 seq;
	struct virtqueue *doorbell_vq;
	struct virtqueue *event_vq;
	spinlock_t doorbell_lock;
	struct uvm_doorbell_msg *msgs;
	u16 *free;
	unsigned int nr_free;
	unsigned int nr_msgs;
	struct uvm_event_msg *events;
	unsigned int nr_events;
	u64 doorbells;
	u64 doorbells_full;
};

/**
 * struct uvm_vram - the device's own memory
 * @base: physical address of it, in the BAR or (UMA) in system memory
 * @size: bytes
 * @visible: bytes, from the first one on, that the CPU reaches
 * @cpu: the kernel's mapping of these
 */
struct uvm_vram {
	phys_addr_t base;
	u64 size;
	u64 visible;
	void __iomem *cpu;
};

/**
 * struct uvm_gart - VMID 0: apertures and tables
 * @lock: the invalidation engines, @stale, @retired, @vm_range, @cntl and @loaded
 * @size: bytes of the window at UVM_GART_START
 * @unsnooped: most bytes of it that the device has for unsnooped accesses
 * @table_offset: where the entries lie in VRAM
 * @table_bytes: what they take; a whole number of pages
 * @table: the entries
 * @directory_offset: where the second level of vidmm lies in VRAM
 * @scratch_offset: page of VRAM that wrong accesses in the system aperture get
 * @dummy: page that every unbound entry points at
 * @stale: entries were bound that jobs may use; others may be cached
 * @retired: pages may be freed that cached entries still lead to
 * @vm_range: what the range register of the processes' engine holds
 * @cntl: what the control registers of VMIDs 1 to 15 hold
 * @loaded: PASIDs whose tables VMIDs 1 to 15 had last; 0: none
 * @invalidations: how many the device was asked for
 */
struct uvm_gart {
	struct mutex lock;
	u64 size;
	u64 unsnooped;
	u64 table_offset;
	u64 table_bytes;
	__le64 __iomem *table;
	u64 directory_offset;
	u64 scratch_offset;
	struct page *dummy;
	bool stale;
	bool retired;
	u64 vm_range;
	u32 cntl[UVM_NR_VMIDS];
	u32 root_hi[UVM_NR_VMIDS];
	u32 loaded[UVM_NR_VMIDS];
	u64 invalidations;
};

/**
 * struct uvm_ih - interrupt ring 0
 * @wq: runs @work alone
 * @work: empties the ring
 * @ring: vectors; the last page takes the write pointer
 * @wptr_cpu: where the device writes its write pointer back
 * @rptr: bytes, masked
 * @enabled: the ring is set up
 * @again: ring 1 has more than was read; the worker's alone
 * @look: somebody knows that ring 1 moved
 * @vectors: vectors seen
 * @faults: page faults seen
 * @overflows: times that vectors were lost
 * @unknown: vectors from nobody we know
 */
struct uvm_ih {
	struct workqueue_struct *wq;
	struct work_struct work;
	__le32 *ring;
	__le32 *wptr_cpu;
	u32 rptr;
	bool enabled;
	bool again;
	bool look;
	atomic64_t vectors;
	atomic64_t faults;
	atomic64_t overflows;
	atomic64_t unknown;
};

/**
 * struct uvm_ecc - uncorrectable errors of VRAM
 * @work: retires @pages
 * @lock: of the lists
 * @pages: page numbers that are to be retired
 * @told: the last page numbers that were told
 * @nr_pages: how many
 * @nr_told: how many ever
 * @errors: times that one was told, each read of a page tells again
 */
struct uvm_ecc {
	struct work_struct work;
	spinlock_t lock;
	u64 pages[16];
	u64 told[16];
	u32 nr_pages;
	u32 nr_told;
	atomic64_t errors;
};

/**
 * struct uvm_lost - whether the device is lost
 * @work: draws the consequences
 * @lost: it is
 */
struct uvm_lost {
	struct work_struct work;
	bool lost;
};

/**
 * struct uvm_peek - the CPU's way to VRAM beyond the BAR
 * @lock: one at a time
 * @buf: what an engine copies to and from; made at the first use
 * @index_lock: the index registers
 */
struct uvm_peek {
	struct mutex lock;
	struct mutex index_lock;
	struct uvm_kbuf buf;
};

/**
 * struct uvm_busy - what the jobs of a file had of the engines
 * @ref: the file's, and one of each job's
 * @ns: nanoseconds, by ring
 */
struct uvm_busy {
	refcount_t ref;
	atomic64_t ns[UVM_MAX_RINGS];
};

/**
 * struct uvm_record - what the memory manager was told and asked for
 * @on: it is recorded
 * @log: the rest of the last piece
 * @pieces: memory, and how much of it is written
 * @nr: how many there are
 * @max: how many there may be; 0: nothing was recorded
 */
struct uvm_record {
	bool on;
	struct uvm_mm_log log;
	struct uvm_record_piece {
		u8 *bytes;
		u32 len;
	} *pieces;
	u32 nr;
	u32 max;
};

/**
 * struct uvm_device - a device
 * @drm: what user space sees
 * @vdev: what the bus sees; valid within drm_dev_enter()
 * @version: of the device's window
 * @caps: UVM_WIN_CAP_*
 * @levels: of its GPUVM page tables
 * @nr_rings: SDMA instances in use
 * @mmio: registers and queues
 * @vram: VRAM
 * @gart: VMID 0
 * @vms: address spaces of processes
 * @ih: interrupts
 * @retry: page faults
 * @queues: user queues
 * @svm: mirrors of processes' memory
 * @access: the access engine
 * @rings: SDMA
 * @policy_lock: one caller at a time for @policy
 * @policy: decides where buffers lie
 * @mm: carries out what it decides
 * @peek: the way to VRAM that the CPU does not reach
 * @annotated: what the registers of annotations hold; under @policy_lock
 * @record: of @policy's memory manager; under its lock
 * @ib_buf: memory of indirect buffers
 * @ib_pool: parts of @ib_buf
 * @devmem: memory of processes in VRAM
 * @bytes_moved: bytes that moves copied
 */
struct uvm_device {
	struct drm_device drm;
	struct virtio_device *vdev;
	u32 version;
	u64 caps;
	u32 levels;
	u32 nr_rings;
	struct uvm_mmio mmio;
	struct uvm_vram vram;
	struct uvm_gart gart;
	struct uvm_vms vms;
	struct uvm_ih ih;
	struct uvm_retry retry;
	struct uvm_queues queues;
	struct uvm_access access;
	struct uvm_ecc ecc;
	struct uvm_lost lost;
	struct uvm_svm_dev svm;
	struct uvm_suspend suspend;
	struct uvm_ring rings[UVM_MAX_RINGS];
	struct mutex policy_lock;
	struct uvm_policy *policy;
	struct uvm_mm_dev mm;
	struct uvm_peek peek;
	u32 annotated[4];
	struct uvm_record record;
	struct uvm_kbuf ib_buf;
	struct drm_suballoc_manager ib_pool;
	struct uvm_devmem_dev devmem;
	atomic64_t bytes_moved;
};

/**
 * struct uvm_file - an open file
 * @submit_lock: keeps fences in the order of their jobs, and @vm
 * @vm: its address space, made at the first use; NULL: none yet
 * @client: the owner of its buffers
 * @busy: what its jobs had of the engines
 * @entities: its queue to each ring
 */
struct uvm_file {
	struct mutex submit_lock;
	struct uvm_vm *vm;
	struct uvm_mm_client *client;
	struct uvm_busy *busy;
	struct drm_sched_entity entities[UVM_MAX_RINGS];
};

/**
 * struct uvm_bo - a buffer object
 * @base: the GEM object
 * @policy_id: the policy's name of it
 * @domain: UVM_DOMAIN_* where its bytes are
 * @offset: where in that domain
 * @unsnooped: its system pages are not cached by the CPU, and nobody snoops
 * @pages: its system pages as many as there are
 * @mappings: struct uvm_mapping of it; under uvm_vms.list_lock
 * @sgt: another driver's pages, which @pages stand for; NULL: they are ours
 * @mm: what the memory manager knows of it
 *
 * @domain and @offset change only under the reservation lock, and hold while
 * @mm says that page tables have the buffer; @pages only while none has it.
 */
struct uvm_bo {
	struct drm_gem_object base;
	u64 policy_id;
	u32 domain;
	u64 offset;
	bool unsnooped;
	struct page **pages;
	struct list_head mappings;
	struct sg_table *sgt;
	struct uvm_mm_bo mm;
};

static inline struct uvm_device *to_uvm(struct drm_device *drm)
{
	return container_of(drm, struct uvm_device, drm);
}

/* The device has an access engine, and access counters. */
static inline bool uvm_has_access(struct uvm_device *uvm)
{
	return uvm->caps & UVM_WIN_CAP_ACCESS;
}

/* VRAM is a part of system memory: there is no BAR. */
static inline bool uvm_has_uma(struct uvm_device *uvm)
{
	return uvm->caps & UVM_WIN_CAP_UMA;
}

/* The device judges us, and listens to what it cannot see. */
static inline bool uvm_is_judged(struct uvm_device *uvm)
{
	return uvm->caps & UVM_WIN_CAP_CHECKS;
}

/* VMID 0 translates by three levels, of which the first is in registers. */
static inline bool uvm_has_vidmm(struct uvm_device *uvm)
{
	return uvm->caps & UVM_WIN_CAP_VIDMM;
}

static inline struct uvm_bo *to_uvm_bo(struct drm_gem_object *obj)
{
	return container_of(obj, struct uvm_bo, base);
}

/* uvm_drv.c */
extern uint uvm_gart_mb;
extern uint uvm_timeout_ms;

/* uvm_mmio.c */
u32 uvm_win_get32(struct virtio_device *vdev, u32 offset);
u64 uvm_win_get64(struct virtio_device *vdev, u32 offset);
u64 uvm_win_counter(struct uvm_device *uvm, u32 offset);
u32 uvm_rreg(struct uvm_device *uvm, u32 index);
void uvm_wreg(struct uvm_device *uvm, u32 index, u32 value);
bool uvm_doorbell(struct uvm_device *uvm, u32 slot, u64 value);
int uvm_mmio_init(struct uvm_device *uvm);
int uvm_mmio_start_events(struct uvm_device *uvm);
u32 uvm_mmio_repost_events(struct uvm_device *uvm);
void uvm_mmio_fini(struct uvm_device *uvm);

/* uvm_vram.c */
int uvm_vram_init(struct uvm_device *uvm);

/* uvm_gart.c */
u64 uvm_gart_table_bytes(struct uvm_device *uvm);
int uvm_gart_init(struct uvm_device *uvm);
void uvm_gart_write(struct uvm_device *uvm, u64 offset, struct page **pages,
		    u64 nr_pages, bool unsnooped);
u32 uvm_gart_emit_dummies(struct uvm_device *uvm, __le32 *p, u64 offset,
			  u64 nr_pages);
void uvm_gart_bind(struct uvm_device *uvm, u64 offset, struct page **pages,
		   u64 nr_pages);
void uvm_gart_bind_unsnooped(struct uvm_device *uvm, u64 offset,
			     struct page **pages, u64 nr_pages);
void uvm_gart_retire(struct uvm_device *uvm, u64 offset, u64 nr_pages);
int uvm_gart_unbind(struct uvm_device *uvm, u64 offset, u64 nr_pages);
int uvm_gart_flush(struct uvm_device *uvm);
int uvm_gart_forget(struct uvm_device *uvm);
int uvm_kbuf_alloc(struct uvm_device *uvm, struct uvm_kbuf *buf, u64 size);
void uvm_kbuf_free(struct uvm_device *uvm, struct uvm_kbuf *buf);

/* uvm_vidmm.c */
u64 uvm_vidmm_directory_bytes(struct uvm_device *uvm);
void uvm_vidmm_fill(struct uvm_device *uvm);
void uvm_vidmm_enable(struct uvm_device *uvm);

/* uvm_gmc.c */
int uvm_gmc_init(struct uvm_device *uvm);
void uvm_gmc_stop(struct uvm_device *uvm);
void uvm_gmc_fini(struct uvm_device *uvm);
void uvm_wreg64(struct uvm_device *uvm, u32 low, u32 high, u64 value);
int uvm_gmc_invalidate_gart(struct uvm_device *uvm);
u32 uvm_gmc_emit_flush(__le32 *p, u32 ring);
u64 uvm_gpu_addr(u32 domain, u64 offset);
int uvm_gmc_invalidate(struct uvm_device *uvm, u32 vmids, u64 first, u64 count);
int uvm_gmc_forget(struct uvm_device *uvm, u32 pasid, u64 first, u64 count);
void uvm_gmc_limits(struct uvm_device *uvm, u32 vmid, u64 first, u64 last);
void uvm_gmc_load(struct uvm_device *uvm, u32 vmid, u64 root,
		  const struct uvm_vm *vm);
void uvm_gmc_retry_loaded(struct uvm_device *uvm, const struct uvm_vm *vm);
void uvm_gmc_retry(struct uvm_device *uvm, u32 vmid, const struct uvm_vm *vm);

/* uvm_ih.c */
int uvm_ih_init(struct uvm_device *uvm);
void uvm_ih_work(struct work_struct *work);
void uvm_ih_stop(struct uvm_device *uvm);
void uvm_ih_fini(struct uvm_device *uvm);
void uvm_ih_kick(struct uvm_device *uvm);
void uvm_ih_flush(struct uvm_device *uvm);
void uvm_ih_dispatch(struct uvm_device *uvm, const __le32 *dw);
void uvm_ih_poll(struct uvm_device *uvm);

/* uvm_ecc.c */
void uvm_ecc_init(struct uvm_device *uvm);
void uvm_ecc_fini(struct uvm_device *uvm);
void uvm_ecc_error(struct uvm_device *uvm, u64 page);

/* uvm_lost.c */
void uvm_lost_init(struct uvm_device *uvm);
void uvm_lost_fini(struct uvm_device *uvm);
void uvm_lost(struct uvm_device *uvm, const char *why);
bool uvm_is_lost(struct uvm_device *uvm);

/* uvm_gem.c */
vm_fault_t uvm_bo_map(struct uvm_bo *bo, struct vm_fault *vmf, u32 domain,
		      u64 offset);
int uvm_ioctl_gem_create(struct drm_device *drm, void *data,
			 struct drm_file *file);
int uvm_ioctl_gem_mmap(struct drm_device *drm, void *data,
		       struct drm_file *file);
int uvm_ioctl_gem_info(struct drm_device *drm, void *data,
		       struct drm_file *file);
int uvm_ioctl_gem_wait(struct drm_device *drm, void *data,
		       struct drm_file *file);

/* uvm_prime.c */
struct dma_buf *uvm_prime_export(struct drm_gem_object *obj, int flags);
struct sg_table *uvm_prime_sg_table(struct drm_gem_object *obj);
struct drm_gem_object *
uvm_prime_import_table(struct drm_device *drm,
		       struct dma_buf_attachment *attach, struct sg_table *sgt);
struct drm_gem_object *uvm_prime_import(struct drm_device *drm,
					struct dma_buf *dma_buf);

/* uvm_bind.c */
int uvm_bind_do(struct uvm_vm *vm, struct uvm_bind *bind,
		const struct drm_uvm_vm_bind *args, struct uvm_bo *bo,
		struct dma_fence **fence);

/* uvm_vm_ioctl.c */
struct uvm_vm *uvm_file_vm(struct uvm_device *uvm, struct uvm_file *ufile);
int uvm_ioctl_vm_bind(struct drm_device *drm, void *data,
		      struct drm_file *file);
int uvm_ioctl_fault_query(struct drm_device *drm, void *data,
			  struct drm_file *file);
int uvm_ioctl_hang_query(struct drm_device *drm, void *data,
			 struct drm_file *file);

/* uvm_submit.c */
int uvm_ioctl_submit(struct drm_device *drm, void *data,
		     struct drm_file *file);

/* uvm_busy.c */
struct uvm_busy *uvm_busy_alloc(void);
struct uvm_busy *uvm_busy_get(struct uvm_busy *busy);
void uvm_busy_put(struct uvm_busy *busy);
void uvm_busy_charge(struct uvm_ring *ring, struct uvm_fence *fence,
		     ktime_t now);
void uvm_busy_show(struct drm_printer *p, struct uvm_device *uvm,
		   struct uvm_busy *busy);

/* uvm_record.c */
int uvm_record_init(struct uvm_device *uvm);
struct uvm_mm_log *uvm_record_log(struct uvm_device *uvm, u32 nr_bos);
void uvm_record_done(struct uvm_device *uvm, struct uvm_mm_log *log);
void uvm_record_debugfs(struct uvm_device *uvm);
void uvm_record_fini(struct uvm_device *uvm);

/* uvm_debugfs.c */
void uvm_debugfs_init(struct uvm_device *uvm);
void uvm_show_fdinfo(struct drm_printer *p, struct drm_file *file);

/* uvm_annotate.c */
int uvm_annotate_init(struct uvm_device *uvm);
void uvm_annotate(struct uvm_device *uvm);

/* uvm_unsnooped.c */
int uvm_pages_cache(struct page **pages, u64 nr);
int uvm_pages_uncache(struct page **pages, u64 nr);

/* uvm_peek.c */
int uvm_bo_access(struct uvm_bo *bo, u64 offset, void *buf, u64 len,
		  bool write);
int uvm_bo_vm_access(struct vm_area_struct *vma, unsigned long addr, void *buf,
		     int len, int write);
void uvm_peek_read(struct uvm_device *uvm, u64 offset, void *buf, u64 len);
void uvm_peek_init(struct uvm_device *uvm);
void uvm_peek_fini(struct uvm_device *uvm);
int uvm_ioctl_gem_access(struct drm_device *drm, void *data,
			 struct drm_file *file);

/* uvm_policy_glue.c */
int uvm_policy_init(struct uvm_device *uvm);
void uvm_policy_fini(struct uvm_device *uvm);
unsigned int uvm_policy_begin(struct uvm_device *uvm);
void uvm_policy_end(struct uvm_device *uvm, unsigned int flags);

#endif /* UVM_DRV_H */
