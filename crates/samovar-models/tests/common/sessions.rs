//! Whole sessions of a tracker, followed as `SAM2VideoPredictor` does it, which keeps everything it has ever found; what has to be
//! kept is the business of those who use a tracker. Compared with what a golden recorded.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use samovar_geometry::{Box2, Point};
use samovar_media::LazyImage;
use samovar_models::{
    GivenMask, ImageFeatures, MemoryPlace, Model, ObjectPast, PromptBatch, TrackedImage, TrackedMask, Tracker,
};
use samovar_tensor::{Device, Shape, Tensor};
use samovar_weights::WeightSource;
use serde_json::Value;

use super::{Golden, Worst, download, repository, values};

const SIDE: usize = 96;

/// A file without some of its tensors.
pub struct Changed<'a> {
    file: &'a dyn WeightSource,
    names: BTreeMap<String, String>,
}

impl<'a> Changed<'a> {
    /// Without those in whose names one of `parts` is.
    pub fn without(file: &'a dyn WeightSource, parts: &[&str]) -> Self {
        let names = file.names().into_iter().filter(|name| !parts.iter().any(|part| name.contains(part)));
        Self { file, names: names.map(|name| (name.clone(), name)).collect() }
    }
}

impl WeightSource for Changed<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        self.file.tensor(self.names.get(name).map_or("no such tensor", |name| name), shape)
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.file.shape(self.names.get(name)?)
    }

    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn origin(&self) -> String {
        self.file.origin()
    }
}

/// The frames of the shot as the encoder takes them, and what it found in those that were asked for.
struct Shot<'a> {
    device: &'a Device,
    model: &'a Model,
    /// Where its pictures and the masks of prompts are.
    folder: PathBuf,
    found: RefCell<BTreeMap<i64, ImageFeatures>>,
}

impl Shot<'_> {
    fn frame(&self, frame: i64) -> TrackedImage {
        let mut found = self.found.borrow_mut();
        let features = found.entry(frame).or_insert_with(|| {
            let path = self.folder.join(format!("shot/{}.png", 1001 + frame));
            let image = LazyImage::open(path);
            let pixels = image.pixels().unwrap();
            let (mean, deviation) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
            let values: Vec<f32> = pixels
                .pixels()
                .iter()
                .enumerate()
                .map(|(i, &v)| (f32::from(v) / 255.0 - mean[i % 3]) / deviation[i % 3])
                .collect();
            let pixels = self.device.upload([1, SIDE, SIDE, 3], &values).unwrap();
            self.model.image_encoder().unwrap().encode(self.device, &pixels).unwrap()
        });
        TrackedImage::new(features.clone()).unwrap()
    }
}

/// What was found on a frame.
struct Found {
    mask: TrackedMask,
    /// Rounded to bf16, once it was made.
    memory: Option<Tensor>,
    unrounded: Option<Vec<f32>>,
    attended: Option<Vec<f32>>,
}

#[derive(Default)]
struct Object {
    conditioning: BTreeMap<i64, Found>,
    others: BTreeMap<i64, Found>,
    /// Whether each frame that was tracked was tracked in reverse.
    tracked: BTreeMap<i64, bool>,
}

struct Predictor<'a> {
    shot: Shot<'a>,
    tracker: &'a dyn Tracker,
    frames: i64,
    most_conditioning: Option<usize>,
    corrections_condition: bool,
    objects: BTreeMap<u64, Object>,
}

fn rounded(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000)
}

