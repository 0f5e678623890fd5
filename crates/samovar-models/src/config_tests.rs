use std::collections::BTreeMap;

use samovar_tensor::{DType, Device, Shape, ShapeOnly, Tensor};
use samovar_weights::{Result, ShapeSource, WeightSource};
use serde_json::{Value, json};

use samovar_geometry::{Box2, Point};

use crate::names::Named;
use crate::{
    Family, MaskOutput, MemoryPlace, Model, ModelConfig, ObjectPast, Parts, PromptBatch, TrackedImage,
};

fn refusal(json: &str) -> String {
    ModelConfig::from_hf_json(json).expect_err(json).to_string()
}

/// A configuration that is accepted must survive everything on shapes alone.
fn run_on_shapes(config: &ModelConfig) {
    let device = Device::reference().shape_only(ShapeOnly::new());
    let model = Model::load_parts(&device, config, &ShapeSource, Parts::ALL).expect("loads");
    assert_eq!(model.capabilities().list(), config.capabilities());
    let (encoder, segmenter) = (model.image_encoder().unwrap(), model.promptable_segmenter().unwrap());
    assert_eq!(encoder.preprocessing().canvas(), segmenter.input_size());
    let pixels = device.upload(encoder.preprocessing().pixels_shape(1), &[]).expect("pixels");
    let features = encoder.encode(&device, &pixels).expect("encodes");
    let mut prompts = PromptBatch {
        prompts: 2,
        points: vec![Point::new(1.0, 2.0); 4],
        labels: vec![1; 4],
        ..Default::default()
    };
    segmenter.decode(&device, &features, &prompts).expect("decodes");
    prompts.output = MaskOutput::Multimask;
    prompts.boxes = vec![Box2::new(0.0, 0.0, 5.0, 5.0); 2];
    segmenter.decode(&device, &features, &prompts).expect("decodes");
    let Ok(tracker) = model.tracker() else { return };
    let rule = *tracker.rule();
    let mut image = TrackedImage::new(features).expect("one image");
    let memory = device.filled([rule.memory_tokens, rule.memory_channels], 0.0).expect("memory");
    let pointer = vec![0.0; rule.pointer_channels];
    let past = ObjectPast {
        memories: vec![(&memory, MemoryPlace::Conditioning), (&memory, MemoryPlace::Recent(rule.recent))],
        pointers: vec![(&pointer, 40)],
        pointers_at_most: rule.pointers,
    };
    let attended = tracker.attend(&device, &mut image, &past).expect("attends");
    let found = tracker.answer(&device, &**segmenter, &attended, None).expect("answers");
    let memory = tracker.remember(&device, &mut image, &found, false).expect("remembers");
    assert_eq!(memory.dims(), past.memories[0].0.dims());
}

