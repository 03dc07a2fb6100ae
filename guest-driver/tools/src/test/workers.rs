// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Processes that work side by side: this program again, started to do a part. Each says that it is ready, waits for a
//! line, works, and ends with status 0 or with why not.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{ensure, Context, Result};

/// This program, to run with `args` as a worker.
pub fn command<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("uvm-test").args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A worker's side: tells that it is ready, and waits until all others are.
pub fn get_ready() -> Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Waits until all are ready, so that they then run at once.
pub fn ready(workers: &mut [Child]) -> Result<()> {
    for worker in workers {
        let mut line = String::new();
        BufReader::new(worker.stdout.as_mut().context("a worker without output")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "a worker did not get ready: {line:?}");
    }
    Ok(())
}

/// Lets them go.
pub fn go(workers: &mut [Child]) -> Result<()> {
    for worker in workers {
        worker.stdin.take().context("a worker without input")?.write_all(b"go\n")?;
    }
    Ok(())
}

/// Waits for their ends; fails unless all are good, and says which are not.
pub fn finish(workers: Vec<Child>) -> Result<()> {
    let mut failed = Vec::new();
    for (n, worker) in workers.into_iter().enumerate() {
        let output = worker.wait_with_output()?;
        if !output.status.success() {
            failed.push(format!("worker {n}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
