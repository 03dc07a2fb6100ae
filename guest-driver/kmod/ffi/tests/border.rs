// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The border as C meets it: raw numbers, NULL, and a kernel that is out of memory.
#![allow(unsafe_code, clippy::unwrap_used)] // the border is raw pointers, and a test may give up

#[path = "../../../policy/tests/common/failing.rs"]
mod failing;

use std::ffi::c_int;
use std::mem::MaybeUninit;

use failing::with_allocations;
use uvm_kmod_ffi::*;

const ENOENT: c_int = -2;
const ENOMEM: c_int = -12;
const EBUSY: c_int = -16;
const EINVAL: c_int = -22;
const ENOSPC: c_int = -28;

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

#[global_allocator]
static ALLOCATOR: failing::Failing = failing::Failing;

/// Owns a policy as the driver does.
struct Driver(*mut UvmPolicy);

impl Driver {
    fn new() -> Self {
        let policy = uvm_policy_new(Some(&config()));
        assert_eq!(error_of(policy), None);
        Self(policy)
    }

    fn policy(&mut self) -> Option<&mut UvmPolicy> {
        // SAFETY: from uvm_policy_new, destroyed in drop only, borrowed exclusively.
        unsafe { self.0.as_mut() }
    }

    fn alloc(&mut self, domain: u32, size: u64) -> Result<UvmPolicyRange, c_int> {
        let request = UvmPolicyRequest { size, ..UvmPolicyRequest::default() };
        call(|out| uvm_policy_alloc(self.policy(), domain, Some(&request), out))
    }

    fn bo(&mut self, size: u64) -> u64 {
        let config = UvmPolicyBoConfig { size, align: 0, allowed: 7, pad: 0 };
        call(|out| uvm_policy_bo_create(self.policy(), Some(&config), out)).unwrap()
    }

    fn info(&mut self, bo: u64) -> Result<UvmPolicyBoInfo, c_int> {
        call(|out| uvm_policy_bo_info(self.policy().map(|p| &*p), bo, out))
    }

    fn stats(&mut self, domain: u32) -> UvmPolicyStats {
        call(|out| uvm_policy_stats(self.policy().map(|p| &*p), domain, out)).unwrap()
    }

    fn begin(&mut self, bo: u64, domain: u32, flags: u32) -> (c_int, UvmPolicyMove) {
        let mut plan = MaybeUninit::new(UvmPolicyMove::default());
        let status = uvm_policy_move_begin(self.policy(), bo, domain, flags, Some(&mut plan));
        // SAFETY: initialised above.
        (status, unsafe { plan.assume_init() })
    }

    fn complete(&mut self, token: u64, error: c_int) -> c_int {
        uvm_policy_move_complete(self.policy(), token, error)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: from uvm_policy_new, and not used after.
        unsafe { uvm_policy_destroy(self.0) };
    }
}

fn config() -> UvmPolicyConfig {
    UvmPolicyConfig { page_size: PAGE, vram_base: 0, vram_size: 16 * MIB, gart_base: 1 << 40, gart_size: 8 * MIB }
}

/// As IS_ERR and PTR_ERR.
fn error_of(policy: *mut UvmPolicy) -> Option<c_int> {
    c_int::try_from(policy.addr() as isize).ok().filter(|error| (-4095..0).contains(error))
}

/// The value behind an out pointer, or the errno.
fn call<T: Default>(function: impl FnOnce(Option<&mut MaybeUninit<T>>) -> c_int) -> Result<T, c_int> {
    let mut value = MaybeUninit::new(T::default());
    match function(Some(&mut value)) {
        // SAFETY: initialised above.
        0 => Ok(unsafe { value.assume_init() }),
        error => Err(error),
    }
}

#[test]
fn new_with_senseless_sizes_is_an_error_pointer() {
    let bad = [
        UvmPolicyConfig { page_size: 0, ..config() },
        UvmPolicyConfig { page_size: 5000, ..config() },
        UvmPolicyConfig { vram_size: 4097, ..config() },
        UvmPolicyConfig { gart_base: 1, ..config() },
        UvmPolicyConfig { gart_base: !0xfff, gart_size: 8192, ..config() },
    ];

    for config in bad {
        assert_eq!(error_of(uvm_policy_new(Some(&config))), Some(EINVAL), "{config:?}");
    }
    assert_eq!(error_of(uvm_policy_new(None)), Some(EINVAL));
}

