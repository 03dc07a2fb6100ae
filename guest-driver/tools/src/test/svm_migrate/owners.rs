// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Whoever has what is in VRAM, and wherever, it comes back when VRAM is emptied.
//!
//! That is asked for by the switch that puts mirrored memory at rest: afterwards no byte of a process is in VRAM, or the
//! switch says no.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rustix::mm::Advice;
use uvm_spec::uapi;

use super::{memory, Own, PAGE};
use crate::drm::{forked, Device, Domain, Mapping, Words};
use crate::test::case::{eventually, same, same_bytes, stamps, Ctx, PATIENCE};
use crate::test::svm::Rest;
use crate::test::workers;

/// Argument of a worker that leaves what it took to VRAM to its child.
pub const LEAVES: &str = "leaves-a-child";
const PAGES: usize = 1024;
/// What a child says of its memory.
const RIGHT: &[u8] = b"right";
const WRONG: &[u8] = b"wrong";

/// Empties VRAM. Return: pages and folios of a block that came from there; no CPU asked for them.
fn empty(device: &Device) -> Result<(u64, u64)> {
    let params = [uapi::PARAM_DEVMEM_EVICTED, uapi::PARAM_DEVMEM_HUGE, uapi::PARAM_DEVMEM_CPU_FAULTS];
    let before = params.map(|param| device.param(param));
    drop(Rest::begin()?);
    same("bytes in VRAM", device.param(uapi::PARAM_DEVMEM_USED)?, 0)?;
    let [evicted, huge, faults] = params.map(|param| device.param(param));
    let [evicted_before, huge_before, faults_before] = before;
    same("accesses by the CPU", faults?, faults_before?)?;
    Ok(((evicted? - evicted_before?) / PAGE as u64, huge? - huge_before?))
}

pub fn folio_of_a_block_is_evicted_as_one(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let own = Own::new(ctx.rng().next(), PAGES * PAGE, true)?;
    let huge = device.param(uapi::PARAM_DEVMEM_HUGE)?;
    same("bytes that went", own.go(&device, Domain::Vram)?, own.size())?;
    let huge = device.param(uapi::PARAM_DEVMEM_HUGE)? - huge;
    same("pages and folios evicted", empty(&device)?, (PAGES as u64, huge))?;
    // A machine with less than 512 MiB has none.
    ctx.note(format_args!("{huge} folios of a block went and came"));
    own.check()
}

pub fn pieces_of_memory_are_evicted(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for huge in [false, true] {
        let own = Own::new(ctx.rng().next(), PAGES * PAGE, huge)?;
        // From both ends, so that neighbours in VRAM are none in the process.
        for n in (0..PAGES / 16).step_by(3) {
            for at in [n, PAGES / 8 - 1 - n] {
                device.prefetch(own.va() + (at * 8 * PAGE) as u64, 5 * PAGE as u64, Domain::Vram)?;
            }
        }
        let (pages, _) = empty(&device)?;
        ensure!(pages >= PAGES as u64 / 8, "{pages} pages were evicted");
        own.check()?;
    }
    Ok(())
}

pub fn memory_that_was_moved_is_evicted(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for huge in [false, true] {
        let own = Own::new(ctx.rng().next(), PAGES * PAGE, huge)?;
        let (to, half) = (memory(PAGES * PAGE, huge)?, PAGES / 2 * PAGE);
        own.go(&device, Domain::Vram)?;
        own.memory.move_to(half, half, &to, 0)?;
        // What is there now has the moved pages' place, by its address.
        own.memory.map_again(half, half)?;
        own.memory.write(half, &own.model[..half]);
        device.prefetch(own.va(), own.size(), Domain::Vram)?;
        same("pages evicted", empty(&device)?.0, (PAGES + PAGES / 2) as u64)?;
        let check = |what: &str, memory: &Mapping, at: usize, from: usize| {
            let mut seen = vec![0; half];
            memory.read(at, &mut seen);
            same_bytes(what, &seen, &own.model[from..][..half])
        };
        check("what stayed", &own.memory, 0, 0)?;
        check("what was moved", &to, 0, half)?;
        check("what came after it", &own.memory, half, 0)?;
    }
    Ok(())
}

pub fn own_pages_of_a_file_mapping_are_evicted(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let path = format!("/tmp/uvm-owners-{}", std::process::id());
    let file = File::options().read(true).write(true).create_new(true).open(&path).context(path.clone())?;
    std::fs::remove_file(&path)?;
    let size = PAGES * PAGE;
    file.set_len(size as u64)?;
    // A page of the file counts from its start, and the process's own page maybe not.
    let own = Own { memory: Mapping::file(file.as_fd(), size, true)?, model: stamps(ctx.rng().next(), size) };
    own.memory.write(0, &own.model);
    same("bytes that went", own.go(&device, Domain::Vram)?, own.size())?;
    same("pages evicted", empty(&device)?.0, PAGES as u64)?;
    own.check()
}

