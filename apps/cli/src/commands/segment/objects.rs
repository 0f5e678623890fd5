//! From arguments to prompts: which points, boxes and masks mean which object.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use samovar::prompt_file::{MAX_BYTES, PromptEntry, PromptFile, PromptFileKind};
use samovar::{BitMask, Box2, DecodeLimits, Image, MaskPrompt, Point, Prompt, PromptPoint, Size, media};
use serde_json::{Value, json};

use super::matching::{ImageNames, Meaning};
use crate::contents::Contents;
use crate::failure::usage;
use crate::inputs::{self, Inputs};
use crate::results::ending_of;

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
    /// Prompts from a JSON file of prompts, of COCO or of labelme, for some or all images; or from all of a folder. May be
    /// given several times
    #[arg(long, value_name = "FILE.json|DIR", conflicts_with_all = ["point", "bounds", "mask"])]
    prompts: Vec<PathBuf>,
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
        .ok_or_else(|| "expected numbers with commas between them, as 420,300 or 420.5,300".to_owned())
}

pub fn point(text: &str) -> Result<PromptPoint, String> {
    match *numbers(text)? {
        [x, y] => Ok(PromptPoint { at: Point::new(x, y), positive: true }),
        [x, y, label] if label == 0.0 || label == 1.0 => {
            Ok(PromptPoint { at: Point::new(x, y), positive: label == 1.0 })
        }
        [_, _, _] => Err("the third number is 1 (the object) or 0 (not the object)".to_owned()),
        _ => Err("expected X,Y or X,Y,0; decimals are written with a point, as 420.5,300.25".to_owned()),
    }
}

pub fn bounds(text: &str) -> Result<Box2<Image>, String> {
    match *numbers(text)? {
        [x0, y0, x1, y1] => Ok(Box2::from_corners(Point::new(x0, y0), Point::new(x1, y1))),
        _ => Err("expected X0,Y0,X1,Y1; decimals are written with a point, as 60.5,40,500,380".to_owned()),
    }
}

/// One object to find.
#[derive(Debug)]
pub struct Object(Arc<Entry>);

impl Object {
    /// What means it, in an image of this size.
    pub fn prompt(&self, masks: &mut MaskReader, image: Size<Image>, multimask: bool) -> Result<Prompt> {
        let mut prompt = Prompt { multimask, ..self.0.prompt.clone() };
        if let Some(path) = &self.0.mask {
            prompt.mask = Some(MaskPrompt::Mask(masks.read(path)?.clone()));
        } else if let Some(drawn) = self.0.said.drawn(image)? {
            prompt.mask = Some(MaskPrompt::Mask(drawn));
        }
        Ok(prompt)
    }

    /// What it is, if somebody said so.
    pub fn label(&self) -> Option<&str> {
        self.0.said.label.as_deref()
    }
}

/// Reads masks. Remembers the last one, because most objects of an image have the same, if any.
#[derive(Debug)]
pub struct MaskReader {
    limits: DecodeLimits,
    last: Option<(PathBuf, BitMask)>,
}

impl MaskReader {
    /// Masks up to this size.
    pub fn within(limits: DecodeLimits) -> Self {
        Self { limits, last: None }
    }

    fn read(&mut self, path: &Path) -> Result<&BitMask> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            self.last = Some((path.to_owned(), read_mask(path, &self.limits)?));
        }
        Ok(&self.last.as_ref().expect("just read").1)
    }
}

/// A prompt, and the images it is for.
#[derive(Debug, Default)]
struct Entry {
    prompt: Prompt,
    /// A mask that is read when its image is: masks of many objects would fill the memory.
    mask: Option<PathBuf>,
    /// Number of the file it is from.
    source: usize,
    /// What that file says.
    said: PromptEntry,
}

impl Entry {
    /// What its file says of the object, for the record of what made a result.
    fn json(&self) -> Result<Value> {
        let mut json = json!({ "points": self.said.points, "box": self.said.bounds });
        if let Some(label) = &self.said.label {
            json["label"] = label.as_str().into();
        }
        if !self.said.segmentations.is_empty() {
            json["segmentations"] = serde_json::to_value(&self.said.segmentations)?;
        }
        Ok(json)
    }
}

