// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Submissions with the process's own pointers, packets included.

use std::time::Duration;

use uvm_spec::uapi::{self, nr};

use super::sync::{address, FenceState, Syncobj};
use super::{name, Device, Domain, Error, Mapping, Result};
use crate::ib::Ib;

/// What an engine fetches of an indirect buffer at a time, dwords.
const FETCH: usize = 8;

impl Device {
    /// Lets the client's space mirror the process's memory, with any arguments.
    pub fn mirror_raw(&self, arg: &mut uapi::SvmConfig) -> Result<()> {
        self.command("DRM_UVM_SVM_CONFIG", nr::SVM_CONFIG, arg)
    }

    /// Lets the client's space mirror the process's memory.
    pub fn mirror(&self) -> Result<()> {
        self.mirror_raw(&mut uapi::SvmConfig::default())
    }

    /// Where pages of the process are.
    pub fn residency(&self, va: u64, size: u64) -> Result<uapi::SvmResidency> {
        let mut arg = uapi::SvmResidency { va, size, ..Default::default() };
        self.command("DRM_UVM_SVM_RESIDENCY", nr::SVM_RESIDENCY, &mut arg)?;
        Ok(arg)
    }

    /// Says something about a range, or about a group; gives the value back, which may be a new group.
    pub fn advise(&self, va: u64, size: u64, advice: u32, value: u32) -> Result<u32> {
        let mut arg = uapi::SvmAdvise { va, size, advice, value };
        self.command("DRM_UVM_SVM_ADVISE", nr::SVM_ADVISE, &mut arg)?;
        Ok(arg.value)
    }

    /// Moves all ranges of a group of the client's mirror.
    pub fn prefetch_group(&self, group: u32, domain: Domain) -> Result<uapi::SvmPrefetch> {
        let (va, flags) = (group.into(), uapi::SVM_PREFETCH_GROUP);
        let mut arg = uapi::SvmPrefetch { va, domain: domain.number(), flags, ..Default::default() };
        self.prefetch_raw(&mut arg)?;
        Ok(arg)
    }

    /// What was said about an address.
    pub fn attributes(&self, va: u64) -> Result<uapi::SvmAttributes> {
        let mut arg = uapi::SvmAttributes { va, ..Default::default() };
        self.command("DRM_UVM_SVM_ATTRIBUTES", nr::SVM_ATTRIBUTES, &mut arg)?;
        Ok(arg)
    }

    /// Has so many records kept from now on.
    pub fn keep_records(&self, keep: u32) -> Result<()> {
        let mut arg = uapi::SvmEvents { flags: uapi::SVM_EVENTS_KEEP, keep, ..Default::default() };
        self.command("DRM_UVM_SVM_EVENTS", nr::SVM_EVENTS, &mut arg)
    }

    /// Takes the oldest records, `most` at most; tells how many were lost.
    pub fn records(&self, most: usize) -> Result<(Vec<uapi::SvmRecord>, u64)> {
        let mut records = vec![uapi::SvmRecord::default(); most];
        let count = u32::try_from(most).unwrap_or(u32::MAX);
        // The kernel writes there: the address comes from what may be written.
        let place = records.as_mut_ptr().expose_provenance() as u64;
        let mut arg = uapi::SvmEvents { records: place, count, ..Default::default() };
        self.command("DRM_UVM_SVM_EVENTS", nr::SVM_EVENTS, &mut arg)?;
        records.truncate(usize::try_from(arg.count).unwrap_or(0));
        Ok((records, arg.lost))
    }

    /// Whether records wait.
    pub fn has_records(&self) -> Result<bool> {
        use rustix::event::{poll, PollFd, PollFlags, Timespec};
        let mut fds = [PollFd::new(&*self.file, PollFlags::PRI)];
        name("poll", poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))?;
        Ok(fds.iter().any(|fd| fd.revents().contains(PollFlags::PRI)))
    }
}

/// A client whose space mirrors the process, with memory of the process for packets.
pub struct Mirror {
    device: Device,
    packets: Mapping,
}

impl Mirror {
    /// A mirroring client.
    pub fn new(device: &Device) -> Result<Self> {
        device.mirror()?;
        Self::of(device)
    }

    /// The same of a client that mirrors already.
    pub fn of(device: &Device) -> Result<Self> {
        Ok(Self { device: device.clone(), packets: name("mmap", Mapping::private(1 << 16))? })
    }

    /// The client.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Where the packets lie.
    pub fn packets(&self) -> &Mapping {
        &self.packets
    }

    /// Submits packets that name the process's pointers; the previous ones must have ended.
    pub fn submit(&self, ring: u32, ib: &Ib, signal: &Syncobj) -> Result<()> {
        let mut bytes: Vec<u8> = ib.dwords().iter().flat_map(|dword| dword.to_le_bytes()).collect();
        // Zeros are NOPs.
        bytes.resize(bytes.len().next_multiple_of(4 * FETCH), 0);
        let ib_dwords = u32::try_from(bytes.len() / 4).ok().filter(|_| bytes.len() <= self.packets.len());
        let ib_dwords = ib_dwords.ok_or(Error { call: "packets of a submission", errno: rustix::io::Errno::NOSPC })?;
        self.packets.write(0, &bytes);
        let handles = [signal.handle()];
        self.device.submit_raw(&mut uapi::Submit {
            ring,
            flags: uapi::SUBMIT_VM,
            ib: self.packets.va(),
            ib_dwords,
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
