// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The access engine on the rig: its programs as dwords, written out from the guide by hand, and a model that runs them one
//! item after the other on plain memory.

use super::spaces::PAGES;
use super::{bit, Rig, MIB};

pub const ACCESS: u32 = 0x1660;
/// LANES, ITEMS of a queue.
pub const LANES: u32 = 0xc0;
pub const ITEMS: u32 = 0xc1;

/// VRAM offset of the page that queue `q`'s ring lies in.
fn ring_page(q: u32) -> u64 {
    13 * MIB + (64 + u64::from(q)) * 4096
}
/// Its page number in its address space: the last ones.
fn ring_at(q: u32) -> u64 {
    PAGES - 8 + u64::from(q)
}

impl Rig {
    /// Binds queue `q` to VMID `vmid`, empty, and lets the engine run.
    pub fn access_queue(&mut self, q: u32, vmid: u64) {
        self.set_pte(vmid, ring_at(q), ring_page(q) | bit::VRAM);
        let base = ACCESS + 0x60 * q;
        let at = ring_at(q) << 12;
        let writes = [(0x80, 0), (0x81, (at >> 8) as u32), (0x82, 0), (0x83, 0), (0x84, 0), (0x86, 0), (0x85, 0)];
        for (offset, value) in writes {
            self.gpu.mmio_write(base + offset, value);
        }
        self.gpu.mmio_write(ACCESS + 0x1c, 3);
        self.gpu.mmio_write(ACCESS + 0x2a, 0);
        self.gpu.mmio_write(base + 0x80, 1 | 10 << 1 | (vmid as u32) << 24);
    }
    /// Puts `dwords` behind what queue `q` has, and starts it.
    pub fn access(&mut self, q: u32, dwords: &[u32]) {
        let base = ACCESS + 0x60 * q;
        let mut wptr = self.read(base + 0x85);
        for dw in dwords {
            self.poke_vram(ring_page(q) + u64::from(wptr % 4096), &dw.to_le_bytes());
            wptr += 4;
        }
        self.gpu.mmio_write(base + 0x85, wptr);
    }
    /// EXCEPTION of queue `q`.
    pub fn access_exception(&mut self, q: u32) -> u32 {
        self.read(ACCESS + 0x60 * q + 0x91) >> 4 & 7
    }
    /// Whether queue `q` has executed all that it was given.
    pub fn access_drained(&mut self, q: u32) -> bool {
        let base = ACCESS + 0x60 * q;
        self.read(base + 0x83) == self.read(base + 0x85)
    }
}

/// An operand as its dwords have it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operand {
    pub base: u64,
    pub indices: u64,
    /// 0 none, 1 affine, 2 gather, 3 random, 4 by A; 0x10: indices of eight bytes.
    pub pattern: u32,
    pub start: i32,
    pub strides: [i32; 3],
    pub range: u32,
    pub seed: u64,
}

impl Operand {
    /// Element after element.
    pub fn linear(base: u64) -> Self {
        Self { base, pattern: 1, strides: [1, 0, 0], ..Self::default() }
    }
    pub fn affine(base: u64, start: i32, strides: [i32; 3]) -> Self {
        Self { base, pattern: 1, start, strides, ..Self::default() }
    }
    fn dwords(&self) -> Vec<u32> {
        let [s0, s1, s2] = self.strides;
        let signed = [self.start, s0, s1, s2].map(|n| n as u32);
        let mut dw = [two(self.base), two(self.indices)].concat();
        dw.push(self.pattern);
        dw.extend(signed);
        dw.push(self.range);
        dw.extend(two(self.seed));
        dw
    }
}

fn two(n: u64) -> [u32; 2] {
    [n as u32, (n >> 32) as u32]
}

/// A program.
#[derive(Clone, Debug)]
pub enum Program {
    Nest {
        /// log2 of an element's bytes.
        element: u32,
        func: u32,
        update: u32,
        reduce: bool,
        trips: [u32; 3],
        imm: u64,
        sum: u64,
        a: Operand,
        b: Operand,
        d: Operand,
    },
    Chase {
        update: u32,
        chains: u32,
        hops: u32,
        heads: u64,
        next: u32,
        value: u32,
        imm: u64,
        ends: u64,
        sum: u64,
    },
    Expand {
        vertices: u32,
        depth: u32,
        rows: u64,
        columns: u64,
        levels: u64,
        sum: u64,
    },
    Hash {
        insert: bool,
        keys: u32,
        bits: u32,
        limit: u32,
        from: u64,
        table: u64,
        values: u64,
        miss: u32,
        sum: u64,
    },
}

