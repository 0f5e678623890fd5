//! MobileSAM against its upstream code, at tiny size.

mod common;

use common::{Golden, Worst, channels_first, compare_prediction, decode, devices, encode, prompts, values};
use samovar_models::{Family, Model, ModelConfig};
use samovar_tensor::Device;

#[test]
fn agrees_with_upstream() {
    for device in devices() {
        agrees_on(&device);
    }
}

fn agrees_on(device: &Device) {
    let golden = Golden::open("mobile_sam");
    let tolerance = golden.tolerance();
    let weights = golden.checkpoint("mobile_sam.pt");
    // No tensor tells the input size.
    let image_size = golden.manifest["geometry"]["image_size"].as_u64().unwrap() as usize;
    let config = ModelConfig::infer(&weights).unwrap().with_input_size(image_size).unwrap();
    assert_eq!(config.family(), Family::MobileSam);
    let model = Model::load(device, &config, &weights).unwrap();

    let encoder = golden.checkpoint("encoder.safetensors");
    let cases = golden.checkpoint("cases.safetensors");
    let features = encode(device, &model, &encoder);
    let mut worst = Worst::default();
    let expected = values(&encoder, "image_embeddings");
    worst.compare("image_embeddings", &channels_first(device, &features.embedding), &expected, tolerance);
    println!("mobile_sam encoder: {worst:?}");
    for (name, case) in golden.cases() {
        let multimask = case["multimask_output"].as_bool().unwrap();
        let prompts = prompts(&cases, &name, 0, multimask);
        let found = decode(device, &model, &features, &prompts).unwrap();
        compare_prediction(device, &mut worst, &found, &cases, &name, 0, tolerance);
    }
    println!("mobile_sam: {worst:?}");
}
