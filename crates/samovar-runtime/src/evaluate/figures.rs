//! The figures of one mask, and their means.

use samovar_media::BitMask;
use samovar_media::mask::Boundary;
use serde::Serialize;

use super::options::BOUNDARY_REACH;
use crate::error::Result;

/// How well a mask agrees with the truth; both are shares, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// Intersection over union.
    pub iou: f64,
    /// Boundary F of the DAVIS evaluation, with boundaries matched within [`BOUNDARY_REACH`] pixels.
    pub boundary_f: f64,
}

/// A mask that answers are held against.
pub(super) struct Truth {
    pub(super) mask: BitMask,
    boundary: Boundary,
}

impl Truth {
    pub(super) fn new(mask: BitMask) -> Self {
        Self { boundary: Boundary::new(&mask, BOUNDARY_REACH), mask }
    }

    pub(super) fn agreement(&self, found: &BitMask) -> Result<Agreement> {
        let boundary = Boundary::new(found, BOUNDARY_REACH);
        Ok(Agreement { iou: found.iou(&self.mask)?, boundary_f: boundary.f(&self.boundary)? })
    }
}

/// An answer of the model to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AnswerFigures {
    /// How good it is.
    #[serde(flatten)]
    pub agreement: Agreement,
    /// What the model takes its IoU to be.
    pub predicted_iou: f32,
}

/// A click and the answer to it and all before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClickFigures {
    /// Column of the pixel clicked on.
    pub x: u32,
    /// Row of the pixel clicked on.
    pub y: u32,
    /// Whether it says that the object is there, or is not.
    pub positive: bool,
    /// The answer.
    #[serde(flatten)]
    pub answer: AnswerFigures,
}

/// A box and the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BoxFigures {
    /// Left, top, right, bottom in pixels of the picture, as the model was asked.
    pub bounds: [f64; 4],
    /// The answer.
    #[serde(flatten)]
    pub answer: AnswerFigures,
}

/// Everything that was measured on one mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaskFigures {
    /// The source of its picture.
    pub source: String,
    /// The picture's name in its source.
    pub picture: String,
    /// Label layer, from 0.
    pub layer: usize,
    /// Label in that layer.
    pub label: u16,
    /// Pixels of the mask.
    pub area: u64,
    /// Share of the picture that it covers.
    pub share: f64,
    /// The mask's own box: first column and row, and one past the last.
    pub bounds: [u32; 4],
    /// After each click.
    pub clicks: Vec<ClickFigures>,
    /// Clicks until an IoU is reached.
    pub clicks_to: ClicksTo,
    /// By the first click, of the three masks it may mean the one with the best IoU.
    pub best_of_three: AnswerFigures,
    /// By a box.
    #[serde(rename = "box")]
    pub boxed: BoxFigures,
    /// Without a model: the mask's own box, taken as the mask.
    pub bare_box: Agreement,
    /// Without a model: a flood fill from the first click.
    pub flood_fill: Agreement,
}

/// One kind of figure by kind of prompt: of one mask, or a mean. All are shares, 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ByPrompt {
    /// By one click.
    pub one_click: f64,
    /// By one click, of the three masks it may mean the one with the best IoU, picked by the truth.
    pub best_of_three: f64,
    /// By a box, its sides moved by up to 5 %.
    #[serde(rename = "box")]
    pub boxed: f64,
    /// After 1, 2, 3 … clicks.
    pub clicks: Vec<f64>,
    /// Without a model: the exact box itself, taken as the mask.
    pub bare_box: f64,
    /// Without a model: a flood fill from the first click, within 24 levels of its colour.
    pub flood_fill: f64,
}

impl ByPrompt {
    fn of(mask: &MaskFigures, figure: impl Fn(&Agreement) -> f64) -> Self {
        let clicks: Vec<f64> = mask.clicks.iter().map(|click| figure(&click.answer.agreement)).collect();
        Self {
            one_click: clicks.first().copied().unwrap_or(0.0),
            best_of_three: figure(&mask.best_of_three.agreement),
            boxed: figure(&mask.boxed.answer.agreement),
            clicks,
            bare_box: figure(&mask.bare_box),
            flood_fill: figure(&mask.flood_fill),
        }
    }

