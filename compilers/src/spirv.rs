//! SPIR-V as wgpu makes it of a trusted kernel: no run-time checks, workgroup memory not zeroed.
use crate::error::Error;
use ddim::plan::Kernel;
use naga::{
    Module, ShaderStage,
    back::{pipeline_constants::process_overrides, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy::Unchecked},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

/// The kernel's module, its overrides made constants.
///
/// # Errors
/// If naga refuses the text: the library's build script accepted it.
pub fn resolved(kernel: &Kernel) -> Result<(Module, ModuleInfo), Error> {
    let module = naga::front::wgsl::parse_str(&kernel.wgsl());
    let module = module.map_err(|error| refused(kernel, error))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator.validate(&module).map_err(|error| refused(kernel, error))?;
    let constants =
        kernel.overrides.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let entry = Some((ShaderStage::Compute, &*kernel.entry));
    let (module, info) = process_overrides(&module, &info, entry, &constants)
        .map_err(|error| refused(kernel, error))?;
    Ok((module.into_owned(), info.into_owned()))
}

/// Why naga does not take a kernel.
pub fn refused(kernel: &Kernel, error: impl std::fmt::Display) -> Error {
    Error::Naga { kernel: kernel.to_string(), message: error.to_string() }
}

/// The kernel's SPIR-V.
///
/// # Errors
/// As [`resolved`].
pub fn spirv(kernel: &Kernel) -> Result<Vec<u32>, Error> {
    let (module, info) = resolved(kernel)?;
    let options = spv::Options {
        lang_version: (1, 6),
        capabilities: None,
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies {
            index: Unchecked,
            buffer: Unchecked,
            image_load: Unchecked,
            binding_array: Unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: kernel.entry.to_string(),
    };
    spv::write_vec(&module, &info, &options, Some(&pipeline))
        .map_err(|error| refused(kernel, error))
}
