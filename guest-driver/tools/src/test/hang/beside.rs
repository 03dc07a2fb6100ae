// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Innocents that work on both rings while another hangs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{ensure, Context, Result};

use super::PACKETS;
use crate::drm::{Bo, Device, Domain, FenceState, Space, RW};
use crate::ib::{Ib, Place};
use crate::rng::Rng;
use crate::test::case::{same, same_bytes, Ctx, PATIENCE};

const FROM: u64 = 0x200_0000;
const TO: u64 = 0x300_0000;
const BYTES: usize = 5 * 4096;

struct Innocent {
    thread: JoinHandle<Result<()>>,
    rounds: Arc<AtomicU64>,
}

fn innocent(ring: u32, seed: u64, stop: Arc<AtomicBool>) -> Innocent {
    let rounds = Arc::new(AtomicU64::new(0));
    let count = rounds.clone();
    let thread = std::thread::spawn(move || {
        let mut rng = Rng::new(seed);
        let space = Space::new(&Device::open()?, PACKETS, 1 << 16)?;
        let from = Bo::new(space.device(), BYTES as u64, Domain::Gtt)?;
        let to = Bo::new(space.device(), BYTES as u64, Domain::Vram)?;
        space.device().bind(FROM, &from, 0, from.size(), RW)?;
        space.device().bind(TO, &to, 0, to.size(), RW)?;
        let mut ib = Ib::new();
        ib.copy(Place::Raw(FROM), Place::Raw(TO), BYTES as u64);
        let mut seen = vec![0; BYTES];
        // One round more after the other's hang is over.
        let mut last = false;
        while !last {
            last = stop.load(Ordering::Relaxed);
            let round = count.load(Ordering::Relaxed);
            let data = rng.bytes(BYTES);
            from.map()?.write(0, &data);
            let state = space.run(ring, &ib, PATIENCE)?;
            same(format_args!("fence of an innocent on SDMA {ring}, round {round}"), state, FenceState::Done)?;
            to.map()?.read(0, &mut seen);
            same_bytes(format_args!("an innocent's bytes on SDMA {ring}, round {round}"), &seen, &data)?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        ensure!(space.device().hang()?.is_none(), "an innocent is told of a hang");
        ensure!(space.device().fault()?.is_none(), "an innocent is told of a fault");
        Ok(())
    });
    Innocent { thread, rounds }
}

/// Does `work` while innocents copy on both rings. Fails if a byte of theirs is wrong, or a submission of theirs fails.
pub fn among_innocents(ctx: &Ctx, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut rng = ctx.rng();
    let innocents: Vec<Innocent> = (0..2).map(|ring| innocent(ring, rng.next(), stop.clone())).collect();
    // They are at work before it begins.
    for innocent in &innocents {
        while innocent.rounds.load(Ordering::Relaxed) == 0 && !innocent.thread.is_finished() {
            std::thread::yield_now();
        }
    }
    let done = work();
    stop.store(true, Ordering::Relaxed);
    let mut rounds = Vec::new();
    for innocent in innocents {
        let ended = innocent.thread.join().map_err(|_| anyhow::anyhow!("an innocent panicked"))?;
        ended.context("beside the hang")?;
        rounds.push(innocent.rounds.load(Ordering::Relaxed));
    }
    ctx.note(format_args!("{rounds:?} rounds of innocents"));
    done
}
