// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Wrong arguments: each has its error, and nothing stays behind.

use anyhow::{ensure, Result};
use rustix::io::Errno;
use uvm_spec::uapi::{self, BoRef, GemCreate, GemMove, GemWait, Reloc, Submit};

use crate::drm::{address, Bo, Device, Domain, Syncobj};
use crate::ib::{Ib, Place};
use crate::test::case::{complete, refused, same, Ctx, PATIENCE};

const NO_HANDLE: u32 = 0x00ff_fff0;
/// An address that no program may name.
const KERNEL_ADDRESS: u64 = 0xffff_8880_0000_1000;
/// An address that is canonical but not mapped.
const UNMAPPED: u64 = 0x1000;

/// Fails if a refused call kept memory.
fn keeps_nothing(device: &Device, test: impl FnOnce() -> Result<()>) -> Result<()> {
    let used =
        || -> Result<[u64; 2]> { Ok([device.param(uapi::PARAM_VRAM_USED)?, device.param(uapi::PARAM_GTT_USED)?]) };
    let before = used()?;
    test()?;
    same("memory in use after refused calls", used()?, before)
}

pub fn wrong_create_arguments_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let good = GemCreate { size: 4096, domain: uapi::DOMAIN_VRAM, ..Default::default() };
    keeps_nothing(&device, || {
        for (what, mut arg) in [
            ("size 0", GemCreate { size: 0, ..good }),
            ("domain 3", GemCreate { domain: 3, ..good }),
            ("domain 0xffffffff", GemCreate { domain: u32::MAX, ..good }),
            ("flags", GemCreate { flags: 2, ..good }),
            ("pageable in SYSTEM", GemCreate { flags: uapi::GEM_PAGEABLE, domain: uapi::DOMAIN_SYSTEM, ..good }),
            ("pad", GemCreate { pad: 1, ..good }),
        ] {
            refused(what, device.create_raw(&mut arg), &[Errno::INVAL])?;
        }
        // More than there can be; SYSTEM pages come with their first use, so that only an impossible size is wrong there.
        let too_large = [Errno::NOSPC, Errno::NOMEM, Errno::INVAL, Errno::TOOBIG];
        let wrong = Domain::GPU.map(|domain| (domain, 1 << 46)).into_iter();
        let wrong = wrong.chain(Domain::ALL.map(|domain| (domain, u64::MAX - 4096)));
        for (domain, size) in wrong.chain(Domain::ALL.map(|domain| (domain, u64::MAX))) {
            let mut arg = GemCreate { size, domain: domain.number(), ..good };
            refused(format_args!("{size:#x} bytes in {domain}"), device.create_raw(&mut arg), &too_large)?;
        }
        Ok(())
    })
}

pub fn wrong_handles_are_refused(ctx: &Ctx) -> Result<()> {
    let (device, other) = (ctx.device()?, ctx.device()?);
    let foreign = Bo::new(&other, 4096, Domain::Gtt)?;
    for handle in [0, NO_HANDLE, u32::MAX, foreign.handle()] {
        let expected = [Errno::NOENT];
        refused(format_args!("info on handle {handle}"), device.info_raw(handle), &expected)?;
        refused(format_args!("mmap of handle {handle}"), device.mmap_raw(handle), &expected)?;
        let mut wait = GemWait { handle, ..Default::default() };
        refused(format_args!("wait on handle {handle}"), device.wait_raw(&mut wait), &expected)?;
        let mut to_vram = GemMove { handle, domain: uapi::DOMAIN_VRAM, ..Default::default() };
        refused(format_args!("move of handle {handle}"), device.move_raw(&mut to_vram), &expected)?;
        let mut ib = Ib::new();
        ib.fence(Place::Bo(handle, 0), 1);
        refused(format_args!("submission with handle {handle}"), device.submit(0, &ib, &[], &[]), &expected)?;
        refused(format_args!("close of handle {handle}"), device.close(handle), &[Errno::INVAL, Errno::NOENT])?;
    }
    Ok(())
}

