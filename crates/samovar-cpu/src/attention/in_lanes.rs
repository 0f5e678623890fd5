//! Attention at reduced precision, with queries in the lanes of vectors.
//!
//! Scores stand upside down: a row per key, a query per lane. So keys are packed as they are, the bias is what a score
//! starts from, the softmax never looks across lanes, and its weights leave the registers as the second product reads
//! them, without a score ever being stored:
//!
//! ```text
//! strip of keys ─ start + k q ─ w = 2^s ─ o = o + v w          (the last channel of v is 1: o / Σw at the end)
//! ```
//!
//! Exponents are shifted only where they would leave the range of f32 otherwise: what a shift is good for is the range,
//! and no digit is lost without one.

pub(crate) mod blocking;
pub(crate) mod kernels;

use samovar_tensor::{Attention, Result, Tensor};

use self::blocking::LaneBlocking;
use self::kernels::{Kernels, Start, strip, tile};
use crate::attention::operands::{Bias, Operands, Place, TASKS_PER_THREAD};
use crate::attention::query_rows::QueryRows;
use crate::attention::shape::AttentionShape;
use crate::attention::tokens::Tokens;
use crate::gemm::cut::balanced;
use crate::gemm::micro::STRIP_ROWS;
use crate::gemm::output::Output;
use crate::math::exp2_of_negative;
use crate::scratch::Scratch;
use crate::simd::product::Product;
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// The largest exponent of each query is kept between this and its negative: sums of thousands of such weights are far from
/// the largest number, and weights that count are far from the smallest.
const MOST: f32 = 100.0;

/// With blocks that fit.
pub(crate) fn attention<P: Product>(
    threads: &Threads,
    p: P,
    blocking: LaneBlocking,
    a: &Attention,
    shape: &AttentionShape,
    tokens: &Tokens,
    out: &mut Tensor,
) -> Result<()> {
    let operands = Operands::new(a)?;
    let blocking = blocking.shared::<P>(threads.count(), shape);
    let blocks = tokens.most_queries.div_ceil(blocking.queries);
    let out = Output::new(out.f32_mut()?, a.heads * a.value_channels);
    let vectors = tokens.groups * a.heads * tokens.most_queries * tokens.keys.div_ceil(P::S::LANES);
    let cycles = (vectors * (blocking.depth + a.value_channels.div_ceil(P::GROUP) + 12)) as u64;
    // What heads have in common is packed once per task.
    let mut heads = if blocks == 1 { a.heads } else { 1 };
    while heads > 1 && tokens.groups * a.heads.div_ceil(heads) < TASKS_PER_THREAD * threads.count() {
        heads = heads.div_ceil(2);
    }
    let shares = a.heads.div_ceil(heads);
    threads.run(tokens.groups * shares * blocks, cycles, |task, scratch| {
        let (share, block) = (task / blocks, task % blocks);
        let (group, share) = (tokens.group(share / shares), share % shares);
        let range = share * heads..((share + 1) * heads).min(a.heads);
        let mut task = Task::new(p, &operands, shape, &blocking, tokens, scratch);
        p.vectorize(
            #[inline(always)]
            || {
                let first = block * blocking.queries;
                let count = blocking.queries.min(group.queries.count().saturating_sub(first));
                if count > 0 {
                    (task.rows.group, task.rows.first, task.rows.count) = (group, first, count);
                    for index in range.clone() {
                        let next = (index + 1 < range.end).then(|| Place { group, index: index + 1 });
                        task.head(index, out, next);
                    }
                }
            },
        );
    });
    Ok(())
}

/// Over the keys of a block: where the numbers stand that their scores start from, a line's and a column's.
struct Walk {
    line: *const f32,
    column: *const f32,
    /// Columns before this one on the line, and columns of a line.
    across: usize,
    line_len: usize,
    /// From a column to the next: a tile, or nothing where they are all the same.
    step: usize,
}

impl Walk {
    #[inline(always)]
    fn next<S: Simd>(&mut self) -> Start {
        let start = [self.line, self.column];
        self.across += 1;
        self.column = self.column.wrapping_add(self.step);
        if self.across == self.line_len {
            self.across = 0;
            self.column = self.column.wrapping_sub(self.line_len * self.step);
            self.line = self.line.wrapping_add(tile::<S>());
        }
        start
    }
}

