//! The table of routes. What is taken when is written here and nowhere else.
//!
//! Conditions exclude each other, so that their order does not matter; a test asks all of them for shapes of all kinds. They
//! depend on neither threads nor numbers: results would.

use crate::attention::row_blocking::paired_query_row;
use crate::attention::shape::{AttentionShape, BiasShape};
use crate::level::Products;
use crate::routes::call::{DepthwiseCall, Machine, ProductCall, TransposedCall, Weights};
use crate::routes::choice::{AttentionRoute, DepthwiseRoute, FloatProduct, ProductRoute, RowAttention};

/// A way an operator may be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// What it is called; no two routes share a name.
    pub name: &'static str,
    /// Operators that take it, as [`samovar_tensor::Device`] calls them.
    pub operators: &'static [&'static str],
    /// When it is taken.
    pub when: &'static str,
    /// Where it begins, below `crates/samovar-cpu/src`.
    pub file: &'static str,
    /// The cases that reach it, below `dev/testkit/src/operators`.
    pub cases: &'static str,
}

/// A route with its condition.
pub(crate) struct Entry<Call: 'static, Choice: 'static> {
    pub(crate) route: Route,
    choice: Choice,
    /// Whether the machine, as the backend was made, has it at all.
    pub(crate) is_open: fn(&Machine) -> bool,
    /// Whether a call takes it, on a machine that has it.
    takes: fn(&Machine, &Call) -> bool,
}

impl<Call, Choice: Copy> Entry<Call, Choice> {
    /// Whether a call takes this route.
    pub(crate) fn answers(&self, machine: &Machine, call: &Call) -> bool {
        (self.is_open)(machine) && (self.takes)(machine, call)
    }

    /// The route of a call.
    ///
    /// # Panics
    /// When no route answers, which the table does not let happen.
    pub(crate) fn pick(table: &'static [Self], machine: &Machine, call: &Call) -> (Choice, &'static Route) {
        let entry = table.iter().find(|entry| entry.answers(machine, call));
        let entry = entry.expect("the last condition of every table is that no other holds");
        (entry.choice, &entry.route)
    }
}

fn everywhere(_: &Machine) -> bool {
    true
}

/// Rows from which large products leave plain order. Only pixels are meant, not tokens of prompts: those keep the plain
/// order, in which what comes of a prompt does not depend on how many there are.
const MANY_ROWS: usize = 1024;

/// Columns, depth and weights from which products in pairs pay: with 64 x 128 copying the rows takes longer than is gained,
/// with 64 x 256 not.
const LEAST_OF_PAIRS: [usize; 3] = [64, 48, 1 << 14];

/// Columns and depth from which Strassen's algorithm pays. It is faster by 2 % with 56 rows and by 5 % with 128 columns; with
/// a depth of 160 it is slower.
const LEAST_OF_STRASSEN: [usize; 2] = [192, 256];

/// Depth below which a product is limited by the memory of its results.
const SHALLOW: usize = 96;

/// Whether weights of this size are packed for products in pairs.
pub(crate) fn packs_for_pairs(products: Products, columns: usize, depth: usize) -> bool {
    let [least_columns, least_depth, least_weights] = LEAST_OF_PAIRS;
    products == Products::Paired
        && columns >= least_columns
        && depth >= least_depth
        && columns * depth >= least_weights
}

fn is_paired(machine: &Machine, call: &ProductCall) -> bool {
    machine.products == Products::Paired && call.for_pairs && call.rows >= MANY_ROWS
}

fn is_strassen(machine: &Machine, call: &ProductCall) -> bool {
    let [least_columns, least_depth] = LEAST_OF_STRASSEN;
    machine.products == Products::Strassen
        // Another backend may have packed them; only plain order undoes what was done to their columns then.
        && !call.for_pairs
        && call.weights != Weights::Int8
        && call.rows >= MANY_ROWS
        && call.columns >= least_columns
        && call.depth >= least_depth
}

fn is_shallow(machine: &Machine, call: &ProductCall) -> bool {
    call.weights == Weights::F32
        && call.depth < SHALLOW
        && !is_paired(machine, call)
        && !is_strassen(machine, call)
}

/// Operators of the products with packed weights.
const DENSE: &[&str] = &["linear", "conv2d"];

