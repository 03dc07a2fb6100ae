// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which address space sits in which of the hardware's contexts (VMIDs), for how long, and when it must be flushed.
//!
//! VMID 0 is the driver's own, and some at the top may be set aside; the others form a pool. An address space
//! keeps its VMID from job to job, so its translations stay cached, until another one needs it.
//!
//! **Fairness.** Address spaces that found no VMID wait in one queue, first come first served. The pool's VMIDs
//! have an order too, by when each last changed hands; call it seniority. One that waits behind `n` others has
//! the claim on the VMID of seniority `n`: neither its present owner nor anyone who came later may extend its
//! use. So who is first in the queue waits for the jobs that were on the most senior VMID when it became first,
//! and for no others. Seniority shifts with the queue (the VMID that changes hands goes to the end), so a claim
//! is never lost to a change elsewhere.
//!
//! **Flushes.** Each hub remembers for each VMID up to which change of its owner's tables it was flushed. A job
//! needs a flush unless one that covers the last change is known to come before it: one that has ended, or one
//! that sits before it on the same ring. What a job would have flushed counts only once it is submitted.

use alloc::vec::Vec;

use uvm_spec::VMIDS;

use crate::error::Error;
use crate::ids::{JobId, Key};
use crate::slab::Slab;
use crate::table::{count, remove_item, try_push};

/// VM hubs, each with its own translation caches and base registers: 0 is the GC hub, 1 the MM hub.
pub const HUBS: usize = 2;
/// The mask of all hubs.
pub const ALL_HUBS: u32 = (1 << HUBS) - 1;

/// One past the last VMID.
const END: u8 = 16;
const _: () = assert!(END as usize == VMIDS);
/// VMIDs that stay in the pool whatever is reserved: with two, one that runs for long does not stop all others.
const POOL_LEAST: usize = 2;

/// A job that wants to run in its address space.
#[derive(Clone, Copy, Debug)]
pub struct GrabRequest {
    /// The ring that it goes to; jobs of one ring run in the order in which they are submitted.
    pub ring: u32,
    /// Hubs that its accesses go through, bits `1 << hub`; not zero.
    pub hubs: u32,
    /// The caller's name for the job's end, which others may be told to wait for.
    pub fence: u64,
}

/// A VMID for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Names the job from now on.
    pub job: JobId,
    /// 1..=15.
    pub vmid: u8,
    /// Hubs whose caches must be flushed for the VMID before the job runs.
    pub flush: u32,
    /// Hubs where the VMID's root must be set before that.
    pub load: u32,
    /// The root of the address space, as a base register takes it.
    pub root: u64,
}

/// Why there is no VMID yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmidWait {
    /// The VMID that is expected to become free; zero when `fence` is `None`.
    pub vmid: u8,
    /// The fence of its youngest job: ask again after it. `None` when VMIDs are free, but only as many as
    /// there are others before this one in the queue, whose fences have signalled: ask again when any other
    /// call about VMIDs was made.
    pub fence: Option<u64>,
}

/// The answer to a job that wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grab {
    /// Run it there.
    Granted(Grant),
    /// Ask again later. The address space is in the queue until it is granted one or gives up.
    Wait(VmidWait),
}

/// What a hub has cached for a VMID.
#[derive(Clone, Copy, Default)]
struct Flushed {
    /// The root is set, and a flush after this change of the tables has ended.
    done: Option<u64>,
    /// A flush on its way: the job that does it, the job's ring, the change it covers.
    coming: Option<(Key, u32, u64)>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    owner: Option<Key>,
    /// Set aside for its owner.
    reserved: bool,
    jobs: u32,
    youngest: Option<Key>,
    /// When it was last used, on the manager's own count.
    used: u64,
    /// When it last changed hands.
    since: u64,
    hubs: [Flushed; HUBS],
}

struct Job {
    vmid: u8,
    request: GrabRequest,
    /// The change of the tables that its flush covers.
    seq: u64,
    flush: u32,
    load: u32,
    submitted: bool,
    /// Which reset it was granted after.
    epoch: u64,
    older: Option<Key>,
    younger: Option<Key>,
}

/// The VMIDs of a device.
pub(crate) struct Vmids {
    /// In a table, as they would weigh on a kernel's stack.
    slots: Vec<Slot>,
    /// The pool is `1..end`.
    end: u8,
    jobs: Slab<Job>,
    queue: Vec<Key>,
    clock: u64,
    epoch: u64,
}