struct Task<'a, P: Product> {
    p: P,
    blocking: &'a LaneBlocking,
    /// Queries in rows and the terms of relative positions.
    rows: QueryRows<'a>,
    /// Whether what heads have in common is there.
    is_packed: bool,
    keys: &'a mut [f32],
    values: &'a mut [f32],
    weights: &'a mut [f32],
    lines: &'a mut [f32],
    stage: &'a mut [f32],
    q: &'a mut [f32],
    out: &'a mut [f32],
    terms: &'a mut [f32],
    shift: &'a mut [f32],
    largest: &'a mut [f32],
}

impl<'a, P: Product> Task<'a, P> {
    fn new(
        p: P,
        operands: &'a Operands<'a>,
        shape: &AttentionShape,
        blocking: &'a LaneBlocking,
        tokens: &Tokens,
        scratch: &'a mut Scratch,
    ) -> Self {
        let [a, b, c, d, e, f] = blocking.fixed_pieces::<P>(shape);
        let [g, h, i, j, k, l, m] = blocking.pieces_of_a_query(shape).map(|len| len * blocking.queries);
        let [keys, values, weights, tables, lines, stage, q_rows, q, out, row_terms, terms, shift, largest] =
            scratch.split([a, b, c, d, e, f, g, h, i, j, k, l, m]);
        let rows = QueryRows {
            operands,
            strides: blocking.rows,
            index: 0,
            group: tokens.group(0),
            first: 0,
            count: 0,
            q: q_rows,
            terms: row_terms,
            tables,
        };
        Self {
            p,
            blocking,
            rows,
            is_packed: false,
            keys,
            values,
            weights,
            lines,
            stage,
            q,
            out,
            terms,
            shift,
            largest,
        }
    }

    #[inline(always)]
    fn head(&mut self, index: usize, out: Output, next: Option<Place>) {
        let s = self.p.simd();
        self.rows.index = index;
        self.rows.take_queries(s);
        if let Bias::Relative { rows, columns } = self.rows.operands.bias {
            if !self.is_packed {
                self.rows.pack_tables(s, rows, columns);
            }
            self.rows.relative_terms(s);
            self.turn_terms();
        }
        self.is_packed = true;
        self.rows.scale_queries(s);
        self.turn_queries();
        self.shift.fill(0.0);
        self.largest.fill(f32::NEG_INFINITY);
        let keys = self.rows.group.keys.count();
        for first_key in (0..keys).step_by(self.blocking.keys) {
            let count = self.blocking.keys.min(keys - first_key);
            self.pack_keys(first_key, count);
            // The next block's rows arrive while this one is worked on, if that takes a while.
            if self.rows.count > tile::<P::S>() {
                let next = first_key + count;
                self.rows.prefetch_keys(s, next, self.blocking.keys.min(keys - next));
            }
            for query in (0..self.rows.count).step_by(tile::<P::S>()) {
                if let Some(next) = next.as_ref().filter(|_| first_key + count == keys) {
                    for query in query..self.rows.count.min(query + tile::<P::S>()) {
                        let block = [self.blocking.queries, self.blocking.keys];
                        self.rows.prefetch_next(s, query, next, block);
                    }
                }
                self.score(query, first_key, count);
                if self.leaves_the_range(query) {
                    self.shift(query, first_key > 0);
                    self.score(query, first_key, count);
                }
                self.accumulate(query, first_key, count);
            }
        }
        self.store(out);
    }

    /// Terms of relative positions: from a row per query to a lane per query.
    #[inline(always)]
    fn turn_terms(&mut self) {
        let (s, tile) = (self.p.simd(), tile::<P::S>());
        let all = self.blocking.rows.all_terms();
        let mut rows = [std::ptr::null(); 16];
        for query in (0..self.rows.count).step_by(P::S::LANES) {
            let to = &mut self.terms[query / tile * tile * all + query % tile..];
            for term in (0..all).step_by(P::S::LANES) {
                for (i, row) in rows[..P::S::LANES].iter_mut().enumerate() {
                    // Lanes behind the last query repeat it.
                    *row = self.rows.terms[(query + i).min(self.rows.count - 1) * all + term..].as_ptr();
                }
                // SAFETY: whole tiles of both pieces.
                unsafe { s.transpose(&rows, to[term * tile..].as_mut_ptr(), tile) };
            }
        }
    }