#[test]
fn new_without_memory_is_enomem_until_there_is_enough() {
    let mut failures = 0;
    let policy = loop {
        let policy = with_allocations(failures, || uvm_policy_new(Some(&config())));
        match error_of(policy) {
            Some(error) => assert_eq!(error, ENOMEM),
            None => break Driver(policy),
        }
        failures += 1;
    };

    assert!(failures >= 3, "the box and two segments each allocate");
    drop(policy);
}

#[test]
fn destroy_of_null_does_nothing() {
    // SAFETY: NULL is allowed.
    unsafe { uvm_policy_destroy(std::ptr::null_mut()) };
}

#[test]
fn null_anywhere_is_einval() {
    let mut driver = Driver::new();
    let request = UvmPolicyRequest { size: PAGE, ..UvmPolicyRequest::default() };
    let placement = UvmPolicyPlacement { size: PAGE, allowed: 7, ..UvmPolicyPlacement::default() };
    let bo_config = UvmPolicyBoConfig { size: PAGE, allowed: 7, ..UvmPolicyBoConfig::default() };
    let vram = UVM_POLICY_DOMAIN_VRAM;

    let answers = [
        call(|out| uvm_policy_alloc(None, vram, Some(&request), out)).err(),
        call(|out| uvm_policy_alloc(driver.policy(), vram, None, out)).err(),
        Some(uvm_policy_alloc(driver.policy(), vram, Some(&request), None)),
        call(|out| uvm_policy_reserve(None, vram, 0, PAGE, out)).err(),
        Some(uvm_policy_reserve(driver.policy(), vram, 0, PAGE, None)),
        Some(uvm_policy_free(None, 1)),
        call(|out| uvm_policy_find(None, vram, 0, out)).err(),
        Some(uvm_policy_find(driver.policy().map(|p| &*p), vram, 0, None)),
        call(|out| uvm_policy_stats(None, vram, out)).err(),
        Some(uvm_policy_stats(driver.policy().map(|p| &*p), vram, None)),
        call(|out| uvm_policy_place(None, Some(&placement), out)).err(),
        call(|out| uvm_policy_place(driver.policy().map(|p| &*p), None, out)).err(),
        Some(uvm_policy_place(driver.policy().map(|p| &*p), Some(&placement), None)),
        call(|out| uvm_policy_bo_create(None, Some(&bo_config), out)).err(),
        call(|out| uvm_policy_bo_create(driver.policy(), None, out)).err(),
        Some(uvm_policy_bo_create(driver.policy(), Some(&bo_config), None)),
        Some(uvm_policy_bo_destroy(None, 1)),
        call(|out| uvm_policy_bo_info(None, 1, out)).err(),
        Some(uvm_policy_bo_info(driver.policy().map(|p| &*p), 1, None)),
        Some(uvm_policy_bo_pin(None, 1)),
        Some(uvm_policy_bo_unpin(None, 1)),
        call(|out| uvm_policy_move_begin(None, 1, vram, 0, out)).err(),
        Some(uvm_policy_move_begin(driver.policy(), 1, vram, 0, None)),
        Some(uvm_policy_move_complete(None, 1, 0)),
        call(|out| uvm_policy_in_use(None, out, Some(&mut MaybeUninit::uninit()))).err(),
        call(|out| uvm_policy_in_use(driver.policy().map(|p| &*p), out, None)).err(),
    ];

    for (i, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer, Some(EINVAL), "call {i}");
    }
    assert_eq!(driver.stats(vram).blocks, 0);
}

#[test]
fn unknown_ids_are_enoent_everywhere() {
    let mut driver = Driver::new();
    let range = driver.alloc(UVM_POLICY_DOMAIN_VRAM, PAGE).unwrap();
    let bo = driver.bo(PAGE);

    for wrong in [0, 1, u64::MAX, range.id, range.id ^ 1 << 40, bo ^ 1 << 33] {
        assert_eq!(driver.info(wrong), Err(ENOENT));
        assert_eq!(uvm_policy_bo_destroy(driver.policy(), wrong), ENOENT);
        assert_eq!(uvm_policy_bo_pin(driver.policy(), wrong), ENOENT);
        assert_eq!(uvm_policy_bo_unpin(driver.policy(), wrong), ENOENT);
        assert_eq!(driver.begin(wrong, UVM_POLICY_DOMAIN_VRAM, 0).0, ENOENT);
        assert_eq!(driver.complete(wrong, 0), ENOENT);
    }
    for wrong in [0, 1, u64::MAX, bo, range.id ^ 1, range.id ^ 1 << 33, range.id ^ 1 << 57] {
        assert_eq!(uvm_policy_free(driver.policy(), wrong), ENOENT);
    }
    assert_eq!(uvm_policy_free(driver.policy(), range.id), 0);
    assert_eq!(uvm_policy_free(driver.policy(), range.id), ENOENT);
}

