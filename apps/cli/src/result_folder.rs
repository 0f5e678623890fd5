//! A folder of results, and what makes them: what is done is kept as long as nothing it was made from has changed.

mod job_file;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use samovar::files;
use samovar::media::write::write_json;
use samovar::resources::contents::Key;
use samovar::source::ModelSource;
use serde_json::{Value, json};

use crate::batch::Memory;
use crate::contents::Contents;
use crate::failure::usage;
use crate::inputs::{InputImage, Sources};
use crate::job_args::JobArgs;
use crate::outputs::{Files, HashedFile, Placing, Remember, check_place, keep_aside, remove, say_changed};
use crate::record::{Done, Own, Record, State};
use job_file::RECORD;
pub use job_file::{JOB_FILE, JobFile};

/// Raised when this program makes other results from the same files and parameters. (The model in the program has its
/// version.)
const RESULTS: u32 = 1;
/// Files that wait at most to be put in their places; each is open.
const MOST_WAITING: usize = 256;

/// A folder of results and what makes them.
#[derive(Debug)]
pub struct ResultFolder {
    folder: PathBuf,
    job: JobFile,
    overwrite: bool,
    retry_failed: bool,
    /// What images may fail by besides what they are made of.
    limits: String,
    /// The job file as it was found.
    before: Option<Vec<u8>>,
    /// Whether an earlier run of the same job wrote here.
    goes_on: bool,
    record: Record,
    contents: Arc<Contents>,
    model: Mutex<ModelContent>,
    /// Images that are done and need not be done again, by the names of their results.
    done: HashSet<String>,
    /// Images that failed, made of the same, and why.
    failed: HashMap<String, String>,
    /// Files that are to be kept under other names when the first result is made.
    aside: Vec<PathBuf>,
    /// Whether somebody has changed the result of all images together, and there is nothing to add to it.
    pub keeps_together: bool,
    /// Folders of results in which nothing of a killed run is left.
    swept: Mutex<HashSet<PathBuf>>,
    waiting: Mutex<Waiting>,
    /// Held by whoever puts files in their places.
    placing: Mutex<()>,
}

/// Images on their way into the folder.
#[derive(Debug, Default)]
struct Waiting {
    /// Files of images that are not said to be finished, by the names of their results.
    prepared: HashMap<String, Placing>,
    finished: Vec<Finished>,
    /// Why the files of images could not be put in their places.
    errors: HashMap<String, anyhow::Error>,
}

/// An image whose files can be put in their places.
#[derive(Debug)]
struct Finished {
    name: String,
    made_by: Key,
    placing: Placing,
    files: Vec<String>,
    image: PathBuf,
    ms: u64,
}

impl Waiting {
    fn files(&self) -> usize {
        self.finished.iter().map(|one| one.placing.group.len()).sum()
    }
}

/// What the weights are. Files of some gigabytes are read for it, beside the work.
#[derive(Debug)]
enum ModelContent {
    Unread(Vec<PathBuf>),
    Reading(JoinHandle<io::Result<Key>>),
    Known(Key),
}

