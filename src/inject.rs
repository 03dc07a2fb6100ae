// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Faults that a user asks for: what can go wrong in hardware, at a known place, as often as the test is run.
//!
//! A specification is `KIND` or `KIND:KEY=VALUE,..`, see [`HELP`]. This module reads them; [`crate::Gpu::inject`] puts
//! them into the blocks.

use crate::bus::CLOCK_HZ;
use crate::view::names;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use thiserror::Error;
use uvm_spec::{access, pte, sdma, PAGE_SIZE, SDMA_INSTANCES, VMIDS};

/// The kinds and their keys.
pub const HELP: &str = "\
hang:ring=sdma0.gfx,after=K       the ring stands still after K more packets, until it is switched off
lose-irq:after=K,every=N          the interrupt line loses the edge after K more; with every, each Nth from there
delay-irq:by=TIME,after=K,every=N the same, but the edge comes late
corrupt-pte:vmid=N,va=VA,after=K,xor=BITS
                                  the entry that the walk after K more of that VMID and page finds is changed in memory
ecc:page=OFFSET                   a page of VRAM has an uncorrectable error: who reads it gets poison
slow-dma:factor=F                 data moves at 1.6 GB/s divided by F
stuck-invalidate:after=K,by=TIME  the invalidation after K more is done TIME late; without by, never: then none is before a reset
remove                            the device is gone: registers read all ones, nothing answers
ih-storm:count=N,rate=R,client=C  N interrupt vectors that nobody asked for, R a millisecond
Each kind takes seed=N, which gives what is left out where it is random, and at=REGISTER=VALUE: it starts when VALUE is written
to REGISTER. TIME is a number with us, ms or s.";

/// Most faults that one device is to have.
pub const MOST_INJECTIONS: usize = 256;

/// Why a specification is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{spec:?}: {problem}")]
pub struct SpecError {
    spec: String,
    problem: String,
}

/// A fault to inject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What goes wrong.
    pub kind: Kind,
    /// The register (dword index) and value whose write starts it; None: at once.
    pub at: Option<(u32, u32)>,
    text: String,
}

/// Which of a sequence of events are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// Events that pass before the first that is hit.
    pub after: u64,
    /// Each how-manieth from there; None: one alone.
    pub every: Option<u64>,
}

/// What goes wrong. Times are ticks of the reference clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the keys of HELP")]
pub enum Kind {
    Hang { instance: usize, ring: usize, after: u64 },
    Interrupts { turns: Turns, delay: Option<u64> },
    CorruptPte { vmid: Option<u8>, page: Option<u64>, after: u64, xor: u64 },
    Ecc { page: EccPage },
    SlowDma { factor: u64 },
    StuckInvalidate { after: u64, late: Option<u64> },
    Remove,
    Storm { count: u64, rate: u64, client: u8 },
}

/// A page of VRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EccPage {
    /// By its number.
    Number(u64),
    /// By this number, whatever VRAM's size makes of it.
    Random(u64),
}

/// How often an injected fault has struck; shared with the block that it strikes in.
#[derive(Clone, Debug, Default)]
pub struct Struck(Arc<AtomicU64>);

impl Struck {
    /// It has struck once more.
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    /// How often.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Turns {
    /// Whether the next event is hit; None once no later one is either.
    pub fn hit(&mut self) -> Option<bool> {
        if self.after == u64::MAX {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return Some(false);
        }
        self.after = self.every.map_or(u64::MAX, |every| every - 1);
        Some(true)
    }
}

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// The keys of a specification that nobody has taken yet.
struct Keys<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Keys<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut keys = BTreeMap::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (key, value) = part.split_once('=').ok_or(format!("{part:?} is no KEY=VALUE"))?;
            if keys.insert(key, value).is_some() {
                return Err(format!("{key} is given twice"));
            }
        }
        Ok(Self(keys))
    }
    fn text(&mut self, key: &str) -> Option<&'a str> {
        self.0.remove(key)
    }
    fn number(&mut self, key: &str) -> Result<Option<u64>, String> {
        let number = |text: &str| text.parse::<crate::view::Hex>().map(|hex| hex.0);
        self.text(key).map(number).transpose().map_err(|e| format!("{key}: {e}"))
    }
    fn within(&mut self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, String> {
        match self.number(key)? {
            Some(n) if !range.contains(&n) => Err(format!("{key}: {} to {} are possible", range.start(), range.end())),
            n => Ok(n),
        }
    }
    fn time(&mut self, key: &str) -> Result<Option<u64>, String> {
        let ticks = |text: &str| {
            let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
            let ticks = match text.strip_prefix(digits)? {
                "us" => CLOCK_HZ / 1_000_000,
                "ms" => CLOCK_HZ / 1000,
                "s" => CLOCK_HZ,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(ticks)
        };
        let Some(text) = self.text(key) else { return Ok(None) };
        ticks(text).map(Some).ok_or(format!("{key}: {text:?} is no time such as 20ms"))
    }
    fn turns(&mut self) -> Result<Turns, String> {
        Ok(Turns { after: self.after()?, every: self.within("every", 1..=MOST)? })
    }
    fn after(&mut self) -> Result<u64, String> {
        Ok(self.within("after", 0..=MOST)?.unwrap_or(0))
    }
}

/// Most events to count.
const MOST: u64 = 1 << 40;

impl FromStr for Spec {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        parse(text).map_err(|problem| SpecError { spec: text.into(), problem })
    }
}

