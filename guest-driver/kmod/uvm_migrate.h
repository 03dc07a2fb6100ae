/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Migrations by address (uvm_migrate.c), and what empties chunks by them
 * (uvm_devmem_leave.c).
 */
#ifndef UVM_MIGRATE_H
#define UVM_MIGRATE_H

#include <linux/mm.h>
#include <linux/migrate.h>

#include "uvm_devmem.h"

/**
 * struct uvm_migration - a block on its way
 * @dm: the instance
 * @home: whose memory goes to VRAM
 * @only: of what comes from VRAM, only pages of this chunk; NULL: all
 * @args: what the kernel is asked for
 * @src: pages as they are
 * @dst: pages as they are to be
 * @copies: what is to be copied
 * @nr_copies: how many
 * @wanted: pages that could be moved
 * @copy: the copies, where @under_way
 * @under_way: pages are taken out, and on their way
 */
struct uvm_migration {
	struct uvm_devmem *dm;
	struct uvm_home *home;
	const struct uvm_chunk *only;
	struct migrate_vma args;
	unsigned long *src;
	unsigned long *dst;
	struct uvm_copy_page *copies;
	u32 nr_copies;
	u32 wanted;
	struct uvm_copy copy;
	bool under_way;
};

/**
 * struct uvm_leaver - a page that is to go
 * @index: in its mapping
 * @at: in its chunk
 */
struct uvm_leaver {
	u64 index;
	u32 at;
};

/**
 * struct uvm_leave - a chunk that is emptied
 * @m: moves what a mapping has of it
 * @chunk: the chunk
 * @held: memory whose mmap_lock the caller holds, or NULL
 * @pages: of one process, that are to go
 * @order: the same, and those that have gone, in the order of their mapping
 * @nr_order: how many
 * @gone: pages that went
 * @error: why pages that were found did not
 */
struct uvm_leave {
	struct uvm_migration m;
	struct uvm_chunk *chunk;
	struct mm_struct *held;
	DECLARE_BITMAP(pages, UVM_CHUNK_PAGES);
	struct uvm_leaver *order;
	u32 nr_order;
	u64 gone;
	int error;
};

/* uvm_migrate.c */
int uvm_migration_init(struct uvm_migration *m, struct uvm_devmem *dm,
		       u32 pages);
void uvm_migration_fini(struct uvm_migration *m);
int uvm_migration_bring(struct uvm_migration *m, struct vm_area_struct *vma,
			u64 start, u64 end, struct uvm_migrate_stats *stats);

/* uvm_devmem_leave.c */
int uvm_leave_init(struct uvm_leave *leave, struct mm_struct *held);
void uvm_leave_fini(struct uvm_leave *leave);
int uvm_leave_chunk(struct uvm_leave *leave, struct uvm_chunk *chunk);

#endif /* UVM_MIGRATE_H */
