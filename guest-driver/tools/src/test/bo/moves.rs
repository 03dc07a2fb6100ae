// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Data goes where it is told and arrives as it was.

use anyhow::Result;
use uvm_spec::uapi;

use crate::drm::{Bo, Device, Domain, Mapping};
use crate::ib::{FillSize, Ib, Place};
use crate::rng::Rng;
use crate::test::beside::Beside;
use crate::test::case::{complete, content, filled, same, same_bytes, stamp, stamps, Ctx};

pub fn moves_between_all_domains_keep_the_data(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    for (salt, length) in [(1, 1), (2, 4096), (3, 4097), (4, 70_000), (5, (1 << 20) + 3)] {
        let data = stamps(salt, length);
        for from in Domain::ALL {
            for to in Domain::ALL {
                let bo = filled(&device, from, &data)?;
                bo.move_to(to, ring)?;
                same("domain", bo.domain()?, to)?;
                same_bytes(format_args!("{length} bytes from {from} to {to}"), &content(&bo, length)?, &data)?;
            }
        }
    }
    Ok(())
}

pub fn large_object_goes_round(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    // As large as 16 MiB, where VRAM has room for it.
    let free = device.param(uapi::PARAM_VRAM_VISIBLE)? - device.param(uapi::PARAM_VRAM_USED)?;
    let length = (16 << 20).min(free / 4096 * 4096);
    let bo = Bo::new(&device, length, Domain::System)?;
    let map = bo.map()?;
    let words = length / 8;
    for n in 0..words {
        map.store(usize::try_from(n * 8)?, stamp(11, n));
    }
    for to in [Domain::Vram, Domain::Gtt, Domain::Vram, Domain::System, Domain::Gtt, Domain::System] {
        bo.move_to(to, ring)?;
        // Every word would take longer than the move: each page's first and last, and some in between.
        for n in (0..words).filter(|n| matches!(n % 512, 0 | 511) || n % 97 == 0) {
            same(format_args!("word {n:#x} in {to}"), map.load(usize::try_from(n * 8)?), stamp(11, n))?;
        }
    }
    Ok(())
}

pub fn mapping_stays_valid_across_moves(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let length = 300_000;
    let bo = Bo::new(&device, length as u64, Domain::System)?;
    let map = bo.map()?;
    let mut expected = vec![0; length];
    for round in 0..60 {
        let data = rng.bytes(1 + rng.clone().index(20_000));
        let at = rng.index(length - data.len());
        map.write(at, &data);
        expected[at..at + data.len()].copy_from_slice(&data);
        let to = rng.pick(&Domain::ALL);
        bo.move_to(to, round % 2)?;
        let mut seen = vec![0; length];
        map.read(0, &mut seen);
        same_bytes(format_args!("round {round}, in {to}"), &seen, &expected)?;
    }
    Ok(())
}

/// Moves round `n` of a test that moves all the time.
fn move_on(bo: &Bo, n: u64) -> Result<()> {
    const ROUND: [Domain; 5] = [Domain::Vram, Domain::Gtt, Domain::Vram, Domain::System, Domain::Gtt];
    let to = usize::try_from(n % ROUND.len() as u64).ok().and_then(|n| ROUND.get(n).copied());
    Ok(bo.move_to(to.unwrap_or(Domain::System), u32::from(n % 2 == 1))?)
}

pub fn readers_see_the_data_while_it_moves(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let length = 1 << 20;
    let bo = filled(&device, Domain::System, &stamps(21, length))?;
    let (map, mut rng) = (bo.map()?, ctx.rng());
    let read = move |map: &mut Mapping, _| {
        let n = rng.index(length / 8);
        same(format_args!("word {n:#x}"), map.load(n * 8), stamp(21, n as u64))
    };
    Beside::start(move || Ok(map), read, drop).during(ctx, 40, 100, |n| move_on(&bo, n))
}

