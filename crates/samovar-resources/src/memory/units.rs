//! Numbers of bytes as people write them.

use std::fmt;

/// A number of bytes for people: `12.3 MB`, in powers of 1000.
pub fn bytes(count: usize) -> impl fmt::Display {
    Bytes(count, f64::round)
}

/// The same for what is needed: never less than `count`, so that what is read and given as a budget suffices.
pub fn bytes_needed(count: usize) -> impl fmt::Display {
    Bytes(count, f64::ceil)
}

/// A number of bytes, and how it is made a round one.
struct Bytes(usize, fn(f64) -> f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(count, round) = self;
        let mut unit_bytes = 1.0;
        for unit in ["B", "kB", "MB", "GB", "TB"] {
            let value = count as f64 / unit_bytes;
            let is_whole = unit == "B" || round(value * 10.0) >= 1000.0;
            let (digits, steps) = if is_whole { (0, 1.0) } else { (1, 10.0) };
            let rounded = round(value * steps) / steps;
            if rounded < 1000.0 || unit == "TB" {
                return write!(f, "{rounded:.digits$} {unit}");
            }
            unit_bytes *= 1000.0;
        }
        Ok(())
    }
}

/// Reads a number of bytes: `1500000`, `512MB`, `8GiB`, `8G`. Units: k, M, G, T with `B` or nothing for powers of
/// 1000, with `iB` for powers of 1024.
pub fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let value: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let (letter, base) = match unit.strip_suffix("ib") {
        Some(letter) => (letter, 1024f64),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000f64),
    };
    let power = ["", "k", "m", "g", "t"].iter().position(|&known| known == letter)?;
    let count = value * base.powi(power as i32);
    (count.is_finite() && count < usize::MAX as f64).then_some(count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_as_written() {
        assert_eq!(bytes(0).to_string(), "0 B");
        assert_eq!(bytes(999_600).to_string(), "1.0 MB");
        assert_eq!(bytes(123_456_789).to_string(), "123 MB");
        let needed = [(99_950_000, "100 MB"), (50_310_000, "50.4 MB"), (123_000_001, "124 MB"), (7, "7 B")];
        for (count, words) in needed {
            assert_eq!(bytes_needed(count).to_string(), words);
            assert!(parse_bytes(words).unwrap() >= count, "{words}");
        }
        assert_eq!(bytes(99_940_000).to_string(), "99.9 MB");
        assert_eq!(parse_bytes("1500"), Some(1500));
        assert_eq!(parse_bytes("1.5 GB"), Some(1_500_000_000));
        assert_eq!(parse_bytes("2GiB"), Some(2 << 30));
        assert_eq!(parse_bytes("2g"), Some(2_000_000_000));
        for bad in ["", "x", "1 XB", "-1", "1e99999GB", "B"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
