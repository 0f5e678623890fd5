//! Both routes lead to the same result, and the backend chooses between them.

use std::sync::Arc;

use samovar_tensor::{Pool, Reference, ShapeOnly};
use samovar_testkit::remote::{Remote, RemoteOptions};

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

/// The values of both attentions, and the operators that made them, where the backend answers `wanted`.
fn chosen(wanted: CrossAttentionRoute) -> ([Vec<f32>; 2], Vec<&'static str>) {
    let cross_attention = Some(wanted);
    let options = RemoteOptions { cross_attention, ..RemoteOptions::default() };
    let recorder = ShapeOnly::new();
    let device = Remote::new(Arc::new(Reference), options).device().with_instrument(recorder.clone());
    let weights = Weights::default();
    let loader = Loader::new(&device, &device, &weights);
    let (channels, prompts, tokens, image_tokens) = (24, 3, 5, 11);
    let config = CrossAttentionConfig { channels, inner_channels: 12, heads: 3 };
    let to_image = TokensToImage::load(&loader.at("to_image"), config).unwrap();
    let norm = loader.layer_norm("norm", channels, 1e-3).unwrap();
    let to_tokens = ImageToTokens::load(&loader.at("to_tokens"), config, norm).unwrap();
    let positions = random_on(&device, "positions", &[1, image_tokens, channels]);
    let placed = random_on(&device, "placed", &[prompts, tokens, channels]);
    let plain = random_on(&device, "plain", &[prompts, tokens, channels]);
    let image = random_on(&device, "image", &[1, image_tokens, channels]);
    recorder.take();
    let tokens = to_image.forward(&device, &placed, &plain, &image, &positions).unwrap();
    let image = to_tokens.forward(&device, &placed, &plain, image, &positions).unwrap();
    let operators = recorder.take().into_keys().map(|(_, op)| op).collect();
    let values = [tokens, image].map(|t| device.download(&t).unwrap().wait().unwrap().to_f32_vec().unwrap());
    (values, operators)
}

#[test]
fn a_backend_that_answers_otherwise_gets_the_other_route_and_the_same_values() {
    let (folded, operators) = chosen(CrossAttentionRoute::Folded);
    assert_eq!(operators, ["attention", "folded_attention", "linear"]);
    let (projected, operators) = chosen(CrossAttentionRoute::Projected);
    assert_eq!(operators, ["attention", "binary", "concat", "layer_norm", "linear"]);
    folded.iter().zip(&projected).for_each(|(folded, projected)| assert_near(folded, projected));
}

/// Multiplications per image token, written out: SAM's decoder with one prompt of seven tokens, eight of nine, and none.
#[test]
fn by_default_the_route_with_fewer_multiplications_is_taken() {
    let sizes = |direction, prompts, tokens| CrossAttention {
        direction,
        prompts,
        tokens,
        images: 1,
        image_tokens: 4096,
        channels: 256,
        inner_channels: 128,
        heads: 8,
        precision: Precision::F32,
    };
    for (direction, prompts, tokens, [folded, projected]) in [
        (CrossAttentionDirection::TokensToImage, 1, 7, [28_672, 67_328]),
        (CrossAttentionDirection::ImageToTokens, 1, 7, [28_672, 67_328]),
        (CrossAttentionDirection::TokensToImage, 8, 9, [294_912, 83_968]),
        (CrossAttentionDirection::ImageToTokens, 8, 9, [294_912, 313_344]),
        (CrossAttentionDirection::ImageToTokens, 8, 10, [327_680, 315_392]),
        (CrossAttentionDirection::TokensToImage, 0, 7, [0, 65_536]),
    ] {
        let expected =
            if folded <= projected { CrossAttentionRoute::Folded } else { CrossAttentionRoute::Projected };
        let device =
            Device::new(Arc::new(samovar_cpu::CpuKernels::new(Default::default()).unwrap()), Pool::new(0));
        for device in [device, Device::reference()] {
            let found = device.cross_attention_route(&sizes(direction, prompts, tokens));
            assert_eq!(found, expected, "{direction:?} of {prompts} x {tokens}: {folded} or {projected}");
        }
    }
}
