//! Lines for people on stderr.

/// One line for people, on stderr. Whoever read it may be gone, as after `2>&1 | head -1`: no reason to panic, as
/// `eprintln!` would, nor to leave the work undone.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}
