use super::{Part, SCRATCH_BYTES, parts};

#[test]
fn parts_cover_all_queries_of_all_pairs_and_fit_into_scratch_memory() {
    for (pairs, queries, numbers) in
        [(1, 1, 1), (12, 4096, 128), (16, 4096, 128), (3, 65_536, 512), (2, 7, 9_000_000)]
    {
        let parts = parts(pairs, queries, numbers);
        let most = SCRATCH_BYTES as usize / 4;
        let fits =
            |part: &Part| part.pairs * part.queries * numbers <= most || part.pairs * part.queries == 1;
        assert!(parts.iter().all(fits), "{pairs} x {queries} of {numbers}");
        let count: usize = parts.iter().map(|part| part.pairs * part.queries).sum();
        assert_eq!(count, pairs * queries);
        let mut last = (0, 0);
        for part in parts {
            assert_eq!((part.first_pair, part.first_query), last);
            last = match part.first_query + part.queries {
                all if all == queries => (part.first_pair + part.pairs, 0),
                some => (part.first_pair, some),
            };
        }
    }
}
