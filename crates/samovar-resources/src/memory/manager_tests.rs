use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

struct Device(AtomicUsize);

impl MeteredDevice for Device {
    fn memory(&self) -> DeviceMemory {
        let used_bytes = self.0.load(Ordering::SeqCst);
        DeviceMemory {
            name: "card".into(),
            used_bytes,
            reserved_bytes: used_bytes,
            peak_bytes: used_bytes,
            budget_bytes: 1000,
        }
    }
}

struct Giver {
    name: &'static str,
    from: MemoryLevel,
    left: AtomicUsize,
}

impl Reclaim for Giver {
    fn name(&self) -> &str {
        self.name
    }

    fn acts_from(&self) -> MemoryLevel {
        self.from
    }

    fn reclaim(&self, _level: MemoryLevel) -> usize {
        self.left.swap(0, Ordering::SeqCst)
    }
}

fn manager(used_bytes: &Arc<AtomicUsize>, options: MemoryOptions) -> MemoryManager {
    let used_bytes = Arc::clone(used_bytes);
    MemoryManager::with_probe(options, move || {
        let used = used_bytes.load(Ordering::SeqCst);
        let system = Memory { total_bytes: 1000, available_bytes: 1000 - used, is_container: true };
        (system, ProcessMemory { resident_bytes: used, ..ProcessMemory::default() })
    })
    .unwrap()
}

fn giver(name: &'static str, from: MemoryLevel) -> Arc<Giver> {
    Arc::new(Giver { name, from, left: AtomicUsize::new(10) })
}

#[test]
fn levels_follow_the_fullest_memory() {
    let used = Arc::new(AtomicUsize::new(0));
    let memory = manager(&used, MemoryOptions::default());
    let device = Arc::new(Device(AtomicUsize::new(0)));
    memory.watch(&device);
    for (system, card, level) in [
        (799, 0, MemoryLevel::Calm),
        (800, 0, MemoryLevel::Pressure),
        (0, 850, MemoryLevel::Warning),
        (950, 850, MemoryLevel::Critical),
        (0, 0, MemoryLevel::Calm),
    ] {
        used.store(system, Ordering::SeqCst);
        device.0.store(card, Ordering::SeqCst);
        assert_eq!(memory.level(), level, "{system} {card}");
        assert_eq!(memory.check_memory_pressure(), level != MemoryLevel::Calm);
        assert_eq!(memory.admits_new_work(), system < 950, "the device's own plan says what fits there");
    }
    assert_eq!(memory.usage_history()[1].system.used_bytes(), 799);
    drop(device);
    assert!(memory.stats().devices.is_empty());
}

#[test]
fn each_level_asks_those_of_lower_ones_too_pools_last_and_says_what_it_freed() {
    let used = Arc::new(AtomicUsize::new(0));
    let memory = manager(&used, MemoryOptions { least_interval: Duration::ZERO, ..MemoryOptions::default() });
    let [models, cache, pool] = [
        giver("models", MemoryLevel::Critical),
        giver("cache", MemoryLevel::Warning),
        giver("pool", MemoryLevel::Pressure),
    ];
    memory.register(&models);
    memory.register(&cache);
    memory.register(&pool);
    assert!(memory.auto_cleanup_if_needed().is_none());
    used.store(860, Ordering::SeqCst);
    let cleanup = memory.auto_cleanup_if_needed().unwrap();
    assert_eq!(cleanup.freed, [("cache".into(), 10), ("pool".into(), 10)]);
    assert!(
        cleanup.to_string().starts_with("memory, warning: gave back 20 B (cache 10 B, pool 10 B)"),
        "{cleanup}"
    );
    assert_eq!(memory.cleanup(false).freed, [("pool".into(), 0)]);
    drop(cache);
    assert_eq!(memory.cleanup(true).freed, [("models".into(), 10), ("pool".into(), 0)]);
}

#[test]
fn what_was_just_asked_is_not_asked_again_unless_it_got_worse() {
    let used = Arc::new(AtomicUsize::new(800));
    let memory = manager(
        &used,
        MemoryOptions { least_interval: Duration::from_secs(3600), ..MemoryOptions::default() },
    );
    assert!(memory.auto_cleanup_if_needed().is_some());
    assert!(memory.auto_cleanup_if_needed().is_none());
    used.store(990, Ordering::SeqCst);
    assert!(memory.auto_cleanup_if_needed().is_some());
    let off = manager(&used, MemoryOptions { auto_cleanup: false, ..MemoryOptions::default() });
    assert!(off.auto_cleanup_if_needed().is_none());
}