#[test]
fn published_configurations_are_read() {
    // What transformers writes for facebook/sam-vit-base, with everything that has its default value left out.
    let base = ModelConfig::from_hf_json(r#"{"model_type":"sam","architectures":["SamModel"]}"#).unwrap();
    assert_eq!(Some(base), ModelConfig::from_catalogue("facebook/sam-vit-base"));
    let huge = json!({"model_type": "sam", "vision_config": {"hidden_size": 1280, "num_hidden_layers": 32,
        "num_attention_heads": 16, "global_attn_indexes": [7, 15, 23, 31], "mlp_dim": null, "image_size": [1024, 1024]}});
    let huge = ModelConfig::from_hf_json(&huge.to_string()).unwrap();
    assert_eq!(Some(huge), ModelConfig::from_catalogue("facebook/sam-vit-huge"));
    let base =
        ModelConfig::from_hf_json(r#"{"model_type":"sam_hq","architectures":["SamHQModel"]}"#).unwrap();
    assert_eq!(Some(base), ModelConfig::from_catalogue("syscv-community/sam-hq-vit-base"));
    let large = json!({"model_type": "sam_hq", "vision_config": {"hidden_size": 1024, "num_hidden_layers": 24,
        "num_attention_heads": 16, "global_attn_indexes": [5, 11, 17, 23]}, "mask_decoder_config": {"vit_dim": 1024}});
    let large = ModelConfig::from_hf_json(&large.to_string()).unwrap();
    assert_eq!(Some(large), ModelConfig::from_catalogue("syscv-community/sam-hq-vit-large"));
}

#[test]
fn a_sam_hq_reads_a_map_that_its_encoder_makes() {
    let other = json!({"model_type": "sam_hq", "mask_decoder_config": {"vit_dim": 1024}});
    let refused = refusal(&other.to_string());
    assert!(refused.contains("1024 channels (vit_dim); it has 768"), "{refused}");
    let windows = json!({"model_type": "sam_hq", "vision_config": {"global_attn_indexes": []}});
    assert!(
        refusal(&windows.to_string()).contains("first global block"),
        "{}",
        refusal(&windows.to_string())
    );
    // Without windows every block is global, and the first of them is the first.
    let global = json!({"model_type": "sam_hq", "vision_config": {"global_attn_indexes": [], "window_size": 0,
        "num_hidden_layers": 2, "image_size": 64}});
    run_on_shapes(&ModelConfig::from_hf_json(&global.to_string()).unwrap());
}

#[test]
fn pruned_models_state_their_own_width() {
    // SlimSAM: heads keep their number, everything else shrinks.
    let slim = json!({"model_type": "sam", "vision_config": {"hidden_size": 168, "mlp_dim": 696}});
    run_on_shapes(&ModelConfig::from_hf_json(&slim.to_string()).unwrap());
}

#[test]
fn other_models_are_named() {
    assert!(refusal(r#"{"model_type":"sam3"}"#).contains("`sam3`"));
    assert!(refusal("{}").contains("no model_type"));
    assert!(refusal("nonsense").contains("config.json: "));
    assert!(refusal(&"[".repeat(100_000)).contains("config.json: "));
    let quick = json!({"model_type": "sam", "vision_config": {"hidden_act": "quick_gelu"}});
    assert!(refusal(&quick.to_string()).contains("`quick_gelu`, expected `gelu`"));
    let flat = json!({"model_type": "sam", "vision_config": {"image_size": [1024, 768]}});
    assert!(refusal(&flat.to_string()).contains("1024x768 is not square"));
}

/// Every number of a configuration, replaced by every hostile one.
#[test]
fn no_number_of_a_configuration_is_believed() {
    let sam = json!({"model_type": "sam",
        "vision_config": {"hidden_size": 64, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_channels": 3, "image_size": 64, "patch_size": 16, "layer_norm_eps": 1e-6, "mlp_ratio": 4.0,
            "mlp_dim": 96, "window_size": 3, "global_attn_indexes": [1], "num_pos_feats": 16},
        "prompt_encoder_config": {"hidden_size": 32, "mask_input_channels": 16, "num_point_embeddings": 4,
            "layer_norm_eps": 1e-6},
        "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 40, "num_hidden_layers": 2, "num_attention_heads": 8,
            "attention_downsample_rate": 2, "num_multimask_outputs": 3, "iou_head_depth": 3,
            "iou_head_hidden_dim": 20, "layer_norm_eps": 1e-6}});
    let mut sam_hq = sam.clone();
    sam_hq["model_type"] = json!("sam_hq");
    sam_hq["mask_decoder_config"]["vit_dim"] = json!(64);
    let sam_2 = small_sam_2();
    let nano = json!({"model_type": "nano", "image_size": 64, "patch_size": 16, "stem_channels": 8, "trunk":
        [[1, 4, 1, 1, 1, 1], [6, 6, 2, 2, 1, 1], [6, 8, 2, 2, 1, 1], [2, 8, 2, 2, 1, 1], [2, 20, 1, 1, 2, 2]],
        "taps": [0, 2, 4, 7], "embed_dim": 16, "vit_depth": 1, "vit_heads": 2, "vit_mlp_dim": 24, "fpn_dim_8": 8,
        "fpn_dim_4": 4, "dense_mid_channels": [4, 8], "decoder_depth": 2, "decoder_heads": 2,
        "attention_downsample_rate": 2, "decoder_mlp_dim": 24, "iou_head_hidden_dim": 12, "num_multimask_outputs": 3,
        "refine_blocks_8": 1, "refine_blocks_4": 1, "refine_kernel": 5, "layer_norm_eps": 1e-6, "click_sigma": 1.5,
        "mask_clamp": 10.0, "pixel_std": [127.5, 127.5, 127.5]});
    let hostile = [
        json!(0),
        json!(1),
        json!(2),
        json!(3),
        json!(7),
        json!(1000),
        json!(65_536),
        json!(65_537),
        json!(8192),
        json!(u64::MAX),
        json!(u64::MAX / 2 + 1),
        json!(1u64 << 32),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(-0.0),
        json!("1"),
        json!(null),
        json!([]),
        json!([0, 0]),
        json!([u64::MAX]),
        json!({}),
    ];
    let mut accepted = 0;
    for config in [sam, sam_hq, sam_2, nano] {
        run_on_shapes(&ModelConfig::from_hf_json(&config.to_string()).unwrap());
        for path in numbers(&config) {
            for value in &hostile {
                let mut changed = config.clone();
                *changed.pointer_mut(&path).unwrap() = value.clone();
                if let Ok(config) = ModelConfig::from_hf_json(&changed.to_string()) {
                    run_on_shapes(&config);
                    accepted += 1;
                }
            }
        }
    }
    assert!(accepted > 50, "{accepted}");
}

/// JSON pointers to all numbers.
fn numbers(value: &Value) -> Vec<String> {
    let below = |key: String, value: &Value| {
        numbers(value).into_iter().map(move |rest| format!("/{key}{rest}")).collect::<Vec<_>>()
    };
    match value {
        Value::Number(_) => vec![String::new()],
        Value::Array(list) => {
            list.iter().enumerate().flat_map(|(i, value)| below(i.to_string(), value)).collect()
        }
        Value::Object(map) => map.iter().flat_map(|(key, value)| below(key.clone(), value)).collect(),
        _ => Vec::new(),
    }
}

/// The shapes of a checkpoint without its values, one of them changed or missing.
struct Shapes<'a> {
    shapes: &'a BTreeMap<String, Vec<usize>>,
    changed: &'a str,
    dims: Option<&'a [usize]>,
}

impl WeightSource for Shapes<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match self.shape(name) {
            Some(found) if found.dims() == shape => Ok(Tensor::shape_only(found, DType::F32)),
            _ => Err(samovar_weights::Error::Missing {
                file: self.origin(),
                tensor: name.into(),
                hint: "".into(),
            }),
        }
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        let dims = if name == self.changed { self.dims } else { self.shapes.get(name).map(Vec::as_slice) };
        Shape::try_new(dims?)
    }

    fn names(&self) -> Vec<String> {
        self.shapes.keys().cloned().collect()
    }

    fn origin(&self) -> String {
        "changed".into()
    }
}

