// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The little of QEMU's machine protocol that an orderly end takes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{json, Value};

/// How long QEMU may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the QEMU behind `socket` to quit: it closes its devices, so the backend sees an orderly end.
pub(crate) fn quit(socket: &Path) -> std::io::Result<()> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut next = || -> std::io::Result<Value> {
        let line = lines.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
        Ok(serde_json::from_str(&line)?)
    };
    if next()?.get("QMP").is_none() {
        return Err(std::io::Error::other("no QMP greeting"));
    }
    for command in ["qmp_capabilities", "quit"] {
        let mut text = json!({ "execute": command }).to_string();
        text.push('\n');
        (&stream).write_all(text.as_bytes())?;
        // Events may come before the answer.
        loop {
            let answer = next()?;
            if answer.get("return").is_some() {
                break;
            }
            if let Some(error) = answer.get("error") {
                return Err(std::io::Error::other(error.to_string()));
            }
        }
    }
    Ok(())
}
