//! Finding an adapter, opening a device, and catching what goes wrong on it: above 300 lines, for
//! each of the three needs what the others hold.
use super::cache::Pipelines;
use crate::{
    error::GpuError,
    plan::{DeviceProfile, Target, Tuning},
};
use std::{
    fmt,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Which adapter to open.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, in any case; `None` takes the best: discrete, integrated,
    /// then software.
    pub adapter: Option<String>,
    /// APIs to look through; `None` for all that this platform has.
    pub backends: Option<wgpu::Backends>,
    /// Use WebGPU's default limits and no optional feature, whatever the adapter offers.
    pub minimal: bool,
}

/// What an adapter offers, of all that matters here.
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

/// An open device, and how it is planned for. Clones share the device.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>, Target);

/// What [`Gpu::on_compile`] was given.
type Listener = Arc<dyn Fn(usize, usize) + Send + Sync>;

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    lost: Arc<Mutex<Option<String>>>,
    pipelines: Mutex<Pipelines>,
    listener: Mutex<Option<Listener>>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gpu").field(&self.0.info).finish()
    }
}

/// Features that kernels and profiling use where they are offered.
fn optional_features() -> wgpu::Features {
    wgpu::Features::SHADER_F16
        | wgpu::Features::SHADER_INT64
        | wgpu::Features::SUBGROUP
        | wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
}

