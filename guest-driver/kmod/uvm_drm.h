/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/* made from the tables in spec/; UPDATE_GENERATED=1 cargo test -p uvm-spec writes it anew */
#ifndef UVM_DRM_H
#define UVM_DRM_H

#include <drm/drm.h>

/* Version of the device's window. */
#define UVM_PARAM_DEVICE_VERSION	0
/* Bytes of VRAM. */
#define UVM_PARAM_VRAM_SIZE	1
/* Bytes of VRAM in use. */
#define UVM_PARAM_VRAM_USED	2
/* Bytes of the GART window. */
#define UVM_PARAM_GTT_SIZE	3
/* Bytes of the GART window in use. */
#define UVM_PARAM_GTT_USED	4
/* SDMA instances. */
#define UVM_PARAM_RINGS	5
/* Levels of the device's GPUVM page tables. */
#define UVM_PARAM_LEVELS	6
/* Interrupt vectors seen by the driver. */
#define UVM_PARAM_INTERRUPTS	7
/* Fences signalled. */
#define UVM_PARAM_FENCES	8
/* Page faults reported by the device. */
#define UVM_PARAM_FAULTS	9
/* First VMID-0 address of the GART window. */
#define UVM_PARAM_GART_START	10
/* First VMID-0 address of VRAM (the FB aperture). */
#define UVM_PARAM_FB_START	11
/* Ring timeouts since the driver was loaded. */
#define UVM_PARAM_TIMEOUTS	12
/* SDMA bytes that the driver's own moves copied. */
#define UVM_PARAM_BYTES_MOVED	13
/* SDMA packets that the device counted since its reset. */
#define UVM_PARAM_DEVICE_PACKETS	14
/* Bytes that the device's SDMA copied, filled or wrote since its reset. */
#define UVM_PARAM_DEVICE_BYTES	15
/* Interrupt vectors that the device counted since its reset. */
#define UVM_PARAM_DEVICE_INTERRUPTS	16
/* Page faults that the device counted since its reset. */
#define UVM_PARAM_DEVICE_FAULTS	17
/* Page-table walks that the device counted since its reset. */
#define UVM_PARAM_DEVICE_WALKS	18
/* Translations that the device's caches held since its reset. */
#define UVM_PARAM_DEVICE_TLB_HITS	19
/* Bytes of a process's GPU address space. */
#define UVM_PARAM_VM_SIZE	20
/* Feature bits of the device's window, UVM_WIN_CAP_*. */
#define UVM_PARAM_CAPABILITIES	21
/* Page faults that wait for their pages, as the driver took them in; one that is raised again counts again. */
#define UVM_PARAM_RETRY_FAULTS	40
/* Answers to them. */
#define UVM_PARAM_RETRY_ANSWERS	41
/* Times that their interrupt ring overflowed. */
#define UVM_PARAM_RETRY_OVERFLOWS	42
/* User queues that a process may still make, on all SDMA instances together. */
#define UVM_PARAM_FREE_QUEUES	43
/* Times that the device told of an uncorrectable error in VRAM: each read of a broken page tells. */
#define UVM_PARAM_VRAM_ERRORS	50
/* Bytes of buffers that were moved out of VRAM or the GTT to make room. */
#define UVM_PARAM_MM_EVICTED	51
/* Bytes of buffers that were brought into VRAM or the GTT. */
#define UVM_PARAM_MM_BROUGHT_IN	52
/* Bytes of buffers that were written to the backing store. */
#define UVM_PARAM_MM_SWAPPED_OUT	53
/* Bytes of buffers that were read from there. */
#define UVM_PARAM_MM_SWAPPED_IN	54
/* Bytes of buffers that nobody needed and that were thrown away. */
#define UVM_PARAM_MM_PURGED	55
/* Moves of buffers that failed and were taken back. */
#define UVM_PARAM_MM_FAILED	56
/* Submissions and accesses that were refused as their buffers did not fit. */
#define UVM_PARAM_MM_REFUSED	57
/* Bytes of system pages that buffers have. */
#define UVM_PARAM_MM_PAGES	58
/* Faults in mirrored memory that were served. */
#define UVM_PARAM_SVM_FAULTS	60
/* Of these, those whose page had come meanwhile. */
#define UVM_PARAM_SVM_STALE	61
/* Of these, those whose page cannot come: no memory is there, or not for that access. */
#define UVM_PARAM_SVM_REFUSED	62
/* Batches that they came in. */
#define UVM_PARAM_SVM_BATCHES	63
/* Page table entries written for mirrored pages. */
#define UVM_PARAM_SVM_MAPPED	64
/* Page table entries taken away as memory changed. */
#define UVM_PARAM_SVM_ZAPPED	65
/* Changes of memory that took any away. */
#define UVM_PARAM_SVM_INVALIDATIONS	66
/* Times that the device was asked to forget mirrored pages. */
#define UVM_PARAM_SVM_FLUSHES	67
/* Blocks of 2 MiB that are mirrored now. */
#define UVM_PARAM_SVM_BLOCKS	68
/* Pages of mirrored memory that the device got for itself, for an atomic. */
#define UVM_PARAM_SVM_EXCLUSIVE	100
/* Of these, those that a CPU had back. */
#define UVM_PARAM_SVM_TAKEN_BACK	101
/* Of these, pages of files, which it had for a while only. */
#define UVM_PARAM_SVM_LENT	102
/* Faults of the largest batch since the driver was loaded. */
#define UVM_PARAM_SVM_LARGEST_BATCH	103
/* Queues of the access engine that a process may still make. */
#define UVM_PARAM_FREE_ACCESS_QUEUES	80
/* Times that an access counter reached its threshold. */
#define UVM_PARAM_ACCESS_NOTIFICATIONS	81
/* Bytes of VRAM that hold pages of processes' own memory now. */
#define UVM_PARAM_DEVMEM_USED	70
/* Bytes of processes' own memory that went to VRAM. */
#define UVM_PARAM_DEVMEM_TO_VRAM	71
/* Bytes of processes' own memory that came back to system memory, for whatever reason. */
#define UVM_PARAM_DEVMEM_TO_SYSTEM	72
/* Folios of 2 MiB among both, each moved by one copy. */
#define UVM_PARAM_DEVMEM_HUGE	73
/* Accesses of CPUs that brought memory back. */
#define UVM_PARAM_DEVMEM_CPU_FAULTS	74
/* Bytes of processes' own memory that were moved out of VRAM to make room. */
#define UVM_PARAM_DEVMEM_EVICTED	75
/* Bytes that were to be moved and stayed where they were, as there was no memory or they were in use. */
#define UVM_PARAM_DEVMEM_FAILED	76
/* Bytes that the CPU copied as no PAGE ring did. */
#define UVM_PARAM_DEVMEM_BY_CPU	77
/* Bytes of VRAM that the CPU reaches, the first ones. */
#define UVM_PARAM_VRAM_VISIBLE	85
/* System pages; the GPU reaches them by page tables of processes alone. */
#define UVM_DOMAIN_SYSTEM	0
/* System pages that the GPU reaches through the GART. */
#define UVM_DOMAIN_GTT	1
/* VRAM; the CPU reaches it through the BAR, or (UMA) as the part of system memory that it is. */
#define UVM_DOMAIN_VRAM	2
/* The buffer has memory once it is used, not before, and where VRAM is full of what is in use it may be used in GTT instead. */
#define UVM_GEM_PAGEABLE	1
/* The CPU is a frequent user of the pageable buffer: in VRAM it goes where the CPU reaches it. Without the flag it goes beyond the end of the BAR first, and is moved when the CPU touches a mapping of it. */
#define UVM_GEM_CPU_ACCESS	8
/* The pageable buffer's system pages are mapped write-combined for the CPU, and the GPU's accesses do not snoop the CPU's caches. EINVAL where the device has no such segment. */
#define UVM_GEM_UNSNOOPED	16
/* Write, not read. */
#define UVM_ACCESS_WRITE	1
/* The content may be thrown away. */
#define UVM_GEM_DONT_NEED	0
/* The content is needed, as it is at first. */
#define UVM_GEM_WILL_NEED	1
/* The submission writes this buffer object. */
#define UVM_BO_WRITE	1
/* The submission runs in the caller's own address space. */
#define UVM_SUBMIT_VM	1
/* Most dwords of a submission. */
#define UVM_MAX_IB_DWORDS	16384
/* Most buffer objects of a submission. */
#define UVM_MAX_BOS	1024
/* Most relocations of a submission. */
#define UVM_MAX_RELOCS	4096
/* Most syncobjs of a submission, each way. */
#define UVM_MAX_SYNCS	256
/* Map a range onto a buffer. */
#define UVM_VM_OP_MAP	1
/* Unmap a range; what is not mapped stays so. */
#define UVM_VM_OP_UNMAP	2
/* Make a range partially resident: reads give zero, writes go nowhere. */
#define UVM_VM_OP_PRT	3
/* The GPU may read. */
#define UVM_VM_READ	1
/* The GPU may write. */
#define UVM_VM_WRITE	2
/* The GPU may execute. */
#define UVM_VM_EXECUTE	4
/* Accesses snoop the CPU's caches; for system pages always so, but for those of a buffer with UVM_GEM_UNSNOOPED, which are never. */
#define UVM_VM_SNOOPED	8
/* In VRAM the bytes are encrypted; only such mappings see them clear. */
#define UVM_VM_TMZ	16
/* What is mapped there makes way; without, EEXIST. */
#define UVM_VM_REPLACE	32
/* Accesses to pages that are not mapped, or not for that access, wait instead of failing. It holds for what is submitted from now on, and for the caller's queues at once. */
#define UVM_VM_CONFIG_RETRY	1
/* The address space keeps a VMID of its own. ENOSPC when only two are left for all others. */
#define UVM_VM_CONFIG_RESERVE_VMID	2
/* Most mappings of an address space. */
#define UVM_VM_MAX_MAPPINGS	16384
/* Least bytes of a user queue's ring. */
#define UVM_QUEUE_MIN_BYTES	4096
/* Most bytes of a user queue's ring. */
#define UVM_QUEUE_MAX_BYTES	16777216
/* A queue of an SDMA instance. */
#define UVM_QUEUE_SDMA	0
/* A queue of the access engine. */
#define UVM_QUEUE_ACCESS	1
/* Start the queue anew, empty. */
#define UVM_QUEUE_RESET	1
/* The queue executes what it is given. */
#define UVM_QUEUE_RUNNING	0
/* The queue waits for a page. */
#define UVM_QUEUE_PARKED	1
/* The queue stopped on the packet at its read pointer; UVM_QUEUE_RESET starts it again. */
#define UVM_QUEUE_STOPPED	2
/* It stopped on a packet that cannot be executed. */
#define UVM_QUEUE_CAUSE_PACKET	1
/* It stopped on a page fault; DRM_UVM_FAULT_QUERY tells which. */
#define UVM_QUEUE_CAUSE_FAULT	2
/* It stopped on an indirect buffer inside an indirect buffer. */
#define UVM_QUEUE_CAUSE_NESTED	3
/* Advice: where the range is best, UVM_SVM_IN_SYSTEM, UVM_SVM_IN_VRAM or UVM_SVM_ANYWHERE. */
#define UVM_SVM_PREFERRED	0
/* Advice: with 1, it is mapped for the device wherever it is, and its faults move nothing. */
#define UVM_SVM_ACCESSED	1
/* Advice: 1 if the device may have a second copy in VRAM of what the process may only read (mprotect): CPU and device both read what is near. A copy ends when the process may write. */
#define UVM_SVM_DUPLICATE	2
/* Advice: with 1, the device may not touch it. */
#define UVM_SVM_NO_ACCESS	3
/* Advice: with 1, the device may not write it. */
#define UVM_SVM_READ_ONLY	4
/* Advice: with 1, its faults are answered as soon as their pages are there. */
#define UVM_SVM_EAGER	5
/* Advice: log2 of the pages that a fault brings, or UVM_SVM_ANYWHERE for what is usual. */
#define UVM_SVM_GRANULE	6
/* Advice: it belongs to this group of ranges; zero: to none. */
#define UVM_SVM_GROUP	7
/* Advice: as if nothing had been said. */
#define UVM_SVM_RESET	8
/* Advice: a new group of ranges, which may move. */
#define UVM_SVM_NEW_GROUP	32
/* Advice: the end of a group; its ranges are in none. */
#define UVM_SVM_END_GROUP	33
/* Advice: the ranges of a group stay where they are. */
#define UVM_SVM_HOLD_GROUP	34
/* Advice: the ranges of a group may move. */
#define UVM_SVM_FREE_GROUP	35
/* Place: system memory. */
#define UVM_SVM_IN_SYSTEM	0
/* Place: VRAM. */
#define UVM_SVM_IN_VRAM	1
/* Place: nothing was said. */
#define UVM_SVM_ANYWHERE	4294967295
/* Prefetch: all ranges of a group, of the caller's own mirror. */
#define UVM_SVM_PREFETCH_GROUP	1
/* The number of records that may wait is set. */
#define UVM_SVM_EVENTS_KEEP	1
/* Record: a fault; the detail is 1 for a write, 2 for an atomic. */
#define UVM_SVM_REC_FAULT	1
/* Record: pages moved; the detail: 0 a fault, 1 a prefetch, 2 to make room, 3 a CPU's access, 4 accesses that were counted. */
#define UVM_SVM_REC_MIGRATION	2
/* Record: pages were evicted. */
#define UVM_SVM_REC_EVICTION	3
/* Record: pages go to and fro. */
#define UVM_SVM_REC_THRASH	4
/* Record: pages that nobody has touched yet are brought. */
#define UVM_SVM_REC_PREFETCH	5
/* Record: a fault waits until the time that the value tells. */
#define UVM_SVM_REC_THROTTLE	6
/* Record: a page stays until the time that the value tells. */
#define UVM_SVM_REC_PIN	7
/* A granule was reached over the bus often; its size in bytes is the record's value. */
#define UVM_SVM_REC_COUNTER	8
/* Record: an access that was forbidden. */
#define UVM_SVM_REC_DENIED	9
/* Record: pages that could not move. */
#define UVM_SVM_REC_FAILURE	10

