//! SAM 2's tracker against the original predictor, at tiny size: whole sessions, from both kinds of files.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::sessions::{Changed, follow, sessions};
use common::{Golden, devices, reference};
use samovar_cpu::{CpuKernels, CpuOptions};
use samovar_models::{
    Capability, MemoryPlace, Model, ModelConfig, ModelWeights, ObjectPast, Parts, TrackedImage,
};
use samovar_tensor::{Device, Plan, Pool, Shape, Tensor};
use samovar_weights::{ShapeSource, WeightSource};
use serde_json::Value;

fn config(golden: &Golden, changes: &[(&str, &str)]) -> ModelConfig {
    let mut json = std::fs::read_to_string(golden.folder.join("config.json")).unwrap();
    for (from, to) in changes {
        assert!(json.contains(from), "{from}");
        json = json.replacen(from, to, 1);
    }
    ModelConfig::from_hf_json(&json).unwrap()
}

/// The keys of SAM 2.0.
const VERSION_2_0: [(&str, &str); 2] = [
    ("\"enable_occlusion_spatial_embedding\": true", "\"enable_occlusion_spatial_embedding\": false"),
    (
        "\"enable_temporal_pos_encoding_for_object_pointers\": true",
        "\"enable_temporal_pos_encoding_for_object_pointers\": false",
    ),
];

fn original(golden: &Golden) -> ModelWeights {
    ModelWeights::new(golden.checkpoint("original.pt"), None, None).unwrap()
}

/// The same weights under transformers' names, as a folder of the hub has them.
fn of_the_hub(file: &dyn WeightSource, golden: &Golden) -> HubNames {
    let json = std::fs::read_to_string(golden.folder.join("names.json")).unwrap();
    let names: BTreeMap<String, Value> = serde_json::from_str(&json).unwrap();
    let tensors = names.into_iter().map(|(name, parts)| {
        let of = |part: &Value| {
            let part = part.as_str().unwrap();
            let shape = file.shape(part).unwrap_or_else(|| panic!("no {part}"));
            file.tensor(part, shape.dims()).unwrap()
        };
        let tensor = match parts.as_array() {
            Some(parts) => Tensor::stack_rows(&parts.iter().map(of).collect::<Vec<_>>()).unwrap(),
            None => of(&parts),
        };
        (name, tensor)
    });
    HubNames(tensors.collect())
}

struct HubNames(BTreeMap<String, Tensor>);

impl WeightSource for HubNames {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        let tensor = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(tensor.dims(), shape, "{name}");
        Ok(tensor.clone())
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.0.get(name).map(|tensor| *tensor.shape())
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn origin(&self) -> String {
        "a folder of the hub".into()
    }
}

#[test]
fn an_original_file_follows_objects_as_upstream_in_all_sessions() {
    let golden = Golden::open("sam2_video");
    let (device, file, sessions) = (reference(), original(&golden), sessions(&golden));
    assert_eq!(sessions.len(), 7);
    let model = Model::load_parts(&device, &config(&golden, &[]), &file, Parts::ALL).unwrap();
    for (name, session) in sessions.iter().filter(|(_, session)| session["version"] == "2.1") {
        follow(&device, &model, &golden, golden.tolerance(), name, session);
    }
    // SAM 2.0 has two parts less.
    let parts = ["no_obj_embed_spatial", "obj_ptr_tpos_proj"];
    let file = Changed::without(&file, &parts);
    let model = Model::load_parts(&device, &config(&golden, &VERSION_2_0), &file, Parts::ALL).unwrap();
    follow(&device, &model, &golden, golden.tolerance(), "version_2_0", &sessions["version_2_0"]);
}

#[test]
fn a_folder_of_the_hub_follows_objects_on_every_device() {
    let golden = Golden::open("sam2_video");
    let file = original(&golden);
    let hub = of_the_hub(&file, &golden);
    for device in devices() {
        let model = Model::load_parts(&device, &config(&golden, &[]), &hub, Parts::ALL).unwrap();
        follow(&device, &model, &golden, golden.tolerance(), "short", &sessions(&golden)["short"]);
    }
}

#[test]
fn a_tracker_is_loaded_when_it_is_asked_for() {
    let golden = Golden::open("sam2_video");
    let (device, file, config) = (reference(), original(&golden), config(&golden, &[]));
    assert!(config.capabilities().contains(&Capability::Tracker));
    let images = Model::load(&device, &config, &file).unwrap();
    assert!(images.tracker().is_err(), "pictures pay nothing for it");
    let alone = Model::load_parts(&device, &config, &file, Parts::TRACKER).unwrap();
    assert_eq!(alone.capabilities().list(), [Capability::Tracker]);
    let refused = |error: samovar_models::Error| error.to_string();
    let nano = ModelConfig::from_catalogue("nano").unwrap();
    let nano = Model::load_parts(
        &device.shape_only(samovar_tensor::ShapeOnly::new()),
        &nano,
        &ShapeSource,
        Parts::ALL,
    );
    let lacks = refused(nano.unwrap().tracker().err().unwrap());
    assert!(lacks.contains("nano has no tracker") && lacks.contains("facebook/sam2.1-hiera-tiny"), "{lacks}");
}

