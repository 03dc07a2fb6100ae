// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The guest kernel's own trace (ftrace's text, as `trace` and `trace-cmd report` give it) on the device's time line.
//!
//! The two clocks have nothing in common but the interrupts: each vector carries the device's time, and the driver's events
//! repeat it as `stamp`. No vector is read before it was written, no fence is reached before its job was handed over. What
//! these leave as the difference of the clocks is an interval; its end where the fastest interrupt lies is taken.

use super::event::{Event, RingId, Stage};
use super::TraceError;
use crate::bus::CLOCK_HZ;
use crate::sdma::packet::{decode, Packet, MAX_FIXED};
use std::collections::HashMap;
use thiserror::Error;

/// Nanoseconds of a tick of the device's clock.
const TICK: i128 = 1_000_000_000 / CLOCK_HZ as i128;
/// What ftrace cuts off a time, nanoseconds.
const CUT: i128 = 999;

/// Why the two do not join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The device's trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// There is no line of an event in the text.
    #[error("{0}: no event of the Linux kernel's trace in it")]
    Foreign(String),
    /// The driver's events name no vector that the device wrote.
    #[error(
        "{0}: none of its interrupts is in the device's trace; were the events of uvm on, and is it the same run?"
    )]
    Stranger(String),
    /// An effect would come before its cause.
    #[error("{name}: not of the device's run: a job would begin {nanoseconds} ns after its fence")]
    Contradiction {
        /// The text's name.
        name: String,
        /// By how much at the least.
        nanoseconds: i128,
    },
}

/// An event of the guest's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestEvent {
    /// When, in ticks of the device's clock.
    pub time: u64,
    /// Who ran: name and number of the task.
    pub task: String,
    /// Processor.
    pub cpu: u32,
    /// The event's name.
    pub name: String,
    /// What the event says: `field=value` ...
    pub text: String,
    /// The device's name of the fault that it is about.
    pub fault: Option<u64>,
    /// SDMA instance and fence that it is about.
    pub fence: Option<(u32, u32)>,
}

impl GuestEvent {
    /// The value of a field, as it stands there.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
    fn number<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        let word = self.field(name)?;
        let value = match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        T::try_from(value.ok()?).ok()
    }
}

/// The guest's events by the device's clock.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    events: Vec<GuestEvent>,
    /// How far the difference of the two clocks is known, nanoseconds; None where only one side bounds it.
    pub doubt: Option<u64>,
}

/// What the device's trace knows that the guest knows too.
#[derive(Default)]
struct Device {
    /// Time of each vector by its stamp.
    vectors: HashMap<u64, u64>,
    /// Fault of each vector by its stamp.
    faults: HashMap<u64, u64>,
    /// When each fence of the driver's was reached last, by instance and value: a driver that is loaded anew counts anew.
    fences: HashMap<(u32, u32), u64>,
}

/// Bits of a vector's time.
const STAMP: u64 = (1 << 48) - 1;

impl Device {
    fn of(trace: impl Iterator<Item = Result<(u64, Event), TraceError>>) -> Result<Self, TraceError> {
        let mut device = Self::default();
        for item in trace {
            let (time, event) = match item {
                Ok(item) => item,
                // A trace that was cut off joins as far as it goes.
                Err(TraceError::Cut { .. }) => break,
                Err(error) => return Err(error),
            };
            match event {
                Event::Interrupt { vector, delivered: true } => {
                    let stamp = u64::from(vector[1]) | u64::from(vector[2]) << 32;
                    device.vectors.insert(stamp & STAMP, time);
                }
                Event::Fault { id, stage: Stage::Delivered { stamp, .. } } => {
                    device.faults.insert(stamp & STAMP, id);
                }
                Event::Packet { ring, indirect: false, dwords, .. } => {
                    if let Some(fence) = fence_of(ring, &dwords) {
                        device.fences.insert(fence, time);
                    }
                }
                _ => {}
            }
        }
        Ok(device)
    }
}

impl Guest {
    /// Joins `text`, called `name` in errors, with the device's trace.
    pub fn join(
        trace: impl Iterator<Item = Result<(u64, Event), TraceError>>,
        text: &str,
        name: &str,
    ) -> Result<Self, JoinError> {
        let mut lines: Vec<(i128, GuestEvent)> = text.lines().filter_map(parse).collect();
        if lines.is_empty() {
            return Err(JoinError::Foreign(name.into()));
        }
        let device = Device::of(trace)?;
        // Guest time minus device time: at least what jobs say, at most what interrupts say.
        let (mut least, mut most) = (None::<i128>, None::<i128>);
        for (time, event) in &mut lines {
            let stamp: Option<u64> = event.number("stamp");
            if let Some(at) = stamp.and_then(|stamp| device.vectors.get(&stamp)) {
                let bound = *time + CUT - i128::from(*at) * TICK;
                most = Some(most.map_or(bound, |most| most.min(bound)));
            }
            event.fault = stamp.and_then(|stamp| device.faults.get(&stamp).copied());
            if event.name == "uvm_job_run" {
                event.fence = event.number("ring").zip(event.number("seq"));
                if let Some(at) = event.fence.and_then(|fence| device.fences.get(&fence)) {
                    let bound = *time - i128::from(*at) * TICK;
                    least = Some(least.map_or(bound, |least| least.max(bound)));
                }
            }
        }
        let Some(most) = most else { return Err(JoinError::Stranger(name.into())) };
        if let Some(least) = least.filter(|&least| least > most) {
            return Err(JoinError::Contradiction { name: name.into(), nanoseconds: least - most });
        }
        let doubt = least.and_then(|least| u64::try_from(most - least).ok());
        let at = |time: i128| u64::try_from((time + CUT - most).max(0) / TICK).unwrap_or(u64::MAX);
        let mut events: Vec<GuestEvent> =
            lines.into_iter().map(|(time, event)| GuestEvent { time: at(time), ..event }).collect();
        events.sort_by_key(|event| event.time);
        Ok(Self { events, doubt })
    }
    /// The events in the order of their times.
    pub fn events(&self) -> &[GuestEvent] {
        &self.events
    }
}

