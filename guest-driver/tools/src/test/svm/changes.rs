// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The process changes its memory, and the device follows: it reaches what the CPU reaches, and no more.

use std::thread;
use std::time::Instant;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use rustix::mm::Advice;

use super::atomics::add;
use super::{bytes, copy, mirror, run, PAGE};
use crate::drm::{forked, FenceState, Mapping, May, Mirror, Words, HUGE};
use crate::ib::{Ib, Place};
use crate::test::case::{eventually, same, same_bytes, stamps, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;

/// The driver gives a submission up that waits for so long; a failure that is told has not waited for that.
const PROMPT: std::time::Duration = std::time::Duration::from_millis(2500);

/// Packets that write one dword.
fn store(va: u64, value: u32) -> Ib {
    let mut ib = Ib::new();
    ib.fence(Place::Raw(va), value);
    ib
}

/// Runs packets that must fail because of one page, at once, and the process is told of the page.
pub fn fails(ctx: &Ctx, mirror: &Mirror, ib: &Ib, va: u64, write: bool) -> Result<()> {
    let _expected = ExpectErrors::begin(ctx);
    for ring in 0..2 {
        let start = Instant::now();
        same("the submission", mirror.run(ring, ib, PATIENCE)?, FenceState::Failed(Errno::FAULT))?;
        let took = start.elapsed();
        let fault = mirror.device().fault()?.context("no fault is told")?;
        same("the fault told", (fault.va, fault.write), (va & !(PAGE as u64 - 1), write.into()))?;
        ensure!(took < PROMPT, "it took {took:?}");
    }
    Ok(())
}

pub fn unmapped_memory_is_out_of_reach(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let (map, to) = (Mapping::private(4 * PAGE)?, Mapping::private(4 * PAGE)?);
    let at = map.va() + PAGE as u64;
    for round in 0..3 {
        run(&mirror, 0, &store(at + 8, 5 + round))?;
        same("what was written", map.load(PAGE + 8), u64::from(5 + round))?;
        map.unmap(PAGE, PAGE)?;
        fails(ctx, &mirror, &store(at + 16, 6), at, true)?;
        fails(ctx, &mirror, &copy(at, to.va(), 64), at, false)?;
        // Its neighbours are not.
        run(&mirror, 1, &store(at - 8, 7))?;
        run(&mirror, 1, &store(at + PAGE as u64, 8))?;
        map.map_again(PAGE, PAGE)?;
        to.store(0, 1);
        run(&mirror, 0, &copy(at + 8, to.va(), 8))?;
        same("what is there then", to.load(0), 0)?;
    }
    Ok(())
}

pub fn nothing_is_written_that_the_process_may_only_read(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let (map, to) = (Mapping::private(2 * PAGE)?, Mapping::private(PAGE)?);
    let data = stamps(9, PAGE);
    map.write(PAGE, &data);
    let at = map.va() + PAGE as u64;
    for ring in 0..2 {
        run(&mirror, ring, &store(at, 1))?;
        map.protect(PAGE, PAGE, May::Read)?;
        let was = bytes(&map, PAGE, PAGE);
        fails(ctx, &mirror, &store(at, 2), at, true)?;
        run(&mirror, ring, &copy(at, to.va(), PAGE))?;
        same_bytes("what is read", &bytes(&to, 0, PAGE), &was)?;
        // With the entry in a cache.
        fails(ctx, &mirror, copy(at, to.va(), PAGE).fence(Place::Raw(at), 2), at, true)?;
        map.protect(PAGE, PAGE, May::Nothing)?;
        fails(ctx, &mirror, &copy(at, to.va(), PAGE), at, false)?;
        map.protect(PAGE, PAGE, May::ReadWrite)?;
        same_bytes("what is left", &bytes(&map, PAGE, PAGE), &was)?;
        run(&mirror, ring, &store(at, 3))?;
        same("what was written then", map.load(PAGE) & 0xffff_ffff, 3)?;
    }
    Ok(())
}

pub fn memory_is_followed_to_another_address(ctx: &Ctx) -> Result<()> {
    const PAGES: usize = 8;
    let mirror = mirror(ctx)?;
    let (a, b, to) = (Mapping::private(PAGES * PAGE)?, Mapping::private(PAGES * PAGE)?, Mapping::private(PAGE)?);
    let data = stamps(11, PAGES * PAGE);
    for n in 0..PAGES {
        a.write(n * PAGE, &data[n * PAGE..(n + 1) * PAGE]);
        run(&mirror, 0, &store(a.va() + (n * PAGE) as u64, 0))?;
        run(&mirror, 1, &store(b.va() + (n * PAGE) as u64, 1))?;
    }
    for n in 0..PAGES {
        let (from, at) = (a.va() + (n * PAGE) as u64, b.va() + (n * PAGE) as u64);
        a.move_to(n * PAGE, PAGE, &b, n * PAGE)?;
        run(&mirror, u32::from(n % 2 == 1), &copy(at, to.va(), PAGE))?;
        same_bytes("what has moved", &bytes(&to, 4, PAGE - 4), &data[n * PAGE + 4..(n + 1) * PAGE])?;
        run(&mirror, 0, &store(at + 8, 77))?;
        same("what was written there", b.load(n * PAGE + 8) & 0xffff_ffff, 77)?;
        if n == 3 {
            fails(ctx, &mirror, &store(from, 1), from, true)?;
        }
    }
    // Nothing may be mapped where this ends to be a mapping.
    a.map_again(0, PAGES * PAGE)?;
    Ok(())
}

pub fn thrown_away_memory_reads_as_zeros(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let (map, to) = (Mapping::private(PAGE)?, Mapping::private(PAGE)?);
    for round in 1..10 {
        run(&mirror, round % 2, &store(map.va(), round))?;
        same("what was written", map.load(0), round.into())?;
        map.advise(0, PAGE, Advice::LinuxDontNeed)?;
        to.store(0, 99);
        run(&mirror, round % 2, &copy(map.va(), to.va(), 8))?;
        same("what is there then", to.load(0), 0)?;
    }
    Ok(())
}

/// Steps of the play between parent and child, in memory that they share.
const FORKED: usize = 0;
const GO: usize = 8;
const SAW: usize = 16;

fn reaches(shared: &Words, place: usize, value: u64) -> Result<()> {
    ensure!(eventually(PATIENCE, || Ok(shared.load(place) == value))?, "step {value} is not reached");
    Ok(())
}

pub fn forked_child_has_memory_of_its_own(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let (private, shared) = (Words::of(Mapping::private(PAGE)?), Words::of(Mapping::shared(PAGE)?));
    let to = Mapping::private(PAGE)?;
    for round in 0..4_u32 {
        run(&mirror, 0, &store(private.va(), 10 + round))?;
        [FORKED, GO, SAW].iter().for_each(|step| shared.store(*step, 0));
        let theirs = (private.clone(), shared.clone());
        let child = thread::spawn(move || {
            forked(move || {
                let (private, shared) = (&theirs.0, &theirs.1);
                shared.store(FORKED, 1);
                while shared.load(GO) != 1 {
                    std::hint::spin_loop();
                }
                shared.store(SAW, private.load(0));
                private.store(0, 1000);
                shared.store(FORKED, 2);
                while shared.load(GO) != 2 {
                    std::hint::spin_loop();
                }
            });
        });
        reaches(&shared, FORKED, 1)?;
        // Both have the page now; who writes first gets another one.
        run(&mirror, 1, &store(private.va(), 20 + round))?;
        // What is shared, the device shares with the child.
        run(&mirror, 0, &store(shared.va() + GO as u64, 1))?;
        reaches(&shared, FORKED, 2)?;
        same("what the child saw", shared.load(SAW), u64::from(10 + round))?;
        run(&mirror, 1, &copy(private.va(), to.va(), 8))?;
        same("what the device sees after the child wrote", to.load(0), u64::from(20 + round))?;
        same("what the parent sees", private.load(0), u64::from(20 + round))?;
        shared.store(GO, 2);
        ensure!(child.join().is_ok(), "the child's thread panicked");
    }
    Ok(())
}

pub fn huge_pages_come_apart(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let (map, to) = (Mapping::transparent(2 * HUGE)?, Mapping::private(2 * HUGE)?);
    let data = stamps(21, 2 * HUGE);
    map.write(0, &data);
    let (middle, length) = (HUGE - 16 * PAGE, 32 * PAGE);
    run(&mirror, 0, &copy(map.va() + middle as u64, to.va(), length))?;
    same_bytes("huge pages", &bytes(&to, 0, length), &data[middle..middle + length])?;
    // One page of each is read-only, one is gone.
    map.protect(HUGE - PAGE, 2 * PAGE, May::Read)?;
    map.advise(HUGE + 3 * PAGE, PAGE, Advice::LinuxDontNeed)?;
    run(&mirror, 1, &copy(map.va() + middle as u64, to.va(), length))?;
    let mut expected = data[middle..middle + length].to_vec();
    expected[19 * PAGE..20 * PAGE].fill(0);
    same_bytes("small pages", &bytes(&to, 0, length), &expected)?;
    let at = map.va() + (HUGE - PAGE) as u64;
    fails(ctx, &mirror, &store(at, 1), at, true)?;
    run(&mirror, 0, &store(at - 8, 0x55))?;
    same("what was written beside", map.load(HUGE - PAGE - 8) & 0xffff_ffff, 0x55)
}

pub fn files_are_written_where_they_are_shared(ctx: &Ctx) -> Result<()> {
    use std::io::Read;
    use std::os::fd::AsFd;
    let mirror = mirror(ctx)?;
    let path = "/tmp/uvm-svm-file";
    let file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    std::fs::remove_file(path)?;
    file.set_len(4 * PAGE as u64)?;
    let (shared, private) =
        (Mapping::file(file.as_fd(), 4 * PAGE, false)?, Mapping::file(file.as_fd(), 4 * PAGE, true)?);
    let to = Mapping::private(PAGE)?;
    run(&mirror, 0, &store(shared.va() + 8, 0x11))?;
    run(&mirror, 1, &copy(private.va(), to.va(), 64))?;
    same("the private mapping of the page", to.load(8), 0x11)?;
    run(&mirror, 1, &store(private.va() + 16, 0x22))?;
    run(&mirror, 0, &store(shared.va() + 24, 0x33))?;
    let mut content = [0; 64];
    (&file).read_exact(&mut content)?;
    let word = |n: usize| u64::from(content[8 * n]);
    same("the file", (word(1), word(2), word(3)), (0x11, 0, 0x33))?;
    same("the private mapping", (private.load(8), private.load(16), private.load(24)), (0x11, 0x22, 0))?;
    // What is cut off is gone for both.
    let at = shared.va() + 2 * PAGE as u64;
    run(&mirror, 0, &store(at, 1))?;
    file.set_len(PAGE as u64)?;
    fails(ctx, &mirror, &store(at, 2), at, true)?;
    file.set_len(4 * PAGE as u64)?;
    run(&mirror, 0, &copy(at, to.va(), 8))?;
    same("what is there then", to.load(0), 0)
}

pub fn huge_pages_of_a_pool_are_used(ctx: &Ctx) -> Result<()> {
    const POOL: &str = "/proc/sys/vm/nr_hugepages";
    let before = std::fs::read_to_string(POOL)?;
    std::fs::write(POOL, "2")?;
    let result = pooled(ctx);
    std::fs::write(POOL, before.trim())?;
    result
}

fn pooled(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let (map, to) = (Mapping::huge()?, Mapping::private(3 * PAGE)?);
    let data = stamps(51, HUGE);
    map.write(0, &data);
    for at in [0, 77 * PAGE, HUGE - 3 * PAGE] {
        run(&mirror, 0, &copy(map.va() + at as u64, to.va(), 3 * PAGE))?;
        same_bytes("what was read", &bytes(&to, 0, 3 * PAGE), &data[at..at + 3 * PAGE])?;
        run(&mirror, 1, &store(map.va() + at as u64, 0xabc))?;
        same("what was written", map.load(at) & 0xffff_ffff, 0xabc)?;
        // No process can be kept from such a page while the device has it: an atomic fails, and nothing else does.
        let count = map.load(at + 8);
        fails(ctx, &mirror, &add(map.va() + at as u64 + 8, 1), map.va() + at as u64, true)?;
        same("what was counted", map.load(at + 8), count)?;
        run(&mirror, 1, &store(map.va() + at as u64 + 8, 5))?;
        same("what was written afterwards", map.load(at + 8) & 0xffff_ffff, 5)?;
    }
    Ok(())
}
