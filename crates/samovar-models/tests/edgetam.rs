//! EdgeTAM against the original code and transformers, at tiny size, on pictures and through video, from both kinds of files.

mod common;

use std::collections::BTreeMap;

use common::pictures::{Published, run};
use common::sessions::{Changed, follow, sessions};
use common::{Golden, devices, reference, sides};
use samovar_models::{
    Capability, CatalogueEntry, Family, MemoryPlace, Model, ModelConfig, ModelWeights, ObjectPast, Parts,
    TrackedImage,
};
use samovar_tensor::{Device, Plan, ShapeOnly};
use samovar_weights::{ShapeSource, WeightSource};

/// Latents of a memory that look at all of a map, and those of windows.
const LATENTS: usize = 10;
const OF_WINDOWS: usize = 9;

fn config_of(golden: &Golden, file: &str) -> ModelConfig {
    ModelConfig::from_hf_json(&std::fs::read_to_string(golden.folder.join(file)).unwrap()).unwrap()
}

fn original(golden: &Golden) -> ModelWeights {
    ModelWeights::new(golden.checkpoint("original.pt"), None, None).unwrap()
}

fn hub(golden: &Golden) -> ModelWeights {
    ModelWeights::new(golden.checkpoint("model.safetensors"), None, None).unwrap()
}

fn tolerance_of_video(golden: &Golden) -> (f64, f64) {
    let tolerance = &golden.manifest["tolerance_of_video"];
    (tolerance["max_abs_over_std"].as_f64().unwrap(), tolerance["relative_l2"].as_f64().unwrap())
}

#[test]
fn a_folder_of_the_hub_agrees_with_upstream_on_pictures() {
    let golden = Golden::open("edgetam");
    let (video, image) = (config_of(&golden, "config.json"), config_of(&golden, "image.json"));
    assert_eq!([video.family(), image.family()], [Family::EdgeTam; 2]);
    assert_eq!(video.capabilities()[..2], *image.capabilities());
    assert!(video.can_track() && !image.can_track());
    // A picture needs no more of EdgeTamVideoModel than EdgeTamModel has.
    let device = reference();
    let model = Model::load(&device, &image, &hub(&golden)).unwrap();
    assert_eq!(run(&device, &golden, &model, true), 18);
    for device in devices() {
        let model = Model::load(&device, &video, &hub(&golden)).unwrap();
        assert_eq!(sides(&model), (96, 24));
        assert_eq!(run(&device, &golden, &model, true), 18);
    }
}

#[test]
fn an_original_file_says_all_but_its_input_square() {
    let golden = Golden::open("edgetam");
    for weights in [original(&golden), hub(&golden)] {
        let config = ModelConfig::infer(&weights).unwrap();
        assert_eq!(config.family(), Family::EdgeTam);
        assert_eq!(config.with_input_size(96).unwrap(), config_of(&golden, "config.json"));
    }
    for device in devices() {
        let config = ModelConfig::infer(&original(&golden)).unwrap().with_input_size(96).unwrap();
        let model = Model::load(&device, &config, &original(&golden)).unwrap();
        assert_eq!(run(&device, &golden, &model, false), 15);
    }
}

#[test]
fn an_original_file_follows_objects_as_upstream_in_all_sessions() {
    let golden = Golden::open("edgetam");
    let (device, config) = (reference(), config_of(&golden, "config.json"));
    let model = Model::load_parts(&device, &config, &original(&golden), Parts::ALL).unwrap();
    let rule = *model.tracker().unwrap().rule();
    assert_eq!([rule.memory_tokens, rule.memory_channels], [LATENTS + OF_WINDOWS, 16]);
    let sessions = sessions(&golden);
    assert_eq!(sessions.len(), 6);
    for (name, session) in &sessions {
        follow(&device, &model, &golden, tolerance_of_video(&golden), name, session);
    }
}

