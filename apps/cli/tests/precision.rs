//! Precisions as a user has them: `--dtype`, `quantize`, `doctor` and what it forbids.

mod common;

use common::{Bench, iou};
use serde_json::Value;

const DISC: (f64, f64, f64) = (90.0, 70.0, 30.0);

#[test]
fn rounded_files_are_smaller_and_cut_the_same() {
    let bench = Bench::new();
    bench.picture("photo.png", 200, 120, &[DISC]);
    let segment = ["segment", "photo.png", "--box", "60,40,120,100", "--format", "png"];
    for dtype in ["f16", "bf16", "int8"] {
        let file = format!("{dtype}.safetensors");
        bench.done(&["quantize", "--model", "nano", "--dtype", dtype, "--out", &file]);
        bench.done(&[&segment[..], &["--model", &file, "--out", "file.png"]].concat());
        bench.done(&[&segment[..], &["--dtype", dtype, "--out", "load.png"]].concat());
        assert_eq!(bench.rgba("file.png"), bench.rgba("load.png"), "{dtype}: rounded once or while loading");
        assert!(iou(&bench.rgba("file.png"), &[DISC], |pixel| pixel[0] > 127) > 0.95, "{dtype}");
    }
    let plan = |model: &str| -> Value {
        serde_json::from_str(&bench.done(&["plan", "--model", model, "--json"]).stdout).unwrap()
    };
    let (exact, rounded) = (plan("nano"), plan("int8.safetensors"));
    assert_eq!((exact["dtype"].as_str(), rounded["dtype"].as_str()), (Some("f32"), Some("int8")));
    assert!(rounded["weight_bytes"].as_u64() < exact["weight_bytes"].as_u64());
    bench.refused(
        2,
        "rounds nothing",
        &["quantize", "--model", "nano", "--dtype", "f32", "--out", "x.safetensors"],
    );
    bench.refused(2, "int8", &["quantize", "--model", "nano", "--dtype", "int4", "--out", "x.safetensors"]);
    bench.refused(
        1,
        "no folder",
        &["quantize", "--model", "nano", "--dtype", "f16", "--out", "no/x.safetensors"],
    );
}

#[test]
fn doctor_certifies_and_refusals_are_kept() {
    let bench = Bench::new();
    bench.picture("photo.png", 200, 120, &[DISC]);
    let run = bench.done(&["doctor", "--limit", "2", "--images", "photo.png", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("one JSON document and nothing else");
    let certificates = report["certificates"].as_array().unwrap();
    let names: Vec<&str> = certificates.iter().map(|one| one["dtype"].as_str().unwrap()).collect();
    assert_eq!(names, ["f32", "f16", "bf16", "int8"]);
    for one in certificates {
        assert!(one["logits_cosine"].as_f64().unwrap() > 0.99, "{one}");
        assert!(one["encode_s"].as_f64().unwrap() > 0.0 && one["weight_bytes"].as_u64().unwrap() > 1_000_000);
    }
    assert!(bench.done(&["doctor", "--limit", "2", "--dtype", "bf16"]).stdout.contains("verdict"));

    // What a slow or wrong dtype would leave behind.
    let kept = report["kept_in"].as_str().unwrap();
    let mut all: Vec<Value> = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    for one in &mut all {
        let is_int8 = one["dtype"] == "int8";
        one["refused"] = if is_int8 { vec!["mean mask IoU 0.5000 is below 0.99"] } else { vec![] }.into();
    }
    std::fs::write(kept, serde_json::to_vec(&all).unwrap()).unwrap();
    let int8 = ["segment", "photo.png", "--point", "90,70", "--dtype", "int8", "--out", "x.png"];
    bench.refused(2, "mean mask IoU 0.5000", &int8);
    bench.refused(2, "mean mask IoU 0.5000", &["everything", "photo.png", "--dtype", "int8"]);
    bench.done(&[&int8[..], &["--force-dtype"]].concat());
    bench.done(&["segment", "photo.png", "--point", "90,70", "--dtype", "f16", "--out", "y.png"]);
    // Other threads, other speed: that was not measured.
    bench.done(&[&int8[..], &["--threads", "1"]].concat());
    std::fs::write(kept, b"not json").unwrap();
    bench.done(&int8);
}
