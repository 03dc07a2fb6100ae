// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! User queues, and page faults that wait for the client.

use std::time::Duration;

use rustix::io::Errno;
use uvm_spec::uapi::{self, nr};

use super::vm::RW;
use super::{Bo, Device, Domain, Error, Mapping, Result};
use crate::ib::Ib;

impl Device {
    /// Makes a queue with any arguments; a success leaves one to be ended with [`Device::end_queue`].
    pub fn queue_raw(&self, arg: &mut uapi::QueueCreate) -> Result<()> {
        self.command("DRM_UVM_QUEUE_CREATE", nr::QUEUE_CREATE, arg)
    }

    /// Ends a queue.
    pub fn end_queue(&self, id: u32) -> Result<()> {
        self.command("DRM_UVM_QUEUE_DESTROY", nr::QUEUE_DESTROY, &mut uapi::QueueDestroy { id, pad: 0 })
    }

    /// Rings any queue.
    pub fn kick_raw(&self, arg: &mut uapi::QueueKick) -> Result<()> {
        self.command("DRM_UVM_QUEUE_KICK", nr::QUEUE_KICK, arg)
    }

    /// How any queue stands.
    pub fn queue_info(&self, id: u32) -> Result<uapi::QueueInfo> {
        let mut arg = uapi::QueueInfo { id, ..Default::default() };
        self.command("DRM_UVM_QUEUE_INFO", nr::QUEUE_INFO, &mut arg)?;
        Ok(arg)
    }

    /// Says how the client's space is run: `uapi::VM_CONFIG_*`.
    pub fn configure(&self, flags: u32) -> Result<()> {
        self.command("DRM_UVM_VM_CONFIG", nr::VM_CONFIG, &mut uapi::VmConfig { flags, pad: 0 })
    }

    /// The next fault that waits for its page; None when none comes within `timeout`.
    pub fn next_fault(&self, timeout: Duration) -> Result<Option<uapi::FaultNext>> {
        let timeout_ns = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
        let mut arg = uapi::FaultNext { timeout_ns, ..Default::default() };
        match self.command("DRM_UVM_FAULT_NEXT", nr::FAULT_NEXT, &mut arg) {
            Ok(()) => Ok(Some(arg)),
            Err(Error { errno: Errno::TIME, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A queue of the client's own with a ring at an address of its space; ended with the value.
pub struct Queue {
    device: Device,
    id: u32,
    ring: Mapping,
    bytes: usize,
    wptr: u64,
    bo: Bo,
}

impl Queue {
    /// A queue of SDMA instance `engine` with a ring of `bytes` at `va`; the read pointer is written behind it.
    pub fn new(device: &Device, engine: u32, va: u64, bytes: u64) -> Result<Self> {
        let queue = Self::unmapped(device, engine, va, bytes)?;
        queue.bind_ring(va)?;
        Ok(queue)
    }

    /// A queue of the access engine.
    pub fn of_access_engine(device: &Device, va: u64, bytes: u64) -> Result<Self> {
        let queue = Self::make(device, uapi::QUEUE_ACCESS, 0, va, bytes)?;
        queue.bind_ring(va)?;
        Ok(queue)
    }

    /// The same with nothing mapped at `va` yet.
    pub fn unmapped(device: &Device, engine: u32, va: u64, bytes: u64) -> Result<Self> {
        Self::make(device, uapi::QUEUE_SDMA, engine, va, bytes)
    }

    fn make(device: &Device, kind: u32, engine: u32, va: u64, bytes: u64) -> Result<Self> {
        let bo = Bo::new(device, bytes + PAGE, Domain::Gtt)?;
        let ring = bo.map()?;
        let mut arg = uapi::QueueCreate {
            ring: engine,
            ring_va: va,
            ring_size: bytes,
            rptr_va: va.wrapping_add(bytes),
            kind,
            ..Default::default()
        };
        device.queue_raw(&mut arg)?;
        let bytes = usize::try_from(bytes).map_err(|_| Error { call: "ring of a queue", errno: Errno::NOMEM })?;
        Ok(Self { device: device.clone(), id: arg.id, ring, bytes, wptr: 0, bo })
    }

    /// Maps the ring and the page of its read pointer.
    pub fn bind_ring(&self, va: u64) -> Result<()> {
        self.device.bind(va, &self.bo, 0, self.bo.size(), RW)
    }

    /// The ring and the page behind it.
    pub fn bo(&self) -> &Bo {
        &self.bo
    }

    /// The client.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Bytes put into the ring since it was made.
    pub fn wptr(&self) -> u64 {
        self.wptr
    }

    /// Puts packets into the ring, over its end and on from the start. Whoever calls sees to it that there is room.
    pub fn push(&mut self, ib: &Ib) {
        self.push_dwords(ib.dwords());
    }

    /// Puts dwords into the ring, as [`Queue::push`] does.
    pub fn push_dwords(&mut self, dwords: &[u32]) {
        for dword in dwords {
            let at = usize::try_from(self.wptr).unwrap_or(0) % self.bytes;
            self.ring.write(at, &dword.to_le_bytes());
            self.wptr += 4;
        }
    }

    /// Rings the doorbell.
    pub fn kick(&self) -> Result<()> {
        self.device.kick_raw(&mut uapi::QueueKick { id: self.id, flags: 0, wptr: self.wptr })
    }

    /// Puts packets into the ring and rings the doorbell.
    pub fn run(&mut self, ib: &Ib) -> Result<()> {
        self.push(ib);
        self.kick()
    }

    /// Drops what it is doing and what it was given.
    pub fn reset(&mut self) -> Result<()> {
        self.device.kick_raw(&mut uapi::QueueKick { id: self.id, flags: uapi::QUEUE_RESET, wptr: self.wptr })
    }

    /// How it stands.
    pub fn info(&self) -> Result<uapi::QueueInfo> {
        self.device.queue_info(self.id)
    }

    /// The read pointer as the device wrote it to memory.
    pub fn written_back(&self) -> u64 {
        self.ring.load(self.bytes)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        match self.device.end_queue(self.id) {
            // A device that went away took its queues along.
            Ok(()) | Err(Error { errno: Errno::NODEV, .. }) => {}
            Err(error) => eprintln!("# queue {}: {error}", self.id),
        }
    }
}

const PAGE: u64 = 4096;
