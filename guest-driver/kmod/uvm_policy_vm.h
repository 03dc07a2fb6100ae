/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The border between the driver and its policy, which is written in Rust.
 *
 * Generated from guest-driver/kmod/ffi: do not edit. To regenerate:
 * UVM_UPDATE_HEADER=1 cargo test -p uvm-kmod-ffi --test header
 *
 * Address spaces and VMIDs, a part of struct uvm_policy: what uvm_policy.h says holds here as well.
 */

#ifndef UVM_POLICY_VM_H
#define UVM_POLICY_VM_H

#include <linux/types.h>

struct uvm_policy;

/* Number of VM hubs; a mask of hubs has bits 1 << hub: 0 is the GC hub, 1 the MM hub. */
#define UVM_POLICY_HUBS 2

/* Change: map memory, which uvm_policy_update_pages() tells. */
#define UVM_POLICY_CHANGE_MAP 1
/* Change: make it partially resident: reads give zero, writes go nowhere, nothing faults. */
#define UVM_POLICY_CHANGE_PRT 2
/* Change: map nothing. */
#define UVM_POLICY_CHANGE_UNMAP 3
/* Change: give the leaf table of an aligned 2 MiB, where nothing is mapped, over to the driver. */
#define UVM_POLICY_CHANGE_HAND_OVER 4
/* Change: take such 2 MiB back; nothing is mapped there then. */
#define UVM_POLICY_CHANGE_TAKE_BACK 5

/* Update: what is mapped there already makes way; without, it is -EEXIST. */
#define UVM_POLICY_UPDATE_REPLACE 1

/**
 * struct uvm_policy_vm_config - what a new address space is to be
 * @root: address of the root if the tables lie in SYSTEM, contiguous there; else 0
 * @vram_base: what is added to a VRAM offset in an entry: where the device says VRAM begins
 * @levels: levels of page tables, 1 to 5; 1 is one flat table
 * @va_bits: bits of an address, at most 57; 0: 12 and 9 a level
 * @tables: where the tables lie: UVM_POLICY_DOMAIN_VRAM or UVM_POLICY_DOMAIN_SYSTEM
 * @fragment: log2 of the most pages that may be marked to translate alike, 0 to 31
 * @leaf_level: the highest level whose entries may map memory themselves; a page table's is 0
 * @pad: must be 0
 */
struct uvm_policy_vm_config {
	u64 root;
	u64 vram_base;
	u32 levels;
	u32 va_bits;
	u32 tables;
	u32 fragment;
	u32 leaf_level;
	u32 pad;
};

/**
 * struct uvm_policy_vm_info - an address space as it is now
 * @root: the root as a base register takes it
 * @root_addr: where the root lies: a VRAM offset, or the address that was given
 * @root_size: bytes of the root
 * @size: bytes of the address space
 * @tables: number of page tables, the root included
 * @seq: number of changes of the tables that a cache could have missed
 * @pasid: 1 to 65535
 * @busy: VMIDs on which jobs of it run or are about to, bits 1 << vmid
 */
struct uvm_policy_vm_info {
	u64 root;
	u64 root_addr;
	u64 root_size;
	u64 size;
	u64 tables;
	u64 seq;
	u32 pasid;
	u32 busy;
};

/**
 * struct uvm_policy_vmid_request - a job that wants to run
 * @vm: its address space
 * @fence: the driver's name for the job's end, not 0
 * @ring: the ring it goes to; jobs of one ring run in the order in which they are submitted
 * @hubs: hubs that its accesses go through, bits 1 << hub, not 0
 */
struct uvm_policy_vmid_request {
	u64 vm;
	u64 fence;
	u32 ring;
	u32 hubs;
};

/**
 * struct uvm_policy_vmid_grant - a VMID, or what to wait for
 * @job: names the job from now on; 0: there is no VMID yet
 * @root: the root of its address space, as a base register takes it
 * @fence: with no job: @fence of the job to wait for; 0: see uvm_policy_vmid_grab()
 * @vmid: 1 to 15
 * @flush: hubs to invalidate for the VMID before the job runs, bits 1 << hub
 * @load: hubs to set the VMID's root in before that, bits 1 << hub
 * @pad: 0
 */
