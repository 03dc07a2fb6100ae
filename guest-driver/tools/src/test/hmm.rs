// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `hmm`: the kernel's own test of heterogeneous memory management over /dev/hmm_dmirror0 and 1, and proofs that it
//! was the device that did what the test saw: the device itself is asked, past the driver.
//!
//! The launcher brings the test and a driver with these devices, and hands questions to the device; without it, the
//! cases are skipped. Over the kernel's own module for the test, which has no device, there is nothing to prove.

use std::path::Path;

use anyhow::{ensure, Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::case::{same, same_bytes, stamps, Case, Ctx, Run, Skip};
use super::kmsg::ExpectErrors;
use crate::ask;
use crate::drm::Mapping;

mod dmirror;
mod selftest;

use dmirror::{Command, Dmirror};

/// The cases.
pub const CASES: &[Case] = &[
    Case { name: "kernel_selftest_passes", run: Run::Once(kernel_selftest_passes) },
    Case { name: "migrated_data_lies_in_vram", run: Run::Once(migrated_data_lies_in_vram) },
    Case { name: "device_copies_what_migrates", run: Run::Once(device_copies_what_migrates) },
    Case { name: "device_reads_and_writes_by_itself", run: Run::Once(device_reads_and_writes_by_itself) },
];

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
/// The driver's module.
const DRIVER: &str = "/sys/module/uvm";
/// What the kernel's test moves in each direction at least: its benchmark alone migrates 287.5 MiB twelve times there and
/// back.
const MOVED: u64 = 3 << 30;
/// Reads and writes of the kernel's test in each of which it saw one fault; some of its processes do them many times.
const FAULTS: u64 = 20;

/// What the device has counted.
#[derive(Clone, Copy, Debug)]
struct Counted {
    bytes: u64,
    vram_in: u64,
    vram_out: u64,
    faults: u64,
    translations: u64,
}

impl Counted {
    fn now() -> Result<Self> {
        let answer = ask::ask(&json!({ "verb": "summary" }))?;
        let of = |name| ask::number(&answer, &["counters", name]);
        Ok(Self {
            bytes: of("bytes")?,
            vram_in: of("vram_in")?,
            vram_out: of("vram_out")?,
            faults: of("faults")?,
            translations: of("tlb_hits")?.saturating_add(of("walks")?),
        })
    }

    /// What has been added since `before`. A device that was reset meanwhile would have less.
    fn since(self, before: Self) -> Result<Self> {
        let grown = |now: u64, before: u64| now.checked_sub(before).context("the device counts backwards");
        Ok(Self {
            bytes: grown(self.bytes, before.bytes)?,
            vram_in: grown(self.vram_in, before.vram_in)?,
            vram_out: grown(self.vram_out, before.vram_out)?,
            faults: grown(self.faults, before.faults)?,
            translations: grown(self.translations, before.translations)?,
        })
    }
}

fn needs_device() -> Result<()> {
    if ask::is_answered() {
        return Ok(());
    }
    Err(Skip("the launcher does not hand questions to the device".into()).into())
}

fn kernel_selftest_passes(ctx: &Ctx) -> Result<()> {
    let ours = Path::new(DRIVER).exists();
    if ours {
        needs_device()?;
    }
    let before = ours.then(Counted::now).transpose()?;
    // It reads and writes what may not be, to see it fail.
    let expected = ours.then(|| ExpectErrors::begin(ctx));
    let totals = selftest::run()?;
    drop(expected);
    totals.check()?;
    let Some(before) = before else { return Ok(()) };

    let did = Counted::now()?.since(before)?;
    ctx.note(format_args!("of the device: {did:?}"));
    let at_least = |what: &str, seen: u64, least: u64| {
        ensure!(seen >= least, "the device counted {seen} {what}, the test needs {least}");
        Ok(())
    };
    at_least("bytes into VRAM", did.vram_in, MOVED)?;
    at_least("bytes out of VRAM", did.vram_out, MOVED)?;
    at_least("page faults", did.faults, FAULTS)?;
    // At the very least one each 2 MiB, with the largest fragment there is.
    at_least("translations", did.translations, did.bytes / (2 * MIB as u64))
}

/// Memory of this process with stamps in it.
fn stamped(ctx: &Ctx, bytes: usize) -> Result<(Mapping, Vec<u8>)> {
    let memory = Mapping::private(bytes)?;
    let data = stamps(ctx.rng().next(), bytes);
    memory.write(0, &data);
    Ok((memory, data))
}

fn content(memory: &Mapping) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    memory.read(0, &mut bytes);
    bytes
}

/// Where the device finds the pages at `va`: bytes in VRAM, and the digest of all it finds.
struct Found {
    vram: u64,
    digest: String,
}

