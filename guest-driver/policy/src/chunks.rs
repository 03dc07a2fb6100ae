// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Chunks: what the driver takes of local memory for pages of processes' own memory, which it gives out itself.

use crate::domain::Domain;
use crate::error::Error;
use crate::heap::From;
use crate::policy::{AllocRequest, Allocation, Policy};

impl Policy {
    /// Takes a chunk of `size` bytes, a power of two, where VRAM's buffers are, aligned to its size. From the top, as
    /// buffers grow from the bottom. It is given back by [`Policy::free`].
    ///
    /// [`Error::NoSpace`] when there is none; [`Error::Unknown`] without such a segment.
    pub fn chunk(&mut self, size: u64) -> Result<Allocation, Error> {
        let segment = self.buffer_segment_of(Domain::Vram)?;
        self.alloc(segment, &AllocRequest { size, align: size, from: From::Top, within: None })
    }
}
