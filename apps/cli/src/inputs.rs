//! Images and folders from the command line.

mod kind;
mod names;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use samovar::media::image::ColourSpace;
use samovar::media::video::FrameNumber;
use samovar::{DecodeLimits, LazyImage};

use self::kind::{Kind, LeftOut};
use self::names::{clashes, folded, ignores_case, readable};
use crate::failure::usage;

/// An image to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputImage {
    /// Where it is.
    pub path: PathBuf,
    /// The way to it from the folder that was named; of an image that was named itself, its file name.
    pub in_folder: PathBuf,
    /// What its results are called: its name without the ending, or with it where results of two images would collide
    /// ([`Inputs::keep_apart`]). Within a recursive folder the way there comes first.
    pub result_name: String,
    /// Its number in the file, where that is a video.
    pub frame: Option<FrameNumber>,
}

/// What stands for the image that is written to stdin.
const STDIN: &str = "-";
/// Largest image that is read from stdin.
const MAX_STDIN_BYTES: u64 = 4 << 30;

impl InputImage {
    /// Whether it is read from stdin instead of a file.
    pub fn is_stdin(&self) -> bool {
        self.path == Path::new(STDIN)
    }

    /// The image, read as far as it must be; its values mean this.
    pub fn open(&self, limits: &DecodeLimits, space: Option<ColourSpace>) -> Result<LazyImage> {
        if !self.is_stdin() {
            return Ok(LazyImage::open_as(&self.path, *limits, space));
        }
        let mut bytes = Vec::new();
        let stdin = io::stdin().lock();
        if stdin.is_terminal() {
            return Err(usage("`-` reads an image from stdin, and nothing is piped into it; name a file"));
        }
        stdin.take(MAX_STDIN_BYTES + 1).read_to_end(&mut bytes).context("stdin")?;
        match bytes.len() as u64 {
            0 => Err(usage("`-` reads an image from stdin, and there is nothing in it; name a file")),
            len if len > MAX_STDIN_BYTES => Err(usage(format!(
                "stdin has over {MAX_STDIN_BYTES} bytes; write the image to a file and name it"
            ))),
            _ => Ok(LazyImage::from_bytes_as(bytes, *limits, space)),
        }
    }

    /// What people call it: its path, and of a video the frame.
    pub fn label(&self) -> String {
        let path = self.path.display();
        self.frame.map_or_else(|| path.to_string(), |frame| format!("{path}, frame {frame}"))
    }

    /// Name of its file, without the way there.
    pub fn file_name(&self) -> String {
        readable(Path::new(self.in_folder.file_name().unwrap_or_default()))
    }

    /// Its name among others: with the way to it from the folder that was named.
    pub fn name_in_folder(&self) -> String {
        let parts = self.in_folder.components().map(|part| readable(Path::new(part.as_os_str())));
        parts.collect::<Vec<_>>().join("/")
    }
}

/// What the command line named.
#[derive(Debug)]
pub struct Inputs {
    /// All images, folders in the order of their names.
    pub images: Vec<InputImage>,
    /// Whether exactly one image was named, as a file: results then go to one file, not into a folder.
    pub is_single: bool,
    /// Folders that images were looked for in.
    folders: Vec<PathBuf>,
    recursive: bool,
    left_out: LeftOut,
}

/// What a command reads, and so must not write.
#[derive(Debug)]
pub struct Sources {
    files: HashSet<PathBuf>,
    /// Folders whose images are taken, and whether those of the folders within are too.
    folders: HashMap<PathBuf, bool>,
}

impl Inputs {
    /// The frames of a shot.
    pub fn of_shot(images: Vec<InputImage>) -> Self {
        Self { images, is_single: false, folders: Vec::new(), recursive: false, left_out: LeftOut::default() }
    }

    /// Whether images are taken from folders, and not only those that were named one by one.
    pub fn has_folders(&self) -> bool {
        !self.folders.is_empty()
    }

