// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The kernel's face: ioctls and mappings. The only unsafe code of these tools, but for what `memory` adds.
#![allow(unsafe_code, reason = "ioctls and memory maps have no safe form")]

use std::ffi::c_void;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::ioctl::{self, opcode, Ioctl, IoctlOutput, Opcode};
use rustix::mm::{mmap, mmap_anonymous, munmap, MapFlags, ProtFlags};
use uvm_spec::uapi;

/// Group byte of DRM ioctls.
const DRM: u8 = b'd';
/// Group byte of sync file ioctls.
const SYNC_FILE: u8 = b'>';
/// Group byte of the ioctls of the kernel's test of heterogeneous memory management.
const DMIRROR: u8 = b'H';
/// First ioctl number of a driver's own.
pub const COMMAND_BASE: u8 = 0x40;

/// A structure that an ioctl reads and writes.
///
/// # Safety
/// Any bit pattern is a value, there is no padding that matters, and whatever the kernel writes through pointers inside
/// belongs to the caller of [`ioctl_rw`]: here only [`Version`] has such pointers.
pub unsafe trait Argument {}

macro_rules! arguments {
    ($($name:ty),* $(,)?) => { $(
        // SAFETY: integers only; the kernel reads, and never writes, what the pointers of a submission point at; where it
        // writes what that of a GemAccess points at, `Bo::peek` has a slice of its caller's there.
        unsafe impl Argument for $name {}
    )* };
}

arguments!(
    uapi::GetParam,
    uapi::GemCreate,
    uapi::GemMmap,
    uapi::GemInfo,
    uapi::GemMove,
    uapi::GemWait,
    uapi::Submit,
    uapi::Reg,
    uapi::VmBind,
    uapi::FaultQuery,
    uapi::QueueCreate,
    uapi::QueueDestroy,
    uapi::QueueKick,
    uapi::QueueInfo,
    uapi::VmConfig,
    uapi::FaultNext,
    uapi::HangQuery,
    uapi::GemAdvise,
    uapi::GemAccess,
    uapi::SvmConfig,
    uapi::SvmPrefetch,
    uapi::SvmResidency,
    uapi::SvmAdvise,
    uapi::SvmAttributes,
    uapi::SvmEvents,
    GemClose,
    Prime,
    SyncCreate,
    SyncHandle,
    SyncWait,
    SyncArray,
    SyncFileInfo,
    DumbCreate,
    VgemFence,
    VgemSignal,
);

/// `struct drm_gem_close`.
#[repr(C)]
#[derive(Default)]
pub struct GemClose {
    pub handle: u32,
    pub pad: u32,
}

/// `struct drm_prime_handle`.
#[repr(C)]
#[derive(Default)]
pub struct Prime {
    pub handle: u32,
    pub flags: u32,
    pub fd: i32,
}

/// `struct drm_mode_create_dumb`.
#[repr(C)]
#[derive(Default)]
pub struct DumbCreate {
    pub height: u32,
    pub width: u32,
    pub bpp: u32,
    pub flags: u32,
    pub handle: u32,
    pub pitch: u32,
    pub size: u64,
}

/// `struct drm_vgem_fence_attach`.
#[repr(C)]
#[derive(Default)]
pub struct VgemFence {
    pub handle: u32,
    pub flags: u32,
    pub out_fence: u32,
    pub pad: u32,
}

/// `struct drm_vgem_fence_signal`.
#[repr(C)]
#[derive(Default)]
pub struct VgemSignal {
    pub fence: u32,
    pub flags: u32,
}

/// `struct udmabuf_create`.
#[repr(C)]
pub struct UdmabufCreate {
    pub memfd: i32,
    pub flags: u32,
    pub offset: u64,
    pub size: u64,
}

/// `struct dma_heap_allocation_data`.
#[repr(C)]
#[derive(Default)]
pub struct HeapAllocation {
    pub len: u64,
    pub fd: u32,
    pub fd_flags: u32,
    pub heap_flags: u64,
}

/// `struct drm_syncobj_create` and `struct drm_syncobj_destroy`.
#[repr(C)]
#[derive(Default)]
pub struct SyncCreate {
    pub handle: u32,
    pub flags: u32,
}

/// `struct drm_syncobj_handle` without its later additions.
#[repr(C)]
#[derive(Default)]
pub struct SyncHandle {
    pub handle: u32,
    pub flags: u32,
    pub fd: i32,
    pub pad: u32,
}

