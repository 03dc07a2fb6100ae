// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The crate's one error type.

use std::path::{Path, PathBuf};

/// Why an image could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Making the root or building in it takes privileges this process lacks.
    #[error("{what} needs root: run the command again as root")]
    NotRoot {
        /// What was about to be done.
        what: &'static str,
    },
    /// No mirror to take Debian's packages from is known.
    #[error("no Debian mirror found in this machine's apt configuration: name one in {variable}")]
    NoMirror {
        /// The environment variable that overrides.
        variable: &'static str,
    },
    /// A program could not be started.
    #[error("{program} could not be started: {source}")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program failed; its last lines are part of the message.
    #[error("{what} failed ({status}); the whole log is {log}\n{tail}")]
    Failed {
        /// What was being done.
        what: String,
        /// How the program ended.
        status: String,
        /// Where everything it said was kept.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// Cargo failed; it has said why on stderr.
    #[error("cargo could not build {package} ({status})")]
    Cargo {
        /// What it was to build.
        package: String,
        /// How it ended.
        status: String,
    },
    /// A kernel image that is none, or only a part of one.
    #[error("{path}: {reason}")]
    BadKernel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A kernel module that is none, or one with a dependency that the kernel does not come with.
    #[error("{path}: {reason}")]
    BadModule {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A guard of the module build: it built, and would still go wrong when loaded.
    #[error("kernel module: {0}")]
    Guard(String),
    /// The build root lacks something each user of it relies on.
    #[error("the build root {root} has no {what}")]
    Incomplete {
        /// The root.
        root: PathBuf,
        /// What is missing.
        what: String,
    },
    /// An overlay that cannot be put into an archive.
    #[error("overlay {path}: {reason}")]
    Overlay {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Short form used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on an operation on `path`.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }
}
