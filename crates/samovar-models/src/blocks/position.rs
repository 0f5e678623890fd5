//! Positions as random Fourier features, shared by image and prompts.

use samovar_tensor::{Device, Tensor};

use super::loader::Loader;
use crate::error::Result;

pub(crate) struct PositionEncoding {
    gaussian: Tensor,
}

impl PositionEncoding {
    /// `channels` is the number of features: as many sines as cosines.
    pub(crate) fn load(loader: &Loader, channels: usize) -> Result<Self> {
        // The matrix is tied in transformers: a file may hold either name.
        let names = [
            "shared_image_embedding.positional_embedding",
            "prompt_encoder.shared_embedding.positional_embedding",
        ];
        let name = names.into_iter().find(|name| loader.contains(name)).unwrap_or(names[0]);
        Ok(Self { gaussian: loader.tensor(name, &[2, channels / 2])? })
    }

    /// Features of positions `[.., 2]` (x, y in 0..1).
    pub(crate) fn encode(&self, device: &Device, positions: &Tensor) -> Result<Tensor> {
        Ok(device.fourier_features(positions, &self.gaussian)?)
    }

    /// Features of the cell centres of a grid, `[1, height * width, channels]`.
    pub(crate) fn of_grid(&self, device: &Device, [height, width]: [usize; 2]) -> Result<Tensor> {
        let centres = device.upload_with([1, height * width, 2], |values| {
            for (i, position) in values.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let centre = |index: usize, cells: usize| (index as f32 + 0.5) / cells as f32;
                *position = [centre(i % width, width), centre(i / width, height)];
            }
        })?;
        self.encode(device, &centres)
    }
}
