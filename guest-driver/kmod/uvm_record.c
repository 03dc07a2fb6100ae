// SPDX-License-Identifier: GPL-2.0
/*
 * The record of what the memory manager was told and what it asked for: from
 * the driver's start, for somebody else to replay. It is kept in memory, and
 * read from debugfs. When there is no more room it ends: what there is up to
 * then is a whole record.
 */

#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

static uint uvm_record_mb;
module_param_named(record_mb, uvm_record_mb, uint, 0444);
MODULE_PARM_DESC(record_mb, "Most MiB of a record of the memory manager's events and actions (0 to 1024, default 0: none)");

#define UVM_RECORD_MOST		1024u
/* Every record lies in one piece of so much. */
#define UVM_RECORD_PIECE	SZ_1M

static void uvm_record_stop(struct uvm_device *uvm, const char *why)
{
	uvm->record.on = false;
	drm_notice(&uvm->drm, "the record of the memory manager ends: %s\n",
		   why);
}

/* A new piece; under the policy's lock. */
static int uvm_record_grow(struct uvm_record *record)
{
	u8 *bytes;

	if (record->nr == record->max)
		return -ENOSPC;
	bytes = kvmalloc(UVM_RECORD_PIECE, GFP_KERNEL | __GFP_NOWARN);
	if (!bytes)
		return -ENOMEM;
	record->pieces[record->nr].bytes = bytes;
	/* Pairs with uvm_record_read(): what counts is there. */
	smp_store_release(&record->nr, record->nr + 1);
	record->log = (struct uvm_mm_log) {
		.bytes = bytes,
		.size = UVM_RECORD_PIECE,
	};
	return 0;
}

/**
 * uvm_record_log() - where the next call of the memory manager is recorded
 * @uvm: the device, with the policy's lock
 * @nr_bos: buffers of the event; 0 for an action
 *
 * Return: the log, for uvm_record_done(); or NULL when nothing is recorded.
 */
struct uvm_mm_log *uvm_record_log(struct uvm_device *uvm, u32 nr_bos)
{
	struct uvm_record *record = &uvm->record;
	u32 room;

	if (!record->on)
		return NULL;
	room = uvm_mm_log_room(uvm->policy, nr_bos);
	if (record->nr && room <= record->log.size - record->log.len)
		return &record->log;
	if (room > UVM_RECORD_PIECE || uvm_record_grow(record)) {
		uvm_record_stop(uvm, "no more room");
		return NULL;
	}
	return &record->log;
}

/**
 * uvm_record_done() - a call was recorded
 * @uvm: the device, with the policy's lock
 * @log: of uvm_record_log(), or NULL
 */
void uvm_record_done(struct uvm_device *uvm, struct uvm_mm_log *log)
{
	struct uvm_record *record = &uvm->record;

	if (!log)
		return;
	/* What follows a gap is worth nothing, what is before it is whole. */
	if (log->lost) {
		uvm_record_stop(uvm, "something was lost");
		return;
	}
	smp_store_release(&record->pieces[record->nr - 1].len, log->len);
}

/**
 * uvm_record_init() - begin to record, if that is wanted
 * @uvm: the device, before uvm_mm_start()
 *
 * Return: 0 or -ENOMEM.
 */
int uvm_record_init(struct uvm_device *uvm)
{
	struct uvm_record *record = &uvm->record;

	if (!uvm_record_mb)
		return 0;
	record->max = min(uvm_record_mb, UVM_RECORD_MOST);
	record->pieces = kvcalloc(record->max, sizeof(*record->pieces),
				  GFP_KERNEL);
	if (!record->pieces)
		return -ENOMEM;
	record->on = true;
	return 0;
}

/**
 * uvm_record_fini() - throw the record away
 * @uvm: the device; nobody reads it
 */
void uvm_record_fini(struct uvm_device *uvm)
{
	struct uvm_record *record = &uvm->record;

	while (record->nr)
		kvfree(record->pieces[--record->nr].bytes);
	kvfree(record->pieces);
	record->pieces = NULL;
	record->on = false;
}

/* Nothing that was written changes, so it is read without the lock. */
static ssize_t uvm_record_read(struct file *file, char __user *to, size_t size,
			       loff_t *pos)
{
	struct uvm_device *uvm = file->private_data;
	struct uvm_record *record = &uvm->record;
	u32 i, len, nr = smp_load_acquire(&record->nr);
	loff_t at = *pos;

	for (i = 0; i < nr; i++) {
		len = smp_load_acquire(&record->pieces[i].len);
		if (at < len) {
			size = min_t(size_t, size, len - at);
			if (copy_to_user(to, record->pieces[i].bytes + at,
					 size))
				return -EFAULT;
			*pos += size;
			return size;
		}
		at -= len;
	}
	return 0;
}

static const struct file_operations uvm_record_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = uvm_record_read,
	.llseek = default_llseek,
};

/**
 * uvm_record_debugfs() - offer the record to readers
 * @uvm: the device, before it is registered
 */
void uvm_record_debugfs(struct uvm_device *uvm)
{
	if (uvm->record.max)
		debugfs_create_file("uvm_record", 0400, uvm->drm.debugfs_root,
				    uvm, &uvm_record_fops);
}
