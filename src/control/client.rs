// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The client's side.

use super::{Answer, Request};
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// How long an answer may take: the device is busy for milliseconds, a loaded machine for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens, or not for us.
    #[error("no device answers on {path}: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the device does not answer: {0}")]
    Io(#[from] std::io::Error),
    /// What came is no answer.
    #[error("the answer is none of this version's: {0}")]
    Answer(#[from] serde_json::Error),
    /// What was asked for does not exist.
    #[error("{0}")]
    Refused(String),
}

/// A connection to a control socket.
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    /// To the socket at `path`.
    pub fn open(path: &Path) -> Result<Self, ClientError> {
        let open = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        match open() {
            Ok(stream) => Ok(Self(BufReader::new(stream))),
            Err(source) => Err(ClientError::Connect { path: path.into(), source }),
        }
    }
    /// Asks, and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line)?;
        let mut answer = Vec::new();
        if self.0.read_until(b'\n', &mut answer)? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        match serde_json::from_slice(&answer)? {
            Answer::Ok(value) => Ok(serde_json::from_value(value)?),
            Answer::Error(why) => Err(ClientError::Refused(why)),
        }
    }
}

/// Asks the device behind `path` one thing.
pub fn ask<T: DeserializeOwned>(path: &Path, request: &Request) -> Result<T, ClientError> {
    Connection::open(path)?.ask(request)
}
