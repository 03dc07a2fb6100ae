// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Writers of what is made from the tables: the driver's C headers and the register reference.

use crate::{fidelity, hub, ih, packet, pte, sdma, uapi, window, Block, Reg, BLOCKS};
use core::fmt::{self, Write};

const MADE: &str = "made from the tables in spec/; UPDATE_GENERATED=1 cargo test -p uvm-spec writes it anew";

/// Prefix of a block's registers in C, and whether its two instances share their names.
fn c_prefix(block: &Block) -> &'static str {
    match block.prefix {
        "SDMA0_" => "SDMA_",
        "GC." => "GC_",
        "MMHUB." => "MM_",
        other => other,
    }
}

fn c_name(out: &mut dyn Write, prefix: &str, reg: &Reg) -> fmt::Result {
    out.write_str(prefix)?;
    reg.name.replace_markers(out)
}

/// Drops the element markers of a register's name.
trait Markers {
    fn replace_markers(&self, out: &mut dyn Write) -> fmt::Result;
}

impl Markers for &str {
    fn replace_markers(&self, out: &mut dyn Write) -> fmt::Result {
        let name = self.strip_prefix("{r}_").unwrap_or(self);
        match name.split_once("{}") {
            Some((head, tail)) => {
                let (head, tail) = (head.trim_end_matches('_'), tail.trim_start_matches('_'));
                let bar = if tail.is_empty() { "" } else { "_" };
                write!(out, "{head}{bar}{tail}")
            }
            None => out.write_str(name),
        }
    }
}

fn define(out: &mut dyn Write, name: impl fmt::Display, value: impl fmt::Display) -> fmt::Result {
    writeln!(out, "#define {name}\t{value}")
}

/// The driver's register header. Offsets are dword indices; `mm` names take an element where a register repeats.
pub fn c_registers(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "/* SPDX-License-Identifier: GPL-2.0 */\n/* {MADE} */\n#ifndef UVM_REGS_H\n#define UVM_REGS_H\n")?;
    define(out, "UVM_MMIO_DWORDS", format_args!("{:#x}", crate::MMIO_DWORDS))?;
    for block in BLOCKS {
        if block.prefix == "SDMA1_" {
            define(out, "SDMA_INSTANCE_STRIDE", format_args!("{:#x}", block.base - sdma::SDMA0.base))?;
            define(out, "SDMA_RING_STRIDE", format_args!("{:#x}", sdma::RING_STRIDE))?;
            continue;
        }
        let prefix = c_prefix(block);
        let shared_fields = block.prefix == "MMHUB.";
        writeln!(out)?;
        for reg in block.regs {
            out.write_str("#define mm")?;
            c_name(out, prefix, reg)?;
            match (reg.count, reg.stride) {
                (1, _) => writeln!(out, "\t{:#07x}", block.index(reg, 0))?,
                (_, 1) => writeln!(out, "(n)\t({:#07x} + (n))", block.index(reg, 0))?,
                (_, stride) => writeln!(out, "(n)\t({:#07x} + (n) * {stride:#x})", block.index(reg, 0))?,
            }
            for f in reg.fields.iter().filter(|_| !shared_fields) {
                let prefix = if block.prefix == "GC." { "" } else { prefix };
                out.write_str("#define ")?;
                c_name(out, prefix, reg)?;
                writeln!(out, "__{}\tGENMASK({}, {})", f.name, f.msb, f.lsb)?;
            }
        }
    }
    c_formats(out)?;
    writeln!(out, "\n#endif /* UVM_REGS_H */")
}

