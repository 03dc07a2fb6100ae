// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `migrate`: a process's own memory goes to VRAM and comes back.
//!
//! Where it is, is not taken from the driver's word: VRAM is read by the engine, at the addresses of the chunks that the
//! driver names, and must have the bytes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::{uapi, PAGE_SIZE};

use super::case::{complete, content, eventually, refused, same, same_bytes, stamps, Case, Ctx, Run, PATIENCE};
use super::reload::debugfs;
use crate::drm::{forked, Bo, Device, Domain, Mapping, May, Words};
use crate::ib::{Ib, Place};

mod owners;
mod pressure;

pub use pressure::{worker, WORKER};

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("bytes_are_in_vram_and_come_back_by_access", bytes_are_in_vram_and_come_back_by_access),
    once("folio_of_a_block_moves_as_one", folio_of_a_block_moves_as_one),
    once("prefetch_to_system_brings_all_back", prefetch_to_system_brings_all_back),
    once("memory_never_touched_reads_as_zeros", memory_never_touched_reads_as_zeros),
    once("odd_arguments_are_refused", odd_arguments_are_refused),
    once("unmapped_memory_gives_vram_back", unmapped_memory_gives_vram_back),
    once("folio_in_vram_comes_apart", folio_in_vram_comes_apart),
    once("child_and_parent_share_what_is_in_vram", child_and_parent_share_what_is_in_vram),
    once("files_and_shared_memory_stay", files_and_shared_memory_stay),
    once("cpu_writes_while_pages_come_and_go", cpu_writes_while_pages_come_and_go),
    once("more_than_vram_has_the_newest_there", pressure::more_than_vram_has_the_newest_there),
    once("buffers_get_vram_from_processes_memory", pressure::buffers_get_vram_from_processes_memory),
    once("process_gets_vram_from_idle_buffers", pressure::process_gets_vram_from_idle_buffers),
    once("killed_process_gives_vram_back", pressure::killed_process_gives_vram_back),
    once("process_is_killed_at_any_point_of_a_migration", pressure::process_is_killed_at_any_point_of_a_migration),
    once("folio_of_a_block_is_evicted_as_one", owners::folio_of_a_block_is_evicted_as_one),
    once("pieces_of_memory_are_evicted", owners::pieces_of_memory_are_evicted),
    once("memory_that_was_moved_is_evicted", owners::memory_that_was_moved_is_evicted),
    once("own_pages_of_a_file_mapping_are_evicted", owners::own_pages_of_a_file_mapping_are_evicted),
    once("child_has_what_its_parent_gave_up", owners::child_has_what_its_parent_gave_up),
    once("child_has_what_its_dead_parent_left", owners::child_has_what_its_dead_parent_left),
    once("process_ends_as_its_memory_is_evicted", owners::process_ends_as_its_memory_is_evicted),
    once("unbound_device_leaves_all_memory_behind", pressure::unbound_device_leaves_all_memory_behind),
    once("ring_that_stands_still_costs_time_alone", pressure::ring_that_stands_still_costs_time_alone),
];

const PAGE: usize = 4096;
const BLOCK: u64 = 2 << 20;
/// How long CPU and engine work side by side.
const LASTS: Duration = Duration::from_millis(1500);

/// A process's own memory, and what must be in it.
pub struct Own {
    memory: Mapping,
    model: Vec<u8>,
}

fn memory(length: usize, huge: bool) -> Result<Mapping> {
    Ok(if huge { Mapping::transparent(length)? } else { Mapping::private(length)? })
}

impl Own {
    /// `length` bytes of `salt`.
    pub fn new(salt: u64, length: usize, huge: bool) -> Result<Self> {
        let memory = memory(length, huge)?;
        let model = stamps(salt, length);
        memory.write(0, &model);
        Ok(Self { memory, model })
    }

    /// Where it starts.
    pub fn va(&self) -> u64 {
        self.memory.va()
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.model.len() as u64
    }