/**
 * struct drm_uvm_get_param - Asks for one of the UVM_PARAM_* values.
 * @param: Which.
 * @pad: Must be zero.
 * @value: Out: the value.
 */
struct drm_uvm_get_param {
	__u32 param;
	__u32 pad;
	__u64 value;
};

/**
 * struct drm_uvm_gem_create - Creates a buffer object. It belongs in a domain: there it is placed now, and brought for each submission that may reach it. While none does, others may push it out of VRAM or the GTT to system pages, and from there to swap; its content survives.
 * @size: In: bytes, more than zero. Out: bytes rounded up to pages.
 * @domain: Where it belongs: UVM_DOMAIN_*; a pageable one, VRAM or GTT.
 * @flags: UVM_GEM_* flags or zero; for anything but a pageable buffer zero.
 * @handle: Out: GEM handle.
 * @pad: Must be zero.
 */
struct drm_uvm_gem_create {
	__u64 size;
	__u32 domain;
	__u32 flags;
	__u32 handle;
	__u32 pad;
};

/**
 * struct drm_uvm_gem_mmap - Gets the offset for mmap() on the render node.
 * @handle: GEM handle.
 * @pad: Must be zero.
 * @offset: Out: the offset.
 */
struct drm_uvm_gem_mmap {
	__u32 handle;
	__u32 pad;
	__u64 offset;
};