    /// Queries: from rows to lanes, group by group.
    #[inline(always)]
    fn turn_queries(&mut self) {
        let (s, tile, stride) = (self.p.simd(), tile::<P::S>(), self.blocking.stride);
        let channels = self.rows.operands.channels;
        let mut rows = [std::ptr::null(); 16];
        for query in (0..self.rows.count).step_by(P::S::LANES) {
            for i in 0..P::S::LANES {
                let row = (query + i).min(self.rows.count - 1);
                let from = self.rows.q[row * self.blocking.rows.query..][..channels].as_ptr();
                let to = self.stage[i * stride..][..stride].as_mut_ptr();
                // SAFETY: a row of as many channels, to a row of whole vectors.
                unsafe { self.p.pack_row(from, channels, to) };
            }
            let to = &mut self.q[query / tile * tile * stride + query % tile..];
            for lane in (0..stride).step_by(P::S::LANES) {
                for (i, row) in rows[..P::S::LANES].iter_mut().enumerate() {
                    *row = self.stage[i * stride + lane..].as_ptr();
                }
                // SAFETY: whole tiles of both pieces.
                unsafe { s.transpose(&rows, to[lane * tile..].as_mut_ptr(), tile) };
            }
        }
    }

    /// Packs a block of keys as they are, and of values group by group.
    #[inline(always)]
    fn pack_keys(&mut self, first: usize, count: usize) {
        let (p, s, operands, place) = (self.p, self.p.simd(), self.rows.operands, self.rows.place());
        let row = |columns, channels, key| operands.key_row(columns, place, channels, key);
        for (i, to) in self.keys.chunks_exact_mut(self.blocking.stride).take(count).enumerate() {
            // SAFETY: a row of as many channels, to a row of whole vectors.
            unsafe {
                p.pack_row(row(operands.k, operands.channels, first + i), operands.channels, to.as_mut_ptr())
            };
        }
        let channels = operands.value_channels;
        let nothing = s.splat(0.0);
        for (i, to) in
            (0..count).step_by(P::GROUP).zip(self.values.chunks_exact_mut(self.blocking.value_stride))
        {
            let even = row(operands.v, channels, first + i);
            let odd = (P::GROUP > 1 && i + 1 < count).then(|| row(operands.v, channels, first + i + 1));
            // SAFETY: `n` numbers are left of the rows, and the result has whole vectors and one number more.
            unsafe {
                let one = p.join([s.splat(1.0), if odd.is_some() { s.splat(1.0) } else { nothing }]);
                s.store(to[channels / P::S::LANES * P::S::LANES..].as_mut_ptr(), one);
                for c in (0..channels).step_by(P::S::LANES) {
                    let n = P::S::LANES.min(channels - c);
                    let second = match odd {
                        Some(odd) => take(s, odd.add(c), n),
                        None => nothing,
                    };
                    put(s, to.as_mut_ptr().add(c), p.join([take(s, even.add(c), n), second]), n);
                }
            }
        }
    }

    /// Weights of a tile for a block of keys, and the largest exponents so far.
    #[inline(always)]
    fn score(&mut self, query: usize, first_key: usize, count: usize) {
        let mut walk = self.start(query, first_key, count);
        let mut starts = [[std::ptr::null(); 2]; STRIP_ROWS];
        let strip = strip::<P>();
        let tile = tile::<P::S>();
        let (stride, depth) = (self.blocking.stride, self.blocking.depth);
        let q = self.q[query * stride..].as_ptr();
        for key in (0..count).step_by(strip) {
            let rows = strip.min(count - key);
            for start in &mut starts[..rows] {
                *start = walk.next::<P::S>();
            }
            let keys = self.keys[key * stride..].as_ptr();
            let weights = self.weights[key / P::GROUP * tile..].as_mut_ptr();
            let largest = self.largest[query..].as_mut_ptr();
            // SAFETY: strips and tiles lie inside their pieces.
            unsafe { Kernels::<P>::score(rows)(self.p, depth, keys, stride, q, &starts, weights, largest) };
        }
    }

    /// What the scores of a tile start from: bias and shift.
    #[inline(always)]
    fn start(&mut self, query: usize, first_key: usize, count: usize) -> Walk {
        let (s, tile) = (self.p.simd(), tile::<P::S>());
        let shift = &self.shift[query..][..tile];
        let less_shift = |lines: &[f32], to: &mut [f32]| {
            for (line, to) in lines.chunks_exact(tile).zip(to.chunks_exact_mut(tile)) {
                for i in (0..tile).step_by(P::S::LANES) {
                    // SAFETY: whole vectors of all three.
                    unsafe {
                        let line = s.load(line.as_ptr().add(i));
                        s.store(to.as_mut_ptr().add(i), s.sub(line, s.load(shift.as_ptr().add(i))));
                    }
                }
            }
        };
        // The first line is nothing.
        let (nothing, lines) = self.lines.split_at_mut(tile);
        nothing.fill(0.0);
        match self.rows.operands.bias {
            Bias::Relative { .. } => {
                let line_len = self.blocking.rows.grid[1];
                let [by_line, by_column] = self.blocking.rows.terms;
                let terms = &self.terms[query * (by_line + by_column)..][..tile * (by_line + by_column)];
                let (by_line, by_column) = terms.split_at(by_line * tile);
                let (first, last) = (first_key / line_len, (first_key + count - 1) / line_len);
                less_shift(&by_line[first * tile..(last + 1) * tile], lines);
                let across = first_key % line_len;
                let column = by_column[across * tile..].as_ptr();
                Walk { line: lines.as_ptr(), column, across, line_len, step: tile }
            }
            _ => {
                less_shift(nothing, lines);
                Walk {
                    line: lines.as_ptr(),
                    column: nothing.as_ptr(),
                    across: 0,
                    line_len: usize::MAX,
                    step: 0,
                }
            }
        }
    }

