//! Runs that are killed at any moment: the next one goes on, and in the end everything is there once, whole.
//!
//! A thousand kills over all commands that write folders, which takes some ten minutes:
//!
//! ```text
//! SAMOVAR_TEST_KILLS=1000 cargo test --release -p samovar-cli --test kills -- --nocapture
//! ```

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Bench, Run};
use serde_json::Value;

const IMAGES: usize = 10;
/// Kills if nobody says how many.
const KILLS: usize = 24;
/// A job that was killed so often is let go on to its end.
const KILLS_OF_A_JOB: usize = 4;

/// Commands that write folders, without `--out`.
const JOBS: &[&[&str]] = &[
    &["segment", "imgs", "--point", "40,50", "--format", "png"],
    &["segment", "imgs", "--prompts", "p.json", "--separate", "--multimask", "--format", "cutout"],
    &[
        "segment",
        "imgs",
        "--box",
        "20,30,60,70",
        "--images-at-once",
        "4",
        "--threads",
        "2",
        "--format",
        "coco",
    ],
    &["everything", "imgs", "--points-per-side", "4"],
    &["everything", "imgs", "--points-per-side", "4", "--format", "cutout", "--overlay"],
    &["everything", "imgs", "--points-per-side", "4", "--format", "polygon", "--cache", "on"],
];

/// The numbers of Knuth's MMIX generator: the same kills each time.
struct Numbers(u64);

impl Numbers {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn pictures() -> Bench {
    let bench = Bench::new();
    for number in 0..IMAGES {
        let at = 40.0 + number as f64;
        bench.picture(&format!("imgs/{number}.png"), 160, 100, &[(at, 50.0, 20.0), (120.0, 50.0, 15.0)]);
    }
    std::fs::write(
        bench.path("p.json"),
        r#"{"prompts": [{"box": [20, 30, 60, 70]}, {"box": [100, 30, 140, 70]}]}"#,
    )
    .unwrap();
    bench
}

fn start(bench: &Bench, job: &[&str], out: &str) -> Child {
    let mut command = bench.command();
    command.args(job).args(["--out", out]).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// All files of a folder by their way there. What begins with a dot is told apart.
fn files(folder: &Path) -> (BTreeMap<PathBuf, Vec<u8>>, Vec<String>) {
    fn walk(root: &Path, folder: &Path, results: &mut BTreeMap<PathBuf, Vec<u8>>, hidden: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true => walk(root, &path, results, hidden),
                false if name.starts_with('.') => hidden.push(name),
                false => {
                    results
                        .insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
                }
            }
        }
    }
    let (mut results, mut hidden) = (BTreeMap::new(), Vec::new());
    walk(folder, folder, &mut results, &mut hidden);
    hidden.sort();
    (results, hidden)
}

/// Images that the journal says are done.
fn done_so_far(bench: &Bench, out: &str) -> u64 {
    let run = bench.run(&["job", "status", out, "--json"]);
    serde_json::from_str::<Value>(&run.stdout).ok().and_then(|told| told["done"].as_u64()).unwrap_or(0)
}

/// The number before some words of a summary.
fn number_before(run: &Run, words: &str) -> u64 {
    let before = run.stderr.split(words).next().unwrap().trim_end();
    let digits = before.rsplit(|letter: char| !letter.is_ascii_digit()).next().unwrap();
    digits.parse().unwrap_or_else(|_| panic!("{words}: {run:?}"))
}

#[test]
fn whatever_is_killed_is_complete_in_the_end_and_nothing_is_done_twice() {
    let wanted = std::env::var("SAMOVAR_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let bench = pictures();
    let mut numbers = Numbers(wanted as u64);
    let expected: Vec<_> = JOBS
        .iter()
        .enumerate()
        .map(|(number, job)| {
            let out = format!("expected{number}");
            let began = Instant::now();
            let run = start(&bench, job, &out).wait_with_output().unwrap();
            assert!(run.status.success(), "{job:?}: {run:?}");
            (files(&bench.path(&out)), began.elapsed())
        })
        .collect();
    let (mut kills, mut jobs, mut late) = (0, 0, 0);
    while kills < wanted {
        let number = jobs % JOBS.len();
        let (job, ((whole, hidden), usual)) = (JOBS[number], &expected[number]);
        jobs += 1;
        let out = format!("out{jobs}");
        let folder = bench.path(&out);
        for _ in 0..KILLS_OF_A_JOB {
            let before = done_so_far(&bench, &out);
            let mut run = start(&bench, job, &out);
            let left = (IMAGES as u64).saturating_sub(before) as f64 / IMAGES as f64;
            std::thread::sleep(Duration::from_secs_f64(
                usual.as_secs_f64() * (0.2 + 0.7 * left) * numbers.next(),
            ));
            late += usize::from(run.try_wait().unwrap().is_some());
            let _ = run.kill();
            let run = Run::from(run.wait_with_output().unwrap());
            kills += 1;
            assert!(!run.stderr.contains("error"), "{job:?}: {run:?}");
            // What is there is whole, and is what it has to be.
            for (file, bytes) in files(&folder).0 {
                assert!(whole.get(&file) == Some(&bytes), "{job:?}: {} after a kill", file.display());
            }
            assert!(done_so_far(&bench, &out) >= before, "{job:?}");
        }
        let before = done_so_far(&bench, &out);
        let run = Run::from(start(&bench, job, &out).wait_with_output().unwrap());
        assert_eq!(run.code, 0, "{job:?}: {run:?}");
        let done = number_before(&run, if job[0] == "segment" { " done, " } else { " done with" });
        let skipped = number_before(&run, " done before");
        assert!(skipped >= before, "{job:?}: {before} were done: {run:?}");
        assert_eq!(done + skipped, IMAGES as u64, "{job:?}: {run:?}");
        let (results, left) = files(&folder);
        assert!(results == *whole, "{job:?}: other results than without kills");
        assert_eq!(left, *hidden, "{job:?}: something of a killed run is left");
        std::fs::remove_dir_all(&folder).unwrap();
        if jobs % 20 == 0 {
            println!("{kills} kills, {jobs} jobs complete, {late} kills came after the end");
        }
    }
    println!("{kills} kills, {jobs} jobs complete, {late} kills came after the end");
    assert!(late * 2 < kills, "most kills came too late to tell anything");
}
