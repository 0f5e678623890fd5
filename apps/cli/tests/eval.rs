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
    let run_of_table = bench.done(&["eval", "tiny.segpack", "--clicks", "3"]);
    for words in [
        "3 pictures, 3 masks, 2 sources",
        "IoU by",
        "boundary F by",
        "mean over sources",
        "3 clicks",
        "GrabCut was not measured",
    ] {
        assert!(run_of_table.stdout.contains(words), "{words}: {}", run_of_table.stdout);
    }
    assert!(!run_of_table.stdout.contains("PARTIAL"), "{}", run_of_table.stdout);

    let run = bench.done(&["eval", "tiny.segpack", "--clicks", "3", "--json"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&document["complete"], &document["whole_pack"]), (&true.into(), &true.into()));
    assert_eq!(document["sources"]["discs"]["masks"], 2);
    let figure = |name: &str| document["mean"][name].as_f64().unwrap();
    assert!(figure("box") > 0.95 && figure("flood_fill") > 0.99, "{document}");
    assert_eq!(document["mean"]["clicks"].as_array().unwrap().len(), 3);
    let boundary = |name: &str| document["mean"]["boundary_f"][name].as_f64().unwrap();
    assert!(boundary("box") > 0.9 && boundary("flood_fill") > 0.99, "{document}");
    for value in [figure("box"), boundary("box"), boundary("one_click")] {
        assert!(run_of_table.stdout.contains(&format!("{value:.3}")), "{value}: {}", run_of_table.stdout);
    }

    let run = bench.done(&["eval", "tiny.segpack", "--clicks", "1", "--limit", "1", "--json"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&document["masks"], &document["whole_pack"]), (&2.into(), &false.into()));
}

