//! The operands of an attention as slices: what all of its tasks have in common.

use samovar_tensor::{Attention, AttentionBias, Result, Rows, TokenLayout};

use crate::attention::tokens::Group;

/// With several threads, tasks for each of them at least, if there are as many heads.
pub(crate) const TASKS_PER_THREAD: usize = 16;

/// A head of a group.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) group: Group,
    pub(crate) index: usize,
}

/// What all tasks have in common.
pub(crate) struct Operands<'a> {
    pub(crate) q: Columns<'a>,
    pub(crate) k: Columns<'a>,
    pub(crate) v: Columns<'a>,
    /// Of one head.
    pub(crate) channels: usize,
    pub(crate) value_channels: usize,
    pub(crate) scale: f32,
    pub(crate) bias: Bias<'a>,
    padding: Option<&'a [f32]>,
}

/// Columns of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) first: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum Bias<'a> {
    None,
    Relative {
        rows: &'a [f32],
        columns: &'a [f32],
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

impl<'a> Columns<'a> {
    fn new(rows: &Rows<'a>) -> Result<Self> {
        Ok(Self { values: rows.tensor.f32()?, stride: rows.stride(), first: rows.first_column })
    }

    /// The channels of a head in a row.
    #[inline(always)]
    pub(crate) fn head(&self, row: usize, index: usize, channels: usize) -> &'a [f32] {
        &self.values[row * self.stride + self.first + index * channels..][..channels]
    }
}

impl<'a> Operands<'a> {
    pub(crate) fn new(a: &Attention<'a>) -> Result<Self> {
        Ok(Self {
            q: Columns::new(&a.q)?,
            k: Columns::new(&a.k)?,
            v: Columns::new(&a.v)?,
            channels: a.head_channels,
            value_channels: a.value_channels,
            scale: a.scale,
            bias: match a.bias {
                AttentionBias::None => Bias::None,
                AttentionBias::RelativePosition { rows, columns, .. } => {
                    Bias::Relative { rows: rows.f32()?, columns: columns.f32()? }
                }
                AttentionBias::Table(table) => {
                    let [_, queries, keys] = table.shape().fixed("attention")?;
                    Bias::Table { values: table.f32()?, queries, keys }
                }
                AttentionBias::KeyPositions(positions) => {
                    Bias::KeyPositions(Columns::new(&Rows::whole(positions))?)
                }
            },
            padding: match a.layout {
                TokenLayout::Windows { padding: Some(row), .. } => Some(row.f32()?),
                _ => None,
            },
        })
    }

    /// Where the channels of a head lie for a key of a group, or for its value.
    #[inline(always)]
    pub(crate) fn key_row(&self, of: Columns<'a>, place: Place, channels: usize, key: usize) -> *const f32 {
        let row = match place.group.keys.row_or_padding(key) {
            Some(row) => &of.values[row * of.stride..][..of.stride],
            None => self.padding.expect("checked: windows over the edge come with a padding row"),
        };
        row[of.first + place.index * channels..][..channels].as_ptr()
    }
}
