// SPDX-License-Identifier: GPL-2.0
/*
 * What people look at: debugfs files, and the memory statistics of fdinfo.
 */

#include <linux/pci.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>

#include <drm/drm_debugfs.h>
#include <drm/drm_print.h>

#include "uvm_drv.h"

static const struct {
	const char *name;
	u32 index;
} uvm_debugfs_regs[] = {
	{ "RCC_CONFIG_MEMSIZE", mmRCC_CONFIG_MEMSIZE },
	{ "RCC_DOORBELL_APER_EN", mmRCC_DOORBELL_APER_EN },
	{ "IH_RB_CNTL", mmIH_RB_CNTL },
	{ "IH_RB_RPTR", mmIH_RB_RPTR },
	{ "IH_RB_WPTR", mmIH_RB_WPTR },
	{ "MMHUB.MC_VM_FB_LOCATION_BASE", mmMM_MC_VM_FB_LOCATION_BASE },
	{ "MMHUB.MC_VM_FB_LOCATION_TOP", mmMM_MC_VM_FB_LOCATION_TOP },
	{ "MMHUB.MC_VM_SYSTEM_APERTURE_LOW_ADDR",
	  mmMM_MC_VM_SYSTEM_APERTURE_LOW_ADDR },
	{ "MMHUB.MC_VM_SYSTEM_APERTURE_HIGH_ADDR",
	  mmMM_MC_VM_SYSTEM_APERTURE_HIGH_ADDR },
	{ "MMHUB.MC_VM_MX_L1_TLB_CNTL", mmMM_MC_VM_MX_L1_TLB_CNTL },
	{ "MMHUB.VM_CONTEXT0_CNTL", mmMM_VM_CONTEXT_CNTL(0) },
	{ "MMHUB.VM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO",
	  mmMM_VM_CONTEXT_PAGE_TABLE_BASE_ADDR(0) },
	{ "MMHUB.VM_CONTEXT0_PAGE_TABLE_BASE_ADDR_HI",
	  mmMM_VM_CONTEXT_PAGE_TABLE_BASE_ADDR(1) },
	{ "MMIO_MMU_CNTL", mmMMIO_MMU_CNTL },
	{ "MMHUB.VM_L2_PROTECTION_FAULT_CNTL",
	  mmMM_VM_L2_PROTECTION_FAULT_CNTL },
	{ "MMHUB.VM_L2_PROTECTION_FAULT_STATUS",
	  mmMM_VM_L2_PROTECTION_FAULT_STATUS },
};

static struct uvm_device *uvm_debugfs_device(struct seq_file *m)
{
	struct drm_debugfs_entry *entry = m->private;

	return to_uvm(entry->dev);
}

static int uvm_debugfs_show_regs(struct seq_file *m, void *unused)
{
	struct uvm_device *uvm = uvm_debugfs_device(m);
	int i, idx;

	if (!drm_dev_enter(&uvm->drm, &idx))
		return -ENODEV;
	for (i = 0; i < ARRAY_SIZE(uvm_debugfs_regs); i++)
		seq_printf(m, "%-44s %08x\n", uvm_debugfs_regs[i].name,
			   uvm_rreg(uvm, uvm_debugfs_regs[i].index));
	drm_dev_exit(idx);
	return 0;
}

