//! Attention: which kernel, and on how many blocks.

use samovar_tensor::{Attention, AttentionBias, Precision, Result, Rows, Tensor, TokenLayout, checks};

use crate::args::{Address, AttentionArgs};
use crate::kernel_names::KernelName;
use crate::products::{Arithmetic, is_vector};
use crate::work::{SCRATCH_BYTES, Work};

/// Most keys that a block looks at together.
const KEYS: u32 = 64;

/// Keys from which on several blocks may share those of a query.
const LEAST_SHARED_KEYS: u32 = 256;

/// A kernel, what it takes at once, and the shared memory for that but for relative positions.
#[derive(Debug, Clone, Copy)]
struct Route {
    kernel: KernelName,
    /// Queries of a block.
    queries: u32,
    /// Most channels of a head in keys.
    channels: u32,
    /// Columns of values of a block.
    columns: u32,
    shared_bytes: u32,
    /// Whether blocks can share the keys of a query; such kernels also need room for what relative positions add.
    shares: bool,
}

/// On the matrix units, for heads of up to so many channels in keys and values; see `AttentionMma` in `kernels/attention.h`.
const fn on_matrix_units(kernel: KernelName, channels: u32, columns: u32, pieces: u32) -> Route {
    let queries = 16 * kernel.threads() / 32;
    let keys = if pieces == 1 { KEYS } else { KEYS / 2 };
    let (planes, relative) =
        (pieces * (channels + columns + 16), if pieces == 1 { 2 } else { 3 } * (channels + 8));
    let planes = if planes > relative { planes } else { relative };
    Route { kernel, queries, channels, columns, shared_bytes: keys * (planes * 2 + 2 * 8), shares: true }
}

/// In f32, for heads of any size; see `AttentionF32` there.
const fn plain(kernel: KernelName, columns: u32) -> Route {
    let shared_bytes = 4 * (2 * 32 * 68 + 64 * 68 + 16 * columns + 4 * 64);
    Route { kernel, queries: 64, channels: u32::MAX, columns, shared_bytes, shares: false }
}

/// Larger heads would need more registers than there are.
const EXACT: [Route; 3] = [
    on_matrix_units(KernelName::AttentionExact16, 16, 16, 3),
    on_matrix_units(KernelName::AttentionExact32, 32, 32, 3),
    on_matrix_units(KernelName::AttentionExact64, 64, 64, 3),
];

const ROUNDED: [Route; 6] = [
    on_matrix_units(KernelName::AttentionRounded16, 16, 16, 1),
    on_matrix_units(KernelName::AttentionRounded32, 32, 32, 1),
    on_matrix_units(KernelName::AttentionRounded64, 64, 64, 1),
    on_matrix_units(KernelName::AttentionRounded80, 80, 80, 1),
    on_matrix_units(KernelName::AttentionRounded128, 128, 128, 1),
    on_matrix_units(KernelName::AttentionRounded256, 256, 64, 1),
];

/// The last takes wider values in several blocks.
const PLAIN: [Route; 3] = [
    plain(KernelName::AttentionF32By64, 64),
    plain(KernelName::AttentionF32By128, 128),
    plain(KernelName::AttentionF32By256, 256),
];

/// Shared memory for what relative positions add: a number for each query and each row and column of the grid.
fn relative_bytes(bias: &AttentionBias, queries: u32) -> u64 {
    match bias {
        AttentionBias::RelativePosition { grid: [height, width], .. } => {
            4 * u64::from(queries) * (*height as u64).saturating_add(*width as u64)
        }
        _ => 0,
    }
}

/// The way, and whether shared memory has room for what relative positions add.
fn route(a: &Attention, arithmetic: Arithmetic, most_shared_bytes: u32) -> (Route, bool) {
    let rounds = match a.precision {
        Precision::Int8 => true,
        Precision::F16 | Precision::Bf16 => arithmetic == Arithmetic::Rounded,
        Precision::F32 => false,
    };
    let has_room = |route: &Route| {
        u64::from(route.shared_bytes).saturating_add(relative_bytes(&a.bias, route.queries))
            <= most_shared_bytes.into()
    };
    let fits = |route: &&Route| {
        let fits = a.head_channels <= route.channels as usize && a.value_channels <= route.columns as usize;
        fits && (!route.shares || has_room(route))
    };
    let routes: &[Route] = if rounds { &ROUNDED } else { &EXACT };
    let route = *routes.iter().chain(&PLAIN).find(fits).unwrap_or(&PLAIN[PLAIN.len() - 1]);
    (route, has_room(&route))
}