/// The fence that a packet in the driver's own ring writes: instance and value.
pub(super) fn fence_of(ring: RingId, dwords: &[u32]) -> Option<(u32, u32)> {
    let mut fixed = [0; MAX_FIXED];
    fixed.iter_mut().zip(dwords).for_each(|(to, &dword)| *to = dword);
    match decode(&fixed) {
        Ok(Packet::Fence { value, .. }) if ring.ring == 0 => Some((ring.instance.into(), value)),
        _ => None,
    }
}

/// `TASK-PID [CPU] FLAGS SECONDS.MICROS: NAME: TEXT`; the flags may be missing. Nanoseconds, and the event.
fn parse(line: &str) -> Option<(i128, GuestEvent)> {
    let (head, rest) = line.split_once(": ")?;
    let (task, place) = head.split_once('[')?;
    let (cpu, place) = place.split_once(']')?;
    let (seconds, micros) = place.split_whitespace().next_back()?.split_once('.')?;
    let (name, text) = rest.split_once(':')?;
    let micros: i128 = match micros.len() {
        6 => micros.parse::<u32>().ok()?.into(),
        _ => return None,
    };
    let time = i128::from(seconds.parse::<u64>().ok()?) * 1_000_000_000 + micros * 1000;
    let event = GuestEvent {
        time: 0,
        task: task.trim().into(),
        cpu: cpu.trim().parse().ok()?,
        name: name.trim().into(),
        text: text.trim().into(),
        fault: None,
        fence: None,
    };
    (!event.name.is_empty() && !event.name.contains(' ')).then_some((time, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernels_trace_are_events() {
        let line = "  kworker/u9:1-57      [001] d..2.    12.000345: uvm_page_fault: stamp=0x10 vmid=3 va=0x1000";
        let (time, event) = parse(line).unwrap();
        assert_eq!((time, event.cpu, event.task.as_str()), (12_000_345_000, 1, "kworker/u9:1-57"));
        assert_eq!((event.name.as_str(), event.number("stamp")), ("uvm_page_fault", Some(16u64)));
        assert_eq!(event.field("va"), Some("0x1000"));
        let (_, report) = parse("     sh-12    [000]   1.000001: sys_enter: NR 1 (2)").unwrap();
        assert_eq!(report.name, "sys_enter");
    }

    #[test]
    fn what_is_no_event_is_none() {
        for line in
            ["", "# tracer: nop", "a-1 [0] 1.2: x: y", "a-1 [z] 1.000000: x: y", "CPU:1 [LOST 3 EVENTS]", "x: y"]
        {
            assert!(parse(line).is_none(), "{line}");
        }
    }

    /// A device that wrote a vector at 100 us and reached a fence at 300 us.
    fn device() -> impl Iterator<Item = Result<(u64, Event), TraceError>> {
        let ring = RingId::new(0, 0);
        let mut vector = [0; 8];
        vector[1] = 10_000;
        let fence = vec![5, 0x1000, 0, 7];
        let packet = Event::Packet { ring, vmid: 0, indirect: false, at: 0, dwords: fence };
        [
            (10_000, Event::Interrupt { vector, delivered: true }),
            (10_000, Event::Fault { id: 3, stage: Stage::Delivered { stamp: 10_000, cam: 0 } }),
            (30_000, packet),
        ]
        .into_iter()
        .map(Ok)
    }

    #[test]
    fn interrupts_and_jobs_set_the_clock() {
        let text =
            "a-1 [000] 5.000250: uvm_job_run: ring=0 seq=7\nb-2 [001] 5.000150: uvm_page_fault: stamp=0x2710 va=0\n";
        let guest = Guest::join(device(), text, "text").unwrap();
        let [fault, job] = guest.events() else { panic!("{guest:?}") };
        assert_eq!((fault.time, fault.fault, fault.name.as_str()), (10_000, Some(3), "uvm_page_fault"));
        assert_eq!((job.time, job.fence), (20_000, Some((0, 7))));
        // Between 4.99995 s, when the fence was reached, and 5.00005 s, when the vector was written, and a cut.
        assert_eq!(guest.doubt, Some(100_999));
    }

    #[test]
    fn what_does_not_join_is_refused() {
        let late =
            "a-1 [000] 5.000500: uvm_job_run: ring=0 seq=7\nb-2 [001] 5.000150: uvm_page_fault: stamp=0x2710 va=0\n";
        let refused = |text: &str| Guest::join(device(), text, "text").unwrap_err().to_string();
        assert_eq!(refused(late), "text: not of the device's run: a job would begin 149001 ns after its fence");
        assert!(refused("a-1 [000] 5.000500: uvm_vector: stamp=0x9\n").starts_with("text: none of its interrupts"));
        assert!(refused("VERSION 20070824\n").starts_with("text: no event"));
    }
}
