// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/hmm_dmirror0 and 1: what the kernel's own test of heterogeneous memory
 * management asks of a device, done by this one.
 *
 * Each has an instance of device-private pages, and each open file an address
 * space that mirrors the memory of who opened it. Reads and writes are the
 * device's, through its page tables; what has moved to it is in VRAM and
 * nowhere else. Pages move only when that is asked for.
 */

#include <linux/cdev.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"
#include "uvm_dmirror.h"

#define UVM_DMIRROR_DEVS	2

/**
 * struct uvm_dmirror_dev - a device
 * @cdev: its file operations
 * @dev: its life; files have a reference by way of @cdev
 * @uvm: the device behind it
 * @ring: which of its rings is used
 * @dm: pages of processes in VRAM
 */
struct uvm_dmirror_dev {
	struct cdev cdev;
	struct device dev;
	struct uvm_device *uvm;
	u32 ring;
	struct uvm_devmem dm;
};

/* The first device of this driver has them. Under uvm_dmirror_lock. */
static DEFINE_MUTEX(uvm_dmirror_lock);
static struct uvm_device *uvm_dmirror_owner;
static struct uvm_dmirror_dev *uvm_dmirror_devs[UVM_DMIRROR_DEVS];
static dev_t uvm_dmirror_devt;

typedef int (*uvm_dmirror_mover)(struct uvm_devmem *dm,
				 struct vm_area_struct *vma, u64 start,
				 u64 end, struct uvm_migrate_stats *stats);

/**
 * uvm_dmirror_devmem() - the device-private pages of a file's device
 * @mirror: the file
 *
 * Return: their instance.
 */
struct uvm_devmem *uvm_dmirror_devmem(struct uvm_dmirror *mirror)
{
	return &mirror->dev->dm;
}

/* Files of a device that is gone are closed as others. */
static void uvm_dmirror_free(struct uvm_dmirror *mirror)
{
	struct uvm_device *uvm = mirror->dev->uvm;

	if (mirror->entity.rq)
		drm_sched_entity_destroy(&mirror->entity);
	/* No command runs, so nothing of it is on a ring. */
	uvm_vm_put(mirror->vm);
	uvm_dmirror_io_fini(mirror);
#if IS_ENABLED(CONFIG_UVM_NEVER_MIGRATES)
	xa_destroy(&mirror->claimed);
#endif
	mutex_destroy(&mirror->lock);
	kfree(mirror);
	drm_dev_put(&uvm->drm);
}

static int uvm_dmirror_setup(struct uvm_dmirror *mirror)
{
	struct uvm_dmirror_dev *dev = mirror->dev;
	struct drm_gpu_scheduler *sched = &dev->uvm->rings[dev->ring].sched;
	struct uvm_vm *vm;
	int ret;

	vm = uvm_vm_create(dev->uvm, NULL);
	if (IS_ERR(vm))
		return PTR_ERR(vm);
	mirror->vm = vm;
	mutex_lock(&vm->config_lock);
	ret = uvm_svm_attach(vm, current->mm, &dev->dm, UVM_SVM_MANUAL);
	mutex_unlock(&vm->config_lock);
	if (ret)
		return ret;
	ret = drm_sched_entity_init(&mirror->entity,
				    DRM_SCHED_PRIORITY_NORMAL, &sched, 1, NULL);
	if (ret)
		return ret;
	return uvm_dmirror_io_init(mirror);
}

static int uvm_dmirror_open(struct inode *inode, struct file *file)
{
	struct uvm_dmirror_dev *dev = container_of(inode->i_cdev,
						   struct uvm_dmirror_dev,
						   cdev);
	struct uvm_dmirror *mirror;
	int idx, ret;

	mirror = kzalloc(sizeof(*mirror), GFP_KERNEL);
	if (!mirror)
		return -ENOMEM;
	mutex_init(&mirror->lock);
#if IS_ENABLED(CONFIG_UVM_NEVER_MIGRATES)
	xa_init(&mirror->claimed);
#endif
	mirror->dev = dev;
	drm_dev_get(&dev->uvm->drm);
	ret = -ENODEV;
	if (drm_dev_enter(&dev->uvm->drm, &idx)) {
		ret = uvm_dmirror_setup(mirror);
		drm_dev_exit(idx);
	}
	if (ret) {
		uvm_dmirror_free(mirror);
		return ret;
	}
	file->private_data = mirror;
	return 0;
}

static int uvm_dmirror_release(struct inode *inode, struct file *file)
{
	uvm_dmirror_free(file->private_data);
	return 0;
}