struct uvm_policy_vmid_grant {
	u64 job;
	u64 root;
	u64 fence;
	u32 vmid;
	u32 flush;
	u32 load;
	u32 pad;
};

/**
 * struct uvm_policy_update - a change of a range of addresses
 * @vm: the address space
 * @va: first address; canonical where the space has 48 or 57 bits
 * @size: bytes, whole pages, not 0
 * @attributes: for a map: SNOOPED, TMZ, EXECUTABLE, READABLE, WRITEABLE and MTYPE as a page table
 *              entry has them; else 0
 * @bo: for a map: whose memory it is, as the driver calls it; else 0
 * @bo_offset: for a map: where in it, bytes, whole pages; else 0
 * @change: UVM_POLICY_CHANGE_*
 * @flags: UVM_POLICY_UPDATE_REPLACE
 */
struct uvm_policy_update {
	u64 vm;
	u64 va;
	u64 size;
	u64 attributes;
	u64 bo;
	u64 bo_offset;
	u32 change;
	u32 flags;
};

/**
 * struct uvm_policy_pages - pages in a row
 * @addr: address of the first: a VRAM offset, or as the device addresses system memory
 * @pages: how many, not 0
 * @domain: UVM_POLICY_DOMAIN_VRAM or UVM_POLICY_DOMAIN_SYSTEM
 * @pad: must be 0
 */
struct uvm_policy_pages {
	u64 addr;
	u64 pages;
	u32 domain;
	u32 pad;
};

/**
 * struct uvm_policy_write - entries of a table to be written: @value, @value + @increment, ...
 * @table: address of the table: a VRAM offset or the address that was given
 * @first: first entry of 8 bytes, from the table's start
 * @count: number of entries, at most what one PTEPDE packet can do
 * @value: the first entry
 * @increment: difference of each entry to the one before
 * @domain: where the table lies: UVM_POLICY_DOMAIN_VRAM or UVM_POLICY_DOMAIN_SYSTEM
 * @pad: 0
 */
struct uvm_policy_write {
	u64 table;
	u64 first;
	u64 count;
	u64 value;
	u64 increment;
	u32 domain;
	u32 pad;
};

/**
 * struct uvm_policy_invalidate - pages to invalidate on all hubs
 * @first: first page number
 * @count: number of pages
 * @vmids: VMIDs, bits 1 << vmid; 0: there is nothing to do
 * @pad: 0
 */
struct uvm_policy_invalidate {
	u64 first;
	u64 count;
	u32 vmids;
	u32 pad;
};

/**
 * struct uvm_policy_mapping - what an address is mapped onto
 * @va: first address of the piece around it that is contiguous in memory
 * @size: bytes of the piece
 * @entry: page table entry of its first page; without VALID it is partially resident
 * @bo: as given to uvm_policy_update_begin()
 * @bo_offset: of its first byte
 */
struct uvm_policy_mapping {
	u64 va;
	u64 size;
	u64 entry;
	u64 bo;
	u64 bo_offset;
};

/**
 * uvm_policy_vm_create() - make an address space, empty and with a PASID
 * @policy: the policy
 * @config: what it is to be
 * @vm: names it from now on; never 0
 *
 * Zero the root (uvm_policy_vm_info()) before its first job.
 *
 * Return: 0, -ENOSPC without room in VRAM for the root or without a free PASID, -ENOMEM, -EINVAL.
 */
int uvm_policy_vm_create(struct uvm_policy *policy, const struct uvm_policy_vm_config *config,
			 u64 *vm);

/**
 * uvm_policy_vm_destroy() - end an address space, its mappings and its tables
 * @policy: the policy
 * @vm: the address space
 *
 * The caller has seen to it that nothing of it runs. Never allocates.
 *
 * Return: 0, -EBUSY while a job has not been signalled or an update is under way, -ENOENT, -EINVAL.
 */
int uvm_policy_vm_destroy(struct uvm_policy *policy, u64 vm);

