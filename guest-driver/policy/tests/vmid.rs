// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! VMIDs against a model of the hardware that remembers what each context has loaded and cached, and against the
//! clock of a busy ring: nobody runs on another's tables, nobody starves.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test may give up

use std::collections::HashMap;

use proptest::prelude::*;
use uvm_policy::*;

const MM: u32 = 2;

fn policy() -> Policy {
    let mut policy = Policy::new(4096).unwrap();
    policy.add_segment(&SegmentConfig { domain: Domain::Vram, base: 0, size: 16 << 20 }).unwrap();
    policy
}

fn vm(policy: &mut Policy) -> VmId {
    let config =
        VmConfig { levels: 4, va_bits: 0, tables: Domain::Vram, root: 0, vram_base: 0, fragment: 9, leaf_level: 1 };
    policy.vm_create(&config).unwrap()
}

fn request(ring: u32, fence: u64) -> GrabRequest {
    GrabRequest { ring, hubs: MM, fence }
}

fn grab(policy: &mut Policy, vm: VmId, ring: u32, fence: u64) -> Grab {
    policy.vmid_grab(vm, &request(ring, fence)).unwrap()
}

fn granted(policy: &mut Policy, vm: VmId, ring: u32, fence: u64) -> Grant {
    match grab(policy, vm, ring, fence) {
        Grab::Granted(grant) => grant,
        Grab::Wait(wait) => panic!("{vm:?} must wait: {wait:?}"),
    }
}

fn run(policy: &mut Policy, vm: VmId, ring: u32, fence: u64) -> Grant {
    let grant = granted(policy, vm, ring, fence);
    policy.vmid_submitted(grant.job, false).unwrap();
    grant
}

/// Fifteen address spaces with a job each, and the jobs.
fn full(policy: &mut Policy) -> Vec<(VmId, JobId)> {
    (0..15)
        .map(|i| {
            let vm = vm(policy);
            (vm, run(policy, vm, 0, i + 1).job)
        })
        .collect()
}

#[test]
fn first_job_loads_and_flushes_and_the_next_does_neither() {
    let mut policy = policy();
    let vm = vm(&mut policy);

    let first = run(&mut policy, vm, 0, 1);
    let same_ring = run(&mut policy, vm, 0, 2);
    let other_ring = run(&mut policy, vm, 1, 3);

    assert_eq!((first.flush, first.load), (MM, MM));
    assert_eq!((same_ring.vmid, same_ring.flush, same_ring.load), (first.vmid, 0, 0));
    assert_eq!((other_ring.vmid, other_ring.flush, other_ring.load), (first.vmid, MM, MM), "may run before the first");
    policy.vmid_signalled(first.job).unwrap();
    assert_eq!(granted(&mut policy, vm, 1, 4).flush, 0);
    let gc = policy.vmid_grab(vm, &GrabRequest { ring: 0, hubs: 1, fence: 5 }).unwrap();
    assert!(matches!(gc, Grab::Granted(grant) if (grant.flush, grant.load) == (1, 1)), "the other hub knows nothing");
}

#[test]
fn changed_tables_need_a_flush_but_no_load() {
    let mut policy = policy();
    let vm = vm(&mut policy);
    let first = run(&mut policy, vm, 0, 1);
    policy.vmid_signalled(first.job).unwrap();

    policy.vm_touch(vm).unwrap();
    let next = run(&mut policy, vm, 0, 2);

    assert_eq!((next.vmid, next.flush, next.load), (first.vmid, MM, 0));
    assert_eq!(run(&mut policy, vm, 0, 3).flush, 0);
}

#[test]
fn flush_of_a_job_that_never_ran_does_not_count() {
    let mut policy = policy();
    let vm = vm(&mut policy);
    let dropped = granted(&mut policy, vm, 0, 1);
    let behind = granted(&mut policy, vm, 0, 2);

    policy.vmid_signalled(dropped.job).unwrap();

    assert_eq!((behind.flush, behind.load), (MM, MM));
    policy.vmid_signalled(behind.job).unwrap();
    assert_eq!(granted(&mut policy, vm, 0, 3).load, MM);
}

