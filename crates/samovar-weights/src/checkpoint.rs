//! A weight file, opened: its table of contents, with the values still in the mapped bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
#[cfg(unix)]
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use samovar_tensor::{DType, Shape, Tensor, WeightBytes};

use crate::stored::{Contents, Entry, Stored};
use crate::{Error, Result, WeightSource, looks_like, safetensors_file, torch_file};

/// Most shards an index may name; the largest published models have a few hundred.
const MAX_SHARDS: usize = 1024;
/// Most bytes an index file may have.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// What the name of a tensor of 8-bit weights is followed by in the name of its scales, one f32 per output.
pub(crate) const SCALES_SUFFIX: &str = "_scale";

/// The tensors of a weight file.
pub struct Checkpoint {
    origin: String,
    contents: Contents,
    /// What the names look like, once somebody asked.
    looks_like: OnceLock<Option<&'static str>>,
}

impl Checkpoint {
    /// The files of a folder that hold its weights; the first that is there counts.
    pub const FILES: &[&str] = &[
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];

    /// Opens a weight file: `.safetensors`, an `….index.json` with its shards, a PyTorch zip file, or a folder with one of
    /// [`Checkpoint::FILES`].
    ///
    /// Tensors in dictionaries of a PyTorch file are named by the path to them: `model.image_encoder.pos_embed`. f64 values
    /// become f32. Objects of other classes are no tensors; that they are there is said when they are asked for.
    ///
    /// The file is mapped into memory; it must not be changed while the checkpoint or its tensors live.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        if path.is_dir() {
            let file = Self::FILES.iter().map(|name| path.join(name)).find(|file| file.is_file());
            let file = file.ok_or_else(|| {
                Error::malformed(
                    &origin,
                    format!("no weights in this folder; expected one of {}", Self::FILES.join(", ")),
                )
            })?;
            return Self::open(file);
        }
        let contents = if origin.ends_with(".index.json") {
            read_sharded(path, &origin)?
        } else {
            read(&origin, map(path, &origin)?)?
        };
        Ok(Self::of(origin, contents))
    }

    /// Reads the bytes of a weight file; `origin` names them in messages.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn from_bytes(origin: &str, bytes: Vec<u8>) -> Result<Self> {
        Ok(Self::of(origin.to_owned(), read(origin, Arc::new(bytes))?))
    }

    /// Reads the bytes of a weight file that is part of the program.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn from_static(origin: &str, bytes: &'static [u8]) -> Result<Self> {
        Ok(Self::of(origin.to_owned(), read(origin, Arc::new(Static(bytes)))?))
    }

    fn of(origin: String, contents: Contents) -> Self {
        Self { origin, contents, looks_like: OnceLock::new() }
    }

    /// What is no tensor, since something made it that is not known here: name and class.
    pub fn foreign(&self) -> impl Iterator<Item = (&str, &str)> {
        self.contents.foreign.iter().map(|(name, class)| (name.as_str(), class.as_str()))
    }

    fn hint(&self) -> Box<str> {
        let names = self.contents.tensors.keys().map(String::as_str);
        match self.looks_like.get_or_init(|| looks_like::model_of(names)) {
            Some(model) => format!("; the file looks like {model}").into(),
            None => match self.contents.foreign.iter().next() {
                Some((name, class)) => {
                    format!("; `{name}` is an object of `{class}`, in which nothing is looked for").into()
                }
                None => "".into(),
            },
        }
    }

    fn entry(&self, name: &str) -> Result<&Stored> {
        match self.contents.tensors.get(name) {
            Some(Entry::Readable(stored)) => Ok(stored),
            Some(Entry::Unreadable(why)) => Err(Error::unsupported(&self.origin, name, why)),
            None => match self.contents.foreign.get(name) {
                Some(class) => Err(Error::unsupported(&self.origin, name, of_class(class))),
                None => {
                    let (file, tensor) = (self.origin.clone(), name.to_owned());
                    Err(Error::Missing { file, tensor, hint: self.hint() })
                }
            },
        }
    }

    /// The tensor `name` in whatever shape it has.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Unsupported`].
    pub fn any_tensor(&self, name: &str) -> Result<Tensor> {
        let stored = self.entry(name)?;
        stored.tensor().map_err(|what| Error::unsupported(&self.origin, name, what))
    }

    /// 8-bit values with the scales that lie beside them. Without scales they mean nothing.
    fn scaled(&self, name: &str, tensor: Tensor) -> Result<Tensor> {
        let scales_name = format!("{name}{SCALES_SUFFIX}");
        if tensor.dtype() != DType::I8 {
            return Ok(tensor);
        }
        if !self.contents.tensors.contains_key(&scales_name) {
            let what = format!("8-bit weights without `{scales_name}`; the file is damaged, get it again");
            return Err(Error::unsupported(&self.origin, name, what));
        }
        let scales = self.any_tensor(&scales_name)?;
        if scales.dtype() != DType::F32 {
            let what = format!("scales of type {}; expected f32", scales.dtype());
            return Err(Error::unsupported(&self.origin, &scales_name, what));
        }
        let scales = scales.to_f32_vec();
        if let Some(scale) = scales.iter().flatten().find(|&&scale| scale < 0.0) {
            let what = format!("a negative scale ({scale}); the file is damaged, get it again");
            return Err(Error::unsupported(&self.origin, &scales_name, what));
        }
        let scaled = scales.and_then(|scales| tensor.with_scales(scales));
        scaled.map_err(|error| Error::unsupported(&self.origin, name, error.to_string()))
    }
}

