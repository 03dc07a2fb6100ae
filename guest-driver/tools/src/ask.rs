// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Asks the device about itself, past the driver: the launcher reads a question in this program's output, puts it to the
//! device's control socket, and types the answer.

use std::io::{stdin, stdout, BufRead, Write};

use anyhow::{bail, Context, Result};
use rustix::termios::{tcgetattr, tcsetattr, LocalModes, OptionalActions};
use serde_json::Value;

/// What a question begins with, as the launcher knows it.
const WORD: &str = "# ask the device: ";
/// Set by a launcher that answers.
const ANSWERED: &str = "UVM_ASK";

/// Whether somebody answers.
pub fn is_answered() -> bool {
    std::env::var_os(ANSWERED).is_some()
}

/// Asks, and waits for the answer.
pub fn ask(question: &Value) -> Result<Value> {
    quiet_terminal()?;
    let mut out = stdout().lock();
    writeln!(out, "{WORD}{question}").and_then(|()| out.flush()).context("asking the device")?;
    let mut line = String::new();
    if stdin().lock().read_line(&mut line).context("reading the device's answer")? == 0 {
        bail!("the device gave no answer");
    }
    unpack(&line).with_context(|| format!("the device was asked {question}"))
}

/// What a line of answer says: `{"ok": ..}` or `{"error": ".."}`.
fn unpack(line: &str) -> Result<Value> {
    let mut answer: Value = serde_json::from_str(line).context("what came is no answer")?;
    if let Some(error) = answer.get("error") {
        bail!("{}", error.as_str().unwrap_or_default());
    }
    Ok(answer.get_mut("ok").context("neither an answer nor an error")?.take())
}

/// An answer is not shown again as it is typed, and may be of any length.
fn quiet_terminal() -> Result<()> {
    let mut settings = tcgetattr(stdin()).context("standard input is no terminal")?;
    settings.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
    tcsetattr(stdin(), OptionalActions::Now, &settings).context("terminal settings")
}

/// A number in an answer, by the names on the way to it.
pub fn number(answer: &Value, names: &[&str]) -> Result<u64> {
    let found = names.iter().try_fold(answer, |value, name| value.get(name));
    found.and_then(Value::as_u64).with_context(|| format!("the device tells no {}", names.join(".")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn answer_error_and_noise_are_told_apart() {
        let answer = unpack("{\"ok\":{\"counters\":{\"walks\":7}}}\n").unwrap();
        assert_eq!(number(&answer, &["counters", "walks"]).unwrap(), 7);
        assert!(number(&answer, &["counters", "hits"]).is_err());
        assert_eq!(unpack("{\"error\":\"no VMID 16\"}").unwrap_err().to_string(), "no VMID 16");
        assert!(unpack("hello").is_err() && unpack("{}").is_err());
    }
}
