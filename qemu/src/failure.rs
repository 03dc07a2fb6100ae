// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Why a run gave no status of its own, in words for the user.

use std::process::ExitStatus;
use std::time::Duration;

/// The ways a run ends without the guest's own word.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An option or a file the user named is wrong.
    #[error("{0}")]
    BadInput(String),
    /// An image could not be made.
    #[error(transparent)]
    Images(#[from] images::Error),
    /// No QEMU, or one that cannot be started.
    #[error("{0}")]
    NoQemu(String),
    /// The backend ended while the guest needed it. QEMU cannot go on then, so it was ended too.
    #[error("the backend died ({}); its last lines:\n{}", status, log.trim_end())]
    BackendDied {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        log: String,
    },
    /// The device's checks found fault with the driver.
    #[error("the device's checks found fault with the driver:\n{}", log.trim_end())]
    DriverFaulty {
        /// The end of what the backend said.
        log: String,
    },
    /// The backend did not get as far as listening.
    #[error("the backend did not start: {reason}\n{}", log.trim_end())]
    BackendNotStarted {
        /// What was seen.
        reason: String,
        /// The end of what it said.
        log: String,
    },
    /// QEMU ended before the guest was through.
    #[error("QEMU died ({}); its last lines:\n{}", status, log.trim_end())]
    QemuDied {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it and the guest's console said.
        log: String,
    },
    /// The guest's kernel panicked.
    #[error("guest panicked; the last lines of its console:\n{}", console.trim_end())]
    GuestPanicked {
        /// The end of the kernel's console.
        console: String,
    },
    /// The guest did not load a module.
    #[error("the guest could not load the module {0}")]
    ModuleFailed(String),
    /// The guest was not through in time.
    #[error("timed out after {} s; the last lines of the guest:\n{}", after.as_secs(), console.trim_end())]
    TimedOut {
        /// The time it was given.
        after: Duration,
        /// The end of the console.
        console: String,
    },
    /// A signal asked for the end.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
    /// The guest's tests failed, or their report is not to be trusted.
    #[error("{0}")]
    TestsFailed(String),
    /// The memory manager's record did not come out of the guest whole.
    #[error("the guest sent {} of the memory manager's record, {there} came", sent.map_or("nothing".into(), |sent| format!("{sent} bytes")))]
    NoRecord {
        /// Bytes that the guest says it sent; none: it could not.
        sent: Option<u64>,
        /// Bytes in the file.
        there: u64,
    },
    /// A record replayed differently.
    #[error("{0}")]
    OtherReplay(String),
    /// Something of this machine: a pipe, a thread, a temporary folder.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure {
    /// For `map_err` on an operation of this machine.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// The exit status that tells it: 2 for what the user can put right on the command line, as a shell would for
    /// a signal, 1 otherwise.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::BadInput(_) | Self::Images(images::Error::BadKernel { .. } | images::Error::BadModule { .. }) => 2,
            Self::Images(images::Error::Overlay { .. }) => 2,
            Self::Interrupted(signal) => u8::try_from(signal.saturating_add(128)).unwrap_or(1),
            _ => 1,
        }
    }
}
