//! Every shader in every storage type, and every kernel that lowering may choose, resolves its
//! overrides, stays within WebGPU's default limits and translates for every backend. No GPU.
use ddim::{
    bench_cases::families,
    ops,
    plan::{Arithmetic, CooperativeMatrices, DeviceProfile, Target},
    shaders::{ALL, Entry, Shader},
    wgpu,
};
use naga::{
    AddressSpace, Module, ShaderStage, TypeInner,
    back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};
use std::collections::HashSet;

#[path = "../../build/prelude.rs"]
mod prelude;
use prelude::Four;

/// WebGPU's default limits.
const MAX_INVOCATIONS: u32 = 256;
const MAX_WORKGROUP_BYTES: u32 = 16 << 10;
const MAX_STORAGE_BUFFERS: usize = 8;

/// How activations, weights and what is always f32 are stored, and what is multiplied.
const STORAGES: [[Four; 4]; 8] = [
    [Four::F32, Four::F32, Four::F32, Four::F32],
    [Four::F16, Four::F32, Four::F32, Four::F32],
    [Four::F32, Four::F16, Four::F32, Four::F32],
    [Four::F16, Four::F16, Four::F32, Four::F32],
    [Four::F16, Four::F16, Four::F32, Four::F16],
    [Four::PackedF16, Four::Bf16, Four::F32, Four::F32],
    [Four::Bf16, Four::PackedF16, Four::PairedF32, Four::F32],
    [Four::PairedF32, Four::PairedF32, Four::PairedF32, Four::F32],
];