pub fn wrong_moves_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let bo = Bo::new(&device, 4096, Domain::System)?;
    let good = GemMove { handle: bo.handle(), domain: uapi::DOMAIN_VRAM, flags: 0, ring: 0 };
    for (what, mut arg) in [
        ("domain 3", GemMove { domain: 3, ..good }),
        ("flags", GemMove { flags: 1, ..good }),
        ("ring 2", GemMove { ring: 2, ..good }),
        ("ring 0xffffffff", GemMove { ring: u32::MAX, ..good }),
    ] {
        refused(what, device.move_raw(&mut arg), &[Errno::INVAL])?;
        same("domain", bo.domain()?, Domain::System)?;
    }
    let mut wait = GemWait { handle: bo.handle(), flags: 1, timeout_ns: 0 };
    refused("wait with flags", device.wait_raw(&mut wait), &[Errno::INVAL])
}

/// A submission that works, for the wrong ones to differ from.
struct Good {
    bo: Bo,
    dwords: Vec<u32>,
    bos: Vec<BoRef>,
    relocs: Vec<Reloc>,
    syncs: Vec<u32>,
}

impl Good {
    fn new(device: &Device) -> Result<Self> {
        let bo = Bo::new(device, 4096, Domain::Gtt)?;
        let mut ib = Ib::new();
        ib.fence(Place::Bo(bo.handle(), 0), 1);
        let (dwords, bos, relocs) = (ib.dwords().to_vec(), ib.bos().to_vec(), ib.relocs().to_vec());
        Ok(Self { bo, dwords, bos, relocs, syncs: vec![NO_HANDLE] })
    }

    fn submit(&self) -> Submit {
        Submit {
            ib: address(&self.dwords),
            ib_dwords: 4,
            bo_count: 1,
            bos: address(&self.bos),
            relocs: address(&self.relocs),
            reloc_count: 1,
            ..Default::default()
        }
    }

    /// It still works, so that what was refused was refused for the reason given; and no refused one has run.
    fn works(&self, device: &Device) -> Result<()> {
        same("what a refused submission wrote", self.bo.map()?.load(0), 0)?;
        device.submit_raw(&mut self.submit())?;
        self.bo.wait(-1)?;
        same("what the good submission wrote", self.bo.map()?.load(0), 1)
    }
}

pub fn wrong_submissions_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let good = Good::new(&device)?;
    let submit = good.submit();
    let syncs = address(&good.syncs);
    let many = vec![0_u32; usize::try_from(uapi::MAX_IB_DWORDS)? + 1];
    for (what, mut arg, expected) in [
        ("ring 2", Submit { ring: 2, ..submit }, Errno::INVAL),
        ("ring 0xffffffff", Submit { ring: u32::MAX, ..submit }, Errno::INVAL),
        ("flags", Submit { flags: 1, ..submit }, Errno::INVAL),
        ("pad", Submit { pad: 1, ..submit }, Errno::INVAL),
        ("no dwords", Submit { ib_dwords: 0, reloc_count: 0, ..submit }, Errno::INVAL),
        ("too many dwords", Submit { ib: address(&many), ib_dwords: uapi::MAX_IB_DWORDS + 1, ..submit }, Errno::INVAL),
        ("0xffffffff dwords", Submit { ib_dwords: u32::MAX, ..submit }, Errno::INVAL),
        ("too many objects", Submit { bo_count: uapi::MAX_BOS + 1, ..submit }, Errno::INVAL),
        ("0xffffffff objects", Submit { bo_count: u32::MAX, ..submit }, Errno::INVAL),
        ("too many relocations", Submit { reloc_count: uapi::MAX_RELOCS + 1, ..submit }, Errno::INVAL),
        ("too many in-syncs", Submit { in_sync_count: uapi::MAX_SYNCS + 1, in_syncs: syncs, ..submit }, Errno::INVAL),
        (
            "too many out-syncs",
            Submit { out_sync_count: uapi::MAX_SYNCS + 1, out_syncs: syncs, ..submit },
            Errno::INVAL,
        ),
        ("an unknown in-sync", Submit { in_sync_count: 1, in_syncs: syncs, ..submit }, Errno::NOENT),
        ("an unknown out-sync", Submit { out_sync_count: 1, out_syncs: syncs, ..submit }, Errno::NOENT),
    ] {
        refused(what, device.submit_raw(&mut arg), &[expected])?;
    }
    let unknown_flag = [BoRef { flags: 0x8000_0000, ..good.bos[0] }];
    let mut arg = Submit { bos: address(&unknown_flag), ..submit };
    refused("an object with unknown flags", device.submit_raw(&mut arg), &[Errno::INVAL])?;
    good.works(&device)
}

