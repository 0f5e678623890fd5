//! Watches memory, and has what can be given back given back.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::figures::{DeviceMemory, Memory, MemoryStats, ProcessMemory};
use super::levels::{MemoryLevel, MemoryThresholds};
use super::system::return_free_heap;
use super::units::bytes;
use crate::instruments::Events;

/// A device whose memory is watched.
pub trait MeteredDevice: Send + Sync {
    /// The figures of its pool now.
    fn memory(&self) -> DeviceMemory;
}

/// Something that can give memory back: a pool its idle blocks, a cache its entries, an engine its idle models.
pub trait Reclaim: Send + Sync {
    /// What it is, for the log.
    fn name(&self) -> &str;

    /// From which level on it acts. A clean-up at some level asks all those of lower and equal levels.
    fn acts_from(&self) -> MemoryLevel;

    /// Gives back what it can at this level, and says how many bytes that were.
    fn reclaim(&self, level: MemoryLevel) -> usize;

    /// Hears at every look ([`MemoryManager::tend`]) how much room was left where there is least of it, and at which
    /// level, after that level's clean-up: what sizes itself by free memory, or has lain idle for too long, acts on it.
    fn look(&self, _available_bytes: usize, _level: MemoryLevel) {}
}

/// What one clean-up gave back.
#[derive(Debug, Clone, Default)]
pub struct Cleanup {
    /// At which level.
    pub level: MemoryLevel,
    /// Bytes by who gave them, in the order they were asked.
    pub freed: Vec<(String, usize)>,
    /// What the system says the process has less of now.
    pub resident_bytes_before: usize,
    /// The same, after.
    pub resident_bytes_after: usize,
    /// How long it took.
    pub time: Duration,
}

impl Cleanup {
    /// Bytes that were given back together.
    pub fn freed_bytes(&self) -> usize {
        self.freed.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl fmt::Display for Cleanup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory, {}: gave back {}", self.level, bytes(self.freed_bytes()))?;
        let parts: Vec<String> =
            self.freed.iter().map(|(name, freed)| format!("{name} {}", bytes(*freed))).collect();
        if !parts.is_empty() {
            write!(f, " ({})", parts.join(", "))?;
        }
        let (before, after) = (bytes(self.resident_bytes_before), bytes(self.resident_bytes_after));
        write!(f, "; resident {before} before, {after} after")
    }
}

/// How to make a [`MemoryManager`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryOptions {
    /// From which shares on something is done.
    pub thresholds: MemoryThresholds,
    /// Whether [`MemoryManager::auto_cleanup_if_needed`] does anything.
    pub auto_cleanup: bool,
    /// Least time between two clean-ups of its own accord at the same level: what was just asked has nothing more to give.
    pub least_interval: Duration,
    /// Least time between two looks of [`MemoryManager::tend`], which is called at every turn.
    pub least_look: Duration,
    /// How many figures of the past are kept.
    pub history: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            thresholds: MemoryThresholds::default(),
            auto_cleanup: true,
            least_interval: Duration::from_secs(1),
            least_look: Duration::from_millis(100),
            history: 256,
        }
    }
}

/// What is left for a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AvailableMemory {
    /// On the host, as far as the threshold of the critical level.
    pub host_bytes: usize,
    /// By device, what its budget leaves, idle blocks included.
    pub devices: Vec<(String, usize)>,
}

/// Watches the memory of machine, process and devices, and cleans up by level; documents 000 and 002.
///
/// Whoever can give memory back is registered with [`MemoryManager::register`] and held weakly: what is dropped is no
/// longer asked. All methods may be called from any number of threads.
///
/// ```
/// use samovar_resources::memory::{MemoryManager, MemoryOptions};
///
/// let memory = MemoryManager::new(MemoryOptions::default())?;
/// if memory.check_memory_pressure() {
///     memory.cleanup(false);
/// }
/// println!("{}", memory.stats());
/// # Ok::<(), String>(())
/// ```
pub struct MemoryManager {
    options: MemoryOptions,
    began: Instant,
    state: Mutex<State>,
    probe: Box<dyn Fn() -> (Memory, ProcessMemory) + Send + Sync>,
    events: Events,
}

#[derive(Default)]
struct State {
    devices: Vec<Weak<dyn MeteredDevice>>,
    givers: Vec<Weak<dyn Reclaim>>,
    history: VecDeque<MemoryStats>,
    last_look: Option<Instant>,
    /// Of its own accord.
    last_cleanup: Option<(MemoryLevel, Instant)>,
}

