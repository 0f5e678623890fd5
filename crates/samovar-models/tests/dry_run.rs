//! Full-size models on shapes alone: their arithmetic must be what the papers' dimensions give.

use samovar_geometry::Point;
use samovar_models::{ImageFeatures, MaskOutput, Model, ModelConfig, PromptBatch};
use samovar_tensor::{Device, Plan};
use samovar_weights::ShapeSource;

/// Plans one encoding and one decoding of a model of the catalogue.
fn plans(id: &str) -> (Plan, Plan) {
    let config = ModelConfig::from_catalogue(id).unwrap();
    let load = |device: &Device| Model::load(device, &config, &ShapeSource);
    let encode = Device::reference().plan(load, |device, model| {
        let encoder = model.image_encoder()?;
        let pixels = device.upload_with(encoder.preprocessing().pixels_shape(1), |_| {})?;
        encoder.encode(device, &pixels).map(drop)
    });
    // The features exist before decoding starts, so they belong to what is built.
    let load_and_encode = |device: &Device| {
        let model = load(device)?;
        let encoder = model.image_encoder()?;
        let pixels = device.upload_with(encoder.preprocessing().pixels_shape(1), |_| {})?;
        let features = encoder.encode(device, &pixels)?;
        Ok::<(Model, ImageFeatures), samovar_models::Error>((model, features))
    };
    let decode = Device::reference().plan(load_and_encode, |device, (model, features)| {
        let prompts = PromptBatch {
            prompts: 1,
            points: vec![Point::new(500.0, 375.0)],
            labels: vec![1],
            output: MaskOutput::Multimask,
            ..PromptBatch::default()
        };
        model.promptable_segmenter()?.decode(device, features, &prompts).map(drop)
    });
    (encode.unwrap(), decode.unwrap())
}

fn giga(plan: &Plan) -> f64 {
    plan.cost().operations as f64 / 1e9
}

fn report(id: &str) -> (f64, f64) {
    let (encode, decode) = plans(id);
    println!("{id}: encode {:.1} GFLOP, decode {:.2} GFLOP", giga(&encode), giga(&decode));
    for (what, plan) in [("encode", &encode), ("decode", &decode)] {
        println!(
            "  {what}: weights {:.1} MB, activations {:.1} MB",
            plan.weight_bytes as f64 / 1e6,
            plan.activation_bytes as f64 / 1e6
        );
        for ((stage, op), total) in &plan.operators {
            let (operations, bytes) = (total.cost.operations as f64 / 1e9, total.cost.bytes as f64 / 1e6);
            println!("    {stage}/{op}: {} calls, {operations:.3} GFLOP, {bytes:.1} MB", total.calls);
        }
    }
    (giga(&encode), giga(&decode))
}

/// `found` within a share of `expected`, which leaves out norms, activations and softmax.
fn assert_near(found: f64, expected: f64, share: f64) {
    assert!((found - expected).abs() <= share * expected, "{found:.2} GFLOP, expected about {expected}");
}

/// Upstream pads its maps to whole windows and computes the padding as well; here it is a constant row. That saves the
/// projections of the padding and its rows of the score matrix: for 64 x 64 tokens padded to 70 x 70, in GFLOP.
fn padding_skipped(windowed_blocks: f64, channels: f64, window: f64) -> f64 {
    let padded_tokens = 70.0 * 70.0 - 64.0 * 64.0;
    let projections = 4.0 * channels * channels;
    let scores = 2.0 * window * window * channels;
    2e-9 * windowed_blocks * padded_tokens * (projections + scores)
}

/// Upstream projects all image tokens ten times between 256 and 128 channels. For 7 tokens of 8 heads their projections
/// are folded into the tokens instead, in GFLOP.
fn projections_saved() -> f64 {
    let (image_tokens, tokens) = (4096.0, 7.0);
    let projected = image_tokens * 10.0 * (256.0 * 128.0 + tokens * 128.0);
    let folded = image_tokens * 10.0 * 8.0 * tokens * 256.0 + tokens * 10.0 * 256.0 * (2048.0 - 128.0);
    2e-9 * (projected - folded)
}

#[test]
fn sam_vit_base() {
    let (encode, decode) = report("facebook/sam-vit-base");
    assert_near(encode, 972.0 - padding_skipped(8.0, 768.0, 14.0), 0.01);
    assert_near(decode, 3.62 - projections_saved(), 0.03);
}

#[test]
fn sam_vit_large_and_huge() {
    let large = 2986.0 - padding_skipped(20.0, 1024.0, 14.0);
    assert_near(report("facebook/sam-vit-large").0, large, 0.01);
    let huge = 5962.0 - padding_skipped(28.0, 1280.0, 14.0);
    assert_near(report("facebook/sam-vit-huge").0, huge, 0.01);
}

#[test]
fn mobile_sam() {
    let (encode, decode) = report("mobile_sam");
    // The stage at 128 x 128 pads by one column and row of windows in 19; it is small enough to leave out.
    let skipped = padding_skipped(6.0, 160.0, 14.0) + padding_skipped(2.0, 320.0, 7.0);
    assert_near(encode, 77.6 - skipped, 0.01);
    assert_near(decode, 3.62 - projections_saved(), 0.03);
}

