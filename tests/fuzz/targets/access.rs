// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| uvm_fuzz::access::run(data));
