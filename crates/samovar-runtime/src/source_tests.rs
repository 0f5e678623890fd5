use super::*;

#[test]
fn nano_is_always_there() {
    let opened = ModelSource::resolve("nano", None).unwrap().open().unwrap();
    assert_eq!(opened.config.family(), samovar_models::Family::Nano);
}

#[test]
fn unknown_names_come_with_advice() {
    let cache = tempfile::tempdir().unwrap();
    for (name, advice) in [
        ("no-such-model", "known are nano"),
        ("./sam_vit_b.pth", "check the path"),
        ("weights.safetensors", "check the path"),
        ("mobile_sam", "mobile_sam.pt"),
        ("nobody/nothing@v2", "samovar models pull nobody/nothing@v2"),
        ("nano@v2", "known are nano"),
    ] {
        let refusal = ModelSource::resolve(name, Some(cache.path())).unwrap_err().to_string();
        assert!(refusal.contains(advice), "{name}: {refusal}");
    }
}

#[test]
fn folders_without_a_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = ModelSource::resolve(folder.path().to_str().unwrap(), None).unwrap();
    let refusal = source.open().err().unwrap().to_string();
    assert!(refusal.contains("no model in this folder"), "{refusal}");
    std::fs::write(folder.path().join("config.json"), "{\"model_type\": \"bert\"}").unwrap();
    assert!(source.open().is_err());
}

#[test]
fn without_a_cache_names_of_the_hub_are_refused_with_advice() {
    let refusal = ModelSource::resolve("nobody/nothing", None).unwrap_err().to_string();
    assert!(refusal.contains("Options::hub_cache"), "{refusal}");
}

/// A tiny SAM as Hugging Face publishes it, with these other files beside it.
fn published(files: &[(&str, &str)]) -> tempfile::TempDir {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam1");
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        std::fs::copy(golden.join(name), folder.path().join(name)).unwrap();
    }
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const HALVES: &str = r#"{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_normalize": true,
    "image_processor_type": "SamImageProcessor", "size": {"longest_edge": 56},
    "pad_size": {"height": 56, "width": 56}, "rescale_factor": 0.00392156862745098}"#;

fn mean_of(path: &Path) -> f32 {
    let source = ModelSource::resolve(path.to_str().unwrap(), None).unwrap();
    source.open().unwrap().config.preprocessing().mean[0]
}

/// The report: `preprocessor_config.json` was ignored without a word.
#[test]
fn the_preprocessor_config_of_a_folder_is_not_ignored() {
    let folder = published(&[("preprocessor_config.json", HALVES)]);
    assert_eq!(mean_of(folder.path()), 0.5);
    assert_eq!(mean_of(&folder.path().join("model.safetensors")), 0.5, "the file in its folder");
    assert_eq!(mean_of(published(&[]).path()), 0.485);

    let engine = crate::Engine::new(crate::Options { threads: 1, ..Default::default() }).unwrap();
    let model = engine.load(folder.path().to_str().unwrap()).unwrap();
    let white = samovar_media::RgbImage::from_fn(samovar_geometry::Size::new(56, 28), |_, _| [255, 255, 255]);
    let pixels = model.preprocess(&white).unwrap();
    let values = pixels.f32().unwrap();
    let (picture, padding) = values.split_at(56 * 28 * 3);
    assert!(picture.iter().all(|&value| value == 1.0) && padding.iter().all(|&value| value == 0.0));
}

#[test]
fn a_preprocessor_config_that_the_model_cannot_follow_is_refused_by_name() {
    for (text, words) in [
        (r#"{"size": {"longest_edge": 1024}}"#, "trained for input squares of 56"),
        (r#"{"do_center_crop": true}"#, "do_center_crop"),
        ("nonsense", "expected"),
    ] {
        let folder = published(&[("preprocessor_config.json", text)]);
        let source = ModelSource::resolve(folder.path().to_str().unwrap(), None).unwrap();
        let refusal = source.open().err().unwrap().to_string();
        assert!(refusal.contains("preprocessor_config.json\": ") && refusal.contains(words), "{refusal}");
    }
}

/// What transformers writes since version 5, with the processor's parts in one file.
#[test]
fn the_image_processor_may_be_part_of_a_processor_config() {
    let nested = format!(r#"{{"processor_class": "SamProcessor", "image_processor": {HALVES}}}"#);
    assert_eq!(mean_of(published(&[("processor_config.json", &nested)]).path()), 0.5);
    let of_text = r#"{"processor_class": "SamProcessor", "target_size": 1024}"#;
    assert_eq!(mean_of(published(&[("processor_config.json", of_text)]).path()), 0.485);
    let own = HALVES.replace("0.5, 0.5, 0.5", "0.25, 0.5, 0.5");
    let both = published(&[("processor_config.json", &nested), ("preprocessor_config.json", &own)]);
    assert_eq!(mean_of(both.path()), 0.25);
    let damaged = published(&[("processor_config.json", "{")]);
    assert!(ModelSource::resolve(damaged.path().to_str().unwrap(), None).unwrap().open().is_err());
}

/// A file of rounded weights holds all that made the model, or it would be another one.
#[test]
fn rounded_weights_keep_the_preprocessor_config() {
    let folder = published(&[("preprocessor_config.json", HALVES)]);
    let source = ModelSource::resolve(folder.path().to_str().unwrap(), None).unwrap();
    let file = folder.path().join("rounded.safetensors");
    crate::rounding::write_rounded(&source, Precision::F16, &file).unwrap();
    assert_eq!(mean_of(&file), 0.5);
}

/// The report: an adapter beside its base ran as the base without a word.
#[test]
fn the_adapter_of_a_folder_is_not_ignored() {
    use samovar_weights::{Checkpoint, WeightSource, WriteTensor, write_safetensors};
    const LAYER: &str = "vision_encoder.layers.0.attn.qkv";
    let folder = published(&[("adapter_config.json", r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 3}"#)]);
    let pair = [("lora_A", vec![1, 24], vec![0.5; 24]), ("lora_B", vec![72, 1], vec![0.25; 72])];
    let tensors = pair.iter().map(|(half, shape, values)| WriteTensor {
        name: format!("base_model.model.{LAYER}.{half}.weight"),
        shape: shape.clone(),
        values,
    });
    let adapter = folder.path().join("adapter_model.safetensors");
    write_safetensors(&adapter, &tensors.collect::<Vec<_>>(), &Default::default()).unwrap();
    let weight = |source: &dyn WeightSource| {
        source.tensor(&format!("{LAYER}.weight"), &[72, 24]).unwrap().to_f32_vec().unwrap()
    };
    let base = weight(&Checkpoint::open(folder.path()).unwrap());
    for path in [folder.path().to_owned(), folder.path().join("model.safetensors")] {
        let opened = ModelSource::resolve(path.to_str().unwrap(), None).unwrap().open().unwrap();
        let merged = weight(&opened.weights);
        assert!(merged.iter().zip(&base).all(|(merged, base)| *merged == base + 0.375));
    }
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let source = ModelSource::resolve(folder.path().to_str().unwrap(), None).unwrap();
    let refusal = source.open().err().unwrap().to_string();
    assert!(refusal.contains("only an adapter (LoRA)") && refusal.contains("merge_and_unload"), "{refusal}");
}
