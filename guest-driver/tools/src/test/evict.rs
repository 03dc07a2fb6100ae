// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suites `evict`, `swap` and `purge`: pageable buffers, of which there are more than VRAM holds, or system memory is to
//! hold. Each client keeps a copy of what its buffers must have.

use std::process::{Child, ExitCode};

use anyhow::{bail, ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::uapi;

use super::case::{
    complete, content, eventually, filled, refused, same, same_bytes, settled, stamps, Case, Ctx, Run, Skip, PATIENCE,
};
use super::reload::{meminfo, while_unbound, with_parameters};
use super::workers::{self, finish};
use crate::drm::{Bo, Device, Domain, FenceState, Mapping, Space, RW};
use crate::ib::{Ib, Place};
use crate::rng::Rng;

/// First argument of a worker process.
pub const WORKER: &str = "--evict-worker";

/// Where a client's buffers lie in its space, and its packets.
const FIRST: u64 = 1 << 32;
const PACKETS: u64 = 1 << 30;
/// Buffers of a client.
const BUFFERS: u64 = 4;
/// Processes that oversubscribe VRAM, and how often all of them together have as much as VRAM.
const PROCESSES: u64 = 8;
const TIMES: u64 = 4;
const ROUNDS: u32 = 6;

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases of `evict`.
pub const CASES: &[Case] = &[
    once("pageable_buffer_has_memory_once_it_is_used", pageable_buffer_has_memory_once_it_is_used),
    once("two_clients_take_turns_in_vram", two_clients_take_turns_in_vram),
    once("processes_oversubscribe_vram_four_times", processes_oversubscribe_vram_four_times),
    once("working_set_that_fits_nowhere_is_refused", working_set_that_fits_nowhere_is_refused),
    once("full_vram_has_room_for_page_tables", full_vram_has_room_for_page_tables),
    once("killed_processes_give_all_back", killed_processes_give_all_back),
    once("moves_of_a_pageable_buffer_keep_its_bytes", moves_of_a_pageable_buffer_keep_its_bytes),
    once(
        "submission_without_page_tables_holds_pageable_buffers",
        submission_without_page_tables_holds_pageable_buffers,
    ),
    once("idle_buffers_of_others_leave_and_come_back", idle_buffers_of_others_leave_and_come_back),
    once("each_rule_of_eviction_serves", each_rule_of_eviction_serves),
    once("unplugged_device_leaves_no_buffer_behind", unplugged_device_leaves_no_buffer_behind),
];

/// The cases of `limits`.
pub const LIMITS: &[Case] = &[
    once("client_gets_no_more_than_its_limit", client_gets_no_more_than_its_limit),
    once("client_takes_no_more_vram_than_its_limit", client_takes_no_more_vram_than_its_limit),
    once("client_has_no_more_system_pages_than_its_limit", client_has_no_more_system_pages_than_its_limit),
];

/// The cases of `swap`.
pub const SWAP: &[Case] = &[
    once("shrinker_writes_buffers_to_the_backing_store", shrinker_writes_buffers_to_the_backing_store),
    once("swapped_buffers_come_back_for_the_cpu", swapped_buffers_come_back_for_the_cpu),
];

/// The cases of `purge`.
pub const PURGE: &[Case] = &[
    once("unneeded_content_is_thrown_away_under_pressure", unneeded_content_is_thrown_away_under_pressure),
    once("needed_again_in_time_is_kept", needed_again_in_time_is_kept),
    once("unneeded_buffer_is_not_used", unneeded_buffer_is_not_used),
];

/// A client with pageable buffers, and what they must have.
struct Client {
    space: Space,
    bos: Vec<Bo>,
    model: Vec<Vec<u8>>,
}

impl Client {
    /// `size` bytes a buffer, at addresses far enough apart.
    fn new(device: &Device, rng: &mut Rng, count: u64, size: u64) -> Result<Self> {
        let space = Space::new(device, PACKETS, 1 << 16)?;
        let mut client = Self { space, bos: Vec::new(), model: Vec::new() };
        for n in 0..count {
            let bo = Bo::pageable(device, size, Domain::Vram)?;
            let bytes = stamps(rng.next(), usize::try_from(size)?);
            bo.map()?.write(0, &bytes);
            device.bind(FIRST + n * stride(size), &bo, 0, size, RW)?;
            client.bos.push(bo);
            client.model.push(bytes);
        }
        Ok(client)
    }

    /// Copies a piece of one buffer to another by the GPU, and in the model.
    fn copy(&mut self, rng: &mut Rng) -> Result<()> {
        let size = self.bos[0].size();
        let (from, to) = (rng.index(self.bos.len()), rng.index(self.bos.len()));
        let bytes = rng.size(size / 4096) * 4096;
        let at = rng.below((size - bytes) / 4096 + 1) * 4096;
        let mut ib = Ib::new();
        let place = |n: usize| Place::Raw(FIRST + n as u64 * stride(size) + at);
        ib.copy(place(from), place(to), bytes);
        let state = self.space.run(u32::try_from(rng.below(2))?, &ib, PATIENCE)?;
        same("fence of a copy", state, FenceState::Done)?;
        let range = usize::try_from(at)?..usize::try_from(at + bytes)?;
        let piece = self.model[from][range.clone()].to_vec();
        self.model[to][range].copy_from_slice(&piece);
        Ok(())
    }

    /// Writes a piece of a buffer by the CPU, and to the model.
    fn write(&mut self, rng: &mut Rng) -> Result<()> {
        let n = rng.index(self.bos.len());
        let at = usize::try_from(rng.below(self.bos[n].size() / 4096))? * 4096;
        let piece = stamps(rng.next(), 4096);
        self.bos[n].map()?.write(at, &piece);
        self.model[n][at..at + piece.len()].copy_from_slice(&piece);
        Ok(())
    }

    fn check(&self, n: usize) -> Result<()> {
        let seen = content(&self.bos[n], self.model[n].len())?;
        same_bytes(format_args!("buffer {n}"), &seen, &self.model[n])
    }

    fn check_all(&self) -> Result<()> {
        (0..self.bos.len()).try_for_each(|n| self.check(n))
    }
}

/// From one buffer's address to the next one's.
fn stride(size: u64) -> u64 {
    size.next_power_of_two() * 2
}

/// Bytes of a buffer of which so many take `parts` parts of VRAM.
fn share(device: &Device, parts: u64, count: u64) -> Result<u64> {
    let vram = device.param(uapi::PARAM_VRAM_SIZE)?;
    Ok((vram / parts / count) & !4095)
}

/// Entry point of a worker: bytes of a buffer, rounds, and a seed.
pub fn worker(args: &[String]) -> Result<ExitCode> {
    let [size, rounds, seed] = args else { bail!("a worker takes a size, a number of rounds and a seed") };
    let (size, rounds): (u64, u32) = (size.parse()?, rounds.parse()?);
    let mut rng = Rng::new(seed.parse()?);
    let mut client = Client::new(&Device::open()?, &mut rng, BUFFERS, size)?;
    workers::get_ready()?;
    for round in 0..rounds {
        client.copy(&mut rng).with_context(|| format!("round {round}"))?;
        client.write(&mut rng)?;
        client.check(rng.index(client.bos.len())).with_context(|| format!("round {round}"))?;
    }
    client.check_all()?;
    Ok(ExitCode::SUCCESS)
}

fn start(size: u64, rounds: u32, seed: u64) -> Result<Child> {
    let args = [size.to_string(), rounds.to_string(), seed.to_string()];
    let words = std::iter::once(WORKER).chain(args.iter().map(String::as_str));
    workers::command(words).spawn().context("starting a worker")
}

/// Waits until all have their buffers, and lets them go.
fn begin(workers: &mut [Child]) -> Result<()> {
    workers::ready(workers)?;
    workers::go(workers)
}

/// What must be as before once all is over: VRAM, GTT and pages.
fn in_use(device: &Device) -> Result<[u64; 3]> {
    let [vram, gtt, pages] = [uapi::PARAM_VRAM_USED, uapi::PARAM_GTT_USED, uapi::PARAM_MM_PAGES];
    Ok([device.param(vram)?, device.param(gtt)?, device.param(pages)?])
}

fn comes_back(device: &Device, before: [u64; 3]) -> Result<()> {
    let back = eventually(PATIENCE, || Ok(in_use(device)? == before))?;
    ensure!(back, "VRAM, GTT and pages in use: expected {before:x?}, seen {:x?}", in_use(device)?);
    Ok(())
}

/// Skips where there is no memory for so many bytes of buffers, their models, and a copy of some.
fn memory_for(bytes: u64) -> Result<()> {
    let free = meminfo("MemAvailable")?;
    if free < bytes / 4 * 9 + (64 << 20) {
        let why = format!("{} MiB of memory do not hold {} MiB of buffers and their models", free >> 20, bytes >> 20);
        return Err(Skip(why).into());
    }
    Ok(())
}

fn pageable_buffer_has_memory_once_it_is_used(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let before = settled(|| in_use(&device))?;
    let size = 1 << 20;
    let unused = Bo::pageable(&device, size, Domain::Vram)?;
    same("memory in use with a buffer that was not", in_use(&device)?, before)?;
    same("what it reads as", content(&unused, 4096)?, vec![0; 4096])?;
    let mut client = Client::new(&device, &mut ctx.rng(), 2, size)?;
    client.copy(&mut ctx.rng())?;
    same("the domain of a buffer that a submission used", client.bos[0].domain()?, Domain::Vram)?;
    client.check_all()?;
    drop((client, unused));
    // The packets' buffer stays bound until the file is closed.
    let now = in_use(&device)?;
    ensure!(now[2] <= before[2] + 4 * size, "pages in use after all: {:#x}", now[2]);
    Ok(())
}

fn two_clients_take_turns_in_vram(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    memory_for(ctx.device()?.param(uapi::PARAM_VRAM_SIZE)? / 2 * 3)?;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let device = ctx.device()?;
        // Each has three quarters of VRAM.
        let size = share(&device, 4, BUFFERS)? * 3;
        clients.push(Client::new(&device, &mut rng, BUFFERS, size)?);
    }
    let device = ctx.device()?;
    let evicted = device.param(uapi::PARAM_MM_EVICTED)?;
    for _ in 0..3 {
        for client in &mut clients {
            client.copy(&mut rng)?;
            client.write(&mut rng)?;
        }
    }
    clients.iter().try_for_each(Client::check_all)?;
    let moved = device.param(uapi::PARAM_MM_EVICTED)? - evicted;
    ctx.note(format_args!("{} MiB were evicted", moved >> 20));
    ensure!(moved > 0, "nothing was evicted");
    Ok(())
}

