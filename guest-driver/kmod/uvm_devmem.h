/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of processes in VRAM: pages that the kernel has struct pages of
 * (device-private), how they get there and back, and the rings that copy them.
 */
#ifndef UVM_DEVMEM_H
#define UVM_DEVMEM_H

#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/memremap.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "uvm_kbuf.h"

struct drm_device;
struct drm_file;
struct seq_file;
struct uvm_device;
struct vm_area_struct;

/* What VRAM is taken and given back in. */
#define UVM_CHUNK_SIZE		SZ_2M
#define UVM_CHUNK_SHIFT		21
#define UVM_CHUNK_PAGES		(UVM_CHUNK_SIZE >> PAGE_SHIFT)
#define UVM_CHUNK_ORDER		(UVM_CHUNK_SHIFT - PAGE_SHIFT)

/* Copies under way at once on one ring: one window is filled meanwhile. */
#define UVM_COPY_WINDOWS	2
#define UVM_COPY_MAX_PAGES	UVM_CHUNK_PAGES

/* PAGE is the second ring of an instance. */
#define UVM_PAGE_RING		1
/* Of the SDMA instances, as UVM_MAX_RINGS. */
#define UVM_MAX_PAGE_RINGS	2

struct uvm_page_ring;
struct mm_struct;

/**
 * struct uvm_page_fence - the end of packets on a PAGE ring
 * @ring: the ring
 * @node: place among those that run; under the ring's lock
 * @seq: what the ring writes when it has come there
 * @error: why that never comes; under the ring's lock
 */
struct uvm_page_fence {
	struct uvm_page_ring *ring;
	struct list_head node;
	u32 seq;
	int error;
};

/**
 * struct uvm_copy_window - GART addresses through which system pages are copied
 * @ring: the ring that copies
 * @range: the policy's name of the addresses; 0: there are none
 * @offset: where they are in the GART
 * @pages: what is bound there, for the time of a copy
 * @bound: how many
 * @fence: the end of the copy under way
 * @busy: somebody has the window; under uvm_devmem_dev.copy_lock
 */
struct uvm_copy_window {
	struct uvm_page_ring *ring;
	u64 range;
	u64 offset;
	struct page **pages;
	u32 bound;
	struct uvm_page_fence fence;
	bool busy;
};

/**
 * struct uvm_page_ring - the PAGE ring of an SDMA instance
 * @uvm: the device
 * @index: number of the instance
 * @doorbell: slot
 * @name: for people
 * @lock: what is emitted, and recovery
 * @buf: the ring
 * @wb: page the device writes to: read pointer and fence
 * @wptr: dwords emitted, never wrapping
 * @emitted: number of the last fence emitted
 * @started: its memory is there, and vectors may name it
 * @dead: it is not used any more
 * @failures: times in a row that it had to be reset
 * @wait: for fences
 * @running: struct uvm_page_fence that are waited for; under @lock
 * @windows: what its copies go through
 * @traps: interrupts of TRAP packets
 * @resets: times that it was reset
 */
struct uvm_page_ring {
	struct uvm_device *uvm;
	u32 index;
	u32 doorbell;
	char name[12];
	struct mutex lock;
	struct uvm_kbuf buf;
	struct uvm_kbuf wb;
	u64 wptr;
	u32 emitted;
	bool started;
	bool dead;
	u32 failures;
	wait_queue_head_t wait;
	struct list_head running;
	struct uvm_copy_window windows[UVM_COPY_WINDOWS];
	atomic64_t traps;
	atomic64_t resets;
};

/**
 * struct uvm_copy_page - a page of a copy
 * @system: the system page; NULL: zeros go to VRAM
 * @vram: the VRAM page's offset, bytes
 * @failed: out: it could not be copied
 */
struct uvm_copy_page {
	struct page *system;
	u64 vram;
	bool failed;
};

/* Copies of one call that may be under way. */
#define UVM_COPY_DEPTH		UVM_COPY_WINDOWS

/**
 * struct uvm_copy_run - one window's copy under way
 * @window: the window; NULL: none
 * @pages: what it copies
 * @nr: how many
 */
struct uvm_copy_run {
	struct uvm_copy_window *window;
	struct uvm_copy_page *pages;
	u32 nr;
};

/**
 * struct uvm_copy - copies of pages under way
 * @uvm: the device
 * @runs: in turn
 * @turn: runs begun
 * @failed: pages that were not copied
 * @idx: of drm_dev_enter(), where @entered
 * @entered: the device is held
 * @to_vram: which way
 */
struct uvm_copy {
	struct uvm_device *uvm;
	struct uvm_copy_run runs[UVM_COPY_DEPTH];
	u32 turn;
	u32 failed;
	int idx;
	bool entered;
	bool to_vram;
};

