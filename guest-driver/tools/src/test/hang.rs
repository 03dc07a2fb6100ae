// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `hang`: an engine that does not get on. The submission that is to blame fails alone and is dumped, its ring is
//! reset, and everybody else's bytes are right.

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;
use uvm_spec::packet::{atomic, header, poll_func, POLL_FOREVER};
use uvm_spec::uapi;

use super::case::{complete, same, Case, Ctx, Run, PATIENCE};
use super::kmsg::ExpectErrors;
use crate::drm::{Bo, Domain, FenceState, Space, Syncobj, RW};
use crate::ib::{Atomic, Ib, Place, Poll};

mod beside;
mod dump;
mod life;
mod pointers;

pub use life::{worker, WORKER};

use beside::among_innocents;
use dump::Dump;

const fn once(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

const fn ring(name: &'static str, run: fn(&Ctx, u32) -> Result<()>) -> Case {
    Case { name, run: Run::PerRing(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    ring("endless_poll_is_dumped_and_ended", endless_poll_is_dumped_and_ended),
    ring("refused_packet_is_dumped", refused_packet_is_dumped),
    ring("chain_of_indirect_buffers_is_dumped", chain_of_indirect_buffers_is_dumped),
    ring("submissions_behind_a_hang_run_in_order", submissions_behind_a_hang_run_in_order),
    once("two_rings_hang_at_once", two_rings_hang_at_once),
    once("storm_of_hangs_hurts_nobody", storm_of_hangs_hurts_nobody),
    ring("overwritten_read_pointer_hurts_nobody", pointers::overwritten_read_pointer_hurts_nobody),
    ring("overwritten_fence_ends_nothing_early", pointers::overwritten_fence_ends_nothing_early),
    ring("lost_fence_runs_nothing_twice", pointers::lost_fence_runs_nothing_twice),
    ring("move_behind_a_hang_keeps_the_bytes", life::move_behind_a_hang_keeps_the_bytes),
    ring("file_closed_while_hung_leaves_nothing", life::file_closed_while_hung_leaves_nothing),
    ring("process_killed_while_hung_leaves_nothing", life::process_killed_while_hung_leaves_nothing),
    once("no_hang_leaves_no_dump", no_hang_leaves_no_dump),
    once("first_dump_stays_until_it_is_dismissed", life::first_dump_stays_until_it_is_dismissed),
    once("device_unbound_while_hung", life::device_unbound_while_hung),
    once("dump_outlives_the_driver", life::dump_outlives_the_driver),
];

/// Where the packets lie, and what they use. All of it fits the smallest address space.
const PACKETS: u64 = 0x10_0000;
const MARKS: u64 = 0x100_0000;
const PAGE: u64 = 4096;

/// Waits for ever for a value.
const fn until(value: u32) -> Poll {
    Poll { func: poll_func::EQUAL, reference: value, mask: u32::MAX, retry: POLL_FOREVER }
}

/// A client with an address space, and marks that its packets leave.
struct Client {
    space: Space,
    marks: Bo,
}

impl Client {
    fn new(ctx: &Ctx) -> Result<Self> {
        let space = Space::new(&ctx.device()?, PACKETS, 1 << 16)?;
        let marks = Bo::new(space.device(), PAGE, Domain::Gtt)?;
        space.device().bind(MARKS, &marks, 0, PAGE, RW)?;
        Ok(Self { space, marks })
    }

    /// A mark, then what is wrong, then another mark; and where what is wrong begins, in bytes.
    fn wrong(wrong: impl FnOnce(&mut Ib)) -> (Ib, u64) {
        let mut ib = Ib::new();
        ib.fence(Place::Raw(MARKS), 1);
        let at = 4 * ib.dwords().len() as u64;
        wrong(&mut ib);
        ib.fence(Place::Raw(MARKS + 8), 2);
        (ib, at)
    }

    /// Packets that never end.
    fn endless() -> (Ib, u64) {
        Self::wrong(|ib| {
            ib.poll_memory(Place::Raw(MARKS + 16), until(7));
        })
    }

    fn marks(&self) -> Result<(u64, u64)> {
        let map = self.marks.map()?;
        Ok((map.load(0), map.load(8)))
    }

    /// The packets hang on `ring`: they fail with `error`, what stood before the wrong one was done and what stood
    /// behind was not, and the client is told where.
    fn hangs(&self, ring: u32, (ib, at): &(Ib, u64), error: Errno) -> Result<()> {
        let state = self.space.run(ring, ib, PATIENCE)?;
        same("fence of the submission that hangs", state, FenceState::Failed(error))?;
        same("marks before and behind", self.marks()?, (1, 0))?;
        self.is_told(ring, PACKETS + at, error)
    }

    fn is_told(&self, ring: u32, va: u64, error: Errno) -> Result<()> {
        let told = self.space.device().hang()?.context("no hang is told")?;
        let expected = uapi::HangQuery { count: 1, va, ring, error: error.raw_os_error().unsigned_abs() };
        same("the hang told", told, expected)?;
        ensure!(self.space.device().hang()?.is_none(), "the hang is told twice");
        ensure!(self.space.device().fault()?.is_none(), "a page fault is told as well");
        Ok(())
    }
}

/// A client's packets hang among innocents; the dump says why, whose, and shows the packet, which `named` names.
fn hang_is_dumped(
    ctx: &Ctx,
    ring: u32,
    (error, why): (Errno, &str),
    named: &str,
    wrong: impl FnOnce(&mut Ib),
) -> Result<()> {
    Dump::dismiss_all()?;
    let timeouts = ctx.device()?.param(uapi::PARAM_TIMEOUTS)?;
    let client = Client::new(ctx)?;
    let packets = Client::wrong(wrong);
    let _expected = ExpectErrors::begin(ctx);
    let timed_out = Events::record("uvm_job_timeout")?;
    among_innocents(ctx, || client.hangs(ring, &packets, error))?;
    same("submissions that timed out", timed_out.count()?, usize::from(error == Errno::TIME))?;
    same("hangs counted", ctx.device()?.param(uapi::PARAM_TIMEOUTS)?, timeouts + 1)?;
    let dump = Dump::wait()?;
    dump.is_private()?;
    let (ib, at) = &packets;
    let dwords = ib.dwords().get(usize::try_from(at / 4)?..).context("no wrong packet")?;
    dump.names(ring, why)?;
    dump.shows_process(&client.space)?;
    dump.shows_packet(*at, named, dwords)?;
    dump.shows_walk(PACKETS + at)?;
    dump.dismiss()
}

fn endless_poll_is_dumped_and_ended(ctx: &Ctx, ring: u32) -> Result<()> {
    hang_is_dumped(ctx, ring, (Errno::TIME, "a job timed out"), "POLL_REGMEM", |ib| {
        ib.poll_memory(Place::Raw(MARKS + 16), until(7));
    })
}

fn refused_packet_is_dumped(ctx: &Ctx, ring: u32) -> Result<()> {
    hang_is_dumped(ctx, ring, (Errno::CANCELED, "the engine refused a packet"), "illegal packet", |ib| {
        ib.raw(header(0x7f, 0)).nop(8);
    })
}

fn chain_of_indirect_buffers_is_dumped(ctx: &Ctx, ring: u32) -> Result<()> {
    let why = "the engine refused an indirect buffer in another";
    hang_is_dumped(ctx, ring, (Errno::CANCELED, why), "INDIRECT", |ib| {
        ib.indirect(Place::Raw(PACKETS), 8);
    })
}

/// Submissions of two clients queue up behind one that hangs: none is lost, none runs twice or out of its turn.
fn submissions_behind_a_hang_run_in_order(ctx: &Ctx, ring: u32) -> Result<()> {
    const BEHIND: u32 = 40;
    let device = ctx.device()?;
    let other = ctx.device()?;
    let bo = Bo::new(&device, PAGE, Domain::Gtt)?;
    let shared = Bo::import(&other, &bo.export()?)?;
    let _expected = ExpectErrors::begin(ctx);
    let mut gate = Ib::unordered();
    gate.poll_memory(Place::Bo(bo.handle(), 0), until(7));
    let hung = Syncobj::new(&device)?;
    device.submit(ring, &gate, &[], &[&hung])?;
    let mut ends = Vec::new();
    for n in 0..BEHIND {
        let (device, bo) = if n % 2 == 0 { (&device, &bo) } else { (&other, &shared) };
        let mut ib = Ib::unordered();
        let slot = Place::Bo(bo.handle(), 64 + 8 * u64::from(n));
        // What those before have left, plus one.
        ib.copy(Place::Bo(bo.handle(), 8), slot, 8);
        ib.atomic(Place::Bo(bo.handle(), 8), Atomic { op: atomic::ADD, source: 1, compare: 0 });
        let done = Syncobj::new(device)?;
        device.submit(ring, &ib, &[], &[&done])?;
        ends.push(done);
    }
    for (n, end) in ends.iter().enumerate() {
        end.wait(PATIENCE)?;
        same(format_args!("fence of submission {n} behind the hang"), end.state()?, FenceState::Done)?;
    }
    same("fence of the submission that hangs", hung.state()?, FenceState::Failed(Errno::TIME))?;
    let map = bo.map()?;
    same("how many ran", map.load(8), u64::from(BEHIND))?;
    // Two clients' submissions may overtake each other; each one's own do not.
    let turn = |n: u32| Ok::<_, anyhow::Error>(map.load(usize::try_from(64 + 8 * n)?));
    let mut turns = (0..BEHIND).map(turn).collect::<Result<Vec<_>>>()?;
    for n in 2..turns.len() {
        ensure!(turns[n - 2] < turns[n], "submission {n} had turn {}, the one before {}", turns[n], turns[n - 2]);
    }
    turns.sort_unstable();
    same("the turns", turns, (0..u64::from(BEHIND)).collect())
}

fn two_rings_hang_at_once(ctx: &Ctx) -> Result<()> {
    Dump::dismiss_all()?;
    let clients = [Client::new(ctx)?, Client::new(ctx)?];
    let packets = Client::endless();
    let _expected = ExpectErrors::begin(ctx);
    among_innocents(ctx, || {
        let mut ends = Vec::new();
        for (ring, client) in (0..).zip(&clients) {
            let end = Syncobj::new(client.space.device())?;
            client.space.submit(ring, &packets.0, &end)?;
            ends.push(end);
        }
        for (end, (ring, client)) in ends.iter().zip((0..).zip(&clients)) {
            end.wait(PATIENCE)?;
            same(format_args!("fence on SDMA {ring}"), end.state()?, FenceState::Failed(Errno::TIME))?;
            client.is_told(ring, PACKETS + packets.1, Errno::TIME)?;
        }
        Ok(())
    })?;
    // Whichever was first; it tells of the other as well.
    let dump = Dump::wait()?;
    for ring in 0..2 {
        ensure!(dump.text().contains(&format!("\nsdma{ring}: RPTR ")), "SDMA {ring} is missing in:\n{}", dump.text());
    }
    dump.dismiss()
}

fn storm_of_hangs_hurts_nobody(ctx: &Ctx) -> Result<()> {
    const HANGS: u64 = 60;
    let client = Client::new(ctx)?;
    let timeouts = ctx.device()?.param(uapi::PARAM_TIMEOUTS)?;
    let packets = Client::wrong(|ib| {
        ib.raw(header(0x7f, 0)).nop(8);
    });
    let _expected = ExpectErrors::begin(ctx);
    let timed_out = Events::record("uvm_job_timeout")?;
    among_innocents(ctx, || {
        for n in 0..HANGS {
            client.marks.map()?.store(0, 0);
            let ring = u32::from(n % 3 == 0);
            client.hangs(ring, &packets, Errno::CANCELED).with_context(|| format!("hang {n}"))?;
        }
        Ok(())
    })?;
    same("hangs counted", ctx.device()?.param(uapi::PARAM_TIMEOUTS)?, timeouts + HANGS)?;
    // The engine says itself that it stopped: nobody has to wait for the time limit.
    same("submissions that had to time out", timed_out.count()?, 0)?;
    Dump::wait()?.dismiss()
}

/// Neither work that ends, nor a page fault, nor a poll that gives up.
fn no_hang_leaves_no_dump(ctx: &Ctx) -> Result<()> {
    let client = Client::new(ctx)?;
    // What is on its way from earlier cases comes before the first look.
    complete(client.space.device(), 0, Ib::new().nop(0))?;
    std::thread::sleep(super::case::GLANCE);
    Dump::dismiss_all()?;
    let _expected = ExpectErrors::begin(ctx);
    among_innocents(ctx, || {
        let mut faulty = Ib::new();
        faulty.fence(Place::Raw(MARKS + (64 << 20)), 1);
        let state = client.space.run(0, &faulty, PATIENCE)?;
        same("fence of a submission that faults", state, FenceState::Failed(Errno::FAULT))?;
        let mut impatient = Ib::new();
        impatient.poll_memory(Place::Raw(MARKS), Poll { retry: 5, ..until(7) });
        same("fence of a poll that gives up", client.space.run(1, &impatient, PATIENCE)?, FenceState::Done)
    })?;
    std::thread::sleep(super::case::GLANCE);
    ensure!(client.space.device().hang()?.is_none(), "a hang is told");
    same("dumps", Dump::present()?, Vec::<std::path::PathBuf>::new())
}

/// A trace event of the driver, recorded while this lives.
struct Events(&'static str);

impl Events {
    const TRACING: &'static str = "/sys/kernel/tracing";

    fn record(name: &'static str) -> Result<Self> {
        let events = Self(name);
        std::fs::write(format!("{}/trace", Self::TRACING), "").context("emptying the trace")?;
        events.enable("1").with_context(|| format!("recording {name}"))?;
        Ok(events)
    }

    fn enable(&self, value: &str) -> std::io::Result<()> {
        std::fs::write(format!("{}/events/uvm/{}/enable", Self::TRACING, self.0), value)
    }

    fn count(&self) -> Result<usize> {
        let trace = std::fs::read_to_string(format!("{}/trace", Self::TRACING)).context("the trace")?;
        Ok(trace.matches(&format!(" {}: ", self.0)).count())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Err(error) = self.enable("0") {
            eprintln!("# {}: {error}", self.0);
        }
    }
}

/// Both rings still run, and give the right bytes.
fn all_is_well(ctx: &Ctx) -> Result<()> {
    among_innocents(ctx, || Ok(()))
}
