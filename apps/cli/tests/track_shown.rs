//! `samovar track`: how what was found is shown. Locked masks, COCO's documents, what colours lose.

mod common;

use common::Bench;
use samovar_testkit::has_ffmpeg;
use serde_json::{Value, json};

fn write_prompts(bench: &Bench, prompts: &[Value], locked: &Value) {
    let document = json!({ "prompts": prompts, "locked": locked });
    std::fs::write(bench.path("prompts.json"), document.to_string()).unwrap();
}

#[test]
fn a_locked_mask_stays_to_the_byte_whatever_the_rules_and_others_give_way() {
    let bench = Bench::new();
    bench.sequence(4);
    // Twice the same disc: all of it is contested, and each has some of it.
    let twice = [
        json!({ "frame": 1001, "object": 1, "points": [[60, 60, 1]] }),
        json!({ "frame": 1001, "object": 2, "box": [36, 36, 84, 84] }),
    ];
    write_prompts(&bench, &twice, &json!([]));
    let track = |out: &str, rules: &[&str]| {
        let command = ["track", "shot", "--prompts", "prompts.json", "--format", "png", "--out", out];
        bench.done(&[&command[..], rules].concat());
    };
    let bytes =
        |out: &str, object: u32| std::fs::read(bench.path(&format!("{out}/{object}/1002.png"))).unwrap();
    let shares = |out: &str| {
        let [one, two] = [1, 2].map(|object| bench.rgba(&format!("{out}/{object}/1002.png")));
        one.pixels().zip(two.pixels()).any(|(one, two)| one[0] > 127 && two[0] > 127)
    };
    let apart = ["--no-overlap", "--fill-holes", "9", "--remove-islands", "9"];
    track("apart", &apart);
    track("plain", &[]);
    let (shown, drawn) = (bytes("apart", 2), bytes("plain", 2));
    assert_ne!(shown, drawn, "they meet");
    // The other is corrected, and would win where they meet; it is not of the locked frame any more either.
    let mut corrected = twice.to_vec();
    corrected.push(json!({ "frame": 1002, "object": 1, "box": [40, 36, 96, 92] }));
    write_prompts(&bench, &corrected, &json!([{ "object": 2, "frames": [1002] }]));
    for rules in [&apart[..], &[], &["--remove-islands", "100000"], &["--no-overlap"]] {
        track("apart", rules);
        assert_eq!(bytes("apart", 2), shown, "{rules:?}");
        assert!(!rules.contains(&"--no-overlap") || !shares("apart"), "{rules:?}");
    }
    // Rules that come with the lock are not for it either.
    track("plain", &apart);
    assert_eq!(bytes("plain", 2), drawn);
    assert!(!shares("plain"), "the other gives way");
    track("plain", &["--remove-islands", "100000"]);
    assert_eq!(bytes("plain", 2), drawn);
    assert!(bench.rgba("plain/2/1003.png").pixels().all(|pixel| pixel[0] == 0), "only that frame is locked");
}

