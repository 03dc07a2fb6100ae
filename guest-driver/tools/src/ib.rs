// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Builds indirect buffers: SDMA packets, and the relocations that tell the driver where buffer objects' addresses go.

use uvm_spec::packet::{self, header, op, sub_op};
use uvm_spec::uapi::{self, BoRef, Reloc};

/// An address in a packet.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A buffer object's, by its handle, plus bytes.
    Bo(u32, u64),
    /// As it stands.
    Raw(u64),
}

impl Place {
    /// The place `bytes` further on.
    pub fn plus(self, bytes: u64) -> Self {
        match self {
            Self::Bo(handle, offset) => Self::Bo(handle, offset.wrapping_add(bytes)),
            Self::Raw(address) => Self::Raw(address.wrapping_add(bytes)),
        }
    }
}

/// Width of what CONST_FILL repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillSize {
    /// The value's low byte.
    Byte,
    /// Its low half.
    Half,
    /// All of it.
    Dword,
}

impl FillSize {
    /// Bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Dword => 4,
        }
    }
    const fn field(self) -> u32 {
        match self {
            Self::Byte => 0,
            Self::Half => 1,
            Self::Dword => 2,
        }
    }
}

/// What POLL_REGMEM waits for.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// `packet::poll_func` comparison of the masked value with the reference.
    pub func: u32,
    /// Reference.
    pub reference: u32,
    /// Mask.
    pub mask: u32,
    /// Looks before it gives up; `packet::POLL_FOREVER` never does.
    pub retry: u32,
}

/// What ATOMIC does.
#[derive(Clone, Copy, Debug)]
pub struct Atomic {
    /// `packet::atomic` number, with BITS64 and NO_RETURN as wanted.
    pub op: u32,
    /// Operand.
    pub source: u64,
    /// What CMPSWAP compares with.
    pub compare: u64,
}

/// What PTEPDE generates: entry n is `flags | value + n * increment`.
#[derive(Clone, Copy, Debug)]
pub struct Entries {
    /// Bits of each entry.
    pub flags: u64,
    /// Address part of the first.
    pub value: u64,
    /// From one to the next.
    pub increment: u64,
    /// How many, 1 to `packet::MAX_PTES`.
    pub count: u32,
}

/// A buffer under construction.
#[derive(Clone, Debug, Default)]
pub struct Ib {
    dwords: Vec<u32>,
    bos: Vec<BoRef>,
    relocs: Vec<Reloc>,
    unordered: bool,
}

/// A part that cannot be counted in the width the packets have for it; no builder here gets that far.
fn narrow<T: TryInto<u32>>(n: T) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}

#[allow(clippy::cast_possible_truncation)]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

impl Ib {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer that never says it writes: submissions on other rings that use the same buffer objects are then
    /// not ordered after it. For tests in which two rings talk to each other.
    pub fn unordered() -> Self {
        Self { unordered: true, ..Self::default() }
    }

