//! safetensors: a JSON header with the place of every tensor, then the values.
//!
//! The `safetensors` crate checks what must hold: the header lies inside the file, offsets follow each other without
//! gap or overlap up to the end of the file, and every stretch is as long as shape and type demand. Here come a smaller
//! limit on the header and messages that say what to do.

use std::sync::Arc;

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use samovar_tensor::{DType, WeightBytes};

use crate::stored::{Contents, Entry, Stored, StoredType, shape_of};
use crate::{Error, Result};

/// Most bytes the header may have; a header of ten thousand tensors takes one or two million.
const MAX_HEADER_BYTES: u64 = 16 << 20;

pub(crate) fn read(origin: &str, bytes: Arc<dyn WeightBytes>) -> Result<Contents> {
    let all = bytes.bytes();
    let length = all.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if length > MAX_HEADER_BYTES {
        let what =
            format!("safetensors header of {length} bytes, more than {MAX_HEADER_BYTES}; damaged or hostile");
        return Err(Error::malformed(origin, what));
    }
    let (header_bytes, header) =
        SafeTensors::read_metadata(all).map_err(|error| Error::malformed(origin, explain(&error)))?;
    let first_byte = header_bytes + 8;
    let mut contents = Contents::default();
    for (name, info) in header.tensors() {
        let entry = match (dtype(info.dtype), shape_of(&info.shape)) {
            (Some(dtype), Ok(shape)) => Entry::Readable(Stored {
                bytes: Arc::clone(&bytes),
                offset_bytes: first_byte + info.data_offsets.0,
                shape,
                dtype,
                strides: None,
            }),
            (None, _) => Entry::Unreadable(format!(
                "values of type {:?} are not read; store them as F32, F16 or BF16",
                info.dtype
            )),
            (_, Err(why)) => Entry::Unreadable(why),
        };
        contents.tensors.insert(name, entry);
    }
    if let Some(metadata) = header.metadata() {
        contents.metadata.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    Ok(contents)
}

fn dtype(stored: Dtype) -> Option<StoredType> {
    Some(StoredType::Same(match stored {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        Dtype::F64 => return Some(StoredType::F64),
        _ => return None,
    }))
}

fn explain(error: &SafeTensorError) -> String {
    use SafeTensorError as E;
    match error {
        E::HeaderTooSmall | E::InvalidHeaderLength => {
            "truncated safetensors file: it ends inside the header; download it again".into()
        }
        E::MetadataIncompleteBuffer => {
            "truncated or damaged safetensors file: its size is not what the header says; download it again"
                .into()
        }
        E::InvalidOffset(tensor) => {
            format!("damaged safetensors file: the bytes of tensor `{tensor}` overlap others or leave a gap")
        }
        E::TensorInvalidInfo => {
            "damaged safetensors file: a tensor's bytes are not as many as its shape and type demand".into()
        }
        E::ValidationOverflow => "damaged safetensors file: a shape is too large to exist".into(),
        E::InvalidHeaderDeserialization(error) => format!("safetensors header: {error}"),
        other => format!("safetensors: {other}"),
    }
}

#[cfg(test)]
#[path = "safetensors_tests.rs"]
mod tests;
