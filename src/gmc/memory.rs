// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Physical memory as the GPU sees it: VRAM and system memory, by offset and bus address.

use super::tmz::BLOCK;
use crate::bus::SystemMemory;
use crate::trace::Tracer;
use crate::vram::Vram;
use serde::{Deserialize, Serialize};
use std::fmt;
use vm_memory::{
    AtomicAccess, GuestAddress, GuestAddressSpace, GuestMemoryBackend, GuestMemoryLoadGuard, GuestMemoryMmap,
    GuestMemoryRegion, MemoryRegionAddress, VolatileSlice,
};

/// Which memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// Video memory; addresses are offsets in it.
    Vram,
    /// System memory; addresses are bus addresses.
    System,
}

/// A physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Phys {
    /// The memory.
    pub space: Space,
    /// Bytes from its start.
    pub addr: u64,
}

impl fmt::Display for Phys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.space == Space::Vram { "VRAM" } else { "RAM" };
        write!(f, "{space} {:#x}", self.addr)
    }
}

impl Phys {
    /// `offset` bytes on; None past the end of the number range.
    pub fn offset(self, offset: u64) -> Option<Self> {
        Some(Self { space: self.space, addr: self.addr.checked_add(offset)? })
    }
}

/// A consistent view of both memories: one memory map, for the length of one operation.
pub struct Memory<'a> {
    pub(super) vram: &'a Vram,
    pub(super) system: GuestMemoryLoadGuard<GuestMemoryMmap>,
    /// Where VRAM lies in system memory, if it does.
    carveout: Option<u64>,
    /// Where reads and writes are told, if everything is.
    pub(super) trace: Option<Tracer>,
}

