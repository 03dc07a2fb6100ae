// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Chunks: what the driver takes of local memory for pages of processes' own memory, which it gives out itself. Which
//! of them is emptied when there is no room is the matter of those who know what is in them: [`crate::svm::Svm::victim`].

use crate::error::Error;
use crate::heap::From;
use crate::ids::SegmentId;
use crate::policy::{AllocRequest, Allocation, Policy};
use crate::segment::SegmentKind;

impl Policy {
    /// Takes a chunk of `size` bytes, a power of two, aligned to its size, where VRAM's buffers are: from the top of a
    /// segment, as they grow from the bottom; first where the CPU does not reach: its pages come to it, while buffers
    /// may be mapped. It is given back with [`Policy::free`].
    ///
    /// [`Error::NoSpace`] when there is none; [`Error::Unknown`] without such a segment.
    pub fn chunk_take(&mut self, size: u64) -> Result<Allocation, Error> {
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
        let taken: Vec<_> = (0..4).map(|_| policy.chunk_take(SIZE).unwrap()).collect();
        let offsets: Vec<u64> = taken.iter().map(|chunk| chunk.offset / SIZE).collect();
        assert_eq!(offsets, [3, 2, 1, 0]);
        assert_eq!(policy.chunk_take(SIZE).unwrap_err(), Error::NoSpace);
        policy.free(taken[2].id).unwrap();
        assert_eq!(policy.chunk_take(SIZE).unwrap().offset, SIZE);
    }
}
