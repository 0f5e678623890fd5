//! Results of runs: their names, what is kept of earlier runs, what is not replaced.

mod common;

use common::{Bench, iou};

const DISC: (f64, f64, f64) = (40.0, 50.0, 20.0);
const OTHER: (f64, f64, f64) = (120.0, 50.0, 20.0);

fn pictures(names: &[&str]) -> Bench {
    let bench = Bench::new();
    names.iter().for_each(|name| drop(bench.picture(name, 160, 100, &[DISC, OTHER])));
    bench
}

/// Of the two discs the one that a mask has.
fn holds_left(bench: &Bench, mask: &str) -> bool {
    let mask = bench.rgba(mask);
    let is_on = |pixel: [u8; 4]| pixel[0] > 127;
    let (left, right) = (iou(&mask, &[DISC], is_on), iou(&mask, &[OTHER], is_on));
    assert!(f64::max(left, right) > 0.9, "{left}, {right}");
    left > right
}

#[test]
fn numbered_results_took_the_place_of_those_of_other_images() {
    let bench = pictures(&["imgs/cup.png", "imgs/cup-1.jpg", "imgs/cup-2.png", "imgs/other.png"]);
    std::fs::write(
        bench.path("p.json"),
        r#"{"prompts": [{"image": "cup.png", "box": [20, 30, 60, 70]}, {"image": "cup.png", "box": [100, 30, 140, 70]},
            {"image": "cup-1.jpg", "box": [100, 30, 140, 70]}, {"image": "cup-2.png", "box": [20, 30, 60, 70]},
            {"image": "other.png", "box": [20, 30, 60, 70]}]}"#,
    )
    .unwrap();
    let command = ["segment", "imgs", "--prompts", "p.json", "--separate", "--format", "png", "--out", "out"];
    bench.done(&command);
    let left = ["cup.png-1.png", "cup.png-2.png", "cup-1.jpg.png", "cup-2.png.png", "other.png"]
        .map(|name| holds_left(&bench, &format!("out/{name}")));
    assert_eq!(left, [true, false, false, true, true]);
    assert_eq!(
        std::fs::read_dir(bench.path("out"))
            .unwrap()
            .filter(|file| { !file.as_ref().unwrap().file_name().to_string_lossy().starts_with('.') })
            .count(),
        5
    );
    assert!(bench.done(&command).stderr.contains("4 done before"));
}

#[test]
fn images_of_one_name_have_results_of_their_own() {
    let bench = pictures(&["imgs/a.png", "imgs/a.jpg", "imgs/B.png", "imgs/b.bmp", "x/a.png", "y/a.png"]);
    let point = ["--point", "40,50", "--format", "png", "--out", "out"];
    bench.done(&[&["segment", "imgs"][..], &point].concat());
    for name in ["a.png.png", "a.jpg.png", "B.png.png", "b.bmp.png"] {
        assert!(bench.path(&format!("out/{name}")).is_file(), "{name}");
    }
    let words = "\"x/a.png\" and \"y/a.png\" would both have a result at \"a.png.png\"";
    bench.refused(2, words, &[&["segment", "x", "y"][..], &point[..4], &["--out", "other"]].concat());
    let run = bench.done(&["segment", "x", "y", "--point", "40,50", "--json"]);
    assert!(
        run.stdout.contains("x/a.png") && run.stdout.contains("y/a.png"),
        "nothing is written, nothing clashes"
    );
}