/**
 * uvm_policy_vm_info() - an address space as it is now
 * @policy: the policy
 * @vm: the address space
 * @info: the answer
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_vm_info(const struct uvm_policy *policy, u64 vm, struct uvm_policy_vm_info *info);

/**
 * uvm_policy_vm_touch() - let each job that is granted a VMID from now on flush first
 * @policy: the policy
 * @vm: the address space
 *
 * For tables that the driver changed by itself; updates see to it themselves.
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_vm_touch(struct uvm_policy *policy, u64 vm);

/**
 * uvm_policy_vms_in_use() - count what is still there
 * @policy: the policy
 * @vms: number of address spaces
 * @jobs: number of jobs that hold a VMID
 *
 * Return: 0 or -EINVAL.
 */
int uvm_policy_vms_in_use(const struct uvm_policy *policy, u32 *vms, u32 *jobs);

/**
 * uvm_policy_vmid_set_aside() - keep VMIDs at the top for the driver's own use
 * @policy: the policy
 * @count: how many, at most 14
 *
 * Return: 0, -EBUSY once an address space has a VMID, -EINVAL.
 */
int uvm_policy_vmid_set_aside(struct uvm_policy *policy, u32 count);

/**
 * uvm_policy_vmid_grab() - a VMID for a job
 * @policy: the policy
 * @request: the job
 * @grant: the VMID; with -EBUSY, what to wait for
 *
 * A granted VMID belongs to the job until uvm_policy_vmid_signalled(), which must follow whether or
 * not the job ever runs.
 *
 * With -EBUSY the address space is in the queue. Ask again after the fence in @grant; if that is 0,
 * VMIDs are free but belong to those before it in the queue, whose fences have signalled: ask again
 * after the next call about VMIDs. If it never asks again, call uvm_policy_vmid_give_up(), or those
 * behind it wait in vain.
 *
 * Return: 0, -EBUSY, -ENOMEM, -ENOENT, -EINVAL.
 */
int uvm_policy_vmid_grab(struct uvm_policy *policy, const struct uvm_policy_vmid_request *request,
			 struct uvm_policy_vmid_grant *grant);

/**
 * uvm_policy_vmid_submitted() - a job is on its ring
 * @policy: the policy
 * @job: of uvm_policy_vmid_grab()
 * @flushed: 0: what its grant asks for is done on the ring before it; 1: it is done already
 *
 * Return: 0, -EINVAL when that was said before or the device was reset since the grant (see
 * uvm_policy_vmid_again()), -ENOENT.
 */
int uvm_policy_vmid_submitted(struct uvm_policy *policy, u64 job, u32 flushed);

/**
 * uvm_policy_vmid_signalled() - a job has ended, well or not, or will never run
 * @policy: the policy
 * @job: of uvm_policy_vmid_grab()
 *
 * Never allocates.
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_vmid_signalled(struct uvm_policy *policy, u64 job);

/**
 * uvm_policy_vmid_again() - a new grant for a job that is submitted again after a reset
 * @policy: the policy
 * @job: of uvm_policy_vmid_grab()
 * @grant: the same VMID, and what it needs now
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_vmid_again(struct uvm_policy *policy, u64 job, struct uvm_policy_vmid_grant *grant);

/**
 * uvm_policy_vmid_give_up() - leave the queue for a VMID
 * @policy: the policy
 * @vm: the address space
 *
 * Return: 0, also when it is not in the queue, -ENOENT, -EINVAL.
 */
int uvm_policy_vmid_give_up(struct uvm_policy *policy, u64 vm);

/**
 * uvm_policy_vmid_reserve() - give an address space a VMID of its own
 * @policy: the policy
 * @vm: the address space
 * @vmid: 1 to 15
 *
 * With -EBUSY the address space is in the queue: ask again after the next call about VMIDs, or call
 * uvm_policy_vmid_give_up().
 *
 * Return: 0, -ENOSPC for the last two of the pool, -EBUSY when none is free now, -ENOMEM, -ENOENT,
 * -EINVAL.
 */
int uvm_policy_vmid_reserve(struct uvm_policy *policy, u64 vm, u32 *vmid);

