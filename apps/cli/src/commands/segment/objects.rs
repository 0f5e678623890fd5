//! From arguments to prompts: which points, boxes and masks mean which object.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use samovar::prompt_file::{MAX_BYTES, PromptEntry, PromptFile};
use samovar::{BitMask, Box2, DecodeLimits, Image, MaskPrompt, Point, Prompt, PromptPoint, Size, media};
use serde_json::{Value, json};

use crate::failure::usage;
use crate::inputs;

/// What is asked of the image.
#[derive(clap::Args, Debug, Clone)]
pub struct PromptArgs {
    /// A click in pixels; `,0` behind it means "not this". May be given several times
    #[arg(long, short, value_name = "X,Y[,0|1]", value_parser = point, allow_hyphen_values = true)]
    point: Vec<PromptPoint>,
    /// A box around an object, two opposite corners. May be given several times, one object each
    #[arg(long = "box", short, value_name = "X0,Y0,X1,Y1", value_parser = bounds, allow_hyphen_values = true)]
    bounds: Vec<Box2<Image>>,
    /// A rough mask to refine: an image of the same size, white (over 127) is the object, or what a cut-out leaves
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Hidden as long as no model of the catalogue understands words; its refusal says so.
    #[arg(long, value_name = "TEXT", hide = true)]
    text: Option<String>,
    /// Prompts from a JSON file, for some or all images
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["point", "bounds", "mask"])]
    prompts: Option<PathBuf>,
}

fn numbers(text: &str) -> Result<Vec<f64>, String> {
    text.split(',')
        .map(|part| part.trim().parse::<f64>().ok().filter(|value| value.is_finite()))
        .collect::<Option<_>>()
        .ok_or_else(|| "expected numbers with commas between them, as 420,300".to_owned())
}

fn point(text: &str) -> Result<PromptPoint, String> {
    match *numbers(text)? {
        [x, y] => Ok(PromptPoint { at: Point::new(x, y), positive: true }),
        [x, y, label] if label == 0.0 || label == 1.0 => {
            Ok(PromptPoint { at: Point::new(x, y), positive: label == 1.0 })
        }
        [_, _, _] => Err("the third number is 1 (the object) or 0 (not the object)".to_owned()),
        _ => Err("expected X,Y or X,Y,0".to_owned()),
    }
}

fn bounds(text: &str) -> Result<Box2<Image>, String> {
    match *numbers(text)? {
        [x0, y0, x1, y1] => Ok(Box2::from_corners(Point::new(x0, y0), Point::new(x1, y1))),
        _ => Err("expected X0,Y0,X1,Y1".to_owned()),
    }
}

/// One object to find.
#[derive(Debug, Clone)]
pub struct Object {
    prompt: Prompt,
    /// Read when the prompt is asked for: masks of many objects would fill the memory.
    mask: Option<PathBuf>,
}

impl Object {
    /// What means it.
    pub fn prompt(&self, masks: &mut MaskReader, multimask: bool) -> Result<Prompt> {
        let mut prompt = Prompt { multimask, ..self.prompt.clone() };
        if let Some(path) = &self.mask {
            prompt.mask = Some(MaskPrompt::Mask(masks.read(path)?.clone()));
        }
        Ok(prompt)
    }
}

/// Reads masks. Remembers the last one, because most objects of an image have the same, if any.
#[derive(Debug, Default)]
pub struct MaskReader {
    last: Option<(PathBuf, BitMask)>,
}

impl MaskReader {
    fn read(&mut self, path: &Path) -> Result<&BitMask> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            self.last = Some((path.to_owned(), read_mask(path)?));
        }
        Ok(&self.last.as_ref().expect("just read").1)
    }
}

/// A prompt, and the images it is for.
#[derive(Debug)]
struct Entry {
    /// File name or path; all images if absent.
    image: Option<String>,
    prompt: Prompt,
    /// A mask that is read when its image is.
    mask: Option<PathBuf>,
}

/// Prompts as they were given, before an image is known.
#[derive(Debug)]
pub struct Prompts {
    entries: Vec<Entry>,
    /// Numbers of the entries of each image; of those for all images under `None`.
    by_image: HashMap<Option<PathBuf>, Vec<usize>>,
    /// Files that were read for them or will be.
    files: Vec<PathBuf>,
    /// The file they are from, if they are not from the command line.
    file: Option<PathBuf>,
    /// For the record of what made a folder of results.
    json: Value,
}

impl PromptArgs {
    /// Reads what can be read without an image.
    pub fn read(&self) -> Result<Prompts> {
        if self.text.is_some() {
            return Err(usage(
                "--text takes a model that understands words (SAM 3), and none of the catalogue does; use --point, \
                 --box or --mask",
            ));
        }
        if let Some(file) = &self.prompts {
            return read_file(file);
        }
        let mask = self.mask.as_deref().map(read_mask).transpose()?;
        if self.point.is_empty() && self.bounds.is_empty() && mask.is_none() {
            return Err(usage("nothing to look for; give --point X,Y, --box X0,Y0,X1,Y1 or --mask FILE"));
        }
        if mask.is_some() && self.bounds.len() > 1 {
            return Err(usage(
                "--mask means one object and several boxes mean several; give one box at most",
            ));
        }
        let points: Vec<_> =
            self.point.iter().map(|p| json!([p.at.x, p.at.y, u8::from(p.positive)])).collect();
        let boxes: Vec<_> = self.bounds.iter().map(|b| json!([b.x0, b.y0, b.x1, b.y1])).collect();
        let json = json!({ "points": points, "boxes": boxes, "mask": self.mask });
        let prompts = by_box(&self.point, &self.bounds, mask)?;
        let entry = |prompt| Entry { image: None, prompt, mask: None };
        let files = self.mask.iter().cloned().collect();
        Ok(Prompts::new(prompts.into_iter().map(entry).collect(), files, None, json))
    }
}

