//! From a frame to the things in it to their masks: detector, one encoding, a box prompt each. (The orchestrator of document 001,
//! in the form a host drives.)
//!
//! Masks stay on the device that made them until somebody asks: [`ResultPacket`] is the one place where they become pixels of the
//! host.

use std::time::{Duration, Instant};

use samovar_geometry::{Box2, Image, Size};
use samovar_media::{BitMask, RgbImage};
use samovar_resources::instruments::Events;
use samovar_tensor::Transfers;

use crate::detection::{Detection, Detector, DetectorModel};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{Embedding, Model};
use crate::prompt::Prompt;
use crate::segmentation::PredictedMask;

/// A mask on the device, or on the host.
#[derive(Debug, Clone)]
pub enum SegmentedMask {
    /// Low-resolution logits where they were made; pixels when they are asked for.
    Device(PredictedMask),
    /// Pixels of the image, a bit each.
    Host(BitMask),
}

impl SegmentedMask {
    /// The mask at the image's size, height times width.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the model's numbers are not, [`Error::Model`] when the device fails.
    pub fn into_host(self) -> Result<BitMask> {
        match self {
            Self::Device(mask) => mask.mask(),
            Self::Host(mask) => Ok(mask),
        }
    }

    /// Whether its pixels are on the host.
    pub fn is_on_host(&self) -> bool {
        matches!(self, Self::Host(_))
    }
}

/// The mask of what a box is around, or, without one, of what the whole frame shows (document 001's function of this name).
///
/// With `as_host` it comes back as pixels of the host; without, it stays on the device.
///
/// # Errors
/// [`Error::Usage`] for a box that is none or lies outside; those of [`Model::embed`] and [`Embedding::segment`].
pub fn run_segmentation(
    model: &Model,
    image: &RgbImage,
    bbox_xyxy: Option<Box2<Image>>,
    as_host: bool,
) -> Result<SegmentedMask> {
    let embedding = model.embed_pixels(image)?;
    let bounds = bbox_xyxy.unwrap_or(Box2::whole(image.size()));
    let answer = embedding.segment(&Prompt { bounds: Some(bounds), ..Prompt::default() })?;
    let mask = answer.best().clone();
    handed_on(model, mask, as_host)
}

/// A mask as it is wanted, and the event that tells of it.
fn handed_on(model: &Model, mask: PredictedMask, as_host: bool) -> Result<SegmentedMask> {
    match as_host {
        // The way to the host tells of itself.
        true => Ok(SegmentedMask::Host(mask.mask()?)),
        false => {
            let engine = model.engine();
            engine.events().emit("sam_mask_output", || {
                [("as_host", 0.into()), ("device", engine.device().name().into()), ("masks", 1.into())]
            });
            Ok(SegmentedMask::Device(mask))
        }
    }
}

/// What is asked of a [`Pipeline`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipelineOptions {
    /// Classes whose things are cut out; none for all.
    pub labels: Vec<String>,
    /// Whether masks become pixels of the host at once: the one switch for the whole pipeline (document 001's `sam_as_numpy`).
    pub as_host: bool,
}

/// A detector in front of a model that answers boxes with masks.
#[derive(Clone)]
pub struct Pipeline<D> {
    detector: D,
    model: Model,
    options: PipelineOptions,
}

impl<D: Detector> Pipeline<D> {
    /// Puts them together.
    ///
    /// # Errors
    /// [`Error::Usage`] for labels that are none of the detector's classes.
    pub fn new(detector: D, model: Model, options: PipelineOptions) -> Result<Self> {
        for label in &options.labels {
            if !detector.classes().contains(label) {
                let known = detector.classes().join(", ");
                return Err(Error::usage(format!(
                    "{} knows no `{label}`; its classes are {known}",
                    detector.name()
                )));
            }
        }
        Ok(Self { detector, model, options })
    }

    /// The detector.
    pub fn detector(&self) -> &D {
        &self.detector
    }

    /// The model that draws masks.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The things of the wanted classes in a frame, the best score first; without those whose box has nothing of the frame.
    ///
    /// # Errors
    /// The detector's.
    pub fn detect(&self, frame: &RgbImage) -> Result<Vec<Detection>> {
        let mut found = self.detector.detect(frame)?;
        let labels = &self.options.labels;
        let is_wanted = |label: &str| labels.is_empty() || labels.iter().any(|wanted| wanted == label);
        found.retain(|one| is_wanted(&one.label) && in_frame(one, frame.size()).is_some());
        Ok(found)
    }

    /// Detects, encodes once, and asks for the mask of every box.
    ///
    /// # Errors
    /// Those of [`Detector::detect`], [`Model::embed`] and [`Embedding::segment_many`].
    pub fn run(&self, frame: &RgbImage) -> Result<ResultPacket> {
        self.run_with(frame, |model| model.embed_pixels(frame))
    }

