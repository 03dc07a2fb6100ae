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

    fn stats(&mut self, domain: u32) -> UvmPolicyStats {
        call(|out| uvm_policy_stats(self.policy().map(|p| &*p), domain, out)).unwrap()
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

    for wrong in [0, 1, u64::MAX, range.id ^ 1, range.id ^ 1 << 33, range.id ^ 1 << 57] {
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