/* How often a range is asked to go; between, twice as long each time. */
#define UVM_DMIRROR_TRIES	6

/* Moves a range that is mapped all along, and may be read. */
static int uvm_dmirror_move(struct uvm_dmirror *mirror,
			    const struct uvm_dmirror_cmd *cmd,
			    uvm_dmirror_mover move,
			    struct uvm_migrate_stats *stats)
{
	u64 va = cmd->addr, end = va + (cmd->npages << PAGE_SHIFT), next;
	struct mm_struct *mm = mirror->vm->svm->mm;
	struct vm_area_struct *vma;
	int ret = 0;

	mmap_read_lock(mm);
	for (; va < end && !ret; va = next) {
		vma = vma_lookup(mm, va);
		if (!vma || !(vma->vm_flags & VM_READ)) {
			ret = -EINVAL;
			break;
		}
		next = min_t(u64, end, vma->vm_end);
		ret = move(uvm_dmirror_devmem(mirror), vma, va, next, stats);
	}
	mmap_read_unlock(mm);
	return ret;
}

#if IS_ENABLED(CONFIG_UVM_NEVER_MIGRATES)
/* All stays where it is, and is said to have moved: a test must notice. */
static int uvm_dmirror_stay(struct uvm_devmem *dm, struct vm_area_struct *vma,
			    u64 start, u64 end,
			    struct uvm_migrate_stats *stats)
{
	stats->pages += (end - start) >> PAGE_SHIFT;
	return 0;
}

static int uvm_dmirror_come(struct uvm_dmirror *mirror,
			    const struct uvm_dmirror_cmd *cmd,
			    struct uvm_migrate_stats *stats)
{
	unsigned long i, first = cmd->addr >> PAGE_SHIFT;

	for (i = 0; i < cmd->npages; i++)
		xa_erase(&mirror->claimed, first + i);
	return uvm_dmirror_move(mirror, cmd, uvm_dmirror_stay, stats);
}

static int uvm_dmirror_leave(struct uvm_dmirror *mirror,
			     const struct uvm_dmirror_cmd *cmd)
{
	struct uvm_migrate_stats stats = {};
	unsigned long i, first = cmd->addr >> PAGE_SHIFT;
	int ret;

	ret = uvm_dmirror_move(mirror, cmd, uvm_dmirror_stay, &stats);
	for (i = 0; i < cmd->npages && !ret; i++)
		ret = xa_err(xa_store(&mirror->claimed, first + i,
				      xa_mk_value(1), GFP_KERNEL));
	return ret;
}
#else
static int uvm_dmirror_come(struct uvm_dmirror *mirror,
			    const struct uvm_dmirror_cmd *cmd,
			    struct uvm_migrate_stats *stats)
{
	return uvm_dmirror_move(mirror, cmd, uvm_migrate_to_system, stats);
}

static int uvm_dmirror_leave(struct uvm_dmirror *mirror,
			     const struct uvm_dmirror_cmd *cmd)
{
	u64 end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	struct uvm_migrate_stats stats = {};
	u32 tries = 0;
	int ret;

	/*
	 * Some pages cannot move; that is no error of the move. But the kernel
	 * leaves those, too, that compaction or reclaim hold for a moment. And
	 * buffers may have to make way.
	 */
	for (;;) {
		ret = uvm_dmirror_move(mirror, cmd, uvm_migrate_to_vram,
				       &stats) ?:
		      uvm_dmirror_all_local(mirror, cmd->addr, end);
		if ((ret != -ENOENT && ret != -EAGAIN) ||
		    ++tries == UVM_DMIRROR_TRIES ||
		    fatal_signal_pending(current))
			return ret;
		fsleep(1000U << tries);
	}
}
#endif

/* Moves a range to VRAM; the caller gets what the device reads there. */
static int uvm_dmirror_to_dev(struct uvm_dmirror *mirror,
			      struct uvm_dmirror_cmd *cmd)
{
	int ret = uvm_dmirror_leave(mirror, cmd);

	if (!ret)
		ret = uvm_dmirror_access(mirror, cmd, false);
	/* Its own faults are no matter of the caller's. */
	cmd->faults = 0;
	return ret;
}

static int uvm_dmirror_to_sys(struct uvm_dmirror *mirror,
			      struct uvm_dmirror_cmd *cmd)
{
	struct uvm_migrate_stats stats = {};
	int ret;

	ret = uvm_dmirror_come(mirror, cmd, &stats);
	cmd->cpages = stats.pages;
	return ret;
}

