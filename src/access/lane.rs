// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a lane does, one access at a time: where an access fails, the lane stands before it and may make it again.

use super::program::{Operand, Pattern, Program, Update};
use crate::gmc::{Stop, Vm};
use crate::sdma::work::{atomic32, atomic64};
use uvm_spec::access::{func, mix, slot, EMPTY};
use uvm_spec::packet::atomic;

/// Memory as a program sees it.
pub struct Mem<'a, 'v, 'm> {
    /// Its engine's view.
    pub vm: &'a mut Vm<'v, 'm>,
    /// Its address space.
    pub vmid: u8,
    /// Accesses made.
    pub accesses: &'a mut u64,
    /// Bytes read and written.
    pub bytes: &'a mut u64,
}

impl Mem<'_, '_, '_> {
    fn made(&mut self, bytes: u64) {
        *self.accesses += 1;
        *self.bytes += bytes;
    }
    /// Reads 2^`element` bytes at `va`, whose lowest bits are ignored.
    fn load(&mut self, va: u64, element: u32) -> Result<u64, Stop> {
        let value = match element {
            3 => self.vm.load64(self.vmid, va)?,
            2 => self.vm.load32(self.vmid, va)?.into(),
            1 => {
                let mut bytes = [0; 2];
                self.vm.read(self.vmid, va & !1, &mut bytes)?;
                u16::from_le_bytes(bytes).into()
            }
            _ => {
                let mut bytes = [0; 1];
                self.vm.read(self.vmid, va, &mut bytes)?;
                bytes[0].into()
            }
        };
        self.made(1 << element);
        Ok(value)
    }
    /// Writes the lowest 2^`element` bytes of `value` at `va`, whose lowest bits are ignored.
    #[allow(clippy::cast_possible_truncation)] // the lowest bytes are meant
    pub fn store(&mut self, va: u64, element: u32, value: u64) -> Result<(), Stop> {
        match element {
            3 => self.vm.store64(self.vmid, va, value)?,
            2 => self.vm.store32(self.vmid, va, value as u32)?,
            1 => self.vm.write(self.vmid, va & !1, &(value as u16).to_le_bytes())?,
            _ => self.vm.write(self.vmid, va, &[value as u8])?,
        }
        self.made(1 << element);
        Ok(())
    }
    /// Lets the atomic unit do `op` with `value`; gives back what it found.
    #[allow(clippy::cast_possible_truncation)] // the operand is as wide as the element
    fn modify(&mut self, va: u64, element: u32, op: u32, value: u64, compare: u32) -> Result<u64, Stop> {
        let found = match element {
            3 => self.vm.atomic64(self.vmid, va, |a| atomic64(a, op, value, compare.into()))?,
            _ => self.vm.atomic32(self.vmid, va, |a| atomic32(a, op, value as u32, compare))?.into(),
        };
        self.made(2 << element);
        Ok(found)
    }
    fn update(&mut self, va: u64, element: u32, update: Update, value: u64) -> Result<(), Stop> {
        match update {
            Update::None => Ok(()),
            Update::Store => self.store(va, element, value),
            Update::Atomic(op) => self.modify(va, element, op, value, 0).map(drop),
        }
    }
}

/// What a step left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The item goes on.
    More,
    /// The item is done and adds this to the program's sum.
    Done(u64),
}

/// Where a lane is in its item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The first access of the item, or of the innermost iteration.
    #[default]
    First,
    Second,
    Third,
    Fourth,
    Fifth,
    Sixth,
}

/// What a lane holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lane {
    item: u64,
    stage: Stage,
    /// Innermost iteration, hop, edge or slot.
    k: u64,
    /// Where that ends, if memory says so.
    end: u64,
    /// The index or address at hand.
    at: u64,
    a: u64,
    b: u64,
    /// Added up so far.
    sum: u64,
}

impl Lane {
    /// At the start of item `item`.
    pub fn new(item: u64) -> Self {
        Self { item, ..Self::default() }
    }
    fn go(&mut self, stage: Stage) -> Next {
        self.stage = stage;
        Next::More
    }
    /// The next access, or the next piece of work without one.
    pub fn step(&mut self, program: &Program, mem: &mut Mem<'_, '_, '_>) -> Result<Next, Stop> {
        match program {
            Program::Nest { .. } => self.nest(program, mem),
            Program::Chase { .. } => self.chase(program, mem),
            Program::Expand { vertices: _, depth, rows, columns, levels, .. } => {
                self.expand(mem, *depth, *rows, *columns, *levels)
            }
            Program::Hash { insert: true, .. } => self.insert(program, mem),
            Program::Hash { .. } => self.probe(program, mem),
        }
    }

