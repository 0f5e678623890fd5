use super::*;

#[test]
fn code_needs_a_header_and_tests_do_not() {
    assert_eq!(check_file("crates/a/src/b.rs", "//! Does b.\n"), []);
    assert_eq!(check_file("crates/a/src/b.rs", "use std::fs;\n").len(), 1);
    for test in ["crates/a/src/b/tests.rs", "crates/a/src/b_tests.rs", "crates/a/tests/c.rs"] {
        assert_eq!(check_file(test, "use super::*;\n"), []);
    }
}

#[test]
fn files_longer_than_a_sitting_are_found() {
    let text = |lines: usize| format!("//! Long.\n{}", "x\n".repeat(lines - 1));
    assert_eq!(check_file("crates/a/src/b.rs", &text(MAX_CODE_LINES)), []);
    assert_eq!(check_file("crates/a/src/b.rs", &text(MAX_CODE_LINES + 1)).len(), 1);
    assert_eq!(check_file("crates/a/tests/b.rs", &text(MAX_CODE_LINES + 1)), []);
}
