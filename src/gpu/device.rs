//! An open device.
use super::{
    adapter::{GpuOptions, choose, matrices, matrix_features, optional_features, target},
    cache::Pipelines,
    faults::Late,
    pipeline_cache::PipelineFile,
};
use crate::{
    error::GpuError,
    plan::{Arithmetic, CooperativeMatrices, Target, Tuning},
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// An open device, and how it is planned for. Clones share the device.
///
/// ```no_run
/// use ddim::{error::GpuError, gpu::{Gpu, GpuOptions}};
///
/// let options = GpuOptions { adapter: Some("radeon".into()), ..GpuOptions::default() };
/// let gpu = match Gpu::new(&options) {
///     // Then the best of the others.
///     Err(GpuError::NoAdapter { .. }) => Gpu::new(&GpuOptions::default())?,
///     opened => opened?,
/// };
/// println!("{}, f16: {}", gpu.info().name, gpu.target().f16);
/// # Ok::<(), GpuError>(())
/// ```
#[derive(Clone)]
pub struct Gpu(Arc<Inner>, Target);

/// What [`Gpu::on_compile`] was given.
type Listener = Arc<dyn Fn(usize, usize) + Send + Sync>;

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    /// Whether wgpu tells of its loss: not of a caller's device, which has its own callback.
    watched: bool,
    /// Why the device is lost.
    lost: Arc<Mutex<Option<String>>>,
    /// Errors that are not known yet.
    late: Mutex<Vec<Late>>,
    pipelines: Mutex<Pipelines>,
    /// The driver's own cache, if it is kept.
    file: OnceLock<PipelineFile>,
    /// Why plans use no cooperative matrices.
    no_matrices: OnceLock<String>,
    listener: Mutex<Option<Listener>>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gpu").field(&self.0.info).finish()
    }
}

impl Gpu {
    /// Opens the best adapter that fits `options`. A browser has [`Gpu::new_async`] alone.
    ///
    /// # Errors
    /// If there is none, it gives no device, or this is a browser.
    pub fn new(options: &GpuOptions) -> Result<Self, GpuError> {
        if cfg!(target_family = "wasm") {
            return Err(GpuError::Blocks);
        }
        pollster::block_on(Self::new_async(options))
    }

