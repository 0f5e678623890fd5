//! One line of a journal.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The line: checksum, content, end.
pub(super) fn to_line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = vec![b' '; 9];
    serde_json::to_writer(&mut line, value)?;
    let checksum = format!("{:08x}", crc32fast::hash(&line[9..]));
    line[..8].copy_from_slice(checksum.as_bytes());
    line.push(b'\n');
    Ok(line)
}

/// The value of a line without its end; `None` if the line is damaged, or of another kind.
pub(super) fn of_line<L: DeserializeOwned>(line: &[u8]) -> Option<L> {
    let (checksum, content) = (line.get(..8)?, line.get(9..)?);
    let digit = |value: u32, byte: &u8| match byte {
        b'0'..=b'9' => Some(value << 4 | u32::from(byte - b'0')),
        b'a'..=b'f' => Some(value << 4 | u32::from(byte - b'a' + 10)),
        _ => None,
    };
    let checksum = checksum.iter().try_fold(0, digit)?;
    let is_sound = line[8] == b' ' && checksum == crc32fast::hash(content);
    if is_sound { serde_json::from_slice(content).ok() } else { None }
}
