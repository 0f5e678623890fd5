//! The samovar command line.
fn main() {}
