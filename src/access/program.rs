// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Access programs: from raw dwords to valid values. The layout is [`uvm_spec::access`]'s.

use crate::ring::Illegal;
use uvm_spec::access::*;
use uvm_spec::packet::{atomic, header, op as sdma_op, NOP_COUNT, TRAP_CONTEXT};

/// A valid packet of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the packet's")]
pub enum Command {
    /// `skip` more dwords belong to it.
    Nop {
        skip: u32,
    },
    Fence {
        addr: u64,
        value: u32,
    },
    Trap {
        context: u32,
    },
    /// A program for so many lanes.
    Program {
        lanes: u32,
        program: Box<Program>,
    },
}

/// How an operand's index is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the packet's")]
pub enum Pattern {
    /// There is no such operand.
    None,
    Affine,
    /// Indices lie at `base`, eight bytes each or four.
    Gather {
        base: u64,
        wide: bool,
    },
    /// `range` is not zero.
    Random {
        seed: u64,
        range: u64,
    },
    ByA,
}

/// An operand of a nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Address of element 0.
    pub base: u64,
    /// How an index is made.
    pub pattern: Pattern,
    /// Elements, modulo 2^64: `e` of iteration (0, 0, 0).
    pub start: u64,
    /// Elements, modulo 2^64: what each loop adds to `e`.
    pub strides: [u64; 3],
}

/// What is done to memory with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Nothing.
    None,
    /// It is stored.
    Store,
    /// An operation of the atomic unit.
    Atomic(u32),
}

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the packet's")]
pub enum Program {
    /// D = func(A, B), for each iteration of three loops, the first innermost.
    Nest {
        /// log2 of an element's bytes.
        element: u32,
        func: u32,
        update: Update,
        reduce: bool,
        trips: [u64; 3],
        immediate: u64,
        sum: u64,
        a: Operand,
        b: Operand,
        d: Operand,
    },
    /// Follows `hops` pointers of each chain.
    Chase {
        update: Update,
        chains: u64,
        hops: u64,
        heads: u64,
        next: u64,
        value: u64,
        immediate: u64,
        ends: u64,
        sum: u64,
    },
    /// Vertices of level `depth` give their neighbours the next one.
    Expand { vertices: u64, depth: u32, rows: u64, columns: u64, levels: u64, sum: u64 },
    /// Each key is looked for in a table of 2^`bits` slots, in `limit` of them at most.
    Hash { insert: bool, keys: u64, bits: u32, limit: u64, from: u64, table: u64, values: u64, miss: u32, sum: u64 },
}

impl Program {
    /// Pieces of work that lanes take one by one.
    pub fn items(&self) -> u64 {
        match self {
            Self::Nest { reduce: true, trips: [_, n1, n2], .. } => n1.saturating_mul(*n2),
            Self::Nest { trips: [n0, n1, n2], .. } => n0.saturating_mul(*n1).saturating_mul(*n2),
            Self::Chase { chains, .. } => *chains,
            Self::Expand { vertices, .. } => *vertices,
            Self::Hash { keys, .. } => *keys,
        }
    }
    /// Where the sum of all values goes; 0: nowhere.
    pub fn sum(&self) -> u64 {
        match self {
            Self::Nest { sum, .. } | Self::Chase { sum, .. } | Self::Expand { sum, .. } | Self::Hash { sum, .. } => {
                *sum
            }
        }
    }
}

/// Dwords of the packet that starts with `header`, without what a NOP skips.
pub fn fixed_dwords(header: u32) -> Result<usize, Illegal> {
    shape(header).map(|s| s.dwords.len() + 1).ok_or(Illegal)
}

/// The dwords of a packet, in their order; missing ones read as zero.
struct Dwords<'a>(std::slice::Iter<'a, u32>);

impl Dwords<'_> {
    fn next(&mut self) -> u32 {
        self.0.next().copied().unwrap_or(0)
    }
    fn count(&mut self) -> u64 {
        self.next().into()
    }
    fn wide(&mut self) -> u64 {
        u64::from(self.next()) | u64::from(self.next()) << 32
    }
    /// A number with a sign, as what it adds modulo 2^64.
    #[allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)] // the bits are meant
    fn signed(&mut self) -> u64 {
        i64::from(self.next() as i32) as u64
    }
    fn operand(&mut self) -> Result<Operand, Illegal> {
        let (base, indices, shape) = (self.wide(), self.wide(), self.next());
        let start = self.signed();
        let strides = [self.signed(), self.signed(), self.signed()];
        let (range, seed) = (self.count(), self.wide());
        if shape & !(PATTERN.mask() | WIDE_INDEX.mask()) != 0 {
            return Err(Illegal);
        }
        let pattern = match PATTERN.get(shape) {
            pattern::NONE => Pattern::None,
            pattern::AFFINE => Pattern::Affine,
            pattern::GATHER => Pattern::Gather { base: indices, wide: WIDE_INDEX.is_set(shape) },
            pattern::RANDOM if range > 0 => Pattern::Random { seed, range },
            pattern::BY_A => Pattern::ByA,
            _ => return Err(Illegal),
        };
        Ok(Operand { base, pattern, start, strides })
    }
}

