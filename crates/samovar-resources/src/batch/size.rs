//! How many items at once, as memory allows: halved when it runs out, doubled again when all goes well.

/// What is to be done about an error of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Memory ran out: clean up and try half as many.
    Halved,
    /// The item itself is at fault, or nothing can be done.
    Never,
    /// Every other item would fail the same way: none is begun any more.
    Stop,
}

/// Successes after which a halved size is doubled again: what made memory scarce may be gone.
const GOOD_AFTER: usize = 4;

/// A number of items that follows memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSize {
    wanted: usize,
    now: usize,
    good: usize,
}

impl BatchSize {
    /// So many, 1 at least, as long as nothing speaks against it.
    pub(super) fn new(wanted: usize) -> Self {
        let wanted = wanted.max(1);
        Self { wanted, now: wanted, good: 0 }
    }

    pub(super) fn get(&self) -> usize {
        self.now
    }

    /// It went well.
    pub(super) fn succeeded(&mut self) {
        self.good += 1;
        if self.now < self.wanted && self.good >= GOOD_AFTER {
            (self.now, self.good) = ((self.now * 2).min(self.wanted), 0);
        }
    }

    /// Memory ran out with `tried` at once; says how many are to be tried now.
    pub(super) fn halve(&mut self, tried: usize) -> usize {
        (self.now, self.good) = (self.now.min(tried.div_ceil(2)).max(1), 0);
        self.now
    }
}
