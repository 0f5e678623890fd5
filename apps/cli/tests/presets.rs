//! Presets, from outside.

mod common;

use common::Bench;
use serde_json::Value;

const PRESETS: [&str; 7] =
    ["gpu-24gb", "gpu-16gb", "gpu-12gb", "gpu-8gb", "cpu", "high-throughput", "memory-constrained"];

fn shown(bench: &Bench, arguments: &[&str]) -> Value {
    let run = bench.done(&[&["config", "show", "--json"], arguments].concat());
    serde_json::from_str(&run.stdout).unwrap()
}

fn setting<'v>(document: &'v Value, key: &str) -> &'v Value {
    let settings = document["settings"].as_array().unwrap();
    settings.iter().find(|setting| setting["key"] == key).unwrap()
}

#[test]
fn every_preset_is_listed_printed_and_computes() {
    let bench = Bench::new();
    bench.picture("photo.png", 120, 90, &[(60.0, 45.0, 25.0)]);
    let list = bench.done(&["config", "list"]).stdout;
    let plain = bench.done(&["segment", "photo.png", "--point", "60,45", "--json"]).stdout;
    for preset in PRESETS {
        assert!(list.lines().any(|line| line.split_whitespace().next() == Some(preset)), "{list}");
        let file = bench.done(&["config", "print", preset]).stdout;
        std::fs::write(bench.path("copy.toml"), file).unwrap();
        for name in [preset, "copy.toml"] {
            let arguments = ["segment", "photo.png", "--point", "60,45", "--json", "--preset", name];
            assert_eq!(bench.done(&arguments).stdout, plain, "{name}");
        }
    }
    let all = ["everything", "photo.png", "--json", "--points-per-side", "4"];
    let masks = bench.done(&all).stdout;
    let fewer = bench.done(&[&all[..], &["--preset", "memory-constrained"]].concat()).stdout;
    let count = |text: &str| {
        let document: Value = serde_json::from_str(text).unwrap();
        document["annotations"].as_array().unwrap().len()
    };
    assert_eq!(count(&masks), count(&fewer));
}

#[test]
fn what_a_preset_says_is_what_is_done() {
    let bench = Bench::new();
    std::fs::write(bench.path("my.toml"), "# mine\nthreads = 1\nmemory = \"1234MB\"\nmax_pixels = 1000\n")
        .unwrap();
    let plan = |more: &[&str], variables: &[(&str, &str)]| -> Value {
        let mut command = bench.command();
        command.args(["plan", "--json"]).args(more).envs(variables.iter().copied());
        serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
    };
    let preset = ["--preset", "my.toml"];
    assert_eq!(plan(&preset, &[])["budget_bytes"], 1_234_000_000u64);
    assert_eq!(plan(&[], &[("SAMOVAR_PRESET", "my.toml")])["budget_bytes"], 1_234_000_000u64);
    assert_eq!(plan(&preset, &[("SAMOVAR_MEMORY", "2GB")])["budget_bytes"], 2_000_000_000u64);
    let flag = [&preset[..], &["--memory", "3GB"]].concat();
    assert_eq!(plan(&flag, &[("SAMOVAR_MEMORY", "2GB")])["budget_bytes"], 3_000_000_000u64);
    bench.picture("photo.png", 120, 90, &[(60.0, 45.0, 25.0)]);
    bench.refused(1, "1000", &["segment", "photo.png", "--point", "60,45", "--preset", "my.toml"]);
}

#[test]
fn what_is_shown_names_who_said_it() {
    let bench = Bench::new();
    std::fs::write(bench.path("my.toml"), "# mine\ncache = \"off\"\nthreads = 1\nmemory = \"1GB\"\n")
        .unwrap();
    let plain = shown(&bench, &[]);
    assert!(plain["settings"].as_array().unwrap().iter().all(|one| one["source"]["from"] == "default"));
    let mut command = bench.command();
    command.env("SAMOVAR_THREADS", "2");
    command.args(["config", "show", "--json", "--preset", "my.toml", "--memory", "2GB"]);
    let document: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let source = |key: &str| setting(&document, key)["source"].clone();
    let from_preset = serde_json::json!({ "from": "preset", "file": "my.toml", "line": 2 });
    assert_eq!((source("cache"), &setting(&document, "cache")["value"]), (from_preset, &"off".into()));
    assert_eq!(source("threads")["variable"], "SAMOVAR_THREADS");
    assert_eq!(
        (&source("memory")["flag"], &setting(&document, "memory")["value"]),
        (&"--memory".into(), &"2GB".into())
    );
    assert_eq!(source("dtype")["from"], "default");
    let switched = shown(&bench, &["--no-optimizations"]);
    assert_eq!(setting(&switched, "optimizations")["value"], "off");
    let text = bench.done(&["config", "show", "--preset", "my.toml"]).stdout;
    assert!(text.lines().any(|line| line.starts_with("cache ") && line.ends_with("my.toml:2")), "{text}");
}

