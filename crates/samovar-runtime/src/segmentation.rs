//! What a prompt was answered with: low-resolution logits, and on demand what becomes of them at the image's size.

use std::sync::{Arc, OnceLock};

use samovar_geometry::{Image, Size};
use samovar_media::{AlphaMask, BitMask, Upscaler};
use samovar_resources::instruments::Events;
use samovar_tensor::{Device, Tensor};

use crate::cleanup::{Cleanup, alpha_of_cleaned};
use crate::engine::Engine;
use crate::error::{Error, Result};

/// Logits above this are in the mask.
pub const MASK_THRESHOLD: f32 = 0.0;

/// The answer to one prompt: one mask, or three with `multimask`, in the model's order.
#[derive(Debug, Clone)]
pub struct Segmentation {
    masks: Vec<PredictedMask>,
    best: usize,
}

impl Segmentation {
    /// `masks` must not be empty.
    pub(crate) fn new(masks: Vec<PredictedMask>) -> Self {
        let by_score = |a: &usize, b: &usize| masks[*a].iou_score.total_cmp(&masks[*b].iou_score);
        // Of equal scores the first wins, as numpy's argmax.
        let best = (0..masks.len()).rev().max_by(by_score).unwrap_or(0);
        Self { masks, best }
    }

    /// The mask with the best predicted IoU.
    pub fn best(&self) -> &PredictedMask {
        &self.masks[self.best]
    }

    /// Which of [`Segmentation::masks`] that is.
    pub(crate) fn best_index(&self) -> usize {
        self.best
    }

    /// All masks, in the model's order.
    pub fn masks(&self) -> &[PredictedMask] {
        &self.masks
    }

    /// All masks, the best predicted IoU first.
    pub fn into_ranked(mut self) -> Vec<PredictedMask> {
        self.masks.sort_by(|a, b| b.iou_score.total_cmp(&a.iou_score));
        self.masks
    }
}

/// Low-resolution logits `[1, height, width]` of the grid, on the device that made them, and on the host once they have been
/// asked for.
pub(crate) struct Logits {
    on_device: Tensor,
    on_host: OnceLock<Tensor>,
    device: Device,
    /// Of the host.
    threads: usize,
    /// Who made them.
    model: Arc<str>,
    /// Who hears of masks that come to the host.
    events: Events,
}

impl Logits {
    pub(crate) fn new(engine: &Engine, on_device: Tensor, model: &Arc<str>) -> Self {
        let (device, model) = (engine.device().stage("postprocess"), Arc::clone(model));
        let (threads, events) = (engine.threads(), engine.events().clone());
        Self { on_device, on_host: OnceLock::new(), device, threads, model, events }
    }

    /// The same logits in memory of their own, instead of among those of a batch. What is on the host already is left behind:
    /// where the device's memory is the host's, it is the batch.
    fn copied_out(&self) -> Result<Self> {
        let on_device = self.device.slice(&self.on_device, 0, 0, 1)?;
        let (device, model, events) = (self.device.clone(), Arc::clone(&self.model), self.events.clone());
        Ok(Self { on_device, on_host: OnceLock::new(), device, threads: self.threads, model, events })
    }

    /// Work on pixels, told to the device's instrument.
    fn on_host_work<T>(
        &self,
        op: &'static str,
        made: Size<Image>,
        bytes: usize,
        work: impl FnOnce() -> T,
    ) -> T {
        self.device.host_work(op, [made.height as usize, made.width as usize], bytes, work)
    }

    fn on_host(&self) -> Result<&[f32]> {
        let there = match self.on_host.get() {
            Some(there) => there,
            None => {
                let brought = self.device.download(&self.on_device)?.wait()?;
                check_finite(&self.model, brought.f32()?)?;
                tell_of_masks(&self.events, &self.device, 1);
                self.on_host.get_or_init(|| brought)
            }
        };
        Ok(there.f32()?)
    }
}

/// Tells that masks have come to the host, as document 001's pipelines do.
pub(crate) fn tell_of_masks(events: &Events, device: &Device, masks: usize) {
    events.emit("sam_mask_output", || {
        [("as_host", 1.into()), ("device", device.name().into()), ("masks", masks.into())]
    });
}

