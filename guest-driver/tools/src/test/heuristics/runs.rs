// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! How memory leaves VRAM that others want: in few pieces, however it came.

use anyhow::{ensure, Result};
use uvm_spec::uapi;

use super::{switches, BLOCK, MIGRATE, PAGE};
use crate::drm::{Domain, Mapping, Mirror};
use crate::test::case::{eventually, same, Ctx, PATIENCE};
use crate::test::svm::heuristics::{counter, Parameter};

/// MiB of VRAM: two chunks.
const VRAM: u32 = 4;
/// Two stretches of memory, each in a block of its own, and two more blocks.
const OTHERS: u64 = 2;
/// Pieces that memory may leave in.
const FEW: u64 = 12;

struct Memory {
    mirror: Mirror,
    map: Mapping,
}

impl Memory {
    fn new(ctx: &Ctx) -> Result<Self> {
        let mirror = Mirror::new(&ctx.device()?)?;
        let map = Mapping::transparent(usize::try_from((2 + OTHERS) * BLOCK)?)?;
        let memory = Self { mirror, map };
        for page in 0..2 * BLOCK / PAGE {
            memory.map.store(usize::try_from(page * PAGE)?, page);
        }
        Ok(memory)
    }

    fn bring(&self, block: u64, first: u64, pages: u64) -> Result<()> {
        let (va, bytes) = (self.map.va() + block * BLOCK + first * PAGE, pages * PAGE);
        // A page that the kernel holds for a moment stays behind, once.
        let came = eventually(PATIENCE, || {
            self.mirror.device().prefetch(va, bytes, Domain::Vram)?;
            Ok(self.mirror.device().residency(va, bytes)?.vram == bytes)
        })?;
        ensure!(came, "not all {bytes} bytes came");
        Ok(())
    }

    /// Others take all of VRAM: in how many pieces the two stretches left. They have still their bytes.
    fn leave(&self, pages: u64) -> Result<u64> {
        let there = || Ok::<_, anyhow::Error>(self.mirror.device().residency(self.map.va(), 2 * BLOCK)?);
        same(
            "bytes in VRAM and in the device's tables",
            (there()?.vram, there()?.mapped),
            (pages * PAGE, pages * PAGE),
        )?;
        let before = (counter("by")?, self.mirror.device().param(uapi::PARAM_DEVMEM_EVICTED)?);
        for other in 0..OTHERS {
            self.mirror.device().prefetch(self.map.va() + (2 + other) * BLOCK, BLOCK, Domain::Vram)?;
        }
        let evicted = self.mirror.device().param(uapi::PARAM_DEVMEM_EVICTED)? - before.1;
        same("bytes that were evicted", (evicted, there()?.vram), (pages * PAGE, 0))?;
        let pieces = counter("by")? - before.0;
        for page in 0..2 * BLOCK / PAGE {
            same("the number of a page", self.map.load(usize::try_from(page * PAGE)?), page)?;
        }
        Ok(pieces)
    }
}

/// Pieces of two stretches come by turns, and lie by turns; they leave in the order of their addresses.
pub fn what_came_by_turns_leaves_in_few_pieces(ctx: &Ctx) -> Result<()> {
    const PIECE: u64 = 4;
    let (_switches, _vram) = (switches(MIGRATE)?, Parameter::set("svm_vram", VRAM)?);
    let memory = Memory::new(ctx)?;
    for first in (0..BLOCK / PAGE).step_by(usize::try_from(PIECE)?) {
        memory.bring(0, first, PIECE)?;
        memory.bring(1, first, PIECE)?;
    }
    let pieces = memory.leave(2 * BLOCK / PAGE)?;
    ensure!((2..=FEW).contains(&pieces), "{pieces} pieces");
    Ok(())
}

/// Pages of one migration lie beside each other, also where two chunks have room for some.
pub fn what_came_together_leaves_together(ctx: &Ctx) -> Result<()> {
    const PAGES: u64 = 300;
    let (_switches, _vram) = (switches(MIGRATE)?, Parameter::set("svm_vram", VRAM)?);
    let memory = Memory::new(ctx)?;
    // What the first chunk has left is not enough for the second stretch.
    memory.bring(0, 0, PAGES)?;
    memory.bring(1, 0, PAGES)?;
    let pieces = memory.leave(2 * PAGES)?;
    ensure!((2..=FEW).contains(&pieces), "{pieces} pieces");
    Ok(())
}
