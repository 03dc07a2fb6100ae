// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Each packet on each SDMA instance, against the CPU model.

use anyhow::{ensure, Result};
use uvm_spec::packet::atomic;
use uvm_spec::{nbio, pte, sdma, uapi};

use crate::drm::{Bo, Device, Domain, Mapping};
use crate::ib::{Atomic, Entries, FillSize, Ib, Place};
use crate::model::{u64_at, Op, ATOMICS};
use crate::test::case::{complete, same, same_bytes, Ctx};

/// A buffer object and what it should hold.
struct Arena<'a> {
    device: &'a Device,
    ring: u32,
    bo: Bo,
    map: Mapping,
    model: Vec<u8>,
}

impl<'a> Arena<'a> {
    fn new(ctx: &Ctx, device: &'a Device, ring: u32, domain: Domain, length: usize) -> Result<Self> {
        let bo = Bo::new(device, length as u64, domain)?;
        let (map, model) = (bo.map()?, ctx.rng().bytes(length));
        map.write(0, &model);
        Ok(Self { device, ring, bo, map, model })
    }

    /// Runs the packets in one submission and holds the whole arena against the model.
    fn run(&mut self, ops: &[Op]) -> Result<()> {
        let mut ib = Ib::new();
        for op in ops {
            op.emit(&mut ib, self.bo.handle(), 0);
            op.apply(&mut self.model);
        }
        complete(self.device, self.ring, &ib)?;
        let mut seen = vec![0; self.model.len()];
        self.map.read(0, &mut seen);
        same_bytes(format_args!("after {}", brief(ops)), &seen, &self.model)
    }
}

/// The first packets of a list, for a message.
fn brief(ops: &[Op]) -> String {
    let shown: Vec<String> = ops.iter().take(3).map(|op| format!("{op:?}").chars().take(160).collect()).collect();
    format!("{} packets: {}", ops.len(), shown.join(", "))
}