/// A file of prompts.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    kind: PromptFileKind,
}

/// Prompts as they were given, and which images they are for.
#[derive(Debug)]
pub struct Prompts {
    entries: Vec<Arc<Entry>>,
    /// Numbers of the entries for all images.
    for_all: Vec<usize>,
    /// Numbers of the entries that name an image, by its path.
    by_image: HashMap<PathBuf, Vec<usize>>,
    /// Files that were read for them or will be.
    files: Vec<PathBuf>,
    /// The files they are from, if they are not from the command line.
    sources: Vec<Source>,
    /// For the record of what made a folder of results.
    json: Value,
    /// Of masks that are read later.
    limits: DecodeLimits,
}

impl PromptArgs {
    /// Reads what can be read without looking at an image, and finds out which images it is for. An entry that is for none
    /// is an error: a wrong name would mean prompts that are not followed, and nobody would know. Masks are read within
    /// these limits, later too.
    pub fn read(&self, inputs: &Inputs, limits: &DecodeLimits) -> Result<Prompts> {
        let mut prompts = self.read_alone(inputs.is_recursive(), limits)?;
        if !self.prompts.is_empty() {
            prompts.assign(inputs, self.skip_unused)?;
        }
        Ok(prompts)
    }

    fn read_alone(&self, is_recursive: bool, limits: &DecodeLimits) -> Result<Prompts> {
        if self.text.is_some() {
            return Err(usage(
                "--text takes a model that understands words (SAM 3), and none of the catalogue does; use --point, \
                 --box or --mask",
            ));
        }
        if !self.prompts.is_empty() {
            return read_files(&self.prompts, is_recursive, limits);
        }
        let mask = self.mask.as_deref().map(|mask| read_mask(mask, limits)).transpose()?;
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
        let entry = |prompt| Entry { prompt, ..Entry::default() };
        let files = self.mask.iter().cloned().collect();
        Ok(Prompts::new(prompts.into_iter().map(entry).collect(), files, Vec::new(), json, limits))
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

pub fn read_mask(path: &Path, limits: &DecodeLimits) -> Result<BitMask> {
    Ok(media::decode_mask_file(path, limits)?)
}

/// All files, and of folders those that end in `.json`, with those in the folders within if images are taken from there too. Says
/// of each whether it was named itself.
fn listed(paths: &[PathBuf], is_recursive: bool) -> Result<Vec<(PathBuf, bool)>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push((path.clone(), true));
            continue;
        }
        let mut found = Vec::new();
        walk_json(path, is_recursive, &mut found)?;
        if found.is_empty() {
            let (shown, within) = (
                path.display(),
                if is_recursive { "" } else { ", with --recursive in the folders in it too" },
            );
            return Err(usage(format!(
                "\"{shown}\": no .json files in this folder; --prompts takes files of prompts{within}"
            )));
        }
        found.sort();
        files.extend(found.into_iter().map(|file| (file, false)));
    }
    Ok(files)
}

fn walk_json(folder: &Path, is_recursive: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable =
        || format!("\"{}\": the folder cannot be listed; check its permissions", folder.display());
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let file = entry.with_context(unreadable)?.path();
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        // Links to folders may lead in circles.
        if is_recursive && file.is_dir() && !file.is_symlink() {
            walk_json(&file, is_recursive, found)?;
        } else if ending_of(&file) == "json" && file.is_file() {
            found.push(file);
        }
    }
    Ok(())
}

