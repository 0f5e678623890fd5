//! The parameters of the generator: one table for the struct, its defaults, the checks, the help and `set` by name.

use samovar_models::Recommendations;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Model;
use crate::picture_bytes::{PictureUse, PictureWork};

/// Most points along one side.
const MAX_POINTS_PER_SIDE: usize = 1024;

/// Most layers of crops: the fifth alone has 1,024 crops, each of which is encoded.
const MAX_CROP_LAYERS: usize = 5;

/// Masks that a point is asked for, where a model does not choose the best itself.
const MASKS_PER_POINT: usize = 3;

/// Shares of the masks of photographs that pass the recommended thresholds, the predicted IoU's and the stability score's, and of
/// those of a crop that stay when repetitions go. Of nano's masks 17 % pass both in the mean, and over 28 % in one picture of
/// four, of which what is too much counts as it comes.
const SURE: f64 = 0.4;
const STABLE: f64 = 0.7;
const DIFFERENT: f64 = 0.3;

/// One parameter of [`AutomaticOptions`], for help and command lines.
pub struct Parameter {
    /// As upstream and the struct's field call it.
    pub name: &'static str,
    /// What it does, one line per entry.
    pub help: &'static [&'static str],
    /// Values it may have.
    pub range: &'static str,
    /// The value in some options, as text.
    pub get: fn(&AutomaticOptions) -> String,
    set: fn(&mut AutomaticOptions, &str) -> Option<()>,
    is_sound: fn(&AutomaticOptions) -> bool,
}

macro_rules! parameters {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $range:literal, $is_sound:expr;)+) => {
        /// How masks are generated, under the names and with the defaults of upstream's `SamAutomaticMaskGenerator`
        /// (`segment_anything/automatic_mask_generator.py`), but for `points_per_batch`, on which at
        /// most the last bits of a mask depend.
        /// [`AutomaticOptions::for_model`] has defaults for a model.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct AutomaticOptions {
            $($(#[doc = $doc])+ pub $name: $type,)+
            /// Points to ask instead of a regular grid, as (x, y) in 0..1 of the crop: one list for the whole image, then
            /// one per layer of crops. `points_per_side` and `crop_n_points_downscale_factor` are then without effect.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub point_grids: Option<Vec<Vec<[f64; 2]>>>,
        }

        impl Default for AutomaticOptions {
            fn default() -> Self {
                Self { $($name: $default,)+ point_grids: None }
            }
        }

        /// All parameters that are one number, in the order of the struct.
        pub const PARAMETERS: &[Parameter] = &[$(Parameter {
            name: stringify!($name),
            help: &[$($doc),+],
            range: $range,
            get: |options| options.$name.to_string(),
            set: |options, text| {
                options.$name = text.trim().parse().ok()?;
                Some(())
            },
            is_sound: |options| {
                let is_sound: fn($type) -> bool = $is_sound;
                is_sound(options.$name)
            },
        }),+];
    };
}

parameters! {
    /// Points along each side of the image; their square is asked.
    points_per_side: usize = 32, "1 to 1024", |points| (1..=MAX_POINTS_PER_SIDE).contains(&points);
    /// Points that are decoded together; memory grows with it, neither masks nor time depend on it, so it is less than
    /// upstream's 64.
    points_per_batch: usize = 8, "1 to 1024", |points| (1..=1024).contains(&points);
    /// Masks of a lower predicted IoU are dropped; 0 keeps all.
    pred_iou_thresh: f32 = 0.88, "0 to 1", |threshold| (0.0..=1.0).contains(&threshold);
    /// Masks of a lower stability score are dropped; 0 keeps all.
    stability_score_thresh: f32 = 0.95, "0 to 1", |threshold| (0.0..=1.0).contains(&threshold);
    /// The stability score is the IoU of the masks whose logits are over this and over minus this.
    stability_score_offset: f32 = 1.0, "0 or more", |offset| offset.is_finite() && offset >= 0.0;
    /// Of two masks of a crop whose boxes overlap with more than this IoU the better is kept.
    box_nms_thresh: f64 = 0.7, "0 to 1", |threshold| (0.0..=1.0).contains(&threshold);
    /// Layers of crops that are segmented too; layer i has 2^i x 2^i of them, and each is encoded.
    crop_n_layers: usize = 0, "0 to 5", |layers| layers <= MAX_CROP_LAYERS;
    /// Of two masks of different crops whose boxes overlap with more than this IoU that of the smaller crop is kept.
    crop_nms_thresh: f64 = 0.7, "0 to 1", |threshold| (0.0..=1.0).contains(&threshold);
    /// Overlap of the crops of the first layer, as a share of the image's shorter side; deeper layers halve it.
    crop_overlap_ratio: f64 = 512.0 / 1500.0, "0 to below 1", |ratio| (0.0..1.0).contains(&ratio);
    /// Each layer of crops has this many times fewer points per side than the one before.
    crop_n_points_downscale_factor: usize = 1, "1 or more", |factor| factor >= 1;
    /// Holes and islands of fewer pixels are removed; 0 leaves masks as they are.
    min_mask_region_area: u32 = 0, "0 or more", |_| true;
}

