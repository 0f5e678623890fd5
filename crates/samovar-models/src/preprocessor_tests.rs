use samovar_geometry::ResizeRule;
use serde_json::{Value, json};

use crate::{ModelConfig, Preprocessing};

fn tiny_sam() -> ModelConfig {
    let json = json!({"model_type": "sam", "vision_config": {"image_size": 64, "hidden_size": 48}});
    ModelConfig::from_hf_json(&json.to_string()).unwrap()
}

fn with(config: ModelConfig, file: &Value) -> Result<Preprocessing, String> {
    let config = config.with_preprocessor(&file.to_string()).map_err(|error| error.to_string())?;
    Ok(config.preprocessing())
}

/// The report: a checkpoint with mean and deviation of a half ran with ImageNet's, without a word.
#[test]
fn mean_and_deviation_of_the_file_count() {
    let file = json!({"image_mean": [0.5, 0.25, 0.125], "image_std": [0.5, 1.0, 2.0], "do_normalize": true,
        "image_processor_type": "SamImageProcessor", "size": {"longest_edge": 64},
        "pad_size": {"height": 64, "width": 64}, "rescale_factor": 0.003_921_568_627_450_98});
    let found = with(tiny_sam(), &file).unwrap();
    assert_eq!((found.mean, found.std), ([0.5, 0.25, 0.125], [0.5, 1.0, 2.0]));
    assert_eq!(found.resize, ResizeRule::LongestSide { target: 64 });
}

/// What `SamImageProcessor.save_pretrained` writes for the published models, of two generations.
#[test]
fn the_published_files_change_nothing() {
    let old = json!({"do_convert_rgb": true, "do_normalize": true, "do_pad": true, "do_rescale": true, "do_resize": true,
        "image_mean": [0.485, 0.456, 0.406], "image_processor_type": "SamImageProcessor", "image_std": [0.229, 0.224, 0.225],
        "pad_size": {"height": 1024, "width": 1024}, "processor_class": "SamProcessor", "resample": 2,
        "rescale_factor": 0.003_921_568_627_450_98, "size": {"longest_edge": 1024}});
    let mut new = old.clone();
    for (key, value) in [
        ("mask_size", json!({"longest_edge": 256})),
        ("mask_pad_size", json!({"height": 256, "width": 256})),
        ("crop_size", Value::Null),
        ("do_center_crop", Value::Null),
        ("data_format", json!("channels_first")),
        ("default_to_square", json!(true)),
        ("some_future_key", Value::Null),
        ("some_future_flag", json!(false)),
    ] {
        new[key] = value;
    }
    let nested = json!({"processor_class": "SamProcessor", "image_processor": new});
    let base = ModelConfig::from_catalogue("facebook/sam-vit-base").unwrap();
    for file in [&old, &new, &nested, &json!({})] {
        assert_eq!(base.clone().with_preprocessor(&file.to_string()).unwrap(), base);
    }
}

/// `(pixel * factor - mean) / std`, computed as upstream does and as samovar does.
#[test]
fn rescaling_is_folded_into_mean_and_deviation() {
    let (mean, std) = ([100.0, 110.0, 120.0], [50.0, 60.0, 70.0]);
    for (rescales, normalises, factor) in
        [(true, true, 0.5), (false, true, 0.5), (true, false, 1.0 / 127.5), (false, false, 0.5)]
    {
        let file = json!({"do_rescale": rescales, "rescale_factor": factor, "do_normalize": normalises,
            "image_mean": mean, "image_std": std});
        let found = with(tiny_sam(), &file).unwrap();
        for channel in 0..3 {
            for pixel in [0.0, 17.0, 255.0] {
                let rescaled = if rescales { pixel * factor } else { pixel };
                let upstream = if normalises { (rescaled - mean[channel]) / std[channel] } else { rescaled };
                let ours = (pixel / 255.0 - f64::from(found.mean[channel])) / f64::from(found.std[channel]);
                assert!(
                    (upstream - ours).abs() < 1e-4 * upstream.abs().max(1.0),
                    "{ours}, expected {upstream}"
                );
            }
        }
    }
}

