//! What a precision was measured to do, and whether that is good enough.

use serde::{Deserialize, Serialize};

use super::followed::Followed;

/// Bounds beyond which a precision is refused.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Least mean IoU of masks with those of f32.
    pub mean_iou: f64,
    /// Least IoU of any mask.
    pub worst_iou: f64,
    /// Least cosine between mask logits and those of f32, all together.
    pub logits_cosine: f64,
    /// Least mean J&F of objects that are followed through a made clip, with f32's masks for the truth.
    pub followed_j_and_f: f64,
    /// Most encoding time, over that of f32. A little over one: a tie that the clock decides is no reason.
    pub time_ratio: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            mean_iou: 0.99,
            worst_iou: 0.97,
            logits_cosine: 0.999,
            followed_j_and_f: 0.95,
            time_ratio: 1.05,
        }
    }
}

/// Fewer masks than this certify nothing: one unlucky or lucky picture would decide.
pub const LEAST_MASKS: usize = 20;

/// What one precision does to one model on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// `f32`, `f16`, `bf16` or `int8`.
    pub dtype: String,
    /// Median seconds to encode an image.
    pub encode_s: f64,
    /// The least of them, over the least of f32: what the machine takes when nobody disturbs it.
    pub time_ratio: f64,
    /// Median seconds to answer a prompt.
    pub decode_s: f64,
    /// Bytes of the weights in memory.
    pub weight_bytes: usize,
    /// Bytes at the worst moment of encoding, by the plan.
    pub peak_bytes: usize,
    /// Cosine of all image embeddings with those of f32.
    pub embedding_cosine: f64,
    /// Cosine of all mask logits with those of f32.
    pub logits_cosine: f64,
    /// Mean IoU of masks with those of f32.
    pub mean_iou: f64,
    /// The worst of them.
    pub worst_iou: f64,
    /// Number of masks compared.
    pub masks: usize,
    /// What is wrong with it; nothing if it may be used.
    pub refused: Vec<String>,
    /// What it does to objects that are followed; `None` where that was not measured: in older certificates, and where f32 itself loses them.
    #[serde(default)]
    pub followed: Option<Followed>,
}

/// Reasons not to use a precision.
pub(super) fn reasons(found: &Certificate, bounds: &Bounds) -> Vec<String> {
    if found.masks < LEAST_MASKS {
        return vec![format!("not enough masks ({}; at least {LEAST_MASKS} are needed)", found.masks)];
    }
    let mut reasons = Vec::new();
    let mut at_least = |what: &str, value: f64, bound: f64| {
        if value.is_nan() || value < bound {
            reasons.push(format!("{what} {value:.4} is below {bound}"));
        }
    };
    at_least("mean mask IoU", found.mean_iou, bounds.mean_iou);
    at_least("worst mask IoU", found.worst_iou, bounds.worst_iou);
    at_least("cosine of the logits", found.logits_cosine, bounds.logits_cosine);
    let ratio = found.time_ratio;
    // Less memory is worth as much time as f32 takes; more than that is not.
    if ratio.is_nan() || ratio > bounds.time_ratio {
        reasons.push(format!("encoding takes {ratio:.2}x the time of f32"));
    }
    reasons
}
