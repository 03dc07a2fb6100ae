// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Shared virtual memory as C meets it: a driver's calls over structures and numbers, and numbers that make no sense.
#![allow(unsafe_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // raw pointers, and a test may give up

use std::ffi::c_int;
use std::mem::MaybeUninit;

use uvm_kmod_ffi::*;

const ENOENT: c_int = -2;
const EINVAL: c_int = -22;
const BLOCK: u64 = 2 << 20;
const VA: u64 = 0x7f00_0000_0000;
const ALL: [u64; 8] = [u64::MAX; 8];

struct Driver(*mut UvmPolicySvm);

impl Driver {
    fn new(change: impl FnOnce(&mut UvmPolicySvmConfig)) -> Self {
        let mut config = MaybeUninit::uninit();
        assert_eq!(uvm_policy_svm_defaults(Some(&mut config)), 0);
        // SAFETY: written with status 0.
        let mut config = unsafe { config.assume_init() };
        config.chunks = 8;
        change(&mut config);
        let svm = uvm_policy_svm_new(Some(&config));
        assert!((svm as isize) > 0);
        Self(svm)
    }

    fn get(&mut self) -> Option<&mut UvmPolicySvm> {
        // SAFETY: the driver's own, alive until it is dropped.
        unsafe { self.0.as_mut() }
    }

    fn create(&mut self) -> u64 {
        asked(0, |space| uvm_policy_svm_create(self.get(), Some(space))).unwrap()
    }

    fn serve(
        &mut self,
        faults: &mut [UvmPolicySvmFault],
        now: u64,
    ) -> Result<(UvmPolicySvmPlan, Vec<UvmPolicySvmRegion>), c_int> {
        let mut regions = vec![UvmPolicySvmRegion::default(); UVM_POLICY_SVM_MAX_REGIONS];
        let (count, room) = (faults.len() as u32, regions.len() as u32);
        let plan = asked(0, |plan| {
            // SAFETY: as many as are said.
            unsafe {
                uvm_policy_svm_serve(
                    self.get(),
                    faults.as_mut_ptr(),
                    count,
                    1,
                    now,
                    regions.as_mut_ptr(),
                    room,
                    Some(plan),
                )
            }
        })?;
        regions.truncate(plan.regions as usize);
        Ok((plan, regions))
    }

    fn event(&mut self, event: UvmPolicySvmEvent, now: u64) -> c_int {
        uvm_policy_svm_event(self.get(), Some(&event), now)
    }

    fn stats(&mut self, space: u64) -> Result<UvmPolicySvmStats, c_int> {
        asked(0, |stats| uvm_policy_svm_stats(self.get().map(|svm| &*svm), space, Some(stats)))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: made by uvm_policy_svm_new, and the last call.
        unsafe { uvm_policy_svm_destroy(self.0) };
    }
}

/// What a call wrote, if it returned `good`.
fn asked<T>(good: c_int, call: impl FnOnce(&mut MaybeUninit<T>) -> c_int) -> Result<T, c_int> {
    let mut place = MaybeUninit::uninit();
    let status = call(&mut place);
    // SAFETY: the border writes with that status.
    (status == good).then(|| unsafe { place.assume_init() }).ok_or(status)
}

fn fault(space: u64, va: u64, access: u32, tag: u32) -> UvmPolicySvmFault {
    UvmPolicySvmFault { space, va, tag, access, region: 0, pad: 0 }
}

#[test]
fn a_fault_becomes_a_region_and_its_answer_finds_it() {
    let mut driver = Driver::new(|config| config.replay = UVM_POLICY_SVM_REPLAY_ONCE);
    let space = driver.create();
    let other = VA + 3 * BLOCK;
    let mut faults = [
        fault(space, other + 0x5123, UVM_POLICY_SVM_WRITE, 70),
        fault(77, VA, UVM_POLICY_SVM_READ, 71),
        fault(space, VA + 0x1000, UVM_POLICY_SVM_READ, 72),
        fault(space, other + 0x5fff, UVM_POLICY_SVM_READ, 73),
    ];

    let (plan, regions) = driver.serve(&mut faults, 1000).unwrap();

    assert_eq!((plan.flags, regions.len()), (UVM_POLICY_SVM_PLAN_HOLD, 2));
    let of = |tag| faults.iter().find(|fault| fault.tag == tag).unwrap().region;
    assert_eq!(of(71), u32::MAX, "nobody's");
    assert_eq!(of(70), of(73), "one page");
    let region = regions[of(70) as usize];
    assert_eq!((region.space, region.va, region.action), (space, other, UVM_POLICY_SVM_DO_TO_VRAM));
    assert_eq!((region.faulted[0], region.written[0]), (1 << 5, 1 << 5));
    assert_eq!(region.pages[0], 0xffff, "64 KiB come along");
    assert_eq!(regions[of(72) as usize].va, VA);
    let stats = driver.stats(space).unwrap();
    assert_eq!((stats.faults, stats.duplicates, stats.granule), (3, 1, 30));
}

