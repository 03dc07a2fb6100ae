// SPDX-License-Identifier: GPL-2.0
/*
 * What is left of a ring that hung, as text in /sys/class/devcoredump.
 *
 * The ring's recovery, on which fences wait, allocates nothing: it writes into
 * a buffer that is there from the start, and a worker hands a copy of it over.
 * The kernel keeps one dump a device until it is written to or grows old, and
 * drops those that come meanwhile. A dump does not keep the module.
 *
 * Everything here may have been scribbled over: each address that the device's
 * registers or tables name is checked before it is followed.
 */

#include <linux/devcoredump.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>

#include "uvm_drv.h"

#define UVM_DUMP_BYTES		SZ_32K
/* Packets shown from where an engine stands, and dwords before that. */
#define UVM_DUMP_PACKETS	12u
#define UVM_DUMP_AHEAD		96u
#define UVM_DUMP_BEFORE		16u
#define UVM_DUMP_WIDTH		8u
#define UVM_DUMP_LEVEL_BITS	9u

/* Where bytes are, once translated. */
struct uvm_place {
	bool system;
	u64 at;
};

static const struct {
	u32 header;
	u32 dwords;
	const char *name;
} uvm_packets[] = {
	{ SDMA_PKT_NOP, SDMA_PKT_NOP_DWORDS, "NOP" },
	{ SDMA_PKT_COPY_LINEAR, SDMA_PKT_COPY_LINEAR_DWORDS, "COPY_LINEAR" },
	{ SDMA_PKT_WRITE_LINEAR, SDMA_PKT_WRITE_LINEAR_DWORDS, "WRITE_LINEAR" },
	{ SDMA_PKT_INDIRECT, SDMA_PKT_INDIRECT_DWORDS, "INDIRECT" },
	{ SDMA_PKT_FENCE, SDMA_PKT_FENCE_DWORDS, "FENCE" },
	{ SDMA_PKT_TRAP, SDMA_PKT_TRAP_DWORDS, "TRAP" },
	{ SDMA_PKT_POLL_REGMEM, SDMA_PKT_POLL_REGMEM_DWORDS, "POLL_REGMEM" },
	{ SDMA_PKT_COND_EXE, SDMA_PKT_COND_EXE_DWORDS, "COND_EXE" },
	{ SDMA_PKT_ATOMIC, SDMA_PKT_ATOMIC_DWORDS, "ATOMIC" },
	{ SDMA_PKT_CONST_FILL, SDMA_PKT_CONST_FILL_DWORDS, "CONST_FILL" },
	{ SDMA_PKT_PTEPDE_GEN, SDMA_PKT_PTEPDE_GEN_DWORDS, "PTEPDE_GEN" },
	{ SDMA_PKT_TIMESTAMP_SET, SDMA_PKT_TIMESTAMP_SET_DWORDS,
	  "TIMESTAMP_SET" },
	{ SDMA_PKT_TIMESTAMP_GET, SDMA_PKT_TIMESTAMP_GET_DWORDS,
	  "TIMESTAMP_GET" },
	{ SDMA_PKT_TIMESTAMP_GET_GLOBAL, SDMA_PKT_TIMESTAMP_GET_GLOBAL_DWORDS,
	  "TIMESTAMP_GET_GLOBAL" },
	{ SDMA_PKT_SRBM_WRITE, SDMA_PKT_SRBM_WRITE_DWORDS, "SRBM_WRITE" },
};

/* Dwords of the packet at @p; 0: the engine knows none like it. */
static u32 uvm_packet_dwords(const __le32 *p, u32 left, const char **name)
{
	u32 header = le32_to_cpu(p[0]);
	u32 i;

	for (i = 0; i < ARRAY_SIZE(uvm_packets); i++)
		if (uvm_packets[i].header == (header & GENMASK(15, 0)))
			break;
	if (i == ARRAY_SIZE(uvm_packets))
		return 0;
	*name = uvm_packets[i].name;
	switch (uvm_packets[i].header) {
	case SDMA_PKT_NOP:
		return 1 + FIELD_GET(GENMASK(29, 16), header);
	case SDMA_PKT_WRITE_LINEAR:
		if (left < SDMA_PKT_WRITE_LINEAR_DWORDS)
			return SDMA_PKT_WRITE_LINEAR_DWORDS;
		return SDMA_PKT_WRITE_LINEAR_DWORDS + 1 +
		       FIELD_GET(GENMASK(19, 0), le32_to_cpu(p[3]));
	default:
		return uvm_packets[i].dwords;
	}
}

