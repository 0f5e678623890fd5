//! The switches that SAM 2 turns on: object score, and finer maps without a map of prompts.

use std::sync::Arc;

use samovar_tensor::{Pool, Reference};

use super::*;
use crate::test_weights::{Weights, assert_near, random, random_on};

const CHANNELS: usize = 16;
const UPSCALED: [usize; 2] = [6, 4];
const EMBEDDING: [usize; 2] = [2, 3];
const PROMPTS: usize = 2;

fn device() -> Device {
    Device::new(Arc::new(Reference), Pool::new(1 << 28))
}

fn config() -> MaskDecoderConfig {
    MaskDecoderConfig {
        transformer: TwoWayConfig {
            channels: CHANNELS,
            depth: 2,
            heads: 2,
            cross_channels: 8,
            mlp_channels: 20,
            epsilon: 1e-6,
            final_epsilon: 1e-5,
        },
        multimask_outputs: 3,
        upscale_channels: UPSCALED,
        upscale_epsilon: 1e-6,
        upscale_activation: Activation::Gelu,
        iou_depth: 3,
        iou_hidden: 12,
        iou_activation: Activation::Sigmoid,
        object_score: None,
        high_res: None,
        hq_early_channels: None,
    }
}

fn load(device: &Device, weights: &Weights, config: &MaskDecoderConfig) -> MaskDecoder {
    config.check(CHANNELS).unwrap();
    let positions = random_on(device, "positions", &[1, EMBEDDING[0] * EMBEDDING[1], CHANNELS]);
    MaskDecoder::load(&Loader::new(device, device, weights), config, &positions).unwrap()
}

fn prompts(device: &Device) -> EncodedPrompts {
    EncodedPrompts {
        tokens: Some(random_on(device, "prompts", &[PROMPTS, 3, CHANNELS])),
        image: random_on(device, "image", &[1, EMBEDDING[0] * EMBEDDING[1], CHANNELS]),
        map: None,
    }
}

fn features(device: &Device, high_res: Vec<Tensor>) -> ImageFeatures {
    let embedding = random_on(device, "embedding", &[1, EMBEDDING[0], EMBEDDING[1], CHANNELS]);
    ImageFeatures { embedding, high_res, hq: None, is_conditioned: false }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32_vec().unwrap()
}

/// To the transformer the object's token is a token like the others: a decoder without one, but with one mask more, has
/// the same tokens when theirs are handed out one place later.
#[test]
fn the_objects_token_comes_before_iou_and_masks() {
    let device = device();
    let config = config();
    let object_score = Some(ObjectScoreConfig { depth: 3, hidden: CHANNELS });
    let with_score = MaskDecoderConfig { object_score, ..config.clone() };
    let one_more = MaskDecoderConfig { multimask_outputs: 4, ..config };
    let decoder = load(&device, &Weights::default(), &with_score);

    let of = |name: &str, rows: usize| values(&random(name, &[rows, CHANNELS]));
    let shifted_masks = [of("iou_token.weight", 1), of("mask_tokens.weight", 4)].concat();
    let mut weights = Weights::default();
    weights.set.insert("iou_token.weight".into(), of("obj_score_token.weight", 1));
    weights.set.insert("mask_tokens.weight".into(), shifted_masks);
    for mask in 0..4 {
        let layers = [("proj_in", CHANNELS), ("layers.0", CHANNELS), ("proj_out", UPSCALED[1])];
        for (layer, outputs) in layers {
            let names = [mask + 1, mask].map(|i| format!("output_hypernetworks_mlps.{i}.{layer}"));
            let weight = values(&random(&format!("{}.weight", names[1]), &[outputs, CHANNELS]));
            let bias = values(&random(&format!("{}.bias", names[1]), &[outputs]));
            weights.set.insert(format!("{}.weight", names[0]), weight);
            weights.set.insert(format!("{}.bias", names[0]), bias);
        }
    }
    let shifted = load(&device, &weights, &one_more);

    let found = decoder.score(&device, prompts(&device), PROMPTS, MaskOutput::All).unwrap();
    let expected = shifted.score(&device, prompts(&device), PROMPTS, MaskOutput::Multimask).unwrap();
    let tokens = found.mask_tokens(&device).unwrap();
    assert_eq!(tokens.dims(), [PROMPTS, 4, CHANNELS]);
    assert_eq!(values(&tokens), values(&expected.mask_tokens(&device).unwrap()));

    let token = |index: usize| device.slice(&found.tokens, 1, index, 1).unwrap();
    let scores = found.object_scores.clone().expect("the decoder has a head for it");
    assert_eq!(scores.dims(), [PROMPTS, 1]);
    let head = decoder.object_score_head.as_ref().unwrap();
    assert_eq!(values(&scores), values(&head.forward(&device, &token(0)).unwrap()));
    assert_eq!(values(&found.iou_scores), values(&decoder.iou_head.forward(&device, &token(1)).unwrap()));
    assert!(expected.object_scores.is_none());
    let second = found.narrow(1, 1).unwrap();
    assert_eq!(values(second.object_scores.as_ref().unwrap()), values(&scores)[1..]);

    let features = features(&device, Vec::new());
    let masks = decoder.draw(&device, &features, found).unwrap();
    assert_eq!(masks.dims(), [PROMPTS, 4, 4 * EMBEDDING[0], 4 * EMBEDDING[1]]);
    assert_eq!(values(&masks), values(&shifted.draw(&device, &features, expected).unwrap()));
}

