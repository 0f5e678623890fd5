//! Both ways lead to the same result.

use std::sync::Arc;

use samovar_tensor::{Pool, Reference, Shape};
use samovar_weights::WeightSource;

use super::*;

/// Numbers between −1 and 1 that depend on a name.
fn random(name: &str, shape: &[usize]) -> Tensor {
    let mut state = name.bytes().fold(1u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte));
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_values(shape, &values)
}

struct Weights;

impl WeightSource for Weights {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        Ok(random(name, shape))
    }

    fn shape(&self, _: &str) -> Option<Shape> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn origin(&self) -> String {
        "numbers".into()
    }
}

fn assert_near(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims());
    for (found, expected) in found.f32().unwrap().iter().zip(expected.f32().unwrap()) {
        assert!((found - expected).abs() < 2e-4, "{found} instead of {expected}");
    }
}

#[test]
fn folded_and_projected_agree() {
    let device = Device::new(Arc::new(Reference), Pool::new(1 << 28));
    let loader = Loader::new(&device, &device, &Weights);
    let (channels, prompts, tokens, image_tokens) = (24, 3, 5, 11);
    let config = CrossAttentionConfig { channels, inner_channels: 12, heads: 3 };
    let positions = random("positions", &[1, image_tokens, channels]);
    let placed = random("placed", &[prompts, tokens, channels]);
    let plain = random("plain", &[prompts, tokens, channels]);
    let to_image = TokensToImage::load(&loader.at("to_image"), config).unwrap();
    let norm = loader.layer_norm("norm", channels, 1e-3).unwrap();
    let to_tokens = ImageToTokens::load(&loader.at("to_tokens"), config, norm).unwrap();
    for image_batch in [1, prompts] {
        let image = random("image", &[image_batch, image_tokens, channels]);
        let folded = to_image.folded(&device, &placed, &plain, &image, &positions).unwrap();
        let projected = to_image.projected(&device, &placed, &plain, &image, &positions).unwrap();
        assert_near(&folded, &projected);
        let folded = to_tokens.folded(&device, &placed, &plain, &image, &positions).unwrap();
        let projected = to_tokens.projected(&device, &placed, &plain, image, &positions).unwrap();
        assert_near(&folded, &projected);
    }
}