/**
 * uvm_policy_vmid_unreserve() - undo uvm_policy_vmid_reserve()
 * @policy: the policy
 * @vm: the address space
 *
 * Return: 0, -EINVAL when there is nothing to undo, -ENOENT.
 */
int uvm_policy_vmid_unreserve(struct uvm_policy *policy, u64 vm);

/**
 * uvm_policy_vmid_reset() - the device lost its base registers and caches
 * @policy: the policy
 *
 * Grants that were not submitted are void. Jobs keep their VMIDs until they are signalled; one that
 * is submitted again takes uvm_policy_vmid_again() first.
 *
 * Return: 0 or -EINVAL.
 */
int uvm_policy_vmid_reset(struct uvm_policy *policy);

/**
 * uvm_policy_update_begin() - begin a change of what an address space maps
 * @policy: the policy
 * @update: the change
 * @token: names it from now on; never 0
 *
 * One is planned at a time for each address space. Then: uvm_policy_update_pages() until all pages
 * of a map are told; uvm_policy_update_prepare(); uvm_policy_update_next() until it gives no more
 * writes; uvm_policy_update_commit(), or before that uvm_policy_update_abandon(). Nothing after the
 * commit allocates or fails: the next change may be planned now. The writes of committed changes
 * are performed in the order of their commits, and each is told by uvm_policy_update_landed(); one
 * uvm_policy_vm_flush() serves all that have landed; uvm_policy_update_retire() ends each. The
 * policy's lock is not held for the writes nor for the invalidation.
 *
 * Return: 0, -EBUSY while another change of the address space is planned, -EEXIST also for what
 * was handed over, -ENOMEM, -ENOENT also where nothing was handed over that could be taken back,
 * -EINVAL.
 */
int uvm_policy_update_begin(struct uvm_policy *policy, const struct uvm_policy_update *update,
			    u64 *token);

/**
 * uvm_policy_update_pages() - tell the next pages of a map
 * @policy: the policy
 * @token: of uvm_policy_update_begin()
 * @pages: runs of pages, in the order of the addresses that they are mapped at
 * @count: how many runs, not 0
 *
 * Takes all of them or, on failure, none. Long lists take many calls.
 *
 * Return: 0, -ENOMEM, -ENOENT, -EINVAL.
 */
int uvm_policy_update_pages(struct uvm_policy *policy, u64 token,
			    const struct uvm_policy_pages *pages, u32 count);

/**
 * uvm_policy_update_prepare() - plan a change and take memory for its tables
 * @policy: the policy
 * @token: of uvm_policy_update_begin()
 * @need: with -EAGAIN, how many pages to give with uvm_policy_table_page_add(); else 0
 *
 * On failure it may be tried again.
 *
 * Return: 0, -EAGAIN when tables in SYSTEM need pages, -ENOSPC when VRAM has no room for tables,
 * -ENOMEM, -ENOENT, -EINVAL while pages of a map are missing.
 */
int uvm_policy_update_prepare(struct uvm_policy *policy, u64 token, u64 *need);

/**
 * uvm_policy_update_next() - the next writes of a change
 * @policy: the policy
 * @token: of uvm_policy_update_begin()
 * @writes: the writes, to be performed in order once the change is committed
 * @room: how many @writes can hold, not 0
 * @count: how many there are; 0: all were given before
 *
 * Return: 0, -ENOENT, -EINVAL before uvm_policy_update_prepare().
 */
int uvm_policy_update_next(struct uvm_policy *policy, u64 token, struct uvm_policy_write *writes,
			   u32 room, u32 *count);

/**
 * uvm_policy_update_commit() - make a change the state that the next one is planned on
 * @policy: the policy
 * @token: of uvm_policy_update_begin()
 *
 * Never allocates.
 *
 * Return: 0, -ENOENT, -EINVAL before all writes were given.
 */
int uvm_policy_update_commit(struct uvm_policy *policy, u64 token);

/**
 * uvm_policy_update_abandon() - give up a change that is not committed
 * @policy: the policy
 * @token: of uvm_policy_update_begin()
 *
 * The address space maps what it did before. Never allocates.
 *
 * Return: 0, -ENOENT, -EINVAL when it is committed.
 */
