//! Attention without the score matrix.
//!
//! A task is a block of queries of one head of one group (a batch entry or a window). It walks the keys block by
//! block: packs keys and values, and for every strip of queries multiplies, adds the bias, takes a running softmax
//! and accumulates the values, all in cache:
//!
//! ```text
//! strip of q ─ q kᵀ ─ + bias ─ new maximum m' ─ p = exp(s − m') ─ o = o · exp(m − m') + p v     (o / Σp at the end)
//! ```
//!
//! The decomposed relative position costs two small products with pieces of its tables, done once; see [`bias`].

mod bias;
mod few_keys;
pub(crate) mod folded;
#[cfg(target_arch = "x86_64")]
pub(crate) mod in_lanes;
mod paired;
mod score;
mod sizes;
mod tokens;

use std::f32::consts::LOG2_E;

use samovar_tensor::{Attention, AttentionBias, Result, Tensor};

use crate::attention::score::{MOST_LANES, score};
use crate::attention::sizes::Sizes;
use crate::attention::tokens::{Group, Tokens};
use crate::gemm::Output;
use crate::gemm::micro::{Ending, STRIP_ROWS, micro, panel_columns};
use crate::gemm::pack::{copy_panel, pack_panel};
use crate::level::Products;
use crate::math::exp2_of_negative;
use crate::scratch::Scratch;
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

pub(crate) fn attention<S: Simd>(
    threads: &Threads,
    s: S,
    products: Products,
    a: &Attention,
    out: &mut Tensor,
) -> Result<()> {
    let tokens = Tokens::new(a)?;
    let head = Head::new(a)?;
    if few_keys::suits::<S>(&head, &tokens) {
        few_keys::attention(threads, s, &head, &tokens, out)?;
        return Ok(());
    }
    let sizes = Sizes::new::<S>(threads.count(), products, &head, &tokens)?;
    let blocks = tokens.most_queries.div_ceil(sizes.queries);
    let stride = a.heads * a.value_channels;
    let out = Output::new(out.f32_mut()?, stride);
    let vectors = tokens.groups * a.heads * tokens.most_queries * tokens.keys.div_ceil(S::LANES);
    let cycles = (vectors * (a.head_channels + a.value_channels + 16)) as u64;
    let heads = tokens.groups * a.heads;
    // Small groups follow each other in a task, head by head, so that the next one's rows are asked for in time.
    let run = if blocks == 1 { (heads / (TASKS_PER_THREAD * threads.count())).max(1) } else { 1 };
    threads.run(heads.div_ceil(run) * blocks, cycles, |task, scratch| {
        // Blocks of a head follow each other, so that its keys are still in L3.
        let (first_head, block) = (task / blocks * run, task % blocks);
        let end = (first_head + run).min(heads);
        let place = |at: usize| Place { group: tokens.group(at / a.heads), index: at % a.heads };
        for at in first_head..end {
            let Place { group, index } = place(at);
            let first = block * sizes.queries;
            let count = sizes.queries.min(group.queries.count().saturating_sub(first));
            if count == 0 {
                continue;
            }
            let mut work = Work::new::<S>(&head, &sizes, index, group, first, count, scratch);
            let next = (at + 1 < end).then(|| place(at + 1));
            s.vectorize(
                #[inline(always)]
                || work.run(s, out, at == first_head, next),
            );
        }
    });
    Ok(())
}

/// With several threads, tasks for each of them at least, if there are as many heads.
const TASKS_PER_THREAD: usize = 16;

/// A head of a group.
#[derive(Clone, Copy)]
struct Place {
    group: Group,
    index: usize,
}

/// What all tasks have in common.
struct Head<'a> {
    q: Columns<'a>,
    k: Columns<'a>,
    v: Columns<'a>,
    channels: usize,
    value_channels: usize,
    /// Queries of an entry or a window.
    queries: usize,
    scale: f32,
    bias: Bias<'a>,
    padding: Option<&'a [f32]>,
}

/// Columns of a matrix.
#[derive(Clone, Copy)]
struct Columns<'a> {
    values: &'a [f32],
    stride: usize,
    first: usize,
}

enum Bias<'a> {
    None,
    Relative {
        rows: &'a [f32],
        columns: &'a [f32],
        grid: [usize; 2],
    },
    /// `[heads, queries, keys]`
    Table {
        values: &'a [f32],
        queries: usize,
        keys: usize,
    },
    /// A row per key, with all heads side by side.
    KeyPositions(Columns<'a>),
}

