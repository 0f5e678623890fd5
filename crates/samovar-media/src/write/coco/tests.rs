//! All forms of a mask give it back, through JSON.

use proptest::prelude::*;

use super::*;
use crate::golden;

proptest! {
    #[test]
    fn every_form_survives_json(seed: u32, width in 1u32..90, height in 1u32..60, density in 0u32..=256) {
        let mask = golden::speckle(seed, height, width, density);
        for form in [
            CocoSegmentation::compressed(&mask).unwrap(),
            CocoSegmentation::uncompressed(&mask).unwrap(),
            CocoSegmentation::polygons(&mask, 0.0).unwrap(),
        ] {
            let text = serde_json::to_string(&form).unwrap();
            let read: CocoSegmentation = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &form);
            prop_assert_eq!(read.to_mask(mask.size()).unwrap(), mask.clone());
        }
    }
}

#[test]
fn a_data_set_reads_as_coco() {
    let mask = BitMask::from_fn(Size::new(20, 10), |x, y| (3..7).contains(&x) && (2..4).contains(&y));
    let mut annotation = CocoAnnotation::new(7, 1, &mask, CocoSegmentation::compressed(&mask).unwrap());
    annotation.score = Some(0.5);
    let dataset = CocoDataset {
        info: serde_json::json!({ "description": "test" }),
        images: vec![CocoImage { id: 1, file_name: "a.jpg".into(), width: 20, height: 10 }],
        annotations: vec![annotation],
        categories: vec![CocoCategory { id: 1, name: "object".into() }],
    };
    let json = serde_json::to_value(&dataset).unwrap();
    let first = &json["annotations"][0];
    assert_eq!(first["bbox"], serde_json::json!([3.0, 2.0, 4.0, 2.0]));
    assert_eq!(first["area"], 8.0);
    assert_eq!(first["segmentation"]["size"], serde_json::json!([10, 20]), "height first");
    assert!(first["segmentation"]["counts"].is_string());
    assert_eq!(json["images"][0]["file_name"], "a.jpg");
    let path = std::env::temp_dir().join(format!("samovar-coco-{}.json", std::process::id()));
    write_json(&path, &dataset).unwrap();
    let read: CocoDataset = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(read, dataset);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn annotations_from_elsewhere_are_read_or_refused() {
    let read = |text: &str| serde_json::from_str::<CocoSegmentation>(text).unwrap().to_mask(Size::new(4, 4));
    assert_eq!(read("[[0,0,4,0,4,2,0,2],[0,1,4,1,4,3,0,3]]").unwrap().area(), 12, "overlap counts once");
    assert_eq!(read(r#"{"size":[4,4],"counts":[4,4,8]}"#).unwrap().area(), 4);
    assert!(read(r#"{"size":[4,4],"counts":[4,4,9]}"#).is_err());
    assert!(read(r#"{"size":[5,4],"counts":[20]}"#).is_err(), "not the image's size");
    assert!(read(r#"{"size":[4000000000,4000000000],"counts":"0"}"#).is_err());
    assert!(read("[[0,0,4]]").is_err(), "an x without a y");
}

#[test]
fn polygon_json_keeps_holes() {
    let mask = BitMask::from_fn(Size::new(9, 9), |x, y| x.abs_diff(4).max(y.abs_diff(4)) > 1);
    let file = polygon_file(&mask, 0.0).unwrap();
    assert_eq!((file.polygons.len(), file.polygons[0].holes.len()), (1, 1));
    assert_eq!(file.polygons[0].outer.len(), 4);
    let text = serde_json::to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<PolygonFile>(&text).unwrap(), file);
}

#[test]
fn a_data_set_always_has_info() {
    // Also one that was read from a file without.
    let read: CocoDataset = serde_json::from_str(r#"{"images": [], "annotations": []}"#).unwrap();
    assert!(serde_json::to_value(read).unwrap().get("info").is_some());
}
