// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The functions of the C border of the memory manager. Docs are kernel-doc: they become the header's.
#![allow(unsafe_code)] // exporting under a fixed name counts as unsafe, and lists cross as pointers

use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::slice;

use uvm_policy::event::{Event, Failure, Reply};
use uvm_policy::record::Recorder;
use uvm_policy::{
    ActionId, BoId, Error, EvictKind, Limits, ManagerConfig, Placements, ProcessId, SegmentDesc, SegmentId,
    SegmentKind, Spec, TicketId,
};

use crate::api::{answer, UvmPolicy};
use crate::errno::{errno, status};
use crate::mm_types::*;
use crate::types::UvmPolicyStats;

/// Most allocations of one working set.
const MAX_BOS: u32 = 1 << 16;

/// uvm_mm_start() - start the memory manager
/// @policy: a policy without segments of its own
/// @config: the device's segments, and how to work on them
/// @log: where to record the start, or NULL
///
/// Once, before any other uvm_mm_*().
///
/// Return: 0, -ENOMEM, -EINVAL.
///
/// # Safety
///
/// `log` is NULL or its `bytes` points at `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn uvm_mm_start(
    policy: Option<&mut UvmPolicy>,
    config: Option<&UvmMmConfig>,
    log: Option<&mut UvmMmLog>,
) -> c_int {
    let (Some(policy), Some(config)) = (policy, config) else { return errno(Error::Invalid) };
    let started = (|| {
        let manager = ManagerConfig { chunk: config.chunk, evict: EvictKind::from_raw(config.evict)? };
        let filler = SegmentDesc { kind: SegmentKind::Local, base: 0, size: 0 };
        let mut descs = [filler; UVM_MM_MAX_SEGMENTS];
        let count = config.count as usize;
        let descs = descs.get_mut(..count).ok_or(Error::Invalid)?;
        for (desc, segment) in descs.iter_mut().zip(&config.segments) {
            let UvmMmSegment { base, size, kind, pad } = *segment;
            if pad != 0 {
                return Err(Error::Invalid);
            }
            *desc = SegmentDesc { kind: SegmentKind::from_raw(kind)?, base, size };
            policy.0.add_segment_of(desc)?;
        }
        policy.0.start(&manager)?;
        // SAFETY: the caller's contract.
        unsafe {
            record(log, |log| {
                log.start(policy.0.page_size(), descs, &manager);
                policy.0.begin_notes();
            });
        }
        Ok(())
    })();
    status(started)
}

/// uvm_mm_event() - tell the memory manager what happened
/// @policy: the policy
/// @event: what
/// @reply: the answer
/// @log: where to record both, or NULL
///
/// Then call uvm_mm_next() until there is nothing to do.
///
/// Return: 0, -EBUSY, -ENOENT, -ENOMEM, -ENOSPC over a limit, -EINVAL. With an error nothing
/// happened.
///
/// # Safety
///
/// `event.bos` points at `nr_bos` numbers, or that is 0; `log` is NULL or its `bytes` points at
/// `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn uvm_mm_event(
    policy: Option<&mut UvmPolicy>,
    event: Option<&UvmMmEvent>,
    reply: Option<&mut MaybeUninit<UvmMmReply>>,
    log: Option<&mut UvmMmLog>,
) -> c_int {
    let (Some(policy), Some(event), Some(reply)) = (policy, event, reply) else { return errno(Error::Invalid) };
    if event.nr_bos > MAX_BOS || (event.nr_bos != 0 && event.bos.is_null()) {
        return errno(Error::Invalid);
    }
    let bos: &[BoId] = if event.nr_bos == 0 {
        &[]
    } else {
        // SAFETY: the caller's contract; an id is transparent over its number.
        unsafe { slice::from_raw_parts(event.bos.cast::<BoId>(), event.nr_bos as usize) }
    };
    let event = match understand(event, bos) {
        Ok(event) => event,
        Err(error) => return errno(error),
    };
    let answer = policy.0.handle(&event);
    // SAFETY: the caller's contract.
    unsafe {
        record(log, |log| {
            policy.0.record_notes(log);
            log.event(&event, &answer);
        });
    }
    let (told, status) = match answer {
        Ok(told) => (told.into(), 0),
        Err(Error::Wait(token)) => (UvmMmReply { id: token.raw(), ..Reply::Done.into() }, errno(Error::Wait(token))),
        Err(error) => (Reply::Done.into(), errno(error)),
    };
    reply.write(told);
    status
}