    /// First: index of A. Second: A. Third: index of B. Fourth: B, and the value. Fifth: index of D. Sixth: D.
    fn nest(&mut self, program: &Program, mem: &mut Mem<'_, '_, '_>) -> Result<Next, Stop> {
        let Program::Nest { element, func, update, reduce, trips, immediate, a, b, d, .. } = program else {
            return Ok(Next::Done(0));
        };
        let point = point(*trips, *reduce, self.item, self.k);
        let address = |operand: &Operand, index: u64| operand.base.wrapping_add(index << element);
        loop {
            match self.stage {
                Stage::First => {
                    self.at = index(a, point, 0, mem)?;
                    self.stage = Stage::Second;
                }
                Stage::Second => {
                    self.a = match a.pattern {
                        Pattern::None => 0,
                        _ => mem.load(address(a, self.at), *element)?,
                    };
                    return Ok(self.go(Stage::Third));
                }
                Stage::Third => {
                    self.at = index(b, point, self.a, mem)?;
                    self.stage = Stage::Fourth;
                }
                Stage::Fourth => {
                    self.b = match b.pattern {
                        Pattern::None => 0,
                        _ => mem.load(address(b, self.at), *element)?,
                    };
                    let number = self.item.wrapping_mul(if *reduce { trips[0] } else { 1 }).wrapping_add(self.k);
                    let value = value(*func, self.a, self.b, *immediate, number) & ones(*element);
                    self.sum = self.sum.wrapping_add(value);
                    self.k += 1;
                    if *reduce && self.k < trips[0] {
                        return Ok(self.go(Stage::First));
                    }
                    self.stage = Stage::Fifth;
                    if *update == Update::None {
                        return Ok(Next::Done(self.sum));
                    }
                    // What a lane does without an access in between is bounded.
                    return Ok(Next::More);
                }
                Stage::Fifth => {
                    self.at = index(d, point, self.a, mem)?;
                    self.stage = Stage::Sixth;
                }
                Stage::Sixth => {
                    mem.update(address(d, self.at), *element, *update, self.sum & ones(*element))?;
                    return Ok(Next::Done(self.sum));
                }
            }
        }
    }

    /// First: head. Second: value of a node, or the end. Third: the node's next pointer.
    fn chase(&mut self, program: &Program, mem: &mut Mem<'_, '_, '_>) -> Result<Next, Stop> {
        let Program::Chase { update, hops, heads, next, value, immediate, ends, .. } = program else {
            return Ok(Next::Done(0));
        };
        match self.stage {
            Stage::First => {
                self.at = mem.load(heads.wrapping_add(8 * self.item), 3)?;
                Ok(self.go(Stage::Second))
            }
            Stage::Second if self.k < *hops && self.at != 0 => {
                let va = self.at.wrapping_add(*value);
                let found = match update {
                    Update::Atomic(op) => mem.modify(va, 3, *op, *immediate, 0)?,
                    _ => mem.load(va, 3)?,
                };
                self.sum = self.sum.wrapping_add(found);
                Ok(self.go(Stage::Third))
            }
            Stage::Third => {
                self.at = mem.load(self.at.wrapping_add(*next), 3)?;
                self.k += 1;
                Ok(self.go(Stage::Second))
            }
            _ => {
                if *ends != 0 {
                    mem.store(ends.wrapping_add(8 * self.item), 3, self.at)?;
                }
                Ok(Next::Done(self.sum))
            }
        }
    }

    /// First: the vertex' level. Second and third: its edges' ends. Fourth: a neighbour. Fifth: the neighbour's level.
    fn expand(
        &mut self,
        mem: &mut Mem<'_, '_, '_>,
        depth: u32,
        rows: u64,
        columns: u64,
        levels: u64,
    ) -> Result<Next, Stop> {
        let v = self.item;
        match self.stage {
            Stage::First => {
                if mem.load(levels.wrapping_add(4 * v), 2)? != u64::from(depth) {
                    return Ok(Next::Done(0));
                }
                Ok(self.go(Stage::Second))
            }
            Stage::Second => {
                self.k = mem.load(rows.wrapping_add(4 * v), 2)?;
                Ok(self.go(Stage::Third))
            }
            Stage::Third => {
                self.end = mem.load(rows.wrapping_add(4 * (v + 1)), 2)?;
                Ok(self.go(Stage::Fourth))
            }
            _ if self.k >= self.end => Ok(Next::Done(self.sum)),
            Stage::Fourth => {
                self.at = mem.load(columns.wrapping_add(4 * self.k), 2)?;
                Ok(self.go(Stage::Fifth))
            }
            _ => {
                let deeper = u64::from(depth.wrapping_add(1));
                let found = mem.modify(levels.wrapping_add(4 * self.at), 2, atomic::UMIN, deeper, 0)?;
                // Only who takes it from further away has found it.
                self.sum = self.sum.wrapping_add(u64::from(found > deeper));
                self.k += 1;
                Ok(self.go(Stage::Fourth))
            }
        }
    }

