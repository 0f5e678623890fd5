//! The cache itself: two tiers, statistics, and who is making what right now.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::codec::Decoded;
use super::disk::{Disk, DiskOptions, Found, Selection, Verification};
use super::memory_tier::{Address, MemoryTier, Value};
use super::stats::CacheStats;
use crate::contents::Origin;
use crate::instruments::Events;
use crate::memory::{MemoryLevel, Reclaim};

/// How to make a [`Store`].
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Most bytes of all values in memory; 0 holds none.
    pub memory_budget_bytes: usize,
    /// Most values in memory.
    pub max_entries: usize,
    /// The tier on disk, if there is to be one.
    pub disk: Option<DiskOptions>,
    /// Who hears of hits and misses as they happen.
    pub events: Events,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { memory_budget_bytes: 2 << 30, max_entries: usize::MAX, disk: None, events: Events::default() }
    }
}

/// One cache for all kinds of values; [`super::FeatureCache`] is how one kind is asked and given.
pub struct Store {
    state: Mutex<State>,
    /// Something that was being made is finished.
    finished: Condvar,
    disk: Option<Disk>,
    events: Events,
    /// What values in memory may take at most, however much is free.
    most_bytes: usize,
    /// Why the first value that could not be written was not.
    write_failure: OnceLock<String>,
}

struct State {
    tier: MemoryTier,
    in_flight: HashSet<Address>,
    counts: HashMap<&'static str, CacheStats>,
}

/// Bytes from disk to a value and its size in memory.
pub(super) type Decode<'d> = dyn Fn(&[u8]) -> Decoded<(Value, usize)> + 'd;

/// Whether a value is one that whoever asks can use; others go.
pub(super) type IsWanted<'d> = dyn Fn(&Value) -> bool + 'd;

/// An answer, and where it came from.
pub(super) enum Answer {
    Memory(Value),
    Disk(Value),
}

