//! Compiled shaders, each for some choices, made when they are first needed and kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use samovar_tensor::Result;
use wgpu::{
    BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType, BufferBindingType,
    ComputePipeline, ComputePipelineDescriptor, PipelineCompilationOptions, PipelineLayoutDescriptor,
    ShaderModuleDescriptor, ShaderSource, ShaderStages,
};

use crate::gpu::Gpu;
use crate::source::{Choices, Shader};

/// A compiled shader.
pub(crate) struct Pipeline {
    pub(crate) compute: ComputePipeline,
    pub(crate) layout: BindGroupLayout,
}

/// All that were needed so far.
#[derive(Default)]
pub(crate) struct Pipelines {
    made: Mutex<HashMap<Shader, Vec<Made>>>,
}

/// Choices, and what became of them. A shader has few, so they are looked through.
struct Made {
    choices: Vec<(&'static str, u32)>,
    pipeline: Arc<Pipeline>,
}

impl Pipelines {
    /// The shader for these choices.
    pub(crate) fn get(&self, gpu: &Gpu, shader: Shader, choices: &Choices) -> Result<Arc<Pipeline>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let of_shader = made.entry(shader).or_default();
        if let Some(found) = of_shader.iter().find(|one| one.choices == choices) {
            return Ok(Arc::clone(&found.pipeline));
        }
        let pipeline = Arc::new(compile(gpu, shader, choices)?);
        of_shader.push(Made { choices: choices.to_vec(), pipeline: Arc::clone(&pipeline) });
        Ok(pipeline)
    }
}

fn compile(gpu: &Gpu, shader: Shader, choices: &Choices) -> Result<Pipeline> {
    let wrong = |what: String| gpu.failure(format!("the shader {shader:?} with {choices:?}: {what}"));
    let wgsl = shader.wgsl(choices).map_err(wrong)?;
    let buffer = |binding: usize| BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer {
            ty: BufferBindingType::Storage { read_only: binding < shader.inputs() },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = (0..=shader.inputs()).map(buffer).collect();
    let device = &gpu.device;
    let made = gpu.caught(|| {
        let layout =
            device.create_bind_group_layout(&BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 4 * shader.params() as u32,
        });
        let source = ShaderModuleDescriptor { label: None, source: ShaderSource::Wgsl(Cow::Borrowed(&wgsl)) };
        let module = if gpu.bounds_checks {
            device.create_shader_module(source)
        } else {
            // SAFETY: the shaders are this crate's own. They read and write where shapes say, shapes are checked against
            // operands before every launch (`ops`), and their loops end.
            unsafe { device.create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let compute = device.create_compute_pipeline(&ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: PipelineCompilationOptions {
                constants: &[],
                // All of it is written before it is read.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { compute, layout }
    });
    made.map_err(|error| wrong(error.to_string()))
}
