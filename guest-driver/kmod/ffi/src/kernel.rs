// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! What a freestanding object needs and std would bring: an allocator and a panic handler, both in terms of
//! three functions of the C side.
#![allow(unsafe_code)] // the allocator trait is unsafe, and C is called

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_char;
use core::panic::PanicInfo;

use crate::message::Message;

extern "C" {
    fn uvm_rust_alloc(size: usize, align: usize) -> *mut u8;
    fn uvm_rust_free(ptr: *mut u8);
    fn uvm_rust_panic(msg: *const c_char, len: usize) -> !;
}

struct Kvmalloc;

// SAFETY: uvm_rust_alloc gives memory of at least the size and alignment or NULL, and nothing of it is given out
// again before uvm_rust_free; neither unwinds.
unsafe impl GlobalAlloc for Kvmalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the function takes any size and alignment.
        unsafe { uvm_rust_alloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, _layout: Layout) {
        // SAFETY: the trait's contract: `ptr` came from `alloc` above and is not used any more.
        unsafe { uvm_rust_free(ptr) }
    }
}

#[global_allocator]
static ALLOCATOR: Kvmalloc = Kvmalloc;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let message = Message::of(info);
    let text = message.bytes();
    // SAFETY: the buffer is valid for its length, and the function does not return.
    unsafe { uvm_rust_panic(text.as_ptr().cast(), text.len()) }
}