#[test]
fn flush_done_by_the_cpu_counts_at_once_on_each_ring() {
    let mut policy = policy();
    let vm = vm(&mut policy);
    let first = granted(&mut policy, vm, 0, 1);

    policy.vmid_submitted(first.job, true).unwrap();

    assert_eq!(granted(&mut policy, vm, 1, 2).flush, 0);
    assert_eq!(policy.vmid_submitted(first.job, true), Err(Error::Invalid));
}

#[test]
fn flush_by_the_cpu_does_not_stand_in_for_a_root_still_on_another_ring() {
    let mut policy = policy();
    let vm = vm(&mut policy);
    run(&mut policy, vm, 0, 1); // sets the root once ring 0 gets there
    policy.vm_touch(vm).unwrap();
    let second = granted(&mut policy, vm, 0, 2);
    assert_eq!((second.flush, second.load), (MM, 0));
    policy.vmid_submitted(second.job, true).unwrap();

    let other_ring = granted(&mut policy, vm, 1, 3);

    assert_eq!((other_ring.flush, other_ring.load), (MM, MM));
    assert_eq!(granted(&mut policy, vm, 0, 4).flush, 0);
}

#[test]
fn least_recently_used_vmid_changes_hands() {
    let mut policy = policy();
    let holders = full(&mut policy);
    for which in [7usize, 3, 0] {
        policy.vmid_signalled(holders[which].1).unwrap();
    }
    let warm = granted(&mut policy, holders[7].0, 0, 90); // used again
    policy.vmid_signalled(warm.job).unwrap();

    let newcomer = vm(&mut policy);
    let grant = granted(&mut policy, newcomer, 0, 91);

    assert_eq!(grant.vmid, 4);
    assert_eq!((grant.flush, grant.load), (MM, MM));
    assert_eq!(granted(&mut policy, holders[7].0, 0, 92).flush, 0, "others keep theirs");
}

#[test]
fn waiting_is_first_come_first_served_and_stops_the_owner() {
    let mut policy = policy();
    let holders = full(&mut policy);
    let (early, late) = (vm(&mut policy), vm(&mut policy));

    let Grab::Wait(first) = grab(&mut policy, early, 0, 50) else { panic!("all are busy") };
    let Grab::Wait(second) = grab(&mut policy, late, 0, 51) else { panic!("all are busy") };
    assert_eq!((first, second), (VmidWait { vmid: 1, fence: Some(1) }, VmidWait { vmid: 2, fence: Some(2) }));

    let owner = grab(&mut policy, holders[0].0, 0, 52);
    assert!(matches!(owner, Grab::Wait(_)), "the most senior VMID is promised to the first in the queue");
    run(&mut policy, holders[3].0, 0, 53); // with three in the queue, the fourth is not

    policy.vmid_signalled(holders[0].1).unwrap();
    let Grab::Wait(again) = grab(&mut policy, late, 0, 51) else { panic!("not before its turn") };
    assert_eq!(again.vmid, 2);
    assert_eq!(granted(&mut policy, early, 0, 50).vmid, 1);
    policy.vmid_signalled(holders[1].1).unwrap();
    assert_eq!(granted(&mut policy, late, 0, 51).vmid, 2);
}

#[test]
fn one_that_gives_up_holds_nobody_back() {
    let mut policy = policy();
    let holders = full(&mut policy);
    let (early, late) = (vm(&mut policy), vm(&mut policy));
    assert!(matches!(grab(&mut policy, early, 0, 50), Grab::Wait(_)));
    assert!(matches!(grab(&mut policy, late, 0, 51), Grab::Wait(_)));
    policy.vmid_signalled(holders[4].1).unwrap();

    policy.vm_destroy(early).unwrap();

    assert_eq!(granted(&mut policy, late, 0, 51).vmid, 5);
}