/// Products with packed weights.
pub(crate) static PRODUCTS: [Entry<ProductCall, ProductRoute>; 5] = [
    Entry {
        route: Route {
            name: "product int8",
            operators: DENSE,
            when: "the weights are held in 8 bits",
            file: "gemm/int8.rs",
            cases: "precision.rs",
        },
        choice: ProductRoute::Int8,
        is_open: everywhere,
        takes: |_, call| call.weights == Weights::Int8,
    },
    Entry {
        route: Route {
            name: "product paired",
            operators: DENSE,
            when: "products are paired; 1024 rows, 64 columns, a depth of 48 and 16384 weights at least",
            file: "gemm/paired.rs",
            cases: "linear.rs, convolution.rs, precision.rs",
        },
        choice: ProductRoute::Float(FloatProduct::Paired),
        is_open: |machine| machine.products == Products::Paired,
        takes: is_paired,
    },
    Entry {
        route: Route {
            name: "product strassen",
            operators: DENSE,
            when: "products are strassen; 1024 rows, 192 columns and a depth of 256 at least",
            file: "gemm/strassen.rs",
            cases: "linear.rs, convolution.rs, precision.rs",
        },
        choice: ProductRoute::Float(FloatProduct::Strassen),
        is_open: |machine| machine.products == Products::Strassen,
        takes: is_strassen,
    },
    Entry {
        route: Route {
            name: "product shallow",
            operators: DENSE,
            when: "none of these; the weights are held in f32, and the depth is below 96",
            file: "gemm/plain.rs",
            cases: "linear.rs, convolution.rs",
        },
        choice: ProductRoute::Float(FloatProduct::Shallow),
        is_open: everywhere,
        takes: is_shallow,
    },
    Entry {
        route: Route {
            name: "product plain",
            operators: DENSE,
            when: "all other products with weights",
            file: "gemm/plain.rs",
            cases: "linear.rs, convolution.rs, precision.rs",
        },
        choice: ProductRoute::Float(FloatProduct::Plain),
        is_open: everywhere,
        takes: |machine, call| {
            call.weights != Weights::Int8
                && !is_paired(machine, call)
                && !is_strassen(machine, call)
                && !is_shallow(machine, call)
        },
    },
];

/// Products of two activations; the second is packed on the way.
pub(crate) static TRANSPOSED: [Entry<TransposedCall, FloatProduct>; 2] = [
    Entry {
        route: Route {
            name: "transposed shallow",
            operators: &["matmul_transposed"],
            when: "the depth is below 96",
            file: "linear.rs",
            cases: "linear.rs",
        },
        choice: FloatProduct::Shallow,
        is_open: everywhere,
        takes: |_, call| call.depth < SHALLOW,
    },
    Entry {
        route: Route {
            name: "transposed plain",
            operators: &["matmul_transposed"],
            when: "the depth is 96 or more",
            file: "linear.rs",
            cases: "linear.rs",
        },
        choice: FloatProduct::Plain,
        is_open: everywhere,
        takes: |_, call| call.depth >= SHALLOW,
    },
];

fn is_in_blocks(call: &DepthwiseCall, stride: usize) -> bool {
    let g = call.geometry;
    (g.kernel, g.dilation, g.stride) == (3, 1, stride)
}

/// Convolutions with one filter per channel.
pub(crate) static DEPTHWISE: [Entry<DepthwiseCall, DepthwiseRoute>; 3] = [
    Entry {
        route: Route {
            name: "depthwise 3x3",
            operators: &["conv2d"],
            when: "one filter per channel; a kernel of 3, stride 1, no dilation",
            file: "depthwise.rs",
            cases: "convolution.rs",
        },
        choice: DepthwiseRoute::BlocksOfStride1,
        is_open: everywhere,
        takes: |_, call| is_in_blocks(call, 1),
    },
    Entry {
        route: Route {
            name: "depthwise 3x3 by 2",
            operators: &["conv2d"],
            when: "one filter per channel; a kernel of 3, stride 2, no dilation",
            file: "depthwise.rs",
            cases: "convolution.rs",
        },
        choice: DepthwiseRoute::BlocksOfStride2,
        is_open: everywhere,
        takes: |_, call| is_in_blocks(call, 2),
    },
    Entry {
        route: Route {
            name: "depthwise by pixel",
            operators: &["conv2d"],
            when: "one filter per channel; any other geometry",
            file: "depthwise.rs",
            cases: "convolution.rs",
        },
        choice: DepthwiseRoute::Pixels,
        is_open: everywhere,
        takes: |_, call| !is_in_blocks(call, 1) && !is_in_blocks(call, 2),
    },
];

