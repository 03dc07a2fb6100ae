// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Injected faults at work. A device without any pays for a test of an `Option` where this is asked.

use super::*;
use crate::inject::{EccPage, Kind, Spec, Struck, Turns};
use std::collections::VecDeque;
use uvm_spec::hub::{mm, INVALIDATE_ENGINES, MM_HUB};
use window::Event as Edge;

/// Bytes that the engines move in a tick of the reference clock at nominal speed: 1.6 GB/s.
const NOMINAL: u64 = 16;
/// Most vectors of a storm in one quantum.
const BURST: u64 = 64;
const TICKS_PER_MS: u64 = CLOCK_HZ / 1000;
/// Most edges of the line that are late at once.
const MOST_LATE: usize = 1024;

/// What is injected.
#[derive(Default)]
pub(super) struct Injected {
    faults: Vec<Injection>,
    removed: bool,
    /// Data moves this much slower than nominal.
    slow: Option<u64>,
    /// The engines rest until then.
    paused_until: u64,
    /// Edges of the interrupt line for the transport to take.
    edges: VecDeque<Edge>,
    /// Edges that come late: when, and which ring.
    late: Vec<(u64, u32)>,
    /// Invalidations that are not done yet: engine, request, when (None: never).
    withheld: Vec<(u32, u32, Option<u64>)>,
    /// No invalidation is done before a reset.
    stuck: bool,
}

struct Injection {
    spec: Spec,
    /// It was started: by its trigger, or at once.
    started: bool,
    struck: Struck,
    /// What is left of it.
    progress: Progressing,
}

/// A fault that strikes here, and not in a block.
enum Progressing {
    Elsewhere,
    Interrupts(Turns, Option<u64>),
    Invalidations(Turns, Option<u64>),
    Storm { left: u64, since: u64 },
}

impl Injected {
    /// The next time at which something happens by itself.
    fn due(&self) -> Option<u64> {
        let invalidations = self.withheld.iter().filter_map(|w| w.2);
        self.late.iter().map(|l| l.0).chain(invalidations).min()
    }
}

impl Gpu {
    /// Lets something go wrong, now or once its trigger is written.
    pub fn inject(&mut self, spec: Spec) {
        self.begin(Call::Inject { spec: spec.to_string() });
        let injected = self.injected.get_or_insert_with(Box::default);
        let (number, at_once) = (injected.faults.len(), spec.at.is_none());
        let progress = Progressing::Elsewhere;
        injected.faults.push(Injection { spec, started: false, struck: Struck::default(), progress });
        if at_once {
            self.start_injection(number);
        }
    }
    /// Ends what is injected: rings go on, pages are sound, the device is there. What was corrupted or lost stays so.
    pub fn clear_injected(&mut self) {
        self.begin(Call::Heal);
        let Some(injected) = self.injected.take() else { return };
        self.sdma.iter_mut().for_each(|sdma| sdma.rings.clear_hangs());
        self.access.rings.clear_hangs();
        self.mm_hub.clear_corruptions();
        self.vram.clear_poison();
        for (engine, request, _) in injected.withheld {
            self.write_now(MM_HUB.index(&mm::VM_INVALIDATE_ENG_REQ, engine), request);
        }
        let late = injected.late.into_iter().map(|(_, ring)| ring);
        for ring in injected.edges.into_iter().map(|edge| edge.ring).chain(late) {
            self.ih.fire_again(ring);
        }
    }
    /// What is injected, one line each.
    pub fn injections(&self) -> Vec<String> {
        let faults = self.injected.iter().flat_map(|i| &i.faults);
        let line = |f: &Injection| match (f.started, f.struck.count()) {
            (false, _) => format!("{} (waits for its trigger)", f.spec),
            (true, 0) => format!("{} (has not struck yet)", f.spec),
            (true, n) => format!("{} (struck {n} times)", f.spec),
        };
        faults.map(line).collect()
    }
    /// Whether the device is gone.
    pub fn is_removed(&self) -> bool {
        self.injected.as_ref().is_some_and(|i| i.removed)
    }

