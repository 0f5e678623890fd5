//! Cases: what is called, under which name, within which tolerance.

use samovar_tensor::{Device, Result, Tensor};

use crate::{Random, Tolerance};

/// One call of one operator.
pub(super) struct Case {
    /// Operator and what is special, for the report; also the seed of its numbers.
    pub(super) name: String,
    pub(super) tolerance: Tolerance,
    /// The same on a device that rounds activations to the type of 16-bit weights.
    pub(super) rounding: Tolerance,
    pub(super) call: Call,
}

/// Prepares weights on the device and calls the operator. Must do the same on every device.
pub(super) type Call = Box<dyn Fn(&Device, &mut Random) -> Result<Tensor>>;

/// Cases being gathered.
#[derive(Default)]
pub(super) struct Cases(pub(super) Vec<Case>);

impl Cases {
    pub(super) fn add(
        &mut self,
        name: impl Into<String>,
        tolerance: Tolerance,
        call: impl Fn(&Device, &mut Random) -> Result<Tensor> + 'static,
    ) {
        self.add_rounding(name, tolerance, tolerance, call);
    }

    pub(super) fn add_rounding(
        &mut self,
        name: impl Into<String>,
        tolerance: Tolerance,
        rounding: Tolerance,
        call: impl Fn(&Device, &mut Random) -> Result<Tensor> + 'static,
    ) {
        let name = format!("case {}: {}", self.0.len(), name.into());
        self.0.push(Case { name, tolerance, rounding, call: Box::new(call) });
    }
}
