//! The tables of `samovar bench`, in their small version.

mod common;

use common::Bench;
use serde_json::Value;

/// Runs a table and reads it.
fn table(bench: &Bench, arguments: &[&str]) -> Value {
    let run = bench.done(&[&["bench"], arguments, &["--quick", "--threads", "2", "--json"]].concat());
    serde_json::from_str(&run.stdout).expect("one JSON document and nothing else")
}

/// All samples of a column, by row.
fn samples<'t>(table: &'t Value, column: &str) -> Vec<(&'t str, Vec<f64>)> {
    let rows = table["rows"].as_array().unwrap().iter();
    let of = |row: &'t Value| {
        let samples = row["columns"][column].as_array()?;
        Some((row["what"].as_str().unwrap(), samples.iter().map(|sample| sample.as_f64().unwrap()).collect()))
    };
    rows.filter_map(of).collect()
}

#[test]
fn the_document_s_table_has_a_column_without_optimisations_and_one_of_another_binary() {
    let bench = Bench::new();
    // Whatever the environment says, the column "on" is with optimisations.
    let arguments = ["bench", "document", "--quick", "--threads", "2", "--json", "--baseline"];
    let mut command = bench.command();
    command.args(arguments).arg(env!("CARGO_BIN_EXE_samovar")).env("SAMOVAR_OPTIMIZATIONS", "off");
    let run = common::Run::from(command.output().unwrap());
    let table: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    let (off, on, before) = (samples(&table, "off"), samples(&table, "on"), samples(&table, "before"));
    assert_eq!((off.len(), on.len(), before.len()), (12, 12, 12), "{table}");
    for (what, samples) in off.iter().chain(&on).chain(&before) {
        assert!(samples.len() == 1 && samples[0] >= 0.0 && samples[0].is_finite(), "{what}: {samples:?}");
    }
    let row = |rows: &[(&str, Vec<f64>)], what: &str| rows.iter().find(|(own, _)| *own == what).unwrap().1[0];
    let again = "same image again, memory";
    assert!(row(&on, again) < row(&off, again), "what is kept is not encoded again: {table}");
    assert!(row(&before, again) < row(&off, again), "the other binary is asked for the same: {table}");
    assert!(row(&on, "10 images, peak memory") > 1e7);
    assert_eq!(table["rows"][2]["claim"], "2.02x");
    let video = "video of 5 frames, process";
    assert!(
        row(&on, "  ... again, all of it known") < row(&on, video),
        "what is known is not found anew: {table}"
    );
}

#[test]
fn batches_and_loads_are_measured_on_a_held_engine() {
    let bench = Bench::new();
    let batch = table(&bench, &["batch"]);
    let on = samples(&batch, "on");
    let names: Vec<_> = on.iter().map(|(what, _)| *what).collect();
    assert!(
        names.contains(&"4 prompts at once: latency") && names.contains(&"2 images at once: images"),
        "{names:?}"
    );
    assert!(on.iter().chain(&samples(&batch, "off")).all(|(_, samples)| samples[0] > 0.0), "{batch}");
    let verdicts: Vec<_> =
        batch["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    assert!(verdicts[0].starts_with("prompts: ") && verdicts[1].starts_with("images: "), "{verdicts:?}");
    assert!(verdicts.iter().filter(|words| words.contains("pay")).count() == 2, "{verdicts:?}");

    let load = table(&bench, &["load", "--requests", "8"]);
    let on = samples(&load, "on");
    for threads in ["1 thread", "2 threads"] {
        let of = |name: &str| on.iter().find(|(what, _)| *what == format!("{threads}: {name}")).unwrap().1[0];
        assert!(of("P50") <= of("P95") && of("P95") <= of("P99") && of("P50") > 0.0, "{load}");
        assert!(of("prompts") > 0.0 && of("memory beside the image") > 0.0, "{load}");
    }
}

#[test]
fn no_run_fails_under_a_limit_that_the_plan_allows() {
    let bench = Bench::new();
    let table = table(&bench, &["pressure", "--runs", "4"]);
    for column in ["off", "on"] {
        let rows = samples(&table, column);
        assert_eq!(rows[0], ("failures of 4 runs", vec![0.0]), "{table}");
        assert_eq!(rows[1].1, [0.0], "{table}");
        assert_eq!(rows[2].1.len(), 4, "{table}");
    }
    bench.refused(2, "leave it out", &["bench", "pressure", "--memory", "1GB"]);
}

#[test]
fn a_folder_is_measured_against_its_processor_time() {
    let bench = Bench::new();
    let table = table(&bench, &["folder", "--images", "2,3"]);
    let on = samples(&table, "on");
    assert_eq!((on[0].0, on[5].0), ("2 photographs", "3 photographs"));
    assert!(on.iter().all(|(_, samples)| samples[0] > 0.0), "{table}");
}

/// 4 GB of photographs would stay behind.
#[cfg(unix)]
#[test]
fn a_bench_that_is_stopped_leaves_no_pictures_behind() {
    for signal in ["-INT", "-TERM"] {
        let bench = Bench::new();
        let temporary = bench.path("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let mut command = bench.command();
        let run = command.args(["bench", "pressure", "--quick", "--runs", "1000"]).env("TMPDIR", &temporary);
        let mut run =
            run.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let files = || std::fs::read_dir(&temporary).unwrap().flatten().map(|entry| entry.path().join("out"));
        let wait = std::time::Instant::now();
        while !files().any(|out| out.exists()) {
            assert!(wait.elapsed().as_secs() < 120, "no run has begun");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // A child that goes on when its parent has ended is given to another.
        let children = format!("/proc/{0}/task/{0}/children", run.id());
        let child = std::fs::read_to_string(children).unwrap_or_default();
        let stop = std::process::Command::new("kill").args([signal, &run.id().to_string()]).status().unwrap();
        assert!(stop.success() && !run.wait().unwrap().success());
        assert_eq!(files().count(), 0, "{signal}");
        for child in child.split_whitespace() {
            assert!(!std::path::Path::new("/proc").join(child).exists(), "{signal}: a child is left");
        }
    }
}

/// What does nothing is quick.
#[cfg(unix)]
#[test]
fn a_baseline_that_does_nothing_is_refused() {
    let bench = Bench::new();
    for table in ["document", "batch", "load", "segment", "folder", "pressure"] {
        let arguments = ["bench", table, "--quick", "--baseline", "/bin/true"];
        bench.refused(1, "is it a samovar?", &arguments);
    }
}

/// As fa39996, which has tables neither of batches nor of loads.
#[cfg(unix)]
#[test]
fn a_baseline_that_cannot_be_asked_has_that_in_its_cells() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let old = bench.path("old");
    let own = env!("CARGO_BIN_EXE_samovar");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *worker*|*--images-at-once*) echo unknown >&2; exit 2;; esac\nexec {own} \"$@\"\n"
    );
    std::fs::write(&old, script).unwrap();
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o755)).unwrap();
    let old = old.to_str().unwrap();
    let cell = |table: &Value, row: usize| table["rows"][row]["instead"]["before"].clone();
    let batch = table(&bench, &["batch", "--baseline", old]);
    let rows: Vec<_> = samples(&batch, "before").into_iter().map(|(what, _)| what).collect();
    assert_eq!(
        rows,
        ["1 prompt: latency", "1 prompt: prompts", "1 image: latency", "1 image: images"],
        "{batch}"
    );
    assert_eq!((cell(&batch, 2), cell(&batch, 6)), ("no such command".into(), "no such option".into()));
    let load = table(&bench, &["load", "--baseline", old]);
    assert_eq!(samples(&load, "before").len(), 4, "{load}");
    assert_eq!(cell(&load, 5), "no such command");
    assert!(load["notes"][1].as_str().unwrap().contains("a process for each"), "{load}");
}

