//! The modules of one crate as its files declare them, and every path its code names; tests are left out.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A path as it stands in the code, `["crate", "mask", "Bits"]`.
pub(in crate::tidy) type Path = Vec<String>;

/// A module, in a file of its own or inside another's.
#[derive(Debug, Default)]
pub(in crate::tidy) struct Module {
    /// Index into [`Crate::files`].
    pub(in crate::tidy) file: usize,
    pub(in crate::tidy) parent: Option<usize>,
    pub(in crate::tidy) children: BTreeMap<String, usize>,
    /// Names of what is defined here.
    pub(in crate::tidy) items: BTreeSet<String>,
    /// What `use` brings in, by the name it has here.
    pub(in crate::tidy) imports: BTreeMap<String, Vec<Path>>,
    /// Modules and enums of which `use path::*` brings in everything.
    pub(in crate::tidy) globs: Vec<Path>,
    /// Functions and constants of inherent `impl` blocks: the type as it is named here, and the function.
    pub(in crate::tidy) associated: Vec<(Path, String)>,
}

/// A path that code of a module names; of a macro that is called by its name alone, `["vec!"]`.
#[derive(Debug)]
pub(in crate::tidy) struct Mention {
    pub(in crate::tidy) module: usize,
    /// Counted from 1.
    pub(in crate::tidy) line: usize,
    pub(in crate::tidy) path: Path,
    /// Whether it is `path::*`.
    pub(in crate::tidy) is_glob: bool,
}

/// One crate: its files, modules and mentions. Module 0 is the root.
#[derive(Debug, Default)]
pub(in crate::tidy) struct Crate {
    pub(in crate::tidy) files: Vec<String>,
    /// Of each file every name in its code, and the line where it first stands.
    pub(in crate::tidy) names: Vec<BTreeMap<String, usize>>,
    pub(in crate::tidy) modules: Vec<Module>,
    pub(in crate::tidy) mentions: Vec<Mention>,
}

impl Crate {
    /// The crate whose root file is `root`, a path with forward slashes; `text` gives the content of files that exist.
    ///
    /// # Errors
    /// File, line and message of what is not Rust.
    pub(in crate::tidy) fn read(root: &str, text: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut found = Self::default();
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        found.read_file(root, folder, None, text)?;
        Ok(found)
    }

    /// Reads `file`, whose `mod` declarations lie in `folder`, and returns its module.
    fn read_file(
        &mut self,
        file: &str,
        folder: &str,
        parent: Option<usize>,
        text: &dyn Fn(&str) -> Option<String>,
    ) -> Result<usize, String> {
        let content = text(file).ok_or_else(|| format!("{file}: not there"))?;
        let syntax = syn::parse_file(&content)
            .map_err(|error| format!("{file}:{}: {error}", error.span().start().line))?;
        self.files.push(file.to_string());
        self.names.push(BTreeMap::new());
        let module = self.add_module(self.files.len() - 1, parent);
        let mut reader = Reader {
            module,
            folder: folder.to_string(),
            self_type: None,
            is_in_function: false,
            elsewhere: Vec::new(),
            found: self,
        };
        reader.visit_file(&syntax);
        let elsewhere = std::mem::take(&mut reader.elsewhere);
        for (parent, name, candidates) in elsewhere {
            let Some(file) = candidates.iter().find(|file| text(file).is_some()) else {
                return Err(format!("{file}: no file for its module {name}"));
            };
            let folder = match file.strip_suffix("/mod.rs") {
                Some(folder) => folder,
                None => file.strip_suffix(".rs").unwrap_or(file),
            };
            let child = self.read_file(file, folder, Some(parent), text)?;
            self.modules[parent].children.insert(name, child);
        }
        Ok(module)
    }

    fn add_module(&mut self, file: usize, parent: Option<usize>) -> usize {
        self.modules.push(Module { file, parent, ..Module::default() });
        self.modules.len() - 1
    }
}

