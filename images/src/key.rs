// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Keys made of content: the same inputs give the same key, on any machine and at any time.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// SHA-256 over all inputs.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.short())
    }
}

impl Key {
    /// The first 16 hex digits: enough for a folder's name.
    pub fn short(&self) -> String {
        self.to_string().chars().take(16).collect()
    }
}

/// Collects inputs. Each is written with its name and length, so that no two sequences of inputs look alike.
#[derive(Default)]
pub struct KeyBuilder(Sha256);

impl KeyBuilder {
    /// An empty key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes under a name.
    #[must_use]
    pub fn bytes(mut self, name: &str, bytes: &[u8]) -> Self {
        for part in [name.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds another key under a name.
    #[must_use]
    pub fn key(self, name: &str, key: &Key) -> Self {
        self.bytes(name, &key.0)
    }

    /// Adds a file's content under a name; where it lies does not matter.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn file(self, name: &str, path: &Path) -> Result<Self> {
        Ok(self.bytes(name, &fs::read(path).map_err(Error::io(path))?))
    }

    /// Adds each file below a folder under its path from there, in the order of the paths.
    ///
    /// # Errors
    /// [`Error::Io`] when one of them cannot be read.
    pub fn tree(mut self, name: &str, folder: &Path) -> Result<Self> {
        for path in files_below(folder)? {
            let relative = path.strip_prefix(folder).unwrap_or(&path);
            self = self.file(&format!("{name}/{}", relative.display()), &path)?;
        }
        Ok(self)
    }

    /// The key of everything added.
    pub fn finish(self) -> Key {
        Key(self.0.finalize().into())
    }
}

/// SHA-256 of a file's content in hex.
pub(crate) fn digest_of(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(Error::io(path))?;
    std::io::copy(&mut file, &mut hash).map_err(Error::io(path))?;
    Ok(Key(hash.finalize().into()).to_string())
}

/// Every file (not folder) below `folder`, sorted, without following symbolic links.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let entry = entry.map_err(Error::io(&folder))?;
            let kind = entry.file_type().map_err(Error::io(entry.path()))?;
            if kind.is_dir() {
                folders.push(entry.path())
            } else {
                files.push(entry.path())
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_name_and_content_changes_the_key() {
        let one = KeyBuilder::new().bytes("ab", b"c").finish();
        let two = KeyBuilder::new().bytes("a", b"bc").finish();
        assert_ne!(one, two);
    }

    #[test]
    fn a_tree_has_the_same_key_wherever_it_lies() {
        let make = || {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("sub")).unwrap();
            fs::write(folder.path().join("sub/a"), "1").unwrap();
            fs::write(folder.path().join("b"), "2").unwrap();
            folder
        };
        let (one, two) = (make(), make());
        let key = |folder: &Path| KeyBuilder::new().tree("t", folder).unwrap().finish();
        assert_eq!(key(one.path()), key(two.path()));
        fs::write(two.path().join("b"), "3").unwrap();
        assert_ne!(key(one.path()), key(two.path()));
    }
}
