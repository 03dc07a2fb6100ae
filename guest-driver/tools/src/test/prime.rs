// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `prime`: buffers that this driver and others share, vgem's, those of a memfd and of the kernel's dma-heap. What
//! the CPU reads through whichever mapping and what the GPU copies must be the same bytes.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use rustix::system::finit_module;
use uvm_spec::packet::{poll_func, POLL_FOREVER};
use uvm_spec::uapi;

use super::case::{
    complete, content, eventually, filled, refused, same, same_bytes, settled, stamps, Case, Ctx, Run, Skip, GLANCE,
    PATIENCE,
};
use super::reload::{while_unbound, Unloading};
use crate::drm::foreign::{self, Vgem, VgemBo};
use crate::drm::{Bo, Device, Domain, FenceState, Mapping, Space, Syncobj, RW};
use crate::ib::{Ib, Place, Poll};
use crate::rng::Rng;

const PAGES: u32 = 40;
const SIZE: u64 = PAGES as u64 * 4096;
/// Where the tests map buffers, and their packets.
const VA: u64 = 1 << 30;
const PACKETS: u64 = 1 << 29;

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("exported_buffer_is_seen_by_another_driver", exported_buffer_is_seen_by_another_driver),
    Case { name: "foreign_pages_are_copied", run: Run::PerRing(foreign_pages_are_copied) },
    Case { name: "foreign_pages_are_reached_by_address", run: Run::PerRing(foreign_pages_are_reached_by_address) },
    once("foreign_buffer_is_mapped_by_the_cpu", foreign_buffer_is_mapped_by_the_cpu),
    once("foreign_buffer_stays_in_system_pages", foreign_buffer_stays_in_system_pages),
    once("imported_by_another_it_stays_in_system_pages", imported_by_another_it_stays_in_system_pages),
    once("pressure_leaves_what_another_uses", pressure_leaves_what_another_uses),
    once("buffer_that_comes_back_is_the_same", buffer_that_comes_back_is_the_same),
    once("fences_of_the_other_are_waited_for", fences_of_the_other_are_waited_for),
    once("fences_are_shown_to_the_other", fences_are_shown_to_the_other),
    once("each_side_keeps_the_pages_alive", each_side_keeps_the_pages_alive),
    once("random_use_of_shared_buffers_matches_the_model", random_use_of_shared_buffers_matches_the_model),
    once("what_is_no_dma_buf_is_refused", what_is_no_dma_buf_is_refused),
    once("module_stays_while_a_buffer_is_shared", module_stays_while_a_buffer_is_shared),
    once("unplugged_device_leaves_shared_pages", unplugged_device_leaves_shared_pages),
];

/// Loads a module of the kernel's, and before it what it needs.
pub fn load(name: &str) -> Result<()> {
    const LIST: &str = "/uvm/more";
    let list = std::fs::read_to_string(LIST).context(LIST)?;
    let of = |line: &str| line.split_once(' ').filter(|(first, _)| *first == name).map(|(_, paths)| paths.to_owned());
    let paths = list.lines().find_map(of).ok_or_else(|| Skip(format!("the kernel comes without {name}")))?;
    for path in paths.split(' ') {
        let file = File::open(path).with_context(|| path.to_owned())?;
        match finit_module(file.as_fd(), c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("loading {path}")),
        }
    }
    Ok(())
}

fn vgem() -> Result<Vgem> {
    load("vgem")?;
    let mut found = None;
    // Its node is made by another process.
    eventually(PATIENCE, || {
        found = Vgem::open();
        Ok(found.is_some())
    })?;
    found.context("vgem is loaded and has no node")
}

/// A dma-buf of another driver's pages, and what keeps them where that is not the dma-buf alone.
struct Foreign {
    who: &'static str,
    dma_buf: OwnedFd,
    _bo: Option<VgemBo>,
}