static void uvm_dump_dwords(struct seq_buf *s, const __le32 *p, u32 n)
{
	u32 i;

	for (i = 0; i < n; i++)
		seq_buf_printf(s, " %08x", le32_to_cpu(p[i]));
	seq_buf_putc(s, '\n');
}

/* Names the @n dwords at @p, which lie at byte @offset of ring or buffer. */
static void uvm_dump_packets(struct seq_buf *s, const __le32 *p, u32 n,
			     u64 offset)
{
	u32 count, dwords;
	const char *name;

	for (count = 0; n && count < UVM_DUMP_PACKETS; count++) {
		dwords = uvm_packet_dwords(p, n, &name);
		seq_buf_printf(s, "  +%#06llx %s:", offset,
			       dwords ? name : "illegal packet");
		uvm_dump_dwords(s, p, min3(dwords ?: 1, n, UVM_DUMP_WIDTH));
		if (!dwords || dwords > n)
			return;
		p += dwords;
		n -= dwords;
		offset += dwords * sizeof(*p);
	}
}

static bool uvm_dump_read(struct uvm_device *uvm, struct uvm_place place,
			  void *to, size_t n)
{
	if (!place.system) {
		if (place.at > uvm->vram.size || n > uvm->vram.size - place.at)
			return false;
		uvm_peek_read(uvm, place.at, to, n);
		return true;
	}
	if (!pfn_valid(PHYS_PFN(place.at)) || !page_is_ram(PHYS_PFN(place.at)))
		return false;
	return !copy_from_kernel_nofault(to, phys_to_virt(place.at), n);
}

static const char *uvm_dump_space(struct uvm_place place)
{
	return place.system ? "system" : "VRAM";
}

/* What an entry points at. */
static struct uvm_place uvm_dump_target(u64 entry, u64 mask)
{
	return (struct uvm_place) {
		.system = entry & UVM_PTE_SYSTEM,
		.at = entry & mask,
	};
}

/* VMID 0: the FB aperture, and the GART's entries, which lie in a row. */
static bool uvm_dump_walk_driver(struct uvm_device *uvm, struct seq_buf *s,
				 u64 va, struct uvm_place *page)
{
	u64 offset = va - UVM_GART_START;
	u64 entry;

	if (va - UVM_FB_START < uvm->vram.size) {
		*page = (struct uvm_place) { .at = va - UVM_FB_START };
		return true;
	}
	if (offset >= uvm->gart.size || !uvm->gart.table)
		return false;
	entry = readq(uvm->gart.table + (offset >> PAGE_SHIFT));
	if (s)
		seq_buf_printf(s, "  GART entry %#llx: %016llx\n",
			       offset >> PAGE_SHIFT, entry);
	*page = uvm_dump_target(entry, UVM_PTE_ADDR);
	page->at += offset_in_page(va);
	return entry & UVM_PTE_VALID;
}

