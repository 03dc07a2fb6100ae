// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Runs programs whose output is kept in a log and whose end tells what went wrong.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::pipe::PipeFlags;

use crate::error::{Error, Result};

/// How many of a failed program's last lines the error shows.
const TAIL: usize = 15;

/// Runs `command` to its end; each line it says goes to `log` and to `each_line`.
///
/// # Errors
/// [`Error::Start`], or [`Error::Failed`] with the tail of the log when the status is not 0.
pub(crate) fn run_logged(
    what: &str,
    command: &mut Command,
    log: &Path,
    mut each_line: impl FnMut(&str),
) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut file = File::create(log).map_err(Error::io(log))?;
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::io("pipe")(e.into()))?;
    let errors = writer.try_clone().map_err(Error::io("pipe"))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .map_err(|source| Error::Start { program, source })?;
    // The command value holds the pipe's writing ends; reading would never end while they are open here.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tail = VecDeque::new();
    let mut all = String::new();
    for line in BufReader::new(File::from(reader)).split(b'\n') {
        let line = String::from_utf8_lossy(&line.map_err(Error::io(log))?).trim_end().to_owned();
        writeln!(file, "{line}").map_err(Error::io(log))?;
        each_line(&line);
        all.push_str(&line);
        all.push('\n');
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    let status = child.wait().map_err(Error::io(log))?;
    if status.success() {
        return Ok(all);
    }
    Err(Error::Failed {
        what: what.to_owned(),
        status: status.to_string(),
        log: log.to_owned(),
        tail: Vec::from(tail).join("\n"),
    })
}

/// Where a program lies on this process's PATH; the folders of system programs count too.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// What a program prints on its standard output, or nothing when it is missing or fails.
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
