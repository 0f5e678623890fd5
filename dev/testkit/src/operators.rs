//! The operator suite: one set of generated cases for every backend.

mod attention;
mod convolution;
mod decoder;
mod elementwise;
mod linear;
mod movement;
mod precision;

use std::sync::Arc;

use samovar_tensor::{
    Activation, Device, Epilogue, Kernels, Pool, Reference, Residual, Result, Shape, Tensor,
};

use crate::poison::Poisoned;
use crate::{Random, Tolerance};

/// One call of one operator.
struct Case {
    /// Operator and what is special, for the report; also the seed of its numbers.
    name: String,
    tolerance: Tolerance,
    call: Call,
}

/// Prepares weights on the device and calls the operator. Must do the same on every device.
type Call = Box<dyn Fn(&Device, &mut Random) -> Result<Tensor>>;

/// All cases and what the reference answers to them.
pub struct Suite {
    cases: Vec<(Case, Tensor)>,
}

impl Suite {
    /// Generates the cases and runs them on the reference.
    ///
    /// # Panics
    /// When the reference refuses a case.
    pub fn new() -> Self {
        let mut cases = Cases::default();
        linear::add(&mut cases);
        convolution::add(&mut cases);
        attention::add(&mut cases);
        decoder::add(&mut cases);
        elementwise::add(&mut cases);
        movement::add(&mut cases);
        precision::add(&mut cases);
        let device = Device::new(Arc::new(Reference), Pool::new(usize::MAX));
        let with_answer = |case: Case| {
            let answer = (case.call)(&device, &mut Random::new(&case.name));
            let answer = answer.unwrap_or_else(|error| panic!("{}: the reference: {error}", case.name));
            (case, answer)
        };
        Self { cases: cases.0.into_iter().map(with_answer).collect() }
    }

    /// Number of cases.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Runs all cases on a backend.
    ///
    /// # Panics
    /// Naming all cases that failed, and how.
    pub fn check(&self, kernels: Arc<dyn Kernels>) {
        let name = kernels.name();
        let device = Device::new(Arc::new(Poisoned(kernels)), Pool::new(usize::MAX));
        let failures: Vec<_> = self.cases.iter().filter_map(|case| failure(&device, case)).collect();
        let (failed, all) = (failures.len(), self.len());
        assert!(failures.is_empty(), "{name}: {failed} of {all} cases failed\n{}", failures.join("\n"));
    }
}

impl Default for Suite {
    fn default() -> Self {
        Self::new()
    }
}

fn failure(device: &Device, (case, expected): &(Case, Tensor)) -> Option<String> {
    let compare = || -> std::result::Result<(), String> {
        let found = (case.call)(device, &mut Random::new(&case.name)).map_err(|error| error.to_string())?;
        if found.shape() != expected.shape() {
            return Err(format!("shape {} instead of {}", found.shape(), expected.shape()));
        }
        let values = |tensor: &Tensor| tensor.f32().map(<[f32]>::to_vec).map_err(|error| error.to_string());
        case.tolerance.check(&values(expected)?, &values(&found)?)
    };
    compare().err().map(|what| format!("  {}: {what}", case.name))
}

/// Cases being gathered.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(
        &mut self,
        name: impl Into<String>,
        tolerance: Tolerance,
        call: impl Fn(&Device, &mut Random) -> Result<Tensor> + 'static,
    ) {
        let name = format!("case {}: {}", self.0.len(), name.into());
        self.0.push(Case { name, tolerance, call: Box::new(call) });
    }
}

/// An epilogue to be made for a result.
#[derive(Debug, Clone, Copy)]
struct Ending {
    activation: Activation,
    residual: Option<ResidualCase>,
}

/// Where a residual comes in, and how often its rows repeat.
#[derive(Debug, Clone, Copy)]
struct ResidualCase {
    before_activation: bool,
    /// Divides the rows of the result.
    repeats: usize,
}

const PLAIN: Ending = Ending { activation: Activation::Identity, residual: None };

impl Ending {
    fn act(activation: Activation) -> Self {
        Self { activation, residual: None }
    }

    fn rest(self, before_activation: bool, repeats: usize) -> Self {
        Self { residual: Some(ResidualCase { before_activation, repeats }), ..self }
    }

    /// A mixture of endings for a result of `rows` rows.
    fn any(random: &mut Random, rows: usize) -> Self {
        let activation = random.pick(&ACTIVATIONS);
        let repeats = (1..=rows).filter(|repeats| rows.is_multiple_of(*repeats)).collect::<Vec<_>>();
        let ending = Self::act(activation);
        match random.between(0, 2) {
            0 => ending,
            n => ending.rest(n == 1, random.pick(&repeats)),
        }
    }

    /// The tensor the residual refers to, if there is one.
    fn tensor(&self, random: &mut Random, output: Shape) -> Option<Tensor> {
        let rest = self.residual?;
        Some(random.tensor([output.rows() / rest.repeats, output.channels()], 1.0))
    }

    fn epilogue<'a>(&self, tensor: &'a Option<Tensor>) -> Epilogue<'a> {
        let residual = self
            .residual
            .zip(tensor.as_ref())
            .map(|(rest, tensor)| Residual { tensor, before_activation: rest.before_activation });
        Epilogue { activation: self.activation, residual }
    }
}

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::Relu6, Activation::Gelu, Activation::Sigmoid];
