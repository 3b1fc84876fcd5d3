//! Compiled kernels, one per variant, kept for the life of the device.
use super::{
    Gpu,
    cache::{Compiled, Text},
};
use crate::{
    error::GpuError,
    plan::{Access, Dispatch, Kernel},
};
use std::{
    borrow::Cow,
    collections::HashMap,
    num::NonZero,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// A pipeline: the kernel's printed form, and its text.
type Key = (String, Text);

impl Gpu {
    /// The pipelines of the dispatches, in their order; those that are new compile side by side. Other threads
    /// compile theirs meanwhile; where two compile the same kernel, the first to finish is kept.
    pub(super) fn compiled<'a>(
        &self,
        dispatches: impl Iterator<Item = &'a Dispatch>,
    ) -> Result<Vec<Arc<Compiled>>, GpuError> {
        let key = |dispatch: &Dispatch| {
            let text = (dispatch.kernel.wgsl(), is_unchecked(dispatch));
            (dispatch.kernel.to_string(), text)
        };
        let all: Vec<(Key, &Dispatch)> = dispatches.map(|of| (key(of), of)).collect();
        let Missing { mut modules, texts, pipelines } = self.missing(&all);
        modules.extend(in_parallel(texts, |text, dispatch| module(self, &dispatch.kernel, text))?);
        let (of, done) = (pipelines.len(), AtomicUsize::new(0));
        if of > 0 {
            self.tell_compiled(0, of);
        }
        let compiled = in_parallel(pipelines, |(_, text), dispatch| {
            let compiled = compile(self, dispatch, &modules[text])?;
            self.tell_compiled(done.fetch_add(1, Ordering::Relaxed) + 1, of);
            Ok(Arc::new(compiled))
        })?;
        if of > 0
            && let Some(file) = self.pipeline_file()
        {
            file.save();
        }
        let mut known = self.pipelines();
        known.modules.extend(modules);
        for (key, pipeline) in compiled {
            known.pipelines.entry(key).or_insert(pipeline);
        }
        Ok(all.iter().map(|(key, _)| Arc::clone(&known.pipelines[key])).collect())
    }

    fn missing<'a>(&self, all: &[(Key, &'a Dispatch)]) -> Missing<'a> {
        let known = self.pipelines();
        let mut missing = Missing::default();
        for (key, dispatch) in all.iter().filter(|(key, _)| !known.pipelines.contains_key(key)) {
            let text = key.1.clone();
            if let Some(module) = known.modules.get(&text) {
                missing.modules.insert(text, module.clone());
            } else {
                missing.texts.insert(text, *dispatch);
            }
            missing.pipelines.insert(key.clone(), *dispatch);
        }
        missing
    }
}

/// Pipelines that are not compiled yet, and what they are compiled of.
#[derive(Default)]
struct Missing<'a> {
    pipelines: HashMap<Key, &'a Dispatch>,
    /// Their modules that are compiled.
    modules: HashMap<Text, wgpu::ShaderModule>,
    /// The texts of their modules that are not.
    texts: HashMap<Text, &'a Dispatch>,
}

/// Does the work of each item on as many threads as there are processors; a browser has one.
fn in_parallel<K: Send + Sync, T: Send + Sync, R: Send>(
    items: HashMap<K, T>,
    work: impl Fn(&K, &T) -> Result<R, GpuError> + Sync,
) -> Result<Vec<(K, R)>, GpuError> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let mut items: Vec<(K, T)> = items.into_iter().collect();
    let share = items.len().div_ceil(processors).max(1);
    let each = |(key, item): (K, T)| work(&key, &item).map(|result| (key, result));
    if cfg!(target_family = "wasm") {
        return items.into_iter().map(each).collect();
    }
    thread::scope(|scope| {
        let mut threads = Vec::new();
        while !items.is_empty() {
            let part = items.split_off(items.len().saturating_sub(share));
            threads.push(scope.spawn(|| part.into_iter().map(each).collect::<Result<Vec<_>, _>>()));
        }
        let mut results = Vec::new();
        for thread in threads {
            results.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(results)
    })
}

/// Whether a kernel is compiled without run-time checks. A caller's own text keeps them; in debug builds also where
/// the caller vouches for it.
fn is_unchecked(dispatch: &Dispatch) -> bool {
    dispatch.trusted && !(dispatch.is_custom() && cfg!(debug_assertions))
}

fn module(
    gpu: &Gpu,
    kernel: &Kernel,
    (wgsl, unchecked): &Text,
) -> Result<wgpu::ShaderModule, GpuError> {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(&kernel.shader),
        source: wgpu::ShaderSource::Wgsl(Cow::Borrowed(wgsl)),
    };
    gpu.guard(&format!("compiling {}", kernel.shader), 0, || {
        if !unchecked {
            return gpu.device().create_shader_module(descriptor);
        }
        let checks = wgpu::ShaderRuntimeChecks::unchecked();
        // SAFETY: unchecked means that the text itself must keep every index inside its buffer.
        // Only a trusted dispatch comes here, and only `Lowering::push` makes one trusted, or this
        // module's own measurements: it is of this crate's WGSL and was appended by an op of this
        // crate. Its text bounds every index by its parameters, whatever the data: labels,
        // timesteps and steps are clamped to their tables. Its parameters, grid and overrides
        // follow from the types of the very values it binds and from attributes that `infer` has
        // held against these types; `compile` verifies that every equation has the types which
        // `infer` gives, none with an extent of 0 or more elements than 32 bits count. A `Plan` is
        // sealed: nobody outside this crate makes or changes one, a custom op's dispatches are
        // compiled with checks whatever they run, unless its author vouched for them by an unsafe
        // call, and the executor refuses a plan made for other subgroups. `tests/plans/limits.rs` tries attributes, extents and
        // indices at their limits and past them.
        unsafe { gpu.device().create_shader_module_trusted(descriptor, checks) }
    })
}

fn compile(
    gpu: &Gpu,
    dispatch: &Dispatch,
    module: &wgpu::ShaderModule,
) -> Result<Compiled, GpuError> {
    let buffer = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let mut entries = Vec::new();
    if !dispatch.params.is_empty() {
        entries.push(buffer(0, wgpu::BufferBindingType::Uniform));
    }
    entries.extend(dispatch.bindings.iter().map(|binding| {
        let read_only = binding.access == Access::Read;
        buffer(binding.binding, wgpu::BufferBindingType::Storage { read_only })
    }));
    let kernel = &dispatch.kernel;
    let device = gpu.device();
    gpu.guard(&format!("compiling {kernel}"), 0, || {
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&kernel.entry),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&kernel.entry),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&kernel.to_string()),
            layout: Some(&pipeline_layout),
            module,
            entry_point: Some(&kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &kernel.overrides,
                // Our kernels write their workgroup memory before they read it.
                zero_initialize_workgroup_memory: !dispatch.trusted,
            },
            cache: gpu.pipeline_file().map(|file| &file.cache),
        });
        Compiled { pipeline, layout }
    })
}
