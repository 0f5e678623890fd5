//! What detectors need: softmax of rows, the largest numbers of rows, rows by their places, attention to places of maps.

use samovar_tensor::{DeformableAttention, Result, Rows, Tensor, checks};

use crate::args::{DeformableArgs, GatherArgs, SoftmaxArgs, TopKArgs};
use crate::kernel_names::KernelName;
use crate::work::Work;

/// Rows of a block of the softmax, a warp for each.
const SOFTMAX_ROWS: u64 = 8;

impl Work {
    pub(crate) fn softmax(&self, x: &Tensor, out: &Tensor) -> Result<()> {
        checks::result("softmax", out, x.shape())?;
        if out.shape().is_empty() {
            return Ok(());
        }
        let args = SoftmaxArgs {
            x: self.address(x)?,
            out: self.address(out)?,
            rows: x.shape().rows() as u64,
            columns: self.number(x.shape().channels())?,
            pad: 0,
        };
        let blocks = args.rows.div_ceil(SOFTMAX_ROWS);
        // SAFETY: operands are this device's, and as large as the shapes say that were checked.
        unsafe { self.context.launch(KernelName::Softmax, [blocks, 1, 1], 0, &args) }
    }

    pub(crate) fn top_k(&self, x: &Tensor, k: usize, out: &Tensor) -> Result<()> {
        checks::result("top_k", out, &checks::top_k(x, k)?)?;
        let [columns, k] = self.numbers([x.shape().channels(), k])?;
        let count = x.shape().len();
        let args = TopKArgs { x: self.address(x)?, out: self.address(out)?, count: count as u64, columns, k };
        // SAFETY: as above.
        unsafe { self.each(KernelName::TopK, count, &args) }
    }

    pub(crate) fn gather_rows(&self, x: &Tensor, places: &Rows, out: &Tensor) -> Result<()> {
        const OP: &str = "gather_rows";
        let [_, count, _] = out.shape().fixed(OP)?;
        checks::result(OP, out, &checks::gather_rows(x, places, count)?)?;
        let [x_batch, rows, channels] = self.numbers(x.shape().fixed(OP)?)?;
        let [gathered, places_stride] = self.numbers([count, places.stride()])?;
        let args = GatherArgs {
            x: self.address(x)?,
            places: self.address(places.tensor)? + 4 * places.first_column as u64,
            out: self.address(out)?,
            count: out.shape().len() as u64,
            gathered,
            channels,
            rows,
            x_batch,
            places_stride,
            pad: 0,
        };
        // SAFETY: as above.
        unsafe { self.each(KernelName::GatherRows, out.shape().len(), &args) }
    }

    pub(crate) fn deformable_attention(&self, a: &DeformableAttention, out: &Tensor) -> Result<()> {
        const OP: &str = "deformable_attention";
        checks::result(OP, out, &checks::deformable_attention(a)?)?;
        let [_, queries, columns] = out.shape().fixed(OP)?;
        let points = a.maps.iter().map(|map| map.points).sum();
        let sizes = [queries, a.heads, columns / a.heads, a.values.dims()[1], points];
        let [queries, heads, channels, cells, points] = self.numbers(sizes)?;
        let [offsets_stride, logits_stride] = self.numbers([a.offsets.stride(), a.logits.stride()])?;
        let mut args = DeformableArgs {
            values: self.address(a.values)?,
            offsets: self.address(a.offsets.tensor)? + 4 * a.offsets.first_column as u64,
            logits: self.address(a.logits.tensor)? + 4 * a.logits.first_column as u64,
            boxes: self.address(a.boxes)?,
            out: self.address(out)?,
            count: out.shape().len() as u64,
            queries,
            heads,
            channels,
            cells,
            points,
            offsets_stride,
            logits_stride,
            ..DeformableArgs::default()
        };
        for map in a.maps {
            let of_map = self.numbers([map.rows, map.columns, map.points])?;
            [args.rows, args.columns, args.map_points] = of_map;
            // SAFETY: as above.
            unsafe { self.each(KernelName::DeformableAttention, out.shape().len(), &args)? };
            args.first_point += args.map_points;
            args.first_cell += args.rows * args.columns;
            args.add = 1;
        }
        Ok(())
    }
}
