//! Checkpoints as training code saves them: names with anything in front, things beside the weights, adapters.

use std::collections::BTreeMap;

use samovar_models::{Error, Model, ModelConfig, ModelWeights};
use samovar_tensor::Device;
use samovar_weights::{Checkpoint, WeightSource, WriteTensor, write_safetensors};

mod common;
use common::{Golden, reference};

#[allow(dead_code, reason = "shared with the tests of the reader, which need all of it")]
#[path = "../../samovar-weights/src/torch_file/test_pickles.rs"]
mod test_pickles;
use test_pickles::{archive, dict, state_dict, tensor, tuple};

/// Shape and values.
type Values = (Vec<usize>, Vec<f32>);

/// Tensors by name.
type Tensors = BTreeMap<String, Values>;

/// A tiny SAM under its original names.
fn sam() -> Tensors {
    let file = Golden::open("sam1").checkpoint("original.pth");
    let tensor = |name: String| {
        let tensor = file.any_tensor(&name).unwrap();
        (name, (tensor.dims().to_vec(), tensor.to_f32_vec().unwrap()))
    };
    file.names().into_iter().map(tensor).collect()
}

fn renamed(tensors: &Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect()
}

/// Numbers that are another for every seed.
fn numbers(seed: usize, shape: &[usize]) -> Values {
    let number = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5;
    (shape.to_vec(), (0..shape.iter().product()).map(number).collect())
}

