//! What SAM-HQ adds to SAM (Ke et al. 2023, "Segment Anything in High Quality"; upstream `mask_decoder_hq.py`): features of
//! an early map and of the embedding, fused once per image, and in the decoder a token whose mask is added to every other.

use samovar_tensor::{
    Activation, Conv2d, Conv2dGeometry, ConvTranspose2d, Device, Epilogue, LayerNorm, Tensor,
};

use super::loader::Loader;
use super::mlp::{Head, HeadConfig};
use crate::error::{Error, Result};
use crate::interface::ImageFeatures;

/// Of all norms here; no configuration says another.
const EPSILON: f32 = 1e-6;

/// Layers of the head that makes the mask vector.
const HEAD_DEPTH: usize = 3;

/// Dimensions of [`HqFeatures`] and [`HqMask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HqConfig {
    /// Of the embedding and of the decoder.
    pub(crate) channels: usize,
    /// Of the early map: `vit_dim`.
    pub(crate) early_channels: usize,
    /// After the first and the second doubling of the embedding, and of the map that masks are made of.
    pub(crate) upscale_channels: [usize; 2],
}

/// The part that sees the image alone.
pub(crate) struct HqFeatures {
    early: Doublings,
    embedding: Doublings,
}

impl HqFeatures {
    /// From the weights of the mask decoder.
    pub(crate) fn load(loader: &Loader, config: HqConfig) -> Result<Self> {
        let HqConfig { channels, early_channels, upscale_channels: [first, last] } = config;
        Ok(Self {
            early: Doublings::load(loader, "compress_vit", [early_channels, channels, last])?,
            embedding: Doublings::load(loader, "encoder", [channels, first, last])?,
        })
    }

    /// Features of an image. `encode` makes its embedding `[B, h, w, C]` and shows its function the early map
    /// `[B, h, w, early channels]` on the way; without `hq` that goes by unseen.
    pub(crate) fn encode(
        hq: Option<&Self>,
        device: &Device,
        encode: impl FnOnce(&mut dyn FnMut(&Tensor) -> Result<()>) -> Result<Tensor>,
    ) -> Result<ImageFeatures> {
        let mut fused = None;
        // At once, and not when the embedding is there: the early map may be three times as large.
        let embedding = encode(&mut |early| {
            if let Some(hq) = hq {
                fused = Some(hq.early.forward(device, early, &Epilogue::NONE)?);
            }
            Ok(())
        })?;
        if let Some(hq) = hq {
            let early = fused.ok_or_else(|| Error::Config("SAM-HQ: the encoder has no early map".into()))?;
            fused = Some(hq.embedding.forward(device, &embedding, &Epilogue::add(&early))?);
        }
        Ok(ImageFeatures { embedding, high_res: Vec::new(), hq: fused, is_conditioned: false })
    }
}

/// `conv2(gelu(norm(conv1(x))))`, each of which doubles the map.
struct Doublings {
    conv1: ConvTranspose2d,
    norm: LayerNorm,
    conv2: ConvTranspose2d,
}

impl Doublings {
    fn load(loader: &Loader, name: &str, [inputs, first, last]: [usize; 3]) -> Result<Self> {
        Ok(Self {
            conv1: loader.conv_transpose2d(&format!("{name}_conv1"), inputs, first, 2)?,
            norm: loader.layer_norm(&format!("{name}_norm"), first, EPSILON)?,
            conv2: loader.conv_transpose2d(&format!("{name}_conv2"), first, last, 2)?,
        })
    }

    fn forward(&self, device: &Device, x: &Tensor, epilogue: &Epilogue) -> Result<Tensor> {
        let mut x = device.conv_transpose2d(x, &self.conv1, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.norm, Activation::Gelu)?;
        Ok(device.conv_transpose2d(&x, &self.conv2, epilogue)?)
    }
}

/// The part of the decoder: the mask of the token `hq_token`.
pub(crate) struct HqMask {
    head: Head,
    conv1: Conv2d,
    norm: LayerNorm,
    conv2: Conv2d,
}

impl HqMask {
    /// From the weights of the mask decoder.
    pub(crate) fn load(loader: &Loader, config: HqConfig) -> Result<Self> {
        let HqConfig { channels, upscale_channels: [first, last], .. } = config;
        let (inputs, hidden, outputs) = (channels, channels, last);
        let head = HeadConfig { inputs, hidden, outputs, depth: HEAD_DEPTH, last: Activation::Identity };
        let same = Conv2dGeometry::same(3);
        Ok(Self {
            head: Head::load(&loader.at("hq_mask_mlp"), head)?,
            conv1: loader.conv2d("mask_conv1", last, first, same, true)?,
            norm: loader.layer_norm("mask_norm", first, EPSILON)?,
            conv2: loader.conv2d("mask_conv2", first, last, same, true)?,
        })
    }

    /// The mask's vector `[P, 1, channels]` of its token `[P, 1, C]`.
    pub(crate) fn vector(&self, device: &Device, token: &Tensor) -> Result<Tensor> {
        self.head.forward(device, token)
    }

    /// Logits `[1, 1, height·width]` of a vector on the map `[1, height, width, channels]` that SAM's own masks are made of.
    pub(crate) fn logits(
        &self,
        device: &Device,
        map: &Tensor,
        features: &ImageFeatures,
        vector: &Tensor,
    ) -> Result<Tensor> {
        let Some(fused) = &features.hq else {
            return Err(Error::Input("features without those of SAM-HQ; of another model?".into()));
        };
        let mut x = device.conv2d(map, &self.conv1, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.norm, Activation::Gelu)?;
        x = device.conv2d(&x, &self.conv2, &Epilogue::add(fused))?;
        let [prompts, height, width, channels] = x.shape().fixed("mask decoder")?;
        let pixels = x.reshape([prompts, height * width, channels])?;
        Ok(device.matmul_transposed(vector, &pixels)?)
    }
}
