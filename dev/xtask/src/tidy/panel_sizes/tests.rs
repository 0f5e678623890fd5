use super::*;

#[test]
fn words_are_parts_of_names_not_of_words() {
    for name in ["PANEL", "PANEL_COLUMNS", "row_panels", "ColumnPanel", "Panel8", "lanes", "MR", "PERIOD"] {
        assert!(is_of_packing(name), "{name}");
    }
    for name in ["planes", "plane", "panelled", "period", "mr", "STEPS", "depth"] {
        assert!(!is_of_packing(name), "{name}");
    }
}