#[test]
fn a_space_lives_through_all_the_functions() {
    let mut driver = Driver::new(|_| {});
    let space = driver.create();
    assert_eq!(uvm_policy_svm_keep_log(driver.get(), space, 16), 0);
    let group = asked(0, |group| uvm_policy_svm_group_create(driver.get(), space, Some(group))).unwrap();
    let advise = |driver: &mut Driver, start, end, advice, value| {
        uvm_policy_svm_advise(driver.get(), space, start, end, advice, value)
    };
    assert_eq!(advise(&mut driver, VA, VA + BLOCK, UVM_POLICY_SVM_ADVISE_GROUP, group), 0);
    assert_eq!(advise(&mut driver, VA, VA + BLOCK, UVM_POLICY_SVM_ADVISE_PREFERRED, UVM_POLICY_SVM_VRAM), 0);
    assert_eq!(advise(&mut driver, VA + BLOCK, VA + 2 * BLOCK, UVM_POLICY_SVM_ADVISE_ACCESSED, 1), 0);
    assert_eq!(advise(&mut driver, VA, VA + 1, UVM_POLICY_SVM_ADVISE_EAGER, 1), EINVAL);
    assert_eq!(advise(&mut driver, VA, VA + BLOCK, UVM_POLICY_SVM_ADVISE_GROUP, 99), ENOENT);
    let said = asked(0, |said| uvm_policy_svm_attributes(driver.get().map(|svm| &*svm), space, VA + 5, Some(said)));
    let said: UvmPolicySvmAttributes = said.unwrap();
    assert_eq!((said.start, said.end, said.preferred), (VA, VA + BLOCK, UVM_POLICY_SVM_VRAM));
    assert_eq!((said.group, said.granule, said.flags), (group, UVM_POLICY_SVM_NOWHERE, 0));
    // A group that must not move is mapped where it is.
    assert_eq!(uvm_policy_svm_group_set(driver.get(), space, group, 0), 0);
    let (_, regions) = driver.serve(&mut [fault(space, VA, 0, 0)], 1).unwrap();
    assert_eq!(regions[0].action, UVM_POLICY_SVM_DO_MAP_REMOTE);
    // Asked for: two blocks, of which only one may come.
    let prefetch = |driver: &mut Driver, start| {
        let mut next = MaybeUninit::new(0);
        let mut region = MaybeUninit::new(UvmPolicySvmRegion::default());
        let (place, end) = (UVM_POLICY_SVM_VRAM, VA + 2 * BLOCK);
        let svm = driver.get();
        let more = uvm_policy_svm_prefetch(svm, space, start, end, place, 2, Some(&mut region), Some(&mut next));
        // SAFETY: initialised above.
        (more, unsafe { (region.assume_init(), next.assume_init()) })
    };
    let (more, (region, next)) = prefetch(&mut driver, VA);
    assert_eq!((more, region.pages, next), (1, [0; 8], VA + BLOCK));
    let (more, (region, _)) = prefetch(&mut driver, next);
    assert_eq!((more, region.pages, region.flags), (0, ALL, UVM_POLICY_SVM_REGION_GUESS));
    // It comes, leaves for want of room, and is to be mapped all the same.
    let moved = UvmPolicySvmEvent {
        op: UVM_POLICY_SVM_EV_MIGRATED,
        place: UVM_POLICY_SVM_VRAM,
        cause: UVM_POLICY_SVM_BY_PREFETCH,
        chunk: 3,
        space,
        va: VA + BLOCK,
        pages: ALL,
        ..UvmPolicySvmEvent::default()
    };
    assert_eq!(driver.event(moved, 10), 0);
    assert_eq!(driver.event(UvmPolicySvmEvent { chunk: 8, ..moved }, 10), EINVAL, "there are eight");
    assert_eq!(asked(1, |chunk| uvm_policy_svm_victim(driver.get(), 2_000_000, Some(chunk))), Ok(3));
    assert_eq!(asked(1, |chunk| uvm_policy_svm_victim(driver.get(), 2_000_000, Some(chunk))), Err(0));
    let (system, evicted) = (UVM_POLICY_SVM_SYSTEM, UVM_POLICY_SVM_BY_EVICTION);
    assert_eq!(driver.event(UvmPolicySvmEvent { place: system, cause: evicted, ..moved }, 20), 0);
    let region: UvmPolicySvmRegion =
        asked(1, |region| uvm_policy_svm_next_map(driver.get(), space, Some(region))).unwrap();
    assert_eq!((region.va, region.pages, region.action), (VA + BLOCK, ALL, UVM_POLICY_SVM_DO_MAP));
    assert_eq!(uvm_policy_svm_cpu_fault(driver.get(), space, VA, 30, Some(&mut MaybeUninit::uninit())), 0);
    // And the tools were told.
    let mut records = [UvmPolicySvmRecord::default(); 16];
    let mut lost = MaybeUninit::uninit();
    // SAFETY: room for as many as are said.
    let count = unsafe { uvm_policy_svm_read_log(driver.get(), space, records.as_mut_ptr(), 16, Some(&mut lost)) };
    let kinds: Vec<u32> = records[..count as usize].iter().map(|record| record.kind.into()).collect();
    let (came, prefetch) = (UVM_POLICY_SVM_REC_MIGRATION, UVM_POLICY_SVM_REC_PREFETCH);
    assert_eq!(kinds, [UVM_POLICY_SVM_REC_FAULT, prefetch, came, UVM_POLICY_SVM_REC_EVICTION]);
    assert_eq!(uvm_policy_svm_group_destroy(driver.get(), space, group), 0);
    assert_eq!(uvm_policy_svm_end(driver.get(), space), 0);
    assert_eq!((uvm_policy_svm_end(driver.get(), space), driver.stats(space)), (ENOENT, Err(ENOENT)));
    assert_eq!(driver.stats(0).unwrap().evicted, 512);
}

