// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The C header is what this crate says: generated here, compared with the committed one, and compiled.

use std::path::{Path, PathBuf};

const UPDATE: &str = "UVM_UPDATE_HEADER";

/// A header, and what it is made of.
struct Header {
    file: &'static str,
    guard: &'static str,
    about: &'static str,
    sources: &'static [&'static str],
    /// What the sources' own items do not say, before them.
    before: &'static str,
    /// And behind them.
    after: &'static str,
}

const HEADERS: [Header; 4] = [
    Header {
        file: "uvm_policy.h",
        guard: "UVM_POLICY_H",
        about: " * All calls on one policy are made under one sleeping mutex of the driver. Sizes and offsets are
 * bytes. Functions that return int return 0 or a negative errno, and write their results only with
 * 0, except where it says otherwise.",
        sources: &["types", "api", "retire_api", "chunk_api"],
        before: "#include <linux/compiler.h>\n#include <linux/types.h>",
        after: NEEDED_FROM_C,
    },
    Header {
        file: "uvm_policy_vm.h",
        guard: "UVM_POLICY_VM_H",
        about: " * Address spaces and VMIDs, a part of struct uvm_policy: what uvm_policy.h says holds here as well.",
        sources: &["vm_types", "vmid_api", "update_api"],
        before: "#include <linux/types.h>\n\nstruct uvm_policy;",
        after: "",
    },
    Header {
        file: "uvm_policy_mm.h",
        guard: "UVM_POLICY_MM_H",
        about: " * The memory manager, a part of struct uvm_policy: what uvm_policy.h says holds here as well.",
        sources: &["mm_types", "mm_api", "segment_api"],
        before: "#include <linux/types.h>\n\nstruct uvm_policy;\nstruct uvm_policy_stats;",
        after: "",
    },
    Header {
        file: "uvm_policy_svm.h",
        guard: "UVM_POLICY_SVM_H",
        about: " * Memory that the device shares with processes: apart from struct uvm_policy, under a mutex of its
 * own. What uvm_policy.h says of sizes and results holds here as well.",
        sources: &["svm_types", "svm_api"],
        before: "#include <linux/types.h>",
        after: "",
    },
];

/// Structures that a header other than their own names.
const FOREIGN: [&str; 2] = ["uvm_policy", "uvm_policy_stats"];

fn start(about: &str) -> String {
    format!(
        "/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The border between the driver and its policy, which is written in Rust.
 *
 * Generated from guest-driver/kmod/ffi: do not edit. To regenerate:
 * UVM_UPDATE_HEADER=1 cargo test -p uvm-kmod-ffi --test header
 *
{about}
 */"
    )
}

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

#include \"uvm_policy_vm.h\"
#include \"uvm_policy_mm.h\"
#include \"uvm_policy_svm.h\"
";

