// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The memory manager as C meets it: a driver's loop over structures and numbers.
#![allow(unsafe_code, clippy::unwrap_used)] // the border is raw pointers, and a test may give up

use std::ffi::c_int;
use std::mem::MaybeUninit;

use uvm_kmod_ffi::*;

const ENOENT: c_int = -2;
const EIO: i32 = -5;
const EBUSY: c_int = -16;
const EINVAL: c_int = -22;
const ENOSPC: c_int = -28;
const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

struct Driver {
    policy: *mut UvmPolicy,
    log: UvmMmLog,
    bytes: Vec<u8>,
}

impl Driver {
    fn new() -> Self {
        let config = UvmPolicyConfig { page_size: PAGE, ..UvmPolicyConfig::default() };
        let policy = uvm_policy_new(Some(&config));
        let mut bytes = vec![0; 1 << 16];
        let log = UvmMmLog { bytes: bytes.as_mut_ptr(), size: 1 << 16, len: 0, lost: 0 };
        let mut driver = Self { policy, log, bytes };
        let segment = |kind, base, size| UvmMmSegment { base, size, kind, pad: 0 };
        let mut config = UvmMmConfig { chunk: MIB, evict: UVM_MM_EVICT_2Q, count: 3, ..UvmMmConfig::default() };
        config.segments[0] = segment(UVM_MM_SEG_LOCAL, 0, 8 * MIB);
        config.segments[1] = segment(UVM_MM_SEG_SNOOPED, 0, 8 * MIB);
        config.segments[2] = segment(UVM_MM_SEG_PAGING, 8 * MIB, 2 * MIB);
        let Driver { policy, log, .. } = &mut driver;
        // SAFETY: the policy is this driver's own, and the log has the size that it says.
        assert_eq!(unsafe { uvm_mm_start(policy.as_mut(), Some(&config), Some(log)) }, 0);
        driver
    }

    fn event(&mut self, event: UvmMmEvent) -> Result<UvmMmReply, c_int> {
        let mut reply = MaybeUninit::uninit();
        // SAFETY: as above; lists in events are alive.
        let status = unsafe { uvm_mm_event(self.policy.as_mut(), Some(&event), Some(&mut reply), Some(&mut self.log)) };
        // SAFETY: written with status 0.
        (status == 0).then(|| unsafe { reply.assume_init() }).ok_or(status)
    }

    fn next(&mut self) -> Option<UvmMmAction> {
        let mut action = MaybeUninit::uninit();
        // SAFETY: as above.
        let status = unsafe { uvm_mm_next(self.policy.as_mut(), Some(&mut action), Some(&mut self.log)) };
        assert!(status == 0 || status == 1);
        // SAFETY: written with status 1.
        (status == 1).then(|| unsafe { action.assume_init() })
    }

    fn create(&mut self, process: u64, size: u64) -> u64 {
        let mut event =
            UvmMmEvent { op: UVM_MM_EV_CREATE, process, size, flags: UVM_MM_FLAG_PAGEABLE, ..Default::default() };
        (event.nr_kinds, event.priority, event.kinds[0]) = (1, 1, UVM_MM_SEG_LOCAL);
        self.event(event).unwrap().id
    }

    fn submit(&mut self, process: u64, bos: &[u64]) -> u64 {
        let nr_bos = u32::try_from(bos.len()).unwrap();
        let event = UvmMmEvent { op: UVM_MM_EV_SUBMIT, process, nr_bos, bos: bos.as_ptr(), ..Default::default() };
        self.event(event).unwrap().id
    }

    /// Carries out what there is to do; each action ends with `value`. Gives the operations, and the last notice.
    fn work(&mut self, value: u64) -> (Vec<u32>, Option<UvmMmAction>) {
        let (mut ops, mut notice) = (vec![], None);
        while let Some(action) = self.next() {
            ops.push(action.op);
            if action.id == 0 {
                notice = Some(action);
            } else {
                let done = UvmMmEvent { op: UVM_MM_EV_DONE, id: action.id, value, ..Default::default() };
                self.event(done).unwrap();
            }
        }
        (ops, notice)
    }

    fn place(&self, bo: u64) -> Result<UvmMmPlace, c_int> {
        let mut place = MaybeUninit::uninit();
        // SAFETY: the policy is this driver's own.
        let status = uvm_mm_residence(unsafe { self.policy.as_ref() }, bo, Some(&mut place));
        // SAFETY: written with status 0.
        (status == 0).then(|| unsafe { place.assume_init() }).ok_or(status)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: made by uvm_policy_new, ended once.
        unsafe { uvm_policy_destroy(self.policy) }
    }
}

fn one(op: u32, id: u64) -> UvmMmEvent {
    UvmMmEvent { op, id, ..Default::default() }
}