    /// The packets.
    pub fn dwords(&self) -> &[u32] {
        &self.dwords
    }
    /// The buffer objects used.
    pub fn bos(&self) -> &[BoRef] {
        &self.bos
    }
    /// The relocations.
    pub fn relocs(&self) -> &[Reloc] {
        &self.relocs
    }
    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.dwords.is_empty()
    }
    /// Whether `more` dwords still fit a submission.
    pub fn has_room(&self, more: usize) -> bool {
        let limit = usize::try_from(uapi::MAX_IB_DWORDS).unwrap_or(0);
        let relocs = usize::try_from(uapi::MAX_RELOCS).unwrap_or(0);
        self.dwords.len().saturating_add(more) <= limit && self.relocs.len().saturating_add(2) <= relocs
    }

    /// Adds one dword as it is, well-formed or not.
    pub fn raw(&mut self, dword: u32) -> &mut Self {
        self.dwords.push(dword);
        self
    }

    fn wide(&mut self, value: u64) -> &mut Self {
        self.dwords.extend(halves(value));
        self
    }

    fn read(&mut self, place: Place) -> &mut Self {
        self.place(place, false)
    }

    fn written(&mut self, place: Place) -> &mut Self {
        self.place(place, true)
    }

    fn place(&mut self, place: Place, write: bool) -> &mut Self {
        match place {
            Place::Raw(address) => self.wide(address),
            Place::Bo(handle, offset) => {
                let index = match self.bos.iter().position(|bo| bo.handle == handle) {
                    Some(index) => index,
                    None => {
                        self.bos.push(BoRef { handle, flags: 0 });
                        self.bos.len() - 1
                    }
                };
                if write && !self.unordered {
                    if let Some(bo) = self.bos.get_mut(index) {
                        bo.flags |= uapi::BO_WRITE;
                    }
                }
                self.relocs.push(Reloc { dword: narrow(self.dwords.len()), bo: narrow(index), offset });
                self.wide(0)
            }
        }
    }

    /// NOP that skips `extra` dwords of its own.
    pub fn nop(&mut self, extra: u32) -> &mut Self {
        self.raw(header(op::NOP, 0) | packet::NOP_COUNT.of(extra));
        for _ in 0..extra {
            self.raw(0xdead_beef);
        }
        self
    }

    /// COPY_LINEAR, in as many packets as it takes.
    pub fn copy(&mut self, from: Place, to: Place, bytes: u64) -> &mut Self {
        let mut done = 0;
        while done < bytes {
            let part = (bytes - done).min(packet::MAX_BYTES);
            self.raw(header(op::COPY, sub_op::COPY_LINEAR)).raw(narrow(part - 1)).raw(0);
            self.read(from.plus(done)).written(to.plus(done));
            done += part;
        }
        self
    }

    /// WRITE_LINEAR of at least one dword.
    pub fn write(&mut self, to: Place, data: &[u32]) -> &mut Self {
        self.raw(header(op::WRITE, sub_op::WRITE_LINEAR)).written(to).raw(narrow(data.len()).wrapping_sub(1));
        self.dwords.extend_from_slice(data);
        self
    }

    /// CONST_FILL, in as many packets as it takes.
    pub fn fill(&mut self, to: Place, value: u32, size: FillSize, bytes: u64) -> &mut Self {
        let mut done = 0;
        while done < bytes {
            let part = (bytes - done).min(packet::MAX_BYTES);
            self.raw(header(op::CONST_FILL, 0) | packet::FILL_SIZE.of(size.field()));
            self.written(to.plus(done)).raw(value).raw(narrow(part - 1));
            done += part;
        }
        self
    }

    /// FENCE.
    pub fn fence(&mut self, to: Place, value: u32) -> &mut Self {
        self.raw(header(op::FENCE, 0)).written(to).raw(value)
    }

    /// TRAP.
    pub fn trap(&mut self, context: u32) -> &mut Self {
        self.raw(header(op::TRAP, 0)).raw(packet::TRAP_CONTEXT.of(context))
    }

    /// POLL_REGMEM on memory.
    pub fn poll_memory(&mut self, at: Place, poll: Poll) -> &mut Self {
        self.raw(header(op::POLL_REGMEM, 0) | packet::POLL_FUNC.of(poll.func) | packet::POLL_MEM.of(1));
        self.read(at).poll_tail(poll)
    }

    /// POLL_REGMEM on the register with dword index `index`; the packet takes its byte offset.
    pub fn poll_register(&mut self, index: u32, poll: Poll) -> &mut Self {
        self.raw(header(op::POLL_REGMEM, 0) | packet::POLL_FUNC.of(poll.func));
        self.wide(u64::from(index) << 2).poll_tail(poll)
    }

    fn poll_tail(&mut self, poll: Poll) -> &mut Self {
        self.raw(poll.reference).raw(poll.mask);
        self.raw(packet::POLL_RETRY.of(poll.retry) | packet::POLL_INTERVAL.of(100))
    }

    /// COND_EXE: `then` runs only where the dword at `at` equals `reference`.
    pub fn cond(&mut self, at: Place, reference: u32, then: impl FnOnce(&mut Self)) -> &mut Self {
        self.raw(header(op::COND_EXE, 0)).read(at).raw(reference).raw(0);
        let start = self.dwords.len();
        then(self);
        let count = narrow(self.dwords.len() - start);
        if let Some(dword) = start.checked_sub(1).and_then(|n| self.dwords.get_mut(n)) {
            *dword = packet::COND_COUNT.of(count);
        }
        self
    }

    /// ATOMIC.
    pub fn atomic(&mut self, at: Place, atomic: Atomic) -> &mut Self {
        self.raw(header(op::ATOMIC, 0) | packet::ATOMIC_OP.of(atomic.op));
        self.written(at).wide(atomic.source).wide(atomic.compare).raw(0)
    }

    /// PTEPDE GEN.
    pub fn entries(&mut self, to: Place, entries: Entries) -> &mut Self {
        self.raw(header(op::PTEPDE, sub_op::PTEPDE_GEN)).written(to).wide(entries.flags).wide(entries.value);
        self.wide(entries.increment).raw(packet::PTE_COUNT.of(entries.count.wrapping_sub(1)))
    }

    /// TIMESTAMP GET.
    pub fn timestamp(&mut self, to: Place) -> &mut Self {
        self.raw(header(op::TIMESTAMP, sub_op::TIMESTAMP_GET)).written(to)
    }

    /// TIMESTAMP GET_GLOBAL.
    pub fn global_timestamp(&mut self, to: Place) -> &mut Self {
        self.raw(header(op::TIMESTAMP, sub_op::TIMESTAMP_GET_GLOBAL)).written(to)
    }

    /// TIMESTAMP SET.
    pub fn set_timestamp(&mut self, value: u64) -> &mut Self {
        self.raw(header(op::TIMESTAMP, sub_op::TIMESTAMP_SET)).wide(value)
    }

    /// SRBM_WRITE of all four bytes, or those of `bytes` (a mask of four bits).
    pub fn register(&mut self, index: u32, value: u32, bytes: u32) -> &mut Self {
        self.raw(header(op::SRBM_WRITE, 0) | packet::SRBM_BYTE_EN.of(bytes)).raw(packet::SRBM_ADDR.of(index)).raw(value)
    }

    /// INDIRECT: a buffer at `at`, `dwords` long. Illegal inside a submission, which is an indirect buffer itself.
    pub fn indirect(&mut self, at: Place, dwords: u32) -> &mut Self {
        self.raw(header(op::INDIRECT, 0)).read(at).raw(packet::IB_SIZE.of(dwords)).wide(0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Lengths of the packets of `ib` by the specification's table.
    fn lengths(ib: &Ib) -> Vec<(&'static str, usize)> {
        let (mut at, mut found) = (0, Vec::new());
        while let Some(&head) = ib.dwords.get(at) {
            let shape = packet::shape(head).unwrap();
            let extra = match shape.name {
                "NOP" => packet::NOP_COUNT.get(head),
                "WRITE_LINEAR" => packet::WRITE_COUNT.get(ib.dwords[at + 3]) + 1,
                _ => 0,
            };
            let length = 1 + shape.dwords.len() + extra as usize;
            found.push((shape.name, length));
            at += length;
        }
        assert_eq!(at, ib.dwords.len(), "a packet runs past the end");
        found
    }

    #[test]
    fn every_packet_has_the_length_of_the_specification() {
        let (raw, bo) = (Place::Raw(0x1000), Place::Bo(3, 8));
        let poll = Poll { func: 3, reference: 1, mask: 2, retry: 3 };
        let mut ib = Ib::new();
        ib.nop(0).nop(3).copy(raw, bo, 5).write(bo, &[1, 2, 3]).fill(bo, 1, FillSize::Half, 4).fence(bo, 7).trap(9);
        ib.poll_memory(bo, poll).poll_register(0x58, poll).cond(bo, 1, |_| ()).set_timestamp(5).timestamp(bo);
        ib.atomic(bo, Atomic { op: packet::atomic::ADD, source: 1, compare: 0 });
        ib.entries(bo, Entries { flags: 1, value: 0x1000, increment: 0x1000, count: 4 });
        ib.global_timestamp(bo).register(0x58, 1, 0xf).indirect(bo, 8);
        let names: Vec<_> = lengths(&ib).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "NOP",
                "NOP",
                "COPY_LINEAR",
                "WRITE_LINEAR",
                "CONST_FILL",
                "FENCE",
                "TRAP",
                "POLL_REGMEM",
                "POLL_REGMEM",
                "COND_EXE",
                "TIMESTAMP_SET",
                "TIMESTAMP_GET",
                "ATOMIC",
                "PTEPDE_GEN",
                "TIMESTAMP_GET_GLOBAL",
                "SRBM_WRITE",
                "INDIRECT"
            ]
        );
    }

    #[test]
    fn relocation_points_at_the_address_dwords_and_shares_one_reference_a_handle() {
        let mut ib = Ib::new();
        ib.copy(Place::Bo(7, 16), Place::Bo(9, 0), 64).copy(Place::Bo(9, 4), Place::Bo(7, 0), 64);
        let relocs: Vec<_> = ib.relocs.iter().map(|r| (r.dword, r.bo, r.offset)).collect();
        assert_eq!(relocs, [(3, 0, 16), (5, 1, 0), (10, 1, 4), (12, 0, 0)]);
        assert_eq!(ib.bos.iter().map(|b| b.handle).collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn only_written_objects_are_marked_so() {
        let mut ib = Ib::new();
        ib.copy(Place::Bo(1, 0), Place::Bo(2, 0), 4);
        assert_eq!(ib.bos.iter().map(|b| b.flags).collect::<Vec<_>>(), [0, uapi::BO_WRITE]);
    }

    #[test]
    fn unordered_buffer_marks_none() {
        let mut ib = Ib::unordered();
        ib.fence(Place::Bo(1, 0), 4);
        assert_eq!(ib.bos[0].flags, 0);
    }

    #[test]
    fn long_copy_is_split_at_the_packet_limit() {
        let mut ib = Ib::new();
        ib.copy(Place::Raw(0), Place::Raw(1 << 32), packet::MAX_BYTES + 1);
        assert_eq!(ib.dwords.len(), 14);
        assert_eq!((ib.dwords[1], ib.dwords[8]), (0x3f_ffff, 0));
        assert_eq!(
            ib.dwords[10..14],
            [1 << 22, 0, 0, 0][..1].iter().copied().chain([0, 1 << 22, 1]).collect::<Vec<_>>()[..]
        );
    }

    #[test]
    fn condition_counts_the_dwords_it_guards() {
        let mut ib = Ib::new();
        ib.cond(Place::Raw(0), 1, |ib| {
            ib.trap(0).nop(2);
        });
        assert_eq!(packet::COND_COUNT.get(ib.dwords[4]), 5);
    }
}
