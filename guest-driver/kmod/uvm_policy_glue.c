// SPDX-License-Identifier: GPL-2.0
/*
 * The policy's lock, and what its Rust needs of a kernel.
 */

#include <linux/bug.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

/*
 * GART addresses through which the memory manager copies: with the most, two
 * moves have room for two chunks each.
 */
#define UVM_PAGING_SHARE	16
#define UVM_PAGING_LEAST	SZ_4M
#define UVM_PAGING_MOST		SZ_16M

/**
 * uvm_rust_alloc() - memory for the policy's tables
 * @size: bytes
 * @align: alignment, at most that of u64
 *
 * Return: the memory or NULL; kvmalloc() aligns to more than a u64.
 */
void *uvm_rust_alloc(size_t size, size_t align)
{
	if (WARN_ON_ONCE(align > ARCH_KMALLOC_MINALIGN))
		return NULL;
	return kvmalloc(size, GFP_KERNEL | __GFP_NOWARN);
}

/**
 * uvm_rust_free() - give back what uvm_rust_alloc() gave
 * @ptr: the memory
 */
void uvm_rust_free(void *ptr)
{
	kvfree(ptr);
}

/**
 * uvm_rust_panic() - the policy found itself broken
 * @msg: file, line and reason, not terminated
 * @len: bytes of @msg
 */
void __noreturn uvm_rust_panic(const char *msg, size_t len)
{
	pr_emerg("uvm: policy: %.*s\n", (int)len, msg);
	BUG();
}

/**
 * uvm_policy_begin() - enter the policy
 * @uvm: the device
 *
 * Its tables may grow meanwhile; that must not come back to us by way of
 * file systems writing out what is mapped here.
 *
 * Return: what uvm_policy_end() wants.
 */
unsigned int uvm_policy_begin(struct uvm_device *uvm)
{
	mutex_lock(&uvm->policy_lock);
	return memalloc_nofs_save();
}

/**
 * uvm_policy_end() - leave the policy
 * @uvm: the device
 * @flags: of uvm_policy_begin()
 */
void uvm_policy_end(struct uvm_device *uvm, unsigned int flags)
{
	if (uvm_is_judged(uvm))
		uvm_annotate(uvm);
	memalloc_nofs_restore(flags);
	mutex_unlock(&uvm->policy_lock);
}

/* What the device describes, as the policy divides it. */
static int uvm_policy_segments(struct uvm_device *uvm,
			       struct uvm_mm_config *config)
{
	const struct uvm_mm_described described = {
		.local = uvm->vram.visible,
		.invisible = uvm->vram.size - uvm->vram.visible,
		.unsnooped = uvm->gart.unsnooped,
		.gart = uvm->gart.size,
		.paging = clamp(uvm->gart.size / UVM_PAGING_SHARE,
				(u64)UVM_PAGING_LEAST, (u64)UVM_PAGING_MOST),
		.tables = uvm_gart_table_bytes(uvm),
		.own_first = uvm_has_vidmm(uvm),
	};
	int ret;

	uvm_mm_dev_config(uvm, config);
	ret = uvm_mm_divide(&described, config);
	if (ret)
		drm_err(&uvm->drm, "no VRAM for the table of a %llu MiB GART\n",
			uvm->gart.size >> 20);
	return ret;
}

/**
 * uvm_policy_init() - make the policy for what the device has
 * @uvm: the device, with its VRAM and the size of its GART window known
 *
 * Return: 0 or an errno.
 */
int uvm_policy_init(struct uvm_device *uvm)
{
	const struct uvm_policy_config config = { .page_size = PAGE_SIZE };
	struct uvm_policy *policy;
	struct uvm_mm_log *log;
	unsigned int flags;
	int ret;

	ret = uvm_policy_segments(uvm, &uvm->mm.config);
	if (ret)
		return ret;
	policy = uvm_policy_new(&config);
	if (IS_ERR(policy))
		return PTR_ERR(policy);
	uvm->policy = policy;
	ret = uvm_record_init(uvm);
	if (ret)
		return ret;
	flags = uvm_policy_begin(uvm);
	log = uvm_record_log(uvm, 0);
	ret = uvm_mm_start(policy, &uvm->mm.config, log);
	uvm_record_done(uvm, log);
	uvm_policy_end(uvm, flags);
	return ret ?: uvm_annotate_init(uvm);
}

/**
 * uvm_policy_fini() - end the policy
 * @uvm: the device; all its buffers are gone
 */
void uvm_policy_fini(struct uvm_device *uvm)
{
	u32 bos = 0, moves = 0;

	uvm_record_fini(uvm);
	if (!uvm->policy)
		return;
	uvm_policy_in_use(uvm->policy, &bos, &moves);
	if (bos || moves)
		drm_warn(&uvm->drm, "%u buffers and %u moves left behind\n",
			 bos, moves);
	uvm_policy_destroy(uvm->policy);
	uvm->policy = NULL;
}
