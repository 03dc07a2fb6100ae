// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Scattered data pages for random packets, and random packets over them.

use super::packets as p;
use super::walker::{Kind, Loc};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// How the data pages of the GART are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Every page to a frame of its own, RAM and VRAM mixed.
    Whole,
    /// Some pages unmapped, read-only, write-only, partially resident, nowhere or the dummy page.
    Holes,
}

/// Fills the data frames with noise and maps them in random order.
pub fn scatter(rig: &mut Rig, seed: u64, mapping: Mapping) {
    let mut numbers = Numbers(seed);
    let ram = [(MIB, 2 * MIB), ((1 << 32) + 64 * 4096, 2 * MIB - 64 * 4096)];
    let mut frames = Vec::new();
    for (start, len) in ram {
        rig.poke(start, &numbers.bytes(len as usize));
        frames.extend((0..len / 4096).map(|i| (start + i * 4096) | bit::RAM));
    }
    rig.poke_vram(8 * MIB, &numbers.bytes(MIB as usize));
    frames.extend((0..256).map(|i| (8 * MIB + i * 4096) | bit::VRAM));
    for i in (1..frames.len()).rev() {
        let other = numbers.below(i as u64 + 1) as usize;
        frames.swap(i, other);
    }
    for (i, frame) in frames.into_iter().take(DATA_PAGES as usize).enumerate() {
        let roll = if mapping == Mapping::Whole { 99 } else { numbers.below(40) };
        let entry = match roll {
            0 => 0,
            1 => frame & !bit::VALID,
            2 => frame & !bit::WRITE,
            3 => frame & !bit::READ,
            4 => bit::PRT,
            5 => (8 << 32) | bit::RAM,
            6 => DUMMY | bit::RAM,
            _ => frame,
        };
        rig.map(DATA / 4096 - GART / 4096 + i as u64, entry);
    }
}

/// A place for data: an aperture and an offset in it.
#[derive(Clone, Copy, Debug)]
pub struct Place(u8, u32);

impl Place {
    fn va(self, len: u32, mapping: Mapping) -> u64 {
        let (start, size) = match self.0 {
            0..=3 => (DATA, DATA_PAGES * 4096),
            4 | 5 => (FB + 8 * MIB, MIB),
            6 | 7 => (AGP + MIB, 2 * MIB),
            _ => (NOWHERE, 65536),
        };
        let room = if mapping == Mapping::Whole { size - u64::from(len) } else { size };
        start + u64::from(self.1) % room.max(1)
    }
}

/// A packet, or a few that belong together.
#[derive(Clone, Debug)]
pub enum Op {
    Nop(u32),
    Copy(Place, Place, u32),
    Write(Place, Vec<u32>),
    Fill(Place, u32, u32, u32),
    Fence(Place, u32),
    Trap(u32),
    PollMem(Place, u32, u32, u32, u32, u32),
    PollReg(u32, u32, u32, u32, u32, u32),
    Atomic(Place, u32, u64, u64),
    Ptes(Place, u64, u64, u64, u32),
    StampSet(u64),
    StampGet(Place, bool),
    Register(u32, u32, u32),
    /// The body runs if the flag is set.
    When(Place, bool, u32, Vec<Op>),
    Buffer(Vec<Op>),
    /// Not executable.
    Illegal(Vec<u32>),
}

fn place(mapping: Mapping) -> impl Strategy<Value = Place> {
    let areas = if mapping == Mapping::Whole { 8u8 } else { 9 };
    (0..areas, any::<u32>()).prop_map(|(area, offset)| Place(area, offset))
}

