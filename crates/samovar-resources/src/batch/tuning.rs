//! How large a batch should be, measured.

use std::time::Duration;

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// The size to take.
    pub batch_size: usize,
    /// Every size that was tried, with the time per item; `None` for one that did not fit.
    pub tried: Vec<(usize, Option<Duration>)>,
}

/// Least gain in time per item for which a larger batch is worth its memory.
const LEAST_GAIN: f64 = 1.03;

/// The batch size with the best time per item (document 003): doubles from 1 until memory ends, `max` is reached, or
/// doubling gains less than 3 %. `run` does a batch of a size and says how long it took; each size is run twice and the better
/// time counts, because the first run of a size pays for memory nobody has touched yet.
///
/// # Errors
/// Those of `run` other than memory; and that of memory for a single item.
pub fn find_optimal_batch_size<E>(
    max: usize,
    is_out_of_memory: impl Fn(&E) -> bool,
    mut run: impl FnMut(usize) -> Result<Duration, E>,
) -> Result<Tuned, E> {
    let mut tuned = Tuned { batch_size: 1, tried: Vec::new() };
    let mut best: Option<Duration> = None;
    let mut size = 1;
    while size <= max.max(1) {
        let took = run(size).and_then(|first| Ok(first.min(run(size)?)));
        let per_item = match took {
            Ok(took) => took / u32::try_from(size).unwrap_or(u32::MAX),
            Err(error) if size > 1 && is_out_of_memory(&error) => {
                tuned.tried.push((size, None));
                break;
            }
            Err(error) => return Err(error),
        };
        tuned.tried.push((size, Some(per_item)));
        if best.is_some_and(|best| best.as_secs_f64() < per_item.as_secs_f64() * LEAST_GAIN) {
            break;
        }
        (tuned.batch_size, best) = (size, Some(per_item));
        size = size.saturating_mul(2);
    }
    Ok(tuned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Failure {
        Memory,
        Other,
    }

    fn tune(max: usize, fits: usize, time_ms: impl Fn(usize) -> u64) -> Result<Tuned, Failure> {
        let is_memory = |error: &Failure| *error == Failure::Memory;
        let run =
            |size| if size > fits { Err(Failure::Memory) } else { Ok(Duration::from_millis(time_ms(size))) };
        find_optimal_batch_size(max, is_memory, run)
    }

    #[test]
    fn doubling_ends_where_it_gains_nothing() {
        // A fixed cost that batches share: gains end when it is spread thin.
        let tuned = tune(256, 1000, |size| if size < 8 { 40 } else { 5 * size as u64 }).unwrap();
        assert_eq!(tuned.batch_size, 8, "{tuned:?}");
        let flat = tune(256, 1000, |size| 20 * size as u64).unwrap();
        assert_eq!((flat.batch_size, flat.tried.len()), (1, 2), "{flat:?}");
    }

    #[test]
    fn doubling_ends_where_memory_does() {
        let tuned = tune(256, 5, |_| 20).unwrap();
        assert_eq!((tuned.batch_size, tuned.tried.last().unwrap()), (4, &(8, None)));
        assert_eq!(tune(3, 100, |_| 20).unwrap().batch_size, 2);
        assert_eq!(tune(8, 0, |_| 0), Err(Failure::Memory), "not even one");
        let other = find_optimal_batch_size(8, |error| *error == Failure::Memory, |_| Err(Failure::Other));
        assert_eq!(other, Err(Failure::Other));
    }

    #[test]
    fn the_first_run_of_a_size_does_not_count_against_it() {
        let mut runs = 0;
        let cold = |size: usize| {
            runs += 1;
            let touching = if runs % 2 == 1 { 100 } else { 0 };
            Ok::<_, Failure>(Duration::from_millis(touching + 10 + size as u64))
        };
        assert_eq!(find_optimal_batch_size(16, |_| false, cold).unwrap().batch_size, 16);
    }
}
