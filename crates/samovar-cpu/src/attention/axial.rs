//! Attention to maps whose keys depend on column and row: the matrices are multiplied with the queries, not with the keys.
//!
//! A vector holds a number of many queries, so that a key's number is one for all lanes. A task is some tiles of queries (two
//! vectors wide) that see all keys, a row of a few maps at a time:
//!
//! ```text
//! every column: A = columns[x] q        every row: B = rows[y] q
//! every cell:   A + B ─ · the keys of all maps there ─ scores ─ softmax down the columns ─ o = o · exp(m − m') + v w
//! ```
//!
//! What is added up for a cell serves all maps, and a product is as deep as a key is wide.

mod kernels;

use std::f32::consts::LOG2_E;

use samovar_tensor::checks::{self, AxialSizes};
use samovar_tensor::{AxialAttention, Error, Result, Tensor};

use self::kernels::{Cells, Kernels, Weighed, most_keys};
use crate::gemm::cut::balanced;
use crate::gemm::micro::{Ending, micro, panel_columns};
use crate::gemm::output::Output;
use crate::gemm::pack::pack_panel;
use crate::math::exp2_of_negative;
use crate::scratch::{SCRATCH_LEN, Scratch, padded};
use crate::simd::{Simd, put};
use crate::threads::Threads;

/// Queries of a task: what is read from further away than L2, keys, values and matrices, is shared by so many.
const TASK_QUERIES: usize = 64;

/// Keys of a block.
const BLOCK_KEYS: usize = 224;

pub(crate) fn axial_attention<S: Simd>(
    threads: &Threads,
    s: S,
    a: &AxialAttention,
    out: &mut Tensor,
) -> Result<()> {
    let sizes = checks::axial_attention(a)?;
    let blocking = AxialBlocking::fit::<S>(threads.count(), &sizes)?;
    let operands = Operands {
        q: a.q.f32()?,
        keys: a.keys.f32()?,
        beside: a.beside.map_or(Ok(&[][..]), Tensor::f32)?,
        values: a.values.f32()?,
        columns: a.columns.f32()?,
        rows: a.rows.f32()?,
        scale: a.scale,
        sizes,
    };
    let AxialSizes { queries, maps, grid: [rows, columns], key_channels, value_channels, channels, .. } =
        sizes;
    let out = Output::new(out.f32_mut()?, value_channels);
    let task_queries = blocking.tiles * panel_columns::<S>();
    let of_cell = key_channels + maps * (key_channels + value_channels + 12);
    let of_query = rows * columns * of_cell + (rows + columns) * key_channels * channels / 2;
    let cycles = (queries.div_ceil(S::LANES) * of_query / 2) as u64;
    threads.run(queries.div_ceil(task_queries), cycles, |task, scratch| {
        let first = task * task_queries;
        let mut task =
            Task::new::<S>(&operands, &blocking, scratch, first, task_queries.min(queries - first));
        s.vectorize(
            #[inline(always)]
            || task.run(s, out),
        );
    });
    Ok(())
}

struct Operands<'a> {
    q: &'a [f32],
    keys: &'a [f32],
    beside: &'a [f32],
    values: &'a [f32],
    columns: &'a [f32],
    rows: &'a [f32],
    scale: f32,
    sizes: AxialSizes,
}

/// Blocks and strides of a task, chosen so that it fits the scratch memory.
struct AxialBlocking {
    /// Tiles of queries.
    tiles: usize,
    /// Columns whose products with the queries are kept at once.
    columns: usize,
    /// Maps whose keys are multiplied at once.
    maps: usize,
    /// Cells of a block, and their keys in as many maps: their scores stay in L1.
    cells: usize,
    keys: usize,
    /// Queries, products by column, products by row, results, largest scores, sums: of all tiles. Scores of one, and a tile on
    /// its way out.
    pieces: [usize; 8],
}

