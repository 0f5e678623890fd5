//! Columns of a table: programs that do the same work, each run in a process of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use samovar::certificate::processor;
use samovar::memory::Memory;
use serde_json::Value;
use wait4::Wait4;

use super::args::TableArgs;
use crate::inputs::Sources;
use crate::machine::busy_words;
use crate::made::Made;
use crate::model_args::{EngineArgs, ModelArgs};
use crate::outputs::check_place;
use crate::settings::{BuiltIn, ON, Setting};
use crate::{interrupt, progress};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This one without optimisations.
    Off,
    /// This one.
    On,
    /// Another one.
    Before,
}

impl Kind {
    /// The name of its column.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Off => "off",
            Kind::On => "on",
            Kind::Before => "before",
        }
    }
}

/// What a run took.
#[derive(Debug, Clone)]
pub struct Run {
    /// From the start of the process to its end.
    pub wall_s: f64,
    /// Of all its threads.
    pub processor_s: f64,
    pub peak_bytes: f64,
    /// Its standard output, if it is a document.
    pub document: Value,
    /// What it said, if it failed.
    pub failure: Option<String>,
    /// Whether it does not know what it was asked for.
    is_refused: bool,
}

/// What a run has to leave behind for its time to be believed.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'e> {
    /// A JSON document on stdout.
    Document,
    /// A file with a mask.
    File(&'e str),
    /// A folder with masks of so many pictures, called `00000` and so on.
    Folder(&'e str, usize),
}

/// Where runs happen.
pub struct Place {
    folder: interrupt::Folder,
    columns: Vec<(Kind, PathBuf)>,
    model: Vec<String>,
    pub repeat: u32,
    wait: progress::Progress,
}

impl Place {
    /// Checks what the arguments name, and says if the machine is busy.
    pub fn new(args: &TableArgs) -> Result<Self> {
        let sources = Sources::of([Path::new(&args.model.model)]);
        if let Some(save) = &args.save {
            check_place(save, "--save takes a file", &sources)?;
            Made::here().check(std::slice::from_ref(save), "--save", args.overwrite)?;
        }
        // What is wrong with model or options shows here, once.
        crate::model_args::resolve(&args.model.model)?;
        let own = std::env::current_exe().context("this program's own file")?;
        let mut columns = vec![(Kind::Off, own.clone()), (Kind::On, own)];
        if let Some(before) = &args.baseline {
            let before =
                before.canonicalize().with_context(|| format!("--baseline \"{}\"", before.display()))?;
            columns.push((Kind::Before, before));
        }
        if let Some(words) = busy_words() {
            say!("note: {words}");
        }
        // Whoever stops finds no pictures and no processes left behind.
        interrupt::catch_all();
        let folder = interrupt::Folder::new_in(&std::env::temp_dir())?;
        let wait = progress::spinner("preparing");
        Ok(Self { folder, columns, model: arguments_of(&args.model)?, repeat: args.repeat(), wait })
    }

    /// A file or folder among those of the runs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The columns of the table.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.columns.iter().map(|(kind, _)| *kind)
    }

    /// Says what happens, on a terminal.
    pub fn say(&self, what: &str) {
        self.wait.set_message(what);
    }

    /// Makes a picture, or a folder of `count` of which so many are different.
    pub fn photograph(&self, to: &str, size: (u32, u32), count: usize, more: &[&str]) -> Result<()> {
        let numbers = [size.0 as usize, size.1 as usize, count].map(|number| number.to_string());
        let [width, height, count] = numbers.each_ref().map(String::as_str);
        let own = std::env::current_exe().context("this program's own file")?;
        let arguments = ["bench", "photographs", to, "--width", width, "--height", height, "--count", count];
        let mut command = Command::new(own);
        command.args(arguments).args(more).current_dir(self.folder.path()).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let watched = interrupt::Child::watch(child.id());
        let made = child.wait_with_output()?;
        drop(watched);
        interrupt::check()?;
        match made.status.success() {
            true => Ok(()),
            false => Err(anyhow!("making pictures: {}", String::from_utf8_lossy(&made.stderr).trim())),
        }
    }

    /// Runs a program with these arguments beside those that choose the model. `cache` is the folder of its caches.
    pub fn run(&self, kind: Kind, arguments: &[&str], cache: &str) -> Result<Run> {
        let Some((_, program)) = self.columns.iter().find(|(own, _)| *own == kind) else {
            return Err(anyhow!("there is no column {}", kind.name()));
        };
        let mut command = Command::new(program);
        command.args(arguments).args(&self.model).current_dir(self.folder.path());
        if kind == Kind::Off {
            command.arg("--no-optimizations");
        }
        // Whatever a preset or the environment says: a flag goes before a variable, and that before a preset.
        if let Some(optimizations) = Setting::find("optimizations") {
            command.env(optimizations.variable, ON);
        }
        command.env("SAMOVAR_CACHE", self.path(cache)).stdin(Stdio::null());
        // Files, not pipes: nobody reads while the program writes.
        let (out, errors) = (self.path("stdout"), self.path("stderr"));
        command.stdout(std::fs::File::create(&out)?).stderr(std::fs::File::create(&errors)?);
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("\"{}\"", program.display()))?;
        let watched = interrupt::Child::watch(child.id());
        let end = child.wait4().with_context(|| format!("waiting for \"{}\"", program.display()))?;
        let wall_s = start.elapsed().as_secs_f64();
        drop(watched);
        interrupt::check()?;
        let said = std::fs::read(&errors).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let failure = (!end.status.success()).then(|| {
            let last: Vec<&str> = said.lines().rev().take(4).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            format!("{} {}: {}", kind.name(), arguments.first().unwrap_or(&""), last.join(" | "))
        });
        Ok(Run {
            wall_s,
            processor_s: (end.rusage.utime + end.rusage.stime).as_secs_f64(),
            peak_bytes: end.rusage.maxrss as f64,
            document: std::fs::read(&out)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default(),
            failure,
            is_refused: end.status.code() == Some(WRONG_USAGE),
        })
    }

    /// The same, which must succeed and leave behind what is expected.
    ///
    /// # Errors
    /// What went wrong, and what is not there: then it did no work, whatever it says.
    pub fn done(&self, kind: Kind, arguments: &[&str], cache: &str, expected: Expected) -> Result<Run> {
        let run = self.run(kind, arguments, cache)?;
        match &run.failure {
            Some(failure) => Err(anyhow!("a run failed: {failure}")),
            None => self.check(kind, arguments, &run, expected).map(|()| run),
        }
    }

    /// The same; `None` where another binary does not know what it is asked for.
    ///
    /// # Errors
    /// As [`Place::done`].
    pub fn done_if_known(
        &self,
        kind: Kind,
        arguments: &[&str],
        cache: &str,
        expected: Expected,
    ) -> Result<Option<Run>> {
        let run = self.run(kind, arguments, cache)?;
        match &run.failure {
            Some(_) if kind == Kind::Before && run.is_refused => Ok(None),
            Some(failure) => Err(anyhow!("a run failed: {failure}")),
            None => self.check(kind, arguments, &run, expected).map(|()| Some(run)),
        }
    }

    fn check(&self, kind: Kind, arguments: &[&str], run: &Run, expected: Expected) -> Result<()> {
        let missing = match expected {
            Expected::Document => run.document.is_null().then(|| "printed no document".to_owned()),
            Expected::File(name) => (!has_mask(&self.path(name))).then(|| format!("wrote no mask to {name}")),
            Expected::Folder(name, count) => {
                let folder = self.path(name);
                let found = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                let found = found.filter(|entry| has_mask(&entry.path()));
                let pictures: BTreeSet<String> = found
                    .filter_map(|entry| entry.file_name().to_str()?.get(..5).map(str::to_owned))
                    .filter(|name| name.parse::<usize>().is_ok_and(|number| number < count))
                    .collect();
                let found = pictures.len();
                (found != count).then(|| format!("wrote masks of {found} of the {count} pictures to {name}"))
            }
        };
        let Some(missing) = missing else { return Ok(()) };
        let program = self.columns.iter().find(|(own, _)| *own == kind).map(|(_, program)| program.display());
        Err(anyhow!(
            "{}: \"{}\" says that it has done `{}`, and {missing}; is it a samovar?",
            kind.name(),
            program.map(|program| program.to_string()).unwrap_or_default(),
            arguments.join(" ")
        ))
    }

    /// Removes a file or folder of runs before.
    pub fn clear(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("\"{}\"", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The exit code for arguments that a program does not know.
const WRONG_USAGE: i32 = 2;

/// Longest document of results that is looked into.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// Whether a file holds a picture, or a document with at least one annotation or mask.
fn has_mask(path: &Path) -> bool {
    let Ok(found) = std::fs::metadata(path) else { return false };
    if !found.is_file() || found.len() == 0 {
        return false;
    }
    if path.extension().is_some_and(|ending| ending == "json") {
        let bytes = if found.len() <= MAX_DOCUMENT_BYTES { std::fs::read(path).ok() } else { None };
        let document = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        return document.is_some_and(|document| match document.get("annotations") {
            Some(annotations) => annotations.as_array().is_some_and(|annotations| !annotations.is_empty()),
            None => document.as_object().is_some_and(|document| !document.is_empty()),
        });
    }
    let reader = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
    reader.is_ok_and(|reader| reader.into_dimensions().is_ok_and(|(width, height)| width * height > 0))
}

impl Drop for Place {
    fn drop(&mut self) {
        indicatif::ProgressBar::finish_and_clear(&self.wait);
    }
}

/// The arguments that choose model and engine, as any samovar takes them.
fn arguments_of(args: &ModelArgs) -> Result<Vec<String>> {
    let ModelArgs { model, dtype, force_dtype, engine } = args;
    let EngineArgs { preset, device, force_device, threads, memory, max_pixels, no_optimizations } = engine;
    if *no_optimizations {
        return Err(crate::failure::usage("the tables have a column without optimisations already"));
    }
    // Runs are in a folder of their own.
    let there = |name: &str| {
        let file = Path::new(name).canonicalize().ok().and_then(|path| path.to_str().map(str::to_owned));
        file.unwrap_or_else(|| name.to_owned())
    };
    let mut arguments = vec!["--model".to_owned(), there(model)];
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            arguments.extend([flag.to_owned(), value]);
        }
    };
    add(
        "--preset",
        preset
            .as_deref()
            .map(|name| if BuiltIn::find(name).is_some() { name.to_owned() } else { there(name) }),
    );
    add("--dtype", dtype.map(|dtype| dtype.to_string()));
    add("--threads", threads.map(|threads| threads.to_string()));
    add("--memory", memory.map(|bytes| bytes.to_string()));
    add("--max-pixels", max_pixels.map(|pixels| pixels.to_string()));
    add("--device", device.map(|device| device.to_string()));
    for (flag, is_given) in [("--force-dtype", *force_dtype), ("--force-device", *force_device)] {
        if is_given {
            arguments.push(flag.into());
        }
    }
    Ok(arguments)
}

/// What the machine is, for saved runs.
pub fn machine(args: &TableArgs) -> Result<Value> {
    let engine = args.model.engine()?;
    Ok(serde_json::json!({
        "instructions": engine.instructions(), "threads": engine.threads(),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "memory_bytes": Memory::now().total_bytes, "system": std::env::consts::OS,
        "processor": processor(),
    }))
}
