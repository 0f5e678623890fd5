//! What a pickle is made of once it is read: small values, and objects that refer to each other by index.

/// No entry; no items.
pub(super) const NONE: u32 = u32::MAX;
pub(super) const EMPTY_DICT: Object = Object::Dict { first: NONE, last: NONE };

/// A value; containers are indices into the arena.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::torch_file) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Str(Text),
    Global(Global),
    Object(u32),
}

/// A string: a stretch of the pickle that was found to be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::torch_file) struct Text {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// What has an identity.
#[derive(Debug, Clone, Copy)]
pub(in crate::torch_file) enum Object {
    /// A stretch of the kept items; [`NONE`] items are those of a tuple too long to mean anything.
    Tuple {
        start: u32,
        len: u32,
    },
    List,
    /// The ends of its chain of entries.
    Dict {
        first: u32,
        last: u32,
    },
    Storage(u32),
    Tensor(u32),
}

/// An entry of a dictionary: the value is a tensor or a dictionary, the key an integer or text.
#[derive(Debug)]
pub(super) struct Entry {
    key: Value,
    object: u32,
    next: u32,
}

/// The names a state dict may mention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::torch_file) enum Global {
    RebuildTensor,
    RebuildParameter,
    OrderedDict,
    Storage(Element),
}

/// Element types of PyTorch storages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::torch_file) enum Element {
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
pub(in crate::torch_file) struct StorageRecord {
    pub(in crate::torch_file) element: Element,
    pub(in crate::torch_file) key: Text,
    pub(in crate::torch_file) elements: u64,
}

/// A tensor: a strided view of a storage. Tuples never change, so shape and strides stay where they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct TensorRecord {
    pub(super) storage: u32,
    pub(super) dims: u32,
    pub(super) strides: u32,
    pub(super) offset: u64,
}

/// A tensor, looked up.
#[derive(Debug)]
pub(in crate::torch_file) struct Tensor<'p> {
    pub(in crate::torch_file) element: Element,
    pub(in crate::torch_file) key: &'p str,
    pub(in crate::torch_file) elements: usize,
    pub(in crate::torch_file) offset: usize,
    pub(in crate::torch_file) dims: Vec<usize>,
    pub(in crate::torch_file) strides: Vec<usize>,
}

/// A pickle that was read to its end.
#[derive(Debug)]
pub(in crate::torch_file) struct Pickle<'p> {
    pub(super) arena: Arena<'p>,
    pub(in crate::torch_file) root: Value,
}

/// What was made while reading.
#[derive(Debug)]
pub(super) struct Arena<'p> {
    pub(super) bytes: &'p [u8],
    pub(super) objects: Vec<Object>,
    /// Of all tuples, one after the other.
    pub(super) items: Vec<Value>,
    /// Of all dictionaries, each a chain.
    pub(super) entries: Vec<Entry>,
    pub(super) storages: Vec<StorageRecord>,
    pub(super) tensors: Vec<TensorRecord>,
}

impl<'p> Arena<'p> {
    pub(super) fn object(&self, value: Value) -> Option<Object> {
        match value {
            Value::Object(index) => self.objects.get(index as usize).copied(),
            _ => None,
        }
    }

    pub(super) fn bytes_of(&self, text: Text) -> &'p [u8] {
        &self.bytes[text.start as usize..][..text.len as usize]
    }

    /// Takes as long as the text is.
    pub(super) fn text(&self, text: Text) -> &'p str {
        std::str::from_utf8(self.bytes_of(text)).unwrap_or_default()
    }

    /// The items of a tuple, unless it is too long to mean anything.
    pub(super) fn tuple(&self, value: Value) -> Option<&[Value]> {
        match self.object(value)? {
            Object::Tuple { start, len } if len != NONE => {
                Some(&self.items[start as usize..][..len as usize])
            }
            _ => None,
        }
    }

    /// A tuple of counts.
    fn counts(&self, value: Value) -> Option<Vec<usize>> {
        self.tuple(value)?.iter().map(count).collect()
    }

    /// Adds an entry to a dictionary, if anybody will ask for it.
    pub(super) fn insert(&mut self, dict: Value, key: Value, value: Value) {
        let (Value::Object(dict), Some(Object::Dict { first, last })) = (dict, self.object(dict)) else {
            return;
        };
        let Value::Object(object) = value else { return };
        let has_meaning = matches!(key, Value::Str(_) | Value::Int(_))
            && matches!(self.object(value), Some(Object::Dict { .. } | Object::Tensor(_)));
        if has_meaning {
            let index = self.entries.len() as u32;
            self.entries.push(Entry { key, object, next: NONE });
            if let Some(last) = self.entries.get_mut(last as usize).filter(|_| last != NONE) {
                last.next = index;
            }
            let first = if first == NONE { index } else { first };
            self.objects[dict as usize] = Object::Dict { first, last: index };
        }
    }
}

pub(super) fn count(value: &Value) -> Option<usize> {
    match *value {
        Value::Int(value) => usize::try_from(value).ok(),
        _ => None,
    }
}

impl<'p> Pickle<'p> {
    /// The tensors and dictionaries of a dictionary with their keys, as they came; `None` for what is none.
    pub(in crate::torch_file) fn dict(
        &self,
        value: Value,
    ) -> Option<impl Iterator<Item = (Value, Value)> + Clone> {
        let Object::Dict { first, .. } = self.arena.object(value)? else { return None };
        let mut next = first;
        Some(std::iter::from_fn(move || {
            let entry = self.arena.entries.get(next as usize)?;
            next = entry.next;
            Some((entry.key, Value::Object(entry.object)))
        }))
    }

    pub(in crate::torch_file) fn is_tensor(&self, value: Value) -> bool {
        matches!(self.arena.object(value), Some(Object::Tensor(_)))
    }

    pub(in crate::torch_file) fn tensor(&self, value: Value) -> Option<Tensor<'p>> {
        let Object::Tensor(index) = self.arena.object(value)? else { return None };
        let record = self.arena.tensors[index as usize];
        let storage = self.arena.storages[record.storage as usize];
        Some(Tensor {
            element: storage.element,
            key: self.arena.text(storage.key),
            // What does not fit an address does not fit the file either.
            elements: usize::try_from(storage.elements).unwrap_or(usize::MAX),
            offset: usize::try_from(record.offset).unwrap_or(usize::MAX),
            dims: self.arena.counts(Value::Object(record.dims)).unwrap_or_default(),
            strides: self.arena.counts(Value::Object(record.strides)).unwrap_or_default(),
        })
    }

    /// The text, in as much time as it is long.
    pub(in crate::torch_file) fn text(&self, text: Text) -> &'p str {
        self.arena.text(text)
    }

    /// Whether this is the text, in no time.
    pub(in crate::torch_file) fn is(&self, text: Text, wanted: &str) -> bool {
        self.arena.bytes_of(text) == wanted.as_bytes()
    }

    /// What a value is, for messages.
    pub(in crate::torch_file) fn describe(&self, value: Value) -> &'static str {
        match self.arena.object(value) {
            Some(Object::Tuple { .. }) => "a tuple",
            Some(Object::List) => "a list",
            Some(Object::Dict { .. }) => "a dictionary",
            Some(Object::Storage(_)) => "a storage",
            Some(Object::Tensor(_)) => "a tensor",
            None => "a plain value",
        }
    }
}
