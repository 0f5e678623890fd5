//! Cases of attention: sequences, shared keys, windows with padding, all biases.

use samovar_tensor::{Attention, AttentionBias, Precision, Result, Rows, Tensor, TokenLayout};

use super::cases::Cases;
use crate::{Random, Tolerance};

/// Sizes of one case.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    channels: usize,
    value_channels: usize,
    bias: Kind,
    precision: Precision,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    None,
    Relative,
    Table,
    KeyPositions,
}

pub(super) fn add(cases: &mut Cases) {
    let sizes = |heads, channels, value_channels| Sizes {
        heads,
        channels,
        value_channels,
        bias: Kind::None,
        precision: Precision::F32,
    };
    let sequences = [
        (1, 1, 1, 1, sizes(1, 1, 1)),
        (1, 1, 7, 300, sizes(2, 16, 16)),
        (1, 1, 300, 7, sizes(2, 16, 16)),
        (3, 3, 9, 9, sizes(2, 32, 32)),
        (3, 1, 5, 70, sizes(2, 16, 8)),
        (2, 2, 1, 520, sizes(1, 8, 24)),
        (1, 1, 250, 513, sizes(1, 64, 64)),
        (2, 1, 16, 16, sizes(1, 5, 3)),
        (1, 1, 20, 33, sizes(3, 80, 80)),
        (1, 1, 40, 300, sizes(1, 256, 64)),
        (64, 64, 7, 20, sizes(2, 16, 16)),
        (2, 2, 130, 9, sizes(2, 16, 16)),
        (1, 1, 100, 31, sizes(1, 24, 48)),
        (3, 1, 70, 16, sizes(1, 5, 32)),
        (1, 1, 64, 1, sizes(1, 8, 16)),
        (64, 1, 7, 20, sizes(2, 16, 16)),
        (1, 1, 530, 525, sizes(2, 64, 64)),
        (2, 2, 515, 700, sizes(1, 32, 24)),
        (2, 1, 600, 513, sizes(1, 80, 20)),
    ];
    for (batch, key_batch, queries, keys, sizes) in sequences {
        sequence(cases, batch, key_batch, queries, keys, None, sizes);
    }
    let biased = |heads, channels, bias| Sizes { bias, ..sizes(heads, channels, channels) };
    let table = |heads, channels| biased(heads, channels, Kind::Table);
    sequence(cases, 2, 2, 12, 12, None, table(2, 8));
    sequence(cases, 2, 1, 19, 270, None, table(3, 16));
    sequence(cases, 1, 1, 33, 515, None, table(1, 20));
    sequence(cases, 1, 1, 521, 517, None, table(2, 64));
    let relative = |heads, channels| biased(heads, channels, Kind::Relative);
    for (grid, sizes) in [
        ([3, 4], relative(2, 8)),
        ([16, 16], relative(1, 16)),
        ([5, 33], relative(1, 64)),
        ([20, 20], relative(2, 32)),
        ([1, 1], relative(1, 4)),
        ([2, 300], relative(1, 16)),
        ([24, 22], relative(2, 64)),
        ([16, 33], relative(1, 32)),
    ] {
        let tokens = grid[0] * grid[1];
        sequence(cases, 2, 2, tokens, tokens, Some(grid), sizes);
    }
    let placed = |heads, channels| biased(heads, channels, Kind::KeyPositions);
    for (batch, key_batch, queries, keys, sizes) in [
        (1, 1, 56, 300, placed(1, 256)),
        (3, 1, 14, 270, placed(1, 64)),
        (2, 2, 9, 33, placed(3, 20)),
        (2, 2, 70, 7, placed(2, 16)),
        (1, 1, 513, 600, placed(1, 64)),
    ] {
        sequence(cases, batch, key_batch, queries, keys, None, sizes);
    }
    for (batch, grid, window) in [
        (1, [14, 14], 14),
        (2, [16, 16], 14),
        (1, [8, 8], 4),
        (2, [7, 5], 3),
        (1, [3, 10], 7),
        (1, [2, 2], 5),
        (1, [20, 21], 19),
        (2, [22, 16], 7),
        (1, [17, 9], 9),
    ] {
        for bias in [Kind::None, Kind::Relative, Kind::Table] {
            windows(cases, batch, grid, window, biased(2, 8, bias));
            windows(cases, batch, grid, window, biased(3, 32, bias));
            windows(cases, batch, grid, window, biased(1, 64, bias));
            windows(cases, batch, grid, window, Sizes { bias, ..sizes(1, 20, 36) });
        }
    }
    reduced(cases);
}

