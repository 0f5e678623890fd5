//! The operator suite: one set of generated cases for every backend.

mod attention;
mod cases;
mod convolution;
mod decoder;
mod elementwise;
mod ending;
mod linear;
mod movement;
mod precision;

use std::sync::Arc;

use samovar_tensor::{Device, Kernels, Pool, Reference, Tensor};

use crate::Random;
use crate::poison::Poisoned;
use cases::{Case, Cases};

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
