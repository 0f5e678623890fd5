//! SAM 2's neck: every stage's map to the decoder's channels, the coarse one added to the next (`FpnNeck` upstream), and
//! what the decoder does to the finer two once for all prompts (`conv_s0`, `conv_s1`).

use samovar_tensor::{Device, Epilogue, Linear, ResizeMode, Tensor};

use super::hiera::STAGES;
use super::loader::Loader;
use super::vit_block::POOL;
use crate::error::{Error, Result};

/// Dimensions of an [`Fpn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FpnConfig {
    /// Of the maps of the stages, fine to coarse.
    pub(crate) inputs: [usize; STAGES],
    pub(crate) outputs: usize,
    /// Channels of the finer maps that the decoder adds, fine to coarse.
    pub(crate) fine: [usize; 2],
}

/// One layer for each stage, fine to coarse. Those of the finer two are the neck's and the decoder's multiplied out: both are
/// linear, and the map between them is the largest of the model.
pub(crate) struct Fpn {
    laterals: [Linear; STAGES],
}

impl Fpn {
    /// `neck` and `decoder` have the weights of the neck and of the mask decoder.
    pub(crate) fn load(neck: &Loader, decoder: &Loader, config: FpnConfig) -> Result<Self> {
        let FpnConfig { inputs, outputs, fine } = config;
        // The neck counts from the coarsest.
        let conv = |stage: usize| neck.at(format!("convs.{}", STAGES - 1 - stage));
        let folded = |stage: usize, second: &str| {
            behind_each_other(&conv(stage), &decoder.at(second), [inputs[stage], outputs, fine[stage]])
        };
        let lateral = |stage: usize| conv(stage).pointwise("", inputs[stage], outputs, true);
        Ok(Self { laterals: [folded(0, "conv_s0")?, folded(1, "conv_s1")?, lateral(2)?, lateral(3)?] })
    }

    /// A stage's map, or some of its tokens, in the decoder's channels.
    pub(crate) fn lateral(&self, device: &Device, stage: usize, map: &Tensor) -> Result<Tensor> {
        Ok(device.linear(map, &self.laterals[stage], &Epilogue::NONE)?)
    }

    /// The maps of all stages, each from [`Fpn::lateral`], to the embedding and the finer maps, coarse to fine.
    pub(crate) fn join(device: &Device, maps: Vec<Tensor>) -> Result<(Tensor, Vec<Tensor>)> {
        let Ok([finest, finer, middle, coarse]) = <[Tensor; STAGES]>::try_from(maps) else {
            return Err(Error::Config("neck: not four stages".into()));
        };
        let [_, height, width, _] = coarse.shape().fixed("neck")?;
        let coarse = device.resize(&coarse, POOL * height, POOL * width, ResizeMode::Nearest)?;
        Ok((device.add(&middle, &coarse)?, vec![finer, finest]))
    }
}

/// Two 1 x 1 convolutions behind each other as one layer: `W₂ (W₁ x + b₁) + b₂`.
fn behind_each_other(
    first: &Loader,
    second: &Loader,
    [inputs, middle, outputs]: [usize; 3],
) -> Result<Linear> {
    let _copies = first.copies(2, middle * inputs + outputs * middle + outputs * inputs)?;
    let (weight_1, bias_1) =
        (first.weight("weight", &[middle, inputs, 1, 1])?, first.raw("bias", &[middle])?);
    let (weight_2, bias_2) =
        (second.weight("weight", &[outputs, middle, 1, 1])?, second.raw("bias", &[outputs])?);
    let weight = first.derived(&[outputs, inputs], || {
        let (weight_1, weight_2) = (weight_1.to_f32_vec()?, weight_2.to_f32_vec()?);
        let mut product = Vec::with_capacity(outputs * inputs);
        let mut sums = vec![0.0f64; inputs];
        for of_output in weight_2.chunks_exact(middle) {
            sums.fill(0.0);
            for (&factor, row) in of_output.iter().zip(weight_1.chunks_exact(inputs)) {
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(sum, &weight)| *sum += f64::from(factor) * f64::from(weight));
            }
            product.extend(sums.iter().map(|&sum| sum as f32));
        }
        Ok(product)
    })?;
    let bias = first.derived(&[outputs], || {
        let (weight_2, bias_1, bias_2) = (weight_2.to_f32_vec()?, bias_1.to_f32_vec()?, bias_2.to_f32_vec()?);
        let of_output = |(weights, &bias): (&[f32], &f32)| {
            let sum: f64 = weights.iter().zip(&bias_1).map(|(&w, &b)| f64::from(w) * f64::from(b)).sum();
            (sum + f64::from(bias)) as f32
        };
        Ok(weight_2.chunks_exact(middle).zip(&bias_2).map(of_output).collect())
    })?;
    Ok(first.device.load_linear(&weight, Some(&bias))?)
}