#[test]
fn free_vmids_all_spoken_for_name_no_fence() {
    let mut policy = policy();
    let holders = full(&mut policy);
    let (early, late) = (vm(&mut policy), vm(&mut policy));
    assert!(matches!(grab(&mut policy, early, 0, 50), Grab::Wait(_)));
    policy.vmid_set_aside(1).unwrap_err();
    for (vm, job) in &holders {
        policy.vmid_signalled(*job).unwrap();
        policy.vm_destroy(*vm).unwrap();
    }
    policy.vmid_set_aside(14).unwrap();

    assert_eq!(grab(&mut policy, late, 0, 51), Grab::Wait(VmidWait { vmid: 0, fence: None }));
    assert_eq!(granted(&mut policy, early, 0, 50).vmid, 1);
    assert!(matches!(grab(&mut policy, late, 0, 51), Grab::Wait(VmidWait { vmid: 1, fence: Some(50) })));
}

#[test]
fn reserved_vmid_stays_with_its_owner_and_the_pools_last_two_are_never_reserved() {
    let mut policy = policy();
    policy.vmid_set_aside(12).unwrap();
    let (pinned, other) = (vm(&mut policy), vm(&mut policy));

    let vmid = policy.vmid_reserve(pinned).unwrap();

    assert_eq!(policy.vmid_reserve(pinned), Ok(vmid));
    assert_eq!(policy.vmid_reserve(other), Err(Error::NoSpace));
    let busy = run(&mut policy, other, 0, 1);
    assert_ne!(busy.vmid, vmid);
    let third = vm(&mut policy);
    assert_ne!(run(&mut policy, third, 0, 2).vmid, vmid);
    let fourth = vm(&mut policy);
    assert!(matches!(grab(&mut policy, fourth, 0, 2), Grab::Wait(VmidWait { fence: Some(1), .. })));
    assert_eq!(granted(&mut policy, pinned, 0, 3).vmid, vmid, "whoever waits");
    policy.vmid_unreserve(pinned).unwrap();
    assert_eq!(policy.vmid_unreserve(pinned), Err(Error::Invalid));
}

#[test]
fn who_wants_to_reserve_waits_in_the_queue_like_a_job() {
    let mut policy = policy();
    policy.vmid_set_aside(12).unwrap();
    let holders: Vec<_> = (1..=3)
        .map(|fence| {
            let vm = vm(&mut policy);
            run(&mut policy, vm, 0, fence).job
        })
        .collect();
    let (first, late) = (vm(&mut policy), vm(&mut policy));

    assert_eq!(policy.vmid_reserve(first), Err(Error::Busy));
    assert!(matches!(grab(&mut policy, late, 0, 9), Grab::Wait(_)));
    policy.vmid_signalled(holders[0]).unwrap();

    assert!(matches!(grab(&mut policy, late, 0, 9), Grab::Wait(_)), "the free one is the first one's");
    let vmid = policy.vmid_reserve(first).unwrap();
    policy.vmid_signalled(holders[1]).unwrap();
    assert_ne!(granted(&mut policy, late, 0, 9).vmid, vmid);
}

#[test]
fn who_is_refused_a_reservation_holds_up_nobody() {
    let mut policy = policy();
    policy.vmid_set_aside(12).unwrap();
    let vms: Vec<_> = (0..5).map(|_| vm(&mut policy)).collect();
    let holders: Vec<_> = (0..3).map(|n| run(&mut policy, vms[n], 0, n as u64 + 1).job).collect();
    assert_eq!(policy.vmid_reserve(vms[3]), Err(Error::Busy));
    policy.vmid_reserve(vms[0]).unwrap_err();
    policy.vmid_give_up(vms[0]).unwrap();
    policy.vmid_give_up(vms[3]).unwrap();
    policy.vmid_reserve(vms[0]).unwrap();

    assert_eq!(policy.vmid_reserve(vms[3]), Err(Error::NoSpace));

    assert!(matches!(grab(&mut policy, vms[4], 0, 9), Grab::Wait(_)));
    policy.vmid_signalled(holders[1]).unwrap();
    granted(&mut policy, vms[4], 0, 9);
}

