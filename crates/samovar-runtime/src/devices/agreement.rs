//! How far one device computes what another does.

use serde::{Deserialize, Serialize};

use crate::certificate::{Case, Comparison, Times, answer, answer_if_finite, least};
use crate::engine::Engine;
use crate::error::Result;

/// Made pictures that are compared.
const PICTURES: u32 = 2;

/// How `nano` answers on one device and on another, in f32.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Cosine of all image embeddings.
    pub embedding_cosine: f64,
    /// Cosine of all mask logits.
    pub logits_cosine: f64,
    /// The worst IoU of two masks.
    pub worst_iou: f64,
    /// Masks compared.
    pub masks: usize,
    /// Least seconds that the one took to encode a picture, and the other.
    pub encode_s: [f64; 2],
    /// Least seconds to answer a prompt.
    pub decode_s: [f64; 2],
}

/// Lets `nano` answer on both.
///
/// # Errors
/// As [`Engine::load`], and what either device says.
pub fn agreement(expected: &Engine, found: &Engine) -> Result<Agreement> {
    let precision = samovar_tensor::Precision::F32;
    let models = [expected, found].map(|engine| engine.with_precision(precision).load("nano"));
    let [expected, found] = models;
    let (expected, found) = (expected?, found?);
    let mut comparison = Comparison::default();
    let mut times = Times::default();
    for number in 0..PICTURES {
        let case = Case::made(number);
        let right = answer(&expected, &case, &mut times)?;
        let answered = answer_if_finite(&found, &case, &mut comparison.times)?;
        comparison.add(&right, answered.as_ref())?;
    }
    let worst_iou = match comparison.overflowed {
        true => 0.0,
        false => comparison.ious.iter().copied().fold(f64::NAN, f64::min),
    };
    Ok(Agreement {
        embedding_cosine: comparison.embedding.value(),
        logits_cosine: comparison.logits.value(),
        worst_iou,
        masks: comparison.ious.len(),
        encode_s: [least(&times.encode), least(&comparison.times.encode)],
        decode_s: [least(&times.decode), least(&comparison.times.decode)],
    })
}