impl ResultFolder {
    /// A new folder, or one that the same command and parameters made before. Results of others are refused, unless
    /// `overwrite`, and folders that images are read from or another run is at work in, in any case. Nothing is written yet.
    pub fn open(
        folder: &Path,
        command: &str,
        parameters: Value,
        model: &ModelSource,
        job_args: &JobArgs,
        sources: &Sources,
    ) -> Result<Self> {
        let &JobArgs { overwrite, shard, retry_failed, .. } = job_args;
        if folder.exists() && !folder.is_dir() {
            return Err(usage(format!("\"{}\" is a file; --out takes a folder here", folder.display())));
        }
        sources.check_folder(folder)?;
        let job = JobFile::new(command, parameters);
        let before = std::fs::read(folder.join(JOB_FILE)).ok();
        let other = match before.as_ref().map(|before| JobFile::of(folder, before)) {
            Some(Err(error)) if !overwrite => return Err(error),
            other => other.and_then(Result::ok),
        };
        let goes_on = other.as_ref() == Some(&job);
        if other.as_ref().is_some_and(|other| other.record != RECORD) && !overwrite {
            return Err(usage(format!(
                "\"{}\" holds results of another version of samovar, whose record this one cannot read; choose another \
                 folder, or --overwrite to make them anew",
                folder.display()
            )));
        }
        if before.is_some() && !goes_on && !overwrite {
            let difference = other.map_or_else(String::new, |other| job.difference_to(&other));
            return Err(usage(format!(
                "\"{}\" holds results of another command or other parameters{difference}; choose another folder, or \
                 --overwrite",
                folder.display()
            )));
        }
        let contents = Arc::new(Contents::default());
        let record = Record::open(folder, shard, &contents)?;
        let files = model.files();
        let model = match files.is_empty() {
            true => ModelContent::Known(Key::of_content(
                format!("{} {}", model.name(), env!("CARGO_PKG_VERSION")).as_bytes(),
            )),
            false => ModelContent::Unread(files),
        };
        Ok(Self {
            folder: folder.to_owned(),
            job,
            overwrite,
            retry_failed,
            limits: format!("{:?}", job_args.timeout),
            before,
            goes_on,
            record,
            contents,
            model: model.into(),
            done: HashSet::new(),
            failed: HashMap::new(),
            aside: Vec::new(),
            keeps_together: false,
            swept: Mutex::default(),
            waiting: Mutex::default(),
            placing: Mutex::default(),
        })
    }

    /// Finds out what is done, and refuses results that would take the place of what they are made from, or, without
    /// `overwrite`, of files that no earlier run has made or that were changed since.
    ///
    /// `files` are the results of an image by their path in the folder, `own` is what they are made from besides image, model
    /// and parameters, and `together` a result that every run writes.
    pub fn check(
        &mut self,
        images: &[InputImage],
        files: impl Fn(&InputImage) -> Vec<PathBuf>,
        own: impl Fn(&InputImage, &Contents) -> Result<Value>,
        together: Option<&str>,
        sources: &Sources,
    ) -> Result<()> {
        let mut stale = 0;
        let mut changed = Vec::new();
        for input in images {
            let results = files(input);
            results.iter().try_for_each(|result| self.check_place(result, sources))?;
            if self.overwrite {
                continue;
            }
            let before = self.record.done(&input.result_name);
            let is_there = |own: &Own| self.folder.join(&own.file).is_file();
            let before = before.filter(|before| before.files.iter().all(is_there));
            let has_failed = self.record.has_failed_before(&input.result_name);
            // An image that cannot be read fails when it is its turn.
            let made_by = (before.is_some() || has_failed)
                .then(|| own(input, &self.contents).and_then(|own| self.made_by(input, &own)).ok())
                .flatten();
            if let Some(before) = &before {
                if made_by == Some(before.made_by)
                    && let Some(own) = self.record.changed_of(before)
                {
                    changed.extend(own);
                    self.done.insert(input.result_name.clone());
                    continue;
                }
                self.check_image(input, before)?;
                stale += 1;
            }
            let failing = made_by.map(|made_by| self.failing(made_by));
            if let Some(why) = failing.and_then(|failing| self.record.failed(&input.result_name, &failing))
                && !self.retry_failed
            {
                self.failed.insert(input.result_name.clone(), why);
                continue;
            }
            results.iter().try_for_each(|result| self.check_state(result))?;
        }
        if let Some(together) = together {
            self.check_place(Path::new(together), sources)?;
            if !self.overwrite && self.record.state(together) == State::Changed {
                self.keeps_together = self.done.len() == images.len();
                match self.keeps_together {
                    true => changed.push(together.to_owned()),
                    false => self.aside.push(self.folder.join(together)),
                }
            } else if !self.overwrite {
                self.check_state(Path::new(together))?;
            }
        }
        if stale > 0 {
            let (s, are) = if stale == 1 { ("", "is") } else { ("s", "are") };
            say!("note: {stale} image{s} {are} done anew: what the results were made from has changed");
        }
        say_changed(&changed);
        Ok(())
    }

