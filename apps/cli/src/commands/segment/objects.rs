//! From arguments to prompts: which points, boxes and masks mean which object.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use samovar::prompt_file::{MAX_BYTES, PromptEntry, PromptFile};
use samovar::{BitMask, Box2, DecodeLimits, Image, MaskPrompt, Point, Prompt, PromptPoint, Size, media};
use serde_json::{Value, json};

use super::matching::{ImageNames, Meaning};
use crate::contents::Contents;
use crate::failure::usage;
use crate::inputs::{self, Inputs};

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
    /// Go on although entries of --prompts are for no image of this run
    #[arg(long, requires = "prompts")]
    skip_unused: bool,
}

/// Unused entries told in one message.
const TOLD: usize = 8;

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
    /// Points and box as they were given, for the record of what made a result.
    json: Value,
}

/// Prompts as they were given, and which images they are for.
#[derive(Debug)]
pub struct Prompts {
    entries: Vec<Entry>,
    /// Numbers of the entries for all images.
    for_all: Vec<usize>,
    /// Numbers of the entries that name an image, by its path.
    by_image: HashMap<PathBuf, Vec<usize>>,
    /// Files that were read for them or will be.
    files: Vec<PathBuf>,
    /// The file they are from, if they are not from the command line.
    file: Option<PathBuf>,
    /// For the record of what made a folder of results.
    json: Value,
}

impl PromptArgs {
    /// Reads what can be read without looking at an image, and finds out which images it is for. An entry that is for none
    /// is an error: a wrong name would mean prompts that are not followed, and nobody would know.
    pub fn read(&self, inputs: &Inputs) -> Result<Prompts> {
        let mut prompts = self.read_alone()?;
        if let Some(file) = &self.prompts {
            prompts.assign(file, inputs, self.skip_unused)?;
        }
        Ok(prompts)
    }

    fn read_alone(&self) -> Result<Prompts> {
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
        let json = json!({ "points": points, "boxes": boxes, "mask": self.mask.as_deref().map(Path::to_string_lossy) });
        let prompts = by_box(&self.point, &self.bounds, mask)?;
        // All that was given stands in the record of the folder.
        let entry = |prompt| Entry { image: None, prompt, mask: None, json: Value::Null };
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
    let folder = path.parent().unwrap_or(Path::new(""));
    let entry = |entry: PromptEntry| Entry {
        prompt: entry.prompt(None),
        json: json!({ "points": entry.points, "box": entry.bounds }),
        mask: entry.mask.map(|mask| existing(folder, &mask)),
        image: entry.image,
    };
    let entries: Vec<Entry> = file.prompts.into_iter().map(entry).collect();
    // Read later, but missed before any work is done.
    let masks =
        entries.iter().enumerate().filter_map(|(index, entry)| Some((index + 1, entry.mask.as_ref()?)));
    if let Some((number, mask)) = masks.clone().find(|(_, mask)| !mask.is_file()) {
        return Err(usage(format!(
            "{}, prompt {number}: there is no mask \"{}\"; masks are looked for from the folder of this file",
            named(),
            mask.display()
        )));
    }
    let masks = masks.map(|(_, mask)| mask.clone());
    let files = std::iter::once(path.to_owned()).chain(masks).collect();
    let json = json!({ "file": path.to_string_lossy() });
    Ok(Prompts::new(entries, files, Some(path.to_owned()), json))
}

/// A file that a document names, from the folder of the document. Documents of Windows write `\` where others have `/`.
fn existing(folder: &Path, file: &Path) -> PathBuf {
    let slashes = || folder.join(file.to_string_lossy().replace('\\', "/"));
    let path = folder.join(file);
    if path.exists() { path } else { Some(slashes()).filter(|path| path.exists()).unwrap_or(path) }
}

impl Prompts {
    fn new(entries: Vec<Entry>, files: Vec<PathBuf>, file: Option<PathBuf>, json: Value) -> Self {
        let for_all = (0..entries.len()).filter(|&index| entries[index].image.is_none()).collect();
        Self { entries, for_all, by_image: HashMap::new(), files, file, json }
    }