#[test]
fn unknown_keys_and_presets_are_refused_with_a_suggestion() {
    let bench = Bench::new();
    std::fs::write(bench.path("my.toml"), "# mine\n\nmemmory = \"8GB\"\n").unwrap();
    for command in [&["plan"][..], &["config", "show"], &["doctor"], &["profile"]] {
        let arguments = [command, &["--preset", "my.toml"]].concat();
        bench.refused(2, "my.toml:3: no setting is called `memmory`; did you mean `memory`?", &arguments);
    }
    bench.refused(2, "did you mean cpu?", &["plan", "--preset", "cpuu"]);
    bench.refused(2, "there is no such file", &["plan", "--preset", "./cpu"]);
    bench.refused(2, "--force-dtype forces a dtype", &["profile", "--force-dtype"]);
}

/// A preset for a larger machine takes what there is, and says so; a flag is taken at its word.
#[test]
fn a_preset_takes_no_more_memory_than_there_is() {
    let bench = Bench::new();
    std::fs::write(bench.path("my.toml"), "# mine\nmemory = \"900TB\"\n").unwrap();
    let run = bench.done(&["plan", "--json", "--preset", "my.toml"]);
    assert!(run.stderr.contains("my.toml:2 asks for 900 TB of memory"), "{}", run.stderr);
    let budget = serde_json::from_str::<Value>(&run.stdout).unwrap()["budget_bytes"].as_u64().unwrap();
    assert!(budget < 100_000_000_000_000, "{budget}");
    assert!(!bench.done(&["plan", "--memory", "900TB"]).stderr.contains("asks for"));
}

#[test]
fn the_preset_for_this_machine_is_one() {
    let bench = Bench::new();
    bench.done(&["config", "suggest", "--out", "here.toml"]);
    let text = std::fs::read_to_string(bench.path("here.toml")).unwrap();
    assert!(text.contains("GFLOP/s in f32") && text.contains("images a second"), "{text}");
    let shown = shown(&bench, &["--preset", "here.toml"]);
    assert_eq!(setting(&shown, "points_per_batch")["source"]["file"], "here.toml");
    bench.refused(2, "is there already", &["config", "suggest", "--out", "here.toml"]);
    assert_eq!(std::fs::read_to_string(bench.path("here.toml")).unwrap(), text);
}

/// `config show` took what the flags of commands refuse, and 0 for auto.
#[test]
fn config_show_refuses_what_the_flags_of_commands_refuse() {
    let bench = Bench::new();
    for flag in [
        ["--threads", "0"],
        ["--threads", "auto"],
        ["--images-at-once", "0"],
        ["--points-per-batch", "0"],
        ["--timeout", "never"],
        ["--dtype", "f8"],
        ["--memory", "much"],
    ] {
        let everything = [&["everything", "photo.png"], &flag[..]].concat();
        bench.refused(2, "invalid value", &everything);
        bench.refused(2, "invalid value", &[&["config", "show"], &flag[..]].concat());
    }
    let given =
        shown(&bench, &["--threads", "3", "--memory", "2GB", "--timeout", "10s", "--no-optimizations"]);
    let value = |key: &str| setting(&given, key)["value"].clone();
    assert_eq!(
        (value("threads"), value("memory"), value("timeout")),
        ("3".into(), "2GB".into(), "10s".into())
    );
    assert_eq!((value("optimizations"), value("dtype")), ("off".into(), "auto".into()));
    assert_eq!(setting(&given, "timeout")["source"]["flag"], "--timeout");
    let mut command = bench.command();
    let run = command.args(["config", "show"]).env("SAMOVAR_THREADS", "0").output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(said.contains("SAMOVAR_THREADS is `0`; expected a number from 1"), "{said}");
}

/// Messages named fields of Rust, which nobody sets on a command line.
#[test]
fn levels_of_memory_are_checked_and_told_of_by_the_names_of_settings() {
    let bench = Bench::new();
    std::fs::write(bench.path("my.toml"), "# mine\nmemory_pressure = 0.95\nmemory_warning = 0.5\n").unwrap();
    for command in [&["config", "show"][..], &["plan"], &["profile"]] {
        let words = "my.toml:2: memory_pressure is `0.95`, and memory_warning is `0.5` (my.toml:3)";
        bench.refused(2, words, &[command, &["--preset", "my.toml"]].concat());
    }
    bench.picture("photo.png", 64, 48, &[(30.0, 20.0, 12.0)]);
    let point = ["segment", "photo.png", "--point", "30,20"];
    let mut command = bench.command();
    for level in ["PRESSURE", "WARNING", "CRITICAL"] {
        command.env(format!("SAMOVAR_MEMORY_{level}"), "0.000001");
    }
    let scarce = common::Run::from(command.args(point).output().unwrap());
    assert!(
        scarce.code == 1 && scarce.stderr.contains("SAMOVAR_MEMORY_CRITICAL, or memory_critical"),
        "{scarce:?}"
    );
    let tight = bench.run(&[&point[..], &["--memory", "30MB"]].concat());
    assert!(tight.code == 1 && tight.stderr.contains("SAMOVAR_MEMORY, or memory in a preset"), "{tight:?}");
    assert!(!(scarce.stderr + &tight.stderr).contains("Options::"));
}