impl Foreign {
    /// One of each.
    fn all() -> Result<Vec<Self>> {
        let bo = vgem()?.create(PAGES)?;
        let (of_memfd, _) = foreign::of_memfd(SIZE)?;
        Ok(vec![
            Self { who: "vgem", dma_buf: bo.export()?, _bo: Some(bo) },
            Self { who: "memfd", dma_buf: of_memfd, _bo: None },
            Self { who: "heap", dma_buf: foreign::of_heap(SIZE)?, _bo: None },
        ])
    }

    fn map(&self) -> Result<Mapping> {
        Ok(foreign::map(&self.dma_buf, usize::try_from(SIZE)?)?)
    }
}

fn bytes_of(map: &Mapping) -> Vec<u8> {
    let mut bytes = vec![0; map.len()];
    map.read(0, &mut bytes);
    bytes
}

/// A buffer of ours in each way there is.
fn ours(device: &Device, data: &[u8]) -> Result<Vec<(String, Bo)>> {
    let mut bos = Vec::new();
    for domain in Domain::ALL {
        bos.push((domain.to_string(), filled(device, domain, data)?));
    }
    for domain in Domain::GPU {
        let bo = Bo::pageable(device, data.len() as u64, domain)?;
        bo.map()?.write(0, data);
        bo.move_to(domain, 0)?;
        bos.push((format!("pageable {domain}"), bo));
    }
    Ok(bos)
}

fn exported_buffer_is_seen_by_another_driver(ctx: &Ctx) -> Result<()> {
    let (device, vgem) = (ctx.device()?, vgem()?);
    let data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    for (name, bo) in ours(&device, &data)? {
        let shared = bo.export()?;
        let through = foreign::map(&shared, data.len())?;
        same_bytes(format_args!("{name} through the dma-buf"), &bytes_of(&through), &data)?;
        let import = vgem.import(&shared, bo.size())?;
        let theirs = import.map()?;
        same_bytes(format_args!("{name} through vgem"), &bytes_of(&theirs), &data)?;
        theirs.write(5000, b"by vgem");
        through.write(9000, b"by the dma-buf");
        let mut expected = data.clone();
        expected[5000..5007].copy_from_slice(b"by vgem");
        expected[9000..9014].copy_from_slice(b"by the dma-buf");
        same_bytes(format_args!("{name} after writes"), &content(&bo, data.len())?, &expected)?;
    }
    Ok(())
}

fn foreign_pages_are_copied(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    for foreign in Foreign::all()? {
        let (there, back) = (stamps(ctx.rng().next(), usize::try_from(SIZE)?), stamps(7, usize::try_from(SIZE)?));
        let map = foreign.map()?;
        map.write(0, &there);
        let import = Bo::import(&device, &foreign.dma_buf)?;
        same("size of the import", import.size(), SIZE)?;
        let (to, from) = (Bo::new(&device, SIZE, Domain::Vram)?, filled(&device, Domain::Vram, &back)?);
        let mut ib = Ib::new();
        ib.copy(Place::Bo(import.handle(), 0), Place::Bo(to.handle(), 0), SIZE);
        complete(&device, ring, &ib)?;
        same_bytes(format_args!("a copy from {}", foreign.who), &content(&to, there.len())?, &there)?;
        let mut ib = Ib::new();
        ib.copy(Place::Bo(from.handle(), 0), Place::Bo(import.handle(), 0), SIZE);
        complete(&device, ring, &ib)?;
        same_bytes(format_args!("a copy to {}", foreign.who), &bytes_of(&map), &back)?;
    }
    Ok(())
}

