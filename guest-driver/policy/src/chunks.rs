// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Chunks: what the driver takes of local memory for pages of processes' own memory, which it gives out itself; and
//! which chunk is to be emptied when there is no room.
//!
//! A chunk goes by its number: its offset in VRAM divided by the size that all have. The least recently used one goes
//! first. One that was named is not named again until the driver says how that ended.

use crate::error::Error;
use crate::evict::list::Lists;
use crate::heap::From;
use crate::ids::{BlockId, SegmentId};
use crate::policy::{AllocRequest, Allocation, Policy};
use crate::segment::SegmentKind;

/// Chunks in use, the least recently used first.
const USED: u8 = 0;
/// Chunks that are being emptied.
const LEAVING: u8 = 1;

/// The chunks of a device.
pub(crate) struct Chunks {
    size: u64,
    lists: Lists<2>,
}

impl Chunks {
    pub(crate) const fn new() -> Self {
        Self { size: 0, lists: Lists::new() }
    }
}

impl Policy {
    /// Takes a chunk of `size` bytes, a power of two and always the same, aligned to its size, where VRAM's buffers are:
    /// from the top of a segment, as they grow from the bottom.
    ///
    /// [`Error::NoSpace`] when there is none; [`Error::Unknown`] without such a segment; [`Error::Invalid`] for another
    /// size than before.
    pub fn chunk_take(&mut self, size: u64) -> Result<Allocation, Error> {
        if self.chunks.size != 0 && self.chunks.size != size {
            return Err(Error::Invalid);
        }
        let range = self.chunk_range(size)?;
        let listed = number(range.offset, size).and_then(|number| {
            self.chunks.lists.ensure(number.checked_add(1).ok_or(Error::Invalid)?)?;
            Ok(number)
        });
        match listed {
            Ok(number) => {
                self.chunks.size = size;
                self.chunks.lists.push_back(USED, number);
                Ok(range)
            }
            Err(error) => {
                self.free(range.id)?;
                Err(error)
            }
        }
    }

    /// First where the CPU does not reach: its pages come to it, while buffers may be mapped.
    fn chunk_range(&mut self, size: u64) -> Result<Allocation, Error> {
        let request = AllocRequest { size, align: size, from: From::Top, within: None };
        let mut answer = Err(Error::Unknown);
        for kind in [SegmentKind::LocalInvisible, SegmentKind::Local] {
            for index in 0..self.segments.len() {
                let segment = SegmentId(u8::try_from(index).map_err(|_| Error::Invalid)?);
                if self.kind(segment) == Some(kind) {
                    answer = self.alloc(segment, &request);
                    if answer != Err(Error::NoSpace) {
                        return answer;
                    }
                }
            }
        }
        answer
    }

    /// Gives a chunk back; nobody has a page of it.
    pub fn chunk_free(&mut self, id: BlockId) -> Result<(), Error> {
        let number = number(self.allocation(id)?.offset, self.chunks.size)?;
        self.free(id)?;
        self.chunks.lists.remove(number);
        Ok(())
    }

    /// Pages of a chunk were used: it is not the next to go. One that leaves already does.
    pub fn chunk_used(&mut self, number: u32) -> Result<(), Error> {
        match self.chunks.lists.list_of(number) {
            Some(LEAVING) => Ok(()),
            Some(_) => {
                self.chunks.lists.remove(number);
                self.chunks.lists.push_back(USED, number);
                Ok(())
            }
            None => Err(Error::Unknown),
        }
    }

    /// The chunk that is to be emptied now; then it is given back, or [`Policy::chunk_stays`].
    pub fn chunk_victim(&mut self) -> Option<u32> {
        let number = self.chunks.lists.pop(USED)?;
        self.chunks.lists.push_back(LEAVING, number);
        Some(number)
    }

    /// A chunk that was to be emptied still has pages: it counts as used just now.
    pub fn chunk_stays(&mut self, number: u32) -> Result<(), Error> {
        if self.chunks.lists.list_of(number) != Some(LEAVING) {
            return Err(Error::Unknown);
        }
        self.chunks.lists.remove(number);
        self.chunks.lists.push_back(USED, number);
        Ok(())
    }
}

fn number(offset: u64, size: u64) -> Result<u32, Error> {
    let number = offset.checked_div(size).ok_or(Error::Invalid)?;
    u32::try_from(number).map_err(|_| Error::Invalid)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::segment::SegmentDesc;
    use alloc::vec::Vec;

    const SIZE: u64 = 2 << 20;

    fn policy(chunks: u64) -> Policy {
        let mut policy = Policy::new(4096).unwrap();
        policy.add_segment_of(&SegmentDesc { kind: SegmentKind::Local, base: 0, size: chunks * SIZE }).unwrap();
        policy
    }

    #[test]
    fn what_the_cpu_does_not_reach_is_taken_first() {
        let mut policy = policy(2);
        let invisible = SegmentDesc { kind: SegmentKind::LocalInvisible, base: 2 * SIZE, size: SIZE };
        policy.add_segment_of(&invisible).unwrap();
        let own = SegmentDesc { kind: SegmentKind::OwnLocal, base: 3 * SIZE, size: SIZE };
        policy.add_segment_of(&own).unwrap();
        let offsets: Vec<u64> = (0..3).map(|_| policy.chunk_take(SIZE).unwrap().offset / SIZE).collect();
        assert_eq!(offsets, [2, 1, 0]);
        assert_eq!(policy.chunk_take(SIZE).unwrap_err(), Error::NoSpace);
    }

    #[test]
    fn chunks_come_from_the_top_until_there_is_none() {
        let mut policy = policy(4);
        let offsets: Vec<u64> = (0..4).map(|_| policy.chunk_take(SIZE).unwrap().offset / SIZE).collect();
        assert_eq!(offsets, [3, 2, 1, 0]);
        assert_eq!(policy.chunk_take(SIZE).unwrap_err(), Error::NoSpace);
        assert_eq!(policy.chunk_take(4096).unwrap_err(), Error::Invalid);
    }

    #[test]
    fn least_recently_used_goes_first_and_once() {
        let mut policy = policy(4);
        let taken: Vec<_> = (0..4).map(|_| policy.chunk_take(SIZE).unwrap()).collect();
        policy.chunk_used(3).unwrap();
        policy.chunk_used(1).unwrap();
        let order: Vec<u32> = core::iter::from_fn(|| policy.chunk_victim()).collect();
        assert_eq!(order, [2, 0, 3, 1]);
        // Use does not save what leaves already; that it stays does.
        policy.chunk_used(0).unwrap();
        policy.chunk_stays(3).unwrap();
        assert_eq!(policy.chunk_stays(3).unwrap_err(), Error::Unknown);
        policy.chunk_free(taken[3].id).unwrap();
        assert_eq!(policy.chunk_used(0).unwrap_err(), Error::Unknown);
        assert_eq!((policy.chunk_victim(), policy.chunk_victim()), (Some(3), None));
    }

    #[test]
    fn chunk_that_was_given_back_is_not_named() {
        let mut policy = policy(2);
        let (first, second) = (policy.chunk_take(SIZE).unwrap(), policy.chunk_take(SIZE).unwrap());
        policy.chunk_free(first.id).unwrap();
        assert_eq!(policy.chunk_free(first.id).unwrap_err(), Error::Unknown);
        assert_eq!(policy.chunk_victim(), Some(u32::try_from(second.offset / SIZE).unwrap()));
        assert_eq!(policy.chunk_victim(), None);
    }
}
