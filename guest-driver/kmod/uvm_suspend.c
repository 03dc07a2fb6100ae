// SPDX-License-Identifier: GPL-2.0
/*
 * While the machine is put to sleep, and as long as an administrator wants it,
 * mirrored memory is at rest: no page of a process is in VRAM, no fault of one
 * is served, and what would change that is refused with EAGAIN. Accesses that
 * wait go on waiting.
 *
 * The device itself is not put to sleep: buffers, tables and rings have no copy
 * anywhere to be restored from. So a sleep that reaches it is refused, and what
 * was at rest goes on.
 */

#include <linux/debugfs.h>
#include <linux/notifier.h>
#include <linux/rwsem.h>
#include <linux/suspend.h>
#include <linux/uaccess.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/**
 * uvm_suspend_enter() - before what a suspended device must not do
 * @uvm: the device
 *
 * Return: whether to go on, up to uvm_suspend_exit(); else it is suspended, or
 * about to be.
 */
bool uvm_suspend_enter(struct uvm_device *uvm)
{
	if (!down_read_trylock(&uvm->suspend.lock))
		return false;
	if (!uvm->suspend.reasons)
		return true;
	up_read(&uvm->suspend.lock);
	return false;
}

/**
 * uvm_suspend_exit() - behind it
 * @uvm: the device
 */
void uvm_suspend_exit(struct uvm_device *uvm)
{
	up_read(&uvm->suspend.lock);
}

/**
 * uvm_is_suspended() - whether mirrored memory is at rest
 * @uvm: the device
 *
 * Return: whether, at this moment.
 */
bool uvm_is_suspended(struct uvm_device *uvm)
{
	return READ_ONCE(uvm->suspend.reasons);
}

/* Faults came meanwhile, and are looked at now. */
static void uvm_suspend_kick(struct uvm_device *uvm)
{
	struct uvm_vm *vm;
	unsigned long pasid;

	xa_for_each(&uvm->vms.by_pasid, pasid, vm)
		uvm_svm_kick(uvm, pasid);
}

static int uvm_suspend(struct uvm_device *uvm, u32 reason)
{
	struct uvm_suspend *suspend = &uvm->suspend;
	struct uvm_devmem *dm = &uvm->devmem.svm;
	int idx, ret = 0;

	if (!drm_dev_enter(&uvm->drm, &idx))
		return -ENODEV;
	down_write(&suspend->lock);
	if (suspend->reasons)
		goto done;
	WRITE_ONCE(suspend->reasons, reason);
	flush_workqueue(uvm->svm.wq);
	if (smp_load_acquire(&dm->ready))
		ret = uvm_devmem_evict(dm, uvm->vram.size);
	if (ret) {
		WRITE_ONCE(suspend->reasons, 0);
		uvm_suspend_kick(uvm);
	}
done:
	if (!ret)
		WRITE_ONCE(suspend->reasons, suspend->reasons | reason);
	up_write(&suspend->lock);
	drm_dev_exit(idx);
	return ret;
}

static void uvm_resume(struct uvm_device *uvm, u32 reason)
{
	struct uvm_suspend *suspend = &uvm->suspend;
	u32 before;

	down_write(&suspend->lock);
	before = suspend->reasons;
	WRITE_ONCE(suspend->reasons, before & ~reason);
	up_write(&suspend->lock);
	if (before && !(before & ~reason))
		uvm_suspend_kick(uvm);
}

/* Before processes are frozen, and after they are thawed. */
static int uvm_suspend_notify(struct notifier_block *nb, unsigned long action,
			      void *data)
{
	struct uvm_device *uvm = container_of(nb, struct uvm_device,
					      suspend.notifier);

	switch (action) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
		return notifier_from_errno(uvm_suspend(uvm, UVM_SUSPEND_SLEEP));
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
		uvm_resume(uvm, UVM_SUSPEND_SLEEP);
		return NOTIFY_OK;
	default:
		return NOTIFY_DONE;
	}
}

/**
 * uvm_freeze() - the machine wants the device to sleep
 * @vdev: the device
 *
 * Return: -EBUSY.
 */
int uvm_freeze(struct virtio_device *vdev)
{
	dev_info(&vdev->dev, "what is in the device would be lost: it stays awake\n");
	return -EBUSY;
}

static ssize_t uvm_suspend_read(struct file *file, char __user *to,
				size_t size, loff_t *at)
{
	struct uvm_device *uvm = file->private_data;
	char text[] = { '0' + !!uvm_is_suspended(uvm), '\n' };

	return simple_read_from_buffer(to, size, at, text, sizeof(text));
}

static ssize_t uvm_suspend_write(struct file *file, const char __user *from,
				 size_t size, loff_t *at)
{
	struct uvm_device *uvm = file->private_data;
	bool wanted;
	int ret;

	ret = kstrtobool_from_user(from, size, &wanted);
	if (ret)
		return ret;
	if (wanted)
		ret = uvm_suspend(uvm, UVM_SUSPEND_ASKED);
	else
		uvm_resume(uvm, UVM_SUSPEND_ASKED);
	return ret ?: size;
}

static const struct file_operations uvm_suspend_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = uvm_suspend_read,
	.write = uvm_suspend_write,
	.llseek = default_llseek,
};

/**
 * uvm_suspend_init() - take part when the machine is put to sleep
 * @uvm: the device, registered
 */
void uvm_suspend_init(struct uvm_device *uvm)
{
	uvm->suspend.notifier.notifier_call = uvm_suspend_notify;
	if (register_pm_notifier(&uvm->suspend.notifier))
		drm_warn(&uvm->drm, "mirrored memory knows of no sleep\n");
	debugfs_create_file("uvm_suspend", 0600, uvm->drm.debugfs_root, uvm,
			    &uvm_suspend_fops);
}

/**
 * uvm_suspend_fini() - no more
 * @uvm: the device
 */
void uvm_suspend_fini(struct uvm_device *uvm)
{
	unregister_pm_notifier(&uvm->suspend.notifier);
}