/// Rust names to C ones.
const NAMES: [(&str, &str); 36] = [
    ("UvmPolicySvm", "uvm_policy_svm"),
    ("UvmPolicySvmConfig", "uvm_policy_svm_config"),
    ("UvmPolicySvmFault", "uvm_policy_svm_fault"),
    ("UvmPolicySvmRegion", "uvm_policy_svm_region"),
    ("UvmPolicySvmPlan", "uvm_policy_svm_plan"),
    ("UvmPolicySvmNotification", "uvm_policy_svm_notification"),
    ("UvmPolicySvmEvent", "uvm_policy_svm_event"),
    ("UvmPolicySvmAttributes", "uvm_policy_svm_attributes"),
    ("UvmPolicySvmRecord", "uvm_policy_svm_record"),
    ("UvmPolicySvmStats", "uvm_policy_svm_stats"),
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
    ("UvmMmDescribed", "uvm_mm_described"),
    ("UvmMmWish", "uvm_mm_wish"),
    ("UvmPolicyRangeChange", "uvm_policy_range_change"),
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

impl Header {
    fn committed(&self) -> PathBuf {
        crate_dir().join("..").join(self.file)
    }

    fn generate(&self) -> String {
        let mut config = cbindgen::Config {
            language: cbindgen::Language::C,
            style: cbindgen::Style::Tag,
            header: Some(start(self.about)),
            include_guard: Some(self.guard.into()),
            no_includes: true,
            after_includes: Some(self.before.into()),
            tab_width: 8,
            function: cbindgen::FunctionConfig { args: cbindgen::Layout::Horizontal, ..Default::default() },
            documentation_style: cbindgen::DocumentationStyle::Doxy,
            usize_is_size_t: true,
            ..cbindgen::Config::default()
        };
        config.export.rename = NAMES.iter().map(|(rust, c)| ((*rust).into(), (*c).into())).collect();
        let mut header = Vec::new();
        let mut builder = cbindgen::Builder::new().with_config(config);
        for source in self.sources {
            builder = builder.with_src(crate_dir().join(format!("src/{source}.rs")));
        }
        builder.generate().expect("cbindgen reads the crate").write(&mut header);
        in_kernel_style(&String::from_utf8(header).expect("a header is text"), self.after)
    }
}

/// What cbindgen has no setting for: kernel types, tabs, wrapped prototypes, one-line comments on numbers. The
/// sections on safety speak to Rust callers and are left out.
fn in_kernel_style(header: &str, after: &str) -> String {
    let (body, end) = header.rsplit_once("#endif").expect("an include guard");
    let mut out: Vec<String> = Vec::new();
    let mut in_safety = false;
    for line in body.lines() {
        let line = line.replace("uint64_t", "u64").replace("uint32_t", "u32").replace("uintptr_t", "size_t");
        let line = line.replace("int32_t", "s32").replace("uint16_t", "u16").replace("uint8_t", "u8");
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
        let line = if line.starts_with("#define ") { line.replace(" 4294967295", " 0xffffffff") } else { line };
        if line.starts_with("#define ") && out.last().is_some_and(|last| last == " */") {
            one_line_comment(&mut out);
            close_up(&mut out, &line);
        }
        if line.ends_with(");") {
            out.extend(wrapped(&with_foreign_tags(&line)));
        } else {
            out.push(with_tabs(&line));
        }
    }
    let body = out.join("\n");
    let after = if after.is_empty() { String::new() } else { format!("\n{after}") };
    format!("{}\n{after}\n#endif{}\n", body.trim_end(), end.trim_end().replace("  ", " "))
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

/// Takes out the empty line between a number and the one before when both belong to the same family: by what their
/// comments begin with, or by name.
fn close_up(out: &mut Vec<String>, define: &str) {
    let name = |line: &str| line.split('_').nth(2).map(str::to_owned);
    let topic = |line: &str| {
        let (topic, _) = line.strip_prefix("/* ")?.split_once(": ")?;
        (!topic.contains(' ')).then(|| topic.to_owned())
    };
    if let [.., comment_before, before, empty, comment] = &out[..] {
        let alike = match (topic(comment_before), topic(comment)) {
            (None, None) => name(before) == name(define),
            (one, other) => one == other,
        };
        if empty.is_empty() && before.starts_with("#define ") && alike {
            out.remove(out.len() - 2);
        }
    }
}

/// A prototype in which structures of another header are named as such, which cbindgen cannot know.
fn with_foreign_tags(prototype: &str) -> String {
    let mut out = prototype.to_owned();
    for name in FOREIGN {
        for before in ["(", "const ", ", "] {
            out = out.replace(&format!("{before}{name} *"), &format!("{before}struct {name} *"));
        }
    }
    out
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
    for line in HEADERS.iter().flat_map(|header| header.generate().lines().map(str::to_owned).collect::<Vec<_>>()) {
        assert!(line.len() <= 100, "too long for the kernel's style: {line}");
    }
}

#[test]
fn headers_match_the_crate() {
    for header in &HEADERS {
        let generated = header.generate();
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(header.committed(), &generated).expect("header written");
        }

        let found = std::fs::read_to_string(header.committed()).expect("the committed header");

        assert!(
            found == generated,
            "guest-driver/kmod/{} differs from guest-driver/kmod/ffi; set {UPDATE}=1 to regenerate",
            header.file
        );
    }
}