/// Packets without others inside.
pub fn simple(mapping: Mapping) -> impl Strategy<Value = Op> {
    let at = move || place(mapping);
    let len = || prop_oneof![8 => 1..64u32, 4 => 1..5000u32, 2 => 1..70_000u32];
    let code = prop_oneof![Just(7u32), Just(8), 15..=25u32];
    let code = (code, 0..4u32).prop_map(|(op, wide)| op | wide << 5);
    let operand = || prop_oneof![any::<u64>(), 0..4u64, Just(u64::MAX), Just(1 << 31), Just(1 << 63)];
    prop_oneof![
        2 => (0..20u32).prop_map(Op::Nop),
        6 => (at(), at(), len()).prop_map(|(dst, src, n)| Op::Copy(dst, src, n)),
        4 => (at(), prop::collection::vec(any::<u32>(), 1..40)).prop_map(|(dst, data)| Op::Write(dst, data)),
        4 => (at(), 0..3u32, any::<u32>(), len()).prop_map(|(dst, size, v, n)| Op::Fill(dst, size, v, n)),
        3 => (at(), any::<u32>()).prop_map(|(dst, v)| Op::Fence(dst, v)),
        2 => any::<u32>().prop_map(Op::Trap),
        2 => (at(), 0..7u32, 0..256u32, Just(0xffu32), 0..5000u32, 0..4u32)
            .prop_map(|(a, f, r, m, i, n)| Op::PollMem(a, f, r, m, i, n)),
        2 => (0..16u32, 0..7u32, 0..4u32, 0..4u32, 0..5000u32, 0..4u32)
            .prop_map(|(a, f, r, m, i, n)| Op::PollReg(a, f, r, m, i, n)),
        5 => (at(), code, operand(), operand()).prop_map(|(a, op, s, c)| Op::Atomic(a, op, s, c)),
        2 => (at(), any::<u64>(), any::<u64>(), any::<u64>(), 1..600u32)
            .prop_map(|(a, f, v, i, n)| Op::Ptes(a, f, v, i, n)),
        1 => any::<u64>().prop_map(Op::StampSet),
        2 => (at(), any::<bool>()).prop_map(|(a, global)| Op::StampGet(a, global)),
        3 => (0..16u32, any::<u32>(), 0..16u32).prop_map(|(n, v, be)| Op::Register(n, v, be)),
    ]
}

/// Any packets; an illegal one ends the sequence.
pub fn sequence(mapping: Mapping) -> impl Strategy<Value = Vec<Op>> {
    let body = move || prop::collection::vec(simple(mapping), 0..5);
    let when = (place(mapping), any::<bool>(), any::<u32>(), body()).prop_map(|(a, go, v, b)| Op::When(a, go, v, b));
    let inner = prop_oneof![6 => simple(mapping), 1 => when];
    let when = (place(mapping), any::<bool>(), any::<u32>(), body()).prop_map(|(a, go, v, b)| Op::When(a, go, v, b));
    let bad = || illegal().prop_map(Op::Illegal);
    let buffer = prop::collection::vec(prop_oneof![40 => inner, 1 => bad()], 0..12).prop_map(Op::Buffer);
    let any = prop_oneof![8 => simple(mapping), 1 => when, 2 => buffer, 1 => bad()];
    prop::collection::vec(any, 1..14)
}

/// Packets that stop a ring, each for another reason.
pub fn illegal() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        // Reserved opcodes and sub-opcodes.
        prop_oneof![Just(3u32), Just(7), 15..256u32].prop_map(|op| vec![op; 12]),
        (0..13u32, 1..256u32).prop_map(|(op, sub)| vec![op | sub << 8; 12]),
        Just(vec![0x0d | 3 << 8; 12]),
        // Reserved fields.
        Just([vec![0x01 | 1 << 27], p::copy(DATA, DATA + 4096, 4)[1..].to_vec()].concat()),
        Just(p::fill(DATA, 3, 0, 4)),
        Just(p::poll_mem(DATA, 7, 0, 0, 0, 0)),
        prop_oneof![0..7u32, 9..15u32, 26..32u32].prop_map(|op| p::atomic(op, DATA, 0, 0)),
        Just(p::atomic_loop(15, DATA, 0, 0, 0)),
        (1..32u64).prop_map(|o| p::indirect(0, IB + o, 8)),
        // Longer than what is there.
        Just(vec![0x02, DATA as u32, (DATA >> 32) as u32, 0xf_ffff]),
        Just(vec![0x3fff << 16]),
        (2..7usize).prop_map(|n| p::copy(DATA, DATA + 4096, 4)[..n].to_vec()),
        (2..10usize).prop_map(|n| p::ptepde(DATA, 0, 0, 0, 4)[..n].to_vec()),
    ]
}

/// Turns ops into packets in instance `e`'s ring, and runs the device and the model over them.
pub struct Player<'a> {
    pub rig: &'a mut Rig,
    pub e: usize,
    pub mapping: Mapping,
    /// Next free byte of the indirect buffers' space.
    ib: u64,
}

