//! Features of images, kept: heat once, also if the next pour is tomorrow and by another process.
//!
//! A key is made of pixels, weights, preprocessing, precision, instructions and version: of all that features depend on, to the
//! last bit.

use std::sync::Arc;
use std::time::Duration;

use samovar_media::RgbImage;
use samovar_models::{ImageFeatures, Preprocessing};
use samovar_resources::cache::{Codec, Decoded, FeatureCache, Key, KeyBuilder, KindLimits, Origin, Store};
use samovar_tensor::{Device, Precision, Tensor};

use crate::engine::Engine;

/// The kind under which features lie in a store.
pub const FEATURES: &str = "features";

/// What takes no longer than this to find again is not written to the disk: reading it back would gain nothing.
pub const LEAST_COST_ON_DISK: Duration = Duration::from_millis(150);

/// Most dimensions of a tensor that is read.
const MAX_RANK: usize = 8;

/// The key of pixels: of what an image shows, whatever file it came from.
pub fn key_of_pixels(image: &RgbImage) -> Key {
    let key = KeyBuilder::new("samovar pixels 1");
    let size = image.size();
    key.part("width", size.width.to_le_bytes())
        .part("height", size.height.to_le_bytes())
        .part("rgb", image.pixels())
        .finish()
}

/// The features of one model's images in a store.
#[derive(Clone)]
pub(crate) struct ModelCache {
    features: FeatureCache<ImageFeatures>,
    weights: Key,
    /// Of all that features depend on but the image.
    made_by: Key,
}

impl ModelCache {
    /// `weights` is the key of the model's files; `shapes` are those of the features it finds in any image.
    pub(crate) fn new(
        store: &Arc<Store>,
        weights: Key,
        engine: &Engine,
        precision: Precision,
        preprocessing: &Preprocessing,
        shapes: &ImageFeatures,
    ) -> Self {
        let made_by = KeyBuilder::new("samovar features 1")
            .part("weights", weights.as_bytes())
            .part("preprocessing", format!("{preprocessing:?}"))
            .part("precision", precision.to_string())
            .part("instructions", engine.instructions())
            .part("products", engine.cpu().map(|cpu| cpu.products().to_string()).unwrap_or_default())
            .part("version", env!("CARGO_PKG_VERSION"))
            .finish();
        let codec = FeaturesOnDisk { device: engine.device().stage("cache"), shapes: shapes.clone() };
        let limits = KindLimits { least_cost_on_disk: LEAST_COST_ON_DISK, ..KindLimits::default() };
        let features = FeatureCache::new(store, FEATURES, codec).with_limits(limits);
        Self { features, weights, made_by }
    }

    /// The features of an image; what is not there is found, once, however many ask.
    pub(crate) fn get_or_compute<E>(
        &self,
        image: Key,
        compute: impl FnOnce() -> Result<ImageFeatures, E>,
    ) -> Result<Arc<ImageFeatures>, E> {
        let key = KeyBuilder::new("samovar features of an image 1");
        let key = key.part("image", image.as_bytes()).part("made by", self.made_by.as_bytes()).finish();
        let origin = Origin { image: Some(image), model: Some(self.weights) };
        self.features.get_or_compute(key, origin, compute)
    }

    /// The same, writing everything to the disk, however quickly it was found.
    #[cfg(test)]
    pub(crate) fn keeping_all(self) -> Self {
        Self { features: self.features.with_limits(KindLimits::default()), ..self }
    }
}

/// Features as bytes: for each tensor its rank (u8), its dimensions (u32) and its values (f32), all little endian.
struct FeaturesOnDisk {
    device: Device,
    /// Of the model's features.
    shapes: ImageFeatures,
}

impl Codec<ImageFeatures> for FeaturesOnDisk {
    fn size_bytes(&self, features: &ImageFeatures) -> usize {
        features.size_bytes()
    }

    fn encode(&self, features: &ImageFeatures) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(features.size_bytes() + 64).ok()?;
        for tensor in features.maps() {
            let on_host = self.device.download(tensor).ok()?.wait().ok()?;
            bytes.push(u8::try_from(tensor.dims().len()).ok()?);
            for &dim in tensor.dims() {
                bytes.extend(u32::try_from(dim).ok()?.to_le_bytes());
            }
            let values = on_host.f32().ok()?;
            // What only damaged weights give is refused later on, and not worth keeping.
            if !values.iter().fold(true, |finite, value| finite & value.is_finite()) {
                return None;
            }
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        Some(bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<ImageFeatures> {
        let mut rest = bytes;
        let mut tensors = Vec::new();
        for expected in self.shapes.maps() {
            let Some((dims, values)) = tensor_of(&mut rest).filter(|(dims, _)| dims == expected.dims())
            else {
                return Decoded::Foreign;
            };
            match self.upload(&dims, values) {
                Ok(tensor) => tensors.push(tensor),
                Err(_) => return Decoded::NoRoom,
            }
        }
        if !rest.is_empty() {
            return Decoded::Foreign;
        }
        self.shapes.with_maps(tensors).map_or(Decoded::Foreign, Decoded::Value)
    }
}

impl FeaturesOnDisk {
    fn upload(&self, dims: &[usize], values: &[u8]) -> samovar_tensor::Result<Tensor> {
        self.device.upload_with(dims, |on_device| {
            for (value, bytes) in on_device.iter_mut().zip(values.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        })
    }
}

/// Takes a tensor's dimensions and its values off the front.
fn tensor_of<'b>(rest: &mut &'b [u8]) -> Option<(Vec<usize>, &'b [u8])> {
    let (&rank, after) = rest.split_first()?;
    let (dims, after) = after.split_at_checked(4 * usize::from(rank))?;
    if usize::from(rank) > MAX_RANK {
        return None;
    }
    let dims: Vec<usize> =
        dims.as_chunks::<4>().0.iter().map(|dim| u32::from_le_bytes(*dim) as usize).collect();
    let bytes = dims.iter().try_fold(4usize, |bytes, &dim| bytes.checked_mul(dim))?;
    let (values, after) = after.split_at_checked(bytes)?;
    *rest = after;
    Some((dims, values))
}

#[cfg(test)]
#[path = "feature_cache_tests.rs"]
mod tests;
