// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The border for address spaces as C meets it: raw numbers, NULL, and a kernel that is out of memory.
#![allow(unsafe_code, clippy::unwrap_used)] // the border is raw pointers, and a test may give up

#[path = "../../../policy/tests/common/failing.rs"]
mod failing;

use std::ffi::c_int;
use std::mem::MaybeUninit;

use failing::with_allocations;
use uvm_kmod_ffi::*;

const ENOENT: c_int = -2;
const EAGAIN: c_int = -11;
const ENOMEM: c_int = -12;
const EBUSY: c_int = -16;
const EEXIST: c_int = -17;
const EINVAL: c_int = -22;
const ENOSPC: c_int = -28;

const PAGE: u64 = 4096;
const VALID_RW: u64 = 1 | 1 << 5 | 1 << 6;
const RW: u64 = VALID_RW - 1;
const SYSTEM: u64 = 2;

#[global_allocator]
static ALLOCATOR: failing::Failing = failing::Failing;

/// Owns a policy as the driver does, with 64 pages of VRAM.
struct Driver(*mut UvmPolicy);

impl Driver {
    fn new() -> Self {
        let config = UvmPolicyConfig { page_size: PAGE, vram_size: 64 * PAGE, ..UvmPolicyConfig::default() };
        let policy = uvm_policy_new(Some(&config));
        assert!(!policy.is_null() && policy.addr() < usize::MAX - 4095);
        Self(policy)
    }

    fn policy(&mut self) -> Option<&mut UvmPolicy> {
        // SAFETY: from uvm_policy_new, destroyed in drop only, borrowed exclusively.
        unsafe { self.0.as_mut() }
    }

    fn vm(&mut self) -> u64 {
        call(|out| uvm_policy_vm_create(self.policy(), Some(&vm_config()), out)).unwrap()
    }

    fn info(&mut self, vm: u64) -> Result<UvmPolicyVmInfo, c_int> {
        call(|out| uvm_policy_vm_info(self.policy().map(|p| &*p), vm, out))
    }

    fn grab(&mut self, vm: u64, fence: u64) -> (c_int, UvmPolicyVmidGrant) {
        let request = UvmPolicyVmidRequest { vm, fence, ring: 0, hubs: 2 };
        let mut grant = MaybeUninit::new(UvmPolicyVmidGrant::default());
        let status = uvm_policy_vmid_grab(self.policy(), Some(&request), Some(&mut grant));
        // SAFETY: initialised above.
        (status, unsafe { grant.assume_init() })
    }

    fn begin(&mut self, update: &UvmPolicyUpdate) -> Result<u64, c_int> {
        call(|out| uvm_policy_update_begin(self.policy(), Some(update), out))
    }

    fn pages(&mut self, token: u64, runs: &[UvmPolicyPages]) -> c_int {
        let count = u32::try_from(runs.len()).unwrap();
        // SAFETY: pointer and count are of one slice.
        unsafe { uvm_policy_update_pages(self.policy(), token, runs.as_ptr(), count) }
    }

    fn prepare(&mut self, token: u64) -> (c_int, u64) {
        let mut need = MaybeUninit::new(9);
        let status = uvm_policy_update_prepare(self.policy(), token, Some(&mut need));
        // SAFETY: initialised above.
        (status, unsafe { need.assume_init() })
    }

    fn next<const ROOM: usize>(&mut self, token: u64) -> Result<Vec<UvmPolicyWrite>, c_int> {
        let mut writes = [UvmPolicyWrite::default(); ROOM];
        let room = u32::try_from(ROOM).unwrap();
        // SAFETY: pointer and room are of one array.
        let count =
            call(|out| unsafe { uvm_policy_update_next(self.policy(), token, writes.as_mut_ptr(), room, out) })?;
        Ok(writes[..count as usize].to_vec())
    }

    fn all_writes(&mut self, token: u64) -> Vec<UvmPolicyWrite> {
        let mut all = vec![];
        loop {
            let writes = self.next::<2>(token).unwrap();
            if writes.is_empty() {
                return all;
            }
            all.extend(writes);
        }
    }

    fn commit(&mut self, token: u64) -> c_int {
        uvm_policy_update_commit(self.policy(), token)
    }