/**
 * struct uvm_devmem - an owner of device-private pages
 * @pagemap: its struct pages, one for each page of VRAM
 * @uvm: the device
 * @name: for people
 * @first: page frame number of VRAM's first page
 * @reserved: bytes of physical addresses that the pages are named by
 * @fault_pages: pages that a CPU's access brings back, a power of two
 * @ready: there are struct pages
 * @fail_next: the next page or folio is not to be had: for tests
 * @closed: takes no pages any more; under uvm_devmem_dev.lock
 * @used: pages in use; under uvm_devmem_dev.lock
 * @chunks: struct uvm_chunk with a free page; under uvm_devmem_dev.lock
 * @full: struct uvm_chunk without; under uvm_devmem_dev.lock
 */
struct uvm_devmem {
	struct dev_pagemap pagemap;
	struct uvm_device *uvm;
	const char *name;
	unsigned long first;
	u64 reserved;
	u32 fault_pages;
	bool ready;
	bool fail_next;
	bool closed;
	u64 used;
	struct list_head chunks;
	struct list_head full;
};

/**
 * struct uvm_home - a process's memory that pages of VRAM are of
 * @node: in uvm_devmem_dev.homes
 * @mm: the memory, not its users
 * @uses: pages that were taken for it and are in use, and who works on it; under
 *	uvm_devmem_dev.lock
 */
struct uvm_home {
	struct list_head node;
	struct mm_struct *mm;
	u64 uses;
};

/**
 * struct uvm_chunk - 2 MiB of VRAM with device-private pages
 * @dm: whose
 * @node: in one of its lists, or among those to be given back
 * @range: the policy's name of it
 * @index: which chunk of VRAM it is
 * @used: pages in use
 * @leaving: it is being emptied: no page of it is given out, and it stays in its
 *	list
 * @round: the last round of evictions that came to it
 * @map: pages in use
 * @twice: of these, second copies; their zone_device_data is the block that has
 *	them
 * @homes: for each page in use, whose it is; NULL: nobody's by the CPU's page
 *	tables. A child that a process forks may have it too, or alone.
 *
 * All but @range and @index under uvm_devmem_dev.lock.
 */
struct uvm_chunk {
	struct uvm_devmem *dm;
	struct list_head node;
	u64 range;
	u32 index;
	u32 used;
	bool leaving;
	u64 round;
	DECLARE_BITMAP(map, UVM_CHUNK_PAGES);
	DECLARE_BITMAP(twice, UVM_CHUNK_PAGES);
	struct uvm_home **homes;
};

/**
 * struct uvm_devmem_counters - what happened since the driver was bound
 * @to_vram: pages that went to VRAM
 * @to_system: pages that came back
 * @cleared: of those that went, pages that had no content yet
 * @huge: of all, 2 MiB at once
 * @failed: pages that stayed where they were
 * @cpu_faults: accesses of CPUs that brought pages back
 * @evicted: pages that came back to make room
 * @by_cpu: pages that the CPU had to copy, as no ring did
 * @copy_ns: time spent with copies, waiting included
 * @lost: accesses of CPUs to pages that are gone with their device
 */
struct uvm_devmem_counters {
	atomic64_t to_vram;
	atomic64_t to_system;
	atomic64_t cleared;
	atomic64_t huge;
	atomic64_t failed;
	atomic64_t cpu_faults;
	atomic64_t evicted;
	atomic64_t by_cpu;
	atomic64_t copy_ns;
	atomic64_t lost;
};

/**
 * struct uvm_devmem_dev - the device's part
 * @svm: pages of processes' own memory
 * @init_lock: makes @svm ready once
 * @lock: all chunks and their maps; taken where pages are freed, so spinning
 * @table: struct uvm_chunk by its number; NULL where there is none
 * @nr_chunks: how many there can be
 * @taken: how many there are; under @lock
 * @rounds: rounds of evictions so far; under @lock
 * @homes: struct uvm_home; under @lock
 * @empty: chunks that nobody uses
 * @give_back: gives them to the policy, and forgets homes without pages
 * @rings: PAGE rings
 * @window_pages: pages of a window
 * @copy_lock: who has which window; a leaf
 * @copy_wait: for a window
 * @next_ring: whose turn it is; under @copy_lock
 * @count: counters
 */
struct uvm_devmem_dev {
	struct uvm_devmem svm;
	struct mutex init_lock;
	spinlock_t lock;
	struct uvm_chunk **table;
	u32 nr_chunks;
	u32 taken;
	u64 rounds;
	struct list_head homes;
	struct list_head empty;
	struct work_struct give_back;
	struct uvm_page_ring rings[UVM_MAX_PAGE_RINGS];
	u32 window_pages;
	spinlock_t copy_lock;
	wait_queue_head_t copy_wait;
	u32 next_ring;
	struct uvm_devmem_counters count;
};

