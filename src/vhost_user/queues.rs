// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The two virtqueues: doorbells in, interrupts out.
//!
//! The guest owns the rings and may rewrite them while they are read, so each buffer is read once into a copy of bounded
//! size, and each loop ends after a number of turns that the queue's size gives. A malformed buffer goes back with length
//! 0 and a warning.

use crate::bus::SystemMemory;
use crate::throttle::Throttle;
use parking_lot::Mutex;
use std::ops::Deref;
use std::sync::OnceLock;
use thiserror::Error;
use uvm_spec::window::{Doorbell, Event, MAX_DOORBELLS, MESSAGE_BYTES};
use uvm_spec::IH_RINGS;
use vhost_user_backend::{VringMutex, VringState, VringT};
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddressSpace, GuestMemoryMmap};

/// A vring over system memory.
pub(super) type Vring = VringMutex<SystemMemory>;

/// Most descriptors that a buffer may be scattered over.
const MAX_DESCRIPTORS: usize = 16;

/// What is wrong with a buffer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum BufferError {
    #[error("no descriptor of it can be read")]
    Empty,
    #[error("more than {MAX_DESCRIPTORS} descriptors")]
    Scattered,
    #[error("a descriptor that the device would have to write")]
    Direction,
    #[error("{0} bytes are not 1 to {MAX_DOORBELLS} messages of {MESSAGE_BYTES} bytes")]
    Size(usize),
    #[error("{0} writable bytes hold no message")]
    Short(usize),
    #[error("{len} bytes at {addr:#x} lie outside of guest memory")]
    Memory { addr: u64, len: usize },
}

/// The doorbells in `chain`.
fn doorbells<M>(chain: DescriptorChain<M>) -> Result<Vec<Doorbell>, BufferError>
where
    M: Deref<Target = GuestMemoryMmap> + Clone,
{
    let memory = chain.memory().clone();
    let mut bytes = Vec::new();
    for (n, descriptor) in chain.enumerate() {
        if n == MAX_DESCRIPTORS {
            return Err(BufferError::Scattered);
        }
        if descriptor.is_write_only() {
            return Err(BufferError::Direction);
        }
        let (start, len) = (bytes.len(), descriptor.len() as usize);
        let end = start.saturating_add(len);
        if end > MAX_DOORBELLS * MESSAGE_BYTES {
            return Err(BufferError::Size(end));
        }
        bytes.resize(end, 0);
        let place = bytes.get_mut(start..).unwrap_or_default();
        let addr = descriptor.addr();
        memory.read_slice(place, addr).map_err(|_| BufferError::Memory { addr: addr.0, len })?;
    }
    if bytes.is_empty() {
        return Err(BufferError::Empty);
    }
    let messages = bytes.chunks_exact(MESSAGE_BYTES);
    if !messages.remainder().is_empty() {
        return Err(BufferError::Size(bytes.len()));
    }
    Ok(messages.filter_map(|m| Some(Doorbell::unpack(m.try_into().ok()?))).collect())
}

