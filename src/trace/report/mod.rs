// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! A trace as one page: what is drawn, in a fixed number of columns of time. `page` draws it.

mod page;
mod svg;

use super::event::{Event, RingId, Stage};
use super::stat::Stat;
use super::TraceError;
use crate::check::{Finding, Rule};
use crate::gmc::{Phys, Space};
use std::collections::{BTreeMap, HashMap};
use uvm_spec::{PAGE_SHIFT, PAGE_SIZE};

/// Columns of time.
pub const COLUMNS: usize = 240;
/// Rows of the map of VRAM.
pub const ROWS: usize = 64;
/// Most faults that are drawn, and most pages that are counted.
const MOST_FAULTS: usize = 400;
const MOST_PAGES: usize = 1 << 20;
/// Longest access that counts in full, bytes.
const LONGEST_ACCESS: u64 = 1 << 20;

/// What happened to a part of VRAM in a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Bytes that a copy brought.
    pub copied_in: u64,
    /// Bytes that were written otherwise: fills, tables, fences.
    pub written: u64,
    /// Bytes that were read or copied away.
    pub read: u64,
}

/// What happened in a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Bytes copied from RAM to VRAM, from VRAM to RAM, and within either.
    pub copied: [u64; 3],
    /// Translations that a cache held, and walks.
    pub tlb: (u64, u64),
    /// Faults raised.
    pub faults: u64,
    /// Bytes that waited in each ring whose pointers moved: most, and last.
    pub waiting: BTreeMap<RingId, (u64, u64)>,
}

/// A fault's life, reference clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the stages")]
pub struct Life {
    pub id: u64,
    pub vmid: u8,
    pub va: u64,
    pub raised: u64,
    pub delivered: Option<u64>,
    pub acknowledged: Option<u64>,
    pub retried: Option<u64>,
}

/// Bytes of a page that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what they say")]
pub struct Heat {
    pub read: u64,
    pub written: u64,
}

/// What a page shows.
#[derive(Debug)]
pub struct Report {
    stat: Stat,
    /// Time of the first event behind the header, and reference clocks to the last.
    first: u64,
    span: u64,
    vram_size: u64,
    full: bool,
    map: Vec<[Cell; ROWS]>,
    columns: Vec<Column>,
    lives: Vec<Life>,
    more_faults: u64,
    pages: HashMap<Phys, Heat>,
    tlb: (u64, u64),
    /// Where the current copies go: what is stored there is no other write.
    copies: Vec<(u64, u64)>,
    /// Faults by number: their place among those that are drawn.
    drawn: HashMap<u64, usize>,
    /// What the driver did wrong, and how often by rule; None if nobody judged.
    findings: Option<(Vec<Finding>, BTreeMap<Rule, u64>)>,
}

