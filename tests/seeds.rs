// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The fuzz targets' seeds, and whatever a fuzzer once found, as ordinary tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]

use std::path::Path;

#[path = "fuzz/src/config_window.rs"]
mod config_window;

/// Runs `target` on every file of its corpus.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut seeds = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        target(&std::fs::read(path).unwrap());
        seeds += 1;
    }
    assert!(seeds > 0, "no seeds in {}", folder.display());
}

#[test]
fn config_window_seeds() {
    replay("config_window", config_window::run);
}