    fn abandon(&mut self, token: u64) -> c_int {
        uvm_policy_update_abandon(self.policy(), token)
    }

    fn flush(&mut self, vm: u64) -> Result<UvmPolicyInvalidate, c_int> {
        call(|out| uvm_policy_vm_flush(self.policy(), vm, out))
    }

    /// Gives the writes of a prepared update, which is committed.
    fn committed(&mut self, token: u64) -> Vec<UvmPolicyWrite> {
        let writes = self.all_writes(token);
        assert_eq!(self.commit(token), 0);
        writes
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: from uvm_policy_new, and not used after.
        unsafe { uvm_policy_destroy(self.0) };
    }
}

fn vm_config() -> UvmPolicyVmConfig {
    UvmPolicyVmConfig { levels: 2, tables: UVM_POLICY_DOMAIN_VRAM, fragment: 9, leaf_level: 1, ..Default::default() }
}

fn map(vm: u64, page: u64, pages: u64) -> UvmPolicyUpdate {
    UvmPolicyUpdate {
        vm,
        va: page * PAGE,
        size: pages * PAGE,
        attributes: RW,
        bo: 77,
        change: UVM_POLICY_CHANGE_MAP,
        ..UvmPolicyUpdate::default()
    }
}

fn system(addr: u64, pages: u64) -> UvmPolicyPages {
    UvmPolicyPages { addr, pages, domain: UVM_POLICY_DOMAIN_SYSTEM, pad: 0 }
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
fn scattered_pages_become_runs_behind_a_filled_table() {
    let mut driver = Driver::new();
    let vm = driver.vm();
    let root = driver.info(vm).unwrap().root_addr;
    let token = driver.begin(&map(vm, 1, 3)).unwrap();
    assert_eq!(driver.pages(token, &[system(0x10_0000, 1), system(0x30_0000, 1)]), 0);
    assert_eq!(driver.pages(token, &[system(0x30_1000, 1)]), 0);
    assert_eq!(driver.prepare(token), (0, 0));

    let writes = driver.all_writes(token);

    let write = |table, first, count, value, increment| UvmPolicyWrite {
        domain: UVM_POLICY_DOMAIN_VRAM,
        table,
        first,
        count,
        value,
        increment,
        ..UvmPolicyWrite::default()
    };
    let table = writes[0].table;
    let expected = [
        write(table, 0, 1, 0, 0),
        write(table, 1, 1, 0x10_0000 | VALID_RW | SYSTEM, PAGE),
        write(table, 2, 2, 0x30_0000 | VALID_RW | SYSTEM | 1 << 7, PAGE), // two pages alike: FRAGMENT 1
        write(table, 4, 508, 0, 0),
        write(root, 0, 1, table | 1, PAGE),
    ];
    assert_eq!(writes, expected);
    assert_eq!(driver.commit(token), 0);
    let mut reached = |va| call(|out| uvm_policy_vm_reached(driver.policy().map(|p| &*p), vm, va, out));
    assert_eq!(reached(3 * PAGE + 8), Err(ENOENT), "it is planned");
    assert_eq!(uvm_policy_update_landed(driver.policy(), token), 0);
    let mut reached = |va| call(|out| uvm_policy_vm_reached(driver.policy().map(|p| &*p), vm, va, out));
    assert_eq!(reached(3 * PAGE + 8), Ok(0x30_1000 | VALID_RW | SYSTEM));
    let found = call(|out| uvm_policy_vm_find(driver.policy().map(|p| &*p), vm, 3 * PAGE + 8, out)).unwrap();
    let second = UvmPolicyMapping {
        va: 2 * PAGE,
        size: 2 * PAGE,
        entry: 0x30_0000 | VALID_RW | SYSTEM,
        bo: 77,
        bo_offset: PAGE,
    };
    assert_eq!(found, second);
    assert_eq!(driver.begin(&map(vm, 3, 1)), Err(EEXIST));
}

#[test]
fn update_is_abandoned_before_its_commit_only() {
    let mut driver = Driver::new();
    let vm = driver.vm();
    let token = driver.begin(&map(vm, 0, 1)).unwrap();
    assert_eq!(driver.pages(token, &[system(0x10_0000, 1)]), 0);
    assert_eq!(driver.prepare(token).0, 0);
    assert_eq!(driver.commit(token), EINVAL, "not before all writes were given");
    driver.all_writes(token);

    assert_eq!(driver.abandon(token), 0);

    assert_eq!(driver.abandon(token), ENOENT);
    assert_eq!(driver.info(vm).unwrap().tables, 1);
    let found = call(|out| uvm_policy_vm_find(driver.policy().map(|p| &*p), vm, 0, out));
    assert_eq!(found, Err(ENOENT));
    let token = driver.begin(&map(vm, 0, 1)).unwrap();
    assert_eq!(driver.pages(token, &[system(0x10_0000, 1)]), 0);
    assert_eq!(driver.prepare(token).0, 0);
    driver.committed(token);
    assert_eq!(driver.abandon(token), EINVAL);
    assert_eq!(uvm_policy_vm_destroy(driver.policy(), vm), EBUSY);
    assert_eq!(uvm_policy_update_retire(driver.policy(), token), 0, "the address space ends before it landed");
    assert_eq!(uvm_policy_vm_destroy(driver.policy(), vm), 0);
}

#[test]
fn unmap_under_a_running_job_invalidates_its_vmid() {
    let mut driver = Driver::new();
    let vm = driver.vm();
    let token = driver.begin(&map(vm, 5, 1)).unwrap();
    assert_eq!(driver.pages(token, &[system(0x10_0000, 1)]), 0);
    assert_eq!(driver.prepare(token).0, 0);
    driver.committed(token);
    let (status, grant) = driver.grab(vm, 100);
    assert_eq!((status, grant.flush, grant.load, grant.root), (0, 2, 2, driver.info(vm).unwrap().root));
    let unmap = UvmPolicyUpdate { change: UVM_POLICY_CHANGE_UNMAP, attributes: 0, bo: 0, ..map(vm, 5, 1) };
    let second = driver.begin(&unmap).unwrap();
    assert_eq!(driver.prepare(second).0, 0);
    driver.committed(second);

    assert_eq!(driver.flush(vm), Ok(UvmPolicyInvalidate::default()), "nothing has landed");
    assert_eq!(uvm_policy_vm_flushed(driver.policy(), vm), EINVAL);
    for token in [token, second] {
        assert_eq!(uvm_policy_update_landed(driver.policy(), token), 0);
        assert_eq!(uvm_policy_update_landed(driver.policy(), token), EINVAL);
    }
    assert_eq!(uvm_policy_update_retire(driver.policy(), second), EINVAL, "not before the flush");
    let flush = driver.flush(vm).unwrap();

    assert_eq!(flush, UvmPolicyInvalidate { first: 5, count: 1, vmids: 1 << grant.vmid, pad: 0 });
    assert_eq!(uvm_policy_update_retire(driver.policy(), second), EINVAL, "not before its acknowledge");
    assert_eq!(uvm_policy_vm_flushed(driver.policy(), vm), 0);
    for token in [token, second] {
        assert_eq!(uvm_policy_update_retire(driver.policy(), token), 0);
        assert_eq!(uvm_policy_update_retire(driver.policy(), token), ENOENT);
    }
    assert_eq!(uvm_policy_vm_destroy(driver.policy(), vm), EBUSY);
    assert_eq!(uvm_policy_vmid_submitted(driver.policy(), grant.job, 0), 0);
    assert_eq!(uvm_policy_vmid_submitted(driver.policy(), grant.job, 0), EINVAL);
    assert_eq!(uvm_policy_vmid_signalled(driver.policy(), grant.job), 0);
    assert_eq!(uvm_policy_vmid_signalled(driver.policy(), grant.job), ENOENT);
    assert_eq!(uvm_policy_vm_destroy(driver.policy(), vm), 0);
    assert_eq!(driver.info(vm), Err(ENOENT));
}

#[test]
fn sixteenth_process_is_told_whom_to_wait_for() {
    let mut driver = Driver::new();
    let vms: Vec<u64> = (0..16).map(|_| driver.vm()).collect();
    for (vm, fence) in vms.iter().zip(1..).take(15) {
        assert_eq!(driver.grab(*vm, fence).0, 0);
    }

    let (status, wait) = driver.grab(vms[15], 16);

    assert_eq!((status, wait.job, wait.fence, wait.vmid), (EBUSY, 0, 1, 1));
    assert_eq!(uvm_policy_vmid_give_up(driver.policy(), vms[15]), 0);
    let mut counts = (MaybeUninit::new(9), MaybeUninit::new(9));
    assert_eq!(uvm_policy_vms_in_use(driver.policy().map(|p| &*p), Some(&mut counts.0), Some(&mut counts.1)), 0);
    // SAFETY: initialised above.
    assert_eq!(unsafe { (counts.0.assume_init(), counts.1.assume_init()) }, (16, 15));
    assert_eq!(uvm_policy_vmid_set_aside(driver.policy(), 1), EBUSY);
    assert_eq!(uvm_policy_vmid_reset(driver.policy()), 0);
    let mut pasids: Vec<u32> = vms.iter().map(|vm| driver.info(*vm).unwrap().pasid).collect();
    pasids.dedup();
    assert_eq!(pasids.len(), 16);
}

#[test]
fn tables_in_system_memory_ask_for_pages_and_give_them_back() {
    let mut driver = Driver::new();
    let config = UvmPolicyVmConfig { tables: UVM_POLICY_DOMAIN_SYSTEM, root: 0x5000, levels: 4, ..vm_config() };
    let vm = call(|out| uvm_policy_vm_create(driver.policy(), Some(&config), out)).unwrap();
    let token = driver.begin(&map(vm, 0, 1)).unwrap();
    assert_eq!(driver.pages(token, &[system(0x10_0000, 1)]), 0);

    assert_eq!(driver.prepare(token), (EAGAIN, 3));
    for page in [0x7000, 0x8000, 0x9000] {
        assert_eq!(uvm_policy_table_page_add(driver.policy(), page), 0);
    }
    assert_eq!(driver.prepare(token), (0, 0));
    let take = |driver: &mut Driver| call(|out| uvm_policy_table_page_take(driver.policy(), out));
    assert_eq!(take(&mut driver), Err(ENOENT), "all are in use");
    assert_eq!(driver.abandon(token), 0);

    let mut back: Vec<u64> = (0..3).map(|_| take(&mut driver).unwrap()).collect();
    back.sort_unstable();
    assert_eq!(back, [0x7000, 0x8000, 0x9000]);
    for bad in [0, 1, 0x7001, 1 << 48] {
        assert_eq!(uvm_policy_table_page_add(driver.policy(), bad), EINVAL, "{bad:#x}");
    }
    assert_eq!(uvm_policy_vm_destroy(driver.policy(), vm), 0);
    assert_eq!(take(&mut driver), Err(ENOENT), "the root is its giver's");
}

#[test]
fn full_vram_is_enospc_and_can_be_tried_again() {
    let mut driver = Driver::new();
    let vm = driver.vm();
    let hog = UvmPolicyRequest { size: 63 * PAGE, ..UvmPolicyRequest::default() };
    let hog = call(|out| uvm_policy_alloc(driver.policy(), UVM_POLICY_DOMAIN_VRAM, Some(&hog), out)).unwrap();
    let token = driver.begin(&map(vm, 0, 1)).unwrap();
    assert_eq!(driver.pages(token, &[system(0x10_0000, 1)]), 0);

    assert_eq!(driver.prepare(token), (ENOSPC, 0));
    assert_eq!(call(|out| uvm_policy_vm_create(driver.policy(), Some(&vm_config()), out)), Err(ENOSPC));
    assert_eq!(uvm_policy_free(driver.policy(), hog.id), 0);

    assert_eq!(driver.prepare(token), (0, 0));
}

#[test]
fn shortage_of_memory_is_enomem_everywhere_and_leaves_no_trace() {
    let mut driver = Driver::new();
    let mut failures = [0; 4];
    let vm = loop {
        let made = with_allocations(failures[0], || {
            call(|out| uvm_policy_vm_create(driver.policy(), Some(&vm_config()), out))
        });
        match made {
            Ok(vm) => break vm,
            Err(error) => assert_eq!(error, ENOMEM),
        }
        failures[0] += 1;
    };
    while let (error @ ..0, _) = with_allocations(failures[1], || driver.grab(vm, 1)) {
        assert_eq!(error, ENOMEM);
        failures[1] += 1;
    }
    let token = loop {
        match with_allocations(failures[2], || driver.begin(&map(vm, 0, 700))) {
            Ok(token) => break token,
            Err(error) => assert_eq!(error, ENOMEM),
        }
        failures[2] += 1;
    };
    let runs: Vec<_> = (0..700).map(|i| system(0x100_0000 + i * 2 * PAGE, 1)).collect();
    while with_allocations(failures[3], || driver.pages(token, &runs)) != 0 {
        failures[3] += 1;
    }
    let mut more = 0;
    while let (error @ ..0, _) = with_allocations(more, || driver.prepare(token)) {
        assert_eq!(error, ENOMEM);
        more += 1;
    }

    assert!(failures.iter().chain([&more]).all(|count| *count > 0), "each allocates: {failures:?} {more}");
    let entries: u64 = driver.all_writes(token).iter().filter(|write| write.value & SYSTEM != 0).map(|w| w.count).sum();
    assert_eq!(entries, 700);
    let left = with_allocations(0, || {
        let policy = driver.policy().unwrap();
        [
            uvm_policy_update_commit(Some(policy), token),
            uvm_policy_update_landed(Some(policy), token),
            uvm_policy_update_retire(Some(policy), token),
        ]
    });
    assert_eq!((left, driver.info(vm).unwrap().tables), ([0; 3], 3));
}

#[test]
fn null_anywhere_is_einval() {
    let mut driver = Driver::new();
    let vm = driver.vm();
    let token = driver.begin(&map(vm, 0, 1)).unwrap();
    let request = UvmPolicyVmidRequest { vm, fence: 1, ring: 0, hubs: 2 };
    let run = system(0x1000, 1);
    let mut write = UvmPolicyWrite::default();

    let answers = [
        call(|out| uvm_policy_vm_create(None, Some(&vm_config()), out)).err(),
        call(|out| uvm_policy_vm_create(driver.policy(), None, out)).err(),
        Some(uvm_policy_vm_create(driver.policy(), Some(&vm_config()), None)),
        Some(uvm_policy_vm_destroy(None, vm)),
        call(|out| uvm_policy_vm_info(None, vm, out)).err(),
        Some(uvm_policy_vm_info(driver.policy().map(|p| &*p), vm, None)),
        Some(uvm_policy_vm_touch(None, vm)),
        call(|out| uvm_policy_vms_in_use(None, out, Some(&mut MaybeUninit::uninit()))).err(),
        call(|out| uvm_policy_vms_in_use(driver.policy().map(|p| &*p), out, None)).err(),
        Some(uvm_policy_vmid_set_aside(None, 0)),
        call(|out| uvm_policy_vmid_grab(None, Some(&request), out)).err(),
        call(|out| uvm_policy_vmid_grab(driver.policy(), None, out)).err(),
        Some(uvm_policy_vmid_grab(driver.policy(), Some(&request), None)),
        Some(uvm_policy_vmid_submitted(None, 1, 0)),
        Some(uvm_policy_vmid_signalled(None, 1)),
        call(|out| uvm_policy_vmid_again(None, 1, out)).err(),
        Some(uvm_policy_vmid_again(driver.policy(), 1, None)),
        Some(uvm_policy_vmid_give_up(None, vm)),
        call(|out| uvm_policy_vmid_reserve(None, vm, out)).err(),
        Some(uvm_policy_vmid_reserve(driver.policy(), vm, None)),
        Some(uvm_policy_vmid_unreserve(None, vm)),
        Some(uvm_policy_vmid_reset(None)),
        call(|out| uvm_policy_update_begin(None, Some(&map(vm, 0, 1)), out)).err(),
        call(|out| uvm_policy_update_begin(driver.policy(), None, out)).err(),
        Some(uvm_policy_update_begin(driver.policy(), Some(&map(vm, 0, 1)), None)),
        // SAFETY: NULL, or a pointer to as many as the count says.
        Some(unsafe { uvm_policy_update_pages(None, token, &run, 1) }),
        // SAFETY: as above.
        Some(unsafe { uvm_policy_update_pages(driver.policy(), token, std::ptr::null(), 1) }),
        // SAFETY: as above.
        Some(unsafe { uvm_policy_update_pages(driver.policy(), token, &run, 0) }),
        call(|out| uvm_policy_update_prepare(None, token, out)).err(),
        Some(uvm_policy_update_prepare(driver.policy(), token, None)),
        // SAFETY: as above.
        call(|out| unsafe { uvm_policy_update_next(None, token, &mut write, 1, out) }).err(),
        // SAFETY: as above.
        call(|out| unsafe { uvm_policy_update_next(driver.policy(), token, std::ptr::null_mut(), 1, out) }).err(),
        // SAFETY: as above.
        call(|out| unsafe { uvm_policy_update_next(driver.policy(), token, &mut write, 0, out) }).err(),
        // SAFETY: as above.
        Some(unsafe { uvm_policy_update_next(driver.policy(), token, &mut write, 1, None) }),
        Some(uvm_policy_update_commit(None, token)),
        Some(uvm_policy_update_abandon(None, token)),
        Some(uvm_policy_update_landed(None, token)),
        Some(uvm_policy_update_retire(None, token)),
        call(|out| uvm_policy_vm_flush(None, vm, out)).err(),
        Some(uvm_policy_vm_flush(driver.policy(), vm, None)),
        Some(uvm_policy_vm_flushed(None, vm)),
        call(|out| uvm_policy_vm_find(None, vm, 0, out)).err(),
        call(|out| uvm_policy_vm_reached(None, vm, 0, out)).err(),
        Some(uvm_policy_vm_find(driver.policy().map(|p| &*p), vm, 0, None)),
        Some(uvm_policy_vm_reached(driver.policy().map(|p| &*p), vm, 0, None)),
        Some(uvm_policy_table_page_add(None, PAGE)),
        call(|out| uvm_policy_table_page_take(None, out)).err(),
        Some(uvm_policy_table_page_take(driver.policy(), None)),
    ];

    for (i, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer, Some(EINVAL), "call {i}");
    }
}