fn processes_oversubscribe_vram_four_times(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let before = settled(|| in_use(&device))?;
    let [evicted, failed] = [uapi::PARAM_MM_EVICTED, uapi::PARAM_MM_FAILED].map(|param| device.param(param));
    let (evicted, failed) = (evicted?, failed?);
    let size = share(&device, PROCESSES, BUFFERS)? * TIMES;
    memory_for(PROCESSES * BUFFERS * size)?;
    let mut workers = (0..PROCESSES).map(|_| start(size, ROUNDS, rng.next())).collect::<Result<Vec<_>>>()?;
    let begun = begin(&mut workers);
    finish(workers).and(begun)?;
    let moved = device.param(uapi::PARAM_MM_EVICTED)? - evicted;
    ctx.note(format_args!(
        "{} MiB of buffers in {} MiB of VRAM; {} MiB were evicted",
        (PROCESSES * BUFFERS * size) >> 20,
        device.param(uapi::PARAM_VRAM_SIZE)? >> 20,
        moved >> 20
    ));
    ensure!(moved > 0, "nothing was evicted");
    same("moves that failed", device.param(uapi::PARAM_MM_FAILED)?, failed)?;
    comes_back(&device, before)
}

fn working_set_that_fits_nowhere_is_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let other = ctx.device()?;
    let mut small = Client::new(&other, &mut ctx.rng(), 2, 1 << 20)?;
    let space = Space::new(&device, PACKETS, 1 << 16)?;
    let size = device.param(uapi::PARAM_VRAM_SIZE)? / 2;
    let count = 3 + device.param(uapi::PARAM_GTT_SIZE)? / size;
    let mut bos = Vec::new();
    for n in 0..count {
        let bo = Bo::pageable(&device, size, Domain::Vram)?;
        device.bind(FIRST + n * stride(size), &bo, 0, size, RW)?;
        bos.push(bo);
    }
    let mut ib = Ib::new();
    ib.nop(0);
    let done = crate::drm::Syncobj::new(&device)?;
    refused("a submission whose buffers do not fit", space.submit(0, &ib, &done), &[Errno::NOSPC, Errno::NOMEM])?;
    small.copy(&mut ctx.rng())?;
    small.check_all()
}

