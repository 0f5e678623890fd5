//! PyTorch zip files (`.pt`, `.pth`, `.bin`): a pickle that describes tensors, and one stored entry per storage.
//!
//! The pickle is read by [`pickle`], which knows tensors and plain containers and only notes the names of everything else:
//! nothing in the file is ever called. Tensors in dictionaries of dictionaries are named by the path to them, with dots. Storages are stored uncompressed and aligned, so tensors are views into the file.

mod pickle;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use samovar_tensor::{DType, WeightBytes};
use zip::{CompressionMethod, ZipArchive};

use crate::stored::{Contents, Entry, Stored, StoredType, shape_of};
use crate::{Error, Result};
use pickle::{Element, Pickle, Tensor, Value};

/// Most entries the archive may have.
const MAX_ENTRIES: usize = 200_000;
/// Most bytes of the pickle; a thousand tensors take about 200 kB.
const MAX_PICKLE_BYTES: usize = 16 << 20;
/// Deepest nesting of dictionaries that is followed.
const MAX_DEPTH: usize = 32;
/// Most tensors and dictionaries that are visited, those in shared dictionaries counted every time they are reached: this
/// many, and one per so many bytes of the pickle. A tensor takes some hundred.
const MAX_VISITS: usize = 4096;
const BYTES_PER_VISIT: usize = 16;
/// Most bytes of all names together, those of dictionaries counted every time they are reached: this many, and so many
/// per byte of the pickle. Names of nested dictionaries begin with those of the outer ones, so they can be longer than
/// the pickle.
const MAX_NAME_BYTES: usize = 1 << 16;
const NAME_BYTES_PER_BYTE: usize = 4;
/// Longest name of a storage, which is a number, and of the folder in the archive, which is the name of a file.
const MAX_KEY_BYTES: usize = 255;
/// Parts of a path that only whole pickled modules have; their state dicts leave them out.
const PARTS_OF_MODULES: [&str; 3] = ["_modules", "_parameters", "_buffers"];

/// A stored entry of the archive.
#[derive(Clone, Copy)]
struct Stretch {
    start: usize,
    len: usize,
}

pub(crate) fn read(origin: &str, bytes: Arc<dyn WeightBytes>) -> Result<Contents> {
    let stretches = entries(origin, bytes.bytes())?;
    let pickle_name = stretches.keys().find(|name| name.ends_with("/data.pkl") || *name == "data.pkl");
    let Some(pickle_name) = pickle_name else {
        return Err(Error::malformed(
            origin,
            "a zip file without data.pkl, so not one that torch.save wrote; to read a legacy or other archive, \
             load it in PyTorch and save the state dict again",
        ));
    };
    let root = pickle_name.strip_suffix("data.pkl").unwrap_or_default();
    if root.len() > MAX_KEY_BYTES {
        let what = format!(
            "a folder whose name has {} bytes, more than {MAX_KEY_BYTES}; damaged or hostile",
            root.len()
        );
        return Err(Error::malformed(origin, what));
    }
    if stretches.contains_key(&format!("{root}constants.pkl")) {
        return Err(Error::malformed(
            origin,
            "a TorchScript archive (it holds code); save the weights alone: \
             torch.save(torch.jit.load(file).state_dict(), new_file)",
        ));
    }
    if let Some(order) = stretches.get(&format!("{root}byteorder"))
        && stretch_of(bytes.bytes(), *order) != b"little"
    {
        return Err(Error::malformed(origin, "written on a big-endian machine, which is not read"));
    }
    let described = stretches[pickle_name];
    if described.len > MAX_PICKLE_BYTES {
        let what =
            format!("pickle of {} bytes, more than {MAX_PICKLE_BYTES}; damaged or hostile", described.len);
        return Err(Error::malformed(origin, what));
    }
    let pickle = pickle::read(origin, stretch_of(bytes.bytes(), described))?;
    let mut collector = Collector {
        pickle: &pickle,
        visits_left: MAX_VISITS + described.len / BYTES_PER_VISIT,
        name_bytes_left: MAX_NAME_BYTES + described.len * NAME_BYTES_PER_BYTE,
        found: Contents::default(),
        locate: |name: &str, tensor: Tensor| locate(origin, name, &tensor, &bytes, &stretches, root),
        origin,
    };
    if pickle.dict(pickle.root).is_none() {
        let found = pickle.describe(pickle.root);
        return Err(Error::malformed(origin, format!("expected a dictionary of tensors, found {found}")));
    }
    collector.collect(pickle.root, &mut String::new(), 0)?;
    let contents = collector.found;
    if contents.tensors.is_empty() {
        let only = match (pickle.empty_foreign(pickle.root), contents.foreign.iter().next()) {
            (Some((module, name)), _) => format!(", only an object of `{}`", class_name(module, name)),
            (_, Some((name, class))) => format!(", only objects of other classes (`{name}` of `{class}`)"),
            _ => String::new(),
        };
        let what =
            format!("no tensors in this file{only}; save the weights: torch.save(model.state_dict(), file)");
        return Err(Error::malformed(origin, what));
    }
    Ok(contents)
}