fn foreign_pages_are_reached_by_address(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = ctx.device()?;
    let space = Space::new(&device, PACKETS, 1 << 16)?;
    for (n, foreign) in (0..).zip(Foreign::all()?) {
        let data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
        let map = foreign.map()?;
        map.write(0, &data);
        let import = Bo::import(&device, &foreign.dma_buf)?;
        let at = VA + n * 4 * SIZE.next_power_of_two();
        // From its second page on, so that an offset is part of it.
        device.bind(at, &import, 4096, SIZE - 4096, RW)?;
        // The mapping keeps it.
        drop(import);
        let mut ib = Ib::new();
        ib.copy(Place::Raw(at), Place::Raw(at + SIZE / 2), 4 * 4096);
        same("fence", space.run(ring, &ib, PATIENCE)?, FenceState::Done)?;
        let mut expected = data.clone();
        let half = usize::try_from(SIZE / 2)? + 4096;
        expected[half..half + 4 * 4096].copy_from_slice(&data[4096..5 * 4096]);
        same_bytes(foreign.who, &bytes_of(&map), &expected)?;
        device.unbind(at, SIZE - 4096)?;
    }
    Ok(())
}

fn foreign_buffer_is_mapped_by_the_cpu(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for foreign in Foreign::all()? {
        let data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
        let theirs = foreign.map()?;
        let ours = Bo::import(&device, &foreign.dma_buf)?.map()?;
        theirs.write(0, &data);
        same_bytes(format_args!("{} through our mapping", foreign.who), &bytes_of(&ours), &data)?;
        // A mapping outlives handle and dma-buf.
        let who = foreign.who;
        drop(foreign);
        ours.write(12, b"by us");
        let mut expected = data;
        expected[12..17].copy_from_slice(b"by us");
        same_bytes(format_args!("{who} through its own mapping"), &bytes_of(&theirs), &expected)?;
    }
    Ok(())
}

fn foreign_buffer_stays_in_system_pages(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    for foreign in Foreign::all()? {
        let import = Bo::import(&device, &foreign.dma_buf)?;
        let data = stamps(3, usize::try_from(SIZE)?);
        foreign.map()?.write(0, &data);
        refused("a move to VRAM", import.move_to(Domain::Vram, 0), &[Errno::INVAL])?;
        refused("advice", import.advise(uapi::GEM_DONT_NEED), &[Errno::INVAL])?;
        for domain in [Domain::Gtt, Domain::System, Domain::Gtt] {
            import.move_to(domain, 1)?;
            same("where it is", import.domain()?, domain)?;
            same_bytes(foreign.who, &content(&import, data.len())?, &data)?;
        }
    }
    Ok(())
}

fn imported_by_another_it_stays_in_system_pages(ctx: &Ctx) -> Result<()> {
    let (device, vgem) = (ctx.device()?, vgem()?);
    let data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    let mut all = ours(&device, &data)?;
    // It never goes to VRAM anyway.
    all.retain(|(name, _)| name != "pageable GTT");
    for (name, bo) in all {
        // An export alone moves nothing and holds nothing.
        let before = bo.domain()?;
        let shared = bo.export()?;
        same(format_args!("where {name} is once it is exported"), bo.domain()?, before)?;
        bo.move_to(Domain::Vram, 0)?;
        let import = vgem.import(&shared, bo.size())?;
        same(format_args!("where {name} is once it is imported"), bo.domain()?, Domain::Gtt)?;
        let busy = [Errno::BUSY, Errno::NOSPC];
        refused(format_args!("a move of {name} to VRAM"), bo.move_to(Domain::Vram, 1), &busy)?;
        drop(import);
        // Vgem lets go of it a little later.
        let moved = eventually(PATIENCE, || Ok(bo.move_to(Domain::Vram, 1).is_ok()))?;
        ensure!(moved, "{name} does not move after vgem has closed it");
        same_bytes(format_args!("{name} after all"), &content(&bo, data.len())?, &data)?;
    }
    Ok(())
}

