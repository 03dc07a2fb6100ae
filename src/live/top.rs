// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! `top`: rates of a running device, on the terminal or once as text.

use super::{json, Failure, To};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};
use ratatui::Frame;
use serde::Serialize;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};
use vhost_device_uvm::bus::CLOCK_HZ;
use vhost_device_uvm::control::{Connection, Request};
use vhost_device_uvm::view::Summary;

/// Looks that the graph remembers.
const HISTORY: usize = 240;

/// What happened between two looks, per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Rates {
    packets: f64,
    bytes: f64,
    faults: f64,
    walks: f64,
    interrupts: f64,
    registers: f64,
    doorbells: f64,
    /// Translations that a cache held, of all; none where nothing was translated.
    tlb_hit_rate: Option<f64>,
}

impl Rates {
    /// From look `a` to look `b`. A device that was reset in between starts from zero.
    fn between(a: &Summary, b: &Summary) -> Self {
        let seconds = b.time.saturating_sub(a.time) as f64 / CLOCK_HZ as f64;
        let (x, y) = (&a.counters, &b.counters);
        let grown = |before: u64, after: u64| if after < before { after } else { after - before };
        let rate = |before, after| if seconds > 0.0 { grown(before, after) as f64 / seconds } else { 0.0 };
        let (hits, walks) = (grown(x.tlb_hits, y.tlb_hits), grown(x.walks, y.walks));
        Self {
            packets: rate(x.packets, y.packets),
            bytes: rate(x.bytes, y.bytes),
            faults: rate(x.faults, y.faults),
            walks: rate(x.walks, y.walks),
            interrupts: rate(x.interrupts, y.interrupts),
            registers: rate(x.reads + x.writes, y.reads + y.writes),
            doorbells: rate(x.doorbells, y.doorbells),
            tlb_hit_rate: (hits + walks > 0).then(|| hits as f64 / (hits + walks) as f64),
        }
    }
    fn lines(&self, total: &Summary) -> [(&'static str, String, String); 8] {
        let c = &total.counters;
        let hit_rate = self.tlb_hit_rate.map_or("-".into(), |r| format!("{:.2} %", 100.0 * r));
        [
            ("packets", count(self.packets), c.packets.to_string()),
            ("bytes", count(self.bytes), c.bytes.to_string()),
            ("faults", count(self.faults), c.faults.to_string()),
            ("walks", count(self.walks), c.walks.to_string()),
            ("TLB hits", hit_rate, c.tlb_hits.to_string()),
            ("interrupts", count(self.interrupts), c.interrupts.to_string()),
            ("registers", count(self.registers), (c.reads + c.writes).to_string()),
            ("doorbells", count(self.doorbells), c.doorbells.to_string()),
        ]
    }
}

/// A rate as people read it.
fn count(rate: f64) -> String {
    match rate {
        r if r >= 1e9 => format!("{:.2} G/s", r / 1e9),
        r if r >= 1e6 => format!("{:.2} M/s", r / 1e6),
        r if r >= 1e3 => format!("{:.2} k/s", r / 1e3),
        r => format!("{r:.1} /s"),
    }
}

/// Looks again and again.
pub fn run(to: &To, interval: f64, once: bool) -> Result<(), Failure> {
    let mut device = Connection::open(&to.control_socket)?;
    let interval = Duration::from_secs_f64(interval);
    let before: Summary = device.ask(&Request::Summary {})?;
    if once {
        std::thread::sleep(interval);
        let now: Summary = device.ask(&Request::Summary {})?;
        return Ok(print(to.json, &Rates::between(&before, &now), &now)?);
    }
    let mut terminal = ratatui::try_init()?;
    let result = watch(&mut terminal, &mut device, before, interval);
    ratatui::restore();
    result
}

fn print(as_json: bool, rates: &Rates, now: &Summary) -> io::Result<()> {
    #[derive(Serialize)]
    struct Look<'a> {
        rates: &'a Rates,
        summary: &'a Summary,
    }
    let mut out = io::stdout().lock();
    if as_json {
        return json(&mut out, &Look { rates, summary: now });
    }
    for (name, rate, total) in rates.lines(now) {
        writeln!(out, "{name:<10} {rate:>14} {total:>16}")?;
    }
    for (name, state, ahead) in &now.rings {
        writeln!(out, "{name:<10} {state:>14} {ahead:>16} bytes to go")?;
    }
    writeln!(out, "{:<10} {:>14}", "waiting", now.outstanding)?;
    for line in &now.injected {
        writeln!(out, "injected   {line}")?;
    }
    Ok(())
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    device: &mut Connection,
    mut before: Summary,
    interval: Duration,
) -> Result<(), Failure> {
    let mut history = VecDeque::from([0; HISTORY]);
    let mut rates = Rates::default();
    loop {
        terminal.draw(|frame| draw(frame, &rates, &before, &mut history))?;
        if asked_to_end(interval)? {
            return Ok(());
        }
        let now: Summary = device.ask(&Request::Summary {})?;
        rates = Rates::between(&before, &now);
        history.pop_front();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is a positive number")]
        history.push_back(rates.bytes as u64);
        before = now;
    }
}