#[test]
fn bad_numbers_are_einval_and_change_nothing() {
    let mut driver = Driver::new();
    let vram = UVM_POLICY_DOMAIN_VRAM;
    let good = UvmPolicyRequest { size: PAGE, ..UvmPolicyRequest::default() };

    for bad in [
        UvmPolicyRequest { size: 0, ..good },
        UvmPolicyRequest { size: u64::MAX, ..good },
        UvmPolicyRequest { align: 3 * PAGE, ..good },
        UvmPolicyRequest { align: PAGE + PAGE / 2, ..good },
        UvmPolicyRequest { flags: 2, ..good },
        UvmPolicyRequest { pad: 1, ..good },
    ] {
        assert_eq!(call(|out| uvm_policy_alloc(driver.policy(), vram, Some(&bad), out)), Err(EINVAL), "{bad:?}");
    }
    assert_eq!(driver.alloc(UVM_POLICY_DOMAIN_SYSTEM, PAGE), Err(ENOENT));
    assert_eq!(driver.alloc(3, PAGE), Err(EINVAL));
    for (offset, size) in [(0, 0), (u64::MAX, 1), (1, u64::MAX), (16 * MIB, PAGE), (16 * MIB - 1, PAGE)] {
        let got = call(|out| uvm_policy_reserve(driver.policy(), vram, offset, size, out));
        assert_eq!(got, Err(EINVAL), "{offset:#x} {size:#x}");
    }
    let below_base = call(|out| uvm_policy_reserve(driver.policy(), UVM_POLICY_DOMAIN_GTT, 0, PAGE, out));
    assert_eq!(below_base, Err(EINVAL));
    let bo = driver.bo(PAGE);
    assert_eq!(driver.begin(bo, 3, 0).0, EINVAL);
    assert_eq!(driver.begin(bo, vram, 8).0, EINVAL);
    assert_eq!(driver.begin(bo, UVM_POLICY_DOMAIN_SYSTEM, UVM_POLICY_MOVE_RELOCATE).0, EINVAL);
    assert_eq!(driver.stats(vram).blocks, 0);
}

#[test]
fn limits_and_ends_of_a_request_are_kept() {
    let mut driver = Driver::new();
    let low_half =
        UvmPolicyRequest { size: MIB, align: MIB, min: MIB + 1, max: 8 * MIB, flags: UVM_POLICY_TOP_DOWN, pad: 0 };

    let top = call(|out| uvm_policy_alloc(driver.policy(), UVM_POLICY_DOMAIN_VRAM, Some(&low_half), out)).unwrap();
    let bottom = UvmPolicyRequest { flags: 0, ..low_half };
    let bottom = call(|out| uvm_policy_alloc(driver.policy(), UVM_POLICY_DOMAIN_VRAM, Some(&bottom), out)).unwrap();

    assert_eq!(top.offset, 7 * MIB);
    assert_eq!(bottom.offset, 2 * MIB);
    let gart = driver.alloc(UVM_POLICY_DOMAIN_GTT, 1).unwrap();
    assert_eq!((gart.offset, gart.size), (1 << 40, PAGE));
    let find = |driver: &mut Driver, at| {
        call(|out| uvm_policy_find(driver.policy().map(|p| &*p), UVM_POLICY_DOMAIN_VRAM, at, out))
    };
    assert_eq!(find(&mut driver, 7 * MIB + 5), Ok(top));
    assert_eq!(find(&mut driver, 0), Err(ENOENT));
}

#[test]
fn full_segment_is_enospc_and_free_makes_room() {
    let mut driver = Driver::new();
    let all = driver.alloc(UVM_POLICY_DOMAIN_VRAM, 16 * MIB).unwrap();

    assert_eq!(driver.alloc(UVM_POLICY_DOMAIN_VRAM, PAGE), Err(ENOSPC));
    assert_eq!(uvm_policy_free(driver.policy(), all.id), 0);
    assert!(driver.alloc(UVM_POLICY_DOMAIN_VRAM, PAGE).is_ok());
}