/* The device has a range for itself, until a CPU wants it. */
static int uvm_dmirror_exclusive(struct uvm_dmirror *mirror,
				 struct uvm_dmirror_cmd *cmd)
{
	u64 va = cmd->addr, end = va + (cmd->npages << PAGE_SHIFT), next;
	struct uvm_svm *svm = mirror->vm->svm;
	struct uvm_svm_block *block;
	int ret = 0;

	for (; va < end && !ret; va = next) {
		next = min(end, ALIGN(va + 1, UVM_SVM_BLOCK_BYTES));
		block = uvm_svm_block_get(svm, va);
		if (IS_ERR(block))
			return PTR_ERR(block);
		ret = uvm_svm_exclude(block, va, next);
		uvm_svm_block_put(block);
	}
	if (!ret)
		ret = uvm_dmirror_access(mirror, cmd, false);
	cmd->faults = 0;
	return ret;
}

/* Whether the device has any page of a range for itself: then -EPERM. */
static int uvm_dmirror_check(struct uvm_dmirror *mirror,
			     const struct uvm_dmirror_cmd *cmd)
{
	u64 va = cmd->addr, end = va + (cmd->npages << PAGE_SHIFT), next;
	struct uvm_svm *svm = mirror->vm->svm;
	struct uvm_svm_block *block;
	bool found = false;

	for (; va < end && !found; va = next) {
		next = min(end, ALIGN(va + 1, UVM_SVM_BLOCK_BYTES));
		block = uvm_svm_block_find(svm, va);
		if (!block)
			continue;
		found = uvm_svm_is_exclusive(block, va, next);
		uvm_svm_block_put(block);
	}
	return found ? -EPERM : 0;
}

/* Commands about a range of memory. */
static int uvm_dmirror_range_cmd(struct uvm_dmirror *mirror, unsigned int nr,
				 struct uvm_dmirror_cmd *cmd)
{
	if (!PAGE_ALIGNED(cmd->addr) || !cmd->npages ||
	    cmd->npages > TASK_SIZE_MAX >> PAGE_SHIFT ||
	    cmd->addr > TASK_SIZE_MAX - (cmd->npages << PAGE_SHIFT))
		return -EINVAL;
	switch (nr) {
	case UVM_DMIRROR_READ:
		return uvm_dmirror_access(mirror, cmd, false);
	case UVM_DMIRROR_WRITE:
		return uvm_dmirror_access(mirror, cmd, true);
	case UVM_DMIRROR_READ_UNLOCKED:
		return uvm_dmirror_read_unlocked(mirror, cmd);
	case UVM_DMIRROR_TO_DEV:
		return uvm_dmirror_to_dev(mirror, cmd);
	case UVM_DMIRROR_TO_SYS:
		return uvm_dmirror_to_sys(mirror, cmd);
	case UVM_DMIRROR_SNAPSHOT:
		return uvm_dmirror_snapshot(mirror, cmd);
	case UVM_DMIRROR_EXCLUSIVE:
		return uvm_dmirror_exclusive(mirror, cmd);
	case UVM_DMIRROR_CHECK:
		return uvm_dmirror_check(mirror, cmd);
	default:
		return -EINVAL;
	}
}

/* One command at a time, with the process's memory held. */
static int uvm_dmirror_cmd(struct uvm_dmirror *mirror, unsigned int nr,
			   struct uvm_dmirror_cmd *cmd)
{
	struct uvm_devmem *dm = uvm_dmirror_devmem(mirror);
	struct mm_struct *mm = mirror->vm->svm->mm;
	int ret;

	switch (nr) {
	case UVM_DMIRROR_RELEASE:
		/* Those that somebody held for the moment come later. */
		uvm_devmem_evict(dm, mirror->dev->uvm->vram.size);
		return 0;
	case UVM_DMIRROR_FLAGS:
		WRITE_ONCE(dm->fail_next,
			   cmd->npages & UVM_DMIRROR_FAIL_ALLOC);
		return 0;
	}
	if (!mmget_not_zero(mm))
		return -EINVAL;
	mutex_lock(&mirror->lock);
	ret = uvm_dmirror_range_cmd(mirror, nr, cmd);
	mutex_unlock(&mirror->lock);
	mmput(mm);
	return ret;
}

