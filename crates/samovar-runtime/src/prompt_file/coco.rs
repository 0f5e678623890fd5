//! COCO data sets as prompts: outlines and run lengths are masks to refine, with their boxes; keypoints are clicks.
//!
//! As detectron2 reads them, keypoints name pixels, whose centres are half a pixel further; boxes and outlines lie between
//! pixels. <https://cocodataset.org/#format-data>

use std::collections::HashMap;
use std::fmt;

use samovar_media::write::CocoSegmentation;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

use super::entry::{PromptEntry, Segmentation};
use super::number::{Id, bounds_of, extent};
use super::text;
use crate::error::{Error, Result};

const EXPECTED: &str = r#"a COCO data set: {"images": [{"id", "file_name", "width", "height"}], "annotations": [{"image_id", "category_id", "bbox": [x, y, width, height], "segmentation"}], "categories": [{"id", "name"}]}"#;

/// Most outlines one annotation may have.
const MAX_OUTLINES: usize = 4096;
/// An outline of fewer numbers has no area.
const MIN_OUTLINE_NUMBERS: usize = 6;

#[derive(Deserialize)]
struct Document {
    images: Vec<ImageRow>,
    annotations: Vec<Annotation>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct ImageRow {
    id: Id,
    file_name: String,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct Category {
    id: Id,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: Id,
    category_id: Option<Id>,
    bbox: Option<Vec<f64>>,
    segmentation: Option<Outlined>,
    keypoints: Option<Vec<f64>>,
    iscrowd: Option<Flag>,
}

/// Reads a data set; with what of it is no prompt, in words.
///
/// # Errors
/// [`Error::Usage`] with the place of what is wrong.
pub fn parse(json: &str) -> Result<(Vec<PromptEntry>, Vec<String>)> {
    let document: Document = text::read(json, EXPECTED)?;
    let images: HashMap<&Id, &ImageRow> = document.images.iter().map(|image| (&image.id, image)).collect();
    if images.len() < document.images.len() {
        return Err(Error::usage("two of its images have the same id"));
    }
    let names: HashMap<&Id, &str> =
        document.categories.iter().map(|category| (&category.id, category.name.as_str())).collect();
    let (mut entries, mut crowds, mut empty) = (Vec::new(), 0, 0);
    for (index, annotation) in document.annotations.into_iter().enumerate() {
        let at = |what: String| Error::usage(format!("annotations[{index}]{what}"));
        let image = images.get(&annotation.image_id).ok_or_else(|| {
            at(format!(".image_id is {}, and there is no such image in `images`", annotation.image_id))
        })?;
        // A crowd's mask is many objects.
        if annotation.iscrowd.as_ref().is_some_and(|crowd| crowd.0) {
            crowds += 1;
            continue;
        }
        let size = extent(image.width).zip(extent(image.height)).map(|(width, height)| [width, height]);
        let label = annotation.category_id.as_ref().map(|id| match names.get(id) {
            Some(name) => (*name).to_owned(),
            None => format!("category {id}"),
        });
        let says_nothing =
            annotation.bbox.is_none() && annotation.segmentation.is_none() && annotation.keypoints.is_none();
        if says_nothing {
            return Err(at(
                " has no bbox, no segmentation and no keypoints; captions are no prompts".to_owned()
            ));
        }
        let entry = PromptEntry {
            image: Some(image.file_name.clone()),
            label,
            size,
            row: index,
            ..PromptEntry::default()
        };
        let entry = annotation.fill(entry).map_err(at)?;
        if entry.points.is_empty() && entry.bounds.is_none() && entry.segmentations.is_empty() {
            empty += 1;
            continue;
        }
        entries.push(entry);
    }
    let note = |count: usize, what: &str| {
        let s = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("{count} annotation{s} left out: {what}"))
    };
    let crowds = note(crowds, "crowds of objects (iscrowd)");
    let empty = note(empty, "nothing with an area");
    Ok((entries, crowds.into_iter().chain(empty).collect()))
}

impl Annotation {
    /// What it shows of its object; a refusal begins with its place in the annotation.
    fn fill(self, mut entry: PromptEntry) -> Result<PromptEntry, String> {
        let keypoints = self.keypoints.unwrap_or_default();
        if !keypoints.len().is_multiple_of(3) {
            return Err(format!(
                ".keypoints has {} numbers; expected x, y, visibility of each",
                keypoints.len()
            ));
        }
        let seen = keypoints.chunks_exact(3).filter(|keypoint| keypoint[2] > 0.0);
        entry.points = seen.map(|keypoint| [keypoint[0] + 0.5, keypoint[1] + 0.5, 1.0]).collect();
        entry.bounds = match self.bbox.unwrap_or_default()[..] {
            [] => None,
            [_, _, width, height] if width < 0.0 || height < 0.0 => {
                return Err(format!(
                    ".bbox is {width} wide and {height} high; expected [x, y, width, height]"
                ));
            }
            [x, y, width, height] => (width > 0.0 && height > 0.0).then_some([x, y, x + width, y + height]),
            ref numbers => {
                return Err(format!(".bbox has {} numbers; expected [x, y, width, height]", numbers.len()));
            }
        };
        let segmentation = match self.segmentation {
            Some(Outlined(CocoSegmentation::Polygons(outlines))) => {
                if outlines.len() > MAX_OUTLINES {
                    return Err(format!(
                        ".segmentation has {} outlines; at most {MAX_OUTLINES}",
                        outlines.len()
                    ));
                }
                if let Some(odd) = outlines.iter().position(|outline| !outline.len().is_multiple_of(2)) {
                    return Err(format!(
                        ".segmentation[{odd}] has {} numbers, an x without a y; if they are run lengths, expected \
                         {{\"size\": [height, width], \"counts\": [...]}}",
                        outlines[odd].len()
                    ));
                }
                let outlines: Vec<Vec<f64>> =
                    outlines.into_iter().filter(|outline| outline.len() >= MIN_OUTLINE_NUMBERS).collect();
                let points = outlines.iter().flat_map(|outline| outline.chunks_exact(2));
                entry.bounds = entry.bounds.or_else(|| bounds_of(points.map(|point| [point[0], point[1]])));
                (!outlines.is_empty()).then_some(CocoSegmentation::Polygons(outlines))
            }
            other => other.map(|segmentation| segmentation.0),
        };
        entry.segmentations = segmentation.map(Segmentation::Coco).into_iter().collect();
        Ok(entry)
    }
}

/// Outlines or run lengths, with errors that say what was expected.
struct Outlined(CocoSegmentation);

impl<'de> Deserialize<'de> for Outlined {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutlinedVisitor).map(Self)
    }
}

