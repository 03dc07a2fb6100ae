// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The C header is what this crate says: generated here, compared with the committed one, and compiled.

use std::path::{Path, PathBuf};

const UPDATE: &str = "UVM_UPDATE_HEADER";

const START: &str = "/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The border between the driver and its policy, which is written in Rust.
 *
 * Generated from guest-driver/kmod/ffi: do not edit. To regenerate:
 * UVM_UPDATE_HEADER=1 cargo test -p uvm-kmod-ffi --test header
 *
 * All calls on one policy are made under one sleeping mutex of the driver. Sizes and offsets are
 * bytes. Functions that return int return 0 or a negative errno, and write their results only with
 * 0, except where it says otherwise.
 */";

const NEEDED_FROM_C: &str = "/**
 * uvm_rust_alloc() - memory for the policy's tables
 * @size: bytes, not 0
 * @align: alignment, at most that of u64
 *
 * Implemented by the driver: kvmalloc() that may sleep and may fail.
 *
 * Return: the memory or NULL.
 */
void *uvm_rust_alloc(size_t size, size_t align);

/**
 * uvm_rust_free() - give back memory
 * @ptr: of uvm_rust_alloc()
 *
 * Implemented by the driver: kvfree().
 */
void uvm_rust_free(void *ptr);

/**
 * uvm_rust_panic() - the policy found itself broken
 * @msg: file, line and reason; not terminated
 * @len: bytes of @msg
 *
 * Implemented by the driver: pr_emerg(\"%.*s\") and BUG().
 */
void __noreturn uvm_rust_panic(const char *msg, size_t len);
";

/// Rust names to C ones; the opaque policy first.
const NAMES: [(&str, &str); 23] = [
    ("UvmMmSegment", "uvm_mm_segment"),
    ("UvmMmConfig", "uvm_mm_config"),
    ("UvmMmEvent", "uvm_mm_event"),
    ("UvmMmReply", "uvm_mm_reply"),
    ("UvmMmAction", "uvm_mm_action"),
    ("UvmMmPlace", "uvm_mm_place"),
    ("UvmMmUsage", "uvm_mm_usage"),
    ("UvmMmStats", "uvm_mm_stats"),
    ("UvmMmLog", "uvm_mm_log"),
    ("UvmPolicy", "uvm_policy"),
    ("UvmPolicyConfig", "uvm_policy_config"),
    ("UvmPolicyRequest", "uvm_policy_request"),
    ("UvmPolicyRange", "uvm_policy_range"),
    ("UvmPolicyStats", "uvm_policy_stats"),
    ("UvmPolicyVmConfig", "uvm_policy_vm_config"),
    ("UvmPolicyVmInfo", "uvm_policy_vm_info"),
    ("UvmPolicyVmidRequest", "uvm_policy_vmid_request"),
    ("UvmPolicyVmidGrant", "uvm_policy_vmid_grant"),
    ("UvmPolicyUpdate", "uvm_policy_update"),
    ("UvmPolicyPages", "uvm_policy_pages"),
    ("UvmPolicyWrite", "uvm_policy_write"),
    ("UvmPolicyInvalidate", "uvm_policy_invalidate"),
    ("UvmPolicyMapping", "uvm_policy_mapping"),
];

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn committed() -> PathBuf {
    crate_dir().join("../uvm_policy.h")
}

fn generate() -> String {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Tag,
        header: Some(START.into()),
        include_guard: Some("UVM_POLICY_H".into()),
        no_includes: true,
        after_includes: Some("#include <linux/compiler.h>\n#include <linux/types.h>".into()),
        tab_width: 8,
        function: cbindgen::FunctionConfig { args: cbindgen::Layout::Horizontal, ..Default::default() },
        documentation_style: cbindgen::DocumentationStyle::Doxy,
        usize_is_size_t: true,
        ..cbindgen::Config::default()
    };
    config.export.rename = NAMES.iter().map(|(rust, c)| ((*rust).into(), (*c).into())).collect();
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(crate_dir().join("src/types.rs"))
        .with_src(crate_dir().join("src/vm_types.rs"))
        .with_src(crate_dir().join("src/mm_types.rs"))
        .with_src(crate_dir().join("src/api.rs"))
        .with_src(crate_dir().join("src/vmid_api.rs"))
        .with_src(crate_dir().join("src/update_api.rs"))
        .with_src(crate_dir().join("src/mm_api.rs"))
        .with_src(crate_dir().join("src/retire_api.rs"))
        .generate()
        .expect("cbindgen reads the crate")
        .write(&mut header);
    in_kernel_style(&String::from_utf8(header).expect("a header is text"))
}

