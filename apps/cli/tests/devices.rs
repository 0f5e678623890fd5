//! `--device`: what is chosen, what is refused, and that a graphics device answers as the processors do.

mod common;

use std::path::Path;

use common::Bench;
use samovar::devices::{DeviceKind, DeviceReport, has_card, list};
use samovar_testkit::graphics;

fn tiny() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam1").display().to_string()
}

/// Those that can be used here; none is said, or a failure.
fn usable() -> Vec<DeviceReport> {
    let found = list();
    let usable: Vec<_> = found.devices.into_iter().filter(|one| one.unusable.is_none()).collect();
    graphics(found.absent.map_or(Ok(usable), Err))
}

#[test]
fn what_is_no_device_here_is_refused_with_what_there_is() {
    let bench = Bench::new();
    bench.picture("a.png", 160, 120, &[(80.0, 60.0, 30.0)]);
    let with = |device: &str| {
        bench.run(&["segment", "a.png", "--point", "80,60", "--out", "m.png", "--device", device])
    };
    for (device, code, words) in [
        ("cuba", 2, "expected auto, cpu, vulkan"),
        ("cpu:1", 2, "expected auto, cpu, vulkan"),
        ("vulkan:77", 2, "--device vulkan:77: "),
    ] {
        let run = with(device);
        assert!(run.code == code && run.stderr.contains(words), "{run:?}");
        assert!(!bench.path("m.png").exists());
    }
    let run = with("cpu");
    assert!(run.code == 0 && !run.stderr.contains("computing on"), "{run:?}");
}

#[test]
fn auto_never_takes_a_software_driver() {
    let found = list();
    if found.devices.iter().any(|one| one.kind != DeviceKind::Software) {
        return;
    }
    let bench = Bench::new();
    bench.picture("a.png", 160, 120, &[(80.0, 60.0, 30.0)]);
    let run = bench.done(&["segment", "a.png", "--point", "80,60", "--out", "m.png"]);
    assert!(!run.stderr.contains("computing on"), "{run:?}");
    for one in found.devices {
        let device = one.choice.to_string();
        let words = "--force-device uses it nevertheless";
        bench.refused(
            2,
            words,
            &["segment", "a.png", "--point", "80,60", "--out", "n.png", "--device", &device],
        );
    }
}

#[test]
fn a_graphics_device_answers_as_the_processors_do() {
    let bench = Bench::new();
    bench.picture("a.png", 160, 120, &[(80.0, 60.0, 30.0)]);
    let model = tiny();
    for one in usable() {
        let device = one.choice.to_string();
        let with = |out: &str, more: &[&str]| {
            let all = [&["segment", "a.png", "--point", "80,60", "--model", &model, "--out", out][..], more];
            bench.done(&all.concat())
        };
        with("host.png", &["--device", "cpu"]);
        let run = with("card.png", &["--device", &device, "--force-device"]);
        assert!(run.stderr.contains(&format!("computing on {}", one.name)), "{run:?}");
        let [host, card] = ["host.png", "card.png"].map(|name| bench.rgba(name));
        let differ = host.pixels().zip(card.pixels()).filter(|(a, b)| (a[3] > 127) != (b[3] > 127)).count();
        let area = host.pixels().filter(|pixel| pixel[3] > 127).count();
        assert!(area > 100 && differ * 1000 <= area, "{differ} of {area} pixels differ");
        std::fs::remove_file(bench.path("host.png")).unwrap();
        std::fs::remove_file(bench.path("card.png")).unwrap();
    }
}

#[test]
fn doctor_lists_the_devices() {
    let bench = Bench::new();
    let run = bench.done(&["doctor", "--dtype", "f32", "--limit", "1", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let devices = document["devices"].as_array().unwrap();
    // Without a card no driver is asked, which would stay in memory.
    let expected = if has_card() { list().devices } else { Vec::new() };
    assert_eq!(devices.len(), expected.len());
    for (told, one) in devices.iter().zip(expected) {
        assert_eq!(told["device"], one.choice.to_string());
        assert_eq!(told["name"], one.name);
        let is_measured = one.unusable.is_none() && one.kind != DeviceKind::Software;
        assert_eq!(told["certificate"].is_object() || told["failed"].is_string(), is_measured, "{told}");
    }
}
