// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What is made of traces: counts, differences, a page.

use crate::common::{model::SDMA, packets as p, spaces, spaces::RETRY, *};
use crate::scripted::*;
use proptest::prelude::*;
use vhost_device_uvm::gmc::{Phys, Space};
use vhost_device_uvm::trace::{Depth, Diff, Difference, Event, Programmed, Report, Stat, TraceError, Who};

fn items(events: &[(u64, Event)]) -> impl Iterator<Item = Result<(u64, Event), TraceError>> + '_ {
    events.iter().cloned().map(Ok)
}
fn stat(events: &[(u64, Event)]) -> Stat {
    let mut stat = Stat::default();
    stat.take(items(events)).unwrap();
    stat
}

/// A run of known amounts: copies of 3 MiB into VRAM and 1 MiB out of it by SDMA0, and four faults of VMID 3 with waits of
/// 50 clocks for the answer, and 20 for the mapping behind it.
fn measured() -> Vec<(u64, Event)> {
    let memory = Memory::default();
    let mut rig = Rig::new();
    memory.attach(&mut rig, Depth::Full);
    rig.execute(0, &p::copy(FB + 10 * MIB, AGP + MIB, MIB as u32));
    rig.clock.advance(1_000_000);
    rig.execute(0, &p::copy(FB + 11 * MIB, AGP + MIB, 2 * MIB as u32));
    rig.clock.advance(1_000_000);
    rig.execute(1, &p::copy(AGP + MIB, FB + 8 * MIB, MIB as u32));
    rig.cam_on();
    rig.space(3, spaces::ON | RETRY);
    rig.queue(0, 2, 3);
    for page in 20..24 {
        rig.enqueue(0, 2, 3, &p::fence(page * 4096, 7));
        rig.settle();
        let told = spaces::faults(&rig.take_vectors());
        rig.set_pte(3, page, (9 * MIB) | bit::VRAM);
        rig.clock.advance(50);
        rig.answer(told[0].cam);
        rig.clock.advance(20);
        rig.settle();
    }
    memory.events()
}

