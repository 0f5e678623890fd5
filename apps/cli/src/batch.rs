//! Many images: what is done is kept, what was done before is skipped, what fails is reported and the rest goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::{Context, Result, anyhow};
use samovar::media::write::write_json;
use samovar::{DecodeLimits, LazyImage, RgbImage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{describe, usage};
use crate::inputs::InputImage;
use crate::{interrupt, progress};

/// Name of the file in which a folder of results remembers what made them.
const JOB_FILE: &str = ".samovar-job.json";

/// A folder of results and what makes them.
#[derive(Debug)]
pub struct ResultFolder {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct JobFile {
    command: String,
    parameters: Value,
}

impl ResultFolder {
    /// Makes the folder, or goes on with one that the same command and parameters made before. Results of others are
    /// refused, unless `overwrite`.
    pub fn open(folder: &Path, command: &str, parameters: Value, overwrite: bool) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            return Err(usage(format!("\"{}\" is a file; --out takes a folder here", folder.display())));
        }
        std::fs::create_dir_all(folder).with_context(|| {
            format!("\"{}\": the folder cannot be made; check its permissions", folder.display())
        })?;
        let job = JobFile { command: command.to_owned(), parameters };
        let job_file = folder.join(JOB_FILE);
        if let Ok(before) = std::fs::read(&job_file) {
            let same = serde_json::from_slice::<JobFile>(&before).is_ok_and(|before| before == job);
            if !same && !overwrite {
                return Err(usage(format!(
                    "\"{}\" holds results of another command or other parameters; choose another folder, or \
                     --overwrite",
                    folder.display()
                )));
            }
            if !same {
                std::fs::remove_file(&job_file).with_context(|| format!("\"{}\"", job_file.display()))?;
            }
        }
        write_json(&job_file, &job)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where a result goes; folders on the way are made.
    pub fn place(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("\"{}\": the folder cannot be made", parent.display()))?;
        }
        Ok(path)
    }
}

/// How a run over many images ended.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Images done now.
    pub done: usize,
    /// Images done by an earlier run.
    pub skipped: usize,
    /// Images that failed, and why.
    pub failed: Vec<Failed>,
    /// Images left when Ctrl-C came.
    pub left: usize,
}

/// An image that failed.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// The image.
    pub image: String,
    /// Why.
    pub error: String,
}

impl Summary {
    /// An error that tells what is not done, if anything is not.
    pub fn into_result(self) -> Result<()> {
        let Self { done, skipped, failed, left } = self;
        let all = done + skipped + failed.len() + left;
        match (failed.len(), left) {
            (0, 0) => Ok(()),
            (0, left) => {
                Err(anyhow!("stopped with {left} of {all} images left; run the same command again to go on"))
            }
            (failed, 0) => Err(anyhow!("{failed} of {all} images failed; the others are done")),
            (failed, left) => Err(anyhow!("{failed} of {all} images failed and {left} are left")),
        }
    }
}

/// Runs `work` on one image after the other while the next is being read. `is_done` images are skipped.
pub fn for_each_image(
    images: &[InputImage],
    limits: &DecodeLimits,
    is_done: impl Fn(&InputImage) -> bool,
    mut work: impl FnMut(&InputImage, &LazyImage, Arc<RgbImage>) -> Result<String>,
) -> Summary {
    let (skipped, open): (Vec<_>, Vec<_>) = images.iter().partition(|image| is_done(image));
    let mut summary = Summary { skipped: skipped.len(), ..Summary::default() };
    let bar = progress::items(images.len() as u64, "images").with_position(skipped.len() as u64);
    // What was done before took no time now.
    bar.reset_eta();
    interrupt::catch();
    std::thread::scope(|scope| {
        // One image waits while another is worked on; no more are held.
        let (sender, receiver) = sync_channel(0);
        let open = &open;
        scope.spawn(move || {
            for input in open {
                let image = LazyImage::open_within(&input.path, *limits);
                let pixels = image.pixels();
                if interrupt::asked() || sender.send((*input, image, pixels)).is_err() {
                    return;
                }
            }
        });
        for (input, image, pixels) in receiver {
            if interrupt::asked() {
                break;
            }
            bar.set_message(input.path.display().to_string());
            let result = pixels.map_err(Into::into).and_then(|pixels| work(input, &image, pixels));
            match result {
                Ok(note) => {
                    summary.done += 1;
                    bar.set_message(format!("{} {note}", input.result_name));
                }
                Err(error) => {
                    let (image, error) = (input.path.display().to_string(), describe(&error));
                    let line =
                        if error.contains(&image) { error.clone() } else { format!("\"{image}\": {error}") };
                    bar.suspend(|| eprintln!("failed: {line}"));
                    summary.failed.push(Failed { image, error });
                }
            }
            bar.inc(1);
        }
    });
    bar.finish_and_clear();
    summary.left = images.len() - summary.skipped - summary.done - summary.failed.len();
    summary
}
