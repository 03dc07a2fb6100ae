// SPDX-License-Identifier: GPL-2.0
/*
 * System pages that nobody snoops: they are write-combined wherever the CPU has
 * them, in the kernel's own mapping too, as two mappings that disagree would
 * show old bytes. Where an architecture has no such thing, the kernel's caches
 * are part of what the device sees anyway.
 */

#ifdef CONFIG_X86
#include <asm/set_memory.h>
#endif

#include "uvm_drv.h"

/**
 * uvm_pages_cache() - let the CPU cache pages again
 * @pages: the pages; nobody but the kernel has them mapped
 * @nr: how many
 *
 * Context: may sleep.
 * Return: 0 or an errno; the pages must not be given back then.
 */
int uvm_pages_cache(struct page **pages, u64 nr)
{
#ifdef CONFIG_X86
	return set_pages_array_wb(pages, nr);
#else
	return 0;
#endif
}

/**
 * uvm_pages_uncache() - have the CPU write past its caches
 * @pages: the pages; nobody but the kernel has them mapped
 * @nr: how many
 *
 * What was cached is in memory when this returns. Context: may sleep.
 *
 * Return: 0 or an errno; the pages are as they were then.
 */
int uvm_pages_uncache(struct page **pages, u64 nr)
{
#ifdef CONFIG_X86
	int ret = set_pages_array_wc(pages, nr);

	/* Some may have been changed. */
	if (ret)
		WARN_ON_ONCE(set_pages_array_wb(pages, nr));
	return ret;
#else
	return 0;
#endif
}
