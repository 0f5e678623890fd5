//! Weights in less than f32: files of rounded weights against rounding at load, the plan, and how near masks stay.

mod common;

use std::sync::Arc;

use common::repository;
use samovar_cpu::{CpuKernels, CpuOptions};
use samovar_geometry::Point;
use samovar_models::{Model, ModelConfig, PromptBatch};
use samovar_tensor::{Device, Pool, Precision};
use samovar_weights::{Checkpoint, ShapeSource, WeightSource, quantise, stored_precision};

fn device(precision: Precision) -> Device {
    let kernels = CpuKernels::new(CpuOptions { threads: 1, ..CpuOptions::default() }).expect("a CPU backend");
    Device::new(Arc::new(kernels), Pool::new(1 << 30)).with_weight_precision(precision)
}

/// Mask logits of nano for a click on a disc, of weights from `source` on a device of this precision.
fn logits(source: &dyn WeightSource, precision: Precision) -> Vec<f32> {
    let device = device(precision);
    let config = ModelConfig::infer(source).unwrap();
    let model = Model::load(&device, &config, source).unwrap();
    let held = device.pool().stats().in_use_bytes;
    let peak = device.pool().stats().peak_bytes;
    let plan = device.plan(|device| Model::load(device, &config, &ShapeSource), |_, _| Ok(())).unwrap();
    assert_eq!(plan.weight_bytes, held, "{precision}: what is held");
    assert!(peak <= held + plan.load_bytes, "{precision}: {peak} at most while loading, planned {plan:?}");

    let (encoder, segmenter) = (model.image_encoder().unwrap(), model.promptable_segmenter().unwrap());
    let side = segmenter.input_size().width as usize;
    let pixels = device.upload_with(encoder.preprocessing().pixels_shape(1), |values| {
        for (i, pixel) in values.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((i % side) as f32 / side as f32 - 0.5, (i / side) as f32 / side as f32 - 0.5);
            let inside = x.hypot(y) < 0.25;
            pixel.copy_from_slice(&if inside { [1.5, -0.5, 0.2] } else { [x, y, 0.3 * (40.0 * x).sin()] });
        }
    });
    let features = encoder.encode(&device, &pixels.unwrap()).unwrap();
    let middle = side as f64 / 2.0;
    let prompts = PromptBatch {
        prompts: 1,
        points: vec![Point::new(middle, middle)],
        labels: vec![1],
        ..PromptBatch::default()
    };
    segmenter.decode(&device, &features, &prompts).unwrap().logits.to_f32_vec().unwrap()
}

fn iou(a: &[f32], b: &[f32]) -> f64 {
    let both = a.iter().zip(b).filter(|(a, b)| **a > 0.0 && **b > 0.0).count();
    let either = a.iter().zip(b).filter(|(a, b)| **a > 0.0 || **b > 0.0).count();
    both as f64 / either as f64
}

#[test]
fn nano_from_a_file_of_rounded_weights_is_nano_rounded_at_load() {
    let original = Checkpoint::open(repository("crates/samovar-runtime/assets/nano.safetensors")).unwrap();
    let exact = logits(&original, Precision::F32);
    let folder = std::env::temp_dir().join(format!("samovar-precision-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (precision, least_iou) in [(Precision::F16, 0.995), (Precision::Bf16, 0.98), (Precision::Int8, 0.98)]
    {
        let config = ModelConfig::infer(&original).unwrap();
        let precisions = Model::weight_precisions(&config, &original, precision).unwrap();
        assert!(precisions.values().any(|&of_layer| of_layer == precision));
        let path = folder.join(format!("{precision}.safetensors"));
        quantise(&original, precision, &precisions, &path).unwrap();
        let rounded = Checkpoint::open(&path).unwrap();
        assert_eq!(stored_precision(&rounded).unwrap(), precision);
        let from_file = logits(&rounded, precision);
        assert!(from_file == logits(&original, precision), "{precision}: the file gives another model");
        let found = iou(&from_file, &exact);
        assert!(found >= least_iou, "{precision}: IoU {found} with f32");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_mobile_sam_with_folded_norms_is_the_same_from_a_file() {
    // Tiny layers stay f32, so what is checked here are the names: original ones, and weights inside folded norms.
    let golden = Checkpoint::open(repository("dev/goldens/mobile_sam/mobile_sam.pt")).unwrap();
    let config = ModelConfig::infer(&golden).unwrap();
    for precision in [Precision::F16, Precision::Int8] {
        let precisions = Model::weight_precisions(&config, &golden, precision).unwrap();
        assert!(precisions.keys().any(|name| name.ends_with("conv1.c.weight")));
        for name in precisions.keys() {
            assert!(golden.contains(name), "{name} is not in the file");
        }
    }
}
