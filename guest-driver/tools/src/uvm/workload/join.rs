// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A hash join: a table is built of one relation, and probed with the keys of the other. Its accesses are anywhere.

use std::collections::HashMap;

use anyhow::{ensure, Result};
use uvm_spec::access::EMPTY;

use super::{compare, share, Outcome};
use crate::rng::Rng;
use crate::uvm::program::Program;
use crate::uvm::{Uvm, LANES};

const MISS: u32 = 0xdead_0000;

pub fn run(uvm: &Uvm, bytes: u64, seed: u64) -> Result<Outcome> {
    // Keys and values to put in, keys to look up and what is found, and a table of two slots a key or more.
    let count = share(bytes, 8, 64)?;
    let bits = (2 * count).next_power_of_two().ilog2();
    let size = 4 * u64::from(count);
    let table_size = 8u64 << bits;
    let [keys, values, wanted, found] = [uvm.alloc(size)?, uvm.alloc(size)?, uvm.alloc(size)?, uvm.alloc(size)?];
    let table = uvm.alloc(table_size)?;
    let mut rng = Rng::new(seed);
    // Odd multiples of a number scatter and do not repeat.
    let key = |n: u32| n.wrapping_mul(0x9e37_79b1) & (EMPTY >> 1);
    let built: Vec<(u32, u32)> = (0..count).map(|n| (key(n), rng.next32() & !MISS)).collect();
    let map: HashMap<u32, u32> = built.iter().copied().collect();
    let looked: Vec<u32> =
        (0..count).map(|_| key(u32::try_from(rng.below(2 * u64::from(count))).unwrap_or(0))).collect();
    keys.write(0, &built.iter().map(|(k, _)| *k).collect::<Vec<_>>())?;
    // Of equal keys the table keeps any: let them have equal values.
    values.write(0, &built.iter().map(|(k, _)| map.get(k).copied().unwrap_or(0)).collect::<Vec<_>>())?;
    wanted.write(0, &looked)?;
    table.write_wide(0, &vec![u64::from(EMPTY); 1 << bits])?;
    let hash = |insert, keys: u64, values: u64| Program::Hash {
        insert,
        count,
        bits,
        keys,
        table: table.address(),
        values,
        miss: MISS,
    };
    let inserted = uvm.launch(&[hash(true, keys.address(), values.address())], LANES)?.wait()?;
    ensure!(inserted == u64::from(count), "{inserted} keys found a slot, of {count}");
    let sum = uvm.launch(&[hash(false, wanted.address(), found.address())], LANES)?.wait()?;
    let expected: Vec<u32> = looked.iter().map(|k| map.get(k).copied().unwrap_or(MISS)).collect();
    let checked = compare("what was found", &found.read(expected.len())?, &expected)?;
    let total: u64 = looked.iter().filter_map(|k| map.get(k)).map(|v| u64::from(*v)).sum();
    ensure!(sum == total, "the sum of what was found is {sum}, expected {total}");
    Ok(Outcome { bytes: 4 * size + table_size, checked })
}