/**
 * struct drm_uvm_gem_info - Tells a buffer object's size and place.
 * @handle: GEM handle.
 * @domain: Out: UVM_DOMAIN_* where it is now.
 * @size: Out: bytes.
 * @gpu_addr: Out: VMID-0 address while in GTT or VRAM, else zero. It holds while a submission uses the buffer; else until others push it out, or it is moved.
 */
struct drm_uvm_gem_info {
	__u32 handle;
	__u32 domain;
	__u64 size;
	__u64 gpu_addr;
};

/**
 * struct drm_uvm_gem_move - Moves a buffer object to a domain, where it belongs from then on, once the submissions that use it have ended. Returns when the data is there.
 * @handle: GEM handle.
 * @domain: UVM_DOMAIN_* to move to.
 * @flags: UVM_MOVE_* flags; none are defined.
 * @ring: An SDMA instance; which one copies is up to the driver.
 */
struct drm_uvm_gem_move {
	__u32 handle;
	__u32 domain;
	__u32 flags;
	__u32 ring;
};

/**
 * struct drm_uvm_gem_wait - Waits until a buffer object is idle.
 * @handle: GEM handle.
 * @flags: Must be zero.
 * @timeout_ns: Nanoseconds to wait at most; zero asks only, negative waits for ever.
 */