fn pressure_leaves_what_another_uses(ctx: &Ctx) -> Result<()> {
    let (device, vgem) = (ctx.device()?, vgem()?);
    let data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    let make = |domain| -> Result<Bo> {
        let bo = Bo::pageable(&device, SIZE, domain)?;
        bo.map()?.write(0, &data);
        bo.move_to(domain, 0)?;
        Ok(bo)
    };
    let (held, free) = (make(Domain::Gtt)?, make(Domain::Gtt)?);
    let import = vgem.import(&held.export()?, SIZE)?;
    let theirs = import.map()?;
    let gone = eventually(PATIENCE, || {
        std::fs::write("/proc/sys/vm/drop_caches", "2")?;
        Ok(free.domain()? == Domain::System)
    })?;
    ensure!(gone, "pressure moves nothing");
    same("where the shared one is", held.domain()?, Domain::Gtt)?;
    same_bytes("what vgem sees", &bytes_of(&theirs), &data)?;
    same_bytes("the other one", &content(&free, data.len())?, &data)
}

fn buffer_that_comes_back_is_the_same(ctx: &Ctx) -> Result<()> {
    let (device, vgem) = (ctx.device()?, vgem()?);
    let own = filled(&device, Domain::Vram, &stamps(1, 4096))?;
    let away = vgem.import(&own.export()?, own.size())?;
    same("the handle of what came back", device.import_raw(&away.export()?)?, own.handle())?;
    let theirs = vgem.create(1)?;
    let (first, second) = (theirs.export()?, theirs.export()?);
    let import = Bo::import(&device, &first)?;
    same("the handle of a second import", device.import_raw(&second)?, import.handle())?;
    // Another client has a buffer of its own on the same pages.
    let other = ctx.device()?;
    let theirs_too = Bo::import(&other, &first)?;
    import.map()?.write(64, b"to all");
    same_bytes("another client's", &content(&theirs_too, 70)?[64..], b"to all")
}

/// A submission that copies between two buffers of which each is named.
fn copy(from: &Bo, to: &Bo) -> Ib {
    let mut ib = Ib::new();
    ib.copy(Place::Bo(from.handle(), 0), Place::Bo(to.handle(), 0), SIZE);
    ib
}

fn fences_of_the_other_are_waited_for(ctx: &Ctx) -> Result<()> {
    let (device, vgem) = (ctx.device()?, vgem()?);
    let theirs = vgem.create(PAGES)?;
    let import = Bo::import(&device, &theirs.export()?)?;
    let ours = Bo::new(&device, SIZE, Domain::Vram)?;
    for (what, write, ib, waits) in [
        ("a read while the other writes", true, copy(&import, &ours), true),
        ("a write while the other writes", true, copy(&ours, &import), true),
        ("a write while the other reads", false, copy(&ours, &import), true),
        ("a read while the other reads", false, copy(&import, &ours), false),
    ] {
        let done = Syncobj::new(&device)?;
        let fence = theirs.fence(write)?;
        let data = stamps(u64::from(write), usize::try_from(SIZE)?);
        device.submit(0, &ib, &[], &[&done])?;
        if waits {
            std::thread::sleep(GLANCE);
            same(format_args!("{what}: its state"), done.state()?, FenceState::Active)?;
            // What the other does until its fence is there for whoever waits for it.
            theirs.map()?.write(0, &data);
        } else {
            done.wait(PATIENCE)?;
        }
        vgem.signal(fence).context(what)?;
        done.wait(PATIENCE).context(what)?;
        same(format_args!("{what}: its end"), done.state()?, FenceState::Done)?;
        if what == "a read while the other writes" {
            same_bytes(what, &content(&ours, data.len())?, &data)?;
        }
    }
    Ok(())
}

