//! Low-rank adapters (LoRA, Hu et al. 2021, <https://arxiv.org/abs/2106.09685>): pairs of thin matrices `B A` that are added
//! to the weight of a layer.

use std::collections::BTreeMap;

use samovar_tensor::{Shape, Tensor};
use samovar_weights::{Checkpoint, WeightSource};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::unused;

/// What of peft's `adapter_config.json` decides how its pairs are added.
#[derive(Debug, Deserialize)]
pub(crate) struct AdapterConfig {
    peft_type: String,
    #[serde(default)]
    lora_alpha: Option<f64>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, serde_json::Value>,
}

impl AdapterConfig {
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let refuse = |what: String| Err(Error::Config(format!("adapter_config.json: {what}")));
        let config: Self = match serde_json::from_str(json) {
            Ok(config) => config,
            Err(error) => return refuse(error.to_string()),
        };
        let merge = "merge the adapter with peft's merge_and_unload() and save the model";
        if config.peft_type != "LORA" {
            return refuse(format!("peft_type is `{}`, expected `LORA`; {merge}", config.peft_type));
        }
        let unread = [
            ("use_dora", config.use_dora),
            ("fan_in_fan_out", config.fan_in_fan_out),
            ("alpha_pattern", !config.alpha_pattern.is_empty()),
        ];
        match unread.iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => refuse(format!("`{key}` is set, which is not followed; {merge}")),
            None if !config.lora_alpha.is_none_or(f64::is_finite) => {
                refuse("`lora_alpha` is no number".into())
            }
            None => Ok(config),
        }
    }

    /// What `B A` is multiplied with. peft's default alpha is 8.
    fn scale(&self, rank: usize) -> f64 {
        let rank = rank as f64;
        self.lora_alpha.unwrap_or(8.0) / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

/// Which outputs of a layer a pair changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outputs {
    All,
    /// One of the three parts of queries, keys and values.
    Third(usize),
}

/// A pair of an adapter, found by its names.
pub(crate) struct Pair {
    /// The layer.
    layer: String,
    outputs: Outputs,
    /// `A` and `B`, as they were given.
    pub(crate) a: String,
    pub(crate) b: String,
    /// Whether a configuration says how strong it is; in SAMed's form it is one.
    pub(crate) is_scaled: bool,
}

/// A pair that fits its layer.
pub(crate) struct Delta {
    pub(crate) of_adapter: bool,
    a: String,
    b: String,
    rank: usize,
    inputs: usize,
    /// The rows of the weight that change.
    first_row: usize,
    rows: usize,
    scale: f64,
}

/// Which half of which pair a tensor is: layer, outputs, form, and whether it is `B`.
fn half(name: &str) -> Option<(&str, Outputs, bool, bool)> {
    if let Some(layer) = name.strip_suffix(".weight") {
        let (layer, last) = layer.rsplit_once('.')?;
        let samed = match last {
            "linear_a_q" => Some((0, false)),
            "linear_b_q" => Some((0, true)),
            "linear_a_k" => Some((1, false)),
            "linear_b_k" => Some((1, true)),
            "linear_a_v" => Some((2, false)),
            "linear_b_v" => Some((2, true)),
            _ => None,
        };
        if let Some((third, is_b)) = samed {
            return Some((layer, Outputs::Third(third), false, is_b));
        }
        // peft's own file leaves the adapter's name out, a state dict has it.
        let (layer, last) = match layer.rsplit_once('.') {
            Some((outer, before)) if before == "lora_A" || before == "lora_B" => (outer, before),
            _ => (layer, last),
        };
        return match last {
            "lora_A" => Some((layer, Outputs::All, true, false)),
            "lora_B" => Some((layer, Outputs::All, true, true)),
            _ => None,
        };
    }
    None
}