impl MemoryManager {
    /// A manager of this machine's memory.
    ///
    /// # Errors
    /// Thresholds that make no sense, in words.
    pub fn new(options: MemoryOptions) -> Result<Self, String> {
        Self::with_probe(options, || (Memory::now(), ProcessMemory::now()))
    }

    /// A manager that takes the figures of machine and process from `probe`.
    ///
    /// # Errors
    /// As [`MemoryManager::new`].
    pub fn with_probe(
        options: MemoryOptions,
        probe: impl Fn() -> (Memory, ProcessMemory) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        options.thresholds.check()?;
        let (began, state) = (Instant::now(), Mutex::default());
        Ok(Self { options, began, state, probe: Box::new(probe), events: Events::default() })
    }

    /// The same, telling of every clean-up what it gave back (`memory_cleanup`).
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// From which shares on something is done.
    pub fn thresholds(&self) -> MemoryThresholds {
        self.options.thresholds
    }

    /// Watches a device for as long as it lives.
    pub fn watch(&self, device: &Arc<impl MeteredDevice + 'static>) {
        let device: Arc<dyn MeteredDevice> = Arc::clone(device) as _;
        self.lock().devices.push(Arc::downgrade(&device));
    }

    /// Asks `giver` at clean-ups, for as long as it lives; once, however often it is registered. Those of the highest
    /// level are asked first: what caches and models give back goes to pools, which give it to the system. Of one level
    /// those registered first are.
    pub fn register(&self, giver: &Arc<impl Reclaim + 'static>) {
        let giver: Arc<dyn Reclaim> = Arc::clone(giver) as _;
        let mut state = self.lock();
        state.givers.retain(|known| known.strong_count() > 0);
        let giver = Arc::downgrade(&giver);
        if !state.givers.iter().any(|known| known.ptr_eq(&giver)) {
            state.givers.push(giver);
        }
    }

    /// All figures now; they go into the history too.
    pub fn stats(&self) -> MemoryStats {
        let (system, process) = (self.probe)();
        let devices: Vec<_> = self.lock().devices.iter().filter_map(Weak::upgrade).collect();
        let devices = devices.iter().map(|device| device.memory()).collect();
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let stats = MemoryStats { at_ms, system, process, devices };
        let mut state = self.lock();
        state.devices.retain(|device| device.strong_count() > 0);
        while state.history.len() >= self.options.history.max(1) {
            state.history.pop_front();
        }
        state.history.push_back(stats.clone());
        stats
    }

    /// The figures of the last look.
    pub fn last_stats(&self) -> Option<MemoryStats> {
        self.lock().history.back().cloned()
    }

    /// The level of the machine, or its container, at the last look; calm before the first. Costs nothing, unlike
    /// [`MemoryManager::level`].
    pub fn last_system_level(&self) -> MemoryLevel {
        let state = self.lock();
        let share = state.history.back().map_or(0.0, MemoryStats::system_share);
        self.options.thresholds.level_at(share)
    }

    /// The figures of the past, the oldest first.
    pub fn usage_history(&self) -> Vec<MemoryStats> {
        self.lock().history.iter().cloned().collect()
    }

    /// The level now.
    pub fn level(&self) -> MemoryLevel {
        self.options.thresholds.level_at(self.stats().fullest_share())
    }

    /// Whether anything has to be done.
    pub fn check_memory_pressure(&self) -> bool {
        self.level() > MemoryLevel::Calm
    }

    /// Whether new work may begin: not when the machine, or its container, is at the critical level. Devices have budgets
    /// and plans of their own, by which work fits to the last byte or does not.
    pub fn admits_new_work(&self) -> bool {
        self.options.thresholds.level_at(self.stats().system_share()) < MemoryLevel::Critical
    }

    /// Looks after memory, if the last look was not a moment ago: sizes of caches follow what is free, what lies idle for too
    /// long goes, and the level's clean-up is done. For the natural points of work, between items and before a large one; takes a
    /// fraction of a millisecond, and next to nothing between two looks.
    pub fn tend(&self) -> Option<Cleanup> {
        let now = Instant::now();
        {
            let mut state = self.lock();
            let is_recent =
                state.last_look.is_some_and(|at| now.duration_since(at) < self.options.least_look);
            if is_recent {
                return None;
            }
            state.last_look = Some(now);
        }
        let stats = self.stats();
        // A device's budget is kept by plans, which fill it as far as it goes: that alone is no emergency.
        let of_device = self.options.thresholds.level_at(stats.fullest_share()).min(MemoryLevel::Warning);
        let level = self.options.thresholds.level_at(stats.system_share()).max(of_device);
        let cleanup = self.cleanup_if_due(level);
        let available = self.available_in(&stats);
        let room_bytes =
            available.devices.iter().map(|(_, left)| *left).fold(available.host_bytes, usize::min);
        self.givers().iter().for_each(|giver| giver.look(room_bytes, level));
        cleanup
    }