int uvm_policy_update_abandon(struct uvm_policy *policy, u64 token);

/**
 * uvm_policy_update_landed() - the writes of a committed change are performed
 * @policy: the policy
 * @token: of uvm_policy_update_begin()
 *
 * Never allocates.
 *
 * Return: 0, -ENOENT, -EINVAL when it is not committed or has landed before.
 */
int uvm_policy_update_landed(struct uvm_policy *policy, u64 token);

/**
 * uvm_policy_vm_flush() - what to invalidate for all changes that have landed
 * @policy: the policy
 * @vm: the address space
 * @invalidate: the pages, and the VMIDs whose acknowledges to await; then uvm_policy_vm_flushed()
 *
 * Who gets a VMID from now on flushes it first. Never allocates.
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int uvm_policy_vm_flush(struct uvm_policy *policy, u64 vm,
			struct uvm_policy_invalidate *invalidate);

/**
 * uvm_policy_vm_flushed() - what uvm_policy_vm_flush() asked for is acknowledged
 * @policy: the policy
 * @vm: the address space
 *
 * Never allocates.
 *
 * Return: 0, -ENOENT, -EINVAL when nothing was asked for.
 */
int uvm_policy_vm_flushed(struct uvm_policy *policy, u64 vm);

/**
 * uvm_policy_update_retire() - end a committed change
 * @policy: the policy
 * @token: of uvm_policy_update_begin()
 *
 * What it took out of the tables is reached no more: it has landed and was flushed; or the address
 * space ends, and nothing runs in it. Never allocates.
 *
 * Return: 0, -ENOENT, -EINVAL when it is not committed, or while a flush is owed.
 */
int uvm_policy_update_retire(struct uvm_policy *policy, u64 token);

/**
 * uvm_policy_vm_find() - what an address is mapped onto
 * @policy: the policy
 * @vm: the address space
 * @va: any address
 * @mapping: the answer; a change shows once it is committed
 *
 * Return: 0, -ENOENT, also when nothing is mapped there, -EINVAL.
 */
int uvm_policy_vm_find(const struct uvm_policy *policy, u64 vm, u64 va,
		       struct uvm_policy_mapping *mapping);

/**
 * uvm_policy_vm_reached() - the entry of an address as the page tables have it
 * @policy: the policy
 * @vm: the address space
 * @va: any address
 * @entry: the answer, without FRAGMENT; a change shows once it has landed
 *
 * Return: 0, -ENOENT, also when nothing is mapped there, -EINVAL.
 */
int uvm_policy_vm_reached(const struct uvm_policy *policy, u64 vm, u64 va, u64 *entry);

/**
 * uvm_policy_vm_leaf() - where the leaf table lies that was handed over for a block
 * @policy: the policy
 * @vm: the address space
 * @va: any address of the block
 * @leaf: its 512 entries: @table and @domain; nothing is to be written
 *
 * The table is the driver's from the moment that UVM_POLICY_CHANGE_HAND_OVER is committed until
 * UVM_POLICY_CHANGE_TAKE_BACK is; entries may be written once the first has landed.
 *
 * Return: 0, -ENOENT where none was handed over, -EINVAL.
 */
int uvm_policy_vm_leaf(const struct uvm_policy *policy, u64 vm, u64 va,
		       struct uvm_policy_write *leaf);

/**
 * uvm_policy_table_page_add() - give a page of system memory for page tables
 * @policy: the policy
 * @addr: as the device addresses it
 *
 * It need not be zeroed.
 *
 * Return: 0, -ENOMEM, -EINVAL.
 */
int uvm_policy_table_page_add(struct uvm_policy *policy, u64 addr);

/**
 * uvm_policy_table_page_take() - take back a page that no page table lies in
 * @policy: the policy
 * @addr: the page
 *
 * Before uvm_policy_destroy(), until there is none. Never allocates.
 *
 * Return: 0, -ENOENT when all are in use, -EINVAL.
 */
int uvm_policy_table_page_take(struct uvm_policy *policy, u64 *addr);

#endif /* UVM_POLICY_VM_H */
