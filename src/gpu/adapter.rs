//! Adapters: which there are, what of theirs a device takes, and how it is planned for.
use crate::{
    error::GpuError,
    plan::{Arithmetic, CooperativeMatrices, DeviceProfile, Target},
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
    /// Let kernels multiply by the matrix units of the adapter, where it lists matrices of f16 with sums in f32. They round
    /// both operands of products and convolutions to f16: each number is off by up to 2^-11 of itself, one above 65,504
    /// becomes infinite. Kernels do without where the adapter lists none, its subgroups vary in size, or it does not
    /// compute what the reference does: see [`Gpu::cooperative_matrices`](super::Gpu::cooperative_matrices). This asks for
    /// a feature of wgpu that is experimental.
    pub cooperative_matrices: bool,
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

/// What kernels need that multiply matrices by subgroups.
pub(super) fn matrix_features() -> wgpu::Features {
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP
}

/// The largest subgroup whose kernels fit a workgroup.
const LARGEST_SUBGROUP: u32 = 64;

/// The matrices that kernels can use, or why they do without; none unless they are asked for.
pub(super) fn matrices(
    options: &GpuOptions,
    adapter: &wgpu::Adapter,
) -> Option<Result<CooperativeMatrices, String>> {
    let info = adapter.get_info();
    let subgroups = [info.subgroup_min_size, info.subgroup_max_size];
    let features = if options.minimal { wgpu::Features::empty() } else { adapter.features() };
    let lacking = matrix_features() - features;
    options.cooperative_matrices.then(|| {
        if lacking.is_empty() {
            return fitting(subgroups, &adapter.cooperative_matrix_properties());
        }
        let names: Vec<_> = lacking.iter_names().map(|(name, _)| name).collect();
        Err(format!("needs the features {}", names.join(", ")))
    })
}

/// The largest square matrices of f16 with sums in f32 of those that are listed.
fn fitting(
    [least, most]: [u32; 2],
    listed: &[wgpu::CooperativeMatrixProperties],
) -> Result<CooperativeMatrices, String> {
    use wgpu::CooperativeScalarType::{F16, F32};
    if least != most || most > LARGEST_SUBGROUP {
        return Err(format!(
            "subgroups must have one size, at most {LARGEST_SUBGROUP}, found {least} to {most}"
        ));
    }
    let fits = |of: &&wgpu::CooperativeMatrixProperties| {
        let square = of.m_size == of.n_size && of.n_size == of.k_size;
        square && of.ab_type == F16 && of.cr_type == F32
    };
    let edge = listed.iter().filter(fits).map(|of| of.m_size).max();
    let edge = edge.ok_or_else(|| {
        let printed = listed.iter().map(|of| {
            let (m, n, k) = (of.m_size, of.n_size, of.k_size);
            format!(", {m}x{n}x{k} {:?} to {:?}", of.ab_type, of.cr_type)
        });
        format!("the adapter lists no square ones of F16 to F32{}", printed.collect::<String>())
    })?;
    Ok(CooperativeMatrices { edge, subgroup: most })
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
        cooperative_matrices: None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::CooperativeScalarType::{F16, F32};

    #[test]
    fn the_largest_square_matrices_of_halves_are_taken() {
        let of = |[m_size, n_size, k_size]: [u32; 3], ab_type, cr_type| {
            let saturating_accumulation = false;
            wgpu::CooperativeMatrixProperties {
                m_size,
                n_size,
                k_size,
                ab_type,
                cr_type,
                saturating_accumulation,
            }
        };
        let (small, large) = (of([8; 3], F16, F32), of([16; 3], F16, F32));
        let others = [of([16, 8, 16], F16, F32), of([16; 3], F16, F16), of([8; 3], F32, F32)];
        let edge = |edge, subgroup| Ok(CooperativeMatrices { edge, subgroup });
        assert_eq!(fitting([32, 32], &[small, large, others[0]]), edge(16, 32));
        assert_eq!(fitting([8, 8], &[others[1], small]), edge(8, 8));
        let none = fitting([32, 32], &others).expect_err("none of them is square, f16 to f32");
        assert!(
            none.ends_with(", 16x8x16 F16 to F32, 16x16x16 F16 to F16, 8x8x8 F32 to F32"),
            "{none}"
        );
        assert!(fitting([32, 64], &[large]).is_err_and(|why| why.contains("found 32 to 64")));
        assert!(fitting([128, 128], &[large]).is_err());
    }
}