impl Vmids {
    pub(crate) fn try_new() -> Result<Self, Error> {
        let mut slots = Vec::new();
        for _ in 0..VMIDS {
            try_push(&mut slots, Slot::default())?;
        }
        Ok(Self { slots, end: END, jobs: Slab::new(), queue: Vec::new(), clock: 0, epoch: 0 })
    }

    /// Sets `count` VMIDs at the top aside, which are never given out.
    pub(crate) fn set_aside(&mut self, count: u32) -> Result<(), Error> {
        let count = u8::try_from(count).map_err(|_| Error::Invalid)?;
        let end = END.checked_sub(count).filter(|end| *end >= 2).ok_or(Error::Invalid)?;
        if self.slots.iter().any(|slot| slot.owner.is_some()) {
            return Err(Error::Busy);
        }
        self.end = end;
        Ok(())
    }

    fn slot(&self, vmid: u8) -> Slot {
        self.slots.get(usize::from(vmid)).copied().unwrap_or_default()
    }

    fn edit(&mut self, vmid: u8, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(usize::from(vmid)) {
            change(slot);
        }
    }

    /// All VMIDs that may be given out, those set aside for one owner included.
    fn given_out(&self) -> impl Iterator<Item = (u8, &Slot)> + Clone + '_ {
        (1..self.end).filter_map(|vmid| Some((vmid, self.slots.get(usize::from(vmid))?)))
    }

    fn pool(&self) -> impl Iterator<Item = (u8, &Slot)> + Clone + '_ {
        self.given_out().filter(|(_, slot)| !slot.reserved)
    }

    /// How many of the pool have been in one hand for longer.
    fn seniority(&self, since: u64) -> usize {
        count(self.pool().filter(|(_, slot)| slot.since < since))
    }

    fn tick(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }

    /// A VMID for a job of `vm`, whose tables changed for the `seq`th time last.
    pub(crate) fn grab(&mut self, vm: Key, root: u64, seq: u64, request: &GrabRequest) -> Result<Grab, Error> {
        if request.hubs == 0 || request.hubs & !ALL_HUBS != 0 {
            return Err(Error::Invalid);
        }
        match self.choose(vm) {
            Ok(vmid) => self.grant(vmid, vm, root, seq, request).map(Grab::Granted),
            Err(wait) => {
                if !self.queue.contains(&vm) {
                    try_push(&mut self.queue, vm)?;
                }
                Ok(Grab::Wait(wait))
            }
        }
    }

    fn choose(&self, vm: Key) -> Result<u8, VmidWait> {
        let own = |slot: &Slot| slot.owner == Some(vm);
        if let Some(vmid) = self.reserved_for(vm) {
            return Ok(vmid);
        }
        let ahead = count(self.queue.iter().take_while(|other| **other != vm));
        if let Some((vmid, _)) = self.pool().find(|(_, slot)| own(slot) && self.seniority(slot.since) >= ahead) {
            return Ok(vmid);
        }
        let idle = self.pool().filter(|(_, slot)| slot.jobs == 0);
        let idle_count = count(idle.clone());
        if idle_count > ahead {
            let best = idle.min_by_key(|(_, slot)| (slot.owner.is_some(), slot.used));
            return best.map(|(vmid, _)| vmid).ok_or(VmidWait { vmid: 0, fence: None });
        }
        Err(self.expected(ahead.saturating_sub(idle_count)))
    }

    /// The VMID that one behind `behind` others should wait for: of those in use, by seniority.
    fn expected(&self, behind: usize) -> VmidWait {
        let busy = || self.pool().filter(|(_, slot)| slot.jobs != 0);
        let last = count(busy()).saturating_sub(1);
        let rank = |since: u64| count(busy().filter(|(_, slot)| slot.since < since));
        busy()
            .find(|(_, slot)| rank(slot.since) == behind.min(last))
            .and_then(|(vmid, slot)| Some((vmid, self.jobs.get(slot.youngest?).ok()?.request.fence)))
            .map_or(VmidWait { vmid: 0, fence: None }, |(vmid, fence)| VmidWait { vmid, fence: Some(fence) })
    }

    fn grant(&mut self, vmid: u8, vm: Key, root: u64, seq: u64, request: &GrabRequest) -> Result<Grant, Error> {
        let slot = self.slot(vmid);
        let fresh = slot.owner != Some(vm);
        let hubs = if fresh { [Flushed::default(); HUBS] } else { slot.hubs };
        let (flush, load) = needed(&hubs, seq, request);
        let key = self.jobs.insert(Job {
            vmid,
            request: *request,
            seq,
            flush,
            load,
            submitted: false,
            epoch: self.epoch,
            older: slot.youngest,
            younger: None,
        })?;
        if let Some(older) = slot.youngest {
            self.jobs.get_mut(older)?.younger = Some(key);
        }
        let now = self.tick();
        self.edit(vmid, |slot| {
            slot.owner = Some(vm);
            slot.hubs = hubs;
            slot.jobs = slot.jobs.saturating_add(1);
            slot.youngest = Some(key);
            slot.used = now;
            if fresh {
                slot.since = now;
            }
        });
        self.give_up(vm);
        Ok(Grant { job: JobId::pack(key), vmid, flush, load, root })
    }

    /// What a job needs that is about to be submitted again, after a reset took away what it was granted with.
    pub(crate) fn again(&mut self, job: JobId, root: u64, seq: u64) -> Result<Grant, Error> {
        let epoch = self.epoch;
        let key = job.unpack().ok_or(Error::Unknown)?;
        let hubs = self.slot(self.jobs.get(key)?.vmid).hubs;
        let entry = self.jobs.get_mut(key)?;
        let (flush, load) = needed(&hubs, seq, &entry.request);
        (entry.seq, entry.flush, entry.load) = (seq, flush, load);
        (entry.submitted, entry.epoch) = (false, epoch);
        Ok(Grant { job, vmid: entry.vmid, flush, load, root })
    }

    /// The address space that a job runs in.
    pub(crate) fn owner(&self, job: JobId) -> Result<Key, Error> {
        let job = self.jobs.get(job.unpack().ok_or(Error::Unknown)?)?;
        self.slot(job.vmid).owner.ok_or(Error::Unknown)
    }

    /// The job is on its ring, and its flush before it. `flushed`: the flush has been acknowledged already.
    pub(crate) fn submitted(&mut self, job: JobId, flushed: bool) -> Result<(), Error> {
        let (key, epoch) = (job.unpack().ok_or(Error::Unknown)?, self.epoch);
        let entry = self.jobs.get_mut(key)?;
        if entry.submitted || entry.epoch != epoch {
            return Err(Error::Invalid);
        }
        entry.submitted = true;
        let (vmid, ring, seq, flush, load) = (entry.vmid, entry.request.ring, entry.seq, entry.flush, entry.load);
        self.edit(vmid, |slot| {
            for (hub, state) in
                (0..u32::MAX).zip(&mut slot.hubs).filter(|(hub, _)| flush & 1u32.wrapping_shl(*hub) != 0)
            {
                // One that comes sooner and covers as much is kept.
                let covered = state.coming.is_some_and(|(_, _, other)| other >= seq);
                // A job whose root is set by one before it on its ring says nothing about other rings.
                if flushed && (state.done.is_some() || load & 1u32.wrapping_shl(hub) != 0) {
                    state.done = state.done.max(Some(seq));
                } else if !covered {
                    state.coming = Some((key, ring, seq));
                }
            }
        });
        Ok(())
    }

    /// The job has ended, well or not, or will never be submitted.
    pub(crate) fn signalled(&mut self, job: JobId) -> Result<(), Error> {
        let key = job.unpack().ok_or(Error::Unknown)?;
        let Job { vmid, older, younger, .. } = self.jobs.remove(key)?;
        if let Some(older) = older {
            self.jobs.get_mut(older)?.younger = younger;
        }
        if let Some(younger) = younger {
            self.jobs.get_mut(younger)?.older = older;
        }
        let now = self.tick();
        self.edit(vmid, |slot| {
            if younger.is_none() {
                slot.youngest = older;
            }
            slot.jobs = slot.jobs.saturating_sub(1);
            slot.used = now;
            for state in &mut slot.hubs {
                if let Some((_, _, seq)) = state.coming.take_if(|(coming, ..)| *coming == key) {
                    state.done = state.done.max(Some(seq));
                }
            }
        });
        Ok(())
    }

    /// Leaves the queue.
    pub(crate) fn give_up(&mut self, vm: Key) {
        remove_item(&mut self.queue, vm);
    }

    /// The VMID set aside for an address space.
    pub(crate) fn reserved_for(&self, vm: Key) -> Option<u8> {
        self.given_out().find(|(_, slot)| slot.reserved && slot.owner == Some(vm)).map(|(vmid, _)| vmid)
    }

    /// Sets a VMID of the pool aside for an address space: the one it has, or one that nobody waits for.
    /// [`Error::NoSpace`] for the pool's last [`POOL_LEAST`]; [`Error::Busy`] when none can be had now: it is in the
    /// queue then, like a job that waits.
    pub(crate) fn reserve(&mut self, vm: Key) -> Result<u8, Error> {
        if let Some(vmid) = self.reserved_for(vm) {
            return Ok(vmid);
        }
        if count(self.pool()) <= POOL_LEAST {
            self.give_up(vm);
            return Err(Error::NoSpace);
        }
        let Ok(vmid) = self.choose(vm) else {
            if !self.queue.contains(&vm) {
                try_push(&mut self.queue, vm)?;
            }
            return Err(Error::Busy);
        };
        let now = self.tick();
        self.edit(vmid, |slot| {
            if slot.owner != Some(vm) {
                *slot = Slot { owner: Some(vm), since: now, used: now, ..Slot::default() };
            }
            slot.reserved = true;
        });
        self.give_up(vm);
        Ok(vmid)
    }

    /// Puts a VMID that was set aside back into the pool; its owner keeps it like any other.
    pub(crate) fn unreserve(&mut self, vm: Key) -> Result<(), Error> {
        let vmid = self.reserved_for(vm).ok_or(Error::Invalid)?;
        self.edit(vmid, |slot| slot.reserved = false);
        Ok(())
    }

    /// Takes an address space's VMIDs away; [`Error::Busy`] while jobs of it run.
    pub(crate) fn release(&mut self, vm: Key) -> Result<(), Error> {
        if self.busy(vm) != 0 {
            return Err(Error::Busy);
        }
        self.give_up(vm);
        for slot in self.slots.iter_mut().filter(|slot| slot.owner == Some(vm)) {
            *slot = Slot { since: slot.since, used: slot.used, ..Slot::default() };
        }
        Ok(())
    }

    /// VMIDs on which jobs of an address space run or are about to, bits `1 << vmid`.
    pub(crate) fn busy(&self, vm: Key) -> u32 {
        let slots = (0..u32::from(END)).zip(&self.slots);
        let busy = slots.filter(|(_, slot)| slot.owner == Some(vm) && slot.jobs != 0);
        busy.fold(0, |mask, (vmid, _)| mask | 1u32.wrapping_shl(vmid))
    }

    /// The pages that change `seq` of an address space's tables touched are invalidated on all hubs for `vmids`:
    /// where that was all that a hub could have missed, it needs no flush any more.
    pub(crate) fn invalidated(&mut self, vm: Key, vmids: u32, seq: u64) {
        let slots = (0..u32::from(END)).zip(&mut self.slots);
        for (_, slot) in slots.filter(|(vmid, slot)| vmids & 1u32.wrapping_shl(*vmid) != 0 && slot.owner == Some(vm)) {
            for state in &mut slot.hubs {
                state.done = state.done.map(|done| if done.checked_add(1) == Some(seq) { seq } else { done });
            }
        }
    }

    /// The device lost its base registers and caches. Jobs stay until they are signalled.
    pub(crate) fn reset(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        for slot in &mut self.slots {
            slot.hubs = [Flushed::default(); HUBS];
        }
    }

    /// Jobs that were granted and not signalled.
    pub(crate) fn in_flight(&self) -> u32 {
        self.jobs.len()
    }
}

/// The hubs to flush, and those to load.
fn needed(hubs: &[Flushed; HUBS], seq: u64, request: &GrabRequest) -> (u32, u32) {
    let (mut flush, mut load) = (0, 0);
    for (hub, state) in (0..u32::MAX).zip(hubs) {
        let bit = request.hubs & 1u32.wrapping_shl(hub);
        let before = state.coming.filter(|(_, ring, _)| *ring == request.ring).map(|(_, _, seq)| seq);
        let known = state.done.max(before);
        if known.is_none_or(|known| known < seq) {
            flush |= bit;
        }
        if known.is_none() {
            load |= bit;
        }
    }
    (flush, load)
}
