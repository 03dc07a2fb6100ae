// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `vidmm`: VMID 0 translates by three levels, of which the first is in registers. The tables that the driver made
//! are walked here independently, and tables of the tests' own are put beside them.

use anyhow::{ensure, Context, Result};
use uvm_spec::hub::{mm, MM_HUB};
use uvm_spec::vidmm::{ENTRIES, ENTRY_SHIFT, MMIO_MMU_CNTL, MMIO_MMU_START_ADDRESS, VIDMM};
use uvm_spec::window::cap;
use uvm_spec::{pte, uapi, PAGE_SIZE};

use super::bo::{largest_window, paint, read_all, MARK};
use super::borrowed::Borrowed;
use super::case::{complete, content, eventually, filled, same, same_bytes, stamps, Case, Ctx, Run, PATIENCE};
use super::kmsg::ExpectErrors;
use super::purpose::OnPurpose;
use crate::drm::{Bo, Device, Domain};
use crate::ib::{FillSize, Ib, Place};
use crate::model::u64_at;

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "first_level_maps_the_window_and_no_more", run: Run::Once(first_level_maps_the_window_and_no_more) },
    Case { name: "first_level_registers_read_back", run: Run::Once(first_level_registers_read_back) },
    Case { name: "driver_tables_name_the_pages", run: Run::Once(driver_tables_name_the_pages) },
    Case { name: "bindings_cross_every_border", run: Run::PerRing(bindings_cross_every_border) },
    Case { name: "entries_are_stale_until_invalidated", run: Run::PerRing(entries_are_stale_until_invalidated) },
    Case { name: "window_ends_behind_its_last_page", run: Run::Once(window_ends_behind_its_last_page) },
    Case { name: "largest_window_is_mapped_to_its_end", run: Run::Once(largest_window_is_mapped_to_its_end) },
];

const GIB: u64 = 1 << ENTRY_SHIFT;
const TABLE: u64 = 2 << 20;
/// A page of VRAM, as an entry of the third level has it.
const VRAM_PAGE: u64 = pte::VALID | pte::READABLE | pte::WRITEABLE;
/// First-level entries that no window of the driver needs.
const OWN: u32 = 5;
/// An invalidation engine that the driver leaves alone.
const ENGINE: u32 = 3;

fn device(ctx: &Ctx) -> Result<Device> {
    ctx.device_with(cap::VIDMM, "of the profile vidmm")
}

fn first_level(n: u32, half: u32) -> u32 {
    VIDMM.index(&MMIO_MMU_START_ADDRESS, 2 * n + half)
}

#[allow(clippy::cast_possible_truncation)]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// A first-level entry as the registers tell it.
fn first(device: &Device, n: u32) -> Result<u64> {
    Ok(u64::from(device.reg(first_level(n, 0))?) | u64::from(device.reg(first_level(n, 1))?) << 32)
}

/// The 64-bit word at an offset of VRAM, as an engine reads it there.
fn load(device: &Device, offset: u64) -> Result<u64> {
    let bo = Bo::new(device, PAGE_SIZE, Domain::Vram)?;
    let mut ib = Ib::new();
    ib.copy(Place::Raw(device.param(uapi::PARAM_FB_START)? + offset), Place::Bo(bo.handle(), 0), 8);
    complete(device, 0, &ib)?;
    Ok(u64_at(&content(&bo, 8)?, 0))
}

/// The entry that the second level has for `va`.
pub fn directory_entry(device: &Device, va: u64) -> Result<u64> {
    let root = first(device, u32::try_from(va / GIB)?)?;
    ensure!(root & pte::VALID != 0, "no first-level entry for {va:#x}");
    same(format_args!("SYSTEM of the first-level entry for {va:#x}"), root & pte::SYSTEM, 0)?;
    load(device, (root & pte::PDE_ADDR) + va % GIB / TABLE * pte::ENTRY_BYTES)
}

