//! nano against its trainer's code, at tiny size, and the weights that ship with the library.

mod common;

use common::{Worst, boxes_of, channels_first, devices, download, points_of, reference, repository, sides};
use samovar_models::{Family, MaskOutput, Model, ModelConfig, PromptBatch};
use samovar_tensor::{Device, Shape, Tensor};
use samovar_weights::{Checkpoint, Result, WeightSource};

/// Single precision on both sides, through 20 layers; measured 2e-6.
const TOLERANCE: (f64, f64) = (2e-5, 1e-5);

/// The golden holds its weights beside the outputs, under a prefix.
struct Below<'a>(&'a Checkpoint, &'static str);

impl WeightSource for Below<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.0.tensor(&format!("{}{name}", self.1), shape)
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.0.shape(&format!("{}{name}", self.1))
    }

    fn names(&self) -> Vec<String> {
        self.0.names().iter().filter_map(|name| name.strip_prefix(self.1)).map(str::to_owned).collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.0.metadata(key)
    }

    fn origin(&self) -> String {
        self.0.origin()
    }
}

const CASES: [&str; 5] = ["click", "clicks_mask", "box", "box_click_mask", "not_a_point_mask"];

#[test]
fn agrees_with_the_trainer() {
    for device in devices() {
        agrees_on(&device);
    }
}

fn agrees_on(device: &Device) {
    let golden = Checkpoint::open(repository("training/golden/nano_tiny.safetensors")).unwrap();
    let weights = Below(&golden, "weights.");
    let config = ModelConfig::infer(&weights).unwrap();
    assert_eq!(config.family(), Family::Nano);
    let model = Model::load(device, &config, &weights).unwrap();
    let mut worst = Worst::default();

    let expected = |name: &str| golden.any_tensor(name).unwrap().to_f32_vec().unwrap();
    let pixels = golden.any_tensor("image.pixel_values").unwrap();
    let (encoder, segmenter) = (model.image_encoder().unwrap(), model.promptable_segmenter().unwrap());
    let features =
        encoder.encode(device, &device.channels_last(&device.load(&pixels).unwrap()).unwrap()).unwrap();
    let maps = [&features.embedding, &features.high_res[0], &features.high_res[1]];
    for (map, name) in maps.into_iter().zip(["image_embedding", "high_res_8", "high_res_4"]) {
        worst.compare(name, &channels_first(device, map), &expected(&format!("image.{name}")), TOLERANCE);
    }

    for case in CASES {
        let input = |name: &str| {
            let name = format!("case.{case}.{name}");
            golden.contains(&name).then(|| expected(&name))
        };
        let prompts = PromptBatch {
            prompts: 1,
            points: input("input_points").map_or(Vec::new(), |points| points_of(&points)),
            labels: input("input_labels").unwrap_or_default().iter().map(|&label| label as i32).collect(),
            boxes: input("input_boxes").map_or(Vec::new(), |boxes| boxes_of(&boxes)),
            masks: input("input_masks"),
            output: MaskOutput::Single,
        };
        let masks =
            |output| segmenter.decode(device, &features, &PromptBatch { output, ..prompts.clone() }).unwrap();
        let (single, multi) = (masks(MaskOutput::Single), masks(MaskOutput::Multimask));
        let both =
            |first: &Tensor, second: &Tensor| [download(device, first), download(device, second)].concat();
        let logits = both(&single.logits, &multi.logits);
        worst.compare(
            &format!("{case}: masks"),
            &logits,
            &expected(&format!("case.{case}.pred_masks")),
            TOLERANCE,
        );
        let scores = both(&single.iou_scores, &multi.iou_scores);
        worst.compare(
            &format!("{case}: scores"),
            &scores,
            &expected(&format!("case.{case}.iou_scores")),
            TOLERANCE,
        );
        let all = masks(MaskOutput::All);
        assert_eq!((download(device, &all.logits), download(device, &all.iou_scores)), (logits, scores));
    }
    println!("nano on {}: {worst:?}", device.name());
}

#[test]
fn shipped_weights_load() {
    let path = repository("crates/samovar-runtime/assets/nano.safetensors");
    let weights = Checkpoint::open(path).unwrap();
    let config = ModelConfig::infer(&weights).unwrap();
    assert_eq!(config.family(), Family::Nano);
    let model = Model::load(&reference(), &config, &weights).unwrap();
    assert_eq!(sides(&model), (384, 96));
}
