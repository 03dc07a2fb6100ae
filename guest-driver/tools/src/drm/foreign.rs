// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Buffers that are not the driver's: of vgem, of a memfd, of the kernel's dma-heap. Shared as dma-bufs.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::{name, sys, Error, Mapping, Result};

/// DRM_RDWR | DRM_CLOEXEC, and O_RDWR | O_CLOEXEC.
const SHARED: u32 = 0o2_000_002;
/// VGEM_FENCE_WRITE
const WRITE: u32 = 1;
/// Vgem's own ioctls.
const FENCE_ATTACH: u8 = sys::COMMAND_BASE + 1;
const FENCE_SIGNAL: u8 = sys::COMMAND_BASE + 2;

/// An open node of vgem, a driver of buffers without hardware. Clones share it.
#[derive(Clone)]
pub struct Vgem(Rc<File>);

impl Vgem {
    /// Opens it; `None` where the module is not loaded.
    pub fn open() -> Option<Self> {
        // Its buffers are made through the card's node only.
        let files = (0..64)
            .filter_map(|minor| OpenOptions::new().read(true).write(true).open(format!("/dev/dri/card{minor}")).ok());
        let of_vgem = |file: &File| sys::driver_name(file.as_fd()).is_ok_and(|name| name == "vgem");
        let mut files = files;
        files.find(of_vgem).map(|file| Self(Rc::new(file)))
    }

    fn call<T: sys::Argument>(&self, what: &'static str, number: u8, value: &mut T) -> Result<()> {
        name(what, sys::ioctl_rw(self.0.as_fd(), number, value))
    }

    /// A buffer of `pages` pages.
    pub fn create(&self, pages: u32) -> Result<VgemBo> {
        let mut arg = sys::DumbCreate { height: pages, width: 1024, bpp: 32, ..Default::default() };
        self.call("DRM_IOCTL_MODE_CREATE_DUMB", 0xb2, &mut arg)?;
        Ok(VgemBo { vgem: self.clone(), handle: arg.handle, size: arg.size })
    }

    /// A buffer of the dma-buf `fd`, which has `size` bytes.
    pub fn import(&self, fd: &OwnedFd, size: u64) -> Result<VgemBo> {
        let mut arg = sys::Prime { handle: 0, flags: 0, fd: fd.as_raw_fd() };
        self.call("DRM_IOCTL_PRIME_FD_TO_HANDLE (vgem)", 0x2e, &mut arg)?;
        Ok(VgemBo { vgem: self.clone(), handle: arg.handle, size })
    }

    /// Ends a fence.
    pub fn signal(&self, fence: u32) -> Result<()> {
        self.call("DRM_IOCTL_VGEM_FENCE_SIGNAL", FENCE_SIGNAL, &mut sys::VgemSignal { fence, flags: 0 })
    }
}

/// A buffer of vgem; its handle is closed with it.
pub struct VgemBo {
    vgem: Vgem,
    handle: u32,
    size: u64,
}

impl VgemBo {
    /// As a dma-buf.
    pub fn export(&self) -> Result<OwnedFd> {
        let mut arg = sys::Prime { handle: self.handle, flags: SHARED, fd: -1 };
        self.vgem.call("DRM_IOCTL_PRIME_HANDLE_TO_FD (vgem)", 0x2d, &mut arg)?;
        Ok(sys::own_fd(arg.fd))
    }

    /// Maps all of it, as the driver that made it maps its buffers.
    pub fn map(&self) -> Result<Mapping> {
        let length = usize::try_from(self.size).map_err(|_| Error { call: "mmap", errno: Errno::NOMEM })?;
        map(&self.export()?, length)
    }

    /// Puts a fence on it that the caller ends; EBUSY while another is in the way. Vgem ends it itself after 10 s.
    pub fn fence(&self, write: bool) -> Result<u32> {
        let flags = if write { WRITE } else { 0 };
        let mut arg = sys::VgemFence { handle: self.handle, flags, ..Default::default() };
        self.vgem.call("DRM_IOCTL_VGEM_FENCE_ATTACH", FENCE_ATTACH, &mut arg)?;
        Ok(arg.out_fence)
    }
}

impl Drop for VgemBo {
    fn drop(&mut self) {
        let closed = self.vgem.call("DRM_IOCTL_GEM_CLOSE", 0x09, &mut sys::GemClose { handle: self.handle, pad: 0 });
        if let Err(error) = closed {
            eprintln!("# handle {}: {error}", self.handle);
        }
    }
}

/// A dma-buf of `size` bytes of a memfd of its own, and that.
pub fn of_memfd(size: u64) -> Result<(OwnedFd, OwnedFd)> {
    let memfd = name("memfd_create", memfd_create("uvm-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))?;
    name("ftruncate", rustix::fs::ftruncate(&memfd, size))?;
    name("F_ADD_SEALS", fcntl_add_seals(&memfd, SealFlags::SHRINK))?;
    let device = node("/dev/udmabuf")?;
    let mut arg = sys::UdmabufCreate { memfd: memfd.as_raw_fd(), flags: 1, offset: 0, size };
    let dma_buf = name("UDMABUF_CREATE", sys::udmabuf_create(device.as_fd(), &mut arg))?;
    Ok((dma_buf, memfd))
}

/// A dma-buf of `size` bytes of the kernel's own pages.
pub fn of_heap(size: u64) -> Result<OwnedFd> {
    let device = node("/dev/dma_heap/system")?;
    let mut arg = sys::HeapAllocation { len: size, fd_flags: SHARED, ..Default::default() };
    name("DMA_HEAP_IOCTL_ALLOC", sys::heap_allocate(device.as_fd(), &mut arg))?;
    Ok(sys::own_fd(i32::try_from(arg.fd).unwrap_or(-1)))
}

/// Maps the first `length` bytes of a dma-buf.
pub fn map(fd: &OwnedFd, length: usize) -> Result<Mapping> {
    name("mmap (dma-buf)", Mapping::new(fd.as_fd(), 0, length))
}

fn node(path: &'static str) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.map_err(|error| Error { call: path, errno: Errno::from_io_error(&error).unwrap_or(Errno::IO) })
}