#[test]
fn unknown_ids_are_enoent_everywhere() {
    let mut driver = Driver::new();
    let vm = driver.vm();
    let token = driver.begin(&map(vm, 0, 1)).unwrap();
    let (_, grant) = driver.grab(vm, 1);

    for wrong in [0, 1, u64::MAX, vm ^ 1, vm ^ 1 << 40, token, grant.job] {
        assert_eq!(driver.info(wrong), Err(ENOENT));
        assert_eq!(uvm_policy_vm_destroy(driver.policy(), wrong), ENOENT);
        assert_eq!(uvm_policy_vm_touch(driver.policy(), wrong), ENOENT);
        assert_eq!(driver.grab(wrong, 1).0, ENOENT);
        assert_eq!(uvm_policy_vmid_give_up(driver.policy(), wrong), ENOENT);
        assert_eq!(call(|out| uvm_policy_vmid_reserve(driver.policy(), wrong, out)), Err(ENOENT));
        assert_eq!(uvm_policy_vmid_unreserve(driver.policy(), wrong), ENOENT);
        assert_eq!(driver.begin(&map(wrong, 0, 1)), Err(ENOENT));
        assert_eq!(driver.flush(wrong), Err(ENOENT));
        assert_eq!(uvm_policy_vm_flushed(driver.policy(), wrong), ENOENT);
        let found = call(|out| uvm_policy_vm_find(driver.policy().map(|p| &*p), wrong, 0, out));
        assert_eq!(found, Err(ENOENT));
    }
    for wrong in [0, 1, u64::MAX, token ^ 1, token ^ 1 << 40, vm, grant.job] {
        assert_eq!(driver.pages(wrong, &[system(0x1000, 1)]), ENOENT);
        assert_eq!(driver.prepare(wrong), (ENOENT, 0));
        assert_eq!(driver.next::<1>(wrong), Err(ENOENT));
        assert_eq!((driver.commit(wrong), driver.abandon(wrong)), (ENOENT, ENOENT));
        assert_eq!(uvm_policy_update_landed(driver.policy(), wrong), ENOENT);
        assert_eq!(uvm_policy_update_retire(driver.policy(), wrong), ENOENT);
    }
    for wrong in [0, 1, u64::MAX, grant.job ^ 1, grant.job ^ 1 << 40, vm, token] {
        assert_eq!(uvm_policy_vmid_submitted(driver.policy(), wrong, 0), ENOENT);
        assert_eq!(uvm_policy_vmid_signalled(driver.policy(), wrong), ENOENT);
        assert_eq!(call(|out| uvm_policy_vmid_again(driver.policy(), wrong, out)), Err(ENOENT));
    }
}

