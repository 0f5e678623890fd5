//! SAM 2 on images against the original code and transformers, at tiny size, from both kinds of files.

mod common;

use std::collections::BTreeMap;

use common::{
    Golden, Worst, channels_first, compare_prediction, decode, devices, download, encode, prompts, reference,
    sides, values,
};
use samovar_models::{
    CatalogueEntry, Family, ImageFeatures, MaskChoice, MaskOutput, MaskPrediction, Model, ModelConfig,
    ModelWeights, PromptBatch,
};
use samovar_tensor::{Device, Shape, Tensor};
use samovar_weights::{ShapeSource, WeightSource};

fn golden_config(golden: &Golden, file: &str) -> ModelConfig {
    ModelConfig::from_hf_json(&std::fs::read_to_string(golden.folder.join(file)).unwrap()).unwrap()
}

/// The mask upstream gives: three of a kind, or the one its rule chooses.
fn predict(
    device: &Device,
    model: &Model,
    features: &ImageFeatures,
    mut batch: PromptBatch,
) -> MaskPrediction {
    let choice = model.promptable_segmenter().unwrap().recommendations().mask_rule.otherwise;
    if batch.output != MaskOutput::Single {
        return decode(device, model, features, &batch).unwrap();
    }
    batch.output = choice.output();
    let all = decode(device, model, features, &batch).unwrap();
    let (scores, logits) = (download(device, &all.iou_scores), download(device, &all.logits));
    let &[prompts, masks, height, width] = all.logits.dims() else { panic!("no masks") };
    let (mut chosen_scores, mut chosen_logits) = (Vec::new(), Vec::new());
    for prompt in 0..prompts {
        let of_prompt = &logits[prompt * masks * height * width..][..masks * height * width];
        let of_mask = |mask: usize| &of_prompt[mask * height * width..][..height * width];
        let scores = &scores[prompt * masks..][..masks];
        let chosen = choice.choose(scores, of_mask(0));
        chosen_scores.push(scores[chosen]);
        chosen_logits.extend_from_slice(of_mask(chosen));
    }
    MaskPrediction {
        logits: device.upload([prompts, 1, height, width], &chosen_logits).unwrap(),
        iou_scores: device.upload([prompts, 1], &chosen_scores).unwrap(),
        object_scores: all.object_scores,
    }
}

fn compare_features(
    device: &Device,
    worst: &mut Worst,
    golden: &Golden,
    features: &ImageFeatures,
    model: &Model,
) {
    let encoder = golden.checkpoint("encoder.safetensors");
    let segmenter = model.promptable_segmenter().unwrap();
    let embedding = segmenter.decoder_embedding(device, features).unwrap();
    let maps = [&features.high_res[1], &features.high_res[0], &embedding];
    for (level, map) in maps.into_iter().enumerate() {
        let name = format!("image_embeddings.{level}");
        worst.compare(&name, &channels_first(device, map), &values(&encoder, &name), golden.tolerance());
    }
}

/// All cases but those that transformers alone has, if told so.
fn run(device: &Device, golden: &Golden, model: &Model, with_transformers: bool) -> usize {
    let (encoder, cases) = (golden.checkpoint("encoder.safetensors"), golden.checkpoint("cases.safetensors"));
    let features = encode(device, model, &encoder);
    let mut worst = Worst::default();
    compare_features(device, &mut worst, golden, &features, model);
    let mut compared = 0;
    for (name, case) in golden.cases() {
        if case["transformers_only"] == true && !with_transformers {
            continue;
        }
        let multimask = case["multimask_output"].as_bool().unwrap();
        for (i, image) in case["images"].as_array().unwrap().iter().enumerate() {
            let features = features.image(image.as_u64().unwrap() as usize).unwrap();
            let mut batch = prompts(&cases, &name, i, multimask);
            if name == "mask_as_transformers" {
                // A point that is none, which another follows as behind all points.
                batch.points = vec![samovar_geometry::Point::new(0.0, 0.0)];
                batch.labels = vec![-1];
            }
            let found = predict(device, model, &features, batch);
            compare_prediction(device, &mut worst, &found, &cases, &name, i, golden.tolerance());
            let objects = cases.any_tensor(&format!("{name}.object_score_logits")).unwrap();
            let objects = objects.narrow(i, 1).unwrap().to_f32_vec().unwrap();
            // One number has no deviation; those of all cases have about 0.5.
            for (found, expected) in download(device, &found.object_scores.unwrap()).iter().zip(objects) {
                assert!(
                    (found - expected).abs() < 5e-5,
                    "{name}: object score {found} instead of {expected}"
                );
            }
            compared += 1;
        }
    }
    println!("{}: {compared} decodes, {worst:?}", device.name());
    compared
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

/// Names and shapes of a published file, and no values.
struct Published(BTreeMap<String, Shape>);

impl WeightSource for Published {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        assert_eq!(self.0.get(name).map(Shape::dims), Some(shape), "{name}");
        ShapeSource.tensor(name, shape)
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.0.get(name).copied()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn origin(&self) -> String {
        "a published model".into()
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
