// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Turns what processes and the guest say into events, a thread per stream.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use crate::failure::Failure;

/// Where something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command in the guest.
    Terminal,
    /// The guest's kernel.
    Console,
    /// The guest's init, for the launcher.
    Status,
    /// QEMU's standard error.
    Qemu,
    /// The backend's standard error.
    Backend,
}

/// What the watcher is told.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Bytes as they came.
    Said(Source, Vec<u8>),
    /// No more will come from there.
    Closed(Source),
    /// QEMU ended.
    QemuEnded,
    /// The backend ended.
    BackendEnded,
    /// A signal came.
    Signal(i32),
}

/// Reads `from` to its end.
pub(crate) fn follow(source: Source, mut from: impl Read + Send + 'static, events: Sender<Event>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let said = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => buffer.get(..length).unwrap_or_default().to_vec(),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            if events.send(Event::Said(source, said)).is_err() {
                return;
            }
        }
        // The watcher may have gone first.
        let _ = events.send(Event::Closed(source));
    });
}

/// A socket that QEMU connects to.
pub(crate) struct Door(PathBuf);

impl Door {
    /// Listens at `path` and follows the first that connects.
    pub(crate) fn open(path: &Path, source: Source, events: Sender<Event>) -> Result<Self, Failure> {
        let listener = UnixListener::bind(path).map_err(Failure::system(path.display().to_string()))?;
        std::thread::spawn(move || match listener.accept() {
            Ok((stream, _)) => follow(source, stream, events),
            Err(_) => drop(events.send(Event::Closed(source))),
        });
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Door {
    /// Frees a thread that still waits for a QEMU that never came.
    fn drop(&mut self) {
        drop(UnixStream::connect(&self.0));
    }
}

/// Cuts bytes into lines; a line's end may come later.
#[derive(Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// Adds bytes and gives the lines that are complete, without their ends.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self.0.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let rest = self.0.split_off(end.saturating_add(1));
        let whole = std::mem::replace(&mut self.0, rest);
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }

    /// What is left without an end.
    pub(crate) fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.0);
        (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned())
    }
}

/// The last lines of something.
#[derive(Default)]
pub(crate) struct Tail(VecDeque<String>);

impl Tail {
    const KEPT: usize = 200;

    pub(crate) fn add(&mut self, line: String) {
        if self.0.len() == Self::KEPT {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    /// The last `count`, as one text.
    pub(crate) fn last(&self, count: usize) -> String {
        let skipped = self.0.len().saturating_sub(count);
        self.0.iter().skip(skipped).fold(String::new(), |text, line| text + "  " + line + "\n")
    }

    /// From the first line with one of these words on, at most `count` lines; the last `count` where none has.
    pub(crate) fn since_first(&self, words: &[&str], count: usize) -> String {
        let first = self.0.iter().position(|line| words.iter().any(|word| line.contains(word)));
        match first {
            Some(first) => {
                self.0.iter().skip(first).take(count).fold(String::new(), |text, line| text + "  " + line + "\n")
            }
            None => self.last(count),
        }
    }

    pub(crate) fn any(&self, what: &str) -> bool {
        self.0.iter().any(|line| line.contains(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_join_across_pieces() {
        let mut lines = Lines::default();
        assert!(lines.add(b"ex").is_empty());
        assert_eq!(lines.add(b"it 3\r\nnext\nha"), ["exit 3", "next"]);
        assert_eq!(lines.rest().as_deref(), Some("ha"));
        assert_eq!(lines.rest(), None);
    }

    #[test]
    fn a_tail_can_begin_where_it_matters() {
        let mut tail = Tail::default();
        for line in ["a", "BUG: x", "b", "c"] {
            tail.add(line.into());
        }
        assert_eq!(tail.since_first(&["BUG"], 2), "  BUG: x\n  b\n");
        assert_eq!(tail.since_first(&["Oops"], 1), "  c\n");
    }
}