    /// Finds the images that entries name.
    fn assign(&mut self, file: &Path, inputs: &Inputs, skip_unused: bool) -> Result<()> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some(name) = &entry.image {
                by_name.entry(name).or_default().push(index);
            }
        }
        let mut names = ImageNames::new(&inputs.images, file);
        let mut unused: Vec<(usize, &str)> = Vec::new();
        let mut unused_entries = 0;
        for (name, entries) in by_name {
            match names.meaning(name) {
                Meaning::One(number) => {
                    self.by_image.entry(inputs.images[number].path.clone()).or_default().extend(entries);
                }
                Meaning::Several(images) => {
                    return Err(usage(format!(
                        "\"{}\", prompt {}: \"{name}\" may be any of {images}; name the folder too",
                        file.display(),
                        entries[0] + 1
                    )));
                }
                Meaning::None => {
                    unused_entries += entries.len();
                    unused.push((entries[0], name));
                }
            }
        }
        // One image may have been named in several ways.
        self.by_image.values_mut().for_each(|entries| entries.sort_unstable());
        if unused.is_empty() {
            return Ok(());
        }
        unused.sort_unstable();
        // Whoever names images one by one takes some of those that the prompts are for.
        let is_choice = !inputs.has_folders() && unused.iter().all(|(_, name)| names.is_elsewhere(name));
        let told = unused.iter().take(TOLD).map(|&(index, name)| {
            let hint = match names.nearly(name) {
                _ if is_choice => String::new(),
                _ if names.is_elsewhere(name) => ", a file that this run does not take".to_owned(),
                Some(image) => format!(", did you mean {image}?"),
                None => String::new(),
            };
            // Names are anybody's: what would steer a terminal is not shown.
            format!("\"{}\" (prompt {}{hint})", name.replace(char::is_control, "\u{fffd}"), index + 1)
        });
        let told = told.collect::<Vec<_>>().join(", ");
        let more =
            if unused.len() > TOLD { format!(" and {} more", unused.len() - TOLD) } else { String::new() };
        let count = if unused_entries == 1 {
            "1 entry is".to_owned()
        } else {
            format!("{unused_entries} entries are")
        };
        let what = format!("\"{}\": {count} for no image of this run: {told}{more}", file.display());
        if is_choice || skip_unused {
            say!("note: {what}");
            return Ok(());
        }
        Err(usage(format!(
            "{what}; images are named by their path in the folder that is given, or by a whole path; --skip-unused goes on \
             without these entries"
        )))
    }

    /// The entries of one image, with their numbers.
    fn entries_of(&self, image: &Path) -> Vec<(usize, &Entry)> {
        let own = self.by_image.get(image).into_iter().flatten();
        let mut numbers: Vec<usize> = self.for_all.iter().chain(own).copied().collect();
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

    /// What was given, for the record of what made a folder of results.
    pub fn to_json(&self) -> &Value {
        &self.json
    }

    /// What the results of one image are made from: its entries, and what the masks hold.
    pub fn made_from(&self, image: &Path, contents: &Contents) -> Result<Value> {
        let content = |mask: &PathBuf| contents.of(mask).with_context(|| format!("\"{}\"", mask.display()));
        let entries = self.entries_of(image).into_iter().map(|(_, entry)| {
            let mask = entry.mask.as_ref().map(content).transpose()?;
            anyhow::Ok(json!({ "prompt": entry.json, "mask": mask }))
        });
        let for_all = if self.file.is_none() { &self.files[..] } else { &[] };
        let masks = for_all.iter().map(content).collect::<Result<Vec<_>>>()?;
        Ok(json!({ "entries": entries.collect::<Result<Vec<_>>>()?, "masks": masks }))
    }
}
