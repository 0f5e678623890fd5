//! Goldens of the upstream Python, read and compared.

#![allow(dead_code)] // Every test binary uses its own part.

pub mod pictures;
pub mod sessions;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use samovar_cuda::{CudaKernels, CudaOptions};
use samovar_geometry::{Box2, Input, Point};
use samovar_models::{ImageFeatures, MaskOutput, MaskPrediction, Model, PromptBatch};
use samovar_tensor::{CrossAttentionRoute, Device, Kernels, Pool, Reference, Tensor};
use samovar_testkit::remote::{Remote, RemoteOptions};
use samovar_testkit::{Poisoned, graphics};
use samovar_weights::{Checkpoint, WeightSource};
use samovar_wgpu::{AdapterReport, WgpuKernels, WgpuOptions, adapters};

/// The scalar reference backend, with more memory than any test needs.
pub fn reference() -> Device {
    Device::new(Arc::new(Reference), Pool::new(1 << 30))
}

/// The devices on which goldens run: the reference, and three whose memory the host cannot read, one with all fused
/// operators, one with the core alone, and one that finds projected attention faster always; and all graphics devices. With
/// `SAMOVAR_TEST_CUDA` a CUDA device instead of all of them.
pub fn devices() -> Vec<Device> {
    if std::env::var_os("SAMOVAR_TEST_CUDA").is_some() {
        return vec![cuda()];
    }
    let remote = |fuses, cross_attention| {
        let kernels = Arc::new(Poisoned(Arc::new(Reference)));
        Remote::new(kernels, RemoteOptions { fuses, cross_attention, ..RemoteOptions::default() }).device()
    };
    let projected = Some(CrossAttentionRoute::Projected);
    let mut devices = vec![reference(), remote(true, None), remote(false, None), remote(true, projected)];
    devices.extend(graphics_devices());
    devices
}

/// What the drivers of this machine offer, the software driver of CI at least. Opened once per process, as their shaders are compiled
/// then; each device has a pool of its own.
fn graphics_devices() -> Vec<Device> {
    static OPENED: OnceLock<Vec<Arc<dyn Kernels>>> = OnceLock::new();
    let open = || {
        let found = adapters().map(|found| found.into_iter().filter(|one| one.unusable.is_none()).collect());
        let options = WgpuOptions { bounds_checks: true, ..WgpuOptions::default() };
        let open = |adapter: &AdapterReport| {
            let kernels = WgpuKernels::open(adapter.index, options).unwrap_or_else(|error| panic!("{error}"));
            Arc::new(kernels) as Arc<dyn Kernels>
        };
        graphics(found).iter().map(open).collect()
    };
    let device =
        |kernels: &Arc<dyn Kernels>| Device::new(Arc::clone(kernels), Pool::on(kernels.memory(), 1 << 30));
    OPENED.get_or_init(open).iter().map(device).collect()
}

