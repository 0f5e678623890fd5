//! Circles of a directed graph, and the lightest set of edges whose removal leaves none.

/// Circles of more vertices are cut by a rule of thumb; the exact way takes `2^n` steps.
const MAX_EXACT: usize = 16;

/// The strongly connected components of more than one vertex, each in rising order. `edges` join vertices below
/// `vertices`.
pub(super) fn circles(vertices: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let reach = |start: usize, forward: bool| {
        let mut is_reached = vec![false; vertices];
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut is_reached[at], true) {
                let next = |&(from, to): &(usize, usize)| match forward {
                    true => (from == at).then_some(to),
                    false => (to == at).then_some(from),
                };
                open.extend(edges.iter().filter_map(next));
            }
        }
        is_reached
    };
    let mut found: Vec<Vec<usize>> = Vec::new();
    for vertex in 0..vertices {
        if found.iter().any(|circle| circle.contains(&vertex)) {
            continue;
        }
        let (after, before) = (reach(vertex, true), reach(vertex, false));
        let circle: Vec<usize> = (0..vertices).filter(|other| after[*other] && before[*other]).collect();
        if circle.len() > 1 {
            found.push(circle);
        }
    }
    found
}

/// Of weighted edges among `circle`, the lightest set without which there is no circle (a minimum feedback arc set),
/// and nearly the lightest for more than [`MAX_EXACT`] vertices.
pub(super) fn cut(circle: &[usize], edges: &[(usize, usize, usize)]) -> Vec<(usize, usize)> {
    let place = |vertex: usize| circle.iter().position(|other| *other == vertex);
    let mut weights = vec![vec![0; circle.len()]; circle.len()];
    for &(from, to, weight) in edges {
        if let (Some(from), Some(to)) = (place(from), place(to)) {
            weights[from][to] += weight;
        }
    }
    let order = if circle.len() <= MAX_EXACT { exact_order(&weights) } else { good_order(&weights) };
    let mut cut = Vec::new();
    for (at, &upper) in order.iter().enumerate() {
        let back = order[at + 1..].iter().filter(|lower| weights[**lower][upper] > 0);
        cut.extend(back.map(|lower| (circle[*lower], circle[upper])));
    }
    cut
}

/// The order of vertices, users before used, with the least weight of edges that point back.
fn exact_order(weights: &[Vec<usize>]) -> Vec<usize> {
    let count = weights.len();
    // For each set of vertices that come first: the least weight among them, and which of them comes last.
    let mut best = vec![(0, 0); 1 << count];
    for set in 1_usize..1 << count {
        let members = (0..count).filter(|vertex| set >> vertex & 1 == 1);
        let ways = members.map(|last| {
            let before = set & !(1 << last);
            let back: usize =
                (0..count).filter(|v| before >> v & 1 == 1).map(|upper| weights[last][upper]).sum();
            (best[before].0 + back, last)
        });
        best[set] = ways.min().unwrap_or_default();
    }
    let mut order = Vec::new();
    let mut set = (1 << count) - 1;
    while set != 0 {
        let (_, last) = best[set];
        order.push(last);
        set &= !(1 << last);
    }
    order.reverse();
    order
}

/// As [`exact_order`], by moving one vertex at a time while that helps.
fn good_order(weights: &[Vec<usize>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    let back = |order: &[usize]| -> usize {
        let pairs = order
            .iter()
            .enumerate()
            .flat_map(|(at, upper)| order[at + 1..].iter().map(move |lower| (upper, lower)));
        pairs.map(|(upper, lower)| weights[*lower][*upper]).sum()
    };
    let mut least = back(&order);
    loop {
        let before = least;
        for from in 0..order.len() {
            for to in 0..order.len() {
                let mut moved = order.clone();
                let vertex = moved.remove(from);
                moved.insert(to, vertex);
                let weight = back(&moved);
                if weight < least {
                    (order, least) = (moved, weight);
                }
            }
        }
        if least == before {
            return order;
        }
    }
}

#[cfg(test)]
mod tests;
