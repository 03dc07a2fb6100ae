// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The socket that a front end comes to: one made at a path, or one inherited from the process that started us.

use super::relay;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use thiserror::Error;
use vhost::vhost_user::Listener;

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Something that is no socket has the name.
    #[error("{0} exists and is not a socket")]
    NotASocket(PathBuf),
    /// Somebody listens there.
    #[error("{0} is in use by a running program")]
    InUse(PathBuf),
    /// The name cannot be bound.
    #[error("cannot listen on {path}: {source}")]
    Bind {
        /// The name.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The inherited descriptor is of no use.
    #[error("file descriptor {fd} {problem}")]
    Inherited {
        /// The descriptor.
        fd: RawFd,
        /// What is wrong with it.
        problem: String,
    },
    /// The inherited connection cannot be passed on.
    #[error("cannot take over the inherited connection: {0}")]
    Relay(#[source] io::Error),
}

/// A socket, listening or connected.
#[derive(Debug)]
pub enum Socket {
    /// Front ends connect to it.
    Listening(UnixListener),
    /// The front end is at its other end.
    Connected(UnixStream),
}

/// The name of a socket that we made. Dropping it removes the name, if it still is ours.
#[derive(Debug)]
pub struct SocketName {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketName {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            if let Err(e) = std::fs::remove_file(&self.path) {
                log::warn!("cannot remove {}: {e}", self.path.display());
            }
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

impl Socket {
    /// Listens at `path`. A socket there that nobody listens on any more, left by a process that was killed, is replaced;
    /// anything else there is an error.
    pub fn bind(path: &Path) -> Result<(Self, SocketName), SocketError> {
        make_room(path)?;
        let bind = |source| SocketError::Bind { path: path.into(), source };
        // The name appears when the socket listens already: who waits for it to exist can connect at once.
        let mut early = path.as_os_str().to_owned();
        early.push("~");
        let early = PathBuf::from(early);
        make_room(&early)?;
        let listener = UnixListener::bind(&early).map_err(bind)?;
        let mut name = SocketName { inode: inode(&early).map_err(bind)?, path: early };
        std::fs::rename(&name.path, path).map_err(bind)?;
        name.path = path.into();
        Ok((Self::Listening(listener), name))
    }

    /// Listens at `path` as [`Socket::bind`] does, for this user alone. To be called before there are threads: for a
    /// moment, what any of them created would be the user's alone too.
    pub fn bind_private(path: &Path) -> Result<(UnixListener, SocketName), SocketError> {
        let before = umask(0o177);
        let bound = Self::bind(path);
        umask(before);
        match bound? {
            (Self::Listening(listener), name) => Ok((listener, name)),
            // It was just bound.
            (Self::Connected(_), _) => Err(SocketError::InUse(path.into())),
        }
    }

    /// Takes over descriptor `fd`, a listening or a connected Unix stream socket.
    pub fn inherit(fd: RawFd) -> Result<Self, SocketError> {
        let problem = |problem: String| SocketError::Inherited { fd, problem };
        if fd <= libc::STDERR_FILENO {
            return Err(problem("is a standard stream".into()));
        }
        let option = |name| socket_option(fd, name);
        let domain = option(libc::SO_DOMAIN).map_err(|e| match e.raw_os_error() {
            Some(libc::EBADF) => problem("is not open".into()),
            Some(libc::ENOTSOCK) => problem("is not a socket".into()),
            _ => problem(e.to_string()),
        })?;
        let kind = option(libc::SO_TYPE).map_err(|e| problem(e.to_string()))?;
        if (domain, kind) != (libc::AF_UNIX, libc::SOCK_STREAM) {
            return Err(problem("is not a Unix stream socket".into()));
        }
        let listening = option(libc::SO_ACCEPTCONN).map_err(|e| problem(e.to_string()))? != 0;
        let owned = own(fd);
        if listening {
            let listener = UnixListener::from(owned);
            listener.set_nonblocking(false).map_err(|e| problem(e.to_string()))?;
            return Ok(Self::Listening(listener));
        }
        let stream = UnixStream::from(owned);
        stream.peer_addr().map_err(|_| problem("is a socket that neither listens nor is connected".into()))?;
        stream.set_nonblocking(false).map_err(|e| problem(e.to_string()))?;
        Ok(Self::Connected(stream))
    }

    /// What the vhost-user library accepts its connection from.
    pub(super) fn into_listener(self) -> Result<Listener, SocketError> {
        match self {
            Self::Listening(listener) => Ok(Listener::from(listener)),
            Self::Connected(stream) => relay::listener_for(stream).map(Listener::from).map_err(SocketError::Relay),
        }
    }
}

/// Removes a dead socket at `path`.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.into()));
    }
    // A datagram socket cannot connect to a stream socket: the attempt tells whether one is bound there without taking a
    // place in its queue, which a backend that serves a single connection would mistake for its front end.
    let bind = |source| SocketError::Bind { path: path.into(), source };
    match UnixDatagram::unbound().map_err(bind)?.connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!("replacing {}, which a dead process has left", path.display());
            std::fs::remove_file(path).map_err(bind)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(bind(e)),
        _ => Err(SocketError::InUse(path.into())),
    }
}

#[allow(unsafe_code, reason = "umask has no safe wrapper in std")]
fn umask(mask: libc::mode_t) -> libc::mode_t {
    // SAFETY: the call has no precondition and cannot fail.
    unsafe { libc::umask(mask) }
}

#[allow(unsafe_code, reason = "getsockopt has no safe wrapper in std")]
fn socket_option(fd: RawFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len: libc::socklen_t = 4;
    const { assert!(size_of::<libc::c_int>() == 4) };
    // SAFETY: `value` and `len` are writable and `len` is the size of `value`; the kernel checks `fd`.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

#[allow(unsafe_code, reason = "an inherited descriptor is known by its number only")]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the descriptor is open, being a socket, and was handed to this process for this very use; it is above the
    // standard streams and nothing in the process opened it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    debug_assert_eq!(owned.as_raw_fd(), fd);
    owned
}