fn stretch_of(bytes: &[u8], stretch: Stretch) -> &[u8] {
    &bytes[stretch.start..stretch.start + stretch.len]
}

/// Place of every entry, checked to lie inside the file.
fn entries(origin: &str, bytes: &[u8]) -> Result<BTreeMap<String, Stretch>> {
    let broken =
        |what: String| Error::malformed(origin, format!("damaged or truncated PyTorch zip file: {what}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(error.to_string()))?;
    if archive.len() > MAX_ENTRIES {
        return Err(broken(format!("{} entries, more than {MAX_ENTRIES}", archive.len())));
    }
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(|error| broken(error.to_string()))?;
        let name = file.name().to_owned();
        if file.compression() != CompressionMethod::Stored || file.encrypted() {
            return Err(broken(format!(
                "entry `{name}` is compressed or encrypted, which torch.save does not do"
            )));
        }
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let len = usize::try_from(file.size()).ok().filter(|_| file.size() == file.compressed_size());
        let stretch = start
            .zip(len)
            .filter(|&(start, len)| start.checked_add(len).is_some_and(|end| end <= bytes.len()));
        let (start, len) = stretch.ok_or_else(|| broken(format!("entry `{name}` lies outside the file")))?;
        if entries.insert(name.clone(), Stretch { start, len }).is_some() {
            return Err(broken(format!("two entries `{name}`")));
        }
    }
    Ok(entries)
}

/// Gathers the tensors of nested dictionaries, within limits that follow from the bytes they are written in.
struct Collector<'p, L> {
    origin: &'p str,
    pickle: &'p Pickle<'p>,
    visits_left: usize,
    name_bytes_left: usize,
    locate: L,
    found: Contents,
}

impl<'p, L: Fn(&str, Tensor<'p>) -> Result<Entry>> Collector<'p, L> {
    /// Takes what is in a dictionary; `name` is its own, and is so again afterwards.
    fn collect(&mut self, dict: Value, name: &mut String, depth: usize) -> Result<()> {
        let len = name.len();
        let pickle = self.pickle;
        for (key, value) in pickle.dict(dict).into_iter().flatten() {
            let number;
            let key = match key {
                Value::Str(key) => pickle.text(key),
                Value::Int(key) => {
                    number = key.to_string();
                    &number
                }
                _ => continue,
            };
            let key = if PARTS_OF_MODULES.contains(&key) { "" } else { key };
            let added = key.len() + usize::from(len > 0 && !key.is_empty());
            let class = pickle.empty_foreign(value);
            let is_kept = pickle.is_tensor(value) || class.is_some();
            let class_bytes = class.map_or(0, |(module, name)| module.len() + name.len());
            let name_bytes = if is_kept { len + added + class_bytes.min(2 * MAX_KEY_BYTES) } else { added };
            let left = self.visits_left.checked_sub(1).zip(self.name_bytes_left.checked_sub(name_bytes));
            let Some(left) = left else {
                let what = "names and dictionaries nested beyond all measure; damaged or hostile";
                return Err(Error::malformed(self.origin, what));
            };
            (self.visits_left, self.name_bytes_left) = left;
            if len > 0 && !key.is_empty() {
                name.push('.');
            }
            name.push_str(key);
            if let Some(tensor) = pickle.tensor(value) {
                let entry = (self.locate)(name, tensor)?;
                if self.found.tensors.insert(name.clone(), entry).is_some() {
                    return Err(Error::malformed(self.origin, format!("two tensors `{name}`")));
                }
            } else if let Some((module, class)) = class {
                self.found.foreign.insert(name.clone(), class_name(module, class));
            } else if depth < MAX_DEPTH {
                self.collect(value, name, depth + 1)?;
            }
            name.truncate(len);
        }
        Ok(())
    }
}