/// Window, interrupt vectors, page table entries and packets.
fn c_formats(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "\n/* the config space window */")?;
    use window::{cap, offset as o, segment, status};
    for (name, value) in [
        ("VIRTIO_ID", u64::from(window::VIRTIO_ID)),
        ("MAGIC", u64::from(window::MAGIC)),
        ("VERSION", u64::from(window::VERSION)),
        ("OFF_MAGIC", o::MAGIC as u64),
        ("OFF_VERSION", o::VERSION as u64),
        ("OFF_CAPS", o::CAPS as u64),
        ("OFF_VRAM_SIZE", o::VRAM_SIZE as u64),
        ("OFF_MMIO_SIZE", o::MMIO_SIZE as u64),
        ("OFF_LEVELS", o::LEVELS as u64),
        ("OFF_STATUS", o::STATUS as u64),
        ("OFF_IH_WPTR", o::IH_WPTR as u64),
        ("OFF_SDMA_INSTANCES", o::SDMA_INSTANCES as u64),
        ("OFF_DOORBELLS", o::DOORBELLS as u64),
        ("OFF_VRAM_BASE", o::VRAM_BASE as u64),
        ("OFF_DATA", o::DATA as u64),
        ("OFF_CMD", o::CMD as u64),
        ("OFF_SEGMENTS", o::SEGMENTS as u64),
        ("OFF_PACKETS", o::PACKETS as u64),
        ("OFF_BYTES", o::BYTES as u64),
        ("OFF_INTERRUPTS", o::INTERRUPTS as u64),
        ("OFF_FAULTS", o::FAULTS as u64),
        ("OFF_WALKS", o::WALKS as u64),
        ("OFF_TLB_HITS", o::TLB_HITS as u64),
        ("STATUS_VRAM_READY", u64::from(status::VRAM_READY)),
        ("STATUS_UNDEFINED", u64::from(status::UNDEFINED)),
        ("CAP_RETRY_FAULTS", cap::RETRY_FAULTS),
        ("CAP_UMA", cap::UMA),
        ("CAP_VIDMM", cap::VIDMM),
        ("CAP_ACCESS", cap::ACCESS),
        ("CAP_SMALL_BAR", cap::SMALL_BAR),
        ("CAP_CHECKS", cap::CHECKS),
        ("SEGMENTS", window::SEGMENTS as u64),
        ("SEGMENT_KIND", segment::KIND),
        ("SEGMENT_LOCAL", segment::LOCAL),
        ("SEGMENT_LOCAL_INVISIBLE", segment::LOCAL_INVISIBLE),
        ("SEGMENT_SNOOPED", segment::SNOOPED),
        ("SEGMENT_UNSNOOPED", segment::UNSNOOPED),
        ("CMD_WRITE", u64::from(window::CMD_WRITE)),
        ("CMD_INDEX", u64::from(window::CMD_INDEX)),
        ("CMD_SEQ_SHIFT", u64::from(window::CMD_SEQ_SHIFT)),
        ("DOORBELL_QUEUE", window::DOORBELL_QUEUE as u64),
        ("EVENT_QUEUE", window::EVENT_QUEUE as u64),
        ("QUEUES", window::QUEUES as u64),
        ("MESSAGE_BYTES", window::MESSAGE_BYTES as u64),
        ("MAX_DOORBELLS", window::MAX_DOORBELLS as u64),
    ] {
        define(out, format_args!("UVM_WIN_{name}"), format_args!("{value:#x}"))?;
    }
    writeln!(out, "\n/* what a driver tells the device's checks */")?;
    for (name, value) in [("FREED", crate::annotate::op::FREED), ("ALLOCATED", crate::annotate::op::ALLOCATED)] {
        define(out, format_args!("UVM_ANNOTATE_{name}"), value)?;
    }
    writeln!(out, "\n/* doorbell slots, 64 bits each */")?;
    use crate::nbio::doorbell;
    for (name, value) in [
        ("SDMA0_GFX", doorbell::SDMA0_GFX),
        ("SDMA1_GFX", doorbell::SDMA1_GFX),
        ("ACCESS_Q0", doorbell::ACCESS_Q0),
        ("SDMA_SLOTS", doorbell::SDMA_SLOTS),
        ("IH", doorbell::IH),
        ("RETRY_CAM", doorbell::RETRY_CAM),
    ] {
        define(out, format_args!("UVM_DOORBELL_{name}"), format_args!("{value:#x}"))?;
    }
    writeln!(out, "\n/* interrupt vectors */")?;
    for (name, value) in [
        ("VECTOR_BYTES", ih::VECTOR_BYTES),
        ("MC_SPACE_BUS", ih::mc_space::BUS),
        ("MC_SPACE_GPU_VA", ih::mc_space::GPU_VA),
        ("CLIENT_SDMA0", u32::from(ih::client::SDMA0)),
        ("CLIENT_SDMA1", u32::from(ih::client::SDMA1)),
        ("CLIENT_ACCESS", u32::from(ih::client::ACCESS)),
        ("CLIENT_VMC", u32::from(ih::client::VMC)),
        ("CLIENT_DF", u32::from(ih::client::DF)),
        ("CLIENT_UTCL2", u32::from(ih::client::UTCL2)),
        ("CLIENT_UTCL2LOG", u32::from(ih::client::UTCL2LOG)),
        ("SRC_PAGE_FAULT", u32::from(ih::source::PAGE_FAULT)),
        ("SRC_ECC_ERROR", u32::from(ih::source::ECC_ERROR)),
        ("SRC_ACCESS_COUNTER", u32::from(ih::source::ACCESS_COUNTER)),
        ("SRC_SDMA_IB_PREEMPT", u32::from(ih::source::SDMA_IB_PREEMPT)),
        ("SRC_SDMA_TRAP", u32::from(ih::source::SDMA_TRAP)),
        ("SRC_SDMA_DOORBELL_INVALID", u32::from(ih::source::SDMA_DOORBELL_INVALID)),
        ("SRC_SDMA_POLL_TIMEOUT", u32::from(ih::source::SDMA_POLL_TIMEOUT)),
        ("SRC_SDMA_ILLEGAL_INST", u32::from(ih::source::SDMA_ILLEGAL_INST)),
    ] {
        define(out, format_args!("IH_{name}"), format_args!("{value:#x}"))?;
    }
    writeln!(out, "\n/* page table entries */")?;
    for (bit, name) in pte::FLAG_NAMES {
        let name = match *name {
            "X" => "EXECUTABLE",
            "R" => "READABLE",
            "W" => "WRITEABLE",
            other => other,
        };
        define(out, format_args!("UVM_PTE_{name}"), format_args!("BIT_ULL({})", bit.trailing_zeros()))?;
    }
    define(out, "UVM_PTE_ADDR", format_args!("{:#x}ULL", pte::PTE_ADDR))?;
    define(out, "UVM_PDE_ADDR", format_args!("{:#x}ULL", pte::PDE_ADDR))?;
    define(out, "UVM_PTE_FRAGMENT_SHIFT", pte::FRAGMENT_SHIFT)?;
    define(out, "UVM_PTE_MTYPE_SHIFT", pte::MTYPE_SHIFT)?;
    define(out, "UVM_PDE_BLOCK_FRAGMENT_SHIFT", pte::BLOCK_FRAGMENT_SHIFT)?;
    writeln!(out, "\n/* fault causes */")?;
    for (name, value) in [
        ("VALID", hub::permission::VALID),
        ("READ", hub::permission::READ),
        ("WRITE", hub::permission::WRITE),
        ("EXECUTE", hub::permission::EXECUTE),
    ] {
        define(out, format_args!("UVM_PERMISSION_FAULT_{name}"), format_args!("{value:#x}"))?;
    }
    writeln!(out, "\n/* SDMA packets: header (op | sub_op << 8) and dwords in all, without data */")?;
    for s in packet::SHAPES {
        let header = packet::header(s.op, s.sub_op);
        define(out, format_args!("SDMA_PKT_{}", s.name), format_args!("{header:#06x}"))?;
        define(out, format_args!("SDMA_PKT_{}_DWORDS", s.name), s.dwords.len() + 1)?;
    }
    define(out, "SDMA_PKT_MAX_BYTES", format_args!("{:#x}", packet::MAX_BYTES))?;
    define(out, "SDMA_PKT_MAX_PTES", format_args!("{:#x}", packet::MAX_PTES))?;
    define(out, "SDMA_PKT_INDIRECT__VMID", "GENMASK(19, 16)")?;
    define(out, "SDMA_PKT_POLL_REGMEM__FUNC", "GENMASK(30, 28)")?;
    define(out, "SDMA_PKT_POLL_REGMEM__INTERVAL", "GENMASK(15, 0)")?;
    define(out, "SDMA_PKT_POLL_REGMEM__RETRY_COUNT", "GENMASK(27, 16)")?;
    define(out, "SDMA_PKT_SRBM_WRITE__BYTE_EN", "GENMASK(31, 28)")?;
    define(out, "SDMA_PKT_CONST_FILL__FILLSIZE", "GENMASK(31, 30)")
}