fn fences_are_shown_to_the_other(ctx: &Ctx) -> Result<()> {
    let (device, vgem) = (ctx.device()?, vgem()?);
    let ours = filled(&device, Domain::Vram, &stamps(2, usize::try_from(SIZE)?))?;
    let theirs = vgem.import(&ours.export()?, ours.size())?;
    let gate = Bo::new(&device, 4096, Domain::Gtt)?;
    let word = gate.map()?;
    for (write, reads_too) in [(true, false), (false, true)] {
        word.store(0, 0);
        let mut ib = Ib::new();
        let open = Poll { func: poll_func::EQUAL, reference: 1, mask: 1, retry: POLL_FOREVER };
        ib.poll_memory(Place::Bo(gate.handle(), 0), open);
        let at = Place::Bo(ours.handle(), 0);
        let other = Bo::new(&device, 4096, Domain::Vram)?;
        if write {
            ib.write(at, &[1, 2, 3]);
        } else {
            ib.copy(at, Place::Bo(other.handle(), 0), 4096);
        }
        let done = Syncobj::new(&device)?;
        device.submit(0, &ib, &[], &[&done])?;
        let busy = [Errno::BUSY];
        let blocked = refused("another's write meanwhile", theirs.fence(true), &busy).and_then(|()| {
            if reads_too {
                Ok(vgem.signal(theirs.fence(false)?)?)
            } else {
                refused("another's read meanwhile", theirs.fence(false), &busy)
            }
        });
        word.store(0, 1);
        done.wait(PATIENCE)?;
        blocked?;
        same("its end", done.state()?, FenceState::Done)?;
        vgem.signal(theirs.fence(true).context("after the submission")?)?;
    }
    Ok(())
}

/// Bytes that the GART window and VRAM have given out.
fn in_use(device: &Device) -> Result<[u64; 2]> {
    Ok([device.param(uapi::PARAM_GTT_USED)?, device.param(uapi::PARAM_VRAM_USED)?])
}

fn each_side_keeps_the_pages_alive(ctx: &Ctx) -> Result<()> {
    let (device, vgem) = (ctx.device()?, vgem()?);
    let before = settled(|| in_use(&device))?;
    let data = stamps(ctx.rng().next(), usize::try_from(SIZE)?);
    for (name, bo) in ours(&device, &data)? {
        let import = vgem.import(&bo.export()?, bo.size())?;
        drop(bo);
        same_bytes(format_args!("{name} after it was closed here"), &bytes_of(&import.map()?), &data)?;
    }
    for foreign in Foreign::all()? {
        foreign.map()?.write(0, &data);
        let import = Bo::import(&device, &foreign.dma_buf)?;
        let who = foreign.who;
        drop(foreign);
        let to = Bo::new(&device, SIZE, Domain::Vram)?;
        complete(&device, 0, &copy(&import, &to))?;
        same_bytes(format_args!("{who} after it was closed there"), &content(&to, data.len())?, &data)?;
    }
    let back = eventually(PATIENCE, || Ok(in_use(&device)? == before))?;
    ensure!(back, "GTT and VRAM in use: expected {before:x?}, seen {:x?}", in_use(&device)?);
    Ok(())
}

fn random_use_of_shared_buffers_matches_the_model(ctx: &Ctx) -> Result<()> {
    let (device, vgem, mut rng) = (ctx.device()?, vgem()?, ctx.rng());
    let size = usize::try_from(SIZE)?;
    let foreign = Foreign::all()?;
    let mut bos = ours(&device, &vec![0; size])?;
    bos.retain(|(name, _)| !name.starts_with("pageable"));
    for foreign in &foreign {
        bos.push((foreign.who.to_owned(), Bo::import(&device, &foreign.dma_buf)?));
    }
    let mut model: Vec<Vec<u8>> = bos.iter().map(|(_, bo)| content(bo, size)).collect::<Result<_>>()?;
    let mut away: Vec<Option<VgemBo>> = bos.iter().map(|_| None).collect();
    for round in 0..60 {
        let (from, to) = (rng.index(bos.len()), rng.index(bos.len()));
        let range = random_range(&mut rng, size);
        match rng.below(4) {
            0 => {
                let piece = stamps(rng.next(), range.len());
                bos[to].1.map()?.write(range.start, &piece);
                model[to][range].copy_from_slice(&piece);
            }
            // Given away, or taken back: where it lies follows.
            1 => {
                let (_, bo) = &bos[to];
                away[to] = if away[to].is_some() { None } else { Some(vgem.import(&bo.export()?, bo.size())?) };
            }
            2 => {
                // Refused while another uses it.
                let _ = bos[to].1.move_to(rng.pick(&Domain::ALL), u32::try_from(rng.below(2))?);
            }
            _ if from != to => {
                let mut ib = Ib::new();
                let place = |n: usize| Place::Bo(bos[n].1.handle(), range.start as u64);
                ib.copy(place(from), place(to), range.len() as u64);
                complete(&device, u32::try_from(rng.below(2))?, &ib).with_context(|| format!("round {round}"))?;
                let piece = model[from][range.clone()].to_vec();
                model[to][range].copy_from_slice(&piece);
            }
            _ => {}
        }
        let looked = rng.index(bos.len());
        let (name, bo) = &bos[looked];
        let seen = match &away[looked] {
            Some(import) => bytes_of(&import.map()?),
            None => content(bo, size)?,
        };
        same_bytes(format_args!("round {round}: {name}"), &seen, &model[looked])?;
    }
    Ok(())
}