    fn check_place(&self, result: &Path, sources: &Sources) -> Result<()> {
        let place = self.folder.join(result);
        sources.check_file(&place)?;
        if place.symlink_metadata().is_ok() {
            check_place(&place, "choose another folder", sources)?;
        }
        Ok(())
    }

    /// Refuses to replace results of another image of this name: in another folder, and still there.
    fn check_image(&self, input: &InputImage, before: &Done) -> Result<()> {
        let is_same = absolute(&input.path) == before.image
            || std::fs::canonicalize(&input.path).ok() == std::fs::canonicalize(&before.image).ok();
        if is_same || !before.image.is_file() {
            return Ok(());
        }
        let result = before
            .files
            .first()
            .map_or_else(String::new, |own| self.folder.join(&own.file).display().to_string());
        Err(usage(format!(
            "\"{result}\" is the result of \"{}\", and that of \"{}\" would take its place; choose another folder, or \
             --overwrite",
            before.image.display(),
            input.path.display()
        )))
    }

    /// Refuses to replace what is not as this program wrote it. What is in a folder of this job and in no line of its record
    /// may have been in one that is lost: it is kept aside.
    fn check_state(&mut self, result: &Path) -> Result<()> {
        let place = self.folder.join(result);
        let shown = place.display();
        match self.record.state(&result.to_string_lossy()) {
            State::Absent | State::Ours => Ok(()),
            State::Foreign if self.goes_on || self.record.is_damaged() => {
                self.aside.push(place);
                Ok(())
            }
            State::Changed => Err(usage(format!(
                "\"{shown}\" was changed since samovar made it, and would now be made anew, because what it is made from has \
                 changed as well; move it away, or --overwrite to lose the changes"
            ))),
            State::Foreign => Err(usage(format!(
                "\"{shown}\" is there and no earlier run has made it; choose another folder, or --overwrite to replace it"
            ))),
        }
    }

    /// Makes the folder and notes in it what its results are made by, and that so many images are to be in it. To be called when nothing stands in the way of the
    /// first result: a start that failed must not tie the folder to its parameters.
    pub fn begin(&mut self, images: usize) -> Result<()> {
        files::make_folder(&self.folder)?;
        let fine = self.done.iter().filter(|name| self.record.has_failed_before(name)).cloned().collect();
        self.record.begin(images, self.done.len(), fine)?;
        let now = std::fs::read(self.folder.join(JOB_FILE)).ok();
        let is_ours = |now: &Vec<u8>| serde_json::from_slice(now).is_ok_and(|now: JobFile| now == self.job);
        // Parts of one job may begin together.
        if now != self.before && !now.as_ref().is_some_and(is_ours) {
            return Err(anyhow!(
                "\"{}\": another run of samovar has been at work in this folder since this one began; run it again",
                self.folder.display()
            ));
        }
        self.sweep(&self.folder);
        self.aside.iter().try_for_each(|file| keep_aside(file))?;
        if !self.goes_on {
            write_json(&self.folder.join(JOB_FILE), &self.job)?;
        }
        let mut model = self.model();
        if let ModelContent::Unread(files) = &*model {
            let (files, contents) = (files.clone(), self.contents.clone());
            // Where the system has no thread more, it is read when it is asked for.
            if let Ok(thread) = std::thread::Builder::new().spawn(move || read_all(&files, &contents)) {
                *model = ModelContent::Reading(thread);
            }
        }
        Ok(())
    }

    /// Where a result goes.
    pub fn place(&self, name: &Path) -> PathBuf {
        self.folder.join(name)
    }

    /// The same, with the folders on the way made, but for that of the results, which is there as long as this run is.
    pub fn make_place(&self, name: &Path) -> Result<PathBuf> {
        let path = self.place(name);
        self.record.check_place()?;
        if let Some(folder) = path.parent() {
            files::make_folder(folder)?;
            self.sweep(folder);
        }
        Ok(path)
    }

