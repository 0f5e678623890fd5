//! Endings of products: bias, activation and residual as shaders take them.

use samovar_tensor::{Activation, Epilogue, Result, Tensor};

use crate::backend::{Backend, word};
use crate::operand::Operand;

/// An ending with its operands.
pub(super) struct Ending {
    pub(super) bias: Operand,
    pub(super) residual: Operand,
    residual_len: usize,
    choices: [(&'static str, u32); 3],
}

impl Ending {
    pub(super) fn of(backend: &Backend, bias: Option<&Tensor>, epilogue: &Epilogue) -> Result<Self> {
        let residual = epilogue.residual;
        let how = match residual {
            None => 0,
            Some(residual) if residual.before_activation => 1,
            Some(_) => 2,
        };
        Ok(Self {
            bias: backend.optional(bias)?,
            residual: backend.optional(residual.map(|residual| residual.tensor))?,
            residual_len: residual.map_or(1, |residual| residual.tensor.shape().len()),
            choices: [
                ("ACT", activation(epilogue.activation)),
                ("BIAS", u32::from(bias.is_some())),
                ("RESIDUAL", how),
            ],
        })
    }

    /// ACT, BIAS and RESIDUAL of shaders.
    pub(super) fn choices(&self) -> [(&'static str, u32); 3] {
        self.choices
    }

    /// `bias_first`, `residual_first` and `residual_len` of shaders.
    pub(super) fn params(&self) -> [u32; 3] {
        [self.bias.first, self.residual.first, word(self.residual_len)]
    }
}

/// ACT of shaders.
pub(super) fn activation(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 2,
        Activation::Gelu => 3,
        Activation::Sigmoid => 4,
        Activation::Silu => 5,
    }
}
