//! The weights of a model among all that a file holds: prefixes and wrappers taken off, adapters merged.
//!
//! Training code saves the same weights as `image_encoder.…`, `module.image_encoder.…`, under `model`, `state_dict` or any
//! other key, inside other modules, with an optimizer beside them. What the names in front are called does not matter: the
//! weights lie where a tensor is that every model of a family has (its mark).

use std::collections::{BTreeMap, BTreeSet};

use samovar_tensor::{Shape, Tensor};
use samovar_weights::{Checkpoint, WeightSource};

use crate::error::{Error, Result};
use crate::low_rank::{self, AdapterConfig, Delta};
use crate::names::MARKS;
use crate::unused;

/// Parts of a name that wrappers put anywhere into it, and that no model here has: PyTorch's data parallel, compiled, sharded
/// and checkpointed modules, and peft's layers.
const TRANSPARENT: [&str; 5] =
    ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer"];
/// Words for weights that are averaged over steps, and so are not those that were trained.
const AVERAGED: [&str; 6] = ["ema", "swa", "averaged", "average", "shadow", "teacher"];
/// Most places in a file with weights of a model.
const MAX_ROOTS: usize = 16;
/// Most names a message lists.
const MAX_LISTED: usize = 8;

/// Weights of a file, or of a file and an adapter, under the names of their publisher.
pub struct ModelWeights {
    file: Checkpoint,
    adapter: Option<Checkpoint>,
    tensors: BTreeMap<String, Part>,
    notes: Vec<String>,
}

/// Where a tensor comes from.
struct Part {
    /// In the adapter instead of the file.
    of_adapter: bool,
    /// What the file calls it.
    name_in_file: String,
    deltas: Vec<Delta>,
}

