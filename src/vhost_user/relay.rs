// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! An inherited connection, passed on to the vhost-user library, which only knows how to accept one.
//!
//! Messages are forwarded one by one, since descriptors belong to the message whose header they came with.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;
use vmm_sys_util::tempdir::TempDir;

/// A message's header: request, flags, size of the body, a dword each.
const HEADER: usize = 12;
/// Most bytes that follow a header.
const MAX_BODY: usize = 0x1000;
/// Most descriptors with a message.
const MAX_FDS: usize = 32;

/// A listener whose one connection is `stream`'s other end.
pub(super) fn listener_for(stream: UnixStream) -> io::Result<UnixListener> {
    // A name of our own in a folder that is closed to others; it is gone again when this returns.
    let folder = TempDir::new_with_prefix(std::env::temp_dir().join("vhost-device-uvm-")).map_err(io::Error::from)?;
    let path = folder.as_path().join("socket");
    let listener = UnixListener::bind(&path)?;
    let inner = UnixStream::connect(&path)?;
    for (from, to) in [(stream.try_clone()?, inner.try_clone()?), (inner, stream)] {
        std::thread::Builder::new().name("relay".into()).spawn(move || {
            if let Err(e) = forward(&from, &to) {
                log::debug!("relay: {e}");
            }
            // Both ends learn that the other has gone.
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        })?;
    }
    Ok(listener)
}

/// Forwards messages until either end closes.
fn forward(mut from: &UnixStream, mut to: &UnixStream) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        let (len, files) = receive(from, &mut header)?;
        if len == 0 {
            return Ok(());
        }
        if let Some(rest) = header.get_mut(len..) {
            from.read_exact(rest)?;
        }
        let [.., a, b, c, d] = header;
        let size = u32::from_le_bytes([a, b, c, d]) as usize;
        if size > MAX_BODY {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {size} bytes")));
        }
        let mut body = vec![0; size];
        from.read_exact(&mut body)?;
        let fds: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let sent = to.send_with_fds(&[header.as_slice()], &fds).map_err(io::Error::from)?;
        to.write_all(header.get(sent..).unwrap_or_default())?;
        to.write_all(&body)?;
    }
}

/// Receives at most a header, and the descriptors that came with it.
#[allow(unsafe_code, reason = "descriptors arrive as numbers")]
fn receive(from: &UnixStream, header: &mut [u8; HEADER]) -> io::Result<(usize, Vec<File>)> {
    let mut fds = [-1; MAX_FDS];
    let mut place = [libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER }];
    // SAFETY: the one vector covers `header`, which outlives the call and is not used meanwhile.
    let (len, count) = unsafe { from.recv_with_fds(&mut place, &mut fds) }.map_err(io::Error::from)?;
    // SAFETY: the kernel just made these descriptors for us and nobody else knows of them.
    let files = fds.iter().take(count).map(|fd| unsafe { File::from_raw_fd(*fd) }).collect();
    Ok((len, files))
}
