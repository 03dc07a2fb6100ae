// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Says on stderr what is being made: a live line on a terminal, plain lines elsewhere. What is at hand already says nothing.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One thing being made, from its start to [`Stage::done`].
pub struct Stage {
    name: String,
    start: Instant,
    bar: Option<ProgressBar>,
}

impl Stage {
    /// Starts, and says how long it is expected to take where that is long.
    pub fn start(name: &str, expectation: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            // The template is a constant; a bad one would only cost the looks.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {wide_msg} [{elapsed}]") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let stage = Self { name: name.to_owned(), start: Instant::now(), bar };
        stage.say(expectation);
        stage
    }

    /// Says what it is at.
    pub fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(message.to_owned()),
            None => eprintln!("{}: {message}", self.name),
        }
    }

    /// Ends it with the time it took.
    pub fn done(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: done in {:.1} s", self.name, self.start.elapsed().as_secs_f64());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