struct drm_uvm_gem_wait {
	__u32 handle;
	__u32 flags;
	__s64 timeout_ns;
};

/**
 * struct drm_uvm_gem_advise - Says whether the content of a buffer is needed. What is not needed may be thrown away at any time; until it is needed again, no submission may use it and no CPU access.
 * @handle: GEM handle.
 * @advice: UVM_GEM_DONT_NEED or UVM_GEM_WILL_NEED.
 * @flags: Must be zero.
 * @retained: Out: 1 if the content is still there, 0 if it was thrown away and reads as zeros.
 */
struct drm_uvm_gem_advise {
	__u32 handle;
	__u32 advice;
	__u32 flags;
	__u32 retained;
};

/**
 * struct drm_uvm_gem_access - Reads or writes bytes of a buffer wherever it is, VRAM that the CPU does not reach included, without moving it there. Ordered with what the GPU does only by what the caller waits for.
 * @handle: GEM handle.
 * @flags: UVM_ACCESS_WRITE or zero.
 * @offset: First byte of the buffer.
 * @size: Bytes, within the buffer, not zero.
 * @data: Pointer to the bytes.
 */
struct drm_uvm_gem_access {
	__u32 handle;
	__u32 flags;
	__u64 offset;
	__u64 size;
	__u64 data;
};

/**
 * struct drm_uvm_bo_ref - A buffer object that a submission uses.
 * @handle: GEM handle.
 * @flags: UVM_BO_WRITE if the submission writes it.
 */
struct drm_uvm_bo_ref {
	__u32 handle;
	__u32 flags;
};

/**
 * struct drm_uvm_reloc - A place in the indirect buffer where the driver writes a 64-bit address: that of a buffer object plus an offset.
 * @dword: Dword of the indirect buffer (low dword; the next takes the high one).
 * @bo: Index into the submission's buffer objects.
 * @offset: Bytes added.
 */
