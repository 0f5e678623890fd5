//! Arguments of commands that work through many images.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::failure::usage;
use crate::inputs::InputImage;
use crate::settings::{Settings, parse_seconds};
use crate::shard::Shard;

/// How a folder of images is worked through.
#[derive(Args, Debug, Clone)]
pub struct JobArgs {
    /// Write over files that samovar has not made or that were changed since, and over the results of another run
    #[arg(long)]
    pub overwrite: bool,
    /// Folders: images worked on at once [default: one per thread with small models, and with large ones one that computes while
    /// others are read and written]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub images_at_once: Option<u16>,
    /// Folders: give an image up that takes longer, in seconds, and go on with the next
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Folders: try images again that failed in an earlier run and have not changed since
    #[arg(long)]
    pub retry_failed: bool,
    /// Folders: only part I of N of the images, as 1/8 to 8/8 on eight machines; parts share a folder of results
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
}

impl JobArgs {
    /// The same, with what settings say of what was not given.
    pub fn with(&self, settings: Settings) -> Self {
        let given = settings.with_flag("images_at_once", self.images_at_once);
        let settings = given.with_flag("timeout", self.timeout.map(|timeout| timeout.as_secs_f64()));
        let images_at_once = settings.count("images_at_once").and_then(|count| count.try_into().ok());
        Self { images_at_once, timeout: settings.seconds("timeout"), ..self.clone() }
    }

    /// For one image, where none of it does anything: refuses what would give another result, and says of the rest that it is
    /// left out.
    pub fn check_single(&self) -> Result<()> {
        if self.shard.is_some() {
            return Err(usage(
                "--shard is for a folder or several images, and this is one image; leave it out, or give --out DIR/",
            ));
        }
        let given = [
            ("--images-at-once", self.images_at_once.is_some()),
            ("--timeout", self.timeout.is_some()),
            ("--retry-failed", self.retry_failed),
        ];
        for (flag, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            say!("note: {flag} is for folders and several images; with one image it does nothing");
        }
        Ok(())
    }

    /// The images of this part.
    pub fn part_of(&self, images: &[InputImage]) -> Vec<InputImage> {
        let is_in = |image: &&InputImage| self.shard.is_none_or(|shard| shard.has(image));
        images.iter().filter(is_in).cloned().collect()
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    parse_seconds(text).ok_or_else(|| "expected a number of seconds over 0, as 60 or 0.5".to_owned())
}
