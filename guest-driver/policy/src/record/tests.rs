// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Records come back, and what others did is among them.

use super::*;

#[test]
fn numbers_of_any_size_come_back() {
    let mut bytes = [0; 64];
    let values = [0, 1, 127, 128, 1 << 32, u64::MAX];
    let mut log = Recorder::new(&mut bytes);
    assert!(values.into_iter().all(|value| log.number(value)));

    let mut reader = Reader { log: log.bytes(), at: 0 };

    assert_eq!(values.map(|_| reader.number().unwrap()), values);
    assert_eq!(reader.number(), None);
}

#[test]
fn record_that_does_not_fit_leaves_the_log_as_it_was() {
    let mut bytes = [0; 8];
    let mut log = Recorder::new(&mut bytes);
    log.event(&Event::Tick, &Ok(Reply::Done));
    let before = log.bytes().len();

    log.event(&Event::Pressure(u64::MAX), &Ok(Reply::Freeing(0)));

    assert_eq!((log.bytes().len(), log.lost()), (before, 1));
}

/// A log of events on a segment of which others take ranges, with what those did or without.
fn log_beside_others(told: bool) -> Vec<u8> {
    let mut policy = Policy::new(4096).unwrap();
    let config = ManagerConfig { chunk: 4096, evict: EvictKind::Lru };
    let segments = [
        SegmentDesc { kind: SegmentKind::Local, base: 0, size: 16 << 12 },
        SegmentDesc { kind: SegmentKind::Snooped, base: 0, size: 16 << 12 },
        SegmentDesc { kind: SegmentKind::Paging, base: 1 << 20, size: 4 << 12 },
    ];
    for segment in &segments {
        policy.add_segment_of(segment).unwrap();
    }
    policy.start(&config).unwrap();
    let mut bytes = [0; 4096];
    let mut log = Recorder::new(&mut bytes);
    log.start(4096, &segments, &config);
    policy.begin_notes();

    let request =
        |pages: u64| crate::AllocRequest { size: pages << 12, align: 0, from: crate::From::Bottom, within: None };
    let mut tell = |policy: &mut Policy, event: &Event| {
        let answer = policy.handle(event);
        if told {
            policy.record_notes(&mut log);
        }
        log.event(event, &answer);
        while let Some(issued) = policy.next_action() {
            log.action(&issued);
            if let Some(id) = issued.id {
                let done = Event::Done(id, Ok(()));
                let answer = policy.handle(&done);
                log.event(&done, &answer);
            }
        }
        answer.unwrap()
    };
    let Reply::Process(process) = tell(&mut policy, &Event::Open(Limits::NONE)) else { panic!("no process") };
    let (first, second) = (policy.alloc(SegmentId(0), &request(2)), policy.alloc(SegmentId(0), &request(3)));
    policy.free(first.unwrap().id).unwrap();
    policy.retire(SegmentId(0), 0).unwrap();
    let placements = Placements::new(&[SegmentKind::Local]).unwrap();
    let spec = Spec { size: 2 << 12, align: 0, placements, priority: 1, pageable: true, fallback: false };
    let Reply::Bo(bo) = tell(&mut policy, &Event::Create(process, spec)) else { panic!("no buffer") };
    // Behind the other's range, as its hole lacks a page.
    tell(&mut policy, &Event::Submit { process, bos: &[bo], addressed: false });
    policy.free(second.unwrap().id).unwrap();
    tell(&mut policy, &Event::Tick);
    assert_eq!(log.lost(), 0);
    log.bytes().to_vec()
}

#[test]
fn ranges_of_others_are_part_of_the_log() {
    let log = log_beside_others(true);

    // Open, Create, Submit, the end of a Clear, Tick; Clear and Ready.
    assert_eq!(replay(&log), Ok(Replayed { events: 5, actions: 2 }));
    assert!(matches!(replay(&log_beside_others(false)), Err(Stopped::Answer(..) | Stopped::Action(..))));
    // Twice, as when a driver was loaded twice.
    assert!(replay(&[&log[..], &log[..]].concat()).is_ok());
}

#[test]
fn records_are_read_one_after_another() {
    let log = log_beside_others(true);
    let mut names = Vec::new();
    let mut at = 0;
    while let Some(record) = record_at(&log, at) {
        names.push(record.name);
        at = record.next;
    }

    assert_eq!(at, log.len());
    assert_eq!(names[..7], ["Start", "Open", "Take", "Take", "Give", "Retire", "Create"]);
}

#[test]
fn room_is_enough_for_notes_and_the_longest_record() {
    let mut policy = Policy::new(4096).unwrap();
    policy.begin_notes();
    let note = Note::Took { segment: SegmentId(255), offset: u64::MAX, size: u64::MAX };
    (0..5).for_each(|_| policy.journal.note(note));
    let bos = [BoId::from_raw(u64::MAX); 9];
    let mut bytes = alloc::vec![0; policy.record_room(bos.len())];
    let mut log = Recorder::new(&mut bytes);
    policy.record_notes(&mut log);
    let submit = Event::Submit { process: ProcessId::from_raw(u64::MAX), bos: &bos, addressed: true };
    log.event(&submit, &Err(Error::Busy));

    assert_eq!(log.lost(), 0);
}

#[test]
fn logs_that_are_none_stop_the_replay() {
    assert_eq!(replay(&[]), Ok(Replayed::default()));
    for log in [&[1u8][..], &[0x80; 20], &[16, 0], &[1, 3, 0, 0, 0], &[2, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
        assert_eq!(replay(log), Err(Stopped::Malformed(0)), "{log:?}");
    }
}
