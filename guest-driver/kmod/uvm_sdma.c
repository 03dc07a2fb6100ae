// SPDX-License-Identifier: GPL-2.0
/*
 * SDMA packets, and the copies that the driver itself makes with them.
 */

#include <linux/slab.h>

#include <drm/drm_print.h>

#include "uvm_drv.h"

static void uvm_put64(__le32 *p, u64 value)
{
	p[0] = cpu_to_le32(lower_32_bits(value));
	p[1] = cpu_to_le32(upper_32_bits(value));
}

/**
 * uvm_emit_write() - WRITE_LINEAR of one dword
 * @p: where the packet goes
 * @dst: VMID-0 address, a multiple of 4
 * @value: what is written
 *
 * Return: dwords of the packet, as all of these.
 */
u32 uvm_emit_write(__le32 *p, u64 dst, u32 value)
{
	p[0] = cpu_to_le32(SDMA_PKT_WRITE_LINEAR);
	uvm_put64(p + 1, dst);
	p[3] = cpu_to_le32(0);	/* dwords - 1 */
	p[4] = cpu_to_le32(value);
	return SDMA_PKT_WRITE_LINEAR_DWORDS + 1;
}

/**
 * uvm_emit_indirect() - INDIRECT: run other packets
 * @p: where the packet goes
 * @vmid: address space of the packets
 * @ib: their address, a multiple of 32
 * @dwords: how many
 *
 * Return: dwords of the packet.
 */
u32 uvm_emit_indirect(__le32 *p, u32 vmid, u64 ib, u32 dwords)
{
	p[0] = cpu_to_le32(SDMA_PKT_INDIRECT |
			   FIELD_PREP(SDMA_PKT_INDIRECT__VMID, vmid));
	uvm_put64(p + 1, ib);
	p[3] = cpu_to_le32(dwords);
	uvm_put64(p + 4, 0);	/* no context save area */
	return SDMA_PKT_INDIRECT_DWORDS;
}

/**
 * uvm_emit_fence() - FENCE: write a dword once all before is done
 * @p: where the packet goes
 * @addr: VMID-0 address, a multiple of 4
 * @value: what is written
 *
 * Return: dwords of the packet.
 */
u32 uvm_emit_fence(__le32 *p, u64 addr, u32 value)
{
	p[0] = cpu_to_le32(SDMA_PKT_FENCE);
	uvm_put64(p + 1, addr);
	p[3] = cpu_to_le32(value);
	return SDMA_PKT_FENCE_DWORDS;
}

/**
 * uvm_emit_trap() - TRAP: interrupt
 * @p: where the packet goes
 * @context: 28 bits for the vector
 *
 * Return: dwords of the packet.
 */
u32 uvm_emit_trap(__le32 *p, u32 context)
{
	p[0] = cpu_to_le32(SDMA_PKT_TRAP);
	p[1] = cpu_to_le32(context);
	return SDMA_PKT_TRAP_DWORDS;
}

/**
 * uvm_emit_copy() - COPY_LINEAR
 * @p: where the packet goes
 * @dst: VMID-0 address
 * @src: VMID-0 address
 * @bytes: 1 to SDMA_PKT_MAX_BYTES
 *
 * Return: dwords of the packet.
 */
u32 uvm_emit_copy(__le32 *p, u64 dst, u64 src, u32 bytes)
{
	p[0] = cpu_to_le32(SDMA_PKT_COPY_LINEAR);
	p[1] = cpu_to_le32(bytes - 1);
	p[2] = 0;
	uvm_put64(p + 3, src);
	uvm_put64(p + 5, dst);
	return SDMA_PKT_COPY_LINEAR_DWORDS;
}

/**
 * uvm_emit_fill() - CONST_FILL with a dword
 * @p: where the packet goes
 * @dst: VMID-0 address, a multiple of 4
 * @value: the dword
 * @bytes: 4 to SDMA_PKT_MAX_BYTES, a multiple of 4
 *
 * Return: dwords of the packet.
 */
u32 uvm_emit_fill(__le32 *p, u64 dst, u32 value, u32 bytes)
{
	/* FILLSIZE 2: dwords. */
	p[0] = cpu_to_le32(SDMA_PKT_CONST_FILL |
			   FIELD_PREP(SDMA_PKT_CONST_FILL__FILLSIZE, 2));
	uvm_put64(p + 1, dst);
	p[3] = cpu_to_le32(value);
	p[4] = cpu_to_le32(bytes - 1);
	return SDMA_PKT_CONST_FILL_DWORDS;
}

/**
 * uvm_emit_entries() - PTEPDE GEN: page table entries
 * @p: where the packet goes
 * @dst: VMID-0 address, a multiple of 8
 * @value: the first entry
 * @increment: difference of each to the one before
 * @count: how many, 1 to SDMA_PKT_MAX_PTES
 *
 * Return: dwords of the packet.
 */