/// The entry that maps `va`.
fn entry(device: &Device, va: u64) -> Result<u64> {
    let table = directory_entry(device, va)?;
    ensure!(table & (pte::VALID | pte::SYSTEM) == pte::VALID, "second-level entry for {va:#x}: {table:#x}");
    load(device, (table & pte::PDE_ADDR) + va % TABLE / PAGE_SIZE * pte::ENTRY_BYTES)
}

/// The window: first address, and the first behind it.
fn window(device: &Device) -> Result<(u64, u64)> {
    let start = device.param(uapi::PARAM_GART_START)?;
    Ok((start, start + device.param(uapi::PARAM_GTT_SIZE)?))
}

fn first_level_maps_the_window_and_no_more(ctx: &Ctx) -> Result<()> {
    let device = device(ctx)?;
    same("MMIO_MMU_CNTL", device.reg(VIDMM.index(&MMIO_MMU_CNTL, 0))?, MMIO_MMU_CNTL::ENABLE.mask())?;
    let (start, end) = window(&device)?;
    let vram = device.param(uapi::PARAM_VRAM_SIZE)?;
    for n in 0..ENTRIES {
        let at = u64::from(n) * GIB;
        let root = first(&device, n)?;
        if at < end && at + GIB > start {
            same(format_args!("VALID of first-level entry {n}"), root & pte::VALID, pte::VALID)?;
            ensure!((root & pte::PDE_ADDR) < vram, "first-level entry {n} points out of VRAM: {root:#x}");
        } else {
            same(format_args!("first-level entry {n}, which maps nothing of the window"), root, 0)?;
        }
    }
    Ok(())
}

fn first_level_registers_read_back(ctx: &Ctx) -> Result<()> {
    let device = device(ctx)?;
    let mut rng = ctx.rng();
    // Not one of the window's: a change of those is no test that others survive.
    let free = u32::try_from(window(&device)?.0 / GIB)?;
    let numbers: Vec<u32> = (0..24).map(|n| n * (free - 1) / 23).collect();
    let index = |n: u32| [first_level(n, 0), first_level(n, 1)];
    let all: Vec<u32> = numbers.iter().copied().flat_map(index).collect();
    let _old = all.iter().map(|&index| Borrowed::new(&device, index)).collect::<Result<Vec<_>>>()?;
    let values: Vec<u32> = all.iter().map(|_| rng.next32()).collect();
    for (&index, &value) in all.iter().zip(&values) {
        device.set_reg(index, value)?;
    }
    for (&index, &value) in all.iter().zip(&values) {
        same(format_args!("register {index:#x}"), device.reg(index)?, value)?;
    }
    Ok(())
}

fn driver_tables_name_the_pages(ctx: &Ctx) -> Result<()> {
    let device = device(ctx)?;
    let (start, end) = window(&device)?;
    // Longer than a table maps, so that it lies over a border of the second level.
    let bo = Bo::new(&device, 3 * TABLE / 2, Domain::Gtt)?;
    let at = bo.info()?.gpu_addr;
    let border = at.next_multiple_of(TABLE);
    ensure!(border > at && border + PAGE_SIZE < at + bo.size(), "an object at {at:#x} crosses no border");
    let wanted = pte::VALID | pte::SYSTEM | pte::READABLE | pte::WRITEABLE;
    let mut pages = Vec::new();
    for va in [at, border - PAGE_SIZE, border, at + bo.size() - PAGE_SIZE] {
        let entry = entry(&device, va)?;
        same(format_args!("flags of the entry {entry:#x} for {va:#x}"), entry & wanted, wanted)?;
        pages.push(entry & pte::PTE_ADDR);
    }
    let dummy = entry(&device, end - PAGE_SIZE)?;
    pages.push(dummy & pte::PTE_ADDR);
    let count = pages.len();
    pages.sort_unstable();
    pages.dedup();
    same("different pages in as many places", pages.len(), count)?;
    drop(bo);
    // What was given back points where nothing ever was.
    let back = eventually(PATIENCE, || Ok(entry(&device, border)? == dummy && entry(&device, at)? == dummy))?;
    ensure!(back, "entries of a freed range are no dummy entries: {:#x}", entry(&device, border)?);
    ensure!(start % GIB == 0, "the window starts at {start:#x}, in the middle of a first-level entry");
    Ok(())
}

