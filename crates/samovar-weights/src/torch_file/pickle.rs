//! A restricted pickle reader: tensors and plain containers, nothing that could run.
//!
//! Pickle is a small stack machine whose `REDUCE` calls functions by name; that is what makes foreign `.pth` files
//! dangerous elsewhere. Here the only "functions" are the handful below, each a plain Rust match arm that makes a
//! record. What any other name makes (an `argparse.Namespace`, a numpy scalar, a class of somebody's own) is a foreign
//! object: a note of the name, with the tensors and dictionaries that were put into it. Nothing is looked up or called.
//! Names that only attacks need end the reading with [`Error::Code`].
//!
//! All objects live in one arena and refer to each other by index. So shared and even cyclic structures cost nothing
//! and dropping never recurses. Memory is bounded by the bytes of the pickle, some fifty times at the worst: values are
//! small, an opcode makes at most one of them, nothing is copied but short tuples, and what no state dict needs (the items
//! of lists, entries that are neither tensors nor dictionaries) is read and forgotten.

mod arena;

use crate::{Error, Result};
use arena::{Arena, EMPTY_DICT, Foreign, Global, NONE, Object, StorageRecord, TensorRecord, Text, count};
pub(super) use arena::{Element, Pickle, Tensor, Value};

/// Most values on the stack, in the memo and in the arena, each.
const MAX_VALUES: usize = 1 << 20;
/// Longest string.
const MAX_STRING_BYTES: usize = 1 << 16;
/// Most dimensions of a tensor, and most items of a tuple that are kept: no tuple that means something has more.
const MAX_ITEMS: usize = 16;
/// Modules, and names of `builtins`, that have no place in a file of weights, only in an attack. Nothing depends on this
/// table being complete: no name is ever called.
const ATTACKS: &[&str] = &[
    "asyncio",
    "code",
    "commands",
    "ctypes",
    "http",
    "importlib",
    "multiprocessing",
    "nt",
    "os",
    "popen2",
    "posix",
    "pty",
    "requests",
    "runpy",
    "shutil",
    "socket",
    "subprocess",
    "sys",
    "timeit",
    "urllib",
    "webbrowser",
];
const ATTACKS_OF_BUILTINS: &[&str] =
    &["__import__", "apply", "compile", "eval", "exec", "execfile", "input", "open"];

/// Reads a pickle of less than 4 GiB.
///
/// # Errors
/// [`Error::Code`] for names of attacks, [`Error::Malformed`] for what is no pickle.
pub(super) fn read<'p>(origin: &str, bytes: &'p [u8]) -> Result<Pickle<'p>> {
    let arena = Arena {
        bytes,
        objects: Vec::new(),
        items: Vec::new(),
        entries: Vec::new(),
        storages: Vec::new(),
        tensors: Vec::new(),
        names: Vec::new(),
        foreign: Vec::new(),
    };
    let mut machine =
        Machine { at: 0, stack: Vec::new(), marks: Vec::new(), memo: Vec::new(), remembered: 0, arena };
    match machine.run() {
        Ok(root) => Ok(Pickle { arena: machine.arena, root }),
        Err(Refusal::Code(global)) => Err(Error::Code { file: origin.to_owned(), global }),
        Err(Refusal::Broken(what)) => {
            Err(Error::malformed(origin, format!("data.pkl, byte {}: {what}", machine.at)))
        }
    }
}

enum Refusal {
    Code(String),
    Broken(String),
}

type Step<T> = std::result::Result<T, Refusal>;

fn broken<T>(what: impl Into<String>) -> Step<T> {
    Err(Refusal::Broken(what.into()))
}

struct Machine<'p> {
    at: usize,
    stack: Vec<Value>,
    /// Stack heights at the open marks.
    marks: Vec<u32>,
    /// By number: pickles count from zero.
    memo: Vec<Option<Value>>,
    /// How many of them there are.
    remembered: u32,
    arena: Arena<'p>,
}

