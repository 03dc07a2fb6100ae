// SPDX-License-Identifier: GPL-2.0
/*
 * The MMU profile vidmm: VMID 0 translates by three levels of 512 entries.
 *
 *   first    registers, 1 GiB an entry
 *   second   directories in VRAM, a page for each GiB, 2 MiB an entry
 *   third    page tables in VRAM, a page for each 2 MiB, 4 KiB an entry
 *
 * The page tables lie in a row, so that they are the GART's entries as
 * uvm_gart.c writes them, in either profile. The CPU fills all of it through
 * its mapping of VRAM. No directory entry reaches past the window's end (in
 * steps of 2 MiB): an access there is reported, instead of passing unseen.
 */

#include <linux/sizes.h>

#include "uvm_drv.h"

#define UVM_VIDMM_FIRST_BYTES	SZ_1G
#define UVM_VIDMM_ENTRIES	(PAGE_SIZE / sizeof(u64))

/* The window starts where a first-level entry does, and ends within the last. */
static_assert(UVM_GART_START % UVM_VIDMM_FIRST_BYTES == 0);
static_assert(UVM_GART_START + UVM_GART_MAX <=
	      UVM_VIDMM_ENTRIES * UVM_VIDMM_FIRST_BYTES);

/* Directories of the window. */
static u64 uvm_vidmm_directories(struct uvm_device *uvm)
{
	return DIV_ROUND_UP_ULL(uvm->gart.size, UVM_VIDMM_FIRST_BYTES);
}

/**
 * uvm_vidmm_directory_bytes() - VRAM that the second level takes
 * @uvm: the device, with the size of its GART
 *
 * Return: bytes; 0 in another profile.
 */
u64 uvm_vidmm_directory_bytes(struct uvm_device *uvm)
{
	return uvm_has_vidmm(uvm) ? uvm_vidmm_directories(uvm) * PAGE_SIZE : 0;
}

/**
 * uvm_vidmm_fill() - write the second level
 * @uvm: the device, with the place of the GART's tables
 */
void uvm_vidmm_fill(struct uvm_device *uvm)
{
	struct uvm_gart *gart = &uvm->gart;
	__le64 __iomem *entry = uvm->vram.cpu + gart->directory_offset;
	u64 tables = gart->table_bytes / PAGE_SIZE;
	u64 i;

	for (i = 0; i < uvm_vidmm_directories(uvm) * UVM_VIDMM_ENTRIES; i++)
		writeq(i < tables ?
		       (gart->table_offset + i * PAGE_SIZE) | UVM_PTE_VALID : 0,
		       (void __iomem *)(entry + i));
}

/**
 * uvm_vidmm_enable() - write the first level and switch translation on
 * @uvm: the device; what was cached is the caller's to invalidate
 */
void uvm_vidmm_enable(struct uvm_device *uvm)
{
	u64 n = UVM_GART_START / UVM_VIDMM_FIRST_BYTES;
	u64 i;

	/* The directories first; they went through a write-combining mapping. */
	wmb();
	/* The registers of all other entries hold 0 since the device's reset. */
	for (i = 0; i < uvm_vidmm_directories(uvm); i++)
		uvm_wreg64(uvm, mmMMIO_MMU_START_ADDRESS(2 * (n + i)),
			   mmMMIO_MMU_START_ADDRESS(2 * (n + i) + 1),
			   (uvm->gart.directory_offset + i * PAGE_SIZE) |
			   UVM_PTE_VALID);
	uvm_wreg(uvm, mmMMIO_MMU_CNTL, MMIO_MMU_CNTL__ENABLE);
}