impl WeightSource for Checkpoint {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let stored = self.entry(name)?;
        if stored.shape.dims() != shape {
            return Err(Error::ShapeMismatch {
                file: self.origin.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: stored.shape.dims().to_vec(),
                hint: self.hint(),
            });
        }
        let tensor = stored.tensor().map_err(|what| Error::unsupported(&self.origin, name, what))?;
        self.scaled(name, tensor)
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        match self.contents.tensors.get(name)? {
            Entry::Readable(stored) => Some(stored.shape),
            Entry::Unreadable(_) => None,
        }
    }

    fn names(&self) -> Vec<String> {
        self.contents.tensors.keys().cloned().collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.contents.metadata.get(key).cloned()
    }

    fn all_metadata(&self) -> BTreeMap<String, String> {
        self.contents.metadata.clone()
    }

    fn origin(&self) -> String {
        self.origin.clone()
    }
}

/// Unit in which a map gives up memory: a multiple of every page size in use.
#[cfg(unix)]
const RELEASED_BYTES: usize = 1 << 16;

/// A memory map as bytes for tensors.
struct Mapped(Mmap);

impl WeightBytes for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Without this the whole file counts among the process's memory, beside the same weights in another order.
    #[cfg(unix)]
    fn release(&self, range: Range<usize>) {
        let start = range.start / RELEASED_BYTES * RELEASED_BYTES;
        let end = range.end.min(self.0.len()) / RELEASED_BYTES * RELEASED_BYTES;
        if start < end {
            // SAFETY: the map is shared and read only, so its pages hold what the file holds, now and when they are read
            // again. Advice that the system refuses changes nothing.
            let _ = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        }
    }
}

/// Bytes of the program itself.
struct Static(&'static [u8]);

impl WeightBytes for Static {
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

fn of_class(class: &str) -> String {
    format!(
        "is what `{class}` makes, which is not read; save the weights as plain tensors: model.state_dict()"
    )
}

fn map(path: &Path, origin: &str) -> Result<Arc<dyn WeightBytes>> {
    let file = File::open(path).map_err(|error| Error::io(origin, error))?;
    let metadata = file.metadata().map_err(|error| Error::io(origin, error))?;
    if !metadata.is_file() {
        return Err(Error::malformed(origin, "not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(Error::malformed(origin, "the file is empty; download it again"));
    }
    // SAFETY: the map is read only. Nobody may change the file while it is mapped, which `open` documents; checkpoints
    // are downloaded once and then read.
    let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::io(origin, error))?;
    Ok(Arc::new(Mapped(map)))
}

fn read(origin: &str, bytes: Arc<dyn WeightBytes>) -> Result<Contents> {
    let head = bytes.bytes();
    let is_tar = head.get(257..262) == Some(b"ustar");
    if head.starts_with(b"PK") {
        torch_file::read(origin, bytes)
    } else if head.get(8) == Some(&b'{') {
        safetensors_file::read(origin, bytes)
    } else if is_tar || matches!(head, [0x80, 0x02..=0x05, ..]) {
        Err(Error::malformed(
            origin,
            "a PyTorch file of the format before 1.6, which is not read; convert it once with PyTorch: \
             torch.save(torch.load(file, weights_only=True), new_file)",
        ))
    } else if head.starts_with(b"version https://git-lfs") {
        Err(Error::malformed(origin, "a Git LFS pointer, not the weights; fetch them with `git lfs pull`"))
    } else if head.first() == Some(&b'<') {
        Err(Error::malformed(origin, "a web page, not weights; the download went wrong"))
    } else {
        Err(Error::malformed(
            origin,
            "neither safetensors nor a PyTorch zip file; truncated or another format",
        ))
    }
}

/// Reads `….index.json` and the shards it names, all beside it.
fn read_sharded(index_path: &Path, origin: &str) -> Result<Contents> {
    let mut text = String::new();
    let file = File::open(index_path).map_err(|error| Error::io(origin, error))?;
    file.take(MAX_INDEX_BYTES).read_to_string(&mut text).map_err(|error| Error::io(origin, error))?;
    let index: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Error::malformed(origin, format!("not an index of shards: {error}")))?;
    let weight_map = index.get("weight_map").and_then(|map| map.as_object());
    let weight_map = weight_map
        .ok_or_else(|| Error::malformed(origin, "not an index of shards: no object `weight_map`"))?;
    let mut shards: BTreeMap<&str, Contents> = BTreeMap::new();
    let mut contents = Contents::default();
    for (tensor, file) in weight_map {
        let file = file.as_str().filter(|file| is_plain_name(file)).ok_or_else(|| {
            Error::malformed(
                origin,
                format!("tensor `{tensor}`: {file} is not the name of a file beside the index"),
            )
        })?;
        if !shards.contains_key(file) {
            if shards.len() == MAX_SHARDS {
                return Err(Error::malformed(origin, format!("more than {MAX_SHARDS} shards")));
            }
            let path = index_path.with_file_name(file);
            let shard_origin = path.display().to_string();
            shards.insert(file, read(&shard_origin, map(&path, &shard_origin)?)?);
        }
        let entry = shards.get_mut(file).and_then(|shard| shard.tensors.remove(tensor));
        let entry = entry.ok_or_else(|| {
            Error::malformed(origin, format!("tensor `{tensor}` is not in its shard {file}"))
        })?;
        contents.tensors.insert(tensor.clone(), entry);
    }
    for shard in shards.into_values() {
        contents.metadata.extend(shard.metadata);
        contents.foreign.extend(shard.foreign);
        // What the index forgets is in the files all the same.
        for (tensor, entry) in shard.tensors {
            contents.tensors.entry(tensor).or_insert(entry);
        }
    }
    Ok(contents)
}

fn is_plain_name(file: &str) -> bool {
    !file.is_empty() && file != "." && file != ".." && !file.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