/// The first CUDA device: a card, or the driver that runs its kernels on the CPU (`crates/samovar-cuda/kernels/shim`).
fn cuda() -> Device {
    let kernels = CudaKernels::open(0, CudaOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let pool = Pool::on(kernels.memory(), 1 << 30);
    Device::new(Arc::new(kernels), pool)
}

/// Values of a tensor of a device.
pub fn download(device: &Device, tensor: &Tensor) -> Vec<f32> {
    device.download(tensor).unwrap().wait().unwrap().to_f32_vec().unwrap()
}

/// A file below the repository's root, which `SAMOVAR_TEST_REPOSITORY` names where a test runs on another machine than it was built on.
pub fn repository(path: &str) -> PathBuf {
    if let Some(root) = std::env::var_os("SAMOVAR_TEST_REPOSITORY") {
        return PathBuf::from(root).join(path);
    }
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A golden and the tolerance its manifest states.
pub struct Golden {
    pub folder: PathBuf,
    pub manifest: serde_json::Value,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let folder = repository("dev/goldens").join(name);
        let manifest = std::fs::read_to_string(folder.join("manifest.json"));
        let manifest = manifest
            .unwrap_or_else(|error| panic!("{}: {error}; see dev/goldens/README.md", folder.display()));
        Self { folder, manifest: serde_json::from_str(&manifest).expect("a manifest is JSON") }
    }

    pub fn checkpoint(&self, file: &str) -> Checkpoint {
        Checkpoint::open(self.folder.join(file)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Largest difference over the standard deviation, and relative L2 norm of the difference.
    pub fn tolerance(&self) -> (f64, f64) {
        let tolerance = &self.manifest["tolerance"];
        (tolerance["max_abs_over_std"].as_f64().unwrap(), tolerance["relative_l2"].as_f64().unwrap())
    }

    pub fn cases(&self) -> Vec<(String, serde_json::Value)> {
        let cases = self.manifest["cases"].as_object().expect("cases");
        cases.iter().map(|(name, case)| (name.clone(), case.clone())).collect()
    }
}

/// All values of a tensor of a golden file.
pub fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let tensor = checkpoint.any_tensor(name).unwrap_or_else(|error| panic!("{error}"));
    tensor.to_f32_vec().unwrap()
}

/// The prompts of one image of a case, in transformers' layout: `[images, prompts, ..]`.
pub fn prompts(cases: &Checkpoint, case: &str, image: usize, multimask: bool) -> PromptBatch {
    let output = if multimask { MaskOutput::Multimask } else { MaskOutput::Single };
    let mut batch = PromptBatch { prompts: 1, output, ..PromptBatch::default() };
    let of_image = |input: &str| {
        let name = format!("{case}.{input}");
        let shape = cases.shape(&name)?;
        let tensor = cases.any_tensor(&name).unwrap().narrow(image, 1).unwrap();
        Some((tensor.to_f32_vec().unwrap(), shape.dims()[1]))
    };
    if let Some((points, prompts)) = of_image("input_points") {
        batch.points = points_of(&points);
        batch.prompts = prompts;
    }
    if let Some((labels, _)) = of_image("input_labels") {
        batch.labels = labels.iter().map(|&label| label as i32).collect();
    }
    if let Some((boxes, prompts)) = of_image("input_boxes") {
        batch.boxes = boxes_of(&boxes);
        batch.prompts = prompts;
    }
    batch.masks = of_image("input_masks").map(|(masks, _)| masks);
    batch
}

/// Points of a tensor `[.., 2]`.
pub fn points_of(values: &[f32]) -> Vec<Point<Input>> {
    values.as_chunks::<2>().0.iter().map(|&[x, y]| Point::new(x.into(), y.into())).collect()
}

/// Boxes of a tensor `[.., 4]`.
pub fn boxes_of(values: &[f32]) -> Vec<Box2<Input>> {
    let of_edges = |edges: &[f32; 4]| {
        let [x0, y0, x1, y1] = edges.map(f64::from);
        Box2::new(x0, y0, x1, y1)
    };
    values.as_chunks::<4>().0.iter().map(of_edges).collect()
}

/// Masks of prompts on one image.
pub fn decode(
    device: &Device,
    model: &Model,
    features: &ImageFeatures,
    prompts: &PromptBatch,
) -> samovar_models::Result<MaskPrediction> {
    model.promptable_segmenter()?.decode(device, features, prompts)
}

/// Sides of the input and of the mask logits, both squares.
pub fn sides(model: &Model) -> (u32, u32) {
    let segmenter = model.promptable_segmenter().unwrap();
    let (input, grid) = (segmenter.input_size(), segmenter.grid_size());
    assert_eq!((input.width, grid.width), (input.height, grid.height));
    (input.width, grid.width)
}

/// Encodes the golden's pixels `[B, 3, S, S]`.
pub fn encode(device: &Device, model: &Model, encoder: &Checkpoint) -> ImageFeatures {
    let pixels = encoder.any_tensor("pixel_values").unwrap();
    let pixels = device.channels_last(&device.load(&pixels).unwrap()).unwrap();
    model.image_encoder().unwrap().encode(device, &pixels).unwrap()
}

/// A channels-last map in transformers' layout.
pub fn channels_first(device: &Device, x: &Tensor) -> Vec<f32> {
    download(device, &device.channels_first(x).unwrap())
}

/// The worst figures of a comparison so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct Worst {
    pub max_abs_over_std: f64,
    pub relative_l2: f64,
}

impl Worst {
    /// Compares, remembers, and fails beyond the tolerance.
    pub fn compare(&mut self, what: &str, found: &[f32], expected: &[f32], tolerance: (f64, f64)) {
        assert_eq!(found.len(), expected.len(), "{what}: number of values");
        let n = expected.len() as f64;
        let mean = expected.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
        let difference = || found.iter().zip(expected).map(|(&a, &b)| f64::from(a) - f64::from(b));
        let spread = match expected.len() {
            1 => f64::from(expected[0].abs()),
            _ => (square(&mut expected.iter().map(|&v| f64::from(v) - mean)) / (n - 1.0)).sqrt(),
        };
        let max_abs = difference().map(f64::abs).fold(0.0, f64::max) / spread;
        let norm = square(&mut expected.iter().map(|&v| f64::from(v))).sqrt();
        let relative_l2 = square(&mut difference()).sqrt() / norm;
        assert!(
            max_abs <= tolerance.0 && relative_l2 <= tolerance.1,
            "{what}: max abs over std {max_abs:.2e} (allowed {:.0e}), relative L2 {relative_l2:.2e} (allowed {:.0e})",
            tolerance.0,
            tolerance.1,
        );
        self.max_abs_over_std = self.max_abs_over_std.max(max_abs);
        self.relative_l2 = self.relative_l2.max(relative_l2);
    }
}

/// Compares a prediction with the tensors `{expected}.pred_masks` and `.iou_scores` of one image.
pub fn compare_prediction(
    device: &Device,
    worst: &mut Worst,
    found: &MaskPrediction,
    cases: &Checkpoint,
    expected: &str,
    image: usize,
    tolerance: (f64, f64),
) {
    let pairs = [("pred_masks", &found.logits), ("iou_scores", &found.iou_scores)];
    for (output, tensor) in pairs {
        let name = format!("{expected}.{output}");
        let golden = cases.any_tensor(&name).unwrap_or_else(|error| panic!("{error}"));
        // [images, prompts, masks, ..] against [prompts, masks, ..]
        assert_eq!(&golden.dims()[1..], tensor.dims(), "{name}");
        let golden = golden.narrow(image, 1).unwrap().to_f32_vec().unwrap();
        worst.compare(&name, &download(device, tensor), &golden, tolerance);
    }
}

/// Compares the prediction of one image with the tensors of a case below a name, as [`compare_prediction`].
pub type ComparePrediction = fn(&Device, &mut Worst, &MaskPrediction, &Checkpoint, &str, usize, (f64, f64));

/// Runs all cases that have outputs under `prefix` ("" for transformers, "original." for the original code) and
/// compares their predictions.
pub fn run_cases(
    device: &Device,
    golden: &Golden,
    model: &Model,
    prefix: &str,
    compare: ComparePrediction,
) -> (Worst, usize) {
    let tolerance = golden.tolerance();
    let encoder = golden.checkpoint("encoder.safetensors");
    let cases = golden.checkpoint("cases.safetensors");
    let features = encode(device, model, &encoder);
    let mut worst = Worst::default();
    let expected = values(&encoder, &format!("{prefix}image_embeddings"));
    worst.compare("image_embeddings", &channels_first(device, &features.embedding), &expected, tolerance);
    let mut compared = 0;
    for (name, case) in golden.cases() {
        if prefix == "original." && case["original"] != true {
            continue;
        }
        let multimask = case["multimask_output"].as_bool().unwrap();
        for (i, image) in case["images"].as_array().unwrap().iter().enumerate() {
            let features = features.image(image.as_u64().unwrap() as usize).unwrap();
            let prompts = prompts(&cases, &name, i, multimask);
            let found = decode(device, model, &features, &prompts).unwrap();
            let expected = if prefix.is_empty() { name.clone() } else { format!("{name}.original") };
            compare(device, &mut worst, &found, &cases, &expected, i, tolerance);
            compared += 1;
        }
    }
    (worst, compared)
}
