//! What `samovar track` writes over, and what it leaves alone.

mod common;

use common::Bench;
use serde_json::{Value, json};

/// A file of prompts: one click on frame 1001, of each of these objects.
fn prompts(bench: &Bench, objects: &[u32]) {
    let click = |object: &u32| json!({ "frame": 1001, "object": object, "points": [[60, 60, 1]] });
    let all: Vec<Value> = objects.iter().map(click).collect();
    std::fs::write(bench.path("prompts.json"), json!({ "prompts": all }).to_string()).unwrap();
}

#[test]
fn signals_logits_and_previews_take_the_place_of_nothing_that_track_has_not_made() {
    let bench = Bench::new();
    bench.sequence(2);
    prompts(&bench, &[1]);
    std::fs::write(bench.path("mine.json"), "mine").unwrap();
    std::fs::write(bench.path("mine.mp4"), "mine").unwrap();
    let track = ["track", "shot", "--prompts", "prompts.json", "--format", "rle", "--out", "masks"];
    let with = |more: &[&'static str]| [&track[..], more].concat();
    for flag in ["--signals", "--logits"] {
        bench.refused(2, "read by this command", &with(&[flag, "shot/plate.1002.png"]));
        bench.refused(2, "read by this command", &with(&[flag, "prompts.json"]));
        bench.refused(2, "samovar has not made it", &with(&[flag, "mine.json"]));
        bench.refused(2, "name of a result", &with(&[flag, "masks/1001.json"]));
        bench.refused(2, "name of a result", &with(&[flag, "./masks/.samovar-job.json"]));
        bench.refused(2, "is a folder", &with(&[flag, "shot"]));
    }
    bench.refused(2, "name two files", &with(&["--signals", "one.json", "--logits", "./one.json"]));
    if samovar_testkit::has_ffmpeg() {
        bench.refused(2, "samovar has not made it", &with(&["--preview", "mine.mp4"]));
    }
    // Its own it replaces, as long as nobody has changed it.
    bench.done(&with(&["--signals", "look.json"]));
    bench.done(&with(&["--signals", "look.json"]));
    std::fs::write(bench.path("look.json"), "noted here").unwrap();
    bench.refused(2, "changed since", &with(&["--signals", "look.json"]));
    bench.done(&with(&["--signals", "look.json", "--overwrite"]));
    // The folder of results is made before it is needed.
    let inside = ["track", "shot", "--point", "60,60", "--out", "new", "--signals", "new/look.json"];
    bench.done(&inside);
    bench.done(&inside);
    assert!(bench.json("new/look.json")["signals"].is_array());
    assert!(bench.json("look.json")["signals"].is_array());
}
