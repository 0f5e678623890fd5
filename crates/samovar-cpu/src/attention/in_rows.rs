//! Attention with queries in rows, from end to end: cut into tasks, each block of keys times each strip of queries.

use samovar_tensor::{Attention, Result, Tensor};

use crate::attention::operands::{Bias, Operands, Place, TASKS_PER_THREAD};
use crate::attention::row_blocking::RowBlocking;
use crate::attention::row_blocks::RowTask;
use crate::attention::score::MOST_LANES;
use crate::attention::shape::AttentionShape;
use crate::attention::tokens::Tokens;
use crate::gemm::micro::STRIP_ROWS;
use crate::gemm::output::Output;
use crate::routes::choice::RowAttention;
use crate::simd::Simd;
use crate::threads::Threads;

pub(crate) fn attention<S: Simd>(
    threads: &Threads,
    s: S,
    route: RowAttention,
    a: &Attention,
    shape: &AttentionShape,
    tokens: &Tokens,
    out: &mut Tensor,
) -> Result<()> {
    let operands = Operands::new(a)?;
    let blocking = RowBlocking::new::<S>(threads.count(), route, shape)?;
    let blocks = tokens.most_queries.div_ceil(blocking.queries);
    let out = Output::new(out.f32_mut()?, a.heads * a.value_channels);
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
            let head = place(at);
            let first = block * blocking.queries;
            let count = blocking.queries.min(head.group.queries.count().saturating_sub(first));
            if count == 0 {
                continue;
            }
            let mut task = RowTask::new::<S>(&operands, shape, &blocking, head, first, count, scratch);
            let next = (at + 1 < end).then(|| place(at + 1));
            s.vectorize(
                #[inline(always)]
                || run_task(s, &mut task, out, at == first_head, next),
            );
        }
    });
    Ok(())
}

/// `is_first` of its run: what heads have in common is not there yet.
#[inline(always)]
fn run_task<S: Simd>(s: S, task: &mut RowTask, out: Output, is_first: bool, next: Option<Place>) {
    let (queries, blocking) = (&mut task.queries, task.blocking);
    queries.take_queries(s);
    if let Bias::Relative { rows, columns } = queries.operands.bias {
        if is_first {
            queries.pack_tables(s, rows, columns);
        }
        queries.relative_terms(s);
    }
    queries.scale_queries(s);
    if blocking.paired {
        task.balance_queries(s);
    }
    let (keys, queries) = (task.queries.group.keys.count(), task.queries.count);
    let mut tops = [0.0; STRIP_ROWS * MOST_LANES];
    for first_key in (0..keys).step_by(blocking.keys) {
        let count = blocking.keys.min(keys - first_key);
        task.pack_keys(s, first_key, count);
        if blocking.paired {
            task.prepare_panels(s, blocking.columns_of(count), count);
        }
        // The next block's rows arrive while this one is worked on, if that takes a while.
        if queries > 2 * blocking.strip {
            let next = first_key + count;
            task.queries.prefetch_keys(s, next, blocking.keys.min(keys - next));
        }
        for strip in (0..queries).step_by(blocking.strip) {
            let rows = blocking.strip.min(queries - strip);
            let is_last = first_key + count == keys;
            if is_last {
                task.prefetch_result(s, out, strip, rows);
            }
            let next = next.as_ref().filter(|_| is_last);
            if blocking.paired {
                task.score_in_pairs(s, strip, rows, first_key, count, &mut tops);
                task.soften(s, strip, rows, first_key, count, &tops, next);
                task.accumulate_in_pairs(s, strip, rows, first_key, count);
            } else {
                task.score(s, strip, rows, first_key, count, &mut tops);
                task.soften(s, strip, rows, first_key, count, &tops, next);
                task.accumulate(s, strip, rows, first_key, count);
            }
        }
    }
    task.store(s, out, keys);
}