fn understand<'a>(event: &UvmMmEvent, bos: &'a [BoId]) -> Result<Event<'a>, Error> {
    let UvmMmEvent { op, flags, process, id, size, align, offset, value, kinds, nr_kinds, priority, pad, .. } = *event;
    let (owner, bo, ticket) = (ProcessId::from_raw(process), BoId::from_raw(id), TicketId::from_raw(id));
    let known = match op {
        UVM_MM_EV_CREATE => UVM_MM_FLAG_PAGEABLE | UVM_MM_FLAG_FALLBACK,
        UVM_MM_EV_SUBMIT => UVM_MM_FLAG_ADDRESSED,
        UVM_MM_EV_CPU_ACCESS => UVM_MM_FLAG_MAPPING,
        _ => 0,
    };
    if flags & !known != 0 || pad != 0 {
        return Err(Error::Invalid);
    }
    let small = |value: u64| u32::try_from(value).map_err(|_| Error::Invalid);
    Ok(match op {
        UVM_MM_EV_OPEN => Event::Open(Limits { total: size, local: offset, pages: value }),
        UVM_MM_EV_CLOSE => Event::Close(owner),
        UVM_MM_EV_CREATE => {
            let priority = u8::try_from(priority).map_err(|_| Error::Invalid)?;
            let (pageable, fallback) = (flags & UVM_MM_FLAG_PAGEABLE != 0, flags & UVM_MM_FLAG_FALLBACK != 0);
            let placements = placements(&kinds, nr_kinds)?;
            Event::Create(owner, Spec { size, align, placements, priority, pageable, fallback })
        }
        UVM_MM_EV_DESTROY => Event::Destroy(bo),
        UVM_MM_EV_MAP => Event::Map(bo),
        UVM_MM_EV_UNMAP => Event::Unmap(bo),
        UVM_MM_EV_SUBMIT => Event::Submit { process: owner, bos, addressed: flags & UVM_MM_FLAG_ADDRESSED != 0 },
        UVM_MM_EV_FAULT => Event::Fault { process: owner, bo },
        UVM_MM_EV_CPU_ACCESS => Event::CpuAccess { bo, mapping: flags & UVM_MM_FLAG_MAPPING != 0 },
        UVM_MM_EV_MOVE => Event::Move { bo, to: SegmentKind::from_raw(small(value)?)? },
        UVM_MM_EV_CANCEL => Event::Cancel(ticket),
        UVM_MM_EV_FENCE => Event::Fence(ticket),
        UVM_MM_EV_PIN => Event::Pin(bo),
        UVM_MM_EV_UNPIN => Event::Unpin(bo),
        UVM_MM_EV_ADVISE if value <= 1 => Event::Advise { bo, need: value == 1 },
        UVM_MM_EV_PLACE => Event::Place(bo, placements(&kinds, nr_kinds)?),
        UVM_MM_EV_PRESSURE => Event::Pressure(size),
        UVM_MM_EV_MAKE_WAY => Event::MakeWay { size, held: value },
        UVM_MM_EV_TICK => Event::Tick,
        UVM_MM_EV_DONE if value == 0 => Event::Done(ActionId::from_raw(id), Ok(())),
        UVM_MM_EV_DONE => Event::Done(ActionId::from_raw(id), Err(Failure::from_raw(small(value)?)?)),
        _ => return Err(Error::Invalid),
    })
}

fn placements(kinds: &[u32; UVM_MM_MAX_KINDS], count: u32) -> Result<Placements, Error> {
    let mut list = [SegmentKind::Local; UVM_MM_MAX_KINDS];
    let list = list.get_mut(..count as usize).ok_or(Error::Invalid)?;
    for (place, kind) in list.iter_mut().zip(kinds) {
        *place = SegmentKind::from_raw(*kind)?;
    }
    Placements::new(list)
}

/// uvm_mm_next() - ask the memory manager what to do
/// @policy: the policy
/// @action: what to do
/// @log: where to record it, or NULL
///
/// Actions given out one after another may be carried out in any order and at the same time, without
/// the policy's lock. Each but a notice is answered by UVM_MM_EV_DONE.
///
/// Return: 1 with an action, 0 when there is nothing to do now, -EINVAL.
///
/// # Safety
///
/// `log` is NULL or its `bytes` points at `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn uvm_mm_next(
    policy: Option<&mut UvmPolicy>,
    action: Option<&mut MaybeUninit<UvmMmAction>>,
    log: Option<&mut UvmMmLog>,
) -> c_int {
    let (Some(policy), Some(action)) = (policy, action) else { return errno(Error::Invalid) };
    let Some(issued) = policy.0.next_action() else { return 0 };
    // SAFETY: the caller's contract.
    unsafe {
        record(log, |log| {
            policy.0.record_notes(log);
            log.action(&issued);
        });
    }
    action.write(issued.into());
    1
}