static void uvm_debugfs_show_ring(struct seq_file *m, struct uvm_ring *ring)
{
	struct uvm_device *uvm = ring->uvm;

	seq_printf(m, "%s: buffer %#llx, %u dwords, doorbell %#x\n",
		   ring->name, ring->buf.gpu, ring->mask + 1, ring->doorbell);
	seq_printf(m, "  RPTR %#010x WPTR %#010x (driver %#llx)\n",
		   uvm_rreg(uvm, uvm_ring_reg(ring, mmSDMA_RB_RPTR(0))),
		   uvm_rreg(uvm, uvm_ring_reg(ring, mmSDMA_RB_WPTR(0))),
		   ring->wptr << 2);
	seq_printf(m, "  RB_CNTL %#010x STATUS %#010x CONTEXT_STATUS %#010x\n",
		   uvm_rreg(uvm, uvm_ring_reg(ring, mmSDMA_RB_CNTL(0))),
		   uvm_rreg(uvm, uvm_ring_reg(ring, mmSDMA_STATUS_REG)),
		   uvm_rreg(uvm, uvm_ring_reg(ring, mmSDMA_CONTEXT_STATUS(0))));
	seq_printf(m, "  fences: emitted %u, reached %u, signalled %lld, traps %lld, timeouts %lld\n",
		   ring->emitted,
		   le32_to_cpu(READ_ONCE(*uvm_ring_wb(ring, UVM_WB_FENCE))),
		   atomic64_read(&ring->signalled),
		   atomic64_read(&ring->traps),
		   atomic64_read(&ring->timeouts));
}

static int uvm_debugfs_show_rings(struct seq_file *m, void *unused)
{
	struct uvm_device *uvm = uvm_debugfs_device(m);
	int idx;
	u32 i;

	if (!drm_dev_enter(&uvm->drm, &idx))
		return -ENODEV;
	for (i = 0; i < uvm->nr_rings; i++)
		uvm_debugfs_show_ring(m, &uvm->rings[i]);
	seq_printf(m, "doorbells %llu, of them waited %llu\n",
		   uvm->mmio.doorbells, uvm->mmio.doorbells_full);
	drm_dev_exit(idx);
	return 0;
}

static int uvm_debugfs_show_ih(struct seq_file *m, void *unused)
{
	struct uvm_device *uvm = uvm_debugfs_device(m);
	struct uvm_ih *ih = &uvm->ih;
	int idx;

	if (!drm_dev_enter(&uvm->drm, &idx))
		return -ENODEV;
	seq_printf(m, "vectors %lld, faults %lld, overflows %lld, unknown %lld\n",
		   atomic64_read(&ih->vectors), atomic64_read(&ih->faults),
		   atomic64_read(&ih->overflows), atomic64_read(&ih->unknown));
	seq_printf(m, "faults that wait: %lld, answers %lld, overflows %lld; user queues: traps %lld, stops %lld\n",
		   atomic64_read(&uvm->retry.faults),
		   atomic64_read(&uvm->retry.answers),
		   atomic64_read(&uvm->retry.overflows),
		   atomic64_read(&uvm->queues.traps),
		   atomic64_read(&uvm->queues.stops));
	seq_printf(m, "RPTR %#x, WPTR %#x in memory, %#x in the register\n",
		   ih->rptr, le32_to_cpu(READ_ONCE(*ih->wptr_cpu)),
		   uvm_rreg(uvm, mmIH_RB_WPTR));
	drm_dev_exit(idx);
	return 0;
}

static int uvm_debugfs_show_memory(struct seq_file *m, void *unused)
{
	struct uvm_device *uvm = uvm_debugfs_device(m);
	static const char * const names[] = {
		[UVM_POLICY_DOMAIN_GTT] = "gtt",
		[UVM_POLICY_DOMAIN_VRAM] = "vram",
	};
	struct uvm_policy_stats stats;
	u32 domain, bos = 0, moves = 0;
	unsigned int flags;
	int ret;

	for (domain = UVM_POLICY_DOMAIN_GTT; domain <= UVM_POLICY_DOMAIN_VRAM;
	     domain++) {
		flags = uvm_policy_begin(uvm);
		ret = uvm_policy_stats(uvm->policy, domain, &stats);
		uvm_policy_in_use(uvm->policy, &bos, &moves);
		uvm_policy_end(uvm, flags);
		if (ret)
			continue;
		seq_printf(m, "%s: size %llu used %llu reserved %llu longest free %llu ranges %llu holes %llu\n",
			   names[domain], stats.size, stats.used,
			   stats.reserved, stats.longest_free, stats.blocks,
			   stats.holes);
	}
	seq_printf(m, "buffers %u, moves in flight %u, bytes moved %lld, invalidations %llu\n",
		   bos, moves, atomic64_read(&uvm->bytes_moved),
		   uvm->gart.invalidations);
	return 0;
}

