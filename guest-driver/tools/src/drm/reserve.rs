// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Addresses of this process that nothing lies at and nobody else gets.
#![allow(unsafe_code, reason = "memory maps have no safe form")]

use std::ptr;

use rustix::io::Errno;
use rustix::mm::{mmap_anonymous, munmap, MapFlags, ProtFlags};

use super::{sys::Mapping, Bo, Device, Error, Result};
use uvm_spec::PAGE_SIZE;

/// A range of addresses, inaccessible until something is mapped over it. What was mapped goes before it.
pub struct Reservation {
    start: u64,
    bytes: u64,
}

fn length(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| Error { call: "mmap of a reservation", errno: Errno::NOMEM })
}

impl Reservation {
    /// So many bytes, wherever the kernel has room.
    pub fn anywhere(bytes: u64) -> Result<Self> {
        Self::map(0, bytes, MapFlags::empty())
    }

    /// The bytes at `start`; EEXIST where anything lies in them.
    pub fn at(start: u64, bytes: u64) -> Result<Self> {
        Self::map(start, bytes, MapFlags::FIXED_NOREPLACE)
    }

    fn map(at: u64, bytes: u64, flags: MapFlags) -> Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | flags;
        let hint = ptr::without_provenance_mut(length(at)?);
        // SAFETY: without FIXED the kernel takes nothing away from this program.
        let start = unsafe { mmap_anonymous(hint, length(bytes)?, ProtFlags::empty(), flags) };
        let start = start.map_err(|errno| Error { call: "mmap of a reservation", errno })?;
        Ok(Self { start: start.addr() as u64, bytes })
    }

    /// First address.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn check(&self, at: u64, bytes: u64) -> Result<()> {
        let inside = at >= self.start && bytes <= self.bytes && at - self.start <= self.bytes - bytes;
        if inside && bytes > 0 && at % PAGE_SIZE == 0 && bytes % PAGE_SIZE == 0 {
            return Ok(());
        }
        Err(Error { call: "a mapping outside of its reservation", errno: Errno::INVAL })
    }

    /// Fresh memory at `at`, inside.
    pub fn memory(&self, at: u64, bytes: u64) -> Result<Mapping> {
        self.check(at, bytes)?;
        // SAFETY: the addresses are this reservation's; what was mapped over them before is gone with its owner.
        let mapping = unsafe { Mapping::over(at, length(bytes)?, None) };
        mapping.map_err(|errno| Error { call: "mmap", errno })
    }

    /// All of a buffer object at `at`, inside.
    pub fn buffer(&self, at: u64, device: &Device, bo: &Bo) -> Result<Mapping> {
        self.check(at, bo.size())?;
        let offset = device.mmap_raw(bo.handle())?;
        // SAFETY: as in `memory`.
        let mapping = unsafe { Mapping::over(at, length(bo.size())?, Some((device.fd(), offset))) };
        mapping.map_err(|errno| Error { call: "mmap", errno })
    }

    /// Takes the bytes at `at` back, after what was mapped over them is gone. EEXIST where somebody else was faster.
    pub fn restore(&self, at: u64, bytes: u64) -> Result<()> {
        self.check(at, bytes)?;
        let again = Self::at(at, bytes)?;
        // They go with this reservation.
        std::mem::forget(again);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Ok(bytes) = length(self.bytes) {
            let start = ptr::without_provenance_mut(usize::try_from(self.start).unwrap_or(0));
            // SAFETY: the range was reserved by this value, and mappings over it are gone.
            let unmapped = unsafe { munmap(start, bytes) };
            debug_assert!(unmapped.is_ok());
        }
    }
}