    /// Puts injection `number` to work.
    fn start_injection(&mut self, number: usize) {
        let now = self.now();
        let Some(injected) = self.injected.as_deref_mut() else { return };
        let Some(fault) = injected.faults.get_mut(number) else { return };
        fault.started = true;
        let struck = fault.struck.clone();
        log::info!("injected: {}", fault.spec);
        match fault.spec.kind {
            Kind::Hang { instance, ring, after } => match self.sdma.get_mut(instance) {
                Some(sdma) => sdma.rings.hang(ring, after, struck),
                None => self.access.rings.hang(ring, after, struck),
            },
            Kind::CorruptPte { vmid, page, after, xor } => self.mm_hub.corrupt(vmid, page, after, xor, struck),
            Kind::Ecc { page } => {
                let pages = self.vram.size() >> PAGE_SHIFT;
                self.vram.poison(match page {
                    EccPage::Number(page) => page,
                    EccPage::Random(n) => n % pages,
                });
                struck.note();
            }
            Kind::Interrupts { turns, delay } => fault.progress = Progressing::Interrupts(turns, delay),
            Kind::StuckInvalidate { after, late } => {
                fault.progress = Progressing::Invalidations(Turns { after, every: None }, late);
            }
            Kind::Storm { count, .. } => fault.progress = Progressing::Storm { left: count, since: now },
            Kind::SlowDma { factor } => {
                injected.slow = Some(factor);
                struck.note();
            }
            Kind::Remove => {
                injected.removed = true;
                struck.note();
            }
        }
    }

    /// A register write, before it is made. True: it has no effect.
    pub(super) fn intercept_write(&mut self, index: u32, value: u32) -> bool {
        if self.injected.is_none() {
            return false;
        }
        let now = self.now();
        let Some(injected) = self.injected.as_deref_mut() else { return false };
        if injected.removed {
            return true;
        }
        let waiting = |f: &Injection| !f.started && f.spec.at == Some((index, value));
        let numbers: Vec<usize> =
            injected.faults.iter().enumerate().filter(|(_, f)| waiting(f)).map(|(n, _)| n).collect();
        let Some(engine) = index.checked_sub(MM_HUB.index(&mm::VM_INVALIDATE_ENG_REQ, 0)) else {
            numbers.into_iter().for_each(|n| self.start_injection(n));
            return false;
        };
        let hit = engine < INVALIDATE_ENGINES && injected.invalidation(engine, value, now);
        numbers.into_iter().for_each(|n| self.start_injection(n));
        hit
    }
    /// A register read, before it is made: what it gives instead.
    pub(super) fn intercept_read(&self, index: u32) -> Option<u32> {
        let injected = self.injected.as_deref()?;
        if injected.removed {
            return Some(u32::MAX);
        }
        let engine = index.checked_sub(MM_HUB.index(&mm::VM_INVALIDATE_ENG_ACK, 0))?;
        injected.withheld.iter().any(|w| w.0 == engine).then_some(0)
    }
    /// A quantum of a device with injected faults.
    pub(super) fn run_injected(&mut self) -> Progress {
        let now = self.now();
        let Some(injected) = self.injected.as_deref_mut() else { return self.quantum() };
        if injected.removed {
            return Progress::Idle;
        }
        let (slow, paused_until) = (injected.slow, injected.paused_until);
        let ready = |w: &(u32, u32, Option<u64>)| w.2.is_some_and(|due| due <= now);
        let overdue: Vec<_> = injected.withheld.iter().copied().filter(ready).collect();
        injected.withheld.retain(|w| !ready(w));
        for (engine, request, _) in overdue {
            self.write_now(MM_HUB.index(&mm::VM_INVALIDATE_ENG_REQ, engine), request);
        }
        let storms = self.storm(now);
        let progress = if now < paused_until {
            until(paused_until, now)
        } else {
            let before = self.moved();
            let progress = self.quantum();
            let moved = self.moved() - before;
            match (slow, self.injected.as_deref_mut()) {
                (Some(factor), Some(injected)) if moved > 0 => {
                    injected.paused_until = now.saturating_add(moved.saturating_mul(factor) / NOMINAL);
                    until(injected.paused_until, now)
                }
                _ => progress,
            }
        };
        self.sift_edges(now);
        let due = self.injected.as_ref().and_then(|i| i.due());
        // A storm goes on by itself, once in 10 us.
        let due = [due, storms.then_some(now.saturating_add(CLOCK_HZ / 100_000))].into_iter().flatten().min();
        sooner(progress, due.map(|due| until(due, now)))
    }
    /// Takes the edges that the IH raised: lets them pass, come late, or not at all.
    fn sift_edges(&mut self, now: u64) {
        let Some(injected) = self.injected.as_deref_mut() else { return };
        while let Some(edge) = self.ih.take_interrupt() {
            match injected.fate(now) {
                Fate::Passes => injected.edges.push_back(edge),
                Fate::Late(due) if injected.late.len() < MOST_LATE => injected.late.push((due, edge.ring)),
                Fate::Late(_) | Fate::Lost => {}
            }
        }
        injected.late.retain(|&(due, ring)| {
            if due <= now {
                injected.edges.push_back(Edge { ring, wptr: self.ih.wptr(ring as usize) });
            }
            due > now
        });
    }
    /// Raises the vectors that storms are due. True while there is more to come.
    fn storm(&mut self, now: u64) -> bool {
        let Some(injected) = self.injected.as_deref_mut() else { return false };
        let mut more = false;
        for fault in injected.faults.iter_mut().filter(|f| f.started) {
            let (Progressing::Storm { left, since }, Kind::Storm { rate, client, .. }) =
                (&mut fault.progress, fault.spec.kind)
            else {
                continue;
            };
            let owed = now.saturating_sub(*since).saturating_mul(rate) / TICKS_PER_MS;
            let burst = owed.min(*left).min(BURST);
            // What a full burst leaves is forgotten: a storm is no debt.
            if owed > 0 {
                *since = now;
            }
            for _ in 0..burst {
                self.vectors.push(ihspec::Vector { client, mm: true, ..ihspec::Vector::default() });
                fault.struck.note();
            }
            *left -= burst;
            more |= *left > 0;
        }
        let vram = Arc::clone(&self.vram);
        self.deliver(&Memory::traced(&vram, &self.memory, &self.trace));
        more
    }
    /// The device was reset: what was stuck is not any more, what is broken stays broken.
    pub(super) fn reset_injected(&mut self) {
        if let Some(injected) = self.injected.as_deref_mut() {
            injected.withheld.clear();
            injected.late.clear();
            injected.edges.clear();
            (injected.stuck, injected.paused_until) = (false, 0);
        }
    }
}