static int uvm_debugfs_show_binds(struct seq_file *m, void *unused)
{
	struct uvm_vms *vms = &uvm_debugfs_device(m)->vms;

	seq_printf(m, "binds %lld, batches %lld, invalidations %lld\n",
		   atomic64_read(&vms->binds), atomic64_read(&vms->batches),
		   atomic64_read(&vms->invalidations));
	return 0;
}

static int uvm_debugfs_show_mm(struct seq_file *m, void *unused)
{
	struct uvm_device *uvm = uvm_debugfs_device(m);
	static const char * const kinds[] = {
		[UVM_MM_SEG_LOCAL] = "local",
		[UVM_MM_SEG_LOCAL_INVISIBLE] = "local-invisible",
		[UVM_MM_SEG_SNOOPED] = "pcie-snooped",
		[UVM_MM_SEG_UNSNOOPED] = "pcie-unsnooped",
		[UVM_MM_SEG_PAGING] = "paging",
		[UVM_MM_SEG_OWN_LOCAL] = "own-local",
		[UVM_MM_SEG_OWN_PCIE] = "own-pcie",
	};
	const struct uvm_mm_config *config = &uvm->mm.config;
	struct uvm_policy_stats stats;
	struct uvm_mm_stats sum = {};
	u32 i, clients = 0, uses = 0;
	u64 whole = 0;
	unsigned int flags;

	for (i = 0; i < config->count; i++) {
		flags = uvm_policy_begin(uvm);
		uvm_mm_segment_stats(uvm->policy, i, &stats);
		uvm_mm_segment_free_blocks(uvm->policy, i, SZ_2M, &whole);
		uvm_policy_end(uvm, flags);
		seq_printf(m, "%s: base %llu size %llu used %llu longest free %llu ranges %llu holes %llu whole 2MiB free %llu\n",
			   kinds[config->segments[i].kind],
			   config->segments[i].base, stats.size, stats.used,
			   stats.longest_free, stats.blocks, stats.holes,
			   whole);
	}
	flags = uvm_policy_begin(uvm);
	uvm_mm_stats(uvm->policy, &sum);
	uvm_mm_uses(uvm->policy, &clients, &uses);
	uvm_policy_end(uvm, flags);
	seq_printf(m, "clients %u uses %u pages %ld\n", clients, uses,
		   atomic_long_read(&uvm->mm.nr_pages));
	seq_printf(m, "hits %llu misses %llu evicted %llu brought in %llu copied %llu\n",
		   sum.hits, sum.misses, sum.evicted, sum.brought_in,
		   sum.copied);
	seq_printf(m, "swapped out %llu swapped in %llu purged %llu failed %llu refused %llu overtaken %llu\n",
		   sum.swapped_out, sum.swapped_in, sum.purged, sum.failed,
		   sum.refused, sum.overtaken);
	return 0;
}

static int uvm_debugfs_show_vmids(struct seq_file *m, void *unused)
{
	struct uvm_device *uvm = uvm_debugfs_device(m);
	u64 grants, waits, longest;
	unsigned int flags;

	flags = uvm_policy_begin(uvm);
	grants = uvm->vms.grants;
	waits = uvm->vms.waits;
	longest = uvm->vms.longest_wait;
	uvm_policy_end(uvm, flags);
	seq_printf(m, "grants %llu, of them waited %llu, longest wait %llu grants\n",
		   grants, waits, longest);
	return 0;
}

static int uvm_debugfs_show_devmem(struct seq_file *m, void *unused)
{
	uvm_devmem_show(uvm_debugfs_device(m), m);
	return 0;
}

static int uvm_debugfs_show_svm(struct seq_file *m, void *unused)
{
	uvm_svm_show(uvm_debugfs_device(m), m);
	return 0;
}