/// The ioctl header, for the driver and for C programs.
pub fn c_uapi(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */\n/* {MADE} */")?;
    writeln!(out, "#ifndef UVM_DRM_H\n#define UVM_DRM_H\n\n#include <drm/drm.h>\n")?;
    for (name, value, doc) in uapi::CONSTS.iter().copied().flatten() {
        writeln!(out, "/*{doc} */")?;
        define(out, format_args!("UVM_{name}"), value)?;
    }
    for s in uapi::STRUCTS.iter().copied().flatten() {
        writeln!(out, "\n/**\n * struct {} -{}", s.name, s.doc)?;
        for m in s.members {
            writeln!(out, " * @{}:{}", m.name, m.doc)?;
        }
        writeln!(out, " */\nstruct {} {{", s.name)?;
        for m in s.members {
            writeln!(out, "\t{} {};", m.ty, m.name)?;
        }
        writeln!(out, "}};")?;
    }
    writeln!(out)?;
    for (name, nr, _) in uapi::IOCTLS {
        define(out, format_args!("DRM_UVM_{name}"), format_args!("{nr:#04x}"))?;
    }
    writeln!(out)?;
    for (name, _, ty) in uapi::IOCTLS {
        writeln!(out, "#define DRM_IOCTL_UVM_{name}\t\\\n\tDRM_IOWR(DRM_COMMAND_BASE + DRM_UVM_{name}, struct {ty})")?;
    }
    writeln!(out, "\n#endif /* UVM_DRM_H */")
}

