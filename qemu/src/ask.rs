// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Lets the guest's command ask the device about itself, past the driver: a line of its output that begins with [`WORD`]
//! is put to the device's control socket, and the answer, a line too, is typed into the command's terminal.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::time::Duration;

/// What a question begins with. A test's report takes it for a comment.
const WORD: &str = "# ask the device: ";
/// Set in the guest where questions are answered.
pub(crate) const ANSWERED: &str = "UVM_ASK";
/// How long the device may take over an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hands questions on and answers back.
pub(crate) struct Asker {
    device: PathBuf,
    terminal: ChildStdin,
}

impl Asker {
    /// Between the control socket `device` and what is typed into `terminal`.
    pub(crate) fn new(device: &Path, terminal: ChildStdin) -> Self {
        Self { device: device.to_owned(), terminal }
    }

    /// Takes a line of the command's output. A question that cannot be answered is answered with the reason.
    pub(crate) fn line(&mut self, line: &str) {
        let Some(question) = line.strip_prefix(WORD) else { return };
        let answer = self.put(question.trim()).unwrap_or_else(|error| {
            let reason = serde_json::json!({ "error": format!("the device was not asked: {error}") });
            reason.to_string()
        });
        // A guest that is gone needs no answer.
        let _ = writeln!(self.terminal, "{}", answer.trim()).and_then(|()| self.terminal.flush());
    }

    fn put(&self, question: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&self.device)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        writeln!(stream, "{question}")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    /// What `cat` in the terminal's place got for these lines, with a device that answers each question with itself.
    fn typed(lines: &[&str], listening: bool) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        if listening {
            let listener = UnixListener::bind(&path).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut question = String::new();
                    BufReader::new(stream.try_clone().unwrap()).read_line(&mut question).unwrap();
                    stream.write_all(question.as_bytes()).unwrap();
                }
            });
        }
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut asker = Asker::new(&path, cat.stdin.take().unwrap());
        lines.iter().for_each(|line| asker.line(line));
        drop(asker);
        String::from_utf8(cat.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn questions_alone_are_answered() {
        let said = ["ok 1 x", "# ask the device: {\"verb\":\"rings\"}", " # ask the device: no"];
        assert_eq!(typed(&said, true), "{\"verb\":\"rings\"}\n");
    }

    #[test]
    fn a_device_that_is_not_there_is_an_answer() {
        let answer = typed(&["# ask the device: {}"], false);
        assert!(answer.starts_with(r#"{"error":"the device was not asked"#), "{answer}");
    }
}
