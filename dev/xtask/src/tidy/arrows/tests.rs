use std::path::Path;

use serde_json::json;

use super::*;

fn package(name: &str, folder: &str, dependencies: Value) -> Value {
    json!({"name": name, "manifest_path": format!("/r/{folder}/Cargo.toml"), "dependencies": dependencies})
}

fn findings(package: &Value) -> Vec<Finding> {
    check_package(package, Path::new("/r"))
}

#[test]
fn an_arrow_backwards_is_found_and_the_allowed_ones_are_listed() {
    let backwards = json!([{"name": "samovar-runtime", "path": "/r/crates/samovar-runtime", "kind": null}]);
    let found = findings(&package("samovar-models", "crates/samovar-models", backwards));
    assert_eq!(found.len(), 1);
    assert!(found[0].next_step.contains("samovar-geometry, samovar-tensor, samovar-weights"), "{}", found[0]);
}

#[test]
fn build_dependencies_are_arrows_too() {
    let build = json!([{"name": "samovar-cpu", "path": "/r/crates/samovar-cpu", "kind": "build"}]);
    assert_eq!(findings(&package("samovar-weights", "crates/samovar-weights", build)).len(), 1);
}

#[test]
fn allowed_and_foreign_dependencies_pass() {
    let fine = json!([
        {"name": "samovar-tensor", "path": "/r/crates/samovar-tensor", "kind": null},
        {"name": "rayon", "kind": null},
    ]);
    assert_eq!(findings(&package("samovar-cpu", "crates/samovar-cpu", fine)), []);
}

#[test]
fn only_dev_dependencies_point_at_dev() {
    let kit = |kind: Value| json!([{"name": "samovar-testkit", "path": "/r/dev/testkit", "kind": kind}]);
    assert_eq!(findings(&package("samovar-cpu", "crates/samovar-cpu", kit(json!("dev")))), []);
    assert_eq!(findings(&package("samovar-cpu", "crates/samovar-cpu", kit(Value::Null))).len(), 1);
    assert_eq!(findings(&package("samovar-fuzz", "dev/fuzz", kit(Value::Null))), []);
}

#[test]
fn a_crate_without_a_row_is_found() {
    assert_eq!(findings(&package("samovar-new", "crates/samovar-new", json!([]))).len(), 1);
}

#[test]
fn models_that_look_at_a_clock_are_found() {
    let lines = |code: &str| {
        let of = Crate::read("crates/samovar-models/src/lib.rs", &|_| Some(code.to_string())).unwrap();
        let lines = check_purity(&of).into_iter().map(|finding| finding.place);
        lines.map(|place| place.rsplit(':').next().unwrap().to_string()).collect::<Vec<_>>()
    };
    let code =
        "use std::sync::Arc;\n// not std::time, says this comment\nfn f() { std::time::Instant::now(); }\n";
    assert_eq!(lines(code), ["3"]);
    assert_eq!(lines("use std::{sync::Arc, time};\nfn f() { time::Instant::now(); }"), ["1", "2"]);
    assert_eq!(lines("use std as s;\nfn f() { s::fs::read(\"a\"); }"), ["2"]);
    assert_eq!(lines("#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nmod fs {}"), [""; 0]);
}