    /// Has all that can go be in a domain; bytes that were moved.
    pub fn go(&self, device: &Device, domain: Domain) -> Result<u64> {
        let told = device.prefetch(self.va(), self.size(), domain)?;
        same("bytes that could not be moved", told.failed, 0)?;
        Ok(told.moved)
    }

    /// What the CPU sees.
    pub fn check(&self) -> Result<()> {
        let mut seen = vec![0; self.model.len()];
        self.memory.read(0, &mut seen);
        same_bytes("what the CPU sees", &seen, &self.model)
    }
}

/// Offsets of the chunks of VRAM that hold processes' memory.
fn chunks() -> Result<Vec<u64>> {
    let text = debugfs("uvm_devmem")?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("chunk 0x"));
    lines
        .map(|line| {
            let (offset, _) = line.split_once(':').with_context(|| line.to_owned())?;
            Ok(u64::from_str_radix(offset, 16)?)
        })
        .collect()
}

/// The pages that VRAM's chunks have, as the engine reads them.
fn pages_in_vram(device: &Device) -> Result<HashSet<Vec<u8>>> {
    let base = device.param(uapi::PARAM_FB_START)?;
    let bo = Bo::new(device, BLOCK, Domain::Gtt)?;
    let mut pages = HashSet::new();
    for chunk in chunks()? {
        let mut ib = Ib::new();
        ib.copy(Place::Raw(base + chunk), Place::Bo(bo.handle(), 0), BLOCK);
        complete(device, 0, &ib)?;
        pages.extend(content(&bo, usize::try_from(BLOCK)?)?.chunks(PAGE).map(<[u8]>::to_vec));
    }
    Ok(pages)
}

/// Fails unless VRAM has all of it.
fn is_in_vram(device: &Device, own: &Own) -> Result<()> {
    let pages = pages_in_vram(device)?;
    let missing = own.model.chunks(PAGE).filter(|page| !pages.contains(*page)).count();
    same("pages that VRAM does not have", missing, 0)
}

fn bytes_are_in_vram_and_come_back_by_access(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut own = Own::new(ctx.rng().next(), 64 * PAGE, false)?;
    let (used, faults) = (device.param(uapi::PARAM_DEVMEM_USED)?, device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?);
    let by_engine = device.param(uapi::PARAM_DEVICE_BYTES)?;
    same("bytes moved", own.go(&device, Domain::Vram)?, own.size())?;
    same("bytes in VRAM", device.param(uapi::PARAM_DEVMEM_USED)?, used + own.size())?;
    let by_engine = device.param(uapi::PARAM_DEVICE_BYTES)? - by_engine;
    ensure!(by_engine >= own.size(), "the engine moved {by_engine} bytes");
    same("bytes moved, once they are there", own.go(&device, Domain::Vram)?, 0)?;
    is_in_vram(&device, &own)?;
    same("accesses by the CPU so far", device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?, faults)?;

    own.check()?;
    let now = device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?;
    ensure!(now > faults && now <= faults + 5, "{} accesses of the CPU brought pages back", now - faults);
    same("bytes in VRAM after that", device.param(uapi::PARAM_DEVMEM_USED)?, used)?;

    // A write finds the page, not what was there before it went.
    own.go(&device, Domain::Vram)?;
    let word = stamps(7, 8);
    own.memory.write(5 * PAGE + 16, &word);
    own.model[5 * PAGE + 16..][..8].copy_from_slice(&word);
    own.check()
}

fn folio_of_a_block_moves_as_one(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let own = Own::new(ctx.rng().next(), 4 << 20, true)?;
    let huge = device.param(uapi::PARAM_DEVMEM_HUGE)?;
    same("bytes moved", own.go(&device, Domain::Vram)?, own.size())?;
    same("folios that went", device.param(uapi::PARAM_DEVMEM_HUGE)?, huge + 2)?;
    is_in_vram(&device, &own)?;
    let faults = device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?;
    own.check()?;
    same("accesses that brought folios back", device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?, faults + 2)?;
    same("folios that went and came", device.param(uapi::PARAM_DEVMEM_HUGE)?, huge + 4)
}

