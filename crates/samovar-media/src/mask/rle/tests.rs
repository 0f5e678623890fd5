//! Against pycocotools and upstream's `mask_to_rle_pytorch`; round trips; hostile text.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::error::MediaErrorKind;
use crate::golden;

#[derive(Debug, Deserialize)]
struct Case {
    seed: u32,
    width: u32,
    height: u32,
    density: u32,
    area: u64,
    coco: String,
    counts: Option<Vec<u32>>,
    #[serde(rename = "box")]
    tight_box: [f64; 4],
}

#[test]
fn strings_counts_areas_and_boxes_are_upstreams() {
    let cases: Vec<Case> = golden::cases("rle.json");
    assert!(cases.iter().filter(|case| case.counts.is_some()).count() >= 4);
    for case in cases {
        let mask = golden::speckle(case.seed, case.height, case.width, case.density);
        let rle = Rle::from_mask(&mask).unwrap();
        assert_eq!(rle.to_coco_string(), case.coco, "{case:?}");
        if let Some(counts) = &case.counts {
            assert_eq!(rle.counts(), counts, "{case:?}");
        }
        assert_eq!((rle.area(), mask.area()), (case.area, case.area), "{case:?}");
        let tight_box = mask.tight_box().map_or([0.0; 4], |b| [b.x0, b.y0, b.x1, b.y1]);
        assert_eq!(tight_box, case.tight_box, "{case:?}");
        let read = Rle::from_coco_string(mask.size(), &case.coco).unwrap();
        assert_eq!(read, rle);
        assert_eq!(read.to_mask().unwrap(), mask);
    }
}

proptest! {
    #[test]
    fn any_mask_comes_back(seed: u32, width in 0u32..200, height in 0u32..200, density in 0u32..=256) {
        let mask = golden::speckle(seed, height, width, density);
        let rle = Rle::from_mask(&mask).unwrap();
        prop_assert_eq!(rle.counts().iter().map(|&c| u64::from(c)).sum::<u64>(), mask.size().area());
        prop_assert!(rle.counts().iter().skip(1).all(|&count| count > 0), "only the first run may be empty");
        prop_assert_eq!(&rle.to_mask().unwrap(), &mask);
        prop_assert_eq!(&Rle::from_coco_string(mask.size(), &rle.to_coco_string()).unwrap(), &rle);
    }

    #[test]
    fn any_counts_survive_the_string(counts in proptest::collection::vec(0u32..5_000_000, 1..40)) {
        let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let rle = Rle::from_counts(Size::new(total as u32, 1), counts).unwrap();
        prop_assert_eq!(Rle::from_coco_string(rle.size(), &rle.to_coco_string()).unwrap(), rle);
    }

    #[test]
    fn any_text_is_a_value_or_an_error(text in "[0-o]{0,60}", other in "\\PC{0,20}") {
        for text in [text, other] {
            if let Ok(rle) = Rle::from_coco_string(Size::new(100, 100), &text) {
                prop_assert_eq!(rle.to_mask().unwrap().area(), rle.area());
            }
        }
    }
}

#[test]
fn lies_about_the_size_are_refused() {
    let kind = |size, counts| Rle::from_counts(size, counts).unwrap_err().kind();
    assert_eq!(kind(Size::new(4, 4), vec![15]), MediaErrorKind::Damaged);
    assert_eq!(kind(Size::new(4, 4), vec![10, 7]), MediaErrorKind::Damaged);
    assert_eq!(kind(Size::square(u32::MAX), vec![]), MediaErrorKind::TooLarge);
    assert_eq!(kind(Size::new(4, 4), vec![u32::MAX; 1000]), MediaErrorKind::Damaged);
    let error = Rle::from_coco_string(Size::new(4, 4), "00000000000000000000P").unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Damaged, "{error}");
    let error = Rle::from_coco_string(Size::new(4, 4), &"o".repeat(100)).unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Damaged, "an endless number: {error}");
}

#[test]
fn empty_runs_in_the_middle_are_read() {
    let rle = Rle::from_counts(Size::new(2, 3), vec![0, 2, 0, 1, 3]).unwrap();
    assert_eq!(rle.area(), 3);
    assert_eq!(rle.to_mask().unwrap(), BitMask::from_fn(Size::new(2, 3), |x, _| x == 0));
}