fn number(words: &Words) {
    (0..PAGES).for_each(|n| words.store(n * PAGE, n as u64 + 1));
}

fn are_numbered(words: &Words) -> bool {
    (0..PAGES).all(|n| words.load(n * PAGE) == n as u64 + 1)
}

pub fn child_has_what_its_parent_gave_up(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for huge in [false, true] {
        let words = Words::of(memory(PAGES * PAGE, huge)?);
        let told = Words::of(Mapping::shared(PAGE)?);
        let (size, [starts, looks, seen]) = ((PAGES * PAGE) as u64, [0, 8, 16]);
        number(&words);
        same("bytes that went", device.prefetch(words.va(), size, Domain::Vram)?.moved, size)?;
        let (mine, says) = (words.clone(), told.clone());
        let child = std::thread::spawn(move || {
            forked(move || {
                says.store(starts, 1);
                while says.load(looks) == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                says.store(seen, 1 + u64::from(are_numbered(&mine)));
            });
        });
        let started = eventually(PATIENCE, || Ok(told.load(starts) == 1))?;
        words.advise(Advice::LinuxDontNeed)?;
        let evicted = empty(&device);
        told.store(looks, 1);
        child.join().map_err(|_| anyhow::anyhow!("the thread of the child panicked"))?;
        ensure!(started, "no child");
        same("pages evicted", evicted?.0, PAGES as u64)?;
        same("what the child saw (2: all)", told.load(seen), 2)?;
        same("what the parent has", words.load(0), 0)?;
    }
    Ok(())
}

/// The worker: two children, of small and huge pages, have what it took to VRAM.
pub fn leaves_a_child() -> Result<std::process::ExitCode> {
    let device = Device::open()?;
    let own = [false, true].map(|huge| Ok(Words::of(memory(PAGES * PAGE, huge)?)));
    let [small, huge] = own.map(|words: Result<Words>| {
        let words = words?;
        number(&words);
        device.prefetch(words.va(), (PAGES * PAGE) as u64, Domain::Vram)?;
        anyhow::Ok(words)
    });
    let (small, huge) = (small?, huge?);
    // Until it is told what to do, it holds what its parent's end leaves.
    forked(move || {
        let _ = rustix::io::write(rustix::stdio::stdout(), b"ready\n");
        let mut line = [0; 3];
        let _ = rustix::io::read(rustix::stdio::stdin(), &mut line);
        let right = are_numbered(&small) && are_numbered(&huge);
        let _ = rustix::io::write(rustix::stdio::stdout(), if right { RIGHT } else { WRONG });
    });
    Ok(std::process::ExitCode::SUCCESS)
}

pub fn child_has_what_its_dead_parent_left(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut parent = vec![workers::command([super::WORKER, LEAVES]).spawn()?];
    workers::ready(&mut parent)?;
    let mut parent = parent.pop().context("no parent")?;
    // The child has these as well.
    let (stdin, stdout) = (parent.stdin.take(), parent.stdout.take());
    parent.kill()?;
    parent.wait()?;
    let evicted = empty(&device);
    stdin.context("no input")?.write_all(b"go\n")?;
    let mut said = Vec::new();
    stdout.context("no output")?.read_to_end(&mut said)?;
    same("pages evicted", evicted?.0, 2 * PAGES as u64)?;
    ensure!(said == RIGHT, "the child says: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// A process is killed a little later each time, while VRAM is emptied of what it has there.
pub fn process_ends_as_its_memory_is_evicted(ctx: &Ctx) -> Result<()> {
    const ROUNDS: u64 = 16;
    let device = ctx.device()?;
    let evicted = device.param(uapi::PARAM_DEVMEM_EVICTED)?;
    for round in 0..ROUNDS {
        let mut process = vec![workers::command([super::WORKER]).spawn()?];
        workers::ready(&mut process)?;
        let killer = std::thread::spawn(move || -> Result<()> {
            std::thread::sleep(Duration::from_micros(round * round * 131));
            for mut process in process {
                process.kill()?;
                process.wait()?;
            }
            Ok(())
        });
        let rest = Rest::begin();
        killer.join().map_err(|_| anyhow::anyhow!("the thread that kills panicked"))??;
        drop(rest?);
        let none = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_DEVMEM_USED)? == 0))?;
        ensure!(none, "round {round}: {} bytes stay in VRAM", device.param(uapi::PARAM_DEVMEM_USED)?);
    }
    let evicted = device.param(uapi::PARAM_DEVMEM_EVICTED)? - evicted;
    ctx.note(format_args!("{evicted} bytes were evicted before their process had ended"));
    ensure!(evicted > 0, "nothing was evicted");
    Ok(())
}
