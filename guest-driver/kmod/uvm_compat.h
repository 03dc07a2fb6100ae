/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What kernels call by different names, from 7.2 on.
 */

#ifndef UVM_COMPAT_H
#define UVM_COMPAT_H

#include <linux/shmem_fs.h>
#include <linux/version.h>

/* Writes a locked folio out. Return: 0, or not 0: it is locked still. */
static inline int uvm_shmem_write(struct folio *folio)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
	return shmem_write_folio(folio);
#else
	return shmem_writeout(folio, NULL, NULL);
#endif
}

#endif /* UVM_COMPAT_H */