#[test]
fn annotations_of_a_video_are_in_its_order_with_boxes_areas_labels_and_names_of_files() {
    let bench = Bench::new();
    bench.sequence(4);
    let prompts = [
        json!({ "frame": 1004, "object": 1, "points": [[78, 66, 1]] }),
        json!({ "frame": 1003, "object": 7, "points": [[72, 64, 1]], "label": "dog" }),
    ];
    write_prompts(&bench, &prompts, &json!([]));
    let track = |format: &str, direction: &str, out: &str| {
        let command = ["track", "shot", "--prompts", "prompts.json", "--json", "--format", format];
        let run = bench.done(&[&command[..], &["--direction", direction, "--out", out]].concat());
        serde_json::from_str::<Value>(&run.stdout).unwrap()
    };
    for direction in ["backward", "both", "forward"] {
        let told = track("coco-video", direction, direction);
        assert_eq!(
            (&told["objects"][0]["label"], &told["objects"][1]["label"]),
            (&Value::Null, &json!("dog"))
        );
        track("png", direction, &format!("{direction}-png"));
        let document = bench.json(&format!("{direction}/annotations.json"));
        let video = &document["videos"][0];
        assert_eq!(video["frames"], json!([1001, 1002, 1003, 1004]), "{direction}");
        assert_eq!(video["file_names"][1], "plate.1002.png");
        assert_eq!(
            document["categories"],
            json!([{ "id": 1, "name": "object" }, { "id": 2, "name": "dog" }])
        );
        for (annotation, object) in document["annotations"].as_array().unwrap().iter().zip([1, 7]) {
            assert_eq!(annotation["id"], object);
            assert_eq!(annotation["category_id"], if object == 7 { 2 } else { 1 });
            for index in 0..4 {
                let file = format!("{direction}-png/{object}/{}.png", 1001 + index);
                let [segmentation, bounds, area] =
                    ["segmentations", "bboxes", "areas"].map(|list| &annotation[list][index]);
                if !bench.path(&file).exists() {
                    assert!(
                        segmentation.is_null() && bounds.is_null() && area.is_null(),
                        "{direction} {file}"
                    );
                    continue;
                }
                let mask = bench.rgba(&file);
                let set = || mask.enumerate_pixels().filter(|(.., pixel)| pixel[0] > 127);
                let (xs, ys) = (|| set().map(|(x, ..)| x), || set().map(|(_, y, _)| y));
                let (x0, y0) = (xs().min().unwrap(), ys().min().unwrap());
                let (width, height) = (xs().max().unwrap() + 1 - x0, ys().max().unwrap() + 1 - y0);
                assert_eq!(bounds, &json!([x0, y0, width, height]), "{direction} {file}");
                assert_eq!(area, &json!(set().count()));
                let counts = segmentation["counts"].as_str().unwrap();
                assert!(segmentation["size"] == json!([120, 200]) && !counts.is_empty());
            }
        }
    }
    let there = |direction: &str, list: &str, object: usize| -> Vec<bool> {
        let document = bench.json(&format!("{direction}/annotations.json"));
        let entries = document["annotations"][object][list].as_array().unwrap().clone();
        entries.iter().map(|entry| !entry.is_null()).collect()
    };
    assert_eq!(there("backward", "areas", 1), [true, true, true, false]);
    assert_eq!(there("forward", "segmentations", 0), [false, false, false, true]);
    track("rle", "both", "rle");
    let frame = bench.json("rle/1003.json");
    let fields = |index: usize| -> Vec<String> {
        frame["objects"][index].as_object().unwrap().keys().cloned().collect()
    };
    let help = bench.done(&["track", "--help"]).stdout;
    for field in fields(1).iter().chain(frame.as_object().unwrap().keys()) {
        assert!(help.contains(&format!("\"{field}\": ")), "the help has no {field}");
    }
    assert!(!fields(0).contains(&"label".to_owned()) && frame["objects"][1]["label"] == "dog");
}

#[test]
fn what_a_viewing_transform_cuts_off_is_said_once_for_a_shot() {
    let bench = Bench::new();
    bench.sequence(4);
    let words = "values over 1 are shown white, in 4 frames, first in ";
    let once = |arguments: &[&str], first: &str| {
        let run = bench.done(arguments);
        let found = run.stderr.matches("values over 1").count();
        assert!(found == 1 && run.stderr.contains(&format!("{words}{first}")), "{run:?}");
    };
    // White is 55 times as light as white.
    let log = ["--colorspace", "logc3"];
    let click = ["--point", "60,60", "--out"];
    once(&[&["track", "shot"], &log[..], &click, &["masks"]].concat(), "1001");
    once(&[&["everything", "shot/plate.####.png", "--out", "all"], &log[..]].concat(), "1001");
    let plain = bench.done(&[&["track", "shot"], &click[..], &["plain"]].concat());
    assert!(!plain.stderr.contains("values over"), "{plain:?}");
    if has_ffmpeg() {
        bench.clip("clip.mkv", 4);
        once(&[&["track", "clip.mkv"], &log[..], &click, &["video"]].concat(), "0");
        once(&[&["everything", "clip.mkv", "--out", "all-video"], &log[..]].concat(), "0");
    }
}
