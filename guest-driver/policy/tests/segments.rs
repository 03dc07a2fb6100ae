// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which segment of a domain is whose, when the driver has one of its own.
#![allow(clippy::unwrap_used, missing_docs)]

use uvm_policy::event::{Action, Event, Reply};
use uvm_policy::{
    Domain, Error, Limits, Location, ManagerConfig, Placements, Policy, Residence, SegmentDesc, SegmentKind, Spec,
};

const MIB: u64 = 1 << 20;

fn policy() -> Policy {
    let mut policy = Policy::new(4096).unwrap();
    for (kind, base, size) in [
        (SegmentKind::Local, 0, 12 * MIB),
        (SegmentKind::OwnLocal, 12 * MIB, 4 * MIB),
        (SegmentKind::Snooped, 0, 8 * MIB),
        (SegmentKind::Paging, 8 * MIB, 4 * MIB),
    ] {
        policy.add_segment_of(&SegmentDesc { kind, base, size }).unwrap();
    }
    policy
}

#[test]
fn buffers_go_beside_what_is_the_drivers_own() {
    let mut policy = policy();
    policy.start(&ManagerConfig::default()).unwrap();
    let Ok(Reply::Process(process)) = policy.handle(&Event::Open(Limits::NONE)) else { panic!("no process") };
    let placements = Placements::new(&[SegmentKind::Local]).unwrap();
    let mut run = |size| {
        let spec = Spec { size, align: 0, placements, priority: 1, pageable: true, fallback: false };
        let Ok(Reply::Bo(bo)) = policy.handle(&Event::Create(process, spec)) else { panic!("no buffer") };
        policy.handle(&Event::Submit { process, bos: &[bo], addressed: false }).unwrap();
        let mut last = None;
        while let Some(issued) = policy.next_action() {
            issued.id.map(|id| policy.handle(&Event::Done(id, Ok(()))).unwrap());
            last = Some(issued.action);
        }
        (last, policy.residence(bo))
    };

    let (ready, at) = run(12 * MIB);
    assert!(matches!(ready, Some(Action::Ready(_))));
    let start = Location { domain: Domain::Vram, offset: 0 };
    assert_eq!(at, Ok(Residence::Segment(SegmentKind::Local, start)));
    let (refused, _) = run(12 * MIB + 4096);
    assert!(matches!(refused, Some(Action::Refused(_, Error::NoSpace))));
}

#[test]
fn byte_is_found_in_whichever_segment_has_it() {
    let policy = policy();
    let kinds = |domain, offset| policy.segment_at(domain, offset).map(|id| policy.stats(id).unwrap().size / MIB);

    assert_eq!(kinds(Domain::Vram, 12 * MIB - 1), Ok(12));
    assert_eq!(kinds(Domain::Vram, 12 * MIB), Ok(4));
    assert_eq!(kinds(Domain::Gtt, 8 * MIB), Ok(4));
    assert_eq!(kinds(Domain::Vram, 16 * MIB), Err(Error::Invalid));
}

#[test]
fn page_is_retired_in_whichever_segment_has_it() {
    let mut policy = policy();
    let own = policy.segment_of(Domain::Vram).unwrap();
    let rest = policy.buffer_segment_of(Domain::Vram).unwrap();

    for offset in [3 * MIB, 13 * MIB] {
        let segment = policy.segment_at(Domain::Vram, offset).unwrap();
        assert_eq!(policy.retire(segment, offset), Ok(true));
    }

    assert_eq!((policy.retired(own), policy.retired(rest)), (Ok(1), Ok(1)));
}