/// Whole dwords of a buffer.
fn random_range(rng: &mut Rng, size: usize) -> std::ops::Range<usize> {
    let (a, b) = (rng.index(size / 4), rng.index(size / 4));
    4 * a.min(b)..4 * (a.max(b) + 1)
}

fn what_is_no_dma_buf_is_refused(ctx: &Ctx) -> Result<()> {
    let device = ctx.device()?;
    let file = OwnedFd::from(File::open("/proc/self/exe")?);
    refused("a file", Bo::import(&device, &file), &[Errno::INVAL])?;
    let bo = Bo::new(&device, 4096, Domain::System)?;
    let (shared, _memfd) = foreign::of_memfd(4096)?;
    let import = Bo::import(&device, &shared)?;
    let wrong = device.bind(VA, &import, 0, 8192, RW);
    refused("a mapping longer than the buffer", wrong, &[Errno::INVAL])?;
    drop((bo, import));
    Ok(())
}

fn module_stays_while_a_buffer_is_shared(ctx: &Ctx) -> Result<()> {
    let vgem = vgem()?;
    let data = stamps(8, 8192);
    let unloading = Unloading::new();
    let shared = filled(&ctx.device()?, Domain::Vram, &data)?.export()?;
    // No file of ours is open any more.
    unloading.is_refused("while a dma-buf is open")?;
    let import = vgem.import(&shared, data.len() as u64)?;
    drop(shared);
    unloading.is_refused("while another driver uses a buffer")?;
    let theirs = import.map()?;
    same_bytes("what that driver sees", &bytes_of(&theirs), &data)?;
    drop(import);
    unloading.is_refused("while memory is mapped through another driver")?;
    drop(theirs);
    unloading.succeeds()?;
    super::reload::use_it(9)
}

fn unplugged_device_leaves_shared_pages(ctx: &Ctx) -> Result<()> {
    let (device, vgem) = (ctx.device()?, vgem()?);
    let data = stamps(11, usize::try_from(SIZE)?);
    let ours = ours(&device, &data)?;
    let mut away = Vec::new();
    for (_, bo) in &ours {
        away.push(vgem.import(&bo.export()?, bo.size())?);
    }
    let late = filled(&device, Domain::Gtt, &data)?.export()?;
    let foreign = Foreign::all()?;
    let imports =
        foreign.iter().map(|foreign| Ok(Bo::import(&device, &foreign.dma_buf)?)).collect::<Result<Vec<_>>>()?;
    for import in &imports {
        import.move_to(Domain::Gtt, 0)?;
    }
    while_unbound(|| {
        refused("another's import of a buffer without a device", vgem.import(&late, SIZE), &[Errno::NODEV])?;
        drop((ours, away, imports, device));
        Ok(())
    })?;
    for foreign in foreign {
        foreign.map()?.write(0, &data);
        let device = ctx.device()?;
        let (import, to) = (Bo::import(&device, &foreign.dma_buf)?, Bo::new(&device, SIZE, Domain::Vram)?);
        complete(&device, 1, &copy(&import, &to))?;
        same_bytes(foreign.who, &content(&to, data.len())?, &data)?;
    }
    Ok(())
}