impl Program {
    /// The packet, for `lanes` lanes.
    pub fn packet(&self, lanes: u32) -> Vec<u32> {
        let header = |op: u32| vec![op | (lanes - 1) << 16];
        match self {
            Self::Nest { element, func, update, reduce, trips, imm, sum, a, b, d } => {
                let mut dw = header(0x40);
                dw.push(element | func << 4 | update << 8 | u32::from(*reduce) << 16);
                dw.extend(trips);
                dw.extend([two(*imm), two(*sum)].concat());
                dw.extend([a.dwords(), b.dwords(), d.dwords()].concat());
                dw
            }
            Self::Chase { update, chains, hops, heads, next, value, imm, ends, sum } => {
                let mut dw = header(0x41);
                dw.extend([update << 8, *chains, *hops]);
                dw.extend(two(*heads));
                dw.extend([*next, *value]);
                dw.extend([two(*imm), two(*ends), two(*sum)].concat());
                dw
            }
            Self::Expand { vertices, depth, rows, columns, levels, sum } => {
                let mut dw = header(0x42);
                dw.extend([*vertices, *depth]);
                dw.extend([two(*rows), two(*columns), two(*levels), two(*sum)].concat());
                dw
            }
            Self::Hash { insert, keys, bits, limit, from, table, values, miss, sum } => {
                let mut dw = header(0x43 | u32::from(*insert) << 8);
                dw.extend([*keys, *bits, *limit]);
                dw.extend([two(*from), two(*table), two(*values)].concat());
                dw.push(*miss);
                dw.extend(two(*sum));
                dw
            }
        }
    }
}

/// The scattering function of RANDOM and MIX: splitmix64's, as the guide writes it.
pub fn mix(n: u64) -> u64 {
    super::Numbers(n).next()
}

/// Plain memory from address `base` on.
#[derive(Clone, Debug)]
pub struct Flat {
    pub base: u64,
    pub bytes: Vec<u8>,
}