    /// The same with an encoding that somebody else makes or has; it is asked for only if there is anything in the frame.
    ///
    /// # Errors
    /// As [`Pipeline::run`], and those of `embed`.
    pub fn run_with<E: From<Error>>(
        &self,
        frame: &RgbImage,
        embed: impl FnOnce(&Model) -> Result<Embedding, E>,
    ) -> Result<ResultPacket, E> {
        let before = self.model.engine().device().transfers();
        let mut timing = PipelineTiming::default();
        let detections = timed(&mut timing.detect, || self.detect(frame))?;
        let mut masks = Vec::with_capacity(detections.len());
        if !detections.is_empty() {
            let embedding = timed(&mut timing.encode, || embed(&self.model))?;
            masks = timed(&mut timing.decode, || self.masks(&embedding, &detections))?;
        }
        let copies = since(before, self.model.engine().device().transfers());
        let packet = ResultPacket { size: frame.size(), detections, masks, timing, copies };
        packet.tell(self.model.engine().events(), self.model.engine());
        Ok(packet)
    }

    /// The mask of every box, in their order.
    fn masks(&self, embedding: &Embedding, detections: &[Detection]) -> Result<Vec<SegmentedMask>> {
        let size = embedding.image_size();
        let prompt = |one: &Detection| Prompt { bounds: in_frame(one, size), ..Prompt::default() };
        let answers = embedding.segment_many(&detections.iter().map(prompt).collect::<Vec<_>>())?;
        let handed =
            |answer: crate::Segmentation| handed_on(&self.model, answer.best().clone(), self.options.as_host);
        answers.into_iter().map(handed).collect()
    }
}

impl Pipeline<DetectorModel> {
    /// The same on another engine of the same memory.
    #[must_use]
    pub fn on(&self, engine: &Engine) -> Self {
        Self { detector: self.detector.on(engine), model: self.model.on(engine), ..self.clone() }
    }
}

/// The part of a box that is in the frame, if that is any.
fn in_frame(detection: &Detection, frame: Size<Image>) -> Option<Box2<Image>> {
    let part = detection.box_in_image.intersection(Box2::whole(frame))?;
    (part.area() > 0.0).then_some(part)
}

fn timed<T, E>(spent: &mut Duration, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let began = Instant::now();
    let result = work();
    *spent = began.elapsed();
    result
}

fn since(before: Transfers, after: Transfers) -> Transfers {
    Transfers {
        uploads: after.uploads.saturating_sub(before.uploads),
        uploaded_bytes: after.uploaded_bytes.saturating_sub(before.uploaded_bytes),
        downloads: after.downloads.saturating_sub(before.downloads),
        downloaded_bytes: after.downloaded_bytes.saturating_sub(before.downloaded_bytes),
    }
}

/// Where the time of a frame went. On devices whose calls return before the work is done, a stage counts what it waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PipelineTiming {
    /// Finding boxes.
    pub detect: Duration,
    /// Encoding the frame; nothing where there is nothing in it.
    pub encode: Duration,
    /// Answering the boxes.
    pub decode: Duration,
}

/// All that a pipeline found in a frame. Masks are on the device until they are asked for, unless the pipeline was told otherwise.
#[derive(Debug, Clone)]
pub struct ResultPacket {
    size: Size<Image>,
    detections: Vec<Detection>,
    masks: Vec<SegmentedMask>,
    timing: PipelineTiming,
    copies: Transfers,
}

impl ResultPacket {
    /// Size of the frame.
    pub fn size(&self) -> Size<Image> {
        self.size
    }

    /// Boxes, labels and scores, the best score first.
    pub fn detections(&self) -> &[Detection] {
        &self.detections
    }

    /// The masks of [`ResultPacket::detections`], in their order.
    pub fn masks(&self) -> &[SegmentedMask] {
        &self.masks
    }

    /// Where the time went.
    pub fn timing(&self) -> PipelineTiming {
        self.timing
    }

    /// Copies between the host and the device until the packet was made; of frames that are run one at a time.
    pub fn copies(&self) -> Transfers {
        self.copies
    }

    /// Brings all masks to the host, each once; what is there already stays.
    ///
    /// # Errors
    /// As [`SegmentedMask::into_host`]; masks before that are on the host then.
    pub fn to_host(&mut self) -> Result<()> {
        for mask in &mut self.masks {
            if let SegmentedMask::Device(on_device) = mask {
                *mask = SegmentedMask::Host(on_device.mask()?);
            }
        }
        Ok(())
    }

    /// Detections with their masks.
    pub fn into_parts(self) -> impl Iterator<Item = (Detection, SegmentedMask)> {
        self.detections.into_iter().zip(self.masks)
    }

    /// Tells whoever listens what the frame took.
    fn tell(&self, events: &Events, engine: &Engine) {
        let seconds = |spent: Duration| spent.as_secs_f64().into();
        let on_host = self.masks.iter().filter(|mask| mask.is_on_host()).count();
        events.emit("pipeline_frame", || {
            [
                ("objects", self.detections.len().into()),
                ("as_host", u8::from(on_host > 0).into()),
                ("device", engine.device().name().into()),
                ("detect_s", seconds(self.timing.detect)),
                ("encode_s", seconds(self.timing.encode)),
                ("decode_s", seconds(self.timing.decode)),
                ("copies_to_host", self.copies.downloads.into()),
                ("copies_to_device", self.copies.uploads.into()),
            ]
        });
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