/// The pairs among tensors: what they are called, and in the file.
///
/// # Errors
/// [`Error::UnusedTensors`] for half a pair, and for two adapters of one layer.
pub(crate) fn pairs<'a>(
    file: &Checkpoint,
    names: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<Pair>> {
    let mut halves: BTreeMap<(&str, usize), Halves> = BTreeMap::new();
    for (name, given) in names {
        let Some((layer, outputs, is_scaled, is_b)) = half(name) else { continue };
        let part = match outputs {
            Outputs::All => 3,
            Outputs::Third(third) => third,
        };
        let halves =
            halves.entry((layer, part)).or_insert(Halves { layer, outputs, is_scaled, both: [None; 2] });
        if let Some(other) = halves.both[usize::from(is_b)].replace(given) {
            let names = [other.to_owned(), given.to_owned()];
            return Err(unused::LOW_RANK.error(file, &names, "and there are two for one layer"));
        }
    }
    let pair = |Halves { layer, outputs, is_scaled, both }| match both {
        [Some(a), Some(b)] => Ok(Pair { layer: layer.into(), outputs, a: a.into(), b: b.into(), is_scaled }),
        _ => {
            let names: Vec<String> = both.iter().flatten().map(|&name| name.to_owned()).collect();
            Err(unused::LOW_RANK.error(file, &names, "and its other half is not there"))
        }
    };
    halves.into_values().map(pair).collect()
}

/// A pair that is being gathered.
struct Halves<'a> {
    layer: &'a str,
    outputs: Outputs,
    is_scaled: bool,
    both: [Option<&'a str>; 2],
}

impl Pair {
    /// What the weight of the layer is called.
    pub(crate) fn target(&self) -> String {
        format!("{}.weight", self.layer)
    }

    /// The pair as it changes a weight of shape `base`; `names` are those in the file.
    ///
    /// # Errors
    /// [`Error::UnusedTensors`] when the shapes do not fit.
    pub(crate) fn delta(
        &self,
        file: &Checkpoint,
        of_adapter: bool,
        [a, b]: [&String; 2],
        base: Option<Shape>,
        config: Option<&AdapterConfig>,
    ) -> Result<Delta> {
        let dims = |shape: Option<Shape>| shape.and_then(|shape| <[usize; 2]>::try_from(shape.dims()).ok());
        let shapes = (dims(file.shape(a)), dims(file.shape(b)), dims(base));
        if let (Some([rank, inputs]), Some([rows, rank_of_b]), Some([outputs, inputs_of_base])) = shapes {
            let (first_row, rows_changed) = match self.outputs {
                Outputs::All => (0, outputs),
                Outputs::Third(third) => (third * (outputs / 3), outputs / 3),
            };
            if rank == rank_of_b && inputs == inputs_of_base && rows == rows_changed {
                let scale = match config.filter(|_| self.is_scaled) {
                    Some(config) => config.scale(rank),
                    None => 1.0,
                };
                let [a, b] = [a.clone(), b.clone()];
                return Ok(Delta { of_adapter, a, b, rank, inputs, first_row, rows, scale });
            }
        }
        let names = [a.clone(), b.clone()];
        Err(unused::LOW_RANK.error(file, &names, "and its shapes do not fit the layer it changes"))
    }
}

/// A weight with all that adapters add to it, in f32.
pub(crate) fn merged<'a>(
    weight: Tensor,
    deltas: &[Delta],
    file_of: impl Fn(&Delta) -> &'a Checkpoint,
) -> samovar_weights::Result<Tensor> {
    if deltas.is_empty() {
        return Ok(weight);
    }
    let unsupported = |delta: &Delta, error: samovar_tensor::Error| samovar_weights::Error::Unsupported {
        file: file_of(delta).origin(),
        tensor: delta.a.clone(),
        what: format!("cannot be merged: {error}"),
    };
    let mut values = weight.to_f32_vec().map_err(|error| unsupported(&deltas[0], error))?;
    let mut sums = Vec::new();
    for delta in deltas {
        let Delta { rank, inputs, rows, first_row, .. } = *delta;
        let numbers = |name: &str, shape: &[usize]| {
            let tensor = file_of(delta).tensor(name, shape)?;
            tensor.to_f32_vec().map_err(|error| unsupported(delta, error))
        };
        let a = numbers(&delta.a, &[rank, inputs])?;
        let b = numbers(&delta.b, &[rows, rank])?;
        let changed = values.chunks_exact_mut(inputs).skip(first_row);
        for (row, b) in changed.zip(b.chunks_exact(rank)) {
            sums.clear();
            sums.resize(inputs, 0.0);
            for (&factor, a) in b.iter().zip(a.chunks_exact(inputs)) {
                sums.iter_mut().zip(a).for_each(|(sum, &a)| *sum += f64::from(factor) * f64::from(a));
            }
            row.iter_mut()
                .zip(&sums)
                .for_each(|(value, sum)| *value = (f64::from(*value) + delta.scale * sum) as f32);
        }
    }
    Tensor::try_from_values(*weight.shape(), &values).map_err(|error| unsupported(&deltas[0], error))
}
