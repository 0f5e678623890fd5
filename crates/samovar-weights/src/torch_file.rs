//! PyTorch zip files (`.pt`, `.pth`, `.bin`): a pickle that describes tensors, and one stored entry per storage.
//!
//! The pickle is read by [`pickle`], which knows tensors and plain containers and refuses everything else: nothing in
//! the file is ever called. Storages are stored uncompressed and aligned, so tensors are views into the file.

mod pickle;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use samovar_tensor::{DType, WeightBytes};
use zip::{CompressionMethod, ZipArchive};

use crate::stored::{Contents, Entry, Stored, shape_of};
use crate::{Error, Result};
use pickle::{Element, Object, Pickle, TensorRecord, Value};

/// Most entries the archive may have.
const MAX_ENTRIES: usize = 200_000;
/// Most bytes of the pickle; a thousand tensors take about 200 kB.
const MAX_PICKLE_BYTES: usize = 16 << 20;
/// Deepest nesting of dictionaries that is followed.
const MAX_DEPTH: usize = 8;
/// Most dictionary entries that are visited, nested ones counted every time they are reached.
const MAX_VISITS: usize = 1 << 20;
/// Keys under which training code keeps the weights beside other things.
const WRAPPERS: [&str; 6] = ["model", "state_dict", "model_state_dict", "module", "ema", "net"];

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
    let root = pickle_name.trim_end_matches("data.pkl");
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
    let records = tensors_of(origin, &pickle)?;
    let mut contents = Contents::default();
    for (name, record) in records {
        let entry = locate(origin, &name, record, &bytes, &stretches, root)?;
        contents.tensors.insert(name, entry);
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

/// The named tensors of a pickled state dict, however deep it is wrapped.
fn tensors_of<'p>(origin: &str, pickle: &'p Pickle) -> Result<BTreeMap<String, &'p TensorRecord<'p>>> {
    let mut dict = pickle.dict(pickle.root).ok_or_else(|| {
        let found = pickle.describe(pickle.root);
        Error::malformed(origin, format!("expected a dictionary of tensors, found {found}"))
    })?;
    let holds_tensors =
        |dict: &[(Value, Value)]| dict.iter().any(|&(_, value)| pickle.tensor(value).is_some());
    for _ in 0..MAX_DEPTH {
        let wrapped = WRAPPERS.iter().find_map(|&wrapper| {
            let inner = dict.iter().find(|(key, _)| matches!(key, Value::Str(key) if *key == wrapper))?;
            pickle.dict(inner.1)
        });
        match wrapped {
            Some(inner) if !holds_tensors(dict) => dict = inner,
            _ => break,
        }
    }
    let mut found = BTreeMap::new();
    let mut visits = 0;
    collect(origin, pickle, dict, "", 0, &mut visits, &mut found)?;
    if found.is_empty() {
        return Err(Error::malformed(origin, "no tensors in this file"));
    }
    Ok(found)
}

fn collect<'p>(
    origin: &str,
    pickle: &'p Pickle,
    dict: &'p [(Value<'p>, Value<'p>)],
    prefix: &str,
    depth: usize,
    visits: &mut usize,
    found: &mut BTreeMap<String, &'p TensorRecord<'p>>,
) -> Result<()> {
    for &(key, value) in dict {
        *visits += 1;
        if *visits > MAX_VISITS {
            return Err(Error::malformed(
                origin,
                "dictionaries nested beyond all measure; damaged or hostile",
            ));
        }
        let key = match key {
            Value::Str(key) => key.to_owned(),
            Value::Int(key) => key.to_string(),
            _ => continue,
        };
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        if let Some(record) = pickle.tensor(value) {
            if found.insert(name.clone(), record).is_some() {
                return Err(Error::malformed(origin, format!("two tensors `{name}`")));
            }
        } else if let Some(inner) = pickle.dict(value)
            && depth < MAX_DEPTH
        {
            collect(origin, pickle, inner, &name, depth + 1, visits, found)?;
        }
    }
    Ok(())
}

/// Finds a tensor's values in the file and checks that all of them lie in its storage.
fn locate(
    origin: &str,
    name: &str,
    record: &TensorRecord,
    bytes: &Arc<dyn WeightBytes>,
    stretches: &BTreeMap<String, Stretch>,
    root: &str,
) -> Result<Entry> {
    let broken = |what: String| Error::malformed(origin, format!("tensor `{name}`: {what}"));
    let storage = &record.storage;
    let stretch = stretches
        .get(&format!("{root}data/{}", storage.key))
        .ok_or_else(|| broken(format!("its storage `{}` is not in the file", storage.key)))?;
    let element_bytes = storage.element.size_bytes();
    let storage_fits = storage.elements.checked_mul(element_bytes).is_some_and(|size| size <= stretch.len);
    if !storage_fits {
        let what = format!("a storage of {} elements in {} bytes; truncated?", storage.elements, stretch.len);
        return Err(broken(what));
    }
    let shape = match shape_of(&record.dims) {
        Ok(shape) => shape,
        Err(why) => return Ok(Entry::Unreadable(why)),
    };
    // The last element must lie inside the storage; and no view may have more elements than its storage, so that a
    // stride of zero cannot blow up a small file.
    let last = record.dims.iter().zip(&record.strides).try_fold(record.offset, |at, (&dim, &stride)| {
        at.checked_add(dim.saturating_sub(1).checked_mul(stride)?)
    });
    let inside = last.is_some_and(|last| last < storage.elements);
    if !inside || shape.len() > storage.elements {
        return Err(broken(format!(
            "shape {shape} with strides {:?} from element {} leaves its storage of {} elements",
            record.strides, record.offset, storage.elements
        )));
    }
    let Some(dtype) = storage.element.dtype() else {
        return Ok(Entry::Unreadable(format!("values of type {:?} are not read", storage.element)));
    };
    let strides = (!is_contiguous(&record.dims, &record.strides)).then(|| record.strides.clone());
    let offset_bytes = stretch.start + record.offset * element_bytes;
    Ok(Entry::Readable(Stored { bytes: Arc::clone(bytes), offset_bytes, shape, dtype, strides }))
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

    fn dtype(self) -> Option<DType> {
        Some(match self {
            Element::Float => DType::F32,
            Element::Half => DType::F16,
            Element::BFloat16 => DType::BF16,
            Element::Char => DType::I8,
            Element::Byte => DType::U8,
            Element::Int => DType::I32,
            Element::Long => DType::I64,
            Element::Double | Element::Short | Element::Bool => return None,
        })
    }
}

impl<'p> Pickle<'p> {
    fn dict(&self, value: Value<'p>) -> Option<&[(Value<'p>, Value<'p>)]> {
        match self.object(value)? {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    fn tensor(&self, value: Value<'p>) -> Option<&TensorRecord<'p>> {
        match self.object(value)? {
            Object::Tensor(record) => Some(record),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod test_pickles;
#[cfg(test)]
#[path = "torch_file_tests.rs"]
mod tests;
