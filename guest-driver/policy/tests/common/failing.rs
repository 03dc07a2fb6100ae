// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! An allocator that runs dry when a test says so, as the kernel's does under pressure.
#![allow(unsafe_code)] // the allocator trait is unsafe

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

std::thread_local! {
    /// Allocations that this thread may still make; `None`: any number.
    static ALLOWED: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The system's allocator, or NULL.
pub struct Failing;

// SAFETY: hands everything to the system's allocator or gives NULL, which the trait allows.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match ALLOWED.get() {
            Some(0) => return std::ptr::null_mut(),
            Some(left) => ALLOWED.set(Some(left - 1)),
            None => {}
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Runs with at most `count` allocations on this thread.
pub fn with_allocations<R>(count: u32, run: impl FnOnce() -> R) -> R {
    ALLOWED.set(Some(count));
    let result = run();
    ALLOWED.set(None);
    result
}
