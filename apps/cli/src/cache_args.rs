//! Arguments about what is kept from one run to the next.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use samovar::files;
use samovar::resources::cache::{DiskOptions, Store, StoreOptions, content_keys};
use samovar::resources::contents::{ContentKeys, Key};
use samovar::resources::instruments::{Events, JsonLines};
use samovar::resources::live::CacheFigures;
use samovar::source::ModelSource;
use samovar::{Embedding, Engine, LazyImage, Model, RgbImage, feature_cache};

use crate::environment;
use crate::failure::usage;
use crate::say::one_line;
use crate::settings::Settings;

/// Bytes of a line that are read to see whether it is an event.
const MOST_OF_LINE: u64 = 64 << 10;

/// What is kept.
#[derive(Args, Debug, Clone)]
pub struct CacheArgs {
    /// Keep what the model finds in an image, so that the next prompt on it needs no encoder: in memory while the command runs, and
    /// on disk, for tomorrow, what took 0.15 s or longer to find. `auto` means both for single images, memory alone for folders,
    /// and nothing with nano, which is as quick as reading it again [default: auto]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub cache: Option<When>,
    /// Hash images and models anew instead of trusting files whose size, times and inode are the same
    #[arg(long)]
    pub verify: bool,
    /// Append events to a file, one JSON object a line, as they happen: hits and misses of the cache, memory given back, models
    /// unloaded, batches halved, masks (`sam_mask_output`, which says whether they came to the host), frames of `pipeline` with their
    /// times (`pipeline_frame`), images done and failed
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// When features are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Single images in memory and on disk, folders in memory.
    Auto,
    /// Always in memory, and on disk what took 0.15 s or longer to find.
    On,
    /// Never.
    Off,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// The cache of this run.
pub struct Cache {
    store: Arc<Store>,
    /// Of files; `None` where nothing outlives the run, and what they hold need not be known.
    keys: Option<ContentKeys>,
}

impl Drop for Cache {
    fn drop(&mut self) {
        if let Some(why) = self.store.write_failure() {
            say!("note: the cache could not be written, so the next run finds less in it: {}", one_line(why));
        }
    }
}

/// The store on this machine, if a variable tells where caches lie.
pub fn open_store(settings: &Settings, events: Events) -> Option<Arc<Store>> {
    let folder = environment::feature_folder()?;
    // It has a default that is a number.
    let budget_bytes = settings.bytes("cache_disk").unwrap_or(0) as u64;
    Some(store_of(settings, Some(DiskOptions { folder, budget_bytes }), events))
}

fn store_of(settings: &Settings, disk: Option<DiskOptions>, events: Events) -> Arc<Store> {
    let memory_budget_bytes = settings.bytes("cache_memory").unwrap_or(0);
    Store::new(StoreOptions { memory_budget_bytes, disk, events, ..StoreOptions::default() })
}

/// Whether features are kept at all, in memory at least. The embedded model is as quick as reading what it found.
pub fn keeps(settings: &Settings, is_embedded: bool) -> bool {
    match settings.value("cache").text.as_str() {
        "on" => true,
        "off" => false,
        _ => !is_embedded,
    }
}

impl CacheArgs {
    /// The cache for one image, or for many; `None` where nothing is kept.
    pub fn open(
        &self,
        settings: Settings,
        is_single: bool,
        model: &ModelSource,
        events: &Events,
    ) -> Result<Option<Cache>> {
        let settings = settings.with_flag("cache", self.cache);
        let on_disk = || {
            let store = open_store(&settings, events.clone());
            store.map(|store| Cache { keys: Some(content_keys(&store, self.verify)), store })
        };
        Ok(match settings.value("cache").text.as_str() {
            _ if !keeps(&settings, model.path().is_none()) => None,
            "on" => on_disk(),
            _ if is_single => on_disk(),
            // Frames of a still camera are often the same; those of 50,000 images would fill a disk.
            _ => Some(Cache { store: store_of(&settings, None, events.clone()), keys: None }),
        })
    }