    fn zip(&mut self, other: &Self, f: &impl Fn(&mut f64, f64)) {
        self.clicks.resize(self.clicks.len().max(other.clicks.len()), 0.0);
        f(&mut self.one_click, other.one_click);
        f(&mut self.best_of_three, other.best_of_three);
        f(&mut self.boxed, other.boxed);
        self.clicks.iter_mut().zip(&other.clicks).for_each(|(ours, &theirs)| f(ours, theirs));
        f(&mut self.bare_box, other.bare_box);
        f(&mut self.flood_fill, other.flood_fill);
    }
}

/// Clicks it takes to reach an IoU (NoC@80, NoC@85, NoC@90).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ClicksTo {
    /// IoU 0.80.
    #[serde(rename = "80")]
    pub iou_80: f64,
    /// IoU 0.85.
    #[serde(rename = "85")]
    pub iou_85: f64,
    /// IoU 0.90.
    #[serde(rename = "90")]
    pub iou_90: f64,
}

impl ClicksTo {
    /// Of one mask, from its IoU after each click; one that is never reached counts as all clicks.
    pub(super) fn of(clicks: &[f64]) -> Self {
        let first = |least: f64| {
            clicks.iter().position(|&iou| iou >= least).map_or(clicks.len(), |index| index + 1) as f64
        };
        Self { iou_80: first(0.80), iou_85: first(0.85), iou_90: first(0.90) }
    }
}

/// IoU and boundary F by kind of prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// IoU.
    #[serde(flatten)]
    pub iou: ByPrompt,
    /// Clicks until the IoU is reached; one that never is counts as all clicks.
    pub clicks_to: ClicksTo,
    /// Boundary F within [`BOUNDARY_REACH`] pixels.
    pub boundary_f: ByPrompt,
}

impl Figures {
    fn of(mask: &MaskFigures) -> Self {
        Self {
            iou: ByPrompt::of(mask, |agreement| agreement.iou),
            clicks_to: mask.clicks_to,
            boundary_f: ByPrompt::of(mask, |agreement| agreement.boundary_f),
        }
    }

    /// Mean of figures; zeros for none.
    pub fn mean<'a>(all: impl Iterator<Item = &'a Figures>) -> Self {
        let mut sum = Sum::default();
        all.for_each(|one| sum.add(one));
        sum.mean()
    }

    fn zip(&mut self, other: &Figures, f: &impl Fn(&mut f64, f64)) {
        self.iou.zip(&other.iou, f);
        f(&mut self.clicks_to.iou_80, other.clicks_to.iou_80);
        f(&mut self.clicks_to.iou_85, other.clicks_to.iou_85);
        f(&mut self.clicks_to.iou_90, other.clicks_to.iou_90);
        self.boundary_f.zip(&other.boundary_f, f);
    }
}

#[derive(Debug, Default)]
struct Sum {
    figures: Figures,
    count: usize,
}

impl Sum {
    fn add(&mut self, one: &Figures) {
        self.count += 1;
        self.figures.zip(one, &|sum, value| *sum += value);
    }

    fn mean(&self) -> Figures {
        let mut mean = self.figures.clone();
        mean.zip(&self.figures, &|sum, _| *sum /= self.count.max(1) as f64);
        mean
    }
}

/// The means of one source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceFigures {
    /// Pictures with masks.
    pub pictures: usize,
    /// Masks.
    pub masks: usize,
    /// Means over the masks.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The sums of one source, which do not grow with its masks.
#[derive(Debug, Default)]
pub(super) struct SourceSums {
    pictures: usize,
    sum: Sum,
}

impl SourceSums {
    /// Adds a picture with masks.
    pub(super) fn add(&mut self, masks: &[MaskFigures]) {
        self.pictures += 1;
        masks.iter().for_each(|mask| self.sum.add(&Figures::of(mask)));
    }

    pub(super) fn means(&self) -> SourceFigures {
        SourceFigures { pictures: self.pictures, masks: self.sum.count, figures: self.sum.mean() }
    }
}
