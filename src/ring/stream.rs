// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The dwords of packets.

use super::{Halt, Illegal};
use crate::gmc::{Stop, Vm};

/// Where a packet's dwords come from: a ring, which wraps, or an indirect buffer, which does not.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Address space.
    pub vmid: u8,
    /// First byte of the ring or buffer.
    pub base: u64,
    /// Bytes from there to the stream's position, not wrapped.
    pub offset: u64,
    /// Bytes of the ring, a power of two; None for a buffer.
    pub ring: Option<u64>,
}

impl Stream {
    /// The stream `bytes` further on.
    pub fn skip(self, bytes: u64) -> Self {
        Self { offset: self.offset.wrapping_add(bytes), ..self }
    }
    /// Reads dwords from the stream's position, each once.
    pub fn read(&self, vm: &mut Vm<'_, '_>, dwords: &mut [u8]) -> Result<(), Stop> {
        let mut at = *self;
        let mut rest = dwords;
        while !rest.is_empty() {
            let (place, room) = match at.ring {
                Some(size) => (at.offset & (size - 1), size - (at.offset & (size - 1))),
                None => (at.offset, u64::MAX),
            };
            let n = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            let (part, tail) = rest.split_at_mut_checked(n).ok_or(Stop::Error)?;
            vm.read(at.vmid, at.base.wrapping_add(place), part)?;
            at = at.skip(n as u64);
            rest = tail;
        }
        Ok(())
    }
    /// Reads a packet's first dwords, up to those whose number `fixed` finds in its header, of at most `left`. The header
    /// is read first, the rest once its length is known; each dword once. Those that a packet does not have are 0.
    pub fn fetch<const N: usize>(
        &self,
        vm: &mut Vm<'_, '_>,
        left: u32,
        fixed: impl Fn(u32) -> Result<usize, Illegal>,
    ) -> Result<([u32; N], usize), Halt> {
        let mut head = [0; 4];
        if left == 0 {
            return Err(Illegal.into());
        }
        self.read(vm, &mut head)?;
        let header = u32::from_le_bytes(head);
        let count = fixed(header)?;
        if count > N || count > left as usize {
            return Err(Illegal.into());
        }
        let mut dwords = [0; N];
        let (first, rest) = dwords.split_first_mut().ok_or(Illegal)?;
        *first = header;
        let mut raw = [[0; 4]; N];
        let raw = raw.get_mut(1..count).ok_or(Illegal)?;
        self.skip(4).read(vm, raw.as_flattened_mut())?;
        for (dword, bytes) in rest.iter_mut().zip(raw) {
            *dword = u32::from_le_bytes(*bytes);
        }
        Ok((dwords, count))
    }
    /// Address of its position.
    pub fn address(&self) -> u64 {
        self.base.wrapping_add(self.offset & self.ring.map_or(u64::MAX, |size| size.wrapping_sub(1)))
    }
}