impl ModelWeights {
    /// Finds the weights in a file. Low-rank adapters (LoRA) in it, or in `adapter`, are merged into them: those of peft,
    /// scaled as `adapter_json` says (its `adapter_config.json`; without it by one), and those of SAMed (`linear_a_q`, …).
    ///
    /// A file in which no model is found keeps its names, and whoever asks for the tensors of one says what is missing.
    ///
    /// # Errors
    /// [`Error::Config`] for weights of several models, and for an `adapter_json` that cannot be followed;
    /// [`Error::UnusedTensors`] for adapters whose base is not there or that fit nowhere.
    pub fn new(file: Checkpoint, adapter: Option<Checkpoint>, adapter_json: Option<&str>) -> Result<Self> {
        let names: Vec<(String, String)> =
            file.names().into_iter().map(|name| (without_wrappers(&name), name)).collect();
        let mut notes = Vec::new();
        let roots = Roots::of(&file, &names)?;
        let root = roots.chosen.as_str();
        let mut tensors: BTreeMap<String, Part> = BTreeMap::new();
        let mut beside: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, name_in_file) in &names {
            let own = name.strip_prefix(root).filter(|_| !roots.is_of_another(name));
            let own = own.filter(|own| !unused::is_of_training(own));
            let Some(own) = own else {
                if !unused::is_of_training(name) {
                    *beside.entry(name.split('.').next().unwrap_or(name)).or_default() += 1;
                    if let Some(kind) = unused::kind_of(name).filter(|_| !roots.is_of_another(name)) {
                        return Err(kind.error(
                            &file,
                            std::slice::from_ref(name_in_file),
                            "beside its weights",
                        ));
                    }
                }
                continue;
            };
            let part = Part { of_adapter: false, name_in_file: name_in_file.clone(), deltas: Vec::new() };
            if let Some(other) = tensors.insert(own.to_owned(), part) {
                let what = format!(
                    "{}: tensors `{}` and `{name_in_file}` are both `{own}` to the model",
                    file.origin(),
                    other.name_in_file
                );
                return Err(Error::Config(what));
            }
        }
        refuse_foreign_parts(&file, &roots, &tensors)?;
        if !beside.is_empty() {
            let listed = beside.iter().take(MAX_LISTED).map(|(name, count)| format!("`{name}` ({count})"));
            let listed: Vec<String> = listed.collect();
            let more = if beside.len() > listed.len() { " and others" } else { "" };
            let at = if root.is_empty() { "at the top".into() } else { format!("below `{root}`") };
            notes.push(format!(
                "{}: the weights {at} are run; tensors beside them are not: {}{more}",
                file.origin(),
                listed.join(", ")
            ));
        }
        let mut weights = Self { file, adapter: None, tensors, notes };
        weights.merge_own(adapter_json)?;
        if let Some(adapter) = adapter {
            weights.merge(adapter, adapter_json)?;
        }
        Ok(weights)
    }

    /// What a user should know about the choice of weights, in a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Merges the adapters that lie among the weights.
    fn merge_own(&mut self, adapter_json: Option<&str>) -> Result<()> {
        let names: Vec<&String> = self.tensors.keys().collect();
        let pairs = low_rank::pairs(&self.file, names.iter().map(|name| (name.as_str(), name.as_str())))?;
        if pairs.is_empty() {
            return Ok(());
        }
        let config = adapter_json.map(AdapterConfig::parse).transpose()?;
        for pair in pairs {
            let in_file = |name: &String| match self.tensors.get(name) {
                Some(part) => part.name_in_file.clone(),
                None => name.clone(),
            };
            let [a, b] = [in_file(&pair.a), in_file(&pair.b)];
            let Some(target) = Some(pair.target()).filter(|target| self.tensors.contains_key(target)) else {
                return Err(unused::LOW_RANK.error(
                    &self.file,
                    &[a, b],
                    "and the layer it changes is not there",
                ));
            };
            let of_base = self.shape(&target);
            let delta = pair.delta(&self.file, false, [&a, &b], of_base, config.as_ref())?;
            let [a, b] = [pair.a, pair.b];
            self.tensors.remove(&a);
            self.tensors.remove(&b);
            self.note_scale(config.as_ref(), pair.is_scaled);
            self.tensors.get_mut(&target).expect("it was found").deltas.push(delta);
        }
        Ok(())
    }

    /// Merges an adapter of another file: pairs are added, whole tensors take the place of those of the file.
    fn merge(&mut self, adapter: Checkpoint, adapter_json: Option<&str>) -> Result<()> {
        let names: Vec<(String, String)> =
            adapter.names().into_iter().map(|name| (without_wrappers(&name), name)).collect();
        let pairs =
            low_rank::pairs(&adapter, names.iter().map(|(name, file)| (name.as_str(), file.as_str())))?;
        let config = adapter_json.map(AdapterConfig::parse).transpose()?;
        let config = config.as_ref();
        let mut of_pairs = BTreeSet::new();
        for pair in pairs {
            let target = self.own_name(&pair.target());
            let [a, b] = [&pair.a, &pair.b];
            let Some(target) = target else {
                let names = [a.clone(), b.clone()];
                return Err(unused::LOW_RANK.error(
                    &adapter,
                    &names,
                    "and the layer it changes is not in the weights",
                ));
            };
            let delta = pair.delta(&adapter, true, [a, b], self.shape(&target), config)?;
            of_pairs.extend([a.clone(), b.clone()]);
            self.note_scale(config, pair.is_scaled);
            self.tensors.get_mut(&target).expect("it was found").deltas.push(delta);
        }
        for (name, name_in_file) in names.into_iter().filter(|(_, file)| !of_pairs.contains(file)) {
            let own = self.own_name(&name).filter(|own| self.shape(own) == adapter.shape(&name_in_file));
            let Some(own) = own else {
                let kind = unused::kind_of(&name).unwrap_or(&unused::LOW_RANK);
                return Err(kind.error(&adapter, &[name_in_file], "and the weights have no such tensor"));
            };
            let deltas = self.tensors.remove(&own).map(|part| part.deltas).unwrap_or_default();
            self.tensors.insert(own, Part { of_adapter: true, name_in_file, deltas });
        }
        self.adapter = Some(adapter);
        Ok(())
    }

    fn note_scale(&mut self, config: Option<&AdapterConfig>, is_scaled: bool) {
        let note = "adapters (LoRA) are merged with a scale of 1; no adapter_config.json says another";
        if config.is_none() && is_scaled && !self.notes.iter().any(|known| known.ends_with(note)) {
            self.notes.push(format!("{}: {note}", self.file.origin()));
        }
    }

    /// The name of a tensor here, of a name with more in front.
    fn own_name(&self, name: &str) -> Option<String> {
        let mut rest = name;
        // peft puts two parts in front, and its model may lie in others.
        for _ in 0..MAX_LISTED {
            if self.tensors.contains_key(rest) {
                return Some(rest.to_owned());
            }
            (_, rest) = rest.split_once('.')?;
        }
        None
    }
}