fn prefetch_to_system_brings_all_back(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for huge in [false, true] {
        let own = Own::new(ctx.rng().next(), 3 << 20, huge)?;
        let faults = device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?;
        same("bytes that went", own.go(&device, Domain::Vram)?, own.size())?;
        same("bytes that came", own.go(&device, Domain::System)?, own.size())?;
        own.check()?;
        same("accesses that brought pages back", device.param(uapi::PARAM_DEVMEM_CPU_FAULTS)?, faults)?;
    }
    Ok(())
}

fn memory_never_touched_reads_as_zeros(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    // What a chunk held before is not what the next owner sees.
    Own::new(ctx.rng().next(), 4 << 20, true)?.go(&device, Domain::Vram)?;
    for huge in [false, true] {
        let own = Own { memory: memory(2 << 20, huge)?, model: vec![0; 2 << 20] };
        same("bytes moved", own.go(&device, Domain::Vram)?, own.size())?;
        own.check()?;
    }
    Ok(())
}

fn odd_arguments_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let own = Own::new(ctx.rng().next(), 16 * PAGE, false)?;
    let right = uapi::SvmPrefetch { va: own.va(), size: own.size(), domain: uapi::DOMAIN_VRAM, ..Default::default() };
    for (what, wrong) in [
        ("an address within a page", uapi::SvmPrefetch { va: right.va + 8, ..right }),
        ("a size within a page", uapi::SvmPrefetch { size: 100, ..right }),
        ("no size", uapi::SvmPrefetch { size: 0, ..right }),
        ("an unknown domain", uapi::SvmPrefetch { domain: 3, ..right }),
        ("the GTT, where no memory of processes goes", uapi::SvmPrefetch { domain: uapi::DOMAIN_GTT, ..right }),
        ("flags", uapi::SvmPrefetch { flags: 1, ..right }),
        ("the end of all addresses", uapi::SvmPrefetch { va: !0xfff, size: 1 << 20, ..right }),
        ("the kernel's half", uapi::SvmPrefetch { va: 1 << 63, ..right }),
    ] {
        let mut arg = wrong;
        refused(what, device.prefetch_raw(&mut arg), &[Errno::INVAL])?;
    }
    // Addresses without memory are passed over.
    let nothing = memory(4 << 20, false)?.va();
    same("bytes moved where nothing is", device.prefetch(nothing, 4 << 20, Domain::Vram)?.moved, 0)?;
    own.check()
}

fn unmapped_memory_gives_vram_back(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let used = device.param(uapi::PARAM_DEVMEM_USED)?;
    let vram = device.param(uapi::PARAM_VRAM_USED)?;
    for huge in [false, true] {
        let own = Own::new(ctx.rng().next(), 8 << 20, huge)?;
        own.go(&device, Domain::Vram)?;
        same("bytes in VRAM", device.param(uapi::PARAM_DEVMEM_USED)?, used + own.size())?;
        drop(own);
        same("bytes in VRAM after unmapping", device.param(uapi::PARAM_DEVMEM_USED)?, used)?;
    }
    let back = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_VRAM_USED)? <= vram))?;
    ensure!(back, "VRAM in use: {vram} before, {} after", device.param(uapi::PARAM_VRAM_USED)?);
    Ok(())
}

fn folio_in_vram_comes_apart(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let own = Own::new(ctx.rng().next(), 6 << 20, true)?;
    let other = Mapping::private(1 << 20)?;
    own.go(&device, Domain::Vram)?;
    let (block, piece) = (2 << 20, 64 * PAGE);
    let check = |what: &str, memory: &Mapping, at: usize, from: usize, length: usize| {
        let mut seen = vec![0; length];
        memory.read(at, &mut seen);
        same_bytes(what, &seen, &own.model[from..][..length])
    };
    own.memory.unmap(piece, piece)?;
    own.memory.protect(block + piece, piece, May::Read)?;
    own.memory.move_to(2 * block + piece, piece, &other, 0)?;
    check("what was before the hole", &own.memory, 0, 0, piece)?;
    check("what was behind the hole", &own.memory, 2 * piece, 2 * piece, block - 2 * piece)?;
    check("what is only to be read", &own.memory, block, block, block)?;
    check("what was moved", &other, 0, 2 * block + piece, piece)?;
    check("what was left behind it", &own.memory, 2 * block + 2 * piece, 2 * block + 2 * piece, block - 2 * piece)?;
    // For the mapping as a whole to be unmapped.
    own.memory.map_again(piece, piece)?;
    Ok(own.memory.map_again(2 * block + piece, piece)?)
}

