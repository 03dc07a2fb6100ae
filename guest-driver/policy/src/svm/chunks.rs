// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which 2 MiB of VRAM leave when there is no room: the least recently used, but rather not what somebody has only just
//! got, or wants to stay.

use alloc::vec::Vec;

use super::rounds::Turnover;
use crate::error::Error;
use crate::evict::list::Lists;
use crate::table::try_push;

/// Chunks in use, the oldest first.
const USED: u8 = 0;
/// Chunks that were picked and have not gone yet.
const LEAVING: u8 = 1;
/// So many of the oldest are asked whether they may stay before one goes that would like to.
const LOOKS: u32 = 64;
/// So many batches after a chunk was picked to leave, VRAM still counts as full.
const FULL_FOR: u32 = 64;

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
    /// How many are in use and stay.
    used: u32,
    /// Batches for which VRAM counts as full.
    full: u32,
    /// Blocks of the last batch.
    wanted: u32,
    /// Chunks that were picked, ever.
    picked: u64,
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
        Ok(Self { owners, lists, used: 0, full: 0, wanted: 0, picked: 0 })
    }

    /// Whether there is a chunk of that number.
    pub(crate) fn has(&self, chunk: u32) -> bool {
        (chunk as usize) < self.owners.len()
    }

    /// Out of the list it is in, to the back of another one.
    fn move_to(&mut self, list: Option<u8>, chunk: u32) {
        if self.lists.list_of(chunk) == Some(USED) {
            self.used = self.used.saturating_sub(1);
        }
        self.lists.remove(chunk);
        let Some(list) = list else { return };
        self.lists.push_back(list, chunk);
        if list == USED {
            self.used = self.used.saturating_add(1);
        }
    }

    /// A batch wants pages of so many blocks. Gives how many blocks may be brought besides on a guess.
    ///
    /// There is no bound before VRAM is full. Then each of them makes others leave: half of VRAM at most, less what this
    /// batch needs or the last one, whose accesses may not have been made again yet. Else nobody might get on.
    pub(crate) fn batch(&mut self, blocks: u32) -> u32 {
        let before = core::mem::replace(&mut self.wanted, blocks);
        let Some(full) = self.full.checked_sub(1) else { return u32::MAX };
        self.full = full;
        self.used.wrapping_shr(1).saturating_sub(blocks.max(before))
    }

    /// How it stands with VRAM.
    pub(crate) fn turnover(&self) -> Turnover {
        Turnover { picked: self.picked, used: self.used, full: self.full != 0 }
    }

    /// Pages came to a chunk, or were used there.
    pub(crate) fn used(&mut self, chunk: u32, owner: Owner) -> Result<(), Error> {
        *self.owners.get_mut(chunk as usize).ok_or(Error::Invalid)? = Some(owner);
        self.move_to(Some(USED), chunk);
        Ok(())
    }

    /// A chunk is used again, if it still holds that block's pages and stays.
    pub(crate) fn touch(&mut self, chunk: u32, owner: Owner) {
        let is_owner = self.owners.get(chunk as usize).is_some_and(|now| *now == Some(owner));
        if is_owner && self.lists.list_of(chunk) == Some(USED) {
            self.move_to(Some(USED), chunk);
        }
    }

    /// Pages of a chunk are used, whoever has them; one that leaves already does.
    pub(crate) fn in_use(&mut self, chunk: u32) -> Result<(), Error> {
        self.owners.get(chunk as usize).ok_or(Error::Invalid)?;
        if self.lists.list_of(chunk) != Some(LEAVING) {
            self.move_to(Some(USED), chunk);
        }
        Ok(())
    }

    /// A chunk has no page any more.
    pub(crate) fn gone(&mut self, chunk: u32) -> Result<(), Error> {
        *self.owners.get_mut(chunk as usize).ok_or(Error::Invalid)? = None;
        self.move_to(None, chunk);
        Ok(())
    }

    /// A chunk that was picked could not go: it counts as used just now.
    pub(crate) fn stays(&mut self, chunk: u32) -> Result<(), Error> {
        self.owners.get(chunk as usize).ok_or(Error::Invalid)?;
        if self.lists.list_of(chunk) == Some(LEAVING) {
            self.move_to(Some(USED), chunk);
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
        self.move_to(Some(LEAVING), picked);
        self.full = FULL_FOR;
        self.picked = self.picked.saturating_add(1);
        Some(picked)
    }
}
