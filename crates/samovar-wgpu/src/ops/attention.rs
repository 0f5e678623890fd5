//! Attention: tiles of queries and keys, biases, and what relative positions need before.

use samovar_tensor::{Attention, AttentionBias, Error, Result, Tensor, TokenLayout, checks};

use crate::backend::{Backend, SCRATCH_BYTES, word};
use crate::operand::Operand;
use crate::source::Shader;

/// Queries of a tile at most, and bytes that a workgroup of it shares.
const LARGE_TILE: (usize, u32) = (64, 28 << 10);

/// Most values per head whose sums fit into registers.
const MOST_VALUE_CHANNELS: usize = 512;

/// What share a softmax.
struct Layout {
    /// LAYOUT of shaders.
    choice: u32,
    groups: usize,
    queries: usize,
    keys: usize,
    /// key_batch, grid_height, grid_width, window, query_stride
    params: [u32; 5],
    padding: Option<Operand>,
}

fn layout(backend: &Backend, a: &Attention) -> Result<Layout> {
    Ok(match a.layout {
        TokenLayout::Sequence { batch, key_batch, queries, keys } => Layout {
            choice: 0,
            groups: batch,
            queries,
            keys,
            params: [word(key_batch), 0, 0, 1, 1],
            padding: None,
        },
        TokenLayout::Windows { batch, grid: [height, width], window, query_stride, padding } => {
            let side = window / query_stride;
            Layout {
                choice: 1,
                groups: batch * height.div_ceil(window) * width.div_ceil(window),
                queries: side * side,
                keys: window * window,
                params: [1, word(height), word(width), word(window), word(query_stride)],
                padding: padding.map(|row| backend.operand(row)).transpose()?,
            }
        }
    })
}

pub(crate) fn attention(backend: &Backend, a: &Attention, out: &Tensor) -> Result<()> {
    const OP: &str = "attention";
    checks::result(OP, out, &checks::attention(a)?.shape)?;
    if out.shape().is_empty() {
        return Ok(());
    }
    if a.value_channels > MOST_VALUE_CHANNELS {
        let what = format!("{} values per head, at most {MOST_VALUE_CHANNELS} here", a.value_channels);
        return Err(Error::Shape { op: OP, what });
    }
    let layout = layout(backend, a)?;
    let [q, k, v, to] = [
        backend.operand(a.q.tensor)?,
        backend.operand(a.k.tensor)?,
        backend.operand(a.v.tensor)?,
        backend.operand(out)?,
    ];
    let padding = layout.padding.clone().unwrap_or_else(|| backend.nothing());
    let launch = Launch { backend, a, layout: &layout, q: &q };
    let pairs = layout.groups * a.heads;
    let firsts = [k.first + word(a.k.first_column), v.first + word(a.v.first_column)];
    let run = |bias: u32, bias_operand: &Operand, sides: [usize; 2], part: Part| {
        let tile = launch.tile();
        let tiles = part.queries.div_ceil(tile);
        let params = launch.params(firsts, bias_operand.first, padding.first, to.first, part, tiles, sides);
        let columns = if a.value_channels <= 16 {
            1
        } else if a.value_channels <= 32 {
            2
        } else {
            4
        };
        let choices = [
            ("TILE", word(tile)),
            ("SIDE", word(tile / 16)),
            ("CHUNKS", word(a.value_channels.div_ceil(16 * columns))),
            ("COLUMNS", word(columns)),
            ("BIAS", bias),
            ("LAYOUT", layout.choice),
        ];
        let operands = [&q, &k, &v, bias_operand, &padding, &to];
        let numbers = (part.pairs * part.queries * layout.keys) as u64;
        let operations = 2 * numbers * (a.head_channels + a.value_channels) as u64;
        backend.launch(
            Shader::Attention,
            &choices,
            &operands,
            &params,
            (part.pairs * tiles) as u64,
            operations,
        )
    };
    let whole = Part { first_pair: 0, pairs, first_query: 0, queries: layout.queries };
    match a.bias {
        AttentionBias::None => run(0, &backend.nothing(), [1, 1], whole),
        AttentionBias::Table(table) => run(1, &backend.operand(table)?, [1, 1], whole),
        AttentionBias::KeyPositions(positions) => run(2, &backend.operand(positions)?, [1, 1], whole),
        AttentionBias::RelativePosition { rows, columns, grid } => {
            let tables = [backend.operand(rows)?, backend.operand(columns)?];
            let scratch = backend.scratch()?;
            if (grid[0] + grid[1]) as u64 > SCRATCH_BYTES / 4 {
                let what = format!("relative positions in a grid of {grid:?}");
                return Err(Error::Shape { op: OP, what });
            }
            for part in parts(pairs, layout.queries, grid[0] + grid[1]) {
                launch.relative_positions(&tables, &scratch, part, grid)?;
                run(3, &scratch, grid, part)?;
            }
            Ok(())
        }
    }
}