u32 uvm_emit_entries(__le32 *p, u64 dst, u64 value, u64 increment, u32 count)
{
	p[0] = cpu_to_le32(SDMA_PKT_PTEPDE_GEN);
	uvm_put64(p + 1, dst);
	uvm_put64(p + 3, 0);	/* no bits that all have */
	uvm_put64(p + 5, value);
	uvm_put64(p + 7, increment);
	p[9] = cpu_to_le32(count - 1);
	return SDMA_PKT_PTEPDE_GEN_DWORDS;
}

/**
 * uvm_emit_reg_write() - SRBM_WRITE: write a register, in VMID 0 alone
 * @p: where the packet goes
 * @index: dword index of the register
 * @value: what
 *
 * Return: dwords of the packet.
 */
u32 uvm_emit_reg_write(__le32 *p, u32 index, u32 value)
{
	p[0] = cpu_to_le32(SDMA_PKT_SRBM_WRITE |
			   FIELD_PREP(SDMA_PKT_SRBM_WRITE__BYTE_EN, 0xf));
	p[1] = cpu_to_le32(index);
	p[2] = cpu_to_le32(value);
	return SDMA_PKT_SRBM_WRITE_DWORDS;
}

/**
 * uvm_emit_reg_wait() - POLL_REGMEM: wait for bits of a register
 * @p: where the packet goes
 * @index: dword index of the register
 * @mask: all of them are to be set
 *
 * Return: dwords of the packet.
 */
u32 uvm_emit_reg_wait(__le32 *p, u32 index, u32 mask)
{
	/* FUNC 3: equal. The register is named by its byte offset. */
	p[0] = cpu_to_le32(SDMA_PKT_POLL_REGMEM |
			   FIELD_PREP(SDMA_PKT_POLL_REGMEM__FUNC, 3));
	uvm_put64(p + 1, index << 2);
	p[3] = cpu_to_le32(mask);
	p[4] = cpu_to_le32(mask);
	/* For ever: who waits for the ring takes it from there. */
	p[5] = cpu_to_le32(FIELD_PREP(SDMA_PKT_POLL_REGMEM__RETRY_COUNT, 0xfff) |
			   FIELD_PREP(SDMA_PKT_POLL_REGMEM__INTERVAL, 10));
	return SDMA_PKT_POLL_REGMEM_DWORDS;
}

/**
 * uvm_sdma_run_ib() - run what is in the ring's own indirect buffer and wait
 * @ring: the ring, its move_lock held
 * @n: dwords; room for seven more is behind them
 *
 * Return: 0, -ENOMEM, or why the job failed.
 */
int uvm_sdma_run_ib(struct uvm_ring *ring, u32 n)
{
	__le32 *ib = ring->move_ib.cpu;
	struct uvm_job *job;

	lockdep_assert_held(&ring->move_lock);
	while (n & 7)
		ib[n++] = cpu_to_le32(SDMA_PKT_NOP);
	job = uvm_job_alloc(ring, &ring->kernel_entity, ring, 0);
	if (IS_ERR(job))
		return PTR_ERR(job);
	job->ib_gpu = ring->move_ib.gpu;
	job->ib_dwords = n;
	return uvm_job_run_sync(job);
}

/*
 * Copies, or clears where @src is 0, with packets in the ring's own indirect
 * buffer: as many jobs as it takes, one after the other.
 */
static int uvm_sdma_run(struct uvm_ring *ring, u64 dst, u64 src, u64 bytes)
{
	__le32 *ib = ring->move_ib.cpu;
	u32 room = ring->move_ib.size / sizeof(*ib) - 16;
	int ret = 0;
	u32 n, part;

	mutex_lock(&ring->move_lock);
	while (bytes && !ret) {
		for (n = 0; bytes && n < room; bytes -= part) {
			part = min_t(u64, bytes, SDMA_PKT_MAX_BYTES);
			if (src) {
				n += uvm_emit_copy(ib + n, dst, src, part);
				src += part;
			} else {
				n += uvm_emit_fill(ib + n, dst, 0, part);
			}
			dst += part;
		}
		ret = uvm_sdma_run_ib(ring, n);
	}
	mutex_unlock(&ring->move_lock);
	return ret;
}

/**
 * uvm_sdma_copy() - copy and wait
 * @ring: which engine
 * @dst: VMID-0 address
 * @src: VMID-0 address
 * @bytes: how many
 *
 * Return: 0, -ENOMEM, or why the job failed; part may have been copied then.
 */
int uvm_sdma_copy(struct uvm_ring *ring, u64 dst, u64 src, u64 bytes)
{
	int ret = uvm_sdma_run(ring, dst, src, bytes);

	if (!ret)
		atomic64_add(bytes, &ring->uvm->bytes_moved);
	return ret;
}

/**
 * uvm_sdma_clear() - fill with zeros and wait
 * @ring: which engine
 * @dst: VMID-0 address, a multiple of 4
 * @bytes: how many, a multiple of 4
 *
 * Return: 0, -ENOMEM, or why the job failed.
 */
int uvm_sdma_clear(struct uvm_ring *ring, u64 dst, u64 bytes)
{
	return uvm_sdma_run(ring, dst, 0, bytes);
}