fn parse(text: &str) -> Result<Spec, String> {
    let (name, keys) = text.split_once(':').unwrap_or((text, ""));
    let mut keys = Keys::parse(keys)?;
    let mut random = Random(keys.number("seed")?.unwrap_or(1));
    let at = keys.text("at").map(trigger).transpose()?;
    let kind = match name {
        "hang" => {
            let (instance, ring) = keys.text("ring").map_or(Ok((0, 0)), ring)?;
            Kind::Hang { instance, ring, after: keys.after()? }
        }
        "lose-irq" => Kind::Interrupts { turns: keys.turns()?, delay: None },
        "delay-irq" => Kind::Interrupts { turns: keys.turns()?, delay: Some(keys.time("by")?.ok_or("by is missing")?) },
        "corrupt-pte" => corrupt_pte(&mut keys, &mut random)?,
        "ecc" => Kind::Ecc {
            page: match keys.number("page")? {
                Some(at) if at % PAGE_SIZE != 0 => return Err("page: no multiple of 4096".into()),
                Some(at) => EccPage::Number(at / PAGE_SIZE),
                None => EccPage::Random(random.next()),
            },
        },
        "slow-dma" => Kind::SlowDma { factor: keys.within("factor", 1..=1_000_000)?.ok_or("factor is missing")? },
        "stuck-invalidate" => Kind::StuckInvalidate { after: keys.after()?, late: keys.time("by")? },
        "remove" => Kind::Remove,
        "ih-storm" => Kind::Storm {
            count: keys.within("count", 1..=MOST)?.unwrap_or(100_000),
            rate: keys.within("rate", 1..=100_000)?.unwrap_or(1000),
            // Thermal sensors are known for it.
            client: keys.within("client", 0..=31)?.and_then(|c| u8::try_from(c).ok()).unwrap_or(0x0f),
        },
        _ => return Err("no such kind: hang, lose-irq, delay-irq, corrupt-pte, ecc, slow-dma, stuck-invalidate, remove or ih-storm is meant".into()),
    };
    match keys.0.keys().next() {
        Some(key) => Err(format!("{name} has no {key}")),
        None => Ok(Spec { kind, at, text: text.into() }),
    }
}

/// The bits of an entry that a random corruption flips one of: those whose loss is told by a fault, and not by data that
/// is silently another's.
const FRAGILE: [u64; 3] = [pte::VALID, pte::READABLE, pte::WRITEABLE];

fn corrupt_pte(keys: &mut Keys<'_>, random: &mut Random) -> Result<Kind, String> {
    let chosen = random.next();
    let vmid = keys.within("vmid", 0..=VMIDS as u64 - 1)?.and_then(|v| u8::try_from(v).ok());
    let page = keys.number("va")?.map(|va| va / PAGE_SIZE);
    let after = match (keys.within("after", 0..=MOST)?, page) {
        (Some(after), _) => after,
        (None, Some(_)) => 0,
        (None, None) => chosen % 64,
    };
    let fallback = FRAGILE.get((chosen >> 32) as usize % FRAGILE.len()).copied().unwrap_or(pte::VALID);
    let xor = keys.number("xor")?.unwrap_or(fallback);
    Ok(Kind::CorruptPte { vmid, page, after, xor })
}

/// A ring such as `sdma0.gfx` or `access.q0`.
fn ring(text: &str) -> Result<(usize, usize), String> {
    let wrong = || format!("ring: {text:?} is no ring such as sdma0.gfx or access.q0");
    let (instance, ring) = text.split_once('.').ok_or_else(wrong)?;
    if instance.eq_ignore_ascii_case("access") {
        let queue = access::QUEUE_NAMES.iter().position(|name| ring.eq_ignore_ascii_case(name));
        return queue.map(|queue| (access::INSTANCE, queue)).ok_or_else(wrong);
    }
    let instance = (0..SDMA_INSTANCES).find(|n| instance.eq_ignore_ascii_case(&format!("sdma{n}")));
    let ring = sdma::RING_NAMES.iter().position(|name| ring.eq_ignore_ascii_case(name));
    instance.zip(ring).ok_or_else(wrong)
}