/// Finds a tensor's values in the file and checks that all of them lie in its storage.
fn locate(
    origin: &str,
    name: &str,
    tensor: &Tensor,
    bytes: &Arc<dyn WeightBytes>,
    stretches: &BTreeMap<String, Stretch>,
    root: &str,
) -> Result<Entry> {
    let broken = |what: String| Error::malformed(origin, format!("tensor `{name}`: {what}"));
    let stretch = Some(tensor.key)
        .filter(|key| key.len() <= MAX_KEY_BYTES)
        .and_then(|key| stretches.get(&format!("{root}data/{key}")))
        .ok_or_else(|| broken(format!("its storage `{}` is not in the file", shortened(tensor.key))))?;
    let element_bytes = tensor.element.size_bytes();
    let storage_fits = tensor.elements.checked_mul(element_bytes).is_some_and(|size| size <= stretch.len);
    if !storage_fits {
        let what = format!("a storage of {} elements in {} bytes; truncated?", tensor.elements, stretch.len);
        return Err(broken(what));
    }
    let shape = match shape_of(&tensor.dims) {
        Ok(shape) => shape,
        Err(why) => return Ok(Entry::Unreadable(why)),
    };
    // The last element must lie inside the storage; and no view may have more elements than its storage, so that a
    // stride of zero cannot blow up a small file.
    let last = tensor.dims.iter().zip(&tensor.strides).try_fold(tensor.offset, |at, (&dim, &stride)| {
        at.checked_add(dim.saturating_sub(1).checked_mul(stride)?)
    });
    let inside = last.is_some_and(|last| last < tensor.elements);
    if !inside || shape.len() > tensor.elements {
        return Err(broken(format!(
            "shape {shape} with strides {:?} from element {} leaves its storage of {} elements",
            tensor.strides, tensor.offset, tensor.elements
        )));
    }
    let Some(dtype) = tensor.element.dtype() else {
        return Ok(Entry::Unreadable(format!("values of type {:?} are not read", tensor.element)));
    };
    let strides = (!is_contiguous(&tensor.dims, &tensor.strides)).then(|| tensor.strides.clone());
    let offset_bytes = stretch.start + tensor.offset * element_bytes;
    Ok(Entry::Readable(Stored { bytes: Arc::clone(bytes), offset_bytes, shape, dtype, strides }))
}

fn class_name(module: &str, name: &str) -> String {
    format!("{}.{}", shortened(module), shortened(name))
}

/// The beginning of a name, for messages.
fn shortened(name: &str) -> &str {
    let end = (0..=MAX_KEY_BYTES.min(name.len())).rev().find(|&end| name.is_char_boundary(end));
    &name[..end.unwrap_or(0)]
}

fn is_contiguous(dims: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    dims.iter().zip(strides).rev().all(|(&dim, &stride)| {
        let fits = dim <= 1 || stride == expected;
        expected *= dim.max(1);
        fits
    })
}

impl Element {
    fn size_bytes(self) -> usize {
        match self {
            Element::Float | Element::Int => 4,
            Element::Half | Element::BFloat16 | Element::Short => 2,
            Element::Double | Element::Long => 8,
            Element::Char | Element::Byte | Element::Bool => 1,
        }
    }

    fn dtype(self) -> Option<StoredType> {
        Some(StoredType::Same(match self {
            Element::Float => DType::F32,
            Element::Half => DType::F16,
            Element::BFloat16 => DType::BF16,
            Element::Char => DType::I8,
            Element::Byte => DType::U8,
            Element::Int => DType::I32,
            Element::Long => DType::I64,
            Element::Double => return Some(StoredType::F64),
            Element::Short | Element::Bool => return None,
        }))
    }
}

#[cfg(test)]
pub(crate) mod test_pickles;
#[cfg(test)]
#[path = "torch_file_tests.rs"]
mod tests;