pub fn writers_lose_nothing_while_it_moves(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let length = 256 << 10;
    let bo = Bo::new(&device, length as u64, Domain::System)?;
    let (map, mut rng) = (bo.map()?, ctx.rng());
    let write = move |(map, model): &mut (Mapping, Vec<u64>), round: u64| {
        // Page after page, a word in each: none of them keeps an old mapping for long without a write through it.
        let n = (usize::try_from(round)? * 512 + rng.index(512)) % model.len();
        // What was written to the word before must still be there.
        same(format_args!("word {n:#x} before write {round}"), map.load(n * 8), model[n])?;
        model[n] = rng.next();
        map.store(n * 8, model[n]);
        Ok(())
    };
    let writer = Beside::start(move || Ok((map, vec![0; length / 8])), write, |(_, model)| model);
    let model = writer.during(ctx, 60, 1000, |n| move_on(&bo, n))?;
    let expected: Vec<u8> = model.iter().flat_map(|word| word.to_le_bytes()).collect();
    same_bytes("the object at the end", &content(&bo, length)?, &expected)
}

/// One client moves an object about while another copies it, whole, to where it can look at it.
pub fn moves_and_copies_of_one_object_do_not_mix(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let length = 256 << 10;
    let data = stamps(51, length);
    let bo = filled(&device, Domain::System, &data)?;
    let shared = bo.export()?;
    let elsewhere = Bo::new(&device, 4 << 20, Domain::Vram)?;
    let open = move || Ok(Bo::import(&Device::open()?, &shared)?);
    Beside::start(open, |bo: &mut Bo, n| move_on(bo, n), drop).during(ctx, 40, 30, |round| {
        let target = Bo::new(&device, length as u64, Domain::GPU[usize::from(round % 4 < 2)])?;
        let mut ib = Ib::new();
        // Some milliseconds of other work first: a move that does not wait has time to take the object away.
        for _ in 0..8 {
            ib.fill(Place::Bo(elsewhere.handle(), 0), 0, FillSize::Dword, elsewhere.size());
        }
        ib.copy(Place::Bo(bo.handle(), 0), Place::Bo(target.handle(), 0), length as u64);
        complete(&device, u32::from(round % 2 == 1), &ib)?;
        same_bytes(format_args!("copy {round}"), &content(&target, length)?, &data)
    })?;
    same_bytes("the object at the end", &content(&bo, length)?, &data)
}

pub fn moves_are_counted(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let size = 1 << 20;
    let bo = Bo::new(&device, size, Domain::Gtt)?;
    let before = device.param(uapi::PARAM_BYTES_MOVED)?;
    bo.move_to(Domain::Vram, 0)?;
    bo.move_to(Domain::Gtt, 1)?;
    same("bytes moved", device.param(uapi::PARAM_BYTES_MOVED)?, before + 2 * size)
}

/// An object and what it should hold.
struct Tracked {
    bo: Bo,
    model: Vec<u8>,
}

impl Tracked {
    fn random(device: &Device, rng: &mut Rng, most: u64) -> Result<Self> {
        let model = rng.bytes(usize::try_from(rng.clone().size(most))?);
        let bo = filled(device, rng.pick(&Domain::ALL), &model)?;
        Ok(Self { bo, model })
    }

    fn check(&self, what: &str) -> Result<()> {
        same_bytes(what, &content(&self.bo, self.model.len())?, &self.model)
    }
}