/// The same at reduced precision, which backends may ignore.
fn reduced(cases: &mut Cases) {
    let sizes = |heads, channels, value_channels, bias| Sizes {
        heads,
        channels,
        value_channels,
        bias,
        precision: Precision::Int8,
    };
    for (batch, key_batch, queries, keys, sizes) in [
        (1, 1, 1, 1, sizes(1, 1, 1, Kind::None)),
        (1, 1, 7, 300, sizes(2, 16, 16, Kind::None)),
        (1, 1, 300, 7, sizes(2, 16, 16, Kind::None)),
        (1, 1, 250, 513, sizes(1, 64, 64, Kind::None)),
        (3, 1, 40, 70, sizes(2, 16, 8, Kind::None)),
        (2, 2, 600, 33, sizes(3, 80, 80, Kind::None)),
        (2, 2, 33, 65, sizes(1, 5, 3, Kind::None)),
        (1, 1, 40, 300, sizes(1, 256, 64, Kind::None)),
        (1, 1, 100, 47, sizes(1, 33, 47, Kind::None)),
        (2, 1, 45, 270, sizes(3, 16, 16, Kind::Table)),
        (1, 1, 56, 300, sizes(1, 256, 64, Kind::KeyPositions)),
    ] {
        sequence(cases, batch, key_batch, queries, keys, None, sizes);
    }
    for (grid, heads, channels) in
        [([16, 16], 1, 16), ([5, 33], 2, 64), ([20, 20], 2, 32), ([2, 300], 1, 16), ([40, 1], 1, 20)]
    {
        let tokens = grid[0] * grid[1];
        sequence(cases, 2, 2, tokens, tokens, Some(grid), sizes(heads, channels, channels, Kind::Relative));
    }
    for (batch, grid, window) in
        [(1, [14, 14], 14), (2, [16, 16], 14), (1, [19, 9], 7), (1, [20, 21], 19), (3, [8, 30], 6)]
    {
        for bias in [Kind::None, Kind::Relative, Kind::Table] {
            windows(cases, batch, grid, window, sizes(2, 8, 8, bias));
            windows(cases, batch, grid, window, sizes(1, 20, 36, bias));
            windows(cases, batch, grid, window, sizes(3, 32, 32, bias));
        }
    }
    // Logits up to several hundred: a softmax that is nearly a choice, far from the exponents of f32.
    for (queries, keys, powers) in [(64, 300, 64.0), (40, 1000, 256.0)] {
        let name = format!("attention at reduced precision, {queries} over {keys}, powers of {powers}");
        cases.add(name, Tolerance::ReducedSoftmax { terms: 16 }, move |device, random| {
            let q = random.tensor([queries, 16], 1.0);
            let mut k = random.tensor([keys, 16], 1.0);
            let v = random.tensor([keys, 16], 1.0);
            // Numbers that need no rounding: only their products are large.
            let exact = |tensor: &Tensor| -> Result<Tensor> {
                let values: Vec<f32> = tensor.f32()?.iter().map(|x| (x * 8.0).round() / 8.0).collect();
                Ok(Tensor::from_values(tensor.dims(), &values))
            };
            k = exact(&k)?;
            device.attention(&Attention {
                q: Rows::whole(&exact(&q)?),
                k: Rows::whole(&k),
                v: Rows::whole(&v),
                heads: 1,
                head_channels: 16,
                value_channels: 16,
                scale: powers * std::f32::consts::LN_2,
                layout: TokenLayout::Sequence { batch: 1, key_batch: 1, queries, keys },
                bias: AttentionBias::None,
                precision: Precision::Int8,
            })
        });
    }
}

