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
    // As it is written, and not what else reads as the same number.
    let is_sound = line[8] == b' ' && checksum == format!("{:08x}", crc32fast::hash(content)).as_bytes();
    if is_sound { serde_json::from_slice(content).ok() } else { None }
}
