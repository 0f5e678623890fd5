//! The examples run, and say what a reader is to learn from them.

use std::path::PathBuf;
use std::process::Command;

/// What an example prints.
fn printed(name: &str, arguments: &[&str]) -> String {
    // Beside the folder of this test's own binary.
    let own = std::env::current_exe().unwrap();
    let built: PathBuf = own
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        built.exists(),
        "{} is not built: cargo test does that, unless it is told --test; run cargo build --examples",
        built.display()
    );
    let run = Command::new(built).args(arguments).output().unwrap();
    let (text, errors) =
        (String::from_utf8(run.stdout).unwrap(), String::from_utf8_lossy(&run.stderr).into_owned());
    assert!(run.status.success(), "{text}\n{errors}");
    text
}

#[test]
fn batches_do_every_picture_once() {
    let text = printed("batch", &[]);
    for number in 0..12 {
        let line = text.lines().find(|line| line.starts_with(&format!("disc-{number:02}.png"))).unwrap();
        let area: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let disc = std::f64::consts::PI * (20.0 + 4.0 * f64::from(number)).powi(2);
        assert!((area / disc - 1.0).abs() < 0.15, "{line}, of {disc:.0}\n{text}");
    }
    assert!(text.contains("12 of 12 pictures") && text.contains("12 masks in batches of ["), "{text}");
}

#[test]
fn a_second_run_finds_what_the_first_one_kept() {
    let text = printed("caching", &[]);
    let stats: Vec<&str> = text.lines().filter(|line| line.contains("hit rate")).collect();
    assert!(stats[0].contains("hits 2 (2 in memory, 0 on disk), misses"), "{text}");
    let areas: Vec<&str> = text.lines().filter_map(|line| line.split("ms, ").nth(1)).collect();
    assert_eq!(areas.len(), 6, "{text}");
    assert!(areas.iter().all(|area| *area == areas[0]), "{text}");
    assert!(stats[2].contains("hits 1 ") && stats[2].contains("misses 1,"), "{text}");
    assert!(
        stats[3].contains("hits 1 ") && stats[3].contains("misses 2,"),
        "other pixels are no hit: {text}"
    );
}

#[test]
fn memory_is_shown_and_given_back() {
    let text = printed("memory", &[]);
    assert!(text.contains("facebook/sam-vit-base takes") && text.contains(": fits"), "{text}");
    assert!(text.contains("facebook/sam-vit-huge takes") && text.contains("does not fit"), "{text}");
    assert!(text.matches("level: ").count() == 2 && text.contains("process: RSS"), "{text}");
    let kept: Vec<&str> = text.lines().filter(|line| line.starts_with("kept: ")).collect();
    assert!(kept[0].starts_with("kept: 6 entries") && kept[1].starts_with("kept: 0 entries"), "{text}");
}

#[test]
fn a_detector_of_ones_own_is_cut_out() {
    let text = printed("pipeline", &[]);
    let area: f64 =
        text.split("pixels in").next().unwrap().split_whitespace().next_back().unwrap().parse().unwrap();
    let disc = std::f64::consts::PI * 30f64.powi(2);
    assert!((area / disc - 1.0).abs() < 0.15, "{text}");
    assert!(text.contains("red thing (1.00)") && text.contains("detect"), "{text}");
}
