//! How fast a device multiplies and moves memory, by the operators that models use.

use std::time::{Duration, Instant};

use samovar_tensor::{Device, Epilogue, Precision, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Measured peaks of a device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Operations per second of a large layer in f32, one multiply-add being two.
    pub flop_per_s: f64,
    /// Bytes per second that adding two large tensors reads and writes.
    pub bytes_per_s: f64,
}

/// Work grows until it takes so long: less is lost in launching it.
const LONG_ENOUGH: Duration = Duration::from_millis(40);

/// Largest side of the products, and largest tensors.
const LARGEST_SIDE: usize = 4096;
const LARGEST_LEN: usize = 16 << 20;

impl Speed {
    /// Measures a device, growing the work until it takes long enough to be timed.
    ///
    /// # Errors
    /// What the device says.
    pub fn measure(device: &Device) -> Result<Self> {
        let device = device.with_weight_precision(Precision::F32);
        let products = grown(128, LARGEST_SIDE, |side| {
            let values = vec![0.5f32; side * side];
            let layer = device.load_linear(&Tensor::from_values([side, side], &values), None)?;
            let x = device.upload([side, side], &values)?;
            let took = timed(&device, || device.linear(&x, &layer, &Epilogue::NONE).map(drop))?;
            Ok((2.0 * (side as f64).powi(3), took))
        })?;
        let bytes = grown(1 << 18, LARGEST_LEN, |len| {
            let values = vec![0.5f32; len];
            let (a, b) = (device.upload([len], &values)?, device.upload([len], &values)?);
            let took = timed(&device, || device.add(&a, &b).map(drop))?;
            Ok((12.0 * len as f64, took))
        })?;
        Ok(Self { flop_per_s: products, bytes_per_s: bytes })
    }
}

/// The best rate of work that doubles in size until it takes long enough.
fn grown(least: usize, most: usize, mut work: impl FnMut(usize) -> Result<(f64, Duration)>) -> Result<f64> {
    let (mut size, mut best) = (least, 0f64);
    loop {
        let (amount, took) = work(size)?;
        best = best.max(amount / took.as_secs_f64().max(1e-9));
        if took >= LONG_ENOUGH || 2 * size > most {
            return Ok(best);
        }
        size *= 2;
    }
}

/// The best of three, after one that does not count.
fn timed(device: &Device, work: impl Fn() -> samovar_tensor::Result<()>) -> Result<Duration> {
    work()?;
    device.synchronise()?;
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        work()?;
        device.synchronise()?;
        best = best.min(start.elapsed());
        if best >= LONG_ENOUGH {
            break;
        }
    }
    Ok(best)
}
