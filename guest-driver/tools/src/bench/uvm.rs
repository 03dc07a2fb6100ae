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

/// The guest's own memcpy of as much, between memory in folios too.
fn memcpy(bytes: usize) -> Result<Duration> {
    let (from, to) = (Mapping::transparent(bytes)?, Mapping::transparent(bytes)?);
    let mut piece = vec![0x5a_u8; bytes];
    from.write(0, &piece);
    to.write(0, &piece);
    let mut times = Vec::new();
    for _ in 0..FEW {
        let start = Instant::now();
        from.read(0, &mut piece);
        times.push(start.elapsed());
        std::hint::black_box(&mut piece);
    }
    middle(times)
}

/// Times of the way to VRAM and of the way back.
fn there_and_back(device: &Device, bytes: usize) -> Result<(Duration, Duration)> {
    let memory = Mapping::transparent(bytes)?;
    memory.write(0, &vec![0xa5_u8; bytes]);
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for round in 0..=FEW {
        for (domain, times) in [(Domain::Vram, &mut there), (Domain::System, &mut back)] {
            let start = Instant::now();
            let told = device.prefetch(memory.va(), bytes as u64, domain)?;
            let time = start.elapsed();
            ensure!(told.moved == bytes as u64, "only {} of {bytes} bytes moved to {domain}", told.moved);
            // The first is not counted.
            if round > 0 {
                times.push(time);
            }
        }
    }
    Ok((middle(there)?, middle(back)?))
}

/// Migration of a folio, and of many, against memcpy.
pub fn migration(device: &Device) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (bytes, names) in [
        (BLOCK, ["guest_migrate_2m_to_vram", "guest_migrate_2m_to_system"]),
        (MANY * BLOCK, ["guest_migrate_64m_to_vram", "guest_migrate_64m_to_system"]),
    ] {
        let limit = rate(bytes, memcpy(bytes)?);
        let (there, back) = there_and_back(device, bytes)?;
        for (name, time) in names.into_iter().zip([there, back]) {
            let value = rate(bytes, time);
            figures.push(Figure { name, unit: "MiB/s", value, limit, better: Better::More, bar: Some(0.5) });
        }
    }
    Ok(figures)
}
