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
        2,
        "rounded to int8 already",
        &["quantize", "--model", "int8.safetensors", "--dtype", "f16", "--out", "x.safetensors"],
    );
    bench.refused(2, "--out takes a file", &["quantize", "--model", "nano", "--dtype", "f16", "--out", "."]);
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
    let run = bench.done(&["doctor", "--limit", "6", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("one JSON document and nothing else");
    let certificates = report["certificates"].as_array().unwrap();
    let names: Vec<&str> = certificates.iter().map(|one| one["dtype"].as_str().unwrap()).collect();
    assert_eq!(names, ["f32", "f16", "bf16", "int8"]);
    for one in certificates {
        assert!(one["logits_cosine"].as_f64().unwrap() > 0.99, "{one}");
        assert!(one["encode_s"].as_f64().unwrap() > 0.0 && one["weight_bytes"].as_u64().unwrap() > 1_000_000);
        let followed = &one["followed"];
        assert!(
            followed["j_and_f"].as_f64().unwrap() > 0.95 && followed["masks"].as_u64() >= Some(6),
            "{one}"
        );
        assert_eq!(followed["refused"].as_array().unwrap().len(), 0, "{one}");
    }
    assert!(bench.done(&["doctor", "--limit", "6", "--dtype", "bf16"]).stdout.contains("verdict"));

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
    // Objects that stray when they are followed forbid that alone.
    for one in &mut all {
        let is_int8 = one["dtype"] == "int8";
        one["refused"] = Value::Array(Vec::new());
        let strays = vec!["J&F 0.7000 of objects that are followed is below 0.95"];
        one["followed"]["refused"] = if is_int8 { strays } else { vec![] }.into();
    }
    std::fs::write(kept, serde_json::to_vec(&all).unwrap()).unwrap();
    bench.done(&int8);
    bench.sequence(2);
    let track = ["track", "shot", "--point", "60,60", "--out", "masks", "--dtype"];
    bench.refused(2, "J&F 0.7000 of objects", &[&track[..], &["int8"]].concat());
    bench.done(&[&track[..], &["f16"]].concat());
    bench.done(&[&track[..], &["int8", "--force-dtype", "--overwrite"]].concat());
    // Certificates from before objects were followed forbid nothing of the kind.
    for one in &mut all {
        one.as_object_mut().unwrap().remove("followed");
    }
    std::fs::write(kept, serde_json::to_vec(&all).unwrap()).unwrap();
    bench.done(&[&track[..], &["int8", "--overwrite"]].concat());
    // Other threads, other speed: that was not measured.
    bench.done(&[&int8[..], &["--threads", "1"]].concat());
    std::fs::write(kept, b"not json").unwrap();
    bench.done(&int8);
}

#[test]
fn next_to_nothing_certifies_nothing() {
    let bench = Bench::new();
    bench.picture("pictures/good.png", 200, 120, &[DISC]);
    std::fs::write(bench.path("pictures/bad.png"), b"not a picture").unwrap();
    let run = bench.done(&["doctor", "--images", "pictures", "--dtype", "f16"]);
    assert!(run.stdout.contains("1 pictures") && run.stdout.contains("not enough masks"), "{run:?}");
    assert!(run.stderr.contains("bad.png") && run.stderr.contains("nothing was kept"), "{run:?}");
    // Nothing but the place where running samovars tell of themselves.
    let cache = std::fs::read_dir(bench.path("cache")).into_iter().flatten();
    assert!(cache.flatten().all(|entry| entry.file_name() == "run"));
    let _ = std::fs::remove_dir_all(bench.path("cache"));
    // What cannot be kept is shown all the same.
    std::fs::write(bench.path("cache"), b"no folder").unwrap();
    let run = bench.done(&["doctor", "--limit", "6", "--dtype", "f16"]);
    assert!(run.stdout.contains("verdict") && run.stderr.contains("could not be kept"), "{run:?}");
}

/// Bytes of a safetensors file in which the tensors are as `change` leaves them: name, and its stretch of values.
fn changed(file: &[u8], change: impl Fn(&str, &mut [u8])) -> Vec<u8> {
    let header_len = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + header_len]).unwrap();
    let mut bytes = file.to_vec();
    for (name, tensor) in header.as_object().unwrap() {
        if let Some([start, end]) = tensor["data_offsets"].as_array().map(Vec::as_slice) {
            let at = |place: &Value| 8 + header_len + place.as_u64().unwrap() as usize;
            change(name, &mut bytes[at(start)..at(end)]);
        }
    }
    bytes
}

#[test]
fn weights_that_are_not_finite_are_no_success() {
    let bench = Bench::new();
    bench.picture("photo.png", 200, 120, &[DISC]);
    bench.done(&["quantize", "--model", "nano", "--dtype", "int8", "--out", "int8.safetensors"]);
    let file = std::fs::read(bench.path("int8.safetensors")).unwrap();
    let is_scale = |name: &str| name.ends_with("_scale");
    let huge = changed(&file, |name, values| {
        if !is_scale(name) && values.len().is_multiple_of(4) && name.ends_with("bias") {
            values.chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&f32::NAN.to_le_bytes()));
        }
    });
    std::fs::write(bench.path("nan.safetensors"), huge).unwrap();
    let words = "not finite";
    bench.refused(
        1,
        words,
        &["segment", "photo.png", "--model", "nan.safetensors", "--point", "90,70", "--out", "x.png"],
    );
    let everything = bench.run(&["everything", "photo.png", "--model", "nan.safetensors"]);
    assert!(everything.code == 1 && everything.stderr.contains(words), "{everything:?}");
}

/// Threads cost memory of their own: too many are refused before any of it is taken.
#[test]
fn threads_beyond_reason_are_refused() {
    let bench = Bench::new();
    bench.refused(2, "1024", &["plan", "--threads", "4000"]);
    let from_environment = bench.command().env("SAMOVAR_THREADS", "4000").arg("plan").output().unwrap();
    assert_eq!(from_environment.status.code(), Some(2));
    bench.done(&["plan", "--threads", "1000"]);
    bench.picture("photo.png", 40, 30, &[]);
    let segment = ["segment", "photo.png", "--point", "20,15", "--out", "x.png"];
    bench.refused(1, "scratch", &[&segment[..], &["--threads", "1000", "--memory", "1GB"]].concat());
}