#[test]
fn reset_voids_grants_and_all_that_was_flushed() {
    let mut policy = policy();
    let vm = vm(&mut policy);
    let before = run(&mut policy, vm, 0, 1);
    let unsent = granted(&mut policy, vm, 0, 2);
    assert_eq!(unsent.flush, 0);

    policy.vmid_reset();

    assert_eq!(policy.vmid_submitted(unsent.job, false), Err(Error::Invalid));
    let again = policy.vmid_again(unsent.job).unwrap();
    assert_eq!((again.vmid, again.flush, again.load), (before.vmid, MM, MM));
    policy.vmid_submitted(again.job, false).unwrap();
    policy.vmid_signalled(before.job).unwrap();
    assert_eq!(granted(&mut policy, vm, 1, 3).flush, MM, "the old job's flush does not count");
}

#[test]
fn address_space_with_jobs_is_not_destroyed() {
    let mut policy = policy();
    let vm = vm(&mut policy);
    let grant = run(&mut policy, vm, 0, 1);
    assert_eq!(policy.vm_info(vm).unwrap().busy, 1 << grant.vmid);

    assert_eq!(policy.vm_destroy(vm), Err(Error::Busy));
    policy.vmid_signalled(grant.job).unwrap();
    policy.vm_destroy(vm).unwrap();

    assert_eq!(policy.vms_in_use(), (0, 0));
    assert_eq!(policy.vm_destroy(vm), Err(Error::Unknown));
    assert_eq!(policy.vmid_signalled(grant.job), Err(Error::Unknown));
    let vram = policy.segment_of(Domain::Vram).unwrap();
    assert_eq!(policy.stats(vram).unwrap().used, 0);
}

/// Processes that always have more to do: each keeps up to two jobs of up to `LONGEST` ticks on the device.
#[test]
fn sixty_four_greedy_processes_wait_no_longer_than_their_turn() {
    const PROCESSES: usize = 64;
    const LONGEST: u64 = 7;
    const TICKS: u64 = 6000;
    let mut policy = policy();
    let vms: Vec<VmId> = (0..PROCESSES).map(|_| vm(&mut policy)).collect();
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut running: Vec<(u64, usize, Grant, u64)> = vec![]; // end, process, grant, fence
    let mut waiting: Vec<Option<(u64, Option<u64>)>> = vec![None; PROCESSES]; // since, for which fence
    let mut ran = vec![0u64; PROCESSES];
    let (mut longest_wait, mut fence) = (0, 0u64);
    for now in 0..TICKS {
        let ended: Vec<_> = running.iter().filter(|job| job.0 == now).copied().collect();
        running.retain(|job| job.0 != now);
        for (_, _, grant, _) in &ended {
            policy.vmid_signalled(grant.job).unwrap();
        }
        let start = next(PROCESSES as u64) as usize;
        for process in (0..PROCESSES).map(|i| (start + i) % PROCESSES) {
            let pending = running.iter().filter(|job| job.1 == process).count();
            // One that was told to wait sleeps until that fence, as the kernel's scheduler has it.
            let asleep = matches!(waiting[process], Some((_, Some(on))) if running.iter().any(|job| job.3 == on));
            if pending >= 2 || asleep {
                continue;
            }
            fence += 1;
            match grab(&mut policy, vms[process], process as u32 % 2, fence) {
                Grab::Granted(grant) => {
                    policy.vmid_submitted(grant.job, false).unwrap();
                    let other = running.iter().find(|job| job.2.vmid == grant.vmid && job.1 != process);
                    assert!(other.is_none(), "two processes in one VMID");
                    running.push((now + 1 + next(LONGEST), process, grant, fence));
                    ran[process] += 1;
                    if let Some((since, _)) = waiting[process].take() {
                        longest_wait = longest_wait.max(now - since);
                    }
                }
                Grab::Wait(wait) => {
                    let since = waiting[process].map_or(now, |(since, _)| since);
                    waiting[process] = Some((since, wait.fence));
                }
            }
        }
    }
    // 49 wait at most. Each 15 of them are served within the time of the jobs that a promised VMID already had,
    // then of what its new owners add before the next in the queue has the promise: two at most at once.
    let rounds = (PROCESSES as u64).div_ceil(15);
    assert!(longest_wait <= rounds * 2 * LONGEST, "waited {longest_wait} ticks");
    let (least, most) = (*ran.iter().min().unwrap(), *ran.iter().max().unwrap());
    assert!(most <= least + least / 4, "between {least} and {most} jobs");
}

