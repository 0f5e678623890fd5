//! For tests: tiny videos, made by the system's ffmpeg.

use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(super) use samovar_testkit::has_ffmpeg;

use super::source::{FrameNumber, FrameSource};

/// A folder for one test's files, which goes when the test is over.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("samovar-video-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file that ffmpeg makes with these arguments, split at blanks.
    pub(super) fn make(&self, name: &str, arguments: &str) -> PathBuf {
        let path = self.0.join(name);
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y"])
            .args(arguments.split_whitespace())
            .arg(format!("file:{}", path.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
        path
    }

    /// A video of so many frames at 25 a second, whose grey is `4 * number + 16`.
    pub(super) fn greys(&self, name: &str, frames: u32, arguments: &str) -> PathBuf {
        let source = "color=black:size=64x48:rate=25,format=yuv444p,geq=lum='16+4*N':cb=128:cr=128";
        self.make(name, &format!("-f lavfi -i {source} -frames:v {frames} {arguments}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers of what is left of a pass.
pub(super) fn numbers(source: &mut impl FrameSource) -> Vec<FrameNumber> {
    std::iter::from_fn(|| source.next().unwrap()).map(|frame| frame.number).collect()
}