/// Columns of a panel: what one kernel multiplies at once.
fn panel_columns(machine: &Machine) -> usize {
    2 * machine.lanes()
}

/// Queries and keys from which products in pairs pay, in windows and in sequences. Tokens of prompts, of which there may be
/// many together, keep the plain order.
const LEAST_OF_PAIRED_ATTENTION: [usize; 2] = [128, 512];

/// Numbers from a query to the next that there are kernels for: 32, 64 and 80 channels.
const PAIRED_QUERY_ROWS: [usize; 3] = [48, 80, 112];

/// Most columns of scores that a line of the grid may take where products are made in pairs.
const MOST_PAIRED_COLUMNS: usize = 256;

/// Most channels of a head where all keys are in one block, for the sake of scratch memory.
const MOST_CHANNELS_OF_FEW_KEYS: usize = 512;

#[cfg(target_arch = "x86_64")]
fn is_in_lanes(machine: &Machine, shape: &AttentionShape) -> bool {
    use crate::attention::in_lanes::blocking::LaneBlocking;
    use crate::simd::product::avx512_bf16::Avx512Bf16;
    let least = panel_columns(machine);
    machine.has_bf16
        && shape.is_reduced
        && shape.most_queries >= least
        && shape.keys >= least
        && matches!(shape.bias, BiasShape::None | BiasShape::Relative { .. })
        && LaneBlocking::fit::<Avx512Bf16>(shape).is_some()
}

#[cfg(not(target_arch = "x86_64"))]
fn is_in_lanes(_: &Machine, _: &AttentionShape) -> bool {
    false
}

fn has_few_keys(machine: &Machine, shape: &AttentionShape) -> bool {
    let width = panel_columns(machine);
    !is_in_lanes(machine, shape)
        && shape.is_sequence
        && shape.bias == BiasShape::None
        && (1..=width).contains(&shape.keys)
        && shape.most_queries >= 2 * width
        && shape.channels <= MOST_CHANNELS_OF_FEW_KEYS
        && shape.value_channels.is_multiple_of(machine.lanes())
}

/// Attention with queries in rows: neither of the others.
fn is_in_rows(machine: &Machine, shape: &AttentionShape) -> bool {
    !is_in_lanes(machine, shape) && !has_few_keys(machine, shape)
}

fn is_paired_attention(machine: &Machine, shape: &AttentionShape) -> bool {
    let [in_window, in_sequence] = LEAST_OF_PAIRED_ATTENTION;
    let least = if shape.is_sequence { in_sequence } else { in_window };
    let line_columns = shape.grid()[1].next_multiple_of(machine.lanes());
    machine.products == Products::Paired
        && is_in_rows(machine, shape)
        && shape.queries >= least
        && shape.keys >= least
        && PAIRED_QUERY_ROWS.contains(&paired_query_row(shape.channels))
        && line_columns <= MOST_PAIRED_COLUMNS
}

fn has_few_queries(machine: &Machine, shape: &AttentionShape) -> bool {
    is_in_rows(machine, shape)
        && shape.is_sequence
        && shape.most_queries <= 2 * machine.tile_rows()
        && shape.value_channels.is_multiple_of(machine.lanes())
}

