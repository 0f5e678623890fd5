//! Each check finds what is planted in a small repository, and nothing in the same repository without it.

use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::Finding;

const MANIFEST: &str =
    "[package]\nname = \"NAME\"\nversion = \"0.1.0\"\nedition = \"2024\"\nlicense = \"MIT\"\n";

/// A repository with nothing to find.
const CLEAN: &[(&str, &str)] = &[
    ("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\", \"apps/*\"]\n"),
    (
        "ARCHITECTURE.md",
        "| `crates/samovar-geometry` | Geometry. |\n| `crates/samovar-media` | Media. |\n\
         | `crates/samovar-cuda` | A backend. |\n| `apps/cli` | The program. |\n",
    ),
    ("deny.toml", "[licenses]\nallow = [\"MIT\"]\n"),
    (
        "crates/samovar-geometry/src/lib.rs",
        "//! Geometry.\nmod point;\nmod size;\npub use point::Point;\npub use size::Size;\n",
    ),
    ("crates/samovar-geometry/src/point.rs", "//! Points.\nuse crate::Size;\npub struct Point(pub Size);\n"),
    (
        "crates/samovar-geometry/src/size.rs",
        "//! Sizes.\npub struct Size(pub u32);\n#[cfg(test)]\nmod tests;\n",
    ),
    (
        "crates/samovar-geometry/src/size/tests.rs",
        "use crate::Point;\n#[test]\nfn folder() {\n    let _ = (std::env::temp_dir(), size_of::<Point>());\n}\n",
    ),
    (
        "crates/samovar-geometry/examples/size.rs",
        "//! Prints.\nfn main() {\n    std::env::args().count();\n}\n",
    ),
    (
        "crates/samovar-geometry/build.rs",
        "//! Builds.\nfn main() {\n    std::env::var(\"OUT_DIR\").unwrap();\n}\n",
    ),
    ("crates/samovar-media/src/lib.rs", "//! Media.\npub const ARCH: &str = std::env::consts::ARCH;\n"),
    (
        "crates/samovar-cuda/src/lib.rs",
        "//! A backend.\npub const PANEL_COLUMNS: usize = 32;\npub const MR: usize = 6;\n",
    ),
    ("apps/cli/src/main.rs", "//! The program.\nfn main() {\n    std::env::var(\"HOME\").ok();\n}\n"),
];

/// A repository of its own, removed when dropped.
struct Repository(PathBuf);

impl Repository {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("samovar-xtask-{name}-{}", std::process::id()));
        let repository = Self(root);
        for (file, text) in CLEAN {
            repository.write(file, text);
        }
        repository.write("apps/cli/Cargo.toml", &MANIFEST.replace("NAME", "samovar-cli"));
        for name in ["samovar-geometry", "samovar-media", "samovar-cuda"] {
            repository.write(&format!("crates/{name}/Cargo.toml"), &MANIFEST.replace("NAME", name));
        }
        repository
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.0.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn depend(&self, krate: &str, kind: &str, on: &str) {
        let manifest = MANIFEST.replace("NAME", krate);
        let text = format!("{manifest}[{kind}]\n{on} = {{ path = \"../{on}\" }}\n");
        self.write(&format!("crates/{krate}/Cargo.toml"), &text);
    }

    fn tidy(&self) -> Vec<Finding> {
        for arguments in [&["init", "--quiet"][..], &["add", "--all"]] {
            assert!(Command::new("git").args(arguments).current_dir(&self.0).status().unwrap().success());
        }
        // Git and Cargo give paths without links.
        xtask::tidy(&self.0.canonicalize().unwrap())
    }

    /// The one finding.
    fn finding(&self) -> Finding {
        let findings = self.tidy();
        let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings.len(), 1, "{}", list.join("\n"));
        findings.into_iter().next().unwrap()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        std::fs::remove_dir_all(Path::new(&self.0)).ok();
    }
}

#[test]
fn a_clean_repository_has_no_findings() {
    assert_eq!(Repository::new("clean").tidy(), []);
}

#[test]
fn an_arrow_up_is_found() {
    let repository = Repository::new("arrow");
    repository.depend("samovar-geometry", "dependencies", "samovar-media");
    let finding = repository.finding();
    assert_eq!((finding.check, finding.place.as_str()), ("arrows", "samovar-geometry"));
    assert_eq!(finding.what, "depends on samovar-media");
}