    /// Whether images of the folders within are taken too.
    pub fn is_recursive(&self) -> bool {
        self.recursive
    }

    /// Refuses a folder of results for stdin: a later run could not tell whether it has the same image.
    pub fn check_stdin(&self, is_single: bool) -> Result<()> {
        match !is_single && self.images.iter().any(InputImage::is_stdin) {
            true => Err(usage("an image from stdin has its result in one file; give --out FILE")),
            false => Ok(()),
        }
    }

    /// Names the images so that no two of their results have one place in the folder `results`. `files` are the results of an
    /// image, by their path there.
    pub fn keep_apart(&mut self, results: &Path, files: impl Fn(&InputImage) -> Vec<PathBuf>) -> Result<()> {
        keep_apart(&mut self.images, ignores_case(results), files)
    }

    /// Says on stderr which files of the folders are no images that can be read.
    pub fn report_left_out(&self) {
        if let Some(words) = self.left_out.describe() {
            say!("left out of the folders: {words}");
        }
    }

    /// The images and the folders they are in, and `others` that are read besides.
    pub fn sources<'p>(&'p self, others: impl IntoIterator<Item = &'p Path>) -> Sources {
        let files = || self.images.iter().filter(|image| !image.is_stdin());
        let images = || files().map(|image| image.path.as_path());
        let files = Sources::of(images().chain(others)).files;
        let parents = images().map(canonical).filter_map(|path| Some((path.parent()?.to_owned(), false)));
        let mut folders: HashMap<PathBuf, bool> = parents.collect();
        folders.extend(self.folders.iter().map(|folder| (canonical(folder), self.recursive)));
        Sources { files, folders }
    }
}

impl Sources {
    /// These files alone; of a folder, as models are, the files in it.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Sources {
        let mut files = HashSet::new();
        for path in paths {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            files.extend(entries.map(|entry| canonical(&entry.path())));
            files.insert(canonical(path));
        }
        Sources { files, folders: HashMap::new() }
    }

    /// Refuses a result that would take the place of what it is made from, by whatever name or link.
    pub fn check_file(&self, result: &Path) -> Result<()> {
        if self.files.contains(&canonical(result)) {
            return Err(usage(format!(
                "\"{}\" is read by this command, or its log, and a result would replace it; name another file",
                result.display()
            )));
        }
        Ok(())
    }

    /// Refuses a folder of results that images are taken from: the next run would take the results for images.
    pub fn check_folder(&self, results: &Path) -> Result<()> {
        let at = canonical(results);
        let is_taken = |folder: &Path| self.folders.get(folder).copied();
        let within_taken = at.ancestors().skip(1).any(|folder| is_taken(folder) == Some(true));
        if is_taken(&at).is_some() || within_taken {
            return Err(usage(format!(
                "\"{}\" is a folder that images are taken from, and results would mix with them; give --out another \
                 folder",
                results.display()
            )));
        }
        Ok(())
    }
}

/// Reads a file that an argument names, or a pipe (`/dev/stdin`, `<(…)`) to its end, of no more than `max_bytes`.
pub fn read_small(path: &Path, max_bytes: u64, takes: &str) -> Result<Vec<u8>> {
    let refuse = |what: String| usage(format!("\"{}\": {what}; {takes}", path.display()));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refuse("there is no such file".to_owned()));
        }
        Ok(found) if found.is_dir() => return Err(refuse("this is no file".to_owned())),
        Ok(found) if found.is_file() && found.len() > max_bytes => {
            return Err(refuse(format!("{} bytes are too many, at most {max_bytes} are read", found.len())));
        }
        _ => {}
    }
    let unreadable = || format!("\"{}\": the file cannot be read; check its permissions", path.display());
    let mut bytes = Vec::new();
    // What comes out of a pipe or a device has no size that one could ask for.
    let file = File::open(path).with_context(unreadable)?;
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).with_context(unreadable)?;
    match bytes.len() as u64 > max_bytes {
        true => {
            Err(refuse(format!("there is no end of it after {max_bytes} bytes, which is all that is read")))
        }
        false => Ok(bytes),
    }
}

