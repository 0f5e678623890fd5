//! What the journals of a folder say, line by line.

use std::collections::HashMap;
use std::path::PathBuf;

use samovar::resources::contents::{Identity, Key, Remembered};
use serde::{Deserialize, Serialize};

use crate::contents::Contents;
use crate::shard::Shard;

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A run begins.
    Begin(Begin),
    /// Images that failed once and are done after all, as they were before.
    Fine(Vec<String>),
    /// Files will be in their places.
    Write(Announced),
    /// They are, or were found to be unchanged.
    There(Vec<(String, Key, Option<Identity>)>),
    /// An image is done, by the name of its results.
    Done(String, Placed),
    /// An image failed.
    Failed(String, Failed),
    /// Files that were read.
    Read(Vec<(Key, Remembered)>),
}

/// The beginning of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begin {
    /// Seconds since 1970.
    pub at: f64,
    /// The images it is about, those included that were done before.
    pub images: usize,
    /// Those that were done before.
    #[serde(default)]
    pub done: usize,
    /// Damaged lines that it found in its journal: what they said it has found out anew.
    #[serde(default, skip_serializing_if = "is_none")]
    pub damaged: usize,
    /// The part of the images, if it takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A run, as its journal tells.
#[derive(Debug)]
pub struct Run {
    /// How it began.
    pub begin: Begin,
    /// Images it has done.
    pub done: usize,
    /// When its journal was written last, in seconds since 1970; 0 where nobody asked.
    pub last_written: f64,
}

/// Files that will be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Announced {
    /// Milliseconds since 1970: of several journals the latest counts.
    pub at_ms: u64,
    /// By their path in the folder.
    pub files: Vec<(String, Key)>,
    /// The image that is done when they are there, by the name of its results, and what its results are made by. Where an image
    /// has many files, they are announced in several lines, of which the last says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completes: Option<(String, Key)>,
}

/// Files of an image that are in their places. What made them, and what they hold, stands where they were announced.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Placed {
    /// The image, by its absolute path.
    pub image: PathBuf,
    /// Milliseconds it took.
    pub ms: u64,
    /// The files as they are there, in the order of their announcement.
    pub there: Vec<Option<Identity>>,
    /// Files that were announced in other lines than the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<(String, Option<Identity>)>,
}

/// A file of this program in the folder.
#[derive(Debug, Clone)]
pub struct Own {
    /// Its path in the folder.
    pub file: String,
    /// What it held.
    pub key: Key,
    /// How it was when it was looked at last.
    pub identity: Option<Identity>,
    /// When it was announced, in milliseconds since 1970.
    pub at_ms: u64,
}

/// How an image was done.
#[derive(Debug, Clone)]
pub struct Done {
    /// Hash of all that its results are made by.
    pub made_by: Key,
    /// Its results.
    pub files: Vec<Own>,
    /// The image, by its absolute path.
    pub image: PathBuf,
    /// When its last files were announced, in milliseconds since 1970.
    pub at_ms: u64,
}

/// How an image failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failed {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Hash of all that its results would have been made by, and of the limits that it met.
    pub made_by: Key,
    /// The image, as it was named.
    pub image: PathBuf,
    /// Why.
    pub error: String,
}

/// Files of an image that were announced.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Hash of all that they are made by.
    pub made_by: Key,
    /// The files.
    pub files: Vec<Own>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What the journals say.
#[derive(Debug, Default)]
pub struct Said {
    /// By the names of results.
    done: HashMap<String, Done>,
    failed: HashMap<String, Failed>,
    /// Announced with all their files, and not known to be done.
    announced: HashMap<String, Pending>,
    /// Files of no image that is done.
    others: HashMap<String, Own>,
    /// The images of files that were announced or are done, once somebody has asked.
    images: Option<HashMap<String, String>>,
    /// The last run of each journal.
    runs: Vec<Run>,
    /// Lines that nobody can read.
    pub damaged_lines: usize,
}

impl Said {
    /// Takes the next line.
    pub fn take(&mut self, line: Line, contents: &Contents) {
        match line {
            Line::Begin(begin) => {
                // One after the other in a journal.
                self.runs.retain(|run| run.begin.shard != begin.shard);
                self.runs.push(Run { begin, done: 0, last_written: 0.0 });
            }
            Line::Fine(names) => names.iter().for_each(|name| drop(self.failed.remove(name))),
            Line::Write(announced) => self.announce(announced),
            Line::There(files) => {
                for (file, key, identity) in files {
                    self.refresh(&file, key, identity);
                }
            }
            Line::Done(name, placed) => self.finish(name, placed),
            Line::Failed(name, failed) => {
                self.failed.insert(name, failed);
            }
            Line::Read(all) => all.into_iter().for_each(|(address, found)| contents.add(address, found)),
        }
    }

    fn announce(&mut self, Announced { at_ms, files, completes }: Announced) {
        let files = files.into_iter().map(|(file, key)| Own { file, key, identity: None, at_ms });
        let Some((name, made_by)) = completes else {
            self.others.extend(files.map(|own| (own.file.clone(), own)));
            return;
        };
        let files: Vec<Own> = files.collect();
        if let Some(images) = &mut self.images {
            images.extend(files.iter().map(|own| (own.file.clone(), name.clone())));
        }
        self.announced.insert(name, Pending { made_by, files, at_ms });
    }