impl<'a> Player<'a> {
    pub fn new(rig: &'a mut Rig, e: usize, mapping: Mapping) -> Self {
        Self { rig, e, mapping, ib: IB }
    }
    pub fn play(&mut self, ops: &[Op]) {
        for op in ops {
            let mut dwords = self.encode(op);
            if matches!(op, Op::Illegal(_)) {
                // Whatever follows, nothing of it runs.
                dwords.truncate(12);
            }
            let engine = &self.rig.model.engines[self.e];
            let used = engine.wptr.wrapping_sub(engine.rptr) + 4 * dwords.len() as u64;
            if used > RING_BYTES || self.ib > IB + (IB_PAGES - 4) * 4096 {
                self.flush();
            }
            if self.rig.model.engines[self.e].exception != 0 {
                return;
            }
            self.rig.push(self.e, &dwords);
        }
        self.flush();
    }
    fn flush(&mut self) {
        self.rig.execute(self.e, &[]);
        self.rig.model.run(self.e);
        self.ib = IB;
    }
    fn encode(&mut self, op: &Op) -> Vec<u32> {
        let mapping = self.mapping;
        let va = |place: &Place, len: u32| place.va(len, mapping);
        match op {
            Op::Nop(count) => p::nop(*count),
            Op::Copy(dst, src, len) => {
                let (dst, src) = (va(dst, *len), va(src, *len));
                if self.frames(dst, *len, Kind::Write).is_disjoint(&self.frames(src, *len, Kind::Read)) {
                    p::copy(dst, src, *len)
                } else {
                    p::nop(0)
                }
            }
            Op::Write(dst, data) => p::write(va(dst, 4 * data.len() as u32), data),
            Op::Fill(dst, size, value, len) => p::fill(va(dst, *len), *size, *value, *len),
            Op::Fence(dst, value) => p::fence(va(dst, 8), *value),
            Op::Trap(context) => p::trap(*context),
            Op::PollMem(at, func, reference, mask, interval, n) => {
                p::poll_mem(va(at, 8), *func, *reference, *mask, *interval, *n)
            }
            Op::PollReg(at, func, reference, mask, interval, n) => {
                p::poll_reg(reg::SCRATCH + at, *func, *reference, *mask, *interval, *n)
            }
            Op::Atomic(at, code, src, cmp) => p::atomic(*code, va(at, 8), *src, *cmp),
            Op::Ptes(at, flags, value, increment, n) => p::ptepde(va(at, 8 * n), *flags, *value, *increment, *n),
            Op::StampSet(value) => p::timestamp_set(*value),
            Op::StampGet(at, global) => p::timestamp_get(*global, va(at, 8)),
            Op::Register(n, value, enables) => p::srbm_write(reg::SCRATCH + n, *value, *enables),
            Op::When(at, go, value, body) => {
                let body: Vec<u32> = body.iter().flat_map(|op| self.encode(op)).collect();
                let at = va(at, 8);
                let reference = if *go { *value } else { !*value };
                [p::write(at, &[*value]), p::cond_exe(at, reference, body.len() as u32), body].concat()
            }
            Op::Buffer(ops) => {
                let body: Vec<u32> = ops.iter().flat_map(|op| self.encode(op)).collect();
                let (base, len) = (self.ib, 4 * body.len() as u64);
                self.ib = (base + len).next_multiple_of(32);
                assert!(self.ib <= IB + IB_PAGES * 4096, "a buffer too long for its space");
                let raw: Vec<u8> = body.iter().flat_map(|dw| dw.to_le_bytes()).collect();
                self.rig.poke_va(base, &raw);
                p::indirect(0, base, body.len() as u32)
            }
            Op::Illegal(dwords) => dwords.clone(),
        }
    }
    /// The page frames that a range touches.
    fn frames(&mut self, va: u64, len: u32, kind: Kind) -> BTreeSet<Loc> {
        let first = va / 4096 * 4096;
        (first..va + u64::from(len))
            .step_by(4096)
            .map(|page| match self.rig.model.locate(0, page, kind) {
                Ok(Loc::Nothing) | Err(_) => Loc::System(DUMMY),
                Ok(loc) => loc,
            })
            .collect()
    }
}