/// Drops what the hub has cached of VMID 0, as part of `ib`.
fn invalidate(ib: &mut Ib) {
    use mm::VM_INVALIDATE_ENG_REQ as Q;
    let range = |half: u32| MM_HUB.index(&mm::VM_INVALIDATE_ENG_ADDR_RANGE, 2 * ENGINE + half);
    ib.register(range(0), u32::MAX, 0xf).register(range(1), 0x1f, 0xf);
    let what = Q::PER_VMID_INVALIDATE_REQ.of(1)
        | Q::INVALIDATE_L1_PTES.of(1)
        | Q::INVALIDATE_L2_PTES.of(1)
        | Q::INVALIDATE_L2_PDE0.of(1)
        | Q::INVALIDATE_L2_PDE1.of(1)
        | Q::INVALIDATE_L2_PDE2.of(1);
    ib.register(MM_HUB.index(&mm::VM_INVALIDATE_ENG_REQ, ENGINE), what, 0xf);
}

/// Tables of a test's own, page by page in a buffer object, in the first-level entries from [`OWN`] on.
struct Tables<'a> {
    device: &'a Device,
    ring: u32,
    bo: Bo,
    offset: u64,
    _old: Vec<Borrowed<'a>>,
}

impl<'a> Tables<'a> {
    /// `pages` empty tables, of which the first `roots` are the second level of as many first-level entries.
    fn new(device: &'a Device, ring: u32, roots: u32, pages: u64) -> Result<Self> {
        let bo = Bo::new(device, pages * PAGE_SIZE, Domain::Vram)?;
        let offset = bo.info()?.gpu_addr - device.param(uapi::PARAM_FB_START)?;
        let mut old = Vec::new();
        for n in 0..roots {
            let root = (offset + u64::from(n) * PAGE_SIZE) | pte::VALID;
            for (half, value) in (0..).zip(halves(root)) {
                old.push(Borrowed::set(device, first_level(OWN + n, half), value)?);
            }
        }
        Ok(Self { device, ring, bo, offset, _old: old })
    }

    /// The entry that points at table `page`.
    fn table(&self, page: u64) -> u64 {
        (self.offset + page * PAGE_SIZE) | pte::VALID
    }

    /// Sets entry `slot` of table `page`.
    fn set(&self, page: u64, slot: u64, entry: u64) -> Result<()> {
        self.bo.map()?.store(usize::try_from(page * PAGE_SIZE + slot * pte::ENTRY_BYTES)?, entry);
        Ok(())
    }

    /// An object in VRAM as entries.
    fn entries(&self, bo: &Bo) -> Result<Vec<u64>> {
        let offset = bo.info()?.gpu_addr - self.device.param(uapi::PARAM_FB_START)?;
        Ok((0..bo.size() / PAGE_SIZE).map(|n| (offset + n * PAGE_SIZE) | VRAM_PAGE).collect())
    }
}

impl Drop for Tables<'_> {
    fn drop(&mut self) {
        // The registers follow. Nobody uses the addresses any more: what was cached of them is all there is to drop.
        let mut ib = Ib::new();
        invalidate(&mut ib);
        if let Err(error) = complete(self.device, self.ring, &ib) {
            eprintln!("# {error:#}");
        }
    }
}