#[test]
fn looks_are_rare_and_tell_caches_what_room_there_is() {
    struct Follower(Mutex<Vec<(usize, MemoryLevel)>>);
    impl Reclaim for Follower {
        fn name(&self) -> &str {
            "follower"
        }
        fn acts_from(&self) -> MemoryLevel {
            MemoryLevel::Warning
        }
        fn reclaim(&self, _: MemoryLevel) -> usize {
            0
        }
        fn look(&self, available_bytes: usize, level: MemoryLevel) {
            self.0.lock().unwrap().push((available_bytes, level));
        }
    }
    let used = Arc::new(AtomicUsize::new(500));
    let rare = MemoryOptions { least_look: Duration::from_secs(3600), ..MemoryOptions::default() };
    let (lines, follower) = (Arc::new(Lines::default()), Arc::new(Follower(Mutex::default())));
    let memory = manager(&used, rare).with_events(Events::to(Arc::clone(&lines) as _));
    let device = Arc::new(Device(AtomicUsize::new(700)));
    memory.watch(&device);
    for _ in 0..3 {
        memory.register(&follower);
    }
    assert!(memory.tend().is_none() && memory.tend().is_none());
    assert_eq!(*follower.0.lock().unwrap(), [(300, MemoryLevel::Calm)], "once, and by the fuller of the two");
    let often = MemoryOptions { least_look: Duration::ZERO, ..MemoryOptions::default() };
    let memory = manager(&used, often).with_events(Events::to(Arc::clone(&lines) as _));
    memory.register(&giver("cache", MemoryLevel::Warning));
    memory.register(&follower);
    used.store(870, Ordering::SeqCst);
    assert_eq!(memory.tend().unwrap().level, MemoryLevel::Warning);
    assert_eq!(follower.0.lock().unwrap()[1], (80, MemoryLevel::Warning));
    assert_eq!(*lines.0.lock().unwrap(), ["memory_cleanup level=\"warning\" freed_bytes=0"]);
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl crate::instruments::EventSink for Lines {
    fn event(&self, _: f64, name: &str, fields: &[(&str, serde_json::Value)]) {
        let two: Vec<String> = fields[..2].iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.0.lock().unwrap().push(format!("{name} {}", two.join(" ")));
    }
}

#[test]
fn models_fit_where_memory_is_left() {
    let used = Arc::new(AtomicUsize::new(500));
    let memory = manager(&used, MemoryOptions::default());
    let device = Arc::new(Device(AtomicUsize::new(400)));
    memory.watch(&device);
    let available = memory.estimate_available_for_model();
    assert_eq!(available, AvailableMemory { host_bytes: 450, devices: vec![("card".into(), 600)] });
    assert!(memory.can_load_model(600, "card") && !memory.can_load_model(601, "card"));
    assert!(memory.can_load_model(450, "cpu") && !memory.can_load_model(451, "cpu"));
}

#[test]
fn history_is_bounded_and_thresholds_are_checked() {
    let used = Arc::new(AtomicUsize::new(1));
    let memory = manager(&used, MemoryOptions { history: 3, ..MemoryOptions::default() });
    for _ in 0..10 {
        memory.stats();
    }
    assert_eq!(memory.usage_history().len(), 3);
    for (pressure, warning, critical) in
        [(0.9, 0.85, 0.95), (0.0, 0.5, 0.6), (0.5, 0.6, 1.1), (f64::NAN, 0.8, 0.9)]
    {
        let thresholds = MemoryThresholds { pressure, warning, critical };
        let options = MemoryOptions { thresholds, ..MemoryOptions::default() };
        assert!(MemoryManager::new(options).unwrap_err().contains("pressure below warning"));
    }
}

#[test]
fn this_machine_and_this_process_have_memory() {
    let memory = MemoryManager::new(MemoryOptions::default()).unwrap();
    let stats = memory.stats();
    assert!(stats.system.total_bytes > 1 << 20 && stats.system.available_bytes <= stats.system.total_bytes);
    let ProcessMemory { resident_bytes, virtual_bytes, peak_resident_bytes } = stats.process;
    assert!(
        resident_bytes > 1 << 20 && virtual_bytes >= resident_bytes && peak_resident_bytes >= resident_bytes
    );
    let mut text = Vec::new();
    memory.print_summary(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("process: RSS") && text.contains("level: "), "{text}");
}
