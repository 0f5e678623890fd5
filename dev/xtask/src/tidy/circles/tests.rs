use super::*;

fn read(files: &[(&str, &str)]) -> Crate {
    let text = |file: &str| files.iter().find(|(name, _)| *name == file).map(|(_, text)| text.to_string());
    Crate::read("src/lib.rs", &text).unwrap()
}

/// Who names whom, as `a.rs -> b.rs`.
fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    let of = read(files);
    let short = |file: usize| of.files[file].trim_start_matches("src/");
    edges(&of).keys().map(|(from, to)| format!("{} -> {}", short(*from), short(*to))).collect()
}

#[test]
fn names_are_followed_to_the_file_that_defines_them() {
    let lib = ("src/lib.rs", "mod a; mod b;");
    let b = ("src/b.rs", "pub struct B; impl B { pub const ONE: u8 = 1; } pub fn b() {} pub enum E { V }");
    for code in [
        "use crate::b::B;",
        "use super::b::{self, B};",
        "fn f() { crate::b::b() }",
        "fn f() { use super::b; b::b() }",
        "fn f(_: super::b::B) {}",
        "struct A { b: Vec<crate::b::B> }",
        "impl crate::b::B {}",
        "use crate::b::*;",
        "fn f() { println!(\"{}\", crate::b::B::ONE) }",
        "fn f() { thing!(x => super::b::b()) }",
        "macro_rules! m { () => { $crate::b::b() }; }",
        "mod inner { use super::super::b::B; }",
        "use crate::b::E::V;",
        "fn f() { match 1 { crate::b::B::ONE => {}, _ => {} } }",
    ] {
        assert_eq!(arrows(&[lib, ("src/a.rs", code), b]), ["a.rs -> b.rs"], "{code}");
    }
}

#[test]
fn a_reexport_is_named_where_it_is_defined() {
    let lib = ("src/lib.rs", "mod a; mod b; pub use b::B;");
    let b = ("src/b.rs", "pub(crate) use self::c::B; mod c;");
    let c = ("src/b/c.rs", "pub struct B;");
    let found = arrows(&[lib, ("src/a.rs", "use crate::B;"), b, c]);
    assert_eq!(found, ["lib.rs -> b/c.rs", "a.rs -> b/c.rs", "b.rs -> b/c.rs"]);
}

#[test]
fn what_is_no_need_makes_no_arrow() {
    let lib = ("src/lib.rs", "mod a; pub mod b;");
    let b = ("src/b.rs", "pub struct B;");
    for code in [
        "",
        "use std::b::B;",
        "#[cfg(test)] mod tests { use crate::b::B; }",
        "#[cfg(all(test, unix))] use crate::b::B;",
        "#[test] fn f() { crate::b::B; }",
        "#[cfg(test)] mod tests;",
        "//! [`crate::b::B`]\n// crate::b::B",
        "pub(in crate::b) struct A;",
        "const TEXT: &str = \"crate::b::B\";",
        "struct B; impl B { fn new() { Self::new() } }",
    ] {
        assert_eq!(arrows(&[lib, ("src/a.rs", code), b]), [""; 0], "{code}");
    }
    let not_in_tests = [lib, ("src/a.rs", "#[cfg(not(test))] use crate::b::B;"), b];
    assert_eq!(arrows(&not_in_tests), ["a.rs -> b.rs"]);
}

#[test]
fn what_a_macro_defines_belongs_to_the_file_that_calls_it() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "use crate::b::Made;"),
        ("src/b.rs", "macro_rules! make { ($n:ident) => { pub struct $n; } } make!(Made);"),
    ];
    assert_eq!(arrows(&files), ["a.rs -> b.rs"]);
}

#[test]
fn a_function_of_a_type_belongs_to_the_file_of_its_impl() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "fn f() { crate::b::B::new(); }"),
        ("src/b.rs", "pub struct B;"),
        ("src/c.rs", "use super::b::B; impl B { pub fn new() -> B { B } }"),
    ];
    assert_eq!(arrows(&files), ["a.rs -> b.rs", "a.rs -> c.rs", "c.rs -> b.rs"]);
}

#[test]
fn a_module_and_a_function_of_one_name_are_told_apart() {
    let files = [
        ("src/lib.rs", "mod a; mod b; fn b() {}"),
        ("src/a.rs", "use super::b::B;"),
        ("src/b.rs", "pub struct B;"),
    ];
    assert_eq!(arrows(&files), ["a.rs -> b.rs"]);
}

#[test]
fn imports_that_lead_in_a_ring_end() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "pub use super::b::X;"),
        ("src/b.rs", "pub use super::a::X;"),
    ];
    assert_eq!(arrows(&files), ["a.rs -> b.rs", "b.rs -> a.rs"]);
}

#[test]
fn a_circle_of_three_is_one_finding_with_its_lightest_cut() {
    let of = read(&[
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "use crate::b::{B, D};\npub struct A;\npub struct E;"),
        ("src/b.rs", "use crate::c::{C, F};\npub struct B;\npub struct D;"),
        ("src/c.rs", "\nuse crate::a::A;\npub struct C;\npub struct F;"),
    ]);
    let [finding] = circles(&of).try_into().unwrap();
    let lines: Vec<&str> = finding.what.lines().collect();
    assert_eq!(lines[0], "a circle of 3 files:");
    assert_eq!(lines[3], "  c.rs names a.rs: line 2 (crate::a::A)");
    assert_eq!(finding.next_step.lines().nth(1), Some("  c.rs names a.rs: line 2 (crate::a::A)"));
    assert_eq!(finding.next_step.lines().count(), 3);
}

#[test]
fn what_is_no_rust_is_an_error_with_its_line() {
    let text = |_: &str| Some("fn a() {}\nfn (".to_string());
    let error = Crate::read("src/lib.rs", &text).unwrap_err();
    assert!(error.starts_with("src/lib.rs:2: "), "{error}");
    let missing = |file: &str| (file == "src/lib.rs").then(|| "mod a;".to_string());
    assert!(Crate::read("src/lib.rs", &missing).unwrap_err().contains("no file for its module a"));
}
