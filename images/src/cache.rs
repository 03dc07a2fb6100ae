// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A cache of made things, each a folder named after its kind and the key of its inputs.
//!
//! An entry is made under a temporary name and gets its own name when it is complete; then a stamp beside it lists
//! each file. An entry counts only while the stamp is there and each file is as listed, so what was interrupted,
//! emptied or half deleted is made again. A lock per kind keeps two processes from making the same thing at once;
//! the kernel lets go of it when its holder dies.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{flock, FlockOperation};

use crate::error::{Error, Result};
use crate::key::{digest_of, files_below, Key};

/// First line of a stamp; another layout gets another number.
const STAMP_HEAD: &str = "stamp 1";
/// Last line of a stamp: one that was cut off lacks it.
const STAMP_END: &str = "end";
/// How many entries of a kind are kept: the current one and the one before, so that going back and forth is quick.
const KEPT: usize = 2;

/// How closely an entry's files are compared with its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Presence and size: for a root with tens of thousands of files.
    Size,
    /// Presence, size and SHA-256: for a few files.
    Content,
}

/// A folder of entries.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in `folder`, which is made when the first entry is.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it keeps its entries; logs belong here too.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives the entry of this kind and key: the one at hand if it is whole, else what `make` puts into the empty
    /// folder it is handed. `waiting` is called when another process holds the lock.
    ///
    /// # Errors
    /// What `make` returns, or [`Error::Io`]. A failed `make` leaves no entry behind.
    pub fn entry<E: From<Error>>(
        &self,
        kind: &str,
        key: &Key,
        check: Check,
        waiting: impl FnOnce(),
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        let _lock = self.lock(kind, waiting)?;
        let entry = self.folder.join(format!("{kind}-{}", key.short()));
        let stamp = stamp_of(&entry);
        if is_whole(&entry, &stamp, key, check) {
            return Ok(entry);
        }
        self.remove_unfinished(kind)?;
        remove(&stamp)?;
        remove(&entry)?;
        let partial = self.folder.join(format!("{kind}-{}.partial", key.short()));
        fs::create_dir(&partial).map_err(Error::io(&partial))?;
        if let Err(error) = make(&partial) {
            remove(&partial)?;
            return Err(error);
        }
        let listed = manifest(&partial, key, check)?;
        fs::rename(&partial, &entry).map_err(Error::io(&entry))?;
        // The stamp, too, appears at once or not at all.
        let draft = self.folder.join(format!("{kind}.stamp.partial"));
        fs::write(&draft, listed).map_err(Error::io(&draft))?;
        fs::rename(&draft, &stamp).map_err(Error::io(&stamp))?;
        self.remove_old(kind, &entry)?;
        Ok(entry)
    }

    fn lock(&self, kind: &str, waiting: impl FnOnce()) -> Result<File> {
        let path = self.folder.join(format!("{kind}.lock"));
        let file = File::create(&path).map_err(Error::io(&path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            waiting();
            flock(&file, FlockOperation::LockExclusive).map_err(|errno| Error::io(&path)(errno.into()))?;
        }
        Ok(file)
    }

    /// Whoever made these is gone: the lock is ours.
    fn remove_unfinished(&self, kind: &str) -> Result<()> {
        for path in self.of_kind(kind)? {
            if path.extension().is_some_and(|extension| extension == "partial") {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn remove_old(&self, kind: &str, current: &Path) -> Result<()> {
        let mut old: Vec<_> = self
            .of_kind(kind)?
            .into_iter()
            .filter(|path| path.is_dir() && path != current)
            .map(|path| (fs::metadata(stamp_of(&path)).and_then(|meta| meta.modified()).ok(), path))
            .collect();
        old.sort();
        old.truncate(old.len().saturating_sub(KEPT - 1));
        for (_, path) in old {
            remove(&stamp_of(&path))?;
            remove(&path)?;
        }
        Ok(())
    }

    fn of_kind(&self, kind: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(Error::io(&self.folder))? {
            let path = entry.map_err(Error::io(&self.folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('-')) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

fn stamp_of(entry: &Path) -> PathBuf {
    let mut name = entry.as_os_str().to_owned();
    name.push(".stamp");
    name.into()
}

/// Head, key, one line a file (size, digest or `-`, path), end.
fn manifest(folder: &Path, key: &Key, check: Check) -> Result<String> {
    let mut text = format!("{STAMP_HEAD}\n{key}\n");
    for path in files_below(folder)? {
        let relative = path.strip_prefix(folder).unwrap_or(&path);
        let meta = fs::symlink_metadata(&path).map_err(Error::io(&path))?;
        let digest = if check == Check::Content && meta.is_file() { digest_of(&path)? } else { "-".into() };
        // A name with a line break would read as two; none of the things kept here has one, and the entry that did
        // would just be made again each time.
        let _ = writeln!(text, "{} {digest} {}", meta.len(), String::from_utf8_lossy(relative.as_os_str().as_bytes()));
    }
    text.push_str(STAMP_END);
    text.push('\n');
    Ok(text)
}

fn is_whole(entry: &Path, stamp: &Path, key: &Key, check: Check) -> bool {
    let Ok(text) = fs::read_to_string(stamp) else { return false };
    let Some(listed) = text
        .strip_prefix(&format!("{STAMP_HEAD}\n{key}\n"))
        .and_then(|rest| rest.strip_suffix(&format!("{STAMP_END}\n")))
    else {
        return false;
    };
    listed.lines().all(|line| {
        let mut fields = line.splitn(3, ' ');
        let (Some(size), Some(digest), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            return false;
        };
        let path = entry.join(path);
        fs::symlink_metadata(&path).is_ok_and(|meta| size.parse() == Ok(meta.len()))
            && (check == Check::Size || digest == "-" || digest_of(&path).is_ok_and(|found| found == digest))
    })
}

/// Lets go of what is mounted below `path`: what somebody killed left there is not ours to delete.
fn unmount_below(path: &Path) -> Result<()> {
    let path = fs::canonicalize(path).map_err(Error::io(path))?;
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The fifth field is the mount point; the latest mount lies on top. Spaces and the like are written in octal there,
    // and no name of ours has any.
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let below: Vec<&Path> = points.filter(|point| point.starts_with(&path) && *point != path).collect();
    for point in below.into_iter().rev() {
        rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH)
            .map_err(|errno| Error::io(point)(errno.into()))?;
    }
    Ok(())
}

/// Removes a file or folder that may not be there.
fn remove(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            unmount_below(path)?;
            fs::remove_dir_all(path)
        }
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match gone {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}
