//! What a model's name means: embedded in the program, a folder, a file, or a repository in the hub's cache.

use std::fs;
use std::path::{Path, PathBuf};

use samovar_models::{CATALOGUE, CatalogueEntry, ModelConfig, ModelWeights};
use samovar_resources::contents::{ContentKeys, Key, KeyBuilder};
use samovar_tensor::Precision;
use samovar_weights::{Checkpoint, stored_precision};

use crate::error::{Error, Result};
use crate::hub::{Hub, HubOptions};

/// nano's weights, part of the program.
static NANO: &[u8] = include_bytes!("../assets/nano.safetensors");

/// Largest `config.json` that is read.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Revision of hub repositories.
pub const REVISION: &str = "main";

/// Files of a hub repository that is not in the catalogue.
pub const FILES: &[&str] = &["config.json", "model.safetensors"];

/// Files of a hub repository that say how pixels are prepared, the first that is there: not every repository has one.
pub const OPTIONAL_FILES: &[&str] = &["preprocessor_config.json", "processor_config.json"];

/// What peft saves: an adapter of the weights beside it, the first that is there, and how it is scaled.
const ADAPTER_FILES: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
const ADAPTER_CONFIG: &str = "adapter_config.json";

/// A hub repository and its revision, as `owner/name` or `owner/name@revision`.
pub fn split_revision(name: &str) -> (&str, Option<&str>) {
    name.split_once('@').map_or((name, None), |(repository, revision)| (repository, Some(revision)))
}

/// Where a model lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// In the program.
    Embedded {
        /// Its name in the catalogue.
        id: &'static str,
    },
    /// A folder as Hugging Face publishes them: `config.json` and weights.
    Folder {
        /// What it is called in messages.
        name: String,
        /// The folder.
        path: PathBuf,
    },
    /// One file: an original checkpoint (`.pth`, `.pt`) or safetensors, whose tensors tell the configuration.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// A model that was opened and not yet loaded.
pub struct OpenedModel {
    /// Its dimensions.
    pub config: ModelConfig,
    /// The text they were read from, where that is a file of its own.
    pub config_json: Option<String>,
    /// The text of its `preprocessor_config.json`, where there is one.
    pub preprocessor_json: Option<String>,
    /// Its weights, those of adapters merged.
    pub weights: ModelWeights,
}

impl OpenedModel {
    /// The precision in which the file says its large weights are.
    ///
    /// # Errors
    /// [`Error::Model`] when it says something that is none.
    pub fn stored_precision(&self) -> Result<Precision> {
        Ok(stored_precision(&self.weights)?)
    }
}

