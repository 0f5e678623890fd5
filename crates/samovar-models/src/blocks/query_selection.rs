//! Which cells of an encoder's maps become the queries of a decoder: those with the best class scores, each with a box around it.
//! (Two-stage Deformable DETR; `DFINETransformer._get_decoder_input` upstream.)

use samovar_tensor::{Activation, BinaryOp, Device, Epilogue, LayerNorm, Linear, Rows, SampledMap, Tensor};

use super::loader::Loader;
use super::mlp::{Head, HeadConfig};
use crate::error::Result;

/// Side of the box around a cell of the finest map, as a share of the image; every coarser map doubles it.
const SIDE: f64 = 0.05;
/// Boxes whose centre or side is nearer than this to 0 or 1 are none.
const MARGIN: f64 = 0.01;
/// Logit of a box that is none: 1 behind a sigmoid, whatever is added.
const BEYOND: f32 = 1e6;

pub(crate) struct QuerySelection {
    /// 1 for cells with a box and 0 for others, `[cells, C]`.
    valid: Tensor,
    /// Logits of the boxes, `[1, cells, 4]`.
    anchors: Tensor,
    project: Linear,
    norm: LayerNorm,
    scores: Linear,
    boxes: Head,
    queries: usize,
}

/// What a decoder starts from.
pub(crate) struct Queries {
    /// `[B, Q, C]`
    pub(crate) content: Tensor,
    /// `[B, Q, 4]`, logits of centre x, centre y, width, height.
    pub(crate) boxes: Tensor,
}

impl QuerySelection {
    pub(crate) fn load(
        loader: &Loader,
        maps: &[SampledMap],
        channels: usize,
        classes: usize,
        queries: usize,
        epsilon: f32,
    ) -> Result<Self> {
        let cells: usize = maps.iter().map(|map| map.rows * map.columns).sum();
        let anchors = || maps.iter().enumerate().flat_map(|(level, map)| anchors_of(*map, level));
        let head = HeadConfig {
            inputs: channels,
            hidden: channels,
            outputs: 4,
            depth: 3,
            last: Activation::Identity,
        };
        let _copies = loader.copies(2, cells * (channels + 4))?;
        Ok(Self {
            valid: loader.constant(&[cells, channels], || {
                let of = |anchor: Option<[f32; 4]>| f32::from(u8::from(anchor.is_some()));
                Ok(anchors().flat_map(|anchor| std::iter::repeat_n(of(anchor), channels)).collect())
            })?,
            anchors: loader.constant(&[1, cells, 4], || {
                Ok(anchors().flat_map(|anchor| anchor.unwrap_or([BEYOND; 4])).collect())
            })?,
            project: loader.linear("enc_output.0", channels, channels)?,
            norm: loader.layer_norm("enc_output.1", channels, epsilon)?,
            scores: loader.linear("enc_score_head", channels, classes)?,
            boxes: Head::load_numbered(&loader.at("enc_bbox_head"), head)?,
            queries,
        })
    }

    /// The queries of `cells: [B, N, C]` of all maps.
    pub(crate) fn forward(&self, device: &Device, cells: &Tensor) -> Result<Queries> {
        let [batch, count, _] = cells.shape().fixed("query selection")?;
        let valid = device.binary(BinaryOp::Multiply, cells, &self.valid, Activation::Identity)?;
        let projected = device.linear(&valid, &self.project, &Epilogue::NONE)?;
        drop(valid);
        let content = device.layer_norm(&projected, &self.norm, Activation::Identity)?;
        drop(projected);
        let scores = device.linear(&content, &self.scores, &Epilogue::NONE)?;
        // The best class of each cell, and the best cells.
        let best = device.slice(&device.top_k(&scores, 1)?, 2, 0, 1)?;
        drop(scores);
        let chosen = device.top_k(&best.reshape([batch, count])?, self.queries)?;
        let places = Rows::columns(&chosen, self.queries);
        let content = device.gather_rows(&content, places, self.queries)?;
        let anchors = device.gather_rows(&self.anchors, places, self.queries)?;
        let boxes = self.boxes.forward_then_add(device, &content, Some(&anchors))?;
        Ok(Queries { content, boxes })
    }
}

/// Logits of the boxes around the cells of a map, row by row.
fn anchors_of(map: SampledMap, level: usize) -> impl Iterator<Item = Option<[f32; 4]>> {
    let side = SIDE * 2f64.powi(level as i32);
    let cells = (0..map.rows).flat_map(move |row| (0..map.columns).map(move |column| (row, column)));
    cells.map(move |(row, column)| {
        let middle = |index: usize, cells: usize| (index as f64 + 0.5) / cells as f64;
        let anchor = [middle(column, map.columns), middle(row, map.rows), side, side];
        let inside = anchor.iter().all(|&share| share > MARGIN && share < 1.0 - MARGIN);
        inside.then(|| anchor.map(|share| (share / (1.0 - share)).ln() as f32))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_stand_in_the_middle_of_cells_and_keep_off_the_border() {
        let of = |rows, columns, level| {
            anchors_of(SampledMap { rows, columns, points: 1 }, level).collect::<Vec<_>>()
        };
        let share = |logit: f32| 1.0 / (1.0 + (-f64::from(logit)).exp());
        let small = of(2, 4, 1);
        assert_eq!(small.len(), 8);
        let [x, y, width, height] = small[6].unwrap().map(share);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} instead of {b}");
        near(x, 2.5 / 4.0);
        near(y, 0.75);
        near(width, 0.1);
        near(height, 0.1);
        // Of 80 cells the outermost are nearer to the border than a hundredth; of 40 none is.
        let valid = |anchors: Vec<Option<[f32; 4]>>| anchors.iter().flatten().count();
        assert_eq!((valid(of(80, 80, 0)), valid(of(40, 40, 1)), valid(of(20, 20, 2))), (78 * 78, 1600, 400));
        // A box larger than the image is none.
        assert_eq!(valid(of(4, 4, 5)), 0);
    }
}
