// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The virtio face of the device: the config space (256 bytes, little endian) and the messages of its two queues.
//!
//! Registers are reached through an indirect pair. A write: `DATA := value`, then `CMD := command(seq, true, index)`.
//! A read: `CMD := command(seq, false, index)`, then DATA is read. `seq` must differ from the last CMD's: the front end
//! hands over whole blocks, so that two equal writes cannot be told apart. Everything else is read-only.

/// Virtio device id under which the device appears; stock drivers know none by it.
pub const VIRTIO_ID: u32 = 39;
/// Size of the config space, bytes.
pub const SIZE: usize = 256;
/// First dword: "UVM0", little endian.
pub const MAGIC: u32 = u32::from_le_bytes(*b"UVM0");
/// Version of this layout and of the ioctl-independent contract between device and driver.
pub const VERSION: u32 = 1;

/// Byte offsets in the config space. Values are 32 bits wide unless said otherwise.
pub mod offset {
    /// [`super::MAGIC`].
    pub const MAGIC: usize = 0x00;
    /// [`super::VERSION`].
    pub const VERSION: usize = 0x04;
    /// Feature bits, 64 bits: [`super::cap`].
    pub const CAPS: usize = 0x08;
    /// Bytes of VRAM, 64 bits.
    pub const VRAM_SIZE: usize = 0x10;
    /// Bytes of register space.
    pub const MMIO_SIZE: usize = 0x18;
    /// Levels of the GPUVM page tables: 1 to 5.
    pub const LEVELS: usize = 0x1c;
    /// Live: [`super::status`] bits.
    pub const STATUS: usize = 0x20;
    /// Live: IH_RB_WPTR of rings 0, 1 and 2, three dwords.
    pub const IH_WPTR: usize = 0x24;
    /// SDMA instances.
    pub const SDMA_INSTANCES: usize = 0x30;
    /// Doorbell slots.
    pub const DOORBELLS: usize = 0x34;
    /// Bus address of VRAM, 64 bits, where it is part of system memory ([`super::cap::UMA`]); else zero.
    pub const VRAM_BASE: usize = 0x38;
    /// Value to write, or value read.
    pub const DATA: usize = 0x40;
    /// Command word: [`super::command`]. Starts the access.
    pub const CMD: usize = 0x44;
    /// The segments of the device's memory, [`super::SEGMENTS`] words of 64 bits: [`super::segment`]. The first zero ends
    /// the list.
    pub const SEGMENTS: usize = 0x48;
    /// Live, 64 bits: SDMA packets executed since reset.
    pub const PACKETS: usize = 0x80;
    /// Live, 64 bits: bytes that SDMA copied, filled or wrote since reset.
    pub const BYTES: usize = 0x88;
    /// Live, 64 bits: interrupt vectors delivered since reset.
    pub const INTERRUPTS: usize = 0x90;
    /// Live, 64 bits: page faults since reset.
    pub const FAULTS: usize = 0x98;
    /// Live, 64 bits: page-table walks since reset.
    pub const WALKS: usize = 0xa0;
    /// Live, 64 bits: translations that a cache held since reset.
    pub const TLB_HITS: usize = 0xa8;
}

/// Feature bits.
pub mod cap {
    /// Page faults can be retried.
    pub const RETRY_FAULTS: u64 = 1 << 0;
    /// VRAM is part of system memory: there is no BAR.
    pub const UMA: u64 = 1 << 1;
    /// VMID 0 translates by the `vidmm` profile's three-level table.
    pub const VIDMM: u64 = 1 << 2;
    /// There is an access engine, and access counters.
    pub const ACCESS: u64 = 1 << 3;
    /// The BAR ends before VRAM does.
    pub const SMALL_BAR: u64 = 1 << 8;
    /// The driver is judged by checks, which hear its annotations ([`crate::annotate`]).
    pub const CHECKS: u64 = 1 << 9;
}

/// Most segments that the window describes.
pub const SEGMENTS: usize = 6;

/// A segment as the window describes it: its bytes, a whole number of 4 KiB pages, with one of these kinds in the low
/// bits. Segments of VRAM follow one another from its first byte on; those of the GART divide the window that the driver
/// makes, in the order told.
pub mod segment {
    /// Bits of the kind.
    pub const KIND: u64 = 0xfff;
    /// VRAM that the CPU reaches.
    pub const LOCAL: u64 = 1;
    /// VRAM beyond the end of the BAR.
    pub const LOCAL_INVISIBLE: u64 = 2;
    /// System pages through the GART, by accesses that snoop the CPU's caches. Its bytes are zero: it has what the others
    /// leave of the GART.
    pub const SNOOPED: u64 = 3;
    /// System pages through the GART, by accesses that do not snoop. Its bytes are the most that the driver should give it.
    pub const UNSNOOPED: u64 = 4;
}

/// Bits of STATUS.
pub mod status {
    /// VRAM is mapped in the BAR; under UMA, the machine's memory has all of it.
    pub const VRAM_READY: u32 = 1 << 0;
    /// The last CMD named no defined register: a write was dropped, a read gave 0.
    pub const UNDEFINED: u32 = 1 << 1;
}

/// CMD bit: the access is a write.
pub const CMD_WRITE: u32 = 1 << 23;
/// CMD bits of the dword index.
pub const CMD_INDEX: u32 = 0x1_ffff;
/// Lowest CMD bit of the sequence number, 8 bits.
pub const CMD_SEQ_SHIFT: u32 = 24;

/// A command word.
pub const fn command(seq: u8, write: bool, index: u32) -> u32 {
    (seq as u32) << CMD_SEQ_SHIFT | if write { CMD_WRITE } else { 0 } | index & CMD_INDEX
}

/// Queue of doorbells, driver to device. A buffer holds [`Doorbell`]s.
pub const DOORBELL_QUEUE: usize = 0;
/// Queue of interrupts, device to driver. A buffer takes one [`Event`].
pub const EVENT_QUEUE: usize = 1;
/// Queues of the device.
pub const QUEUES: usize = 2;
/// Bytes of a message on either queue.
pub const MESSAGE_BYTES: usize = 16;
/// Most doorbells that one buffer may hold.
pub const MAX_DOORBELLS: usize = 64;

/// A doorbell: slot and value, 16 bytes little endian: slot (4), zero (4), value (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell {
    /// Slot, 64 bits each.
    pub slot: u32,
    /// What is written to it.
    pub value: u64,
}

impl Doorbell {
    /// The message's bytes.
    pub fn pack(self) -> [u8; MESSAGE_BYTES] {
        let mut b = [0; MESSAGE_BYTES];
        b[..4].copy_from_slice(&self.slot.to_le_bytes());
        b[8..].copy_from_slice(&self.value.to_le_bytes());
        b
    }
    /// The inverse of [`Doorbell::pack`].
    pub fn unpack(b: [u8; MESSAGE_BYTES]) -> Self {
        let v = u128::from_le_bytes(b);
        #[allow(clippy::cast_possible_truncation)]
        Self { slot: v as u32, value: (v >> 64) as u64 }
    }
}

/// An interrupt: which IH ring moved and to where, 16 bytes little endian: ring (4), wptr (4), zero (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// IH ring, 0..3.
    pub ring: u32,
    /// Its IH_RB_WPTR.
    pub wptr: u32,
}

impl Event {
    /// The message's bytes.
    pub fn pack(self) -> [u8; MESSAGE_BYTES] {
        let mut b = [0; MESSAGE_BYTES];
        b[..4].copy_from_slice(&self.ring.to_le_bytes());
        b[4..8].copy_from_slice(&self.wptr.to_le_bytes());
        b
    }
}
