//! Disks that are full, read-only, broken or gone, at every call that writes: an error that says so, nothing half, nothing lost, and
//! the next run goes on. A library that is preloaded makes the calls fail, one after the other.
#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Bench, Run};

const DISC: (f64, f64, f64) = (40.0, 50.0, 20.0);
const OUT: &str = "out";

/// What the system says, and words of it that a user reads.
const FAULTS: &[(i32, &[&str])] = &[
    (28, &["no storage space", "No space left", "disk is full"]),
    (30, &["read-only", "Read-only"]),
    (5, &["Input/output", "input/output"]),
    (2, &["No such file", "not found", "no such"]),
];

/// Commands that write into a folder, with what they are given there.
const JOBS: &[&[&str]] = &[
    &["segment", "imgs", "--point", "40,50", "--format", "png"],
    &["everything", "imgs", "--points-per-side", "2", "--format", "cutout", "--overlay"],
];

fn shim(folder: &Path) -> PathBuf {
    let shim = folder.join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&shim)
        .arg(source)
        .arg("-ldl")
        .status();
    assert!(built.is_ok_and(|status| status.success()), "{compiler} builds what makes calls fail");
    shim
}

/// A run in which the `at`-th call that changes the folder fails, and with `all` every later one too.
fn with_fault(
    bench: &Bench,
    shim: &Path,
    job: &[&str],
    folder: &str,
    at: usize,
    errno: i32,
    all: bool,
) -> Run {
    let mut command = bench.command();
    // Errors are to name the folder as the shim sees it.
    command.args(job).arg("--out").arg(bench.path(OUT)).args(["--threads", "1"]);
    if job[0] != "track" {
        command.args(["--images-at-once", "1"]);
    }
    command.env("LD_PRELOAD", shim).env("FAULT_FOLDER", bench.path(folder));
    command.env("FAULT_AT", at.to_string()).env("FAULT_ERRNO", errno.to_string());
    command.env("FAULT_ALL", if all { "1" } else { "0" });
    Run::from(command.output().unwrap())
}

fn results(bench: &Bench) -> Vec<(PathBuf, Vec<u8>)> {
    let is_result = |file: &PathBuf| {
        file.starts_with(bench.path(OUT)) && !file.file_name().unwrap().to_string_lossy().starts_with('.')
    };
    bench
        .files()
        .into_iter()
        .filter(is_result)
        .map(|file| (file.clone(), std::fs::read(file).unwrap()))
        .collect()
}

#[test]
fn whatever_write_fails_the_next_run_goes_on_and_nothing_is_lost() {
    let bench = Bench::new();
    (0..2).for_each(|number| drop(bench.picture(&format!("imgs/{number}.png"), 80, 50, &[DISC])));
    let shim = shim(&bench.path("imgs").with_file_name(""));
    let clear = || drop(std::fs::remove_dir_all(bench.path(OUT)));
    for job in JOBS {
        clear();
        let run = with_fault(&bench, &shim, job, OUT, 0, 28, false);
        assert_eq!(run.code, 0, "{run:?}");
        let whole = results(&bench);
        let mut sites = 0;
        for at in 1.. {
            // Every kind of fault at every call would take minutes; each call sees one, and a full disk stays full.
            let (errno, words) = FAULTS[at % FAULTS.len()];
            clear();
            let run = with_fault(&bench, &shim, job, OUT, at, errno, errno == 28);
            if !run.stderr.contains("fault: ") {
                assert_eq!(run.code, 0, "{run:?}");
                break;
            }
            sites += 1;
            // Some calls may fail without harm: what is then left is there all the same.
            let is_told = run.code == 1 && words.iter().any(|word| run.stderr.contains(word));
            assert!(is_told || run.code == 0 && results(&bench) == whole, "{at}: {run:?}");
            assert!(!run.stderr.contains("panicked"), "{at}: {run:?}");
            for (file, bytes) in results(&bench) {
                // The document of all images is made anew by each run.
                let is_merged = file.ends_with("annotations.json");
                assert!(is_merged || whole.contains(&(file.clone(), bytes)), "{at}: {}", file.display());
            }
            let again = with_fault(&bench, &shim, job, OUT, 0, errno, false);
            assert_eq!(again.code, 0, "{at}: {run:?}, then {again:?}");
            assert!(results(&bench) == whole, "{at}: {run:?}");
        }
        assert!(sites > 20, "{sites} calls were made to fail");
    }
}

