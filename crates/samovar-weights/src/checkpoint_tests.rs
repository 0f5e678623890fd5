//! Files that are not what they should be, folders, and shards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Checkpoint, WeightSource, WriteTensor, write_safetensors};

/// A folder of this test alone, gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("samovar-weights-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn refusal(path: &Path) -> String {
    match Checkpoint::open(path) {
        Ok(checkpoint) => panic!("read {:?}", checkpoint.names()),
        Err(error) => error.to_string(),
    }
}

fn write(path: &Path, name: &str, values: &[f32]) {
    let tensor = WriteTensor { name: name.into(), shape: vec![values.len()], values };
    write_safetensors(path, &[tensor], &BTreeMap::new()).unwrap();
}

#[test]
fn things_that_are_not_weights_are_told_apart() {
    let folder = Folder::new("kinds");
    let file = folder.0.join("file");
    assert!(refusal(&file).contains("file: "), "a missing file is an error of the system");
    assert!(refusal(&folder.0).contains("no weights in this folder"));
    for (content, what) in [
        (&b""[..], "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n0000000000", "neither safetensors nor"),
        (b"PK\x03\x04 and then nothing", "truncated"),
    ] {
        fs::write(&file, content).unwrap();
        let message = refusal(&file);
        assert!(message.contains(what), "{message}");
    }
}

#[test]
fn a_folder_opens_as_its_weights() {
    let folder = Folder::new("folder");
    write(&folder.0.join("model.safetensors"), "w", &[1.0, 2.0]);
    let checkpoint = Checkpoint::open(&folder.0).unwrap();
    assert!(checkpoint.origin().ends_with("model.safetensors"));
    // Tensors outlive the checkpoint: they hold the mapped file.
    let tensor = checkpoint.tensor("w", &[2]).unwrap();
    drop(checkpoint);
    assert_eq!(tensor.to_f32_vec().unwrap(), [1.0, 2.0]);
}

#[test]
fn shards_are_gathered() {
    let folder = Folder::new("shards");
    write(&folder.0.join("model-1.safetensors"), "a", &[1.0]);
    write(&folder.0.join("model-2.safetensors"), "b", &[2.0, 3.0]);
    let index = folder.0.join("model.safetensors.index.json");
    fs::write(&index, r#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#).unwrap();
    let checkpoint = Checkpoint::open(&folder.0).unwrap();
    assert_eq!(checkpoint.names(), ["a", "b"]);
    assert_eq!(checkpoint.tensor("b", &[2]).unwrap().to_f32_vec().unwrap(), [2.0, 3.0]);
    for (content, what) in [
        ("nonsense", "not an index"),
        ("{}", "no object `weight_map`"),
        (r#"{"weight_map":{"a":1}}"#, "not the name of a file beside the index"),
        (r#"{"weight_map":{"a":"../secret"}}"#, "not the name of a file beside the index"),
        (r#"{"weight_map":{"a":"/etc/passwd"}}"#, "not the name of a file beside the index"),
        (r#"{"weight_map":{"b":"model-1.safetensors"}}"#, "`b` is not in its shard"),
        (r#"{"weight_map":{"a":"model-3.safetensors"}}"#, "model-3.safetensors: "),
    ] {
        fs::write(&index, content).unwrap();
        let message = refusal(&index);
        assert!(message.contains(what), "{content}: {message}");
    }
}

/// The report: a `.bin` in shards, as Hugging Face saves large models, was "no weights in this folder".
#[test]
fn pytorch_shards_are_gathered() {
    use crate::torch_file::test_pickles::{archive, floats, state_dict, tensor_of};
    let folder = Folder::new("torch-shards");
    for (file, name) in [("pytorch_model-00001-of-00002.bin", "a"), ("pytorch_model-00002-of-00002.bin", "b")]
    {
        let pickled =
            state_dict(&[(name, tensor_of("0", 1)), (&format!("{name}.unlisted"), tensor_of("0", 1))]);
        fs::write(folder.0.join(file), archive(&[("data.pkl", &pickled), ("data/0", &floats(&[1.5]))]))
            .unwrap();
    }
    let index = r#"{"metadata":{"total_size":8},"weight_map":{"a":"pytorch_model-00001-of-00002.bin",
        "b":"pytorch_model-00002-of-00002.bin"}}"#;
    fs::write(folder.0.join("pytorch_model.bin.index.json"), index).unwrap();
    let checkpoint = Checkpoint::open(&folder.0).unwrap();
    assert_eq!(checkpoint.names(), ["a", "a.unlisted", "b", "b.unlisted"], "nothing is left out in silence");
    assert_eq!(checkpoint.tensor("b", &[1]).unwrap().to_f32_vec().unwrap(), [1.5]);
}
