//! Prompts from COCO data sets and from labelme's files.

mod common;

use common::{Bench, iou};
use serde_json::{Value, json};

const DISC: (f64, f64, f64) = (60.0, 60.0, 26.0);
const OTHER: (f64, f64, f64) = (150.0, 60.0, 34.0);

fn bench(names: &[&str]) -> Bench {
    let bench = Bench::new();
    names.iter().for_each(|name| drop(bench.picture(name, 220, 120, &[DISC, OTHER])));
    bench
}

fn write(bench: &Bench, name: &str, document: &Value) {
    std::fs::write(bench.path(name), document.to_string()).unwrap();
}

/// Corners of an octagon in a disc.
fn octagon((x, y, radius): (f64, f64, f64)) -> Vec<[f64; 2]> {
    let corner = |index: u8| {
        let (sine, cosine) = (f64::from(index) * std::f64::consts::FRAC_PI_4).sin_cos();
        [x + radius * cosine, y + radius * sine]
    };
    (0..8).map(corner).collect()
}

fn labels(coco: &Value) -> Vec<String> {
    let name = |id: &Value| {
        let categories = coco["categories"].as_array().unwrap();
        let found = categories.iter().find(|category| category["id"] == *id).unwrap();
        found["name"].as_str().unwrap().to_owned()
    };
    coco["annotations"].as_array().unwrap().iter().map(|one| name(&one["category_id"])).collect()
}