type Constants = Vec<(&'static str, f64)>;

#[test]
fn every_variant_fits_the_default_limits_and_translates() {
    assert!(!ALL.is_empty());
    let mut failed = Vec::new();
    for shader in ALL {
        for storages in STORAGES {
            let source = variant(shader, storages);
            let (module, info) = accept(&source).expect("the build script accepted it");
            for entry in shader.entries {
                for present in presences(entry) {
                    let constants = [shader.overrides.to_vec(), present].concat();
                    let bindings = check(&module, &info, entry.name, &constants);
                    if bindings != Ok(entry.bindings) {
                        let named = format!("{}.{} {constants:?}", shader.name, entry.name);
                        failed.push(format!("{named} {storages:?}: {bindings:?}"));
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_kernel_that_lowering_may_choose_translates() {
    let (mut seen, mut failed) = (HashSet::new(), Vec::new());
    for case in ops::cases() {
        for case in case.storages() {
            for target in targets() {
                let graph = case.graph().expect("the op takes its own cases");
                for family in families(&graph, &target) {
                    for dispatch in family.plan.expect("it fits").dispatches() {
                        let kernel = &dispatch.kernel;
                        if !seen.insert(kernel.to_string()) {
                            continue;
                        }
                        let result = accept(&kernel.wgsl()).and_then(|(module, info)| {
                            check(&module, &info, &kernel.entry, &kernel.overrides)
                        });
                        if result != Ok(dispatch.bindings.len()) {
                            failed.push(format!("{} as {kernel}: {result:?}", case.title()));
                        }
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for shader in ALL {
        for entry in shader.entries {
            let name = format!("{}.{}", shader.name, entry.name);
            // No op: one measures the device, the other follows what callers' own kernels wrote.
            if ["roofline", "pads"].contains(&shader.name) {
                continue;
            }
            let seen = seen.iter().any(|k| k.split(' ').next() == Some(name.as_str()));
            assert!(seen, "no case of any op lowers to {name}");
        }
    }
}

#[test]
fn a_misspelt_override_is_refused() {
    let shader = ALL.iter().find(|shader| !shader.overrides.is_empty()).expect("some have one");
    let (module, info) = accept(&variant(shader, [Four::F32; 4])).expect("the build accepted it");
    let (name, value) = shader.overrides[0];
    let entry = shader.entries[0].name;
    assert!(resolve(&module, &info, entry, &[(name, value)]).is_ok());
    let misspelt = format!("{name}S");
    let error = check(&module, &info, entry, &[(&misspelt, value)]).expect_err("no such override");
    assert!(error.contains(&misspelt), "{error}");
}

#[test]
fn a_workgroup_past_the_limit_is_refused() {
    let source = "override WIDTH: u32 = 256u; override BYTES: u32 = 4096u;
        var<workgroup> scratch: array<u32, BYTES>;
        @compute @workgroup_size(WIDTH) fn forward() { scratch[0] = 1u; }";
    let (module, info) = accept(source).expect("well-formed");
    assert_eq!(check(&module, &info, "forward", &[]), Ok(0));
    for past in [("WIDTH", 257.0), ("BYTES", 4097.0)] {
        assert!(check(&module, &info, "forward", &[past]).is_err(), "{past:?}");
    }
}

#[test]
fn the_noop_device_makes_every_pipeline() {
    let device = noop_device();
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    for shader in ALL {
        for storages in STORAGES {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(shader.name),
                source: wgpu::ShaderSource::Wgsl(variant(shader, storages).into()),
            });
            for entry in shader.entries {
                let _ = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(entry.name),
                    layout: None,
                    module: &module,
                    entry_point: Some(entry.name),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants: shader.overrides,
                        zero_initialize_workgroup_memory: false,
                    },
                    cache: None,
                });
            }
        }
    }
    let error = pollster::block_on(scope.pop());
    assert!(error.is_none(), "{error:?}");
}

/// Without subgroups, and with each size that the crate uses, on CPUs and GPUs; and a GPU that computes products in f16
/// and whose registers hold every tile.
fn targets() -> Vec<Target> {
    let subgroups = [None, Some(4), Some(8), Some(16)];
    let targets = subgroups.into_iter().flat_map(|subgroup| {
        [DeviceProfile::default(), DeviceProfile::SOFTWARE].map(|profile| {
            let int64 = profile.is_software();
            Target { subgroup, profile, f16: true, int64, ..Target::default() }
        })
    });
    let profile = DeviceProfile { vendor: 0x10de, ..DeviceProfile::default() };
    let arithmetic = Arithmetic::Mixed;
    let mixed = Target { profile, f16: true, arithmetic, ..Target::default() };
    // Matrices in workgroups of each size, with f16 and without a type of it in storage.
    let matrices = [(8, 8, true), (8, 32, true), (16, 32, false), (16, 64, true)];
    let matrices = matrices.map(|(edge, subgroup, f16)| {
        let cooperative_matrices = Some(CooperativeMatrices { edge, subgroup });
        Target { cooperative_matrices, f16, ..Target::default() }
    });
    targets.chain([mixed]).chain(matrices).collect()
}

/// The complete WGSL with the default tiles.
fn variant(shader: &Shader, storages: [Four; 4]) -> String {
    prelude::complete(shader.source, storages, shader.tiles.iter().copied())
}

/// No optional operand, all of them, and each alone.
fn presences(entry: &Entry) -> Vec<Constants> {
    let given = |chosen: &dyn Fn(usize) -> bool| -> Constants {
        let names = entry.optional.iter().enumerate();
        names.map(|(index, name)| (*name, f64::from(chosen(index)))).collect()
    };
    let mut presences = vec![given(&|_| false), given(&|_| true)];
    presences.extend((0..entry.optional.len()).map(|only| given(&|index| index == only)));
    presences
}

/// What naga makes of WGSL.
fn accept(source: &str) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let capabilities = Capabilities::SHADER_FLOAT16
        | Capabilities::SHADER_INT64
        | Capabilities::SUBGROUP
        | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    Ok((module, info.map_err(|error| error.emit_to_string(source))?))
}

type Resolved<'a> = (std::borrow::Cow<'a, Module>, std::borrow::Cow<'a, ModuleInfo>);

/// The entry point alone, its overrides made constants.
fn resolve<'a>(
    module: &'a Module,
    info: &'a ModuleInfo,
    entry: &str,
    constants: &[(&str, f64)],
) -> Result<Resolved<'a>, String> {
    let constants: PipelineConstants =
        constants.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let entry = Some((ShaderStage::Compute, entry));
    process_overrides(module, info, entry, &constants).map_err(|error| error.to_string())
}

/// Resolves an entry point, holds it against the limits and translates it; the number of its
/// storage buffers.
fn check(
    module: &Module,
    info: &ModuleInfo,
    entry: &str,
    constants: &[(&str, f64)],
) -> Result<usize, String> {
    let (module, info) = resolve(module, info, entry, constants)?;
    let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
    if invocations > MAX_INVOCATIONS {
        return Err(format!("{invocations} invocations"));
    }
    let variables = || module.global_variables.iter().map(|(_, variable)| variable);
    let bytes: u32 = variables()
        .filter(|variable| variable.space == AddressSpace::WorkGroup)
        .map(|variable| module.types[variable.ty].inner.size(module.to_ctx()).next_multiple_of(16))
        .sum();
    if bytes > MAX_WORKGROUP_BYTES {
        return Err(format!("{bytes} bytes of workgroup memory"));
    }
    let buffers = variables().filter(|v| matches!(v.space, AddressSpace::Storage { .. })).count();
    if buffers > MAX_STORAGE_BUFFERS {
        return Err(format!("{buffers} storage buffers"));
    }
    translate(&module, &info, entry)?;
    Ok(buffers)
}

/// To SPIR-V, MSL and HLSL.
fn translate(module: &Module, info: &ModuleInfo, entry: &str) -> Result<(), String> {
    let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
    let pipeline =
        spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.to_owned() };
    spv::write_vec(module, info, &options, Some(&pipeline)).map_err(|e| format!("SPIR-V: {e}"))?;

    let options = msl::Options { lang_version: (2, 4), ..msl::Options::default() };
    let (_, names) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())
        .map_err(|error| format!("MSL: {error}"))?;
    names.entry_point_names[0].as_ref().map_err(|error| format!("MSL: {error}"))?;

    // HLSL has no such matrices, and no adapter of DX12 lists any.
    let is_matrix = |ty: &naga::Type| matches!(ty.inner, TypeInner::CooperativeMatrix { .. });
    if module.types.iter().any(|(_, ty)| is_matrix(ty)) {
        return Ok(());
    }
    // 6.2 is the first shader model with f16; subgroups need 6.0.
    let options =
        hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..hlsl::Options::default() };
    let mut text = String::new();
    let names = hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
        .write(module, info, None)
        .map_err(|error| format!("HLSL: {error}"))?;
    names.entry_point_names[0].as_ref().map_err(|error| format!("HLSL: {error}"))?;
    // naga writes a function for each type that has a name of its own: an alias gives one twice.
    let mut known = HashSet::new();
    let mut defined = text.lines().filter(|line| line.ends_with("() {"));
    defined.find(|line| !known.insert(*line)).map_or(Ok(()), |twice| {
        Err(format!("HLSL: defined twice: {}", twice.trim_end_matches(" {")))
    })
}

/// A device that validates and computes nothing.
fn noop_device() -> wgpu::Device {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop.enable = true;
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()));
    let features = wgpu::Features::SHADER_F16
        | wgpu::Features::SHADER_INT64
        | wgpu::Features::SUBGROUP
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    #[expect(unsafe_code, reason = "one of the features is experimental")]
    // SAFETY: the device computes nothing.
    let experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
    let descriptor = wgpu::DeviceDescriptor {
        required_features: features,
        experimental_features,
        ..Default::default()
    };
    let device = adapter.map(|adapter| pollster::block_on(adapter.request_device(&descriptor)));
    device.expect("the noop adapter is compiled in").expect("it has every feature").0
}
