use ratatui::Terminal;
use ratatui::backend::TestBackend;
use samovar::memory::{DeviceMemory, Memory, MemoryLevel};
use samovar::resources::live::{Snapshot, Work};

use super::screen::elided;
use super::state::Process;
use super::state::time;
use super::*;

fn state(count: u32) -> State {
    let snapshot = |process_id| Snapshot {
        process_id,
        command: "everything photos/ --out \u{1b}[2Jmasks/".into(),
        running_s: 75.0,
        devices: vec![DeviceMemory {
            name: "cpu".into(),
            used_bytes: 1000,
            budget_bytes: 4000,
            ..Default::default()
        }],
        work: Work {
            unit: "images".into(),
            all: 200,
            through: 50,
            failed: 1,
            per_s: 2.0,
            left_s: Some(75.0),
            recent: vec![1, 2, 3],
            p50_ms: 480.0,
            p95_ms: 700.0,
            p99_ms: 900.0,
            ..Work::default()
        },
        ..Snapshot::default()
    };
    let processes = (1..=count)
        .map(|id| Process { snapshot: snapshot(id), processor_share: Some(1.5), age_s: 0.4 })
        .collect();
    let memory = Memory { total_bytes: 8_000_000_000, available_bytes: 2_000_000_000, is_container: false };
    State { memory, level: MemoryLevel::Calm, processes }
}

fn drawn(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(frame, state)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn the_dashboard_shows_memory_queue_pool_rate_and_latencies() {
    let shown = drawn(&state(1), 100, 24);
    for words in [
        "1 samovar at work",
        "machine: 6.0 GB of 8.0 GB, calm",
        "50 of 200 images",
        "150 % of a core",
        "cpu: 1.0 kB",
        "1:15 left at 2.00 images/s",
        "P50 480 ms, P95 700 ms, P99 900 ms",
        "1 failed",
        "█",
        "q leaves",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

/// A job with figures as long as they get, and names that are longer and steer terminals.
fn long_state() -> State {
    let mut state = state(1);
    let process = &mut state.processes[0];
    let snapshot = &mut process.snapshot;
    snapshot.process_id = 4_194_304;
    snapshot.command = format!("segment /data/{}photos/ --out results/", "of/somebody/".repeat(20));
    snapshot.running_s = 360_000.0;
    snapshot.memory.resident_bytes = 12_345_678_901;
    snapshot.memory.peak_resident_bytes = 23_456_789_012;
    snapshot.devices[0] = DeviceMemory {
        name: "cpu avx512, 2 threads".into(),
        used_bytes: 12_345_678_901,
        reserved_bytes: 123_456_789_012,
        peak_bytes: 12_345_678_901,
        budget_bytes: 123_456_789_012,
    };
    snapshot.caches = vec![Default::default()];
    snapshot.caches[0].name = "cache".into();
    snapshot.caches[0].stats.misses = 1_234_567;
    snapshot.caches[0].stats.entries = 1_234_567;
    let work = &mut snapshot.work;
    (work.all, work.through, work.failed, work.skipped) = (1_234_567, 1_034_567, 12_345, 123_456);
    (work.left_s, work.per_s) = (Some(360_000.0), 1234.56);
    work.current = format!("/data/{}\u{1b}[2J\nlast.png", "of/somebody/".repeat(20));
    (work.p50_ms, work.p95_ms, work.p99_ms) = (12_345.0, 123_456.0, 1_234_567.0);
    state
}

#[test]
fn lines_were_cut_at_80_by_24() {
    let shown = drawn(&long_state(), 80, 24);
    for words in [
        "4194304  samovar segment /data",
        "--out results/  150 % of a core",
        "1034567 of 1234567 images, 12345 failed, 123456 done before",
        "100:00:00 so far, 100:00:00 left at 1234.56 images/s",
        "P50 12345 ms, P95 123456 ms, P99 1234567 ms",
        "cpu avx512, 2 threads: 12.3 GB used of 123 GB, 123 GB reserved, peak 12.3 GB",
        "cache: 1234567 entries, 0 B of 0 B; 0 hits, 1234567 misses, 0 %",
        "…",
        "\u{fffd}last.png",
        "figures of 0 s ago",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
    // Of three the first is told of in full, and the others in short.
    let shown = drawn(&state(3), 80, 24);
    for words in ["1  samovar everything", "2  samovar everything", "3  samovar everything", "P95 700 ms"] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert!(!shown.contains("no room"), "{shown}");
}

/// One that was stopped looked as if it were at work.
#[test]
fn a_process_that_is_silent_is_marked_and_its_time_left_is_not_believed() {
    let mut state = state(2);
    state.processes[0].age_s = 75.0;
    for shown in [drawn(&state, 80, 24), drawn(&state, 80, 9)] {
        assert_eq!(shown.matches("not heard of for 1:15").count(), 1, "{shown}");
        assert_eq!(shown.matches("left at").count(), 1, "{shown}");
    }
}

#[test]
fn names_are_elided_in_their_middle() {
    assert_eq!(elided("photos/one.png", 14), "photos/one.png");
    assert_eq!(elided("photos/one.png", 10), "pho…ne.png");
    // Wide characters take two columns.
    assert_eq!(elided("写真写真写真.png", 11), "写…真.png");
    for columns in 0..4 {
        assert!(elided("写真写真", columns).chars().count() <= columns);
    }
}

#[test]
fn any_terminal_will_do() {
    for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 9), (300, 100)] {
        for count in [0, 1, 40] {
            let shown = drawn(&state(count), width, height);
            assert_eq!(shown.lines().count(), usize::from(height));
        }
    }
    assert!(drawn(&state(40), 80, 24).contains("more have no room here"));
}

#[test]
fn times_read_as_clocks_do() {
    assert_eq!([0.4, 59.0, 61.0, 3723.0].map(time), ["0 s", "59 s", "1:01", "1:02:03"]);
    assert!([f64::NAN, f64::INFINITY, -1.0].map(time).iter().all(|text| !text.is_empty()));
}
