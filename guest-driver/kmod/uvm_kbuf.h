/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's own memory that the device reaches (uvm_gart.c).
 */
#ifndef UVM_KBUF_H
#define UVM_KBUF_H

#include <linux/types.h>

/**
 * struct uvm_kbuf - the driver's own memory in the GART window
 * @cpu: kernel address
 * @gpu: VMID-0 address
 * @size: bytes
 * @range: the policy's name of the GART range; 0: not allocated
 */
struct uvm_kbuf {
	void *cpu;
	u64 gpu;
	u64 size;
	u64 range;
};

#endif /* UVM_KBUF_H */