static long uvm_dmirror_ioctl(struct file *file, unsigned int nr,
			      unsigned long arg)
{
	struct uvm_dmirror *mirror = file->private_data;
	void __user *user = (void __user *)arg;
	struct uvm_dmirror_cmd cmd;
	int idx, ret;

	if (copy_from_user(&cmd, user, sizeof(cmd)))
		return -EFAULT;
	cmd.cpages = 0;
	cmd.faults = 0;
	if (!drm_dev_enter(&mirror->dev->uvm->drm, &idx))
		return -ENODEV;
	ret = uvm_dmirror_cmd(mirror, nr, &cmd);
	drm_dev_exit(idx);
	if (ret)
		return ret;
	return copy_to_user(user, &cmd, sizeof(cmd)) ? -EFAULT : 0;
}

/* Pages of the kernel's, as some drivers map them: a snapshot is to show them. */
static int uvm_dmirror_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long addr;
	struct page *page;
	int ret = 0;

	for (addr = vma->vm_start; addr < vma->vm_end && !ret;
	     addr += PAGE_SIZE) {
		page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!page)
			return -ENOMEM;
		ret = vm_insert_page(vma, addr, page);
		/* The mapping has its own reference. */
		put_page(page);
	}
	return ret;
}

static const struct file_operations uvm_dmirror_fops = {
	.owner = THIS_MODULE,
	.open = uvm_dmirror_open,
	.release = uvm_dmirror_release,
	.unlocked_ioctl = uvm_dmirror_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = uvm_dmirror_mmap,
	.llseek = noop_llseek,
};

static void uvm_dmirror_dev_release(struct device *dev)
{
	kfree(container_of(dev, struct uvm_dmirror_dev, dev));
}

static struct uvm_dmirror_dev *uvm_dmirror_dev_new(struct uvm_device *uvm,
						   u32 index)
{
	struct uvm_dmirror_dev *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	int ret;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	dev->uvm = uvm;
	dev->ring = index % uvm->nr_rings;
	device_initialize(&dev->dev);
	dev->dev.release = uvm_dmirror_dev_release;
	dev->dev.devt = MKDEV(MAJOR(uvm_dmirror_devt), index);
	cdev_init(&dev->cdev, &uvm_dmirror_fops);
	dev->cdev.owner = THIS_MODULE;
	ret = dev_set_name(&dev->dev, "hmm_dmirror%u", index);
	if (!ret)
		ret = uvm_devmem_init(&dev->dm, uvm, "uvm dmirror");
	if (!ret) {
		ret = cdev_device_add(&dev->cdev, &dev->dev);
		if (ret)
			uvm_devmem_fini(&dev->dm);
	}
	if (ret) {
		put_device(&dev->dev);
		return ERR_PTR(ret);
	}
	return dev;
}

/**
 * uvm_dmirror_fini() - take the devices away
 * @uvm: the device; it works, or is lost
 *
 * Files that are open stay so, and their commands fail.
 */
void uvm_dmirror_fini(struct uvm_device *uvm)
{
	struct uvm_dmirror_dev *dev;
	u32 i;

	mutex_lock(&uvm_dmirror_lock);
	if (uvm_dmirror_owner != uvm)
		goto unlock;
	uvm_dmirror_owner = NULL;
	for (i = 0; i < UVM_DMIRROR_DEVS; i++) {
		dev = uvm_dmirror_devs[i];
		if (!dev)
			continue;
		uvm_dmirror_devs[i] = NULL;
		cdev_device_del(&dev->cdev, &dev->dev);
		uvm_devmem_fini(&dev->dm);
		put_device(&dev->dev);
	}
	unregister_chrdev_region(uvm_dmirror_devt, UVM_DMIRROR_DEVS);
unlock:
	mutex_unlock(&uvm_dmirror_lock);
}

/**
 * uvm_dmirror_init() - make the devices
 * @uvm: the device, which works; only the first one has them
 *
 * Return: 0 or an errno.
 */
int uvm_dmirror_init(struct uvm_device *uvm)
{
	struct uvm_dmirror_dev *dev;
	int ret = 0;
	u32 i;

	mutex_lock(&uvm_dmirror_lock);
	if (uvm_dmirror_owner)
		goto unlock;
	ret = alloc_chrdev_region(&uvm_dmirror_devt, 0, UVM_DMIRROR_DEVS,
				  "hmm_dmirror");
	if (ret)
		goto unlock;
	uvm_dmirror_owner = uvm;
	for (i = 0; i < UVM_DMIRROR_DEVS && !ret; i++) {
		dev = uvm_dmirror_dev_new(uvm, i);
		if (IS_ERR(dev))
			ret = PTR_ERR(dev);
		else
			uvm_dmirror_devs[i] = dev;
	}
unlock:
	mutex_unlock(&uvm_dmirror_lock);
	if (ret)
		uvm_dmirror_fini(uvm);
	return ret;
}
