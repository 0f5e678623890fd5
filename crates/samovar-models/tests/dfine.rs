//! D-FINE against transformers and against the authors' code, at tiny size.

mod common;

use std::collections::BTreeMap;

use common::{Golden, Worst, devices, download, reference, values};
use samovar_models::{CatalogueEntry, Detections, Error, Family, Model, ModelConfig, ModelWeights, Parts};
use samovar_tensor::{Device, Shape, Tensor};
use samovar_weights::{Checkpoint, WeightSource};

/// The configuration of a golden's folder.
fn config(golden: &Golden) -> ModelConfig {
    let read = |file: &str| std::fs::read_to_string(golden.folder.join(file)).unwrap();
    let config = ModelConfig::from_hf_json(&read("config.json")).unwrap();
    config.with_preprocessor(&read("preprocessor_config.json")).unwrap()
}

fn weights(golden: &Golden, file: &str) -> ModelWeights {
    ModelWeights::new(golden.checkpoint(file), None, None).unwrap()
}

/// The golden's pixels, channels last, each as often as the manifest says along both sides.
fn pixels(golden: &Golden, device: &Device, tensors: &Checkpoint) -> Tensor {
    let drawn = tensors.any_tensor("pixel_values").unwrap();
    let [images, colours, cells, _] = drawn.shape().fixed("pixels").unwrap();
    let repeat = golden.manifest["repeat"].as_u64().unwrap() as usize;
    let (drawn, side) = (drawn.to_f32_vec().unwrap(), cells * repeat);
    device
        .upload_with([images, side, side, colours], |to| {
            for (i, to) in to.iter_mut().enumerate() {
                let (colour, x) = (i % colours, i / colours % side);
                let (y, image) = (i / colours / side % side, i / colours / side / side);
                let cell = (y / repeat) * cells + x / repeat;
                *to = drawn[(image * colours + colour) * cells * cells + cell];
            }
        })
        .unwrap()
}

fn detect(golden: &Golden, device: &Device, model: &Model, tensors: &Checkpoint) -> Detections {
    model.detector().unwrap().detect(device, &pixels(golden, device, tensors)).unwrap()
}

fn agrees(device: &Device, name: &str, file: &str) -> Worst {
    let golden = Golden::open(&format!("dfine/{name}"));
    let tensors = golden.checkpoint("tensors.safetensors");
    let model = Model::load(device, &config(&golden), &weights(&golden, file)).unwrap();
    let detections = detect(&golden, device, &model, &tensors);
    let classes = golden.manifest["classes"].as_array().unwrap();
    assert!(model.detector().unwrap().classes().iter().eq(classes.iter().map(|c| c.as_str().unwrap())));
    let queries = golden.manifest["queries"].as_u64().unwrap() as usize;
    assert_eq!(detections.boxes.dims(), [2, queries, 4]);
    assert_eq!(detections.class_logits.dims(), [2, queries, classes.len()]);
    let mut worst = Worst::default();
    for (output, found) in [("logits", &detections.class_logits), ("pred_boxes", &detections.boxes)] {
        let expected = values(&tensors, output);
        worst.compare(
            &format!("{name} {file} {output}"),
            &download(device, found),
            &expected,
            golden.tolerance(),
        );
    }
    worst
}

#[test]
fn agrees_with_transformers_and_with_the_authors_code() {
    for device in devices() {
        for (name, file) in [
            ("s", "model.safetensors"),
            ("s", "original.pth"),
            ("n", "model.safetensors"),
            ("x", "model.safetensors"),
            ("x", "original.pth"),
        ] {
            println!("{} {name} {file}: {:?}", device.name(), agrees(&device, name, file));
        }
    }
}

#[test]
fn says_what_it_is_and_can() {
    let golden = Golden::open("dfine/s");
    let device = reference();
    let config = config(&golden);
    assert_eq!((config.family(), config.family().to_string()), (Family::DFine, "d_fine".into()));
    assert_eq!(config.classes().len(), 7);
    assert!(!config.can_track());
    let canvas = config.preprocessing().canvas();
    assert_eq!([canvas.width, canvas.height], [96, 96]);
    assert_eq!((config.preprocessing().mean, config.preprocessing().std), ([0.0; 3], [1.0; 3]));
    let model = Model::load(&device, &config, &weights(&golden, "model.safetensors")).unwrap();
    let Err(Error::Capability { family, capable, .. }) = model.promptable_segmenter() else {
        panic!("a detector that segments");
    };
    assert!(family == "d_fine" && capable.contains("sam-vit-base"), "{family}: {capable}");
    assert!(Model::load_parts(&device, &config, &weights(&golden, "model.safetensors"), Parts::ALL).is_ok());
    for (shape, what) in [([1, 96, 95, 3], "expected [images, 96, 96, 3]"), ([0, 96, 96, 3], "expected")] {
        let pixels = device.upload_with(shape, |values| values.fill(0.0)).unwrap();
        let message = model.detector().unwrap().detect(&device, &pixels).unwrap_err().to_string();
        assert!(message.contains(what), "{message}");
    }
}

