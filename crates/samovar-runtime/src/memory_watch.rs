//! What watches an engine's memory: who can give some back, and whether new work may begin.
//!
//! There is no thread that watches. Work looks after memory at its natural points: before a picture is held, before an image
//! is encoded, between batches of prompts; whoever waits for work calls [`crate::Engine::tend`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use samovar_resources::instruments::Events;
use samovar_resources::memory::{
    DeviceMemory, MemoryLevel, MemoryManager, MemoryOptions, MemoryThresholds, MeteredDevice, Reclaim,
};
use samovar_tensor::{Pool, SetAside};

use crate::error::{Error, Result};

/// How long new work waits for a machine without memory before it is refused: others may be done in a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks while waiting.
const LOOK_AGAIN: Duration = Duration::from_millis(150);

/// The memory of one engine under watch.
pub(crate) struct MemoryWatch {
    manager: Arc<MemoryManager>,
    /// The manager holds it weakly.
    _pool: Arc<WatchedPool>,
    /// What the process has beside the pool.
    _process: SetAside,
}

impl MemoryWatch {
    /// Watches a pool, in which `process_bytes` are set aside for what the process has beside it.
    ///
    /// # Errors
    /// [`Error::Usage`] for thresholds that make no sense.
    pub(crate) fn new(
        device: String,
        pool: &Arc<Pool>,
        process_bytes: usize,
        thresholds: MemoryThresholds,
        events: Events,
    ) -> Result<Self> {
        let options = MemoryOptions { thresholds, ..MemoryOptions::default() };
        let manager = Arc::new(MemoryManager::new(options).map_err(Error::Usage)?.with_events(events));
        Self::by(manager, device, pool, process_bytes)
    }

    fn by(
        manager: Arc<MemoryManager>,
        device: String,
        pool: &Arc<Pool>,
        process_bytes: usize,
    ) -> Result<Self> {
        // Too small a budget is for the first work to refuse, which knows what it takes altogether.
        let process = pool.count_taken(process_bytes);
        let watched = Arc::new(WatchedPool { device, pool: Arc::clone(pool) });
        manager.watch(&watched);
        manager.register(&watched);
        Ok(Self { manager, _pool: watched, _process: process })
    }

    pub(crate) fn manager(&self) -> &Arc<MemoryManager> {
        &self.manager
    }

    /// How full memory was at the last look.
    pub(crate) fn level(&self) -> MemoryLevel {
        self.manager.last_system_level()
    }

