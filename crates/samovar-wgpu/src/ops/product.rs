//! The tiled product that layers, convolutions and attention's folded matrices share.

use samovar_tensor::{Error, Precision, Result, Tensor};

use super::ending::Ending;
use crate::backend::{Backend, SCRATCH_BYTES, word};
use crate::operand::Operand;
use crate::pack::WgpuPacked;
use crate::source::Shader;

/// What is on the left: rows of numbers.
pub(super) struct Left {
    pub(super) x: Operand,
    pub(super) batches: usize,
    /// Rows of a batch entry.
    pub(super) rows: usize,
    /// Numbers of a row.
    pub(super) terms: usize,
    /// What rows are made of, if they are what lies under a kernel.
    pub(super) map: Option<Map>,
}

/// A map and the kernel that goes over it.
#[derive(Clone, Copy)]
pub(super) struct Map {
    pub(super) inputs: usize,
    /// height, width, inputs, out_height, out_width, kernel, stride, padding, dilation
    pub(super) params: [u32; 9],
}

impl Left {
    /// LEFT of shaders.
    fn choice(&self) -> (&'static str, u32) {
        let of_four = self.map.map_or(self.terms, |map| map.inputs);
        let is_vector = of_four.is_multiple_of(4) && self.x.is_aligned();
        ("LEFT", 2 * u32::from(self.map.is_some()) + u32::from(is_vector))
    }
}

/// What is on the right: rows of numbers, one per column of the result.
pub(super) enum Right<'a> {
    Packed(&'a WgpuPacked),
    /// f32 as it lies in a tensor; with a batch entry of the left one of its own, or all with the first.
    Plain {
        w: Operand,
        is_batched: bool,
    },
}

/// Sides of the tile that a workgroup makes.
#[derive(Clone, Copy, PartialEq)]
struct Tile {
    rows: usize,
    columns: usize,
}

impl Tile {
    const SMALL: Tile = Tile { rows: 16, columns: 64 };
    const MIDDLE: Tile = Tile { rows: 64, columns: 64 };
    const LARGE: Tile = Tile { rows: 128, columns: 128 };

    /// Bytes that a workgroup shares.
    const fn shared_bytes(self) -> usize {
        16 * (self.rows + self.columns + 8) * 4
    }

    /// Large tiles read less, if there are enough of them for all of a card.
    fn of(backend: &Backend, batches: usize, rows: usize, columns: usize) -> Self {
        const ENOUGH: usize = 64;
        let large = batches * rows.div_ceil(Self::LARGE.rows) * columns.div_ceil(Self::LARGE.columns);
        let shared_bytes = backend.gpu().limits.max_compute_workgroup_storage_size as usize;
        if rows <= Self::SMALL.rows {
            Self::SMALL
        } else if large >= ENOUGH
            && columns >= Self::LARGE.columns
            && shared_bytes >= Self::LARGE.shared_bytes()
        {
            Self::LARGE
        } else {
            Self::MIDDLE
        }
    }

    /// TILE_M, TILE_N, ROWS and COLUMNS of shaders.
    fn choices(self) -> [(&'static str, u32); 4] {
        let (rows, columns) = (word(self.rows), word(self.columns));
        [("TILE_M", rows), ("TILE_N", columns), ("ROWS", rows / 16), ("COLUMNS", columns / 16)]
    }
}

/// `out[b] = ending(left[b] rightᵀ)`, `[batches, rows, columns]`.
pub(super) fn product(
    backend: &Backend,
    op: &'static str,
    left: &Left,
    right: &Right,
    columns: usize,
    ending: &Ending,
    out: &Tensor,
) -> Result<()> {
    let &Left { batches, rows, terms, .. } = left;
    if batches * rows * columns == 0 {
        return Ok(());
    }
    let out_operand = backend.operand(out)?;
    let tile = Tile::of(backend, batches, rows, columns);
    let (w, w_row, w_batch, choice) = match right {
        Right::Packed(packed) => (
            weights(backend, op, packed, columns, terms)?,
            packed.row,
            0,
            match packed.precision {
                Precision::F32 => 1,
                Precision::F16 => 2,
                Precision::Bf16 => 3,
                Precision::Int8 => 4,
            },
        ),
        Right::Plain { w, is_batched } => {
            let step = if *is_batched { columns * terms } else { 0 };
            (w.clone(), terms, step, u32::from(terms.is_multiple_of(4) && w.is_aligned()))
        }
    };
    let params = |tiles: [usize; 2], row_first: usize| -> Vec<u32> {
        let [bias_first, residual_first, residual_len] = ending.params();
        let mut params = vec![word(rows), word(columns), word(terms)];
        params.extend([left.x.first, word(rows * terms), w.first, word(w_batch), word(w_row)]);
        params.extend([bias_first, residual_first, residual_len]);
        params.extend([out_operand.first, word(rows * columns)]);
        params.extend([word(tiles[0]), word(tiles[1]), word(row_first)]);
        params.extend(left.map.map_or([0; 9], |map| map.params));
        params
    };
    let column_tiles = columns.div_ceil(tile.columns);
    let operations = |rows: usize| 2 * (batches * rows * columns) as u64 * terms as u64;
    let mut choices = vec![left.choice()];
    choices.extend(tile.choices());
    choices.extend(ending.choices());
    if choice < 4 {
        choices.push(("RIGHT", choice));
        let row_tiles = rows.div_ceil(tile.rows);
        let groups = (batches * row_tiles * column_tiles) as u64;
        let operands = [&left.x, &w, &ending.bias, &ending.residual, &out_operand];
        let params = params([row_tiles, column_tiles], 0);
        return backend.launch(Shader::Product, &choices, &operands, &params, groups, operations(rows));
    }
    let Right::Packed(WgpuPacked { scales: Some(scales), .. }) = right else {
        return Err(backend.gpu().failure("8-bit weights without scales"));
    };
    let (scales, statistics) = (backend.operand(scales)?, backend.scratch()?);
    let scales = &scales;
    // As many rows at a time as scratch memory has statistics for.
    let most_rows = (SCRATCH_BYTES / 16) as usize;
    for row_first in (0..rows).step_by(most_rows) {
        let count = most_rows.min(rows - row_first);
        let row_tiles = count.div_ceil(tile.rows);
        let params = params([row_tiles, column_tiles], row_first);
        let choice = [left.choice()];
        backend.launch(Shader::RowScale, &choice, &[&left.x, &statistics], &params, count as u64, 0)?;
        let operands = [&left.x, &w, &ending.bias, &ending.residual, scales, &statistics, &out_operand];
        let groups = (row_tiles * column_tiles) as u64;
        backend.launch(Shader::ProductInt8, &choices, &operands, &params, groups, operations(count))?;
    }
    Ok(())
}

/// The weights, if they are those of so many columns and terms.
fn weights(
    backend: &Backend,
    op: &'static str,
    packed: &WgpuPacked,
    columns: usize,
    terms: usize,
) -> Result<Operand> {
    let size_bytes = columns * packed.row * packed.precision.dtype().size_bytes();
    let have_bytes = packed.weights.as_ref().map_or(0, Tensor::size_bytes);
    let scales = packed.scales.as_ref().map_or(0, Tensor::size_bytes);
    let scales_fit = packed.precision != Precision::Int8 || scales == 4 * columns;
    if packed.row != terms.next_multiple_of(4) || have_bytes != size_bytes || !scales_fit {
        let what = format!("weights of {have_bytes} bytes for {columns} outputs of {terms} inputs");
        return Err(Error::Shape { op, what });
    }
    backend.optional(packed.weights.as_ref())
}
