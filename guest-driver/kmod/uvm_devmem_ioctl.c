// SPDX-License-Identifier: GPL-2.0
/*
 * What users ask for and are told of their memory in VRAM.
 */

#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>

#include "uvm_drv.h"

/**
 * uvm_devmem_param() - a counter
 * @uvm: the device
 * @param: UVM_PARAM_DEVMEM_*
 *
 * Return: its value.
 */
u64 uvm_devmem_param(struct uvm_device *uvm, u32 param)
{
	struct uvm_devmem_counters *count = &uvm->devmem.count;

	switch (param) {
	case UVM_PARAM_DEVMEM_USED:
		return READ_ONCE(uvm->devmem.svm.used) << PAGE_SHIFT;
	case UVM_PARAM_DEVMEM_TO_VRAM:
		return atomic64_read(&count->to_vram) << PAGE_SHIFT;
	case UVM_PARAM_DEVMEM_TO_SYSTEM:
		return atomic64_read(&count->to_system) << PAGE_SHIFT;
	case UVM_PARAM_DEVMEM_HUGE:
		return atomic64_read(&count->huge);
	case UVM_PARAM_DEVMEM_CPU_FAULTS:
		return atomic64_read(&count->cpu_faults);
	case UVM_PARAM_DEVMEM_EVICTED:
		return atomic64_read(&count->evicted) << PAGE_SHIFT;
	case UVM_PARAM_DEVMEM_FAILED:
		return atomic64_read(&count->failed) << PAGE_SHIFT;
	case UVM_PARAM_DEVMEM_BY_CPU:
		return atomic64_read(&count->by_cpu) << PAGE_SHIFT;
	default:
		return 0;
	}
}

/* What lies between @addr and @end in one mapping, a block at most. */
static int uvm_prefetch_block(struct uvm_devmem *dm, struct mm_struct *mm,
			      u64 *addr, u64 end, bool to_vram,
			      struct uvm_migrate_stats *stats)
{
	struct vm_area_struct *vma;
	u64 next;
	int ret;

	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	vma = find_vma_intersection(mm, *addr, end);
	if (!vma) {
		*addr = end;
		goto unlock;
	}
	*addr = max(*addr, vma->vm_start);
	next = min3(end, ALIGN(*addr + 1, UVM_CHUNK_SIZE), (u64)vma->vm_end);
	ret = to_vram ? uvm_migrate_to_vram(dm, vma, *addr, next, stats) :
			uvm_migrate_to_system(dm, vma, *addr, next, stats);
	/* Mappings whose pages cannot move, as others' pages, just stay. */
	if (ret == -EINVAL)
		ret = 0;
	if (ret != -EAGAIN)
		*addr = next;
unlock:
	mmap_read_unlock(mm);
	return ret;
}

/* Memory that no mirror decides about. */
static int uvm_prefetch(struct uvm_device *uvm, u64 addr, u64 end, bool to_vram,
			struct uvm_migrate_stats *stats)
{
	unsigned long until = jiffies + msecs_to_jiffies(UVM_MM_WAY_MS);
	struct uvm_devmem *dm = uvm_devmem_svm(uvm);
	int ret = 0;

	if (IS_ERR(dm))
		return PTR_ERR(dm);
	while (addr < end && !ret) {
		ret = uvm_prefetch_block(dm, current->mm, &addr, end, to_vram,
					 stats);
		/* Buffers make way for the block; the time is for each. */
		if (ret == -EAGAIN)
			ret = uvm_mm_way_wait(uvm, until);
		else
			until = jiffies + msecs_to_jiffies(UVM_MM_WAY_MS);
	}
	return ret;
}

/* A range, or with UVM_SVM_PREFETCH_GROUP a group of ranges. */
static bool uvm_prefetch_ok(const struct drm_uvm_svm_prefetch *args)
{
	if (args->domain != UVM_DOMAIN_VRAM &&
	    args->domain != UVM_DOMAIN_SYSTEM)
		return false;
	if (args->flags == UVM_SVM_PREFETCH_GROUP)
		return args->va <= U32_MAX && !args->size;
	return !args->flags && args->size &&
	       PAGE_ALIGNED(args->va | args->size) && args->va <= TASK_SIZE &&
	       args->size <= TASK_SIZE - args->va;
}

