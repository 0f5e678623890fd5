//! SAM-HQ against transformers (whose decoder is mended for it, see the recipe) and against the original code, at tiny
//! size, from both kinds of files; and Light HQ-SAM.

mod common;

use common::{
    Golden, Worst, channels_first, decode, devices, download, encode, prompts, run_cases, sides, values,
};
use samovar_models::{Error, Family, ImageFeatures, MaskOutput, MaskPrediction, Model, ModelConfig};
use samovar_tensor::Device;
use samovar_weights::{Checkpoint, WeightSource};

/// Masks and scores of one image of a case: both upstreams give the best first, the original that one alone.
fn compare_ranked(
    device: &Device,
    worst: &mut Worst,
    found: &MaskPrediction,
    cases: &Checkpoint,
    expected: &str,
    image: usize,
    tolerance: (f64, f64),
) {
    let golden = |output: &str| cases.any_tensor(&format!("{expected}.{output}")).unwrap();
    let kept = golden("iou_scores").dims()[2];
    let [scores, logits] = [&found.iou_scores, &found.logits].map(|tensor| download(device, tensor));
    let &[prompts, masks, height, width] = found.logits.dims() else { panic!("no masks") };
    let (mut ranked_scores, mut ranked_logits) = (Vec::new(), Vec::new());
    for prompt in 0..prompts {
        let mut of_prompt: Vec<usize> = (prompt * masks..(prompt + 1) * masks).collect();
        of_prompt.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        for &index in &of_prompt[..kept] {
            ranked_scores.push(scores[index]);
            ranked_logits.extend_from_slice(&logits[index * height * width..][..height * width]);
        }
    }
    for (output, found) in [("iou_scores", ranked_scores), ("pred_masks", ranked_logits)] {
        let of_image = golden(output).narrow(image, 1).unwrap().to_f32_vec().unwrap();
        worst.compare(&format!("{expected}.{output}"), &found, &of_image, tolerance);
    }
}

fn run(device: &Device, golden: &Golden, model: &Model, prefix: &str) -> (Worst, usize) {
    run_cases(device, golden, model, prefix, compare_ranked)
}

fn folder_config(golden: &Golden) -> ModelConfig {
    ModelConfig::from_hf_json(&std::fs::read_to_string(golden.folder.join("config.json")).unwrap()).unwrap()
}

#[test]
fn transformers_folder_agrees_with_transformers() {
    let golden = Golden::open("sam_hq");
    let config = folder_config(&golden);
    assert_eq!(config.family(), Family::SamHq);
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
    let golden = Golden::open("sam_hq");
    let weights = golden.checkpoint("original.pth");
    let config = ModelConfig::infer(&weights).unwrap();
    assert_eq!(config.family(), Family::SamHq);
    for device in devices() {
        let model = Model::load(&device, &config, &weights).unwrap();
        let (worst, compared) = run(&device, &golden, &model, "original.");
        println!("original on {}: {compared} decodes, {worst:?}", device.name());
        assert_eq!(compared, 6);
    }
}

#[test]
fn a_safetensors_file_alone_tells_the_same_as_its_config() {
    let golden = Golden::open("sam_hq");
    let inferred = ModelConfig::infer(&golden.checkpoint("model.safetensors")).unwrap();
    assert_eq!(inferred, folder_config(&golden));
}

#[test]
fn light_hq_sam_agrees_with_the_original_code() {
    let golden = Golden::open("sam_hq");
    let light = &golden.manifest["light"];
    let weights = golden.checkpoint("light.pth");
    // No tensor tells the input size.
    let image_size = light["image_size"].as_u64().unwrap() as usize;
    let config = ModelConfig::infer(&weights).unwrap().with_input_size(image_size).unwrap();
    assert_eq!(config.family(), Family::SamHq);
    let encoder = golden.checkpoint("light_encoder.safetensors");
    let cases = golden.checkpoint("light_cases.safetensors");
    let tolerance = golden.tolerance();
    for device in devices() {
        let model = Model::load(&device, &config, &weights).unwrap();
        let features = encode(&device, &model, &encoder);
        let mut worst = Worst::default();
        let expected = values(&encoder, "image_embeddings");
        worst.compare(
            "image_embeddings",
            &channels_first(&device, &features.embedding),
            &expected,
            tolerance,
        );
        for (name, case) in light["cases"].as_object().unwrap() {
            let prompts = prompts(&cases, name, 0, case["multimask_output"].as_bool().unwrap());
            let found = decode(&device, &model, &features, &prompts).unwrap();
            compare_ranked(&device, &mut worst, &found, &cases, name, 0, tolerance);
        }
        println!("light on {}: {worst:?}", device.name());
    }
}

