/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /dev/hmm_dmirror0 and 1: the devices that the kernel's own test of
 * heterogeneous memory management works with, by this device's means.
 *
 * Only with CONFIG_UVM_DMIRROR. What is asked for is what lib/test_hmm_uapi.h of
 * the kernel says, which is no part of its headers.
 */
#ifndef UVM_DMIRROR_H
#define UVM_DMIRROR_H

#include <linux/ioctl.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include <drm/gpu_scheduler.h>

struct uvm_device;
struct uvm_dmirror_dev;
struct uvm_svm_block;
struct uvm_vm;

/**
 * struct uvm_dmirror_cmd - the argument of all of them
 * @addr: in: first address of the process's memory, of a page
 * @ptr: in: where in user memory what is read goes, or what is written is
 * @npages: in: pages; or flags
 * @cpages: out: pages that were dealt with
 * @faults: out: page faults that the device met
 */
struct uvm_dmirror_cmd {
	__u64 addr;
	__u64 ptr;
	__u64 npages;
	__u64 cpages;
	__u64 faults;
};

#define UVM_DMIRROR(nr)		_IOWR('H', nr, struct uvm_dmirror_cmd)
#define UVM_DMIRROR_READ	UVM_DMIRROR(0)
#define UVM_DMIRROR_WRITE	UVM_DMIRROR(1)
#define UVM_DMIRROR_TO_DEV	UVM_DMIRROR(2)
#define UVM_DMIRROR_TO_SYS	UVM_DMIRROR(3)
#define UVM_DMIRROR_SNAPSHOT	UVM_DMIRROR(4)
#define UVM_DMIRROR_EXCLUSIVE	UVM_DMIRROR(5)
#define UVM_DMIRROR_CHECK	UVM_DMIRROR(6)
#define UVM_DMIRROR_RELEASE	UVM_DMIRROR(7)
#define UVM_DMIRROR_FLAGS	UVM_DMIRROR(8)
#define UVM_DMIRROR_READ_UNLOCKED	UVM_DMIRROR(9)

/* The next page or folio that a migration takes is not to be had. */
#define UVM_DMIRROR_FAIL_ALLOC	BIT(0)

/* A page in a snapshot: one of these, */
#define UVM_DMIRROR_NONE	0x00
#define UVM_DMIRROR_ZERO	0x10
#define UVM_DMIRROR_LOCAL	0x20
#define UVM_DMIRROR_REMOTE	0x30
#define UVM_DMIRROR_ERROR	0xff
/* with how it may be accessed, and of how large a mapping it is a part. */
#define UVM_DMIRROR_MAY_READ	0x01
#define UVM_DMIRROR_MAY_WRITE	0x02
#define UVM_DMIRROR_PMD		0x04
#define UVM_DMIRROR_PUD		0x08

/* What is read or written passes through here: a block but for a page of packets. */
#define UVM_DMIRROR_PAGES	511u
#define UVM_DMIRROR_BYTES	(UVM_DMIRROR_PAGES << PAGE_SHIFT)

/**
 * struct uvm_dmirror - an open file
 * @dev: of which device
 * @vm: the address space that mirrors the memory of who opened it
 * @entity: its queue to a ring
 * @lock: one command at a time
 * @unlocked: and this one may ask others for pages; under @lock
 * @bounce: UVM_DMIRROR_BYTES and a page for packets
 * @window: where the device sees them
 * @claimed: pages that were said to be in VRAM and are not: only in a driver that
 *	is built so that the tests must find fault with it
 */
struct uvm_dmirror {
	struct uvm_dmirror_dev *dev;
	struct uvm_vm *vm;
	struct drm_sched_entity entity;
	struct mutex lock;
	bool unlocked;
	void *bounce;
	struct uvm_svm_block *window;
#if IS_ENABLED(CONFIG_UVM_NEVER_MIGRATES)
	struct xarray claimed;
#endif
};

#if IS_ENABLED(CONFIG_UVM_DMIRROR)
/* uvm_dmirror.c */
int uvm_dmirror_init(struct uvm_device *uvm);
void uvm_dmirror_fini(struct uvm_device *uvm);
struct uvm_devmem *uvm_dmirror_devmem(struct uvm_dmirror *mirror);

/* uvm_dmirror_io.c */
int uvm_dmirror_io_init(struct uvm_dmirror *mirror);
void uvm_dmirror_io_fini(struct uvm_dmirror *mirror);
int uvm_dmirror_access(struct uvm_dmirror *mirror, struct uvm_dmirror_cmd *cmd,
		       bool write);
int uvm_dmirror_read_unlocked(struct uvm_dmirror *mirror,
			      struct uvm_dmirror_cmd *cmd);

/* uvm_dmirror_look.c */
int uvm_dmirror_snapshot(struct uvm_dmirror *mirror,
			 struct uvm_dmirror_cmd *cmd);
int uvm_dmirror_all_local(struct uvm_dmirror *mirror, u64 start, u64 end);
#else
static inline int uvm_dmirror_init(struct uvm_device *uvm)
{
	return 0;
}

static inline void uvm_dmirror_fini(struct uvm_device *uvm)
{
}
#endif

#endif /* UVM_DMIRROR_H */
