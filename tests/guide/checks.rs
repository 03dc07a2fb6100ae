// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The checks judge by the guide: what they cite is in it.

use std::path::Path;
use vhost_device_uvm::check::Rule;

#[test]
fn every_rule_of_the_checks_cites_a_chapter_that_is_there() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/guide/src");
    for rule in Rule::ALL {
        let (file, heading) = rule.chapter().split_once(": ").map_or((rule.chapter(), None), |(f, h)| (f, Some(h)));
        let text = std::fs::read_to_string(source.join(file));
        let text = text.unwrap_or_else(|e| panic!("{} cites {file}: {e}", rule.name()));
        let there = heading.is_none_or(|heading| text.lines().any(|line| line == format!("## {heading}")));
        assert!(there, "{} cites {heading:?}, which {file} does not have", rule.name());
    }
}
