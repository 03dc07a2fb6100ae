// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Registers, through the driver's register ioctl.

use anyhow::{ensure, Result};
use rustix::io::Errno;
use uvm_spec::{hub, ih, nbio, sdma, uapi, Access, Block, Reg};

use crate::drm::Device;
use crate::test::borrowed::Borrowed;
use crate::test::case::{refused, same, Ctx};
use crate::test::purpose::OnPurpose;

/// Patterns that show stuck and swapped bits and bytes.
const PATTERNS: &[u32] = &[0xffff_ffff, 0, 0x5555_5555, 0xaaaa_aaaa, 0x0123_4567, 0x8000_0001];

const INSTANCES: [&Block; 2] = [&sdma::SDMA0, &sdma::SDMA1];

/// Registers that neither the device nor the driver looks at.
fn scratch() -> Vec<u32> {
    let elements = |block: &Block, reg: &Reg| (0..reg.count).map(|n| block.index(reg, n)).collect::<Vec<_>>();
    let mut found = elements(&nbio::NBIO, &nbio::BIOS_SCRATCH);
    INSTANCES.iter().for_each(|block| found.extend(elements(block, &sdma::PUB_DUMMY_REG)));
    found
}

pub fn params_are_sane(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let vram = device.param(uapi::PARAM_VRAM_SIZE)?;
    let gtt = device.param(uapi::PARAM_GTT_SIZE)?;
    ensure!(vram >= 1 << 20 && vram % 4096 == 0, "VRAM of {vram:#x} bytes");
    ensure!(gtt >= 1 << 20 && gtt % 4096 == 0, "GART window of {gtt:#x} bytes");
    ensure!(device.param(uapi::PARAM_VRAM_USED)? <= vram, "more VRAM used than there is");
    ensure!(device.param(uapi::PARAM_GTT_USED)? <= gtt, "more of the GART used than there is");
    same("SDMA instances", device.param(uapi::PARAM_RINGS)?, uvm_spec::SDMA_INSTANCES as u64)?;
    same("version", device.param(uapi::PARAM_DEVICE_VERSION)?, u64::from(uvm_spec::window::VERSION))?;
    let levels = device.param(uapi::PARAM_LEVELS)?;
    ensure!((1..=5).contains(&levels), "{levels} levels of page tables");
    let (gart, fb) = (device.param(uapi::PARAM_GART_START)?, device.param(uapi::PARAM_FB_START)?);
    ensure!(gart + gtt <= fb || fb + vram <= gart, "GART {gart:#x}+{gtt:#x} and FB {fb:#x}+{vram:#x} overlap");
    refused("an unknown parameter", device.param(9999), &[Errno::INVAL])?;
    ctx.note(format_args!("VRAM {} MiB at {fb:#x}, GART {} MiB at {gart:#x}, levels {levels}", vram >> 20, gtt >> 20));
    Ok(())
}

pub fn memory_size_register_tells_vram(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let size = device.reg(nbio::NBIO.index(&nbio::RCC_CONFIG_MEMSIZE, 0))?;
    same("RCC_CONFIG_MEMSIZE (MiB)", u64::from(size), device.param(uapi::PARAM_VRAM_SIZE)? >> 20)?;
    // The driver's word and the register could be wrong together: the launcher says what it passed to the device.
    if let Ok(passed) = std::env::var("UVM_VRAM_MIB") {
        same("RCC_CONFIG_MEMSIZE against what was asked for", size, passed.parse()?)?;
    }
    Ok(())
}

pub fn scratch_registers_hold_patterns(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for index in scratch() {
        let _old = Borrowed::new(&device, index)?;
        for pattern in PATTERNS.iter().copied().chain((0..32).map(|bit| 1 << bit)) {
            device.set_reg(index, pattern)?;
            same(format_args!("register {index:#x}"), device.reg(index)?, pattern)?;
        }
    }
    Ok(())
}

pub fn scratch_registers_are_distinct(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let all = scratch();
    let _old = all.iter().map(|&index| Borrowed::new(&device, index)).collect::<Result<Vec<_>>>()?;
    let values: Vec<u32> = all.iter().map(|_| rng.next32()).collect();
    for (&index, &value) in all.iter().zip(&values) {
        device.set_reg(index, value)?;
    }
    for (&index, &value) in all.iter().zip(&values) {
        same(format_args!("register {index:#x} after all were written"), device.reg(index)?, value)?;
    }
    Ok(())
}

pub fn read_only_registers_ignore_writes(ctx: &Ctx) -> Result<()> {
    let _wrong = OnPurpose::begin();
    let device = ctx.device()?;
    let mut tried = 0;
    let fixed =
        [(&nbio::NBIO, &nbio::RCC_CONFIG_MEMSIZE), (&sdma::SDMA0, &sdma::VERSION), (&sdma::SDMA1, &sdma::VERSION)];
    // Of the rings, only those that the driver does not run: their state stands still.
    let idle = INSTANCES.into_iter().flat_map(|block| {
        block
            .regs
            .iter()
            .filter(|reg| reg.access == Access::Ro && reg.count == sdma::RINGS)
            .map(move |reg| (block, *reg))
    });
    for (block, reg) in fixed.into_iter().chain(idle) {
        let index = block.index(reg, reg.count - 1);
        let before = device.reg(index)?;
        for value in [!before, 0, u32::MAX] {
            device.set_reg(index, value)?;
            same(format_args!("{}{} after a write of {value:#x}", block.prefix, reg.name), device.reg(index)?, before)?;
        }
        tried += 1;
    }
    ensure!(tried > 10, "only {tried} read-only registers were found");
    Ok(())
}

