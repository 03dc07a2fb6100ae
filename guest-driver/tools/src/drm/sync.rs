// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Syncobjs, and submissions that wait for and signal them.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{clock_gettime, ClockId};
use uvm_spec::uapi;

use super::{name, sys, Device, Error, Result};
use crate::ib::Ib;

/// DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL
const WAIT_ALL: u32 = 1;

/// How a submission stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FenceState {
    /// It has not ended.
    Active,
    /// It ended well.
    Done,
    /// It failed.
    Failed(Errno),
}

impl fmt::Debug for FenceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::Done => f.write_str("done"),
            Self::Failed(errno) => write!(f, "failed ({errno})"),
        }
    }
}

/// A syncobj; destroyed with the value.
pub struct Syncobj {
    device: Device,
    handle: u32,
}

impl Syncobj {
    /// Creates one without a fence.
    pub fn new(device: &Device) -> Result<Self> {
        let mut arg = sys::SyncCreate::default();
        device.core("DRM_IOCTL_SYNCOBJ_CREATE", 0xbf, &mut arg)?;
        Ok(Self { device: device.clone(), handle: arg.handle })
    }

    /// The handle.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// Waits for its fence; ETIME when `timeout` passes first, EINVAL when there is no fence.
    pub fn wait(&self, timeout: Duration) -> Result<()> {
        let handles = [self.handle];
        let mut arg = sys::SyncWait {
            handles: address(&handles),
            timeout_ns: deadline(timeout),
            count: 1,
            flags: WAIT_ALL,
            ..Default::default()
        };
        self.device.core("DRM_IOCTL_SYNCOBJ_WAIT", 0xc3, &mut arg)
    }

    /// Gives it a fence that has signalled.
    pub fn signal(&self) -> Result<()> {
        let handles = [self.handle];
        self.device.core(
            "DRM_IOCTL_SYNCOBJ_SIGNAL",
            0xc5,
            &mut sys::SyncArray { handles: address(&handles), count: 1, pad: 0 },
        )
    }

    /// How its fence stands.
    pub fn state(&self) -> Result<FenceState> {
        self.export()?.state()
    }

    /// Its fence, which outlives the device.
    pub fn export(&self) -> Result<Fence> {
        // DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE
        let mut arg = sys::SyncHandle { handle: self.handle, flags: 1, fd: -1, pad: 0 };
        self.device.core("DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD", 0xc1, &mut arg)?;
        Ok(Fence(sys::own_fd(arg.fd)))
    }
}

impl Drop for Syncobj {
    fn drop(&mut self) {
        let mut arg = sys::SyncCreate { handle: self.handle, flags: 0 };
        match self.device.core("DRM_IOCTL_SYNCOBJ_DESTROY", 0xc0, &mut arg) {
            // A device that went away took its syncobjs along.
            Ok(()) | Err(Error { errno: Errno::NODEV, .. }) => {}
            Err(error) => eprintln!("# syncobj {}: {error}", self.handle),
        }
    }
}

/// A fence apart from its syncobj.
pub struct Fence(OwnedFd);

impl Fence {
    /// How it stands.
    pub fn state(&self) -> Result<FenceState> {
        let status = name("SYNC_IOC_FILE_INFO", sys::sync_file_info(self.0.as_fd()))?.status;
        Ok(match status {
            0 => FenceState::Active,
            1.. => FenceState::Done,
            failed => FenceState::Failed(Errno::from_raw_os_error(failed.saturating_neg())),
        })
    }
}

/// Address of a slice, as ioctls take it.
pub fn address<T>(slice: &[T]) -> u64 {
    ptr::from_ref(slice).cast::<u8>().addr() as u64
}

/// Absolute CLOCK_MONOTONIC time, in nanoseconds, `from_now`.
fn deadline(from_now: Duration) -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now = now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec);
    now.saturating_add(i64::try_from(from_now.as_nanos()).unwrap_or(i64::MAX))
}

fn count<T>(slice: &[T]) -> Result<u32> {
    u32::try_from(slice.len()).map_err(|_| Error { call: "DRM_UVM_SUBMIT", errno: Errno::OVERFLOW })
}

impl Device {
    /// Runs `ib` on SDMA instance `ring` after the fences of `wait_for`; the syncobjs of `signal` get its fence.
    pub fn submit(&self, ring: u32, ib: &Ib, wait_for: &[&Syncobj], signal: &[&Syncobj]) -> Result<()> {
        let wait_for: Vec<u32> = wait_for.iter().map(|s| s.handle).collect();
        let signal: Vec<u32> = signal.iter().map(|s| s.handle).collect();
        self.submit_raw(&mut uapi::Submit {
            ring,
            flags: 0,
            ib: address(ib.dwords()),
            ib_dwords: count(ib.dwords())?,
            bo_count: count(ib.bos())?,
            bos: address(ib.bos()),
            relocs: address(ib.relocs()),
            reloc_count: count(ib.relocs())?,
            in_sync_count: count(&wait_for)?,
            in_syncs: address(&wait_for),
            out_syncs: address(&signal),
            out_sync_count: count(&signal)?,
            pad: 0,
        })
    }

    /// Runs `ib` and waits `timeout` at most for its end; tells how it ended.
    pub fn run(&self, ring: u32, ib: &Ib, timeout: Duration) -> Result<FenceState> {
        let done = Syncobj::new(self)?;
        self.submit(ring, ib, &[], &[&done])?;
        done.wait(timeout)?;
        done.state()
    }
}