fn target(info: &wgpu::AdapterInfo, features: wgpu::Features, limits: &wgpu::Limits) -> Target {
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

impl Gpu {
    /// Opens the best adapter that fits `options`.
    ///
    /// # Errors
    /// If there is none, or it gives no device.
    pub fn new(options: &GpuOptions) -> Result<Self, GpuError> {
        pollster::block_on(Self::new_async(options))
    }

    /// As [`Gpu::new`], for callers with an event loop.
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub async fn new_async(options: &GpuOptions) -> Result<Self, GpuError> {
        let adapters = candidates(options).await;
        let name = |adapter: &wgpu::Adapter| adapter.get_info().name;
        let fits = |adapter: &&wgpu::Adapter| {
            let wanted = options.adapter.as_deref().unwrap_or_default().to_lowercase();
            name(adapter).to_lowercase().contains(&wanted)
        };
        let Some(adapter) = adapters.iter().find(fits) else {
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
        let (features, limits) = if options.minimal {
            (wgpu::Features::empty(), wgpu::Limits::default())
        } else {
            (adapter.features() & optional_features(), adapter.limits())
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("ddim"),
            required_features: features,
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
            GpuError::NoDevice { adapter: name(adapter), message: error.to_string() }
        })?;
        // Scopes catch what this crate causes; what is left belongs in the log, not in a panic.
        device.on_uncaptured_error(Arc::new(|error: wgpu::Error| log::error!("{error}")));
        Ok(Self::open(device, queue))
    }

    /// Runs on the caller's own device. Features beyond the minimum are used if it has them.
    /// The device-lost callback is taken over: a device has one, and its loss is seen no other way.
    ///
    /// # Errors
    /// If a limit is below WebGPU's defaults where this crate needs them.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self, GpuError> {
        type Limit = fn(&wgpu::Limits) -> u32;
        let (limits, needed) = (device.limits(), wgpu::Limits::default());
        let checks: [(&'static str, Limit); 4] = [
            ("max_storage_buffers_per_shader_stage", |of| of.max_storage_buffers_per_shader_stage),
            ("max_compute_invocations_per_workgroup", |of| {
                of.max_compute_invocations_per_workgroup
            }),
            ("max_compute_workgroup_storage_size", |of| of.max_compute_workgroup_storage_size),
            ("max_compute_workgroups_per_dimension", |of| of.max_compute_workgroups_per_dimension),
        ];
        for (what, limit) in checks {
            let (needed, found) = (limit(&needed), limit(&limits));
            if found < needed {
                let (needed, found) = (needed.to_string(), found.to_string());
                let adapter = device.adapter_info().name;
                return Err(GpuError::Unsuitable { adapter, what, needed, found });
            }
        }
        Ok(Self::open(device, queue))
    }

    fn open(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let info = device.adapter_info();
        let target = target(&info, device.features(), &device.limits());
        let lost = Arc::new(Mutex::new(None));
        let record = Arc::clone(&lost);
        device.set_device_lost_callback(move |reason, message| {
            *record.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("{reason:?}: {message}"));
        });
        log::info!("{} ({}, {})", info.name, info.backend, info.driver_info);
        let (pipelines, listener) = Default::default();
        Self(Arc::new(Inner { device, queue, info, lost, pipelines, listener }), target)
    }

    /// While an executor is made, `hear` is told how many of how many new kernels are compiled: 0
    /// first. It is called from several threads, in place of an earlier listener.
    pub fn on_compile(&self, hear: impl Fn(usize, usize) + Send + Sync + 'static) {
        *self.0.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hear));
    }

    /// Tells the listener, if there is one.
    pub(super) fn tell_compiled(&self, done: usize, of: usize) {
        let listener = self.0.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hear) = listener {
            hear(done, of);
        }
    }

    /// wgpu's device.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// wgpu's queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Name, kind, driver and API of the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.0.info
    }

    /// The device as lowering sees it.
    pub fn target(&self) -> &Target {
        &self.1
    }

    /// The same device, whose plans take what `tuning` measured before the table; none for the table
    /// alone.
    pub fn tuned(&self, tuning: Option<Tuning>) -> Self {
        Self(self.0.clone(), Target { tuning: tuning.map(Arc::new), ..self.1.clone() })
    }

    pub(super) fn pipelines(&self) -> std::sync::MutexGuard<'_, Pipelines> {
        // A panic while compiling leaves the cache without the entry, which is no harm.
        self.0.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` with the device's errors caught.
    pub(super) fn guard<T>(
        &self,
        action: &str,
        bytes: u64,
        work: impl FnOnce() -> T,
    ) -> Result<T, GpuError> {
        let scopes = [
            self.0.device.push_error_scope(wgpu::ErrorFilter::Internal),
            self.0.device.push_error_scope(wgpu::ErrorFilter::Validation),
            self.0.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory),
        ];
        let result = work();
        let mut caught = None;
        for scope in scopes.into_iter().rev() {
            caught = pollster::block_on(scope.pop()).or(caught);
        }
        let action = action.to_owned();
        match caught {
            None => Ok(result),
            Some(wgpu::Error::OutOfMemory { .. }) => {
                Err(self.lost_or(GpuError::OutOfMemory { action, bytes }))
            }
            Some(error) => {
                Err(self.lost_or(GpuError::Device { action, message: error.to_string() }))
            }
        }
    }

    /// The error, or that the device is lost: then everything fails in one way or another, and the
    /// loss is the thing to say. wgpu reports it to whoever polls once nothing is under way any
    /// more, which may be another thread.
    pub(super) fn lost_or(&self, error: GpuError) -> GpuError {
        for _ in 0..20 {
            let _ = self.0.device.poll(wgpu::PollType::wait_indefinitely());
            if let Err(lost) = self.check_lost() {
                return lost;
            }
            thread::sleep(Duration::from_millis(1));
        }
        error
    }

    /// An error if the device went away, as far as it knows without waiting. wgpu reports that
    /// only when it is polled, not through error scopes.
    pub(super) fn check_now(&self) -> Result<(), GpuError> {
        // Only waiting can time out.
        let _ = self.0.device.poll(wgpu::PollType::Poll);
        self.check_lost()
    }

    fn check_lost(&self) -> Result<(), GpuError> {
        match &*self.0.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(message) => Err(GpuError::Lost { message: message.clone() }),
            None => Ok(()),
        }
    }

    /// Blocks until the device has finished this submission and all before it, or everything.
    pub(super) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), GpuError> {
        let until = wgpu::PollType::Wait { submission_index: submission, timeout: None };
        let polled = self.0.device.poll(until);
        self.check_lost()?;
        polled.map(|_| ()).map_err(|error| {
            let action = "waiting for the device".to_owned();
            self.lost_or(GpuError::Device { action, message: error.to_string() })
        })
    }
}
