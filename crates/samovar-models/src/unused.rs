//! Tensors of a file that a model does not use: which of them do no harm, and what the others are a sign of.
//!
//! A file that holds more than the model takes was made for another model, and would give other masks than its author saw.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use samovar_tensor::{Shape, Tensor};
use samovar_weights::WeightSource;

use crate::error::Error;
use crate::interface::Preprocessing;

/// First parts of names that training code has for other things than weights.
const TRAINING: &[&str] = &[
    "optimizer",
    "optimizers",
    "optimizer_state",
    "optimizer_states",
    "optimizer_state_dict",
    "optim",
    "optim_state_dict",
    "opt",
    "scheduler",
    "schedulers",
    "scheduler_state",
    "scheduler_state_dict",
    "lr_scheduler",
    "lr_schedulers",
    "lr_scheduler_state_dict",
    "scaler",
    "scaler_state",
    "grad_scaler",
    "amp",
    "amp_scaler",
    "loops",
    "callbacks",
    "rng_state",
    "rng_states",
    "cuda_rng_state",
    "random_state",
    "args",
    "hyper_parameters",
    "hparams",
    "config",
    "cfg",
    "loss",
    "losses",
    "criterion",
    "metrics",
    "history",
    "epoch",
    "step",
    "global_step",
    "best_metric",
    "best_loss",
];

/// Last parts of names of tensors that change no mask: counters, and tables that follow from the dimensions.
const HARMLESS_ENDS: &[&str] =
    &["num_batches_tracked", "attention_bias_idxs", "relative_position_index", "pixel_mean", "pixel_std"];

/// Fronts of names of such tensors, as the blocks call them: the classifier that TinyViT was trained with, transformers'
/// second copy of the position table, and a vector of SAM 2's for attention to nothing, which published models do not pay; of
/// D-FINE what it was trained with, tables that follow from the dimensions, and the same heads and numbers once more.
const HARMLESS_FRONTS: &[&str] = &[
    "vision_encoder.head.",
    "vision_encoder.norm_head.",
    "prompt_encoder.shared_embedding.",
    "no_memory_positional_encoding",
    "model.denoising_class_embed.",
    "model.anchors",
    "model.valid_mask",
    "model.decoder.copies.",
    "class_embed.",
    "bbox_embed.",
];

/// The same of a tracker's memory, which no picture needs.
const MEMORY_FRONTS: &[&str] = &[
    "memory_attention.",
    "memory_encoder.",
    "spatial_perceiver.",
    "mask_downsample.",
    "object_pointer_proj.",
    "temporal_positional_encoding_projection_layer.",
    "memory_temporal_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
];

/// What follows the name of 8-bit weights in that of their scales.
const SCALES_SUFFIX: &str = "_scale";

/// How far means and deviations of pixels of 0 to 255 may be off.
const PIXEL_TOLERANCE: f32 = 0.5;

/// Most names a message lists.
const MAX_LISTED: usize = 4;

/// What tensors are a sign of, and what to do about it.
pub(crate) struct Kind {
    /// Parts of their names, in small letters.
    signs: &'static [&'static str],
    what: &'static str,
    advice: &'static str,
}

/// Low-rank adapters that could not be merged.
pub(crate) const LOW_RANK: Kind = Kind {
    signs: &["lora", "linear_a_", "linear_b_", "w_a_", "w_b_", "base_model.model."],
    what: "an adapter (LoRA)",
    advice: "merge it into the weights where it was trained (peft: merge_and_unload()) and save the whole model; or put \
             adapter_model.safetensors, adapter_config.json and the base's model.safetensors and config.json into one folder",
};

const KINDS: &[Kind] = &[
    Kind {
        signs: &[
            "hf_token",
            "hq_token",
            "hf_mlp",
            "compress_vit_feat",
            "embedding_encoder",
            "embedding_maskfeature",
            "hq_mask_mlp",
            "compress_vit_conv",
            "encoder_conv1",
            "mask_conv1",
        ],
        what: "SAM-HQ's decoder",
        advice: "SAM-HQ runs with all of its decoder (mask_decoder.hf_token.weight and what belongs to it) in one file with \
                 its encoder, and beside a config.json only with model_type sam_hq",
    },
    LOW_RANK,
    Kind {
        signs: &["adapter", "prompt_generator", "ssf_scale", "side_network"],
        what: "adapters",
        advice: "they are not run; take a model that was fine-tuned without them",
    },
];

