//! What is held in memory, and what goes when there is no room.
//!
//! An entry's worth is what it costs to make again, per byte, times how often it was used, over what had to go before it:
//! GreedyDual-Size-Frequency (Cherkasova 1998). With equal costs and sizes, and one use each, that is LRU.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::contents::{Key, Origin};

pub(super) type Value = Arc<dyn Any + Send + Sync>;
/// What kind of value, and its address.
pub(super) type Address = (&'static str, Key);

pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) bytes: usize,
    pub(super) origin: Origin,
    pub(super) made: Instant,
    /// Seconds that making it took.
    cost: f64,
    uses: u32,
    rank: Rank,
}

/// Orders entries by worth, then by last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The bits of a positive float, which order as it does.
    worth: u64,
    last_use: u64,
}

/// What is held.
pub(super) struct MemoryTier {
    entries: HashMap<Address, Entry>,
    /// Of each kind, the least worthy first. There are few kinds.
    by_rank: BTreeMap<&'static str, BTreeSet<(Rank, Key)>>,
    bytes: usize,
    /// Worth of the last entry that had to go: what is used from now on is worth more than all that was not.
    floor: f64,
    clock: u64,
    pub(super) budget_bytes: usize,
    pub(super) max_entries: usize,
}

impl MemoryTier {
    pub(super) fn new(budget_bytes: usize, max_entries: usize) -> Self {
        Self {
            entries: HashMap::new(),
            by_rank: BTreeMap::new(),
            bytes: 0,
            floor: 0.0,
            clock: 0,
            budget_bytes,
            max_entries,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Address, &Entry)> {
        self.entries.iter()
    }

    fn rank(&mut self, cost: f64, bytes: usize, uses: u32) -> Rank {
        self.clock += 1;
        // A microsecond at least: what costs nothing to make still is worth something.
        let worth = self.floor + f64::from(uses) * cost.max(1e-6) / (bytes.max(1) as f64);
        Rank { worth: worth.to_bits(), last_use: self.clock }
    }

    /// The entry, used once more.
    pub(super) fn get(&mut self, address: &Address) -> Option<&Entry> {
        let (cost, bytes, uses, old) = {
            let entry = self.entries.get(address)?;
            (entry.cost, entry.bytes, entry.uses.saturating_add(1), entry.rank)
        };
        let rank = self.rank(cost, bytes, uses);
        let ranks = self.by_rank.entry(address.0).or_default();
        ranks.remove(&(old, address.1));
        ranks.insert((rank, address.1));
        let entry = self.entries.get_mut(address)?;
        (entry.uses, entry.rank) = (uses, rank);
        Some(entry)
    }

    /// Holds a value, and says what had to go for it. What is larger than the budget is not held.
    pub(super) fn insert(
        &mut self,
        address: Address,
        value: Value,
        bytes: usize,
        cost: f64,
        origin: Origin,
    ) -> Vec<Address> {
        self.remove(&address);
        if bytes > self.budget_bytes || self.max_entries == 0 {
            return Vec::new();
        }
        let gone = self.make_room(bytes, 1);
        let rank = self.rank(cost, bytes, 1);
        self.by_rank.entry(address.0).or_default().insert((rank, address.1));
        self.bytes += bytes;
        self.entries
            .insert(address, Entry { value, bytes, origin, made: Instant::now(), cost, uses: 1, rank });
        gone
    }

    /// Lets the least worthy go until so much more fits.
    pub(super) fn make_room(&mut self, bytes: usize, entries: usize) -> Vec<Address> {
        let mut gone = Vec::new();
        while self.bytes.saturating_add(bytes) > self.budget_bytes
            || self.entries.len() + entries > self.max_entries
        {
            let of_each_kind = self.by_rank.iter().filter_map(|(kind, ranks)| Some((*ranks.first()?, *kind)));
            let Some(((rank, key), kind)) = of_each_kind.min() else { break };
            let address = (kind, key);
            self.floor = f64::from_bits(rank.worth);
            self.remove(&address);
            gone.push(address);
        }
        gone
    }

    /// The least worthy entry of one kind.
    pub(super) fn least_worthy(&self, kind: &'static str) -> Option<Address> {
        Some((kind, self.by_rank.get(kind)?.first()?.1))
    }

    /// Number of entries of one kind.
    pub(super) fn len_of(&self, kind: &str) -> usize {
        self.by_rank.get(kind).map_or(0, BTreeSet::len)
    }

    pub(super) fn remove(&mut self, address: &Address) -> Option<Entry> {
        let entry = self.entries.remove(address)?;
        if let Some(ranks) = self.by_rank.get_mut(address.0) {
            ranks.remove(&(entry.rank, address.1));
        }
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// Removes the entries for which `is_meant`, and says how many bytes that were.
    pub(super) fn remove_if(&mut self, is_meant: impl Fn(&Address, &Entry) -> bool) -> usize {
        let meant: Vec<Address> = self
            .entries
            .iter()
            .filter(|(address, entry)| is_meant(address, entry))
            .map(|(a, _)| *a)
            .collect();
        meant.iter().filter_map(|address| self.remove(address)).map(|entry| entry.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Address {
        ("test", Key::of_content(&number.to_le_bytes()))
    }

    fn tier(budget_bytes: usize) -> MemoryTier {
        MemoryTier::new(budget_bytes, usize::MAX)
    }

    fn add(tier: &mut MemoryTier, number: u64, bytes: usize, cost: f64) -> Vec<Address> {
        tier.insert(key(number), Arc::new(number), bytes, cost, Origin::default())
    }

    #[test]
    fn of_equals_the_one_not_used_for_longest_goes() {
        let mut tier = tier(30);
        for number in 0..3 {
            assert!(add(&mut tier, number, 10, 1.0).is_empty());
        }
        assert!(tier.get(&key(0)).is_some());
        assert_eq!(add(&mut tier, 3, 10, 1.0), [key(1)]);
        assert_eq!((tier.bytes(), tier.entries.len()), (30, 3));
    }

    #[test]
    fn what_is_dear_to_make_stays_but_not_for_ever() {
        let mut tier = tier(30);
        add(&mut tier, 100, 10, 5.0);
        for number in 0..4 {
            add(&mut tier, number, 10, 1.0);
            assert!(tier.entries.contains_key(&key(100)));
        }
        // Never asked for again, it goes when others have come and gone often enough.
        for number in 4..200 {
            add(&mut tier, number, 10, 1.0);
        }
        assert!(!tier.entries.contains_key(&key(100)));
    }

    #[test]
    fn budget_and_entries_hold_whatever_comes() {
        let mut tier = MemoryTier::new(1000, 7);
        let mut state = 1u64;
        for number in 0..2000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let size = (state >> 33) as usize % 1200;
            add(&mut tier, number % 50, size, (state >> 50) as f64);
            tier.get(&key(state >> 58));
            assert!(tier.bytes() <= 1000 && tier.entries.len() <= 7);
            assert_eq!(tier.bytes(), tier.entries.values().map(|entry| entry.bytes).sum::<usize>());
            assert_eq!(tier.entries.len(), tier.len_of("test"));
        }
        assert!(add(&mut tier, 1, 1001, 1.0).is_empty());
        assert!(tier.get(&key(1)).is_none(), "larger than all memory there is");
    }
}
