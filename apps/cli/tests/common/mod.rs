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

impl Bench {
    /// A disc that moves by (6, 2) a frame, over frames 1001 to 1000 + `count` of `shot/plate.####.png`.
    pub fn sequence(&self, count: usize) {
        for index in 0..count {
            self.picture(&format!("shot/plate.{}.png", 1001 + index), 200, 120, &[disc_at(index)]);
        }
    }

    /// Has ffmpeg make `name` of what the arguments, split at blanks, say.
    pub fn ffmpeg(&self, name: &str, arguments: &str) -> PathBuf {
        let arguments = arguments.split_whitespace();
        let mut command = Command::new("ffmpeg");
        command
            .current_dir(self.folder.path())
            .args(["-nostdin", "-v", "error", "-y"])
            .args(arguments)
            .arg(name);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        self.path(name)
    }

    /// The moving disc as a video without losses at 25 frames a second.
    pub fn clip(&self, name: &str, count: usize) -> PathBuf {
        self.sequence(count);
        self.ffmpeg(name, "-framerate 25 -start_number 1001 -i shot/plate.%04d.png -c:v ffv1 -pix_fmt bgr0")
    }
}

/// Centre and radius of the disc of [`Bench::sequence`].
pub fn disc_at(index: usize) -> (f64, f64, f64) {
    (60.0 + 6.0 * index as f64, 60.0 + 2.0 * index as f64, 24.0)
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
