use samovar_geometry::Size;

use super::*;
use crate::prompt::{MAX_POINTS, Prompt};

#[test]
fn prompts_are_what_the_document_says() {
    let text = br#"{"prompts": [
        {"image": "a.jpg", "points": [[420, 300, 1], [80.5, 40, 0]]},
        {"box": [9, 8, 1, 2], "mask": "masks/a.png"}
    ]}"#;
    let file = PromptFile::parse(text).unwrap();
    let first = file.prompts[0].prompt(None);
    assert_eq!(first, Prompt::default().point(420.0, 300.0).without(80.5, 40.0));
    assert_eq!(file.prompts[0].image.as_deref(), Some("a.jpg"));
    let second = &file.prompts[1];
    assert_eq!(second.prompt(None), Prompt::default().within(1.0, 2.0, 9.0, 8.0));
    assert_eq!(second.mask.as_deref(), Some(std::path::Path::new("masks/a.png")));
    let again = serde_json::to_vec(&file).unwrap();
    assert_eq!(PromptFile::parse(&again).unwrap(), file);
    let marked = [&b"\xef\xbb\xbf"[..], text].concat();
    assert_eq!(PromptFile::parse(&marked).unwrap(), file, "a byte order mark is skipped");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    for (text, what) in [
        ("{", "EOF while parsing"),
        ("[]", "expected"),
        (r#"{"prompts": []}"#, "no prompts"),
        (r#"{"prompts": [{}]}"#, "prompt 1: it has neither"),
        (r#"{"prompts": [{"point": [[1, 2, 1]]}]}"#, "unknown field `point`"),
        (r#"{"prompts": [{"points": [[1, 2]]}]}"#, "invalid length 2"),
        (r#"{"prompts": [{"points": [[1, 2, 0.5]]}]}"#, "prompt 1: point 1,2 is labelled 0.5"),
        (r#"{"prompts": [{"points": [[1e999, 2, 1]]}]}"#, "number out of range"),
    ] {
        let error = PromptFile::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
    let many = vec!["[1,2,1]"; MAX_POINTS + 1].join(",");
    let error = PromptFile::parse(format!(r#"{{"prompts": [{{"points": [{many}]}}]}}"#).as_bytes());
    assert!(error.unwrap_err().to_string().contains("4097 points"));
}

const COCO: &str = r#"{
    "images": [{"id": 7, "file_name": "b/1.jpg", "width": 40, "height": 30, "license": 3}, {"id": "x", "file_name": "2.jpg"}],
    "categories": [{"id": 3, "name": "cup", "supercategory": "thing"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [4, 5, 10, 8], "segmentation": [], "iscrowd": 0, "area": 80},
        {"id": 2, "image_id": 7.0, "category_id": 3, "bbox": [2, 2, 6, 6], "segmentation": [[2, 2, 8, 2, 8, 8, 2, 8]]},
        {"id": 3, "image_id": "x", "category_id": 9, "segmentation": {"size": [30, 40], "counts": [31, 3, 1166]}},
        {"id": 4, "image_id": 7, "category_id": 3, "iscrowd": true, "segmentation": {"size": [30, 40], "counts": "ab"}},
        {"id": 5, "image_id": 7, "keypoints": [3, 4, 2, 0, 0, 0, 9, 9, 1], "bbox": null, "segmentation": null},
        {"id": 6, "image_id": 7, "segmentation": [], "bbox": [0, 0, 0, 0], "iscrowd": false},
        {"id": 7, "image_id": 7, "segmentation": [[128.0, 128.0], [1, 1, 5, 1, 5, 9]]}
    ]}"#;

#[test]
fn a_coco_data_set_is_boxes_masks_and_clicks() {
    let file = PromptFile::parse(COCO.as_bytes()).unwrap();
    assert_eq!(file.kind, PromptFileKind::Coco);
    let rows: Vec<_> = file.prompts.iter().map(|entry| entry.row).collect();
    assert_eq!(rows, [0, 1, 2, 4, 6], "without the crowd and the empty one");
    assert_eq!(file.notes.len(), 2);
    assert!(file.notes[0].contains("1 annotation left out: crowds"), "{:?}", file.notes);
    let size = Size::new(40, 30);
    let [boxed, outlined, run, clicked, thin] = &file.prompts[..] else { panic!() };
    assert_eq!(boxed.prompt(None), Prompt::default().within(4.0, 5.0, 14.0, 13.0));
    assert_eq!((boxed.image.as_deref(), boxed.label.as_deref()), (Some("b/1.jpg"), Some("cup")));
    assert_eq!((boxed.size, run.size), (Some([40, 30]), None));
    assert_eq!(boxed.drawn(size).unwrap(), None);
    assert_eq!(outlined.drawn(size).unwrap().unwrap().pixel_bounds(), Some([2, 2, 8, 8]));
    assert_eq!(outlined.bounds, Some([2.0, 2.0, 8.0, 8.0]));
    assert_eq!(run.drawn(size).unwrap().unwrap().pixel_bounds(), Some([1, 1, 2, 4]));
    assert_eq!((run.image.as_deref(), run.label.as_deref()), (Some("2.jpg"), Some("category 9")));
    assert_eq!(clicked.prompt(None), Prompt::default().point(3.5, 4.5).point(9.5, 9.5));
    assert_eq!(thin.bounds, Some([1.0, 1.0, 5.0, 9.0]), "its outline of one point is none");
    let other = boxed.check_size(Size::new(30, 40)).unwrap_err().to_string();
    assert!(
        other.contains("40x30, and this one is 30x40; the file's are those of the image before EXIF"),
        "{other}"
    );
    assert!(run.drawn(Size::new(41, 30)).unwrap_err().to_string().contains("40x30"));
}

const LABELME: &str = r#"{"version": "5.4.1", "flags": {}, "imagePath": "..\\imgs\\a.jpg", "imageData": null, "imageHeight": 30,
    "imageWidth": 40, "shapes": [
        {"label": "cup", "shape_type": "rectangle", "points": [[14, 13], [4, 5]], "group_id": null, "flags": {}, "mask": null},
        {"label": "cup", "shape_type": "point", "points": [[9, 8.5]], "group_id": null},
        {"label": "dog", "shape_type": "polygon", "points": [[2, 2], [8, 2], [8, 8], [2, 8]], "group_id": 1},
        {"label": "road", "shape_type": "linestrip", "points": [[0, 0], [5, 5]], "group_id": null},
        {"label": "dog", "points": [[20, 20], [26, 20], [26, 26]], "group_id": 1},
        {"label": "sun", "shape_type": "circle", "points": [[20, 15], [20, 10]], "group_id": 1},
        {"label": "bit", "shape_type": "mask", "points": [[3, 4], [5, 5]], "group_id": null,
         "mask": "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAAAAAC4HznGAAAAEElEQVR4nGNgZGBkZGBkAAAAGgAFe9EfAQAAAABJRU5ErkJggg=="},
        {"label": "four", "shape_type": "rectangle", "points": [[1, 1], [9, 1], [9, 7], [1, 7]], "mask": null}
    ]}"#;

#[test]
fn labelmes_shapes_are_boxes_clicks_and_masks() {
    let file = PromptFile::parse(LABELME.as_bytes()).unwrap();
    assert_eq!(file.kind, PromptFileKind::Labelme);
    assert_eq!(file.notes, ["1 shape of type linestrip left out: no area and no clicks"]);
    let [boxed, clicked, dog, sun, _, four] = &file.prompts[..] else { panic!("{:?}", file.prompts) };
    assert_eq!(boxed.prompt(None), Prompt::default().within(4.0, 5.0, 14.0, 13.0));
    assert_eq!(boxed.image.as_deref(), Some("..\\imgs\\a.jpg"));
    assert_eq!(clicked.prompt(None), Prompt::default().point(9.0, 8.5));
    assert_eq!((dog.row, dog.label.as_deref(), dog.bounds), (2, Some("dog"), Some([2.0, 2.0, 26.0, 26.0])));
    let size = Size::new(40, 30);
    let mask = dog.drawn(size).unwrap().unwrap();
    assert!(mask.get(3, 3) && mask.get(24, 21) && !mask.get(15, 15), "two parts of one dog");
    let disc = sun.drawn(size).unwrap().unwrap();
    assert!((disc.area() as f64 - 78.5).abs() < 4.0, "{} pixels in a circle of radius 5", disc.area());
    assert_eq!(four.bounds, Some([1.0, 1.0, 9.0, 7.0]));
}

#[test]
fn labelmes_masks_lie_where_their_corner_is() {
    let file = PromptFile::parse(LABELME.as_bytes()).unwrap();
    let bit = &file.prompts[4];
    assert_eq!(bit.bounds, Some([3.0, 4.0, 6.0, 6.0]));
    let mask = bit.drawn(Size::new(40, 30)).unwrap().unwrap();
    assert!(
        (0..30).all(|y| (0..40).all(|x| !mask.get(x, y) || ((3..6).contains(&x) && (4..6).contains(&y))))
    );
    assert!(!mask.is_empty());
    let beyond = bit.drawn(Size::new(5, 30)).unwrap_err().to_string();
    assert!(beyond.contains("not within the image of 5x30"), "{beyond}");
}

#[test]
fn annotation_files_were_refused_without_saying_where() {
    let coco = |annotation: &str| {
        format!(
            r#"{{"images": [{{"id": 1, "file_name": "a.png"}}], "annotations": [{{"image_id": 1, {annotation}}}]}}"#
        )
    };
    let labelme = |shape: &str| format!(r#"{{"imagePath": "a.png", "shapes": [{shape}]}}"#);
    for (text, what) in [
        (coco(r#""segmentation": [1, 2, 3, 4, 5, 6]"#), "outlines are lists within the list"),
        (
            coco(r#""segmentation": [[0, 12, 300, 4, 7]]"#),
            "annotations[0].segmentation[0] has 5 numbers, an x without a y; if they are run",
        ),
        (coco(r#""segmentation": {"size": [3, 4], "counts": {}}"#), "run lengths as text or as a list"),
        (coco(r#""bbox": [1, 2, 3]"#), "annotations[0].bbox has 3 numbers"),
        (coco(r#""bbox": [9, 9, -4, 3]"#), "annotations[0].bbox is -4 wide"),
        (coco(r#""bbox": [1, 2, NaN, 4]"#), "at `NaN, 4]}]}`; NaN is no number of JSON"),
        (coco(r#""keypoints": [1, 2]"#), "annotations[0].keypoints has 2 numbers"),
        (coco(r#""caption": "a dog""#), "captions are no prompts"),
        (
            coco(r#""bbox": [0, 0, 0, 0]"#),
            "no prompts in this file (1 annotation left out: nothing with an area)",
        ),
        (coco(r#""bbox": [1, 2, 1e308, 1e308], "image_id": 1"#), "duplicate field `image_id`"),
        (
            coco(r#""bbox": [1.7e308, 2, 1e308, 4]"#),
            "annotations[0]: it has coordinates that are out of all range",
        ),
        (
            coco("").replace("1, }", "2, \"bbox\": [1, 1, 2, 2]}"),
            "annotations[0].image_id is 2, and there is no such image",
        ),
        (
            labelme(r#"{"shape_type": "polygon", "points": [[1, 2], [3, 4]]}"#),
            "shapes[0]: a polygon of 2 points; expected at least three",
        ),
        (
            labelme(r#"{"shape_type": "rectangle", "points": [[1, 2], [1, 4]]}"#),
            "shapes[0]: a rectangle without area",
        ),
        (
            labelme(r#"{"shape_type": "mask", "points": [[1, 2], [1, 4]]}"#),
            "shapes[0]: a mask without its picture",
        ),
        (labelme(r#"{"points": [[1, 2, 3]]}"#), "trailing characters"),
        (r#"{"shapes": [{"points": [[1, 2]]}]}"#.to_owned(), "its imagePath is missing"),
        (r#"{"annotations": []}"#.to_owned(), "without the `images` of a COCO data set"),
        (r#"[{"image_id": 1, "bbox": [1, 2, 3, 4]}]"#.to_owned(), "results in COCO's form name no files"),
        (
            r#"{"type": "FeatureCollection", "features": []}"#.to_owned(),
            "it has `type`, `features`; expected",
        ),
    ] {
        let error = PromptFile::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn other_encodings_than_utf_8_were_damaged_text() {
    let text = r#"{"prompts": [{"image": "ä.jpg", "points": [[1, 2, 1]], "label": "Tasse"}]}"#;
    let file = PromptFile::parse(text.as_bytes()).unwrap();
    let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    for (mark, bytes) in [(&b"\xff\xfe"[..], wide(u16::to_le_bytes)), (b"\xfe\xff", wide(u16::to_be_bytes))] {
        assert_eq!(PromptFile::parse(&[mark, &bytes].concat()).unwrap(), file);
    }
    let cut = PromptFile::parse(b"\xff\xfe{").unwrap_err().to_string();
    assert!(cut.contains("UTF-16 text is damaged"), "{cut}");
    let chinese = PromptFile::parse(b"{\n\"shapes\": [\"\xb1\xad\"]}").unwrap_err().to_string();
    assert!(chinese.contains("line 2 is no UTF-8 text") && chinese.contains("iconv -f gb18030"), "{chinese}");
}