#[test]
fn move_into_vram_ends_there_or_rolls_back() {
    let mut driver = Driver::new();
    let bo = driver.bo(3 * MIB);

    let (status, plan) = driver.begin(bo, UVM_POLICY_DOMAIN_VRAM, 0);
    assert_eq!(status, 0);
    let ops: Vec<u32> = plan.actions[..plan.count as usize].iter().map(|action| action.op).collect();
    assert_eq!(ops, [UVM_POLICY_OP_POPULATE, UVM_POLICY_OP_COPY, UVM_POLICY_OP_RELEASE_PAGES]);
    let copy = plan.actions[1];
    assert_eq!((copy.from_domain, copy.to_domain, copy.size), (0, UVM_POLICY_DOMAIN_VRAM, 3 * MIB));
    assert_eq!(copy.window_size, 2 * MIB);
    assert_eq!(driver.stats(UVM_POLICY_DOMAIN_GTT).used, 2 * MIB);

    assert_eq!(driver.complete(plan.token, -5), 0);
    let back = driver.info(bo).unwrap();
    assert_eq!((back.domain, back.moving), (UVM_POLICY_DOMAIN_SYSTEM, 0));
    assert_eq!(driver.stats(UVM_POLICY_DOMAIN_VRAM).used, 0);

    let (_, plan) = driver.begin(bo, UVM_POLICY_DOMAIN_VRAM, 0);
    assert_eq!(driver.complete(plan.token, 0), 0);
    assert_eq!(driver.complete(plan.token, 0), ENOENT);
    let there = driver.info(bo).unwrap();
    assert_eq!((there.domain, there.offset), (plan.domain, plan.offset));
    assert_eq!(driver.stats(UVM_POLICY_DOMAIN_VRAM).used, 3 * MIB);
    assert_eq!(driver.stats(UVM_POLICY_DOMAIN_GTT).used, 0);
    let (status, plan) = driver.begin(bo, UVM_POLICY_DOMAIN_VRAM, 0);
    assert_eq!((status, plan.token, plan.count), (0, 0, 0));
}

#[test]
fn copy_that_finds_no_window_is_enospc_and_holds_nothing() {
    let mut driver = Driver::new();
    let bo = driver.bo(MIB);
    let gart = driver.alloc(UVM_POLICY_DOMAIN_GTT, 8 * MIB).unwrap();

    let (status, plan) = driver.begin(bo, UVM_POLICY_DOMAIN_VRAM, 0);

    assert_eq!((status, plan.token), (ENOSPC, 0));
    assert_eq!(driver.stats(UVM_POLICY_DOMAIN_VRAM).used, 0);
    assert_eq!(uvm_policy_free(driver.policy(), gart.id), 0);
    assert_eq!(driver.begin(bo, UVM_POLICY_DOMAIN_VRAM, 0).0, 0);
}

#[test]
fn busy_buffer_names_the_move_to_wait_for() {
    let mut driver = Driver::new();
    let bo = driver.bo(MIB);
    let (_, first) = driver.begin(bo, UVM_POLICY_DOMAIN_GTT, UVM_POLICY_MOVE_EMPTY);

    let (status, second) = driver.begin(bo, UVM_POLICY_DOMAIN_VRAM, 0);

    assert_eq!((status, second.token), (EBUSY, first.token));
    assert_eq!(uvm_policy_bo_destroy(driver.policy(), bo), EBUSY);
    assert_eq!(uvm_policy_bo_pin(driver.policy(), bo), EBUSY);
    let mut counts = (MaybeUninit::new(9), MaybeUninit::new(9));
    assert_eq!(uvm_policy_in_use(driver.policy().map(|p| &*p), Some(&mut counts.0), Some(&mut counts.1)), 0);
    // SAFETY: initialised above.
    assert_eq!(unsafe { (counts.0.assume_init(), counts.1.assume_init()) }, (1, 1));
    assert_eq!(driver.complete(first.token, 0), 0);
    assert_eq!(uvm_policy_bo_pin(driver.policy(), bo), 0);
    let (status, pinned) = driver.begin(bo, UVM_POLICY_DOMAIN_VRAM, 0);
    assert_eq!((status, pinned.token), (EBUSY, 0));
}

