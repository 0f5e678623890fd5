//! Files of rounded weights: a model's large weights in f16, bf16 or int8, with its configuration inside.

use std::collections::BTreeMap;
use std::path::Path;

use samovar_models::{CONFIG_KEY, Model as Network, ModelWeights, PREPROCESSOR_KEY};
use samovar_tensor::{Precision, Shape, Tensor};
use samovar_weights::{QuantiseReport, WeightSource, quantise};

use crate::error::Result;
use crate::source::ModelSource;

/// Writes a model with rounded weights to one safetensors file, whole or not at all. Loaded from there, it is the same to
/// the bit as when rounded while loading.
///
/// # Errors
/// As [`crate::Engine::load`], and when the file cannot be written.
pub fn write_rounded(source: &ModelSource, precision: Precision, path: &Path) -> Result<QuantiseReport> {
    let opened = source.open()?;
    let precisions = Network::weight_precisions(&opened.config, &opened.weights, precision)?;
    let files = [(CONFIG_KEY, opened.config_json), (PREPROCESSOR_KEY, opened.preprocessor_json)];
    let weights = WithConfig { weights: &opened.weights, files };
    Ok(quantise(&weights, precision, &precisions, path)?)
}

/// A checkpoint that knows its configuration, which lay in files of its own.
struct WithConfig<'a> {
    weights: &'a ModelWeights,
    files: [(&'static str, Option<String>); 2],
}

impl WeightSource for WithConfig<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> samovar_weights::Result<Tensor> {
        self.weights.tensor(name, shape)
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.weights.shape(name)
    }

    fn names(&self) -> Vec<String> {
        self.weights.names()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.all_metadata().remove(key)
    }

    fn all_metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.weights.all_metadata();
        let given = self.files.iter().filter_map(|(key, json)| Some(((*key).to_owned(), json.clone()?)));
        metadata.extend(given);
        metadata
    }

    fn origin(&self) -> String {
        self.weights.origin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Options, Prompt};
    use samovar_geometry::Size;
    use samovar_media::RgbImage;

    /// Rounded once in a file or at every load: the same model.
    #[test]
    fn files_of_rounded_weights_are_the_model_rounded_while_loading() {
        let folder = tempfile::tempdir().unwrap();
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dev/goldens/sam1");
        let image =
            RgbImage::from_fn(Size::new(90, 60), |x, y| [(3 * x) as u8, (4 * y) as u8, (x * y) as u8]);
        for model in ["nano", golden] {
            let source = ModelSource::resolve(model, None).unwrap();
            for precision in [Precision::F16, Precision::Bf16, Precision::Int8] {
                let file = folder.path().join("rounded.safetensors");
                let report = write_rounded(&source, precision, &file).unwrap();
                assert!(report.left_out.is_empty());
                let engine = Engine::new(Options::default()).unwrap();
                let from_file = engine.load(file.to_str().unwrap()).unwrap();
                assert_eq!(from_file.precision(), precision);
                let while_loading = engine.with_precision(precision).load_from(&source).unwrap();
                let logits = |model: &crate::Model| {
                    let answer =
                        model.embed_pixels(&image).unwrap().segment(&Prompt::default().point(40.0, 30.0));
                    answer.unwrap().best().logits().unwrap().to_vec()
                };
                assert_eq!(logits(&from_file), logits(&while_loading), "{model} in {precision}");
            }
        }
    }
}
