use super::*;

fn found(code: &str) -> Vec<String> {
    let of = Crate::read("crates/a/src/lib.rs", &|_| Some(code.to_string())).unwrap();
    check_crate(&of).into_iter().map(|finding| finding.what).collect()
}

#[test]
fn facts_about_the_target_are_no_environment() {
    assert_eq!(found("use std::env;\npub const A: &str = env::consts::ARCH;"), [""; 0]);
    assert_eq!(found("pub const V: &str = env!(\"CARGO_PKG_VERSION\");"), [""; 0]);
}

#[test]
fn another_environment_is_none() {
    assert_eq!(found("mod env { pub fn var() {} }\npub fn f() { env::var() }"), [""; 0]);
}

#[test]
fn each_place_is_found() {
    let code = "pub fn f() { std::env::var(\"A\"); unsafe { libc::getenv(a) }; }\nuse std::env as e;\nfn g() { e::vars() }";
    let mut found = found(code);
    found.sort();
    assert_eq!(
        found,
        ["a library uses libc::getenv", "a library uses std::env::var", "a library uses std::env::vars"]
    );
}
