// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Views as text.

use std::io::{Result, Write};
use vhost_device_uvm::trace::{engine_name, seconds};
use vhost_device_uvm::view::{
    AddressSpace, Digest, FaultStatus, Faults, Finding, Findings, Register, Ring, Tlbs, Walk,
};

/// One line a register; if `detailed`, one a field too.
pub fn registers(out: &mut dyn Write, registers: &[Register], detailed: bool) -> Result<()> {
    for reg in registers {
        let set: Vec<String> =
            reg.fields.iter().filter(|f| f.value != 0).map(|f| format!("{}={:#x}", f.name, f.value)).collect();
        let fields = if detailed || set.is_empty() { String::new() } else { format!(" ({})", set.join(", ")) };
        writeln!(out, "[{:#07x}] {} = {:#010x}{fields}", reg.index.0, reg.name, reg.value.0)?;
        if !detailed {
            continue;
        }
        writeln!(out, "    {}, {:#010x} after reset. {}", reg.access, reg.reset.0, reg.doc)?;
        for field in &reg.fields {
            let bits = if field.bits.0 == field.bits.1 {
                field.bits.0.to_string()
            } else {
                format!("{}:{}", field.bits.0, field.bits.1)
            };
            writeln!(out, "    {bits:>5} {} = {:#x}", field.name, field.value)?;
        }
    }
    Ok(())
}

/// One line.
pub fn digest(out: &mut dyn Write, digest: &Digest) -> Result<()> {
    let Digest { vmid, va, vram, system, none, sha256 } = digest;
    writeln!(
        out,
        "VMID {vmid} VA {va}: {vram} bytes in VRAM, {system} in system memory, {none} nowhere, SHA-256 {sha256}"
    )
}

/// One line a level, one a kind of access.
pub fn walk(out: &mut dyn Write, walk: &Walk) -> Result<()> {
    writeln!(out, "VMID {} VA {}", walk.vmid, walk.va)?;
    if walk.aperture {
        writeln!(out, "  untranslated: an aperture of VMID 0")?;
    }
    for step in &walk.steps {
        let entry = step.entry.map_or("-".into(), |e| format!("{:#018x}", e.0));
        writeln!(out, "  {:<4} [{:#5x}] at {} = {entry} {}", step.level, step.slot, step.at, step.text)?;
    }
    for end in &walk.ends {
        let place = end.at.map_or(String::new(), |at| format!(" to {at}, {} bytes", end.len));
        writeln!(out, "  {:<7} {}{place}", end.access, end.why)?;
    }
    Ok(())
}

/// One line a ring, and what it stands at.
pub fn rings(out: &mut dyn Write, rings: &[Ring]) -> Result<()> {
    for ring in rings {
        let engine = engine_name(u8::try_from(ring.instance).unwrap_or(u8::MAX));
        write!(out, "{engine} {:<4} {:<9}", ring.ring, ring.state)?;
        if ring.state == "disabled" {
            writeln!(out)?;
            continue;
        }
        writeln!(
            out,
            " VMID {:<2} base {} size {} RPTR {} WPTR {}",
            ring.vmid, ring.base, ring.size, ring.rptr, ring.wptr
        )?;
        if let Some(why) = &ring.why {
            writeln!(out, "           {why}")?;
        }
        if let Some(packet) = &ring.packet {
            writeln!(out, "           at RPTR: {packet}")?;
        }
        if let Some(ib) = &ring.ib {
            writeln!(
                out,
                "           IB VMID {} base {} dword {} of {}: {}",
                ib.vmid,
                ib.base,
                ib.at,
                ib.dwords,
                ib.packet.as_deref().unwrap_or("-")
            )?;
        }
    }
    Ok(())
}

/// One line a cache, one an entry.
pub fn tlbs(out: &mut dyn Write, tlbs: &Tlbs) -> Result<()> {
    for cache in &tlbs.caches {
        // A stream's pages come on top of what the cache itself holds.
        let used = cache.entries.len() + cache.left_out;
        writeln!(
            out,
            "{}: {used} entries in use of {}; {} hits, {} misses",
            cache.name, cache.capacity, cache.hits, cache.misses
        )?;
        for e in &cache.entries {
            writeln!(out, "  VMID {:<2} {:>18} + {:<10} -> {} {}", e.vmid, e.va, e.len, e.at, e.flags)?;
        }
        if cache.left_out > 0 {
            writeln!(out, "  and {} more", cache.left_out)?;
        }
    }
    writeln!(out, "{} walks", tlbs.walks)
}

/// One line an address space; disabled ones are left out.
pub fn vmids(out: &mut dyn Write, spaces: &[AddressSpace]) -> Result<()> {
    for s in spaces.iter().filter(|s| s.enabled) {
        let root = s.root.map_or("nowhere".into(), |at| at.to_string());
        let busy = if s.busy.is_empty() { "idle".into() } else { s.busy.join(", ") };
        let retry = if s.retry { " retry" } else { "" };
        writeln!(
            out,
            "VMID {:<2} PASID {:<5} {} levels, {}..{} root {root} block {} pages{retry}: {busy}",
            s.vmid,
            s.pasid,
            s.levels,
            s.first,
            s.last,
            1u64 << s.block_bits.min(63)
        )?;
    }
    let off: Vec<String> = spaces.iter().filter(|s| !s.enabled).map(|s| s.vmid.to_string()).collect();
    if !off.is_empty() {
        writeln!(out, "disabled: {}", off.join(" "))?;
    }
    Ok(())
}

/// Fault status, CAM, parked rings, the last faults.
pub fn faults(out: &mut dyn Write, faults: &Faults) -> Result<()> {
    writeln!(out, "{} faults since reset", faults.count)?;
    for FaultStatus { hub, va, value, text } in &faults.status {
        writeln!(out, "{hub} FAULT_STATUS {value} page {va}: {text}")?;
    }
    for e in &faults.cam {
        writeln!(out, "CAM {:<3} VMID {:<2} page {} told by IH ring {}", e.index, e.vmid, e.va, e.ih_ring)?;
    }
    for p in &faults.parked {
        writeln!(out, "{} waits: {} of {} in VMID {}: {}", p.ring, p.access, p.va, p.vmid, p.cause)?;
    }
    for f in &faults.recent {
        let times = if f.times > 1 { format!(", {} times", f.times) } else { String::new() };
        let retry = if f.retry { ", retried" } else { "" };
        writeln!(out, "#{} VMID {} {} of {}: {}{retry}{times}", f.number, f.vmid, f.access, f.va, f.cause)?;
    }
    Ok(())
}

pub fn findings(out: &mut dyn Write, findings: &Findings) -> Result<()> {
    writeln!(out, "{} findings", findings.findings.len())?;
    for Finding { time, rule, what, chapter } in &findings.findings {
        writeln!(out, "{:>14.6} {rule}: {what} (guide, {chapter})", seconds(*time))?;
    }
    for (rule, count) in &findings.counts {
        writeln!(out, "{rule}: {count} times")?;
    }
    Ok(())
}