/// Pages of VRAM and of system memory, in no order, over a border of each level; read and written in one go.
fn bindings_cross_every_border(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = device(ctx)?;
    let data = stamps(ctx.rng().next(), 8 * 4096);
    let page = |n: usize| data.get(n * 4096..(n + 1) * 4096).unwrap_or_default();
    let vram = filled(&device, Domain::Vram, &data)?;
    let system = filled(&device, Domain::Gtt, &data)?;
    let tables = Tables::new(&device, ring, 2, 5)?;
    let in_vram = tables.entries(&vram)?;
    let at = system.info()?.gpu_addr;
    let in_system = (0..8).map(|n| entry(&device, at + n * PAGE_SIZE)).collect::<Result<Vec<_>>>()?;
    // Second level: entry 510 and 511 of the first, 0 of the second.
    tables.set(0, 510, tables.table(2))?;
    tables.set(0, 511, tables.table(3))?;
    tables.set(1, 0, tables.table(4))?;
    let pick = |system: bool, n: usize| {
        let entries = if system { &in_system } else { &in_vram };
        entries.get(n).copied().context("no such page")
    };
    // Two pages on each side of each border.
    let plan = [
        (2, 510, true, 6),
        (2, 511, false, 1),
        (3, 0, false, 7),
        (3, 1, true, 0),
        (3, 510, false, 4),
        (3, 511, true, 3),
        (4, 0, true, 5),
        (4, 1, false, 2),
    ];
    for (table, slot, system, n) in plan {
        tables.set(table, slot, pick(system, n)?)?;
    }
    let border = u64::from(OWN + 1) * GIB;
    let out = Bo::new(&device, data.len() as u64, Domain::Gtt)?;
    let faults = device.param(uapi::PARAM_FAULTS)?;
    let mut ib = Ib::new();
    for (n, from) in (0..).zip([border - TABLE, border]) {
        // Off by 8, so that no piece of the copy is a page of both sides.
        let (from, to) = (from - 2 * PAGE_SIZE + 8, 4 * n * PAGE_SIZE + 8);
        ib.copy(Place::Raw(from), Place::Bo(out.handle(), to), 4 * PAGE_SIZE - 8);
    }
    complete(&device, ring, &ib)?;
    let expected: Vec<u8> = plan.iter().flat_map(|&(.., n)| page(n)).copied().collect();
    let mut seen = content(&out, data.len())?;
    for half in [0, 4 * 4096] {
        seen[half..half + 8].copy_from_slice(&expected[half..half + 8]);
    }
    same_bytes("what was read over the borders", &seen, &expected)?;
    let mut ib = Ib::new();
    ib.fill(Place::Raw(border - 2 * PAGE_SIZE), 0x5a5a_5a5a, FillSize::Dword, 4 * PAGE_SIZE);
    complete(&device, ring, &ib)?;
    let (vram, system) = (content(&vram, data.len())?, content(&system, data.len())?);
    for (place, (.., in_system, n)) in plan.into_iter().enumerate() {
        let seen = if in_system { &system } else { &vram }.get(n * 4096..(n + 1) * 4096).unwrap_or_default();
        // The last four of the plan are those around the border of the first level.
        let expected = if place < 4 { page(n).to_vec() } else { vec![0x5a; 4096] };
        same_bytes(format_args!("page {n} after a write over the border"), seen, &expected)?;
    }
    same("page faults", device.param(uapi::PARAM_FAULTS)?, faults)
}

