//! SAM 2 on images against the original code and transformers, at tiny size, from both kinds of files.

mod common;

use std::collections::BTreeMap;

use common::pictures::{Published, run};
use common::{Golden, Worst, decode, devices, download, encode, prompts, reference, sides};
use samovar_models::{CatalogueEntry, Family, ImageFeatures, MaskChoice, Model, ModelConfig, ModelWeights};

fn golden_config(golden: &Golden, file: &str) -> ModelConfig {
    ModelConfig::from_hf_json(&std::fs::read_to_string(golden.folder.join(file)).unwrap()).unwrap()
}

#[test]
fn a_folder_of_the_hub_agrees_with_upstream() {
    let golden = Golden::open("sam2");
    let (video, image) = (golden_config(&golden, "config.json"), golden_config(&golden, "image.json"));
    assert_eq!(video.family(), Family::Sam2);
    assert_eq!(video.capabilities()[..2], *image.capabilities());
    // A picture needs no more of Sam2VideoModel than Sam2Model has. The memory of this one has names alone.
    let device = reference();
    let model = Model::load(&device, &image, &golden.checkpoint("model.safetensors")).unwrap();
    assert_eq!(run(&device, &golden, &model, true), 18);
    for device in devices() {
        let model = Model::load(&device, &video, &golden.checkpoint("model.safetensors")).unwrap();
        assert_eq!(sides(&model), (96, 24));
        assert_eq!(run(&device, &golden, &model, true), 18);
    }
}

#[test]
fn an_original_file_agrees_with_upstream() {
    let golden = Golden::open("sam2");
    let config = golden_config(&golden, "config.json");
    for device in devices() {
        // No tensor tells windows and heads of a model that is not published.
        let weights = ModelWeights::new(golden.checkpoint("original.pt"), None, None).unwrap();
        let model = Model::load(&device, &config, &weights).unwrap();
        assert_eq!(run(&device, &golden, &model, false), 15);
    }
}

#[test]
fn features_with_memories_get_no_vector_in_their_place() {
    let golden = Golden::open("sam2");
    let device = reference();
    let weights = golden.checkpoint("model.safetensors");
    let model = Model::load(&device, &golden_config(&golden, "config.json"), &weights).unwrap();
    let cases = golden.checkpoint("cases.safetensors");
    let features = encode(&device, &model, &golden.checkpoint("encoder.safetensors")).image(0).unwrap();
    let segmenter = model.promptable_segmenter().unwrap();
    let conditioned = ImageFeatures {
        embedding: segmenter.decoder_embedding(&device, &features).unwrap(),
        is_conditioned: true,
        ..features.clone()
    };
    assert_eq!(
        download(&device, &segmenter.decoder_embedding(&device, &conditioned).unwrap()),
        download(&device, &conditioned.embedding)
    );
    let mut worst = Worst::default();
    for case in ["box", "mask_and_point"] {
        let batch = prompts(&cases, case, 0, true);
        let expected = decode(&device, &model, &features, &batch).unwrap();
        let found = decode(&device, &model, &conditioned, &batch).unwrap();
        let [found, expected] = [&found, &expected].map(|masks| download(&device, &masks.logits));
        worst.compare(case, &found, &expected, golden.tolerance());
        let unaware = ImageFeatures { is_conditioned: false, ..conditioned.clone() };
        let wrong = download(&device, &decode(&device, &model, &unaware, &batch).unwrap().logits);
        let apart = wrong.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart > 1e-2, "{case}: the vector makes no difference");
    }
}

#[test]
fn a_single_mask_is_taken_where_it_is_stable() {
    let golden = Golden::open("sam2");
    let config = golden_config(&golden, "config.json");
    let rule = config.recommendations().mask_rule;
    assert_eq!(rule.one_click, MaskChoice::BestOfMultimask);
    assert_eq!(rule.otherwise, MaskChoice::SingleIfStable { offset: 0.05, threshold: 0.98 });
    let json = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
    let off = json
        .replace("\"dynamic_multimask_via_stability\": true", "\"dynamic_multimask_via_stability\": false");
    assert_ne!(off, json);
    let off = ModelConfig::from_hf_json(&off).unwrap();
    assert_eq!(off.recommendations().mask_rule.otherwise, MaskChoice::Single);
}

#[test]
fn a_config_that_no_sam_2_has_is_refused_by_its_key() {
    let golden = Golden::open("sam2");
    let json = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
    for (from, to, words) in [
        (
            "\"fpn_top_down_levels\": [\n      2,",
            "\"fpn_top_down_levels\": [\n      1,",
            "fpn_top_down_levels",
        ),
        ("\"num_query_pool_stages\": 3", "\"num_query_pool_stages\": 2", "num_query_pool_stages"),
        ("\"fpn_hidden_size\": 32", "\"fpn_hidden_size\": 64", "fpn_hidden_size"),
        ("\"patch_size\": 16", "\"patch_size\": 14", "patch_size"),
        ("\"mlp_ratio\": 4.0", "\"mlp_ratio\": -1.0", "mlp_ratio"),
        ("\"hidden_size\": 4", "\"hidden_size\": 5", "hidden_size"),
    ] {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json, "{from}");
        let refused = ModelConfig::from_hf_json(&changed).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

/// Names and shapes as upstream's own configurations make them: every model of the catalogue is read off them, and loads without a
/// tensor left over.
#[test]
fn published_files_tell_their_dimensions() {
    let golden = Golden::open("sam2");
    let json = std::fs::read_to_string(golden.folder.join("shapes.json")).unwrap();
    let files: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&json).unwrap();
    assert_eq!(files.len(), 5);
    let device = reference().shape_only(samovar_tensor::ShapeOnly::new());
    for (file, tensors) in files {
        let source = Published::new(&tensors);
        let config = ModelConfig::infer(&source).unwrap();
        assert_eq!(Some(config.clone()), CatalogueEntry::find(&file).map(CatalogueEntry::config), "{file}");
        Model::load(&device, &config, &source).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn a_file_of_no_published_size_asks_for_its_config() {
    for file in ["original.pt", "model.safetensors"] {
        let weights = ModelWeights::new(Golden::open("sam2").checkpoint(file), None, None).unwrap();
        let refused = ModelConfig::infer(&weights).unwrap_err().to_string();
        assert!(
            refused.contains("stages of [1, 2, 3, 2] blocks") && refused.contains("config.json"),
            "{refused}"
        );
    }
}