pub fn undefined_registers_read_zero(ctx: &Ctx) -> Result<()> {
    let _wrong = OnPurpose::begin();
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let random =
        (0..40).map(|_| u32::try_from(rng.below(u64::from(uvm_spec::MMIO_DWORDS)))).collect::<Result<Vec<_>, _>>()?;
    let chosen = [0x2, 0x3, 0x50, 0x1a000, uvm_spec::MMIO_DWORDS - 1];
    for index in chosen.into_iter().chain(random).filter(|&index| uvm_spec::lookup(index).is_none()) {
        same(format_args!("undefined register {index:#x}"), device.reg(index)?, 0)?;
        device.set_reg(index, 0xffff_ffff)?;
        same(format_args!("undefined register {index:#x} after a write"), device.reg(index)?, 0)?;
    }
    Ok(())
}

/// Registers that the driver has no reason to touch, with what they hold after reset.
fn untouched() -> Vec<(String, u32, u32)> {
    let mut found = Vec::new();
    let mut add = |block: &Block, reg: &Reg, n: u32| {
        found.push((format!("{}{} element {n}", block.prefix, reg.name), block.index(reg, n), reg.reset));
    };
    for block in INSTANCES {
        for reg in block.regs.iter().filter(|reg| reg.count == sdma::RINGS && reg.stride == sdma::RING_STRIDE) {
            // GFX and PAGE ring are the driver's.
            (2..reg.count).for_each(|n| add(block, reg, n));
        }
        add(block, &sdma::VERSION, 0);
    }
    for reg in ih::REGS.iter().filter(|reg| reg.name.ends_with("_RING2")) {
        add(&ih::OSSSYS, reg, 0);
    }
    for n in 8..16 {
        add(&hub::MM_HUB, &hub::mm::VM_CONTEXT_CNTL, n);
        add(&hub::MM_HUB, &hub::mm::VM_CONTEXT_PAGE_TABLE_BASE_ADDR, 2 * n);
    }
    found
}

pub fn unused_registers_have_reset_values(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let all = untouched();
    ensure!(all.len() > 100, "only {} registers to look at", all.len());
    ensure!(all.iter().any(|(_, _, reset)| *reset != 0), "every reset value is zero");
    for (name, index, reset) in all {
        same(name, device.reg(index)?, reset)?;
    }
    Ok(())
}

pub fn fields_keep_only_their_bits(ctx: &Ctx) -> Result<()> {
    let _wrong = OnPurpose::begin();
    let device = ctx.device()?;
    let user_ring = 2;
    let regs: [(&Block, &Reg, u32); 5] = [
        (&ih::OSSSYS, &ih::IH_VMID_LUT, 15),
        (&ih::OSSSYS, &ih::IH_RB_BASE_HI_RING2, 0),
        (&sdma::SDMA0, &sdma::RB_BASE_HI, user_ring),
        (&sdma::SDMA1, &sdma::DOORBELL_OFFSET, user_ring),
        (&hub::GC_HUB, &hub::gc::MC_VM_SYSTEM_APERTURE_LOW_ADDR, 0),
    ];
    for (block, reg, n) in regs {
        let index = block.index(reg, n);
        let _old = Borrowed::new(&device, index)?;
        device.set_reg(index, u32::MAX)?;
        same(format_args!("{}{} after a write of ones", block.prefix, reg.name), device.reg(index)?, reg.writable())?;
        device.set_reg(index, 0)?;
        same(format_args!("{}{} after a write of zeros", block.prefix, reg.name), device.reg(index)?, 0)?;
    }
    Ok(())
}

/// A register reached through an index and a data register is the same as the register itself.
fn indirect(device: &Device, index_reg: u32, data_reg: u32) -> Result<()> {
    let target = nbio::NBIO.index(&nbio::BIOS_SCRATCH, 3);
    let _old = [Borrowed::new(device, target)?, Borrowed::new(device, index_reg)?];
    device.set_reg(index_reg, target * 4)?;
    device.set_reg(data_reg, 0x1357_9bdf)?;
    same("the register after a write through the pair", device.reg(target)?, 0x1357_9bdf)?;
    device.set_reg(target, 0x0246_8ace)?;
    same("the data register after a write of the register", device.reg(data_reg)?, 0x0246_8ace)
}

pub fn mm_index_reaches_registers(ctx: &Ctx) -> Result<()> {
    let at = |reg| nbio::NBIO.index(reg, 0);
    indirect(&ctx.device()?, at(&nbio::MM_INDEX), at(&nbio::MM_DATA))
}

pub fn pcie_index_reaches_registers(ctx: &Ctx) -> Result<()> {
    let at = |reg| nbio::NBIO.index(reg, 0);
    indirect(&ctx.device()?, at(&nbio::PCIE_INDEX2), at(&nbio::PCIE_DATA2))
}

pub fn register_index_past_the_end_is_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for index in [uvm_spec::MMIO_DWORDS, 0x8000_0000, u32::MAX] {
        refused(format_args!("reading register {index:#x}"), device.reg(index), &[Errno::INVAL])?;
        refused(format_args!("writing register {index:#x}"), device.set_reg(index, 0), &[Errno::INVAL])?;
    }
    Ok(())
}