fn child_and_parent_share_what_is_in_vram(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for huge in [false, true] {
        let pages = 1024;
        let (words, told) = (Words::of(memory(pages * PAGE, huge)?), Words::of(Mapping::shared(PAGE)?));
        let (va, size) = (words.va(), (pages * PAGE) as u64);
        (0..pages).for_each(|n| words.store(n * PAGE, n as u64 + 1));
        device.prefetch(va, size, Domain::Vram)?;
        let (mine, says) = (words.clone(), told.clone());
        forked(move || {
            let right = (0..pages).filter(|n| mine.load(n * PAGE) == *n as u64 + 1).count();
            (0..pages).for_each(|n| mine.store(n * PAGE, 0xdead));
            says.store(0, right as u64);
        });
        same("pages that the child saw", told.load(0), pages as u64)?;
        let right = (0..pages).filter(|n| words.load(n * PAGE) == *n as u64 + 1).count();
        same("pages that the parent has after the child wrote its own", right, pages)?;
        // And from VRAM again, now that they are its own alone.
        device.prefetch(va, size, Domain::Vram)?;
        let right = (0..pages).filter(|n| words.load(n * PAGE) == *n as u64 + 1).count();
        same("pages that came back", right, pages)?;
    }
    Ok(())
}

fn files_and_shared_memory_stay(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let shared = Mapping::shared(1 << 20)?;
    let data = stamps(ctx.rng().next(), 1 << 20);
    shared.write(0, &data);
    let told = device.prefetch(shared.va(), 1 << 20, Domain::Vram)?;
    same("bytes of shared memory that moved", told.moved, 0)?;
    let mut seen = vec![0; 1 << 20];
    shared.read(0, &mut seen);
    same_bytes("shared memory", &seen, &data)?;
    let huge = Mapping::huge();
    if let Ok(huge) = huge {
        huge.store(0, 1);
        same("bytes of a huge page that moved", device.prefetch(huge.va(), BLOCK, Domain::Vram)?.moved, 0)?;
        same("the huge page", huge.load(0), 1)?;
    }
    Ok(())
}

/// What the CPU wrote last is what it reads next, wherever the page went in between.
fn cpu_writes_while_pages_come_and_go(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for huge in [false, true] {
        let pages = 1024;
        let words = Words::of(memory(pages * PAGE, huge)?);
        let (va, size) = (words.va(), (pages * PAGE) as u64);
        let seed = ctx.rng().next();
        let writer = std::thread::spawn(move || -> Result<()> {
            let mut rng = crate::rng::Rng::new(seed);
            let mut last = vec![0; pages];
            let start = Instant::now();
            for round in 1.. {
                if start.elapsed() > LASTS {
                    break;
                }
                let n = rng.index(pages);
                let at = n * PAGE + rng.index(PAGE / 8) / 64 * 512;
                same(format_args!("page {n} before write {round}"), words.load(n * PAGE), last[n])?;
                words.store(at, round);
                words.store(n * PAGE, round);
                last[n] = round;
            }
            Ok(())
        });
        let mut moved = 0;
        while !writer.is_finished() {
            moved += device.prefetch(va, size, Domain::Vram)?.moved;
            moved += device.prefetch(va + BLOCK / 2, BLOCK, Domain::System)?.moved;
        }
        let result = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        ctx.note(format_args!("{} pages moved meanwhile", moved / PAGE_SIZE));
        result?;
        ensure!(moved > size, "only {moved} bytes moved meanwhile");
    }
    Ok(())
}