/// Creates, moves, rewrites, copies and closes objects at random, `rounds` times, held against the CPU throughout.
pub fn churn(device: &Device, mut rng: Rng, rounds: u32, most: u64) -> Result<()> {
    let mut all: Vec<Tracked> = Vec::new();
    for round in 0..rounds {
        let ring = round % 2;
        let n = rng.index(all.len().max(1));
        match rng.below(10) {
            0..=1 if all.len() < 12 => all.push(Tracked::random(device, &mut rng, most)?),
            _ if all.is_empty() => all.push(Tracked::random(device, &mut rng, most)?),
            2 if all.len() > 4 => {
                let gone = all.swap_remove(n);
                gone.check(&format!("round {round}, before it was closed"))?;
            }
            3 => {
                let target = &mut all[n];
                let data = rng.bytes(rng.clone().index(target.model.len()) + 1);
                let at = rng.index(target.model.len() - data.len() + 1);
                target.bo.map()?.write(at, &data);
                target.model[at..at + data.len()].copy_from_slice(&data);
            }
            4..=6 => {
                let to = rng.pick(&Domain::ALL);
                all[n].bo.move_to(to, ring)?;
                all[n].check(&format!("round {round}, after a move to {to}"))?;
            }
            _ => {
                let m = rng.index(all.len());
                copy_some(device, &mut rng, ring, &mut all, n, m)?;
                all[m].check(&format!("round {round}, after copies"))?;
            }
        }
    }
    all.iter().try_for_each(|tracked| tracked.check("at the end"))
}

/// A few copies from object `n` to object `m` in one submission, at any byte offsets.
fn copy_some(device: &Device, rng: &mut Rng, ring: u32, all: &mut [Tracked], n: usize, m: usize) -> Result<()> {
    let mut ib = Ib::new();
    for _ in 0..=rng.below(4) {
        let (from_length, to_length) = (all[n].model.len(), all[m].model.len());
        let bytes = usize::try_from(rng.size(from_length.min(to_length) as u64))?;
        let (from, to) = (rng.index(from_length - bytes + 1), rng.index(to_length - bytes + 1));
        if n == m && from < to + bytes && to < from + bytes {
            continue; // overlapping ranges have no defined result
        }
        ib.copy(Place::Bo(all[n].bo.handle(), from as u64), Place::Bo(all[m].bo.handle(), to as u64), bytes as u64);
        let data = all[n].model[from..from + bytes].to_vec();
        all[m].model[to..to + bytes].copy_from_slice(&data);
    }
    if ib.is_empty() {
        return Ok(());
    }
    complete(device, ring, &ib)
}

pub fn random_moves_keep_the_data(ctx: &Ctx) -> Result<()> {
    churn(&ctx.device()?, ctx.rng(), 200, 1 << 18)
}

pub fn random_copies_match_the_cpu(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let mut rng = ctx.rng();
    let mut rounds = 0;
    for (from, to) in [(0, 1), (1, 0), (0, 0), (1, 1)].map(|(a, b): (usize, usize)| (Domain::GPU[a], Domain::GPU[b])) {
        let lengths = [(); 2].map(|()| 1 + rng.index(200_000));
        let mut pair = lengths
            .iter()
            .zip([from, to])
            .map(|(&length, domain)| {
                let model = rng.bytes(length);
                Ok(Tracked { bo: filled(&device, domain, &model)?, model })
            })
            .collect::<Result<Vec<_>>>()?;
        for round in 0..50 {
            copy_some(&device, &mut rng, round % 2, &mut pair, 0, 1)?;
            pair[1].check(&format!("round {round} of {from} to {to}"))?;
            rounds += 1;
        }
        pair[0].check("the source")?;
    }
    same("rounds", rounds, 200)
}

pub fn system_object_is_moved_for_a_submission(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let data = stamps(31, 30_000);
    let (from, to) = (filled(&device, Domain::System, &data)?, Bo::new(&device, 30_000, Domain::System)?);
    let mut ib = Ib::new();
    ib.copy(Place::Bo(from.handle(), 0), Place::Bo(to.handle(), 0), data.len() as u64);
    complete(&device, 0, &ib)?;
    same("domain of the source", from.domain()?, Domain::Gtt)?;
    same("domain of the target", to.domain()?, Domain::Gtt)?;
    same_bytes("the target", &content(&to, data.len())?, &data)
}