impl Store {
    /// An empty cache in memory, over what lies on disk.
    pub fn new(options: StoreOptions) -> Arc<Self> {
        let StoreOptions { memory_budget_bytes, max_entries, disk, events } = options;
        let tier = MemoryTier::new(memory_budget_bytes, max_entries);
        let state = State { tier, in_flight: HashSet::new(), counts: HashMap::new() };
        Arc::new(Self {
            state: Mutex::new(state),
            finished: Condvar::new(),
            disk: disk.map(Disk::new),
            events,
            most_bytes: memory_budget_bytes,
            write_failure: OnceLock::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &str, address: &Address, more: (&'static str, serde_json::Value)) {
        let (kind, key) = address;
        self.events.emit(event, || [("kind", (*kind).into()), ("key", key.to_string().into()), more]);
    }

    /// Looks in memory, then on disk if there is a `decode`, which makes a value and says how large it is.
    pub(super) fn find(
        &self,
        address: Address,
        max_age: Option<Duration>,
        decode: Option<&Decode<'_>>,
        is_wanted: &IsWanted<'_>,
    ) -> Option<Answer> {
        if let Some(value) = self.find_in_memory(address, max_age, is_wanted) {
            return Some(Answer::Memory(value));
        }
        let (kind, key) = &address;
        let disk = self.disk.as_ref().zip(decode);
        let found = disk.map_or(Found::Nothing, |(disk, _)| disk.get(kind, key));
        let rejected = match found {
            Found::Sound(sound) => match decode.map_or(Decoded::NoRoom, |decode| decode(sound.payload())) {
                Decoded::Value((value, _)) if !is_wanted(&value) => {
                    self.disk.iter().for_each(|disk| disk.reject(kind, key));
                    None
                }
                Decoded::Value((value, bytes)) => {
                    let key_of = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
                    let origin =
                        Origin { image: key_of(&sound.header.image), model: key_of(&sound.header.model) };
                    let mut state = self.lock();
                    state.insert(address, Arc::clone(&value), bytes, sound.header.cost_seconds, origin);
                    state.count(kind).hits_on_disk += 1;
                    drop(state);
                    self.tell("cache_hit", &address, ("tier", "disk".into()));
                    return Some(Answer::Disk(value));
                }
                Decoded::NoRoom => None,
                Decoded::Foreign => {
                    self.disk.iter().for_each(|disk| disk.reject(kind, key));
                    Some("it was made by another version")
                }
            },
            Found::Rejected(why) => Some(why),
            Found::Nothing => None,
        };
        let mut state = self.lock();
        state.count(kind).misses += 1;
        state.count(kind).rejected += u64::from(rejected.is_some());
        drop(state);
        if let Some(why) = rejected {
            self.tell("cache_rejected", &address, ("why", why.into()));
        }
        self.tell("cache_miss", &address, ("tier", "all".into()));
        None
    }

    /// Looks in memory alone; what is not there is no miss yet.
    fn find_in_memory(
        &self,
        address: Address,
        max_age: Option<Duration>,
        is_wanted: &IsWanted<'_>,
    ) -> Option<Value> {
        let mut state = self.lock();
        let (value, is_old) = {
            let entry = state.tier.get(&address)?;
            (Arc::clone(&entry.value), max_age.is_some_and(|most| entry.made.elapsed() > most))
        };
        if is_old || !is_wanted(&value) {
            state.tier.remove(&address);
            return None;
        }
        state.count(address.0).hits_in_memory += 1;
        drop(state);
        self.tell("cache_hit", &address, ("tier", "memory".into()));
        Some(value)
    }

    /// Holds a value; at most `max_entries` of its kind.
    pub(super) fn insert(
        &self,
        address: Address,
        value: Value,
        bytes: usize,
        cost: Duration,
        origin: Origin,
        max_entries: usize,
    ) {
        let mut state = self.lock();
        // The value itself is the last that goes.
        while state.tier.len_of(address.0) >= max_entries.max(1) {
            let Some(least) = state.tier.least_worthy(address.0) else { break };
            state.tier.remove(&least);
            state.count(address.0).evictions += 1;
        }
        state.insert(address, value, bytes, cost.as_secs_f64(), origin);
    }

    /// Why a value could not be written to the disk, if one could not.
    pub fn write_failure(&self) -> Option<&str> {
        self.write_failure.get().map(String::as_str)
    }

    /// Writes a value to the disk. What cannot be written is told and not held against anybody.
    pub(super) fn write(&self, address: Address, payload: &[u8], cost: Duration, origin: Origin) {
        let Some(disk) = &self.disk else { return };
        if let Err(error) = disk.set(address.0, &address.1, &origin, cost.as_secs_f64(), payload) {
            let why = error.to_string();
            self.write_failure.get_or_init(|| why.clone());
            self.tell("cache_write_failed", &address, ("why", why.into()));
        }
    }

    /// Removes a value from memory and disk.
    pub(super) fn forget(&self, address: Address) {
        self.lock().tier.remove(&address);
        self.disk.iter().for_each(|disk| disk.reject(address.0, &address.1));
    }

    /// Whether there is a tier on disk.
    pub fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Waits until nobody makes this value, then lets the caller do it; `None` if it was made meanwhile.
    pub(super) fn begin_making(&self, address: Address) -> Making<'_> {
        let mut state = self.lock();
        let mut has_waited = false;
        while !state.in_flight.insert(address) {
            has_waited = true;
            state = self.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Making { store: self, address, has_waited }
    }

    /// Figures of one kind of value, or of all.
    pub fn stats(&self, kind: Option<&str>) -> CacheStats {
        let state = self.lock();
        let mut all = CacheStats { budget_bytes: state.tier.budget_bytes, ..CacheStats::default() };
        for (of, counts) in state.counts.iter().filter(|(of, _)| kind.is_none_or(|kind| kind == **of)) {
            all.entries += state.tier.len_of(of);
            all.hits_in_memory += counts.hits_in_memory;
            all.hits_on_disk += counts.hits_on_disk;
            all.misses += counts.misses;
            all.evictions += counts.evictions;
            all.rejected += counts.rejected;
        }
        let of_kind = state.tier.iter().filter(|((of, _), _)| kind.is_none_or(|kind| kind == *of));
        all.memory_bytes = of_kind.map(|(_, entry)| entry.bytes).sum();
        all
    }

    /// Entries and bytes on disk, by kind.
    pub fn disk_usage(&self) -> BTreeMap<String, (usize, u64)> {
        self.disk.as_ref().map(Disk::usage).unwrap_or_default()
    }

    /// Where the tier on disk lies, and its budget.
    pub fn disk_options(&self) -> Option<&DiskOptions> {
        self.disk.as_ref().map(Disk::options)
    }

    /// Removes the entries that are meant from memory and disk; says how many and how many bytes of those on disk.
    pub fn clear(&self, selection: &Selection) -> (usize, u64) {
        self.lock().tier.remove_if(|(kind, _), entry| {
            selection.kind.as_ref().is_none_or(|wanted| wanted == kind)
                && selection.image.is_none_or(|image| entry.origin.image == Some(image))
                && selection.model.is_none_or(|model| entry.origin.model == Some(model))
                && selection.unused_for.is_none_or(|least| entry.made.elapsed() >= least)
        });
        self.disk.as_ref().map_or((0, 0), |disk| disk.clear(selection))
    }

    /// Reads all entries on disk and removes those that are damaged or foreign.
    pub fn verify(&self) -> Verification {
        self.disk.as_ref().map(Disk::verify).unwrap_or_default()
    }

    /// Changes how much memory values may take, within [`StoreOptions::memory_budget_bytes`], and lets go what is too much.
    /// Says how many bytes went.
    pub fn resize(&self, memory_budget_bytes: usize) -> usize {
        let mut state = self.lock();
        let before = state.tier.bytes();
        state.shrink_to(memory_budget_bytes.min(self.most_bytes));
        before - state.tier.bytes()
    }
}

impl State {
    fn count(&mut self, kind: &'static str) -> &mut CacheStats {
        self.counts.entry(kind).or_default()
    }

    /// Sets the budget and lets go what is too much.
    fn shrink_to(&mut self, budget_bytes: usize) {
        self.tier.budget_bytes = budget_bytes;
        for (kind, _) in self.tier.make_room(0, 0) {
            self.count(kind).evictions += 1;
        }
    }

    fn insert(&mut self, address: Address, value: Value, bytes: usize, cost: f64, origin: Origin) {
        self.count(address.0);
        for (kind, _) in self.tier.insert(address, value, bytes, cost, origin) {
            self.count(kind).evictions += 1;
        }
    }
}

/// Under warning half of what is held goes, the least worthy first; at the critical level everything in memory. While memory
/// is watched ([`crate::memory::MemoryManager::tend`]) no more is held then until it is calm again.
impl Reclaim for Store {
    fn name(&self) -> &str {
        "cache"
    }

    fn acts_from(&self) -> MemoryLevel {
        MemoryLevel::Warning
    }

    fn reclaim(&self, level: MemoryLevel) -> usize {
        let mut state = self.lock();
        let (held, budget_bytes) = (state.tier.bytes(), state.tier.budget_bytes);
        let kept = if level >= MemoryLevel::Critical { 0 } else { held / 2 };
        state.shrink_to(kept);
        state.tier.budget_bytes = budget_bytes;
        held - state.tier.bytes()
    }

    /// Values may take as much again as half of what is left: sizes follow free memory (document 002).
    fn look(&self, available_bytes: usize, level: MemoryLevel) {
        let mut state = self.lock();
        let held = state.tier.bytes();
        let more = if level < MemoryLevel::Warning { available_bytes / 2 } else { 0 };
        let budget_bytes = held.saturating_add(more).min(self.most_bytes);
        state.shrink_to(budget_bytes);
    }
}

/// The right to make one value; others wait until it is dropped.
pub(super) struct Making<'s> {
    store: &'s Store,
    address: Address,
    /// Whether somebody else was making it.
    pub(super) has_waited: bool,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.store.lock().in_flight.remove(&self.address);
        self.store.finished.notify_all();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.stats(None))
    }
}

/// The value as what it is.
pub(super) fn downcast<V: Any + Send + Sync>(value: Value) -> Option<Arc<V>> {
    value.downcast().ok()
}