    /// As [`Gpu::new`], for callers with an event loop.
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub async fn new_async(options: &GpuOptions) -> Result<Self, GpuError> {
        let adapter = choose(options).await?;
        let offered = matrices(options, &adapter);
        let (features, limits) = if options.minimal {
            (wgpu::Features::empty(), wgpu::Limits::default())
        } else {
            (Self::wanted_features(&adapter), adapter.limits())
        };
        let (experimental_features, experiments) = match &offered {
            // SAFETY: one experimental feature is asked for. Kernels of this crate use it, and are not used where they
            // differ from the reference: what they load and store by it lies in workgroup memory, at places that
            // follow from constants. Of other texts `custom.rs` refuses those for which nobody vouches.
            Some(Ok(_)) => unsafe { (wgpu::ExperimentalFeatures::enabled(), matrix_features()) },
            _ => Default::default(),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("ddim"),
            required_features: features | experiments,
            experimental_features,
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
            GpuError::NoDevice { adapter: adapter.get_info().name, message: error.to_string() }
        })?;
        // Scopes catch what this crate causes; what is left belongs in the log, not in a panic.
        device.on_uncaptured_error(Arc::new(|error: wgpu::Error| log::error!("{error}")));
        let gpu = Self::open(device, queue, true);
        let lost = Arc::clone(&gpu.0.lost);
        gpu.0.device.set_device_lost_callback(move |reason, message| {
            *lost.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("{reason:?}: {message}"));
        });
        match offered {
            Some(offered) => gpu.try_matrices(offered).await,
            None => Ok(gpu),
        }
    }

    /// The limits to open a device with, if the caller opens it: WebGPU's defaults, and the adapter's own
    /// for buffers and compute shaders. A device with WebGPU's defaults alone runs everything that fits
    /// its bindings (128 MiB), more slowly.
    pub fn required_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
        let own = adapter.limits();
        wgpu::Limits {
            max_buffer_size: own.max_buffer_size,
            max_storage_buffer_binding_size: own.max_storage_buffer_binding_size,
            max_compute_workgroup_storage_size: own.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: own.max_compute_invocations_per_workgroup,
            min_storage_buffer_offset_alignment: own.min_storage_buffer_offset_alignment,
            min_uniform_buffer_offset_alignment: own.min_uniform_buffer_offset_alignment,
            max_compute_workgroup_size_x: own.max_compute_workgroup_size_x,
            max_compute_workgroup_size_y: own.max_compute_workgroup_size_y,
            max_compute_workgroup_size_z: own.max_compute_workgroup_size_z,
            ..wgpu::Limits::default().or_worse_values_from(&own)
        }
    }

    /// The features of the adapter that kernels and profiling use. None is needed.
    pub fn wanted_features(adapter: &wgpu::Adapter) -> wgpu::Features {
        adapter.features() & optional_features()
    }

    /// Runs on the caller's own device, with the features that it has of [`Gpu::wanted_features`], and without
    /// cooperative matrices. No callback of the device is set: its loss is seen when a wait or a read fails, or
    /// when the caller says so by [`Gpu::device_lost`].
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
        Ok(Self::open(device, queue, false))
    }

    fn open(device: wgpu::Device, queue: wgpu::Queue, watched: bool) -> Self {
        let info = device.adapter_info();
        let target = target(&info, device.features(), &device.limits());
        log::info!("{} ({}, {})", info.name, info.backend, info.driver_info);
        let (lost, late, pipelines, file, no_matrices, listener) = Default::default();
        let inner = Inner {
            device,
            queue,
            info,
            watched,
            lost,
            late,
            pipelines,
            file,
            no_matrices,
            listener,
        };
        Self(Arc::new(inner), target)
    }

    /// Tells that the device is lost: a caller that opened it passes on what its device-lost callback
    /// hears. Every later call fails with [`GpuError::Lost`].
    pub fn device_lost(&self, reason: &str) {
        *self.0.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
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

    /// The matrices by which kernels may multiply: [`GpuOptions::cooperative_matrices`].
    ///
    /// # Errors
    /// Why they do without.
    pub fn cooperative_matrices(&self) -> Result<CooperativeMatrices, &str> {
        let why = || self.0.no_matrices.get().map_or("they were not asked for", String::as_str);
        self.1.cooperative_matrices.ok_or_else(why)
    }

    /// The same device, whose plans may use these matrices.
    pub(super) fn with_matrices(&self, matrices: CooperativeMatrices) -> Self {
        let cooperative_matrices = Some(matrices);
        Self(self.0.clone(), Target { cooperative_matrices, ..self.1.clone() })
    }

    /// The device, without matrices for this reason.
    pub(super) fn without_matrices(self, why: String) -> Self {
        log::warn!("{}: no cooperative matrices: {why}", self.0.info.name);
        // The first reason stays.
        self.0.no_matrices.get_or_init(|| why);
        self
    }

    /// The same device, whose plans take what `tuning` measured before the table; none for the table
    /// alone.
    pub fn tuned(&self, tuning: Option<Tuning>) -> Self {
        Self(self.0.clone(), Target { tuning: tuning.map(Arc::new), ..self.1.clone() })
    }

    /// The same device, whose plans compute products in these numbers where it can and their operands are stored so. What was
    /// [tuned](Self::tuned) for other numbers is left out.
    pub fn computing_in(&self, arithmetic: Arithmetic) -> Self {
        let target = self.1.clone();
        let tuning = target.tuning.filter(|_| arithmetic == target.arithmetic);
        Self(self.0.clone(), Target { arithmetic, tuning, ..target })
    }

    /// The same device, whose plans bind at most so many bytes at a time: the device's own limit if that is less.
    pub fn binding_at_most(&self, bytes: u64) -> Self {
        let max_binding = bytes.min(self.1.max_binding);
        Self(self.0.clone(), Target { max_binding, ..self.1.clone() })
    }

    /// Whether wgpu tells this crate of the device's loss.
    pub(super) fn is_watched(&self) -> bool {
        self.0.watched
    }

    /// Why the device is lost, if it is.
    pub(super) fn loss(&self) -> Option<String> {
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn late(&self) -> MutexGuard<'_, Vec<Late>> {
        self.0.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pipelines(&self) -> MutexGuard<'_, Pipelines> {
        // A panic while compiling leaves the cache without the entry, which is no harm.
        self.0.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver's own cache, if it is kept.
    pub(super) fn pipeline_file(&self) -> Option<&PipelineFile> {
        self.0.file.get()
    }

    /// Whether this is the first.
    pub(super) fn set_pipeline_file(&self, file: PipelineFile) -> bool {
        self.0.file.set(file).is_ok()
    }
}
