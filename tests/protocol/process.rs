// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The program under test as a child process.

use rustix::process::{kill_process, Pid, Signal};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use vmm_sys_util::tempdir::TempDir;

/// The program's path.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_vhost-device-uvm");

/// Long enough for a loaded machine; nothing here waits for it in vain.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls `condition` until it holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A running backend. Dropping it kills it.
pub struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts the program with `--socket-path` and `args`, and waits for the socket.
    pub fn start(args: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.as_path().join("socket");
        let mut command = Command::new(PROGRAM);
        command.arg("--socket-path").arg(&socket).args(args);
        let process = Self::spawn(command, folder);
        eventually("the socket", || socket.exists());
        process
    }

    /// Starts `command`, its messages going to a file in `folder`.
    pub fn spawn(mut command: Command, folder: TempDir) -> Self {
        let log = File::create(folder.as_path().join("log")).unwrap();
        let child = command.env("RUST_LOG", "debug").stdin(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder().join("socket")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed to its standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).unwrap()
    }

    /// Its status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process's end", || {
            status = self.ended();
            status.is_some()
        });
        status.unwrap()
    }

    /// Sends `signal` and returns how the process ended and after what time.
    pub fn signal(&mut self, signal: i32) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::from_named_raw(signal).expect("a signal")).unwrap();
        (self.wait(), start.elapsed())
    }

    /// Fails if any thread of it has panicked.
    pub fn assert_sane(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