struct drm_uvm_reloc {
	__u32 dword;
	__u32 bo;
	__u64 offset;
};

/**
 * struct drm_uvm_submit - Runs SDMA packets as an indirect buffer: in the caller's own address space with UVM_SUBMIT_VM; else, for CAP_SYS_RAWIO only, copied from user memory and in VMID 0, with named buffers that belong in SYSTEM in GTT. All that it reaches (by the address space, or by name) is brought to where it belongs and stays there until it has ended: ENOSPC if that does not fit together.
 * @ring: SDMA instance.
 * @flags: UVM_SUBMIT_VM or zero.
 * @ib: Pointer to the packets; with UVM_SUBMIT_VM, where they are in the caller's address space, a multiple of 32.
 * @ib_dwords: Dwords of packets; at most UVM_MAX_IB_DWORDS; with UVM_SUBMIT_VM a multiple of 8.
 * @bo_count: Entries at bos; at most UVM_MAX_BOS.
 * @bos: Pointer to drm_uvm_bo_ref.
 * @relocs: Pointer to drm_uvm_reloc.
 * @reloc_count: Entries at relocs; at most UVM_MAX_RELOCS; none with UVM_SUBMIT_VM.
 * @in_sync_count: Entries at in_syncs; at most UVM_MAX_SYNCS.
 * @in_syncs: Pointer to __u32 syncobj handles to wait for.
 * @out_syncs: Pointer to __u32 syncobj handles that the submission signals.
 * @out_sync_count: Entries at out_syncs; at most UVM_MAX_SYNCS.
 * @pad: Must be zero.
 */
struct drm_uvm_submit {
	__u32 ring;
	__u32 flags;
	__u64 ib;
	__u32 ib_dwords;
	__u32 bo_count;
	__u64 bos;
	__u64 relocs;
	__u32 reloc_count;
	__u32 in_sync_count;
	__u64 in_syncs;
	__u64 out_syncs;
	__u32 out_sync_count;
	__u32 pad;
};

/**
 * struct drm_uvm_reg - Reads or writes a device register (CAP_SYS_RAWIO), for bring-up tests.
 * @index: Dword index in the register space.
 * @write: 1 writes, 0 reads.
 * @value: Value.
 * @pad: Must be zero.
 */
struct drm_uvm_reg {
	__u32 index;
	__u32 write;
	__u32 value;
	__u32 pad;
};

/**
 * struct drm_uvm_vm_bind - Changes what a range of the caller's own GPU address space is mapped onto. Without syncobjs it has taken effect when the call returns, for running submissions too. With any, the call checks, plans and queues it and returns: it takes effect when the in-syncobjs have signalled and all that was queued before in the same space is done, and tells by its out-syncobjs. What arguments or lack of memory forbid, the call itself refuses; what fails later shows in the out-syncobjs. A mapping keeps its buffer until it is unmapped or the file is closed, and follows it from domain to domain.
 * @op: UVM_VM_OP_*.
 * @flags: UVM_VM_* flags; for anything but a map only UVM_VM_REPLACE.
 * @handle: GEM handle; for a map only. A buffer in SYSTEM is mapped by its pages, without a place in the GTT.
 * @mtype: Memory type of the page table entries, 0 to 3; for a map only.
 * @bo_offset: First byte of the buffer, whole pages; for a map only.
 * @va: First address, whole pages.
 * @size: Bytes, whole pages, not zero.
 * @in_syncs: Pointer to __u32 syncobj handles that have to signal before the change is made.
 * @out_syncs: Pointer to __u32 syncobj handles that signal when the change is made: what waits for them sees it.
 * @in_sync_count: Entries at in_syncs; at most UVM_MAX_SYNCS.
 * @out_sync_count: Entries at out_syncs; at most UVM_MAX_SYNCS.
 */
struct drm_uvm_vm_bind {
	__u32 op;
	__u32 flags;
	__u32 handle;
	__u32 mtype;
	__u64 bo_offset;
	__u64 va;
	__u64 size;
	__u64 in_syncs;
	__u64 out_syncs;
	__u32 in_sync_count;
	__u32 out_sync_count;
};

/**
 * struct drm_uvm_fault_query - Tells the last page fault in the caller's own GPU address space, and forgets it. The submission that faulted has ended with EFAULT.
 * @va: Out: first address of the page.
 * @count: Out: faults since the last query; zero: none, and nothing else is valid.
 * @write: Out: 1 if the access was a write.
 * @status: Out: the hub's fault status register, or zero when a later fault of others had overwritten it.
 */
struct drm_uvm_fault_query {
	__u64 va;
	__u64 count;
	__u32 write;
	__u32 status;
};

