// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A virtqueue from the driver's side, laid out by hand so that it can be laid out wrongly.

use crate::process::eventually;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Descriptor flags.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

pub struct Ring {
    pub memory: GuestMemoryMmap,
    /// Address of the descriptor table; the available ring lies 0x1000, the used ring 0x2000 above it.
    pub base: u64,
    pub size: u16,
    pub posted: u16,
    pub seen: u16,
    pub kick: EventFd,
    pub call: EventFd,
}

impl Ring {
    pub fn new(memory: GuestMemoryMmap, base: u64, size: u16) -> Self {
        let event = || EventFd::new(EFD_NONBLOCK).unwrap();
        Self { memory, base, size, posted: 0, seen: 0, kick: event(), call: event() }
    }
    pub fn avail(&self) -> u64 {
        self.base + 0x1000
    }
    pub fn used(&self) -> u64 {
        self.base + 0x2000
    }
    /// As a driver does that sets the queue up anew.
    pub fn clear(&mut self) {
        self.memory.write_slice(&[0; 0x3000], GuestAddress(self.base)).unwrap();
        (self.posted, self.seen) = (0, 0);
    }
    pub fn descriptor(&self, n: u16, addr: u64, len: u32, flags: u16, next: u16) {
        self.descriptor_at(self.base, n, addr, len, flags, next);
    }
    pub fn descriptor_at(&self, table: u64, n: u16, addr: u64, len: u32, flags: u16, next: u16) {
        let at = |offset| GuestAddress(table + 16 * u64::from(n) + offset);
        self.memory.write_obj(addr, at(0)).unwrap();
        self.memory.write_obj(len, at(8)).unwrap();
        self.memory.write_obj(flags, at(12)).unwrap();
        self.memory.write_obj(next, at(14)).unwrap();
    }
    /// Makes the chain that starts at descriptor `head` available, without a kick.
    pub fn post(&mut self, head: u16) {
        let slot = u64::from(self.posted % self.size);
        self.memory.write_obj(head, GuestAddress(self.avail() + 4 + 2 * slot)).unwrap();
        self.posted = self.posted.wrapping_add(1);
        self.set_avail_index(self.posted);
    }
    pub fn set_avail_index(&self, index: u16) {
        self.memory.store(index, GuestAddress(self.avail() + 2), std::sync::atomic::Ordering::Release).unwrap();
    }
    pub fn kick(&self) {
        self.kick.write(1).unwrap();
    }
    pub fn used_index(&self) -> u16 {
        self.memory.load(GuestAddress(self.used() + 2), std::sync::atomic::Ordering::Acquire).unwrap()
    }
    /// Waits for the next used buffer: its head and length.
    pub fn next_used(&mut self) -> (u32, u32) {
        eventually("a used buffer", || self.used_index() != self.seen);
        let at = self.used() + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        let word = |offset| self.memory.read_obj::<u32>(GuestAddress(at + offset)).unwrap();
        (word(0), word(4))
    }
}