/// A SAM 2 with as many blocks as the smallest published one.
fn small_sam_2() -> serde_json::Value {
    json!({"model_type": "sam2",
        "vision_config": {"backbone_config": {"hidden_size": 2, "num_attention_heads": 1, "num_channels": 3,
            "image_size": 64, "patch_kernel_size": 7, "patch_stride": 4, "patch_padding": 3, "query_stride": 2,
            "window_positional_embedding_background_size": [3, 2], "num_query_pool_stages": 3,
            "blocks_per_stage": [1, 2, 7, 2], "embed_dim_per_stage": [2, 4, 8, 16],
            "num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [8, 4, 14, 7],
            "global_attention_blocks": [5, 7, 9], "mlp_ratio": 4.0, "layer_norm_eps": 1e-6},
            "backbone_channel_list": [16, 8, 4, 2], "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 32, "fpn_kernel_size": 1, "fpn_stride": 1, "fpn_padding": 0,
            "fpn_top_down_levels": [2, 3], "num_feature_levels": 3},
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 16,
            "num_point_embeddings": 4, "layer_norm_eps": 1e-6},
        "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 40, "num_hidden_layers": 2, "num_attention_heads": 8,
            "attention_downsample_rate": 2, "num_multimask_outputs": 3, "iou_head_depth": 3,
            "iou_head_hidden_dim": 20, "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98}})
}

/// Names and shapes of the tensors a model asks for.
fn shapes_of(config: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
    struct Asked(std::cell::RefCell<BTreeMap<String, Vec<usize>>>);

    impl WeightSource for Asked {
        fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
            self.0.borrow_mut().insert(name.to_owned(), shape.to_vec());
            ShapeSource.tensor(name, shape)
        }

        fn shape(&self, _: &str) -> Option<Shape> {
            None
        }

        fn names(&self) -> Vec<String> {
            Vec::new()
        }

        fn origin(&self) -> String {
            "asked".into()
        }
    }

    let asked = Asked(std::cell::RefCell::default());
    let device = Device::reference().shape_only(ShapeOnly::new());
    Model::load(&device, config, &asked).unwrap();
    asked.0.into_inner()
}