/// In each address space that the device has; the one with the most in VRAM.
fn find(va: u64, bytes: usize) -> Result<Found> {
    let mut best = Found { vram: 0, digest: String::new() };
    for vmid in 1..16 {
        let question =
            json!({ "verb": "digest", "vmid": vmid, "va": format!("{va:#x}"), "len": format!("{bytes:#x}") });
        // An address space that is off is no answer, nor an error.
        let Ok(answer) = ask::ask(&question) else { continue };
        let vram = ask::number(&answer, &["vram"])?;
        if vram > best.vram {
            let digest = answer.get("sha256").and_then(|digest| digest.as_str()).context("no digest")?.to_owned();
            best = Found { vram, digest };
        }
    }
    Ok(best)
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn migrated_data_lies_in_vram(ctx: &Ctx) -> Result<()> {
    needs_device()?;
    let device = Dmirror::open(0)?;
    let (memory, data) = stamped(ctx, 4 * MIB)?;
    let mut read = vec![0; data.len()];

    let done = device.run(Command::ToDevice, memory.va(), &mut read)?;
    same("pages migrated", done.pages, (data.len() / PAGE) as u64)?;
    same_bytes("what the device reads of them", &read, &data)?;
    let found = find(memory.va(), data.len())?;
    same("bytes that the device finds in VRAM", found.vram, data.len() as u64)?;
    same("their digest", found.digest, hex_digest(&data))?;

    // A CPU's access brings its page back, and not all.
    memory.write(5 * PAGE, &[0x5a]);
    let left = find(memory.va(), data.len())?.vram;
    ensure!(left <= (data.len() - PAGE) as u64 && left > 0, "{left} bytes are left in VRAM after a CPU's write");
    let mut expected = data;
    expected[5 * PAGE] = 0x5a;
    same_bytes("what the CPU finds", &content(&memory), &expected)?;
    same("bytes left in VRAM after the CPU has read all", find(memory.va(), expected.len())?.vram, 0)
}

fn device_copies_what_migrates(ctx: &Ctx) -> Result<()> {
    needs_device()?;
    let device = Dmirror::open(1)?;
    let (memory, data) = stamped(ctx, MIB)?;
    let (pages, least) = ((data.len() / PAGE) as u64, data.len() as u64);
    let mut read = vec![0; data.len()];

    // There, where it is read, and back, without a CPU's access.
    let before = Counted::now()?;
    device.run(Command::ToDevice, memory.va(), &mut read)?;
    let done = device.run(Command::ToSystem, memory.va(), &mut read)?;
    let did = Counted::now()?.since(before)?;
    same("pages that came back", done.pages, pages)?;
    ensure!(
        did.vram_in >= least && did.vram_out >= 2 * least,
        "the device's copies brought {} bytes to VRAM and {} from there, for {least} that went, were read and came back",
        did.vram_in,
        did.vram_out
    );
    same_bytes("what came back", &content(&memory), &data)?;

    // There, and back as the CPU reads.
    device.run(Command::ToDevice, memory.va(), &mut read)?;
    let before = Counted::now()?;
    same_bytes("what the CPU reads", &content(&memory), &data)?;
    let did = Counted::now()?.since(before)?;
    ensure!(did.vram_out >= least, "{} of {least} bytes that the CPU read came by the device's copies", did.vram_out);
    Ok(())
}

fn device_reads_and_writes_by_itself(ctx: &Ctx) -> Result<()> {
    needs_device()?;
    let device = Dmirror::open(1)?;
    let (memory, data) = stamped(ctx, MIB)?;
    let pages = (data.len() / PAGE) as u64;
    let by_the_device = |what: &str, before: Counted, faults: u64| {
        let did = Counted::now()?.since(before)?;
        ensure!(did.bytes >= data.len() as u64, "{what}: the device moved {} bytes", did.bytes);
        ensure!(did.faults >= faults, "{what}: the device met {} faults", did.faults);
        ensure!(
            did.translations >= pages,
            "{what}: the device made {} translations for {pages} pages",
            did.translations
        );
        Ok(())
    };

    let mut read = vec![0; data.len()];
    let before = Counted::now()?;
    let done = device.run(Command::Read, memory.va(), &mut read)?;
    by_the_device("read", before, done.faults)?;
    same("pages read and faults told", (done.pages, done.faults), (pages, 1))?;
    same_bytes("what the device reads", &read, &data)?;

    let mut written = stamps(!ctx.rng().next(), data.len());
    let before = Counted::now()?;
    let done = device.run(Command::Write, memory.va(), &mut written)?;
    by_the_device("write", before, done.faults)?;
    same("pages written", done.pages, pages)?;
    same_bytes("what the device wrote", &content(&memory), &written)
}
