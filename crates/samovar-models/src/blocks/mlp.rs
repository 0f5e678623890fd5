//! Multi-layer perceptrons: the two-layer one of transformer blocks, and SAM's heads with ReLU between layers.

use samovar_tensor::{Activation, Device, Epilogue, Linear, Tensor};

use super::loader::Loader;
use crate::error::Result;

/// `lin2(act(lin1(x))) + residual`
pub(crate) struct Mlp {
    lin1: Linear,
    lin2: Linear,
    activation: Activation,
}

impl Mlp {
    /// `names` are those of the two layers: `lin1`, `lin2` in SAM, `fc1`, `fc2` in TinyViT.
    pub(crate) fn load(
        loader: &Loader,
        names: [&str; 2],
        channels: usize,
        hidden: usize,
        activation: Activation,
    ) -> Result<Self> {
        let lin1 = loader.linear(names[0], channels, hidden)?;
        let lin2 = loader.linear(names[1], hidden, channels)?;
        Ok(Self { lin1, lin2, activation })
    }

    /// The same of layers without biases.
    pub(crate) fn load_without_biases(
        loader: &Loader,
        names: [&str; 2],
        channels: usize,
        hidden: usize,
        activation: Activation,
    ) -> Result<Self> {
        let lin1 = loader.linear_without_bias(names[0], channels, hidden)?;
        let lin2 = loader.linear_without_bias(names[1], hidden, channels)?;
        Ok(Self { lin1, lin2, activation })
    }

    /// Of layers that are loaded already.
    pub(crate) fn of([lin1, lin2]: [Linear; 2], activation: Activation) -> Self {
        Self { lin1, lin2, activation }
    }

    /// `residual + scale · (lin2(act(lin1(x))))`, where the scale `[channels]` goes into the second layer.
    pub(crate) fn load_scaled(
        loader: &Loader,
        names: [&str; 2],
        scale: &str,
        channels: usize,
        hidden: usize,
        activation: Activation,
    ) -> Result<Self> {
        let lin1 = loader.linear(names[0], channels, hidden)?;
        let scale = loader.raw(scale, &[channels])?;
        let layer = loader.at(names[1]);
        let _copies = loader.copies(3, channels * hidden)?;
        let (weight, bias) = (layer.weight("weight", &[channels, hidden])?, layer.raw("bias", &[channels])?);
        let factors: Vec<f64> = match loader.device.is_shape_only() {
            true => vec![1.0; channels],
            false => scale.to_f32_vec()?.into_iter().map(f64::from).collect(),
        };
        let (weight, bias) = (weight.scale_rows(&factors)?, bias.scale_rows(&factors)?);
        Ok(Self { lin1, lin2: loader.device.load_linear(&weight, Some(&bias))?, activation })
    }

    /// Takes `x` by value, so that it is gone at the widest moment.
    pub(crate) fn forward(&self, device: &Device, x: Tensor, residual: &Tensor) -> Result<Tensor> {
        let hidden = device.linear(&x, &self.lin1, &Epilogue::act(self.activation))?;
        drop(x);
        Ok(device.linear(&hidden, &self.lin2, &Epilogue::add(residual))?)
    }
}

/// Fully connected layers with ReLU between them.
pub(crate) struct Head {
    layers: Vec<Linear>,
    last: Activation,
}

/// Dimensions of a [`Head`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadConfig {
    pub(crate) inputs: usize,
    pub(crate) hidden: usize,
    pub(crate) outputs: usize,
    /// Number of layers, at least 2.
    pub(crate) depth: usize,
    /// After the last layer.
    pub(crate) last: Activation,
}

impl Head {
    /// Layers called `proj_in`, `layers.0`, …, `proj_out`, as SAM's.
    pub(crate) fn load(loader: &Loader, config: HeadConfig) -> Result<Self> {
        let within = (0..config.depth.saturating_sub(2)).map(|i| format!("layers.{i}"));
        let names = ["proj_in".to_owned()].into_iter().chain(within).chain(["proj_out".to_owned()]);
        Self::of_layers(loader, config, names)
    }

    /// Layers called `layers.0`, `layers.1`, …, as DETR's.
    pub(crate) fn load_numbered(loader: &Loader, config: HeadConfig) -> Result<Self> {
        Self::of_layers(loader, config, (0..config.depth).map(|i| format!("layers.{i}")))
    }

    fn of_layers(
        loader: &Loader,
        HeadConfig { inputs, hidden, outputs, depth, last }: HeadConfig,
        names: impl Iterator<Item = String>,
    ) -> Result<Self> {
        let layer = |(i, name): (usize, String)| {
            let inputs = if i == 0 { inputs } else { hidden };
            loader.linear(&name, inputs, if i + 1 == depth { outputs } else { hidden })
        };
        Ok(Self { layers: names.enumerate().map(layer).collect::<Result<_>>()?, last })
    }

    pub(crate) fn forward(&self, device: &Device, x: &Tensor) -> Result<Tensor> {
        self.forward_then_add(device, x, None)
    }

    /// The same with something added to the result.
    pub(crate) fn forward_then_add(
        &self,
        device: &Device,
        x: &Tensor,
        added: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let epilogue = match added {
                _ if i + 1 < self.layers.len() => Epilogue::act(Activation::Relu),
                None => Epilogue::act(self.last),
                Some(added) => Epilogue::act_then_add(self.last, added),
            };
            x = device.linear(&x, layer, &epilogue)?;
        }
        Ok(x)
    }
}