#[test]
fn bad_numbers_are_einval_and_change_nothing() {
    let mut driver = Driver::new();
    let good = vm_config();
    for bad in [
        UvmPolicyVmConfig { levels: 0, ..good },
        UvmPolicyVmConfig { levels: 6, ..good },
        UvmPolicyVmConfig { tables: UVM_POLICY_DOMAIN_GTT, ..good },
        UvmPolicyVmConfig { tables: 3, ..good },
        UvmPolicyVmConfig { root: PAGE, ..good },
        UvmPolicyVmConfig { tables: UVM_POLICY_DOMAIN_SYSTEM, root: 0, ..good },
        UvmPolicyVmConfig { tables: UVM_POLICY_DOMAIN_SYSTEM, root: 1 << 48, ..good },
        UvmPolicyVmConfig { va_bits: 58, ..good },
        UvmPolicyVmConfig { fragment: 32, ..good },
        UvmPolicyVmConfig { leaf_level: 2, ..good },
        UvmPolicyVmConfig { vram_base: 1, ..good },
        UvmPolicyVmConfig { pad: 1, ..good },
    ] {
        assert_eq!(call(|out| uvm_policy_vm_create(driver.policy(), Some(&bad), out)), Err(EINVAL), "{bad:?}");
    }
    let vm = driver.vm();
    for (fence, hubs) in [(0, 2), (1, 0), (1, 4), (1, u32::MAX)] {
        let request = UvmPolicyVmidRequest { vm, fence, ring: 0, hubs };
        assert_eq!(call(|out| uvm_policy_vmid_grab(driver.policy(), Some(&request), out)), Err(EINVAL));
    }
    for count in [15, 16, 255, 256, u32::MAX] {
        assert_eq!(uvm_policy_vmid_set_aside(driver.policy(), count), EINVAL);
    }
    let good = map(vm, 0, 2);
    for bad in [
        UvmPolicyUpdate { va: 1, ..good },
        UvmPolicyUpdate { size: 0, ..good },
        UvmPolicyUpdate { size: u64::MAX, ..good },
        UvmPolicyUpdate { va: 1 << 30, ..good },
        UvmPolicyUpdate { va: (1 << 30) - PAGE, ..good },
        UvmPolicyUpdate { attributes: 1, ..good },
        UvmPolicyUpdate { bo_offset: 3, ..good },
        UvmPolicyUpdate { bo_offset: !0xfff, ..good },
        UvmPolicyUpdate { change: 0, ..good },
        UvmPolicyUpdate { change: 4, ..good },
        UvmPolicyUpdate { flags: 2, ..good },
        UvmPolicyUpdate { change: UVM_POLICY_CHANGE_PRT, ..good },
    ] {
        assert_eq!(driver.begin(&bad), Err(EINVAL), "{bad:?}");
    }
    let token = driver.begin(&good).unwrap();
    assert_eq!(driver.begin(&good), Err(EBUSY));
    for bad in [
        UvmPolicyPages { pages: 0, ..system(PAGE, 1) },
        UvmPolicyPages { pages: u64::MAX, ..system(PAGE, 1) },
        UvmPolicyPages { pad: 1, ..system(PAGE, 1) },
        UvmPolicyPages { domain: UVM_POLICY_DOMAIN_GTT, ..system(PAGE, 1) },
        UvmPolicyPages { domain: 9, ..system(PAGE, 1) },
        system(PAGE, 3),
        system(1, 1),
        system((1 << 48) - PAGE, 2),
    ] {
        assert_eq!(driver.pages(token, &[system(PAGE, 1), bad]), EINVAL, "{bad:?}");
    }
    assert_eq!(driver.prepare(token), (EINVAL, 0), "nothing was told");
    assert_eq!(driver.next::<4>(token), Err(EINVAL));
    assert_eq!(driver.abandon(token), 0);
    assert_eq!(driver.info(vm).unwrap().tables, 1);
}
