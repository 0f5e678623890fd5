//! Automatic masks as COCO annotations, with upstream's fields beside COCO's.

use samovar_geometry::{Image, Size};
use samovar_media::write::{CocoAnnotation, CocoCategory, CocoDataset, CocoImage, CocoSegmentation};

use super::mask::AutomaticMask;

/// What is in the masks, as far as the generator knows.
const CATEGORY: &str = "object";

/// The annotation of a mask with this segmentation: number, image and class 1, for the caller to change. `bbox` is COCO's:
/// up to the outer edges of the last pixels, one more than upstream's in both directions. `crop_box` is `[x, y, width, height]`,
/// `point_coords` a list of one point.
pub fn annotation(mask: &AutomaticMask, segmentation: CocoSegmentation) -> CocoAnnotation {
    let [x, y] = [mask.point_coords.x, mask.point_coords.y];
    let crop = mask.crop_box;
    // Not a number if the mask is empty at both thresholds; JSON has no such thing.
    let stability = if mask.stability_score.is_nan() { 0.0 } else { f64::from(mask.stability_score) };
    let beyond = if mask.area > 0 { 1.0 } else { 0.0 };
    CocoAnnotation {
        id: 1,
        image_id: 1,
        category_id: 1,
        segmentation,
        area: mask.area as f64,
        bbox: [mask.bbox.x0, mask.bbox.y0, mask.bbox.width() + beyond, mask.bbox.height() + beyond],
        iscrowd: 0,
        score: None,
        predicted_iou: Some(f64::from(mask.predicted_iou)),
        stability_score: Some(stability),
        point_coords: Some(vec![[x, y]]),
        crop_box: Some([crop.x0, crop.y0, crop.width(), crop.height()]),
        detection_box: None,
    }
}

/// Annotations of the masks of one image as run lengths, numbered from `first_id` on.
pub fn annotations(masks: &[AutomaticMask], image_id: u64, first_id: u64) -> Vec<CocoAnnotation> {
    let numbered = |(id, mask): (u64, &AutomaticMask)| {
        let segmentation = CocoSegmentation::compressed_rle(&mask.mask);
        CocoAnnotation { id, image_id, ..annotation(mask, segmentation) }
    };
    (first_id..).zip(masks).map(numbered).collect()
}

/// The COCO document of one image.
pub fn coco(masks: &[AutomaticMask], file_name: &str, size: Size<Image>) -> CocoDataset {
    let image = CocoImage { id: 1, file_name: file_name.to_owned(), width: size.width, height: size.height };
    CocoDataset {
        info: serde_json::json!({ "description": "automatic masks by samovar" }),
        images: vec![image],
        annotations: annotations(masks, 1, 1),
        categories: vec![CocoCategory { id: 1, name: CATEGORY.to_owned() }],
    }
}
