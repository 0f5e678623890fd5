//! Whether a card computes what the processors compute, and faster: measured once for each card and driver, and kept.

use std::fs;
use std::path::{Path, PathBuf};

use samovar_media::write::write_json;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::agreement::{Agreement, agreement};
use super::list::DeviceReport;
use super::speed::Speed;
use crate::certificate::processor;
use crate::engine::Engine;
use crate::error::Result;

/// Largest certificate that is read.
const MAX_BYTES: u64 = 1 << 16;

/// Least IoU of any mask with that of the processors.
const LEAST_IOU: f64 = 0.99;

/// Least cosine of mask logits with those of the processors.
const LEAST_COSINE: f64 = 0.9999;

/// What was measured of a card with `nano`, in f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceCertificate {
    /// Its name.
    pub device: String,
    /// Its driver.
    pub driver: String,
    /// How it agrees with the processors.
    pub agreement: Agreement,
    /// Its own speed.
    pub speed: Speed,
    /// That of the processors.
    pub processors: Speed,
    /// What is wrong with its results; nothing if they are good.
    pub refused: Vec<String>,
}

impl DeviceCertificate {
    /// Measures a card beside the processors; some seconds.
    ///
    /// # Errors
    /// What either says.
    pub fn measure(report: &DeviceReport, card: &Engine, processors: &Engine) -> Result<Self> {
        let agreement = agreement(processors, card)?;
        let speed = Speed::measure(card.device())?;
        let of_processors = Speed::measure(processors.device())?;
        let mut refused = Vec::new();
        let mut at_least = |what: &str, value: f64, bound: f64| {
            if value.is_nan() || value < bound {
                refused.push(format!("{what} {value:.5} with the processors is below {bound}"));
            }
        };
        at_least("worst IoU of masks", agreement.worst_iou, LEAST_IOU);
        at_least("cosine of logits", agreement.logits_cosine, LEAST_COSINE);
        let (device, driver) = (report.name.clone(), report.driver.clone());
        Ok(Self { device, driver, agreement, speed, processors: of_processors, refused })
    }

    /// Why `auto` leaves it alone: wrong results, or products slower than the processors'.
    pub fn against(&self) -> Option<String> {
        if !self.refused.is_empty() {
            return Some(self.refused.join("; "));
        }
        let [card, processors] = [self.speed, self.processors].map(|speed| speed.flop_per_s);
        (card < processors).then(|| {
            format!(
                "its products reach {:.0} GFLOP/s, those of the processors {:.0}",
                card / 1e9,
                processors / 1e9
            )
        })
    }

    /// What was measured of this card before, in the folder for what can be made again.
    pub fn read(report: &DeviceReport, cache: &Path) -> Option<Self> {
        let file = file(report, cache);
        let small = fs::metadata(&file).is_ok_and(|data| data.len() <= MAX_BYTES);
        serde_json::from_slice(&small.then(|| fs::read(&file).ok())??).ok()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`crate::Error::File`] or [`crate::Error::Media`] when it cannot be written.
    pub fn write(&self, report: &DeviceReport, cache: &Path) -> Result<()> {
        let file = file(report, cache);
        if let Some(folder) = file.parent() {
            samovar_files::make_folder(folder)?;
        }
        Ok(write_json(&file, self)?)
    }
}

/// Where that of a card is kept: another driver, program or processor is another certificate.
fn file(report: &DeviceReport, cache: &Path) -> PathBuf {
    let mut hash = Sha256::new();
    for part in
        [&report.choice.to_string(), &report.name, &report.driver, &processor(), env!("CARGO_PKG_VERSION")]
    {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let name: String = hash.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    cache.join("certificates").join(format!("device-{name}.json"))
}