/**
 * struct drm_uvm_vm_config - Says how the caller's address space is to be run.
 * @flags: UVM_VM_CONFIG_* flags; what is not named is off.
 * @pad: Must be zero.
 */
struct drm_uvm_vm_config {
	__u32 flags;
	__u32 pad;
};

/**
 * struct drm_uvm_fault_next - Takes the next page fault that waits for its page, with UVM_VM_CONFIG_RETRY. A bind that maps the page answers it, and the access is made again. A page that is bound by now has been answered, and one that a queued bind maps is told only if it still lacks what the access needs then. A fault is told once, and again if its access fails again after an answer.
 * @timeout_ns: Nanoseconds to wait at most; zero asks only, negative waits for ever.
 * @va: Out: first address of the page.
 * @write: Out: 1 if the access was a write.
 * @vmid: Out: the VMID, for people and traces.
 */
struct drm_uvm_fault_next {
	__s64 timeout_ns;
	__u64 va;
	__u32 write;
	__u32 vmid;
};

/**
 * struct drm_uvm_hang_query - Tells the last hang of the caller's own submissions with UVM_SUBMIT_VM, and forgets it: the engine did not get on with one, which has ended with this error.
 * @count: Out: hangs since the last query; zero: none, and nothing else is valid.
 * @va: Out: address of the packet that the engine stood on.
 * @ring: Out: SDMA instance.
 * @error: Out: the error number: ETIME after the time limit, ECANCELED where the engine refused a packet.
 */
struct drm_uvm_hang_query {
	__u64 count;
	__u64 va;
	__u32 ring;
	__u32 error;
};

/**
 * struct drm_uvm_queue_create - Makes a user queue: one of the rings that an SDMA instance has beside the kernel's, or one of the access engine, in the caller's own address space and VMID, which is its own while it has a queue. The caller writes packets to the ring by itself; nothing checks them, nothing orders them, and no fence tells of them.
 * @ring: SDMA instance; 0 for the access engine.
 * @flags: Must be zero.
 * @ring_va: Where the ring lies in the caller's address space, a multiple of 256. It may be mapped later.
 * @ring_size: Bytes of the ring: a power of two from UVM_QUEUE_MIN_BYTES to UVM_QUEUE_MAX_BYTES.
 * @rptr_va: Where the device writes the read pointer, 64 bits, a multiple of 8; zero: nowhere.
 * @id: Out: the queue.
 * @kind: UVM_QUEUE_SDMA or UVM_QUEUE_ACCESS.
 */
struct drm_uvm_queue_create {
	__u32 ring;
	__u32 flags;
	__u64 ring_va;
	__u64 ring_size;
	__u64 rptr_va;
	__u32 id;
	__u32 kind;
};

/**
 * struct drm_uvm_queue_destroy - Ends a user queue: what it had not executed never is. When the call returns, it touches no memory any more.
 * @id: The queue.
 * @pad: Must be zero.
 */
struct drm_uvm_queue_destroy {
	__u32 id;
	__u32 pad;
};

/**
 * struct drm_uvm_queue_kick - Rings a user queue's doorbell. A call, because the transport has no page of doorbells that a process could map.
 * @id: The queue.
 * @flags: UVM_QUEUE_RESET or zero.
 * @wptr: Write pointer: bytes put into the ring since it was made, never wrapping; a multiple of 4. With UVM_QUEUE_RESET the queue drops what it was doing, is empty, and goes on from here.
 */
struct drm_uvm_queue_kick {
	__u32 id;
	__u32 flags;
	__u64 wptr;
};

/**
 * struct drm_uvm_queue_info - Tells how a user queue stands.
 * @id: The queue.
 * @state: Out: UVM_QUEUE_RUNNING, UVM_QUEUE_PARKED or UVM_QUEUE_STOPPED.
 * @rptr: Out: read pointer, bytes, never wrapping. The packet there is being executed, or is the one that it stopped on.
 * @wptr: Out: write pointer that was last kicked.
 * @cause: Out: UVM_QUEUE_CAUSE_* of one that stopped, else zero.
 * @vmid: Out: the VMID, for people and traces.
 */
struct drm_uvm_queue_info {
	__u32 id;
	__u32 state;
	__u64 rptr;
	__u64 wptr;
	__u32 cause;
	__u32 vmid;
};

/**
 * struct drm_uvm_svm_prefetch - Moves the caller's own memory: to VRAM, where the GPU wants it, or to system memory. What a CPU accesses comes back by itself. Returns when it is there.
 * @va: First byte: a multiple of the page; with UVM_SVM_PREFETCH_GROUP the group.
 * @size: Bytes: a multiple of the page, more than zero; with UVM_SVM_PREFETCH_GROUP zero.
 * @domain: UVM_DOMAIN_VRAM or UVM_DOMAIN_SYSTEM.
 * @flags: UVM_SVM_PREFETCH_GROUP or zero.
 * @moved: Out: bytes that were moved.
 * @failed: Out: bytes that were to be moved and stayed where they were: pages in use, or no memory for them.
 */