/// Waits for `interval`, or for q, Esc or Ctrl-C.
fn asked_to_end(interval: Duration) -> io::Result<bool> {
    let end = Instant::now() + interval;
    while event::poll(end.saturating_duration_since(Instant::now()))? {
        if let Event::Key(key) = event::read()? {
            let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn draw(frame: &mut Frame<'_>, rates: &Rates, now: &Summary, history: &mut VecDeque<u64>) {
    let rows = u16::try_from(now.rings.len()).unwrap_or(8);
    let parts = [Constraint::Length(10), Constraint::Length(rows + 2), Constraint::Min(3), Constraint::Length(1)];
    let [top, rings, graph, help] = Layout::vertical(parts).areas(frame.area());
    let lines = rates.lines(now).map(|(name, rate, total)| Row::new([name.to_string(), rate, total]));
    let widths = [Constraint::Length(12), Constraint::Length(16), Constraint::Length(20)];
    frame.render_widget(
        Table::new(lines, widths).block(Block::bordered().title("since the last look, since reset")),
        top,
    );
    let lines = now.rings.iter().map(|(name, state, ahead)| {
        let style = match state.as_str() {
            "exception" | "hung" => Style::new().red(),
            "parked" | "waiting" => Style::new().yellow(),
            "running" => Style::new().green(),
            _ => Style::new(),
        };
        Row::new([name.clone(), state.clone(), format!("{ahead} bytes to go")]).style(style)
    });
    let title = format!("rings; {} faults wait for an answer; VMIDs {:?}", now.outstanding, now.vmids);
    frame.render_widget(Table::new(lines, widths).block(Block::bordered().title(title)), rings);
    let width = usize::from(graph.width.saturating_sub(2)).min(HISTORY);
    let shown = history.make_contiguous();
    let shown = shown.get(shown.len().saturating_sub(width)..).unwrap_or(&[]);
    frame.render_widget(Sparkline::default().data(shown).block(Block::bordered().title("bytes a second")), graph);
    let injected =
        if now.injected.is_empty() { String::new() } else { format!("; injected: {}", now.injected.join("; ")) };
    frame.render_widget(Paragraph::new(Line::from(format!("q ends{injected}"))), help);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;
    use ratatui::Terminal;

    fn summary(time: u64, packets: u64, bytes: u64, hits: u64, walks: u64) -> Summary {
        let mut s = Summary { time, ..Summary::default() };
        (s.counters.packets, s.counters.bytes) = (packets, bytes);
        (s.counters.tlb_hits, s.counters.walks) = (hits, walks);
        s.rings = vec![("SDMA0 GFX".into(), "running".into(), 64)];
        s
    }

    #[test]
    fn rates_are_per_second_of_the_device() {
        let rates = Rates::between(&summary(0, 10, 0, 0, 0), &summary(CLOCK_HZ / 2, 30, 1 << 20, 75, 25));
        assert_eq!((rates.packets, rates.bytes, rates.tlb_hit_rate), (40.0, 2_097_152.0, Some(0.75)));
        assert_eq!(Rates::between(&summary(5, 1, 1, 1, 1), &summary(5, 2, 2, 1, 1)), Rates::default());
    }

    #[test]
    fn a_reset_in_between_counts_from_zero() {
        let rates = Rates::between(&summary(0, 1000, 1000, 0, 0), &summary(CLOCK_HZ, 7, 0, 0, 0));
        assert_eq!((rates.packets, rates.bytes, rates.tlb_hit_rate), (7.0, 0.0, None));
    }

    #[test]
    fn the_screen_shows_rates_and_rings_whatever_its_size() {
        for (width, height) in [(80, 24), (20, 5), (1, 1), (200, 60)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            let mut history = VecDeque::from([7; HISTORY]);
            let now = summary(1, 12345, 0, 0, 0);
            terminal.draw(|frame| draw(frame, &Rates::default(), &now, &mut history)).unwrap();
            if (width, height) == (80, 24) {
                let screen = terminal.backend().to_string();
                assert!(
                    screen.contains("12345") && screen.contains("SDMA0 GFX") && screen.contains("running"),
                    "{screen}"
                );
            }
        }
    }
}
