//! Images that cost a path until somebody looks at them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use samovar_geometry::{Image, Size};

use super::colour::ColourSpace;
use super::decode::{ImageMetadata, decode_bytes_as, decode_file_as, metadata_of_bytes, read_metadata};
use super::limits::DecodeLimits;
use super::rgb::{Orientation, RgbImage};
use crate::error::Result;

/// An image that is loaded when its pixels are first asked for, and dropped when nobody holds them any more.
///
/// Cloning shares the image. All methods may be called from any number of threads; pixels are decoded once, the
/// others wait for them. Errors are not remembered: a file that appears later can then be read.
///
/// ```no_run
/// use samovar_media::LazyImage;
///
/// let image = LazyImage::open("photo.jpg");
/// println!("{}", image.size()?); // reads the header only
/// let pixels = image.pixels()?; // decodes
/// assert!(image.is_loaded());
/// drop(pixels); // frees
/// assert!(!image.is_loaded());
/// # Ok::<(), samovar_media::MediaError>(())
/// ```
#[derive(Clone)]
pub struct LazyImage {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    limits: DecodeLimits,
    /// What values mean, where somebody says so.
    space: Option<ColourSpace>,
    metadata: OnceLock<ImageMetadata>,
    /// Weak: the image never keeps pixels alive, its users do. The lock is held while decoding.
    pixels: Mutex<Weak<RgbImage>>,
}

enum Source {
    File(PathBuf),
    Bytes(Arc<[u8]>),
    /// Pixels that came from memory and cannot be loaded again; these are held for good.
    Pixels(Arc<RgbImage>),
    /// Whatever gives pixels of this size.
    Loader(Size<Image>, Loader),
}

type Loader = Box<dyn Fn() -> Result<Arc<RgbImage>> + Send + Sync>;

impl LazyImage {
    /// An image file, with the default limits. Touches nothing yet.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self::open_within(path, DecodeLimits::default())
    }

    /// An image file, with these limits. Touches nothing yet.
    pub fn open_within(path: impl Into<PathBuf>, limits: DecodeLimits) -> Self {
        Self::new(Source::File(path.into()), limits, Weak::new())
    }

    /// The same for values that mean this; see [`decode_bytes_as`](crate::image::decode_bytes_as).
    pub fn open_as(path: impl Into<PathBuf>, limits: DecodeLimits, space: Option<ColourSpace>) -> Self {
        Self::new_as(Source::File(path.into()), limits, space, Weak::new())
    }

    /// An encoded image in memory (an upload, say).
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>, limits: DecodeLimits) -> Self {
        Self::new(Source::Bytes(bytes.into()), limits, Weak::new())
    }

    /// The same for values that mean this; see [`decode_bytes_as`](crate::image::decode_bytes_as).
    pub fn from_bytes_as(
        bytes: impl Into<Arc<[u8]>>,
        limits: DecodeLimits,
        space: Option<ColourSpace>,
    ) -> Self {
        Self::new_as(Source::Bytes(bytes.into()), limits, space, Weak::new())
    }

    /// Pixels that are already there (a video frame, say). They are held as long as this image.
    pub fn from_pixels(pixels: impl Into<Arc<RgbImage>>) -> Self {
        let pixels = pixels.into();
        let weak = Arc::downgrade(&pixels);
        Self::new(Source::Pixels(pixels), DecodeLimits::default(), weak)
    }

    /// An image that something else loads, opaque and of this size, when its pixels are asked for (a frame that is still to be decoded, say).
    pub fn from_loader(
        size: Size<Image>,
        load: impl Fn() -> Result<Arc<RgbImage>> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Source::Loader(size, Box::new(load)), DecodeLimits::default(), Weak::new())
    }

    fn new(source: Source, limits: DecodeLimits, pixels: Weak<RgbImage>) -> Self {
        Self::new_as(source, limits, None, pixels)
    }

    fn new_as(
        source: Source,
        limits: DecodeLimits,
        space: Option<ColourSpace>,
        pixels: Weak<RgbImage>,
    ) -> Self {
        let inner = Inner { source, limits, space, metadata: OnceLock::new(), pixels: Mutex::new(pixels) };
        Self { inner: Arc::new(inner) }
    }

    /// The file, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.inner.source {
            Source::File(path) => Some(path),
            Source::Bytes(_) | Source::Pixels(_) | Source::Loader(..) => None,
        }
    }

    /// The encoded bytes, where the image came from bytes in memory.
    pub fn encoded_bytes(&self) -> Option<&Arc<[u8]>> {
        match &self.inner.source {
            Source::Bytes(bytes) => Some(bytes),
            Source::File(_) | Source::Pixels(_) | Source::Loader(..) => None,
        }
    }

    /// Width and height as they will be seen, from the header alone.
    pub fn size(&self) -> Result<Size<Image>> {
        Ok(self.metadata()?.size)
    }

    /// Size, format and orientation, from the header alone.
    pub fn metadata(&self) -> Result<ImageMetadata> {
        if let Some(metadata) = self.inner.metadata.get() {
            return Ok(*metadata);
        }
        let metadata = match &self.inner.source {
            Source::File(path) => read_metadata(path, &self.inner.limits)?,
            Source::Bytes(bytes) => metadata_of_bytes(bytes, &self.inner.limits)?,
            Source::Loader(size, _) => ImageMetadata {
                size: *size,
                format: None,
                orientation: Orientation::NoTransforms,
                decoding_bytes: 0,
                pixel_bytes: size.area().saturating_mul(3),
            },
            Source::Pixels(pixels) => {
                let held_bytes = pixels.pixels().len() + pixels.alpha().map_or(0, <[u8]>::len);
                ImageMetadata {
                    size: pixels.size(),
                    format: None,
                    orientation: Orientation::NoTransforms,
                    decoding_bytes: 0,
                    pixel_bytes: held_bytes as u64,
                }
            }
        };
        Ok(*self.inner.metadata.get_or_init(|| metadata))
    }

    /// The pixels: those already in memory if anybody holds them, else decoded now.
    pub fn pixels(&self) -> Result<Arc<RgbImage>> {
        let mut held = self.lock();
        if let Some(pixels) = held.upgrade() {
            return Ok(pixels);
        }
        let pixels = match &self.inner.source {
            Source::File(path) => Arc::new(decode_file_as(path, &self.inner.limits, self.inner.space)?),
            Source::Bytes(bytes) => Arc::new(decode_bytes_as(bytes, &self.inner.limits, self.inner.space)?),
            Source::Pixels(pixels) => Arc::clone(pixels),
            Source::Loader(_, load) => load()?,
        };
        *held = Arc::downgrade(&pixels);
        Ok(pixels)
    }

    /// Whether the pixels are in memory right now because somebody holds them. May wait for a decode under way.
    pub fn is_loaded(&self) -> bool {
        self.lock().strong_count() > 0
    }

    /// The lock guards nothing that a panic could leave half-done, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, Weak<RgbImage>> {
        self.inner.pixels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LazyImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.source {
            Source::File(path) => write!(f, "LazyImage({:?})", path),
            Source::Bytes(bytes) => write!(f, "LazyImage({} bytes)", bytes.len()),
            Source::Pixels(pixels) => write!(f, "LazyImage({})", pixels.size()),
            Source::Loader(size, _) => write!(f, "LazyImage({size})"),
        }
    }
}

#[cfg(test)]
mod tests;