impl WeightSource for ModelWeights {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        // The file knows how to say that a tensor is missing.
        let Some(part) = self.tensors.get(name) else { return self.file.tensor(name, shape) };
        let of = |is_of_adapter: bool| match (&self.adapter, is_of_adapter) {
            (Some(adapter), true) => adapter,
            _ => &self.file,
        };
        let tensor = of(part.of_adapter).tensor(&part.name_in_file, shape)?;
        low_rank::merged(tensor, &part.deltas, |delta| of(delta.of_adapter))
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        let part = self.tensors.get(name)?;
        match &self.adapter {
            Some(adapter) if part.of_adapter => adapter.shape(&part.name_in_file),
            _ => self.file.shape(&part.name_in_file),
        }
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.file.metadata(key)
    }

    fn all_metadata(&self) -> BTreeMap<String, String> {
        self.file.all_metadata()
    }

    fn origin(&self) -> String {
        self.file.origin()
    }
}

/// Refuses objects of unknown classes where a part of the model may be meant: not to be there is an answer too, for those
/// parts that not every model has.
fn refuse_foreign_parts(file: &Checkpoint, roots: &Roots, tensors: &BTreeMap<String, Part>) -> Result<()> {
    let first = |name: &str| name.split_once('.').map(|(first, _)| first.to_owned());
    let parts: BTreeSet<String> = tensors.keys().filter_map(|name| first(name)).collect();
    // Names with a line in front are the bookkeeping of modules that were pickled whole.
    let is_part = |name: &str| !name.rsplit('.').next().is_some_and(|last| last.starts_with('_'));
    for (name_in_file, _) in file.foreign().filter(|(name, _)| is_part(name)) {
        let name = without_wrappers(name_in_file);
        let own = name.strip_prefix(&roots.chosen).filter(|_| !roots.is_of_another(&name));
        if own.and_then(first).is_some_and(|first| parts.contains(&first)) {
            file.any_tensor(name_in_file)?;
        }
    }
    Ok(())
}

/// A name without what wrappers put into it. SAMed's layers hold the one they replace under its own name.
fn without_wrappers(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('.').filter(|part| !TRANSPARENT.contains(part)) {
        if part != "qkv" || parts.last() != Some(&"qkv") {
            parts.push(part);
        }
    }
    parts.join(".")
}

/// The places of a file where weights of models lie, as what stands in front of their names.
struct Roots {
    chosen: String,
    others: Vec<String>,
}

impl Roots {
    fn of(file: &Checkpoint, names: &[(String, String)]) -> Result<Self> {
        let mut roots: BTreeSet<&str> = BTreeSet::new();
        for (name, _) in names {
            let fronts = MARKS.iter().filter_map(|mark| name.strip_suffix(mark));
            roots.extend(fronts.filter(|front| front.is_empty() || front.ends_with('.')));
        }
        let listed: Vec<String> = roots.iter().take(MAX_ROOTS).map(|root| format!("`{root}`")).collect();
        let (averaged, trained): (Vec<&str>, Vec<&str>) = roots.iter().partition(|root| is_averaged(root));
        let chosen = match (trained.as_slice(), averaged.as_slice()) {
            ([], []) => "",
            ([only], _) | ([], [only]) if roots.len() <= MAX_ROOTS => only,
            _ => {
                let what = format!(
                    "{}: weights of {} models, below {}; save those of the one that is meant: \
                     torch.save(checkpoint[KEY], file)",
                    file.origin(),
                    roots.len(),
                    listed.join(", ")
                );
                return Err(Error::Config(what));
            }
        };
        let others = roots.iter().filter(|root| **root != chosen).map(|root| (*root).to_owned()).collect();
        Ok(Self { chosen: chosen.to_owned(), others })
    }

    /// Whether a tensor belongs to a model that was not chosen.
    fn is_of_another(&self, name: &str) -> bool {
        let longest =
            self.others.iter().filter(|root| name.starts_with(root.as_str())).map(String::len).max();
        longest.is_some_and(|longest| longest > self.chosen.len() || !name.starts_with(&self.chosen))
    }
}

fn is_averaged(root: &str) -> bool {
    root.split(['.', '_']).any(|word| AVERAGED.contains(&word.to_ascii_lowercase().as_str()))
}
