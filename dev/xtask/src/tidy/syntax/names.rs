//! Which file of a crate defines what a path means: through `use`, `pub use`, globs and `super`.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Crate, Mention, Path};

/// What a path may mean. A module and a function may share a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    Module(usize),
    /// An item by the module that defines it.
    Item(usize, String),
}

/// Lines of one file that name what another defines, with the names.
pub(in crate::tidy) type Naming = BTreeSet<(usize, String)>;

/// File that names, file that defines, as indices into [`Crate::files`].
pub(in crate::tidy) type Edges = BTreeMap<(usize, usize), Naming>;

/// Which file names what of which other file.
pub(in crate::tidy) fn edges(of: &Crate) -> Edges {
    let names = Names { of, associated: associated(of) };
    let mut edges = Edges::new();
    for mention in &of.mentions {
        let from = of.modules[mention.module].file;
        for to in names.files(mention.module, &mention.path, mention.is_glob) {
            if to != from {
                let name = mention.path.join("::") + if mention.is_glob { "::*" } else { "" };
                edges.entry((from, to)).or_default().insert((mention.line, name));
            }
        }
    }
    edges
}

/// What `mention` means when it is not of this crate, from the name of its crate on: `["std", "env", "var"]` for
/// `env::var` where `std::env` is imported.
pub(in crate::tidy) fn written_out(of: &Crate, mention: &Mention) -> Path {
    let imports = &of.modules[mention.module].imports;
    let mut path = mention.path.clone();
    // No import is followed twice.
    let mut followed = BTreeSet::new();
    while let Some((first, rest)) = path.split_first()
        && let Some(import) = imports.get(first).and_then(|paths| paths.first())
        && followed.insert(first.clone())
    {
        path = import.iter().chain(rest).cloned().collect();
    }
    path
}

/// Where `impl` blocks apart from a type's definition define a function of it.
type Associated = BTreeMap<(Meaning, String), BTreeSet<usize>>;

fn associated(of: &Crate) -> Associated {
    let names = Names { of, associated: Associated::new() };
    let mut found = Associated::new();
    for (index, module) in of.modules.iter().enumerate() {
        for (own, name) in &module.associated {
            for meaning in names.resolve(index, own, &mut BTreeSet::new()) {
                found.entry((meaning, name.clone())).or_default().insert(module.file);
            }
        }
    }
    found
}

struct Names<'a> {
    of: &'a Crate,
    associated: Associated,
}

impl Names<'_> {
    /// The files that define what `path`, named in `module`, means.
    fn files(&self, module: usize, path: &Path, is_glob: bool) -> BTreeSet<usize> {
        let mut files = BTreeSet::new();
        for meaning in self.resolve(module, path, &mut BTreeSet::new()) {
            match meaning {
                // A module alone is a way to something; what is named through it counts.
                Meaning::Module(module) if is_glob => drop(files.insert(self.of.modules[module].file)),
                Meaning::Module(_) => {}
                Meaning::Item(home, _) => drop(files.insert(self.of.modules[home].file)),
            }
        }
        if let [own @ .., name] = path.as_slice() {
            for meaning in self.resolve(module, own, &mut BTreeSet::new()) {
                files.extend(self.associated.get(&(meaning, name.clone())).into_iter().flatten());
            }
        }
        files
    }

    /// What `path` means in `module`; nothing for what other crates define.
    fn resolve(
        &self,
        module: usize,
        path: &[String],
        asked: &mut BTreeSet<(usize, String)>,
    ) -> BTreeSet<Meaning> {
        let Some((first, mut rest)) = path.split_first() else { return BTreeSet::new() };
        let mut meanings = match first.as_str() {
            "crate" => BTreeSet::from([Meaning::Module(0)]),
            "self" => BTreeSet::from([Meaning::Module(module)]),
            "super" => self.parent(module).into_iter().collect(),
            name => self.look_up(module, name, asked),
        };
        while let Some((name, after)) = rest.split_first() {
            // A function may be called as a module; nothing follows it.
            if meanings.iter().any(|meaning| matches!(meaning, Meaning::Module(_))) {
                meanings.retain(|meaning| matches!(meaning, Meaning::Module(_)));
            }
            meanings = meanings
                .into_iter()
                .flat_map(|meaning| match meaning {
                    Meaning::Module(module) if name == "super" => self.parent(module).into_iter().collect(),
                    Meaning::Module(module) => {
                        let found = self.look_up(module, name, asked);
                        // What is not written there is what a macro there makes.
                        if found.is_empty() {
                            BTreeSet::from([Meaning::Item(module, name.clone())])
                        } else {
                            found
                        }
                    }
                    // A variant, or a function of the type.
                    item @ Meaning::Item(..) => BTreeSet::from([item]),
                })
                .collect();
            rest = after;
        }
        meanings
    }

    fn parent(&self, module: usize) -> Option<Meaning> {
        self.of.modules[module].parent.map(Meaning::Module)
    }

    /// What `name` means in `module`. `asked` are the questions on the way here: imports may lead in a ring.
    fn look_up(&self, module: usize, name: &str, asked: &mut BTreeSet<(usize, String)>) -> BTreeSet<Meaning> {
        if !asked.insert((module, name.to_string())) {
            return BTreeSet::new();
        }
        let here = &self.of.modules[module];
        let mut found: BTreeSet<Meaning> =
            here.children.get(name).map(|child| Meaning::Module(*child)).into_iter().collect();
        if here.items.contains(name) {
            found.insert(Meaning::Item(module, name.to_string()));
        }
        for path in here.imports.get(name).into_iter().flatten() {
            found.extend(self.resolve(module, path, asked));
        }
        if found.is_empty() {
            for path in &here.globs {
                for meaning in self.resolve(module, path, asked) {
                    if let Meaning::Module(from) = meaning {
                        found.extend(self.look_up(from, name, asked));
                    }
                }
            }
        }
        asked.remove(&(module, name.to_string()));
        found
    }
}
