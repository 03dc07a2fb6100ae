// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Buffer objects.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use uvm_spec::uapi::{self, nr};

use super::{name, sys, Device, Error, Mapping, Result};

/// Where a buffer object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Pages that only the CPU reaches.
    System,
    /// System pages in the GART.
    Gtt,
    /// VRAM.
    Vram,
}

impl Domain {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::System, Self::Gtt, Self::Vram];
    /// Those that the GPU reaches.
    pub const GPU: [Self; 2] = [Self::Gtt, Self::Vram];

    /// The ABI's number.
    pub const fn number(self) -> u32 {
        match self {
            Self::System => uapi::DOMAIN_SYSTEM,
            Self::Gtt => uapi::DOMAIN_GTT,
            Self::Vram => uapi::DOMAIN_VRAM,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::System => "SYSTEM",
            Self::Gtt => "GTT",
            Self::Vram => "VRAM",
        })
    }
}

/// A buffer object; its handle is closed with it.
pub struct Bo {
    device: Device,
    handle: u32,
    size: u64,
}

impl Bo {
    /// Creates one of at least `size` bytes.
    pub fn new(device: &Device, size: u64, domain: Domain) -> Result<Self> {
        let mut arg = uapi::GemCreate { size, domain: domain.number(), ..Default::default() };
        device.create_raw(&mut arg)?;
        Ok(Self { device: device.clone(), handle: arg.handle, size: arg.size })
    }

    /// Creates a pageable one, which is best used in `domain`.
    pub fn pageable(device: &Device, size: u64, domain: Domain) -> Result<Self> {
        Self::pageable_as(device, size, domain, 0)
    }

    /// The same with further `uapi::GEM_*` flags.
    pub fn pageable_as(device: &Device, size: u64, domain: Domain, flags: u32) -> Result<Self> {
        let flags = uapi::GEM_PAGEABLE | flags;
        let mut arg = uapi::GemCreate { size, domain: domain.number(), flags, ..Default::default() };
        device.create_raw(&mut arg)?;
        Ok(Self { device: device.clone(), handle: arg.handle, size: arg.size })
    }

    /// Says whether the content of a pageable one is needed; tells whether it is still there.
    pub fn advise(&self, advice: u32) -> Result<bool> {
        let mut arg = uapi::GemAdvise { handle: self.handle, advice, ..Default::default() };
        self.device.command("DRM_UVM_GEM_ADVISE", nr::GEM_ADVISE, &mut arg)?;
        Ok(arg.retained == 1)
    }

    /// Reads bytes from `offset` on, wherever they are.
    pub fn peek(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        let (size, data) = (to.len() as u64, to.as_mut_ptr().expose_provenance() as u64);
        self.access(&mut uapi::GemAccess { handle: self.handle, flags: 0, offset, size, data })
    }

    /// The same into a mapping, from byte `at` of it on. Panics outside of it.
    pub fn peek_into(&self, offset: u64, to: &Mapping, at: usize, bytes: usize) -> Result<()> {
        assert!(at.checked_add(bytes).is_some_and(|end| end <= to.len()));
        let data = to.va() + at as u64;
        let arg = uapi::GemAccess { handle: self.handle, flags: 0, offset, size: bytes as u64, data };
        self.access(&mut { arg })
    }

    /// Writes bytes from `offset` on, wherever they are.
    pub fn poke(&self, offset: u64, from: &[u8]) -> Result<()> {
        let (size, data) = (from.len() as u64, from.as_ptr().expose_provenance() as u64);
        self.access(&mut uapi::GemAccess { handle: self.handle, flags: uapi::ACCESS_WRITE, offset, size, data })
    }

    fn access(&self, arg: &mut uapi::GemAccess) -> Result<()> {
        self.device.command("DRM_UVM_GEM_ACCESS", nr::GEM_ACCESS, arg)
    }

    /// The GEM handle.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// Bytes, a multiple of the page size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the driver says of it.
    pub fn info(&self) -> Result<uapi::GemInfo> {
        self.device.info_raw(self.handle)
    }

    /// Where it is.
    pub fn domain(&self) -> Result<Domain> {
        let domain = self.info()?.domain;
        let known = Domain::ALL.into_iter().find(|d| d.number() == domain);
        known.ok_or(Error { call: "DRM_UVM_GEM_INFO (domain)", errno: Errno::RANGE })
    }

    /// Moves it by SDMA instance `ring`; returns when the data is there.
    pub fn move_to(&self, domain: Domain, ring: u32) -> Result<()> {
        self.device.move_raw(&mut uapi::GemMove { handle: self.handle, domain: domain.number(), flags: 0, ring })
    }

    /// Waits until it is idle, `timeout_ns` at most; negative: for ever.
    pub fn wait(&self, timeout_ns: i64) -> Result<()> {
        self.device.wait_raw(&mut uapi::GemWait { handle: self.handle, flags: 0, timeout_ns })
    }

    /// Maps all of it.
    pub fn map(&self) -> Result<Mapping> {
        let offset = self.device.mmap_raw(self.handle)?;
        let length = usize::try_from(self.size).map_err(|_| Error { call: "mmap", errno: Errno::NOMEM })?;
        name("mmap", Mapping::new(self.device.fd(), offset, length))
    }

    /// Exports it as a dma-buf.
    pub fn export(&self) -> Result<OwnedFd> {
        // DRM_RDWR | DRM_CLOEXEC
        let mut arg = sys::Prime { handle: self.handle, flags: 0o2_000_002, fd: -1 };
        self.device.core("DRM_IOCTL_PRIME_HANDLE_TO_FD", 0x2d, &mut arg)?;
        Ok(sys::own_fd(arg.fd))
    }

    /// Imports a dma-buf that this client has not imported yet.
    pub fn import(device: &Device, dma_buf: &OwnedFd) -> Result<Self> {
        let handle = device.import_raw(dma_buf)?;
        let size = device.info_raw(handle)?.size;
        Ok(Self { device: device.clone(), handle, size })
    }
}

impl Device {
    /// The handle of a dma-buf: a new one, or the one that this client has for it.
    pub fn import_raw(&self, dma_buf: &OwnedFd) -> Result<u32> {
        let mut arg = sys::Prime { handle: 0, flags: 0, fd: dma_buf.as_raw_fd() };
        self.core("DRM_IOCTL_PRIME_FD_TO_HANDLE", 0x2e, &mut arg)?;
        Ok(arg.handle)
    }
}

impl Drop for Bo {
    fn drop(&mut self) {
        match self.device.close(self.handle) {
            // A device that went away took its handles along.
            Ok(()) | Err(Error { errno: Errno::NODEV, .. }) => {}
            Err(error) => eprintln!("# handle {}: {error}", self.handle),
        }
    }
}
