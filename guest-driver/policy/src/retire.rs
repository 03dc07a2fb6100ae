// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Broken memory: pages that a segment never gives out again.

use crate::error::Error;
use crate::ids::SegmentId;
use crate::journal::Note;
use crate::policy::Policy;

impl Policy {
    /// Takes the page that holds byte `offset` of a segment out of use for good. True: it is out of use now. False:
    /// somebody has it; once they free it, it is not given out again.
    ///
    /// [`Error::Invalid`] for an offset outside; [`Error::NoMemory`] and [`Error::NoSpace`] where the books are full: the
    /// page is then like any other.
    pub fn retire(&mut self, segment: SegmentId, offset: u64) -> Result<bool, Error> {
        let (page, base) = (self.page_size(), self.segment_base(segment)?);
        let start = offset.checked_sub(base).ok_or(Error::Invalid)?;
        let now = self.heap_mut(segment)?.retire(start.checked_div(page).ok_or(Error::Invalid)?)?;
        self.journal.note(Note::Retired { segment, offset });
        Ok(now)
    }

    /// Number of pages of a segment that were retired.
    pub fn retired(&mut self, segment: SegmentId) -> Result<u64, Error> {
        Ok(self.heap_mut(segment)?.retired())
    }
}
