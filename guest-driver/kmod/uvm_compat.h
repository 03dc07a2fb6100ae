/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What kernels call by different names, from 7.2 on.
 */

#ifndef UVM_COMPAT_H
#define UVM_COMPAT_H

#include <linux/errno.h>
#include <linux/hmm.h>
#include <linux/mm.h>
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

/* As hmm_range_fault(), where what brings a page may want mmap_lock meanwhile. */
static inline int uvm_hmm_fault_unlocked(struct hmm_range *range)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
	return hmm_range_fault_unlocked_timeout(range, 0);
#else
	return -EINVAL;
#endif
}

/* What the anonymous folio of a mapping's first page has as its index. */
static inline u64 uvm_vma_anon_index(const struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
	/* Another one than in the file, where the mapping has a file. */
	return vma_start_anon_pgoff(vma);
#else
	return vma->vm_pgoff;
#endif
}

#endif /* UVM_COMPAT_H */
