// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Addresses of this process that nothing lies at and nobody else gets.
#![allow(unsafe_code, reason = "memory maps have no safe form")]

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::mm::{mmap_anonymous, munmap, MapFlags, ProtFlags};

use super::{sys::Mapping, Bo, Device, Error, Result};
use uvm_spec::PAGE_SIZE;

/// A range of addresses, inaccessible until something is mapped over it.
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
    pub fn memory(self: &Rc<Self>, at: u64, bytes: u64) -> Result<Placed> {
        self.place(at, bytes, None)
    }

    /// All of a buffer object at `at`, inside.
    pub fn buffer(self: &Rc<Self>, at: u64, device: &Device, bo: &Bo) -> Result<Placed> {
        let offset = device.mmap_raw(bo.handle())?;
        self.place(at, bo.size(), Some((device.fd(), offset)))
    }

    fn place(self: &Rc<Self>, at: u64, bytes: u64, file: Option<(BorrowedFd<'_>, u64)>) -> Result<Placed> {
        self.check(at, bytes)?;
        // SAFETY: the addresses are this reservation's; what was mapped over them before is gone with its owner.
        let map = unsafe { Mapping::over(at, length(bytes)?, file) };
        let map = map.map_err(|errno| Error { call: "mmap over a reservation", errno })?;
        Ok(Placed { map: ManuallyDrop::new(map), at, reservation: Rc::clone(self) })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Ok(bytes) = length(self.bytes) {
            let start = ptr::without_provenance_mut(usize::try_from(self.start).unwrap_or(0));
            // SAFETY: the range was reserved by this value, and what was mapped over it held it until it went.
            let unmapped = unsafe { munmap(start, bytes) };
            debug_assert!(unmapped.is_ok());
        }
    }
}

/// What was mapped over part of a reservation. When it goes, the reservation has the addresses again, and at no moment
/// has nobody: another thread would get them.
pub struct Placed {
    map: ManuallyDrop<Mapping>,
    at: u64,
    reservation: Rc<Reservation>,
}

impl Deref for Placed {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.map
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        let at = ptr::without_provenance_mut(usize::try_from(self.at).unwrap_or(0));
        // SAFETY: the range is this value's, and no reference into it outlives it.
        let back = unsafe { mmap_anonymous(at, self.map.len(), ProtFlags::empty(), flags) };
        if let Err(errno) = back {
            eprintln!("# memory at {:#x} stays mapped: {errno}", self.at);
            // And its addresses reserved.
            std::mem::forget(Rc::clone(&self.reservation));
        }
    }
}
