//! Prompts, files and budgets that do not fit: an error that says what, never a panic.

mod common;

use std::sync::Arc;

use common::{Golden, decode, encode, prompts, reference, sides};
use samovar_geometry::{Box2, Point};
use samovar_models::{Error, ImageFeatures, MaskOutput, Model, ModelConfig, PromptBatch};
use samovar_tensor::{Device, Pool, Reference, Shape, Tensor};
use samovar_weights::{Checkpoint, WeightSource};

fn tiny_sam(device: &Device) -> (Model, ImageFeatures, Checkpoint) {
    let golden = Golden::open("sam1");
    let weights = golden.checkpoint("model.safetensors");
    let model = Model::load(device, &ModelConfig::infer(&weights).unwrap(), &weights).unwrap();
    let features = encode(device, &model, &golden.checkpoint("encoder.safetensors"));
    (model, features, golden.checkpoint("cases.safetensors"))
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let device = reference();
    let (model, features, _) = tiny_sam(&device);
    let features = features.image(0).unwrap();
    let side = sides(&model).1 as usize;
    let good = || PromptBatch {
        prompts: 2,
        points: vec![Point::new(1.0, 2.0), Point::new(3.0, 4.0)],
        labels: vec![1, 0],
        boxes: vec![Box2::new(0.0, 0.0, 9.0, 9.0); 2],
        masks: Some(vec![0.0; side * side]),
        output: MaskOutput::Multimask,
    };
    assert!(decode(&device, &model, &features, &good()).is_ok());
    let refused = |what: &str, change: &dyn Fn(&mut PromptBatch)| {
        let mut prompts = good();
        change(&mut prompts);
        match decode(&device, &model, &features, &prompts) {
            Err(Error::Input(message)) => assert!(message.contains(what), "{message}"),
            other => panic!("{what}: {other:?}"),
        }
    };
    refused("none; give at least one", &|p| p.prompts = 0);
    refused("2 points with 1 labels", &|p| p.labels.truncate(1));
    refused("2 points for 3 prompts; pad", &|p| p.prompts = 3);
    refused("label 7", &|p| p.labels[1] = 7);
    refused("1 boxes for 2", &|p| p.boxes.truncate(1));
    refused("coordinate", &|p| p.points[1].x = f64::NAN);
    refused("coordinate", &|p| p.boxes[1].y1 = f64::INFINITY);
    refused("coordinate", &|p| p.points[0].y = 1e300);
    refused("mask values; expected 28x28", &|p| p.masks = Some(vec![0.0; side]));
    refused("mask value that is not a number", &|p| p.masks.as_mut().unwrap()[3] = f32::NAN);
    // Far outside the image is not wrong: upstream takes it as well.
    let mut far = good();
    far.points[0] = Point::new(-1e9, 1e9);
    assert!(decode(&device, &model, &features, &far).is_ok());
}

#[test]
fn pixels_and_features_must_be_the_models() {
    let device = reference();
    let (model, features, _) = tiny_sam(&device);
    for shape in [[1, 55, 56, 3], [1, 56, 56, 4], [0, 56, 56, 3]] {
        let pixels = device.upload_with(shape, |values| values.fill(0.0)).unwrap();
        let message = model.image_encoder().unwrap().encode(&device, &pixels).unwrap_err().to_string();
        assert!(message.contains("expected [images, 56, 56, 3]"), "{message}");
    }
    let prompts = PromptBatch {
        prompts: 1,
        points: vec![Point::new(1.0, 2.0)],
        labels: vec![1],
        ..PromptBatch::default()
    };
    let two_images = decode(&device, &model, &features, &prompts).unwrap_err().to_string();
    assert!(two_images.contains("those of one image"), "{two_images}");
    assert!(features.image(2).is_err());
    assert_eq!((features.images(), features.size_bytes()), (2, 2 * 7 * 7 * 32 * 4));
}

