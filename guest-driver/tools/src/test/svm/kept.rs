// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The kernel takes pages away and makes others of them, on its own account: the content stays, and what the device wrote
//! is part of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use rustix::io::Errno;
use rustix::mm::Advice;
use uvm_spec::uapi;

use super::{bytes, copy, mirror, run, PAGE};
use crate::drm::{Device, FenceState, Mapping, May, Mirror, Queue, HUGE};
use crate::ib::{FillSize, Ib, Place};
use crate::test::case::{refused, same, same_bytes, stamps, Ctx, PATIENCE};
use crate::test::kmsg::ExpectErrors;
use crate::test::reload::while_unbound;
use crate::test::swap::{vmstat, Swap};

/// How long the CPU changes a file beside the device.
const LASTS: Duration = Duration::from_millis(1500);

/// Has the device use memory where it is: in system memory.
fn stays(mirror: &Mirror, map: &Mapping) -> Result<()> {
    mirror.device().advise(map.va(), map.len() as u64, uapi::SVM_PREFERRED, uapi::SVM_IN_SYSTEM)?;
    Ok(())
}

/// The device copies all of it and has it compared.
fn device_sees(mirror: &Mirror, map: &Mapping, data: &[u8]) -> Result<()> {
    let to = Mapping::private(map.len())?;
    stays(mirror, &to)?;
    run(mirror, 0, &copy(map.va(), to.va(), map.len()))?;
    same_bytes("what the device reads", &bytes(&to, 0, to.len()), data)
}

/// Small pages that the device uses become huge ones and small ones again.
pub fn huge_pages_are_made_and_split_under_the_device(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let map = Mapping::transparent(2 * HUGE)?;
    stays(&mirror, &map)?;
    let made = vmstat("thp_collapse_alloc")?;
    let mut data = stamps(71, map.len());
    for round in 0..3_u8 {
        // New small pages.
        map.advise(0, map.len(), Advice::LinuxNoHugepage)?;
        map.advise(0, map.len(), Advice::LinuxDontNeed)?;
        map.write(0, &data);
        device_sees(&mirror, &map, &data)?;
        // A page that the device alone has written.
        let at = HUGE + usize::from(round) * 7 * PAGE;
        let mut ib = Ib::new();
        ib.fill(Place::Raw(map.va() + at as u64), u32::from_le_bytes([round; 4]), FillSize::Dword, PAGE as u64);
        run(&mirror, 1, &ib)?;
        data[at..][..PAGE].fill(round);
        map.advise(0, map.len(), Advice::LinuxHugepage)?;
        map.collapse(0, map.len())?;
        device_sees(&mirror, &map, &data)?;
        // Into pieces: by what is mapped, and by what is thrown away.
        map.protect(5 * PAGE, PAGE, May::Read)?;
        map.advise(HUGE + 500 * PAGE, PAGE, Advice::LinuxDontNeed)?;
        data[HUGE + 500 * PAGE..][..PAGE].fill(0);
        run(&mirror, 0, Ib::new().fence(Place::Raw(map.va() + 8), round.into()))?;
        data[8..12].copy_from_slice(&u32::from(round).to_le_bytes());
        device_sees(&mirror, &map, &data)?;
        map.protect(5 * PAGE, PAGE, May::ReadWrite)?;
        same_bytes("what the CPU reads", &bytes(&map, 0, map.len()), &data)?;
    }
    let made = vmstat("thp_collapse_alloc")? - made;
    ensure!(made >= 6, "{made} huge pages were made");
    Ok(())
}

/// Pages go to the disk from under the device, and come back with what it wrote.
pub fn memory_on_the_disk_has_what_the_device_wrote(ctx: &Ctx) -> Result<()> {
    const PAGES: usize = 256;
    let _swap = Swap::on(64 << 20)?;
    let mirror = mirror(ctx)?;
    let map = Mapping::private(PAGES * PAGE)?;
    stays(&mirror, &map)?;
    let mut data = stamps(72, map.len());
    map.write(0, &data);
    for round in 1..4_u8 {
        // The CPU does not know that the pages are dirty again: only the device has written them.
        let mut ib = Ib::new();
        for page in (usize::from(round)..PAGES).step_by(3) {
            let value = u32::from_le_bytes([round; 4]);
            ib.fill(Place::Raw(map.va() + (page * PAGE) as u64), value, FillSize::Dword, PAGE as u64);
            data[page * PAGE..][..PAGE].fill(round);
        }
        run(&mirror, 0, &ib)?;
        let before = vmstat("pswpout")?;
        map.advise(0, map.len(), Advice::LinuxPageOut)?;
        let out = vmstat("pswpout")? - before;
        ensure!(out >= PAGES as u64 / 3, "{out} pages of {PAGES} went to the disk");
        let seen = mirror.device().residency(map.va(), map.len() as u64)?;
        ensure!(seen.mapped < map.len() as u64 / 2, "the device still reaches {} bytes", seen.mapped);
        if round % 2 == 0 {
            same_bytes("what the CPU reads", &bytes(&map, 0, map.len()), &data)?;
        } else {
            device_sees(&mirror, &map, &data)?;
        }
    }
    // What is in VRAM is not there to be written out.
    mirror.device().advise(map.va(), map.len() as u64, uapi::SVM_RESET, 0)?;
    mirror.device().prefetch(map.va(), map.len() as u64, crate::drm::Domain::Vram)?;
    map.advise(0, map.len(), Advice::LinuxPageOut)?;
    device_sees(&mirror, &map, &data)
}