/// What becomes of an edge of the interrupt line.
enum Fate {
    Passes,
    Late(u64),
    Lost,
}

impl Injected {
    /// The next edge for the transport.
    pub(super) fn take_interrupt(&mut self) -> Option<Edge> {
        self.edges.pop_front().filter(|_| !self.removed)
    }
    /// What becomes of the next edge.
    fn fate(&mut self, now: u64) -> Fate {
        for fault in self.faults.iter_mut().filter(|f| f.started) {
            let Progressing::Interrupts(turns, delay) = &mut fault.progress else { continue };
            if turns.hit() == Some(true) {
                fault.struck.note();
                return delay.map_or(Fate::Lost, |delay| Fate::Late(now.saturating_add(delay)));
            }
        }
        Fate::Passes
    }
    /// Request `value` of invalidation engine `engine`. True: it is withheld.
    fn invalidation(&mut self, engine: u32, value: u32, now: u64) -> bool {
        let mut hit = self.stuck.then_some(None);
        for fault in self.faults.iter_mut().filter(|f| f.started) {
            let Progressing::Invalidations(turns, late) = &mut fault.progress else { continue };
            if hit.is_none() && turns.hit() == Some(true) {
                fault.struck.note();
                hit = Some(late.map(|late| now.saturating_add(late)));
                self.stuck |= late.is_none();
            }
        }
        // A new request takes the place of one that is under way.
        self.withheld.retain(|w| w.0 != engine);
        if let Some(due) = hit {
            self.withheld.push((engine, value, due));
        }
        hit.is_some()
    }
}

fn until(due: u64, now: u64) -> Progress {
    Progress::Waiting(Duration::from_nanos(due.saturating_sub(now).saturating_mul(1_000_000_000 / CLOCK_HZ)))
}

/// What comes first of the two.
fn sooner(progress: Progress, other: Option<Progress>) -> Progress {
    match (progress, other) {
        (Progress::More, _) | (_, None) => progress,
        (Progress::Idle, Some(other)) => other,
        (Progress::Waiting(a), Some(Progress::Waiting(b))) => Progress::Waiting(a.min(b)),
        (Progress::Waiting(_), Some(other)) => other,
    }
}
