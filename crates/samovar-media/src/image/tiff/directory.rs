//! TIFF's directory of tags, read where the library hides what is needed: the place of a value, and the number of pages.

/// More pages than are counted; a directory may lead back to itself.
const MAX_PAGES: usize = 10_000;

/// One page's directory, in the file it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    is_little: bool,
    /// BigTIFF: places and counts of 8 bytes.
    is_big: bool,
    entries: usize,
    count: usize,
}

impl<'a> Directory<'a> {
    /// The first page's.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let is_little = bytes.starts_with(b"II");
        let mut directory = Self { bytes, is_little, is_big: false, entries: 0, count: 0 };
        directory.is_big = directory.number(2, 2)? == 43;
        let at = if directory.is_big { directory.number(8, 8)? } else { directory.number(4, 4)? };
        directory.at(at)
    }

    fn at(mut self, at: u64) -> Option<Self> {
        let at = usize::try_from(at).ok().filter(|&at| at > 0)?;
        let bytes = if self.is_big { 8 } else { 2 };
        self.count = usize::try_from(self.number(at, bytes)?).ok()?;
        self.entries = at.checked_add(bytes)?;
        // Every entry must be in the file.
        let end = self.count.checked_mul(self.entry_bytes())?.checked_add(self.entries)?;
        (end <= self.bytes.len()).then_some(self)
    }

    fn next(self) -> Option<Self> {
        let end = self.entries + self.count * self.entry_bytes();
        self.at(self.number(end, if self.is_big { 8 } else { 4 })?)
    }

    /// Number of pages, this one included.
    pub(super) fn pages(self) -> usize {
        std::iter::successors(Some(self), |directory| directory.next()).take(MAX_PAGES).count()
    }

    /// Where the first value of a tag of two-byte numbers is, if it is in the directory itself.
    pub(super) fn place_of_short(&self, tag: u16) -> Option<usize> {
        let entry = (0..self.count).map(|index| self.entries + index * self.entry_bytes());
        let at = entry.into_iter().find(|&at| self.number(at, 2) == Some(u64::from(tag)))?;
        Some(at + if self.is_big { 12 } else { 8 })
    }

    /// Two bytes in the file's order.
    pub(super) fn short(&self, value: u16) -> [u8; 2] {
        if self.is_little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn entry_bytes(&self) -> usize {
        if self.is_big { 20 } else { 12 }
    }

    fn number(&self, at: usize, bytes: usize) -> Option<u64> {
        let found = self.bytes.get(at..at.checked_add(bytes)?)?;
        let add = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.is_little { found.iter().rev().fold(0, add) } else { found.iter().fold(0, add) })
    }
}
