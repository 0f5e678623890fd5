//! Hugging Face's `preprocessor_config.json`: what it says about pixels is done or refused, never passed over.
//!
//! | key | what is taken |
//! |---|---|
//! | `size` | `longest_edge`, or `height` and `width` (stretched); another size than the model's own where its family can |
//! | `do_pad`, `pad_size` | padding to the whole canvas |
//! | `do_rescale`, `rescale_factor` | any; folded into mean and deviation |
//! | `do_normalize`, `image_mean`, `image_std` | any |
//! | `do_resize`, `resample` | resizing, bilinear |
//!
//! Keys that bear on no pixel (names of classes, training labels, formats of arrays) are left alone; so is what a file
//! switches off. All other keys are refused by name.

use samovar_geometry::{Input, ResizeRule, Size};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::interface::Preprocessing;
use crate::limits::MAX_INPUT_SIDE;

/// Keys that bear on no pixel of an image.
const WITHOUT_EFFECT: &[&str] = &[
    "_valid_kwargs_names",
    "_valid_processor_keys",
    "auto_map",
    // Has an effect with `do_center_crop` alone, which is refused.
    "crop_size",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    // Of boxes a detector is trained with, as `format`.
    "do_convert_annotations",
    // Pictures are RGB here before anything else happens.
    "do_convert_rgb",
    "feature_extractor_type",
    "format",
    "image_processor_type",
    "input_data_format",
    // Sizes of label maps in training.
    "mask_pad_size",
    "mask_resample",
    "mask_size",
    "processor_class",
    "return_tensors",
    "transformers_version",
];

/// PIL's number of bilinear resizing.
const BILINEAR: u64 = 2;

/// What a file says about pixels, where it says anything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Preprocessor {
    fit: Option<Fit>,
    normalisation: Option<Normalisation>,
}

/// Of pixels in 0..1.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Normalisation {
    mean: [f32; 3],
    std: [f32; 3],
}

/// How an image gets into the canvas.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fit {
    /// The longest side becomes that of a square canvas; padded.
    LongestSide(u32),
    /// Stretched onto the whole.
    Exact(Size<Input>),
}

impl Preprocessor {
    /// `own` is what the model does by itself, and what counts where the file says nothing.
    pub(crate) fn parse(json: &str, own: &Preprocessing) -> Result<Self> {
        Self::read(json, own).map_err(|what| Error::Config(format!("preprocessor_config.json: {what}")))
    }

    /// The canvas the file asks for.
    pub(crate) fn canvas(&self) -> Option<Size<Input>> {
        self.fit.map(|fit| match fit {
            Fit::LongestSide(side) => Size::square(side),
            Fit::Exact(size) => size,
        })
    }

    /// What a model does that would do `own` by itself, on a canvas of its own.
    pub(crate) fn applied_to(&self, own: Preprocessing) -> Preprocessing {
        let canvas = own.canvas();
        let resize = match self.fit {
            None => own.resize,
            Some(Fit::LongestSide(_)) => ResizeRule::LongestSide { target: canvas.longest_side() },
            Some(Fit::Exact(_)) => ResizeRule::Exact { width: canvas.width, height: canvas.height },
        };
        let own = Normalisation { mean: own.mean, std: own.std };
        let Normalisation { mean, std } = self.normalisation.unwrap_or(own);
        Preprocessing { resize, mean, std }
    }

    fn read(json: &str, own: &Preprocessing) -> Result<Self, String> {
        let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        // `processor_config.json` holds the same object beside those of tokenizers.
        let Some(keys) = value.get("image_processor").unwrap_or(&value).as_object() else {
            return Err("expected an object with keys such as image_mean".into());
        };
        let file = Keys(keys);
        file.refuse_unknown()?;
        if !file.flag("do_resize")?.unwrap_or(true) {
            return Err("do_resize is false; the model takes images of its own size only".into());
        }
        match file.get("resample") {
            None => {}
            Some(number) if number.as_u64() == Some(BILINEAR) => {}
            Some(other) => return Err(format!("resample is {other}; expected {BILINEAR}, bilinear")),
        }
        let fit = file.fit()?;
        file.check_padding(fit, own)?;
        Ok(Self { fit, normalisation: file.normalisation(own)? })
    }
}

