// SPDX-License-Identifier: GPL-2.0
/*
 * By which rules the policy decides about mirrored memory. They may be changed
 * while it does: the next batch is decided by the new ones.
 */

#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/string.h>

#include "uvm_drv.h"

static uint uvm_svm_switches = UVM_POLICY_SVM_MIGRATE | UVM_POLICY_SVM_DENSITY |
			       UVM_POLICY_SVM_THRASH | UVM_POLICY_SVM_COUNTERS |
			       UVM_POLICY_SVM_DUPLICATION |
			       UVM_POLICY_SVM_SPARE;
module_param_named(svm_switches, uvm_svm_switches, uint, 0644);
MODULE_PARM_DESC(svm_switches, "What decides about a process's memory: 1 faults move it, 2 prefetch by density, 4 by correlation, 8 thrashing, 16 counters, 32 counters alone, 64 second copies, 128 sparing (default 219)");

static uint uvm_svm_density = 51;
module_param_named(svm_density, uvm_svm_density, uint, 0644);
MODULE_PARM_DESC(svm_density, "Percent of a half that bring the rest of it, 1 to 100 (default 51)");

static uint uvm_svm_granule = 4;
module_param_named(svm_granule, uvm_svm_granule, uint, 0644);
MODULE_PARM_DESC(svm_granule, "log2 of the pages that a fault moves, 0 to 9 (default 4)");

static uint uvm_svm_slice_us = 250;
module_param_named(svm_slice_us, uvm_svm_slice_us, uint, 0644);
MODULE_PARM_DESC(svm_slice_us, "Microseconds that a side keeps a page that both want, up to 100000; twice as long is soon (default 250)");

static uint uvm_svm_batch = UVM_FAULT_BATCH;
module_param_named(svm_batch, uvm_svm_batch, uint, 0644);
MODULE_PARM_DESC(svm_batch, "Faults of a process that are served together at most, 1 to 256 (default 256)");

/**
 * uvm_svm_batch_now() - how many faults are served together
 *
 * Return: 1 to UVM_FAULT_BATCH.
 */
u32 uvm_svm_batch_now(void)
{
	return clamp(READ_ONCE(uvm_svm_batch), 1u, (u32)UVM_FAULT_BATCH);
}

/**
 * uvm_svm_tuned() - take over what the parameters say now
 * @config: as it is; what makes no sense is the nearest that does
 */
void uvm_svm_tuned(struct uvm_policy_svm_config *config)
{
	u64 slice = (u64)READ_ONCE(uvm_svm_slice_us) * NSEC_PER_USEC;

	config->switches = READ_ONCE(uvm_svm_switches) & UVM_POLICY_SVM_SWITCHES;
	config->replay = uvm_svm_replay_now();
	config->density = clamp(READ_ONCE(uvm_svm_density), 1u, 100u);
	config->granule = min(READ_ONCE(uvm_svm_granule), 9u);
	config->slice = min(slice, (u64)UVM_SVM_SLICE_NS);
	config->lapse = 2 * config->slice + 1;
}

/**
 * uvm_svm_retune() - decide by what the parameters say now
 * @policy: in which the caller is
 */
void uvm_svm_retune(struct uvm_policy_svm *policy)
{
	struct uvm_policy_svm_config old, new;

	if (uvm_policy_svm_config(policy, &old))
		return;
	new = old;
	uvm_svm_tuned(&new);
	if (memcmp(&old, &new, sizeof(old)))
		WARN_ON_ONCE(uvm_policy_svm_configure(policy, &new));
}