fn file(tensors: &Tensors) -> Checkpoint {
    let unique = std::thread::current().name().unwrap_or("main").replace("::", "-");
    let path =
        std::env::temp_dir().join(format!("samovar-checkpoints-{unique}-{}.safetensors", std::process::id()));
    let written: Vec<WriteTensor> = tensors
        .iter()
        .map(|(name, (shape, values))| WriteTensor { name: name.clone(), shape: shape.clone(), values })
        .collect();
    write_safetensors(&path, &written, &BTreeMap::new()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    Checkpoint::from_bytes("checkpoint", bytes).unwrap()
}

fn load(weights: &ModelWeights) -> Result<Model, Error> {
    let device: Device = reference();
    Model::load(&device, &ModelConfig::infer(weights)?, weights)
}

fn opened(tensors: &Tensors) -> ModelWeights {
    ModelWeights::new(file(tensors), None, None).unwrap_or_else(|error| panic!("{error}"))
}

/// What is said of a file that is refused, when it is opened or when it is loaded.
fn refusal(tensors: &Tensors) -> String {
    let refused = ModelWeights::new(file(tensors), None, None).and_then(|weights| load(&weights));
    refused.err().expect("must be refused").to_string()
}

fn assert_is(weights: &ModelWeights, expected: &Tensors, what: &str) {
    assert_eq!(weights.names(), expected.keys().cloned().collect::<Vec<_>>(), "{what}");
    for (name, (shape, values)) in expected {
        assert_eq!(&weights.tensor(name, shape).unwrap().to_f32_vec().unwrap(), values, "{what}: {name}");
    }
    load(weights).unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// The report: "expected SAM, found something else" for a SAM with a prefix.
#[test]
fn what_stands_in_front_of_names_does_not_matter() {
    let sam = sam();
    for front in [
        "module.",
        "model.",
        "sam.",
        "_orig_mod.",
        "model.module.",
        "model_state.",
        "state_dict.model.sam.",
        "model_state_dict._orig_mod.module.",
        "net.net.net.",
        "base_model.model.",
        "anything.at.all.",
    ] {
        let weights = opened(&renamed(&sam, |name| format!("{front}{name}")));
        assert_is(&weights, &sam, front);
        assert!(weights.notes().is_empty(), "{front}: {:?}", weights.notes());
    }
    let within = opened(&renamed(&sam, |name| {
        name.replace("image_encoder.", "image_encoder._orig_mod.").replace("blocks.1.", "blocks.1.module.")
    }));
    assert_is(&within, &sam, "within");
    // transformers' names.
    let theirs = Golden::open("sam1").checkpoint("model.safetensors");
    let tensors = theirs.names().into_iter().map(|name| {
        let tensor = theirs.any_tensor(&name).unwrap();
        (format!("module.{name}"), (tensor.dims().to_vec(), tensor.to_f32_vec().unwrap()))
    });
    let weights = opened(&tensors.collect());
    assert_eq!(weights.names(), theirs.names());
    load(&weights).unwrap();
}

#[test]
fn things_of_the_training_beside_the_weights_are_left_alone() {
    let sam = sam();
    for front in ["", "model."] {
        let mut tensors = renamed(&sam, |name| format!("{front}{name}"));
        for name in [
            "optimizer.state.0.exp_avg",
            "optimizer.param_groups.lora_A.weight",
            "lr_scheduler.last",
            "args.w",
        ] {
            tensors.insert(name.to_owned(), numbers(1, &[3]));
        }
        let weights = opened(&tensors);
        assert!(weights.notes().is_empty(), "{:?}", weights.notes());
        load(&weights).unwrap_or_else(|error| panic!("{front}: {error}"));
    }
    // Counters and tables among the weights; the mean that the pixels are prepared with anyway.
    let mut tensors = sam.clone();
    tensors.insert("image_encoder.bn.num_batches_tracked".into(), numbers(1, &[1]));
    tensors.insert("pixel_mean".into(), (vec![3, 1, 1], vec![123.675, 116.28, 103.53]));
    load(&opened(&tensors)).unwrap();
    tensors.insert("pixel_std".into(), (vec![3, 1, 1], vec![1.0, 1.0, 1.0]));
    let refused = refusal(&tensors);
    assert!(refused.contains("pixel_std") && refused.contains("preprocessor_config.json"), "{refused}");
}

#[test]
fn other_modules_beside_the_weights_are_said() {
    let mut tensors = renamed(&sam(), |name| format!("model_state.{name}"));
    tensors.insert("decoder_state.out.weight".into(), numbers(1, &[2]));
    let notes = opened(&tensors).notes().join("\n");
    assert!(
        notes.contains("below `model_state.` are run") && notes.contains("`decoder_state` (1)"),
        "{notes}"
    );
    tensors.insert("peft.blocks.0.lora_A".into(), numbers(1, &[2]));
    let refused = refusal(&tensors);
    assert!(refused.contains("`peft.blocks.0.lora_A`: part of an adapter (LoRA)"), "{refused}");
}

#[test]
fn averaged_weights_beside_the_trained_are_said_and_two_trained_are_refused() {
    let sam = sam();
    let with = |fronts: &[&str]| -> Tensors {
        fronts.iter().flat_map(|front| renamed(&sam, |name| format!("{front}{name}"))).collect()
    };
    for (fronts, chosen) in [
        (["model.", "ema."], "`model.`"),
        (["model.module.", "model_ema.module."], "`model.`"),
        (["", "ema."], "at the top"),
        (["student.", "teacher."], "`student.`"),
        (["ema_model.", "model.sam."], "`model.sam.`"),
    ] {
        let weights = opened(&with(&fronts));
        assert_is(&weights, &sam, chosen);
        let notes = weights.notes().join("\n");
        assert!(notes.contains(chosen) && notes.contains(&format!("({})", sam.len())), "{fronts:?}: {notes}");
    }
    let weights = opened(&with(&["ema."]));
    assert_is(&weights, &sam, "averaged ones alone");
    let refused = refusal(&with(&["model.", "net."]));
    assert!(refused.contains("weights of 2 models, below `model.`, `net.`"), "{refused}");
    let refused = refusal(&with(&["module.", ""]));
    assert!(refused.contains("are both `"), "{refused}");
}

/// The report: SAM-HQ and adapters ran as the base model without a word.
#[test]
fn tensors_that_the_model_does_not_use_are_refused_by_name() {
    for (name, words) in [
        ("mask_decoder.compress_vit_feat.0.weight", "part of SAM-HQ's decoder"),
        ("mask_decoder.embedding_encoder.0.weight", "with all of its decoder"),
        ("mask_decoder.hq_token.weight.old", "SAM-HQ runs with all of its decoder"),
        ("image_encoder.blocks.0.Adapter.D_fc1.weight", "fine-tuned without them"),
        ("image_encoder.prompt_generator.shared_mlp.weight", "adapters"),
        ("image_encoder.blocks.0.attn.qkv.lora_A", "merge it into the weights"),
        ("image_encoder.blocks.0.attn.qkv.lora_magnitude_vector", "merge it into the weights"),
        ("image_encoder.blocks.0.norm3.weight", "not part of this model"),
        ("image_encoder.tokens", "del state_dict[\"image_encoder.tokens\"]"),
    ] {
        for front in ["", "model."] {
            let mut tensors = sam();
            tensors.insert(name.to_owned(), numbers(1, &[1, 32]));
            let refused = refusal(&renamed(&tensors, |name| format!("{front}{name}")));
            assert!(refused.contains(&format!("`{name}`")) && refused.contains(words), "{refused}");
        }
    }
}

/// `W + scale B A` for rows from `first` on.
fn with_product(
    tensors: &mut Tensors,
    name: &str,
    first: usize,
    a: &[f32],
    b: &[f32],
    rank: usize,
    scale: f64,
) {
    let (shape, values) = tensors.get_mut(name).unwrap();
    let inputs = shape[1];
    for row in 0..b.len() / rank {
        for column in 0..inputs {
            let sum: f64 =
                (0..rank).map(|k| f64::from(b[row * rank + k]) * f64::from(a[k * inputs + column])).sum();
            let value = &mut values[(first + row) * inputs + column];
            *value = (f64::from(*value) + scale * sum) as f32;
        }
    }
}

const QKV: &str = "image_encoder.blocks.1.attn.qkv";
const WITH_ALPHA: &str = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["qkv"]}"#;

/// A pair of rank 2 for the layer [`QKV`], under the names of peft.
fn pair(front: &str, adapter: &str) -> [(String, Values); 2] {
    [
        (format!("{front}{QKV}.lora_A{adapter}.weight"), numbers(1, &[2, 24])),
        (format!("{front}{QKV}.lora_B{adapter}.weight"), numbers(2, &[72, 2])),
    ]
}

#[test]
fn adapters_of_peft_are_merged() {
    let [(_, (_, a)), (_, (_, b))] = pair("", "");
    let base = sam();
    let expected = |scale| {
        let mut expected = base.clone();
        with_product(&mut expected, &format!("{QKV}.weight"), 0, &a, &b, 2, scale);
        expected
    };
    // A state dict of peft: base and adapter in one.
    let mut whole = renamed(&base, |name| match name.strip_prefix(QKV) {
        Some(rest) => format!("base_model.model.{QKV}.base_layer{rest}"),
        None => format!("base_model.model.{name}"),
    });
    whole.extend(pair("base_model.model.", ".default"));
    let weights = opened(&whole);
    assert_is(&weights, &expected(1.0), "in one file");
    assert!(weights.notes().join("").contains("with a scale of 1"), "{:?}", weights.notes());
    let weights = ModelWeights::new(file(&whole), None, Some(WITH_ALPHA)).unwrap();
    assert_is(&weights, &expected(3.0), "scaled");
    assert!(weights.notes().is_empty(), "{:?}", weights.notes());
    // What peft saves: the pairs alone, beside the base; and a tensor that was trained whole.
    let mut adapter: Tensors = pair("base_model.model.", "").into_iter().collect();
    let trained = numbers(3, &base["mask_decoder.iou_token.weight"].0);
    adapter.insert("base_model.model.mask_decoder.iou_token.weight".into(), trained.clone());
    for front in ["", "model.module."] {
        let base = renamed(&base, |name| format!("{front}{name}"));
        let weights = ModelWeights::new(file(&base), Some(file(&adapter)), Some(WITH_ALPHA)).unwrap();
        let mut expected = expected(3.0);
        expected.insert("mask_decoder.iou_token.weight".into(), trained.clone());
        assert_is(&weights, &expected, "beside");
    }
    let rooted = WITH_ALPHA.replace("\"r\"", "\"use_rslora\": true, \"r\"");
    let weights = ModelWeights::new(file(&whole), None, Some(&rooted)).unwrap();
    assert_is(&weights, &expected(6.0 / 2f64.sqrt()), "rsLoRA");
}

/// SAMed, <https://github.com/hitachinsk/SAMed>: queries and values each with a pair, around the layer itself.
#[test]
fn adapters_of_samed_are_merged() {
    let mut expected = sam();
    let mut tensors = renamed(&expected, |name| match name.strip_prefix(QKV) {
        Some(rest) => format!("sam.{QKV}.qkv{rest}"),
        None => format!("sam.{name}"),
    });
    for (seed, part, first) in [(1, 'q', 0), (2, 'v', 48)] {
        let (a, b) = (numbers(seed, &[4, 24]), numbers(seed + 10, &[24, 4]));
        with_product(&mut expected, &format!("{QKV}.weight"), first, &a.1, &b.1, 4, 1.0);
        tensors.insert(format!("sam.{QKV}.linear_a_{part}.weight"), a);
        tensors.insert(format!("sam.{QKV}.linear_b_{part}.weight"), b);
    }
    let weights = opened(&tensors);
    assert_is(&weights, &expected, "SAMed");
    assert!(weights.notes().is_empty(), "{:?}", weights.notes());
}

#[test]
fn adapters_that_cannot_be_merged_are_refused_with_what_to_do() {
    let base = sam();
    let [a, b] = pair("", "");
    let alone: Tensors = pair("base_model.model.", "").into_iter().collect();
    let refused = refusal(&alone);
    assert!(
        refused.contains("the layer it changes is not there") && refused.contains("merge_and_unload"),
        "{refused}"
    );
    let mut half = base.clone();
    half.extend([a.clone()]);
    assert!(refusal(&half).contains("other half is not there"));
    let mut misshapen = base.clone();
    misshapen.extend([a.clone(), (b.0.clone(), numbers(1, &[24, 2]))]);
    assert!(refusal(&misshapen).contains("shapes do not fit"));
    let mut two = base.clone();
    two.extend(pair("", ".first"));
    two.extend(pair("", ".second"));
    assert!(refusal(&two).contains("two for one layer"));
    let unknown: Tensors = BTreeMap::from([("base_model.model.head.weight".to_owned(), numbers(1, &[2]))]);
    let refused = ModelWeights::new(file(&base), Some(file(&unknown)), None).err().unwrap().to_string();
    assert!(
        refused.contains("`base_model.model.head.weight`") && refused.contains("no such tensor"),
        "{refused}"
    );
    for (json, words) in [
        (r#"{"peft_type": "LOHA"}"#, "peft_type is `LOHA`"),
        (r#"{"peft_type": "LORA", "use_dora": true}"#, "`use_dora` is set"),
        (r#"{"peft_type": "LORA", "alpha_pattern": {"qkv": 3}}"#, "`alpha_pattern` is set"),
        ("nonsense", "adapter_config.json: "),
    ] {
        let adapter = pair("base_model.model.", "").into_iter().collect();
        let refused =
            ModelWeights::new(file(&base), Some(file(&adapter)), Some(json)).err().unwrap().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

/// A SAM of `torch.save`, every storage of it `file`'s; `change` puts other objects in the place of tensors.
fn torch_file(tensors: &Tensors, change: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Checkpoint {
    let storages: Vec<(String, Vec<u8>)> = tensors
        .values()
        .enumerate()
        .map(|(key, (_, values))| {
            (format!("data/{key}"), values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let objects = tensors.iter().enumerate().map(|(key, (name, (shape, values)))| {
        let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        let strides: Vec<i64> = (0..dims.len()).map(|axis| dims[axis + 1..].iter().product()).collect();
        let pickled = tensor("FloatStorage", &key.to_string(), values.len() as i64, 0, &dims, &strides);
        (name.as_str(), change(name, pickled))
    });
    let namespace = [b"cargparse\nNamespace\n)\x81".to_vec(), dict(&[]), b"b".to_vec()].concat();
    // As modules that were pickled whole have it.
    let bookkeeping = ("image_encoder._non_persistent_buffers_set", b"c__builtin__\nset\n)R".to_vec());
    let objects: Vec<_> = objects.chain([bookkeeping]).collect();
    let pickled = state_dict(&[("model", dict(&objects)), ("args", namespace)]);
    let mut entries: Vec<(&str, &[u8])> = vec![("data.pkl", &pickled)];
    entries.extend(storages.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
    Checkpoint::from_bytes("checkpoint.pth", archive(&entries)).unwrap()
}

/// The report: `argparse.Namespace` beside the weights was refused. And the position table of a SAM may be missing, but not
/// because its class is unknown.
#[test]
fn objects_of_other_classes_are_refused_only_in_the_place_of_a_tensor() {
    let sam = sam();
    let weights = ModelWeights::new(torch_file(&sam, |_, pickled| pickled), None, None).unwrap();
    assert_is(&weights, &sam, "a Namespace beside");
    let file = torch_file(&sam, |name, pickled| match name {
        "image_encoder.pos_embed" => [b"cmine\nTable\n".to_vec(), tuple(&[pickled]), b"R".to_vec()].concat(),
        _ => pickled,
    });
    let refused = ModelWeights::new(file, None, None).err().unwrap().to_string();
    assert!(
        refused.contains("`model.image_encoder.pos_embed`") && refused.contains("mine.Table"),
        "{refused}"
    );
}
