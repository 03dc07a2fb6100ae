// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Which segment of a domain is whose, when the driver has one of its own.
#![allow(clippy::unwrap_used, missing_docs)]

use uvm_policy::{Begin, BoConfig, Domain, DomainMask, Error, MoveOptions, Outcome, Policy, SegmentDesc, SegmentKind};

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
    let bo = policy.bo_create(&BoConfig { size: 12 * MIB, align: 0, allowed: DomainMask::ALL }).unwrap();

    let Begin::Started(plan) =
        policy.begin_move(bo, Domain::Vram, &MoveOptions { empty: true, ..Default::default() }).unwrap()
    else {
        panic!("nothing to do")
    };
    let location = policy.complete(plan.token, Outcome::Done).unwrap();

    assert_eq!(location.offset, 0);
    let more = policy.bo_create(&BoConfig { size: 4096, align: 0, allowed: DomainMask::ALL }).unwrap();
    let full = policy.begin_move(more, Domain::Vram, &MoveOptions { empty: true, ..Default::default() });
    assert_eq!(full.err(), Some(Error::NoSpace));
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
