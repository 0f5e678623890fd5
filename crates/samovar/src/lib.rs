//! The facade of samovar: cut objects out of images with Segment Anything models.
//!
//! *Heat once, pour many*: encoding an image takes the time, and one encoding answers any number of prompts.
//!
//! ```
//! use samovar::{LazyImage, Model, Prompt};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (photo, cutout) = (folder.path().join("photo.png"), folder.path().join("cutout.png"));
//! # let disc = |x: u32, y: u32| (f64::from(x) - 90.0).hypot(f64::from(y) - 70.0) < 30.0;
//! # let pixels = samovar::RgbImage::from_fn(samovar::Size::new(200, 120), |x, y| if disc(x, y) { [210, 40, 30] } else { [30, 60, 160] });
//! # samovar::media::write::write_rgb_png(&photo, &pixels)?;
//! let image = LazyImage::open(photo);
//! let model = Model::load("nano")?; // embedded: no download, no GPU
//! let embedding = model.embed(&image)?; // the slow part, once per image
//! let answer = embedding.segment(&Prompt::default().point(90.0, 70.0))?; // as often as you like
//! samovar::write_cut_out(&cutout, &image, answer.best())?;
//! # let cut = image::open(&cutout)?.to_rgba8();
//! # assert_eq!((cut.get_pixel(90, 70)[3], cut.get_pixel(5, 5)[3]), (255, 0));
//! # Ok(())
//! # }
//! ```
//!
//! - [`Model::load`] takes `nano`, a Hugging Face folder or an original `.pth` file. [`Engine`] and [`Options`] decide
//!   about threads, instructions and memory, and where other names of the [`CATALOGUE`] are looked for. Nothing here
//!   reads the environment; the command line does, and hands on what it says.
//! - [`Prompt`] holds points, a box and a mask, in pixels of the image: x to the right, y down, the centre of the first
//!   pixel at 0.5.
//! - [`Segmentation`] holds low-resolution logits; [`PredictedMask::mask`] and [`PredictedMask::alpha`] make pixels of
//!   them. [`media`] has everything that is done with masks: run lengths, outlines, COCO, PNG.
//! - [`automatic::generate`] finds everything in an image without a prompt.
//! - [`Engine::load_detector`] loads a detector; [`Pipeline`] cuts out what it finds, and takes any [`Detector`].
//! - [`planning`] knows bytes and operations before any work is done; [`profile`] where the time went.

pub use samovar_runtime::automatic::{self, AutomaticMask, AutomaticOptions};
pub use samovar_runtime::geometry::{Box2, Image, Point, Size};
pub use samovar_runtime::media::{AlphaMask, BitMask, DecodeLimits, LazyImage, RgbImage, Rle};
pub use samovar_runtime::tensor::Precision;
pub use samovar_runtime::{
    CATALOGUE, Capability, CatalogueEntry, Detection, Detector, DetectorModel, Embedding, Engine, Error,
    ErrorKind, Family, InferenceMode, MAX_THREADS, MaskPrompt, Model, ModelConfig, Options, PictureBytes,
    PictureUse, PictureWork, Pipeline, PipelineOptions, PredictedMask, Products, Prompt, PromptPoint,
    Recommendations, Reservation, Result, ResultPacket, Segmentation, SegmentedMask, SimdLevel,
    run_segmentation,
};
pub use samovar_runtime::{
    certificate, detection, devices, evaluate, feature_cache, files, forecast, forward, geometry, hub, media,
    memory, pipeline, planning, profile, prompt_file, resources, rounding, sharing, source, tensor, tracking,
};

use std::path::Path;

/// Writes the object with its soft edges as an RGBA PNG of the image's size, whole or not at all. Pixels that are
/// wholly transparent are black, so that nothing of the background is left in the file.
///
/// # Errors
/// [`Error::Media`] when the image cannot be read or the file not be written.
pub fn write_cut_out(path: impl AsRef<Path>, image: &LazyImage, mask: &PredictedMask) -> Result<()> {
    Ok(media::write::write_cut_out_png(path.as_ref(), &*image.pixels()?, &mask.alpha()?)?)
}
