use std::cell::Cell;
use std::collections::BTreeSet;

use samovar_tensor::{Device, Shape, ShapeOnly, Tensor};
use samovar_weights::{Result, ShapeSource, WeightSource};

use crate::{CATALOGUE, CatalogueEntry, Model, ModelConfig};

/// Counts the numbers a model asks for.
#[derive(Default)]
struct Counting(Cell<u64>, std::cell::RefCell<BTreeSet<String>>);

impl WeightSource for Counting {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = ShapeSource.tensor(name, shape)?;
        if self.1.borrow_mut().insert(name.to_owned()) {
            self.0.set(self.0.get() + tensor.shape().len() as u64);
        }
        Ok(tensor)
    }

    fn shape(&self, _: &str) -> Option<Shape> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn origin(&self) -> String {
        "counting".into()
    }

    fn contains(&self, _: &str) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        true
    }
}

#[test]
fn every_row_has_a_configuration_of_its_family_and_size() {
    let device = Device::reference().shape_only(ShapeOnly::new());
    for entry in CATALOGUE {
        let config = ModelConfig::from_catalogue(entry.id).expect(entry.id);
        assert_eq!(config.family(), entry.family, "{}", entry.id);
        let counting = Counting::default();
        Model::load(&device, &config, &counting).expect(entry.id);
        let found = counting.0.get();
        let difference = found.abs_diff(entry.parameters) as f64 / entry.parameters as f64;
        assert!(difference < 0.005, "{}: {found} parameters, the table says {}", entry.id, entry.parameters);
    }
}

#[test]
fn names_are_unique_and_found() {
    let mut names = BTreeSet::new();
    for entry in CATALOGUE {
        let all = [entry.id]
            .into_iter()
            .chain(entry.aliases.iter().copied())
            .chain(entry.original_files.iter().copied());
        for name in all {
            assert!(names.insert(name), "`{name}` twice");
            assert_eq!(CatalogueEntry::find(name), Some(entry));
        }
    }
    assert_eq!(CatalogueEntry::find("sam_vit_b_01ec64").map(|entry| entry.id), Some("facebook/sam-vit-base"));
    assert_eq!(CatalogueEntry::find("facebook/sam-vit-tiny"), None);
}
