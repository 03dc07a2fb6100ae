/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mirrored memory at rest. Part of uvm_drv.h, which has the lock order.
 */
#ifndef UVM_SUSPEND_H
#define UVM_SUSPEND_H

#include <linux/bits.h>
#include <linux/notifier.h>
#include <linux/rwsem.h>
#include <linux/types.h>

struct uvm_device;
struct virtio_device;

/* The machine goes to sleep; or an administrator wants it so. */
#define UVM_SUSPEND_SLEEP	BIT(0)
#define UVM_SUSPEND_ASKED	BIT(1)

/**
 * struct uvm_suspend - whether mirrored memory is at rest
 * @lock: who brings pages to VRAM has it for reading; before all others
 * @reasons: UVM_SUSPEND_*; 0: it is not
 * @notifier: tells when the machine goes to sleep
 */
struct uvm_suspend {
	struct rw_semaphore lock;
	u32 reasons;
	struct notifier_block notifier;
};

/* uvm_suspend.c */
bool uvm_suspend_enter(struct uvm_device *uvm);
void uvm_suspend_exit(struct uvm_device *uvm);
bool uvm_is_suspended(struct uvm_device *uvm);
int uvm_freeze(struct virtio_device *vdev);
void uvm_suspend_init(struct uvm_device *uvm);
void uvm_suspend_fini(struct uvm_device *uvm);

#endif /* UVM_SUSPEND_H */