#[test]
fn a_driver_runs_a_job_pages_its_buffer_out_and_replays_its_log() {
    let mut driver = Driver::new();
    let open =
        UvmMmEvent { op: UVM_MM_EV_OPEN, size: u64::MAX, offset: u64::MAX, value: u64::MAX, ..Default::default() };
    let process = driver.event(open).unwrap().id;
    let (first, second) = (driver.create(process, 6 * MIB), driver.create(process, 5 * MIB));

    let ticket = driver.submit(process, &[first]);
    let (ops, notice) = driver.work(0);
    assert_eq!(ops, [UVM_MM_DO_CLEAR, UVM_MM_DO_READY]);
    assert_eq!(notice.unwrap().bo, ticket);
    assert_eq!(driver.event(one(UVM_MM_EV_CANCEL, ticket)), Err(EBUSY));
    driver.event(one(UVM_MM_EV_FENCE, ticket)).unwrap();

    let ticket = driver.submit(process, &[second]);
    let (ops, notice) = driver.work(0);
    let count = |op| ops.iter().filter(|other| **other == op).count();
    assert_eq!([UVM_MM_DO_ALLOC_STALE, UVM_MM_DO_PAGE_OUT].map(count), [6; 2]);
    assert_eq!((notice.unwrap().op, notice.unwrap().bo), (UVM_MM_DO_READY, ticket));
    assert_eq!(driver.place(first).unwrap().kind, UVM_MM_AT_PAGES);
    assert_eq!(driver.place(second).unwrap(), UvmMmPlace { offset: 0, kind: UVM_MM_SEG_LOCAL, pad: 0 });
    driver.event(one(UVM_MM_EV_FENCE, ticket)).unwrap();
    // What it lies in is not given back by its own name.
    let mut range = MaybeUninit::uninit();
    // SAFETY: the policy is this driver's own.
    assert_eq!(uvm_policy_find(unsafe { driver.policy.as_ref() }, UVM_POLICY_DOMAIN_VRAM, 0, Some(&mut range)), 0);
    // SAFETY: written with status 0; and as above.
    assert_eq!(unsafe { uvm_policy_free(driver.policy.as_mut(), range.assume_init_ref().id) }, EBUSY);

    let ticket = driver.submit(process, &[first]);
    let (_, notice) = driver.work(UVM_MM_FAIL_IO);
    let notice = notice.unwrap();
    assert_eq!((notice.op, notice.bo, notice.error), (UVM_MM_DO_REFUSED, ticket, EIO));
    assert_eq!(driver.place(second).unwrap().kind, UVM_MM_SEG_LOCAL, "what could not be copied is where it was");

    let log = &driver.bytes[..driver.log.len as usize];
    assert_eq!(driver.log.lost, 0);
    assert!(uvm_policy::record::replay(log).unwrap().actions > 30);
}

#[test]
fn senseless_events_are_errors() {
    let mut driver = Driver::new();
    let open =
        UvmMmEvent { op: UVM_MM_EV_OPEN, size: 4 * MIB, offset: u64::MAX, value: u64::MAX, ..Default::default() };
    let process = driver.event(open).unwrap().id;
    let bo = driver.create(process, 3 * MIB);
    let create = UvmMmEvent { op: UVM_MM_EV_CREATE, process, size: 2 * MIB, ..Default::default() };

    assert_eq!(driver.event(create), Err(ENOSPC), "over the limit");
    assert_eq!(driver.event(UvmMmEvent { flags: 8, ..create }), Err(EINVAL));
    assert_eq!(driver.event(UvmMmEvent { nr_kinds: 5, ..create }), Err(EINVAL));
    assert_eq!(driver.event(UvmMmEvent { priority: 3, size: PAGE, ..create }), Err(EINVAL));
    assert_eq!(driver.event(UvmMmEvent { nr_bos: 1, ..one(UVM_MM_EV_SUBMIT, 0) }), Err(EINVAL));
    assert_eq!(driver.event(one(99, bo)), Err(EINVAL));
    assert_eq!(driver.event(one(UVM_MM_EV_UNMAP, bo)), Err(EINVAL));
    assert_eq!(driver.event(one(UVM_MM_EV_UNPIN, bo)), Err(EINVAL));
    for op in [UVM_MM_EV_DESTROY, UVM_MM_EV_FENCE, UVM_MM_EV_CANCEL, UVM_MM_EV_DONE, UVM_MM_EV_PIN] {
        assert_eq!(driver.event(one(op, 12345)), Err(ENOENT), "event {op}");
    }
    assert_eq!(driver.event(UvmMmEvent { process, ..one(UVM_MM_EV_CLOSE, 0) }), Err(EBUSY));
}

#[test]
fn segments_tell_their_use_by_number() {
    let driver = Driver::new();
    // SAFETY: the policy is this driver's own.
    let policy = unsafe { driver.policy.as_ref() };
    let mut stats = MaybeUninit::uninit();

    assert_eq!(uvm_mm_segment_stats(policy, 2, Some(&mut stats)), 0);
    // SAFETY: written, as the call succeeded.
    let stats = unsafe { stats.assume_init() };
    assert_eq!((stats.size, stats.used), (2 * MIB, 0));
    let mut nothing = MaybeUninit::uninit();
    assert_eq!(uvm_mm_segment_stats(policy, 3, Some(&mut nothing)), ENOENT);
    assert_eq!(uvm_mm_segment_stats(policy, 256, Some(&mut nothing)), ENOENT);
}
