// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Memory in one piece: the device translates it as one, and page by page where that is not so any more.

use anyhow::{ensure, Result};
use rustix::mm::Advice;
use uvm_spec::uapi;

use super::{rises, shared, switches, BLOCK, MIGRATE, PAGE};
use crate::drm::{Domain, Mapping};
use crate::test::case::{same, Ctx};
use crate::test::svm::heuristics::Parameter;
use crate::uvm::program::{Operand, Program};
use crate::uvm::{Uvm, LANES};

const BLOCKS: u64 = 8;
const BYTES: u64 = BLOCKS * BLOCK;

/// The device adds 1 to a dword of each page, block after block; page-table walks that it takes.
fn walks(uvm: &Uvm, memory: &Mapping) -> Result<u64> {
    let d = Operand::affine(memory.va(), 0, [1024, 0, 0]);
    let none = Operand::none();
    let add = Program::Nest {
        element: 2,
        func: uvm_spec::access::func::IMMEDIATE,
        update: uvm_spec::packet::atomic::ADD,
        reduce: false,
        trips: [u32::try_from(BYTES / PAGE)?, 1, 1],
        immediate: 1,
        a: none,
        b: none,
        d,
    };
    let before = uvm.device().param(uapi::PARAM_DEVICE_WALKS)?;
    uvm.launch(&[add], LANES)?.wait()?;
    Ok(uvm.device().param(uapi::PARAM_DEVICE_WALKS)? - before)
}

/// Fails unless each page's dword is `expected`.
fn all(memory: &Mapping, expected: u64) -> Result<()> {
    for at in (0..memory.len()).step_by(4096) {
        same(format_args!("the dword at {at:#x}"), memory.load(at) & 0xffff_ffff, expected)?;
    }
    Ok(())
}

pub fn memory_in_one_piece_is_translated_as_one(ctx: &Ctx) -> Result<()> {
    let _switches = switches(MIGRATE)?;
    let mut seen = Vec::new();
    for on in [0, 1] {
        let _fragments = Parameter::set("svm_fragments", on)?;
        let uvm = shared(ctx)?;
        let memory = Mapping::transparent(usize::try_from(BYTES)?)?;
        let joined = rises("joined", || {
            uvm.device().prefetch(memory.va(), BYTES, Domain::Vram)?;
            Ok(())
        })?;
        same("blocks in one piece", joined, u64::from(on) * BLOCKS)?;
        let (first, second) = (walks(&uvm, &memory)?, walks(&uvm, &memory)?);
        seen.push(first.min(second));
        // A page that the CPU takes is not in the piece any more, and nobody reads what was there.
        memory.advise(4096, 4096, Advice::LinuxDontNeed)?;
        walks(&uvm, &memory)?;
        same("the page that was thrown away", memory.load(4096) & 0xffff_ffff, 1)?;
        memory.store(4096, 3);
        all(&memory, 3)?;
        walks(&uvm, &memory)?;
        all(&memory, 4)?;
        let left = uvm.device().residency(memory.va(), BYTES)?;
        same("all of it", left.system + left.vram, BYTES)?;
    }
    ctx.note(format_args!("walks for {} pages: {seen:?}, page by page and as one", BYTES / PAGE));
    ensure!(seen[1] * 10 <= seen[0], "walks page by page and as one: {seen:?}");
    Ok(())
}
