//! Which files of a folder are the frames of a sequence, and their numbers.
//!
//! A number is a group of digits in a name. Names are bytes: what is not a digit may be anything.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

use crate::error::{MediaError, Result};
use crate::video::source::FrameNumber;

/// More digits than any numbering of frames has; all numbers of so many fit.
const MAX_DIGITS: usize = 18;

/// Of how many groups of digits in a name the frame number may be one, counted from the end.
const MAX_GROUPS: usize = 8;

/// Names of files with a number in them: `shot.####.png`, `shot.%04d.png`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern {
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    digits: Digits,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Digits {
    /// With any number of zeros before it.
    Any,
    /// With as many zeros before it as make so many digits, as `printf` writes it.
    Padded(usize),
}

impl Pattern {
    /// The pattern that a file's name is, if it is one: with one run of `#`, or one `%d` or `%04d`. A single `#` stands for
    /// any number, several for a number padded to as many digits.
    ///
    /// # Errors
    /// [`MediaErrorKind::Mismatch`](crate::error::MediaErrorKind) for several places where a number could be.
    pub(super) fn parse(name: &OsStr) -> Result<Option<Self>> {
        let name = name.as_encoded_bytes();
        let mut found = None;
        let mut at = 0;
        while at < name.len() {
            let Some((len, digits)) = placeholder(&name[at..]) else {
                at += 1;
                continue;
            };
            let pattern = Self { prefix: name[..at].to_vec(), suffix: name[at + len..].to_vec(), digits };
            if found.replace(pattern).is_some() {
                let what = format!("{:?} has several places for a number", String::from_utf8_lossy(name));
                return Err(MediaError::mismatch(what).advise("write one, as in shot.####.png"));
            }
            at += len;
        }
        Ok(found)
    }

    /// The number in a name of this pattern.
    pub(super) fn number(&self, name: &OsStr) -> Option<FrameNumber> {
        let name = name.as_encoded_bytes().strip_prefix(&self.prefix[..])?.strip_suffix(&self.suffix[..])?;
        match self.digits {
            Digits::Padded(least) if name.len() < least || (name.len() > least && name[0] == b'0') => None,
            _ => parse_number(name),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = match self.digits {
            Digits::Any => "#".to_owned(),
            Digits::Padded(least) => "#".repeat(least),
        };
        write!(
            f,
            "{}{places}{}",
            String::from_utf8_lossy(&self.prefix),
            String::from_utf8_lossy(&self.suffix)
        )
    }
}

/// Length and meaning of the place for a number that a text begins with.
fn placeholder(text: &[u8]) -> Option<(usize, Digits)> {
    let hashes = text.iter().take_while(|&&byte| byte == b'#').count();
    match hashes {
        0 => {}
        1 => return Some((1, Digits::Any)),
        2..=MAX_DIGITS => return Some((hashes, Digits::Padded(hashes))),
        _ => return None,
    }
    let format = text.strip_prefix(b"%")?;
    let digits = format.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if format.get(digits) != Some(&b'd') {
        return None;
    }
    match digits {
        0 => Some((2, Digits::Padded(1))),
        // `%4d` pads with spaces, which nobody has in names of frames.
        _ if format[0] != b'0' => None,
        _ => {
            let least = usize::try_from(parse_number(&format[..digits])?).ok()?;
            (least <= MAX_DIGITS).then_some((digits + 2, Digits::Padded(least.max(1))))
        }
    }
}

fn parse_number(digits: &[u8]) -> Option<FrameNumber> {
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + FrameNumber::from(digit - b'0')))
}

/// Names of one sequence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// By ascending number; no number twice.
    pub(super) frames: Vec<(FrameNumber, OsString)>,
    /// Whether the numbers stand in the names.
    pub(super) are_numbered: bool,
    /// Names that are not part of it.
    pub(super) left_out: usize,
}