/// Every shape of a checkpoint, replaced by every hostile one.
#[test]
fn no_shape_of_a_checkpoint_is_believed() {
    let goldens = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens");
    for (file, family) in [
        ("sam1/original.pth", Family::Sam),
        ("mobile_sam/mobile_sam.pt", Family::MobileSam),
        ("sam_hq/original.pth", Family::SamHq),
        ("sam_hq/light.pth", Family::SamHq),
        ("edgetam/model.safetensors", Family::EdgeTam),
        ("", Family::Sam2),
    ] {
        let shapes = match file {
            // The golden is of no published size.
            "" => shapes_of(&ModelConfig::from_hf_json(&small_sam_2().to_string()).unwrap()),
            file => {
                let golden = samovar_weights::Checkpoint::open(goldens.join(file)).unwrap();
                // Renaming three hundred tensors three thousand times would take a minute.
                let named = Named::new(&golden).unwrap();
                let shape = |name: String| Some((name.clone(), named.source().shape(&name)?.dims().to_vec()));
                named.source().names().into_iter().filter_map(shape).collect::<BTreeMap<_, _>>()
            }
        };
        let load = |changed: &str, dims: Option<&[usize]>| {
            let source = Shapes { shapes: &shapes, changed, dims };
            let device = Device::reference().shape_only(ShapeOnly::new());
            let config = ModelConfig::infer(&source)?;
            Model::load(&device, &config, &source).map(|_| config.family())
        };
        assert_eq!(load("", None).unwrap(), family);
        for (name, dims) in &shapes {
            let mut hostile =
                vec![vec![], vec![0; dims.len()], vec![1; dims.len()], vec![1 << 30; dims.len()]];
            for axis in 0..dims.len() {
                for dim in [0, 1, dims[axis] + 1, 1 << 55] {
                    let mut changed = dims.clone();
                    changed[axis] = dim;
                    hostile.push(changed);
                }
            }
            for dims in hostile {
                let _ = load(name, Some(&dims));
            }
            let _ = load(name, None);
        }
    }
}

#[test]
fn input_sizes_change_where_nothing_depends_on_them() {
    let size = |id: &str, size| ModelConfig::from_catalogue(id).unwrap().with_input_size(size);
    run_on_shapes(&size("nano", 1024).unwrap());
    run_on_shapes(&size("mobile_sam", 512).unwrap());
    run_on_shapes(&size("sam_hq_vit_tiny", 512).unwrap());
    run_on_shapes(&size("facebook/sam2.1-hiera-tiny", 512).unwrap());
    assert!(size("facebook/sam2.1-hiera-tiny", 528).is_err());
    run_on_shapes(&size("edgetam", 512).unwrap());
    assert!(size("edgetam", 528).is_err());
    assert!(size("nano", 500).is_err());
    assert!(size("mobile_sam", 1000).is_err());
    assert!(size("facebook/sam-vit-base", 512).unwrap_err().to_string().contains("input squares of 1024"));
    assert!(size("nano", 0).is_err());
    assert!(size("nano", usize::MAX).is_err());
}
