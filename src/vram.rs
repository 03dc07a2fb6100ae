// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! VRAM: a memfd that the device maps and a transport can hand to the front end, or a part of system memory (UMA).

mod poison;

use crate::gmc::tmz::Cipher;
use poison::Poison;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use thiserror::Error;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MmapRegion, VolatileMemory,
    VolatileSlice,
};

/// Granule of VRAM's size, bytes: the unit of the FB aperture registers.
pub const GRANULE: u64 = 16 << 20;

/// Why VRAM cannot be made.
#[derive(Debug, Error)]
pub enum VramError {
    /// The size is zero or no multiple of the granule.
    #[error("VRAM of {0} bytes: the size must be a multiple of 16 MiB")]
    Size(u64),
    /// A carve-out does not start on a granule.
    #[error("VRAM at {0:#x}: it must start at a multiple of 16 MiB")]
    Base(u64),
    /// The kernel gave no memory.
    #[error("VRAM of {size} bytes: {source}")]
    Memory {
        /// Bytes asked for.
        size: u64,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The kernel gave no mapping.
    #[error("mapping VRAM of {size} bytes: {source}")]
    Map {
        /// Bytes asked for.
        size: u64,
        /// What failed.
        source: vm_memory::mmap::MmapRegionError,
    },
}

/// What VRAM is made of.
#[derive(Debug)]
enum Backing {
    /// Memory of its own, which a front end can map as the VRAM BAR.
    Own { file: File, map: MmapRegion },
    /// Part of system memory (UMA): from this bus address, or by [`highest`].
    Carveout(Option<u64>),
}

/// System memory below this is reached by every engine and every guest kernel.
const LOW_END: u64 = 1 << 32;

/// Video memory. It survives a reset.
#[derive(Debug)]
pub struct Vram {
    backing: Backing,
    size: u64,
    cipher: Cipher,
    poison: Poison,
}

impl Vram {
    /// VRAM of its own, of `size` bytes, a multiple of [`GRANULE`]; zeroed at first.
    pub fn new(size: u64) -> Result<Self, VramError> {
        let len = usize::try_from(size).map_err(|_| VramError::Size(size))?;
        let vram = Self::carveout(size, None)?;
        let file = memfd().and_then(|f| f.set_len(size).map(|()| f));
        let file = file.map_err(|source| VramError::Memory { size, source })?;
        let ours = file.try_clone().map_err(|source| VramError::Memory { size, source })?;
        let map =
            MmapRegion::from_file(FileOffset::new(ours, 0), len).map_err(|source| VramError::Map { size, source })?;
        Ok(Self { backing: Backing::Own { file, map }, ..vram })
    }
    /// VRAM that is `size` bytes of system memory at bus address `base`; without one, as high below 4 GiB as it fits with
    /// a granule above it, where a PC's firmware leaves its tables.
    pub fn carveout(size: u64, base: Option<u64>) -> Result<Self, VramError> {
        if size == 0 || size % GRANULE != 0 {
            return Err(VramError::Size(size));
        }
        if let Some(base) = base.filter(|b| b % GRANULE != 0) {
            return Err(VramError::Base(base));
        }
        let cipher = Cipher::random().map_err(|source| VramError::Memory { size, source })?;
        Ok(Self { backing: Backing::Carveout(base), size, cipher, poison: Poison::default() })
    }
    /// The memfd: what a front end maps as the VRAM BAR. None where VRAM is part of system memory.
    pub fn file(&self) -> Option<&File> {
        match &self.backing {
            Backing::Own { file, .. } => Some(file),
            Backing::Carveout(_) => None,
        }
    }
    /// Where in system memory VRAM lies: bus address. None where it has memory of its own, or `system` has not all of
    /// the carve-out.
    pub fn base(&self, system: &GuestMemoryMmap) -> Option<u64> {
        match self.backing {
            Backing::Own { .. } => None,
            Backing::Carveout(Some(base)) => lies_in(system, base, self.size).then_some(base),
            Backing::Carveout(None) => highest(system, self.size),
        }
    }
    /// Why [`Vram::base`] gives nothing, where VRAM is meant to be part of `system`.
    pub fn why_nowhere(&self, system: &GuestMemoryMmap) -> Option<String> {
        let Backing::Carveout(base) = self.backing else { return None };
        if self.base(system).is_some() {
            return None;
        }
        let wanted = match base {
            Some(base) => format!("{} MiB at {base:#x}", self.size >> 20),
            None => format!("{} MiB below 4 GiB", self.size >> 20),
        };
        let has: Vec<String> =
            system.iter().map(|r| format!("{:#x}-{:#x}", r.start_addr().0, r.last_addr().0)).collect();
        let has = if has.is_empty() { "none".into() } else { has.join(", ") };
        Some(format!("the guest has no VRAM: the carve-out of {wanted} is not in its memory ({has})"))
    }
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// The same with another key of TMZ pages.
    pub fn with_key(self, key: &[u8; 32]) -> Self {
        Self { cipher: Cipher::new(key), ..self }
    }
    /// Page `page` has an uncorrectable error from now on.
    pub fn poison(&self, page: u64) {
        self.poison.add(page);
    }
    /// All pages are sound again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }
    /// Whether any page has an uncorrectable error.
    #[inline(always)]
    pub fn has_poison(&self) -> bool {
        self.poison.any()
    }
    /// Bytes from `offset` on, at most `len`, that come before the first page with an error.
    pub fn sound(&self, offset: u64, len: usize) -> usize {
        self.poison.sound(offset, len)
    }
    /// What encrypts TMZ pages.
    pub fn cipher(&self) -> &Cipher {
        &self.cipher
    }
    /// At most `len` bytes from `offset` of VRAM of its own; none where it ends before.
    pub fn slice(&self, offset: u64, len: usize) -> Option<VolatileSlice<'_>> {
        let Backing::Own { map, .. } = &self.backing else { return None };
        let rest = usize::try_from(self.size.checked_sub(offset)?).ok()?;
        let len = len.min(rest);
        (len > 0).then(|| map.get_slice(usize::try_from(offset).ok()?, len).ok())?
    }
}

/// Whether one region of `system` has all of the `size` bytes at `base`.
fn lies_in(system: &GuestMemoryMmap, base: u64, size: u64) -> bool {
    let Some(last) = size.checked_sub(1).and_then(|n| base.checked_add(n)) else { return false };
    system.find_region(GuestAddress(base)).is_some_and(|region| last <= region.last_addr().0)
}

/// The highest place below 4 GiB for `size` bytes and a granule above them.
fn highest(system: &GuestMemoryMmap, size: u64) -> Option<u64> {
    let place = |region: &vm_memory::GuestRegionMmap| {
        let end = region.start_addr().0.checked_add(region.len())?.min(LOW_END);
        let base = (end & !(GRANULE - 1)).checked_sub(GRANULE)?.checked_sub(size)?;
        (base >= region.start_addr().0).then_some(base)
    };
    system.iter().filter_map(place).max()
}

#[allow(unsafe_code, reason = "memfd_create has no safe wrapper in std")]
fn memfd() -> std::io::Result<File> {
    // SAFETY: the name is a NUL-terminated string; the call has no other precondition.
    let fd = unsafe { libc::memfd_create(c"uvm-vram".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else owns it.
    let file = unsafe { File::from_raw_fd(fd) };
    debug_assert_eq!(file.as_raw_fd(), fd);
    Ok(file)
}
