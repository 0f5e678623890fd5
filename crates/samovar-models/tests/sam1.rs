//! SAM against transformers and against the original code, at tiny size, from both kinds of files.

mod common;

use common::{
    Golden, Worst, channels_first, compare_prediction, decode, devices, encode, prompts, reference, sides,
    values,
};
use samovar_models::{Family, Model, ModelConfig};
use samovar_tensor::Device;

/// Runs all cases that have outputs under `prefix` ("" for transformers, "original." for the original code).
fn run(device: &Device, golden: &Golden, model: &Model, prefix: &str) -> (Worst, usize) {
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
            compare_prediction(device, &mut worst, &found, &cases, &expected, i, tolerance);
            compared += 1;
        }
    }
    (worst, compared)
}

#[test]
fn transformers_folder_agrees_with_transformers() {
    let golden = Golden::open("sam1");
    let json = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
    let config = ModelConfig::from_hf_json(&json).unwrap();
    assert_eq!(config.family(), Family::Sam);
    for device in devices() {
        let model = Model::load(&device, &config, &golden.checkpoint("model.safetensors")).unwrap();
        assert_eq!(sides(&model), (56, 28));
        let (worst, compared) = run(&device, &golden, &model, "");
        println!("transformers on {}: {compared} decodes, {worst:?}", device.name());
        assert_eq!(compared, 17);
    }
}

#[test]
fn original_file_agrees_with_the_original_code() {
    let golden = Golden::open("sam1");
    let weights = golden.checkpoint("original.pth");
    let config = ModelConfig::infer(&weights).unwrap();
    for device in devices() {
        let model = Model::load(&device, &config, &weights).unwrap();
        let (worst, compared) = run(&device, &golden, &model, "original.");
        println!("original on {}: {compared} decodes, {worst:?}", device.name());
        assert_eq!(compared, 6);
    }
}

#[test]
fn a_safetensors_file_alone_tells_the_same_as_its_config() {
    let golden = Golden::open("sam1");
    let json = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
    let inferred = ModelConfig::infer(&golden.checkpoint("model.safetensors")).unwrap();
    assert_eq!(inferred, ModelConfig::from_hf_json(&json).unwrap());
}

/// The two upstreams differ in one constant, and the golden is made to show it.
#[test]
#[should_panic(expected = "pred_masks: max abs over std")]
fn the_two_layer_norm_epsilons_are_not_confused() {
    let golden = Golden::open("sam1");
    let weights = golden.checkpoint("original.pth");
    let device = reference();
    let model = Model::load(&device, &ModelConfig::infer(&weights).unwrap(), &weights).unwrap();
    run(&device, &golden, &model, "");
}