#[test]
fn arguments_of_no_sense_are_refused() {
    let mut driver = Driver::new(|_| {});
    let space = driver.create();
    assert_eq!(uvm_policy_svm_new(None) as isize, EINVAL as isize);
    for change in [
        |config: &mut UvmPolicySvmConfig| config.density = 0,
        |config: &mut UvmPolicySvmConfig| config.density = 101,
        |config: &mut UvmPolicySvmConfig| config.granule = 10,
        |config: &mut UvmPolicySvmConfig| config.granule = 256,
        |config: &mut UvmPolicySvmConfig| config.degree = 17,
        |config: &mut UvmPolicySvmConfig| config.replay = 4,
        |config: &mut UvmPolicySvmConfig| config.switches = 256,
        |config: &mut UvmPolicySvmConfig| config.bounces = 0,
        |config: &mut UvmPolicySvmConfig| config.slice = config.lapse,
        |config: &mut UvmPolicySvmConfig| config.blocks = 0,
    ] {
        let mut config = asked(0, |config| uvm_policy_svm_config(driver.get().map(|svm| &*svm), Some(config))).unwrap();
        change(&mut config);
        assert_eq!(uvm_policy_svm_new(Some(&config)) as isize, EINVAL as isize, "{config:?}");
    }
    assert_eq!(driver.serve(&mut [fault(space, 0, 3, 0)], 0), Err(EINVAL));
    assert_eq!(driver.serve(&mut [UvmPolicySvmFault { pad: 1, ..fault(space, 0, 0, 0) }], 0), Err(EINVAL));
    assert_eq!(driver.serve(&mut [fault(space, 0, 0, 0); 257], 0), Err(EINVAL));
    let event = UvmPolicySvmEvent { space, ..UvmPolicySvmEvent::default() };
    assert_eq!(driver.event(UvmPolicySvmEvent { op: 8, ..event }, 0), EINVAL);
    assert_eq!(driver.event(UvmPolicySvmEvent { place: 3, ..event }, 0), EINVAL);
    assert_eq!(driver.event(UvmPolicySvmEvent { cause: UVM_POLICY_SVM_LOST + 1, ..event }, 0), EINVAL);
    assert_eq!(driver.event(UvmPolicySvmEvent { space: 0, ..event }, 0), ENOENT);
    assert_eq!(uvm_policy_svm_create(None, Some(&mut MaybeUninit::uninit())), EINVAL);
    assert_eq!(uvm_policy_svm_create(driver.get(), None), EINVAL);
}
