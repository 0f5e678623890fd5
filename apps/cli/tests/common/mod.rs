//! The real binary in a temporary folder.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A temporary folder with pictures in it, and the binary to run there.
pub struct Bench {
    folder: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samovar"));
        command.current_dir(self.folder.path());
        // What the machine at hand has fetched or set must not matter.
        for name in
            ["SAMOVAR_THREADS", "SAMOVAR_MEMORY", "SAMOVAR_PRESET", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE"]
        {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.path("hf")).env("SAMOVAR_CACHE", self.path("cache"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::from(self.command().args(arguments).output().unwrap())
    }

    /// Runs what must succeed.
    pub fn done(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {run:?}");
        run
    }

    /// Runs what must fail with `code`, saying `words`, and leave no file behind.
    pub fn refused(&self, code: i32, words: &str, arguments: &[&str]) {
        let before = self.files();
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.lines().count() <= 8, "one line, not a trace: {}", run.stderr);
        assert_eq!(self.files(), before, "{arguments:?} left something behind");
    }

    /// All files, hidden ones too.
    pub fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, files) } else { files.push(path) }
            }
        }
        let mut files = Vec::new();
        walk(self.folder.path(), &mut files);
        // What is kept there can be made again, and is nobody's result.
        files.retain(|file| !file.starts_with(self.path("cache")));
        files.sort();
        files
    }

    /// A picture of red discs on blue: centre and radius of each.
    pub fn picture(&self, name: &str, width: u32, height: u32, discs: &[(f64, f64, f64)]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_fn(width, height, |x, y| {
            let inside = discs.iter().any(|disc| is_inside(disc, x, y));
            image::Rgb(if inside { [210, 40, 30] } else { [30, 60, 160] })
        })
        .save(&path)
        .unwrap();
        path
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub fn rgba(&self, name: &str) -> image::RgbaImage {
        image::open(self.path(name)).unwrap().to_rgba8()
    }
}

pub fn is_inside(&(cx, cy, radius): &(f64, f64, f64), x: u32, y: u32) -> bool {
    (f64::from(x) + 0.5 - cx).hypot(f64::from(y) + 0.5 - cy) < radius
}

/// IoU of a picture's pixels that `is_on` with the discs.
pub fn iou(picture: &image::RgbaImage, discs: &[(f64, f64, f64)], is_on: impl Fn([u8; 4]) -> bool) -> f64 {
    let (mut both, mut either) = (0, 0);
    for (x, y, pixel) in picture.enumerate_pixels() {
        let (a, b) = (is_on(pixel.0), discs.iter().any(|disc| is_inside(disc, x, y)));
        both += u32::from(a && b);
        either += u32::from(a || b);
    }
    f64::from(both) / f64::from(either.max(1))
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
