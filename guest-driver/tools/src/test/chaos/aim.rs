// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Registers with random values, aimed so that the device stays out of the kernel's memory.
//!
//! | register | gets |
//! |---|---|
//! | IH_RB_BASE*, IH_RB_WPTR_ADDR* | pages of this process, before IH_RB_CNTL may change the rings' sizes |
//! | IH_RB_CNTL* | anything, but the ring stays at a bus address: a vector is not tame, so none goes into VRAM |
//! | VM_CONTEXT*_PAGE_TABLE_BASE_ADDR | own VRAM |
//! | VM_CONTEXT*_CNTL | anything, but tables stay a page long, and VMID 0's stays flat: its entries are no directories |
//! | VM_L2_PROTECTION_FAULT_DEFAULT_ADDR | pages of this process |
//! | MC_VM_AGP_* | nothing: the aperture is the whole of system memory, and stays closed |
//! | MM_INDEX, MM_DATA | own VRAM, tame |
//! | PCIE_INDEX2, PCIE_DATA2 | another register of this table with a value that it may get |
//! | SDMA RB_RPTR*, RB_WPTR* | tame values, as the engine writes them to memory |

use std::ops::Range;

use anyhow::{ensure, Context, Result};
use uvm_spec::{hub, ih, nbio, pte, sdma, Access, Block, Reg, BLOCKS};

use super::noise::{tame, tame32};
use crate::drm::{Device, Mapping};
use crate::rng::Rng;
use crate::test::case::Skip;

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";
/// What a ring of vectors can be long at most, as its pointers tell.
const IH_RING: u64 = 256 << 10;
/// Where in the arena the write-backs and the default page go.
const PAGES_AT: u64 = 1 << 20;
const PAGES: u64 = 256;

/// Physically contiguous memory of this process that the kernel does not move: a huge page.
pub struct Arena {
    _map: Mapping,
    bus: u64,
}

impl Arena {
    /// Takes a huge page.
    pub fn new() -> Result<Self> {
        std::fs::write(HUGE_PAGES, "1").context(HUGE_PAGES)?;
        let map = Mapping::huge().context("a huge page")?;
        let bus = map.physical().context("/proc/self/pagemap")?;
        ensure!(bus != 0 && bus % (2 << 20) == 0 && bus < 1 << 32, "a huge page at {bus:#x}");
        Ok(Self { _map: map, bus })
    }

    fn page(&self, rng: &mut Rng) -> u64 {
        self.bus + PAGES_AT + 4096 * rng.below(PAGES)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(HUGE_PAGES, "0") {
            eprintln!("# {HUGE_PAGES}: {error}");
        }
    }
}

/// What a register may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Any,
    Tame,
    Zero,
    /// These bits as given, the others random.
    Fixed(u32, u32),
    /// Base of a ring of vectors, in units of 256 bytes.
    VectorRing,
    /// Low dword of a bus address.
    BusPage,
    /// A bus page number.
    BusPageNumber,
    /// Low dword of a root in own VRAM.
    Root,
}

fn rule(block: &Block, reg: &Reg, n: u32) -> Option<Rule> {
    if reg.access != Access::Rw {
        return None;
    }
    let name = reg.name;
    let any = Some(Rule::Any);
    match block.prefix {
        // Nobody translates through it.
        "GC." => any,
        "MMHUB." if name.starts_with("MC_VM_AGP_") => None,
        "MMHUB." if reg.offset == hub::mm::VM_CONTEXT_PAGE_TABLE_BASE_ADDR.offset => {
            Some(if n % 2 == 0 { Rule::Root } else { Rule::Zero })
        }
        "MMHUB." if reg.offset == hub::mm::VM_L2_PROTECTION_FAULT_DEFAULT_ADDR.offset => {
            Some(if n == 0 { Rule::BusPageNumber } else { Rule::Zero })
        }
        "MMHUB." if reg.offset == hub::mm::VM_CONTEXT_CNTL.offset => {
            use hub::mm::VM_CONTEXT_CNTL as C;
            let depth = if n == 0 { C::PAGE_TABLE_DEPTH.mask() } else { 0 };
            Some(Rule::Fixed(C::PAGE_TABLE_BLOCK_SIZE.mask() | depth, 0))
        }
        "MMHUB." => any,
        "SDMA0_" | "SDMA1_" => {
            let pointers = [&sdma::RB_RPTR, &sdma::RB_RPTR_HI, &sdma::RB_WPTR, &sdma::RB_WPTR_HI];
            Some(if pointers.iter().any(|p| p.offset == reg.offset) { Rule::Tame } else { Rule::Any })
        }
        _ if name.starts_with("IH_RB_BASE_HI") || name.starts_with("IH_RB_WPTR_ADDR_HI") => Some(Rule::Zero),
        _ if name.starts_with("IH_RB_BASE") => Some(Rule::VectorRing),
        _ if name.starts_with("IH_RB_WPTR_ADDR_LO") => Some(Rule::BusPage),
        _ if name.starts_with("IH_RB_CNTL") => {
            use ih::IH_RB_CNTL as C;
            Some(Rule::Fixed(C::MC_SPACE.mask(), C::MC_SPACE.of(ih::mc_space::BUS)))
        }
        _ if name.starts_with("IH_") => any,
        // The windows of NBIO are used in pairs, by hand.
        "" if reg.offset == nbio::MM_INDEX.offset || reg.offset == nbio::MM_INDEX_HI.offset => None,
        "" if reg.offset == nbio::PCIE_INDEX2.offset || name.starts_with("MMIO_MMU") => None,
        "" => any,
        _ => None,
    }
}

