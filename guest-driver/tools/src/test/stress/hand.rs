// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A process at work: this program again. It is told one line at a time, and answers with lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Child;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, bail, ensure, Context, Result};

use crate::test::reload::debugfs;
use crate::test::workers;

/// How long an answer may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// The process.
pub struct Hand {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Hand {
    /// Starts one with `args`.
    pub fn start(name: String, args: &[&str]) -> Result<Self> {
        let mut child = workers::command(args.iter().copied()).spawn().context("starting a process")?;
        let out = child.stdout.take().context("a process without output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { name, child, lines })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something.
    pub fn tell(&mut self, word: &str) -> Result<()> {
        let told = writeln!(self.child.stdin.as_mut().context("a process without input")?, "{word}");
        told.or_else(|_| bail!("{}", self.last_words()))
    }

    /// Its next line.
    pub fn answer(&mut self) -> Result<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Disconnected) => bail!("{}", self.last_words()),
            Err(RecvTimeoutError::Timeout) => bail!("{} does not answer\n{}", self.name, scene()),
        }
    }

    /// Waits until it says `word`.
    pub fn says(&mut self, word: &str) -> Result<()> {
        let answer = self.answer()?;
        ensure!(answer == word, "{} says {answer:?} for {word:?}", self.name);
        Ok(())
    }

    /// Whether it has ended, well or not.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Fails if it has ended.
    pub fn is_alive(&mut self) -> Result<()> {
        if self.has_ended()? {
            bail!("{}", self.last_words());
        }
        Ok(())
    }

    /// Ends it at once, whatever it is at.
    pub fn kill(mut self) -> Result<()> {
        self.is_alive()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its good end; what it still said.
    pub fn finish(mut self) -> Result<Vec<String>> {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err(anyhow!("{} does not end\n{}", self.name, scene())),
            }
        }
        ensure!(self.child.wait()?.success(), "{}", self.last_words());
        Ok(said)
    }

    fn last_words(&mut self) -> String {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let mut text = String::new();
        if let Some(mut error) = self.child.stderr.take() {
            let _ = error.read_to_string(&mut text);
        }
        format!("{}: {status}: {}", self.name, text.trim())
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        // Of no use to anybody when the case has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where everybody is who waits in the driver, and what it says of its rings: for who has to find out why.
pub fn scene() -> String {
    let mut text = String::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        for task in std::fs::read_dir(process.path().join("task")).into_iter().flatten().flatten() {
            let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let stack = read("stack");
            if stack.contains("[uvm]") {
                text += &format!("{} {}{stack}", task.file_name().to_string_lossy(), read("comm"));
            }
        }
    }
    for file in ["uvm_rings", "uvm_ih", "uvm_svm", "uvm_vmids"] {
        text += &format!("{file}:\n{}", debugfs(file).unwrap_or_default());
    }
    text
}