fn full_vram_has_room_for_page_tables(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let full = ctx.device()?;
    let size = share(&full, 1, BUFFERS)? / 8 * 7;
    let mut most = Client::new(&full, &mut rng, BUFFERS, size)?;
    most.copy(&mut rng)?;
    let device = ctx.device()?;
    let mut late = Client::new(&device, &mut rng, 3, size / 2)?;
    late.copy(&mut rng)?;
    most.copy(&mut rng)?;
    late.check_all()?;
    most.check_all()
}

fn killed_processes_give_all_back(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let before = settled(|| in_use(&device))?;
    let size = share(&device, 2, BUFFERS)?;
    memory_for(3 * BUFFERS * size)?;
    let mut workers = (0..3).map(|_| start(size, 1_000_000, rng.next())).collect::<Result<Vec<_>>>()?;
    let begun = begin(&mut workers);
    std::thread::sleep(std::time::Duration::from_millis(300));
    for worker in &mut workers {
        worker.kill()?;
    }
    for mut worker in workers {
        worker.wait()?;
    }
    begun?;
    comes_back(&device, before)
}

fn moves_of_a_pageable_buffer_keep_its_bytes(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let mut client = Client::new(&device, &mut rng, 2, 5 << 20)?;
    for _ in 0..6 {
        let domain = rng.pick(&Domain::ALL);
        client.bos[0].move_to(domain, 0)?;
        same("where it is", client.bos[0].domain()?, domain)?;
        client.copy(&mut rng)?;
        client.write(&mut rng)?;
    }
    client.check_all()
}

