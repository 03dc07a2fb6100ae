// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which chunk of VRAM leaves when another one is wanted.

use anyhow::{ensure, Result};
use uvm_spec::uapi;

use super::{switches, BLOCK, MIGRATE, SPARE};
use crate::drm::{Domain, FenceState, Mapping, Mirror};
use crate::ib::{Ib, Place};
use crate::test::case::{same, Ctx, Skip, PATIENCE};
use crate::test::svm::heuristics::Parameter;

/// More blocks of memory than VRAM has room for, which come there one after the other.
struct Blocks {
    mirror: Mirror,
    memory: Mapping,
    count: usize,
    /// The next that comes.
    next: usize,
}

impl Blocks {
    /// Brings blocks until one of them has had to leave: the first. None where there is no memory for that.
    fn full(ctx: &Ctx) -> Result<Self> {
        let mirror = Mirror::new(&ctx.device()?)?;
        // Packets come and go, but not to VRAM.
        let packets = (mirror.packets().va(), mirror.packets().len() as u64);
        mirror.device().advise(packets.0, packets.1, uapi::SVM_PREFERRED, uapi::SVM_IN_SYSTEM)?;
        let room = usize::try_from(mirror.device().param(uapi::PARAM_VRAM_SIZE)? / BLOCK)?;
        let count = room + 8;
        if room > 200 {
            return Err(Skip("more VRAM than this guest has memory to spare".into()).into());
        }
        let memory = Mapping::transparent(count * usize::try_from(BLOCK)?)?;
        let mut blocks = Self { mirror, memory, count, next: 0 };
        while blocks.there(0)? || blocks.next == 0 {
            blocks.bring()?;
        }
        ensure!(blocks.next + 6 < count && blocks.next > room / 2, "{} of {count} blocks came", blocks.next);
        same("the second block", blocks.there(1)?, true)?;
        Ok(blocks)
    }

    fn va(&self, block: usize) -> u64 {
        self.memory.va() + block as u64 * BLOCK
    }

    /// Brings one more.
    fn bring(&mut self) -> Result<()> {
        ensure!(self.next < self.count, "VRAM has room for all {} blocks", self.count);
        self.mirror.device().prefetch(self.va(self.next), BLOCK, Domain::Vram)?;
        same("the block that came", self.there(self.next)?, true)?;
        self.next += 1;
        Ok(())
    }

    /// Whether all of a block is in VRAM.
    fn there(&self, block: usize) -> Result<bool> {
        Ok(self.mirror.device().residency(self.va(block), BLOCK)?.vram == BLOCK)
    }

    /// The CPU takes a page, and the device has it back: the block is in use.
    fn use_by_both(&self, block: usize) -> Result<()> {
        let at = block * usize::try_from(BLOCK)?;
        self.memory.store(at, 5);
        let mut ib = Ib::new();
        ib.fence(Place::Raw(self.va(block) + 8), 6);
        same("the submission", self.mirror.run(0, &ib, PATIENCE)?, FenceState::Done)?;
        same("what both wrote", [self.memory.load(at), self.memory.load(at + 8) & 0xffff_ffff], [5, 6])?;
        let mut ib = Ib::new();
        ib.fence(Place::Raw(self.va(block) + 8), 7);
        same("the submission", self.mirror.run(0, &ib, PATIENCE)?, FenceState::Done)
    }

    /// Which of some blocks are in VRAM.
    fn those_there(&self, of: std::ops::Range<usize>) -> Result<Vec<usize>> {
        let mut there = Vec::new();
        for block in of {
            if self.there(block)? {
                there.push(block);
            }
        }
        Ok(there)
    }
}

/// The least recently used one, whatever came first.
pub fn coldest_chunk_leaves_first(ctx: &Ctx) -> Result<()> {
    let _switches = switches(MIGRATE)?;
    // What comes back comes back as a whole.
    let _granule = Parameter::set("svm_granule", 9)?;
    let mut blocks = Blocks::full(ctx)?;
    blocks.use_by_both(1)?;
    same("blocks that are there", blocks.those_there(1..5)?, vec![1, 2, 3, 4])?;
    blocks.bring()?;
    same("after another came", blocks.those_there(1..5)?, vec![1, 3, 4])?;
    blocks.bring()?;
    same("after two came", blocks.those_there(1..5)?, vec![1, 4])
}

/// What its process wants to be in VRAM stays there longer than others; if that is not to count, it does not.
pub fn preferred_chunk_is_spared(ctx: &Ctx) -> Result<()> {
    for (spare, value) in [(true, MIGRATE | SPARE), (false, MIGRATE)] {
        let _switches = switches(value)?;
        let mut blocks = Blocks::full(ctx)?;
        blocks.mirror.device().advise(blocks.va(1), BLOCK, uapi::SVM_PREFERRED, uapi::SVM_IN_VRAM)?;
        blocks.bring()?;
        let expected = if spare { vec![1, 3, 4] } else { vec![2, 3, 4] };
        same(format_args!("with sparing {spare}"), blocks.those_there(1..5)?, expected)?;
    }
    Ok(())
}
