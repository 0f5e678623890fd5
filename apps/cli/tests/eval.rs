//! `samovar eval` as a user has it: the real binary on a pack of drawn discs.

mod common;

use std::io::Cursor;

use common::{Bench, is_inside};
use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use serde_json::Value;

const DISC: (f64, f64, f64) = (60.0, 60.0, 30.0);

fn block(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

fn png(picture: impl Into<image::DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A red disc on blue with its mask.
fn record(source: &str, id: &str) -> Vec<u8> {
    let colour = |x, y| Rgb(if is_inside(&DISC, x, y) { [210, 40, 30] } else { [30, 60, 160] });
    let header =
        format!(r#"{{"id":"{id}","src":"{source}","w":160,"h":120,"layers":[{{"kind":"binary"}}]}}"#);
    [
        block(header.as_bytes()),
        block(&png(RgbImage::from_fn(160, 120, colour))),
        vec![1],
        block(&png(GrayImage::from_fn(160, 120, |x, y| Luma([u8::from(is_inside(&DISC, x, y))])))),
    ]
    .concat()
}

fn bench_with_pack(records: &[Vec<u8>]) -> Bench {
    let bench = Bench::new();
    std::fs::write(bench.path("tiny.segpack"), [b"SEGPACK1".to_vec(), records.concat()].concat()).unwrap();
    bench
}

#[test]
fn a_table_and_a_document_say_the_same() {
    let bench =
        bench_with_pack(&[record("discs", "a"), record("discs", "b"), record("../more", "a/../../b")]);
    let run = bench.done(&["eval", "tiny.segpack", "--clicks", "3"]);
    for words in
        ["3 pictures, 3 masks, 2 sources", "mean over sources", "3 clicks", "GrabCut was not measured"]
    {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert!(!run.stdout.contains("PARTIAL"), "{}", run.stdout);

    let run = bench.done(&["eval", "tiny.segpack", "--clicks", "3", "--json"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&document["complete"], &document["whole_pack"]), (&true.into(), &true.into()));
    assert_eq!(document["sources"]["discs"]["masks"], 2);
    let figure = |name: &str| document["mean"][name].as_f64().unwrap();
    assert!(figure("box") > 0.95 && figure("flood_fill") > 0.99, "{document}");
    assert_eq!(document["mean"]["clicks"].as_array().unwrap().len(), 3);

    let run = bench.done(&["eval", "tiny.segpack", "--clicks", "1", "--limit", "1", "--json"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&document["masks"], &document["whole_pack"]), (&2.into(), &false.into()));
}

/// Sources and pictures are named by the pack; overlays must stay in their folder all the same.
#[test]
fn overlays_of_the_worst_stay_in_their_folder() {
    let bench = bench_with_pack(&[record("../../etc", "a/../../b"), record("discs", "a")]);
    bench.done(&["eval", "tiny.segpack", "--clicks", "1", "--errors", "worst", "--worst", "1"]);
    let files = bench.files();
    let overlays: Vec<_> =
        files.iter().filter(|file| file.extension().is_some_and(|end| end == "png")).collect();
    assert_eq!(overlays.len(), 4, "{files:?}");
    assert!(overlays.iter().all(|file| file.parent() == Some(&bench.path("worst"))), "{files:?}");
    assert_eq!(image::open(overlays[0]).unwrap().to_rgb8().dimensions(), (160, 120));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let whole = record("discs", "a");
    let bench = bench_with_pack(&[whole.clone(), whole[..whole.len() - 5].to_vec()]);
    bench.refused(1, "record 2", &["eval", "tiny.segpack"]);
    bench.refused(1, "\"tiny.segpack\"", &["eval", "tiny.segpack"]);
    bench.refused(1, "nowhere.segpack", &["eval", "nowhere.segpack"]);
    bench.refused(2, "--limit", &["eval", "tiny.segpack", "--limit", "0"]);
    bench.refused(2, "folder", &["eval", "tiny.segpack", "--errors", "tiny.segpack"]);
    std::fs::write(bench.path("other.segpack"), b"not a pack at all").unwrap();
    bench.refused(1, "segpack", &["eval", "other.segpack"]);
    std::fs::write(bench.path("none.segpack"), b"SEGPACK1").unwrap();
    bench.refused(1, "nothing to measure", &["eval", "none.segpack"]);
}

/// Ctrl-C: what is finished is shown and called partial, and the exit code tells.
#[cfg(unix)]
#[test]
fn an_interrupted_run_shows_its_part() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let bench = bench_with_pack(&vec![record("discs", "a"); 4000]);
    let mut command = bench.command();
    command.args(["eval", "tiny.segpack", "--clicks", "50"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // Late enough for some pictures, early enough for 4000 not to be done.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let lines: Vec<String> = BufReader::new(&output.stdout[..]).lines().map(Result::unwrap).collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{lines:?} {stderr}");
    assert!(stderr.contains("stopped"), "{stderr}");
    assert!(lines.is_empty() || lines[0].starts_with("PARTIAL"), "{lines:?}");
}