#[test]
fn a_folder_of_the_hub_follows_objects_on_every_device() {
    let golden = Golden::open("edgetam");
    for device in devices() {
        let config = config_of(&golden, "config.json");
        let model = Model::load_parts(&device, &config, &hub(&golden), Parts::ALL).unwrap();
        follow(&device, &model, &golden, tolerance_of_video(&golden), "short", &sessions(&golden)["short"]);
    }
}

#[test]
fn a_memory_with_a_tensor_missing_or_left_over_is_refused_by_name() {
    let golden = Golden::open("edgetam");
    let (device, file, config) = (reference(), original(&golden), config_of(&golden, "config.json"));
    let load = |config: &ModelConfig, file: &dyn WeightSource, parts: Parts| {
        Model::load_parts(&device, config, file, parts).map(|_| ()).map_err(|error| error.to_string())
    };
    let names: Vec<String> =
        file.names().into_iter().filter(|name| name.starts_with("spatial_perceiver.")).collect();
    assert_eq!(names.len(), 2 * 20 + 4);
    for name in &names {
        let lacking = Changed::without(&file, &[name]);
        let refused = load(&config, &lacking, Parts::TRACKER).unwrap_err();
        // Of keys and values the halves are missed, which transformers has.
        let is_told = refused.contains("no such tensor") || refused.contains(name.as_str());
        assert!(is_told || name.ends_with("to_kv.weight"), "{name}: {refused}");
        load(&config, &lacking, Parts::IMAGES).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // SAM 2's memory has no use for it.
    let json = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
    for (from, to, words) in [
        (
            "\"memory_encoder_output_channels\": 16",
            "\"memory_encoder_output_channels\": 8",
            "16 channels for memories of 8",
        ),
        (
            "\"perceiver_resampler_num_latents_2d\": 9",
            "\"perceiver_resampler_num_latents_2d\": 16",
            "rope_k_sizes",
        ),
        (
            "\"perceiver_resampler_num_latents_2d\": 9",
            "\"perceiver_resampler_num_latents_2d\": 8",
            "num_latents_2d is 8",
        ),
        ("\"perceiver_resampler_num_latents\": 10", "\"perceiver_resampler_num_latents\": 0", "latents is 0"),
    ] {
        assert!(json.contains(from), "{from}");
        let changed = ModelConfig::from_hf_json(&json.replacen(from, to, 1)).unwrap();
        let refused = load(&changed, &file, Parts::TRACKER).unwrap_err();
        assert!(refused.contains(words), "{refused}");
        load(&changed, &file, Parts::IMAGES).unwrap_or_else(|error| panic!("{from}: {error}"));
    }
    // Windows tile the map, so not every input square has memories; pictures have it.
    let odd = config.with_input_size(128).unwrap();
    let refused = load(&odd, &file, Parts::TRACKER).unwrap_err();
    assert!(refused.contains("3x3 windows do not tile 8x8 cells"), "{refused}");
    load(&odd, &file, Parts::IMAGES).unwrap();
}

#[test]
fn a_config_that_no_edgetam_has_is_refused_by_its_key() {
    let golden = Golden::open("edgetam");
    let json = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
    for (from, to, words) in [
        ("\"architecture\": \"repvit_m1\"", "\"architecture\": \"repvit_m2\"", "architecture"),
        ("\"features_only\": true", "\"features_only\": false", "features_only"),
        ("\"in_chans\": 3", "\"in_chans\": 4", "in_chans"),
        ("\"in_chans\": 3", "\"mlp_ratio\": 3", "mlp_ratio"),
        ("\"model_type\": \"timm_wrapper\"", "\"model_type\": \"sam2_hiera_det_model\"", "timm_wrapper"),
        ("\"fpn_hidden_size\": 32", "\"fpn_hidden_size\": 64", "fpn_hidden_size"),
    ] {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json, "{from}");
        let refused = ModelConfig::from_hf_json(&changed).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    // transformers leaves out what is as it is by default, and writes the names of ImageNet's classes.
    let published = r#"{"model_type": "edgetam_video", "enable_occlusion_spatial_embedding": false,
        "enable_temporal_pos_encoding_for_object_pointers": false, "vision_config": {"backbone_config": {
        "architecture": "repvit_m1", "label_names": ["tench"], "num_classes": 1000, "model_type": "timm_wrapper",
        "model_args": {"features_only": true, "in_chans": 3, "out_indices": [0, 1, 2, 3]}}}}"#;
    let published = ModelConfig::from_hf_json(published).unwrap();
    assert_eq!(Some(published), ModelConfig::from_catalogue("edgetam"));
}

