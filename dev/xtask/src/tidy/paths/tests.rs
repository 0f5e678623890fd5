use super::*;

#[test]
fn an_absolute_path_is_found_with_its_line() {
    for folder in MACHINE_FOLDERS {
        for text in [format!("a\nb = \"{folder}x\""), format!("a\n{folder}"), format!("\nsee={folder}tmp")] {
            let found = check_content("a.py", text.as_bytes()).unwrap();
            assert_eq!(found.place, "a.py:2");
        }
    }
}

#[test]
fn relative_paths_and_addresses_pass() {
    for folder in MACHINE_FOLDERS {
        for before in ["net", "https://example.org", "..", "${base}", "a-"] {
            assert_eq!(
                check_content("a.md", format!("{before}{folder}x").as_bytes()),
                None,
                "{before}{folder}"
            );
        }
    }
}

#[test]
fn large_files_need_a_reason() {
    assert!(check_size("training/data.bin", MAX_BYTES + 1).is_some());
    assert!(check_size("training/data.bin", MAX_BYTES).is_none());
    assert!(check_size("dev/goldens/sam1/model.safetensors", MAX_BYTES + 1).is_none());
}