impl Report {
    /// Reads the trace that `open` gives twice: once for its span, once for what happened when.
    pub fn of<I>(open: impl Fn() -> Result<I, TraceError>) -> Result<Self, TraceError>
    where
        I: Iterator<Item = Result<(u64, Event), TraceError>>,
    {
        let (mut stat, mut first, mut last) = (Stat::default(), None, 0);
        for item in open()? {
            let (time, event) = item?;
            stat.event(time, &event);
            last = time;
            // A guest may boot for long before its driver comes.
            if !matches!(event, Event::Device { .. }) {
                first.get_or_insert(time);
            }
        }
        let first = first.unwrap_or(0);
        let mut report = Self {
            stat,
            first,
            span: last.saturating_sub(first).max(1),
            vram_size: 1,
            full: false,
            map: vec![[Cell::default(); ROWS]; COLUMNS],
            columns: vec![Column::default(); COLUMNS],
            lives: Vec::new(),
            more_faults: 0,
            pages: HashMap::new(),
            tlb: (0, 0),
            copies: Vec::new(),
            drawn: HashMap::new(),
            findings: None,
        };
        for item in open()? {
            let (time, event) = item?;
            report.event(time, &event);
        }
        Ok(report)
    }
    /// Whether the trace can be replayed.
    pub fn is_full(&self) -> bool {
        self.full
    }
    /// Adds what the checks found: findings, and how often each rule was broken.
    pub fn with_findings(self, findings: Vec<Finding>, counts: BTreeMap<Rule, u64>) -> Self {
        Self { findings: Some((findings, counts)), ..self }
    }
    /// The map of VRAM: columns of time, each from the first byte on.
    pub fn map(&self) -> &[[Cell; ROWS]] {
        &self.map
    }
    /// The columns of time.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }
    /// The faults that are drawn.
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }
    /// The `most` pages that most bytes were read from or written to.
    pub fn hottest(&self, most: usize) -> Vec<(Phys, Heat)> {
        let mut pages: Vec<(Phys, Heat)> = self.pages.iter().map(|(&at, &heat)| (at, heat)).collect();
        pages.sort_by_key(|(at, heat)| {
            (std::cmp::Reverse(heat.read.saturating_add(heat.written)), at.space == Space::System, at.addr)
        });
        pages.truncate(most);
        pages
    }
    /// The page: one HTML file that needs nothing else. `name` is the trace's.
    pub fn html(&self, name: &str) -> String {
        page::page(self, name)
    }

    fn column(&mut self, time: u64) -> usize {
        let at = u128::from(time.saturating_sub(self.first)) * COLUMNS as u128 / (u128::from(self.span) + 1);
        usize::try_from(at).unwrap_or(0).min(COLUMNS - 1)
    }
    fn event(&mut self, time: u64, event: &Event) {
        let column = self.column(time);
        match event {
            Event::Device { config, depth, .. } => {
                self.vram_size = config.vram_size.max(1);
                self.full = *depth == super::Depth::Full;
            }
            Event::Copy { from, to, bytes, .. } => {
                let vram = |at: Phys| at.space == Space::Vram;
                let way = match (from.map(vram), vram(*to)) {
                    (Some(false), true) => 0,
                    (Some(true), false) => 1,
                    _ => 2,
                };
                if let Some(bucket) = self.columns.get_mut(column).and_then(|c| c.copied.get_mut(way)) {
                    *bucket = bucket.saturating_add(*bytes);
                }
                if vram(*to) {
                    self.copies.push((to.addr, to.addr.saturating_add(*bytes)));
                    self.touch(column, to.addr, *bytes, |cell| &mut cell.copied_in);
                }
            }
            Event::Load { at, data } => self.access(column, *at, data.len() as u64, false),
            Event::Store { at, len, .. } => self.access(column, *at, *len, true),
            Event::Ring { ring, rptr, wptr } => {
                if let Some(column) = self.columns.get_mut(column) {
                    let now = wptr.wrapping_sub(*rptr);
                    let (most, last) = column.waiting.entry(*ring).or_default();
                    (*most, *last) = ((*most).max(now), now);
                }
            }
            Event::Reset => self.tlb = (0, 0),
            Event::Tlb { hits, walks } => {
                let (h, w) = std::mem::replace(&mut self.tlb, (*hits, *walks));
                if let Some(column) = self.columns.get_mut(column) {
                    column.tlb.0 = column.tlb.0.saturating_add(hits.saturating_sub(h));
                    column.tlb.1 = column.tlb.1.saturating_add(walks.saturating_sub(w));
                }
            }
            Event::Fault { id, stage } => self.fault(column, time, *id, stage),
            // Copies are told together, then made.
            Event::Walk { .. } | Event::Packet { .. } | Event::Call(_) => self.copies.clear(),
            _ => {}
        }
    }
    /// Memory was read or written.
    fn access(&mut self, column: usize, at: Phys, len: u64, write: bool) {
        let page = Phys { space: at.space, addr: at.addr >> PAGE_SHIFT << PAGE_SHIFT };
        // A traced access is short: it touches few pages, whatever a file says.
        let mut rest = len.min(LONGEST_ACCESS);
        let mut here = page;
        while rest > 0 {
            let n = rest.min(PAGE_SIZE);
            if self.pages.len() < MOST_PAGES || self.pages.contains_key(&here) {
                let heat = self.pages.entry(here).or_default();
                let bytes = if write { &mut heat.written } else { &mut heat.read };
                *bytes = bytes.saturating_add(n);
            }
            rest -= n;
            here.addr = here.addr.saturating_add(PAGE_SIZE);
        }
        if at.space != Space::Vram {
            return;
        }
        if !write {
            self.touch(column, at.addr, len, |cell| &mut cell.read);
        } else if !self.copies.iter().any(|&(start, end)| (start..end).contains(&at.addr)) {
            self.touch(column, at.addr, len, |cell| &mut cell.written);
        }
    }
    fn touch(&mut self, column: usize, addr: u64, len: u64, bytes: impl Fn(&mut Cell) -> &mut u64) {
        let row = |addr: u64| {
            let row = u128::from(addr) * ROWS as u128 / u128::from(self.vram_size);
            usize::try_from(row).unwrap_or(usize::MAX).min(ROWS - 1)
        };
        let (from, to) = (row(addr), row(addr.saturating_add(len.max(1) - 1)));
        let share = len / (to - from + 1) as u64;
        let Some(cells) = self.map.get_mut(column).and_then(|cells| cells.get_mut(from..=to)) else { return };
        for cell in cells {
            let bytes = bytes(cell);
            *bytes = bytes.saturating_add(share.max(1));
        }
    }
    fn fault(&mut self, column: usize, time: u64, id: u64, stage: &Stage) {
        if let Stage::Raised { vmid, va, .. } = stage {
            if let Some(column) = self.columns.get_mut(column) {
                column.faults += 1;
            }
            if self.drawn.contains_key(&id) {
                return;
            }
            if self.lives.len() >= MOST_FAULTS {
                self.more_faults += 1;
                return;
            }
            self.drawn.insert(id, self.lives.len());
            let (delivered, acknowledged, retried) = (None, None, None);
            self.lives.push(Life { id, vmid: *vmid, va: *va, raised: time, delivered, acknowledged, retried });
            return;
        }
        let Some(life) = self.drawn.get(&id).and_then(|&at| self.lives.get_mut(at)) else { return };
        match stage {
            Stage::Delivered { .. } => life.delivered = Some(time),
            Stage::Acknowledged { .. } => life.acknowledged = Some(time),
            Stage::Retried { .. } => life.retried = Some(time),
            _ => {}
        }
    }
}
