// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The committed files that are made from the tables are what the tables say.
//! `UPDATE_GENERATED=1 cargo test -p uvm-spec` writes them anew.

#![allow(clippy::unwrap_used, reason = "a test may give up")]

use std::path::Path;
use uvm_spec::render;

fn holds(path: &str, render: fn(&mut dyn std::fmt::Write) -> std::fmt::Result) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let mut made = String::new();
    render(&mut made).unwrap();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "{} has drifted from spec/: run UPDATE_GENERATED=1 cargo test -p uvm-spec",
        path.display()
    );
}

#[test]
fn register_header_matches_the_tables() {
    holds("guest-driver/kmod/uvm_regs.h", render::c_registers);
}

#[test]
fn ioctl_header_matches_the_tables() {
    holds("guest-driver/kmod/uvm_drm.h", render::c_uapi);
}

#[test]
fn register_reference_matches_the_tables() {
    holds("spec/guide/src/registers.md", render::reference);
}

#[test]
fn fidelity_chapter_matches_the_tables() {
    holds("spec/guide/src/fidelity.md", render::fidelity);
}
