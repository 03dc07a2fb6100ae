// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `swap`, where there is a disk: buffers of which there are more than VRAM holds and more than system memory holds,
//! and in the end more than even the swap file on the disk holds.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use super::case::{eventually, same, stamp, Case, Ctx, Run, Skip, PATIENCE};
use super::reload::meminfo;
use super::workers::{self, finish};
use crate::drm::{Bo, Device, Domain, FenceState, Space, RW};
use crate::ib::{Ib, Place};

mod file;

pub use file::Swap;

/// First argument of a worker process.
pub const WORKER: &str = "--swap-worker";

const PAGE: u64 = 4096;
/// Bytes of a buffer.
const SIZE: u64 = 4 << 20;
/// More memory than this takes too long to fill.
const MOST: u64 = 400 << 20;
/// Swap space that other memory than buffers may take.
const OTHERS: u64 = 16 << 20;
/// What a process that has nothing to do with all this works on.
const INNOCENT: usize = 12 << 20;
/// Where buffers lie in the client's space, and its packets.
const FIRST: u64 = 1 << 32;
const PACKETS: u64 = 1 << 30;

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("buffers_beyond_memory_go_to_the_disk_and_come_back", buffers_beyond_memory_go_to_the_disk_and_come_back),
    once("full_swap_refuses_and_loses_nothing", full_swap_refuses_and_loses_nothing),
];

/// A count of /proc/vmstat.
pub fn vmstat(key: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/vmstat")?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("/proc/vmstat has no {key}"))?.parse()?)
}

/// Bytes that the test can fill, where that does not take too long.
fn memory() -> Result<u64> {
    let available = meminfo("MemAvailable")?;
    if available > MOST {
        return Err(Skip(format!("{} MiB of memory take too long to fill: --mem 256M", available >> 20)).into());
    }
    Ok(available)
}

/// Gives the start of each page a stamp of its own.
fn mark(bo: &Bo, salt: u64) -> Result<()> {
    let map = bo.map()?;
    for page in 0..SIZE / PAGE {
        map.store(usize::try_from(page * PAGE)?, stamp(salt, page));
    }
    Ok(())
}

fn check(bo: &Bo, salt: u64) -> Result<()> {
    let map = bo.map()?;
    for page in 0..SIZE / PAGE {
        let seen = map.load(usize::try_from(page * PAGE)?);
        same(format_args!("buffer {salt}, page {page}"), seen, stamp(salt, page))?;
    }
    Ok(())
}

fn buffers_beyond_memory_go_to_the_disk_and_come_back(ctx: &Ctx) -> Result<()> {
    let available = memory()?;
    // What comes back for a while is there twice; each byte that is on the disk needs a place of its own at least.
    let swap = Swap::between(available * 5 / 4 + OTHERS, 2 * available)?;
    let (kills, out) = (vmstat("oom_kill")?, vmstat("pswpout")?);
    // Half again as much as there is memory, each buffer in an address space of its own to be used alone.
    let count = (available * 3 / 2).min(swap.bytes() - OTHERS) / SIZE;
    let mut clients = Vec::new();
    for salt in 0..count {
        let device = ctx.device()?;
        let bo = Bo::pageable(&device, SIZE, Domain::Vram)?;
        mark(&bo, salt).with_context(|| format!("buffer {salt} of {count}"))?;
        device.bind(FIRST, &bo, 0, SIZE, RW)?;
        clients.push((device, bo));
    }
    let written = vmstat("pswpout")? - out;
    ctx.note(format_args!(
        "{} MiB of buffers, {} MiB of memory, {} MiB of swap file, {} MiB of VRAM; {} MiB went to the disk",
        (count * SIZE) >> 20,
        available >> 20,
        swap.bytes() >> 20,
        clients[0].0.param(uapi::PARAM_VRAM_SIZE)? >> 20,
        (written * PAGE) >> 20
    ));
    ensure!(written > 0, "nothing was written to the disk");
    // By the GPU: each page's stamp from the first half of the buffer to the second, in VRAM.
    for (salt, (device, bo)) in (0..).zip(&clients) {
        let space = Space::new(device, PACKETS, 1 << 16)?;
        let mut ib = Ib::new();
        ib.copy(Place::Raw(FIRST), Place::Raw(FIRST + SIZE / 2), SIZE / 2);
        let state = space.run(0, &ib, PATIENCE).with_context(|| format!("buffer {salt} of {count}"))?;
        same("fence", state, FenceState::Done)?;
        same("where it is", bo.domain()?, Domain::Vram)?;
    }
    for (salt, (_, bo)) in (0..).zip(&clients) {
        let map = bo.map()?;
        for page in 0..SIZE / PAGE {
            let expected = stamp(salt, page % (SIZE / PAGE / 2));
            same(format_args!("buffer {salt}, page {page}"), map.load(usize::try_from(page * PAGE)?), expected)?;
        }
    }
    same("processes killed for memory", vmstat("oom_kill")?, kills)
}

