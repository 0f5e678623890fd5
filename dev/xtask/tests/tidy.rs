//! The repository is tidy.

#[test]
fn the_repository_is_tidy() {
    let findings = xtask::tidy(&xtask::repository_root());
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        list.is_empty(),
        "{} findings; what to do stands under each:\n\n{}\n",
        list.len(),
        list.join("\n\n")
    );
}