    /// Removes what a killed run left in a folder, once.
    fn sweep(&self, folder: &Path) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.insert(folder.to_owned()) {
            files::sweep(folder);
        }
    }

    /// What files hold, for whoever reads them.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Takes the files of an image.
    pub fn files(&self, input: &InputImage) -> Files<'_> {
        Files::remembered_by(OfImage { folder: self, name: input.result_name.clone() })
    }

    /// Takes an image that has all its files, after some time; [`ResultFolder::commit`] puts them in their places. Those that it
    /// had before and has no more are removed then, if nobody changed them.
    pub fn finish(&self, input: &InputImage, own: &Value, written: &[PathBuf], took: Duration) -> Result<()> {
        let made_by = self.made_by(input, own)?;
        let files: Vec<String> = written.iter().map(|file| self.name_of(file)).collect();
        let mut placing = self.waiting().prepared.remove(&input.result_name).unwrap_or_default();
        let before = self.record.done(&input.result_name);
        let before = before.iter().flat_map(|before| &before.files);
        for own in before.filter(|own| !files.contains(&own.file)) {
            let place = self.folder.join(&own.file);
            if self.record.state_of(own) == State::Ours && !placing.obsolete.contains(&place) {
                placing.obsolete.push(place);
            }
        }
        // What no text can name is not found again, and its results then count as those of no other image.
        let image = absolute(&input.path);
        let image = if image.to_str().is_some() { image } else { PathBuf::new() };
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.record.was_read(self.contents.take_new())?;
        self.contents.forget(&input.path);
        let finished = Finished { name: input.result_name.clone(), made_by, placing, files, image, ms };
        let waiting = {
            let mut waiting = self.waiting();
            waiting.finished.push(finished);
            waiting.files()
        };
        // Whoever puts files in their places may be slower than those who make them.
        if waiting >= MOST_WAITING {
            self.commit();
        }
        Ok(())
    }

    /// Puts the files of all finished images in their places and notes that these are done: what is to be durable is made so for
    /// all of them together. What fails, fails for its image alone; [`ResultFolder::take_error`] tells.
    pub fn commit(&self) {
        let _alone = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut images = std::mem::take(&mut self.waiting().finished);
        if images.is_empty() {
            return;
        }
        self.keep(&mut images, |_| self.record.check_place());
        self.keep(&mut images, |image| Ok(image.placing.group.sync()?));
        self.keep(&mut images, |image| {
            let keys = image.placing.keys.iter().map(|(file, key)| (self.name_of(file), *key)).collect();
            self.record.announce(keys, Some((image.name.clone(), image.made_by)))
        });
        let durable = self.record.sync();
        self.keep(&mut images, |_| shared(&durable));
        self.keep(&mut images, |image| Ok(image.placing.group.place()?));
        let folders = images.iter().flat_map(|image| image.placing.group.folders()).collect();
        let durable = files::sync_folders(&folders).map_err(anyhow::Error::from);
        self.keep(&mut images, |_| shared(&durable));
        self.keep(&mut images, |image| {
            remove(&image.placing.obsolete)?;
            self.record.is_done(&image.name, &image.files, image.image.clone(), image.ms)
        });
        // Files and record may have parted in between.
        self.keep(&mut images, |_| self.record.check_place());
    }

    /// Keeps the images of which something can be done, and the errors of the others.
    fn keep(&self, images: &mut Vec<Finished>, mut work: impl FnMut(&mut Finished) -> Result<()>) {
        images.retain_mut(|image| {
            let error = work(image).err();
            let goes_on = error.is_none();
            self.waiting().errors.extend(error.map(|error| (image.name.clone(), error)));
            goes_on
        });
    }

    /// Why the files of an image could not be put in their places.
    pub fn take_error(&self, input: &InputImage) -> Option<anyhow::Error> {
        self.waiting().errors.remove(&input.result_name)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why an image failed that was to be made from its `own` besides image, model and parameters: it will fail again as
    /// long as they are the same.
    pub fn fail(&self, input: &InputImage, own: &Value, error: &str) -> Result<()> {
        let made_by = self.failing(self.made_by(input, own)?);
        self.record.was_read(self.contents.take_new())?;
        self.record.has_failed(&input.result_name, made_by, input.path.clone(), error.to_owned())
    }

    /// What an image fails by that is made by this: with other limits it may not.
    fn failing(&self, made_by: Key) -> Key {
        Key::of_content(format!("{made_by} {}", self.limits).as_bytes())
    }

    /// Makes the notes of all images durable.
    pub fn end(&self) -> Result<()> {
        self.record.sync()
    }

    /// Writes a result of all images together, whole or not at all.
    pub fn write_together(&self, name: &str, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        self.record.check_place()?;
        let path = self.place(name.as_ref());
        let mut file = HashedFile::create(&path)?;
        fill(&mut file)?;
        self.record.put(name, file)
    }

    fn name_of(&self, file: &Path) -> String {
        file.strip_prefix(&self.folder).unwrap_or(file).to_string_lossy().into_owned()
    }

    /// Digest of all that the results of an image are made by.
    fn made_by(&self, input: &InputImage, own: &Value) -> Result<Key> {
        let all = json!({
            "results": RESULTS,
            "job": self.job,
            "model": self.model_content()?,
            "image": self.contents.of(&input.path).with_context(|| format!("\"{}\"", input.path.display()))?,
            "in_folder": input.in_folder.to_string_lossy(),
            "own": own,
        });
        Ok(Key::of_content(&serde_json::to_vec(&all)?))
    }

    fn model_content(&self) -> Result<Key> {
        let mut model = self.model();
        let key = match std::mem::replace(&mut *model, ModelContent::Unread(Vec::new())) {
            ModelContent::Known(key) => Ok(key),
            ModelContent::Unread(files) => read_all(&files, &self.contents),
            ModelContent::Reading(thread) => {
                thread.join().unwrap_or_else(|_| Err(io::Error::other("reading it was not finished")))
            }
        };
        let key = key.context("the model's files cannot be read")?;
        *model = ModelContent::Known(key);
        Ok(key)
    }

    fn model(&self) -> MutexGuard<'_, ModelContent> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a folder of results, if there is one, knows of images. `made_from` is what their results are made from besides image, model
/// and parameters.
pub struct Known<'a, F> {
    /// The folder.
    pub folder: Option<&'a ResultFolder>,
    /// Asked of images that failed.
    pub made_from: F,
}

