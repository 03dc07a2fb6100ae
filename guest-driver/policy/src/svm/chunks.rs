// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which 2 MiB of VRAM leave when there is no room: the least recently used, but rather not what somebody has only just
//! got, or wants to stay.

use alloc::vec::Vec;

use crate::error::Error;
use crate::evict::list::Lists;
use crate::table::try_push;

/// Chunks in use, the oldest first.
const USED: u8 = 0;
/// Chunks that were picked and have not gone yet.
const LEAVING: u8 = 1;
/// So many of the oldest are asked whether they may stay before one goes that would like to.
const LOOKS: u32 = 64;

/// Whose pages came to a chunk last: space and block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) space: u32,
    pub(crate) block: u64,
}

/// The chunks that hold pages.
pub(crate) struct Chunks {
    owners: Vec<Option<Owner>>,
    lists: Lists<2>,
}

impl Chunks {
    /// So many chunks of VRAM, none of them in use.
    pub(crate) fn try_new(count: u32) -> Result<Self, Error> {
        let mut owners = Vec::new();
        for _ in 0..count {
            try_push(&mut owners, None)?;
        }
        let mut lists = Lists::new();
        lists.ensure(count)?;
        Ok(Self { owners, lists })
    }

    /// Whether there is a chunk of that number.
    pub(crate) fn has(&self, chunk: u32) -> bool {
        (chunk as usize) < self.owners.len()
    }

    /// Pages came to a chunk, or were used there.
    pub(crate) fn used(&mut self, chunk: u32, owner: Owner) -> Result<(), Error> {
        *self.owners.get_mut(chunk as usize).ok_or(Error::Invalid)? = Some(owner);
        self.lists.remove(chunk);
        self.lists.push_back(USED, chunk);
        Ok(())
    }

    /// A chunk is used again, if it still holds that block's pages and stays.
    pub(crate) fn touch(&mut self, chunk: u32, owner: Owner) {
        let is_owner = self.owners.get(chunk as usize).is_some_and(|now| *now == Some(owner));
        if is_owner && self.lists.list_of(chunk) == Some(USED) {
            self.lists.remove(chunk);
            self.lists.push_back(USED, chunk);
        }
    }

    /// Pages of a chunk are used, whoever has them; one that leaves already does.
    pub(crate) fn in_use(&mut self, chunk: u32) -> Result<(), Error> {
        self.owners.get(chunk as usize).ok_or(Error::Invalid)?;
        if self.lists.list_of(chunk) != Some(LEAVING) {
            self.lists.remove(chunk);
            self.lists.push_back(USED, chunk);
        }
        Ok(())
    }

    /// A chunk has no page any more.
    pub(crate) fn gone(&mut self, chunk: u32) -> Result<(), Error> {
        *self.owners.get_mut(chunk as usize).ok_or(Error::Invalid)? = None;
        self.lists.remove(chunk);
        Ok(())
    }

    /// A chunk that was picked could not go: it counts as used just now.
    pub(crate) fn stays(&mut self, chunk: u32) -> Result<(), Error> {
        self.owners.get(chunk as usize).ok_or(Error::Invalid)?;
        if self.lists.list_of(chunk) == Some(LEAVING) {
            self.lists.remove(chunk);
            self.lists.push_back(USED, chunk);
        }
        Ok(())
    }

    /// Picks a chunk that should leave.
    pub(crate) fn pick(&mut self, may_stay: impl Fn(Owner) -> bool) -> Option<u32> {
        let mut picked = self.lists.front(USED)?;
        let mut here = Some(picked);
        for _ in 0..LOOKS {
            let Some(chunk) = here else { break };
            if !self.owners.get(chunk as usize).copied().flatten().is_some_and(&may_stay) {
                picked = chunk;
                break;
            }
            here = self.lists.next(chunk);
        }
        self.lists.remove(picked);
        self.lists.push_back(LEAVING, picked);
        Some(picked)
    }
}