/// A file is cut off and made longer while the device copies of it: it reads the file's bytes or zeros, or is told that
/// there is nothing. It neither waits for ever nor reads anything else.
pub fn file_is_cut_off_while_the_device_reads(ctx: &Ctx) -> Result<()> {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;
    const PAGES: usize = 32;
    let path = Path::new("/tmp/uvm-svm-cut");
    let file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    std::fs::remove_file(path)?;
    let data = stamps(73, PAGES * PAGE);
    file.write_all_at(&data, 0)?;
    let map = Mapping::file(file.as_fd(), PAGES * PAGE, false)?;
    let (mirror, to) = (mirror(ctx)?, Mapping::private(PAGES * PAGE)?);
    let stop = Arc::new(AtomicBool::new(false));
    let (theirs, fresh, over) = (file.try_clone()?, data.clone(), stop.clone());
    let cutter = thread::spawn(move || -> std::io::Result<u64> {
        for round in 0.. {
            if over.load(Ordering::Relaxed) {
                return Ok(round);
            }
            theirs.set_len(round % PAGES as u64 * PAGE as u64)?;
            theirs.set_len((PAGES * PAGE) as u64)?;
            theirs.write_all_at(&fresh, 0)?;
            thread::sleep(Duration::from_millis(2));
        }
        Ok(0)
    });
    let expected = ExpectErrors::begin(ctx);
    let start = Instant::now();
    let result = (|| {
        let (mut done, mut failed) = (0, 0);
        while start.elapsed() < LASTS || done < 5 {
            ensure!(start.elapsed() < PATIENCE, "{done} copies were done, {failed} failed");
            match mirror.run(failed % 2, &copy(map.va(), to.va(), PAGES * PAGE), PATIENCE)? {
                FenceState::Done => done += 1,
                FenceState::Failed(Errno::FAULT) => {
                    let fault = mirror.device().fault()?.map(|fault| fault.va).unwrap_or_default();
                    ensure!(
                        (map.va()..map.va() + map.len() as u64).contains(&fault),
                        "the fault told is at {fault:#x}"
                    );
                    failed += 1;
                    continue;
                }
                state => bail!("a copy: {state:?}"),
            }
            let seen = bytes(&to, 0, PAGES * PAGE);
            let wrong = seen.chunks(8).zip(data.chunks(8)).position(|(seen, right)| seen != right && seen != [0; 8]);
            ensure!(wrong.is_none(), "word {wrong:?} is neither the file's nor zero");
        }
        Ok((done, failed))
    })();
    stop.store(true, Ordering::Relaxed);
    let rounds = cutter.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))??;
    drop(expected);
    let (done, failed) = result?;
    ctx.note(format_args!("{rounds} times cut off, {done} copies done, {failed} failed"));
    ensure!(rounds > 5, "it was cut off {rounds} times");
    device_sees(&mirror, &map, &data)
}

/// The driver loses its device while a process's queue and submissions run on pages in VRAM: all content is there, calls
/// say that the device is gone, and with the device that comes back the same process goes on.
pub fn unbound_device_leaves_mirrored_memory_behind(ctx: &Ctx) -> Result<()> {
    let mirror = mirror(ctx)?;
    let device = mirror.device();
    let (small, huge) = (Mapping::private(64 * PAGE)?, Mapping::transparent(HUGE)?);
    let data = [stamps(74, small.len()), stamps(75, huge.len())];
    for (map, data) in [&small, &huge].into_iter().zip(&data) {
        map.write(0, data);
        device.prefetch(map.va(), map.len() as u64, crate::drm::Domain::Vram)?;
    }
    run(&mirror, 0, Ib::new().fence(Place::Raw(small.va()), 1))?;
    same("bytes in VRAM", device.residency(huge.va(), HUGE as u64)?.vram, HUGE as u64)?;
    let mut queue = Queue::new(device, 1, 1 << 34, 4096)?;
    let mut ib = Ib::new();
    for _ in 0..20 {
        ib.copy(Place::Raw(huge.va()), Place::Raw(small.va() + 4096), 32 * PAGE as u64);
    }
    queue.run(&ib)?;
    let check = || -> Result<()> {
        same_bytes("a block", &bytes(&huge, 0, HUGE), &data[1])?;
        same_bytes("what the device did not touch", &bytes(&small, 40 * PAGE, 24 * PAGE), &data[0][40 * PAGE..])?;
        same("what the device had written", small.load(0) & u64::from(u32::MAX), 1)
    };
    let expected = ExpectErrors::begin(ctx);
    while_unbound(|| {
        check()?;
        refused("a mirror of a device that is gone", device.mirror(), &[Errno::NODEV])?;
        refused("a prefetch", device.prefetch(huge.va(), HUGE as u64, crate::drm::Domain::Vram), &[Errno::NODEV])?;
        refused("a look", device.residency(huge.va(), HUGE as u64), &[Errno::NODEV])?;
        refused("a submission", mirror.run(0, &copy(huge.va(), small.va(), 64), PATIENCE), &[Errno::NODEV])
    })?;
    drop(expected);
    let again = Mirror::new(&Device::open()?)?;
    run(&again, 1, &copy(huge.va(), small.va(), small.len()))?;
    same_bytes("a copy by the device that came back", &bytes(&small, 0, small.len()), &data[1][..small.len()])?;
    drop((queue, mirror));
    run(&again, 0, &copy(huge.va() + 64, small.va(), PAGE))?;
    same_bytes("a copy after the old mirror went", &bytes(&small, 0, PAGE), &data[1][64..64 + PAGE])?;
    same_bytes("a block", &bytes(&huge, 0, HUGE), &data[1])
}