/// Keys of the file; null is as good as absent.
struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(format!("{key} is {other}; expected true or false")),
        }
    }

    fn refuse_unknown(&self) -> Result<(), String> {
        const UNDERSTOOD: [&str; 10] = [
            "do_normalize",
            "do_pad",
            "do_rescale",
            "do_resize",
            "image_mean",
            "image_std",
            "pad_size",
            "resample",
            "rescale_factor",
            "size",
        ];
        for (key, value) in self.0 {
            let is_off = value.is_null() || *value == Value::Bool(false);
            let is_known = UNDERSTOOD.contains(&key.as_str()) || WITHOUT_EFFECT.contains(&key.as_str());
            if !is_known && !is_off {
                return Err(format!(
                    "`{key}` asks for something samovar does not do; remove it if it has no effect"
                ));
            }
        }
        Ok(())
    }

    fn fit(&self) -> Result<Option<Fit>, String> {
        let Some(size) = self.get("size") else { return Ok(None) };
        let refuse = || format!("size is {size}; expected longest_edge, or height and width");
        let sides = size.as_object().ok_or_else(refuse)?;
        let sides = Keys(sides);
        if sides.0.keys().any(|key| {
            !["longest_edge", "height", "width"].contains(&key.as_str()) && sides.get(key).is_some()
        }) {
            return Err(refuse());
        }
        match (sides.side("longest_edge")?, sides.side("height")?, sides.side("width")?) {
            (Some(longest), None, None) => Ok(Some(Fit::LongestSide(longest))),
            (None, Some(height), Some(width)) => Ok(Some(Fit::Exact(Size::new(width, height)))),
            _ => Err(refuse()),
        }
    }

    fn side(&self, key: &str) -> Result<Option<u32>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(side) if (1..=MAX_INPUT_SIDE as u64).contains(&side) => Ok(Some(side as u32)),
            _ => Err(format!("{key} is {value}; expected 1 to {MAX_INPUT_SIDE} pixels")),
        }
    }

    /// Padding fills what resizing leaves of the canvas, no more and no less.
    fn check_padding(&self, fit: Option<Fit>, own: &Preprocessing) -> Result<(), String> {
        let (canvas, keeps_ratio) = match fit {
            Some(Fit::LongestSide(side)) => (Size::square(side), true),
            Some(Fit::Exact(size)) => (size, false),
            None => (own.canvas(), matches!(own.resize, ResizeRule::LongestSide { .. })),
        };
        if !self.flag("do_pad")?.unwrap_or(true) {
            return match keeps_ratio {
                true => Err("do_pad is false; the model takes whole squares only".into()),
                false => Ok(()),
            };
        }
        let Some(size) = self.get("pad_size") else { return Ok(()) };
        let refuse = || format!("pad_size is {size}; expected the size images are resized to, {canvas}");
        let sides = Keys(size.as_object().ok_or_else(refuse)?);
        let padded = (sides.side("width")?, sides.side("height")?);
        if padded == (Some(canvas.width), Some(canvas.height)) { Ok(()) } else { Err(refuse()) }
    }

    /// A pixel 0..255 becomes `(pixel * factor - mean) / std`; here it is divided by 255 first.
    fn normalisation(&self, own: &Preprocessing) -> Result<Option<Normalisation>, String> {
        let factor = match self.get("rescale_factor") {
            None => 1.0 / 255.0,
            Some(value) => value
                .as_f64()
                .filter(|factor| factor.is_finite() && *factor > 0.0)
                .ok_or_else(|| format!("rescale_factor is {value}; expected a positive number"))?,
        };
        let factor = if self.flag("do_rescale")?.unwrap_or(true) { factor } else { 1.0 };
        let (mean, std) = (self.channels("image_mean")?, self.channels("image_std")?);
        let (mean, std) = match self.flag("do_normalize")?.unwrap_or(true) {
            true => (mean.unwrap_or(own.mean.map(f64::from)), std.unwrap_or(own.std.map(f64::from))),
            false => ([0.0; 3], [1.0; 3]),
        };
        // Written with the usual sixteen digits, 1/255 is not quite that.
        let exact = (factor * 255.0 - 1.0).abs() < 1e-9;
        let scale = if exact { 1.0 } else { factor * 255.0 };
        let (mean, std) = (mean.map(|mean| (mean / scale) as f32), std.map(|std| (std / scale) as f32));
        if mean.iter().any(|mean| !mean.is_finite()) || std.iter().any(|std| !std.is_finite() || *std <= 0.0)
        {
            return Err(format!(
                "mean {mean:?} and deviation {std:?} of pixels; expected numbers, the latter positive"
            ));
        }
        Ok(((mean, std) != (own.mean, own.std)).then_some(Normalisation { mean, std }))
    }

    fn channels(&self, key: &str) -> Result<Option<[f64; 3]>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let numbers =
            value.as_array().map(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        match numbers.flatten().map(<[f64; 3]>::try_from) {
            Some(Ok(channels)) => Ok(Some(channels)),
            _ => Err(format!("{key} is {value}; expected three numbers")),
        }
    }
}

#[cfg(test)]
#[path = "preprocessor_tests.rs"]
mod tests;
