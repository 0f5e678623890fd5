//! Weights as a backend's kernels read them: opaque, and only for the device they were packed for.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::conv2d_geometry::Conv2dGeometry;
use crate::{Error, Pool, Precision, Result};

/// Weights in the order a backend's kernels read them. Only the backend that packed them can look inside.
#[derive(Clone)]
pub struct Packed {
    inner: Arc<dyn Any + Send + Sync>,
    size_bytes: usize,
    /// What [`crate::Kernels::weight_layout`] said when they were packed, and the device; set by the device.
    home: Option<Home>,
    precision: Precision,
}

/// Bytes of packed weights by precision; shared by all clones of a device.
#[derive(Default)]
pub(crate) struct PackedCounter([AtomicUsize; Precision::ALL.len()]);

impl PackedCounter {
    pub(crate) fn add(&self, precision: Precision, bytes: usize) {
        let place = Precision::ALL.iter().position(|&one| one == precision);
        self.0[place.unwrap_or(0)].fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> [(Precision, usize); Precision::ALL.len()] {
        std::array::from_fn(|place| (Precision::ALL[place], self.0[place].load(Ordering::Relaxed)))
    }
}

/// For whom weights were packed.
#[derive(Clone)]
struct Home {
    pool: Arc<Pool>,
    layout: Arc<str>,
    request: PackRequest,
}

impl Packed {
    /// Wraps a backend's own representation, which takes `size_bytes`.
    pub fn new<T: Any + Send + Sync>(inner: T, size_bytes: usize) -> Self {
        Self { inner: Arc::new(inner), size_bytes, home: None, precision: Precision::F32 }
    }

    /// The backend's representation.
    ///
    /// # Errors
    /// [`Error::ForeignWeights`] when another backend packed it.
    pub fn get<T: Any>(&self, op: &'static str, device: &str) -> Result<&T> {
        self.try_get().ok_or_else(|| self.foreign(op, device))
    }

    /// The backend's representation, if it is of this type: for a backend that has several.
    pub fn try_get<T: Any>(&self) -> Option<&T> {
        self.inner.downcast_ref()
    }

    /// Bytes the packed weights take.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The precision in which they are held.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The refusal of weights that another backend packed.
    pub fn foreign(&self, op: &'static str, device: &str) -> Error {
        let packed_for = self.home.as_ref().map_or("another backend", |home| &home.layout).to_owned();
        Error::ForeignWeights { op, packed_for, device: device.to_owned() }
    }

    pub(crate) fn housed(
        self,
        pool: &Arc<Pool>,
        layout: &Arc<str>,
        request: PackRequest,
        precision: Precision,
    ) -> Self {
        let home = Home { pool: Arc::clone(pool), layout: Arc::clone(layout), request };
        Self { home: Some(home), precision, ..self }
    }

    /// Whether they are those of a fully connected layer of this size.
    pub(crate) fn is_linear(&self, outputs: usize, inputs: usize) -> bool {
        let precision = self.precision;
        self.is_of(PackRequest::Linear { outputs, inputs, precision })
    }

    /// Whether they are those of such a convolution.
    pub(crate) fn is_conv2d(&self, outputs: usize, inputs: usize, geometry: Conv2dGeometry) -> bool {
        let precision = self.precision;
        self.is_of(PackRequest::Conv2d { outputs, inputs, geometry, precision })
    }

    /// Whether they are those of a mask head with such matrices.
    pub(crate) fn is_mask_head(&self, matrices: [[usize; 2]; 2]) -> bool {
        self.is_of(PackRequest::MaskHead { matrices })
    }

    fn is_of(&self, request: PackRequest) -> bool {
        self.home.as_ref().is_some_and(|home| home.request == request)
    }

    /// Whether they were packed for this device.
    pub(crate) fn is_for(&self, pool: &Arc<Pool>, layout: &Arc<str>) -> bool {
        self.home.as_ref().is_some_and(|home| {
            Arc::ptr_eq(&home.pool, pool) && (Arc::ptr_eq(&home.layout, layout) || home.layout == *layout)
        })
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} bytes)", self.size_bytes)
    }
}

/// Weights that are to be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackRequest {
    /// Of a fully connected layer.
    Linear {
        /// Channels written.
        outputs: usize,
        /// Channels read.
        inputs: usize,
        /// In which the weight comes and is held.
        precision: Precision,
    },
    /// Of a convolution.
    Conv2d {
        /// Channels written.
        outputs: usize,
        /// Channels read.
        inputs: usize,
        /// Kernel and groups.
        geometry: Conv2dGeometry,
        /// In which the weight comes and is held.
        precision: Precision,
    },
    /// Of a [`crate::MaskHead`]: `[rows, columns]` of both matrices, in f32.
    MaskHead {
        /// Of the first and the second convolution.
        matrices: [[usize; 2]; 2],
    },
}

/// What packing takes, as the dry run counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackedSize {
    /// Bytes of each tensor that is kept; 0 for none.
    pub kept_bytes: [usize; 2],
    /// Bytes that are needed while packing.
    pub temporary_bytes: usize,
}