/// Attention.
pub(crate) static ATTENTION: &[Entry<AttentionShape, AttentionRoute>] = &[
    #[cfg(target_arch = "x86_64")]
    Entry {
        route: Route {
            name: "attention in lanes",
            operators: &["attention"],
            when: "the machine multiplies bfloat16, and int8 is enough; two vectors of queries and of keys at least, no \
                   bias but relative positions, blocks that fit scratch memory",
            file: "attention/in_lanes.rs",
            cases: "attention.rs",
        },
        choice: AttentionRoute::InLanes,
        is_open: |machine| machine.has_bf16,
        takes: is_in_lanes,
    },
    Entry {
        route: Route {
            name: "attention few keys",
            operators: &["attention"],
            when: "not in lanes; a sequence without bias, two vectors of keys at most and four of queries at least, values \
                   of whole vectors",
            file: "attention/few_keys.rs",
            cases: "attention.rs",
        },
        choice: AttentionRoute::FewKeys,
        is_open: everywhere,
        takes: has_few_keys,
    },
    Entry {
        route: Route {
            name: "attention paired",
            operators: &["attention"],
            when: "products are paired; 128 queries and keys in a window or 512 in a sequence, heads of 32, 64 or 80 \
                   channels, lines of 256 columns at most",
            file: "attention/paired.rs",
            cases: "attention.rs",
        },
        choice: AttentionRoute::Rows(RowAttention::Paired),
        is_open: |machine| machine.products == Products::Paired,
        takes: is_paired_attention,
    },
    Entry {
        route: Route {
            name: "attention few queries",
            operators: &["attention"],
            when: "none of these; a sequence, two tiles of queries at most, values of whole vectors, which are read in place",
            file: "attention/plain.rs",
            cases: "attention.rs",
        },
        choice: AttentionRoute::Rows(RowAttention::FewQueries),
        is_open: everywhere,
        takes: |machine, shape| has_few_queries(machine, shape) && !is_paired_attention(machine, shape),
    },
    Entry {
        route: Route {
            name: "attention plain",
            operators: &["attention"],
            when: "all other attention",
            file: "attention/plain.rs",
            cases: "attention.rs",
        },
        choice: AttentionRoute::Rows(RowAttention::Plain),
        is_open: everywhere,
        takes: |machine, shape| {
            is_in_rows(machine, shape)
                && !is_paired_attention(machine, shape)
                && !has_few_queries(machine, shape)
        },
    },
];

/// Operators with one kernel for all shapes.
pub(crate) static SINGLE: [Route; 15] = [
    single("axial attention", &["axial_attention"], "attention/axial.rs", "axial.rs"),
    single("deformable attention", &["deformable_attention"], "attention/deformable.rs", "deformable.rs"),
    single("folded attention", &["folded_attention"], "attention/folded.rs", "decoder.rs"),
    single("mask head", &["mask_logits"], "mask_head.rs", "decoder.rs"),
    single("layer norm", &["layer_norm"], "norm.rs", "linear.rs"),
    single("softmax", &["softmax"], "norm.rs", "selection.rs"),
    single("depth to space", &["depth_to_space"], "elementwise.rs", "convolution.rs"),
    single("number by number", &["binary", "activation"], "elementwise.rs", "elementwise.rs"),
    single("fourier features", &["fourier_features"], "elementwise.rs", "elementwise.rs"),
    single("resize", &["resize"], "resize.rs", "elementwise.rs"),
    single("max pool", &["max_pool2d"], "pooling.rs", "elementwise.rs"),
    single("rotate", &["rotate"], "rotation.rs", "elementwise.rs"),
    single("select", &["top_k", "gather_rows"], "selection.rs", "selection.rs"),
    single("move", &["concat", "slice", "fill"], "layout.rs", "movement.rs"),
    single("transpose", &["transpose"], "layout.rs", "movement.rs"),
];

const fn single(
    name: &'static str,
    operators: &'static [&'static str],
    file: &'static str,
    cases: &'static str,
) -> Route {
    Route { name, operators, when: "always", file, cases }
}

/// The route of an operator that has one kernel.
pub(crate) fn only_route(operator: &str) -> &'static Route {
    let route = SINGLE.iter().find(|route| route.operators.contains(&operator));
    route.expect("operators are called as the table says")
}

/// All routes, or those a machine has.
pub(crate) fn routes(machine: Option<&Machine>) -> Vec<&'static Route> {
    fn of<Call, Choice: Copy>(
        table: &'static [Entry<Call, Choice>],
        machine: Option<&Machine>,
    ) -> impl Iterator<Item = &'static Route> {
        table
            .iter()
            .filter(move |entry| machine.is_none_or(|machine| (entry.is_open)(machine)))
            .map(|entry| &entry.route)
    }
    let dense = of(&PRODUCTS, machine).chain(of(&TRANSPOSED, machine)).chain(of(&DEPTHWISE, machine));
    dense.chain(of(ATTENTION, machine)).chain(&SINGLE).collect()
}
