//! Both ways lead to the same result.

use std::sync::Arc;

use samovar_tensor::{Pool, Reference};

use super::*;
use crate::test_weights::{Weights, assert_near, random_on};

#[test]
fn folded_and_projected_agree() {
    let device = Device::new(Arc::new(Reference), Pool::new(1 << 28));
    let weights = Weights::default();
    let loader = Loader::new(&device, &device, &weights);
    let (channels, prompts, tokens, image_tokens) = (24, 3, 5, 11);
    let config = CrossAttentionConfig { channels, inner_channels: 12, heads: 3 };
    let positions = random_on(&device, "positions", &[1, image_tokens, channels]);
    let placed = random_on(&device, "placed", &[prompts, tokens, channels]);
    let plain = random_on(&device, "plain", &[prompts, tokens, channels]);
    let to_image = TokensToImage::load(&loader.at("to_image"), config).unwrap();
    let norm = loader.layer_norm("norm", channels, 1e-3).unwrap();
    let to_tokens = ImageToTokens::load(&loader.at("to_tokens"), config, norm).unwrap();
    for image_batch in [1, prompts] {
        let image = random_on(&device, "image", &[image_batch, image_tokens, channels]);
        let folded = to_image.folded(&device, &placed, &plain, &image, &positions).unwrap();
        let projected = to_image.projected(&device, &placed, &plain, &image, &positions).unwrap();
        assert_near(&folded.to_f32_vec().unwrap(), &projected.to_f32_vec().unwrap());
        let folded = to_tokens.folded(&device, &placed, &plain, &image, &positions).unwrap();
        let projected = to_tokens.projected(&device, &placed, &plain, image, &positions).unwrap();
        assert_near(&folded.to_f32_vec().unwrap(), &projected.to_f32_vec().unwrap());
    }
}
