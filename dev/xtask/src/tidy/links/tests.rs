use super::*;

#[test]
fn relative_targets_are_found_and_code_is_not_read() {
    let text = "\
[a](one.md) and [b](two.md#part \"title\"), [web](https://x.org/y.md), [here](#part), `[c](code.md)`
```
[d](fence.md)
```
    [e](indented.md)
<img src=\"three.png\">
";
    let found = targets(text);
    assert_eq!(found, [(1, "one.md".into()), (1, "two.md".into()), (6, "three.png".into())]);
}

#[test]
fn targets_are_relative_to_their_file() {
    assert_eq!(resolve("dev/goldens/README.md", "../../README.md").as_deref(), Some("README.md"));
    assert_eq!(resolve("README.md", "./dev/x.md").as_deref(), Some("dev/x.md"));
    assert_eq!(resolve("README.md", "../outside.md"), None);
}