/// One prompt per box. Positive points go to the smallest box around them, negative ones to all.
fn by_box(points: &[PromptPoint], boxes: &[Box2<Image>], mask: Option<BitMask>) -> Result<Vec<Prompt>> {
    let mask = mask.map(MaskPrompt::Mask);
    if boxes.len() <= 1 {
        let bounds = boxes.first().copied();
        return Ok(vec![Prompt { points: points.to_vec(), bounds, mask, multimask: false }]);
    }
    let mut prompts: Vec<Prompt> =
        boxes.iter().map(|&bounds| Prompt { bounds: Some(bounds), ..Prompt::default() }).collect();
    for &point in points {
        if !point.positive {
            prompts.iter_mut().for_each(|prompt| prompt.points.push(point));
            continue;
        }
        let around = (0..boxes.len()).filter(|&index| boxes[index].contains(point.at));
        let smallest = around.min_by(|&a, &b| boxes[a].area().total_cmp(&boxes[b].area()));
        let index = smallest.ok_or_else(|| {
            usage(format!("point {},{} lies in none of the boxes; whose is it?", point.at.x, point.at.y))
        })?;
        prompts[index].points.push(point);
    }
    Ok(prompts)
}

fn read_mask(path: &Path) -> Result<BitMask> {
    Ok(media::decode_mask_file(path, &DecodeLimits::default())?)
}

fn read_file(path: &Path) -> Result<Prompts> {
    let named = || format!("\"{}\"", path.display());
    let bytes = inputs::read_small(path, MAX_BYTES as u64, "--prompts takes a JSON file of prompts")?;
    let file = PromptFile::parse(&bytes).map_err(|error| usage(format!("{}: {error}", named())))?;
    let json = serde_json::to_value(&file)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let entry = |entry: PromptEntry| Entry {
        prompt: entry.prompt(None),
        mask: entry.mask.map(|mask| folder.join(mask)),
        image: entry.image,
    };
    let entries: Vec<Entry> = file.prompts.into_iter().map(entry).collect();
    // Read later, but missed before any work is done.
    if let Some(mask) = entries.iter().filter_map(|entry| entry.mask.as_ref()).find(|mask| !mask.is_file()) {
        return Err(usage(format!("{}: there is no mask \"{}\"", named(), mask.display())));
    }
    let masks = entries.iter().filter_map(|entry| entry.mask.clone());
    let files = std::iter::once(path.to_owned()).chain(masks).collect();
    Ok(Prompts::new(entries, files, Some(path.to_owned()), json))
}

/// By its parts, so that `./photo.jpg` is `photo.jpg`.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

impl Prompts {
    fn new(entries: Vec<Entry>, files: Vec<PathBuf>, file: Option<PathBuf>, json: Value) -> Self {
        let mut by_image: HashMap<Option<PathBuf>, Vec<usize>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            by_image.entry(entry.image.as_deref().map(|of| plain(Path::new(of)))).or_default().push(index);
        }
        Self { entries, by_image, files, file, json }
    }

    /// The entries of one image, with their numbers.
    fn entries_of(&self, image: &Path) -> Vec<(usize, &Entry)> {
        let name = PathBuf::from(image.file_name().unwrap_or_default());
        let names: BTreeSet<Option<PathBuf>> = [None, Some(name), Some(plain(image))].into();
        let mut numbers: Vec<usize> =
            names.iter().filter_map(|name| self.by_image.get(name)).flatten().copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| (number, &self.entries[number])).collect()
    }

    /// How many objects are asked for in one image.
    pub fn count(&self, image: &Path) -> usize {
        self.entries_of(image).len()
    }

    /// The objects of one image.
    pub fn of(&self, image: &Path, size: Size<Image>) -> Result<Vec<Object>> {
        let mut masks = MaskReader::default();
        let mut checked: HashSet<&Path> = HashSet::new();
        let mut objects = Vec::new();
        for (index, entry) in self.entries_of(image) {
            let object = Object { prompt: entry.prompt.clone(), mask: entry.mask.clone() };
            let is_new = entry.mask.as_deref().is_none_or(|mask| checked.insert(mask));
            let mut prompt = object.prompt.clone();
            if is_new || object.prompt.points.is_empty() && object.prompt.bounds.is_none() {
                prompt = object.prompt(&mut masks, false)?;
            }
            prompt.check_image(size).map_err(|error| match &self.file {
                Some(file) => usage(format!("\"{}\", prompt {}: {error}", file.display(), index + 1)),
                None => error.into(),
            })?;
            objects.push(object);
        }
        if objects.is_empty() {
            return Err(usage(format!("no prompt is for \"{}\"", image.display())));
        }
        Ok(objects)
    }

    /// Files that were read for them or will be.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// For the record of what made a folder of results.
    pub fn to_json(&self) -> &Value {
        &self.json
    }
}