fn update(value: u32) -> Result<Update, Illegal> {
    match value {
        update::NONE => Ok(Update::None),
        update::STORE => Ok(Update::Store),
        atomic::SWAP | atomic::ADD..=atomic::XOR => Ok(Update::Atomic(value)),
        _ => Err(Illegal),
    }
}

/// Decodes a packet from its header and the fixed dwords after it.
pub fn decode(dw: &[u32]) -> Result<Command, Illegal> {
    let mut rest = Dwords(dw.iter());
    let first = rest.next();
    let kind = first & 0xffff;
    if kind == header(sdma_op::NOP, 0) {
        return Ok(Command::Nop { skip: NOP_COUNT.get(first) });
    } else if kind == header(sdma_op::FENCE, 0) {
        return Ok(Command::Fence { addr: rest.wide(), value: rest.next() });
    } else if kind == header(sdma_op::TRAP, 0) {
        return Ok(Command::Trap { context: TRAP_CONTEXT.get(rest.next()) });
    }
    if first & !(0xffff | LANE_COUNT.mask()) != 0 {
        return Err(Illegal);
    }
    let program = match kind {
        k if k == header(op::NEST, 0) => nest(&mut rest)?,
        k if k == header(op::CHASE, 0) => {
            let control = rest.next();
            let update = update(UPDATE.get(control))?;
            if control & !UPDATE.mask() != 0 || update == Update::Store {
                return Err(Illegal);
            }
            let (chains, hops, heads) = (rest.count(), rest.count(), rest.wide());
            let (next, value, immediate) = (rest.count(), rest.count(), rest.wide());
            Program::Chase { update, chains, hops, heads, next, value, immediate, ends: rest.wide(), sum: rest.wide() }
        }
        k if k == header(op::EXPAND, 0) => Program::Expand {
            vertices: rest.count(),
            depth: rest.next(),
            rows: rest.wide(),
            columns: rest.wide(),
            levels: rest.wide(),
            sum: rest.wide(),
        },
        k if k == header(op::HASH, sub_op::PROBE) => hash(&mut rest, false)?,
        k if k == header(op::HASH, sub_op::INSERT) => hash(&mut rest, true)?,
        _ => return Err(Illegal),
    };
    Ok(Command::Program { lanes: LANE_COUNT.get(first) + 1, program: Box::new(program) })
}

fn nest(rest: &mut Dwords<'_>) -> Result<Program, Illegal> {
    let control = rest.next();
    let known = ELEMENT.mask() | FUNC.mask() | UPDATE.mask() | REDUCE.mask();
    let (element, func) = (ELEMENT.get(control), FUNC.get(control));
    let update = update(UPDATE.get(control))?;
    let trips = [rest.count(), rest.count(), rest.count()];
    let iterations = trips.iter().try_fold(1u64, |all, n| all.checked_mul(*n));
    // The atomic unit knows no narrower numbers.
    let narrow = element < 2 && matches!(update, Update::Atomic(_));
    if control & !known != 0 || func >= func::COUNT || narrow || iterations.is_none_or(|n| n > MAX_ITERATIONS) {
        return Err(Illegal);
    }
    let (immediate, sum) = (rest.wide(), rest.wide());
    let (a, b, d) = (rest.operand()?, rest.operand()?, rest.operand()?);
    if a.pattern == Pattern::ByA || (d.pattern == Pattern::None) != (update == Update::None) {
        return Err(Illegal);
    }
    let reduce = REDUCE.is_set(control);
    Ok(Program::Nest { element, func, update, reduce, trips, immediate, sum, a, b, d })
}

fn hash(rest: &mut Dwords<'_>, insert: bool) -> Result<Program, Illegal> {
    let (keys, bits, limit) = (rest.count(), rest.next(), rest.count());
    if !(1..=32).contains(&bits) {
        return Err(Illegal);
    }
    let (from, table, values) = (rest.wide(), rest.wide(), rest.wide());
    let (miss, sum) = (rest.next(), rest.wide());
    Ok(Program::Hash { insert, keys, bits, limit, from, table, values, miss, sum })
}
