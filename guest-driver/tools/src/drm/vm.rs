// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A client's own GPU address space: mappings, submissions that run in it, faults.

use std::time::Duration;

use rustix::io::Errno;
use uvm_spec::uapi::{self, nr};

use super::sync::{address, FenceState, Syncobj};
use super::{Bo, Device, Domain, Error, Mapping, Result};
use crate::ib::Ib;

/// Reads and writes, as most mappings do.
pub const RW: u32 = uapi::VM_READ | uapi::VM_WRITE;

/// What an engine fetches of an indirect buffer at a time, dwords.
const FETCH: usize = 8;

impl Device {
    /// Binds with any arguments.
    pub fn bind_raw(&self, arg: &mut uapi::VmBind) -> Result<()> {
        self.command("DRM_UVM_VM_BIND", nr::VM_BIND, arg)
    }

    /// Maps `size` bytes of a buffer object from `offset` at `va`; `flags` are `uapi::VM_*`.
    pub fn bind(&self, va: u64, bo: &Bo, offset: u64, size: u64, flags: u32) -> Result<()> {
        let handle = bo.handle();
        self.bind_raw(&mut uapi::VmBind {
            op: uapi::VM_OP_MAP,
            flags,
            handle,
            bo_offset: offset,
            va,
            size,
            ..Default::default()
        })
    }

    /// Queues a bind: it is made after the fences of `wait_for`; the syncobjs of `signal` get its own.
    pub fn bind_queued(&self, arg: uapi::VmBind, wait_for: &[&Syncobj], signal: &[&Syncobj]) -> Result<()> {
        let handles = |syncs: &[&Syncobj]| syncs.iter().map(|sync| sync.handle()).collect::<Vec<u32>>();
        let (wait_for, signal) = (handles(wait_for), handles(signal));
        let count = |list: &[u32]| u32::try_from(list.len()).unwrap_or(u32::MAX);
        self.bind_raw(&mut uapi::VmBind {
            in_syncs: address(&wait_for),
            out_syncs: address(&signal),
            in_sync_count: count(&wait_for),
            out_sync_count: count(&signal),
            ..arg
        })
    }

    /// Maps nothing at a range.
    pub fn unbind(&self, va: u64, size: u64) -> Result<()> {
        self.bind_raw(&mut uapi::VmBind { op: uapi::VM_OP_UNMAP, va, size, ..Default::default() })
    }

    /// Makes a range partially resident, whatever is there.
    pub fn bind_nothing(&self, va: u64, size: u64) -> Result<()> {
        let flags = uapi::VM_REPLACE;
        self.bind_raw(&mut uapi::VmBind { op: uapi::VM_OP_PRT, flags, va, size, ..Default::default() })
    }

    /// Moves the process's own memory to a domain.
    pub fn prefetch(&self, va: u64, size: u64, domain: Domain) -> Result<uapi::SvmPrefetch> {
        let mut arg = uapi::SvmPrefetch { va, size, domain: domain.number(), ..Default::default() };
        self.prefetch_raw(&mut arg)?;
        Ok(arg)
    }

    /// The same with any arguments.
    pub fn prefetch_raw(&self, arg: &mut uapi::SvmPrefetch) -> Result<()> {
        self.command("DRM_UVM_SVM_PREFETCH", nr::SVM_PREFETCH, arg)
    }

    /// The last page fault since it was asked for the last time.
    pub fn fault(&self) -> Result<Option<uapi::FaultQuery>> {
        let mut arg = uapi::FaultQuery::default();
        self.command("DRM_UVM_FAULT_QUERY", nr::FAULT_QUERY, &mut arg)?;
        Ok((arg.count > 0).then_some(arg))
    }

    /// The last hang since it was asked for the last time.
    pub fn hang(&self) -> Result<Option<uapi::HangQuery>> {
        let mut arg = uapi::HangQuery::default();
        self.command("DRM_UVM_HANG_QUERY", nr::HANG_QUERY, &mut arg)?;
        Ok((arg.count > 0).then_some(arg))
    }
}

/// Memory for packets at an address of the client's own space, one submission at a time.
pub struct Space {
    device: Device,
    map: Mapping,
    va: u64,
    // Bound: it stays while the device is open, handle or not.
    _bo: Bo,
}

impl Space {
    /// Room for `bytes` of packets at `va`.
    pub fn new(device: &Device, va: u64, bytes: u64) -> Result<Self> {
        let bo = Bo::new(device, bytes, Domain::Gtt)?;
        device.bind(va, &bo, 0, bo.size(), uapi::VM_READ)?;
        Ok(Self { device: device.clone(), map: bo.map()?, va, _bo: bo })
    }

    /// Where the packets lie.
    pub fn va(&self) -> u64 {
        self.va
    }

    /// The client.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Submits packets that name addresses of this space; the previous ones must have ended.
    pub fn submit(&self, ring: u32, ib: &Ib, signal: &Syncobj) -> Result<()> {
        self.submit_after(ring, ib, &[], signal)
    }

    /// Submits packets that run after the fences of `wait_for`.
    pub fn submit_after(&self, ring: u32, ib: &Ib, wait_for: &[&Syncobj], signal: &Syncobj) -> Result<()> {
        let dwords = ib.dwords().len().next_multiple_of(FETCH);
        let mut bytes: Vec<u8> = ib.dwords().iter().flat_map(|dword| dword.to_le_bytes()).collect();
        // Zeros are NOPs.
        bytes.resize(4 * dwords, 0);
        if bytes.len() > self.map.len() {
            return Err(Error { call: "packets of a submission", errno: Errno::NOSPC });
        }
        self.map.write(0, &bytes);
        let ib_dwords =
            u32::try_from(dwords).map_err(|_| Error { call: "packets of a submission", errno: Errno::OVERFLOW })?;
        let handles = [signal.handle()];
        let wait_for: Vec<u32> = wait_for.iter().map(|sync| sync.handle()).collect();
        self.device.submit_raw(&mut uapi::Submit {
            ring,
            flags: uapi::SUBMIT_VM,
            ib: self.va,
            ib_dwords,
            in_syncs: address(&wait_for),
            in_sync_count: u32::try_from(wait_for.len()).unwrap_or(u32::MAX),
            out_syncs: address(&handles),
            out_sync_count: 1,
            ..Default::default()
        })
    }

    /// Runs packets and waits `timeout` at most for their end; tells how they ended.
    pub fn run(&self, ring: u32, ib: &Ib, timeout: Duration) -> Result<FenceState> {
        let done = Syncobj::new(&self.device)?;
        self.submit(ring, ib, &done)?;
        done.wait(timeout)?;
        done.state()
    }
}