/// Runs `test` with an arena in GTT and one in VRAM.
fn in_both(ctx: &Ctx, ring: u32, length: usize, test: impl Fn(&mut Arena<'_>) -> Result<()>) -> Result<()> {
    let device = ctx.device()?;
    for domain in Domain::GPU {
        test(&mut Arena::new(ctx, &device, ring, domain, length)?)
            .map_err(|error| error.context(format!("in {domain}")))?;
    }
    Ok(())
}

pub fn nop(ctx: &Ctx, ring: u32) -> Result<()> {
    in_both(ctx, ring, 4096, |arena| {
        let fence = |value| Op::Fence { to: 0, value };
        arena.run(&[Op::Nop { extra: 0 }, fence(1)])?;
        arena.run(&[Op::Nop { extra: 1 }, fence(2), Op::Nop { extra: 500 }, fence(3), Op::Nop { extra: 7 }])
    })
}

pub fn copy_linear(ctx: &Ctx, ring: u32) -> Result<()> {
    in_both(ctx, ring, 64 << 10, |arena| {
        for bytes in [1, 2, 3, 4, 7, 8, 63, 64, 65, 4095, 4096, 4097, 20_000] {
            arena.run(&[Op::Copy { from: 0, to: 32 << 10, bytes }])?;
            arena.run(&[Op::Copy { from: (32 << 10) + 3, to: 5, bytes }])?;
        }
        Ok(())
    })?;
    // Between the two kinds of memory, over the longest packet.
    let device = ctx.device()?;
    let length = usize::try_from(uvm_spec::packet::MAX_BYTES)? + 12;
    let data = ctx.rng().bytes(length);
    let from = crate::test::case::filled(&device, Domain::Gtt, &data)?;
    let to = Bo::new(&device, length as u64, Domain::Vram)?;
    let mut ib = Ib::new();
    ib.copy(Place::Bo(from.handle(), 0), Place::Bo(to.handle(), 0), length as u64);
    complete(&device, ring, &ib)?;
    same_bytes("GTT to VRAM", &crate::test::case::content(&to, length)?, &data)
}

pub fn write_linear(ctx: &Ctx, ring: u32) -> Result<()> {
    let mut rng = ctx.rng();
    let mut words = |count: u32| (0..count).map(|_| rng.next32()).collect::<Vec<_>>();
    let cases = [(0, words(1)), (8188, words(2)), (4, words(1000)), (4092, words(1025))];
    in_both(ctx, ring, 16 << 10, |arena| {
        cases.iter().try_for_each(|(to, data)| arena.run(&[Op::Write { to: *to, data: data.clone() }]))
    })
}

pub fn const_fill(ctx: &Ctx, ring: u32) -> Result<()> {
    in_both(ctx, ring, 64 << 10, |arena| {
        for size in [FillSize::Byte, FillSize::Half, FillSize::Dword] {
            let step = size.bytes();
            for (to, count) in [(0, 1), (step, 1), (4096 - step, 2), (8, 3), (101 * step, 9001)] {
                arena.run(&[Op::Fill { to, value: 0x8765_4321, size, bytes: count * step }])?;
            }
        }
        Ok(())
    })
}

pub fn fence(ctx: &Ctx, ring: u32) -> Result<()> {
    in_both(ctx, ring, 8192, |arena| {
        arena.run(&[Op::Fence { to: 0, value: 0xffff_ffff }, Op::Fence { to: 4092, value: 1 }])?;
        // Later fences win; each is written once all before is done.
        arena.run(&[
            Op::Fence { to: 8, value: 1 },
            Op::Fence { to: 8, value: 2 },
            Op::Copy { from: 8, to: 4100, bytes: 4 },
        ])
    })
}

pub fn atomics(ctx: &Ctx, ring: u32) -> Result<()> {
    // Operands around the wrap and sign boundaries of both widths.
    let edges = [0, 1, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 63, u64::MAX, 0x1234_5678_9abc_def0];
    in_both(ctx, ring, 4096, |arena| {
        for wide in [0, atomic::BITS64] {
            for &op in ATOMICS {
                let mut ops = Vec::new();
                for (n, &source) in edges.iter().enumerate() {
                    for (m, &compare) in edges.iter().enumerate().take(3) {
                        let at = 8 * (n * 3 + m);
                        let old = edges[(n + m) % edges.len()].to_le_bytes();
                        let old = [0, 4].map(|k| crate::model::u32_at(&old, k));
                        ops.push(Op::Write { to: at, data: old.to_vec() });
                        let op = op | wide | if n % 2 == 0 { 0 } else { atomic::NO_RETURN };
                        ops.push(Op::Atomic { at, atomic: Atomic { op, source, compare } });
                    }
                }
                arena.run(&ops).map_err(|error| error.context(format!("operation {:#x}", op | wide)))?;
            }
        }
        Ok(())
    })
}

pub fn atomic_keeps_the_old_value(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let block = if ring == 0 { &sdma::SDMA0 } else { &sdma::SDMA1 };
    let bo = Bo::new(&device, 8, Domain::Vram)?;
    bo.map()?.store(0, 0x1122_3344_5566_7788);
    let mut ib = Ib::new();
    let atomic = Atomic { op: atomic::ADD | atomic::BITS64, source: 1, compare: 0 };
    ib.atomic(Place::Bo(bo.handle(), 0), atomic);
    complete(&device, ring, &ib)?;
    same("ATOMIC_PREOP_LO", device.reg(block.index(&sdma::ATOMIC_PREOP_LO, 0))?, 0x5566_7788)?;
    same("ATOMIC_PREOP_HI", device.reg(block.index(&sdma::ATOMIC_PREOP_HI, 0))?, 0x1122_3344)
}

pub fn ptepde_generates_entries(ctx: &Ctx, ring: u32) -> Result<()> {
    let flags = pte::VALID | pte::SYSTEM | pte::SNOOPED | pte::READABLE | pte::WRITEABLE | 3 << pte::MTYPE_SHIFT;
    in_both(ctx, ring, 64 << 10, |arena| {
        for (to, count, value, increment) in [
            (0, 1, 0x1000, 0x1000),
            (8, 512, 0x12_3456_7000, 0x1000),
            (4096, 1024, 0xfff0_0000_0000, 0x20_0000),
            (64, 3, 0x5000, 0),
        ] {
            arena.run(&[Op::Entries { to, entries: Entries { flags, value, increment, count } }])?;
        }
        Ok(())
    })
}

pub fn cond_exe(ctx: &Ctx, ring: u32) -> Result<()> {
    in_both(ctx, ring, 8192, |arena| {
        let set = |value| Op::Fence { to: 0, value };
        let guarded = |reference| Op::Cond {
            at: 0,
            reference,
            then: vec![Op::Fence { to: 4, value: reference }, Op::Write { to: 8, data: vec![reference; 20] }],
        };
        let after = Op::Fence { to: 4096, value: 77 };
        arena.run(&[set(5), guarded(5), after.clone()])?;
        arena.run(&[set(5), guarded(6), after.clone()])?;
        arena.run(&[set(7), Op::Cond { at: 0, reference: 7, then: vec![guarded(7), guarded(8)] }, after])
    })
}

pub fn srbm_write(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let index = nbio::NBIO.index(&nbio::BIOS_SCRATCH, 4 + ring);
    let write = |value, bytes| {
        let mut ib = Ib::new();
        ib.register(index, value, bytes);
        complete(&device, ring, &ib)
    };
    write(0x1122_3344, 0xf)?;
    same("the register", device.reg(index)?, 0x1122_3344)?;
    write(0xaabb_ccdd, 0b0101)?;
    same("the register after a write of bytes 0 and 2", device.reg(index)?, 0x11bb_33dd)?;
    write(0, 0xf)?;
    same("the register after a write of zero", device.reg(index)?, 0)
}

pub fn random_packets_match_the_model(ctx: &Ctx, ring: u32) -> Result<()> {
    let mut rng = ctx.rng();
    let batches: Vec<Vec<Op>> =
        (0..20).map(|_| (0..=rng.below(40)).map(|_| Op::random(&mut rng, 64 << 10, 8192)).collect()).collect();
    in_both(ctx, ring, 64 << 10, |arena| batches.iter().try_for_each(|ops| arena.run(ops)))
}

pub fn longest_submission(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 1 << 16, Domain::Vram)?;
    let mut ib = Ib::new();
    let room = usize::try_from(uapi::MAX_IB_DWORDS)?;
    let data: Vec<u32> = (0..u32::try_from(room - 4 - 4)?).collect();
    ib.write(Place::Bo(bo.handle(), 0), &data).fence(Place::Bo(bo.handle(), 0xfff8), 99);
    same("dwords", ib.dwords().len(), room)?;
    complete(&device, ring, &ib)?;
    let mut bytes = vec![0; 1 << 16];
    bo.map()?.read(0, &mut bytes);
    let expected: Vec<u8> = data.iter().flat_map(|dword| dword.to_le_bytes()).collect();
    same_bytes("data of the one long packet", &bytes[..expected.len()], &expected)?;
    same("the fence at its end", u64_at(&bytes, 0xfff8), 99)
}

