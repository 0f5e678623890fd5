//! Many images: what is done is kept, what was done before is skipped, what fails is reported and the rest goes on.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::SystemTime;

use anyhow::{Result, anyhow};
use samovar::files;
use samovar::media::write::write_json;
use samovar::{DecodeLimits, LazyImage, RgbImage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{describe, usage};
use crate::inputs::{InputImage, Sources};
use crate::outputs::check_place;
use crate::{interrupt, progress};

/// Name of the file in which a folder of results remembers what made them.
const JOB_FILE: &str = ".samovar-job.json";

/// A folder of results and what makes them.
#[derive(Debug)]
pub struct ResultFolder {
    folder: PathBuf,
    job: JobFile,
    overwrite: bool,
    /// Whether an earlier run of the same job wrote here.
    goes_on: bool,
    /// Folders of results in which nothing of a killed run is left.
    swept: RefCell<HashSet<PathBuf>>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct JobFile {
    command: String,
    parameters: Value,
}

impl ResultFolder {
    /// A new folder, or one that the same command and parameters made before. Results of others are refused, unless
    /// `overwrite`, and folders that images are read from in any case. Nothing is written yet.
    pub fn open(
        folder: &Path,
        command: &str,
        parameters: Value,
        overwrite: bool,
        sources: &Sources,
    ) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            return Err(usage(format!("\"{}\" is a file; --out takes a folder here", folder.display())));
        }
        sources.check_folder(folder)?;
        let job = JobFile { command: command.to_owned(), parameters };
        let before = std::fs::read(folder.join(JOB_FILE)).ok();
        let goes_on = before.as_ref().is_some_and(|before| {
            serde_json::from_slice::<JobFile>(before).is_ok_and(|before| before == job)
        });
        if before.is_some() && !goes_on && !overwrite {
            return Err(usage(format!(
                "\"{}\" holds results of another command or other parameters; choose another folder, or --overwrite",
                folder.display()
            )));
        }
        Ok(Self { folder: folder.to_owned(), job, overwrite, goes_on, swept: RefCell::default() })
    }

    /// Refuses results that would take the place of what they are made from, or, without `overwrite`, of files that no
    /// earlier run has made.
    pub fn check_results(&self, results: impl IntoIterator<Item = PathBuf>, sources: &Sources) -> Result<()> {
        for result in results {
            sources.check_file(&result)?;
            if result.symlink_metadata().is_ok() {
                check_place(&result, "choose another folder", sources)?;
            }
            if !self.goes_on && !self.overwrite && result.exists() {
                return Err(usage(format!(
                    "\"{}\" is there and no earlier run has made it; choose another folder, or --overwrite to replace \
                     it",
                    result.display()
                )));
            }
        }
        Ok(())
    }

    /// Makes the folder and notes in it what its results are made by. To be called when nothing stands in the way of the
    /// first result: a start that failed must not tie the folder to its parameters.
    pub fn begin(&self) -> Result<()> {
        files::make_folder(&self.folder)?;
        self.sweep(&self.folder);
        if !self.goes_on || self.overwrite {
            write_json(&self.folder.join(JOB_FILE), &self.job)?;
        }
        Ok(())
    }

    /// Where a result goes.
    pub fn place(&self, name: &Path) -> PathBuf {
        self.folder.join(name)
    }

    /// The same, with the folders on the way made.
    pub fn make_place(&self, name: &Path) -> Result<PathBuf> {
        let path = self.place(name);
        if let Some(folder) = path.parent() {
            files::make_folder(folder)?;
            self.sweep(folder);
        }
        Ok(path)
    }

    /// Removes what a killed run left in a folder, once.
    fn sweep(&self, folder: &Path) {
        if self.swept.borrow_mut().insert(folder.to_owned()) {
            files::sweep(folder);
        }
    }

    /// Whether this result of an image need not be made again: it is there, and younger than the image and than the job.
    /// (A job that overwrites another one and is stopped leaves results of the other one behind.)
    pub fn is_done(&self, result: &Path, image: &Path) -> bool {
        let Some(made) = modified(result) else { return false };
        let is_younger = |than: &Path| modified(than).is_none_or(|than| made >= than);
        self.goes_on && !self.overwrite && is_younger(image) && is_younger(&self.folder.join(JOB_FILE))
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?.modified().ok()
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
    /// Images left when Ctrl-C came, or the disk was full.
    pub left: usize,
    /// Images whose results are there, done now or before.
    #[serde(skip)]
    pub finished: Vec<PathBuf>,
    /// Whether the work ended because nothing more can be written.
    #[serde(skip)]
    pub disk_full: bool,
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
    /// How many images were done, done before, and failed.
    pub fn counts(&self, done: &str) -> String {
        format!("{} done{done}, {} done before, {} failed", self.done, self.skipped, self.failed.len())
    }

    /// An error that tells what is not done, if anything is not.
    pub fn into_result(self) -> Result<()> {
        let Self { done, skipped, failed, left, disk_full, .. } = self;
        let all = done + skipped + failed.len() + left;
        if disk_full {
            return Err(anyhow!(
                "stopped because the disk is full: {} of {all} images are done and kept; make room and run the same \
                 command again to go on",
                done + skipped
            ));
        }
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
    let finished = skipped.iter().map(|input| input.path.clone()).collect();
    let mut summary = Summary { skipped: skipped.len(), finished, ..Summary::default() };
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
            for note in pixels.as_ref().map_or(&[][..], |pixels| pixels.notes()) {
                bar.suspend(|| say!("note: \"{}\": {note}", input.path.display()));
            }
            let result = pixels.map_err(Into::into).and_then(|pixels| work(input, &image, pixels));
            match result {
                Ok(note) => {
                    summary.done += 1;
                    summary.finished.push(input.path.clone());
                    bar.set_message(format!("{} {note}", input.result_name));
                }
                Err(error) => {
                    // Every other image would fail the same way.
                    summary.disk_full = is_disk_full(&error);
                    let (image, error) = (input.path.display().to_string(), describe(&error));
                    let line =
                        if error.contains(&image) { error.clone() } else { format!("\"{image}\": {error}") };
                    bar.suspend(|| say!("failed: {line}"));
                    summary.failed.push(Failed { image, error });
                }
            }
            bar.inc(1);
            if summary.disk_full {
                break;
            }
        }
    });
    bar.finish_and_clear();
    summary.left = images.len() - summary.skipped - summary.done - summary.failed.len();
    summary
}

fn is_disk_full(error: &anyhow::Error) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| full.contains(&error.kind())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_ends_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let images: Vec<InputImage> = (0..4)
            .map(|index| {
                let path = folder.path().join(format!("{index}.png"));
                image::RgbImage::new(3, 2).save(&path).unwrap();
                let result_name = index.to_string();
                InputImage { in_folder: path.file_name().unwrap().into(), path, result_name }
            })
            .collect();
        let mut asked = 0;
        let summary =
            for_each_image(
                &images,
                &DecodeLimits::default(),
                |_| false,
                |_, _, _| {
                    asked += 1;
                    match asked {
                        1 => Ok(String::new()),
                        _ => Err(anyhow::Error::new(io::Error::from(io::ErrorKind::StorageFull))
                            .context("out/1.png")),
                    }
                },
            );
        assert_eq!((asked, summary.done, summary.failed.len(), summary.left), (2, 1, 1, 2));
        let words = summary.into_result().unwrap_err().to_string();
        assert!(words.contains("disk is full: 1 of 4 images are done and kept"), "{words}");
    }
}