/// `struct drm_syncobj_wait` without its later additions.
#[repr(C)]
#[derive(Default)]
pub struct SyncWait {
    pub handles: u64,
    pub timeout_ns: i64,
    pub count: u32,
    pub flags: u32,
    pub first_signaled: u32,
    pub pad: u32,
}

/// `struct drm_syncobj_array`: reset and signal.
#[repr(C)]
#[derive(Default)]
pub struct SyncArray {
    pub handles: u64,
    pub count: u32,
    pub pad: u32,
}

/// `struct sync_file_info`.
#[repr(C)]
#[derive(Default)]
pub struct SyncFileInfo {
    pub name: [u8; 32],
    pub status: i32,
    pub flags: u32,
    pub num_fences: u32,
    pub pad: u32,
    pub fences: u64,
}

/// `struct drm_version`.
#[repr(C)]
struct Version {
    numbers: [i32; 3],
    name_len: usize,
    name: *mut u8,
    date_len: usize,
    date: *mut u8,
    desc_len: usize,
    desc: *mut u8,
}

/// An ioctl that reads and writes a `T`.
struct Call<'a, T> {
    opcode: Opcode,
    value: &'a mut T,
}

// SAFETY: the opcode carries T's size, and the pointer is to a T that lives through the call.
unsafe impl<T> Ioctl for Call<'_, T> {
    type Output = ();
    const IS_MUTATING: bool = true;
    fn opcode(&self) -> Opcode {
        self.opcode
    }
    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self.value).cast()
    }
    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

fn call<T>(fd: BorrowedFd<'_>, group: u8, nr: u8, value: &mut T) -> Result<(), Errno> {
    let opcode = opcode::read_write::<T>(group, nr);
    loop {
        // SAFETY: see the implementation of Ioctl; the callers' types are Arguments, or Version with live buffers.
        match unsafe { ioctl::ioctl(fd, Call { opcode, value: &mut *value }) } {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Runs DRM ioctl `nr` on `fd`; interrupted calls are repeated.
pub fn ioctl_rw<T: Argument>(fd: BorrowedFd<'_>, nr: u8, value: &mut T) -> Result<(), Errno> {
    call(fd, DRM, nr, value)
}

/// Argument of the ioctls of /dev/hmm_dmirror*.
#[repr(C)]
#[derive(Default)]
pub struct DmirrorCmd {
    address: u64,
    data: u64,
    pages: u64,
    /// Out: pages dealt with.
    pub done: u64,
    /// Out: page faults of the device.
    pub faults: u64,
}

impl DmirrorCmd {
    /// About `pages` pages of memory at `address`.
    pub fn new(address: u64, pages: u64) -> Self {
        Self { address, pages, ..Self::default() }
    }
}

/// Runs ioctl `nr` of a /dev/hmm_dmirror*; what is read goes to `data`, what is written comes from there: a page's bytes
/// for each page.
pub fn dmirror(fd: BorrowedFd<'_>, nr: u8, cmd: &mut DmirrorCmd, data: &mut [u8]) -> Result<(), Errno> {
    let bytes = cmd.pages.checked_mul(4096).ok_or(Errno::INVAL)?;
    if bytes > data.len() as u64 {
        return Err(Errno::INVAL);
    }
    // The kernel writes no more than that there, and only until the call returns.
    cmd.data = data.as_mut_ptr().expose_provenance() as u64;
    call(fd, DMIRROR, nr, cmd)
}

/// State of a sync file.
pub fn sync_file_info(fd: BorrowedFd<'_>) -> Result<SyncFileInfo, Errno> {
    let mut info = SyncFileInfo::default();
    call(fd, SYNC_FILE, 4, &mut info)?;
    Ok(info)
}

/// A call whose result is a descriptor.
struct FdCall<'a>(&'a mut UdmabufCreate);

// SAFETY: the opcode carries the argument's size, and the pointer is to one that lives through the call.
unsafe impl Ioctl for FdCall<'_> {
    type Output = i32;
    const IS_MUTATING: bool = false;
    fn opcode(&self) -> Opcode {
        opcode::write::<UdmabufCreate>(b'u', 0x42)
    }
    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self.0).cast()
    }
    unsafe fn output_from_ptr(fd: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(fd)
    }
}

/// Makes a dma-buf of a memfd's pages.
pub fn udmabuf_create(fd: BorrowedFd<'_>, arg: &mut UdmabufCreate) -> Result<OwnedFd, Errno> {
    // SAFETY: see the implementation of Ioctl; the kernel reads integers.
    let made = unsafe { ioctl::ioctl(fd, FdCall(arg))? };
    Ok(own_fd(made))
}