#[derive(Clone, Debug)]
enum Op {
    Grab { vm: usize, ring: u32, hubs: u32 },
    Submit { job: usize, by_cpu: bool },
    Run { ring: u32 },
    Drop { job: usize },
    Touch { vm: usize },
    Reserve { vm: usize },
    Unreserve { vm: usize },
    Reset,
    Recreate { vm: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let vm = || 0usize..24;
    prop_oneof![
        10 => (vm(), 0u32..3, 1u32..4).prop_map(|(vm, ring, hubs)| Op::Grab { vm, ring, hubs }),
        8 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(job, by_cpu)| Op::Submit { job, by_cpu }),
        8 => (0u32..3).prop_map(|ring| Op::Run { ring }),
        1 => any::<usize>().prop_map(|job| Op::Drop { job }),
        3 => vm().prop_map(|vm| Op::Touch { vm }),
        1 => vm().prop_map(|vm| Op::Reserve { vm }),
        1 => vm().prop_map(|vm| Op::Unreserve { vm }),
        1 => Just(Op::Reset),
        1 => vm().prop_map(|vm| Op::Recreate { vm }),
    ]
}

/// What a hub has for a VMID: a root, and which state of its tables it may still have cached.
type Contexts = HashMap<(u32, u8), (u64, u64)>;

