//! What all operators share: the device, its shaders, scratch memory, and the way to a launch.

use std::sync::{Arc, OnceLock};

use bytemuck::cast_slice;
use samovar_tensor::{Error, Result, Tensor};
use wgpu::{BindGroupDescriptor, BindGroupEntry};

use crate::gpu::Gpu;
use crate::memory::{WgpuBlock, WgpuMemory};
use crate::operand::Operand;
use crate::pipelines::Pipelines;
use crate::source::{Choices, Shader};

/// Bytes of scratch memory: products with relative positions, statistics of rows. Work that needs more is cut.
pub(crate) const SCRATCH_BYTES: u64 = 32 << 20;

/// Workgroups along a side of a launch, on every card.
const MOST_GROUPS: u64 = 65_535;

/// What operators share.
pub(crate) struct Backend {
    pub(crate) memory: Arc<WgpuMemory>,
    pipelines: Pipelines,
    scratch: OnceLock<Arc<WgpuBlock>>,
    /// Stands for operands that a launch does not have.
    nothing: Arc<WgpuBlock>,
}

impl Backend {
    /// `None` where there is not even memory for nothing.
    pub(crate) fn new(gpu: Gpu) -> Option<Self> {
        let memory = Arc::new(WgpuMemory::new(Arc::new(gpu)));
        let nothing = Arc::new(memory.block(256)?);
        Some(Self { memory, pipelines: Pipelines::default(), scratch: OnceLock::new(), nothing })
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.memory.gpu
    }

    pub(crate) fn operand(&self, tensor: &Tensor) -> Result<Operand> {
        Operand::of(self.gpu(), tensor)
    }

    pub(crate) fn nothing(&self) -> Operand {
        Operand::whole(&self.nothing)
    }

    /// An operand that may be absent.
    pub(crate) fn optional(&self, tensor: Option<&Tensor>) -> Result<Operand> {
        tensor.map_or_else(|| Ok(self.nothing()), |tensor| self.operand(tensor))
    }

    /// The scratch memory. Launches that use it follow each other, as all do.
    pub(crate) fn scratch(&self) -> Result<Operand> {
        if let Some(scratch) = self.scratch.get() {
            return Ok(Operand::whole(scratch));
        }
        let budget_bytes = self.gpu().budget_bytes();
        let made = self.memory.block(SCRATCH_BYTES).ok_or(Error::OutOfMemory {
            needed_bytes: SCRATCH_BYTES as usize,
            available_bytes: budget_bytes.saturating_sub(self.gpu().taken_bytes()) as usize,
            budget_bytes: budget_bytes as usize,
        })?;
        Ok(Operand::whole(self.scratch.get_or_init(|| Arc::new(made))))
    }

    /// Launches a shader: `params` are those of the shader after the first three, `groups` the workgroups it takes; the last
    /// operand is written.
    pub(crate) fn launch(
        &self,
        shader: Shader,
        choices: &Choices,
        operands: &[&Operand],
        params: &[u32],
        groups: u64,
        operations: u64,
    ) -> Result<()> {
        if groups == 0 {
            return Ok(());
        }
        let gpu = self.gpu();
        debug_assert_eq!(
            (operands.len(), params.len() + 3),
            (shader.inputs() + 1, shader.params()),
            "{shader:?}"
        );
        let grid_x = groups.min(MOST_GROUPS);
        let grid_y = groups.div_ceil(grid_x);
        if grid_y > MOST_GROUPS {
            return Err(gpu.failure(format!("{groups} workgroups of {shader:?} are more than a launch has")));
        }
        let mut words = [0u32; 32];
        words[..2].copy_from_slice(&[grid_x as u32, groups as u32]);
        let len = 3 + params.len();
        words[3..len].copy_from_slice(params);
        let pipeline = self.pipelines.get(gpu, shader, choices)?;
        let mut entries = [const { None }; 8];
        for (binding, (entry, operand)) in entries.iter_mut().zip(operands).enumerate() {
            *entry = Some(BindGroupEntry { binding: binding as u32, resource: operand.binding() });
        }
        let entries: Vec<BindGroupEntry> = entries.into_iter().flatten().collect();
        let descriptor = BindGroupDescriptor { label: None, layout: &pipeline.layout, entries: &entries };
        let group = gpu.device.create_bind_group(&descriptor);
        gpu.launch(operations, |pass| {
            pass.set_pipeline(&pipeline.compute);
            pass.set_bind_group(0, &group, &[]);
            pass.set_immediates(0, cast_slice(&words[..len]));
            pass.dispatch_workgroups(grid_x as u32, grid_y as u32, 1);
        })
    }

    /// Launches a shader with one invocation for each of so many numbers.
    pub(crate) fn launch_each(
        &self,
        shader: Shader,
        choices: &Choices,
        operands: &[&Operand],
        params: &[u32],
        numbers: usize,
    ) -> Result<()> {
        if u32::try_from(numbers).is_err() {
            return Err(self
                .gpu()
                .failure(format!("{numbers} numbers of {shader:?} are more than a launch has")));
        }
        self.launch(shader, choices, operands, params, numbers.div_ceil(256) as u64, numbers as u64)
    }
}

/// A size as shaders take it. Sizes are those of operands, which are smaller than this.
pub(crate) fn word(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
