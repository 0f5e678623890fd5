//! The figures of one mask, and their means.

use serde::Serialize;

/// IoU by kind of prompt: of one mask, or a mean. All are shares, 0 to 1, but [`Figures::clicks_to`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// By one click.
    pub one_click: f64,
    /// By one click, the best of the three masks it may mean, picked by the truth.
    pub best_of_three: f64,
    /// By a box, its sides moved by up to 5 %.
    #[serde(rename = "box")]
    pub boxed: f64,
    /// After 1, 2, 3 … clicks.
    pub clicks: Vec<f64>,
    /// Clicks until the IoU is reached; one that never is counts as all clicks.
    pub clicks_to: ClicksTo,
    /// Without a model: the exact box itself, taken as the mask.
    pub bare_box: f64,
    /// Without a model: a flood fill from the first click, within 24 levels of its colour.
    pub flood_fill: f64,
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
    /// Of one mask, from its IoU after each click.
    pub(super) fn of(clicks: &[f64]) -> Self {
        let first = |least: f64| {
            clicks.iter().position(|&iou| iou >= least).map_or(clicks.len(), |index| index + 1) as f64
        };
        Self { iou_80: first(0.80), iou_85: first(0.85), iou_90: first(0.90) }
    }
}

impl Figures {
    /// Mean of figures with equally many clicks; zeros for none.
    pub fn mean<'a>(all: impl Iterator<Item = &'a Figures>) -> Self {
        let mut mean = Figures::default();
        let mut count = 0.0;
        for one in all {
            count += 1.0;
            mean.clicks.resize(one.clicks.len().max(mean.clicks.len()), 0.0);
            mean.zip(one, |sum, value| *sum += value);
        }
        let sums = mean.clone();
        mean.zip(&sums, |sum, _| *sum /= f64::max(count, 1.0));
        mean
    }

    fn zip(&mut self, other: &Figures, f: impl Fn(&mut f64, f64)) {
        f(&mut self.one_click, other.one_click);
        f(&mut self.best_of_three, other.best_of_three);
        f(&mut self.boxed, other.boxed);
        self.clicks.iter_mut().zip(&other.clicks).for_each(|(ours, &theirs)| f(ours, theirs));
        f(&mut self.clicks_to.iou_80, other.clicks_to.iou_80);
        f(&mut self.clicks_to.iou_85, other.clicks_to.iou_85);
        f(&mut self.clicks_to.iou_90, other.clicks_to.iou_90);
        f(&mut self.bare_box, other.bare_box);
        f(&mut self.flood_fill, other.flood_fill);
    }
}

/// The means of one source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceFigures {
    /// Pictures with masks.
    pub pictures: usize,
    /// Masks.
    pub masks: usize,
    /// Means over the masks.
    #[serde(flatten)]
    pub figures: Figures,
}

impl SourceFigures {
    /// Of the figures of each picture's masks.
    pub(super) fn of(pictures: &[Vec<Figures>]) -> Self {
        let masks = || pictures.iter().flatten();
        Self { pictures: pictures.len(), masks: masks().count(), figures: Figures::mean(masks()) }
    }
}