impl Predictor<'_> {
    fn device(&self) -> &Device {
        self.shot.device
    }

    /// `_prepare_memory_conditioned_features`.
    fn attend(&self, image: &mut TrackedImage, object: &Object, frame: i64, reverse: bool) -> ImageFeatures {
        let sign = if reverse { -1 } else { 1 };
        let chosen = self.chosen(object, frame);
        let recent = |before: i64| {
            let at = frame - sign * before;
            let unchosen = || object.conditioning.get(&at).filter(|_| !chosen.contains(&at));
            object.others.get(&at).or_else(unchosen)
        };
        let rule = self.tracker.rule();
        let mut past =
            ObjectPast { pointers_at_most: rule.pointers.min(self.frames as usize), ..ObjectPast::default() };
        for at in &chosen {
            let found = &object.conditioning[at];
            past.memories.push((found.memory.as_ref().unwrap(), MemoryPlace::Conditioning));
            let distance = sign * (frame - at);
            if distance >= 0 {
                past.pointers.push((&found.mask.pointer, distance));
            }
        }
        for before in (1..=rule.recent as i64).rev() {
            if let Some(found) = recent(before) {
                past.memories.push((found.memory.as_ref().unwrap(), MemoryPlace::Recent(before as usize)));
            }
        }
        for before in 1..past.pointers_at_most as i64 {
            if let Some(found) = recent(before) {
                past.pointers.push((&found.mask.pointer, before));
            }
        }
        self.tracker.attend(self.device(), image, &past).unwrap()
    }

    /// `select_closest_cond_frames`.
    fn chosen(&self, object: &Object, frame: i64) -> Vec<i64> {
        let all: Vec<i64> = object.conditioning.keys().copied().collect();
        let Some(most) = self.most_conditioning.filter(|most| *most < all.len()) else { return all };
        let before = all.iter().rev().find(|at| **at < frame);
        let after = all.iter().find(|at| **at >= frame);
        let mut chosen: Vec<i64> = before.into_iter().chain(after).copied().collect();
        let mut rest: Vec<i64> = all.iter().copied().filter(|at| !chosen.contains(at)).collect();
        rest.sort_by_key(|at| (at - frame).abs());
        chosen.extend(rest.into_iter().take(most - chosen.len()));
        chosen
    }

    fn prompt(&mut self, given: &Value) {
        let frame = given["frame"].as_i64().unwrap();
        let id = given["object"].as_u64().unwrap();
        let mut object = self.objects.remove(&id).unwrap_or_default();
        let mut image = self.shot.frame(frame);
        let (device, segmenter) = (self.device(), self.shot.model.promptable_segmenter().unwrap());
        let before = object.conditioning.get(&frame).or_else(|| object.others.get(&frame));
        let mut attended = None;
        let mask = match given["mask"].as_str() {
            Some(file) => {
                let mask = LazyImage::open(self.shot.folder.join(file)).pixels().unwrap();
                let pixels: Vec<f32> =
                    mask.pixels().chunks(3).map(|pixel| f32::from(u8::from(pixel[0] > 127))).collect();
                let logits = quartered(&pixels.iter().map(|pixel| 20.0 * pixel - 10.0).collect::<Vec<_>>());
                let mask = GivenMask { pixels: &pixels, logits: &logits };
                self.tracker.adopt(device, &**segmenter, image.features(), mask).unwrap()
            }
            None => {
                let batch = PromptBatch {
                    prompts: 1,
                    points: numbers(&given["points"]).chunks(2).map(|p| Point::new(p[0], p[1])).collect(),
                    labels: numbers(&given["labels"]).iter().map(|&label| label as i32).collect(),
                    boxes: numbers(&given["box"])
                        .chunks(4)
                        .map(|b| Box2::new(b[0], b[1], b[2], b[3]))
                        .collect(),
                    masks: before.map(|found| {
                        let logits = download(device, &found.mask.logits);
                        logits.iter().map(|logit| logit.clamp(-32.0, 32.0)).collect()
                    }),
                    ..PromptBatch::default()
                };
                let features = match object.tracked.get(&frame) {
                    Some(&reverse) => self.attend(&mut image, &object, frame, reverse),
                    None => image.features().clone(),
                };
                attended = Some(download(device, &features.embedding)).filter(|_| features.is_conditioned);
                self.tracker.answer(device, &**segmenter, &features, Some(&batch)).unwrap()
            }
        };
        assert!(!object.tracked.contains_key(&frame) || self.corrections_condition);
        object.conditioning.insert(frame, Found { mask, memory: None, unrounded: None, attended });
        self.objects.insert(id, object);
    }

    fn remember(&self, image: &mut TrackedImage, found: &mut Found, is_prompted: bool) {
        let memory = self.tracker.remember(self.device(), image, &found.mask, is_prompted).unwrap();
        let values = download(self.device(), &memory);
        let shape = *memory.shape();
        let rounded: Vec<f32> = values.iter().map(|&value| rounded(value)).collect();
        found.memory = Some(self.device().upload(shape, &rounded).unwrap());
        found.unrounded = Some(values);
    }

    /// `propagate_in_video`: the frames that were run.
    fn run(&mut self, start: i64, reverse: bool, most: Option<i64>, mut each: impl FnMut(&Self, i64)) {
        let mut objects = std::mem::take(&mut self.objects);
        for object in objects.values_mut() {
            for (&frame, found) in &mut object.conditioning {
                if found.memory.is_none() {
                    self.remember(&mut self.shot.frame(frame), found, true);
                }
                object.others.remove(&frame);
            }
        }
        let count = most.unwrap_or(i64::MAX).min(if reverse { start + 1 } else { self.frames - start });
        for step in 0..count {
            let frame = if reverse { start - step } else { start + step };
            let mut image = self.shot.frame(frame);
            for object in objects.values_mut() {
                if !object.conditioning.contains_key(&frame) {
                    let features = self.attend(&mut image, object, frame, reverse);
                    let segmenter = self.shot.model.promptable_segmenter().unwrap();
                    let mask = self.tracker.answer(self.device(), &**segmenter, &features, None).unwrap();
                    let attended = Some(download(self.device(), &features.embedding));
                    let mut found = Found { mask, memory: None, unrounded: None, attended };
                    self.remember(&mut image, &mut found, false);
                    object.others.insert(frame, found);
                }
                object.tracked.insert(frame, reverse);
            }
            self.objects = objects;
            each(self, frame);
            objects = std::mem::take(&mut self.objects);
        }
        self.objects = objects;
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(parts) => parts.iter().flat_map(numbers).collect(),
        Value::Number(number) => vec![number.as_f64().unwrap()],
        _ => Vec::new(),
    }
}

