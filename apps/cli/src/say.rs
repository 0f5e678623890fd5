//! Lines for people on stderr.

/// One line for people, on stderr. Whoever read it may be gone, as after `2>&1 | head -1`: no reason to panic, as
/// `eprintln!` would, nor to leave the work undone.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", $crate::say::printable(&format!($($words)*)));
    }};
}

/// What a terminal shows as it is. Names of files may hold characters that steer it: move the cursor, overwrite what was
/// said, set titles, write to the clipboard.
pub fn printable(words: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    words.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_files_steered_the_terminal() {
        let shown = super::printable("a\u{1b}]0;owned\u{7}\rb\u{9b}2J\tc\n\u{e9}\u{7f}");
        assert_eq!(shown, "a\u{fffd}]0;owned\u{fffd}\u{fffd}b\u{fffd}2J\tc\n\u{e9}\u{fffd}");
    }
}
