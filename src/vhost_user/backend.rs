// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The front end's requests.

use super::queues::{Doorbells, Vring};
use super::shared::SharedGpu;
use super::shmem::REGION;
use crate::bus::SystemMemory;
use std::io;
use std::sync::Arc;
use uvm_spec::window::{DOORBELL_QUEUE, EVENT_QUEUE, QUEUES, SIZE};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserVirtioFeatures};
use vhost::vhost_user::Backend as Channel;
use vhost_user_backend::VhostUserBackend;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{new_event_consumer_and_notifier, EventConsumer, EventFlag, EventNotifier};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Most entries of a queue.
const MAX_QUEUE_SIZE: usize = 1024;

/// Batches of doorbells that are served in one go; a guest that never stops ringing has to let other events in.
const BATCHES: usize = 16;

/// Epoll token of [`Backend::again`]. Tokens up to and including the number of queues are taken.
pub(super) const AGAIN: u64 = QUEUES as u64 + 1;

/// Answers requests and serves the queues.
pub(super) struct Backend {
    device: Arc<SharedGpu>,
    doorbells: Doorbells,
    /// Bytes of the VRAM BAR, if there is one.
    bar: Option<u64>,
    /// Doorbells were left for another round.
    pub(super) again: EventFd,
}

impl Backend {
    pub(super) fn new(device: Arc<SharedGpu>, bar: Option<u64>) -> io::Result<Self> {
        let again = EventFd::new(EFD_NONBLOCK)?;
        Ok(Self { device, doorbells: Doorbells::default(), bar, again })
    }

    fn serve_doorbells(&self, vring: &Vring) {
        let mut batch = Vec::new();
        for _ in 0..BATCHES {
            let more = self.doorbells.take(vring, self.device.memory(), &mut batch);
            if !batch.is_empty() {
                self.device.ring(&batch);
                batch.clear();
            }
            if !more {
                return;
            }
        }
        // A full counter is as good as one more.
        let _ = self.again.write(1);
    }
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        MAX_QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        self.device.speak();
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, features: u64) {
        log::debug!("features {features:#x} acknowledged");
        self.device.start();
    }

    /// Neither CONFIGURE_MEM_SLOTS, with which QEMU crashes at the driver's second start, nor STATUS, which the crate
    /// refuses and QEMU insists on.
    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        let always =
            VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIG | VhostUserProtocolFeatures::REPLY_ACK;
        if self.bar.is_none() {
            return always;
        }
        always
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::BACKEND_SEND_FD
            | VhostUserProtocolFeatures::SHMEM
    }

    /// Each queue is told separately, with the other ring settings.
    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let block = self.device.config();
        let (offset, size) = (offset as usize, size as usize);
        let end = offset.saturating_add(size);
        block.get(offset..end).map(<[u8]>::to_vec).unwrap_or_default()
    }

    fn set_config(&self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        if offset.saturating_add(bytes.len()) > SIZE {
            let text = format!("{} bytes at {offset} reach past the config space", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.device.set_config(offset, bytes);
        Ok(())
    }

    fn update_memory(&self, _memory: SystemMemory) -> io::Result<()> {
        // The device holds the same map, which has been replaced already; but an engine may be in the middle of its work
        // on the old one.
        self.device.memory_changed();
        Ok(())
    }

    fn set_backend_req_fd(&self, channel: Channel) {
        self.device.mapper.set_channel(channel);
    }

    fn get_shmem_config(&self) -> io::Result<VhostUserShMemConfig> {
        // QEMU makes a BAR of the region as it is, and a BAR's size is a power of two: what is left of it stays a hole
        // that reads as zero. The window tells VRAM's own size.
        let mut sizes = [0; REGION as usize + 1];
        let size = self.bar.unwrap_or(0);
        sizes[REGION as usize] = size.checked_next_power_of_two().unwrap_or(size);
        Ok(VhostUserShMemConfig::new(1, &sizes))
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        self.device.queue_stopped(index);
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC)
            .inspect_err(|e| log::error!("no event to end the queues' thread with: {e}"))
            .ok()
    }

    fn handle_event(&self, event: u16, _: EventSet, vrings: &[Vring], _thread: usize) -> io::Result<()> {
        // An error here would end the thread: nothing that a guest does is one.
        if u64::from(event) == AGAIN {
            let _ = self.again.read();
            if let Some(vring) = vrings.get(DOORBELL_QUEUE) {
                self.serve_doorbells(vring);
            }
            return Ok(());
        }
        let queue = usize::from(event);
        let Some(vring) = vrings.get(queue) else { return Ok(()) };
        if queue == EVENT_QUEUE {
            self.device.interrupts.attach(vring);
        }
        self.device.queue_started(event, vring);
        match queue {
            DOORBELL_QUEUE => self.serve_doorbells(vring),
            _ => self.device.deliver(),
        }
        Ok(())
    }
}
