//! A restricted pickle reader: tensors and plain containers, nothing that could run.
//!
//! Pickle is a small stack machine whose `REDUCE` calls functions by name; that is what makes foreign `.pth` files
//! dangerous elsewhere. Here the only "functions" are the handful below, each a plain Rust match arm that makes a
//! record; any other name ends the reading with [`Error::Code`].
//!
//! All objects live in one arena and refer to each other by index. So shared and even cyclic structures cost nothing,
//! dropping never recurses, and memory is bounded by the number of opcodes.

use std::collections::HashMap;

use crate::{Error, Result};

/// Most values on the stack, in the memo and in the arena, each.
const MAX_VALUES: usize = 1 << 20;
/// Longest string.
const MAX_STRING_BYTES: usize = 1 << 16;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 16;

/// A value; containers are indices into the arena.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'p> {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Str(&'p str),
    Global(Global),
    Object(usize),
}

/// What has an identity.
#[derive(Debug)]
pub(super) enum Object<'p> {
    Tuple(Vec<Value<'p>>),
    List(Vec<Value<'p>>),
    Dict(Vec<(Value<'p>, Value<'p>)>),
    Storage(StorageRecord<'p>),
    Tensor(TensorRecord<'p>),
}

/// The names a state dict may mention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Global {
    RebuildTensor,
    RebuildParameter,
    OrderedDict,
    Storage(Element),
}

/// Element types of PyTorch storages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Element {
    Float,
    Half,
    BFloat16,
    Double,
    Long,
    Int,
    Short,
    Char,
    Byte,
    Bool,
}

/// A storage: an entry of the archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageRecord<'p> {
    pub(super) element: Element,
    pub(super) key: &'p str,
    pub(super) elements: usize,
}

/// A tensor: a strided view of a storage.
#[derive(Debug)]
pub(super) struct TensorRecord<'p> {
    pub(super) storage: StorageRecord<'p>,
    pub(super) offset: usize,
    pub(super) dims: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A pickle that was read to its end.
#[derive(Debug)]
pub(super) struct Pickle<'p> {
    objects: Vec<Object<'p>>,
    pub(super) root: Value<'p>,
}

impl<'p> Pickle<'p> {
    pub(super) fn object(&self, value: Value<'p>) -> Option<&Object<'p>> {
        match value {
            Value::Object(index) => self.objects.get(index),
            _ => None,
        }
    }

    /// What a value is, for messages.
    pub(super) fn describe(&self, value: Value<'p>) -> &'static str {
        match self.object(value) {
            Some(Object::Tuple(_)) => "a tuple",
            Some(Object::List(_)) => "a list",
            Some(Object::Dict(_)) => "a dictionary",
            Some(Object::Storage(_)) => "a storage",
            Some(Object::Tensor(_)) => "a tensor",
            None => "a plain value",
        }
    }
}

/// Reads a pickle.
///
/// # Errors
/// [`Error::Code`] for any name but those of tensors and containers, [`Error::Malformed`] for anything else.
pub(super) fn read<'p>(origin: &str, bytes: &'p [u8]) -> Result<Pickle<'p>> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        objects: Vec::new(),
    };
    match machine.run() {
        Ok(root) => Ok(Pickle { objects: machine.objects, root }),
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
    bytes: &'p [u8],
    at: usize,
    stack: Vec<Value<'p>>,
    /// Stack heights at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'p>>,
    objects: Vec<Object<'p>>,
}

