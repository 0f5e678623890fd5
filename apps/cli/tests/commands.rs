//! The commands around `segment`: forward, plan, bench, profile, models.

mod common;

use std::path::{Path, PathBuf};

use common::Bench;
use serde_json::Value;

fn golden(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens").join(name);
    path.display().to_string()
}

fn document(bench: &Bench, arguments: &[&str]) -> Value {
    serde_json::from_str(&bench.done(arguments).stdout).expect("one JSON document and nothing else")
}

/// The requirements on nano are stated in what `plan` prints.
#[test]
fn plan_knows_before_any_work() {
    let bench = Bench::new();
    let nano = document(&bench, &["plan", "--json"]);
    assert!(nano["encode"]["gflop"].as_f64().unwrap() <= 15.0);
    assert!(nano["decode"]["gflop"].as_f64().unwrap() <= 0.6);
    // No weights are needed for models of the catalogue.
    let base = document(&bench, &["plan", "--model", "facebook/sam-vit-base", "--json"]);
    assert!((900.0..1000.0).contains(&base["encode"]["gflop"].as_f64().unwrap()), "{base}");
    assert!(base["weight_bytes"].as_f64().unwrap() > 370e6);
    assert_eq!(base["fits"], true);
    let tight = document(&bench, &["plan", "--model", "facebook/sam-vit-huge", "--memory", "1GB", "--json"]);
    assert_eq!(tight["fits"], false);
    assert!(bench.done(&["plan"]).stdout.contains("GFLOP"));
}

/// A memory budget of the plan's own peak is enough: the plan does not promise too little.
#[test]
fn plan_is_kept() {
    let bench = Bench::new();
    bench.picture("photo.png", 200, 120, &[(90.0, 70.0, 30.0)]);
    let plan = document(&bench, &["plan", "photo.png", "--json"]);
    let peak = plan["picture"]["peak_bytes"]["cut-outs"].as_u64().unwrap().to_string();
    bench.done(&["segment", "photo.png", "--point", "90,70", "--memory", &peak, "--out", "x.png"]);
}

#[test]
fn bench_and_profile_measure() {
    let bench = Bench::new();
    for what in ["encode", "decode"] {
        let times = document(&bench, &["bench", what, "--repeat", "2", "--threads", "1", "--json"]);
        for key in ["median_s", "min_s", "max_s", "load_s", "peak_rss_bytes"] {
            assert!(times[key].as_f64().unwrap() > 0.0, "{key}: {times}");
        }
        assert_eq!((times["dtype"].as_str(), times["threads"].as_u64()), (Some("f32"), Some(1)));
    }
    let profile = document(&bench, &["profile", "--repeat", "1", "--json"]);
    assert!(profile["peak_gflop_per_s"].as_f64().unwrap() > 0.1);
    assert!(profile["operators"].as_array().unwrap().iter().any(|row| row["operator"] == "linear"));
    assert!(bench.done(&["profile", "--repeat", "1"]).stdout.contains("encoder"));
    let routes = document(&bench, &["profile", "--routes", "--json"]);
    let table: Vec<_> = routes["table"].as_array().unwrap().iter().map(|route| &route["name"]).collect();
    let taken = routes["taken"].as_array().unwrap();
    assert!(taken.iter().any(|taken| taken["operator"] == "attention"), "{routes}");
    for taken in taken {
        assert!(table.contains(&&taken["route"]) && taken["calls"].as_u64().unwrap() > 0, "{taken}");
    }
    assert!(bench.done(&["profile", "--routes"]).stdout.contains("depthwise 3x3"));
}