#[test]
fn the_document_has_the_figures_of_every_mask_and_what_was_asked() {
    let bench = bench_with_pack(&[record("discs", "a"), record("more", "b")]);
    let run = bench.done(&["eval", "tiny.segpack", "--clicks", "3", "--json"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let masks = document["per_mask"].as_array().unwrap();
    assert_eq!(masks.len(), 2);
    let mask = &masks[0];
    assert_eq!((&mask["source"], &mask["picture"]), (&"discs".into(), &"a".into()));
    assert_eq!((&mask["layer"], &mask["label"]), (&0.into(), &1.into()));
    assert_eq!(mask["bounds"], serde_json::json!([30, 30, 90, 90]));
    let area = mask["area"].as_f64().unwrap();
    assert!((mask["share"].as_f64().unwrap() - area / (160.0 * 120.0)).abs() < 1e-12, "{mask}");
    let clicks = mask["clicks"].as_array().unwrap();
    assert_eq!((clicks.len(), &clicks[0]["positive"]), (3, &true.into()));
    for answer in [&clicks[2], &mask["box"], &mask["best_of_three"]] {
        for figure in ["iou", "boundary_f", "predicted_iou"] {
            assert!((0.5..1.1).contains(&answer[figure].as_f64().unwrap()), "{figure}: {answer}");
        }
    }
    assert_eq!(mask["box"]["bounds"].as_array().unwrap().len(), 4);
    let mean = (0..2).map(|index| masks[index]["box"]["iou"].as_f64().unwrap()).sum::<f64>() / 2.0;
    assert!((document["mean"]["box"].as_f64().unwrap() - mean).abs() < 1e-12, "{mean}: {document}");
}

/// A document begins before the end is known; whoever reads it must be able to all the same.
#[test]
fn a_document_of_a_pack_that_ends_early_is_whole_and_says_so() {
    let whole = record("discs", "a");
    let bench = bench_with_pack(&[whole.clone(), whole.clone(), whole]);
    let pack = std::fs::read(bench.path("tiny.segpack")).unwrap();
    // A label map that is none: found when its picture's turn comes, long after the names were read.
    let mut damaged = pack.clone();
    let at = pack.windows(4).rposition(|window| window == b"IDAT").unwrap();
    damaged[at..at + 40].fill(b'x');
    std::fs::write(bench.path("tiny.segpack"), damaged).unwrap();
    let run = bench.run(&["eval", "tiny.segpack", "--clicks", "1", "--json", "--threads", "1"]);
    assert_eq!(run.code, 1, "{run:?}");
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((document["per_mask"].as_array().unwrap().len(), &document["complete"]), (2, &false.into()));
    let words = document["error"].as_str().unwrap();
    assert!(words.contains("tiny.segpack") && run.stderr.contains(words), "{run:?}");
}

#[test]
fn a_sample_is_the_seeds_and_not_the_first_pictures() {
    let records: Vec<_> = (0..40).map(|index| record("discs", &format!("p{index:02}"))).collect();
    let bench = bench_with_pack(&records);
    let pictures = |seed: &str| -> Vec<String> {
        let run =
            bench.done(&["eval", "tiny.segpack", "--clicks", "1", "--limit", "4", "--seed", seed, "--json"]);
        let document: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(document["seed"].to_string(), seed);
        let masks = document["per_mask"].as_array().unwrap();
        masks.iter().map(|mask| mask["picture"].as_str().unwrap().to_owned()).collect()
    };
    let drawn = pictures("0");
    assert_eq!((drawn.len(), pictures("0")), (4, drawn.clone()));
    assert_ne!(drawn, ["p00", "p01", "p02", "p03"]);
    assert_ne!(pictures("1"), drawn);
}

/// Overlays had a limit of 255, and those of pictures whose names are alike without their odd characters were one file.
#[test]
fn more_than_255_overlays_of_a_source_are_as_many_files() {
    // Two pictures of 130 squares each, of 25 pixels.
    let squares = GrayImage::from_fn(160, 120, |x, y| {
        let label = x / 8 + 20 * (y / 8) + 1;
        Luma([if x % 8 < 5 && y % 8 < 5 && label <= 130 { label as u8 } else { 0 }])
    });
    let record = |id: &str| {
        let header =
            format!(r#"{{"id":"{id}","src":"s","w":160,"h":120,"layers":[{{"kind":"instances"}}]}}"#);
        [block(header.as_bytes()), block(&png(squares.clone())), vec![1], block(&png(squares.clone()))]
            .concat()
    };
    let bench = bench_with_pack(&[record("a/b"), record("a-b")]);
    bench.done(&["eval", "tiny.segpack", "--clicks", "1", "--errors", "worst", "--worst", "258"]);
    let folder = bench.path("worst");
    assert_eq!(bench.files().iter().filter(|file| file.parent() == Some(&folder)).count(), 2 * 258);
}

#[test]
fn masks_of_videos_are_measured_against_a_folder_or_a_pack() {
    let bench = Bench::new();
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dev/goldens/measures");
    let (found, truth) = (format!("{goldens}/found"), format!("{goldens}/truth"));
    let run = bench.done(&["eval", &truth, "--masks", &found]);
    for words in ["2 sequences, 3 objects", "two-discs/2", "mean over objects", "0.756   1.000   0.270"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    let run = bench.done(&["eval", &truth, "--masks", &found, "--all-frames", "--json"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let expected: Value =
        serde_json::from_slice(&std::fs::read(format!("{goldens}/davis.json")).unwrap()).unwrap();
    let object = &document["sequences"]["two-discs"]["objects"]["1"];
    let (ours, davis) =
        (object["F"]["mean"].as_f64().unwrap(), &expected["all_frames"]["two-discs_1"]["F"][0]);
    assert!((ours - davis.as_f64().unwrap()).abs() < 1e-12, "{object}");

    bench.refused(1, "nowhere", &["eval", &truth, "--masks", "nowhere"]);
    bench.refused(2, "--limit", &["eval", &truth, "--masks", &found, "--limit", "3"]);
    bench.refused(2, "--masks", &["eval", &truth, "--all-frames"]);
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
    let output = interrupted(&[]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.is_empty() || stdout.starts_with("PARTIAL"), "{stdout}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_document_is_whole() {
    let output = interrupted(&["--json"]);
    if output.stdout.is_empty() {
        return; // so busy a machine that not one picture was done
    }
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let masks = document["per_mask"].as_array().unwrap().len();
    assert_eq!((&document["complete"], &document["masks"]), (&false.into(), &masks.into()));
}

/// What a run with more to do than time leaves after Ctrl-C.
#[cfg(unix)]
fn interrupted(arguments: &[&str]) -> std::process::Output {
    use std::process::Stdio;
    let bench = bench_with_pack(&vec![record("discs", "a"); 4000]);
    let mut command = bench.command();
    command.args(["eval", "tiny.segpack", "--clicks", "50"]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // Late enough for some pictures, early enough for 4000 not to be done.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("stopped"), "{stderr}");
    output
}
