//! Places from the command line that results go to.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use samovar::files::{self, AtomicFile, ErrorKind, Group};
use samovar::resources::contents::{Key, KeyHasher};

use crate::failure::{is_broken_pipe, usage};
use crate::inputs::Sources;

/// Most files that wait to be put in place together; each is open.
const MAX_GROUP: usize = 64;

/// The name that means stdout.
const STDOUT: &str = "-";

/// Whether `--out` means stdout.
pub fn is_stdout(out: &Path) -> bool {
    out == Path::new(STDOUT)
}

/// Refuses bytes on a terminal, which shows rubbish, or worse.
pub fn check_stdout(is_binary: bool) -> Result<()> {
    if is_binary && io::stdout().is_terminal() {
        return Err(usage(
            "--out - writes the bytes of a picture to stdout, and that is a terminal; send them on (`… > cut.png`), or \
             name a file",
        ));
    }
    Ok(())
}

/// Refuses places where no file can be written, or where one would take the place of what it is made from, before time is
/// spent on what would go there. `takes` says what the option takes instead.
pub fn check_place(out: &Path, takes: &str, sources: &Sources) -> Result<()> {
    if is_stdout(out) {
        return Err(usage(format!("\"-\" would be stdout; {takes} (a file of this name is \"./-\")")));
    }
    match files::check_place(out) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotAFile => {
            let shown = out.display();
            return Err(usage(format!("\"{shown}\": {}; {takes}", error.what())));
        }
        Err(error) => return Err(error.into()),
    }
    sources.check_file(out)
}

/// Whoever has to know which files this program wrote.
pub trait Remember {
    /// Takes note of files that are about to be put in their places, and puts them there, now or soon.
    fn place(&self, files: Placing) -> Result<()>;
}

/// Files of one image that have all their bytes and wait to be put in their places.
#[derive(Debug, Default)]
pub struct Placing {
    /// The files.
    pub group: Group,
    /// Where they will be, and what they hold.
    pub keys: Vec<(PathBuf, Key)>,
    /// Whether these are all of the image, or the last.
    pub are_last: bool,
    /// Files of an earlier run that are to go when these are there, in this order.
    pub obsolete: Vec<PathBuf>,
}

impl Placing {
    /// Puts them in their places.
    pub fn now(self) -> Result<()> {
        self.group.commit()?;
        remove(&self.obsolete)
    }
}

/// Gives a file that is in the way of a result a name that is none of a result, and says so.
pub fn keep_aside(file: &Path) -> Result<()> {
    let name = |number: u32| {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".kept-{number}"));
        PathBuf::from(name)
    };
    let free = (1..=u32::MAX).map(name).find(|place| place.symlink_metadata().is_err());
    let free = free.context("no name is free")?;
    std::fs::rename(file, &free).map_err(|error| files::Error::io(file, error))?;
    say!("note: \"{}\" is not as samovar knows it; it is kept as \"{}\"", file.display(), free.display());
    Ok(())
}

/// Files told in one message.
const TOLD: usize = 3;

/// Says which results somebody has changed and are kept, if there are any.
pub fn say_changed(files: &[String]) {
    if files.is_empty() {
        return;
    }
    let told = files.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    let more = if files.len() > TOLD { ", …" } else { "" };
    say!(
        "note: {} of the results changed since samovar made them; they are kept ({told}{more})",
        files.len()
    );
}

/// A file that is being written, whole or not at all, and the key of what is.
pub struct HashedFile {
    file: AtomicFile,
    hasher: KeyHasher,
}

