//! Which rows of the operands a softmax sees: batch entries, or windows found by index.

use samovar_tensor::{Attention, AttentionBias, Result, TokenLayout};

/// All groups of an attention.
pub(crate) struct Tokens {
    layout: Layout,
    /// Batch entries, or windows of all images.
    pub(crate) groups: usize,
    pub(crate) heads: usize,
    /// Queries of the largest group.
    pub(crate) most_queries: usize,
    /// Keys of every group.
    pub(crate) keys: usize,
}

enum Layout {
    Sequence { key_batch: usize, queries: usize, keys: usize },
    Windows { grid: [usize; 2], window: usize, query_stride: usize, per_image: [usize; 2] },
}

/// Tokens that share a softmax.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    pub(crate) queries: Rectangle,
    pub(crate) keys: Padded,
}

/// Tokens of a group that exist, in order: a rectangle of a grid, or a piece of a sequence (one line).
#[derive(Clone, Copy)]
pub(crate) struct Rectangle {
    first_row: usize,
    /// Rows of the operand from one line to the next.
    row_stride: usize,
    /// Positions of the group from one line to the next.
    position_stride: usize,
    lines: usize,
    line_len: usize,
}

/// All positions of a group; those outside the rectangle are padding.
#[derive(Clone, Copy)]
pub(crate) struct Padded {
    inside: Rectangle,
    count: usize,
}

impl Tokens {
    pub(crate) fn new(a: &Attention) -> Result<Self> {
        Ok(match a.layout {
            TokenLayout::Sequence { batch, key_batch, queries, keys } => {
                // Without a bias that depends on the position, queries of all entries are alike to shared keys.
                let apart = matches!(a.bias, AttentionBias::None | AttentionBias::KeyPositions(_));
                let shared = key_batch == 1 && apart;
                let (batch, queries) = if shared { (1, batch * queries) } else { (batch, queries) };
                Self {
                    layout: Layout::Sequence { key_batch, queries, keys },
                    groups: batch,
                    heads: a.heads,
                    most_queries: queries,
                    keys,
                }
            }
            TokenLayout::Windows { batch, grid, window, query_stride, .. } => {
                let per_image = grid.map(|side| side.div_ceil(window));
                let [lines, line_len] = grid.map(|side| window.min(side) / query_stride);
                Self {
                    layout: Layout::Windows { grid, window, query_stride, per_image },
                    groups: batch * per_image[0] * per_image[1],
                    heads: a.heads,
                    most_queries: lines * line_len,
                    keys: window * window,
                }
            }
        })
    }

    /// Whether groups are batch entries, without padding.
    pub(crate) fn is_sequence(&self) -> bool {
        matches!(self.layout, Layout::Sequence { .. })
    }

    pub(crate) fn group(&self, index: usize) -> Group {
        match self.layout {
            Layout::Sequence { key_batch, queries, keys } => {
                let line = |first_row: usize, len: usize| Rectangle {
                    first_row,
                    row_stride: 0,
                    position_stride: 0,
                    lines: 1,
                    line_len: len,
                };
                Group {
                    queries: line(index * queries, queries),
                    keys: Padded { inside: line(index % key_batch * keys, keys), count: keys },
                }
            }
            Layout::Windows { grid: [height, width], window, query_stride, per_image: [down, across] } => {
                let (b, within) = (index / (down * across), index % (down * across));
                let (top, left) = (within / across * window, within % across * window);
                let (lines, line_len) = (window.min(height - top), window.min(width - left));
                // The window in a grid that is `stride` times smaller.
                let inside = |stride: usize| Rectangle {
                    first_row: (b * (height / stride) + top / stride) * (width / stride) + left / stride,
                    row_stride: width / stride,
                    position_stride: window / stride,
                    lines: lines / stride,
                    line_len: line_len / stride,
                };
                Group {
                    queries: inside(query_stride),
                    keys: Padded { inside: inside(1), count: window * window },
                }
            }
        }
    }
}

impl Rectangle {
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.lines * self.line_len
    }

    /// Row of the operand of the `i`-th token.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> usize {
        // One line is the common case, and a division is slow.
        if self.lines == 1 {
            return self.first_row + i;
        }
        self.first_row + i / self.line_len * self.row_stride + i % self.line_len
    }

    /// Tokens on a line of the group's grid, which has `width` of them where the tokens are a sequence.
    #[inline(always)]
    pub(crate) fn across(&self, width: usize) -> usize {
        if self.position_stride == 0 { width } else { self.line_len }
    }

    /// Position in the group of the `i`-th token.
    #[inline(always)]
    pub(crate) fn position(&self, i: usize) -> usize {
        if self.lines == 1 {
            return i;
        }
        i / self.line_len * self.position_stride + i % self.line_len
    }
}

impl Padded {
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Row of the operand at a position of a sequence.
    #[inline(always)]
    pub(crate) fn row(&self, position: usize) -> usize {
        debug_assert_eq!(self.inside.lines, 1);
        self.inside.first_row + position
    }

    /// Row of the operand at a position, or `None` for padding.
    #[inline(always)]
    pub(crate) fn row_or_padding(&self, position: usize) -> Option<usize> {
        let inside = &self.inside;
        if inside.position_stride == 0 {
            // A sequence is one line without padding.
            return Some(self.row(position));
        }
        let (line, column) = (position / inside.position_stride, position % inside.position_stride);
        (line < inside.lines && column < inside.line_len)
            .then(|| inside.first_row + line * inside.row_stride + column)
    }
}