/* The walk that the device does of @va from @root; told to @s, or not. */
static bool uvm_dump_walk(struct uvm_device *uvm, struct seq_buf *s, u64 root,
			  u64 va, struct uvm_place *page)
{
	u32 level, shift = 0;
	u64 index, entry = root;
	struct uvm_place at;
	__le64 raw;

	for (level = uvm->levels; level--; ) {
		shift = PAGE_SHIFT + UVM_DUMP_LEVEL_BITS * level;
		index = va >> shift;
		/* The root takes all the bits that are left. */
		if (level != uvm->levels - 1)
			index &= BIT(UVM_DUMP_LEVEL_BITS) - 1;
		at = uvm_dump_target(entry, UVM_PDE_ADDR);
		at.at += index * sizeof(raw);
		if (!uvm_dump_read(uvm, at, &raw, sizeof(raw))) {
			if (s)
				seq_buf_printf(s, "  level %u: no memory at %s %#llx\n",
					       level, uvm_dump_space(at),
					       at.at);
			return false;
		}
		entry = le64_to_cpu(raw);
		if (s)
			seq_buf_printf(s, "  level %u: %s %#llx: %016llx%s\n",
				       level, uvm_dump_space(at), at.at, entry,
				       entry & UVM_PTE_VALID ? "" : " invalid");
		if (!(entry & UVM_PTE_VALID))
			return false;
		if (entry & UVM_PTE_PDE_PTE)
			break;
	}
	*page = uvm_dump_target(entry, UVM_PTE_ADDR);
	page->at += va & (BIT_ULL(shift) - 1);
	return true;
}

static bool uvm_dump_translate(struct uvm_device *uvm, struct seq_buf *s,
			       u32 vmid, u64 root, u64 va,
			       struct uvm_place *page)
{
	if (vmid)
		return uvm_dump_walk(uvm, s, root, va, page);
	return uvm_dump_walk_driver(uvm, s, va, page);
}

/* Reads up to @n dwords at @va. Return: how many there are. */
static u32 uvm_dump_fetch(struct uvm_device *uvm, u32 vmid, u64 root, u64 va,
			  __le32 *to, u32 n)
{
	u32 part, done = 0;
	struct uvm_place page;

	while (done < n) {
		part = (PAGE_SIZE - offset_in_page(va)) / sizeof(*to);
		part = min(part, n - done);
		if (!part || !uvm_dump_translate(uvm, NULL, vmid, root, va,
						 &page) ||
		    !uvm_dump_read(uvm, page, to + done, part * sizeof(*to)))
			break;
		done += part;
		va += part * sizeof(*to);
	}
	return done;
}

static void uvm_dump_ring(struct seq_buf *s, struct uvm_ring *ring,
			  const struct uvm_ring_state *state)
{
	seq_buf_printf(s, "%s: RB_CNTL %#x STATUS %#x CONTEXT_STATUS %#x\n",
		       ring->name, state->rb_cntl, state->status,
		       state->context);
	seq_buf_printf(s, "%s: RPTR %#llx WPTR %#llx (driver %#llx)\n",
		       ring->name, state->rptr, state->wptr,
		       READ_ONCE(ring->wptr) << 2);
	seq_buf_printf(s, "%s: IB %#llx IB_RPTR %#x, %u dwords left\n",
		       ring->name, state->ib, state->ib_rptr, state->ib_left);
	seq_buf_printf(s, "%s: fence reached %u, emitted %u\n", ring->name,
		       le32_to_cpu(READ_ONCE(*uvm_ring_wb(ring,
							  UVM_WB_FENCE))),
		       READ_ONCE(ring->emitted));
}

/* The ring's own packets, from a little before where it stands. */
static void uvm_dump_ring_packets(struct seq_buf *s, struct uvm_ring *ring,
				  const struct uvm_ring_state *state)
{
	u64 at = state->rptr >> 2;
	__le32 packets[UVM_DUMP_AHEAD];
	const __le32 *buf = ring->buf.cpu;
	u32 i, n = min_t(u64, ring->wptr - at, UVM_DUMP_AHEAD);

	if (at > ring->wptr || ring->wptr - at > ring->mask + 1) {
		seq_buf_puts(s, "ring: RPTR makes no sense\n");
		return;
	}
	for (i = 0; i < UVM_DUMP_BEFORE; i++)
		packets[i] = buf[(at - UVM_DUMP_BEFORE + i) & ring->mask];
	seq_buf_puts(s, "ring before RPTR:");
	uvm_dump_dwords(s, packets, UVM_DUMP_BEFORE);
	for (i = 0; i < n; i++)
		packets[i] = buf[(at + i) & ring->mask];
	seq_buf_printf(s, "ring at RPTR %#llx:\n", state->rptr);
	uvm_dump_packets(s, packets, n, state->rptr & ((ring->mask << 2) | 3));
}

