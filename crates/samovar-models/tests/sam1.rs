//! SAM against transformers and against the original code, at tiny size, from both kinds of files.

mod common;

use common::{Golden, Worst, compare_prediction, devices, reference, run_cases, sides};
use samovar_models::{Family, Model, ModelConfig};
use samovar_tensor::Device;

fn run(device: &Device, golden: &Golden, model: &Model, prefix: &str) -> (Worst, usize) {
    run_cases(device, golden, model, prefix, compare_prediction)
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
