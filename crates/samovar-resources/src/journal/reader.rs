//! Reads what earlier runs have written.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::de::DeserializeOwned;

use super::line::of_line;

/// Longest line that is believed: 100,000 results of one item.
const MAX_LINE_BYTES: usize = 16 << 20;
/// Bytes that are taken apart at once.
const BLOCK_BYTES: usize = 1 << 20;
/// Threads that take lines apart.
const MOST_THREADS: usize = 4;

/// Where a thread takes blocks, and where it hands on the lines in them.
type Parser<L> = (SyncSender<Vec<u8>>, Receiver<Vec<Option<L>>>);

/// How reading a journal went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalReading {
    /// Lines that were handed on.
    pub lines: usize,
    /// Lines that were damaged, other than a last one that was cut.
    pub damaged_lines: usize,
    /// The first of them, counted from 1.
    pub first_damaged_line: Option<usize>,
    /// Length up to the end of the last whole line.
    pub(super) sound_bytes: u64,
}

/// Reads a journal and hands its lines to `each` in order; one that is not there is empty. Damaged lines are left out and counted:
/// what they say is found out anew. Long journals are taken apart by several threads.
///
/// # Errors
/// Those of reading.
pub fn read_journal<L: DeserializeOwned + Send>(
    path: &Path,
    mut each: impl FnMut(L),
) -> io::Result<JournalReading> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(JournalReading::default()),
        Err(error) => return Err(error),
    };
    let is_long = file.metadata()?.len() > 4 * BLOCK_BYTES as u64;
    let mut reading = JournalReading::default();
    let mut take = |lines: Vec<Option<L>>, reading: &mut JournalReading| {
        for line in lines {
            match line {
                Some(line) => {
                    reading.lines += 1;
                    each(line);
                }
                None => {
                    reading.damaged_lines += 1;
                    reading.first_damaged_line.get_or_insert(reading.lines + reading.damaged_lines);
                }
            }
        }
    };
    let threads = match is_long {
        true => thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS),
        false => 0,
    };
    let sound_bytes = thread::scope(|scope| {
        let workers: Vec<Parser<L>> = (0..threads)
            .map_while(|_| {
                let (to, blocks) = sync_channel::<Vec<u8>>(1);
                let (results, from) = sync_channel(1);
                let parse = move || {
                    let all = blocks.into_iter();
                    all.map(|block| lines_of(&block)).all(|lines| results.send(lines).is_ok())
                };
                thread::Builder::new().spawn_scoped(scope, parse).ok().map(|_| (to, from))
            })
            .collect();
        let threads = workers.len();
        // Short ones are not worth a thread, and the system may have none.
        if threads == 0 {
            return for_each_block(&mut file, |block| take(lines_of(&block), &mut reading));
        }
        let (mut sent, mut taken) = (0, 0);
        let mut take_one = |taken: &mut usize, reading: &mut JournalReading| {
            // A worker that panicked has lost its lines; the scope hands its panic on.
            take(workers[*taken % threads].1.recv().unwrap_or_default(), reading);
            *taken += 1;
        };
        let sound_bytes = for_each_block(&mut file, |block| {
            while sent - taken >= threads {
                take_one(&mut taken, &mut reading);
            }
            let _ = workers[sent % threads].0.send(block);
            sent += 1;
        });
        while taken < sent {
            take_one(&mut taken, &mut reading);
        }
        sound_bytes
    })?;
    Ok(JournalReading { sound_bytes, ..reading })
}

/// Hands on blocks of whole lines; says where the last line ends.
fn for_each_block(file: &mut File, mut each: impl FnMut(Vec<u8>)) -> io::Result<u64> {
    let (mut bytes, mut sound_bytes) = (Vec::new(), 0);
    loop {
        let read = file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut bytes)?;
        if read == 0 {
            return Ok(sound_bytes);
        }
        let new = bytes.len() - read;
        let end = match bytes[new..].iter().rposition(|&byte| byte == b'\n') {
            Some(last) => new + last + 1,
            // No line is so long: it is damaged, and so is what is left of it.
            None if bytes.len() > MAX_LINE_BYTES => bytes.len(),
            None => continue,
        };
        let rest = bytes.split_off(end);
        sound_bytes += end as u64;
        each(std::mem::replace(&mut bytes, rest));
    }
}

fn lines_of<L: DeserializeOwned>(block: &[u8]) -> Vec<Option<L>> {
    let block = block.strip_suffix(b"\n").unwrap_or(block);
    block.split(|&byte| byte == b'\n').map(of_line).collect()
}