impl HashedFile {
    /// Begins one.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self { file: AtomicFile::create(path)?, hasher: KeyHasher::default() })
    }

    /// The key of what was written so far.
    pub fn key(&self) -> Key {
        self.hasher.clone().finish()
    }

    /// The file, to be put in its place, and the key.
    pub fn finish(self) -> (AtomicFile, Key) {
        (self.file, self.hasher.finish())
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.write_all(&bytes[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The bytes of one file on their way: to the disk as they come, or in memory until it is known where they go.
pub enum Target {
    /// A file of this name, under another one as yet.
    Disk(PathBuf, Box<HashedFile>),
    /// All bytes so far.
    Memory(Vec<u8>),
}

impl Target {
    /// Takes more bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Disk(path, file) => {
                Ok(file.write_all(bytes).map_err(|error| files::Error::io(path, error))?)
            }
            Self::Memory(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

/// Removes files.
pub fn remove(obsolete: &[PathBuf]) -> Result<()> {
    for file in obsolete {
        std::fs::remove_file(file).map_err(|error| files::Error::io(file, error))?;
    }
    Ok(())
}

/// Files of one image, made durable and put in their places together, which costs less than one by one; or bytes for stdout.
#[derive(Default)]
pub struct Files<'a> {
    memory: Option<Box<dyn Remember + 'a>>,
    group: Group,
    /// Those of the group.
    waiting: Vec<(PathBuf, Key)>,
    all: Vec<PathBuf>,
    stdout: Option<Vec<u8>>,
}

impl fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("all", &self.all).finish_non_exhaustive()
    }
}

impl<'a> Files<'a> {
    /// Files that `memory` is told of.
    pub fn remembered_by(memory: impl Remember + 'a) -> Self {
        Self { memory: Some(Box::new(memory)), ..Self::default() }
    }

    /// No file: the bytes go to stdout.
    pub fn to_stdout() -> Self {
        Self { stdout: Some(Vec::new()), ..Self::default() }
    }

    /// Takes one more file.
    pub fn add(&mut self, out: &Path, bytes: &[u8]) -> Result<()> {
        if let Some(stdout) = &mut self.stdout {
            self.all.push(out.to_owned());
            stdout.extend_from_slice(bytes);
            return Ok(());
        }
        self.group.write(out, bytes)?;
        self.taken(out.to_owned(), Key::of_content(bytes))
    }

    /// Where the bytes of a file go that is taken later, by [`Files::take`].
    pub fn target(&self, out: &Path) -> Result<Target> {
        match &self.stdout {
            Some(_) => Ok(Target::Memory(Vec::new())),
            None => Ok(Target::Disk(out.to_owned(), Box::new(HashedFile::create(out)?))),
        }
    }

    /// Takes one more file, `out` unless it has its name already.
    pub fn take(&mut self, out: &Path, target: Target) -> Result<()> {
        let (path, file) = match target {
            Target::Memory(bytes) => return self.add(out, &bytes),
            Target::Disk(path, file) => (path, file),
        };
        let (file, key) = file.finish();
        self.group.add(file)?;
        self.taken(path, key)
    }

    /// After a file has come to the group.
    fn taken(&mut self, path: PathBuf, key: Key) -> Result<()> {
        self.all.push(path.clone());
        if self.memory.is_some() {
            self.waiting.push((path, key));
        }
        if self.group.len() >= MAX_GROUP { self.place(false, Vec::new()) } else { Ok(()) }
    }

    fn place(&mut self, are_last: bool, obsolete: Vec<PathBuf>) -> Result<()> {
        let (group, keys) = (std::mem::take(&mut self.group), std::mem::take(&mut self.waiting));
        let files = Placing { group, keys, are_last, obsolete };
        match &self.memory {
            Some(memory) => memory.place(files),
            None => files.now(),
        }
    }

    /// Puts all of them in their places, and tells which they are.
    pub fn finish(self) -> Result<Vec<PathBuf>> {
        self.finish_instead_of(Vec::new())
    }

    /// The same, and then removes `obsolete` files of an earlier run, in this order.
    pub fn finish_instead_of(mut self, obsolete: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
        match &self.stdout {
            Some(bytes) => write_stdout(bytes)?,
            None => self.place(true, obsolete)?,
        }
        Ok(self.all)
    }
}

/// Writes to stdout. That whoever reads it had enough, as `head` does, is no reason to leave other work undone.
pub fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()).context("stdout") {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}