static int uvm_prefetch_of(struct drm_file *file, struct uvm_device *uvm,
			   struct drm_uvm_svm_prefetch *args)
{
	bool to_vram = args->domain == UVM_DOMAIN_VRAM;
	u64 end = args->va + args->size;
	struct uvm_migrate_stats stats = {};
	struct uvm_svm *svm = uvm_svm_of(file);
	int ret;

	if (args->flags)
		ret = IS_ERR(svm) ? PTR_ERR(svm) : !svm->space ? -EINVAL :
		      uvm_svm_prefetch_group(svm, args->va, to_vram, &stats);
	else if (!IS_ERR(svm) && svm->space)
		ret = uvm_svm_prefetch(svm, args->va, end, to_vram, &stats);
	else
		ret = uvm_prefetch(uvm, args->va, end, to_vram, &stats);
	if (!IS_ERR(svm))
		uvm_vm_put(svm->vm);
	args->moved = stats.pages << PAGE_SHIFT;
	args->failed = stats.failed << PAGE_SHIFT;
	return ret;
}

/**
 * uvm_ioctl_svm_prefetch() - DRM_UVM_SVM_PREFETCH
 * @drm: the device
 * @data: struct drm_uvm_svm_prefetch
 * @file: the caller
 *
 * Return: 0, -EINVAL, -ENOENT for an unknown group, -ENOSPC, -ENOMEM, -EINTR,
 * -EIO, -ENODEV, -EAGAIN while mirrored memory is at rest.
 */
int uvm_ioctl_svm_prefetch(struct drm_device *drm, void *data,
			   struct drm_file *file)
{
	struct uvm_device *uvm = to_uvm(drm);
	struct drm_uvm_svm_prefetch *args = data;
	int idx, ret;

	if (!uvm_prefetch_ok(args))
		return -EINVAL;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	ret = -EAGAIN;
	if (uvm_suspend_enter(uvm)) {
		ret = uvm_prefetch_of(file, uvm, args);
		uvm_suspend_exit(uvm);
	}
	drm_dev_exit(idx);
	return ret;
}

/**
 * uvm_devmem_show() - counters and chunks, for people
 * @uvm: the device
 * @m: where to
 */
void uvm_devmem_show(struct uvm_device *uvm, struct seq_file *m)
{
	struct uvm_devmem_dev *dev = &uvm->devmem;
	struct uvm_devmem_counters *count = &dev->count;
	struct uvm_page_ring *ring;
	struct uvm_chunk *chunk;
	struct uvm_devmem *dm;
	u32 i, used;

	seq_printf(m, "pages to VRAM %lld (without content %lld) to system %lld evicted %lld failed %lld\n",
		   atomic64_read(&count->to_vram),
		   atomic64_read(&count->cleared),
		   atomic64_read(&count->to_system),
		   atomic64_read(&count->evicted),
		   atomic64_read(&count->failed));
	seq_printf(m, "copies took %lld ns\n", atomic64_read(&count->copy_ns));
	seq_printf(m, "folios of 2 MiB %lld CPU faults %lld pages copied by the CPU %lld lost %lld\n",
		   atomic64_read(&count->huge),
		   atomic64_read(&count->cpu_faults),
		   atomic64_read(&count->by_cpu), atomic64_read(&count->lost));
	for (i = 0; i < uvm->nr_rings; i++) {
		ring = &dev->rings[i];
		seq_printf(m, "%s: copies %u traps %lld resets %lld%s\n",
			   ring->name, READ_ONCE(ring->emitted),
			   atomic64_read(&ring->traps),
			   atomic64_read(&ring->resets),
			   READ_ONCE(ring->dead) ? " dead" : "");
	}
	for (i = 0; i < dev->nr_chunks; i++) {
		spin_lock(&dev->lock);
		chunk = dev->table[i];
		used = chunk ? chunk->used : 0;
		dm = chunk ? chunk->dm : NULL;
		spin_unlock(&dev->lock);
		if (dm)
			seq_printf(m, "chunk %#llx: %u pages of %s\n",
				   (u64)i << UVM_CHUNK_SHIFT, used, dm->name);
	}
}