pub fn wrong_relocations_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let good = Good::new(&device)?;
    let reloc = good.relocs[0];
    for (what, wrong) in [
        ("in the last dword, its high half past the end", Reloc { dword: 3, ..reloc }),
        ("past the end", Reloc { dword: 4, ..reloc }),
        ("at dword 0xffffffff", Reloc { dword: u32::MAX, ..reloc }),
        ("to an object that is not there", Reloc { bo: 1, ..reloc }),
        ("to object 0xffffffff", Reloc { bo: u32::MAX, ..reloc }),
        ("past its object's end", Reloc { offset: good.bo.size() + 1, ..reloc }),
        ("with an offset that wraps around", Reloc { offset: u64::MAX, ..reloc }),
    ] {
        let relocs = [wrong];
        let mut arg = Submit { relocs: address(&relocs), ..good.submit() };
        refused(format_args!("a relocation {what}"), device.submit_raw(&mut arg), &[Errno::INVAL])?;
    }
    good.works(&device)
}

pub fn wrong_pointers_are_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let good = Good::new(&device)?;
    let submit = good.submit();
    keeps_nothing(&device, || {
        for pointer in [0, UNMAPPED, KERNEL_ADDRESS, u64::MAX - 3] {
            for (what, mut arg) in [
                ("packets", Submit { ib: pointer, ..submit }),
                ("objects", Submit { bos: pointer, ..submit }),
                ("relocations", Submit { relocs: pointer, ..submit }),
                ("in-syncs", Submit { in_syncs: pointer, in_sync_count: 1, ..submit }),
                ("out-syncs", Submit { out_syncs: pointer, out_sync_count: 1, ..submit }),
            ] {
                refused(format_args!("{what} at {pointer:#x}"), device.submit_raw(&mut arg), &[Errno::FAULT])?;
            }
        }
        Ok(())
    })?;
    good.works(&device)?;
    // Counts of zero need no pointers.
    let nop = [0_u32];
    let mut bare = Submit { ib: address(&nop), ib_dwords: 1, ..Default::default() };
    device.submit_raw(&mut bare)?;
    let mut ib = Ib::new();
    ib.nop(0);
    complete(&device, 1, &ib)?;
    ensure!(device.param(uapi::PARAM_TIMEOUTS).is_ok(), "the driver no longer answers");
    Ok(())
}

pub fn longest_lists_are_taken(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let max = |most: u32| usize::try_from(most);
    let all =
        (0..max(uapi::MAX_BOS)?).map(|_| Bo::new(&device, 4096, Domain::System)).collect::<Result<Vec<_>, _>>()?;
    let mut ib = Ib::new();
    // Four dwords and one relocation each: as many dwords and relocations as there may be, over all objects.
    for n in 0..max(uapi::MAX_RELOCS)? {
        let bo = &all[n % all.len()];
        ib.fence(Place::Bo(bo.handle(), 8 * (n / all.len()) as u64), u32::try_from(n)? + 1);
    }
    let counts = (ib.dwords().len(), ib.bos().len(), ib.relocs().len());
    same("lists", counts, (max(uapi::MAX_IB_DWORDS)?, max(uapi::MAX_BOS)?, max(uapi::MAX_RELOCS)?))?;
    let syncs = (0..uapi::MAX_SYNCS).map(|_| Syncobj::new(&device)).collect::<Result<Vec<_>, _>>()?;
    let syncs: Vec<&Syncobj> = syncs.iter().collect();
    device.submit(0, &ib, &[], &syncs)?;
    let mut nop = Ib::new();
    nop.nop(0);
    let done = Syncobj::new(&device)?;
    device.submit(1, &nop, &syncs, &[&done])?;
    done.wait(PATIENCE)?;
    for (n, bo) in all.iter().enumerate() {
        let map = bo.map()?;
        for k in 0..max(uapi::MAX_RELOCS)? / all.len() {
            same(format_args!("word {k} of object {n}"), map.load(8 * k), (k * all.len() + n) as u64 + 1)?;
        }
    }
    Ok(())
}
