// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The one place where the device reads and writes memory, and so where a full trace sees it and a replay steps in.
//!
//! A read that is traced is made once: the device works with the very bytes that are recorded, whatever the guest does to
//! them meanwhile.

use super::{Memory, Phys, Space};
use crate::trace::Tracer;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use vm_memory::{
    AtomicAccess, ByteValued, Bytes, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress, VolatileMemory,
    VolatileSlice,
};

/// Most bytes of a copy that are traced at once.
const CHUNK: usize = 4096;

impl Memory<'_> {
    /// Reads `buf.len()` bytes from the start of `slice`.
    #[inline]
    pub fn get(&self, slice: &VolatileSlice<'_>, buf: &mut [u8]) -> Option<()> {
        slice.read_slice(buf, 0).ok()?;
        if let Some(trace) = &self.trace {
            self.loaded(trace, slice, buf);
        }
        Some(())
    }
    /// Writes `buf` to the start of `slice`.
    #[inline]
    pub fn put(&self, slice: &VolatileSlice<'_>, buf: &[u8]) -> Option<()> {
        if let Some(trace) = &self.trace {
            trace.store(self.place(slice), buf);
        }
        slice.write_slice(buf, 0).ok()
    }
    /// Reads the integer at the start of `slice` in one access. None where it is unaligned.
    #[inline]
    pub fn load_from<T: AtomicAccess>(&self, slice: &VolatileSlice<'_>) -> Option<T> {
        let mut value = slice.load::<T>(0, Ordering::Acquire).ok()?;
        if let Some(trace) = &self.trace {
            self.loaded(trace, slice, value.as_mut_slice());
        }
        Some(value)
    }
    /// Reads page table entries from the start of `slice`, each in one access.
    pub fn get_entries(&self, slice: &VolatileSlice<'_>, entries: &mut [u64]) -> Option<()> {
        slice.get_array_ref::<u64>(0, entries.len()).ok()?.copy_to(entries);
        if let Some(trace) = &self.trace {
            let mut raw: Vec<u8> = entries.iter().flat_map(|entry| entry.to_ne_bytes()).collect();
            self.loaded(trace, slice, &mut raw);
            for (entry, bytes) in entries.iter_mut().zip(raw.chunks_exact(8)) {
                *entry = u64::from_ne_bytes(*bytes.first_chunk()?);
            }
        }
        Some(())
    }
    /// Writes an integer to the start of `slice` in one access, after all before it. None where it is unaligned.
    #[inline]
    pub fn store_to<T: AtomicAccess>(&self, slice: &VolatileSlice<'_>, value: T) -> Option<()> {
        if let Some(trace) = &self.trace {
            trace.store(self.place(slice), value.as_slice());
        }
        slice.store(value, 0, Ordering::Release).ok()
    }
    /// Copies what `from` holds to `to`, as far as both reach.
    #[inline(always)]
    pub fn copy(&self, from: &VolatileSlice<'_>, to: &VolatileSlice<'_>) {
        match &self.trace {
            None => from.copy_to_volatile_slice(*to),
            Some(_) => self.traced_copy(from, to),
        }
    }
    #[cold]
    fn traced_copy(&self, from: &VolatileSlice<'_>, to: &VolatileSlice<'_>) {
        let len = from.len().min(to.len());
        let mut buf = [0u8; CHUNK];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(CHUNK);
            let (Ok(from), Ok(to), Some(part)) = (from.subslice(done, n), to.subslice(done, n), buf.get_mut(..n))
            else {
                return;
            };
            if self.get(&from, part).and_then(|()| self.put(&to, part)).is_none() {
                return;
            }
            done += n;
        }
    }
    /// Runs `op` on the dword at the start of `slice`; gives back what it found there. None where it is unaligned.
    /// In system memory that is no atomic to a CPU: see [`Memory::is_remote`].
    pub fn atomic32(&self, slice: &VolatileSlice<'_>, op: impl Fn(&AtomicU32) -> u32) -> Option<u32> {
        let atomic = slice.get_atomic_ref::<AtomicU32>(0).ok()?;
        let whole = |op: &dyn Fn(&AtomicU32) -> u32| {
            if !self.is_remote(slice) {
                return op(atomic);
            }
            let value = AtomicU32::new(atomic.load(Ordering::SeqCst));
            let found = op(&value);
            let left = value.into_inner();
            if left != found {
                atomic.store(left, Ordering::SeqCst);
            }
            found
        };
        let Some(trace) = &self.trace else { return Some(whole(&op)) };
        let mut found = whole(&op);
        let replayed = self.loaded(trace, slice, found.as_mut_slice());
        let value = AtomicU32::new(found);
        op(&value);
        trace.store(self.place(slice), value.load(Ordering::Relaxed).as_slice());
        if replayed {
            atomic.store(value.into_inner(), Ordering::Relaxed);
        }
        Some(found)
    }
    /// Runs `op` on the quadword at the start of `slice`; gives back what it found there. None where it is unaligned.
    /// In system memory that is no atomic to a CPU: see [`Memory::is_remote`].
    pub fn atomic64(&self, slice: &VolatileSlice<'_>, op: impl Fn(&AtomicU64) -> u64) -> Option<u64> {
        let atomic = slice.get_atomic_ref::<AtomicU64>(0).ok()?;
        let whole = |op: &dyn Fn(&AtomicU64) -> u64| {
            if !self.is_remote(slice) {
                return op(atomic);
            }
            let value = AtomicU64::new(atomic.load(Ordering::SeqCst));
            let found = op(&value);
            let left = value.into_inner();
            if left != found {
                atomic.store(left, Ordering::SeqCst);
            }
            found
        };
        let Some(trace) = &self.trace else { return Some(whole(&op)) };
        let mut found = whole(&op);
        let replayed = self.loaded(trace, slice, found.as_mut_slice());
        let value = AtomicU64::new(found);
        op(&value);
        trace.store(self.place(slice), value.load(Ordering::Relaxed).as_slice());
        if replayed {
            atomic.store(value.into_inner(), Ordering::Relaxed);
        }
        Some(found)
    }

    /// The device read `buf` from the start of `slice`. Memory that a replay finds otherwise becomes what it was; true
    /// then.
    #[cold]
    fn loaded(&self, trace: &Tracer, slice: &VolatileSlice<'_>, buf: &mut [u8]) -> bool {
        let changed = trace.load(self.place(slice), buf);
        if changed {
            // As long as what was just read from there.
            let _ = slice.write_slice(buf, 0);
        }
        changed
    }
    /// Where `slice` lies. What lies nowhere is no slice of this memory.
    pub(super) fn place(&self, slice: &VolatileSlice<'_>) -> Phys {
        let host = slice.ptr_guard().as_ptr() as usize;
        let offset = |start: usize, len: u64| {
            let offset = host.checked_sub(start)? as u64;
            (offset < len).then_some(offset)
        };
        let vram = self.vram.slice(0, 1).map(|first| first.ptr_guard().as_ptr() as usize);
        if let Some(addr) = vram.and_then(|start| offset(start, self.vram.size())) {
            return Phys { space: Space::Vram, addr };
        }
        let found = self.system.iter().find_map(|region| {
            let start = region.get_host_address(MemoryRegionAddress(0)).ok()? as usize;
            region.start_addr().0.checked_add(offset(start, region.len())?)
        });
        Phys { space: Space::System, addr: found.unwrap_or(u64::MAX) }
    }
}
