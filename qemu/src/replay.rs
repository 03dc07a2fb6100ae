// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! `cargo vm replay`: what a guest's memory manager was told is told to this build's policy, and what that asks for is held
//! against what was asked for in the guest.

use std::fmt::Write;
use std::path::Path;

use uvm_policy::record::{record_at, replay as replay_log, Record, Replayed, Stopped};

use crate::failure::Failure;

/// How many records before the first difference are told with it.
const BEFORE: usize = 8;

/// Replays the record in `file`.
///
/// # Errors
/// [`Failure::BadInput`] for what is no record, [`Failure::OtherReplay`] with the first difference.
pub fn replay(file: &Path) -> Result<Replayed, Failure> {
    let bad = |reason: String| Failure::BadInput(format!("{}: {reason}", file.display()));
    let log = std::fs::read(file).map_err(|error| bad(error.to_string()))?;
    if log.is_empty() {
        return Err(bad("empty".into()));
    }
    replay_log(&log).map_err(|stopped| match stopped {
        Stopped::Malformed(at) => bad(format!("no record of the memory manager at byte {at}")),
        stopped => Failure::OtherReplay(told(&log, stopped)),
    })
}

/// The first difference, and what led to it.
fn told(log: &[u8], stopped: Stopped) -> String {
    let (at, seen) = match stopped {
        Stopped::Malformed(at) => (at, "no record".to_owned()),
        Stopped::Answer(at, [status, value]) => (at, format!("another answer: {status} {value:#x}")),
        Stopped::Action(at, Some(issued)) => (at, format!("another action: {:x?}", issued.action)),
        Stopped::Action(at, None) => (at, "no action".to_owned()),
        Stopped::Range(at) => (at, "what others did does not come out the same".to_owned()),
        Stopped::NoMemory => (0, "no memory to replay it".to_owned()),
    };
    let mut text = format!("the replay differs at byte {at}: {seen}. The record:");
    let (mut last, mut next) = (Vec::new(), 0);
    while let Some(record) = record_at(log, next).filter(|_| next <= at) {
        let from = next;
        next = record.next;
        last.push((from, record));
        if last.len() > BEFORE + 1 {
            last.remove(0);
        }
    }
    for (from, Record { name, words, .. }) in last {
        let mark = if from == at { '>' } else { ' ' };
        // A String takes everything.
        let _ = write!(text, "\n{mark} {from:>8} {name} {words:x?}");
    }
    text
}

#[cfg(test)]
mod tests {
    use uvm_policy::event::{Event, Reply};
    use uvm_policy::record::Recorder;
    use uvm_policy::{EvictKind, Limits, ManagerConfig, Policy, SegmentTable};

    use super::*;

    /// A short record, and one whose last answer is false.
    fn logs() -> (Vec<u8>, Vec<u8>) {
        let config = ManagerConfig { chunk: 4096, evict: EvictKind::Clock };
        let table = SegmentTable::discrete(1 << 20, 1 << 20, 0, 1 << 20, 1 << 16).unwrap();
        let mut policy = Policy::new(4096).unwrap();
        for segment in table.as_slice() {
            policy.add_segment_of(segment).unwrap();
        }
        policy.start(&config).unwrap();
        let mut bytes = [0; 256];
        let mut log = Recorder::new(&mut bytes);
        log.start(4096, table.as_slice(), &config);
        let open = Event::Open(Limits { total: 7, local: 8, pages: 9 });
        let answer = policy.handle(&open);
        log.event(&open, &answer);
        let good = log.bytes().to_vec();
        log.event(&Event::Tick, &Ok(Reply::Freeing(9)));
        (good, log.bytes().to_vec())
    }

    #[test]
    fn difference_is_told_with_what_led_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("record");
        let (good, other) = logs();
        std::fs::write(&file, &good).unwrap();
        assert_eq!(replay(&file).unwrap().events, 1);

        std::fs::write(&file, &other).unwrap();
        let text = replay(&file).unwrap_err().to_string();
        assert!(text.contains(&format!("differs at byte {}: another answer: 0 0x0", good.len())), "{text}");
        assert!(text.contains("Start [1000, 1000, 1,") && text.contains("Open [7, 8,"), "{text}");
        assert!(text.contains(&format!("\n> {:>8} Tick", good.len())), "{text}");
    }

    #[test]
    fn what_is_no_record_is_bad_input() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("record");
        assert_eq!(replay(&file).unwrap_err().exit_status(), 2);
        for bytes in [&b""[..], b"text"] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(replay(&file).unwrap_err().exit_status(), 2, "{bytes:?}");
        }
    }
}