    /// Who hears what happens.
    pub fn events(&self) -> Result<Events> {
        let Some(path) = &self.log else { return Ok(Events::default()) };
        // What is no log is somebody's picture, model or prompts.
        let is_event = |line: &[u8]| {
            let line: Option<serde_json::Value> = serde_json::from_slice(line).ok();
            line.is_some_and(|line| line["ts"].is_number() && line["event"].is_string())
        };
        let mut first = Vec::new();
        let is_log = match path.is_file().then(|| File::open(path).ok()).flatten() {
            Some(file) => {
                let read = BufReader::new(file.take(MOST_OF_LINE)).read_until(b'\n', &mut first);
                read.is_ok_and(|read| read == 0 || is_event(&first))
            }
            None => true,
        };
        if !is_log || path.as_os_str() == "-" {
            return Err(usage(format!(
                "--log \"{}\": events are appended to files of events, and this is none; name another file",
                path.display()
            )));
        }
        let name = path.display().to_string();
        let mut log = Appended { path: path.clone(), file: None };
        match path.exists() {
            true => log.file().map(drop).with_context(|| format!("--log \"{name}\""))?,
            false => drop(files::check_place(path).with_context(|| format!("--log \"{name}\""))?),
        }
        Ok(Events::to(Arc::new(JsonLines::new(log).telling(move |error| {
            say!("note: --log \"{name}\": {error}; events are lost, the work goes on");
        }))))
    }
}

/// A file that is there once something is appended to it: a command that is refused leaves none.
struct Appended {
    path: PathBuf,
    file: Option<File>,
}

impl Appended {
    fn file(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(File::options().append(true).create(true).open(&self.path)?)),
        }
    }
}

impl Write for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

impl Cache {
    /// What tells of it as it is at the time.
    pub fn figures(&self) -> impl Fn() -> Vec<CacheFigures> + Send + 'static {
        let store = Arc::clone(&self.store);
        move || vec![CacheFigures { name: "cache".into(), stats: store.stats(None) }]
    }

    /// A model that keeps what it finds here, and whose encoder is loaded when an image needs it.
    pub fn load(&self, engine: &Engine, source: &ModelSource) -> samovar::Result<Model> {
        let weights = match &self.keys {
            Some(keys) => source.key(keys)?,
            // There is one model in a run.
            None => Key::of_content(source.name().as_bytes()),
        };
        Ok(engine.load_when_needed(source)?.with_cache(&self.store, weights))
    }

    /// The key of an image's pixels.
    fn image_key(&self, image: &LazyImage) -> Result<Key> {
        let hash = || -> Result<Key> { Ok(feature_cache::key_of_pixels(&*image.pixels()?)) };
        match image.path().zip(self.keys.as_ref()) {
            Some((path, keys)) => keys.of(PIXELS, path, hash),
            None => hash(),
        }
    }
}

/// Pixels depend on the file and on the decoders of this version.
const PIXELS: &str = concat!("pixels ", env!("CARGO_PKG_VERSION"));

/// Encodes an image, or finds what was kept of it.
pub fn embed(
    cache: Option<&Cache>,
    model: &Model,
    image: &LazyImage,
    pixels: &Arc<RgbImage>,
) -> Result<Embedding> {
    Ok(match cache.filter(|_| model.engine().optimizes()) {
        Some(cache) => {
            model.embed_keyed(cache.image_key(image)?, pixels.size(), || Ok(Arc::clone(pixels)))?
        }
        None => model.embed_pixels(pixels)?,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// The help said that everything goes to the disk.
    #[test]
    fn help_of_the_cache_tells_from_which_time_on_features_go_to_the_disk() {
        let command = crate::Cli::command();
        let segment = command.find_subcommand("segment").unwrap();
        let flag = segment.get_arguments().find(|argument| argument.get_long() == Some("cache")).unwrap();
        let least = format!("{} s", samovar::feature_cache::LEAST_COST_ON_DISK.as_secs_f64());
        let on = flag.get_possible_values().into_iter().find(|value| value.get_name() == "on").unwrap();
        for help in [flag.get_help(), on.get_help()] {
            assert!(help.unwrap().to_string().contains(&least), "{help:?}");
        }
    }
}