    /// Has memory given back: what lies idle, and if `aggressive` all that can be made again.
    pub fn cleanup(&self, aggressive: bool) -> Cleanup {
        self.cleanup_at(if aggressive { MemoryLevel::Critical } else { MemoryLevel::Pressure })
    }

    /// Has memory given back as the level now asks, if it asks anything, and if the last time was not a moment ago.
    pub fn auto_cleanup_if_needed(&self) -> Option<Cleanup> {
        self.cleanup_if_due(self.level())
    }

    fn cleanup_if_due(&self, level: MemoryLevel) -> Option<Cleanup> {
        if !self.options.auto_cleanup || level == MemoryLevel::Calm {
            return None;
        }
        let now = Instant::now();
        let mut state = self.lock();
        let is_recent = state.last_cleanup.is_some_and(|(before, at)| {
            before >= level && now.duration_since(at) < self.options.least_interval
        });
        if is_recent {
            return None;
        }
        state.last_cleanup = Some((level, now));
        drop(state);
        Some(self.cleanup_at(level))
    }

    /// Has memory given back as at this level.
    pub fn cleanup_at(&self, level: MemoryLevel) -> Cleanup {
        let began = Instant::now();
        let resident = || (self.probe)().1.resident_bytes;
        let resident_bytes_before = resident();
        let givers = self.givers();
        let mut asked: Vec<_> = givers.iter().filter(|giver| giver.acts_from() <= level).collect();
        asked.sort_by_key(|giver| Reverse(giver.acts_from()));
        let freed = asked.iter().map(|giver| (giver.name().to_owned(), giver.reclaim(level))).collect();
        return_free_heap();
        let resident_bytes_after = resident();
        let cleanup =
            Cleanup { level, freed, resident_bytes_before, resident_bytes_after, time: began.elapsed() };
        self.events.emit("memory_cleanup", || {
            let by: serde_json::Map<_, _> =
                cleanup.freed.iter().map(|(name, bytes)| (name.clone(), (*bytes).into())).collect();
            [
                ("level", cleanup.level.to_string().into()),
                ("freed_bytes", cleanup.freed_bytes().into()),
                ("freed_by", by.into()),
                ("resident_bytes_before", resident_bytes_before.into()),
                ("resident_bytes_after", resident_bytes_after.into()),
                ("seconds", cleanup.time.as_secs_f64().into()),
            ]
        });
        cleanup
    }

    fn givers(&self) -> Vec<Arc<dyn Reclaim>> {
        self.lock().givers.iter().filter_map(Weak::upgrade).collect()
    }

    /// What is left for a model, on the host and on each device.
    pub fn estimate_available_for_model(&self) -> AvailableMemory {
        self.available_in(&self.stats())
    }

    fn available_in(&self, stats: &MemoryStats) -> AvailableMemory {
        let critical_bytes = (stats.system.total_bytes as f64 * self.options.thresholds.critical) as usize;
        let host_bytes = critical_bytes.saturating_sub(stats.system.used_bytes());
        let left = |device: &DeviceMemory| device.budget_bytes.saturating_sub(device.used_bytes);
        let devices = stats.devices.iter().map(|device| (device.name.clone(), left(device))).collect();
        AvailableMemory { host_bytes, devices }
    }

    /// Whether a model of this size would fit on a device, by its name; on the host, if no watched device is called so.
    pub fn can_load_model(&self, size_bytes: usize, device: &str) -> bool {
        let available = self.estimate_available_for_model();
        let of_device = available.devices.iter().find(|(name, _)| name == device).map(|(_, left)| *left);
        size_bytes <= of_device.unwrap_or(available.host_bytes)
    }

    /// The figures as lines for people.
    ///
    /// # Errors
    /// Those of writing.
    pub fn print_summary(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let stats = self.stats();
        let level = self.options.thresholds.level_at(stats.fullest_share());
        writeln!(out, "{stats}\nlevel: {level}")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryManager").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