impl<'a> Memory<'a> {
    /// The view of VRAM and of what `system` maps now.
    pub fn new(vram: &'a Vram, system: &SystemMemory) -> Self {
        let system = system.memory();
        let carveout = vram.base(&system);
        Self { vram, system, carveout, trace: None }
    }
    /// The same, whose reads and writes are told to `trace` if that is a full one. In a replay, `system` maps what it
    /// mapped when it was recorded, and a read gives what it gave then.
    pub fn traced(vram: &'a Vram, system: &SystemMemory, trace: &Tracer) -> Self {
        trace.remap(system);
        let memory = Self::new(vram, system);
        trace.mapped(&memory.system);
        Self { trace: trace.is_full().then(|| trace.clone()), ..memory }
    }
    /// The same memory for who only looks on: what is read through it is no part of what the device did.
    pub fn quiet(&self) -> Memory<'a> {
        Memory { vram: self.vram, system: self.system.clone(), carveout: self.carveout, trace: None }
    }
    /// The contiguous piece at `at`, at most `len` bytes; None where no memory is.
    #[inline(always)]
    pub fn slice(&self, at: Phys, len: usize) -> Option<VolatileSlice<'_>> {
        match (at.space, self.carveout) {
            (Space::System, _) => self.system_slice(at.addr, len),
            (Space::Vram, None) => self.vram.slice(at.addr, len),
            (Space::Vram, Some(base)) => {
                let rest = usize::try_from(self.vram.size().checked_sub(at.addr)?).ok()?;
                self.system_slice(base.checked_add(at.addr)?, len.min(rest))
            }
        }
    }
    #[inline(always)]
    fn system_slice(&self, addr: u64, len: usize) -> Option<VolatileSlice<'_>> {
        let region = self.system.find_region(GuestAddress(addr))?;
        let offset = addr.checked_sub(region.start_addr().0)?;
        let rest = usize::try_from(region.len().checked_sub(offset)?).ok()?;
        region.get_slice(MemoryRegionAddress(offset), len.min(rest)).ok().filter(|s| !s.is_empty())
    }
    /// Bytes from `at` on, at most `len`, that can be read before a page of VRAM with an uncorrectable error.
    pub fn sound(&self, at: Phys, len: usize) -> usize {
        match at.space {
            Space::Vram if self.has_poison() => self.vram.sound(at.addr, len),
            _ => len,
        }
    }
    /// Whether any page of VRAM has an uncorrectable error.
    #[inline(always)]
    pub fn has_poison(&self) -> bool {
        self.vram.has_poison()
    }
    /// Whether `slice` lies where the device alone does not decide: system memory behind a link without AtomicOps. There an
    /// atomic is a read and a write, and what a CPU writes in between is lost. VRAM in system memory is behind no link.
    pub(super) fn is_remote(&self, slice: &VolatileSlice<'_>) -> bool {
        self.carveout.is_none() && !self.vram_at().contains(&(slice.ptr_guard().as_ptr() as usize))
    }
    /// Reads the naturally aligned integer at `at` in one access; None where no memory is, where it is broken, or where
    /// the address is unaligned.
    pub fn load<T: AtomicAccess>(&self, at: Phys) -> Option<T> {
        if self.sound(at, size_of::<T>()) < size_of::<T>() {
            return None;
        }
        self.load_from(&self.slice(at, size_of::<T>())?)
    }
    /// Writes the naturally aligned integer at `at` in one access, after all before it.
    pub fn store<T: AtomicAccess>(&self, at: Phys, value: T) -> Option<()> {
        self.store_to(&self.slice(at, size_of::<T>())?, value)
    }
    /// Reads encrypted VRAM at `addr`, in clear. None where no memory is.
    pub fn read_secret(&self, addr: u64, buf: &mut [u8]) -> Option<()> {
        self.secret(
            addr,
            buf.len(),
            |block, range, done| {
                let (Some(from), Some(to)) = (block.get(range.clone()), buf.get_mut(done..done + range.len())) else {
                    return;
                };
                to.copy_from_slice(from);
            },
            false,
        )
    }
    /// Writes encrypted VRAM at `addr` with what is given in clear. None where no memory is.
    pub fn write_secret(&self, addr: u64, buf: &[u8]) -> Option<()> {
        self.secret(
            addr,
            buf.len(),
            |block, range, done| {
                let (Some(to), Some(from)) = (block.get_mut(range.clone()), buf.get(done..done + range.len())) else {
                    return;
                };
                to.copy_from_slice(from);
            },
            true,
        )
    }
    /// Shows `visit` the clear text of `len` bytes at `addr`, in chunks of whole cipher blocks: the chunk, the part of it
    /// that is meant, and the bytes before it. Writes the chunks back if `write`.
    fn secret(
        &self,
        addr: u64,
        len: usize,
        mut visit: impl FnMut(&mut [u8], std::ops::Range<usize>, usize),
        write: bool,
    ) -> Option<()> {
        const CHUNK: usize = 4096;
        let mut chunk = [0u8; CHUNK];
        let mut done = 0;
        while done < len {
            let at = addr.checked_add(done as u64)?;
            let start = at & !(BLOCK as u64 - 1);
            let skip = usize::try_from(at - start).ok()?;
            let n = (len - done).min(CHUNK - skip);
            let whole = (skip + n).next_multiple_of(BLOCK);
            let part = chunk.get_mut(..whole)?;
            let slice = self.slice(Phys { space: Space::Vram, addr: start }, whole).filter(|s| s.len() == whole)?;
            self.get(&slice, part)?;
            self.vram.cipher().decrypt(start, part);
            visit(part, skip..skip + n, done);
            if write {
                self.vram.cipher().encrypt(start, part);
                self.put(&slice, part)?;
            }
            done += n;
        }
        Some(())
    }
    /// Where VRAM lies among this process's addresses; nowhere where it is none of the guest's memory.
    pub(super) fn vram_at(&self) -> std::ops::Range<usize> {
        let Some(first) = self.slice(Phys { space: Space::Vram, addr: 0 }, 1) else { return 0..0 };
        let start = first.ptr_guard().as_ptr() as usize;
        start..start.saturating_add(usize::try_from(self.vram.size()).unwrap_or(usize::MAX))
    }
    /// Bytes of VRAM.
    pub fn vram_size(&self) -> u64 {
        self.vram.size()
    }
}