#[test]
fn coco_and_labelme_were_no_prompts() {
    let bench = bench(&["in/a.png", "in/b.png"]);
    let outline: Vec<f64> = octagon(OTHER).into_iter().flatten().collect();
    let coco = json!({
        "images": [{ "id": 1, "file_name": "a.png", "width": 220, "height": 120 }, { "id": 2, "file_name": "b.png" }],
        "categories": [{ "id": 5, "name": "coin" }, { "id": 8, "name": "plate" }],
        "annotations": [
            { "id": 1, "image_id": 1, "category_id": 5, "bbox": [34, 34, 52, 52], "segmentation": [], "iscrowd": 0 },
            { "id": 2, "image_id": 1, "category_id": 8, "bbox": [116, 26, 68, 68], "segmentation": [outline] },
            { "id": 3, "image_id": 2, "category_id": 8, "keypoints": [150, 60, 2, 0, 0, 0] },
        ],
    });
    write(&bench, "coco.json", &coco);
    bench.done(&["segment", "in", "--prompts", "coco.json", "--format", "labels", "--out", "out"]);
    let of = |file: &str, label: u8, disc| iou(&bench.rgba(file), &[disc], |pixel| pixel[0] == label);
    assert!(of("out/a.png", 1, DISC) > 0.9 && of("out/a.png", 2, OTHER) > 0.9);
    assert!(of("out/b.png", 1, OTHER) > 0.9);
    bench.done(&["segment", "in", "--prompts", "coco.json", "--format", "coco", "--out", "named"]);
    assert_eq!(labels(&bench.json("named/a.json")), ["coin", "plate"]);
    assert_eq!(labels(&bench.json("named/b.json")), ["plate"]);

    // labelme leaves a file beside each image.
    let file = |image: &str, shapes: Value| {
        json!({ "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": null,
            "imageHeight": 120, "imageWidth": 220 })
    };
    let shapes = json!([
        { "label": "coin", "shape_type": "rectangle", "points": [[86, 86], [34, 34]], "group_id": null, "flags": {} },
        { "label": "plate", "shape_type": "polygon", "points": octagon(OTHER), "group_id": 3 },
    ]);
    write(&bench, "in/a.json", &file("a.png", shapes));
    let point = json!([{ "label": "coin", "shape_type": "point", "points": [[60, 60]], "group_id": null }]);
    write(&bench, "in/b.json", &file("..\\in\\b.png", point));
    let run = bench.done(&["segment", "in", "--prompts", "in", "--json"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let labels = |index: usize| {
        let masks = document["images"][index]["masks"].as_array().unwrap();
        masks.iter().map(|mask| mask["label"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((labels(0), labels(1)), (vec!["coin", "plate"], vec!["coin"]));
    bench.done(&["segment", "in", "--prompts", "in", "--format", "labels", "--out", "shaped"]);
    assert!(of("shaped/a.png", 1, DISC) > 0.9 && of("shaped/a.png", 2, OTHER) > 0.9);
    assert!(of("shaped/b.png", 1, DISC) > 0.9);
}

#[test]
fn coordinates_of_an_image_of_another_size_were_taken_as_they_are() {
    let bench = bench(&["a.png"]);
    let document = json!({ "shapes": [{ "label": "x", "shape_type": "rectangle", "points": [[3, 4], [50, 60]] }],
        "imagePath": "a.png", "imageHeight": 220, "imageWidth": 120 });
    write(&bench, "a.json", &document);
    let words = "\"a.json\", shapes[0]: the file's coordinates are of an image of 120x220, and this one is 220x120; the file's \
                 are those of the image before EXIF rotation";
    bench.refused(2, words, &["segment", "a.png", "--prompts", "a.json", "--out", "x.png"]);
    let mut other = document.clone();
    (other["imageHeight"], other["imageWidth"]) = (json!(60), json!(110));
    write(&bench, "a.json", &other);
    bench.refused(
        2,
        "of 110x60, and this one is 220x120",
        &["segment", "a.png", "--prompts", "a.json", "--out", "x.png"],
    );
    (other["imageHeight"], other["imageWidth"]) = (json!(null), json!(0));
    write(&bench, "a.json", &other);
    bench.done(&["segment", "a.png", "--prompts", "a.json", "--out", "x.png"]);
}

#[test]
fn what_is_no_prompt_is_said_and_what_is_wrong_has_a_place() {
    let bench = bench(&["a.png"]);
    let with =
        |file: &'static str| ["segment", "a.png", "--prompts", file, "--format", "png", "--out", "m.png"];
    let shapes = json!([
        { "label": "road", "shape_type": "line", "points": [[3, 4], [50, 60]] },
        { "label": "coin", "shape_type": "point", "points": [[60, 60]] },
    ]);
    write(&bench, "lines.json", &json!({ "shapes": shapes, "imagePath": "a.png" }));
    let run = bench.done(&with("lines.json"));
    assert!(run.stderr.contains("lines.json\": 1 shape of type line left out"), "{run:?}");
    let outside = json!([{ "label": "coin", "shape_type": "point", "points": [[600, 60]] }]);
    write(&bench, "outside.json", &json!({ "shapes": outside, "imagePath": "a.png" }));
    bench.refused(
        2,
        "\"outside.json\", shapes[0]: point 600,60 is outside the image of 220x120",
        &with("outside.json"),
    );
    let elsewhere = json!({ "images": [{ "id": 1, "file_name": "b.png" }], "annotations": [{ "image_id": 1, "bbox": [1, 2, 3, 4] }] });
    write(&bench, "elsewhere.json", &elsewhere);
    bench.refused(2, "\"b.png\" (annotations[0])", &with("elsewhere.json"));
    let run_lengths = json!({ "images": [{ "id": 1, "file_name": "a.png" }],
        "annotations": [{ "image_id": 1, "segmentation": { "size": [12, 22], "counts": [264] } }] });
    write(&bench, "small.json", &run_lengths);
    bench.refused(2, "\"small.json\", annotations[0]: ", &with("small.json"));
    std::fs::create_dir(bench.path("none")).unwrap();
    bench.refused(2, "no .json files in this folder", &with("none"));
}

/// What `segment` and `everything` write is a data set, so it can be given back.
#[test]
fn results_are_prompts_again() {
    let bench = bench(&["a.png"]);
    let boxes = ["--box", "34,34,86,86", "--box", "116,26,184,94"];
    bench.done(&[&["segment", "a.png", "--out", "a.json"], &boxes[..]].concat());
    bench.done(&["segment", "a.png", "--prompts", "a.json", "--format", "labels", "--out", "again.png"]);
    let of = |label: u8, disc| iou(&bench.rgba("again.png"), &[disc], |pixel| pixel[0] == label);
    assert!(of(1, DISC) > 0.9 && of(2, OTHER) > 0.9);
}

#[test]
fn a_labelme_file_was_followed_for_another_picture_of_the_same_name() {
    let bench = Bench::new();
    for (name, at) in [("in/a.png", (40.0, 30.0)), ("in/sub/a.png", (80.0, 50.0))] {
        let (x, y) = at;
        bench.picture(name, 120, 80, &[(x, y, 15.0)]);
        let document = serde_json::json!({
            "version": "5.4.1", "flags": {}, "imagePath": "a.png", "imageData": null, "imageHeight": 80, "imageWidth": 120,
            "shapes": [{"label": "disc", "points": [[x - 17.0, y - 17.0], [x + 17.0, y + 17.0]], "shape_type": "rectangle",
                        "group_id": null, "flags": {}}],
        });
        std::fs::write(bench.path(name).with_extension("json"), document.to_string()).unwrap();
    }
    // What lies beside them all the time.
    std::fs::write(bench.path("in/classes.json"), r#"{"names": ["disc"]}"#).unwrap();
    let empty =
        r#"{"version": "5.4.1", "imagePath": "b.png", "shapes": [], "imageHeight": 1, "imageWidth": 1}"#;
    std::fs::write(bench.path("in/b.json"), empty).unwrap();
    let run = bench.done(&["segment", "in", "-r", "--prompts", "in", "--format", "coco", "--out", "out"]);
    assert!(
        run.stderr.contains("classes.json\" is left out") && run.stderr.contains("b.json\" is left out"),
        "{run:?}"
    );
    for (name, file, x) in [("out/a.json", "a.png", 40.0), ("out/sub/a.json", "sub/a.png", 80.0)] {
        let document = bench.json(name);
        let bounds = document["annotations"][0]["bbox"].as_array().unwrap();
        let middle = bounds[0].as_f64().unwrap() + 0.5 * bounds[2].as_f64().unwrap();
        assert!((middle - x).abs() < 8.0, "{name}: {document}");
        assert_eq!(document["images"][0]["file_name"], file);
    }
    // The one beside the picture alone: the other picture is not meant.
    let alone = ["segment", "in", "-r", "--prompts", "in/sub/a.json", "--format", "coco", "--out", "alone"];
    let run = bench.run(&alone);
    assert!(!bench.path("alone/a.json").exists() && bench.path("alone/sub/a.json").is_file(), "{run:?}");
    // And results are prompts again, each for its own picture.
    bench.run(&["segment", "in", "-r", "--prompts", "out/sub/a.json", "--format", "coco", "--out", "again"]);
    assert!(!bench.path("again/a.json").exists() && bench.path("again/sub/a.json").is_file());
}
