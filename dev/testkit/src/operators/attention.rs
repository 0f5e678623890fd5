//! Cases of attention: sequences, shared keys, windows with padding, all biases.

use samovar_tensor::{Attention, AttentionBias, Device, Precision, Result, Rows, Tensor, TokenLayout};

use super::cases::Cases;
use crate::{Random, Tolerance};

/// Sizes of one case.
#[derive(Debug, Clone, Copy)]
struct HeadSizes {
    heads: usize,
    channels: usize,
    value_channels: usize,
    bias: BiasCase,
    precision: Precision,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum BiasCase {
    None,
    Relative,
    Table,
    KeyPositions,
}

pub(super) fn add(cases: &mut Cases) {
    let sizes = |heads, channels, value_channels| HeadSizes {
        heads,
        channels,
        value_channels,
        bias: BiasCase::None,
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
    let biased = |heads, channels, bias| HeadSizes { bias, ..sizes(heads, channels, channels) };
    let table = |heads, channels| biased(heads, channels, BiasCase::Table);
    sequence(cases, 2, 2, 12, 12, None, table(2, 8));
    sequence(cases, 2, 1, 19, 270, None, table(3, 16));
    sequence(cases, 1, 1, 33, 515, None, table(1, 20));
    sequence(cases, 1, 1, 521, 517, None, table(2, 64));
    let relative = |heads, channels| biased(heads, channels, BiasCase::Relative);
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
    let placed = |heads, channels| biased(heads, channels, BiasCase::KeyPositions);
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
        for bias in [BiasCase::None, BiasCase::Relative, BiasCase::Table] {
            windows(cases, batch, grid, window, 1, biased(2, 8, bias));
            windows(cases, batch, grid, window, 1, biased(3, 32, bias));
            windows(cases, batch, grid, window, 1, biased(1, 64, bias));
            windows(cases, batch, grid, window, 1, HeadSizes { bias, ..sizes(1, 20, 36) });
        }
    }
    for (batch, grid, window, query_stride) in
        [(1, [16, 8], 8, 2), (2, [18, 10], 4, 2), (1, [22, 16], 14, 2), (1, [6, 6], 8, 2), (1, [9, 21], 6, 3)]
    {
        for bias in [BiasCase::None, BiasCase::Table] {
            windows(cases, batch, grid, window, query_stride, biased(2, 24, bias));
            windows(cases, batch, grid, window, query_stride, HeadSizes { bias, ..sizes(1, 20, 36) });
        }
    }
    reduced(cases);
}

/// The same at reduced precision, which backends may ignore.
fn reduced(cases: &mut Cases) {
    for case in reduced_sequences() {
        let SequenceCase { batch, key_batch, queries, keys, grid, sizes } = case;
        sequence(cases, batch, key_batch, queries, keys, grid, sizes);
    }
    for WindowCase { batch, grid, window, query_stride, sizes } in reduced_windows() {
        windows(cases, batch, grid, window, query_stride, sizes);
    }
    // Logits up to several hundred: a softmax that is nearly a choice, far from the exponents of f32.
    for (queries, keys, powers) in [(64, 300, 64.0), (40, 1000, 256.0)] {
        let name = format!("attention at reduced precision, {queries} over {keys}, powers of {powers}");
        // The operands below need no rounding.
        cases.add(name, Tolerance::ReducedSoftmax { spread: 0.0 }, move |device, random| {
            let (q, k) = (random.tensor([queries, 16], 1.0), random.tensor([keys, 16], 1.0));
            let v = random.on(device, [keys, 16], 1.0)?;
            // Numbers that need no rounding: only their products are large.
            let exact = |tensor: &Tensor| -> Result<Tensor> {
                let values: Vec<f32> = tensor.f32()?.iter().map(|x| (x * 8.0).round() / 8.0).collect();
                device.upload(tensor.dims(), &values)
            };
            let k = exact(&k)?;
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

/// Sizes at reduced precision.
fn reduced_sizes(heads: usize, channels: usize, value_channels: usize, bias: BiasCase) -> HeadSizes {
    HeadSizes { heads, channels, value_channels, bias, precision: Precision::Int8 }
}

fn reduced_sequences() -> Vec<SequenceCase> {
    let plain = [
        (1, 1, 1, 1, reduced_sizes(1, 1, 1, BiasCase::None)),
        (1, 1, 7, 300, reduced_sizes(2, 16, 16, BiasCase::None)),
        (1, 1, 300, 7, reduced_sizes(2, 16, 16, BiasCase::None)),
        (1, 1, 250, 513, reduced_sizes(1, 64, 64, BiasCase::None)),
        (3, 1, 40, 70, reduced_sizes(2, 16, 8, BiasCase::None)),
        (2, 2, 600, 33, reduced_sizes(3, 80, 80, BiasCase::None)),
        // Many heads: errors of the means of a few columns of values would be a matter of chance.
        (2, 2, 33, 65, reduced_sizes(9, 5, 3, BiasCase::None)),
        (1, 1, 40, 300, reduced_sizes(1, 256, 64, BiasCase::None)),
        (1, 1, 100, 47, reduced_sizes(1, 33, 47, BiasCase::None)),
        (2, 1, 45, 270, reduced_sizes(3, 16, 16, BiasCase::Table)),
        (1, 1, 56, 300, reduced_sizes(1, 256, 64, BiasCase::KeyPositions)),
    ];
    let plain = plain.map(|(batch, key_batch, queries, keys, sizes)| SequenceCase {
        batch,
        key_batch,
        queries,
        keys,
        grid: None,
        sizes,
    });
    let grids = [([16, 16], 1, 16), ([5, 33], 2, 64), ([20, 20], 2, 32), ([2, 300], 1, 16), ([40, 1], 1, 20)];
    let grids = grids.map(|(grid, heads, channels)| {
        let tokens = grid[0] * grid[1];
        let sizes = reduced_sizes(heads, channels, channels, BiasCase::Relative);
        SequenceCase { batch: 2, key_batch: 2, queries: tokens, keys: tokens, grid: Some(grid), sizes }
    });
    plain.into_iter().chain(grids).collect()
}

fn reduced_windows() -> Vec<WindowCase> {
    let mut cases = Vec::new();
    for (batch, grid, window, query_stride) in [
        (1, [14, 14], 14, 1),
        (2, [16, 16], 14, 1),
        (1, [19, 9], 7, 1),
        (1, [20, 21], 19, 1),
        (3, [8, 30], 6, 1),
        (2, [22, 16], 12, 2),
    ] {
        for bias in [BiasCase::None, BiasCase::Relative, BiasCase::Table] {
            if bias == BiasCase::Relative && query_stride > 1 {
                continue;
            }
            for (heads, channels, value_channels) in [(2, 8, 8), (1, 20, 36), (3, 32, 32)] {
                let sizes = reduced_sizes(heads, channels, value_channels, bias);
                cases.push(WindowCase { batch, grid, window, query_stride, sizes });
            }
        }
    }
    cases
}

/// Tables of a bias, owned.
enum Tables {
    None,
    Relative { rows: Tensor, columns: Tensor, grid: [usize; 2] },
    Table(Tensor),
    KeyPositions(Tensor),
}

impl Tables {
    fn new(
        random: &mut Random,
        sizes: HeadSizes,
        queries: usize,
        keys: usize,
        grid: Option<[usize; 2]>,
    ) -> Self {
        match sizes.bias {
            BiasCase::None => Tables::None,
            BiasCase::Relative => {
                let grid = grid.expect("relative positions are those of a grid");
                let mut table = |side: usize| random.tensor([2 * side - 1, sizes.channels], 1.0);
                Tables::Relative { rows: table(grid[0]), columns: table(grid[1]), grid }
            }
            BiasCase::Table => Tables::Table(random.tensor([sizes.heads, queries, keys], 1.0)),
            BiasCase::KeyPositions => {
                Tables::KeyPositions(random.tensor([keys, sizes.heads * sizes.channels], 1.0))
            }
        }
    }

    /// The same, unless a mistake is about them.
    fn with(self, mistake: Option<Mistake>) -> Result<Self> {
        if mistake != Some(Mistake::BiasShifted) {
            return Ok(self);
        }
        Ok(match self {
            Tables::None => Tables::None,
            Tables::Relative { rows, columns, grid } => {
                Tables::Relative { rows: rotated(&rows)?, columns, grid }
            }
            Tables::Table(table) => Tables::Table(rotated(&table)?),
            Tables::KeyPositions(positions) => Tables::KeyPositions(rotated(&positions)?),
        })
    }

    /// The same on a device.
    fn on(self, device: &Device) -> Result<Self> {
        Ok(match self {
            Tables::None => Tables::None,
            Tables::Relative { rows, columns, grid } => {
                Tables::Relative { rows: device.load(&rows)?, columns: device.load(&columns)?, grid }
            }
            Tables::Table(table) => Tables::Table(device.load(&table)?),
            Tables::KeyPositions(positions) => Tables::KeyPositions(device.load(&positions)?),
        })
    }

    fn bias(&self) -> AttentionBias<'_> {
        match self {
            Tables::None => AttentionBias::None,
            Tables::Relative { rows, columns, grid } => {
                AttentionBias::RelativePosition { rows, columns, grid: *grid }
            }
            Tables::Table(table) => AttentionBias::Table(table),
            Tables::KeyPositions(positions) => AttentionBias::KeyPositions(positions),
        }
    }
}

/// For queries and keys in −1..1, whose products have a deviation of a third.
fn tolerance(sizes: HeadSizes, scale: f32) -> Tolerance {
    match sizes.precision {
        Precision::Int8 => {
            Tolerance::ReducedSoftmax { spread: f64::from(scale) * (sizes.channels as f64).sqrt() / 3.0 }
        }
        _ => Tolerance::Softmax { terms: 3 * sizes.channels },
    }
}

/// Of the logits of windows. For sequences it is the usual one.
const WINDOW_SCALE: f32 = 0.7;

fn sequence_scale(sizes: HeadSizes) -> f32 {
    1.0 / (sizes.channels as f32).sqrt()
}

/// What a wrong attention may do: the tolerance has to tell it from rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    /// The last key is left out.
    KeyDropped,
    /// Scores are 1 % too large.
    ScaleOff,
    /// Every row of the bias belongs to its neighbour.
    BiasShifted,
}

/// Queries, keys and values in tensors of their own.
#[derive(Debug, Clone, Copy)]
struct SequenceCase {
    batch: usize,
    key_batch: usize,
    queries: usize,
    keys: usize,
    grid: Option<[usize; 2]>,
    sizes: HeadSizes,
}

impl SequenceCase {
    fn call(&self, device: &Device, random: &mut Random, mistake: Option<Mistake>) -> Result<Tensor> {
        let Self { batch, key_batch, queries, keys, grid, sizes } = *self;
        let mut tokens = |count: usize, channels: usize| random.tensor([count, sizes.heads * channels], 1.0);
        let q = tokens(batch * queries, sizes.channels);
        let mut k = tokens(key_batch * keys, sizes.channels);
        let mut v = tokens(key_batch * keys, sizes.value_channels);
        let tables = Tables::new(random, sizes, queries, keys, grid).with(mistake)?.on(device)?;
        let mut layout = TokenLayout::Sequence { batch, key_batch, queries, keys };
        if mistake == Some(Mistake::KeyDropped) {
            assert!(
                key_batch == 1 && sizes.bias == BiasCase::None,
                "only the last of all keys can be left out"
            );
            (k, v) = (all_but_last_row(&k)?, all_but_last_row(&v)?);
            layout = TokenLayout::Sequence { batch, key_batch, queries, keys: keys - 1 };
        }
        let [q, k, v] = [device.load(&q)?, device.load(&k)?, device.load(&v)?];
        device.attention(&Attention {
            q: Rows::whole(&q),
            k: Rows::whole(&k),
            v: Rows::whole(&v),
            heads: sizes.heads,
            head_channels: sizes.channels,
            value_channels: sizes.value_channels,
            scale: scale(sequence_scale(sizes), mistake),
            layout,
            bias: tables.bias(),
            precision: sizes.precision,
        })
    }
}

/// Queries, keys and values as columns of one fused tensor; queries that are fewer in one of their own.
#[derive(Debug, Clone, Copy)]
struct WindowCase {
    batch: usize,
    grid: [usize; 2],
    window: usize,
    query_stride: usize,
    sizes: HeadSizes,
}

impl WindowCase {
    fn call(&self, device: &Device, random: &mut Random, mistake: Option<Mistake>) -> Result<Tensor> {
        let Self { batch, grid, window, query_stride, sizes } = *self;
        let columns = sizes.heads * (2 * sizes.channels + sizes.value_channels);
        let qkv = random.on(device, [batch, grid[0], grid[1], columns], 1.0)?;
        let padding = random.on(device, [1, columns], 1.0)?;
        let keys = window * window;
        let queries = keys / (query_stride * query_stride);
        let tables =
            Tables::new(random, sizes, queries, keys, Some([window, window])).with(mistake)?.on(device)?;
        let fewer = match query_stride {
            1 => None,
            _ => {
                let [rows, columns] = grid.map(|side| side / query_stride);
                Some(random.on(device, [batch, rows, columns, sizes.heads * sizes.channels], 1.0)?)
            }
        };
        device.attention(&Attention {
            q: fewer.as_ref().map_or(Rows::columns(&qkv, 0), Rows::whole),
            k: Rows::columns(&qkv, sizes.heads * sizes.channels),
            v: Rows::columns(&qkv, 2 * sizes.heads * sizes.channels),
            heads: sizes.heads,
            head_channels: sizes.channels,
            value_channels: sizes.value_channels,
            scale: scale(WINDOW_SCALE, mistake),
            layout: TokenLayout::Windows { batch, grid, window, query_stride, padding: Some(&padding) },
            bias: tables.bias(),
            precision: sizes.precision,
        })
    }
}

fn scale(scale: f32, mistake: Option<Mistake>) -> f32 {
    if mistake == Some(Mistake::ScaleOff) { 1.01 * scale } else { scale }
}

fn all_but_last_row(tensor: &Tensor) -> Result<Tensor> {
    let [rows, columns] = tensor.shape().fixed("a case")?;
    Ok(Tensor::from_values([rows - 1, columns], &tensor.f32()?[..(rows - 1) * columns]))
}

/// Row `i + 1` in the place of row `i`, and the first in that of the last.
fn rotated(tensor: &Tensor) -> Result<Tensor> {
    let mut values = tensor.f32()?.to_vec();
    values.rotate_left(tensor.shape().channels());
    Ok(Tensor::from_values(tensor.dims(), &values))
}

fn sequence(
    cases: &mut Cases,
    batch: usize,
    key_batch: usize,
    queries: usize,
    keys: usize,
    grid: Option<[usize; 2]>,
    sizes: HeadSizes,
) {
    let case = SequenceCase { batch, key_batch, queries, keys, grid, sizes };
    let name = format!("attention {batch}x{queries} over {key_batch}x{keys}, {grid:?}, {sizes:?}");
    cases.add(name, tolerance(sizes, sequence_scale(sizes)), move |device, random| {
        case.call(device, random, None)
    });
}

fn windows(
    cases: &mut Cases,
    batch: usize,
    grid: [usize; 2],
    window: usize,
    query_stride: usize,
    sizes: HeadSizes,
) {
    let case = WindowCase { batch, grid, window, query_stride, sizes };
    let name = format!("attention in windows of {window} by {query_stride} over {batch}x{grid:?}, {sizes:?}");
    cases.add(name, tolerance(sizes, WINDOW_SCALE), move |device, random| case.call(device, random, None));
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