/// The fidelity table, Markdown.
pub fn fidelity(out: &mut dyn Write) -> fmt::Result {
    use fidelity::Fidelity;
    writeln!(out, "# Fidelity\n\n<!-- {MADE} -->\n")?;
    writeln!(out, "Exact: a driver that follows the public headers sees no difference.")?;
    for (title, table) in
        [("Behaviour", fidelity::BEHAVIOURS), ("Packets", fidelity::PACKETS), ("Registers", fidelity::REGISTERS)]
    {
        writeln!(out, "\n## {title}\n\n| what | is | differs |\n|---|---|---|")?;
        for (name, judgement) in table {
            match judgement {
                Fidelity::Exact => writeln!(out, "| {name} | exact | |")?,
                Fidelity::Approximate(how) => writeln!(out, "| {name} | approximate | {how} |")?,
                Fidelity::Absent(how) => writeln!(out, "| {name} | absent | {how} |")?,
            }
        }
    }
    Ok(())
}

/// The register reference, Markdown.
pub fn reference(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "# Register reference\n\n<!-- {MADE} -->\n")?;
    writeln!(out, "Indices are dwords in the 512 KiB register space. RX registers act when touched.\n")?;
    for block in BLOCKS {
        let title = block.prefix.trim_end_matches(['_', '.']);
        let title = match (title, block.base) {
            ("", 0) => "NBIO",
            ("", base) if base == crate::annotate::ANNOTATE.base => "Annotations for the checks",
            ("", base) if base == crate::vidmm::VIDMM.base => "MMU profile vidmm",
            ("", _) => "OSSSYS (IH)",
            (other, _) => other,
        };
        writeln!(out, "## {title}\n")?;
        if block.prefix == "SDMA1_" {
            writeln!(out, "As SDMA0, from index {:#07x}.\n", block.base)?;
            continue;
        }
        writeln!(out, "| index | register | access | reset | fields | meaning |\n|---|---|---|---|---|---|")?;
        for r in block.regs {
            write!(out, "| {:#07x}", block.index(r, 0))?;
            if r.count > 1 {
                write!(out, " + n * {:#x}, n < {}", r.stride, r.count)?;
            }
            write!(out, " | {} | {} | {:#010x} | ", r.name, r.access.tag(), r.reset)?;
            for (i, f) in r.fields.iter().enumerate() {
                let comma = if i > 0 { ", " } else { "" };
                match f.msb == f.lsb {
                    true => write!(out, "{comma}{} {}", f.name, f.lsb)?,
                    false => write!(out, "{comma}{} {}:{}", f.name, f.msb, f.lsb)?,
                }
            }
            writeln!(out, " |{} |", r.doc)?;
        }
        writeln!(out)?;
    }
    Ok(())
}
