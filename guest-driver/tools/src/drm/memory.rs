// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory of this process of all kinds, and what a process does with it: for a device that mirrors it.
#![allow(unsafe_code, reason = "memory maps have no safe form")]

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::mm::{
    madvise, mmap, mmap_anonymous, mprotect, mremap_fixed, munmap, Advice, MapFlags, MprotectFlags, MremapFlags,
    ProtFlags,
};

use super::sys::Mapping;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of a huge page.
pub const HUGE: usize = 2 << 20;

const RW: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// What the process may do with its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Nothing.
    Nothing,
    /// Read.
    Read,
    /// Read and write.
    ReadWrite,
}

impl Mapping {
    /// Private memory that nobody has touched, without huge pages.
    pub fn private(length: usize) -> Result<Self, Errno> {
        let map = Self::anonymous(length, MapFlags::PRIVATE)?;
        map.advise(0, length, Advice::LinuxNoHugepage)?;
        Ok(map)
    }

    /// Memory that a child shares.
    pub fn shared(length: usize) -> Result<Self, Errno> {
        Self::anonymous(length, MapFlags::SHARED)
    }

    fn anonymous(length: usize, flags: MapFlags) -> Result<Self, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of this program.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, RW, flags)? };
        Self::at_hand(start, length)
    }

    /// A file, shared with all who map it, or private to this process: what is written stays here then.
    pub fn file(fd: BorrowedFd<'_>, length: usize, private: bool) -> Result<Self, Errno> {
        let flags = if private { MapFlags::PRIVATE } else { MapFlags::SHARED };
        // SAFETY: as in `anonymous`.
        let start = unsafe { mmap(ptr::null_mut(), length, RW, flags, fd, 0)? };
        Self::at_hand(start, length)
    }

    /// Private memory at an address that is a multiple of a huge page, where the kernel is asked for huge pages.
    pub fn transparent(length: usize) -> Result<Self, Errno> {
        let wide = Self::anonymous(length + HUGE, MapFlags::PRIVATE)?;
        let skip = wide.va().next_multiple_of(HUGE as u64) - wide.va();
        let skip = usize::try_from(skip).map_err(|_| Errno::OVERFLOW)?;
        let start = NonNull::new(wide.start.as_ptr().wrapping_add(skip)).ok_or(Errno::NOMEM)?;
        // The rest at either side stays for the program's life: address space is all it costs.
        std::mem::forget(wide);
        let map = Self { start, length };
        map.advise(0, length, Advice::LinuxHugepage)?;
        Ok(map)
    }

    fn at_hand(start: *mut std::ffi::c_void, length: usize) -> Result<Self, Errno> {
        Ok(Self { start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?, length })
    }

    /// Its address: what a device that mirrors the process calls it, too.
    pub fn va(&self) -> u64 {
        self.start.as_ptr().addr() as u64
    }

    fn part(&self, offset: usize, length: usize) -> *mut std::ffi::c_void {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.length);
        assert!(inside && offset % PAGE == 0, "{length} bytes at {offset} of {}", self.length);
        self.start.as_ptr().wrapping_add(offset).cast()
    }

    /// Changes what the process may do with a part. The device may do no more.
    pub fn protect(&self, offset: usize, length: usize, may: May) -> Result<(), Errno> {
        let flags = match may {
            May::Nothing => MprotectFlags::empty(),
            May::Read => MprotectFlags::READ,
            May::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
        };
        // SAFETY: the part is this mapping's, into which no reference exists; who then accesses it wrongly dies.
        unsafe { mprotect(self.part(offset, length), length, flags) }
    }

    /// Tells the kernel about a part.
    pub fn advise(&self, offset: usize, length: usize, advice: Advice) -> Result<(), Errno> {
        // SAFETY: as in `protect`; what the advice does to the content, users of a mapping expect at any time.
        unsafe { madvise(self.part(offset, length), length, advice) }
    }

    /// Has the kernel make huge pages of a part now, of whatever pages it has.
    pub fn collapse(&self, offset: usize, length: usize) -> Result<(), Errno> {
        // SAFETY: as in `protect`; the content stays.
        let failed = unsafe { libc::madvise(self.part(offset, length), length, libc::MADV_COLLAPSE) } != 0;
        if failed {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
        }
        Ok(())
    }

    /// Unmaps a part; it must not be accessed any more. Nothing else is mapped there by this program but by
    /// [`Mapping::map_again`].
    pub fn unmap(&self, offset: usize, length: usize) -> Result<(), Errno> {
        // SAFETY: as in `protect`.
        unsafe { munmap(self.part(offset, length), length) }
    }

    /// New private memory in the place of a part, of which nothing is left.
    pub fn map_again(&self, offset: usize, length: usize) -> Result<(), Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: the part is this mapping's, into which no reference exists.
        unsafe { mmap_anonymous(self.part(offset, length), length, RW, flags)? };
        Ok(())
    }

    /// Moves the memory of a part to a part of another mapping, whose memory goes; nothing is left where it was.
    pub fn move_to(&self, offset: usize, length: usize, to: &Self, at: usize) -> Result<(), Errno> {
        let (from, to) = (self.part(offset, length), to.part(at, length));
        // SAFETY: both parts are of mappings, into which no reference exists.
        unsafe { mremap_fixed(from, length, length, MremapFlags::MAYMOVE, to)? };
        Ok(())
    }
}

/// A mapping for several threads: of it only words, each at once.
#[derive(Clone)]
pub struct Words(Arc<Shared>);

struct Shared(Mapping);

// SAFETY: words are atomic, and `Words` gives nothing else.
unsafe impl Sync for Shared {}

impl Words {
    /// A mapping's.
    pub fn of(map: Mapping) -> Self {
        Self(Arc::new(Shared(map)))
    }

    /// As [`Mapping::va`].
    pub fn va(&self) -> u64 {
        self.0 .0.va()
    }

    /// As [`Mapping::load`].
    pub fn load(&self, offset: usize) -> u64 {
        self.0 .0.load(offset)
    }

    /// As [`Mapping::store`].
    pub fn store(&self, offset: usize, value: u64) {
        self.0 .0.store(offset, value);
    }

    /// As [`Mapping::add`].
    pub fn add(&self, offset: usize, value: u64) {
        self.0 .0.add(offset, value);
    }

    /// As [`Mapping::advise`], of all of it.
    pub fn advise(&self, advice: Advice) -> Result<(), Errno> {
        self.0 .0.advise(0, self.0 .0.len(), advice)
    }

    /// As [`Mapping::collapse`], of all of it.
    pub fn collapse(&self) -> Result<(), Errno> {
        self.0 .0.collapse(0, self.0 .0.len())
    }

    /// As [`Mapping::protect`], of all of it.
    pub fn protect(&self, may: May) -> Result<(), Errno> {
        self.0 .0.protect(0, self.0 .0.len(), may)
    }
}

/// A copy of this process that shares memory with it as a forked child does, runs `child` and is gone.
///
/// `child` must do with loads and stores of mappings. Blocks until the child is gone: something for a thread.
pub fn forked(child: impl FnMut() + Send + Sync + 'static) {
    use std::os::unix::process::CommandExt;
    let mut child = child;
    let mut command = std::process::Command::new("/nonexistent");
    // SAFETY: by its contract the closure allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            child();
            // Then there is nothing to execute.
            Err(Errno::CANCELED.into())
        });
    }
    drop(command.spawn());
}
