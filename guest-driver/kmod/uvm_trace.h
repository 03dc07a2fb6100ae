/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM uvm

#if !defined(UVM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define UVM_TRACE_H

#include <linux/tracepoint.h>
#include <linux/types.h>

TRACE_EVENT(uvm_job_run,
	TP_PROTO(u32 ring, u32 seq, u64 ib, u32 dwords),
	TP_ARGS(ring, seq, ib, dwords),
	TP_STRUCT__entry(
		__field(u32, ring)
		__field(u32, seq)
		__field(u64, ib)
		__field(u32, dwords)
	),
	TP_fast_assign(
		__entry->ring = ring;
		__entry->seq = seq;
		__entry->ib = ib;
		__entry->dwords = dwords;
	),
	TP_printk("ring=%u seq=%u ib=%#llx dwords=%u", __entry->ring,
		  __entry->seq, __entry->ib, __entry->dwords)
);

TRACE_EVENT(uvm_job_timeout,
	TP_PROTO(u32 ring, u32 seq),
	TP_ARGS(ring, seq),
	TP_STRUCT__entry(
		__field(u32, ring)
		__field(u32, seq)
	),
	TP_fast_assign(
		__entry->ring = ring;
		__entry->seq = seq;
	),
	TP_printk("ring=%u seq=%u", __entry->ring, __entry->seq)
);

TRACE_EVENT(uvm_mm_action,
	TP_PROTO(u32 op, u64 bo, u64 offset, u64 size, u64 error),
	TP_ARGS(op, bo, offset, size, error),
	TP_STRUCT__entry(
		__field(u32, op)
		__field(u64, bo)
		__field(u64, offset)
		__field(u64, size)
		__field(u64, error)
	),
	TP_fast_assign(
		__entry->op = op;
		__entry->bo = bo;
		__entry->offset = offset;
		__entry->size = size;
		__entry->error = error;
	),
	TP_printk("op=%u bo=%#llx offset=%#llx size=%llu error=%llu",
		  __entry->op, __entry->bo, __entry->offset, __entry->size,
		  __entry->error)
);

TRACE_EVENT(uvm_vm_bind,
	TP_PROTO(u32 pasid, u64 seqno, u32 change, u64 va, u64 size, u32 writes,
		 int error),
	TP_ARGS(pasid, seqno, change, va, size, writes, error),
	TP_STRUCT__entry(
		__field(u32, pasid)
		__field(u64, seqno)
		__field(u32, change)
		__field(u64, va)
		__field(u64, size)
		__field(u32, writes)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->pasid = pasid;
		__entry->seqno = seqno;
		__entry->change = change;
		__entry->va = va;
		__entry->size = size;
		__entry->writes = writes;
		__entry->error = error;
	),
	TP_printk("pasid=%u seqno=%llu change=%u va=%#llx size=%#llx writes=%u error=%d",
		  __entry->pasid, __entry->seqno, __entry->change, __entry->va,
		  __entry->size, __entry->writes, __entry->error)
);

TRACE_EVENT(uvm_vector,
	TP_PROTO(u64 stamp, u32 client, u32 source, u32 ring, u32 vmid,
		 u32 pasid),
	TP_ARGS(stamp, client, source, ring, vmid, pasid),
	TP_STRUCT__entry(
		__field(u64, stamp)
		__field(u32, client)
		__field(u32, source)
		__field(u32, ring)
		__field(u32, vmid)
		__field(u32, pasid)
	),
	TP_fast_assign(
		__entry->stamp = stamp;
		__entry->client = client;
		__entry->source = source;
		__entry->ring = ring;
		__entry->vmid = vmid;
		__entry->pasid = pasid;
	),
	TP_printk("stamp=%#llx client=%#x source=%u ring=%u vmid=%u pasid=%u",
		  __entry->stamp, __entry->client, __entry->source,
		  __entry->ring, __entry->vmid, __entry->pasid)
);

TRACE_EVENT(uvm_page_fault,
	TP_PROTO(u64 stamp, u32 vmid, u32 pasid, u64 va, bool write, bool retry,
		 u32 cam),
	TP_ARGS(stamp, vmid, pasid, va, write, retry, cam),
	TP_STRUCT__entry(
		__field(u64, stamp)
		__field(u32, vmid)
		__field(u32, pasid)
		__field(u64, va)
		__field(bool, write)
		__field(bool, retry)
		__field(u32, cam)
	),
	TP_fast_assign(
		__entry->stamp = stamp;
		__entry->vmid = vmid;
		__entry->pasid = pasid;
		__entry->va = va;
		__entry->write = write;
		__entry->retry = retry;
		__entry->cam = cam;
	),
	TP_printk("stamp=%#llx vmid=%u pasid=%u va=%#llx write=%d retry=%d cam=%u",
		  __entry->stamp, __entry->vmid, __entry->pasid, __entry->va,
		  __entry->write, __entry->retry, __entry->cam)
);

#endif /* UVM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE uvm_trace
#include <trace/define_trace.h>