/// Refuses numbers that only damaged weights give, or weights too large for their precision.
pub(crate) fn check_finite(model: &str, numbers: &[f32]) -> Result<()> {
    // `&` asks of every number alike, which takes several at once where `all` would look at one after the other.
    let finite = numbers.iter().fold(true, |finite, number| finite & number.is_finite());
    if finite { Ok(()) } else { Err(Error::NotFinite { model: model.to_owned() }) }
}

/// One predicted mask. Holds its low-resolution logits only; pixels are made when asked for.
#[derive(Clone)]
pub struct PredictedMask {
    /// The model's estimate of the mask's IoU with the object, about 0..1.
    pub iou_score: f32,
    logits: Arc<Logits>,
    upscaler: Arc<Upscaler>,
    /// What to take out of the mask; nothing for models whose masks are taken as they are.
    cleanup: Option<Arc<Cleanup>>,
}

impl PredictedMask {
    pub(crate) fn new(iou_score: f32, logits: Logits, upscaler: Arc<Upscaler>) -> Self {
        Self { iou_score, logits: Arc::new(logits), upscaler, cleanup: None }
    }

    /// The same mask without its batch's memory.
    pub(crate) fn copied_out(self) -> Result<Self> {
        Ok(Self { logits: Arc::new(self.logits.copied_out()?), ..self })
    }

    pub(crate) fn cleaned(self, cleanup: Option<Arc<Cleanup>>) -> Self {
        Self { cleanup, ..self }
    }

    /// What is taken out of the mask.
    pub(crate) fn cleanup(&self) -> Option<&Cleanup> {
        self.cleanup.as_deref()
    }

    /// Low-resolution logits, row by row, over the model's whole input square, padding included; the object is where
    /// they are positive. Can be given back as [`crate::MaskPrompt::Logits`].
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the model's numbers are not, [`Error::Model`] when the device fails.
    pub fn logits(&self) -> Result<&[f32]> {
        self.logits.on_host()
    }

    /// The mask at the image's size: where the logits are positive, and for models that clean up (see
    /// [`crate::Model::with_cleanup`]) without stray parts and pinholes.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the model's numbers are not, [`Error::Model`] when the device fails.
    pub fn mask(&self) -> Result<BitMask> {
        let mask = self.raw_mask()?;
        let Some(cleanup) = &self.cleanup else { return Ok(mask) };
        let (size, bytes) = (mask.size(), (mask.size().area() / 4) as usize);
        self.logits.on_host_work("clean_up", size, bytes, || cleanup.apply(mask))
    }

    /// The mask as the model drew it.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the model's numbers are not, [`Error::Model`] when the device fails.
    pub fn raw_mask(&self) -> Result<BitMask> {
        let (logits, size) = (self.logits()?, self.upscaler.image_size());
        let bytes = size_of_val(logits) + (size.area() / 8) as usize;
        Ok(self.logits.on_host_work("draw_mask", size, bytes, || {
            self.upscaler.mask(logits, MASK_THRESHOLD, self.logits.threads)
        })?)
    }

    /// The mask with soft edges, two pixels wide; over 127 where [`PredictedMask::mask`] is set.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the model's numbers are not, [`Error::Model`] when the device fails.
    pub fn alpha(&self) -> Result<AlphaMask> {
        match self.cleanup {
            None => self.raw_alpha(),
            Some(_) => self.alpha_of(&self.mask()?),
        }
    }

    /// [`PredictedMask::alpha`] for those who have the mask already: it is neither drawn nor cleaned up once more.
    /// `mask` is what [`PredictedMask::mask`] gave.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for a mask of another size.
    pub fn alpha_of(&self, mask: &BitMask) -> Result<AlphaMask> {
        match self.cleanup {
            None => self.raw_alpha(),
            Some(_) => alpha_of_cleaned(self.raw_alpha()?, mask),
        }
    }

    fn raw_alpha(&self) -> Result<AlphaMask> {
        let (logits, size) = (self.logits()?, self.upscaler.image_size());
        let bytes = size_of_val(logits) + size.area() as usize;
        self.logits.on_host_work("draw_alpha", size, bytes, || Ok(self.upscaler.prepare(logits)?.alpha()?))
    }
}

impl std::fmt::Debug for PredictedMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (grid, image) = (self.upscaler.grid_size(), self.upscaler.image_size());
        write!(f, "PredictedMask(IoU {:.3}, {grid} logits for an image of {image})", self.iou_score)
    }
}