/// Images side by side are those images one by one.
#[test]
fn images_in_one_batch_do_not_touch_each_other() {
    let golden = Golden::open("dfine/n");
    let device = reference();
    let tensors = golden.checkpoint("tensors.safetensors");
    let model = Model::load(&device, &config(&golden), &weights(&golden, "model.safetensors")).unwrap();
    let pixels = pixels(&golden, &device, &tensors);
    let detect = |pixels: &Tensor| model.detector().unwrap().detect(&device, pixels).unwrap();
    let both = detect(&pixels);
    for image in 0..2 {
        let alone = detect(&pixels.narrow(image, 1).unwrap());
        for (alone, both) in [(&alone.boxes, &both.boxes), (&alone.class_logits, &both.class_logits)] {
            let both = both.narrow(image, 1).unwrap();
            assert_eq!(alone.to_f32_vec().unwrap(), both.to_f32_vec().unwrap());
        }
    }
}

#[test]
fn another_input_size_moves_the_cells() {
    let golden = Golden::open("dfine/s");
    let device = reference();
    let larger = config(&golden).with_input_size(128).unwrap();
    let model = Model::load(&device, &larger, &weights(&golden, "model.safetensors")).unwrap();
    let pixels = device.upload_with([1, 128, 128, 3], |values| values.fill(0.5)).unwrap();
    assert_eq!(model.detector().unwrap().detect(&device, &pixels).unwrap().boxes.dims(), [1, 14, 4]);
    let refused = config(&golden).with_input_size(100).unwrap_err().to_string();
    assert!(refused.contains("input size 100 is not a multiple of 32"), "{refused}");
}

#[test]
fn a_file_that_is_another_model_is_refused() {
    let (s, x) = (Golden::open("dfine/s"), Golden::open("dfine/x"));
    let device = reference();
    let load = |config: &Golden, weights: ModelWeights| Model::load(&device, &self::config(config), &weights);
    let refused = load(&s, weights(&x, "model.safetensors")).err().unwrap().to_string();
    assert!(refused.contains("expected [4, 6, 3, 3], found [4, 8, 3, 3]"), "{refused}");
    let sam = Golden::open("sam1");
    let refused = load(&s, ModelWeights::new(sam.checkpoint("model.safetensors"), None, None).unwrap());
    assert!(refused.err().unwrap().to_string().contains("model.backbone"), "names the tensor");
    // Heads stand in no tensor, and these have no published number of places.
    let refused = ModelConfig::infer(&weights(&s, "original.pth")).unwrap_err().to_string();
    assert!(
        refused.contains("places of attention in 3 levels") && refused.contains("config.json"),
        "{refused}"
    );
}

#[test]
fn configurations_that_no_published_model_has_are_refused() {
    let golden = Golden::open("dfine/s");
    let json = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let refused = |pointer: &str, value: serde_json::Value, what: &str| {
        let mut changed = json.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let error = ModelConfig::from_hf_json(&changed.to_string()).expect_err(pointer).to_string();
        assert!(error.contains(what), "{pointer}: {error}");
    };
    refused("/eval_size", serde_json::json!([96, 96]), "eval_size");
    refused("/decoder_method", "discrete".into(), "decoder_method");
    refused("/normalize_before", true.into(), "normalize_before");
    refused("/eval_idx", 0.into(), "eval_idx");
    refused("/lqe_layers", 3.into(), "lqe_layers");
    refused("/feat_strides", serde_json::json!([8, 16, 64]), "feat_strides");
    refused("/encode_proj_layers", serde_json::json!([1]), "encode_proj_layers");
    refused("/decoder_n_points", serde_json::json!([3, 6]), "points");
    refused("/decoder_n_points", serde_json::json!([3, 6, 100_000]), "points");
    refused("/num_queries", 0.into(), "queries");
    refused("/num_queries", 100_000.into(), "queries");
    refused("/max_num_bins", 33.into(), "bins");
    refused("/d_model", 17.into(), "heads");
    refused("/hidden_expansion", 1e300.into(), "hidden_expansion");
    refused("/id2label", serde_json::json!({"0": "a", "2": "b"}), "id2label");
    refused("/backbone_config/stage_in_channels", serde_json::json!([1, 2, 3, 4]), "stage_in_channels");
    refused("/backbone_config/stage_kernel_size", serde_json::json!([3, 3, 4, 5]), "kernel");
    refused("/backbone_config/out_indices", serde_json::json!([1, 2, 3]), "out_indices");
    refused("/backbone_config/stem_channels", serde_json::json!([3, 7, 6]), "even");
}

/// Shapes of a published file.
struct Published(BTreeMap<String, Shape>);

impl WeightSource for Published {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        let found = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(found.dims(), shape, "{name}");
        Ok(Tensor::shape_only(*found, samovar_tensor::DType::F32))
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.0.get(name).copied()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn origin(&self) -> String {
        "published".into()
    }
}

/// Names and shapes as the authors' own configurations make them: every model of the catalogue is read off them, and loads without
/// a tensor left over.
#[test]
fn published_files_tell_their_dimensions() {
    let folder = Golden::open("dfine/s").folder;
    let json = std::fs::read_to_string(folder.join("../shapes.json")).unwrap();
    let files: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&json).unwrap();
    assert_eq!(files.len(), 5);
    let device = reference().shape_only(samovar_tensor::ShapeOnly::new());
    for (file, tensors) in files {
        let shape = |shape: &String| -> Shape {
            let dims: Vec<usize> =
                shape.split('x').filter(|dim| !dim.is_empty()).map(|dim| dim.parse().unwrap()).collect();
            Shape::new(&dims)
        };
        let source = Published(tensors.iter().map(|(name, dims)| (name.clone(), shape(dims))).collect());
        let config = ModelConfig::infer(&source).unwrap();
        assert_eq!(Some(config.clone()), CatalogueEntry::find(&file).map(CatalogueEntry::config), "{file}");
        Model::load(&device, &config, &source).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}