/// Spans lie within each other: round, stage, operator.
fn check_trace(trace: &Value, rounds: usize) {
    let events = trace["traceEvents"].as_array().unwrap();
    let number = |event: &Value, key: &str| event[key].as_f64().unwrap();
    let mut holders: Vec<(&str, f64)> = Vec::new();
    let mut seen = [0; 3];
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let (start, category) = (number(event, "ts"), event["cat"].as_str().unwrap());
        let end = start + number(event, "dur");
        holders.retain(|(_, end)| *end > start + 1e-4);
        assert!(holders.iter().all(|(_, holder)| *holder >= end - 1e-4), "{event} across {holders:?}");
        let level = ["round", "stage", "operator"].iter().position(|name| *name == category).unwrap();
        assert_eq!(holders.len(), level, "{event} in {holders:?}");
        seen[level] += 1;
        holders.push((category, end));
    }
    assert!(seen[0] == rounds && seen[1] >= 4 * rounds && seen[2] > 40 * rounds, "{seen:?}");
    let memory = events.iter().filter(|event| event["ph"] == "C" && event["name"] == "pool bytes");
    assert!(
        memory.clone().count() > 40 && memory.clone().all(|event| number(&event["args"], "pool bytes") > 1e6)
    );
}

#[test]
fn profile_names_bounds_and_writes_trace_and_flame_graph() {
    let bench = Bench::new();
    bench.picture("photo.png", 200, 120, &[(90.0, 70.0, 30.0)]);
    let files = ["--trace", "t.json", "--flamegraph", "f.svg"];
    let profile =
        document(&bench, &[&["profile", "photo.png", "--repeat", "2", "--json"], &files[..]].concat());
    check_trace(&bench.json("t.json"), 2);
    let svg = std::fs::read_to_string(bench.path("f.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("<title>encoder:") && svg.contains("<title>linear:"));
    let stages: Vec<_> = profile["stages"].as_array().unwrap().iter().map(|row| &row["stage"]).collect();
    assert_eq!(stages, ["preprocess", "encoder", "decoder", "postprocess"]);
    let positive = |value: &Value| value.as_f64().unwrap() > 0.0;
    for row in profile["operators"].as_array().unwrap() {
        assert!(["compute", "memory", "overhead"].contains(&row["bound"].as_str().unwrap()), "{row}");
        assert!(positive(&row["roof_s"]) && positive(&row["calls"]), "{row}");
        // Nothing goes to the host's memory or comes from it that is there already.
        assert!(row["operator"] != "upload" && row["operator"] != "download", "{row}");
    }
    assert!(profile["stages"].as_array().unwrap().iter().all(|row| positive(&row["peak_bytes"])));
    for key in ["f32_gflop_per_s", "int8_gop_per_s", "memory_gbyte_per_s", "call_s"] {
        assert!(positive(&profile["ceilings"][key]), "{key}: {profile}");
    }
    // The better of two measurements; whether they agree is said.
    let (apart, doubts) = (profile["ceilings"]["differ_by"].as_f64().unwrap(), &profile["doubts"]);
    assert!((0.0..1.0).contains(&apart), "{profile}");
    let is_said = doubts.to_string().contains("before and after the rounds differ by");
    assert_eq!(apart > 0.1, is_said, "{profile}");
    let memory = &profile["memory"];
    let activations = |work: &str| memory["activation_bytes"][work].as_u64().unwrap();
    assert!(activations("decode 8 prompts") > activations("decode 1 prompt"), "{memory}");
    assert!(positive(&memory["weight_bytes"]["f32"]) && memory["weight_bytes"]["int8"].is_null());
    assert!(profile["report"][0].as_str().unwrap().contains("of a round's"), "{profile}");

    let everything = ["profile", "photo.png", "--everything", "--repeat", "1", "--json", "--trace", "e.json"];
    let rows = document(&bench, &everything)["operators"].clone();
    for operator in ["measure_masks", "suppress"] {
        assert!(rows.as_array().unwrap().iter().any(|row| row["operator"] == operator), "{rows}");
    }
    let rounded = document(&bench, &["profile", "photo.png", "--repeat", "1", "--dtype", "int8", "--json"]);
    assert!(positive(&rounded["memory"]["weight_bytes"]["int8"]), "{}", rounded["memory"]);
}

#[test]
fn profile_replaces_nothing_of_others() {
    let bench = Bench::new();
    std::fs::write(bench.path("mine.json"), "mine").unwrap();
    let foreign = ["profile", "--repeat", "1", "--trace", "mine.json"];
    bench.refused(2, "name another file with --trace", &foreign);
    bench.done(&[&foreign[..], &["--overwrite"]].concat());
    bench.done(&foreign);
    bench.refused(2, "--flamegraph takes a file", &["profile", "--flamegraph", "-"]);
}

#[test]
fn forward_takes_tensors() {
    let bench = Bench::new();
    let out = bench.path("out.safetensors");
    let inputs = golden("sam1/forward_in.safetensors");
    for model in ["sam1", "sam1/model.safetensors"] {
        bench.done(&[
            "forward",
            "--model",
            &golden(model),
            "--inputs",
            &inputs,
            "--outputs",
            out.to_str().unwrap(),
        ]);
        assert!(std::fs::metadata(&out).unwrap().len() > 1000);
        std::fs::remove_file(&out).unwrap();
    }
    bench.refused(2, "pixel_values", &["forward", "--inputs", &inputs, "--outputs", "x.safetensors"]);
    bench.refused(
        1,
        "No such file",
        &["forward", "--inputs", "none.safetensors", "--outputs", "x.safetensors"],
    );
}

#[test]
fn wrong_and_hostile_checkpoints() {
    let bench = Bench::new();
    bench.picture("photo.png", 60, 40, &[(30.0, 20.0, 9.0)]);
    let whole = std::fs::read(golden("sam1/original.pth")).unwrap();
    std::fs::write(bench.path("short.pth"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(bench.path("noise.safetensors"), b"\xff\xff\xff\xff\xff\xff\xff\x7f{}").unwrap();
    let overlapping = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let mut bytes = (overlapping.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(overlapping);
    bytes.extend_from_slice(&[0; 12]);
    std::fs::write(bench.path("overlapping.safetensors"), bytes).unwrap();
    std::fs::write(bench.path("empty.pth"), b"").unwrap();
    for model in ["short.pth", "noise.safetensors", "overlapping.safetensors", "empty.pth", "photo.png"] {
        bench.refused(
            1,
            model,
            &["segment", "photo.png", "--point", "9,9", "--model", model, "--out", "x.png"],
        );
    }
}

#[test]
fn models_are_listed() {
    let bench = Bench::new();
    let listed = bench.done(&["models"]).stdout;
    assert!(listed.contains("nano") && listed.contains("facebook/sam-vit-huge"));
    let models = document(&bench, &["models", "list", "--json"]);
    assert_eq!(models["models"][0]["state"], "embedded");
    bench.done(&["models", "pull", "nano"]);
    bench.refused(2, "mobile_sam.pt", &["models", "pull", "mobile_sam"]);
    bench.refused(2, "owner/name", &["models", "pull", "whatever"]);
}

#[test]
fn help_has_examples() {
    let bench = Bench::new();
    for command in [
        "segment",
        "everything",
        "forward",
        "plan",
        "bench",
        "profile",
        "eval",
        "models",
        "quantize",
        "doctor",
    ] {
        let help = bench.done(&[command, "--help"]).stdout;
        assert!(help.contains("Example"), "{command}: {help}");
    }
    assert_eq!(bench.run(&[]).code, 2);
    assert!(bench.done(&["--version"]).stdout.starts_with("samovar "));
}

#[test]
fn help_spoke_of_text_that_no_model_reads_and_models_list_had_no_examples() {
    let bench = Bench::new();
    let help = bench.done(&["segment", "--help"]).stdout;
    assert!(help.contains("--mask") && !help.contains("--text"), "{help}");
    let help = bench.done(&["models", "list", "--help"]).stdout;
    assert!(help.contains("samovar models list --json"), "{help}");
}
