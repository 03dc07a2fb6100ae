// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A child process that does not outlive its owner: not when the owner returns, panics, or is killed.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags};
use rustix::process::{kill_process, pidfd_open, Pid, PidfdFlags, Signal};

use crate::failure::Failure;

/// How often a wait with a deadline looks.
const LOOK: Duration = Duration::from_millis(5);

/// A running child. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`. The kernel kills the child when the calling thread ends, so call this where the child is
    /// waited for. `own_group` keeps a terminal's Ctrl-C away from it.
    pub(crate) fn start(what: &str, mut command: Command, own_group: bool) -> Result<Self, Failure> {
        if own_group {
            command.process_group(0);
        }
        end_with_parent(&mut command);
        let child = command.spawn().map_err(Failure::system(format!("starting {what}")))?;
        Ok(Self { child, ended: None })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends `event` once the process has ended; it stays a zombie until [`Process::wait`], so its id stays its own.
    pub(crate) fn notify<T: Send + 'static>(&self, sender: Sender<T>, event: T) -> Result<(), Failure> {
        let what = || Failure::system("watching a process");
        let pid = self.pid().ok_or_else(|| what()(std::io::ErrorKind::InvalidInput.into()))?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| what()(errno.into()))?;
        std::thread::spawn(move || {
            let mut fds = [PollFd::new(&handle, PollFlags::IN)];
            while poll(&mut fds, None) == Err(rustix::io::Errno::INTR) {}
            // Nobody listening any more is fine.
            let _ = sender.send(event);
        });
        Ok(())
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }

    /// Asks it to end with SIGTERM.
    pub(crate) fn terminate(&mut self) {
        if self.ended.is_none() {
            if let Some(pid) = self.pid() {
                // Not reaped yet, so the id cannot be another's. A failure means it has just ended.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    }

    /// Waits for its end up to `limit`; none when it still runs.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while self.ended.is_none() {
            match self.child.try_wait() {
                Ok(Some(status)) => self.ended = Some(status),
                Ok(None) if start.elapsed() < limit => std::thread::sleep(LOOK),
                _ => break,
            }
        }
        self.ended
    }

    /// Kills it if it still runs, and reaps it.
    pub(crate) fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[allow(unsafe_code)] // the standard library has no other way to run something between fork and exec
fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the line above took effect.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(std::io::ErrorKind::NotConnected.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are two plain system calls that
    // neither allocate nor lock.
    unsafe { command.pre_exec(prepare) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_ends_the_child() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let process = Process::start("sleep", command, true).unwrap();
        let pid = process.pid().unwrap();
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn the_end_is_notified_once_and_can_still_be_read() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 7"]);
        let mut process = Process::start("sh", command, true).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        process.notify(sender, "ended").unwrap();
        assert_eq!(receiver.recv(), Ok("ended"));
        assert_eq!(process.wait(Duration::ZERO).and_then(|status| status.code()), Some(7));
        assert!(receiver.recv().is_err());
    }
}