/// Masks that are drawn alone, and on features of an image each, are those that are drawn together.
#[test]
fn chosen_masks_are_those_of_all() {
    let golden = Golden::open("sam_hq");
    let cases = golden.checkpoint("cases.safetensors");
    for device in devices() {
        let weights = golden.checkpoint("model.safetensors");
        let model = Model::load(&device, &folder_config(&golden), &weights).unwrap();
        let both = encode(&device, &model, &golden.checkpoint("encoder.safetensors"));
        let segmenter = model.promptable_segmenter().unwrap();
        let mut batch = prompts(&cases, "prompts_per_image", 0, true);
        batch.output = MaskOutput::All;
        let all =
            download(&device, &segmenter.decode(&device, &both.image(0).unwrap(), &batch).unwrap().logits);
        let features = both.image(0).unwrap();
        let scored = segmenter.score(&device, &features, &batch).unwrap();
        let chosen = [(2, 1), (0, 3), (0, 0)];
        let drawn = download(&device, &segmenter.draw_chosen(&device, &features, &scored, &chosen).unwrap());
        let pixels = 28 * 28;
        for (found, (prompt, mask)) in drawn.chunks_exact(pixels).zip(chosen) {
            let expected = &all[(4 * prompt + mask) * pixels..][..pixels];
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
            assert!(found.iter().zip(expected).all(close), "prompt {prompt}, mask {mask}");
        }
    }
}

#[test]
fn features_of_another_model_are_refused() {
    let golden = Golden::open("sam_hq");
    let device = common::reference();
    let model =
        Model::load(&device, &folder_config(&golden), &golden.checkpoint("model.safetensors")).unwrap();
    let features = encode(&device, &model, &golden.checkpoint("encoder.safetensors")).image(0).unwrap();
    assert_eq!(features.maps().count(), 2, "the embedding, and what SAM-HQ adds");
    assert_eq!(features.hq.as_ref().unwrap().dims(), [1, 28, 28, 4]);
    let of_sam = ImageFeatures { hq: None, ..features };
    let prompts = prompts(&golden.checkpoint("cases.safetensors"), "one_point", 0, true);
    let refused = decode(&device, &model, &of_sam, &prompts).unwrap_err();
    assert!(matches!(&refused, Error::Input(what) if what.contains("SAM-HQ")), "{refused}");
}

/// Half of SAM-HQ is not SAM, and SAM's config is not that of a file of SAM-HQ.
#[test]
fn a_decoder_that_is_not_whole_is_refused() {
    let golden = Golden::open("sam_hq");
    let weights = golden.checkpoint("model.safetensors");
    let json = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
    let as_sam = json.replace("\"model_type\": \"sam_hq\"", "\"model_type\": \"sam\"");
    assert_ne!(json, as_sam);
    let device = common::reference();
    let refusal = |config: &ModelConfig, weights: &dyn WeightSource| {
        Model::load(&device, config, weights).err().expect("refused").to_string()
    };
    let config = ModelConfig::from_hf_json(&as_sam).unwrap();
    let refused = refusal(&config, &weights);
    assert!(
        refused.contains("part of SAM-HQ's decoder") && refused.contains("model_type sam_hq"),
        "{refused}"
    );
    let sam = Golden::open("sam1").checkpoint("model.safetensors");
    let refused = refusal(&folder_config(&golden), &sam);
    assert!(refused.contains("mask_decoder."), "{refused}");
}