impl AxialBlocking {
    fn fit<S: Simd>(threads: usize, sizes: &AxialSizes) -> Result<Self> {
        let width = panel_columns::<S>();
        let all_tiles = sizes.queries.div_ceil(width).max(1);
        let mut tiles = (TASK_QUERIES / width).clamp(1, all_tiles);
        while tiles > 1 && all_tiles.div_ceil(tiles) < 4 * threads {
            tiles -= 1;
        }
        let mut columns = sizes.grid[1];
        let mut maps = balanced(sizes.maps, most_keys::<S>());
        loop {
            let cells = balanced(columns, (BLOCK_KEYS / maps).max(1));
            let keys = (cells * maps).max(sizes.beside.min(BLOCK_KEYS));
            let pieces = [
                tiles * sizes.channels * width,
                tiles * columns * (sizes.key_channels + 1) * width,
                tiles * (sizes.key_channels + 1) * width,
                tiles * sizes.value_channels * width,
                tiles * width,
                tiles * width,
                keys * width,
                S::LANES * S::LANES,
            ];
            if pieces.iter().map(|&len| padded(len)).sum::<usize>() <= SCRATCH_LEN {
                return Ok(Self { tiles, columns, maps, cells, keys, pieces });
            }
            match (columns, tiles, maps) {
                (2.., ..) => columns = columns.div_ceil(2),
                (_, 2.., _) => tiles -= 1,
                (_, _, 2..) => maps = maps.div_ceil(2),
                _ => break,
            }
        }
        let AxialSizes { channels, key_channels, value_channels, .. } = sizes;
        let what = format!("{channels} channels, keys of {key_channels} and values of {value_channels}");
        Err(Error::Shape { op: "axial_attention", what: format!("{what} are more than fit") })
    }
}

/// One task: queries `first..first + count`.
struct Task<'a> {
    a: &'a Operands<'a>,
    blocking: &'a AxialBlocking,
    first: usize,
    count: usize,
    q: &'a mut [f32],
    by_column: &'a mut [f32],
    by_row: &'a mut [f32],
    sums_of_values: &'a mut [f32],
    largest: &'a mut [f32],
    sums: &'a mut [f32],
    scores: &'a mut [f32],
    stage: &'a mut [f32],
    /// Whether a block of keys is in the sums.
    has_begun: bool,
}

impl<'a> Task<'a> {
    fn new<S: Simd>(
        a: &'a Operands<'a>,
        blocking: &'a AxialBlocking,
        scratch: &'a mut Scratch,
        first: usize,
        count: usize,
    ) -> Self {
        let [q, by_column, by_row, sums_of_values, largest, sums, scores, stage] =
            scratch.split(blocking.pieces);
        Self {
            a,
            blocking,
            first,
            count,
            q,
            by_column,
            by_row,
            sums_of_values,
            largest,
            sums,
            scores,
            stage,
            has_begun: false,
        }
    }

    /// Tiles with queries in them.
    #[inline(always)]
    fn tiles<S: Simd>(&self) -> usize {
        self.count.div_ceil(panel_columns::<S>())
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, out: Output) {
        let AxialSizes { maps, grid: [rows, columns], beside, key_channels, .. } = self.a.sizes;
        self.take_queries(s);
        self.largest.fill(f32::NEG_INFINITY);
        self.sums.fill(0.0);
        for left in (0..columns).step_by(self.blocking.columns) {
            let across = self.blocking.columns.min(columns - left);
            self.meet_columns(s, left, across);
            for row in 0..rows {
                self.meet_row(s, row);
                for map in (0..maps).step_by(self.blocking.maps) {
                    let of_maps = self.blocking.maps.min(maps - map);
                    for x in (0..across).step_by(self.blocking.cells) {
                        let cells = self.blocking.cells.min(across - x);
                        let cell = |map: usize| (map * rows + row) * columns + left + x;
                        let keys = &self.a.keys[cell(map) * key_channels..];
                        let stride = rows * columns * key_channels;
                        let keys = &keys[..(of_maps - 1) * stride + cells * key_channels];
                        for tile in 0..self.tiles::<S>() {
                            self.score(s, tile, [x, cells], [of_maps, stride], keys, 0);
                            self.accumulate(s, tile, cell(map), [of_maps, rows * columns], cells);
                        }
                        self.has_begun = true;
                    }
                }
            }
        }
        if beside > 0 {
            self.meet_columns(s, 0, 1);
            self.meet_row(s, 0);
            let (most, at_once) = (self.blocking.keys, most_keys::<S>());
            for first in (0..beside).step_by(most) {
                let count = most.min(beside - first);
                for tile in 0..self.tiles::<S>() {
                    for i in (0..count).step_by(at_once) {
                        let together = at_once.min(count - i);
                        let keys = &self.a.beside[(first + i) * key_channels..][..together * key_channels];
                        self.score(s, tile, [0, 1], [together, key_channels], keys, i);
                    }
                    self.accumulate(s, tile, maps * rows * columns + first, [1, 0], count);
                }
            }
        }
        self.store(s, out);
    }

