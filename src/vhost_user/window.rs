// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The config space as a register window: pure state, without device or transport.
//!
//! The front end reads and writes the space as one block. A guest's store of four bytes arrives as all 256 bytes of the
//! front end's copy: the last block it was given, overlaid by the stores since. The window keeps the same copy and so
//! finds what changed. The only things a guest can change are DATA and CMD; a CMD that differs from the one before starts
//! an access, which the sequence number in it makes sure of.

use crate::device::Counters;
use uvm_spec::nbio::DOORBELLS;
use uvm_spec::window::{offset, status, CMD_INDEX, CMD_WRITE, MAGIC, SEGMENTS, SIZE, VERSION};
use uvm_spec::{lookup, IH_RINGS, MMIO_DWORDS, SDMA_INSTANCES};

/// What the window tells of the device once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Feature bits: [`uvm_spec::window::cap`].
    pub caps: u64,
    /// Bytes of VRAM.
    pub vram_size: u64,
    /// Levels of the GPUVM page tables.
    pub levels: u32,
    /// The segments: [`uvm_spec::window::segment`].
    pub segments: [u64; SEGMENTS],
}

/// What the window mirrors, as it stands when a block is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The guest can reach VRAM.
    pub vram_ready: bool,
    /// IH_RB_WPTR of each ring.
    pub ih_wptr: [u32; IH_RINGS],
    /// Where VRAM lies in system memory, if it does; else 0.
    pub vram_base: u64,
    /// What the device counted.
    pub counters: Counters,
}

/// A register access that a guest asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read the register at this dword index; the value goes to [`Window::complete`].
    Read(u32),
    /// Write a value.
    Write {
        /// Dword index.
        index: u32,
        /// What to write.
        value: u32,
    },
}

/// The window's state.
#[derive(Clone, Debug)]
pub struct Window {
    /// The constant fields, all others zero.
    fixed: [u8; SIZE],
    /// The front end's copy of the space.
    shadow: [u8; SIZE],
    data: u32,
    cmd: u32,
    undefined: bool,
}

impl Window {
    /// A window on the device that `identity` tells of.
    pub fn new(identity: Identity) -> Self {
        let mut fixed = [0; SIZE];
        put(&mut fixed, offset::MAGIC, &MAGIC.to_le_bytes());
        put(&mut fixed, offset::VERSION, &VERSION.to_le_bytes());
        put(&mut fixed, offset::CAPS, &identity.caps.to_le_bytes());
        put(&mut fixed, offset::VRAM_SIZE, &identity.vram_size.to_le_bytes());
        put(&mut fixed, offset::MMIO_SIZE, &(MMIO_DWORDS * 4).to_le_bytes());
        put(&mut fixed, offset::LEVELS, &identity.levels.to_le_bytes());
        put(&mut fixed, offset::SDMA_INSTANCES, &dword(SDMA_INSTANCES).to_le_bytes());
        put(&mut fixed, offset::DOORBELLS, &DOORBELLS.to_le_bytes());
        for (n, segment) in identity.segments.iter().enumerate() {
            put(&mut fixed, offset::SEGMENTS + 8 * n, &segment.to_le_bytes());
        }
        Self { fixed, shadow: [0; SIZE], data: 0, cmd: 0, undefined: false }
    }

    /// The whole space as it stands now: what the front end is given, and so its copy from here on.
    pub fn get(&mut self, live: Live) -> [u8; SIZE] {
        let mut block = self.fixed;
        let ready = if live.vram_ready { status::VRAM_READY } else { 0 };
        let undefined = if self.undefined { status::UNDEFINED } else { 0 };
        put(&mut block, offset::STATUS, &(ready | undefined).to_le_bytes());
        for (ring, wptr) in live.ih_wptr.iter().enumerate() {
            put(&mut block, offset::IH_WPTR + 4 * ring, &wptr.to_le_bytes());
        }
        let counters = &live.counters;
        for (at, value) in [
            (offset::VRAM_BASE, live.vram_base),
            (offset::PACKETS, counters.packets),
            (offset::BYTES, counters.bytes),
            (offset::INTERRUPTS, counters.interrupts),
            (offset::FAULTS, counters.faults),
            (offset::WALKS, counters.walks),
            (offset::TLB_HITS, counters.tlb_hits),
        ] {
            put(&mut block, at, &value.to_le_bytes());
        }
        put(&mut block, offset::DATA, &self.data.to_le_bytes());
        put(&mut block, offset::CMD, &self.cmd.to_le_bytes());
        self.shadow = block;
        block
    }

    /// Takes the front end's write of `bytes` at `at`: the access it starts, if any. A write that reaches past the space
    /// is dropped as a whole.
    ///
    /// A register write takes its value from the front end's copy of DATA, not from the window's: a guest that stores what
    /// that copy already holds changes nothing that could be seen here, yet means it.
    pub fn set(&mut self, at: usize, bytes: &[u8]) -> Option<Access> {
        let before = (self.word(offset::DATA), self.word(offset::CMD));
        let end = at.checked_add(bytes.len())?;
        self.shadow.get_mut(at..end)?.copy_from_slice(bytes);
        let (data, cmd) = (self.word(offset::DATA), self.word(offset::CMD));
        if data != before.0 {
            self.data = data;
        }
        if cmd == before.1 {
            return None;
        }
        self.cmd = cmd;
        let index = cmd & CMD_INDEX;
        self.undefined = lookup(index).is_none();
        if cmd & CMD_WRITE == 0 {
            return Some(Access::Read(index));
        }
        self.data = data;
        Some(Access::Write { index, value: data })
    }

    /// Hands in the value of the register that [`Access::Read`] asked for.
    pub fn complete(&mut self, value: u32) {
        self.data = value;
    }

    /// DATA, CMD and the status of the last access as after power-on. The front end's copy is its own and stays.
    pub fn reset(&mut self) {
        self.data = 0;
        self.cmd = 0;
        self.undefined = false;
    }

    fn word(&self, at: usize) -> u32 {
        self.shadow.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_le_bytes(*b))
    }
}

/// Lays `bytes` at `at`, which is one of the layout's offsets.
fn put(block: &mut [u8; SIZE], at: usize, bytes: &[u8]) {
    if let Some(place) = block.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// A count of the layout, all of which are small.
const fn dword(n: usize) -> u32 {
    assert!(n <= 0xffff);
    #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
    {
        n as u32
    }
}

#[cfg(test)]
mod tests;
