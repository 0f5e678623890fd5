//! A span in which a model does nothing but answer.

use samovar_resources::instruments::{Events, TimedOperation, timed_operation};

use crate::encoder_slot::EncoderPin;
use crate::error::Result;
use crate::model::Model;

/// A model held ready while this lives; see [`Model::inference_mode`].
pub struct InferenceMode<'e> {
    _encoder: EncoderPin,
    _span: TimedOperation<'e>,
}

impl Model {
    /// Holds the model ready for a series of answers, until the guard is dropped: an encoder that was left out or unloaded
    /// ([`crate::Engine::load_when_needed`]) is loaded now instead of with the first image, and [`Model::unload_encoder`]
    /// leaves it where it is. The span is told to `events` as a timed operation, `inference_mode`.
    ///
    /// In PyTorch a guard of this name switches autograd off. samovar has none: nothing here records gradients, inside the
    /// guard or outside, and results and times of single calls are the same.
    ///
    /// # Errors
    /// Those of loading the encoder.
    pub fn inference_mode<'e>(&self, events: &'e Events) -> Result<InferenceMode<'e>> {
        let span = timed_operation(events, "inference_mode");
        Ok(InferenceMode { _encoder: self.pin_encoder()?, _span: span })
    }
}