    /// Queries: from rows to lanes, the quarters for columns first, scaled only to powers of 2.
    #[inline(always)]
    fn take_queries<S: Simd>(&mut self, s: S) {
        let (width, channels) = (panel_columns::<S>(), self.a.sizes.channels);
        let quarter = channels / 4;
        let factor = s.splat(self.a.scale * LOG2_E);
        for tile in 0..self.tiles::<S>() {
            for (place, part) in [0, 2, 1, 3].into_iter().enumerate() {
                let row = |j: usize| {
                    // Lanes behind the last query repeat it.
                    let query = self.first + (tile * width + j).min(self.count - 1);
                    self.a.q[query * channels + part * quarter..][..quarter].as_ptr()
                };
                let to = &mut self.q[(tile * channels + place * quarter) * width..][..quarter * width];
                // SAFETY: rows of a quarter, into a panel's size.
                unsafe { pack_panel(s, width, quarter, row, to.as_mut_ptr()) };
                for chunk in to.chunks_exact_mut(S::LANES) {
                    // SAFETY: a whole vector.
                    unsafe { s.store(chunk.as_mut_ptr(), s.mul(s.load(chunk.as_ptr()), factor)) };
                }
            }
        }
    }

    /// `to = matrix · (half of the queries)` for a tile.
    #[inline(always)]
    fn meet<S: Simd>(s: S, sizes: &AxialSizes, matrix: &[f32], q: &[f32], to: &mut [f32]) {
        let (width, half, numbers) = (panel_columns::<S>(), sizes.channels / 2, sizes.key_channels + 1);
        let strip = balanced(numbers, S::ROWS);
        for number in (0..numbers).step_by(strip) {
            let kernel = micro::<S>(strip.min(numbers - number), 2);
            let matrix = matrix[number * half..].as_ptr();
            let to = to[number * width..].as_mut_ptr();
            // SAFETY: strips and panels lie inside their pieces.
            unsafe { kernel(s, half, matrix, half, q.as_ptr(), width, to, width, &Ending::NONE) };
        }
    }

    /// Products of the queries with the matrices of so many columns.
    #[inline(always)]
    fn meet_columns<S: Simd>(&mut self, s: S, left: usize, count: usize) {
        let sizes = &self.a.sizes;
        let (width, half, numbers) = (panel_columns::<S>(), sizes.channels / 2, sizes.key_channels + 1);
        for x in 0..count {
            let matrix = &self.a.columns[(left + x) * numbers * half..][..numbers * half];
            for tile in 0..self.tiles::<S>() {
                let q = &self.q[2 * tile * half * width..][..half * width];
                let to = (tile * self.blocking.columns + x) * numbers * width;
                Self::meet(s, sizes, matrix, q, &mut self.by_column[to..][..numbers * width]);
            }
        }
    }

    /// Products of the queries with the matrix of a row.
    #[inline(always)]
    fn meet_row<S: Simd>(&mut self, s: S, row: usize) {
        let sizes = &self.a.sizes;
        let (width, half, numbers) = (panel_columns::<S>(), sizes.channels / 2, sizes.key_channels + 1);
        let matrix = &self.a.rows[row * numbers * half..][..numbers * half];
        for tile in 0..self.tiles::<S>() {
            let q = &self.q[(2 * tile + 1) * half * width..][..half * width];
            let to = &mut self.by_row[tile * numbers * width..][..numbers * width];
            Self::meet(s, sizes, matrix, q, to);
        }
    }

    /// Scores of a tile with the keys of `cells` from column `x` of the block on, in so many maps that lie `stride` numbers apart: map
    /// by map, from row `row` on.
    #[inline(always)]
    fn score<S: Simd>(
        &mut self,
        s: S,
        tile: usize,
        [x, cells]: [usize; 2],
        [maps, stride]: [usize; 2],
        keys: &[f32],
        row: usize,
    ) {
        let (width, numbers) = (panel_columns::<S>(), self.a.sizes.key_channels + 1);
        let by_column = &self.by_column[(tile * self.blocking.columns + x) * numbers * width..];
        let by_row = &self.by_row[tile * numbers * width..][..numbers * width];
        let to = &mut self.scores[row * width..][..maps * cells * width];
        let from = Cells {
            numbers: numbers - 1,
            count: cells,
            by_column: by_column[..cells * numbers * width].as_ptr(),
            by_row: by_row.as_ptr(),
            keys: keys.as_ptr(),
            stride,
        };
        assert!(keys.len() >= (maps - 1) * stride + cells * (numbers - 1), "keys of all cells");
        // SAFETY: pieces are as long as was checked above.
        unsafe { Kernels::<S>::ALL[maps - 1](s, &from, to.as_mut_ptr()) };
    }

