//! What work takes, known before any of it is done: the dry run of a whole model.

use samovar_geometry::{Input, Point, Size};
use samovar_models::{MaskOutput, Model as Network, ModelConfig, PromptBatch};
use samovar_tensor::{Device, Plan, Precision};
use samovar_weights::ShapeSource;

use crate::error::{Error, Result};
use crate::memory::bytes;

/// What loading a model, encoding an image and answering a prompt take.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    /// Loading and encoding one image.
    pub encode: Plan,
    /// Answering one prompt (one click, three masks) on an encoded image.
    pub decode: Plan,
    /// Bytes of one encoded image.
    pub embedding_bytes: usize,
    /// Size of the model's input.
    pub input_size: Size<Input>,
}

impl ModelPlan {
    /// Runs the model with f32 weights on shapes alone; takes milliseconds and no memory to speak of.
    ///
    /// # Errors
    /// [`Error::Model`] when the configuration is not one of a model.
    pub fn of(config: &ModelConfig, scratch_bytes: usize) -> Result<Self> {
        Self::in_precision(config, Precision::F32, scratch_bytes)
    }

    /// The same with weights of another precision.
    ///
    /// # Errors
    /// As [`ModelPlan::of`].
    pub fn in_precision(config: &ModelConfig, precision: Precision, scratch_bytes: usize) -> Result<Self> {
        let load =
            |device: &Device| Network::load(&device.with_weight_precision(precision), config, &ShapeSource);
        let mut embedding_bytes = 0;
        let preprocessing = config.preprocessing();
        let encode = Device::plan(scratch_bytes, load, |device, network| {
            let pixels = device.tensor(preprocessing.pixels_shape(1), |_| {})?;
            embedding_bytes = network.image_encoder()?.encode(device, &pixels)?.size_bytes();
            Ok::<(), samovar_models::Error>(())
        })?;
        let decode = Device::plan(
            scratch_bytes,
            |device| {
                let network = load(device)?;
                let pixels = device.tensor(preprocessing.pixels_shape(1), |_| {})?;
                let features = network.image_encoder()?.encode(device, &pixels)?;
                Ok::<_, samovar_models::Error>((network, features))
            },
            |device, (network, features)| {
                let click = PromptBatch {
                    prompts: 1,
                    points: vec![Point::default()],
                    labels: vec![1],
                    output: MaskOutput::Multimask,
                    ..PromptBatch::default()
                };
                network.promptable_segmenter()?.decode(device, features, &click).map(|_| ())
            },
        )?;
        Ok(Self { encode, decode, embedding_bytes, input_size: preprocessing.canvas() })
    }

    /// Bytes of tensors and scratch memory at the worst moment of encoding and prompting one image.
    pub fn peak_bytes(&self) -> usize {
        // The plan of decoding counts the encoded image among what is there before.
        self.encode.peak_bytes().max(self.decode.peak_bytes())
    }

    /// Lets the work begin, or refuses it with the reason.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`].
    pub fn admit(&self, what: impl Into<String>, budget_bytes: usize) -> Result<()> {
        let needed_bytes = self.peak_bytes();
        if needed_bytes <= budget_bytes {
            return Ok(());
        }
        let breakdown = format!(
            "{} of weights, {} of activations, {} of scratch memory",
            bytes(self.encode.weight_bytes),
            bytes(self.encode.activation_bytes),
            bytes(self.encode.scratch_bytes)
        );
        Err(Error::DoesNotFit { what: what.into(), needed_bytes, budget_bytes, breakdown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason() {
        let config = ModelConfig::from_catalogue("nano").unwrap();
        let plan = ModelPlan::of(&config, 0).unwrap();
        assert!(plan.admit("nano", plan.peak_bytes()).is_ok());
        let refusal = plan.admit("nano", plan.peak_bytes() - 1).unwrap_err().to_string();
        assert!(refusal.contains("nano needs") && refusal.contains("weights"), "{refusal}");
        assert!(plan.decode.cost().operations < plan.encode.cost().operations);
        assert!(plan.embedding_bytes > 0);
    }
}