fn read_files(paths: &[PathBuf], is_recursive: bool, limits: &DecodeLimits) -> Result<Prompts> {
    let (mut entries, mut files, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    for (path, is_named) in listed(paths, is_recursive)? {
        let bytes = inputs::read_small(
            &path,
            MAX_BYTES as u64,
            "--prompts takes JSON files of prompts, or a folder of them",
        )?;
        let file = match PromptFile::parse(&bytes) {
            Ok(file) => file,
            // Pictures without objects have files too, and other JSON lies beside them.
            Err(samovar::Error::NoPrompts(why)) if !is_named => {
                say!("note: \"{}\" is left out: {why}", path.display());
                continue;
            }
            Err(error) => return Err(usage(format!("\"{}\": {error}", path.display()))),
        };
        file.notes.iter().for_each(|note| say!("note: \"{}\": {note}", path.display()));
        if let Some(of_video) =
            file.prompts.iter().find(|entry| entry.frame.is_some() || entry.object.is_some())
        {
            return Err(usage(format!(
                "\"{}\", {}: `frame` and `object` are of videos; use `samovar track`",
                path.display(),
                file.kind.place(of_video.row)
            )));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let source = sources.len();
        let entry = |said: PromptEntry| Entry {
            prompt: said.prompt(None),
            mask: said.mask.as_ref().map(|mask| existing(folder, mask)),
            source,
            said,
        };
        let first = entries.len();
        entries.extend(file.prompts.into_iter().map(entry));
        // Read later, but missed before any work is done.
        for entry in &entries[first..] {
            let Some(mask) = &entry.mask else { continue };
            if !mask.is_file() {
                return Err(usage(format!(
                    "\"{}\", {}: there is no mask \"{}\"; masks are looked for from the folder of this file",
                    path.display(),
                    file.kind.place(entry.said.row),
                    mask.display()
                )));
            }
            files.push(mask.clone());
        }
        files.push(path.clone());
        sources.push(Source { path, kind: file.kind });
    }
    if sources.is_empty() {
        let shown: Vec<_> = paths.iter().map(|path| format!("\"{}\"", path.display())).collect();
        return Err(usage(format!("{}: no prompts in any of the files there", shown.join(", "))));
    }
    let json = match &sources[..] {
        [Source { path, .. }] => json!({ "file": path.to_string_lossy() }),
        sources => {
            json!({ "files": sources.iter().map(|source| source.path.to_string_lossy()).collect::<Vec<_>>() })
        }
    };
    Ok(Prompts::new(entries, files, sources, json, limits))
}

/// A file that a document names, from the folder of the document. Documents of Windows write `\` where others have `/`.
pub fn existing(folder: &Path, file: &Path) -> PathBuf {
    let slashes = || folder.join(file.to_string_lossy().replace('\\', "/"));
    let path = folder.join(file);
    if path.exists() { path } else { Some(slashes()).filter(|path| path.exists()).unwrap_or(path) }
}

impl Prompts {
    fn new(
        entries: Vec<Entry>,
        files: Vec<PathBuf>,
        sources: Vec<Source>,
        json: Value,
        limits: &DecodeLimits,
    ) -> Self {
        let for_all = (0..entries.len()).filter(|&index| entries[index].said.image.is_none()).collect();
        let entries = entries.into_iter().map(Arc::new).collect();
        Self { entries, for_all, by_image: HashMap::new(), files, sources, json, limits: *limits }
    }

    /// Where an entry stands, if it is from a file.
    fn place(&self, entry: &Entry) -> Option<String> {
        let source = self.sources.get(entry.source)?;
        Some(format!("\"{}\", {}", source.path.display(), source.kind.place(entry.said.row)))
    }

    /// Finds the images that entries name.
    fn assign(&mut self, inputs: &Inputs, skip_unused: bool) -> Result<()> {
        let mut by_name: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some(name) = &entry.said.image {
                by_name.entry((entry.source, name)).or_default().push(index);
            }
        }
        let mut names = ImageNames::new(&inputs.images);
        let mut unused: Vec<(usize, &str)> = Vec::new();
        let mut unused_entries = 0;
        // Whoever names images one by one takes some of those that the prompts are for.
        let mut is_choice = !inputs.has_folders();
        let mut told = Vec::new();
        for ((source, name), entries) in by_name {
            names.start_beside(&self.sources[source].path);
            match names.meaning(name, self.sources[source].kind.names_start_beside_it()) {
                Meaning::One(number) => {
                    self.by_image.entry(inputs.images[number].path.clone()).or_default().extend(entries);
                }
                Meaning::Several(images) => {
                    let place = self.place(&self.entries[entries[0]]).unwrap_or_default();
                    return Err(usage(format!(
                        "{place}: \"{name}\" may be any of {images}; name the folder too"
                    )));
                }
                Meaning::None => {
                    unused_entries += entries.len();
                    unused.push((entries[0], name));
                    is_choice &= names.is_elsewhere(name);
                }
            }
        }
        // One image may have been named in several ways.
        self.by_image.values_mut().for_each(|entries| entries.sort_unstable());
        if unused.is_empty() {
            return Ok(());
        }
        unused.sort_unstable();
        for &(index, name) in unused.iter().take(TOLD) {
            let entry = &self.entries[index];
            let source = &self.sources[entry.source];
            names.start_beside(&source.path);
            let hint = match names.nearly(name) {
                _ if is_choice => String::new(),
                _ if names.is_elsewhere(name) => ", a file that this run does not take".to_owned(),
                Some(image) => format!(", did you mean {image}?"),
                None => String::new(),
            };
            let place = match self.sources.len() {
                1 => source.kind.place(entry.said.row),
                _ => self.place(entry).unwrap_or_default(),
            };
            // Names are anybody's: what would steer a terminal is not shown.
            told.push(format!("\"{}\" ({place}{hint})", name.replace(char::is_control, "\u{fffd}")));
        }
        let told = told.join(", ");
        let more =
            if unused.len() > TOLD { format!(" and {} more", unused.len() - TOLD) } else { String::new() };
        let count = if unused_entries == 1 {
            "1 entry is".to_owned()
        } else {
            format!("{unused_entries} entries are")
        };
        let file = match &self.sources[..] {
            [source] => format!("\"{}\"", source.path.display()),
            sources => format!("{} files of prompts", sources.len()),
        };
        let what = format!("{file}: {count} for no image of this run: {told}{more}");
        if is_choice || skip_unused {
            say!("note: {what}");
            return Ok(());
        }
        Err(usage(format!(
            "{what}; images are named by their path in the folder that is given, or by a whole path; --skip-unused goes on \
             without these entries"
        )))
    }

    /// The entries of one image.
    fn entries_of(&self, image: &Path) -> Vec<&Arc<Entry>> {
        let own = self.by_image.get(image).into_iter().flatten();
        let mut numbers: Vec<usize> = self.for_all.iter().chain(own).copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| &self.entries[number]).collect()
    }

    /// How many objects are asked for in one image.
    pub fn count(&self, image: &Path) -> usize {
        self.entries_of(image).len()
    }

    /// The objects of one image.
    pub fn of(&self, image: &Path, size: Size<Image>) -> Result<Vec<Object>> {
        let mut masks = MaskReader::within(self.limits);
        let mut checked: HashSet<&Path> = HashSet::new();
        let mut objects = Vec::new();
        for entry in self.entries_of(image) {
            let object = Object(Arc::clone(entry));
            let is_new = entry.mask.as_deref().is_none_or(|mask| checked.insert(mask));
            let placed = |error: samovar::Error| match self.place(entry) {
                Some(place) => usage(format!("{place}: {error}")),
                None => error.into(),
            };
            entry.said.check_size(size).map_err(placed)?;
            let mut prompt = entry.prompt.clone();
            if is_new || prompt.points.is_empty() && prompt.bounds.is_none() {
                prompt = object.prompt(&mut masks, size, false).map_err(|error| {
                    match error.downcast::<samovar::Error>() {
                        Ok(error) => placed(error),
                        Err(error) => error,
                    }
                })?;
            }
            prompt.check_image(size).map_err(placed)?;
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
        let is_from_files = !self.sources.is_empty();
        let entries = self.entries_of(image).into_iter().map(|entry| {
            let mask = entry.mask.as_ref().map(content).transpose()?;
            // All that was given on the command line stands in the record of the folder.
            let prompt = if is_from_files { entry.json()? } else { Value::Null };
            anyhow::Ok(json!({ "prompt": prompt, "mask": mask }))
        });
        let for_all = if is_from_files { &[] } else { &self.files[..] };
        let masks = for_all.iter().map(content).collect::<Result<Vec<_>>>()?;
        Ok(json!({ "entries": entries.collect::<Result<Vec<_>>>()?, "masks": masks }))
    }
}
