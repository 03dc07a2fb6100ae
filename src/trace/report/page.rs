// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! The page.
#![allow(clippy::cast_precision_loss, reason = "for looking at")]

use super::svg::{escape, Drawing};
use super::{Cell, Column, Life, Report, COLUMNS, ROWS};
use crate::trace::event::RingId;
use crate::trace::stat::share;
use crate::trace::text::seconds;
use std::collections::BTreeSet;
use std::fmt::Write;

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:1120px;padding:0 1em;color:#222;\
background:#fff}h1{font-size:1.4em}h2{font-size:1.1em;margin:1.6em 0 .3em}p{margin:.3em 0}svg{max-width:100%;height:auto}\
svg text{font-size:11px;fill:#555}.axis{stroke:#999;fill:none}table{border-collapse:collapse}\
td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid #ddd}th{text-align:left}td:first-child,td.text{text-align:left}\
pre{background:#f6f6f6;padding:.8em;overflow:auto}.key i{display:inline-block;width:1em;height:1em;margin:0 .3em -.15em 1em}\
.in{fill:#2b6cb0;background:#2b6cb0}.out{fill:#dd6b20;background:#dd6b20}.other{fill:#805ad5;background:#805ad5}\
.wr{fill:#2f855a;background:#2f855a}.held{fill:#e2e8f0;background:#e2e8f0}.wait{fill:#e53e3e;background:#e53e3e}\
.told{fill:#ecc94b;background:#ecc94b}.back{fill:#38a169;background:#38a169}\
path.l0,path.l1,path.l2,path.l3,path.l4,path.l5{fill:none;stroke-width:1.5}.l0{stroke:#2b6cb0;background:#2b6cb0}\
.l1{stroke:#dd6b20;background:#dd6b20}.l2{stroke:#2f855a;background:#2f855a}.l3{stroke:#805ad5;background:#805ad5}\
.l4{stroke:#b83280;background:#b83280}.l5{stroke:#4a5568;background:#4a5568}";

pub(super) fn page(report: &Report, name: &str) -> String {
    let title = escape(name);
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    let _ = write!(page, "<title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n");
    let _ = writeln!(
        page,
        "<p>{} events; {:.6} s from the first of the driver to the last; {} MiB of VRAM; {} events lost.</p>",
        report.stat.events,
        seconds(report.span),
        report.vram_size >> 20,
        report.stat.lost
    );
    if !report.full {
        page.push_str("<p>A shallow trace: memory, rings and caches are told by a full one only.</p>\n");
    }
    section(
        &mut page,
        "vram",
        "VRAM over time",
        &[("in", "copied in"), ("wr", "written otherwise"), ("out", "read or copied out"), ("held", "written before")],
        vram(report),
    );
    section(
        &mut page,
        "copies",
        "Copies",
        &[("in", "RAM to VRAM"), ("out", "VRAM to RAM"), ("other", "other")],
        copies(report),
    );
    section(
        &mut page,
        "faults",
        "Page faults",
        &[("wait", "until the vector"), ("told", "until the acknowledgement"), ("back", "until the retry")],
        faults(report),
    );
    let rings: BTreeSet<RingId> = report.columns.iter().flat_map(|c| c.waiting.keys().copied()).collect();
    let names: Vec<(String, String)> =
        rings.iter().enumerate().map(|(n, ring)| (format!("l{}", n % 6), ring.to_string())).collect();
    let keys: Vec<(&str, &str)> = names.iter().map(|(class, name)| (class.as_str(), name.as_str())).collect();
    section(&mut page, "rings", "Ring occupancy", &keys, occupancy(report, &rings));
    section(&mut page, "tlb", "TLB hit rate", &[("l0", "hits of all translations")], hit_rate(report));
    hottest(&mut page, report);
    findings(&mut page, report);
    let _ = write!(
        page,
        "<h2 id=\"counts\">Counts</h2>\n<pre>{}</pre>\n</body></html>\n",
        escape(&report.stat.to_string())
    );
    page
}

fn section(page: &mut String, id: &str, title: &str, keys: &[(&str, &str)], drawing: String) {
    let _ = write!(page, "<h2 id=\"{id}\">{title}</h2>\n<p class=\"key\">");
    for (class, name) in keys {
        let _ = write!(page, "<i class=\"{class}\"></i>{}", escape(name));
    }
    let _ = writeln!(page, "</p>\n{drawing}");
}

/// From when on a column is, seconds from the start.
fn when(report: &Report, column: usize) -> f64 {
    seconds(report.span) * column as f64 / COLUMNS as f64
}

fn vram(report: &Report) -> String {
    const ROW: f64 = 4.0;
    let mut drawing = Drawing::new(ROW * ROWS as f64);
    drawing.label(10.0, "0");
    drawing.label(ROW * ROWS as f64, &format!("{} MiB", report.vram_size >> 20));
    let size = report.vram_size / ROWS as u64;
    let mut held = [false; ROWS];
    for (x, cells) in report.map.iter().enumerate() {
        for ((row, cell), held) in cells.iter().enumerate().zip(&mut held) {
            let class = match *cell {
                Cell { copied_in: 1.., .. } => "in",
                Cell { written: 1.., .. } => "wr",
                Cell { read: 1.., .. } => "out",
                _ if *held => "held",
                _ => continue,
            };
            *held |= cell.copied_in > 0 || cell.written > 0;
            let Cell { copied_in, written, read } = cell;
            let title = match class {
                "held" => String::new(),
                _ => format!(
                    "{:.6} s, VRAM {:#x}: {copied_in} bytes copied in, {written} written, {read} read",
                    when(report, x),
                    row as u64 * size
                ),
            };
            drawing.bar((x as f64, COLUMNS as f64), 1.0, ROW * row as f64, ROW, class, &title);
        }
    }
    drawing.finish(seconds(report.span))
}

fn copies(report: &Report) -> String {
    const HEIGHT: f64 = 120.0;
    let mut drawing = Drawing::new(HEIGHT);
    let all = |column: &Column| column.copied.iter().fold(0u64, |sum, &bytes| sum.saturating_add(bytes));
    let most = report.columns.iter().map(all).max().unwrap_or(0).max(1);
    drawing.label(10.0, &format!("{} KiB", most.div_ceil(1024)));
    for (x, column) in report.columns.iter().enumerate() {
        let mut y = HEIGHT;
        for (bytes, (class, way)) in
            column.copied.iter().zip([("in", "RAM to VRAM"), ("out", "VRAM to RAM"), ("other", "other")])
        {
            if *bytes > 0 {
                let height = HEIGHT * *bytes as f64 / most as f64;
                y -= height;
                let title = format!("{:.6} s: {bytes} bytes, {way}", when(report, x));
                drawing.bar((x as f64, COLUMNS as f64), 1.0, y, height, class, &title);
            }
        }
    }
    drawing.finish(seconds(report.span))
}

fn faults(report: &Report) -> String {
    const LANE: f64 = 8.0;
    const LANES: usize = 24;
    let span = report.span as f64;
    let mut drawing = Drawing::new(LANE * LANES as f64);
    // When each lane is free again.
    let mut free = [0u64; LANES];
    for life in &report.lives {
        let Life { id, vmid, va, raised, delivered, acknowledged, retried } = *life;
        let end = retried.or(acknowledged).or(delivered).unwrap_or(raised);
        let lane = free.iter().position(|&at| at <= raised).unwrap_or(LANES - 1);
        if let Some(slot) = free.get_mut(lane) {
            // A short one takes its place for as long as it can be seen.
            *slot = end.max(raised.saturating_add(report.span / 200));
        }
        let title = format!("fault {id}: VMID {vmid}, {va:#x}, {:.2} us", seconds(end.saturating_sub(raised)) * 1e6);
        let told = delivered.unwrap_or(end);
        let answered = acknowledged.unwrap_or(told);
        for (from, to, class) in [(raised, told, "wait"), (told, answered, "told"), (answered, end, "back")] {
            if to > from || class == "wait" {
                let (x, w) = (from.saturating_sub(report.first) as f64, to.saturating_sub(from) as f64);
                drawing.bar((x, span), w, LANE * lane as f64, LANE - 1.0, class, &title);
            }
        }
    }
    let mut text = drawing.finish(seconds(report.span));
    if report.more_faults > 0 {
        let _ = writeln!(text, "<p>{} more faults are not drawn.</p>", report.more_faults);
    }
    text
}

fn occupancy(report: &Report, rings: &BTreeSet<RingId>) -> String {
    let most = report.columns.iter().flat_map(|c| c.waiting.values().map(|(most, _)| *most)).max().unwrap_or(0).max(1);
    let mut drawing = Drawing::new(100.0);
    drawing.label(10.0, &format!("{most} bytes"));
    for (n, ring) in rings.iter().enumerate() {
        // Where nothing moves, what waited last waits on.
        let mut waiting = 0;
        let points = report.columns.iter().map(|column| {
            let (highest, last) = column.waiting.get(ring).copied().unwrap_or((waiting, waiting));
            waiting = last;
            Some(highest as f64 / most as f64)
        });
        drawing.line(COLUMNS as f64, points, &format!("l{}", n % 6));
    }
    drawing.finish(seconds(report.span))
}

fn hit_rate(report: &Report) -> String {
    let mut drawing = Drawing::new(100.0);
    drawing.label(10.0, "100 %");
    drawing.line(COLUMNS as f64, report.columns.iter().map(|c| share(c.tlb.0, c.tlb.1)), "l0");
    drawing.finish(seconds(report.span))
}

fn hottest(page: &mut String, report: &Report) {
    page.push_str(
        "<h2 id=\"pages\">Hottest pages</h2>\n<table><tr><th>page</th><th>bytes read</th><th>bytes written</th></tr>\n",
    );
    for (at, heat) in report.hottest(20) {
        let _ = writeln!(page, "<tr><td>{at}</td><td>{}</td><td>{}</td></tr>", heat.read, heat.written);
    }
    page.push_str("</table>\n");
}

fn findings(page: &mut String, report: &Report) {
    page.push_str("<h2 id=\"findings\">Findings of the checks</h2>\n");
    let Some((findings, counts)) = &report.findings else {
        page.push_str("<p>Nobody judged the driver: that takes a full trace from the device's start.</p>\n");
        return;
    };
    if findings.is_empty() {
        page.push_str("<p>None: no rule of the programming guide was broken.</p>\n");
        return;
    }
    page.push_str("<table><tr><th>rule</th><th>s</th><th>what</th><th>guide</th></tr>\n");
    for finding in findings {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{:.6}</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
            finding.rule.name(),
            seconds(finding.time.saturating_sub(report.first)),
            escape(&finding.what),
            finding.rule.chapter()
        );
    }
    page.push_str("</table>\n<p>");
    for (rule, count) in counts {
        let _ = write!(page, "{}: {count} times. ", rule.name());
    }
    page.push_str("</p>\n");
}