pub fn ring_wraps_around(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let block = if ring == 0 { &sdma::SDMA0 } else { &sdma::SDMA1 };
    let log2 = sdma::RB_CNTL::RB_SIZE.get(device.reg(block.index(&sdma::RB_CNTL, 0))?);
    let pointer = || -> Result<u64> {
        let low = device.reg(block.index(&sdma::RB_RPTR, 0))?;
        Ok(u64::from(low) | u64::from(device.reg(block.index(&sdma::RB_RPTR_HI, 0))?) << 32)
    };
    let bo = Bo::new(&device, 4096, Domain::Gtt)?;
    let map = bo.map()?;
    let (start, size) = (pointer()?, 4_u64 << log2);
    let mut runs = 0;
    // A submission takes some tens of dwords of the ring: a few hundred go round once.
    while pointer()? < start + size {
        runs += 1;
        ensure!(runs < 5000, "{runs} submissions moved the read pointer from {start:#x} to {:#x} only", pointer()?);
        let mut ib = Ib::new();
        ib.fence(Place::Bo(bo.handle(), 0), runs);
        complete(&device, ring, &ib)?;
        same(format_args!("fence of submission {runs}"), map.load(0), u64::from(runs))?;
    }
    ctx.note(format_args!("{runs} submissions went round a ring of {size} bytes"));
    Ok(())
}
