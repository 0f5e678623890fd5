//! Endings of products: the epilogues that cases are made with.

use samovar_tensor::{Activation, Device, Epilogue, Residual, Result, Shape, Tensor};

use crate::Random;

/// An epilogue to be made for a result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) activation: Activation,
    residual: Option<ResidualCase>,
}

/// Where a residual comes in, and how often its rows repeat.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResidualCase {
    before_activation: bool,
    /// Divides the rows of the result.
    repeats: usize,
}

pub(super) const PLAIN: Ending = Ending { activation: Activation::Identity, residual: None };

impl Ending {
    pub(super) fn act(activation: Activation) -> Self {
        Self { activation, residual: None }
    }

    pub(super) fn residual(self, before_activation: bool, repeats: usize) -> Self {
        Self { residual: Some(ResidualCase { before_activation, repeats }), ..self }
    }

    /// A mixture of endings for a result of `rows` rows.
    pub(super) fn any(random: &mut Random, rows: usize) -> Self {
        let activation = random.pick(&ACTIVATIONS);
        let repeats = (1..=rows).filter(|repeats| rows.is_multiple_of(*repeats)).collect::<Vec<_>>();
        let ending = Self::act(activation);
        match random.between(0, 2) {
            0 => ending,
            n => ending.residual(n == 1, random.pick(&repeats)),
        }
    }

    /// The tensor the residual refers to, if there is one.
    pub(super) fn tensor(
        &self,
        device: &Device,
        random: &mut Random,
        output: Shape,
    ) -> Result<Option<Tensor>> {
        let Some(residual) = self.residual else { return Ok(None) };
        random.on(device, [output.rows() / residual.repeats, output.channels()], 1.0).map(Some)
    }

    pub(super) fn epilogue<'a>(&self, tensor: &'a Option<Tensor>) -> Epilogue<'a> {
        let residual = self
            .residual
            .zip(tensor.as_ref())
            .map(|(case, tensor)| Residual { tensor, before_activation: case.before_activation });
        Epilogue { activation: self.activation, residual }
    }
}

pub(super) const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::Relu6, Activation::Gelu, Activation::Sigmoid];
