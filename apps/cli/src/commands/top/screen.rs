//! The dashboard of `samovar top`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Sparkline};
use samovar::memory::{MemoryLevel, bytes};

use super::state::{Process, State, lines, queue_lines};
use crate::say::one_line;

/// Rows of the throughput of one process.
const SPARK_ROWS: u16 = 3;

/// Rows of a process for which there is no more room.
const SHORT_ROWS: u16 = 2;

/// Draws all there is; what has no room is counted.
pub(super) fn draw(frame: &mut Frame, state: &State) {
    let [head, memory, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let count = match state.processes.len() {
        0 => "no samovar is at work".to_owned(),
        1 => "1 samovar at work".to_owned(),
        count => format!("{count} samovars at work"),
    };
    frame.render_widget(Line::from(format!("samovar top  {count}")).bold(), head);
    draw_memory(frame, memory, state);
    let mut y = body.y;
    let mut shown = 0;
    for process in &state.processes {
        let left = body.bottom().saturating_sub(y);
        let others = u16::try_from(state.processes.len() - shown - 1).unwrap_or(u16::MAX);
        // All of them in short go before the first in full.
        let full = height_of(process);
        let is_full = full.saturating_add(others.saturating_mul(SHORT_ROWS)) <= left;
        let height = if is_full { full } else { SHORT_ROWS };
        if height > left {
            break;
        }
        let area = Rect { y, height, ..body };
        match is_full {
            true => draw_process(frame, area, process),
            false => draw_short(frame, area, process),
        }
        y += height;
        shown += 1;
    }
    let hidden = match state.processes.len() - shown {
        0 => String::new(),
        count => format!("; {count} more have no room here"),
    };
    frame.render_widget(Line::from(format!("q leaves{hidden}")).dim(), foot);
}

fn draw_memory(frame: &mut Frame, area: Rect, state: &State) {
    let memory = &state.memory;
    let colour = match state.level {
        MemoryLevel::Calm => Color::Green,
        MemoryLevel::Pressure => Color::Yellow,
        MemoryLevel::Warning => Color::LightRed,
        MemoryLevel::Critical => Color::Red,
    };
    let whose = if memory.is_container { "container" } else { "machine" };
    let (used, total) = (bytes(memory.used_bytes()), bytes(memory.total_bytes));
    let label = format!("{whose}: {used} of {total}, {}", state.level);
    draw_share(frame, area, memory.used_bytes() as f64, memory.total_bytes as f64, label, colour);
}

fn draw_share(frame: &mut Frame, area: Rect, part: f64, whole: f64, label: String, colour: Color) {
    let ratio = if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 };
    let gauge =
        Gauge::default().ratio(ratio).label(label).gauge_style(Style::new().fg(colour).bg(Color::DarkGray));
    frame.render_widget(gauge, area);
}

fn height_of(process: &Process) -> u16 {
    let snapshot = &process.snapshot;
    let bars = usize::from(snapshot.work.all > 0) + snapshot.devices.len();
    let spark = if has_spark(process) { usize::from(SPARK_ROWS) } else { 0 };
    u16::try_from(2 + bars + lines(process).len() + spark).unwrap_or(u16::MAX)
}

fn has_spark(process: &Process) -> bool {
    process.snapshot.work.recent.iter().any(|&count| count > 0)
}

/// Number, command, and how busy or how silent it is, in so many columns: of the command what fits.
fn title(process: &Process, width: u16) -> String {
    let snapshot = &process.snapshot;
    let share = process.processor_share.map(|share| format!("  {:.0} % of a core", 100.0 * share));
    let last = process.silence().map(|words| format!("  {words}")).or(share).unwrap_or_default();
    let first = format!("{}  samovar ", snapshot.process_id);
    let taken = Line::raw(first.as_str()).width() + Line::raw(last.as_str()).width();
    let command = elided(&one_line(&snapshot.command), usize::from(width).saturating_sub(taken));
    format!("{first}{command}{last}")
}

fn colour_of(process: &Process) -> Style {
    if process.silence().is_some() { Style::new().fg(Color::Red) } else { Style::new() }
}

/// Text in so many columns at most, without its middle if it has more: names tell most at their ends.
pub(super) fn elided(text: &str, columns: usize) -> String {
    if Line::raw(text).width() <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let width = |c: char| Span::raw(c.to_string()).width();
    let within = |columns: usize, characters: &mut dyn Iterator<Item = char>| -> Vec<char> {
        let mut taken = 0;
        let fits = |c: &char| {
            taken += width(*c);
            taken <= columns
        };
        characters.take_while(fits).collect()
    };
    let end = within(room - room / 3, &mut text.chars().rev());
    let start = within(room / 3, &mut text.chars());
    start.into_iter().chain(['…']).chain(end.into_iter().rev()).collect()
}

/// Two lines.
fn draw_short(frame: &mut Frame, area: Rect, process: &Process) {
    let [head, queue] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    frame.render_widget(Line::from(title(process, area.width)).style(colour_of(process)), head);
    let words = elided(&queue_lines(process).join("; "), usize::from(area.width.saturating_sub(2)));
    frame.render_widget(Line::from(format!("  {words}")), queue);
}

fn draw_process(frame: &mut Frame, area: Rect, process: &Process) {
    let snapshot = &process.snapshot;
    let work = &snapshot.work;
    let title = format!(" {} ", title(process, area.width.saturating_sub(4)));
    let age = Line::from(format!(" figures of {:.0} s ago ", process.age_s)).right_aligned();
    let block = Block::bordered().title(title).title_bottom(age).border_style(colour_of(process));
    let mut rest = block.inner(area);
    frame.render_widget(block, area);
    let mut take = |rows: u16| {
        let taken = Rect { height: rows.min(rest.height), ..rest };
        rest = Rect { y: rest.y + taken.height, height: rest.height - taken.height, ..rest };
        taken
    };
    if work.all > 0 {
        let label = format!("{} of {} {}", work.through, work.all, one_line(&work.unit));
        draw_share(frame, take(1), work.through as f64, work.all as f64, label, Color::Blue);
    }
    for device in &snapshot.devices {
        let (used, budget) = (device.used_bytes as f64, device.budget_bytes as f64);
        let label = format!("{}: {}", one_line(&device.name), bytes(device.used_bytes));
        draw_share(frame, take(1), used, budget, label, Color::Magenta);
    }
    for line in lines(process) {
        let area = take(1);
        frame.render_widget(Paragraph::new(elided(&line, usize::from(area.width))), area);
    }
    if has_spark(process) {
        let spark = Sparkline::default().data(&work.recent).style(Style::new().fg(Color::Cyan));
        frame.render_widget(spark, take(SPARK_ROWS));
    }
}
