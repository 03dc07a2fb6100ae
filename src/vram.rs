// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! VRAM: a memfd that the device maps and a transport can hand to the front end.

use crate::gmc::tmz::Cipher;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use thiserror::Error;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

/// Granule of VRAM's size, bytes: the unit of the FB aperture registers.
pub const GRANULE: u64 = 16 << 20;

/// Why VRAM cannot be made.
#[derive(Debug, Error)]
pub enum VramError {
    /// The size is zero or no multiple of the granule.
    #[error("VRAM of {0} bytes: the size must be a multiple of 16 MiB")]
    Size(u64),
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

/// Video memory, zeroed at first. It survives a reset.
#[derive(Debug)]
pub struct Vram {
    file: File,
    map: MmapRegion,
    size: u64,
    cipher: Cipher,
}

impl Vram {
    /// VRAM of `size` bytes, a multiple of [`GRANULE`].
    pub fn new(size: u64) -> Result<Self, VramError> {
        if size == 0 || size % GRANULE != 0 {
            return Err(VramError::Size(size));
        }
        let len = usize::try_from(size).map_err(|_| VramError::Size(size))?;
        let cipher = Cipher::random().map_err(|source| VramError::Memory { size, source })?;
        let file = memfd().and_then(|f| f.set_len(size).map(|()| f));
        let file = file.map_err(|source| VramError::Memory { size, source })?;
        let ours = file.try_clone().map_err(|source| VramError::Memory { size, source })?;
        let map =
            MmapRegion::from_file(FileOffset::new(ours, 0), len).map_err(|source| VramError::Map { size, source })?;
        Ok(Self { file, map, size, cipher })
    }
    /// The memfd: what a front end maps as the VRAM BAR.
    pub fn file(&self) -> &File {
        &self.file
    }
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// What encrypts TMZ pages.
    pub fn cipher(&self) -> &Cipher {
        &self.cipher
    }
    /// At most `len` bytes from `offset`; none where VRAM ends before.
    pub fn slice(&self, offset: u64, len: usize) -> Option<VolatileSlice<'_>> {
        let rest = usize::try_from(self.size.checked_sub(offset)?).ok()?;
        let len = len.min(rest);
        (len > 0).then(|| self.map.get_slice(usize::try_from(offset).ok()?, len).ok())?
    }
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
