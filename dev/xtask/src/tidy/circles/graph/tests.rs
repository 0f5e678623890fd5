use super::*;

#[test]
fn circles_are_strongly_connected_components() {
    let edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 3), (5, 5), (6, 0)];
    assert_eq!(circles(7, &edges), [vec![0, 1, 2], vec![3, 4]]);
    assert_eq!(circles(4, &[(0, 1), (1, 2), (0, 2), (2, 3)]), Vec::<Vec<usize>>::new());
}

#[test]
fn the_lightest_edges_are_cut() {
    // Two rings through 0 -> 1, which is heavier than one of the others and lighter than both.
    let edges = [(0, 1, 3), (1, 0, 2), (1, 2, 9), (2, 0, 2)];
    assert_eq!(cut(&[0, 1, 2], &edges), [(0, 1)]);
    let edges = [(0, 1, 5), (1, 0, 2), (1, 2, 9), (2, 0, 2)];
    let mut found = cut(&[0, 1, 2], &edges);
    found.sort_unstable();
    assert_eq!(found, [(1, 0), (2, 0)]);
}

#[test]
fn without_the_cut_there_is_no_circle() {
    let mut random: u64 = 1;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for count in [5, 9, MAX_EXACT, MAX_EXACT + 8] {
        let edges: Vec<(usize, usize, usize)> = (0..count * 3)
            .map(|_| (next(count), next(count), next(5) + 1))
            .filter(|(a, b, _)| a != b)
            .collect();
        let all: Vec<usize> = (0..count).collect();
        let cut = cut(&all, &edges);
        let left: Vec<(usize, usize)> =
            edges.iter().map(|(a, b, _)| (*a, *b)).filter(|edge| !cut.contains(edge)).collect();
        assert_eq!(circles(count, &left), Vec::<Vec<usize>>::new());
        assert!(cut.len() < edges.len());
    }
}

#[test]
fn the_exact_order_is_the_lightest_of_all() {
    let weights = vec![vec![0, 4, 0, 1], vec![1, 0, 3, 0], vec![2, 0, 0, 5], vec![0, 2, 1, 0]];
    let back = |order: &[usize]| -> usize {
        (0..4).flat_map(|a| (a + 1..4).map(move |b| (a, b))).map(|(a, b)| weights[order[b]][order[a]]).sum()
    };
    let all =
        (0..4).flat_map(|a| (0..4).flat_map(move |b| (0..4).map(move |c| [a, b, c, 6 - (a + b + c).min(6)])));
    let orders = all.filter(|order| (0..4).all(|vertex| order.contains(&vertex)));
    let least = orders.map(|order| back(&order)).min().unwrap();
    assert_eq!(back(&exact_order(&weights)), least);
    assert!(back(&good_order(&weights)) >= least);
}