/// What cbindgen has no setting for: kernel types, tabs, wrapped prototypes, one-line comments on numbers. The
/// sections on safety speak to Rust callers and are left out.
fn in_kernel_style(header: &str) -> String {
    let (body, end) = header.rsplit_once("#endif").expect("an include guard");
    let mut out: Vec<String> = Vec::new();
    let mut in_safety = false;
    for line in body.lines() {
        let line = line.replace("uint64_t", "u64").replace("uint32_t", "u32").replace("uintptr_t", "size_t");
        let line = line.replace("int32_t", "s32").replace("uint8_t", "u8");
        match line.trim() {
            "* # Safety" => {
                in_safety = true;
                out.pop(); // the empty line before it
            }
            "*/" => in_safety = false,
            _ => {}
        }
        if in_safety || (line.is_empty() && out.last().is_some_and(String::is_empty)) {
            continue;
        }
        if line.starts_with("#define ") && out.last().is_some_and(|last| last == " */") {
            one_line_comment(&mut out);
            close_up(&mut out, &line);
        }
        if line.ends_with(");") {
            out.extend(wrapped(&line));
        } else {
            out.push(with_tabs(&line));
        }
    }
    format!("{}\n{NEEDED_FROM_C}\n#endif{}\n", out.join("\n"), end.trim_end().replace("  ", " "))
}

/// Turns the block comment that `out` ends with into a line.
fn one_line_comment(out: &mut Vec<String>) {
    let start = out.iter().rposition(|line| line == "/**").expect("the comment's start");
    if let [_, text, _] = &out[start..] {
        let line = format!("/*{} */", text.trim_start().trim_start_matches('*'));
        out.truncate(start);
        out.push(line);
    }
}

/// Takes out the empty line between a number and the one before when both belong to the same family.
fn close_up(out: &mut Vec<String>, define: &str) {
    let family = |line: &str| line.split('_').nth(2).map(str::to_owned);
    if let [.., before, empty, _] = &out[..] {
        if empty.is_empty() && before.starts_with("#define ") && family(before) == family(define) {
            out.remove(out.len() - 2);
        }
    }
}

fn with_tabs(line: &str) -> String {
    let body = line.trim_start_matches(' ');
    let spaces = line.len() - body.len();
    format!("{}{}{body}", "\t".repeat(spaces / 8), " ".repeat(spaces % 8)).trim_end().to_owned()
}

/// A prototype in lines of at most 100 columns, continued below its opening bracket.
fn wrapped(prototype: &str) -> Vec<String> {
    let (head, args) = prototype.split_once('(').expect("a prototype");
    let indent = head.len() + 1;
    let mut lines = Vec::new();
    let mut line = format!("{head}(");
    for (i, arg) in args.split_inclusive(", ").enumerate() {
        if i != 0 && line.len() + arg.trim_end().len() > 100 {
            lines.push(with_tabs(&line));
            line = " ".repeat(indent);
        }
        line.push_str(arg);
    }
    lines.push(with_tabs(&line));
    lines
}

#[test]
fn header_lines_fit_the_kernels_width() {
    for line in generate().lines() {
        assert!(line.len() <= 100, "too long for the kernel's style: {line}");
    }
}

#[test]
fn header_matches_the_crate() {
    let generated = generate();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(committed(), &generated).expect("header written");
    }

    let found = std::fs::read_to_string(committed()).expect("the committed header");

    assert!(
        found == generated,
        "guest-driver/kmod/uvm_policy.h differs from guest-driver/kmod/ffi; set {UPDATE}=1 to regenerate"
    );
}
