//! `samovar top`: what runs on this machine now.

mod screen;
mod state;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use samovar::memory::bytes;
use serde_json::{Value, json};

use super::segment::print;
use crate::failure::usage;
use crate::say::one_line;
use crate::{environment, interrupt};
use state::{State, Watcher, lines};

/// Watch every samovar that runs on this machine: memory, queues, throughput, latencies
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print what there is now and leave
    #[arg(long)]
    once: bool,
    /// Print JSON documents on stdout, one a line, or with --once one
    #[arg(long)]
    json: bool,
    /// Seconds between two looks, 0.2 to 60
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
}

const EXAMPLES: &str = "\
Examples:
  samovar top                       q or Ctrl-C leaves
  samovar top --once
  samovar top --once --json | jq '.processes[].work.per_s'

A process that tells nothing for four seconds, stopped as by Ctrl-Z or on a machine that has no time for it, is marked as not heard \
of.

Every samovar with something to wait for tells of itself once a second, in the folder `run` of SAMOVAR_CACHE; those that use another \
such folder are not seen.";

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.trim().parse().ok().filter(|seconds| (0.2..=60.0).contains(seconds));
    seconds.ok_or_else(|| "expected a number of seconds from 0.2 to 60".to_owned())
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let Some(folder) = environment::run_folder() else {
        return Err(usage("no folder for caches, in which samovar tells of itself: set SAMOVAR_CACHE"));
    };
    let mut watcher = Watcher::default();
    match (args.once, args.json) {
        (true, true) => print(&document(&watcher.look(&folder))),
        (true, false) => text(&watcher.look(&folder)),
        (false, true) => loop {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}", document(&watcher.look(&folder)))?;
            out.flush()?;
            drop(out);
            std::thread::sleep(Duration::from_secs_f64(args.interval));
        },
        (false, false) if !std::io::stdout().is_terminal() => {
            Err(usage("stdout is no terminal; give --once, or --json for a document at each look"))
        }
        (false, false) => watch(args, &folder, &mut watcher),
    }
}

/// Draws until somebody has seen enough.
fn watch(args: &Args, folder: &Path, watcher: &mut Watcher) -> Result<()> {
    // Whoever ends this from outside finds the terminal as it was; a panic is seen to by ratatui.
    interrupt::on_request_to_end(|signal| {
        // Held until the end: nothing is drawn any more.
        let _last = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
        restore();
        std::process::exit(128 + signal);
    });
    let mut terminal = ratatui::try_init().context("the terminal cannot be drawn on; give --once")?;
    let interval = Duration::from_secs_f64(args.interval);
    let mut draw = || -> Result<()> {
        loop {
            let state = watcher.look(folder);
            let drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
            terminal.draw(|frame| screen::draw(frame, &state))?;
            drop(drawing);
            if wait_is_ended(interval)? {
                return Ok(());
            }
        }
    };
    let drawn = draw();
    restore();
    drawn
}

/// Held while the terminal is drawn on.
static DRAWING: Mutex<()> = Mutex::new(());

/// Leaves the terminal as it was.
fn restore() {
    ratatui::restore();
    // Which it does not.
    let _ = ratatui::crossterm::execute!(std::io::stdout(), ratatui::crossterm::cursor::Show);
}

/// Waits for the next look, and says whether there shall be none.
fn wait_is_ended(interval: Duration) -> Result<bool> {
    if !event::poll(interval)? {
        return Ok(false);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
            _ => false,
        },
        _ => false,
    })
}

fn document(state: &State) -> Value {
    let processes = state.processes.iter().map(|process| {
        let mut document = json!(process.snapshot);
        document["processor_share"] = json!(process.processor_share);
        document["age_s"] = json!(process.age_s);
        document["is_silent"] = json!(process.silence().is_some());
        document
    });
    json!({
        "memory": {
            "total_bytes": state.memory.total_bytes, "used_bytes": state.memory.used_bytes(),
            "available_bytes": state.memory.available_bytes, "is_container": state.memory.is_container,
            "level": state.level.to_string(),
        },
        "processes": processes.collect::<Vec<_>>(),
    })
}

fn text(state: &State) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let memory = &state.memory;
    writeln!(out, "memory {} of {}, {}", bytes(memory.used_bytes()), bytes(memory.total_bytes), state.level)?;
    if state.processes.is_empty() {
        writeln!(out, "no samovar is at work")?;
    }
    for process in &state.processes {
        let snapshot = &process.snapshot;
        let silence = process.silence().map(|words| format!("  ({words})")).unwrap_or_default();
        writeln!(out, "\n{} samovar {}{silence}", snapshot.process_id, one_line(&snapshot.command))?;
        for line in lines(process) {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
