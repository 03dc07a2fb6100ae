// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Access programs, built.

use uvm_spec::access::{self as spec, op, pattern, sub_op, update};
use uvm_spec::packet::header;

/// An operand of a nest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operand {
    base: u64,
    indices: u64,
    pattern: u32,
    start: i32,
    strides: [i32; 3],
    range: u32,
    seed: u64,
}

impl Operand {
    /// There is none.
    pub fn none() -> Self {
        Self::default()
    }
    /// Elements from `base` on, `strides` apart in the three loops.
    pub fn affine(base: u64, start: i32, strides: [i32; 3]) -> Self {
        Self { base, pattern: pattern::AFFINE, start, strides, ..Self::default() }
    }
    /// Element after element.
    pub fn linear(base: u64) -> Self {
        Self::affine(base, 0, [1, 0, 0])
    }
    /// Elements that the dwords at `indices` number, one after the other.
    pub fn gather(base: u64, indices: u64) -> Self {
        Self { indices, pattern: pattern::GATHER, ..Self::linear(base) }
    }
    /// Elements below `range` in an order that only `seed` decides.
    pub fn random(base: u64, range: u32, seed: u64) -> Self {
        Self { pattern: pattern::RANDOM, range, seed, ..Self::linear(base) }
    }
    /// The element that A numbers.
    pub fn by_a(base: u64) -> Self {
        Self { base, pattern: pattern::BY_A, ..Self::default() }
    }
    fn dwords(&self) -> Vec<u32> {
        let Self { base, indices, pattern, start, strides: [s0, s1, s2], range, seed } = *self;
        let mut dwords = [halves(base), halves(indices)].concat();
        dwords.push(pattern);
        dwords.extend([start, s0, s1, s2].map(|n| u32::from_le_bytes(n.to_le_bytes())));
        dwords.push(range);
        dwords.extend(halves(seed));
        dwords
    }
}

#[allow(clippy::cast_possible_truncation)] // the halves
fn halves(n: u64) -> [u32; 2] {
    [n as u32, (n >> 32) as u32]
}

/// A program for the access engine.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// D `update` func(A, B), for each iteration of three loops.
    Nest {
        /// log2 of an element's bytes.
        element: u32,
        /// `access::func` number.
        func: u32,
        /// `access::update` or `packet::atomic` number.
        update: u32,
        /// A lane adds up the innermost loop.
        reduce: bool,
        /// Iterations, the innermost loop's first.
        trips: [u32; 3],
        /// What FUNC may use.
        immediate: u64,
        /// Read.
        a: Operand,
        /// Read.
        b: Operand,
        /// Updated.
        d: Operand,
    },
    /// Follows chains of pointers.
    Chase {
        /// Array of the first pointers.
        heads: u64,
        /// How many.
        chains: u32,
        /// Pointers followed of each at most.
        hops: u32,
        /// Offset of the next pointer in a node.
        next: u32,
        /// Offset of the value.
        value: u32,
    },
    /// A step of a breadth-first search.
    Expand {
        /// Vertices of the graph.
        vertices: u32,
        /// Level of those that find others.
        depth: u32,
        /// Array of `vertices` + 1 places in `columns`.
        rows: u64,
        /// Array of neighbours.
        columns: u64,
        /// Array of levels.
        levels: u64,
    },
    /// Puts keys and values into a hash table, or finds the values.
    Hash {
        /// Keys are put in.
        insert: bool,
        /// Keys.
        count: u32,
        /// log2 of the table's slots.
        bits: u32,
        /// Array of keys.
        keys: u64,
        /// Array of slots.
        table: u64,
        /// Array of values, or of what is found.
        values: u64,
        /// What a key that is not found gives.
        miss: u32,
    },
}

impl Program {
    /// A nest over dwords that stores.
    pub fn store(func: u32, trips: [u32; 3], a: Operand, b: Operand, d: Operand) -> Self {
        let (element, update) = (2, update::STORE);
        Self::Nest { element, func, update, reduce: false, trips, immediate: 0, a, b, d }
    }
    /// The packet, for `lanes` lanes; the sum of its values goes to `sum` unless that is zero.
    pub fn packet(&self, lanes: u32, sum: u64) -> Vec<u32> {
        let lanes = spec::LANE_COUNT.of(lanes.clamp(1, spec::MAX_LANES) - 1);
        match *self {
            Self::Nest { element, func, update, reduce, trips, immediate, a, b, d } => {
                let control = spec::ELEMENT.of(element)
                    | spec::FUNC.of(func)
                    | spec::UPDATE.of(update)
                    | spec::REDUCE.of(u32::from(reduce));
                let mut dwords = vec![header(op::NEST, 0) | lanes, control];
                dwords.extend(trips);
                dwords.extend([halves(immediate), halves(sum)].concat());
                dwords.extend([a.dwords(), b.dwords(), d.dwords()].concat());
                dwords
            }
            Self::Chase { heads, chains, hops, next, value } => {
                let mut dwords = vec![header(op::CHASE, 0) | lanes, spec::UPDATE.of(update::NONE), chains, hops];
                dwords.extend(halves(heads));
                dwords.extend([next, value]);
                dwords.extend([halves(0), halves(0), halves(sum)].concat());
                dwords
            }
            Self::Expand { vertices, depth, rows, columns, levels } => {
                let mut dwords = vec![header(op::EXPAND, 0) | lanes, vertices, depth];
                dwords.extend([halves(rows), halves(columns), halves(levels), halves(sum)].concat());
                dwords
            }
            Self::Hash { insert, count, bits, keys, table, values, miss } => {
                let sub_op = if insert { sub_op::INSERT } else { sub_op::PROBE };
                let limit = 1u32.checked_shl(bits).unwrap_or(u32::MAX);
                let mut dwords = vec![header(op::HASH, sub_op) | lanes, count, bits, limit];
                dwords.extend([halves(keys), halves(table), halves(values)].concat());
                dwords.push(miss);
                dwords.extend(halves(sum));
                dwords
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_long_as_their_shapes() {
        let none = Operand::none();
        for program in [
            Program::store(0, [1, 1, 1], none, none, Operand::linear(0)),
            Program::Chase { heads: 0, chains: 1, hops: 1, next: 0, value: 0 },
            Program::Expand { vertices: 1, depth: 0, rows: 0, columns: 0, levels: 0 },
            Program::Hash { insert: false, count: 1, bits: 1, keys: 0, table: 0, values: 0, miss: 0 },
            Program::Hash { insert: true, count: 1, bits: 1, keys: 0, table: 0, values: 0, miss: 0 },
        ] {
            let packet = program.packet(64, 0);
            let shape = packet.first().and_then(|header| spec::shape(*header));
            assert_eq!(shape.map(|s| s.dwords.len() + 1), Some(packet.len()), "{program:?}");
        }
    }
}