#[test]
fn a_cache_that_cannot_be_written_stops_no_work() {
    let bench = Bench::new();
    bench.picture("imgs/a.png", 80, 50, &[DISC]);
    let shim = shim(&bench.path("imgs").with_file_name(""));
    let job = ["segment", "imgs", "--point", "40,50", "--format", "png", "--cache", "on"];
    let (mut sites, mut told) = (0, 0);
    for at in 1.. {
        let _ = std::fs::remove_dir_all(bench.path(OUT));
        let _ = std::fs::remove_dir_all(bench.path("cache"));
        let run = with_fault(&bench, &shim, &job, "cache", at, 28, true);
        assert!(run.code == 0 && results(&bench).len() == 1, "{at}: {run:?}");
        if !run.stderr.contains("fault: ") {
            break;
        }
        sites += 1;
        told += usize::from(run.stderr.contains("note: the cache could not be written"));
        // And what is in it then is not believed more than it deserves.
        let run = with_fault(&bench, &shim, &[&job[..], &["--overwrite"]].concat(), "cache", 0, 28, false);
        assert!(run.code == 0 && results(&bench).len() == 1, "{at}: {run:?}");
    }
    assert!(sites > 3 && told > 1, "{sites} calls were made to fail, of which {told} were told");
}

#[test]
fn a_disk_that_is_full_while_track_writes_is_told_with_what_to_do_and_finished_frames_are_safe() {
    let bench = Bench::new();
    bench.sequence(4);
    let shim = shim(&bench.path("shot").with_file_name(""));
    let job = ["track", "shot", "--point", "60,60"];
    assert_eq!(with_fault(&bench, &shim, &job, OUT, 0, 28, false).code, 0);
    let whole = results(&bench);
    assert_eq!(whole.len(), 4);
    let mut sites = 0;
    // Every third call, so that all kinds of them are among those.
    for at in (1..).step_by(3) {
        let _ = std::fs::remove_dir_all(bench.path(OUT));
        let run = with_fault(&bench, &shim, &job, OUT, at, 28, true);
        if !run.stderr.contains("fault: ") {
            assert_eq!(run.code, 0, "{run:?}");
            break;
        }
        sites += 1;
        assert!(run.code == 1 || results(&bench) == whole, "{at}: {run:?}");
        let advice =
            "frames that are finished are safe: once there is room the same command goes on, or give --out";
        assert!(run.code == 0 || run.stderr.contains(advice), "{at}: {run:?}");
        for one in results(&bench) {
            assert!(whole.contains(&one), "{at}: {}", one.0.display());
        }
        let again = with_fault(&bench, &shim, &job, OUT, 0, 28, false);
        assert!(again.code == 0 && results(&bench) == whole, "{at}: {run:?}, then {again:?}");
    }
    assert!(sites > 10, "{sites} calls were made to fail");
}

/// A run to which the system gives no more than so many kilobytes of addresses.
fn within(bench: &Bench, kilobytes: usize, job: &[&str]) -> Run {
    let mut command = Command::new("sh");
    let script = format!("ulimit -v {kilobytes}; exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_samovar")).args(job);
    command.args(["--out", OUT, "--threads", "1"]).current_dir(bench.path("."));
    Run::from(command.env("SAMOVAR_CACHE", bench.path("cache")).output().unwrap())
}

#[test]
fn wherever_the_system_has_no_memory_it_is_said_and_the_next_run_goes_on() {
    let bench = Bench::new();
    bench.sequence(3);
    // Masks are large beside what else is asked for.
    (0..2).for_each(|number| {
        drop(bench.picture(&format!("imgs/{number}.png"), 2000, 1500, &[(900.0, 800.0, 500.0)]))
    });
    let jobs: &[&[&str]] = &[
        &["segment", "imgs", "--point", "900,800", "--format", "png"],
        &["segment", "imgs", "--point", "900,800", "--format", "cutout"],
        &["segment", "imgs", "--point", "900,800", "--format", "overlay"],
        &["segment", "imgs", "--point", "900,800", "--format", "labels"],
        &["everything", "imgs", "--points-per-side", "2", "--format", "polygon"],
        &["track", "shot", "--point", "60,60"],
    ];
    for job in jobs {
        let clear = || drop(std::fs::remove_dir_all(bench.path(OUT)));
        clear();
        bench.done(&[job, &["--out", OUT][..]].concat());
        let whole = results(&bench);
        let mut refused = 0;
        // The program itself, its libraries and its reserve need the first 80 MB of addresses.
        for kilobytes in (80_000..).step_by(5_000) {
            clear();
            let run = within(&bench, kilobytes, job);
            if run.code == 0 {
                assert!(results(&bench) == whole, "{kilobytes}: {run:?}");
                break;
            }
            refused += 1;
            // The standard library ends the process where a thread that has begun gets no stack for its signals.
            if run.stderr.contains("alternative stack") {
                continue;
            }
            // A thread takes addresses, too.
            let is_said =
                run.code == 1 && ["memory", "no thread"].iter().any(|words| run.stderr.contains(words));
            assert!(is_said && !run.stderr.contains("panicked"), "{kilobytes}: {run:?}");
            bench.done(&[job, &["--out", OUT][..]].concat());
            assert!(results(&bench) == whole, "{kilobytes}: {run:?}");
        }
        assert!(refused > 5, "{refused} of {job:?} were refused");
    }
}