impl<'a> Head<'a> {
    fn new(a: &Attention<'a>) -> Result<Self> {
        let columns = |rows: &samovar_tensor::Rows<'a>| -> Result<Columns<'a>> {
            Ok(Columns { values: rows.tensor.f32()?, stride: rows.stride(), first: rows.first_column })
        };
        Ok(Self {
            q: columns(&a.q)?,
            k: columns(&a.k)?,
            v: columns(&a.v)?,
            channels: a.head_channels,
            value_channels: a.value_channels,
            queries: paired::queries_of(a.layout),
            scale: a.scale,
            bias: match a.bias {
                AttentionBias::None => Bias::None,
                AttentionBias::RelativePosition { rows, columns, grid } => {
                    Bias::Relative { rows: rows.f32()?, columns: columns.f32()?, grid }
                }
                AttentionBias::Table(table) => {
                    let [_, queries, keys] = table.shape().fixed("attention")?;
                    Bias::Table { values: table.f32()?, queries, keys }
                }
                AttentionBias::KeyPositions(positions) => {
                    Bias::KeyPositions(columns(&samovar_tensor::Rows::whole(positions))?)
                }
            },
            padding: match a.layout {
                samovar_tensor::TokenLayout::Windows { padding: Some(row), .. } => Some(row.f32()?),
                _ => None,
            },
        })
    }
}

/// One task.
struct Work<'a> {
    head: &'a Head<'a>,
    sizes: &'a Sizes,
    /// Which head.
    index: usize,
    group: Group,
    /// First query of the task, and how many.
    first: usize,
    count: usize,
    keys: &'a mut [f32],
    values: &'a mut [f32],
    /// Of the panels of keys, then of those of values.
    numbers: &'a mut [f32],
    scores: &'a mut [f32],
    tables: &'a mut [f32],
    q: &'a mut [f32],
    out: &'a mut [f32],
    terms: &'a mut [f32],
    largest: &'a mut [f32],
    sums: &'a mut [f32],
    query_numbers: &'a mut [f32],
}

impl<'a> Work<'a> {
    fn new<S: Simd>(
        head: &'a Head<'a>,
        sizes: &'a Sizes,
        index: usize,
        group: Group,
        first: usize,
        count: usize,
        scratch: &'a mut Scratch,
    ) -> Self {
        let [a, b, c, d, e] = sizes.fixed_pieces(head, panel_columns::<S>());
        let queries = sizes.queries.next_multiple_of(sizes.strip);
        let [f, g, h, i, j, k] = sizes.pieces_of_a_query().map(|len| len * queries);
        let [keys, values, numbers, scores, tables, q, out, terms, largest, sums, query_numbers] =
            scratch.split([a, b, c, d, e, f, g, h, i, j, k]);
        Self {
            head,
            sizes,
            index,
            group,
            first,
            count,
            keys,
            values,
            numbers,
            scores,
            tables,
            q,
            out,
            terms,
            largest,
            sums,
            query_numbers,
        }
    }