impl Work {
    pub(crate) fn attention(&self, arithmetic: Arithmetic, a: &Attention, out: &Tensor) -> Result<()> {
        const OP: &str = "attention";
        let sizes = checks::attention(a)?;
        checks::result(OP, out, &sizes.shape)?;
        if out.shape().is_empty() {
            return Ok(());
        }
        let start = |rows: &Rows| -> Result<Address> {
            Ok(self.address(rows.tensor)? + 4 * rows.first_column as u64)
        };
        let mut args = AttentionArgs {
            q: start(&a.q)?,
            k: start(&a.k)?,
            v: start(&a.v)?,
            out: self.address(out)?,
            q_stride: self.number(a.q.stride())?,
            k_stride: self.number(a.k.stride())?,
            v_stride: self.number(a.v.stride())?,
            heads: self.number(a.heads)?,
            channels: self.number(a.head_channels)?,
            value_channels: self.number(a.value_channels)?,
            scale: a.scale,
            keys: self.number(sizes.keys_per_query)?,
            ..AttentionArgs::default()
        };
        let groups = match a.layout {
            TokenLayout::Sequence { batch, key_batch, queries, .. } => {
                args.queries = self.number(queries)?;
                args.key_batch = self.number(key_batch)?;
                batch
            }
            TokenLayout::Windows { batch, grid: [height, width], window, query_stride, padding } => {
                args.queries = self.number((window / query_stride) * (window / query_stride))?;
                [args.height, args.width, args.window] = self.numbers([height, width, window])?;
                args.query_stride = self.number(query_stride)?;
                if let Some(row) = padding {
                    let row = self.address(row)?;
                    args.padding_k = row + 4 * a.k.first_column as u64;
                    args.padding_v = row + 4 * a.v.first_column as u64;
                }
                batch * height.div_ceil(window) * width.div_ceil(window)
            }
        };
        args.groups = self.number(groups)?;
        self.number(a.q.tensor.shape().rows())?;
        self.number(a.k.tensor.shape().rows())?;
        match a.bias {
            AttentionBias::None => {}
            AttentionBias::RelativePosition { rows, columns, grid } => {
                args.kind = 1;
                args.bias = self.address(rows)?;
                args.bias_columns = self.address(columns)?;
                [args.relative_height, args.relative_width] = self.numbers(grid)?;
                self.number(rows.shape().len().max(columns.shape().len()))?;
            }
            AttentionBias::Table(table) => {
                args.kind = 2;
                args.bias = self.address(table)?;
            }
            AttentionBias::KeyPositions(positions) => {
                args.kind = 3;
                args.bias = self.address(positions)?;
            }
        }
        args.k_vector = is_vector(args.k | args.padding_k, a.k.stride() | a.head_channels);
        args.v_vector = is_vector(args.v | args.padding_v, a.v.stride() | a.value_channels);
        let (route, is_cached) = route(a, arithmetic, self.context.device.shared_bytes);
        let Route { kernel, queries, columns, mut shared_bytes, shares, .. } = route;
        if is_cached {
            args.relative_cached = 1;
            shared_bytes += relative_bytes(&a.bias, queries) as u32;
        }
        args.query_blocks = args.queries.div_ceil(queries);
        args.value_blocks = args.value_channels.div_ceil(columns);
        let blocks = [args.groups, args.heads, args.query_blocks, args.value_blocks];
        let blocks = blocks.iter().try_fold(1u64, |product, &count| product.checked_mul(count.into()));
        let blocks = blocks.unwrap_or(u64::MAX);
        (args.splits, args.split_keys) = if shares { self.splits(&args, blocks) } else { (1, args.keys) };
        let launch = |args: &AttentionArgs| {
            let blocks = blocks.saturating_mul(args.splits.into());
            // SAFETY: shapes are checked, and addresses with the lengths that go with them; scratch memory has room for all parts.
            unsafe { self.context.launch(kernel, [blocks, 1, 1], shared_bytes, args) }
        };
        if args.splits == 1 {
            return launch(&args);
        }
        self.with_scratch(|scratch| {
            let args = AttentionArgs { partial: scratch, ..args };
            launch(&args)?;
            let count = args.groups as usize * args.heads as usize * args.queries as usize * a.value_channels;
            // SAFETY: as above.
            unsafe { self.each(KernelName::AttentionCombine, count, &args) }
        })
    }

    /// How many blocks share the keys of a query, and how many keys each has: as many as give work to all processors, as far as there
    /// is room for what they find.
    fn splits(&self, args: &AttentionArgs, blocks: u64) -> (u32, u32) {
        let processors = u64::from(self.context.device.multiprocessors);
        if blocks >= processors || args.keys < LEAST_SHARED_KEYS {
            return (1, args.keys);
        }
        let queries = u64::from(args.groups) * u64::from(args.heads) * u64::from(args.queries);
        let room = SCRATCH_BYTES as u64 / (4 * queries * (u64::from(args.value_channels) + 2));
        let wanted = (2 * processors).div_ceil(blocks).min(room).min((args.keys / KEYS).into());
        let split_keys = args.keys.div_ceil(wanted.max(1) as u32).next_multiple_of(KEYS);
        (args.keys.div_ceil(split_keys), split_keys)
    }
}
