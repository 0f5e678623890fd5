//! Which published model a set of tensor names belongs to: for error messages only.

use crate::WeightSource;

/// A name prefix and the model whose files have it; the first match counts.
const SIGNS: &[(&str, &str)] = &[
    ("sam_mask_decoder.hf_token", "an HQ-SAM 2 checkpoint"),
    ("mask_decoder.hf_token", "a SAM-HQ checkpoint"),
    ("mask_decoder.hq_token", "a SAM-HQ checkpoint"),
    ("detector_model.", "a SAM 3 checkpoint"),
    ("detector.", "a SAM 3 checkpoint"),
    ("image_encoder.trunk.body.", "an EdgeTAM checkpoint (original names)"),
    ("vision_encoder.backbone.timm_model.", "an EdgeTAM checkpoint (transformers names)"),
    ("image_encoder.trunk.", "a SAM 2 checkpoint (original names)"),
    ("vision_encoder.backbone.blocks.", "a SAM 2 checkpoint (transformers names)"),
    ("sam_mask_decoder.", "a SAM 2 checkpoint (original names)"),
    ("image_encoder.features.", "an EdgeSAM checkpoint"),
    ("image_encoder.layers.0.blocks.", "a MobileSAM checkpoint"),
    ("image_encoder.blocks.", "a SAM checkpoint (original names)"),
    ("vision_encoder.trunk.", "a samovar nano checkpoint"),
    ("vision_encoder.layers.0.layer_norm1.", "a SAM checkpoint (transformers names)"),
    ("model.backbone.model.embedder.stem1.", "a D-FINE checkpoint (transformers names)"),
    ("backbone.stem.stem1.", "a D-FINE checkpoint (original names)"),
    ("text_model.encoder.", "a CLIP checkpoint"),
    ("vision_model.encoder.", "a CLIP checkpoint"),
];

/// The published model whose files have such names, as words for a message: "a SAM 2 checkpoint (original names)".
pub fn looks_like(source: &dyn WeightSource) -> Option<&'static str> {
    let names = source.names();
    model_of(names.iter().map(String::as_str))
}

pub(crate) fn model_of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'static str> {
    let has = |prefix: &str| names.clone().any(|name| name.starts_with(prefix));
    SIGNS.iter().find(|(prefix, _)| has(prefix)).map(|&(_, model)| model)
}
