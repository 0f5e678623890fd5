//! The files of one image: their names, known before the masks are where their number is, and their writing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use samovar::RgbImage;
use samovar::files;
use samovar::media::write::CocoDataset;
use serde_json::Value;

use super::format::{Format, FormatArgs, Holds};
use super::sheet::{self, Found, Sheet, SheetStyle};
use crate::outputs::{Files, Target};

/// How the masks of an image are laid out in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All in one file.
    Together,
    /// One file each, `mask-1.png` and so on where there are several: for masks whose number is known before.
    Numbered,
    /// One file each, `1.png` and so on in a folder of the image's own, where no other image's can be; and beside them
    /// [`INDEX`], a COCO document whose annotation 1 is `1.png`. For masks whose number shows when they are found.
    Folder,
}

/// In a folder of numbered files: what they show. Put there last, so that a folder with it is complete.
const INDEX: &str = "masks.json";

/// Writes the masks of images.
#[derive(Debug)]
pub struct Writer {
    /// How each file is written.
    pub style: SheetStyle,
    /// Which files there are.
    pub layout: Layout,
    index: SheetStyle,
}

impl Writer {
    fn new(args: &FormatArgs, format: Format, layout: Layout, listed: bool, info: Value) -> Self {
        let &FormatArgs { tolerance, outlines, .. } = args;
        // A file of one mask is no list.
        let listed = listed && layout == Layout::Together;
        let classes = Arc::from([]);
        let style = SheetStyle { format, listed, tolerance, outlines, info, classes };
        let index = SheetStyle { format: Format::Coco, listed: true, outlines: false, ..style.clone() };
        Self { style, layout, index }
    }

    /// The same, whose documents have these classes whatever is found.
    pub fn with_classes(mut self, classes: &[String]) -> Self {
        self.style.classes = classes.into();
        self.index.classes = Arc::clone(&self.style.classes);
        self
    }

    /// For answers to prompts: joined in one file, unless `separate`.
    pub fn of_prompts(args: &FormatArgs, format: Format, separate: bool, info: Value) -> Self {
        let is_numbered = separate && format.holds() != Holds::All;
        let layout = if is_numbered { Layout::Numbered } else { Layout::Together };
        Self::new(args, format, layout, false, info)
    }

    /// For any number of masks that are never joined.
    pub fn of_many(args: &FormatArgs, format: Format, info: Value) -> Self {
        let layout = match format.holds() {
            Holds::One => Layout::Folder,
            Holds::All => Layout::Together,
            Holds::List | Holds::Many if args.separate => Layout::Folder,
            Holds::List | Holds::Many => Layout::Together,
        };
        Self::new(args, format, layout, true, info)
    }

    /// The result of an image in a folder of results.
    pub fn name_in_folder(&self, result_name: &str) -> PathBuf {
        let ending = match self.layout {
            Layout::Folder => self.style.format.folder_ending(),
            _ => self.style.format.file_ending(),
        };
        PathBuf::from(format!("{result_name}.{ending}"))
    }

    /// The result of an image where the user named none; tells what is in it.
    pub fn own_name(&self, result_name: &str) -> PathBuf {
        match self.layout {
            Layout::Folder => self.name_in_folder(result_name),
            _ => PathBuf::from(format!("{result_name}.{}", self.style.format.ending())),
        }
    }

    /// The files that so many masks are written to, as far as they are known: of a folder, the one that is written last.
    pub fn files(&self, out: &Path, masks: usize) -> Vec<PathBuf> {
        match self.layout {
            Layout::Numbered if masks > 1 => (0..masks).map(|index| numbered(out, index)).collect(),
            Layout::Folder => vec![out.join(INDEX)],
            _ => vec![out.to_owned()],
        }
    }