impl<'p> Machine<'p> {
    fn run(&mut self) -> Step<Value> {
        loop {
            let opcode = self.take::<1>()?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
            let memo = self.remembered as usize;
            if self.stack.len().max(self.marks.len()).max(memo).max(self.arena.objects.len()) > MAX_VALUES {
                return broken(format!("more than {MAX_VALUES} values; damaged or hostile"));
            }
        }
    }

    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            0x80 => {
                let version = self.take::<1>()?[0];
                if version > 5 {
                    return broken(format!("pickle protocol {version} is not known"));
                }
            }
            // FRAME: a length that only helps streaming readers.
            0x95 => drop(self.take::<8>()?),
            b'(' => self.marks.push(self.stack.len() as u32),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'K' => {
                let [value] = self.take()?;
                self.stack.push(Value::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take::<8>()?;
                self.stack.push(Value::Float);
            }
            b'X' => {
                let len = u32::from_le_bytes(self.take()?) as usize;
                self.string(len)?;
            }
            0x8c => {
                let [len] = self.take()?;
                self.string(len.into())?;
            }
            0x8d => {
                let len = usize::try_from(u64::from_le_bytes(self.take()?)).unwrap_or(usize::MAX);
                self.string(len)?;
            }
            // Strings of Python 2, bytes of all lengths, and integers that no count is as large as.
            b'U' | b'C' => {
                let len = self.take::<1>()?[0].into();
                self.opaque_bytes(len)?;
            }
            b'T' | b'B' | 0x8b => {
                let len = u32::from_le_bytes(self.take()?) as usize;
                self.opaque_bytes(len)?;
            }
            0x8e | 0x96 => {
                let len = usize::try_from(u64::from_le_bytes(self.take()?)).unwrap_or(usize::MAX);
                self.opaque_bytes(len)?;
            }
            b'}' => self.push_object(EMPTY_DICT),
            // Lists, sets and frozen sets: nothing here needs their items.
            b']' | 0x8f => self.push_object(Object::List),
            0x91 => {
                let start = self.mark()?;
                self.stack.truncate(start);
                self.push_object(Object::List);
            }
            b'0' => drop(self.pop()?),
            b'1' => {
                let start = self.mark()?;
                self.stack.truncate(start);
            }
            b'2' => {
                let start = self.start_of(1)?;
                self.stack.push(self.stack[start]);
            }
            b')' => self.push_tuple(self.stack.len()),
            b't' => {
                let start = self.mark()?;
                self.push_tuple(start);
            }
            0x85..=0x87 => {
                let start = self.start_of(usize::from(opcode - 0x84))?;
                self.push_tuple(start);
            }
            b'q' => {
                let [index] = self.take()?;
                self.memoize(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.take()?);
                self.memoize(index)?;
            }
            0x94 => self.memoize(self.remembered)?,
            b'h' => {
                let [index] = self.take()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.take()?);
                self.recall(index)?;
            }
            b'a' => {
                let start = self.start_of(1)?;
                self.append(start)?;
            }
            b'e' | 0x90 => {
                let start = self.mark()?;
                self.append(start)?;
            }
            b's' => {
                let start = self.start_of(2)?;
                self.set_items(start)?;
            }
            b'u' => {
                let start = self.mark()?;
                self.set_items(start)?;
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.global(module, name)?;
            }
            0x93 => {
                let start = self.start_of(2)?;
                let [Value::Str(module), Value::Str(name)] = self.stack[start..] else {
                    return broken("a global whose name is not text");
                };
                self.stack.truncate(start);
                self.global(module, name)?;
            }
            b'Q' => self.persistent()?,
            b'R' | 0x81 => self.reduce()?,
            0x92 => {
                // Arguments by name come last; no name that is known here takes any.
                self.pop()?;
                self.reduce()?;
            }
            b'b' => self.build()?,
            other => return broken(format!("opcode 0x{other:02x} does not occur in a file of torch.save")),
        }
        Ok(())
    }

    // ---- bytes -----------------------------------------------------------------------------------------------------

    fn take<const N: usize>(&mut self) -> Step<[u8; N]> {
        let Some(chunk) = self.arena.bytes[self.at..].first_chunk::<N>() else {
            return broken("the pickle ends too early");
        };
        self.at += N;
        Ok(*chunk)
    }

    fn string(&mut self, len: usize) -> Step<()> {
        if len > MAX_STRING_BYTES {
            return broken(format!("a string of {len} bytes"));
        }
        let Some(bytes) = self.arena.bytes[self.at..].get(..len) else {
            return broken("the pickle ends inside a string");
        };
        if std::str::from_utf8(bytes).is_err() {
            return broken("a string that is not UTF-8");
        }
        self.stack.push(Value::Str(Text { start: self.at as u32, len: len as u32 }));
        self.at += len;
        Ok(())
    }

    /// Bytes that mean nothing here.
    fn opaque_bytes(&mut self, len: usize) -> Step<()> {
        if self.arena.bytes[self.at..].get(..len).is_none() {
            return broken("the pickle ends inside a string");
        }
        self.at += len;
        self.stack.push(Value::None);
        Ok(())
    }

    fn line(&mut self) -> Step<Text> {
        let rest = &self.arena.bytes[self.at..];
        let end = rest.iter().take(MAX_STRING_BYTES).position(|&byte| byte == b'\n');
        let Some(line) = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok()) else {
            return broken("a name that does not end");
        };
        let text = Text { start: self.at as u32, len: line.len() as u32 };
        self.at += line.len() + 1;
        Ok(text)
    }

    fn long(&mut self) -> Step<()> {
        let len = usize::from(self.take::<1>()?[0]);
        if len > 8 {
            // The state of a random number generator, say; no count is so large.
            return self.opaque_bytes(len);
        }
        let Some(bytes) = self.arena.bytes[self.at..].get(..len) else {
            return broken(format!("an integer of {len} bytes"));
        };
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut padded = [if negative { 0xff } else { 0 }; 8];
        padded[..len].copy_from_slice(bytes);
        self.at += len;
        self.stack.push(Value::Int(i64::from_le_bytes(padded)));
        Ok(())
    }

    // ---- stack and memo --------------------------------------------------------------------------------------------

    fn pop(&mut self) -> Step<Value> {
        if self.floor() == self.stack.len() && !self.marks.is_empty() {
            return broken("a value is missing after a mark");
        }
        self.stack.pop().map_or_else(|| broken("a value is missing"), Ok)
    }

    /// Stack height at the last mark.
    fn floor(&self) -> usize {
        self.marks.last().map_or(0, |&mark| mark as usize)
    }

    /// Where the last `count` values of the stack begin.
    fn start_of(&self, count: usize) -> Step<usize> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(start),
            _ => broken("values are missing"),
        }
    }

    /// Where the values since the last mark begin, which is taken away.
    fn mark(&mut self) -> Step<usize> {
        self.marks.pop().map_or_else(|| broken("a mark is missing"), |start| Ok(start as usize))
    }

    fn push_object(&mut self, object: Object) {
        self.stack.push(Value::Object(self.arena.objects.len() as u32));
        self.arena.objects.push(object);
    }

    /// Makes a tuple of what is on the stack from `start` on.
    fn push_tuple(&mut self, start: usize) {
        let (first, len) = (self.arena.items.len() as u32, self.stack.len() - start);
        let len = if len > MAX_ITEMS { NONE } else { len as u32 };
        if len != NONE {
            self.arena.items.extend_from_slice(&self.stack[start..]);
        }
        self.stack.truncate(start);
        self.push_object(Object::Tuple { start: first, len });
    }

    fn memoize(&mut self, index: u32) -> Step<()> {
        let Some(&value) = self.stack.last() else { return broken("nothing to remember") };
        let index = index as usize;
        // Pickles count from zero, so that no honest number exceeds the bytes it took to get there.
        if index > self.at {
            return broken(format!("something to be remembered as {index}, which is out of order"));
        }
        if index >= self.memo.len() {
            let most = self.arena.bytes.len();
            let len = (index + 1).max((2 * self.memo.len()).min(most));
            self.memo.reserve_exact(len - self.memo.len());
            self.memo.resize(len, None);
        }
        if self.memo[index].replace(value).is_none() {
            self.remembered += 1;
        }
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Step<()> {
        let Some(&Some(value)) = self.memo.get(index as usize) else {
            return broken(format!("nothing was remembered as {index}"));
        };
        self.stack.push(value);
        Ok(())
    }

    // ---- containers ------------------------------------------------------------------------------------------------

    /// Adds what is on the stack from `start` on to the list below. Nothing here needs the items.
    fn append(&mut self, start: usize) -> Step<()> {
        self.stack.truncate(start);
        match self.stack.last().and_then(|&list| self.arena.object(list)) {
            Some(Object::List | Object::Foreign(_)) => Ok(()),
            _ => broken("items for something that is not a list"),
        }
    }

    /// Adds what is on the stack from `start` on, key by value, to the dictionary below.
    fn set_items(&mut self, start: usize) -> Step<()> {
        let (below, items) = self.stack.split_at(start);
        let (pairs, rest) = items.as_chunks::<2>();
        let dict = below.last().copied().filter(|_| rest.is_empty());
        let is_dict =
            |&dict: &Value| matches!(self.arena.object(dict), Some(Object::Dict { .. } | Object::Foreign(_)));
        let dict = dict.filter(is_dict);
        let Some(dict) = dict else { return broken("entries for something that is not a dictionary") };
        for &[key, value] in pairs {
            self.arena.insert(dict, key, value);
        }
        self.stack.truncate(start);
        Ok(())
    }

    /// `BUILD` sets attributes. State dicts carry `_metadata` that way, which nothing here needs; what a foreign object
    /// holds are its attributes.
    fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        match self.stack.last().and_then(|&object| self.arena.object(object)) {
            Some(Object::Foreign(index)) => {
                self.arena.give(index, state);
                Ok(())
            }
            Some(Object::Dict { .. } | Object::Tensor(_)) => Ok(()),
            _ => broken("attributes for something that has none"),
        }
    }

    // ---- names -----------------------------------------------------------------------------------------------------

    fn global(&mut self, module_text: Text, name_text: Text) -> Step<()> {
        let (module, name) = (self.arena.text(module_text), self.arena.text(name_text));
        let global = match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Global::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch", "FloatStorage") => Global::Storage(Element::Float),
            ("torch", "HalfStorage") => Global::Storage(Element::Half),
            ("torch", "BFloat16Storage") => Global::Storage(Element::BFloat16),
            ("torch", "DoubleStorage") => Global::Storage(Element::Double),
            ("torch", "LongStorage") => Global::Storage(Element::Long),
            ("torch", "IntStorage") => Global::Storage(Element::Int),
            ("torch", "ShortStorage") => Global::Storage(Element::Short),
            ("torch", "CharStorage") => Global::Storage(Element::Char),
            ("torch", "ByteStorage") => Global::Storage(Element::Byte),
            ("torch", "BoolStorage") => Global::Storage(Element::Bool),
            _ if is_attack(module, name) => return Err(Refusal::Code(format!("{module}.{name}"))),
            _ => {
                self.arena.names.push((module_text, name_text));
                Global::Foreign(self.arena.names.len() as u32 - 1)
            }
        };
        self.stack.push(Value::Global(global));
        Ok(())
    }

    /// `("storage", type, key, device, elements)` names an entry of the archive.
    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let record = match self.arena.tuple(id) {
            Some(
                &[
                    Value::Str(kind),
                    Value::Global(Global::Storage(element)),
                    Value::Str(key),
                    Value::Str(_),
                    Value::Int(elements),
                ],
            ) if self.arena.bytes_of(kind) == b"storage" => match u64::try_from(elements) {
                Ok(elements) => StorageRecord { element, key, elements },
                Err(_) => return broken(format!("a storage of {elements} elements")),
            },
            // A storage of a type that is not read.
            Some(&[Value::Str(_), Value::Global(Global::Foreign(name)), ..]) => {
                self.push_foreign(name);
                return Ok(());
            }
            _ => return broken("a reference that does not name a storage"),
        };
        self.push_object(Object::Storage(self.arena.storages.len() as u32));
        self.arena.storages.push(record);
        Ok(())
    }

    fn reduce(&mut self) -> Step<()> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        let is_tuple = matches!(self.arena.object(arguments), Some(Object::Tuple { .. }));
        let global = match (callable, self.arena.object(callable)) {
            _ if !is_tuple => return broken("a call without a tuple of arguments"),
            (Value::Global(Global::Foreign(name)), _) => {
                self.push_foreign(name);
                return Ok(());
            }
            // What a foreign object makes is as foreign.
            (_, Some(Object::Foreign(index))) => {
                self.push_foreign(self.arena.foreign[index as usize].name);
                return Ok(());
            }
            (Value::Global(global), _) => global,
            _ => return broken("a call of something that is not a function"),
        };
        self.call(global, arguments)
    }

    fn call(&mut self, global: Global, arguments: Value) -> Step<()> {
        let Some(arguments) = self.arena.tuple(arguments) else {
            return broken("a call without a tuple of arguments, or with more than any takes");
        };
        match (global, arguments) {
            // A tensor with attributes of its own, which are not needed.
            (
                Global::RebuildFromType,
                &[Value::Global(how), Value::Global(Global::Foreign(class)), arguments, ..],
            ) => {
                let is_plain = matches!(
                    self.arena.name(class),
                    ("torch", "Tensor") | ("torch.nn.parameter", "Parameter")
                );
                match how {
                    Global::RebuildTensor | Global::RebuildParameter if is_plain => {
                        return self.call(how, arguments);
                    }
                    _ => self.push_foreign(class),
                }
            }
            (Global::OrderedDict, []) => self.push_object(EMPTY_DICT),
            (Global::RebuildParameter, &[data, ..]) => self.stack.push(data),
            (Global::RebuildTensor, &[storage, offset, dims, strides, ..]) => {
                if let Some(Object::Foreign(index)) = self.arena.object(storage) {
                    self.push_foreign(self.arena.foreign[index as usize].name);
                    return Ok(());
                }
                let record = self.tensor_record(storage, offset, dims, strides)?;
                self.push_object(Object::Tensor(self.arena.tensors.len() as u32));
                self.arena.tensors.push(record);
            }
            _ => return broken(format!("{global:?} called with {} arguments", arguments.len())),
        }
        Ok(())
    }

    /// What a name made that is not known here.
    fn push_foreign(&mut self, name: u32) {
        self.push_object(Object::Foreign(self.arena.foreign.len() as u32));
        self.arena.foreign.push(Foreign { name, first: NONE, last: NONE });
    }

    fn tensor_record(
        &self,
        storage: Value,
        offset: Value,
        dims: Value,
        strides: Value,
    ) -> Step<TensorRecord> {
        let Some(Object::Storage(storage)) = self.arena.object(storage) else {
            return broken("a tensor without a storage");
        };
        let rank = |value: Value| {
            let items = self.arena.tuple(value)?;
            items.iter().all(|item| count(item).is_some()).then_some(items.len())
        };
        match (count(&offset), dims, strides) {
            (Some(offset), Value::Object(dims), Value::Object(strides))
                if rank(Value::Object(dims))
                    .is_some_and(|dims| rank(Value::Object(strides)) == Some(dims)) =>
            {
                Ok(TensorRecord { storage, dims, strides, offset: offset as u64 })
            }
            _ => broken("a tensor with impossible offset, shape or strides"),
        }
    }
}

fn is_attack(module: &str, name: &str) -> bool {
    let (top, _) = module.split_once('.').unwrap_or((module, ""));
    ATTACKS.contains(&top) || matches!(top, "builtins" | "__builtin__") && ATTACKS_OF_BUILTINS.contains(&name)
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
