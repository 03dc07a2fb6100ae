// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Drawings in columns of time, as SVG.

use std::fmt::Write;

/// Width of what is drawn, and of the labels left of it.
pub(super) const WIDTH: f64 = 960.0;
const LEFT: f64 = 110.0;

/// A drawing of a height.
pub(super) struct Drawing {
    text: String,
    height: f64,
}

impl Drawing {
    pub(super) fn new(height: f64) -> Self {
        let mut text = String::new();
        let (width, whole) = (WIDTH + LEFT + 10.0, height + 24.0);
        let _ = writeln!(text, r#"<svg viewBox="0 0 {width} {whole}" width="{width}" height="{whole}" role="img">"#);
        Self { text, height }
    }
    /// A rectangle from column `x` of `columns`; `y` and heights are points from the top.
    pub(super) fn bar(&mut self, (x, columns): (f64, f64), width: f64, y: f64, height: f64, class: &str, title: &str) {
        let unit = WIDTH / columns;
        let (x, w) = (LEFT + x * unit, (width * unit).max(1.0));
        let _ =
            write!(self.text, r#"<rect class="{class}" x="{x:.2}" y="{y:.2}" width="{w:.2}" height="{height:.2}">"#);
        let _ = writeln!(self.text, "<title>{}</title></rect>", escape(title));
    }
    /// A line through (column, part of the height from the bottom); None interrupts it.
    pub(super) fn line(&mut self, columns: f64, points: impl Iterator<Item = Option<f64>>, class: &str) {
        let unit = WIDTH / columns;
        let mut path = String::new();
        let mut pen = 'M';
        let mut x = LEFT + unit / 2.0;
        for point in points {
            match point {
                Some(part) => {
                    let y = 1.0 + (self.height - 1.0) * (1.0 - part.clamp(0.0, 1.0));
                    // A point by itself is a short stroke.
                    let _ = write!(path, "{pen}{:.2} {y:.2}L{:.2} {y:.2}", x - unit / 2.0, x + unit / 2.0);
                    pen = 'L';
                }
                None => pen = 'M',
            }
            x += unit;
        }
        let _ = writeln!(self.text, r#"<path class="{class}" d="{path}"/>"#);
    }
    /// A label at the left, `y` points from the top.
    pub(super) fn label(&mut self, y: f64, text: &str) {
        let x = LEFT - 6.0;
        let _ = writeln!(self.text, r#"<text x="{x}" y="{y:.2}" text-anchor="end">{}</text>"#, escape(text));
    }
    /// The axis of time below, and the end.
    pub(super) fn finish(mut self, seconds: f64) -> String {
        let (y, right) = (self.height, LEFT + WIDTH);
        let _ = writeln!(self.text, r#"<path class="axis" d="M{LEFT} 0V{y}H{right}"/>"#);
        for (part, anchor) in [(0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end")] {
            let (x, at) = (LEFT + WIDTH * part, seconds * part);
            let _ = writeln!(self.text, r#"<text x="{x}" y="{}" text-anchor="{anchor}">{at:.6} s</text>"#, y + 16.0);
        }
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// Text as it may stand in a page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