impl Kind {
    pub(crate) fn error(&self, file: &dyn WeightSource, names: &[String], clause: &str) -> Error {
        let Kind { what, advice, .. } = self;
        Error::UnusedTensors {
            file: file.origin(),
            tensors: listed(names),
            what: format!("part of {what} {clause}").trim_end().to_owned(),
            advice: (*advice).to_owned(),
        }
    }
}

/// What a tensor is a sign of.
pub(crate) fn kind_of(name: &str) -> Option<&'static Kind> {
    let name = name.to_ascii_lowercase();
    KINDS.iter().find(|kind| kind.signs.iter().any(|sign| name.contains(sign)))
}

/// Whether a tensor is a thing of the training, by the first part of its name.
pub(crate) fn is_of_training(name: &str) -> bool {
    name.split('.').next().is_some_and(|first| TRAINING.contains(&first))
}

fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    let rest = names.len() - quoted.len();
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    quoted.join(", ") + &rest
}

/// A source that remembers what was taken from it.
pub(crate) struct Taken<'a> {
    source: &'a dyn WeightSource,
    taken: RefCell<BTreeSet<String>>,
}

impl<'a> Taken<'a> {
    pub(crate) fn new(source: &'a dyn WeightSource) -> Self {
        Self { source, taken: RefCell::default() }
    }

    /// Refuses a source with tensors that were not taken and are not known to do no harm, `with_memory` to a tracker either;
    /// `name_in_file` says what the file calls them.
    ///
    /// # Errors
    /// [`Error::UnusedTensors`].
    pub(crate) fn check_rest(
        &self,
        with_memory: bool,
        name_in_file: impl Fn(String) -> String,
    ) -> Result<(), Error> {
        let taken = self.taken.borrow();
        let is_scale = |name: &str| name.strip_suffix(SCALES_SUFFIX).is_some_and(|of| taken.contains(of));
        let rest = self.source.names().into_iter();
        let rest =
            rest.filter(|name| !taken.contains(name) && !is_harmless(name, with_memory) && !is_scale(name));
        let rest: Vec<String> = rest.map(name_in_file).collect();
        let Some(first) = rest.first() else { return Ok(()) };
        // The most telling one counts: other kinds have plain names beside it.
        Err(match rest.iter().find_map(|name| kind_of(name)) {
            Some(kind) => kind.error(self.source, &rest, ""),
            None => Error::UnusedTensors {
                file: self.source.origin(),
                tensors: listed(&rest),
                what: "not part of this model".into(),
                advice: format!(
                    "the file is of another model; if they do not matter, save it without them: \
                     del state_dict[\"{first}\"]"
                ),
            },
        })
    }
}

/// Refuses a file whose own mean or deviation of pixels is not what the model's pixels are prepared with.
///
/// # Errors
/// [`Error::UnusedTensors`].
pub(crate) fn check_pixels(source: &dyn WeightSource, preprocessing: &Preprocessing) -> Result<(), Error> {
    for (name, own) in [("pixel_mean", preprocessing.mean), ("pixel_std", preprocessing.std)] {
        let Some(shape) = source.shape(name) else { continue };
        let found = source.tensor(name, shape.dims())?.to_f32_vec()?;
        let is_near = |(&found, own): (&f32, f32)| {
            (found - 255.0 * own).abs() < PIXEL_TOLERANCE || (found - own).abs() < PIXEL_TOLERANCE / 255.0
        };
        if found.len() != own.len() || !found.iter().zip(own).all(is_near) {
            return Err(Error::UnusedTensors {
                file: source.origin(),
                tensors: listed(&[name.to_owned()]),
                what: format!("{found:?}, the model's pixels are prepared with {:?}", own.map(|own| 255.0 * own)),
                advice: "say so in a preprocessor_config.json (image_mean, image_std, of 1) beside model.safetensors".into(),
            });
        }
    }
    Ok(())
}

fn is_harmless(name: &str, with_memory: bool) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_memory = || MEMORY_FRONTS.iter().any(|front| name.starts_with(front));
    HARMLESS_ENDS.contains(&last)
        || HARMLESS_FRONTS.iter().any(|front| name.starts_with(front))
        || (!with_memory && is_memory())
        || is_of_training(name)
}

impl WeightSource for Taken<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        self.taken.borrow_mut().insert(name.to_owned());
        self.source.tensor(name, shape)
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.source.shape(name)
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.source.metadata(key)
    }

    fn all_metadata(&self) -> BTreeMap<String, String> {
        self.source.all_metadata()
    }

    fn origin(&self) -> String {
        self.source.origin()
    }

    fn contains(&self, name: &str) -> bool {
        self.source.contains(name)
    }

    fn is_open(&self) -> bool {
        self.source.is_open()
    }
}
