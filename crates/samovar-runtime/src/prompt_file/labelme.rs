//! labelme's files (X-AnyLabeling's too) as prompts: a rectangle is a box, a point a click, and what has an outline or a mask
//! is a mask to refine, with its box. Shapes of one label and `group_id` are one object.
//!
//! <https://github.com/wkentaro/labelme/blob/main/labelme/utils/shape.py>

use std::collections::{BTreeMap, HashMap};
use std::f64::consts::TAU;

use samovar_media::write::CocoSegmentation;
use serde::Deserialize;

use super::entry::{PromptEntry, Segmentation};
use super::number::{Id, bounds_of, extent};
use super::text;
use crate::error::{Error, Result};

const EXPECTED: &str = r#"a file of labelme: {"shapes": [{"label", "shape_type", "points": [[x, y], ...], "group_id"}], "imagePath", "imageWidth", "imageHeight"}"#;

/// Corners that stand for a circle.
const CIRCLE_CORNERS: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    shapes: Vec<Shape>,
    image_path: Option<String>,
    image_width: Option<f64>,
    image_height: Option<f64>,
}

#[derive(Deserialize)]
struct Shape {
    label: Option<String>,
    points: Vec<[f64; 2]>,
    group_id: Option<Id>,
    /// A polygon where there is none, as in the first versions.
    shape_type: Option<String>,
    /// A PNG in base64.
    mask: Option<String>,
}

/// Reads a file; with what of it is no prompt, in words.
///
/// # Errors
/// [`Error::Usage`] with the place of what is wrong.
pub fn parse(json: &str) -> Result<(Vec<PromptEntry>, Vec<String>)> {
    let document: Document = text::read(json, EXPECTED)?;
    let image = document.image_path.filter(|path| !path.is_empty());
    let image =
        image.ok_or_else(|| Error::usage("its imagePath is missing, which says whose shapes these are"))?;
    let size = extent(document.image_width).zip(extent(document.image_height));
    let size = size.map(|(width, height)| [width, height]);
    let mut entries: Vec<PromptEntry> = Vec::new();
    let mut groups: HashMap<(Option<String>, Id), usize> = HashMap::new();
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    for (index, shape) in document.shapes.into_iter().enumerate() {
        let mut entry = PromptEntry {
            image: Some(image.clone()),
            label: shape.label.clone().filter(|label| !label.is_empty()),
            size,
            row: index,
            ..PromptEntry::default()
        };
        let group = shape.group_id.clone().map(|id| (entry.label.clone(), id));
        let kind = shape.shape_type.clone().unwrap_or_else(|| "polygon".to_owned());
        let is_taken =
            shape.fill(&kind, &mut entry).map_err(|what| Error::usage(format!("shapes[{index}]: {what}")))?;
        if !is_taken {
            *left_out.entry(kind).or_default() += 1;
            continue;
        }
        let there = group.map(|group| *groups.entry(group).or_insert(entries.len()));
        match there.filter(|&there| there < entries.len()) {
            Some(there) => join(&mut entries[there], entry),
            None => entries.push(entry),
        }
    }
    let note = |(kind, count): (String, usize)| {
        let s = if count == 1 { "" } else { "s" };
        format!("{count} shape{s} of type {kind} left out: no area and no clicks")
    };
    Ok((entries, left_out.into_iter().map(note).collect()))
}

/// Another part of the same object.
fn join(entry: &mut PromptEntry, part: PromptEntry) {
    entry.points.extend(part.points);
    entry.segmentations.extend(part.segmentations);
    let corners = [entry.bounds, part.bounds].into_iter().flatten();
    entry.bounds = bounds_of(corners.flat_map(|[x0, y0, x1, y1]| [[x0, y0], [x1, y1]]));
}

impl Shape {
    /// Puts it into the entry, if it is of a kind that means an object.
    fn fill(self, kind: &str, entry: &mut PromptEntry) -> Result<bool, String> {
        let count = self.points.len();
        let expect = |right: bool, what: &str| match right {
            true => Ok(()),
            false => Err(format!("a {kind} of {count} points; expected {what}")),
        };
        let outline = match kind {
            "point" | "points" => {
                expect(count > 0, "at least one")?;
                entry.points = self.points.iter().map(|&[x, y]| [x, y, 1.0]).collect();
                return Ok(true);
            }
            "rectangle" => {
                expect(count == 2 || count == 4, "two opposite corners, or four")?;
                entry.bounds = bounds_of(self.points.iter().copied());
                return match entry.bounds {
                    Some(_) => Ok(true),
                    None => Err(format!("a rectangle without area, at {:?}", self.points[0])),
                };
            }
            "mask" => {
                expect(count == 2, "the corners of the mask")?;
                let png = self.mask.ok_or("a mask without its picture, `mask`")?;
                let corner = self.points[0].map(|value| value.round() as i64);
                let far = self.points[1];
                // labelme's second corner is the last pixel.
                let corners =
                    [[corner[0] as f64, corner[1] as f64], [far[0].round() + 1.0, far[1].round() + 1.0]];
                entry.bounds = bounds_of(corners.into_iter());
                entry.segmentations = vec![Segmentation::Crop { png, at: corner }];
                return Ok(true);
            }
            "circle" => {
                expect(count == 2, "its centre and a point on it")?;
                let [[x, y], [on_x, on_y]] = [self.points[0], self.points[1]];
                let radius = (on_x - x).hypot(on_y - y);
                let corner = |corner: usize| {
                    let (sine, cosine) = (corner as f64 * TAU / CIRCLE_CORNERS as f64).sin_cos();
                    [x + radius * cosine, y + radius * sine]
                };
                (0..CIRCLE_CORNERS).map(corner).collect()
            }
            "polygon" | "rotation" | "oriented_rectangle" | "quadrilateral" => {
                expect(count > 2, "at least three")?;
                self.points
            }
            _ => return Ok(false),
        };
        entry.bounds = bounds_of(outline.iter().copied());
        if entry.bounds.is_none() {
            return Err(format!("a {kind} without area, at {:?}", outline[0]));
        }
        let outlines = vec![outline.into_iter().flatten().collect()];
        entry.segmentations = vec![Segmentation::Coco(CocoSegmentation::Polygons(outlines))];
        Ok(true)
    }
}