struct drm_uvm_svm_prefetch {
	__u64 va;
	__u64 size;
	__u32 domain;
	__u32 flags;
	__u64 moved;
	__u64 failed;
};

/**
 * struct drm_uvm_svm_residency - Tells where pages of the caller's own memory are at this moment, and how many of them the device has in its page tables. Only for who mirrors its memory; EPERM for another process that has the file.
 * @va: First address, whole pages.
 * @size: Bytes, whole pages, not zero.
 * @system: Out: bytes in system memory.
 * @vram: Out: bytes in VRAM; what has a second copy counts in both places.
 * @mapped: Out: bytes in the device's page tables.
 */
struct drm_uvm_svm_residency {
	__u64 va;
	__u64 size;
	__u64 system;
	__u64 vram;
	__u64 mapped;
};

/**
 * struct drm_uvm_svm_advise - Says something about a range of the caller's own memory, or about a group of ranges. Nothing moves at once.
 * @va: First address, whole pages; not looked at for groups.
 * @size: Bytes, whole pages; not looked at for groups.
 * @advice: UVM_SVM_*.
 * @value: What the advice says is wanted; for UVM_SVM_NEW_GROUP out: the group.
 */
struct drm_uvm_svm_advise {
	__u64 va;
	__u64 size;
	__u32 advice;
	__u32 value;
};

/**
 * struct drm_uvm_svm_attributes - Tells what was said about an address, and the range around it of which the same was said.
 * @va: The address.
 * @start: Out: first address of the range.
 * @end: Out: address behind the last.
 * @preferred: Out: UVM_SVM_IN_SYSTEM, UVM_SVM_IN_VRAM or UVM_SVM_ANYWHERE.
 * @granule: Out: log2 of the pages that a fault brings, or UVM_SVM_ANYWHERE.
 * @group: Out: group of ranges, or zero.
 * @flags: Out: what is set of 1 << UVM_SVM_ACCESSED to 1 << UVM_SVM_EAGER.
 */
struct drm_uvm_svm_attributes {
	__u64 va;
	__u64 start;
	__u64 end;
	__u32 preferred;
	__u32 granule;
	__u32 group;
	__u32 flags;
};

/**
 * struct drm_uvm_svm_record - Something that happened to mirrored memory.
 * @time: Nanoseconds of CLOCK_MONOTONIC.
 * @va: First address.
 * @value: By kind.
 * @pages: How many, of one block of 2 MiB.
 * @kind: UVM_SVM_REC_*.
 * @detail: By kind.
 * @place: UVM_SVM_IN_SYSTEM, UVM_SVM_IN_VRAM, or 2 for both.
 */
struct drm_uvm_svm_record {
	__u64 time;
	__u64 va;
	__u64 value;
	__u32 pages;
	__u32 kind;
	__u32 detail;
	__u32 place;
};

/**
 * struct drm_uvm_svm_events - Reads records of what happened to the caller's own memory, oldest first. While there are any, poll() of the file tells POLLPRI.
 * @records: Pointer to drm_uvm_svm_record.
 * @count: In: room there. Out: how many were read.
 * @flags: UVM_SVM_EVENTS_KEEP or zero.
 * @keep: With UVM_SVM_EVENTS_KEEP: how many may wait to be read from now on, at most 65536; zero: none are kept.
 * @pad: Must be zero.
 * @lost: Out: how many were lost since the last call, as nobody read.
 */
struct drm_uvm_svm_events {
	__u64 records;
	__u32 count;
	__u32 flags;
	__u32 keep;
	__u32 pad;
	__u64 lost;
};

/**
 * struct drm_uvm_svm_config - Lets the caller's address space mirror the caller's own memory: a submission with UVM_SUBMIT_VM or a queue may use any pointer of the process, packets included. What the device touches is brought when it is touched, and accesses of memory that does not exist, or not for that access, fail. It holds until the file is closed, and for the calling process only: nobody else may submit through the file, a child neither. Binds go into what is left: not into 2 MiB in which the device has used memory of the process (EEXIST), and such an address with a bind beside it is the process's own to answer (DRM_UVM_FAULT_NEXT). Binds with syncobjs wait for them in the call. EBUSY when the space mirrors memory already, EOPNOTSUPP when the device's addresses have less than 48 bits.
 * @flags: Must be zero.
 * @pad: Must be zero.
 */
struct drm_uvm_svm_config {
	__u32 flags;
	__u32 pad;
};