/// A write such as `BIOS_SCRATCH_7=3`.
fn trigger(text: &str) -> Result<(u32, u32), String> {
    let (name, value) = text.split_once('=').ok_or(format!("at: {text:?} is no REGISTER=VALUE"))?;
    let value = value.parse::<crate::view::Hex>().ok().and_then(|v| u32::try_from(v.0).ok());
    let value = value.ok_or(format!("at: {text:?} has no value of 32 bits"))?;
    match names::find(name).map_err(|e| format!("at: {e}"))?.as_slice() {
        [(index, _)] => Ok((*index, value)),
        _ => Err(format!("at: {name} names several registers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        text.parse::<Spec>().unwrap_or_else(|e| panic!("{e}")).kind
    }

    #[test]
    fn specifications_are_read() {
        assert_eq!(kind("hang"), Kind::Hang { instance: 0, ring: 0, after: 0 });
        assert_eq!(kind("hang:ring=SDMA1.rlc0,after=12"), Kind::Hang { instance: 1, ring: 2, after: 12 });
        assert_eq!(kind("hang:ring=access.q3"), Kind::Hang { instance: 2, ring: 3, after: 0 });
        let turns = Turns { after: 3, every: Some(5) };
        assert_eq!(kind("lose-irq:after=3,every=5"), Kind::Interrupts { turns, delay: None });
        let turns = Turns { after: 0, every: None };
        assert_eq!(kind("delay-irq:by=20ms"), Kind::Interrupts { turns, delay: Some(2_000_000) });
        assert_eq!(
            kind("corrupt-pte:vmid=3,va=0x5123,xor=0x40"),
            Kind::CorruptPte { vmid: Some(3), page: Some(5), after: 0, xor: 0x40 }
        );
        assert_eq!(kind("ecc:page=0x3000"), Kind::Ecc { page: EccPage::Number(3) });
        assert_eq!(kind("stuck-invalidate:by=3us"), Kind::StuckInvalidate { after: 0, late: Some(300) });
        assert_eq!(kind("remove"), Kind::Remove);
        let spec: Spec = "remove:at=BIOS_SCRATCH_7=0x10".parse().unwrap();
        assert_eq!((spec.at, spec.to_string().as_str()), (Some((0x5f, 16)), "remove:at=BIOS_SCRATCH_7=0x10"));
    }

    #[test]
    fn what_is_random_follows_from_the_seed() {
        for text in ["ecc", "corrupt-pte:vmid=1"] {
            let with = |seed| kind(&format!("{text}{}seed={seed}", if text.contains(':') { ',' } else { ':' }));
            assert_eq!(with(7), with(7));
            assert_ne!(with(7), with(8));
        }
    }

    #[test]
    fn wrong_specifications_are_refused_in_words() {
        for (text, part) in [
            ("", "no such kind"),
            ("hangs", "no such kind"),
            ("hang:ring=sdma2.gfx", "is no ring"),
            ("hang:ring=gfx", "is no ring"),
            ("hang:after=-1", "after"),
            ("hang:after", "KEY=VALUE"),
            ("hang:after=1,after=2", "twice"),
            ("hang:every=2", "hang has no every"),
            ("lose-irq:every=0", "every: 1 to"),
            ("delay-irq", "by is missing"),
            ("delay-irq:by=5", "no time"),
            ("delay-irq:by=99999999999999999s", "no time"),
            ("corrupt-pte:vmid=16", "vmid: 0 to 15"),
            ("ecc:page=5", "multiple of 4096"),
            ("slow-dma", "factor is missing"),
            ("remove:at=BIOS_SCRATCH_7", "REGISTER=VALUE"),
            ("remove:at=BIOS_SCRETCH_7=1", "is BIOS_SCRATCH_7 meant?"),
            ("remove:at=VM_L2_CNTL=1", "several"),
        ] {
            let error = text.parse::<Spec>().map(|s| s.kind).unwrap_err().to_string();
            assert!(error.contains(part) && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn turns_come_as_asked() {
        let hits = |mut turns: Turns| {
            (0..12).map(|_| turns.hit().map_or('-', |hit| if hit { 'x' } else { '.' })).collect::<String>()
        };
        assert_eq!(hits(Turns { after: 2, every: None }), "..x---------");
        assert_eq!(hits(Turns { after: 0, every: Some(3) }), "x..x..x..x..");
        assert_eq!(hits(Turns { after: 1, every: Some(1) }), ".xxxxxxxxxxx");
    }
}
