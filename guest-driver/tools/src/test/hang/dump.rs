// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The kernel's device core dumps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};

use crate::drm::Space;
use crate::test::case::{eventually, same, PATIENCE};

/// Where the kernel shows them.
const CLASS: &str = "/sys/class/devcoredump";

/// A dump that was read whole; it stays with the kernel until it is dismissed.
pub struct Dump {
    path: PathBuf,
    text: String,
}

impl Dump {
    /// Files of the dumps that there are.
    pub fn present() -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(CLASS) {
            Ok(entries) => entries,
            // The class comes with the first of them on some kernels.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context(CLASS),
        };
        // `disabled`, a switch, stands beside them.
        let names = entries.flatten().map(|entry| entry.path());
        Ok(names.map(|path| path.join("data")).filter(|path| path.exists()).collect())
    }

    /// Drops every dump.
    pub fn dismiss_all() -> Result<()> {
        for path in Self::present()? {
            dismiss(&path)?;
        }
        Ok(())
    }

    /// Waits for a dump, which comes a little later than the fence of what hung.
    pub fn wait() -> Result<Self> {
        let mut found = Vec::new();
        let there = eventually(PATIENCE, || {
            found = Self::present()?;
            Ok(!found.is_empty())
        })?;
        ensure!(there, "no dump in {CLASS}");
        same("dumps", found.len(), 1)?;
        Self::read(found.remove(0))
    }

    /// Reads the dump again.
    pub fn read(path: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(text.ends_with("end of dump\n"), "the dump is not whole:\n{text}");
        Ok(Self { path, text })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn line(&self, line: &str) -> Result<()> {
        ensure!(self.text.lines().any(|l| l == line), "no line `{line}` in:\n{}", self.text);
        Ok(())
    }

    /// Only root reads it.
    pub fn is_private(&self) -> Result<()> {
        let mode = fs::metadata(&self.path)?.permissions().mode();
        same("rights of others", mode & 0o077, 0)
    }

    /// It tells which ring hung, and why.
    pub fn names(&self, ring: u32, why: &str) -> Result<()> {
        self.line(&format!("uvm: sdma{ring} hung: {why}"))
    }

    /// It tells whose submission it was: this process's.
    pub fn shows_process(&self, space: &Space) -> Result<()> {
        let name = fs::read_to_string("/proc/self/comm").context("/proc/self/comm")?;
        let start = format!("process: {} (pid {}), PASID ", name.trim_end(), std::process::id());
        ensure!(self.text.lines().any(|l| l.starts_with(&start)), "no line `{start}..` in:\n{}", self.text);
        let job = format!(", IB {:#x}, ", space.va());
        ensure!(self.text.contains(&job), "the dump does not name the submission `{job}`:\n{}", self.text);
        Ok(())
    }

    /// The packet that the engine stands on, at byte `at` of the submission, is the first of those shown.
    pub fn shows_packet(&self, at: u64, name: &str, dwords: &[u32]) -> Result<()> {
        let mut lines = self.text.lines().skip_while(|line| *line != format!("IB at IB_RPTR {at:#x}:")).skip(1);
        let shown = lines.next().with_context(|| format!("no packets of the submission at {at:#x}:\n{}", self.text))?;
        let (head, words) = shown.split_once(": ").with_context(|| format!("no packet: {shown}"))?;
        same("the packet", head, format!("  +{at:#06x} {name}").as_str())?;
        let words: Vec<u32> =
            words.split(' ').map(|word| u32::from_str_radix(word, 16)).collect::<Result<_, _>>().context("a dword")?;
        ensure!(!words.is_empty(), "a packet without dwords: {shown}");
        same("its dwords", words.as_slice(), dwords.get(..words.len()).unwrap_or_default())
    }

    /// It shows how the packet's address translates, down to a page.
    pub fn shows_walk(&self, va: u64) -> Result<()> {
        let start = format!("page walk of {va:#x} in VMID ");
        let mut lines = self.text.lines().skip_while(|line| !line.starts_with(&start)).skip(1);
        let page = lines.by_ref().find(|line| !line.starts_with("  level ")).unwrap_or_default();
        ensure!(page.starts_with("  page: system 0x"), "the walk of {va:#x} ends in `{page}`:\n{}", self.text);
        Ok(())
    }

    /// Tells the kernel that it may go, and waits until it has.
    pub fn dismiss(self) -> Result<()> {
        dismiss(&self.path)
    }
}

fn dismiss(path: &Path) -> Result<()> {
    match fs::write(path, "1") {
        Ok(()) => {}
        // It grew old meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    }
    let gone = eventually(PATIENCE, || Ok(!path.exists()))?;
    ensure!(gone, "{} is still there", path.display());
    Ok(())
}