/// The sequence that a folder's pictures are. The number is the last group of digits before the ending, or, where that does not
/// make one sequence of all (`shot_1001_v2.png`), the last but one, and so on. Names without any number are counted from 0 in
/// alphabetical order.
///
/// # Errors
/// [`MediaErrorKind::Mismatch`](crate::error::MediaErrorKind) for several sequences, or two files of one number.
pub(super) fn frames_of(mut names: Vec<OsString>) -> Result<Listed> {
    let by_last = groups(&names, 0);
    let numbered: usize = by_last.values().map(Vec::len).sum();
    if numbered == 0 {
        names.sort_unstable();
        return Ok(Listed { frames: (0..).zip(names).collect(), are_numbered: false, left_out: 0 });
    }
    let listed = |frames| Listed { frames, are_numbered: true, left_out: names.len() - numbered };
    if by_last.len() == 1 {
        let frames = by_last.into_values().next().unwrap_or_default();
        return Ok(listed(unique(frames)?));
    }
    for from_end in 1..MAX_GROUPS {
        let groups = groups(&names, from_end);
        if let [frames] = &groups.into_values().collect::<Vec<_>>()[..]
            && frames.len() == numbered
            && let Ok(frames) = unique(frames.clone())
        {
            return Ok(listed(frames));
        }
    }
    /// Named in an error.
    const SHOWN: usize = 4;
    let shown = by_last.iter().take(SHOWN).map(|(key, frames)| format!("{key} ({})", frames.len()));
    let mut shown: Vec<String> = shown.collect();
    let first = by_last.keys().next().map(ToString::to_string).unwrap_or_default();
    if by_last.len() > SHOWN {
        shown.push(format!("{} more", by_last.len() - SHOWN));
    }
    let what = format!("there are {} sequences in this folder: {}", by_last.len(), shown.join(", "));
    Err(MediaError::mismatch(what).advise(format!("name one, as FOLDER/{first}")))
}

/// Sequences by what is around the number, which is the group of digits so many from the end of the name without its ending.
fn groups(names: &[OsString], from_end: usize) -> BTreeMap<Pattern, Vec<(FrameNumber, OsString)>> {
    let mut groups = BTreeMap::<Pattern, Vec<_>>::new();
    for name in names {
        let bytes = name.as_encoded_bytes();
        if let Some((start, end)) = group_of_digits(bytes, from_end)
            && let Some(number) = parse_number(&bytes[start..end])
        {
            let suffix = bytes[end..].to_ascii_lowercase();
            let key = Pattern { prefix: bytes[..start].to_vec(), suffix, digits: Digits::Any };
            groups.entry(key).or_default().push((number, name.clone()));
        }
    }
    groups
}

/// Where a group of digits starts and ends, so many groups before the last of the name without its ending.
fn group_of_digits(name: &[u8], from_end: usize) -> Option<(usize, usize)> {
    let mut end = name.iter().rposition(|&byte| byte == b'.').unwrap_or(name.len());
    let mut left = from_end;
    loop {
        end = name[..end].iter().rposition(u8::is_ascii_digit)? + 1;
        let start =
            name[..end].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |before| before + 1);
        if left == 0 {
            return Some((start, end));
        }
        (left, end) = (left - 1, start);
    }
}

/// The frames by ascending number, which each has for itself.
pub(super) fn unique(mut frames: Vec<(FrameNumber, OsString)>) -> Result<Vec<(FrameNumber, OsString)>> {
    frames.sort_unstable();
    match frames.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(frames),
        Some(pair) => {
            let what = format!("{:?} and {:?} are both frame {}", pair[0].1, pair[1].1, pair[0].0);
            Err(MediaError::mismatch(what).advise("keep one of them, or name a pattern (shot.####.png)"))
        }
    }
}

/// Which numbers are missing between the first and the last, in words.
pub(super) fn gaps(frames: &[(FrameNumber, OsString)]) -> Option<String> {
    /// Gaps that are named; of more, the number of frames is.
    const SHOWN: usize = 8;
    let (first, last) = (frames.first()?.0, frames.last()?.0);
    let gaps = frames.windows(2).map(|pair| (pair[0].0 + 1, pair[1].0 - 1)).filter(|(from, to)| from <= to);
    let mut shown: Vec<String> = Vec::new();
    let (mut missing, mut count) = (0, 0);
    for (from, to) in gaps {
        (missing, count) = (missing + (to - from + 1), count + 1);
        if shown.len() < SHOWN {
            shown.push(if from == to { from.to_string() } else { format!("{from} to {to}") });
        }
    }
    if count > SHOWN {
        shown.push("...".to_owned());
    }
    let frames = if missing == 1 { "frame is" } else { "frames are" };
    (missing > 0)
        .then(|| format!("{missing} {frames} missing between {first} and {last}: {}", shown.join(", ")))
}

#[cfg(test)]
mod tests;
