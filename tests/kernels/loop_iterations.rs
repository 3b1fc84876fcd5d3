//! The iterations that kernels state, held against what a driver counts, and what lowering makes
//! of shapes that need more than a driver gives.
use crate::common::support;
use ddim::{
    Error,
    bench_cases::families,
    error::LoweringError,
    gpu::Gpu,
    graph::Graph,
    ops::{self, GroupNorm, MeanLoss},
    passes,
    plan::{Access, DeviceProfile, Dispatch, MAX_ITERATIONS, Plan, Target},
    value::TensorType,
    wgpu::{self, util::DeviceExt},
};
use std::{collections::HashMap, sync::Mutex, thread};

/// Turns of the loop that uses up what a driver has left: more than it gives.
const PROBED: u32 = 70_000;

/// What stands behind the text of a kernel: where the probe leaves its count. The length of the
/// array keeps compilers from knowing the loop's end.
const FOUND: &str = "
@group(1) @binding(0) var<storage, read_write> found: array<atomic<u32>>;
";

/// The kernel with a loop at its end that counts up to the driver's limit or to [`PROBED`].
fn probed(dispatch: &Dispatch) -> String {
    let text = dispatch.kernel.wgsl();
    let start = text.find(&format!("fn {}(", dispatch.kernel.entry)).expect("the entry point");
    let end = start + text[start..].find("\n}").expect("its end") + 1;
    let loops = format!(
        "{{ var n = 0u;
            for (; n < {PROBED}u * arrayLength(&found); ) {{ n++; }}
            atomicMax(&found[0], {PROBED}u - n + 1u); }}\n"
    );
    [&text[..end], &loops, &text[end..], FOUND].concat()
}

/// What a probe found.
enum Count {
    /// No invocation came to the kernel's end: of zeros some make nothing.
    Unreached,
    /// The driver ends no loop early.
    Unlimited,
    /// Iterations that the driver had counted at the kernel's end, the most of any invocation.
    Iterations(u64),
}

/// What the driver counts of this dispatch on operands of zeros, compiled as release builds do.
fn counted(gpu: &Gpu, dispatch: &Dispatch, types: &[TensorType]) -> Count {
    let device = gpu.device();
    let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
    let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let buffer = |bytes: u64, usage| {
        let size = bytes.next_multiple_of(16);
        let mapped_at_creation = false;
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation,
        })
    };
    let params = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: None,
        contents: &dispatch.params,
        usage: wgpu::BufferUsages::UNIFORM,
    });
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
    let mut buffers = vec![(0, params)];
    for bound in &dispatch.bindings {
        let bytes = bound.value.map_or(16, |value| types[value.index()].bytes());
        entries.push(entry(bound.binding, storage(bound.access == Access::Read)));
        buffers.push((bound.binding, buffer(bytes, wgpu::BufferUsages::STORAGE)));
    }
    let found = buffer(4, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let read = buffer(4, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let bind = |entries: &[wgpu::BindGroupLayoutEntry], buffers: &[(u32, wgpu::Buffer)]| {
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries };
        let layout = device.create_bind_group_layout(&descriptor);
        let resource = |(binding, buffer): &(u32, wgpu::Buffer)| (*binding, buffer.clone());
        let owned: Vec<_> = buffers.iter().map(resource).collect();
        let entries: Vec<_> = owned
            .iter()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let descriptor =
            wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
        let group = device.create_bind_group(&descriptor);
        (layout, group)
    };
    let (own_layout, own) = bind(&entries, &buffers);
    // The array is as long as one number: `found` is a buffer of 16 bytes, bound in part.
    let probe_entries = [entry(0, storage(false))];
    let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &probe_entries };
    let probe_layout = device.create_bind_group_layout(&descriptor);
    let part = wgpu::BufferBinding { buffer: &found, offset: 0, size: wgpu::BufferSize::new(4) };
    let probe = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &probe_layout,
        entries: &[wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(part),
        }],
    });
    let source = wgpu::ShaderSource::Wgsl(probed(dispatch).into());
    let descriptor = wgpu::ShaderModuleDescriptor { label: None, source };
    let checks = wgpu::ShaderRuntimeChecks::unchecked();
    #[expect(unsafe_code, reason = "without run-time checks drivers unroll more loops")]
    // SAFETY: a kernel of this crate on buffers of the types that it was lowered for, all zero;
    // the loop behind it ends, and writes its one number.
    let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&own_layout), Some(&probe_layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: Some(&layout),
        module: &module,
        entry_point: Some(&dispatch.kernel.entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &dispatch.kernel.overrides,
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &own, &[]);
        pass.set_bind_group(1, &probe, &[]);
        let [x, y, z] = dispatch.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
    encoder.copy_buffer_to_buffer(&found, 0, &read, 0, 4);
    gpu.queue().submit([encoder.finish()]);
    read.slice(..).map_async(wgpu::MapMode::Read, |result| result.expect("it maps"));
    device.poll(wgpu::PollType::wait_indefinitely()).expect("the device answers");
    let view = read.slice(..4).get_mapped_range().expect("mapped");
    let found = u64::from(u32::from_le_bytes(view[..4].try_into().expect("four bytes")));
    match found.checked_sub(1) {
        None => Count::Unreached,
        Some(0) => Count::Unlimited,
        Some(missing) => Count::Iterations(missing - (u64::from(PROBED) - MAX_ITERATIONS)),
    }
}