impl ModelSource {
    /// Finds a model: a name of the catalogue, a folder, a file, or a hub repository. Those of the hub must have been fetched
    /// with `models pull` and are looked for in `hub_cache`; `@revision` after the name means another one than `main`.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] with what to do about it.
    pub fn resolve(name: &str, hub_cache: Option<&Path>) -> Result<Self> {
        let of_hub = |repository, revision, files| of_hub(repository, revision, files, hub_cache);
        let entry = CatalogueEntry::find(name);
        if let Some(entry) = entry.filter(|entry| is_embedded(entry)) {
            return Ok(Self::Embedded { id: entry.id });
        }
        let path = Path::new(name);
        if path.is_dir() {
            return Ok(Self::Folder { name: name.to_owned(), path: path.to_owned() });
        }
        if path.is_file() {
            return Ok(Self::File { path: path.to_owned() });
        }
        let (repository, revision) = split_revision(name);
        match CatalogueEntry::find(repository).filter(|entry| !is_embedded(entry)) {
            Some(entry) if !entry.files.is_empty() => of_hub(entry.id, revision, entry.files),
            Some(entry) => Err(Error::UnknownModel(format!(
                "`{}` is in no hub repository; get {} from {} and give that file",
                entry.id,
                entry.original_files.join(" or "),
                entry.source
            ))),
            None if looks_like_a_path(repository) => Err(Error::UnknownModel(format!(
                "model \"{name}\": there is no such file or folder; check the path"
            ))),
            None if repository.contains('/') => of_hub(repository, revision, FILES),
            None => Err(Error::UnknownModel(format!(
                "no model is called `{name}`; known are {}, or give a folder or a file",
                CATALOGUE.iter().map(|entry| entry.id).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    /// What the model is called in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Embedded { id } => (*id).to_owned(),
            Self::Folder { name, .. } => name.clone(),
            Self::File { path } => path.display().to_string(),
        }
    }

    /// Reads the model's configuration and the directory of its weights; weights themselves stay in the file.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::File`].
    pub fn open(&self) -> Result<OpenedModel> {
        match self {
            Self::Embedded { id } => {
                let weights = Checkpoint::from_static(id, NANO)?;
                opened(ModelWeights::new(weights, None, None)?, None, None)
            }
            Self::Folder { path, .. } => {
                let config = path.join("config.json");
                let is_adapter_alone = adapter_of(path).is_some() && !holds_weights(path);
                if is_adapter_alone {
                    let what = "only an adapter (LoRA) in this folder; put model.safetensors and config.json of its base \
                                beside it, or merge them (peft: merge_and_unload()) and save the whole model";
                    return Err(Error::file(path, what));
                }
                if !config.is_file() && !holds_weights(path) {
                    let what = "no model in this folder; expected config.json and model.safetensors";
                    return Err(Error::file(path, what));
                }
                let weights = weights_of(Checkpoint::open(path)?, Some(path), Some(path))?;
                opened(weights, Some(config).filter(|config| config.is_file()), Some(path))
            }
            Self::File { path } => {
                let config = beside(path);
                // Without a configuration beside it, a file stands for itself.
                let folder = config.as_deref().and_then(Path::parent);
                let weights = weights_of(Checkpoint::open(path)?, folder, path.parent())?;
                opened(weights, config.clone(), folder)
            }
        }
    }

    /// All files whose change may change the model, in a fixed order; none if it is in the program.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Embedded { .. } => Vec::new(),
            Self::Folder { path, .. } => model_files(path),
            Self::File { path } => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                let has_shards = path.to_string_lossy().ends_with(".index.json");
                let is_alone = beside(path).is_none() && !has_shards;
                let mut files = if is_alone { vec![path.clone()] } else { model_files(folder) };
                files.extend(Some(folder.join(ADAPTER_CONFIG)).filter(|config| is_alone && config.is_file()));
                files
            }
        }
    }

    /// The key of all that [`ModelSource::files`] hold. `keys` remembers it while the files stay as they are.
    ///
    /// # Errors
    /// [`Error::File`] when one cannot be read.
    pub fn key(&self, keys: &ContentKeys) -> Result<Key> {
        let mut key = KeyBuilder::new("samovar model 1");
        if let Self::Embedded { .. } = self {
            key = key.part("embedded", NANO);
        }
        for path in self.files() {
            let file = keys.of_file(&path).map_err(|error| Error::io(&path, "cannot be read", error))?;
            let name = path.file_name().unwrap_or_default();
            key = key.part("name", name.as_encoded_bytes()).part("content", file.as_bytes());
        }
        Ok(key.finish())
    }

    /// The file or folder, if it is not in the program.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Embedded { .. } => None,
            Self::Folder { path, .. } | Self::File { path } => Some(path),
        }
    }
}

/// Files of a folder that a model may be read from.
fn model_files(folder: &Path) -> Vec<PathBuf> {
    let is_read = |path: &Path| {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        ["json", "safetensors", "bin", "pth", "pt", "ckpt"].contains(&ending) && path.is_file()
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_read(path)).collect();
    files.sort();
    files
}

/// A repository in the hub's cache.
fn of_hub(
    repository: &str,
    revision: Option<&str>,
    files: &[&str],
    hub_cache: Option<&Path>,
) -> Result<ModelSource> {
    let name = revision.map_or(repository.to_owned(), |revision| format!("{repository}@{revision}"));
    let Some(hub_cache) = hub_cache else {
        return Err(Error::UnknownModel(format!(
            "`{name}` would be a repository of the hub, and no folder of its cache is known; set Options::hub_cache, or \
             give the folder or file the weights are in"
        )));
    };
    match Hub::new(HubOptions::new(hub_cache)).cached(repository, revision.unwrap_or(REVISION), files) {
        Some(path) => Ok(ModelSource::Folder { name, path }),
        None => Err(Error::UnknownModel(format!(
            "the weights of `{name}` are not on this machine; fetch them with `samovar models pull {name}`, or give the \
             folder or file they are in"
        ))),
    }
}

