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
    /// Files will be in their places.
    Write(Announced),
    /// They are, or were found to be unchanged.
    There(Vec<(String, Option<Identity>)>),
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
    /// The part of the images, if it takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
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
}

/// How an image failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failed {
    /// Hash of all that its results would have been made by.
    pub made_by: Key,
    /// The image, as it was named.
    pub image: PathBuf,
    /// Why.
    pub error: String,
}

/// What the journals say.
#[derive(Debug, Default)]
pub struct Said {
    /// By the names of results.
    done: HashMap<String, Done>,
    failed: HashMap<String, Failed>,
    /// Announced with all their files, and not known to be done.
    announced: HashMap<String, (Key, Vec<Own>)>,
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
            Line::Write(announced) => self.announce(announced),
            Line::There(files) => {
                for (file, identity) in files {
                    if let Some(own) = self.own_mut(&file) {
                        own.identity = identity;
                    }
                }
            }
            Line::Done(name, placed) => self.finish(name, placed),
            Line::Failed(name, failed) => {
                self.failed.insert(name, failed);
            }
            Line::Read(all) => all.into_iter().for_each(|(address, found)| contents.add(address, found)),
        }
    }

    fn announce(&mut self, Announced { files, completes }: Announced) {
        let files = files.into_iter().map(|(file, key)| Own { file, key, identity: None });
        let Some((name, made_by)) = completes else {
            self.others.extend(files.map(|own| (own.file.clone(), own)));
            return;
        };
        let files: Vec<Own> = files.collect();
        if let Some(images) = &mut self.images {
            images.extend(files.iter().map(|own| (own.file.clone(), name.clone())));
        }
        self.announced.insert(name, (made_by, files));
    }

    fn finish(&mut self, name: String, placed: Placed) {
        // Without its announcement, which was damaged, it is found out anew.
        let Some((made_by, mut files)) = self.announced.remove(&name) else { return };
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
        let before = self.done.insert(name, Done { made_by, files, image: placed.image });
        // What an earlier run made of it and this one did not is ours all the same.
        self.others
            .extend(before.into_iter().flat_map(|before| before.files).map(|own| (own.file.clone(), own)));
    }

    /// What is known of a file.
    pub fn own_mut(&mut self, file: &str) -> Option<&mut Own> {
        let Self { done, announced, images, others, .. } = self;
        let images = images.get_or_insert_with(|| {
            let done = done.iter().map(|(name, done)| (name, &done.files));
            let all = done.chain(announced.iter().map(|(name, (_, files))| (name, files)));
            all.flat_map(|(name, files)| files.iter().map(|own| (own.file.clone(), name.clone()))).collect()
        });
        let name = images.get(file);
        // What was announced last counts.
        let of_announced = name.and_then(|name| announced.get_mut(name)).map(|(_, files)| files);
        let of_done = name.and_then(|name| done.get_mut(name)).map(|done| &mut done.files);
        let mut of_images = of_announced.into_iter().chain(of_done).flatten();
        of_images.find(|own| own.file == file).or_else(|| others.get_mut(file))
    }

    /// The images that are done, by the names of their results.
    pub fn done(&self) -> &HashMap<String, Done> {
        &self.done
    }

    /// The images that failed and were not done since.
    pub fn failed(&self) -> &HashMap<String, Failed> {
        &self.failed
    }

    /// What an image was announced to be made by, and its files, if it is not known to be done.
    pub fn announced(&self, name: &str) -> Option<&(Key, Vec<Own>)> {
        self.announced.get(name)
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