    /// `is_first` of the task: what heads have in common is not there yet.
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, out: Output, is_first: bool, next: Option<Place>) {
        self.take_queries(s);
        if let Bias::Relative { rows, columns, .. } = self.head.bias {
            if is_first {
                self.pack_tables(s, rows, columns);
            }
            self.relative_terms(s);
        }
        self.scale_queries(s);
        if self.sizes.paired {
            self.balance_queries(s);
        }
        let keys = self.group.keys.count();
        let mut tops = [0.0; STRIP_ROWS * MOST_LANES];
        for first_key in (0..keys).step_by(self.sizes.keys) {
            let count = self.sizes.keys.min(keys - first_key);
            self.pack_keys(s, first_key, count);
            // The next block's rows arrive while this one is worked on, if that takes a while.
            if self.count > 2 * self.sizes.strip {
                let next = first_key + count;
                self.prefetch_keys(s, next, self.sizes.keys.min(keys - next));
            }
            for strip in (0..self.count).step_by(self.sizes.strip) {
                let rows = self.sizes.strip.min(self.count - strip);
                let is_last = first_key + count == keys;
                if is_last {
                    self.prefetch_result(s, out, strip, rows);
                }
                let next = next.as_ref().filter(|_| is_last);
                if self.sizes.paired {
                    self.score_in_pairs(s, strip, rows, first_key, count, &mut tops);
                    self.soften(s, strip, rows, first_key, count, &tops, next);
                    self.accumulate_in_pairs(s, strip, rows, first_key, count);
                } else {
                    self.score(s, strip, rows, first_key, count, &mut tops);
                    self.soften(s, strip, rows, first_key, count, &tops, next);
                    self.accumulate(s, strip, rows, first_key, count);
                }
            }
        }
        self.store(s, out, keys);
    }

    /// Copies the task's queries, scaled only to powers of 2: `e^x = 2^(x log₂ e)`, and powers of 2 are cheaper.
    #[inline(always)]
    fn take_queries<S: Simd>(&mut self, s: S) {
        let (q, channels) = (self.head.q, self.head.channels);
        for i in 0..self.count {
            let row = self.group.queries.row(self.first + i);
            let from = &q.values[row * q.stride + q.first + self.index * channels..][..channels];
            let to = &mut self.q[i * self.sizes.q_stride..][..channels];
            for c in (0..channels).step_by(S::LANES) {
                let n = S::LANES.min(channels - c);
                // SAFETY: `n` numbers are left of both.
                unsafe {
                    let q = s.mul(take(s, from.as_ptr().add(c), n), s.splat(LOG2_E));
                    put(s, to.as_mut_ptr().add(c), q, n);
                }
            }
        }
    }

    #[inline(always)]
    fn scale_queries<S: Simd>(&mut self, s: S) {
        let scale = s.splat(self.head.scale);
        // The stride is whole vectors; what lies behind the channels does not matter.
        for chunk in self.q[..self.count * self.sizes.q_stride].chunks_exact_mut(S::LANES) {
            // SAFETY: a whole vector.
            unsafe { s.store(chunk.as_mut_ptr(), s.mul(s.load(chunk.as_ptr()), scale)) };
        }
    }

    /// Packs a block of keys (transposed) and values.
    #[inline(always)]
    fn pack_keys<S: Simd>(&mut self, s: S, first: usize, count: usize) {
        let width = panel_columns::<S>();
        let head = self.head;
        let row = |columns: Columns<'a>, channels: usize, key: usize| -> *const f32 {
            let row = match self.group.keys.row_or_padding(key) {
                Some(row) => &columns.values[row * columns.stride..][..columns.stride],
                None => head.padding.expect("checked: windows over the edge come with a padding row"),
            };
            row[columns.first + self.index * channels..][..channels].as_ptr()
        };
        let [line_keys, line_columns] = self.sizes.line;
        let all_columns = self.columns_of(count);
        for start in (0..all_columns).step_by(width) {
            let panel_rows = self.sizes.panel_rows(head.channels);
            let to = self.keys[start * panel_rows..][..width * panel_rows].as_mut_ptr();
            // Columns behind the keys, or a line's keys, repeat the last one; their scores do not count.
            let columns = width.min((all_columns - start).next_multiple_of(S::LANES));
            let key = |j: usize| {
                let key = match line_columns {
                    1 => (start + j).min(count - 1),
                    n => (start + j) / n * line_keys + ((start + j) % n).min(line_keys - 1),
                };
                row(head.k, head.channels, first + key)
            };
            let Bias::KeyPositions(positions) = head.bias else {
                // SAFETY: rows of as many channels, into a panel's size.
                unsafe { pack_panel(s, columns, head.channels, key, to) };
                continue;
            };
            let placed = self.tables.as_mut_ptr();
            let stride = self.sizes.q_stride;
            for j in 0..columns {
                let position =
                    (first + (start + j).min(count - 1)) * positions.stride + self.index * head.channels;
                let position = positions.values[position..][..head.channels].as_ptr();
                for c in (0..head.channels).step_by(S::LANES) {
                    let n = S::LANES.min(head.channels - c);
                    // SAFETY: `n` numbers are left of both rows, and the piece has a panel of rows.
                    unsafe {
                        let sum = s.add(take(s, key(j).add(c), n), take(s, position.add(c), n));
                        put(s, placed.add(j * stride + c), sum, n);
                    }
                }
            }
            // SAFETY: as above.
            unsafe { pack_panel(s, columns, head.channels, |j| placed.add(j * stride), to) };
        }
        let channels = if self.sizes.values_in_place { 0 } else { head.value_channels };
        let panel_rows = self.sizes.panel_rows(self.sizes.keys);
        for channel in (0..channels).step_by(width) {
            let to = self.values[channel * panel_rows..][..width * count].as_mut_ptr();
            let value = |i| row(head.v, head.value_channels, first + i).wrapping_add(channel);
            // SAFETY: rows of as many channels, into a panel's size.
            unsafe { copy_panel(s, width.min(head.value_channels - channel), count, value, to) };
        }
        if self.sizes.paired {
            self.prepare_panels(s, all_columns, count);
        }
    }

    #[inline(always)]
    fn prefetch_keys<S: Simd>(&self, s: S, first: usize, count: usize) {
        for key in first..first + count {
            let Some(row) = self.group.keys.row_or_padding(key) else { continue };
            for (part, channels) in
                [(self.head.k, self.head.channels), (self.head.v, self.head.value_channels)]
            {
                let start = row * part.stride + part.first + self.index * channels;
                for i in (0..channels).step_by(16) {
                    s.prefetch_to_read(part.values.as_ptr().wrapping_add(start + i));
                }
            }
        }
    }

    /// A query's share of the next head's rows: all of them are asked for while this head is worked on. Few at a time,
    /// since a core has few requests under way, and more of them do not help.
    #[inline(always)]
    fn prefetch_next<S: Simd>(&self, s: S, query: usize, next: &Place) {
        let head = self.head;
        // Its first block of keys; it asks for the others itself.
        let keys = next.group.keys.count().min(self.sizes.keys);
        let share = keys.div_ceil(self.count);
        let of_query = |all: usize| (query * share).min(all)..((query + 1) * share).min(all);
        let ask = |row: usize, columns: Columns<'a>, channels: usize| {
            let start = row * columns.stride + columns.first + next.index * channels;
            for i in (0..channels).step_by(16) {
                s.prefetch_to_read(columns.values.as_ptr().wrapping_add(start + i));
            }
        };
        let queries = next.group.queries;
        for i in of_query(queries.count().min(self.sizes.queries)) {
            ask(queries.row(self.first + i), head.q, head.channels);
        }
        for key in of_query(keys) {
            if let Some(row) = next.group.keys.row_or_padding(key) {
                ask(row, head.k, head.channels);
                ask(row, head.v, head.value_channels);
            }
        }
    }

    /// Where the results of a strip go to.
    #[inline(always)]
    fn prefetch_result<S: Simd>(&self, s: S, out: Output, strip: usize, rows: usize) {
        let channels = self.head.value_channels;
        for i in strip..strip + rows {
            let row = self.group.queries.row(self.first + i);
            for c in (0..channels).step_by(16) {
                s.prefetch_to_write(out.at(row, self.index * channels + c));
            }
        }
    }

    /// Columns of scores that so many keys take.
    #[inline(always)]
    fn columns_of(&self, keys: usize) -> usize {
        match self.sizes.line {
            [_, 1] => keys,
            [line_keys, line_columns] => keys / line_keys * line_columns,
        }
    }

    /// `scores = bias + q kᵀ` for a strip of queries, and a vector for each whose largest number is the largest score.
    #[inline(always)]
    fn score<S: Simd>(
        &mut self,
        s: S,
        strip: usize,
        rows: usize,
        first_key: usize,
        count: usize,
        tops: &mut [f32],
    ) {
        let count = self.columns_of(count);
        let width = panel_columns::<S>();
        let mut addends = self.addends(strip, rows);
        tops.fill(f32::NEG_INFINITY);
        for start in (0..count).step_by(width) {
            addends.kind = self.addend_of_panel::<S>(first_key, start);
            addends.keys = count - start;
            let kernel = score::<S>(rows, addends.keys.min(width).div_ceil(S::LANES));
            let (stride, score_stride) = (self.sizes.q_stride, self.sizes.score_stride);
            let q = self.q[strip * stride..].as_ptr();
            let keys = self.keys[start * self.head.channels..].as_ptr();
            let (to, tops) = (self.scores[start..].as_mut_ptr(), tops.as_mut_ptr());
            // SAFETY: strips and panels lie inside their pieces, as many tops are there, and rows go on for the keys of
            // the panel or for a line and all of its columns.
            unsafe {
                kernel(s, self.head.channels, q, stride, keys, &addends, to, score_stride, tops);
            }
        }
    }

    /// Turns scores into weights relative to the largest score so far.
    #[inline(always)]
    fn soften<S: Simd>(
        &mut self,
        s: S,
        strip: usize,
        rows: usize,
        first_key: usize,
        count: usize,
        tops: &[f32],
        next: Option<&Place>,
    ) {
        let columns = self.columns_of(count);
        let whole = columns.next_multiple_of(S::LANES);
        // Weights lie close together, without the columns that are no keys.
        let [line_keys, line_columns] = match self.sizes.line {
            [_, 1] => [whole, whole],
            line => line,
        };
        for (r, top) in tops.chunks_exact(S::LANES).take(rows).enumerate() {
            let query = strip + r;
            if let Some(next) = next {
                self.prefetch_next(s, query, next);
            }
            let scores = &mut self.scores[r * self.sizes.score_stride..][..whole];
            // SAFETY: a whole vector.
            let largest = s.largest(unsafe { s.load(top.as_ptr()) });
            let before = if first_key > 0 { self.largest[query] } else { f32::NEG_INFINITY };
            let now = before.max(largest);
            let (shift, mut sum) = (s.splat(now), s.splat(0.0));
            let (mut from, mut to) = (scores.as_ptr(), scores.as_mut_ptr());
            for _ in 0..whole / line_columns {
                for i in (0..line_columns).step_by(S::LANES) {
                    // SAFETY: whole vectors of the row; results go no further than what has been read. What lies behind
                    // a line's weights is written over by the next.
                    unsafe {
                        let weight = exp2_of_negative(s, s.sub(s.load(from.add(i)), shift));
                        sum = s.add(sum, weight);
                        s.store(to.add(i), weight);
                    }
                }
                (from, to) = (from.wrapping_add(line_columns), to.wrapping_add(line_keys));
            }
            let mut total = s.sum(sum);
            if first_key > 0 {
                if now != before {
                    // The largest score settles after a few blocks, so this is rare.
                    let kept = (before - now).exp2();
                    self.sums[query] *= kept;
                    let kept = s.splat(kept);
                    let stride = self.sizes.out_stride;
                    for chunk in self.out[query * stride..][..stride].chunks_exact_mut(S::LANES) {
                        // SAFETY: a whole vector.
                        unsafe { s.store(chunk.as_mut_ptr(), s.mul(s.load(chunk.as_ptr()), kept)) };
                    }
                }
                total += self.sums[query];
            }
            (self.largest[query], self.sums[query]) = (now, total);
        }
    }

    /// `out += weights · values` for a strip of queries.
    #[inline(always)]
    fn accumulate<S: Simd>(&mut self, s: S, strip: usize, rows: usize, first_key: usize, count: usize) {
        let width = panel_columns::<S>();
        let channels = self.head.value_channels;
        for channel in (0..channels).step_by(width) {
            let kernel = micro::<S>(rows, (channels - channel).min(width).div_ceil(S::LANES));
            let (values, values_stride) = match self.sizes.values_in_place {
                true => {
                    let v = self.head.v;
                    let start = v.first + self.index * channels + channel;
                    (v.values[self.group.keys.row(first_key) * v.stride + start..].as_ptr(), v.stride)
                }
                false => (self.values[channel * self.sizes.panel_rows(self.sizes.keys)..].as_ptr(), width),
            };
            let to = self.out[strip * self.sizes.out_stride + channel..].as_mut_ptr();
            // SAFETY: strips and panels lie inside their pieces.
            unsafe {
                let scores = self.scores.as_ptr();
                let ending = Ending { add: first_key > 0, ..Ending::NONE };
                let stride = self.sizes.score_stride;
                kernel(s, count, scores, stride, values, values_stride, to, self.sizes.out_stride, &ending);
            }
        }
    }

    /// Divides by the sums and stores the rows where they belong.
    #[inline(always)]
    fn store<S: Simd>(&mut self, s: S, out: Output, keys: usize) {
        let channels = self.head.value_channels;
        for i in 0..self.count {
            let row = self.group.queries.row(self.first + i);
            let from = &self.out[i * self.sizes.out_stride..][..channels];
            // No keys, no result: the reference divides nothing by nothing.
            let factor = if keys == 0 { f32::NAN } else { 1.0 / self.sums[i] };
            for c in (0..channels).step_by(S::LANES) {
                let n = S::LANES.min(channels - c);
                // SAFETY: tasks have their own rows and heads.
                unsafe {
                    let value = s.mul(take(s, from.as_ptr().add(c), n), s.splat(factor));
                    put(s, out.at(row, self.index * channels + c), value, n);
                }
            }
        }
    }
}