#[test]
fn counts_and_latencies_are_those_of_the_run() {
    let events = measured();
    let stat = stat(&events);
    assert_eq!(stat.events, events.len() as u64);
    assert_eq!(stat.copied.get("RAM to VRAM"), Some(&(3 * MIB)));
    assert_eq!(stat.copied.get("VRAM to RAM"), Some(&MIB));
    assert_eq!(stat.packets.get("COPY_LINEAR"), Some(&3));
    assert_eq!(stat.packets.get("FENCE"), Some(&8), "a packet that waits is fetched again");
    let space = stat.vmids[&3];
    assert_eq!((space.faults, space.failed_walks, space.copies), (4, 4, 0));
    assert_eq!((stat.vmids[&0].copied_bytes, stat.vmids[&0].faults), (4 * MIB, 0));
    assert_eq!(stat.delivery, [0; 4]);
    assert_eq!(stat.answer, [50; 4]);
    assert_eq!(stat.retry, [70; 4]);
    let wptr = stat.registers[&(SDMA[0] + reg::RB_WPTR)];
    assert_eq!((wptr.driver, wptr.packets), ([0, 2], [0, 0]));
    let (hits, walks) = stat.tlb();
    let told = events.iter().filter(|(_, e)| matches!(e, Event::Walk { .. })).count() as u64;
    assert_eq!(walks, told);
    assert!(hits > 0);
    let text = stat.to_string();
    for line in ["miss to retry", "p50 0.70 us", "SDMA0_GFX_RB_WPTR ", "RAM to VRAM"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn what_was_lost_is_counted() {
    let stat = stat(&[(0, Event::Lost { events: 3 }), (5, Event::Lost { events: 4 })]);
    assert_eq!(stat.lost, 7);
    assert!(stat.to_string().contains("7 lost"));
}

// Differences.

/// The scripted run with ring sizes of 2^`size` dwords, and a register more where `more` is set.
fn programmed(size: u32, more: bool) -> Vec<(u64, Event)> {
    let memory = Memory::default();
    let mut rig = Rig::bare();
    memory.attach(&mut rig, Depth::Mmio);
    rig.bring_up();
    rig.clock.advance(u64::from(size));
    if more {
        rig.write(SDMA[1] + reg::IB_CNTL, 0);
    }
    rig.write(SDMA[1] + reg::RB_CNTL, 1 | size << 1);
    rig.write(reg::SCRATCH, 9);
    memory.events()
}

#[test]
fn a_run_does_not_differ_from_itself() {
    let diff = Diff::new(items(&programmed(10, false)), items(&programmed(10, false))).unwrap();
    assert!(diff.is_empty() && diff.same > 30, "{diff:?}");
    assert!(diff.describe(10).starts_with("the same register programming"));
}

#[test]
fn a_field_that_differs_is_named() {
    let diff = Diff::new(items(&programmed(10, false)), items(&programmed(9, false))).unwrap();
    assert_eq!(diff.differences.len(), 1);
    let text = diff.describe(10);
    assert!(
        text.contains("first divergence: SDMA1_GFX_RB_CNTL 0x00000015 -> 0x00000013 (RB_SIZE 0xa -> 0x9)"),
        "{text}"
    );
    assert!(text.starts_with("the same up to #"), "{text}");
}

#[test]
fn a_write_that_only_one_makes_shifts_nothing_behind_it() {
    let (a, b) = (programmed(10, false), programmed(9, true));
    let diff = Diff::new(items(&a), items(&b)).unwrap();
    assert_eq!(diff.differences.len(), 2, "{diff:?}");
    assert!(matches!(diff.differences[0], Difference::OnlyB(p) if p.index == SDMA[1] + reg::IB_CNTL));
    assert!(matches!(diff.differences[1], Difference::Value(..)));
    let text = diff.describe(1);
    assert!(text.contains("only the second writes") && text.contains("SDMA1_GFX_IB_CNTL"), "{text}");
    assert!(text.contains("and 1 more"), "{text}");
    let back = Diff::new(items(&b), items(&a)).unwrap();
    assert!(matches!(back.differences[0], Difference::OnlyA(_)));
}

/// The length of the longest common subsequence of names, by the textbook's table.
fn longest(a: &[Programmed], b: &[Programmed]) -> usize {
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            let same = x.index == y.index && (x.who == Who::Driver) == (y.who == Who::Driver);
            table[i + 1][j + 1] = if same { table[i][j] + 1 } else { table[i][j + 1].max(table[i + 1][j]) };
        }
    }
    table[a.len()][b.len()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_alignment_is_the_longest_and_loses_no_write(
        a in prop::collection::vec((0..6u32, 0..3u32, any::<bool>()), 0..40),
        b in prop::collection::vec((0..6u32, 0..3u32, any::<bool>()), 0..40),
    ) {
        let make = |list: &[(u32, u32, bool)]| -> Vec<Programmed> {
            (0..).zip(list).map(|(event, &(index, value, engine))| {
                let who = if engine { Who::Sdma(1) } else { Who::Driver };
                Programmed { who, index, value, event }
            }).collect()
        };
        let (a, b) = (make(&a), make(&b));
        let diff = Diff::of(&a, &b);
        let (mut only_a, mut only_b, mut values) = (0, 0, 0);
        for difference in &diff.differences {
            match difference {
                Difference::OnlyA(_) => only_a += 1,
                Difference::OnlyB(_) => only_b += 1,
                Difference::Value(x, y) => {
                    prop_assert!(x.index == y.index && x.value != y.value);
                    values += 1;
                }
            }
        }
        prop_assert_eq!(only_a + values + diff.same, a.len());
        prop_assert_eq!(only_b + values + diff.same, b.len());
        prop_assert_eq!(values + diff.same, longest(&a, &b));
    }
}

// The page.

fn report(events: &[(u64, Event)]) -> Report {
    Report::of(|| Ok(items(events))).unwrap()
}

#[test]
fn the_map_of_vram_shows_what_was_copied_where_and_when() {
    let events = measured();
    let report = report(&events);
    // 16 MiB in 64 rows: four a MiB.
    let rows_in = |from: u64, to: u64| -> u64 {
        let rows = (from * 4) as usize..(to * 4) as usize;
        report.map().iter().flat_map(|cells| &cells[rows.clone()]).map(|cell| cell.copied_in).sum()
    };
    assert_eq!(rows_in(10, 11), MIB);
    assert_eq!(rows_in(11, 13), 2 * MIB);
    assert_eq!(rows_in(0, 16), 3 * MIB);
    let read: u64 = report.map().iter().flat_map(|cells| &cells[32..36]).map(|cell| cell.read).sum();
    assert!(read >= MIB, "{read}");
    // Three copies in three columns, in their order.
    let copied: Vec<[u64; 3]> =
        report.columns().iter().map(|c| c.copied).filter(|c| c.iter().any(|&n| n > 0)).collect();
    assert_eq!(copied, [[MIB, 0, 0], [2 * MIB, 0, 0], [0, MIB, 0]]);
    // What a copy wrote is no other write; the fences are.
    let written: u64 = report.map().iter().flat_map(|cells| &cells[40..52]).map(|cell| cell.written).sum();
    assert_eq!(written, 0);
    let written: u64 = report.map().iter().flat_map(|cells| &cells[36..40]).map(|cell| cell.written).sum();
    assert_eq!(written, 16, "four fences");
}

#[test]
fn faults_hot_pages_and_rings_are_those_of_the_run() {
    let report = report(&measured());
    assert_eq!(report.lives().len(), 4);
    for life in report.lives() {
        assert_eq!(
            (life.vmid, life.acknowledged.unwrap() - life.raised, life.retried.unwrap() - life.raised),
            (3, 50, 70)
        );
    }
    assert_eq!(report.columns().iter().map(|c| c.faults).sum::<u64>(), 4);
    let tlb = report.columns().iter().fold((0, 0), |(h, w), c| (h + c.tlb.0, w + c.tlb.1));
    let stat = stat(&measured());
    assert_eq!(tlb, stat.tlb());
    let rings: std::collections::BTreeSet<String> =
        report.columns().iter().flat_map(|c| c.waiting.keys().map(ToString::to_string)).collect();
    assert_eq!(rings.into_iter().collect::<Vec<_>>(), ["SDMA0 GFX", "SDMA0 RLC0", "SDMA1 GFX"]);
    // The pages that were copied from three times: read by two copies, written by one.
    let hot = report.hottest(300);
    let at = Phys { space: Space::System, addr: MIB };
    let (_, heat) = hot.iter().find(|(place, _)| *place == at).unwrap();
    assert_eq!((heat.read, heat.written), (8192, 4096));
}

#[test]
fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
    let page = report(&measured()).html("a <b> & \"c\"");
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains("a &lt;b&gt; &amp; &quot;c&quot;") && !page.contains("a <b>"));
    for outside in ["http", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for id in ["vram", "copies", "faults", "rings", "tlb", "pages", "findings", "counts"] {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    // Every element that is opened is closed, in its order.
    let mut open = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
        let name = tag.split(' ').next().unwrap();
        match name {
            "!DOCTYPE" | "meta" => {}
            _ if tag.ends_with('/') => {}
            _ => match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "{open:?}"),
                None => open.push(name.to_string()),
            },
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(page.matches("<svg").count(), 5);
    // Nothing is drawn at a place that is no number.
    assert!(!page.contains("NaN") && !page.contains("inf\""));
}

#[test]
fn a_page_of_nothing_is_a_page() {
    for events in [vec![], vec![(7, Event::Reset)]] {
        let page = report(&events).html("empty");
        assert!(page.contains("</html>") && !page.contains("NaN"));
    }
}