/// In one submission each, so that nobody else invalidates meanwhile.
fn entries_are_stale_until_invalidated(ctx: &Ctx, ring: u32) -> Result<()> {
    let device = device(ctx)?;
    let words = [0x1111_2222_3333_4444_u64, 0x5555_6666_7777_8888];
    let data: Vec<u8> = words.iter().flat_map(|word| [&word.to_le_bytes()[..], &[0; 4088]].concat()).collect();
    let pages = filled(&device, Domain::Vram, &data)?;
    // Tables 0 and 2 lead to the first page, 1 and 3 to the second.
    let tables = Tables::new(&device, ring, 1, 4)?;
    let [a, b] = tables.entries(&pages)?[..] else { anyhow::bail!("the object has not two pages") };
    tables.set(0, 7, tables.table(2))?;
    tables.set(1, 7, tables.table(3))?;
    tables.set(2, 9, a)?;
    tables.set(3, 9, b)?;
    let va = u64::from(OWN) * GIB + 7 * TABLE + 9 * PAGE_SIZE;
    let out = Bo::new(&device, PAGE_SIZE, Domain::Vram)?;
    let run = |what: &str, change: &dyn Fn(&mut Ib), expected: [u64; 3]| -> Result<()> {
        let mut ib = Ib::new();
        invalidate(&mut ib);
        let look = |ib: &mut Ib, n: u64| {
            ib.copy(Place::Raw(va), Place::Bo(out.handle(), 8 * n), 8);
        };
        look(&mut ib, 0);
        change(&mut ib);
        look(&mut ib, 1);
        invalidate(&mut ib);
        look(&mut ib, 2);
        complete(&device, ring, &ib)?;
        let map = out.map()?;
        let seen = [0, 8, 16].map(|at| map.load(at));
        same(format_args!("before {what}, after it, and after an invalidation"), seen, expected)
    };
    let third = Place::Bo(tables.bo.handle(), 2 * PAGE_SIZE + 9 * pte::ENTRY_BYTES);
    let [x, y] = words;
    run(
        "a change of the entry",
        &|ib| {
            ib.write(third, &halves(b));
        },
        [x, x, y],
    )?;
    run(
        "its way back",
        &|ib| {
            ib.write(third, &halves(a));
        },
        [y, y, x],
    )?;
    let second = Place::Bo(tables.bo.handle(), 7 * pte::ENTRY_BYTES);
    run(
        "a change of the directory",
        &|ib| {
            ib.write(second, &halves(tables.table(3)));
        },
        [x, x, y],
    )?;
    run(
        "its way back",
        &|ib| {
            ib.write(second, &halves(tables.table(2)));
        },
        [y, y, x],
    )?;
    run(
        "a change of the register",
        &|ib| {
            ib.register(first_level(OWN, 0), halves(tables.table(1))[0], 0xf);
        },
        [x, x, y],
    )
}

fn window_ends_behind_its_last_page(ctx: &Ctx) -> Result<()> {
    let _wrong = OnPurpose::begin();
    let device = device(ctx)?;
    let (_, end) = window(&device)?;
    let data = stamps(12, 1 << 16);
    let bystander = filled(&device, Domain::Gtt, &data)?;
    let faults = device.param(uapi::PARAM_FAULTS)?;
    paint(&device, end - PAGE_SIZE, MARK)?;
    let last = read_all(&device, &[end - 4]);
    same("page faults inside the window", device.param(uapi::PARAM_FAULTS)?, faults)?;
    same("last dword of the window", last?, vec![MARK])?;
    let _expected = ExpectErrors::begin(ctx);
    let mut ib = Ib::new();
    ib.fill(Place::Raw(end), !MARK, FillSize::Dword, PAGE_SIZE);
    device.run(0, &ib, PATIENCE)?;
    let counted = eventually(PATIENCE, || Ok(device.param(uapi::PARAM_FAULTS)? > faults))?;
    ensure!(counted, "no page fault behind the window");
    // The same page stands in there, but is not a part of the window.
    same("last dword of the window", read_all(&device, &[end - 4])?, vec![!MARK])?;
    if end % GIB != 0 {
        same("second-level entry behind the window", directory_entry(&device, end)?, 0)?;
    }
    paint(&device, end - PAGE_SIZE, 0)?;
    same_bytes("an object in the window", &content(&bystander, data.len())?, &data)
}

fn largest_window_is_mapped_to_its_end(ctx: &Ctx) -> Result<()> {
    drop(device(ctx)?);
    let _wrong = OnPurpose::begin();
    largest_window(ctx, first_level_maps_the_window_and_no_more)
}
