// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What two drivers program differently: their register writes aligned by name, then compared by field.
//!
//! Who writes counts, when does not; what only one of the two does is told as such, and what both do with other values is
//! told by the fields that differ.

use super::event::{Event, Who};
use super::text::{describe_register, name};
use super::TraceError;
use similar::{Algorithm, DiffOp};
use std::fmt::Write;
use std::time::{Duration, Instant};
use uvm_spec::lookup;

/// Longest search for the best alignment; what it found by then is taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A register write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Programmed {
    /// By whom.
    pub who: Who,
    /// Dword index.
    pub index: u32,
    /// What was written.
    pub value: u32,
    /// Number of the event.
    pub event: u64,
}

/// A difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the first does it.
    OnlyA(Programmed),
    /// Only the second does it.
    OnlyB(Programmed),
    /// Both do it, with different values.
    Value(Programmed, Programmed),
}

/// Two runs, aligned.
#[derive(Clone, Debug)]
pub struct Diff {
    /// What differs, in the order of the runs.
    pub differences: Vec<Difference>,
    /// Writes that are the same.
    pub same: usize,
    /// What both wrote last before the first difference.
    pub before: Option<Programmed>,
}

fn programming(trace: impl Iterator<Item = Result<(u64, Event), TraceError>>) -> Result<Vec<Programmed>, TraceError> {
    let mut list = Vec::new();
    for (event, item) in (0..).zip(trace) {
        if let (_, Event::Register { who, write: true, index, value }) = item? {
            list.push(Programmed { who, index, value, event });
        }
    }
    Ok(list)
}

impl Diff {
    /// Compares `a` with `b`.
    pub fn new(
        a: impl Iterator<Item = Result<(u64, Event), TraceError>>,
        b: impl Iterator<Item = Result<(u64, Event), TraceError>>,
    ) -> Result<Self, TraceError> {
        Ok(Self::of(&programming(a)?, &programming(b)?))
    }
    /// Compares two sequences of writes.
    pub fn of(a: &[Programmed], b: &[Programmed]) -> Self {
        let key = |p: &Programmed| (p.who == Who::Driver, p.index);
        let (keys_a, keys_b): (Vec<_>, Vec<_>) = (a.iter().map(key).collect(), b.iter().map(key).collect());
        let deadline = Instant::now().checked_add(PATIENCE);
        let ops = similar::capture_diff_slices_deadline(Algorithm::Myers, &keys_a, &keys_b, deadline);
        let mut diff = Self { differences: Vec::new(), same: 0, before: None };
        let part =
            |list: &[Programmed], at: usize, len: usize| list.iter().copied().skip(at).take(len).collect::<Vec<_>>();
        for op in ops {
            match op {
                DiffOp::Equal { old_index, new_index, len } => {
                    for (old, new) in part(a, old_index, len).into_iter().zip(part(b, new_index, len)) {
                        if old.value != new.value {
                            diff.differences.push(Difference::Value(old, new));
                            continue;
                        }
                        diff.same += 1;
                        if diff.differences.is_empty() {
                            diff.before = Some(old);
                        }
                    }
                }
                other => {
                    let (_, old, new) = other.as_tag_tuple();
                    diff.differences.extend(part(a, old.start, old.len()).into_iter().map(Difference::OnlyA));
                    diff.differences.extend(part(b, new.start, new.len()).into_iter().map(Difference::OnlyB));
                }
            }
        }
        diff
    }
    /// Whether both program the same.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }
    /// The differences as text, at most `most` of them.
    pub fn describe(&self, most: usize) -> String {
        let mut text = String::new();
        let Some(first) = self.differences.first() else {
            return format!("the same register programming: {} writes\n", self.same);
        };
        let _ = match self.before {
            Some(p) => writeln!(text, "the same up to {}", line(p)),
            None => writeln!(text, "different from the start"),
        };
        let _ = writeln!(text, "first divergence: {}", explain(first));
        for difference in self.differences.iter().take(most) {
            let _ = match difference {
                Difference::OnlyA(p) => writeln!(text, "- {}", line(*p)),
                Difference::OnlyB(p) => writeln!(text, "+ {}", line(*p)),
                Difference::Value(a, b) => writeln!(text, "! #{} and #{}: {}", a.event, b.event, explain_value(*a, *b)),
            };
        }
        let hidden = self.differences.len().saturating_sub(most);
        if hidden > 0 {
            let _ = writeln!(text, "and {hidden} more");
        }
        let _ = writeln!(text, "{} writes differ, {} are the same", self.differences.len(), self.same);
        text
    }
}

fn line(p: Programmed) -> String {
    let by = match p.who {
        Who::Driver => String::new(),
        Who::Sdma(n) => format!(" by SDMA{n}"),
    };
    format!("#{} {}{by}", p.event, describe_register(p.index, p.value))
}

fn explain(difference: &Difference) -> String {
    match difference {
        Difference::OnlyA(p) => format!("only the first writes {}", line(*p)),
        Difference::OnlyB(p) => format!("only the second writes {}", line(*p)),
        Difference::Value(a, b) => explain_value(*a, *b),
    }
}

/// The fields of a register that two values differ in.
fn explain_value(a: Programmed, b: Programmed) -> String {
    let fields = lookup(a.index).map_or(&[][..], |located| located.reg.fields);
    let mut parts: Vec<String> = fields
        .iter()
        .filter(|f| f.get(a.value) != f.get(b.value))
        .map(|f| format!("{} {:#x} -> {:#x}", f.name, f.get(a.value), f.get(b.value)))
        .collect();
    let named = fields.iter().fold(0, |mask, f| mask | f.mask());
    let rest = (a.value ^ b.value) & !named;
    if rest != 0 && !fields.is_empty() {
        parts.push(format!("bits {rest:#x} of no field"));
    }
    let fields = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    format!("{} {:#010x} -> {:#010x}{fields}", name(a.index), a.value, b.value)
}