/// uvm_mm_log_room() - how much the next record may take
/// @policy: the policy
/// @bos: allocations of the event
///
/// What others did to segments is recorded before it and counts too.
///
/// Return: bytes, at most; U32_MAX also for more.
#[no_mangle]
pub extern "C" fn uvm_mm_log_room(policy: Option<&UvmPolicy>, bos: u32) -> u32 {
    policy.map_or(0, |policy| u32::try_from(policy.0.record_room(bos as usize)).unwrap_or(u32::MAX))
}

/// uvm_mm_residence() - where the bytes of an allocation are valid now
/// @policy: the policy
/// @bo: the allocation
/// @place: the answer
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_mm_residence(
    policy: Option<&UvmPolicy>,
    bo: u64,
    place: Option<&mut MaybeUninit<UvmMmPlace>>,
) -> c_int {
    let (Some(policy), Some(place)) = (policy, place) else { return errno(Error::Invalid) };
    answer(place, || policy.0.residence(BoId::from_raw(bo)).map(UvmMmPlace::from))
}

/// uvm_mm_usage() - what a process has
/// @policy: the policy
/// @process: the process
/// @usage: the answer
///
/// Return: 0, -ENOENT, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_mm_usage(
    policy: Option<&UvmPolicy>,
    process: u64,
    usage: Option<&mut MaybeUninit<UvmMmUsage>>,
) -> c_int {
    let (Some(policy), Some(usage)) = (policy, usage) else { return errno(Error::Invalid) };
    answer(usage, || policy.0.usage(ProcessId::from_raw(process)).map(UvmMmUsage::from))
}

/// uvm_mm_stats() - what happened since the start
/// @policy: the policy
/// @stats: the answer
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_mm_stats(policy: Option<&UvmPolicy>, stats: Option<&mut MaybeUninit<UvmMmStats>>) -> c_int {
    let (Some(policy), Some(stats)) = (policy, stats) else { return errno(Error::Invalid) };
    stats.write(policy.0.manager_stats().into());
    0
}

/// uvm_mm_segment_stats() - how full a segment is
/// @policy: the policy
/// @segment: its number in struct uvm_mm_config
/// @stats: the counts
///
/// Return: 0, -ENOENT for a number that is none, -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_mm_segment_stats(
    policy: Option<&UvmPolicy>,
    segment: u32,
    stats: Option<&mut MaybeUninit<UvmPolicyStats>>,
) -> c_int {
    let (Some(policy), Some(stats)) = (policy, stats) else { return errno(Error::Invalid) };
    answer(stats, || {
        let segment = u8::try_from(segment).map(SegmentId).map_err(|_| Error::Unknown)?;
        policy.0.stats(segment).map(UvmPolicyStats::from)
    })
}

/// uvm_mm_uses() - count what is still there
/// @policy: the policy
/// @processes: number of processes
/// @tickets: number of uses that wait or run
///
/// Return: 0 or -EINVAL.
#[no_mangle]
pub extern "C" fn uvm_mm_uses(
    policy: Option<&UvmPolicy>,
    processes: Option<&mut MaybeUninit<u32>>,
    tickets: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    let (Some(policy), Some(processes), Some(tickets)) = (policy, processes, tickets) else {
        return errno(Error::Invalid);
    };
    let (process_count, ticket_count) = policy.0.uses();
    processes.write(process_count);
    tickets.write(ticket_count);
    0
}

/// Appends a record to a log, if there is one.
///
/// # Safety
///
/// Its `bytes` points at `size` bytes.
unsafe fn record(log: Option<&mut UvmMmLog>, write: impl FnOnce(&mut Recorder)) {
    let Some(log) = log.filter(|log| !log.bytes.is_null()) else { return };
    // SAFETY: the caller's contract; nothing else reads or writes there during the call.
    let bytes = unsafe { slice::from_raw_parts_mut(log.bytes, log.size as usize) };
    let rest = bytes.get_mut(log.len as usize..).unwrap_or_default();
    let mut recorder = Recorder::new(rest);
    write(&mut recorder);
    log.len = log.len.saturating_add(u32::try_from(recorder.bytes().len()).unwrap_or(0));
    log.lost = log.lost.saturating_add(recorder.lost());
}