impl AutomaticOptions {
    /// Defaults for a model: upstream's for SAM and MobileSAM, and for nano what its scores call for.
    pub fn for_model(model: &Model) -> Self {
        Self::recommended(&model.recommendations())
    }

    /// Defaults as a model's authors recommend them (`ModelConfig::recommendations`).
    pub fn recommended(recommendations: &Recommendations) -> Self {
        let thresholds = &recommendations.everything;
        Self {
            points_per_side: thresholds.points_per_side,
            pred_iou_thresh: thresholds.pred_iou_thresh,
            stability_score_thresh: thresholds.stability_score_thresh,
            stability_score_offset: thresholds.stability_score_offset,
            ..Self::default()
        }
    }

    /// What is asked of a picture in which these options look for masks, of which `made` is made: the masks that photographs
    /// usually have at once, before repetitions go. Where thresholds let everything through these are all.
    pub fn work(&self, made: PictureUse, recommendations: &Recommendations) -> PictureWork {
        let per_point = if recommendations.best_first { 1 } else { MASKS_PER_POINT };
        let share = |threshold: f32, passing: f64| if threshold <= 0.0 { 1.0 } else { passing };
        let passing = share(self.pred_iou_thresh, SURE) * share(self.stability_score_thresh, STABLE);
        let of_crop = |layer: usize| {
            let points = match &self.point_grids {
                Some(grids) => grids.get(layer).map_or(0, Vec::len),
                None => self.points_of_layer(layer).pow(2),
            };
            (points * per_point) as f64 * passing
        };
        let all =
            (1..=self.crop_n_layers).map(|layer| of_crop(layer) * DIFFERENT * f64::from(1u32 << (2 * layer)));
        PictureWork { made, masks_held: (of_crop(0) + all.sum::<f64>()).ceil() as usize }
    }

    /// What [`AutomaticOptions::fast`] does, in words.
    pub const FAST_MODE: &str =
        "half as many points per side (a quarter of all), no crops, no removal of small regions";

    /// Fewer questions, for videos and first looks; see [`AutomaticOptions::FAST_MODE`].
    #[must_use]
    pub fn fast(self) -> Self {
        let points_per_side = (self.points_per_side / 2).max(1);
        Self { points_per_side, crop_n_layers: 0, min_mask_region_area: 0, ..self }
    }

    /// Sets a parameter by its name, `-` and `_` being the same.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such parameter, or the text is no value of it.
    pub fn set(&mut self, name: &str, text: &str) -> Result<()> {
        let name = name.replace('-', "_");
        let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.name == name) else {
            let known = PARAMETERS.iter().map(|parameter| parameter.name).collect::<Vec<_>>().join(", ");
            return Err(Error::usage(format!("no parameter is called `{name}`; there are {known}")));
        };
        let mut changed = self.clone();
        (parameter.set)(&mut changed, text).ok_or_else(|| parameter.refuse(text))?;
        parameter.check(&changed)?;
        *self = changed;
        Ok(())
    }

    /// Checks that all parameters are in their ranges and leave at least one point per crop.
    ///
    /// # Errors
    /// [`Error::Usage`], naming the parameter.
    pub fn check(&self) -> Result<()> {
        PARAMETERS.iter().try_for_each(|parameter| parameter.check(self))?;
        if let Some(grids) = &self.point_grids {
            if grids.len() <= self.crop_n_layers {
                return Err(Error::usage(format!(
                    "point_grids has {} lists of points; {} are needed, one for the image and one per layer of crops",
                    grids.len(),
                    self.crop_n_layers + 1
                )));
            }
            let most = MAX_POINTS_PER_SIDE * MAX_POINTS_PER_SIDE;
            if let Some(grid) = grids.iter().find(|grid| grid.len() > most) {
                return Err(Error::usage(format!(
                    "{} points in one of point_grids; at most {most}",
                    grid.len()
                )));
            }
            let outside = |point: &&[f64; 2]| !point.iter().all(|share| (0.0..=1.0).contains(share));
            if let Some([x, y]) = grids.iter().flatten().find(outside) {
                let what =
                    format!("point ({x}, {y}) in point_grids; x and y are shares of the image, 0 to 1");
                return Err(Error::usage(what));
            }
            return Ok(());
        }
        match (0..=self.crop_n_layers).find(|&layer| self.points_of_layer(layer) == 0) {
            Some(layer) => Err(Error::usage(format!(
                "crop_n_points_downscale_factor {} leaves no points for layer {layer} of crops; points_per_side is {}",
                self.crop_n_points_downscale_factor, self.points_per_side
            ))),
            None => Ok(()),
        }
    }

    /// Points per side of the regular grid in a layer of crops, 0 being the whole image.
    pub(super) fn points_of_layer(&self, layer: usize) -> usize {
        let downscale =
            (0..layer).fold(1usize, |all, _| all.saturating_mul(self.crop_n_points_downscale_factor));
        self.points_per_side / downscale.max(1)
    }
}

impl Parameter {
    fn check(&self, options: &AutomaticOptions) -> Result<()> {
        if (self.is_sound)(options) { Ok(()) } else { Err(self.refuse(&(self.get)(options))) }
    }

    fn refuse(&self, value: &str) -> Error {
        Error::usage(format!("{} is `{value}`; expected {}", self.name, self.range))
    }
}
