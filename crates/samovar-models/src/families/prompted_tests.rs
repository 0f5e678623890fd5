//! Inputs that are no squares, and prompts with features of their own.

use samovar_geometry::{Box2, Point, ResizeRule};
use samovar_tensor::{Activation, Pool, Reference};

use super::*;
use crate::blocks::mask_decoder::HighResConfig;
use crate::blocks::prompt_encoder::DensePrompt;
use crate::blocks::prompt_map::PromptMap;
use crate::error::Error;
use crate::families::sam_heads;
use crate::interface::MaskOutput;
use crate::test_weights::{Weights, assert_near, random, random_on, swapped};

const CHANNELS: usize = 16;
const UPSCALED: [usize; 2] = [6, 4];

/// Features are made by the tests.
struct NoLayers;

impl Encoder for NoLayers {
    fn forward(&self, _: &Device, _: &Tensor) -> Result<ImageFeatures> {
        Err(Error::Input("an encoder without layers".into()))
    }
}

fn device() -> Device {
    Device::new(Arc::new(Reference), Pool::new(1 << 28))
}

/// SAM's decoder at tiny size, or nano's, for an embedding of some rows and columns, 16 pixels each.
fn segmenter(
    device: &Device,
    weights: &Weights,
    embedding: [usize; 2],
    is_nano: bool,
) -> Arc<dyn PromptableSegmenter> {
    let [height, width] = embedding.map(|side| 16 * side as u32);
    let mut prompt = sam_heads::prompt_encoder(16, 1);
    prompt.channels = CHANNELS;
    (prompt.input, prompt.embedding) = (Size::new(width, height), embedding);
    let mut decoder = sam_heads::mask_decoder();
    decoder.transformer.channels = CHANNELS;
    (decoder.transformer.heads, decoder.transformer.cross_channels) = (2, 8);
    decoder.transformer.mlp_channels = 20;
    (decoder.upscale_channels, decoder.iou_hidden) = (UPSCALED, 12);
    if is_nano {
        prompt.dense = DensePrompt::Map(PromptMap { click_sigma: 1.5, mask_clamp: 10.0 });
        decoder.upscale_activation = Activation::Relu;
        decoder.high_res = Some(HighResConfig { prompt_map: true, refine_blocks: [1, 1], refine_kernel: 3 });
    }
    prompt.check(CHANNELS).unwrap();
    decoder.check(CHANNELS).unwrap();
    let preprocessing =
        Preprocessing { resize: ResizeRule::Exact { width, height }, mean: [0.0; 3], std: [1.0; 3] };
    let recommendations = sam_heads::RECOMMENDATIONS;
    let wiring = Wiring { preprocessing, prompt: &prompt, decoder: &decoder, recommendations };
    let loader = Loader::new(device, device, weights);
    let loaded = load(&loader, wiring, |_, _| Ok(Box::new(NoLayers))).unwrap();
    let encoder = loaded.image_encoder.unwrap();
    let flipped = random_on(device, "pixels", &[1, width as usize, height as usize, 3]);
    if width != height {
        let refusal = encoder.encode(device, &flipped).unwrap_err().to_string();
        assert!(refusal.contains(&format!("expected [images, {height}, {width}, 3]")), "{refusal}");
    }
    loaded.promptable_segmenter.unwrap()
}

fn features(device: &Device, batch: usize, [rows, columns]: [usize; 2]) -> ImageFeatures {
    let map = |name: &str, factor: usize, channels: usize| {
        random_on(device, name, &[batch, factor * rows, factor * columns, channels])
    };
    ImageFeatures {
        embedding: map("embedding", 1, CHANNELS),
        high_res: vec![map("high_res_8", 2, UPSCALED[0]), map("high_res_4", 4, UPSCALED[1])],
        hq: None,
        is_conditioned: false,
    }
}

/// A map `[B, rows, columns, C]` with x and y exchanged.
fn transposed(device: &Device, map: &Tensor) -> Tensor {
    let &[batch, rows, columns, channels] = map.dims() else { panic!("no map") };
    let values = swapped(&map.to_f32_vec().unwrap(), [rows, columns, channels]);
    device.upload([batch, columns, rows, channels], &values).unwrap()
}

fn prompts(cells: usize) -> PromptBatch {
    PromptBatch {
        prompts: 2,
        points: vec![Point::new(40.0, 5.0), Point::new(3.0, 30.0)],
        labels: vec![1, 0],
        boxes: vec![Box2::new(20.0, 2.0, 46.0, 18.0), Box2::new(1.0, 9.0, 12.0, 31.0)],
        masks: Some(random("masks", &[cells]).to_f32_vec().unwrap()),
        output: MaskOutput::All,
    }
}

