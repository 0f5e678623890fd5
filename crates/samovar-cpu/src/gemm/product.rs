//! A product in f32 from end to end: cut into tasks, each computed as the route says.

use std::ops::Range;

use crate::gemm::cut::balanced;
use crate::gemm::finish::Finish;
use crate::gemm::micro::panel_columns;
use crate::gemm::output::Output;
use crate::gemm::pack::Panels;
use crate::gemm::rows::RowSource;
use crate::gemm::{paired, plain, strassen};
use crate::math::activation_cycles;
use crate::routes::choice::FloatProduct;
use crate::simd::{self, Simd};
use crate::threads::Threads;

/// Tasks per thread below which their number is a multiple of the threads'.
const EVEN_ROUNDS: usize = 32;

/// `out[r] = finish(rows[r] · weights)` for `rows` rows.
pub(crate) fn product<S: Simd, A: RowSource>(
    threads: &Threads,
    s: S,
    route: FloatProduct,
    source: &A,
    rows: usize,
    weights: &Panels,
    finish: &Finish,
    out: Output,
) {
    let (columns, depth) = (weights.columns, weights.depth);
    let width = panel_columns::<S>();
    let (unit, most) = match route {
        FloatProduct::Strassen => (
            [2 * S::ROWS, 2 * width],
            [strassen::most_rows::<S>(depth, weights.storage), strassen::BLOCK_COLUMNS],
        ),
        FloatProduct::Paired => ([simd::paired::ROWS, width], [paired::BLOCK_ROWS, paired::BLOCK_COLUMNS]),
        FloatProduct::Plain | FloatProduct::Shallow => {
            ([S::ROWS, width], [plain::BLOCK_ROWS, plain::BLOCK_COLUMNS])
        }
    };
    let grid = Grid::new::<S>(threads.count(), rows, columns, depth, unit, most);
    threads.run(grid.tasks(), grid.cycles::<S>(finish), |task, scratch| {
        let (rows, panels) = grid.task(task);
        s.vectorize(
            #[inline(always)]
            || {
                // SAFETY: the ranges lie inside the result; tasks do not overlap.
                unsafe {
                    match route {
                        FloatProduct::Paired => {
                            paired::block(s, source, rows, weights, panels, finish, out, scratch);
                        }
                        FloatProduct::Strassen => {
                            let [row, panel] = strassen::pairs_end::<S>(&rows, &panels, columns);
                            if rows.start < row && panels.start < panel {
                                let (rows, panels) = (rows.start..row, panels.start..panel);
                                strassen::block(s, source, rows, weights, panels, finish, out, scratch);
                            }
                            // What is left beside the pairs and below them.
                            for (rows, panels) in
                                [(rows.start..row, panel..panels.end), (row..rows.end, panels)]
                            {
                                if !rows.is_empty() && !panels.is_empty() {
                                    plain::block(
                                        s, source, rows, weights, panels, finish, out, false, scratch,
                                    );
                                }
                            }
                        }
                        FloatProduct::Plain | FloatProduct::Shallow => {
                            let is_shallow = route == FloatProduct::Shallow;
                            plain::block(s, source, rows, weights, panels, finish, out, is_shallow, scratch);
                        }
                    }
                }
            },
        );
    });
}

/// How a product is cut into tasks: blocks of rows times blocks of columns, alike but for a unit.
struct Grid {
    rows: usize,
    columns: usize,
    depth: usize,
    /// Rows of a unit, units, and blocks of them.
    height: usize,
    strips: usize,
    row_blocks: usize,
    /// Panels of a unit, panels, units, and blocks of them.
    together: usize,
    panels: usize,
    units: usize,
    column_blocks: usize,
}

impl Grid {
    /// Tasks of at most so many rows and columns, multiples of `unit`.
    fn new<S: Simd>(
        threads: usize,
        rows: usize,
        columns: usize,
        depth: usize,
        [height, width]: [usize; 2],
        [most_rows, most_columns]: [usize; 2],
    ) -> Self {
        let (strips, units) = (rows.div_ceil(height), columns.div_ceil(width));
        let mut units_per_task = balanced(units, most_columns / width);
        let mut strips_per_task = balanced(strips, (most_rows / height).max(1));
        // Enough tasks that threads finish together: first fewer rows, and for a few rows fewer columns.
        let wanted = 4 * threads;
        let tasks = |strips_per_task, units_per_task| {
            strips.div_ceil(strips_per_task) * units.div_ceil(units_per_task)
        };
        while threads > 1 && strips_per_task > 4 && tasks(strips_per_task, units_per_task) < wanted {
            strips_per_task = strips_per_task.div_ceil(2);
        }
        while threads > 1 && units_per_task > 1 && tasks(strips_per_task, units_per_task) < wanted {
            units_per_task = units_per_task.div_ceil(2);
        }
        let (mut row_blocks, column_blocks) =
            (strips.div_ceil(strips_per_task), units.div_ceil(units_per_task));
        if row_blocks * column_blocks < EVEN_ROUNDS * threads {
            // None is left over when all others are done.
            row_blocks = row_blocks.next_multiple_of(threads).min(strips);
        }
        let together = width / panel_columns::<S>();
        let panels = columns.div_ceil(panel_columns::<S>());
        Self { rows, columns, depth, height, strips, row_blocks, together, panels, units, column_blocks }
    }

    fn tasks(&self) -> usize {
        self.row_blocks * self.column_blocks
    }

    /// Rows and panels of a task.
    fn task(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let share = |of: usize, blocks: usize, block: usize, size: usize, end: usize| {
            let border = |block: usize| (block * of / blocks * size).min(end);
            border(block)..border(block + 1)
        };
        (
            share(self.strips, self.row_blocks, index / self.column_blocks, self.height, self.rows),
            share(self.units, self.column_blocks, index % self.column_blocks, self.together, self.panels),
        )
    }

    fn cycles<S: Simd>(&self, finish: &Finish) -> u64 {
        let vectors = (self.rows * self.columns.div_ceil(S::LANES)) as u64;
        vectors * (self.depth as u64 + 4 + activation_cycles(finish.activation))
    }
}
