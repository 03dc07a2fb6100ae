// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `chaos`: root scribbles over all that the device reads. The device stays up, so does the kernel, and after a
//! reset all is as it was.
//!
//! The device reaches all of the guest's memory, and the kernel lives there too. So that only the device is tested, no
//! scribble may lead it out of VRAM, the driver's own buffers and pages of this process:
//!
//! - What is scribbled has bits 1 and 3 clear in each byte ([`noise::tame`]): wherever it ends up and is taken for a page table
//!   entry, SYSTEM is clear and it points into VRAM; wherever it is taken for a packet, it writes no register.
//! - Tables are overwritten in whole entries, so that none is left half the kernel's and half random.
//! - Registers that hold bus addresses are aimed at pages of this process; see [`aim`].
//! - Nothing is freed until the device was reset: what its caches still translate stays what it was.
//!
//! What an unmasked guest can do to the process alone, without a kernel to spare, is for the tests on the host.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use uvm_spec::uapi;

use super::bringup;
use super::case::{Case, Ctx, Run, GLANCE};
use super::kmsg::ExpectErrors;
use super::reload::{use_it, while_unbound, with_parameters};
use crate::drm::{Bo, Device, Domain, Mapping, Space, Syncobj, RW};
use crate::ib::{Ib, Place};
use crate::rng::Rng;

mod aim;
mod noise;

use aim::Aim;
use noise::Places;

/// The cases.
pub const CASES: &[Case] = &[Case { name: "scribbles", run: Run::Once(scribbles) }];

/// How long, unless the command says so.
const SECONDS: u64 = 60;
/// From one reset to the next.
const EPOCH: Duration = Duration::from_secs(4);
/// Own VRAM, which tables and rings are made of.
const OWN: u64 = 16 << 20;
/// Where a client's space has it, and its system pages.
const PACKETS: u64 = 0x10_0000;
const VA: u64 = 0x100_0000;
const SYSTEM_VA: u64 = 0x300_0000;
const SYSTEM: u64 = 1 << 20;
const CLIENTS: usize = 3;
/// Submissions whose ends nobody has waited for.
const IN_FLIGHT: usize = 6;

fn scribbles(ctx: &Ctx) -> Result<()> {
    let seconds = ctx.seconds().unwrap_or(SECONDS);
    let mut rng = ctx.rng();
    let _expected = ExpectErrors::begin(ctx);
    let arena = aim::Arena::new()?;
    let mut counts = BTreeMap::new();
    // Hangs are what this is about: the shortest time limit makes the most of them.
    with_parameters(c"timeout_ms=100", || {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            let length = EPOCH.min(end.saturating_duration_since(Instant::now()));
            Epoch::run(&mut rng, &arena, length, &mut counts)?;
            *counts.entry("resets").or_default() += 1;
            use_it(rng.next()).context("after a reset")?;
        }
        Ok(())
    })?;
    ctx.note(format_args!("{seconds} s: {counts:?}"));
    for kind in ["packets", "entries", "register writes", "own rings", "client submissions", "device packets"] {
        ensure!(counts.get(kind).is_some_and(|&n| n > 0), "no {kind}: nothing was tested");
    }
    // Every case of `bringup`, on a device that the driver has brought up anew.
    for case in bringup::CASES {
        let told = |error: anyhow::Error| error.context(format!("bringup.{} after the chaos", case.name));
        match case.run {
            Run::Once(run) => run(&Ctx::new(case.name, rng.next())).map_err(told)?,
            Run::PerRing(run) => {
                for ring in 0..2 {
                    run(&Ctx::new(case.name, rng.next()), ring).map_err(told)?;
                }
            }
        }
    }
    Ok(())
}

/// From a device that works to one that is reset.
struct Epoch<'a> {
    rng: &'a mut Rng,
    counts: &'a mut BTreeMap<&'static str, u64>,
    device: Device,
    map: Mapping,
    clients: Vec<(Space, Bo)>,
    places: Places,
    aim: Aim<'a>,
    flying: VecDeque<Syncobj>,
}

