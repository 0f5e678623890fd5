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
mod sizes;
mod tokens;

use std::f32::consts::LOG2_E;

use samovar_tensor::{Attention, AttentionBias, Result, Tensor};

use crate::attention::sizes::Sizes;
use crate::attention::tokens::{Group, Tokens};
use crate::gemm::Output;
use crate::gemm::micro::{Ending, micro, panel_columns};
use crate::gemm::pack::{copy_panel, pack_panel};
use crate::math::exp2_of_negative;
use crate::scratch::Scratch;
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

pub(crate) fn attention<S: Simd>(threads: &Threads, s: S, a: &Attention, out: &mut Tensor) -> Result<()> {
    let tokens = Tokens::new(a)?;
    let head = Head::new(a)?;
    if few_keys::suits::<S>(&head, &tokens) {
        few_keys::attention(threads, s, &head, &tokens, out)?;
        return Ok(());
    }
    let sizes = Sizes::new::<S>(threads.count(), &head, &tokens)?;
    let blocks = tokens.most_queries.div_ceil(sizes.queries);
    let stride = a.heads * a.value_channels;
    let out = Output::new(out.f32_mut()?, stride);
    let vectors = tokens.groups * a.heads * tokens.most_queries * tokens.keys.div_ceil(S::LANES);
    let cycles = (vectors * (a.head_channels + a.value_channels + 16)) as u64;
    // Heads of a small group follow each other in a task, so that the next one's rows are asked for in time.
    let mut heads = if blocks == 1 { a.heads } else { 1 };
    while heads > 1 && tokens.groups * a.heads.div_ceil(heads) < TASKS_PER_THREAD * threads.count() {
        heads = heads.div_ceil(2);
    }
    let shares = a.heads.div_ceil(heads);
    threads.run(tokens.groups * shares * blocks, cycles, |task, scratch| {
        // Blocks of a head follow each other, so that its keys are still in L3.
        let (group, block) = (task / blocks, task % blocks);
        let (group, share) = (tokens.group(group / shares), group % shares);
        let first = block * sizes.queries;
        let count = sizes.queries.min(group.queries.count().saturating_sub(first));
        let end = ((share + 1) * heads).min(a.heads);
        for index in share * heads..end {
            if count == 0 {
                break;
            }
            let mut work = Work::new::<S>(&head, &sizes, index, group, first, count, scratch);
            let is_first = index == share * heads;
            s.vectorize(
                #[inline(always)]
                || work.run(s, out, is_first, index + 1 < end),
            );
        }
    });
    Ok(())
}

/// With several threads, tasks for each of them at least, if heads can be divided.
const TASKS_PER_THREAD: usize = 16;