/// Whether the register says where the device writes vectors: it stays with this process to the reset.
fn keeps(reg: &Reg) -> bool {
    ["IH_RB_BASE", "IH_RB_WPTR_ADDR", "IH_RB_CNTL"].iter().any(|start| reg.name.starts_with(start))
}

/// What can be scribbled over, and what it was.
pub struct Aim<'a> {
    arena: &'a Arena,
    own: Range<u64>,
    registers: Vec<(u32, Rule)>,
    rings: Vec<(u32, Rule)>,
    saved: Vec<(u32, u32)>,
}

impl<'a> Aim<'a> {
    /// Saves the registers.
    pub fn new(device: &Device, arena: &'a Arena, own: Range<u64>) -> Result<Self> {
        let (mut registers, mut saved) = (Vec::new(), Vec::new());
        let mut rings = Vec::new();
        for block in BLOCKS {
            for reg in block.regs {
                for n in 0..reg.count {
                    let Some(rule) = rule(block, reg, n) else { continue };
                    let index = block.index(reg, n);
                    registers.push((index, rule));
                    if keeps(reg) {
                        rings.push((index, rule));
                    } else {
                        saved.push((index, device.reg(index)?));
                    }
                }
            }
        }
        Ok(Self { arena, own, registers, rings, saved })
    }

    /// Brings the interrupt rings out of the kernel's memory, before anything may change their sizes: bases and
    /// write-backs first.
    pub fn take_interrupts(&self, device: &Device, rng: &mut Rng) -> Result<()> {
        for (index, rule) in self.rings.iter().filter(|(_, rule)| !matches!(rule, Rule::Fixed(..))) {
            device.set_reg(*index, self.value(*rule, rng))?;
        }
        Ok(())
    }

    fn value(&self, rule: Rule, rng: &mut Rng) -> u32 {
        let random = rng.next32();
        let low = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0);
        match rule {
            Rule::Any => random,
            Rule::Tame => tame32(random),
            Rule::Zero => 0,
            Rule::Fixed(mask, value) => random & !mask | value,
            Rule::VectorRing => low((self.arena.bus + IH_RING * rng.below(PAGES_AT / IH_RING)) >> 8),
            Rule::BusPage => low(self.arena.page(rng)) | random & 0xffc,
            Rule::BusPageNumber => low(self.arena.page(rng) >> 12),
            Rule::Root => {
                let at = self.own.start + 64 * rng.below((self.own.end - self.own.start) / 64);
                low(at | u64::from(random & 0x3c) | pte::VALID)
            }
        }
    }

    /// Writes some registers, directly or through a window, and gives how many. Those that a dying device refuses count
    /// as well: the refusal is the driver's, not the register's.
    pub fn scribble(&self, device: &Device, rng: &mut Rng) -> u64 {
        let count = rng.size(64);
        for _ in 0..count {
            let (index, rule) = rng.pick(&self.registers);
            let value = self.value(rule, rng);
            match rng.below(8) {
                0 => {
                    device.set_reg(nbio::PCIE_INDEX2.offset, index << 2).ok();
                    device.set_reg(nbio::PCIE_DATA2.offset, value).ok();
                }
                1 => {
                    let at = self.own.start + 8 * rng.below((self.own.end - self.own.start) / 8);
                    let address = u32::try_from(at & 0x7fff_ffff).unwrap_or(0) | nbio::MM_INDEX::MM_APER.mask();
                    device.set_reg(nbio::MM_INDEX_HI.offset, 0).ok();
                    device.set_reg(nbio::MM_INDEX.offset, address).ok();
                    device.set_reg(nbio::MM_DATA.offset, tame32(value)).ok();
                }
                _ => {
                    device.set_reg(index, value).ok();
                }
            }
        }
        count
    }

    /// Gives most registers the values that the driver had left in them, so that there is something to break again.
    pub fn restore(&self, device: &Device) {
        for (index, value) in &self.saved {
            device.set_reg(*index, *value).ok();
        }
    }

    /// Where the root of a VMID lies in VRAM, if it has one there.
    pub fn root(&self, device: &Device, vmid: u32) -> Option<u64> {
        let root = base(device, vmid).ok()?;
        (root & pte::VALID != 0 && root & pte::SYSTEM == 0).then_some(root & pte::PTE_ADDR)
    }
}

