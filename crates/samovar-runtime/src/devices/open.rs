//! From a choice to an engine.

use std::path::Path;
use std::sync::Arc;

use samovar_wgpu::{WgpuKernels, WgpuOptions};

use super::certificate::DeviceCertificate;
use super::choice::DeviceChoice;
use super::list::{DeviceKind, DeviceList, DeviceReport, has_card, list};
use crate::engine::{Engine, Options};
use crate::error::{Error, Result};

/// How a device is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opening<'a> {
    /// Which.
    pub choice: DeviceChoice,
    /// Whether a card without a good certificate may be used, if it is named.
    pub is_forced: bool,
    /// The folder for what can be made again, where certificates are kept.
    pub cache: Option<&'a Path>,
}

/// A device that was opened.
pub struct Opened {
    /// The engine on it.
    pub engine: Engine,
    /// What to tell: which card computes, or why none does. Nothing where there is none and none was asked for.
    pub notes: Vec<String>,
}

/// Opens a device. A card is measured first where nobody has done that; the options' budget is then that of its memory.
///
/// # Errors
/// [`Error::Device`] for a card that is named and is not there, cannot be used or has no good certificate; as [`Engine::new`].
pub fn open(opening: &Opening<'_>, options: Options) -> Result<Opened> {
    match opening.choice {
        DeviceChoice::Cpu => processors(options, Vec::new()),
        DeviceChoice::Auto if !has_card() => processors(options, Vec::new()),
        DeviceChoice::Auto => best(opening, options, &list()),
        DeviceChoice::Card { .. } => named(opening, options, &list()),
    }
}

fn processors(options: Options, notes: Vec<String>) -> Result<Opened> {
    Ok(Opened { engine: Engine::new(options)?, notes })
}

/// The best card with a good certificate.
fn best(opening: &Opening<'_>, options: Options, found: &DeviceList) -> Result<Opened> {
    let mut cards: Vec<&DeviceReport> =
        found.devices.iter().filter(|one| one.kind != DeviceKind::Software).collect();
    cards.sort_by_key(|one| one.kind);
    let mut notes = Vec::new();
    for card in cards {
        let opened = on(card, &options).and_then(|engine| {
            let (certificate, mut told) = certificate(card, &engine, opening.cache, &options)?;
            match certificate.against() {
                Some(why) => Err(refusal(card, &why)),
                None => {
                    told.push(format!("computing on {} ({})", card.name, card.choice));
                    Ok((engine, told))
                }
            }
        });
        match opened {
            Ok((engine, told)) => {
                notes.extend(told);
                return Ok(Opened { engine, notes });
            }
            Err(error) => notes.push(error.to_string()),
        }
    }
    if !notes.is_empty() {
        notes.push("computing on the processors".to_owned());
    }
    processors(options, notes)
}

/// The card that was named.
fn named(opening: &Opening<'_>, options: Options, found: &DeviceList) -> Result<Opened> {
    let Some(card) = found.devices.iter().find(|one| one.choice == opening.choice) else {
        let there: Vec<String> =
            found.devices.iter().map(|one| format!("{} ({})", one.choice, one.name)).collect();
        let what = match &found.absent {
            Some(absent) => absent.clone(),
            None => format!("there is no such device; there are cpu, {}", there.join(", ")),
        };
        return Err(Error::Device { device: opening.choice.to_string(), what });
    };
    let engine = on(card, &options)?;
    let mut notes = vec![format!("computing on {} ({})", card.name, card.choice)];
    if opening.is_forced {
        return Ok(Opened { engine, notes });
    }
    if card.kind == DeviceKind::Software {
        return Err(refusal(
            card,
            "it is a driver for tests that computes on the processors, slower than --device cpu",
        ));
    }
    let (certificate, told) = certificate(card, &engine, opening.cache, &options)?;
    if !certificate.refused.is_empty() {
        return Err(refusal(card, &certificate.refused.join("; ")));
    }
    notes.extend(told);
    Ok(Opened { engine, notes })
}

fn refusal(card: &DeviceReport, why: &str) -> Error {
    let what = format!("{} is not used: {why} (--force-device uses it nevertheless)", card.name);
    Error::Device { device: card.choice.to_string(), what }
}

/// An engine on a card.
pub(super) fn on(card: &DeviceReport, options: &Options) -> Result<Engine> {
    let failed = |what: String| Error::Device { device: card.choice.to_string(), what };
    if let Some(why) = &card.unusable {
        return Err(failed(format!("{}: {why}", card.name)));
    }
    let kernels =
        WgpuKernels::open(card.adapter, WgpuOptions { bounds_checks: false, ..WgpuOptions::default() });
    let kernels = Arc::new(kernels.map_err(|error| failed(error.to_string()))?);
    let most = usize::try_from(kernels.budget_bytes()).unwrap_or(usize::MAX);
    let budget_bytes = options.memory_budget_bytes.map_or(most, |asked| asked.min(most));
    Engine::on(kernels, Options { memory_budget_bytes: Some(budget_bytes), ..options.clone() })
}

/// The card's certificate, as it was kept or measured now; and what to tell of that.
fn certificate(
    card: &DeviceReport,
    engine: &Engine,
    cache: Option<&Path>,
    options: &Options,
) -> Result<(DeviceCertificate, Vec<String>)> {
    if let Some(kept) = cache.and_then(|cache| DeviceCertificate::read(card, cache)) {
        return Ok((kept, Vec::new()));
    }
    let measured = measured(card, engine, options)?;
    let mut told = vec![format!("measured {} for the first time", card.name)];
    if let Some(Err(error)) = cache.map(|cache| measured.write(card, cache)) {
        told.push(format!("its certificate could not be kept: {error}"));
    }
    Ok((measured, told))
}

/// Measures a card anew and keeps that.
///
/// # Errors
/// As [`open`].
pub fn measure(card: &DeviceReport, cache: Option<&Path>, options: &Options) -> Result<DeviceCertificate> {
    let measured = measured(card, &on(card, options)?, options)?;
    if let Some(cache) = cache {
        measured.write(card, cache)?;
    }
    Ok(measured)
}

fn measured(card: &DeviceReport, engine: &Engine, options: &Options) -> Result<DeviceCertificate> {
    // Nothing of the caller's: budgets and events are for its work.
    let beside = Engine::new(Options { threads: options.threads, simd: options.simd, ..Options::default() })?;
    DeviceCertificate::measure(card, engine, &beside)
}