/// The weights in a file, with the adapter of `folder`, if any, and the `adapter_config.json` of the folder the file lies in.
fn weights_of(file: Checkpoint, folder: Option<&Path>, lies_in: Option<&Path>) -> Result<ModelWeights> {
    let adapter = folder.and_then(adapter_of).map(Checkpoint::open).transpose()?;
    let config = lies_in.map(|folder| folder.join(ADAPTER_CONFIG)).filter(|config| config.is_file());
    let json = config.as_deref().map(read_config).transpose()?;
    Ok(ModelWeights::new(file, adapter, json.as_deref())?)
}

fn adapter_of(folder: &Path) -> Option<PathBuf> {
    ADAPTER_FILES.iter().map(|name| folder.join(name)).find(|file| file.is_file())
}

/// Weights with the configuration of a file beside them, or the one their tensors tell; and with what a file in their
/// folder says about pixels.
fn opened(weights: ModelWeights, config_file: Option<PathBuf>, folder: Option<&Path>) -> Result<OpenedModel> {
    let mut config_json = None;
    let mut config = match &config_file {
        None => ModelConfig::infer(&weights)?,
        Some(file) => {
            let json = config_json.insert(read_config(file)?);
            ModelConfig::from_hf_json(json).map_err(|error| Error::file(file, error.to_string()))?
        }
    };
    let preprocessor = folder.and_then(preprocessor_file).transpose()?;
    if let Some((file, json)) = &preprocessor {
        config = config.with_preprocessor(json).map_err(|error| Error::file(file, error.to_string()))?;
    }
    Ok(OpenedModel { config, config_json, preprocessor_json: preprocessor.map(|(_, json)| json), weights })
}

/// The file of a folder that says how pixels are prepared, and its text.
fn preprocessor_file(folder: &Path) -> Option<Result<(PathBuf, String)>> {
    OPTIONAL_FILES.iter().map(|name| folder.join(name)).find_map(|file| {
        if !file.is_file() {
            return None;
        }
        match read_config(&file) {
            // Not every `processor_config.json` speaks of images.
            Ok(json) if file.ends_with("processor_config.json") && !speaks_of_images(&json) => None,
            Ok(json) => Some(Ok((file, json))),
            Err(error) => Some(Err(error)),
        }
    })
}

fn speaks_of_images(json: &str) -> bool {
    // What is no JSON is refused by whoever reads it next.
    serde_json::from_str(json).map_or(true, |value: serde_json::Value| value.get("image_processor").is_some())
}

/// Whether a model of the catalogue is part of the program.
pub fn is_embedded(entry: &CatalogueEntry) -> bool {
    entry.id == "nano"
}

/// Whether a model of the catalogue can be used now: it is part of the program, or in the cache of the hub.
pub fn is_here(entry: &CatalogueEntry, hub_cache: &Path) -> bool {
    is_embedded(entry)
        || (!entry.files.is_empty()
            && Hub::new(HubOptions::new(hub_cache)).cached(entry.id, REVISION, entry.files).is_some())
}

/// A safetensors file as Hugging Face saves it lies beside its `config.json`.
fn beside(weights: &Path) -> Option<PathBuf> {
    let file = weights.file_name()?.to_str()?;
    let published = file.starts_with("model.safetensors") || file.starts_with("pytorch_model.");
    Some(weights.with_file_name("config.json")).filter(|config| published && config.is_file())
}

fn holds_weights(folder: &Path) -> bool {
    Checkpoint::FILES.iter().any(|name| folder.join(name).is_file())
}

fn read_config(path: &Path) -> Result<String> {
    let size = fs::metadata(path).map_err(|error| Error::io(path, "cannot be read", error))?.len();
    if size > MAX_CONFIG_BYTES {
        return Err(Error::file(path, format!("{size} bytes are too many for a model configuration")));
    }
    fs::read_to_string(path).map_err(|error| Error::io(path, "cannot be read", error))
}

fn looks_like_a_path(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or("");
    name.starts_with(['.', '/', '~'])
        || name.contains('\\')
        || name.matches('/').count() > 1
        || ["pth", "pt", "safetensors", "bin", "json"].contains(&ending)
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
