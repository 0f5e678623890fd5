//! What a loaded model can do, as a set: a family fills in what it has.

use std::sync::Arc;

use crate::interface::{Capability, Detector, Embedder, ImageEncoder, PromptableSegmenter};
use crate::tracker::Tracker;

/// The capabilities of a model, each absent or ready to run on the device the model was loaded for. Cheap to clone.
#[derive(Clone, Default)]
pub struct Capabilities {
    /// See [`ImageEncoder`].
    pub image_encoder: Option<Arc<dyn ImageEncoder>>,
    /// See [`PromptableSegmenter`].
    pub promptable_segmenter: Option<Arc<dyn PromptableSegmenter>>,
    /// See [`Detector`].
    pub detector: Option<Arc<dyn Detector>>,
    /// See [`Embedder`].
    pub embedder: Option<Arc<dyn Embedder>>,
    /// See [`Tracker`].
    pub tracker: Option<Arc<dyn Tracker>>,
}

impl Capabilities {
    /// Those that are there.
    pub fn list(&self) -> Vec<Capability> {
        let has = [
            (Capability::ImageEncoder, self.image_encoder.is_some()),
            (Capability::PromptableSegmenter, self.promptable_segmenter.is_some()),
            (Capability::Detector, self.detector.is_some()),
            (Capability::Embedder, self.embedder.is_some()),
            (Capability::Tracker, self.tracker.is_some()),
        ];
        has.into_iter().filter_map(|(capability, is_there)| is_there.then_some(capability)).collect()
    }
}