/// Walks one file.
struct Reader<'a> {
    module: usize,
    /// Where files of this module's children lie.
    folder: String,
    /// What `Self` means.
    self_type: Option<Path>,
    is_in_function: bool,
    /// Modules in other files: parent, name, and where the file may be.
    elsewhere: Vec<(usize, String, Vec<String>)>,
    found: &'a mut Crate,
}

impl Reader<'_> {
    fn here(&mut self) -> &mut Module {
        &mut self.found.modules[self.module]
    }

    fn mention(&mut self, path: Path, line: usize, is_glob: bool) {
        self.found.mentions.push(Mention { module: self.module, line, path, is_glob });
    }

    fn define(&mut self, name: &syn::Ident) {
        if !self.is_in_function {
            let name = plain(name);
            self.here().items.insert(name);
        }
    }

    /// Takes in `tree`, what follows `prefix` in a `use`.
    fn import(&mut self, prefix: &Path, tree: &syn::UseTree) {
        let with = |name: &syn::Ident| {
            let mut path = prefix.clone();
            path.push(plain(name));
            path
        };
        match tree {
            syn::UseTree::Path(part) => self.import(&with(&part.ident), &part.tree),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(prefix, tree)),
            syn::UseTree::Name(name) if name.ident == "self" => {
                let own_name = prefix.last().cloned().unwrap_or_default();
                self.import_as(prefix.clone(), own_name, &name.ident);
            }
            syn::UseTree::Name(name) => self.import_as(with(&name.ident), plain(&name.ident), &name.ident),
            syn::UseTree::Rename(rename) if rename.ident == "self" => {
                self.import_as(prefix.clone(), plain(&rename.rename), &rename.ident);
            }
            syn::UseTree::Rename(rename) => {
                self.import_as(with(&rename.ident), plain(&rename.rename), &rename.ident);
            }
            syn::UseTree::Glob(glob) => {
                self.here().globs.push(prefix.clone());
                self.mention(prefix.clone(), glob.star_token.spans[0].start().line, true);
            }
        }
    }

    fn import_as(&mut self, path: Path, name: String, at: &syn::Ident) {
        self.here().imports.entry(name).or_default().push(path.clone());
        self.mention(path, at.span().start().line, false);
    }

    /// Paths in what a macro is given, which the compiler alone can read: names joined by `::`.
    fn scan(&mut self, tokens: TokenStream, prefix: &Path) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    self.visit_ident(first);
                    let mut path = prefix.clone();
                    path.push(plain(first));
                    at += 1;
                    if matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == '!') {
                        self.mention(vec![format!("{first}!")], line, false);
                    }
                    while joins(&tokens[at..]) {
                        match tokens.get(at + 2) {
                            Some(TokenTree::Ident(next)) => {
                                self.visit_ident(next);
                                path.push(plain(next));
                                at += 3;
                            }
                            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                                self.scan(group.stream(), &path);
                                at += 3;
                                break;
                            }
                            _ => {
                                at += 2;
                                break;
                            }
                        }
                    }
                    if path.len() > 1 {
                        let path = self.without_self(path);
                        self.mention(path, line, false);
                    }
                }
                TokenTree::Group(group) => {
                    self.scan(group.stream(), &Path::new());
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    /// `Self::new` as `Type::new`.
    fn without_self(&self, path: Path) -> Path {
        match (&self.self_type, path.first()) {
            (Some(own), Some(first)) if first == "Self" => own.iter().chain(&path[1..]).cloned().collect(),
            _ => path,
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_test(attributes(item)) {
            return;
        }
        match item {
            syn::Item::Const(item) => self.define(&item.ident),
            syn::Item::Enum(item) => self.define(&item.ident),
            syn::Item::Fn(item) => self.define(&item.sig.ident),
            syn::Item::Static(item) => self.define(&item.ident),
            syn::Item::Struct(item) => self.define(&item.ident),
            syn::Item::Trait(item) => self.define(&item.ident),
            syn::Item::TraitAlias(item) => self.define(&item.ident),
            syn::Item::Type(item) => self.define(&item.ident),
            syn::Item::Union(item) => self.define(&item.ident),
            syn::Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    self.define(name);
                }
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let outer = std::mem::replace(&mut self.is_in_function, true);
        visit::visit_item_fn(self, item);
        self.is_in_function = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_test(&item.attrs) {
            return;
        }
        let outer = std::mem::replace(&mut self.is_in_function, true);
        visit::visit_impl_item_fn(self, item);
        self.is_in_function = outer;
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = plain(&item.ident);
        let folder = format!("{}/{name}", self.folder);
        if item.content.is_none() {
            self.visit_ident(&item.ident);
            let given = item.attrs.iter().find_map(|attribute| match &attribute.meta {
                syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                    syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
                    _ => None,
                },
                _ => None,
            });
            let file = &self.found.files[self.found.modules[self.module].file];
            let beside = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            let candidates = match given {
                Some(path) => vec![format!("{beside}/{path}")],
                None => vec![format!("{folder}.rs"), format!("{folder}/mod.rs")],
            };
            self.elsewhere.push((self.module, name, candidates));
            return;
        }
        let file = self.found.modules[self.module].file;
        let child = self.found.add_module(file, Some(self.module));
        self.here().children.insert(name, child);
        let outer_module = std::mem::replace(&mut self.module, child);
        let outer_folder = std::mem::replace(&mut self.folder, folder);
        visit::visit_item_mod(self, item);
        self.module = outer_module;
        self.folder = outer_folder;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.import(&Path::new(), &item.tree);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let own = match &*item.self_ty {
            syn::Type::Path(own) if own.qself.is_none() => Some(segments(&own.path)),
            _ => None,
        };
        if let (Some(own), None) = (&own, &item.trait_) {
            for part in &item.items {
                let name = match part {
                    syn::ImplItem::Fn(part) if !is_test(&part.attrs) => &part.sig.ident,
                    syn::ImplItem::Const(part) => &part.ident,
                    _ => continue,
                };
                let entry = (own.clone(), plain(name));
                self.here().associated.push(entry);
            }
        }
        let outer = std::mem::replace(&mut self.self_type, own);
        visit::visit_item_impl(self, item);
        self.self_type = outer;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let line = path.segments[0].ident.span().start().line;
            let path = self.without_self(segments(path));
            self.mention(path, line, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        if let Some(name) = call.path.get_ident() {
            self.mention(vec![format!("{name}!")], name.span().start().line, false);
        }
        self.scan(call.tokens.clone(), &Path::new());
    }

    fn visit_ident(&mut self, name: &'ast syn::Ident) {
        let file = self.found.modules[self.module].file;
        let line = name.span().start().line;
        self.found.names[file].entry(plain(name)).or_insert(line);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(in crate::mask)` names a module, not something in it.
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        let attributes = match statement {
            syn::Stmt::Local(local) => local.attrs.as_slice(),
            syn::Stmt::Macro(call) => call.attrs.as_slice(),
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_stmt(self, statement);
        }
    }
}

/// A name without the `r#` of a keyword.
fn plain(name: &syn::Ident) -> String {
    let name = name.to_string();
    name.strip_prefix("r#").map_or(name.clone(), str::to_string)
}

fn segments(path: &syn::Path) -> Path {
    path.segments.iter().map(|segment| plain(&segment.ident)).collect()
}

/// Whether tokens start with `::`.
fn joins(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(a), TokenTree::Punct(b), ..]
        if a.as_char() == ':' && a.spacing() == Spacing::Joint && b.as_char() == ':')
}

/// Whether what carries these attributes exists in tests alone: `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, ..))]`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("cfg") => requires_test(list.tokens.clone()),
        _ => false,
    })
}

/// Whether a condition of `cfg` holds in tests alone.
fn requires_test(condition: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = condition.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(name)] => name == "test",
        [TokenTree::Ident(name), TokenTree::Group(group), ..] if name == "all" => {
            let parts: Vec<TokenTree> = group.stream().into_iter().collect();
            let mut parts =
                parts.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','));
            parts.any(|part| requires_test(part.iter().cloned().collect()))
        }
        _ => false,
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::ExternCrate(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::ForeignMod(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::TraitAlias(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
