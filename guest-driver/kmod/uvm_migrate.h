/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What migrations by address (uvm_migrate.c) and by place (uvm_devmem_evict.c)
 * have in common.
 */
#ifndef UVM_MIGRATE_H
#define UVM_MIGRATE_H

#include <linux/mm.h>
#include <linux/migrate.h>

#include "uvm_devmem.h"

/**
 * struct uvm_migration - a block on its way
 * @dm: the instance
 * @args: what the kernel is asked for; without eviction's
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
	struct migrate_vma args;
	unsigned long *src;
	unsigned long *dst;
	struct uvm_copy_page *copies;
	u32 nr_copies;
	u32 wanted;
	struct uvm_copy copy;
	bool under_way;
};

int uvm_migration_init(struct uvm_migration *m, struct uvm_devmem *dm,
		       u32 pages);
void uvm_migration_fini(struct uvm_migration *m);
void uvm_migration_fill_system(struct uvm_migration *m, u32 nr,
			       struct vm_area_struct *vma, u64 start);
int uvm_migration_copy(struct uvm_migration *m, u32 nr, bool to_vram);
u64 uvm_migration_count(struct uvm_migration *m, u32 nr,
			struct uvm_migrate_stats *stats);

#endif /* UVM_MIGRATE_H */