#[test]
fn a_memory_with_a_tensor_missing_or_left_over_is_refused_by_name() {
    let golden = Golden::open("sam2_video");
    let (device, file) = (reference(), original(&golden));
    let load = |config: &ModelConfig, file: &dyn WeightSource, parts: Parts| {
        Model::load_parts(&device, config, file, parts).map(|_| ()).map_err(|error| error.to_string())
    };
    let whole = config(&golden, &[]);
    let of_memory = |name: &String| {
        ["memory_", "maskmem", "obj_ptr", "no_obj", "mask_downsample"]
            .iter()
            .any(|part| name.starts_with(part))
    };
    let names: Vec<String> = file.names().into_iter().filter(of_memory).collect();
    assert!(names.len() > 80, "{}", names.len());
    for name in &names {
        let lacking = Changed::without(&file, &[name]);
        let refused = load(&whole, &lacking, Parts::TRACKER).unwrap_err();
        assert!(refused.contains("no such tensor") || refused.contains(name.as_str()), "{name}: {refused}");
        load(&whole, &lacking, Parts::IMAGES).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // A file with more than the configuration takes is of another model.
    let refused = load(&config(&golden, &VERSION_2_0), &file, Parts::ALL).unwrap_err();
    assert!(refused.contains("no_obj_embed_spatial"), "{refused}");
    for (from, to, words) in [
        ("\"num_maskmem\": 7", "\"num_maskmem\": 0", "memories of recent frames"),
        (
            "\"sigmoid_scale_for_mem_enc\": 20.0",
            "\"sigmoid_scale_for_mem_enc\": 5.0",
            "sigmoid_scale_for_mem_enc",
        ),
        (
            "\"mask_downsampler_total_stride\": 16",
            "\"mask_downsampler_total_stride\": 8",
            "masks are taken down 8-fold",
        ),
        (
            "\"memory_encoder_output_channels\": 16",
            "\"memory_encoder_output_channels\": 12",
            "memories are a part",
        ),
    ] {
        let changed = config(&golden, &[(from, to)]);
        let refused = load(&changed, &file, Parts::TRACKER).unwrap_err();
        assert!(refused.contains(words), "{refused}");
        load(&changed, &file, Parts::IMAGES).unwrap_or_else(|error| panic!("{from}: {error}"));
    }
}

/// What SAM 2.1 tiny takes for an object that so many memories and 16 pointers are kept of.
fn planned(device: &Device, memories: usize) -> Plan {
    let config = ModelConfig::from_catalogue("facebook/sam2.1-hiera-tiny").unwrap();
    let plan = device.plan(
        |device| Model::load_parts(device, &config, &ShapeSource, Parts::ALL),
        |device, model| {
            let (tracker, segmenter) = (model.tracker()?, model.promptable_segmenter()?);
            let pixels = device.upload([1, 1024, 1024, 3], &[])?;
            let mut image = TrackedImage::new(model.image_encoder()?.encode(device, &pixels)?)?;
            let memory = device.filled([64 * 64, 64], 0.0)?;
            let places = (1..memories).map(MemoryPlace::Recent).chain([MemoryPlace::Conditioning]);
            let pointer = vec![0.0; 256];
            let past = ObjectPast {
                memories: places.map(|place| (&memory, place)).collect(),
                pointers: (0..16).map(|distance| (pointer.as_slice(), distance)).collect(),
                pointers_at_most: 16,
            };
            let features = tracker.attend(device, &mut image, &past)?;
            let found = tracker.answer(device, &**segmenter, &features, None)?;
            assert_eq!(found.logits.dims(), [1, 256, 256]);
            let memory = tracker.remember(device, &mut image, &found, false)?;
            assert_eq!(memory.dims(), [64 * 64, 64]);
            Ok::<(), samovar_models::Error>(())
        },
    );
    plan.unwrap()
}

/// As the example `attention` of samovar-cpu measures it.
#[test]
fn keys_are_made_of_one_and_two_memories_only() {
    let kernels = CpuKernels::new(CpuOptions { threads: 1, ..CpuOptions::default() }).expect("a CPU backend");
    let device = Device::new(Arc::new(kernels), Pool::new(usize::MAX));
    let makes_keys = |memories| {
        let plan = planned(&device, memories);
        !plan.operators.keys().any(|(_, operator)| *operator == "axial_attention")
    };
    assert_eq!([1, 2, 3, 7].map(makes_keys), [true, true, false, false]);
}

/// Sizes known beforehand are those that are taken: a full bank of SAM 2.1 tiny.
#[test]
fn a_full_bank_is_planned_on_shapes() {
    let plan = planned(&Device::reference(), 7);
    let operations = |stage: &str| -> u64 {
        plan.operators
            .iter()
            .filter(|((of, _), _)| *of == stage)
            .map(|(_, total)| total.cost.operations)
            .sum()
    };
    // 303 billion products as upstream has it, 212 with values folded, 137 with keys by column and row, whose sums count as half a
    // product; two operations each, and a softmax.
    let attention = operations("memory attention") / 1_000_000_000;
    assert!((270..285).contains(&attention), "{attention}");
    let encoder = operations("memory encoder") / 1_000_000_000;
    assert!((11..14).contains(&encoder), "{encoder}");
}