    #[inline(always)]
    fn leaves_the_range(&self, query: usize) -> bool {
        let largest = &self.largest[query..][..tile::<P::S>()];
        largest.iter().any(|largest| largest.abs() > MOST && largest.is_finite())
    }

    /// From now on the largest exponents so far are 0, where they are too far from it.
    #[inline(always)]
    fn shift(&mut self, query: usize, any_yet: bool) {
        let (s, tile) = (self.p.simd(), tile::<P::S>());
        let channels = self.rows.operands.value_channels + 1;
        let out = &mut self.out[query * channels..][..tile * channels];
        let mut less = [0.0; 2 * 16];
        for (i, less) in less[..tile].iter_mut().enumerate() {
            let largest = &mut self.largest[query + i];
            if largest.abs() > MOST && largest.is_finite() {
                *less = *largest;
                self.shift[query + i] += *largest;
                *largest = f32::NEG_INFINITY;
            }
        }
        if any_yet {
            for row in out.chunks_exact_mut(tile) {
                for i in (0..tile).step_by(P::S::LANES) {
                    // SAFETY: whole vectors of both.
                    unsafe {
                        let less = s.sub(s.splat(0.0), s.max(s.load(less.as_ptr().add(i)), s.splat(0.0)));
                        let row = row.as_mut_ptr().add(i);
                        s.store(row, s.mul(s.load(row), exp2_of_negative(s, less)));
                    }
                }
            }
        }
    }

    /// `out += values · weights` for a tile.
    #[inline(always)]
    fn accumulate(&mut self, query: usize, first_key: usize, count: usize) {
        let tile = tile::<P::S>();
        let channels = self.rows.operands.value_channels + 1;
        let strip = balanced(channels, P::S::ROWS);
        let (depth, stride) = (count.div_ceil(P::GROUP), self.blocking.value_stride);
        let weights = self.weights.as_ptr();
        for channel in (0..channels).step_by(strip) {
            let kernel = Kernels::<P>::accumulate(strip.min(channels - channel));
            let values = self.values[channel..].as_ptr();
            let to = self.out[query * channels + channel * tile..].as_mut_ptr();
            // SAFETY: strips and tiles lie inside their pieces.
            unsafe { kernel(self.p, depth, values, stride, weights, to, first_key > 0) };
        }
    }

    /// Divides by the sums and stores the rows where they belong.
    #[inline(always)]
    fn store(&mut self, out: Output) {
        let (s, tile) = (self.p.simd(), tile::<P::S>());
        let channels = self.rows.operands.value_channels;
        let mut rows = [std::ptr::null(); 16];
        for query in (0..self.rows.count).step_by(P::S::LANES) {
            let first = query / tile * tile;
            let from = &self.out[first * (channels + 1)..][..tile * (channels + 1)];
            let sums = &from[channels * tile + query % tile..];
            let count = P::S::LANES.min(self.rows.count - query);
            for c in (0..channels).step_by(P::S::LANES) {
                for (i, row) in rows[..P::S::LANES].iter_mut().enumerate() {
                    *row = from[(c + i).min(channels) * tile + query % tile..].as_ptr();
                }
                let n = P::S::LANES.min(channels - c);
                // SAFETY: whole tiles of both pieces; tasks have their own rows and heads.
                unsafe {
                    s.transpose(&rows, self.stage.as_mut_ptr(), P::S::LANES);
                    for (i, &sum) in sums[..count].iter().enumerate() {
                        let row = self.rows.group.queries.row(self.rows.first + query + i);
                        let value = s.load(self.stage.as_ptr().add(i * P::S::LANES));
                        let value = s.mul(value, s.splat(1.0 / sum));
                        put(s, out.at(row, self.rows.index * channels + c), value, n);
                    }
                }
            }
        }
    }
}
