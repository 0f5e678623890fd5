//! The dashboard of `samovar top`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, Paragraph, Sparkline};
use samovar::memory::{MemoryLevel, bytes};
use samovar::resources::live::Snapshot;

use super::state::{Process, State, lines};
use crate::say::printable;

/// Rows of the throughput of one process.
const SPARK_ROWS: u16 = 3;

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
        let height = height_of(&process.snapshot);
        if height > left {
            break;
        }
        draw_process(frame, Rect { y, height, ..body }, process);
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

fn height_of(snapshot: &Snapshot) -> u16 {
    let bars = usize::from(snapshot.work.all > 0) + snapshot.devices.len();
    let spark = if has_spark(snapshot) { usize::from(SPARK_ROWS) } else { 0 };
    u16::try_from(2 + bars + lines(snapshot).len() + spark).unwrap_or(u16::MAX)
}

fn has_spark(snapshot: &Snapshot) -> bool {
    snapshot.work.recent.iter().any(|&count| count > 0)
}

fn draw_process(frame: &mut Frame, area: Rect, process: &Process) {
    let snapshot = &process.snapshot;
    let work = &snapshot.work;
    let share = process.processor_share.map(|share| format!("  {:.0} % of a core", 100.0 * share));
    let title = format!(
        " {}  samovar {}{} ",
        snapshot.process_id,
        printable(&snapshot.command),
        share.unwrap_or_default()
    );
    let block = Block::bordered().title(title);
    let mut rest = block.inner(area);
    frame.render_widget(block, area);
    let mut take = |rows: u16| {
        let taken = Rect { height: rows.min(rest.height), ..rest };
        rest = Rect { y: rest.y + taken.height, height: rest.height - taken.height, ..rest };
        taken
    };
    if work.all > 0 {
        let label = format!("{} of {} {}", work.through, work.all, printable(&work.unit));
        draw_share(frame, take(1), work.through as f64, work.all as f64, label, Color::Blue);
    }
    for device in &snapshot.devices {
        let (used, budget) = (device.used_bytes as f64, device.budget_bytes as f64);
        let label = format!("{}: {}", printable(&device.name), bytes(device.used_bytes));
        draw_share(frame, take(1), used, budget, label, Color::Magenta);
    }
    for line in lines(snapshot) {
        frame.render_widget(Paragraph::new(line), take(1));
    }
    if has_spark(snapshot) {
        let spark = Sparkline::default().data(&work.recent).style(Style::new().fg(Color::Cyan));
        frame.render_widget(spark, take(SPARK_ROWS));
    }
}
