// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The programming guide is a book: every chapter is listed and there, and every link to a file leads somewhere.

#![allow(clippy::unwrap_used, reason = "a test may give up")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guide/src")
}

/// Targets of the links in Markdown `text`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// The files in `links`, without what is on the web or in the same file.
fn files(links: Vec<&str>) -> Vec<&str> {
    let local = links.into_iter().filter(|link| !link.contains("://"));
    local.filter_map(|link| link.split('#').next()).filter(|file| !file.is_empty()).collect()
}

fn chapters_on_disk() -> BTreeSet<String> {
    let names = std::fs::read_dir(source()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "SUMMARY.md").collect()
}

#[test]
fn the_summary_lists_each_chapter_once() {
    let summary = std::fs::read_to_string(source().join("SUMMARY.md")).unwrap();
    let listed: Vec<String> = files(links(&summary)).into_iter().map(String::from).collect();
    assert!(listed.len() > 5, "{listed:?}");
    let set: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(set.len(), listed.len(), "one is listed twice: {listed:?}");
    assert_eq!(set, chapters_on_disk());
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let mut seen = 0;
    for chapter in chapters_on_disk() {
        let text = std::fs::read_to_string(source().join(&chapter)).unwrap();
        for file in files(links(&text)) {
            seen += 1;
            assert!(source().join(file).is_file(), "{chapter} points at {file}, which is not there");
        }
    }
    assert!(seen > 5, "only {seen} links in the whole guide");
}

#[test]
fn every_chapter_has_one_title() {
    for chapter in chapters_on_disk() {
        let text = std::fs::read_to_string(source().join(&chapter)).unwrap();
        let titles = text.lines().filter(|line| line.starts_with("# ")).count();
        assert_eq!(titles, 1, "{chapter}");
        assert!(text.starts_with("# "), "{chapter} starts with its title");
    }
}
