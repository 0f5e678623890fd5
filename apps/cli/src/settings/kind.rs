//! What values of settings look like.

use std::time::Duration;

use samovar::devices::DeviceChoice;
use samovar::memory::parse_bytes;

/// The word for "as samovar finds best", where a setting has it.
pub const AUTO: &str = "auto";

/// A time that never comes.
pub const NEVER: &str = "never";

/// What a switch is.
pub const ON: &str = "on";
/// What a switch is when it is not on.
pub const OFF: &str = "off";

/// What a value of a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number from 1, or `auto`.
    Count {
        /// The largest.
        most: u64,
    },
    /// A number of bytes, as 8GB or 512MiB.
    Bytes,
    /// The same, or `auto`.
    BytesOrAuto,
    /// A number of pixels, as 300M.
    Pixels,
    /// A time in seconds, or `never`.
    Seconds,
    /// A share of a whole, over 0 and up to 1.
    Share,
    /// A device, as [`DeviceChoice`] reads it.
    Device,
    /// One of some words.
    Words(&'static [&'static str]),
    /// `on` or `off`, true or false. Its flag, if it has one, has no value and means `off`.
    Switch,
}

impl Kind {
    /// What is expected, in words.
    pub fn expected(self) -> String {
        match self {
            Self::Count { most } => format!("a number from 1 to {most}, or auto"),
            Self::Bytes => "bytes, as 8GB or 512MiB".to_owned(),
            Self::BytesOrAuto => "bytes over 0, as 8GB or 512MiB, or auto".to_owned(),
            Self::Pixels => "a number of pixels, as 300000000 or 300M".to_owned(),
            Self::Seconds => "a number of seconds over 0, or never".to_owned(),
            Self::Share => "a share over 0 and up to 1, as 0.85".to_owned(),
            Self::Switch => "on or off".to_owned(),
            Self::Device => DeviceChoice::EXPECTED.to_owned(),
            Self::Words(words) => match words {
                [one] => (*one).to_owned(),
                [first @ .., last] => format!("{} or {last}", first.join(", ")),
                [] => String::new(),
            },
        }
    }

    /// A value as its setting keeps it.
    ///
    /// # Errors
    /// What was expected, in words.
    pub fn check(self, text: &str) -> Result<String, String> {
        let text = match (self, text.trim()) {
            (Self::Switch, "true") => ON,
            (Self::Switch, "false") => OFF,
            (_, text) => text,
        };
        let is_sound = match self {
            Self::Count { most } => {
                text == AUTO || text.parse::<u64>().is_ok_and(|count| (1..=most).contains(&count))
            }
            Self::Bytes => parse_bytes(text).is_some(),
            Self::BytesOrAuto => text == AUTO || parse_bytes(text).is_some_and(|bytes| bytes > 0),
            Self::Pixels => parse_pixels(text).is_some(),
            Self::Seconds => text == NEVER || parse_seconds(text).is_some(),
            Self::Share => text.parse::<f64>().is_ok_and(|share| share > 0.0 && share <= 1.0),
            Self::Device => text.parse::<DeviceChoice>().is_ok(),
            Self::Words(words) => words.contains(&text),
            Self::Switch => [ON, OFF].contains(&text),
        };
        if is_sound { Ok(text.to_owned()) } else { Err(format!("expected {}", self.expected())) }
    }
}

/// Reads a number of pixels: 300000000, 300M.
pub fn parse_pixels(text: &str) -> Option<u64> {
    let plain = Some(text).filter(|text| !text.contains(['b', 'B', 'i']));
    plain.and_then(parse_bytes).map(|count| count as u64).filter(|&count| count > 0)
}

/// Reads a time over 0 in seconds: 60, 0.5, 10s.
pub fn parse_seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds: f64 = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    Some(seconds)
        .filter(|&seconds| seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}
