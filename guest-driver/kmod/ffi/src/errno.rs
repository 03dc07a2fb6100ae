// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Errors as the kernel counts them: the numbers of asm-generic/errno-base.h, which are ABI.

use core::ffi::c_int;

use uvm_policy::Error;

const ENOENT: c_int = 2;
const EIO: c_int = 5;
const EAGAIN: c_int = 11;
const ENOMEM: c_int = 12;
const EBUSY: c_int = 16;
const EEXIST: c_int = 17;
const EINVAL: c_int = 22;
const ENOSPC: c_int = 28;

/// The negative errno of an error.
pub(crate) fn errno(error: Error) -> c_int {
    match error {
        Error::NoSpace | Error::Limit => -ENOSPC,
        Error::Failed => -EIO,
        Error::NoMemory => -ENOMEM,
        Error::Invalid => -EINVAL,
        Error::Unknown => -ENOENT,
        Error::Exists => -EEXIST,
        Error::Busy | Error::Wait(_) => -EBUSY,
    }
}

/// "Do more and call again", which is no error of the policy's.
pub(crate) fn again() -> c_int {
    -EAGAIN
}

/// 0, or the negative errno.
pub(crate) fn status(result: Result<(), Error>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => errno(error),
    }
}