impl<F: Fn(&InputImage, &Contents) -> Result<Value>> Memory for Known<'_, F> {
    fn is_done(&self, input: &InputImage) -> bool {
        self.folder.is_some_and(|folder| folder.done.contains(&input.result_name))
    }

    fn failed_before(&self, input: &InputImage) -> Option<String> {
        self.folder?.failed.get(&input.result_name).cloned()
    }

    fn commit(&self) {
        if let Some(folder) = self.folder {
            folder.commit();
        }
    }

    fn take_error(&self, input: &InputImage) -> Option<anyhow::Error> {
        self.folder?.take_error(input)
    }

    fn lost(&self) -> Option<String> {
        Some(self.folder?.record.check_place().err()?.to_string())
    }

    fn fail(&self, input: &InputImage, error: &str) -> Result<()> {
        let Some(folder) = self.folder else { return Ok(()) };
        folder.fail(input, &(self.made_from)(input, folder.contents())?, error)
    }
}

/// The files of an image on their way.
struct OfImage<'a> {
    folder: &'a ResultFolder,
    /// Name of its results.
    name: String,
}

/// An error that several images have.
fn shared(result: &Result<()>) -> Result<()> {
    let Err(error) = result else { return Ok(()) };
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    Err(io::Error::new(kind.unwrap_or(io::ErrorKind::Other), format!("{error:#}")).into())
}

impl Remember for OfImage<'_> {
    fn place(&self, files: Placing) -> Result<()> {
        if files.are_last {
            self.folder.waiting().prepared.insert(self.name.clone(), files);
            return Ok(());
        }
        let named = files.keys.iter().map(|(file, key)| (self.folder.name_of(file), *key)).collect();
        self.folder.record.announce(named, None)?;
        self.folder.record.sync()?;
        files.now()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn read_all(files: &[PathBuf], contents: &Contents) -> io::Result<Key> {
    let mut all = String::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        all += &format!("{name} {}\n", contents.of(file)?);
    }
    Ok(Key::of_content(all.as_bytes()))
}