/// An image of 96 x 96 at a quarter of its sides, as PyTorch's bilinear filter with antialias: a triangle of 4 pixels to both sides.
fn quartered(values: &[f32]) -> Vec<f32> {
    let weights = |cell: usize| -> Vec<(usize, f64)> {
        let centre = 4.0 * (cell as f64 + 0.5);
        let near =
            (0..SIDE).map(|i| (i, 1.0 - (i as f64 + 0.5 - centre).abs() / 4.0)).filter(|&(_, w)| w > 0.0);
        let near: Vec<_> = near.collect();
        let sum: f64 = near.iter().map(|&(_, w)| w).sum();
        near.into_iter().map(|(i, w)| (i, w / sum)).collect()
    };
    let mut out = Vec::new();
    for row in 0..SIDE / 4 {
        for column in 0..SIDE / 4 {
            let mut sum = 0.0;
            for (y, down) in weights(row) {
                for (x, across) in weights(column) {
                    sum += down * across * f64::from(values[y * SIDE + x]);
                }
            }
            out.push(sum as f32);
        }
    }
    out
}

/// What the recipe compares: all masks of a session together, all scores, and so on. Masks of what is hidden count for nothing, and
/// must be hidden.
#[derive(Default)]
struct Compared(BTreeMap<&'static str, (Vec<f32>, Vec<f32>)>);

impl Compared {
    fn add(&mut self, kind: &'static str, found: &[f32], expected: &[f32]) {
        let (all_found, all_expected) = self.0.entry(kind).or_default();
        assert_eq!(found.len(), expected.len(), "{kind}");
        for (&found, &expected) in found.iter().zip(expected) {
            assert_eq!(found == -1024.0, expected == -1024.0, "{kind}");
            if expected != -1024.0 {
                all_found.push(found);
                all_expected.push(expected);
            }
        }
    }

    fn check(&self, session: &str, tolerance: (f64, f64), worst: &mut Worst) {
        for (kind, (found, expected)) in &self.0 {
            worst.compare(&format!("{session}: {kind}"), found, expected, tolerance);
        }
    }
}

/// Follows a session and compares all that is recorded of it, within the tolerance: largest difference over the standard deviation,
/// and relative L2 norm of the difference.
pub fn follow(
    device: &Device,
    model: &Model,
    golden: &Golden,
    tolerance: (f64, f64),
    name: &str,
    session: &Value,
) -> Worst {
    let outputs = golden.checkpoint("outputs.safetensors");
    let mut predictor = Predictor {
        shot: Shot { device, model, folder: repository("dev/goldens/sam2_video"), found: RefCell::default() },
        tracker: &**model.tracker().unwrap(),
        frames: session["frames"].as_i64().unwrap(),
        most_conditioning: usize::try_from(session["max_cond_frames"].as_i64().unwrap()).ok(),
        corrections_condition: session["corrections_condition"] == true,
        objects: BTreeMap::new(),
    };
    let mut compared = Compared::default();
    for step in session["steps"].as_array().unwrap() {
        if step["prompt"].is_object() {
            predictor.prompt(&step["prompt"]);
            continue;
        }
        let run = step["run"].as_str().unwrap();
        let (start, reverse) = (step["start"].as_i64().unwrap(), step["reverse"] == true);
        predictor.run(start, reverse, step["most"].as_i64(), |predictor, frame| {
            let found = predictor
                .objects
                .values()
                .map(|object| object.conditioning.get(&frame).unwrap_or_else(|| &object.others[&frame]));
            let found: Vec<&Found> = found.collect();
            let prefix = format!("{name}.{run}.{frame}");
            let mut add = |kind: &'static str, of: &dyn Fn(&Found) -> Option<Vec<f32>>| {
                let output = format!("{prefix}.{kind}");
                if outputs.shape(&output).is_some() {
                    let found: Vec<f32> = found.iter().flat_map(|found| of(found).expect(kind)).collect();
                    compared.add(kind, &found, &values(&outputs, &output));
                }
            };
            add("scores", &|found| Some(vec![found.mask.object_score]));
            add("pointers", &|found| Some(found.mask.pointer.clone()));
            add("masks", &|found| Some(download(device, &found.mask.logits)));
            add("memory", &|found| found.unrounded.clone());
            add("attended", &|found| found.attended.clone());
        });
    }
    // All is hidden on the one frame of 2.0 that is recorded in full.
    let kinds: Vec<_> = compared.0.keys().copied().filter(|kind| *kind != "masks").collect();
    assert_eq!(kinds, ["attended", "memory", "pointers", "scores"], "{name}");
    assert_eq!(compared.0.contains_key("masks"), name != "version_2_0", "{name}");
    let mut worst = Worst::default();
    compared.check(name, tolerance, &mut worst);
    println!("{name}, {}: {worst:?}", device.name());
    worst
}

/// The sessions of a golden, by their names.
pub fn sessions(golden: &Golden) -> BTreeMap<String, Value> {
    let json = std::fs::read_to_string(golden.folder.join("sessions.json")).unwrap();
    serde_json::from_str(&json).unwrap()
}