/// Names and shapes as upstream's own configuration makes them.
#[test]
fn the_published_file_tells_its_dimensions() {
    let golden = Golden::open("edgetam");
    let json = std::fs::read_to_string(golden.folder.join("shapes.json")).unwrap();
    let tensors: BTreeMap<String, String> = serde_json::from_str(&json).unwrap();
    let source = Published::new(&tensors);
    let config = ModelConfig::infer(&source).unwrap();
    assert_eq!(Some(config.clone()), CatalogueEntry::find("edgetam.pt").map(CatalogueEntry::config));
    assert!(config.capabilities().contains(&Capability::Tracker));
    let device = reference().shape_only(ShapeOnly::new());
    Model::load_parts(&device, &config, &source, Parts::ALL).unwrap();
}

/// What the published model takes for an object of which seven memories and 16 pointers are kept.
fn planned(device: &Device) -> Plan {
    let config = ModelConfig::from_catalogue("edgetam").unwrap();
    let plan = device.plan(
        |device| Model::load_parts(device, &config, &ShapeSource, Parts::ALL),
        |device, model| {
            let (tracker, segmenter) = (model.tracker()?, model.promptable_segmenter()?);
            assert_eq!(tracker.rule().memory_tokens, 512);
            let pixels = device.upload([1, 1024, 1024, 3], &[])?;
            let mut image = TrackedImage::new(model.image_encoder()?.encode(device, &pixels)?)?;
            let memory = device.filled([512, 64], 0.0)?;
            let places = (1..7).map(MemoryPlace::Recent).chain([MemoryPlace::Conditioning]);
            let pointer = vec![0.0; 256];
            let past = ObjectPast {
                memories: places.map(|place| (&memory, place)).collect(),
                pointers: (0..16).map(|distance| (pointer.as_slice(), distance)).collect(),
                pointers_at_most: 16,
            };
            let features = tracker.attend(device, &mut image, &past)?;
            let found = tracker.answer(device, &**segmenter, &features, None)?;
            let memory = tracker.remember(device, &mut image, &found, false)?;
            assert_eq!(memory.dims(), [512, 64]);
            Ok::<(), samovar_models::Error>(())
        },
    );
    plan.unwrap()
}

/// Sizes known beforehand are those that are taken: a full bank.
#[test]
fn a_full_bank_is_planned_on_shapes() {
    let plan = planned(&Device::reference());
    let operations = |stage: &str| -> u64 {
        let of_stage = plan.operators.iter().filter(|((of, _), _)| *of == stage);
        of_stage.map(|(_, total)| total.cost.operations).sum()
    };
    // Multiplications of memory attention, two operations each, in billions: 17.2 within the image, 11.4 of layers, 6.0 of attention to
    // 1,792 tokens by column and row and 1,856 beside them. Of memories that are not compressed there are 28,736 tokens.
    let attention = operations("memory attention") / 1_000_000_000;
    assert!((66..74).contains(&attention), "{attention}");
    let encoder = operations("memory encoder") / 1_000_000_000;
    assert!((11..14).contains(&encoder), "{encoder}");
    let perceiver = operations("perceiver") / 1_000_000;
    assert!((800..1000).contains(&perceiver), "{perceiver}");
}
