// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Starts the backend and waits until it listens.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::options::Options;
use crate::process::Process;

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);
/// Flag of a listening socket in the kernel's table of Unix sockets.
const LISTENING: &str = "00010000";

/// Starts `program` with its standard error piped; `control` is where it can be looked at.
pub(crate) fn start(
    program: &Path,
    socket: &Path,
    control: Option<&Path>,
    options: &Options,
) -> Result<Process, Failure> {
    let mut command = Command::new(program);
    command.arg("--socket-path").arg(socket);
    match options.carveout()? {
        Some(carveout) => command.arg("--uma").arg(carveout.to_string()),
        None => command.arg("--vram").arg(options.vram.to_string()),
    };
    if let Some(bar) = options.bar {
        command.arg("--bar").arg(bar.to_string());
    }
    if let Some(trace) = &options.trace {
        command.arg("--trace").args(trace);
    }
    if let Some(path) = control {
        command.arg("--control-socket").arg(path);
    }
    command.args(&options.backend_args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Process::start(&format!("the backend {}", program.display()), command, true)
}

/// Waits until `socket` is there and listened on. It looks instead of connecting: the backend serves one connection,
/// QEMU's. A backend that moved its socket there, listening already, is known to the kernel by the earlier name.
pub(crate) fn wait_until_listening(process: &mut Process, socket: &Path) -> Result<(), String> {
    let start = Instant::now();
    let name = socket.to_string_lossy();
    loop {
        if socket.exists() {
            let table = fs::read_to_string("/proc/net/unix").map_err(|error| format!("/proc/net/unix: {error}"))?;
            let only_bound = |line: &str| line.ends_with(&*name) && line.split_whitespace().nth(3) != Some(LISTENING);
            if !table.lines().any(only_bound) {
                return Ok(());
            }
        }
        if let Some(status) = process.wait(LOOK) {
            return Err(format!("it ended ({status})"));
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("it does not listen on {name} after {} s", PATIENCE.as_secs()));
        }
    }
}