/// Makes a dma-buf of a heap's pages.
pub fn heap_allocate(fd: BorrowedFd<'_>, arg: &mut HeapAllocation) -> Result<(), Errno> {
    call(fd, b'H', 0, arg)
}

/// Name of the driver behind a DRM node (DRM_IOCTL_VERSION).
pub fn driver_name(fd: BorrowedFd<'_>) -> Result<String, Errno> {
    let mut name = [0_u8; 64];
    let none = ptr::null_mut();
    let mut version = Version {
        numbers: [0; 3],
        name_len: name.len(),
        name: name.as_mut_ptr(),
        date_len: 0,
        date: none,
        desc_len: 0,
        desc: none,
    };
    call(fd, DRM, 0x00, &mut version)?;
    let length = version.name_len.min(name.len());
    Ok(String::from_utf8_lossy(name.get(..length).unwrap_or_default()).into_owned())
}

/// Takes a descriptor that the kernel just made.
pub fn own_fd(fd: i32) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the caller got the number from an ioctl that created the descriptor for it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A shared mapping of a file. Other processes and the device change the memory at will, so it is only copied from and
/// to, never borrowed.
pub struct Mapping {
    pub(super) start: NonNull<u8>,
    pub(super) length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread. It is not Sync: bulk copies by two threads would race.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `length` bytes of `fd` from `offset`, to read and write.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, length: usize) -> Result<Self, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of this program.
        let start =
            unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, offset)? };
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { start, length })
    }

    /// Maps `length` bytes at address `at`: of `fd` from `offset`, or fresh memory.
    ///
    /// # Safety
    /// The addresses belong to the caller, and nothing refers to what is there.
    pub(super) unsafe fn over(at: u64, length: usize, file: Option<(BorrowedFd<'_>, u64)>) -> Result<Self, Errno> {
        let (access, at) =
            (ProtFlags::READ | ProtFlags::WRITE, ptr::without_provenance_mut(usize::try_from(at).unwrap_or(0)));
        // SAFETY: as the caller says.
        let start = unsafe {
            match file {
                Some((fd, offset)) => mmap(at, length, access, MapFlags::SHARED | MapFlags::FIXED, fd, offset)?,
                None => mmap_anonymous(at, length, access, MapFlags::PRIVATE | MapFlags::FIXED)?,
            }
        };
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { start, length })
    }

    /// A huge page of memory, at hand and not swapped: it stays where it is.
    pub fn huge() -> Result<Self, Errno> {
        let length = 2 << 20;
        let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB | MapFlags::POPULATE;
        // SAFETY: as in `new`.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags)? };
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { start, length })
    }

    /// Physical address of its first page; zero where the kernel does not tell.
    pub fn physical(&self) -> std::io::Result<u64> {
        use std::os::unix::fs::FileExt;
        let page = self.start.as_ptr().addr() as u64 / 4096;
        let mut entry = [0; 8];
        std::fs::File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, 8 * page)?;
        // Bits 54:0 are the page's number.
        Ok((u64::from_le_bytes(entry) & ((1 << 55) - 1)) * 4096)
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    fn at(&self, offset: usize, length: usize) -> *mut u8 {
        let end = offset.checked_add(length);
        assert!(
            end.is_some_and(|end| end <= self.length),
            "{length} bytes at {offset} lie outside of a map of {}",
            self.length
        );
        // SAFETY: offset <= length of the mapping, as just checked.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// Copies from the mapping. Panics outside of it.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        // SAFETY: `at` checked the range; `to` is memory of this program, the mapping is not, so they do not overlap.
        unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) }
    }

    /// Copies into the mapping. Panics outside of it.
    pub fn write(&self, offset: usize, from: &[u8]) {
        let to = self.at(offset, from.len());
        // SAFETY: as in `read`.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset % 8 == 0, "{offset} is not a multiple of 8");
        // SAFETY: in range and aligned (maps start on pages); the memory lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8).cast()) }
    }

    /// Reads an aligned 64-bit word at once; other threads and the device may write it meanwhile.
    pub fn load(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Writes an aligned 64-bit word at once.
    pub fn store(&self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::Release);
    }

    /// Adds to an aligned 64-bit word in one step.
    pub fn add(&self, offset: usize, value: u64) {
        self.word(offset).fetch_add(value, Ordering::SeqCst);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok());
    }
}