/// What a submission in VMID 0 names is where its addresses say, until it has ended.
fn submission_without_page_tables_holds_pageable_buffers(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let device = ctx.device()?;
    let size = share(&device, 8, 1)?;
    memory_for(12 * size)?;
    let mut bos = Vec::new();
    // More than VRAM holds: each submission brings its own back.
    for n in 0..12 {
        let bo = Bo::pageable(&device, size, Domain::Vram)?;
        let bytes = stamps(n, usize::try_from(size)?);
        bo.map()?.write(0, &bytes);
        bos.push((bo, bytes));
    }
    let evicted = device.param(uapi::PARAM_MM_EVICTED)?;
    for round in 0..24_u32 {
        let (from, to) = (rng.index(12), rng.index(12));
        if from == to {
            continue;
        }
        let mut ib = Ib::new();
        ib.copy(Place::Bo(bos[from].0.handle(), 0), Place::Bo(bos[to].0.handle(), 0), size);
        complete(&device, round % 2, &ib)?;
        bos[to].1 = bos[from].1.clone();
    }
    ensure!(device.param(uapi::PARAM_MM_EVICTED)? > evicted, "nothing was evicted");
    for (n, (bo, bytes)) in bos.iter().enumerate() {
        same_bytes(format_args!("buffer {n}"), &content(bo, bytes.len())?, bytes)?;
    }
    Ok(())
}

/// Buffers that are not pageable leave as well while nobody uses them, and come back where they belong.
fn idle_buffers_of_others_leave_and_come_back(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let owner = ctx.device()?;
    let other = ctx.device()?;
    // It is where the CPU reaches it.
    let size = (owner.param(uapi::PARAM_VRAM_VISIBLE)? / 2) & !4095;
    memory_for(3 * share(&owner, 2, 1)?)?;
    let space = Space::new(&owner, PACKETS, 1 << 16)?;
    let data = stamps(rng.next(), usize::try_from(size)?);
    let fixed = Bo::new(&owner, size, Domain::Vram)?;
    fixed.map()?.write(0, &data);
    owner.bind(FIRST, &fixed, 0, size, RW)?;
    let mut pressing = Client::new(&other, &mut rng, 2, share(&other, 5, 1)? * 2)?;
    pressing.copy(&mut rng)?;
    same("where the idle buffer is", fixed.domain()?, Domain::System)?;
    let mut ib = Ib::new();
    ib.fence(Place::Raw(FIRST + 8), 0x5eed);
    same("a submission that reaches it", space.run(0, &ib, PATIENCE)?, FenceState::Done)?;
    same("where it is after that", fixed.domain()?, Domain::Vram)?;
    let seen = content(&fixed, data.len())?;
    same("what the submission wrote", &seen[8..12], &0x5eed_u32.to_le_bytes()[..])?;
    same_bytes("the rest", &seen[12..], &data[12..])?;
    pressing.check_all()
}