    /// The numbered files that are in the folder of an image, of this run or an earlier one.
    pub fn numbered_there<'a>(&'a self, out: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        let all = (1..).map(|number| self.in_folder(out, number));
        all.take_while(|file| self.layout == Layout::Folder && file.is_file())
    }

    /// Number `number`, from 1, in the folder of an image.
    fn in_folder(&self, out: &Path, number: usize) -> PathBuf {
        out.join(format!("{number}.{}", self.style.format.file_ending()))
    }

    /// Starts on `out`, numbered files beside it, or the folder; `files` takes them.
    pub fn start<'a>(
        &'a self,
        out: PathBuf,
        file_name: String,
        image: &'a RgbImage,
        files: Files<'a>,
    ) -> Result<Writing<'a>> {
        let is_folder = self.layout == Layout::Folder;
        if is_folder {
            files::make_folder(&out)?;
            files::sweep(&out);
        }
        let sheet_of = |style, target| Sheet::new(style, image, &file_name, target);
        let (sheet, index) = match self.layout {
            Layout::Folder => (None, Some(sheet_of(&self.index, files.target(&out.join(INDEX))?)?)),
            Layout::Together if self.style.streams() => {
                (Some(sheet_of(&self.style, files.target(&out)?)?), None)
            }
            _ => (Some(sheet_of(&self.style, Target::Memory(Vec::new()))?), None),
        };
        Ok(Writing { writer: self, out, file_name, image, sheet, index, masks: 0, files })
    }

    /// The masks as a COCO document, whatever the format.
    pub fn dataset<'f>(
        &self,
        image: &RgbImage,
        file_name: &str,
        masks: impl IntoIterator<Item = &'f dyn Found>,
    ) -> Result<CocoDataset> {
        let style = SheetStyle { outlines: self.style.outlines, ..self.index.clone() };
        sheet::dataset(&style, image, file_name, masks)
    }
}

/// The files of one image, written while its masks are found.
pub struct Writing<'a> {
    writer: &'a Writer,
    out: PathBuf,
    file_name: String,
    image: &'a RgbImage,
    /// Of all masks, or, if each has its own file, of the first as long as there is no other: alone its file has no number.
    sheet: Option<Sheet<'a>>,
    index: Option<Sheet<'a>>,
    masks: usize,
    /// Those that have their bytes.
    files: Files<'a>,
}

impl Writing<'_> {
    /// Takes the next mask.
    pub fn add(&mut self, found: &dyn Found) -> Result<()> {
        let own_file = match self.writer.layout {
            Layout::Folder => Some(self.writer.in_folder(&self.out, self.masks + 1)),
            Layout::Numbered if self.masks > 0 => Some(numbered(&self.out, self.masks)),
            _ => None,
        };
        // The next would be in memory beside it.
        if self.writer.layout == Layout::Numbered
            && self.masks > 0
            && let Some(first) = self.sheet.take()
        {
            self.files.take(&numbered(&self.out, 0), first.finish()?)?;
        }
        self.masks += 1;
        self.index.as_mut().map_or(Ok(()), |index| index.add(found))?;
        let Some(file) = own_file else {
            return self.sheet.as_mut().map_or(Ok(()), |sheet| sheet.add(found));
        };
        let memory = Target::Memory(Vec::new());
        let mut sheet = Sheet::new(&self.writer.style, self.image, &self.file_name, memory)?;
        sheet.add(found)?;
        self.files.take(&file, sheet.finish()?)
    }

    /// Takes another file of the image.
    pub fn add_file(&mut self, file: &Path, bytes: &[u8]) -> Result<()> {
        self.files.add(file, bytes)
    }

    /// Writes what is left; tells which files there are. What tells a later run that this image is done is put in its
    /// place last.
    pub fn finish(mut self) -> Result<Vec<PathBuf>> {
        if let Some(sheet) = self.sheet.take() {
            self.files.take(&self.out, sheet.finish()?)?;
            let mut files = self.files.finish()?;
            files.rotate_right(1);
            return Ok(files);
        }
        if let Some(index) = self.index.take() {
            self.files.take(&self.out.join(INDEX), index.finish()?)?;
        }
        // An earlier run may have found more masks, which would be taken for this run's. The last goes first, so that no gap
        // hides the rest from another try.
        let mut earlier: Vec<PathBuf> = self.writer.numbered_there(&self.out).skip(self.masks).collect();
        earlier.reverse();
        self.files.finish_instead_of(earlier)
    }
}

/// `mask.png` number 0 is `mask-1.png`.
fn numbered(path: &Path, index: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", index + 1));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}