/// A model that sees everything with x and y exchanged answers with its masks exchanged.
#[test]
fn an_input_that_is_no_square_is_not_taken_for_one() {
    let device = device();
    let (rows, columns) = (2, 3);
    let grid @ [grid_rows, grid_columns] = [4 * rows, 4 * columns];
    for is_nano in [false, true] {
        let upright = segmenter(&device, &Weights::default(), [rows, columns], is_nano);
        let mirrored = Weights { transposed: true, ..Weights::default() };
        let mirrored = segmenter(&device, &mirrored, [columns, rows], is_nano);
        assert_eq!((upright.input_size(), upright.grid_size()), (Size::new(48, 32), Size::new(12, 8)));

        let features = features(&device, 1, [rows, columns]);
        let prompts = prompts(grid_rows * grid_columns);
        let found = upright.decode(&device, &features, &prompts).unwrap();
        assert_eq!(found.logits.dims(), [2, 4, grid_rows, grid_columns]);

        let features = ImageFeatures {
            embedding: transposed(&device, &features.embedding),
            high_res: features.high_res.iter().map(|map| transposed(&device, map)).collect(),
            hq: None,
            is_conditioned: false,
        };
        let swap = |bounds: &Box2<Input>| Box2::new(bounds.y0, bounds.x0, bounds.y1, bounds.x1);
        let prompts = PromptBatch {
            points: prompts.points.iter().map(|point| Point::new(point.y, point.x)).collect(),
            boxes: prompts.boxes.iter().map(swap).collect(),
            masks: prompts.masks.map(|masks| swapped(&masks, [grid[0], grid[1], 1])),
            ..prompts
        };
        let expected = mirrored.decode(&device, &features, &prompts).unwrap();
        let expected_logits = swapped(&expected.logits.to_f32_vec().unwrap(), [grid[1], grid[0], 1]);
        assert_near(&found.logits.to_f32_vec().unwrap(), &expected_logits);
        assert_near(&found.iou_scores.to_f32_vec().unwrap(), &expected.iou_scores.to_f32_vec().unwrap());
    }
}

/// A tracked object's features hold what is remembered of it: each prompt is asked on its own.
#[test]
fn prompts_with_features_of_their_own_do_not_see_each_others() {
    let device = device();
    let embedding = [2, 3];
    for is_nano in [false, true] {
        let segmenter = segmenter(&device, &Weights::default(), embedding, is_nano);
        let features = features(&device, 2, embedding);
        let shared_mask = prompts(96);
        let own_masks =
            PromptBatch { masks: Some(random("masks", &[192]).to_f32_vec().unwrap()), ..shared_mask.clone() };
        let no_mask = PromptBatch { masks: None, ..shared_mask.clone() };
        for batch in [shared_mask, own_masks, no_mask] {
            let together = segmenter.decode(&device, &features, &batch).unwrap();
            for i in 0..2 {
                let of_prompt = |masks: &Vec<f32>| match masks.len() {
                    96 => masks.clone(),
                    _ => masks[96 * i..][..96].to_vec(),
                };
                let alone = PromptBatch {
                    prompts: 1,
                    points: vec![batch.points[i]],
                    labels: vec![batch.labels[i]],
                    boxes: vec![batch.boxes[i]],
                    masks: batch.masks.as_ref().map(of_prompt),
                    output: batch.output,
                };
                let alone = segmenter.decode(&device, &features.image(i).unwrap(), &alone).unwrap();
                let found = together.logits.narrow(i, 1).unwrap().to_f32_vec().unwrap();
                assert_near(&found, &alone.logits.to_f32_vec().unwrap());
            }
            let scored = segmenter.score(&device, &features, &batch).unwrap();
            let chosen = segmenter.draw_chosen(&device, &features, &scored, &[(1, 3), (0, 2)]).unwrap();
            let all = together.logits.to_f32_vec().unwrap();
            assert_near(&chosen.to_f32_vec().unwrap(), &[&all[7 * 96..], &all[2 * 96..3 * 96]].concat());
        }
    }
}

#[test]
fn features_of_more_images_than_prompts_are_refused() {
    let device = device();
    let segmenter = segmenter(&device, &Weights::default(), [2, 3], false);
    let refusal =
        segmenter.score(&device, &features(&device, 3, [2, 3]), &prompts(96)).err().unwrap().to_string();
    assert!(
        refusal.contains("expected those of one image, [1, 2, 3, 16], or one for each of 2"),
        "{refusal}"
    );
    let scored = segmenter.score(&device, &features(&device, 2, [2, 3]), &prompts(96)).unwrap();
    assert!(segmenter.draw(&device, &features(&device, 2, [2, 3]), scored.narrow(0, 1).unwrap()).is_err());
}
