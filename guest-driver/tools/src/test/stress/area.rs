// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory of one kind, what must be in it, and what a process does with it that concerns no device.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use rustix::mm::Advice;

use super::PAGE;
use crate::drm::{Mapping, May, HUGE};
use crate::rng::Rng;
use crate::test::case::{same_bytes, stamps};

/// Pages of an area, but for one of huge pages.
const PAGES: usize = 64;
/// Most bytes of one access.
const MOST: u64 = 24 * PAGE as u64;
/// Most pages that one call changes.
const MOST_PAGES: usize = 20;

/// What an area is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Private anonymous memory, small pages.
    Private,
    /// The same with huge pages, where there are some.
    Huge,
    /// Anonymous memory that children share.
    Shared,
    /// A file.
    File,
    /// A file of which this process has copies of its own where it writes.
    Copied,
}

/// What is mapped, and its content as a model.
pub struct Area {
    pub kind: Kind,
    map: Mapping,
    model: Vec<u8>,
    /// What a copied file itself has.
    under: Vec<u8>,
    file: Option<File>,
}

impl Area {
    /// An area of fresh memory with data.
    pub fn new(kind: Kind, salt: u64) -> Result<Self> {
        let length = if kind == Kind::Huge { 2 * HUGE } else { PAGES * PAGE };
        let (mut file, data) = (None, stamps(salt, length));
        let map = match kind {
            Kind::Private => Mapping::private(length)?,
            Kind::Huge => Mapping::transparent(length)?,
            Kind::Shared => Mapping::shared(length)?,
            Kind::File | Kind::Copied => {
                let path = format!("/tmp/uvm-stress-{}-{salt}", std::process::id());
                let new = File::options().read(true).write(true).create_new(true).open(&path).context(path.clone())?;
                std::fs::remove_file(&path)?;
                new.set_len(length as u64)?;
                let map = Mapping::file(new.as_fd(), length, kind == Kind::Copied)?;
                Mapping::file(new.as_fd(), length, false)?.write(0, &data);
                file = Some(new);
                map
            }
        };
        if file.is_none() {
            map.write(0, &data);
        }
        let under = if kind == Kind::Copied { data.clone() } else { Vec::new() };
        Ok(Self { kind, map, model: data, under, file })
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.model.len()
    }

    /// The address of a byte.
    pub fn va(&self, at: usize) -> u64 {
        self.map.va() + at as u64
    }

    /// Some bytes of it, words: where and how many.
    pub fn span(&self, rng: &mut Rng) -> (usize, usize) {
        let length = usize::try_from(rng.size(MOST)).unwrap_or(8).next_multiple_of(8).min(self.len());
        (rng.index((self.len() - length) / 8 + 1) * 8, length)
    }

    /// Some pages of it: where and how many bytes.
    pub fn pages(&self, rng: &mut Rng) -> (usize, usize) {
        let pages = 1 + rng.index(MOST_PAGES);
        (rng.index(self.len() / PAGE - pages + 1) * PAGE, pages * PAGE)
    }

    /// Whether nobody else has its memory and no file is behind it.
    pub fn is_private(&self) -> bool {
        matches!(self.kind, Kind::Private | Kind::Huge)
    }

    /// The CPU writes.
    pub fn write(&mut self, at: usize, data: &[u8]) {
        self.map.write(at, data);
        self.wrote(at, data);
    }

    /// Somebody wrote.
    pub fn wrote(&mut self, at: usize, data: &[u8]) {
        self.model[at..][..data.len()].copy_from_slice(data);
    }

    /// What must be there.
    pub fn expected(&self, at: usize, length: usize) -> &[u8] {
        &self.model[at..][..length]
    }

    /// The CPU reads and compares.
    pub fn check(&self, at: usize, length: usize) -> Result<()> {
        let mut seen = vec![0; length];
        self.map.read(at, &mut seen);
        same_bytes(format_args!("{:?} memory, byte {at:#x}, by the CPU", self.kind), &seen, self.expected(at, length))
    }

    /// Advice that changes no content.
    pub fn advise(&self, at: usize, length: usize, advice: Advice) -> Result<()> {
        self.map.advise(at, length, advice).with_context(|| format!("{advice:?} of {:?} memory", self.kind))
    }

    /// Has huge pages made; false where the kernel does not.
    pub fn collapse(&self) -> Result<bool> {
        match self.map.collapse(0, self.len()) {
            Ok(()) => Ok(true),
            // What was split, swapped out or is under way to VRAM may not be had at the moment, or no huge page is free.
            Err(Errno::AGAIN | Errno::BUSY | Errno::NOMEM | Errno::INVAL) => Ok(false),
            Err(error) => Err(error).context("MADV_COLLAPSE"),
        }
    }

    /// Throws pages away: zeros where memory was private, what the file has where it was a copy.
    pub fn throw_away(&mut self, at: usize, length: usize) -> Result<()> {
        self.advise(at, length, Advice::LinuxDontNeed)?;
        match self.kind {
            Kind::Private | Kind::Huge => self.model[at..][..length].fill(0),
            Kind::Copied => self.model[at..][..length].copy_from_slice(&self.under[at..][..length]),
            Kind::Shared | Kind::File => {}
        }
        Ok(())
    }

    /// Punches a hole into what is shared: it reads as zeros. False for other memory.
    pub fn punch(&mut self, at: usize, length: usize) -> Result<bool> {
        if !matches!(self.kind, Kind::Shared | Kind::File) {
            return Ok(false);
        }
        self.advise(at, length, Advice::LinuxRemove)?;
        self.model[at..][..length].fill(0);
        Ok(true)
    }

    /// Cuts the file off and makes it as long as it was. False where there is none.
    pub fn truncate(&mut self, at: usize) -> Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        file.set_len(at as u64)?;
        file.set_len(self.model.len() as u64)?;
        self.model[at..].fill(0);
        if self.kind == Kind::Copied {
            self.under[at..].fill(0);
        }
        Ok(true)
    }

    /// Unmaps private pages, lets something happen, and maps new ones there.
    pub fn hole(&mut self, at: usize, length: usize, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        ensure!(self.is_private(), "a hole in {:?} memory", self.kind);
        self.map.unmap(at, length)?;
        let result = meanwhile();
        self.map.map_again(at, length)?;
        self.model[at..][..length].fill(0);
        result
    }

    /// Lets pages only be read, lets something happen, and lets them be written again.
    pub fn read_only(&self, at: usize, length: usize, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        self.map.protect(at, length, May::Read)?;
        let result = meanwhile();
        self.map.protect(at, length, May::ReadWrite)?;
        result
    }

    /// Moves private pages to another area of the kind, and maps new ones where they were.
    pub fn move_to(&mut self, at: usize, length: usize, to: &mut Self, there: usize) -> Result<()> {
        ensure!(self.is_private() && to.is_private(), "{:?} memory that moves", self.kind);
        self.map.move_to(at, length, &to.map, there)?;
        to.model[there..][..length].copy_from_slice(&self.model[at..][..length]);
        self.map.map_again(at, length)?;
        self.model[at..][..length].fill(0);
        Ok(())
    }
}
