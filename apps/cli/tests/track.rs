//! `samovar track` as a user has it: the real binary on sequences of images.

mod common;

use common::Bench;
use serde_json::{Value, json};

/// A disc that moves over frames 1001 to 1000 + `count`.
fn sequence(bench: &Bench, count: usize) {
    std::fs::create_dir_all(bench.path("shot")).unwrap();
    for index in 0..count {
        let disc = (60.0 + 6.0 * index as f64, 60.0 + 2.0 * index as f64, 24.0);
        bench.picture(&format!("shot/plate.{}.png", 1001 + index), 200, 120, &[disc]);
    }
}

/// Pixels of a label map with a label.
fn labelled(bench: &Bench, file: &str, label: u8) -> Vec<(u32, u32)> {
    let map = bench.rgba(file);
    let with = map.enumerate_pixels().filter(|(_, _, pixel)| pixel[0] == label);
    with.map(|(x, y, _)| (x, y)).collect()
}

fn centre(pixels: &[(u32, u32)]) -> (f64, f64) {
    let mean = |of: fn(&(u32, u32)) -> u32| {
        pixels.iter().map(|pixel| f64::from(of(pixel))).sum::<f64>() / pixels.len() as f64
    };
    (mean(|pixel| pixel.0), mean(|pixel| pixel.1))
}

