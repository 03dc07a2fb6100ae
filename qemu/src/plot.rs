// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Line plots as SVG, and pages of them that need nothing else.

use std::fmt::Write;

/// A plot's size and margins, in pixels.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 40.0;
/// Line colours that can be told apart in print too.
const COLOURS: [&str; 5] = ["#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#555555"];

/// A line: its name, and its points.
pub(crate) type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// A plot of `lines`, from zero to the highest of them or to 1; `scale` says how far apart places on the x axis are. The
/// first line's points are named there.
pub(crate) fn plot(title: &str, lines: &[Line<'_>], scale: fn(f64) -> f64) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let bounds = |of: fn(f64, f64) -> f64, start| points().map(|point| scale(point.0)).fold(start, of);
    let (first, last) = (bounds(f64::min, f64::MAX), bounds(f64::max, f64::MIN));
    let top = points().map(|point| point.1).fold(1.0, f64::max) * 1.05;
    let width = (last - first).max(f64::MIN_POSITIVE);
    let x = |at: f64| LEFT + (scale(at) - first) / width * (WIDTH - LEFT - 20.0);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - 30.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
         <text x=\"{LEFT}\" y=\"16\">{title}</text>\n\
         <path d=\"M{LEFT} {} V{} H{}\" fill=\"none\" stroke=\"#444\"/>\n",
        y(top),
        y(0.0),
        WIDTH - 20.0
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let digits = if top < 100.0 { 1 } else { 0 };
        // A String takes everything.
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value:.digits$}</text>",
            LEFT - 6.0,
            y(value) + 4.0
        );
    }
    for (at, _) in lines.first().map_or(&[][..], |(_, points)| points) {
        let below = HEIGHT - BOTTOM + 18.0;
        let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{below}\" text-anchor=\"middle\">{at}</text>", x(*at));
    }
    for (n, ((name, points), colour)) in (0_u32..).zip(lines.iter().zip(COLOURS)) {
        let line: Vec<String> = points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for (at, value) in points {
            let (cx, cy) = (x(*at), y(*value));
            let _ = writeln!(
                text,
                "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"><title>{name}, {at}: {value:.2}</title></circle>"
            );
        }
        let (left, down) = (LEFT + 12.0, 36.0 + 16.0 * f64::from(n));
        let _ = writeln!(text, "<text x=\"{left}\" y=\"{down}\" fill=\"{colour}\">{name}</text>");
    }
    text.push_str("</svg>\n");
    text
}

/// A page of its own.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font:14px sans-serif;margin:2em}}svg{{margin:1em 2em 1em 0}}</style>\n\
         <h1>{title}</h1>\n{body}</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_keep_their_order_and_stay_inside() {
        let lines = [("a", vec![(1.0, 0.0), (256.0, 500.0)]), ("b", vec![(16.0, 250.0)])];
        let text = plot("t", &lines, f64::log2);
        let places: Vec<(f64, f64)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("<circle cx=\""))
            .map(|line| {
                let (x, rest) = line.split_once("\" cy=\"").unwrap();
                (x.parse().unwrap(), rest.split('"').next().unwrap().parse().unwrap())
            })
            .collect();
        let [(first, low), (last, high), (middle, half)] = places[..] else { panic!("{places:?}") };
        // 16 is half way from 1 to 256 by powers of two.
        assert!((middle - (first + last) / 2.0).abs() < 0.2 && (half - (low + high) / 2.0).abs() < 0.2, "{places:?}");
        assert!(first >= LEFT && last <= WIDTH && high > 16.0 && low < HEIGHT, "{places:?}");
    }

    #[test]
    fn one_place_or_none_is_no_trouble() {
        for lines in [vec![], vec![("a", vec![])], vec![("a", vec![(5.0, 0.0)])]] {
            let text = plot("t", &lines, |x| x);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