    fn finish(&mut self, name: String, placed: Placed) {
        // Without its announcement, which was damaged, it is found out anew.
        let Some(Pending { made_by, mut files, at_ms }) = self.announced.remove(&name) else { return };
        for (own, identity) in files.iter_mut().zip(placed.there) {
            own.identity = identity;
        }
        for (file, identity) in placed.others {
            files.extend(self.others.remove(&file).map(|own| Own { identity, ..own }));
        }
        if let Some(images) = &mut self.images {
            images.extend(files.iter().map(|own| (own.file.clone(), name.clone())));
        }
        if let Some(run) = self.runs.last_mut() {
            run.done += 1;
        }
        if !self.failed.is_empty() {
            self.failed.remove(&name);
        }
        let before = self.done.insert(name, Done { made_by, files, image: placed.image, at_ms });
        // What an earlier run made of it and this one did not is ours all the same.
        self.others
            .extend(before.into_iter().flat_map(|before| before.files).map(|own| (own.file.clone(), own)));
    }

    /// All that is known of a file: what is to come first, then what is there, then what was.
    pub fn owns(&mut self, file: &str) -> Vec<Own> {
        let mut all = Vec::new();
        self.with_owns(file, |own| all.push(own.clone()));
        all
    }

    /// Takes note of how a file is now that holds `key`.
    pub fn refresh(&mut self, file: &str, key: Key, identity: Option<Identity>) {
        self.with_owns(file, |own| {
            if own.key == key {
                own.identity = identity;
            }
        });
    }

    fn with_owns(&mut self, file: &str, mut each: impl FnMut(&mut Own)) {
        let Self { done, announced, images, others, .. } = self;
        let images = images.get_or_insert_with(|| {
            let done = done.iter().map(|(name, done)| (name, &done.files));
            let all = done.chain(announced.iter().map(|(name, pending)| (name, &pending.files)));
            all.flat_map(|(name, files)| files.iter().map(|own| (own.file.clone(), name.clone()))).collect()
        });
        let name = images.get(file);
        let announced = name.and_then(|name| announced.get_mut(name)).map(|pending| &mut pending.files);
        let done = name.and_then(|name| done.get_mut(name)).map(|done| &mut done.files);
        let of_images = announced.into_iter().chain(done).flatten().filter(|own| own.file == file);
        of_images.chain(others.get_mut(file)).for_each(&mut each);
    }

    /// Takes what another journal says: of each image and file the latest counts.
    pub fn merge(&mut self, other: Self) {
        let Self { done, failed, announced, others, images, runs, damaged_lines } = other;
        drop(images);
        self.images = None;
        self.runs.extend(runs);
        self.damaged_lines += damaged_lines;
        for (name, theirs) in done {
            let is_later = self.done.get(&name).is_none_or(|ours| ours.at_ms < theirs.at_ms);
            let earlier = if is_later { self.done.insert(name, theirs) } else { Some(theirs) };
            // What is in its place was made by the later one, if that did not fail in between.
            let earlier = earlier.into_iter().flat_map(|done| done.files);
            earlier.for_each(|own| keep_later(&mut self.others, own));
        }
        for (name, theirs) in announced {
            let is_later = self.announced.get(&name).is_none_or(|ours| ours.at_ms < theirs.at_ms);
            if is_later {
                self.announced.insert(name, theirs);
            }
        }
        let done = &self.done;
        self.announced.retain(|name, pending| done.get(name).is_none_or(|done| done.at_ms < pending.at_ms));
        for (name, theirs) in failed {
            let is_later = self.failed.get(&name).is_none_or(|ours| ours.at_ms < theirs.at_ms);
            if is_later {
                self.failed.insert(name, theirs);
            }
        }
        self.failed.retain(|name, failed| done.get(name).is_none_or(|done| done.at_ms < failed.at_ms));
        others.into_values().for_each(|own| keep_later(&mut self.others, own));
    }

    /// The images that are done, by the names of their results.
    pub fn done(&self) -> &HashMap<String, Done> {
        &self.done
    }

    /// The images of which files were announced, by the names of their results.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let open = self.announced.keys().filter(|name| !self.done.contains_key(*name));
        self.done.keys().chain(open)
    }

    /// The images that failed and were not done since.
    pub fn failed(&self) -> &HashMap<String, Failed> {
        &self.failed
    }

    /// What an image was announced to be made by, and its files, if it is not known to be done.
    pub fn announced(&self, name: &str) -> Option<&Pending> {
        self.announced.get(name)
    }

    /// Damaged lines that no run has found yet.
    pub fn new_damaged_lines(&self) -> usize {
        self.damaged_lines.saturating_sub(self.runs.iter().map(|run| run.begin.damaged).sum())
    }

    /// The last run of each journal.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The run that was begun last.
    pub fn last_run_mut(&mut self) -> Option<&mut Run> {
        self.runs.last_mut()
    }
}

fn keep_later(others: &mut HashMap<String, Own>, own: Own) {
    if others.get(&own.file).is_none_or(|before| before.at_ms < own.at_ms) {
        others.insert(own.file.clone(), own);
    }
}
