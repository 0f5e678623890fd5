//! What `samovar top` sees of other processes, from outside.

mod common;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::Bench;
use serde_json::Value;

fn look(bench: &Bench) -> Vec<Value> {
    let document: Value = serde_json::from_str(&bench.done(&["top", "--once", "--json"]).stdout).unwrap();
    assert!(document["memory"]["total_bytes"].as_u64().unwrap() > 0);
    document["processes"].as_array().unwrap().clone()
}

/// Images of a job.
const COUNT: u64 = 40;

/// A job over more pictures than are looked at in a moment.
fn start(bench: &Bench) -> Child {
    for index in 0..COUNT {
        bench.picture(&format!("in/{index:03}.png"), 64, 48, &[(30.0, 20.0, 12.0)]);
    }
    let arguments = ["everything", "in", "--out", "out", "--points-per-side", "4", "--cache", "on"];
    bench.command().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn seen(bench: &Bench, is_enough: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(process) = look(bench).into_iter().find(&is_enough) {
            return process;
        }
        assert!(Instant::now() < until, "the job is not seen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn published(bench: &Bench) -> usize {
    std::fs::read_dir(bench.path("cache/run")).map_or(0, |found| found.count())
}

#[test]
fn a_job_is_seen_while_it_runs_and_gone_when_it_ends() {
    let bench = Bench::new();
    assert!(look(&bench).is_empty());
    let mut job = start(&bench);
    let process = seen(&bench, |process| process["work"]["through"].as_u64() > Some(0));
    assert_eq!(process["process_id"].as_u64(), Some(job.id().into()));
    assert!(process["command"].as_str().unwrap().starts_with("everything in --out out"));
    let work = &process["work"];
    assert_eq!((work["all"].as_u64(), work["unit"].as_str()), (Some(COUNT), Some("images")));
    assert_eq!(work["through"].as_u64().unwrap() + work["left"].as_u64().unwrap(), COUNT);
    assert!(work["p50_ms"].as_f64() > Some(0.0) && work["per_s"].as_f64() > Some(0.0), "{work}");
    assert!(process["memory"]["resident_bytes"].as_u64() > Some(1_000_000));
    let pool = &process["devices"][0];
    assert!(
        pool["reserved_bytes"].as_u64() > Some(0)
            && pool["budget_bytes"].as_u64() > pool["peak_bytes"].as_u64()
    );
    assert!(process["caches"][0]["misses"].as_u64() > Some(0), "{process}");
    let text = bench.done(&["top", "--once"]).stdout;
    assert!(text.contains(&format!("of {COUNT} images")) && text.contains("images/s"), "{text}");
    assert!(job.wait().unwrap().success());
    assert!(look(&bench).is_empty());
    assert_eq!(published(&bench), 0);
}

#[test]
fn a_job_that_is_killed_is_gone() {
    let bench = Bench::new();
    let mut job = start(&bench);
    seen(&bench, |_| true);
    job.kill().unwrap();
    job.wait().unwrap();
    assert_eq!(published(&bench), 1, "nobody was there to remove it");
    assert!(look(&bench).is_empty());
    assert_eq!(published(&bench), 0);
}

#[test]
fn top_wants_a_terminal_or_a_form() {
    let bench = Bench::new();
    bench.refused(2, "give --once", &["top"]);
    bench.refused(2, "from 0.2 to 60", &["top", "--once", "--interval", "0"]);
    assert!(bench.done(&["top", "--once"]).stdout.contains("no samovar is at work"));
}

/// Whoever cannot tell of itself works all the same.
#[test]
fn a_cache_folder_that_cannot_be_written_stops_no_work() {
    let bench = Bench::new();
    bench.picture("photo.png", 120, 90, &[(60.0, 45.0, 25.0)]);
    std::fs::write(bench.path("file"), "mine").unwrap();
    let mut command = bench.command();
    command.env("SAMOVAR_CACHE", bench.path("file")).args(["everything", "photo.png", "--out", "out.json"]);
    assert!(command.output().unwrap().status.success());
    assert_eq!(std::fs::read(bench.path("file")).unwrap(), b"mine");
}