/**
 * struct uvm_migrate_stats - what a migration did, added to what is there
 * @pages: pages that are where they were to go now
 * @huge: of them, 2 MiB at once
 * @failed: pages that could be moved and were not: no memory there, or no copy
 */
struct uvm_migrate_stats {
	u64 pages;
	u64 huge;
	u64 failed;
};

/* uvm_page_ring.c */
int uvm_page_ring_init(struct uvm_device *uvm, u32 index);
int uvm_page_ring_start(struct uvm_page_ring *ring);
int uvm_page_ring_test(struct uvm_page_ring *ring);
void uvm_page_ring_stop(struct uvm_page_ring *ring);
void uvm_page_ring_fini(struct uvm_page_ring *ring);
void uvm_page_ring_kick(struct uvm_page_ring *ring);
void uvm_page_ring_interrupt(struct uvm_page_ring *ring, u8 source);
int uvm_page_ring_begin(struct uvm_page_ring *ring);
void uvm_page_ring_put(struct uvm_page_ring *ring, const __le32 *packet, u32 n);
void uvm_page_ring_put_flush(struct uvm_page_ring *ring);
void uvm_page_ring_end(struct uvm_page_ring *ring,
		       struct uvm_page_fence *fence);
int uvm_page_ring_wait(struct uvm_page_fence *fence);

/* uvm_migrate_copy.c */
int uvm_copy_windows_init(struct uvm_device *uvm);
void uvm_copy_windows_fini(struct uvm_device *uvm);
void uvm_copy_start(struct uvm_copy *copy, struct uvm_device *uvm,
		    struct uvm_copy_page *pages, u32 nr, bool to_vram,
		    struct uvm_copy *before);
u32 uvm_copy_finish(struct uvm_copy *copy);
u32 uvm_copy_pages(struct uvm_device *uvm, struct uvm_copy_page *pages, u32 nr,
		   bool to_vram);

/* uvm_devmem.c */
void uvm_devmem_dev_prepare(struct uvm_device *uvm);
int uvm_devmem_dev_init(struct uvm_device *uvm);
void uvm_devmem_dev_close(struct uvm_device *uvm);
void uvm_devmem_dev_stop(struct uvm_device *uvm);
void uvm_devmem_dev_fini(struct uvm_device *uvm);
struct uvm_devmem *uvm_devmem_svm(struct uvm_device *uvm);
int uvm_devmem_init(struct uvm_devmem *dm, struct uvm_device *uvm,
		    const char *name);
void uvm_devmem_fini(struct uvm_devmem *dm);
struct uvm_devmem *uvm_devmem_of(const struct page *page);
u64 uvm_devmem_offset(const struct page *page);
bool uvm_devmem_fails(struct uvm_devmem *dm);
void uvm_devmem_touch(struct uvm_device *uvm, u64 offset);
int uvm_devmem_reserve(struct uvm_devmem *dm, u32 pages, bool evict,
		       struct mm_struct *held);
struct page *uvm_devmem_alloc(struct uvm_devmem *dm, u32 order,
			      struct uvm_home *home);

/* uvm_devmem_home.c */
struct uvm_home *uvm_home_get(struct uvm_device *uvm, struct mm_struct *mm);
void uvm_home_unuse(struct uvm_devmem_dev *dev, struct uvm_home *home,
		    u32 uses);
void uvm_home_put(struct uvm_device *uvm, struct uvm_home *home);
void uvm_homes_reap(struct uvm_devmem_dev *dev);

/* uvm_migrate.c */
int uvm_migrate_to_vram(struct uvm_devmem *dm, struct vm_area_struct *vma,
			u64 start, u64 end, struct uvm_migrate_stats *stats);
int uvm_migrate_to_system(struct uvm_devmem *dm, struct vm_area_struct *vma,
			  u64 start, u64 end, struct uvm_migrate_stats *stats);
vm_fault_t uvm_migrate_to_ram(struct vm_fault *vmf);

/* uvm_devmem_ioctl.c */
u64 uvm_devmem_param(struct uvm_device *uvm, u32 param);
int uvm_ioctl_svm_prefetch(struct drm_device *drm, void *data,
			   struct drm_file *file);
void uvm_devmem_show(struct uvm_device *uvm, struct seq_file *m);

/* uvm_devmem_evict.c */
bool uvm_devmem_leaves(struct uvm_device *uvm, u32 chunk);
u64 uvm_devmem_make_room(struct uvm_device *uvm, u64 bytes,
			 struct mm_struct *held);
int uvm_devmem_evict(struct uvm_devmem *dm, u64 bytes);
int uvm_devmem_evict_all(struct uvm_devmem *dm);

#endif /* UVM_DEVMEM_H */
