use super::Rule;

fn renamed(rules: &[(&'static str, &'static str)], name: &str) -> String {
    let mut segments = name.split('.').map(str::to_owned).collect();
    rules.iter().for_each(|&(from, to)| Rule::new(from, to).apply(&mut segments));
    segments.join(".")
}

#[test]
fn segments_are_replaced_where_they_stand() {
    assert_eq!(renamed(&[("norm1", "layer_norm1")], "a.norm1.weight"), "a.layer_norm1.weight");
    assert_eq!(renamed(&[("norm1", "layer_norm1")], "a.norm12.weight"), "a.norm12.weight");
    assert_eq!(renamed(&[("b.c", "d")], "a.b.c.e"), "a.d.e");
}

#[test]
fn anchors_hold_a_rule_to_the_start_or_the_end() {
    assert_eq!(renamed(&[("^a", "b")], "a.a"), "b.a");
    assert_eq!(renamed(&[("^a", "b")], "c.a"), "c.a");
    assert_eq!(renamed(&[("a$", "b")], "a.a"), "a.b");
    assert_eq!(renamed(&[("^a.b$", "c")], "a.b.b"), "a.b.b");
    assert_eq!(renamed(&[("^a.b$", "c")], "a.b"), "c");
}

#[test]
fn stars_match_numbers_and_keep_them() {
    assert_eq!(renamed(&[("blocks.*.norm", "layers.*.ln")], "x.blocks.11.norm.bias"), "x.layers.11.ln.bias");
    assert_eq!(renamed(&[("blocks.*", "layers.*")], "blocks.one"), "blocks.one");
}

#[test]
fn rules_apply_in_order_and_an_empty_target_removes() {
    assert_eq!(renamed(&[("a", "b"), ("b", "c")], "a.x"), "c.x");
    assert_eq!(renamed(&[("^module", "")], "module.x"), "x");
}

#[test]
fn short_names_do_not_match_long_rules() {
    assert_eq!(renamed(&[("a.b.c", "d")], "a.b"), "a.b");
    assert_eq!(renamed(&[("^a.b.c", "d")], ""), "");
}
