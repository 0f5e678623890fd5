//! Pictures of SAM 2 and its relatives against what a golden recorded, and published files of which names and shapes are known.

use std::collections::BTreeMap;

use samovar_models::{ImageFeatures, MaskOutput, MaskPrediction, Model, PromptBatch};
use samovar_tensor::{Device, Shape, Tensor};
use samovar_weights::{ShapeSource, WeightSource};

use super::{Golden, Worst, channels_first, compare_prediction, decode, download, encode, prompts, values};

/// The mask upstream gives: three of a kind, or the one its rule chooses.
fn predict(
    device: &Device,
    model: &Model,
    features: &ImageFeatures,
    mut batch: PromptBatch,
) -> MaskPrediction {
    let choice = model.promptable_segmenter().unwrap().recommendations().mask_rule.otherwise;
    if batch.output != MaskOutput::Single {
        return decode(device, model, features, &batch).unwrap();
    }
    batch.output = choice.output();
    let all = decode(device, model, features, &batch).unwrap();
    let (scores, logits) = (download(device, &all.iou_scores), download(device, &all.logits));
    let &[prompts, masks, height, width] = all.logits.dims() else { panic!("no masks") };
    let (mut chosen_scores, mut chosen_logits) = (Vec::new(), Vec::new());
    for prompt in 0..prompts {
        let of_prompt = &logits[prompt * masks * height * width..][..masks * height * width];
        let of_mask = |mask: usize| &of_prompt[mask * height * width..][..height * width];
        let scores = &scores[prompt * masks..][..masks];
        let chosen = choice.choose(scores, of_mask(0));
        chosen_scores.push(scores[chosen]);
        chosen_logits.extend_from_slice(of_mask(chosen));
    }
    MaskPrediction {
        logits: device.upload([prompts, 1, height, width], &chosen_logits).unwrap(),
        iou_scores: device.upload([prompts, 1], &chosen_scores).unwrap(),
        object_scores: all.object_scores,
    }
}

/// The golden's own tolerance; of graphics devices twice that: of EdgeTAM they were found 2.5 times as far off as the reference. A likely
/// reason, not looked into: GELU from a polynomial (4e-7 of its numbers) and sums in tiles, through many layers without a norm.
fn tolerance_on(device: &Device, golden: &Golden) -> (f64, f64) {
    let (max_abs, relative) = golden.tolerance();
    (share_on(device) * max_abs, share_on(device) * relative)
}

fn share_on(device: &Device) -> f64 {
    if device.name().starts_with("wgpu ") { 2.0 } else { 1.0 }
}

fn compare_features(
    device: &Device,
    worst: &mut Worst,
    golden: &Golden,
    features: &ImageFeatures,
    model: &Model,
) {
    let encoder = golden.checkpoint("encoder.safetensors");
    let segmenter = model.promptable_segmenter().unwrap();
    let embedding = segmenter.decoder_embedding(device, features).unwrap();
    let maps = [&features.high_res[1], &features.high_res[0], &embedding];
    for (level, map) in maps.into_iter().enumerate() {
        let name = format!("image_embeddings.{level}");
        worst.compare(
            &name,
            &channels_first(device, map),
            &values(&encoder, &name),
            tolerance_on(device, golden),
        );
    }
}

/// All cases but those that transformers alone has, if told so; says how many decodes that were.
pub fn run(device: &Device, golden: &Golden, model: &Model, with_transformers: bool) -> usize {
    let (encoder, cases) = (golden.checkpoint("encoder.safetensors"), golden.checkpoint("cases.safetensors"));
    let features = encode(device, model, &encoder);
    let mut worst = Worst::default();
    compare_features(device, &mut worst, golden, &features, model);
    let mut compared = 0;
    for (name, case) in golden.cases() {
        if case["transformers_only"] == true && !with_transformers {
            continue;
        }
        let multimask = case["multimask_output"].as_bool().unwrap();
        for (i, image) in case["images"].as_array().unwrap().iter().enumerate() {
            let features = features.image(image.as_u64().unwrap() as usize).unwrap();
            let mut batch = prompts(&cases, &name, i, multimask);
            if name == "mask_as_transformers" {
                // A point that is none, which another follows as behind all points.
                batch.points = vec![samovar_geometry::Point::new(0.0, 0.0)];
                batch.labels = vec![-1];
            }
            let found = predict(device, model, &features, batch);
            compare_prediction(device, &mut worst, &found, &cases, &name, i, tolerance_on(device, golden));
            let objects = cases.any_tensor(&format!("{name}.object_score_logits")).unwrap();
            let objects = objects.narrow(i, 1).unwrap().to_f32_vec().unwrap();
            let bound = 5e-5 * share_on(device) as f32;
            // One number has no deviation; those of all cases have about 0.5, or some tenths of the largest.
            for (found, expected) in download(device, &found.object_scores.unwrap()).iter().zip(objects) {
                assert!(
                    (found - expected).abs() < bound * (expected.abs() / 5.0).max(1.0),
                    "{name}: object score {found} instead of {expected}"
                );
            }
            compared += 1;
        }
    }
    println!("{}: {compared} decodes, {worst:?}", device.name());
    compared
}

/// Names and shapes of a published file, and no values.
pub struct Published(BTreeMap<String, Shape>);

impl Published {
    /// Of names and shapes as the recipes write them: `24x3x3x3`.
    pub fn new(tensors: &BTreeMap<String, String>) -> Self {
        let shape = |shape: &String| -> Shape {
            let dims: Vec<usize> =
                shape.split('x').filter(|dim| !dim.is_empty()).map(|dim| dim.parse().unwrap()).collect();
            Shape::new(&dims)
        };
        Self(tensors.iter().map(|(name, dims)| (name.clone(), shape(dims))).collect())
    }
}

impl WeightSource for Published {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        assert_eq!(self.0.get(name).map(Shape::dims), Some(shape), "{name}");
        ShapeSource.tensor(name, shape)
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.0.get(name).copied()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn origin(&self) -> String {
        "a published model".into()
    }
}
