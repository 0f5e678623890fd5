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
    replaced(words, |c| steers(c) && c != '\n' && c != '\t')
}

/// The same for a name, which has one line: one with a line's end in it would say what samovar does not.
pub fn one_line(name: &str) -> String {
    replaced(name, steers)
}

/// A number of things, of one or of several.
pub fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn replaced(words: &str, is_replaced: impl Fn(char) -> bool) -> String {
    words.chars().map(|c| if is_replaced(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Controls, ends of lines and paragraphs, and marks that turn the direction of what follows.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_files_steered_the_terminal() {
        let shown = super::printable("a\u{1b}]0;owned\u{7}\rb\u{9b}2J\tc\n\u{e9}\u{7f}");
        assert_eq!(shown, "a\u{fffd}]0;owned\u{fffd}\u{fffd}b\u{fffd}2J\tc\n\u{e9}\u{fffd}");
        let shown = super::one_line("gpj.\u{202e}txt\n100 done\t");
        assert_eq!(shown, "gpj.\u{fffd}txt\u{fffd}100 done\u{fffd}");
    }
}