const SAM2_MAPS: HighResConfig = HighResConfig { prompt_map: false, refine_blocks: [0; 2], refine_kernel: 1 };

fn finer_map(device: &Device, name: &str, doublings: u32, batch: usize) -> Tensor {
    let factor = 2usize.pow(doublings);
    let channels = UPSCALED[doublings as usize - 1];
    random_on(device, name, &[batch, factor * EMBEDDING[0], factor * EMBEDDING[1], channels])
}

#[test]
fn finer_maps_of_zeros_change_nothing() {
    let device = device();
    let weights = Weights::default();
    let plain = load(&device, &weights, &config());
    let high_res = load(&device, &weights, &MaskDecoderConfig { high_res: Some(SAM2_MAPS), ..config() });
    let zeros = [1, 2].map(|doublings| {
        let map = finer_map(&device, "zeros", doublings, 1);
        device.filled(*map.shape(), 0.0).unwrap()
    });
    let draw = |decoder: &MaskDecoder, features: &ImageFeatures| {
        let scored = decoder.score(&device, prompts(&device), PROMPTS, MaskOutput::All).unwrap();
        values(&decoder.draw(&device, features, scored).unwrap())
    };
    let expected = draw(&plain, &features(&device, Vec::new()));
    assert_near(&draw(&high_res, &features(&device, zeros.to_vec())), &expected);
    let scored = high_res.score(&device, prompts(&device), PROMPTS, MaskOutput::Single).unwrap();
    let refusal = high_res.draw(&device, &features(&device, Vec::new()), scored).unwrap_err().to_string();
    assert!(refusal.contains("features without their finer maps"), "{refusal}");
}

/// `act2(dc2(act1(ln1(dc1(x) + feat_s1))) + feat_s0)`, then the product with the mask's vector. Without weights in `dc1`
/// and in the last layer of the vectors' head, all of it is known.
#[test]
fn finer_maps_are_added_before_the_norm_and_before_the_last_activation() {
    let device = device();
    let mut weights = Weights::default();
    let [coarse_channels, fine_channels] = UPSCALED;
    let mut zero = |name: &str, len: usize| weights.set.insert(name.into(), vec![0.0; len]);
    zero("upscale_conv1.weight", CHANNELS * coarse_channels * 4);
    zero("upscale_conv1.bias", coarse_channels);
    zero("output_hypernetworks_mlps.0.proj_out.weight", fine_channels * CHANNELS);
    let decoder = load(&device, &weights, &MaskDecoderConfig { high_res: Some(SAM2_MAPS), ..config() });
    // Each prompt has maps of its own.
    let (coarse, fine) = (finer_map(&device, "s1", 1, PROMPTS), finer_map(&device, "s0", 2, PROMPTS));

    let gelu = |x: &Tensor| values(&device.activation(x, Activation::Gelu).unwrap());
    let of = |name: &str, shape: &[usize]| values(&random(name, shape));
    let (gamma, beta) = (
        of("upscale_layer_norm.weight", &[coarse_channels]),
        of("upscale_layer_norm.bias", &[coarse_channels]),
    );
    let mut normed = Vec::new();
    for cell in values(&coarse).chunks_exact(coarse_channels) {
        let mean = cell.iter().sum::<f32>() / coarse_channels as f32;
        let variance = cell.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / coarse_channels as f32;
        let scale = (variance + 1e-6).sqrt();
        normed.extend((0..coarse_channels).map(|c| (cell[c] - mean) / scale * gamma[c] + beta[c]));
    }
    let hidden = gelu(&device.upload(*coarse.shape(), &normed).unwrap());
    let kernel = of("upscale_conv2.weight", &[coarse_channels, fine_channels, 2, 2]);
    let bias = of("upscale_conv2.bias", &[fine_channels]);
    let mut sums = values(&fine);
    let (height, width) = (4 * EMBEDDING[0], 4 * EMBEDDING[1]);
    for (index, sum) in sums.iter_mut().enumerate() {
        let (cell, channel) = (index / fine_channels, index % fine_channels);
        let (prompt, y, x) = (cell / (height * width), cell / width % height, cell % width);
        let from = ((prompt * height / 2 + y / 2) * width / 2 + x / 2) * coarse_channels;
        *sum += bias[channel];
        for input in 0..coarse_channels {
            let tap = ((input * fine_channels + channel) * 2 + y % 2) * 2 + x % 2;
            *sum += hidden[from + input] * kernel[tap];
        }
    }
    let pixels = gelu(&device.upload(*fine.shape(), &sums).unwrap());
    let vector = of("output_hypernetworks_mlps.0.proj_out.bias", &[fine_channels]);
    let product = |pixel: &[f32]| pixel.iter().zip(&vector).map(|(a, b)| a * b).sum::<f32>();
    let expected: Vec<f32> = pixels.chunks_exact(fine_channels).map(product).collect();

    let embedding = random_on(&device, "embedding", &[PROMPTS, EMBEDDING[0], EMBEDDING[1], CHANNELS]);
    let features = ImageFeatures { embedding, high_res: vec![coarse, fine], hq: None, is_conditioned: false };
    let scored = || decoder.score(&device, prompts(&device), PROMPTS, MaskOutput::Single).unwrap();
    assert_near(&values(&decoder.draw(&device, &features, scored()).unwrap()), &expected);
    let chosen = decoder.draw_chosen(&device, &features, &scored(), &[(1, 0), (0, 0)]).unwrap();
    let (first, second) = expected.split_at(height * width);
    assert_near(&values(&chosen), &[second, first].concat());
}