impl<'p> Machine<'p> {
    fn run(&mut self) -> Step<Value<'p>> {
        loop {
            let opcode = self.take::<1>()?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
            if self.stack.len().max(self.marks.len()).max(self.memo.len()).max(self.objects.len())
                > MAX_VALUES
            {
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
            b'(' => self.marks.push(self.stack.len()),
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
            b'}' => self.push_object(Object::Dict(Vec::new())),
            b']' => self.push_object(Object::List(Vec::new())),
            b')' => self.push_object(Object::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_mark()?;
                self.push_object(Object::Tuple(items));
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push_object(Object::Tuple(items));
            }
            b'q' => {
                let [index] = self.take()?;
                self.memoize(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.take()?);
                self.memoize(index)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'h' => {
                let [index] = self.take()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.take()?);
                self.recall(index)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(&items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.global(module, name)?;
            }
            0x93 => {
                let [Value::Str(module), Value::Str(name)] = self.pop_many(2)?[..] else {
                    return broken("a global whose name is not text");
                };
                self.global(module, name)?;
            }
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            other => return broken(format!("opcode 0x{other:02x} does not occur in a file of torch.save")),
        }
        Ok(())
    }

    // ---- bytes -----------------------------------------------------------------------------------------------------

    fn take<const N: usize>(&mut self) -> Step<[u8; N]> {
        let Some(chunk) = self.bytes[self.at..].first_chunk::<N>() else {
            return broken("the pickle ends too early");
        };
        self.at += N;
        Ok(*chunk)
    }

    fn string(&mut self, len: usize) -> Step<()> {
        if len > MAX_STRING_BYTES {
            return broken(format!("a string of {len} bytes"));
        }
        let Some(bytes) = self.bytes[self.at..].get(..len) else {
            return broken("the pickle ends inside a string");
        };
        let Ok(text) = std::str::from_utf8(bytes) else {
            return broken("a string that is not UTF-8");
        };
        self.at += len;
        self.stack.push(Value::Str(text));
        Ok(())
    }

    fn line(&mut self) -> Step<&'p str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(MAX_STRING_BYTES).position(|&byte| byte == b'\n');
        let Some(line) = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok()) else {
            return broken("a name that does not end");
        };
        self.at += line.len() + 1;
        Ok(line)
    }

    fn long(&mut self) -> Step<()> {
        let len = usize::from(self.take::<1>()?[0]);
        let Some(bytes) = self.bytes[self.at..].get(..len).filter(|bytes| bytes.len() <= 8) else {
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

    fn pop(&mut self) -> Step<Value<'p>> {
        if self.marks.last() == Some(&self.stack.len()) {
            return broken("a value is missing after a mark");
        }
        self.stack.pop().map_or_else(|| broken("a value is missing"), Ok)
    }

    fn pop_many(&mut self, count: usize) -> Step<Vec<Value<'p>>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= floor => Ok(self.stack.split_off(start)),
            _ => broken("values are missing"),
        }
    }

    fn pop_mark(&mut self) -> Step<Vec<Value<'p>>> {
        match self.marks.pop() {
            Some(start) => Ok(self.stack.split_off(start)),
            None => broken("a mark is missing"),
        }
    }

    fn push_object(&mut self, object: Object<'p>) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn memoize(&mut self, index: u32) -> Step<()> {
        let Some(&value) = self.stack.last() else { return broken("nothing to remember") };
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Step<()> {
        let Some(&value) = self.memo.get(&index) else {
            return broken(format!("nothing was remembered as {index}"));
        };
        self.stack.push(value);
        Ok(())
    }

    // ---- containers ------------------------------------------------------------------------------------------------

    fn top_object(&mut self) -> Option<&mut Object<'p>> {
        match self.stack.last() {
            Some(&Value::Object(index)) => self.objects.get_mut(index),
            _ => None,
        }
    }

    fn append(&mut self, items: Vec<Value<'p>>) -> Step<()> {
        match self.top_object() {
            Some(Object::List(list)) => list.extend(items),
            _ => return broken("items for something that is not a list"),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value<'p>]) -> Step<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top_object() {
            Some(Object::Dict(dict)) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            _ => return broken("entries for something that is not a dictionary"),
        }
        Ok(())
    }

    /// `BUILD` sets attributes. State dicts carry `_metadata` that way; nothing here needs it.
    fn build(&mut self) -> Step<()> {
        self.pop()?;
        match self.top_object() {
            Some(Object::Dict(_)) => Ok(()),
            _ => broken("attributes for something that is not a dictionary"),
        }
    }

    // ---- names -----------------------------------------------------------------------------------------------------

    fn global(&mut self, module: &'p str, name: &'p str) -> Step<()> {
        let global = match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
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
            _ => return Err(Refusal::Code(format!("{module}.{name}"))),
        };
        self.stack.push(Value::Global(global));
        Ok(())
    }

    /// `("storage", type, key, device, elements)` names an entry of the archive.
    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let record = match self.tuple(id) {
            Some(
                &[
                    Value::Str("storage"),
                    Value::Global(Global::Storage(element)),
                    Value::Str(key),
                    Value::Str(_),
                    Value::Int(elements),
                ],
            ) => match usize::try_from(elements) {
                Ok(elements) => StorageRecord { element, key, elements },
                Err(_) => return broken(format!("a storage of {elements} elements")),
            },
            _ => return broken("a reference that does not name a storage"),
        };
        self.push_object(Object::Storage(record));
        Ok(())
    }

    fn tuple(&self, value: Value<'p>) -> Option<&[Value<'p>]> {
        match value {
            Value::Object(index) => match self.objects.get(index)? {
                Object::Tuple(items) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    fn reduce(&mut self) -> Step<()> {
        let arguments = self.pop()?;
        let Value::Global(callable) = self.pop()? else {
            return broken("a call of something that is not a function");
        };
        let Some(arguments) = self.tuple(arguments).map(<[_]>::to_vec) else {
            return broken("a call without a tuple of arguments");
        };
        match (callable, &arguments[..]) {
            (Global::OrderedDict, []) => self.push_object(Object::Dict(Vec::new())),
            (Global::RebuildParameter, &[data, ..]) => self.stack.push(data),
            (Global::RebuildTensor, &[storage, offset, dims, strides, ..]) => {
                let record = self.tensor_record(storage, offset, dims, strides)?;
                self.push_object(Object::Tensor(record));
            }
            _ => return broken(format!("{callable:?} called with {} arguments", arguments.len())),
        }
        Ok(())
    }

    fn tensor_record(
        &self,
        storage: Value<'p>,
        offset: Value<'p>,
        dims: Value<'p>,
        strides: Value<'p>,
    ) -> Step<TensorRecord<'p>> {
        let storage = match storage {
            Value::Object(index) => match self.objects.get(index) {
                Some(Object::Storage(storage)) => *storage,
                _ => return broken("a tensor without a storage"),
            },
            _ => return broken("a tensor without a storage"),
        };
        let count = |value: &Value| match *value {
            Value::Int(value) => usize::try_from(value).ok(),
            _ => None,
        };
        let counts = |value: Value<'p>| {
            self.tuple(value)?
                .iter()
                .map(count)
                .collect::<Option<Vec<_>>>()
                .filter(|list| list.len() <= MAX_DIMS)
        };
        match (count(&offset), counts(dims), counts(strides)) {
            (Some(offset), Some(dims), Some(strides)) if dims.len() == strides.len() => {
                Ok(TensorRecord { storage, offset, dims, strides })
            }
            _ => broken("a tensor with impossible offset, shape or strides"),
        }
    }
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
