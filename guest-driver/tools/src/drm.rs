// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A small library over the driver's render node: device, buffer objects, syncobjs, submissions.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;
use uvm_spec::uapi::{self, nr};

mod bo;
pub mod foreign;
mod memory;
mod queue;
mod reserve;
mod svm;
mod sync;
mod sys;
mod vm;

pub use bo::{Bo, Domain};
pub use memory::{forked, May, Words, HUGE};
pub use queue::Queue;
pub use reserve::{Placed, Reservation};
pub use svm::Mirror;
pub use sync::{address, Fence, FenceState, Syncobj};
pub use sys::{dmirror, DmirrorCmd, Mapping};
pub use vm::{Space, RW};

/// Name under which the driver answers DRM_IOCTL_VERSION.
pub const DRIVER: &str = "uvm";

/// A call that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct Error {
    /// What was called.
    pub call: &'static str,
    /// Why it failed.
    pub errno: Errno,
}

/// Result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the call in an error.
fn name<T>(call: &'static str, result: std::result::Result<T, Errno>) -> Result<T> {
    result.map_err(|errno| Error { call, errno })
}

/// Why the render node was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No node belongs to the driver.
    #[error("no render node of the driver `{DRIVER}` in /dev/dri: is the module loaded and the device there?")]
    None,
    /// The node is there but does not open.
    #[error("{path}: {error}")]
    Node {
        /// Path of the node.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

/// An open render node. Clones share it.
#[derive(Clone)]
pub struct Device {
    file: Rc<File>,
}

impl Device {
    /// Opens the first render node that the driver answers on. Each call is a client of its own to the driver.
    pub fn open() -> std::result::Result<Self, OpenError> {
        // Render nodes have the minor numbers 128 to 191; a guest has few.
        for minor in 128..192 {
            let path = format!("/dev/dri/renderD{minor}");
            let file = match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(OpenError::Node { path, error }),
            };
            if sys::driver_name(file.as_fd()).is_ok_and(|name| name == DRIVER) {
                return Ok(Self { file: Rc::new(file) });
            }
        }
        Err(OpenError::None)
    }

    /// The same client through another descriptor of it, for another thread.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { file: Rc::new(File::from(fd)) }
    }

    /// The descriptor, for fdinfo.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs the driver's own ioctl `number`.
    fn command<T: sys::Argument>(&self, call: &'static str, number: u32, value: &mut T) -> Result<()> {
        let number = u8::try_from(number).ok().and_then(|n| n.checked_add(sys::COMMAND_BASE));
        name(call, number.ok_or(Errno::INVAL).and_then(|n| sys::ioctl_rw(self.fd(), n, value)))
    }

    /// Runs a DRM core ioctl.
    fn core<T: sys::Argument>(&self, call: &'static str, number: u8, value: &mut T) -> Result<()> {
        name(call, sys::ioctl_rw(self.fd(), number, value))
    }

    /// One of the `uapi::PARAM_*` values.
    pub fn param(&self, param: u32) -> Result<u64> {
        let mut arg = uapi::GetParam { param, ..Default::default() };
        self.command("DRM_UVM_GET_PARAM", nr::GET_PARAM, &mut arg)?;
        Ok(arg.value)
    }

    /// Reads a device register by its dword index.
    pub fn reg(&self, index: u32) -> Result<u32> {
        let mut arg = uapi::Reg { index, ..Default::default() };
        self.command("DRM_UVM_REG (read)", nr::REG, &mut arg)?;
        Ok(arg.value)
    }

    /// Writes a device register.
    pub fn set_reg(&self, index: u32, value: u32) -> Result<()> {
        let mut arg = uapi::Reg { index, write: 1, value, pad: 0 };
        self.command("DRM_UVM_REG (write)", nr::REG, &mut arg)
    }

    /// Submits as it stands; the argument's addresses are the caller's business, the kernel only reads behind them.
    pub fn submit_raw(&self, arg: &mut uapi::Submit) -> Result<()> {
        self.command("DRM_UVM_SUBMIT", nr::SUBMIT, arg)
    }

    /// Creates with any arguments; a success leaves a handle to be closed with [`Device::close`].
    pub fn create_raw(&self, arg: &mut uapi::GemCreate) -> Result<()> {
        self.command("DRM_UVM_GEM_CREATE", nr::GEM_CREATE, arg)
    }

    /// Moves with any arguments.
    pub fn move_raw(&self, arg: &mut uapi::GemMove) -> Result<()> {
        self.command("DRM_UVM_GEM_MOVE", nr::GEM_MOVE, arg)
    }

    /// Asks about any handle.
    pub fn info_raw(&self, handle: u32) -> Result<uapi::GemInfo> {
        let mut arg = uapi::GemInfo { handle, ..Default::default() };
        self.command("DRM_UVM_GEM_INFO", nr::GEM_INFO, &mut arg)?;
        Ok(arg)
    }

    /// The mmap offset of any handle.
    pub fn mmap_raw(&self, handle: u32) -> Result<u64> {
        let mut arg = uapi::GemMmap { handle, ..Default::default() };
        self.command("DRM_UVM_GEM_MMAP", nr::GEM_MMAP, &mut arg)?;
        Ok(arg.offset)
    }

    /// Waits on any handle.
    pub fn wait_raw(&self, arg: &mut uapi::GemWait) -> Result<()> {
        self.command("DRM_UVM_GEM_WAIT", nr::GEM_WAIT, arg)
    }

    /// Closes a GEM handle.
    pub fn close(&self, handle: u32) -> Result<()> {
        self.core("DRM_IOCTL_GEM_CLOSE", 0x09, &mut sys::GemClose { handle, pad: 0 })
    }
}
