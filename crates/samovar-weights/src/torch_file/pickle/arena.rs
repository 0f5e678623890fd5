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
    /// Made by a name that is not known here.
    Foreign(u32),
}

/// An entry of a dictionary: the value is a tensor, a dictionary or foreign, the key an integer or text.
#[derive(Debug)]
pub(super) struct Entry {
    key: Value,
    object: u32,
    next: u32,
}

/// A foreign object: who made it, and the ends of its chain of entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foreign {
    /// Index into the names.
    pub(super) name: u32,
    pub(super) first: u32,
    pub(super) last: u32,
}

/// The names a state dict may mention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::torch_file) enum Global {
    RebuildTensor,
    RebuildParameter,
    RebuildFromType,
    OrderedDict,
    Storage(Element),
    /// Any other; an index into the names.
    Foreign(u32),
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
    /// Modules and names that are not known here.
    pub(super) names: Vec<(Text, Text)>,
    pub(super) foreign: Vec<Foreign>,
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

    /// Module and name of what is not known here.
    pub(super) fn name(&self, index: u32) -> (&'p str, &'p str) {
        let (module, name) = self.names[index as usize];
        (self.text(module), self.text(name))
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

    /// The ends of the chain of entries of a dictionary, or of what was put into a foreign object.
    fn chain(&self, value: Value) -> Option<(u32, u32)> {
        match self.object(value)? {
            Object::Dict { first, last } => Some((first, last)),
            Object::Foreign(index) => {
                let foreign = self.foreign[index as usize];
                Some((foreign.first, foreign.last))
            }
            _ => None,
        }
    }

    /// Adds an entry to a dictionary or a foreign object, if anybody will ask for it.
    pub(super) fn insert(&mut self, dict: Value, key: Value, value: Value) {
        let (Value::Object(owner), Some((first, last))) = (dict, self.chain(dict)) else { return };
        let Value::Object(object) = value else { return };
        let has_meaning = matches!(key, Value::Str(_) | Value::Int(_))
            && matches!(
                self.object(value),
                Some(Object::Dict { .. } | Object::Tensor(_) | Object::Foreign(_))
            );
        if has_meaning {
            let index = self.entries.len() as u32;
            self.entries.push(Entry { key, object, next: NONE });
            if let Some(last) = self.entries.get_mut(last as usize).filter(|_| last != NONE) {
                last.next = index;
            }
            let first = if first == NONE { index } else { first };
            match &mut self.objects[owner as usize] {
                Object::Foreign(foreign) => {
                    let foreign = &mut self.foreign[*foreign as usize];
                    (foreign.first, foreign.last) = (first, index);
                }
                object => *object = Object::Dict { first, last: index },
            }
        }
    }

    /// Gives a foreign object that holds nothing yet what its state holds. They share the entries; later ones of the one
    /// may come to the other too, which does no harm: an entry only ever points to a later one.
    pub(super) fn give(&mut self, foreign: u32, state: Value) {
        let chain = self.chain(state);
        let foreign = &mut self.foreign[foreign as usize];
        if let (NONE, Some((first, last))) = (foreign.first, chain) {
            (foreign.first, foreign.last) = (first, last);
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
    /// The tensors, dictionaries and foreign objects of a dictionary or of a foreign object with their keys, as they came;
    /// `None` for what is neither.
    pub(in crate::torch_file) fn dict(
        &self,
        value: Value,
    ) -> Option<impl Iterator<Item = (Value, Value)> + Clone> {
        let (mut next, _) = self.arena.chain(value)?;
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

    /// Module and name of what made a foreign object that holds nothing.
    pub(in crate::torch_file) fn empty_foreign(&self, value: Value) -> Option<(&'p str, &'p str)> {
        let Object::Foreign(index) = self.arena.object(value)? else { return None };
        let foreign = self.arena.foreign[index as usize];
        (foreign.first == NONE).then(|| self.arena.name(foreign.name))
    }

    /// The text, in as much time as it is long.
    pub(in crate::torch_file) fn text(&self, text: Text) -> &'p str {
        self.arena.text(text)
    }

    /// What a value is, for messages.
    pub(in crate::torch_file) fn describe(&self, value: Value) -> &'static str {
        match self.arena.object(value) {
            Some(Object::Tuple { .. }) => "a tuple",
            Some(Object::List) => "a list",
            Some(Object::Dict { .. }) => "a dictionary",
            Some(Object::Storage(_)) => "a storage",
            Some(Object::Tensor(_)) => "a tensor",
            Some(Object::Foreign(_)) => "an object of a class that is not read",
            None => "a plain value",
        }
    }
}
