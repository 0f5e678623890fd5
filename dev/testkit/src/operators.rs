//! The operator suite: one set of generated cases for every backend.

mod attention;
mod axial;
mod cases;
mod convolution;
mod decoder;
mod deformable;
mod elementwise;
mod ending;
mod linear;
mod movement;
mod precision;
mod selection;
mod silu;

use std::sync::Arc;

use samovar_tensor::{Device, Download, Kernels, Pool, Reference, ShapeOnly, Tensor};

use crate::poison::Poisoned;
use crate::{Random, Tolerance};
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
        axial::add(&mut cases);
        decoder::add(&mut cases);
        elementwise::add(&mut cases);
        movement::add(&mut cases);
        precision::add(&mut cases);
        silu::add(&mut cases);
        selection::add(&mut cases);
        deformable::add(&mut cases);
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

    /// Runs all cases on a backend in host memory.
    ///
    /// # Panics
    /// Naming all cases that failed, and how.
    pub fn check(&self, kernels: Arc<dyn Kernels>) {
        let device = Device::new(Arc::new(Poisoned(kernels)), Pool::new(usize::MAX));
        self.check_device(&device);
    }

    /// Runs all cases on a device.
    ///
    /// # Panics
    /// Naming all cases that failed, and how.
    pub fn check_device(&self, device: &Device) {
        self.check_cases(device, |case| case.tolerance);
    }

    /// The same on a device that rounds activations to the type of 16-bit weights before it multiplies them.
    ///
    /// # Panics
    /// Naming all cases that failed, and how.
    pub fn check_rounding_device(&self, device: &Device) {
        self.check_cases(device, |case| case.rounding);
    }

    fn check_cases(&self, device: &Device, tolerance: fn(&Case) -> Tolerance) {
        let name = device.name();
        let failures: Vec<_> =
            self.cases.iter().filter_map(|case| failure(device, case, tolerance(&case.0))).collect();
        let (failed, all) = (failures.len(), self.len());
        assert!(failures.is_empty(), "{name}: {failed} of {all} cases failed\n{}", failures.join("\n"));
    }

    /// Runs all cases on a backend in host memory with no more than the dry run counts for each.
    ///
    /// # Panics
    /// Naming all cases that took more.
    pub fn check_plans(&self, kernels: &Arc<dyn Kernels>) {
        let unbounded = Device::new(Arc::clone(kernels), Pool::new(usize::MAX));
        let too_little = |(case, _): &(Case, Tensor)| -> Option<String> {
            let planned = unbounded.shape_only(ShapeOnly::new());
            let run = |device: &Device| (case.call)(device, &mut Random::new(&case.name));
            let answer = run(&planned).map(drop);
            let peak_bytes = planned.pool().stats().peak_bytes;
            let exact = Device::new(Arc::clone(kernels), Pool::new(peak_bytes));
            // Twice: the second time with what the first has left.
            let answer = answer.and_then(|()| run(&exact).map(drop)).and_then(|()| run(&exact).map(drop));
            let less = Device::new(Arc::clone(kernels), Pool::new(peak_bytes - 1));
            match (answer, run(&less)) {
                (Err(error), _) => Some(format!("  {}: {error}", case.name)),
                (Ok(()), Ok(_)) => Some(format!("  {}: less than {peak_bytes} would do", case.name)),
                (Ok(()), Err(_)) => None,
            }
        };
        let failures: Vec<_> = self.cases.iter().filter_map(too_little).collect();
        let failed = failures.len();
        assert!(failures.is_empty(), "{}: {failed} plans\n{}", kernels.name(), failures.join("\n"));
    }
}

impl Default for Suite {
    fn default() -> Self {
        Self::new()
    }
}

fn failure(device: &Device, (case, expected): &(Case, Tensor), tolerance: Tolerance) -> Option<String> {
    let compare = || -> std::result::Result<(), String> {
        let found = (case.call)(device, &mut Random::new(&case.name)).map_err(|error| error.to_string())?;
        if found.shape() != expected.shape() {
            return Err(format!("shape {} instead of {}", found.shape(), expected.shape()));
        }
        let found = device.download(&found).and_then(Download::wait);
        let found = found.map_err(|error| error.to_string())?;
        let values = |tensor: &Tensor| tensor.f32().map(<[f32]>::to_vec).map_err(|error| error.to_string());
        tolerance.check(&values(expected)?, &values(&found)?)
    };
    compare().err().map(|what| format!("  {}: {what}", case.name))
}