/// A process that only wants to go on: it writes and reads memory of its own until it is told to end.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    ensure!(args.is_empty(), "it takes nothing");
    let mut memory = vec![0_u8; INNOCENT];
    println!("ready");
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = sender.send(());
    });
    let mut round = 0_u8;
    while ended.recv_timeout(Duration::from_millis(20)).is_err() {
        for page in memory.chunks_mut(4096) {
            let Some(first) = page.first_mut() else { continue };
            ensure!(*first == round, "expected {round}, seen {first}");
            *first = round.wrapping_add(1);
        }
        round = round.wrapping_add(1);
    }
    Ok(ExitCode::SUCCESS)
}

/// Fills until something is refused; the buffers that were made, and where none was, an error.
fn fill(device: &Device, most: u64) -> Result<(Vec<Bo>, Bo)> {
    let mut bos = Vec::new();
    loop {
        let salt = bos.len() as u64;
        ensure!(salt * SIZE <= most, "{} MiB of buffers were never refused", most >> 20);
        let begun = Instant::now();
        let bo = Bo::pageable(device, SIZE, Domain::Gtt)?;
        let moved = bo.move_to(Domain::Gtt, 0);
        ensure!(begun.elapsed() < PATIENCE, "buffer {salt} took {:?}", begun.elapsed());
        match moved {
            Ok(()) => {
                mark(&bo, salt)?;
                bos.push(bo);
            }
            Err(error) if [Errno::NOMEM, Errno::NOSPC].contains(&error.errno) => return Ok((bos, bo)),
            Err(error) => return Err(error).with_context(|| format!("buffer {salt}")),
        }
    }
}

fn full_swap_refuses_and_loses_nothing(ctx: &Ctx) -> Result<()> {
    let available = memory()?;
    let room = 32 << 20;
    let _swap = Swap::on(room)?;
    let kills = vmstat("oom_kill")?;
    let mut innocent = vec![workers::command([WORKER]).spawn().context("starting a worker")?];
    workers::ready(&mut innocent)?;
    let device = ctx.device()?;
    let (mut bos, refused) = fill(&device, available + room + (64 << 20))?;
    let (made, left) = (bos.len() as u64, meminfo("SwapFree")?);
    ctx.note(format_args!("{} MiB were refused nothing; {} MiB of swap are left", (made * SIZE) >> 20, left >> 20));
    ensure!(made * SIZE > available / 4, "refused after {} MiB already", (made * SIZE) >> 20);
    // Room for those that stay to come back.
    bos.truncate(bos.len() / 2);
    for (salt, bo) in (0..).zip(&bos) {
        check(bo, salt)?;
    }
    let usable = eventually(PATIENCE, || Ok(refused.move_to(Domain::Gtt, 0).is_ok()))?;
    ensure!(usable, "what was refused once stays so");
    same("its first word", refused.map()?.load(0), 0)?;
    mark(&refused, 77)?;
    check(&refused, 77)?;
    workers::go(&mut innocent)?;
    finish(innocent)?;
    same("processes killed for memory", vmstat("oom_kill")?, kills)
}
