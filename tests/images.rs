// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The images' cache over a small recipe: what is whole is used, what is not is made again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use images::{Cache, Check, Error, Key, KeyBuilder};

/// A cache in a folder of its own, and how often its recipe ran.
struct Kitchen {
    cache: Cache,
    made: AtomicUsize,
    _folder: tempfile::TempDir,
}

impl Kitchen {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { cache: Cache::new(folder.path().join("cache")), made: AtomicUsize::new(0), _folder: folder }
    }

    fn prepare(&self, check: Check) -> PathBuf {
        self.prepare_of(&key("one"), check)
    }

    fn prepare_of(&self, key: &Key, check: Check) -> PathBuf {
        let make = |folder: &Path| -> Result<(), Error> {
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "a recipe starts with an empty folder");
            self.made.fetch_add(1, Ordering::SeqCst);
            fs::create_dir(folder.join("usr")).unwrap();
            fs::write(folder.join("usr/tool"), "tool").unwrap();
            fs::write(folder.join("kernel"), "kernel").unwrap();
            std::os::unix::fs::symlink("usr", folder.join("link")).unwrap();
            Ok(())
        };
        let entry = self.cache.entry("thing", key, check, || (), make).unwrap();
        assert_eq!(fs::read_to_string(entry.join("usr/tool")).unwrap(), "tool");
        assert_eq!(fs::read_to_string(entry.join("kernel")).unwrap(), "kernel");
        assert_eq!(fs::read_link(entry.join("link")).unwrap(), Path::new("usr"));
        entry
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

fn key(text: &str) -> Key {
    KeyBuilder::new().bytes("recipe", text.as_bytes()).finish()
}

fn stamp(entry: &Path) -> PathBuf {
    PathBuf::from(format!("{}.stamp", entry.display()))
}

#[test]
fn a_whole_entry_is_used_again() {
    let kitchen = Kitchen::new();
    let first = kitchen.prepare(Check::Content);
    assert_eq!(kitchen.prepare(Check::Content), first);
    assert_eq!(kitchen.made(), 1);
}

/// Each damage alone makes the entry again, exactly once.
#[test]
fn a_damaged_entry_is_made_again() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 7] = [
        ("a file cut off", |entry| fs::write(entry.join("kernel"), "ker").unwrap()),
        ("a file gone", |entry| fs::remove_file(entry.join("usr/tool")).unwrap()),
        ("a link gone", |entry| fs::remove_file(entry.join("link")).unwrap()),
        ("a folder gone", |entry| fs::remove_dir_all(entry.join("usr")).unwrap()),
        ("everything gone", |entry| fs::remove_dir_all(entry).unwrap()),
        ("the stamp gone", |entry| fs::remove_file(stamp(entry)).unwrap()),
        ("the stamp cut off", |entry| {
            let text = fs::read(stamp(entry)).unwrap();
            fs::write(stamp(entry), &text[..text.len() / 2]).unwrap();
        }),
    ];
    for check in [Check::Size, Check::Content] {
        for (name, damage) in damages {
            let kitchen = Kitchen::new();
            damage(&kitchen.prepare(check));
            kitchen.prepare(check);
            assert_eq!(kitchen.made(), 2, "{name}, {check:?}");
            kitchen.prepare(check);
            assert_eq!(kitchen.made(), 2, "{name}, {check:?}: once is enough");
        }
    }
}

#[test]
fn a_changed_byte_is_noticed_where_content_is_checked() {
    let kitchen = Kitchen::new();
    let entry = kitchen.prepare(Check::Content);
    fs::write(entry.join("kernel"), "kernal").unwrap();
    kitchen.prepare(Check::Content);
    assert_eq!(kitchen.made(), 2);
}

#[test]
fn what_was_left_half_made_is_cleared_away() {
    let kitchen = Kitchen::new();
    let partial = kitchen.cache.folder().join(format!("thing-{}.partial", key("one").short()));
    fs::create_dir_all(partial.join("usr")).unwrap();
    fs::write(partial.join("usr/tool"), "half").unwrap();
    kitchen.prepare(Check::Content);
    assert!(!partial.exists());
}

#[test]
fn a_failed_recipe_leaves_nothing_and_can_be_tried_again() {
    let kitchen = Kitchen::new();
    let fail = |folder: &Path| -> Result<(), Error> {
        fs::write(folder.join("kernel"), "ker").unwrap();
        Err(Error::Guard("no".into()))
    };
    let error = kitchen.cache.entry("thing", &key("one"), Check::Content, || (), fail).unwrap_err();
    assert_eq!(error.to_string(), "kernel module: no");
    let left: Vec<_> = fs::read_dir(kitchen.cache.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["thing.lock"]);
    kitchen.prepare(Check::Content);
    assert_eq!(kitchen.made(), 1);
}

#[test]
fn another_recipe_is_another_entry_and_old_ones_go() {
    let kitchen = Kitchen::new();
    let entries: Vec<PathBuf> =
        ["one", "two", "three"].iter().map(|text| kitchen.prepare_of(&key(text), Check::Size)).collect();
    assert_eq!(kitchen.made(), 3);
    assert!(!entries[0].exists() && !stamp(&entries[0]).exists(), "the oldest goes");
    assert!(entries[1].exists() && entries[2].exists());
}

#[test]
fn many_at_once_make_it_once() {
    let kitchen = Kitchen::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| kitchen.prepare(Check::Content));
        }
    });
    assert_eq!(kitchen.made(), 1);
}