struct OutlinedVisitor;

impl<'de> Visitor<'de> for OutlinedVisitor {
    type Value = CocoSegmentation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            r#"outlines [[x0, y0, x1, y1, ...]] or run lengths {"size": [height, width], "counts": ...}"#,
        )
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CocoSegmentation, A::Error> {
        let mut outlines = Vec::new();
        while let Some(Outline(outline)) = list.next_element()? {
            outlines.push(outline);
        }
        Ok(CocoSegmentation::Polygons(outlines))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CocoSegmentation, A::Error> {
        #[derive(Deserialize)]
        struct RunLengths {
            size: [u32; 2],
            counts: Counts,
        }
        let RunLengths { size, counts } = RunLengths::deserialize(MapAccessDeserializer::new(map))?;
        Ok(match counts {
            Counts::Text(counts) => CocoSegmentation::Compressed { size, counts },
            Counts::List(counts) => CocoSegmentation::Uncompressed { size, counts },
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "run lengths as text or as a list of whole numbers")]
enum Counts {
    Text(String),
    List(Vec<u32>),
}

/// One outline, flat.
struct Outline(Vec<f64>);

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OutlineVisitor;
        impl<'de> Visitor<'de> for OutlineVisitor {
            type Value = Outline;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an outline: outlines are lists within the list, [[x0, y0, x1, y1, ...]]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Outline, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Outline)
            }
        }
        deserializer.deserialize_any(OutlineVisitor)
    }
}

/// 0 and 1, or false and true.
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "0, 1, false or true")]
        enum Either {
            Truth(bool),
            Number(f64),
        }
        Either::deserialize(deserializer).map(|either| match either {
            Either::Truth(truth) => Self(truth),
            Either::Number(number) => Self(number != 0.0),
        })
    }
}