    /// Looks after memory; waits a little where there is none, and refuses the work if that does not help.
    ///
    /// # Errors
    /// [`Error::Scarce`].
    pub(crate) fn begin(&self, what: &str, patience: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            self.manager.tend();
            if self.level() < MemoryLevel::Critical {
                return Ok(());
            }
            if began.elapsed() >= patience {
                let system = self.manager.last_stats().unwrap_or_default().system;
                return Err(Error::Scarce {
                    what: what.to_owned(),
                    used_bytes: system.used_bytes(),
                    total_bytes: system.total_bytes,
                    is_container: system.is_container,
                    critical: self.manager.thresholds().critical,
                });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// [`MemoryWatch::begin`] with the usual patience.
    pub(crate) fn begin_patiently(&self, what: &str) -> Result<()> {
        self.begin(what, PATIENCE)
    }
}

/// A pool that is watched, and gives its idle blocks back.
struct WatchedPool {
    device: String,
    pool: Arc<Pool>,
}

impl MeteredDevice for WatchedPool {
    fn memory(&self) -> DeviceMemory {
        let stats = self.pool.stats();
        DeviceMemory {
            name: self.device.clone(),
            used_bytes: stats.in_use_bytes,
            reserved_bytes: stats.reserved_bytes(),
            peak_bytes: stats.peak_bytes,
            budget_bytes: stats.budget_bytes,
        }
    }
}

impl Reclaim for WatchedPool {
    fn name(&self) -> &str {
        "idle blocks"
    }

    fn acts_from(&self) -> MemoryLevel {
        MemoryLevel::Pressure
    }

    fn reclaim(&self, _: MemoryLevel) -> usize {
        self.pool.trim()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use samovar_resources::memory::{Memory, ProcessMemory};

    use super::*;
    use crate::planning::check_fits;

    /// A watch on a machine of 1000 bytes of which `used` are in use.
    fn watch(used: &Arc<AtomicUsize>, pool: &Arc<Pool>) -> MemoryWatch {
        let used = Arc::clone(used);
        let options = MemoryOptions {
            least_look: Duration::ZERO,
            least_interval: Duration::ZERO,
            ..MemoryOptions::default()
        };
        let manager = MemoryManager::with_probe(options, move || {
            let available_bytes = 1000 - used.load(Ordering::SeqCst);
            let system = Memory { total_bytes: 1000, available_bytes, is_container: true };
            (system, ProcessMemory::default())
        });
        MemoryWatch::by(Arc::new(manager.unwrap()), "cpu".into(), pool, 100).unwrap()
    }

    #[test]
    fn at_the_critical_level_no_new_work_begins_and_the_refusal_names_the_threshold() {
        let (used, pool) = (Arc::new(AtomicUsize::new(949)), Pool::new(1 << 20));
        let watch = watch(&used, &pool);
        assert_eq!(pool.stats().in_use_bytes, 100, "what the process has beside the pool");
        watch.begin("encoding", Duration::ZERO).unwrap();
        used.store(960, Ordering::SeqCst);
        let refusal = watch.begin("encoding", Duration::ZERO).unwrap_err();
        assert_eq!(refusal.kind(), crate::ErrorKind::OutOfMemory);
        let words = refusal.to_string();
        assert!(words.contains("encoding was not begun: 960 B of the 1.0 kB of this container"), "{words}");
        assert!(words.contains("memory_thresholds.critical over 0.96"), "{words}");
        // Others are done while it waits.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                used.store(100, Ordering::SeqCst);
            });
            watch.begin("encoding", Duration::from_secs(60)).unwrap();
        });
        assert_eq!(watch.level(), MemoryLevel::Calm);
    }

    #[test]
    fn under_pressure_idle_blocks_go_back_to_the_system() {
        let (used, pool) = (Arc::new(AtomicUsize::new(0)), Pool::new(1 << 30));
        let watch = watch(&used, &pool);
        let device = samovar_tensor::Device::new(Arc::new(samovar_tensor::Reference), Arc::clone(&pool));
        drop(device.upload([1 << 10], &[0.0; 1 << 10]).unwrap());
        assert!(watch.manager().tend().is_none() && pool.stats().idle_bytes == 4 << 10);
        used.store(810, Ordering::SeqCst);
        assert_eq!(watch.manager().tend().unwrap().freed, [("idle blocks".to_owned(), 4 << 10)]);
        assert_eq!(pool.stats().idle_bytes, 0);
        let devices = watch.manager().stats().devices;
        assert_eq!((devices[0].name.as_str(), devices[0].used_bytes), ("cpu", 100));
    }

    #[test]
    fn a_budget_below_what_the_program_takes_refuses_all_work() {
        let thresholds = MemoryThresholds::default();
        let pool = Pool::new(99);
        let of = |thresholds| MemoryWatch::new("cpu".into(), &pool, 100, thresholds, Events::default());
        let watch = of(thresholds).unwrap();
        let figures = pool.stats();
        let refusal = check_fits("a bit", 7, &figures).unwrap_err();
        assert_eq!((figures.in_use_bytes, refusal.needed_bytes()), (100, Some(107)));
        drop(watch);
        assert_eq!(pool.stats().in_use_bytes, 0);
        let none = MemoryThresholds { critical: 0.1, ..thresholds };
        assert!(matches!(of(none), Err(Error::Usage(_))));
    }
}