fn each_rule_of_eviction_serves(ctx: &Ctx) -> Result<()> {
    for rule in [c"evict=lru", c"evict=clock", c"evict=2q"] {
        with_parameters(rule, || {
            let mut rng = ctx.rng();
            let size = share(&ctx.device()?, 5, BUFFERS)? * 2;
            memory_for(4 * BUFFERS * size)?;
            let mut workers = (0..4).map(|_| start(size, 3, rng.next())).collect::<Result<Vec<_>>>()?;
            let begun = begin(&mut workers);
            finish(workers).and(begun)?;
            ensure!(ctx.device()?.param(uapi::PARAM_MM_EVICTED)? > 0, "nothing was evicted");
            Ok(())
        })
        .with_context(|| format!("{rule:?}"))?;
    }
    Ok(())
}

fn unplugged_device_leaves_no_buffer_behind(ctx: &Ctx) -> Result<()> {
    let mut rng = ctx.rng();
    let device = ctx.device()?;
    // Some in VRAM, some evicted from there, some never used.
    let size = share(&device, 2, BUFFERS)?;
    memory_for(3 * BUFFERS * size)?;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::new(&ctx.device()?, &mut rng, BUFFERS, size)?);
    }
    for client in &mut clients[..2] {
        client.copy(&mut rng)?;
    }
    // What is left behind is told in the kernel's log, which is looked at in the end.
    while_unbound(|| {
        drop((clients, device));
        Ok(())
    })?;
    let device = ctx.device()?;
    let mut after = Client::new(&device, &mut rng, 2, 1 << 20)?;
    after.copy(&mut rng)?;
    after.check_all()
}

fn client_gets_no_more_than_its_limit(ctx: &Ctx) -> Result<()> {
    with_parameters(c"limit_mb=8", || {
        let (one, other) = (ctx.device()?, ctx.device()?);
        let half = Bo::pageable(&one, 4 << 20, Domain::Vram)?;
        let rest = Bo::pageable(&one, 4 << 20, Domain::Gtt)?;
        refused("a page more", Bo::pageable(&one, 4096, Domain::Vram), &[Errno::NOSPC, Errno::NOMEM])?;
        refused("one in VRAM", Bo::new(&one, 4096, Domain::Vram), &[Errno::NOSPC, Errno::NOMEM])?;
        // Another's do not count.
        let _others = Bo::pageable(&other, 8 << 20, Domain::Vram)?;
        drop((half, rest));
        let mut again = None;
        let room = eventually(PATIENCE, || {
            again = Bo::pageable(&one, 8 << 20, Domain::Vram).ok();
            Ok(again.is_some())
        })?;
        ensure!(room, "what was closed still counts");
        Ok(())
    })
}

fn client_takes_no_more_vram_than_its_limit(ctx: &Ctx) -> Result<()> {
    with_parameters(c"limit_vram_mb=4", || {
        let mut rng = ctx.rng();
        let device = ctx.device()?;
        let before = settled(|| Ok(device.param(uapi::PARAM_VRAM_USED)?))?;
        let mut client = Client::new(&device, &mut rng, 4, 3 << 20)?;
        for _ in 0..4 {
            client.copy(&mut rng)?;
            let used = device.param(uapi::PARAM_VRAM_USED)? - before;
            ensure!(used <= 4 << 20, "{used:#x} bytes of VRAM");
        }
        let domains = client.bos.iter().map(|bo| Ok(bo.domain()?)).collect::<Result<Vec<_>>>()?;
        same("buffers in VRAM", domains.iter().filter(|domain| **domain == Domain::Vram).count(), 1)?;
        client.check_all()
    })
}