static const struct drm_debugfs_info uvm_debugfs_files[] = {
	{ "uvm_regs", uvm_debugfs_show_regs, 0 },
	{ "uvm_rings", uvm_debugfs_show_rings, 0 },
	{ "uvm_ih", uvm_debugfs_show_ih, 0 },
	{ "uvm_memory", uvm_debugfs_show_memory, 0 },
	{ "uvm_mm", uvm_debugfs_show_mm, 0 },
	{ "uvm_binds", uvm_debugfs_show_binds, 0 },
	{ "uvm_devmem", uvm_debugfs_show_devmem, 0 },
	{ "uvm_svm", uvm_debugfs_show_svm, 0 },
	{ "uvm_vmids", uvm_debugfs_show_vmids, 0 },
};

/**
 * uvm_debugfs_init() - offer the debugfs files
 * @uvm: the device, before it is registered
 */
void uvm_debugfs_init(struct uvm_device *uvm)
{
	drm_debugfs_add_files(&uvm->drm, uvm_debugfs_files,
			      ARRAY_SIZE(uvm_debugfs_files));
	uvm_record_debugfs(uvm);
}

/* Bytes of a buffer that are in memory; in SYSTEM, as far as it has pages. */
static u64 uvm_bo_resident(struct uvm_bo *bo, u32 domain)
{
	u64 size = bo->base.size;

	if (domain != UVM_DOMAIN_SYSTEM)
		return size;
	if (bo->sgt)
		return size;
	return min_t(u64, size,
		     (u64)atomic_long_read(&bo->mm.resident) << PAGE_SHIFT);
}

/**
 * uvm_show_fdinfo() - a file's time on engines, and its memory by domain
 * @p: where to
 * @file: whose
 *
 * Keys as Documentation/gpu/drm-usage-stats.rst has them. A buffer is
 * counted where it belongs, and is resident where it is.
 */
void uvm_show_fdinfo(struct drm_printer *p, struct drm_file *file)
{
	static const char * const regions[] = {
		[UVM_DOMAIN_SYSTEM] = "system",
		[UVM_DOMAIN_GTT] = "gtt",
		[UVM_DOMAIN_VRAM] = "vram",
	};
	struct drm_memory_stats stats[ARRAY_SIZE(regions)] = {};
	struct uvm_device *uvm = to_uvm(file->minor->dev);
	struct uvm_file *ufile = file->driver_priv;
	struct drm_memory_stats *s;
	struct drm_gem_object *obj;
	struct uvm_bo *bo;
	u64 resident;
	u32 domain;
	int id;

	/* The core knows of those alone whose own device is on PCI. */
	if (dev_is_pci(uvm->drm.dev->parent))
		drm_printf(p, "drm-pdev:\t%s\n",
			   pci_name(to_pci_dev(uvm->drm.dev->parent)));
	uvm_busy_show(p, uvm, ufile->busy);
	uvm_svm_show_file(p, READ_ONCE(ufile->vm));

	spin_lock(&file->table_lock);
	idr_for_each_entry(&file->object_idr, obj, id) {
		bo = to_uvm_bo(obj);
		/* A snapshot: the buffer may be on its way elsewhere. */
		domain = READ_ONCE(bo->domain);
		s = &stats[READ_ONCE(bo->mm.home)];
		if (drm_gem_object_is_shared_for_memory_stats(obj))
			s->shared += obj->size;
		else
			s->private += obj->size;

		resident = uvm_bo_resident(bo, domain);
		s = &stats[domain];
		s->resident += resident;
		if (!dma_resv_test_signaled(obj->resv,
					    DMA_RESV_USAGE_BOOKKEEP))
			s->active += resident;
		else if (READ_ONCE(bo->mm.unneeded))
			s->purgeable += resident;
	}
	spin_unlock(&file->table_lock);

	for (id = 0; id < ARRAY_SIZE(regions); id++)
		drm_print_memory_stats(p, &stats[id],
				       DRM_GEM_OBJECT_RESIDENT |
				       DRM_GEM_OBJECT_PURGEABLE |
				       DRM_GEM_OBJECT_ACTIVE, regions[id]);
}
