//! Adapters: which there are, what of theirs a device takes, and how it is planned for.
use crate::{
    error::GpuError,
    plan::{Arithmetic, DeviceProfile, Target},
};
use std::{num::NonZero, thread};

/// Which adapter to open.
///
/// Example: [`crate::gpu::Gpu`].
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, in any case; `None` takes the best: discrete, integrated,
    /// then software.
    pub adapter: Option<String>,
    /// APIs to look through; `None` for all that this platform has.
    pub backends: Option<wgpu::Backends>,
    /// Which of those that fit and have the kind and the API of the best, counted from 0 and around: ranks of
    /// one machine take one each.
    pub index: usize,
    /// Use WebGPU's default limits and no optional feature, whatever the adapter offers.
    pub minimal: bool,
}

/// What an adapter offers, of all that matters here.
///
/// Example: [`crate::gpu::adapters()`].
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Name, kind, driver and API.
    pub info: wgpu::AdapterInfo,
    /// The device as lowering sees it.
    pub target: Target,
    /// Whether kernels can be timed inside a pass.
    pub timestamps: bool,
    /// All limits.
    pub limits: wgpu::Limits,
    /// All features.
    pub features: wgpu::Features,
    /// Products of small matrices that a subgroup computes together.
    pub cooperative_matrices: Vec<wgpu::CooperativeMatrixProperties>,
}

/// Features that kernels and profiling use where they are offered.
pub(super) fn optional_features() -> wgpu::Features {
    wgpu::Features::SHADER_F16
        | wgpu::Features::PIPELINE_CACHE
        | wgpu::Features::SHADER_INT64
        | wgpu::Features::SUBGROUP
        | wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
}

pub(super) fn target(
    info: &wgpu::AdapterInfo,
    features: wgpu::Features,
    limits: &wgpu::Limits,
) -> Target {
    let fixed = info.subgroup_min_size == info.subgroup_max_size;
    let broadcast = (4..=16).contains(&info.subgroup_min_size);
    let subgroups = features.contains(wgpu::Features::SUBGROUP);
    let software = info.device_type == wgpu::DeviceType::Cpu;
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let known = if software {
        DeviceProfile { cores: Some(cores()), ..DeviceProfile::SOFTWARE }
    } else {
        let of_vendor = || DeviceProfile::of_vendor(info.vendor);
        DeviceProfile::named(&info.name).unwrap_or_else(of_vendor)
    };
    let profile = DeviceProfile {
        vendor: info.vendor,
        subgroups: [info.subgroup_min_size, info.subgroup_max_size],
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        ..known
    };
    Target {
        subgroup: (subgroups && fixed && broadcast).then_some(info.subgroup_min_size),
        profile,
        f16: features.contains(wgpu::Features::SHADER_F16),
        arithmetic: Arithmetic::F32,
        int64: features.contains(wgpu::Features::SHADER_INT64),
        max_binding: limits.max_storage_buffer_binding_size,
        storage_alignment: u64::from(limits.min_storage_buffer_offset_alignment),
        tuning: None,
    }
}

fn instance(backends: wgpu::Backends) -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    descriptor.backends = backends;
    wgpu::Instance::new(descriptor)
}

fn backends(options: &GpuOptions) -> wgpu::Backends {
    options.backends.unwrap_or(wgpu::Backends::PRIMARY)
}

/// Best first.
fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

async fn candidates(options: &GpuOptions) -> Vec<wgpu::Adapter> {
    let backends = backends(options);
    let mut adapters = instance(backends).enumerate_adapters(backends).await;
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    adapters
}

/// The adapters of this machine, best first.
///
/// ```no_run
/// use ddim::gpu::{GpuOptions, adapters};
///
/// for found in pollster::block_on(adapters(&GpuOptions::default())) {
///     println!("{} ({}), f16: {}", found.info.name, found.info.backend, found.target.f16);
/// }
/// ```
pub async fn adapters(options: &GpuOptions) -> Vec<AdapterReport> {
    let report = |adapter: wgpu::Adapter| {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        AdapterReport {
            target: target(&info, adapter.features(), &limits),
            timestamps: adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY),
            features: adapter.features(),
            cooperative_matrices: adapter.cooperative_matrix_properties(),
            limits,
            info,
        }
    };
    candidates(options).await.into_iter().map(report).collect()
}

/// The best adapter that fits the options, or one like it.
pub(super) async fn choose(options: &GpuOptions) -> Result<wgpu::Adapter, GpuError> {
    let mut adapters = candidates(options).await;
    let name = |adapter: &wgpu::Adapter| adapter.get_info().name;
    let fits = |adapter: &&wgpu::Adapter| {
        let wanted = options.adapter.as_deref().unwrap_or_default().to_lowercase();
        name(adapter).to_lowercase().contains(&wanted)
    };
    let Some(at) = adapters.iter().position(|adapter| fits(&adapter)) else {
        let names: Vec<String> = adapters.iter().map(name).collect();
        let known = wgpu::Backend::ALL.into_iter();
        let asked = known.filter(|&one| backends(options).contains(one.into()));
        let asked = asked.map(wgpu::Backend::to_str).collect::<Vec<_>>().join(", ");
        let wanted = match &options.adapter {
            Some(name) => format!("\"{name}\" ({asked})"),
            None => asked,
        };
        let vulkan = backends(options).contains(wgpu::Backends::VULKAN);
        let software_helps = names.is_empty() && vulkan && cfg!(target_os = "linux");
        let none = "no adapters at all".to_owned();
        let found = if names.is_empty() { none } else { names.join(", ") };
        return Err(GpuError::NoAdapter { wanted, found, software_helps });
    };
    let kind = |adapter: &wgpu::Adapter| {
        let info = adapter.get_info();
        (info.device_type, info.backend)
    };
    let best = kind(&adapters[at]);
    let like_it = |adapter: &wgpu::Adapter| fits(&adapter) && kind(adapter) == best;
    let found: Vec<usize> = (at..adapters.len()).filter(|&at| like_it(&adapters[at])).collect();
    Ok(adapters.swap_remove(found[options.index % found.len()]))
}
