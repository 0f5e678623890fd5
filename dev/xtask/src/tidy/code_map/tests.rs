use super::*;

const MAP: &str = "
| folder | charter | may use |
|---|---|---|
| `crates/a` | Does a. | nothing |
| `training` | Trains. |
| `cargo test` | not a folder |
";

fn charter_of(folder: &str) -> Option<String> {
    (folder == "crates/a").then(|| "Does a.".to_string())
}

fn found(files: &[&str], map: &str) -> Vec<Finding> {
    let files: Vec<String> = files.iter().map(|file| file.to_string()).collect();
    compare(&rows(map), &folders(&files), charter_of)
}

#[test]
fn a_true_map_passes() {
    assert_eq!(
        found(&["crates/a/src/lib.rs", "training/train.py", "README.md", "crates/notes.txt"], MAP),
        []
    );
}

#[test]
fn a_new_folder_and_a_vanished_one_are_found() {
    let found = found(&["crates/a/src/lib.rs", "dev/new/x.py"], MAP);
    let places: Vec<&str> = found.iter().map(|finding| finding.place.as_str()).collect();
    assert_eq!(places, ["dev/new", "training"]);
}

#[test]
fn two_charters_for_one_crate_are_found() {
    let found = found(&["crates/a/src/lib.rs", "training/train.py"], &MAP.replace("Does a.", "Does b."));
    assert!(found[0].what.contains("Does a.") && found[0].what.contains("Does b."), "{}", found[0]);
}