/// The one name of a file or folder, also of one that is not there yet.
pub fn canonical(path: &Path) -> PathBuf {
    if let Ok(found) = std::fs::canonicalize(path) {
        return found;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            canonical(parent).join(name)
        }
        _ => path.to_owned(),
    }
}

/// Lists images; those of folders are found by content, and what is left out is kept for the report.
pub fn list(paths: &[PathBuf], recursive: bool) -> Result<Inputs> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut folders = Vec::new();
    let mut left_out = LeftOut::default();
    for path in paths {
        if path == Path::new(STDIN) {
            if paths.len() > 1 {
                return Err(usage(
                    "`-` is one image, from stdin, and stands alone; a file of this name is ./-",
                ));
            }
            found.push((path.clone(), PathBuf::from("stdin")));
        } else if path.is_dir() {
            folders.push(path.clone());
            let before = found.len();
            walk(path, path, recursive, &mut found, &mut left_out)?;
            if found.len() == before {
                let recursive = if recursive { "" } else { ", with --recursive in the folders in it too" };
                let left_out =
                    left_out.describe().map_or_else(String::new, |words| format!("; left out: {words}"));
                return Err(usage(format!(
                    "\"{}\": no images in this folder; PNG, JPEG, WebP, TIFF, BMP, GIF, PNM and OpenEXR are looked for{recursive}\
                     {left_out}",
                    path.display(),
                )));
            }
        } else {
            let name = path.file_name().with_context(|| format!("\"{}\" names no file", path.display()))?;
            found.push((path.clone(), PathBuf::from(name)));
        }
    }
    let is_single = matches!(paths, [path] if !path.is_dir());
    let image = |(path, in_folder): (PathBuf, PathBuf)| {
        let result_name = readable(&in_folder.with_extension(""));
        InputImage { path, in_folder, result_name, frame: None }
    };
    let images = found.into_iter().map(image).collect();
    Ok(Inputs { images, is_single, folders, recursive, left_out })
}

/// Gives images names that keep their results apart. An image is called after its file without the ending, or, where a result of
/// it would be in the place of one of another image, with it. `files` are the results of an image, by their path in the folder
/// of results, and `ignores_case` says how that folder compares names. Images that keep clashing are an error.
fn keep_apart(
    images: &mut [InputImage],
    ignores_case: bool,
    files: impl Fn(&InputImage) -> Vec<PathBuf>,
) -> Result<()> {
    loop {
        let clashes = clashes(images.iter().map(&files), folded);
        let mut has_changed = false;
        for number in clashes.iter().flat_map(|clash| clash.images) {
            let image = &mut images[number];
            let whole = readable(&image.in_folder);
            has_changed |= image.result_name != whole;
            image.result_name = whole;
        }
        if !has_changed {
            break;
        }
    }
    let fold = if ignores_case { folded } else { str::to_owned };
    let Some(clash) = clashes(images.iter().map(&files), fold).into_iter().next() else { return Ok(()) };
    let [one, other] = clash.images.map(|number| images[number].path.display());
    Err(usage(format!(
        "\"{one}\" and \"{other}\" would both have a result at \"{}\"; rename one of them, or give them folders of results of \
         their own",
        clash.file.display()
    )))
}

fn walk(
    root: &Path,
    folder: &Path,
    recursive: bool,
    found: &mut Vec<(PathBuf, PathBuf)>,
    left_out: &mut LeftOut,
) -> Result<()> {
    let unreadable =
        || format!("\"{}\": the folder cannot be listed; check its permissions", folder.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        entries.push(entry.with_context(unreadable)?);
    }
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Links to folders are not followed: they can lead in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if recursive {
                walk(root, &path, recursive, found, left_out)?;
            }
            continue;
        }
        let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
        match Kind::of(&path) {
            Kind::Image => found.push((path, relative)),
            other => left_out.add(other, &relative),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