    /// First: the key. Second: a slot. Third: the value's place.
    fn probe(&mut self, program: &Program, mem: &mut Mem<'_, '_, '_>) -> Result<Next, Stop> {
        let Program::Hash { bits, limit, from, table, values, miss, .. } = program else {
            return Ok(Next::Done(0));
        };
        match self.stage {
            Stage::First => {
                self.a = mem.load(from.wrapping_add(4 * self.item), 2)?;
                self.b = u64::from(*miss);
                Ok(self.go(Stage::Second))
            }
            Stage::Second if self.k < *limit => {
                let entry = mem.load(self.slot(*table, *bits), 3)?;
                let (key, value) = (entry & 0xffff_ffff, entry >> 32);
                self.k += 1;
                if key == u64::from(EMPTY) {
                    self.k = *limit;
                } else if key == self.a {
                    (self.b, self.sum, self.k) = (value, value, *limit);
                }
                Ok(Next::More)
            }
            _ => {
                if *values != 0 {
                    mem.store(values.wrapping_add(4 * self.item), 2, self.b)?;
                }
                Ok(Next::Done(self.sum))
            }
        }
    }

    /// First: the key. Second: its value. Third: a slot's key. Fourth: the slot's value.
    fn insert(&mut self, program: &Program, mem: &mut Mem<'_, '_, '_>) -> Result<Next, Stop> {
        let Program::Hash { bits, limit, from, table, values, .. } = program else {
            return Ok(Next::Done(0));
        };
        match self.stage {
            Stage::First => {
                self.a = mem.load(from.wrapping_add(4 * self.item), 2)?;
                Ok(self.go(Stage::Second))
            }
            Stage::Second => {
                self.b = mem.load(values.wrapping_add(4 * self.item), 2)?;
                Ok(self.go(Stage::Third))
            }
            Stage::Fourth => {
                mem.store(self.slot(*table, *bits).wrapping_add(4), 2, self.b)?;
                Ok(Next::Done(1))
            }
            _ if self.k >= *limit => Ok(Next::Done(0)),
            _ => {
                let found = mem.modify(self.slot(*table, *bits), 2, atomic::CMPSWAP, self.a, EMPTY)?;
                if found == u64::from(EMPTY) || found == self.a {
                    return Ok(self.go(Stage::Fourth));
                }
                self.k += 1;
                Ok(Next::More)
            }
        }
    }
    /// Address of the slot that is looked at.
    fn slot(&self, table: u64, bits: u32) -> u64 {
        #[allow(clippy::cast_possible_truncation)] // it was read as a dword
        let first = slot(self.a as u32, bits);
        let slots = 1u64 << bits.min(32);
        table.wrapping_add(8 * (first.wrapping_add(self.k) & (slots - 1)))
    }
}

/// The iteration of item `item` at innermost iteration `k`: the three loops' counters.
fn point([n0, n1, _]: [u64; 3], reduce: bool, item: u64, k: u64) -> [u64; 3] {
    // There are no items where a loop makes no trip.
    let (n0, n1) = (n0.max(1), n1.max(1));
    if reduce {
        [k.min(n0 - 1), item % n1, item / n1]
    } else {
        [item % n0, item / n0 % n1, item / n0 / n1]
    }
}

/// The operand's index at `point`, where A has value `a`. Reads memory for a gather only.
fn index(operand: &Operand, point: [u64; 3], a: u64, mem: &mut Mem<'_, '_, '_>) -> Result<u64, Stop> {
    let Operand { start, strides, pattern, .. } = operand;
    let steps = point.iter().zip(strides).map(|(i, stride)| i.wrapping_mul(*stride));
    let e = steps.fold(*start, u64::wrapping_add);
    match *pattern {
        Pattern::None | Pattern::Affine => Ok(e),
        Pattern::Gather { base, wide: true } => mem.load(base.wrapping_add(e << 3), 3),
        Pattern::Gather { base, wide: false } => mem.load(base.wrapping_add(e << 2), 2),
        Pattern::Random { seed, range } => Ok(mix(seed.wrapping_add(e)) % range.max(1)),
        Pattern::ByA => Ok(e.wrapping_add(a)),
    }
}

fn value(func: u32, a: u64, b: u64, immediate: u64, number: u64) -> u64 {
    match func {
        func::ADD => a.wrapping_add(b),
        func::SUB => a.wrapping_sub(b),
        func::MUL => a.wrapping_mul(b),
        func::AND => a & b,
        func::OR => a | b,
        func::XOR => a ^ b,
        func::MIN => a.min(b),
        func::MAX => a.max(b),
        func::IMMEDIATE => immediate,
        func::NUMBER => number.wrapping_add(immediate),
        func::MULTIPLY_ADD => a.wrapping_mul(immediate).wrapping_add(b),
        func::MIX => mix(number.wrapping_add(immediate)),
        _ => a,
    }
}

/// All bits of an element.
fn ones(element: u32) -> u64 {
    u64::MAX >> (64 - (8u32 << element.min(3)))
}
