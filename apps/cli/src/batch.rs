//! Many images: what is done is kept, what was done before is skipped, what fails is reported and the rest goes on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::{Result, anyhow};
use samovar::{DecodeLimits, LazyImage, Reservation, RgbImage};
use serde::Serialize;

use crate::contents::Contents;
use crate::failure::describe;
use crate::inputs::InputImage;
use crate::say::printable;
use crate::{interrupt, progress};

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

/// Runs `work` on one image after the other while the next is being read. `is_done` images are skipped. `contents`, if anybody
/// wants to know them, are asked before an image is read.
pub fn for_each_image(
    images: &[InputImage],
    limits: &DecodeLimits,
    reserve: impl Fn(&LazyImage) -> samovar::Result<Reservation> + Sync,
    contents: Option<&Contents>,
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
        let (open, reserve) = (&open, &reserve);
        scope.spawn(move || {
            for input in open {
                // What cannot be read for this fails as a picture, too, and says so better.
                let _ = contents.map(|contents| contents.read(&input.path));
                let image = LazyImage::open_within(&input.path, *limits);
                let room = reserve(&image);
                let pixels = room.and_then(|room| Ok((image.pixels()?, room)));
                if interrupt::asked() || sender.send((*input, image, pixels)).is_err() {
                    return;
                }
            }
        });
        for (input, image, pixels) in receiver {
            if interrupt::asked() {
                break;
            }
            bar.set_message(printable(&input.path.display().to_string()));
            for note in pixels.as_ref().map_or(&[][..], |(pixels, _)| pixels.notes()) {
                bar.suspend(|| say!("note: \"{}\": {note}", input.path.display()));
            }
            let result =
                pixels.map_err(anyhow::Error::from).and_then(|(pixels, _room)| work(input, &image, pixels));
            match result {
                Ok(note) => {
                    summary.done += 1;
                    summary.finished.push(input.path.clone());
                    bar.set_message(printable(&format!("{} {note}", input.result_name)));
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
    use samovar::{Engine, Options, PictureUse};

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
        let engine = Engine::new(Options { threads: 1, ..Options::default() }).unwrap();
        let model = engine.load("nano").unwrap();
        let mut asked = 0;
        let summary =
            for_each_image(
                &images,
                &DecodeLimits::default(),
                |image| model.reserve_picture(image, PictureUse::Masks),
                None,
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
