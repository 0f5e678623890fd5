//! Prompts from a file, and the images they are for.

mod common;

use common::Bench;
use serde_json::json;

fn boxes(bench: &Bench, file: &str) -> Vec<[f64; 4]> {
    let document = bench.json(file);
    let annotations = document["annotations"].as_array().unwrap();
    annotations.iter().map(|one| serde_json::from_value(one["bbox"].clone()).unwrap()).collect()
}

/// Left of 80 or right of it, as the discs of the pictures lie.
fn is_left([x, _, width, _]: [f64; 4]) -> bool {
    x + width / 2.0 < 80.0
}

const LEFT: [f64; 4] = [20.0, 30.0, 60.0, 70.0];
const RIGHT: [f64; 4] = [100.0, 30.0, 140.0, 70.0];

fn pictures(names: &[&str]) -> Bench {
    let bench = Bench::new();
    for name in names {
        bench.picture(name, 160, 100, &[(40.0, 50.0, 20.0), (120.0, 50.0, 20.0)]);
    }
    bench
}

fn prompts(bench: &Bench, file: &str, entries: &[(&str, [f64; 4])]) {
    let entries: Vec<_> =
        entries.iter().map(|(image, bounds)| json!({ "image": image, "box": bounds })).collect();
    std::fs::write(bench.path(file), json!({ "prompts": entries }).to_string()).unwrap();
}

#[test]
fn prompts_of_one_image_were_used_for_its_namesake_in_another_folder() {
    let bench = pictures(&["frames/a.png", "frames/sub/a.png", "frames/sub/b.png", "frames/other/c.png"]);
    let absolute = bench.path("frames/other/c.png").canonicalize().unwrap();
    let entries =
        [("a.png", LEFT), ("sub/a.png", RIGHT), ("sub\\b.png", LEFT), (absolute.to_str().unwrap(), RIGHT)];
    prompts(&bench, "p.json", &entries);
    let command = ["segment", "frames", "-r", "--prompts", "p.json", "--format", "coco", "--out", "out"];
    bench.done(&command);
    for (file, left) in [
        ("out/a.json", true),
        ("out/sub/a.json", false),
        ("out/sub/b.json", true),
        ("out/other/c.json", false),
    ] {
        let found = boxes(&bench, file);
        assert!(found.len() == 1 && is_left(found[0]) == left, "{file}: {found:?}");
    }
}

#[test]
fn a_bare_name_that_fits_several_images_was_used_for_all() {
    let bench = pictures(&["frames/x/a.png", "frames/y/a.png"]);
    prompts(&bench, "p.json", &[("a.png", LEFT)]);
    let command = ["segment", "frames", "-r", "--prompts", "p.json", "--out", "out"];
    bench.refused(
        2,
        "prompt 1: \"a.png\" may be any of \"x/a.png\", \"y/a.png\"; name the folder too",
        &command,
    );
    bench.refused(2, "may be any of", &[&command[..], &["--skip-unused"]].concat());
}

#[test]
fn prompts_for_images_that_are_not_there_were_dropped() {
    let bench = pictures(&["imgs/a.png", "imgs/e\u{301}t\u{e9}.png", "far/b.png"]);
    let entries = [
        ("./a.png", LEFT),
        ("A.PNG", RIGHT),
        ("not_there.png", RIGHT),
        ("\u{e9}te\u{301}.png", LEFT),
        ("far/b.png", LEFT),
    ];
    prompts(&bench, "p.json", &entries);
    let command = ["segment", "imgs", "--prompts", "p.json", "--format", "coco", "--out", "out"];
    let words = "p.json\": 3 entries are for no image of this run: \"A.PNG\" (prompt 2, did you mean \"a.png\"?), \
                 \"not_there.png\" (prompt 3), \"far/b.png\" (prompt 5, a file that this run does not take)";
    bench.refused(2, words, &command);
    let run = bench.done(&[&command[..], &["--skip-unused"]].concat());
    assert!(run.stderr.contains("note: \"p.json\": 3 entries are for no image"), "{run:?}");
    assert_eq!(boxes(&bench, "out/a.json").len(), 1);
    prompts(&bench, "p.json", &[("a.png", LEFT), ("\u{1b}[2Jx.png", LEFT)]);
    bench.refused(
        2,
        "\"\u{fffd}[2Jx.png\" (prompt 2)",
        &["segment", "imgs", "--prompts", "p.json", "--out", "x"],
    );
    // Some of the images that the prompts are for are a choice, and no mistake.
    prompts(&bench, "p.json", &[("imgs/a.png", LEFT), ("far/b.png", RIGHT)]);
    let run = bench.done(&["segment", "far/b.png", "--prompts", "p.json", "--out", "b.json"]);
    assert!(
        run.stderr.contains("note: \"p.json\": 1 entry is for no image of this run: \"imgs/a.png\""),
        "{run:?}"
    );
    prompts(&bench, "p.json", &[("a.png", LEFT), ("far/b.png", RIGHT)]);
    bench.refused(
        2,
        "1 entry is for no image",
        &["segment", "far/b.png", "--prompts", "p.json", "--out", "c.json"],
    );
}

#[test]
fn masks_of_a_prompts_file_lie_beside_it() {
    let bench = pictures(&["imgs/a.png"]);
    bench.done(&["segment", "imgs/a.png", "--box", "20,30,60,70", "--format", "png", "--out", "m.png"]);
    std::fs::create_dir_all(bench.path("prompts/masks")).unwrap();
    std::fs::rename(bench.path("m.png"), bench.path("prompts/masks/m.png")).unwrap();
    let with = |mask: &str| {
        let entry = json!({ "prompts": [{ "image": "a.png", "points": [[40, 50, 1]], "mask": mask }] });
        std::fs::write(bench.path("prompts/p.json"), entry.to_string()).unwrap();
    };
    let command = ["segment", "imgs/a.png", "--prompts", "prompts/p.json", "--out", "a.json"];
    for mask in ["masks/m.png", "masks\\m.png", "../prompts/masks/m.png"] {
        with(mask);
        bench.done(&command);
        assert!(is_left(boxes(&bench, "a.json")[0]));
    }
    with("prompts/masks/m.png");
    bench.refused(2, "prompt 1: there is no mask \"prompts/prompts/masks/m.png\"", &command);
}
