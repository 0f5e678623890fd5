//! What is added to the scores.
//!
//! The decomposed relative position of a query of line `y` and column `x` of a grid is `q R_rowᵀ` for the key's line
//! and `q R_colᵀ` for its column. Transposed and backwards, a table has what a query of line `y` adds for key line `k`
//! in column `side − 1 − y + k`: for all queries of one line, one piece of the table. So queries of a line are multiplied
//! with that piece alone, then queries of a column with one of the other table, and the terms lie where they are read.

use crate::attention::operands::Bias;
use crate::attention::query_rows::QueryRows;
use crate::attention::score::{Addend, Addends};
use crate::gemm::micro::{Ending, STRIP_ROWS, micro, panel_columns};
use crate::simd::Simd;

/// Queries on one line or column of the grid.
#[derive(Clone, Copy)]
struct Run {
    /// The first of them in the task, from one to the next, and how many.
    first: usize,
    step: usize,
    count: usize,
}

impl QueryRows<'_> {
    /// Transposes both tables, backwards.
    #[inline(always)]
    pub(crate) fn pack_tables<S: Simd>(&mut self, s: S, rows: &[f32], columns: &[f32]) {
        let channels = self.operands.channels;
        let whole = channels / S::LANES * S::LANES;
        let (first, second) = self.tables.split_at_mut(self.strides.tables[0] * channels);
        for ((table, stride), to) in [rows, columns].into_iter().zip(self.strides.tables).zip([first, second])
        {
            let entries = table.len() / channels;
            let mut tile = [std::ptr::null(); 16];
            for start in (0..entries).step_by(S::LANES) {
                // Columns behind the last entry repeat it.
                let entry =
                    |j: usize| &table[(entries - 1).saturating_sub(start + j) * channels..][..channels];
                for c in (0..whole).step_by(S::LANES) {
                    for (j, row) in tile[..S::LANES].iter_mut().enumerate() {
                        *row = entry(j)[c..].as_ptr();
                    }
                    // SAFETY: the stride has room for whole tiles.
                    unsafe { s.transpose(&tile, to[c * stride + start..].as_mut_ptr(), stride) };
                }
                for c in whole..channels {
                    for j in 0..S::LANES {
                        to[c * stride + start + j] = entry(j)[c];
                    }
                }
            }
        }
    }

    /// What the relative position adds to the scores of each query, for every line and column of the grid.
    #[inline(always)]
    pub(crate) fn relative_terms<S: Simd>(&mut self, s: S) {
        let [lines, line_len] = self.strides.grid;
        let [by_line, by_column] = self.strides.terms;
        // Queries are a rectangle of the grid: `across` of them on a line.
        let across = self.group.queries.across(line_len);
        let (first, end) = (self.first, self.first + self.count);
        let mut query = first;
        while query < end {
            let line = query / across;
            let count = ((line + 1) * across).min(end) - query;
            let run = Run { first: query - first, step: 1, count };
            self.terms_of(s, run, lines - 1 - line, 0);
            query += count;
        }
        for start in first..end.min(first + across) {
            let run = Run { first: start - first, step: across, count: (end - start).div_ceil(across) };
            self.terms_of(s, run, line_len - 1 - start % across, 1);
        }
        if by_column > line_len {
            // Columns that are no keys get no weight.
            for terms in self.terms.chunks_exact_mut(by_line + by_column).take(self.count) {
                terms[by_line + line_len..].fill(f32::NEG_INFINITY);
            }
        }
    }

    /// The terms of some queries from one of the tables, which begin with its column `piece`.
    #[inline(always)]
    fn terms_of<S: Simd>(&mut self, s: S, run: Run, piece: usize, which: usize) {
        let channels = self.operands.channels;
        let terms = self.strides.terms;
        let stride = terms[0] + terms[1];
        let table = &self.tables[[0, self.strides.tables[0] * channels][which] + piece..];
        let (q_stride, table_stride) = (self.strides.query, self.strides.tables[which]);
        for start in (0..terms[which]).step_by(panel_columns::<S>()) {
            let vectors = (terms[which] - start).min(panel_columns::<S>()) / S::LANES;
            for strip in (0..run.count).step_by(S::ROWS) {
                let query = run.first + strip * run.step;
                let kernel = micro::<S>(S::ROWS.min(run.count - strip), vectors);
                let q = self.q[query * q_stride..].as_ptr();
                let to = self.terms[query * stride + [0, terms[0]][which] + start..].as_mut_ptr();
                let (q_stride, stride) = (run.step * q_stride, run.step * stride);
                let table = table[start..].as_ptr();
                // SAFETY: queries and terms lie inside their pieces, and so does the piece of the table.
                unsafe { kernel(s, channels, q, q_stride, table, table_stride, to, stride, &Ending::NONE) };
            }
        }
    }

    /// What is added to the scores of a strip: the rows of its queries.
    #[inline(always)]
    pub(crate) fn addends(&self, strip: usize, rows: usize) -> Addends {
        let mut addends = Addends { addend: Addend::Nothing, rows: [std::ptr::null(); STRIP_ROWS], keys: 0 };
        for (r, row) in addends.rows[..rows].iter_mut().enumerate() {
            let query = strip + r;
            *row = match self.operands.bias {
                Bias::None | Bias::KeyPositions(_) => break,
                Bias::Table { values, queries, keys } => {
                    let position = self.group.queries.position(self.first + query);
                    values[(self.index * queries + position) * keys..][..keys].as_ptr()
                }
                Bias::Relative { .. } => {
                    let stride = self.strides.all_terms();
                    self.terms[query * stride..][..stride].as_ptr()
                }
            };
        }
        addends
    }

    /// Where in these rows a panel begins: its first column of a block, and the first key of the block. A line of the grid has
    /// so many keys.
    #[inline(always)]
    pub(crate) fn addend_of_panel<S: Simd>(
        &self,
        first_key: usize,
        column: usize,
        line_keys: usize,
    ) -> Addend {
        match self.operands.bias {
            Bias::None | Bias::KeyPositions(_) => Addend::Nothing,
            Bias::Table { .. } => Addend::Row { first: first_key + column },
            Bias::Relative { .. } => {
                let [by_line, line_columns] = self.strides.terms;
                let vectors = line_columns / S::LANES;
                let first = first_key / line_keys * vectors + column / S::LANES;
                let at = [first, first + 1];
                // A panel's second vector may lie behind the last line, and is not used then.
                let last = by_line - 1;
                Addend::Sum {
                    numbers: at.map(|vector| (vector / vectors).min(last)),
                    columns: at.map(|vector| by_line + vector % vectors * S::LANES),
                }
            }
        }
    }
}