/// Writes `message` to the writable part of `chain`.
fn write_event<M>(chain: DescriptorChain<M>, message: [u8; MESSAGE_BYTES]) -> Result<(), BufferError>
where
    M: Deref<Target = GuestMemoryMmap> + Clone,
{
    let memory = chain.memory().clone();
    let mut rest = message.as_slice();
    let mut any = false;
    let mut parts = Vec::new();
    for descriptor in chain.take(MAX_DESCRIPTORS) {
        any = true;
        if !descriptor.is_write_only() {
            return Err(BufferError::Direction);
        }
        let (part, after) = rest.split_at(rest.len().min(descriptor.len() as usize));
        parts.push((descriptor.addr(), part));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    match rest.len() {
        0 => (),
        _ if !any => return Err(BufferError::Empty),
        n => return Err(BufferError::Short(MESSAGE_BYTES - n)),
    }
    for (addr, part) in parts {
        memory.write_slice(part, addr).map_err(|_| BufferError::Memory { addr: addr.0, len: part.len() })?;
    }
    Ok(())
}

fn usable(ring: &VringState<SystemMemory>) -> bool {
    ring.is_enabled() && ring.get_queue().ready()
}

/// Whether a ring has been started and not stopped since.
pub(super) fn is_started(vring: &Vring) -> bool {
    usable(&vring.get_ref())
}

/// The doorbell queue.
#[derive(Debug, Default)]
pub(super) struct Doorbells {
    bad_ring: Throttle,
    bad_buffer: Throttle,
}

impl Doorbells {
    /// Takes what is posted, at most one queue's worth, into `out`. True where more may have been posted since.
    pub(super) fn take(&self, vring: &Vring, memory: &SystemMemory, out: &mut Vec<Doorbell>) -> bool {
        let mut ring = vring.get_mut();
        if !usable(&ring) {
            return false;
        }
        match self.take_from(&mut ring, memory, out) {
            Ok(more) => more,
            Err(e) => {
                self.bad_ring.warn(format_args!("doorbell queue: {e}"));
                false
            }
        }
    }

    fn take_from(
        &self,
        ring: &mut VringState<SystemMemory>,
        memory: &SystemMemory,
        out: &mut Vec<Doorbell>,
    ) -> Result<bool, virtio_queue::Error> {
        // An entry that cannot be read looks like one that came after the look: it gets one more look, not an endless one.
        for _ in 0..2 {
            let taken = self.take_posted(ring, memory, out)?;
            if !ring.enable_notification()? {
                return Ok(false);
            }
            if taken > 0 {
                return Ok(true);
            }
        }
        self.bad_ring.warn("doorbell queue: the available ring cannot be read");
        Ok(false)
    }

    fn take_posted(
        &self,
        ring: &mut VringState<SystemMemory>,
        memory: &SystemMemory,
        out: &mut Vec<Doorbell>,
    ) -> Result<u16, virtio_queue::Error> {
        ring.disable_notification()?;
        let mut taken = 0;
        while taken < ring.get_queue().size() {
            let Some(chain) = ring.get_queue_mut().iter(memory.memory())?.next() else { break };
            taken += 1;
            let head = chain.head_index();
            if head >= ring.get_queue().size() {
                // It cannot even be given back.
                self.bad_buffer.warn(format_args!("doorbell buffer {head}: the queue has no such descriptor"));
                continue;
            }
            match doorbells(chain) {
                Ok(messages) => out.extend(messages),
                Err(e) => self.bad_buffer.warn(format_args!("doorbell buffer {head}: {e}")),
            }
            ring.add_used(head, 0)?;
        }
        if taken > 0 && ring.needs_notification()? {
            signal(ring);
        }
        Ok(taken)
    }
}

/// The interrupt line: what the device raised and the guest has not been told yet.
///
/// Only where a ring stands now matters, so a later interrupt of the same IH ring replaces one that still waits.
#[derive(Default)]
pub(super) struct Interrupts {
    pending: Mutex<[Option<u32>; IH_RINGS]>,
    vring: OnceLock<Vring>,
    bad_ring: Throttle,
    bad_buffer: Throttle,
}

impl Interrupts {
    /// The queue to deliver to; the first call counts, as a vring lives as long as its daemon.
    pub(super) fn attach(&self, vring: &Vring) {
        self.vring.get_or_init(|| vring.clone());
    }

    /// Notes `event`. Called in the order of raising.
    pub(super) fn post(&self, event: Event) {
        if let Some(slot) = self.pending.lock().get_mut(event.ring as usize) {
            *slot = Some(event.wptr);
        }
    }

    /// Forgets what waits.
    pub(super) fn clear(&self) {
        *self.pending.lock() = Default::default();
    }

    /// Hands waiting interrupts to the guest as far as it has posted buffers.
    pub(super) fn deliver(&self, memory: &SystemMemory) {
        if self.pending.lock().iter().all(Option::is_none) {
            return;
        }
        let Some(vring) = self.vring.get() else { return };
        let mut ring = vring.get_mut();
        if !usable(&ring) {
            return;
        }
        if let Err(e) = self.deliver_to(&mut ring, memory) {
            self.bad_ring.warn(format_args!("event queue: {e}"));
        }
    }

    fn deliver_to(
        &self,
        ring: &mut VringState<SystemMemory>,
        memory: &SystemMemory,
    ) -> Result<(), virtio_queue::Error> {
        let mut used = 0;
        // Two turns a buffer: one for it, one for a look after notifications were enabled.
        for _ in 0..2 * u32::from(ring.get_queue().size()) {
            let Some(event) = self.next() else {
                ring.disable_notification()?;
                break;
            };
            let Some(chain) = ring.get_queue_mut().iter(memory.memory())?.next() else {
                if ring.enable_notification()? {
                    continue;
                }
                break;
            };
            let head = chain.head_index();
            if head >= ring.get_queue().size() {
                self.bad_buffer.warn(format_args!("event buffer {head}: the queue has no such descriptor"));
                continue;
            }
            let len = match write_event(chain, event.pack()) {
                Ok(()) => {
                    self.sent(event);
                    u32::try_from(MESSAGE_BYTES).unwrap_or(0)
                }
                Err(e) => {
                    self.bad_buffer.warn(format_args!("event buffer {head}: {e}"));
                    0
                }
            };
            ring.add_used(head, len)?;
            used += 1;
        }
        if used > 0 && ring.needs_notification()? {
            signal(ring);
        }
        Ok(())
    }

    fn next(&self) -> Option<Event> {
        let pending = self.pending.lock();
        (0..).zip(pending.iter()).find_map(|(ring, wptr)| wptr.map(|wptr| Event { ring, wptr }))
    }

    /// Forgets `event`, unless its ring has moved on meanwhile.
    fn sent(&self, event: Event) {
        if let Some(slot) = self.pending.lock().get_mut(event.ring as usize) {
            if *slot == Some(event.wptr) {
                *slot = None;
            }
        }
    }
}

fn signal(ring: &VringState<SystemMemory>) {
    if let Err(e) = ring.signal_used_queue() {
        log::warn!("cannot signal the guest: {e}");
    }
}