/// Names of the results, without the records of runs.
fn results(bench: &Bench, folder: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(bench.path(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

#[test]
fn one_click_is_followed_through_a_sequence_by_its_own_numbers() {
    let bench = Bench::new();
    sequence(&bench, 6);
    let run = bench.done(&["track", "shot", "--point", "72,64", "--frame", "1003", "--out", "masks"]);
    assert!(run.stderr.contains("object 1: seen in 6 of 6 frames"), "{run:?}");
    let names: Vec<String> = (1001..=1006).map(|number| format!("{number}.png")).collect();
    assert_eq!(results(&bench, "masks"), names);
    for index in 0..6 {
        let (x, y) = centre(&labelled(&bench, &format!("masks/{}.png", 1001 + index), 1));
        let (dx, dy) = (x - 60.0 - 6.0 * index as f64, y - 60.0 - 2.0 * index as f64);
        assert!(dx.hypot(dy) < 4.0, "frame {}: {x},{y}", 1001 + index);
    }
    let again = bench.done(&["track", "shot", "--point", "72,64", "--frame", "1003", "--out", "masks"]);
    assert!(again.stderr.contains(" 0 with new masks"), "{again:?}");
    let some = ["track", "shot", "--point", "72,64", "--frame", "1003", "--out", "masks", "--end", "1004"];
    assert!(bench.done(&some).stderr.contains(" 0 with new masks"), "a narrower range of what is known");
    assert_eq!(results(&bench, "masks"), names[..4]);
    let whole = bench.done(&["track", "shot", "--point", "72,64", "--frame", "1003", "--out", "masks"]);
    assert!(whole.stderr.contains(" 0 with new masks"), "{whole:?}");
    bench.refused(2, "other frames", &["track", "shot/plate.####.png", "--point", "72,64", "--out", "masks"]);
    let ahead = ["track", "shot/plate.####.png", "--point", "72,64", "--frame", "1003"];
    bench.done(&[&ahead[..], &["--direction", "forward", "--out", "ahead"]].concat());
    assert_eq!(labelled(&bench, "ahead/1002.png", 1), [], "before its prompt nothing is known");
    assert_eq!(labelled(&bench, "ahead/1005.png", 1), labelled(&bench, "masks/1005.png", 1));
}

#[test]
fn a_prompt_that_is_added_changes_its_frame_and_says_which_did() {
    let bench = Bench::new();
    sequence(&bench, 6);
    let write = |prompts: Value| {
        std::fs::write(bench.path("prompts.json"), json!({ "prompts": prompts }).to_string()).unwrap();
    };
    let first = json!({ "frame": 1001, "object": 3, "points": [[60, 60, 1]] });
    write(json!([first]));
    let track = ["track", "shot", "--prompts", "prompts.json", "--out", "masks", "--format", "rle", "--json"];
    let found: Value = serde_json::from_str(&bench.done(&track).stdout).unwrap();
    assert_eq!((&found["found"], &found["changed"]), (&json!(6), &json!([])));
    let before: Vec<Value> = (1001..=1006).map(|frame| bench.json(&format!("masks/{frame}.json"))).collect();
    assert_eq!(before[2]["frame"], 1003);
    assert_eq!(before[2]["objects"][0]["object"], 3);
    write(json!([first, { "frame": 1004, "object": 3, "box": [100, 20, 180, 100] }]));
    let corrected: Value = serde_json::from_str(&bench.done(&track).stdout).unwrap();
    let changed: Vec<i64> = serde_json::from_value(corrected["changed"].clone()).unwrap();
    assert!(changed.contains(&1004) && changed.iter().all(|frame| *frame >= 1004), "{changed:?}");
    for (index, before) in before.iter().enumerate() {
        let after = bench.json(&format!("masks/{}.json", 1001 + index));
        let is_same = after["objects"][0]["segmentation"] == before["objects"][0]["segmentation"];
        assert_eq!(!is_same, changed.contains(&(1001 + index as i64)), "frame {}", 1001 + index);
    }
}

#[test]
fn formats_have_their_files() {
    let bench = Bench::new();
    sequence(&bench, 3);
    let track = |format: &str, out: &str| {
        bench.done(&["track", "shot", "--point", "60,60", "--format", format, "--out", out]);
        results(&bench, out)
    };
    let frames = ["1001.png", "1002.png", "1003.png"];
    assert_eq!(track("overlay", "overlays"), frames);
    assert_eq!(track("png", "pngs"), ["1"]);
    assert_eq!(results(&bench, "pngs/1"), frames);
    assert_eq!(track("cutout", "cut"), ["1"]);
    let cut = bench.rgba("cut/1/1002.png");
    assert_eq!((cut.get_pixel(66, 62)[3], cut.get_pixel(5, 5)[3]), (255, 0));
    assert_eq!(track("coco-video", "coco"), ["annotations.json"]);
    let coco = bench.json("coco/annotations.json");
    assert_eq!(coco["videos"][0]["length"], 3);
    assert_eq!(coco["annotations"][0]["segmentations"].as_array().unwrap().len(), 3);
    assert_eq!(coco["annotations"][0]["segmentations"][0]["size"], json!([120, 200]));
}

#[test]
fn what_cannot_be_is_said_before_anything_is_written() {
    let bench = Bench::new();
    sequence(&bench, 2);
    bench.refused(2, "nothing to follow", &["track", "shot", "--out", "masks"]);
    bench.refused(2, "holds the frames", &["track", "shot", "--point", "60,60", "--out", "shot"]);
    bench.refused(1, "nowhere", &["track", "nowhere/####.png", "--point", "60,60", "--out", "masks"]);
    std::fs::create_dir(bench.path("mine")).unwrap();
    std::fs::write(bench.path("mine/notes.txt"), "mine").unwrap();
    bench.refused(2, "other files", &["track", "shot", "--point", "60,60", "--out", "mine"]);
    std::fs::write(
        bench.path("p.json"),
        r#"{"prompts": [{"frame": 1001, "object": 1, "points": [[60, 60, 1]]}]}"#,
    )
    .unwrap();
    bench.refused(2, "samovar track", &["segment", "shot/plate.1001.png", "--prompts", "p.json"]);
}

#[test]
fn objects_share_no_pixel_where_that_is_asked_and_frames_to_look_at_are_told() {
    let bench = Bench::new();
    sequence(&bench, 4);
    // Twice the same disc: all of it is contested.
    let twice = json!({ "prompts": [
        { "frame": 1001, "object": 1, "points": [[60, 60, 1]] },
        { "frame": 1001, "object": 2, "box": [36, 36, 84, 84] },
    ] });
    std::fs::write(bench.path("prompts.json"), twice.to_string()).unwrap();
    let track = ["track", "shot", "--prompts", "prompts.json", "--format", "png", "--out", "masks"];
    let masks = || {
        let set = |object: u32, frame: u32| labelled(&bench, &format!("masks/{object}/{frame}.png"), 255);
        (1001..=1004).map(|frame| [set(1, frame), set(2, frame)]).collect::<Vec<_>>()
    };
    let shared = |[one, two]: &[Vec<(u32, u32)>; 2]| one.iter().filter(|pixel| two.contains(pixel)).count();
    bench.done(&track);
    assert!(masks().iter().all(|both| shared(both) > 500), "they meet");
    let apart = [&track[..], &["--no-overlap", "--signals", "look.json"]].concat();
    let run = bench.done(&apart);
    assert!(run.stderr.contains(" 0 with new masks"), "what was found is not found anew: {run:?}");
    let found = masks();
    assert!(found.iter().all(|both| shared(both) == 0));
    assert!(found.iter().all(|[one, two]| one.len() + two.len() > 1000), "nothing is lost");
    let signals = bench.json("look.json");
    assert_eq!(signals["total"].as_u64().unwrap() as usize, signals["signals"].as_array().unwrap().len());
    let none = [&track[..], &["--remove-islands", "100000"]].concat();
    bench.done(&none);
    assert!(
        masks().iter().all(|[one, two]| one.is_empty() && two.is_empty()),
        "all are islands of fewer pixels"
    );
}

/// Tensors of a safetensors file, by name.
#[test]
fn a_run_that_finds_all_known_tells_the_same_and_an_object_that_is_removed_takes_its_files_with_it() {
    let bench = Bench::new();
    sequence(&bench, 6);
    // The disc is suddenly small.
    for index in [4, 5] {
        let disc = (60.0 + 6.0 * f64::from(index), 60.0 + 2.0 * f64::from(index), 9.0);
        bench.picture(&format!("shot/plate.{}.png", 1001 + index), 200, 120, &[disc]);
    }
    let click = |object: u32| json!({ "frame": 1001, "object": object, "points": [[60, 60, 1]] });
    let prompts = |prompts: &[Value]| {
        std::fs::write(bench.path("prompts.json"), json!({ "prompts": prompts }).to_string()).unwrap();
    };
    let track =
        ["track", "shot", "--prompts", "prompts.json", "--format", "png", "--out", "masks", "--signals"];
    let told = |name: &str| {
        bench.done(&[&track[..], &[name]].concat());
        bench.json(name)
    };
    prompts(&[click(1), click(2)]);
    let first = told("first.json");
    assert!(first["total"].as_u64().unwrap() > 0, "{first}");
    assert_eq!(first, told("again.json"));
    prompts(&[click(1)]);
    told("one.json");
    assert_eq!(results(&bench, "masks"), ["1"]);
    let words = "1 of 2 prompts name no `frame` and are taken to be on the first";
    prompts(&[click(1), json!({ "object": 2, "points": [[60, 60, 1]] })]);
    let run = bench.done(&[&track[..], &["two.json"]].concat());
    assert!(run.stderr.contains(words), "{run:?}");
    assert_eq!(told("two.json")["signals"], first["signals"]);
}

fn tensors(path: &std::path::Path) -> std::collections::BTreeMap<String, Vec<f32>> {
    let file = std::fs::read(path).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let described: serde_json::Map<String, Value> = serde_json::from_slice(&file[8..8 + header]).unwrap();
    let of = |(name, tensor): (String, Value)| {
        let [start, end]: [usize; 2] = serde_json::from_value(tensor["data_offsets"].clone()).unwrap();
        let values = file[8 + header + start..8 + header + end].chunks_exact(4);
        (name, values.map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect())
    };
    described.into_iter().filter(|(name, _)| name != "__metadata__").map(of).collect()
}

/// From a folder of frames and a file of prompts to the numbers of the original's predictor.
#[test]
fn logits_are_those_of_the_originals_predictor() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam2_video");
    let sessions: Value =
        serde_json::from_str(&std::fs::read_to_string(golden.join("sessions.json")).unwrap()).unwrap();
    let bench = Bench::new();
    std::fs::create_dir(bench.path("model")).unwrap();
    std::fs::copy(golden.join("config.json"), bench.path("model/config.json")).unwrap();
    std::fs::copy(golden.join("original.pt"), bench.path("model/pytorch_model.bin")).unwrap();
    let steps = sessions["forward"]["steps"].as_array().unwrap();
    let prompt = |step: &Value| {
        let given = step.get("prompt")?;
        let mut prompt = json!({
            "frame": 1001 + given["frame"].as_i64().unwrap(), "object": given["object"],
        });
        if let (Some(points), Some(labels)) = (given["points"].as_array(), given["labels"].as_array()) {
            let both = points.iter().zip(labels);
            prompt["points"] = both.map(|(point, label)| json!([point[0], point[1], label])).collect();
        }
        if given["box"].is_array() {
            prompt["box"] = given["box"].clone();
        }
        if let Some(mask) = given["mask"].as_str() {
            prompt["mask"] = json!(golden.join(mask));
        }
        Some(prompt)
    };
    let prompts: Vec<Value> = steps.iter().filter_map(prompt).collect();
    std::fs::write(bench.path("prompts.json"), json!({ "prompts": prompts }).to_string()).unwrap();
    let shot = golden.join("shot");
    let shot = shot.to_str().unwrap();
    let files = ["--prompts", "prompts.json", "--logits", "out.safetensors", "--out", "masks"];
    let track = [&["track", shot, "--model", "model", "--direction", "forward"], &files[..]].concat();
    let run = bench.done(&track);
    assert!(run.stderr.contains("40 masks"), "{run:?}");
    let (found, expected) =
        (tensors(&bench.path("out.safetensors")), tensors(&golden.join("outputs.safetensors")));
    let close = |found: &[f32], expected: &[f32], what: &str| {
        let largest = expected.iter().fold(1.0f32, |most, value| most.max(value.abs()));
        assert_eq!(found.len(), expected.len(), "{what}");
        let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-3 * largest, "{what}: {worst} of {largest}");
    };
    let mut compared = 0;
    for frame in 0..20 {
        for object in [1, 2] {
            let name = format!("frame_{}.object_{object}", 1001 + frame);
            let scores = &expected[&format!("forward.all.{frame}.scores")];
            close(&found[&format!("{name}.score")], &scores[object - 1..object], &name);
            if let Some(masks) = expected.get(&format!("forward.all.{frame}.masks")) {
                let each = masks.len() / 2;
                close(&found[&name], &masks[(object - 1) * each..object * each], &name);
                compared += 1;
            }
        }
    }
    assert!(compared >= 20, "{compared} masks were compared");
    assert_eq!(results(&bench, "masks").len(), 20);
    bench.refused(2, "tracker", &["track", shot, "--point", "20,36", "--logits", "nano.safetensors"]);
}