/// What all tasks have in common.
struct Head<'a> {
    q: Columns<'a>,
    k: Columns<'a>,
    v: Columns<'a>,
    channels: usize,
    value_channels: usize,
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
    scores: &'a mut [f32],
    tables: &'a mut [f32],
    q: &'a mut [f32],
    out: &'a mut [f32],
    terms: &'a mut [f32],
    largest: &'a mut [f32],
    sums: &'a mut [f32],
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
        let [a, b, c, d] = sizes.fixed_pieces(head, panel_columns::<S>());
        let [e, f, g, h, i] = sizes.pieces_of_a_query().map(|len| len * sizes.queries);
        let [keys, values, scores, tables, q, out, terms, largest, sums] =
            scratch.split([a, b, c, d, e, f, g, h, i]);
        Self {
            head,
            sizes,
            index,
            group,
            first,
            count,
            keys,
            values,
            scores,
            tables,
            q,
            out,
            terms,
            largest,
            sums,
        }
    }

    /// `is_first` of the task: what heads have in common is not there yet. `goes_on` with the next one.
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, out: Output, is_first: bool, goes_on: bool) {
        self.take_queries(s);
        if let Bias::Relative { rows, columns, .. } = self.head.bias {
            if is_first {
                self.pack_tables(s, rows, columns);
            }
            self.relative_terms(s);
        }
        self.scale_queries(s);
        self.largest.fill(f32::NEG_INFINITY);
        self.sums.fill(0.0);
        let keys = self.group.keys.count();
        for first_key in (0..keys).step_by(self.sizes.keys) {
            let count = self.sizes.keys.min(keys - first_key);
            self.pack_keys(s, first_key, count);
            // The next block's rows arrive while this one is worked on, if that takes a while.
            if self.count > 2 * S::ROWS {
                let next = first_key + count;
                self.prefetch_keys(s, next, self.sizes.keys.min(keys - next));
            }
            for strip in (0..self.count).step_by(S::ROWS) {
                let rows = S::ROWS.min(self.count - strip);
                if goes_on {
                    self.prefetch_next_head(s, strip, keys);
                }
                self.score(s, strip, rows, count);
                self.soften(s, strip, rows, first_key, count);
                self.accumulate(s, strip, rows, first_key, count);
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
            let to = self.keys[start * head.channels..][..width * head.channels].as_mut_ptr();
            let columns = width.min(all_columns - start);
            let key = |j: usize| {
                // Columns behind a line's keys repeat the last one; their scores do not count.
                let key = match line_columns {
                    1 => start + j,
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
                let position = (first + start + j) * positions.stride + self.index * head.channels;
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
        for channel in (0..channels).step_by(width) {
            let to = self.values[channel * self.sizes.keys..][..width * count].as_mut_ptr();
            let value = |i| row(head.v, head.value_channels, first + i).wrapping_add(channel);
            // SAFETY: rows of as many channels, into a panel's size.
            unsafe { copy_panel(s, width.min(head.value_channels - channel), count, value, to) };
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

    /// A strip's share of the next head's rows: all of them are asked for while this head is worked on.
    #[inline(always)]
    fn prefetch_next_head<S: Simd>(&self, s: S, strip: usize, keys: usize) {
        let head = self.head;
        let of_strip = |all: usize| {
            let share = all.div_ceil(self.count.div_ceil(S::ROWS));
            let first = (strip / S::ROWS * share).min(all);
            first..(first + share).min(all)
        };
        let ask = |row: usize, columns: Columns<'a>, channels: usize| {
            let start = row * columns.stride + columns.first + (self.index + 1) * channels;
            for i in (0..channels).step_by(16) {
                s.prefetch_to_read(columns.values.as_ptr().wrapping_add(start + i));
            }
        };
        for i in of_strip(self.count) {
            ask(self.group.queries.row(self.first + i), head.q, head.channels);
        }
        for key in of_strip(keys) {
            if let Some(row) = self.group.keys.row_or_padding(key) {
                ask(row, head.k, head.channels);
                ask(row, head.v, head.value_channels);
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

    /// `scores = q kᵀ` for a strip of queries.
    #[inline(always)]
    fn score<S: Simd>(&mut self, s: S, strip: usize, rows: usize, count: usize) {
        let count = self.columns_of(count);
        let width = panel_columns::<S>();
        let q = self.q[strip * self.sizes.q_stride..].as_ptr();
        for start in (0..count).step_by(width) {
            let kernel = micro::<S>(rows, (count - start).min(width).div_ceil(S::LANES));
            let keys = self.keys[start * self.head.channels..].as_ptr();
            let to = self.scores[start..].as_mut_ptr();
            // SAFETY: strips and panels lie inside their pieces.
            unsafe {
                kernel(
                    s,
                    self.head.channels,
                    q,
                    self.sizes.q_stride,
                    keys,
                    width,
                    to,
                    self.sizes.score_stride,
                    &Ending::NONE,
                );
            }
        }
    }

    /// Adds the bias, then turns scores into weights relative to the largest score so far.
    #[inline(always)]
    fn soften<S: Simd>(&mut self, s: S, strip: usize, rows: usize, first_key: usize, count: usize) {
        let columns = self.columns_of(count);
        let whole = columns.next_multiple_of(S::LANES);
        // Weights lie close together, without the columns that are no keys.
        let [line_keys, line_columns] = match self.sizes.line {
            [_, 1] => [whole, whole],
            line => line,
        };
        for r in 0..rows {
            let query = strip + r;
            let row = r * self.sizes.score_stride;
            self.scores[row + columns..row + whole].fill(f32::NEG_INFINITY);
            let largest = self.add_bias(s, r, query, first_key, count);
            let scores = &mut self.scores[row..][..whole];
            let before = self.largest[query];
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
            if now != before {
                // The largest score settles after a few blocks, so this is rare.
                let kept = (before - now).exp2();
                total += self.sums[query] * kept;
                if first_key > 0 {
                    let kept = s.splat(kept);
                    let stride = self.sizes.out_stride;
                    for chunk in self.out[query * stride..][..stride].chunks_exact_mut(S::LANES) {
                        // SAFETY: a whole vector.
                        unsafe { s.store(chunk.as_mut_ptr(), s.mul(s.load(chunk.as_ptr()), kept)) };
                    }
                }
                self.largest[query] = now;
                self.sums[query] = total;
            } else {
                self.sums[query] += total;
            }
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
                false => (self.values[channel * self.sizes.keys..].as_ptr(), width),
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