static void uvm_dump_ib(struct seq_buf *s, struct uvm_ring *ring,
			const struct uvm_ring_state *state, u32 vmid, u64 root)
{
	struct uvm_device *uvm = ring->uvm;
	u64 va = state->ib + state->ib_rptr;
	u32 before = min(state->ib_rptr >> 2, UVM_DUMP_BEFORE);
	__le32 packets[UVM_DUMP_AHEAD];
	struct uvm_place page;
	u32 n;

	if (!state->ib_left) {
		seq_buf_puts(s, "IB: none in execution\n");
		return;
	}
	seq_buf_printf(s, "page walk of %#llx in VMID %u:\n", va, vmid);
	if (uvm_dump_translate(uvm, s, vmid, root, va, &page))
		seq_buf_printf(s, "  page: %s %#llx\n", uvm_dump_space(page),
			       page.at);
	else
		seq_buf_puts(s, "  no page\n");

	n = uvm_dump_fetch(uvm, vmid, root, va - 4 * before, packets, before);
	if (before && n == before) {
		seq_buf_puts(s, "IB before IB_RPTR:");
		uvm_dump_dwords(s, packets, n);
	}
	n = uvm_dump_fetch(uvm, vmid, root, va, packets,
			   min(state->ib_left, UVM_DUMP_AHEAD));
	seq_buf_printf(s, "IB at IB_RPTR %#x:\n", state->ib_rptr);
	uvm_dump_packets(s, packets, n, state->ib_rptr);
}

static u64 uvm_dump_reg64(struct uvm_device *uvm, u32 low)
{
	return uvm_rreg(uvm, low) | (u64)uvm_rreg(uvm, low + 1) << 32;
}

/* Return: the root of the context. */
static u64 uvm_dump_context(struct seq_buf *s, struct uvm_device *uvm,
			    u32 vmid)
{
	u64 root = uvm_dump_reg64(uvm,
			mmMM_VM_CONTEXT_PAGE_TABLE_BASE_ADDR(2 * vmid));

	seq_buf_printf(s, "VMID %u: CNTL %#x BASE %#llx START %#llx END %#llx PASID %#x\n",
		       vmid, uvm_rreg(uvm, mmMM_VM_CONTEXT_CNTL(vmid)), root,
		       uvm_dump_reg64(uvm,
			mmMM_VM_CONTEXT_PAGE_TABLE_START_ADDR(2 * vmid)),
		       uvm_dump_reg64(uvm,
			mmMM_VM_CONTEXT_PAGE_TABLE_END_ADDR(2 * vmid)),
		       uvm_rreg(uvm, mmIH_VMID_LUT_MM(vmid)));
	seq_buf_printf(s, "fault status: %#x at page %#llx\n",
		       uvm_rreg(uvm, mmMM_VM_L2_PROTECTION_FAULT_STATUS),
		       uvm_dump_reg64(uvm,
				      mmMM_VM_L2_PROTECTION_FAULT_ADDR(0)));
	return root;
}

static void uvm_dump_process(struct seq_buf *s, struct uvm_device *uvm,
			     u32 pasid)
{
	char comm[TASK_COMM_LEN] = "?";
	struct uvm_vm_fault fault = {};
	struct uvm_vm *vm;
	pid_t pid = 0;

	if (!pasid) {
		seq_buf_puts(s, "process: none, VMID 0\n");
		return;
	}
	xa_lock(&uvm->vms.by_pasid);
	vm = xa_load(&uvm->vms.by_pasid, pasid);
	if (vm) {
		memcpy(comm, vm->comm, sizeof(comm));
		pid = vm->pid;
		spin_lock(&vm->fault_lock);
		fault = vm->fault;
		spin_unlock(&vm->fault_lock);
	}
	xa_unlock(&uvm->vms.by_pasid);
	seq_buf_printf(s, "process: %s (pid %d), PASID %u\n", comm, pid, pasid);
	if (fault.count)
		seq_buf_printf(s, "last fault: %s %#llx, status %#x, the last of %llu\n",
			       fault.write ? "writes" : "reads", fault.va,
			       fault.status, fault.count);
}