/// What SAM-HQ adds: once per image four transposed convolutions of its maps of 64 x 64 and 128 x 128 pixels, and per prompt
/// two convolutions of 3 x 3 at 256 x 256. The token takes part in all attention, a twentieth of that.
#[test]
fn sam_hq() {
    let transposed = |pixels: f64, inputs: f64, outputs: f64| 2e-9 * pixels * inputs * outputs * 4.0;
    let (coarse, fine) = (64.0 * 64.0, 128.0 * 128.0);
    let of_embedding = transposed(coarse, 256.0, 64.0) + transposed(fine, 64.0, 32.0);
    let per_prompt = 2e-9 * 256.0 * 256.0 * 9.0 * (32.0 * 64.0 + 64.0 * 32.0);
    for (id, sam, early_channels) in [
        ("syscv-community/sam-hq-vit-base", "facebook/sam-vit-base", 768.0),
        ("sam_hq_vit_tiny", "mobile_sam", 160.0),
    ] {
        let of_early = transposed(coarse, early_channels, 256.0) + transposed(fine, 256.0, 32.0);
        let ((encode, decode), (sam_encode, sam_decode)) = (report(id), report(sam));
        assert_near(encode - sam_encode, of_embedding + of_early, 0.03);
        assert_near(decode - sam_decode, per_prompt, 0.06);
        let (encoded, _) = plans(id);
        let (sam_encoded, _) = plans(sam);
        let fused_bytes = 256 * 256 * 32 * 4;
        assert!(encoded.activation_bytes >= sam_encoded.activation_bytes);
        assert!(encoded.activation_bytes <= sam_encoded.activation_bytes + 4 * fused_bytes, "{id}");
    }
}

/// By the counts of the papers' dimensions: multiplications of the trunk's layers, attention in windows and of all tokens, the
/// patches and the neck, whose finer two maps go straight to the decoder's channels.
#[test]
fn sam_2() {
    let patches = 2e-9 * 65_536.0 * 147.0;
    let neck = |channels: f64| {
        let lateral = |pixels: f64, inputs: f64, outputs: f64| 2e-9 * pixels * inputs * outputs;
        lateral(65_536.0, channels, 32.0)
            + lateral(16_384.0, 2.0 * channels, 64.0)
            + lateral(4096.0, 4.0 * channels, 256.0)
            + lateral(1024.0, 8.0 * channels, 256.0)
    };
    // Windowed blocks of the third stage, and of the fourth, whose windows go beyond the map.
    let padding = |third: f64, fourth: f64, channels: f64| {
        let last = 8.0 * channels;
        let of_fourth = 2e-9 * fourth * (35.0 * 35.0 - 32.0 * 32.0) * (4.0 * last * last + 98.0 * last);
        padding_skipped(third, 4.0 * channels, 14.0) + of_fourth
    };
    for (id, channels, trunk, padding) in [
        ("facebook/sam2.1-hiera-tiny", 96.0, 2.0 * (40.8 + 58.0 + 4.0 + 38.7), padding(3.0, 1.0, 96.0)),
        ("facebook/sam2.1-hiera-small", 96.0, 2.0 * (52.3 + 77.3 + 7.0 + 38.7), padding(7.0, 1.0, 96.0)),
        (
            "facebook/sam2.1-hiera-base-plus",
            112.0,
            2.0 * (101.4 + 157.8 + 13.6 + 45.1),
            padding(12.0, 2.0, 112.0),
        ),
        ("facebook/sam2.1-hiera-large", 144.0, 2.0 * (281.0 + 522.0 + 43.6 + 58.0), 0.0),
    ] {
        let (encode, decode) = report(id);
        assert_near(encode, trunk + patches * channels + neck(channels) - padding, 0.02);
        assert_near(decode, 3.64 - projections_saved(), 0.1);
    }
}

/// RepViT-M1's layers: 17 billion multiplications.
#[test]
fn edgetam() {
    let (cells, channels, depths) =
        ([65_536.0, 16_384.0, 4096.0, 1024.0], [48.0, 96.0, 192.0, 384.0], [2.0, 2.0, 14.0, 2.0]);
    let mixed = |channels: f64| 4.0 * channels * channels;
    let block = |stage: usize| cells[stage] * (9.0 * channels[stage] + mixed(channels[stage]));
    let descent = |stage: usize| {
        let (from, to) = (channels[stage - 1], channels[stage]);
        block(stage - 1) + cells[stage] * (9.0 * from + from * to + mixed(to))
    };
    let stem = 262_144.0 * 27.0 * 24.0 + cells[0] * 9.0 * 24.0 * 48.0;
    let stages: f64 = (0..4).map(|stage| depths[stage] * block(stage)).sum();
    let descents: f64 = (1..4).map(descent).sum();
    let neck: f64 = (cells.iter().zip(channels).zip([32.0, 64.0, 256.0, 256.0]))
        .map(|((cells, inputs), outputs)| cells * inputs * outputs)
        .sum();
    let (encode, decode) = report("edgetam");
    assert_near(encode, 2e-9 * (stem + stages + descents + neck), 0.02);
    assert_near(decode, 3.64 - projections_saved(), 0.1);
}

#[test]
fn nano() {
    let (encode, decode) = report("nano");
    assert_near(encode, 4.01, 0.01);
    // The trainer counts 0.31: ten clicks and a box, all four masks, and all projections of image tokens.
    assert_near(decode, 0.24, 0.05);
}
