//! How values lie on disk.

/// How large values are, and how they lie on disk.
pub trait Codec<V>: Send + Sync {
    /// Bytes a value takes in memory.
    fn size_bytes(&self, value: &V) -> usize;

    /// A value as bytes; `None` for values that stay in memory, or cannot be had now.
    fn encode(&self, value: &V) -> Option<Vec<u8>>;

    /// The value of these bytes, which were written by [`Codec::encode`] of this or another version.
    fn decode(&self, bytes: &[u8]) -> Decoded<V>;
}

/// What became of bytes from disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<V> {
    /// The value.
    Value(V),
    /// They make no sense: the entry is removed.
    Foreign,
    /// They may be good, and there is no room for the value now: the entry stays.
    NoRoom,
}

/// Values that stay in memory; the function tells how large they are.
#[derive(Debug, Clone, Copy)]
pub struct MemoryOnly<F>(pub F);

impl<V, F: Fn(&V) -> usize + Send + Sync> Codec<V> for MemoryOnly<F> {
    fn size_bytes(&self, value: &V) -> usize {
        (self.0)(value)
    }

    fn encode(&self, _: &V) -> Option<Vec<u8>> {
        None
    }

    fn decode(&self, _: &[u8]) -> Decoded<V> {
        Decoded::NoRoom
    }
}