/// Of every entry point with its register tiles, the dispatch of all cases that states the most
/// iterations; of several, that of the smallest grid, for each invocation runs the probe.
fn longest(gpu: &Gpu) -> Vec<(Dispatch, Vec<TensorType>, String)> {
    let mut longest: HashMap<String, (Dispatch, Vec<TensorType>, String)> = HashMap::new();
    for case in ops::cases() {
        let graph = case.graph().expect("the op takes its own cases");
        for family in families(&graph, gpu.target()) {
            let plan = family.plan.expect("it fits");
            for dispatch in plan.all().filter(|dispatch| dispatch.iterations > 0) {
                let kernel = &dispatch.kernel;
                let tiled = format!("{}.{} {:?}", kernel.shader, kernel.entry, kernel.tiles);
                let workgroups =
                    |of: &Dispatch| of.workgroups.iter().map(|&n| u64::from(n)).product();
                let rank =
                    |of: &Dispatch| (of.iterations, std::cmp::Reverse::<u64>(workgroups(of)));
                let known = longest.get(&tiled);
                if known.is_none_or(|(known, ..)| rank(known) < rank(dispatch)) {
                    longest.insert(tiled, (dispatch.clone(), plan.types.clone(), case.title()));
                }
            }
        }
    }
    longest.into_values().collect()
}

/// On lavapipe 22.3.6 the count is the driver's own: it has its 65,535 less those at the probe.
#[test]
fn no_driver_counts_more_iterations_than_a_kernel_states() {
    let Some(gpu) = support::gpu() else { return };
    let all = longest(&gpu);
    let kernels = all.len();
    let (work, failed, seen) = (Mutex::new(all), Mutex::new(Vec::new()), Mutex::new([0; 2]));
    let next = || work.lock().expect("no thread panicked").pop();
    let count = || {
        while let Some((dispatch, types, title)) = next() {
            let found = counted(&gpu, &dispatch, &types);
            let mut seen = seen.lock().expect("no thread panicked");
            match found {
                Count::Unreached => {}
                Count::Unlimited => seen[0] += 1,
                Count::Iterations(found) => {
                    seen[1] += 1;
                    if found > dispatch.iterations {
                        let (kernel, stated) = (&dispatch.kernel, dispatch.iterations);
                        let line =
                            format!("{kernel}: stated {stated}, counted {found} for {title}");
                        failed.lock().expect("no thread panicked").push(line);
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(count);
        }
    });
    let failed = failed.into_inner().expect("no thread panicked");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let [unlimited, limited] = seen.into_inner().expect("no thread panicked");
    println!("{limited} of {kernels} kernels end loops early on {}", gpu.info().driver_info);
    // A driver limits all kernels or none, and nearly all come to their end.
    assert!(limited == 0 || unlimited == 0, "{limited} limited, {unlimited} not");
    assert!(10 * (limited + unlimited) > 9 * kernels, "{limited} and {unlimited} of {kernels}");
}

/// The build script makes shaders with loops state their iterations; here each dispatch does.
#[test]
fn every_dispatch_with_a_loop_states_its_iterations() {
    let software = Target {
        subgroup: Some(8),
        profile: DeviceProfile::SOFTWARE,
        int64: true,
        f16: true,
        ..Target::default()
    };
    for target in [Target { f16: true, ..Target::default() }, software] {
        for case in ops::cases() {
            let graph = case.graph().expect("the op takes its own cases");
            let plan = passes::compile(&graph, &target).expect("it fits");
            for dispatch in plan.all() {
                let kernel = &dispatch.kernel;
                assert!(dispatch.iterations > 0 || !own_loops(dispatch), "{kernel}");
                assert!(dispatch.is_within_iterations(), "{kernel} {}", case.title());
            }
        }
    }
}

/// Whether the body of the entry point itself has a loop.
fn own_loops(dispatch: &Dispatch) -> bool {
    let text = &dispatch.kernel.source;
    let start = text.find(&format!("fn {}(", dispatch.kernel.entry)).expect("the entry point");
    let end = start + text[start..].find("\n}").expect("its end");
    text[start..end].contains("for (") || text[start..end].contains("while ")
}

fn compile(
    target: &Target,
    op: impl Into<ops::Op>,
    operands: &[TensorType],
) -> Result<Plan, Error> {
    let mut graph = Graph::new();
    let inputs: Vec<_> = operands.iter().map(|of| graph.input(*of)).collect();
    graph.outputs = graph.push_all(op, &inputs)?;
    passes::compile(&graph, target)
}

#[test]
fn a_kernel_that_would_need_too_many_is_refused_by_name() {
    let target = Target { max_binding: 1 << 30, ..Target::default() };
    let most = 128 * (MAX_ITERATIONS as usize - 10);
    assert!(compile(&target, MeanLoss, &[TensorType::f32(&[most])]).is_ok());
    match compile(&target, MeanLoss, &[TensorType::f32(&[most + 1])]) {
        Err(Error::Lowering(LoweringError::Iterations { kernel, iterations, .. })) => {
            assert_eq!((kernel.as_str(), iterations), ("mean_loss.forward", MAX_ITERATIONS));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_family_that_would_need_too_many_is_not_offered() {
    let target = Target {
        subgroup: Some(8),
        profile: DeviceProfile::SOFTWARE,
        max_binding: 1 << 30,
        ..Target::default()
    };
    let lanes = |height: usize| {
        let [x, parameter] = [TensorType::f32(&[1, height, 1024, 4]), TensorType::f32(&[4])];
        let op = GroupNorm { groups: 1, eps: 1e-5.into() };
        let plan = compile(&target, op, &[x, parameter, parameter]).expect("it fits");
        let fold = |dispatch: &&Dispatch| dispatch.kernel.entry == "fold";
        let fold = plan.dispatches().find(fold).expect("a fold").kernel.clone();
        fold.overrides.iter().find(|(name, _)| *name == "LANES").expect("lanes").1
    };
    // 65,280 tiles in turn, and a tree of 65,536.
    assert_eq!((lanes(1020), lanes(1024)), (1.0, 256.0));
}