    /// Softmax of a block of keys, and their values, from row `first` on, into the sums of a tile: `cells` of so many maps that lie
    /// `stride` rows apart.
    #[inline(always)]
    fn accumulate<S: Simd>(
        &mut self,
        s: S,
        tile: usize,
        first: usize,
        [maps, stride]: [usize; 2],
        cells: usize,
    ) {
        let count = maps * cells;
        let (width, channels) = (panel_columns::<S>(), self.a.sizes.value_channels);
        let of_tile = tile * width;
        let values = &mut self.sums_of_values[of_tile * channels..][..channels * width];
        let largest = self.largest[of_tile..][..width].as_mut_ptr();
        let sums = self.sums[of_tile..][..width].as_mut_ptr();
        let scores = self.scores[..count * width].as_mut_ptr();
        // SAFETY: two vectors of each row.
        unsafe {
            let load = |from: *mut f32| [s.load(from), s.load(from.add(S::LANES))];
            let before = load(largest);
            let mut tops = [before; 2];
            for key in 0..count {
                let [first, second] = load(scores.add(key * width));
                let [top, other] = tops[key % 2];
                tops[key % 2] = [s.max(top, first), s.max(other, second)];
            }
            let [[a, b], [c, d]] = tops;
            let top = [s.max(a, c), s.max(b, d)];
            let factor = [
                exp2_of_negative(s, s.sub(before[0], top[0])),
                exp2_of_negative(s, s.sub(before[1], top[1])),
            ];
            let before = load(sums);
            let mut sum = [s.mul(before[0], factor[0]), s.mul(before[1], factor[1])];
            for key in 0..count {
                let score = scores.add(key * width);
                let [first, second] = load(score);
                let first = exp2_of_negative(s, s.sub(first, top[0]));
                let second = exp2_of_negative(s, s.sub(second, top[1]));
                sum = [s.add(sum[0], first), s.add(sum[1], second)];
                s.store(score, first);
                s.store(score.add(S::LANES), second);
            }
            for (i, (&top, &sum)) in top.iter().zip(&sum).enumerate() {
                s.store(largest.add(i * S::LANES), top);
                s.store(sums.add(i * S::LANES), sum);
            }
            if self.has_begun {
                for row in values.chunks_exact_mut(width) {
                    let row = row.as_mut_ptr();
                    let [first, second] = load(row);
                    s.store(row, s.mul(first, factor[0]));
                    s.store(row.add(S::LANES), s.mul(second, factor[1]));
                }
            }
        }
        let of_keys = &self.a.values[first * channels..][..((maps - 1) * stride + cells) * channels];
        let strip = balanced(channels, S::ROWS);
        for channel in (0..channels).step_by(strip) {
            let from = Weighed {
                maps,
                cells,
                values: of_keys[channel..].as_ptr(),
                strides: [stride * channels, channels],
                weights: self.scores.as_ptr(),
                add: self.has_begun,
            };
            let to = values[channel * width..].as_mut_ptr();
            let kernel = Kernels::<S>::WEIGHED[strip.min(channels - channel) - 1];
            // SAFETY: the last row of values goes on for as many channels as the strip has, and so do all pieces.
            unsafe { kernel(s, &from, to) };
        }
    }

    /// Divides by the sums and stores rows.
    #[inline(always)]
    fn store<S: Simd>(&mut self, s: S, out: Output) {
        let (width, channels) = (panel_columns::<S>(), self.a.sizes.value_channels);
        let mut rows = [std::ptr::null(); 16];
        for query in (0..self.count).step_by(S::LANES) {
            let (tile, lane) = (query / width, query % width);
            let from = &self.sums_of_values[tile * width * channels..][..channels * width];
            let sums = &self.sums[query..];
            let count = S::LANES.min(self.count - query);
            for channel in (0..channels).step_by(S::LANES) {
                for (i, row) in rows[..S::LANES].iter_mut().enumerate() {
                    *row = from[(channel + i).min(channels - 1) * width + lane..][..S::LANES].as_ptr();
                }
                let n = S::LANES.min(channels - channel);
                // SAFETY: whole tiles of both; tasks have rows of their own.
                unsafe {
                    s.transpose(&rows, self.stage.as_mut_ptr(), S::LANES);
                    for (i, &sum) in sums[..count].iter().enumerate() {
                        let value = s.load(self.stage.as_ptr().add(i * S::LANES));
                        put(s, out.at(self.first + query + i, channel), s.mul(value, s.splat(1.0 / sum)), n);
                    }
                }
            }
        }
    }
}
