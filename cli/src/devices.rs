//! `ddim devices`, and the device that the other commands open.
use crate::{
    cli::{Backend, Device},
    console::say,
    failure::Failure,
    progress,
};
use ddim::{
    gpu::{AdapterReport, Gpu, GpuOptions, adapters},
    tuner,
    wgpu::{Backends, CooperativeMatrixProperties, DeviceType},
};
use etcetera::{BaseStrategy, choose_base_strategy};
use std::path::PathBuf;

impl Device {
    /// The library's words for these arguments.
    pub fn options(&self) -> GpuOptions {
        let backends = self.backend.map(|backend| match backend {
            Backend::Vulkan => Backends::VULKAN,
            Backend::Metal => Backends::METAL,
            Backend::Dx12 => Backends::DX12,
        });
        let cooperative_matrices = self.cooperative_matrices;
        let adapter = self.adapter.clone();
        GpuOptions { adapter, backends, cooperative_matrices, ..GpuOptions::default() }
    }

    /// Whether an adapter has the name that these arguments ask for.
    pub fn names(&self, report: &AdapterReport) -> bool {
        let wanted = self.adapter.clone().unwrap_or_default().to_lowercase();
        report.info.name.to_lowercase().contains(&wanted)
    }

    /// Opens the device that these arguments ask for.
    pub fn open(&self) -> Result<Gpu, Failure> {
        self.open_one(0)
    }

    /// Opens one of the devices that these arguments ask for: [`GpuOptions::index`].
    pub fn open_one(&self, index: usize) -> Result<Gpu, Failure> {
        let gpu = Gpu::new(&GpuOptions { index, ..self.options() })?;
        gpu.on_compile(progress::compiled);
        let Some(folder) = caches() else { return Ok(gpu) };
        if let Err(error) = gpu.keep_pipelines(&folder) {
            log::warn!("compiled kernels are not kept: {error}");
        }
        Ok(gpu.tuned(tuner::load(&gpu, &folder)))
    }
}

/// Where the tunings and the compiled kernels of this user's devices lie.
pub fn caches() -> Option<PathBuf> {
    Some(choose_base_strategy().ok()?.cache_dir().join("ddim"))
}

/// One line: name, kind, API and driver, the matrices that kernels multiply by, and how many problems were tuned.
pub fn describe(gpu: &Gpu) -> String {
    let info = gpu.info();
    let driver = format!("{} {}", info.driver, info.driver_info);
    let tuned = match &gpu.target().tuning {
        Some(tuning) => format!(", {} kernels of ddim tune", tuning.winners.len()),
        None => String::new(),
    };
    let matrices = gpu.cooperative_matrices().map(|of| format!(", cooperative matrices of {of}"));
    let (kind, driver, matrices) =
        (kind(info.device_type), driver.trim(), matrices.unwrap_or_default());
    format!("{} ({kind}, {}, {driver}{matrices}{tuned})", info.name, info.backend)
}

fn kind(of: DeviceType) -> &'static str {
    match of {
        DeviceType::DiscreteGpu => "discrete",
        DeviceType::IntegratedGpu => "integrated",
        DeviceType::VirtualGpu => "virtual",
        DeviceType::Cpu => "software",
        DeviceType::Other => "of unknown kind",
    }
}

/// Lists the adapters; an error if there is none that fits.
pub fn run(device: &Device) -> Result<(), Failure> {
    let found = pollster::block_on(adapters(&device.options()));
    let default = found.iter().position(|report| device.names(report));
    for (index, report) in found.iter().enumerate() {
        let mark = if Some(index) == default { '*' } else { ' ' };
        let info = &report.info;
        say!("{mark} {}", info.name);
        let driver = format!("{} {}", info.driver, info.driver_info);
        let kind = kind(info.device_type);
        let of_software =
            if report.target.profile.is_software() { " (runs on the CPU)" } else { "" };
        let subgroup = match report.target.subgroup {
            Some(size) => format!("yes, of {size} invocations"),
            None => "no: their size is not fixed, or not 4 to 16".to_owned(),
        };
        let rows = [
            ("kind", format!("{kind}{of_software}, {}", info.backend)),
            ("driver", driver.trim().to_owned()),
            ("subgroup kernels", subgroup),
            ("f16 storage", yes(report.target.f16)),
            ("64-bit integers", yes(report.target.int64)),
            ("matrix units", matrices(report)),
            ("timestamps", yes(report.timestamps)),
            ("largest binding", mebibytes(report.target.max_binding)),
            ("largest buffer", mebibytes(report.limits.max_buffer_size)),
            (
                "workgroup memory",
                format!("{} KiB", report.limits.max_compute_workgroup_storage_size >> 10),
            ),
        ];
        for (what, value) in rows {
            say!("    {what:<17} {value}");
        }
    }
    if default.is_none() {
        // The library says what was looked for, and how to come by a driver.
        device.open()?;
    }
    say!("* is used; --adapter NAME or --backend API choose another.");
    Ok(())
}

/// Matrices that a subgroup multiplies together: `16x16x16 f16 to f32`.
pub fn matrix(of: &CooperativeMatrixProperties) -> String {
    let (m, n, k) = (of.m_size, of.n_size, of.k_size);
    format!("{m}x{n}x{k} {:?} to {:?}", of.ab_type, of.cr_type).to_lowercase()
}

/// Those that the driver lists.
fn matrices(report: &AdapterReport) -> String {
    let listed: Vec<String> = report.cooperative_matrices.iter().map(matrix).collect();
    if listed.is_empty() { "none".to_owned() } else { listed.join(", ") }
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
