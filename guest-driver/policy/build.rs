// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Declares the cfg that the kernel build, which calls rustc directly, sets.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(uvm_kernel)");
    println!("cargo::rerun-if-changed=build.rs");
}