/// Part of the work: pairs of softmax group and head, and some of the queries of each.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    first_pair: usize,
    pairs: usize,
    first_query: usize,
    queries: usize,
}

/// Parts for which scratch memory holds so many numbers per query: many pairs at a time, or some queries of one.
fn parts(pairs: usize, queries: usize, numbers: usize) -> Vec<Part> {
    let most_queries = (SCRATCH_BYTES as usize / 4 / numbers.max(1)).max(1);
    let pairs_at_once = (most_queries / queries.max(1)).max(1);
    let queries_at_once = queries.min(most_queries);
    let mut parts = Vec::new();
    for first_pair in (0..pairs).step_by(pairs_at_once) {
        for first_query in (0..queries).step_by(queries_at_once.max(1)) {
            parts.push(Part {
                first_pair,
                pairs: pairs_at_once.min(pairs - first_pair),
                first_query,
                queries: queries_at_once.min(queries - first_query),
            });
        }
    }
    parts
}

/// What all launches of an attention share.
struct Launch<'a> {
    backend: &'a Backend,
    a: &'a Attention<'a>,
    layout: &'a Layout,
    q: &'a Operand,
}

impl Launch<'_> {
    /// Queries of a tile: as many as there are, up to what workgroups can share.
    fn tile(&self) -> usize {
        let shared_bytes = self.backend.gpu().limits.max_compute_workgroup_storage_size;
        match self.layout.queries {
            0..=16 => 16,
            17..=32 => 32,
            _ if shared_bytes < LARGE_TILE.1 => 32,
            _ => LARGE_TILE.0,
        }
    }

    fn params(
        &self,
        [k_first, v_first]: [u32; 2],
        bias_first: u32,
        padding_first: u32,
        out_first: u32,
        part: Part,
        tiles: usize,
        sides: [usize; 2],
    ) -> Vec<u32> {
        let (a, layout) = (self.a, self.layout);
        let mut params = vec![word(layout.queries), word(layout.keys)];
        params.extend([a.heads, a.head_channels, a.value_channels].map(word));
        params.extend([self.q.first + word(a.q.first_column), word(a.q.stride())]);
        params.extend([k_first, word(a.k.stride()), v_first, word(a.v.stride())]);
        let padding = [a.k.first_column, a.v.first_column].map(|column| padding_first + word(column));
        params.extend([bias_first, padding[0], padding[1], out_first]);
        params.extend([part.first_pair, part.first_query, part.queries, tiles].map(word));
        params.extend(layout.params);
        params.extend(sides.map(word));
        params.push(a.scale.to_bits());
        params
    }

    /// Products of queries with the tables, to scratch memory.
    fn relative_positions(
        &self,
        tables: &[Operand; 2],
        to: &Operand,
        part: Part,
        sides: [usize; 2],
    ) -> Result<()> {
        let firsts = [tables[0].first, tables[1].first];
        let params = self.params(firsts, 0, 0, to.first, part, part.pairs, sides);
        let numbers = part.pairs * part.queries * (sides[0] + sides[1]);
        let choices = [("LAYOUT", self.layout.choice)];
        let operands = [self.q, &tables[0], &tables[1], to];
        self.backend.launch_each(Shader::RelativePosition, &choices, &operands, &params, numbers)
    }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