/**
 * uvm_dump_take() - write down how a ring hangs
 * @ring: the ring, locked, disabled
 * @state: where it stood
 * @fence: of the job that it stood on
 * @why: in words
 *
 * Context: on the way to signalling a fence; allocates nothing.
 */
void uvm_dump_take(struct uvm_ring *ring, const struct uvm_ring_state *state,
		   const struct uvm_fence *fence, const char *why)
{
	struct uvm_device *uvm = ring->uvm;
	struct uvm_dump *dump = &ring->dump;
	struct seq_buf *s = &dump->text;
	struct uvm_ring_state other;
	struct timespec64 now;
	u64 root;
	u32 i;

	lockdep_assert_held(&ring->lock);
	/* The last one is still on its way out. */
	if (!dump->buf || READ_ONCE(dump->full)) {
		dump->dropped++;
		return;
	}
	ktime_get_boottime_ts64(&now);
	seq_buf_init(s, dump->buf, UVM_DUMP_BYTES);
	seq_buf_printf(s, "uvm: %s hung: %s\n", ring->name, why);
	seq_buf_printf(s, "kernel: %s\ndevice: %s\ntime: %lld.%06ld\n",
		       init_utsname()->release, dev_name(uvm->drm.dev),
		       (s64)now.tv_sec, now.tv_nsec / 1000);
	seq_buf_printf(s, "hangs of this ring: %lld, dumps dropped: %llu\n",
		       atomic64_read(&ring->timeouts), dump->dropped);
	seq_buf_printf(s, "job: fence %u, VMID %u, IB %#llx, %u dwords\n",
		       fence->seq, fence->vmid, fence->ib, fence->ib_dwords);
	uvm_dump_process(s, uvm, fence->pasid);
	uvm_dump_ring(s, ring, state);
	for (i = 0; i < uvm->nr_rings; i++) {
		if (i == ring->index || !READ_ONCE(uvm->rings[i].started))
			continue;
		uvm_ring_get_state(&uvm->rings[i], &other);
		uvm_dump_ring(s, &uvm->rings[i], &other);
	}
	root = uvm_dump_context(s, uvm, fence->vmid);
	uvm_dump_ib(s, ring, state, fence->vmid, root);
	uvm_dump_ring_packets(s, ring, state);
	seq_buf_puts(s, "end of dump\n");

	WRITE_ONCE(dump->full, true);
	schedule_work(&dump->work);
}

/* Hands the text over; the kernel frees the copy. */
static void uvm_dump_work(struct work_struct *work)
{
	struct uvm_dump *dump = container_of(work, struct uvm_dump, work);
	struct uvm_ring *ring = container_of(dump, struct uvm_ring, dump);
	size_t length = seq_buf_used(&dump->text);
	void *copy = vmalloc(length);

	if (copy) {
		memcpy(copy, dump->buf, length);
		dev_coredumpv(ring->uvm->drm.dev, copy, length, GFP_KERNEL);
	}
	/* The buffer is the recovery's again. */
	smp_store_release(&dump->full, false);
}

/**
 * uvm_dump_init() - make room for a dump
 * @dump: of a ring
 *
 * Return: 0 or -ENOMEM.
 */
int uvm_dump_init(struct uvm_dump *dump)
{
	INIT_WORK(&dump->work, uvm_dump_work);
	dump->buf = vmalloc(UVM_DUMP_BYTES);
	return dump->buf ? 0 : -ENOMEM;
}

/**
 * uvm_dump_flush() - let go of the device
 * @dump: of a ring that has stopped
 */
void uvm_dump_flush(struct uvm_dump *dump)
{
	if (dump->buf)
		flush_work(&dump->work);
}

/**
 * uvm_dump_fini() - give the room back
 * @dump: of a ring, flushed, or never initialised
 */
void uvm_dump_fini(struct uvm_dump *dump)
{
	vfree(dump->buf);
	dump->buf = NULL;
}