impl<'a> Epoch<'a> {
    fn run(
        rng: &'a mut Rng,
        arena: &'a aim::Arena,
        length: Duration,
        counts: &'a mut BTreeMap<&'static str, u64>,
    ) -> Result<()> {
        let mut epoch = Self::start(rng, arena, counts)?;
        let start = Instant::now();
        let (mut round, mut taken) = (0_u64, false);
        while start.elapsed() < length {
            // Memory alone, then registers, then the GART under the driver's own feet.
            let wild = (3 * start.elapsed().as_millis()) / length.as_millis().max(1);
            if wild > 0 && !taken {
                epoch.aim.take_interrupts(&epoch.device, epoch.rng)?;
                taken = true;
            }
            epoch.round(wild, round);
            round += 1;
        }
        let packets = epoch.device.param(uapi::PARAM_DEVICE_PACKETS)?;
        epoch.count("device packets", packets);
        // The reset comes first: until then the device may be at work on all that this holds.
        while_unbound(|| Ok(()))?;
        Ok(())
    }

    fn start(rng: &'a mut Rng, arena: &'a aim::Arena, counts: &'a mut BTreeMap<&'static str, u64>) -> Result<Self> {
        let device = Device::open()?;
        let own = Bo::new(&device, OWN, Domain::Vram)?;
        let map = own.map()?;
        let info = own.info()?;
        let offset = info.gpu_addr - device.param(uapi::PARAM_FB_START)?;
        let places = Places {
            fb: device.param(uapi::PARAM_FB_START)?,
            own: offset..offset + OWN,
            gart: device.param(uapi::PARAM_GART_START)?,
            bound: device.param(uapi::PARAM_GTT_USED)?,
            table: aim::gart_table(&device)?,
        };
        // Tables to be taken for tables: pages of entries that lead on, in noise.
        let mut page = vec![0; 4096];
        for at in (0..usize::try_from(OWN)?).step_by(4096) {
            let entries = (at / 4096) % 2 == 0;
            page.chunks_exact_mut(8).for_each(|word| {
                let value = if entries { places.entry(rng) } else { noise::tame(rng.next()) };
                word.copy_from_slice(&value.to_le_bytes());
            });
            map.write(at, &page);
        }
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let space = Space::new(&Device::open()?, PACKETS, 1 << 16)?;
            let own = Bo::import(space.device(), &own.export()?)?;
            let system = Bo::new(space.device(), SYSTEM, Domain::Gtt)?;
            space.device().bind(VA, &own, 0, OWN, RW)?;
            space.device().bind(SYSTEM_VA, &system, 0, SYSTEM, RW)?;
            clients.push((space, system));
        }
        let aim = Aim::new(&device, arena, offset..offset + OWN)?;
        Ok(Self { rng, counts, device, map, clients, places, aim, flying: VecDeque::new() })
    }

    fn count(&mut self, kind: &'static str, n: u64) {
        *self.counts.entry(kind).or_default() += n;
    }

    fn round(&mut self, wild: u128, round: u64) {
        match self.rng.below(if wild == 0 { 4 } else { 8 }) {
            0 | 1 => self.packets(wild),
            2 => self.client(),
            3 => self.entries(wild),
            4 | 5 => {
                let n = self.aim.scribble(&self.device, self.rng);
                self.count("register writes", n);
            }
            6 => {
                self.own_ring();
                self.count("own rings", 1);
            }
            _ if round % 3 == 0 => {
                self.aim.restore(&self.device);
                self.count("registers restored", 1);
            }
            _ => {
                self.device.reg(self.rng.next32() % uvm_spec::MMIO_DWORDS).ok();
                self.count("register reads", 1);
            }
        }
    }

    /// Submits, and sees to it that not too many are on their way. What becomes of them is nobody's business here.
    fn submit(&mut self, ib: &Ib) {
        let Ok(end) = Syncobj::new(&self.device) else { return };
        let ring = u32::from(self.rng.below(2) == 1);
        if self.device.submit(ring, ib, &[], &[&end]).is_ok() {
            self.flying.push_back(end);
        }
        if self.flying.len() > IN_FLIGHT {
            if let Some(end) = self.flying.pop_front() {
                end.wait(GLANCE).ok();
            }
        }
    }

    /// Packets in VMID 0 whose targets are anywhere: own VRAM, all of VRAM, the driver's rings and buffers, nowhere.
    fn packets(&mut self, wild: u128) {
        let mut ib = Ib::unordered();
        let n = self.rng.size(40);
        for _ in 0..n {
            let (from, to) = (self.places.target(self.rng, wild > 1), self.places.target(self.rng, wild > 1));
            let own = self.places.fb + self.places.own.start + self.places.source(self.rng);
            noise::packet(self.rng, &mut ib, own, from, to);
        }
        self.submit(&ib);
        self.count("packets", n);
    }

    /// Packets of a client in its own space, which may still be at work on the last ones.
    fn client(&mut self) {
        let mut ib = Ib::new();
        for _ in 0..self.rng.size(40) {
            let mut va = || match self.rng.below(4) {
                0 => noise::nowhere(self.rng),
                1 => SYSTEM_VA + self.rng.below(SYSTEM / 8) * 8,
                _ => VA + self.rng.below(OWN / 8) * 8,
            };
            let (from, to) = (va(), va());
            let own = VA + self.places.source(self.rng);
            noise::packet(self.rng, &mut ib, own, from, to);
        }
        let which = self.rng.index(self.clients.len());
        let ring = u32::from(self.rng.below(2) == 1);
        if let Some((space, _)) = self.clients.get(which) {
            if let Ok(end) = Syncobj::new(space.device()) {
                if space.submit(ring, &ib, &end).is_ok() {
                    self.flying.push_back(end);
                }
            }
        }
        self.count("client submissions", 1);
    }

    /// Entries over the tables of clients, by SDMA; over own pages through the BAR; and last over the GART's table.
    fn entries(&mut self, wild: u128) {
        let mut ib = Ib::unordered();
        let mut places = Vec::new();
        for _ in 0..3 {
            let vmid = 1 + u32::try_from(self.rng.below(15)).unwrap_or(0);
            places.extend(self.aim.root(&self.device, vmid).map(|root| root + 8 * self.rng.below(512)));
        }
        places.extend((0..4).map(|_| self.places.anywhere(self.rng)));
        if wild > 1 {
            let table = self.places.table.clone();
            places.push(table.start + 8 * self.rng.below((table.end - table.start) / 8));
        }
        for place in &places {
            let value = if self.rng.below(2) == 0 { noise::tame(self.rng.next()) } else { self.places.entry(self.rng) };
            let [low, high] = [value & 0xffff_ffff, value >> 32].map(|half| u32::try_from(half).unwrap_or(0));
            ib.write(Place::Raw(self.places.fb + place), &[low, high]);
        }
        for _ in 0..64 {
            let at = 8 * self.rng.index(self.map.len() / 8);
            self.map.store(at, self.places.entry(self.rng));
        }
        self.submit(&ib);
        self.count("entries", places.len() as u64 + 64);
    }

    /// A ring of an engine, set up by hand on own VRAM full of packets, in any VMID.
    fn own_ring(&mut self) {
        let mut ib = Ib::new();
        for _ in 0..self.rng.size(60) {
            let (from, to) = (self.places.target(self.rng, false), self.places.target(self.rng, false));
            let own = self.places.fb + self.places.own.start + self.places.source(self.rng);
            noise::packet(self.rng, &mut ib, own, from, to);
        }
        let bytes: Vec<u8> = ib.dwords().iter().flat_map(|dword| dword.to_le_bytes()).collect();
        let at = 256 * self.rng.index((self.map.len() - bytes.len()) / 256);
        self.map.write(at, &bytes);
        let base = self.places.fb + self.places.own.start + at as u64;
        aim::start_ring(&self.device, self.rng, base, ib.dwords().len());
    }
}