#[test]
fn height_and_width_stretch_the_image() {
    let file = json!({"size": {"height": 64, "width": 64}, "do_pad": false});
    assert_eq!(with(tiny_sam(), &file).unwrap().resize, ResizeRule::Exact { width: 64, height: 64 });
}

#[test]
fn another_size_is_taken_where_the_family_can() {
    let file = json!({"size": {"longest_edge": 512}, "pad_size": {"height": 512, "width": 512}});
    let nano = || ModelConfig::from_catalogue("nano").unwrap();
    assert_eq!(with(nano(), &file).unwrap().resize, ResizeRule::LongestSide { target: 512 });
    assert!(with(nano(), &json!({"size": {"longest_edge": 500}})).unwrap_err().contains("image size 500"));
    let refusal = with(tiny_sam(), &file).unwrap_err();
    assert!(refusal.contains("trained for input squares of 64, not 512"), "{refusal}");
    let flat = with(nano(), &json!({"size": {"height": 384, "width": 512}})).unwrap_err();
    assert!(flat.contains("size 512x384; the model takes 384x384"), "{flat}");
    // A size that is set later keeps what the file says about colours.
    let own_mean = json!({"image_mean": [0.0, 0.0, 0.0]});
    let config = nano().with_preprocessor(&own_mean.to_string()).unwrap().with_input_size(512).unwrap();
    let found = config.preprocessing();
    assert_eq!((found.mean, found.resize), ([0.0; 3], ResizeRule::LongestSide { target: 512 }));
}

#[test]
fn what_cannot_be_done_is_named() {
    for (file, words) in [
        (json!([]), "expected an object"),
        (json!({"do_center_crop": true}), "`do_center_crop` asks for something"),
        (json!({"do_flip_channel_order": true}), "`do_flip_channel_order`"),
        (json!({"sharpen": 2}), "`sharpen`"),
        (json!({"do_resize": false}), "do_resize is false"),
        (json!({"do_rescale": "yes"}), "do_rescale is \"yes\"; expected true or false"),
        (json!({"resample": 3}), "resample is 3; expected 2"),
        (json!({"size": 64}), "size is 64; expected longest_edge"),
        (json!({"size": {"shortest_edge": 64}}), "shortest_edge"),
        (json!({"size": {"longest_edge": 64, "height": 64, "width": 64}}), "or height and width"),
        (json!({"size": {"height": 64}}), "or height and width"),
        (json!({"size": {}}), "or height and width"),
        (json!({"size": {"longest_edge": 0}}), "longest_edge is 0"),
        (json!({"size": {"longest_edge": u64::MAX}}), "expected 1 to 8192"),
        (json!({"size": {"longest_edge": 64.5}}), "longest_edge is 64.5"),
        (json!({"do_pad": false}), "do_pad is false"),
        (json!({"pad_size": {"height": 64, "width": 128}}), "expected the size images are resized to, 64x64"),
        (json!({"pad_size": 64}), "pad_size is 64"),
        (json!({"size": {"longest_edge": 64}, "pad_size": {"height": 96, "width": 96}}), "resized to, 64x64"),
        (json!({"image_mean": [0.5, 0.5]}), "image_mean is [0.5,0.5]; expected three numbers"),
        (json!({"image_mean": ["a", 1, 2]}), "expected three numbers"),
        (json!({"image_mean": [1e300, 0, 0]}), "expected numbers"),
        (json!({"image_std": [0.0, 1.0, 1.0]}), "the latter positive"),
        (json!({"image_std": [1e-60, 1.0, 1.0]}), "the latter positive"),
        (json!({"rescale_factor": 0}), "rescale_factor is 0"),
        (json!({"rescale_factor": -1.0}), "expected a positive number"),
    ] {
        let refusal = with(tiny_sam(), &file).expect_err(&file.to_string());
        assert!(refusal.contains("preprocessor_config.json: ") && refusal.contains(words), "{refusal}");
    }
    let damaged = tiny_sam().with_preprocessor("{").unwrap_err().to_string();
    assert!(damaged.contains("preprocessor_config.json: "), "{damaged}");
    assert!(tiny_sam().with_preprocessor(&"[".repeat(100_000)).is_err());
}