#[test]
fn range_of_a_buffer_is_not_freed_by_its_id() {
    let mut driver = Driver::new();
    let bo = driver.bo(MIB);
    let (_, plan) = driver.begin(bo, UVM_POLICY_DOMAIN_VRAM, UVM_POLICY_MOVE_EMPTY);
    driver.complete(plan.token, 0);
    let range =
        call(|out| uvm_policy_find(driver.policy().map(|p| &*p), UVM_POLICY_DOMAIN_VRAM, plan.offset, out)).unwrap();

    assert_eq!(uvm_policy_free(driver.policy(), range.id), EBUSY);
    assert_eq!(uvm_policy_bo_destroy(driver.policy(), bo), 0);
    assert_eq!(driver.stats(UVM_POLICY_DOMAIN_VRAM).used, 0);
}

#[test]
fn placement_lists_domains_best_first() {
    let mut driver = Driver::new();
    let wish = UvmPolicyPlacement { size: 12 * MIB, allowed: 7, ..UvmPolicyPlacement::default() };
    let place = |driver: &mut Driver, wish: UvmPolicyPlacement| {
        call(|out| uvm_policy_place(driver.policy().map(|p| &*p), Some(&wish), out))
    };

    let list = place(&mut driver, wish).unwrap(); // the GART is too small for it
    assert_eq!(list.domain[..list.count as usize], [UVM_POLICY_DOMAIN_VRAM, UVM_POLICY_DOMAIN_SYSTEM]);
    let small = UvmPolicyPlacement { size: MIB, flags: UVM_POLICY_PLACE_PREFERRED, preferred: 1, ..wish };
    let list = place(&mut driver, small).unwrap();
    assert_eq!(list.domain[..list.count as usize], [1, 2, 0]);
    for bad in [
        UvmPolicyPlacement { size: 0, ..wish },
        UvmPolicyPlacement { allowed: 8, ..wish },
        UvmPolicyPlacement { flags: 4, ..wish },
        UvmPolicyPlacement { flags: UVM_POLICY_PLACE_PREFERRED, preferred: 3, ..wish },
        UvmPolicyPlacement { pad: 1, ..wish },
    ] {
        assert_eq!(place(&mut driver, bad), Err(EINVAL), "{bad:?}");
    }
}

#[test]
fn shortage_of_memory_is_enomem_and_changes_nothing() {
    let mut driver = Driver::new();
    let vram = UVM_POLICY_DOMAIN_VRAM;
    let mut ranges = vec![];
    let mut refusals = 0;

    for _ in 0..200 {
        let before = driver.stats(vram);
        match with_allocations(0, || driver.alloc(vram, PAGE)) {
            Ok(range) => ranges.push(range), // the table had room
            Err(error) => {
                assert_eq!(error, ENOMEM);
                assert_eq!(driver.stats(vram), before);
                refusals += 1;
                ranges.push(driver.alloc(vram, PAGE).unwrap());
            }
        }
    }
    assert!(refusals >= 3, "a table of 200 blocks grew only {refusals} times");

    let statuses: Vec<c_int> =
        with_allocations(0, || [0, 1, 2].map(|i| uvm_policy_free(driver.policy(), ranges[i].id))).into();
    assert_eq!(statuses, [0, 0, 0], "giving back takes no memory");
}

#[test]
fn shortage_of_memory_during_a_move_leaves_the_buffer_movable() {
    let mut driver = Driver::new();
    let bo = driver.bo(MIB);
    // The buffer's own notes were made with it; what is left to grow is the table of the segment.
    while with_allocations(0, || driver.alloc(UVM_POLICY_DOMAIN_VRAM, PAGE)).is_ok() {}
    let [vram, gtt] = [UVM_POLICY_DOMAIN_VRAM, UVM_POLICY_DOMAIN_GTT].map(|domain| driver.stats(domain).used);
    let mut allowed = 0;

    let plan = loop {
        let (status, plan) = with_allocations(allowed, || driver.begin(bo, UVM_POLICY_DOMAIN_VRAM, 0));
        if status == 0 {
            break plan;
        }
        assert_eq!(status, ENOMEM);
        assert_eq!(driver.info(bo).unwrap().moving, 0);
        assert_eq!(driver.stats(UVM_POLICY_DOMAIN_VRAM).used, vram);
        assert_eq!(driver.stats(UVM_POLICY_DOMAIN_GTT).used, gtt);
        allowed += 1;
    };

    assert!(allowed >= 1);
    let status = with_allocations(0, || driver.complete(plan.token, 0));
    assert_eq!(status, 0);
    assert_eq!(driver.info(bo).unwrap().domain, UVM_POLICY_DOMAIN_VRAM);
}