fn client_has_no_more_system_pages_than_its_limit(ctx: &Ctx) -> Result<()> {
    with_parameters(c"limit_pages_mb=8", || {
        let mut rng = ctx.rng();
        let device = ctx.device()?;
        let before = device.param(uapi::PARAM_MM_PAGES)?;
        let bos = (0..6_u64).map(|salt| filled(&device, Domain::System, &stamps(salt, 3 << 20)));
        let bos = bos.collect::<Result<Vec<_>>>()?;
        for _ in 0..12 {
            let n = rng.index(bos.len());
            same_bytes(format_args!("buffer {n}"), &content(&bos[n], 3 << 20)?, &stamps(n as u64, 3 << 20))?;
            let pages = device.param(uapi::PARAM_MM_PAGES)? - before;
            ensure!(pages <= 8 << 20, "{pages:#x} bytes of system pages");
        }
        ensure!(device.param(uapi::PARAM_MM_SWAPPED_IN)? > 0, "nothing came from the backing store");
        let large = Bo::new(&device, 9 << 20, Domain::System)?;
        refused("a move of more than that", large.move_to(Domain::Gtt, 0), &[Errno::NOSPC, Errno::NOMEM])
    })
}

/// Has the kernel's shrinkers give up what they can.
fn drop_caches() -> Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "2").context("/proc/sys/vm/drop_caches")
}

/// Presses until the count has grown by `bytes`.
fn press(device: &Device, param: u32, bytes: u64) -> Result<()> {
    let before = device.param(param)?;
    let enough = eventually(PATIENCE, || {
        drop_caches()?;
        Ok(device.param(param)? >= before + bytes)
    })?;
    ensure!(enough, "after pressure: expected {bytes:#x} bytes more, seen {:#x}", device.param(param)? - before);
    Ok(())
}

fn shrinker_writes_buffers_to_the_backing_store(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let mut client = Client::new(&device, &mut rng, 3, 3 << 20)?;
    // Never used by the GPU: they are in system pages.
    press(&device, uapi::PARAM_MM_SWAPPED_OUT, 9 << 20)?;
    let back = device.param(uapi::PARAM_MM_SWAPPED_IN)?;
    client.copy(&mut rng)?;
    ensure!(device.param(uapi::PARAM_MM_SWAPPED_IN)? >= back + (9 << 20), "the working set did not come back");
    client.check_all()
}

fn swapped_buffers_come_back_for_the_cpu(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::pageable(&device, 2 << 20, Domain::Gtt)?;
    let data = stamps(ctx.rng().next(), 2 << 20);
    let map: Mapping = bo.map()?;
    map.write(0, &data);
    for _ in 0..3 {
        press(&device, uapi::PARAM_MM_SWAPPED_OUT, 2 << 20)?;
        // Through the mapping that there was before.
        let mut seen = vec![0; data.len()];
        map.read(0, &mut seen);
        same_bytes("a buffer that was swapped", &seen, &data)?;
    }
    Ok(())
}

fn unneeded_content_is_thrown_away_under_pressure(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::pageable(&device, 1 << 20, Domain::Gtt)?;
    bo.map()?.write(0, &stamps(3, 1 << 20));
    same("content when it is not needed any more", bo.advise(uapi::GEM_DONT_NEED)?, true)?;
    press(&device, uapi::PARAM_MM_PURGED, 1 << 20)?;
    let retained = {
        let mut told = None;
        eventually(PATIENCE, || {
            // Busy while it is going.
            told = bo.advise(uapi::GEM_WILL_NEED).ok();
            Ok(told.is_some())
        })?;
        told
    };
    same("whether the content was kept", retained, Some(false))?;
    same_bytes("what it reads as", &content(&bo, 1 << 20)?, &vec![0; 1 << 20])
}

fn needed_again_in_time_is_kept(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::pageable(&device, 1 << 20, Domain::Gtt)?;
    let data = stamps(5, 1 << 20);
    bo.map()?.write(0, &data);
    bo.advise(uapi::GEM_DONT_NEED)?;
    same("whether the content was kept", bo.advise(uapi::GEM_WILL_NEED)?, true)?;
    same_bytes("the content", &content(&bo, data.len())?, &data)
}

fn unneeded_buffer_is_not_used(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut client = Client::new(&device, &mut ctx.rng(), 2, 1 << 20)?;
    client.bos[1].advise(uapi::GEM_DONT_NEED)?;
    let done = crate::drm::Syncobj::new(&device)?;
    let mut ib = Ib::new();
    ib.nop(0);
    refused("a submission in its space", client.space.submit(0, &ib, &done), &[Errno::INVAL])?;
    same("whether the content was kept", client.bos[1].advise(uapi::GEM_WILL_NEED)?, true)?;
    client.copy(&mut ctx.rng())?;
    client.check_all()
}