#[test]
fn runs_are_saved_and_compared_with_their_noise() {
    let bench = Bench::new();
    let run = bench.done(&["bench", "segment", "--quick", "--repeat", "3", "--save", "a.json"]);
    assert!(run.stdout.contains("second process") && run.stdout.contains("off/on"), "{}", run.stdout);
    let mut saved = bench.json("a.json");
    assert_eq!(
        (saved["bench"].as_str(), saved["rows"][0]["columns"]["on"].as_array().unwrap().len()),
        (Some("segment"), 3)
    );
    assert!(
        saved["time"].as_u64().unwrap() > 1_700_000_000 && saved["machine"]["threads"].as_u64() > Some(0)
    );
    let same = bench.done(&["bench", "compare", "a.json", "a.json"]).stdout;
    assert_eq!(same.matches("no difference").count(), 6, "{same}");
    // A hundred times the first, without the noise of a busy machine, which would be as large.
    let on = saved["rows"][0]["columns"]["on"].as_array_mut().unwrap();
    let slow = on[0].as_f64().unwrap() * 100.0;
    on.iter_mut().for_each(|sample| *sample = slow.into());
    std::fs::write(bench.path("b.json"), saved.to_string()).unwrap();
    let document = bench.done(&["bench", "compare", "a.json", "b.json", "--json"]).stdout;
    let document: Value = serde_json::from_str(&document).unwrap();
    let verdicts: Vec<_> =
        document["rows"].as_array().unwrap().iter().map(|row| row["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts.iter().filter(|words| **words == "worse").count(), 1, "{document}");
    assert_eq!(verdicts.iter().filter(|words| **words == "no difference").count(), 5, "{document}");

    saved["settings"]["dtype"] = "int8".into();
    saved["machine"]["processor"] = "another\u{1b}[2J".into();
    std::fs::write(bench.path("b.json"), saved.to_string()).unwrap();
    let said = bench.done(&["bench", "compare", "a.json", "b.json"]).stderr;
    assert!(said.contains("differ in dtype (auto, int8)") && said.contains("machine: processor ("), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    #[cfg(unix)]
    bench.refused(2, "there is no end of it", &["bench", "compare", "a.json", "/dev/zero"]);
    std::fs::File::create(bench.path("large.json")).unwrap().set_len(17 << 20).unwrap();
    bench.refused(2, "too many", &["bench", "compare", "a.json", "large.json"]);

    std::fs::write(bench.path("mine.json"), "{}").unwrap();
    bench.refused(2, "another file with --save", &["bench", "segment", "--quick", "--save", "mine.json"]);
    bench.refused(1, "mine.json", &["bench", "compare", "a.json", "mine.json"]);
    bench.refused(1, "nowhere", &["bench", "segment", "--quick", "--baseline", "nowhere"]);
    bench.refused(2, "a column without optimisations already", &["bench", "segment", "--no-optimizations"]);
    saved["bench"] = "folder".into();
    std::fs::write(bench.path("b.json"), saved.to_string()).unwrap();
    bench.refused(2, "compare like with like", &["bench", "compare", "a.json", "b.json"]);
}