/// Tables of a bias, owned.
struct Tables(Option<(Tensor, Tensor)>, Option<Tensor>, Option<Tensor>, [usize; 2]);

impl Tables {
    fn new(random: &mut Random, sizes: Sizes, queries: usize, keys: usize, grid: Option<[usize; 2]>) -> Self {
        let grid = grid.unwrap_or([1, 1]);
        let relative = (sizes.bias == Kind::Relative).then(|| {
            let mut table = |side: usize| random.tensor([2 * side - 1, sizes.channels], 1.0);
            (table(grid[0]), table(grid[1]))
        });
        let table = (sizes.bias == Kind::Table).then(|| random.tensor([sizes.heads, queries, keys], 1.0));
        let placed = (sizes.bias == Kind::KeyPositions)
            .then(|| random.tensor([keys, sizes.heads * sizes.channels], 1.0));
        Self(relative, table, placed, grid)
    }

    fn bias(&self) -> AttentionBias<'_> {
        match self {
            Self(Some((rows, columns)), _, _, grid) => {
                AttentionBias::RelativePosition { rows, columns, grid: *grid }
            }
            Self(_, Some(table), ..) => AttentionBias::Table(table),
            Self(_, _, Some(positions), _) => AttentionBias::KeyPositions(positions),
            _ => AttentionBias::None,
        }
    }
}

fn tolerance(sizes: Sizes) -> Tolerance {
    if sizes.precision == Precision::Int8 {
        return Tolerance::ReducedSoftmax { terms: sizes.channels };
    }
    Tolerance::Softmax { terms: 3 * sizes.channels }
}

/// Queries, keys and values in tensors of their own.
fn sequence(
    cases: &mut Cases,
    batch: usize,
    key_batch: usize,
    queries: usize,
    keys: usize,
    grid: Option<[usize; 2]>,
    sizes: Sizes,
) {
    let name = format!("attention {batch}x{queries} over {key_batch}x{keys}, {grid:?}, {sizes:?}");
    cases.add(name, tolerance(sizes), move |device, random| -> Result<Tensor> {
        let mut tokens = |count: usize, channels: usize| random.tensor([count, sizes.heads * channels], 1.0);
        let q = tokens(batch * queries, sizes.channels);
        let k = tokens(key_batch * keys, sizes.channels);
        let v = tokens(key_batch * keys, sizes.value_channels);
        let tables = Tables::new(random, sizes, queries, keys, grid);
        device.attention(&Attention {
            q: Rows::whole(&q),
            k: Rows::whole(&k),
            v: Rows::whole(&v),
            heads: sizes.heads,
            head_channels: sizes.channels,
            value_channels: sizes.value_channels,
            scale: 1.0 / (sizes.channels as f32).sqrt(),
            layout: TokenLayout::Sequence { batch, key_batch, queries, keys },
            bias: tables.bias(),
            precision: sizes.precision,
        })
    });
}

/// Queries, keys and values as columns of one fused tensor.
fn windows(cases: &mut Cases, batch: usize, grid: [usize; 2], window: usize, sizes: Sizes) {
    let name = format!("attention in windows of {window} over {batch}x{grid:?}, {sizes:?}");
    cases.add(name, tolerance(sizes), move |device, random| -> Result<Tensor> {
        let columns = sizes.heads * (2 * sizes.channels + sizes.value_channels);
        let qkv = random.tensor([batch, grid[0], grid[1], columns], 1.0);
        let padding = random.tensor([1, columns], 1.0);
        let tokens = window * window;
        let tables = Tables::new(random, sizes, tokens, tokens, Some([window, window]));
        device.attention(&Attention {
            q: Rows::columns(&qkv, 0),
            k: Rows::columns(&qkv, sizes.heads * sizes.channels),
            v: Rows::columns(&qkv, 2 * sizes.heads * sizes.channels),
            heads: sizes.heads,
            head_channels: sizes.channels,
            value_channels: sizes.value_channels,
            scale: 0.7,
            layout: TokenLayout::Windows { batch, grid, window, padding: Some(&padding) },
            bias: tables.bias(),
            precision: sizes.precision,
        })
    });
}