#define DRM_UVM_GET_PARAM	0x00
#define DRM_UVM_GEM_CREATE	0x01
#define DRM_UVM_GEM_MMAP	0x02
#define DRM_UVM_GEM_INFO	0x03
#define DRM_UVM_GEM_MOVE	0x04
#define DRM_UVM_GEM_WAIT	0x05
#define DRM_UVM_SUBMIT	0x06
#define DRM_UVM_REG	0x07
#define DRM_UVM_VM_BIND	0x08
#define DRM_UVM_FAULT_QUERY	0x09
#define DRM_UVM_QUEUE_CREATE	0x0a
#define DRM_UVM_QUEUE_DESTROY	0x0b
#define DRM_UVM_QUEUE_KICK	0x0c
#define DRM_UVM_QUEUE_INFO	0x0d
#define DRM_UVM_VM_CONFIG	0x0e
#define DRM_UVM_FAULT_NEXT	0x0f
#define DRM_UVM_HANG_QUERY	0x10
#define DRM_UVM_GEM_ADVISE	0x11
#define DRM_UVM_SVM_CONFIG	0x12
#define DRM_UVM_SVM_PREFETCH	0x13
#define DRM_UVM_SVM_RESIDENCY	0x14
#define DRM_UVM_SVM_ADVISE	0x15
#define DRM_UVM_SVM_ATTRIBUTES	0x16
#define DRM_UVM_SVM_EVENTS	0x17
#define DRM_UVM_GEM_ACCESS	0x1b

#define DRM_IOCTL_UVM_GET_PARAM	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_GET_PARAM, struct drm_uvm_get_param)
#define DRM_IOCTL_UVM_GEM_CREATE	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_GEM_CREATE, struct drm_uvm_gem_create)
#define DRM_IOCTL_UVM_GEM_MMAP	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_GEM_MMAP, struct drm_uvm_gem_mmap)
#define DRM_IOCTL_UVM_GEM_INFO	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_GEM_INFO, struct drm_uvm_gem_info)
#define DRM_IOCTL_UVM_GEM_MOVE	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_GEM_MOVE, struct drm_uvm_gem_move)
#define DRM_IOCTL_UVM_GEM_WAIT	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_GEM_WAIT, struct drm_uvm_gem_wait)
#define DRM_IOCTL_UVM_SUBMIT	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_SUBMIT, struct drm_uvm_submit)
#define DRM_IOCTL_UVM_REG	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_REG, struct drm_uvm_reg)
#define DRM_IOCTL_UVM_VM_BIND	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_VM_BIND, struct drm_uvm_vm_bind)
#define DRM_IOCTL_UVM_FAULT_QUERY	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_FAULT_QUERY, struct drm_uvm_fault_query)
#define DRM_IOCTL_UVM_QUEUE_CREATE	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_QUEUE_CREATE, struct drm_uvm_queue_create)
#define DRM_IOCTL_UVM_QUEUE_DESTROY	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_QUEUE_DESTROY, struct drm_uvm_queue_destroy)
#define DRM_IOCTL_UVM_QUEUE_KICK	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_QUEUE_KICK, struct drm_uvm_queue_kick)
#define DRM_IOCTL_UVM_QUEUE_INFO	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_QUEUE_INFO, struct drm_uvm_queue_info)
#define DRM_IOCTL_UVM_VM_CONFIG	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_VM_CONFIG, struct drm_uvm_vm_config)
#define DRM_IOCTL_UVM_FAULT_NEXT	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_FAULT_NEXT, struct drm_uvm_fault_next)
#define DRM_IOCTL_UVM_HANG_QUERY	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_HANG_QUERY, struct drm_uvm_hang_query)
#define DRM_IOCTL_UVM_GEM_ADVISE	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_GEM_ADVISE, struct drm_uvm_gem_advise)
#define DRM_IOCTL_UVM_SVM_CONFIG	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_SVM_CONFIG, struct drm_uvm_svm_config)
#define DRM_IOCTL_UVM_SVM_PREFETCH	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_SVM_PREFETCH, struct drm_uvm_svm_prefetch)
#define DRM_IOCTL_UVM_SVM_RESIDENCY	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_SVM_RESIDENCY, struct drm_uvm_svm_residency)
#define DRM_IOCTL_UVM_SVM_ADVISE	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_SVM_ADVISE, struct drm_uvm_svm_advise)
#define DRM_IOCTL_UVM_SVM_ATTRIBUTES	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_SVM_ATTRIBUTES, struct drm_uvm_svm_attributes)
#define DRM_IOCTL_UVM_SVM_EVENTS	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_SVM_EVENTS, struct drm_uvm_svm_events)
#define DRM_IOCTL_UVM_GEM_ACCESS	\
	DRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_GEM_ACCESS, struct drm_uvm_gem_access)

#endif /* UVM_DRM_H */