/// `seq` is that of this moment: a flush leaves nothing that is older.
fn apply(contexts: &mut Contexts, grant: &Grant, root: u64, seq: u64) {
    for hub in 0..2 {
        let entry = contexts.entry((hub, grant.vmid)).or_insert((0, 0));
        if grant.load & 1 << hub != 0 && entry.0 != root {
            *entry = (root, 0);
        }
        if grant.flush & 1 << hub != 0 {
            entry.1 = seq;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is submitted, dropped, reset or reserved: when a job runs, its hubs have its own root, and have
    /// cached nothing older than the tables were when it was granted.
    #[test]
    fn jobs_run_on_their_own_tables(ops in prop::collection::vec(op(), 1..400)) {
        struct Job { grant: Grant, vm: usize, ring: u32, hubs: u32, seq: u64, by_cpu: bool, stale: bool }
        let mut policy = policy();
        let mut vms: Vec<VmId> = (0..24).map(|_| vm(&mut policy)).collect();
        let mut contexts = Contexts::new();
        let (mut granted, mut rings): (Vec<Job>, [Vec<Job>; 3]) = (vec![], [vec![], vec![], vec![]]);
        let mut fence = 0;
        for op in ops {
            match op {
                Op::Grab { vm, ring, hubs } => {
                    fence += 1;
                    let seq = policy.vm_info(vms[vm]).unwrap().seq + 1; // zero: nothing flushed
                    match policy.vmid_grab(vms[vm], &GrabRequest { ring, hubs, fence }).unwrap() {
                        Grab::Granted(grant) => {
                            granted.push(Job { grant, vm, ring, hubs, seq, by_cpu: false, stale: false });
                        }
                        Grab::Wait(wait) => {
                            let running = granted.iter().chain(rings.iter().flatten());
                            let busy = running.filter(|job| job.grant.vmid == wait.vmid).count();
                            prop_assert_eq!(wait.fence.is_some(), busy != 0);
                        }
                    }
                }
                Op::Submit { job, by_cpu } if !granted.is_empty() => {
                    let at = job % granted.len();
                    let mut job = granted.remove(at);
                    if job.stale {
                        prop_assert_eq!(policy.vmid_submitted(job.grant.job, by_cpu), Err(Error::Invalid));
                        job.grant = policy.vmid_again(job.grant.job).unwrap();
                        job.seq = policy.vm_info(vms[job.vm]).unwrap().seq + 1;
                    }
                    policy.vmid_submitted(job.grant.job, by_cpu).unwrap();
                    if by_cpu {
                        let info = policy.vm_info(vms[job.vm]).unwrap();
                        apply(&mut contexts, &job.grant, info.root, info.seq + 1);
                    }
                    job.by_cpu = by_cpu;
                    rings[job.ring as usize].push(job);
                }
                Op::Run { ring } => {
                    if rings[ring as usize].is_empty() { continue; }
                    let job = rings[ring as usize].remove(0);
                    let VmInfo { root, seq, .. } = policy.vm_info(vms[job.vm]).unwrap();
                    if !job.by_cpu {
                        apply(&mut contexts, &job.grant, root, seq + 1);
                    }
                    if !job.stale {
                        for hub in (0..2).filter(|hub| job.hubs & 1 << hub != 0) {
                            let (loaded, cached) = contexts[&(hub, job.grant.vmid)];
                            prop_assert_eq!(loaded, root, "another's root");
                            prop_assert!(cached >= job.seq, "cached state {} of {}", cached, job.seq);
                        }
                    }
                    policy.vmid_signalled(job.grant.job).unwrap();
                }
                Op::Drop { job } if !granted.is_empty() => {
                    let at = job % granted.len();
                    policy.vmid_signalled(granted.remove(at).grant.job).unwrap();
                }
                Op::Touch { vm } => policy.vm_touch(vms[vm]).unwrap(),
                Op::Reserve { vm } if policy.vmid_reserve(vms[vm]) == Err(Error::Busy) => {
                    policy.vmid_give_up(vms[vm]).unwrap();
                }
                Op::Unreserve { vm } => { let _ = policy.vmid_unreserve(vms[vm]); }
                Op::Reset => {
                    policy.vmid_reset();
                    contexts.clear();
                    // What was on the rings is lost; the driver signals it.
                    for job in rings.iter_mut().flat_map(|ring| ring.drain(..)) {
                        policy.vmid_signalled(job.grant.job).unwrap();
                    }
                    granted.iter_mut().for_each(|job| job.stale = true);
                }
                Op::Recreate { vm: which } => {
                    let jobs = granted.iter().chain(rings.iter().flatten()).filter(|job| job.vm == which).count();
                    match policy.vm_destroy(vms[which]) {
                        Ok(()) => { prop_assert_eq!(jobs, 0); vms[which] = vm(&mut policy); }
                        Err(error) => { prop_assert_eq!((error, jobs != 0), (Error::Busy, true)); }
                    }
                }
                _ => {}
            }
            let held = granted.len() + rings.iter().map(Vec::len).sum::<usize>();
            prop_assert_eq!(policy.vms_in_use(), (24, held as u32));
            let mut owners: HashMap<u8, usize> = HashMap::new();
            for job in granted.iter().chain(rings.iter().flatten()) {
                prop_assert_eq!(*owners.entry(job.grant.vmid).or_insert(job.vm), job.vm, "two in one VMID");
            }
        }
    }
}