/// PAGE_TABLE_BASE_ADDR of a VMID.
fn base(device: &Device, vmid: u32) -> Result<u64> {
    let reg = |n| device.reg(hub::MM_HUB.index(&hub::mm::VM_CONTEXT_PAGE_TABLE_BASE_ADDR, n));
    Ok(u64::from(reg(2 * vmid)?) | u64::from(reg(2 * vmid + 1)?) << 32)
}

/// Where the GART's table lies in VRAM.
pub fn gart_table(device: &Device) -> Result<Range<u64>> {
    let start = base(device, 0)? & pte::PDE_ADDR;
    let bytes = device.param(uvm_spec::uapi::PARAM_GTT_SIZE)? / 4096 * pte::ENTRY_BYTES;
    if start == 0 {
        // The profile vidmm finds it by directories, which these scribbles do not spare.
        return Err(Skip("no flat GART table".to_owned()).into());
    }
    ensure!(bytes != 0, "no GART");
    Ok(start..start + bytes)
}

/// Sets a ring of an engine up on packets at `base`.
pub fn start_ring(device: &Device, rng: &mut Rng, base: u64, dwords: usize) {
    use sdma::RB_CNTL as C;
    let block = if rng.below(2) == 0 { &sdma::SDMA0 } else { &sdma::SDMA1 };
    let ring = u32::try_from(rng.below(4)).unwrap_or(0);
    let low = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0);
    let wptr = if rng.below(4) == 0 { tame(rng.next()) & 0xfffc } else { 4 * dwords as u64 };
    let cntl = C::RB_ENABLE.of(1) | C::RB_SIZE.of(rng.next32() % 20) | C::RB_VMID.of(rng.next32() % 16);
    let writes = [
        (&sdma::RB_CNTL, 0),
        (&sdma::RB_BASE, low(base >> 8)),
        (&sdma::RB_BASE_HI, low(base >> 40)),
        (&sdma::RB_RPTR, 0),
        (&sdma::RB_RPTR_HI, 0),
        (&sdma::RB_WPTR, low(wptr)),
        (&sdma::RB_WPTR_HI, 0),
        (&sdma::IB_CNTL, sdma::IB_CNTL::IB_ENABLE.of(1)),
        (&sdma::RB_CNTL, cntl),
    ];
    for (reg, value) in writes {
        device.set_reg(block.index(reg, ring), value).ok();
    }
    device.set_reg(block.index(&sdma::F32_CNTL, 0), 0).ok();
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule_of(name: &str, n: u32) -> Option<Rule> {
        let found = BLOCKS.iter().flat_map(|b| b.regs.iter().map(move |r| (b, r)));
        let (block, reg) = found.into_iter().find(|(b, r)| format!("{}{}", b.prefix, r.name) == name).unwrap();
        rule(block, reg, n)
    }

    #[test]
    fn registers_with_bus_addresses_are_aimed() {
        for ring in ["", "_RING1", "_RING2"] {
            assert_eq!(rule_of(&format!("IH_RB_BASE{ring}"), 0), Some(Rule::VectorRing));
            assert_eq!(rule_of(&format!("IH_RB_BASE_HI{ring}"), 0), Some(Rule::Zero));
            assert!(matches!(rule_of(&format!("IH_RB_CNTL{ring}"), 0), Some(Rule::Fixed(..))));
        }
        assert_eq!(rule_of("IH_RB_WPTR_ADDR_LO", 0), Some(Rule::BusPage));
        assert_eq!(rule_of("IH_RB_WPTR_ADDR_HI", 0), Some(Rule::Zero));
        for name in ["MC_VM_AGP_TOP", "MC_VM_AGP_BOT", "MC_VM_AGP_BASE"] {
            assert_eq!(rule_of(&format!("MMHUB.{name}"), 0), None);
        }
    }

    #[test]
    fn every_base_address_register_is_found_by_its_name() {
        let mut roots = 0;
        for reg in hub::MM_HUB.regs {
            if reg.offset == hub::mm::VM_CONTEXT_PAGE_TABLE_BASE_ADDR.offset {
                roots = (0..reg.count).filter(|n| rule(&hub::MM_HUB, reg, *n) == Some(Rule::Root)).count();
            }
            if reg.offset == hub::mm::VM_L2_PROTECTION_FAULT_DEFAULT_ADDR.offset {
                assert_eq!(rule(&hub::MM_HUB, reg, 0), Some(Rule::BusPageNumber));
                assert_eq!(rule(&hub::MM_HUB, reg, 1), Some(Rule::Zero));
            }
        }
        assert_eq!(roots, 16);
    }
}