#[test]
fn an_arrow_up_of_a_build_script_is_found_too() {
    let repository = Repository::new("build-arrow");
    repository.depend("samovar-geometry", "build-dependencies", "samovar-media");
    assert_eq!(repository.finding().check, "arrows");
}

#[test]
fn an_arrow_down_is_none_and_tests_may_look_up() {
    let repository = Repository::new("arrow-down");
    repository.depend("samovar-media", "dependencies", "samovar-geometry");
    repository.depend("samovar-cuda", "dev-dependencies", "samovar-media");
    assert_eq!(repository.tidy(), []);
}

#[test]
fn a_circle_through_a_reexport_is_found() {
    let repository = Repository::new("circle");
    repository.write(
        "crates/samovar-geometry/src/size.rs",
        "//! Sizes.\npub struct Size(pub u32);\n\nimpl Size {\n    pub fn at(_: &crate::Point) {}\n}\n",
    );
    let finding = repository.finding();
    assert_eq!((finding.check, finding.place.as_str()), ("circles", "crates/samovar-geometry/src/lib.rs"));
    assert_eq!(
        finding.what,
        "a circle of 2 files:\n  point.rs names size.rs: line 2 (crate::Size)\n  size.rs names point.rs: line 5 (crate::Point)"
    );
}

#[test]
fn a_circle_of_parent_and_child_is_found() {
    let repository = Repository::new("parent");
    let lib = "//! Media.\nmod mask;\npub use mask::Mask;\npub struct Image;\n";
    repository.write("crates/samovar-media/src/lib.rs", lib);
    repository.write("crates/samovar-media/src/mask.rs", "//! Masks.\npub struct Mask(pub super::Image);\n");
    let finding = repository.finding();
    assert_eq!(finding.check, "circles");
    assert!(finding.what.contains("lib.rs names mask.rs: line 3 (mask::Mask)"), "{finding}");
    assert!(finding.what.contains("mask.rs names lib.rs: line 2 (super::Image)"), "{finding}");
    assert!(finding.next_step.starts_with("cut first:\n"), "{finding}");
}

#[test]
fn a_library_that_reads_the_environment_is_found() {
    let media = "crates/samovar-media/src/lib.rs";
    for (name, text, what) in [
        ("var", "//! Media.\npub fn home() {\n    std::env::var_os(\"HOME\");\n}\n", "std::env::var_os"),
        ("use", "//! Media.\nuse std::env;\npub fn home() { env::home_dir(); }\n", "std::env::home_dir"),
        ("as", "//! Media.\nuse std::env::{self as e};\npub fn home() { e::vars(); }\n", "std::env::vars"),
        ("item", "//! Media.\nuse std::env::var;\n", "std::env::var"),
        ("all", "//! Media.\nuse std::env::*;\n", "std::env"),
        ("macro", "//! Media.\npub const KEY: Option<&str> = option_env!(\"KEY\");\n", "option_env!"),
        (
            "inner",
            "//! Media.\npub fn a() -> String { format!(\"{:?}\", std::env::args()) }\n",
            "std::env::args",
        ),
    ] {
        let repository = Repository::new(&format!("environment-{name}"));
        repository.write(media, text);
        let finding = repository.finding();
        assert_eq!(finding.check, "environment");
        assert!(finding.place.starts_with(media), "{finding}");
        assert_eq!(finding.what, format!("a library uses {what}"));
    }
}

#[test]
fn a_size_of_panels_outside_a_backend_is_found() {
    for (name, text, what) in [
        ("const", "//! Media.\npub const PANEL_COLUMNS: usize = 32;\n", "PANEL_COLUMNS"),
        ("exact", "//! Media.\npub const STEP_DEPTH: usize = 768;\n", "STEP_DEPTH"),
        ("local", "//! Media.\npub fn bytes(lanes: usize) -> usize {\n    lanes * 4\n}\n", "lanes"),
        ("type", "//! Media.\npub struct WidePanel;\n", "WidePanel"),
        (
            "macro",
            "//! Media.\npub fn print(mr: usize) {\n    let row_panels = mr;\n    println!(\"{}\", row_panels);\n}\n",
            "row_panels",
        ),
    ] {
        let repository = Repository::new(&format!("panel-{name}"));
        repository.write("crates/samovar-media/src/lib.rs", text);
        let finding = repository.finding();
        assert_eq!(finding.check, "panel sizes");
        assert_eq!(finding.what, format!("{what} tells how a backend packs numbers"));
    }
}