impl Flat {
    fn at(&mut self, va: u64, size: usize) -> &mut [u8] {
        let at = (va & !(size as u64 - 1)).wrapping_sub(self.base) as usize;
        &mut self.bytes[at..at + size]
    }
    pub fn get(&mut self, va: u64, size: usize) -> u64 {
        let mut word = [0; 8];
        word[..size].copy_from_slice(self.at(va, size));
        u64::from_le_bytes(word)
    }
    pub fn put(&mut self, va: u64, size: usize, value: u64) {
        self.at(va, size).copy_from_slice(&value.to_le_bytes()[..size]);
    }
    fn update(&mut self, va: u64, size: usize, update: u32, value: u64) -> u64 {
        let old = self.get(va, size);
        let sign = |n: u64| if size == 8 { n as i64 } else { i64::from(n as u32 as i32) };
        let new = match update {
            0 => return old,
            1 | 7 => value,
            0x0f => old.wrapping_add(value),
            0x10 => old.wrapping_sub(value),
            0x11 => sign(old).min(sign(value)) as u64,
            0x12 => old.min(value),
            0x13 => sign(old).max(sign(value)) as u64,
            0x14 => old.max(value),
            0x15 => old & value,
            0x16 => old | value,
            0x17 => old ^ value,
            _ => panic!("no update {update:#x}"),
        };
        self.put(va, size, new);
        old
    }
    fn index(&mut self, o: &Operand, point: [u64; 3], a: u64) -> u64 {
        let e = (0..3).fold(i128::from(o.start), |e, n| e + i128::from(o.strides[n]) * i128::from(point[n])) as u64;
        match o.pattern {
            1 => e,
            2 => self.get(o.indices.wrapping_add(4u64.wrapping_mul(e)), 4),
            0x12 => self.get(o.indices.wrapping_add(8u64.wrapping_mul(e)), 8),
            3 => mix(o.seed.wrapping_add(e)) % u64::from(o.range),
            4 => e.wrapping_add(a),
            _ => 0,
        }
    }
    /// Runs `program`; its sum goes where it says.
    pub fn run(&mut self, program: &Program) {
        let (sum, at) = match program {
            Program::Nest { element, func, update, reduce, trips, imm, sum, a, b, d } => {
                let size = 1usize << element;
                let ones = u64::MAX >> (64 - 8 * size);
                let [n0, n1, n2] = trips.map(u64::from);
                let mut total = 0u64;
                for i2 in 0..n2 {
                    for i1 in 0..n1 {
                        let mut acc = 0u64;
                        for i0 in 0..n0 {
                            let point = [i0, i1, i2];
                            let place = |base: u64, i: u64| base.wrapping_add(i.wrapping_mul(size as u64));
                            let (mut x, mut y) = (0, 0);
                            if a.pattern != 0 {
                                let i = self.index(a, point, 0);
                                x = self.get(place(a.base, i), size);
                            }
                            if b.pattern != 0 {
                                let i = self.index(b, point, x);
                                y = self.get(place(b.base, i), size);
                            }
                            let number = (i2 * n1 + i1) * n0 + i0;
                            let v = ones
                                & match func {
                                    0 => x,
                                    1 => x.wrapping_add(y),
                                    2 => x.wrapping_sub(y),
                                    3 => x.wrapping_mul(y),
                                    4 => x & y,
                                    5 => x | y,
                                    6 => x ^ y,
                                    7 => x.min(y),
                                    8 => x.max(y),
                                    9 => *imm,
                                    10 => number.wrapping_add(*imm),
                                    11 => x.wrapping_mul(*imm).wrapping_add(y),
                                    _ => mix(number.wrapping_add(*imm)),
                                };
                            total = total.wrapping_add(v);
                            acc = acc.wrapping_add(v);
                            if *reduce && i0 + 1 < n0 {
                                continue;
                            }
                            if d.pattern != 0 {
                                let i = self.index(d, point, x);
                                self.update(place(d.base, i), size, *update, acc & ones);
                            }
                            acc = 0;
                        }
                    }
                }
                (total, *sum)
            }
            Program::Chase { update, chains, hops, heads, next, value, imm, ends, sum } => {
                let mut total = 0u64;
                for c in 0..u64::from(*chains) {
                    let mut p = self.get(heads + 8 * c, 8);
                    for _ in 0..*hops {
                        if p == 0 {
                            break;
                        }
                        total = total.wrapping_add(self.update(p + u64::from(*value), 8, *update, *imm));
                        p = self.get(p + u64::from(*next), 8);
                    }
                    if *ends != 0 {
                        self.put(ends + 8 * c, 8, p);
                    }
                }
                (total, *sum)
            }
            Program::Expand { vertices, depth, rows, columns, levels, sum } => {
                // As a frontier by hand: who is there before, then each neighbour that is nowhere nearer.
                let all: Vec<u64> = (0..u64::from(*vertices)).collect();
                let front: Vec<u64> =
                    all.into_iter().filter(|v| self.get(levels + 4 * v, 4) == u64::from(*depth)).collect();
                let mut found = 0;
                for v in front {
                    let (from, to) = (self.get(rows + 4 * v, 4), self.get(rows + 4 * v + 4, 4));
                    for edge in from..to {
                        let u = self.get(columns + 4 * edge, 4);
                        if self.get(levels + 4 * u, 4) > u64::from(*depth) + 1 {
                            self.put(levels + 4 * u, 4, u64::from(*depth) + 1);
                            found += 1;
                        }
                    }
                }
                (found, *sum)
            }
            Program::Hash { insert, keys, bits, limit, from, table, values, miss, sum } => {
                let mut total = 0u64;
                for i in 0..u64::from(*keys) {
                    let key = self.get(from + 4 * i, 4);
                    let first = ((u128::from(key) * 0x9e37_79b9_7f4a_7c15) as u64) >> (64 - bits);
                    let mut result = u64::from(*miss);
                    for step in 0..u64::from(*limit) {
                        let slot = table + 8 * ((first + step) % (1 << bits));
                        let held = self.get(slot, 4);
                        if *insert && (held == 0xffff_ffff || held == key) {
                            self.put(slot, 4, key);
                            let value = self.get(values + 4 * i, 4);
                            self.put(slot + 4, 4, value);
                            total += 1;
                            break;
                        }
                        if !*insert && held == 0xffff_ffff {
                            break;
                        }
                        if !*insert && held == key {
                            result = self.get(slot + 4, 4);
                            total += result;
                            break;
                        }
                    }
                    if !*insert && *values != 0 {
                        self.put(values + 4 * i, 4, result);
                    }
                }
                (total, *sum)
            }
        };
        if at != 0 {
            self.put(at, 8, sum);
        }
    }
}