#[test]
fn prompts_in_one_batch_do_not_touch_each_other() {
    let device = reference();
    let (model, features, cases) = tiny_sam(&device);
    let features = features.image(0).unwrap();
    let together = prompts(&cases, "prompts_per_image", 0, true);
    let all = decode(&device, &model, &features, &together).unwrap();
    for i in 0..together.prompts {
        let alone = PromptBatch {
            prompts: 1,
            points: vec![together.points[i]],
            labels: vec![together.labels[i]],
            ..together.clone()
        };
        let alone = decode(&device, &model, &features, &alone).unwrap();
        let same = all.logits.narrow(i, 1).unwrap();
        assert_eq!(alone.logits.to_f32_vec().unwrap(), same.to_f32_vec().unwrap(), "prompt {i}");
    }
    // Scores first, masks of some prompts later.
    let scored = model.promptable_segmenter().unwrap().score(&device, &features, &together).unwrap();
    assert_eq!(scored.iou_scores.to_f32_vec().unwrap(), all.iou_scores.to_f32_vec().unwrap());
    let last =
        model.promptable_segmenter().unwrap().draw(&device, &features, scored.narrow(2, 1).unwrap()).unwrap();
    assert_eq!(last.to_f32_vec().unwrap(), all.logits.narrow(2, 1).unwrap().to_f32_vec().unwrap());
    assert!(scored.narrow(2, 2).is_err());
    // Or just some of the masks.
    let chosen = [(2, 1), (0, 0), (0, 2)];
    let drawn =
        model.promptable_segmenter().unwrap().draw_chosen(&device, &features, &scored, &chosen).unwrap();
    assert_eq!(drawn.dims(), [3, all.logits.dims()[2], all.logits.dims()[3]]);
    for (i, (prompt, mask)) in chosen.into_iter().enumerate() {
        let expected = device.slice(&all.logits.narrow(prompt, 1).unwrap(), 1, mask, 1).unwrap();
        assert_eq!(
            drawn.narrow(i, 1).unwrap().to_f32_vec().unwrap(),
            expected.to_f32_vec().unwrap(),
            "{chosen:?}"
        );
    }
    for wrong in [&[][..], &[(3, 0)], &[(0, 3)]] {
        assert!(
            model.promptable_segmenter().unwrap().draw_chosen(&device, &features, &scored, wrong).is_err()
        );
    }
    // One mask for all prompts is the same as that mask for each of them.
    let shared = prompts(&cases, "mask_and_prompts", 0, true);
    let each = PromptBatch { masks: shared.masks.clone().map(|mask| mask.repeat(2)), ..shared.clone() };
    let shared = decode(&device, &model, &features, &shared).unwrap();
    let each = decode(&device, &model, &features, &each).unwrap();
    assert_eq!(shared.logits.to_f32_vec().unwrap(), each.logits.to_f32_vec().unwrap());
}

#[test]
fn over_budget_is_an_error_and_a_warm_run_allocates_nothing() {
    let golden = Golden::open("sam1");
    let weights = golden.checkpoint("model.safetensors");
    let config = ModelConfig::infer(&weights).unwrap();
    let encoder = golden.checkpoint("encoder.safetensors");
    for budget in [0, 1 << 16, 1 << 18, 300 << 10, 400 << 10] {
        let device = Device::new(Arc::new(Reference), Pool::new(budget));
        let result = Model::load(&device, &config, &weights).and_then(|model| {
            let pixels = device.channels_last(&encoder.any_tensor("pixel_values")?)?;
            model.image_encoder().unwrap().encode(&device, &pixels)
        });
        let error = result.expect_err("too small a budget").to_string();
        assert!(error.contains("out of memory"), "{error}");
    }
    let device = reference();
    let (model, _, cases) = tiny_sam(&device);
    let run = || {
        let features = encode(&device, &model, &encoder);
        let prompts = prompts(&cases, "mask_point_and_box", 0, true);
        decode(&device, &model, &features.image(0).unwrap(), &prompts).unwrap();
        device.pool().stats().system_allocations
    };
    // The pool hands out the smallest idle buffer that fits, so it takes a run or two until every size is there.
    run();
    assert_eq!(run(), run());
}

#[test]
fn another_models_file_is_told_apart() {
    let golden = Golden::open("sam1");
    let device = reference();
    let weights = golden.checkpoint("model.safetensors");
    let base = ModelConfig::from_catalogue("facebook/sam-vit-base").unwrap();
    let message = Model::load(&device, &base, &weights).err().unwrap().to_string();
    assert!(message.contains("model.safetensors: tensor `"), "{message}");
    assert!(message.contains("looks like a SAM checkpoint (transformers names)"), "{message}");
    let nano = ModelConfig::from_catalogue("nano").unwrap();
    let message = Model::load(&device, &nano, &golden.checkpoint("original.pth")).err().unwrap().to_string();
    assert!(message.contains("looks like a SAM checkpoint (original names)"), "{message}");
    let message = ModelConfig::infer(&golden.checkpoint("cases.safetensors")).unwrap_err().to_string();
    assert!(
        message.contains(
            "expected SAM, SAM-HQ, MobileSAM, SAM 2, EdgeTAM, nano or D-FINE, found something else"
        ),
        "{message}"
    );
}

/// A file may hold the tied position matrix under its other name alone.
struct OtherName<'a>(&'a Checkpoint);

const TIED: [&str; 2] =
    ["shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding"];

impl OtherName<'_> {
    fn stored<'n>(&self, name: &'n str) -> &'n str {
        match name {
            name if name == TIED[0] => "not there",
            name if name == TIED[1] => TIED[0],
            name => name,
        }
    }
}

impl WeightSource for OtherName<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        self.0.tensor(self.stored(name), shape)
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.0.shape(self.stored(name))
    }

    fn names(&self) -> Vec<String> {
        let name = |name: String| if name == TIED[0] { TIED[1].to_owned() } else { name };
        self.0.names().into_iter().map(name).collect()
    }

    fn origin(&self) -> String {
        self.0.origin()
    }
}

#[test]
fn either_name_of_the_tied_matrix_will_do() {
    let weights = Golden::open("sam1").checkpoint("model.safetensors");
    let source = OtherName(&weights);
    assert!(Model::load(&reference(), &ModelConfig::infer(&source).unwrap(), &source).is_ok());
}
