// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Figures of shared memory: a process's own memory that moves.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use super::{middle, Better, Figure, FEW};
use crate::drm::{Device, Domain, Mapping};

/// What moves at once: a folio.
const BLOCK: usize = 2 << 20;
/// Blocks of the longer one.
const MANY: usize = 32;

/// Bytes a second, in MiB.
#[allow(clippy::cast_precision_loss)] // some megabytes
fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / f64::from(1 << 20) / time.as_secs_f64().max(1e-9)
}

/// Rounds for a folio, which takes no time.
const FOLIO_ROUNDS: u32 = 8 * FEW;

/// Times of the guest's own memcpy, of the way to VRAM and of the way back, in turns: what disturbs one disturbs all.
fn there_and_back(device: &Device, bytes: usize, rounds: u32) -> Result<[Duration; 3]> {
    let (memory, other) = (Mapping::transparent(bytes)?, Mapping::transparent(bytes)?);
    let mut piece = vec![0xa5_u8; bytes];
    memory.write(0, &piece);
    other.write(0, &piece);
    let mut times: [Vec<Duration>; 3] = Default::default();
    let [copy, there, back] = &mut times;
    let (mut round, mut missed) = (0, 0);
    while round <= rounds {
        let start = Instant::now();
        other.read(0, &mut piece);
        let copied = start.elapsed();
        std::hint::black_box(&mut piece);
        let (mut took, mut all) = ([Duration::ZERO; 2], true);
        for (domain, time) in [Domain::Vram, Domain::System].into_iter().zip(&mut took) {
            let start = Instant::now();
            let told = device.prefetch(memory.va(), bytes as u64, domain)?;
            *time = start.elapsed();
            all &= told.moved == bytes as u64;
        }
        // A page that somebody holds for the moment stays: that is no measure.
        if !all {
            missed += 1;
            ensure!(missed <= rounds / 3, "in {missed} of {round} rounds not all of {bytes} bytes moved");
            continue;
        }
        // The first is not counted.
        if round > 0 {
            copy.push(copied);
            there.push(took[0]);
            back.push(took[1]);
        }
        round += 1;
    }
    let [copy, there, back] = times;
    Ok([middle(copy)?, middle(there)?, middle(back)?])
}

/// Migration of a folio, and of many, against memcpy.
pub fn migration(device: &Device) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (bytes, rounds, names) in [
        (BLOCK, FOLIO_ROUNDS, ["guest_migrate_2m_to_vram", "guest_migrate_2m_to_system"]),
        (MANY * BLOCK, FEW, ["guest_migrate_64m_to_vram", "guest_migrate_64m_to_system"]),
    ] {
        let [copy, there, back] = there_and_back(device, bytes, rounds)?;
        let limit = rate(bytes, copy);
        for (name, time) in names.into_iter().zip([there, back]) {
            let value = rate(bytes, time);
            figures.push(Figure { name, unit: "MiB/s", value, limit, better: Better::More, bar: Some(0.5) });
        }
    }
    Ok(figures)
}
